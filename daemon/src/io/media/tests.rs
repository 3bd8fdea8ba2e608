//! Streams that hear each other, over real sockets.

use audio::dsp::level::peak_dbov;
use audio::dsp::tone::sine;
use audio::rtp::PayloadType;
use audio::rtp::srtp::{MasterKey, Profile};
use audio::time::SampleRate;

use super::*;
use crate::io::ports::PortPool;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn key(seed: u8) -> MasterKey {
    MasterKey::generate(Profile::AesCm128HmacSha1_80, |bytes| bytes.fill(seed))
}

/// Two streams that talk to each other, `ours` and `theirs` as their keys: what the second hears of a tone of the
/// first in 50 frames (loudest peak in dBov), and its counters.
async fn heard(ours: Option<Keys>, theirs: Option<Keys>) -> (f32, StreamStats) {
    let media = MediaHandle::start().unwrap();
    let [near, far] = [(); 2].map(|()| PortPool::new(LOOPBACK, 0, 1).lend().unwrap());
    let config = |remote: &MediaPort, srtp| StreamConfig {
        srtp,
        ..StreamConfig::plain(SocketAddr::new(LOOPBACK, remote.local().port()), CodecKind::Pcmu)
    };
    let (near_config, far_config) = (config(&far, ours), config(&near, theirs));
    let (speaker, _near_heard) = media.open(near, near_config).unwrap();
    let (listener, mut far_heard) = listened_to(&media, far, far_config);
    let tone: Vec<i16> = (0..8_000).map(|n| ((f32::from(n as i16) * 0.4).sin() * 16_000.0) as i16).collect();
    speaker.play(ClipId(1), tone.into()).unwrap();
    let mut loudest = f32::NEG_INFINITY;
    for _ in 0..50 {
        match far_heard.recv().await {
            Some(MediaEvent::Frame { frame, .. }) => loudest = loudest.max(peak_dbov(&frame)),
            Some(_) => {}
            None => break,
        }
    }
    let mut stats = listener.stats.clone();
    drop(listener);
    // The last counters are published as the stream closes.
    while let Some(MediaEvent::Frame { .. }) = far_heard.recv().await {}
    let last = stats.borrow_and_update().clone();
    (loudest, last)
}

/// A stream whose sound is told.
fn listened_to(media: &MediaHandle, port: MediaPort, config: StreamConfig) -> (MediaSession, MediaEvents) {
    let (session, events) = media.open(port, config).unwrap();
    session.listen(true).unwrap();
    (session, events)
}

async fn some_time(events: &mut MediaEvents) {
    for _ in 0..10 {
        assert!(events.recv().await.is_some());
    }
}

/// One of our streams and the far end of it, each on a port of its own.
fn pair(media: &MediaHandle) -> [(MediaSession, MediaEvents); 2] {
    pair_in(media, CodecKind::Pcmu)
}

fn pair_in(media: &MediaHandle, codec: CodecKind) -> [(MediaSession, MediaEvents); 2] {
    let ports = [(); 2].map(|()| PortPool::new(LOOPBACK, 0, 1).lend().unwrap());
    let locals = [&ports[1], &ports[0]].map(|port| SocketAddr::new(LOOPBACK, port.local().port()));
    let mut remotes = locals.into_iter();
    ports.map(|port| {
        let mut config = StreamConfig::plain(remotes.next().unwrap(), codec);
        let events = PayloadType::new(101).unwrap();
        config.receiver = ReceiverConfig::new(&[codec], Some(events));
        config.sender.dtmf_payload_type = Some(events);
        listened_to(media, port, config)
    })
}

