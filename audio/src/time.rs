//! Units of time in sound, as newtypes so that they cannot be mixed.

use std::num::NonZeroU32;
use std::time::Duration;

/// Samples in one [`Frame`].
pub const FRAME_SAMPLES: usize = 160;

/// How much sound one [`Frame`] holds, and the spacing of the media tick.
pub const FRAME_DURATION: Duration = Duration::from_millis(20);

/// 20 ms of mono PCM at [`SampleRate::NARROW_BAND`].
pub type Frame = [i16; FRAME_SAMPLES];

/// Samples in one [`WideFrame`].
pub const WIDE_FRAME_SAMPLES: usize = 2 * FRAME_SAMPLES;

/// 20 ms of mono PCM at [`SampleRate::WIDE_BAND`].
pub type WideFrame = [i16; WIDE_FRAME_SAMPLES];

/// A frame of digital silence.
pub const SILENT_FRAME: Frame = [0; FRAME_SAMPLES];

/// Samples per second of PCM, or ticks per second of an RTP clock. Never zero.
///
/// The two differ for G.722: 16 kHz PCM on an 8 kHz RTP clock (RFC 3551 §4.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleRate(NonZeroU32);

impl SampleRate {
    /// 8 kHz, the telephone's.
    pub const NARROW_BAND: Self = Self(NonZeroU32::new(8_000).unwrap());
    /// 16 kHz, the speech models'.
    pub const WIDE_BAND: Self = Self(NonZeroU32::new(16_000).unwrap());

    /// 48 kHz, the RTP clock of Opus.
    pub const FULL_BAND: Self = Self(NonZeroU32::new(48_000).unwrap());

    /// A rate in hertz; `None` for zero.
    pub const fn new(hz: u32) -> Option<Self> {
        match NonZeroU32::new(hz) {
            Some(hz) => Some(Self(hz)),
            None => None,
        }
    }

    /// The rate in hertz.
    pub const fn hz(self) -> u32 {
        self.0.get()
    }

    /// How many whole samples last `duration`.
    pub fn samples_in(self, duration: Duration) -> u64 {
        let samples = duration.as_nanos() * u128::from(self.hz()) / 1_000_000_000;
        u64::try_from(samples).unwrap_or(u64::MAX)
    }

    /// How long `samples` last.
    pub fn duration_of(self, samples: u64) -> Duration {
        let hz = u64::from(self.hz());
        // The remainder is below `hz`, which is below 2³², so times 10⁹ it stays below 2⁶².
        Duration::from_secs(samples / hz) + Duration::from_nanos(samples % hz * 1_000_000_000 / hz)
    }
}

/// The two clocks of a coded stream, which differ more often than not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamClock {
    /// Of the RTP timestamps.
    pub clock_rate: SampleRate,
    /// Of the PCM.
    pub sample_rate: SampleRate,
}

impl StreamClock {
    /// G.711: both at 8 kHz.
    pub const NARROW_BAND: Self = Self { clock_rate: SampleRate::NARROW_BAND, sample_rate: SampleRate::NARROW_BAND };
    /// G.722: 16 kHz, with a clock of 8 kHz (RFC 3551 §4.5.2).
    pub const G722: Self = Self { clock_rate: SampleRate::NARROW_BAND, sample_rate: SampleRate::WIDE_BAND };
    /// Opus: always 48 kHz on the clock (RFC 7587 §4.1), 16 kHz as we decode it.
    pub const OPUS: Self = Self { clock_rate: SampleRate::FULL_BAND, sample_rate: SampleRate::WIDE_BAND };

    /// Whole samples that last `ticks`.
    pub const fn samples_in_ticks(self, ticks: u32) -> usize {
        (ticks as u64 * self.sample_rate.hz() as u64 / self.clock_rate.hz() as u64) as usize
    }

    /// Whole ticks that `samples` last, at most [`u32::MAX`].
    pub const fn ticks_in_samples(self, samples: usize) -> u32 {
        let ticks = samples as u64 * self.clock_rate.hz() as u64 / self.sample_rate.hz() as u64;
        if ticks > u32::MAX as u64 { u32::MAX } else { ticks as u32 }
    }

    /// Samples in 20 ms.
    pub const fn frame_samples(self) -> usize {
        self.sample_rate.hz() as usize / 50
    }

    /// Clock ticks in 20 ms.
    pub const fn frame_ticks(self) -> u32 {
        self.clock_rate.hz() / 50
    }
}

/// An RTP timestamp (RFC 3550 §5.1): ticks of the stream's clock, wrapping at 2³².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RtpTimestamp(pub u32);

impl RtpTimestamp {
    /// This moment plus `ticks`, wrapping.
    #[must_use]
    pub const fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// Ticks from `earlier` to here along the shorter way round; negative when `earlier` is really later.
    pub const fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// How much sound one RTP packet carries (SDP `ptime`, RFC 8866 §6.4): 1 to 200 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ptime(u16);

impl Ptime {
    /// 20 ms, what everybody sends.
    pub const DEFAULT: Self = Self(20);

    /// A packet time in milliseconds; `None` outside 1 to 200.
    pub const fn from_millis(milliseconds: u16) -> Option<Self> {
        match milliseconds {
            1..=200 => Some(Self(milliseconds)),
            _ => None,
        }
    }

    /// The packet time as a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }

    /// How many samples that is at `rate`.
    pub const fn samples(self, rate: SampleRate) -> usize {
        self.0 as usize * rate.hz() as usize / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_durations_convert_both_ways() {
        let rate = SampleRate::NARROW_BAND;
        assert_eq!(rate.samples_in(FRAME_DURATION), FRAME_SAMPLES as u64);
        assert_eq!(rate.duration_of(FRAME_SAMPLES as u64), FRAME_DURATION);
        assert_eq!(rate.duration_of(12_001), Duration::new(1, 500_125_000));
        assert_eq!(SampleRate::new(0), None);
    }

    #[test]
    fn timestamps_compare_across_the_wrap() {
        let before = RtpTimestamp(u32::MAX - 79);
        let after = before.plus(160);
        assert_eq!(after, RtpTimestamp(80));
        assert_eq!(after.since(before), 160);
        assert_eq!(before.since(after), -160);
    }

    #[test]
    fn packet_time_has_bounds() {
        assert_eq!(Ptime::from_millis(30).map(|ptime| ptime.samples(SampleRate::NARROW_BAND)), Some(240));
        assert_eq!(Ptime::from_millis(0), None);
        assert_eq!(Ptime::from_millis(201), None);
    }
}
