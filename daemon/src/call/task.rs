//! One call, from INVITE to its last row: a task that owns the caller's leg, the conversation and the message.
//!
//! It only carries: SIP events, frames, decoded words and replies go into the conversation, whose commands go out to
//! SIP, the media thread, the inference workers and storage. Whatever goes wrong here ends this call alone.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sip_stack::endpoint::{EndCause, Event};
use sip_stack::message::NameAddr;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::bridge::Party;
use super::carriers::Place;
use super::hand_over::HandOver;
use super::incoming::{CallerKind, user_of};
use super::leg::{Leg, LegNews};
use super::listener::Listener;
use super::mailbox::sound;
use super::message::{Held, Kept, Message};
use super::music::file_sound;
use super::record::{Work, turn_row, write_end};
use super::services::{Services, Thought};
use super::tap::{Channel, Tap};
use super::up::{Seat, TakeOver, Talk, Words};
use super::voice::{Voice, tone_clip};
use super::waiting::Waiting;
use crate::config::MailboxGreeting;
use crate::conversation::escalation::{Caller, Escalation, Reason};
use crate::conversation::machine::{
    Command, Conversation, EndClass, Failure, Heard, Input, MessageGreeting, Opening, Recorded, RecordingEnd, Settings,
    SpeechId, ToolUseId, UtteranceId,
};
use crate::conversation::slots::Slots;
use crate::conversation::summary::summary;
use crate::conversation::tools::{self, ToolCall};
use crate::dial_plan::{Target, is_e164};
use crate::inference::Priority;
use crate::io::media::{GiveWay, MediaEvent, MediaSession};
use crate::io::sleep_until;
use crate::mcp::ToolFailure;
use crate::office::Route;
use crate::redact::Redacted;
use crate::second_hearing::Utterance;
use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};
use crate::storage::{
    CallId, CallMetrics, EndedSession, EscalationId, EscalationOutcome, EscalationRow, Leg as LegKind, Termination,
    UnixMs, VoicemailId, find_voicemail, insert_escalation, insert_turn, set_voicemail_urgent,
};

/// Results of inference waiting for the call.
const RESULT_LIMIT: usize = 256;
/// The longest greeting of a mailbox.
const GREETING_MAX: Duration = Duration::from_secs(60);
/// Work notes of utterances kept until their turn is logged.
const WORK_LIMIT: usize = 32;

/// The same for every call, so made once.
static BEEP: LazyLock<Samples> = LazyLock::new(|| audio::dsp::tone::beep(SPEECH_SAMPLE_RATE).into());

/// What an inference worker has done for the call.
pub(super) enum Done {
    Transcribed {
        utterance: UtteranceId,
        result: Result<Heard, Failure>,
        decode: Duration,
    },
    TranscribedPartly {
        result: Result<Heard, Failure>,
    },
    /// In a box: there is room for 32 results from the beginning, and a thought is by far the largest.
    Thought {
        utterance: UtteranceId,
        result: Result<Box<Thought>, Failure>,
    },
    Rendered {
        speech: SpeechId,
        sentence: usize,
        result: Result<Samples, Failure>,
        took: Duration,
    },
    ToolAnswered {
        tool_use: ToolUseId,
        result: Result<Vec<String>, Failure>,
    },
    Kept(Kept),
}

/// An utterance that is or was recognised.
struct Decoding {
    /// Its first frame.
    first: u64,
    work: Work,
    /// Its sound, where it is heard again after the call.
    samples: Vec<i16>,
}

/// What the conversation came to.
enum Outcome {
    Over(End),
    HandOver(Route),
}

/// How the call came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub termination: Termination,
    pub cause: &'static str,
}

impl End {
    const fn new(termination: Termination, cause: &'static str) -> End {
        End { termination, cause }
    }

    /// A number that the dial plan does not let through.
    pub(super) fn denied(cause: &'static str) -> End {
        End::new(Termination::CallerError, cause)
    }

    /// What the dialog says of its end, from the caller's side.
    pub(super) fn of_dialog(cause: EndCause) -> End {
        match cause {
            EndCause::SessionExpired => End::SESSION_EXPIRED,
            EndCause::DialogLost | EndCause::TransportFailed => End::DIALOG_LOST,
            EndCause::NoAck | EndCause::NoPrack => End::NO_ACK,
            EndCause::PeerGaveUp => End::CALLER_CANCELLED,
            EndCause::NoResponse | EndCause::PeerRefused => End::NO_ANSWER,
            EndCause::HungUp | EndCause::Refused | EndCause::PeerHungUp => End::CALLER_HANGUP,
        }
    }

