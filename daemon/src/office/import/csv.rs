//! People in CSV (RFC 4180): the first line names the columns, in any order; comma or semicolon between them.

use super::{Cell, Draft, Mistake, Place};

/// The columns that are understood.
const COLUMNS: &str = "name, department, extension, mobile, email or hours";

/// One row of cells.
type Row = Vec<Cell>;

pub(super) fn drafts(text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Draft> {
    let first = text.lines().next().unwrap_or_default();
    let delimiter = if first.contains(';') && !first.contains(',') { ';' } else { ',' };
    let mut rows = Rows::new(text, delimiter).rows(mistakes).into_iter();
    let Some(header) = rows.next() else { return Vec::new() };
    let columns: Vec<String> = header.iter().map(|(_, name)| name.trim().to_lowercase()).collect();
    for (column, (at, name)) in columns.iter().zip(&header) {
        let is_known = ["name", "department", "extension", "mobile", "email", "hours"].contains(&column.as_str());
        let is_twice = columns.iter().filter(|other| *other == column).count() > 1;
        if !is_known || is_twice {
            mistakes.push(Mistake::new(*at, name, format!("a column {COLUMNS}, each once")));
        }
    }
    if !columns.iter().any(|column| column == "name") {
        let at = Place { line: 1, column: 1 };
        mistakes.push(Mistake::new(at, first, "a first line that names the columns, with one \"name\""));
    }
    if !mistakes.is_empty() {
        // Of a file without columns nothing else can be said.
        return Vec::new();
    }
    rows.filter_map(|row| draft(row, &columns, mistakes)).collect()
}

fn draft(row: Row, columns: &[String], mistakes: &mut Vec<Mistake>) -> Option<Draft> {
    let at = row.first().map(|(at, _)| *at)?;
    if row.len() != columns.len() {
        let found = format!("{} values", row.len());
        mistakes.push(Mistake::new(at, &found, format!("{}, as the first line has", columns.len())));
        return None;
    }
    let mut draft = Draft::default();
    for (column, cell) in columns.iter().zip(row) {
        let field = match column.as_str() {
            "name" => &mut draft.name,
            "department" => &mut draft.department,
            "extension" => &mut draft.extension,
            "mobile" => &mut draft.mobile,
            "email" => &mut draft.email,
            _ => &mut draft.hours,
        };
        *field = Some(cell);
    }
    if let Some((at, name)) = draft.name.as_ref().filter(|(_, name)| name.trim().is_empty()) {
        mistakes.push(Mistake::new(*at, name, "a name"));
        return None;
    }
    Some(draft)
}

/// The rows of a text; empty lines are none.
struct Rows<'a> {
    letters: std::iter::Peekable<std::str::Chars<'a>>,
    at: Place,
    delimiter: char,
}

/// What follows a cell.
#[derive(PartialEq, Eq)]
enum After {
    Cell,
    Row,
    Nothing,
}

