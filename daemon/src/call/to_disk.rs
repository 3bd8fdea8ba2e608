//! Sound on its way to a file: gathered in blocks, each of which is written on a thread borrowed for that.
//!
//! Waking somebody for 20 ms of sound costs more than writing them, and a thread for every recording would leave none to
//! those who read the database.

use audio::SILENT_FRAME;
use tokio::sync::mpsc;
use tracing::warn;

use crate::storage::{AudioFiles, NewAudio, PartialRecording, RecordingKind, StorageError};

/// Frames in a block: 0.4 s. A little more may wait in the file's own buffer ([`PartialRecording::write`]), and both together
/// are what a killed process loses: less than a second.
const BLOCK_FRAMES: usize = 20;
/// Blocks that may wait for the disk: 20 s. A slower one loses the recording anyway.
const BLOCK_LIMIT: usize = 50;

/// Where sound comes in. Dropped, what it has gathered follows.
pub(super) struct ToDisk {
    blocks: mpsc::Sender<Vec<i16>>,
    block: Vec<i16>,
    block_samples: usize,
    /// Said once: a full disk must not fill the log as well.
    has_lost: bool,
}

/// Where it comes out: blocks of samples, of two channels by turns.
pub(super) type Blocks = mpsc::Receiver<Vec<i16>>;

/// Both ends, for sound of that kind.
pub(super) fn to_disk(kind: RecordingKind) -> (ToDisk, Blocks) {
    let (blocks, received) = mpsc::channel(BLOCK_LIMIT);
    let block_samples = block_samples(kind);
    (ToDisk { blocks, block: Vec::with_capacity(block_samples), block_samples, has_lost: false }, received)
}

impl ToDisk {
    /// The next samples, of two channels by turns. Never waits.
    pub(super) fn push(&mut self, samples: impl IntoIterator<Item = i16>) {
        self.block.extend(samples);
        if self.block.len() >= self.block_samples {
            let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.block_samples));
            self.send(block);
        }
    }

    fn send(&mut self, block: Vec<i16>) {
        if self.blocks.try_send(block).is_err() && !std::mem::replace(&mut self.has_lost, true) {
            warn!("Sound of a recording lost: the disk does not keep up");
        }
    }
}

impl Drop for ToDisk {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.block);
        if !rest.is_empty() {
            self.send(rest);
        }
    }
}

/// Writes into a new recording what comes, until the other end is dropped. What is shorter than a block makes none: most of
/// those who hang up at the tone cost no file.
///
/// # Errors
/// [`StorageError::DiskFull`], [`StorageError::File`]; what was written before stays for the next start.
pub(super) async fn record(
    files: AudioFiles,
    audio: NewAudio,
    mut blocks: Blocks,
) -> Result<Option<PartialRecording>, StorageError> {
    let mut partial: Option<PartialRecording> = None;
    while let Some(block) = blocks.recv().await {
        if partial.is_none() && block.len() < block_samples(audio.kind) {
            continue;
        }
        let (begun, files) = (partial.take(), files.clone());
        let written = on_disk(move || {
            let mut partial = begun.map_or_else(|| files.begin(audio), Ok)?;
            partial.write(&block).map(|()| partial)
        });
        partial = Some(written.await?);
    }
    Ok(partial)
}

fn block_samples(kind: RecordingKind) -> usize {
    BLOCK_FRAMES * SILENT_FRAME.len() * usize::from(kind.channels())
}

/// Does what waits for the disk on a thread where that delays nobody.
///
/// # Errors
/// Its own, or [`StorageError::JobPanicked`].
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StorageError::JobPanicked))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{CallId, PlainWav, RecordingId, UnixMs};

    #[test]
    fn sound_comes_in_blocks_and_the_rest_at_the_end() {
        let (mut sink, mut blocks) = to_disk(RecordingKind::Voicemail);
        (0..BLOCK_FRAMES as i16).for_each(|number| sink.push([number; 160]));
        assert_eq!(
            blocks.try_recv().unwrap(),
            (0..BLOCK_FRAMES as i16).flat_map(|number| [number; 160]).collect::<Vec<_>>()
        );
        sink.push([-1; 160]);
        assert!(blocks.try_recv().is_err(), "not a block yet");
        drop(sink);
        assert_eq!(blocks.try_recv().unwrap(), [-1; 160]);
        assert!(blocks.try_recv().is_err());
    }

    #[test]
    fn a_disk_that_is_behind_loses_sound_but_delays_nobody() {
        let (mut sink, mut blocks) = to_disk(RecordingKind::Call);
        (0..(BLOCK_LIMIT + 1) * BLOCK_FRAMES).for_each(|_| sink.push([1; 2 * 160]));
        assert!(sink.has_lost);
        drop(sink);
        let mut kept = 0;
        while let Ok(block) = blocks.try_recv() {
            kept += block.len();
        }
        assert_eq!(kept, BLOCK_LIMIT * BLOCK_FRAMES * 2 * 160);
    }

    #[tokio::test]
    async fn less_than_a_block_makes_no_file() {
        for (frames, is_kept) in [(BLOCK_FRAMES - 1, false), (BLOCK_FRAMES + 1, true)] {
            let dir = tempfile::tempdir().unwrap();
            let files = AudioFiles::open(dir.path(), Arc::new(PlainWav)).unwrap();
            let (recording_id, call_id) = (RecordingId::new(UnixMs(1)), CallId::new(UnixMs(1)));
            let kind = RecordingKind::Voicemail;
            let (mut sink, blocks) = to_disk(kind);
            (0..frames).for_each(|_| sink.push(SILENT_FRAME));
            drop(sink);
            let audio = NewAudio { recording_id, call_id, kind, started_at: UnixMs(1) };
            let partial = record(files, audio, blocks).await.unwrap();
            assert_eq!(partial.map(|partial| partial.duration_ms()), is_kept.then_some(frames as u64 * 20));
            let count = std::fs::read_dir(dir.path().join("recordings/partial")).unwrap().count();
            assert_eq!(count, usize::from(is_kept));
        }
    }

    #[test]
    fn less_than_a_second_is_not_on_disk_yet() {
        for kind in [RecordingKind::Voicemail, RecordingKind::Call] {
            let dir = tempfile::tempdir().unwrap();
            let files = AudioFiles::open(dir.path(), Arc::new(PlainWav)).unwrap();
            let (recording_id, call_id) = (RecordingId::new(UnixMs(1)), CallId::new(UnixMs(1)));
            let mut partial = files.begin(NewAudio { recording_id, call_id, kind, started_at: UnixMs(1) }).unwrap();
            let part =
                std::fs::read_dir(dir.path().join("recordings/partial")).unwrap().next().unwrap().unwrap().path();
            let (mut sink, mut blocks) = to_disk(kind);
            let frame = vec![1; SILENT_FRAME.len() * usize::from(kind.channels())];
            for frames in 1..=200 {
                sink.push(frame.iter().copied());
                while let Ok(block) = blocks.try_recv() {
                    partial.write(&block).unwrap();
                }
                let kept = std::fs::metadata(&part).unwrap().len() as usize / size_of_val(frame.as_slice());
                assert!(frames - kept < 50, "{kept} of {frames} frames are on disk");
            }
        }
    }
}
