//! Opening hours: a week of spans, days that differ, and what they answer.
//!
//! Times are civil times of the office; an instant is made of them only to compare with now, through the time zone, so
//! daylight saving shifts are right by construction. Left out on purpose: how an answer is worded (`conversation::answer`).

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

/// From opening to closing. When `close` is not after `open` it is on the next day; midnight as `close` ends the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Opens at this time.
    pub open: Time,
    /// Closes at this time.
    pub close: Time,
}

impl Span {
    /// Whether it ends on the day after it began (an end at midnight sharp does).
    pub fn past_midnight(&self) -> bool {
        self.close <= self.open
    }
}

/// A day of a year, or of every year (`None`): year, month, day.
pub type HolidayDate = (Option<i16>, i8, i8);

/// Days whose hours differ from the week's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holiday {
    /// First day.
    pub first: HolidayDate,
    /// Last day, inclusive. Before `first` only for yearly ones that run over New Year.
    pub last: HolidayDate,
    /// What callers call it.
    pub label: String,
    /// Hours on that day; none means closed.
    pub spans: Vec<Span>,
}

impl Holiday {
    /// Whether `date` is one of its days.
    pub fn covers(&self, date: Date) -> bool {
        let day = (date.month(), date.day());
        let (first, last) = ((self.first.1, self.first.2), (self.last.1, self.last.2));
        match (self.first.0, self.last.0) {
            (Some(first_year), Some(last_year)) => {
                let date = (date.year(), day);
                (first_year, first) <= date && date <= (last_year, last)
            }
            (None, _) | (_, None) if first <= last => first <= day && day <= last,
            (None, _) | (_, None) => day >= first || day <= last,
        }
    }

    /// The next day it begins, today included.
    fn next_start(&self, today: Date) -> Option<Date> {
        if self.covers(today) {
            return Some(today);
        }
        let years = match self.first.0 {
            Some(year) => year..=year,
            // Eight years reach the next 29 February even across a century.
            None => today.year()..=today.year().saturating_add(8),
        };
        years.filter_map(|year| Date::new(year, self.first.1, self.first.2).ok()).find(|date| *date >= today)
    }
}

/// A week of opening hours and its exceptions.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// Where the office is.
    pub time_zone: TimeZone,
    /// Spans by weekday, Monday first.
    pub week: [Vec<Span>; 7],
    /// Days that differ; the first that covers a date wins.
    pub holidays: Vec<Holiday>,
}

/// The hours of one date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day<'a> {
    /// The date.
    pub date: Date,
    /// Its hours; none means closed.
    pub spans: &'a [Span],
    /// The holiday it is, if it is one.
    pub label: Option<&'a str>,
}

/// Whether the office is open at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Open, until then.
    Open {
        /// Closing time.
        until: Zoned,
    },
    /// Closed, until then; `None` when nothing opens within a year.
    Closed {
        /// Next opening.
        opens: Option<Zoned>,
    },
}

/// What a caller may ask hours for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DayQuery {
    /// No day named: now, and the whole week.
    Now,
    /// Today.
    Today,
    /// Tomorrow.
    Tomorrow,
    /// The day after tomorrow.
    DayAfterTomorrow,
    /// The next such day, today included; `next` skips today.
    Weekday {
        /// Which day.
        day: Weekday,
        /// "next Monday" said on a Monday is not today.
        next: bool,
    },
    /// Saturday and Sunday.
    Weekend,
    /// The whole week: "weekdays", "this week".
    Week,
    /// The week that begins on the next Monday.
    NextWeek,
    /// That many days from today.
    Ahead {
        /// How many.
        days: u16,
    },
    /// That many months from today; the last day of a month that is too short.
    AheadMonths(u8),
    /// The next such day and some weeks: "Friday week".
    WeekdayAfter {
        /// Which day.
        day: Weekday,
        /// How many weeks after the next one.
        weeks: u8,
    },
    /// That day of the calendar week so many weeks from this one: "Tuesday next week".
    InWeek {
        /// Which day.
        day: Weekday,
        /// How many weeks from this one. Weeks begin on Monday.
        weeks: u8,
    },
    /// The next such day of a month, today included.
    DayOfMonth {
        /// Day of the month, 1 to 31.
        day: i8,
        /// Whether it is that of the next month.
        next_month: bool,
    },
    /// A date; without a year the next such date.
    Date {
        /// Month, 1 to 12.
        month: i8,
        /// Day of the month, 1 to 31.
        day: i8,
    },
    /// A holiday by name, in small letters: "christmas".
    Named(String),
}

