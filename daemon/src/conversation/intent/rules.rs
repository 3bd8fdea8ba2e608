//! Keyword rules: phrases that leave no doubt.

use super::Intent;
use crate::conversation::context::{Context, Offer, Topic};
use crate::conversation::slots::{Slots, TimeOfDay, contains_words};
use crate::conversation::words;

/// An utterance ready for matching.
pub(super) struct Talk {
    words: Vec<String>,
    joined: String,
    question_mark: bool,
}

impl Talk {
    pub(super) fn new(text: &str) -> Self {
        let words: Vec<String> = words(text).into_iter().filter(|w| !FILLERS.contains(&w.as_str())).collect();
        Self { joined: words.join(" "), words, question_mark: text.trim_end().ends_with('?') }
    }

    fn has(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| contains_words(&self.joined, phrase))
    }

    fn starts(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| format!("{} ", self.joined).starts_with(&format!("{phrase} ")))
    }

    /// Only these words, in any order.
    fn only(&self, allowed: &[&str]) -> bool {
        !self.words.is_empty() && self.words.iter().all(|w| allowed.contains(&w.as_str()))
    }

    pub(super) fn is_question(&self) -> bool {
        self.question_mark || self.starts(QUESTION_WORDS)
    }

    /// Short and leaning on what was said before: "and on Sundays?", "what about a crown?"
    pub(super) fn is_elliptic(&self) -> bool {
        self.words.len() <= 7 && self.starts(LEANING)
    }
}

const FILLERS: &[&str] = &["um", "uh", "er", "erm", "ah", "well", "hey"];
const QUESTION_WORDS: &[&str] = &[
    "what", "what's", "when", "where", "who", "why", "how", "which", "do", "does", "did", "is", "are", "can", "could",
    "will", "would", "should", "may", "have", "has", "tell me",
];
const LEANING: &[&str] =
    &["and", "what about", "how about", "or", "but", "also", "on", "for", "is that", "does that", "is it"];