    pub(super) const CALLER_CANCELLED: End = End::new(Termination::Success, "caller_cancelled");
    pub(super) const CALLER_HANGUP: End = End::new(Termination::Success, "caller_hangup");
    pub(super) const NO_COMMON_CODEC: End = End::new(Termination::CallerError, "no_common_codec");
    /// Plain RTP where SRTP is required, SRTP where we have none, or no suite in common.
    pub(super) const NO_COMMON_SECURITY: End = End::new(Termination::CallerError, "no_common_security");
    pub(super) const BAD_OFFER: End = End::new(Termination::CallerError, "bad_sdp");
    pub(super) const NO_ACK: End = End::new(Termination::CallerError, "no_ack");
    pub(super) const NO_RTP: End = End::new(Termination::CallerError, "no_rtp");
    pub(super) const NO_PORT: End = End::new(Termination::OurError, "no_rtp_port");
    pub(super) const ALL_BUSY: End = End::new(Termination::OurError, "attendant_limit");
    pub(super) const STOPPED: End = End::new(Termination::OurError, "daemon_stopped");
    pub(super) const CALLEE_HANGUP: End = End::new(Termination::Success, "callee_hangup");
    pub(super) const TRANSFERRED: End = End::new(Termination::Success, "transferred");
    pub(super) const CALL_LIMIT: End = End::new(Termination::Success, "call_limit");
    pub(super) const BUSY: End = End::new(Termination::Success, "callee_busy");
    pub(super) const DECLINED: End = End::new(Termination::Success, "callee_declined");
    /// Neither side refreshed the session (RFC 4028).
    pub(super) const SESSION_EXPIRED: End = End::new(Termination::CallerError, "session_expired");
    /// The other side knows the call no more, or does not answer within it.
    pub(super) const DIALOG_LOST: End = End::new(Termination::CallerError, "dialog_lost");
    pub(super) const NO_ANSWER: End = End::new(Termination::Success, "no_answer");
    pub(super) const NO_SUCH_NUMBER: End = End::new(Termination::CallerError, "no_such_number");
    pub(super) const TRUNK_FAILED: End = End::new(Termination::UpstreamError, "trunk_failed");
    /// A phone dialled a code, and what it wanted is done.
    pub(super) const FEATURE: End = End::new(Termination::Success, "feature_code");
    pub(super) const PAGING_BUSY: End = End::new(Termination::Success, "paging_busy");
    pub(super) const NO_SOUND_CARD: End = End::new(Termination::OurError, "no_sound_card");
    pub(super) const INTERNAL: End = End::new(Termination::OurError, "internal_error");
}

/// The running call.
pub(super) struct CallTask {
    services: Arc<Services>,
    call_id: CallId,
    leg: Leg,
    /// As whom the caller is connected.
    identity: (CallerKind, NameAddr),
    places: Vec<Place>,
    stop: watch::Receiver<bool>,
    done: mpsc::Receiver<Done>,
    done_sender: mpsc::Sender<Done>,
    /// Who wants the caller.
    take_over: mpsc::Receiver<TakeOver>,
    conversation: Conversation,
    listener: Listener,
    voice: Voice,
    message: Option<Message>,
    /// A message is on its way to the disk.
    is_keeping: bool,
    /// The last one that was kept, while it may still be changed.
    held: Option<Held>,
    /// Into which mailbox messages go; `None`: the office's, or that of whoever is named.
    mailbox: Option<String>,
    /// Its greeting, if that is recorded.
    greeting_file: Option<PathBuf>,
    tap: Tap,
    /// Decodes under way, to be aborted when their result is no longer wanted.
    decodes: HashMap<UtteranceId, Arc<AtomicBool>>,
    /// A partial one under way.
    partial: Option<Arc<AtomicBool>>,
    /// What is thought about.
    thinking: Option<(UtteranceId, AbortHandle)>,
    /// The tool that is asked.
    tool: Option<(ToolUseId, AbortHandle)>,
    /// Work done for utterances whose turn is not logged yet, with the first frame of each.
    work: HashMap<UtteranceId, Decoding>,
    /// The utterance whose answer comes next.
    answered: Option<UtteranceId>,
    /// The speech being said and the utterance it answers.
    answering: Option<(SpeechId, UtteranceId)>,
    message_taken: bool,
    /// The row of the last decision that a person is wanted, and why.
    escalation: Option<(EscalationId, Reason)>,
    began: Instant,
}

