//! The trunks at work: who may be called through which, under which number, and how many at once.
//!
//! A host of a trunk is looked up for each call: carriers move their addresses, and [`Resolver`] keeps what may be kept.
//! All its addresses are tried in their order before the next host's (RFC 3263 §4.3), by [`sip_stack`]'s failover.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sip_stack::digest::Credentials;
use sip_stack::endpoint::{Destination, Transport};
use sip_stack::message::{Host, HostPort, NameAddr, SipUri, Uri};
use tracing::warn;

use super::dial::Callee;
use super::incoming::CallerKind;
use super::minutes::{Minutes, Running};
use super::reach::Outside;
use crate::config::{Config, Extension, SrtpUse, Trunk};
use crate::io::resolve::{NameServers, Resolver, SipAbilities};
use crate::io::sip::SipHandle;

/// Addresses tried for one call.
const DESTINATION_LIMIT: usize = 8;

/// All trunks of the configuration, in its order.
#[derive(Debug, Default)]
pub struct Carriers {
    all: Vec<Carrier>,
}

/// One trunk.
#[derive(Debug, Default)]
pub(super) struct Carrier {
    /// Its place in the configuration.
    pub(super) index: usize,
    pub(super) trunk: Trunk,
    pub(super) credentials: Vec<Credentials>,
    resolver: Resolver,
    places: Places,
    health: Mutex<Health>,
}

/// What is known of a trunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Whether it answers; `None` while nobody has asked.
    pub(super) answers: Option<bool>,
    /// Whether it knows us; `None` where it does not want registrations.
    pub(super) registered: Option<bool>,
}

/// Calls that are counted; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<AtomicU32>);

/// One of them; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    calls: Arc<AtomicU32>,
    /// Of a call to outside that is up.
    running: Option<Running>,
}

impl Places {
    /// One more; `None` when there are `limit`.
    pub(super) fn enter(&self, limit: u32) -> Option<Place> {
        let one_more = |calls| (calls < limit).then(|| calls + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Place { calls: Arc::clone(&self.0), running: None })
    }
}

impl Carriers {
    /// Reads the passwords.
    ///
    /// # Errors
    /// A password file that cannot be read, with its path and what it is for.
    pub fn new(config: &Config) -> anyhow::Result<Carriers> {
        let resolver = Resolver::new(abilities(config), NameServers::System);
        let carrier = |(index, trunk): (usize, &Trunk)| {
            let credentials = match (&trunk.username, trunk.password()?) {
                (Some(username), Some(password)) => vec![Credentials::new(username, password)],
                (Some(_), None) | (None, _) => Vec::new(),
            };
            let (trunk, resolver) = (trunk.clone(), resolver.clone());
            Ok(Carrier { index, trunk, credentials, resolver, ..Carrier::default() })
        };
        Ok(Carriers { all: config.trunks.iter().enumerate().map(carrier).collect::<anyhow::Result<_>>()? })
    }

    /// The trunk at that place in the configuration.
    pub(super) fn at(&self, index: usize) -> Option<&Carrier> {
        self.all.get(index)
    }

    /// What the carrier of `caller` is told to call instead of us; `None` if it is not asked.
    pub(super) fn referral(&self, caller: &CallerKind, wanted: &Outside) -> Option<SipUri> {
        // An emergency call is not left to a transfer.
        let CallerKind::Trunk(index) = caller else { return None };
        let carrier = self.at(*index).filter(|carrier| carrier.trunk.transfers_by_refer && !wanted.is_emergency)?;
        carrier.uri_of(&wanted.number)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those that take calls, in order; those that do not answer last.
    pub(super) fn outbound(&self) -> impl Iterator<Item = &Carrier> {
        let mut able: Vec<&Carrier> = self.all.iter().filter(|carrier| !carrier.trunk.hosts.is_empty()).collect();
        able.sort_by_key(|carrier| carrier.health().answers == Some(false));
        able.into_iter()
    }
}

impl Carrier {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was learnt; all that is known if that is news.
    pub(super) fn note(&self, change: impl FnOnce(&mut Health)) -> Option<Health> {
        let mut health = self.health();
        let before = *health;
        change(&mut health);
        (*health != before).then_some(*health)
    }

    /// A place for one more call; `None` when the trunk has as many as it may.
    pub(super) fn enter(&self) -> Option<Place> {
        self.places.enter(self.trunk.concurrent_limit.unwrap_or(u32::MAX))
    }

    /// A call to `number` for `extension` at the trunk's `destinations`; `None` if there are none.
    pub(super) fn callee(
        &self,
        destinations: &[Destination],
        number: &str,
        extension: Option<&Extension>,
    ) -> Option<Callee> {
        let (destination, alternatives) = destinations.split_first()?;
        let domain = host_port(self.trunk.domain())?;
        // The carrier's own name as host: it knows its numbers by that.
        let shown = extension.and_then(|extension| extension.caller_id.as_deref()).or(self.trunk.caller_id());
        let user = shown.or(self.trunk.username.as_deref()).unwrap_or("anonymous");
        Some(Callee {
            target: self.uri_of(number)?,
            from: NameAddr::new(SipUri::new(HostPort { port: None, ..domain }).with_user(user)),
            destination: *destination,
            alternatives: alternatives.to_vec(),
            route: Vec::new(),
            credentials: self.credentials.clone(),
            headers: Vec::new(),
            // Secure trunking is all or nothing.
            srtp: if self.trunk.secure { SrtpUse::Required } else { SrtpUse::Never },
            prefers_srtp: false,
            // The telephone network has nothing better, and some carriers stumble over longer lists.
            is_wideband: false,
        })
    }

