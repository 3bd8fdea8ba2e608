//! What the configuration file says about the office, and every way it can be wrong.

use super::{Calendar, Holiday, Office, Person, Rotation, Span};
use audio::dsp::call_tones::Country;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::config::ConfigMistake;
use crate::dial_plan::{Target, is_e164};
use crate::redact::Redacted;

/// The `[office]` part of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficeConfig {
    /// Name as written.
    pub name: String,
    /// Name as it should be said, if reading it aloud is not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoken_name: Option<String>,
    /// Says that a machine answers and that the call may be recorded. Default: a sentence with the office's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclosure: Option<String>,
    /// What is asked after the disclosure. Default: "How can I help you?"
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greeting: Option<String>,
    /// Address on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How to find it, in one or two sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directions: Option<String>,
    /// Telephone number to tell callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// E-mail address to tell callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// IANA time zone, such as `America/New_York`.
    pub time_zone: String,
    /// Where it is, as two letters of ISO 3166-1: whose ringing and busy tones callers hear. `US` if nothing is said.
    #[serde(default = "united_states")]
    pub country: String,
    /// BCP 47 tag of the language spoken; `en` so far.
    #[serde(default = "english")]
    pub language: String,
    /// Weekly opening hours.
    #[serde(default)]
    pub hours: HoursConfig,
    /// Days that differ from the week.
    #[serde(default)]
    pub holidays: Vec<HolidayConfig>,
    /// Short price sentences. Without any, prices are looked up in the knowledge files.
    #[serde(default)]
    pub prices: Vec<String>,
    /// People callers may ask for.
    #[serde(default)]
    pub people: Vec<PersonConfig>,
    /// Departments callers may ask for.
    #[serde(default)]
    pub departments: Vec<String>,
    /// What rings when a caller just wants a person. Without it, or when the office is closed, a message is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Target>,
    /// Who takes turns to be reachable while the office is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_call: Option<OnCallConfig>,
}

/// Opening hours by weekday, each a list of spans such as `"09:00-12:30"`. A missing or empty day is closed. A span
/// whose end is not after its start runs past midnight; `"00:00-24:00"` is the whole day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the days of the week name themselves")]
pub struct HoursConfig {
    pub monday: Vec<String>,
    pub tuesday: Vec<String>,
    pub wednesday: Vec<String>,
    pub thursday: Vec<String>,
    pub friday: Vec<String>,
    pub saturday: Vec<String>,
    pub sunday: Vec<String>,
}

impl HoursConfig {
    fn days(&self) -> [(&'static str, Weekday, &Vec<String>); 7] {
        [
            ("monday", Weekday::Monday, &self.monday),
            ("tuesday", Weekday::Tuesday, &self.tuesday),
            ("wednesday", Weekday::Wednesday, &self.wednesday),
            ("thursday", Weekday::Thursday, &self.thursday),
            ("friday", Weekday::Friday, &self.friday),
            ("saturday", Weekday::Saturday, &self.saturday),
            ("sunday", Weekday::Sunday, &self.sunday),
        ]
    }
}

/// A day, or several, whose hours differ from the week's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolidayConfig {
    /// `2026-12-25`, or `12-25` for every year.
    pub date: String,
    /// Last day, inclusive, for a longer closure; in the same form as `date`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What callers call it: "Christmas Day".
    pub label: String,
    /// Hours on that day; none means closed.
    #[serde(default)]
    pub hours: Vec<String>,
}

/// Somebody callers may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonConfig {
    /// Name as written and spoken.
    pub name: String,
    /// Which of `departments` they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// What rings when a caller asks for them: `extension:101`, `group:front` or `queue:sales`. Without it, the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Target>,
    /// Rings when that is not answered: E.164 with +. One that `[outbound]` lets phones call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobile: Option<String>,
    /// Where notices to them go, if not where all others go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// When they work. Without it, when the office is open; on holidays as the office.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<HoursConfig>,
}

/// `[office.on_call]`: people who take turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnCallConfig {
    /// Names of `people`, in the order of their turns.
    pub people: Vec<String>,
    /// How long a turn is.
    #[serde(default)]
    pub turn: TurnLength,
    /// When one hands over to the next: `08:00`.
    #[serde(default = "eight")]
    pub handover: String,
    /// The day on which the first turn of the first one began: `2026-01-05`.
    pub starts: String,
}

/// How long somebody is on call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnLength {
    /// A day.
    Day,
    /// Seven.
    #[default]
    Week,
}

fn eight() -> String {
    "08:00".into()
}

fn english() -> String {
    "en".into()
}

fn united_states() -> String {
    Country::UnitedStates.code().into()
}

/// The longest text of one value: a sentence that takes longer than this to say is a mistake.
const MAX_TEXT_CHARS: usize = 400;
/// The most spans of a day, holidays, people: bounds what a conversation walks through.
const MAX_ENTRIES: usize = 200;

