//! The running service: sockets, threads and clocks around what decides elsewhere.
//!
//! ```text
//! boxes ─TLS, HTTP/2─► Enroll: code or old certificate → new certificate
//!                      Sync:   one task for each stream: sync::stream ◄─► the store, on threads that may block
//!                      Blobs:  recordings ◄─► blobs, once an hour against the rows that refer to them
//!                      Backups: sealed files under names ◄─► blobs below another prefix, and the store
//! operators ─the same─► Fleet:  what they may ask for, done by fleet::desk
//! upkeep ──────────────► news for streams (bells), rollouts, boxes that are silent, rows that have been gone for long
//! Twilio ─HTTP, signed─► callbacks → deliveries; recordings of messages → blobs
//! http  ─────────────► /livez /readyz /metrics
//! ```
//! Any number of instances may run on one PostgreSQL: nothing is kept here between two messages but counts.

mod backups;
mod bells;
mod blobs;
mod callbacks;
mod enroll;
mod fleet;
mod http;
mod limited;
mod metrics;
mod recordings;
mod sync;
mod tls;
mod together;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloud_api::v1::backups_server::BackupsServer;
use cloud_api::v1::blobs_server::BlobsServer;
use cloud_api::v1::enroll_server::EnrollServer;
use cloud_api::v1::fleet_server::FleetServer;
use cloud_api::v1::sync_server::SyncServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Status};

pub use backups::Kept;
pub use metrics::Metrics;
pub use tls::{OwnCertificate, OwnCertificateError};
pub use upkeep::Alarm;

use crate::authority::{Authority, Certified, certified};
use crate::blobs::Blobs;
use crate::clock;
use crate::store::{AnyStore, BoxName, Store as _, StoreError, away, said_of};
use crate::sync::stream::{self, Away};

/// For a handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// For everybody to let go when the service stops. Those who end it wait for 90 s.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Handshakes at a time; who comes later waits in the system's queue.
const HANDSHAKES: usize = 256;
/// What a box may have on its way to us, in bytes: a few batches.
const STREAM_WINDOW: u32 = 1 << 20;
/// Above this nothing is even read, nor inflated, in bytes: a batch is a quarter of a MiB, and a single large row makes it
/// larger.
const MESSAGE_MAX: usize = 2 << 20;
/// Streams of one connection: a box needs one, and one for each of its other questions.
const STREAMS_OF_CONNECTION: u32 = 8;

/// What is served, and where.
#[derive(Debug)]
pub struct Settings {
    /// For boxes; port 0 is any.
    pub listen: SocketAddr,
    /// For `/livez`, `/readyz` and `/metrics`; port 0 is any.
    pub http: SocketAddr,
    /// Told to boxes with each certificate, as host and port.
    pub endpoint: String,
    /// Our own certificate.
    pub certificate: OwnCertificate,
    /// Of each stream.
    pub stream: stream::Config,
    /// When a box's silence is an alarm, and who is told.
    pub alarm: Alarm,
    /// Recordings.
    pub blobs: Blobs,
    /// Backups.
    pub backups: Kept,
    /// How often it is looked for blobs that nobody needs any more.
    pub sweep_every: Duration,
    /// Where Twilio comes, if it does.
    pub twilio: Option<TwilioSettings>,
}

/// Where Twilio comes.
#[derive(Debug, Clone)]
pub struct TwilioSettings {
    /// Port 0 is any.
    pub listen: SocketAddr,
    /// How it reaches that, without a slash at the end.
    pub url: String,
    /// Whether our certificate is shown there; else a proxy in front does that.
    pub tls: bool,
    /// Where recordings are fetched, without a slash at the end.
    pub api_url: String,
}

/// What all tasks share.
#[derive(Debug)]
struct Shared {
    store: Arc<AnyStore>,
    /// Transactions at a time: more would only wait for a connection, each holding a thread.
    turns: Semaphore,
    authority: Arc<Authority>,
    endpoint: String,
    stream: stream::Config,
    blobs: Blobs,
    backups: Kept,
    metrics: Metrics,
    /// Wakes the streams of boxes that have something new to hear.
    bells: Arc<bells::Bells>,
    stopping: watch::Receiver<bool>,
}

