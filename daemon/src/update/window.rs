//! The hours in which an update may be installed, in the office's civil time.
//!
//! Civil times are compared, never durations counted: on the night of a clock change the window has an hour less or
//! more, and no night has none unless the whole window lies in the hour that is skipped.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use serde::{Deserialize, Serialize};

/// From `start` to before `end`; past midnight when `end` is not after `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    start: Time,
    end: Time,
}

/// The text is not a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected two different times such as \"02:00-05:00\"")]
pub struct NotAWindow;

impl Window {
    /// From `start` to before `end`.
    pub const fn new(start: Time, end: Time) -> Window {
        Window { start, end }
    }

    /// Whether `now` is inside, in `zone`.
    pub fn contains(&self, now: Timestamp, zone: &TimeZone) -> bool {
        let time = now.to_zoned(zone.clone()).time();
        if self.start < self.end {
            self.start <= time && time < self.end
        } else {
            self.start <= time || time < self.end
        }
    }

    /// The hours that are not in it.
    pub const fn complement(&self) -> Window {
        Window { start: self.end, end: self.start }
    }

    /// When it opens next after `now`; `None` only at the end of the calendar.
    pub fn opens(&self, now: Timestamp, zone: &TimeZone) -> Option<Zoned> {
        let today = now.to_zoned(zone.clone()).date();
        // A start in the hour that a clock change skips is moved on by an hour: the third day is for that.
        let days = (0..3).filter_map(|day| today.checked_add(day.days()).ok());
        days.filter_map(|date| date.to_datetime(self.start).to_zoned(zone.clone()).ok())
            .find(|opening| opening.timestamp() > now && self.contains(opening.timestamp(), zone))
    }
}

impl FromStr for Window {
    type Err = NotAWindow;

    fn from_str(text: &str) -> Result<Window, NotAWindow> {
        let (start, end) = text.split_once('-').ok_or(NotAWindow)?;
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| NotAWindow);
        let window = Window { start: time(start)?, end: time(end)? };
        if window.start == window.end { Err(NotAWindow) } else { Ok(window) }
    }
}

impl TryFrom<String> for Window {
    type Error = NotAWindow;

    fn try_from(text: String) -> Result<Window, NotAWindow> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        window.to_string()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start.strftime("%H:%M"), self.end.strftime("%H:%M"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_open_between_its_times_also_past_midnight_and_when_clocks_change() {
        // window, instant in UTC, open in Berlin, why
        for (window, now, open, why) in [
            ("02:00-05:00", "2026-01-10T00:59:59Z", false, "01:59:59"),
            ("02:00-05:00", "2026-01-10T01:00:00Z", true, "02:00"),
            ("02:00-05:00", "2026-01-10T03:59:59Z", true, "04:59:59"),
            ("02:00-05:00", "2026-01-10T04:00:00Z", false, "05:00"),
            ("02:00-05:00", "2026-07-10T01:00:00Z", true, "03:00 in summer"),
            ("23:00-01:00", "2026-01-10T22:30:00Z", true, "23:30"),
            ("23:00-01:00", "2026-01-10T23:30:00Z", true, "00:30 of the next day"),
            ("23:00-01:00", "2026-01-10T00:30:00Z", false, "01:30"),
            ("02:00-05:00", "2026-03-29T00:59:59Z", false, "01:59:59, a second before 03:00"),
            ("02:00-05:00", "2026-03-29T01:00:00Z", true, "03:00: two hours are left of three"),
            ("02:00-05:00", "2026-03-29T03:00:00Z", false, "05:00"),
            ("02:00-03:00", "2026-03-29T01:00:00Z", false, "its only hour is skipped"),
            ("02:00-03:00", "2026-10-25T00:30:00Z", true, "02:30, the first time"),
            ("02:00-03:00", "2026-10-25T01:30:00Z", true, "02:30, the second time"),
            ("02:00-03:00", "2026-10-25T02:00:00Z", false, "03:00"),
        ] {
            let zone = TimeZone::get("Europe/Berlin").unwrap();
            let window: Window = window.parse().unwrap();
            assert_eq!(window.contains(now.parse().unwrap(), &zone), open, "{window} at {now}: {why}");
        }
    }

    #[test]
    fn the_next_opening_is_told_in_local_time() {
        for (window, now, opens) in [
            ("02:00-05:00", "2026-01-10T00:30:00Z", "2026-01-10T02:00:00"),
            ("02:00-05:00", "2026-01-10T01:00:00Z", "2026-01-11T02:00:00"),
            ("02:00-05:00", "2026-03-28T23:30:00Z", "2026-03-29T03:00:00"),
            ("02:00-03:00", "2026-03-28T23:30:00Z", "2026-03-30T02:00:00"),
        ] {
            let zone = TimeZone::get("Europe/Berlin").unwrap();
            let found = window.parse::<Window>().unwrap().opens(now.parse().unwrap(), &zone).unwrap();
            assert_eq!(found.datetime().to_string(), opens, "{window} after {now}");
        }
    }

    #[test]
    fn what_is_no_window_is_refused_and_a_window_prints_as_it_reads() {
        for text in ["", "02:00", "02:00-02:00", "2-5", "02:00-25:00", "02:00–05:00"] {
            assert_eq!(text.parse::<Window>(), Err(NotAWindow), "{text}");
        }
        assert_eq!(" 22:30 - 05:00".parse::<Window>().unwrap().to_string(), "22:30-05:00");
    }
}
