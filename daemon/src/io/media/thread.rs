//! The thread itself: its clock, its streams, and what it is told.

use std::sync::Arc;
use std::sync::mpsc::{Receiver as CommandReceiver, TryRecvError};
use std::time::{Duration, Instant};

use audio::pacing::SendClock;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::stream::{DATAGRAM_LIMIT_BYTES, Stream};
use super::{Command, MediaClock, MediaEvent};

/// Counters are published once a second.
const PUBLISH_TICKS: u64 = 50;
/// How far speech is lowered while we find out whether the caller interrupts.
const DUCK_GAIN_DB: f32 = -15.0;
/// Priority on the real-time round-robin scheduler, where the system allows it.
const REALTIME_PRIORITY: i32 = 20;

pub(super) fn run(commands: &CommandReceiver<Command>, published: &watch::Sender<MediaClock>) {
    let realtime = become_realtime();
    let mut streams = Streams::new();
    let mut clock = SendClock::new(Instant::now());
    let mut buffer = [0; DATAGRAM_LIMIT_BYTES];
    while apply(commands, &mut streams) {
        // Nobody to serve: wait for a command instead of ticking, so that an idle box sleeps.
        if streams.is_empty() {
            match commands.recv() {
                Ok(command) => execute(command, &mut streams),
                Err(_) => return,
            }
            clock = SendClock::new(Instant::now());
            continue;
        }
        std::thread::sleep(clock.next_deadline().saturating_duration_since(Instant::now()));
        let now = Instant::now();
        for _ in 0..clock.advance(now) {
            tick(&mut streams, &mut buffer, now);
        }
        if clock.stats().ticks.is_multiple_of(PUBLISH_TICKS) {
            streams.iter_mut().for_each(|stream| stream.publish());
            published.send_replace(MediaClock { pacing: clock.stats(), realtime });
        }
    }
}

/// In the order of their numbers, which only rise: a bridge finds its other side by binary search. Boxed, so that closing
/// one moves only pointers.
type Streams = Vec<Box<Stream>>;

fn position(streams: &Streams, id: u64) -> Option<usize> {
    streams.binary_search_by_key(&id, |stream| stream.id).ok()
}

/// Everybody listens before anybody speaks: so a bridge adds no tick of its own.
fn tick(streams: &mut Streams, buffer: &mut [u8], now: Instant) {
    for stream in streams.iter_mut() {
        stream.listen(buffer, now);
    }
    for index in 0..streams.len() {
        let other = streams[index].bridged_with.and_then(|id| position(streams, id));
        if let Some(Ok([stream, other])) = other.map(|other| streams.get_disjoint_mut([index, other])) {
            stream.take_over(other);
        }
        streams[index].speak(now);
        streams[index].report(now);
    }
}

/// Runs what is waiting; false when nobody can send a command any more.
fn apply(commands: &CommandReceiver<Command>, streams: &mut Streams) -> bool {
    loop {
        match commands.try_recv() {
            Ok(command) => execute(command, streams),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}

fn execute(command: Command, streams: &mut Streams) {
    let mut with = |id: u64, act: &mut dyn FnMut(&mut Stream)| {
        if let Some(index) = position(streams, id) {
            act(&mut streams[index]);
        }
    };
    match command {
        Command::Open(stream) => {
            // Numbers are given out before commands are sent, so two calls may open in the other order.
            let place = streams.partition_point(|open| open.id < stream.id);
            streams.insert(place, stream);
        }
        Command::Configure { stream, config } => with(stream, &mut |stream| stream.configure((*config).clone())),
        Command::Play { stream, clip, samples } => with(stream, &mut |stream| {
            if stream.playout.play(clip, Arc::clone(&samples)).is_err() {
                warn!(stream = stream.id, "Play-out queue full, clip dropped");
                stream.emit(MediaEvent::ClipStopped { clip, heard: Duration::ZERO });
            }
        }),
        Command::Stop { stream } => with(stream, &mut |stream| stream.playout.stop()),
        Command::Duck { stream, ducked: true } => with(stream, &mut |stream| stream.playout.duck(DUCK_GAIN_DB)),
        Command::Duck { stream, ducked: false } => with(stream, &mut |stream| stream.playout.unduck()),
        Command::Press { stream, digit } => with(stream, &mut |stream| {
            if stream.sender.queue_dtmf(digit).is_err() {
                debug!(stream = stream.id, "Digit not sent: no telephone-event agreed or not a keypad digit");
            }
        }),
        Command::Tap { stream, is_on } => with(stream, &mut |stream| stream.is_tapped = is_on),
        Command::Bridge { stream, with: other } => with(stream, &mut |stream| stream.bridged_with = other),
        Command::Close { stream } => {
            if let Some(index) = position(streams, stream) {
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
