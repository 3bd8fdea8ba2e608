//! What is asked for to find a SIP server, and the order of what was found: RFC 3263 §4.1 and §4.2, RFC 2782. Pure.

use std::net::{IpAddr, SocketAddr};

use sip_stack::endpoint::{Destination, Transport};
use sip_stack::message::{Host, HostPort};

/// The order of services where the host's NAPTR records give none. Datagrams first, as everywhere in SIP.
const PREFERENCE: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// The first question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// None: it is an address.
    Known(Destination),
    /// The addresses of this name, because its port is given.
    Addresses(Service, u16),
    /// The SRV records of these services of a name, because the transport is given.
    Services(String, Vec<Service>),
    /// The NAPTR records of this name, because neither is.
    Naptr(String),
}

/// A transport of a host, and the name of its SRV records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) transport: Transport,
    pub(super) name: String,
}

/// A NAPTR record, as far as SIP reads it (RFC 3403 §4.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Naptr {
    pub(super) order: u16,
    pub(super) preference: u16,
    pub(super) flags: String,
    pub(super) service: String,
    pub(super) replacement: String,
}

/// The addresses of one server, and its place among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) transport: Transport,
    /// Which service it belongs to; the lowest first.
    pub(super) service: usize,
    /// The lowest first.
    pub(super) priority: u16,
    /// Its share among those of the same priority.
    pub(super) weight: u16,
    pub(super) addresses: Vec<SocketAddr>,
}

/// Where to begin. `wanted` is the transport that the configuration insists on.
pub(super) fn first_step(host: &HostPort, wanted: Option<Transport>) -> Step {
    let transport = wanted.unwrap_or(Transport::Udp);
    let port = port_or_usual(host.port, transport);
    let known = |address: IpAddr| Destination { transport, peer: (address, port).into() };
    match (&host.host, host.port, wanted) {
        (Host::V4(address), _, _) => Step::Known(known((*address).into())),
        (Host::V6(address), _, _) => Step::Known(known((*address).into())),
        (Host::Name(name), Some(port), _) => Step::Addresses(Service { transport, name: name.to_string() }, port),
        (Host::Name(name), None, Some(transport)) => Step::Services(name.to_string(), vec![service(name, transport)]),
        (Host::Name(name), None, None) => Step::Naptr(name.to_string()),
    }
}

/// The services that NAPTR records name, in their order, without those we cannot reach (RFC 3263 §4.1).
pub(super) fn services_of(mut records: Vec<Naptr>, able: &[Transport]) -> Vec<Service> {
    records.sort_by_key(|record| (record.order, record.preference));
    let service = |record: &Naptr| {
        let transport = transport_of(&record.service).filter(|transport| able.contains(transport))?;
        // "s": the replacement has SRV records. Nothing else is defined for SIP.
        let is_srv = record.flags.eq_ignore_ascii_case("s") && !is_root(&record.replacement);
        is_srv.then(|| Service { transport, name: record.replacement.clone() })
    };
    records.iter().filter_map(service).collect()
}

/// The services to ask for where there are no NAPTR records.
pub(super) fn usual_services(name: &str, able: &[Transport]) -> Vec<Service> {
    PREFERENCE
        .into_iter()
        .filter(|transport| able.contains(transport))
        .map(|transport| service(name, transport))
        .collect()
}

/// Every address, in the order to be tried: by service, by priority, by chance according to weight (RFC 2782), then as
/// the name server gave them. `random` gives a number from 0 to its argument, that one included.
pub(super) fn in_order(targets: &[Target], mut random: impl FnMut(u32) -> u32) -> Vec<Destination> {
    let mut left: Vec<&Target> = targets.iter().collect();
    // Those of no weight first, so that they have a small chance against the others.
    left.sort_by_key(|target| (target.service, target.priority, target.weight > 0));
    let mut all = Vec::new();
    while let Some(first) = left.first() {
        let rank = (first.service, first.priority);
        let alike = left.iter().take_while(|target| (target.service, target.priority) == rank).count();
        let sum = left[..alike].iter().map(|target| u32::from(target.weight)).sum();
        let chosen = pick(&left[..alike], random(sum));
        let target = left.remove(chosen);
        for peer in &target.addresses {
            let destination = Destination { transport: target.transport, peer: *peer };
            if !all.contains(&destination) {
                all.push(destination);
            }
        }
    }
    all
}

