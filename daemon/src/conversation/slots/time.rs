//! Times of day in what callers say: "at three", "half past ten in the morning", "between two and four", "after lunch".
//!
//! A bare number is a time only behind a word that leads to one ("at", "before") and with nothing behind it that it could
//! count, or beside something that makes it one ("o'clock", "p.m."). Without morning or afternoon, one to six are in the afternoon: nobody calls an office
//! for four at night, and what was understood is read back anyway.

use super::numbers::cardinal;
use jiff::civil::Time;
use std::fmt;

/// A time of day, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeOfDay {
    /// At that time.
    At(Time),
    /// Then or later.
    From(Time),
    /// Then or earlier.
    Until(Time),
    /// From the first to the second.
    Between(Time, Time),
    /// Before noon.
    Morning,
    /// From noon.
    Afternoon,
    /// After the working day.
    Evening,
}

impl TimeOfDay {
    /// Whether it is told by the clock, not just a part of the day.
    pub fn is_clock(self) -> bool {
        match self {
            TimeOfDay::At(_) | TimeOfDay::From(_) | TimeOfDay::Until(_) | TimeOfDay::Between(..) => true,
            TimeOfDay::Morning | TimeOfDay::Afternoon | TimeOfDay::Evening => false,
        }
    }
}

/// The form turn rows keep: `15:00`, `from 13:00`, `until 10:00`, `14:00-16:00`, `morning`.
impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |time: &Time| format!("{:02}:{:02}", time.hour(), time.minute());
        match self {
            TimeOfDay::At(time) => f.write_str(&clock(time)),
            TimeOfDay::From(time) => write!(f, "from {}", clock(time)),
            TimeOfDay::Until(time) => write!(f, "until {}", clock(time)),
            TimeOfDay::Between(from, until) => write!(f, "{}-{}", clock(from), clock(until)),
            TimeOfDay::Morning => f.write_str("morning"),
            TimeOfDay::Afternoon => f.write_str("afternoon"),
            TimeOfDay::Evening => f.write_str("evening"),
        }
    }
}

/// Half of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Am,
    Pm,
}

/// A clock time as said, before it is known which half of the day is meant.
#[derive(Debug, Clone, Copy)]
struct Clock {
    hour: i8,
    minute: i8,
    half: Option<Half>,
    /// Words it takes.
    used: usize,
    /// Whether it can only be a time.
    sure: bool,
}

impl Clock {
    fn time(self, around: Option<Half>) -> Option<Time> {
        let hour = match (self.half.or(around), self.hour) {
            (Some(Half::Am), 12) => 0,
            (Some(Half::Pm), hour @ 1..=11) => hour + 12,
            (None, hour @ 1..=6) => hour + 12,
            (_, hour) => hour,
        };
        Time::new(hour, self.minute, 0, 0).ok()
    }
}

/// What turns a number behind it into a time.
const LEADS: &[&str] = &["at", "around", "about", "by", "before", "after", "from", "until", "till", "between", "past"];
/// Leads to many things: "about three questions".
const LOOSE_LEADS: &[&str] = &["around", "about", "by", "before", "after", "from", "past"];
/// What may stand behind a time that a loose lead begins; anything else could be counted.
const BEHIND: &[&str] = &[
    "and",
    "to",
    "until",
    "till",
    "on",
    "in",
    "please",
    "would",
    "is",
    "if",
    "works",
    "work",
    "then",
    "maybe",
    "for",
    "because",
    "today",
    "tonight",
    "tomorrow",
    "next",
    "this",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// What makes a number a number of something.
const COUNTED: &[&str] = &[
    "minute", "minutes", "hour", "hours", "day", "days", "week", "weeks", "month", "months", "year", "years", "dollar",
    "dollars", "people", "persons", "times", "percent", "of", "miles", "blocks", "five", "six", "seven", "eight",
    "nine", "oh", "zero", "one", "two", "three", "four",
];

/// The time of day a text names.
pub fn time(text: &str) -> Option<TimeOfDay> {
    let words = tokens(text);
    let around = half_around(&words);
    for at in 0..words.len() {
        let Some(first) = clock(&words, at) else { continue };
        let lead = at.checked_sub(1).map(|before| words[before].as_str()).unwrap_or_default();
        let end = at + first.used;
        let counted = words.get(end).is_some_and(|word| {
            COUNTED.contains(&word.as_str()) || LOOSE_LEADS.contains(&lead) && !BEHIND.contains(&word.as_str())
        });
        if !first.sure && (!LEADS.contains(&lead) || counted) {
            continue;
        }
        let until = words.get(end).filter(|word| matches!(word.as_str(), "and" | "to" | "until" | "till"));
        if let (Some(_), "between" | "from") = (until, lead)
            && let Some(second) = clock(&words, end + 1)
        {
            // "From ten to twelve in the morning": the half of the second is that of the first.
            let from = first.time(around.filter(|_| first.half.is_none()))?;
            let mut to = second.time(around)?;
            if to < from && second.half.is_none() && to.hour() < 12 {
                to = Time::new(to.hour() + 12, to.minute(), 0, 0).ok()?;
            }
            return Some(TimeOfDay::Between(from, to));
        }
        let time = first.time(around)?;
        return Some(match lead {
            "before" | "by" | "until" | "till" => TimeOfDay::Until(time),
            "after" | "from" | "past" => TimeOfDay::From(time),
            _ => TimeOfDay::At(time),
        });
    }
    part_of_day(&words)
}

/// Words in small letters; "3pm" and "3 p.m." are `3 pm`.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for word in crate::conversation::words(text) {
        let word = match word.as_str() {
            "p.m" => "pm",
            "a.m" => "am",
            other => other,
        };
        let digits = word.find(|c: char| c.is_ascii_alphabetic()).filter(|at| *at > 0);
        match digits {
            Some(at) if matches!(&word[at..], "am" | "pm" | "a.m" | "p.m") => {
                tokens.push(word[..at].to_owned());
                tokens.push(word[at..].replace('.', ""));
            }
            Some(_) | None => tokens.push(word.to_owned()),
        }
    }
    tokens
}

