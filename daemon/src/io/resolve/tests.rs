//! The resolver against a name server written here, on loopback.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use sip_stack::message::{SipUri, Uri};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::*;

/// What the server knows: name (lower case, without the last dot) and type to record data (RFC 1035 §3.3).
type Zone = BTreeMap<(&'static str, u16), Vec<Vec<u8>>>;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// Answers from its zone with the smallest TTL that is kept, and counts what it was asked.
struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    async fn start(zone: Zone) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (zone, asked) = (Arc::new(Mutex::new(zone)), Arc::default());
        let task = tokio::spawn(serve(socket, Arc::clone(&zone), Arc::clone(&asked)));
        NameServer { address, zone, asked, task }
    }

    fn resolver(&self, abilities: SipAbilities) -> Resolver {
        Resolver::new(abilities, NameServers::These(vec![self.address]))
    }

    fn asked(&self) -> Vec<(String, u16)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>, asked: Arc<Mutex<Vec<(String, u16)>>>) {
    let mut buffer = [0; 1_500];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let query = &buffer[..length];
        let (name, end) = name_at(query, 12);
        let kind = u16::from_be_bytes([query[end], query[end + 1]]);
        asked.lock().unwrap().push((name.clone(), kind));
        let records =
            zone.lock().unwrap().iter().find(|(key, _)| **key == (name.as_str(), kind)).map(|(_, all)| all.clone());
        // The header with QR and RD/RA set, the question as it came, and a record for each answer (RFC 1035 §4.1).
        let records = records.unwrap_or_default();
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
        answer.extend(&query[12..end + 4]);
        for data in records {
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]);
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        let _ = socket.send_to(&answer, peer).await;
    }
}

fn name_at(message: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    while message[at] > 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    (labels.join("."), at + 1)
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = [priority, weight, port].into_iter().flat_map(u16::to_be_bytes).collect();
    bytes.extend(wire_name(target));
    bytes
}

fn naptr(order: u16, service: &str, replacement: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = [order, 50].into_iter().flat_map(u16::to_be_bytes).collect();
    for text in ["s", service, ""] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    }
    bytes.extend(wire_name(replacement));
    bytes
}

fn a(last: u8) -> Vec<u8> {
    Ipv4Addr::new(192, 0, 2, last).octets().to_vec()
}

fn host(text: &str) -> HostPort {
    Uri::parse(format!("sip:{text}").as_bytes()).unwrap().as_sip().map(SipUri::host_port).unwrap()
}

fn written(destinations: &[Destination]) -> Vec<String> {
    destinations.iter().map(|one| format!("{:?} {}", one.transport, one.peer)).collect()
}

/// A carrier as Twilio's edges are: NAPTR prefers TLS, then TCP, then UDP; two servers each, the second a spare.
fn carrier() -> Zone {
    Zone::from([
        (
            ("pstn.example.com", NAPTR),
            vec![
                naptr(30, "SIP+D2U", "_sip._udp.pstn.example.com"),
                naptr(10, "SIPS+D2T", "_sips._tcp.pstn.example.com"),
                naptr(20, "SIP+D2T", "_sip._tcp.pstn.example.com"),
            ],
        ),
        (
            ("_sip._udp.pstn.example.com", SRV),
            vec![srv(20, 0, 5080, "b.example.com"), srv(10, 0, 5080, "a.example.com")],
        ),
        (("_sip._tcp.pstn.example.com", SRV), vec![srv(10, 0, 5082, "a.example.com")]),
        (("_sips._tcp.pstn.example.com", SRV), vec![srv(10, 0, 5081, "a.example.com")]),
        (("a.example.com", A), vec![a(1), a(2)]),
        (("b.example.com", A), vec![a(3)]),
        (("pstn.example.com", A), vec![a(9)]),
    ])
}

#[tokio::test]
async fn naptr_leads_to_srv_leads_to_addresses() {
    let server = NameServer::start(carrier()).await;
    let resolver = server.resolver(SipAbilities::default());
    let found = resolver.resolve(&host("pstn.example.com"), None).await.unwrap();
    assert_eq!(
        written(&found),
        ["Tcp 192.0.2.1:5082", "Tcp 192.0.2.2:5082", "Udp 192.0.2.1:5080", "Udp 192.0.2.2:5080", "Udp 192.0.2.3:5080"]
    );
    let secure = SipAbilities { transports: vec![Transport::Tls], ..SipAbilities::default() };
    let found = server.resolver(secure).resolve(&host("pstn.example.com"), None).await.unwrap();
    assert_eq!(written(&found), ["Tls 192.0.2.1:5081", "Tls 192.0.2.2:5081"]);
}

