//! The buffer as a whole: what is heard of which packets.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::testing::at;
use crate::time::{FRAME_SAMPLES, Frame, SILENT_FRAME, StreamClock};

const FRAME_TICKS: u32 = FRAME_SAMPLES as u32;

fn buffer() -> JitterBuffer {
    JitterBuffer::new(JitterConfig::default(), StreamClock::NARROW_BAND)
}

/// A codec for tests: each payload byte is one sample of that value times 100.
struct Bytes;

impl Source for Bytes {
    fn decode(&mut self, _: PayloadType, payload: &[u8], samples: &mut Vec<i16>) {
        samples.extend(payload.iter().map(|&byte| i16::from(byte) * 100));
    }

    fn conceal(&mut self, _: PayloadType, _: usize, _: Option<&[u8]>, _: &mut Vec<i16>) -> bool {
        false
    }
}

/// One tick.
struct Played {
    frame: Frame,
    kind: FrameKind,
}

fn poll(buffer: &mut JitterBuffer, now: Instant) -> Played {
    let mut frame = SILENT_FRAME;
    let kind = buffer.poll_frame(now, &mut Bytes, &mut frame);
    Played { frame, kind }
}

fn packet(sequence: u64, timestamp: u32, payload: &[u8]) -> Arrived<'_> {
    let duration_ticks = payload.len() as u32;
    let payload_type = Some(PayloadType::PCMU);
    Arrived { sequence, timestamp: RtpTimestamp(timestamp), duration_ticks, payload_type, payload }
}

/// Plays `(sequence, timestamp, arrival_ms)` and writes each tick as a letter: the packet heard at its end (`a` is
/// sequence 1), `~` made up, `.` silence. The first tick is at 0 ms.
fn play(packets: &[(u64, u32, u64)], ticks: u64) -> (String, JitterStats) {
    let mut buffer = buffer();
    let mut waiting = packets.to_vec();
    waiting.sort_by_key(|&(_, _, arrival_ms)| arrival_ms);
    let mut waiting = waiting.into_iter().peekable();
    let mut heard = String::new();
    for tick in 0..ticks {
        while let Some((sequence, timestamp, arrival_ms)) = waiting.next_if(|packet| packet.2 <= tick * 20) {
            let letter = b'a' + sequence as u8 - 1;
            buffer.insert(&packet(sequence, timestamp, &[letter; FRAME_SAMPLES]), at(arrival_ms));
        }
        let played = poll(&mut buffer, at(tick * 20));
        heard.push(match played.kind {
            FrameKind::Speech => char::from((played.frame[FRAME_SAMPLES - 1] / 100) as u8),
            FrameKind::Concealed => '~',
            FrameKind::Silence => '.',
        });
    }
    (heard, buffer.stats())
}

