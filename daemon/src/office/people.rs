//! Who may be rung now: hours, holidays, absences, and whose turn it is to be on call.
//!
//! ```text
//! away by their own word ──► away      in their hours, or the office's ──► here      their turn ──► on call      else away
//! ```
//! Everything that asks for a person comes here: the attendant's hand-over, `offhook people`, notices to the owner of a
//! promise. `now` is an argument. Left out on purpose: whether a phone is busy or registered, which only ringing tells.

use std::fmt;

use jiff::civil::{Date, Time};
use jiff::{Timestamp, ToSpan as _, Zoned};

use super::Office;
use super::hours::{Calendar, Status};
use crate::dial_plan::Target;
use crate::redact::Redacted;

/// Somebody a caller may ask for.
#[derive(Debug, Clone, Default)]
pub struct Person {
    /// Name as written and spoken.
    pub name: String,
    /// The department they belong to, in small letters.
    pub department: Option<String>,
    /// What rings for them in the office.
    pub reach: Option<Target>,
    /// What rings for them then: E.164 with +.
    pub mobile: Option<Redacted<String>>,
    /// Where notices to them go.
    pub email: Option<Redacted<String>>,
    /// When they work, if not whenever the office is open; with the office's holidays.
    pub hours: Option<Calendar>,
    /// When they are away.
    pub absences: Vec<Absence>,
}

/// From one moment to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// The first moment of it.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

/// People who take turns to be reachable while nobody else is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Names, in the order of their turns; never empty.
    pub people: Vec<String>,
    /// How long a turn is.
    pub turn_days: i32,
    /// When one hands over to the next.
    pub handover: Time,
    /// When the first turn of the first one began.
    pub starts: Date,
}

/// Whether somebody may be rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is within their hours.
    Here {
        /// Until then.
        until: Zoned,
    },
    /// It is not, but their turn.
    OnCall {
        /// Until then.
        until: Zoned,
    },
    /// No.
    Away {
        /// Why.
        why: Why,
        /// Until then; `None` when no end is known.
        until: Option<Zoned>,
    },
}

/// Why somebody may not be rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// They are away by their own word.
    Absent,
    /// A holiday.
    Holiday,
    /// It is outside their hours.
    OffHours,
}

impl Presence {
    /// Whether they may be rung.
    pub fn is_reachable(&self) -> bool {
        matches!(self, Presence::Here { .. } | Presence::OnCall { .. })
    }

    /// A stable word for it: `here`, `on_call`, `absent`, `holiday`, `off_hours`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Presence::Here { .. } => "here",
            Presence::OnCall { .. } => "on_call",
            Presence::Away { why: Why::Absent, .. } => "absent",
            Presence::Away { why: Why::Holiday, .. } => "holiday",
            Presence::Away { why: Why::OffHours, .. } => "off_hours",
        }
    }

    /// Until when that is so, as far as it is known.
    pub fn until(&self) -> Option<&Zoned> {
        match self {
            Presence::Here { until } | Presence::OnCall { until } => Some(until),
            Presence::Away { until, .. } => until.as_ref(),
        }
    }
}

/// How a caller gets to somebody: what rings first, and what then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Who that is, if it is one person.
    pub person: Option<String>,
    /// In the office.
    pub reach: Option<Target>,
    /// Outside.
    pub mobile: Option<Redacted<String>>,
}

impl Route {
    /// Whoever takes the calls of a target.
    pub fn to(target: Target) -> Route {
        Route { reach: Some(target), ..Route::default() }
    }

    fn of(person: &Person) -> Option<Route> {
        let Person { name, reach, mobile, .. } = person;
        let is_way = reach.is_some() || mobile.is_some();
        is_way.then(|| Route { person: Some(name.clone()), reach: reach.clone(), mobile: mobile.clone() })
    }
}

/// For rows and logs: what rings first. Numbers outside are only called that.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reach {
            Some(target) => target.fmt(f),
            None => f.write_str("mobile"),
        }
    }
}

