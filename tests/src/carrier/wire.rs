//! What the carrier's messages travel by: datagrams, or TLS connections of either side (RFC 3261 §18).
//!
//! A request to an address goes over the connection that is open with it, else over a new one from the carrier's edge. What
//! arrives is whole messages, however they were cut (§18.3).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::authority::Authority;

/// What came.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A message, and where answers to it go.
    Message(Vec<u8>, SocketAddr),
    /// Something that no carrier would have.
    Fault(String),
}

/// How the carrier is reached, and reaches the box.
#[derive(Debug)]
pub(super) enum Wire {
    Udp(UdpSocket),
    Tls(Connections),
}

/// The TLS side of a carrier.
#[derive(Debug)]
pub(super) struct Connections {
    runtime: Runtime,
    address: SocketAddr,
    client: Arc<ClientConfig>,
    arrivals: Mutex<Receiver<Arrival>>,
    pool: Arc<Pool>,
}

/// What every connection's task shares.
#[derive(Debug)]
struct Pool {
    /// What waits to be sent, by the address of the other side.
    writers: Mutex<HashMap<SocketAddr, UnboundedSender<Vec<u8>>>>,
    arrivals: Sender<Arrival>,
}

impl Wire {
    /// On a free port.
    pub(super) fn udp(edge: Ipv4Addr) -> Wire {
        Wire::Udp(UdpSocket::bind((edge, 0)).unwrap())
    }

    /// On a free port, with a certificate for `name`.
    pub(super) fn tls(edge: Ipv4Addr, authority: &Authority, name: &str) -> Wire {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((edge, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, arrivals) = channel();
        let pool = Arc::new(Pool { writers: Mutex::default(), arrivals: sender });
        runtime.spawn(accept(Arc::clone(&pool), listener, authority.acceptor(name)));
        let client = authority.client();
        Wire::Tls(Connections { runtime, address, client, arrivals: Mutex::new(arrivals), pool })
    }

    /// Where the box finds it.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Wire::Udp(socket) => socket.local_addr().unwrap(),
            Wire::Tls(connections) => connections.address,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Wire::Tls(_))
    }

    pub(super) fn send(&self, text: &str, peer: SocketAddr) {
        match self {
            Wire::Udp(socket) => drop(socket.send_to(text.as_bytes(), peer).unwrap()),
            Wire::Tls(connections) => connections.send(text, peer),
        }
    }

    /// Waits for as long as `limit`.
    pub(super) fn receive(&self, limit: Duration) -> Option<Arrival> {
        match self {
            Wire::Udp(socket) => {
                let mut buffer = [0; 65_536];
                socket.set_read_timeout(Some(limit)).unwrap();
                let (length, peer) = socket.recv_from(&mut buffer).ok()?;
                Some(Arrival::Message(buffer[..length].to_vec(), peer))
            }
            Wire::Tls(connections) => {
                let arrivals = connections.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
                arrivals.recv_timeout(limit).ok()
            }
        }
    }
}

impl Connections {
    fn send(&self, text: &str, peer: SocketAddr) {
        let text = text.as_bytes().to_vec();
        let Err(text) = self.pool.send(text, peer) else { return };
        let (queue, queued) = unbounded_channel();
        // Nobody has taken anything yet, so nobody has gone.
        let _ = queue.send(text);
        self.pool.enter(peer, queue);
        let (pool, connector, edge) =
            (Arc::clone(&self.pool), TlsConnector::from(Arc::clone(&self.client)), self.address);
        self.runtime.spawn(async move {
            match connect(edge, peer, &connector).await {
                Ok(stream) => pool.carry(stream, peer, queued).await,
                Err(error) => {
                    pool.leave(peer);
                    pool.tell(Arrival::Fault(format!("no connection to {peer}: {error}")));
                }
            }
        });
    }
}

/// From the edge's address, or the box would not know whose it is.
async fn connect(
    edge: SocketAddr,
    peer: SocketAddr,
    connector: &TlsConnector,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(edge.ip(), 0))?;
    let stream = socket.connect(peer).await?;
    Ok(connector.connect(ServerName::IpAddress(peer.ip().into()), stream).await?.into())
}

