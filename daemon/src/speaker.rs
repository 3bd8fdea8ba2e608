//! Text to telephone speech: the synthesis worker behind a phrase cache.
//!
//! The cache is keyed by voice and text and holds 8 kHz PCM. Greeting, fillers and frequent answers are rendered before
//! anyone calls, so they start playing at once; everything else is synthesised sentence by sentence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audio::dsp::resample::{ResampleError, resample};
use audio::time::SampleRate;
use models::TextToSpeech;
use tracing::debug;

use crate::inference::{Priority, Queue, SubmitError};

/// Sample rate of everything the box says on a narrow-band call.
pub const SPEECH_SAMPLE_RATE: SampleRate = SampleRate::NARROW_BAND;
/// Peak of rendered speech: −6 dBov leaves head-room for companding and is about as loud as a person.
const PEAK: f32 = 0.5 * 32_768.0;
/// Samples below this are silence at the start of a sentence: −44 dBov.
const QUIET: i16 = 200;
/// Silence kept before the first sound: 10 ms.
const LEAD_SAMPLES: usize = 80;
/// Bytes of PCM the cache may hold: about 25 minutes of speech.
const CACHE_LIMIT_BYTES: usize = 24 * 1024 * 1024;
/// How many of them may be made ahead: more, and what is made would push out what was.
pub(crate) const AHEAD_LIMIT_BYTES: usize = CACHE_LIMIT_BYTES / 2;

/// One sentence, ready to play: 16-bit mono at [`SPEECH_SAMPLE_RATE`].
pub type Samples = Arc<[i16]>;

/// The engine on the mouth worker; `None` when no voice is installed.
pub type Mouth = Option<Box<dyn TextToSpeech>>;

/// Why a sentence has no sound.
#[derive(Debug, thiserror::Error)]
pub enum SpeakError {
    /// No voice is installed: tones only.
    #[error("no voice is installed")]
    NoVoice,
    /// The worker's queue would not take it.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] models::TtsError),
    /// The voice's sample rate is none that can be brought to the telephone's.
    #[error(transparent)]
    Resample(#[from] ResampleError),
    /// The voice says it has no sample rate.
    #[error("the voice has a sample rate of 0 Hz")]
    NoSampleRate,
}

/// Turns sentences into samples; cheap to clone.
#[derive(Clone)]
pub struct Speaker {
    queue: Queue<Mouth>,
    cache: Arc<Mutex<PhraseCache>>,
}

#[derive(Default)]
struct PhraseCache {
    phrases: HashMap<String, Phrase>,
    size_bytes: usize,
    clock: u64,
}

struct Phrase {
    samples: Samples,
    used: u64,
}

impl PhraseCache {
    fn find(&mut self, text: &str) -> Option<Samples> {
        self.clock += 1;
        let phrase = self.phrases.get_mut(text)?;
        phrase.used = self.clock;
        Some(Arc::clone(&phrase.samples))
    }

    fn keep(&mut self, text: String, samples: &Samples) {
        self.clock += 1;
        self.size_bytes += size_bytes(samples);
        let phrase = Phrase { samples: Arc::clone(samples), used: self.clock };
        if let Some(old) = self.phrases.insert(text, phrase) {
            self.size_bytes -= size_bytes(&old.samples);
        }
        while self.size_bytes > CACHE_LIMIT_BYTES && self.drop_least_recent() {}
    }

    fn drop_least_recent(&mut self) -> bool {
        let oldest = self.phrases.iter().min_by_key(|(_, phrase)| phrase.used).map(|(text, _)| text.clone());
        let Some(phrase) = oldest.and_then(|text| self.phrases.remove(&text)) else { return false };
        self.size_bytes -= size_bytes(&phrase.samples);
        true
    }
}

fn size_bytes(samples: &Samples) -> usize {
    samples.len() * size_of::<i16>()
}

impl Speaker {
    /// A speaker on `queue`, with an empty cache. One voice a process, so the text alone is the key.
    pub fn new(queue: Queue<Mouth>) -> Speaker {
        Speaker { queue, cache: Arc::default() }
    }

    fn cache(&self) -> MutexGuard<'_, PhraseCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The phrase if it was rendered before.
    pub fn cached(&self, text: &str) -> Option<Samples> {
        self.cache().find(text)
    }

    /// Renders `text` and hands the samples to `done` on the worker's thread (at once when cached).
    pub fn render(
        &self,
        text: &str,
        priority: Priority,
        done: impl FnOnce(Result<Samples, SpeakError>) + Send + 'static,
    ) {
        if let Some(samples) = self.cached(text) {
            return done(Ok(samples));
        }
        let (speaker, text) = (self.clone(), text.to_owned());
        // `done` must be called whatever happens, so it waits in a slot that a refused job leaves full.
        let slot = Arc::new(Mutex::new(Some(done)));
        let taken = Arc::clone(&slot);
        let submitted = self.queue.submit(priority, move |mouth| {
            let result = speaker.synthesise(mouth, &text);
            if let Some(done) = taken.lock().unwrap_or_else(PoisonError::into_inner).take() {
                done(result);
            }
        });
        if let Err(error) = submitted
            && let Some(done) = slot.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            done(Err(error.into()));
        }
    }

