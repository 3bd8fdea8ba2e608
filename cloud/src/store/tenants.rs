//! Tenants as wholes: where each lives, everything that is kept of one as a stream of records, and the end of one.
//!
//! ```text
//!            freeze                 place ELSEWHERE
//!  Open ◄────────────► Frozen ─────────────────────► Elsewhere ──┐
//!   ▲ │       open                                       │       │ import: it comes back
//!   │ └ import, nothing of it is here ─► Arriving ◄──────┼───────┘
//!   │                                     │              │
//!   └──────────────────────── Ready ◄─────┘              └ erase: rows go, the way to it stays
//!
//!  Open, Frozen ─erase─► Erased: a tombstone, for good
//! ```
//! Only of one that is `Open` anything is taken, and that is looked at in each transaction that writes: whoever freezes a
//! tenant waits for the transactions that were there before, and everybody after them is refused. So a tenant that is open in
//! one cell at most changes in one cell at most, whatever else fails.
//!
//! **Codes stay where they were made.** Who was given one was given the address of that cell with it; it goes on to name the
//! right one in its answer. So a tenant that moves leaves its codes, and one that is erased does not.
//!
//! Left out on purpose: `news`, which say that there is something to hear and nothing of what it is; boxes look when they come.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::{AnyStore, Store, StoreError};
use crate::sync::stream::Away;

/// Rows that are written or erased in one transaction at most: others wait for a fraction of a second.
pub const RECORDS_AT_ONCE: usize = 1_000;
/// Encoded size of what is written in one transaction at most, in bytes, by the next record.
pub const BYTES_AT_ONCE: usize = 4 << 20;

/// Whether a tenant lives here. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// It does, or was never heard of.
    #[default]
    Open,
    /// It does, and nothing of it changes.
    Frozen {
        /// Since when: names this time that it was frozen.
        at: i64,
    },
    /// It is being brought here: what is here is not all of it.
    Arriving {
        /// When it was frozen where it comes from, by that cell; None for one that comes from files.
        frozen_at: Option<i64>,
    },
    /// All of it is here and was compared, and nothing is taken before it has been let go of where it comes from.
    Ready {
        /// As in `Arriving`.
        frozen_at: Option<i64>,
    },
    /// In another cell.
    Elsewhere {
        /// Where its boxes go, as host and port.
        endpoint: String,
    },
    /// Nowhere: what it had here is gone.
    Erased(Erasure),
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Boxes.
    pub boxes: u64,
    /// Rows that were there.
    pub rows: u64,
    /// Documents of the fleet.
    pub documents: u64,
    /// Codes.
    pub claims: u64,
    /// When nothing of it was left; None until then.
    pub done_at: Option<i64>,
    /// Recordings; 0 until then.
    pub recordings: u64,
}

impl Standing {
    /// What its boxes are told; None if they may come.
    pub fn away(&self) -> Option<Away> {
        match self {
            Standing::Open => None,
            Standing::Frozen { .. } | Standing::Arriving { .. } | Standing::Ready { .. } => Some(Away::Moving),
            Standing::Elsewhere { endpoint } => Some(Away::Elsewhere(endpoint.clone())),
            Standing::Erased(_) => Some(Away::Erased),
        }
    }

    /// Whether what is here of it may be taken away: nobody counts on it.
    pub fn may_be_wiped(&self) -> bool {
        match self {
            Standing::Arriving { .. } | Standing::Elsewhere { .. } | Standing::Erased(_) => true,
            Standing::Open | Standing::Frozen { .. } | Standing::Ready { .. } => false,
        }
    }

    pub(super) fn to_json(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(|error| StoreError::Record(error.to_string()))
    }

    pub(super) fn from_json(json: &str) -> Result<Standing, StoreError> {
        serde_json::from_str(json).map_err(|error| StoreError::Record(format!("where a tenant lives: {error}")))
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Standing::Open => formatter.write_str("lives here"),
            Standing::Frozen { .. } => formatter.write_str("is frozen"),
            Standing::Arriving { .. } => formatter.write_str("is being brought here, and not all of it is here"),
            Standing::Ready { .. } => formatter.write_str("is here and not let go of where it comes from"),
            Standing::Elsewhere { endpoint } => write!(formatter, "lives at {endpoint}"),
            Standing::Erased(_) => formatter.write_str("was erased here"),
        }
    }
}

