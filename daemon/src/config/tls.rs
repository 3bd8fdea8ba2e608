//! `[sip.tls]`: SIP over TLS, and the SRTP that goes with it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio_rustls::TlsConnector;

use super::{ConfigMistake, ConfigMistakes, Sip};
use crate::identity::IdentityFolder;
use crate::io::sip;
use crate::io::tls::{self, CertificateFiles, TlsFile, TlsFileError, Trust};

/// What our own certificate has to be.
const CERTIFICATE: &str = "a PEM file that can be read, with our certificate and those above it";
/// What its key has to be.
const PRIVATE_KEY: &str = "a PEM file that can be read, with the key of sip.tls.certificate (ECDSA, Ed25519 or RSA)";
/// What the file of authorities has to be.
const TRUST: &str = "a PEM file that can be read, with the certificates of the authorities to believe";

/// `[sip.tls]`: SIP over TLS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Whether TLS is listened for, and trunks may be connected to with it.
    ///
    /// Off by default, since peers have to be told to believe the box's own certificate.
    pub enabled: bool,
    /// Port of the listener; 0 takes any free one and the log says which.
    pub port: u16,
    /// PEM file: our certificate, then those above it. Without it the box's own self-signed one is shown.
    pub certificate: Option<PathBuf>,
    /// PEM file: its key. Both are read again once they have changed.
    pub private_key: Option<PathBuf>,
    /// PEM file: the authorities that the other ends of our own connections must be certified by. Without it, those that
    /// browsers believe; some carriers' are older than that.
    pub trust: Option<PathBuf>,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { enabled: false, port: 5061, certificate: None, private_key: None, trust: None }
    }
}

/// Whether a call's sound is encrypted (SRTP, keys from the session description: RFC 4568).
///
/// Whoever reads the signalling reads the keys, so all of it is worth something over TLS only. Keys that come over an
/// unencrypted transport are taken all the same, since some phones send nothing else; ours are never offered over one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SrtpUse {
    /// Refused.
    Never,
    /// Taken when the peer offers it. Only phones over TLS are asked for it, and are called without if they want none.
    #[default]
    Accepted,
    /// All or nothing: no call without it.
    Required,
}

impl Tls {
    /// Reads the files; `None` where TLS is off. `machine` is the machine's folder.
    ///
    /// # Errors
    /// All mistakes, each with its key.
    pub fn open(&self, machine: &Path) -> Result<Option<sip::Tls>, ConfigMistakes> {
        if !self.enabled {
            return Ok(None);
        }
        let acceptor = self.certificate_files().and_then(|files| {
            let files = files.unwrap_or_else(|| CertificateFiles::of(&IdentityFolder::below(machine)));
            tls::acceptor(files).map_err(|error| self.mistake(&error))
        });
        let connector = self.connector().map_err(|error| self.mistake(&error));
        match (acceptor, connector) {
            (Ok(acceptor), Ok(connector)) => Ok(Some(sip::Tls { connector, listener: Some((self.port, acceptor)) })),
            (acceptor, connector) => {
                Err(ConfigMistakes([acceptor.err(), connector.err()].into_iter().flatten().collect()))
            }
        }
    }

    /// What can be told by anybody, before there is an identity: files that only the daemon may read, and the box's own,
    /// are looked at when it starts.
    pub(super) fn check(&self, sip: &Sip, mistakes: &mut Vec<ConfigMistake>) {
        if !self.enabled {
            return;
        }
        if sip.tcp_enabled && self.port == sip.port && self.port != 0 {
            mistakes.push(ConfigMistake::new("sip.tls.port", self.port, "another port than sip.port".into()));
        }
        let read = match self.certificate_files() {
            Ok(files) => files.map(|files| files.read().map(drop)),
            Err(mistake) => {
                mistakes.push(mistake);
                None
            }
        };
        let errors = [read.and_then(Result::err), self.connector().err()].into_iter().flatten();
        mistakes.extend(errors.filter(|error| !error.is_forbidden()).map(|error| self.mistake(&error)));
    }

    /// Those that are configured.
    fn certificate_files(&self) -> Result<Option<CertificateFiles>, ConfigMistake> {
        let missing =
            |key, other: &str| ConfigMistake::new(key, "nothing", format!("a PEM file that goes with {other}"));
        match (self.certificate.clone(), self.private_key.clone()) {
            (Some(certificate), Some(private_key)) => Ok(Some(CertificateFiles { certificate, private_key })),
            (Some(_), None) => Err(missing("sip.tls.private_key", "sip.tls.certificate")),
            (None, Some(_)) => Err(missing("sip.tls.certificate", "sip.tls.private_key")),
            (None, None) => Ok(None),
        }
    }

