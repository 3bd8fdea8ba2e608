//! The keys of one stream, between its sound and its socket (RFC 3711, keys from SDP by RFC 4568).

use audio::rtp::srtp::{Inbound, InboundStats, Keys, Outbound};
use tracing::debug;

/// Nothing, or SRTP both ways: what the offer and the answer agreed is all or nothing.
pub(super) enum Security {
    /// Plain RTP.
    Off,
    /// SRTP.
    On(Box<Contexts>),
}

pub(super) struct Contexts {
    keys: Keys,
    inbound: Inbound,
    outbound: Outbound,
}

impl Security {
    pub(super) fn new(keys: Option<&Keys>) -> Security {
        keys.map_or(Security::Off, |keys| {
            let (inbound, outbound) = (Inbound::new(&keys.inbound), Outbound::new(&keys.outbound));
            Security::On(Box::new(Contexts { keys: keys.clone(), inbound, outbound }))
        })
    }

    /// A new agreement: other keys replace these without a gap. `is_moved` says that our packets go somewhere else than
    /// before, where their count begins anew (RFC 3711 §8.1).
    pub(super) fn configure(&mut self, keys: Option<&Keys>, is_moved: bool) {
        let (Security::On(contexts), Some(keys)) = (&mut *self, keys) else {
            *self = Security::new(keys);
            return;
        };
        if keys.inbound != contexts.keys.inbound {
            contexts.inbound.rekey(&keys.inbound);
        }
        if is_moved && keys.outbound != contexts.keys.outbound {
            contexts.outbound = Outbound::new(&keys.outbound);
        } else if keys.outbound != contexts.keys.outbound {
            contexts.outbound.rekey(&keys.outbound);
        }
        contexts.keys = keys.clone();
    }

    /// The RTP packet in a datagram; `None` (counted) unless it is the peer's and new.
    pub(super) fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        match self {
            Security::Off => Some(datagram),
            Security::On(contexts) => contexts.inbound.unprotect_rtp(datagram).ok(),
        }
    }

    /// Makes a packet of ours ready to be sent; `false`: it must not be.
    pub(super) fn seal(&mut self, packet: &mut Vec<u8>) -> bool {
        match self {
            Security::Off => true,
            Security::On(contexts) => {
                contexts.outbound.protect_rtp(packet).inspect_err(|error| debug!(%error, "Packet not sent")).is_ok()
            }
        }
    }

    /// As [`open`](Self::open), for RTCP.
    pub(super) fn open_report<'a>(&mut self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        match self {
            Security::Off => Some(datagram),
            Security::On(contexts) => contexts.inbound.unprotect_rtcp(datagram).ok(),
        }
    }

    /// As [`seal`](Self::seal), for RTCP.
    pub(super) fn seal_report(&mut self, packet: &mut Vec<u8>) -> bool {
        match self {
            Security::Off => true,
            Security::On(contexts) => {
                contexts.outbound.protect_rtcp(packet).inspect_err(|error| debug!(%error, "Report not sent")).is_ok()
            }
        }
    }

    /// What came; `None` without SRTP.
    pub(super) fn stats(&self) -> Option<InboundStats> {
        match self {
            Security::Off => None,
            Security::On(contexts) => Some(contexts.inbound.stats()),
        }
    }
}
