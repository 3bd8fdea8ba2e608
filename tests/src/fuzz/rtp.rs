//! RTP as it may come: any bytes, and packets of a real sender that are lost, doubled, delayed, damaged or of another source.

use std::time::{Duration, Instant};

use audio::codec::CodecKind;
use audio::rtp::{ErrorCounts, FrameKind, Packet, PayloadType, Receiver, ReceiverConfig, Sender, SenderConfig};
use audio::{FRAME_DURATION, SILENT_FRAME};

use super::script::Script;
use super::transactions::ORIGIN;

const CODECS: [CodecKind; 4] = [CodecKind::Pcmu, CodecKind::Pcma, CodecKind::G722, CodecKind::Opus];
/// Ticks after which a stream that arrives in order is heard, whatever came before: its delay, and then some.
const TICKS_TO_RECOVER: usize = 12;

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    survives_writing(input);
    let mut script = Script::new(input);
    let mut stream = Stream::new(script.chance());
    while !script.is_over() {
        stream.act(&mut script);
    }
    stream.recovers(script_free_codec(input));
}

/// What was read is written so that it is read again, the same way.
fn survives_writing(input: &[u8]) {
    let Ok(packet) = Packet::parse(input) else { return };
    let mut written = Vec::new();
    packet.write(&mut written);
    assert_eq!(Packet::parse(&written), Ok(packet));
}

fn script_free_codec(input: &[u8]) -> CodecKind {
    CODECS[input.len() % CODECS.len()]
}

fn sender(codec: CodecKind, ssrc: u32, first_sequence: u16) -> Sender {
    Sender::new(SenderConfig {
        payload_type: codec.payload_type(),
        codec,
        ssrc,
        first_sequence,
        first_timestamp: u32::from(first_sequence) << 16,
        dtmf_payload_type: Some(PayloadType::USUAL_DTMF),
    })
}

struct Stream {
    receiver: Receiver,
    /// By source.
    senders: [Sender; 3],
    /// The last packets of theirs, one of which may come again.
    sent: Vec<Vec<u8>>,
    now: Instant,
    refused: u64,
}

impl Stream {
    fn new(listens_for_tones: bool) -> Self {
        let mut config = ReceiverConfig::new(&CODECS, Some(PayloadType::USUAL_DTMF));
        config.listens_for_tones = listens_for_tones;
        let senders = [1, 2, 3].map(|ssrc| sender(CODECS[ssrc as usize], ssrc, 65_500));
        Self { receiver: Receiver::new(config), senders, sent: Vec::new(), now: *ORIGIN, refused: 0 }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(12) {
            0 => self.hear(script.bytes()),
            1..=5 => self.send(script),
            6 => self.repeat(script),
            7 => self.now += Duration::from_millis(script.byte().into()),
            8 => self.poll(script.below(40)),
            _ => self.poll(1),
        }
    }

    /// The next packet of a source: carried, lost, held back or damaged.
    fn send(&mut self, script: &mut Script<'_>) {
        let sender = &mut self.senders[script.below(3)];
        let mut datagram = Vec::new();
        match script.below(8) {
            0 => sender.skip(),
            1 => {
                let codec = script.pick(&CODECS);
                let config = SenderConfig { payload_type: codec.payload_type(), codec, ..config_of(sender) };
                sender.renegotiate(&config);
            }
            2 => {
                let _ = sender.queue_dtmf(script.pick(&['0', '9', '*', '#', 'D']));
            }
            _ => {}
        }
        sender.packet(&[1_000; SILENT_FRAME.len()], &mut datagram);
        match script.below(8) {
            0 => {}
            1 => self.keep(datagram),
            2 => {
                let at = script.below(datagram.len());
                datagram[at] = script.byte();
                self.hear(&datagram);
            }
            3 => self.hear(&datagram[..script.below(datagram.len())]),
            _ => {
                self.hear(&datagram);
                self.keep(datagram);
            }
        }
    }

    fn keep(&mut self, datagram: Vec<u8>) {
        if self.sent.len() == 16 {
            self.sent.remove(0);
        }
        self.sent.push(datagram);
    }

    fn repeat(&mut self, script: &mut Script<'_>) {
        if !self.sent.is_empty() {
            let datagram = self.sent[script.below(self.sent.len())].clone();
            self.hear(&datagram);
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        self.refused += u64::from(self.receiver.handle_packet(datagram, self.now).is_err());
        assert_eq!(all(self.receiver.stats().errors), self.refused, "refused datagrams are counted once each");
    }

    fn poll(&mut self, ticks: usize) {
        for tick in 0..ticks {
            self.now += FRAME_DURATION;
            if tick % 2 == 0 {
                self.receiver.poll_frame(self.now);
            } else {
                self.receiver.poll_wide_frame(self.now);
            }
            while self.receiver.poll_dtmf().is_some() {}
        }
        let stats = self.receiver.stats();
        assert!(stats.jitter_ms.is_finite() && stats.jitter_ms >= 0.0, "jitter of {} ms", stats.jitter_ms);
        assert!(stats.jitter_buffer_target <= Duration::from_millis(120), "{:?}", stats.jitter_buffer_target);
        assert!(self.receiver.reception().received() >= stats.late.saturating_sub(stats.duplicate));
    }

    /// A new source that sends in order is heard.
    fn recovers(&mut self, codec: CodecKind) {
        let mut sender = sender(codec, 9, 100);
        let mut datagram = Vec::new();
        let mut heard = 0;
        for _ in 0..2 * TICKS_TO_RECOVER {
            self.now += FRAME_DURATION;
            sender.packet(&[1_000; SILENT_FRAME.len()], &mut datagram);
            self.hear(&datagram);
            heard += usize::from(self.receiver.poll_frame(self.now).kind == FrameKind::Speech);
        }
        assert!(heard >= TICKS_TO_RECOVER, "{heard} frames heard of a stream without fault in {codec:?}");
    }
}

fn config_of(sender: &Sender) -> SenderConfig {
    SenderConfig {
        payload_type: PayloadType::PCMU,
        codec: CodecKind::Pcmu,
        ssrc: sender.ssrc(),
        first_sequence: 0,
        first_timestamp: 0,
        dtmf_payload_type: Some(PayloadType::USUAL_DTMF),
    }
}

fn all(counts: ErrorCounts) -> u64 {
    counts.malformed() + counts.rtcp + counts.unknown_payload_type + counts.unconfirmed_source
}
