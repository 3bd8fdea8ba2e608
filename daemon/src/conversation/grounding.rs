//! Whether a sentence says nothing that its source does not: the last look before something is spoken.
//!
//! What is compared is what will be heard: both are written as a voice says them ([`normalise`]), so "5:00 PM" and
//! "5 p.m." are the same and "5" and "5:30" are not. The sentence of the source that is most about the same has to hold
//! every number with its unit, every day, name and address of the spoken one, and has to deny, limit and close as it
//! does. Stricter than the truth on purpose: a sentence put together from two is refused, even if it is right.
//!
//! Left out on purpose: whether other words mean the same ("six spaces" for "six stairs").

use super::normalise::normalise;
use crate::knowledge::sentences::sentences;
use crate::knowledge::words::{is_stop_word, similar};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What a sentence says and its source does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ungrounded {
    /// A number, amount or time, as it is said.
    #[error("the source has no {0:?}")]
    Number(String),
    /// A day, a month or a part of the day.
    #[error("the source does not name {0:?}")]
    Day(String),
    /// A name, or a word that may be one.
    #[error("the source does not name {0:?}")]
    Name(String),
    /// A part of an address on the net.
    #[error("the source has no address {0:?}")]
    Address(String),
    /// One denies, limits or closes, and the other does not.
    #[error("the source denies or limits something else")]
    Denial,
    /// There is nothing in the source.
    #[error("the source is empty")]
    NoSource,
}

/// Checks one sentence against the text it comes from.
///
/// # Errors
/// With the first thing that the source does not say.
pub fn check(sentence: &str, source: &str) -> Result<(), Ungrounded> {
    let spoken = Facts::of(sentence);
    let known = sentences(source).into_iter().map(Facts::of);
    let nearest = known
        .map(|known| (spoken.shared_with(&known), spoken.missing_in(&known)))
        .max_by_key(|(shared, missing)| (*shared, Reverse(missing.len())));
    match nearest {
        None => Err(Ungrounded::NoSource),
        Some((_, missing)) => missing.into_iter().next().map_or(Ok(()), Err),
    }
}

/// The share of a sentence's telling words that `source` has in one form or another, 0 to 1; 0 for a sentence without any.
/// What has none of them in common is about something else, however little it claims.
pub fn support(sentence: &str, source: &str) -> f32 {
    let (spoken, known) = (Facts::of(sentence), Facts::of(source));
    let telling = spoken.words.iter().filter(|word| !is_stop_word(word) && !is_number(word)).count();
    if telling == 0 { 0.0 } else { spoken.shared_with(&known) as f32 / telling as f32 }
}

/// What of a sentence may not be changed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    /// Words of a number, and its unit if it has one.
    numbers: BTreeSet<(String, String)>,
    days: BTreeSet<String>,
    names: BTreeSet<String>,
    addresses: BTreeSet<String>,
    denials: BTreeSet<Denial>,
    /// Every word: a name may be written small in the source.
    words: BTreeSet<String>,
}

/// How a sentence turns the meaning of its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Denial {
    Not,
    Only,
    Closed,
}

impl Facts {
    fn of(text: &str) -> Facts {
        let spoken = normalise(text);
        let written: Vec<&str> = spoken.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect();
        let words: Vec<String> = written.iter().map(|word| word.to_lowercase()).collect();
        let mut facts = Facts { words: words.iter().map(|word| singular(word)).collect(), ..Facts::default() };
        facts.add_numbers(&words);
        for (at, word) in words.iter().enumerate() {
            let day = singular(word);
            if DAYS.contains(&day.as_str()) {
                facts.days.insert(day);
            } else if written[at].starts_with(char::is_uppercase) && !(at == 0 && OPENERS.contains(&word.as_str())) {
                facts.names.insert(singular(word));
            }
            facts.denials.extend(denial(word));
            let joins = matches!(word.as_str(), "dot" | "dash" | "underscore" | "slash")
                || word == "at" && words.get(at + 2).is_some_and(|next| next == "dot" || next == "dash");
            if joins && at > 0 && at + 1 < words.len() {
                facts.addresses.insert(words[at - 1..=at + 1].join(" "));
            }
        }
        facts
    }

