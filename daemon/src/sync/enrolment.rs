//! What makes this box known to its cloud: a key that never leaves it, and a certificate for it.
//!
//! ```text
//! STATE/cloud/enrolment.json   0600  box id, endpoint, key, certificate, whom to believe; one file, so never half of it
//! ```
//! The key is another one than that of the box's identity, which is root's alone. A certificate is renewed after two thirds of
//! its life, each box a little earlier or later than the others.

use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::Config;
use crate::durable;
use crate::identity::IdentityFolder;
use crate::storage::UnixMs;

const FILE: &str = "cloud/enrolment.json";

/// A box's place in a cloud.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// What the cloud calls the box.
    pub box_id: String,
    /// Where it connects to, as host and port.
    pub endpoint: String,
    /// Where it was claimed or was before it moved, if that is elsewhere: where it asks when nobody answers at `endpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// PKCS #8 in PEM.
    private_key: String,
    /// In PEM, the box's own first.
    chain: String,
    /// Whom it believes besides the configuration's, in PEM.
    roots: String,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Enrolment { box_id, endpoint, .. } = self;
        formatter.debug_struct("Enrolment").field("box_id", box_id).field("endpoint", endpoint).finish_non_exhaustive()
    }
}

/// Why the enrolment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// It is there and cannot be understood.
    #[error("{} is damaged: claim the box again with a new code (`offhook cloud claim CODE`)", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// The cryptographic library.
    #[error("no key can be made: {0}")]
    Crypto(#[from] rcgen::Error),
}

/// A key, and the request for a certificate for it.
pub struct Request {
    key: KeyPair,
    /// PKCS #10, DER.
    pub der: Vec<u8>,
}

/// From when to when a certificate holds, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: UnixMs,
    /// The last.
    pub not_after: UnixMs,
}

impl Validity {
    /// When another one is asked for. `seed` spreads boxes that were claimed together.
    pub fn renew_at(&self, seed: u64) -> UnixMs {
        let life = self.not_after.0.saturating_sub(self.not_before.0).max(0);
        // From 0.62 to 0.70 of it, in steps of a thousandth.
        let thousandths = 620 + i64::try_from(seed % 81).unwrap_or(40);
        UnixMs(self.not_before.0.saturating_add(life / 1_000 * thousandths))
    }
}

impl Request {
    /// With a new key.
    ///
    /// # Errors
    /// [`EnrolmentError::Crypto`].
    pub fn new(box_id: &str) -> Result<Request, EnrolmentError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // The cloud decides on the name; this is for whoever reads the request.
        params.distinguished_name.push(DnType::CommonName, box_id);
        let der = params.serialize_request(&key)?.der().to_vec();
        Ok(Request { key, der })
    }
}

impl Enrolment {
    /// What the cloud has answered, for the key of `request`.
    pub fn new(box_id: String, request: &Request, certificate: &cloud_api::v1::Certificate) -> Enrolment {
        let pem = |certificates: &[prost::bytes::Bytes]| certificates.iter().map(|der| to_pem(der)).collect::<String>();
        Enrolment {
            box_id,
            endpoint: certificate.endpoint.clone(),
            home: None,
            private_key: request.key.serialize_pem(),
            chain: pem(&certificate.chain),
            roots: pem(&certificate.roots),
        }
    }

    /// The same place in another cell of the cloud.
    pub fn moved(&self, endpoint: &str) -> Enrolment {
        self.at(endpoint).known_at(&self.endpoint, self.home.as_deref())
    }

    /// Asked for at another endpoint.
    pub(super) fn at(&self, endpoint: &str) -> Enrolment {
        Enrolment { endpoint: endpoint.to_owned(), ..self.clone() }
    }

    /// With what the box knows of other ways to its cloud: `home`, or else where it `was`.
    pub(super) fn known_at(mut self, was: &str, home: Option<&str>) -> Enrolment {
        self.home = home.or((self.endpoint != was).then_some(was)).map(str::to_owned);
        self
    }

    /// The box's name is what the certificate says: for one that took another's place, and did not know its name.
    #[must_use]
    pub fn named_by_its_certificate(self) -> Enrolment {
        let chain = self.chain();
        let named = chain.first().and_then(|own| {
            let (_, parsed) = X509Certificate::from_der(own).ok()?;
            Some(parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned())
        });
        Enrolment { box_id: named.unwrap_or_else(|| self.box_id.clone()), ..self }
    }

    /// Where it lies.
    pub fn file(state_directory: &Path) -> PathBuf {
        state_directory.join(FILE)
    }

