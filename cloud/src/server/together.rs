//! Questions of many streams that are asked of the store in one transaction: a transaction costs as much for many.
//!
//! Nobody waits for company: the first question is asked at once, and what comes while it is answered is asked together next.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud_api::v1::box_message;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use crate::clock;
use crate::fleet::{BoxDocument, change_box, change_boxes, some_box_documents};
use crate::store::{AnyStore, BoxName, StoreError, away};
use crate::sync::stream::Away;

/// Questions at a time: what is about them is in memory meanwhile.
const AT_ONCE: usize = 64;

/// Whoever asks one kind of question for all.
#[derive(Debug)]
pub(super) struct Together<Q, A>(mpsc::Sender<(Q, oneshot::Sender<A>)>);

impl<Q: Send + 'static, A: Send + 'static> Together<Q, A> {
    /// `work` is given questions and gives their answers in that order, on a thread that may block.
    fn start(shared: Arc<Shared>, work: fn(&AnyStore, Vec<Q>) -> Vec<A>) -> Together<Q, A> {
        let (sender, mut questions) = mpsc::channel::<(Q, oneshot::Sender<A>)>(AT_ONCE);
        tokio::spawn(async move {
            let mut some = Vec::with_capacity(AT_ONCE);
            while questions.recv_many(&mut some, AT_ONCE).await > 0 {
                let (asked, waiting): (Vec<Q>, Vec<_>) = some.drain(..).unzip();
                // Whoever is not answered is told that there is no answer.
                let answers = shared.ask(move |store| work(store, asked)).await.unwrap_or_default();
                for (answer, who) in answers.into_iter().zip(waiting) {
                    // They may be gone.
                    let _ = who.send(answer);
                }
            }
        });
        Together(sender)
    }

    /// The answer; `None` if the store failed.
    pub(super) async fn ask(&self, question: Q) -> Option<A> {
        let (sender, answer) = oneshot::channel();
        self.0.send((question, sender)).await.ok()?;
        answer.await.ok()
    }
}

/// Where a box's tenant is, if not here, and what the box should be and do.
pub(super) type Wished = Result<(Option<Away>, BoxDocument), Arc<StoreError>>;
/// What a box says of what it should be and do; that it is kept.
pub(super) type Told = (BoxName, box_message::Body);

/// Answers what boxes should be and do.
pub(super) fn wishes(shared: Arc<Shared>) -> Together<BoxName, Wished> {
    Together::start(shared, read_wishes)
}

/// Keeps what boxes say of that.
pub(super) fn reports(shared: Arc<Shared>) -> Together<Told, Result<(), Arc<StoreError>>> {
    Together::start(shared, keep_reports)
}

fn read_wishes(store: &AnyStore, asked: Vec<BoxName>) -> Vec<Wished> {
    let mut answers: Vec<Option<Wished>> = asked.iter().map(|_| None).collect();
    for (tenant_id, of_tenant) in by_tenant(asked.iter()) {
        let names: Vec<&str> = of_tenant.iter().map(|index| asked[*index].box_id.as_str()).collect();
        let found = away(store, tenant_id).and_then(|away| Ok((away, some_box_documents(store, tenant_id, &names)?)));
        match found {
            Ok((away, documents)) => {
                for (index, document) in of_tenant.into_iter().zip(documents) {
                    answers[index] = Some(document.map(|document| (away.clone(), document)).map_err(Arc::new));
                }
            }
            Err(error) => fail(&mut answers, &of_tenant, error),
        }
    }
    answers.into_iter().flatten().collect()
}

fn keep_reports(store: &AnyStore, told: Vec<Told>) -> Vec<Result<(), Arc<StoreError>>> {
    let now = clock::unix_ms();
    let mut answers: Vec<Option<Result<(), Arc<StoreError>>>> = told.iter().map(|_| None).collect();
    for (tenant_id, of_tenant) in by_tenant(told.iter().map(|(name, _)| name)) {
        let mut of_box: BTreeMap<&str, Vec<&box_message::Body>> = BTreeMap::new();
        for (name, said) in of_tenant.iter().map(|index| &told[*index]) {
            of_box.entry(&name.box_id).or_default().push(said);
        }
        let box_ids = of_box.keys().map(|box_id| (*box_id).to_owned()).collect();
        let kept = change_boxes(store, tenant_id, &box_ids, now, |box_id, document| {
            for said in of_box.get(box_id).into_iter().flatten() {
                take(document, said, now);
            }
        });
        match kept {
            Ok(_) => of_tenant.iter().for_each(|index| answers[*index] = Some(Ok(()))),
            // One of them is not to be understood: that is nobody else's matter.
            Err(StoreError::Document(_)) => {
                for index in of_tenant {
                    let (name, said) = &told[index];
                    let kept = change_box(store, name, now, |document| take(document, said, now));
                    answers[index] = Some(kept.map_err(Arc::new));
                }
            }
            Err(error) => fail(&mut answers, &of_tenant, error),
        }
    }
    answers.into_iter().flatten().collect()
}

/// Takes what a box says of wishes and commands; anything else is none of that.
fn take(document: &mut BoxDocument, said: &box_message::Body, now: i64) {
    match said {
        box_message::Body::Reported(report) => document.take_report(report, now),
        box_message::Body::CommandResult(result) => document.take_result(result, now),
        box_message::Body::Hello(_)
        | box_message::Body::Batch(_)
        | box_message::Body::Digest(_)
        | box_message::Body::Delivered(_)
        | box_message::Body::Ping(_) => {}
    }
}

