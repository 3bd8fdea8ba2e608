//! WAV files by `hound`: any usual PCM in, mono 16-bit out. The only module that touches files.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use thiserror::Error;

use crate::time::SampleRate;

/// Longest clip that [`read`] takes: one hour at 48 kHz.
const MAX_SAMPLES: u32 = 48_000 * 3_600;

/// Mono PCM with its rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// Rate of `samples`.
    pub sample_rate: SampleRate,
    /// The PCM; stereo is mixed down.
    pub samples: Vec<i16>,
}

/// Why a WAV file could not be read or written.
#[derive(Debug, Error)]
pub enum WavError {
    /// The disk or the stream failed, or the file is cut short.
    #[error("cannot read or write the WAV file")]
    Io(#[source] std::io::Error),
    /// Not a WAV file.
    #[error("not a WAV file ({reason}); expected RIFF/WAVE with PCM samples")]
    NotWav {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A WAV file with a codec inside.
    #[error("WAV with compressed samples is not supported; expected PCM of 8, 16, 24 or 32 bits, or 32-bit float")]
    Compressed,
    /// A WAV file with samples of an unusual size.
    #[error(
        "WAV with {bits} bits per {format} sample is not supported; expected PCM of 8, 16, 24 or 32 bits, or 32-bit float"
    )]
    UnsupportedFormat {
        /// Bits of one sample.
        bits: u16,
        /// `integer` or `float`.
        format: &'static str,
    },
    /// More than two channels, or none.
    #[error("WAV with {channels} channels is not supported; expected mono or stereo")]
    UnsupportedChannels {
        /// Channels in the file.
        channels: u16,
    },
    /// A sample rate of zero.
    #[error("WAV with a sample rate of 0 Hz; expected for example 8000, 16000 or 48000")]
    NoSampleRate,
    /// Longer than an hour.
    #[error("WAV with {samples} samples is too long; expected at most {MAX_SAMPLES}")]
    TooLong {
        /// Samples per channel.
        samples: u32,
    },
}

impl From<hound::Error> for WavError {
    fn from(error: hound::Error) -> Self {
        match error {
            hound::Error::IoError(error) => Self::Io(error),
            hound::Error::FormatError(reason) => Self::NotWav { reason },
            hound::Error::TooWide | hound::Error::InvalidSampleFormat => {
                Self::NotWav { reason: "its sample format contradicts its header" }
            }
            hound::Error::Unsupported => Self::Compressed,
            hound::Error::UnfinishedSample => Self::NotWav { reason: "it ends within a sample" },
        }
    }
}

/// Reads a file. See [`read_from`].
///
/// # Errors
/// See [`WavError`].
pub fn read(path: &Path) -> Result<Clip, WavError> {
    read_from(BufReader::new(File::open(path).map_err(WavError::Io)?))
}

/// Reads PCM of 8, 16, 24 or 32 bits or 32-bit float, mono or stereo, up to an hour.
///
/// # Errors
/// See [`WavError`].
pub fn read_from(reader: impl Read) -> Result<Clip, WavError> {
    let reader = WavReader::new(reader)?;
    let spec = reader.spec();
    let sample_rate = SampleRate::new(spec.sample_rate).ok_or(WavError::NoSampleRate)?;
    if !(1..=2).contains(&spec.channels) {
        return Err(WavError::UnsupportedChannels { channels: spec.channels });
    }
    let samples = reader.duration();
    if samples > MAX_SAMPLES {
        return Err(WavError::TooLong { samples });
    }
    let interleaved = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => read_integers(reader, bits)?,
        (SampleFormat::Float, 32) => read_floats(reader)?,
        (SampleFormat::Int, bits) => return Err(WavError::UnsupportedFormat { bits, format: "integer" }),
        (SampleFormat::Float, bits) => return Err(WavError::UnsupportedFormat { bits, format: "float" }),
    };
    Ok(Clip { sample_rate, samples: mix_down(interleaved, spec.channels) })
}

