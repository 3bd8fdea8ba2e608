//! The registrar (RFC 3261 §10.3): which phones an extension has, and where each of them is.
//!
//! Pure: a REGISTER, its source and `now` in; an answer and the changed bindings out. Who a phone is decides
//! [`sip_stack::digest::Authority`], with secrets that [`secrets`] keeps.
//!
//! A binding holds where the REGISTER came from: behind NAT, and over connections, a phone is reached only by the way it
//! came (RFC 3581, RFC 5626). The Contact is the Request-URI of what is sent there.
//!
//! Left out on purpose: third-party registration. A phone registers the extension it has the password of.

pub mod pins;
pub mod provisioning;
pub mod secrets;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sip_stack::endpoint::{Answer, Destination, Source};
use sip_stack::message::header::Contact;
use sip_stack::message::{HeaderName, NameAddr, Request, SipUri, StatusCode, Uri};

/// Phones of one extension. A seventh would be a mistake, or somebody else.
pub const BINDINGS_PER_EXTENSION: usize = 6;
/// How long a registration holds that does not say.
const DEFAULT_EXPIRES: u32 = 600;
/// Shorter ones are a load without a use.
const MIN_EXPIRES: u32 = 60;
/// Longer ones are cut: a phone that died is called in vain until then.
const MAX_EXPIRES: u32 = 3_600;
/// A Contact or Path beyond this is no phone's.
const URI_LIMIT: usize = 512;

/// One phone of an extension.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// What it wants to be called by: the Request-URI for it.
    pub contact: SipUri,
    /// Where its REGISTER came from, which is where it is.
    pub destination: Destination,
    /// Proxies on the way to it (RFC 3327).
    pub path: Vec<NameAddr>,
    /// Call-ID and CSeq of the REGISTER: older ones change nothing.
    pub call_id: String,
    /// See there.
    pub cseq: u32,
    /// When it ends unless it is refreshed.
    pub expires_at: Instant,
    /// What it calls itself.
    pub user_agent: String,
}

/// All bindings.
#[derive(Debug, Default)]
pub struct Registrar {
    bindings: BTreeMap<String, Vec<Binding>>,
}

/// What a REGISTER came to.
#[derive(Debug)]
pub struct Outcome {
    /// To be sent.
    pub answer: Answer,
    /// Whether the bindings are others now.
    pub has_changed: bool,
}

impl Registrar {
    /// The bindings a restart has found again.
    pub fn restore(&mut self, extension: &str, binding: Binding) {
        self.bindings.entry(extension.to_owned()).or_default().push(binding);
    }

    /// The live phones of an extension, those that came last first.
    pub fn bindings(&self, extension: &str, now: Instant) -> Vec<Binding> {
        let all = self.bindings.get(extension).map(Vec::as_slice).unwrap_or_default();
        let mut live: Vec<Binding> = all.iter().filter(|binding| binding.expires_at > now).cloned().collect();
        live.sort_by_key(|binding| std::cmp::Reverse(binding.expires_at));
        live
    }

    /// How many phones are registered.
    pub fn len(&self, now: Instant) -> usize {
        self.bindings.values().flatten().filter(|binding| binding.expires_at > now).count()
    }

    /// Whether none is.
    pub fn is_empty(&self, now: Instant) -> bool {
        self.len(now) == 0
    }

    /// Forgets what has expired; the extensions that lost a phone.
    pub fn expire(&mut self, now: Instant) -> Vec<String> {
        let mut poorer = Vec::new();
        for (extension, bindings) in &mut self.bindings {
            let before = bindings.len();
            bindings.retain(|binding| binding.expires_at > now);
            if bindings.len() < before {
                poorer.push(extension.clone());
            }
        }
        self.bindings.retain(|_, bindings| !bindings.is_empty());
        poorer
    }

    /// A REGISTER of `extension`, whose sender has proved to be that.
    pub fn register(&mut self, extension: &str, request: &Request, source: Source, now: Instant) -> Outcome {
        match self.change(extension, request, source, now) {
            Ok(has_changed) => Outcome { answer: self.accepted(extension, request, now), has_changed },
            Err(refusal) => Outcome { answer: refusal, has_changed: false },
        }
    }

