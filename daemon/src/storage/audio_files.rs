//! Recordings on disk: content-addressed files in `recordings/` beside the database.
//!
//! ```text
//! begin ─► recordings/partial/<recording>_<call>_<kind>_<start>.part   WAV, grows; header says "empty" until closed
//! finish ─► header fixed, fsync, sealed and hashed ─► recordings/ab/ab12….wav, folder fsynced; the .part stays
//! row committed ─► registered(): the .part goes
//! ```
//! At every moment either the row or the `.part` exists, so a crash anywhere loses no finished sound:
//! [`AudioFiles::recover`] finishes each leftover `.part` from its length and writes its row. Equal content is stored
//! once. Sound reaches the kernel at least twice a second; a killed process loses less than that, a power cut the few seconds
//! the kernel had not written yet.
//!
//! Encryption at rest fits behind [`Sealer`]; today files are [`PlainWav`].

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::talk::talk_of;
use super::{
    CallId, JobKind, Recording, RecordingId, RecordingKind, RecordingState, Storage, StorageError, UnixMs, Voicemail,
    VoicemailEnd, VoicemailId, VoicemailStatus, find_recording, insert_recording, insert_voicemail, queue_job,
};

/// Samples per second of every recording.
pub const RECORDING_SAMPLE_RATE: u32 = 8_000;

/// Half a second of one channel.
const SAMPLES_PER_FLUSH: usize = RECORDING_SAMPLE_RATE as usize / 2;
const HEADER_BYTES: u64 = 44;
const BYTES_PER_SAMPLE: u64 = 2;

/// Bytes of one sample of all channels: a call has its two sides beside each other, a message is one voice.
fn frame_bytes(kind: RecordingKind) -> u64 {
    BYTES_PER_SAMPLE * u64::from(kind.channels())
}

/// How a finished WAV file is kept: as it is, or encrypted. The first bytes of a file tell which.
pub trait Sealer: Send + Sync {
    /// Stored in `recordings.format`.
    fn format(&self) -> &'static str;

    /// The first bytes of every file in this format, so that a file can be told without its row.
    fn magic(&self) -> &'static [u8];

    /// Makes `sealed` from the finished file `wav`, which stays as it is.
    ///
    /// # Errors
    /// What the file system says.
    fn seal(&self, wav: &Path, sealed: &Path) -> io::Result<()>;

    /// Reads a sealed file as WAV.
    ///
    /// # Errors
    /// What the file system says; `InvalidData` if the file is not in this format.
    fn unseal(&self, sealed: &Path) -> io::Result<Box<dyn Read + Send>>;
}

/// Recordings kept as ordinary WAV files.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainWav;

impl Sealer for PlainWav {
    fn format(&self) -> &'static str {
        "plain-wav"
    }

    fn magic(&self) -> &'static [u8] {
        b"RIFF"
    }

    /// A second name for the same data: nothing is copied.
    fn seal(&self, wav: &Path, sealed: &Path) -> io::Result<()> {
        std::fs::hard_link(wav, sealed).or_else(|_| std::fs::copy(wav, sealed).map(drop))
    }

    fn unseal(&self, sealed: &Path) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(sealed)?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic)?;
        if magic != self.magic() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a plain WAV file"));
        }
        file.rewind()?;
        Ok(Box::new(file))
    }
}

/// The recordings folder. Cloning shares it.
#[derive(Clone)]
pub struct AudioFiles {
    root: PathBuf,
    sealer: Arc<dyn Sealer>,
}

/// To which call a recording belongs; part of the name of its `.part`, so that recovery needs no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewAudio {
    /// Key its row will have.
    pub recording_id: RecordingId,
    /// The call.
    pub call_id: CallId,
    /// What is recorded.
    pub kind: RecordingKind,
    /// When the first sample is taken.
    pub started_at: UnixMs,
}

impl AudioFiles {
    /// The recordings beside the database in `dir`; makes the folders.
    ///
    /// # Errors
    /// [`StorageError::File`], [`StorageError::DiskFull`].
    pub fn open(dir: &Path, sealer: Arc<dyn Sealer>) -> Result<Self, StorageError> {
        let files = AudioFiles { root: dir.join("recordings"), sealer };
        make_folder(&files.partial_folder())?;
        Ok(files)
    }

