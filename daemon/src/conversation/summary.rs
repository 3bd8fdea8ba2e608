//! One sentence about a caller, for whoever is asked whether they take the call.
//!
//! Only what was said or is known: a name, what it is about, a day and a time, the number. Left out on purpose: whole
//! answers, and anything a model would make of the talk.

use jiff::Zoned;

use super::answer::{grouped, read_back};
use super::context::Context;
use super::escalation::Reason;
use super::intent::Intent;
use crate::office::Office;

/// Longer questions are not repeated.
const QUESTION_MAX_CHARS: usize = 80;

/// "Anna Meier, about an appointment, Tuesday, December 1, calling from 212-555-0199." What is not known is left out.
pub fn summary(
    context: &Context,
    reason: Option<Reason>,
    number: Option<&str>,
    office: &Office,
    now: &Zoned,
) -> String {
    let name = context.slots.name.clone().unwrap_or_else(|| "A caller".into());
    let day = context.slots.day.as_ref().and_then(|day| read_back::one_date(day, &office.calendar, now));
    let parts = [
        Some(name),
        about(context, reason),
        day.map(read_back::date),
        context.slots.time.map(read_back::time_of_day),
        number.map(|number| format!("calling from {}", spoken(number))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ") + "."
}

/// "Call back for Anna Meier, 212-555-0199, reference 0 4 1 7."
pub fn call_back(name: Option<&str>, number: Option<&str>, reference: &str) -> String {
    let whom = [name.map(str::to_owned), number.map(spoken)].into_iter().flatten().collect::<Vec<_>>();
    let whom = if whom.is_empty() { "a caller".to_owned() } else { whom.join(", ") };
    format!("Call back for {whom}, reference {}.", grouped(reference))
}

fn about(context: &Context, reason: Option<Reason>) -> Option<String> {
    match reason {
        Some(Reason::Emergency) => return Some("who may be in an emergency".into()),
        Some(Reason::Distress) => return Some("who is not happy".into()),
        Some(Reason::Returning) => return Some("who was promised a call".into()),
        Some(
            Reason::Topic
            | Reason::AskedForPerson
            | Reason::Key
            | Reason::Vip
            | Reason::Misses
            | Reason::LowConfidence
            | Reason::TakenOver,
        )
        | None => {}
    }
    let intent = context.last_intent.filter(|intent| intent.is_subject()).or(context.subject)?;
    let text = match intent {
        Intent::Appointment => "about an appointment",
        Intent::OpeningHours => "about opening hours",
        Intent::Address => "about the way here",
        Intent::Price => "about a price",
        Intent::Question => {
            let question = context.last_question.as_ref();
            let question = question.filter(|question| question.chars().count() <= QUESTION_MAX_CHARS)?;
            return Some(format!("who asked: {}", question.trim_end_matches(['?', '.', '!'])));
        }
        Intent::Person
        | Intent::LeaveMessage
        | Intent::Repeat
        | Intent::Goodbye
        | Intent::Confirm
        | Intent::Deny
        | Intent::SmallTalk
        | Intent::Complaint
        | Intent::Details
        | Intent::Unknown => return None,
    };
    Some(text.into())
}

/// A number of North America in its three groups, any other digit by digit.
fn spoken(number: &str) -> String {
    grouped(number.strip_prefix("+1").unwrap_or(number.trim_start_matches('+')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::slots::{Directory, Slots};
    use crate::office::sample;

    #[test]
    fn a_callee_hears_who_calls_and_why() {
        let office = sample::office().unwrap();
        let now: Zoned = "2026-11-24T10:00:00[America/New_York]".parse().unwrap();
        let of = |text: &str, intent, question: Option<&str>| Context {
            slots: Slots::find(text, &Directory::new(Vec::new())),
            last_intent: intent,
            last_question: question.map(str::to_owned),
            ..Context::default()
        };
        let told = |context: &Context, reason, number| summary(context, reason, number, &office, &now);
        let anna = of("My name is Anna Meier, next Tuesday at three pm", Some(Intent::Appointment), None);
        assert_eq!(
            told(&anna, Some(Reason::AskedForPerson), Some("+12125550199")),
            "Anna Meier, about an appointment, Tuesday, December 1, at 3:00 PM, calling from 212-555-0199."
        );
        let nobody = of("", Some(Intent::Person), None);
        assert_eq!(told(&nobody, None, None), "A caller.");
        assert_eq!(
            told(&nobody, Some(Reason::Emergency), Some("+4930123")),
            "A caller, who may be in an emergency, calling from 493-0123."
        );
        let asks = of("", Some(Intent::Question), Some("Do you sell bicycles?"));
        assert_eq!(told(&asks, None, None), "A caller, who asked: Do you sell bicycles.");
    }
}
