//! One call, from INVITE to its last row: a task that owns the caller's leg, the conversation and the message.
//!
//! It only carries: SIP events, frames, decoded words and replies go into the conversation, whose commands go out to
//! SIP, the media thread, the inference workers and storage. Whatever goes wrong here ends this call alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sip_stack::endpoint::{CallHandle, Event};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::listener::Listener;
use super::message::{Kept, Message};
use super::negotiate::{self, MediaAgreement};
use super::record::{Work, turn_row};
use super::services::{Services, Thought};
use super::voice::{Voice, tone_clip};
use crate::conversation::machine::{
    Command, Conversation, EndClass, Failure, Heard, Input, RecordingEnd, Settings, SpeechId, UtteranceId,
};
use crate::inference::Priority;
use crate::io::media::{EVENT_LIMIT, MediaEvent, MediaSession, StreamStats};
use crate::io::sleep_until;
use crate::speaker::Samples;
use crate::storage::{
    CallId, CallMetrics, EndedSession, Leg, MetricsId, Storage, Termination, UnixMs, end_session, insert_metrics,
    insert_turn,
};

/// Results of inference waiting for the call.
const RESULT_LIMIT: usize = 256;
/// Work notes of utterances kept until their turn is logged.
const WORK_LIMIT: usize = 32;

/// What an inference worker has done for the call.
pub(super) enum Done {
    Transcribed { utterance: UtteranceId, result: Result<Heard, Failure>, decode: Duration },
    Thought { utterance: UtteranceId, result: Result<Thought, Failure> },
    Rendered { speech: SpeechId, sentence: usize, result: Result<Samples, Failure>, took: Duration },
    Kept(Kept),
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

    pub(super) const CALLER_CANCELLED: End = End::new(Termination::Success, "caller_cancelled");
    pub(super) const CALLER_HANGUP: End = End::new(Termination::Success, "caller_hangup");
    pub(super) const NO_COMMON_CODEC: End = End::new(Termination::CallerError, "no_common_codec");
    pub(super) const BAD_OFFER: End = End::new(Termination::CallerError, "bad_sdp");
    pub(super) const NO_ACK: End = End::new(Termination::CallerError, "no_ack");
    pub(super) const NO_RTP: End = End::new(Termination::CallerError, "no_rtp");
    pub(super) const NO_PORT: End = End::new(Termination::OurError, "no_rtp_port");
    pub(super) const STOPPED: End = End::new(Termination::OurError, "daemon_stopped");
    pub(super) const INTERNAL: End = End::new(Termination::OurError, "internal_error");
}

/// The running call.
pub(super) struct CallTask {
    services: Arc<Services>,
    handle: CallHandle,
    call_id: CallId,
    agreement: MediaAgreement,
    media: MediaSession,
    sip: mpsc::Receiver<Event>,
    frames: mpsc::Receiver<MediaEvent>,
    done: mpsc::Receiver<Done>,
    done_sender: mpsc::Sender<Done>,
    conversation: Conversation,
    listener: Listener,
    voice: Voice,
    message: Option<Message>,
    /// Decodes under way, to be aborted when their result is no longer wanted.
    decodes: HashMap<UtteranceId, Arc<AtomicBool>>,
    /// Work done for utterances whose turn is not logged yet, with the first frame of each.
    work: HashMap<UtteranceId, (u64, Work)>,
    /// The utterance whose answer comes next.
    answered: Option<UtteranceId>,
    /// The speech being said and the utterance it answers.
    answering: Option<(SpeechId, UtteranceId)>,
    message_taken: bool,
    began: Instant,
}

/// What a call needs to start talking.
pub(super) struct Answered {
    pub services: Arc<Services>,
    pub handle: CallHandle,
    pub call_id: CallId,
    pub agreement: MediaAgreement,
    pub sip: mpsc::Receiver<Event>,
}

impl CallTask {
    /// Opens the caller's stream and the conversation.
    pub(super) fn new(answered: Answered) -> Result<CallTask, End> {
        let Answered { services, handle, call_id, mut agreement, sip } = answered;
        let (frame_sender, frames) = mpsc::channel(EVENT_LIMIT);
        let (done_sender, done) = mpsc::channel(RESULT_LIMIT);
        let port = agreement.take_port().ok_or(End::INTERNAL)?;
        let media = services.media.open(port, agreement.stream(), frame_sender).map_err(|_| End::INTERNAL)?;
        let now = Instant::now();
        let settings = Settings {
            speech_to_text: services.abilities.speech_to_text,
            text_to_speech: services.abilities.text_to_speech,
            ..services.settings.clone()
        };
        Ok(CallTask {
            handle,
            call_id,
            agreement,
            media,
            sip,
            frames,
            done,
            done_sender,
            conversation: Conversation::new(settings, Arc::clone(&services.office), now),
            listener: Listener::new((services.voice_activity)()),
            voice: Voice::default(),
            message: None,
            decodes: HashMap::new(),
            work: HashMap::new(),
            answered: None,
            answering: None,
            message_taken: false,
            began: now,
            services,
        })
    }

