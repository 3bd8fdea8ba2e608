//! What cleaning does to recognition: word error rates of whisper tiny.en on people's speech through G.711, on good and
//! bad lines, with nothing and with each piece; and who is taken for a caller by voice activity and endpointing.
//!
//! Every clip comes after three seconds of the line alone, so that whatever adapts has. The table in the documentation of
//! `audio::dsp` is of this. `-- WORD… on WORD…` runs only the pieces and the lines whose names hold one of the words;
//! `OFFHOOK_ROUNDS=3` takes each clip three times, with other noise; `OFFHOOK_RECOGNISER=moonshine-tiny-en` takes another
//! recogniser. Needs the models and the shared clips.
//!
//! Words wrong in %, nothing cleaned, by recogniser: in a call the first one is quick enough, messages and what is heard again
//! after a call get the second.
//!
//! |  | good line | -45 dBov | white noise 15 dB | pink 5 dB | babble 15 dB |
//! |---|---|---|---|---|---|
//! | moonshine-tiny-en | 11.1 | 8.7 | 15.1 | 35.7 | 27.0 |
//! | whisper-base-q8_0 | 7.9 | 7.1 | 7.1 | 17.5 | 15.1 |
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and fails loudly")]

mod lines;
mod pieces;

use std::time::{Duration, Instant};

use audio::dsp::level::rms_dbov;
use audio::dsp::resample::{f32_of, resample_f32};
use audio::time::SampleRate;
use daemon::conversation::endpointing::{EndpointEvent, Endpointer, EndpointingSettings};
use models::{
    SpeechToText, Store, TranscribeOptions, VadFactory, VoiceSettings, catalogue, load_speech_to_text,
    load_text_to_speech, load_voice_activity,
};

use self::lines::{LEAD_FRAMES, LINES, Line, Sound};
use self::pieces::{PIECES, Piece};
use tests::recordings::{self, Clip};

/// What the box says while a caller talks over it.
const PROMPT: &str = "Thank you for calling the practice. We are open from nine in the morning until five in the \
    afternoon, Monday to Friday, and there is free parking behind the building. If this is an emergency, please hang up \
    and call one one two. You can ask me about prices, appointments and how to find us, or leave a message.";
/// Sound kept from before the words and after them, as endpointing does.
const MARGIN_FRAMES: usize = 12;

/// What came of all clips on one line through one piece.
#[derive(Default)]
struct Score {
    wrong: usize,
    words: usize,
    /// Lines on which a caller was heard while there was none.
    false_alarms: usize,
    /// Clips of which nobody noticed that they were speech.
    missed: usize,
}

