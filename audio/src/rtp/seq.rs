//! Sequence numbers: 16 bits on the wire, compared around the wrap and extended to 64 bits (RFC 3550 §A.1).

/// An RTP sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// The one after, wrapping.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Steps from `earlier` to here along the shorter way round; negative when `earlier` is really later.
    pub const fn since(self, earlier: Self) -> i16 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// Whether this one comes after `other`, as far as 16 bits can tell.
    pub const fn is_after(self, other: Self) -> bool {
        self.since(other) > 0
    }
}

/// Extends sequence numbers to 64 bits, so that they can be compared, subtracted and used as an index.
///
/// The first number is placed one cycle above zero: a packet reordered before it still extends to a positive number.
#[derive(Debug, Clone, Copy)]
pub struct SequenceExtender {
    highest: u64,
}

impl SequenceExtender {
    const CYCLE: u64 = 1 << 16;

    /// Starts at `first`.
    pub fn new(first: SequenceNumber) -> Self {
        Self { highest: Self::CYCLE + u64::from(first.0) }
    }

    /// The highest extended number so far.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Extends `sequence` to the number nearest to the highest so far, without taking note of it.
    pub fn extend(&self, sequence: SequenceNumber) -> u64 {
        let highest = SequenceNumber((self.highest % Self::CYCLE) as u16);
        self.highest.saturating_add_signed(i64::from(sequence.since(highest)))
    }

    /// Extends `sequence` and remembers it if it is the highest.
    pub fn advance(&mut self, sequence: SequenceNumber) -> u64 {
        let extended = self.extend(sequence);
        self.highest = self.highest.max(extended);
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_survives_the_wrap() {
        let rows = [(0, 65_535, true), (65_535, 0, false), (10, 9, true), (9, 9, false), (32_767, 0, true)];
        for (a, b, after) in rows {
            assert_eq!(SequenceNumber(a).is_after(SequenceNumber(b)), after, "{a} after {b}");
        }
        assert_eq!(SequenceNumber(65_535).next(), SequenceNumber(0));
    }

    #[test]
    fn a_packet_reordered_before_the_first_keeps_its_place() {
        let mut extender = SequenceExtender::new(SequenceNumber(0));
        let first = extender.highest();
        assert_eq!(extender.advance(SequenceNumber(65_535)), first - 1);
        assert_eq!(extender.highest(), first);
    }

    proptest! {
        #[test]
        fn extension_follows_any_walk_of_short_steps(first: u16, steps in prop::collection::vec(-900_i64..1_000, 0..400)) {
            let mut extender = SequenceExtender::new(SequenceNumber(first));
            let mut truth = i64::try_from(extender.highest()).unwrap();
            for step in steps {
                truth = (i64::try_from(extender.highest()).unwrap() + step).max(0);
                let extended = extender.advance(SequenceNumber((truth % 65_536) as u16));
                prop_assert_eq!(i64::try_from(extended).unwrap(), truth);
            }
            prop_assert!(truth >= 0);
        }
    }
}
