//! TLS for SIP: who we are, whom we believe, and why a connection did not come about (RFC 3261 §26.3, RFC 8446).
//!
//! rustls with ring, TLS 1.2 and 1.3. Our certificate and its key are two PEM files, read again when a handshake finds
//! them changed, so that a renewal needs no restart. A peer that we connect to must prove to be the host that was looked
//! up, by a certificate of the public authorities or of those in a file; there is no way to leave that out.
//!
//! Left out on purpose: certificates of clients (a trunk is known by its address and its digest), revocation lists, early
//! data. Wildcards are believed, against RFC 5922 §7.2, since carriers have them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{info, warn};

use crate::identity::IdentityFolder;

/// RFC 8996: the older ones are broken.
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
/// Why that cannot fail: it is decided when this is compiled.
const HAS_VERSIONS: &str = "ring has ciphers for both versions";
/// Addresses whose names are remembered: those of many trunks, each with several.
const PEER_LIMIT: usize = 1_024;

/// Our certificate, those above it, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: ours first, then those above it.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub private_key: PathBuf,
}

/// Whom we believe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that browsers believe.
    #[default]
    Public,
    /// Those in a PEM file, and no others.
    File(PathBuf),
}

/// One of the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {reason}", file.path().display())]
pub struct TlsFileError {
    /// Which.
    pub file: TlsFile,
    /// What is wrong with it.
    pub reason: FileFault,
}

impl TlsFileError {
    /// It may be in order, but we may not look.
    pub fn is_forbidden(&self) -> bool {
        matches!(&self.reason, FileFault::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// What a file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFile {
    /// Our certificate.
    Certificate(PathBuf),
    /// Its key.
    PrivateKey(PathBuf),
    /// The authorities we believe.
    Trust(PathBuf),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// Not there, or not for us.
    #[error("(cannot be read: {0})")]
    Unreadable(io::Error),
    /// No text between BEGIN and END lines, or nothing of that kind in it.
    #[error("(has nothing of that kind in PEM)")]
    NotPem,
    /// PEM, but what is in it is none.
    #[error("(is damaged, or of a kind we do not have)")]
    Unusable,
    /// A key, but another one's.
    #[error("(is the key of another certificate)")]
    OtherKey,
}

impl TlsFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            TlsFile::Certificate(path) | TlsFile::PrivateKey(path) | TlsFile::Trust(path) => path,
        }
    }

    fn fault(&self, reason: FileFault) -> TlsFileError {
        TlsFileError { file: self.clone(), reason }
    }
}

impl CertificateFiles {
    /// The box's own.
    pub fn of(identity: &IdentityFolder) -> CertificateFiles {
        CertificateFiles { certificate: identity.certificate(), private_key: identity.private_key() }
    }

    /// Reads both and sees whether they belong together.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn read(&self) -> Result<CertifiedKey, TlsFileError> {
        let certificate = TlsFile::Certificate(self.certificate.clone());
        let private_key = TlsFile::PrivateKey(self.private_key.clone());
        let chain = certificates(&certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.private_key).map_err(|error| private_key.fault(fault(error)))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            if matches!(error, Error::InconsistentKeys(_)) {
                private_key.fault(FileFault::OtherKey)
            } else if matches!(error, Error::InvalidCertificate(_)) {
                certificate.fault(FileFault::Unusable)
            } else {
                private_key.fault(FileFault::Unusable)
            }
        })
    }

    /// When and how large: what changes with the content.
    fn stamps(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.certificate, &self.private_key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

fn certificates(file: &TlsFile) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = |error| file.fault(fault(error));
    let found =
        CertificateDer::pem_file_iter(file.path()).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
    if found.is_empty() { Err(file.fault(FileFault::NotPem)) } else { Ok(found) }
}

