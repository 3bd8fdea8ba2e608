//! What a service does without being asked: it passes news on to its streams, carries rollouts on, notices boxes that have
//! fallen silent, and forgets rows that have been gone for long. Every instance does all of it; what must be done once is decided in the store, which is only asked for what
//! has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use crate::clock;
use crate::fleet::{BoxDocument, Rollout, Wish, change_boxes, change_rollout, rollout_document, some_box_documents};
use crate::memory;
use crate::store::forgetting::Forgetting as _;
use crate::store::{
    AnyStore, BoxName, DocumentKind, Listener, Ring, Silence, SilenceChange, Store as _, StoreError, Upkeep as _,
};

/// How far the clocks of instances may be apart, and how long a change may take to be committed. Milliseconds.
const CLOCKS_APART_MS: i64 = 30_000;
const ROLLOUTS_EVERY: Duration = Duration::from_secs(1);
/// Boxes whose documents are read, or given a rollout's configuration, in one transaction: they are in memory meanwhile.
const AT_ONCE: usize = 64;
/// How often it is looked at all documents of a rollout, in case one was missed. Milliseconds.
const LOOK_AT_ALL_EVERY_MS: i64 = 600_000;
const SILENCE_EVERY: Duration = Duration::from_secs(30);
const FORGETS_EVERY: Duration = Duration::from_secs(3_600);
/// Rows that are forgotten in one transaction: their box waits for it.
const FORGOTTEN_AT_ONCE: u32 = 1_000;
/// For whoever is told of an alarm to take it.
const ALARM_LIMIT: Duration = Duration::from_secs(10);
const ALARM_TRIES: u32 = 3;

/// When a box's silence is an alarm, and who is told.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// How long a box may say nothing.
    pub silent: Duration,
    /// Address that gets a POST with JSON when a box falls silent and when it is back; a secret.
    pub webhook: Option<String>,
}

/// Tells streams of what is new: what rings at once, and what did not ring with the next look.
pub(super) async fn follow_news(shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let Listener { mut rings, look_every } = shared.store.listen();
    let mut known = BTreeMap::new();
    let mut look_at = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(look_at) => {}
            Some(ring) = rings.recv() => match ring {
                Ring::Box(name, changed_at) => {
                    shared.bells.ring(&name);
                    known.insert(name, changed_at);
                    continue;
                }
                Ring::Missed => {}
            },
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        look_for_news(&shared, &mut known).await;
        look_at = Instant::now() + look_every;
    }
}

/// Tells streams of what is new since the last look. The stretch that is looked at is longer than the time between two looks,
/// because another instance's clock says when it was.
async fn look_for_news(shared: &Shared, known: &mut BTreeMap<BoxName, i64>) {
    let after = clock::unix_ms() - CLOCKS_APART_MS;
    let Some(found) = told("News", shared.ask(move |store| store.news(after)).await) else { return };
    for (name, _) in found.iter().filter(|(name, at)| known.get(name) != Some(at)) {
        shared.bells.ring(name);
    }
    *known = found.into_iter().collect();
}

pub(super) async fn run(shared: Arc<Shared>, alarm: Alarm, mut stopping: watch::Receiver<bool>) {
    let begin = Instant::now();
    let (mut rollouts_at, mut silence_at) = (begin, begin);
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(rollouts_at.min(silence_at)) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let now = Instant::now();
        if rollouts_at <= now {
            rollouts_at = now + ROLLOUTS_EVERY;
            let mut looking = std::mem::take(&mut seen);
            let looked = shared.ask(move |store| {
                let carried_on = carry_on(store, &mut looking, clock::unix_ms());
                carried_on.map(|()| looking)
            });
            // After an error everything is looked at anew.
            seen = told("Rollouts", looked.await).unwrap_or_default();
        }
        if silence_at <= now {
            silence_at = now + SILENCE_EVERY;
            let limit = i64::try_from(alarm.silent.as_millis()).unwrap_or(i64::MAX);
            let before = clock::unix_ms().saturating_sub(limit);
            // Of streams that have ended, and of whatever was large for a moment. Not in a turn at the store.
            tokio::task::spawn_blocking(memory::give_back);
            let silence = shared.ask(move |store| store.note_silence(before)).await;
            if let Some(Silence { silent, changes }) = told("Silent boxes", silence) {
                shared.metrics.silent(silent);
                for change in changes {
                    say(&alarm, &change);
                }
            }
        }
    }
}