/// What is known of where a tenant lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRecord {
    /// Whose.
    pub tenant_id: String,
    /// Where.
    pub standing: Standing,
    /// Milliseconds since 1970.
    pub changed_at: i64,
    /// By whom.
    pub changed_by: String,
}

impl StandingRecord {
    /// Of one of which nothing is known.
    pub(super) fn open(tenant_id: &str) -> StandingRecord {
        let (tenant_id, changed_by) = (tenant_id.to_owned(), String::new());
        StandingRecord { tenant_id, standing: Standing::Open, changed_at: 0, changed_by }
    }
}

/// How much of a tenant is here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Boxes that were claimed or heard.
    pub boxes: u64,
    /// Rows that are there, without what is left of those that are gone.
    pub rows: u64,
    /// Documents of the fleet.
    pub documents: u64,
    /// Codes, also spent ones.
    pub claims: u64,
    /// Nothing but codes, whatever the figures say: also nothing that was left of rows that are gone.
    pub is_empty: bool,
}

/// Something that is kept of a tenant. In a file each is a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// A box that was claimed or heard. Times are milliseconds since 1970.
    Box {
        /// Which.
        box_id: String,
        /// When it was claimed.
        enrolled_at: i64,
        /// What it runs.
        release: String,
        /// When it was last heard.
        heard_at: Option<i64>,
        /// When both ends were last found equal.
        equal_at: Option<i64>,
        /// Since when it may not connect any more.
        revoked_at: Option<i64>,
        /// Certificates that were made before this are nobody's any more.
        void_before: Option<i64>,
    },
    /// How far a box's rows are here: [`BoxState`](crate::sync::apply::BoxState).
    State {
        /// Which.
        box_id: String,
        /// Its latest epoch.
        epoch: i64,
        /// Of that epoch, in hexadecimal.
        incarnation: String,
        /// Of its change log.
        watermark: i64,
        /// Transactions that have taken rows of it.
        applied: i64,
    },
    /// A row, or what is left of one that is gone: [`StoredRow`](crate::sync::apply::StoredRow).
    Row {
        /// Whose.
        box_id: String,
        /// Of which table.
        table: String,
        /// Its key.
        key: String,
        /// Under which it was last taken.
        epoch: i64,
        /// Of the box.
        row_version: i64,
        /// Which transaction of the box it was last taken in.
        applied: i64,
        /// Its hash, little endian in hexadecimal.
        hash: String,
        /// None if it is gone. Numbers and texts are as they are, bytes `{"base64": …}`.
        columns: Option<Json>,
    },
    /// The sum of the rows of one day of a table.
    Day {
        /// Whose.
        box_id: String,
        /// Of which table.
        table: String,
        /// Of which epoch.
        epoch: i64,
        /// Since 1970-01-01.
        day: i64,
        /// How many.
        rows: i64,
        /// Their hashes added up, little endian in hexadecimal.
        hash: String,
    },
    /// What a box should be and do, or a rollout.
    Document {
        /// `box` or `rollout`.
        kind: String,
        /// Of which.
        name: String,
        /// It.
        body: Json,
        /// Milliseconds since 1970.
        changed_at: i64,
    },
    /// Something that is handed down to a box, whether it has it or not: [`Kept`](super::deliveries::Kept).
    Delivery {
        /// To which.
        box_id: String,
        /// Which.
        delivery_id: String,
        /// Milliseconds since 1970.
        created_at: i64,
        /// JSON, as it is kept.
        body: String,
        /// Of the recording that goes with it, in hexadecimal.
        sha256: Option<String>,
        /// When somebody looks after it who makes it ready; None if it is.
        due_at: Option<i64>,
        /// When the box said that it has it.
        acked_at: Option<i64>,
        /// The box's epoch then.
        acked_epoch: Option<i64>,
        /// What the box said to it.
        answer: Option<String>,
    },
    /// A code, which is kept nowhere.
    Claim {
        /// Its hash, in hexadecimal.
        code_sha256: String,
        /// Milliseconds since 1970.
        expires_at: i64,
        /// Whose it is; None while it is nobody's.
        box_id: Option<String>,
    },
    /// A recording, whose content is a file beside these lines. No store keeps it.
    Recording {
        /// Whose.
        box_id: String,
        /// Of its content, in hexadecimal.
        sha256: String,
        /// Of its content.
        size_bytes: u64,
    },
}

