//! `[[extensions]]`, `[[ring_groups]]`, `[[inbound]]` and `[outbound]`: whom a number reaches.
//!
//! What is decided with it is in [`crate::dial_plan`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Config, ConfigMistake, trunks};
use crate::dial_plan::{Decision, Target, from_phone, is_e164};

/// `[[extensions]]`: a desk phone, or several that share a number.
///
/// Its password is not here: `offhook extensions password 101` makes it, and keeps only what is needed to check it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Extension {
    /// What is dialled to reach it, and the user name its phones register with: 2 to 6 digits.
    pub number: String,
    /// Who answers it; shown to those it calls inside the office.
    pub name: String,
    /// The number that called people outside see; by default the trunk's. In E.164 with +.
    pub caller_id: Option<String>,
    /// How long it rings before the call goes on to `unanswered`. 5 to 180.
    pub ring_timeout_seconds: RingTimeout,
    /// Where a call goes that nobody takes.
    pub unanswered: Target,
    /// Whether its phones may listen to calls of others, and talk in them (`features.supervise_code`).
    pub may_supervise: bool,
}

/// `[[ring_groups]]`: extensions that are called together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingGroup {
    /// For targets (`group:front`): 1 to 32 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// What phones dial to reach it, if they may: 2 to 6 digits.
    pub number: Option<String>,
    /// The extensions, in order.
    pub members: Vec<String>,
    /// In which order they ring.
    pub strategy: RingStrategy,
    /// How long they ring: together with `all`, each with the others. 5 to 180.
    pub ring_timeout_seconds: RingTimeout,
    /// Where a call goes that nobody takes.
    pub unanswered: Target,
}

/// In which order a group rings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RingStrategy {
    /// All at once.
    #[default]
    All,
    /// One after the other.
    InOrder,
    /// One after the other, in another order each time.
    Random,
}

/// Seconds a phone rings; 20 unless said otherwise: four or five rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RingTimeout(pub u32);

impl Default for RingTimeout {
    fn default() -> RingTimeout {
        RingTimeout(20)
    }
}

/// `[[inbound]]`: where calls from outside go. The first rule that fits holds; without any that fits, the attendant
/// answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inbound {
    /// The number of ours that was called, in E.164 with +; any if absent.
    pub number: Option<String>,
    /// When the rule holds, by the office's hours.
    pub when: When,
    /// Who is called.
    pub to: Target,
}

/// When a rule holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At any time.
    #[default]
    Always,
    /// While the office is open.
    Open,
    /// While it is closed.
    Closed,
}

/// `[outbound]`: what phones may call outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbound {
    /// What phones dial before a number outside; none if nothing.
    pub access_code: Option<String>,
    /// The country of numbers dialled without one.
    pub country_code: String,
    /// What is dialled before a number of the same country, and is no part of it: `1` in North America, `0` in most of
    /// Europe.
    pub national_prefix: String,
    /// What is dialled before a country's code: `011` in North America, `00` elsewhere.
    pub international_prefix: String,
    /// Only numbers that begin with one of these may be called.
    pub allowed_prefixes: Vec<String>,
    /// Numbers that begin with one of these may not, whatever else holds: premium rates and satellites.
    pub denied_prefixes: Vec<String>,
    /// Go straight to the trunk: without access code, limits or lock.
    pub emergency_numbers: Vec<String>,
    /// Extensions whose phones are told by a text (RFC 3428) who in the office makes an emergency call: those who can open
    /// the door.
    pub emergency_alert_extensions: Vec<String>,
    /// Whether phones may only make emergency calls outside the office's hours.
    pub night_lock_enabled: bool,
    /// Calls to outside at the same time. 1 to 1 000.
    pub concurrent_limit: u32,
    /// How long all calls to outside of one day may last together; beyond it only emergency calls go out. 1 to 100 000.
    pub daily_limit_minutes: u32,
    /// How long a call between two people may last, outside or inside. 1 to 1 440.
    pub call_limit_minutes: u32,
}

