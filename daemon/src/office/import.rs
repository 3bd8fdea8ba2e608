//! People out of files that other programs write: vCard 3.0 and 4.0 (RFC 2426, RFC 6350), and CSV (RFC 4180).
//!
//! All or nothing: a file with a mistake gives the mistakes, each with its line, its column and what was expected, and no
//! person. What becomes of those who are known already is said before anything is changed ([`compare`]).
//!
//! Both readers are our own. Of the crates, vcard4 reads only 4.0, calcard repairs what it finds and csv counts
//! records: none says line and column of what is wrong, which is all that helps whoever has to mend a file.
//!
//! Left out on purpose: photographs, addresses of houses, and everything else that does not say how to reach somebody.

mod csv;
mod vcard;

use std::collections::BTreeMap;
use std::fmt;

use super::config::is_email;
use super::staff::week_of;
use crate::dial_plan::is_e164;
use crate::redact::Redacted;
use crate::storage::PersonRow;

/// Larger files are no list of an office's people.
pub const FILE_MAX_BYTES: usize = 4 << 20;
/// People of one file.
const PEOPLE_MAX: usize = 200;
/// Mistakes that are told; a file of another kind has one in every line.
const MISTAKES_MAX: usize = 20;
/// Longer names and addresses are something else.
const TEXT_MAX_CHARS: usize = 100;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 2426, RFC 6350.
    VCard,
    /// RFC 4180, with names of columns in its first line.
    Csv,
}

impl Format {
    /// By the end of a file's name.
    pub fn of_name(name: &str) -> Option<Format> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "vcf" | "vcard" => Some(Format::VCard),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }
}

/// Where something stands in a file: both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Something that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it begins.
    pub at: Place,
    /// What stands there, shortened.
    pub found: String,
    /// What ought to.
    pub expected: String,
}

impl Mistake {
    fn new(at: Place, found: &str, expected: impl Into<String>) -> Mistake {
        let mut short: String = found.chars().take(40).collect();
        if short.len() < found.len() {
            short.push('…');
        }
        Mistake { at, found: short, expected: expected.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { at: Place { line, column }, found, expected } = self;
        write!(f, "line {line}, column {column}: found {found:?}, expected {expected}")
    }
}

/// A value and where it stood.
type Cell = (Place, String);

/// Somebody as a file has them.
#[derive(Debug, Clone, Default)]
struct Draft {
    name: Option<Cell>,
    department: Option<Cell>,
    extension: Option<Cell>,
    mobile: Option<Cell>,
    email: Option<Cell>,
    hours: Option<Cell>,
}

/// The people of a file.
///
/// # Errors
/// Every mistake in it, at most twenty.
pub fn read(bytes: &[u8], format: Format) -> Result<Vec<PersonRow>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let drafts = match text_of(bytes) {
        Ok(text) => match format {
            Format::VCard => vcard::drafts(text, &mut mistakes),
            Format::Csv => csv::drafts(text, &mut mistakes),
        },
        Err(mistake) => return Err(vec![mistake]),
    };
    let start = Place { line: 1, column: 1 };
    if drafts.len() > PEOPLE_MAX {
        mistakes.push(Mistake::new(start, &format!("{} people", drafts.len()), format!("at most {PEOPLE_MAX} people")));
    } else if drafts.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake::new(start, "nobody", "at least one person"));
    }
    let mut seen = BTreeMap::new();
    let mut people = Vec::new();
    for draft in drafts.into_iter().take(PEOPLE_MAX) {
        let Some((at, name)) = draft.name.clone() else { continue };
        people.push(person(draft, &mut mistakes));
        if let Some(line) = seen.insert(name.to_lowercase(), at.line) {
            mistakes.push(Mistake::new(at, &name, format!("each name once; it is in line {line} already")));
        }
    }
    mistakes.sort_by_key(|mistake| mistake.at);
    mistakes.truncate(MISTAKES_MAX);
    if mistakes.is_empty() { Ok(people) } else { Err(mistakes) }
}

fn text_of(bytes: &[u8]) -> Result<&str, Mistake> {
    let start = Place { line: 1, column: 1 };
    if bytes.len() > FILE_MAX_BYTES {
        return Err(Mistake::new(start, &format!("{} bytes", bytes.len()), format!("at most {FILE_MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        Mistake::new(Place { line, column }, &format!("byte 0x{byte:02X}"), "UTF-8: save the file in this encoding")
    })?;
    Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text))
}

/// Checks what a draft says; what is empty says nothing.
fn person(draft: Draft, mistakes: &mut Vec<Mistake>) -> PersonRow {
    let mut checked = |cell: Option<Cell>, check: fn(&str) -> Result<String, String>| {
        let (at, text) = cell?;
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        check(text).map_err(|expected| mistakes.push(Mistake::new(at, text, expected))).ok()
    };
    PersonRow {
        name: checked(draft.name, plain).unwrap_or_default(),
        department: checked(draft.department, plain),
        extension: checked(draft.extension, extension),
        mobile: checked(draft.mobile, mobile).map(Redacted::new),
        email: checked(draft.email, email).map(Redacted::new),
        hours: checked(draft.hours, hours),
    }
}