impl CallTask {
    /// A conversation with whoever has waited for it.
    pub(super) fn new(waiting: Waiting, opening: Opening, known: Caller) -> CallTask {
        let Waiting { services, call_id, leg, caller, from, places, stop, turns, mailbox, .. } = waiting;
        let (done_sender, done) = mpsc::channel(RESULT_LIMIT);
        services.up.note(call_id, Talk::Attendant(Seat::new(leg.media.peer(), &caller)));
        let mut tap = Tap::new(&services, call_id);
        if services.config.recording.attendant_enabled {
            tap.record(&services, call_id);
        }
        tap.follow(&leg);
        leg.command(|media, _| media.listen(true));
        let now = Instant::now();
        let office = services.office_now();
        let greeting = mailbox.as_ref().and_then(|name| services.config.mailbox(name));
        let greeting = greeting.and_then(|mailbox| mailbox.greeting(&office, &jiff::Zoned::now()));
        let (message_greeting, greeting_file) = match greeting {
            Some(MailboxGreeting::Text(text)) => (Some(MessageGreeting::Text(text)), None),
            Some(MailboxGreeting::File(file)) => (Some(MessageGreeting::Recorded), Some(file)),
            None => (None, None),
        };
        let settings = Settings {
            speech_to_text: services.abilities.speech_to_text,
            text_to_speech: services.abilities.text_to_speech,
            opening,
            caller: known,
            message_greeting,
            turns_before: turns,
            anybody: services.staff.office().route(None, &jiff::Zoned::now()),
            ..services.settings.clone()
        };
        CallTask {
            call_id,
            leg,
            identity: (caller, from),
            places,
            stop,
            done,
            done_sender,
            take_over: services.up.attend(call_id),
            conversation: Conversation::new(settings, office, now),
            listener: Listener::new((services.voice_activity)()),
            voice: Voice::default(),
            message: None,
            is_keeping: false,
            held: None,
            mailbox,
            greeting_file,
            tap,
            decodes: HashMap::new(),
            partial: None,
            thinking: None,
            tool: None,
            work: HashMap::new(),
            answered: None,
            answering: None,
            message_taken: false,
            escalation: None,
            began: now,
            services,
        }
    }

    /// Talks until somebody hangs up, or until the caller is to be connected with somebody.
    pub(super) async fn run(mut self) -> Option<(Waiting, HandOver)> {
        self.feed(Input::Answered);
        let end = loop {
            match self.drain() {
                Some(Outcome::Over(end)) => break end,
                Some(Outcome::HandOver(route)) => return Some(Box::pin(self.hand_over(route, None)).await),
                None => {}
            }
            let deadline = self.conversation.poll_timeout().map(|(at, _)| at);
            let heard = tokio::select! {
                biased;
                event = self.leg.events.recv() => match event {
                    Some(event) => self.handle_sip(event).await,
                    None => Some(End::INTERNAL),
                },
                Ok(()) = self.leg.moved.changed() => { self.leg.follow_address().await; None }
                Some(done) = self.done.recv() => { self.handle_done(done); None }
                Some(event) = self.leg.frames.recv() => self.handle_sound(event),
                () = self.tap.changed() => { self.tap.follow(&self.leg); None }
                Some(wanted) = self.take_over.recv() => return Some(Box::pin(self.give_away(wanted)).await),
                () = sleep_until(deadline) => { self.conversation.handle_timeout(Instant::now()); None }
                Ok(()) = self.stop.changed() => { let told = *self.stop.borrow(); told.then_some(End::STOPPED) }
            };
            if let Some(end) = heard {
                break end;
            }
        };
        self.finish(end).await;
        None
    }

