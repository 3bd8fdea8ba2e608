//! When did the caller start, pause and finish? Decided frame by frame from voice activity and level.
//!
//! ```text
//!         60 ms speech          80 ms                                140 ms silence          the wait is over
//!  Quiet ─ SpeechStarted ► Open ─ SpeechLikely, SpeechConfirmed ► Open ── Paused ──► Paused ──── Ended ──► Quiet
//!    ▲                       │                 160 ms              ▲                  │
//!    └───── FalseStart ──────┘ 200 ms silence                      └──── Resumed ─────┘ speech again
//! ```
//! How long a pause must be depends on what was said so far: [`Endpointer::expect`] is told as soon as a speculative
//! transcript is known. Left out on purpose: sound itself (only its probability and level come in) and any clock:
//! a frame is 20 ms, so counting frames is the time.

use std::ops::Range;
use std::time::Duration;

/// Length of one frame. Every figure of this module is counted in frames of this length.
pub const FRAME: Duration = Duration::from_millis(20);

/// Thresholds and waits. The defaults are for telephone speech through an ordinary trunk.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointingSettings {
    /// Voice probability (0 to 1) from which a silent line is considered to carry speech.
    pub start_probability: f32,
    /// Voice probability below which speech is considered to have stopped: lower than the start, so that a weak
    /// syllable does not flicker.
    pub stop_probability: f32,
    /// Frames quieter than this are silence whatever the detector says: recognisers invent words on hiss.
    pub floor_dbov: f32,
    /// Uninterrupted speech needed before anything starts. A click or a plosive in the line is 20 to 40 ms.
    pub start: Duration,
    /// Speech needed before our own voice falls silent, to go on from there if it was nothing.
    pub likely: Duration,
    /// Speech needed before a start is believed. Stopping our own voice depends on it, so it is short; yet longer
    /// than a cough's onset. "No" is about 200 ms.
    pub confirm: Duration,
    /// Sound kept from before the start: soft consonants ("hello", "five") come before the detector fires.
    pub pre_roll: Duration,
    /// Silence after which an unconfirmed start is given up.
    pub give_up: Duration,
    /// Silence after which decoding begins on speculation. Longer than the stop within a "t" or a "k", since each pause costs
    /// a decode; no longer than that, since the caller waits for it.
    pub pause: Duration,
    /// Silence that ends a complete utterance: "yes", "goodbye", a question that has an answer. Less than people need to
    /// draw breath, more than between two words. The recogniser has to be done by then.
    pub wait_complete: Duration,
    /// Silence that ends a whole request: most of what callers say, and seldom gone on with. More than the pause at a comma
    /// ("I broke a tooth, can you see me?"). Whoever does go on has their words joined, and the answer stops.
    pub wait_whole: Duration,
    /// Silence that ends an utterance nothing is known about.
    pub wait: Duration,
    /// Silence that ends an utterance which clearly goes on: half a phone number, a trailing "and".
    pub wait_unfinished: Duration,
    /// The longest utterance. One window of the recogniser is 30 s; whoever talks longer is interrupted.
    pub max_utterance: Duration,
}

impl Default for EndpointingSettings {
    fn default() -> Self {
        Self {
            start_probability: 0.5,
            stop_probability: 0.35,
            floor_dbov: -58.0,
            start: Duration::from_millis(60),
            likely: Duration::from_millis(80),
            confirm: Duration::from_millis(160),
            pre_roll: Duration::from_millis(240),
            give_up: Duration::from_millis(200),
            pause: Duration::from_millis(140),
            wait_complete: Duration::from_millis(240),
            wait_whole: Duration::from_millis(400),
            wait: Duration::from_millis(500),
            wait_unfinished: Duration::from_millis(1400),
            max_utterance: Duration::from_secs(30),
        }
    }
}

/// How finished an utterance sounds, judged by its words so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Completeness {
    /// Nothing more is expected: "yes", "goodbye", a complete phone number.
    Complete,
    /// A request with all its words: "what are your opening hours?", or anything that has an answer.
    Whole,
    /// Cannot be told.
    #[default]
    Unknown,
    /// The caller will go on: "my number is five five", "and".
    Unfinished,
}

impl Completeness {
    /// The same, now that it is known what can be made of `text`: what there is a reply to was said whole, unless its words
    /// show that they go on. A whole question of several words is complete then.
    pub fn received(self, text: &str, reception: Reception) -> Completeness {
        let is_long = super::words(text).len() >= COMPLETE_WORDS;
        match (self, reception) {
            (Completeness::Whole, Reception::Answered) if is_long => Completeness::Complete,
            (Completeness::Unknown, Reception::Answered | Reception::Final) => Completeness::Whole,
            (Completeness::Complete | Completeness::Whole | Completeness::Unfinished, _)
            | (Completeness::Unknown, Reception::Open) => self,
        }
    }
}