const YES: &[&str] = &[
    "yes",
    "yeah",
    "yep",
    "yup",
    "sure",
    "okay",
    "ok",
    "correct",
    "right",
    "exactly",
    "absolutely",
    "definitely",
    "please",
    "do",
    "that",
    "that's",
    "is",
    "it",
    "i",
    "would",
    "fine",
    "of",
    "course",
    "good",
    "mhm",
    "go",
    "ahead",
    "thank",
    "thanks",
    "you",
    "great",
    "alright",
];
const YES_HEADS: &[&str] = &[
    "yes",
    "yeah",
    "yep",
    "yup",
    "sure",
    "okay",
    "ok",
    "correct",
    "right",
    "exactly",
    "absolutely",
    "definitely",
    "please do",
    "of course",
    "that's right",
    "that's correct",
    "that is right",
    "that is correct",
    "mhm",
    "go ahead",
    "alright",
    "fine",
];
const NO: &[&str] = &[
    "no",
    "nope",
    "nah",
    "not",
    "that's",
    "that",
    "is",
    "it",
    "wrong",
    "incorrect",
    "thanks",
    "thank",
    "you",
    "really",
    "right",
    "correct",
    "i",
    "don't",
    "do",
    "want",
    "to",
    "need",
    "now",
    "one",
    "today",
];
const NO_HEADS: &[&str] = &[
    "no",
    "nope",
    "nah",
    "that's wrong",
    "that is wrong",
    "wrong",
    "incorrect",
    "not really",
    "that's not right",
    "not now",
];
const DONE: &[&str] = &[
    "that's all",
    "that is all",
    "that's it",
    "that was all",
    "that will be all",
    "that'll be all",
    "nothing else",
    "no more questions",
    "i'm done",
    "i am done",
    "hang up",
    "that's everything",
    "all good thanks",
];
const BYE: &[&str] = &[
    "goodbye",
    "good bye",
    "good-bye",
    "bye",
    "bye-bye",
    // As recognisers write it.
    "thanks by now",
    "thank you by now",
    "see you",
    "have a nice day",
    "have a good day",
    "good night",
    "talk to you later",
];
const REPEAT: &[&str] = &[
    "repeat",
    "say that again",
    "say it again",
    "come again",
    "what was that",
    "what did you say",
    "what did you just say",
    "pardon",
    "once more",
    "one more time",
    "slower",
    "slow down",
    "more slowly",
    "louder",
    "speak up",
    "didn't hear",
    "did not hear",
    "couldn't hear",
    "can't hear you",
    "didn't catch",
    "didn't get that",
    "didn't understand",
    "did not understand",
    "too fast",
    "excuse me what",
];
const MESSAGE: &[&str] = &[
    "leave a message",
    "take a message",
    "leave message",
    "leave you a message",
    "leave him a message",
    "leave her a message",
    "leave them a message",
    "record a message",
    "voicemail",
    "voice mail",
    "pass on a message",
    "call me back",
    "call back",
    "callback",
    "ring me back",
    "leave my number",
    "leave word",
    "leave a note",
    "take a note",
];
const PERSON_WORDS: &[&str] = &[
    "operator",
    "human",
    "human being",
    "real person",
    "live person",
    "actual person",
    "real human",
    "representative",
    "agent",
    "someone real",
    "somebody real",
    "receptionist",
    "a member of staff",
    "your manager",
    "the manager",
    "supervisor",
    "speak to a person",
    "talk to a person",
    "speak with a person",
    "talk with a person",
    "want a person",
    "need a person",
    "a person please",
    "front desk",
];
const CONNECT: &[&str] = &[
    "speak to",
    "speak with",
    "talk to",
    "talk with",
    "connect me",
    "put me through",
    "put me on to",
    "transfer me",
    "transfer my call",
    "reach someone",
    "speak to someone",
    "talk to someone",
    "talk to somebody",
];
/// As much as [`CONNECT`], in front of somebody's name.
const FETCH: &[&str] = &["get me", "give me", "get hold of", "ring"];
const HOURS: &[&str] = &[
    "opening hours",
    "opening times",
    "office hours",
    "business hours",
    "working hours",
    "hours",
    "what time do you open",
    "what time do you close",
    "when do you open",
    "when do you close",
    "when are you open",
    "are you open",
    "you open",
    "you close",
    "you closed",
    "open today",
    "open tomorrow",
    "open on",
    "open now",
    "closed on",
    "opening time",
    "closing time",
    "open until",
    "are you closed",
    "still open",
    "how late",
    "how long are you open",
    "what time do you",
    "do you shut",
    "come by today",
    "anyone be there",
    "anybody be there",
    "someone be there",
    "somebody be there",
];
const ADDRESS: &[&str] = &[
    "address",
    "where are you",
    "where is your office",
    "where your office is",
    "where is the office",
    "located",
    "location",
    "directions",
    "how do i get there",
    "how do i get to you",
    "find you",
    "find your office",
    "find your practice",
    "find the office",
    "find the practice",
    "where is that",
    "where is it",
    "where's that",
    "where is the practice",
    "where you are",
    "what street",
    "which street",
    "where do i go",
    "where do i have to go",
    "where do i need to go",
];
const PRICE: &[&str] = &[
    "price",
    "prices",
    "cost",
    "costs",
    "how much",
    "fee",
    "fees",
    "charge",
    "charges",
    "rates",
    "expensive",
    "price list",
];
const APPOINTMENT: &[&str] = &[
    "make an appointment",
    "book an appointment",
    "an appointment",
    "my appointment",
    "appointment",
    "appointments",
    "book a",
    "reschedule",
    "schedule",
    "cancel my",
    "have to cancel",
    "need to cancel",
    "want to cancel",
    "fit me in",
    "put me down for",
    "come by next",
    "come by on",
    "anything free",
    "see the dentist",
    "come in",
    "next available",
];
const COMPLAINT: &[&str] = &[
    "complain",
    "complaint",
    "angry",
    "unacceptable",
    "ridiculous",
    "terrible service",
    "nobody has called",
    "nobody called",
    "no one has called",
    "no one called",
    "never called",
    "never call",
    "furious",
    "very unhappy",
    "third time",
    "disappointed",
];
const SMALL_TALK: &[&str] = &[
    "thank you",
    "thanks",
    "how are you",
    "are you a robot",
    "are you a machine",
    "are you human",
    "am i speaking to a robot",
    "am i talking to a robot",
    "am i talking to a machine",
    "am i talking to a real person",
    "am i speaking to a real person",
    "am i talking to a human",
    "am i speaking with a human",
    "are you a computer",
    "are you real",
    "is this a robot",
    "is this a machine",
    "who are you",
    "what can you do",
    "how can you help",
];
const HELLO: &[&str] = &[
    "hello",
    "hi",
    "good",
    "morning",
    "afternoon",
    "evening",
    "there",
    "hey",
    "anybody",
    "anyone",
    "can",
    "you",
    "hear",
    "me",
];