#[test]
fn packets_are_heard_in_order_whatever_the_network_does() {
    const WRAP: u32 = u32::MAX - 159;
    // (name, (sequence, timestamp, arrival_ms), heard, late)
    type Row = (&'static str, &'static [(u64, u32, u64)], &'static str, u64);
    let rows: [Row; 12] = [
        ("in order, then the end", &[(1, 0, 5), (2, 160, 25), (3, 320, 45), (4, 480, 65)], "..abcd~~~.", 0),
        ("timestamps wrap", &[(1, WRAP, 5), (2, 0, 25), (3, 160, 45)], "..abc~~~.", 0),
        ("reordered in time", &[(1, 0, 5), (3, 320, 25), (2, 160, 45), (4, 480, 65)], "..abcd~~~.", 0),
        ("one lost", &[(1, 0, 5), (2, 160, 25), (4, 480, 65), (5, 640, 85)], "..ab~de~~~.", 0),
        ("three lost", &[(1, 0, 5), (5, 640, 85), (6, 800, 105)], "..a~~~ef~~~.", 0),
        ("after its turn, before the next", &[(1, 0, 5), (2, 160, 25), (4, 480, 75), (3, 320, 90)], "..ab~cd~~~.", 0),
        ("after the next", &[(1, 0, 5), (2, 160, 25), (4, 480, 65), (3, 320, 105)], "..ab~d~~~.", 1),
        ("twice", &[(1, 0, 5), (1, 0, 6), (2, 160, 25), (2, 160, 85)], "..ab~~~.", 2),
        ("new talkspurt", &[(1, 0, 5), (2, 160, 25), (3, 1_920, 245), (4, 2_080, 265)], "..ab~~~.......cd~~~.", 0),
        ("short pause by the peer", &[(1, 0, 5), (2, 320, 25), (3, 480, 45)], "..a.bc~~~.", 0),
        ("timestamps jump ahead", &[(1, 0, 5), (2, 9_000_000, 25), (3, 9_000_160, 45)], "..abc~~~.", 0),
        ("timestamps jump back", &[(1, 9_000, 5), (2, 40, 25), (3, 200, 45)], "..abc~~~.", 0),
    ];
    for (name, packets, expected, late) in rows {
        let (heard, stats) = play(packets, expected.len() as u64);
        assert_eq!(heard, expected, "{name}");
        assert_eq!(stats.late, late, "{name}: late");
    }
}

#[test]
fn enough_at_once_starts_without_waiting() {
    let (heard, _) = play(&[(1, 0, 5), (2, 160, 5), (3, 320, 5)], 5);
    assert_eq!(heard, ".abc~");
}

/// Everything that a stalled network held back is still heard, up to the bound.
#[test]
fn a_stall_delays_speech_but_loses_none() {
    let packets = (1..=16).map(|n| (n, n as u32 * 160, if n < 4 { n * 20 } else { (n * 20).max(200) }));
    let (heard, stats) = play(&packets.collect::<Vec<_>>(), 30);
    assert_eq!(heard.replace(['.', '~'], ""), "abcdefghijklmnop");
    assert_eq!((stats.late, stats.discarded), (0, 0));
}

#[test]
fn too_much_at_once_keeps_the_newest() {
    let mut buffer = buffer();
    for sequence in 1..=40 {
        buffer.insert(&packet(sequence, sequence as u32 * 160, &[1; FRAME_SAMPLES]), at(0));
        assert!(buffer.buffered_ticks() <= 20 * FRAME_TICKS);
    }
    assert!(buffer.stats().discarded >= 20);
    assert_eq!(poll(&mut buffer, at(40)).kind, FrameKind::Speech);
}

#[test]
fn too_much_in_long_packets_keeps_the_last_one() {
    let mut buffer = buffer();
    for sequence in 1..=3 {
        buffer.insert(&packet(sequence, sequence as u32 * 1_600, &[sequence as u8; 1_600]), at(0));
    }
    assert_eq!(buffer.stats().discarded, 2);
    assert_eq!(poll(&mut buffer, at(40)).frame, [300; FRAME_SAMPLES]);
}

/// A key held for four seconds: 200 packets without sound, then speech with its full delay.
#[test]
fn a_long_key_press_neither_fills_the_buffer_nor_shortens_the_delay() {
    let mut buffer = buffer();
    for sequence in 1..=200 {
        let event = Arrived { payload_type: None, duration_ticks: 0, ..packet(sequence, 0, &[]) };
        buffer.insert(&event, at(sequence * 20));
        assert_eq!(poll(&mut buffer, at(sequence * 20)).kind, FrameKind::Silence);
    }
    assert_eq!(buffer.stats(), JitterStats::default());
    let kinds = (201..205).map(|sequence| {
        buffer.insert(&packet(sequence, sequence as u32 * 160, &[1; FRAME_SAMPLES]), at(sequence * 20));
        poll(&mut buffer, at(sequence * 20)).kind
    });
    let expected = [FrameKind::Silence, FrameKind::Silence, FrameKind::Speech, FrameKind::Speech];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

/// Sound comes out as it went in for every packet length, also when frames and packets do not line up.
#[test]
fn any_packet_length_gives_the_same_sound() {
    let sound = (0..9_600_usize).map(|index| (index % 251) as u8).collect::<Vec<_>>();
    for packet_samples in [80, 160, 200, 240, 320, 480, 1_600] {
        let mut buffer = buffer();
        let mut heard = Vec::new();
        let mut packets = sound.chunks(packet_samples).enumerate().peekable();
        for tick in 0..70_u64 {
            while let Some((index, payload)) =
                packets.next_if(|(index, _)| (index * packet_samples) as u64 <= tick * FRAME_SAMPLES as u64)
            {
                let timestamp = (index * packet_samples) as u32;
                buffer.insert(&packet(index as u64, timestamp, payload), at(u64::from(timestamp) / 8));
            }
            let played = poll(&mut buffer, at(tick * 20));
            if played.kind == FrameKind::Speech {
                heard.extend(played.frame);
            }
        }
        let expected = sound.iter().map(|&byte| i16::from(byte) * 100).collect::<Vec<_>>();
        assert_eq!(heard.len(), expected.len(), "{packet_samples} samples a packet");
        assert!(heard == expected, "{packet_samples} samples a packet");
    }
}

/// A minute with a peer whose clock is off. Gives the statistics and the deepest the buffer ever was.
fn drift(packet_interval_us: u64) -> (JitterStats, u32) {
    let mut buffer = buffer();
    let (mut sequence, mut deepest) = (0, 0);
    for tick in 0..3_000_u64 {
        while sequence * packet_interval_us <= tick * 20_000 {
            let arrival = at(0) + Duration::from_micros(sequence * packet_interval_us);
            buffer.insert(&packet(sequence, sequence as u32 * 160, &[50; FRAME_SAMPLES]), arrival);
            sequence += 1;
        }
        poll(&mut buffer, at(tick * 20));
        deepest = deepest.max(buffer.buffered_ticks());
    }
    (buffer.stats(), deepest)
}

#[test]
fn a_fast_peer_is_followed_by_leaving_out_periods() {
    let (stats, deepest) = drift(19_900); // 0.5 % fast: 300 ms in a minute.
    let followed_ms = stats.shortened.as_millis();
    assert!((240..=360).contains(&followed_ms), "{stats:?}");
    assert!(deepest <= 5 * FRAME_TICKS, "{deepest}");
    assert_eq!((stats.concealed_frames, stats.discarded, stats.late), (0, 0, 0));
}

#[test]
fn a_slow_peer_is_followed_by_repeating_periods() {
    let (stats, deepest) = drift(20_100);
    let followed_ms = stats.lengthened.as_millis();
    assert!((240..=360).contains(&followed_ms), "{stats:?}");
    assert!(deepest <= 5 * FRAME_TICKS, "{deepest}");
    assert_eq!((stats.concealed_frames, stats.discarded, stats.late), (0, 0, 0));
}

/// Thirty seconds of jitter twice the target: after a while nothing may be made up any more.
#[test]
fn the_delay_grows_to_what_the_network_needs() {
    let mut buffer = buffer();
    let (mut sequence, mut latest_ms, mut concealed_at_5_s) = (0_u64, 0, 0);
    let mut arrival_ms = |sequence: u64| {
        latest_ms = (sequence * 20 + sequence * 37 % 81).max(latest_ms);
        latest_ms
    };
    let mut next_ms = arrival_ms(0);
    for tick in 0..1_500_u64 {
        while next_ms <= tick * 20 {
            buffer.insert(&packet(sequence, sequence as u32 * 160, &[50; FRAME_SAMPLES]), at(next_ms));
            sequence += 1;
            next_ms = arrival_ms(sequence);
        }
        poll(&mut buffer, at(tick * 20));
        if tick == 250 {
            concealed_at_5_s = buffer.stats().concealed_frames;
        }
    }
    let stats = buffer.stats();
    assert!((1..10).contains(&concealed_at_5_s), "{concealed_at_5_s}");
    assert_eq!(stats.concealed_frames, concealed_at_5_s, "{stats:?}");
    assert_eq!((stats.late, stats.discarded), (0, 0));
}

#[derive(Debug, Clone)]
enum Operation {
    Insert { step: i64, timestamp_step: u32, samples: usize, is_event: bool },
    Poll { elapsed_ms: u64 },
    Flush,
}

fn operation() -> impl Strategy<Value = Operation> {
    let step = prop_oneof![6 => Just(1_i64), 2 => -8_i64..8, 1 => -200_i64..4_000];
    let timestamp_step = prop_oneof![6 => Just(160_u32), 2 => 0_u32..2_000, 1 => any::<u32>()];
    let samples = prop_oneof![4 => Just(160_usize), 2 => 0_usize..=1_600, 1 => Just(1_601_usize)];
    let insert = (step, timestamp_step, samples, prop::bool::weighted(0.1)).prop_map(
        |(step, timestamp_step, samples, is_event)| Operation::Insert { step, timestamp_step, samples, is_event },
    );
    let elapsed_ms = prop_oneof![4 => Just(20_u64), 1 => 0_u64..3_000];
    prop_oneof![
        10 => insert,
        10 => elapsed_ms.prop_map(|elapsed_ms| Operation::Poll { elapsed_ms }),
        1 => Just(Operation::Flush),
    ]
}

proptest! {
    /// Whatever came before, the buffer stays bounded, and a steady stream is heard again soon. A judgement
    /// made of wild timestamps before may still cost a frame later.
    #[test]
    fn no_history_leaves_it_stuck(operations in prop::collection::vec(operation(), 0..300)) {
        let mut buffer = buffer();
        let (mut sequence, mut timestamp, mut now_ms) = (100_000_u64, 0_u32, 0);
        for operation in operations {
            match operation {
                Operation::Insert { step, timestamp_step, samples, is_event } => {
                    let this = sequence.saturating_add_signed(step);
                    sequence = sequence.max(this);
                    timestamp = timestamp.wrapping_add(timestamp_step);
                    let payload = vec![1; samples];
                    let mut packet = packet(this, timestamp, &payload);
                    if is_event {
                        packet = Arrived { payload_type: None, duration_ticks: 0, payload: &[], ..packet };
                    }
                    buffer.insert(&packet, at(now_ms));
                }
                Operation::Poll { elapsed_ms } => {
                    now_ms += elapsed_ms;
                    poll(&mut buffer, at(now_ms));
                }
                Operation::Flush => buffer.flush(),
            }
            prop_assert!(buffer.buffered_ticks() <= 30 * FRAME_TICKS);
        }
        let mut last_kinds = Vec::new();
        for _ in 0..60 {
            sequence += 1;
            timestamp = timestamp.wrapping_add(160);
            buffer.insert(&packet(sequence, timestamp, &[7; FRAME_SAMPLES]), at(now_ms));
            now_ms += 20;
            last_kinds.push(poll(&mut buffer, at(now_ms)).kind);
        }
        let speech = last_kinds[40..].iter().filter(|&&kind| kind == FrameKind::Speech).count();
        prop_assert!(speech >= 18, "{last_kinds:?}");
    }
}
