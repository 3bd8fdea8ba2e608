//! What a caller's speech is worth after coding, a lossy network and the jitter buffer, as signal to noise.

use std::time::{Duration, Instant};

use audio::codec::CodecKind;
use audio::jitter::JitterConfig;
use audio::rtp::{FrameKind, PayloadType, Receiver, ReceiverConfig, ReceiverStats, Sender, SenderConfig};
use audio::{FRAME_DURATION, FRAME_SAMPLES};

/// Ten seconds of something like speech: a voice that glides, with formants and syllables.
fn speech_like() -> Vec<i16> {
    let mut phase = 0.0_f64;
    let sample = |index: usize| {
        let time = index as f64 / 8_000.0;
        let wave = |hz: f64| (std::f64::consts::TAU * hz * time).sin();
        phase += (130.0 + 25.0 * wave(0.7)) / 8_000.0;
        let harmonic = |n: f64, level: f64| level * (std::f64::consts::TAU * n * phase).sin();
        let voice = harmonic(1.0, 0.6) + harmonic(4.0, 1.0) + harmonic(6.0, 0.5) + harmonic(11.0, 0.25);
        (voice * (0.55 + 0.45 * wave(3.0)) * 6_000.0) as i16
    };
    (0..10 * 8_000).map(sample).collect()
}

/// Sends `speech` through a network given as the arrival time of each packet after its sending, `None` if lost. Gives
/// what was heard from the first speech on, and the receiver's statistics.
fn heard(speech: &[i16], codec: CodecKind, delay: impl Fn(u64) -> Option<Duration>) -> (Vec<i16>, ReceiverStats) {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
    let start = Instant::now();
    let mut sender = Sender::new(SenderConfig {
        payload_type: codec.payload_type(),
        codec,
        ssrc: 1,
        first_sequence: 65_500,
        first_timestamp: 0,
        dtmf_payload_type: Some(PayloadType::USUAL_DTMF),
    });
    let mut under_way = Vec::new();
    for (index, frame) in (0_u64..).zip(speech.chunks_exact(FRAME_SAMPLES)) {
        let mut datagram = Vec::new();
        sender.packet(frame.try_into().expect("chunks are frames"), &mut datagram);
        under_way.extend(delay(index).map(|delay| (FRAME_DURATION * index as u32 + delay, datagram)));
    }
    under_way.sort_by_key(|(arrival, _)| *arrival);
    let mut under_way = under_way.into_iter().peekable();
    // A delay that needs no change: what changes it by time-scaling is not to be judged sample by sample.
    let jitter = JitterConfig { target_delay: 3 * FRAME_DURATION };
    let mut receiver = Receiver::new(ReceiverConfig { jitter, ..ReceiverConfig::new(&[codec], None) });
    let mut heard = Vec::new();
    for tick in 0..510 {
        let now = FRAME_DURATION * tick;
        while let Some((arrival, datagram)) = under_way.next_if(|(arrival, _)| *arrival <= now) {
            receiver.handle_packet(&datagram, start + arrival).expect("a good packet");
        }
        let played = receiver.poll_frame(start + now);
        if played.kind != FrameKind::Silence || !heard.is_empty() {
            heard.extend(played.frame);
        }
    }
    (heard, receiver.stats())
}

fn snr_db(expected: &[i16], heard: &[i16]) -> f64 {
    let energy = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let signal = energy(&mut expected.iter().map(|&sample| f64::from(sample)));
    let noise = energy(&mut expected.iter().zip(heard).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    10.0 * (signal / noise).log10()
}

/// G.711 itself gives about 38 dB (ITU-T G.712 asks for 33 dB over most of its range): nothing may be added to it.
#[test]
fn a_clean_network_costs_only_the_codec() {
    let speech = speech_like();
    for codec in CodecKind::G711 {
        let (heard, stats) = heard(&speech, codec, |_| Some(Duration::from_millis(3)));
        let snr = snr_db(&speech, &heard);
        assert!((35.0..42.0).contains(&snr), "{codec:?}: {snr} dB");
        assert_eq!((stats.received, stats.lost, stats.concealed_frames), (500, 0, 3), "the three are after the end");
    }
}

/// Jitter below the target and packets overtaking each other must not be heard at all.
#[test]
fn jitter_and_reordering_within_the_target_cost_nothing() {
    let speech = speech_like();
    let jittery = |index: u64| Some(Duration::from_millis(3 + index * 7 % 29));
    let (heard, stats) = heard(&speech, CodecKind::Pcma, jittery);
    let snr = snr_db(&speech, &heard);
    assert!(snr > 35.0, "{snr} dB");
    assert!(stats.reordered > 50, "{stats:?}");
    assert_eq!((stats.late, stats.lost), (0, 0));
}

/// With one packet in twenty lost, silence in its place would give 13 dB. Simple repetition must stay in step (a single
/// sample out of step ruins the figure) and is allowed to be no worse than 3 dB below silence, as it may be out of
/// phase; what it wins is the level, which the second figure measures.
#[test]
fn five_percent_loss_stays_in_step_and_keeps_its_level() {
    let speech = speech_like();
    let lossy = |index: u64| (index % 20 != 10).then_some(Duration::from_millis(3));
    let (heard, stats) = heard(&speech, CodecKind::Pcmu, lossy);
    let snr = snr_db(&speech, &heard);
    assert!(snr > 10.0, "{snr} dB");
    assert_eq!((stats.lost, stats.concealed_frames), (25, 25 + 3));
    let level = |samples: &[i16]| audio::dsp::level::rms_dbov(samples);
    let lost = 10 * FRAME_SAMPLES..11 * FRAME_SAMPLES;
    assert!((level(&speech[lost.clone()]) - level(&heard[lost])).abs() < 6.0);
}