struct Engines {
    ears: Box<dyn SpeechToText>,
    voice_activity: Box<dyn VadFactory>,
}

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let Some(folder) = tests::shared::shared_data("speech") else { return };
    let store = Store::open(Store::default_folder().unwrap()).unwrap();
    let recogniser = std::env::var("OFFHOOK_RECOGNISER").unwrap_or_else(|_| catalogue::WHISPER_TINY_EN.to_owned());
    for id in [recogniser.as_str(), catalogue::PIPER_JOE, catalogue::SILERO] {
        store.fetch(id, &mut ()).unwrap();
    }
    store.fetch(catalogue::onnx_runtime().unwrap(), &mut ()).unwrap();
    let mut engines = Engines {
        ears: load_speech_to_text(&store, &recogniser, 1).unwrap(),
        voice_activity: load_voice_activity(&store).unwrap(),
    };
    let steady = VoiceSettings { noise_scale: Some(0.0), noise_w: Some(0.0), ..VoiceSettings::default() };
    let prompt = load_text_to_speech(&store, catalogue::PIPER_JOE, &steady).unwrap().synthesise(PROMPT).unwrap();
    let prompt = recordings::narrow(&prompt.samples, prompt.sample_rate);
    let clips = recordings::clips(&folder);
    let english = clips.iter().filter(|clip| clip.is_english).count();
    println!(
        "{recogniser}, {english} clips of people; words wrong in %, false alarms / callers missed where there are any"
    );

    let rounds: usize = std::env::var("OFFHOOK_ROUNDS").map_or(1, |text| text.parse().unwrap());
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mut chosen = words.split(|word| word == "on");
    let is_chosen = |name: &str, words: &[String]| words.is_empty() || words.iter().any(|word| name.contains(word));
    let (pieces, lines) = (chosen.next().unwrap_or_default(), chosen.next().unwrap_or_default());
    let lines: Vec<&Line> = LINES.iter().filter(|line| is_chosen(line.name, lines)).collect();
    print!("{:<24}", "");
    lines.iter().for_each(|line| print!("{:>13}", line.name));
    println!("{:>10}", "µs/frame");
    for (name, make) in PIECES.iter().filter(|(name, _)| is_chosen(name, pieces)) {
        print!("{name:<24}");
        let (mut total, mut frames) = (Duration::ZERO, 0_u32);
        for line in &lines {
            let mut score = Score::default();
            for round in 0..rounds {
                for (number, clip) in clips.iter().enumerate().filter(|(_, clip)| clip.is_english) {
                    let sound = line.sound(number, round, &clips, &prompt);
                    let mut piece = make();
                    let (heard, took) = cleaned(&sound, &mut piece);
                    frames += (heard.len() / 160) as u32;
                    total += took;
                    engines.judge(&heard, piece.whole, clip, &mut score);
                }
            }
            print!("{:>13}", score.to_string());
            std::io::Write::flush(&mut std::io::stdout()).unwrap();
        }
        println!("{:>10.1}", total.as_secs_f64() * 1e6 / f64::from(frames));
    }
}

/// What comes out of `piece`, and how long it took.
fn cleaned(sound: &Sound, piece: &mut Piece) -> (Vec<(i16, bool)>, Duration) {
    let mut cleaned = Vec::with_capacity(sound.heard.len());
    let begun = Instant::now();
    for (heard, said) in sound.heard.iter().zip(&sound.said) {
        let mut frame = *heard;
        let is_echo = (piece.each_frame)(&mut frame, said);
        cleaned.extend(frame.map(|sample| (sample, is_echo)));
    }
    (cleaned, begun.elapsed())
}

impl Engines {
    fn judge(&mut self, heard: &[(i16, bool)], whole: fn(&mut [i16]), clip: &Clip, score: &mut Score) {
        let mut detector = self.voice_activity.create();
        let mut endpointer = Endpointer::new(EndpointingSettings::default());
        let (mut before, mut during) = (false, false);
        for (index, frame) in heard.chunks_exact(160).enumerate() {
            let samples: Vec<i16> = frame.iter().map(|(sample, _)| *sample).collect();
            let probability = detector.probability(&samples);
            let speech = if frame[0].1 { 0.0 } else { probability };
            let event = endpointer.handle_frame(index as u64, speech, rms_dbov(&samples));
            let is_heard = event == Some(EndpointEvent::SpeechConfirmed);
            before |= is_heard && index < LEAD_FRAMES;
            during |= is_heard && index >= LEAD_FRAMES;
        }
        score.false_alarms += usize::from(before);
        score.missed += usize::from(!during && !before);

        let range = (LEAD_FRAMES - MARGIN_FRAMES) * 160..heard.len();
        let mut utterance: Vec<i16> = heard[range].iter().map(|(sample, _)| *sample).collect();
        whole(&mut utterance);
        let narrow: Vec<f32> = utterance.into_iter().map(f32_of).collect();
        let wide = resample_f32(&narrow, SampleRate::NARROW_BAND, SampleRate::WIDE_BAND).unwrap();
        let transcript = self.ears.transcribe(&wide, &TranscribeOptions::default()).unwrap();
        let (wrong, words) = tests::eval::word_errors(&clip.text, &transcript.text);
        score.wrong += wrong;
        score.words += words;
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = 100.0 * self.wrong as f64 / self.words as f64;
        match (self.false_alarms, self.missed) {
            (0, 0) => f.pad(&format!("{rate:.1}")),
            (false_alarms, missed) => f.pad(&format!("{rate:.1} {false_alarms}/{missed}")),
        }
    }
}
