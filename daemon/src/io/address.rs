//! Under which address others reach this box.
//!
//! `sip.public_address` says so where it is configured. Where `sip.stun_server` is, a server outside says under which
//! address it sees us: at the start, every minute, and whenever our own address changes. Else it is the address that is
//! listened on; a box that listens on every address (`0.0.0.0`) asks the routing table again and again, since an office's
//! router hands out addresses as it likes. Peers in private networks are told our address there, not the public one:
//! few routers let somebody inside reach the box from outside.
//!
//! When it changes, whoever [listens](OwnAddress::changes) is told: trunks are registered with again and calls
//! re-negotiated.
//!
//! Left out on purpose: the ports. A router in between has to forward ours under the same numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sip_stack::endpoint::is_private;
use tokio::sync::watch;
use tracing::{info, warn};

use super::stun;
use crate::config::{Config, Sip};

/// How often the routing table is asked.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// After a change it is told again so often: calls whose re-INVITE could not be sent then try once more.
const TOLD_AGAIN: u32 = 6;
/// Somebody far away, to learn which way leads out: an address that is for documentation only (RFC 5737). Nothing is sent.
const FAR_AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What we are reached under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// From outside, if that is another one.
    public: Option<IpAddr>,
    /// From our own networks.
    local: IpAddr,
}

/// The address of this box as it is now; cheap to clone.
#[derive(Debug, Clone)]
pub struct OwnAddress {
    listen: IpAddr,
    reached: watch::Receiver<Reached>,
}

/// Finds out what the address is, for as long as the box runs.
#[derive(Debug)]
pub struct Follower {
    sip: Sip,
    reached: watch::Sender<Reached>,
    asked_at: Option<Instant>,
    is_found: bool,
}

impl Reached {
    /// Whoever is not in a call yet is told this one.
    pub fn outside(self) -> IpAddr {
        self.public.unwrap_or(self.local)
    }

    /// For peers in private networks, where it is another one.
    pub fn inside(self) -> Option<IpAddr> {
        self.public.filter(|public| !is_private(*public)).map(|_| self.local)
    }
}

impl OwnAddress {
    /// The address of ours that `peer` is to use.
    pub fn towards(&self, peer: IpAddr) -> IpAddr {
        let Reached { public, local } = *self.reached.borrow();
        // Whoever calls from this very machine, as the health check does, would not reach it by way of another.
        let reaches = |public: &IpAddr| match (is_private(peer), is_private(*public)) {
            (true, false) => false,
            (true, true) => public.is_loopback() || !peer.is_loopback(),
            (false, _) => true,
        };
        match public.filter(reaches) {
            Some(public) => public,
            None if self.listen.is_unspecified() => local_towards(peer).unwrap_or(local),
            None => self.listen,
        }
    }

    /// The address of ours that everybody is told who is not in a call yet.
    pub fn outside(&self) -> IpAddr {
        self.reached.borrow().outside()
    }

    /// All of it.
    pub fn reached(&self) -> Reached {
        *self.reached.borrow()
    }

    /// Tells when it changes, and a few times more.
    pub fn changes(&self) -> watch::Receiver<Reached> {
        self.reached.clone()
    }
}

impl Follower {
    /// Looks, and asks the STUN server if there is one: that may take 8 s.
    pub async fn start(config: &Config) -> Follower {
        let sip = config.sip.clone();
        let reached = watch::Sender::new(Reached { public: sip.public_address, local: local(&sip) });
        let mut follower = Follower { sip, reached, asked_at: None, is_found: true };
        let first = follower.look().await;
        follower.reached.send_replace(first);
        follower
    }

    /// What it has found and will find.
    pub fn own_address(&self) -> OwnAddress {
        OwnAddress { listen: self.sip.address, reached: self.reached.subscribe() }
    }

    /// Looks again and again; each change is told by `tell` first, then to those who listen. Ends at once where the
    /// configuration says the address.
    pub async fn run<T: Future<Output = ()>>(mut self, mut tell: impl FnMut(Reached) -> T) {
        let is_fixed = self.sip.public_address.is_some() || !self.sip.address.is_unspecified();
        if is_fixed && self.sip.stun_server.is_none() {
            return;
        }
        let mut interval = tokio::time::interval(LOOK_INTERVAL.min(self.stun_interval()));
        let mut again = 0;
        loop {
            interval.tick().await;
            let reached = self.look().await;
            if reached != *self.reached.borrow() {
                info!(address = %reached.outside(), "Reached under another address from now on");
                tell(reached).await;
                again = TOLD_AGAIN + 1;
            }
            if again > 0 {
                again -= 1;
                self.reached.send_replace(reached);
            }
        }
    }

    fn stun_interval(&self) -> Duration {
        Duration::from_secs(self.sip.stun_interval_seconds.into())
    }

    async fn look(&mut self) -> Reached {
        let before = *self.reached.borrow();
        let local = local(&self.sip);
        let Some(server) = self.sip.stun_server.clone() else { return Reached { local, ..before } };
        let is_due = self.asked_at.is_none_or(|at| at.elapsed() >= self.stun_interval());
        if !is_due && self.is_found && local == before.local {
            return before;
        }
        self.asked_at = Some(Instant::now());
        let found = ask(&server, self.sip.address).await;
        let was_found = std::mem::replace(&mut self.is_found, found.is_ok());
        match found {
            Ok(public) => Reached { public: Some(public), local },
            Err(error) => {
                // Once for each time that it is lost; what was known before is the best guess.
                if was_found {
                    warn!(%error, server, "The STUN server does not say our public address");
                }
                Reached { local, ..before }
            }
        }
    }
}

