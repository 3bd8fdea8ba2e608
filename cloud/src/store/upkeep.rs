//! What upkeep asks a store: questions over all tenants whose answers are what has changed, however much there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::params;
use tokio::sync::mpsc;

use super::bell::{self, Listener};
use super::sqlite;
use super::{AnyStore, BoxName, Change, DocumentKind, Place, Postgres, Sqlite, Store, StoreError};

/// How often it is looked for news in a file: another process, e.g. the command line, rings no bell here. Milliseconds.
const LOOK_AT_FILE_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for news in a server that rings: between the two there may be somebody who does not pass it on.
const LOOK_AT_SERVER_EVERY: Duration = Duration::from_secs(3);

/// A box that fell silent, or is heard again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SilenceChange {
    /// Which.
    pub name: BoxName,
    /// When it was last heard, in milliseconds since 1970.
    pub heard_at: i64,
    /// Whether it is heard again.
    pub back: bool,
}

/// Which boxes are silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// How many.
    pub silent: usize,
    /// Which have become so or are back since somebody last asked.
    pub changes: Vec<SilenceChange>,
}

/// A store that is looked after.
pub trait Upkeep: Store {
    /// Notes which boxes were last heard before this time, in milliseconds since 1970, and says each change once, to whoever
    /// asks first. A box that is revoked is not silent any more, and nothing is said of it.
    ///
    /// # Errors
    /// Of the store; then nothing was noted.
    fn note_silence(&self, before: i64) -> Result<Silence, StoreError>;

    /// The rollouts of all tenants that go on by themselves: tenant and id, in order.
    ///
    /// # Errors
    /// Of the store.
    fn running_rollouts(&self) -> Result<Vec<(String, String)>, StoreError>;

    /// Documents of a kind that have changed after this time, and when: two changes of one are never of the same time.
    ///
    /// # Errors
    /// Of the store.
    fn changed_documents(
        &self,
        tenant_id: &str,
        kind: DocumentKind,
        after: i64,
    ) -> Result<Vec<(String, i64)>, StoreError>;

    /// As [`change_document`](Store::change_document), for the documents of several boxes in one transaction: a commit takes
    /// as long for many. `work` is given the box, too. The answers come in the order of the boxes.
    ///
    /// # Errors
    /// Of the store, or what `work` returns; then nothing was changed.
    fn change_boxes<T>(
        &self,
        tenant_id: &str,
        box_ids: &BTreeSet<String>,
        now: i64,
        work: impl FnMut(&str, Option<&str>) -> Result<Change<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError>;

    /// Begins to listen for news of boxes.
    fn listen(&self) -> Listener;
}

// Whoever was noted meanwhile by another instance does not fit any more when its lock is given.
const FALLEN_SILENT: &str = "UPDATE enrolled SET silent_since = heard_at
    WHERE silent_since IS NULL AND revoked_at IS NULL AND heard_at < $1 RETURNING tenant_id, box_id, heard_at";
const BACK: &str = "UPDATE enrolled SET silent_since = NULL
    WHERE silent_since IS NOT NULL AND (revoked_at IS NOT NULL OR heard_at >= $1)
    RETURNING tenant_id, box_id, heard_at, revoked_at IS NULL";
const SILENT: &str = "SELECT count(*) FROM enrolled WHERE silent_since IS NOT NULL";
const RUNNING: &str = "SELECT tenant_id, rollout_id FROM running ORDER BY 1, 2";
const CHANGED: &str = "SELECT name, changed_at FROM documents
    WHERE tenant_id = $1 AND kind = $2 AND changed_at > $3 ORDER BY name";

const LOCK_ALL: &str = "SELECT pg_advisory_xact_lock(lock) FROM (
    SELECT DISTINCT hashtextextended(place, 0) AS lock FROM unnest($1::text[]) AS place ORDER BY 1) AS locks";
const WRITE_ALL: &str = "INSERT INTO documents (tenant_id, kind, name, body, changed_at)
    SELECT $1, $2, name, body, $5::bigint FROM unnest($3::text[], $4::text[]) AS changed (name, body)
    ON CONFLICT (tenant_id, kind, name) DO UPDATE SET body = excluded.body,
        changed_at = greatest(excluded.changed_at, documents.changed_at + 1)";