/// The first whose weight, with that of those before it, reaches `drawn`.
fn pick(alike: &[&Target], drawn: u32) -> usize {
    let mut sum = 0;
    let reaches = |target: &&Target| {
        sum += u32::from(target.weight);
        sum >= drawn
    };
    alike.iter().position(reaches).unwrap_or(0)
}

/// Whether a name in a record says that there is nothing (RFC 2782: "not available at this domain").
pub(super) fn is_root(name: &str) -> bool {
    matches!(name, "" | ".")
}

pub(super) fn port_or_usual(port: Option<u16>, transport: Transport) -> u16 {
    port.unwrap_or(transport.default_port())
}

fn service(name: &str, transport: Transport) -> Service {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    };
    Service { transport, name: format!("{prefix}.{name}") }
}

/// RFC 3263 §4.1, RFC 3403 §4.1: compared without regard to case.
fn transport_of(service: &str) -> Option<Transport> {
    let named = [("SIP+D2U", Transport::Udp), ("SIP+D2T", Transport::Tcp), ("SIPS+D2T", Transport::Tls)];
    named.into_iter().find(|(name, _)| service.eq_ignore_ascii_case(name)).map(|(_, transport)| transport)
}

#[cfg(test)]
mod tests {
    use sip_stack::message::{SipUri, Uri};

    use super::*;
    use Transport::{Tcp, Tls, Udp};

    fn host(text: &str) -> HostPort {
        Uri::parse(format!("sip:{text}").as_bytes()).unwrap().as_sip().map(SipUri::host_port).unwrap()
    }

    fn at(transport: Transport, peer: &str) -> Destination {
        Destination { transport, peer: peer.parse().unwrap() }
    }

    fn names(services: &[Service]) -> Vec<(Transport, &str)> {
        services.iter().map(|service| (service.transport, service.name.as_str())).collect()
    }

    /// RFC 3263 §4.1 and §4.2: what is asked for follows from what is given.
    #[test]
    fn the_first_question_is_what_the_configuration_leaves_open() {
        let named = |transport, name: &str| Service { transport, name: name.into() };
        let srv = |service| Step::Services("example.com".into(), vec![service]);
        for (given, wanted, expected) in [
            ("192.0.2.1", None, Step::Known(at(Udp, "192.0.2.1:5060"))),
            ("192.0.2.1", Some(Tls), Step::Known(at(Tls, "192.0.2.1:5061"))),
            ("[2001:db8::1]:5070", Some(Tcp), Step::Known(at(Tcp, "[2001:db8::1]:5070"))),
            ("sip.example.com:5070", None, Step::Addresses(named(Udp, "sip.example.com"), 5070)),
            ("sip.example.com:5070", Some(Tls), Step::Addresses(named(Tls, "sip.example.com"), 5070)),
            ("example.com", Some(Udp), srv(named(Udp, "_sip._udp.example.com"))),
            ("example.com", Some(Tcp), srv(named(Tcp, "_sip._tcp.example.com"))),
            ("example.com", Some(Tls), srv(named(Tls, "_sips._tcp.example.com"))),
            ("example.com", None, Step::Naptr("example.com".into())),
        ] {
            assert_eq!(first_step(&host(given), wanted), expected, "{given} {wanted:?}");
        }
    }

