//! Who may speak to the SIP port at all: asked for each datagram and each connection, before a byte is read.
//!
//! Whoever is neither a carrier, nor where phones are, nor a guest, nor somebody we have written to first, gets silence:
//! a scanner learns not even that somebody listens. Those who may speak have a bucket of messages each that refills at a
//! steady rate, so that one of them cannot hold up the others, and who keeps giving wrong passwords is banned for a
//! while, longer each time. Every table is bounded. Pure: addresses and `now` in, a verdict out.
//!
//! A verdict costs a few comparisons and a hash: what the operating system's packet filter can do better, it does with
//! the set of banned addresses that [`Gate::bans`] gives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

/// Senders that are counted. Beyond it those who were silent longest are forgotten.
const SENDER_LIMIT: usize = 4_096;
/// Addresses that are banned.
const BAN_LIMIT: usize = 4_096;
/// Wrong passwords within [`FAILURE_WINDOW`] that make a ban.
const FAILURES_TO_BAN: u32 = 8;
const FAILURE_WINDOW: Duration = Duration::from_secs(600);
/// The first ban; each further one is twice as long. Short, because most of them meet a phone with a typing error, which
/// tries again by itself; long soon enough for whoever guesses.
const FIRST_BAN: Duration = Duration::from_secs(60);
const LONGEST_BAN: Duration = Duration::from_secs(24 * 3_600);
/// Somebody we wrote to may answer for so long, and come back: a transaction lasts 32 s, a registration an hour.
const ACQUAINTANCE: Duration = Duration::from_secs(3_700);

/// What somebody is, by the address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The carrier of that index in the configuration.
    Trunk(usize),
    /// Where the office's phones may be; also a guest, if it says that it is no phone.
    Phone {
        /// May it call without a password?
        is_guest: bool,
    },
    /// May call without a password, and is no place for phones.
    Guest,
    /// Nobody.
    Unknown,
}

/// Which addresses are whose.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    trunks: Vec<Vec<IpNet>>,
    phones: Vec<IpNet>,
    guests: Vec<IpNet>,
}

/// Messages per second of one address, and how many at once.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// A carrier's busy hour, many times over.
const TRUNK_RATE: Rate = Rate { per_second: 2_000.0, burst: 4_000.0 };
/// A phone with a lamp field that comes back after a power cut; a whole office behind one address.
const PHONE_RATE: Rate = Rate { per_second: 100.0, burst: 400.0 };

/// May it pass?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Pass,
    /// No, and nothing is answered.
    Drop(Reason),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nobody we know.
    Unknown,
    /// Banned for wrong passwords.
    Banned,
    /// More than its share.
    TooMany,
}

