//! Which packets belong to the stream, and what became of the others (RFC 3550 §§A.1, A.3, A.8).

use std::time::Instant;

use super::seq::{SequenceExtender, SequenceNumber};
use crate::time::{RtpTimestamp, SampleRate};

/// The furthest a sequence may jump ahead and still be a loss: a minute of 20 ms packets.
const MAX_DROPOUT: i16 = 3_000;

/// How far back a packet may belong to the stream; RFC 3550 §A.1 says 100. Duplicates are recognised as far.
const MAX_MISORDER: i16 = 100;

/// Packets in a row (losses allowed) that make a new source credible.
const CONFIRMATIONS: u32 = 2;

/// Packets that may be lost between two confirmations.
const MAX_CANDIDATE_STEP: i16 = 10;

/// What a packet is to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next packet, or one after a loss or out of order.
    Accepted {
        /// Its extended sequence number.
        sequence: u64,
    },
    /// The first of a source now followed: forget what came before.
    NewSource {
        /// Its extended sequence number.
        sequence: u64,
    },
    /// Seen already.
    Duplicate,
    /// Perhaps the first of a new source, perhaps a stray.
    Unconfirmed,
}

/// Book-keeping for one incoming stream.
#[derive(Debug, Clone)]
pub struct Reception {
    clock_rate: SampleRate,
    source: Option<Source>,
    candidate: Option<Candidate>,
    jitter: Interarrival,
    /// Packets lost by the sources before.
    earlier_lost: u64,
    received: u64,
    duplicate: u64,
    reordered: u64,
    source_changes: u64,
}

#[derive(Debug, Clone)]
struct Source {
    ssrc: u32,
    extender: SequenceExtender,
    first: u64,
    received: u64,
    /// Bit n: the packet n before the highest has come.
    seen: u128,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    ssrc: u32,
    latest: SequenceNumber,
    packets: u32,
}

/// The estimator of RFC 3550 §6.4.1, in clock ticks.
#[derive(Debug, Clone, Copy, Default)]
struct Interarrival {
    previous: Option<(RtpTimestamp, Instant)>,
    ticks: f64,
}

impl Reception {
    /// Nothing received yet.
    pub fn new(clock_rate: SampleRate) -> Self {
        Self {
            clock_rate,
            source: None,
            candidate: None,
            jitter: Interarrival::default(),
            earlier_lost: 0,
            received: 0,
            duplicate: 0,
            reordered: 0,
            source_changes: 0,
        }
    }

    /// Judges a packet by its source and sequence.
    pub fn handle_packet(&mut self, ssrc: u32, sequence: SequenceNumber) -> Verdict {
        let Some(source) = self.source.as_mut() else { return self.follow(ssrc, sequence) };
        match source.handle_packet(ssrc, sequence) {
            Place::Ahead(sequence) => self.accept(sequence),
            Place::Behind(sequence) => {
                self.reordered += 1;
                self.accept(sequence)
            }
            Place::Seen => {
                self.duplicate += 1;
                Verdict::Duplicate
            }
            Place::Elsewhere => self.consider(ssrc, sequence),
        }
    }

    /// From here on timestamps count in another clock; jitter is measured anew.
    pub fn change_clock_rate(&mut self, clock_rate: SampleRate) {
        self.clock_rate = clock_rate;
        self.jitter = Interarrival::default();
    }

    /// Takes note of when a packet of sound came, for the jitter.
    pub fn handle_timing(&mut self, timestamp: RtpTimestamp, arrival: Instant) {
        if let Some((earlier, arrived)) = self.jitter.previous {
            let elapsed = arrival.saturating_duration_since(arrived).as_secs_f64() * f64::from(self.clock_rate.hz());
            let difference = elapsed - f64::from(timestamp.since(earlier));
            self.jitter.ticks += (difference.abs() - self.jitter.ticks) / 16.0;
        }
        self.jitter.previous = Some((timestamp, arrival));
    }

    /// The source followed.
    pub fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.ssrc)
    }

    /// Highest extended sequence number of the source followed, in the 32 bits of a report block.
    pub fn highest_sequence(&self) -> u32 {
        // One cycle less than the extender counts, see there; a report counts cycles from zero.
        self.source.as_ref().map_or(0, |source| source.extender.highest().wrapping_sub(1 << 16) as u32)
    }

    /// Packets the source followed should have sent by now, and how many of them came (RFC 3550 §A.3).
    pub fn expected_and_received(&self) -> (u64, u64) {
        self.source.as_ref().map_or((0, 0), |source| (source.expected(), source.received))
    }

    /// Packets that did not come, of all sources.
    pub fn lost(&self) -> u64 {
        self.earlier_lost + self.source.as_ref().map_or(0, Source::lost)
    }

    /// Packets that came, duplicates left out.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that came again.
    pub fn duplicate(&self) -> u64 {
        self.duplicate
    }

    /// Packets that came after one with a higher number.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Changes of source after the first.
    pub fn source_changes(&self) -> u64 {
        self.source_changes
    }

    /// Interarrival jitter in clock ticks.
    pub fn jitter_ticks(&self) -> f64 {
        self.jitter.ticks
    }

    /// Interarrival jitter in milliseconds.
    pub fn jitter_ms(&self) -> f64 {
        self.jitter.ticks * 1000.0 / f64::from(self.clock_rate.hz())
    }

    fn accept(&mut self, sequence: u64) -> Verdict {
        self.candidate = None;
        self.received += 1;
        Verdict::Accepted { sequence }
    }

    /// Another SSRC, or ours with a wild jump.
    fn consider(&mut self, ssrc: u32, sequence: SequenceNumber) -> Verdict {
        let continues =
            |known: &Candidate| known.ssrc == ssrc && (1..=MAX_CANDIDATE_STEP).contains(&sequence.since(known.latest));
        let packets = self.candidate.filter(continues).map_or(1, |known| known.packets + 1);
        if packets < CONFIRMATIONS {
            self.candidate = Some(Candidate { ssrc, latest: sequence, packets });
            return Verdict::Unconfirmed;
        }
        self.source_changes += 1;
        self.follow(ssrc, sequence)
    }

    fn follow(&mut self, ssrc: u32, sequence: SequenceNumber) -> Verdict {
        self.earlier_lost = self.lost();
        self.candidate = None;
        self.jitter.previous = None;
        self.received += 1;
        let extender = SequenceExtender::new(sequence);
        let first = extender.highest();
        self.source = Some(Source { ssrc, extender, first, received: 1, seen: 1 });
        Verdict::NewSource { sequence: first }
    }
}