/// Addresses that are the caller's, or none of a street.
const OWN_ADDRESS: &[&str] = &["my address", "mail address", "e-mail address", "email address"];

/// Subjects that are knowledge, even though a word of another intent occurs with them.
const KNOWLEDGE: &[&str] = &[
    "emergency",
    "emergencies",
    "parking",
    "park",
    "leave my car",
    "insurance",
    "wheelchair",
    "cancellation policy",
    "toothache",
    "after hours",
];

/// What callers say where offices write something else.
const IDIOMS: &[(&str, &str)] = &[("leave my car", "park my car"), ("after hours", "outside opening hours")];

/// The words of a question as an office would write them.
pub(super) fn reworded(query: &str) -> String {
    IDIOMS.iter().fold(query.to_owned(), |query, (said, written)| query.replace(said, written))
}

/// A bare "yes" or "no" answers what was offered.
pub(super) fn answer_to_offer(talk: &Talk, context: &Context) -> Option<Intent> {
    let (yes, no) = (is_yes(talk), is_no(talk));
    match context.offer? {
        Offer::Message if yes => Some(Intent::LeaveMessage),
        Offer::AnythingElse if no => Some(Intent::Goodbye),
        Offer::Message | Offer::AnythingElse | Offer::Tool => None,
    }
}

fn is_yes(talk: &Talk) -> bool {
    talk.starts(YES_HEADS) && talk.only(YES)
}

fn is_no(talk: &Talk) -> bool {
    talk.starts(NO_HEADS) && talk.only(NO)
}

/// The intent a phrase leaves no doubt about.
pub(super) fn keyword(talk: &Talk, slots: &Slots) -> Option<Intent> {
    let short = talk.words.len() <= 8;
    let whole = [
        (is_yes(talk), Intent::Confirm),
        (short && talk.has(BYE), Intent::Goodbye),
        (short && talk.has(DONE), Intent::Goodbye),
        (is_no(talk), Intent::Deny),
    ];
    if let Some((_, intent)) = whole.into_iter().find(|(fits, _)| *fits) {
        return Some(intent);
    }
    let department = slots.department.is_some() && (talk.has(CONNECT) || talk.has(FETCH));
    let message = talk.has(MESSAGE) || slots.message_for.is_some();
    let moment = slots.day.is_some() && slots.time.is_some_and(TimeOfDay::is_clock);
    let greeting_only = talk.only(HELLO);
    let told = slots.phone.is_some() || slots.email.is_some() || slots.name.is_some() || slots.account.is_some();
    let parts = [
        (talk.has(SMALL_TALK) && talk.is_question() && !talk.has(CONNECT), Intent::SmallTalk),
        (talk.has(&["robot", "machine"]) && talk.is_question(), Intent::SmallTalk),
        (message && !talk.has(&["nobody", "no one", "never"]), Intent::LeaveMessage),
        (department || talk.has(PERSON_WORDS) || talk.has(CONNECT), Intent::Person),
        (talk.has(COMPLAINT), Intent::Complaint),
        (short && talk.has(REPEAT), Intent::Repeat),
        (talk.has(KNOWLEDGE), Intent::Question),
        (talk.has(PRICE), Intent::Price),
        (talk.has(APPOINTMENT), Intent::Appointment),
        (talk.has(HOURS), Intent::OpeningHours),
        (talk.has(ADDRESS) && !talk.has(OWN_ADDRESS), Intent::Address),
        (told, Intent::Details),
        // Hardly anything but an appointment is on a day and at a time; "since Friday morning" it hurts.
        (moment, Intent::Appointment),
        (greeting_only || (short && talk.has(SMALL_TALK)), Intent::SmallTalk),
    ];
    parts.into_iter().find(|(fits, _)| *fits).map(|(_, intent)| intent)
}

