//! The SIP shell: one task that owns the endpoint, its UDP socket, its connections (TCP and TLS) and its timers.
//!
//! One input, then drain: a datagram, bytes of a connection, a command or a deadline goes into
//! [`Endpoint`], and everything it wants to send and tell is taken out before the next wait. Nothing here understands
//! SIP.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sip_stack::endpoint::{Endpoint, EndpointConfig, Event, FlowId, Source, Transmit, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{debug, info, warn};

use super::gate::{SharedGate, Verdict};
use super::sleep_until;
use super::stream::{self, Opened, StreamEvent};
use super::tls::{Peers, TlsFailure};

/// Commands waiting for the shell.
const COMMAND_LIMIT: usize = 1_024;
/// Events waiting for whoever routes calls.
const EVENT_LIMIT: usize = 1_024;
/// Open connections, as many as the endpoint frames.
const CONNECTION_LIMIT: usize = 256;
/// Of these, the accepted ones and those being accepted: whoever fills them up does not keep us from connecting to a trunk.
/// The oldest peers are not closed for new ones, new ones are refused.
const ACCEPTED_LIMIT: usize = 192;
/// TLS handshakes under way that peers began: each costs a signature of ours.
const HANDSHAKE_LIMIT: usize = 32;
/// Messages waiting for a peer that does not read; beyond it the connection is closed.
const WRITE_LIMIT: usize = 64;
/// Largest datagram UDP can carry.
const DATAGRAM_LIMIT_BYTES: usize = 65_535;

type Work = Box<dyn FnOnce(&mut Endpoint, Instant) + Send>;

/// Where the shell listens.
#[derive(Clone)]
pub struct SipConfig {
    /// Address and port of the UDP socket and, if enabled, of the TCP listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether TCP is served too.
    pub tcp_enabled: bool,
    /// `None`: neither listened for nor connected with.
    pub tls: Option<Tls>,
    /// Wants a copy of each message.
    pub trace: Option<mpsc::Sender<Trace>>,
    /// Who may speak to us.
    pub gate: SharedGate,
}

/// TLS beside UDP and TCP.
#[derive(Clone)]
pub struct Tls {
    /// For connections of ours.
    pub connector: TlsConnector,
    /// Port, on the same address as UDP, and who answers there. `None`: no listener.
    pub listener: Option<(u16, TlsAcceptor)>,
}

/// Where the shell has come to listen.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    /// Address and port of UDP and TCP.
    pub sip: SocketAddr,
    /// Of the TLS listener, if there is one.
    pub tls: Option<SocketAddr>,
}

/// A message that passed, for whoever draws a ladder. The box itself never asks for these: they hold what must not be
/// logged.
#[derive(Debug, Clone)]
pub struct Trace {
    /// When.
    pub at: Instant,
    /// Whether we sent it.
    pub sent: bool,
    /// The message as it was on the wire.
    pub bytes: Vec<u8>,
}

/// Gives commands to the endpoint; cheap to clone.
#[derive(Debug, Clone)]
pub struct SipHandle {
    commands: mpsc::Sender<Work>,
    listening: Listening,
    peers: Arc<Mutex<Peers>>,
}

/// The shell has stopped, or is too far behind to take a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SIP shell does not take commands")]
pub struct SipUnavailable;

impl SipHandle {
    /// Address and port bound, the same for UDP and TCP.
    pub fn local(&self) -> SocketAddr {
        self.listening.sip
    }

    /// Address and port bound for TLS, if it is listened for.
    pub fn tls(&self) -> Option<SocketAddr> {
        self.listening.tls
    }

    /// Says that `addresses` were found by looking up `host`: a TLS connection to one of them is made only if the
    /// certificate is that host's. For others it must be for the address itself. Of what was said last, many are
    /// remembered, but not all: to be said each time before something is sent.
    pub fn name(&self, host: &str, addresses: impl IntoIterator<Item = SocketAddr>) {
        let mut peers = lock(&self.peers);
        addresses.into_iter().for_each(|address| peers.set_host(address, host));
    }

    /// Why the latest attempt to reach `address` over TLS has failed; `None` if it has not.
    pub fn tls_failure(&self, address: SocketAddr) -> Option<TlsFailure> {
        lock(&self.peers).failure(address)
    }