impl<'a> Rows<'a> {
    fn new(text: &'a str, delimiter: char) -> Rows<'a> {
        Rows { letters: text.chars().peekable(), at: Place { line: 1, column: 1 }, delimiter }
    }

    fn rows(mut self, mistakes: &mut Vec<Mistake>) -> Vec<Row> {
        let (mut rows, mut row) = (Vec::new(), Row::new());
        loop {
            let (cell, after) = self.cell(mistakes);
            row.push(cell);
            if after == After::Cell {
                continue;
            }
            let is_empty = row.iter().all(|(_, text)| text.trim().is_empty());
            let row = std::mem::take(&mut row);
            if !is_empty {
                rows.push(row);
            }
            if after == After::Nothing {
                return rows;
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next()?;
        self.at = match letter {
            '\n' => Place { line: self.at.line + 1, column: 1 },
            _ => Place { column: self.at.column + 1, ..self.at },
        };
        Some(letter)
    }

    fn cell(&mut self, mistakes: &mut Vec<Mistake>) -> (Cell, After) {
        let begins = self.at;
        if self.letters.peek() == Some(&'"') {
            self.next();
            return self.quoted(begins, mistakes);
        }
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.next() {
                None => return ((begins, text), After::Nothing),
                Some('\n') => return ((begins, text), After::Row),
                Some('\r') if self.letters.peek() == Some(&'\n') => {}
                Some(letter) if letter == self.delimiter => return ((begins, text), After::Cell),
                Some('"') => {
                    mistakes.push(Mistake::new(at, "\"", "quotes round the whole value, and \"\" for one inside"));
                    text.push('"');
                }
                Some(letter) => text.push(letter),
            }
        }
    }

    fn quoted(&mut self, begins: Place, mistakes: &mut Vec<Mistake>) -> (Cell, After) {
        let mut text = String::new();
        loop {
            match self.next() {
                None => {
                    mistakes.push(Mistake::new(begins, "\"", "another \" at the end of the value"));
                    return ((begins, text), After::Nothing);
                }
                Some('"') if self.letters.peek() == Some(&'"') => {
                    self.next();
                    text.push('"');
                }
                Some('"') => break,
                Some(letter) => text.push(letter),
            }
        }
        let at = self.at;
        if self.letters.peek() == Some(&'\r') {
            self.next();
        }
        match self.next() {
            None => ((begins, text), After::Nothing),
            Some('\n') => ((begins, text), After::Row),
            Some(letter) if letter == self.delimiter => ((begins, text), After::Cell),
            Some(letter) => {
                mistakes.push(Mistake::new(at, &letter.to_string(), "the end of the value behind its quotes"));
                ((begins, text), After::Cell)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::shown;

    #[test]
    fn people_are_read_by_the_names_of_columns() {
        let text = "\u{FEFF}Mobile;Name;extension;hours\r\n+1 (212) 555-0199;\"Weber; \"\"Anna\"\"\";102;\r\n\r\n;Ben;;mon-fri 09:00-12:00\r\n";
        assert_eq!(
            shown(text, Format::Csv),
            "Weber; \"Anna\": extension=102 mobile=+12125550199\nBen: hours=mon-fri 09:00-12:00"
        );
    }

    #[test]
    fn mistakes_have_their_line_and_column() {
        for (text, expected) in [
            ("", "line 1, column 1: found \"nobody\", expected at least one person"),
            (
                "name,phone\nAnna,1\n",
                "line 1, column 6: found \"phone\", expected a column name, department, extension, mobile, email or \
                 hours, each once",
            ),
            ("name\n", "line 1, column 1: found \"nobody\", expected at least one person"),
            (
                "name,email\nÉva,eva@\n",
                "line 2, column 5: found \"eva@\", expected an e-mail address such as anna@example.com",
            ),
            (
                "name,extension,mobile\nAnna,1,0199\n",
                "line 2, column 6: found \"1\", expected an extension of 2 to 6 digits, such as 101\n\
                 line 2, column 8: found \"0199\", expected E.164 with +, such as +12125550142",
            ),
            ("name,email\nAnna\n", "line 2, column 1: found \"1 values\", expected 2, as the first line has"),
            ("name,email\n,a@b.example\n", "line 2, column 1: found \"\", expected a name"),
            (
                "name\nAnna\nanna\n",
                "line 3, column 1: found \"anna\", expected each name once; it is in line 2 already",
            ),
            ("name\n\"Anna\n", "line 2, column 1: found \"\\\"\", expected another \" at the end of the value"),
            (
                "name\nAnna \"A\" Weber\n",
                "line 2, column 6: found \"\\\"\", expected quotes round the whole value, and \"\" for one inside\n\
                 line 2, column 8: found \"\\\"\", expected quotes round the whole value, and \"\" for one inside",
            ),
            (
                "name,hours\nAnna,9 to 5\n",
                "line 2, column 6: found \"9 to 5\", expected hours such as \"mon-fri 09:00-12:30 13:30-17:00; sat 10:00-13:00\"",
            ),
        ] {
            assert_eq!(shown(text, Format::Csv), expected, "{text:?}");
        }
    }
}
