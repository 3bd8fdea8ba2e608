//! One call's voice: sentences rendered apart, played in order, and what of them was really heard.
//!
//! Pure: the call gives in what it was told to say, what was rendered and what the media thread played; it takes out
//! clips to play and inputs for the conversation. Sentences may be rendered out of order (a cached one is there at
//! once); they are played in order, and the first starts while the second is still being made.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use audio::FRAME_SAMPLES;
use audio::playout::ClipId;

use crate::conversation::machine::{Failure, Input, SpeechId};
use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};

/// Bits of a clip id that hold the sentence's place.
const SENTENCE_BITS: u32 = 16;
/// Clips with this bit are tones, not sentences.
const TONE_BIT: u64 = 1 << 63;

/// How far back the beginning of a word is looked for, in samples: half a second.
const GO_BACK: usize = 4_000;

/// The id of tone number `number`.
pub(super) fn tone_clip(number: u32) -> ClipId {
    ClipId(TONE_BIT | u64::from(number))
}

fn sentence_clip(speech: SpeechId, sentence: usize) -> ClipId {
    ClipId(u64::from(speech.0) << SENTENCE_BITS | sentence as u64)
}

/// What is being said, and what was said of it.
#[derive(Default)]
pub(super) struct Voice {
    current: Option<Speech>,
    clips: VecDeque<(ClipId, Samples)>,
    inputs: VecDeque<Input>,
}

struct Speech {
    id: SpeechId,
    sentences: Vec<Sentence>,
    /// Sentences given to the media thread so far.
    played: usize,
    /// Sentences that sounded to their end.
    finished: usize,
    stopping: bool,
    /// How much of the first sentence was heard in an earlier speech, 0 to 1.
    skip: f32,
}

#[derive(Default)]
struct Sentence {
    samples: Option<Samples>,
    /// Where in them it began.
    from: usize,
    /// How much sounded before it was stopped.
    heard: Duration,
    /// Finished or stopped: nothing more will be told of it.
    closed: bool,
}

impl Voice {
    /// Begins a speech of `count` sentences, the first from the word at `skip` (0 to 1) of it; what was being said before is
    /// forgotten (the conversation never overlaps).
    pub(super) fn begin(&mut self, id: SpeechId, count: usize, skip: f32) {
        let sentences = std::iter::repeat_with(Sentence::default).take(count).collect();
        self.current = Some(Speech { id, sentences, played: 0, finished: 0, stopping: false, skip });
        if count == 0 {
            self.current = None;
            self.inputs.push_back(Input::SpeechFinished { speech: id });
        }
    }

    /// Sentence number `sentence` of `id` is ready, or cannot be said.
    pub(super) fn handle_rendered(&mut self, id: SpeechId, sentence: usize, samples: Result<Samples, Failure>) {
        let Some(speech) = self.current.as_mut().filter(|speech| speech.id == id && !speech.stopping) else { return };
        match samples {
            Ok(samples) => {
                if let Some(slot) = speech.sentences.get_mut(sentence) {
                    slot.samples = Some(samples);
                }
                self.play_ready();
            }
            Err(failure) => {
                self.current = None;
                self.inputs.push_back(Input::SpeechFailed { speech: id, failure });
            }
        }
    }

    fn play_ready(&mut self) {
        let Some(speech) = &mut self.current else { return };
        while let Some(sentence) = speech.sentences.get_mut(speech.played)
            && let Some(mut samples) = sentence.samples.clone()
        {
            if speech.played == 0 && speech.skip > 0.0 {
                sentence.from = word_before(&samples, (samples.len() as f32 * speech.skip.min(1.0)) as usize);
                samples = samples[sentence.from..].into();
            }
            self.clips.push_back((sentence_clip(speech.id, speech.played), samples));
            speech.played += 1;
        }
    }

    /// The next clip for the media thread.
    pub(super) fn poll_clip(&mut self) -> Option<(ClipId, Samples)> {
        self.clips.pop_front()
    }

    /// The next thing the conversation must know.
    pub(super) fn poll_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Whether nothing waits to be taken out.
    pub(super) fn is_idle(&self) -> bool {
        self.clips.is_empty() && self.inputs.is_empty()
    }

    /// Whether anything is being said or about to be.
    #[cfg(test)]
    pub(super) fn is_speaking(&self) -> bool {
        self.current.is_some()
    }

