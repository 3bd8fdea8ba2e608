//! Updates that cannot brick the box: signed RAUC bundles into the slot that is not running, and a way back.
//!
//! ```text
//!  source ──file──► rauc info ─► decision ─► no call, window ─► rauc install ─► reboot ─► health gate ─► mark-good,
//!  (file, stick, URL)  signature   system, version                                         │ fails        confirmed
//!                                                                                          └► the boot loader goes back
//! ```
//! [`decision`], [`slots`] and [`window`] are pure: what is installed, when, and what the slots' state means is decided
//! there from values. [`rauc`] and [`grubenv`] drive the two programs that own the facts; nothing here writes a slot or
//! verifies a signature itself.
//!
//! The boot loader counts tries only for a slot that is not confirmed: `A_TRY` and `B_TRY` are RAUC's, `A_CONFIRMED`
//! and `B_CONFIRMED` are ours (see [`grubenv`]). A confirmed slot survives any number of power cuts.
//!
//! Left out on purpose: deltas, updates of the boot loader itself, unsigned bundles in any form, and updating models
//! (`offhook models` does that).

pub mod decision;
pub mod grubenv;
pub mod health;
pub mod machine;
pub mod quiet;
pub mod rauc;
pub mod record;
pub mod slots;
pub mod source;
mod tool;
pub mod window;
