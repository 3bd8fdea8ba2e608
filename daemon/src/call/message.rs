//! A message being left: frames go to disk as they come, the row is written when it is over, with the first job of what
//! becomes of it (`messages`).
//!
//! The conversation hears of a kept message only once file and row are on disk: what we then promise is true. While the
//! caller may still record it again, that first job waits; it is due when the message is sent, when the call's task ends in
//! whatever way, and after a crash at the next start.

use std::sync::Arc;
use std::time::Duration;

use audio::{FRAME_DURATION, Frame};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::services::Services;
use super::to_disk::{Blocks, ToDisk, on_disk, record, to_disk};
use crate::conversation::machine::{Failure, RecordingEnd};
use crate::storage::{
    CallId, JobKind, NewAudio, PartialRecording, RecordingId, RecordingKind, StorageError, UnixMs, Voicemail,
    VoicemailEnd, VoicemailId, VoicemailStatus, cancel_job, insert_recording, insert_voicemail, queue_job,
    reference_of, release_job, set_voicemail_status,
};

/// Frames likelier than this to be speech keep a message going.
const SPEECH_PROBABILITY: f32 = 0.5;
/// Speech a message must have to be one: shorter than a word is a click.
const LEAST_SPEECH: Duration = Duration::from_millis(200);

/// The message of one call while it is being left.
pub(super) struct Message {
    frames: ToDisk,
    kept: oneshot::Receiver<Result<Held, Failure>>,
    end: oneshot::Sender<End>,
    length: Duration,
    quiet: Duration,
    speech: Duration,
    longest: Duration,
    silence: Duration,
}

struct End {
    by: VoicemailEnd,
    keep: bool,
}

/// What became of a message.
pub(super) struct Kept {
    /// Why it ended.
    pub why: RecordingEnd,
    /// The message, which is not sent yet, or why there is none.
    pub message: Result<Held, Failure>,
}

/// A message that is kept and that the caller may still record again. Dropped, it is sent.
pub(super) struct Held {
    /// Its key.
    pub voicemail_id: VoicemailId,
    superseded: oneshot::Sender<()>,
}

impl Held {
    /// What the caller is told.
    pub(super) fn reference(&self) -> String {
        reference_of(self.voicemail_id)
    }

    /// Another one is kept in its place: nobody is told of this one.
    pub(super) fn supersede(self) {
        // Gone only if it was sent already because the writer has ended badly.
        let _ = self.superseded.send(());
    }
}

impl Message {
    /// Begins to record, for a mailbox or the office's; the first frame pushed is its first sound.
    pub(super) fn start(
        services: &Arc<Services>,
        (call_id, mailbox): (CallId, Option<String>),
        longest: Duration,
        silence: Duration,
    ) -> Message {
        let (frames, blocks) = to_disk(RecordingKind::Voicemail);
        let (end, ended) = oneshot::channel();
        let (result, kept) = oneshot::channel();
        let writer = Writer { services: Arc::clone(services), call_id, mailbox };
        tokio::spawn(async move {
            match writer.run(blocks, ended).await {
                Ok(voicemail_id) => {
                    let (superseded, told) = oneshot::channel();
                    // The call may be over; the message is kept all the same, and then sent.
                    let _ = result.send(Ok(Held { voicemail_id, superseded }));
                    writer.let_go(voicemail_id, told.await.is_ok()).await;
                }
                Err(failure) => {
                    // Nobody waits for it if the call is over.
                    let _ = result.send(Err(failure));
                }
            }
        });
        let none = Duration::ZERO;
        Message { frames, kept, end, length: none, quiet: none, speech: none, longest, silence }
    }

    /// The next frame; tells when the message is over by itself.
    pub(super) fn push(&mut self, frame: &Frame, speech: f32) -> Option<RecordingEnd> {
        self.frames.push(*frame);
        self.length += FRAME_DURATION;
        if speech >= SPEECH_PROBABILITY {
            self.speech += FRAME_DURATION;
            self.quiet = Duration::ZERO;
        } else {
            self.quiet += FRAME_DURATION;
        }
        match () {
            () if self.length >= self.longest => Some(RecordingEnd::MaxLength),
            () if self.quiet >= self.silence => Some(RecordingEnd::Silence),
            () => None,
        }
    }