    fn sentence_of(&mut self, clip: ClipId) -> Option<(&mut Speech, usize)> {
        let speech = self.current.as_mut()?;
        let place = usize::try_from(clip.0 & ((1 << SENTENCE_BITS) - 1)).ok()?;
        (sentence_clip(speech.id, place) == clip && place < speech.sentences.len()).then_some((speech, place))
    }

    /// The media thread sent the first sound of a clip.
    pub(super) fn handle_clip_started(&mut self, clip: ClipId, at: Instant) {
        let Some((speech, sentence)) = self.sentence_of(clip) else { return };
        let id = speech.id;
        if sentence == 0 {
            self.inputs.push_back(Input::SpeechStarted { speech: id, at });
        }
        self.inputs.push_back(Input::SentenceStarted { speech: id, sentence });
    }

    /// The media thread sent the last sound of a clip.
    pub(super) fn handle_clip_finished(&mut self, clip: ClipId) {
        let Some((speech, sentence)) = self.sentence_of(clip) else { return };
        let id = speech.id;
        speech.sentences[sentence].closed = true;
        speech.finished += 1;
        let all_said = speech.finished == speech.sentences.len();
        self.inputs.push_back(Input::SentenceFinished { speech: id, sentence });
        if all_said {
            self.current = None;
            self.inputs.push_back(Input::SpeechFinished { speech: id });
        } else {
            self.report_stopped();
        }
    }

    /// The media thread stopped a clip, or threw it away unheard.
    pub(super) fn handle_clip_stopped(&mut self, clip: ClipId, heard: Duration) {
        let Some((speech, sentence)) = self.sentence_of(clip) else { return };
        speech.sentences[sentence].closed = true;
        speech.sentences[sentence].heard = heard;
        self.report_stopped();
    }

    /// Stop saying `id`; true if the media thread must be told.
    pub(super) fn stop(&mut self, id: SpeechId) -> bool {
        let Some(speech) = self.current.as_mut().filter(|speech| speech.id == id) else { return false };
        speech.stopping = true;
        self.clips.clear();
        let sounding = speech.sentences[..speech.played].iter().any(|sentence| !sentence.closed);
        self.report_stopped();
        sounding
    }

    /// Once every clip given out is accounted for, a speech that was stopped is over.
    fn report_stopped(&mut self) {
        let Some(speech) = self.current.as_ref().filter(|speech| speech.stopping) else { return };
        if speech.sentences[..speech.played].iter().any(|sentence| !sentence.closed) {
            return;
        }
        let fraction = speech.sentences.get(speech.finished).map_or(0.0, Sentence::fraction_heard);
        let (id, sentences_heard) = (speech.id, speech.finished);
        self.current = None;
        self.inputs.push_back(Input::SpeechStopped { speech: id, sentences_heard, fraction });
    }
}

impl Sentence {
    fn fraction_heard(&self) -> f32 {
        let length = self.samples.as_ref().map_or(0, |samples| samples.len());
        let whole = SPEECH_SAMPLE_RATE.duration_of(length as u64);
        let heard = self.heard + SPEECH_SAMPLE_RATE.duration_of(self.from as u64);
        if whole.is_zero() { 0.0 } else { (heard.as_secs_f32() / whole.as_secs_f32()).min(1.0) }
    }
}

