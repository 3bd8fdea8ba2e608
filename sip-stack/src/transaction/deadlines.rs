//! Who has to be woken next, among many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// The earliest deadline of each owner, sorted by time. Owners due at the same instant come in their own order, so that
/// a run repeats exactly.
#[derive(Debug)]
pub(crate) struct Deadlines<O> {
    by_time: BTreeSet<(Instant, O)>,
    by_owner: BTreeMap<O, (Instant, &'static str)>,
}

impl<O: Copy + Ord> Deadlines<O> {
    pub(crate) fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_owner: BTreeMap::new() }
    }

    /// Replaces the owner's deadline; `None` takes it away.
    pub(crate) fn set(&mut self, owner: O, deadline: Option<(Instant, &'static str)>) {
        let old = match deadline {
            Some(deadline) => self.by_owner.insert(owner, deadline),
            None => self.by_owner.remove(&owner),
        };
        if let Some((at, _)) = old {
            self.by_time.remove(&(at, owner));
        }
        if let Some((at, _)) = deadline {
            self.by_time.insert((at, owner));
        }
    }

    /// The earliest deadline and the letter of its timer.
    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        let (_, owner) = self.by_time.first()?;
        self.by_owner.get(owner).copied()
    }

    /// The first owner that is due at `now`. It stays until its deadline is set anew.
    pub(crate) fn due(&self, now: Instant) -> Option<O> {
        self.by_time.first().filter(|(at, _)| *at <= now).map(|(_, owner)| *owner)
    }
}
