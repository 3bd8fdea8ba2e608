//! The thread itself: its clock, its streams, and what it is told.
//!
//! ```text
//!            lead              deadline                        next deadline
//!  ──────────┼────────────────────┼──────────────────────────────────┼────
//!   asleep   │ read, decode, mix, │ send, send, send … then what     │
//!            │ encode, encrypt    │ has time: reports, commands      │
//! ```
//! What takes long, and now longer, now shorter, is done before the deadline, so that packets leave in the same order and
//! at the same distance from it in each tick. The lead is what this took lately, and it is all that it adds to the delay.

use std::sync::Arc;
use std::sync::mpsc::{Receiver as CommandReceiver, TryRecvError};
use std::time::{Duration, Instant};

use audio::pacing::SendClock;
use tokio::sync::watch;
use tracing::debug;

use super::datagrams::Datagrams;
use super::mixer::SOURCES;
use super::readiness::Readiness;
use super::stream::Stream;
use super::{Command, MediaClock};

/// Counters are published once a second.
const PUBLISH_TICKS: u64 = 50;
/// Priority on the real-time round-robin scheduler, where the system allows it.
const REALTIME_PRIORITY: i32 = 20;
/// The lead is at most this: 500 streams need less, and it delays what was heard in between.
const LONGEST_LEAD: Duration = Duration::from_millis(8);
/// The lead is so much more than what preparing took lately.
const SPARE_LEAD: Duration = Duration::from_micros(300);

pub(super) fn run(commands: &CommandReceiver<Command>, published: &watch::Sender<MediaClock>) {
    let realtime = become_realtime();
    let mut streams = Streams::new();
    let mut clock = SendClock::new(Instant::now());
    let mut tick = Tick::new();
    while apply(commands, &mut streams, &tick.readiness) {
        // Nobody to serve: wait for a command instead of ticking, so that an idle box sleeps.
        if streams.is_empty() {
            match commands.recv() {
                Ok(command) => execute(command, &mut streams, &tick.readiness),
                Err(_) => return,
            }
            clock = SendClock::new(Instant::now());
            continue;
        }
        let deadline = clock.next_deadline();
        sleep_until(deadline.checked_sub(tick.lead).unwrap_or(deadline));
        tick.prepare(&mut streams, deadline);
        sleep_until(deadline);
        for number in 0..clock.advance(Instant::now()) {
            if number > 0 {
                tick.prepare(&mut streams, Instant::now());
            }
            streams.iter_mut().for_each(|stream| stream.send());
        }
        tick.report(&mut streams);
        if clock.stats().ticks.is_multiple_of(PUBLISH_TICKS) {
            streams.iter_mut().for_each(|stream| stream.publish());
            published.send_replace(MediaClock { pacing: clock.stats(), realtime });
        }
    }
}

fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

/// In the order of their numbers, which only rise: a bridge finds its other side by binary search. Boxed, so that closing
/// one moves only pointers.
type Streams = Vec<Box<Stream>>;

fn position(streams: &Streams, id: u64) -> Option<usize> {
    streams.binary_search_by_key(&id, |stream| stream.id).ok()
}

/// What all ticks share.
struct Tick {
    datagrams: Datagrams,
    readiness: Readiness,
    /// How long before its deadline a tick begins.
    lead: Duration,
}

impl Tick {
    fn new() -> Tick {
        Tick { datagrams: Datagrams::new(), readiness: Readiness::new(), lead: SPARE_LEAD }
    }

    /// Everybody listens before anybody speaks: so a bridge adds no tick of its own.
    fn prepare(&mut self, streams: &mut Streams, due: Instant) {
        let now = Instant::now();
        for stream in streams.iter_mut() {
            stream.listen(&mut self.datagrams, now);
        }
        for index in 0..streams.len() {
            let other = streams[index].bridged_with.and_then(|id| position(streams, id));
            if let Some(Ok([stream, other])) = other.map(|other| streams.get_disjoint_mut([index, other])) {
                stream.take_over(other);
            }
            for place in 0..SOURCES {
                let Some(source) = streams[index].source(place) else { continue };
                let other = position(streams, source.stream());
                if let Some(Ok([stream, other])) = other.map(|other| streams.get_disjoint_mut([index, other])) {
                    stream.add(place, other.sound(source));
                }
            }
            streams[index].prepare(due);
        }
        self.follow(now.elapsed());
    }

