//! The fixed sentences: rendered once into the phrase cache, so that they sound at once.

/// Said when an answer takes long.
pub const ONE_MOMENT: &str = "One moment.";
/// Said when speech was heard and nothing was understood.
pub const NOT_CAUGHT: &str = "Sorry, I did not catch that.";
/// Said when a transcript or an answer did not come in time or failed.
pub const FALLBACK: &str = "I am sorry, I am having trouble answering that right now.";
/// Said when neither the configuration nor the knowledge has the answer.
pub const NOT_KNOWN: &str = "I am sorry, I don't have that information.";
/// Asks for a message.
pub const OFFER_MESSAGE: &str = "Would you like to leave a message?";
/// Asks a silent caller.
pub const STILL_THERE: &str = "Are you still there?";
/// Asks a silent caller again, with a way out.
pub const SILENT_OFFER: &str = "I can not hear you. You can leave a message after the tone.";
/// Invites to the next question.
pub const ANYTHING_ELSE: &str = "Is there anything else I can help you with?";
/// Before a message.
pub const LEAVE_MESSAGE: &str = "Please leave your name, your number and your message after the tone.";
/// How a message ends.
pub const MESSAGE_END: &str = "When you are done, press the hash key or just stop speaking.";
/// After a message.
pub const REVIEW_MENU: &str = "To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.";
/// To whoever records a message again.
pub const AFTER_THE_TONE: &str = "Please speak after the tone.";
/// A message is urgent.
pub const MARKED_URGENT: &str = "It is marked as urgent.";
/// The second recording of a message was empty or failed.
pub const EARLIER_MESSAGE_KEPT: &str = "I did not get a new message, so your first one is kept.";
/// A message is safe, but its sound cannot be read.
pub const MESSAGE_NOT_PLAYED: &str = "I am sorry, I can not play it.";
/// Whoever asks is told that no person speaks.
pub const WHO_I_AM: &str = "I am an automatic assistant. I can answer questions and take messages.";
/// Nobody can be reached.
pub const NO_PERSON: &str = "I am sorry, I can not connect you to a person at the moment, but I will take a message.";
/// The caller speaks another language.
pub const ONLY_ENGLISH: &str = "I am sorry, I only speak English.";
/// A caller is angry or in distress.
pub const SORRY: &str = "I am sorry about that.";
/// Somebody is rung.
pub const CONNECTING: &str = "One moment, I will try to connect you.";
/// Nobody took the call.
pub const NOBODY_ANSWERED: &str = "I am sorry, nobody can take your call right now.";
/// Everybody who was rung is on the phone.
pub const EVERYBODY_BUSY: &str = "I am sorry, everybody is on the phone right now.";
/// No phone could be rung.
pub const NOBODY_REACHED: &str = "I am sorry, I could not reach anybody.";
/// A message was empty.
pub const NO_MESSAGE: &str = "I did not hear a message.";
/// A message could not be kept.
pub const MESSAGE_FAILED: &str = "I am sorry, your message could not be saved. Please call again.";
/// The end.
pub const GOODBYE: &str = "Thank you for calling. Goodbye.";
/// The end after too many misunderstandings.
pub const GIVE_UP: &str = "I am sorry, I could not help you this time. I will take a message instead.";
/// The end when a call took too long.
pub const TIME_UP: &str = "I am sorry, I have to end our call now. Thank you for calling. Goodbye.";
/// The menu when speech is not understood at all.
pub const KEYPAD_MENU: &str = "I can not understand speech at the moment. Press 1 to leave a message, 2 for our opening hours, or 9 to hear this again.";
/// A key without a meaning.
pub const UNKNOWN_KEY: &str = "That key has no function.";
/// A tool is asked.
pub const LOOKING_UP: &str = "One moment, I'm looking that up.";
/// A tool that changes something is used.
pub const DOING_IT: &str = "One moment, I'm doing that now.";
/// It has not answered yet.
pub const STILL_WAITING: &str = "I am still waiting for the answer.";
/// A tool that only looks something up has not answered.
pub const NOT_LOOKED_UP: &str = "I am sorry, I can not look that up right now.";
/// A tool that changes something has failed.
pub const NOT_DONE: &str = "I am sorry, that did not work.";
/// A tool that changes something has not answered: it may have done it.
pub const NOT_SURE_DONE: &str = "I am sorry, I got no answer, so I do not know whether that worked.";
/// A tool has answered with what is no sentence.
pub const UNREADABLE: &str = "I am sorry, the answer is nothing that I can read out to you.";
/// A tool that changes something has answered with what is no sentence.
pub const DONE: &str = "That is done.";
/// What changes something can not be taken back.
pub const UNDER_WAY: &str = "I am sorry, that is already under way.";
/// Before a tool changes something.
pub const SHALL_I: &str = "Shall I do that?";
/// A tool is not wanted any more.
pub const NEVER_MIND: &str = "All right. What else can I do for you?";
/// What a tool has to be told was not understood twice.
pub const NOT_TOLD: &str = "I am sorry, I did not get that.";

/// To whoever is rung for a caller, after who that is.
pub const CALLEE_MENU: &str =
    "Press 1 to take the call, 2 to send it to voicemail, or 3 to say that you will call back.";
/// To whoever has pressed 2.
pub const CALLEE_VOICEMAIL: &str = "The caller is asked for a message. Goodbye.";
/// To whoever has pressed 3.
pub const CALLEE_CALLS_BACK: &str = "The caller is told that you will call back. Goodbye.";

/// To whoever is to keep a promise, after to whom.
pub const CALL_BACK_MENU: &str = "Press 1 to be connected, or just hang up.";
/// To whoever has pressed 1.
pub const CALLING: &str = "I am calling.";

/// Whoever waits is the next.
pub const NEXT_IN_LINE: &str = "You are the next in line.";

/// Every fixed sentence, for the phrase cache.
pub const ALL: &[&str] = &[
    ONE_MOMENT,
    NOT_CAUGHT,
    FALLBACK,
    OFFER_MESSAGE,
    STILL_THERE,
    SILENT_OFFER,
    ANYTHING_ELSE,
    LEAVE_MESSAGE,
    MESSAGE_END,
    REVIEW_MENU,
    AFTER_THE_TONE,
    MARKED_URGENT,
    EARLIER_MESSAGE_KEPT,
    MESSAGE_NOT_PLAYED,
    NO_PERSON,
    ONLY_ENGLISH,
    SORRY,
    CONNECTING,
    NOBODY_ANSWERED,
    EVERYBODY_BUSY,
    NOBODY_REACHED,
    NO_MESSAGE,
    MESSAGE_FAILED,
    GOODBYE,
    GIVE_UP,
    TIME_UP,
    KEYPAD_MENU,
    UNKNOWN_KEY,
    NEXT_IN_LINE,
    CALLEE_MENU,
    CALLEE_VOICEMAIL,
    CALLEE_CALLS_BACK,
    CALL_BACK_MENU,
    CALLING,
    LOOKING_UP,
    DOING_IT,
    STILL_WAITING,
    NOT_LOOKED_UP,
    NOT_DONE,
    NOT_SURE_DONE,
    UNREADABLE,
    DONE,
    UNDER_WAY,
    SHALL_I,
    NEVER_MIND,
    NOT_TOLD,
];
