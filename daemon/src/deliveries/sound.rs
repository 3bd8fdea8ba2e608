//! The sound of a message that the cloud has taken: fetched, checked, and made a recording like any other.
//!
//! It comes over a connection of its own, in frames, and yields to calls as uploads do (`sync::blobs::pace`); what was fetched
//! before a cut is not fetched again.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use audio::dsp::resample::resample;
use cloud_api::v1::blobs_client::BlobsClient;
use cloud_api::v1::{Frame, GetRequest, Sound};
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

use crate::call::Line;
use crate::speaker::SPEECH_SAMPLE_RATE;
use crate::storage::{AudioFiles, FinishedRecording, NewAudio, StorageError, UnixMs};
use crate::sync::blobs::Pace;
use crate::sync::enrolment::Enrolment;
use crate::sync::link;

/// A frame of the cloud, and what is around it, in bytes.
const MESSAGE_MAX: usize = 1 << 20;
/// A message of ten minutes has 10 MB.
const SOUND_MAX: u64 = 64 << 20;
/// Without a frame for so long the connection is of no use. A frame takes 10 s on a line of 200 kbit/s.
const FRAME_LIMIT: Duration = Duration::from_secs(120);
/// What nobody has gone on with for so long goes.
const LEFTOVER_AGE: Duration = Duration::from_secs(30 * 86_400);

/// Why there is no sound.
#[derive(Debug, thiserror::Error)]
pub(super) enum SoundError {
    /// It may be there next time.
    #[error("{0}")]
    ForNow(String),
    /// It is not what it should be; another time it may be.
    #[error("the sound that came has another hash than it should")]
    Damaged,
    /// It never will be.
    #[error("{0}")]
    Never(String),
}

impl SoundError {
    fn of(error: &StorageError) -> SoundError {
        SoundError::ForNow(error.to_string())
    }
}

/// Where sound comes from and goes to.
pub(super) struct Sounds {
    /// What is being fetched.
    folder: PathBuf,
    state_directory: PathBuf,
    trust: Option<PathBuf>,
    files: AudioFiles,
    line: Arc<dyn Fn() -> Line + Send + Sync>,
}

impl Sounds {
    pub(super) fn new(
        state_directory: &Path,
        trust: Option<&Path>,
        files: AudioFiles,
        line: Arc<dyn Fn() -> Line + Send + Sync>,
    ) -> Sounds {
        let (folder, state_directory) = (state_directory.join("deliveries"), state_directory.to_owned());
        Sounds { folder, state_directory, trust: trust.map(Path::to_owned), files, line }
    }

    /// Fetches a sound and keeps it as `audio`. Its row is to be written next.
    ///
    /// # Errors
    /// [`SoundError`].
    pub(super) async fn fetch(&self, sound: &Sound, audio: NewAudio) -> Result<FinishedRecording, SoundError> {
        if sound.sha256.len() != 32 || !(1..=SOUND_MAX).contains(&sound.size_bytes) {
            return Err(SoundError::Never(format!("a sound of {} bytes: expected 1 to {SOUND_MAX}", sound.size_bytes)));
        }
        let path = self.folder.join(format!("{}.part", hex::encode(&sound.sha256)));
        let folder = self.folder.clone();
        on_disk(move || std::fs::create_dir_all(folder)).await?;
        self.download(sound, &path).await?;
        let (files, sha256) = (self.files.clone(), sound.sha256.to_vec());
        let finished = tokio::task::spawn_blocking(move || {
            let finished = check(&path, &sha256).and_then(|()| recording_of(&files, &path, audio));
            if !matches!(finished, Err(SoundError::ForNow(_))) {
                // Whatever it is, it is not gone on with.
                let _ = std::fs::remove_file(&path);
            }
            finished
        });
        finished.await.map_err(|_| SoundError::ForNow("it failed here".to_owned()))?
    }