    /// Somebody of the office wants the caller, in the middle of whatever is said. A message that is being left is kept.
    async fn give_away(mut self, TakeOver { by, phone }: TakeOver) -> (Waiting, HandOver) {
        info!("Taken over");
        // Whoever comes second is told so.
        self.take_over.close();
        let person = self.services.staff.office().person_at(&by).map(|person| person.name.clone());
        let route = Route { person, reach: Some(Target::Extension(by)), mobile: None };
        let to = Some(route.clone());
        self.note_escalation(None, Escalation { reason: Reason::TakenOver, detail: None, to });
        self.keep_messages().await;
        self.feed(Input::TakenOver);
        self.execute_all();
        self.media_command(MediaSession::stop);
        let (waiting, wanted) = self.hand_over(route, phone).await;
        (waiting, HandOver { is_sudden: true, ..wanted })
    }

    /// The caller waits from now on. Nothing is said or recorded at this moment: the conversation has ended.
    async fn hand_over(mut self, route: Route, phone: Option<Box<Party>>) -> (Waiting, HandOver) {
        info!("Handed over");
        self.take_over.close();
        let number = user_of(&self.identity.1.uri).filter(|number| is_e164(number));
        let context = self.conversation.context();
        let (escalation, reason) = self.escalation.map_or((None, None), |(id, reason)| (Some(id), Some(reason)));
        let wanted = HandOver {
            route,
            escalation,
            summary: summary(context, reason, number.as_deref(), &self.services.office, &jiff::Zoned::now()),
            name: context.slots.name.clone(),
            number,
            is_sudden: false,
            phone,
        };
        self.tap.finish_recording().await;
        self.leg.command(|media, _| media.listen(false));
        self.decodes.values().for_each(|abort| abort.store(true, Ordering::Relaxed));
        let turns = self.conversation.context().turns;
        let waiting = Waiting::new(self.services, self.call_id, self.leg, self.identity, self.stop);
        (waiting.with_places(self.places).after_turns(turns), wanted)
    }

    fn feed(&mut self, input: Input) {
        self.conversation.handle(input, Instant::now());
    }