impl Default for Outbound {
    fn default() -> Outbound {
        let list = |numbers: &[&str]| numbers.iter().map(|number| (*number).to_owned()).collect();
        Outbound {
            access_code: None,
            country_code: "1".into(),
            national_prefix: "1".into(),
            international_prefix: "011".into(),
            allowed_prefixes: list(&["+1"]),
            // Premium rate in North America, Inmarsat, global mobile satellite, international networks and premium rate
            // (ITU-T E.164 assigned codes), and the Caribbean one-ring numbers that fraud lives on.
            denied_prefixes: list(&[
                "+1900", "+1976", "+870", "+881", "+882", "+883", "+979", "+1268", "+1473", "+1649", "+1767", "+1809",
                "+1829", "+1849", "+1876",
            ]),
            emergency_numbers: list(&["911", "933", "112"]),
            emergency_alert_extensions: Vec::new(),
            night_lock_enabled: false,
            concurrent_limit: 4,
            daily_limit_minutes: 1_440,
            call_limit_minutes: 240,
        }
    }
}

fn is_digits(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Every mistake in the dial plan, each with its key.
/// Whether there is such a thing in the configuration.
pub(super) fn is_known(config: &Config, target: &Target) -> bool {
    match target {
        Target::Attendant | Target::Voicemail => true,
        Target::Mailbox(name) => config.mailbox(name).is_some(),
        Target::Extension(number) => config.has_extension(number),
        Target::Group(name) => config.ring_groups.iter().any(|group| group.name == *name),
        Target::Queue(name) => config.queues.iter().any(|queue| queue.name == *name),
    }
}

pub(super) fn check(config: &Config, mistakes: &mut Vec<ConfigMistake>) {
    let mut checker = Checker { config, mistakes, numbers: BTreeSet::new() };
    checker.extensions();
    checker.groups();
    checker.queues();
    checker.inbound();
    checker.office();
    checker.outbound();
}

struct Checker<'a> {
    config: &'a Config,
    mistakes: &'a mut Vec<ConfigMistake>,
    /// Internal numbers so far: one number, one meaning.
    numbers: BTreeSet<&'a str>,
}

impl<'a> Checker<'a> {
    fn mistake(&mut self, key: &str, value: impl std::fmt::Display, expected: &str) {
        self.mistakes.push(ConfigMistake::new(key, value, expected.to_owned()));
    }

    fn extensions(&mut self) {
        for (index, extension) in self.config.extensions.iter().enumerate() {
            let key = |name: &str| format!("extensions[{index}].{name}");
            self.number(&key("number"), &extension.number);
            if let Some(number) = extension.caller_id.as_ref().filter(|number| !is_e164(number)) {
                self.mistake(&key("caller_id"), number, "E.164 with +, such as +12125550142");
            }
            self.timeout(&key("ring_timeout_seconds"), extension.ring_timeout_seconds);
            self.target(&key("unanswered"), &extension.unanswered);
        }
    }

    fn groups(&mut self) {
        let mut names = BTreeSet::new();
        for (index, group) in self.config.ring_groups.iter().enumerate() {
            let key = |name: &str| format!("ring_groups[{index}].{name}");
            if !trunks::is_name(&group.name) || !names.insert(&group.name) {
                self.mistake(&key("name"), format!("{:?}", group.name), "1 to 32 of a-z, 0-9, - and _, each name once");
            }
            if let Some(number) = &group.number {
                self.number(&key("number"), number);
            }
            self.members(&key("members"), &group.members);
            self.timeout(&key("ring_timeout_seconds"), group.ring_timeout_seconds);
            self.target(&key("unanswered"), &group.unanswered);
        }
    }

    fn queues(&mut self) {
        let mut names = BTreeSet::new();
        for (index, queue) in self.config.queues.iter().enumerate() {
            let key = |name: &str| format!("queues[{index}].{name}");
            if !trunks::is_name(&queue.name) || !names.insert(&queue.name) {
                self.mistake(&key("name"), format!("{:?}", queue.name), "1 to 32 of a-z, 0-9, - and _, each name once");
            }
            if let Some(number) = &queue.number {
                self.number(&key("number"), number);
            }
            self.members(&key("members"), &queue.members);
            self.timeout(&key("ring_timeout_seconds"), queue.ring_timeout_seconds);
            for (name, value, range) in [
                ("length_limit", queue.length_limit, 1..=100),
                ("wait_limit_seconds", queue.wait_limit_seconds, 30..=7_200),
                ("announce_seconds", queue.announce_seconds, 15..=600),
            ] {
                if !range.contains(&value) {
                    let expected = format!("a whole number from {} to {}", range.start(), range.end());
                    self.mistake(&key(name), value, &expected);
                }
            }
            if queue.unanswered == Target::Queue(queue.name.clone()) {
                self.mistake(&key("unanswered"), &queue.unanswered, "anything but the queue itself");
            } else {
                self.target(&key("unanswered"), &queue.unanswered);
            }
        }
    }

