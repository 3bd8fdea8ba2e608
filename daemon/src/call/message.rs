//! A message being left: frames go to disk as they come, the row is written when it is over, with the first job of what
//! becomes of it (`messages`).
//!
//! The conversation hears of a kept message only once file and row are on disk: what we then promise is true.

use std::time::Duration;

use audio::{FRAME_DURATION, Frame};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::services::Services;
use super::to_disk::{Blocks, ToDisk, on_disk, record, to_disk};
use crate::bell::Bell;
use crate::conversation::machine::{Failure, RecordingEnd};
use crate::storage::{
    AudioFiles, CallId, JobKind, NewAudio, PartialRecording, RecordingId, RecordingKind, Storage, StorageError, UnixMs,
    Voicemail, VoicemailEnd, VoicemailId, VoicemailStatus, insert_recording, insert_voicemail, queue_job, reference_of,
};

/// Frames likelier than this to be speech keep a message going.
const SPEECH_PROBABILITY: f32 = 0.5;
/// Speech a message must have to be one: shorter than a word is a click.
const LEAST_SPEECH: Duration = Duration::from_millis(200);

/// The message of one call while it is being left.
pub(super) struct Message {
    frames: ToDisk,
    kept: oneshot::Receiver<Result<VoicemailId, Failure>>,
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
    /// The reference to tell the caller, or why there is none.
    pub reference: Result<String, Failure>,
}

impl Message {
    /// Begins to record; the first frame pushed is its first sound.
    pub(super) fn start(services: &Services, call_id: CallId, longest: Duration, silence: Duration) -> Message {
        let (frames, blocks) = to_disk(RecordingKind::Voicemail);
        let (end, ended) = oneshot::channel();
        let (result, kept) = oneshot::channel();
        let writer = Writer {
            storage: services.storage.clone(),
            files: services.audio_files.clone(),
            bell: services.bell.clone(),
            call_id,
        };
        tokio::spawn(async move {
            // The call may be over; the message is kept all the same.
            let _ = result.send(writer.run(blocks, ended).await);
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
        let reference = match (told, self.kept.await) {
            (Ok(()), Ok(Ok(voicemail_id))) => Ok(reference_of(voicemail_id)),
            (_, Ok(Err(failure))) => Err(failure),
            (Err(_), Ok(Ok(_))) | (_, Err(_)) => Err(Failure::Failed),
        };
        Kept { why, reference }
    }
}

struct Writer {
    storage: Storage,
    files: AudioFiles,
    bell: Bell,
    call_id: CallId,
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
        self.bell.ring();
        info!(seconds, ended_by = end.by.as_str(), "Message kept");
        Ok(voicemail_id)
    }

    async fn record(&self, blocks: Blocks) -> Result<Option<PartialRecording>, StorageError> {
        let now = UnixMs::now();
        let (recording_id, kind) = (RecordingId::new(now), RecordingKind::Voicemail);
        let audio = NewAudio { recording_id, call_id: self.call_id, kind, started_at: now };
        record(self.files.clone(), audio, blocks).await
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
            created_at: now,
        };
        let voicemail_id = voicemail.voicemail_id;
        let written = self.storage.write(move |sql_tx| {
            insert_recording(sql_tx, &recording)?;
            insert_voicemail(sql_tx, &voicemail)?;
            queue_job(sql_tx, JobKind::Transcribe, &voicemail_id.to_string(), now, now).map(drop)
        });
        written.await?;
        on_disk(move || {
            finished.registered();
            Ok(())
        })
        .await?;
        Ok(voicemail_id)
    }
}
