//! Where one sentence ends and the next begins, well enough to speak one without the other. English and German.

/// Abbreviations whose full stop does not end a sentence, lower case, without it.
const ABBREVIATIONS: &[&str] = &[
    "dr", "mr", "mrs", "ms", "prof", "st", "approx", "ca", "e.g", "i.e", "z.b", "d.h", "bzw", "inkl", "incl", "tel",
    "str", "vs", "jr", "sr", "ave", "rd", "min", "max", "evtl", "ggf", "u.a", "inc", "ltd", "co", "ext", "dept", "jan",
    "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
];
/// Abbreviations that may well close a sentence: a capital letter after them begins the next one.
const CLOSING: &[&str] = &["a.m", "p.m", "etc", "usw"];

const GERMAN_MONTHS: &[&str] = &[
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
];

/// The sentences of `text` in order, trimmed, none empty. Numbers ("3.5"), abbreviations ("Dr. Meier"), clock times
/// ("9 a.m. to 5 p.m.") and German ordinals ("am 3. Mai") stay whole.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, mark) in text.char_indices().filter(|(_, c)| matches!(c, '.' | '!' | '?' | '…')) {
        let end = at + mark.len_utf8();
        // A mark that already closed the sentence before it: the third of "Wait...".
        if at < start || !ends_sentence(&text[start..at], mark, &text[end..]) {
            continue;
        }
        let end = end + closing_marks(&text[end..]);
        found.push(text[start..end].trim());
        start = end;
    }
    found.push(text[start..].trim());
    found.retain(|sentence| !sentence.is_empty());
    found
}

fn ends_sentence(before: &str, mark: char, after: &str) -> bool {
    let rest = &after[closing_marks(after)..];
    let Some(next) = rest.chars().next() else { return true };
    if !next.is_whitespace() {
        return false;
    }
    let follows = rest.trim_start().chars().next();
    let Some(follows) = follows else { return true };
    if mark != '.' {
        return mark == '…' || !follows.is_lowercase();
    }
    let word = before.rsplit(char::is_whitespace).next().unwrap_or("").trim_start_matches(['(', '"', '„', '“']);
    !follows.is_lowercase() && !is_abbreviation(word, follows) && !is_ordinal(word, rest)
}

fn is_abbreviation(word: &str, follows: char) -> bool {
    let word = word.to_lowercase();
    match word.as_str() {
        // "No." is an answer more often than a number.
        "no" | "nr" => follows.is_ascii_digit(),
        closing if CLOSING.contains(&closing) => !follows.is_uppercase(),
        // "So do I."
        "i" => false,
        // A single letter is an initial ("J. Smith").
        _ => {
            word.chars().count() == 1 && word.chars().all(char::is_alphabetic) || ABBREVIATIONS.contains(&word.as_str())
        }
    }
}

/// "3. Mai", "24. Dezember": one or two digits before the name of a month.
fn is_ordinal(word: &str, after: &str) -> bool {
    let next = after.split_whitespace().next().unwrap_or_default().trim_end_matches(|c: char| !c.is_alphabetic());
    word.len() <= 2 && !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) && GERMAN_MONTHS.contains(&next)
}

/// Length in bytes of the quotes and brackets that close with the sentence.
fn closing_marks(after: &str) -> usize {
    after.len() - after.trim_start_matches(['"', '\'', ')', '”', '“', '»', '.', '!', '?']).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_a_reader_would() {
        let table: &[(&str, &[&str])] = &[
            ("One. Two! Three? Four", &["One.", "Two!", "Three?", "Four"]),
            ("It costs 3.50 euros. Cash only.", &["It costs 3.50 euros.", "Cash only."]),
            ("Ask for Dr. Meier. She is in.", &["Ask for Dr. Meier.", "She is in."]),
            ("Open 9 a.m. to 5 p.m. on Mondays.", &["Open 9 a.m. to 5 p.m. on Mondays."]),
            ("Geschlossen am 3. Mai. Danach offen.", &["Geschlossen am 3. Mai.", "Danach offen."]),
            ("\"Come in!\" she said. Good.", &["\"Come in!\" she said.", "Good."]),
            ("See example.org. Bye.", &["See example.org.", "Bye."]),
            ("Wait... Öffnet um 9.", &["Wait...", "Öffnet um 9."]),
            ("äa.. #", &["äa..", "#"]),
            ("", &[]),
            (" . ", &["."]),
        ];
        for (text, expected) in table {
            assert_eq!(sentences(text), *expected, "{text}");
        }
    }

    proptest::proptest! {
        /// Nothing but white space between sentences is lost, for any input.
        #[test]
        fn keeps_every_character(text in "[a-zA-Zäß.!?…\"') 0-9]{0,80}") {
            let kept: String = sentences(&text).concat();
            let squeeze = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            proptest::prop_assert_eq!(squeeze(&kept), squeeze(&text));
        }
    }
}
