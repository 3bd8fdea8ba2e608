//! How a line sounds to those who talk over it, as a number: the E-model of ITU-T G.107 with the codecs' figures of G.113
//! Appendix I, from what was lost and how late it came.
//!
//! What the model knows besides (loudness, echo, room noise) has G.107's default values, so a line without loss and delay
//! has R = 93.2, a mean opinion score (MOS) of 4.41.
//!
//! G.722 and Opus are rated on the same narrow-band scale, where nothing can be better than G.711: ITU's wide-band model
//! (G.107.1) has no figures for Opus, and scores of two scales in one column would mislead. How well they bear loss is
//! our estimate from the measurements in `jitter::conceal`, not ITU's.

use std::time::Duration;

use crate::codec::CodecKind;
use crate::rtp::ReceiverStats;

/// R without any impairment of delay or equipment: Ro less Is at the default values.
const BEST_R: f64 = 94.768 - 1.413;

/// Ro and Roe at the default values.
const RO: f64 = 94.768;

/// Talker echo loudness rating and weighted echo path loss at the default values, in decibels.
const TELR_DB: f64 = 65.0;
const WEPL_DB: f64 = 110.0;

/// What a line does to sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// What is spoken over it.
    pub codec: CodecKind,
    /// Share of the packets that were not heard, 0 to 1: lost, late and thrown away.
    pub loss: f64,
    /// How many are lost in a row, against what chance would make of it; 1 is chance, 2 twice as many.
    pub burst_ratio: f64,
    /// From mouth to ear.
    pub delay: Duration,
}

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating {
    /// The transmission rating, 0 to 93.2. From 90 on nearly everybody is very satisfied, below 60 nearly nobody is.
    pub r: f64,
    /// The mean opinion score that people would give, 1 (bad) to 4.41.
    pub mos: f64,
}

impl Line {
    /// The line that `stats` saw, whose packets take `round_trip` there and back (half of it counts; `None` if unknown,
    /// which makes the line look better than it is).
    pub fn of(stats: &ReceiverStats, codec: CodecKind, round_trip: Option<Duration>) -> Self {
        let unheard = stats.lost + stats.late + stats.discarded;
        let expected = stats.received + stats.lost;
        let buffer = stats.jitter_buffer_delay.unwrap_or(stats.jitter_buffer_target);
        let network = round_trip.unwrap_or_default() / 2;
        Self {
            codec,
            loss: (unheard as f64 / expected.max(1) as f64).min(1.0),
            burst_ratio: 1.0,
            delay: network + buffer + coding_delay(codec),
        }
    }

    /// Its rating.
    pub fn rating(self) -> Rating {
        let r = (BEST_R - delay_impairment(self.delay) - self.equipment_impairment()).clamp(0.0, 100.0);
        Rating { r, mos: mos_of(r) }
    }

    /// Ie,eff (G.107 §7.6). The equipment's own impairment, Ie, is zero for each of our codecs.
    fn equipment_impairment(self) -> f64 {
        let loss_percent = (self.loss * 100.0).clamp(0.0, 100.0);
        if loss_percent == 0.0 {
            return 0.0;
        }
        95.0 * loss_percent / (loss_percent / self.burst_ratio.max(0.1) + robustness(self.codec))
    }
}

/// Bpl of G.113: how well a codec and its concealment bear loss.
const fn robustness(codec: CodecKind) -> f64 {
    match codec {
        // Packet loss restored from the next packet, mostly; our estimate.
        CodecKind::Opus => 35.0,
        // G.711 with the concealment of its Appendix I (G.113 table I.2); G.722 has the same, and recovers more slowly.
        CodecKind::Pcmu | CodecKind::Pcma => 25.1,
        CodecKind::G722 => 20.0,
    }
}

/// A packet's length, and what the codec looks ahead.
const fn coding_delay(codec: CodecKind) -> Duration {
    match codec {
        CodecKind::Pcmu | CodecKind::Pcma => Duration::from_micros(20_000),
        CodecKind::G722 => Duration::from_micros(21_375),
        CodecKind::Opus => Duration::from_micros(26_500),
    }
}

