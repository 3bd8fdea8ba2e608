//! The office the phone is answered for: its name, hours, address and people, as the `[office]` part of the
//! configuration tells them.
//!
//! [`OfficeConfig`] is what the file says, [`Office`] what the conversation uses: checked, with times and dates parsed.
//! Left out on purpose: prices and everything else that is prose. That is knowledge, kept in Markdown files.

mod config;
pub mod hours;
pub mod import;
pub mod people;
pub mod sample;
mod staff;

pub use config::{HolidayConfig, HoursConfig, OfficeConfig, OnCallConfig, PersonConfig, TurnLength};
pub use people::{Absence, Person, Presence, Rotation, Route};
pub use staff::{Staff, week_of};

use audio::dsp::call_tones::Country;

use crate::config::ConfigMistake;
use crate::dial_plan::Target;
use hours::{Calendar, Holiday, Span};
use jiff::tz::TimeZone;

/// A checked office.
#[derive(Debug, Clone)]
pub struct Office {
    /// Name as written.
    pub name: String,
    /// Name as a voice says it; the written name when none is given.
    pub spoken_name: String,
    /// The first sentence a caller hears: that a machine speaks. Never interrupted.
    pub disclosure: String,
    /// What follows the disclosure.
    pub greeting: String,
    /// Address on one line, as written.
    pub address: Option<String>,
    /// How to find it, in one or two sentences.
    pub directions: Option<String>,
    /// Telephone number to tell callers, as written.
    pub phone: Option<String>,
    /// E-mail address to tell callers, as written.
    pub email: Option<String>,
    /// Opening hours and holidays, in the office's time zone.
    pub calendar: Calendar,
    /// Short price sentences, spoken as they are; empty when prices are knowledge.
    pub prices: Vec<String>,
    /// People who may be asked for.
    pub people: Vec<Person>,
    /// Departments that may be asked for, in small letters.
    pub departments: Vec<String>,
    /// What rings for callers who just want a person.
    pub operator: Option<Target>,
    /// Who takes turns to be reachable while nobody else is.
    pub on_call: Option<Rotation>,
    /// Whose ringing and busy tones callers hear.
    pub country: Country,
    /// Language of the conversation as a BCP 47 tag. Only English is understood so far.
    pub language: String,
}

impl Office {
    /// The calendar's time zone.
    pub fn time_zone(&self) -> &TimeZone {
        &self.calendar.time_zone
    }

    /// Departments and people in small letters: what [`crate::conversation::slots::Directory`] is made of.
    pub fn asked_for(&self) -> Vec<String> {
        self.departments.iter().cloned().chain(self.people.iter().map(|person| person.name.to_lowercase())).collect()
    }
}

impl TryFrom<&OfficeConfig> for Office {
    type Error = Vec<ConfigMistake>;

    /// Checks and parses; every mistake is reported, not only the first.
    fn try_from(config: &OfficeConfig) -> Result<Self, Self::Error> {
        let mut mistakes = Vec::new();
        let office = config.parse(&mut mistakes);
        match office {
            Some(office) if mistakes.is_empty() => Ok(office),
            Some(_) | None => Err(mistakes),
        }
    }
}
