//! Three people on one call: who hears whom, and the sum of what they say. Nothing is allocated.
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

    /// What each party hears of this tick's frames, each party's at its place. A party without a frame is silent.
    pub fn mix<const SAMPLES: usize>(&self, said: [Option<&[i16; SAMPLES]>; PARTIES]) -> [[i16; SAMPLES]; PARTIES] {
        self.hears.map(|heard| {
            let mut mixed = [0; SAMPLES];
            let frames = said.iter().zip(heard).filter(|(_, is_heard)| *is_heard).filter_map(|(frame, _)| *frame);
            frames.for_each(|frame| add(&mut mixed, frame));
            mixed
        })
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
    fn heard(conference: Conference) -> [i16; 3] {
        conference.mix([Some(&[1; 160]), Some(&[10; 160]), Some(&[100; 160])]).map(|frame| {
            assert!(frame.iter().all(|&sample| sample == frame[0]));
            frame[0]
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
        let [first, second, third] =
            Conference::OPEN.mix([Some(&[30_000; 320]), Some(&[-30_000; 320]), Some(&[-9_000; 320])]);
        assert_eq!((first[0], second[319], third[7]), (i16::MIN, 21_000, 0));
        assert_eq!(Conference::OPEN.mix::<160>([None; 3]), [[0; 160]; 3]);
    }
}
