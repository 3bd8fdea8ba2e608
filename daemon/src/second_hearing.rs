//! What callers said, heard once more when nobody calls, by the recogniser that is too slow for a call: the rows of their
//! turns get the better words, and keep those that the answer was given to.
//!
//! Best effort: only in memory, bounded by [`HELD_LIMIT_BYTES`], gone with the process. What the words led to is not done
//! again, since the caller has heard the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::call::{CallsUp, Ears};
use crate::conversation::machine::Heard;
use crate::conversation::words;
use crate::inference::{Priority, Queue};
use crate::redact::Redacted;
use crate::storage::{Storage, TurnId, UnixMs, correct_turn};

/// Sound that waits to be heard: eight minutes of speech.
const HELD_LIMIT_BYTES: usize = 8 << 20;
/// The recogniser must be surer than this, 0 to 1, to be believed more than the one of the call.
const SURE: f32 = 0.8;

/// Something a caller said.
pub(crate) struct Utterance {
    /// The turn it was.
    pub(crate) turn_id: TurnId,
    /// What was understood in the call.
    pub(crate) text: Redacted<String>,
    /// 8 kHz.
    pub(crate) samples: Vec<i16>,
}

/// Takes utterances in; cheap to clone.
#[derive(Clone)]
pub(crate) struct SecondHearing {
    waiting: mpsc::UnboundedSender<Utterance>,
    held_bytes: Arc<AtomicUsize>,
}

impl SecondHearing {
    /// Hears what it is given, until the task is aborted.
    pub(crate) fn start(ears: Queue<Ears>, storage: Storage, up: CallsUp) -> (SecondHearing, JoinHandle<()>) {
        let (waiting, utterances) = mpsc::unbounded_channel();
        let held_bytes = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(listen(utterances, Arc::clone(&held_bytes), ears, storage, up));
        (SecondHearing { waiting, held_bytes }, task)
    }

    /// Keeps the utterance until it can be heard, unless too much waits already.
    pub(crate) fn take(&self, utterance: Utterance) {
        let bytes = size_of_val(&*utterance.samples);
        let held = self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        if held + bytes > HELD_LIMIT_BYTES || self.waiting.send(utterance).is_err() {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
            debug!("An utterance is not heard again: too many wait");
        }
    }
}

async fn listen(
    mut utterances: mpsc::UnboundedReceiver<Utterance>,
    held_bytes: Arc<AtomicUsize>,
    ears: Queue<Ears>,
    storage: Storage,
    up: CallsUp,
) {
    while let Some(Utterance { turn_id, text, samples }) = utterances.recv().await {
        up.until_none().await;
        let bytes = size_of_val(&*samples);
        let (told, words) = oneshot::channel();
        let submitted = ears.submit(Priority::Background, move |ears| {
            let _ = told.send(ears.transcribe(samples, <_>::default()));
        });
        held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let heard = match (submitted, words.await) {
            (Ok(()), Ok(Ok(heard))) => heard,
            (Ok(()), Ok(Err(_)) | Err(_)) | (Err(_), _) => {
                debug!(%turn_id, "Not heard again");
                continue;
            }
        };
        if is_better(text.reveal(), &heard) {
            let (at, confidence, text) = (UnixMs::now(), f64::from(heard.confidence), Redacted::new(heard.text));
            let written = storage.write(move |sql_tx| correct_turn(sql_tx, turn_id, &text, confidence, at)).await;
            match written {
                Ok(()) => info!(%turn_id, "Heard again, in other words"),
                Err(error) => warn!(%turn_id, %error, "What was heard again is not kept"),
            }
        }
        if utterances.is_empty() {
            // What is not given back now is given back the next time.
            let _ = ears.submit(Priority::Background, Ears::rest);
        }
    }
}

/// Whether the words differ, punctuation aside, and were heard well.
fn is_better(text: &str, heard: &Heard) -> bool {
    let again = words(&heard.text);
    !again.is_empty() && heard.confidence >= SURE && again != words(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use models::{SpeechToText, SttError, TranscribeOptions, Transcript};

    use super::*;
    use crate::inference::Worker;
    use crate::storage::{
        CallId, ConversationTurn, Direction, NewSession, PeerAddressKind, Speaker, StorageConfig, insert_session,
        insert_turn, turns_of,
    };

    /// Says how many samples of 16 kHz it heard, in whole seconds.
    struct Counter;

    impl SpeechToText for Counter {
        fn transcribe(&mut self, samples: &[f32], _: &TranscribeOptions) -> Result<Transcript, SttError> {
            let text = format!("I heard {} seconds.", samples.len() / 16_000);
            let [audio, decode] = [Duration::ZERO; 2];
            Ok(Transcript { text, confidence: 0.9, no_speech: 0.0, audio, decode, rejected: None })
        }

        fn model(&self) -> &str {
            "counter"
        }
    }

    #[tokio::test]
    async fn turns_get_the_words_that_were_heard_again_and_keep_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let worker = Worker::start("scribe", || Ears::new(Some(Box::new(Counter)))).unwrap();
        let (hearing, task) = SecondHearing::start(worker.queue(), storage.clone(), CallsUp::default());
        let call_id = CallId::new(UnixMs(1));
        let session = NewSession {
            call_id,
            direction: Direction::Inbound,
            trunk: "direct".into(),
            peer_address_kind: PeerAddressKind::Loopback,
            caller_id: None,
            called: None,
            sip_call_id: "heard-again".into(),
            started_at: UnixMs(1),
        };
        storage.write(move |sql_tx| insert_session(sql_tx, &session)).await.unwrap();
        let turn = |index, text: &str| ConversationTurn::new(call_id, index, Speaker::Caller, text, UnixMs(1));
        for (turn, seconds) in [(turn(0, "Eyes heard to seconds."), 2), (turn(1, "i heard 3 seconds"), 3)] {
            let utterance =
                Utterance { turn_id: turn.turn_id, text: turn.text.clone(), samples: vec![1_000; seconds * 8_000] };
            storage.write(move |sql_tx| insert_turn(sql_tx, &turn)).await.unwrap();
            hearing.take(utterance);
        }
        // More than is held is not even kept.
        hearing.take(Utterance {
            turn_id: TurnId::new(UnixMs(2)),
            text: Redacted::default(),
            samples: vec![0; HELD_LIMIT_BYTES / 2 + 1],
        });
        // Nobody is left who could give it more: it ends when it has heard everything.
        let held_bytes = Arc::clone(&hearing.held_bytes);
        drop(hearing);
        task.await.unwrap();
        assert_eq!(held_bytes.load(Ordering::Relaxed), 0);
        let turns = storage.read(move |db| turns_of(db, call_id)).await.unwrap();
        let kept: Vec<_> = turns
            .iter()
            .map(|turn| (turn.text.reveal().as_str(), turn.first_text.as_ref().map(Redacted::reveal)))
            .collect();
        let first = "Eyes heard to seconds.".to_owned();
        assert_eq!(kept, [("I heard 2 seconds.", Some(&first)), ("i heard 3 seconds", None)]);
        assert_eq!(turns[0].confidence, Some(f64::from(0.9_f32)));
    }
}
