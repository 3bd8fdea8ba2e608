//! What to answer: the calendar for hours, the configuration for the address, cited passages for everything else.
//!
//! Nothing is invented. What neither the configuration nor a passage says is answered with "I don't have that" and a way
//! to a person. Left out on purpose: searching (hits come in) and how numbers are read aloud (`normalise`).

mod hours;
pub(super) mod read_back;

use super::context::{Context, Offer};
use super::endpointing::Reception;
use super::escalation::Escalation;
use super::intent::{Intent, Understanding};
use super::language::Language;
use super::slots::Slots;
use super::tools::Pending;
use super::{grounding, phrases, sentences};
use crate::office::hours::DayQuery;
use crate::office::{Office, Route};
use jiff::Zoned;
use jiff::civil::Weekday;

pub use hours::week;

/// A passage found in the office's knowledge.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its id, cited in the turn row.
    pub id: String,
    /// Heading it stands under.
    pub title: String,
    /// Its text: Markdown.
    pub text: String,
    /// How well it fits, 0 to 1 (cosine or comparable). Below [`MIN_HIT_SCORE`] it is not used.
    pub score: f32,
}

/// The least [`Hit::score`] an answer is given from.
pub const MIN_HIT_SCORE: f32 = crate::knowledge::ANSWER_SCORE_MIN;
/// The most sentences of a passage that are spoken: a caller can not skim.
const MAX_SENTENCES: usize = 2;
/// The longest answer from a passage; a second sentence beyond it is left out.
const MAX_ANSWER_CHARS: usize = 240;

/// What follows when an answer has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Listen for the next question.
    Continue,
    /// The sentences are a goodbye: hang up when they are out.
    HangUp,
    /// Take a message. How to leave it is said after the sentences.
    TakeMessage,
    /// A person is wanted and nobody can be rung: the sentences say so, and a message is taken.
    Person,
    /// A person is wanted: the sentences say that they are rung.
    Connect,
    /// Say again what was said last; there are no sentences.
    Repeat,
    /// Use [`Reply::tool`]; there are no sentences.
    UseTool,
    /// What was begun is not wanted any more: the sentences say so.
    NeverMind,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What to say, sentence by sentence, as written (not yet normalised for a voice).
    pub sentences: Vec<String>,
    /// What was understood.
    pub intent: Intent,
    /// How sure that is, 0 to 1.
    pub score: f32,
    /// What the caller named.
    pub slots: Box<Slots>,
    /// Where the answer comes from: passage ids, or `office.hours` and the like.
    pub sources: Vec<String>,
    /// What follows.
    pub action: Action,
    /// With whom the caller is to be connected.
    pub connect_to: Option<Route>,
    /// Why a person is wanted, if that was decided.
    pub escalation: Option<Box<Escalation>>,
    /// The tool that is to be used, or that the sentences ask about.
    pub tool: Option<Box<Pending>>,
}

impl Reply {
    /// What it says about whether the caller was done.
    pub fn reception(&self) -> Reception {
        // Numbers and names are dictated in pieces; a greeting, a complaint or a wish for an appointment is how more begins.
        let may_begin_more =
            matches!(self.intent, Intent::Details | Intent::SmallTalk | Intent::Complaint | Intent::Appointment);
        if may_begin_more || !self.is_productive() {
            return Reception::Open;
        }
        match self.action {
            Action::Continue | Action::UseTool | Action::Repeat | Action::NeverMind => Reception::Answered,
            Action::HangUp | Action::TakeMessage | Action::Connect | Action::Person => Reception::Final,
        }
    }

    /// What it was about, the latest last: of several requests in one breath also those before the last.
    pub fn subjects(&self) -> Vec<Intent> {
        let structured = [("office.hours", Intent::OpeningHours), ("office.address", Intent::Address)];
        let earlier = structured.into_iter().filter(|(source, _)| self.sources.iter().any(|known| known == source));
        let earlier = earlier.map(|(_, intent)| intent).filter(|intent| *intent != self.intent);
        earlier.chain([self.intent]).filter(|intent| intent.is_subject()).collect()
    }

    /// Whether the caller got what they wanted, as far as can be told: a miss is counted otherwise.
    pub fn is_productive(&self) -> bool {
        if self.tool.is_some() || self.escalation.is_some() {
            return true;
        }
        match self.intent {
            Intent::Unknown => false,
            Intent::OpeningHours | Intent::Address | Intent::Price | Intent::Question => !self.sources.is_empty(),
            Intent::Appointment
            | Intent::Person
            | Intent::LeaveMessage
            | Intent::Repeat
            | Intent::Goodbye
            | Intent::Confirm
            | Intent::Deny
            | Intent::SmallTalk
            | Intent::Complaint
            | Intent::Details => true,
        }
    }
}

/// Sentences, their sources, and what follows.
struct Answer {
    sentences: Vec<String>,
    sources: Vec<String>,
    action: Action,
}

