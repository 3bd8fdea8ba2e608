//! A tenant moves from one cell to another.
//!
//! ```text
//!   step          the old cell   the new cell   takes rows
//!   freeze        Frozen         -              nobody
//!   copy          Frozen         Arriving       nobody
//!   compare       Frozen         Ready          nobody      (opened again where it was: the copy is made anew)
//!   let go        Elsewhere      Ready          nobody
//!   open          Elsewhere      Open           the new cell
//! ```
//! Boxes that come meanwhile are told to come back in a few seconds, and after the old cell has let go of the tenant, where to.
//! What a copy belongs to is named by the moment the old cell froze the tenant: a copy of an earlier freeze is never opened.

use std::collections::BTreeSet;

use super::{Actor, Cell, TenantError, change, erase, freeze, place, unexpected};
use crate::store::tenants::{Putting, Record, Standing, Summary, Summing, Tenants as _, summary, wipe};
use crate::store::{AnyStore, BoxName, StoreError};

/// To whoever moves a tenant that somebody else opens, moves or erases, too.
const MEANWHILE: &str =
    "somebody else has changed that meanwhile; look at `offhook-cloud tenant list`, and move it again";

/// What is to be moved.
pub struct Move<'a> {
    /// The cell it lives in.
    pub from: &'a Cell,
    /// The cell it is to live in.
    pub to: &'a Cell,
    /// A store besides, which says where tenants live.
    pub directory: Option<&'a AnyStore>,
    /// Whose.
    pub tenant_id: &'a str,
    /// Whether what the old cell has is kept there, shut, until it is erased by hand.
    pub keep: bool,
}

/// What is about to be done: a move that is cut before or after any of them is carried on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The old cell takes nothing any more.
    Freeze,
    /// What an earlier attempt has left in the new cell goes.
    Clear,
    /// Records are copied.
    CopyRecords,
    /// Recordings are copied.
    CopyRecordings,
    /// What arrived is compared with what was copied.
    Compare,
    /// The new cell has all of it.
    Arrive,
    /// The old cell sends boxes to the new one.
    LetGo,
    /// The new cell takes rows.
    Open,
    /// The directory names the new cell.
    Direct,
    /// What is left in the old cell goes.
    Erase,
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Step::Freeze => "freezing it",
            Step::Clear => "clearing what an earlier attempt has left",
            Step::CopyRecords => "copying records",
            Step::CopyRecordings => "copying recordings",
            Step::Compare => "comparing",
            Step::Arrive => "all of it has arrived",
            Step::LetGo => "the old cell lets go of it",
            Step::Open => "the new cell opens it",
            Step::Direct => "telling the directory",
            Step::Erase => "erasing it in the old cell",
        })
    }
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What it consists of, if this attempt has copied it.
    pub copied: Option<Summary>,
    /// Recordings that were looked at for it.
    pub recordings: u64,
}

