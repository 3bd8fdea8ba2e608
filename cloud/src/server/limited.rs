//! Connections of whoever comes from the internet without a certificate: so many at a time, each for so long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::Connection;

/// A listener whose connections are limited. Who comes when all are taken waits in the system's queue.
pub(super) struct Limited<L> {
    inner: L,
    turns: Arc<Semaphore>,
    life: Duration,
}

impl<L> Limited<L> {
    /// So many `connections` at a time, each for `life`.
    pub(super) fn new(inner: L, connections: usize, life: Duration) -> Limited<L> {
        Limited { inner, turns: Arc::new(Semaphore::new(connections)), life }
    }
}

impl<L: Listener> Listener for Limited<L> {
    type Io = Mortal<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // It is never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let (inner, address) = self.inner.accept().await;
        (Mortal { inner, end: Box::pin(tokio::time::sleep(self.life)), _turn: turn }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// Connections whose handshake is done.
pub(super) struct Accepted {
    connections: mpsc::Receiver<Connection>,
    address: SocketAddr,
}

impl Accepted {
    /// Of the port at `address`.
    pub(super) fn new(connections: mpsc::Receiver<Connection>, address: SocketAddr) -> Accepted {
        Accepted { connections, address }
    }
}

impl Listener for Accepted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.connections.recv().await {
                Some(Ok(connection)) => return (connection, self.address),
                Some(Err(_)) => {}
                // The service stops.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// A connection that ends, whatever its other side does.
pub(super) struct Mortal<I> {
    inner: I,
    end: Pin<Box<Sleep>>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl<I: Unpin> Mortal<I> {
    fn alive(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut I>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.inner)),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Mortal<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive(context)?.poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Mortal<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive(context)?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Whoever says nothing, or says it slowly, is let go, and makes room.
    #[tokio::test]
    async fn a_connection_ends_in_time_and_makes_room_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut limited = Limited::new(listener, 1, Duration::from_millis(80));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut quick = TcpStream::connect(address).await.unwrap();
        quick.write_all(b"x").await.unwrap();
        let (mut first, _) = limited.accept().await;
        assert_eq!(limited.turns.available_permits(), 0, "the second one waits");
        assert_eq!(first.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(first);
        let (mut second, _) = limited.accept().await;
        assert_eq!(second.read_u8().await.unwrap(), b'x');
    }
}
