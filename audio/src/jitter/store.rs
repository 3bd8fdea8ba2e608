//! Packets waiting for their turn, in a ring indexed by extended sequence number.

use crate::rtp::PayloadType;
use crate::time::RtpTimestamp;

/// Packets held at most: 400 ms of the shortest packets in use (10 ms), as much as the buffer keeps.
pub const CAPACITY_PACKETS: usize = 40;

/// Payload bytes each slot has from the start: 20 ms of G.711, what nearly everybody sends. Longer ones let it grow once.
const SLOT_BYTES: usize = 160;

/// One packet in the ring.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// Which packet is here, if any.
    sequence: Option<u64>,
    pub(super) timestamp: RtpTimestamp,
    pub(super) duration_ticks: u32,
    /// `None` for packets that take a sequence number but hold no sound, like DTMF events.
    pub(super) payload_type: Option<PayloadType>,
    pub(super) payload: Vec<u8>,
}

/// The ring. All sequence numbers held lie within [`CAPACITY_PACKETS`] of each other.
#[derive(Debug)]
pub(super) struct PacketStore {
    slots: Vec<Slot>,
    count: usize,
    /// Lowest sequence number held; meaningless while `count` is zero.
    first: u64,
    /// Highest sequence number held; meaningless while `count` is zero.
    last: u64,
    buffered_ticks: u32,
}

impl PacketStore {
    /// An empty ring.
    pub(super) fn new() -> Self {
        let slot = || Slot {
            sequence: None,
            timestamp: RtpTimestamp(0),
            duration_ticks: 0,
            payload_type: None,
            payload: Vec::with_capacity(SLOT_BYTES),
        };
        let slots = (0..CAPACITY_PACKETS).map(|_| slot()).collect();
        Self { slots, count: 0, first: 0, last: 0, buffered_ticks: 0 }
    }

    /// The slot to fill for `sequence`, its payload emptied; `None` if it is held already or too old for the ring.
    /// The caller has made room above with [`Self::has_room_for`].
    pub(super) fn insert(&mut self, sequence: u64, duration_ticks: u32) -> Option<&mut Slot> {
        if !self.has_room_for(sequence) || self.is_too_old(sequence) {
            return None;
        }
        let slot = &mut self.slots[index_of(sequence)];
        if slot.sequence.is_some() {
            return None;
        }
        (self.first, self.last) = match self.count {
            0 => (sequence, sequence),
            1.. => (self.first.min(sequence), self.last.max(sequence)),
        };
        self.count += 1;
        self.buffered_ticks += duration_ticks;
        slot.sequence = Some(sequence);
        slot.duration_ticks = duration_ticks;
        slot.payload.clear();
        Some(slot)
    }

    /// Whether `sequence` is near enough to the lowest one held.
    pub(super) fn has_room_for(&self, sequence: u64) -> bool {
        self.count == 0 || sequence < self.first + CAPACITY_PACKETS as u64
    }

    fn is_too_old(&self, sequence: u64) -> bool {
        self.count > 0 && sequence + CAPACITY_PACKETS as u64 <= self.last
    }

    /// The packet with the lowest sequence number, which comes along.
    pub(super) fn head(&self) -> Option<(u64, &Slot)> {
        (self.count > 0).then(|| (self.first, &self.slots[index_of(self.first)]))
    }

    /// Takes the head out. Its slot stays readable until the next [`Self::insert`].
    pub(super) fn pop(&mut self) -> Option<(u64, &Slot)> {
        if self.count == 0 {
            return None;
        }
        let popped = self.first;
        let slot = &mut self.slots[index_of(popped)];
        slot.sequence = None;
        self.buffered_ticks -= slot.duration_ticks;
        self.count -= 1;
        self.first = self.lowest_after(popped);
        Some((popped, &self.slots[index_of(popped)]))
    }

    /// Packets held.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Clock ticks of sound held. Counted from the packets, not from timestamps, so that a jump cannot fake it.
    pub(super) fn buffered_ticks(&self) -> u32 {
        self.buffered_ticks
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.sequence = None);
        self.count = 0;
        self.buffered_ticks = 0;
    }

    fn lowest_after(&self, sequence: u64) -> u64 {
        let held = |candidate: &u64| self.slots[index_of(*candidate)].sequence == Some(*candidate);
        (sequence + 1..=self.last).find(held).unwrap_or(sequence + 1)
    }
}

fn index_of(sequence: u64) -> usize {
    (sequence % CAPACITY_PACKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_of(sequences: &[u64]) -> PacketStore {
        let mut store = PacketStore::new();
        for &sequence in sequences {
            store.insert(sequence, 160);
        }
        store
    }

    fn drain(mut store: PacketStore) -> Vec<u64> {
        std::iter::from_fn(|| store.pop().map(|(sequence, _)| sequence)).collect()
    }

    #[test]
    fn packets_come_out_in_sequence() {
        assert_eq!(drain(store_of(&[105, 103, 104, 109])), [103, 104, 105, 109]);
    }

    #[test]
    fn a_duplicate_changes_nothing() {
        let mut store = store_of(&[7]);
        assert!(store.insert(7, 160).is_none());
        assert_eq!(store.buffered_ticks(), 160);
        assert_eq!(drain(store), [7]);
    }

    #[test]
    fn the_ring_holds_one_turn_and_no_more() {
        let mut store = store_of(&[100]);
        let last = 99 + CAPACITY_PACKETS as u64;
        assert!(store.insert(last, 160).is_some());
        assert!(store.insert(last + 1, 160).is_none());
        assert!(store.insert(99, 160).is_none());
        assert_eq!(drain(store), [100, last]);
    }

    #[test]
    fn an_emptied_ring_takes_any_sequence() {
        let mut store = store_of(&[100]);
        store.pop();
        assert!(store.insert(5_000, 160).is_some());
        store.clear();
        assert_eq!(store.buffered_ticks(), 0);
        assert!(store.insert(3, 160).is_some());
        assert_eq!(drain(store), [3]);
    }
}