    /// Begins a recording: 8 kHz, 16 bit, as many channels as its kind has.
    ///
    /// # Errors
    /// [`StorageError::File`], [`StorageError::DiskFull`].
    pub fn begin(&self, audio: NewAudio) -> Result<PartialRecording, StorageError> {
        let path = self.partial_folder().join(part_name(&audio));
        let file = File::create_new(&path).map_err(|error| StorageError::file(&path, error))?;
        let buffer = BufWriter::with_capacity(SAMPLES_PER_FLUSH * 2 + 4_096, file);
        let mut partial = PartialRecording { files: self.clone(), audio, path, buffer, samples: 0, unflushed: 0 };
        partial.put(&header(0, audio.kind))?;
        Ok(partial)
    }

    /// As [`begin`](AudioFiles::begin), in place of what an earlier attempt has left of the same recording.
    ///
    /// # Errors
    /// As there.
    pub fn begin_again(&self, audio: NewAudio) -> Result<PartialRecording, StorageError> {
        let path = self.partial_folder().join(part_name(&audio));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::file(&path, error)),
            Ok(()) | Err(_) => self.begin(audio),
        }
    }

    /// Where the file with this hash is kept.
    pub fn path_of(&self, sha256: &str) -> PathBuf {
        self.root.join(sha256.get(..2).unwrap_or("")).join(format!("{sha256}.wav"))
    }

    /// Reads a recording as WAV.
    ///
    /// # Errors
    /// [`StorageError::File`] if it is gone or kept in another format.
    pub fn read_wav(&self, recording: &Recording) -> Result<Box<dyn Read + Send>, StorageError> {
        let path = self.path_of(&recording.sha256);
        self.sealer.unseal(&path).map_err(|error| StorageError::file(&path, error))
    }

    /// At start, before the first call: finishes what a dead process left and writes the rows, a message's voicemail
    /// row included. What cannot be finished stays on disk and is tried again at the next start. Returns what was
    /// saved. Blocks.
    ///
    /// # Errors
    /// [`StorageError::File`] if the folder cannot be listed.
    pub fn recover(&self, storage: &Storage, now: UnixMs) -> Result<Vec<Recording>, StorageError> {
        let folder = self.partial_folder();
        let entries = std::fs::read_dir(&folder).map_err(|error| StorageError::file(&folder, error))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "part"));
        paths.sort();
        let mut saved = Vec::new();
        for path in paths {
            match self.recover_one(storage, &path, now) {
                Ok(recording) => saved.extend(recording),
                Err(error) => tracing::warn!(%error, path = %path.display(), "Unfinished recording kept as it is"),
            }
        }
        Ok(saved)
    }

    fn recover_one(&self, storage: &Storage, path: &Path, now: UnixMs) -> Result<Option<Recording>, StorageError> {
        let Some(audio) = path.file_name().and_then(|name| parse_part_name(name.to_str()?)) else {
            return Err(StorageError::Refused("its name is not one of ours"));
        };
        let in_error = |error| StorageError::file(path, error);
        let length = std::fs::metadata(path).map_err(in_error)?.len();
        let samples = length.saturating_sub(HEADER_BYTES) / frame_bytes(audio.kind);
        let known = storage.read_blocking(|db| find_recording(db, audio.recording_id))?.is_some();
        if samples == 0 || known {
            std::fs::remove_file(path).map_err(in_error)?;
            return Ok(None);
        }
        let mut file = File::options().write(true).open(path).map_err(in_error)?;
        // Half a sample at the end, or half a header's worth of nothing, is cut off.
        file.set_len(HEADER_BYTES + samples * frame_bytes(audio.kind)).map_err(in_error)?;
        fix_header(&mut file, samples, audio.kind).map_err(in_error)?;
        let finished = self.keep(&audio, path.to_owned(), samples, RecordingState::Recovered, now)?;
        let recording = finished.recording.clone();
        storage.write_blocking(move |sql_tx| {
            insert_recording(sql_tx, &recording)?;
            match recording.kind {
                RecordingKind::Voicemail => {
                    let voicemail = rescued(&recording);
                    insert_voicemail(sql_tx, &voicemail)?;
                    queue_job(sql_tx, JobKind::Transcribe, &voicemail.voicemail_id.to_string(), now, now).map(drop)
                }
                RecordingKind::Call => Ok(()),
            }
        })?;
        let recording = finished.recording.clone();
        finished.registered();
        Ok(Some(recording))
    }

    /// Seals, hashes and files a finished WAV.
    fn keep(
        &self,
        audio: &NewAudio,
        part: PathBuf,
        samples: u64,
        state: RecordingState,
        now: UnixMs,
    ) -> Result<FinishedRecording, StorageError> {
        // Without it the recording is as good.
        let [caller, other] = talk_of(&part).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %part.display(), "Who talks in a recording is not known");
            [None; 2]
        });
        let sealed = part.with_extension("sealed");
        let stored = self.store(&part, &sealed);
        // A leftover of a failed attempt or of a dead process must not stand in the way of the next.
        let _ = std::fs::remove_file(&sealed);
        let (sha256, size_bytes) = stored?;
        let recording = Recording {
            recording_id: audio.recording_id,
            call_id: audio.call_id,
            kind: audio.kind,
            state,
            sha256,
            format: self.sealer.format().to_owned(),
            size_bytes,
            duration_ms: samples * 1_000 / u64::from(RECORDING_SAMPLE_RATE),
            caller,
            other,
            started_at: audio.started_at,
            created_at: now,
        };
        Ok(FinishedRecording { recording, part })
    }

    fn store(&self, part: &Path, sealed: &Path) -> Result<(String, u64), StorageError> {
        let in_error = |error| StorageError::file(sealed, error);
        let _ = std::fs::remove_file(sealed);
        self.sealer.seal(part, sealed).map_err(in_error)?;
        let (sha256, size_bytes) = hash_and_sync(sealed).map_err(in_error)?;
        let target = self.path_of(&sha256);
        let folder = target.parent().unwrap_or(&self.root);
        make_folder(folder)?;
        if !target.exists() {
            std::fs::rename(sealed, &target).map_err(|error| StorageError::file(&target, error))?;
        }
        sync_folder(folder)?;
        Ok((sha256, size_bytes))
    }

    fn partial_folder(&self) -> PathBuf {
        self.root.join("partial")
    }
}

