//! Cost of RTP per packet: receive and play, and encode and send. Budget: a media thread carries hundreds of calls, so
//! a packet each way must cost well under 20 µs. With SRTP a packet should cost at most a quarter more in the whole
//! media thread; `srtp_protect_…` and `srtp_unprotect_…` are what it costs alone, on 20 ms of G.711.

use std::hint::black_box;
use std::time::{Duration, Instant};

use audio::FRAME_DURATION;
use audio::codec::CodecKind;
use audio::rtp::srtp::{Inbound, MasterKey, Outbound, Profile};
use audio::rtp::{PayloadType, Receiver, ReceiverConfig, Sender, SenderConfig};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

fn sender() -> Sender {
    Sender::new(SenderConfig {
        payload_type: PayloadType::PCMU,
        codec: CodecKind::Pcmu,
        ssrc: 1,
        first_sequence: 0,
        first_timestamp: 0,
        dtmf_payload_type: Some(PayloadType::USUAL_DTMF),
    })
}

fn send(criterion: &mut Criterion) {
    let mut sender = sender();
    let mut datagram = Vec::new();
    let frame = std::array::from_fn(|index| (index as i16 - 80) * 100);
    criterion.bench_function("rtp_send_packet", |bencher| {
        bencher.iter(|| sender.packet(black_box(&frame), &mut datagram));
    });
}

fn receive(criterion: &mut Criterion) {
    let mut sender = sender();
    let mut receiver = Receiver::new(ReceiverConfig::new(&CodecKind::G711, Some(PayloadType::USUAL_DTMF)));
    let mut datagram = Vec::new();
    let frame = std::array::from_fn(|index| (index as i16 - 80) * 100);
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
    let mut now = Instant::now();
    sender.packet(&frame, &mut datagram);
    let mut sequence = 0_u16;
    let mut timestamp = 0_u32;
    criterion.bench_function("rtp_receive_and_play_packet", |bencher| {
        bencher.iter(|| {
            // Only the header changes from packet to packet, so that sending is not measured along.
            sequence = sequence.wrapping_add(1);
            timestamp = timestamp.wrapping_add(160);
            datagram[2..4].copy_from_slice(&sequence.to_be_bytes());
            datagram[4..8].copy_from_slice(&timestamp.to_be_bytes());
            now += FRAME_DURATION;
            let _ = black_box(receiver.handle_packet(&datagram, now));
            black_box(receiver.poll_frame(now + Duration::from_millis(5)))
        });
    });
}

fn protect(criterion: &mut Criterion) {
    for profile in Profile::ALL {
        let mut outbound = Outbound::new(&key(profile));
        let (mut packet, mut sequence) = (packet(), 0_u16);
        let plain_bytes = packet.len();
        criterion.bench_function(&format!("srtp_protect_{}", profile.name()), |bencher| {
            bencher.iter(|| {
                packet.truncate(plain_bytes);
                packet[2..4].copy_from_slice(&sequence.to_be_bytes());
                sequence = sequence.wrapping_add(1);
                outbound.protect_rtp(black_box(&mut packet))
            });
        });
    }
}

fn unprotect(criterion: &mut Criterion) {
    for profile in Profile::ALL {
        let key = key(profile);
        let mut outbound = Outbound::new(&key);
        let mut inbound = Inbound::new(&key);
        let mut sequence = 0_u16;
        let mut next = || {
            let mut packet = packet();
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            sequence = sequence.wrapping_add(1);
            outbound.protect_rtp(&mut packet).map(|()| packet)
        };
        criterion.bench_function(&format!("srtp_unprotect_{}", profile.name()), |bencher| {
            bencher.iter_batched(
                &mut next,
                |packet| packet.map(|mut packet| inbound.unprotect_rtp(&mut packet).is_ok()),
                BatchSize::SmallInput,
            );
        });
        assert_eq!(inbound.stats().errors, Default::default());
    }
}

fn key(profile: Profile) -> MasterKey {
    MasterKey::generate(profile, |bytes| bytes.fill(0x5a))
}

fn packet() -> Vec<u8> {
    let mut datagram = Vec::with_capacity(200);
    sender().packet(&std::array::from_fn(|index| (index as i16 - 80) * 100), &mut datagram);
    datagram
}

criterion_group!(benches, send, receive, protect, unprotect);
criterion_main!(benches);
