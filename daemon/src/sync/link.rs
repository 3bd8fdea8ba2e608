//! The way to the cloud: TLS with the box's certificate, HTTP/2, and the two questions about certificates.
//!
//! **A box without a clock syncs too.** Boards without a battery wake in 1970, and before the network has told them the time
//! every certificate lies in the future. The time that certificates are judged by is never earlier than the box's own
//! certificate.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cloud_api::v1::enroll_client::EnrollClient;
use cloud_api::v1::{ClaimRequest, RenewRequest};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

use super::enrolment::{Enrolment, EnrolmentError, Request};
use crate::config::host_and_port;

/// For a connection, and for an answer about certificates.
const PATIENCE: Duration = Duration::from_secs(20);
/// A message of the cloud is small: at most a verdict with its days, or a configuration with its files, in bytes.
pub(crate) const MESSAGE_MAX: usize = 1 << 20;

/// Why the cloud was not reached, or what it said.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The endpoint is none.
    #[error("{0:?} is no host and port")]
    Endpoint(String),
    /// The file of authorities.
    #[error("cloud.trust = {path}: {reason}")]
    Trust {
        /// Which.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificate or key of the box.
    #[error("the box's certificate cannot be used: {0}")]
    Certificate(tokio_rustls::rustls::Error),
    /// Nobody there, or somebody else.
    #[error("the cloud at {endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// It answered no.
    #[error("the cloud refuses: {}", .0.message())]
    Refused(Box<tonic::Status>),
    /// What it gave cannot be kept.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// A certificate that is none.
    #[error("the cloud gave no usable certificate")]
    NoCertificate,
}

impl LinkError {
    /// The cloud knows the box and says no: another certificate may help, trying again does not.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, LinkError::Refused(status) if status.code() == tonic::Code::PermissionDenied)
    }
}

/// Whom the box believes: the authorities of `trust`, or the public ones, and those that came with its certificate.
fn roots(trust: Option<&Path>, enrolment: Option<&Enrolment>) -> Result<RootCertStore, LinkError> {
    let mut roots: RootCertStore = match trust {
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        Some(path) => {
            let wrong = |reason: String| LinkError::Trust { path: path.display().to_string(), reason };
            let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let mut roots = RootCertStore::empty();
            for root in certificates.map_err(|error| wrong(error.to_string()))? {
                roots.add(root).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("has no certificate in PEM".to_owned()));
            }
            roots
        }
    };
    // One that cannot be used is as good as none.
    let (_, _) = roots.add_parsable_certificates(enrolment.map(Enrolment::roots).unwrap_or_default());
    Ok(roots)
}

/// Not before the box's certificate was made.
#[derive(Debug)]
struct NotBefore(Duration);

impl TimeProvider for NotBefore {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Duration::from_secs(UnixTime::now().as_secs());
        Some(UnixTime::since_unix_epoch(now.max(self.0)))
    }
}

fn client_config(trust: Option<&Path>, enrolment: Option<&Enrolment>) -> Result<ClientConfig, LinkError> {
    let made = enrolment.and_then(Enrolment::validity).map_or(0, |validity| validity.not_before.0);
    let time = Arc::new(NotBefore(Duration::from_millis(made.unsigned_abs())));
    let builder = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), time)
        .with_safe_default_protocol_versions()
        .map_err(LinkError::Certificate)?
        .with_root_certificates(roots(trust, enrolment)?);
    let mut config = match enrolment.and_then(|enrolment| Some((enrolment.chain(), enrolment.key()?))) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(LinkError::Certificate)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Connects. `enrolment` is the box's certificate, if it has one.
///
/// # Errors
/// [`LinkError`].
pub async fn connect(
    endpoint: &str,
    trust: Option<&Path>,
    enrolment: Option<&Enrolment>,
) -> Result<Channel, LinkError> {
    connect_with(endpoint, trust, enrolment, Priority::Normal).await
}

/// A second connection, for what may wait: its packets are of low priority to routers that look.
///
/// # Errors
/// [`LinkError`].
pub(crate) async fn connect_aside(enrolment: &Enrolment, trust: Option<&Path>) -> Result<Channel, LinkError> {
    connect_with(&enrolment.endpoint, trust, Some(enrolment), Priority::Low).await
}