    fn add_numbers(&mut self, words: &[String]) {
        let mut at = 0;
        while at < words.len() {
            let length = words[at..].iter().take_while(|word| is_number(word)).count();
            if length == 0 {
                at += 1;
                continue;
            }
            let number = words[at..at + length].join(" ");
            at += length;
            let unit = match words.get(at..).unwrap_or_default() {
                [half, m, ..] if m == "m" && (half == "a" || half == "p") => format!("{half} m"),
                [unit, ..] if UNITS.contains(&singular(unit).as_str()) => singular(unit),
                _ => String::new(),
            };
            // "This one" counts nothing.
            if number != "one" || !unit.is_empty() {
                self.numbers.insert((number, unit));
            }
        }
    }

    /// How many words that carry meaning both have, in one form or another.
    fn shared_with(&self, source: &Facts) -> usize {
        let telling = self.words.iter().filter(|word| !is_stop_word(word) && !is_number(word));
        telling.filter(|word| source.words.iter().any(|known| similar(known, word))).count()
    }

    /// What these facts have and `source` does not.
    fn missing_in(&self, source: &Facts) -> Vec<Ungrounded> {
        let has_number = |(number, unit): &(String, String)| {
            source.numbers.iter().any(|(known, of)| known == number && (unit.is_empty() || unit == of))
        };
        let numbers = self.numbers.iter().filter(|number| !has_number(number));
        let numbers =
            numbers.map(|(number, unit)| Ungrounded::Number(format!("{number} {unit}").trim_end().to_owned()));
        let days = self.days.difference(&source.days).cloned().map(Ungrounded::Day);
        let names = self.names.difference(&source.words).cloned().map(Ungrounded::Name);
        let addresses = self.addresses.difference(&source.addresses).cloned().map(Ungrounded::Address);
        let denial = (self.denials != source.denials).then_some(Ungrounded::Denial);
        numbers.chain(days).chain(names).chain(addresses).chain(denial).collect()
    }
}

/// Days, months and parts of the day.
const DAYS: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "weekday",
    "weekend",
    "today",
    "tomorrow",
    "yesterday",
    "tonight",
    "morning",
    "afternoon",
    "evening",
    "noon",
    "midnight",
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "christmas",
    "easter",
    "holiday",
];
/// What a number counts, in the singular.
const UNITS: &[&str] = &[
    "dollar",
    "cent",
    "euro",
    "pound",
    "penny",
    "percent",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "mile",
    "meter",
    "kilometer",
    "degree",
    "million",
    "o'clock",
    "time",
    "person",
    "people",
    "children",
    "child",
];
/// Words with a capital at the beginning of a sentence that are no names. A word that is missing here has to be in the
/// source.
const OPENERS: &[&str] = &[
    "a", "after", "all", "also", "an", "and", "any", "are", "as", "at", "because", "before", "both", "but", "by",
    "can", "during", "each", "every", "for", "from", "here", "how", "i", "if", "in", "is", "it", "it's", "its", "may",
    "most", "no", "not", "of", "on", "only", "or", "our", "out", "please", "so", "some", "that", "that's", "the",
    "their", "there", "there's", "these", "they", "this", "those", "to", "under", "until", "up", "usually", "we",
    "we're", "we've", "when", "where", "which", "while", "who", "with", "without", "yes", "you", "you'll", "your",
];

fn denial(word: &str) -> Option<Denial> {
    match word {
        "not" | "no" | "never" | "none" | "nobody" | "nothing" | "neither" | "nor" | "without" | "cannot" => {
            Some(Denial::Not)
        }
        "only" | "except" | "unless" => Some(Denial::Only),
        "closed" => Some(Denial::Closed),
        word => word.ends_with("n't").then_some(Denial::Not),
    }
}

fn is_number(word: &str) -> bool {
    const ONES: &str = "zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
        sixteen seventeen eighteen nineteen first second third fourth fifth sixth seventh eighth ninth tenth eleventh \
        twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth";
    const MORE: &str = "twenty thirty forty fifty sixty seventy eighty ninety twentieth thirtieth fortieth fiftieth \
        sixtieth seventieth eightieth ninetieth hundred thousand million billion point half";
    let known = |part: &str| ONES.split_whitespace().chain(MORE.split_whitespace()).any(|number| number == part);
    word.split('-').all(known) || word.chars().any(|c| c.is_ascii_digit())
}

