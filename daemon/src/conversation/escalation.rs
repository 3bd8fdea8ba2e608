//! When a caller is given to a person, and why: words of distress, topics, who calls, and a talk that goes nowhere.
//!
//! ```text
//! emergency ─► distress ─► topic ─► asked for somebody ─► known number ─► owed an answer ─► misses ─► not heard well
//! ```
//! The first reason that fits decides, and is stored with the call. Rules only, on what was understood already: this costs
//! microseconds in a turn (`benches/escalation.rs`). An emergency is told its number before anything else. Where nobody may
//! be rung, callers in an emergency or in anger are asked for a message; everybody else goes on talking with the attendant.
//!
//! Left out on purpose: who may be rung ([`Office::route`]), the tone of a voice, and any model.

use std::fmt;

use jiff::Zoned;

use super::answer::{self, Action, Reply};
use super::context::Context;
use super::intent::Intent;
use super::phrases;
use crate::dial_plan::Target;
use crate::office::{Office, Route};

/// A transcript below this confidence may not be what was said.
pub const DOUBTFUL: f32 = 0.35;

/// The rules, as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What is dialled in an emergency.
    pub emergency_number: String,
    /// Words of an emergency, in small letters.
    pub emergency_words: Vec<String>,
    /// Words of anger or distress, in small letters.
    pub distress_words: Vec<String>,
    /// What is always for somebody.
    pub topics: Vec<Topic>,
    /// Sentences in a row without an answer.
    pub misses_limit: u32,
    /// Sentences in a row that were not heard well.
    pub doubtful_limit: u32,
}

/// Something that is always for somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// What was understood.
    pub intent: Option<Intent>,
    /// Or words, in small letters.
    pub words: Vec<String>,
    /// For whom: a person or a department in small letters; who takes the calls of `to` otherwise.
    pub person: Option<String>,
    /// Whose phones ring.
    pub to: Option<Target>,
}

/// What is known of a caller before they speak.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// They are on the office's list.
    pub is_vip: bool,
    /// They were promised something that is still open: by whom, if by one person.
    pub promised_by: Option<Option<String>>,
}

/// Why a caller is given to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody may be in danger.
    Emergency,
    /// Anger or distress.
    Distress,
    /// What they want is always for somebody.
    Topic,
    /// They want a person.
    AskedForPerson,
    /// They have pressed the key for it.
    Key,
    /// Their number is on the office's list.
    Vip,
    /// They were promised something.
    Returning,
    /// They were not answered, again and again.
    Misses,
    /// They were not heard well, again and again.
    LowConfidence,
    /// Somebody of the office wants to talk with them.
    TakenOver,
}

impl Reason {
    /// The stored text.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Emergency => "emergency",
            Reason::Distress => "distress",
            Reason::Topic => "topic",
            Reason::AskedForPerson => "asked_for_person",
            Reason::Key => "key",
            Reason::Vip => "vip",
            Reason::Returning => "returning",
            Reason::Misses => "misses",
            Reason::LowConfidence => "low_confidence",
            Reason::TakenOver => "taken_over",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// Why.
    pub reason: Reason,
    /// Which word or topic of ours fitted, or how many misses; never the caller's own words.
    pub detail: Option<String>,
    /// To whom; `None`: nobody may be rung.
    pub to: Option<Route>,
}

/// What a decision rests on.
struct Fit {
    reason: Reason,
    detail: Option<String>,
}

/// As in an office that has configured nothing.
impl Default for Policy {
    fn default() -> Policy {
        let config = crate::config::Config::default();
        config.escalation.policy(&config.outbound)
    }
}