    /// Runs `work` on the endpoint and waits for what it returns; what it made the endpoint send is sent at once.
    ///
    /// # Errors
    /// [`SipUnavailable`].
    pub async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Endpoint, Instant) -> R + Send + 'static,
    ) -> Result<R, SipUnavailable> {
        let (answer, result) = oneshot::channel();
        let work: Work = Box::new(move |endpoint, now| {
            // The caller may have gone away; the work was done all the same.
            let _ = answer.send(work(endpoint, now));
        });
        self.commands.send(work).await.map_err(|_| SipUnavailable)?;
        result.await.map_err(|_| SipUnavailable)
    }
}

/// Both sides hold it for a look-up or an entry only, never while waiting.
fn lock(peers: &Mutex<Peers>) -> MutexGuard<'_, Peers> {
    peers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds the sockets and starts the shell; `endpoint` is made once the local addresses are known.
///
/// # Errors
/// The system's error with transport, address and port in its text.
pub async fn start(
    config: SipConfig,
    endpoint: impl FnOnce(Listening) -> EndpointConfig,
) -> io::Result<(SipHandle, mpsc::Receiver<Event>)> {
    let sockets = bind(&config).await?;
    let listening = sockets.listening()?;
    let (commands, received_commands) = mpsc::channel(COMMAND_LIMIT);
    let (events, received_events) = mpsc::channel(EVENT_LIMIT);
    let (stream_events, received_streams) = mpsc::channel(COMMAND_LIMIT);
    let peers = Arc::default();
    let shell = Shell {
        endpoint: Endpoint::new(endpoint(listening)),
        udp: sockets.udp,
        local: listening.sip,
        connector: config.tls.map(|tls| tls.connector),
        connections: HashMap::new(),
        next_flow: 1,
        handshakes: Arc::new(Semaphore::new(HANDSHAKE_LIMIT)),
        peers: Arc::clone(&peers),
        stream_events,
        events,
        trace: config.trace,
        gate: config.gate,
    };
    info!(address = %listening.sip, tcp = sockets.tcp.is_some(), tls = ?listening.tls, "SIP listening");
    let listeners = Listeners { tcp: sockets.tcp, tls: sockets.tls };
    tokio::spawn(shell.run(listeners, received_commands, received_streams));
    Ok((SipHandle { commands, listening, peers }, received_events))
}

struct Sockets {
    udp: UdpSocket,
    tcp: Option<TcpListener>,
    tls: Option<(TcpListener, TlsAcceptor)>,
}

impl Sockets {
    fn listening(&self) -> io::Result<Listening> {
        let tls = self.tls.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
        Ok(Listening { sip: self.udp.local_addr()?, tls })
    }
}

async fn bind(config: &SipConfig) -> io::Result<Sockets> {
    let explain = |transport: &str, address: SocketAddr, error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {transport} {address}: {error}"))
    };
    // With port 0 the port is UDP's choice, and TCP must get the same one.
    let udp = UdpSocket::bind(config.listen).await.map_err(|error| explain("UDP", config.listen, error))?;
    let local = udp.local_addr()?;
    let tcp = match config.tcp_enabled {
        true => Some(TcpListener::bind(local).await.map_err(|error| explain("TCP", local, error))?),
        false => None,
    };
    let tls = match config.tls.as_ref().and_then(|tls| tls.listener.clone()) {
        Some((port, acceptor)) => {
            let address = SocketAddr::new(local.ip(), port);
            let listener = TcpListener::bind(address).await.map_err(|error| explain("TLS", address, error))?;
            Some((listener, acceptor))
        }
        None => None,
    };
    Ok(Sockets { udp, tcp, tls })
}

struct Listeners {
    tcp: Option<TcpListener>,
    tls: Option<(TcpListener, TlsAcceptor)>,
}

struct Shell {
    endpoint: Endpoint,
    udp: UdpSocket,
    local: SocketAddr,
    connector: Option<TlsConnector>,
    connections: HashMap<FlowId, Connection>,
    next_flow: u64,
    handshakes: Arc<Semaphore>,
    peers: Arc<Mutex<Peers>>,
    stream_events: mpsc::Sender<StreamEvent>,
    events: mpsc::Sender<Event>,
    trace: Option<mpsc::Sender<Trace>>,
    gate: SharedGate,
}

