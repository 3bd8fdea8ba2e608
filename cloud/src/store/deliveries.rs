//! What is handed down to boxes, as stores keep it: until the box has it, and for a while after that.
//!
//! ```text
//! change_delivery ─► being prepared, looked after again when it is due ─► ready ─► outstanding ─► note_delivered
//!                                          take_due ◄─ any instance, one at a time
//! ```
//! What was delivered is outstanding again for a box that comes in a later epoch: it was restored from a backup, which may be
//! from before it. [`KEPT_MS`] is how long.

use std::collections::BTreeSet;

use super::{AnyStore, BoxName, StoreError};

/// How long a delivery is kept after the box had it, in milliseconds: seven days.
pub const KEPT_MS: i64 = 7 * 86_400_000;

/// A delivery from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is, as JSON.
    pub body: String,
    /// Of a blob of the box that goes with it, in hexadecimal.
    pub sha256: Option<String>,
    /// When somebody looks after it again, in milliseconds since 1970; None: it is ready for the box.
    pub due_at: Option<i64>,
}

/// One that waits for its box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outstanding {
    /// Which.
    pub id: String,
    /// What it is, as JSON.
    pub body: String,
}

/// How far a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The box does not have it yet.
    Waiting,
    /// The box has it, and this is to be said to whoever it came from.
    Delivered(Option<String>),
}

/// Keeps deliveries. Blocks: not for async threads.
pub trait Deliveries {
    /// Makes or changes one in one transaction; nobody else changes it meanwhile. One that is changed is to be delivered anew. `work` is given its body, if there is one,
    /// and may be run more than once. The box hears of it when it is ready; see [`Store::news`](super::Store::news).
    ///
    /// # Errors
    /// Of the store, or what `work` returns; then nothing has changed.
    fn change_delivery<T>(
        &self,
        of: &BoxName,
        id: &str,
        now: i64,
        work: impl FnMut(Option<&str>) -> Result<(Option<Kept>, T), StoreError>,
    ) -> Result<T, StoreError>;

    /// Those that are ready and that the box of this epoch does not have, in the order in which they came.
    ///
    /// # Errors
    /// Of the store.
    fn outstanding(&self, of: &BoxName, epoch: u64, now: i64, limit: u32) -> Result<Vec<Outstanding>, StoreError>;

    /// The box of this epoch has it. False if there is no such delivery.
    ///
    /// # Errors
    /// Of the store.
    fn note_delivered(&self, of: &BoxName, id: &str, epoch: u64, answer: &str, now: i64) -> Result<bool, StoreError>;

    /// How far one is; None if it is not there.
    ///
    /// # Errors
    /// Of the store.
    fn progress(&self, of: &BoxName, id: &str) -> Result<Option<Progress>, StoreError>;

    /// One that is due at `now`, which is due again at `again_at`: until then nobody else gets it.
    ///
    /// # Errors
    /// Of the store.
    fn take_due(&self, now: i64, again_at: i64) -> Result<Option<(BoxName, String)>, StoreError>;

    /// The blobs that go with deliveries of a box, in hexadecimal.
    ///
    /// # Errors
    /// Of the store.
    fn delivered_blobs(&self, of: &BoxName) -> Result<BTreeSet<String>, StoreError>;

    /// Forgets what a tenant's boxes have had for [`KEPT_MS`]: how many.
    ///
    /// # Errors
    /// Of the store.
    fn forget_deliveries(&self, tenant_id: &str, now: i64) -> Result<usize, StoreError>;

    /// Erases those, however far they are, whose `sender` or `caller` is this number: how many. Blobs that went with them go
    /// with the next look for blobs that nobody needs.
    ///
    /// # Errors
    /// Of the store.
    fn erase_deliveries(&self, tenant_id: &str, caller: &str) -> Result<usize, StoreError>;
}

macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            AnyStore::Sqlite($store) => $call,
            AnyStore::Postgres($store) => $call,
        }
    };
}

impl Deliveries for AnyStore {
    fn change_delivery<T>(
        &self,
        of: &BoxName,
        id: &str,
        now: i64,
        work: impl FnMut(Option<&str>) -> Result<(Option<Kept>, T), StoreError>,
    ) -> Result<T, StoreError> {
        either!(self, store => store.change_delivery(of, id, now, work))
    }

    fn outstanding(&self, of: &BoxName, epoch: u64, now: i64, limit: u32) -> Result<Vec<Outstanding>, StoreError> {
        either!(self, store => store.outstanding(of, epoch, now, limit))
    }

    fn note_delivered(&self, of: &BoxName, id: &str, epoch: u64, answer: &str, now: i64) -> Result<bool, StoreError> {
        either!(self, store => store.note_delivered(of, id, epoch, answer, now))
    }