/// What one far end says and presses comes out at the other far end, and not at the box.
#[tokio::test]
async fn bridged_streams_hear_each_other() {
    let media = MediaHandle::start().unwrap();
    let [(caller, _caller_events), (near, mut near_events)] = pair(&media);
    let [(callee, mut callee_events), (far, _far_events)] = pair(&media);
    near.bridge(far.peer()).unwrap();
    let tone: Vec<i16> = (0..16_000).map(|n| ((f32::from(n as i16) * 0.4).sin() * 16_000.0) as i16).collect();
    caller.play(ClipId(1), tone.into()).unwrap();
    caller.press('7').unwrap();
    let (mut loudest, mut digits) = (f32::NEG_INFINITY, String::new());
    for _ in 0..100 {
        match callee_events.recv().await.unwrap() {
            MediaEvent::Frame { frame, .. } => loudest = loudest.max(peak_dbov(&frame)),
            MediaEvent::Digit(digit) => digits.push(digit),
            MediaEvent::Said(_)
            | MediaEvent::ClipStarted { .. }
            | MediaEvent::ClipFinished { .. }
            | MediaEvent::ClipStopped { .. } => {}
        }
    }
    assert!(loudest > -15.0, "{loudest} dBov");
    assert_eq!(digits, "7");
    near.unbridge().unwrap();
    drop((callee, far));
    let mut frames = 0;
    while frames < 10 {
        frames += u32::from(matches!(near_events.recv().await.unwrap(), MediaEvent::Frame { .. }));
    }
}

/// What three people say: far from each other and from the music of filters.
const TONES_HZ: [f64; 3] = [600.0, 1_000.0, 1_700.0];

/// Who of the three is heard at a far end, after what was under way has passed.
async fn heard_tones(events: &mut MediaEvents) -> [bool; 3] {
    while events.try_recv().is_some() {}
    let mut samples = Vec::new();
    let mut frames = 0;
    while frames < 40 {
        if let MediaEvent::Frame { frame, .. } = events.recv().await.unwrap() {
            frames += 1;
            samples.extend(frame.into_iter().filter(|_| frames > 15));
        }
    }
    TONES_HZ.map(|hz| {
        let turn = std::f64::consts::TAU * hz / 8_000.0;
        let parts = samples.iter().enumerate().map(|(n, sample)| {
            let (sine, cosine) = (turn * n as f64).sin_cos();
            (f64::from(*sample) * sine, f64::from(*sample) * cosine)
        });
        let (sine, cosine) = parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        2.0 * sine.hypot(cosine) / samples.len() as f64 > 1_000.0
    })
}

/// Two are bridged, and a third hears both; then is heard by one of them, by both, by nobody again. In any mixture of
/// codecs, and with what is played to one of them.
#[tokio::test]
async fn a_third_hears_both_and_is_heard_by_whom_it_is_mixed_in() {
    use CodecKind::{G722, Opus, Pcmu};
    for codecs in [[Pcmu, Pcmu, Pcmu], [Pcmu, G722, Opus], [G722, Opus, Pcmu]] {
        let media = MediaHandle::start().unwrap();
        let [caller, colleague, third] = codecs.map(|codec| pair_in(&media, codec));
        let [(caller, mut caller_hears), (near, _near)] = caller;
        let [(colleague, mut colleague_hears), (far, _far)] = colleague;
        let [(third, mut third_hears), (own, _own)] = third;
        for (person, hz) in [&caller, &colleague, &third].into_iter().zip(TONES_HZ) {
            let tone = sine(hz, Duration::from_secs(60), -20.0, SampleRate::NARROW_BAND);
            person.play(ClipId(1), tone.into()).unwrap();
        }
        near.bridge(far.peer()).unwrap();
        own.mix(own.peer(), [Source::Brought(near.peer()), Source::Brought(far.peer())].map(Some), None).unwrap();
        let heard = Some(Source::Brought(own.peer()));
        for (by_caller, by_colleague) in [(None, None), (None, heard), (heard, heard), (None, None)] {
            own.mix(near.peer(), [by_caller, None], None).unwrap();
            own.mix(far.peer(), [by_colleague, None], None).unwrap();
            assert_eq!(heard_tones(&mut caller_hears).await, [false, true, by_caller.is_some()], "{codecs:?}");
            assert_eq!(heard_tones(&mut colleague_hears).await, [true, false, by_colleague.is_some()], "{codecs:?}");
            assert_eq!(heard_tones(&mut third_hears).await, [true, true, false], "{codecs:?}");
        }
        // One of them is put on hold: what is played there is heard instead of the bridge, the third beside it.
        near.unbridge().unwrap();
        far.unbridge().unwrap();
        near.play(ClipId(2), sine(TONES_HZ[1], Duration::from_secs(60), -20.0, SampleRate::NARROW_BAND).into())
            .unwrap();
        own.mix(own.peer(), [Some(Source::Played(near.peer())), None], None).unwrap();
        own.mix(near.peer(), [heard, None], None).unwrap();
        assert_eq!(heard_tones(&mut caller_hears).await, [false, true, true], "{codecs:?}");
        assert_eq!(heard_tones(&mut third_hears).await, [false, true, false], "{codecs:?}");
        // Whoever is not there any more brings nothing.
        drop(own);
        assert_eq!(heard_tones(&mut caller_hears).await, [false, true, false], "{codecs:?}");
    }
}

