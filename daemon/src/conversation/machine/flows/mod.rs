//! Whole conversations on a virtual clock, written down as ladders.

mod driver;
mod review;
mod tools;

use super::*;
use driver::Act::{self, HangUp, Listen, Press, Say, TakenOver, UntilWeSpeak, Wait};
use driver::{Driver, Models};
use expect_test::{Expect, expect};

fn check_flow(settings: Settings, models: Models, acts: &[Act], expected: Expect) {
    let mut driver = Driver::new(settings, models);
    driver.input(Input::Answered);
    for act in acts {
        if !driver.gone {
            driver.perform(act);
        }
    }
    assert!(driver.conversation.ending().is_some(), "the call did not end:\n{}", driver.ladder);
    expected.assert_eq(&driver.ladder);
}

fn check(acts: &[Act], expected: Expect) {
    check_flow(Settings::default(), Models::default(), acts, expected);
}

/// Two questions, a follow-up that keeps its context, goodbye: the reply sounds half a second after the last word.
#[test]
fn two_questions_a_follow_up_and_goodbye() {
    check(
        &[
            Listen,
            Say("What are your opening hours on Friday?", 1800),
            Listen,
            Say("And on Sundays?", 900),
            Listen,
            Say("Do you have parking?", 1100),
            Listen,
            Say("Thank you, goodbye.", 900),
            Listen,
        ],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "What are your opening hours on Friday?"
               7.76         transcribe? 0
               7.94  us     On Friday we are open from 9:00 AM to 3:00 PM.
              11.90  turn   1 opening_hours [office.hours] gap 380 ms
              11.90  caller "And on Sundays?"
              12.94         transcribe? 1
              13.20  us     On Sunday we are closed. | Is there anything else I can help you with?
              17.46  turn   2 opening_hours [office.hours] gap 460 ms
              17.46  caller "Do you have parking?"
              18.70         transcribe? 2
              18.96  us     Yes, there is parking. | We have six free spaces behind the building.
              22.62  turn   3 question [passage-1] gap 460 ms
              22.62  caller "Thank you, goodbye."
              23.66         transcribe? 3
              23.84  us     Thank you for calling. Goodbye. (firm)
              25.40  turn   4 goodbye [] gap 380 ms
              25.40  us     hangs up: caller_goodbye Success
        "#]],
    );
}

/// The caller talks over an answer: silence within 150 ms of confirmed speech, and only what was heard is kept.
#[test]
fn barge_in_stops_the_answer() {
    check(
        &[
            Listen,
            Say("Where are you?", 900),
            UntilWeSpeak,
            Wait(1500),
            Say("How much is a filling?", 1200),
            Listen,
            HangUp,
        ],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.12  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
               8.68  caller "How much is a filling?"
               8.74  us     ~ ducked
               8.76  us     ~ held
               8.84  us     ~ stopped
              10.02         transcribe? 1
              10.20  turn   1 address [office.address] gap 460 ms interrupted
              10.20         heard: "You find us at 48…"
              10.20  us     A filling costs between $160 and $280. | Is there anything else I can help you with?
              16.86  turn   2 price [passage-2] gap 380 ms
              16.86  caller hangs up
        "#]],
    );
}