/// What was dropped. All of them only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateCounters {
    /// From nobody we know.
    pub unknown: u64,
    /// From banned addresses.
    pub banned: u64,
    /// Beyond somebody's share.
    pub too_many: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sender {
    tokens: f64,
    refilled_at: Instant,
    failures: u32,
    failing_since: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Ban {
    until: Instant,
    lasted: Duration,
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    origins: Origins,
    senders: HashMap<IpAddr, Sender>,
    bans: HashMap<IpAddr, Ban>,
    ban_changes: u64,
    /// Whom we wrote to, and when last.
    acquaintances: HashMap<IpAddr, Instant>,
    counters: GateCounters,
}

/// The gate as the SIP shell and whoever checks passwords share it.
#[derive(Debug, Clone)]
pub struct SharedGate(Arc<Mutex<Gate>>);

impl SharedGate {
    /// See [`Gate::new`].
    pub fn new(origins: Origins) -> SharedGate {
        SharedGate(Arc::new(Mutex::new(Gate::new(origins))))
    }

    /// Runs `work` on the gate.
    pub fn with<R>(&self, work: impl FnOnce(&mut Gate) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Origins {
    /// From what the configuration says.
    pub fn new(trunks: Vec<Vec<IpNet>>, phones: Vec<IpNet>, guests: Vec<IpNet>) -> Origins {
        Origins { trunks, phones, guests }
    }

    /// Everybody is a guest: for a test caller's own endpoint.
    pub fn everybody() -> Origins {
        let all = ["0.0.0.0/0", "::/0"].iter().filter_map(|network| network.parse().ok()).collect();
        Origins { guests: all, ..Origins::default() }
    }

    /// What this address is.
    pub fn of(&self, address: IpAddr) -> Origin {
        let address = address.to_canonical();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        if let Some(trunk) = self.trunks.iter().position(|networks| is_in(networks)) {
            return Origin::Trunk(trunk);
        }
        match (is_in(&self.phones), is_in(&self.guests)) {
            (true, is_guest) => Origin::Phone { is_guest },
            (false, true) => Origin::Guest,
            (false, false) => Origin::Unknown,
        }
    }
}

impl Gate {
    /// Nobody has come yet.
    pub fn new(origins: Origins) -> Gate {
        Gate {
            origins,
            senders: HashMap::new(),
            bans: HashMap::new(),
            ban_changes: 0,
            acquaintances: HashMap::new(),
            counters: GateCounters::default(),
        }
    }

    /// May a message (or a connection) of `peer` pass?
    pub fn admit(&mut self, peer: IpAddr, now: Instant) -> Verdict {
        let verdict = self.judge(peer, now);
        match verdict {
            Verdict::Pass => {}
            Verdict::Drop(Reason::Unknown) => self.counters.unknown += 1,
            Verdict::Drop(Reason::Banned) => self.counters.banned += 1,
            Verdict::Drop(Reason::TooMany) => self.counters.too_many += 1,
        }
        verdict
    }

    fn judge(&mut self, peer: IpAddr, now: Instant) -> Verdict {
        let rate = match self.origins.of(peer) {
            // A carrier is never banned: its customers' calls would be lost with it.
            Origin::Trunk(_) => TRUNK_RATE,
            Origin::Phone { .. } | Origin::Guest if self.is_banned(peer, now) => {
                return Verdict::Drop(Reason::Banned);
            }
            // An exchange of the office's own is as busy as a carrier.
            Origin::Phone { is_guest: true } | Origin::Guest => TRUNK_RATE,
            Origin::Phone { is_guest: false } => PHONE_RATE,
            Origin::Unknown if self.is_acquainted(peer, now) => TRUNK_RATE,
            Origin::Unknown => return Verdict::Drop(Reason::Unknown),
        };
        if self.sender(peer, rate, now).take(rate, now) { Verdict::Pass } else { Verdict::Drop(Reason::TooMany) }
    }

    /// We write to `peer`, so it may write to us.
    pub fn note_written_to(&mut self, peer: IpAddr, now: Instant) {
        if self.origins.of(peer) != Origin::Unknown {
            return;
        }
        if self.acquaintances.len() >= SENDER_LIMIT {
            self.acquaintances.retain(|_, at| now.saturating_duration_since(*at) < ACQUAINTANCE);
        }
        if self.acquaintances.len() < SENDER_LIMIT {
            self.acquaintances.insert(peer, now);
        }
    }

    /// `peer` gave a wrong password; true if that was once too often, and it is banned from now on.
    pub fn note_failure(&mut self, peer: IpAddr, now: Instant) -> bool {
        if matches!(self.origins.of(peer), Origin::Trunk(_)) {
            return false;
        }
        let sender = self.sender(peer, PHONE_RATE, now);
        if now.saturating_duration_since(sender.failing_since) > FAILURE_WINDOW {
            sender.failures = 0;
        }
        if sender.failures == 0 {
            sender.failing_since = now;
        }
        sender.failures += 1;
        let is_banned = sender.failures >= FAILURES_TO_BAN;
        if is_banned {
            sender.failures = 0;
            self.ban(peer, now);
        }
        is_banned
    }

    /// `peer` gave the right password.
    pub fn note_success(&mut self, peer: IpAddr) {
        if let Some(sender) = self.senders.get_mut(&peer) {
            sender.failures = 0;
        }
        if self.bans.remove(&peer).is_some() {
            self.ban_changes += 1;
        }
    }

    /// A ban that a run before this one has made, with the time that is left of it.
    pub fn restore(&mut self, peer: IpAddr, left: Duration, now: Instant) {
        let is_room = self.bans.len() < BAN_LIMIT;
        if is_room && !matches!(self.origins.of(peer), Origin::Trunk(_)) {
            let left = left.min(LONGEST_BAN);
            self.bans.insert(peer, Ban { until: now + left, lasted: left.max(FIRST_BAN) });
        }
    }

    fn ban(&mut self, peer: IpAddr, now: Instant) {
        let before = self.bans.get(&peer).map(|ban| ban.lasted);
        let lasted = before.map_or(FIRST_BAN, |lasted| (lasted * 2).min(LONGEST_BAN));
        if self.bans.len() >= BAN_LIMIT {
            self.bans.retain(|_, ban| ban.until > now);
        }
        if self.bans.len() < BAN_LIMIT {
            self.bans.insert(peer, Ban { until: now + lasted, lasted });
            self.ban_changes += 1;
        }
    }

    /// How often somebody was banned or forgiven: what [`bans`](Gate::bans) gives is the same while this is. Only grows.
    pub fn ban_changes(&self) -> u64 {
        self.ban_changes
    }

    /// Who is banned, and for how much longer.
    pub fn bans(&self, now: Instant) -> Vec<(IpAddr, Duration)> {
        let left = |ban: &Ban| ban.until.saturating_duration_since(now);
        let mut bans: Vec<_> = self.bans.iter().map(|(peer, ban)| (*peer, left(ban))).collect();
        bans.retain(|(_, left)| !left.is_zero());
        bans.sort_unstable();
        bans
    }

    /// What was dropped.
    pub fn counters(&self) -> GateCounters {
        self.counters
    }

    /// What this address is.
    pub fn origin(&self, peer: IpAddr) -> Origin {
        self.origins.of(peer)
    }

    fn is_banned(&self, peer: IpAddr, now: Instant) -> bool {
        self.bans.get(&peer).is_some_and(|ban| ban.until > now)
    }

    fn is_acquainted(&self, peer: IpAddr, now: Instant) -> bool {
        self.acquaintances.get(&peer).is_some_and(|at| now.saturating_duration_since(*at) < ACQUAINTANCE)
    }

    fn sender(&mut self, peer: IpAddr, rate: Rate, now: Instant) -> &mut Sender {
        if self.senders.len() >= SENDER_LIMIT && !self.senders.contains_key(&peer) {
            self.forget_the_silent(now);
        }
        let new = Sender { tokens: rate.burst, refilled_at: now, failures: 0, failing_since: now };
        self.senders.entry(peer).or_insert(new)
    }

    /// Those whose bucket is full again have nothing to be remembered for; if all have, the half that was silent longest.
    fn forget_the_silent(&mut self, now: Instant) {
        let full_again = Duration::from_secs_f64(PHONE_RATE.burst / PHONE_RATE.per_second);
        self.senders
            .retain(|_, sender| sender.failures > 0 || now.saturating_duration_since(sender.refilled_at) < full_again);
        if self.senders.len() >= SENDER_LIMIT {
            let mut times: Vec<Instant> = self.senders.values().map(|sender| sender.refilled_at).collect();
            let (_, median, _) = times.select_nth_unstable(SENDER_LIMIT / 2);
            let median = *median;
            self.senders.retain(|_, sender| sender.refilled_at > median);
        }
    }
}

impl Sender {
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.refilled_at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|network| network.parse().unwrap()).collect()
    }

    fn gate() -> Gate {
        Gate::new(Origins::new(
            vec![networks(&["198.51.100.0/30"]), networks(&["203.0.113.9/32", "2001:db8::/32"])],
            networks(&["192.168.0.0/16", "127.0.0.0/8"]),
            networks(&["127.0.0.1/32", "203.0.113.77/32"]),
        ))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn everybody_is_what_the_configuration_says() {
        let gate = gate();
        for (peer, origin) in [
            ("198.51.100.2", Origin::Trunk(0)),
            ("2001:db8::7", Origin::Trunk(1)),
            ("::ffff:203.0.113.9", Origin::Trunk(1)),
            ("192.168.7.7", Origin::Phone { is_guest: false }),
            ("127.0.0.1", Origin::Phone { is_guest: true }),
            ("203.0.113.77", Origin::Guest),
            ("203.0.113.10", Origin::Unknown),
        ] {
            assert_eq!(gate.origin(address(peer)), origin, "{peer}");
        }
    }

    #[test]
    fn strangers_get_silence_until_we_write_to_them() {
        let (mut gate, now) = (gate(), Instant::now());
        let stranger = address("203.0.113.10");
        assert_eq!(gate.admit(stranger, now), Verdict::Drop(Reason::Unknown));
        gate.note_written_to(stranger, now);
        assert_eq!(gate.admit(stranger, now), Verdict::Pass);
        assert_eq!(gate.admit(stranger, now + ACQUAINTANCE), Verdict::Drop(Reason::Unknown));
        assert_eq!(gate.counters().unknown, 2);
    }

    #[test]
    fn a_flood_of_one_costs_nobody_else_and_ends_when_it_ends() {
        let (mut gate, now) = (gate(), Instant::now());
        let (loud, calm) = (address("192.168.1.2"), address("192.168.1.3"));
        let passed = (0..5_000).filter(|_| gate.admit(loud, now) == Verdict::Pass).count();
        assert_eq!(passed, PHONE_RATE.burst as usize);
        assert_eq!(gate.admit(calm, now), Verdict::Pass);
        assert_eq!(gate.admit(loud, now + Duration::from_millis(11)), Verdict::Pass);
        assert_eq!(gate.counters().too_many, 4_600);
    }

    #[test]
    fn wrong_passwords_ban_for_longer_each_time_but_never_a_carrier() {
        let (mut gate, mut now) = (gate(), Instant::now());
        let guesser = address("192.168.1.2");
        for expected in [FIRST_BAN, FIRST_BAN * 2] {
            let banned: Vec<bool> = (0..FAILURES_TO_BAN).map(|_| gate.note_failure(guesser, now)).collect();
            assert_eq!(banned.iter().filter(|banned| **banned).count(), 1);
            assert_eq!(gate.bans(now), [(guesser, expected)]);
            assert_eq!(gate.admit(guesser, now + expected / 2), Verdict::Drop(Reason::Banned));
            now += expected;
            assert_eq!(gate.admit(guesser, now), Verdict::Pass);
        }
        let carrier = address("198.51.100.1");
        assert!((0..100).all(|_| !gate.note_failure(carrier, now)));
        assert_eq!(gate.admit(carrier, now), Verdict::Pass);
    }

    #[test]
    fn bans_outlive_a_restart_and_their_changes_are_counted() {
        let (mut gate, now) = (gate(), Instant::now());
        let (guesser, carrier) = (address("192.168.1.2"), address("198.51.100.1"));
        gate.restore(guesser, FIRST_BAN / 2, now);
        gate.restore(carrier, FIRST_BAN, now);
        assert_eq!((gate.bans(now), gate.ban_changes()), (vec![(guesser, FIRST_BAN / 2)], 0));
        assert!((0..FAILURES_TO_BAN).any(|_| gate.note_failure(guesser, now)));
        assert_eq!((gate.bans(now), gate.ban_changes()), (vec![(guesser, FIRST_BAN * 2)], 1));
        gate.note_success(guesser);
        gate.note_success(guesser);
        assert_eq!((gate.bans(now), gate.ban_changes()), (Vec::new(), 2));
    }

    #[test]
    fn a_typing_error_now_and_then_bans_nobody() {
        let (mut gate, mut now) = (gate(), Instant::now());
        let phone = address("192.168.1.2");
        for _ in 0..50 {
            assert!(!gate.note_failure(phone, now));
            now += FAILURE_WINDOW / 4;
        }
        now += FAILURE_WINDOW;
        assert!(!(0..FAILURES_TO_BAN - 1).any(|_| gate.note_failure(phone, now)));
        gate.note_success(phone);
        assert!(!gate.note_failure(phone, now));
    }

    #[test]
    fn the_tables_stay_bounded_whoever_comes() {
        let (mut gate, now) = (gate(), Instant::now());
        for host in 0..40_000_u32 {
            let peer = IpAddr::from(std::net::Ipv4Addr::from(0xC0A8_0000 | (host & 0xFFFF)));
            gate.admit(peer, now + Duration::from_micros(host.into()));
            gate.note_written_to(IpAddr::from(std::net::Ipv4Addr::from(0x0100_0000 | host)), now);
        }
        assert!(gate.senders.len() <= SENDER_LIMIT && gate.acquaintances.len() <= SENDER_LIMIT);
    }
}