fn clock(words: &[String], at: usize) -> Option<Clock> {
    let rest = words.get(at..)?;
    let sure = |hour: i8, minute: i8, used: usize| Clock { hour, minute, half: None, used, sure: true };
    let clock = match rest.first()?.as_str() {
        "noon" | "midday" => return Some(sure(12, 0, 1)),
        "midnight" => return Some(sure(0, 0, 1)),
        "half" if is(rest, 1, &["past", "after"]) => hour(rest.get(2..)?).map(|(h, used)| sure(h, 30, used + 2))?,
        "quarter" if is(rest, 1, &["past", "after"]) => hour(rest.get(2..)?).map(|(h, used)| sure(h, 15, used + 2))?,
        "quarter" if is(rest, 1, &["to", "of", "before"]) => {
            hour(rest.get(2..)?).map(|(h, used)| sure(hour_before(h), 45, used + 2))?
        }
        written if written.contains(':') => written_clock(written)?,
        _ => minutes_first(rest).or_else(|| hour_first(rest))?,
    };
    Some(with_half(clock, words, at))
}

fn is(words: &[String], at: usize, any: &[&str]) -> bool {
    words.get(at).is_some_and(|word| any.contains(&word.as_str()))
}

fn hour(words: &[String]) -> Option<(i8, usize)> {
    let (hour, used) = cardinal(words)?;
    i8::try_from(hour).ok().filter(|hour| (1..=12).contains(hour)).map(|hour| (hour, used))
}

fn hour_before(hour: i8) -> i8 {
    if hour == 1 { 12 } else { hour - 1 }
}

/// "15:30".
fn written_clock(word: &str) -> Option<Clock> {
    let (hour, minute) = word.split_once(':')?;
    let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
    ((0..24).contains(&hour) && (0..60).contains(&minute)).then_some(Clock {
        hour,
        minute,
        half: None,
        used: 1,
        sure: true,
    })
}

/// "ten past four", "twenty minutes to five".
fn minutes_first(words: &[String]) -> Option<Clock> {
    let (minutes, mut used) = cardinal(words).filter(|(minutes, _)| matches!(minutes, 5 | 10 | 20 | 25))?;
    used += usize::from(is(words, used, &["minutes"]));
    let past = is(words, used, &["past"]);
    // "Five to six" may be a range, "from five to six" surely is; minutes before an hour are said in full here.
    let before = is(words, used, &["to"]) && is(words, used - 1, &["minutes"]);
    if !past && !before {
        return None;
    }
    let (hour, more) = hour(words.get(used + 1..)?)?;
    let minutes = i8::try_from(minutes).ok()?;
    let (hour, minute) = if past { (hour, minutes) } else { (hour_before(hour), 60 - minutes) };
    Some(Clock { hour, minute, half: None, used: used + 1 + more, sure: true })
}