    /// Talks until somebody hangs up.
    pub(super) async fn run(mut self, mut stop: tokio::sync::watch::Receiver<bool>) -> End {
        self.feed(Input::Answered);
        let end = loop {
            if let Some(end) = self.drain() {
                break end;
            }
            let deadline = self.conversation.poll_timeout().map(|(at, _)| at);
            let heard = tokio::select! {
                biased;
                event = self.sip.recv() => match event {
                    Some(event) => self.handle_sip(event).await,
                    None => Some(End::INTERNAL),
                },
                Some(done) = self.done.recv() => { self.handle_done(done); None }
                Some(event) = self.frames.recv() => self.handle_media(event),
                () = sleep_until(deadline) => { self.conversation.handle_timeout(Instant::now()); None }
                Ok(()) = stop.changed() => { let told = *stop.borrow(); told.then_some(End::STOPPED) }
            };
            if let Some(end) = heard {
                break end;
            }
        };
        self.finish(end).await;
        end
    }

    fn feed(&mut self, input: Input) {
        self.conversation.handle(input, Instant::now());
    }

    /// Carries out everything the conversation and the voice want; the end if the conversation hung up.
    fn drain(&mut self) -> Option<End> {
        loop {
            while let Some(input) = self.voice.poll_input() {
                self.feed(input);
            }
            while let Some((clip, samples)) = self.voice.poll_clip() {
                if self.media.play(clip, samples).is_err() {
                    return Some(End::INTERNAL);
                }
            }
            match self.conversation.poll_command() {
                Some(Command::HangUp(ending)) => {
                    let termination = match ending.class {
                        EndClass::Success => Termination::Success,
                        EndClass::CallerError => Termination::CallerError,
                        EndClass::OurError => Termination::OurError,
                    };
                    return Some(End::new(termination, ending.cause));
                }
                Some(command) => self.execute(command),
                None if self.voice.is_idle() => return None,
                None => {}
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Speak { speech, sentences, .. } => self.speak(speech, sentences),
            Command::Prepare { sentences } => {
                for sentence in sentences {
                    self.services.speaker.render(&sentence, Priority::Speculative, |_| {});
                }
            }
            Command::Duck => self.media_command(|media| media.duck(true)),
            Command::Unduck => self.media_command(|media| media.duck(false)),
            Command::StopSpeaking { speech } => {
                if self.voice.stop(speech) {
                    self.media_command(MediaSession::stop);
                }
            }
            Command::Transcribe { utterance, frames, speculative } => {
                if self.work.len() >= WORK_LIMIT {
                    self.work.clear();
                }
                self.work.insert(utterance, (frames.start, Work::default()));
                let samples = self.listener.samples(frames);
                self.transcribe(utterance, samples, speculative);
            }
            Command::AbandonTranscription { utterance } => self.abandon(utterance),
            Command::Think { utterance, text, context } => self.think(utterance, text, *context),
            Command::Beep => {
                let tone: Samples = audio::dsp::tone::beep(crate::speaker::SPEECH_SAMPLE_RATE).into();
                self.media_command(|media| media.play(tone_clip(0), tone));
            }
            Command::StartRecording { max, silence } => {
                self.message = Some(Message::start(&self.services, self.call_id, max, silence));
            }
            Command::StopRecording => self.end_message(RecordingEnd::Stopped),
            Command::LogTurn(turn) => {
                let work = self.take_work(turn.frames.start);
                let row = turn_row(self.call_id, *turn, work, Instant::now(), UnixMs::now());
                self.store("turn", move |sql_tx| insert_turn(sql_tx, &row));
            }
            Command::HangUp(_) => {}
        }
    }

    /// What was done for the turn that begins with frame `first`: its last attempt counts, the others are forgotten.
    fn take_work(&mut self, first: u64) -> Work {
        let of_turn = self.work.iter().filter(|(_, (frame, _))| *frame == first);
        let last = of_turn.map(|(utterance, (_, work))| (*utterance, *work)).max_by_key(|(utterance, _)| *utterance);
        self.work.retain(|_, (frame, _)| *frame > first);
        last.map(|(_, work)| work).unwrap_or_default()
    }

    fn media_command(&self, command: impl FnOnce(&MediaSession) -> Result<(), crate::io::media::MediaUnavailable>) {
        if let Err(error) = command(&self.media) {
            warn!(%error, "Media command lost");
        }
    }

    /// Queues a write; its failure is logged, since the call goes on without it.
    fn store(
        &self,
        what: &'static str,
        job: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), crate::storage::StorageError> + Send + 'static,
    ) {
        match self.services.storage.try_write(job) {
            Ok(pending) => {
                tokio::spawn(async move {
                    if let Err(error) = pending.await {
                        warn!(%error, what, "Row not written");
                    }
                });
            }
            Err(error) => warn!(%error, what, "Row not written"),
        }
    }

