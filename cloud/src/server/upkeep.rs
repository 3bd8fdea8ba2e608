//! What a service does without being asked: it looks for news of its boxes, carries rollouts on, and notices boxes that have
//! fallen silent. Every instance does all of it; what must be done once is decided in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use crate::clock;
use crate::fleet::{Wish, box_documents, change_box, change_rollout, rollouts};
use crate::store::{AnyStore, BoxName, Store as _, StoreError};

/// Boxes with something new.
pub(super) type News = Arc<BTreeSet<BoxName>>;

/// How soon a box that is connected hears of a wish, at most.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// How far the clocks of instances may be apart, in milliseconds.
const CLOCKS_APART_MS: i64 = 30_000;
const ROLLOUTS_EVERY: Duration = Duration::from_secs(5);
const SILENCE_EVERY: Duration = Duration::from_secs(30);
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

/// A box that fell silent, or came back.
struct Change {
    name: BoxName,
    heard_at: i64,
    back: bool,
}

pub(super) async fn run(shared: Arc<Shared>, alarm: Alarm, mut stopping: watch::Receiver<bool>) {
    let begin = Instant::now();
    let (mut rollouts_at, mut silence_at) = (begin, begin);
    let mut known = BTreeMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(NEWS_EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        look_for_news(&shared, &mut known).await;
        let now = Instant::now();
        if rollouts_at <= now {
            rollouts_at = now + ROLLOUTS_EVERY;
            told("Rollouts", shared.ask(carry_on).await);
        }
        if silence_at <= now {
            silence_at = now + SILENCE_EVERY;
            let limit = i64::try_from(alarm.silent.as_millis()).unwrap_or(i64::MAX);
            if let Some((silent, changes)) = told("Silent boxes", shared.ask(move |store| listen(store, limit)).await) {
                shared.metrics.silent(silent);
                for change in changes {
                    say(&alarm, &change);
                }
            }
        }
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

/// Tells streams of what is new since the last look. The stretch that is looked at is longer than the time between two looks,
/// because another instance's clock says when it was.
async fn look_for_news(shared: &Shared, known: &mut BTreeMap<BoxName, i64>) {
    let after = clock::unix_ms() - CLOCKS_APART_MS;
    let Some(found) = told("News", shared.ask(move |store| store.news(after)).await) else { return };
    let new: BTreeSet<BoxName> =
        found.iter().filter(|(name, at)| known.get(name) != Some(at)).map(|(name, _)| name.clone()).collect();
    *known = found.into_iter().collect();
    if !new.is_empty() {
        // Nobody may be connected.
        let _ = shared.news.send(Arc::new(new));
    }
}

/// Does what is due of every rollout. A box that was given its version twice, because two instances were at it or one died in
/// between, has it once: the same wish is the same version.
fn carry_on(store: &AnyStore) -> Result<(), StoreError> {
    let now = clock::unix_ms();
    for tenant_id in store.tenants()? {
        let running = rollouts(store, &tenant_id)?.into_iter().filter(|(_, rollout)| rollout.is_running());
        for (id, before) in running {
            let documents = box_documents(store, &tenant_id)?;
            let mut given = BTreeMap::new();
            if let Ok(wish) = Wish::new(before.sections.clone()) {
                let mut plan = before.clone();
                for box_id in plan.step(&documents, now) {
                    let of = BoxName { tenant_id: tenant_id.clone(), box_id };
                    let by = format!("rollout {id}");
                    let version = change_box(store, &of, now, |document| document.wish(&wish, &by, now))?;
                    given.insert(of.box_id, version);
                }
            }
            let after = change_rollout(store, &tenant_id, &id, now, |rollout| {
                rollout.step(&documents, now);
                for (box_id, version) in &given {
                    rollout.given(box_id, *version);
                }
                rollout.clone()
            })?;
            if after.state != before.state || after.stage != before.stage {
                tracing::info!(tenant_id, id, stage = after.stage, state = ?after.state, "Rollout");
            }
        }
    }
    Ok(())
}

/// How many boxes are silent, and which have become so or are back since somebody last looked.
fn listen(store: &AnyStore, limit_ms: i64) -> Result<(usize, Vec<Change>), StoreError> {
    let now = clock::unix_ms();
    let (mut silent, mut changes) = (0, Vec::new());
    for tenant_id in store.tenants()? {
        let documents = box_documents(store, &tenant_id)?;
        for record in store.boxes(&tenant_id)? {
            let Some(heard_at) = record.heard_at else { continue };
            let is_silent = record.revoked_at.is_none() && now.saturating_sub(heard_at) > limit_ms;
            silent += usize::from(is_silent);
            let noted = documents.get(&record.name.box_id).and_then(|document| document.silent_since).is_some();
            if is_silent == noted {
                continue;
            }
            // Of several instances one changes it, and that one says it.
            let changed = change_box(store, &record.name, now, |document| {
                let changed = document.silent_since.is_some() != is_silent;
                document.silent_since = is_silent.then_some(heard_at);
                changed
            })?;
            if changed {
                changes.push(Change { name: record.name, heard_at, back: !is_silent });
            }
        }
    }
    Ok((silent, changes))
}

fn say(alarm: &Alarm, change: &Change) {
    let Change { name, heard_at, back } = change;
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
    use crate::fleet::{Rollout, rollout};
    use crate::store::{Claim, Heard, Sqlite};

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
    fn a_box_that_falls_silent_is_said_once_and_once_more_when_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let now = clock::unix_ms();
        store.note_heard(&name("here"), Heard::Alive, now).unwrap();
        store.note_heard(&name("gone"), Heard::Alive, now - 600_000).unwrap();
        let said = |limit_ms| {
            let (silent, changes) = listen(&store, limit_ms).unwrap();
            let changes: Vec<_> = changes.into_iter().map(|change| (change.name.box_id, change.back)).collect();
            (silent, changes)
        };
        assert_eq!(said(660_000), (0, vec![]));
        assert_eq!(said(540_000), (1, vec![("gone".to_owned(), false)]));
        assert_eq!(said(540_000), (1, vec![]), "also by another instance");
        store.note_heard(&name("gone"), Heard::Alive, now).unwrap();
        assert_eq!(said(540_000), (0, vec![("gone".to_owned(), true)]));
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
        let versions = || {
            carry_on(&store).unwrap();
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
    }
}
