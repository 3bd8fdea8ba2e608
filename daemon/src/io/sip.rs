//! The SIP shell: one task that owns the endpoint, its UDP socket, its TCP connections and its timers.
//!
//! One input, then drain: a datagram, bytes of a connection, a command or a deadline goes into
//! [`Endpoint`], and everything it wants to send and tell is taken out before the next wait. Nothing here understands
//! SIP.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use sip_stack::endpoint::{Endpoint, EndpointConfig, Event, FlowId, Source, Transmit, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::gate::{SharedGate, Verdict};
use super::sleep_until;

/// Commands waiting for the shell.
const COMMAND_LIMIT: usize = 1_024;
/// Events waiting for whoever routes calls.
const EVENT_LIMIT: usize = 1_024;
/// Open TCP connections; the oldest peers are not closed for new ones, new ones are refused.
const CONNECTION_LIMIT: usize = 256;
/// Messages waiting for a TCP peer that does not read; beyond it the connection is closed.
const WRITE_LIMIT: usize = 64;
/// Largest datagram UDP can carry.
const DATAGRAM_LIMIT_BYTES: usize = 65_535;
/// Bytes read from a connection at once.
const STREAM_READ_BYTES: usize = 8_192;

type Work = Box<dyn FnOnce(&mut Endpoint, Instant) + Send>;

/// Where the shell listens.
#[derive(Debug, Clone)]
pub struct SipConfig {
    /// Address and port of the UDP socket and, if enabled, of the TCP listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether TCP is served too.
    pub tcp_enabled: bool,
    /// Wants a copy of each message.
    pub trace: Option<mpsc::Sender<Trace>>,
    /// Who may speak to us.
    pub gate: SharedGate,
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
    local: SocketAddr,
}

/// The shell has stopped, or is too far behind to take a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SIP shell does not take commands")]
pub struct SipUnavailable;