const NEWS_OF_ALL: &str = "INSERT INTO news (tenant_id, box_id, changed_at)
    SELECT $1, box_id, $3::bigint FROM unnest($2::text[]) AS box_id
    ON CONFLICT (tenant_id, box_id) DO UPDATE
    SET changed_at = greatest(excluded.changed_at, news.changed_at + 1) RETURNING box_id, changed_at";

/// Whoever has to hear of a document is told with its commit, in PostgreSQL.
pub(super) fn note_news(
    sql_tx: &mut ::postgres::Transaction<'_>,
    place: &Place<'_>,
    news: bool,
    now: i64,
) -> Result<(), StoreError> {
    let Place { tenant_id, kind, name } = place;
    if *kind == DocumentKind::Box && news {
        let sql = "INSERT INTO news (tenant_id, box_id, changed_at) VALUES ($1, $2, $3)
            ON CONFLICT (tenant_id, box_id) DO UPDATE
            SET changed_at = greatest(excluded.changed_at, news.changed_at + 1) RETURNING changed_at";
        let changed_at = sql_tx.query_one(sql, &[tenant_id, name, &now])?.get(0);
        sql_tx.execute(bell::NOTIFY, &[&bell::payload(tenant_id, name, changed_at)])?;
    } else if *kind == DocumentKind::Rollout {
        let sql = if news {
            "INSERT INTO running (tenant_id, rollout_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM running WHERE tenant_id = $1 AND rollout_id = $2"
        };
        sql_tx.execute(sql, &[tenant_id, name])?;
    }
    Ok(())
}

impl Upkeep for Postgres {
    fn note_silence(&self, before: i64) -> Result<Silence, StoreError> {
        self.with(|connection| {
            let mut sql_tx = connection.transaction_over_all()?;
            let name = |row: &::postgres::Row| BoxName { tenant_id: row.get(0), box_id: row.get(1) };
            let change = |row: &::postgres::Row, back| SilenceChange { name: name(row), heard_at: row.get(2), back };
            let fallen = sql_tx.query(FALLEN_SILENT, &[&before])?;
            let mut changes: Vec<_> = fallen.iter().map(|row| change(row, false)).collect();
            let back = sql_tx.query(BACK, &[&before])?;
            changes.extend(back.iter().filter(|row| row.get(3)).map(|row| change(row, true)));
            let silent: i64 = sql_tx.query_one(SILENT, &[])?.get(0);
            sql_tx.commit()?;
            Ok(Silence { silent: usize::try_from(silent).unwrap_or_default(), changes })
        })
    }