const SPAN: &str = "a span such as \"09:00-12:30\"";

impl OfficeConfig {
    /// Everything that is wrong; empty when [`Office`] can be made of it.
    pub fn mistakes(&self) -> Vec<ConfigMistake> {
        Office::try_from(self).err().unwrap_or_default()
    }

    /// Parses everything and adds what is wrong to `mistakes`. `None` only when nothing usable can be built.
    pub(super) fn parse(&self, mistakes: &mut Vec<ConfigMistake>) -> Option<Office> {
        self.check_texts(mistakes);
        self.check_people(mistakes);
        let time_zone = self.parse_time_zone(mistakes);
        let country = self.parse_country(mistakes);
        let week = parse_week("office.hours", &self.hours, mistakes);
        let holidays = self.parse_holidays(mistakes);
        let calendar = Calendar { time_zone: time_zone?, week, holidays };
        let people = self.parse_people(&calendar, mistakes);
        let on_call = self.on_call.as_ref().and_then(|on_call| self.parse_on_call(on_call, mistakes));
        let spoken_name = self.spoken_name.clone().unwrap_or_else(|| self.name.clone());
        let disclosure = self.disclosure.clone().unwrap_or_else(|| {
            format!("Thank you for calling {spoken_name}. You are speaking with an automatic assistant.")
        });
        Some(Office {
            name: self.name.clone(),
            disclosure,
            spoken_name,
            greeting: self.greeting.clone().unwrap_or_else(|| "How can I help you?".into()),
            address: self.address.clone(),
            directions: self.directions.clone(),
            phone: self.phone.clone(),
            email: self.email.clone(),
            calendar,
            prices: self.prices.clone(),
            people,
            on_call,
            departments: self.departments.iter().map(|d| d.to_lowercase()).collect(),
            language: self.language.clone(),
            country: country?,
            operator: self.operator.clone(),
        })
    }