async fn accept(pool: Arc<Pool>, listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, peer)) = listener.accept().await {
        let (pool, acceptor) = (Arc::clone(&pool), acceptor.clone());
        tokio::spawn(async move {
            // Whoever does not like our certificate goes away, as it may.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let (queue, queued) = unbounded_channel();
            pool.enter(peer, queue);
            pool.carry(stream.into(), peer, queued).await;
        });
    }
}

impl Pool {
    fn writers(&self) -> MutexGuard<'_, HashMap<SocketAddr, UnboundedSender<Vec<u8>>>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, peer: SocketAddr, queue: UnboundedSender<Vec<u8>>) {
        self.writers().insert(peer, queue);
    }

    fn leave(&self, peer: SocketAddr) {
        self.writers().remove(&peer);
    }

    /// Over the connection that is open with `peer`; gives `text` back if there is none.
    fn send(&self, text: Vec<u8>, peer: SocketAddr) -> Result<(), Vec<u8>> {
        match self.writers().get(&peer) {
            Some(queue) => queue.send(text).map_err(|unsent| unsent.0),
            None => Err(text),
        }
    }

    fn tell(&self, arrival: Arrival) {
        // Whoever does not listen any more has been dropped.
        let _ = self.arrivals.send(arrival);
    }

    /// Until either side has gone.
    async fn carry(&self, stream: TlsStream<TcpStream>, peer: SocketAddr, mut queued: UnboundedReceiver<Vec<u8>>) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writing = async {
            while let Some(text) = queued.recv().await {
                if writer.write_all(&text).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
        };
        let reading = async {
            let (mut buffer, mut bytes) = (Vec::new(), [0; 4_096]);
            while let Ok(length @ 1..) = reader.read(&mut bytes).await {
                buffer.extend(&bytes[..length]);
                while let Some(piece) = cut(&mut buffer) {
                    match piece {
                        // RFC 5626 §3.5.1.
                        Piece::Ping => drop(self.send(b"\r\n".to_vec(), peer)),
                        Piece::Message(message) => self.tell(Arrival::Message(message, peer)),
                        Piece::Nonsense(fault) => return self.tell(Arrival::Fault(fault)),
                    }
                }
            }
        };
        tokio::select! { () = writing => {}, () = reading => {} }
        self.leave(peer);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Ping,
    Message(Vec<u8>),
    Nonsense(String),
}

/// The next piece at the front of `buffer`, if it is whole.
fn cut(buffer: &mut Vec<u8>) -> Option<Piece> {
    if buffer.starts_with(b"\r\n\r\n") {
        buffer.drain(..4);
        return Some(Piece::Ping);
    }
    if b"\r\n\r\n".starts_with(buffer) {
        return None;
    }
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:").or(line.strip_prefix("l:")));
    let Some(length) = length.and_then(|length| length.trim().parse::<usize>().ok()) else {
        return Some(Piece::Nonsense(format!("no Content-Length on a connection:\n{text}")));
    };
    (buffer.len() >= head + length).then(|| Piece::Message(buffer.drain(..head + length).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three messages and a ping in pieces of any size are the same messages.
    #[test]
    fn messages_are_cut_out_of_a_stream() {
        let message = b"BYE sip:a SIP/2.0\r\nContent-Length: 4\r\n\r\n\r\n\r\n".to_vec();
        let stream = [&message[..], b"\r\n\r\n", &message, &message].concat();
        for size in 1..stream.len() {
            let (mut buffer, mut pieces) = (Vec::new(), Vec::new());
            for part in stream.chunks(size) {
                buffer.extend(part);
                pieces.extend(std::iter::from_fn(|| cut(&mut buffer)));
            }
            let whole = || Piece::Message(message.clone());
            assert_eq!(pieces, [whole(), Piece::Ping, whole(), whole()], "pieces of {size}");
        }
        assert!(matches!(cut(&mut b"BYE sip:a SIP/2.0\r\n\r\n".to_vec()), Some(Piece::Nonsense(_))));
    }
}
