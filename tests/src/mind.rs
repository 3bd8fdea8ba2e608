//! The box's understanding and answering without a call: text in, reply out.

use std::sync::Arc;

use daemon::call::{Mind, Tools};
use daemon::conversation::escalation::Policy;
use daemon::conversation::intent::Classifier;
use daemon::knowledge::{Knowledge, PassageEmbedder, SourceDocument, Sources};
use daemon::office::{Office, OfficeConfig};
use daemon::storage::{Storage, UnixMs};
use models::Embedder;

/// The mind of this office, with these documents (name and text) read into `storage`. Without an embedder it goes by
/// rules and words alone.
///
/// # Panics
/// When the office is not valid, a text has no vector or a document cannot be kept.
pub fn mind<'a>(
    storage: &Storage,
    office: &OfficeConfig,
    documents: impl IntoIterator<Item = (&'a str, &'a str)>,
    mut embedder: Option<Box<dyn Embedder>>,
    toolbox: Tools,
) -> Mind {
    let office = Office::try_from(office).unwrap();
    let document = |(name, text): (&str, &str)| SourceDocument { name: name.into(), text: text.into() };
    let documents = Sources::from(documents.into_iter().map(document).collect::<Vec<_>>());
    let knowledge = Knowledge::new(storage.clone());
    let classifier = match &mut embedder {
        Some(embedder) => {
            let id = embedder.model().to_owned();
            let mut embed = |text: &str| embedder.embed(text).map_err(|error| error.to_string());
            let passages = PassageEmbedder { id: &id, embed: &mut embed };
            knowledge.ingest(&documents, Some(passages), UnixMs(1)).unwrap();
            Classifier::with_examples(office.asked_for(), |text| embedder.embed(text).ok()).unwrap()
        }
        None => {
            knowledge.ingest(&documents, None, UnixMs(1)).unwrap();
            Classifier::keywords_only(office.asked_for())
        }
    };
    Mind { embedder, classifier, knowledge, office: Arc::new(office), toolbox, escalation: Policy::default() }
}
