//! The office as it is now: what the configuration says, with the people who were imported and who is away.
//!
//! The configuration is what the office writes by hand, and comes first; imports and absences lie in the database and may
//! change while the box runs. Left out on purpose: anything that changes the database (`requests`).

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Weekday;
use rusqlite::Connection;
use tokio::sync::watch;
use tracing::{info, warn};

use super::config::{are_ordered, parse_span};
use super::hours::{Calendar, Span};
use super::{Absence, Office, Person};
use crate::bell::Ear;
use crate::dial_plan::Target;
use crate::storage::{AbsenceRow, PersonRow, Storage, StorageError, UnixMs, absences_after, list_people};

/// What the database says about people.
type Rows = (Vec<PersonRow>, Vec<AbsenceRow>);

/// The office in force. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Staff {
    written: Arc<Office>,
    now: watch::Sender<Arc<Office>>,
}

impl Staff {
    /// What the configuration says, and nothing else.
    pub fn new(written: Arc<Office>) -> Staff {
        let now = watch::Sender::new(Arc::clone(&written));
        Staff { written, now }
    }

    /// What the configuration and the database say.
    ///
    /// # Errors
    /// As [`list_people`].
    pub fn read(written: Arc<Office>, db: &Connection) -> Result<Staff, StorageError> {
        let staff = Staff::new(written);
        let rows = rows(db)?;
        staff.now.send_replace(Arc::new(with(&staff.written, &rows)));
        Ok(staff)
    }

    /// The office as it is now.
    pub fn office(&self) -> Arc<Office> {
        Arc::clone(&self.now.borrow())
    }

    /// Keeps up with the database until the bell is silenced. `tell` hears of each change.
    pub async fn follow(self, storage: Storage, mut ear: Ear, tell: impl Fn(Arc<Office>) + Send) {
        let mut known = None;
        while ear.wait(None).await {
            match storage.read(rows).await {
                Ok(rows) if known.as_ref() != Some(&rows) => {
                    let office = Arc::new(with(&self.written, &rows));
                    self.now.send_replace(Arc::clone(&office));
                    if known.is_some() {
                        info!(
                            people = office.people.len(),
                            absences = rows.1.len(),
                            "The office's people have changed"
                        );
                    }
                    known = Some(rows);
                    tell(office);
                }
                Ok(_) => {}
                Err(error) => warn!(%error, "The office's people are as they were"),
            }
        }
    }
}

fn rows(db: &Connection) -> Result<Rows, StorageError> {
    Ok((list_people(db)?, absences_after(db, UnixMs::now())?))
}

/// The office with what the database says: of somebody who is in the configuration only what that leaves out.
fn with(written: &Office, (people, absences): &Rows) -> Office {
    let mut office = written.clone();
    for row in people {
        let name = row.name.to_lowercase();
        let imported = imported(row, &office.calendar);
        match office.people.iter_mut().find(|person| person.name.to_lowercase() == name) {
            Some(person) => {
                person.department = person.department.take().or(imported.department);
                person.reach = person.reach.take().or(imported.reach);
                person.mobile = person.mobile.take().or(imported.mobile);
                person.email = person.email.take().or(imported.email);
                person.hours = person.hours.take().or(imported.hours);
            }
            None => office.people.push(imported),
        }
    }
    for row in absences {
        let name = row.person.to_lowercase();
        let moment = |at: UnixMs| Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::MAX);
        if let Some(person) = office.people.iter_mut().find(|person| person.name.to_lowercase() == name) {
            person.absences.push(Absence { from: moment(row.from_at), until: moment(row.until_at) });
        }
    }
    office
}

