//! Outputs by `cpal`, which on Linux is ALSA: names are those of `aplay -L`. The driver's thread asks for periods and is
//! answered from a ring, so that no call ever waits for a card.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use audio::Frame;
use audio::dsp::resample::i16_of;
use audio::time::SampleRate;
use cpal::traits::{DeviceTrait as _, HostTrait as _, StreamTrait as _};
use cpal::{
    BufferSize, Device, ErrorKind, SampleFormat, Stream, StreamConfig, SupportedBufferSize, SupportedStreamConfigRange,
};
use tracing::{debug, warn};

use super::SoundCardError;
use super::ring::{Drain, Feed, ring};

/// Rates in the order in which they are wanted: the usual one of cards first. Each is a multiple of 50 Hz.
const RATES_HZ: [u32; 5] = [48_000, 44_100, 32_000, 16_000, 96_000];
/// Formats likewise: what cards have themselves, then what sound servers have.
const FORMATS: [SampleFormat; 2] = [SampleFormat::I16, SampleFormat::F32];
/// The system's default output. ALSA takes it by this name whether it is listed or not.
const DEFAULT: &str = "default";
/// Periods in a second where the card leaves the choice to us: one each 20 ms.
const PERIODS_PER_SECOND: u32 = 50;

/// An output that plays; it falls silent when this is dropped, which waits for the driver's thread.
pub struct Playback {
    feed: Feed,
    taken_samples: Arc<AtomicU64>,
    // Kept for its end.
    _stream: Stream,
}

impl Playback {
    /// Takes 20 ms at 8 kHz.
    pub fn play(&mut self, frame: &Frame) {
        if let Err(error) = self.feed.push(frame) {
            warn!(%error, "A frame is lost on its way to the sound card");
        }
    }

    /// Ends it. May take as long as the driver likes.
    pub fn close(self) {}

    /// How many samples of what it was given the card has taken, at its own rate.
    pub fn taken_samples(&self) -> u64 {
        self.taken_samples.load(Ordering::Relaxed)
    }
}

/// Opens the output of that name, else the system's default one. May take as long as the driver likes.
///
/// # Errors
/// There is none of that name, it takes nothing that we have, or what the driver says: most often that there is no card.
pub fn open(device: Option<&str>) -> Result<Playback, SoundCardError> {
    let device = find(device)?;
    let offered: Vec<_> = device.supported_output_configs().map_err(driver)?.collect();
    let (config, format) = choose(&offered).ok_or(SoundCardError::NoCommonFormat)?;
    let rate = SampleRate::new(config.sample_rate).ok_or(SoundCardError::NoCommonFormat)?;
    let (feed, drain, taken_samples) = ring(rate).map_err(|error| SoundCardError::Driver(error.to_string()))?;
    let stream = if format == SampleFormat::I16 {
        play_as(&device, config, drain, i16_of)
    } else {
        play_as(&device, config, drain, |sample: f32| sample)
    };
    let stream = stream.map_err(driver)?;
    stream.play().map_err(driver)?;
    debug!(rate_hz = config.sample_rate, channels = config.channels, ?format, "Sound card opened");
    Ok(Playback { feed, taken_samples, _stream: stream })
}

/// The name of each output there is.
///
/// # Errors
/// What the driver says.
pub fn outputs() -> Result<Vec<String>, SoundCardError> {
    let devices = cpal::default_host().output_devices().map_err(driver)?;
    Ok(devices.filter_map(|device| Some(device.id().ok()?.id().to_owned())).collect())
}

fn find(name: Option<&str>) -> Result<Device, SoundCardError> {
    let host = cpal::default_host();
    let Some(name) = name.filter(|name| *name != DEFAULT) else {
        return host.default_output_device().ok_or_else(|| SoundCardError::NoSuchDevice(DEFAULT.into()));
    };
    let is_it = |device: &Device| device.id().is_ok_and(|id| id.id() == name);
    let found = host.devices().map_err(driver)?.find(is_it);
    found.ok_or_else(|| SoundCardError::NoSuchDevice(name.to_owned()))
}