impl SipHandle {
    /// Address and port bound, the same for UDP and TCP.
    pub fn local(&self) -> SocketAddr {
        self.local
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

/// Binds the sockets and starts the shell; `endpoint` is made once the local address is known.
///
/// # Errors
/// The system's error with transport, address and port in its text.
pub async fn start(
    config: SipConfig,
    endpoint: impl FnOnce(SocketAddr) -> EndpointConfig,
) -> io::Result<(SipHandle, mpsc::Receiver<Event>)> {
    let (udp, tcp) = bind(&config).await?;
    let local = udp.local_addr()?;
    let (commands, received_commands) = mpsc::channel(COMMAND_LIMIT);
    let (events, received_events) = mpsc::channel(EVENT_LIMIT);
    let (stream_events, received_streams) = mpsc::channel(COMMAND_LIMIT);
    let shell = Shell {
        endpoint: Endpoint::new(endpoint(local)),
        udp,
        local,
        connections: HashMap::new(),
        next_flow: 1,
        stream_events,
        events,
        trace: config.trace,
        gate: config.gate,
    };
    info!(address = %local, tcp = tcp.is_some(), "SIP listening");
    tokio::spawn(shell.run(tcp, received_commands, received_streams));
    Ok((SipHandle { commands, local }, received_events))
}

async fn bind(config: &SipConfig) -> io::Result<(UdpSocket, Option<TcpListener>)> {
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
    Ok((udp, tcp))
}

enum StreamEvent {
    Opened { flow: FlowId, local: SocketAddr, peer: SocketAddr, writer: mpsc::Sender<Vec<u8>> },
    Read { flow: FlowId, bytes: Vec<u8> },
    Closed { flow: FlowId },
    ConnectFailed { flow: FlowId, peer: SocketAddr },
}

struct Shell {
    endpoint: Endpoint,
    udp: UdpSocket,
    local: SocketAddr,
    connections: HashMap<FlowId, Connection>,
    next_flow: u64,
    stream_events: mpsc::Sender<StreamEvent>,
    events: mpsc::Sender<Event>,
    trace: Option<mpsc::Sender<Trace>>,
    gate: SharedGate,
}

struct Connection {
    peer: SocketAddr,
    writer: mpsc::Sender<Vec<u8>>,
}

impl Shell {
    async fn run(
        mut self,
        tcp: Option<TcpListener>,
        mut commands: mpsc::Receiver<Work>,
        mut streams: mpsc::Receiver<StreamEvent>,
    ) {
        let mut buffer = vec![0; DATAGRAM_LIMIT_BYTES];
        loop {
            self.drain().await;
            let deadline = self.endpoint.poll_timeout().map(|(at, _)| at);
            tokio::select! {
                read = self.udp.recv_from(&mut buffer) => match read {
                    Ok((length, peer)) => self.handle_datagram(&buffer[..length], peer),
                    // ICMP errors of earlier sends surface here; the transaction's own timer deals with the loss.
                    Err(error) => debug!(%error, "UDP receive"),
                },
                accepted = accept(tcp.as_ref()) => self.handle_accepted(accepted),
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

    fn handle_accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            // Closed without a word.
            Ok((_, peer)) if !self.admits(peer, Instant::now()) => {}
            Ok((stream, peer)) => {
                if self.connections.len() >= CONNECTION_LIMIT {
                    warn!(limit = CONNECTION_LIMIT, "TCP connection refused: too many are open");
                    return;
                }
                let flow = self.new_flow();
                self.adopt(flow, stream, peer);
            }
            Err(error) => warn!(%error, "TCP accept failed"),
        }
    }

    fn new_flow(&mut self) -> FlowId {
        let flow = FlowId(self.next_flow);
        self.next_flow += 1;
        flow
    }

    fn adopt(&mut self, flow: FlowId, stream: TcpStream, peer: SocketAddr) {
        let local = stream.local_addr().unwrap_or(self.local);
        let writer = serve(flow, stream, self.stream_events.clone());
        self.connections.insert(flow, Connection { peer, writer });
        self.endpoint.handle_stream_opened(flow, Transport::Tcp, local, peer, Instant::now());
    }

    fn handle_stream_event(&mut self, event: StreamEvent) {
        let now = Instant::now();
        match event {
            StreamEvent::Opened { flow, local, peer, writer } => {
                self.connections.insert(flow, Connection { peer, writer });
                self.endpoint.handle_stream_opened(flow, Transport::Tcp, local, peer, Instant::now());
            }
            StreamEvent::Read { flow, bytes } => {
                self.trace(now, false, &bytes);
                self.endpoint.handle_stream_bytes(flow, &bytes, now);
            }
            StreamEvent::Closed { flow } => {
                self.connections.remove(&flow);
                self.endpoint.handle_stream_closed(flow, now);
            }
            StreamEvent::ConnectFailed { flow, peer } => {
                self.connections.remove(&flow);
                self.endpoint.handle_transmit_failed(Transport::Tcp, peer, now);
            }
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
                Transport::Tcp => self.send_stream(transmit),
                // Nothing here speaks TLS, and what was meant for it must not go out in the clear.
                Transport::Tls => {
                    self.endpoint.handle_transmit_failed(Transport::Tls, transmit.peer, Instant::now());
                }
            }
        }
        while let Some(flow) = self.endpoint.poll_close() {
            // Dropping the writer ends its task and thereby our half of the connection.
            self.connections.remove(&flow);
        }
        while let Some(event) = self.endpoint.poll_event() {
            if self.events.send(event).await.is_err() {
                debug!("Nobody routes calls any more");
            }
        }
    }

    /// Over the connection it came on, else over one that is open to the peer, else over a new one.
    fn send_stream(&mut self, transmit: Transmit) {
        let open = transmit
            .flow
            .filter(|flow| self.connections.contains_key(flow))
            .or_else(|| self.connections.iter().find(|(_, open)| open.peer == transmit.peer).map(|(flow, _)| *flow));
        let flow = open.unwrap_or_else(|| self.connect(transmit.peer));
        let Some(connection) = self.connections.get(&flow) else { return };
        if connection.writer.try_send(transmit.bytes).is_err() {
            warn!("TCP peer does not read, connection closed");
            self.connections.remove(&flow);
            self.endpoint.handle_stream_closed(flow, Instant::now());
        }
    }

    /// Begins to connect; what is sent meanwhile waits in the writer's queue.
    fn connect(&mut self, peer: SocketAddr) -> FlowId {
        let flow = self.new_flow();
        let (writer, queued) = mpsc::channel(WRITE_LIMIT);
        self.connections.insert(flow, Connection { peer, writer: writer.clone() });
        let events = self.stream_events.clone();
        tokio::spawn(async move {
            match TcpStream::connect(peer).await {
                Ok(stream) => {
                    let local = stream.local_addr().unwrap_or(peer);
                    let (read, write) = stream.into_split();
                    let _ = events.send(StreamEvent::Opened { flow, local, peer, writer }).await;
                    tokio::spawn(write_all(write, queued));
                    read_all(flow, read, events).await;
                }
                Err(error) => {
                    debug!(%error, "TCP connect");
                    let _ = events.send(StreamEvent::ConnectFailed { flow, peer }).await;
                }
            }
        });
        flow
    }

    fn trace(&self, at: Instant, sent: bool, bytes: &[u8]) {
        if let Some(trace) = &self.trace {
            // A ladder with a hole is better than a call that waits for its ladder.
            let _ = trace.try_send(Trace { at, sent, bytes: bytes.to_vec() });
        }
    }
}

/// Reader and writer tasks of one connection.
fn serve(flow: FlowId, stream: TcpStream, events: mpsc::Sender<StreamEvent>) -> mpsc::Sender<Vec<u8>> {
    let (writer, queued) = mpsc::channel(WRITE_LIMIT);
    let (read, write) = stream.into_split();
    tokio::spawn(write_all(write, queued));
    tokio::spawn(read_all(flow, read, events));
    writer
}

async fn write_all(mut stream: tokio::net::tcp::OwnedWriteHalf, mut queued: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = queued.recv().await {
        // The reader sees the end of a broken connection and reports it.
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read_all(flow: FlowId, mut stream: OwnedReadHalf, events: mpsc::Sender<StreamEvent>) {
    let mut buffer = vec![0; STREAM_READ_BYTES];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let bytes = buffer[..length].to_vec();
                if events.send(StreamEvent::Read { flow, bytes }).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = events.send(StreamEvent::Closed { flow }).await;
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