impl Policy {
    /// The reply to `text` after this policy: as it was, or with its [`Reply::escalation`].
    pub fn apply(&self, mut reply: Reply, text: &str, context: &Context, office: &Office, now: &Zoned) -> Reply {
        let text = plain(text);
        let Some((Fit { reason, detail }, to)) = self.decide(&reply, &text, context, office, now) else { return reply };
        let is_pressing = matches!(reason, Reason::Emergency | Reason::Distress);
        match (&to, reason) {
            // It says so already.
            (_, Reason::AskedForPerson) => {}
            (None, _) if !is_pressing => return reply,
            (to, _) => {
                reply.sentences = match reason {
                    Reason::Emergency => vec![emergency_sentence(&self.emergency_number)],
                    Reason::Distress => vec![phrases::SORRY.to_owned()],
                    Reason::Topic
                    | Reason::AskedForPerson
                    | Reason::Key
                    | Reason::Vip
                    | Reason::Returning
                    | Reason::Misses
                    | Reason::LowConfidence
                    | Reason::TakenOver => Vec::new(),
                };
                let (action, sentence) = match to {
                    Some(_) => (Action::Connect, phrases::CONNECTING),
                    None => (Action::Person, phrases::NO_PERSON),
                };
                reply.sentences.push(sentence.to_owned());
                (reply.action, reply.tool, reply.sources) = (action, None, Vec::new());
                reply.connect_to.clone_from(to);
            }
        }
        reply.escalation = Some(Box::new(Escalation { reason, detail, to: reply.connect_to.clone() }));
        reply
    }

    /// The first reason that fits, and who may be rung for it.
    fn decide(
        &self,
        reply: &Reply,
        text: &str,
        context: &Context,
        office: &Office,
        now: &Zoned,
    ) -> Option<(Fit, Option<Route>)> {
        let fit = |reason, detail: Option<&str>| Fit { reason, detail: detail.map(str::to_owned) };
        let somebody = || office.route(answer::asked_for(&reply.slots), now);
        if let Some(word) = self.emergency_words.iter().find(|word| says(text, word)) {
            return Some((fit(Reason::Emergency, Some(word)), office.route(None, now)));
        }
        if is_cry(text) {
            return Some((fit(Reason::Emergency, Some("cry")), office.route(None, now)));
        }
        // Whoever is leaving is let go.
        if reply.action == Action::HangUp {
            return None;
        }
        let word = self.distress_words.iter().find(|word| says(text, word)).map(String::as_str);
        if word.is_some() || reply.intent == Intent::Complaint {
            return Some((fit(Reason::Distress, word.or(Some("complaint"))), somebody()));
        }
        if let Some((name, route)) = self.topic(reply, text, office, now) {
            return Some((Fit { reason: Reason::Topic, detail: Some(name) }, Some(route)));
        }
        if matches!(reply.action, Action::Connect | Action::Person) && reply.intent == Intent::Person {
            return Some((fit(Reason::AskedForPerson, None), reply.connect_to.clone()));
        }
        let Context { caller, misses, doubts, confidence, .. } = context;
        // A message is as good as a person to whoever wants to leave one.
        if reply.intent == Intent::LeaveMessage {
            return None;
        }
        if caller.is_vip && !matches!(reply.intent, Intent::SmallTalk) {
            return Some((fit(Reason::Vip, None), somebody()));
        }
        let is_open_matter = matches!(reply.intent, Intent::Appointment | Intent::Details | Intent::Unknown);
        if let (Some(by), true) = (&caller.promised_by, is_open_matter) {
            let by = by.as_deref().map(str::to_lowercase);
            return Some((fit(Reason::Returning, None), office.route(by.as_deref(), now)));
        }
        if !reply.is_productive() && misses + 1 >= self.misses_limit {
            let detail = Some(format!("{} in a row", misses + 1));
            return Some((Fit { reason: Reason::Misses, detail }, somebody()));
        }
        let is_doubtful = confidence.is_some_and(|confidence| confidence < DOUBTFUL);
        if is_doubtful && doubts + 1 >= self.doubtful_limit {
            let detail = Some(format!("{} in a row", doubts + 1));
            return Some((Fit { reason: Reason::LowConfidence, detail }, somebody()));
        }
        None
    }