/// How callers say that they come back to something.
const RETURNS: &[&str] = &[
    "back to",
    "return to",
    "once more about",
    "again about",
    "you said about",
    "you mentioned",
    "asked before",
    "asked about",
    "earlier question",
    "first question",
    "about earlier",
    "other question about",
];

/// What callers call what a question was about, where they do not repeat its words.
fn names_of(intent: Intent) -> &'static [&'static str] {
    match intent {
        Intent::OpeningHours => &["hours", "opening", "open", "times"],
        Intent::Address => &["address", "location", "directions", "way"],
        Intent::Price => &["price", "prices", "cost", "costs"],
        Intent::Appointment => &["appointment", "visit", "booking"],
        Intent::Person
        | Intent::LeaveMessage
        | Intent::Repeat
        | Intent::Goodbye
        | Intent::Confirm
        | Intent::Deny
        | Intent::SmallTalk
        | Intent::Complaint
        | Intent::Details
        | Intent::Question
        | Intent::Unknown => &[],
    }
}

/// Shorter words are in every question.
const TELLING_LETTERS: usize = 4;

/// The topic that the caller comes back to: the latest of those whose words they name.
pub(super) fn returned_to<'a>(talk: &Talk, context: &'a Context) -> Option<&'a Topic> {
    if !talk.has(RETURNS) {
        return None;
    }
    let named = |topic: &&Topic| {
        let asked = words(&topic.question);
        let is_telling = |word: &&String| word.len() >= TELLING_LETTERS && !QUESTION_WORDS.contains(&word.as_str());
        let same = |word: &String| {
            names_of(topic.intent).contains(&word.as_str()) || asked.iter().any(|known| same_stem(known, word))
        };
        talk.words.iter().filter(is_telling).any(same)
    };
    context.topics.iter().rev().find(named)
}

/// "open" and "opening", "crown" and "crowns".
fn same_stem(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short.len() >= TELLING_LETTERS && long.starts_with(short) && long.len() - short.len() <= 3
}

/// What a short utterance means after the subject before it.
pub(super) fn follow_up(talk: &Talk, slots: &Slots, context: &Context) -> Option<Intent> {
    let subject = context.subject?;
    let only_a_day = slots.day.is_some() && talk.words.len() <= 4;
    // "And on Sunday?" after hours and a price in one breath is about the hours.
    let in_one_breath = |topic: &Topic| Some(&topic.question) == context.last_question.as_ref();
    let asks_for_hours =
        context.topics.iter().any(|topic| topic.intent == Intent::OpeningHours && in_one_breath(topic));
    if only_a_day && asks_for_hours {
        return Some(Intent::OpeningHours);
    }
    match subject {
        Intent::OpeningHours if slots.day.is_some() && (talk.is_elliptic() || only_a_day) => Some(subject),
        Intent::Price | Intent::Question | Intent::Appointment if talk.is_elliptic() => Some(subject),
        Intent::OpeningHours
        | Intent::Address
        | Intent::Price
        | Intent::Appointment
        | Intent::Person
        | Intent::LeaveMessage
        | Intent::Repeat
        | Intent::Goodbye
        | Intent::Confirm
        | Intent::Deny
        | Intent::SmallTalk
        | Intent::Complaint
        | Intent::Details
        | Intent::Question
        | Intent::Unknown => None,
    }
}