/// Without punctuation around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// "Mondays" and "Monday's" are about Monday.
fn singular(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    word.strip_suffix('s').filter(|stem| stem.len() > 2).unwrap_or(word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::sample;
    use proptest::prelude::*;

    const SOURCE: &str = "A first consultation costs $85. A crown starts at $1,150, and an implant at $2,400. We are open \
        Monday to Thursday from 9:00 AM to 5:30 PM. We are closed on Sundays. Doctor Chen fits braces, but not for children \
        under seven. Write to desk@riverside.example.com or call (718) 555-0186. You can park behind the house for two \
        hours. Dogs are not welcome.";

    #[test]
    fn what_the_source_says_may_be_said_in_other_words() {
        for sentence in [
            "A consultation is $85.",
            "It costs 85 dollars.",
            "Crowns start at $1,150.",
            "On Mondays we open at 9 a.m.",
            "From Monday to Thursday we are open from nine to 5:30 pm.",
            "On Sunday we are closed.",
            "Braces are fitted by Doctor Chen, but not for children under 7.",
            "Our number is 718-555-0186.",
            "The address is desk@riverside.example.com.",
            "Yes, you can park for two hours.",
            "Yes, there is parking.",
        ] {
            assert_eq!(check(sentence, SOURCE), Ok(()), "{sentence}");
        }
    }

    #[test]
    fn nothing_else_is_said() {
        let number = |said: &str| Ungrounded::Number(said.into());
        for (sentence, expected) in [
            ("A first consultation costs $95.", number("ninety-five dollar")),
            ("A crown costs 1,150 euros.", number("one thousand one hundred fifty euro")),
            ("We are open from 9:00 PM.", number("nine p m")),
            ("We close at 5:00 PM.", number("five p m")),
            ("You can park for three hours.", number("three hour")),
            ("Call (718) 555-0187.", number("seven one eight five five five zero one eight seven")),
            ("We are open on Friday from 9:00 AM.", Ungrounded::Day("friday".into())),
            ("We are open at noon.", Ungrounded::Day("noon".into())),
            ("Doctor Lopez fits braces.", Ungrounded::Name("lopez".into())),
            ("Susan fits braces, but not for children.", Ungrounded::Name("susan".into())),
            ("Write to boss@riverside.example.com.", Ungrounded::Address("boss at riverside".into())),
            ("We are open on Sundays.", Ungrounded::Denial),
            ("Doctor Chen fits braces for children.", Ungrounded::Denial),
            ("You can not park behind the house.", Ungrounded::Denial),
            ("Dogs are welcome.", Ungrounded::Denial),
            ("Only the consultation costs $85.", Ungrounded::Denial),
            // Right, but from two sentences.
            ("A consultation costs $85 and a crown $1,150.", number("one thousand one hundred fifty dollar")),
        ] {
            assert_eq!(check(sentence, SOURCE), Err(expected), "{sentence}");
        }
        assert_eq!(check("Yes.", ""), Err(Ungrounded::NoSource));
    }

    #[test]
    fn what_is_about_something_else_has_no_support() {
        for (sentence, low, high) in [
            ("A crown starts at $1,150.", 1.0, 1.0),
            ("Crowns are priced from $1,150.", 0.3, 0.8),
            ("Please read me your card.", 0.0, 0.0),
            ("So it is.", 0.0, 0.0),
        ] {
            let support = support(sentence, SOURCE);
            assert!((low..=high).contains(&support), "{sentence}: {support}");
        }
    }

    /// The built-in answers quote: no sentence of the office's own documents may be held back.
    #[test]
    fn every_quote_of_the_sample_passes() {
        let mut checked = 0;
        for (name, text) in sample::KNOWLEDGE {
            for passage in crate::knowledge::split_markdown(text).passages {
                for sentence in sentences(&passage.text) {
                    assert_eq!(check(sentence, &passage.text), Ok(()), "{name}: {sentence}");
                    assert_eq!(check(&normalise(sentence), &passage.text), Ok(()), "{name}: {sentence}, as spoken");
                    checked += 1;
                }
            }
        }
        assert!(checked >= 35, "{checked}");
    }

    proptest! {
        /// A quote is grounded, whatever it says.
        #[test]
        fn any_sentence_is_grounded_in_itself(text in "\\PC{0,60}|[0-9$€:./@ A-Za-z,'-]{0,60}") {
            for sentence in sentences(&text) {
                prop_assert_eq!(check(sentence, &text), Ok(()));
            }
        }
    }
}