    fn check_texts(&self, mistakes: &mut Vec<ConfigMistake>) {
        let mut check = |key: &str, value: &str| {
            if value.trim().is_empty() || value.chars().count() > MAX_TEXT_CHARS || value.contains(char::is_control) {
                mistakes.push(mistake(key, value, "1 to 400 characters on one line"));
            }
        };
        check("office.name", &self.name);
        let optional = [
            ("office.spoken_name", &self.spoken_name),
            ("office.disclosure", &self.disclosure),
            ("office.greeting", &self.greeting),
            ("office.address", &self.address),
            ("office.directions", &self.directions),
        ];
        optional
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)))
            .for_each(|(key, value)| check(key, value));
        self.prices.iter().enumerate().for_each(|(i, price)| check(&format!("office.prices[{i}]"), price));
        self.departments.iter().enumerate().for_each(|(i, name)| check(&format!("office.departments[{i}]"), name));
        if let Some(phone) = &self.phone
            && !(5..=20).contains(&phone.chars().filter(char::is_ascii_digit).count())
        {
            mistakes.push(mistake("office.phone", phone, "a telephone number of 5 to 20 digits"));
        }
        if let Some(email) = &self.email
            && !is_email(email)
        {
            mistakes.push(mistake("office.email", email, "an e-mail address such as \"desk@example.com\""));
        }
        if !matches!(self.language.as_str(), "en" | "en-US" | "en-GB") {
            mistakes.push(mistake("office.language", &self.language, "\"en\", \"en-US\" or \"en-GB\""));
        }
    }

    fn check_people(&self, mistakes: &mut Vec<ConfigMistake>) {
        if self.people.len() > MAX_ENTRIES {
            mistakes.push(mistake("office.people", &self.people.len().to_string(), "at most 200 people"));
        }
        for (i, person) in self.people.iter().enumerate() {
            if person.name.trim().is_empty() {
                mistakes.push(mistake(&format!("office.people[{i}].name"), &person.name, "a name"));
            }
            let same = |other: &PersonConfig| other.name.to_lowercase() == person.name.to_lowercase();
            if self.people.iter().take(i).any(same) {
                mistakes.push(mistake(&format!("office.people[{i}].name"), &person.name, "a name nobody else has"));
            }
            if let Some(mobile) = person.mobile.as_ref().filter(|mobile| !is_e164(mobile)) {
                let key = format!("office.people[{i}].mobile");
                mistakes.push(mistake(&key, mobile, "E.164 with +, such as +12125550142"));
            }
            if let Some(email) = person.email.as_ref().filter(|email| !is_email(email)) {
                let key = format!("office.people[{i}].email");
                mistakes.push(mistake(&key, email, "an e-mail address such as \"anna@example.com\""));
            }
            let Some(department) = &person.department else { continue };
            if !self.departments.iter().any(|d| d.eq_ignore_ascii_case(department)) {
                let key = format!("office.people[{i}].department");
                mistakes.push(mistake(&key, department, "one of office.departments"));
            }
        }
    }

    fn parse_time_zone(&self, mistakes: &mut Vec<ConfigMistake>) -> Option<TimeZone> {
        let found = TimeZone::get(&self.time_zone).ok();
        if found.is_none() {
            let expected = "an IANA time zone such as \"America/New_York\" (is the package tzdata installed?)";
            mistakes.push(mistake("office.time_zone", &self.time_zone, expected));
        }
        found
    }

    fn parse_country(&self, mistakes: &mut Vec<ConfigMistake>) -> Option<Country> {
        let found = Country::from_code(&self.country);
        if found.is_none() {
            let known = Country::ALL.map(Country::code).join(", ");
            mistakes.push(mistake("office.country", &self.country, &format!("one of {known}, CA")));
        }
        found
    }

    fn parse_people(&self, office: &Calendar, mistakes: &mut Vec<ConfigMistake>) -> Vec<Person> {
        let person = |(i, config): (usize, &PersonConfig)| {
            let week = config.hours.as_ref();
            let week = week.map(|hours| parse_week(&format!("office.people[{i}].hours"), hours, mistakes));
            Person {
                name: config.name.clone(),
                department: config.department.as_ref().map(|name| name.to_lowercase()),
                reach: config.reach.clone(),
                mobile: config.mobile.clone().map(Redacted::new),
                email: config.email.clone().map(Redacted::new),
                hours: week.map(|week| Calendar { week, ..office.clone() }),
                absences: Vec::new(),
            }
        };
        self.people.iter().enumerate().take(MAX_ENTRIES).map(person).collect()
    }

    fn parse_on_call(&self, on_call: &OnCallConfig, mistakes: &mut Vec<ConfigMistake>) -> Option<Rotation> {
        let before = mistakes.len();
        for (i, name) in on_call.people.iter().enumerate() {
            if !self.people.iter().any(|person| person.name == *name) {
                mistakes.push(mistake(&format!("office.on_call.people[{i}]"), name, "a name of office.people"));
            }
        }
        if !(1..=MAX_ENTRIES).contains(&on_call.people.len()) {
            mistakes.push(mistake("office.on_call.people", &on_call.people.len().to_string(), "1 to 200 names"));
        }
        let handover = parse_time(&on_call.handover);
        if handover.is_none() {
            mistakes.push(mistake("office.on_call.handover", &on_call.handover, "a time such as \"08:00\""));
        }
        let starts = on_call.starts.parse::<Date>().ok().filter(|_| on_call.starts.len() == 10);
        if starts.is_none() {
            mistakes.push(mistake("office.on_call.starts", &on_call.starts, "a date such as \"2026-01-05\""));
        }
        let turn_days = match on_call.turn {
            TurnLength::Day => 1,
            TurnLength::Week => 7,
        };
        let rotation = Rotation { people: on_call.people.clone(), turn_days, handover: handover?, starts: starts? };
        (mistakes.len() == before).then_some(rotation)
    }

    fn parse_holidays(&self, mistakes: &mut Vec<ConfigMistake>) -> Vec<Holiday> {
        if self.holidays.len() > MAX_ENTRIES {
            mistakes.push(mistake("office.holidays", &self.holidays.len().to_string(), "at most 200 holidays"));
        }
        let parse = |(i, holiday): (usize, &HolidayConfig)| {
            let key = format!("office.holidays[{i}]");
            let spans = parse_spans(&format!("{key}.hours"), &holiday.hours, mistakes);
            if holiday.label.trim().is_empty() {
                mistakes.push(mistake(&format!("{key}.label"), &holiday.label, "what callers call the day"));
            }
            let first = parse_day(&format!("{key}.date"), &holiday.date, mistakes)?;
            let last = match &holiday.until {
                Some(until) => parse_day(&format!("{key}.until"), until, mistakes)?,
                None => first,
            };
            if first.0.is_some() != last.0.is_some() || (first.0.is_some() && last < first) {
                let value = holiday.until.as_deref().unwrap_or_default();
                mistakes.push(mistake(&format!("{key}.until"), value, "a day in the form of `date`, not before it"));
                return None;
            }
            Some(Holiday { first, last, label: holiday.label.clone(), spans })
        };
        self.holidays.iter().enumerate().filter_map(parse).collect()
    }
}

fn mistake(key: &str, value: &str, expected: &str) -> ConfigMistake {
    ConfigMistake::new(key, format!("{:?}", value.chars().take(80).collect::<String>()), expected.into())
}

fn parse_week(key: &str, hours: &HoursConfig, mistakes: &mut Vec<ConfigMistake>) -> [Vec<Span>; 7] {
    let mut week: [Vec<Span>; 7] = Default::default();
    for (name, weekday, spans) in hours.days() {
        let index = weekday.to_monday_zero_offset() as usize;
        week[index] = parse_spans(&format!("{key}.{name}"), spans, mistakes);
    }
    week
}

