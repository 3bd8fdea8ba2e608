//! The cloud's own certificate authority: who a box is stands in a certificate of it, and nowhere else.
//!
//! ```text
//! FOLDER/authority.crt           the authority; given to boxes, which trust it and nobody else
//!        authority.key           0600
//!        authority-previous.crt  believed besides while the authority changes, if it is there
//! ```
//! A box's certificate names its tenant (O) and the box (CN), lives for 90 days, and is for clients only. That of somebody who
//! manages boxes names them as well (O, CN), and that they are an operator (OU): neither is taken for the other. What a request
//! asks for besides its key is not looked at.
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

use crate::fleet::operator::{ALL_TENANTS, OperatorName};
use crate::names::is_name;
use crate::store::BoxName;

/// Of a box's certificate.
const BOX_DAYS: u64 = 90;
/// Of an operator's certificate, which is made anew when two thirds of it are over.
const OPERATOR_DAYS: u64 = 90;
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

/// What stands as the organizational unit in the certificate of somebody who manages boxes; a box's has none.
const OPERATOR: &str = "operator";

/// An operator who stands in a certificate, and until when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedOperator {
    /// Who.
    pub name: OperatorName,
    /// Milliseconds since 1970.
    pub not_after: i64,
}

/// A box that stands in a certificate, and until when it holds.
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
        let mut params = params(now, BOX_DAYS);
        params.distinguished_name.push(DnType::OrganizationName, name.tenant_id.clone());
        params.distinguished_name.push(DnType::CommonName, name.box_id.clone());
        self.certify_client(params, request)
    }

    /// A certificate for the key of this request, for somebody who manages boxes.
    ///
    /// # Errors
    /// [`AuthorityError::Request`].
    pub fn certify_operator(
        &self,
        name: &OperatorName,
        request: &[u8],
        now: i64,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut params = params(now, OPERATOR_DAYS);
        let tenant = name.tenant_id.as_deref().unwrap_or(ALL_TENANTS);
        params.distinguished_name.push(DnType::OrganizationName, tenant);
        params.distinguished_name.push(DnType::OrganizationalUnitName, OPERATOR);
        params.distinguished_name.push(DnType::CommonName, name.name.clone());
        self.certify_client(params, request)
    }

    fn certify_client(
        &self,
        mut params: CertificateParams,
        request: &[u8],
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request));
        let public_key = request.map_err(|_| AuthorityError::Request)?.public_key;
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

/// Which box this certificate names. That an authority of ours has made it was seen by the handshake.
pub fn certified(certificate: &CertificateDer<'_>) -> Option<Certified> {
    let Names { organization, unit, common, made_at, not_after } = names(certificate)?;
    let right = unit.is_none() && is_name(&organization) && is_name(&common);
    right.then_some(Certified { name: BoxName { tenant_id: organization, box_id: common }, made_at, not_after })
}

/// Which operator this certificate names, as for [`certified`].
pub fn certified_operator(certificate: &CertificateDer<'_>) -> Option<CertifiedOperator> {
    let Names { organization, unit, common, not_after, .. } = names(certificate)?;
    let tenant_id = Some(organization).filter(|tenant| tenant != ALL_TENANTS);
    let right = unit.as_deref() == Some(OPERATOR) && tenant_id.as_deref().is_none_or(is_name) && is_name(&common);
    right.then_some(CertifiedOperator { name: OperatorName { tenant_id, name: common }, not_after })
}

struct Names {
    organization: String,
    unit: Option<String>,
    common: String,
    made_at: i64,
    not_after: i64,
}

fn names(certificate: &CertificateDer<'_>) -> Option<Names> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let not_before = parsed.validity().not_before.timestamp().checked_mul(1_000)?;
    let unit = subject.iter_organizational_unit().next();
    Some(Names {
        organization: subject.iter_organization().next()?.as_str().ok()?.to_owned(),
        // One that cannot be read is one all the same.
        unit: unit.map(|unit| unit.as_str().unwrap_or_default().to_owned()),
        common: subject.iter_common_name().next()?.as_str().ok()?.to_owned(),
        made_at: not_before.saturating_add(i64::try_from(SKEW.as_millis()).unwrap_or(i64::MAX)),
        not_after: parsed.validity().not_after.timestamp().checked_mul(1_000)?,
    })
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
    fn a_box_is_no_operator_and_an_operator_no_box() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), NOW).unwrap();
        let request = || request(CertificateParams::default());
        for tenant_id in [None, Some("office".to_owned())] {
            let name = OperatorName { tenant_id, name: "anna".to_owned() };
            let made = authority.certify_operator(&name, &request(), NOW).unwrap();
            assert_eq!(certified_operator(&made).unwrap().name, name);
            assert_eq!(certified(&made), None);
        }
        let name = BoxName { tenant_id: "office".to_owned(), box_id: "box-1".to_owned() };
        let made = authority.certify_box(&name, &request(), NOW).unwrap();
        assert_eq!(certified_operator(&made), None);
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
