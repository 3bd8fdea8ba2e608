//! When the test caller speaks, and how long it waited: a pure machine fed with the levels of what it hears.
//!
//! It listens until the other side has finished, says its next line, and measures the silence until the answer begins
//! (the *heard gap*). It knows nothing of words: loudness and time are all a caller's ear needs for this.

use std::time::{Duration, Instant};

/// Louder than this counts as voice, in dBov. Line noise and comfort noise stay below −50.
const VOICE_LEVEL_DBOV: f32 = -42.0;
/// Loud frames in a row that make voice, so that a click is not taken for an answer: 60 ms.
const VOICE_FRAMES: u32 = 3;
/// One frame.
const FRAME: Duration = Duration::from_millis(20);

/// How patient the caller is.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Silence after the other side's voice that means it has finished. Longer than a pause between its sentences.
    pub turn_end: Duration,
    /// Silence after our own line before we go on without an answer.
    pub no_answer: Duration,
    /// After the last line: how long we listen before hanging up ourselves.
    pub farewell: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            turn_end: Duration::from_millis(1_300),
            no_answer: Duration::from_secs(12),
            farewell: Duration::from_secs(12),
        }
    }
}

/// When a line is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cue {
    /// Once the other side has finished.
    AfterAnswer,
    /// While the other side speaks, this long after it began: an interruption.
    DuringAnswer(Duration),
}

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Say the line of this index.
    Say(usize),
    /// Everything was said and heard.
    HangUp,
}

/// What was measured around one of our lines; index 0 is the greeting, before any line of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeardTurn {
    /// From our last voiced sample to the other side's first; `None`: no answer.
    pub gap: Option<Duration>,
    /// From the first to the last voice of the answer.
    pub answer: Duration,
    /// If we cut in on the answer: from our first word to the other side's last sound; `None` if it did not stop.
    pub fell_silent_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting for the other side to begin.
    AwaitingVoice {
        since: Instant,
    },
    /// It speaks, or paused only just now.
    Listening {
        began: Instant,
        last_voice: Instant,
    },
    /// We speak.
    Speaking,
    /// We speak over the other side.
    CuttingIn {
        since: Instant,
        last_voice: Instant,
    },
    Done,
}

/// The caller's ear and sense of timing.
#[derive(Debug)]
pub struct TurnTaker {
    patience: Patience,
    cues: Vec<Cue>,
    next_line: usize,
    state: State,
    loud_frames: u32,
    turns: Vec<HeardTurn>,
}

impl TurnTaker {
    /// A caller with one line to say for each of `cues`, whose call was answered at `now`.
    pub fn new(cues: Vec<Cue>, patience: Patience, now: Instant) -> TurnTaker {
        let state = State::AwaitingVoice { since: now };
        TurnTaker { patience, cues, next_line: 0, state, loud_frames: 0, turns: vec![HeardTurn::default()] }
    }

    /// One received frame's level; `now` is when it was heard.
    pub fn handle_level(&mut self, level_dbov: f32, now: Instant) -> Option<Action> {
        self.loud_frames = if level_dbov > VOICE_LEVEL_DBOV { self.loud_frames + 1 } else { 0 };
        let voice = self.loud_frames >= VOICE_FRAMES;
        match self.state {
            State::AwaitingVoice { since } if voice => {
                let began = now - FRAME * (VOICE_FRAMES - 1);
                if let Some(turn) = self.turns.last_mut() {
                    turn.gap = Some(began.saturating_duration_since(since));
                }
                self.state = State::Listening { began, last_voice: now };
                None
            }
            State::AwaitingVoice { since } => (now - since >= self.patience_without_voice()).then(|| self.go_on()),
            State::Listening { began, .. } if voice => {
                self.state = State::Listening { began, last_voice: now };
                match self.cues.get(self.next_line) {
                    Some(Cue::DuringAnswer(after)) if now - began >= *after => Some(self.cut_in(began, now)),
                    Some(Cue::DuringAnswer(_) | Cue::AfterAnswer) | None => None,
                }
            }
            State::CuttingIn { since, .. } if voice => {
                self.state = State::CuttingIn { since, last_voice: now };
                None
            }
            State::Listening { began, last_voice } => {
                let ended = now - last_voice >= self.patience.turn_end;
                if ended && let Some(turn) = self.turns.last_mut() {
                    turn.answer = last_voice - began;
                }
                ended.then(|| self.go_on())
            }
            State::Speaking | State::CuttingIn { .. } | State::Done => None,
        }
    }