impl Answer {
    fn new(sentences: Vec<String>, sources: Vec<String>) -> Self {
        Self { sentences, sources, action: Action::Continue }
    }

    fn say(sentence: &str) -> Self {
        Self::new(vec![sentence.into()], Vec::new())
    }

    fn then(mut self, action: Action) -> Self {
        self.action = action;
        self
    }
}

/// Chooses the answer to what was understood. `hits` are the passages found for [`Understanding::query`], best first;
/// `now` is the wall clock in any time zone.
pub fn reply(understanding: &Understanding, context: &Context, office: &Office, hits: &[Hit], now: &Zoned) -> Reply {
    let answer = choose(understanding, context, office, hits, now);
    let mut reply = Reply {
        sentences: answer.sentences,
        intent: understanding.intent,
        score: understanding.score,
        slots: Box::new(understanding.slots.clone()),
        sources: answer.sources,
        action: answer.action,
        connect_to: None,
        escalation: None,
        tool: None,
    };
    if reply.action == Action::Connect {
        reply.connect_to = office.route(asked_for(&understanding.slots), now);
    }
    if reply.intent == Intent::Unknown && !reply.sources.is_empty() {
        // Its kind was not clear, but the knowledge knew it.
        reply.intent = Intent::Question;
    }
    if reply.action == Action::Continue {
        close(&mut reply, context);
    }
    reply
}

fn choose(understanding: &Understanding, context: &Context, office: &Office, hits: &[Hit], now: &Zoned) -> Answer {
    if understanding.language != Language::English {
        return foreign(office, now);
    }
    match understanding.intent {
        Intent::OpeningHours => hours::answer(understanding.slots.day.as_ref(), office, now),
        Intent::Address => address(office).unwrap_or_else(|| knowledge(hits)),
        Intent::Price => price(office, hits),
        Intent::Appointment => appointment(&understanding.slots, hits, office, now),
        Intent::Person => person(asked_for(&understanding.slots), office, now),
        Intent::LeaveMessage => Answer::new(Vec::new(), Vec::new()).then(Action::TakeMessage),
        Intent::Repeat => Answer::new(Vec::new(), Vec::new()).then(Action::Repeat),
        Intent::Goodbye => Answer::say(phrases::GOODBYE).then(Action::HangUp),
        Intent::Confirm => Answer::say("Good. What would you like to know?"),
        Intent::Deny if context.offer == Some(Offer::Message) => Answer::say("All right."),
        Intent::Deny => Answer::say("All right. What else can I do for you?"),
        Intent::SmallTalk => small_talk(&understanding.query),
        Intent::Complaint => {
            Answer::say("I am sorry about that. I will take a message, so that somebody calls you back.")
                .then(Action::Person)
        }
        Intent::Question => knowledge(hits),
        Intent::Details => details(&understanding.slots),
        Intent::Unknown => best(hits).map_or_else(|| not_understood(context), from_passage),
    }
}

/// A short "Anything else?" after a full answer, and an offer after misses. Not after every answer: that grates.
fn close(reply: &mut Reply, context: &Context) {
    if !reply.is_productive() {
        let missed_before = context.misses >= 1;
        let offers = reply.sentences.iter().any(|sentence| sentence == phrases::OFFER_MESSAGE);
        if missed_before && !offers {
            reply.sentences.push(phrases::OFFER_MESSAGE.into());
        }
        return;
    }
    let asks = reply.sentences.last().is_some_and(|sentence| sentence.ends_with('?'));
    let informed = !reply.sources.is_empty() && context.turns % 2 == 1 && !asks;
    let refused = reply.intent == Intent::Deny && context.offer == Some(Offer::Message);
    if informed || refused {
        reply.sentences.push(phrases::ANYTHING_ELSE.into());
    }
}

/// Answers that callers of this office are likely to get at `now`, from what is structured.
pub(crate) fn likely(office: &Office, now: &Zoned) -> Vec<Vec<String>> {
    let weekday = |day| DayQuery::Weekday { day, next: false };
    let week = (0..7).filter_map(|offset| Weekday::from_monday_zero_offset(offset).ok()).map(weekday);
    let days = [DayQuery::Now, DayQuery::Today, DayQuery::Tomorrow, DayQuery::Week, DayQuery::Weekend];
    let asked = std::iter::once(None).chain(days.into_iter().chain(week).map(Some));
    let hours = asked.map(|day| hours::answer(day.as_ref(), office, now).sentences);
    hours.chain(address(office).map(|answer| answer.sentences)).collect()
}

fn best(hits: &[Hit]) -> Option<&Hit> {
    hits.iter().filter(|hit| hit.score >= MIN_HIT_SCORE).max_by(|a, b| a.score.total_cmp(&b.score))
}