    /// Carries out everything the conversation and the voice want; the outcome once there is one.
    fn drain(&mut self) -> Option<Outcome> {
        loop {
            while let Some(input) = self.voice.poll_input() {
                self.feed(input);
            }
            while let Some((clip, samples)) = self.voice.poll_clip() {
                if self.leg.media.play(clip, samples).is_err() {
                    return Some(Outcome::Over(End::INTERNAL));
                }
            }
            match self.conversation.poll_command() {
                Some(Command::HangUp(ending)) => {
                    let termination = match ending.class {
                        EndClass::Success => Termination::Success,
                        EndClass::CallerError => Termination::CallerError,
                        EndClass::OurError => Termination::OurError,
                    };
                    return Some(Outcome::Over(End::new(termination, ending.cause)));
                }
                Some(Command::HandOver { to }) => return Some(Outcome::HandOver(to)),
                Some(command) => self.execute(command),
                None if self.voice.is_idle() => {
                    self.listener.forget_before(self.conversation.needs_frames_from());
                    return None;
                }
                None => {}
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Speak { speech, sentences, display, skip, .. } => {
                let text = Redacted::new(display.join(" "));
                self.tap.tell_words(Words { by_caller: false, text, is_final: true });
                self.speak(speech, sentences, skip);
            }
            Command::Prepare { sentences } => {
                for sentence in sentences {
                    self.services.speaker.render(&sentence, Priority::Speculative, |_| {});
                }
            }
            Command::Duck => self.give_way(GiveWay::Ducked),
            Command::Hold => self.give_way(GiveWay::Held),
            Command::Unduck => self.give_way(GiveWay::No),
            Command::StopSpeaking { speech } => {
                debug!("Falling silent for the caller");
                if self.voice.stop(speech) {
                    self.media_command(MediaSession::stop);
                }
            }
            Command::Transcribe { utterance, frames, speculative } => {
                if self.work.len() >= WORK_LIMIT {
                    self.work.clear();
                }
                let first = frames.start;
                let samples = self.listener.samples(frames);
                let kept = if self.services.second_hearing.is_some() { samples.clone() } else { Vec::new() };
                self.work.insert(utterance, Decoding { first, work: Work::default(), samples: kept });
                self.transcribe(utterance, samples, speculative);
            }
            Command::TranscribePartly { frames } => self.transcribe_partly(frames),
            Command::AbandonTranscription { utterance } => self.abandon(utterance),
            Command::Think { utterance, text, context } => self.think(utterance, text, *context),
            Command::UseTool { tool_use, call, question, limit } => self.use_tool(tool_use, *call, question, limit),
            Command::AbandonTool { tool_use } => {
                if let Some((_, task)) = self.tool.take_if(|(asked, _)| *asked == tool_use) {
                    task.abort();
                }
            }
            Command::Beep => {
                self.media_command(|media| media.play(tone_clip(0), Arc::clone(&BEEP)));
            }
            Command::StartRecording { max, silence } => {
                self.message = Some(Message::start(&self.services, (self.call_id, self.mailbox()), max, silence));
            }
            Command::StopRecording => self.end_message(RecordingEnd::Stopped),
            Command::Play { speech, what } => self.play(speech, what),
            Command::MarkUrgent => {
                if let Some(voicemail_id) = self.held.as_ref().map(|held| held.voicemail_id) {
                    self.store("urgency of a message", move |sql_tx| {
                        set_voicemail_urgent(sql_tx, voicemail_id, UnixMs::now())
                    });
                }
            }
            Command::SendMessage => self.held = None,
            Command::Escalate { turn_number, escalation } => self.note_escalation(turn_number, *escalation),
            Command::LogTurn(turn) => {
                let (work, samples) = self.take_work(turn.frames.start);
                let row = turn_row(self.call_id, *turn, work, Instant::now(), UnixMs::now());
                self.tap.tell_words(Words { by_caller: true, text: row.text.clone(), is_final: true });
                if let Some(hearing) = self.services.second_hearing.as_ref().filter(|_| !samples.is_empty()) {
                    hearing.take(Utterance { turn_id: row.turn_id, text: row.text.clone(), samples });
                }
                self.store("turn", move |sql_tx| insert_turn(sql_tx, &row));
            }
            Command::HangUp(_) | Command::HandOver { .. } => {}
        }
    }

    fn note_escalation(&mut self, turn_number: Option<u32>, escalation: Escalation) {
        let Escalation { reason, detail, to } = escalation;
        info!(reason = reason.as_str(), is_somebody_there = to.is_some(), "A person is wanted");
        let at = UnixMs::now();
        let escalation_id = EscalationId::new(at);
        let row = EscalationRow {
            escalation_id,
            call_id: self.call_id,
            turn_number,
            reason: reason.as_str().to_owned(),
            detail,
            reach: to.as_ref().map(ToString::to_string),
            outcome: to.is_none().then_some(EscalationOutcome::NobodyThere),
            person: to.and_then(|route| route.person),
            created_at: at,
        };
        self.escalation = Some((escalation_id, reason));
        self.store("escalation", move |sql_tx| insert_escalation(sql_tx, &row));
    }

    /// What was done for the turn that begins with frame `first`: its last attempt counts, the others are forgotten.
    fn take_work(&mut self, first: u64) -> (Work, Vec<i16>) {
        let of_turn = self.work.iter().filter(|(_, decoding)| decoding.first == first);
        let last = of_turn.map(|(utterance, _)| *utterance).max();
        let last = last.and_then(|utterance| self.work.remove(&utterance));
        self.work.retain(|_, decoding| decoding.first > first);
        last.map(|decoding| (decoding.work, decoding.samples)).unwrap_or_default()
    }

    fn media_command(&self, command: impl FnOnce(&MediaSession) -> Result<(), crate::io::media::MediaUnavailable>) {
        self.leg.command(|media, _| command(media));
    }

    /// Queues a write; its failure is logged, since the call goes on without it.
    fn store(
        &self,
        what: &'static str,
        job: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), crate::storage::StorageError> + Send + 'static,
    ) {
        self.services.storage.try_post(what, job);
    }

    fn give_way(&self, how: GiveWay) {
        debug!(?how, "Giving way");
        self.media_command(|media| media.give_way(how));
    }

    fn begin_voice(&mut self, speech: SpeechId, sentences: usize, skip: f32) {
        self.voice.begin(speech, sentences, skip);
        // What the last one gave way to does not concern this one.
        self.give_way(GiveWay::No);
    }

