//! People in vCards, version 3.0 (RFC 2426) and 4.0 (RFC 6350), as address books export them.
//!
//! Taken are FN, of TEL a mobile and an extension, the preferred EMAIL, and the unit of ORG as the department. Everything
//! else is passed over, as the RFCs want it.

use super::{Cell, Draft, Mistake, Place};

/// One property: `group.NAME;PARAM=VALUE:value`, unfolded.
struct Property {
    at: Place,
    name: String,
    /// Names in capitals, values as written.
    parameters: Vec<(String, String)>,
    value: Cell,
}

pub(super) fn drafts(text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let mut card: Option<Card> = None;
    for line in unfolded(text) {
        let Some(property) = property(&line, mistakes) else { continue };
        let value = property.value.1.trim().to_ascii_uppercase();
        match (property.name.as_str(), card.as_mut()) {
            ("BEGIN", None) if value == "VCARD" => card = Some(Card::begun(property.at)),
            ("END", Some(_)) if value == "VCARD" => drafts.extend(card.take().and_then(|card| card.ended(mistakes))),
            ("BEGIN" | "END", Some(_)) => {
                mistakes.push(Mistake::new(property.at, &line.text(), "END:VCARD"));
            }
            (_, None) => {
                mistakes.push(Mistake::new(property.at, &line.text(), "BEGIN:VCARD"));
                // The same would be said of every line of it.
                return drafts;
            }
            (_, Some(card)) => card.take(property, mistakes),
        }
    }
    if let Some(card) = card {
        mistakes.push(Mistake::new(card.at, "BEGIN:VCARD", "an END:VCARD for it"));
    }
    drafts
}

/// A card being read.
struct Card {
    at: Place,
    has_version: bool,
    draft: Draft,
    /// From 1, the most preferred; without any, as it comes.
    email_rank: u32,
}

impl Card {
    fn begun(at: Place) -> Card {
        Card { at, has_version: false, draft: Draft::default(), email_rank: u32::MAX }
    }

    fn take(&mut self, property: Property, mistakes: &mut Vec<Mistake>) {
        let (at, value) = property.value.clone();
        match property.name.as_str() {
            "VERSION" => {
                self.has_version = true;
                if !matches!(value.trim(), "3.0" | "4.0") {
                    mistakes.push(Mistake::new(at, &value, "version 3.0 or 4.0"));
                }
            }
            "FN" if self.draft.name.is_none() => self.draft.name = Some((at, unescaped(&value))),
            "TEL" => self.take_number(&property),
            "EMAIL" => {
                let rank = rank(&property);
                if self.draft.email.is_none() || rank < self.email_rank {
                    (self.draft.email, self.email_rank) = (Some((at, unescaped(&value))), rank);
                }
            }
            "ORG" => {
                // The first component is the organisation itself.
                let unit = components(&value).into_iter().nth(1).filter(|unit| !unit.trim().is_empty());
                self.draft.department = unit.map(|unit| (at, unit));
            }
            _ => {}
        }
    }

    /// A cell phone is a mobile; a number as short as an extension is one, and so is the `ext` of a `tel:` address (RFC 3966).
    fn take_number(&mut self, property: &Property) {
        let (at, value) = (property.value.0, unescaped(&property.value.1));
        let value = value.trim().strip_prefix("tel:").unwrap_or(value.trim()).to_owned();
        let (number, after) = value.split_once(';').unwrap_or((&value, ""));
        if let Some(extension) = after.split(';').find_map(|parameter| parameter.strip_prefix("ext=")) {
            self.draft.extension.get_or_insert((at, extension.to_owned()));
        }
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        if is_of_type(property, "CELL") {
            self.draft.mobile.get_or_insert((at, number.to_owned()));
        } else if digits <= 6 && digits == number.len() {
            self.draft.extension.get_or_insert((at, number.to_owned()));
        }
    }