/// What could be made of the words so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// Nothing, or something that may be a part of more.
    Open,
    /// There is a reply, and whoever has more to say goes on while it begins.
    Answered,
    /// There is one after which the caller is not listened to: they are connected, or hang up.
    Final,
}

/// "Are you open?" may go on with a day; what is longer names it.
const COMPLETE_WORDS: usize = 5;

/// What happened in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointEvent {
    /// Somebody may be speaking. `frame` already includes the pre-roll.
    SpeechStarted {
        /// First frame that belongs to the utterance.
        frame: u64,
    },
    /// The start was only a short burst. Nothing was said.
    FalseStart,
    /// It most likely is speech: our own voice should fall silent, and keep its place.
    SpeechLikely,
    /// It is speech: our own voice should stop.
    SpeechConfirmed,
    /// The caller paused; decode what there is, they may be done.
    Paused {
        /// From the pre-roll to the present frame.
        frames: Range<u64>,
    },
    /// They were not done.
    Resumed,
    /// They are done.
    Ended(Utterance),
}

/// A finished utterance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Utterance {
    /// From the pre-roll to the present frame.
    pub frames: Range<u64>,
    /// How much of it was speech.
    pub speech: Duration,
    /// How long it had been silent when it was considered finished.
    pub silence: Duration,
    /// Whether it was cut because it reached the longest length.
    pub cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Quiet,
    Open,
    Paused,
}

/// Finds utterances in a stream of frames. One per call.
#[derive(Debug)]
pub struct Endpointer {
    settings: EndpointingSettings,
    state: State,
    confirmed: bool,
    completeness: Completeness,
    /// Speech frames in a row.
    run: u32,
    speech_frames: u32,
    silent_frames: u32,
    first_frame: u64,
    /// Frames before this one belong to an earlier utterance and are never used as pre-roll again.
    consumed: u64,
    next_frame: u64,
}

fn frames(time: Duration) -> u32 {
    (time.as_millis() / FRAME.as_millis()).min(u128::from(u32::MAX)) as u32
}

impl Endpointer {
    /// An endpointer that has heard nothing yet.
    pub fn new(settings: EndpointingSettings) -> Self {
        Self {
            settings,
            state: State::Quiet,
            confirmed: false,
            completeness: Completeness::Unknown,
            run: 0,
            speech_frames: 0,
            silent_frames: 0,
            first_frame: 0,
            consumed: 0,
            next_frame: 0,
        }
    }

    /// Takes the frame with this index. Indexes go up; gaps (lost or withheld frames) count as silence that was not
    /// heard, and an index that goes backwards is ignored. At most one event per frame.
    pub fn handle_frame(&mut self, index: u64, speech: f32, level_dbov: f32) -> Option<EndpointEvent> {
        if index < self.next_frame {
            return None;
        }
        self.next_frame = index.saturating_add(1);
        let voiced = self.is_voiced(speech, level_dbov);
        match self.state {
            State::Quiet => self.quiet(index, voiced),
            State::Open | State::Paused if voiced => self.more_speech(),
            State::Open | State::Paused => self.more_silence(),
        }
    }

    /// Says how finished the words so far sound. Holds until the caller goes on or is done.
    pub fn expect(&mut self, completeness: Completeness) {
        self.completeness = completeness;
    }

    /// Whether an utterance is open, be it believed or not.
    pub fn is_open(&self) -> bool {
        self.state != State::Quiet
    }

    /// Whether the open utterance is believed to be speech.
    pub fn is_confirmed(&self) -> bool {
        self.is_open() && self.confirmed
    }

    /// Ends an open utterance now, for example because no more frames come. An unconfirmed one is dropped.
    pub fn finish(&mut self) -> Option<EndpointEvent> {
        match self.state {
            State::Quiet => None,
            State::Open | State::Paused if self.confirmed => Some(self.end(false)),
            State::Open | State::Paused => Some(self.reject()),
        }
    }

    /// Forgets whatever is open.
    pub fn reset(&mut self) {
        self.reject();
    }

    /// Passes over a frame, and forgets whatever is open: the line is used for something else, such as recording a message.
    pub fn skip(&mut self, index: u64) {
        self.next_frame = self.next_frame.max(index.saturating_add(1));
        self.reject();
    }

