//! The 48-bit index of a packet (RFC 3711 §3.3.1) and which indices have been seen (§3.3.2).

use super::error::InboundError;

/// How far behind the newest packet one may arrive: 2.5 s of 20 ms packets. RFC 3711 §3.3.2 asks for 64 at least.
const WINDOW_PACKETS: u64 = u128::BITS as u64;

/// Half of what 16 bits can count.
const HALF_CYCLE: u16 = 1 << 15;

/// The first index too high: 32 bits of roll-over counter before 16 of sequence number.
pub(super) const END_OF_INDICES: u64 = 1 << 48;

/// The index of a packet with this `sequence`, given the `highest` index so far, as RFC 3711 appendix A estimates it.
///
/// There is nothing before the first cycle: what looks like it is taken for a long jump ahead, and the tag decides.
pub(super) fn estimate(highest: u64, sequence: u16) -> u64 {
    let (roll_overs, latest) = (highest >> 16, highest as u16);
    let roll_overs = if latest < HALF_CYCLE {
        let is_before_wrap = i32::from(sequence) - i32::from(latest) > i32::from(HALF_CYCLE);
        roll_overs.saturating_sub(u64::from(is_before_wrap))
    } else {
        let is_after_wrap = latest - HALF_CYCLE > sequence;
        roll_overs + u64::from(is_after_wrap)
    };
    roll_overs << 16 | u64::from(sequence)
}

/// Which of the latest indices have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ReplayWindow {
    highest: Option<u64>,
    /// Bit n: the packet n before the highest has come.
    seen: u128,
}

impl ReplayWindow {
    /// The highest index so far.
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether a packet of this index may still come. Changes nothing: the packet may be forged.
    pub(super) fn check(&self, index: u64) -> Result<(), InboundError> {
        let Some(behind) = self.highest.and_then(|highest| highest.checked_sub(index)) else { return Ok(()) };
        if behind >= WINDOW_PACKETS {
            Err(InboundError::TooOld)
        } else if self.seen >> behind & 1 == 1 {
            Err(InboundError::Replayed)
        } else {
            Ok(())
        }
    }

    /// Takes note of a genuine packet that [`Self::check`] let through.
    pub(super) fn accept(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => self.seen |= 1 << (highest - index),
            Some(highest) => {
                let steps = u32::try_from(index - highest).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(steps).unwrap_or(0) | 1;
                self.highest = Some(index);
            }
            None => (self.highest, self.seen) = (Some(index), 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn indices_are_estimated_as_in_rfc_3711_appendix_a() {
        // (highest index, sequence, index)
        let rows = [
            (0x0000_1234, 0x1235, 0x0000_1235),
            (0x0000_ffff, 0x0000, 0x0001_0000),
            (0x0001_0000, 0xffff, 0x0000_ffff),
            (0x0003_fff0, 0x0010, 0x0004_0010),
            (0x0004_0010, 0xfff0, 0x0003_fff0),
            // The edges: a jump of half a cycle stays in the cycle, whichever way.
            (0x0002_0005, 0x8005, 0x0002_8005),
            (0x0002_0005, 0x8006, 0x0001_8006),
            (0x0002_8005, 0x0005, 0x0002_0005),
            (0x0002_8005, 0x0004, 0x0003_0004),
            // No cycle before the first.
            (0x0000_0005, 0xff00, 0x0000_ff00),
            // The end of the counter.
            (0xffff_ffff_ffff, 0x0000, END_OF_INDICES),
        ];
        for (highest, sequence, index) in rows {
            assert_eq!(estimate(highest, sequence), index, "{highest:#x}, {sequence:#x}");
        }
    }

    #[test]
    fn the_window_is_128_packets() {
        let mut window = ReplayWindow::default();
        window.accept(1_000);
        assert_eq!(window.check(1_000), Err(InboundError::Replayed));
        assert_eq!(window.check(1_000 - 127), Ok(()));
        assert_eq!(window.check(1_000 - 128), Err(InboundError::TooOld));
        window.accept(1_000 - 127);
        assert_eq!(window.check(1_000 - 127), Err(InboundError::Replayed));
        window.accept(1_001);
        assert_eq!(window.check(1_000), Err(InboundError::Replayed));
        assert_eq!(window.check(1_000 - 127), Err(InboundError::TooOld));
        window.accept(1_001 + 128);
        assert_eq!(window.check(1_002), Ok(()));
        window.accept(u64::MAX);
        assert_eq!(window.check(u64::MAX - 1), Ok(()));
    }

    proptest! {
        /// The window against a plain list of everything accepted.
        #[test]
        fn each_index_passes_once_and_only_while_it_is_recent(steps in prop::collection::vec(-200_i64..100, 1..500)) {
            let mut window = ReplayWindow::default();
            let mut accepted = Vec::new();
            let mut position = 1_000_000_u64;
            for step in steps {
                position = position.saturating_add_signed(step);
                let highest = accepted.iter().max().copied().unwrap_or(0);
                let expected = if accepted.is_empty() || position + 128 > highest {
                    if accepted.contains(&position) { Err(InboundError::Replayed) } else { Ok(()) }
                } else {
                    Err(InboundError::TooOld)
                };
                prop_assert_eq!(window.check(position), expected);
                if expected.is_ok() {
                    window.accept(position);
                    accepted.push(position);
                }
            }
        }

        /// As long as no jump reaches half a cycle, sixteen bits are enough.
        #[test]
        fn estimates_follow_any_walk(start in 0_u64..1 << 40, steps in prop::collection::vec(-32_767_i64..=32_767, 1..200)) {
            let mut highest = start + (1 << 16);
            for step in steps {
                let index = highest.saturating_add_signed(step);
                prop_assert_eq!(estimate(highest, index as u16), index);
                highest = highest.max(index);
            }
        }
    }
}