/// Where to go on with a sentence that was cut at sample `at`: at the quietest place of the half second before it, which is
/// between two words or before a syllable. What began less than that before is said again from the start.
fn word_before(samples: &[i16], at: usize) -> usize {
    let at = at.min(samples.len());
    let Some(first) = at.checked_sub(GO_BACK) else { return 0 };
    let energy = |window: &[i16]| window.iter().map(|&sample| i64::from(sample).pow(2)).sum::<i64>();
    let windows = samples[first..at].chunks_exact(FRAME_SAMPLES).enumerate();
    windows.min_by_key(|(_, window)| energy(window)).map_or(first, |(index, _)| first + index * FRAME_SAMPLES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SpeechId = SpeechId(3);

    fn one_second() -> Samples {
        vec![0; 8_000].into()
    }

    fn drained(voice: &mut Voice) -> Vec<Input> {
        std::iter::from_fn(|| voice.poll_input()).collect()
    }

    fn clips(voice: &mut Voice) -> Vec<ClipId> {
        std::iter::from_fn(|| voice.poll_clip()).map(|(clip, _)| clip).collect()
    }

    #[test]
    fn sentences_play_in_order_however_they_are_rendered() {
        let mut voice = Voice::default();
        voice.begin(ID, 2, 0.0);
        voice.handle_rendered(ID, 1, Ok(one_second()));
        assert!(clips(&mut voice).is_empty());
        voice.handle_rendered(ID, 0, Ok(one_second()));
        assert_eq!(clips(&mut voice), [sentence_clip(ID, 0), sentence_clip(ID, 1)]);
        let at = Instant::now();
        voice.handle_clip_started(sentence_clip(ID, 0), at);
        voice.handle_clip_finished(sentence_clip(ID, 0));
        voice.handle_clip_started(sentence_clip(ID, 1), at);
        voice.handle_clip_finished(sentence_clip(ID, 1));
        assert_eq!(
            drained(&mut voice),
            [
                Input::SpeechStarted { speech: ID, at },
                Input::SentenceStarted { speech: ID, sentence: 0 },
                Input::SentenceFinished { speech: ID, sentence: 0 },
                Input::SentenceStarted { speech: ID, sentence: 1 },
                Input::SentenceFinished { speech: ID, sentence: 1 },
                Input::SpeechFinished { speech: ID },
            ]
        );
        assert!(!voice.is_speaking());
    }

    #[test]
    fn a_stop_tells_how_much_was_heard() {
        let mut voice = Voice::default();
        voice.begin(ID, 3, 0.0);
        voice.handle_rendered(ID, 0, Ok(one_second()));
        voice.handle_rendered(ID, 1, Ok(one_second()));
        clips(&mut voice);
        voice.handle_clip_finished(sentence_clip(ID, 0));
        drained(&mut voice);
        assert!(voice.stop(ID));
        assert!(drained(&mut voice).is_empty(), "the media thread has not answered yet");
        voice.handle_clip_stopped(sentence_clip(ID, 1), Duration::from_millis(250));
        assert_eq!(drained(&mut voice), [Input::SpeechStopped { speech: ID, sentences_heard: 1, fraction: 0.25 }]);
        voice.handle_rendered(ID, 2, Ok(one_second()));
        assert!(clips(&mut voice).is_empty(), "rendered too late to be said");
    }

    #[test]
    fn a_sentence_that_was_cut_goes_on_from_its_word_and_counts_from_its_start() {
        // Two words of 450 ms with 100 ms of silence between them; cut 250 ms into the second.
        let word = |sample: usize| if (3_600..4_400).contains(&sample) { 0 } else { 5_000 };
        let samples: Samples = (0..8_000).map(word).collect();
        let mut voice = Voice::default();
        voice.begin(ID, 1, 0.8);
        voice.handle_rendered(ID, 0, Ok(samples));
        let (clip, rest) = voice.poll_clip().unwrap();
        let gap = rest.iter().take_while(|&&sample| sample == 0).count();
        assert!(gap >= 160 && rest.len() - gap == 3_600, "the second word whole: {} after {gap}", rest.len());
        assert!(voice.stop(ID));
        voice.handle_clip_stopped(clip, Duration::from_millis(100));
        let from = (8_000 - rest.len()) as f32 / 8_000.0;
        assert_eq!(
            drained(&mut voice),
            [Input::SpeechStopped { speech: ID, sentences_heard: 0, fraction: from + 0.1 }]
        );
        assert_eq!(word_before(&[0; 8_000], 3_999), 0, "cut in its first half second");
        assert!(word_before(&[0; 100], 9_000) == 0);
    }

    #[test]
    fn a_stop_between_two_sentences_is_reported_at_once() {
        let mut voice = Voice::default();
        voice.begin(ID, 2, 0.0);
        voice.handle_rendered(ID, 0, Ok(one_second()));
        clips(&mut voice);
        voice.handle_clip_finished(sentence_clip(ID, 0));
        drained(&mut voice);
        assert!(!voice.stop(ID));
        assert_eq!(drained(&mut voice), [Input::SpeechStopped { speech: ID, sentences_heard: 1, fraction: 0.0 }]);
    }

    #[test]
    fn a_sentence_that_cannot_be_rendered_fails_the_speech() {
        let mut voice = Voice::default();
        voice.begin(ID, 1, 0.0);
        voice.handle_rendered(ID, 0, Err(Failure::Unavailable));
        assert_eq!(drained(&mut voice), [Input::SpeechFailed { speech: ID, failure: Failure::Unavailable }]);
    }
}
