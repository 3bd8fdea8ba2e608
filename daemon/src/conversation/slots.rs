//! The particulars in what a caller says: a day, a number, an address, a name.
//!
//! Rules, no model: a number that a caller spells must come out digit by digit or not at all. Left out on purpose:
//! whether a number is dialable, and relative times of day.

use crate::office::hours::DayQuery;
use jiff::civil::Weekday;

/// What was named. Anything may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    /// The day a question is about.
    pub day: Option<DayQuery>,
    /// Digits of a telephone number, five or more.
    pub phone: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// The caller's name.
    pub name: Option<String>,
    /// A department, or a person, that is asked for.
    pub department: Option<String>,
}

impl Slots {
    /// Takes over whatever `newer` names.
    pub fn merge(&mut self, newer: &Slots) {
        let Slots { day, phone, email, name, department } = newer.clone();
        self.day = day.or(self.day.take());
        self.phone = phone.or(self.phone.take());
        self.email = email.or(self.email.take());
        self.name = name.or(self.name.take());
        self.department = department.or(self.department.take());
    }

    /// Name and value of each filled slot, for a turn row. The order is fixed.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let day = self.day.as_ref().map(ToString::to_string);
        let slots = [
            ("day", day),
            ("phone", self.phone.clone()),
            ("email", self.email.clone()),
            ("name", self.name.clone()),
            ("department", self.department.clone()),
        ];
        slots.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Finds everything in a transcript. `departments` are the names that may be asked for, in small letters.
    pub fn find(text: &str, departments: &[String]) -> Self {
        let digits = spoken_digits(text);
        Self {
            day: day(text),
            phone: (5..=15).contains(&digits.len()).then_some(digits),
            email: email(text),
            name: name(text),
            department: department(text, departments),
        }
    }
}

/// The digits in a text, spoken or written: "five double oh, 12" is `50012`. Text without a digit word gives none.
/// Numbers above nine are not read as digits unless written as such; "at three" is a time and "number one" is not a
/// number, so fewer than three digits give none.
pub fn spoken_digits(text: &str) -> String {
    let mut digits = String::new();
    let mut times = 1;
    for word in super::words(&text.replace(['-', '.', '(', ')', '+'], " ")) {
        let value = match word.as_str() {
            "zero" | "oh" | "o" | "nought" | "null" => "0",
            "one" => "1",
            "two" => "2",
            "three" => "3",
            "four" => "4",
            "five" => "5",
            "six" => "6",
            "seven" => "7",
            "eight" => "8",
            "nine" => "9",
            "double" => {
                times = 2;
                continue;
            }
            "triple" | "treble" => {
                times = 3;
                continue;
            }
            written if written.bytes().all(|b| b.is_ascii_digit()) => written,
            _ => {
                times = 1;
                continue;
            }
        };
        for _ in 0..times {
            digits.push_str(value);
        }
        times = 1;
    }
    if digits.len() < 3 { String::new() } else { digits.chars().take(32).collect() }
}

/// The day a text names.
pub fn day(text: &str) -> Option<DayQuery> {
    let words = super::words(text);
    let joined = words.join(" ");
    let has = |phrase: &str| contains_words(&joined, phrase);
    if let Some(name) = NAMED_DAYS.iter().find(|name| joined.contains(**name)) {
        return Some(DayQuery::Named((*name).into()));
    }
    if has("day after tomorrow") {
        return Some(DayQuery::DayAfterTomorrow);
    }
    if let Some(date) = date(&words) {
        return Some(date);
    }
    for (i, word) in words.iter().enumerate() {
        let Some(day) = weekday(word) else { continue };
        return Some(DayQuery::Weekday { day, next: i > 0 && words[i - 1] == "next" });
    }
    let phrases = [
        ("tomorrow", DayQuery::Tomorrow),
        ("today", DayQuery::Today),
        ("tonight", DayQuery::Today),
        ("this evening", DayQuery::Today),
        ("this afternoon", DayQuery::Today),
        ("this morning", DayQuery::Today),
        ("weekend", DayQuery::Weekend),
        ("weekends", DayQuery::Weekend),
        ("week", DayQuery::Week),
        ("weekdays", DayQuery::Week),
        ("every day", DayQuery::Week),
        ("right now", DayQuery::Now),
        ("now", DayQuery::Now),
    ];
    phrases.into_iter().find(|(phrase, _)| has(phrase)).map(|(_, query)| query)
}

const NAMED_DAYS: &[&str] = &[
    "christmas eve",
    "christmas",
    "boxing day",
    "new year's eve",
    "new years eve",
    "new year",
    "thanksgiving",
    "easter",
    "good friday",
    "independence day",
    "fourth of july",
    "labor day",
    "labour day",
    "memorial day",
    "halloween",
    "veterans day",
    "columbus day",
    "president's day",
    "valentine",
    "bank holiday",
];