    /// The first topic that fits and for which somebody may be rung.
    fn topic(&self, reply: &Reply, text: &str, office: &Office, now: &Zoned) -> Option<(String, Route)> {
        self.topics.iter().find_map(|topic| {
            let word = topic.words.iter().find(|word| says(text, word));
            let is_intent = topic.intent.is_some_and(|intent| intent == reply.intent);
            let name = word.cloned().or_else(|| is_intent.then(|| reply.intent.name().to_owned()))?;
            let route = match (&topic.person, &topic.to) {
                (Some(person), _) => office.route(Some(person), now),
                // Phones of the office ring while it is open.
                (None, Some(to)) => office.is_open(now).then(|| Route::to(to.clone())),
                (None, None) => office.route(None, now),
            };
            Some((name, route?))
        })
    }
}

/// The sentence that comes before anything else. Digits one by one, as they are dialled.
pub fn emergency_sentence(number: &str) -> String {
    let digits: Vec<String> = number.chars().map(|digit| digit.to_string()).collect();
    format!("If this is an emergency, hang up and call {} now.", digits.join(" "))
}

/// Small letters, one space between words and at both ends.
fn plain(text: &str) -> String {
    let lower = text.to_lowercase().replace('’', "'");
    let words = lower.split(|letter: char| !letter.is_alphanumeric() && letter != '\'').filter(|word| !word.is_empty());
    words.fold(" ".to_owned(), |all, word| all + word + " ")
}

/// Words that turn what follows into its opposite.
const NEGATIONS: [&str; 8] = ["no ", "not ", "not a ", "not an ", "isn't a ", "isn't an ", "without ", "never had "];

/// Whether the words are said, and not denied. `text` is as [`plain`] makes it.
fn says(text: &str, words: &str) -> bool {
    let wanted = format!(" {words} ");
    let is_denied = |at: usize| NEGATIONS.iter().any(|negation| text[..=at].ends_with(&format!(" {negation}")));
    text.match_indices(&wanted).any(|(at, _)| !is_denied(at))
}