    fn progress(&self, of: &BoxName, id: &str) -> Result<Option<Progress>, StoreError> {
        either!(self, store => store.progress(of, id))
    }

    fn take_due(&self, now: i64, again_at: i64) -> Result<Option<(BoxName, String)>, StoreError> {
        either!(self, store => store.take_due(now, again_at))
    }

    fn delivered_blobs(&self, of: &BoxName) -> Result<BTreeSet<String>, StoreError> {
        either!(self, store => store.delivered_blobs(of))
    }

    fn forget_deliveries(&self, tenant_id: &str, now: i64) -> Result<usize, StoreError> {
        either!(self, store => store.forget_deliveries(tenant_id, now))
    }

    fn erase_deliveries(&self, tenant_id: &str, caller: &str) -> Result<usize, StoreError> {
        either!(self, store => store.erase_deliveries(tenant_id, caller))
    }
}

/// What every store must do, whatever it is made of.
#[cfg(test)]
pub(super) mod conformance {
    use super::*;
    use crate::store::Store;

    const DAY_MS: i64 = 86_400_000;

    fn name(tenant_id: &str, box_id: &str) -> BoxName {
        BoxName { tenant_id: tenant_id.to_owned(), box_id: box_id.to_owned() }
    }

    fn kept(body: &str, due_at: Option<i64>) -> Kept {
        Kept { body: body.to_owned(), sha256: None, due_at }
    }

    /// Checks a store that `open` opens, each time the same one.
    pub(in crate::store) fn check_deliveries<S: Store + Deliveries>(open: impl Fn() -> S) {
        keeps_them_until_the_box_has_them(&open());
        prepares_them(&open());
        gives_them_again_to_a_later_epoch(&open());
        erases_a_caller(&open());
    }

    fn ids<S: Deliveries>(store: &S, of: &BoxName, epoch: u64, now: i64) -> Vec<String> {
        store.outstanding(of, epoch, now, 10).unwrap().into_iter().map(|one| one.id).collect()
    }

    fn keeps_them_until_the_box_has_them<S: Store + Deliveries>(store: &S) {
        let (of, other) = (name("handed", "1"), name("handed", "2"));
        let add = |of: &BoxName, id: &str, now: i64| {
            let work = |before: Option<&str>| Ok((before.is_none().then(|| kept("{\"a\":1}", None)), before.is_none()));
            store.change_delivery(of, id, now, work).unwrap()
        };
        assert!(add(&of, "b", 100) && add(&of, "a", 101) && add(&of, "c", 101) && add(&other, "a", 102));
        assert!(!add(&of, "a", 200), "it is there already");
        assert_eq!(ids(store, &of, 1, 300), ["b", "a", "c"], "in the order in which they came");
        let first = Outstanding { id: "b".to_owned(), body: "{\"a\":1}".to_owned() };
        assert_eq!(store.outstanding(&of, 1, 300, 1).unwrap(), [first]);
        let news: Vec<_> = store.news(99).unwrap().into_iter().filter(|(name, _)| name.tenant_id == "handed").collect();
        assert_eq!(news.len(), 2, "{news:?}");
        assert!(store.note_delivered(&of, "a", 1, "thank you", 310).unwrap());
        assert!(store.note_delivered(&of, "b", 1, "", 310).unwrap());
        assert!(!store.note_delivered(&of, "x", 1, "", 310).unwrap());
        assert_eq!((ids(store, &of, 1, 320), ids(store, &other, 1, 320)), (vec!["c".to_owned()], vec!["a".to_owned()]));
        let progress = |id| store.progress(&of, id).unwrap();
        assert_eq!(progress("a"), Some(Progress::Delivered(Some("thank you".to_owned()))));
        assert_eq!((progress("b"), progress("c")), (Some(Progress::Delivered(None)), Some(Progress::Waiting)));
        assert_eq!(progress("x"), None);
        let failed = store.change_delivery(&of, "d", 1, |_| Err::<(Option<Kept>, ()), _>(StoreError::DiskFull));
        assert!(matches!(failed, Err(StoreError::DiskFull)) && progress("d").is_none());
    }