pub(crate) fn contains_words(joined: &str, phrase: &str) -> bool {
    let (text, phrase) = (format!(" {joined} "), format!(" {phrase} "));
    text.contains(&phrase)
}

fn weekday(word: &str) -> Option<Weekday> {
    let word = word.trim_end_matches("'s");
    let word = word.strip_suffix('s').unwrap_or(word);
    Some(match word {
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    MONTHS.iter().position(|month| *month == word).map(|i| i as i8 + 1)
}

/// "December 24th", "the fourth of July", "24 December".
fn date(words: &[String]) -> Option<DayQuery> {
    for (i, word) in words.iter().enumerate() {
        let Some(month) = month(word) else { continue };
        let after = words.get(i + 1).and_then(|w| day_of_month(w, words.get(i + 2)));
        let before = || {
            let end = if i >= 2 && words[i - 1] == "of" { i - 2 } else { i.checked_sub(1)? };
            let compound = end.checked_sub(1).and_then(|tens| day_of_month(&words[tens], words.get(end)));
            compound.filter(|day| *day > 20).or_else(|| day_of_month(words.get(end)?, None))
        };
        if let Some(day) = after.or_else(before) {
            return Some(DayQuery::Date { month, day });
        }
    }
    None
}

const ORDINALS: [&str; 20] = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
];

fn day_of_month(word: &str, following: Option<&String>) -> Option<i8> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if let Ok(day) = digits.parse::<i8>() {
        return (1..=31).contains(&day).then_some(day);
    }
    let unit = |w: &str| ORDINALS.iter().take(9).position(|o| *o == w).map(|i| i as i8 + 1);
    match word {
        "twenty" => following.and_then(|w| unit(w)).map(|u| 20 + u),
        "thirty" => following.and_then(|w| unit(w)).filter(|u| *u == 1).map(|u| 30 + u),
        "thirtieth" => Some(30),
        _ => match word.split_once('-') {
            Some(("twenty", u)) => unit(u).map(|u| 20 + u),
            Some(("thirty", "first")) => Some(31),
            Some(_) | None => ORDINALS.iter().position(|o| *o == word).map(|i| i as i8 + 1),
        },
    }
}

/// "anna dot smith at example dot com", or the address as written.
pub fn email(text: &str) -> Option<String> {
    let words: Vec<String> =
        text.to_lowercase().split_whitespace().map(|w| w.trim_matches([',', '.', '?', '!', ';']).into()).collect();
    if let Some(written) =
        words.iter().find(|w| w.split_once('@').is_some_and(|(l, d)| !l.is_empty() && d.contains('.')))
    {
        return Some(written.clone());
    }
    let at = words.iter().enumerate().position(|(i, w)| w == "at" && words[i..].iter().any(|w| w == "dot"))?;
    let part = |words: &[String]| {
        let symbol = |w: &String| match w.as_str() {
            "dot" => ".".to_string(),
            "dash" | "hyphen" | "minus" => "-".into(),
            "underscore" => "_".into(),
            other => other.into(),
        };
        words.iter().map(symbol).collect::<String>()
    };
    let is_joint = |w: &String| matches!(w.as_str(), "dot" | "dash" | "hyphen" | "minus" | "underscore");
    // Backwards from "at": one word, and further ones only across "dot" and its like.
    let mut start = at.checked_sub(1)?;
    while start >= 2 && is_joint(&words[start - 1]) {
        start -= 2;
    }
    let mut end = at + 2;
    while end + 1 < words.len() && is_joint(&words[end]) {
        end += 2;
    }
    let (local, domain) = (part(&words[start..at]), part(words.get(at + 1..end)?));
    (domain.contains('.') && !local.is_empty()).then(|| format!("{local}@{domain}"))
}