#[tokio::test]
async fn srtp_is_heard_by_the_peer_with_the_keys() {
    let ours = Keys { outbound: key(1), inbound: key(2) };
    let theirs = Keys { outbound: key(2), inbound: key(1) };
    let (loudest, stats) = heard(Some(ours), Some(theirs)).await;
    assert!(loudest > -15.0, "{loudest} dBov");
    assert!(stats.srtp.unwrap().rtp_packets > 20, "{stats:?}");
}

#[tokio::test]
async fn a_peer_with_another_key_or_none_hears_nothing() {
    let ours = Keys { outbound: key(1), inbound: key(2) };
    let wrong = Keys { outbound: key(2), inbound: key(3) };
    let (loudest, stats) = heard(Some(ours), Some(wrong.clone())).await;
    assert!(loudest < -60.0, "{loudest} dBov");
    assert_eq!(stats.srtp.unwrap().rtp_packets, 0);
    let (loudest, _) = heard(None, Some(wrong)).await;
    assert!(loudest < -60.0, "plain RTP must not pass: {loudest} dBov");
}

/// A stream of ours, and a socket as its peer: what is refused is counted by kind.
#[tokio::test]
async fn what_is_not_used_is_counted_by_kind() {
    let media = MediaHandle::start().unwrap();
    let [peer, stranger] = [(); 2].map(|()| std::net::UdpSocket::bind((LOOPBACK, 0)).unwrap());
    let port = PortPool::new(LOOPBACK, 0, 1).lend().unwrap();
    let target = SocketAddr::new(LOOPBACK, port.local().port());
    let keys = Keys { outbound: key(1), inbound: key(2) };
    let config =
        StreamConfig { srtp: Some(keys.clone()), ..StreamConfig::plain(peer.local_addr().unwrap(), CodecKind::Pcmu) };
    let (session, mut heard) = listened_to(&media, port, config);
    let mut outbound = srtp::Outbound::new(&keys.inbound);
    let mut protected = |payload_type: u8, sequence: u8| {
        let mut packet = [&[0x80, payload_type, 0, sequence, 0, 0, 0, sequence, 0, 0, 0, 1][..], &[0xff; 160]].concat();
        outbound.protect_rtp(&mut packet).unwrap();
        packet
    };
    let genuine = protected(0, 1);
    let mut forged = protected(0, 2);
    forged[20] ^= 1;
    let second = protected(0, 3);
    let comfort_noise = protected(13, 4);
    for datagram in
        [&genuine, &second, &genuine, &forged, &comfort_noise, &vec![0x80; 5], &vec![0; 100], &vec![0; 3_000]]
    {
        peer.send_to(datagram, target).unwrap();
    }
    // From the peer's address, but not from where it is by now.
    stranger.send_to(&second, target).unwrap();
    while heard.try_recv().is_some() {}
    for _ in 0..10 {
        heard.recv().await.unwrap();
    }
    let mut stats = session.stats.clone();
    drop(session);
    while heard.recv().await.is_some() {}
    let stats = stats.borrow_and_update().clone();
    let expected =
        Refused { foreign: 1, oversized: 1, malformed: 2, unexpected: 1, replayed: 1, unauthenticated: 1, reports: 0 };
    assert_eq!(stats.refused(), expected, "{stats:?}");
    assert_eq!(stats.received.received, 3);
}

