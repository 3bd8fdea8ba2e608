//! What the mind knows before the first call, and what it learns while calls go on.
//!
//! At the start the documents are read and embedded on the mind's own thread. Later changes are cut on the thread that
//! watches the folder, and only the vectors of new passages are asked of the mind, one job each behind every caller: what a
//! caller may wait for is the vector of one passage, some 20 ms.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::call::{Mind, Tools};
use crate::config::Config;
use crate::conversation::escalation::Policy;
use crate::conversation::intent::Classifier;
use crate::conversation::tools::built_in;
use crate::durable;
use crate::engines::Embedding;
use crate::inference::{Priority, Queue, SubmitError, Worker};
use crate::knowledge::{Folder, Knowledge, PassageEmbedder, SourceDocument, Sources, Trouble, Watch};
use crate::mcp::ToolBox;
use crate::office::{Office, sample};
use crate::storage::UnixMs;

/// From one try to the next when the mind has no room for a job.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What was learnt at the start.
pub(crate) struct Learnt {
    /// None for the sample office.
    folder: Option<Folder>,
    troubles: Vec<Trouble>,
    /// The embedder's id.
    embedder: Option<String>,
}

/// The state of the office's documents as a running box leaves it for others to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnowledgeState {
    /// Documents that are read and right.
    pub(crate) documents: usize,
    /// Milliseconds since 1970; when that became so.
    pub(crate) since: i64,
    /// What stays as it was because it cannot be read.
    pub(crate) troubles: Vec<Trouble>,
}

impl KnowledgeState {
    /// Where it lies.
    pub(crate) fn file(state_directory: &Path) -> PathBuf {
        state_directory.join("knowledge.json")
    }
}

/// Starts the mind and tells when it has read the knowledge and learnt its examples.
pub(crate) fn start(
    config: &Config,
    embedding: Option<Embedding>,
    knowledge: Knowledge,
    office: &Arc<Office>,
    tools: Arc<ToolBox>,
) -> anyhow::Result<(Worker<Mind>, oneshot::Receiver<anyhow::Result<Learnt>>)> {
    let (educated, result) = oneshot::channel();
    let (config, office) = (config.clone(), Arc::clone(office));
    let embedder = embedding.as_ref().map(|embedding| embedding.embedder.model().to_owned());
    let worker = Worker::start("mind", move || {
        let (folder, sources) = sources(&config);
        let (mut mind, outcome) = educate(embedding, knowledge, office, &sources);
        mind.escalation = config.escalation.policy(&config.outbound);
        let own = config.conversation.call_backs_enabled.then(built_in::call_back);
        mind.toolbox = Tools::new(Box::new(move || tools.offered().into_iter().chain(own.clone()).collect()));
        // Nobody waits any more if the start was given up.
        let _ = educated.send(outcome.map(|()| Learnt { folder, troubles: sources.troubles, embedder }));
        mind
    })?;
    Ok((worker, result))
}

/// Watches the office's folder from now on, if it has one.
pub(crate) fn go_on(
    config: &Config,
    learnt: Learnt,
    knowledge: Knowledge,
    mind: Queue<Mind>,
) -> anyhow::Result<Option<Watch>> {
    let file = KnowledgeState::file(&config.state_directory());
    let Learnt { folder: Some(folder), troubles, embedder } = learnt else {
        durable::remove(&file)?;
        return Ok(None);
    };
    tell(&folder, &troubles, &file);
    let interval = Duration::from_secs(config.knowledge.look_interval_seconds.into());
    let watch = Watch::start(folder, interval, move |folder, sources| {
        let mut embed = |text: &str| vector(&mind, text);
        let embedder = embedder.as_deref().map(|id| PassageEmbedder { id, embed: &mut embed });
        match knowledge.ingest(&sources, embedder, UnixMs::now()) {
            Ok(report) => info!(
                added = report.documents_added,
                changed = report.documents_changed,
                removed = report.documents_removed,
                passages_embedded = report.passages_embedded,
                "Knowledge read again"
            ),
            Err(error) => warn!(%error, "Knowledge not kept"),
        }
        tell(folder, &sources.troubles, &file);
    })?;
    Ok(Some(watch))
}