    fn members(&mut self, key: &str, members: &[String]) {
        if members.is_empty() {
            self.mistake(key, "nobody", "at least one extension");
        }
        for member in members.iter().filter(|member| !self.config.has_extension(member)) {
            self.mistake(key, member, "numbers of [[extensions]]");
        }
    }

    fn inbound(&mut self) {
        for (index, rule) in self.config.inbound.iter().enumerate() {
            if let Some(number) = rule.number.as_ref().filter(|number| !is_e164(number)) {
                self.mistake(&format!("inbound[{index}].number"), number, "E.164 with +, such as +12125550142");
            }
            self.target(&format!("inbound[{index}].to"), &rule.to);
        }
    }

    fn office(&mut self) {
        let office = &self.config.office;
        let of_people =
            office.people.iter().enumerate().map(|(index, person)| (format!("people[{index}].reach"), &person.reach));
        let all = of_people.chain([("operator".to_owned(), &office.operator)]);
        for (key, target) in all.filter_map(|(key, target)| Some((format!("office.{key}"), target.as_ref()?))) {
            match target {
                Target::Attendant | Target::Voicemail | Target::Mailbox(_) => {
                    self.mistake(&key, target, "an extension, a group or a queue");
                }
                Target::Extension(_) | Target::Group(_) | Target::Queue(_) => self.target(&key, target),
            }
        }
        for (index, person) in office.people.iter().enumerate() {
            let Some(mobile) = person.mobile.as_ref().filter(|mobile| is_e164(mobile)) else { continue };
            if !matches!(from_phone(self.config, mobile, true), Decision::Outside { .. }) {
                self.mistake(&format!("office.people[{index}].mobile"), mobile, "a number that [outbound] allows");
            }
        }
    }

    fn outbound(&mut self) {
        let Outbound { concurrent_limit, call_limit_minutes, .. } = self.config.outbound;
        if !(1..=1_000).contains(&concurrent_limit) {
            self.mistake("outbound.concurrent_limit", concurrent_limit, "a whole number from 1 to 1000");
        }
        if !(1..=1_440).contains(&call_limit_minutes) {
            self.mistake("outbound.call_limit_minutes", call_limit_minutes, "a whole number from 1 to 1440");
        }
        let outbound = &self.config.outbound;
        if !(1..=100_000).contains(&outbound.daily_limit_minutes) {
            self.mistake(
                "outbound.daily_limit_minutes",
                outbound.daily_limit_minutes,
                "a whole number from 1 to 100000",
            );
        }
        if !is_digits(&outbound.country_code, 1..=3) {
            self.mistake("outbound.country_code", &outbound.country_code, "1 to 3 digits, such as 1 or 49");
        }
        for (key, value) in [
            ("outbound.access_code", outbound.access_code.as_ref()),
            ("outbound.international_prefix", Some(&outbound.international_prefix)),
        ] {
            if let Some(value) = value.filter(|value| !is_digits(value, 1..=5)) {
                self.mistake(key, value, "1 to 5 digits");
            }
        }
        if !is_digits(&outbound.national_prefix, 0..=3) {
            self.mistake("outbound.national_prefix", &outbound.national_prefix, "at most 3 digits");
        }
        for (key, prefixes) in [
            ("outbound.allowed_prefixes", &outbound.allowed_prefixes),
            ("outbound.denied_prefixes", &outbound.denied_prefixes),
        ] {
            let is_prefix = |prefix: &String| prefix.strip_prefix('+').is_some_and(|digits| is_digits(digits, 1..=15));
            for prefix in prefixes.iter().filter(|prefix| !is_prefix(prefix)) {
                self.mistake(key, prefix, "+ and digits, such as +1 or +4989");
            }
        }
        for number in outbound.emergency_numbers.iter().filter(|number| !is_digits(number, 2..=6)) {
            self.mistake("outbound.emergency_numbers", number, "2 to 6 digits");
        }
        for number in outbound.emergency_alert_extensions.iter().filter(|number| !self.config.has_extension(number)) {
            self.mistake("outbound.emergency_alert_extensions", number, "an extension of [[extensions]]");
        }
    }