    fn speak(&mut self, speech: SpeechId, sentences: Vec<String>, skip: f32) {
        self.answering = self.answered.take().map(|utterance| (speech, utterance));
        self.begin_voice(speech, sentences.len(), skip);
        for (sentence, text) in sentences.iter().enumerate() {
            let (done, begun) = (self.done_sender.clone(), Instant::now());
            self.services.speaker.render(text, Priority::Live, move |result| {
                let result = result.map_err(|error| {
                    debug!(%error, "Sentence not rendered");
                    failure_of(&error)
                });
                let _ = done.try_send(Done::Rendered { speech, sentence, result, took: begun.elapsed() });
            });
        }
    }

    fn transcribe(&mut self, utterance: UtteranceId, samples: Vec<i16>, speculative: bool) {
        // What it was for is to be transcribed as a whole now.
        if let Some(partial) = &self.partial {
            partial.store(true, Ordering::Relaxed);
        }
        let abort = Arc::new(AtomicBool::new(false));
        self.decodes.insert(utterance, Arc::clone(&abort));
        let done = self.done_sender.clone();
        let priority = if speculative { Priority::Speculative } else { Priority::Live };
        let submitted = self.services.ears.submit(priority, move |ears| {
            let begun = Instant::now();
            let result = ears.transcribe(samples, abort);
            let _ = done.try_send(Done::Transcribed { utterance, result, decode: begun.elapsed() });
        });
        if submitted.is_err() {
            self.feed(Input::Transcribed { utterance, result: Err(Failure::Unavailable) });
        }
    }

    /// For whoever reads along; dropped where the recogniser has anything else to do.
    fn transcribe_partly(&mut self, frames: Range<u64>) {
        if !self.tap.is_heard() || self.partial.is_some() {
            return;
        }
        let (samples, abort) = (self.listener.samples(frames), Arc::new(AtomicBool::new(false)));
        let (done, partial) = (self.done_sender.clone(), Arc::clone(&abort));
        let submitted = self.services.ears.submit(Priority::Background, move |ears| {
            let result = ears.transcribe(samples, abort);
            let _ = done.try_send(Done::TranscribedPartly { result });
        });
        self.partial = submitted.is_ok().then_some(partial);
    }

    fn abandon(&mut self, utterance: UtteranceId) {
        if let Some(abort) = self.decodes.remove(&utterance) {
            abort.store(true, Ordering::Relaxed);
        }
        self.work.remove(&utterance);
        if let Some((_, thinking)) = self.thinking.take_if(|(about, _)| *about == utterance) {
            thinking.abort();
        }
    }

    fn think(&mut self, utterance: UtteranceId, text: String, context: crate::conversation::context::Context) {
        let (services, done) = (Arc::clone(&self.services), self.done_sender.clone());
        let thinking = tokio::spawn(async move {
            let result = services.answerer.answer(text, context).await.map(Box::new);
            let _ = done.try_send(Done::Thought { utterance, result });
        });
        // What was thought about before is not wanted any more.
        if let Some((_, before)) = self.thinking.replace((utterance, thinking.abort_handle())) {
            before.abort();
        }
    }

    fn use_tool(&mut self, tool_use: ToolUseId, call: ToolCall, question: String, limit: Duration) {
        let (tools, done) = (Arc::clone(&self.services.tools), self.done_sender.clone());
        let persona = Arc::clone(&self.services.persona);
        let asking = tokio::spawn(async move {
            let answer = tools.call(&call.server, &call.name, call.arguments, limit).await;
            let sentences = |text: &str| {
                let mut sentences = tools::sentences(text, &question);
                sentences.retain(|sentence| persona.may_say(sentence));
                sentences
            };
            let result = answer.map(|answer| sentences(&answer.text)).map_err(|failure| {
                info!(server = call.server, tool = call.name, error = %failure, "Tool gave no answer");
                match failure {
                    ToolFailure::NotOffered | ToolFailure::Unavailable => Failure::Unavailable,
                    ToolFailure::TimedOut => Failure::TimedOut,
                    ToolFailure::Failed => Failure::Failed,
                }
            });
            let _ = done.try_send(Done::ToolAnswered { tool_use, result });
        });
        self.tool = Some((tool_use, asking.abort_handle()));
    }

