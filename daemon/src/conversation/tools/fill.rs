//! What a tool is told: from what the caller has said, in the form that it wants, and the words that this is read back in.

use jiff::Zoned;
use serde_json::Value;

use super::schema::name_words;
use super::{Argument, Kind};
use crate::conversation::answer::{grouped, read_back};
use crate::conversation::slots::{Slots, TimeOfDay, contains_words, spoken_digits};
use crate::conversation::words;
use crate::office::Office;

/// Most characters of the caller's own words that a tool is told.
const QUERY_LIMIT: usize = 200;
/// Most words of a name that is said alone.
const NAME_WORDS: usize = 3;
/// Most values that are read out as a choice.
const VALUES_SAID: usize = 5;

/// A value for an argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    pub(super) argument: String,
    pub(super) value: Value,
    /// How it is read back.
    pub(super) said: String,
}

/// What an utterance says, and what is needed to turn it into values.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) slots: &'a Slots,
    pub(super) office: &'a Office,
    pub(super) now: &'a Zoned,
}

impl Source<'_> {
    /// The value for `argument`, if it was said. `is_asked`: the utterance answers the question for it, so that bare
    /// digits or a bare name will do.
    pub(super) fn value(&self, argument: &Argument, is_asked: bool) -> Option<Given> {
        let (value, said) = self.of_kind(&argument.kind, is_asked)?;
        Some(Given { argument: argument.name.clone(), value, said })
    }

    fn of_kind(&self, kind: &Kind, is_asked: bool) -> Option<(Value, String)> {
        let Slots { day, time, phone, email, name, account, .. } = self.slots;
        let text = |text: String, said: String| Some((Value::String(text), said));
        match kind {
            Kind::Date => {
                let date = read_back::one_date(day.as_ref()?, &self.office.calendar, self.now)?;
                text(date.to_string(), read_back::date(date))
            }
            Kind::Time => match (*time)? {
                at @ TimeOfDay::At(clock) => {
                    text(format!("{:02}:{:02}", clock.hour(), clock.minute()), read_back::time_of_day(at))
                }
                TimeOfDay::From(_)
                | TimeOfDay::Until(_)
                | TimeOfDay::Between(..)
                | TimeOfDay::Morning
                | TimeOfDay::Afternoon
                | TimeOfDay::Evening => None,
            },
            Kind::Moment => {
                let date = read_back::one_date(day.as_ref()?, &self.office.calendar, self.now)?;
                let Some(at @ TimeOfDay::At(clock)) = *time else { return None };
                // An hour that a change of the clock leaves out is the one after it.
                let moment = date.to_datetime(clock).to_zoned(self.office.time_zone().clone()).ok()?;
                let said = format!("{}, {}", read_back::date(date), read_back::time_of_day(at));
                text(moment.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(), said)
            }
            Kind::Phone => phone.clone().and_then(|digits| text(digits.clone(), grouped(&digits))),
            Kind::Email => email.clone().and_then(|email| text(email.clone(), email)),
            Kind::Name => {
                let name = name.clone().or_else(|| bare_name(self.text).filter(|_| is_asked))?;
                text(name.clone(), name)
            }
            Kind::Code { numeric } => {
                let told = || Some(spoken_digits(self.text)).filter(|digits| is_asked && !digits.is_empty());
                let code = account.clone().or_else(|| phone.clone()).or_else(told)?;
                let said = read_back::code(&code);
                let value = if *numeric { Value::from(code.parse::<u64>().ok()?) } else { Value::String(code) };
                Some((value, said))
            }
            Kind::Choice(values) => {
                let joined = words(self.text).join(" ");
                let mut named = values.iter().filter(|value| contains_words(&joined, &words(value).join(" ")));
                let value = named.next().filter(|_| named.next().is_none())?;
                text(value.clone(), value.clone())
            }
            Kind::Query => {
                let query: String = self.text.trim().chars().take(QUERY_LIMIT).collect();
                let said = format!("\"{}\"", query.trim_end_matches(['.', '?', '!']));
                Some((Value::String(query.clone()), said)).filter(|_| !query.is_empty())
            }
        }
    }
}

/// A name that is the whole answer: "Anna Smith."
fn bare_name(text: &str) -> Option<String> {
    let parts: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())).collect();
    let is_name = |word: &&str| {
        word.starts_with(char::is_uppercase) && word.chars().all(|c| c.is_alphabetic() || matches!(c, '-' | '\'' | '’'))
    };
    ((1..=NAME_WORDS).contains(&parts.len()) && parts.iter().all(is_name)).then(|| parts.join(" "))
}

/// The question for an argument.
pub(super) fn question(argument: &Argument) -> String {
    let called = name_words(&argument.name).join(" ");
    match &argument.kind {
        Kind::Date => "For which day?".into(),
        Kind::Time => "At what time?".into(),
        Kind::Moment => "For which day, and at what time?".into(),
        Kind::Phone => "What is your telephone number?".into(),
        Kind::Email => "What is your e-mail address?".into(),
        Kind::Name => "What is your name?".into(),
        Kind::Code { .. } => match called.as_str() {
            "id" | "code" | "q" | "number" => "What is the number?".into(),
            _ => format!("What is the {}?", called.replace(" id", " number")),
        },
        Kind::Choice(values) => match values.as_slice() {
            [rest @ .., last] if !rest.is_empty() && values.len() <= VALUES_SAID => {
                format!("Which one: {} or {last}?", rest.join(", "))
            }
            _ => format!("Which {called}?"),
        },
        Kind::Query => "What is it about?".into(),
    }
}
