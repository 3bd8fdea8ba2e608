//! Three people on one call: who hears whom, and the sum of what is heard. Nothing is allocated.
//!
//! Sums clip at full scale, as on a telephone bridge: three voices at once are rare, and a limiter would pump.

/// The parties of a conference.
pub const PARTIES: usize = 3;

/// Who hears whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conference {
    /// `hears[a][b]`: a hears b. Nobody hears themselves.
    hears: [[bool; PARTIES]; PARTIES],
}

impl Conference {
    /// All three talk with each other; a supervisor who barges in is one of them.
    pub const OPEN: Self = Self { hears: [[false, true, true], [true, false, true], [true, true, false]] };

    /// Party 0 and 1 talk; 2, a supervisor, hears both and is not heard.
    pub const LISTENED_TO: Self = Self { hears: [[false, true, false], [true, false, false], [true, true, false]] };

    /// Party 0, the caller, and 1, the colleague, talk; 2, the supervisor, hears both and is heard by the colleague alone.
    pub const WHISPERED_TO: Self = Self { hears: [[false, true, false], [true, false, true], [true, true, false]] };

    /// Whether the party `who` hears the party `whom`. False for parties that there are not.
    pub fn hears(&self, who: usize, whom: usize) -> bool {
        self.hears.get(who).and_then(|heard| heard.get(whom)).copied().unwrap_or(false)
    }
}

/// Adds `frame` to `sum`, clipping at full scale.
pub fn add(sum: &mut [i16], frame: &[i16]) {
    sum.iter_mut().zip(frame).for_each(|(sum, &sample)| *sum = sum.saturating_add(sample));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each hears when party 0 says 1, 1 says 10 and 2 says 100.
    fn heard(conference: Conference) -> [i16; PARTIES] {
        let said = [1, 10, 100];
        std::array::from_fn(|who| {
            let mut sum = [0; 160];
            let heard = said.iter().enumerate().filter(|(whom, _)| conference.hears(who, *whom));
            heard.for_each(|(_, sample)| add(&mut sum, &[*sample; 160]));
            sum[159]
        })
    }

    #[test]
    fn everybody_hears_whom_they_should() {
        assert_eq!(heard(Conference::OPEN), [110, 101, 11]);
        assert_eq!(heard(Conference::LISTENED_TO), [10, 1, 11]);
        assert_eq!(heard(Conference::WHISPERED_TO), [10, 101, 11]);
    }

    #[test]
    fn loud_voices_clip_and_do_not_wrap() {
        for (one, other, sum) in [(30_000, 9_000, i16::MAX), (-30_000, -9_000, i16::MIN), (30_000, -9_000, 21_000)] {
            let mut frame = [one; 320];
            add(&mut frame, &[other; 320]);
            assert_eq!(frame, [sum; 320]);
        }
        assert!(!Conference::OPEN.hears(PARTIES, 0));
    }
}
