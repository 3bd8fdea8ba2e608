//! A call kept as sound: both sides beside each other, on disk as it happens.
//!
//! ```text
//! caller's frames ─┐
//!                  ├► pairs of one tick ─► blocks ─► recordings/partial/….part ─► row when it is over
//! the other's ─────┘
//! ```
//! A killed process loses less than the last second ([`AudioFiles`](crate::storage::AudioFiles)). Keys are not heard in it:
//! they travel beside the sound. While it is paused, silence is kept, so that times stay right.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use audio::{Frame, SILENT_FRAME};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::services::Services;
use super::to_disk::{Blocks, ToDisk, on_disk, record, to_disk};
use crate::storage::{
    AudioFiles, CallId, NewAudio, RecordingId, RecordingKind, Storage, StorageError, UnixMs, insert_recording,
};

/// Frames one side may be ahead of the other before that one counts as silent: its leg is being exchanged.
const SKEW_LIMIT: usize = 10;
/// Keys of a code follow each other within this time.
const KEY_INTERVAL: Duration = Duration::from_secs(3);

/// Whose sound it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// The one who called.
    Caller = 0,
    /// Whoever talks with them.
    Other = 1,
}

/// See the module. Dropped, it is kept in the background.
pub(super) struct Recorder {
    pairs: ToDisk,
    kept: oneshot::Receiver<()>,
    waiting: [VecDeque<Frame>; 2],
    is_paused: bool,
    keys: Keys,
}

impl Recorder {
    /// Begins to record.
    pub(super) fn start(services: &Services, call_id: CallId) -> Recorder {
        let (pairs, blocks) = to_disk(RecordingKind::Call);
        let (done, kept) = oneshot::channel();
        let (storage, files) = (services.storage.clone(), services.audio_files.clone());
        tokio::spawn(async move {
            if let Err(error) = write(&storage, files, call_id, blocks).await {
                warn!(%error, "Recording not kept; the next start tries again");
            }
            // Nobody waits if the call's task has ended badly.
            let _ = done.send(());
        });
        info!("Recording");
        let keys = Keys::new(&services.config.recording.pause_code);
        Recorder { pairs, kept, waiting: Default::default(), is_paused: false, keys }
    }

    /// The next frame of a side.
    pub(super) fn push(&mut self, channel: Channel, frame: Frame) {
        self.waiting[channel as usize].push_back(frame);
        while let Some(pair) = self.next_pair() {
            let [caller, other] = if self.is_paused { [SILENT_FRAME; 2] } else { pair };
            self.pairs.push(caller.into_iter().zip(other).flat_map(<[i16; 2]>::from));
        }
    }

    fn next_pair(&mut self) -> Option<[Frame; 2]> {
        let [caller, other] = &mut self.waiting;
        let is_late = caller.len().max(other.len()) > SKEW_LIMIT;
        match (caller.is_empty(), other.is_empty()) {
            (true, true) => None,
            (false, false) => Some([caller.pop_front()?, other.pop_front()?]),
            (_, _) if !is_late => None,
            (false, true) => Some([caller.pop_front()?, SILENT_FRAME]),
            (true, false) => Some([SILENT_FRAME, other.pop_front()?]),
        }
    }

    /// An extension has pressed a key; whether the recording is paused or goes on by that.
    pub(super) fn press(&mut self, key: char, now: Instant) -> bool {
        let is_code = self.keys.press(key, now);
        if is_code {
            self.is_paused = !self.is_paused;
            info!(paused = self.is_paused, "Recording");
        }
        is_code
    }

    /// Ends it and waits until it is on disk.
    pub(super) async fn finish(self) {
        drop(self.pairs);
        // Gone only if the writer has ended badly, which it has said.
        let _ = self.kept.await;
    }
}

/// A code that is pressed among other keys.
#[derive(Debug)]
struct Keys {
    code: Vec<char>,
    pressed: VecDeque<char>,
    last: Option<Instant>,
}

impl Keys {
    fn new(code: &str) -> Keys {
        Keys { code: code.chars().collect(), pressed: VecDeque::new(), last: None }
    }

    fn press(&mut self, key: char, now: Instant) -> bool {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > KEY_INTERVAL) {
            self.pressed.clear();
        }
        self.last = Some(now);
        self.pressed.push_back(key);
        while self.pressed.len() > self.code.len() {
            self.pressed.pop_front();
        }
        let is_code = !self.code.is_empty() && self.pressed.iter().eq(&self.code);
        if is_code {
            self.pressed.clear();
        }
        is_code
    }
}

async fn write(storage: &Storage, files: AudioFiles, call_id: CallId, blocks: Blocks) -> Result<(), StorageError> {
    let now = UnixMs::now();
    let (recording_id, kind) = (RecordingId::new(now), RecordingKind::Call);
    let audio = NewAudio { recording_id, call_id, kind, started_at: now };
    let Some(partial) = record(files, audio, blocks).await? else { return Ok(()) };
    let finished = on_disk(move || partial.finish(UnixMs::now())).await?;
    let recording = finished.recording.clone();
    storage.write(move |sql_tx| insert_recording(sql_tx, &recording)).await?;
    info!(seconds = finished.recording.duration_ms / 1_000, "Recording kept");
    on_disk(move || {
        finished.registered();
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOUD: Frame = [1_000; SILENT_FRAME.len()];

    fn recorder() -> (Recorder, Blocks) {
        let (pairs, blocks) = to_disk(RecordingKind::Call);
        let kept = oneshot::channel().1;
        let (waiting, keys) = (Default::default(), Keys::new("*1"));
        (Recorder { pairs, kept, waiting, is_paused: false, keys }, blocks)
    }

    /// What goes to disk, as the first sample of each frame of both sides.
    fn recorded(recorder: Recorder, mut blocks: Blocks) -> Vec<[i16; 2]> {
        drop(recorder);
        let samples: Vec<i16> = std::iter::from_fn(|| blocks.try_recv().ok()).flatten().collect();
        samples.chunks(2 * SILENT_FRAME.len()).map(|pair| [pair[0], pair[1]]).collect()
    }

    #[test]
    fn both_sides_stand_beside_each_other_and_a_missing_one_is_silent() {
        let (mut one, blocks) = recorder();
        one.push(Channel::Caller, LOUD);
        assert!(recorded(one, blocks).is_empty(), "the other side of the tick is still to come");
        let (mut both, blocks) = recorder();
        both.push(Channel::Caller, LOUD);
        both.push(Channel::Other, SILENT_FRAME);
        (0..=SKEW_LIMIT).for_each(|_| both.push(Channel::Other, LOUD));
        assert_eq!(recorded(both, blocks), [[1_000, 0], [0, 1_000]]);
    }

    #[test]
    fn a_paused_recording_keeps_silence_until_the_code_comes_again() {
        let (mut recorder, blocks) = recorder();
        let now = Instant::now();
        assert!(!recorder.press('*', now) && !recorder.press('1', now + KEY_INTERVAL * 2), "too slow for a code");
        assert!(!recorder.press('*', now + KEY_INTERVAL * 2) && recorder.press('1', now + KEY_INTERVAL * 3));
        recorder.push(Channel::Caller, LOUD);
        recorder.push(Channel::Other, LOUD);
        assert!(!recorder.press('*', now + KEY_INTERVAL * 3) && recorder.press('1', now + KEY_INTERVAL * 3));
        recorder.push(Channel::Caller, LOUD);
        recorder.push(Channel::Other, LOUD);
        assert_eq!(recorded(recorder, blocks), [[0; 2], [1_000; 2]]);
    }
}
