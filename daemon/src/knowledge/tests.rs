//! A small office's knowledge, asked as callers ask.

use super::*;
use crate::storage::{StorageConfig, changes_after, find_document, find_passage, passages_of};

const SALON: &str = "\
# Salon Müller
We are a family business in the old town of Freiburg.

## Prices
| Service | Price | Duration |
|---|---|---|
| Haircut | 30 euros | 45 minutes |
| Beard trim | 15 euros | 20 minutes |
| Colouring | 70 euros | two hours |

Children under ten pay half. You can pay in cash or by card.

## Parking
You can park behind the house. The first two hours are free.

## Dogs
Well-behaved dogs are welcome.

## Cancellation
Please cancel at least 24 hours before your appointment. Later cancellations cost ten euros.
";

const GERMAN: &str = "\
# Öffnungszeiten
Wir haben montags bis freitags von 9 bis 18 Uhr geöffnet.

# Anfahrt
Die Straßenbahn hält direkt vor der Tür, Haltestelle Bärenplatz.
";

struct Rig {
    _dir: tempfile::TempDir,
    storage: Storage,
    knowledge: Knowledge,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(&StorageConfig::new(dir.path())).unwrap().storage;
    Rig { _dir: dir, knowledge: Knowledge::new(storage.clone()), storage }
}

fn sources(texts: &[(&str, &str)]) -> Sources {
    let document = |(name, text): &(&str, &str)| SourceDocument { name: (*name).to_owned(), text: (*text).to_owned() };
    texts.iter().map(document).collect::<Vec<_>>().into()
}

const OFFICE: &[(&str, &str)] = &[("german.md", GERMAN), ("salon.md", SALON)];

impl Rig {
    fn ingest(&self, texts: &[(&str, &str)]) -> IngestReport {
        self.knowledge.ingest(&sources(texts), None, UnixMs(1)).unwrap()
    }

    /// Ingests with the toy embedder, whose calls are counted.
    fn ingest_embedded(&self, texts: &[(&str, &str)], id: &str) -> (IngestReport, usize) {
        let mut calls = 0;
        let mut embed = |text: &str| {
            calls += 1;
            Ok(toy_vector(text))
        };
        let embedder = PassageEmbedder { id, embed: &mut embed };
        (self.knowledge.ingest(&sources(texts), Some(embedder), UnixMs(1)).unwrap(), calls)
    }

    fn changes(&self) -> usize {
        self.storage.read_blocking(|db| changes_after(db, 0, 10_000)).unwrap().len()
    }

    fn best(&self, question: &str) -> Option<Hit> {
        self.knowledge.search_blocking(question, None, 3).unwrap().into_iter().next()
    }
}

/// A toy: one direction per subject, so that "vehicle" is near "park" without sharing a word.
fn toy_vector(text: &str) -> Vec<f32> {
    const SUBJECTS: &[&[&str]] = &[
        &["park", "vehicle", "motor"],
        &["dog", "poodle", "pet"],
        &["price", "euro"],
        &["cancel", "later"],
        &["tram", "straßenbahn"],
        &["family"],
        &["uhr"],
    ];
    let text = text.to_lowercase();
    let count = |words: &&[&str]| words.iter().map(|word| text.matches(word).count() as f32).sum::<f32>();
    let mut vector: Vec<f32> = SUBJECTS.iter().map(count).collect();
    // What a text has besides the subjects; keeps every vector away from zero.
    vector.push(0.2);
    vector
}

