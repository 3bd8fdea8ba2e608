//! What a caller wants: keyword rules first, then the nearest example, and "not sure" is an outcome.
//!
//! The rules (in `rules`) must be right when they fire: they decide to hang up or to take a message. Everything softer is
//! left to the examples, whose vectors are made once by whoever owns the embedder. Left out on purpose: languages other
//! than English; whoever speaks one wants a person.

mod rules;

use super::context::Context;
use super::language::{Language, language};
use super::slots::{Directory, Slots};
use rules::Talk;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a caller wants, in our words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// When are you open?
    OpeningHours,
    /// Where are you?
    Address,
    /// What does it cost?
    Price,
    /// Make, change or cancel an appointment.
    Appointment,
    /// Speak to a person or a department.
    Person,
    /// Leave a message.
    LeaveMessage,
    /// Say that again (also slower, louder).
    Repeat,
    /// The caller is done.
    Goodbye,
    /// Yes.
    Confirm,
    /// No.
    Deny,
    /// Thanks, hello, how are you, are you a robot.
    SmallTalk,
    /// A dissatisfied caller.
    Complaint,
    /// The caller tells their name, number or e-mail address.
    Details,
    /// Anything that the office's knowledge may answer.
    Question,
    /// Not understood.
    Unknown,
}

impl Intent {
    /// Whether later questions may be about it: "and on Sundays?".
    pub fn is_subject(self) -> bool {
        match self {
            Intent::OpeningHours | Intent::Address | Intent::Price | Intent::Appointment | Intent::Question => true,
            Intent::Person
            | Intent::LeaveMessage
            | Intent::Repeat
            | Intent::Goodbye
            | Intent::Confirm
            | Intent::Deny
            | Intent::SmallTalk
            | Intent::Complaint
            | Intent::Details
            | Intent::Unknown => false,
        }
    }

    const ALL: [Intent; 15] = [
        Intent::OpeningHours,
        Intent::Address,
        Intent::Price,
        Intent::Appointment,
        Intent::Person,
        Intent::LeaveMessage,
        Intent::Repeat,
        Intent::Goodbye,
        Intent::Confirm,
        Intent::Deny,
        Intent::SmallTalk,
        Intent::Complaint,
        Intent::Details,
        Intent::Question,
        Intent::Unknown,
    ];

    /// The one with this [`name`](Intent::name).
    pub fn of_name(name: &str) -> Option<Intent> {
        Intent::ALL.into_iter().find(|intent| intent.name() == name)
    }

    /// Its name in turn rows and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Intent::OpeningHours => "opening_hours",
            Intent::Address => "address",
            Intent::Price => "price",
            Intent::Appointment => "appointment",
            Intent::Person => "person",
            Intent::LeaveMessage => "leave_message",
            Intent::Repeat => "repeat",
            Intent::Goodbye => "goodbye",
            Intent::Confirm => "confirm",
            Intent::Deny => "deny",
            Intent::SmallTalk => "small_talk",
            Intent::Complaint => "complaint",
            Intent::Details => "details",
            Intent::Question => "question",
            Intent::Unknown => "unknown",
        }
    }
}

/// How an intent was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A keyword rule fired.
    Keyword,
    /// It follows from what was said before ("and on Sundays?").
    FollowUp,
    /// The nearest example.
    Example,
    /// Nothing was near enough.
    Unsure,
}

/// What was understood of one utterance.
#[derive(Debug, Clone, PartialEq)]
pub struct Understanding {
    /// What the caller wants.
    pub intent: Intent,
    /// How sure that is: 1 for a rule, the cosine for an example, 0 when unsure.
    pub score: f32,
    /// How it was found.
    pub method: Method,
    /// What was named in this utterance.
    pub slots: Slots,
    /// In which language it was said.
    pub language: Language,
    /// What to search the knowledge for: the utterance, with the last question before it when it is a follow-up.
    pub query: String,
}

impl Understanding {
    /// Takes it for a question after all, if it was only guessed from an example and a passage of the knowledge fits it much
    /// better: "Which bus stops near you?" is no question for the address of an office that writes about buses.
    pub fn weigh(&mut self, passage_score: f32) {
        let is_guess = self.method == Method::Example
            && matches!(self.intent, Intent::Address | Intent::LeaveMessage | Intent::SmallTalk | Intent::Details);
        if is_guess && passage_score >= self.score.max(SURE_PASSAGE) + MUCH_BETTER {
            self.intent = Intent::Question;
        }
    }
}

/// See [`Understanding::weigh`].
const SURE_PASSAGE: f32 = 0.5;
const MUCH_BETTER: f32 = 0.1;

