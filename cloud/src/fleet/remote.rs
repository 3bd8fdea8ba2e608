//! The desk from elsewhere: an operator's own machine asks the service over gRPC, with the certificate of a file.
//!
//! The file is TOML, for its owner alone: whoever has it is the operator. Its certificate is made anew, with a new key, when
//! two thirds of its 90 days are over and it is used.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use cloud_api::v1::enroll_client::EnrollClient;
use cloud_api::v1::fleet_client::FleetClient;
use cloud_api::v1::{ExportRequest, ExportedRows, RenewRequest};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Response, Status};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::operator::OperatorName;
use crate::authority::Authority;
use crate::clock;

/// For a connection and for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A page of a thousand calls, or a box with all its versions, in bytes.
const MESSAGE_MAX: usize = 32 << 20;

/// What makes somebody an operator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Host and port of the service.
    pub endpoint: String,
    /// Whose boxes; none of all tenants.
    pub tenant: Option<String>,
    /// Who.
    pub name: String,
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS #8.
    pub private_key: String,
    /// PEM: who certifies the service, besides the public authorities.
    pub trust: String,
}

/// A key and a request for a certificate of it.
fn request() -> anyhow::Result<(KeyPair, Vec<u8>)> {
    let key = KeyPair::generate()?;
    let request = CertificateParams::default().serialize_request(&key)?.der().to_vec();
    Ok((key, request))
}

fn pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

impl Credentials {
    /// New ones. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn make(authority: &Authority, name: &OperatorName, endpoint: &str, now: i64) -> anyhow::Result<Credentials> {
        let (key, request) = request()?;
        let certificate = authority.certify_operator(name, &request, now)?;
        Ok(Credentials {
            endpoint: endpoint.to_owned(),
            tenant: name.tenant_id.clone(),
            name: name.name.clone(),
            certificate: pem(&certificate),
            private_key: key.serialize_pem(),
            trust: authority.roots().iter().map(|root| pem(root)).collect(),
        })
    }

    /// Those of a file.
    ///
    /// # Errors
    /// If it cannot be read, with its name.
    pub fn load(path: &Path) -> anyhow::Result<Credentials> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| format!("{} is no file of `offhook-cloud operator add`", path.display()))
    }

    /// Writes the file, for its owner alone.
    ///
    /// # Errors
    /// If it cannot be written, with its name.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self)?;
        crate::files::write_private(path, text.as_bytes()).with_context(|| path.display().to_string())
    }

    /// Whether less than a third of its time is left.
    fn is_due(&self, now: i64) -> bool {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).ok();
        let validity = certificate.as_ref().and_then(|der| {
            let (_, parsed) = X509Certificate::from_der(der).ok()?;
            let validity = parsed.validity();
            Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
        });
        validity.is_some_and(|(from, until)| now / 1_000 > from + (until - from) / 3 * 2)
    }

    async fn connect(&self) -> anyhow::Result<Channel> {
        let tls = ClientTlsConfig::new()
            .with_webpki_roots()
            .ca_certificate(Certificate::from_pem(&self.trust))
            .identity(Identity::from_pem(&self.certificate, &self.private_key));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.endpoint))
            .with_context(|| format!("endpoint = {:?}: expected host and port", self.endpoint))?;
        let endpoint = endpoint.tls_config(tls).context("certificate, private_key, trust: expected PEM")?;
        // An export may take long: a service that has gone without a word is noticed all the same.
        let endpoint = endpoint.http2_keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE);
        endpoint.connect_timeout(PATIENCE).connect().await.map_err(|error| {
            let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
            let reason = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
            anyhow::anyhow!("the cloud at {} cannot be reached: {reason}", self.endpoint)
        })
    }

    async fn renew(&mut self, channel: &Channel) -> anyhow::Result<()> {
        let (key, signing_request) = request()?;
        let request = RenewRequest { signing_request: signing_request.into() };
        let made = EnrollClient::new(channel.clone()).renew(request).await;
        let made = made.map_err(|status| refused(&status))?.into_inner();
        let certificate = made.chain.first().context("the cloud gave no certificate")?;
        self.certificate = pem(certificate);
        self.private_key = key.serialize_pem();
        self.trust = made.roots.iter().map(|root| pem(root)).collect();
        Ok(())
    }
}

/// What the service has said, for a person.
fn refused(status: &Status) -> anyhow::Error {
    let said = if status.message().is_empty() { status.code().description() } else { status.message() };
    anyhow::anyhow!("the cloud refuses: {said}")
}

/// A connection to the service.
#[derive(Debug)]
pub struct Remote {
    runtime: tokio::runtime::Runtime,
    client: FleetClient<Channel>,
}

impl Remote {
    /// Connects, with a new certificate if it is time for one.
    ///
    /// # Errors
    /// If the file cannot be read or the service not be reached.
    pub fn open(path: &Path) -> anyhow::Result<Remote> {
        let mut credentials = Credentials::load(path)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let channel = runtime.block_on(async {
            let channel = credentials.connect().await?;
            if !credentials.is_due(clock::unix_ms()) {
                return Ok::<_, anyhow::Error>(channel);
            }
            credentials.renew(&channel).await?;
            credentials.save(path)?;
            credentials.connect().await
        })?;
        let client = FleetClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
        Ok(Remote { runtime, client })
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask<A>(
        &self,
        question: impl AsyncFnOnce(FleetClient<Channel>) -> Result<Response<A>, Status>,
    ) -> anyhow::Result<A> {
        let client = self.client.clone();
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, question(client)).await });
        let answer = answer.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?;
        Ok(answer.map_err(|status| refused(&status))?.into_inner())
    }

    /// Everything there is, a part at a time.
    pub(super) fn export(
        &self,
        request: ExportRequest,
        mut take: impl FnMut(ExportedRows) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut stream = self.ask(async move |mut client| client.export(request).await)?;
        self.runtime.block_on(async {
            while let Some(part) = stream.message().await.map_err(|status| refused(&status))? {
                take(part)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: i64 = 1_790_000_000_000;

    #[test]
    fn credentials_are_kept_and_due_after_two_thirds_of_their_time() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), NOW).unwrap();
        let name = OperatorName { tenant_id: None, name: "anna".to_owned() };
        let made = Credentials::make(&authority, &name, "cloud.example.org:443", NOW).unwrap();
        let path = folder.path().join("anna.toml");
        made.save(&path).unwrap();
        let read = Credentials::load(&path).unwrap();
        assert_eq!((read.name.as_str(), read.tenant.as_deref()), ("anna", None));
        assert!(!read.is_due(NOW + 59 * DAY_MS) && read.is_due(NOW + 61 * DAY_MS));
        let roots: Vec<_> = CertificateDer::pem_slice_iter(read.trust.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(roots, authority.roots());
        std::fs::write(&path, "endpoint = 1").unwrap();
        let error = format!("{:#}", Credentials::load(&path).unwrap_err());
        assert!(error.contains("anna.toml is no file of"), "{error}");
    }
}