/// "Mhm" only means that the caller listens: the answer goes on with the sentence that was cut.
#[test]
fn a_backchannel_resumes_the_answer() {
    check(
        &[Listen, Say("Where are you?", 900), UntilWeSpeak, Wait(1500), Say("Mhm.", 300), Wait(600), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.12  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
               8.68  caller "Mhm."
               8.74  us     ~ ducked
               8.76  us     ~ held
               8.84  us     ~ stopped
               9.12         transcribe? 1
               9.48  us     [from 79 %] You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
              19.14  turn   1 address [office.address] gap 460 ms
              19.14  caller hangs up
        "#]],
    );
}

/// A short burst ducks our voice and gives it back.
#[test]
fn a_cough_only_ducks() {
    check(
        &[Listen, Say("Where are you?", 900), UntilWeSpeak, Wait(500), Say("", 100), Wait(300), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.12  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
               7.68  caller ""
               7.74  us     ~ ducked
               7.76  us     ~ held
               7.98  us     ~ full voice
              16.78  turn   1 address [office.address] gap 460 ms
              16.78  caller hangs up
        "#]],
    );
}

/// A pause in the middle of a sentence: the speculative transcript is thrown away and the whole is understood.
#[test]
fn going_on_after_a_pause_throws_speculation_away() {
    check(
        &[Listen, Say("Are you open", 700), Wait(300), Say("on Saturday?", 700), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Are you open"
               6.66         transcribe? 0
               6.82  caller "on Saturday?"
               7.66         transcribe? 1
               7.84  us     On Saturday we are open from 10:00 AM to 1:00 PM.
              11.80  turn   1 opening_hours [office.hours] gap 380 ms
              11.80  caller hangs up
        "#]],
    );
}

/// The caller goes on after the end of the utterance, before the answer sounds: both parts are one question.
#[test]
fn going_on_before_the_answer_makes_one_question() {
    let models = Models { decode_ms: 600, ..Models::default() };
    check_flow(
        Settings::default(),
        models,
        &[Listen, Say("I wanted to ask", 900), Wait(560), Say("what time do you close today?", 1200), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "I wanted to ask"
               6.86         transcribe? 0
               7.28  caller "what time do you close today?"
               7.44         abandon 0
               8.62         transcribe? 1
               9.24  us     Today we are open from 9:00 AM to 12:30 PM and from 1:30 PM to 5:30 PM. | We are open now, until 12:30 PM.
              19.20  turn   1 opening_hours [office.hours] gap 820 ms
              19.20  caller hangs up
        "#]],
    );
}

/// Nobody speaks: asked once, then the tone, then the end.
#[test]
fn two_silences_lead_to_a_message_and_the_end() {
    check(
        &[Listen, Wait(60_000)],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
              12.82  us     Are you still there? | How can I help you?
              22.58  us     I can not hear you. You can leave a message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              30.14  us     (beep)
              34.12         recording ended: Silence
              34.16  us     I did not hear a message. | Thank you for calling. Goodbye. (firm)
              37.52  us     hangs up: no_speech CallerError
        "#]],
    );
}

/// A message, its reference, goodbye.
#[test]
fn a_message_is_taken_and_confirmed() {
    check(
        &[
            Listen,
            Say("I want to leave a message.", 1200),
            Listen,
            Say("This is Anna Smith, please call me back.", 3000),
            Press('#'),
            Listen,
            Press('#'),
            Listen,
            Say("No, thank you.", 700),
            Listen,
        ],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "I want to leave a message."
               7.16         transcribe? 0
               7.42  us     Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              14.68  turn   1 leave_message [] gap 460 ms
              14.68  us     (beep)
              14.68  caller "This is Anna Smith, please call me back."
              17.68  caller presses #
              17.68         recording ended: Stopped
              17.72  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              26.48  caller presses #
              26.48         message sent
              26.48  us     Thank you. Your message is saved. Its reference is 4 7 2 1. | Is there anything else I can help you with?
              33.14  caller "No, thank you."
              33.98         transcribe? 1
              34.24  us     Thank you for calling. Goodbye. (firm)
              35.80  turn   3 goodbye [] gap 460 ms
              35.80  us     hangs up: caller_goodbye Success
        "#]],
    );
}

/// Nobody can be rung yet: said honestly, then a message is taken; the caller hangs up after it.
#[test]
fn a_person_is_wanted_and_a_message_taken() {
    check(
        &[
            Listen,
            Say("Can I speak to a human?", 1200),
            Listen,
            Say("Please call Anna.", 2000),
            Wait(4200),
            Listen,
            HangUp,
        ],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Can I speak to a human?"
               7.16         transcribe? 0
               7.42         escalated: asked_for_person
               7.42  us     I am sorry, I can not connect you to a person at the moment, but I will take a message. | Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              20.68  turn   1 person [] gap 460 ms
              20.68  us     (beep)
              20.68  caller "Please call Anna."
              26.68         recording ended: Silence
              26.72  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              35.48  caller hangs up
        "#]],
    );
}

/// A slow recogniser: "One moment." after a second, then the answer.
#[test]
fn a_slow_answer_is_announced() {
    let models = Models { decode_ms: 1900, ..Models::default() };
    check_flow(
        Settings::default(),
        models,
        &[Listen, Say("Where are you?", 900), Wait(4000), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.72  us     One moment.
               8.78  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
              18.44  turn   1 address [office.address] gap 1060 ms filler
              18.44  caller hangs up
        "#]],
    );
}

/// A recogniser that never answers: a filler, an apology at four seconds; the second time a message.
#[test]
fn a_dead_recogniser_ends_in_a_message() {
    let models = Models { decode_ms: 100_000, ..Models::default() };
    check_flow(
        Settings::default(),
        models,
        &[Listen, Say("Where are you?", 900), Wait(6000), Listen, Say("Hello?", 600), Wait(6000), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.72  us     One moment.
              10.72         abandon 0
              10.72  us     I am sorry, I am having trouble answering that right now. | Would you like to leave a message?
              16.18  turn   1 unknown [] gap 1060 ms filler timed_out
              16.18  caller "Hello?"
              16.92         transcribe? 1
              17.78  us     One moment.
              20.78         abandon 1
              20.78  us     I am sorry, I am having trouble answering that right now. | Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              31.34  turn   2 unknown [] gap 1060 ms filler timed_out
              31.34  us     (beep)
              31.34  caller hangs up
              31.34         recording ended: Stopped
        "#]],
    );
}

/// A recogniser that fails at once.
#[test]
fn a_failing_recogniser_ends_in_a_message() {
    let models = Models { transcribe_fails: true, ..Models::default() };
    check_flow(
        Settings::default(),
        models,
        &[Listen, Say("Where are you?", 900), Listen, Say("Yes.", 400), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.22         transcribe 1
               7.38  us     I am sorry, I am having trouble answering that right now. | Would you like to leave a message?
              12.84  turn   1 unknown [] gap 720 ms failed
              12.84  caller "Yes."
              13.38         transcribe? 2
              13.74         transcribe 3
              13.90  us     I am sorry, I am having trouble answering that right now. | Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              24.46  turn   2 unknown [] gap 720 ms failed
              24.46  us     (beep)
              24.46  caller hangs up
              24.46         recording ended: Stopped
        "#]],
    );
}

/// Without speech recognition there is a menu.
#[test]
fn without_recognition_the_keypad_works() {
    let settings = Settings { speech_to_text: false, ..Settings::default() };
    check_flow(
        settings,
        Models::default(),
        &[Listen, Wait(7_000), Press('2'), Listen, Press('1'), Listen, Say("Call Anna.", 2000), Wait(30_000)],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     I can not understand speech at the moment. Press 1 to leave a message, 2 for our opening hours, or 9 to hear this again.
              18.82  us     Are you still there? | I can not understand speech at the moment. Press 1 to leave a message, 2 for our opening hours, or 9 to hear this again.
              18.82  caller presses 2
              18.82  us     ~ stopped
              18.84  us     We are open Monday to Wednesday from 9:00 AM to 5:30 PM, on Thursday from 9:00 AM to 7:00 PM, on Friday from 9:00 AM to 3:00 PM, and on Saturday from 10:00 AM to 1:00 PM. | We take a break from 12:30 PM to 1:30 PM. | We are closed on Sunday.
              38.40  caller presses 1
              38.40  us     Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              45.66  us     (beep)
              45.66  caller "Call Anna."
              51.66         recording ended: Silence
              51.70  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              64.46         message sent
              64.46  us     Thank you. Your message is saved. Its reference is 4 7 2 1. | Thank you for calling. Goodbye. (firm)
              69.92  us     hangs up: message_taken Success
        "#]],
    );
}

/// Without a voice there are tones: a beep, a message, a beep.
#[test]
fn without_a_voice_a_message_is_taken() {
    let settings = Settings { text_to_speech: false, ..Settings::default() };
    check_flow(
        settings,
        Models::default(),
        &[Wait(500), Say("Call Anna.", 2000), Wait(6000)],
        expect![[r#"
            seconds  who    what
               0.00  us     (beep)
               0.50  caller "Call Anna."
               6.50         recording ended: Silence
               6.54         message sent
               6.54  us     (beep)
               6.54  us     hangs up: message_taken Success
        "#]],
    );
}

/// The answer again, word for word.
#[test]
fn an_answer_is_repeated() {
    check(
        &[Listen, Say("Where are you?", 900), Listen, Say("Can you repeat that?", 900), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.12  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
              16.78  turn   1 address [office.address] gap 460 ms
              16.78  caller "Can you repeat that?"
              17.82         transcribe? 1
              18.08  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
              27.74  turn   2 repeat [] gap 460 ms
              27.74  caller hangs up
        "#]],
    );
}

/// Whoever wants a person is connected, and whoever presses 0.
#[test]
fn a_person_is_rung_for_who_asks() {
    let models = Models { has_operator: true, ..Models::default() };
    check_flow(
        Settings::default(),
        models.clone(),
        &[Listen, Say("Can I talk to a real person?", 1200), Listen],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Can I talk to a real person?"
               7.16         transcribe? 0
               7.42         escalated: asked_for_person
               7.42  us     One moment, I will try to connect you. (firm)
               9.88  turn   1 person [] gap 460 ms
               9.88  us     hands over to group:front
        "#]],
    );
    check_flow(
        Settings::default(),
        models,
        &[Listen, Press('0'), Listen],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller presses 0
               5.82         escalated: key
               5.82  us     One moment, I will try to connect you. (firm)
               8.28  us     hands over to group:front
        "#]],
    );
}

/// While nobody may be rung a message is taken, and after nobody has answered one is offered, without another greeting.
#[test]
fn without_anybody_a_message_is_offered() {
    let models = Models { has_operator: true, ..Models::default() };
    check_flow(
        Settings::default(),
        Models::default(),
        &[Listen, Press('0'), Wait(500), HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller presses 0
               5.82         escalated: key
               5.82  us     I am sorry, I can not connect you to a person at the moment, but I will take a message. | Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
               6.32  caller hangs up
        "#]],
    );
    let unanswered = Settings { opening: Opening::NobodyAnswered, ..Settings::default() };
    check_flow(
        unanswered,
        models,
        &[Listen, Say("Yes, please.", 500), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     I am sorry, nobody can take your call right now. | Would you like to leave a message?
               5.16  caller "Yes, please."
               5.80         transcribe? 0
               5.98  us     Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              13.24  turn   1 leave_message [] gap 380 ms
              13.24  us     (beep)
              13.24  caller hangs up
              13.24         recording ended: Stopped
        "#]],
    );
}

/// Who comes back to the box is told why nobody came.
#[test]
fn whoever_was_not_reached_is_named_with_the_reason() {
    for (who, why, expected) in [
        (Some("Anna Weber"), Unreached::Busy, "I am sorry, Anna Weber is on the phone."),
        (Some("Anna Weber"), Unreached::NoAnswer, "I am sorry, Anna Weber does not answer."),
        (Some("Anna Weber"), Unreached::Declined, "I am sorry, Anna Weber can not talk right now."),
        (Some("Anna Weber"), Unreached::Failed, "I am sorry, I could not reach Anna Weber."),
        (None, Unreached::Busy, phrases::EVERYBODY_BUSY),
        (None, Unreached::NoAnswer, phrases::NOBODY_ANSWERED),
        (None, Unreached::Declined, phrases::NOBODY_ANSWERED),
        (None, Unreached::Failed, phrases::NOBODY_REACHED),
    ] {
        let opening = Opening::NotReached { who: who.map(str::to_owned), why };
        let mut driver = Driver::new(Settings { opening, ..Settings::default() }, Models::default());
        driver.input(Input::Answered);
        assert!(
            driver.ladder.ends_with(&format!("us     {expected} | Would you like to leave a message?\n")),
            "{}",
            driver.ladder
        );
    }
}

/// Whoever has a mailbox has their own words before it, or their own voice, which the tone follows at once; if that can not
/// be played, the box says what it always says.
#[test]
fn a_mailbox_has_its_own_greeting() {
    let check = |greeting, opening, models, expected: Expect| {
        let settings = Settings { opening, message_greeting: Some(greeting), ..Settings::default() };
        check_flow(settings, models, &[Listen, Listen, HangUp], expected);
    };
    let text = MessageGreeting::Text("This is Anna Weber.".into());
    check(
        text,
        Opening::MessageForCallee,
        Models::default(),
        expect![[r#"
        seconds  who    what
           0.00  us     This is Anna Weber. | Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
           8.46  us     (beep)
           9.96  caller hangs up
           9.96         recording ended: Stopped
    "#]],
    );
    check(
        MessageGreeting::Recorded,
        Opening::Message,
        Models::default(),
        expect![[r#"
        seconds  who    what
           0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
           4.26  us     (plays: Greeting)
           7.32  us     (beep)
           8.82  caller hangs up
           8.82         recording ended: Stopped
    "#]],
    );
    let unreadable = Models { messages_unreadable: true, ..Models::default() };
    check(
        MessageGreeting::Recorded,
        Opening::MessageForCallee,
        unreadable,
        expect![[r#"
        seconds  who    what
           0.00         Greeting cannot be read
           0.02  us     I am sorry, nobody can take your call right now. | Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
          10.28  us     (beep)
          11.78  caller hangs up
          11.78         recording ended: Stopped
    "#]],
    );
}

/// Where callers are to leave a message, nothing is asked before the tone.
#[test]
fn voicemail_asks_for_a_message_at_once() {
    let voicemail = Settings { opening: Opening::Message, ..Settings::default() };
    check_flow(
        voicemail,
        Models::default(),
        &[Wait(16_000), HangUp],
        expect![[r#"
        seconds  who    what
           0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. | I am sorry, nobody can take your call right now. | Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
          14.46  us     (beep)
          16.00  caller hangs up
          16.00         recording ended: Stopped
    "#]],
    );
}

/// Speech without words is asked about, noise is not.
#[test]
fn speech_without_words_is_asked_about_and_noise_is_not() {
    check(
        &[Listen, Say("", 220), Wait(1000), Say("", 900), Listen, Say("", 900), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller ""
               6.18         transcribe? 0
               7.04  caller ""
               8.08         transcribe? 1
               8.44  us     Sorry, I did not catch that.
              10.30  caller ""
              11.34         transcribe? 2
              11.70  us     Sorry, I did not catch that. | Would you like to leave a message?
              15.66  caller hangs up
        "#]],
    );
}

/// A greeting that cannot be made is tried again, then a message is taken.
#[test]
fn a_dead_voice_ends_in_a_message() {
    let models = Models { sound_ms: 1_000_000, ..Models::default() };
    check_flow(
        Settings::default(),
        models,
        &[Wait(8_000), Say("Call Anna.", 2000), Wait(6_000)],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               2.50  us     ~ stopped
               2.50  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               5.00  us     ~ stopped
               5.00  us     (beep)
               8.00  caller "Call Anna."
              14.00         recording ended: Silence
              14.04         message sent
              14.04  us     (beep)
              14.04  us     hangs up: message_taken Success
        "#]],
    );
}

/// Nobody talks forever.
#[test]
fn a_call_has_a_longest_length() {
    let settings = Settings { max_call: Duration::from_secs(12), ..Settings::default() };
    check_flow(
        settings,
        Models::default(),
        &[Listen, Say("Where are you?", 900), Wait(30_000)],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.12  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
              12.00  us     ~ stopped
              12.02  us     I am sorry, I have to end our call now. Thank you for calling. Goodbye. (firm)
              16.58  turn   1 address [office.address] gap 460 ms interrupted
              16.58         heard: "You find us at 48 River Street, Brooklyn, New York 11201. We…"
              16.58  us     hangs up: call_limit CallerError
        "#]],
    );
}

/// The caller gives up in the middle of an answer: the turn is still recorded.
#[test]
fn hanging_up_in_an_answer_keeps_the_turn() {
    check(
        &[Listen, Say("Where are you?", 900), UntilWeSpeak, Wait(500), HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Where are you?"
               6.86         transcribe? 0
               7.12  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
               7.68  caller hangs up
               7.68  turn   1 address [office.address] gap 460 ms interrupted
               7.68         heard: ""
        "#]],
    );
}

/// Who knows what they want says it during the disclosure: the disclosure ends, the greeting is left out.
#[test]
fn a_question_during_the_disclosure_skips_the_greeting() {
    check(
        &[Wait(1_000), Say("Where are you?", 900), Wait(2_500), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               1.00  caller "Where are you?"
               2.04         transcribe? 0
               4.26  us     You find us at 48 River Street, | Brooklyn, New York 11201. | We are next to the public library, two minutes on foot from the York Street subway station.
              13.92  turn   1 address [office.address] gap 2420 ms
              13.92  caller hangs up
        "#]],
    );
}

/// Noise that sounds like speech stops our voice, and the answer goes on.
#[test]
fn noise_over_an_answer_resumes_it() {
    check(
        &[Listen, Say("Do you have parking?", 900), UntilWeSpeak, Wait(1500), Say("", 500), Wait(1000), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Do you have parking?"
               6.86         transcribe? 0
               7.12  us     Yes, there is parking. | We have six free spaces behind the building.
               8.68  caller ""
               8.74  us     ~ ducked
               8.76  us     ~ held
               8.84  us     ~ stopped
               9.32         transcribe? 1
               9.68  us     [from 19 %] We have six free spaces behind the building.
              12.14  turn   1 question [passage-1] gap 460 ms
              12.14  caller hangs up
        "#]],
    );
}

/// "Would you like to leave a message?" "Yes."
#[test]
fn yes_to_an_offer_takes_the_message() {
    check(
        &[Listen, Say("Do you sell bicycles?", 1200), Listen, Say("Yes, please.", 500), Listen, HangUp],
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "Do you sell bicycles?"
               7.16         transcribe? 0
               7.42  us     I am sorry, I don't have that information. | Would you like to leave a message?
              11.98  turn   1 question [] gap 460 ms
              11.98  caller "Yes, please."
              12.62         transcribe? 1
              12.80  us     Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              20.06  turn   2 leave_message [] gap 380 ms
              20.06  us     (beep)
              20.06  caller hangs up
              20.06         recording ended: Stopped
        "#]],
    );
}

/// The longest call ends while a message is recorded: the message is kept and confirmed, then the call ends.
#[test]
fn the_longest_call_keeps_the_message() {
    let settings = Settings { max_call: Duration::from_secs(16), ..Settings::default() };
    let acts =
        [Listen, Say("I want to leave a message.", 1200), Listen, Say("This is Anna, please call me.", 4000), Listen];
    check_flow(
        settings,
        Models::default(),
        &acts,
        expect![[r#"
            seconds  who    what
               0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
               4.26  us     How can I help you?
               5.82  caller "I want to leave a message."
               7.16         transcribe? 0
               7.42  us     Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
              14.68  turn   1 leave_message [] gap 460 ms
              14.68  us     (beep)
              14.68  caller "This is Anna, please call me."
              16.00         recording ended: Stopped
              16.04         message sent
              16.04  us     Thank you. Your message is saved. Its reference is 4 7 2 1. | Thank you for calling. Goodbye. (firm)
              21.50  us     hangs up: call_limit CallerError
        "#]],
    );
}

/// Somebody of the office wants the caller, in the middle of an answer and of a message: what was said until then is kept.
#[test]
fn a_caller_is_taken_over_whatever_is_said() {
    check(
        &[Listen, Say("Do you have parking?", 1100), UntilWeSpeak, Wait(500), TakenOver],
        expect![[r#"
        seconds  who    what
           0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
           4.26  us     How can I help you?
           5.82  caller "Do you have parking?"
           7.06         transcribe? 0
           7.32  us     Yes, there is parking. | We have six free spaces behind the building.
           7.88  desk   takes the caller
           7.88  turn   1 question [passage-1] gap 460 ms interrupted
           7.88         heard: ""
    "#]],
    );
    check(
        &[Listen, Press('1'), Listen, Say("This is Anna.", 2000), TakenOver],
        expect![[r#"
        seconds  who    what
           0.00  us     Thank you for calling Riverside Dental Practice. You are speaking with an automatic assistant. (firm)
           4.26  us     How can I help you?
           5.82  caller presses 1
           5.82  us     Please leave your name, your number and your message after the tone. | When you are done, press the hash key or just stop speaking. (firm)
          13.08  us     (beep)
          13.08  caller "This is Anna."
          15.08  desk   takes the caller
          15.08         recording ended: Stopped
    "#]],
    );
}