fn fault(error: pem::Error) -> FileFault {
    if let pem::Error::Io(error) = error { FileFault::Unreadable(error) } else { FileFault::NotPem }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// For a listener: shows the certificate of `files`, and a newer one once there is one.
///
/// # Errors
/// [`TlsFileError`].
pub fn acceptor(files: CertificateFiles) -> Result<TlsAcceptor, TlsFileError> {
    let stamps = files.stamps();
    let shown = Arc::new(files.read()?);
    let resolver = Renewable { files, current: Mutex::new(Current { stamps, shown }) };
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect(HAS_VERSIONS)
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For connections that we make. `own` is the box's own certificate: whoever calls the very machine it is on may believe
/// it too.
///
/// # Errors
/// [`TlsFileError`].
pub fn connector(trust: &Trust, own: Option<&Path>) -> Result<TlsConnector, TlsFileError> {
    let mut roots = RootCertStore::empty();
    let file = match trust {
        Trust::Public => {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            None
        }
        Trust::File(path) => Some(path.as_path()),
    };
    for path in file.into_iter().chain(own) {
        let file = TlsFile::Trust(path.to_owned());
        for certificate in certificates(&file)? {
            roots.add(certificate).map_err(|_| file.fault(FileFault::Unusable))?;
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect(HAS_VERSIONS)
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The certificate of two files, for as long as they do not change.
#[derive(Debug)]
struct Renewable {
    files: CertificateFiles,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    stamps: [Option<(SystemTime, u64)>; 2],
    shown: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Renewable {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

impl Renewable {
    /// Two small files and only when they have changed, so a handshake may wait for it. Files that do not fit together
    /// yet, because only one of them has been replaced, are looked at again when the other one is.
    fn shown(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.files.stamps();
        if stamps != current.stamps {
            current.stamps = stamps;
            match self.files.read() {
                Ok(renewed) => {
                    current.shown = Arc::new(renewed);
                    info!("The TLS certificate was renewed");
                }
                Err(error) => warn!(%error, "The TLS certificate was changed but cannot be used; the old one stays"),
            }
        }
        Arc::clone(&current.shown)
    }
}

/// Why there is no TLS connection, said so that somebody can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// Its dates are over.
    #[error("the peer's certificate has expired, by this machine's clock")]
    Expired,
    /// Its dates are still to come.
    #[error("the peer's certificate is not valid yet, by this machine's clock")]
    NotYetValid,
    /// Signed by somebody we do not believe.
    #[error("the peer's certificate is of an issuer that is not trusted (sip.tls.trust names a file of others)")]
    UnknownIssuer,
    /// It is somebody else's.
    #[error("the peer's certificate is for another name than the one that was to be reached")]
    WrongName,
    /// Anything else about it.
    #[error("the peer's certificate cannot be used: damaged, revoked, or not for servers")]
    BadCertificate,
    /// It does not like ours.
    #[error("the peer does not trust our certificate")]
    OursRefused,
    /// Only old protocols or weak ciphers.
    #[error("the peer has no TLS version (1.2 or 1.3) or cipher in common with us")]
    NothingInCommon,
    /// Something, but not TLS.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// Ten seconds have passed.
    #[error("the peer did not answer, or not finish the TLS handshake, in time")]
    TimedOut,
    /// Closed, reset, unreachable.
    #[error("the connection to the peer was lost or never made")]
    Lost,
    /// Neither a host name nor an address.
    #[error("the name to be reached is none that a certificate could be for")]
    NoName,
}

impl From<&io::Error> for TlsFailure {
    fn from(error: &io::Error) -> TlsFailure {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => TlsFailure::from(error),
            None if error.kind() == io::ErrorKind::TimedOut => TlsFailure::TimedOut,
            None if error.kind() == io::ErrorKind::InvalidInput => TlsFailure::NoName,
            None => TlsFailure::Lost,
        }
    }
}

impl From<&Error> for TlsFailure {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls' own list, which grows; the last arm is for all the rest"
    )]
    fn from(error: &Error) -> TlsFailure {
        match error {
            Error::InvalidCertificate(error) => TlsFailure::from(error),
            Error::AlertReceived(alert) => TlsFailure::from(*alert),
            Error::PeerIncompatible(_) => TlsFailure::NothingInCommon,
            _ => TlsFailure::NotTls,
        }
    }
}

impl From<&CertificateError> for TlsFailure {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls' own list, which grows; the last arm is for all the rest"
    )]
    fn from(error: &CertificateError) -> TlsFailure {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFailure::NotYetValid,
            CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFailure::WrongName
            }
            _ => TlsFailure::BadCertificate,
        }
    }
}

impl From<AlertDescription> for TlsFailure {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls' own list, which grows; the last arm is for all the rest"
    )]
    fn from(alert: AlertDescription) -> TlsFailure {
        match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate => TlsFailure::OursRefused,
            _ => TlsFailure::NothingInCommon,
        }
    }
}

/// Whom the addresses belong to that we connect to over TLS, and why the last attempt at each failed.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<SocketAddr, Peer>,
    /// In the order in which they came; the oldest makes room.
    order: VecDeque<SocketAddr>,
}

#[derive(Debug, Default)]
struct Peer {
    host: Option<String>,
    failure: Option<TlsFailure>,
}