    /// The lead rises at once with what preparing takes, and falls slowly.
    fn follow(&mut self, took: Duration) {
        let wanted = took + SPARE_LEAD;
        self.lead = if wanted > self.lead { wanted } else { self.lead - (self.lead - wanted) / 64 };
        self.lead = self.lead.min(LONGEST_LEAD);
    }

    /// Reports of both sides, whenever there are some.
    fn report(&mut self, streams: &mut Streams) {
        let now = Instant::now();
        for id in self.readiness.poll() {
            if let Some(index) = position(streams, id) {
                streams[index].read_reports(&mut self.datagrams, now);
            }
        }
        streams.iter_mut().for_each(|stream| stream.report(now));
    }
}

/// Runs what is waiting; false when nobody can send a command any more.
fn apply(commands: &CommandReceiver<Command>, streams: &mut Streams, readiness: &Readiness) -> bool {
    loop {
        match commands.try_recv() {
            Ok(command) => execute(command, streams, readiness),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}

fn execute(command: Command, streams: &mut Streams, readiness: &Readiness) {
    let mut with = |id: u64, act: &mut dyn FnMut(&mut Stream)| {
        if let Some(index) = position(streams, id) {
            act(&mut streams[index]);
        }
    };
    match command {
        Command::Open(stream) => {
            if let Some(socket) = stream.rtcp_socket() {
                readiness.watch(socket, stream.id);
            }
            // Numbers are given out before commands are sent, so two calls may open in the other order.
            let place = streams.partition_point(|open| open.id < stream.id);
            streams.insert(place, stream);
        }
        Command::Configure { stream, config } => with(stream, &mut |stream| stream.configure((*config).clone())),
        Command::Play { stream, clip, samples } => with(stream, &mut |stream| {
            if stream.playout.play(clip, Arc::clone(&samples)).is_err() {
                stream.drop_clip(clip);
            }
        }),
        Command::Stop { stream } => with(stream, &mut |stream| stream.playout.stop()),
        Command::GiveWay { stream, how } => with(stream, &mut |stream| stream.give_way(how)),
        Command::Press { stream, digit } => with(stream, &mut |stream| {
            if stream.sender.queue_dtmf(digit).is_err() {
                debug!(stream = stream.id, "Digit not sent: no telephone-event agreed or not a keypad digit");
            }
        }),
        Command::Tap { stream, mut room } => with(stream, &mut |stream| stream.be_tapped(room.take())),
        Command::Listen { stream, mut room } => with(stream, &mut |stream| stream.be_listened_to(room.take())),
        Command::Bridge { stream, with: other } => with(stream, &mut |stream| stream.bridged_with = other),
        Command::Mix { stream, mut mixer } => with(stream, &mut |stream| std::mem::swap(&mut stream.mixer, &mut mixer)),
        Command::Close { stream } => {
            if let Some(index) = position(streams, stream) {
                // Its socket closes with it, and is watched no more.
                let mut stream = streams.remove(index);
                stream.say_goodbye();
                stream.publish();
            }
        }
    }
}

/// Asks for the real-time round-robin scheduler; without the right to it the thread stays an ordinary one.
#[expect(unsafe_code, reason = "no safe wrapper for pthread_setschedparam among our dependencies")]
fn become_realtime() -> bool {
    let parameters = libc::sched_param { sched_priority: REALTIME_PRIORITY };
    // SAFETY: `pthread_self` is always valid and `parameters` lives through the call, which keeps no pointer.
    unsafe { libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_RR, &raw const parameters) == 0 }
}