/// The first rate, then format, then number of channels that it offers.
fn choose(offered: &[SupportedStreamConfigRange]) -> Option<(StreamConfig, SampleFormat)> {
    let wanted = RATES_HZ.iter().flat_map(|rate| FORMATS.iter().map(move |format| (*rate, *format)));
    wanted.into_iter().find_map(|(rate, format)| {
        let fits = |one: &&SupportedStreamConfigRange| one.sample_format() == format && one.contains_rate(rate);
        let fewest = offered.iter().filter(fits).min_by_key(|one| one.channels())?;
        let period = rate / PERIODS_PER_SECOND;
        let buffer_size = match *fewest.buffer_size() {
            SupportedBufferSize::Range { min, max } if (min..=max / 2).contains(&period) => BufferSize::Fixed(period),
            SupportedBufferSize::Range { .. } | SupportedBufferSize::Unknown => BufferSize::Default,
        };
        Some((StreamConfig { channels: fewest.channels(), sample_rate: rate, buffer_size }, format))
    })
}

fn play_as<T: cpal::SizedSample>(
    device: &Device,
    config: StreamConfig,
    mut drain: Drain,
    convert: impl Fn(f32) -> T + Send + 'static,
) -> Result<Stream, cpal::Error> {
    let channels = usize::from(config.channels);
    let fill = move |period: &mut [T], _: &cpal::OutputCallbackInfo| drain.fill(period, channels, &convert);
    let mut has_failed = false;
    let failed = move |error: cpal::Error| {
        if error.kind() == ErrorKind::Xrun {
            debug!(%error, "The sound card has waited for us");
        } else if !std::mem::replace(&mut has_failed, true) {
            // Once: a card that is pulled out would say so for each period.
            warn!(%error, "The sound card fails");
        }
    };
    device.build_output_stream(config, fill, failed, None)
}

fn driver(error: cpal::Error) -> SoundCardError {
    SoundCardError::Driver(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_BUFFER: SupportedBufferSize = SupportedBufferSize::Range { min: 64, max: 8_192 };

    fn offer(channels: u16, rates_hz: (u32, u32), format: SampleFormat) -> SupportedStreamConfigRange {
        SupportedStreamConfigRange::new(channels, rates_hz.0, rates_hz.1, ANY_BUFFER, format)
    }

    /// (what a card offers, channels, rate and format that are taken of it).
    #[test]
    fn the_best_of_what_a_card_offers_is_taken() {
        let (short, float) = (SampleFormat::I16, SampleFormat::F32);
        for (offered, expected) in [
            (vec![offer(2, (48_000, 48_000), short)], Some((2, 48_000, short))),
            (vec![offer(2, (8_000, 192_000), float), offer(1, (8_000, 192_000), short)], Some((1, 48_000, short))),
            (vec![offer(8, (44_100, 44_100), short), offer(2, (44_100, 44_100), short)], Some((2, 44_100, short))),
            (vec![offer(2, (44_100, 44_100), short), offer(2, (48_000, 48_000), float)], Some((2, 48_000, float))),
            (vec![offer(2, (48_000, 48_000), SampleFormat::U8)], None),
            (vec![offer(2, (8_000, 8_000), short)], None),
            (vec![], None),
        ] {
            let chosen = choose(&offered).map(|(config, format)| (config.channels, config.sample_rate, format));
            assert_eq!(chosen, expected, "{offered:?}");
        }
    }

    #[test]
    fn periods_are_20_ms_where_the_card_lets_us() {
        let chosen = |max| {
            let buffer = SupportedBufferSize::Range { min: 64, max };
            let offered = SupportedStreamConfigRange::new(2, 48_000, 48_000, buffer, SampleFormat::I16);
            choose(&[offered]).unwrap().0.buffer_size
        };
        assert_eq!(chosen(8_192), BufferSize::Fixed(960));
        assert_eq!(chosen(1_024), BufferSize::Default);
    }

    #[test]
    fn a_card_that_is_not_there_is_named() {
        let error = open(Some("no-such-card")).err().unwrap();
        assert!(error.to_string().contains("no-such-card"), "{error}");
    }
}
