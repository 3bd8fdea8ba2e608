//! Which streams' reports wait to be read: one question to the system (epoll) for all of them, since each gets one in five
//! seconds, and asking every socket in every tick costs as much as reading its sound.

use std::net::UdpSocket;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use tracing::warn;

/// Streams told of at once; the others are told of in the next tick.
const EVENT_LIMIT: usize = 64;

/// See the module.
pub(super) struct Readiness {
    /// `None` only where the system has no descriptor left; then reports are not read.
    epoll: Option<rustix::fd::OwnedFd>,
    events: Vec<epoll::Event>,
}

impl Readiness {
    pub(super) fn new() -> Readiness {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC);
        let epoll = epoll.inspect_err(|error| warn!(%error, "Reports of peers are not read")).ok();
        Readiness { epoll, events: Vec::with_capacity(EVENT_LIMIT) }
    }

    /// Watches `socket` from now on until it is closed, under that number.
    pub(super) fn watch(&self, socket: &UdpSocket, id: u64) {
        let Some(epoll) = &self.epoll else { return };
        if let Err(error) = epoll::add(epoll, socket, epoll::EventData::new_u64(id), epoll::EventFlags::IN) {
            warn!(%error, "Reports of a peer are not read");
        }
    }

    /// The numbers of those where something waits.
    pub(super) fn poll(&mut self) -> impl Iterator<Item = u64> {
        self.events.clear();
        if let Some(epoll) = &self.epoll {
            // Interrupted by a signal: then in the next tick.
            let _ = epoll::wait(epoll, spare_capacity(&mut self.events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        }
        self.events.iter().map(|event| event.data.u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_with_something_to_read_are_named() {
        let mut readiness = Readiness::new();
        let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        sockets.iter().zip(10..).for_each(|(socket, id)| readiness.watch(socket, id));
        assert_eq!(readiness.poll().count(), 0);
        sockets[0].send_to(b"report", sockets[1].local_addr().unwrap()).unwrap();
        assert_eq!(readiness.poll().collect::<Vec<_>>(), [11]);
        drop(sockets);
        assert_eq!(readiness.poll().count(), 0, "a closed socket is forgotten");
    }
}
