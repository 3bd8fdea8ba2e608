//! RTP ports on loan: even ones, with the odd one after each for RTCP (RFC 3550 §11), used by one call at a time and given
//! back when dropped.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

/// Receive buffer asked of the kernel per call: 100 ms of a 64 kbit/s stream with headers is 5 kB; the rest is reserve
/// for a media thread that was held up.
const RECEIVE_BUFFER_BYTES: usize = 128 * 1024;
/// DSCP Expedited Forwarding (RFC 3246) in the upper six bits of the traffic class.
const DSCP_EF: u32 = 46 << 2;

/// The configured range of RTP ports.
#[derive(Debug, Clone)]
pub struct PortPool {
    address: IpAddr,
    first: u16,
    last: u16,
    lent: Arc<Mutex<Lent>>,
}

#[derive(Debug, Default)]
struct Lent {
    ports: BTreeSet<u16>,
    /// Offset from the first port of the next candidate, so that a port rests before it is used again.
    next: u16,
}

/// One bound RTP socket; its port returns to the pool on drop.
#[derive(Debug)]
pub struct MediaPort {
    socket: UdpSocket,
    rtcp: Option<UdpSocket>,
    local: SocketAddr,
    lent: Arc<Mutex<Lent>>,
}

impl PortPool {
    /// Ports `first..=last` on `address`.
    pub fn new(address: IpAddr, first: u16, last: u16) -> PortPool {
        PortPool { address, first, last, lent: Arc::default() }
    }

    /// Binds the next free even port.
    ///
    /// # Errors
    /// `AddrInUse` when no port of the range is free; any other error of the socket as it is.
    pub fn lend(&self) -> io::Result<MediaPort> {
        let pairs = (self.last - self.first) / 2 + 1;
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..pairs {
            let port = self.first + 2 * lent.next;
            lent.next = (lent.next + 1) % pairs;
            if lent.ports.contains(&port) {
                continue;
            }
            match bind(SocketAddr::new(self.address, port)) {
                Ok(socket) => {
                    let local = socket.local_addr()?;
                    lent.ports.insert(port);
                    // Without it there are no reports, but a call.
                    let rtcp = local.port().checked_add(1).map(|port| SocketAddr::new(self.address, port));
                    let rtcp = rtcp.and_then(|address| bind(address).ok());
                    return Ok(MediaPort { socket, rtcp, local, lent: Arc::clone(&self.lent) });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        let range = format!("no free RTP port in {}-{} (media.first_port, media.last_port)", self.first, self.last);
        Err(io::Error::new(io::ErrorKind::AddrInUse, range))
    }

    /// How many ports are in use: zero when no call is up.
    pub fn lent_count(&self) -> usize {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).ports.len()
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    // Best effort: a kernel that refuses either still carries the call.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    let _ = if address.is_ipv4() { socket.set_tos_v4(DSCP_EF) } else { socket.set_tclass_v6(DSCP_EF) };
    Ok(socket.into())
}

impl MediaPort {
    /// Address and port bound here.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The non-blocking socket.
    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// The same for RTCP; `None` if its port was taken.
    pub(crate) fn rtcp_socket(&self) -> Option<&UdpSocket> {
        self.rtcp.as_ref()
    }
}

impl Drop for MediaPort {
    fn drop(&mut self) {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).ports.remove(&self.local.port());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_even_distinct_and_come_back() {
        let pool = PortPool::new(IpAddr::from([127, 0, 0, 1]), 47_100, 47_107);
        let lent: Vec<MediaPort> = std::iter::from_fn(|| pool.lend().ok()).collect();
        let ports: BTreeSet<u16> = lent.iter().map(|port| port.local().port()).collect();
        assert_eq!(ports.len(), lent.len());
        assert!(!ports.is_empty() && ports.iter().all(|port| port.is_multiple_of(2)));
        let message = pool.lend().unwrap_err().to_string();
        assert!(message.contains("47100-47107"), "{message}");
        drop(lent);
        assert_eq!(pool.lent_count(), 0);
        assert!(pool.lend().is_ok());
    }
}