    fn speak(&mut self, speech: SpeechId, sentences: Vec<String>) {
        self.answering = self.answered.take().map(|utterance| (speech, utterance));
        self.voice.begin(speech, sentences.len());
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
        let abort = Arc::new(AtomicBool::new(false));
        self.decodes.insert(utterance, Arc::clone(&abort));
        let done = self.done_sender.clone();
        let priority = if speculative { Priority::Speculative } else { Priority::Live };
        let submitted = self.services.ears.submit(priority, move |ears| {
            let begun = Instant::now();
            let result = ears.transcribe(&samples, abort);
            let _ = done.try_send(Done::Transcribed { utterance, result, decode: begun.elapsed() });
        });
        if submitted.is_err() {
            self.feed(Input::Transcribed { utterance, result: Err(Failure::Unavailable) });
        }
    }

    fn abandon(&mut self, utterance: UtteranceId) {
        if let Some(abort) = self.decodes.remove(&utterance) {
            abort.store(true, Ordering::Relaxed);
        }
        self.work.remove(&utterance);
    }

    fn think(&mut self, utterance: UtteranceId, text: String, context: crate::conversation::context::Context) {
        let done = self.done_sender.clone();
        let submitted = self.services.mind.submit(Priority::Live, move |mind| {
            let _ = done.try_send(Done::Thought { utterance, result: mind.think(&text, &context) });
        });
        if submitted.is_err() {
            self.feed(Input::Replied { utterance, reply: Err(Failure::Unavailable) });
        }
    }

    fn handle_done(&mut self, done: Done) {
        match done {
            Done::Transcribed { utterance, result, decode } => {
                if self.decodes.remove(&utterance).is_none() {
                    return;
                }
                if let Some((_, work)) = self.work.get_mut(&utterance) {
                    work.decode = Some(decode);
                }
                self.feed(Input::Transcribed { utterance, result });
            }
            Done::Thought { utterance, result } => {
                let reply = result.map(|thought| {
                    if let Some((_, work)) = self.work.get_mut(&utterance) {
                        work.understand = Some(thought.took);
                    }
                    self.answered = Some(utterance);
                    thought.reply
                });
                self.feed(Input::Replied { utterance, reply });
            }
            Done::Rendered { speech, sentence, result, took } => {
                if sentence == 0
                    && let Some((_, utterance)) = self.answering.filter(|(answering, _)| *answering == speech)
                    && let Some((_, work)) = self.work.get_mut(&utterance)
                {
                    work.first_sentence = Some(took);
                }
                self.voice.handle_rendered(speech, sentence, result);
            }
            Done::Kept(kept) => {
                self.message_taken |= kept.reference.is_ok();
                self.feed(Input::RecordingEnded { why: kept.why, kept: kept.reference });
            }
        }
    }

    fn handle_media(&mut self, event: MediaEvent) -> Option<End> {
        match event {
            MediaEvent::Frame { frame, .. } => {
                let sound = self.listener.hear(&frame);
                if let Some(message) = &mut self.message
                    && let Some(why) = message.push(&frame, sound.speech)
                {
                    self.end_message(why);
                }
                self.feed(Input::Frame { index: sound.index, speech: sound.speech, level_dbov: sound.level_dbov });
                if sound.index.is_multiple_of(50) {
                    return self.watch_rtp();
                }
            }
            MediaEvent::Digit(digit) => self.feed(Input::Digit(digit)),
            MediaEvent::ClipStarted { clip, at } => self.voice.handle_clip_started(clip, at),
            MediaEvent::ClipFinished { clip, .. } => self.voice.handle_clip_finished(clip),
            MediaEvent::ClipStopped { clip, heard } => self.voice.handle_clip_stopped(clip, heard),
        }
        None
    }