/// A recording that grows. Dropped unfinished it stays on disk, for the next start to recover.
pub struct PartialRecording {
    files: AudioFiles,
    audio: NewAudio,
    path: PathBuf,
    buffer: BufWriter<File>,
    samples: u64,
    unflushed: usize,
}

impl PartialRecording {
    /// Appends sound, the samples of two channels by turns. Blocks on the disk a few times a second: not for the media thread.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`], [`StorageError::File`]; what was written before can still be finished.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), StorageError> {
        for block in samples.chunks(SAMPLES_PER_FLUSH) {
            let bytes: Vec<u8> = block.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            self.put(&bytes)?;
            self.samples += block.len() as u64;
            self.unflushed += block.len();
            if self.unflushed >= SAMPLES_PER_FLUSH {
                self.unflushed = 0;
                self.buffer.flush().map_err(|error| StorageError::file(&self.path, error))?;
            }
        }
        Ok(())
    }

    /// Length of the sound so far.
    pub fn duration_ms(&self) -> u64 {
        self.samples * 1_000 / u64::from(RECORDING_SAMPLE_RATE) / u64::from(self.audio.kind.channels())
    }

    /// Closes the file and keeps it under its hash. Blocks until it is on disk. Write the row next, then call
    /// [`FinishedRecording::registered`].
    ///
    /// # Errors
    /// [`StorageError::DiskFull`], [`StorageError::File`]; the `.part` stays for the next start.
    pub fn finish(self, now: UnixMs) -> Result<FinishedRecording, StorageError> {
        let in_error = |error| StorageError::file(&self.path, error);
        let mut file = self.buffer.into_inner().map_err(|error| in_error(error.into_error()))?;
        // The file's own length, not our count: a write that failed half-way may have left something.
        let kind = self.audio.kind;
        let samples = file.metadata().map_err(in_error)?.len().saturating_sub(HEADER_BYTES) / frame_bytes(kind);
        file.set_len(HEADER_BYTES + samples * frame_bytes(kind)).map_err(in_error)?;
        fix_header(&mut file, samples, kind).map_err(in_error)?;
        drop(file);
        self.files.keep(&self.audio, self.path.clone(), samples, RecordingState::Complete, now)
    }

    /// Throws the recording away, e.g. when a caller hung up before saying anything.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub fn discard(self) -> Result<(), StorageError> {
        std::fs::remove_file(&self.path).map_err(|error| StorageError::file(&self.path, error))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.write_all(bytes).map_err(|error| StorageError::file(&self.path, error))
    }
}

