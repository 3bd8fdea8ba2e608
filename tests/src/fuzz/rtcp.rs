//! RTCP between two ends, damaged on the way or made up, and the schedule that says when it is due.

use std::time::{Duration, Instant};

use audio::rtp::rtcp::{Due, NtpTime, Reporter, Schedule, SenderInfo};
use audio::rtp::{Reception, SequenceNumber};
use audio::time::{RtpTimestamp, SampleRate};

use super::script::Script;
use super::transactions::ORIGIN;

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let mut ends = [End::new(1), End::new(2)];
    // Once as it is, which is how a corpus of packets reads.
    ends[0].hear(input, Duration::ZERO);
    let mut script = Script::new(input);
    let mut elapsed = Duration::ZERO;
    while !script.is_over() {
        let at = script.below(2);
        match script.below(6) {
            0 => elapsed += Duration::from_millis(script.word().into()),
            1 => ends[at].hear(script.bytes(), elapsed),
            2 => {
                let sequence = SequenceNumber(script.word());
                ends[at].reception.handle_packet(2 - at as u32, sequence);
            }
            3 => ends[at].wait(&mut script, elapsed),
            _ => exchange(&mut ends, at, &mut script, elapsed),
        }
    }
    goodbye_is_understood(&mut ends, elapsed);
}

struct End {
    reporter: Reporter,
    reception: Reception,
    schedule: Schedule,
}

impl End {
    fn new(ssrc: u32) -> Self {
        Self {
            reporter: Reporter::new(ssrc, "k3v9x2", SampleRate::NARROW_BAND).expect("a name"),
            reception: Reception::new(SampleRate::NARROW_BAND),
            schedule: Schedule::new(160_000, *ORIGIN, 7),
        }
    }

    fn hear(&mut self, datagram: &[u8], elapsed: Duration) {
        let Ok(feedback) = self.reporter.handle_packet(datagram, at(elapsed), ntp(elapsed)) else { return };
        self.schedule.handle_received(datagram.len(), at(elapsed));
        let Some(report) = feedback.report else { return };
        assert!((0.0..1.0).contains(&report.fraction_lost), "{report:?}");
        assert!((-(1 << 23)..1 << 23).contains(&report.cumulative_lost), "{report:?}");
        assert!(report.jitter_ms.is_finite() && report.jitter_ms >= 0.0, "{report:?}");
        assert!(report.round_trip.is_none_or(|time| time < Duration::from_secs(32_768)), "{report:?}");
    }

    /// A timer never runs backwards, and one that is due moves on.
    fn wait(&mut self, script: &mut Script<'_>, elapsed: Duration) {
        let now = at(elapsed);
        let random = u32::from(script.word()) << 16 | u32::from(script.byte());
        if script.chance() {
            self.schedule.handle_sources(script.byte().into(), now);
        }
        let before = self.schedule.poll_timeout();
        let due = self.schedule.handle_timeout(now, random);
        let next = self.schedule.poll_timeout();
        assert!(next >= before.min(now), "the timer goes back");
        assert!(due == Due::NotYet || next > now + Duration::from_millis(500), "reports follow too closely");
        assert!(due == Due::Report || next >= now, "a timer that does not move fires for ever");
        let _ = self.schedule.is_peer_silent(now);
    }
}

fn at(elapsed: Duration) -> Instant {
    *ORIGIN + elapsed
}

fn ntp(elapsed: Duration) -> NtpTime {
    NtpTime::from_unix(Duration::from_secs(1_800_000_000) + elapsed)
}

/// A report of one end to the other: carried, damaged, or cut.
fn exchange(ends: &mut [End; 2], from: usize, script: &mut Script<'_>, elapsed: Duration) {
    let mut datagram = report(&mut ends[from], script.chance(), elapsed);
    assert!(ends[1 - from].reporter.clone().handle_packet(&datagram, at(elapsed), ntp(elapsed)).is_ok());
    match script.below(4) {
        0 => {
            let place = script.below(datagram.len());
            datagram[place] = script.byte();
        }
        1 => datagram.truncate(script.below(datagram.len())),
        _ => {}
    }
    ends[1 - from].hear(&datagram, elapsed);
}

fn report(end: &mut End, has_sent: bool, elapsed: Duration) -> Vec<u8> {
    let sent = SenderInfo { timestamp: RtpTimestamp(u32::MAX), packets: u64::MAX, payload_bytes: u64::MAX };
    let mut datagram = Vec::new();
    end.reporter.report(&end.reception, has_sent.then_some(sent), at(elapsed), ntp(elapsed), &mut datagram);
    end.schedule.handle_sent(datagram.len(), has_sent);
    datagram
}

/// Whatever came before.
fn goodbye_is_understood(ends: &mut [End; 2], elapsed: Duration) {
    let [ours, theirs] = ends;
    let mut datagram = Vec::new();
    ours.reporter.goodbye(&ours.reception, None, at(elapsed), ntp(elapsed), &mut datagram);
    let feedback = theirs.reporter.handle_packet(&datagram, at(elapsed), ntp(elapsed)).expect("ours is read");
    assert!(feedback.is_goodbye);
}
