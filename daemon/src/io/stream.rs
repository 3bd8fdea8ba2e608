//! One connection, TCP or TLS, from its opening to its end: a task that the shell speaks to through channels.
//!
//! A connection that is closed without a word, as TLS peers do after some idle minutes (no close_notify), is just closed.
//! Every wait for the peer has a limit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sip_stack::endpoint::FlowId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// How long connecting and the TLS handshake may take together.
const OPENING_LIMIT: Duration = Duration::from_secs(10);
/// How long one message may wait for a peer that does not read.
const WRITE_LIMIT: Duration = Duration::from_secs(32);
/// Bytes read from a connection at once.
const READ_BYTES: usize = 8_192;

/// What became of a connection.
pub(super) enum StreamEvent {
    /// It is there, encrypted if it is to be.
    Opened { flow: FlowId, local: SocketAddr },
    /// The peer has sent something.
    Read { flow: FlowId, bytes: Vec<u8> },
    /// It is gone.
    Closed { flow: FlowId },
    /// It never was.
    Failed { flow: FlowId, error: io::Error },
}

/// A connection that is ready, and its end on our side.
pub(super) type Opened<S> = (S, SocketAddr);

/// Carries what is `queued` to the peer and tells what comes from it, until either side has had enough. We have when
/// nobody can queue any more.
pub(super) async fn run<S: AsyncRead + AsyncWrite>(
    flow: FlowId,
    opening: impl Future<Output = io::Result<Opened<S>>>,
    queued: mpsc::Receiver<Vec<u8>>,
    events: mpsc::Sender<StreamEvent>,
) {
    let opened = timeout(OPENING_LIMIT, opening).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (stream, local) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // Whoever stops listening has stopped altogether; here and below.
            let _ = events.send(StreamEvent::Failed { flow, error }).await;
            return;
        }
    };
    let _ = events.send(StreamEvent::Opened { flow, local }).await;
    let (reader, writer) = tokio::io::split(stream);
    let writing = write_all(writer, queued);
    tokio::pin!(writing);
    tokio::select! {
        () = read_all(flow, reader, &events) => {
            let _ = events.send(StreamEvent::Closed { flow }).await;
            // The peer may have closed its half only, and waits for an answer that the shell is about to queue.
            writing.await;
        }
        () = &mut writing => {
            let _ = events.send(StreamEvent::Closed { flow }).await;
        }
    }
}

async fn write_all(mut stream: impl AsyncWrite + Unpin, mut queued: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = queued.recv().await {
        let writing = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        if !matches!(timeout(WRITE_LIMIT, writing).await, Ok(Ok(()))) {
            return;
        }
    }
    // It is closed either way.
    let _ = timeout(WRITE_LIMIT, stream.shutdown()).await;
}

async fn read_all(flow: FlowId, mut stream: impl AsyncRead + Unpin, events: &mpsc::Sender<StreamEvent>) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let bytes = buffer[..length].to_vec();
        if events.send(StreamEvent::Read { flow, bytes }).await.is_err() {
            return;
        }
    }
}

/// A connection that was accepted.
pub(super) async fn accepted(stream: TcpStream) -> io::Result<Opened<TcpStream>> {
    // Each write is a whole message: waiting for more of them helps nobody.
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    Ok((stream, local))
}

/// A connection to `peer`.
pub(super) async fn connect(peer: SocketAddr) -> io::Result<Opened<TcpStream>> {
    accepted(TcpStream::connect(peer).await?).await
}

/// An accepted connection, with our certificate shown.
pub(super) async fn accepted_tls(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<Opened<TlsStream<TcpStream>>> {
    let (stream, local) = accepted(stream).await?;
    Ok((acceptor.accept(stream).await?.into(), local))
}

/// A connection to `peer`, which has to prove that it is `name`.
pub(super) async fn connect_tls(
    peer: SocketAddr,
    connector: TlsConnector,
    name: io::Result<ServerName<'static>>,
) -> io::Result<Opened<TlsStream<TcpStream>>> {
    let name = name?;
    let (stream, local) = connect(peer).await?;
    Ok((connector.connect(name, stream).await?.into(), local))
}
