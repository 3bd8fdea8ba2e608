//! What the cloud decides about this box: its configuration, section by section, and things to be done once.
//!
//! ```text
//! Desired ─► desired: checked ─► waits until no call is up ─► the box starts anew with it ─► trunk and cloud reached? kept
//!                 └ rejected, by key                                     └─ not within two minutes: as it was before
//! Command ─► commands: noted, done, its result noted and said
//! ```
//! The cloud's sections stand above the box's own file and below the environment and the command line: whoever stands in front
//! of the box has the last word.
//!
//! Left out on purpose: sections that could cut the box off from its cloud, or run programs; [`SECTIONS`] are what may be
//! wished.

mod commands;
pub mod desired;
mod keeper;

pub use desired::{Ledger, SECTIONS, begin, give_up};
pub(crate) use keeper::{Keeper, Wishes};
