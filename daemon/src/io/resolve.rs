//! From the host of a trunk to the addresses that its calls are sent to: RFC 3263 §4, by hickory-resolver.
//!
//! ```text
//! host            no port, no transport ─► NAPTR ─► SRV of each service that we speak, in order ─► A, AAAA
//! host            no port               ─► SRV of that transport, where there are any           ─► A, AAAA
//! host:port, or nothing found above     ─► A, AAAA
//! ```
//! `select` decides what is asked for and orders what was found; `cache` keeps it. Answers are kept as long as they say.
//! Without name servers what was last known is used, and the log says so: an office's line to the internet often loses its
//! DNS first. An answer that there is nothing is believed. Which addresses did not answer lately is remembered by
//! [`sip_stack`], which tries them last.
//!
//! Left out on purpose: DNSSEC, encrypted DNS and the other sources of `nsswitch.conf`. `/etc/hosts` is read.

mod cache;
mod select;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use sip_stack::endpoint::{Destination, Transport};
use sip_stack::message::HostPort;
use tracing::{debug, info, warn};

use self::cache::{Cache, Key};
use self::select::{Naptr, Service, Step, Target, first_step, in_order, is_root, services_of, usual_services};

/// A name server that does not answer is asked twice, each time for so long.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
const ASK_ATTEMPTS: usize = 2;
/// Three questions one after the other, each to servers that do not answer.
const LOOKUP_LIMIT: Duration = Duration::from_secs(8);
/// A call waits no longer for an answer if there is an older one (RFC 8767 §5).
const PATIENCE: Duration = Duration::from_millis(1_800);
/// Servers of one service that are looked at, the preferred ones.
const SERVER_LIMIT: usize = 8;

/// Finds SIP servers; cheap to clone, and all clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    abilities: SipAbilities,
    name_servers: NameServers,
    cache: Mutex<Cache>,
}

/// What we can send by.
#[derive(Debug, Clone)]
pub struct SipAbilities {
    /// Transports that a carrier's records may choose.
    pub transports: Vec<Transport>,
    /// Whether addresses of IPv4 can be reached.
    pub v4: bool,
    /// And of IPv6, which are then tried first.
    pub v6: bool,
}

impl Default for SipAbilities {
    fn default() -> SipAbilities {
        SipAbilities { transports: vec![Transport::Udp, Transport::Tcp], v4: true, v6: false }
    }
}

/// Who is asked.
#[derive(Debug, Clone, Default)]
pub enum NameServers {
    /// Whoever `/etc/resolv.conf` names at that time.
    #[default]
    System,
    /// These.
    These(Vec<SocketAddr>),
}

/// Why no address is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The name servers say that there is none that we could send to.
    #[error("the name servers know no address of it that this box can send to")]
    Nothing,
    /// They do not answer, and nothing is known from before.
    #[error("no name server answers: {0}")]
    NoAnswer(String),
}

impl Resolver {
    /// Knows nothing yet.
    pub fn new(abilities: SipAbilities, name_servers: NameServers) -> Resolver {
        Resolver(Arc::new(Inner { abilities, name_servers, cache: Mutex::default() }))
    }