    /// `number` as the carrier knows it.
    pub(super) fn uri_of(&self, number: &str) -> Option<SipUri> {
        Some(SipUri::new(host_port(self.trunk.domain())?).with_user(number))
    }

    /// Every address of every host. For TLS the certificate there has to be the host's, not the address's.
    pub(super) async fn destinations(&self, sip: &SipHandle) -> Vec<Destination> {
        let wanted = self.trunk.transport.map(Transport::from);
        let mut all: Vec<Destination> = Vec::new();
        for (text, host) in self.trunk.hosts.iter().filter_map(|text| Some((text, host_port(text)?))) {
            match self.resolver.resolve(&host, wanted).await {
                Ok(found) => {
                    if let Host::Name(name) = &host.host {
                        sip.name(name, found.iter().map(|destination| destination.peer));
                    }
                    all.extend(found);
                }
                Err(error) => warn!(%error, trunk = self.trunk.name, host = text, "Host of a trunk not found"),
            }
        }
        all.truncate(DESTINATION_LIMIT);
        all
    }
}

impl Place {
    /// The call is up: its time counts from now on.
    pub(super) fn run(&mut self, minutes: &Minutes) {
        self.running = Some(minutes.run(Instant::now()));
    }
}

/// What this configuration lets us send by: by TLS only where there are certificates, and from one socket.
fn abilities(config: &Config) -> SipAbilities {
    let mut transports = vec![Transport::Udp, Transport::Tcp];
    if config.sip.tls.enabled {
        transports.push(Transport::Tls);
    }
    let v6 = config.sip.address.is_ipv6();
    // Only a socket that is open to everybody carries both.
    SipAbilities { transports, v4: !v6 || config.sip.address.is_unspecified(), v6 }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn host_port(text: &str) -> Option<HostPort> {
    Uri::parse(format!("sip:{text}").as_bytes()).ok()?.as_sip().map(SipUri::host_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrunkTransport;

    fn carriers() -> Carriers {
        let trunk = Trunk {
            name: "carrier".into(),
            hosts: vec!["192.0.2.1".into(), "[2001:db8::1]:5070".into()],
            domain: Some("office.pstn.example.com".into()),
            numbers: vec!["+12125550142".into()],
            concurrent_limit: Some(2),
            transport: Some(TrunkTransport::Tls),
            ..Trunk::default()
        };
        let silent =
            Trunk { name: "only-brings".into(), sources: vec!["192.0.2.0/24".parse().unwrap()], ..Trunk::default() };
        Carriers::new(&Config { trunks: vec![silent, trunk], ..Config::default() }).unwrap()
    }

    #[test]
    fn only_what_the_socket_can_send_to_is_looked_for() {
        let of = |address: &str, tls| {
            let mut config = Config::default();
            (config.sip.address, config.sip.tls.enabled) = (address.parse().unwrap(), tls);
            let SipAbilities { transports, v4, v6 } = abilities(&config);
            (transports.contains(&Transport::Tls), v4, v6)
        };
        assert_eq!(of("0.0.0.0", true), (true, true, false));
        assert_eq!(of("::", false), (false, true, true));
        assert_eq!(of("2001:db8::1", false), (false, false, true));
    }

    #[test]
    fn a_number_is_called_at_every_address_under_the_office_number() {
        let carriers = carriers();
        let carrier = carriers.outbound().next().unwrap();
        let at = |peer: &str| Destination { transport: Transport::Tls, peer: peer.parse().unwrap() };
        let destinations = [at("192.0.2.1:5061"), at("[2001:db8::1]:5070")];
        let callee = carrier.callee(&destinations, "+13105550199", None).unwrap();
        assert_eq!(callee.target.to_string(), "sip:+13105550199@office.pstn.example.com");
        assert_eq!(callee.from.to_string(), "<sip:+12125550142@office.pstn.example.com>");
        assert_eq!((callee.destination, callee.alternatives.as_slice()), (destinations[0], &destinations[1..]));
        let extension = Extension { caller_id: Some("+12125550143".into()), ..Extension::default() };
        let callee = carrier.callee(&destinations, "+13105550199", Some(&extension)).unwrap();
        assert_eq!(callee.from.to_string(), "<sip:+12125550143@office.pstn.example.com>");
        assert!(carrier.callee(&[], "+13105550199", None).is_none());
    }

    #[test]
    fn a_trunk_that_does_not_answer_is_dialled_last() {
        let trunk = |name: &str| Trunk { name: name.into(), hosts: vec!["192.0.2.1".into()], ..Trunk::default() };
        let config = Config { trunks: vec![trunk("first"), trunk("second")], ..Config::default() };
        let carriers = Carriers::new(&config).unwrap();
        let names = || carriers.outbound().map(|carrier| carrier.trunk.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names(), ["first", "second"]);
        let answers = |is_up| carriers.at(0).unwrap().note(|health| health.answers = Some(is_up));
        assert_eq!(answers(true), Some(Health { answers: Some(true), registered: None }));
        assert_eq!(names(), ["first", "second"]);
        assert!(answers(false).is_some() && answers(false).is_none());
        assert_eq!(names(), ["second", "first"]);
    }

    #[test]
    fn a_trunk_takes_as_many_calls_as_it_may() {
        let carriers = carriers();
        let carrier = carriers.outbound().next().unwrap();
        let places = [carrier.enter().unwrap(), carrier.enter().unwrap()];
        assert!(carrier.enter().is_none());
        drop(places);
        assert!(carrier.enter().is_some());
    }
}
