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

#[cfg(test)]
mod tests {
    use daemon::conversation::answer::Action;
    use daemon::conversation::context::Context;
    use daemon::conversation::phrases;
    use daemon::office::sample;
    use daemon::storage::StorageConfig;

    use super::*;

    #[test]
    fn several_requests_in_one_breath_are_all_answered() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let mut mind = mind(&storage, &sample::config(), sample::KNOWLEDGE.iter().copied(), None, Tools::none());
        let mut think = |text: &str| mind.think(text, &Context::default()).unwrap().reply;
        let both = think("Are you open on Saturday, and where are you?");
        assert_eq!(both.sources, ["office.hours", "office.address"]);
        let said = both.sentences.join(" ");
        assert!(
            said.contains("Saturday") && said.contains("we are open from") && said.contains("You find us at"),
            "{said}"
        );
        let last = think("Where are you? And can you take a message, please.");
        assert_eq!((last.action, last.sources), (Action::TakeMessage, vec!["office.address".to_owned()]));
        // One of them has no answer: the caller is not told half of it as if it were all.
        let half = think("Where are you, and do you sell bicycles?");
        assert!(!half.sentences.iter().any(|sentence| sentence == phrases::ANYTHING_ELSE), "{half:?}");
    }
}
