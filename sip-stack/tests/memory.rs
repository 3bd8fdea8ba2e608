//! How much memory a dialog takes, and that a call which is over takes none. In a program of its own, whose allocator
//! counts; one test, because everything of it would be counted together.

#[path = "../benches/pair/mod.rs"]
mod pair;

use pair::{Counting, Pair, live_bytes};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most a dialog may take.
const DIALOG_BYTES: usize = 12 * 1_024;

#[test]
fn a_dialog_is_small_and_a_call_that_is_over_leaves_nothing() {
    let before = live_bytes();
    let standing = Pair::with_calls(1_000);
    let per_dialog = (live_bytes() - before) / 2_000;
    assert!(per_dialog <= DIALOG_BYTES, "{per_dialog} bytes per dialog");
    assert!(per_dialog > 500, "{per_dialog} bytes cannot hold a dialog: is the allocator in use?");
    drop(standing);

    let mut pair = Pair::new();
    let mut live_after = |calls: usize| {
        for _ in 0..calls {
            let call = pair.call();
            pair.hang_up(call);
            pair.let_timers_fire();
        }
        live_bytes()
    };
    let (early, late) = (live_after(200), live_after(3_800));
    // 2 %, as the whole box may grow; the tables themselves are empty.
    assert!(late <= early + early / 50, "{early} bytes after 200 calls, {late} after 4,000");
}