/// What is left of rows that are gone goes in its time.
pub(super) async fn forget(shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(FORGETS_EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let tenants = told("Tenants", shared.ask(|store| store.tenants()).await).unwrap_or_default();
        for tenant in tenants {
            let boxes = told("Boxes", shared.ask(move |store| store.boxes(&tenant)).await).unwrap_or_default();
            for record in boxes {
                if *shared.stopping.borrow() {
                    return;
                }
                forget_of(&shared, record.name).await;
            }
        }
    }
}

async fn forget_of(shared: &Shared, of: BoxName) {
    let mut rows = 0;
    loop {
        let name = of.clone();
        let forgotten = shared.ask(move |store| store.forget_gone(&name, clock::unix_ms(), FORGOTTEN_AT_ONCE)).await;
        let forgotten = told("Rows that are gone", forgotten).unwrap_or_default();
        rows += forgotten;
        if forgotten < FORGOTTEN_AT_ONCE {
            break;
        }
    }
    if rows > 0 {
        tracing::info!(%of, rows, "Rows that were gone for long are forgotten");
    }
}

/// What came of it; an error is said.
fn told<T>(what: &str, done: Option<Result<T, StoreError>>) -> Option<T> {
    match done? {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::warn!(%error, "{what}: the store cannot, later again");
            None
        }
    }
}

/// What rollouts have to know of boxes, as far as they have read it: each document once for each change of it.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, SeenOfTenant>);

#[derive(Debug, Default)]
struct SeenOfTenant {
    looked_at: i64,
    all_looked_at: i64,
    changed_at: BTreeMap<String, i64>,
    /// Without what is not about the latest configuration, and without its sections.
    documents: BTreeMap<String, BoxDocument>,
}

impl SeenOfTenant {
    /// Reads what has changed of these boxes; gives how many documents that were.
    fn look(
        &mut self,
        store: &AnyStore,
        tenant_id: &str,
        boxes: &BTreeSet<&String>,
        now: i64,
    ) -> Result<usize, StoreError> {
        let all = boxes.iter().any(|name| !self.changed_at.contains_key(*name))
            || now.saturating_sub(self.all_looked_at) >= LOOK_AT_ALL_EVERY_MS;
        let after = if all { i64::MIN } else { self.looked_at.saturating_sub(CLOCKS_APART_MS) };
        let changed = store.changed_documents(tenant_id, DocumentKind::Box, after)?;
        let is_new = |name: &String, at: &i64| boxes.contains(name) && self.changed_at.get(name) != Some(at);
        let changed: Vec<_> = changed.into_iter().filter(|(name, at)| is_new(name, at)).collect();
        for some in changed.chunks(AT_ONCE) {
            let names: Vec<&str> = some.iter().map(|(name, _)| name.as_str()).collect();
            for (document, (box_id, changed_at)) in some_box_documents(store, tenant_id, &names)?.into_iter().zip(some)
            {
                let mut document = document?;
                document.history.clear();
                document.commands.clear();
                if let Some(desired) = &mut document.desired {
                    desired.sections.clear();
                }
                self.changed_at.insert(box_id.clone(), *changed_at);
                self.documents.insert(box_id.clone(), document);
            }
        }
        for name in boxes {
            // It has no document yet, and is found once it has changed.
            self.changed_at.entry((*name).clone()).or_insert(i64::MIN);
        }
        self.looked_at = now;
        if all {
            self.all_looked_at = now;
        }
        Ok(changed.len())
    }
}