/// Where a packet stands relative to a source.
enum Place {
    Ahead(u64),
    Behind(u64),
    Seen,
    Elsewhere,
}

impl Source {
    fn handle_packet(&mut self, ssrc: u32, sequence: SequenceNumber) -> Place {
        let highest = self.extender.highest();
        let extended = self.extender.extend(sequence);
        if ssrc != self.ssrc || extended > highest + MAX_DROPOUT as u64 || extended + MAX_MISORDER as u64 <= highest {
            return Place::Elsewhere;
        }
        if extended > highest {
            self.extender.advance(sequence);
            self.received += 1;
            self.seen = self.seen.checked_shl((extended - highest) as u32).unwrap_or(0) | 1;
            return Place::Ahead(extended);
        }
        let bit = 1 << (highest - extended);
        if self.seen & bit != 0 {
            return Place::Seen;
        }
        self.seen |= bit;
        self.received += 1;
        self.first = self.first.min(extended);
        Place::Behind(extended)
    }

    fn expected(&self) -> u64 {
        self.extender.highest() + 1 - self.first
    }

    fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `(ssrc, sequence)` and writes each verdict as a letter: accepted, new source, duplicate, unconfirmed.
    fn verdicts(reception: &mut Reception, packets: &[(u32, u16)]) -> String {
        let letter = |&(ssrc, sequence): &(u32, u16)| match reception.handle_packet(ssrc, SequenceNumber(sequence)) {
            Verdict::Accepted { .. } => 'a',
            Verdict::NewSource { .. } => 'n',
            Verdict::Duplicate => 'd',
            Verdict::Unconfirmed => 'u',
        };
        packets.iter().map(letter).collect()
    }

    #[test]
    fn packets_are_judged_by_source_and_sequence() {
        // (name, (ssrc, sequence), verdicts, (received, lost, duplicate, reordered, changes))
        type Row = (&'static str, &'static [(u32, u16)], &'static str, (u64, u64, u64, u64, u64));
        let rows: [Row; 10] = [
            ("in order over the wrap", &[(1, 65_535), (1, 0), (1, 1)], "naa", (3, 0, 0, 0, 0)),
            ("two lost", &[(1, 1), (1, 2), (1, 5)], "naa", (3, 2, 0, 0, 0)),
            ("reordered", &[(1, 1), (1, 3), (1, 2)], "naa", (3, 0, 0, 1, 0)),
            ("reordered before the first", &[(1, 0), (1, 65_535)], "na", (2, 0, 0, 1, 0)),
            ("duplicate", &[(1, 1), (1, 2), (1, 1), (1, 2)], "nadd", (2, 0, 2, 0, 0)),
            ("duplicate of a reordered one", &[(1, 1), (1, 3), (1, 2), (1, 2)], "naad", (3, 0, 1, 1, 0)),
            ("new source", &[(1, 1), (2, 900), (2, 901), (2, 902)], "nuna", (3, 0, 0, 0, 1)),
            ("new source with losses", &[(1, 1), (2, 900), (2, 905)], "nun", (2, 0, 0, 0, 1)),
            ("two sources at once", &[(1, 1), (2, 900), (1, 2), (2, 901), (1, 3)], "nuaua", (3, 0, 0, 0, 0)),
            ("restart of the same source", &[(1, 1), (1, 40_000), (1, 40_001), (1, 40_002)], "nuna", (3, 0, 0, 0, 1)),
        ];
        for (name, packets, expected, counts) in rows {
            let mut reception = Reception::new(SampleRate::NARROW_BAND);
            assert_eq!(verdicts(&mut reception, packets), expected, "{name}");
            let counted = (
                reception.received(),
                reception.lost(),
                reception.duplicate(),
                reception.reordered(),
                reception.source_changes(),
            );
            assert_eq!(counted, counts, "{name}");
        }
    }

    #[test]
    fn the_edges_of_loss_and_misorder_are_the_constants() {
        let ahead = MAX_DROPOUT as u16;
        let back = 10_000 - MAX_MISORDER as u16;
        let mut reception = Reception::new(SampleRate::NARROW_BAND);
        assert_eq!(verdicts(&mut reception, &[(1, 10_000), (1, back + 1), (1, back)]), "nau");
        assert_eq!(verdicts(&mut reception, &[(1, 10_000 + ahead), (1, 10_001 + 2 * ahead)]), "au");
    }

    #[test]
    fn report_numbers_count_cycles_from_zero() {
        let mut reception = Reception::new(SampleRate::NARROW_BAND);
        verdicts(&mut reception, &[(1, 65_534), (1, 65_535)]);
        assert_eq!(reception.highest_sequence(), 65_535);
        verdicts(&mut reception, &[(1, 0), (1, 3)]);
        assert_eq!(reception.highest_sequence(), 65_536 + 3);
        assert_eq!(reception.expected_and_received(), (6, 4));
    }
}
