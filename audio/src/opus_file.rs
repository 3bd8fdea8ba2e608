//! Opus in Ogg (RFC 7845): a fifth of what a recording takes as WAV and played by everything.

use std::io::{self, Write};

use audiopus::coder::Encoder;
use audiopus::{Application, Bitrate, Channels, SampleRate as OpusRate, Signal};
use ogg::{PacketWriteEndInfo, PacketWriter};

/// Transparent for a voice of a telephone.
const BITS_PER_SECOND_AND_CHANNEL: i32 = 20_000;
/// Of any packet of ours.
const MAX_PACKET_BYTES: usize = 1_000;
/// Samples at 8 kHz in a packet, for each channel.
const PACKET_SAMPLES: usize = 160;
/// Positions are counted at 48 kHz whatever is coded (RFC 7845 §4).
const TICKS_PER_SAMPLE: u64 = 6;
/// Packets of a page: a second, so that players find their way.
const PAGE_PACKETS: u64 = 50;
/// All zero on most files; any number will do where a file has one stream.
const SERIAL: u32 = 0x4F66_6648;

/// A file of 8 kHz sound in one or two channels, written as it comes.
pub struct OpusWriter<W: Write> {
    packets: PacketWriter<'static, W>,
    encoder: Encoder,
    channels: usize,
    /// Of both channels by turns, less than a packet.
    waiting: Vec<i16>,
    /// Samples for each channel that were given.
    given: u64,
    coded: u64,
    /// Samples of the coder's own delay, at 48 kHz: players leave them out.
    pre_skip: u16,
}