    /// Ends the message and waits until it is on disk.
    pub(super) async fn keep(self, why: RecordingEnd) -> Kept {
        let by = match why {
            RecordingEnd::Silence => VoicemailEnd::Silence,
            RecordingEnd::MaxLength => VoicemailEnd::Length,
            RecordingEnd::Stopped => VoicemailEnd::Key,
            RecordingEnd::HungUp => VoicemailEnd::Hangup,
        };
        let keep = self.speech >= LEAST_SPEECH;
        let told = self.end.send(End { by, keep });
        drop(self.frames);
        let message = match (told, self.kept.await) {
            (Ok(()), Ok(kept)) => kept,
            (Err(_), Ok(Err(failure))) => Err(failure),
            (Err(_), Ok(Ok(_))) | (_, Err(_)) => Err(Failure::Failed),
        };
        Kept { why, message }
    }
}

struct Writer {
    services: Arc<Services>,
    call_id: CallId,
    mailbox: Option<String>,
}

impl Writer {
    async fn run(&self, blocks: Blocks, ended: oneshot::Receiver<End>) -> Result<VoicemailId, Failure> {
        let partial = self.record(blocks).await.map_err(|error| {
            warn!(%error, "Message not recorded");
            Failure::Failed
        })?;
        // The sender was dropped without a word only if the call's task died; then the message counts.
        let end = ended.await.unwrap_or(End { by: VoicemailEnd::Hangup, keep: true });
        let Some(partial) = partial else { return Err(Failure::Empty) };
        if !end.keep {
            if let Err(error) = on_disk(move || partial.discard()).await {
                warn!(%error, "Empty message not removed");
            }
            return Err(Failure::Empty);
        }
        let seconds = partial.duration_ms() / 1_000;
        let voicemail_id = self.keep(partial, end.by).await.map_err(|error| {
            warn!(%error, "Message not kept; the next start tries again");
            Failure::Failed
        })?;
        info!(seconds, ended_by = end.by.as_str(), "Message kept");
        Ok(voicemail_id)
    }

    async fn record(&self, blocks: Blocks) -> Result<Option<PartialRecording>, StorageError> {
        let now = UnixMs::now();
        let (recording_id, kind) = (RecordingId::new(now), RecordingKind::Voicemail);
        let audio = NewAudio { recording_id, call_id: self.call_id, kind, started_at: now };
        record(self.services.audio_files.clone(), audio, blocks).await
    }

    async fn keep(&self, partial: PartialRecording, ended_by: VoicemailEnd) -> Result<VoicemailId, StorageError> {
        let now = UnixMs::now();
        let finished = on_disk(move || partial.finish(now)).await?;
        let recording = finished.recording.clone();
        let voicemail = Voicemail {
            voicemail_id: VoicemailId::new(now),
            call_id: self.call_id,
            recording_id: Some(recording.recording_id),
            status: VoicemailStatus::New,
            ended_by,
            duration_ms: recording.duration_ms,
            transcript: None,
            transcript_confidence: None,
            is_urgent: false,
            mailbox: self.mailbox.clone(),
            created_at: now,
        };
        let voicemail_id = voicemail.voicemail_id;
        // Longer than a call nobody can think it over.
        let until = UnixMs(now.0 + i64::try_from(self.services.settings.max_call.as_millis()).unwrap_or(0));
        let written = self.services.storage.write(move |sql_tx| {
            insert_recording(sql_tx, &recording)?;
            insert_voicemail(sql_tx, &voicemail)?;
            queue_job(sql_tx, JobKind::Transcribe, &voicemail_id.to_string(), until, now).map(drop)
        });
        written.await?;
        on_disk(move || {
            finished.registered();
            Ok(())
        })
        .await?;
        Ok(voicemail_id)
    }

    /// It is sent, or there is another one in its place: then it is done with, and its sound stays as that of any message.
    async fn let_go(&self, voicemail_id: VoicemailId, is_superseded: bool) {
        let written = self.services.storage.write(move |sql_tx| {
            let (subject, now) = (voicemail_id.to_string(), UnixMs::now());
            if is_superseded {
                set_voicemail_status(sql_tx, voicemail_id, VoicemailStatus::Archived, now)?;
                return cancel_job(sql_tx, JobKind::Transcribe, &subject, now);
            }
            release_job(sql_tx, JobKind::Transcribe, &subject, now)
        });
        if let Err(error) = written.await {
            warn!(%error, "A message waits for the time in which it could have been changed");
        }
        self.services.bell.ring();
    }
}
