//! What both sides of a call say, beside each other: for the recording and for whoever listens.
//!
//! ```text
//! caller's frames ─┐                   ┌► Recorder, if it is recorded
//!                  ├► pairs of one tick ┤
//! the other's ─────┘                   └► Outlet, if somebody listens
//! ```
//! The media thread tells frames only while somebody wants them. Keys are not heard in them: they travel beside the sound.
//! While it is paused both get silence, so that times stay right and what is not to be kept is not heard elsewhere either.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use audio::{Frame, SILENT_FRAME};
use tracing::info;

use super::leg::Leg;
use super::recorder::Recorder;
use super::services::Services;
use super::up::{Moment, Outlet, Words};
use crate::storage::CallId;

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

/// See the module. Dropped, the recording is kept in the background.
pub(super) struct Tap {
    waiting: [VecDeque<Frame>; 2],
    recorder: Option<Recorder>,
    outlet: Option<Outlet>,
    is_paused: bool,
    keys: Keys,
}

impl Tap {
    /// For the part of a call that begins now; nothing is recorded yet.
    pub(super) fn new(services: &Services, call_id: CallId) -> Tap {
        Tap::with(services.up.outlet(call_id), &services.config.recording.pause_code)
    }

    fn with(outlet: Option<Outlet>, pause_code: &str) -> Tap {
        Tap { waiting: Default::default(), recorder: None, outlet, is_paused: false, keys: Keys::new(pause_code) }
    }

    /// Begins to record.
    pub(super) fn record(&mut self, services: &Services, call_id: CallId) {
        self.recorder = Some(Recorder::start(services, call_id));
    }

    fn is_wanted(&self) -> bool {
        self.recorder.is_some() || self.is_heard()
    }

    /// Whether anybody listens now.
    pub(super) fn is_heard(&self) -> bool {
        self.outlet.as_ref().is_some_and(Outlet::is_heard)
    }

    /// What was said, for those who listen; nothing while it is paused.
    pub(super) fn tell_words(&self, words: Words) {
        if let Some(outlet) = self.outlet.as_ref().filter(|_| !self.is_paused) {
            outlet.tell_words(words);
        }
    }

    /// Has a leg tell its frames, or not any more, as they are wanted now.
    pub(super) fn follow(&self, leg: &Leg) {
        leg.command(|media, _| media.tap(self.is_wanted()));
    }

    /// Returns when [`follow`](Tap::follow) is due.
    pub(super) async fn changed(&mut self) {
        match &mut self.outlet {
            Some(outlet) => outlet.changed().await,
            None => std::future::pending().await,
        }
    }

    /// The next frame of a side. While nobody wants them none is kept: the two sides would begin apart.
    pub(super) fn push(&mut self, channel: Channel, frame: Frame) {
        if !self.is_wanted() {
            self.waiting.iter_mut().for_each(VecDeque::clear);
            return;
        }
        self.waiting[channel as usize].push_back(frame);
        while let Some(pair) = self.next_pair() {
            let pair = if self.is_paused { [SILENT_FRAME; 2] } else { pair };
            if let Some(recorder) = &mut self.recorder {
                recorder.push(pair);
            }
            if let Some(outlet) = &self.outlet {
                outlet.tell(pair);
            }
        }
    }

    fn next_pair(&mut self) -> Option<Moment> {
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

    /// An extension has pressed a key; whether it is paused or goes on by that.
    pub(super) fn press(&mut self, key: char, now: Instant) -> bool {
        let is_code = self.is_wanted() && self.keys.press(key, now);
        if is_code {
            self.is_paused = !self.is_paused;
            info!(paused = self.is_paused, "Recording");
        }
        is_code
    }

    /// Ends the recording, if there is one, and waits until it is on disk.
    pub(super) async fn finish_recording(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish().await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::up::tests::one_call;
    use crate::call::up::{CallsUp, Entry, Heard, Listening};

    const LOUD: Frame = [1_000; SILENT_FRAME.len()];

    fn tapped() -> (Tap, Listening, (CallsUp, Entry)) {
        let (calls, entry, outlet) = one_call();
        let call_id = calls.list()[0].call_id;
        let listening = calls.listen(&call_id.to_string()).unwrap();
        (Tap::with(Some(outlet), "*1"), listening, (calls, entry))
    }

    /// What was heard, as the first sample of each frame of both sides.
    async fn heard(tap: Tap, mut listening: Listening, up: (CallsUp, Entry)) -> Vec<[i16; 2]> {
        drop((tap, up));
        let mut all = Vec::new();
        while let Heard::Moment(moment) = listening.next().await {
            all.push([moment[0][0], moment[1][0]]);
        }
        all
    }

    #[tokio::test]
    async fn both_sides_stand_beside_each_other_and_a_missing_one_is_silent() {
        let (mut one, listening, up) = tapped();
        one.push(Channel::Caller, LOUD);
        assert!(heard(one, listening, up).await.is_empty(), "the other side of the tick is still to come");
        let (mut both, listening, up) = tapped();
        both.push(Channel::Caller, LOUD);
        both.push(Channel::Other, SILENT_FRAME);
        (0..=SKEW_LIMIT).for_each(|_| both.push(Channel::Other, LOUD));
        assert_eq!(heard(both, listening, up).await, [[1_000, 0], [0, 1_000]]);
    }

    #[tokio::test]
    async fn what_was_said_before_somebody_listens_puts_nothing_out_of_step() {
        let (calls, entry, outlet) = one_call();
        let mut tap = Tap::with(Some(outlet), "*1");
        (0..5).for_each(|_| tap.push(Channel::Caller, [7; SILENT_FRAME.len()]));
        let listening = calls.listen(&calls.list()[0].call_id.to_string()).unwrap();
        tap.push(Channel::Caller, LOUD);
        tap.push(Channel::Other, LOUD);
        assert_eq!(heard(tap, listening, (calls, entry)).await, [[1_000; 2]]);
    }

    #[tokio::test]
    async fn while_it_is_paused_there_is_silence_until_the_code_comes_again() {
        let (mut tap, listening, up) = tapped();
        let now = Instant::now();
        assert!(!tap.press('*', now) && !tap.press('1', now + KEY_INTERVAL * 2), "too slow for a code");
        assert!(!tap.press('*', now + KEY_INTERVAL * 2) && tap.press('1', now + KEY_INTERVAL * 3));
        tap.push(Channel::Caller, LOUD);
        tap.push(Channel::Other, LOUD);
        assert!(!tap.press('*', now + KEY_INTERVAL * 3) && tap.press('1', now + KEY_INTERVAL * 3));
        tap.push(Channel::Caller, LOUD);
        tap.push(Channel::Other, LOUD);
        assert_eq!(heard(tap, listening, up).await, [[0; 2], [1_000; 2]]);
    }

    #[test]
    fn keys_mean_nothing_to_a_call_that_nobody_taps() {
        let (_calls, _entry, outlet) = one_call();
        let (mut tap, now) = (Tap::with(Some(outlet), "*1"), Instant::now());
        assert!(!tap.is_wanted() && !tap.press('*', now) && !tap.press('1', now));
    }
}