    /// The first frame that the utterance which is open, or the next one, may begin with: earlier ones are not asked for
    /// again. Never falls.
    pub fn needs_from(&self) -> u64 {
        match self.state {
            State::Quiet => {
                let before = self.run + frames(self.settings.pre_roll);
                self.next_frame.saturating_sub(u64::from(before)).max(self.consumed)
            }
            State::Open | State::Paused => self.first_frame,
        }
    }

    fn is_voiced(&self, speech: f32, level_dbov: f32) -> bool {
        let threshold = match self.state {
            State::Open => self.settings.stop_probability,
            State::Quiet | State::Paused => self.settings.start_probability,
        };
        // Written so that a NaN from a detector is silence.
        speech >= threshold && level_dbov >= self.settings.floor_dbov
    }

    fn quiet(&mut self, index: u64, voiced: bool) -> Option<EndpointEvent> {
        self.run = if voiced { self.run + 1 } else { 0 };
        if self.run < frames(self.settings.start).max(1) {
            return None;
        }
        let before = u64::from(self.run - 1) + u64::from(frames(self.settings.pre_roll));
        self.first_frame = index.saturating_sub(before).max(self.consumed);
        self.state = State::Open;
        self.confirmed = false;
        self.completeness = Completeness::Unknown;
        self.speech_frames = self.run;
        self.silent_frames = 0;
        self.run = 0;
        Some(EndpointEvent::SpeechStarted { frame: self.first_frame })
    }

    fn more_speech(&mut self) -> Option<EndpointEvent> {
        self.speech_frames += 1;
        self.run += 1;
        // A single frame in a pause is a click, and a transcript half made is not thrown away for it.
        if self.state == State::Paused && self.run < 2 {
            self.silent_frames += 1;
            return None;
        }
        self.silent_frames = 0;
        if self.length() >= self.settings.max_utterance && self.confirmed {
            return Some(self.end(true));
        }
        if self.state == State::Paused {
            self.state = State::Open;
            self.completeness = Completeness::Unknown;
            return Some(EndpointEvent::Resumed);
        }
        if !self.confirmed && self.speech_frames >= frames(self.settings.confirm) {
            self.confirmed = true;
            return Some(EndpointEvent::SpeechConfirmed);
        }
        (!self.confirmed && self.speech_frames == frames(self.settings.likely)).then_some(EndpointEvent::SpeechLikely)
    }

    fn more_silence(&mut self) -> Option<EndpointEvent> {
        self.silent_frames += 1;
        self.run = 0;
        if self.length() >= self.settings.max_utterance {
            return Some(if self.confirmed { self.end(true) } else { self.reject() });
        }
        if !self.confirmed {
            return (self.silent_frames >= frames(self.settings.give_up)).then(|| self.reject());
        }
        if self.state == State::Open && self.silent_frames >= frames(self.settings.pause) {
            self.state = State::Paused;
            return Some(EndpointEvent::Paused { frames: self.first_frame..self.next_frame });
        }
        (self.state == State::Paused && self.silent_frames >= frames(self.wait())).then(|| self.end(false))
    }

    fn wait(&self) -> Duration {
        match self.completeness {
            Completeness::Complete => self.settings.wait_complete,
            Completeness::Whole => self.settings.wait_whole,
            Completeness::Unknown => self.settings.wait,
            Completeness::Unfinished => self.settings.wait_unfinished,
        }
    }

    fn length(&self) -> Duration {
        let length = self.next_frame.saturating_sub(self.first_frame);
        FRAME * u32::try_from(length).unwrap_or(u32::MAX / 64)
    }

    fn end(&mut self, cut: bool) -> EndpointEvent {
        let utterance = Utterance {
            frames: self.first_frame..self.next_frame,
            speech: FRAME * self.speech_frames,
            silence: FRAME * self.silent_frames,
            cut,
        };
        self.reject();
        EndpointEvent::Ended(utterance)
    }

    fn reject(&mut self) -> EndpointEvent {
        self.state = State::Quiet;
        self.confirmed = false;
        self.run = 0;
        self.consumed = self.next_frame;
        EndpointEvent::FalseStart
    }
}