/// The form turn rows keep: `sunday`, `next tuesday`, `12-24`, `14th`, `in 14 days`, `christmas`.
impl std::fmt::Display for DayQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DayQuery::Now => f.write_str("now"),
            DayQuery::Today => f.write_str("today"),
            DayQuery::Tomorrow => f.write_str("tomorrow"),
            DayQuery::DayAfterTomorrow => f.write_str("day after tomorrow"),
            DayQuery::Weekday { day, next } => {
                let next = if *next { "next " } else { "" };
                write!(f, "{next}{}", small_name(*day))
            }
            DayQuery::NextWeek => f.write_str("next week"),
            DayQuery::Ahead { days } => write!(f, "in {days} day{}", plural(*days)),
            DayQuery::AheadMonths(months) => write!(f, "in {months} month{}", plural(u16::from(*months))),
            DayQuery::WeekdayAfter { day, weeks } => {
                write!(f, "{} and {weeks} week{}", small_name(*day), plural(u16::from(*weeks)))
            }
            DayQuery::InWeek { day, weeks } => {
                write!(f, "{} in {weeks} week{}", small_name(*day), plural(u16::from(*weeks)))
            }
            DayQuery::DayOfMonth { day, next_month } => {
                let ending = match day {
                    1 | 21 | 31 => "st",
                    2 | 22 => "nd",
                    3 | 23 => "rd",
                    _ => "th",
                };
                write!(f, "{day}{ending}{}", if *next_month { " next month" } else { "" })
            }
            DayQuery::Weekend => f.write_str("weekend"),
            DayQuery::Week => f.write_str("week"),
            DayQuery::Date { month, day } => write!(f, "{month:02}-{day:02}"),
            DayQuery::Named(name) => f.write_str(name),
        }
    }
}

fn small_name(day: Weekday) -> String {
    format!("{day:?}").to_lowercase()
}

fn plural(count: u16) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// How far ahead an opening is looked for.
const HORIZON_DAYS: i32 = 366;