    /// Where requests to `host` go, in the order to be tried. `wanted`: the only transport that may be used.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub async fn resolve(&self, host: &HostPort, wanted: Option<Transport>) -> Result<Vec<Destination>, Unresolved> {
        let step = first_step(host, wanted);
        if let Step::Known(destination) = step {
            return Ok(vec![destination]);
        }
        let key = (host.to_string(), wanted);
        let fresh = self.cache().fresh(&key, Instant::now());
        let targets = match fresh {
            Some(targets) => targets,
            None => self.ask(key, step).await?,
        };
        Ok(in_order(&targets, |most| rand::random_range(0..=most)))
    }

    /// Never held while waiting.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer while that makes sense; it is kept even if it comes later.
    async fn ask(&self, key: Key, step: Step) -> Result<Vec<Target>, Unresolved> {
        let known = self.cache().last(&key);
        let asking = tokio::spawn({
            let (resolver, key) = (self.clone(), key.clone());
            async move { resolver.look_up(key, step).await }
        });
        let patience = if known.is_some() { PATIENCE } else { LOOKUP_LIMIT };
        match (tokio::time::timeout(patience, asking).await, known) {
            (Ok(Ok(answer)), _) => answer,
            (_, Some(known)) => {
                self.note_silence(&key);
                Ok(known)
            }
            (_, None) => Err(Unresolved::NoAnswer("too late".into())),
        }
    }

    async fn look_up(&self, key: Key, step: Step) -> Result<Vec<Target>, Unresolved> {
        let walk = async {
            let mut walk = Walk::new(&self.0)?;
            let targets = walk.walk(step).await;
            Ok((targets, walk.valid_until, walk.failure))
        };
        let walked = tokio::time::timeout(LOOKUP_LIMIT, walk).await.unwrap_or(Err(NetError::Timeout));
        let (targets, valid_until, failure) = walked.unwrap_or_else(|error| (Vec::new(), None, Some(error)));
        match failure {
            None if targets.is_empty() => {
                self.cache().forget(&key);
                Err(Unresolved::Nothing)
            }
            // Half of an answer is better than none, and worse than a whole one from before.
            Some(error) if targets.is_empty() || self.cache().last(&key).is_some() => {
                self.note_silence(&key);
                self.cache().last(&key).ok_or_else(|| Unresolved::NoAnswer(error.to_string()))
            }
            None | Some(_) => {
                let now = Instant::now();
                let ttl = valid_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
                if self.cache().store(key.clone(), targets.clone(), ttl, now) {
                    info!(host = key.0, "Name servers answer again");
                }
                Ok(targets)
            }
        }
    }

    fn note_silence(&self, key: &Key) {
        if self.cache().keep(key, Instant::now()) {
            warn!(host = key.0, "Name servers do not answer; the last known addresses are used");
        }
    }
}

/// One look-up, question by question.
struct Walk<'a> {
    inner: &'a Inner,
    resolver: TokioResolver,
    /// What was answered holds so long.
    valid_until: Option<Instant>,
    /// The last question that was not answered.
    failure: Option<NetError>,
}