    /// The last voiced sample of our line left at `now`.
    pub fn handle_line_said(&mut self, now: Instant) {
        if let State::CuttingIn { since, last_voice } = self.state
            && now - last_voice > FRAME * VOICE_FRAMES
            && let Some(turn) = self.turns.last_mut()
        {
            turn.fell_silent_after = Some(last_voice.saturating_duration_since(since));
        }
        if matches!(self.state, State::Speaking | State::CuttingIn { .. }) {
            self.turns.push(HeardTurn::default());
            self.loud_frames = 0;
            self.state = State::AwaitingVoice { since: now };
        }
    }

    /// What was heard so far: the greeting, then one entry a line said.
    pub fn turns(&self) -> &[HeardTurn] {
        &self.turns
    }

    fn patience_without_voice(&self) -> Duration {
        if self.next_line == self.cues.len() { self.patience.farewell } else { self.patience.no_answer }
    }

    fn cut_in(&mut self, began: Instant, now: Instant) -> Action {
        if let Some(turn) = self.turns.last_mut() {
            turn.answer = now - began;
        }
        let action = self.go_on();
        self.state = State::CuttingIn { since: now, last_voice: now };
        action
    }

    fn go_on(&mut self) -> Action {
        if self.next_line == self.cues.len() {
            // The other side has the last word; if it does not hang up after it, we do.
            self.state = State::Done;
            return Action::HangUp;
        }
        let line = self.next_line;
        self.next_line += 1;
        self.state = State::Speaking;
        Action::Say(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: f32 = -70.0;
    const LOUD: f32 = -20.0;

    struct Line {
        taker: TurnTaker,
        now: Instant,
    }

    impl Line {
        fn new(cues: &[Cue]) -> Line {
            let now = Instant::now();
            Line { taker: TurnTaker::new(cues.to_vec(), Patience::default(), now), now }
        }

        /// `milliseconds` of sound at `level`; the actions it led to.
        fn hear(&mut self, level: f32, milliseconds: u64) -> Vec<Action> {
            let mut actions = Vec::new();
            for _ in 0..milliseconds / 20 {
                self.now += FRAME;
                actions.extend(self.taker.handle_level(level, self.now));
            }
            actions
        }
    }

    #[test]
    fn it_waits_for_the_greeting_and_measures_the_gap_to_the_answer() {
        let mut line = Line::new(&[Cue::AfterAnswer]);
        assert!(line.hear(QUIET, 400).is_empty());
        assert!(line.hear(LOUD, 2_000).is_empty());
        assert!(line.hear(QUIET, 500).is_empty(), "a pause between sentences");
        assert!(line.hear(LOUD, 1_000).is_empty());
        assert_eq!(line.hear(QUIET, 1_300), [Action::Say(0)]);
        line.taker.handle_line_said(line.now);
        assert!(line.hear(QUIET, 700).is_empty());
        assert!(line.hear(LOUD, 1_000).is_empty());
        assert_eq!(line.hear(QUIET, 1_300), [Action::HangUp]);
        let gaps: Vec<_> = line.taker.turns().iter().map(|turn| turn.gap.unwrap().as_millis()).collect();
        assert_eq!(gaps, [420, 720]);
        assert_eq!(line.taker.turns()[1].answer.as_millis(), 980);
    }

    #[test]
    fn a_click_is_no_answer_and_silence_does_not_last_for_ever() {
        let mut line = Line::new(&[Cue::AfterAnswer]);
        assert!(line.hear(LOUD, 40).is_empty());
        assert_eq!(line.hear(QUIET, 13_000), [Action::Say(0)]);
        line.taker.handle_line_said(line.now);
        assert_eq!(line.hear(QUIET, 12_100), [Action::HangUp]);
        assert_eq!(line.taker.turns()[1].gap, None);
    }
    #[test]
    fn it_cuts_in_and_measures_how_long_the_other_side_goes_on() {
        let mut line = Line::new(&[Cue::DuringAnswer(Duration::from_secs(1))]);
        assert_eq!(line.hear(LOUD, 1_060), [Action::Say(0)]);
        assert!(line.hear(LOUD, 240).is_empty());
        assert!(line.hear(QUIET, 500).is_empty());
        line.taker.handle_line_said(line.now);
        assert_eq!(line.taker.turns()[0].fell_silent_after.map(|after| after.as_millis()), Some(280));
    }

    #[test]
    fn an_other_side_that_talks_on_has_not_fallen_silent() {
        let mut line = Line::new(&[Cue::DuringAnswer(Duration::from_secs(1))]);
        assert_eq!(line.hear(LOUD, 3_000), [Action::Say(0)]);
        line.taker.handle_line_said(line.now);
        assert_eq!(line.taker.turns()[0].fell_silent_after, None);
    }
}