    /// A peer that promised to send and does not is gone, or cannot reach us.
    fn watch_rtp(&self) -> Option<End> {
        let limit = Duration::from_secs(self.services.config.media.no_rtp_timeout_seconds.into());
        let last = self.media.stats().received.last_packet_at.unwrap_or(self.began);
        (!self.agreement.on_hold() && last.elapsed() > limit).then_some(End::NO_RTP)
    }

    async fn handle_sip(&mut self, event: Event) -> Option<End> {
        match negotiate::in_dialog(&self.services, self.handle, event, &mut self.agreement).await {
            negotiate::InDialog::Nothing => None,
            negotiate::InDialog::MediaChanged => {
                self.media_command(|media| media.configure(self.agreement.stream()));
                None
            }
            negotiate::InDialog::Ended(end) => {
                self.feed(Input::PeerHungUp);
                Some(end)
            }
        }
    }

    fn end_message(&mut self, why: RecordingEnd) {
        let Some(message) = self.message.take() else { return };
        let done = self.done_sender.clone();
        tokio::spawn(async move {
            let kept = message.keep(why).await;
            let _ = done.send(Done::Kept(kept)).await;
        });
    }

    /// Ends the dialog, keeps a message that was being left and writes the last rows.
    async fn finish(&mut self, end: End) {
        // Before the conversation's last commands, which would end it in the background.
        if let Some(message) = self.message.take() {
            let kept = message.keep(RecordingEnd::HungUp).await;
            self.message_taken |= kept.reference.is_ok();
        }
        while let Some(command) = self.conversation.poll_command() {
            self.execute(command);
        }
        if end != End::CALLER_HANGUP {
            let (handle, cause) = (self.handle, end.cause);
            let bye = self.services.sip.with(move |endpoint, now| endpoint.bye(handle, None, now)).await;
            debug!(cause, sent = bye.is_ok(), "BYE");
        }
        self.decodes.values().for_each(|abort| abort.store(true, Ordering::Relaxed));
        let stats = self.media.stats();
        let (metrics, ended) = self.last_rows(end, &stats);
        write_end(&self.services.storage, metrics, ended).await;
        info!(
            cause = end.cause,
            class = end.termination.as_str(),
            seconds = self.began.elapsed().as_secs(),
            packets_received = stats.received.received,
            packets_lost = stats.received.lost,
            "Call ended"
        );
    }

    fn last_rows(&self, end: End, stats: &StreamStats) -> (CallMetrics, EndedSession) {
        let at = UnixMs::now();
        let metrics = CallMetrics {
            metrics_id: MetricsId::new(at),
            call_id: self.call_id,
            leg: Leg::Caller,
            codec: self.agreement.codec_name().to_owned(),
            packets_sent: stats.sent_packets,
            packets_received: stats.received.received,
            packets_lost: stats.received.lost,
            packets_late: stats.received.late,
            packets_duplicated: stats.received.duplicate,
            concealed_ms: stats.received.concealed_frames * 20,
            jitter_ms: Some(stats.received.jitter_ms),
            jitter_max_ms: None,
            round_trip_ms: None,
            send_late_max_ms: Some(self.services.media.clock().pacing.worst_lateness.as_secs_f64() * 1e3),
            mos: None,
            created_at: at,
        };
        let disposition = Some(match (self.message_taken, end.termination) {
            (true, _) => "message_taken",
            (false, Termination::Success) => "answered_by_attendant",
            (false, _) => "abandoned",
        });
        (metrics, EndedSession { ended_at: at, termination: end.termination, hangup_cause: end.cause, disposition })
    }
}

async fn write_end(storage: &Storage, metrics: CallMetrics, ended: EndedSession) {
    let call_id = metrics.call_id;
    let written = storage.write(move |sql_tx| {
        insert_metrics(sql_tx, &metrics)?;
        end_session(sql_tx, call_id, ended)
    });
    if let Err(error) = written.await {
        warn!(%error, "End of the call not written; the next start closes its row");
    }
}

fn failure_of(error: &crate::speaker::SpeakError) -> Failure {
    use crate::speaker::SpeakError;
    match error {
        SpeakError::NoVoice | SpeakError::Submit(_) => Failure::Unavailable,
        SpeakError::Engine(_) | SpeakError::Resample(_) | SpeakError::NoSampleRate => Failure::Failed,
    }
}
