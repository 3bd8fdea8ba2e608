//! The cloud's own certificate authority: who a box is stands in a certificate of it, and nowhere else.
//!
//! ```text
//! FOLDER/authority.crt           the authority; given to boxes, which trust it and nobody else
//!        authority.key           0600
//!        authority-previous.crt  believed besides while the authority changes, if it is there
//! ```
//! A box's certificate names its tenant (O) and the box (CN), lives for 90 days, and is for clients only. What a request asks
//! for besides its key is not looked at.
//!
//! Left out on purpose: revocation lists (a box that is revoked is refused by its name, at each stream).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::names::is_name;
use crate::store::BoxName;

/// Of a box's certificate.
const BOX_DAYS: u64 = 90;
/// Of our own certificate as a server.
const SERVER_DAYS: u64 = 90;
/// Of the authority.
const AUTHORITY_DAYS: u64 = 3_650;
const DAY: Duration = Duration::from_secs(86_400);
/// Clocks differ: a certificate holds from a little before it was made.
const SKEW: Duration = Duration::from_secs(3_600);

/// Why there is no authority, or no certificate of it.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// One of its files.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// It is there and cannot be used.
    #[error("{} is damaged: restore it from a backup; without it every box has to be claimed anew", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// A request that is none, or is not signed with its key.
    #[error("the signing request is damaged or not signed by its own key")]
    Request,
    /// The cryptographic library.
    #[error("no certificate can be made: {0}")]
    Crypto(#[from] rcgen::Error),
}

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Ours first.
    roots: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

/// Who stands in a certificate, and until when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// The box.
    pub name: BoxName,
    /// When the certificate was made, to the second; in milliseconds since 1970, as the other one.
    pub made_at: i64,
    /// When it expires.
    pub not_after: i64,
}

impl Authority {
    /// The authority of this folder, made if there is none. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(folder: &Path, now: i64) -> Result<Authority, AuthorityError> {
        let (certificate, key) = (folder.join("authority.crt"), folder.join("authority.key"));
        if !certificate.exists() {
            make(folder, &certificate, &key, now)?;
        }
        let damaged = |path: &Path| AuthorityError::Damaged { path: path.to_owned() };
        let pair = KeyPair::from_pem(&read(&key)?).map_err(|_| damaged(&key))?;
        let own = CertificateDer::from_pem_file(&certificate).map_err(|_| damaged(&certificate))?;
        let issuer = Issuer::from_ca_cert_der(&own, pair).map_err(|_| damaged(&certificate))?;
        let mut roots = vec![own];
        let previous = folder.join("authority-previous.crt");
        if previous.exists() {
            let believed = CertificateDer::pem_file_iter(&previous).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            roots.extend(believed.map_err(|_| damaged(&previous))?);
        }
        Ok(Authority { issuer, roots })
    }

    /// Whom boxes may trust, ours first.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// A certificate for the key of this request, with this name.
    ///
    /// # Errors
    /// [`AuthorityError::Request`].
    pub fn certify_box(
        &self,
        name: &BoxName,
        request: &[u8],
        now: i64,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request));
        let public_key = request.map_err(|_| AuthorityError::Request)?.public_key;
        let mut params = params(now, BOX_DAYS);
        params.distinguished_name.push(DnType::OrganizationName, name.tenant_id.clone());
        params.distinguished_name.push(DnType::CommonName, name.box_id.clone());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let signed = CertificateSigningRequestParams { params, public_key }.signed_by(&self.issuer)?;
        Ok(signed.der().clone())
    }

    /// A certificate and key for ourselves, under these names and addresses.
    ///
    /// # Errors
    /// [`AuthorityError::Crypto`].
    pub fn certify_server(
        &self,
        names: &[String],
        now: i64,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(names.to_vec())?;
        let CertificateParams { not_before, not_after, serial_number, .. } = params(now, SERVER_DAYS);
        (server.not_before, server.not_after, server.serial_number) = (not_before, not_after, serial_number);
        server.distinguished_name.push(DnType::CommonName, "Offhook cloud");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let signed = server.signed_by(&key, &self.issuer)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((vec![signed.der().clone()], private.into()))
    }
}

