//! Under which address others reach this box.
//!
//! `sip.public_address` says so where it is configured; else the address that is listened on. A box that listens on every
//! address (`0.0.0.0`) asks the routing table: per call for the sound, and for the signalling again and again, since an
//! office's router hands out addresses as it likes.
//!
//! Left out on purpose: what the address looks like from outside the office's router (STUN).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use sip_stack::message::Host;
use tracing::info;

use super::sip::SipHandle;
use crate::config::Config;

/// How often the routing table is asked.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Somebody far away, to learn which way leads out: an address that is for documentation only (RFC 5737). Nothing is sent.
const FAR_AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The address of ours that `peer` is to use. Whoever calls from this very machine, as the health check does, would not
/// reach it by way of the public one.
pub fn advertised_to(config: &Config, peer: IpAddr) -> IpAddr {
    let from_outside = |public: &IpAddr| public.is_loopback() || !peer.is_loopback();
    match config.sip.public_address.filter(from_outside) {
        Some(public) => public,
        None if config.sip.address.is_unspecified() => local_towards(peer).unwrap_or(config.sip.address),
        None => config.sip.address,
    }
}

/// The address of ours that everybody is told who is not in a call yet.
pub fn advertised(config: &Config) -> IpAddr {
    advertised_to(config, FAR_AWAY)
}

/// The address of ours from which packets to `peer` leave; `None` when no way leads there.
fn local_towards(peer: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Connecting a UDP socket sends nothing; the port only has to be one.
    socket.connect((peer, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

/// Tells the signalling when the address changes. Ends at once where the configuration says the address; else never.
pub(crate) async fn follow(config: Config, sip: SipHandle) {
    if config.sip.public_address.is_some() || !config.sip.address.is_unspecified() {
        return;
    }
    let mut known = advertised(&config);
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    loop {
        interval.tick().await;
        let now = advertised(&config);
        if now != known && sip.with(move |endpoint, _| endpoint.set_advertised(&Host::from(now))).await.is_ok() {
            info!(address = %now, "Reached under another address from now on");
            known = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str, public_address: Option<&str>) -> Config {
        let mut config = Config::default();
        config.sip.address = address.parse().unwrap();
        config.sip.public_address = public_address.map(|address| address.parse().unwrap());
        config
    }

    #[test]
    fn peers_get_the_public_address_else_ours_else_the_one_that_leads_to_them() {
        let loopback: IpAddr = [127, 0, 0, 1].into();
        let of = |address, public| advertised_to(&config(address, public), loopback).to_string();
        let abroad = config("192.0.2.7", Some("203.0.113.5"));
        assert_eq!(advertised_to(&abroad, FAR_AWAY).to_string(), "203.0.113.5");
        assert_eq!(of("0.0.0.0", Some("203.0.113.5")), "127.0.0.1");
        assert_eq!(of("127.0.0.7", None), "127.0.0.7");
        assert_eq!(of("0.0.0.0", None), "127.0.0.1");
        assert_eq!(of("127.0.0.1", Some("127.0.0.2")), "127.0.0.2");
    }
}
