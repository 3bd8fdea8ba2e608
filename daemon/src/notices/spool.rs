//! Which notice is sent next, and what becomes of one that failed: decisions only.
//!
//! ```text
//! rows that wait ──► Spool ──next(now)──► send this one │ sleep until then
//!                      ▲                        │
//!                      └──── handle_outcome ◄───┘  ──► Verdict: sent │ again at │ given up
//! ```
//! Notices go oldest first. Of those with the same key (one recipient, one call) a later one waits until the one before
//! it was taken or given up. When a channel does not answer at all, the whole channel waits, and one notice at a time
//! looks whether it is back: weeks without a network cost a few attempts, not thousands, and none of them counts towards
//! giving up. In quiet hours only urgent notices are sent.
//!
//! Left out on purpose: what a notice says, and how it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::retry::{Backoff, seed_of};
use crate::storage::{Channel, NoticeFailure, NotificationId, UnixMs};
use crate::update::window::Window;

/// How patient the spool is.
#[derive(Debug, Clone)]
pub struct Rules {
    /// When only urgent notices are sent, in `zone`.
    pub quiet: Option<Window>,
    /// The office's.
    pub zone: TimeZone,
    /// Waits after a failure.
    pub backoff: Backoff,
    /// A notice that was answered with "later" this often is given up.
    pub deferrals_max: u32,
}

/// A notice that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its key.
    pub id: NotificationId,
    /// The way it goes.
    pub channel: Channel,
    /// Those of the same key go in order.
    pub lane: String,
    /// Also in quiet hours.
    pub is_urgent: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// How often it was to come later.
    pub deferrals: u32,
    /// Not before, if it was tried.
    pub due_at: UnixMs,
}

/// What the spool wants to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send this one.
    Send(NotificationId),
    /// Nothing before then.
    Sleep(UnixMs),
    /// Nothing until there is something new.
    Idle,
}

/// What becomes of a notice after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Sent,
    /// It is tried again then.
    Again(UnixMs),
    /// It never is.
    Dead,
}

/// The notices that wait, and which channels do not answer.
#[derive(Debug)]
pub struct Spool {
    rules: Rules,
    /// Oldest first.
    waiting: Vec<Waiting>,
    held: BTreeMap<Channel, Hold>,
}

/// A channel that does not answer.
#[derive(Debug, Clone, Copy)]
struct Hold {
    failures: u32,
    until: UnixMs,
}

impl Spool {
    /// An empty one.
    pub fn new(rules: Rules) -> Spool {
        Spool { rules, waiting: Vec::new(), held: BTreeMap::new() }
    }

    /// Takes over what waits now, oldest first, instead of what it knew before. What it knows of channels stays, unless a
    /// notice has become due earlier than it was to be: then a person wants its channel tried at once.
    pub fn refill(&mut self, waiting: Vec<Waiting>) {
        let known: BTreeMap<_, _> = self.waiting.iter().map(|notice| (notice.id, notice.due_at)).collect();
        let is_wanted = |notice: &&Waiting| {
            notice.attempts > 0 && known.get(&notice.id).is_none_or(|due_at| notice.due_at < *due_at)
        };
        for notice in waiting.iter().filter(is_wanted) {
            self.held.remove(&notice.channel);
        }
        self.waiting = waiting;
    }

    /// What is to be done at `now`.
    pub fn next(&self, now: UnixMs) -> Next {
        let quiet_until = self.quiet_until(now);
        let mut blocked = BTreeSet::new();
        let mut earliest: Option<UnixMs> = None;
        for notice in &self.waiting {
            if !blocked.insert(notice.lane.as_str()) {
                continue;
            }
            match self.wait_of(notice, quiet_until, now) {
                None => return Next::Send(notice.id),
                Some(until) => earliest = Some(earliest.map_or(until, |known| known.min(until))),
            }
        }
        earliest.map_or(Next::Idle, Next::Sleep)
    }

    /// Until when this notice waits; `None`: it may go.
    fn wait_of(&self, notice: &Waiting, quiet_until: Option<UnixMs>, now: UnixMs) -> Option<UnixMs> {
        let is_over = |until: &UnixMs| self.rules.backoff.is_over(*until, now);
        let own = (notice.attempts > 0).then_some(notice.due_at).filter(|until| !is_over(until));
        let held = self.held.get(&notice.channel).map(|hold| hold.until).filter(|until| !is_over(until));
        let quiet = quiet_until.filter(|_| !notice.is_urgent);
        own.into_iter().chain(held).chain(quiet).max()
    }

