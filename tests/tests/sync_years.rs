//! Years of a box and its cloud in the simulator: nothing is lost and nothing doubled, whatever breaks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::sim::replayed_seed;
use tests::sim::sync::{Flaw, Plan, Tally, run_year};

/// Box-years of a run of all tests; `OFFHOOK_SYNC_YEARS` sets another number.
const YEARS: u64 = 100;

#[test]
fn a_hundred_years_lose_nothing() {
    if let Some(seed) = replayed_seed() {
        println!("{:?}", run_year(seed, Plan::YEAR));
        return;
    }
    let years = std::env::var("OFFHOOK_SYNC_YEARS").map_or(YEARS, |years| years.parse().expect("a number of years"));
    let tally = run_years(years);
    println!("{years} years: {tally:#?}");
    assert_everything_happened(years, tally);
}

/// On every core, each taking the next seed.
fn run_years(years: u64) -> Tally {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= years {
                        return;
                    }
                    let tally = run_year(seed, Plan::YEAR);
                    *total.lock().expect("no other year has failed") += tally;
                }
            });
        }
    });
    total.into_inner().expect("no year has failed")
}

/// Laws that hold because nothing happens prove nothing.
fn assert_everything_happened(years: u64, tally: Tally) {
    let at_least = |what: &str, count: u64, a_year: f64| {
        assert!(count as f64 >= a_year * years as f64, "{what}: {count} in {years} years");
    };
    at_least("writes", tally.writes, 1_000.0);
    at_least("partitions", tally.partitions, 40.0);
    at_least("crashes of the box", tally.box_crashes, 12.0);
    at_least("crashes of the cloud", tally.cloud_crashes, 12.0);
    at_least("restores of the box", tally.box_restores, 0.5);
    at_least("restores of the cloud", tally.cloud_restores, 0.5);
    at_least("jumps of the clock", tally.clock_jumps, 4.0);
    at_least("streams", tally.welcomed, 200.0);
    at_least("comparisons", tally.equal, 200.0);
    at_least("days sent again", tally.ranges_sent, 5.0);
    at_least("rows that were forgotten", tally.forgotten, 20.0);
    at_least("batches of streams that were left", tally.stale, 0.2);
}

/// A failure can be replayed only if a year is a function of its seed.
#[test]
fn the_same_seed_is_the_same_year() {
    let plan = Plan { days: 60, ..Plan::YEAR };
    assert_eq!(run_year(5, plan), run_year(5, plan));
    assert_ne!(run_year(5, plan), run_year(6, plan));
}

/// What is still under way is not a difference: no day is sent again, no row twice, and a day's comparison costs one.
#[test]
fn a_calm_year_sends_nothing_twice() {
    for seed in 0..3 {
        let tally = run_year(seed, Plan { calm: true, ..Plan::YEAR });
        assert_eq!(tally.ranges_sent, 0, "{tally:?}");
        assert!(tally.rows_sent <= tally.writes + tally.writes / 200, "{tally:?}");
        assert!(tally.rows_sent >= tally.writes / 2, "{tally:?}");
        assert_eq!(tally.equal, tally.compared, "{tally:?}");
        assert!((360..380).contains(&tally.compared), "{tally:?}");
    }
}

/// A month without network costs nothing but the month: also right at the beginning, when the box was never compared yet.
#[test]
fn a_month_offline_is_caught_up_from_the_log() {
    for (seed, from) in [(1, 0), (2, 3), (3, 100)] {
        let tally = run_year(seed, Plan { days: 160, calm: true, outage: Some((from, 30)), flaw: None });
        assert_eq!(tally.ranges_sent, 0, "{tally:?}");
        assert!(tally.rows_sent <= tally.writes + tally.writes / 50, "{tally:?}");
    }
}

/// The laws themselves: a store with a flaw is found in a few years at most.
#[test]
fn a_store_with_a_flaw_is_caught() {
    let caught = |flaw| {
        (0..20).find_map(|seed| {
            let year = || run_year(seed, Plan { flaw: Some(flaw), ..Plan::YEAR });
            let cause = std::panic::catch_unwind(year).err()?;
            cause.downcast_ref::<String>().cloned()
        })
    };
    let found = [Flaw::NeverLooks, Flaw::LosesOneIn(1_000), Flaw::NeverForgets].map(caught);
    for (found, words) in found.into_iter().zip(["went back", "acknowledged and not there", "still there"]) {
        let found = found.expect("caught");
        assert!(found.contains(words), "{words}: {found}");
    }
}