/// "My name is Anna Smith."
pub fn name(text: &str) -> Option<String> {
    const LEADS: &[&str] = &["my name is ", "my name's ", "this is ", "i am called ", "speaking is "];
    const NOT_NAMES: &[&str] = &[
        "a",
        "an",
        "the",
        "not",
        "about",
        "for",
        "in",
        "on",
        "it",
        "that",
        "my",
        "very",
        "so",
        "really",
        "urgent",
        "important",
        "wrong",
        "correct",
        "right",
        "what",
        "how",
        "calling",
        "number",
    ];
    let plain = text.replace('’', "'");
    let small = plain.to_ascii_lowercase();
    let start = LEADS.iter().find_map(|lead| small.find(lead).map(|at| at + lead.len()))?;
    let rest = plain.get(start..)?;
    // "This is Anna" against "this is great": a transcript writes names in capitals.
    let introduced = small[..start].ends_with("this is ");
    if introduced && !rest.starts_with(char::is_uppercase) {
        return None;
    }
    let end = rest.find([',', '.', '?', '!', ';']).unwrap_or(rest.len());
    let is_name = |w: &&str| {
        let small = w.to_lowercase();
        !matches!(small.as_str(), "and" | "from" | "calling" | "speaking" | "i" | "i'm" | "my")
            && w.chars().all(|c| c.is_alphabetic() || "-'".contains(c))
    };
    let name: Vec<String> = rest[..end].split_whitespace().take_while(is_name).take(3).map(capitalised).collect();
    let first = name.first()?.to_lowercase();
    (!NOT_NAMES.contains(&first.as_str())).then(|| name.join(" "))
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn department(text: &str, departments: &[String]) -> Option<String> {
    let joined = super::words(text).join(" ");
    let known = departments.iter().find(|name| contains_words(&joined, name)).cloned();
    known.or_else(|| {
        let (before, _) = joined.split_once(" department")?;
        before
            .split_whitespace()
            .last()
            .filter(|w| !matches!(*w, "the" | "a" | "your" | "which" | "right"))
            .map(Into::into)
    })
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
            ("(212) 555-0142", "2125550142"),
            ("it's seven four one, nine nine, two", "741992"),
            ("at three", ""),
            ("one or two", ""),
            ("", ""),
        ] {
            assert_eq!(spoken_digits(text), expected, "{text}");
        }
    }

    #[test]
    fn days_are_found_in_what_people_say() {
        let weekday = |day, next| Some(DayQuery::Weekday { day, next });
        let date = |month, day| Some(DayQuery::Date { month, day });
        for (text, expected) in [
            ("and on Sundays?", weekday(Weekday::Sunday, false)),
            ("next Tuesday at three", weekday(Weekday::Tuesday, true)),
            ("Friday's hours", weekday(Weekday::Friday, false)),
            ("tomorrow", Some(DayQuery::Tomorrow)),
            ("the day after tomorrow", Some(DayQuery::DayAfterTomorrow)),
            ("Are you open now?", Some(DayQuery::Now)),
            ("this weekend", Some(DayQuery::Weekend)),
            ("on the twenty-fourth of December", date(12, 24)),
            ("December 24th", date(12, 24)),
            ("July fourth", date(7, 4)),
            ("the first of May", date(5, 1)),
            ("over Christmas", Some(DayQuery::Named("christmas".into()))),
            ("on Christmas Eve", Some(DayQuery::Named("christmas eve".into()))),
            ("May I ask something?", None),
            ("What are your hours?", None),
        ] {
            assert_eq!(day(text), expected, "{text}");
        }
    }

    #[test]
    fn names_and_addresses_are_found() {
        for (text, expected) in [
            ("My name is anna smith, and I have a question.", Some("Anna Smith")),
            ("This is Peter from Boston.", Some("Peter")),
            ("my name's O'Neill", Some("O'Neill")),
            ("This is really urgent.", None),
            ("this is great", None),
            ("My name is", None),
        ] {
            assert_eq!(name(text).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("My e-mail address is anna dot smith at example dot com.", Some("anna.smith@example.com")),
            ("Write to anna@example.com, please.", Some("anna@example.com")),
            ("it is j dash doe at mail dot example dot org", Some("j-doe@mail.example.org")),
            ("Look at the dot.", None),
            ("I am at home.", None),
        ] {
            assert_eq!(email(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn departments_are_known_or_named() {
        let known = vec!["billing".to_string()];
        assert_eq!(department("Billing, please", &known).as_deref(), Some("billing"));
        assert_eq!(department("Connect me to the sales department", &known).as_deref(), Some("sales"));
        assert_eq!(department("the department", &known), None);
    }

    #[test]
    fn newer_values_replace_older_ones() {
        let mut slots = Slots { name: Some("A".into()), day: Some(DayQuery::Today), ..Slots::default() };
        slots.merge(&Slots { day: Some(DayQuery::Tomorrow), ..Slots::default() });
        assert_eq!((slots.name.as_deref(), slots.day), (Some("A"), Some(DayQuery::Tomorrow)));
    }

    #[test]
    fn entries_name_only_what_is_known() {
        let found = Slots::find("My name is Anna, are you open next Tuesday?", &[]);
        assert_eq!(found.entries(), [("day", "next tuesday".to_string()), ("name", "Anna".to_string())]);
    }

    proptest! {
        /// Transcripts come from a model: any text may come.
        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}|([a-z]{1,6} (at|dot|dash|my name is|double|of|may) ){0,8}") {
            let slots = Slots::find(&text, &["billing".into()]);
            prop_assert!(slots.phone.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.len() <= 15));
        }
    }
}