    fn quiet_until(&self, now: UnixMs) -> Option<UnixMs> {
        let quiet = self.rules.quiet?;
        let at = Timestamp::from_millisecond(now.0).ok()?;
        if !quiet.contains(at, &self.rules.zone) {
            return None;
        }
        let end = quiet.complement().opens(at, &self.rules.zone)?;
        Some(UnixMs(end.timestamp().as_millisecond()))
    }

    /// An attempt is over.
    pub fn handle_outcome(
        &mut self,
        id: NotificationId,
        outcome: Result<(), NoticeFailure>,
        now: UnixMs,
    ) -> Option<Verdict> {
        let index = self.waiting.iter().position(|notice| notice.id == id)?;
        let channel = self.waiting[index].channel;
        let verdict = match outcome {
            Ok(()) => Verdict::Sent,
            Err(failure) => self.verdict(index, failure, now),
        };
        // Whoever answers, even with a refusal, is there.
        if !matches!(outcome, Err(failure) if holds_channel(failure)) {
            self.held.remove(&channel);
        }
        match verdict {
            Verdict::Sent | Verdict::Dead => drop(self.waiting.remove(index)),
            Verdict::Again(due_at) => self.waiting[index].due_at = due_at,
        }
        Some(verdict)
    }

    fn verdict(&mut self, index: usize, failure: NoticeFailure, now: UnixMs) -> Verdict {
        let (backoff, most) = (self.rules.backoff, self.rules.deferrals_max);
        let notice = &mut self.waiting[index];
        notice.attempts += 1;
        let seed = seed_of(notice.id.as_uuid());
        match failure {
            NoticeFailure::Unreachable | NoticeFailure::Credentials | NoticeFailure::SpendLimit => {
                let failures = self.held.get(&notice.channel).map_or(0, |hold| hold.failures) + 1;
                let until = backoff.due_after(failures, seed, now);
                self.held.insert(notice.channel, Hold { failures, until });
                Verdict::Again(until)
            }
            NoticeFailure::Deferred | NoticeFailure::Interrupted => {
                notice.deferrals += 1;
                if notice.deferrals > most {
                    return Verdict::Dead;
                }
                Verdict::Again(backoff.due_after(notice.deferrals, seed, now))
            }
            NoticeFailure::Refused | NoticeFailure::Recipient | NoticeFailure::Stopped | NoticeFailure::Impossible => {
                Verdict::Dead
            }
        }
    }
}

/// Failures that every notice of the channel would have.
fn holds_channel(failure: NoticeFailure) -> bool {
    match failure {
        NoticeFailure::Unreachable | NoticeFailure::Credentials | NoticeFailure::SpendLimit => true,
        NoticeFailure::Deferred
        | NoticeFailure::Interrupted
        | NoticeFailure::Refused
        | NoticeFailure::Recipient
        | NoticeFailure::Stopped
        | NoticeFailure::Impossible => false,
    }
}