impl Calendar {
    /// The hours of `date`.
    pub fn day(&self, date: Date) -> Day<'_> {
        match self.holidays.iter().find(|holiday| holiday.covers(date)) {
            Some(holiday) => Day { date, spans: &holiday.spans, label: Some(&holiday.label) },
            None => Day { date, spans: self.weekday(date.weekday()), label: None },
        }
    }

    /// The usual hours of a weekday.
    pub fn weekday(&self, weekday: Weekday) -> &[Span] {
        &self.week[weekday.to_monday_zero_offset() as usize]
    }

    /// Open or closed at `now`, which may be in any time zone.
    pub fn status(&self, now: &Zoned) -> Status {
        let now = now.with_time_zone(self.time_zone.clone());
        let today = now.date();
        // A span of yesterday may still run.
        let yesterday = today.yesterday().into_iter();
        let running = yesterday
            .chain([today])
            .flat_map(|date| self.openings(date))
            .find(|(open, close)| *open <= now && now < *close);
        if let Some((_, until)) = running {
            return Status::Open { until: self.joined(until) };
        }
        let days = (0..=HORIZON_DAYS).filter_map(|n| today.checked_add(n.days()).ok());
        let opens = days.flat_map(|date| self.openings(date)).map(|(open, _)| open).find(|open| *open > now);
        Status::Closed { opens }
    }

    /// The dates a question is about, seen from `now`. Empty when a named holiday is not in the calendar.
    pub fn dates(&self, query: &DayQuery, now: &Zoned) -> Vec<Date> {
        let today = now.with_time_zone(self.time_zone.clone()).date();
        let ahead = |n: i32| today.checked_add(n.days()).into_iter().collect::<Vec<_>>();
        let next = |day: Weekday, from: i32| (from..from + 7).flat_map(ahead).find(|d| d.weekday() == day).into_iter();
        match query {
            DayQuery::Now | DayQuery::Today => vec![today],
            DayQuery::Tomorrow => ahead(1),
            DayQuery::DayAfterTomorrow => ahead(2),
            DayQuery::Weekday { day, next: skip } => next(*day, i32::from(*skip)).collect(),
            DayQuery::Weekend => next(Weekday::Saturday, 0).chain(next(Weekday::Sunday, 0)).collect(),
            DayQuery::Week => (0..7).flat_map(ahead).collect(),
            DayQuery::NextWeek => (0..7).flat_map(|n| ahead(to_monday(today) + n)).collect(),
            DayQuery::Ahead { days } => ahead(i32::from(*days)),
            DayQuery::AheadMonths(months) => today.checked_add(i32::from(*months).months()).into_iter().collect(),
            DayQuery::WeekdayAfter { day, weeks } => {
                let later = |date: Date| date.checked_add(i32::from(*weeks).weeks()).ok();
                next(*day, 0).filter_map(later).collect()
            }
            DayQuery::InWeek { day, weeks } => {
                let offset = i32::from(day.to_monday_zero_offset()) + 7 * (i32::from(*weeks) - 1);
                ahead(to_monday(today) + offset)
            }
            DayQuery::DayOfMonth { day, next_month } => day_of_month(today, *day, *next_month).into_iter().collect(),
            DayQuery::Date { month, day } => self.next_date(today, *month, *day),
            DayQuery::Named(name) => self.named(name, today).into_iter().collect(),
        }
    }

    fn next_date(&self, today: Date, month: i8, day: i8) -> Vec<Date> {
        let years = today.year()..=today.year().saturating_add(8);
        years.filter_map(|year| Date::new(year, month, day).ok()).find(|date| *date >= today).into_iter().collect()
    }

    /// The next date of the holiday of that name, of one whose label shares it, or of one everybody knows the date of.
    fn named(&self, name: &str, today: Date) -> Option<Date> {
        let next = |fits: &dyn Fn(&str) -> bool| {
            let holidays = self.holidays.iter().filter(|holiday| fits(&holiday.label.to_lowercase()));
            holidays.filter_map(|holiday| holiday.next_start(today)).min()
        };
        let known = || {
            let (month, day) = KNOWN_HOLIDAYS.iter().find(|(known, ..)| name.contains(known)).map(|k| (k.1, k.2))?;
            self.next_date(today, month, day).first().copied()
        };
        next(&|label| label == name)
            .or_else(|| next(&|label| label.contains(name) || name.contains(label)))
            .or_else(known)
    }

    /// The moments the spans of a date begin and end. A civil time a shift skips becomes the moment after the gap.
    fn openings(&self, date: Date) -> Vec<(Zoned, Zoned)> {
        let moment = |date: Date, time: Time| date.to_datetime(time).to_zoned(self.time_zone.clone()).ok();
        let opening = |span: &Span| {
            let closes_on = if span.past_midnight() { date.tomorrow().ok()? } else { date };
            Some((moment(date, span.open)?, moment(closes_on, span.close)?))
        };
        self.day(date).spans.iter().filter_map(opening).collect()
    }

    /// Follows spans that touch: open all night means the closing time is tomorrow's, a week at most.
    fn joined(&self, mut until: Zoned) -> Zoned {
        for _ in 0..7 {
            let touching =
                self.openings(until.date()).into_iter().find(|(open, close)| *open <= until && until < *close);
            match touching {
                Some((_, close)) => until = close,
                None => break,
            }
        }
        until
    }
}

/// Days from `today` to the Monday of the next week, 1 to 7.
fn to_monday(today: Date) -> i32 {
    7 - i32::from(today.weekday().to_monday_zero_offset())
}

/// The first month that has such a day, from this one or from the next.
fn day_of_month(today: Date, day: i8, next_month: bool) -> Option<Date> {
    let first = today.first_of_month();
    let from = i32::from(next_month);
    let mut months = (from..from + 4).filter_map(|n| first.checked_add(n.months()).ok());
    months.find_map(|month| Date::new(month.year(), month.month(), day).ok().filter(|date| *date >= today))
}

