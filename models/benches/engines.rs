//! What each engine costs on one core: `cargo bench -p models`. Fetches the models it needs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use models::{
    Store, TranscribeOptions, VoiceSettings, catalogue, load_embedder, load_speech_to_text, load_text_to_speech,
    load_voice_activity,
};

fn store() -> Store {
    let store = Store::open(Store::default_folder().expect("a home folder")).expect("a models folder");
    for id in catalogue::minimal_set() {
        store.fetch(id, &mut ()).unwrap_or_else(|error| panic!("{error}"));
    }
    store
}

/// Nearest-sample resampling is good enough for a stopwatch.
fn at(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    let count = samples.len() * to as usize / from as usize;
    (0..count).map(|n| samples[n * from as usize / to as usize]).collect()
}

fn engines(criterion: &mut Criterion) {
    let store = store();
    let mut voice = load_text_to_speech(&store, catalogue::PIPER_JOE, &VoiceSettings::default()).expect("a voice");
    let ten_words = "We are open every weekday from nine until half five.";
    let speech = voice.synthesise(ten_words).expect("speech");

    let mut group = criterion.benchmark_group("engines");
    group.sample_size(20);
    group.bench_function("piper ten words", |bencher| bencher.iter(|| voice.synthesise(black_box(ten_words))));

    let mut ears = load_speech_to_text(&store, catalogue::WHISPER_TINY_EN, 1).expect("a recogniser");
    let wide = at(&speech.samples, speech.sample_rate, 16_000);
    let mut audio: Vec<f32> = wide.iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
    audio.resize(48_000, 0.0);
    let options = TranscribeOptions::default();
    group.bench_function("whisper tiny.en on 3 s", |bencher| {
        bencher.iter(|| ears.transcribe(black_box(&audio), &options))
    });

    let mut vad = load_voice_activity(&store).expect("a detector").create();
    let narrow = at(&speech.samples, speech.sample_rate, 8_000);
    let mut frames = narrow.chunks_exact(160).cycle();
    group.bench_function("silero per 20 ms", |bencher| {
        bencher.iter(|| frames.next().map(|frame| vad.probability(black_box(frame))));
    });

    let mut embedder = load_embedder(&store).expect("an embedder");
    group.bench_function("minilm per sentence", |bencher| bencher.iter(|| embedder.embed(black_box(ten_words))));
}

criterion_group!(benches, engines);
criterion_main!(benches);