    fn prepares_them<S: Store + Deliveries>(store: &S) {
        let of = name("prepared", "1");
        let change = |id: &str, now: i64, after: Kept| {
            let work = |before: Option<&str>| Ok((Some(after.clone()), before.map(str::to_owned)));
            store.change_delivery(&of, id, now, work).unwrap()
        };
        assert_eq!(change("a", 10, kept("{}", Some(50))), None);
        change("b", 11, kept("{}", Some(40)));
        assert_eq!(ids(store, &of, 1, 60), Vec::<String>::new(), "nothing is ready");
        let due = |now| store.take_due(now, now + 1_000).unwrap().map(|(name, id)| (name.to_string(), id));
        assert_eq!(due(39), None);
        let of_box = |id: &str| Some(("prepared/1".to_owned(), id.to_owned()));
        assert_eq!((due(50), due(51), due(51)), (of_box("b"), of_box("a"), None), "each is given to one");
        assert_eq!(due(1_050), of_box("b"), "whoever had it has not come back");
        let sound = Kept { sha256: Some("ab".repeat(32)), ..kept("{\"b\":2}", None) };
        assert_eq!(change("a", 60, sound), Some("{}".to_owned()));
        assert_eq!((ids(store, &of, 1, 70), due(9_000), due(9_000)), (vec!["a".to_owned()], of_box("b"), None));
        let blobs = store.delivered_blobs(&of).unwrap();
        assert_eq!(blobs.into_iter().collect::<Vec<_>>(), ["ab".repeat(32)]);
        assert!(store.news(59).unwrap().contains(&(of.clone(), 60)));
        store.note_delivered(&of, "a", 1, "", 80).unwrap();
        change("a", 90, kept("{\"b\":3}", None));
        assert_eq!(ids(store, &of, 1, 90), ["a"], "it has become another one");
    }

    fn gives_them_again_to_a_later_epoch<S: Store + Deliveries>(store: &S) {
        let (of, other) = (name("again", "1"), name("others", "1"));
        for (of, id) in [(&of, "a"), (&of, "b"), (&other, "a")] {
            store.change_delivery(of, id, 5, |_| Ok((Some(kept("{}", None)), ()))).unwrap();
        }
        store.note_delivered(&of, "a", 3, "", 10).unwrap();
        store.note_delivered(&of, "b", 3, "", 10 + DAY_MS).unwrap();
        store.note_delivered(&other, "a", 3, "", 10).unwrap();
        assert_eq!(ids(store, &of, 3, 20), Vec::<String>::new());
        assert_eq!(ids(store, &of, 4, 10 + KEPT_MS), ["a", "b"], "the backup may be from before it");
        assert_eq!(ids(store, &of, 4, 11 + KEPT_MS), ["b"]);
        store.note_delivered(&of, "b", 4, "", 11 + DAY_MS).unwrap();
        assert_eq!(ids(store, &of, 4, 12 + DAY_MS), ["a"]);
        assert_eq!(store.forget_deliveries("again", 10 + KEPT_MS).unwrap(), 0);
        assert_eq!(store.forget_deliveries("again", 11 + KEPT_MS).unwrap(), 1);
        assert_eq!((store.progress(&of, "a").unwrap(), store.progress(&of, "b").unwrap().is_some()), (None, true));
        assert!(store.progress(&other, "a").unwrap().is_some(), "another tenant's");
    }

    fn erases_a_caller<S: Store + Deliveries>(store: &S) {
        let (of, other) = (name("erased", "1"), name("others", "2"));
        let add = |of: &BoxName, id: &str, body: &str, due_at: Option<i64>| {
            store.change_delivery(of, id, 5, |_| Ok((Some(kept(body, due_at)), ()))).unwrap();
        };
        const TEXT: &str = r#"{"kind":"text","sender":"+12125550142"}"#;
        add(&of, "text", TEXT, None);
        add(&of, "had", TEXT, None);
        store.note_delivered(&of, "had", 1, "thank you", 6).unwrap();
        add(&of, "call", r#"{"kind":"call","caller":"+12125550142"}"#, Some(10));
        add(&of, "withheld", r#"{"kind":"call","caller":null,"called":"+12125550142"}"#, None);
        add(&of, "another", r#"{"kind":"text","sender":"+121255501420","body":"+12125550142"}"#, Some(10));
        add(&other, "text", TEXT, None);
        assert_eq!(store.erase_deliveries("erased", "+12125550142").unwrap(), 3);
        assert_eq!(store.erase_deliveries("erased", "+12125550142").unwrap(), 0);
        let is_there = |of: &BoxName, id: &str| store.progress(of, id).unwrap().is_some();
        assert_eq!(
            ["text", "had", "call", "withheld", "another"].map(|id| is_there(&of, id)),
            [false, false, false, true, true]
        );
        assert!(is_there(&other, "text"), "another tenant's");
        let due = || store.take_due(20, 30).unwrap().filter(|(name, _)| *name == of).map(|(_, id)| id);
        assert_eq!((due(), due()), (Some("another".to_owned()), None), "nobody looks for what is gone");
    }
}