impl<W: Write> OpusWriter<W> {
    /// Begins the file; `channels` is 1 or 2, of which the first is left.
    ///
    /// # Errors
    /// What `inner` says; [`io::ErrorKind::InvalidInput`] for another number of channels.
    pub fn new(inner: W, channels: u16) -> io::Result<Self> {
        let layout = match channels {
            1 => Channels::Mono,
            2 => Channels::Stereo,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{channels} channels, not 1 or 2"))),
        };
        let encoder = encoder(layout, i32::from(channels)).map_err(io::Error::other)?;
        let delay = encoder.lookahead().map_err(io::Error::other)?;
        let pre_skip = u16::try_from(u64::from(delay) * TICKS_PER_SAMPLE).map_err(io::Error::other)?;
        let mut packets = PacketWriter::new(inner);
        packets.write_packet(head(channels as u8, pre_skip), SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        packets.write_packet(tags(), SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        Ok(Self { packets, encoder, channels: channels.into(), waiting: Vec::new(), given: 0, coded: 0, pre_skip })
    }

    /// The next samples, of two channels by turns.
    ///
    /// # Errors
    /// What the file says.
    pub fn push(&mut self, samples: &[i16]) -> io::Result<()> {
        self.given += (samples.len() / self.channels) as u64;
        self.waiting.extend_from_slice(samples);
        let packet = PACKET_SAMPLES * self.channels;
        let mut done = 0;
        // The last packet is kept back: it has to be marked as such.
        while self.waiting.len() - done > packet {
            self.code(done, false)?;
            done += packet;
        }
        self.waiting.drain(..done);
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// What the file says.
    pub fn finish(mut self) -> io::Result<()> {
        let packet = PACKET_SAMPLES * self.channels;
        // The coder holds its delay back: silence pushes it out.
        let end = self.given + u64::from(self.pre_skip) / TICKS_PER_SAMPLE;
        while self.coded + (PACKET_SAMPLES as u64) < end {
            self.waiting.resize(self.waiting.len().max(packet), 0);
            self.code(0, false)?;
            self.waiting.drain(..packet);
        }
        self.waiting.resize(packet, 0);
        self.code(0, true)
    }

    fn code(&mut self, from: usize, is_last: bool) -> io::Result<()> {
        let mut packet = vec![0; MAX_PACKET_BYTES];
        let samples = &self.waiting[from..from + PACKET_SAMPLES * self.channels];
        let length = self.encoder.encode(samples, &mut packet[..]).map_err(io::Error::other)?;
        packet.truncate(length);
        self.coded += PACKET_SAMPLES as u64;
        let fills_page = (self.coded / PACKET_SAMPLES as u64).is_multiple_of(PAGE_PACKETS);
        let (end, position) = match (is_last, fills_page) {
            // What goes beyond the end of the sound is cut off by the position of the last page (RFC 7845 §4.4).
            (true, _) => (PacketWriteEndInfo::EndStream, self.given * TICKS_PER_SAMPLE + u64::from(self.pre_skip)),
            (false, true) => (PacketWriteEndInfo::EndPage, self.coded * TICKS_PER_SAMPLE),
            (false, false) => (PacketWriteEndInfo::NormalPacket, self.coded * TICKS_PER_SAMPLE),
        };
        self.packets.write_packet(packet, SERIAL, end, position)
    }
}

fn encoder(channels: Channels, count: i32) -> audiopus::Result<Encoder> {
    let mut encoder = Encoder::new(OpusRate::Hz8000, channels, Application::Audio)?;
    encoder.set_bitrate(Bitrate::BitsPerSecond(BITS_PER_SECOND_AND_CHANNEL * count))?;
    encoder.set_signal(Signal::Voice)?;
    Ok(encoder)
}

/// RFC 7845 §5.1.
fn head(channels: u8, pre_skip: u16) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(channels);
    head.extend(pre_skip.to_le_bytes());
    head.extend(8_000_u32.to_le_bytes());
    // No gain; one stream, whose channels are as they come.
    head.extend([0, 0, 0]);
    head
}

/// RFC 7845 §5.2: who made it, and no comment. A name or number of a caller has no business in a file that is passed on.
fn tags() -> Vec<u8> {
    const VENDOR: &[u8] = b"Offhook";
    let mut tags = b"OpusTags".to_vec();
    tags.extend((VENDOR.len() as u32).to_le_bytes());
    tags.extend(VENDOR);
    tags.extend(0_u32.to_le_bytes());
    tags
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::dsp::level::rms_dbov;
    use crate::dsp::tone::sine;
    use crate::time::SampleRate;

    /// The reference player of the format reads it: as long as it was, each side where it was.
    #[test]
    fn another_program_hears_what_was_written() {
        if Command::new("opusdec").arg("--version").output().is_err() {
            return eprintln!("SKIPPED: opusdec is not installed (Debian: opus-tools)");
        }
        let folder = tempfile::tempdir().unwrap();
        let (opus, wav) = (folder.path().join("call.opus"), folder.path().join("call.wav"));
        // 3.01 s: no whole number of packets.
        let left = sine(440.0, Duration::from_millis(3_010), -20.0, SampleRate::NARROW_BAND);
        let both: Vec<i16> = left.iter().flat_map(|sample| [*sample, 0]).collect();
        let mut writer = OpusWriter::new(std::fs::File::create(&opus).unwrap(), 2).unwrap();
        both.chunks(1_234).for_each(|piece| writer.push(piece).unwrap());
        writer.finish().unwrap();
        let size = std::fs::metadata(&opus).unwrap().len();
        assert!(size * 5 < both.len() as u64 * 2, "{size} bytes");
        let read = Command::new("opusdec").args(["--rate", "8000"]).arg(&opus).arg(&wav).output().unwrap();
        assert!(read.status.success(), "{read:?}");
        let heard = hound::WavReader::open(&wav).unwrap();
        assert_eq!((heard.spec().channels, heard.spec().sample_rate), (2, 8_000));
        let samples: Vec<i16> = heard.into_samples().collect::<Result<_, _>>().unwrap();
        assert!(samples.len().abs_diff(both.len()) <= 2 * 8, "{} samples of {}", samples.len(), both.len());
        let side = |first: usize| samples.iter().skip(first).step_by(2).copied().collect::<Vec<_>>();
        let levels = [rms_dbov(&side(0)), rms_dbov(&side(1))];
        assert!((levels[0] + 20.0).abs() < 0.5 && levels[1] < -60.0, "{levels:?}");
    }

    #[test]
    fn nothing_is_a_file_too() {
        let mut bytes = Vec::new();
        OpusWriter::new(&mut bytes, 1).unwrap().finish().unwrap();
        assert_eq!(bytes.windows(4).filter(|four| four == b"OggS").count(), 3);
        assert!(OpusWriter::new(Vec::new(), 3).is_err());
    }
}
