//! `offhook ask`: what a caller would be told, and why; for whoever writes the office's knowledge.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::Common;
use crate::call::{Mind, Thought};
use crate::config::ConfigMistakes;
use crate::conversation::answer::Action;
use crate::conversation::context::Context;
use crate::conversation::intent::{Method, Understanding};
use crate::education::{educate, sources};
use crate::engines::load_embedding;
use crate::knowledge::{ANSWER_SCORE_MIN, Hit, Knowledge, best_sentences};
use crate::office::Office;
use crate::storage::{Storage, StorageConfig};

/// The files are read as they are now, apart from the running box, whose database is not touched.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// What a caller says
    question: String,
    /// Passages to show
    #[arg(short = 'n', long, default_value_t = 5)]
    candidates: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Ask {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let office = Office::try_from(&config.office).map_err(ConfigMistakes)?;
        let embedding = load_embedding(&config).inspect_err(|reason| eprintln!("By words only: {reason}")).ok();
        let folder = tempfile::tempdir()?;
        let storage = Storage::open(&StorageConfig::new(folder.path()))?.storage;
        let (_, sources) = sources(&config);
        for trouble in &sources.troubles {
            eprintln!("Not read: {}: {}", trouble.name, trouble.reason);
        }
        let (mut mind, learnt) = educate(embedding, Knowledge::new(storage), Arc::new(office), &sources);
        mind.escalation = config.escalation.policy(&config.outbound);
        learnt?;
        let asked = Asked::of(&mut mind, &self.question, self.candidates)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&asked.as_json())?);
        } else {
            asked.print();
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A question with everything that was thought about it.
struct Asked {
    understanding: Understanding,
    /// Best first.
    candidates: Vec<Hit>,
    thought: Thought,
}

impl Asked {
    fn of(mind: &mut Mind, question: &str, limit: usize) -> anyhow::Result<Asked> {
        let vector = mind.embedder.as_mut().and_then(|embedder| embedder.embed(question).ok());
        let context = Context::default();
        let understanding = mind.classifier.understand(question, vector.as_deref(), &context);
        let candidates = mind.knowledge.search_blocking(question, vector.as_deref(), limit)?;
        let thought = mind.think(question, &context).map_err(|failure| anyhow::anyhow!("no answer: {failure:?}"))?;
        Ok(Asked { understanding, candidates, thought })
    }

    /// The file and headings of a passage that was cited, or the source's own name.
    fn source<'a>(&'a self, id: &'a str) -> String {
        let cited = self.candidates.iter().find(|hit| hit.passage_id.to_string() == id);
        cited.map_or_else(|| id.to_owned(), place)
    }

    fn slots(&self) -> Vec<(&'static str, String)> {
        self.understanding.slots.entries()
    }

    fn print(&self) {
        let (understood, reply) = (&self.understanding, &self.thought.reply);
        println!("intent      {} ({}, {:.2})", reply.intent.name(), method(understood.method), understood.score);
        for (name, value) in self.slots() {
            println!("slot        {name} = {value}");
        }
        println!("answer      {}", reply.sentences.join(" "));
        if let Some(then) = then(reply.action) {
            println!("then        {then}");
        }
        for id in &reply.sources {
            println!("source      {}", self.source(id));
        }
        if reply.sources.is_empty() {
            println!("source      none");
        }
        println!("\nPassages, best first; below {ANSWER_SCORE_MIN:.2} none is said:");
        for hit in &self.candidates {
            let cosine = hit.cosine.map_or_else(|| "-".to_owned(), |cosine| format!("{cosine:.2}"));
            let rank = hit.bm25_rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string());
            println!("  {:.2}  {}  (rank by words {rank}, meaning {cosine})", hit.score, place(hit));
            println!("        {}", best_sentences(&hit.text, &understood.query));
        }
        if self.candidates.is_empty() {
            println!("  none has a word of the question");
        }
    }

    fn as_json(&self) -> Value {
        let reply = &self.thought.reply;
        let candidate = |hit: &Hit| {
            json!({
                "score": hit.score,
                "document": hit.document,
                "heading": hit.heading,
                "says": best_sentences(&hit.text, &self.understanding.query),
                "words_rank": hit.bm25_rank,
                "cosine": hit.cosine,
                "is_answer": hit.is_answer(),
            })
        };
        json!({
            "intent": reply.intent.name(),
            "intent_score": self.understanding.score,
            "intent_by": method(self.understanding.method),
            "slots": self.slots().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<serde_json::Map<_, _>>(),
            "answer": reply.sentences,
            "then": then(reply.action),
            "sources": reply.sources.iter().map(|id| self.source(id)).collect::<Vec<_>>(),
            "took_ms": self.thought.took.as_millis() as u64,
            "score_min": ANSWER_SCORE_MIN,
            "candidates": self.candidates.iter().map(candidate).collect::<Vec<_>>(),
        })
    }
}

/// `prices.md > Prices > Fillings`.
fn place(hit: &Hit) -> String {
    [hit.document.as_str(), hit.heading.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" > ")
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Keyword => "by a rule",
        Method::FollowUp => "as a follow-up",
        Method::Example => "by the nearest example",
        Method::Unsure => "not sure",
    }
}

/// What follows the sentences, if anything but listening does.
fn then(action: Action) -> Option<&'static str> {
    match action {
        Action::Continue | Action::NeverMind => None,
        Action::HangUp => Some("hangs up"),
        Action::TakeMessage | Action::Person => Some("takes a message"),
        Action::Connect => Some("rings somebody"),
        Action::Repeat => Some("says the last answer again"),
        Action::UseTool => Some("uses a tool"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::sample;

    fn ask(question: &str) -> Asked {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let (_, sources) = sources(&crate::config::Config::default());
        let office = Arc::new(sample::office().unwrap());
        let (mut mind, learnt) = educate(None, Knowledge::new(storage), office, &sources);
        learnt.unwrap();
        Asked::of(&mut mind, question, 3).unwrap()
    }

    #[test]
    fn an_answer_names_its_file_and_a_miss_shows_what_was_near() {
        let asked = ask("How much does teeth whitening cost?").as_json();
        assert_eq!(asked["answer"][0], "Teeth whitening costs $390 for both jaws.");
        assert_eq!(asked["sources"][0], "sample:prices.md > Prices > Whitening");
        assert_eq!(asked["candidates"][0]["is_answer"], true);
        let missed = ask("Do you sell toothbrushes with a whitening paste from France?").as_json();
        assert_eq!(missed["sources"].as_array().map(Vec::len), Some(0), "{missed}");
        assert!(missed["candidates"][0]["score"].as_f64().unwrap() < f64::from(ANSWER_SCORE_MIN), "{missed}");
    }

    #[test]
    fn facts_of_the_office_are_sources_too() {
        let asked = ask("Are you open on Sunday?").as_json();
        assert_eq!((&asked["sources"][0], &asked["slots"]["day"]), (&json!("office.hours"), &json!("sunday")));
    }
}
