//! Days of calls in the simulator: the laws hold whatever the network, the clocks and the users do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tests::sim::day::{Tally, run_day};
use tests::sim::replayed_seed;

/// Seeds of the short run, which is part of every test run. `make laws` sets `OFFHOOK_LAWS_SEEDS=1000`.
const SEEDS: u64 = 60;

#[test]
fn laws_hold_all_day() {
    if let Some(seed) = replayed_seed() {
        println!("{:?}", run_day(seed));
        return;
    }
    let seeds = std::env::var("OFFHOOK_LAWS_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number of seeds"));
    let tally = run_days(seeds);
    println!("{seeds} seeds: {tally:#?}");
    assert_everything_happened(seeds, tally);
}

/// The whole of it: a failure can be replayed only if a day is a function of its seed.
#[test]
fn the_same_seed_is_the_same_day() {
    assert_eq!(run_day(5), run_day(5));
    assert_ne!(run_day(5), run_day(6));
}

/// On every core, each taking the next seed.
fn run_days(seeds: u64) -> Tally {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let tally = run_day(seed);
                    *total.lock().expect("no other day has failed") += tally;
                }
            });
        }
    });
    total.into_inner().expect("no day has failed")
}

/// Laws that hold because nothing happens prove nothing.
fn assert_everything_happened(seeds: u64, tally: Tally) {
    let at_least = |what: &str, count: usize, a_day: f64| {
        assert!(count as f64 >= a_day * seeds as f64, "{what}: {count} in {seeds} days");
    };
    assert!(tally.simulated >= Duration::from_millis(86_400 * seeds), "{:?} simulated", tally.simulated);
    at_least("calls", tally.placed, 20.0);
    at_least("answered calls", tally.answered, 8.0);
    at_least("glares", tally.glares, 0.3);
    at_least("transfers", tally.transfers, 1.0);
    at_least("registrations", tally.registered, 1.0);
    at_least("subscriptions", tally.subscribed, 0.5);
    at_least("jumps", tally.jumps, 1.0);
    at_least("lost messages", tally.lost, 20.0);
}