impl Shared {
    /// Asks the store, on a thread that may block.
    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&AnyStore) -> T + Send + 'static) -> Option<T> {
        let waiting = self.metrics.wait();
        let _turn = self.turns.acquire().await.ok()?;
        drop(waiting);
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || work(&store)).await.ok()
    }

    /// As [`ask`](Shared::ask), for an answer to a box.
    async fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AnyStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let answer = self.ask(work).await;
        // Whose tenant is not here is answered as it should be.
        self.metrics.answered(matches!(answer, Some(Ok(_) | Err(StoreError::NotHere { .. }))));
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error @ StoreError::NotHere { .. })) => Err(Status::unavailable(said_of(&error))),
            Some(Err(error)) => {
                tracing::error!(%error, "The store cannot");
                Err(Status::unavailable(said_of(&error)))
            }
            None => Err(Status::unavailable("the store failed")),
        }
    }
}

/// A service that takes boxes; end it with [`stop`](Server::stop).
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    http_address: SocketAddr,
    twilio_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    certificate: JoinHandle<()>,
}

impl Server {
    /// Binds both ports and takes boxes.
    ///
    /// # Errors
    /// A port that is taken, a certificate that cannot be used.
    pub async fn start(settings: Settings, authority: Authority, store: Arc<AnyStore>) -> anyhow::Result<Server> {
        let authority = Arc::new(authority);
        let current = tls::Current::open(settings.certificate, Arc::clone(&authority))?;
        let config = tls::server_config(Arc::clone(&current), &authority)?;
        let listener = bind(settings.listen, "listen.address").await?;
        let http_listener = bind(settings.http, "http.address").await?;
        let (address, http_address) = (listener.local_addr()?, http_listener.local_addr()?);
        let (stop, stopping) = watch::channel(false);
        let turns = Semaphore::new(store.at_a_time());
        let (endpoint, stream) = (settings.endpoint, settings.stream);
        let (blobs, backups) = (settings.blobs, settings.backups);
        let metrics = Metrics::default();
        let shared = Arc::new(Shared {
            store,
            turns,
            authority,
            endpoint,
            stream,
            blobs,
            backups,
            metrics,
            bells: Arc::default(),
            stopping: stopping.clone(),
        });
        let (accepted, connections) = mpsc::channel(HANDSHAKES);
        let mut tasks = vec![
            tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), accepted, stopping.clone())),
            tokio::spawn(serve(Arc::clone(&shared), connections, stopping.clone())),
            tokio::spawn(upkeep::follow_news(Arc::clone(&shared), stopping.clone())),
            tokio::spawn(upkeep::run(Arc::clone(&shared), settings.alarm, stopping.clone())),
            tokio::spawn(upkeep::forget(Arc::clone(&shared), stopping.clone())),
            tokio::spawn(blobs::sweep(Arc::clone(&shared), settings.sweep_every, stopping.clone())),
            tokio::spawn(backups::sweep(Arc::clone(&shared), settings.sweep_every, stopping.clone())),
            tokio::spawn(http::serve(Arc::clone(&shared), http_listener, stopping)),
        ];
        let mut twilio_address = None;
        if let Some(twilio) = settings.twilio {
            let (address, listening) = listen_to_twilio(&shared, twilio, &current).await?;
            twilio_address = Some(address);
            tasks.extend(listening);
        }
        Ok(Server { address, http_address, twilio_address, stop, tasks, certificate: tokio::spawn(current.follow()) })
    }

    /// Where boxes are taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where Twilio comes, if it does.
    pub fn twilio_address(&self) -> Option<SocketAddr> {
        self.twilio_address
    }

    /// Takes no new boxes, acknowledges what it is storing, tells each box to come back, and ends.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.certificate.abort();
        // A client that has shown nothing but a handshake would keep the service for as long as it likes.
        let until = tokio::time::Instant::now() + STOP_LIMIT;
        for mut task in self.tasks {
            match tokio::time::timeout_at(until, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "A task ended badly"),
                Err(_) => {
                    tracing::warn!(seconds = STOP_LIMIT.as_secs(), "Somebody did not let go in time");
                    task.abort();
                }
            }
        }
    }
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    use anyhow::Context as _;
    TcpListener::bind(address).await.with_context(|| format!("{key} = {address} cannot be listened to"))
}

/// The port for Twilio, and fetching what it has recorded.
async fn listen_to_twilio(
    shared: &Arc<Shared>,
    twilio: TwilioSettings,
    current: &Arc<tls::Current>,
) -> anyhow::Result<(SocketAddr, Vec<JoinHandle<()>>)> {
    let listener = bind(twilio.listen, "twilio.address").await?;
    let address = listener.local_addr()?;
    let callbacks = callbacks::Callbacks::new(Arc::clone(shared), twilio.url);
    let stopping = || shared.stopping.clone();
    let mut tasks = vec![tokio::spawn(recordings::run(Arc::clone(shared), twilio.api_url, stopping()))];
    if twilio.tls {
        let acceptor = TlsAcceptor::from(Arc::new(tls::public_config(Arc::clone(current))?));
        let (accepted, connections) = mpsc::channel(HANDSHAKES);
        tasks.push(tokio::spawn(accept(listener, acceptor, accepted, stopping())));
        let accepted = limited::Accepted::new(connections, address);
        tasks.push(tokio::spawn(callbacks::serve(callbacks, accepted, stopping())));
    } else {
        tasks.push(tokio::spawn(callbacks::serve(callbacks, listener, stopping())));
    }
    Ok((address, tasks))
}