/// Why the examples could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ExamplesError {
    /// The embedder failed on an example.
    #[error("no vector for the example {example:?}")]
    NoVector {
        /// The example.
        example: String,
    },
    /// The embedded file is damaged: a mistake of ours.
    #[error("the embedded examples do not parse")]
    Damaged(#[from] toml::de::Error),
}

/// The least cosine an example must have. MiniLM gives unrelated short sentences up to about 0.3.
pub const MIN_COSINE: f32 = 0.35;
/// How much nearer the best intent must be than the second: below it we are not sure.
pub const MIN_MARGIN: f32 = 0.05;

/// The examples: what callers say, by intent.
const EXAMPLES: &str = include_str!("intents.toml");

#[derive(Deserialize)]
struct Examples {
    intent: BTreeMap<Intent, Vec<String>>,
}

/// Keyword rules, and examples with their vectors if there is an embedder.
#[derive(Debug)]
pub struct Classifier {
    directory: Directory,
    /// Unit vectors.
    examples: Vec<(Intent, Vec<f32>)>,
}

impl Classifier {
    /// Rules only: works without any model. `asked_for` are the people and departments that may be asked for.
    pub fn keywords_only(asked_for: Vec<String>) -> Self {
        Self { directory: Directory::new(asked_for), examples: Vec::new() }
    }

    /// Rules and examples. `embed` turns a text into a vector; it is called once for each example.
    ///
    /// # Errors
    /// When `embed` gives no vector for an example.
    pub fn with_examples(
        asked_for: Vec<String>,
        mut embed: impl FnMut(&str) -> Option<Vec<f32>>,
    ) -> Result<Self, ExamplesError> {
        let file: Examples = toml::from_str(EXAMPLES)?;
        let mut examples = Vec::new();
        for (intent, texts) in file.intent {
            for example in texts {
                let vector = embed(&example).as_deref().and_then(unit);
                examples.push((intent, vector.ok_or(ExamplesError::NoVector { example })?));
            }
        }
        Ok(Self { directory: Directory::new(asked_for), examples })
    }

    /// From now on these are the people and departments that may be asked for.
    pub fn expect(&mut self, asked_for: Vec<String>) {
        self.directory = Directory::new(asked_for);
    }

    /// Understands one utterance. `vector` is its embedding, if there is an embedder.
    pub fn understand(&self, text: &str, vector: Option<&[f32]>, context: &Context) -> Understanding {
        let slots = Slots::find(text, &self.directory);
        let talk = Talk::new(text);
        let language = language(text);
        let returned = rules::returned_to(&talk, context);
        let (intent, score, method) = if language != Language::English {
            // Our rules would find words of ours in it that mean something else.
            (Intent::Person, 1.0, Method::Keyword)
        } else if let Some(intent) = rules::answer_to_offer(&talk, context) {
            (intent, 1.0, Method::FollowUp)
        } else if let Some(topic) = returned {
            (topic.intent, 0.9, Method::FollowUp)
        } else if let Some(intent) = rules::keyword(&talk, &slots) {
            (intent, 1.0, Method::Keyword)
        } else if let Some(intent) = rules::follow_up(&talk, &slots, context) {
            (intent, 0.9, Method::FollowUp)
        } else {
            self.nearest(vector, &talk)
        };
        let leans_on = context.last_question.as_deref().filter(|_| context.subject.is_some() && talk.is_elliptic());
        let query = match returned.map(|topic| topic.question.as_str()).or(leans_on) {
            Some(question) => format!("{question} {text}"),
            None => text.to_string(),
        };
        Understanding { intent, score, method, slots, language, query: rules::reworded(&query) }
    }

    fn nearest(&self, vector: Option<&[f32]>, talk: &Talk) -> (Intent, f32, Method) {
        let unsure = |score| {
            // A question is worth a search in the knowledge even when its kind is not clear.
            let intent = if talk.is_question() { Intent::Question } else { Intent::Unknown };
            (intent, score, Method::Unsure)
        };
        let Some(vector) = vector.and_then(unit) else { return unsure(0.0) };
        let mut best: BTreeMap<Intent, f32> = BTreeMap::new();
        for (intent, example) in self.examples.iter().filter(|(_, example)| example.len() == vector.len()) {
            let cosine: f32 = example.iter().zip(&vector).map(|(a, b)| a * b).sum();
            let known = best.entry(*intent).or_insert(cosine);
            *known = known.max(cosine);
        }
        let mut ranked: Vec<(Intent, f32)> = best.into_iter().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let second = ranked.get(1).map_or(0.0, |(_, score)| *score);
        match ranked.first() {
            Some((intent, score)) if *score >= MIN_COSINE && score - second >= MIN_MARGIN => {
                (*intent, *score, Method::Example)
            }
            Some((_, score)) => unsure(*score),
            None => unsure(0.0),
        }
    }
}