/// Open, or on its way to be.
struct Connection {
    transport: Transport,
    peer: SocketAddr,
    origin: Origin,
    writer: mpsc::Sender<Vec<u8>>,
}

/// Who began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Accepted,
    Made,
}

impl Shell {
    async fn run(
        mut self,
        listeners: Listeners,
        mut commands: mpsc::Receiver<Work>,
        mut streams: mpsc::Receiver<StreamEvent>,
    ) {
        let mut buffer = vec![0; DATAGRAM_LIMIT_BYTES];
        let Listeners { tcp, tls } = listeners;
        let (tls, acceptor) = tls.unzip();
        loop {
            self.drain().await;
            let deadline = self.endpoint.poll_timeout().map(|(at, _)| at);
            tokio::select! {
                read = self.udp.recv_from(&mut buffer) => match read {
                    Ok((length, peer)) => self.handle_datagram(&buffer[..length], peer),
                    // ICMP errors of earlier sends surface here; the transaction's own timer deals with the loss.
                    Err(error) => debug!(%error, "UDP receive"),
                },
                accepted = accept(tcp.as_ref()) => self.handle_accepted(accepted, None),
                accepted = accept(tls.as_ref()) => self.handle_accepted(accepted, acceptor.as_ref()),
                Some(event) = streams.recv() => self.handle_stream_event(event),
                command = commands.recv() => match command {
                    Some(work) => work(&mut self.endpoint, Instant::now()),
                    None => return,
                },
                () = sleep_until(deadline) => self.endpoint.handle_timeout(Instant::now()),
            }
        }
    }

    fn handle_datagram(&mut self, bytes: &[u8], peer: SocketAddr) {
        let now = Instant::now();
        if !self.admits(peer, now) {
            return;
        }
        self.trace(now, false, bytes);
        let source = Source { transport: Transport::Udp, local: self.local, peer, flow: None };
        self.endpoint.handle_datagram(source, bytes, now);
    }

    fn admits(&self, peer: SocketAddr, now: Instant) -> bool {
        self.gate.with(|gate| gate.admit(peer.ip(), now)) == Verdict::Pass
    }

