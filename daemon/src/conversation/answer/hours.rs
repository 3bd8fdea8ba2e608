//! Opening hours in words.

use super::Answer;
use crate::office::Office;
use crate::office::hours::{Calendar, Day, DayQuery, Span, Status};
use jiff::Zoned;
use jiff::civil::{Date, Time, Weekday};

const SOURCE: &str = "office.hours";

/// Answers a question about opening hours.
pub(super) fn answer(day: Option<&DayQuery>, office: &Office, now: &Zoned) -> Answer {
    let calendar = &office.calendar;
    let local = now.with_time_zone(calendar.time_zone.clone());
    let sentences = match day {
        None => [status(calendar, &local)].into_iter().chain(week(office)).collect(),
        Some(DayQuery::Now) => vec![status(calendar, &local)],
        Some(DayQuery::Today) => {
            vec![one_day(&calendar.day(local.date()), local.date(), false), status(calendar, &local)]
        }
        Some(DayQuery::Week | DayQuery::NextWeek) => week(office),
        Some(query) => {
            let dates = calendar.dates(query, &local);
            if dates.is_empty() {
                return unknown_day(calendar);
            }
            // Who asks for Sunday wants to hear Sunday, also when that is today.
            let by_name = matches!(query, DayQuery::Weekday { .. } | DayQuery::Weekend);
            dates.into_iter().map(|date| one_day(&calendar.day(date), local.date(), by_name)).collect()
        }
    };
    Answer::new(sentences, vec![SOURCE.into()])
}

fn unknown_day(calendar: &Calendar) -> Answer {
    let _ = calendar;
    let sentence = "I am sorry, I do not have our hours for that day.";
    Answer::new(vec![sentence.into(), super::phrases::OFFER_MESSAGE.into()], Vec::new())
}

/// "We are open until 5:30 PM." or when we open next.
fn status(calendar: &Calendar, now: &Zoned) -> String {
    match calendar.status(now) {
        Status::Open { until } if until.date() == now.date() => {
            format!("We are open now, until {}.", time(until.time()))
        }
        Status::Open { until } => {
            format!("We are open now, until {} {}.", time(until.time()), relative(until.date(), now.date()))
        }
        Status::Closed { opens: Some(opens) } => {
            format!(
                "We are closed now and open again {} at {}.",
                relative(opens.date(), now.date()),
                time(opens.time())
            )
        }
        Status::Closed { opens: None } => "We are closed at the moment.".into(),
    }
}

fn one_day(day: &Day<'_>, today: Date, by_name: bool) -> String {
    let mut name = relative(day.date, today);
    if by_name && (day.date - today).get_days() < 2 {
        name = format!("{name}, {},", weekday(day.date.weekday()));
    }
    let label = day.label.map(|label| format!(", {label},")).unwrap_or_default();
    let verb = if day.date < today { "were" } else { "are" };
    match spans(day.spans) {
        None => capitalised(&format!("{name}{label} we {verb} closed.")),
        Some(spans) => capitalised(&format!("{name}{label} we {verb} open {spans}.")),
    }
}

/// "today", "tomorrow", "on Sunday", or with the date when it is further away than a week.
fn relative(date: Date, today: Date) -> String {
    let weekday = weekday(date.weekday());
    match (date - today).get_days() {
        0 => "today".into(),
        1 => "tomorrow".into(),
        2..=7 => format!("on {weekday}"),
        _ => format!("on {weekday}, {} {}", month(date.month()), date.day()),
    }
}

/// The usual week in up to three sentences: days with the same hours are named together, and midday breaks are left to
/// a sentence of their own. Somebody listening can not keep more in mind.
pub fn week(office: &Office) -> Vec<String> {
    let calendar = &office.calendar;
    let mut open: Vec<(Vec<Weekday>, (Time, Time))> = Vec::new();
    let mut closed: Vec<Weekday> = Vec::new();
    for offset in 0..7 {
        let Ok(day) = Weekday::from_monday_zero_offset(offset) else { continue };
        let Some(hours) = first_and_last(calendar.weekday(day)) else {
            closed.push(day);
            continue;
        };
        match open.last_mut() {
            Some((days, same)) if *same == hours && follows(days, day) => days.push(day),
            Some(_) | None => open.push((vec![day], hours)),
        }
    }
    let mut sentences = Vec::new();
    if !open.is_empty() {
        sentences.push(format!("We are open {}.", listed(&open.iter().map(group).collect::<Vec<_>>())));
    }
    sentences.extend(breaks(calendar));
    if !closed.is_empty() {
        let days: Vec<String> = closed.iter().map(|day| format!("on {}", weekday(*day))).collect();
        sentences.push(format!("We are closed {}.", listed(&days)));
    }
    sentences
}

fn first_and_last(spans: &[Span]) -> Option<(Time, Time)> {
    Some((spans.first()?.open, spans.last()?.close))
}

fn follows(days: &[Weekday], day: Weekday) -> bool {
    days.last().is_some_and(|last| last.next() == day)
}

/// "from Monday to Wednesday from 9:00 AM to 5:30 PM".
fn group((days, (open, close)): &(Vec<Weekday>, (Time, Time))) -> String {
    let hours = spans(&[Span { open: *open, close: *close }]).unwrap_or_default();
    format!("{} {hours}", named(days))
}

/// The breaks within days, if every day that has one has the same.
fn breaks(calendar: &Calendar) -> Option<String> {
    let gaps = calendar.week.iter().flat_map(|spans| spans.windows(2)).map(|pair| (pair[0].close, pair[1].open));
    let mut gaps: Vec<(Time, Time)> = gaps.filter(|(close, open)| close != open).collect();
    gaps.dedup();
    match gaps[..] {
        [] => None,
        [(close, open)] => Some(format!("We take a break from {} to {}.", time(close), time(open))),
        [..] => Some("There are breaks within some days, so please ask me about the day.".into()),
    }
}

fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first, second] => format!("{first} and {second}"),
        [head @ .., last] => format!("{}, and {last}", head.join(", ")),
    }
}

fn named(days: &[Weekday]) -> String {
    match days {
        [only] => format!("on {}", weekday(*only)),
        [first, second] => format!("on {} and {}", weekday(*first), weekday(*second)),
        [first, .., last] => format!("{} to {}", weekday(*first), weekday(*last)),
        [] => String::new(),
    }
}

/// "from 9:00 AM to 12:30 PM and from …"; `None` when there is none.
fn spans(spans: &[Span]) -> Option<String> {
    let midnight = Time::midnight();
    let one = |span: &Span| match (span.open == midnight, span.close == midnight) {
        (true, true) => "all day".to_string(),
        (_, _) => format!("from {} to {}", time(span.open), time(span.close)),
    };
    let parts: Vec<String> = spans.iter().map(one).collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

pub(super) fn time(time: Time) -> String {
    match (time.hour(), time.minute()) {
        (0, 0) => "midnight".into(),
        (12, 0) => "noon".into(),
        (hour, minute) => {
            let half = if hour < 12 { "AM" } else { "PM" };
            format!("{}:{minute:02} {half}", if hour % 12 == 0 { 12 } else { hour % 12 })
        }
    }
}

pub(super) fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

pub(super) fn month(month: i8) -> &'static str {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    usize::try_from(month - 1).ok().and_then(|i| MONTHS.get(i)).copied().unwrap_or_default()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