    /// Until the file is as long as the sound.
    async fn download(&self, sound: &Sound, path: &Path) -> Result<(), SoundError> {
        let at = path.to_owned();
        let size_bytes = sound.size_bytes;
        let mut offset_bytes = on_disk(move || begun(&at, size_bytes)).await?;
        if offset_bytes == size_bytes {
            return Ok(());
        }
        let enrolment =
            Enrolment::load(&self.state_directory).map_err(|error| SoundError::ForNow(error.to_string()))?;
        let enrolment = enrolment.ok_or_else(|| SoundError::ForNow("the box is not claimed".to_owned()))?;
        let channel = link::connect_aside(&enrolment, self.trust.as_deref()).await;
        let channel = channel.map_err(|error| SoundError::ForNow(error.to_string()))?;
        let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
        let question = GetRequest { sha256: sound.sha256.clone(), offset_bytes };
        let mut frames = client.get(question).await.map_err(|status| refused(&status))?.into_inner();
        let mut pace = Pace::new(Instant::now());
        loop {
            self.give_way(&mut pace).await;
            let frame = tokio::time::timeout(FRAME_LIMIT, frames.message()).await;
            let frame = frame.map_err(|_| SoundError::ForNow("the cloud sends nothing".to_owned()))?;
            let Some(frame) = frame.map_err(|status| refused(&status))? else { break };
            let bytes = u64::try_from(frame.content.len()).unwrap_or(u64::MAX);
            if frame.offset_bytes != offset_bytes || bytes > size_bytes - offset_bytes {
                return Err(SoundError::ForNow("the cloud sends something else than what was asked for".to_owned()));
            }
            let at = path.to_owned();
            on_disk(move || append(&at, &frame)).await?;
            offset_bytes += bytes;
            pace.sending(bytes, (self.line)(), Instant::now());
        }
        if offset_bytes < size_bytes {
            return Err(SoundError::ForNow("the cloud broke off".to_owned()));
        }
        Ok(())
    }

    /// Until a frame may come. What is not read is not sent, but for the little that fits into the connection's window.
    async fn give_way(&self, pace: &mut Pace) {
        loop {
            let now = Instant::now();
            pace.observe((self.line)(), now);
            let Some(until) = pace.wait(now) else { return };
            // The call that is given way to may be over before that.
            tokio::time::sleep_until(until.min(now + Duration::from_secs(1)).into()).await;
        }
    }

    /// What was begun long ago and not gone on with goes. Blocks.
    pub(super) fn sweep(&self, now: SystemTime) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let age = changed.ok().and_then(|changed| now.duration_since(changed).ok());
            if age.is_some_and(|age| age > LEFTOVER_AGE) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, SoundError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| SoundError::ForNow("it failed here".to_owned()))?;
    done.map_err(|error| SoundError::ForNow(format!("the disk: {error}")))
}

/// How much is here; more than there is of it is none of it.
fn begun(path: &Path, size_bytes: u64) -> std::io::Result<u64> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() <= size_bytes => Ok(metadata.len()),
        Ok(_) => std::fs::remove_file(path).map(|()| 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn append(path: &Path, frame: &Frame) -> std::io::Result<()> {
    std::fs::File::options().create(true).append(true).open(path)?.write_all(&frame.content)
}

fn refused(status: &Status) -> SoundError {
    let why = format!("the cloud: {}", status.message());
    match status.code() {
        Code::NotFound | Code::InvalidArgument | Code::Unimplemented => SoundError::Never(why),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => SoundError::ForNow(why),
    }
}

/// Whether the file is what it should be. Blocks.
fn check(path: &Path, sha256: &[u8]) -> Result<(), SoundError> {
    let hashed = std::fs::File::open(path).and_then(|mut file| {
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize().to_vec()),
                bytes => hasher.update(&buffer[..bytes]),
            }
        }
    });
    let hashed = hashed.map_err(|error| SoundError::ForNow(format!("the disk: {error}")))?;
    if hashed == sha256 { Ok(()) } else { Err(SoundError::Damaged) }
}

