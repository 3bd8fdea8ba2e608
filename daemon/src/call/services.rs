//! What every call shares: the network, the workers, storage and the office.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use models::{Embedder, VoiceActivity};
use sip_stack::message::{HostPort, NameAddr, SipUri};
use tracing::warn;

use super::bridge::Bridges;
use super::carriers::{Carriers, Places};
use super::diversions::Diversions;
use super::ears::Ears;
use super::incoming::user_of;
use super::lamps::Lamps;
use super::legs::Legs;
use super::lines::Lines;
use super::minutes::Minutes;
use super::phones::Phones;
use super::pickups::Pickups;
use super::tones::Tones;
use super::trunk_watch::TrunkWatch;
use super::up::CallsUp;
use crate::answering::{Answerer, Persona};
use crate::bell::Bell;
use crate::config::{Config, Extension};
use crate::conversation::answer::{self, Reply};
use crate::conversation::context::Context;
use crate::conversation::escalation::Policy;
use crate::conversation::intent::Classifier;
use crate::conversation::machine::{Failure, Settings};
use crate::conversation::requests;
use crate::conversation::tools::{self, Candidate, Phrase, Tool};
use crate::inference::Queue;
use crate::io::address::OwnAddress;
use crate::io::gate::SharedGate;
use crate::io::media::MediaHandle;
use crate::io::ports::PortPool;
use crate::io::sip::SipHandle;
use crate::knowledge::{self, Knowledge};
use crate::mcp::{Offered, ToolBox};
use crate::office::hours::Status;
use crate::office::{Office, Staff};
use crate::registrar::pins::{Pins, Tries};
use crate::second_hearing::SecondHearing;
use crate::speaker::Speaker;
use crate::storage::{AudioFiles, Storage};

/// Passages looked at for one answer.
const HIT_LIMIT: usize = 3;

/// Makes a voice-activity detector for a new call; each remembers what it heard.
pub type VoiceActivityFactory = Box<dyn Fn() -> Box<dyn VoiceActivity> + Send + Sync>;

/// Shared by all calls.
pub struct Services {
    /// The configuration in force.
    pub config: Config,
    /// The office that is answered for, as its configuration has it.
    pub office: Arc<Office>,
    /// Its people as they are now.
    pub staff: Staff,
    /// How patient conversations are.
    pub settings: Settings,
    /// What the installed models allow.
    pub abilities: Abilities,
    /// Signalling.
    pub sip: SipHandle,
    /// Under which address we are reached.
    pub address: OwnAddress,
    /// Which task each dialog's events go to.
    pub legs: Legs,
    /// People who talk with each other.
    pub bridges: Bridges,
    /// Calls that are up, and who hears them.
    pub up: CallsUp,
    /// Who may speak to the SIP port.
    pub gate: SharedGate,
    /// The office's phones.
    pub phones: Phones,
    /// Whose calls go elsewhere.
    pub diversions: Diversions,
    /// Calls that somebody may take.
    pub pickups: Pickups,
    /// Callers who wait for somebody.
    pub lines: Lines,
    /// What phones show without being called.
    pub lamps: Lamps,
    /// The trunks.
    pub carriers: Carriers,
    /// How they are.
    pub trunk_watch: TrunkWatch,
    /// Calls to outside, over all trunks.
    pub outbound: Places,
    /// How long they took today.
    pub minutes: Minutes,
    /// Callers the box itself talks with.
    pub attended: Places,
    /// The PINs of phones that messages are played at.
    pub pins: Pins,
    /// How often wrong ones were typed.
    pub pin_tries: Mutex<Tries>,
    /// Phones that speak over the sound card of the box: one at most.
    pub paging: Places,
    /// What somebody on hold hears, at 8 kHz, from its beginning.
    pub hold_music: Arc<[i16]>,
    /// What a caller hears who is answered already, of what becomes of the call.
    pub tones: Tones,
    /// Sound.
    pub media: MediaHandle,
    /// RTP ports.
    pub ports: PortPool,
    /// The database.
    pub storage: Storage,
    /// Rung when something is written that is to be done.
    pub bell: Bell,
    /// Recordings beside it.
    pub audio_files: AudioFiles,
    /// The voice.
    pub speaker: Speaker,
    /// Speech recognition.
    pub ears: Queue<Ears>,
    /// What takes utterances to be heard again after the call; `None`: there is no better recogniser for it.
    pub(crate) second_hearing: Option<SecondHearing>,
    /// Understanding and answers.
    pub answerer: Arc<dyn Answerer>,
    /// As whom the box speaks.
    pub persona: Arc<Persona>,
    /// Tools of other programs.
    pub tools: Arc<ToolBox>,
    /// One detector a call.
    pub voice_activity: VoiceActivityFactory,
}

