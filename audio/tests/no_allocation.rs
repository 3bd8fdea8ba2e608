//! The media thread must not allocate per packet: an allocator that counts is the judge.

#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]
#![expect(clippy::unwrap_used, reason = "helpers of tests: what is refused fails the test, with its error")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use audio::FRAME_DURATION;
use audio::codec::CodecKind;
use audio::playout::{ClipId, Playout};
use audio::rtp::srtp::{Inbound, MasterKey, Outbound, Profile};
use audio::rtp::{PayloadType, Receiver, ReceiverConfig, Sender, SenderConfig};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // Gone only while the thread ends, where nobody counts.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations_of(|| drop(black_box(vec![0_u8; 10]))), 1);
}

#[test]
fn a_call_in_steady_state_allocates_nothing() {
    CodecKind::ALL.into_iter().for_each(check_call);
}

/// Ten seconds of a call both ways, with loss, reordering, a digit and play-out.
fn check_call(codec: CodecKind) {
    let dtmf_payload_type = Some(PayloadType::USUAL_DTMF);
    let mut receiver = Receiver::new(ReceiverConfig::new(&[codec], dtmf_payload_type));
    let mut sender = Sender::new(SenderConfig {
        payload_type: codec.payload_type(),
        codec,
        ssrc: 1,
        first_sequence: 65_400,
        first_timestamp: 0,
        dtmf_payload_type,
    });
    let mut playout = Playout::new();
    playout.play(ClipId(1), vec![1_000; 600 * 160].into()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
    let mut now = Instant::now();
    let mut held_back = Vec::new();
    let mut datagram = Vec::new();
    let mut speech_frames = 0;
    let mut tick = |index: u32| {
        now += FRAME_DURATION;
        let frame = playout.poll_frame().unwrap();
        sender.packet(&frame, &mut datagram);
        match index % 10 {
            3 => {}
            5 => std::mem::swap(&mut held_back, &mut datagram),
            6 => {
                receiver.handle_packet(&datagram, now).unwrap();
                receiver.handle_packet(&held_back, now + Duration::from_millis(1)).unwrap();
            }
            _ => receiver.handle_packet(&datagram, now).unwrap(),
        }
        if index % 100 == 50 {
            sender.queue_dtmf('5').unwrap();
        }
        let played = receiver.poll_frame(now + Duration::from_millis(5));
        speech_frames += u32::from(played.frame.iter().any(|&sample| sample != 0));
        while receiver.poll_dtmf().is_some() {}
        while playout.poll_event().is_some() {}
    };
    (0..100).for_each(&mut tick); // Buffers reach their size.
    assert_eq!(allocations_of(|| (100..600).for_each(&mut tick)), 0, "{codec:?}");
    assert!(speech_frames > 500, "{codec:?}: {speech_frames}");
}

/// Each profile both ways, with a forged packet, RTCP and a source that changes, among them.
#[test]
fn srtp_in_steady_state_allocates_nothing() {
    for profile in Profile::ALL {
        let key = MasterKey::generate(profile, |bytes| bytes.fill(7));
        let (mut outbound, mut inbound) = (Outbound::new(&key), Inbound::new(&key));
        let mut datagram = Vec::with_capacity(200);
        let mut genuine = 0;
        let mut tick = |sequence: u16| {
            datagram.clear();
            datagram.extend([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (sequence / 200) as u8]);
            datagram[2..4].copy_from_slice(&sequence.to_be_bytes());
            datagram.resize(172, 5);
            outbound.protect_rtp(&mut datagram).unwrap();
            datagram[100] ^= u8::from(sequence % 10 == 3);
            genuine += u32::from(inbound.unprotect_rtp(&mut datagram).is_ok());
            if sequence.is_multiple_of(50) {
                datagram.clear();
                datagram.extend([0x80, 201, 0, 1, 0, 0, 0, 1]);
                outbound.protect_rtcp(&mut datagram).unwrap();
                inbound.unprotect_rtcp(&mut datagram).unwrap();
            }
        };
        assert_eq!(allocations_of(|| (0..1_000).for_each(&mut tick)), 0, "{profile:?}");
        assert_eq!(genuine, 900, "{profile:?}");
    }
}