impl Record {
    /// As a line, with its end.
    ///
    /// # Errors
    /// [`StoreError::Record`].
    pub fn to_line(&self) -> Result<String, StoreError> {
        let json = serde_json::to_string(self).map_err(|error| StoreError::Record(error.to_string()))?;
        Ok(json + "\n")
    }
}

/// Sixteen bytes of a hash.
pub(super) fn hash_from_hex(hash: &str) -> Result<[u8; 16], StoreError> {
    let bytes = hex::decode(hash).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| StoreError::Record(format!("hash {hash:?}: expected 32 hexadecimal digits")))
}

/// Bytes of any number.
pub(super) fn bytes_from_hex(bytes: &str) -> Result<Vec<u8>, StoreError> {
    hex::decode(bytes).map_err(|_| StoreError::Record(format!("{bytes:?}: expected hexadecimal digits")))
}

/// JSON that was kept, to be written as it is.
pub(super) fn json_of(text: &str) -> Result<Json, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Record(error.to_string()))
}

/// A row's columns as text, checked: what cannot be read later is not kept.
pub(super) fn columns_text(columns: Option<&Json>) -> Result<Option<String>, StoreError> {
    let Some(columns) = columns else { return Ok(None) };
    let text = columns.to_string();
    super::columns::from_json(&text)?;
    Ok(Some(text))
}

/// Changes where a tenant lives: given how it is and how much of it is here; None leaves it.
pub type ChangeStanding<'a> = &'a mut dyn FnMut(&Standing, &Holdings) -> Result<Option<Standing>, StoreError>;

/// What a store can do with a tenant as a whole. Blocks: not for async threads.
pub trait Tenants: Store {
    /// Where it lives.
    ///
    /// # Errors
    /// Of the store.
    fn standing(&self, tenant_id: &str) -> Result<StandingRecord, StoreError>;

    /// All tenants of which more is known than that they live here, in order.
    ///
    /// # Errors
    /// Of the store.
    fn standings(&self) -> Result<Vec<StandingRecord>, StoreError>;

    /// How much of it is here.
    ///
    /// # Errors
    /// Of the store.
    fn holdings(&self, tenant_id: &str) -> Result<Holdings, StoreError>;

    /// Changes where it lives, once everybody who writes for it has ended, and tells streams of its boxes that there is news.
    /// `work` may be run more than once. Returns how it is then.
    ///
    /// # Errors
    /// Of the store, or what `work` returns.
    fn change_standing(
        &self,
        tenant_id: &str,
        by: &str,
        now: i64,
        work: ChangeStanding<'_>,
    ) -> Result<StandingRecord, StoreError>;

    /// Everything that is kept of it, as of one moment, in an order that is the same in every store: boxes by their ids, each
    /// with its rows and sums, then documents, then codes.
    ///
    /// # Errors
    /// Of the store, or what `take` returns.
    fn export(&self, tenant_id: &str, take: &mut dyn FnMut(Record) -> Result<(), StoreError>)
    -> Result<(), StoreError>;

    /// Keeps records of a tenant that is [`Arriving`](Standing::Arriving), all of them or none.
    ///
    /// # Errors
    /// [`StoreError::NotHere`] of any other, [`StoreError::Record`], or of the store.
    fn put_records(&self, tenant_id: &str, records: &[Record]) -> Result<(), StoreError>;

