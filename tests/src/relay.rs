//! A bad network in userspace: a UDP relay that loses, delays, reorders and repeats datagrams, the same way for the same
//! seed.
//!
//! It stands between one client and one server, and forwards in both directions:
//!
//! ```text
//! client ──► listen ┌───────┐ ──► forward_to
//!        ◄──────────│ Relay │◄────
//!                   └───────┘   whoever is not the server is the client; its latest address is remembered
//! ```
//!
//! SDP carries RTP addresses, so use one relay for the SIP port and one for each RTP port, and write the relay's
//! addresses into the SDP. [`Link`] decides what happens to each datagram; it is pure and knows no clock. [`Relay`] is
//! the thread around it.
//!
//! Left out: bandwidth, bursts of loss (use a cut), NAT rebinding. Release is as punctual as the kernel's socket
//! timeout, some milliseconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Datagrams under way at most, both directions together.
pub const MAX_QUEUED: usize = 4_096;

/// What a reordered datagram is held back beyond the others: two packets and a half.
pub const REORDER_DELAY: Duration = Duration::from_millis(50);

/// How soon the thread notices that it should stop.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// Shortest wait: the kernel takes a timeout of zero for none.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// How bad the network is, the same in both directions. The default forwards everything at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RelayConfig {
    /// Decides every random choice.
    pub seed: u64,
    /// Datagrams that vanish, 0 to 100.
    pub loss_percent: f64,
    /// What every datagram is delayed by at least.
    pub delay: Duration,
    /// The most that chance adds to `delay`. Datagrams do not overtake each other because of it.
    pub jitter: Duration,
    /// Datagrams held back by [`REORDER_DELAY`] more, so that later ones overtake them, 0 to 100.
    pub reorder_percent: f64,
    /// Datagrams that arrive twice, 0 to 100.
    pub duplicate_percent: f64,
    /// Times since the start during which nothing gets through.
    pub cuts: Vec<Range<Duration>>,
}

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to `forward_to`.
    ToServer,
    /// Back to the client.
    ToClient,
}

/// What happened to the datagrams so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RelayCounters {
    /// Came in.
    pub received: u64,
    /// Went out, copies included.
    pub forwarded: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost in a cut.
    pub cut: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Held back to be overtaken.
    pub reordered: u64,
    /// Lost because [`MAX_QUEUED`] were under way.
    pub overflowed: u64,
    /// Could not be sent: no client known yet, or the socket refused.
    pub undeliverable: u64,
}

/// The decisions of a bad network.
#[derive(Debug)]
pub struct Link {
    config: RelayConfig,
    rng: ChaCha8Rng,
    start: Instant,
    queue: BinaryHeap<Reverse<UnderWay>>,
    /// Breaks ties, so that what came first leaves first.
    serial: u64,
    /// Latest regular release per direction; jitter never goes before it.
    latest: [Option<Instant>; 2],
    counters: RelayCounters,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    due: Instant,
    serial: u64,
    direction: Direction,
    bytes: Vec<u8>,
}

impl Link {
    /// An empty link whose cuts are reckoned from `start`.
    pub fn new(config: RelayConfig, start: Instant) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            config,
            start,
            queue: BinaryHeap::new(),
            serial: 0,
            latest: [None; 2],
            counters: RelayCounters::default(),
        }
    }

    /// Takes a datagram and settles its fate.
    pub fn handle_datagram(&mut self, direction: Direction, bytes: &[u8], now: Instant) {
        self.counters.received += 1;
        // All draws are made for every datagram, so that changing one percentage leaves the other choices as they were.
        let is_lost = self.draw(self.config.loss_percent);
        let is_held_back = self.draw(self.config.reorder_percent);
        let is_repeated = self.draw(self.config.duplicate_percent);
        let jitter = self.config.jitter.mul_f64(self.rng.random::<f64>());
        if self.is_cut(now) {
            self.counters.cut += 1;
            return;
        }
        if is_lost {
            self.counters.lost += 1;
            return;
        }
        let due = self.due(direction, now + self.config.delay + jitter, is_held_back);
        self.counters.duplicated += u64::from(is_repeated);
        for _ in 0..=u8::from(is_repeated) {
            self.enqueue(due, direction, bytes);
        }
    }

    /// The next datagram that is due.
    pub fn poll_datagram(&mut self, now: Instant) -> Option<(Direction, Vec<u8>)> {
        if self.queue.peek()?.0.due > now {
            return None;
        }
        self.queue.pop().map(|Reverse(under_way)| (under_way.direction, under_way.bytes))
    }

    /// When the next datagram is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(under_way)| under_way.due)
    }

    /// What happened so far; `forwarded` and `undeliverable` are the shell's to count.
    pub fn counters(&self) -> RelayCounters {
        self.counters
    }

    fn draw(&mut self, percent: f64) -> bool {
        self.rng.random::<f64>() * 100.0 < percent
    }

    fn is_cut(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.start);
        self.config.cuts.iter().any(|cut| cut.contains(&elapsed))
    }

    fn due(&mut self, direction: Direction, earliest: Instant, is_held_back: bool) -> Instant {
        let latest = &mut self.latest[direction as usize];
        let due = latest.map_or(earliest, |latest| latest.max(earliest));
        if is_held_back {
            self.counters.reordered += 1;
            return due + REORDER_DELAY;
        }
        *latest = Some(due);
        due
    }

    fn enqueue(&mut self, due: Instant, direction: Direction, bytes: &[u8]) {
        if self.queue.len() == MAX_QUEUED {
            self.counters.overflowed += 1;
            return;
        }
        self.serial += 1;
        self.queue.push(Reverse(UnderWay { due, serial: self.serial, direction, bytes: bytes.to_vec() }));
    }
}