    fn change(&mut self, extension: &str, request: &Request, source: Source, now: Instant) -> Result<bool, Answer> {
        let wanted = Wanted::read(request)?;
        let kept = self.bindings.entry(extension.to_owned()).or_default();
        kept.retain(|binding| binding.expires_at > now);
        let is_old = |binding: &Binding| binding.call_id == wanted.call_id && binding.cseq >= wanted.cseq;
        if wanted.removes_all {
            if kept.iter().any(is_old) {
                return Err(Answer::new(StatusCode::SERVER_INTERNAL_ERROR));
            }
            let had_some = !kept.is_empty();
            kept.clear();
            return Ok(had_some);
        }
        // All or nothing (RFC 3261 §10.3, step 7): the copy takes the place of what was there when all went well.
        let mut next = kept.clone();
        for (contact, expires) in &wanted.contacts {
            let known = next.iter().position(|binding| binding.contact == *contact);
            if known.is_some_and(|index| is_old(&next[index])) {
                return Err(Answer::new(StatusCode::SERVER_INTERNAL_ERROR));
            }
            if let Some(index) = known {
                next.remove(index);
            }
            if *expires > 0 {
                next.push(Binding {
                    contact: contact.clone(),
                    destination: Destination { transport: source.transport, peer: source.peer },
                    path: wanted.path.clone(),
                    call_id: wanted.call_id.clone(),
                    cseq: wanted.cseq,
                    expires_at: now + Duration::from_secs((*expires).into()),
                    user_agent: wanted.user_agent.clone(),
                });
            }
        }
        if next.len() > BINDINGS_PER_EXTENSION {
            // The oldest gives way: a phone that gets a new address with each restart must not lock itself out.
            next.drain(..next.len() - BINDINGS_PER_EXTENSION);
        }
        *kept = next;
        Ok(!wanted.contacts.is_empty())
    }

    /// 200 with every binding and the seconds it still has.
    fn accepted(&self, extension: &str, request: &Request, now: Instant) -> Answer {
        let mut answer = Answer::new(StatusCode::OK);
        for binding in self.bindings(extension, now) {
            // Rounded, or a registration for 60 s would be told 59.
            let seconds = (binding.expires_at - now).as_secs_f64().round();
            let value = format!("<{}>;expires={seconds}", binding.contact);
            answer = answer.with_header(HeaderName::CONTACT, value);
        }
        for path in request.headers.path().unwrap_or_default() {
            answer = answer.with_header(HeaderName::PATH, path);
        }
        answer
    }
}

/// What a REGISTER asks for.
struct Wanted {
    contacts: Vec<(SipUri, u32)>,
    removes_all: bool,
    path: Vec<NameAddr>,
    call_id: String,
    cseq: u32,
    user_agent: String,
}

impl Wanted {
    fn read(request: &Request) -> Result<Wanted, Answer> {
        let bad = |_| Answer::new(StatusCode::BAD_REQUEST);
        let headers = &request.headers;
        let contacts = headers.contacts().map_err(bad)?;
        let expires = headers.expires().map_err(bad)?;
        let removes_all = contacts.contains(&Contact::All);
        if removes_all && (contacts.len() > 1 || expires != Some(0)) {
            return Err(Answer::new(StatusCode::BAD_REQUEST));
        }
        let path = headers.path().map_err(bad)?;
        if path.iter().any(|hop| hop.to_string().len() > URI_LIMIT) {
            return Err(Answer::new(StatusCode::BAD_REQUEST));
        }
        let mut wanted = Vec::new();
        for address in contacts.iter().filter_map(Contact::address).take(BINDINGS_PER_EXTENSION + 1) {
            wanted.push(read_contact(address, expires)?);
        }
        Ok(Wanted {
            contacts: wanted,
            removes_all,
            path,
            call_id: headers.call_id().map_err(bad)?,
            cseq: headers.cseq().map_err(bad)?.number,
            user_agent: headers.text(&HeaderName::USER_AGENT).unwrap_or_default().chars().take(64).collect(),
        })
    }
}

/// A Contact and how many seconds it is to hold.
fn read_contact(address: &NameAddr, expires: Option<u32>) -> Result<(SipUri, u32), Answer> {
    let Uri::Sip(contact) = &address.uri else { return Err(Answer::new(StatusCode::BAD_REQUEST)) };
    if contact.to_string().len() > URI_LIMIT {
        return Err(Answer::new(StatusCode::BAD_REQUEST));
    }
    // What is no number counts as 3600 (RFC 3261 §10.3), which is our longest anyway.
    let own = address.params.value("expires").map(|value| value.parse().unwrap_or(MAX_EXPIRES));
    let seconds: u32 = own.or(expires).unwrap_or(DEFAULT_EXPIRES);
    if (1..MIN_EXPIRES).contains(&seconds) {
        let too_brief = Answer::new(StatusCode::INTERVAL_TOO_BRIEF);
        return Err(too_brief.with_header(HeaderName::MIN_EXPIRES, MIN_EXPIRES));
    }
    Ok((contact.clone(), seconds.min(MAX_EXPIRES)))
}