    fn number(&mut self, key: &str, number: &'a str) {
        if !is_digits(number, 2..=6) {
            self.mistake(key, format!("{number:?}"), "2 to 6 digits");
        } else if self.config.outbound.emergency_numbers.iter().any(|emergency| emergency == number) {
            self.mistake(key, number, "anything but an emergency number");
        } else if !self.numbers.insert(number) {
            self.mistake(key, number, "a number that no other extension or group has");
        }
    }

    fn timeout(&mut self, key: &str, RingTimeout(seconds): RingTimeout) {
        if !(5..=180).contains(&seconds) {
            self.mistake(key, seconds, "a whole number from 5 to 180");
        }
    }

    fn target(&mut self, key: &str, target: &Target) {
        if is_known(self.config, target) {
            return;
        }
        let expected = match target {
            Target::Attendant | Target::Voicemail => return,
            Target::Mailbox(_) => "a mailbox of [[mailboxes]]",
            Target::Extension(_) => "an extension of [[extensions]]",
            Target::Group(_) => "a group of [[ring_groups]]",
            Target::Queue(_) => "a queue of [[queues]]",
        };
        self.mistake(key, target, expected);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;

    const RIGHT: &str = "[[extensions]]\nnumber = '101'\nname = 'Reception'\n[[extensions]]\nnumber = '102'\n\
        [[ring_groups]]\nname = 'front'\nnumber = '200'\nmembers = ['101', '102']\nunanswered = 'attendant'\n\
        [[inbound]]\nnumber = '+12125550142'\nwhen = 'open'\nto = 'group:front'\n";

    #[test]
    fn a_small_office_is_right() {
        assert_eq!(mistakes_of(RIGHT), Vec::<String>::new());
    }

    #[test]
    fn mistakes_name_their_key() {
        for (text, key) in [
            ("[[extensions]]\nnumber = '1'", "extensions[2].number"),
            ("[[extensions]]\nnumber = '101'", "extensions[2].number"),
            ("[[extensions]]\nnumber = '911'", "extensions[2].number"),
            ("[[extensions]]\nnumber = '200'\n", "ring_groups[0].number"),
            ("[[extensions]]\nnumber = '103'\nring_timeout_seconds = 1", "extensions[2].ring_timeout_seconds"),
            ("[[ring_groups]]\nname = 'back'\nmembers = ['999']", "ring_groups[1].members"),
            ("[[ring_groups]]\nname = 'front'\nmembers = ['101']", "ring_groups[1].name"),
            ("[[inbound]]\nto = 'extension:109'", "inbound[1].to"),
            ("[[inbound]]\nto = 'group:none'", "inbound[1].to"),
            ("[[inbound]]\nto = 'somebody'", "inbound[1].to"),
            ("[[inbound]]\nto = 'queue:none'", "inbound[1].to"),
            ("[[queues]]\nname = 'sales'\nmembers = []", "queues[0].members"),
            ("[[queues]]\nname = 'sales'\nmembers = ['101']\nlength_limit = 0", "queues[0].length_limit"),
            ("[[queues]]\nname = 'sales'\nmembers = ['101']\nunanswered = 'queue:sales'", "queues[0].unanswered"),
            ("[features]\npark_code = '5'", "features.park_code"),
            ("[features]\npark_code = '*8'", "features.park_code"),
            ("[features]\npark_timeout_seconds = 1", "features.park_timeout_seconds"),
            ("[outbound]\nallowed_prefixes = ['1']", "outbound.allowed_prefixes"),
            ("[outbound]\ncall_limit_minutes = 0", "outbound.call_limit_minutes"),
            ("[outbound]\ndaily_limit_minutes = 0", "outbound.daily_limit_minutes"),
            ("[outbound]\nemergency_alert_extensions = ['109']", "outbound.emergency_alert_extensions"),
        ] {
            let mistakes = mistakes_of(&format!("{RIGHT}{text}\n"));
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            assert!(mistakes[0].starts_with(key), "{text}: {mistakes:?}");
        }
    }
}