/// A relay running on its own thread until it is stopped or dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    ends: Mutex<Ends>,
    counters: Mutex<RelayCounters>,
}

/// The two ends of the relay.
#[derive(Debug, Clone, Copy)]
struct Ends {
    client: Option<SocketAddr>,
    server: SocketAddr,
}

impl Relay {
    /// Listens on `listen` (port 0 for any) and forwards to `forward_to`.
    ///
    /// # Errors
    /// If the address cannot be bound or the thread not be started.
    pub fn start(config: RelayConfig, listen: SocketAddr, forward_to: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(listen)?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            ends: Mutex::new(Ends { client: None, server: forward_to }),
            counters: Mutex::new(RelayCounters::default()),
        });
        let worker = Worker {
            socket,
            shared: Arc::clone(&shared),
            link: Link::new(config, Instant::now()),
            sent: Sent::default(),
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || worker.run())?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where the client must send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names another server, for example when the answer's SDP says where RTP goes.
    pub fn set_forward_to(&self, server: SocketAddr) {
        locked(&self.shared.ends).server = server;
    }

    /// Names the client before it has sent anything, as the server may speak first.
    pub fn set_client(&self, client: SocketAddr) {
        locked(&self.shared.ends).client = Some(client);
    }

    /// What happened so far.
    pub fn counters(&self) -> RelayCounters {
        *locked(&self.shared.counters)
    }

    /// Stops the thread and waits for it; datagrams under way are lost.
    pub fn stop(mut self) -> RelayCounters {
        self.join();
        self.counters()
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the relay shows in the counters of the test that used it.
            let _ = thread.join();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.join();
    }
}

/// A panic elsewhere leaves plain numbers and addresses behind, which are still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    socket: UdpSocket,
    shared: Arc<Shared>,
    link: Link,
    sent: Sent,
}

#[derive(Default)]
struct Sent {
    forwarded: u64,
    undeliverable: u64,
}

