//! Sealing with age (<https://age-encryption.org/v1>): for X25519 recipients, whose keys are not on the box.

use std::io::{self, Read, Write};
use std::path::Path;

use age::secrecy::ExposeSecret as _;
use age::x25519::{Identity, Recipient};
use age::{Decryptor, Encryptor};

use crate::durable;

/// The box's own key, in its state folder: for the weekly drill.
const OWN_KEY: &str = "backup/key";

/// Why something is not sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No recipient.
    #[error("{0:?}: expected an age recipient such as age1…")]
    Recipient(String),
    /// No key.
    #[error("{0}: expected a line AGE-SECRET-KEY-1…, as `offhook backup key` prints it")]
    Key(String),
    /// Sealed for somebody else.
    #[error("it is not sealed for this key")]
    OtherKey,
    /// Damaged, or not sealed at all.
    #[error("it cannot be opened: {0}")]
    Damaged(String),
    /// A file.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Who can open what is sealed.
#[derive(Clone)]
pub struct Recipients(Vec<Recipient>);

impl std::fmt::Debug for Recipients {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Recipients").field(&self.0.len()).finish()
    }
}

impl Recipients {
    /// Of their texts, `age1…`.
    ///
    /// # Errors
    /// [`SealError::Recipient`].
    pub fn parse(texts: &[String]) -> Result<Recipients, SealError> {
        let parse = |text: &String| text.parse::<Recipient>().map_err(|_| SealError::Recipient(text.clone()));
        Ok(Recipients(texts.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// And the holder of this key.
    #[must_use]
    pub fn and(mut self, key: &BackupKey) -> Recipients {
        self.0.push(key.0.to_public());
        self
    }

    /// What is written into it arrives sealed at `to`; finished with [`age::stream::StreamWriter::finish`].
    ///
    /// # Errors
    /// Of `to`.
    pub(super) fn seal<W: Write>(&self, to: W) -> Result<age::stream::StreamWriter<W>, SealError> {
        let recipients = self.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor =
            Encryptor::with_recipients(recipients).map_err(|error| SealError::Damaged(error.to_string()))?;
        Ok(encryptor.wrap_output(to)?)
    }
}

/// A key that opens what is sealed for it.
pub struct BackupKey(Identity);

impl std::fmt::Debug for BackupKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("BackupKey")
    }
}

impl BackupKey {
    /// A new one.
    pub fn generate() -> BackupKey {
        BackupKey(Identity::generate())
    }

    /// Of a file as `age-keygen` and `offhook backup key` write it: lines with `#` are comments.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn load(path: &Path) -> Result<BackupKey, SealError> {
        let wrong = || SealError::Key(path.display().to_string());
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let identity = line.ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        Ok(BackupKey(identity))
    }

    /// The box's own, made if there is none.
    ///
    /// # Errors
    /// Of the file.
    pub fn own(state_directory: &Path) -> Result<BackupKey, SealError> {
        let path = state_directory.join(OWN_KEY);
        if !path.exists() {
            let key = BackupKey::generate();
            durable::write(&path, key.to_file().as_bytes(), 0o600)?;
        }
        BackupKey::load(&path)
    }

    /// Whom to seal for, so that this key opens it.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// Of the box whose own key it is, in a place for backups: the same as long as it has the key, also after a restore.
    pub(super) fn folder_name(&self) -> String {
        let recipient = self.recipient();
        format!("offhook-{}", recipient.trim_start_matches("age1").get(..12).unwrap_or(&recipient))
    }

    /// What belongs into its file: a secret.
    pub fn to_file(&self) -> String {
        format!("# recipient: {}\n{}\n", self.recipient(), self.0.to_string().expose_secret())
    }

    /// What is read from it is what was sealed.
    ///
    /// # Errors
    /// [`SealError::OtherKey`], [`SealError::Damaged`].
    pub(super) fn open<R: Read>(&self, sealed: R) -> Result<age::stream::StreamReader<R>, SealError> {
        let decryptor = Decryptor::new(sealed).map_err(|error| SealError::Damaged(error.to_string()))?;
        let opened = decryptor.decrypt(std::iter::once(&self.0 as &dyn age::Identity));
        opened.map_err(|error| {
            let other_key = matches!(error, age::DecryptError::NoMatchingKeys);
            if other_key { SealError::OtherKey } else { SealError::Damaged(error.to_string()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_its_keys_and_by_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (office, own) = (BackupKey::generate(), BackupKey::own(folder.path()).unwrap());
        assert_eq!(own.recipient(), BackupKey::own(folder.path()).unwrap().recipient(), "made once");
        let recipients = Recipients::parse(&[office.recipient()]).unwrap().and(&own);
        let mut sealed = Vec::new();
        let mut writer = recipients.seal(&mut sealed).unwrap();
        writer.write_all(b"the calls of a year").unwrap();
        writer.finish().unwrap();
        for key in [&office, &own] {
            let mut opened = String::new();
            key.open(&sealed[..]).unwrap().read_to_string(&mut opened).unwrap();
            assert_eq!(opened, "the calls of a year");
        }
        assert!(matches!(BackupKey::generate().open(&sealed[..]), Err(SealError::OtherKey)));
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        let mut opened = Vec::new();
        office.open(&sealed[..]).unwrap().read_to_end(&mut opened).unwrap_err();
        assert!(matches!(office.open(&b"no seal"[..]), Err(SealError::Damaged(_))));
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        let wrong = Recipients::parse(&["age1wrong".to_owned()]).unwrap_err().to_string();
        assert!(wrong.contains("age1wrong") && wrong.contains("expected an age recipient"), "{wrong}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(BackupKey::load(&path).unwrap_err().to_string().contains("AGE-SECRET-KEY-1"));
        std::fs::write(&path, BackupKey::generate().to_file()).unwrap();
        BackupKey::load(&path).unwrap();
    }
}