/// "Fire!", "Help, emergency!": nothing else is said.
fn is_cry(text: &str) -> bool {
    const CRIES: [&str; 3] = ["fire", "emergency", "help"];
    const AROUND: [&str; 9] = ["please", "oh", "my", "god", "me", "us", "an", "it's", "this"];
    let words: Vec<&str> = text.split_whitespace().collect();
    let cries = words.iter().filter(|word| CRIES[..2].contains(word)).count();
    cries > 0 && words.len() <= 5 && words.iter().all(|word| CRIES.contains(word) || AROUND.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Escalation as EscalationConfig, EscalationTopic};
    use crate::conversation::intent::Classifier;
    use crate::office::{Person, sample};

    fn office() -> Office {
        let person = |name: &str, extension: &str| Person {
            name: name.into(),
            reach: Some(Target::Extension(extension.into())),
            ..Person::default()
        };
        Office {
            operator: Some(Target::Group("front".into())),
            people: vec![person("Anna Weber", "102"), person("Ben Cole", "103")],
            ..sample::office().unwrap()
        }
    }

    fn policy() -> Policy {
        let topics = vec![
            EscalationTopic { words: vec!["invoice".into()], person: Some("Anna Weber".into()), ..Default::default() },
            EscalationTopic {
                intent: Some("appointment".into()),
                to: Some("queue:plan".parse().unwrap()),
                ..Default::default()
            },
        ];
        let config = Config { escalation: EscalationConfig { topics, ..Default::default() }, ..Config::default() };
        config.escalation.policy(&config.outbound)
    }

    const OPEN: &str = "2026-11-24T10:00:00[America/New_York]";
    const CLOSED: &str = "2026-11-24T22:00:00[America/New_York]";

    fn ask(text: &str, context: &Context, at: &str) -> Reply {
        let (office, now) = (office(), at.parse().unwrap());
        let understood = Classifier::keywords_only(office.asked_for()).understand(text, None, context);
        let reply = answer::reply(&understood, context, &office, &[], &now);
        policy().apply(reply, text, context, &office, &now)
    }

    fn decided(reply: &Reply) -> String {
        let Some(escalation) = &reply.escalation else { return "-".into() };
        let to = escalation.to.as_ref().map_or("nobody".into(), ToString::to_string);
        let detail = escalation.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{}{detail} to {to}", escalation.reason)
    }

    #[test]
    fn each_reason_decides_in_its_turn() {
        let vip = Caller { is_vip: true, promised_by: None };
        let owed = Caller { is_vip: false, promised_by: Some(Some("ben cole".into())) };
        let missed = |misses, doubts, confidence| Context { misses, doubts, confidence, ..Context::default() };
        let of = |caller: &Caller| Context { caller: caller.clone(), ..Context::default() };
        let plain = Context::default();
        for (text, context, at, expected) in [
            ("I have chest pain", &plain, OPEN, "emergency (chest pain) to group:front"),
            ("There's a fire in the kitchen!", &plain, CLOSED, "emergency (there's a fire) to nobody"),
            ("Fire! Help!", &plain, OPEN, "emergency (cry) to group:front"),
            ("I have no chest pain.", &plain, OPEN, "-"),
            ("Do you sell fire insurance?", &plain, OPEN, "-"),
            ("What do I do in an emergency?", &plain, OPEN, "-"),
            ("This is unacceptable, my invoice is wrong", &plain, OPEN, "distress (unacceptable) to group:front"),
            ("I got the wrong invoice", &plain, OPEN, "topic (invoice) to extension:102"),
            ("I got the wrong invoice", &plain, CLOSED, "-"),
            ("I need an appointment", &plain, OPEN, "topic (appointment) to queue:plan"),
            ("Can I talk to a person?", &plain, OPEN, "asked_for_person to group:front"),
            ("Can I talk to a person?", &plain, CLOSED, "asked_for_person to nobody"),
            ("I want to speak to Ben Cole.", &plain, OPEN, "asked_for_person to extension:103"),
            ("Are you open on Saturday?", &of(&vip), OPEN, "vip to group:front"),
            ("Are you open on Saturday?", &of(&vip), CLOSED, "-"),
            ("Hello.", &of(&vip), OPEN, "-"),
            ("Thanks, bye.", &of(&vip), OPEN, "-"),
            ("I want to leave a message.", &of(&vip), OPEN, "-"),
            ("My name is Mia Stone", &of(&owed), OPEN, "returning to extension:103"),
            ("Are you open on Saturday?", &of(&owed), OPEN, "-"),
            ("Blue bicycles", &missed(1, 0, None), OPEN, "-"),
            ("Blue bicycles", &missed(2, 0, None), OPEN, "misses (3 in a row) to group:front"),
            ("Blue bicycles", &missed(2, 0, None), CLOSED, "-"),
            ("Are you open on Saturday?", &missed(0, 2, Some(0.9)), OPEN, "-"),
            ("Are you open on Saturday?", &missed(0, 2, Some(0.2)), OPEN, "low_confidence (3 in a row) to group:front"),
        ] {
            assert_eq!(decided(&ask(text, context, at)), expected, "{text} at {at}");
        }
    }

    #[test]
    fn an_emergency_hears_its_number_first() {
        let reply = ask("My father is not breathing", &Context::default(), OPEN);
        assert_eq!(reply.sentences, ["If this is an emergency, hang up and call 9 1 1 now.", phrases::CONNECTING]);
        assert_eq!(reply.action, Action::Connect);
        let reply = ask("My father is not breathing", &Context::default(), CLOSED);
        assert_eq!((reply.sentences.last().unwrap().as_str(), reply.action), (phrases::NO_PERSON, Action::Person));
    }

    #[test]
    fn words_are_whole_words_and_may_be_denied() {
        for (text, words, expected) in [
            ("He had a heart attack!", "heart attack", true),
            ("A heart attacked", "heart attack", false),
            ("It is not a heart attack", "heart attack", false),
            ("It is no heart attack, or it is a heart attack", "heart attack", true),
            ("I can’t breathe", "can't breathe", true),
        ] {
            assert_eq!(says(&plain(text), words), expected, "{text}");
        }
    }
}