    fn handle_accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>, acceptor: Option<&TlsAcceptor>) {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return warn!(%error, "Connection not accepted"),
        };
        if !self.admits(peer, Instant::now()) {
            // Closed without a word.
            return;
        }
        let is_accepted = |connection: &&Connection| connection.origin == Origin::Accepted;
        if self.connections.values().filter(is_accepted).count() >= ACCEPTED_LIMIT {
            return warn!(limit = ACCEPTED_LIMIT, "Connection refused: too many are open");
        }
        let Some(acceptor) = acceptor.cloned() else {
            self.open(Transport::Tcp, peer, Origin::Accepted, stream::accepted(stream));
            return;
        };
        let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            return warn!(limit = HANDSHAKE_LIMIT, "Connection refused: too many TLS handshakes are under way");
        };
        self.open(Transport::Tls, peer, Origin::Accepted, async move {
            let _permit = permit;
            stream::accepted_tls(stream, acceptor).await
        });
    }

    /// A connection on its way; what is sent meanwhile waits in the writer's queue.
    fn open<S: AsyncRead + AsyncWrite + Send + 'static>(
        &mut self,
        transport: Transport,
        peer: SocketAddr,
        origin: Origin,
        opening: impl Future<Output = io::Result<Opened<S>>> + Send + 'static,
    ) -> FlowId {
        let flow = FlowId(self.next_flow);
        self.next_flow += 1;
        let (writer, queued) = mpsc::channel(WRITE_LIMIT);
        self.connections.insert(flow, Connection { transport, peer, origin, writer });
        tokio::spawn(stream::run(flow, opening, queued, self.stream_events.clone()));
        flow
    }

    fn handle_stream_event(&mut self, event: StreamEvent) {
        let now = Instant::now();
        match event {
            StreamEvent::Opened { flow, local } => {
                // Given up while it was opened: its task finds that out by itself.
                let Some(&Connection { transport, peer, origin, .. }) = self.connections.get(&flow) else { return };
                if (transport, origin) == (Transport::Tls, Origin::Made) {
                    lock(&self.peers).note(peer, None);
                }
                self.endpoint.handle_stream_opened(flow, transport, local, peer, now);
            }
            StreamEvent::Read { flow, bytes } => {
                self.trace(now, false, &bytes);
                self.endpoint.handle_stream_bytes(flow, &bytes, now);
            }
            StreamEvent::Closed { flow } => {
                self.connections.remove(&flow);
                self.endpoint.handle_stream_closed(flow, now);
            }
            StreamEvent::Failed { flow, error } => {
                let Some(connection) = self.connections.remove(&flow) else { return };
                self.note_failure(&connection, &error);
                self.endpoint.handle_transmit_failed(connection.transport, connection.peer, now);
            }
        }
    }

    /// Once for each connection, and never whose it was: that stands in the configuration, or is nobody's business.
    fn note_failure(&mut self, connection: &Connection, error: &io::Error) {
        match (connection.transport, connection.origin) {
            (Transport::Tls, Origin::Made) => {
                let failure = TlsFailure::from(error);
                warn!(%failure, "No TLS connection");
                lock(&self.peers).note(connection.peer, Some(failure));
            }
            // Whoever only knocks, as port scanners do all day.
            (Transport::Tls, Origin::Accepted) if TlsFailure::from(error) == TlsFailure::Lost => {
                debug!(%error, "TLS connection not accepted");
            }
            (Transport::Tls, Origin::Accepted) => {
                info!(failure = %TlsFailure::from(error), "TLS connection not accepted");
            }
            (Transport::Udp | Transport::Tcp, _) => debug!(%error, "TCP connect"),
        }
    }

    async fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let now = Instant::now();
            self.trace(now, true, &transmit.bytes);
            self.gate.with(|gate| gate.note_written_to(transmit.peer.ip(), now));
            match transmit.transport {
                Transport::Udp => {
                    if let Err(error) = self.udp.send_to(&transmit.bytes, transmit.peer).await {
                        debug!(%error, "UDP send");
                    }
                }
                Transport::Tcp | Transport::Tls => self.send_stream(transmit),
            }
        }
        while let Some(flow) = self.endpoint.poll_close() {
            // Dropping the writer ends its task and thereby the connection.
            self.connections.remove(&flow);
        }
        while let Some(event) = self.endpoint.poll_event() {
            if self.events.send(event).await.is_err() {
                debug!("Nobody routes calls any more");
            }
        }
    }

    /// Over the connection it came on, else over one that is open to the peer, else over a new one; but never over another
    /// transport, since what is meant for TLS must not go out in the clear.
    fn send_stream(&mut self, transmit: Transmit) {
        let Transmit { transport, peer, .. } = transmit;
        let is_right = |flow: &FlowId| self.connections.get(flow).is_some_and(|open| open.transport == transport);
        let to_peer = |(_, open): &(&FlowId, &Connection)| open.peer == peer && open.transport == transport;
        let open = transmit
            .flow
            .filter(is_right)
            .or_else(|| self.connections.iter().find(to_peer).map(|(flow, _)| *flow))
            .or_else(|| self.connect(transport, peer));
        let Some((flow, connection)) = open.and_then(|flow| Some((flow, self.connections.get(&flow)?))) else {
            return self.endpoint.handle_transmit_failed(transport, peer, Instant::now());
        };
        if connection.writer.try_send(transmit.bytes).is_err() {
            warn!(%transport, "Peer does not read, connection closed");
            self.connections.remove(&flow);
            self.endpoint.handle_stream_closed(flow, Instant::now());
        }
    }

    /// `None`: there are too many, or it is a transport that we do not have.
    fn connect(&mut self, transport: Transport, peer: SocketAddr) -> Option<FlowId> {
        if self.connections.len() >= CONNECTION_LIMIT {
            warn!(limit = CONNECTION_LIMIT, "No connection made: too many are open");
            return None;
        }
        match transport {
            Transport::Udp => None,
            Transport::Tcp => Some(self.open(transport, peer, Origin::Made, stream::connect(peer))),
            Transport::Tls => {
                let connector = self.connector.clone()?;
                let name = lock(&self.peers).server_name(peer);
                Some(self.open(transport, peer, Origin::Made, stream::connect_tls(peer, connector, name)))
            }
        }
    }

    fn trace(&self, at: Instant, sent: bool, bytes: &[u8]) {
        if let Some(trace) = &self.trace {
            // A ladder with a hole is better than a call that waits for its ladder.
            let _ = trace.try_send(Trace { at, sent, bytes: bytes.to_vec() });
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