    fn connector(&self) -> Result<TlsConnector, TlsFileError> {
        tls::connector(&self.trust.clone().map_or(Trust::Public, Trust::File), None)
    }

    fn mistake(&self, error: &TlsFileError) -> ConfigMistake {
        let own = || format!("{CERTIFICATE}; or the box's own, which `offhook first-boot` makes");
        let (key, expected) = match &error.file {
            TlsFile::Trust(_) => ("sip.tls.trust", TRUST.to_owned()),
            TlsFile::Certificate(_) | TlsFile::PrivateKey(_) if self.certificate.is_none() => {
                ("sip.tls.certificate", own())
            }
            TlsFile::Certificate(_) => ("sip.tls.certificate", CERTIFICATE.to_owned()),
            TlsFile::PrivateKey(_) => ("sip.tls.private_key", PRIVATE_KEY.to_owned()),
        };
        ConfigMistake::new(key, error, expected)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::config::Config;

    /// A box's own files, to be configured elsewhere.
    fn made() -> (tempfile::TempDir, CertificateFiles) {
        let folder = tempfile::tempdir().unwrap();
        let identity = IdentityFolder::below(folder.path());
        identity.ensure(Timestamp::UNIX_EPOCH).unwrap();
        (folder, CertificateFiles::of(&identity))
    }

    fn keys(mistakes: &[ConfigMistake]) -> Vec<&str> {
        mistakes.iter().map(|mistake| mistake.key.as_str()).collect()
    }

    #[test]
    fn mistakes_in_tls_name_their_key() {
        let ((_folder, files), (_other_folder, other)) = (made(), made());
        let set = |key: &str, path: &Path| format!("sip.tls.{key}={}", path.display());
        let certificate = set("certificate", &files.certificate);
        let private_key = set("private_key", &files.private_key);
        let none = Path::new("/nonexistent.pem");
        for (settings, wrong) in [
            (vec![certificate.clone(), private_key.clone()], vec![]),
            (vec![certificate.clone(), private_key.clone(), set("trust", &other.certificate)], vec![]),
            (vec![], vec![]),
            (vec![certificate.clone()], vec!["sip.tls.private_key"]),
            (vec![private_key.clone()], vec!["sip.tls.certificate"]),
            (vec![certificate.clone(), set("private_key", &other.private_key)], vec!["sip.tls.private_key"]),
            (vec![certificate.clone(), set("private_key", none)], vec!["sip.tls.private_key"]),
            (vec![set("certificate", &files.private_key), private_key.clone()], vec!["sip.tls.certificate"]),
            (vec![set("trust", none)], vec!["sip.tls.trust"]),
            (vec![set("trust", &files.private_key)], vec!["sip.tls.trust"]),
            (vec!["sip.tls.port=5060".into()], vec!["sip.tls.port"]),
            (
                vec![certificate, set("trust", none), "sip.tls.port=5060".into()],
                vec!["sip.tls.port", "sip.tls.private_key", "sip.tls.trust"],
            ),
        ] {
            let enabled = ["sip.tls.enabled=true".to_owned()].into_iter().chain(settings.clone()).collect::<Vec<_>>();
            let found = Config::load(None, &enabled).err().map_or_else(Vec::new, |mistakes| mistakes.0);
            assert_eq!(keys(&found), wrong, "{settings:?}: {found:?}");
            if settings.iter().all(|setting| !setting.contains(".port=")) && !wrong.is_empty() {
                assert!(Config::load(None, &settings).is_ok(), "{settings:?} while TLS is off");
            }
        }
    }

    /// Without an identity there is nothing to show; with one, nothing needs to be configured.
    #[test]
    fn the_boxs_own_certificate_is_the_default() {
        let tls = Tls { enabled: true, ..Tls::default() };
        let empty = tempfile::tempdir().unwrap();
        let mistakes = tls.open(empty.path()).err().unwrap().0;
        assert_eq!(keys(&mistakes), ["sip.tls.certificate"]);
        assert!(mistakes[0].expected.contains("first-boot"), "{mistakes:?}");
        let (folder, _) = made();
        assert!(tls.open(folder.path()).unwrap().is_some());
        assert!(Tls::default().open(empty.path()).unwrap().is_none());
    }
}
