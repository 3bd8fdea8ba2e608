//! A STUN server (RFC 8489) that says what it is told to say: where the box is seen from outside.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// How soon the thread notices that it is over.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// Runs until it is dropped.
#[derive(Debug)]
pub struct StunServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    seen_at: AtomicU32,
    is_over: AtomicBool,
}

impl StunServer {
    /// Starts one that sees everybody at `seen_at`.
    ///
    /// # Panics
    /// Without a free port.
    pub fn start(seen_at: Ipv4Addr) -> StunServer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(Some(STOP_INTERVAL)).expect("a time limit");
        let address = socket.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared { seen_at: AtomicU32::new(seen_at.to_bits()), is_over: AtomicBool::new(false) });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&socket, &shared)
        });
        StunServer { address, shared, thread: Some(thread) }
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sees everybody there from now on.
    pub fn see_at(&self, address: Ipv4Addr) {
        self.shared.seen_at.store(address.to_bits(), Ordering::Relaxed);
    }
}

impl Drop for StunServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut request = [0; 512];
    while !shared.is_over.load(Ordering::Relaxed) {
        let Ok((20.., peer)) = socket.recv_from(&mut request) else { continue };
        let seen_at = Ipv4Addr::from_bits(shared.seen_at.load(Ordering::Relaxed));
        let (transaction, port) = (&request[8..20], peer.port().to_be_bytes());
        let xored = |bytes: &[u8]| bytes.iter().zip(MAGIC_COOKIE).map(|(byte, mask)| byte ^ mask).collect::<Vec<u8>>();
        // Binding success with XOR-MAPPED-ADDRESS, 8 octets: zero, IPv4, port, address.
        let head: &[u8] = &[0x01, 0x01, 0, 12];
        let attribute: &[u8] = &[0x00, 0x20, 0, 8, 0, 0x01];
        let answer = [head, &MAGIC_COOKIE, transaction, attribute, &xored(&port), &xored(&seen_at.octets())].concat();
        // Whoever asked may be gone.
        let _ = socket.send_to(&answer, peer);
    }
}
