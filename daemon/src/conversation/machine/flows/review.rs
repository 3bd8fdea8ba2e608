//! What becomes of a message that is recorded: heard, said again, marked urgent, sent, or left alone.

use super::*;

fn check_review(models: Models, after: &[Act], expected: Expect) {
    let acts = [&[Listen, Press('1'), Listen, Say("Call Anna.", 2000), Press('#'), Listen], after].concat();
    let mut driver = Driver::new(Settings::default(), models);
    driver.input(Input::Answered);
    for act in &acts {
        if !driver.gone {
            driver.perform(act);
        }
    }
    assert!(driver.conversation.ending().is_some(), "the call did not end:\n{}", driver.ladder);
    // Until the first message is recorded nothing is new.
    let (_, ladder) = driver.ladder.split_once("recording ended: Stopped\n").expect("a message");
    expected.assert_eq(&format!("seconds  who    what\n{ladder}"));
}

/// It is heard, found wanting, said again and sent: the reference comes last, and the talk goes on.
#[test]
fn a_message_is_heard_and_recorded_again() {
    check_review(
        Models::default(),
        &[
            Press('1'),
            Listen,
            Listen,
            Press('2'),
            Listen,
            Say("Call Anna at home.", 2000),
            Press('#'),
            Listen,
            Press('#'),
            Listen,
            HangUp,
        ],
        expect![[r#"
            seconds  who    what
              15.12  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              23.88  caller presses 1
              23.88  us     (plays: Message)
              26.94  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              37.20  caller presses 2
              37.20  us     Please speak after the tone. (firm)
              38.76  us     (beep)
              38.76  caller "Call Anna at home."
              40.76  caller presses #
              40.76         recording ended: Stopped
              40.80  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              49.56  caller presses #
              49.56         message sent
              49.56  us     Thank you. Your message is saved. Its reference is 4 7 2 1. | Is there anything else I can help you with?
              56.22  caller hangs up
        "#]],
    );
}

/// A key acts at once, over the menu and over the message, and one that means nothing brings the menu again.
#[test]
fn keys_of_the_review_act_at_once() {
    check_review(
        Models::default(),
        &[
            Press('1'),
            UntilWeSpeak,
            Wait(1_000),
            Press('3'),
            UntilWeSpeak,
            Wait(1_000),
            Press('7'),
            UntilWeSpeak,
            Press('#'),
            Listen,
            HangUp,
        ],
        expect![[r#"
            seconds  who    what
              15.12  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              23.88  caller presses 1
              23.88  us     (plays: Message)
              24.94  caller presses 3
              24.94  us     ~ stopped
              24.94         marked as urgent
              24.96  us     It is marked as urgent. | To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              26.02  caller presses 7
              26.02  us     ~ stopped
              26.04  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              26.10  caller presses #
              26.10  us     ~ stopped
              26.10         message sent
              26.12  us     Thank you. Your message is saved. Its reference is 4 7 2 1. | Is there anything else I can help you with?
              32.78  caller hangs up
        "#]],
    );
}

/// Whoever presses nothing has said what they wanted: the message is sent.
#[test]
fn no_key_sends_the_message() {
    check_review(
        Models::default(),
        &[Wait(6_000), Listen, HangUp],
        expect![[r#"
        seconds  who    what
          15.12  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
          27.88         message sent
          27.88  us     Thank you. Your message is saved. Its reference is 4 7 2 1. | Is there anything else I can help you with?
          34.54  caller hangs up
    "#]],
    );
}

/// Of silence after the second tone, the first one is kept.
#[test]
fn an_empty_second_recording_keeps_the_first() {
    check_review(
        Models::default(),
        &[Press('3'), Listen, Press('2'), Listen, Wait(6_000), Listen, HangUp],
        expect![[r#"
            seconds  who    what
              15.12  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              23.88  caller presses 3
              23.88         marked as urgent
              23.88  us     It is marked as urgent. | To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
              34.14  caller presses 2
              34.14  us     Please speak after the tone. (firm)
              35.70  us     (beep)
              39.68         recording ended: Silence
              39.72         message sent
              39.72  us     I did not get a new message, so your first one is kept. | Thank you. Your message is saved. Its reference is 4 7 2 1. | Is there anything else I can help you with?
              50.28  caller hangs up
        "#]],
    );
}

/// What cannot be played is safe all the same.
#[test]
fn a_message_that_cannot_be_played_is_sent() {
    let models = Models { messages_unreadable: true, ..Models::default() };
    check_review(
        models,
        &[Press('1'), Listen, Press('#'), Listen, HangUp],
        expect![[r#"
        seconds  who    what
          15.12  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
          23.88  caller presses 1
          23.88         Message cannot be read
          23.90  us     I am sorry, I can not play it.
          26.36  us     To send your message, press the hash key or just hang up. Press 1 to hear it, 2 to record it again, or 3 to mark it as urgent.
          35.12  caller presses #
          35.12         message sent
          35.12  us     Thank you. Your message is saved. Its reference is 4 7 2 1. | Is there anything else I can help you with?
          41.78  caller hangs up
    "#]],
    );
}