/// The vector with length 1; `None` for one without direction.
fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    (length.is_finite() && length > 0.0).then(|| vector.iter().map(|x| x / length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::context::Offer;
    use crate::office::hours::DayQuery;
    use jiff::civil::Weekday;

    fn keywords() -> Classifier {
        Classifier::keywords_only(vec!["billing".into(), "reception".into()])
    }

    #[test]
    fn a_caller_comes_back_to_what_they_asked_before() {
        let mut context = Context { subject: Some(Intent::Price), ..Context::default() };
        context.commit_question(Intent::OpeningHours, "When do you close on Friday?");
        context.commit_question(Intent::Question, "Do you have parking behind the building?");
        context.commit_question(Intent::Goodbye, "Goodbye.");
        context.commit_question(Intent::Price, "How much is a crown?");
        for (text, intent, query) in [
            ("Back to the parking, is it free?", Intent::Question, "Do you have parking behind the building? "),
            (
                "Going back to your opening hours, what about Saturday?",
                Intent::OpeningHours,
                "When do you close on Friday? ",
            ),
            ("I asked about crowns earlier.", Intent::Price, "How much is a crown? "),
            // Nothing of it was asked about.
            ("Can you go back to sleep?", Intent::Question, ""),
        ] {
            let understood = keywords().understand(text, None, &context);
            assert_eq!((understood.intent, understood.query), (intent, format!("{query}{text}")), "{text}");
        }
        for number in 0..20 {
            context.commit_question(Intent::Question, &format!("Question {number}?"));
        }
        assert_eq!(context.topics.len(), 8);
    }

    #[test]
    fn a_day_is_about_the_hours_that_were_asked_for_in_the_same_breath() {
        let asked = "Are you open on Saturday, and how much is a cleaning?";
        let mut context = Context { subject: Some(Intent::Price), ..Context::default() };
        context.commit_question(Intent::OpeningHours, asked);
        context.commit_question(Intent::Price, asked);
        let follow_up = |text: &str, context: &Context| keywords().understand(text, None, context).intent;
        assert_eq!(follow_up("And on Sunday?", &context), Intent::OpeningHours);
        assert_eq!(follow_up("And for children?", &context), Intent::Price);
        context.topics.clear();
        assert_eq!(follow_up("And on Sunday?", &context), Intent::Price, "nothing else was asked");
    }

    fn intent(text: &str) -> Intent {
        keywords().understand(text, None, &Context::default()).intent
    }

    #[test]
    fn keywords_find_what_needs_no_model() {
        for (text, expected) in [
            ("Operator!", Intent::Person),
            ("Can I talk to a real person?", Intent::Person),
            ("Put me through to billing, please.", Intent::Person),
            ("I want to leave a message.", Intent::LeaveMessage),
            ("Could you take a message for Doctor Chen?", Intent::LeaveMessage),
            ("What was that?", Intent::Repeat),
            ("Slower, please.", Intent::Repeat),
            ("Okay, bye bye.", Intent::Goodbye),
            ("No thanks, that's all.", Intent::Goodbye),
            ("Yes please.", Intent::Confirm),
            ("No, thank you.", Intent::Deny),
            ("When do you close today?", Intent::OpeningHours),
            ("Are you open on Saturday?", Intent::OpeningHours),
            ("Where are you located?", Intent::Address),
            ("How much is a cleaning?", Intent::Price),
            ("I would like to make an appointment.", Intent::Appointment),
            ("I need to reschedule my visit.", Intent::Appointment),
            ("Thanks a lot.", Intent::SmallTalk),
            ("Hello?", Intent::SmallTalk),
            ("Am I speaking to a robot?", Intent::SmallTalk),
            ("Do you take Aetna?", Intent::Question),
            ("Is there an emergency number after closing time?", Intent::Question),
            ("Can a person with a wheelchair get in?", Intent::Question),
            ("My number is five five five, zero one two three.", Intent::Details),
            ("This is Anna Smith.", Intent::Details),
            ("This is great.", Intent::Unknown),
            ("Purple monkeys.", Intent::Unknown),
            ("", Intent::Unknown),
        ] {
            assert_eq!(intent(text), expected, "{text}");
        }
    }

    #[test]
    fn a_follow_up_keeps_the_subject() {
        let about = |subject, text: &str| {
            let context = Context {
                subject: Some(subject),
                last_question: Some("How much is a filling?".into()),
                ..Context::default()
            };
            keywords().understand(text, None, &context)
        };
        let sunday = about(Intent::OpeningHours, "And on Sundays?");
        assert_eq!((sunday.intent, sunday.method), (Intent::OpeningHours, Method::FollowUp));
        assert_eq!(sunday.slots.day, Some(DayQuery::Weekday { day: Weekday::Sunday, next: false }));
        assert_eq!(about(Intent::OpeningHours, "What about the price?").intent, Intent::Price);
        assert_eq!(about(Intent::Appointment, "And where is that?").intent, Intent::Address);
        let crown = about(Intent::Price, "And for a crown?");
        assert_eq!((crown.intent, crown.query.as_str()), (Intent::Price, "How much is a filling? And for a crown?"));
    }

    #[test]
    fn yes_and_no_answer_what_was_offered() {
        let answer = |offer, text| {
            keywords().understand(text, None, &Context { offer: Some(offer), ..Context::default() }).intent
        };
        assert_eq!(answer(Offer::Message, "Yes."), Intent::LeaveMessage);
        assert_eq!(answer(Offer::Message, "Okay."), Intent::LeaveMessage);
        assert_eq!(answer(Offer::Message, "No."), Intent::Deny);
        assert_eq!(answer(Offer::AnythingElse, "No, thank you."), Intent::Goodbye);
        assert_eq!(answer(Offer::AnythingElse, "Yes."), Intent::Confirm);
    }

    /// A stand-in for a model: a vector of which of a few words occur.
    fn embed(text: &str) -> Option<Vec<f32>> {
        let words = ["hours", "address", "cost", "appointment", "person", "message", "insurance"];
        let small = text.to_lowercase();
        Some(words.iter().map(|w| if small.contains(w) { 1.0 } else { 0.01 }).collect())
    }

    #[test]
    fn the_nearest_example_decides_unless_two_are_as_near() {
        let classifier = Classifier::with_examples(vec![], embed).unwrap();
        let ask = |vector: &[f32]| classifier.understand("Tell me something", Some(vector), &Context::default());
        let sure = ask(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!((sure.intent, sure.method), (Intent::OpeningHours, Method::Example));
        assert_eq!(ask(&[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]).method, Method::Unsure, "no margin");
        assert_eq!(ask(&[-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]).method, Method::Unsure, "nothing near");
        assert_eq!(ask(&[f32::NAN; 7]).method, Method::Unsure);
        assert_eq!(ask(&[1.0]).method, Method::Unsure, "another model's vector");
    }

    #[test]
    fn every_intent_has_ten_examples() {
        let file: Examples = toml::from_str(EXAMPLES).unwrap();
        assert!(file.intent.len() >= 11);
        for (intent, examples) in file.intent {
            assert!(examples.len() >= 10, "{intent:?} has {}", examples.len());
        }
    }

    /// The recorded corpus, by keywords alone. A German question is not answered but handed to a person, and counts as
    /// wrong where something else was meant.
    #[test]
    fn the_corpus_is_understood_by_keywords() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/utterances/utterances.tsv");
        let Ok(corpus) = std::fs::read_to_string(path) else {
            eprintln!("SKIPPED the_corpus_is_understood_by_keywords: no shared/data/utterances beside the checkout");
            return;
        };
        let rows: Vec<Vec<&str>> = corpus.lines().skip(1).map(|line| line.split('\t').collect()).collect();
        let said: Vec<_> = rows.iter().filter(|row| !row[1].is_empty()).collect();
        let ours = |name: &str| match name {
            "transfer_human" | "transfer_department" => "person".to_owned(),
            "book_appointment" | "cancel_appointment" => "appointment".to_owned(),
            "parking" => "question".to_owned(),
            "give_phone" | "give_email" | "give_account" => "details".to_owned(),
            other => other.to_owned(),
        };
        let (mut intents, mut slots, mut named) = (0, 0, 0);
        for row in &said {
            let found = keywords().understand(row[1], None, &Context::default());
            intents += usize::from(found.intent.name() == ours(row[5]));
            let entries = found.slots.entries();
            for (name, value) in row[6].split(';').filter_map(|slot| slot.split_once('=')) {
                named += 1;
                slots += usize::from(entries.iter().any(|(n, v)| *n == name && v.eq_ignore_ascii_case(value)));
            }
        }
        assert!(said.len() >= 19 && named >= 8, "the corpus has shrunk");
        println!("intents {intents} of {}, slots {slots} of {named}", said.len());
        assert!(intents * 100 >= said.len() * 90, "{intents} of {} intents; measured: 18 of 19", said.len());
        assert!(slots * 100 >= named * 85, "{slots} of {named} slots; measured: all 8");
    }
}
