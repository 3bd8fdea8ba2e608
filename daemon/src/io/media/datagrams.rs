//! Reading a socket: all datagrams that wait, with one call to the system (recvmmsg).
//!
//! Sending has no such call across sockets, and each stream has a socket of its own; `tests/benches/media.rs` tells what
//! both cost. Nothing is allocated once the buffers are made.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::ptr::from_mut;

/// Datagrams read at once: a peer sends one in a tick, and a few after a hiccup.
pub(super) const BATCH: usize = 8;
/// The largest datagram that can be anything for us; of a longer one the rest is thrown away.
pub(super) const DATAGRAM_LIMIT_BYTES: usize = 2_048;

/// Room for what one call brings.
pub(super) struct Datagrams {
    buffers: Box<[[u8; DATAGRAM_LIMIT_BYTES]; BATCH]>,
    about: [About; BATCH],
}

/// What is known of a datagram besides its bytes.
#[derive(Debug, Clone, Copy)]
struct About {
    source: SocketAddr,
    length_bytes: usize,
    is_cut: bool,
}

/// A datagram that was read.
pub(super) struct Datagram<'a> {
    /// Who sent it.
    pub(super) source: SocketAddr,
    /// What is in it, or its start.
    pub(super) bytes: &'a mut [u8],
    /// It was longer than [`DATAGRAM_LIMIT_BYTES`].
    pub(super) is_cut: bool,
}

impl Datagrams {
    pub(super) fn new() -> Datagrams {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let about = [About { source: nobody, length_bytes: 0, is_cut: false }; BATCH];
        Datagrams { buffers: vec![[0; DATAGRAM_LIMIT_BYTES]; BATCH].try_into().expect("as many as there are"), about }
    }

    /// Reads up to [`BATCH`] datagrams without waiting, and tells how many there were; fewer than that means that no more
    /// wait.
    ///
    /// # Errors
    /// The system's: `WouldBlock` when none waits, or what ICMP told about one of ours.
    pub(super) fn read(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut names = [NO_NAME; BATCH];
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut headers = [NO_HEADER; BATCH];
        for index in 0..BATCH {
            parts[index].iov_base = from_mut(&mut self.buffers[index]).cast();
            parts[index].iov_len = DATAGRAM_LIMIT_BYTES;
            let header = &mut headers[index].msg_hdr;
            header.msg_name = from_mut(&mut names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = &raw mut parts[index];
            header.msg_iovlen = 1;
        }
        #[expect(unsafe_code, reason = "no safe wrapper for recvmmsg among our dependencies")]
        // SAFETY: names, parts and buffers that the headers point to live through the call, with their true sizes; the
        // kernel fills in no more headers than it is told there are.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (about, (header, name)) in self.about.iter_mut().zip(headers.iter().zip(&names)).take(count) {
            about.source = address(name);
            about.length_bytes = header.msg_len as usize;
            about.is_cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        }
        Ok(count)
    }

    /// Those that the last [`read`](Self::read) counted, by their number.
    pub(super) fn datagram(&mut self, index: usize) -> Datagram<'_> {
        let About { source, length_bytes, is_cut } = self.about[index];
        let bytes = &mut self.buffers[index][..length_bytes.min(DATAGRAM_LIMIT_BYTES)];
        Datagram { source, bytes, is_cut }
    }
}

/// Large enough for an address of either family.
const NO_NAME: libc::sockaddr_in6 = libc::sockaddr_in6 {
    sin6_family: 0,
    sin6_port: 0,
    sin6_flowinfo: 0,
    sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
    sin6_scope_id: 0,
};

#[expect(unsafe_code, reason = "a header of C has fields that only zeros can fill on every system")]
// SAFETY: null pointers and zeros are valid for each of its fields.
const NO_HEADER: libc::mmsghdr = unsafe { std::mem::zeroed() };

/// The address in `name`, which has the fields of IPv4 where those of IPv6 begin (`man 7 ip`, `man 7 ipv6`).
fn address(name: &libc::sockaddr_in6) -> SocketAddr {
    let port = u16::from_be(name.sin6_port);
    if i32::from(name.sin6_family) == libc::AF_INET {
        return SocketAddr::from((Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes()), port));
    }
    let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
    SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// What came, having waited for it.
    fn read(datagrams: &mut Datagrams, socket: &UdpSocket) -> usize {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match datagrams.read(socket) {
                Ok(count) => return count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn datagrams_of_both_families_come_with_their_senders() {
        for ip in ["127.0.0.1", "::1"] {
            let Ok(ours) = UdpSocket::bind((ip, 0)) else { continue };
            let theirs = [(); 2].map(|()| UdpSocket::bind((ip, 0)).unwrap());
            let mut datagrams = Datagrams::new();
            assert_eq!(datagrams.read(&ours).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            for (index, theirs) in theirs.iter().enumerate() {
                theirs.send_to(&[index as u8; 5], ours.local_addr().unwrap()).unwrap();
                assert_eq!(read(&mut datagrams, &ours), 1);
                let datagram = datagrams.datagram(0);
                assert_eq!(datagram.source, theirs.local_addr().unwrap());
                assert_eq!((&*datagram.bytes, datagram.is_cut), (&[index as u8; 5][..], false));
            }
        }
    }

    #[test]
    fn an_oversized_datagram_is_known_for_one() {
        let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut datagrams = Datagrams::new();
        theirs.send_to(&[7; DATAGRAM_LIMIT_BYTES + 1], ours.local_addr().unwrap()).unwrap();
        theirs.send_to(&[8; DATAGRAM_LIMIT_BYTES], ours.local_addr().unwrap()).unwrap();
        assert_eq!(read(&mut datagrams, &ours), 2);
        assert!(datagrams.datagram(0).is_cut);
        assert_eq!(datagrams.datagram(0).bytes.len(), DATAGRAM_LIMIT_BYTES);
        assert!(!datagrams.datagram(1).is_cut);
    }
}
