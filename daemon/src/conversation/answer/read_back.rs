//! What was understood, said back so that the caller can notice a mistake.

use super::hours::{month, time, weekday};
use crate::conversation::slots::{Slots, TimeOfDay};
use crate::office::hours::{Calendar, DayQuery};
use jiff::Zoned;
use jiff::civil::Date;

/// "I understood Tuesday, December 1, at 3:00 PM." `None` when neither one day nor a time was named.
pub(super) fn moment(slots: &Slots, calendar: &Calendar, now: &Zoned) -> Option<String> {
    let day = slots.day.as_ref().and_then(|day| one_date(day, calendar, now)).map(date);
    let time = slots.time.map(time_of_day);
    let said = match (day, time) {
        (Some(day), Some(time)) => format!("{day}, {time}"),
        (Some(said), None) | (None, Some(said)) => said,
        (None, None) => return None,
    };
    Some(format!("I understood {said}."))
}

/// Digits and letters one by one, as a voice spells them.
pub(in crate::conversation) fn code(code: &str) -> String {
    code.chars().map(String::from).collect::<Vec<_>>().join(" ")
}

/// The date of a day, if it is one.
pub(in crate::conversation) fn one_date(day: &DayQuery, calendar: &Calendar, now: &Zoned) -> Option<Date> {
    match calendar.dates(day, now)[..] {
        [date] if *day != DayQuery::Now => Some(date),
        [..] => None,
    }
}

/// "Tuesday, December 1".
pub(in crate::conversation) fn date(date: Date) -> String {
    format!("{}, {} {}", weekday(date.weekday()), month(date.month()), date.day())
}

/// "at 3:00 PM".
pub(in crate::conversation) fn time_of_day(at: TimeOfDay) -> String {
    match at {
        TimeOfDay::At(at) => format!("at {}", time(at)),
        TimeOfDay::From(at) => format!("after {}", time(at)),
        TimeOfDay::Until(at) => format!("before {}", time(at)),
        TimeOfDay::Between(from, until) => format!("between {} and {}", time(from), time(until)),
        TimeOfDay::Morning => "in the morning".into(),
        TimeOfDay::Afternoon => "in the afternoon".into(),
        TimeOfDay::Evening => "in the evening".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::slots::{day, time};
    use crate::office::sample;

    /// On Tuesday, 24 November 2026.
    #[test]
    fn a_moment_is_said_with_its_date() {
        let office = sample::office().unwrap();
        let now: Zoned = "2026-11-24T10:00:00[America/New_York]".parse().unwrap();
        for (text, expected) in [
            ("next Tuesday at three", Some("I understood Tuesday, December 1, at 3:00 PM.")),
            ("in two weeks", Some("I understood Tuesday, December 8.")),
            ("the fourteenth after lunch", Some("I understood Monday, December 14, after 1:00 PM.")),
            ("tomorrow between ten and noon", Some("I understood Wednesday, November 25, between 10:00 AM and noon.")),
            ("Friday week in the morning", Some("I understood Friday, December 4, in the morning.")),
            ("before ten", Some("I understood before 10:00 AM.")),
            ("on the weekend", None),
            ("now", None),
            ("whenever", None),
        ] {
            let slots = Slots { day: day(text), time: time(text), ..Slots::default() };
            assert_eq!(moment(&slots, &office.calendar, &now).as_deref(), expected, "{text}");
        }
    }
}
