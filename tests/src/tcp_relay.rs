//! A network between a TCP client and its server that breaks when it is told to: connections are cut, stall, or are refused.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// The relay; ended when dropped.
#[derive(Debug)]
pub struct TcpRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    open: Mutex<Vec<TcpStream>>,
    /// Nothing passes, and nothing is closed.
    stalled: Mutex<bool>,
    moved: Condvar,
    refusing: AtomicBool,
    over: AtomicBool,
    passed_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

impl TcpRelay {
    /// Relays from a free loopback port to `server`.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(server: SocketAddr) -> TcpRelay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            open: Mutex::default(),
            stalled: Mutex::default(),
            moved: Condvar::new(),
            refusing: AtomicBool::new(false),
            over: AtomicBool::new(false),
            passed_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                accepting.take(client);
            }
        });
        TcpRelay { address, shared, acceptor: Some(acceptor) }
    }

    /// Where the client connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection; the next ones work.
    ///
    /// # Panics
    /// When a thread of the relay has.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            // Closed already, or now.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::Relaxed);
    }

    /// Whether nothing passes, as behind a router that has forgotten a connection.
    ///
    /// # Panics
    /// When a thread of the relay has.
    pub fn stall(&self, stalled: bool) {
        *self.shared.stalled.lock().unwrap() = stalled;
        self.shared.moved.notify_all();
    }

    /// Bytes that clients have sent, whether they passed or were on their way when a connection was cut.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that have passed, both ways together.
    pub fn passed_bytes(&self) -> u64 {
        self.shared.passed_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.stall(false);
        self.cut();
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn take(self: &Arc<Self>, client: TcpStream) {
        if self.refusing.load(Ordering::Relaxed) {
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else { return };
        for stream in [&client, &server] {
            // What is small is not to wait for more, as it would not on a real line.
            let _ = stream.set_nodelay(true);
        }
        for (from, to, is_client) in [(&client, &server, true), (&server, &client, false)] {
            let (shared, from, to) = (Arc::clone(self), from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || shared.pass(from, to, is_client));
        }
        let mut open = self.open.lock().unwrap();
        open.retain(|stream| stream.peer_addr().is_ok());
        open.extend([client, server]);
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_client: bool) {
        let mut buffer = [0; 16 << 10];
        let mut is_cut = false;
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            let counted = u64::try_from(bytes).unwrap();
            if is_client {
                self.sent_bytes.fetch_add(counted, Ordering::Relaxed);
            }
            // What was on its way when it was cut is read to its end, for the count.
            if is_cut {
                continue;
            }
            let stalled = self.stalled.lock().unwrap();
            drop(self.moved.wait_while(stalled, |stalled| *stalled).unwrap());
            // Before it arrives: whoever has read it finds it counted.
            self.passed_bytes.fetch_add(counted, Ordering::Relaxed);
            is_cut = to.write_all(&buffer[..bytes]).is_err();
        }
        for stream in [from, to] {
            // The other direction has done it, or does not need it any more.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says back whatever it hears.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut from, mut to) = {
                    let stream = stream.unwrap();
                    (stream.try_clone().unwrap(), stream)
                };
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        });
        address
    }

    #[test]
    fn it_carries_and_breaks_as_it_is_told() {
        let relay = TcpRelay::start(echo());
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let mut said = [0; 4];
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut said).unwrap();
        assert_eq!((&said, relay.passed_bytes(), relay.sent_bytes()), (b"ping", 8, 4));
        relay.stall(true);
        client.write_all(b"late").unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        client.read_exact(&mut said).unwrap_err();
        client.set_read_timeout(None).unwrap();
        relay.stall(false);
        client.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"late");
        relay.cut();
        assert!(matches!(client.read(&mut said), Ok(0) | Err(_)));
        relay.refuse(true);
        let mut refused = TcpStream::connect(relay.address()).unwrap();
        assert!(matches!(refused.read(&mut said), Ok(0) | Err(_)));
        relay.refuse(false);
        let mut again = TcpStream::connect(relay.address()).unwrap();
        again.write_all(b"back").unwrap();
        again.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"back");
    }
}