#[test]
fn questions_find_their_passage() {
    let rig = rig();
    assert_eq!(rig.ingest(OFFICE).documents_added, 2);
    for (question, heading, said) in [
        ("Can I park somewhere near you?", "Salon Müller > Parking", "You can park behind the house."),
        ("Is there parking?", "Salon Müller > Parking", "You can park behind the house."),
        ("How much is a haircut?", "Salon Müller > Prices", "Haircut: Price 30 euros, Duration 45 minutes."),
        ("what does a beard trim cost", "Salon Müller > Prices", "Beard trim: Price 15 euros, Duration 20 minutes."),
        ("May I bring my dog?", "Salon Müller > Dogs", "Well-behaved dogs are welcome."),
        ("I have to cancel my appointment", "Salon Müller > Cancellation", "Please cancel at least 24 hours"),
        ("Wie sind die Öffnungszeiten?", "Öffnungszeiten", "Wir haben montags bis freitags von 9 bis 18 Uhr geöffnet."),
        ("offnungszeiten", "Öffnungszeiten", "Wir haben montags"),
        ("Hält die STRASSENBAHN am Barenplatz?", "Anfahrt", "Die Straßenbahn hält direkt vor der Tür"),
    ] {
        let hit = rig.best(question).unwrap_or_else(|| panic!("nothing for {question}"));
        assert_eq!(hit.heading, heading, "{question}");
        assert!(hit.is_answer(), "{question}: {}", hit.score);
        let quote = best_sentences(&hit.text, question);
        assert!(quote.contains(said), "{question}: {quote}");
    }
}

/// "I don't know" is an outcome: a shared word or two is no answer.
#[test]
fn questions_without_an_answer_score_low() {
    let rig = rig();
    rig.ingest(OFFICE);
    for question in [
        "Do you sell motorbikes?",
        "What is the capital of France?",
        "Who won the football game yesterday evening?",
        "Can you fix my washing machine this week?",
        "tell me a joke about two elephants",
        "um, hello?",
        "",
    ] {
        let best = rig.best(question);
        assert!(best.as_ref().is_none_or(|hit| !hit.is_answer()), "{question}: {best:?}");
    }
}

/// With vectors a passage is found by meaning alone, and unrelated ones stay below the threshold.
#[test]
fn meaning_finds_what_words_miss() {
    let rig = rig();
    rig.ingest_embedded(OFFICE, "toy-1");
    let question = "Any space for my motor vehicle?";
    assert!(rig.best(question).is_none_or(|hit| !hit.is_answer()), "not by words");
    let hits = rig.knowledge.search_blocking(question, Some(&toy_vector(question)), 2).unwrap();
    assert_eq!(hits[0].heading, "Salon Müller > Parking");
    assert!(hits[0].is_answer() && hits[0].cosine.unwrap() > 0.8, "{:?}", hits[0]);
    assert!(!hits[1].is_answer(), "{:?}", hits[1]);
    // Both ways agree: a better score than either alone.
    let both = "Where can I park my vehicle?";
    let with = rig.knowledge.search_blocking(both, Some(&toy_vector(both)), 1).unwrap()[0].score;
    assert!(with > rig.best(both).unwrap().score, "{with}");
}

/// A vector of another model, of zeros or of NaN is no reason to fail or to find nothing.
#[test]
fn unusable_question_vectors_fall_back_to_words() {
    let rig = rig();
    rig.ingest_embedded(OFFICE, "toy-1");
    for vector in [&[][..], &[1.0; 3], &[0.0; 8], &[f32::NAN; 8], &[f32::INFINITY; 8]] {
        let hits = rig.knowledge.search_blocking("Is there parking?", Some(vector), 1).unwrap();
        assert!(hits[0].is_answer() && hits[0].heading.ends_with("Parking"), "{vector:?} {hits:?}");
    }
}

/// What a caller says, or an attacker types, is never query syntax.
#[test]
fn hostile_questions_are_only_words() {
    let rig = rig();
    rig.ingest(OFFICE);
    for question in [
        "\"",
        "\" OR \"\"",
        "park AND NOT (",
        "heading:parking^2 NEAR(a, b)",
        "'; DROP TABLE knowledge_passages; --",
        "* ** ***",
        "{text heading} : x",
        "\u{0} \u{202e} \u{301} é ß 漢字 🅿",
        &"park ".repeat(5_000),
        &"x".repeat(100_000),
    ] {
        rig.knowledge.search_blocking(question, None, 5).unwrap();
    }
    assert!(rig.best("park AND NOT (").unwrap().heading.ends_with("Parking"));
}

