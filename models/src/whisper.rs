//! Speech-to-text by whisper.cpp.
//!
//! Whisper encodes 30 s whatever it gets. Telling it how much there really is (`audio_ctx`, 50 positions a second) makes
//! a short utterance five times cheaper at about the same error rate; under 384 positions the decoder loops, so that is
//! the floor, together with a cap on tokens and the checks in `guard`. One thread by default: ggml's workers spin at
//! barriers, and on a busy machine two threads take twenty times as long as one.
//!
//! Left out: timestamps, temperature fallback and beam search (none pays within a caller's patience), prompts (they
//! leak into the text of quiet audio).

use std::ffi::c_void;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState, get_lang_id,
    install_logging_hooks,
};

use crate::guard::{self, Token};
use crate::stt::STT_SAMPLE_RATE;
use crate::{SpeechToText, SttError, TranscribeOptions, Transcript};

/// Positions of the encoder: a second has 50.
const POSITIONS_PER_SECOND: f32 = 50.0;
const MIN_POSITIONS: i32 = 384;
const EXTRA_POSITIONS: i32 = 64;
const MAX_POSITIONS: i32 = 1_500;
/// Bound on the decoder: speech has at most about 5 tokens a second.
const TOKENS_PER_SECOND: f32 = 7.0;
const EXTRA_TOKENS: i32 = 12;
/// whisper.cpp takes no less than a second; shorter audio gets silence behind it.
const MIN_SAMPLES: usize = STT_SAMPLE_RATE as usize * 5 / 4;
const LIMIT_SECONDS: u32 = 30;

/// A loaded Whisper model with its working memory.
pub(crate) struct Whisper {
    model: String,
    state: WhisperState,
    multilingual: bool,
    end_of_text: i32,
    threads: i32,
}

/// The processor features that whisper.cpp was compiled for, in its own words, such as `NEON` and `DOTPROD`.
pub fn kernels() -> Vec<&'static str> {
    let features = whisper_rs::print_system_info().split(['|', ':']);
    features.filter_map(|feature| feature.trim().strip_suffix(" = 1")).collect()
}

impl Whisper {
    /// Loads the ggml file at `path`. `model` is its catalogue id; `threads` is 1..=8, and 1 is right almost always.
    pub(crate) fn load(model: &str, path: &Path, threads: usize) -> Result<Self, SttError> {
        silence();
        let mut parameters = WhisperContextParameters::default();
        parameters.use_gpu(false).flash_attn(false);
        let path = path.to_str().ok_or("the path of the model is not UTF-8").map_err(|error| engine(error.into()))?;
        let context = WhisperContext::new_with_params(path, parameters).map_err(|error| engine(error.into()))?;
        let state = context.create_state().map_err(|error| engine(error.into()))?;
        Ok(Self {
            model: model.to_owned(),
            state,
            multilingual: context.is_multilingual(),
            end_of_text: context.token_eot(),
            threads: threads.clamp(1, 8) as i32,
        })
    }

    fn language<'a>(&self, options: &'a TranscribeOptions) -> Result<&'a str, SttError> {
        match options.language.as_deref() {
            Some(language) if self.multilingual && get_lang_id(language).is_none() => {
                Err(SttError::UnknownLanguage(language.to_owned()))
            }
            Some(language) if self.multilingual => Ok(language),
            Some(_) | None => Ok("en"),
        }
    }

    fn decode(&mut self, samples: &[f32], language: &str, options: &TranscribeOptions) -> Result<(), SttError> {
        let mut parameters = parameters(samples.len(), self.threads, language);
        if let Some(flag) = &options.abort {
            abort_on(&mut parameters, flag);
        }
        let padded;
        let input = if samples.len() < MIN_SAMPLES {
            padded = [samples, &vec![0.0; MIN_SAMPLES - samples.len()]].concat();
            &padded
        } else {
            samples
        };
        let done = self.state.full(parameters, input);
        if options.is_aborted() {
            return Err(SttError::Aborted);
        }
        done.map_err(|error| engine(error.into()))
    }

    /// The text tokens of everything decoded, without whisper's own marks.
    fn tokens(&self) -> Vec<Token> {
        let mut tokens = Vec::new();
        for segment in self.state.as_iter() {
            let all = (0..segment.n_tokens()).filter_map(|index| segment.get_token(index));
            let all = all.map(|token| Token { id: token.token_id(), probability: token.token_probability() });
            tokens.extend(all.filter(|token| token.id < self.end_of_text));
        }
        tokens
    }
}

