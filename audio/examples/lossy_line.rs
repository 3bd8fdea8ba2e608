//! What a listener hears of a recording after a codec, a network that loses packets at random, and our receiver: for
//! measuring concealment with PESQ or STOI, as the table in `audio/src/jitter/conceal.rs` was.
//!
//! `cargo run --package audio --example lossy_line -- IN.wav OUT.wav CODEC LOSS_PERCENT SEED`; the recording has 16 kHz,
//! and so has the result. Packet n is lost if the n-th number of the seed's xorshift is below the share.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use audio::codec::CodecKind;
use audio::rtp::{FrameKind, Receiver, ReceiverConfig, Sender, SenderConfig};
use audio::time::SampleRate;
use audio::{FRAME_DURATION, wav};

struct Line {
    codec: CodecKind,
    loss_percent: f64,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let Some((input, output, line)) = parse(&arguments) else {
        eprintln!("usage: lossy_line IN.wav OUT.wav CODEC LOSS_PERCENT SEED");
        return ExitCode::from(64);
    };
    match run(Path::new(input), Path::new(output), &line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Option<(&str, &str, Line)> {
    let [input, output, codec, loss_percent, seed] = arguments else { return None };
    let codec = CodecKind::from_name(codec)?;
    Some((input, output, Line { codec, loss_percent: loss_percent.parse().ok()?, seed: seed.parse().ok()? }))
}

fn run(input: &Path, output: &Path, line: &Line) -> Result<(), wav::WavError> {
    let said = wav::read(input)?.samples;
    wav::write(output, &line.heard(&said), SampleRate::WIDE_BAND)
}

impl Line {
    /// What comes out, beginning with the first frame of sound.
    fn heard(&self, said: &[i16]) -> Vec<i16> {
        #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
        let mut now = Instant::now();
        let mut sender = Sender::new(SenderConfig {
            payload_type: self.codec.payload_type(),
            codec: self.codec,
            ssrc: 1,
            first_sequence: 1,
            first_timestamp: 1,
            dtmf_payload_type: None,
        });
        let mut receiver = Receiver::new(ReceiverConfig::new(&[self.codec], None));
        let (mut random, mut datagram, mut heard) = (self.seed.max(1), Vec::new(), Vec::new());
        for frame in said.as_chunks().0 {
            sender.wide_packet(frame, &mut datagram);
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // 53 bits, as many as a float holds.
            let is_lost = (random >> 11) as f64 / (1_u64 << 53) as f64 * 100.0 < self.loss_percent;
            if !is_lost {
                let _ = receiver.handle_packet(&datagram, now + Duration::from_millis(1));
            }
            now += FRAME_DURATION;
            let played = receiver.poll_wide_frame(now);
            if played.kind != FrameKind::Silence || !heard.is_empty() {
                heard.extend(played.frame);
            }
        }
        heard
    }
}