/// A kept file whose row is still to be written.
#[must_use = "write its row, then call registered()"]
#[derive(Debug)]
pub struct FinishedRecording {
    /// The row for [`insert_recording`].
    pub recording: Recording,
    part: PathBuf,
}

impl FinishedRecording {
    /// To be called once the row is committed: the `.part` is no longer needed.
    pub fn registered(self) {
        if let Err(error) = std::fs::remove_file(&self.part) {
            // The next start finds its row and removes it.
            tracing::debug!(%error, path = %self.part.display(), "Partial recording not removed");
        }
    }
}

fn rescued(recording: &Recording) -> Voicemail {
    Voicemail {
        voicemail_id: VoicemailId::new(recording.created_at),
        call_id: recording.call_id,
        recording_id: Some(recording.recording_id),
        status: VoicemailStatus::New,
        ended_by: VoicemailEnd::Restart,
        duration_ms: recording.duration_ms,
        transcript: None,
        transcript_confidence: None,
        is_urgent: false,
        mailbox: None,
        created_at: recording.created_at,
    }
}

fn part_name(audio: &NewAudio) -> String {
    format!("{}_{}_{}_{}.part", audio.recording_id, audio.call_id, audio.kind, audio.started_at.0)
}

fn parse_part_name(name: &str) -> Option<NewAudio> {
    let mut fields = name.strip_suffix(".part")?.split('_');
    let audio = NewAudio {
        recording_id: fields.next()?.parse().ok()?,
        call_id: fields.next()?.parse().ok()?,
        kind: fields.next().and_then(|text| RecordingKind::ALL.iter().copied().find(|kind| kind.as_str() == text))?,
        started_at: UnixMs(fields.next()?.parse().ok()?),
    };
    fields.next().is_none().then_some(audio)
}

/// RIFF/WAVE, PCM, 8 kHz, 16 bit, with `samples` samples a channel. Sizes that do not fit 32 bits (37 h) are capped.
fn header(samples: u64, kind: RecordingKind) -> [u8; HEADER_BYTES as usize] {
    let data_bytes = u32::try_from(samples * frame_bytes(kind)).unwrap_or(u32::MAX - 36);
    let channels = kind.channels();
    let mut header = *b"RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0........\x02\0\x10\0data....";
    header[4..8].copy_from_slice(&data_bytes.saturating_add(36).to_le_bytes());
    header[24..28].copy_from_slice(&RECORDING_SAMPLE_RATE.to_le_bytes());
    header[22..24].copy_from_slice(&channels.to_le_bytes());
    header[28..32].copy_from_slice(&(RECORDING_SAMPLE_RATE * 2 * u32::from(channels)).to_le_bytes());
    header[32..34].copy_from_slice(&(2 * channels).to_le_bytes());
    header[40..44].copy_from_slice(&data_bytes.to_le_bytes());
    header
}

fn fix_header(file: &mut File, samples: u64, kind: RecordingKind) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header(samples, kind))?;
    file.sync_all()
}

fn hash_and_sync(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    file.sync_all()?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    let mut size_bytes = 0;
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok((hex::encode(hash.finalize()), size_bytes));
        }
        hash.update(&block[..read]);
        size_bytes += read as u64;
    }
}

fn make_folder(folder: &Path) -> Result<(), StorageError> {
    std::fs::create_dir_all(folder).map_err(|error| StorageError::file(folder, error))
}

