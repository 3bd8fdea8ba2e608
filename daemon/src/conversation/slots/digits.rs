//! Digits that callers tell: telephone numbers, and codes with letters among them.
//!
//! Digits come in groups ("five five five, zero one two three"), doubled ("double oh"), as small numbers ("fifty-five",
//! "eight hundred") and corrected ("one two, no, seven"). A correction replaces as many of the last digits as the group
//! behind it has. What was understood is read back, so a guess that is wrong is heard.

use super::numbers::{cardinal, unit};
use super::spelling;

/// More digits than any number has: bounds what a rambling caller makes us keep.
const DIGITS_MAX: usize = 32;
/// Words between digits that do not end a number.
const JOINTS: &[&str] =
    &["um", "uh", "er", "erm", "and", "then", "dash", "hyphen", "area", "code", "plus", "space", "ah"];
/// Words that take back what was said last.
const CORRECTIONS: &[&str] = &["no", "sorry", "correction", "wait", "rather"];
/// Words before a code: "my account number is".
const CODE_CUES: &[&str] = &[
    "account number",
    "customer number",
    "account code",
    "customer code",
    "client number",
    "order number",
    "reference number",
    "confirmation number",
    "invoice number",
    "case number",
    "policy number",
    "member number",
    "patient number",
    "booking number",
    "ticket number",
    "my account is",
    "my reference is",
];

/// A part of what was said: a word, or the pause of a comma.
fn pieces(text: &str) -> Vec<String> {
    let spaced = text.replace(',', " , ").replace(['-', '(', ')', '+', '/', ';'], " ");
    let plain = |word: &str| match word {
        "," => Some(word.to_owned()),
        _ => Some(word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()).filter(|word| !word.is_empty()),
    };
    let written = |word: &str| word.bytes().all(|b| b.is_ascii_digit() || b == b'.') && word.contains('.');
    spaced
        .split_whitespace()
        // "212.555.0142" is three groups; "anna.smith" is none.
        .flat_map(|word| if written(word) { word.split('.').collect() } else { vec![word] })
        .filter_map(plain)
        .collect()
}

/// The digits the pieces begin with, and how many pieces they take. Small numbers count: "fifty-five", "eight hundred".
pub(super) fn digits(pieces: &[String]) -> Option<(String, usize)> {
    if let Some(found) = single_digits(pieces) {
        return Some(found).filter(|(_, used)| !is_round(pieces, *used)).or_else(|| rounded(pieces));
    }
    rounded(pieces).or_else(|| cardinal(pieces).map(|(value, used)| (value.to_string(), used)))
}

/// As [`digits`], without small numbers.
fn single_digits(pieces: &[String]) -> Option<(String, usize)> {
    let first = pieces.first()?.as_str();
    let times = match first {
        "double" => 2,
        "triple" | "treble" => 3,
        _ => 1,
    };
    if times > 1 {
        let (digit, used) = single_digits(pieces.get(1..)?).filter(|(digit, _)| digit.len() == 1)?;
        return Some((digit.repeat(times), used + 1));
    }
    if matches!(first, "oh" | "o" | "nought" | "null") {
        return Some(("0".into(), 1));
    }
    if first.bytes().all(|b| b.is_ascii_digit()) {
        return Some((first.to_owned(), 1));
    }
    unit(first).filter(|value| *value < 10).map(|value| (value.to_string(), 1))
}

fn is_round(pieces: &[String], at: usize) -> bool {
    pieces.get(at).is_some_and(|word| word == "hundred" || word == "thousand")
}

/// "Eight hundred", "two thousand".
fn rounded(pieces: &[String]) -> Option<(String, usize)> {
    let (value, used) = cardinal(pieces)?;
    let zeros = match pieces.get(used)?.as_str() {
        "hundred" => "00",
        "thousand" => "000",
        _ => return None,
    };
    Some((format!("{value}{zeros}"), used + 1))
}

/// The longest run of digits in a text: "five double oh, 12" is `50012`. Fewer than three digits give none: "at three" is
/// a time. So are "three thirty" and "ten thirty and eleven thirty": small numbers count only in a run of five digits or
/// more, and where at least three are told one by one.
pub fn spoken_digits(text: &str) -> String {
    let mut pieces = pieces(text);
    hear_oh(&mut pieces);
    let narrow = longest(&pieces, single_digits);
    let wide = longest(&pieces, digits);
    let found = if wide.len() >= 5 && narrow.len() >= 3 { wide } else { narrow };
    if found.len() < 3 { String::new() } else { found.chars().take(DIGITS_MAX).collect() }
}

/// "Five, a one": recognisers take an "oh" between two digits for an "a", which nobody says there.
fn hear_oh(pieces: &mut [String]) {
    let is_digit =
        |piece: Option<&String>| piece.is_some_and(|piece| single_digits(std::slice::from_ref(piece)).is_some());
    for at in 1..pieces.len() {
        let before = pieces[..at].iter().rev().find(|piece| *piece != ",");
        if pieces[at] == "a" && is_digit(before) && is_digit(pieces.get(at + 1)) {
            pieces[at] = "oh".into();
        }
    }
}

fn longest(pieces: &[String], read: fn(&[String]) -> Option<(String, usize)>) -> String {
    let mut longest = String::new();
    let mut at = 0;
    while at < pieces.len() {
        let (run, used) = run(&pieces[at..], read);
        if run.len() > longest.len() {
            longest = run;
        }
        at += used.max(1);
    }
    longest
}