/// Reads 16-bit PCM piece by piece: an hour of it needs no more memory than a piece.
pub struct Pieces<R> {
    inner: WavReader<R>,
}

impl<R: Read> Pieces<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// See [`WavError`].
    pub fn new(reader: R) -> Result<Self, WavError> {
        let inner = WavReader::new(reader)?;
        let spec = inner.spec();
        match (spec.sample_format, spec.bits_per_sample) {
            (SampleFormat::Int, 16) => Ok(Self { inner }),
            (SampleFormat::Int, bits) => Err(WavError::UnsupportedFormat { bits, format: "integer" }),
            (SampleFormat::Float, bits) => Err(WavError::UnsupportedFormat { bits, format: "float" }),
        }
    }

    /// How many channels there are.
    pub fn channels(&self) -> u16 {
        self.inner.spec().channels
    }

    /// The next samples, at most `longest`, of several channels by turns; none at the end.
    ///
    /// # Errors
    /// [`WavError::Io`], [`WavError::NotWav`] if it ends before its header says.
    pub fn next_piece(&mut self, longest: usize) -> Result<Vec<i16>, WavError> {
        Ok(self.inner.samples().take(longest).collect::<Result<_, _>>()?)
    }
}

/// Writes mono 16-bit PCM to a new file, replacing an old one.
///
/// # Errors
/// [`WavError::Io`].
pub fn write(path: &Path, samples: &[i16], sample_rate: SampleRate) -> Result<(), WavError> {
    let mut writer = Writer::create(path, sample_rate)?;
    writer.push(samples)?;
    writer.finalize()
}