impl SpeechToText for Whisper {
    fn transcribe(&mut self, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript, SttError> {
        let audio = guard::duration(samples);
        if audio.as_secs_f32() > LIMIT_SECONDS as f32 {
            return Err(SttError::TooLong { seconds: audio.as_secs_f32(), limit_seconds: LIMIT_SECONDS });
        }
        let language = self.language(options)?;
        if options.is_aborted() {
            return Err(SttError::Aborted);
        }
        if let Some(reason) = guard::check_audio(samples) {
            return Ok(Transcript::rejected(reason, audio));
        }
        let start = Instant::now();
        self.decode(samples, language, options)?;
        let mut text = String::new();
        let mut no_speech = if self.state.full_n_segments() == 0 { 1.0_f32 } else { 0.0 };
        for segment in self.state.as_iter() {
            text.push_str(&segment.to_str_lossy().map_err(|error| engine(error.into()))?);
            no_speech = no_speech.max(segment.no_speech_probability());
        }
        Ok(guard::judge(&text, &self.tokens(), no_speech, audio, start.elapsed()))
    }

    fn model(&self) -> &str {
        &self.model
    }
}

fn parameters<'a>(samples: usize, threads: i32, language: &'a str) -> FullParams<'a, 'a> {
    let seconds = samples as f32 / STT_SAMPLE_RATE as f32;
    let positions = (POSITIONS_PER_SECOND * seconds).ceil() as i32 + EXTRA_POSITIONS;
    let mut parameters = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    parameters.set_audio_ctx(positions.clamp(MIN_POSITIONS, MAX_POSITIONS));
    parameters.set_max_tokens((TOKENS_PER_SECOND * seconds) as i32 + EXTRA_TOKENS);
    parameters.set_n_threads(threads);
    parameters.set_language(Some(language));
    parameters.set_single_segment(true);
    parameters.set_no_context(true);
    parameters.set_temperature_inc(0.0);
    parameters.set_suppress_blank(true);
    parameters.set_suppress_nst(true);
    parameters.set_print_special(false);
    parameters.set_print_progress(false);
    parameters.set_print_realtime(false);
    parameters.set_print_timestamps(false);
    parameters
}

/// Makes the decode stop once `flag` is set. whisper-rs's own safe setter passes a closure of one type to a trampoline
/// of another (0.16.0), and leaks it.
#[expect(unsafe_code, reason = "the only sound way to pass an abort flag to whisper-rs 0.16")]
fn abort_on(parameters: &mut FullParams<'_, '_>, flag: &AtomicBool) {
    // SAFETY: whisper.cpp calls back only during `full`, while the caller's `TranscribeOptions` keep the flag alive, and
    // reads through the pointer only as the `AtomicBool` that it is.
    unsafe {
        parameters.set_abort_callback(Some(is_set));
        parameters.set_abort_callback_user_data(std::ptr::from_ref(flag).cast_mut().cast());
    }
}

#[expect(unsafe_code, reason = "called from C with the pointer that `abort_on` passed")]
unsafe extern "C" fn is_set(flag: *mut c_void) -> bool {
    // SAFETY: see `abort_on`.
    unsafe { &*flag.cast_const().cast::<AtomicBool>() }.load(Ordering::Relaxed)
}

/// whisper.cpp and ggml print to stderr unless told otherwise. Their messages hold transcripts in debug builds, so they
/// are dropped, not logged.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(install_logging_hooks);
}

fn engine(error: Box<dyn std::error::Error + Send + Sync>) -> SttError {
    SttError::Engine(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_read_through_the_callback() {
        let flag = AtomicBool::new(false);
        let mut parameters = parameters(16_000, 1, "en");
        abort_on(&mut parameters, &flag);
        let pointer = std::ptr::from_ref(&flag).cast_mut().cast();
        #[expect(unsafe_code, reason = "plays the part of whisper.cpp")]
        // SAFETY: the pointer is to the live flag above.
        let read = || unsafe { is_set(pointer) };
        assert!(!read());
        flag.store(true, Ordering::Relaxed);
        assert!(read());
    }
}