async fn connect_with(
    endpoint: &str,
    trust: Option<&Path>,
    enrolment: Option<&Enrolment>,
    priority: Priority,
) -> Result<Channel, LinkError> {
    let wrong = || LinkError::Endpoint(endpoint.to_owned());
    let (host, port) = host_and_port(endpoint).ok_or_else(wrong)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
    let tls = TlsConnector::from(Arc::new(client_config(trust, enrolment)?));
    let connector = Connector { tls, host: host.to_owned(), port, name, priority };
    // The connector does TLS itself: tonic is to see a plain connection, and to name the scheme all the same.
    let origin: Uri = format!("https://{endpoint}").parse().map_err(|_| wrong())?;
    let target = Endpoint::from_shared(format!("http://{endpoint}")).map_err(|_| wrong())?;
    let target = target
        .origin(origin)
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(PATIENCE)
        .keep_alive_while_idle(true);
    target.connect_with_connector(connector).await.map_err(|error| {
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        let reason = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        LinkError::Unreachable { endpoint: endpoint.to_owned(), reason }
    })
}

/// A TCP connection to where the endpoint is, and TLS over it.
#[derive(Clone)]
struct Connector {
    tls: TlsConnector,
    host: String,
    port: u16,
    name: ServerName<'static>,
    priority: Priority,
}

/// Of a connection's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    /// As anybody's.
    Normal,
    /// Behind everything else.
    Low,
}

/// Class Selector 1 (RFC 2474 §4.2.2; RFC 3662 for what it means) in the upper six bits of the octet. RFC 8622 has replaced
/// it by a codepoint that older routers take for best effort, and some for priority.
const DSCP_CS1: u32 = 8 << 2;

impl Priority {
    /// Best effort: a kernel that refuses still carries the packets.
    fn mark(self, tcp: &TcpStream) {
        if self == Priority::Low {
            let socket = SockRef::from(tcp);
            let is_ipv4 = tcp.peer_addr().is_ok_and(|peer| peer.is_ipv4());
            let _ = if is_ipv4 { socket.set_tos_v4(DSCP_CS1) } else { socket.set_tclass_v6(DSCP_CS1) };
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let Connector { tls, host, port, name, priority } = self.clone();
        Box::pin(async move {
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            // Batches are whole when they are written.
            tcp.set_nodelay(true)?;
            priority.mark(&tcp);
            Ok(TokioIo::new(tls.connect(name, tcp).await?))
        })
    }
}

/// Claims the box with a code: the cloud gives it its first certificate. Without a `box_id` it takes the place of the box that
/// the code names.
///
/// # Errors
/// [`LinkError`].
pub async fn claim(endpoint: &str, trust: Option<&Path>, code: &str, box_id: &str) -> Result<Enrolment, LinkError> {
    let request = Request::new(box_id)?;
    let channel = connect(endpoint, trust, None).await?;
    let question = ClaimRequest {
        claim_code: code.to_owned(),
        signing_request: request.der.clone().into(),
        box_id: box_id.to_owned(),
    };
    let certificate = answered(EnrollClient::new(channel).claim(timed(question)).await)?;
    let enrolment = Enrolment::new(box_id.to_owned(), &request, &certificate).known_at(endpoint, None);
    usable(enrolment.named_by_its_certificate())
}

/// A new key and a certificate for it, for the one there is.
///
/// # Errors
/// [`LinkError`].
pub async fn renew(enrolment: &Enrolment, trust: Option<&Path>) -> Result<Enrolment, LinkError> {
    let request = Request::new(&enrolment.box_id)?;
    let channel = connect(&enrolment.endpoint, trust, Some(enrolment)).await?;
    let question = RenewRequest { signing_request: request.der.clone().into() };
    let certificate = answered(EnrollClient::new(channel).renew(timed(question)).await)?;
    let renewed = Enrolment::new(enrolment.box_id.clone(), &request, &certificate);
    usable(renewed.known_at(&enrolment.endpoint, enrolment.home.as_deref()))
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

fn answered<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, LinkError> {
    answer.map(tonic::Response::into_inner).map_err(|status| LinkError::Refused(Box::new(status)))
}

fn usable(enrolment: Enrolment) -> Result<Enrolment, LinkError> {
    let whole = enrolment.validity().is_some() && host_and_port(&enrolment.endpoint).is_some();
    if whole { Ok(enrolment) } else { Err(LinkError::NoCertificate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_of_low_priority_are_marked() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(address).await else {
                eprintln!("SKIPPED: {address} is no address here");
                continue;
            };
            for (priority, expected) in [(Priority::Normal, 0), (Priority::Low, 0x20)] {
                let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                priority.mark(&tcp);
                let socket = SockRef::from(&tcp);
                let got = if address.starts_with('[') { socket.tclass_v6() } else { socket.tos_v4() };
                assert_eq!(got.unwrap(), expected, "{address} {priority:?}");
            }
        }
    }
}