impl Services {
    /// Whether the office is open now.
    pub(super) fn is_open(&self) -> bool {
        let now = jiff::Zoned::now().with_time_zone(self.office.time_zone().clone());
        matches!(self.office.calendar.status(&now), Status::Open { .. })
    }

    /// The office as it greets now.
    pub(super) fn office_now(&self) -> Arc<Office> {
        let office = self.staff.office();
        let greeting = self.persona.greeting(&office, &jiff::Zoned::now());
        if greeting == office.greeting {
            return office;
        }
        Arc::new(Office { greeting, ..Office::clone(&office) })
    }

    /// Whether phones have talked outside today for as long as they may.
    pub(super) fn minutes_are_used_up(&self) -> bool {
        let limit = Duration::from_secs(u64::from(self.config.outbound.daily_limit_minutes) * 60);
        let today = jiff::Zoned::now().with_time_zone(self.office.time_zone().clone()).date();
        self.minutes.are_used_up(limit, today)
    }

    /// A colleague, as phones show it.
    pub(super) fn inside_identity(&self, extension: &str) -> NameAddr {
        let known = self.extension(extension);
        let address = NameAddr::new(SipUri::new(self.own_host()).with_user(extension));
        match known.map(|one| one.name.as_str()).filter(|name| !name.is_empty()) {
            Some(name) => address.with_display_name(name),
            None => address,
        }
    }

    /// Somebody outside, as phones show it: the number at our own host, where it can be called back.
    pub(super) fn outside_identity(&self, from: Option<NameAddr>) -> NameAddr {
        let user = from.as_ref().and_then(|from| user_of(&from.uri)).unwrap_or_else(|| "anonymous".into());
        let address = NameAddr::new(SipUri::new(self.own_host()).with_user(&user));
        match from.and_then(|from| from.display_name) {
            Some(name) => address.with_display_name(name),
            None => address,
        }
    }

    /// A number outside that one of us has called.
    pub(super) fn number_outside(&self, number: &str) -> NameAddr {
        NameAddr::new(SipUri::new(self.own_host()).with_user(number))
    }

    /// That extension of the configuration.
    pub(super) fn extension(&self, number: &str) -> Option<&Extension> {
        self.config.extensions.iter().find(|one| one.number == number)
    }

    fn own_host(&self) -> HostPort {
        HostPort::from(SocketAddr::new(self.address.outside(), self.sip.local().port()))
    }
}

/// What the installed models allow; what is missing degrades, it does not stop the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Callers are understood. Without: a keypad menu.
    pub speech_to_text: bool,
    /// Sentences can be said. Without: tones.
    pub text_to_speech: bool,
}

/// The engines on the mind worker.
pub struct Mind {
    /// `None`: keyword rules and word search only.
    pub embedder: Option<Box<dyn Embedder>>,
    /// Intents.
    pub classifier: Classifier,
    /// What the office has written down.
    pub knowledge: Knowledge,
    /// The office.
    pub office: Arc<Office>,
    /// Tools of other programs.
    pub toolbox: Tools,
    /// When callers are given to a person.
    pub escalation: Policy,
}

/// Tells which tools may be used at this moment.
pub type ToolSource = Box<dyn Fn() -> Vec<Offered> + Send>;

/// The tools as the mind sees them.
pub struct Tools {
    offered: ToolSource,
    /// Of the phrases of the configuration: as many as it has.
    vectors: HashMap<String, Option<Vec<f32>>>,
}

impl Tools {
    /// Those that `offered` tells of.
    pub fn new(offered: ToolSource) -> Tools {
        Tools { offered, vectors: HashMap::new() }
    }

    /// None at all.
    pub fn none() -> Tools {
        Tools::new(Box::new(Vec::new))
    }

    /// Those that a caller can be helped with now.
    fn candidates(&mut self, mut embed: impl FnMut(&str) -> Option<Vec<f32>>) -> Vec<Candidate> {
        let mut vector =
            |text: &str| self.vectors.entry(text.to_owned()).or_insert_with_key(|text| embed(text)).clone();
        let mut candidate = |offered: &Offered| {
            let phrases = Phrase::parts(&offered.says);
            let phrases = phrases.map(|text| Phrase { text: text.to_owned(), vector: vector(text) }).collect();
            // One of no use was named in the log when its server was connected.
            Tool::new(offered).ok().map(|tool| Candidate { tool, phrases })
        };
        (self.offered)().iter().filter_map(&mut candidate).collect()
    }
}

