//! What a caller hears of a call that is not answered: ringing, busy, no way through; as it sounds in each country
//! (ITU-T E.180 Supplement 2, "Various tones used in national networks").
//!
//! Each frequency and cadence below was compared with the table that Asterisk has of the same (`indications.conf`, which
//! names the Supplement as its source for most countries): all are equal but Japan's ringing, which is the sum of 400 and
//! 15 Hz there and 400 Hz switched 16 times a second here. Of the Supplement itself a transcript of Germany's part was at
//! hand, and agrees.
//!
//! Left out on purpose: dial tone, as nobody lifts a receiver here; the special information tones, which come before an
//! announcement and not instead of one.

use std::time::Duration;

use super::tone::sum_of_sines;
use crate::time::SampleRate;

/// Whose tones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the country of its name")]
pub enum Country {
    Australia,
    Austria,
    France,
    Germany,
    Italy,
    Japan,
    Netherlands,
    Poland,
    Spain,
    Sweden,
    Switzerland,
    UnitedKingdom,
    /// And Canada.
    UnitedStates,
}

/// What they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallTone {
    /// It rings there.
    Ringback,
    /// Somebody is talking there.
    Busy,
    /// No line or no such number.
    Congestion,
}

impl Country {
    /// Every country, by the alphabet.
    pub const ALL: [Self; 13] = [
        Self::Australia,
        Self::Austria,
        Self::France,
        Self::Germany,
        Self::Italy,
        Self::Japan,
        Self::Netherlands,
        Self::Poland,
        Self::Spain,
        Self::Sweden,
        Self::Switzerland,
        Self::UnitedKingdom,
        Self::UnitedStates,
    ];

    /// The country of a code of ISO 3166-1 (`DE`), letters in either case.
    pub fn from_code(code: &str) -> Option<Self> {
        let code = if code.eq_ignore_ascii_case("CA") { "US" } else { code };
        Self::ALL.into_iter().find(|country| country.code().eq_ignore_ascii_case(code))
    }

    /// Its code of ISO 3166-1.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Australia => "AU",
            Self::Austria => "AT",
            Self::France => "FR",
            Self::Germany => "DE",
            Self::Italy => "IT",
            Self::Japan => "JP",
            Self::Netherlands => "NL",
            Self::Poland => "PL",
            Self::Spain => "ES",
            Self::Sweden => "SE",
            Self::Switzerland => "CH",
            Self::UnitedKingdom => "GB",
            Self::UnitedStates => "US",
        }
    }
}

/// Frequencies in hertz, then milliseconds on and off in turn.
type Cadence = (&'static [f64], &'static [u64]);

const HZ_425: &[f64] = &[425.0];

const fn cadence(country: Country, tone: CallTone) -> Cadence {
    match tone {
        CallTone::Ringback => ringback(country),
        CallTone::Busy => busy(country),
        CallTone::Congestion => congestion(country),
    }
}

const fn ringback(country: Country) -> Cadence {
    match country {
        Country::Australia => (&[413.0, 438.0], &[400, 200, 400, 2_000]),
        Country::Austria => (&[420.0], &[1_000, 5_000]),
        Country::France => (&[440.0], &[1_500, 3_500]),
        Country::Germany | Country::Italy | Country::Netherlands | Country::Poland | Country::Switzerland => {
            (HZ_425, &[1_000, 4_000])
        }
        // 400 Hz switched on and off 16 times a second, as the sum it is made of.
        Country::Japan => (&[384.0, 416.0], &[1_000, 2_000]),
        Country::Spain => (HZ_425, &[1_500, 3_000]),
        Country::Sweden => (HZ_425, &[1_000, 5_000]),
        Country::UnitedKingdom => (&[400.0, 450.0], &[400, 200, 400, 2_000]),
        Country::UnitedStates => (&[440.0, 480.0], &[2_000, 4_000]),
    }
}