/// Where in the questions those of each tenant are.
fn by_tenant<'a>(names: impl Iterator<Item = &'a BoxName>) -> BTreeMap<&'a str, Vec<usize>> {
    let mut tenants: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, name) in names.enumerate() {
        tenants.entry(&name.tenant_id).or_default().push(index);
    }
    tenants
}

fn fail<T>(answers: &mut [Option<Result<T, Arc<StoreError>>>], which: &[usize], error: StoreError) {
    let error = Arc::new(error);
    for index in which {
        answers[*index] = Some(Err(Arc::clone(&error)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cloud_api::v1::{CommandResult, Reported, reported};

    use tokio::task::JoinSet;

    use super::super::blobs::tests::shared;
    use super::*;
    use crate::fleet::{Outcome, Wish, box_document};
    use crate::store::{Change, DocumentKind, Place, Sqlite, Store as _};
    use crate::tenants::{Actor, freeze};

    /// What comes while one question is answered is asked together next, at most so many at a time, and each gets its own
    /// answer; a failure is the end of those that were asked with it, and of no others.
    #[tokio::test]
    async fn questions_are_asked_together_and_answered_each() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Arc::new(shared(folder.path()));
        let doubled = Arc::new(Together::start(shared, |_, asked: Vec<usize>| {
            assert!(!asked.contains(&usize::MAX), "the store fails");
            asked.iter().map(|number| (number * 2, asked.len())).collect()
        }));
        assert_eq!(doubled.ask(1).await, Some((2, 1)), "alone, at once");
        let mut asking: JoinSet<_> = (0..200)
            .map(|number| {
                let doubled = Arc::clone(&doubled);
                async move { (number, doubled.ask(number).await) }
            })
            .collect();
        let mut most = 0;
        while let Some(Ok((number, answer))) = asking.join_next().await {
            let (answer, together) = answer.unwrap();
            assert_eq!(answer, number * 2);
            most = most.max(together);
        }
        assert!((2..=AT_ONCE).contains(&most), "{most}");
        assert_eq!(doubled.ask(usize::MAX).await, None);
        assert_eq!(doubled.ask(3).await, Some((6, 1)), "it goes on");
    }

    fn name(tenant_id: &str, box_id: &str) -> BoxName {
        BoxName { tenant_id: tenant_id.to_owned(), box_id: box_id.to_owned() }
    }

    fn store(folder: &tempfile::TempDir) -> AnyStore {
        let store = AnyStore::Sqlite(Sqlite::open(&folder.path().join("cloud.db")).unwrap());
        let wish = Wish::new(BTreeMap::from([("office".to_owned(), "[office]\nname = 'A'".to_owned())])).unwrap();
        for (tenant_id, box_id) in [("a", "1"), ("a", "2"), ("b", "1")] {
            change_box(&store, &name(tenant_id, box_id), 1, |document| document.wish(&wish, box_id, 1)).unwrap();
        }
        store
    }

    fn break_document(store: &AnyStore, of: &BoxName) {
        let place = Place { tenant_id: &of.tenant_id, kind: DocumentKind::Box, name: &of.box_id };
        let broken =
            |_: Option<&str>| Ok(Change { body: Some(r#"{"desired":7}"#.to_owned()), news: false, answer: () });
        store.change_document(&place, 2, broken).unwrap();
    }

    fn applied() -> box_message::Body {
        let state = reported::State::Applied.into();
        box_message::Body::Reported(Reported { version: 1, applied: true, detail: String::new(), state })
    }

    fn is_applied(store: &AnyStore, of: &BoxName) -> bool {
        let desired = box_document(store, of).unwrap().desired.unwrap();
        matches!(desired.outcome, Outcome::Applied { .. })
    }

    #[test]
    fn each_is_answered_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        break_document(&store, &name("a", "2"));
        let asked = [name("b", "1"), name("a", "2"), name("a", "unknown"), name("a", "1")];
        let answers = read_wishes(&store, asked.to_vec());
        let by = |answer: &Wished| {
            let (away, document) = answer.as_ref().ok()?;
            assert_eq!(*away, None);
            Some(document.desired.as_ref().map(|desired| desired.set_by.clone()))
        };
        let answers: Vec<_> = answers.iter().map(by).collect();
        let wished = |by: &str| Some(Some(by.to_owned()));
        assert_eq!(answers, [wished("1"), None, Some(None), wished("1")], "one that is broken is nobody else's matter");
    }

    #[test]
    fn what_each_says_is_kept_also_beside_one_that_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let (one, two, other) = (name("a", "1"), name("a", "2"), name("b", "1"));
        break_document(&store, &two);
        let result = CommandResult { command_id: "none".to_owned(), done: true, detail: String::new() };
        let told = vec![
            (two.clone(), applied()),
            (one.clone(), applied()),
            (other.clone(), applied()),
            (one.clone(), box_message::Body::CommandResult(result)),
        ];
        let kept: Vec<bool> = keep_reports(&store, told).iter().map(Result::is_ok).collect();
        assert_eq!(kept, [false, true, true, true]);
        assert!(is_applied(&store, &one) && is_applied(&store, &other));
    }

    #[test]
    fn of_a_tenant_that_is_being_moved_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        freeze(&store, "a", Actor { by: "anna", now: 5 }).unwrap();
        let told = vec![(name("a", "1"), applied()), (name("b", "1"), applied())];
        let kept: Vec<bool> = keep_reports(&store, told).iter().map(Result::is_ok).collect();
        assert_eq!(kept, [false, true]);
        let answers = read_wishes(&store, vec![name("a", "1"), name("b", "1")]);
        let away: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().0).collect();
        assert_eq!(away, [Some(Away::Moving), None]);
    }
}