#[test]
fn unchanged_documents_cost_nothing() {
    let rig = rig();
    let (first, calls) = rig.ingest_embedded(OFFICE, "toy-1");
    assert_eq!((first.documents_added, first.passages_embedded), (2, calls));
    assert_eq!(calls, 7, "five sections of the salon, two of the German page");
    let changes = rig.changes();
    let (second, calls) = rig.ingest_embedded(OFFICE, "toy-1");
    assert_eq!((second, calls), (IngestReport { documents_unchanged: 2, ..IngestReport::default() }, 0));
    assert_eq!(rig.ingest(OFFICE).documents_unchanged, 2, "without an embedder the vectors stay");
    assert_eq!(rig.changes(), changes, "not one row was touched");
}

/// Only the changed passage is new: the others keep the key that earlier calls cite, and their vector.
#[test]
fn changed_documents_keep_unchanged_passages() {
    let rig = rig();
    rig.ingest_embedded(OFFICE, "toy-1");
    let parking = rig.best("Is there parking?").unwrap().passage_id;
    let dogs = rig.best("dogs").unwrap().passage_id;
    let changed = SALON.replace("Well-behaved dogs are welcome.", "Dogs have to wait outside.");
    let (report, calls) = rig.ingest_embedded(&[("german.md", GERMAN), ("salon.md", &changed)], "toy-1");
    assert_eq!((report.documents_changed, report.documents_unchanged, calls), (1, 1, 1));
    assert_eq!(rig.best("Is there parking?").unwrap().passage_id, parking);
    let now = rig.best("dogs").unwrap();
    assert_ne!(now.passage_id, dogs);
    assert_eq!(now.text, "Dogs have to wait outside.");
    assert_eq!(rig.storage.read_blocking(|db| find_passage(db, dogs)).unwrap(), None);
    assert!(rig.best("well-behaved").is_none(), "the old text left the index");
    let hits = rig.knowledge.search_blocking("x", Some(&toy_vector("poodle")), 1).unwrap();
    assert_eq!(hits[0].passage_id, now.passage_id, "the vectors in memory are new");
}

#[test]
fn removed_files_are_removed() {
    let rig = rig();
    rig.ingest(OFFICE);
    let report = rig.ingest(&[("german.md", GERMAN)]);
    assert_eq!((report.documents_removed, report.documents_unchanged), (1, 1));
    assert_eq!(rig.best("Is there parking?"), None);
    assert!(rig.best("Öffnungszeiten").is_some());
}

#[test]
fn another_embedder_makes_all_vectors_anew() {
    let rig = rig();
    rig.ingest(OFFICE);
    assert_eq!(rig.ingest_embedded(OFFICE, "toy-1").1, 7, "the first embedder");
    let (report, calls) = rig.ingest_embedded(OFFICE, "toy-2");
    assert_eq!((report.documents_changed, calls), (2, 7));
}

/// An embedder that fails leaves a document that is found by words, and is asked again next time.
#[test]
fn failing_embedder_is_tried_again() {
    let rig = rig();
    let mut fail = |_: &str| Err("out of memory".to_owned());
    let embedder = PassageEmbedder { id: "toy-1", embed: &mut fail };
    let report = rig.knowledge.ingest(&sources(OFFICE), Some(embedder), UnixMs(1)).unwrap();
    assert_eq!((report.documents_added, report.documents_without_vectors), (2, 2));
    assert!(rig.best("Is there parking?").unwrap().is_answer());
    assert_eq!(rig.ingest_embedded(OFFICE, "toy-1").1, 7);
}