    fn ended(self, mistakes: &mut Vec<Mistake>) -> Option<Draft> {
        if !self.has_version {
            mistakes.push(Mistake::new(self.at, "BEGIN:VCARD", "a VERSION in the card, 3.0 or 4.0"));
        }
        if self.draft.name.as_ref().is_none_or(|(_, name)| name.trim().is_empty()) {
            mistakes.push(Mistake::new(self.at, "BEGIN:VCARD", "an FN in the card: the name"));
            return None;
        }
        Some(self.draft)
    }
}

/// `TYPE=cell`, `TYPE="cell,work"`, or the bare word of old exports.
fn is_of_type(property: &Property, wanted: &str) -> bool {
    let of_type = property.parameters.iter().filter(|(name, _)| name == "TYPE" || name.is_empty());
    of_type.flat_map(|(_, value)| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

fn rank(property: &Property) -> u32 {
    let pref = property.parameters.iter().find(|(name, _)| name == "PREF");
    let by_number = pref.and_then(|(_, value)| value.trim().parse().ok());
    by_number.unwrap_or(if is_of_type(property, "PREF") { 1 } else { u32::MAX })
}

/// A line with those that continue it, and where each of its letters stood.
struct Unfolded {
    letters: Vec<(Place, char)>,
}

impl Unfolded {
    fn text(&self) -> String {
        self.letters.iter().map(|(_, letter)| *letter).collect()
    }
}

/// RFC 6350 §3.2: a line that begins with a space goes on with the one before.
fn unfolded(text: &str) -> Vec<Unfolded> {
    let mut lines: Vec<Unfolded> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = |column: usize| Place { line: index + 1, column: column + 1 };
        let mut letters = line.chars().enumerate().map(|(column, letter)| (place(column), letter)).peekable();
        match lines.last_mut() {
            Some(before) if line.starts_with([' ', '\t']) => {
                letters.next();
                before.letters.extend(letters);
            }
            Some(_) | None if line.trim().is_empty() => {}
            Some(_) | None => lines.push(Unfolded { letters: letters.collect() }),
        }
    }
    lines
}

fn property(line: &Unfolded, mistakes: &mut Vec<Mistake>) -> Option<Property> {
    let at = line.letters.first()?.0;
    let mut quoted = false;
    let colon = line.letters.iter().position(|(_, letter)| {
        quoted ^= *letter == '"';
        *letter == ':' && !quoted
    });
    let Some(colon) = colon else {
        mistakes.push(Mistake::new(at, &line.text(), "a property such as FN:Anna Weber"));
        return None;
    };
    let (head, value) = line.letters.split_at(colon);
    let head: String = head.iter().map(|(_, letter)| *letter).collect();
    let after_colon = Place { column: value[0].0.column + 1, ..value[0].0 };
    let value_at = value.get(1).map_or(after_colon, |(at, _)| *at);
    let value: String = value.iter().skip(1).map(|(_, letter)| *letter).collect();
    let mut parts = split_outside_quotes(&head, ';').into_iter();
    let name = parts.next().unwrap_or_default();
    // `item1.TEL`: a group.
    let name = name.rsplit('.').next().unwrap_or_default().trim().to_ascii_uppercase();
    let parameters: Vec<(String, String)> = parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.to_ascii_uppercase(), value.trim_matches('"').to_owned()),
            None => (String::new(), part),
        })
        .collect();
    let is_printable = |(name, value): &(String, String)| {
        (name == "ENCODING" || name.is_empty()) && value.eq_ignore_ascii_case("quoted-printable")
    };
    if parameters.iter().any(is_printable) {
        mistakes.push(Mistake::new(at, &head, "plain text: quoted-printable is of version 2.1"));
        return None;
    }
    Some(Property { at, name, parameters, value: (value_at, value) })
}

fn split_outside_quotes(text: &str, at: char) -> Vec<String> {
    let mut quoted = false;
    let parts = text.split(|letter| {
        quoted ^= letter == '"';
        letter == at && !quoted
    });
    parts.map(str::to_owned).collect()
}

