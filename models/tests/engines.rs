//! The real engines on real models, which these tests fetch themselves. The shared clips are skipped, loudly, when they
//! are not there.

#![cfg(feature = "engines")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "what fails fails the test, and the figures are read")]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::{Clip, clips, noise, resample, store_with, to_f32, to_i16, word_errors};
use models::{
    Embedder, Rejection, SpeechToText, SttError, TextToSpeech, TranscribeOptions, TtsError, VadFactory, VoiceSettings,
    catalogue, cosine, load_embedder, load_speech_to_text, load_text_to_speech, load_voice_activity,
};

fn recogniser(id: &str) -> Box<dyn SpeechToText> {
    load_speech_to_text(&store_with(id), id, 1).expect("it loads")
}

/// Both kinds, of whose callers nothing else differs.
const RECOGNISERS: [&str; 2] = [catalogue::WHISPER_TINY_EN, catalogue::MOONSHINE_TINY_EN];

fn piper() -> Box<dyn TextToSpeech> {
    let id = catalogue::PIPER_JOE;
    let steady = VoiceSettings { noise_scale: Some(0.0), noise_w: Some(0.0), ..VoiceSettings::default() };
    load_text_to_speech(&store_with(id), id, &steady).expect("piper loads")
}

fn silero() -> Box<dyn VadFactory> {
    load_voice_activity(&store_with(catalogue::SILERO)).expect("silero loads")
}

fn embedder() -> Box<dyn Embedder> {
    load_embedder(&store_with(catalogue::MINILM)).expect("minilm loads")
}

/// What a caller may say to an office, and the office may answer.
const SENTENCES: &[&str] = &[
    "What are your opening hours on Saturday?",
    "I would like to speak to a person, please.",
    "Can I book an appointment for next Tuesday?",
    "We are open from nine in the morning until five in the afternoon.",
    "There is free parking behind the building.",
    "Thank you very much, goodbye.",
];

/// What Piper says survives a telephone line and is understood: the two engines fit each other.
#[test]
fn spoken_sentences_come_back_as_text_over_a_telephone_band() {
    for id in RECOGNISERS {
        spoken_sentences_come_back_by(id);
    }
}

fn spoken_sentences_come_back_by(id: &str) {
    let (mut voice, mut ears) = (piper(), recogniser(id));
    let (mut errors, mut words) = (0, 0);
    for sentence in SENTENCES {
        let speech = voice.synthesise(sentence).unwrap();
        assert_eq!(speech.sample_rate, 22_050);
        let line = resample(&to_f32(&speech.samples), speech.sample_rate, 8_000);
        let transcript = ears.transcribe(&resample(&line, 8_000, 16_000), &TranscribeOptions::default()).unwrap();
        let (wrong, of) = word_errors(sentence, &transcript.text);
        println!(
            "{wrong}/{of} {:?} {:.2} {:?} {}",
            transcript.decode, transcript.confidence, transcript.rejected, transcript.text
        );
        (errors, words) = (errors + wrong, words + of);
    }
    let rate = errors as f64 / words as f64;
    println!("word error rate of the round trip: {rate:.3}");
    assert!(rate <= 0.08, "{errors} of {words} words wrong");
}

#[test]
fn people_are_understood_over_a_telephone_band() {
    let Some(clips) = clips() else { return };
    for id in RECOGNISERS {
        people_are_understood_by(id, clips);
    }
}

fn people_are_understood_by(id: &str, clips: &[Clip]) {
    let mut ears = recogniser(id);
    let (mut errors, mut words, mut decode) = (0, 0, Duration::ZERO);
    for clip in clips.iter().filter(|clip| clip.language == "en") {
        let line = resample(&resample(&clip.samples, 16_000, 8_000), 8_000, 16_000);
        let heard = ears.transcribe(&line, &TranscribeOptions::default()).unwrap();
        let (wrong, of) = word_errors(&clip.text, &heard.text);
        println!(
            "{wrong:2}/{of:2}  {:27} {:4.1} s in {:4} ms  p {:.2} ns {:.2} {:?} {}",
            clip.file,
            heard.audio.as_secs_f32(),
            heard.decode.as_millis(),
            heard.confidence,
            heard.no_speech,
            heard.rejected,
            heard.text
        );
        (errors, words, decode) = (errors + wrong, words + of, decode + heard.decode);
    }
    let rate = errors as f64 / words as f64;
    println!("{id}: word error rate of people on a telephone band: {rate:.3} ({errors} of {words}) in {decode:?}");
    assert!(words > 100 && rate <= 0.30, "{errors} of {words} words wrong");
}

/// A turn that nobody spoke would make the box talk to itself.
#[test]
fn silence_and_noise_give_no_text() {
    RECOGNISERS.into_iter().for_each(silence_and_noise_give_no_text_to);
}

fn silence_and_noise_give_no_text_to(id: &str) {
    let mut ears = recogniser(id);
    for seconds in [0.05, 0.5, 1.0, 3.0, 8.0] {
        let count = (seconds * 16_000.0) as usize;
        for amplitude in [0.0, 0.001, 0.01, 0.05, 0.2] {
            let heard = ears.transcribe(&noise(count, amplitude), &TranscribeOptions::default()).unwrap();
            println!(
                "{seconds} s of noise at {amplitude}: {:?} ns {:.2} p {:.2}",
                heard.rejected, heard.no_speech, heard.confidence
            );
            assert!(heard.is_empty() && heard.rejected.is_some(), "{seconds} s at {amplitude}: {heard:?}");
        }
        let hum: Vec<f32> = (0..count).map(|n| (n as f32 * 0.0196).sin() * 0.1).collect();
        let heard = ears.transcribe(&hum, &TranscribeOptions::default()).unwrap();
        assert!(heard.is_empty(), "{seconds} s of mains hum: {heard:?}");
    }
}