/// Writes two channels of 16-bit PCM to a new file, replacing an old one; the shorter channel ends in silence.
///
/// # Errors
/// [`WavError::Io`].
pub fn write_stereo(path: &Path, left: &[i16], right: &[i16], sample_rate: SampleRate) -> Result<(), WavError> {
    let spec =
        WavSpec { channels: 2, sample_rate: sample_rate.hz(), bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::create(path, spec)?;
    for index in 0..left.len().max(right.len()) {
        for channel in [left, right] {
            writer.write_sample(channel.get(index).copied().unwrap_or(0))?;
        }
    }
    Ok(writer.finalize()?)
}

/// Writes 16-bit PCM as it comes. The header is brought up to date once per second of sound, so that a crash keeps
/// what was written until then.
pub struct Writer<W: Write + Seek> {
    inner: WavWriter<W>,
    samples_since_flush: u64,
    sample_rate: SampleRate,
}

impl Writer<BufWriter<File>> {
    /// Creates a file of one channel, replacing an old one.
    ///
    /// # Errors
    /// [`WavError::Io`].
    pub fn create(path: &Path, sample_rate: SampleRate) -> Result<Self, WavError> {
        Self::create_with(path, 1, sample_rate)
    }

    /// Creates a file of so many channels, replacing an old one.
    ///
    /// # Errors
    /// [`WavError::Io`].
    pub fn create_with(path: &Path, channels: u16, sample_rate: SampleRate) -> Result<Self, WavError> {
        Self::with_channels(BufWriter::new(File::create(path).map_err(WavError::Io)?), channels, sample_rate)
    }
}

impl<W: Write + Seek> Writer<W> {
    /// Writes one channel to anything that can seek.
    ///
    /// # Errors
    /// [`WavError::Io`].
    pub fn new(inner: W, sample_rate: SampleRate) -> Result<Self, WavError> {
        Self::with_channels(inner, 1, sample_rate)
    }

    fn with_channels(inner: W, channels: u16, sample_rate: SampleRate) -> Result<Self, WavError> {
        let spec =
            WavSpec { channels, sample_rate: sample_rate.hz(), bits_per_sample: 16, sample_format: SampleFormat::Int };
        Ok(Self { inner: WavWriter::new(inner, spec)?, samples_since_flush: 0, sample_rate })
    }

    /// Appends `samples`, of the channels by turns.
    ///
    /// # Errors
    /// [`WavError::Io`].
    pub fn push(&mut self, samples: &[i16]) -> Result<(), WavError> {
        for &sample in samples {
            self.inner.write_sample(sample)?;
        }
        self.samples_since_flush += samples.len() as u64;
        if self.samples_since_flush >= u64::from(self.sample_rate.hz()) {
            self.flush()?;
        }
        Ok(())
    }

    /// Brings header and file up to date.
    ///
    /// # Errors
    /// [`WavError::Io`].
    pub fn flush(&mut self) -> Result<(), WavError> {
        self.samples_since_flush = 0;
        Ok(self.inner.flush()?)
    }

    /// How many samples of each channel were written.
    pub fn len(&self) -> u32 {
        self.inner.duration()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Completes the file. Dropping does the same but hides errors.
    ///
    /// # Errors
    /// [`WavError::Io`].
    pub fn finalize(self) -> Result<(), WavError> {
        Ok(self.inner.finalize()?)
    }
}

/// The header of 16-bit PCM that goes on until it ends: for a pipe, whose reader does not look at the lengths in it.
pub fn endless_header(channels: u16, sample_rate: SampleRate) -> [u8; 44] {
    let mut header = *b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0\x01\0............\x10\0data\xFF\xFF\xFF\xFF";
    let frame_bytes = 2 * channels;
    header[22..24].copy_from_slice(&channels.to_le_bytes());
    header[24..28].copy_from_slice(&sample_rate.hz().to_le_bytes());
    header[28..32].copy_from_slice(&(sample_rate.hz() * u32::from(frame_bytes)).to_le_bytes());
    header[32..34].copy_from_slice(&frame_bytes.to_le_bytes());
    header
}

fn read_integers<R: Read>(reader: WavReader<R>, bits: u16) -> Result<Vec<i16>, WavError> {
    let to_i16 = |sample: i32| if bits < 16 { sample << (16 - bits) } else { sample >> (bits - 16) } as i16;
    Ok(reader.into_samples::<i32>().map(|sample| sample.map(to_i16)).collect::<Result<_, _>>()?)
}

fn read_floats<R: Read>(reader: WavReader<R>) -> Result<Vec<i16>, WavError> {
    let to_i16 = |sample: f32| crate::dsp::resample::i16_of(sample);
    Ok(reader.into_samples::<f32>().map(|sample| sample.map(to_i16)).collect::<Result<_, _>>()?)
}

fn mix_down(interleaved: Vec<i16>, channels: u16) -> Vec<i16> {
    if channels == 1 {
        return interleaved;
    }
    // The mean of two 16-bit numbers has 16 bits.
    interleaved.chunks_exact(2).map(|pair| ((i32::from(pair[0]) + i32::from(pair[1])) / 2) as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const SAMPLES: [i16; 6] = [0, 256, -256, 25_600, -25_600, 512];

    /// A WAV file of that format whose channels all hold `SAMPLES`.
    fn wav(channels: u16, bits: u16, sample_format: SampleFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let spec = WavSpec { channels, sample_rate: 16_000, bits_per_sample: bits, sample_format };
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        for sample in SAMPLES {
            for _ in 0..channels {
                match sample_format {
                    SampleFormat::Float => writer.write_sample(f32::from(sample) / 32_768.0).unwrap(),
                    SampleFormat::Int if bits < 16 => writer.write_sample(i32::from(sample) >> (16 - bits)).unwrap(),
                    SampleFormat::Int => writer.write_sample(i32::from(sample) << (bits - 16)).unwrap(),
                }
            }
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_usual_format_gives_the_same_clip() {
        let integers = [8, 16, 24, 32].map(|bits| (bits, SampleFormat::Int));
        for (bits, format) in integers.into_iter().chain([(32, SampleFormat::Float)]) {
            for channels in [1, 2] {
                let clip = read_from(&wav(channels, bits, format)[..]).unwrap();
                assert_eq!(clip.samples, SAMPLES, "{bits} bits {format:?}, {channels} channels");
                assert_eq!(clip.sample_rate, SampleRate::WIDE_BAND);
            }
        }
    }

    #[test]
    fn a_file_is_read_piece_by_piece() {
        let bytes = wav(1, 16, SampleFormat::Int);
        let mut pieces = Pieces::new(&bytes[..]).unwrap();
        for expected in [&SAMPLES[..4], &SAMPLES[4..], &[], &[]] {
            assert_eq!(pieces.next_piece(4).unwrap(), expected);
        }
        let refused = |bytes: &[u8]| Pieces::new(bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(Pieces::new(&wav(2, 16, SampleFormat::Int)[..]).unwrap().channels(), 2);
        assert!(refused(&wav(1, 32, SampleFormat::Float)).contains("float"));
        let mut cut = Pieces::new(&bytes[..bytes.len() - 3]).unwrap();
        assert!(cut.next_piece(100).is_err(), "it ends before its header says");
    }

    #[test]
    fn what_cannot_be_read_says_what_was_expected() {
        let message = |bytes: &[u8]| read_from(bytes).unwrap_err().to_string();
        assert!(message(b"ID3 this is an mp3 file, really").contains("expected RIFF/WAVE"));
        assert!(
            message(&wav(3, 16, SampleFormat::Int)).contains("3 channels is not supported; expected mono or stereo")
        );
        let mut rateless = wav(1, 16, SampleFormat::Int);
        rateless[24..32].fill(0);
        assert!(message(&rateless).contains("0 Hz"));
        let mut compressed = wav(1, 16, SampleFormat::Int);
        compressed[20] = 7; // G.711 µ-law
        assert!(message(&compressed).contains("compressed samples is not supported; expected PCM"));
        let whole = wav(1, 16, SampleFormat::Int);
        assert!(matches!(read_from(&whole[..whole.len() - 3]), Err(WavError::Io(_) | WavError::NotWav { .. })));
        assert!(matches!(read_from(&whole[..20]), Err(WavError::Io(_) | WavError::NotWav { .. })));
    }

    #[test]
    fn a_file_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.wav");
        write(&path, &SAMPLES, SampleRate::NARROW_BAND).unwrap();
        let expected = Clip { sample_rate: SampleRate::NARROW_BAND, samples: SAMPLES.to_vec() };
        assert_eq!(read(&path).unwrap(), expected);
        assert!(matches!(read(&folder.path().join("none.wav")), Err(WavError::Io(_))));
    }

    #[test]
    fn the_header_of_a_pipe_is_that_of_a_file_but_for_its_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.wav");
        let mut writer = Writer::create_with(&path, 2, SampleRate::NARROW_BAND).unwrap();
        writer.push(&SAMPLES).unwrap();
        assert_eq!(writer.len(), 3);
        writer.finalize().unwrap();
        let mut file = std::fs::read(&path).unwrap();
        for lengths in [4..8, 40..44] {
            file[lengths].fill(0xFF);
        }
        assert_eq!(file[..44], endless_header(2, SampleRate::NARROW_BAND));
    }

    /// A crash never runs `finalize` nor `drop`: what a second file handle sees is what would be left.
    #[test]
    fn an_unfinished_file_holds_all_whole_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("message.wav");
        let mut writer = Writer::create(&path, SampleRate::NARROW_BAND).unwrap();
        for _ in 0..129 {
            writer.push(&[7; 160]).unwrap();
        }
        assert_eq!(read(&path).unwrap().samples.len(), 2 * 8_000);
        writer.finalize().unwrap();
        assert_eq!(read(&path).unwrap().samples.len(), 129 * 160);
    }
}