#[cfg(test)]
mod tests {
    use sip_stack::endpoint::Transport;
    use sip_stack::message::Method;

    use super::*;

    fn source(port: u16) -> Source {
        Source {
            transport: Transport::Udp,
            local: ([192, 0, 2, 1], 5060).into(),
            peer: ([192, 0, 2, 50], port).into(),
            flow: None,
        }
    }

    fn register(call_id: &str, cseq: u32, contact: &str, expires: Option<u32>) -> Request {
        let uri = Uri::parse(b"sip:office.example.com").unwrap();
        let mut request = Request::new(Method::Register, uri);
        request.headers.push(HeaderName::CALL_ID, call_id);
        request.headers.push(HeaderName::CSEQ, format!("{cseq} REGISTER"));
        if !contact.is_empty() {
            request.headers.push(HeaderName::CONTACT, contact);
        }
        if let Some(expires) = expires {
            request.headers.push(HeaderName::EXPIRES, expires);
        }
        request
    }

    struct Bench {
        registrar: Registrar,
        now: Instant,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { registrar: Registrar::default(), now: Instant::now() }
        }

        fn send(&mut self, request: &Request) -> (u16, Vec<String>) {
            let outcome = self.registrar.register("101", request, source(5_060), self.now);
            let contacts = outcome.answer.headers.iter().filter(|(name, _)| *name == HeaderName::CONTACT);
            (outcome.answer.status.as_u16(), contacts.map(|(_, value)| value.clone()).collect())
        }
    }

    #[test]
    fn a_phone_registers_asks_refreshes_and_leaves() {
        let mut bench = Bench::new();
        let (status, contacts) = bench.send(&register("a", 1, "<sip:101@192.0.2.50>", Some(300)));
        assert_eq!((status, contacts.as_slice()), (200, ["<sip:101@192.0.2.50>;expires=300".to_owned()].as_slice()));
        bench.now += Duration::from_secs(100);
        assert_eq!(bench.send(&register("a", 2, "", None)).1, ["<sip:101@192.0.2.50>;expires=200"]);
        bench.send(&register("a", 3, "<sip:101@192.0.2.50>;expires=120", Some(300)));
        assert_eq!(bench.send(&register("a", 4, "", None)).1, ["<sip:101@192.0.2.50>;expires=120"]);
        assert_eq!(bench.send(&register("a", 5, "*", Some(0))), (200, Vec::new()));
        assert!(bench.registrar.is_empty(bench.now));
    }

    #[test]
    fn a_binding_ends_by_itself_and_is_told() {
        let mut bench = Bench::new();
        bench.send(&register("a", 1, "<sip:101@192.0.2.50>", Some(60)));
        bench.now += Duration::from_secs(59);
        assert_eq!(bench.registrar.bindings("101", bench.now).len(), 1);
        assert!(bench.registrar.expire(bench.now).is_empty());
        bench.now += Duration::from_secs(1);
        assert!(bench.registrar.bindings("101", bench.now).is_empty());
        assert_eq!(bench.registrar.expire(bench.now), ["101"]);
    }

    #[test]
    fn bad_requests_change_nothing() {
        let mut bench = Bench::new();
        bench.send(&register("a", 7, "<sip:101@192.0.2.50>", Some(300)));
        for (request, status) in [
            (register("b", 1, "*", Some(60)), 400),
            (register("b", 1, "*", None), 400),
            (register("b", 1, "*, <sip:101@192.0.2.51>", Some(0)), 400),
            (register("b", 1, "<tel:+12125550142>", Some(300)), 400),
            (register("b", 1, "<sip:101@192.0.2.51>", Some(30)), 423),
            // Older than what is known: a REGISTER that got lost on the way.
            (register("a", 7, "<sip:101@192.0.2.50>", Some(0)), 500),
            (register("a", 6, "*", Some(0)), 500),
        ] {
            assert_eq!(bench.send(&request).0, status, "{request:?}");
        }
        assert_eq!(bench.registrar.bindings("101", bench.now).len(), 1);
    }

    #[test]
    fn the_oldest_of_too_many_phones_gives_way() {
        let mut bench = Bench::new();
        for host in 1..=BINDINGS_PER_EXTENSION + 2 {
            bench.send(&register(&format!("call-{host}"), 1, &format!("<sip:101@192.0.2.{host}>"), None));
            bench.now += Duration::from_secs(1);
        }
        let hosts: Vec<String> =
            bench.registrar.bindings("101", bench.now).iter().map(|binding| binding.contact.host.to_string()).collect();
        assert_eq!(hosts, ["192.0.2.8", "192.0.2.7", "192.0.2.6", "192.0.2.5", "192.0.2.4", "192.0.2.3"]);
    }
}