/// The first address of the server that our socket can send to is asked.
async fn ask(server: &str, listen: IpAddr) -> std::io::Result<IpAddr> {
    let found: Vec<SocketAddr> = match server.parse() {
        Ok(address) => vec![address],
        Err(_) if has_port(server) => tokio::net::lookup_host(server).await?.collect(),
        Err(_) => tokio::net::lookup_host((server.trim_matches(['[', ']']), stun::DEFAULT_PORT)).await?.collect(),
    };
    let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "no address of its kind");
    let server = found.into_iter().find(|address| address.is_ipv4() == listen.is_ipv4()).ok_or_else(none)?;
    stun::ask(server, listen).await
}

fn has_port(server: &str) -> bool {
    server.rsplit_once(':').is_some_and(|(host, port)| !host.ends_with(':') && port.parse::<u16>().is_ok())
        && (server.contains("]:") || server.matches(':').count() == 1)
}

/// Our address as our own networks see it.
pub(crate) fn local(sip: &Sip) -> IpAddr {
    match sip.address.is_unspecified() {
        true => local_towards(FAR_AWAY).unwrap_or(sip.address),
        false => sip.address,
    }
}

/// The address of ours from which packets to `peer` leave; `None` when no way leads there.
fn local_towards(peer: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Connecting a UDP socket sends nothing; the port only has to be one.
    socket.connect((peer, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn own(listen: &str, public: Option<&str>) -> OwnAddress {
        let reached = Reached { public: public.map(|public| public.parse().unwrap()), local: listen.parse().unwrap() };
        OwnAddress { listen: listen.parse().unwrap(), reached: watch::Sender::new(reached).subscribe() }
    }

    #[test]
    fn peers_get_the_public_address_else_ours_else_the_one_that_leads_to_them() {
        for (listen, public, peer, expected) in [
            ("192.0.2.7", Some("203.0.113.5"), "198.51.100.1", "203.0.113.5"),
            ("192.168.1.2", Some("203.0.113.5"), "192.168.1.77", "192.168.1.2"),
            ("192.168.1.2", Some("203.0.113.5"), "fe80::7", "192.168.1.2"),
            ("0.0.0.0", Some("203.0.113.5"), "127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", Some("10.0.0.9"), "127.0.0.1", "127.0.0.1"),
            ("10.0.0.2", Some("10.0.0.9"), "10.7.7.7", "10.0.0.9"),
            ("127.0.0.7", None, "127.0.0.1", "127.0.0.7"),
            ("0.0.0.0", None, "127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", Some("127.0.0.2"), "127.0.0.1", "127.0.0.2"),
        ] {
            let told = own(listen, public).towards(peer.parse().unwrap()).to_string();
            assert_eq!(told, expected, "{listen} {public:?} {peer}");
        }
    }

    #[test]
    fn ports_of_servers_are_told_from_addresses() {
        for (server, expected) in [
            ("stun.example.com", false),
            ("stun.example.com:3478", true),
            ("192.0.2.1:3478", true),
            ("[2001:db8::1]:3478", true),
            ("[2001:db8::1]", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(has_port(server), expected, "{server}");
        }
    }

    /// A STUN server that says whatever stands in its cell.
    async fn stun_server(says: Arc<Mutex<Option<Ipv4Addr>>>) -> SocketAddr {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 100];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let answer = says.lock().unwrap().map(|address| stun::tests::answer_to(&buffer[..length], address));
                if let Some(answer) = answer {
                    socket.send_to(&answer, peer).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn a_change_of_the_public_address_is_told() {
        let [first, second] = [5, 6].map(|last| Ipv4Addr::new(203, 0, 113, last));
        let says = Arc::new(Mutex::new(Some(first)));
        let mut config = Config::default();
        config.sip.stun_server = Some(stun_server(Arc::clone(&says)).await.to_string());
        config.sip.stun_interval_seconds = 1;
        let follower = Follower::start(&config).await;
        let own = follower.own_address();
        assert_eq!(own.outside(), first);
        assert_eq!(own.towards([127, 0, 0, 1].into()), Ipv4Addr::LOCALHOST, "inside nothing changes");

        let told = Arc::new(Mutex::new(Vec::new()));
        let mut changes = own.changes();
        changes.mark_unchanged();
        let following = tokio::spawn({
            let told = Arc::clone(&told);
            follower.run(move |reached| {
                told.lock().unwrap().push(reached.outside());
                std::future::ready(())
            })
        });
        *says.lock().unwrap() = Some(second);
        changes.changed().await.unwrap();
        assert_eq!((own.outside(), told.lock().unwrap().as_slice()), (second.into(), [second.into()].as_slice()));
        // Told again, for those who could not act on it; the signalling hears of it once.
        changes.changed().await.unwrap();
        assert_eq!(told.lock().unwrap().len(), 1);
        following.abort();
    }

    #[tokio::test]
    async fn without_the_server_our_own_address_is_told() {
        let mut config = Config::default();
        // Port 9 of this machine: nobody is there, which the system says at once.
        config.sip.stun_server = Some("127.0.0.1:9".into());
        assert_eq!(Follower::start(&config).await.own_address().outside(), Ipv4Addr::LOCALHOST);
    }
}