    /// Gives back the memory that renderings have taken, after those that are queued; for when no call is up.
    pub fn rest(&self) {
        let submitted = self.queue.submit(Priority::Background, |mouth| {
            if let Some(voice) = mouth {
                voice.release_memory();
            }
            crate::memory::give_back();
        });
        if let Err(error) = submitted {
            debug!(%error, "Memory of the voice kept until the next call has ended");
        }
    }

    fn synthesise(&self, mouth: &mut Mouth, text: &str) -> Result<Samples, SpeakError> {
        if let Some(samples) = self.cached(text) {
            return Ok(samples);
        }
        let speech = mouth.as_mut().ok_or(SpeakError::NoVoice)?.synthesise(text)?;
        let rate = SampleRate::new(speech.sample_rate).ok_or(SpeakError::NoSampleRate)?;
        let mut samples = resample(&speech.samples, rate, SPEECH_SAMPLE_RATE)?;
        trim_start(&mut samples);
        level_peak(&mut samples);
        let samples: Samples = samples.into();
        self.cache().keep(text.to_owned(), &samples);
        Ok(samples)
    }
}

/// Cuts the silence before the first sound but for a breath of it: a voice renders up to 100 ms, which a caller who waits
/// for an answer would wait in vain.
fn trim_start(samples: &mut Vec<i16>) {
    let first_sound = samples.iter().position(|sample| sample.saturating_abs() > QUIET).unwrap_or(0);
    samples.drain(..first_sound.saturating_sub(LEAD_SAMPLES));
}

/// Brings the loudest sample to [`PEAK`], so that sentences rendered apart are equally loud.
fn level_peak(samples: &mut [i16]) {
    let loudest = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    if loudest == 0 {
        return;
    }
    let gain = PEAK / f32::from(loudest);
    for sample in samples {
        *sample = (f32::from(*sample) * gain) as i16;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use models::{ScriptedTts, Speech, TtsError, VoiceInfo};

    use super::*;
    use crate::inference::Worker;

    fn rendered(speaker: &Speaker, text: &str) -> Result<Samples, SpeakError> {
        let (result, rendered) = mpsc::channel();
        speaker.render(text, Priority::Live, move |samples| result.send(samples).unwrap());
        rendered.recv().unwrap()
    }

    #[test]
    fn a_phrase_is_rendered_once_at_telephone_rate() {
        let worker = Worker::start("mouth", || Some(Box::new(ScriptedTts::new(22_050)) as Box<dyn TextToSpeech>));
        let worker = worker.unwrap();
        let speaker = Speaker::new(worker.queue());
        assert!(speaker.cached("Good morning.").is_none());
        let samples = rendered(&speaker, "Good morning.").unwrap();
        let expected = ScriptedTts::duration_of("Good morning.").as_secs_f64() * f64::from(SPEECH_SAMPLE_RATE.hz());
        assert!((samples.len() as f64 - expected).abs() < 80.0, "{} samples, expected {expected}", samples.len());
        assert!(Arc::ptr_eq(&samples, &rendered(&speaker, "Good morning.").unwrap()));
    }

    #[test]
    fn without_a_voice_the_caller_is_told_so() {
        let worker: Worker<Mouth> = Worker::start("mouth", || None).unwrap();
        assert!(matches!(rendered(&Speaker::new(worker.queue()), "Hello."), Err(SpeakError::NoVoice)));
    }

    /// Tells what it was asked to do.
    struct Told(ScriptedTts, mpsc::Sender<&'static str>);

    impl TextToSpeech for Told {
        fn synthesise(&mut self, sentence: &str) -> Result<Speech, TtsError> {
            self.1.send("synthesise").unwrap();
            self.0.synthesise(sentence)
        }

        fn voice(&self) -> &VoiceInfo {
            self.0.voice()
        }

        fn release_memory(&mut self) {
            self.1.send("release memory").unwrap();
        }
    }

    #[test]
    fn a_resting_voice_gives_back_its_memory_once_it_has_nothing_to_say() {
        let (told, order) = mpsc::channel();
        let voice = Told(ScriptedTts::new(22_050), told);
        let worker = Worker::start("mouth", || Some(Box::new(voice) as Box<dyn TextToSpeech>)).unwrap();
        let speaker = Speaker::new(worker.queue());
        speaker.render("Good morning.", Priority::Background, |_| {});
        speaker.rest();
        assert_eq!([order.recv(), order.recv()], [Ok("synthesise"), Ok("release memory")]);
        assert!(rendered(&speaker, "Good evening.").is_ok(), "it still speaks");
    }

    #[test]
    fn a_sentence_begins_with_its_first_sound() {
        let mut samples = vec![0; 1_000];
        samples.extend([5_000; 10]);
        trim_start(&mut samples);
        assert_eq!(samples.len(), LEAD_SAMPLES + 10);
        let mut silence = vec![0; 300];
        trim_start(&mut silence);
        assert_eq!(silence.len(), 300, "a pause that is meant stays");
    }

    #[test]
    fn the_cache_forgets_what_was_not_used_for_longest() {
        let mut cache = PhraseCache::default();
        let long: Samples = vec![0; CACHE_LIMIT_BYTES / 2 / 3].into();
        for text in ["a", "b", "c"] {
            cache.keep(text.into(), &long);
        }
        assert!(cache.find("a").is_some());
        cache.keep("d".into(), &long);
        assert!(cache.find("b").is_none(), "b was used longest ago");
        assert!(cache.find("a").is_some() && cache.find("d").is_some());
        assert!(cache.size_bytes <= CACHE_LIMIT_BYTES);
    }
}