fn imported(row: &PersonRow, office: &Calendar) -> Person {
    let week = row.hours.as_deref().and_then(|text| {
        // It was checked when it was imported.
        week_of(text).map_err(|expected| warn!(expected, "Hours of an imported person not read")).ok()
    });
    Person {
        name: row.name.clone(),
        department: row.department.as_ref().map(|name| name.to_lowercase()),
        reach: row.extension.clone().map(Target::Extension),
        mobile: row.mobile.clone(),
        email: row.email.clone(),
        hours: week.map(|week| Calendar { week, ..office.clone() }),
        absences: Vec::new(),
    }
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// A week on one line, Monday first: `mon-fri 09:00-12:30 13:30-17:00; sat 10:00-13:00`.
///
/// # Errors
/// What was expected.
pub fn week_of(text: &str) -> Result<[Vec<Span>; 7], &'static str> {
    const EXPECTED: &str = "hours such as \"mon-fri 09:00-12:30 13:30-17:00; sat 10:00-13:00\"";
    let index = |name: &str| {
        let name = name.to_lowercase();
        DAYS.iter().position(|(short, day)| name == *short || name == format!("{day:?}").to_lowercase())
    };
    let mut week: [Vec<Span>; 7] = Default::default();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let mut words = part.split_whitespace();
        let days = words.next().ok_or(EXPECTED)?;
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (first, last) = (index(first).ok_or(EXPECTED)?, index(last).ok_or(EXPECTED)?);
        let spans: Vec<Span> = words.map(parse_span).collect::<Option<_>>().ok_or(EXPECTED)?;
        if first > last || spans.is_empty() || !are_ordered(&spans) {
            return Err(EXPECTED);
        }
        for day in &mut week[first..=last] {
            if !day.is_empty() {
                return Err("each day once");
            }
            day.clone_from(&spans);
        }
    }
    if week.iter().all(Vec::is_empty) { Err(EXPECTED) } else { Ok(week) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::sample;
    use crate::redact::Redacted;
    use crate::storage::AbsenceId;

    #[test]
    fn what_the_office_writes_by_hand_comes_first() {
        let mut written = sample::office().unwrap();
        written.people[0].reach = Some(Target::Group("front".into()));
        let row = |name: &str, extension: &str| PersonRow {
            name: name.into(),
            extension: Some(extension.into()),
            email: Some(Redacted::new(format!("{extension}@office.example"))),
            hours: Some("mon-fri 09:00-12:00".into()),
            ..PersonRow::default()
        };
        let away = AbsenceRow {
            absence_id: AbsenceId::new(UnixMs(1)),
            person: "new one".into(),
            from_at: UnixMs(1),
            until_at: UnixMs(2),
        };
        let office = with(&written, &(vec![row("doctor maria lopez", "101"), row("New One", "102")], vec![away]));
        assert_eq!(office.people.len(), written.people.len() + 1);
        let [first, last] = [office.people.first().unwrap(), office.people.last().unwrap()];
        assert_eq!(first.reach, written.people[0].reach);
        assert_eq!(first.email.as_ref().unwrap().reveal(), "101@office.example");
        assert_eq!(last.reach, Some(Target::Extension("102".into())));
        assert_eq!((first.absences.len(), last.absences.len()), (0, 1));
        assert_eq!(last.hours.as_ref().unwrap().week[4].len(), 1);
        assert!(office.asked_for().contains(&"new one".to_owned()));
    }

    #[test]
    fn a_week_on_one_line() {
        let week = week_of("mon-wed 09:00-12:00 13:00-17:00; Friday 22:00-04:00").unwrap();
        assert_eq!(week.each_ref().map(Vec::len), [2, 2, 2, 0, 1, 0, 0]);
        for wrong in ["", "mon", "mon 9-5", "fri-mon 09:00-10:00", "mon 12:00-13:00 11:00-12:00", "someday 09:00-10:00"]
        {
            assert!(week_of(wrong).unwrap_err().starts_with("hours such as"), "{wrong}");
        }
        assert_eq!(week_of("mon-fri 09:00-10:00; tue 11:00-12:00"), Err("each day once"));
    }
}