impl Person {
    /// Whether they are the one who is asked for, in small letters: by name or by department.
    fn is_asked_for(&self, asked_for: &str) -> bool {
        self.name.to_lowercase() == asked_for || self.department.as_deref() == Some(asked_for)
    }

    /// Until when they are away at `now`.
    fn absent_until(&self, now: Timestamp) -> Option<Timestamp> {
        // One absence may follow upon another.
        let covers = |at: Timestamp| self.absences.iter().filter(move |one| one.from <= at && at < one.until);
        let mut until = covers(now).map(|one| one.until).max()?;
        while let Some(longer) = covers(until).map(|one| one.until).max() {
            until = longer;
        }
        Some(until)
    }
}

impl Rotation {
    /// The number of the turn at `now` since the first one, and when the next begins.
    fn turn(&self, now: &Zoned) -> Option<(i32, Zoned)> {
        let zone = now.time_zone();
        // An hour that does not exist begins when the clock has jumped over it, one that comes twice the first time.
        let begins = |date: Date| date.to_datetime(self.handover).to_zoned(zone.clone()).ok();
        let today = now.date();
        let date = if *now < begins(today)? { today.yesterday().ok()? } else { today };
        let days = self.starts.until(date).ok()?.get_days();
        let turn = days.div_euclid(self.turn_days);
        let next = self.starts.checked_add(turn.checked_add(1)?.checked_mul(self.turn_days)?.days()).ok()?;
        Some((turn, begins(next)?))
    }
}

impl Office {
    /// The person whose phones have this extension.
    pub fn person_at(&self, extension: &str) -> Option<&Person> {
        let is_theirs = |reach: &Target| matches!(reach, Target::Extension(number) if number == extension);
        self.people.iter().find(|person| person.reach.as_ref().is_some_and(is_theirs))
    }

    /// The person of this name, in any letters.
    pub fn person(&self, name: &str) -> Option<&Person> {
        let name = name.to_lowercase();
        self.people.iter().find(|person| person.name.to_lowercase() == name)
    }

    /// Whether `person` may be rung at `now`.
    pub fn presence(&self, person: &Person, now: &Zoned) -> Presence {
        let zone = self.time_zone();
        let now = &now.with_time_zone(zone.clone());
        if let Some(until) = person.absent_until(now.timestamp()) {
            return Presence::Away { why: Why::Absent, until: Some(until.to_zoned(zone.clone())) };
        }
        let calendar = person.hours.as_ref().unwrap_or(&self.calendar);
        let until_absence = |until: Zoned| {
            let starts = person.absences.iter().map(|one| one.from.to_zoned(zone.clone())).filter(|from| from > now);
            starts.chain([until.clone()]).min().unwrap_or(until)
        };
        match calendar.status(now) {
            Status::Open { until } => Presence::Here { until: until_absence(until) },
            Status::Closed { opens } => match self.on_call(now) {
                Some((name, until)) if name == person.name => Presence::OnCall { until: until_absence(until) },
                Some(_) | None => {
                    let today = calendar.day(now.date());
                    let is_holiday = today.label.is_some() && today.spans.is_empty();
                    Presence::Away { why: if is_holiday { Why::Holiday } else { Why::OffHours }, until: opens }
                }
            },
        }
    }

    /// Whether the office is open at `now`.
    pub fn is_open(&self, now: &Zoned) -> bool {
        matches!(self.calendar.status(now), Status::Open { .. })
    }

    /// Whose turn it is at `now`, and until when: of those who are not away the next one. `None` without a rotation.
    pub fn on_call(&self, now: &Zoned) -> Option<(&str, Zoned)> {
        let rotation = self.on_call.as_ref()?;
        let now = now.with_time_zone(self.time_zone().clone());
        let (turn, until) = rotation.turn(&now)?;
        let count = i32::try_from(rotation.people.len()).ok()?;
        let in_order = (0..count).filter_map(|ahead| {
            let index = turn.checked_add(ahead)?.rem_euclid(count);
            self.person(rotation.people.get(usize::try_from(index).ok()?)?)
        });
        let person = in_order.into_iter().find(|person| person.absent_until(now.timestamp()).is_none())?;
        Some((&person.name, until))
    }

