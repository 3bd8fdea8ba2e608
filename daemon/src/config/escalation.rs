//! `[escalation]`: when callers are given to a person without asking for one.

use serde::{Deserialize, Serialize};

use super::{Config, ConfigMistake, Outbound};
use crate::conversation::escalation::{Policy, Topic};
use crate::conversation::intent::Intent;
use crate::dial_plan::{Target, is_e164};

/// What is said in an emergency, whatever else may be configured.
const EMERGENCY_WORDS: [&str; 20] = [
    "chest pain",
    "chest pains",
    "heart attack",
    "having a stroke",
    "not breathing",
    "can't breathe",
    "cannot breathe",
    "is unconscious",
    "passed out",
    "overdose",
    "bleeding heavily",
    "kill myself",
    "suicide",
    "there is a fire",
    "there's a fire",
    "is on fire",
    "a fire in",
    "gas leak",
    "call an ambulance",
    "being attacked",
];

/// Words that hardly anybody says who is content.
const DISTRESS_WORDS: [&str; 14] = [
    "unacceptable",
    "outrageous",
    "furious",
    "i am angry",
    "i'm angry",
    "so angry",
    "fed up",
    "sick of this",
    "this is ridiculous",
    "waste of time",
    "my lawyer",
    "i am desperate",
    "i'm desperate",
    "severe pain",
];

/// The most entries of a list.
const MAX_ENTRIES: usize = 200;

/// `[escalation]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Escalation {
    /// Sentences in a row without an answer, after which a person is rung. 1 to 10.
    pub misses_limit: u32,
    /// Sentences in a row that were not heard well. 1 to 10.
    pub doubtful_limit: u32,
    /// Words of an emergency, beside those that are always known.
    pub emergency_words: Vec<String>,
    /// Words of anger and distress; this list instead of the built-in one.
    pub distress_words: Vec<String>,
    /// Numbers whose callers are given to a person at once: E.164 with +.
    pub vip_numbers: Vec<String>,
    /// Whether a caller who was promised something is given to whoever promised it.
    pub returning_callers_enabled: bool,
    /// Whether whoever is rung for a caller hears first who that is, and decides by a key.
    pub callee_decides_enabled: bool,
    /// What is always for somebody; the first that fits.
    pub topics: Vec<EscalationTopic>,
}

/// `[[escalation.topics]]`: something that is always for somebody.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EscalationTopic {
    /// What was understood, as turns name it: `appointment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// Or any of these words.
    pub words: Vec<String>,
    /// For whom: a name or a department of the office.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Or what rings while the office is open: an extension, a group or a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Target>,
}

impl Default for Escalation {
    fn default() -> Escalation {
        Escalation {
            // The first miss may be the line's, the second the caller's; at the third nobody believes in the box any more.
            misses_limit: 3,
            doubtful_limit: 3,
            emergency_words: Vec::new(),
            distress_words: DISTRESS_WORDS.map(str::to_owned).to_vec(),
            vip_numbers: Vec::new(),
            returning_callers_enabled: true,
            callee_decides_enabled: true,
            topics: Vec::new(),
        }
    }
}

impl Escalation {
    /// The rules. `outbound` knows the emergency number.
    pub fn policy(&self, outbound: &Outbound) -> Policy {
        let lower = |words: &[String]| words.iter().map(|word| word.trim().to_lowercase()).collect::<Vec<_>>();
        let topic = |topic: &EscalationTopic| Topic {
            intent: topic.intent.as_deref().and_then(Intent::of_name),
            words: lower(&topic.words),
            person: topic.person.as_ref().map(|name| name.to_lowercase()),
            to: topic.to.clone(),
        };
        Policy {
            emergency_number: outbound.emergency_numbers.first().cloned().unwrap_or_else(|| "112".into()),
            emergency_words: [EMERGENCY_WORDS.map(str::to_owned).to_vec(), lower(&self.emergency_words)].concat(),
            distress_words: lower(&self.distress_words),
            topics: self.topics.iter().map(topic).collect(),
            misses_limit: self.misses_limit,
            doubtful_limit: self.doubtful_limit,
        }
    }

    /// Whether callers from `number` are given to a person at once.
    pub fn is_vip(&self, number: &str) -> bool {
        self.vip_numbers.iter().any(|vip| vip == number)
    }
}

pub(super) fn check(config: &Config, mistakes: &mut Vec<ConfigMistake>) {
    let escalation = &config.escalation;
    let mut mistake = |key: &str, value: &str, expected: &str| {
        mistakes.push(ConfigMistake::new(&format!("escalation.{key}"), format!("{value:?}"), expected.into()));
    };
    for (key, limit) in [("misses_limit", escalation.misses_limit), ("doubtful_limit", escalation.doubtful_limit)] {
        if !(1..=10).contains(&limit) {
            mistake(key, &limit.to_string(), "a whole number from 1 to 10");
        }
    }
    let lists = [("emergency_words", &escalation.emergency_words), ("distress_words", &escalation.distress_words)];
    for (key, words) in lists {
        if words.len() > MAX_ENTRIES || words.iter().any(|word| word.trim().is_empty()) {
            mistake(key, &words.len().to_string(), "at most 200 entries with a word each");
        }
    }
    for (index, number) in escalation.vip_numbers.iter().enumerate().filter(|(_, number)| !is_e164(number)) {
        mistake(&format!("vip_numbers[{index}]"), number, "E.164 with +, such as +12125550142");
    }
    for (index, topic) in escalation.topics.iter().enumerate() {
        let key = |name: &str| format!("topics[{index}]{name}");
        if topic.intent.is_none() && topic.words.iter().all(|word| word.trim().is_empty()) {
            mistake(&key(""), "", "an intent or words");
        }
        if let Some(intent) = topic.intent.as_deref().filter(|intent| Intent::of_name(intent).is_none()) {
            mistake(&key(".intent"), intent, "an intent as turns name it, such as \"appointment\"");
        }
        match (&topic.person, &topic.to) {
            (Some(name), None) => {
                let office = &config.office;
                let mut known = office.people.iter().map(|person| &person.name).chain(&office.departments);
                // Somebody who was imported is not known to the configuration; it is the office's own list that counts.
                if !known.any(|known| known.eq_ignore_ascii_case(name)) {
                    mistake(&key(".person"), name, "a name of office.people, or one of office.departments");
                }
            }
            (None, Some(to)) => {
                if !super::dial_plan::is_known(config, to)
                    || matches!(to, Target::Attendant | Target::Voicemail | Target::Mailbox(_))
                {
                    mistake(&key(".to"), &to.to_string(), "an extension, a group or a queue that there is");
                }
            }
            (None, None) | (Some(_), Some(_)) => mistake(&key(""), "", "either a person or a to"),
        }
    }
}