/// Whom this certificate names. That an authority of ours has made it was seen by the handshake.
pub fn certified(certificate: &CertificateDer<'_>) -> Option<Certified> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let tenant_id = subject.iter_organization().next()?.as_str().ok()?.to_owned();
    let box_id = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let right = is_name(&tenant_id) && is_name(&box_id);
    let not_after = parsed.validity().not_after.timestamp().checked_mul(1_000)?;
    let not_before = parsed.validity().not_before.timestamp().checked_mul(1_000)?;
    let made_at = not_before.saturating_add(i64::try_from(SKEW.as_millis()).unwrap_or(i64::MAX));
    right.then_some(Certified { name: BoxName { tenant_id, box_id }, made_at, not_after })
}

fn params(now: i64, days: u64) -> CertificateParams {
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now.unsigned_abs());
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    (params.not_before, params.not_after) = (now - SKEW, now + DAY * u32::try_from(days).unwrap_or(u32::MAX));
    params.serial_number = Some(SerialNumber::from(rand::random::<u64>() >> 1));
    params
}

fn make(folder: &Path, certificate: &Path, key: &Path, now: i64) -> Result<(), AuthorityError> {
    let pair = KeyPair::generate()?;
    let mut params = params(now, AUTHORITY_DAYS);
    params.distinguished_name.push(DnType::CommonName, "Offhook cloud authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = params.self_signed(&pair)?;
    crate::files::make_folder(folder).map_err(|source| file_error(folder, source))?;
    // The certificate last: where it is, the key is too.
    crate::files::write_private(key, pair.serialize_pem().as_bytes()).map_err(|source| file_error(key, source))?;
    let written = crate::files::write_private(certificate, made.pem().as_bytes());
    written.map_err(|source| file_error(certificate, source))?;
    tracing::info!(certificate = %certificate.display(), "A new authority: boxes need this file to trust the cloud");
    Ok(())
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn request(params: CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_box_is_named_by_us_whatever_it_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), NOW).unwrap();
        let name = BoxName { tenant_id: "office".to_owned(), box_id: "box-1".to_owned() };
        let mut greedy = CertificateParams::new(vec!["cloud.example.org".to_owned()]).unwrap();
        greedy.distinguished_name.push(DnType::OrganizationName, "another-office");
        greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = authority.certify_box(&name, &request(greedy), NOW).unwrap();
        let made_at = NOW / 1_000 * 1_000;
        let not_after = made_at + 90 * 86_400_000;
        assert_eq!(certified(&made), Some(Certified { name, made_at, not_after }));
        let (_, parsed) = X509Certificate::from_der(&made).unwrap();
        assert!(!parsed.is_ca() && parsed.subject_alternative_name().unwrap().is_none());
        assert!(!parsed.extended_key_usage().unwrap().unwrap().value.server_auth);
    }

    #[test]
    fn a_request_that_its_key_has_not_signed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), NOW).unwrap();
        let name = BoxName { tenant_id: "office".to_owned(), box_id: "box-1".to_owned() };
        let mut forged = request(CertificateParams::default());
        *forged.last_mut().unwrap() ^= 1;
        for wrong in [forged.as_slice(), b"", b"\x30\x03\x02\x01\x00"] {
            assert!(matches!(authority.certify_box(&name, wrong, NOW), Err(AuthorityError::Request)));
        }
    }

    #[test]
    fn the_authority_is_made_once_and_one_that_is_damaged_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path(), NOW).unwrap();
        assert_eq!(Authority::open(folder.path(), NOW).unwrap().roots(), first.roots());
        let certificate = folder.path().join("authority.crt");
        fs::copy(&certificate, folder.path().join("authority-previous.crt")).unwrap();
        assert_eq!(Authority::open(folder.path(), NOW).unwrap().roots().len(), 2, "both while it changes");
        fs::write(&certificate, "x").unwrap();
        let error = Authority::open(folder.path(), NOW).unwrap_err();
        assert!(matches!(&error, AuthorityError::Damaged { path } if *path == certificate), "{error}");
    }
}