/// RFC 6350 §3.4.
fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n' | 'N') => plain.push(' '),
                Some(escaped) => plain.push(escaped),
                None => plain.push('\\'),
            },
            _ => plain.push(letter),
        }
    }
    plain
}

/// The parts of a structured value, which semicolons separate.
fn components(text: &str) -> Vec<String> {
    let mut escaped = false;
    let parts = text.split(|letter| {
        let separates = letter == ';' && !escaped;
        escaped = letter == '\\' && !escaped;
        separates
    });
    parts.map(unescaped).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::shown;

    #[test]
    fn cards_of_both_versions_are_read() {
        let text = "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Weber;Anna;;;\r\nFN:Anna We\r\n ber\r\nORG:Riverside;Billing\\, Tax\r\n\
            item1.TEL;type=CELL;type=VOICE:+1 212 555 0199\r\nTEL;TYPE=WORK:102\r\nEMAIL;TYPE=HOME:a@home.example\r\n\
            EMAIL;TYPE=INTERNET,PREF:anna@office.example\r\nPHOTO;ENCODING=b:AAAA\r\n  BBBB\r\nEND:VCARD\r\n\r\n\
            begin:vcard\nVERSION:4.0\nFN;LANGUAGE=en:Ben\\; Jr.\nTEL;VALUE=uri;TYPE=\"cell,text\":tel:+1-212-555-0101\n\
            TEL;VALUE=uri:tel:+12125550142;ext=103\nEMAIL;PREF=2:b@home.example\nEMAIL;PREF=1:ben@office.example\n\
            X-NOTE;X-P=\"a:b;c\":x\nend:vcard\n";
        assert_eq!(
            shown(text, Format::VCard),
            "Anna Weber: department=Billing, Tax extension=102 mobile=+12125550199 email=anna@office.example\n\
             Ben; Jr.: extension=103 mobile=+12125550101 email=ben@office.example"
        );
    }

    #[test]
    fn mistakes_have_their_line_and_column() {
        let card = |body: &str| format!("BEGIN:VCARD\nVERSION:4.0\n{body}\nEND:VCARD\n");
        for (text, expected) in [
            (String::new(), "line 1, column 1: found \"nobody\", expected at least one person"),
            (
                "name,email\n".into(),
                "line 1, column 1: found \"name,email\", expected a property such as FN:Anna Weber",
            ),
            ("FN:Anna\nFN:Ben".into(), "line 1, column 1: found \"FN:Anna\", expected BEGIN:VCARD"),
            (
                "BEGIN:VCARD\nVERSION:4.0\nFN:A\n".into(),
                "line 1, column 1: found \"BEGIN:VCARD\", expected an END:VCARD for it",
            ),
            (
                "BEGIN:VCARD\nVERSION:2.1\nFN:A\nEND:VCARD".into(),
                "line 2, column 9: found \"2.1\", expected version 3.0 or 4.0",
            ),
            (
                "BEGIN:VCARD\nFN:A\nEND:VCARD".into(),
                "line 1, column 1: found \"BEGIN:VCARD\", expected a VERSION in the card, 3.0 or 4.0",
            ),
            (card("N:A;B"), "line 1, column 1: found \"BEGIN:VCARD\", expected an FN in the card: the name"),
            (
                card("FN:Anna\nTEL;TYPE=cell:0199"),
                "line 4, column 15: found \"0199\", expected E.164 with +, such as +12125550142",
            ),
            // In a line that is folded, where it really stands.
            (
                card("FN:Anna\nEMAIL:\n nobody"),
                "line 5, column 2: found \"nobody\", expected an e-mail address such as anna@example.com",
            ),
            (
                card("FN;ENCODING=QUOTED-PRINTABLE:A=20B"),
                "line 1, column 1: found \"BEGIN:VCARD\", expected an FN in the card: the name\nline 3, column 1: found \"FN;ENCODING=QUOTED-PRINTABLE\", expected plain text: quoted-printable is of version 2.1",
            ),
        ] {
            assert_eq!(shown(&text, Format::VCard), expected, "{text:?}");
        }
    }
}