/// The first sentences of a passage. One that no longer says what the passage does, because it was cut, ends them.
fn from_passage(hit: &Hit) -> Answer {
    let body: String =
        hit.text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let mut spoken: Vec<String> = Vec::new();
    for sentence in sentences::split(&body).into_iter().take(MAX_SENTENCES) {
        if grounding::check(&sentence, &body).is_err() {
            break;
        }
        let length: usize = spoken.iter().map(String::len).sum::<usize>() + sentence.len();
        if spoken.is_empty() || length <= MAX_ANSWER_CHARS {
            spoken.push(sentence);
        }
    }
    if spoken.is_empty() { nothing_found() } else { Answer::new(spoken, vec![hit.id.clone()]) }
}

fn knowledge(hits: &[Hit]) -> Answer {
    best(hits).map_or_else(nothing_found, from_passage)
}

fn nothing_found() -> Answer {
    let sentences = vec![phrases::NOT_KNOWN.into(), phrases::OFFER_MESSAGE.into()];
    Answer::new(sentences, Vec::new())
}

fn not_understood(context: &Context) -> Answer {
    if context.misses == 0 {
        return Answer::say("I am sorry, I did not understand that. Could you say it in other words?");
    }
    Answer::say("I am sorry, I still did not understand.")
}

fn address(office: &Office) -> Option<Answer> {
    let address = office.address.as_ref()?;
    let mut sentences = vec![format!("You find us at {}.", address.trim_end_matches('.'))];
    sentences.extend(office.directions.iter().flat_map(|text| sentences::split(text)));
    Some(Answer::new(sentences, vec!["office.address".into()]))
}

fn price(office: &Office, hits: &[Hit]) -> Answer {
    match best(hits) {
        Some(hit) => from_passage(hit),
        None if office.prices.is_empty() => nothing_found(),
        None => Answer::new(office.prices.iter().take(3).cloned().collect(), vec!["office.prices".into()]),
    }
}

/// The person or department that was named, in small letters.
pub(super) fn asked_for(slots: &Slots) -> Option<&str> {
    slots.department.as_deref()
}

/// Somebody is rung if there is anybody who may be now.
fn person(asked_for: Option<&str>, office: &Office, now: &Zoned) -> Answer {
    match office.route(asked_for, now) {
        Some(_) => Answer::say(phrases::CONNECTING).then(Action::Connect),
        None => Answer::say(phrases::NO_PERSON).then(Action::Person),
    }
}

/// A caller whose language we do not speak: a person is all that helps. No voice of ours speaks any other language.
fn foreign(office: &Office, now: &Zoned) -> Answer {
    let mut answer = person(None, office, now);
    answer.sentences.insert(0, phrases::ONLY_ENGLISH.into());
    answer
}

/// Nothing can be booked yet: the day and time that were understood, or what the knowledge says about appointments, and
/// a message to the people who can.
fn appointment(slots: &Slots, hits: &[Hit], office: &Office, now: &Zoned) -> Answer {
    let known = || best(hits).map_or_else(|| Answer::new(Vec::new(), Vec::new()), from_passage);
    let mut answer = match read_back::moment(slots, &office.calendar, now) {
        Some(moment) => Answer::say(&moment),
        None => known(),
    };
    answer.sentences.insert(0, "I can not change the appointment book myself.".into());
    answer.sentences.push(phrases::OFFER_MESSAGE.into());
    answer
}

/// Reads back what was understood, so that a wrong digit is noticed, and offers to pass it on.
fn details(slots: &Slots) -> Answer {
    let understood = match (&slots.account, &slots.phone, &slots.email, &slots.name) {
        (Some(code), ..) => format!("I understood {}.", read_back::code(code)),
        (None, Some(digits), ..) => format!("I understood {}.", grouped(digits)),
        (None, None, Some(email), _) => format!("I understood {email}."),
        (None, None, None, Some(name)) => return Answer::say(&format!("Thank you, {name}. What can I do for you?")),
        (None, None, None, None) => "Thank you.".into(),
    };
    Answer::new(vec![understood, phrases::OFFER_MESSAGE.into()], Vec::new())
}

/// Digits the way a telephone number is written; any other count one by one.
pub(super) fn grouped(digits: &str) -> String {
    match digits.len() {
        7 if digits.is_ascii() => format!("{}-{}", &digits[..3], &digits[3..]),
        10 if digits.is_ascii() => format!("{}-{}-{}", &digits[..3], &digits[3..6], &digits[6..]),
        _ => read_back::code(digits),
    }
}

fn small_talk(text: &str) -> Answer {
    let words = super::words(text);
    let has = |word: &str| words.iter().any(|w| w == word);
    if ["robot", "machine", "computer", "human", "real", "who"].iter().any(|word| has(word)) {
        return Answer::say(phrases::WHO_I_AM);
    }
    if has("thanks") || has("thank") {
        return Answer::say("You're welcome.");
    }
    Answer::say("Hello. What can I do for you?")
}

#[cfg(test)]
mod tests;
