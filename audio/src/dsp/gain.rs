//! Gain that changes in ramps: a step in level is heard as a click.

/// The factor of a gain in decibels.
pub fn linear_from_db(gain_db: f32) -> f32 {
    10_f32.powf(gain_db / 20.0)
}

/// A gain that moves to its target linearly within a fixed number of samples.
#[derive(Debug, Clone)]
pub struct GainRamp {
    current: f32,
    target: f32,
    step: f32,
    ramp_samples: usize,
}

impl GainRamp {
    /// A gain that stands at `initial` (linear) and changes within `ramp_samples` (at least one).
    pub fn new(initial: f32, ramp_samples: usize) -> Self {
        Self { current: initial, target: initial, step: 0.0, ramp_samples: ramp_samples.max(1) }
    }

    /// Starts a ramp from where the gain is to `target` (linear).
    pub fn set_target(&mut self, target: f32) {
        self.target = target;
        self.step = (target - self.current) / self.ramp_samples as f32;
    }

    /// Whether the target is reached.
    pub fn is_settled(&self) -> bool {
        self.current == self.target
    }

    /// The gain the next sample gets.
    pub fn current(&self) -> f32 {
        self.current
    }

    /// Scales `samples` in place, moving on; clips at full scale.
    pub fn apply(&mut self, samples: &mut [i16]) {
        if self.is_settled() && self.current == 1.0 {
            return;
        }
        for sample in samples {
            self.advance();
            // `as` saturates, which is the clipping we want.
            *sample = (f32::from(*sample) * self.current).round() as i16;
        }
    }

    fn advance(&mut self) {
        let remaining = self.target - self.current;
        if remaining.abs() <= self.step.abs() * 1.001 {
            self.current = self.target;
        } else {
            self.current += self.step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_takes_its_samples_and_stays() {
        let mut gain = GainRamp::new(1.0, 4);
        gain.set_target(0.0);
        let mut samples = [1_000; 6];
        gain.apply(&mut samples);
        assert_eq!(samples, [750, 500, 250, 0, 0, 0]);
        assert!(gain.is_settled());
    }

    #[test]
    fn unity_leaves_samples_alone_and_more_clips() {
        let mut samples = [i16::MIN, -3, 0, i16::MAX];
        GainRamp::new(1.0, 80).apply(&mut samples);
        assert_eq!(samples, [i16::MIN, -3, 0, i16::MAX]);
        GainRamp::new(2.0, 80).apply(&mut samples);
        assert_eq!(samples, [i16::MIN, -6, 0, i16::MAX]);
    }

    #[test]
    fn decibels_are_of_amplitude() {
        assert!((linear_from_db(-6.0206) - 0.5).abs() < 1e-4);
        assert_eq!(linear_from_db(0.0), 1.0);
    }
}