/// Does what is due of every rollout that goes on.
fn carry_on(store: &AnyStore, seen: &mut Seen, now: i64) -> Result<(), StoreError> {
    let mut running: BTreeMap<String, Vec<(String, Rollout)>> = BTreeMap::new();
    for (tenant_id, id) in store.running_rollouts()? {
        let rollout = rollout_document(store, &tenant_id, &id)?;
        running.entry(tenant_id).or_default().push((id, rollout));
    }
    seen.0.retain(|tenant_id, _| running.contains_key(tenant_id));
    for (tenant_id, rollouts) in running {
        let boxes = rollouts.iter().flat_map(|(_, rollout)| &rollout.boxes).collect();
        let seen = seen.0.entry(tenant_id.clone()).or_default();
        seen.look(store, &tenant_id, &boxes, now)?;
        for (id, rollout) in &rollouts {
            carry_on_one(store, (&tenant_id, id), rollout, &seen.documents, now)?;
        }
    }
    Ok(())
}

/// A box that was given its version twice, because two instances were at it or one died in between, has it once: the same wish
/// is the same version.
fn carry_on_one(
    store: &AnyStore,
    (tenant_id, id): (&String, &String),
    before: &Rollout,
    documents: &BTreeMap<String, BoxDocument>,
    now: i64,
) -> Result<(), StoreError> {
    let mut plan = before.clone();
    let due = plan.step(documents, now);
    let mut given = BTreeMap::new();
    if let Ok(wish) = Wish::new(before.sections.clone()) {
        let by = format!("rollout {id}");
        for some in due.chunks(AT_ONCE) {
            let some: BTreeSet<String> = some.iter().cloned().collect();
            let versions = change_boxes(store, tenant_id, &some, now, |_, document| document.wish(&wish, &by, now))?;
            given.extend(some.into_iter().zip(versions));
        }
    }
    if given.is_empty() && plan == *before {
        return Ok(());
    }
    let after = change_rollout(store, tenant_id, id, now, |rollout| {
        rollout.step(documents, now);
        for (box_id, version) in &given {
            rollout.given(box_id, *version);
        }
        rollout.clone()
    })?;
    if after.state != before.state || after.stage != before.stage {
        tracing::info!(tenant_id, id, stage = after.stage, state = ?after.state, "Rollout");
    }
    Ok(())
}

fn say(alarm: &Alarm, change: &SilenceChange) {
    let SilenceChange { name, heard_at, back } = change;
    let minutes = clock::unix_ms().saturating_sub(*heard_at) / 60_000;
    if *back {
        tracing::info!(%name, "A box that was silent is back");
    } else {
        tracing::error!(%name, minutes, "A box is silent");
    }
    let Some(webhook) = alarm.webhook.clone() else { return };
    let event = if *back { "box_back" } else { "box_silent" };
    let body = json!({ "event": event, "tenant": name.tenant_id, "box": name.box_id, "heard_at": heard_at });
    tokio::spawn(async move {
        for attempt in 1..=ALARM_TRIES {
            match post(&webhook, &body).await {
                Ok(()) => return,
                // Its address is a secret, and stands in the error.
                Err(error) => tracing::warn!(attempt, error = %error.without_url(), "The alarm was not delivered"),
            }
            tokio::time::sleep(ALARM_LIMIT).await;
        }
    });
}