    fn handle_done(&mut self, done: Done) {
        match done {
            Done::Transcribed { utterance, result, decode } => {
                if self.decodes.remove(&utterance).is_none() {
                    return;
                }
                if let Some(decoding) = self.work.get_mut(&utterance) {
                    decoding.work.decode = Some(decode);
                }
                self.feed(Input::Transcribed { utterance, result });
            }
            Done::TranscribedPartly { result } => {
                let is_wanted = self.partial.take().is_some_and(|abort| !abort.load(Ordering::Relaxed));
                if let Ok(heard) = result
                    && is_wanted
                    && !heard.text.is_empty()
                {
                    self.tap.tell_words(Words { by_caller: true, text: Redacted::new(heard.text), is_final: false });
                }
            }
            Done::Thought { utterance, result } => {
                let reply = result.map(|thought| {
                    if let Some(decoding) = self.work.get_mut(&utterance) {
                        decoding.work.understand = Some(thought.took);
                    }
                    self.answered = Some(utterance);
                    thought.reply
                });
                self.feed(Input::Replied { utterance, reply });
            }
            Done::Rendered { speech, sentence, result, took } => {
                if sentence == 0
                    && let Some((_, utterance)) = self.answering.filter(|(answering, _)| *answering == speech)
                    && let Some(Decoding { work, .. }) = self.work.get_mut(&utterance)
                {
                    work.first_sentence = Some(took);
                }
                self.voice.handle_rendered(speech, sentence, result);
            }
            Done::ToolAnswered { tool_use, result } => self.feed(Input::ToolAnswered { tool_use, result }),
            Done::Kept(kept) => {
                let why = kept.why;
                let kept = self.hold(kept);
                self.feed(Input::RecordingEnded { why, kept });
            }
        }
    }

    /// A tick brings more than one event, and to wait anew for each costs more than to deal with it.
    fn handle_sound(&mut self, first: MediaEvent) -> Option<End> {
        let mut event = Some(first);
        while let Some(next) = event {
            if let Some(end) = self.handle_media(next) {
                return Some(end);
            }
            event = self.leg.frames.try_recv();
        }
        None
    }

    fn handle_media(&mut self, event: MediaEvent) -> Option<End> {
        match event {
            MediaEvent::Said(frame) => {
                self.listener.note_said(frame);
                self.tap.push(Channel::Other, frame);
            }
            MediaEvent::Frame { frame, .. } => {
                self.tap.push(Channel::Caller, frame);
                let sound = self.listener.hear(&frame);
                if let Some(message) = &mut self.message
                    && let Some(why) = message.push(&frame, sound.speech)
                {
                    self.end_message(why);
                }
                self.feed(Input::Frame { index: sound.index, speech: sound.speech, level_dbov: sound.level_dbov });
                if sound.index.is_multiple_of(50) {
                    self.leg.keep_metrics(self.call_id, LegKind::Caller);
                    return self.leg.is_silent().then_some(End::NO_RTP);
                }
            }
            MediaEvent::Digit(digit) => self.feed(Input::Digit(digit)),
            MediaEvent::ClipStarted { clip, at } => self.voice.handle_clip_started(clip, at),
            MediaEvent::ClipFinished { clip, .. } => self.voice.handle_clip_finished(clip),
            MediaEvent::ClipStopped { clip, heard } => self.voice.handle_clip_stopped(clip, heard),
        }
        None
    }

    async fn handle_sip(&mut self, event: Event) -> Option<End> {
        match self.leg.handle(event).await {
            LegNews::Nothing => None,
            LegNews::Pressed(key) => {
                self.feed(Input::Digit(key));
                None
            }
            LegNews::Ended(end) => {
                self.feed(Input::PeerHungUp);
                Some(end)
            }
        }
    }

    /// The message may be changed from now on, and the one before it, if it was not sent yet, is given up for it. What the
    /// caller is told.
    fn hold(&mut self, kept: Kept) -> Result<String, Failure> {
        self.is_keeping = false;
        let held = kept.message?;
        self.message_taken = true;
        let reference = held.reference();
        if let Some(earlier) = self.held.replace(held) {
            earlier.supersede();
        }
        Ok(reference)
    }