    /// What was kept; None if the box was never claimed.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn load(state_directory: &Path) -> Result<Option<Enrolment>, EnrolmentError> {
        let path = Self::file(state_directory);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EnrolmentError::File { path, source }),
        };
        let enrolment: Option<Enrolment> = serde_json::from_str(&text).ok();
        let whole = enrolment.filter(|enrolment| enrolment.validity().is_some() && enrolment.key().is_some());
        whole.map(Some).ok_or(EnrolmentError::Damaged { path })
    }

    /// Keeps it, in place of the one before.
    ///
    /// # Errors
    /// [`EnrolmentError::File`].
    pub fn save(&self, state_directory: &Path) -> Result<(), EnrolmentError> {
        let path = Self::file(state_directory);
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let saved = text.and_then(|text| durable::write(&path, &text, 0o600));
        saved.map_err(|source| EnrolmentError::File { path, source })
    }

    /// The certificate and those above it.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        from_pem(&self.chain)
    }

    /// Whom it believes besides the configuration's.
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        from_pem(&self.roots)
    }

    /// Its key.
    pub fn key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.private_key.as_bytes()).ok()
    }

    /// From when to when the certificate holds.
    pub fn validity(&self) -> Option<Validity> {
        let chain = self.chain();
        let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
        let ms = |time: x509_parser::time::ASN1Time| UnixMs(time.timestamp().saturating_mul(1_000));
        Some(Validity { not_before: ms(parsed.validity().not_before), not_after: ms(parsed.validity().not_after) })
    }

    /// Whose box it is, as the certificate says.
    pub fn tenant(&self) -> Option<String> {
        let chain = self.chain();
        let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
        Some(parsed.subject().iter_organization().next()?.as_str().ok()?.to_owned())
    }
}

/// What a cloud is to call this box: what it has called it before, else the box's identity, else a new name.
pub fn box_id(config: &Config) -> String {
    let before = Enrolment::load(&config.state_directory()).ok().flatten().map(|enrolment| enrolment.box_id);
    let identity = || IdentityFolder::below(&config.machine_directory()).load().ok();
    before
        .or_else(|| identity().map(|identity| identity.box_id.to_string()))
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
}

fn to_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    // RFC 7468: lines of 64 characters.
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn from_pem(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn enrolment() -> Enrolment {
        let request = Request::new("box-1").unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "office");
        params.distinguished_name.push(DnType::CommonName, "box-1");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let own = params.self_signed(&request.key).unwrap().der().to_vec();
        let certificate = cloud_api::v1::Certificate {
            chain: vec![own.clone().into()],
            roots: vec![own.clone().into(), own.into()],
            endpoint: "cloud.example.org:8443".to_owned(),
        };
        Enrolment::new("box-1".to_owned(), &request, &certificate)
    }

    #[test]
    fn what_is_kept_comes_back_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Enrolment::load(folder.path()).unwrap(), None);
        let enrolment = enrolment();
        enrolment.save(folder.path()).unwrap();
        assert_eq!(Enrolment::load(folder.path()).unwrap(), Some(enrolment.clone()));
        let file = Enrolment::file(folder.path());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((enrolment.roots().len(), enrolment.tenant().as_deref()), (2, Some("office")));
        let named = Enrolment { box_id: String::new(), ..enrolment.clone() }.named_by_its_certificate();
        assert_eq!(named, enrolment);
        assert!(!format!("{enrolment:?}").contains("PRIVATE"));
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("BEGIN CERT", "BEGIN")).unwrap();
        let error = Enrolment::load(folder.path()).unwrap_err();
        assert!(error.to_string().contains("offhook cloud claim"), "{error}");
    }

    #[test]
    fn a_box_that_moves_remembers_where_it_came_from() {
        let folder = tempfile::tempdir().unwrap();
        let claimed = enrolment();
        assert!(!serde_json::to_string(&claimed).unwrap().contains("home"), "as earlier releases wrote it");
        let moved = claimed.moved("eu.example.org:8443");
        moved.save(folder.path()).unwrap();
        let again = Enrolment::load(folder.path()).unwrap().unwrap().moved("us.example.org:8443");
        let places = |enrolment: &Enrolment| (enrolment.endpoint.clone(), enrolment.home.clone().unwrap_or_default());
        assert_eq!(places(&moved), ("eu.example.org:8443".to_owned(), "cloud.example.org:8443".to_owned()));
        assert_eq!(places(&again), ("us.example.org:8443".to_owned(), "cloud.example.org:8443".to_owned()));
        assert_eq!((again.tenant(), again.chain()), (claimed.tenant(), claimed.chain()));
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life_each_box_at_another_time() {
        let validity = enrolment().validity().unwrap();
        assert_eq!(validity.not_after.0 - validity.not_before.0, 90 * DAY_MS);
        let days = |seed| (validity.renew_at(seed).0 - validity.not_before.0) / DAY_MS;
        assert_eq!((days(0), days(80), days(81)), (55, 63, 55));
        let different: std::collections::BTreeSet<_> = (0..81).map(|seed| validity.renew_at(seed)).collect();
        assert_eq!(different.len(), 81);
    }
}
