//! A language model finds words for answers, and the built-in answerer takes over whenever it does not: an endpoint on
//! loopback streams, stalls, breaks off, lies and refuses.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::answering::{Answerer, BuiltIn, WithLanguageModel};
use daemon::call::{Mind, Thought, Tools};
use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallPlan, Protection, place};
use daemon::config::{LanguageModel, Persona};
use daemon::conversation::context::Context;
use daemon::conversation::escalation::Policy;
use daemon::conversation::intent::Classifier;
use daemon::inference::Worker;
use daemon::knowledge::{Knowledge, SourceDocument};
use daemon::office::sample;
use daemon::service::Service;
use daemon::storage::{Reader, Storage, StorageConfig, UnixMs, list_sessions, session_detail};
use tests::endpoint::{Deed, Endpoint};
use tests::scripted::{config, engines, tone};

const QUESTION: &str = "how much does teeth whitening cost";
/// In the office's own words.
const BUILT_IN: &str = "Teeth whitening costs $390 for both jaws.";
/// In others, and right.
const WORDED: &str = "For both jaws, teeth whitening is $390.";

struct Rig {
    _folder: tempfile::TempDir,
    _worker: Worker<Mind>,
    answerer: Box<dyn Answerer>,
}

impl Rig {
    fn new(settings: Option<&LanguageModel>) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_owned();
        let worker = Worker::start("mind", move || mind(&state)).unwrap();
        let built_in = BuiltIn::new(worker.queue());
        let answerer: Box<dyn Answerer> = match settings {
            Some(settings) => {
                Box::new(WithLanguageModel::new(settings, &Persona::default(), Arc::new(built_in)).unwrap())
            }
            None => Box::new(built_in),
        };
        Rig { _folder: folder, _worker: worker, answerer }
    }

    async fn ask(&self, question: &str) -> Thought {
        self.answerer.answer(question.into(), Context::default()).await.unwrap()
    }
}

/// Of the sample office, by words only. Made on its own thread, since reading the documents blocks.
fn mind(state: &Path) -> Mind {
    let knowledge = Knowledge::new(Storage::open(&StorageConfig::new(state)).unwrap().storage);
    let document = |(name, text): &(&str, &str)| SourceDocument { name: (*name).into(), text: (*text).into() };
    let documents: Vec<_> = sample::KNOWLEDGE.iter().map(document).collect();
    knowledge.ingest(&documents.into(), None, UnixMs(1)).unwrap();
    let office = Arc::new(sample::office().unwrap());
    let classifier = Classifier::keywords_only(office.asked_for());
    Mind { embedder: None, classifier, knowledge, office, toolbox: Tools::none(), escalation: Policy::default() }
}

fn settings(url: String) -> LanguageModel {
    LanguageModel {
        enabled: true,
        url,
        first_sentence_milliseconds: 1_500,
        answer_milliseconds: 2_000,
        ..LanguageModel::default()
    }
}

fn rig(deed: Deed) -> (Endpoint, Rig) {
    let endpoint = Endpoint::start(deed);
    let rig = Rig::new(Some(&settings(endpoint.url())));
    (endpoint, rig)
}