#[test]
fn a_decode_that_nobody_wants_any_more_stops() {
    RECOGNISERS.into_iter().for_each(a_decode_stops);
}

fn a_decode_stops(id: &str) {
    let mut ears = recogniser(id);
    let options = TranscribeOptions { abort: Some(Arc::new(AtomicBool::new(true))), ..TranscribeOptions::default() };
    assert!(matches!(ears.transcribe(&noise(160_000, 0.2), &options), Err(SttError::Aborted)));
    let too_long = ears.transcribe(&vec![0.1; 31 * 16_000], &TranscribeOptions::default());
    assert!(matches!(too_long, Err(SttError::TooLong { .. })));
    let after = ears.transcribe(&[0.0; 16_000], &TranscribeOptions::default()).unwrap();
    assert_eq!(after.rejected, Some(Rejection::TooQuiet), "the engine still works");
}

#[test]
fn speech_has_the_length_of_its_text_and_is_the_same_every_time() {
    let mut voice = piper();
    let sentence = "Good morning, you have reached the office. How can I help you?";
    let start = Instant::now();
    let first = voice.synthesise(sentence).unwrap();
    println!("{:?} of speech in {:?}", first.duration(), start.elapsed());
    assert!((2.0..8.0).contains(&first.duration().as_secs_f32()), "{:?}", first.duration());
    assert!(first.samples.iter().any(|sample| sample.unsigned_abs() > 8_000));
    assert!(first.samples.iter().all(|sample| sample.unsigned_abs() < 32_000), "room for resampling");
    assert_eq!(voice.synthesise(sentence).unwrap(), first, "without noise it is deterministic");
    voice.release_memory();
    assert_eq!(voice.synthesise(sentence).unwrap(), first, "memory that was given back is taken again");
    for nothing in ["", "   ", "..."] {
        assert!(voice.synthesise(nothing).unwrap().duration().as_secs_f32() < 1.0, "{nothing:?}");
    }
    let long = "This is one of many sentences, and it goes on. ".repeat(20);
    let spoken = voice.synthesise(&long).unwrap().duration().as_secs_f32();
    assert!((30.0..90.0).contains(&spoken), "{spoken}");
    assert!(matches!(voice.synthesise(&long.repeat(5)), Err(TtsError::TooLong { .. })));
}

#[test]
fn silero_hears_speech_and_not_noise() {
    let factory = silero();
    let speech = piper().synthesise("I would like to know when you are open on Saturday.").unwrap();
    let line = resample(&to_f32(&speech.samples), speech.sample_rate, 8_000);
    let share = |samples: &[f32]| {
        let mut vad = factory.create();
        let samples = to_i16(samples);
        let frames = samples.chunks_exact(160);
        let count = frames.len();
        frames.filter(|frame| vad.probability(frame) > 0.5).count() as f64 / count as f64
    };
    let (spoken, silent, hissing) = (share(&line), share(&[0.0; 40_000]), share(&noise(40_000, 0.05)));
    println!("share of frames called speech: speech {spoken:.2}, silence {silent:.3}, noise {hissing:.3}");
    assert!(spoken > 0.7 && silent < 0.01 && hissing < 0.02);
    let Some(clips) = clips() else { return };
    for clip in clips {
        let share = share(&resample(&clip.samples, 16_000, 8_000));
        println!("{share:.2} {}", clip.file);
        assert!(share > 0.35, "{}: {share}", clip.file);
    }
}

#[test]
fn reset_makes_a_detector_forget() {
    let factory = silero();
    let speech = piper().synthesise("Hello, is anybody there?").unwrap();
    let line = to_i16(&resample(&to_f32(&speech.samples), speech.sample_rate, 8_000));
    let run =
        |vad: &mut dyn models::VoiceActivity| line.chunks(160).map(|frame| vad.probability(frame)).collect::<Vec<_>>();
    let mut used = factory.create();
    let first = run(used.as_mut());
    used.reset();
    assert_eq!(run(used.as_mut()), first);
}

#[test]
fn the_nearest_sentence_means_the_same() {
    let mut embedder = embedder();
    let examples = [
        "When are you open?",
        "Where are you located?",
        "I want to talk to a human being.",
        "How much does it cost?",
        "I would like to make an appointment.",
    ];
    let examples: Vec<_> = examples.iter().map(|text| (text, embedder.embed(text).unwrap())).collect();
    for (question, expected) in [
        ("what are your business hours", 0),
        ("can you give me your address", 1),
        ("let me speak with a real person", 2),
        ("what is the price", 3),
        ("can I book a visit next week", 4),
    ] {
        let vector = embedder.embed(question).unwrap();
        assert_eq!(vector.len(), embedder.dimensions());
        assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-4);
        let nearest =
            examples.iter().enumerate().max_by(|a, b| cosine(&a.1.1, &vector).total_cmp(&cosine(&b.1.1, &vector)));
        let (index, (text, example)) = nearest.unwrap();
        println!("{:.2} {question} -> {text}", cosine(example, &vector));
        assert_eq!(index, expected, "{question} -> {text}");
    }
    assert_eq!(embedder.embed("").unwrap().len(), 384);
    assert_eq!(embedder.embed(&"word ".repeat(5_000)).unwrap().len(), 384, "long text is cut off");
}