/// Whether it looks like an e-mail address.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
    plain(local) && plain(domain) && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.')
}

/// `2026-12-25` with its year, `12-25` without.
fn parse_day(key: &str, text: &str, mistakes: &mut Vec<ConfigMistake>) -> Option<(Option<i16>, i8, i8)> {
    let full = text.parse::<Date>().ok().filter(|_| text.len() == 10).map(|d| (Some(d.year()), d.month(), d.day()));
    // 2024 is a leap year, so 02-29 is accepted.
    let yearly =
        || format!("2024-{text}").parse::<Date>().ok().filter(|_| text.len() == 5).map(|d| (None, d.month(), d.day()));
    let day = full.or_else(yearly);
    if day.is_none() {
        mistakes.push(mistake(key, text, "a date such as \"2026-12-25\", or \"12-25\" for every year"));
    }
    day
}

fn parse_spans(key: &str, texts: &[String], mistakes: &mut Vec<ConfigMistake>) -> Vec<Span> {
    let mut spans = Vec::new();
    for (i, text) in texts.iter().enumerate().take(MAX_ENTRIES) {
        match parse_span(text) {
            Some(span) => spans.push(span),
            None => mistakes.push(mistake(&format!("{key}[{i}]"), text, SPAN)),
        }
    }
    if !are_ordered(&spans) {
        mistakes.push(mistake(key, &texts.join(", "), "spans in order that do not overlap"));
    }
    spans
}

/// `09:00-12:30`.
pub(super) fn parse_span(text: &str) -> Option<Span> {
    let (open, close) = text.split_once(['-', '–'])?;
    let close = if close.trim() == "24:00" { Time::midnight() } else { parse_time(close)? };
    Some(Span { open: parse_time(open)?, close })
}

fn parse_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// Whether the spans of a day follow each other.
pub(super) fn are_ordered(spans: &[Span]) -> bool {
    spans.windows(2).all(|pair| !pair[0].past_midnight() && pair[0].close <= pair[1].open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> OfficeConfig {
        super::super::sample::config()
    }

    #[test]
    fn every_mistake_is_reported_with_its_key_and_value() {
        let mut config = sample();
        config.name = " ".into();
        config.time_zone = "America/Gotham".into();
        config.country = "ZZ".into();
        config.language = "tlh".into();
        config.phone = Some("call us".into());
        config.email = Some("desk@".into());
        config.hours.monday = vec!["9 to 5".into()];
        config.hours.tuesday = vec!["13:00-17:00".into(), "09:00-12:00".into()];
        config.hours.wednesday = vec!["09:00-25:00".into()];
        let holiday = |date: &str, until: Option<&str>| HolidayConfig {
            date: date.into(),
            until: until.map(Into::into),
            label: "x".into(),
            hours: vec![],
        };
        config.holidays = vec![holiday("2026-02-30", None), holiday("2026-12-24", Some("2026-12-20"))];
        config.people =
            vec![PersonConfig { name: "A".into(), department: Some("moon".into()), ..PersonConfig::default() }];
        let mistakes = Office::try_from(&config).unwrap_err();
        let keys: Vec<_> = mistakes.iter().map(|m| m.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "office.name",
                "office.phone",
                "office.email",
                "office.language",
                "office.people[0].department",
                "office.time_zone",
                "office.country",
                "office.hours.monday[0]",
                "office.hours.tuesday",
                "office.hours.wednesday[0]",
                "office.holidays[0].date",
                "office.holidays[1].until",
            ]
        );
        assert_eq!(
            mistakes[6].to_string(),
            r#"office.country: found "ZZ", expected one of AU, AT, FR, DE, IT, JP, NL, PL, ES, SE, CH, GB, US, CA"#
        );
        assert_eq!(
            mistakes[7].to_string(),
            r#"office.hours.monday[0]: found "9 to 5", expected a span such as "09:00-12:30""#
        );
    }

    #[test]
    fn a_good_configuration_has_no_mistakes() {
        assert_eq!(sample().mistakes(), []);
        let office = Office::try_from(&sample()).unwrap();
        assert!(office.asked_for().contains(&"doctor maria lopez".to_string()));
    }

    #[test]
    fn unknown_keys_are_rejected() {
        let error = toml::from_str::<OfficeConfig>("name = 'x'\ntime_zone = 'UTC'\ncolour = 'red'").unwrap_err();
        assert!(error.to_string().contains("colour"));
    }

    #[test]
    fn a_configuration_survives_being_written() {
        let text = toml::to_string(&sample()).unwrap();
        assert_eq!(toml::from_str::<OfficeConfig>(&text).unwrap(), sample());
    }
}