/// Judges from its words how finished an utterance sounds. `text` is a transcript, in any case and punctuation.
pub fn completeness(text: &str) -> Completeness {
    let words = super::words(text);
    let Some(last) = words.last() else { return Completeness::Unknown };
    const COMPLETE: &[&str] = &[
        "yes", "yeah", "yep", "yup", "no", "nope", "okay", "ok", "sure", "correct", "right", "goodbye", "bye",
        "please", "repeat", "thanks",
    ];
    const TRAILING: &[&str] = &[
        "and", "or", "but", "the", "a", "an", "my", "your", "is", "are", "was", "to", "at", "for", "of", "with", "in",
        "on", "um", "uh", "er", "erm", "because", "so", "if", "that's", "it's", "i'm", "double", "oh", "well", "about",
        "from",
    ];
    let digits = super::slots::spoken_digits(text);
    let dictating = !digits.is_empty();
    if dictating && !text.trim_end().ends_with('?') {
        // Seven digits make a local number, ten a national one; anything else is somewhere inside a number.
        return match digits.len() {
            7 | 10 | 11 => Completeness::Unknown,
            3..=14 => Completeness::Unfinished,
            _ => Completeness::Unknown,
        };
    }
    if TRAILING.contains(&last.as_str()) && !text.trim_end().ends_with('?') {
        return Completeness::Unfinished;
    }
    // "Thanks" alone goes on with "bye".
    let is_thanks = words.len() == 1 && last == "thanks";
    if words.len() <= 3 && COMPLETE.contains(&last.as_str()) && !is_thanks {
        return Completeness::Complete;
    }
    // Recognisers put a question mark after half a question too: "how much is the?".
    let is_question = text.trim_end().ends_with('?') && words.len() >= 3 && !TRAILING.contains(&last.as_str());
    if is_question { Completeness::Whole } else { Completeness::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `pattern` (`#` speech, `.` silence, one character a frame) and writes down what happened when.
    fn run(endpointer: &mut Endpointer, pattern: &str) -> Vec<(usize, EndpointEvent)> {
        let start = endpointer.next_frame;
        let frame = |(i, c): (usize, char)| {
            let speech = if c == '#' { 0.9 } else { 0.02 };
            endpointer.handle_frame(start + i as u64, speech, if c == '#' { -20.0 } else { -70.0 }).map(|e| (i, e))
        };
        pattern.chars().enumerate().filter_map(frame).collect()
    }

    fn fresh() -> Endpointer {
        Endpointer::new(EndpointingSettings::default())
    }

    fn names(events: &[(usize, EndpointEvent)]) -> String {
        let name = |e: &EndpointEvent| match e {
            EndpointEvent::SpeechStarted { frame } => format!("started@{frame}"),
            EndpointEvent::FalseStart => "false".into(),
            EndpointEvent::SpeechLikely => "likely".into(),
            EndpointEvent::SpeechConfirmed => "confirmed".into(),
            EndpointEvent::Paused { frames } => format!("paused {frames:?}"),
            EndpointEvent::Resumed => "resumed".into(),
            EndpointEvent::Ended(u) => format!("ended {:?} speech={:?} cut={}", u.frames, u.speech, u.cut),
        };
        events.iter().map(|(i, e)| format!("{i}:{}", name(e))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_utterance_starts_with_pre_roll_pauses_and_ends() {
        let pattern = format!("{}{}{}", ".".repeat(20), "#".repeat(30), ".".repeat(30));
        let seen = names(&run(&mut fresh(), &pattern));
        assert_eq!(
            seen, "22:started@8 23:likely 27:confirmed 56:paused 8..57 74:ended 8..75 speech=600ms cut=false",
            "60 ms to start, 160 ms to confirm, 140 ms to pause, 500 ms to end"
        );
    }

    #[test]
    fn clicks_never_start_and_bursts_are_taken_back() {
        assert_eq!(names(&run(&mut fresh(), &"##...".repeat(40))), "", "40 ms clicks");
        let seen = names(&run(&mut fresh(), &format!("{}#####{}", ".".repeat(20), ".".repeat(40))));
        assert_eq!(seen, "22:started@8 23:likely 34:false", "100 ms is a burst");
    }

    #[test]
    fn going_on_takes_the_pause_back() {
        let pattern = format!("{}{}{}{}", "#".repeat(20), ".".repeat(15), "#".repeat(10), ".".repeat(26));
        let seen = names(&run(&mut fresh(), &pattern));
        assert_eq!(
            seen,
            "2:started@0 3:likely 7:confirmed 26:paused 0..27 36:resumed 51:paused 0..52 69:ended 0..70 speech=600ms cut=false"
        );
    }

    #[test]
    fn the_wait_follows_the_words() {
        for (completeness, ends_at) in [
            (Completeness::Complete, 31),
            (Completeness::Whole, 39),
            (Completeness::Unknown, 44),
            (Completeness::Unfinished, 89),
        ] {
            let mut endpointer = fresh();
            run(&mut endpointer, &format!("{}{}", "#".repeat(20), ".".repeat(10)));
            endpointer.expect(completeness);
            let seen = run(&mut endpointer, &".".repeat(100));
            assert_eq!(seen.first().map(|(i, _)| i + 30), Some(ends_at), "{completeness:?}");
        }
    }

    #[test]
    fn an_answer_completes_what_was_asked() {
        use Completeness::{Complete, Unfinished, Unknown, Whole};
        for (text, wanted) in [
            ("Are you open?", [Whole, Whole, Whole]),
            ("Are you open on Saturday morning?", [Complete, Whole, Whole]),
            ("Tell me your business hours.", [Whole, Whole, Unknown]),
            ("What are your hours on", [Unfinished, Unfinished, Unfinished]),
            ("Yes, please.", [Complete, Complete, Complete]),
        ] {
            let received = [Reception::Answered, Reception::Final, Reception::Open];
            let received = received.map(|reception| completeness(text).received(text, reception));
            assert_eq!(received, wanted, "{text}");
        }
    }

    #[test]
    fn an_endless_talker_is_cut_and_the_rest_is_a_new_utterance() {
        let seen = run(&mut fresh(), &"#".repeat(1600));
        let EndpointEvent::Ended(cut) = &seen[3].1 else { panic!("{seen:?}") };
        assert!(cut.cut && cut.frames == (0..1500));
        assert_eq!(seen[4].1, EndpointEvent::SpeechStarted { frame: 1500 }, "no frame is used twice");
    }

    #[test]
    fn quiet_or_meaningless_frames_are_silence() {
        let mut endpointer = fresh();
        for (index, (speech, level)) in
            [(1.0, -80.0), (f32::NAN, -10.0), (1.0, f32::NAN)].into_iter().cycle().take(600).enumerate()
        {
            assert_eq!(endpointer.handle_frame(index as u64, speech, level), None);
        }
    }

    #[test]
    fn words_tell_how_finished_they_sound() {
        use Completeness::{Complete, Unfinished, Unknown, Whole};
        for (text, expected) in [
            ("Yes.", Complete),
            ("No, thanks.", Complete),
            ("Thanks.", Unknown),
            ("Hello.", Unknown),
            ("Goodbye", Complete),
            ("My number is", Unfinished),
            ("My number is five five five", Unfinished),
            ("My number is five five five, zero one two three.", Unknown),
            ("I would like to know the price and", Unfinished),
            ("What are your opening hours?", Whole),
            ("How much is the?", Unknown),
            ("Who am I speaking to?", Unknown),
            ("And Sunday?", Unknown),
            ("What are your opening hours", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(completeness(text), expected, "{text}");
        }
    }

    proptest! {
        /// Any frames: events come in their order, utterances never overlap, none is longer than allowed.
        #[test]
        fn utterances_are_in_order_and_never_overlap(runs in prop::collection::vec((any::<bool>(), 1u32..200), 1..60)) {
            let mut endpointer = fresh();
            let (mut index, mut free, mut open, mut confirmed) = (0u64, 0u64, false, false);
            for (voiced, count) in runs {
                for _ in 0..count {
                    let event = endpointer.handle_frame(index, if voiced { 0.9 } else { 0.0 }, -20.0);
                    index += 1;
                    match event {
                        None => {}
                        Some(EndpointEvent::SpeechStarted { frame }) => {
                            prop_assert!(!open && frame >= free && frame < index);
                            (open, confirmed) = (true, false);
                        }
                        Some(EndpointEvent::FalseStart) => {
                            prop_assert!(open && !confirmed);
                            open = false;
                        }
                        Some(EndpointEvent::SpeechLikely) => prop_assert!(open && !confirmed),
                        Some(EndpointEvent::SpeechConfirmed) => {
                            prop_assert!(open && !confirmed);
                            confirmed = true;
                        }
                        Some(EndpointEvent::Paused { frames }) => prop_assert!(confirmed && frames.end == index),
                        Some(EndpointEvent::Resumed) => prop_assert!(confirmed),
                        Some(EndpointEvent::Ended(utterance)) => {
                            prop_assert!(open && confirmed && utterance.frames.start >= free && utterance.frames.end == index);
                            prop_assert!(utterance.frames.end - utterance.frames.start <= 1500);
                            (free, open) = (index, false);
                        }
                    }
                }
            }
        }
    }
}