type Connection = std::io::Result<TlsStream<TcpStream>>;

/// Handshakes beside each other; what does not come about is dropped without a word.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    accepted: mpsc::Sender<Connection>,
    mut stopping: watch::Receiver<bool>,
) {
    let turns = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let (tcp, from) = match connection {
            Ok(connection) => connection,
            Err(error) => {
                // No file handle is left: those there are come to their end.
                tracing::warn!(%error, "A connection cannot be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        tokio::spawn(async move {
            let _turn = turn;
            // Acks are small and waited for.
            let _ = tcp.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(tcp)).await {
                // Whoever stops takes nobody.
                Ok(Ok(tls)) => drop(accepted.send(Ok(tls)).await),
                Ok(Err(error)) => tracing::debug!(%from, %error, "No handshake"),
                Err(_) => tracing::debug!(%from, "No handshake in time"),
            }
        });
    }
}

async fn serve(shared: Arc<Shared>, connections: mpsc::Receiver<Connection>, mut stopping: watch::Receiver<bool>) {
    let sync = SyncServer::new(sync::Service::new(Arc::clone(&shared)))
        .max_decoding_message_size(MESSAGE_MAX)
        .accept_compressed(CompressionEncoding::Zstd);
    let blobs = BlobsServer::new(blobs::Service(Arc::clone(&shared))).max_decoding_message_size(blobs::MESSAGE_MAX);
    let fleet = FleetServer::new(fleet::Service(Arc::clone(&shared))).max_decoding_message_size(fleet::MESSAGE_MAX);
    let backups =
        BackupsServer::new(backups::Service(Arc::clone(&shared))).max_decoding_message_size(blobs::MESSAGE_MAX);
    let enroll = EnrollServer::new(enroll::Service(shared)).max_decoding_message_size(64 << 10);
    let stopped = async move {
        // Without whoever could say so it is over too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let served = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(2 * STREAM_WINDOW)
        .max_concurrent_streams(STREAMS_OF_CONNECTION)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(sync)
        .add_service(blobs)
        .add_service(fleet)
        .add_service(backups)
        .add_service(enroll)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "Boxes are not served any more");
    }
}

/// Who asks, if they have shown a certificate.
fn peer<T>(request: &Request<T>) -> Option<Certified> {
    let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>()?;
    certified(info.peer_certs()?.first()?)
}

/// Where the tenant of a box is, if not here. One that was revoked or erased, or whose place another machine has, is refused.
async fn admit(shared: &Shared, certified: &Certified) -> Result<Option<Away>, Status> {
    let Certified { name, made_at, .. } = certified.clone();
    let (away, is_revoked, is_void) = shared
        .answer(move |store| {
            Ok((away(store, &name.tenant_id)?, store.is_revoked(&name)?, store.is_void(&name, made_at)?))
        })
        .await?;
    let refused = match away {
        Some(Away::Erased) => "this office was erased here",
        // Who may come is said by the cell that it lives in.
        Some(Away::Elsewhere(_)) => return Ok(away),
        _ if is_revoked => "this box is revoked: claim it with a new code",
        _ if is_void => "another machine has taken this box's place: claim it with a new code",
        away => return Ok(away),
    };
    shared.metrics.refused();
    Err(Status::permission_denied(refused))
}

/// Who asks, with a certificate that holds.
fn known<T>(request: &Request<T>) -> Result<Certified, Status> {
    let peer = peer(request).ok_or_else(|| Status::unauthenticated("a box shows its certificate"))?;
    if peer.not_after <= clock::unix_ms() {
        return Err(Status::permission_denied("the certificate has expired: renew it"));
    }
    Ok(peer)
}

/// Which box asks: as its certificate says, not revoked, nobody has taken its place, and its tenant is here. Where to come
/// otherwise, its stream is told.
async fn admitted<T>(shared: &Shared, request: &Request<T>) -> Result<BoxName, Status> {
    let certified = known(request).inspect_err(|_| shared.metrics.refused())?;
    match admit(shared, &certified).await? {
        None => Ok(certified.name),
        Some(_) => Err(Status::unavailable("this office is not here, or not now")),
    }
}