/// A minute to begin with, an hour at most, and about four days of "later", as long as a mail server is patient with
/// another (RFC 5321 §4.5.4.1).
pub const PATIENCE: (Backoff, u32) =
    (Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(60 * 60) }, 100);

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
    /// 2026-03-02 12:00 UTC, a Monday.
    const NOON: UnixMs = UnixMs(1_772_452_800_000);

    fn rules() -> Rules {
        Rules { quiet: None, zone: TimeZone::UTC, backoff: PATIENCE.0, deferrals_max: 3 }
    }

    fn notice(at: i64, channel: Channel, lane: &str) -> Waiting {
        Waiting {
            id: NotificationId::new(UnixMs(NOON.0 + at)),
            channel,
            lane: lane.into(),
            is_urgent: false,
            attempts: 0,
            deferrals: 0,
            due_at: UnixMs(NOON.0 + at),
        }
    }

    /// Runs until the spool is idle on a clock that jumps from one deadline to the next. `answer` is asked for each
    /// attempt. The attempts: when in ms from `NOON`, and which of `notices`.
    fn drive(
        spool: &mut Spool,
        notices: &[Waiting],
        mut now: UnixMs,
        mut answer: impl FnMut(usize, UnixMs) -> Result<(), NoticeFailure>,
    ) -> Vec<(i64, usize)> {
        spool.refill(notices.to_vec());
        let mut attempts = Vec::new();
        for _ in 0..100_000 {
            match spool.next(now) {
                Next::Send(id) => {
                    let index = notices.iter().position(|notice| notice.id == id).unwrap();
                    attempts.push((now.0 - NOON.0, index));
                    spool.handle_outcome(id, answer(index, now), now).unwrap();
                }
                Next::Sleep(until) => {
                    assert!(until > now, "it sleeps into the future");
                    now = until;
                }
                Next::Idle => return attempts,
            }
        }
        panic!("it never comes to rest: {attempts:?}");
    }

    #[test]
    fn a_thousand_notices_go_in_order_and_once_after_weeks_offline() {
        let notices: Vec<_> = (0..1_000).map(|at| notice(at, Channel::Email, &format!("call {at}"))).collect();
        let back_at = NOON.0 + 21 * DAY_MS;
        let mut spool = Spool::new(rules());
        let attempts =
            drive(
                &mut spool,
                &notices,
                NOON,
                |_, now| {
                    if now.0 < back_at { Err(NoticeFailure::Unreachable) } else { Ok(()) }
                },
            );
        let (offline, online): (Vec<_>, Vec<_>) = attempts.iter().partition(|(at, _)| NOON.0 + at < back_at);
        assert!((480..700).contains(&offline.len()), "an attempt an hour: {}", offline.len());
        let sent: Vec<_> = online.iter().map(|(_, index)| *index).collect();
        assert_eq!(sent, (0..1_000).collect::<Vec<_>>());
        assert!(online[0].0 < 21 * DAY_MS + 60 * MINUTE_MS, "within the longest wait");
    }

    #[test]
    fn a_later_notice_of_the_same_call_waits_and_others_do_not() {
        let of = |at, lane| notice(at, Channel::Webhook, lane);
        let notices = [of(0, "one"), of(1, "one"), of(2, "two")];
        let mut deferred = false;
        let attempts = drive(&mut Spool::new(rules()), &notices, NOON, |index, _| {
            if index == 0 && !std::mem::replace(&mut deferred, true) { Err(NoticeFailure::Deferred) } else { Ok(()) }
        });
        assert_eq!(attempts.iter().map(|(_, index)| *index).collect::<Vec<_>>(), [0, 2, 0, 1]);
    }

    #[test]
    fn one_that_is_refused_lets_the_next_one_go() {
        let notices = [notice(0, Channel::Email, "one"), notice(1, Channel::Email, "one")];
        let refused =
            [NoticeFailure::Refused, NoticeFailure::Recipient, NoticeFailure::Stopped, NoticeFailure::Impossible];
        for failure in refused {
            let attempts = drive(&mut Spool::new(rules()), &notices, NOON, |index, _| match index {
                0 => Err(failure),
                _ => Ok(()),
            });
            assert_eq!(attempts, [(0, 0), (0, 1)], "{failure}");
        }
    }

    #[test]
    fn a_notice_is_given_up_after_enough_deferrals_not_before() {
        let notices = [notice(0, Channel::Email, "one")];
        let attempts = drive(&mut Spool::new(rules()), &notices, NOON, |_, _| Err(NoticeFailure::Deferred));
        assert_eq!(attempts.len(), 4, "{attempts:?}");
        let waits: Vec<_> = attempts.windows(2).map(|pair| (pair[1].0 - pair[0].0) / 1_000).collect();
        for (wait, doubled) in waits.iter().zip([60, 120, 240]) {
            assert!((doubled * 3 / 4..=doubled * 5 / 4).contains(wait), "{waits:?}");
        }
    }

    #[test]
    fn a_dead_channel_does_not_hold_another_one() {
        let notices = [notice(0, Channel::Email, "one"), notice(1, Channel::Sms, "two")];
        let mut spool = Spool::new(rules());
        spool.refill(notices.to_vec());
        assert_eq!(spool.next(NOON), Next::Send(notices[0].id));
        spool.handle_outcome(notices[0].id, Err(NoticeFailure::Credentials), NOON);
        assert_eq!(spool.next(NOON), Next::Send(notices[1].id));
        spool.handle_outcome(notices[1].id, Ok(()), NOON);
        assert!(matches!(spool.next(NOON), Next::Sleep(_)));
        // What the rows say does not change by itself.
        let Next::Sleep(due_at) = spool.next(NOON) else { panic!("it waits") };
        spool.refill(vec![Waiting { attempts: 1, due_at, ..notices[0].clone() }]);
        assert!(matches!(spool.next(NOON), Next::Sleep(_)));
        // After a new password a person wants it sent at once.
        spool.refill(vec![Waiting { attempts: 1, due_at: NOON, ..notices[0].clone() }]);
        assert_eq!(spool.next(NOON), Next::Send(notices[0].id));
    }

    #[test]
    fn in_quiet_hours_only_urgent_notices_are_sent() {
        let quiet = Window::new(time(20, 0, 0, 0), time(7, 30, 0, 0));
        let urgent = Waiting { is_urgent: true, ..notice(1, Channel::Sms, "two") };
        let notices = [notice(0, Channel::Sms, "one"), urgent];
        // now in UTC hours of that Monday, when each goes in minutes after noon
        for (hour, calm, pressing) in
            [(12, 0, 0), (19, 420, 420), (20, 1_170, 480), (31, 1_170, 1_140), (32, 1_200, 1_200)]
        {
            let mut spool = Spool::new(Rules { quiet: Some(quiet), ..rules() });
            let now = UnixMs(NOON.0 + (hour - 12) * 60 * MINUTE_MS);
            let mut attempts = drive(&mut spool, &notices, now, |_, _| Ok(()));
            attempts.sort_by_key(|(_, index)| *index);
            assert_eq!(attempts, [(calm * MINUTE_MS, 0), (pressing * MINUTE_MS, 1)], "at {hour}");
        }
    }

    /// The power is gone for three weeks and comes back at night: until the morning only what is urgent goes, all of it in
    /// order and once, and looking whether the server is back respects the night as well.
    #[test]
    fn three_weeks_offline_end_at_night_and_quiet_hours_are_respected() {
        let quiet = Window::new(time(20, 0, 0, 0), time(7, 30, 0, 0));
        let notices: Vec<_> = (0..500)
            .map(|at| Waiting { is_urgent: at % 10 == 9, ..notice(at, Channel::Email, &format!("call {at}")) })
            .collect();
        // 22:00.
        let back_at = NOON.0 + 21 * DAY_MS + 10 * 60 * MINUTE_MS;
        let mut spool = Spool::new(Rules { quiet: Some(quiet), ..rules() });
        let attempts =
            drive(
                &mut spool,
                &notices,
                NOON,
                |_, now| {
                    if now.0 < back_at { Err(NoticeFailure::Unreachable) } else { Ok(()) }
                },
            );
        for (at, index) in &attempts {
            let minute = (NOON.0 + at).rem_euclid(DAY_MS) / MINUTE_MS;
            let is_night = !(7 * 60 + 30..20 * 60).contains(&minute);
            assert!(!is_night || notices[*index].is_urgent, "{index} at minute {minute} of the day");
        }
        let sent: Vec<_> = attempts.iter().filter(|(at, _)| NOON.0 + at >= back_at).map(|(_, index)| *index).collect();
        let (urgent, calm): (Vec<_>, Vec<_>) = (0..500).partition(|index| notices[*index].is_urgent);
        assert_eq!(sent, [urgent, calm].concat());
    }

    #[test]
    fn a_clock_that_is_set_back_delays_nothing_for_long() {
        let mut spool = Spool::new(rules());
        let held = notice(0, Channel::Email, "one");
        spool.refill(vec![held.clone()]);
        spool.handle_outcome(held.id, Err(NoticeFailure::Unreachable), NOON);
        let a_year_ago = UnixMs(NOON.0 - 365 * DAY_MS);
        assert_eq!(spool.next(a_year_ago), Next::Send(held.id));
        // One that was never tried does not ask what time it is.
        let fresh = notice(0, Channel::Sms, "two");
        let mut spool = Spool::new(rules());
        spool.refill(vec![fresh.clone()]);
        assert_eq!(spool.next(a_year_ago), Next::Send(fresh.id));
    }

    proptest! {
        /// Whatever the servers answer: each notice is taken once or given up, those of a lane in order.
        #[test]
        fn every_notice_comes_to_an_end_and_lanes_keep_their_order(
            lanes in proptest::collection::vec((0_usize..4, 0_usize..3), 1..30),
            answers in proptest::collection::vec(0_usize..9, 1..60),
        ) {
            let channels = Channel::ALL;
            let notices: Vec<_> = (0_i64..)
                .zip(&lanes)
                .map(|(at, (lane, channel))| notice(at, channels[*channel], &format!("{lane} {channel}")))
                .collect();
            let mut script = answers.iter();
            let mut over = Vec::new();
            let mut spool = Spool::new(rules());
            drive(&mut spool, &notices, NOON, |index, _| {
                let outcome = match script.next().and_then(|answer| NoticeFailure::ALL.get(*answer)) {
                    Some(failure) => Err(*failure),
                    None => Ok(()),
                };
                over.push((index, outcome));
                outcome
            });
            for (index, notice) in notices.iter().enumerate() {
                let taken = over.iter().filter(|(one, outcome)| *one == index && outcome.is_ok()).count();
                prop_assert!(taken <= 1);
                let last = over.iter().rposition(|(one, _)| *one == index).unwrap();
                let overtakes = over[..last].iter().any(|(one, _)| *one > index && notices[*one].lane == notice.lane);
                prop_assert!(!overtakes, "{over:?}");
            }
        }
    }
}
