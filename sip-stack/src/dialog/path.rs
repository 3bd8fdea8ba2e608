//! Where a request within a dialog is sent (RFC 3261 §8.1.2, §18.1), without looking any name up.

use std::net::{IpAddr, SocketAddr};

use super::Dialog;
use crate::endpoint::{EndpointConfig, FlowId, Source, Transport};
use crate::message::SipUri;

/// The way to the dialog's next hop.
///
/// An open connection that the dialog already uses is used again. A next hop that is an address is followed, unless it
/// is a private address told by a peer whose messages come from a public one: that peer is behind NAT and is reached
/// only where its messages come from. So is one that gives a name.
pub(crate) fn path_to(dialog: &Dialog, config: &EndpointConfig, is_open: impl Fn(FlowId) -> bool) -> Source {
    let latest = dialog.path;
    if latest.flow.is_some_and(is_open) {
        return latest;
    }
    let latest = Source { flow: None, ..latest };
    let Some(uri) = dialog.next_hop().as_sip() else { return latest };
    let Some(ip) = uri.host.ip().filter(|ip| !is_hidden(*ip, latest.peer.ip())) else { return latest };
    let transport = transport_of(uri).unwrap_or(latest.transport);
    let peer = SocketAddr::new(ip, uri.port.unwrap_or(transport.default_port()));
    let local = if transport == latest.transport { latest.local } else { config.local(transport).socket };
    Source { transport, local, peer, flow: None }
}

fn transport_of(uri: &SipUri) -> Option<Transport> {
    if uri.secure {
        return Some(Transport::Tls);
    }
    let name = uri.params.value("transport")?;
    Transport::ALL.into_iter().find(|transport| transport.to_string().eq_ignore_ascii_case(name))
}

/// Is `told` an address that cannot be reached from where `seen` is?
fn is_hidden(told: IpAddr, seen: IpAddr) -> bool {
    told.is_unspecified()
        || (told.is_loopback() && !seen.is_loopback())
        || (is_private(told) && !is_private(seen) && !seen.is_loopback())
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_contact_of_a_public_peer_is_hidden() {
        let table = [
            ("10.0.0.5", "203.0.113.1", true),
            ("127.0.0.1", "10.0.0.5", true),
            ("0.0.0.0", "203.0.113.1", true),
            ("fd00::1", "2001:db8::1", true),
            ("10.0.0.5", "10.0.0.5", false),
            ("10.0.0.5", "10.0.0.6", false),
            ("203.0.113.9", "203.0.113.1", false),
            ("203.0.113.9", "10.0.0.5", false),
            ("127.0.0.1", "127.0.0.1", false),
        ];
        for (told, seen, expected) in table {
            assert_eq!(is_hidden(told.parse().unwrap(), seen.parse().unwrap()), expected, "{told} told from {seen}");
        }
    }
}