/// "three", "three thirty", "three oh five", "three o'clock".
fn hour_first(words: &[String]) -> Option<Clock> {
    let (value, mut used) = cardinal(words)?;
    let hour = i8::try_from(value).ok().filter(|hour| (1..24).contains(hour))?;
    let (mut minute, mut sure) = (0, false);
    if is(words, used, &["o'clock", "oclock"]) {
        (used, sure) = (used + 1, true);
    } else if is(words, used, &["oh"])
        && let Some((ones, 1)) = words.get(used + 1..).and_then(cardinal)
        && (1..10).contains(&ones)
        && !is(words, used + 2, &["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "oh"])
    {
        (minute, used) = (i8::try_from(ones).ok()?, used + 2);
    } else if let Some((minutes, more)) = words.get(used..).and_then(cardinal)
        && (10..60).contains(&minutes)
    {
        (minute, used) = (i8::try_from(minutes).ok()?, used + more);
    }
    Some(Clock { hour, minute, half: None, used, sure })
}

/// "p.m." or "in the morning" behind a clock time.
fn with_half(mut clock: Clock, words: &[String], at: usize) -> Clock {
    let end = at + clock.used;
    let half = match words.get(end).map(String::as_str) {
        Some("am") => Some((Half::Am, 1)),
        Some("pm") => Some((Half::Pm, 1)),
        Some("in") if is(words, end + 1, &["the"]) => match words.get(end + 2).map(String::as_str) {
            Some("morning") => Some((Half::Am, 3)),
            Some("afternoon" | "evening") => Some((Half::Pm, 3)),
            Some(_) | None => None,
        },
        Some("at") if is(words, end + 1, &["night"]) => Some((Half::Pm, 2)),
        Some("tonight") => Some((Half::Pm, 0)),
        Some(_) | None => None,
    };
    if let Some((half, used)) = half.filter(|_| clock.hour <= 12) {
        clock.half = Some(half);
        clock.used += used;
        clock.sure = true;
    }
    clock
}

/// The half of the day that is named anywhere: "tomorrow morning at seven".
fn half_around(words: &[String]) -> Option<Half> {
    let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
    match (has(&["morning", "am"]), has(&["afternoon", "evening", "tonight", "pm"])) {
        (true, false) => Some(Half::Am),
        (false, true) => Some(Half::Pm),
        (true, true) | (false, false) => None,
    }
}

fn part_of_day(words: &[String]) -> Option<TimeOfDay> {
    let joined = words.join(" ");
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| super::contains_words(&joined, phrase));
    let lunch = |hour| Time::new(hour, 0, 0, 0).ok();
    if has(&["after lunch"]) {
        return lunch(13).map(TimeOfDay::From);
    }
    if has(&["before lunch"]) {
        return lunch(12).map(TimeOfDay::Until);
    }
    if has(&["at lunch", "lunchtime", "lunch time", "over lunch"]) {
        return Some(TimeOfDay::Between(lunch(12)?, lunch(14)?));
    }
    if has(&["tonight", "evening"]) && !has(&["good evening"]) {
        return Some(TimeOfDay::Evening);
    }
    if has(&["afternoon"]) && !has(&["good afternoon"]) {
        return Some(TimeOfDay::Afternoon);
    }
    (has(&["morning", "first thing"]) && !has(&["good morning"])).then_some(TimeOfDay::Morning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_found_in_what_people_say() {
        for (text, expected) in [
            ("next Tuesday at three", "15:00"),
            ("at three in the morning", "03:00"),
            ("at nine", "09:00"),
            ("at 12", "12:00"),
            ("around noon", "12:00"),
            ("half past ten", "10:30"),
            ("a quarter to four", "15:45"),
            ("quarter to one", "12:45"),
            ("quarter past two", "14:15"),
            ("ten past four", "16:10"),
            ("twenty minutes to five", "16:40"),
            ("at two thirty", "14:30"),
            ("at nine oh five", "09:05"),
            ("three o'clock", "15:00"),
            ("3pm", "15:00"),
            ("at 3:30 p.m.", "15:30"),
            ("11 a.m.", "11:00"),
            ("12 a.m.", "00:00"),
            ("at 15:45", "15:45"),
            ("at seven in the evening", "19:00"),
            ("tomorrow evening at seven", "19:00"),
            ("the fourteenth after lunch", "from 13:00"),
            ("any time before lunch", "until 12:00"),
            ("after four", "from 16:00"),
            ("after four on Friday", "from 16:00"),
            ("before ten, please", "until 10:00"),
            ("between two and four", "14:00-16:00"),
            ("from ten to twelve", "10:00-12:00"),
            ("from nine until five", "09:00-17:00"),
            ("between eleven and one", "11:00-13:00"),
            ("tomorrow morning", "morning"),
            ("in the afternoon", "afternoon"),
            ("tonight", "evening"),
        ] {
            assert_eq!(time(text).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_no_times() {
        for text in [
            "My number is five five five, zero one two three.",
            "at five five five zero one two three",
            "I have three questions",
            "I have about three questions",
            "It is about two teeth",
            "after two weeks",
            "Good morning!",
            "in twenty minutes",
            "room 12",
            "twenty-five dollars",
            "",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "((at|half|past|to|quarter|ten|12|25:99|oh|pm|from|between|and|noon|x) ?){0,9}|\\PC{0,40}") {
            let _ = time(&text);
        }
    }
}