/// Holidays on a fixed date: part of their name, month, day.
const KNOWN_HOLIDAYS: &[(&str, i8, i8)] = &[
    ("christmas eve", 12, 24),
    ("boxing day", 12, 26),
    ("christmas", 12, 25),
    ("new year's eve", 12, 31),
    ("new years eve", 12, 31),
    ("new year", 1, 1),
    ("independence day", 7, 4),
    ("fourth of july", 7, 4),
    ("halloween", 10, 31),
    ("veterans day", 11, 11),
    ("valentine", 2, 14),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::{HolidayConfig, Office, sample};

    fn calendar(change: impl FnOnce(&mut crate::office::OfficeConfig)) -> Calendar {
        let mut config = sample::config();
        change(&mut config);
        Office::try_from(&config).unwrap().calendar
    }

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn open_and_closed_through_the_day() {
        let calendar = calendar(|_| {});
        for (now, expected) in [
            ("2026-11-24T08:59:59[America/New_York]", "closed until 2026-11-24T09:00:00-05:00"),
            ("2026-11-24T09:00:00[America/New_York]", "open until 2026-11-24T12:30:00-05:00"),
            ("2026-11-24T12:30:00[America/New_York]", "closed until 2026-11-24T13:30:00-05:00"),
            ("2026-11-24T17:30:00[America/New_York]", "closed until 2026-11-25T09:00:00-05:00"),
            // Thanksgiving is a Thursday: the next opening is on Friday.
            ("2026-11-25T18:00:00[America/New_York]", "closed until 2026-11-27T09:00:00-05:00"),
            ("2026-11-28T13:00:00[America/New_York]", "closed until 2026-11-30T09:00:00-05:00"),
            // The same moment told in another zone.
            ("2026-11-24T15:00:00[Europe/London]", "open until 2026-11-24T12:30:00-05:00"),
        ] {
            let status = match calendar.status(&at(now)) {
                Status::Open { until } => format!("open until {}{}", until.datetime(), until.strftime("%:z")),
                Status::Closed { opens: Some(opens) } => {
                    format!("closed until {}{}", opens.datetime(), opens.strftime("%:z"))
                }
                Status::Closed { opens: None } => "closed".into(),
            };
            assert_eq!(status, expected, "{now}");
        }
    }

    /// New York springs forward on 8 March 2026 at 2:00 and falls back on 1 November at 2:00.
    #[test]
    fn daylight_saving_shifts_do_not_move_the_hours() {
        let calendar = calendar(|config| {
            config.hours.saturday = vec!["22:00-03:00".into()];
            config.hours.sunday = vec!["02:30-12:00".into()];
            config.hours.saturday = vec![];
        });
        let Status::Closed { opens: Some(opens) } = calendar.status(&at("2026-03-08T00:00:00[America/New_York]"))
        else {
            panic!("closed at midnight")
        };
        assert_eq!(
            opens.timestamp(),
            at("2026-03-08T03:30:00[America/New_York]").timestamp(),
            "2:30 does not exist that day"
        );
        let Status::Closed { opens: Some(opens) } = calendar.status(&at("2026-10-31T23:00:00[America/New_York]"))
        else {
            panic!("closed at night")
        };
        assert_eq!(opens.timestamp(), at("2026-11-01T02:30:00[America/New_York]").timestamp());
    }

    #[test]
    fn spans_run_past_midnight_and_join() {
        let calendar = calendar(|config| {
            config.hours.monday = vec!["20:00-02:00".into()];
            config.hours.tuesday = vec!["02:00-04:00".into()];
            config.hours.wednesday = vec!["00:00-24:00".into()];
            config.hours.thursday = vec!["00:00-06:00".into()];
        });
        let open_until = |now: &str| match calendar.status(&at(now)) {
            Status::Open { until } => until.datetime().to_string(),
            Status::Closed { .. } => "closed".into(),
        };
        assert_eq!(open_until("2026-11-16T23:00:00[America/New_York]"), "2026-11-17T04:00:00");
        assert_eq!(open_until("2026-11-17T01:00:00[America/New_York]"), "2026-11-17T04:00:00");
        assert_eq!(open_until("2026-11-18T12:00:00[America/New_York]"), "2026-11-19T06:00:00");
    }

    #[test]
    fn an_office_that_never_opens_says_so() {
        let calendar = calendar(|config| config.hours = Default::default());
        let closed = calendar.status(&at("2026-01-05T12:00:00[America/New_York]"));
        // Christmas Eve has hours of its own even then.
        assert!(matches!(closed, Status::Closed { opens: Some(_) }));
        let never = Calendar { holidays: vec![], ..calendar };
        assert_eq!(never.status(&at("2026-01-05T12:00:00[America/New_York]")), Status::Closed { opens: None });
    }

    #[test]
    fn questions_become_dates() {
        let calendar = calendar(|_| {});
        let now = at("2026-11-24T10:00:00[America/New_York]"); // A Tuesday.
        let weekday = |day, next| DayQuery::Weekday { day, next };
        for (query, expected) in [
            (DayQuery::Today, "2026-11-24"),
            (DayQuery::Tomorrow, "2026-11-25"),
            (DayQuery::DayAfterTomorrow, "2026-11-26"),
            (weekday(Weekday::Tuesday, false), "2026-11-24"),
            (weekday(Weekday::Tuesday, true), "2026-12-01"),
            (weekday(Weekday::Monday, false), "2026-11-30"),
            (DayQuery::Weekend, "2026-11-28 2026-11-29"),
            (DayQuery::Date { month: 11, day: 1 }, "2027-11-01"),
            (DayQuery::Date { month: 2, day: 29 }, "2028-02-29"),
            (DayQuery::Date { month: 2, day: 31 }, ""),
            (DayQuery::Ahead { days: 14 }, "2026-12-08"),
            (DayQuery::AheadMonths(3), "2027-02-24"),
            (DayQuery::WeekdayAfter { day: Weekday::Friday, weeks: 1 }, "2026-12-04"),
            (DayQuery::InWeek { day: Weekday::Friday, weeks: 1 }, "2026-12-04"),
            (DayQuery::InWeek { day: Weekday::Monday, weeks: 1 }, "2026-11-30"),
            (DayQuery::InWeek { day: Weekday::Monday, weeks: 2 }, "2026-12-07"),
            (DayQuery::DayOfMonth { day: 24, next_month: false }, "2026-11-24"),
            (DayQuery::DayOfMonth { day: 14, next_month: false }, "2026-12-14"),
            (DayQuery::DayOfMonth { day: 31, next_month: false }, "2026-12-31"),
            (DayQuery::DayOfMonth { day: 25, next_month: true }, "2026-12-25"),
            (DayQuery::Named("christmas".into()), "2026-12-25"),
            (DayQuery::Named("christmas eve".into()), "2026-12-24"),
            (DayQuery::Named("thanksgiving".into()), "2026-11-26"),
            (DayQuery::Named("new year".into()), "2026-12-31"),
            (DayQuery::Named("halloween".into()), "2027-10-31"),
            (DayQuery::Named("easter".into()), ""),
        ] {
            let dates = calendar.dates(&query, &now).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            assert_eq!(dates, expected, "{query:?}");
        }
    }

    /// The question is asked late in New York, when it is already tomorrow in London.
    #[test]
    fn today_is_the_office_s_today() {
        let calendar = calendar(|_| {});
        let now = at("2026-11-25T02:00:00[Europe/London]");
        assert_eq!(calendar.dates(&DayQuery::Today, &now)[0].to_string(), "2026-11-24");
    }

    #[test]
    fn a_closure_may_run_over_new_year() {
        let calendar = calendar(|config| {
            config.holidays = vec![HolidayConfig {
                date: "12-28".into(),
                until: Some("01-03".into()),
                label: "winter break".into(),
                hours: vec![],
            }];
        });
        let closed = |text: &str| calendar.day(text.parse().unwrap()).label.is_some();
        assert_eq!(
            ["2026-12-27", "2026-12-28", "2026-12-31", "2027-01-01", "2027-01-03", "2027-01-04"].map(closed),
            [false, true, true, true, true, false]
        );
    }
}