    /// Whether `person` is away by their own word at `now`.
    pub fn is_absent(&self, person: &Person, now: &Zoned) -> bool {
        person.absent_until(now.timestamp()).is_some()
    }

    /// Who is rung at `now` for a caller who asks for `asked_for` (a person or a department, in small letters), or just for
    /// somebody: of those asked for the first who may be rung; else, while the office is open, the operator, and while
    /// it is closed, who is on call.
    pub fn route(&self, asked_for: Option<&str>, now: &Zoned) -> Option<Route> {
        let asked_for = asked_for.into_iter().flat_map(|name| self.people.iter().filter(|one| one.is_asked_for(name)));
        let own = asked_for.filter(|person| self.presence(person, now).is_reachable()).find_map(Route::of);
        own.or_else(|| match self.calendar.status(now) {
            Status::Open { .. } => self.operator.clone().map(Route::to),
            Status::Closed { .. } => Route::of(self.person(self.on_call(now)?.0)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::{OnCallConfig, PersonConfig, sample};

    /// The sample office with three people: Anna has hours of her own, Ben and Carla the office's; Ben and Carla take weekly
    /// turns. In 2026 clocks in New York go forward on 8 March and back on 1 November, both at 2:00.
    fn office() -> Office {
        let mut config = sample::config();
        let person = |name: &str, extension: &str| PersonConfig {
            name: name.into(),
            reach: Some(Target::Extension(extension.into())),
            ..PersonConfig::default()
        };
        let mut anna = person("Anna", "101");
        let hours = anna.hours.insert(Default::default());
        hours.saturday = vec!["22:00-04:00".into()];
        hours.thursday = vec!["08:00-10:00".into()];
        anna.department = Some("billing".into());
        let mut ben = PersonConfig { mobile: Some("+12125550101".into()), ..person("Ben", "102") };
        ben.reach = None;
        config.people = vec![anna, ben, person("Carla", "103")];
        config.operator = Some(Target::Group("front".into()));
        config.on_call = Some(OnCallConfig {
            people: vec!["Ben".into(), "Carla".into()],
            turn: crate::office::TurnLength::Week,
            handover: "02:30".into(),
            starts: "2026-03-01".into(),
        });
        Office::try_from(&config).unwrap()
    }

    fn at(text: &str) -> Zoned {
        format!("{text}[America/New_York]").parse().unwrap()
    }

    fn absence(from: &str, until: &str) -> Absence {
        Absence { from: at(from).timestamp(), until: at(until).timestamp() }
    }

    #[test]
    fn who_is_reachable_follows_hours_holidays_absences_and_turns() {
        let mut office = office();
        office.people[0].absences = vec![absence("2026-03-12T09:00", "2026-03-20T00:00")];
        office.people[2].absences = vec![
            absence("2026-03-11T00:00", "2026-03-12T00:00"),
            absence("2026-03-12T00:00", "2026-03-13T12:00"),
            absence("2026-07-01T00:00", "2026-07-10T00:00"),
        ];
        for (name, now, expected) in [
            // Their own hours, past midnight too, and over the hour that a clock change skips (04:00 is an hour earlier).
            ("Anna", "2026-03-05T09:00", "here until 2026-03-05T10:00:00-05:00"),
            ("Anna", "2026-03-05T11:00", "off_hours until 2026-03-07T22:00:00-05:00"),
            ("Anna", "2026-03-08T03:30", "here until 2026-03-08T04:00:00-04:00"),
            ("Anna", "2026-11-01T03:59", "here until 2026-11-01T04:00:00-05:00"),
            // Away before her hours end, then back.
            ("Anna", "2026-03-12T08:30", "here until 2026-03-12T09:00:00-04:00"),
            ("Anna", "2026-03-12T09:00", "absent until 2026-03-20T00:00:00-04:00"),
            ("Anna", "2026-03-20T00:00", "off_hours until 2026-03-21T22:00:00-04:00"),
            // Holidays are everybody's.
            // Christmas takes her Saturday night as well, and New Year's Eve has hours of the office.
            ("Anna", "2026-12-25T09:00", "holiday until 2026-12-31T09:00:00-05:00"),
            ("Ben", "2026-11-26T10:00", "on_call until 2026-11-29T02:30:00-05:00"),
            ("Carla", "2026-11-26T10:00", "holiday until 2026-11-27T09:00:00-05:00"),
            // Ben's turn ends at a time that does not exist, so when the clock has jumped over it.
            ("Ben", "2026-03-08T01:59", "on_call until 2026-03-08T03:30:00-04:00"),
            ("Ben", "2026-03-08T03:29", "on_call until 2026-03-08T03:30:00-04:00"),
            ("Carla", "2026-03-08T03:30", "on_call until 2026-03-11T00:00:00-04:00"),
            // Two absences in a row are one; meanwhile the next one has her turn.
            ("Carla", "2026-03-11T20:00", "absent until 2026-03-13T12:00:00-04:00"),
            ("Ben", "2026-03-11T20:00", "on_call until 2026-03-15T02:30:00-04:00"),
            ("Carla", "2026-03-13T20:00", "on_call until 2026-03-15T02:30:00-04:00"),
            // Before the first turn they go backwards.
            ("Carla", "2026-02-28T20:00", "on_call until 2026-03-01T02:30:00-05:00"),
            // In hours nobody needs a turn.
            ("Carla", "2026-03-10T10:00", "here until 2026-03-10T12:30:00-04:00"),
        ] {
            let presence = office.presence(office.person(name).unwrap(), &at(now));
            let until = presence.until().map_or("ever".into(), |until| until.to_string());
            let found = format!("{} until {}", presence.as_str(), until.trim_end_matches("[America/New_York]"));
            assert_eq!(found, expected, "{name} at {now}");
        }
    }

    /// A turn that ends in the hour that comes twice ends once: nobody is on call again half an hour later.
    #[test]
    fn the_hour_that_comes_twice_hands_over_once() {
        let mut office = office();
        if let Some(rotation) = &mut office.on_call {
            rotation.handover = Time::constant(1, 30, 0, 0);
        }
        for (now, expected) in [
            ("2026-11-01T01:29:00-04:00", "Ben"),
            ("2026-11-01T01:30:00-04:00", "Carla"),
            ("2026-11-01T01:00:00-05:00", "Carla"),
            ("2026-11-01T01:45:00-05:00", "Carla"),
        ] {
            assert_eq!(office.on_call(&at(now)).unwrap().0, expected, "{now}");
        }
    }

    #[test]
    fn a_caller_is_given_to_who_is_there() {
        let mut office = office();
        let route = |office: &Office, asked_for: Option<&str>, now: &str| {
            let route = office.route(asked_for, &at(now))?;
            Some(format!("{} {route}", route.person.as_deref().unwrap_or("-")))
        };
        let (open, hers, night) = ("2026-03-10T10:00", "2026-03-05T08:30", "2026-03-10T23:00");
        for (asked_for, now, expected) in [
            (None, open, Some("- group:front")),
            (Some("carla"), open, Some("Carla extension:103")),
            (Some("billing"), hers, Some("Anna extension:101")),
            // Not in her hours, but the office is open.
            (Some("anna"), open, Some("- group:front")),
            (Some("ben"), open, Some("Ben mobile")),
            (None, night, Some("Carla extension:103")),
            (Some("ben"), night, Some("Carla extension:103")),
            (None, "2026-03-05T23:00", Some("Ben mobile")),
        ] {
            assert_eq!(route(&office, asked_for, now).as_deref(), expected, "{asked_for:?} {now}");
        }
        office.on_call = None;
        assert_eq!(route(&office, None, night), None);
        office.operator = None;
        assert_eq!(route(&office, Some("anna"), open), None);
    }

    #[test]
    fn without_anybody_left_nobody_is_on_call() {
        let mut office = office();
        for person in &mut office.people {
            person.absences = vec![absence("2026-01-01T00:00", "2027-01-01T00:00")];
        }
        assert_eq!(office.on_call(&at("2026-03-10T23:00")), None);
        assert_eq!(office.route(Some("carla"), &at("2026-03-10T23:00")), None);
    }
}