const fn busy(country: Country) -> Cadence {
    match country {
        Country::Australia => (HZ_425, &[375, 375]),
        Country::Austria => (&[420.0], &[400, 400]),
        Country::France => (&[440.0], &[500, 500]),
        Country::Germany => (HZ_425, &[480, 480]),
        Country::Italy | Country::Netherlands | Country::Poland | Country::Switzerland => (HZ_425, &[500, 500]),
        Country::Japan => (&[400.0], &[500, 500]),
        Country::Spain => (HZ_425, &[200, 200]),
        Country::Sweden => (HZ_425, &[250, 250]),
        Country::UnitedKingdom => (&[400.0], &[375, 375]),
        Country::UnitedStates => (&[480.0, 620.0], &[500, 500]),
    }
}

const fn congestion(country: Country) -> Cadence {
    match country {
        Country::Australia => (HZ_425, &[375, 375]),
        Country::Austria => (&[420.0], &[200, 200]),
        Country::France => (&[440.0], &[250, 250]),
        Country::Germany => (HZ_425, &[240, 240]),
        Country::Italy | Country::Switzerland => (HZ_425, &[200, 200]),
        Country::Japan => (&[400.0], &[500, 500]),
        Country::Netherlands => (HZ_425, &[250, 250]),
        Country::Poland => (HZ_425, &[500, 500]),
        Country::Spain => (HZ_425, &[200, 200, 200, 200, 200, 600]),
        Country::Sweden => (HZ_425, &[250, 750]),
        Country::UnitedKingdom => (&[400.0], &[400, 350, 225, 525]),
        Country::UnitedStates => (&[480.0, 620.0], &[250, 250]),
    }
}

/// One period of a tone, to be repeated; `level_dbov` while it sounds.
pub fn call_tone(country: Country, tone: CallTone, level_dbov: f32, rate: SampleRate) -> Vec<i16> {
    let (frequencies_hz, milliseconds) = cadence(country, tone);
    let mut samples = Vec::new();
    for (index, &milliseconds) in milliseconds.iter().enumerate() {
        let duration = Duration::from_millis(milliseconds);
        if index % 2 == 0 {
            samples.extend(sum_of_sines(frequencies_hz, duration, level_dbov, rate));
        } else {
            samples.resize(samples.len() + rate.samples_in(duration) as usize, 0);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::level::rms_dbov;

    const RATE: SampleRate = SampleRate::NARROW_BAND;

    #[test]
    fn every_tone_sounds_first_and_pauses_last() {
        for country in Country::ALL {
            for tone in [CallTone::Ringback, CallTone::Busy, CallTone::Congestion] {
                let samples = call_tone(country, tone, -20.0, RATE);
                let (_, milliseconds) = cadence(country, tone);
                assert_eq!(samples.len() as u64, milliseconds.iter().sum::<u64>() * 8, "{country:?} {tone:?}");
                assert!((rms_dbov(&samples[..1_600]) + 20.0).abs() < 1.0, "{country:?} {tone:?}");
                assert_eq!(samples[samples.len() - 1_600..], [0; 1_600], "{country:?} {tone:?}");
            }
        }
    }

    /// (country, tone, period in milliseconds): what E.180 has for three countries.
    #[test]
    fn periods_are_those_of_e_180() {
        for (code, tone, period_ms) in [
            ("us", CallTone::Ringback, 6_000),
            ("CA", CallTone::Busy, 1_000),
            ("de", CallTone::Ringback, 5_000),
            ("DE", CallTone::Busy, 960),
            ("gb", CallTone::Ringback, 3_000),
            ("GB", CallTone::Congestion, 1_500),
        ] {
            let country = Country::from_code(code).unwrap();
            assert_eq!(call_tone(country, tone, -20.0, RATE).len(), period_ms * 8, "{code} {tone:?}");
        }
        assert_eq!(Country::from_code("xx"), None);
        assert!(Country::ALL.into_iter().all(|country| Country::from_code(country.code()) == Some(country)));
    }
}