/// The configuration's transport leaves out NAPTR, its port leaves out SRV as well (RFC 3263 §4.2).
#[tokio::test]
async fn what_is_configured_is_not_asked_for() {
    let server = NameServer::start(carrier()).await;
    let resolver = server.resolver(SipAbilities::default());
    let found = resolver.resolve(&host("pstn.example.com"), Some(Transport::Udp)).await.unwrap();
    assert_eq!(written(&found), ["Udp 192.0.2.1:5080", "Udp 192.0.2.2:5080", "Udp 192.0.2.3:5080"]);
    assert!(!server.asked().iter().any(|(_, kind)| *kind == NAPTR));
    let found = resolver.resolve(&host("pstn.example.com:5070"), None).await.unwrap();
    assert_eq!(written(&found), ["Udp 192.0.2.9:5070"]);
    assert_eq!(server.asked(), [("pstn.example.com".to_owned(), A)]);
}

#[tokio::test]
async fn without_services_the_host_itself_is_called() {
    let v6 = SipAbilities { v6: true, ..SipAbilities::default() };
    let zone = Zone::from([
        (("plain.example.com", A), vec![a(7)]),
        (("plain.example.com", AAAA), vec![[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7].to_vec()]),
        (("_sip._udp.closed.example.com", SRV), vec![srv(0, 0, 0, ".")]),
        (("closed.example.com", A), vec![a(8)]),
    ]);
    let server = NameServer::start(zone).await;
    let found = server.resolver(v6).resolve(&host("plain.example.com"), None).await.unwrap();
    assert_eq!(written(&found), ["Udp [2001:db8::7]:5060", "Udp 192.0.2.7:5060"]);
    let resolver = server.resolver(SipAbilities::default());
    let found = resolver.resolve(&host("plain.example.com"), Some(Transport::Tls)).await.unwrap();
    assert_eq!(written(&found), ["Tls 192.0.2.7:5061"]);
    // "The service is decidedly not available at this domain" (RFC 2782).
    let closed = resolver.resolve(&host("closed.example.com"), Some(Transport::Udp)).await;
    assert_eq!(closed, Err(Unresolved::Nothing));
    assert_eq!(resolver.resolve(&host("nobody.example.com"), None).await, Err(Unresolved::Nothing));
}

#[tokio::test]
async fn an_answer_is_kept_and_outlives_its_name_server() {
    let server = NameServer::start(carrier()).await;
    let resolver = server.resolver(SipAbilities::default());
    let asking = host("pstn.example.com:5070");
    resolver.resolve(&asking, None).await.unwrap();
    assert_eq!(server.asked().len(), 1);
    server.zone.lock().unwrap().insert(("pstn.example.com", A), vec![a(10)]);
    let kept = resolver.resolve(&asking, None).await.unwrap();
    assert_eq!((written(&kept), server.asked().len()), (vec!["Udp 192.0.2.9:5070".to_owned()], 0));

    let key = (asking.to_string(), None);
    let expire = || {
        let mut cache = resolver.cache();
        let targets = cache.last(&key).unwrap();
        cache.store(key.clone(), targets, Duration::ZERO, long_ago());
    };
    expire();
    let renewed = resolver.resolve(&asking, None).await.unwrap();
    assert_eq!(written(&renewed), ["Udp 192.0.2.10:5070"]);

    server.task.abort();
    expire();
    let last_known = resolver.resolve(&asking, None).await.unwrap();
    assert_eq!(written(&last_known), ["Udp 192.0.2.10:5070"]);
    let never_known = resolver.resolve(&host("a.example.com:5060"), None).await;
    assert!(matches!(never_known, Err(Unresolved::NoAnswer(_))), "{never_known:?}");
}

fn long_ago() -> Instant {
    Instant::now().checked_sub(Duration::from_secs(60)).unwrap()
}