    #[test]
    fn naptr_records_are_followed_in_order_as_far_as_we_can() {
        let record = |order, preference, flags: &str, service: &str, replacement: &str| Naptr {
            order,
            preference,
            flags: flags.into(),
            service: service.into(),
            replacement: replacement.into(),
        };
        // The example of RFC 3263 §4.1, in disorder, and what does not concern us.
        let records = vec![
            record(100, 50, "s", "SIP+D2U", "_sip._udp.example.com."),
            record(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com."),
            record(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com."),
            record(90, 10, "S", "sip+d2u", "_sip._udp.other.example.com."),
            record(10, 10, "s", "SIP+D2S", "_sip._sctp.example.com."),
            record(10, 10, "u", "E2U+sip", "example.com."),
            record(10, 10, "a", "SIP+D2U", "example.com."),
            record(10, 10, "s", "SIP+D2U", "."),
        ];
        let of = |able: &[Transport]| services_of(records.clone(), able);
        assert_eq!(
            names(&of(&PREFERENCE)),
            [
                (Tls, "_sips._tcp.example.com."),
                (Udp, "_sip._udp.other.example.com."),
                (Tcp, "_sip._tcp.example.com."),
                (Udp, "_sip._udp.example.com."),
            ]
        );
        assert_eq!(names(&of(&[Tcp])), [(Tcp, "_sip._tcp.example.com.")]);
        assert_eq!(services_of(Vec::new(), &PREFERENCE), []);
        assert_eq!(
            names(&usual_services("example.com", &[Tls, Udp])),
            [(Udp, "_sip._udp.example.com"), (Tls, "_sips._tcp.example.com")]
        );
    }

    fn target(service: usize, priority: u16, weight: u16, host: u8) -> Target {
        let addresses = vec![([192, 0, 2, host], 5060).into()];
        Target { transport: Udp, service, priority, weight, addresses }
    }

    fn hosts(targets: &[Target], random: impl FnMut(u32) -> u32) -> Vec<u8> {
        let last = |destination: Destination| match destination.peer.ip() {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(_) => panic!("no such target"),
        };
        in_order(targets, random).into_iter().map(last).collect()
    }

    /// RFC 2782: of weights 0, 1 and 3 the drawn number chooses, and each address is tried once.
    #[test]
    fn priority_goes_before_weight_and_weight_is_a_share() {
        let targets = [
            target(1, 0, 9, 50),
            target(0, 20, 1, 40),
            target(0, 10, 1, 11),
            target(0, 10, 0, 10),
            target(0, 10, 3, 13),
        ];
        for (drawn, first) in [(0, 10), (1, 11), (2, 13), (3, 13), (4, 13)] {
            assert_eq!(hosts(&targets, |sum| drawn.min(sum))[0], first, "{drawn}");
        }
        assert_eq!(hosts(&targets, |_| 0), [10, 11, 13, 40, 50]);
        assert_eq!(hosts(&targets, |sum| sum), [13, 11, 10, 40, 50]);
        let mut drawn_from = Vec::new();
        hosts(&targets, |sum| {
            drawn_from.push(sum);
            sum
        });
        assert_eq!(drawn_from[0], 4, "the sum of the first priority's weights");
    }

    #[test]
    fn shares_are_kept_over_many_calls() {
        let targets = [target(0, 0, 1, 1), target(0, 0, 3, 3)];
        let mut firsts = [0; 4];
        for counter in 1..=400 {
            // Every number of 1 to 4 as often as the others.
            let chosen = hosts(&targets, |sum| if sum == 4 { counter % 4 + 1 } else { sum })[0];
            firsts[usize::from(chosen)] += 1;
        }
        assert_eq!(firsts, [0, 100, 0, 300]);
    }

    #[test]
    fn an_address_named_twice_is_tried_once() {
        assert_eq!(hosts(&[target(0, 0, 0, 1), target(0, 1, 0, 1), target(1, 0, 0, 2)], |_| 0), [1, 2]);
    }
}