/// Id (G.107 §7.5): echo of the talker and the listener, and that long delays make people talk at the same time.
fn delay_impairment(one_way: Duration) -> f64 {
    let t_ms = one_way.as_secs_f64() * 1e3;
    let terv = TELR_DB - 40.0 * ((1.0 + t_ms / 10.0) / (1.0 + t_ms / 150.0)).log10() + 6.0 * (-0.3 * t_ms * t_ms).exp();
    let re = 80.0 + 2.5 * (terv - 14.0);
    let half = (RO - re) / 2.0;
    let talker_echo = (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-t_ms).exp());
    let rle = 10.5 * (WEPL_DB + 7.0) * (2.0 * t_ms + 1.0).powf(-0.25);
    let half = (RO - rle) / 2.0;
    let listener_echo = half + (half * half + 169.0).sqrt();
    talker_echo + listener_echo + long_delay_impairment(t_ms)
}

/// Idd.
fn long_delay_impairment(t_ms: f64) -> f64 {
    if t_ms <= 100.0 {
        return 0.0;
    }
    let x = (t_ms / 100.0).log2();
    25.0 * ((1.0 + x.powi(6)).powf(1.0 / 6.0) - 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0) + 2.0)
}

/// The mean opinion score of R (G.107 Annex B).
fn mos_of(r: f64) -> f64 {
    match r {
        ..=0.0 => 1.0,
        100.0.. => 4.5,
        _ => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rating(codec: CodecKind, loss_percent: f64, burst_ratio: f64, delay_ms: u64) -> Rating {
        Line { codec, loss: loss_percent / 100.0, burst_ratio, delay: Duration::from_millis(delay_ms) }.rating()
    }

    /// G.107 Table B.1.
    #[test]
    fn scores_of_ratings_are_the_standards() {
        for (r, mos) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0), (100.0, 4.5)]
        {
            assert!((mos_of(r) - mos).abs() < 0.01, "{r}: {}", mos_of(r));
        }
    }

    #[test]
    fn loss_and_delay_cost_what_the_model_says() {
        // (codec, loss in percent, burst ratio, delay in ms, R)
        let rows = [
            (CodecKind::Pcmu, 0.0, 1.0, 0, 93.2),   // The default line of G.107.
            (CodecKind::Pcmu, 0.0, 1.0, 100, 90.7), // Echo of the talker 1.96, of the listener 0.73.
            (CodecKind::Pcmu, 0.0, 1.0, 400, 62.2), // Echo 5.81 and 1.23, the delay itself 24.07.
            (CodecKind::Pcma, 1.0, 1.0, 0, 89.6),   // 95 / 26.1 = 3.64.
            (CodecKind::Pcma, 5.0, 1.0, 0, 77.4),   // 475 / 30.1 = 15.78.
            (CodecKind::Pcma, 5.0, 2.0, 0, 76.0),   // 475 / 27.6 = 17.21.
            (CodecKind::G722, 5.0, 1.0, 0, 74.2),   // 475 / 25 = 19.
            (CodecKind::Opus, 5.0, 1.0, 0, 81.3),   // 475 / 40 = 11.88.
            (CodecKind::Pcmu, 100.0, 1.0, 0, 17.3), // 9500 / 125.1 = 75.94.
        ];
        for (codec, loss_percent, burst_ratio, delay_ms, expected) in rows {
            let Rating { r, mos } = rating(codec, loss_percent, burst_ratio, delay_ms);
            assert!((r - expected).abs() < 0.15, "{codec:?}, {loss_percent} %, {delay_ms} ms: {r}");
            assert!((1.0..=4.42).contains(&mos), "{mos}");
        }
        assert!((rating(CodecKind::Pcmu, 0.0, 1.0, 0).mos - 4.41).abs() < 0.01);
    }

    #[test]
    fn more_loss_and_more_delay_are_never_better() {
        for codec in CodecKind::ALL {
            let mut previous = rating(codec, 0.0, 1.0, 0);
            for step in 1..=100_u32 {
                let rating = rating(codec, f64::from(step), 1.0, u64::from(step) * 20);
                assert!(rating.r <= previous.r && rating.mos <= previous.mos + 1e-9, "{codec:?}, {step}");
                previous = rating;
            }
        }
    }

    #[test]
    fn a_streams_counts_make_its_line() {
        let stats = ReceiverStats {
            received: 950,
            lost: 50,
            late: 10,
            jitter_buffer_delay: Some(Duration::from_millis(45)),
            ..ReceiverStats::default()
        };
        let line = Line::of(&stats, CodecKind::Pcmu, Some(Duration::from_millis(80)));
        assert_eq!((line.loss, line.delay), (0.06, Duration::from_millis(105)));
        assert_eq!(Line::of(&ReceiverStats::default(), CodecKind::Pcmu, None).loss, 0.0);
    }
}