/// The vector of one text, made when no caller needs the mind.
fn vector(mind: &Queue<Mind>, text: &str) -> Result<Vec<f32>, String> {
    type Made = Result<Vec<f32>, String>;
    let (done, made): (Sender<Made>, Receiver<Made>) = channel();
    loop {
        let (done, text) = (done.clone(), text.to_owned());
        let submitted = mind.submit(Priority::Background, move |mind| {
            let embedder = mind.embedder.as_mut().ok_or("there is no embedder");
            let vector = embedder.map_err(str::to_owned);
            let vector = vector.and_then(|embedder| embedder.embed(&text).map_err(|error| error.to_string()));
            // Whoever asked waits for it.
            let _ = done.send(vector);
        });
        match submitted {
            Ok(()) => break,
            // Nothing comes through this channel yet: it only measures the time.
            Err(SubmitError::Full) => drop(made.recv_timeout(FULL_PAUSE)),
            Err(stopped @ SubmitError::Stopped) => return Err(stopped.to_string()),
        }
    }
    drop(done);
    made.recv().map_err(|_| "the embedder crashed".to_owned())?
}

fn tell(folder: &Folder, troubles: &[Trouble], file: &Path) {
    for Trouble { name, reason } in troubles {
        warn!(path = %folder.path().join(name).display(), reason, "Knowledge not read; what it said before is kept");
    }
    let state = KnowledgeState { documents: folder.documents(), since: UnixMs::now().0, troubles: troubles.to_vec() };
    let written = serde_json::to_vec(&state).map_err(std::io::Error::other);
    if let Err(error) = written.and_then(|bytes| durable::write(file, &bytes, 0o644)) {
        warn!(%error, "The state of the knowledge is not told");
    }
}

/// The office's documents as they lie in its folder now; the sample's without one.
pub(crate) fn sources(config: &Config) -> (Option<Folder>, Sources) {
    let Some(path) = &config.knowledge.directory else {
        let document =
            |(name, text): &(&str, &str)| SourceDocument { name: sample::document_name(name), text: (*text).into() };
        return (None, sample::KNOWLEDGE.iter().map(document).collect::<Vec<_>>().into());
    };
    let mut folder = Folder::new(path);
    let sources = folder.look().unwrap_or_default();
    (Some(folder), sources)
}

/// A mind that knows `sources`, and whether they could all be kept.
pub(crate) fn educate(
    embedding: Option<Embedding>,
    knowledge: Knowledge,
    office: Arc<Office>,
    sources: &Sources,
) -> (Mind, anyhow::Result<()>) {
    let departments = office.asked_for();
    let (toolbox, escalation) = (Tools::none(), Policy::default());
    let Some(mut embedding) = embedding else {
        let ingested = knowledge.ingest(sources, None, UnixMs::now()).map(drop).map_err(Into::into);
        let classifier = Classifier::keywords_only(departments);
        return (Mind { embedder: None, classifier, knowledge, office, toolbox, escalation }, ingested);
    };
    let id = embedding.embedder.model().to_owned();
    let mut embed = |text: &str| embedding.embedder.embed(text).map_err(|error| error.to_string());
    let embedder = PassageEmbedder { id: &id, embed: &mut embed };
    let ingested = knowledge.ingest(sources, Some(embedder), UnixMs::now()).map(drop).map_err(anyhow::Error::from);
    let classifier =
        Classifier::with_examples(departments.clone(), |text| embedding.remembered(text)).unwrap_or_else(|error| {
            warn!(%error, "Intents by keyword only");
            Classifier::keywords_only(departments)
        });
    embedding.save();
    let embedder = Some(embedding.embedder);
    (Mind { embedder, classifier, knowledge, office, toolbox, escalation }, ingested)
}

/// Once every server is there, which may never be.
pub(crate) fn learn_tools(tools: Arc<ToolBox>, mind: Queue<Mind>) {
    tokio::spawn(async move {
        tools.connected().await;
        // A full queue only makes the first caller who needs a tool wait for it.
        let _ = mind.submit(Priority::Background, Mind::learn_tools);
    });
}