/// Characters until something else is said, corrections applied, and how many pieces they take.
fn run(pieces: &[String], read: impl Fn(&[String]) -> Option<(String, usize)>) -> (String, usize) {
    let mut groups: Vec<String> = Vec::new();
    let mut corrects = false;
    let mut open = false;
    let (mut at, mut end) = (0, 0);
    while at < pieces.len() {
        if !groups.is_empty() && pieces[at..].starts_with(&["i".to_owned(), "mean".to_owned()]) {
            corrects = true;
            at += 2;
            continue;
        }
        if let Some((found, used)) = read(&pieces[at..]) {
            if open
                && !corrects
                && let Some(group) = groups.last_mut()
            {
                group.push_str(&found);
            } else {
                if std::mem::take(&mut corrects) {
                    let group = whole_group(&pieces[at..], &read);
                    take_back(&mut groups, group);
                }
                groups.push(found);
            }
            open = true;
            at += used;
            end = at;
            continue;
        }
        let word = pieces[at].as_str();
        if word == "," {
            open = false;
        } else if CORRECTIONS.contains(&word) && !groups.is_empty() {
            corrects = true;
        } else if !(JOINTS.contains(&word) && !groups.is_empty() || corrects && matches!(word, "it's" | "is")) {
            break;
        }
        at += 1;
    }
    (groups.concat(), end)
}

/// How many characters there are until the next pause or other word.
fn whole_group(pieces: &[String], read: &impl Fn(&[String]) -> Option<(String, usize)>) -> usize {
    let (mut at, mut length) = (0, 0);
    while let Some((found, used)) = pieces.get(at..).and_then(read) {
        length += found.len();
        at += used;
    }
    length
}

/// Removes the last `count` characters; all of them when a whole number is said anew.
fn take_back(groups: &mut Vec<String>, count: usize) {
    let mut left = if count >= 7 { usize::MAX } else { count };
    while let Some(mut last) = groups.pop() {
        if last.len() > left {
            last.truncate(last.len() - left);
            groups.push(last);
            return;
        }
        left -= last.len();
        if left == 0 {
            return;
        }
    }
}

/// An account, customer or order code: what follows "my account number is". Letters in capitals.
pub(super) fn code(text: &str) -> Option<String> {
    let small = text.to_lowercase();
    let after = CODE_CUES.iter().filter_map(|cue| small.find(cue).map(|at| at + cue.len())).min()?;
    let pieces = pieces(small.get(after..)?);
    let starts =
        pieces.iter().position(|piece| !matches!(piece.as_str(), "is" | "it's" | "," | "um" | "uh" | "the"))?;
    let character = |pieces: &[String]| digits(pieces).or_else(|| spelling::letter(pieces));
    let (code, _) = run(&pieces[starts..], character);
    let code: String = code.to_uppercase().chars().take(DIGITS_MAX).collect();
    (code.len() >= 3 && code.bytes().any(|b| b.is_ascii_digit())).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_are_spelled_doubled_and_written() {
        for (text, expected) in [
            ("My number is five five five, zero one two three.", "5550123"),
            ("double five, one oh two", "55102"),
            ("triple zero one", "0001"),
            ("five double oh, 12", "50012"),
            ("(212) 555-0142", "2125550142"),
            ("two, one, two, five, five, five, a one, four, two", "2125550142"),
            ("at 3 a m or a 5", ""),
            ("212.555.0142", "2125550142"),
            ("+1 212 555 0142", "12125550142"),
            ("it's seven four one, nine nine, two", "741992"),
            ("eight hundred five five five oh one two three", "8005550123"),
            ("five five five, twenty-one thirty-four", "5552134"),
            ("area code two one two, and then five five five, um, zero one four two", "2125550142"),
            ("I have two dogs, my number is five five five zero one two three", "5550123"),
            ("at three", ""),
            ("one or two", ""),
            ("at three thirty or four fifteen", ""),
            ("at ten thirty and eleven thirty", ""),
            ("My zip is one two three four five, my number is five five five zero one two three", "5550123"),
            ("", ""),
        ] {
            assert_eq!(spoken_digits(text), expected, "{text}");
        }
    }

    #[test]
    fn corrections_replace_what_they_correct() {
        for (text, expected) in [
            ("five five five, zero one two, no, seven", "555017"),
            ("five five five, zero one two three, sorry, zero one two four", "5550124"),
            ("five five five, no, five five six, zero one two three", "5560123"),
            ("five five five zero one two three, I mean, seven", "5550127"),
            ("five five five zero one two three, no wait, two one two five five five zero one four two", "2125550142"),
            ("no, five five five zero one two three", "5550123"),
            ("one, no, two three four five", "2345"),
        ] {
            assert_eq!(spoken_digits(text), expected, "{text}");
        }
    }

    #[test]
    fn codes_have_letters_and_need_a_cue() {
        for (text, expected) in [
            ("My account number is seven four one, nine nine, two.", Some("741992")),
            ("my order number is A B seven four oh", Some("AB740")),
            ("my order number is A B seven four, I mean, seven five", Some("AB75")),
            ("reference number is K for kilo, nine, nine, D as in David, one", Some("K99D1")),
            ("My customer number is alpha bravo one two", Some("AB12")),
            ("My account number is 741-992.", Some("741992")),
            ("My account number is unknown to me.", None),
            ("What is an account number?", None),
            ("seven four one nine nine two", None),
        ] {
            assert_eq!(code(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "((five|double|oh|no|,|hundred|twenty|12|x|account number|a|for) ?){0,12}|\\PC{0,60}") {
            prop_assert!(spoken_digits(&text).bytes().all(|b| b.is_ascii_digit()));
            let _ = code(&text);
        }
    }
}
