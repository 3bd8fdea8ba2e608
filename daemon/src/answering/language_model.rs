//! A language model behind an OpenAI-compatible endpoint, asked for the words of an answer and never trusted with them.
//!
//! It is asked only where the built-in answerer has found passages for a question; hours, addresses, people, tools and
//! everything that is done stay with the rules. What it says is said as far as the passages say it too. Whenever there is
//! not one such sentence in time, the built-in answer is said, which is there before the model is asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::{Client, StatusCode, redirect};
use tokio::time::timeout_at;
use tokio_rustls::rustls::crypto::ring;
use tracing::{debug, info, warn};

use super::draft::{Draft, Refusal};
use super::events::{BadStream, Events, Piece};
use super::{Answerer, Answering, prompt};
use crate::breaker::Breaker;
use crate::call::Thought;
use crate::config;
use crate::conversation::answer::Action;
use crate::conversation::context::Context;
use crate::conversation::intent::Intent;
use crate::conversation::phrases;
use crate::redact::Redacted;

/// How the turn's row names it beside the passages.
const SOURCE: &str = "language_model";
/// An answer that took longer is one the caller waits for.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// The built-in answerer, with a model for its words.
pub struct WithLanguageModel {
    built_in: Arc<dyn Answerer>,
    client: Client,
    url: String,
    model: String,
    /// How it is to speak.
    rules: Vec<String>,
    key: Option<Redacted<String>>,
    first_sentence: Duration,
    answer: Duration,
    breaker: Mutex<Breaker>,
}

/// Why the model has no part in an answer, or not in all of it.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("nothing came in time")]
    TimedOut,
    #[error("the endpoint answers {0}")]
    Status(StatusCode),
    #[error("the connection failed")]
    Broken,
    #[error("{0}")]
    BadStream(#[from] BadStream),
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl WithLanguageModel {
    /// As configured. Nothing is asked yet.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn new(
        config: &config::LanguageModel,
        persona: &config::Persona,
        built_in: Arc<dyn Answerer>,
    ) -> anyhow::Result<WithLanguageModel> {
        // The whole process has one provider; the library asks for the process's own.
        let _ = ring::default_provider().install_default();
        let key = config.api_key_file.as_ref().map(|file| {
            let key = std::fs::read_to_string(file)
                .with_context(|| format!("language_model.api_key_file {} cannot be read", file.display()))?;
            anyhow::Ok(Redacted::new(key.trim().to_owned()))
        });
        // A redirect would take the caller's words, and the key, to somebody else.
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().connect_timeout(CONNECT_LIMIT);
        Ok(WithLanguageModel {
            built_in,
            client: client.build()?,
            url: format!("{}/chat/completions", config.url.trim_end_matches('/')),
            model: config.model.clone(),
            rules: persona.rules.clone(),
            key: key.transpose()?,
            first_sentence: Duration::from_millis(config.first_sentence_milliseconds.into()),
            answer: Duration::from_millis(config.answer_milliseconds.into()),
            breaker: Mutex::default(),
        })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the model may find better words for what the built-in answerer says.
    fn may_word(&self, thought: &Thought) -> bool {
        let reply = &thought.reply;
        let is_question = matches!(reply.intent, Intent::Question | Intent::Price | Intent::Unknown);
        let only_says = reply.action == Action::Continue && reply.tool.is_none() && reply.connect_to.is_none();
        is_question && only_says && !thought.passages.is_empty() && !self.breaker().is_open(Instant::now())
    }

    /// Asks the model and follows its stream into `draft` until that is full or nothing more can come of it.
    async fn word(
        &self,
        question: &str,
        context: &Context,
        draft: &mut Draft<'_>,
        thought: &Thought,
    ) -> Result<(), Failed> {
        let begun = tokio::time::Instant::now();
        let (first, last) = (begun + self.first_sentence, begun + self.answer);
        let body = prompt::body(&self.model, &self.rules, question, context, &thought.passages);
        let mut request = self.client.post(&self.url).json(&body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.reveal());
        }
        let response = timeout_at(first, request.send()).await.map_err(|_| Failed::TimedOut)?;
        let mut response = response.map_err(|_| Failed::Broken)?;
        if response.status() != StatusCode::OK {
            return Err(Failed::Status(response.status()));
        }
        let mut events = Events::default();
        while !draft.is_full() {
            let deadline = if draft.is_empty() { first } else { last };
            let bytes = timeout_at(deadline, response.chunk()).await.map_err(|_| Failed::TimedOut)?;
            // An end that was not announced is a connection that broke.
            let bytes = bytes.ok().flatten().ok_or(Failed::Broken)?;
            for piece in events.push(&bytes)? {
                match piece {
                    Piece::Text(text) => draft.push(&text)?,
                    Piece::End => return Ok(draft.finish()?),
                }
            }
        }
        Ok(())
    }

    fn note(&self, outcome: &Result<(), Failed>) {
        match outcome {
            // It answers, right or wrong.
            Ok(()) | Err(Failed::Refused(_)) => self.breaker().note_success(),
            Err(Failed::TimedOut | Failed::Status(_) | Failed::Broken | Failed::BadStream(_)) => {
                if self.breaker().note_failure(Instant::now()) {
                    warn!("The language model is not asked for a while: it has failed too often");
                }
            }
        }
    }
}

impl Answerer for WithLanguageModel {
    fn answer(&self, text: String, context: Context) -> Answering<'_> {
        Box::pin(async move {
            let begun = Instant::now();
            let mut thought = self.built_in.answer(text.clone(), context.clone()).await?;
            if !self.may_word(&thought) {
                return Ok(thought);
            }
            let mut draft = Draft::new(&text, &thought.passages);
            let outcome = self.word(&text, &context, &mut draft, &thought).await;
            self.note(&outcome);
            let (sentences, sources) = draft.into_parts();
            match &outcome {
                Ok(()) => debug!(sentences = sentences.len(), "Worded by the language model"),
                // What it said wrong may hold what the caller said, so the kind is all that is logged of it.
                Err(Failed::Refused(refusal)) => {
                    let kind = match refusal {
                        Refusal::NoAnswer => "no_answer",
                        Refusal::Ungrounded(_) => "ungrounded",
                        Refusal::Unsupported => "unsupported",
                        Refusal::Unspeakable => "unspeakable",
                    };
                    info!(kind, kept = sentences.len(), "The language model's words are not said");
                }
                Err(failed) => info!(error = %failed, kept = sentences.len(), "The language model has not answered"),
            }
            if !sentences.is_empty() {
                let reply = &mut thought.reply;
                let closing = reply.sentences.pop_if(|last| *last == phrases::ANYTHING_ELSE);
                reply.sentences = sentences.into_iter().chain(closing).collect();
                reply.sources = sources;
                reply.sources.push(SOURCE.into());
                reply.intent = if reply.intent == Intent::Unknown { Intent::Question } else { reply.intent };
            }
            thought.took = begun.elapsed();
            Ok(thought)
        })
    }
}