    /// Takes away a part of what is here of a tenant that [may be wiped](Standing::may_be_wiped): true while there may be
    /// more. Codes go only with an erased one, and with one that is elsewhere when they are spent.
    ///
    /// # Errors
    /// [`StoreError::NotHere`] of any other, or of the store.
    fn wipe_some(&self, tenant_id: &str) -> Result<bool, StoreError>;
}

/// Takes away everything that is here of a tenant that [may be wiped](Standing::may_be_wiped).
///
/// # Errors
/// As [`Tenants::wipe_some`].
pub fn wipe(store: &impl Tenants, tenant_id: &str) -> Result<(), StoreError> {
    while store.wipe_some(tenant_id)? {}
    Ok(())
}

/// What a tenant consists of, in a few bytes: equal of two stores if and only if their records are, codes left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Records.
    pub records: u64,
    /// Of their lines, in hexadecimal.
    pub sha256: String,
}

/// Adds records up to a [`Summary`].
#[derive(Debug, Default)]
pub struct Summing {
    records: u64,
    hasher: Sha256,
}

impl Summing {
    /// One more, as its [line](Record::to_line).
    pub fn add(&mut self, line: &str) {
        self.records += 1;
        self.hasher.update(line);
    }

    /// So far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// All of them.
    pub fn finish(self) -> Summary {
        Summary { records: self.records, sha256: hex::encode(self.hasher.finalize()) }
    }
}

/// What a tenant consists of here, codes left out.
///
/// # Errors
/// Of the store.
pub fn summary(store: &impl Tenants, tenant_id: &str) -> Result<Summary, StoreError> {
    let mut summing = Summing::default();
    store.export(tenant_id, &mut |record| {
        if !matches!(record, Record::Claim { .. }) {
            summing.add(&record.to_line()?);
        }
        Ok(())
    })?;
    Ok(summing.finish())
}

/// Gathers records of one tenant and puts them into a store, so many at a time.
pub struct Putting<'a, S> {
    store: &'a S,
    tenant_id: &'a str,
    records: Vec<Record>,
    bytes: usize,
}

impl<'a, S: Tenants> Putting<'a, S> {
    /// For this tenant.
    pub fn new(store: &'a S, tenant_id: &'a str) -> Self {
        Putting { store, tenant_id, records: Vec::new(), bytes: 0 }
    }

    /// One more, whose line has so many bytes.
    ///
    /// # Errors
    /// As [`Tenants::put_records`].
    pub fn put(&mut self, record: Record, bytes: usize) -> Result<(), StoreError> {
        self.records.push(record);
        self.bytes += bytes;
        if self.records.len() >= RECORDS_AT_ONCE || self.bytes >= BYTES_AT_ONCE {
            self.flush()?;
        }
        Ok(())
    }

    /// The rest.
    ///
    /// # Errors
    /// As [`Tenants::put_records`].
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let records = std::mem::take(&mut self.records);
        if records.is_empty() { Ok(()) } else { self.store.put_records(self.tenant_id, &records) }
    }
}

impl Tenants for AnyStore {
    fn standing(&self, tenant_id: &str) -> Result<StandingRecord, StoreError> {
        either!(self, store => store.standing(tenant_id))
    }

    fn standings(&self) -> Result<Vec<StandingRecord>, StoreError> {
        either!(self, store => store.standings())
    }

    fn holdings(&self, tenant_id: &str) -> Result<Holdings, StoreError> {
        either!(self, store => store.holdings(tenant_id))
    }

    fn change_standing(
        &self,
        tenant_id: &str,
        by: &str,
        now: i64,
        work: ChangeStanding<'_>,
    ) -> Result<StandingRecord, StoreError> {
        either!(self, store => store.change_standing(tenant_id, by, now, work))
    }

    fn export(
        &self,
        tenant_id: &str,
        take: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        either!(self, store => store.export(tenant_id, take))
    }

    fn put_records(&self, tenant_id: &str, records: &[Record]) -> Result<(), StoreError> {
        either!(self, store => store.put_records(tenant_id, records))
    }

    fn wipe_some(&self, tenant_id: &str) -> Result<bool, StoreError> {
        either!(self, store => store.wipe_some(tenant_id))
    }
}