impl Move<'_> {
    /// Does it, or what is left to do of it. `on` is told each step before it is done; an error of it ends the move there.
    ///
    /// # Errors
    /// [`TenantError`]; the tenant is open in one cell at most, and the move may be asked for again.
    pub fn run(
        &self,
        actor: Actor<'_>,
        on: &mut dyn FnMut(Step) -> Result<(), TenantError>,
    ) -> Result<Moved, TenantError> {
        let Move { from, to, directory, tenant_id, keep } = *self;
        let (old, new) = (from.store.standing(tenant_id)?.standing, to.store.standing(tenant_id)?.standing);
        if from.recordings.are_those_of(&to.recordings) {
            return Err(TenantError::OneFolder(to.recordings.place().to_owned()));
        }
        let left = Standing::Elsewhere { endpoint: to.endpoint.clone() };
        let mut moved = Moved { copied: None, recordings: 0 };
        if old == left {
            if !matches!(new, Standing::Ready { frozen_at: Some(_) } | Standing::Open) {
                let expected = format!("expected it in the cell at {}, after a move that was cut", to.endpoint);
                return Err(unexpected(tenant_id, &new, expected));
            }
        } else {
            let brought = self.bring(&old, &new, actor, on)?;
            moved = brought.1;
            on(Step::LetGo)?;
            let frozen = Standing::Frozen { at: brought.0 };
            self.turn(&from.store, &frozen, &left, actor)?;
        }
        on(Step::Open)?;
        change(&to.store, tenant_id, actor, |standing, _| match standing {
            Standing::Ready { .. } => Ok(Some(Standing::Open)),
            Standing::Open => Ok(None),
            Standing::Frozen { .. } | Standing::Arriving { .. } | Standing::Elsewhere { .. } | Standing::Erased(_) => {
                Err(unexpected(tenant_id, standing, MEANWHILE))
            }
        })?;
        if let Some(directory) = directory {
            on(Step::Direct)?;
            self.direct(directory, actor)?;
        }
        if !keep {
            on(Step::Erase)?;
            erase(from, tenant_id, actor)?;
        }
        Ok(moved)
    }

    /// Until the new cell is ready and the old one frozen: since when.
    fn bring(
        &self,
        old: &Standing,
        new: &Standing,
        actor: Actor<'_>,
        on: &mut dyn FnMut(Step) -> Result<(), TenantError>,
    ) -> Result<(i64, Moved), TenantError> {
        let Move { from, to, tenant_id, .. } = *self;
        on(Step::Freeze)?;
        if matches!(old, Standing::Open) {
            // Also of one that was opened again after it was copied.
            self.check_room(new)?;
        }
        let Standing::Frozen { at } = freeze(&from.store, tenant_id, actor)?.standing else {
            return Err(unexpected(tenant_id, old, MEANWHILE));
        };
        let frozen_at = Some(at);
        if *new == (Standing::Ready { frozen_at }) {
            return Ok((at, Moved { copied: None, recordings: 0 }));
        }
        self.check_room(new)?;
        change(&to.store, tenant_id, actor, |standing, here| match standing {
            Standing::Arriving { .. } | Standing::Ready { frozen_at: Some(_) } => {
                Ok(Some(Standing::Arriving { frozen_at }))
            }
            Standing::Open | Standing::Elsewhere { .. } if here.is_empty => Ok(Some(Standing::Arriving { frozen_at })),
            Standing::Open
            | Standing::Frozen { .. }
            | Standing::Ready { frozen_at: None }
            | Standing::Elsewhere { .. }
            | Standing::Erased(_) => Err(unexpected(tenant_id, standing, MEANWHILE)),
        })?;
        on(Step::Clear)?;
        wipe(&*to.store, tenant_id)?;
        on(Step::CopyRecords)?;
        let (copied, boxes) = self.copy_records()?;
        on(Step::CopyRecordings)?;
        let recordings = self.copy_recordings(&boxes)?;
        on(Step::Compare)?;
        let arrived = summary(&*to.store, tenant_id)?;
        if arrived != copied {
            return Err(TenantError::Differs { tenant_id: tenant_id.to_owned(), copied, arrived });
        }
        on(Step::Arrive)?;
        self.turn(&to.store, &Standing::Arriving { frozen_at }, &Standing::Ready { frozen_at }, actor)?;
        Ok((at, Moved { copied: Some(copied), recordings }))
    }

    /// From exactly this to that.
    fn turn(&self, store: &AnyStore, from: &Standing, to: &Standing, actor: Actor<'_>) -> Result<(), TenantError> {
        change(store, self.tenant_id, actor, |standing, _| {
            if standing == from { Ok(Some(to.clone())) } else { Err(unexpected(self.tenant_id, standing, MEANWHILE)) }
        })?;
        Ok(())
    }

    /// Whether the new cell may take it, before anything is changed.
    fn check_room(&self, new: &Standing) -> Result<(), TenantError> {
        let Move { to, tenant_id, .. } = *self;
        match new {
            Standing::Arriving { .. } | Standing::Ready { frozen_at: Some(_) } => Ok(()),
            Standing::Open | Standing::Elsewhere { .. } => {
                let here = to.store.holdings(tenant_id)?;
                let (boxes, rows) = (here.boxes, here.rows);
                let not_empty = || TenantError::NotEmpty { tenant_id: tenant_id.to_owned(), boxes, rows };
                if here.is_empty { Ok(()) } else { Err(not_empty()) }
            }
            Standing::Frozen { .. } => {
                Err(unexpected(tenant_id, new, "in the new cell too: do both configurations name one store?"))
            }
            Standing::Ready { frozen_at: None } | Standing::Erased(_) => {
                Err(unexpected(tenant_id, new, "in the new cell: it cannot come there"))
            }
        }
    }

    /// All but codes, which stay where they were made; and the boxes there are.
    fn copy_records(&self) -> Result<(Summary, BTreeSet<String>), StoreError> {
        let Move { from, to, tenant_id, .. } = *self;
        let (mut summing, mut putting) = (Summing::default(), Putting::new(&*to.store, tenant_id));
        let mut boxes = BTreeSet::new();
        from.store.export(tenant_id, &mut |record| {
            match &record {
                Record::Claim { .. } => return Ok(()),
                Record::Box { box_id, .. } | Record::State { box_id, .. } => {
                    boxes.insert(box_id.clone());
                }
                Record::Row { .. }
                | Record::Day { .. }
                | Record::Document { .. }
                | Record::Delivery { .. }
                | Record::Recording { .. } => {}
            }
            let line = record.to_line()?;
            summing.add(&line);
            putting.put(record, line.len())
        })?;
        putting.flush()?;
        Ok((summing.finish(), boxes))
    }

    fn copy_recordings(&self, boxes: &BTreeSet<String>) -> Result<u64, TenantError> {
        let Move { from, to, tenant_id, .. } = *self;
        let mut copied = 0;
        for box_id in boxes {
            let of = BoxName { tenant_id: tenant_id.to_owned(), box_id: box_id.clone() };
            for content in from.recordings.contents(&of)? {
                from.recordings.copy(&to.recordings, &of, content)?;
                copied += 1;
            }
        }
        Ok(copied)
    }

    /// The directory may be one of the two cells.
    fn direct(&self, directory: &AnyStore, actor: Actor<'_>) -> Result<(), TenantError> {
        let Move { to, tenant_id, .. } = *self;
        let is_the_new_cell = to.store.standing(tenant_id)? == directory.standing(tenant_id)?;
        if !is_the_new_cell {
            place(directory, tenant_id, &to.endpoint, actor)?;
        }
        Ok(())
    }
}