/// A recording as the box keeps them, of a WAV file of any usual kind. Blocks.
fn recording_of(files: &AudioFiles, path: &Path, audio: NewAudio) -> Result<FinishedRecording, SoundError> {
    let no_sound = |error: &dyn std::fmt::Display| SoundError::Never(format!("it is no sound: {error}"));
    let clip = audio::wav::read(path).map_err(|error| no_sound(&error))?;
    let samples = match clip.sample_rate {
        SPEECH_SAMPLE_RATE => clip.samples,
        rate => resample(&clip.samples, rate, SPEECH_SAMPLE_RATE).map_err(|error| no_sound(&error))?,
    };
    let mut partial = files.begin_again(audio).map_err(|error| SoundError::of(&error))?;
    partial.write(&samples).map_err(|error| SoundError::of(&error))?;
    partial.finish(UnixMs::now()).map_err(|error| SoundError::of(&error))
}

#[cfg(test)]
mod tests {
    use audio::time::SampleRate;

    use super::*;
    use crate::storage::{CallId, PlainWav, RecordingId, RecordingKind};

    fn audio() -> NewAudio {
        let at = UnixMs(5);
        NewAudio {
            recording_id: RecordingId::new(at),
            call_id: CallId::new(at),
            kind: RecordingKind::Voicemail,
            started_at: at,
        }
    }

    /// Also where an earlier attempt got as far as the file and no further.
    #[test]
    fn any_usual_sound_becomes_a_recording_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let files = AudioFiles::open(folder.path(), Arc::new(PlainWav)).unwrap();
        let path = folder.path().join("a.part");
        let ramp: Vec<i16> = (0..16_000).map(|sample| (sample % 400) * 20).collect();
        let audio = audio();
        for (rate, expected_ms) in [(8_000, 2_000), (16_000, 1_000), (8_000, 2_000)] {
            audio::wav::write(&path, &ramp, SampleRate::new(rate).unwrap()).unwrap();
            let finished = recording_of(&files, &path, audio).unwrap();
            assert!(finished.recording.duration_ms.abs_diff(expected_ms) <= 10, "{rate}: {:?}", finished.recording);
            assert!(finished.recording.caller.is_some());
        }
        std::fs::write(&path, b"ID3 this is an mp3 file, really").unwrap();
        let error = recording_of(&files, &path, audio).unwrap_err();
        assert!(matches!(&error, SoundError::Never(why) if why.contains("it is no sound")), "{error}");
    }

    #[test]
    fn what_came_is_gone_on_with_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        let frame = |content: &'static [u8]| Frame { content: content.into(), ..Frame::default() };
        assert_eq!(begun(&path, 5).unwrap(), 0);
        append(&path, &frame(b"hel")).unwrap();
        assert_eq!(begun(&path, 5).unwrap(), 3);
        assert!(matches!(check(&path, &Sha256::digest(b"hello")), Err(SoundError::Damaged)));
        append(&path, &frame(b"lo")).unwrap();
        assert_eq!(begun(&path, 5).unwrap(), 5);
        check(&path, &Sha256::digest(b"hello")).unwrap();
        assert_eq!(begun(&path, 4).unwrap(), 0, "it is something else");
        assert!(!path.exists());
    }

    #[test]
    fn leftovers_of_a_month_ago_go() {
        let folder = tempfile::tempdir().unwrap();
        let files = AudioFiles::open(folder.path(), Arc::new(PlainWav)).unwrap();
        let sounds = Sounds::new(folder.path(), None, files, Arc::new(|| Line { calls: 0, jitter_ms: 0.0 }));
        std::fs::create_dir_all(&sounds.folder).unwrap();
        let path = sounds.folder.join("a.part");
        std::fs::write(&path, b"x").unwrap();
        let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
        sounds.sweep(changed + LEFTOVER_AGE);
        assert!(path.exists());
        sounds.sweep(changed + LEFTOVER_AGE + Duration::from_secs(1));
        assert!(!path.exists());
    }

    #[test]
    fn what_the_cloud_does_not_have_it_never_has() {
        assert!(matches!(refused(&Status::not_found("no such content is here")), SoundError::Never(_)));
        assert!(matches!(refused(&Status::unavailable("stops")), SoundError::ForNow(_)));
    }
}