impl<'a> Walk<'a> {
    fn new(inner: &'a Inner) -> Result<Walk<'a>, NetError> {
        Ok(Walk { inner, resolver: resolver(&inner.name_servers)?, valid_until: None, failure: None })
    }

    async fn walk(&mut self, step: Step) -> Vec<Target> {
        let (name, services) = match step {
            Step::Known(Destination { transport, peer }) => {
                return vec![Target { transport, service: 0, priority: 0, weight: 0, addresses: vec![peer] }];
            }
            Step::Addresses(service, port) => return self.addresses_of(&service, Some(port)).await,
            Step::Services(name, services) => (name, services),
            Step::Naptr(name) => {
                let services = self.naptr(&name).await;
                let usual = || usual_services(&name, &self.inner.abilities.transports);
                let services = if services.is_empty() { usual() } else { services };
                (name, services)
            }
        };
        let targets = self.servers(&services).await;
        match (targets, services.first()) {
            (Some(targets), _) => targets,
            // No SRV records: the host itself, by its first service's transport (RFC 3263 §4.2).
            (None, Some(Service { transport, .. })) => {
                self.addresses_of(&Service { transport: *transport, name }, None).await
            }
            (None, None) => Vec::new(),
        }
    }

    async fn naptr(&mut self, name: &str) -> Vec<Service> {
        let answers = self.query(vec![(absolute(name), RecordType::NAPTR)]).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let records = answers.iter().flatten().filter_map(|data| {
            let RData::NAPTR(naptr) = data else { return None };
            Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                service: text(&naptr.services),
                replacement: naptr.replacement.to_string(),
            })
        });
        services_of(records.collect(), &self.inner.abilities.transports)
    }

    /// The servers of these services; `None` where none of them has SRV records.
    async fn servers(&mut self, services: &[Service]) -> Option<Vec<Target>> {
        let questions = services.iter().map(|one| (absolute(&one.name), RecordType::SRV)).collect();
        let answers = self.query(questions).await;
        let mut servers = Vec::new();
        for (service, (Service { transport, .. }, records)) in services.iter().zip(&answers).enumerate() {
            let mut of_service: Vec<_> = records
                .iter()
                .filter_map(|data| if let RData::SRV(srv) = data { Some((service, *transport, srv)) } else { None })
                .collect();
            of_service.sort_by_key(|(_, _, srv)| (srv.priority, std::cmp::Reverse(srv.weight)));
            of_service.truncate(SERVER_LIMIT);
            servers.extend(of_service);
        }
        if servers.is_empty() {
            return None;
        }
        let mut targets = Vec::new();
        servers.retain(|(_, _, srv)| !is_root(&srv.target.to_string()));
        let names: Vec<String> = servers.iter().map(|(_, _, srv)| srv.target.to_string()).collect();
        let found = self.addresses(&names).await;
        for ((service, transport, srv), addresses) in servers.into_iter().zip(found) {
            let addresses = addresses.into_iter().map(|address| (address, srv.port).into()).collect();
            targets.push(Target { transport, service, priority: srv.priority, weight: srv.weight, addresses });
        }
        targets.retain(|target| !target.addresses.is_empty());
        Some(targets)
    }

    async fn addresses_of(&mut self, service: &Service, port: Option<u16>) -> Vec<Target> {
        let transport = service.transport;
        let found = self.addresses(std::slice::from_ref(&service.name)).await.into_iter().flatten();
        let port = select::port_or_usual(port, transport);
        let addresses: Vec<SocketAddr> = found.map(|address| (address, port).into()).collect();
        let target = Target { transport, service: 0, priority: 0, weight: 0, addresses };
        if target.addresses.is_empty() { Vec::new() } else { vec![target] }
    }

    /// The addresses of each name.
    async fn addresses(&mut self, names: &[String]) -> Vec<Vec<IpAddr>> {
        let SipAbilities { v4, v6, .. } = self.inner.abilities;
        let kinds: Vec<_> =
            [(v6, RecordType::AAAA), (v4, RecordType::A)].into_iter().filter(|(able, _)| *able).collect();
        let questions = names.iter().flat_map(|name| kinds.iter().map(|(_, kind)| (absolute(name), *kind))).collect();
        let answers = self.query(questions).await;
        let address = |data: &RData| {
            if let RData::A(address) = data {
                return Some(IpAddr::from(address.0));
            }
            if let RData::AAAA(address) = data { Some(IpAddr::from(address.0)) } else { None }
        };
        let of_name = |answers: &[Vec<RData>]| answers.iter().flatten().filter_map(address).collect();
        answers.chunks(kinds.len().max(1)).map(of_name).collect()
    }

    /// All at once; an answer for each, in the same order, empty where there is nothing.
    async fn query(&mut self, questions: Vec<(String, RecordType)>) -> Vec<Vec<RData>> {
        let ask = |(name, kind): (String, RecordType)| {
            let resolver = self.resolver.clone();
            tokio::spawn(async move { resolver.lookup(name, kind).await })
        };
        let asked: Vec<_> = questions.into_iter().map(ask).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for task in asked {
            let answer = task.await.unwrap_or(Err(NetError::Message("its task has ended")));
            answers.push(self.note(answer));
        }
        answers
    }

    fn note(&mut self, answer: Result<Lookup, NetError>) -> Vec<RData> {
        match answer {
            Ok(lookup) => {
                let until = lookup.valid_until();
                self.valid_until = Some(self.valid_until.map_or(until, |other| other.min(until)));
                lookup.answers().iter().map(|record| record.data.clone()).collect()
            }
            Err(error) if error.is_no_records_found() => Vec::new(),
            Err(error) => {
                debug!(%error, "Name server did not answer");
                self.failure = Some(error);
                Vec::new()
            }
        }
    }
}

/// Made anew for each look-up: it then follows `/etc/resolv.conf`, and what is to be kept is kept here.
fn resolver(name_servers: &NameServers) -> Result<TokioResolver, NetError> {
    let mut builder = match name_servers {
        NameServers::System => TokioResolver::builder_tokio()?,
        NameServers::These(addresses) => {
            let servers = addresses.iter().map(|address| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let at_port = connections.map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
                NameServerConfig::new(address.ip(), true, at_port.into())
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.timeout = ASK_TIMEOUT;
    options.attempts = ASK_ATTEMPTS;
    builder.build()
}

/// Names with a dot are whole; one of the office's own network may lack its domain.
fn absolute(name: &str) -> String {
    if name.contains('.') && !name.ends_with('.') { format!("{name}.") } else { name.to_owned() }
}