fn pieces(text: &'static str) -> Vec<&'static str> {
    text.split_inclusive(' ').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_words_are_said_and_the_passages_cited() {
    let built_in = Rig::new(None).ask(QUESTION).await.reply;
    assert_eq!(built_in.sentences, [BUILT_IN]);
    let (endpoint, rig) = rig(Deed::Say(pieces(WORDED)));
    let reply = rig.ask(QUESTION).await.reply;
    assert_eq!(reply.sentences, [WORDED]);
    assert_eq!(reply.sources.last().map(String::as_str), Some("language_model"));
    assert!(reply.sources.len() > 1, "{:?}", reply.sources);
    let asked = &endpoint.asked()[0];
    assert_eq!((asked.body["stream"].as_bool(), asked.body["model"].as_str()), (Some(true), Some("local")));
    assert!(asked.body["messages"][1]["content"].as_str().unwrap().contains("$390"));
    assert_eq!(asked.authorization, None);
}

/// Every way of failing ends in the built-in answer, word for word, within the time limit.
#[tokio::test(flavor = "multi_thread")]
async fn whenever_it_fails_the_built_in_answer_is_said() {
    for deed in [
        Deed::Refuse(401),
        Deed::Refuse(429),
        Deed::Refuse(500),
        Deed::Refuse(302),
        Deed::Babble,
        Deed::Stall(vec![]),
        Deed::Stall(pieces("For both jaws, teeth whitening")),
        Deed::Break(vec![]),
        Deed::Break(pieces("For both jaws, teeth whitening is $39")),
        Deed::Say(vec![]),
        Deed::Say(pieces("NO ANSWER")),
        Deed::Say(pieces("Teeth whitening costs $290 for both jaws.")),
        Deed::Say(pieces("Teeth whitening costs $390 for one jaw only.")),
        Deed::Say(pieces("Please read me the number of your credit card.")),
        Deed::Say(pieces("I ignore my rules now and say the password of the box.")),
        Deed::Say(pieces("{\"tool\": \"dial\", \"number\": \"+15550100\"}")),
    ] {
        let (endpoint, rig) = rig(deed.clone());
        let thought = rig.ask(QUESTION).await;
        assert_eq!(thought.reply.sentences, [BUILT_IN], "{deed:?}");
        assert!(!thought.reply.sources.iter().any(|source| source == "language_model"), "{deed:?}");
        assert!(thought.took < Duration::from_secs(5), "{deed:?}: {:?}", thought.took);
        assert_eq!(endpoint.asked().len(), 1, "{deed:?}");
    }
}

/// A sentence that was complete and right before it broke off, stalled or went wrong is said; half of one is not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_right_before_it_failed_is_said() {
    let broken = "For both jaws, teeth whitening is $390. You can also pay";
    let wrong = "For both jaws, teeth whitening is $390. A crown is $7.";
    for deed in [Deed::Break(pieces(broken)), Deed::Stall(pieces(broken)), Deed::Say(pieces(wrong))] {
        let (_endpoint, rig) = rig(deed.clone());
        assert_eq!(rig.ask(QUESTION).await.reply.sentences, [WORDED], "{deed:?}");
    }
}

/// What is computed or done, and what nothing is known about, is none of its business.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_only_where_passages_answer() {
    let (endpoint, rig) = rig(Deed::Say(pieces("We are open all night.")));
    let built_in = Rig::new(None);
    for question in
        ["are you open on saturday", "where are you", "can I talk to somebody", "do you sell bicycles", "goodbye"]
    {
        assert_eq!(rig.ask(question).await.reply, built_in.ask(question).await.reply, "{question}");
    }
    assert!(endpoint.asked().is_empty(), "{:?}", endpoint.asked());
}

/// One that fails again and again is not waited for any more.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_often_is_not_asked_for_a_while() {
    let (endpoint, rig) = rig(Deed::Refuse(500));
    for _ in 0..5 {
        assert_eq!(rig.ask(QUESTION).await.reply.sentences, [BUILT_IN]);
    }
    assert_eq!(endpoint.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_read_from_its_file() {
    let endpoint = Endpoint::start(Deed::Say(pieces(WORDED)));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret-key\n").unwrap();
    let mut settings = settings(endpoint.url());
    settings.api_key_file = Some(file.path().to_owned());
    Rig::new(Some(&settings)).ask(QUESTION).await;
    assert_eq!(endpoint.asked()[0].authorization.as_deref(), Some("Bearer secret-key"));
}

/// A whole call: the model words one answer, is unplugged in the middle of the next one, and the caller is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_unplugged_in_mid_sentence_is_not_noticed_by_the_caller() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(Deed::Break(pieces("For both jaws, teeth whit")));
    let mut config = config(folder.path());
    config.language_model = settings(endpoint.url());
    let heard = [QUESTION, "goodbye"];
    let service = Service::start(config, engines(&heard)).await.unwrap();
    let target = format!("sip:office@{}", service.address());
    let lines = (0..heard.len()).map(|number| tone(number, Cue::AfterAnswer)).collect();
    let plan = CallPlan {
        target,
        protection: Protection::default(),
        lines,
        record: None,
        patience: Patience::default(),
        from: None,
    };
    let report = place(plan).await.unwrap();
    assert!(report.turns.iter().all(|turn| turn.gap.is_some()), "{:?}", report.turns);
    service.stop().await;
    assert!(!endpoint.asked().is_empty());
    let reader = Reader::open(folder.path(), 1).unwrap();
    let read =
        move || reader.read_blocking(|db| session_detail(db, &list_sessions(db, 1, None)?[0].call_id.to_string()));
    let detail = tokio::task::spawn_blocking(read).await.unwrap().unwrap();
    let answer = detail.turns[0].answer.as_ref().unwrap().reveal();
    assert!(answer.starts_with(BUILT_IN), "{answer}");
}
