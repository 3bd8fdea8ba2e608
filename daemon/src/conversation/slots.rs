//! The particulars in what a caller says: a day, a time, a number, an address, a name.
//!
//! Rules, no model: a number that a caller spells must come out digit by digit or not at all. Left out on purpose:
//! whether a number is dialable.

mod day;
mod digits;
mod email;
mod name;
mod numbers;
mod sounds;
mod spelling;
mod time;

pub use day::day;
pub use digits::spoken_digits;
pub use email::email;
pub use name::name;
pub use sounds::Directory;
pub use spelling::spelled;
pub use time::{TimeOfDay, time};

use crate::office::hours::DayQuery;

/// What was named. Anything may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    /// The day a question is about.
    pub day: Option<DayQuery>,
    /// The time of day.
    pub time: Option<TimeOfDay>,
    /// Digits of a telephone number, five or more.
    pub phone: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// The caller's name.
    pub name: Option<String>,
    /// A department, or a person, that is asked for.
    pub department: Option<String>,
    /// An account, customer or order code: digits and capitals.
    pub account: Option<String>,
    /// For whom a message is, as said: `Mr Brown`.
    pub message_for: Option<String>,
}

impl Slots {
    /// Takes over whatever `newer` names. A new day forgets the time that was said with the day before it.
    pub fn merge(&mut self, newer: &Slots) {
        let Slots { day, time, phone, email, name, department, account, message_for } = newer.clone();
        self.time = if day.is_some() { time } else { time.or(self.time.take()) };
        self.day = day.or(self.day.take());
        self.phone = phone.or(self.phone.take());
        self.email = email.or(self.email.take());
        self.name = name.or(self.name.take());
        self.department = department.or(self.department.take());
        self.account = account.or(self.account.take());
        self.message_for = message_for.or(self.message_for.take());
    }

    /// Whether a day or a time was named.
    pub fn names_moment(&self) -> bool {
        self.day.is_some() || self.time.is_some()
    }

    /// Name and value of each filled slot, for a turn row. The order is fixed.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let slots = [
            ("day", self.day.as_ref().map(ToString::to_string)),
            ("time", self.time.as_ref().map(ToString::to_string)),
            ("phone", self.phone.clone()),
            ("email", self.email.clone()),
            ("name", self.name.clone()),
            ("department", self.department.clone()),
            ("account", self.account.clone()),
            ("for", self.message_for.clone()),
        ];
        slots.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Finds everything in a transcript. `directory` has the people and departments that may be asked for.
    pub fn find(text: &str, directory: &Directory) -> Self {
        let account = digits::code(text);
        let digits = spoken_digits(text);
        let email = email(text);
        let name = name(text);
        // "This is Maria": the caller's own name is nobody they ask for.
        let others = name.as_ref().map_or_else(|| text.to_owned(), |name| text.replacen(name.as_str(), "", 1));
        Self {
            day: day(text),
            time: time(text),
            // The digits of an account, or of an address ("anna seven three four five two"), are nobody's telephone.
            phone: ((5..=15).contains(&digits.len()) && account.is_none() && email.is_none()).then_some(digits),
            email,
            name,
            department: department(&others, directory),
            account,
            message_for: name::message_for(text),
        }
    }
}

/// Whether `phrase` occurs in `joined`, both words parted by single spaces, as whole words.
pub(crate) fn contains_words(joined: &str, phrase: &str) -> bool {
    let (text, phrase) = (format!(" {joined} "), format!(" {phrase} "));
    text.contains(&phrase)
}

fn department(text: &str, directory: &Directory) -> Option<String> {
    let known = directory.find(text).map(str::to_owned);
    known.or_else(|| {
        let joined = super::words(text).join(" ");
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

    fn found(text: &str) -> Vec<(&'static str, String)> {
        Slots::find(text, &Directory::new(["billing".to_owned()])).entries()
    }

    #[test]
    fn departments_are_known_or_named() {
        let known = Directory::new(["billing".to_owned()]);
        assert_eq!(department("Billing, please", &known).as_deref(), Some("billing"));
        assert_eq!(department("Connect me to the sales department", &known).as_deref(), Some("sales"));
        assert_eq!(department("the department", &known), None);
    }

    #[test]
    fn newer_values_replace_older_ones() {
        let mut slots = Slots { name: Some("A".into()), day: Some(DayQuery::Today), ..Slots::default() };
        slots.time = time("at three");
        slots.merge(&Slots { day: Some(DayQuery::Tomorrow), ..Slots::default() });
        assert_eq!((slots.name.as_deref(), slots.day, slots.time), (Some("A"), Some(DayQuery::Tomorrow), None));
    }

    #[test]
    fn entries_name_only_what_is_known() {
        for (text, expected) in [
            (
                "My name is Anna, are you open next Tuesday at three?",
                &[("day", "next tuesday"), ("time", "15:00"), ("name", "Anna")][..],
            ),
            ("My account number is seven four one, nine nine, two.", &[("account", "741992")]),
            ("Anna five five five one two at example dot com is my e-mail.", &[("email", "anna55512@example.com")]),
            ("Please take a message for Mister Brown.", &[("for", "Mr Brown")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            assert_eq!(found(text), expected, "{text}");
        }
    }

    proptest! {
        /// Transcripts come from a model: any text may come.
        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}|([a-z]{1,6} (at|dot|dash|my name is|double|of|may) ){0,8}") {
            let slots = Slots::find(&text, &Directory::new(["billing".to_owned()]));
            prop_assert!(slots.phone.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.len() <= 15));
        }
    }
}