/// Vectors come back bit by bit as little-endian f32.
#[test]
fn vectors_are_stored_exactly() {
    let rig = rig();
    let mut embed = |_: &str| Ok(vec![1.5, -0.1, f32::MIN_POSITIVE]);
    let embedder = PassageEmbedder { id: "toy-1", embed: &mut embed };
    rig.knowledge.ingest(&sources(&[("a.md", "One.")]), Some(embedder), UnixMs(1)).unwrap();
    let (vector, bytes) = rig
        .storage
        .read_blocking(|db| {
            let document = find_document(db, "a.md")?.unwrap();
            let bytes: Vec<u8> = db.query_row("SELECT embedding FROM knowledge_passages", [], |row| row.get(0))?;
            Ok((passages_of(db, document.document_id)?.remove(0).embedding.unwrap(), bytes))
        })
        .unwrap();
    assert_eq!(vector, [1.5, -0.1, f32::MIN_POSITIVE]);
    assert_eq!(bytes[..4], 1.5_f32.to_le_bytes());
}

/// Of a change only the changed document is given; the others and what cannot be read stay.
#[test]
fn what_is_kept_stays_without_its_text() {
    let rig = rig();
    rig.ingest(&[("salon.md", SALON), ("german.md", GERMAN), ("old.md", "# Old\nGone soon.")]);
    let mut changed = sources(&[("dogs.txt", "Cats are welcome.")]);
    changed.unchanged = vec!["salon.md".into()];
    changed.troubles = vec![Trouble { name: "german.md".into(), reason: "it is empty".into() }];
    let report = rig.knowledge.ingest(&changed, None, UnixMs(2)).unwrap();
    assert_eq!((report.documents_added, report.documents_removed), (1, 1), "{report:?}");
    assert_eq!(rig.best("Is there parking?").unwrap().document, "salon.md");
    assert_eq!(rig.best("Are cats welcome?").unwrap().document, "dogs.txt");
}

/// The sample answers for a fictional practice: an office must never hear it once it has a folder, mounted or not.
#[test]
fn the_sample_office_is_never_kept() {
    let rig = rig();
    let name = crate::office::sample::document_name("prices.md");
    rig.ingest(&[(&name, "# Prices\nA crown costs $1,150.")]);
    let troubles = vec![Trouble { name: String::new(), reason: "not mounted".into() }];
    let sources = Sources { troubles, ..Sources::default() };
    assert_eq!(rig.knowledge.ingest(&sources, None, UnixMs(2)).unwrap().documents_removed, 1);
}

/// A web page and a plain text answer like a Markdown file.
#[test]
fn web_pages_and_plain_texts_are_read_too() {
    let rig = rig();
    let page = "<html><head><title>Team</title><script>let prices = 'free';</script></head><body><h1>Team</h1>\
        <p>Our trainer for puppies is Ms. Vogel.</p></body></html>";
    rig.ingest(&[("team.html", page), ("key.txt", "Lost keys\n=========\nLost keys are kept at the till.\n")]);
    for (question, document, said) in [
        ("Who trains puppies?", "team.html", "Our trainer for puppies is Ms. Vogel."),
        ("I lost my keys", "key.txt", "Lost keys are kept at the till."),
    ] {
        let hit = rig.best(question).unwrap();
        assert_eq!((hit.document.as_str(), hit.text.as_str(), hit.is_answer()), (document, said, true));
    }
    assert!(rig.best("Are your prices free?").is_none_or(|hit| !hit.is_answer()), "a script is not read");
}

#[tokio::test]
async fn search_works_from_async_code() {
    let rig = rig();
    let knowledge = rig.knowledge.clone();
    tokio::task::spawn_blocking(move || knowledge.ingest(&sources(OFFICE), None, UnixMs(1))).await.unwrap().unwrap();
    let hits = rig.knowledge.search("Is there parking?", None, 1).await.unwrap();
    assert_eq!(hits[0].document, "salon.md");
}