impl Worker {
    fn run(mut self) {
        let mut buffer = [0; 65_536];
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.receive(&mut buffer);
            self.send_due();
            let counters = RelayCounters {
                forwarded: self.sent.forwarded,
                undeliverable: self.sent.undeliverable,
                ..self.link.counters()
            };
            *locked(&self.shared.counters) = counters;
        }
    }

    /// Waits for a datagram until one under way is due.
    fn receive(&mut self, buffer: &mut [u8]) {
        let now = Instant::now();
        let until_due = self.link.poll_timeout().map_or(STOP_INTERVAL, |due| due.saturating_duration_since(now));
        // Cannot fail: the timeout is not zero.
        let _ = self.socket.set_read_timeout(Some(until_due.clamp(MIN_WAIT, STOP_INTERVAL)));
        // Errors are the timeout, or an ICMP answer to something we sent: neither matters here.
        let Ok((length, source)) = self.socket.recv_from(buffer) else { return };
        let direction = self.direction_from(source);
        self.link.handle_datagram(direction, &buffer[..length], Instant::now());
    }

    fn direction_from(&self, source: SocketAddr) -> Direction {
        let mut ends = locked(&self.shared.ends);
        if source == ends.server {
            return Direction::ToClient;
        }
        ends.client = Some(source);
        Direction::ToServer
    }

    fn send_due(&mut self) {
        let ends = *locked(&self.shared.ends);
        while let Some((direction, bytes)) = self.link.poll_datagram(Instant::now()) {
            let target = match direction {
                Direction::ToServer => Some(ends.server),
                Direction::ToClient => ends.client,
            };
            match target.map(|target| self.socket.send_to(&bytes, target)) {
                Some(Ok(_)) => self.sent.forwarded += 1,
                Some(Err(_)) | None => self.sent.undeliverable += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Sends numbered datagrams every 20 ms and gives `(number, arrival_ms)` in order of arrival.
    fn run(config: RelayConfig, datagrams: u64) -> (Vec<(u64, u64)>, RelayCounters) {
        let start = Instant::now();
        let mut link = Link::new(config, start);
        for number in 0..datagrams {
            link.handle_datagram(Direction::ToServer, &number.to_be_bytes(), start + ms(number * 20));
        }
        let mut arrivals = Vec::new();
        while let Some(due) = link.poll_timeout() {
            assert_eq!(link.poll_datagram(due - Duration::from_nanos(1)), None);
            let (direction, bytes) = link.poll_datagram(due).unwrap();
            assert_eq!(direction, Direction::ToServer);
            let number = u64::from_be_bytes(bytes.try_into().unwrap());
            arrivals.push((number, (due - start).as_millis() as u64));
        }
        (arrivals, link.counters())
    }

    fn is_in_order(arrivals: &[(u64, u64)]) -> bool {
        arrivals.windows(2).all(|pair| pair[0].0 < pair[1].0)
    }

    #[test]
    fn a_good_network_changes_nothing() {
        let (arrivals, counters) = run(RelayConfig::default(), 100);
        assert_eq!(arrivals, (0..100).map(|number| (number, number * 20)).collect::<Vec<_>>());
        assert_eq!(counters, RelayCounters { received: 100, ..RelayCounters::default() });
    }

    #[test]
    fn the_same_seed_does_the_same_and_another_does_not() {
        let config = |seed| RelayConfig {
            seed,
            loss_percent: 5.0,
            jitter: ms(30),
            reorder_percent: 3.0,
            duplicate_percent: 2.0,
            ..RelayConfig::default()
        };
        assert_eq!(run(config(7), 1_000), run(config(7), 1_000));
        assert_ne!(run(config(7), 1_000), run(config(8), 1_000));
    }

    #[test]
    fn loss_is_as_frequent_as_told() {
        let (arrivals, counters) = run(RelayConfig { loss_percent: 5.0, ..RelayConfig::default() }, 2_500);
        assert!((90..=160).contains(&counters.lost), "{counters:?}");
        assert_eq!(arrivals.len() as u64, counters.received - counters.lost);
        assert!(is_in_order(&arrivals));
    }

    #[test]
    fn jitter_spreads_within_its_bounds_and_keeps_the_order() {
        let (arrivals, _) = run(RelayConfig { delay: ms(40), jitter: ms(30), ..RelayConfig::default() }, 1_000);
        assert!(is_in_order(&arrivals));
        let delays = arrivals.iter().map(|(number, arrival_ms)| arrival_ms - number * 20).collect::<Vec<_>>();
        assert!(delays.iter().all(|delay| (40..=70).contains(delay)));
        assert!(delays.iter().any(|&delay| delay < 45) && delays.iter().any(|&delay| delay > 65));
    }

    #[test]
    fn what_is_held_back_is_overtaken() {
        let (arrivals, counters) = run(RelayConfig { reorder_percent: 5.0, ..RelayConfig::default() }, 1_000);
        let overtaken = arrivals.windows(2).filter(|pair| pair[0].0 > pair[1].0).count() as u64;
        assert!(counters.reordered > 20 && overtaken > counters.reordered / 2, "{overtaken} of {counters:?}");
        assert_eq!(arrivals.len(), 1_000);
    }

    #[test]
    fn duplicates_come_right_after_each_other() {
        let (arrivals, counters) = run(RelayConfig { duplicate_percent: 10.0, ..RelayConfig::default() }, 1_000);
        let twice = arrivals.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        assert_eq!(twice, counters.duplicated);
        assert_eq!(arrivals.len() as u64, 1_000 + twice);
        assert!((60..150).contains(&twice), "{twice}");
    }

    #[test]
    fn nothing_gets_through_a_cut() {
        let (arrivals, counters) =
            run(RelayConfig { cuts: vec![ms(100)..ms(200), ms(400)..ms(420)], ..RelayConfig::default() }, 50);
        assert_eq!(counters.cut, 6);
        assert!(arrivals.iter().all(|&(number, _)| !(5..10).contains(&number) && number != 20));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let start = Instant::now();
        let mut link = Link::new(RelayConfig { delay: ms(1_000), ..RelayConfig::default() }, start);
        (0..MAX_QUEUED + 10).for_each(|_| link.handle_datagram(Direction::ToClient, b"x", start));
        assert_eq!(link.counters().overflowed, 10);
    }

    /// Over real sockets: both ways, the client's address learnt from what it sends. Reads wait at most five seconds.
    #[test]
    fn a_relay_forwards_both_ways_and_stops() {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        let (client, server) = (socket(), socket());
        let nowhere = "127.0.0.1:9".parse().unwrap();
        let relay = Relay::start(RelayConfig::default(), "127.0.0.1:0".parse().unwrap(), nowhere).unwrap();
        relay.set_forward_to(server.local_addr().unwrap());
        let mut buffer = [0; 16];
        client.send_to(b"ping", relay.address()).unwrap();
        let (length, source) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], source), (&b"ping"[..], relay.address()));
        server.send_to(b"pong", relay.address()).unwrap();
        let (length, source) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], source), (&b"pong"[..], relay.address()));
        let counters = relay.stop();
        assert_eq!((counters.received, counters.forwarded, counters.undeliverable), (2, 2, 0));
    }
}
