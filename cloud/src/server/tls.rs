//! TLS for boxes: our certificate, which is renewed while we run, and theirs.
//!
//! A box without a certificate may come to be claimed, and one whose certificate has expired to get another one: the handshake
//! lets both in, and the services look at who it is. Any other certificate than one of our authority's ends the handshake.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::authority::{Authority, certified};
use crate::clock;

/// Where our own certificate comes from.
#[derive(Debug, Clone)]
pub enum OwnCertificate {
    /// Of the authority, under these names.
    Made(Vec<String>),
    /// Two files: chain and key, in PEM.
    Files(PathBuf, PathBuf),
}

/// The certificate cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("the server's certificate: {0}")]
pub struct OwnCertificateError(String);

/// Our certificate as it is now.
#[derive(Debug)]
pub(super) struct Current {
    source: OwnCertificate,
    authority: Arc<Authority>,
    key: RwLock<Arc<CertifiedKey>>,
}

impl Current {
    /// Reads or makes it.
    ///
    /// # Errors
    /// [`OwnCertificateError`].
    pub(super) fn open(source: OwnCertificate, authority: Arc<Authority>) -> Result<Arc<Current>, OwnCertificateError> {
        let key = RwLock::new(Arc::new(load(&source, &authority)?));
        Ok(Arc::new(Current { source, authority, key }))
    }

    /// Reads or makes it again, once an hour. What cannot be used leaves the old one in place.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            match load(&self.source, &self.authority) {
                Ok(key) => *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key),
                Err(error) => tracing::error!(%error, "The old certificate is shown on"),
            }
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn load(source: &OwnCertificate, authority: &Authority) -> Result<CertifiedKey, OwnCertificateError> {
    let wrong = |error: &dyn std::fmt::Display| OwnCertificateError(error.to_string());
    let (chain, key) = match source {
        OwnCertificate::Made(names) => {
            authority.certify_server(names, clock::unix_ms()).map_err(|error| wrong(&error))?
        }
        OwnCertificate::Files(certificate, key) => {
            let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let chain = chain.map_err(|error| wrong(&format!("{}: {error}", certificate.display())))?;
            let private = PrivateKeyDer::from_pem_file(key);
            (chain, private.map_err(|error| wrong(&format!("{}: {error}", key.display())))?)
        }
    };
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| wrong(&error))
}

/// What a handshake with a box needs.
///
/// # Errors
/// [`OwnCertificateError`] if the authority's certificate is none.
pub(super) fn server_config(current: Arc<Current>, authority: &Authority) -> Result<ServerConfig, OwnCertificateError> {
    let wrong = |error: &dyn std::fmt::Display| OwnCertificateError(error.to_string());
    let mut roots = RootCertStore::empty();
    for root in authority.roots() {
        roots.add(root.clone()).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| wrong(&error))?;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(&error))?.with_client_cert_verifier(Arc::new(EvenExpired(verifier)));
    let mut config = builder.with_cert_resolver(current);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// What a handshake with anybody else needs: our certificate, and none of theirs.
///
/// # Errors
/// [`OwnCertificateError`].
pub(super) fn public_config(current: Arc<Current>) -> Result<ServerConfig, OwnCertificateError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| OwnCertificateError(error.to_string()))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(current);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes what [`WebPkiClientVerifier`] takes, and what it would have taken in time.
#[derive(Debug)]
struct EvenExpired(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for EvenExpired {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        let expired = matches!(
            &verified,
            Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }))
        );
        let Some(certified) = certified(end_entity).filter(|_| expired) else { return verified };
        let in_time = Duration::from_millis(certified.not_after.unsigned_abs());
        self.0.verify_client_cert(end_entity, intermediates, UnixTime::since_unix_epoch(in_time))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