impl Peers {
    fn peer(&mut self, address: SocketAddr) -> &mut Peer {
        if !self.known.contains_key(&address) {
            if self.order.len() >= PEER_LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(address);
        }
        self.known.entry(address).or_default()
    }

    /// `address` was found by looking up `host`; the latest counts.
    pub(super) fn set_host(&mut self, address: SocketAddr, host: &str) {
        self.peer(address).host = Some(host.to_owned());
    }

    /// An attempt to connect has failed, or has not.
    pub(super) fn note(&mut self, address: SocketAddr, failure: Option<TlsFailure>) {
        self.peer(address).failure = failure;
    }

    pub(super) fn failure(&self, address: SocketAddr) -> Option<TlsFailure> {
        self.known.get(&address)?.failure
    }

    /// What the certificate of `address` has to be for: the host that was looked up, else the address itself.
    pub(super) fn server_name(&self, address: SocketAddr) -> io::Result<ServerName<'static>> {
        match self.known.get(&address).and_then(|peer| peer.host.as_deref()) {
            Some(host) => ServerName::try_from(host.trim_end_matches('.').to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error)),
            None => Ok(address.ip().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// The files of a box of its own.
    fn made() -> (tempfile::TempDir, CertificateFiles) {
        let folder = tempfile::tempdir().unwrap();
        let identity = IdentityFolder::below(folder.path());
        identity.ensure(Timestamp::UNIX_EPOCH).unwrap();
        (folder, CertificateFiles::of(&identity))
    }

    fn reason(files: &CertificateFiles) -> String {
        files.read().unwrap_err().to_string()
    }

    #[test]
    fn files_that_cannot_be_used_say_why() {
        let (folder, files) = made();
        files.read().unwrap();
        let (_other_folder, other) = made();
        let with_key = |private_key: &Path| CertificateFiles { private_key: private_key.to_owned(), ..files.clone() };
        assert!(reason(&with_key(&other.private_key)).contains("another certificate"));
        assert!(reason(&with_key(&files.certificate)).contains("PEM"));
        assert!(reason(&with_key(&folder.path().join("none"))).contains("cannot be read"));
        let damaged = folder.path().join("damaged");
        std::fs::write(&damaged, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(reason(&CertificateFiles { certificate: damaged.clone(), ..files.clone() }).contains("damaged"));
        assert!(connector(&Trust::File(damaged), None).is_err());
        assert!(connector(&Trust::File(files.certificate), None).is_ok());
        assert!(connector(&Trust::Public, None).is_ok());
    }

    /// Renewed in two steps, as a script does it: the key alone does not fit the old certificate yet.
    #[test]
    fn a_renewed_certificate_is_shown_without_a_restart() {
        let ((_folder, files), (_new_folder, new)) = (made(), made());
        let renewable = Renewable {
            current: Mutex::new(Current { stamps: files.stamps(), shown: Arc::new(files.read().unwrap()) }),
            files: files.clone(),
        };
        let before = renewable.shown();
        assert!(Arc::ptr_eq(&before, &renewable.shown()));
        let replace = |from: &Path, to: &Path| {
            std::fs::copy(from, to).unwrap();
            // Two boxes' files may be of one length, and made in one tick of the file system's clock.
            let file = std::fs::File::options().append(true).open(to).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        };
        replace(&new.private_key, &files.private_key);
        assert!(Arc::ptr_eq(&before, &renewable.shown()), "what does not fit is not shown");
        replace(&new.certificate, &files.certificate);
        assert_eq!(renewable.shown().cert, new.read().unwrap().cert);
    }

    #[test]
    fn the_name_is_the_host_that_was_looked_up_else_the_address() {
        let mut peers = Peers::default();
        let address = |number: u32| SocketAddr::new(std::net::Ipv4Addr::from(number).into(), 5061);
        peers.set_host(address(1), "office.pstn.example.com.");
        peers.set_host(address(3), "no host");
        assert_eq!(peers.server_name(address(1)).unwrap().to_str(), "office.pstn.example.com");
        assert_eq!(peers.server_name(address(2)).unwrap().to_str(), "0.0.0.2");
        assert_eq!(TlsFailure::from(&peers.server_name(address(3)).unwrap_err()), TlsFailure::NoName);
        for number in 10..10 + u32::try_from(PEER_LIMIT).unwrap() {
            peers.set_host(address(number), "later.example.com");
        }
        assert_eq!(peers.server_name(address(1)).unwrap().to_str(), "0.0.0.1", "the oldest made room");
        assert_eq!(peers.known.len(), PEER_LIMIT);
    }
}