/// Packet `sequence` of a tone in PCMU.
fn loud(sequence: u8, ssrc: u8) -> Vec<u8> {
    let header = [0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, ssrc];
    let mut packet = header.to_vec();
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend((0..160).map(|n| if n % 8 < 4 { 0x10 } else { 0x90 }));
    packet
}

/// The rest of an earlier call comes to our port first, from the same host: it does not keep the peer out. And a peer whose
/// port has changed is followed once it was silent at the old one.
#[tokio::test]
async fn the_peer_is_found_again() {
    let media = MediaHandle::start().unwrap();
    let [earlier, peer, moved] = [(); 3].map(|()| std::net::UdpSocket::bind((LOOPBACK, 0)).unwrap());
    let port = PortPool::new(LOOPBACK, 0, 1).lend().unwrap();
    let target = SocketAddr::new(LOOPBACK, port.local().port());
    let config = StreamConfig::plain(peer.local_addr().unwrap(), CodecKind::Pcmu);
    let (session, mut events) = listened_to(&media, port, config);
    let is_told = |socket: &std::net::UdpSocket| {
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        while socket.recv(&mut [0; 500]).is_ok() {}
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket.recv(&mut [0; 500]).is_ok()
    };
    earlier.send_to(&loud(1, 9), target).unwrap();
    some_time(&mut events).await;
    assert!(is_told(&earlier), "it could be the peer behind a NAT");
    let mut loudest = f32::NEG_INFINITY;
    for sequence in 1..40 {
        peer.send_to(&loud(sequence, 1), target).unwrap();
        earlier.send_to(&loud(sequence, 9), target).unwrap();
        while let Some(event) = events.recv().await {
            if let MediaEvent::Frame { frame, .. } = event {
                loudest = loudest.max(peak_dbov(&frame));
                break;
            }
        }
    }
    moved.send_to(&loud(40, 1), target).unwrap();
    some_time(&mut events).await;
    assert!(loudest > -20.0, "the peer is heard: {loudest} dBov");
    assert!(is_told(&peer) && !is_told(&earlier));
    assert!(!is_told(&moved), "the peer was heard only just now");
    for _ in 0..6 {
        some_time(&mut events).await;
    }
    moved.send_to(&loud(41, 1), target).unwrap();
    some_time(&mut events).await;
    assert!(is_told(&moved) && !is_told(&peer));
    drop(session);
}

/// Reports that were agreed to come with the sound are taken there (RFC 5761), the goodbye at the end among them.
#[tokio::test]
async fn reports_come_with_the_sound_where_that_is_agreed() {
    for rtcp_mux in [true, false] {
        let media = MediaHandle::start().unwrap();
        let ports = [(); 2].map(|()| PortPool::new(LOOPBACK, 0, 1).lend().unwrap());
        let mut remotes = [&ports[1], &ports[0]].map(|port| port.local()).into_iter();
        let [(near, mut heard), (far, _far_heard)] = ports.map(|port| {
            let plain = StreamConfig::plain(remotes.next().unwrap(), CodecKind::Pcmu);
            // Nobody is there: only what comes with the sound can come at all.
            let config = StreamConfig { rtcp_mux, remote_rtcp: SocketAddr::new(LOOPBACK, 9), ..plain };
            listened_to(&media, port, config)
        });
        some_time(&mut heard).await;
        drop(far);
        some_time(&mut heard).await;
        let mut stats = near.stats.clone();
        drop(near);
        while heard.recv().await.is_some() {}
        let stats = stats.borrow_and_update().clone();
        assert_eq!(stats.reports, u64::from(rtcp_mux), "{stats:?}");
        assert_eq!(stats.refused(), Refused::default());
    }
}
