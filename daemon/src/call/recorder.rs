//! A call kept as sound: both sides beside each other, on disk as it happens.
//!
//! ```text
//! pairs of one tick ─► blocks ─► recordings/partial/….part ─► row when it is over
//! ```
//! A killed process loses less than the last second ([`AudioFiles`](crate::storage::AudioFiles)).

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::services::Services;
use super::to_disk::{Blocks, ToDisk, on_disk, record, to_disk};
use super::up::Moment;
use crate::storage::{
    AudioFiles, CallId, NewAudio, RecordingId, RecordingKind, Storage, StorageError, UnixMs, insert_recording,
};

/// See the module. Dropped, it is kept in the background.
pub(super) struct Recorder {
    pairs: ToDisk,
    kept: oneshot::Receiver<()>,
}

impl Recorder {
    /// Begins to record.
    pub(super) fn start(services: &Services, call_id: CallId) -> Recorder {
        let (pairs, blocks) = to_disk(RecordingKind::Call);
        let (done, kept) = oneshot::channel();
        let (storage, files) = (services.storage.clone(), services.audio_files.clone());
        tokio::spawn(async move {
            if let Err(error) = write(&storage, files, call_id, blocks).await {
                warn!(%error, "Recording not kept; the next start tries again");
            }
            // Nobody waits if the call's task has ended badly.
            let _ = done.send(());
        });
        info!("Recording");
        Recorder { pairs, kept }
    }

    /// The next 20 ms of both sides.
    pub(super) fn push(&mut self, [caller, other]: Moment) {
        self.pairs.push(caller.into_iter().zip(other).flat_map(<[i16; 2]>::from));
    }

    /// Ends it and waits until it is on disk.
    pub(super) async fn finish(self) {
        drop(self.pairs);
        // Gone only if the writer has ended badly, which it has said.
        let _ = self.kept.await;
    }
}

async fn write(storage: &Storage, files: AudioFiles, call_id: CallId, blocks: Blocks) -> Result<(), StorageError> {
    let now = UnixMs::now();
    let (recording_id, kind) = (RecordingId::new(now), RecordingKind::Call);
    let audio = NewAudio { recording_id, call_id, kind, started_at: now };
    let Some(partial) = record(files, audio, blocks).await? else { return Ok(()) };
    let finished = on_disk(move || partial.finish(UnixMs::now())).await?;
    let recording = finished.recording.clone();
    storage.write(move |sql_tx| insert_recording(sql_tx, &recording)).await?;
    info!(seconds = finished.recording.duration_ms / 1_000, "Recording kept");
    on_disk(move || {
        finished.registered();
        Ok(())
    })
    .await
}