/// A reply and what it cost.
#[derive(Debug, Clone)]
pub struct Thought {
    /// What to say.
    pub reply: Reply,
    /// Passages that answer, whole, best first; none where none were looked for.
    pub passages: Vec<answer::Hit>,
    /// Work of embedding, searching and choosing.
    pub took: Duration,
}

impl Mind {
    /// Understands `text` in its `context` and chooses an answer.
    ///
    /// # Errors
    /// [`Failure::Failed`] when the knowledge cannot be read. A failing embedder only costs the search by meaning.
    pub fn think(&mut self, text: &str, context: &Context) -> Result<Thought, Failure> {
        let thought = self.think_of_all(text, context)?;
        let now = jiff::Zoned::now();
        let reply = self.escalation.apply(thought.reply, text, context, &self.office, &now);
        Ok(Thought { reply, ..thought })
    }

    /// Several requests are answered one by one, if each has an answer.
    fn think_of_all(&mut self, text: &str, context: &Context) -> Result<Thought, Failure> {
        let asked = requests::split(text);
        if asked.len() > 1 {
            let (mut context, mut thoughts) = (context.clone(), Vec::new());
            for request in asked {
                let thought = self.think_alone(request, &context)?;
                context.commit_question(thought.reply.intent, request);
                context.subject = Some(thought.reply.intent).filter(|intent| intent.is_subject()).or(context.subject);
                thoughts.push(thought);
            }
            let took = thoughts.iter().map(|thought| thought.took).sum();
            let passages = thoughts.iter_mut().flat_map(|thought| std::mem::take(&mut thought.passages)).collect();
            if let Some(reply) = requests::join(thoughts.into_iter().map(|thought| thought.reply).collect()) {
                return Ok(Thought { reply, passages, took });
            }
        }
        self.think_alone(text, context)
    }

    /// One request, without the question whether a person is wanted.
    fn think_alone(&mut self, text: &str, context: &Context) -> Result<Thought, Failure> {
        let begun = Instant::now();
        let vector = self.embed(text);
        let mut understanding = self.classifier.understand(text, vector.as_deref(), context);
        let query_vector = if understanding.query == text { vector } else { self.embed(&understanding.query) };
        let now = jiff::Zoned::now().with_time_zone(self.office.time_zone().clone());
        let candidates = self.toolbox.candidates(|text| embedding(self.embedder.as_mut(), text));
        let asked = tools::Asked {
            text,
            understanding: &understanding,
            vector: query_vector.as_deref(),
            context,
            office: &self.office,
            now: &now,
        };
        if let Some(reply) = tools::reply(&asked, &candidates) {
            return Ok(Thought { reply, passages: Vec::new(), took: begun.elapsed() });
        }
        let hits = self.knowledge.search_blocking(&understanding.query, query_vector.as_deref(), HIT_LIMIT).map_err(
            |error| {
                warn!(%error, "Knowledge not searched");
                Failure::Failed
            },
        )?;
        let passages = hits.iter().filter(|hit| hit.is_answer()).map(|hit| hit_with(hit, hit.text.clone())).collect();
        understanding.weigh(hits.first().map_or(0.0, |hit| hit.score));
        // Of a passage only the sentences that answer are spoken.
        let quote = |hit: &knowledge::Hit| knowledge::best_sentences(&hit.text, &understanding.query);
        let hits: Vec<answer::Hit> = hits.iter().map(|hit| hit_with(hit, quote(hit))).collect();
        let reply = answer::reply(&understanding, context, &self.office, &hits, &now);
        Ok(Thought { reply, passages, took: begun.elapsed() })
    }

    /// The office is another from now on.
    pub(crate) fn meet(&mut self, office: Arc<Office>) {
        self.classifier.expect(office.asked_for());
        self.office = office;
    }

    /// Makes the vectors of the tools' phrases, so that no caller waits for it.
    pub(crate) fn learn_tools(&mut self) {
        self.toolbox.candidates(|text| embedding(self.embedder.as_mut(), text));
    }

    fn embed(&mut self, text: &str) -> Option<Vec<f32>> {
        embedding(self.embedder.as_mut(), text)
    }
}

fn embedding(embedder: Option<&mut Box<dyn Embedder>>, text: &str) -> Option<Vec<f32>> {
    embedder?.embed(text).inspect_err(|error| warn!(%error, "No embedding; searching by words")).ok()
}

fn hit_with(hit: &knowledge::Hit, text: String) -> answer::Hit {
    answer::Hit { id: hit.passage_id.to_string(), title: hit.heading.clone(), text, score: hit.score }
}
