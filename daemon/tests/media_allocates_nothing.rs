//! The media thread in steady state: an allocator that counts is the judge.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]
#![expect(clippy::unwrap_used, reason = "helpers of tests: what is refused fails the test, with its error")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use audio::codec::CodecKind;
use audio::playout::ClipId;
use audio::rtp::srtp::{Keys, MasterKey, Profile};
use daemon::io::media::{MediaEvent, MediaHandle, MediaSession, Source, StreamConfig};
use daemon::io::ports::{MediaPort, PortPool};
use tokio::task::JoinHandle;

/// The thread that is watched; nobody at first.
static WATCHED: AtomicI32 = AtomicI32::new(-1);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn count() {
    let watched = WATCHED.load(Ordering::Relaxed);
    // SAFETY: it only tells the calling thread's number.
    if watched >= 0 && unsafe { libc::gettid() } == watched {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames until buffers have their size, and frames that are watched: long enough for a report of each stream.
const FRAMES: [usize; 2] = [150, 400];

/// A stream, and who takes what it tells.
struct Listened(MediaSession, JoinHandle<()>);

fn thread_named(name: &str) -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let mut named = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).unwrap().trim() == name);
    named.next().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Whichever is free.
fn port() -> MediaPort {
    PortPool::new(IpAddr::from(Ipv4Addr::LOCALHOST), 0, 1).lend().unwrap()
}

/// Two streams that speak with each other.
fn pair(media: &MediaHandle, codec: CodecKind, is_encrypted: bool) -> [Listened; 2] {
    let ports = [(); 2].map(|()| port());
    let mut remotes = [ports[1].local(), ports[0].local()].into_iter();
    let key = |seed: u8| MasterKey::generate(Profile::AesCm128HmacSha1_80, |bytes| bytes.fill(seed));
    let mut keys = [(1, 2), (2, 1)].into_iter();
    ports.map(|port| {
        let mut config = StreamConfig::plain(remotes.next().unwrap(), codec);
        let (outbound, inbound) = keys.next().unwrap();
        config.srtp = is_encrypted.then(|| Keys { outbound: key(outbound), inbound: key(inbound) });
        let (session, mut told) = media.open(port, config).unwrap();
        session.listen(true).unwrap();
        session.play(ClipId(1), vec![1_000; 8_000 * 60].into()).unwrap();
        Listened(session, tokio::spawn(async move { while told.recv().await.is_some() {} }))
    })
}

#[tokio::test]
async fn calls_in_steady_state_allocate_nothing() {
    let media = MediaHandle::start().unwrap();
    let pairs = [
        pair(&media, CodecKind::Pcmu, false),
        pair(&media, CodecKind::Pcmu, true),
        pair(&media, CodecKind::G722, false),
        pair(&media, CodecKind::Opus, true),
        pair(&media, CodecKind::Pcma, false),
    ];
    // The middle of the last two pairs is a bridge that is recorded.
    let (near, far) = (&pairs[3][0].0, &pairs[4][0].0);
    near.bridge(far.peer()).unwrap();
    near.tap(true).unwrap();
    // And somebody hears both of it and is heard by both.
    let third = &pairs[2][0].0;
    third.mix(third.peer(), [near, far].map(|session| Some(Source::Brought(session.peer()))), None).unwrap();
    for one in [near, far] {
        let tone = vec![100; 8_000 * 60].into();
        third.mix(one.peer(), [Some(Source::Brought(third.peer())), None], Some(tone)).unwrap();
    }
    let config = StreamConfig::plain(([127, 0, 0, 1], 9).into(), CodecKind::Pcmu);
    let (clock, mut told) = media.open(port(), config).unwrap();
    clock.listen(true).unwrap();
    let mut frames = 0;
    for (round, wanted) in FRAMES.into_iter().enumerate() {
        while frames < wanted {
            frames += usize::from(matches!(told.recv().await.unwrap(), MediaEvent::Frame { .. }));
        }
        frames = 0;
        match round {
            0 => WATCHED.store(thread_named("media"), Ordering::Relaxed),
            _ => WATCHED.store(-1, Ordering::Relaxed),
        }
    }
    let reports: u64 = pairs.iter().flatten().map(|listened| listened.0.stats().reports).sum();
    assert!(reports >= 5, "only {reports} reports came");
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0);
    drop(clock);
    for Listened(session, taking) in pairs.into_iter().flatten() {
        drop(session);
        taking.await.unwrap();
    }
}
