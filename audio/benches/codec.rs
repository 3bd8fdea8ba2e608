//! Cost of coding 20 ms with each codec: what a call takes of a core is fifty times encoding and fifty times decoding.
//! Opus' complexity in `audio/src/codec/opus.rs` is chosen with this.

use std::hint::black_box;

use audio::codec::CodecKind;
use audio::dsp::level::rms_dbov;
use criterion::{Criterion, criterion_group, criterion_main};

/// Two seconds of a voice that glides, a frame after the other.
fn frames(codec: CodecKind) -> Vec<Vec<i16>> {
    let rate = f64::from(codec.sample_rate().hz());
    let mut phase = 0.0_f64;
    let sample = |index: usize| {
        phase += (130.0 + 25.0 * (index as f64 / rate * 4.0).sin()) / rate;
        let harmonic = |n: f64, level: f64| level * (std::f64::consts::TAU * n * phase).sin();
        ((harmonic(1.0, 0.6) + harmonic(4.0, 1.0) + harmonic(11.0, 0.3)) * 5_000.0) as i16
    };
    let sound = (0..2 * codec.sample_rate().hz() as usize).map(sample).collect::<Vec<_>>();
    sound.chunks(codec.clock().frame_samples()).map(<[i16]>::to_vec).collect()
}

fn coding(criterion: &mut Criterion) {
    for codec in CodecKind::ALL {
        let frames = frames(codec);
        let (mut encoder, mut payload) = (codec.encoder(), Vec::new());
        let mut turn = frames.iter().cycle();
        criterion.bench_function(&format!("encode_{}", codec.name()), |bencher| {
            bencher.iter(|| {
                payload.clear();
                turn.next().into_iter().for_each(|frame| encoder.encode(black_box(frame), &mut payload));
            });
        });
        let mut encoder = codec.encoder();
        let payloads = frames.iter().map(|frame| {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload);
            payload
        });
        let payloads = payloads.collect::<Vec<_>>();
        let (mut decoder, mut samples) = (codec.decoder(), Vec::new());
        let mut turn = payloads.iter().cycle();
        criterion.bench_function(&format!("decode_{}", codec.name()), |bencher| {
            bencher.iter(|| {
                samples.clear();
                turn.next().into_iter().for_each(|payload| decoder.decode(black_box(payload), &mut samples));
            });
        });
        assert!(rms_dbov(&samples) > -40.0, "{codec:?} gave no sound");
    }
}

criterion_group!(benches, coding);
criterion_main!(benches);