async fn post(webhook: &str, body: &serde_json::Value) -> Result<(), reqwest::Error> {
    let client = reqwest::Client::builder().timeout(ALARM_LIMIT).build()?;
    client.post(webhook).json(body).send().await?.error_for_status()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{box_documents, change_box, rollout, rollouts};
    use crate::store::{Claim, Sqlite};

    fn store(folder: &tempfile::TempDir) -> AnyStore {
        let store = Sqlite::open(&folder.path().join("cloud.db")).unwrap();
        let claim = Claim { code_sha256: [1; 32], tenant_id: "bakery".to_owned(), expires_at: i64::MAX };
        store.add_claim(&claim).unwrap();
        AnyStore::Sqlite(store)
    }

    fn name(box_id: &str) -> BoxName {
        BoxName { tenant_id: "bakery".to_owned(), box_id: box_id.to_owned() }
    }

    #[test]
    fn a_rollout_gives_each_cohort_its_version_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let begun = Rollout {
            sections: BTreeMap::from([("office".to_owned(), "[office]\nname = 'A'".to_owned())]),
            boxes: vec!["1".to_owned(), "2".to_owned()],
            cohorts: vec![50, 100],
            limit_ms: i64::MAX,
            stage_at: clock::unix_ms(),
            ..Rollout::default()
        };
        change_rollout(&store, "bakery", "r", 1, |rollout| *rollout = begun.clone()).unwrap();
        let mut seen = Seen::default();
        let mut versions = || {
            carry_on(&store, &mut seen, clock::unix_ms()).unwrap();
            let documents = box_documents(&store, "bakery").unwrap();
            let version =
                |document: &crate::fleet::BoxDocument| document.desired.as_ref().map(|desired| desired.version);
            documents.iter().map(|(name, document)| (name.clone(), version(document))).collect::<Vec<_>>()
        };
        assert_eq!(versions(), [("1".to_owned(), Some(1))]);
        assert_eq!(versions(), [("1".to_owned(), Some(1))]);
        let applied = cloud_api::v1::Reported {
            version: 1,
            applied: true,
            detail: String::new(),
            state: cloud_api::v1::reported::State::Applied.into(),
        };
        change_box(&store, &name("1"), 5, |document| document.take_report(&applied, 5)).unwrap();
        assert_eq!(versions(), [("1".to_owned(), Some(1)), ("2".to_owned(), Some(1))]);
        change_box(&store, &name("2"), 6, |document| document.take_report(&applied, 6)).unwrap();
        versions();
        let rollout = rollouts(&store, "bakery").unwrap().remove("r").unwrap();
        assert!(matches!(rollout.state, rollout::State::Done { .. }), "{rollout:?}");
        assert_eq!(store.running_rollouts().unwrap(), [], "it is not looked at any more");
        carry_on(&store, &mut seen, clock::unix_ms()).unwrap();
        assert!(seen.0.is_empty());
    }

    /// Thousands of boxes with large configurations: each is read when it has changed, and not every few seconds.
    #[test]
    fn documents_are_read_once_for_each_change() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let wish = Wish::new(BTreeMap::from([("knowledge/a".to_owned(), "text".to_owned())])).unwrap();
        let change = |box_id: &str, now: i64| {
            change_box(&store, &name(box_id), now, |document| document.wish(&wish, "anna", now)).unwrap();
        };
        let (boxes, mut seen) = (["1", "2", "3"].map(str::to_owned), SeenOfTenant::default());
        let mut read = |now: i64| seen.look(&store, "bakery", &boxes.iter().collect(), now).unwrap();
        const MINUTE: i64 = 60_000;
        change("1", 5 * MINUTE);
        change("2", 5 * MINUTE);
        change("another", 5 * MINUTE);
        assert_eq!((read(6 * MINUTE), read(6 * MINUTE + 1), read(7 * MINUTE)), (2, 0, 0));
        change("3", 7 * MINUTE - CLOCKS_APART_MS + 1);
        assert_eq!((read(7 * MINUTE + 2), read(8 * MINUTE)), (1, 0), "by a clock that is late");
        let other = Wish::new(BTreeMap::from([("knowledge/a".to_owned(), "other".to_owned())])).unwrap();
        change_box(&store, &name("1"), 7 * MINUTE, |document| document.wish(&other, "anna", 1)).unwrap();
        assert_eq!(read(9 * MINUTE), 0, "by a clock that is too late");
        assert_eq!(read(6 * MINUTE + LOOK_AT_ALL_EVERY_MS), 1, "is found all the same");
        let desired = seen.documents["1"].desired.as_ref().unwrap();
        assert_eq!((desired.version, desired.sections.len()), (2, 0));
    }
}