/// A rename is on disk only once its folder is.
fn sync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| StorageError::file(folder, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        StorageConfig, insert_session, recordings_of,
        tests::{ringing, session_at},
        voicemails_of,
    };

    struct Rig {
        dir: tempfile::TempDir,
        storage: Storage,
        files: AudioFiles,
        call_id: CallId,
    }

    fn rig() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(dir.path())).unwrap().storage;
        let files = AudioFiles::open(dir.path(), Arc::new(PlainWav)).unwrap();
        let call_id = ringing(&storage);
        Rig { dir, storage, files, call_id }
    }

    impl Rig {
        fn begin(&self, kind: RecordingKind) -> PartialRecording {
            let at = UnixMs(1_000);
            let audio = NewAudio { recording_id: RecordingId::new(at), call_id: self.call_id, kind, started_at: at };
            self.files.begin(audio).unwrap()
        }

        fn parts(&self) -> usize {
            std::fs::read_dir(self.dir.path().join("recordings/partial")).unwrap().count()
        }

        fn recordings(&self) -> Vec<Recording> {
            self.storage.read_blocking(|db| recordings_of(db, self.call_id)).unwrap()
        }
    }

    fn samples(count: i16) -> Vec<i16> {
        (0..count).collect()
    }

    fn wav_samples(mut wav: Box<dyn Read + Send>) -> Vec<i16> {
        let mut bytes = Vec::new();
        wav.read_to_end(&mut bytes).unwrap();
        assert_eq!(&bytes[..4], b"RIFF");
        assert_eq!(bytes[4..8], u32::try_from(bytes.len() - 8).unwrap().to_le_bytes(), "RIFF size");
        assert_eq!(bytes[40..44], u32::try_from(bytes.len() - 44).unwrap().to_le_bytes(), "data size");
        bytes[44..].as_chunks::<2>().0.iter().map(|sample| i16::from_le_bytes(*sample)).collect()
    }

    #[test]
    fn header_is_a_canonical_wav_header() {
        let bytes = header(4_000, RecordingKind::Voicemail);
        assert_eq!(&bytes[8..16], b"WAVEfmt ");
        assert_eq!(bytes[16..24], [16, 0, 0, 0, 1, 0, 1, 0], "PCM, one channel");
        assert_eq!(bytes[24..36], [0x40, 0x1F, 0, 0, 0x80, 0x3E, 0, 0, 2, 0, 16, 0], "8000 Hz, 16000 B/s, 16 bit");
        assert_eq!(&bytes[36..40], b"data");
        assert_eq!(bytes[40..44], 8_000_u32.to_le_bytes());
    }

    /// The file has the name of its content, and its `.part` stays until the row is committed.
    #[test]
    fn finished_recording_is_kept_under_its_hash() {
        let rig = rig();
        let mut partial = rig.begin(RecordingKind::Voicemail);
        partial.write(&samples(12_000)).unwrap();
        assert_eq!(partial.duration_ms(), 1_500);
        let finished = partial.finish(UnixMs(3_000)).unwrap();
        let recording = finished.recording.clone();
        assert_eq!((recording.duration_ms, recording.size_bytes), (1_500, 24_044));
        assert_eq!(rig.parts(), 1);
        let row = recording.clone();
        rig.storage.write_blocking(move |sql_tx| insert_recording(sql_tx, &row)).unwrap();
        finished.registered();
        assert_eq!(rig.parts(), 0);
        let path = rig.files.path_of(&recording.sha256);
        assert_eq!(hex::encode(Sha256::digest(std::fs::read(&path).unwrap())), recording.sha256);
        assert!(path.ends_with(format!("recordings/{}/{}.wav", &recording.sha256[..2], recording.sha256)));
        assert_eq!(wav_samples(rig.files.read_wav(&recording).unwrap()), samples(12_000));
        assert_eq!(rig.recordings(), [recording]);
    }

    /// Two silent messages are one file.
    #[test]
    fn equal_content_is_stored_once() {
        let rig = rig();
        let finish = || {
            let mut partial = rig.begin(RecordingKind::Voicemail);
            partial.write(&[0; 800]).unwrap();
            partial.finish(UnixMs(2_000)).unwrap().recording
        };
        let (one, other) = (finish(), finish());
        assert_eq!(one.sha256, other.sha256);
        assert_ne!(one.recording_id, other.recording_id);
        let folder = rig.files.path_of(&one.sha256).parent().unwrap().to_owned();
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
    }

    /// What a killed process leaves: a header that says "empty", whole seconds of sound, perhaps half a sample.
    #[test]
    fn recovery_saves_what_a_dead_process_left() {
        let rig = rig();
        let mut partial = rig.begin(RecordingKind::Voicemail);
        partial.write(&samples(16_100)).unwrap();
        // As after kill -9: the buffer's rest is lost, nothing is closed.
        let path = partial.path.clone();
        std::mem::forget(partial);
        let on_disk = std::fs::metadata(&path).unwrap().len();
        assert_eq!(on_disk, 44 + 32_000, "all but the last unfinished second");
        File::options().append(true).open(&path).unwrap().write_all(b"x").unwrap();

        let saved = rig.files.recover(&rig.storage, UnixMs(9_000)).unwrap();
        assert_eq!(saved.len(), 1);
        assert_eq!((saved[0].state, saved[0].duration_ms), (RecordingState::Recovered, 2_000));
        assert_eq!(rig.recordings(), saved);
        assert_eq!(wav_samples(rig.files.read_wav(&saved[0]).unwrap()), samples(16_000));
        let voicemails = rig.storage.read_blocking(|db| voicemails_of(db, rig.call_id)).unwrap();
        assert_eq!(voicemails.len(), 1, "the message is in the mailbox");
        assert_eq!(
            (voicemails[0].ended_by, voicemails[0].recording_id),
            (VoicemailEnd::Restart, Some(saved[0].recording_id))
        );
        assert_eq!(rig.parts(), 0);
        assert_eq!(rig.files.recover(&rig.storage, UnixMs(9_500)).unwrap(), [], "a second pass finds nothing");
    }

    /// Killed between filing and row, or between row and `registered`: one row, one file, no `.part`.
    #[test]
    fn recovery_completes_a_half_done_finish() {
        let rig = rig();
        let mut partial = rig.begin(RecordingKind::Call);
        partial.write(&samples(8_000)).unwrap();
        let filed = partial.finish(UnixMs(2_000)).unwrap();
        let mut partial = rig.begin(RecordingKind::Call);
        partial.write(&samples(4_000)).unwrap();
        let with_row = partial.finish(UnixMs(2_000)).unwrap();
        let row = with_row.recording.clone();
        rig.storage.write_blocking(move |sql_tx| insert_recording(sql_tx, &row)).unwrap();

        let saved = rig.files.recover(&rig.storage, UnixMs(9_000)).unwrap();
        assert_eq!(saved.iter().map(|r| &r.sha256).collect::<Vec<_>>(), [&filed.recording.sha256]);
        assert_eq!(rig.recordings().len(), 2);
        assert_eq!(rig.parts(), 0);
    }

    /// A call the database does not know (it was replaced): the sound stays, and a later start saves it.
    #[test]
    fn recovery_keeps_what_it_cannot_register() {
        let rig = rig();
        let call_id = CallId::new(UnixMs(5));
        let audio = NewAudio {
            recording_id: RecordingId::new(UnixMs(5)),
            call_id,
            kind: RecordingKind::Call,
            started_at: UnixMs(5),
        };
        let mut partial = rig.files.begin(audio).unwrap();
        partial.write(&samples(8_000)).unwrap();
        drop(partial);
        assert_eq!(rig.files.recover(&rig.storage, UnixMs(9_000)).unwrap(), []);
        assert_eq!(rig.parts(), 1);
        rig.storage.write_blocking(move |sql_tx| insert_session(sql_tx, &session_at(call_id, 5))).unwrap();
        assert_eq!(rig.files.recover(&rig.storage, UnixMs(9_000)).unwrap().len(), 1);
        assert_eq!(rig.parts(), 0);
    }

    #[test]
    fn discarded_or_empty_recordings_leave_nothing() {
        let rig = rig();
        let mut partial = rig.begin(RecordingKind::Call);
        partial.write(&[1; 10]).unwrap();
        partial.discard().unwrap();
        drop(rig.begin(RecordingKind::Call));
        assert_eq!(rig.files.recover(&rig.storage, UnixMs(9_000)).unwrap(), []);
        assert_eq!(rig.parts(), 0);
    }
}