    /// Plays the message that may still be changed, or the greeting of the mailbox.
    fn play(&mut self, speech: SpeechId, what: Recorded) {
        self.begin_voice(speech, 1, 0.0);
        let (services, done, begun) = (Arc::clone(&self.services), self.done_sender.clone(), Instant::now());
        let voicemail_id = self.held.as_ref().map(|held| held.voicemail_id);
        let file = self.greeting_file.clone();
        tokio::spawn(async move {
            let samples = match what {
                Recorded::Message => message_sound(&services, voicemail_id).await,
                Recorded::Greeting => greeting_sound(file).await,
            };
            let result = samples.ok_or(Failure::Failed);
            let _ = done.send(Done::Rendered { speech, sentence: 0, result, took: begun.elapsed() }).await;
        });
    }

    /// Into which mailbox a message goes now: of whom they wanted before, or have named since; `None`: the office's.
    fn mailbox(&self) -> Option<String> {
        let named = || {
            let Slots { message_for, department, .. } = &self.conversation.context().slots;
            message_for.as_ref().or(department.as_ref()).and_then(|name| self.services.config.mailbox(name))
        };
        self.mailbox.clone().or_else(|| named().map(|mailbox| mailbox.name.clone()))
    }

    fn end_message(&mut self, why: RecordingEnd) {
        let Some(message) = self.message.take() else { return };
        self.is_keeping = true;
        let done = self.done_sender.clone();
        tokio::spawn(async move {
            let kept = message.keep(why).await;
            let _ = done.send(Done::Kept(kept)).await;
        });
    }

    /// Ends the dialog, keeps a message that was being left and writes the last rows.
    async fn finish(&mut self, end: End) {
        self.take_over.close();
        self.keep_messages().await;
        self.execute_all();
        self.leg.hang_up(None).await;
        self.tap.finish_recording().await;
        self.decodes.values().for_each(|abort| abort.store(true, Ordering::Relaxed));
        let stats = self.leg.media.stats();
        let (metrics, ended) = self.last_rows(end);
        write_end(&self.services.storage, self.call_id, vec![metrics], ended).await;
        info!(
            cause = end.cause,
            class = end.termination.as_str(),
            seconds = self.began.elapsed().as_secs(),
            packets_received = stats.received.received,
            packets_lost = stats.received.lost,
            "Call ended"
        );
    }

    /// What the conversation wants done at its end.
    fn execute_all(&mut self) {
        while let Some(command) = self.conversation.poll_command() {
            self.execute(command);
        }
    }

    /// Ends the message that is being left, and sends what may still have been changed. Before the conversation's last
    /// commands, which would end it in the background.
    async fn keep_messages(&mut self) {
        if let Some(message) = self.message.take() {
            let kept = message.keep(RecordingEnd::HungUp).await;
            // What is held is sent when this is dropped.
            let _ = self.hold(kept);
        }
        while self.is_keeping {
            match self.done.recv().await {
                Some(Done::Kept(kept)) => {
                    let _ = self.hold(kept);
                }
                Some(_) => {}
                None => break,
            }
        }
        self.held = None;
    }

    fn last_rows(&mut self, end: End) -> (CallMetrics, EndedSession) {
        let at = UnixMs::now();
        let metrics = self.leg.metrics(self.call_id, LegKind::Caller, at);
        let disposition = Some(match (self.message_taken, end.termination) {
            (true, _) => "message_taken",
            (false, Termination::Success) => "answered_by_attendant",
            (false, _) => "abandoned",
        });
        (metrics, EndedSession { ended_at: at, termination: end.termination, hangup_cause: end.cause, disposition })
    }
}

async fn message_sound(services: &Services, voicemail_id: Option<VoicemailId>) -> Option<Samples> {
    let id = voicemail_id?;
    let voicemail = services.storage.read(move |db| find_voicemail(db, id)).await.ok()??;
    sound(services, &voicemail).await
}

async fn greeting_sound(file: Option<PathBuf>) -> Option<Samples> {
    let file = file?;
    match tokio::task::spawn_blocking(move || file_sound(&file, "greeting of a mailbox", GREETING_MAX)).await {
        Ok(Ok(samples)) => Some(samples),
        Ok(Err(error)) => {
            warn!("{error:#}; callers hear a sentence instead");
            None
        }
        Err(_) => None,
    }
}

fn failure_of(error: &crate::speaker::SpeakError) -> Failure {
    use crate::speaker::SpeakError;
    match error {
        SpeakError::NoVoice | SpeakError::Submit(_) => Failure::Unavailable,
        SpeakError::Engine(_) | SpeakError::Resample(_) | SpeakError::NoSampleRate => Failure::Failed,
    }
}