fn plain(text: &str) -> Result<String, String> {
    let is_right = text.chars().count() <= TEXT_MAX_CHARS && !text.contains(char::is_control);
    if is_right { Ok(text.to_owned()) } else { Err(format!("at most {TEXT_MAX_CHARS} characters on one line")) }
}

fn extension(text: &str) -> Result<String, String> {
    let is_right = (2..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_right { Ok(text.to_owned()) } else { Err("an extension of 2 to 6 digits, such as 101".to_owned()) }
}

/// Without what people put between digits.
fn mobile(text: &str) -> Result<String, String> {
    let number: String = text.chars().filter(|letter| !matches!(letter, ' ' | '-' | '.' | '(' | ')' | '/')).collect();
    if is_e164(&number) { Ok(number) } else { Err("E.164 with +, such as +12125550142".to_owned()) }
}

fn email(text: &str) -> Result<String, String> {
    if is_email(text) { Ok(text.to_owned()) } else { Err("an e-mail address such as anna@example.com".to_owned()) }
}

fn hours(text: &str) -> Result<String, String> {
    week_of(text).map(|_| text.to_owned()).map_err(str::to_owned)
}

/// What an import does to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// They were not known.
    New,
    /// Which of their fields get a new value: name, before, after.
    Changed(Vec<(&'static str, Option<String>, String)>),
    /// Nothing.
    Same,
}

/// What an import of `new` does to each of them. What a file leaves empty stays as it was.
pub fn compare(known: &[PersonRow], new: &[PersonRow]) -> Vec<Change> {
    let of = |new: &PersonRow| {
        let name = new.name.to_lowercase();
        let Some(known) = known.iter().find(|known| known.name.to_lowercase() == name) else { return Change::New };
        let pairs = fields(known).into_iter().zip(fields(new));
        let changed = pairs.filter_map(|((field, before), (_, after))| {
            let after = after.filter(|after| before.as_ref() != Some(after))?;
            Some((field, before, after))
        });
        let changed: Vec<_> = changed.collect();
        if changed.is_empty() { Change::Same } else { Change::Changed(changed) }
    };
    new.iter().map(of).collect()
}

fn fields(person: &PersonRow) -> [(&'static str, Option<String>); 5] {
    let PersonRow { department, extension, mobile, email, hours, .. } = person;
    let [mobile, email] = [mobile, email].map(|one| one.as_ref().map(|one| one.reveal().clone()));
    [
        ("department", department.clone()),
        ("extension", extension.clone()),
        ("mobile", mobile),
        ("email", email),
        ("hours", hours.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The people of a file on one line each, or its mistakes.
    pub(super) fn shown(text: &str, format: Format) -> String {
        let lines: Vec<String> = match read(text.as_bytes(), format) {
            Ok(people) => {
                let fields = |person: &PersonRow| {
                    let fields = fields(person).into_iter();
                    fields.filter_map(|(name, value)| Some(format!(" {name}={}", value?))).collect::<String>()
                };
                people.iter().map(|person| format!("{}:{}", person.name, fields(person))).collect()
            }
            Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
        };
        lines.join("\n")
    }

    #[test]
    fn a_file_in_another_encoding_is_named_with_its_place() {
        let mistakes = read(b"name\r\nAnna\r\nJos\xE9\r\n", Format::Csv).unwrap_err();
        let expected = "line 3, column 4: found \"byte 0xE9\", expected UTF-8: save the file in this encoding";
        assert_eq!(mistakes[0].to_string(), expected);
        assert_eq!(read(&vec![b'a'; FILE_MAX_BYTES + 1], Format::Csv).unwrap_err().len(), 1);
    }

    #[test]
    fn what_an_import_changes_is_known_before() {
        let row = |name: &str, extension: Option<&str>, email: Option<&str>| PersonRow {
            name: name.into(),
            extension: extension.map(str::to_owned),
            email: email.map(|email| Redacted::new(email.to_owned())),
            ..PersonRow::default()
        };
        let known = [row("Anna", Some("101"), Some("a@b.example")), row("Ben", Some("102"), None)];
        let new = [row("anna", Some("103"), None), row("Ben", Some("102"), None), row("Carla", None, None)];
        let changed = Change::Changed(vec![("extension", Some("101".into()), "103".into())]);
        assert_eq!(compare(&known, &new), [changed, Change::Same, Change::New]);
    }

    #[test]
    fn whatever_is_read_nothing_panics() {
        use proptest::prelude::*;
        let pieces = [
            "BEGIN:VCARD\n",
            "END:VCARD",
            "VERSION:4.0\r\n",
            " ",
            "\"",
            ",",
            ";",
            "FN:é\n",
            "TEL;TYPE=\"",
            ":",
            "name",
            "\n",
            "\\",
        ];
        proptest!(|(parts in prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40))| {
            let text = parts.concat();
            for format in [Format::VCard, Format::Csv] {
                if let Err(mistakes) = read(text.as_bytes(), format) {
                    prop_assert!(!mistakes.is_empty() && mistakes.len() <= MISTAKES_MAX);
                }
            }
        });
    }
}