    fn running_rollouts(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.with(|connection| {
            let rows = connection.client().query(RUNNING, &[])?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    fn changed_documents(
        &self,
        tenant_id: &str,
        kind: DocumentKind,
        after: i64,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            let rows = sql_tx.query(CHANGED, &[&tenant_id, &kind.as_str(), &after])?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    fn change_boxes<T>(
        &self,
        tenant_id: &str,
        box_ids: &BTreeSet<String>,
        now: i64,
        mut work: impl FnMut(&str, Option<&str>) -> Result<Change<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let kind = DocumentKind::Box.as_str();
        let names: Vec<&String> = box_ids.iter().collect();
        // Those of `change_document`, in one order for everybody.
        let locks: Vec<String> = box_ids.iter().map(|name| format!("{tenant_id}/{kind}/{name}")).collect();
        self.with(|connection| {
            let (mut sql_tx, _) = connection.writing(tenant_id, None)?;
            sql_tx.execute(LOCK_ALL, &[&locks])?;
            let read = "SELECT name, body FROM documents WHERE tenant_id = $1 AND kind = $2 AND name = ANY($3)";
            let before: BTreeMap<String, String> =
                sql_tx.query(read, &[&tenant_id, &kind, &names])?.iter().map(|row| (row.get(0), row.get(1))).collect();
            let (mut answers, mut changed, mut bodies, mut news) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for name in &names {
                let change = work(name, before.get(*name).map(String::as_str))?;
                if let Some(body) = change.body {
                    changed.push(*name);
                    bodies.push(body);
                }
                if change.news {
                    news.push(*name);
                }
                answers.push(change.answer);
            }
            sql_tx.execute(WRITE_ALL, &[&tenant_id, &kind, &changed, &bodies, &now])?;
            let rung = sql_tx.query(NEWS_OF_ALL, &[&tenant_id, &news, &now])?;
            let payloads: Vec<String> =
                rung.iter().map(|row| bell::payload(tenant_id, row.get(0), row.get(1))).collect();
            sql_tx.execute(
                "SELECT pg_notify('offhook_news', payload) FROM unnest($1::text[]) AS payload",
                &[&payloads],
            )?;
            sql_tx.commit()?;
            Ok(answers)
        })
    }

    fn listen(&self) -> Listener {
        let (sender, rings) = mpsc::channel(bell::RINGS);
        let server = self.server();
        std::thread::spawn(move || bell::follow(&server, &sender));
        Listener { rings, look_every: LOOK_AT_SERVER_EVERY }
    }
}

impl Upkeep for Sqlite {
    fn note_silence(&self, before: i64) -> Result<Silence, StoreError> {
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let change = |row: &rusqlite::Row<'_>, back| -> rusqlite::Result<SilenceChange> {
            let name = BoxName { tenant_id: row.get(0)?, box_id: row.get(1)? };
            Ok(SilenceChange { name, heard_at: row.get(2)?, back })
        };
        let mut changes = Vec::new();
        {
            let mut fallen = sql_tx.prepare_cached(FALLEN_SILENT)?;
            let mut rows = fallen.query([before])?;
            while let Some(row) = rows.next()? {
                changes.push(change(row, false)?);
            }
            let mut back = sql_tx.prepare_cached(BACK)?;
            let mut rows = back.query([before])?;
            while let Some(row) = rows.next()? {
                if row.get(3)? {
                    changes.push(change(row, true)?);
                }
            }
        }
        let silent: i64 = sql_tx.query_row(SILENT, [], |row| row.get(0))?;
        sql_tx.commit()?;
        Ok(Silence { silent: usize::try_from(silent).unwrap_or_default(), changes })
    }

    fn running_rollouts(&self) -> Result<Vec<(String, String)>, StoreError> {
        let db = self.lock();
        let mut statement = db.prepare_cached(RUNNING)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn changed_documents(
        &self,
        tenant_id: &str,
        kind: DocumentKind,
        after: i64,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        let db = self.lock();
        let mut statement = db.prepare_cached(CHANGED)?;
        let rows =
            statement.query_map(params![tenant_id, kind.as_str(), after], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn change_boxes<T>(
        &self,
        tenant_id: &str,
        box_ids: &BTreeSet<String>,
        now: i64,
        mut work: impl FnMut(&str, Option<&str>) -> Result<Change<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rings = Vec::new();
        let answers = self.write(tenant_id, |sql_tx| {
            let mut answers = Vec::new();
            for name in box_ids {
                let place = Place { tenant_id, kind: DocumentKind::Box, name };
                let (answer, rung) = sqlite::change(sql_tx, &place, now, |before| work(name, before))?;
                answers.push(answer);
                rings.extend(rung);
            }
            Ok(answers)
        })?;
        for (name, changed_at) in rings {
            self.bell().ring(&name, changed_at);
        }
        Ok(answers)
    }

    fn listen(&self) -> Listener {
        Listener { rings: self.bell().hang(), look_every: LOOK_AT_FILE_EVERY }
    }
}

impl Upkeep for AnyStore {
    fn note_silence(&self, before: i64) -> Result<Silence, StoreError> {
        match self {
            AnyStore::Sqlite(store) => store.note_silence(before),
            AnyStore::Postgres(store) => store.note_silence(before),
        }
    }

    fn running_rollouts(&self) -> Result<Vec<(String, String)>, StoreError> {
        match self {
            AnyStore::Sqlite(store) => store.running_rollouts(),
            AnyStore::Postgres(store) => store.running_rollouts(),
        }
    }

    fn changed_documents(
        &self,
        tenant_id: &str,
        kind: DocumentKind,
        after: i64,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        match self {
            AnyStore::Sqlite(store) => store.changed_documents(tenant_id, kind, after),
            AnyStore::Postgres(store) => store.changed_documents(tenant_id, kind, after),
        }
    }

    fn change_boxes<T>(
        &self,
        tenant_id: &str,
        box_ids: &BTreeSet<String>,
        now: i64,
        work: impl FnMut(&str, Option<&str>) -> Result<Change<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        match self {
            AnyStore::Sqlite(store) => store.change_boxes(tenant_id, box_ids, now, work),
            AnyStore::Postgres(store) => store.change_boxes(tenant_id, box_ids, now, work),
        }
    }

    fn listen(&self) -> Listener {
        match self {
            AnyStore::Sqlite(store) => store.listen(),
            AnyStore::Postgres(store) => store.listen(),
        }
    }
}

/// What an earlier release has left, for both kinds of SQL: box 1 is silent and says so in its document.
#[cfg(test)]
pub(super) const BEFORE_UPKEEP: &str = r#"
    INSERT INTO enrolled (tenant_id, box_id, enrolled_at, release, heard_at) VALUES ('bakery', '1', 1, '', 5);
    INSERT INTO enrolled (tenant_id, box_id, enrolled_at, release, heard_at) VALUES ('bakery', '2', 1, '', 7);
    INSERT INTO documents VALUES ('bakery', 'box', '1', '{"silent_since":5}', 1);
    INSERT INTO documents VALUES ('bakery', 'box', '2', '{"silent_since":null}', 1);
    INSERT INTO documents VALUES ('bakery', 'rollout', 'on', '{"state":{"state":"running"}}', 1);
    INSERT INTO documents VALUES ('bakery', 'rollout', 'over', '{"state":{"state":"done","at":1}}', 1);"#;

/// Checks a store: the same for each.
#[cfg(test)]
pub(super) fn check_upkeep<S: Upkeep>(store: &S) {
    says_silence_once(store);
    finds_what_runs_and_what_has_changed(store);
    changes_many_boxes_at_once(store);
}

#[cfg(test)]
fn changes_many_boxes_at_once<S: Upkeep>(store: &S) {
    let boxes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let document = |name: &str| {
        let place = Place { tenant_id: "many", kind: DocumentKind::Box, name };
        store.document(&place).unwrap()
    };
    let add = |name: &str, before: Option<&str>| {
        let body = format!("[{},{name}]", before.unwrap_or("0"));
        // One of them has nothing new, and hears nothing.
        Ok(Change { body: (name != "3").then_some(body), news: name != "3", answer: name.len() })
    };
    let answers = store.change_boxes("many", &boxes(&["1", "3", "22"]), 50, add).unwrap();
    assert_eq!(answers, [1, 2, 1], "in the order of 1, 22 and 3");
    store.change_boxes("many", &boxes(&["1"]), 50, add).unwrap();
    let failed = store.change_boxes("many", &boxes(&["1", "22"]), 60, |name, before| {
        if name == "22" { Err(StoreError::DiskFull) } else { add(name, before) }
    });
    assert!(matches!(failed, Err(StoreError::DiskFull)));
    let documents = ["1", "22", "3"].map(document);
    assert_eq!(documents, [Some("[[0,1],1]".to_owned()), Some("[0,22]".to_owned()), None], "all or nothing");
    let news = store.news(0).unwrap().into_iter().filter(|(name, _)| name.tenant_id == "many");
    let mut news: Vec<_> = news.map(|(name, at)| (name.box_id, at)).collect();
    news.sort();
    assert_eq!(news, [("1".to_owned(), 51), ("22".to_owned(), 50)]);
    let changed = store.changed_documents("many", DocumentKind::Box, 50).unwrap();
    assert_eq!(changed, [("1".to_owned(), 51)]);
    assert_eq!(store.change_boxes("many", &boxes(&[]), 70, add).unwrap(), Vec::<usize>::new());
}

#[cfg(test)]
fn says_silence_once<S: Upkeep>(store: &S) {
    use super::Heard;
    const HOUR: i64 = 3_600_000;
    let name = |tenant_id: &str, box_id: &str| BoxName { tenant_id: tenant_id.to_owned(), box_id: box_id.to_owned() };
    let (quiet, loud, sold) = (name("quiet-1", "1"), name("quiet-1", "2"), name("quiet-2", "1"));
    let ours = |before: i64| {
        let changes = store.note_silence(before).unwrap().changes;
        let ours = changes.into_iter().filter(|change| change.name.tenant_id.starts_with("quiet-"));
        let mut ours: Vec<_> = ours.map(|SilenceChange { name, heard_at, back }| (name, heard_at, back)).collect();
        ours.sort();
        ours
    };
    let since = |of: &BoxName| {
        let boxes = store.boxes(&of.tenant_id).unwrap();
        boxes.into_iter().find(|record| record.name == *of).unwrap().silent_since
    };
    store.note_heard(&quiet, Heard::Alive, 5 * HOUR).unwrap();
    store.note_heard(&loud, Heard::Alive, 9 * HOUR).unwrap();
    store.note_heard(&sold, Heard::Alive, 5 * HOUR).unwrap();
    store.enroll(&name("quiet-2", "never"), HOUR).unwrap();
    assert_eq!(ours(5 * HOUR), [], "not before it is silent for longer than that");
    let before = store.note_silence(5 * HOUR).unwrap().silent;
    assert_eq!(ours(6 * HOUR), [(quiet.clone(), 5 * HOUR, false), (sold.clone(), 5 * HOUR, false)], "of all tenants");
    assert_eq!(store.note_silence(6 * HOUR).unwrap(), Silence { silent: before + 2, changes: vec![] }, "said once");
    assert_eq!((since(&quiet), since(&loud)), (Some(5 * HOUR), None));
    assert!(store.revoke(&sold, 7 * HOUR).unwrap());
    assert_eq!(ours(6 * HOUR), [], "a box that is revoked is not back");
    assert_eq!(since(&sold), None, "and not silent");
    store.note_heard(&quiet, Heard::Alive, 8 * HOUR).unwrap();
    assert_eq!(ours(6 * HOUR), [(quiet.clone(), 8 * HOUR, true)]);
    assert_eq!((since(&quiet), store.note_silence(6 * HOUR).unwrap().silent), (None, before));
    let tenants = store.tenants().unwrap();
    assert!(tenants.contains(&"quiet-1".to_owned()), "nobody was given a code, and there are boxes: {tenants:?}");
}

#[cfg(test)]
fn finds_what_runs_and_what_has_changed<S: Upkeep>(store: &S) {
    let put = |kind, name: &str, news: bool, now| {
        let place = Place { tenant_id: "runs", kind, name };
        let change = |_: Option<&str>| Ok(Change { body: Some("{}".to_owned()), news, answer: () });
        store.change_document(&place, now, change).unwrap();
    };
    let running = || {
        let all = store.running_rollouts().unwrap().into_iter();
        all.filter(|(tenant, _)| tenant == "runs").map(|(_, id)| id).collect::<Vec<_>>()
    };
    let news = store.news(0).unwrap().len();
    put(DocumentKind::Rollout, "b", true, 10);
    put(DocumentKind::Rollout, "a", true, 10);
    put(DocumentKind::Rollout, "over", false, 10);
    assert_eq!(running(), ["a", "b"]);
    put(DocumentKind::Rollout, "a", true, 20);
    put(DocumentKind::Rollout, "b", false, 20);
    assert_eq!(running(), ["a"]);
    assert_eq!(store.news(0).unwrap().len(), news, "a rollout is nobody's news");
    for (name, now) in [("1", 100), ("2", 100), ("1", 100), ("3", 90)] {
        put(DocumentKind::Box, name, false, now);
    }
    let changed = |after| store.changed_documents("runs", DocumentKind::Box, after).unwrap();
    assert_eq!(changed(99), [("1".to_owned(), 101), ("2".to_owned(), 100)], "twice within a moment are two times");
    assert_eq!(changed(101), []);
    assert_eq!(store.changed_documents("nobody", DocumentKind::Box, 0).unwrap(), []);
}
