//! When a promise is due, in the office's calendar.

use jiff::Zoned;
use jiff::civil::{Date, Time};

use crate::conversation::slots::TimeOfDay;
use crate::office::hours::{Calendar, DayQuery, Status};

/// A day on which the office has no hours ends then.
const END_OF_DAY: Time = Time::constant(17, 0, 0, 0);
/// A morning is over then.
const NOON: Time = Time::constant(12, 0, 0, 0);

/// When what was asked for at `now` has to be done: at the time that was said; on the day that was said, before the
/// office closes; otherwise before it closes next.
pub fn due(day: Option<&DayQuery>, time: Option<TimeOfDay>, calendar: &Calendar, now: &Zoned) -> Zoned {
    let now = now.with_time_zone(calendar.time_zone.clone());
    let dates: Vec<Date> = match day {
        Some(day) => calendar.dates(day, &now),
        // "At three" is today, or tomorrow when three is over.
        None if time.is_some() => {
            [DayQuery::Today, DayQuery::Tomorrow].iter().flat_map(|d| calendar.dates(d, &now)).collect()
        }
        None => Vec::new(),
    };
    let moments = dates.into_iter().filter_map(|date| {
        let close = calendar.day(date).spans.last();
        let end = close.filter(|span| !span.past_midnight()).map_or(END_OF_DAY, |span| span.close);
        date.to_datetime(time.map_or(end, |time| latest(time, end))).to_zoned(calendar.time_zone.clone()).ok()
    });
    let said = moments.filter(|moment| *moment > now).min();
    said.unwrap_or_else(|| next_close(calendar, &now))
}

/// The end of what was said.
fn latest(time: TimeOfDay, end: Time) -> Time {
    match time {
        TimeOfDay::At(at) | TimeOfDay::From(at) | TimeOfDay::Until(at) | TimeOfDay::Between(_, at) => at,
        TimeOfDay::Morning => NOON,
        TimeOfDay::Afternoon | TimeOfDay::Evening => end.max(END_OF_DAY),
    }
}

fn next_close(calendar: &Calendar, now: &Zoned) -> Zoned {
    let close = |status: Status| match status {
        Status::Open { until } => Some(until),
        Status::Closed { .. } => None,
    };
    let opens = match calendar.status(now) {
        Status::Open { until } => return until,
        Status::Closed { opens } => opens,
    };
    opens.and_then(|opens| close(calendar.status(&opens))).unwrap_or_else(|| now.clone())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::conversation::slots::Directory;
    use crate::conversation::slots::Slots;

    #[test]
    fn promises_are_due_in_the_offices_hours() {
        let text = "[office]\nname = 'X'\ntime_zone = 'America/New_York'\n[office.hours]\nmonday = ['09:00-17:30']\n\
            tuesday = ['09:00-12:00', '13:00-18:00']\nfriday = ['09:00-16:00']\n";
        let table: toml::Table = toml::from_str(text).unwrap();
        let office: crate::office::OfficeConfig = table["office"].clone().try_into().unwrap();
        let calendar = crate::office::Office::try_from(&office).unwrap().calendar;
        // what was said, when it was said (UTC; Monday 2026-03-02 is 5 hours behind), when it is due in New York
        for (said, now, expected) in [
            ("Please call me back", "2026-03-02T15:00:00Z", "2026-03-02T17:30"),
            ("Please call me back", "2026-03-02T23:00:00Z", "2026-03-03T12:00"),
            ("Please call me back", "2026-03-03T23:30:00Z", "2026-03-06T16:00"),
            ("Call me at three", "2026-03-02T15:00:00Z", "2026-03-02T15:00"),
            ("Call me at three", "2026-03-02T21:00:00Z", "2026-03-03T15:00"),
            ("Call me between two and four", "2026-03-02T15:00:00Z", "2026-03-02T16:00"),
            ("Call me tomorrow", "2026-03-02T15:00:00Z", "2026-03-03T18:00"),
            ("Call me tomorrow morning", "2026-03-02T15:00:00Z", "2026-03-03T12:00"),
            ("Call me on Wednesday", "2026-03-02T15:00:00Z", "2026-03-04T17:00"),
            // The clocks go forward on the Sunday in between.
            ("Call me next Monday at three", "2026-03-06T15:00:00Z", "2026-03-09T15:00"),
        ] {
            let slots = Slots::find(said, &Directory::new([]));
            let now: Timestamp = now.parse().unwrap();
            let found = due(slots.day.as_ref(), slots.time, &calendar, &now.to_zoned(jiff::tz::TimeZone::UTC));
            assert_eq!(found.strftime("%Y-%m-%dT%H:%M").to_string(), expected, "{said} at {now}");
        }
    }
}
