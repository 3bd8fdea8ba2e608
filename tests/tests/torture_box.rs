//! The torture messages of RFC 4475 against a running box, over UDP and over TCP, while a call is up on the side.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use sip_stack::message::framing::{Frame, StreamFramer};
use sip_stack::message::{Limits, Message, Method, Response, Via};
use tests::carrier::{Account, Carrier, EDGE};
use tests::offhook::Offhook;
use tests::peers::last_call;
use tests::shared::shared_data;
use tests::torture::Ours::{self, Accept, Discard, Process, Refuse};
use tests::torture::TABLE;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
/// What is not answered by then is not answered.
const PATIENCE: Duration = Duration::from_secs(5);
const NUMBER: &str = "+12125550142";
/// Names the request that is sent after each message: when it is answered, so is what came before.
const SENTINEL: &str = "z9hG4bKsentinel";

/// A box that takes messages from every address these tests send from, and a trunk for the call on the side.
fn open(folder: &Path, carrier: &Carrier) -> Offhook {
    let (file, secret) = (folder.join("offhook.toml"), folder.join("trunk"));
    std::fs::write(&secret, "correct horse").unwrap();
    let config = format!(
        "[sip]\nguests = ['127.7.0.0/16']\n\
         [[trunks]]\nname = 'carrier'\nprofile = 'twilio'\nsources = ['127.0.1.0/24']\nnumbers = ['{NUMBER}']\n\
         hosts = ['{}']\ndomain = 'office.pstn.example.com'\nusername = 'office'\npassword_file = '{}'\n",
        carrier.address(),
        secret.display()
    );
    std::fs::write(&file, config).unwrap();
    Offhook::start_wordless(Path::new(PROGRAM), folder, &file, &["log.filter=debug"])
}

fn carrier() -> Carrier {
    let account = Account {
        domain: "office.pstn.example.com".into(),
        username: "office".into(),
        password: "correct horse".into(),
        tone_hz: 1_100,
    };
    Carrier::start(EDGE, account)
}

/// How the message gets to the box, and what comes back: until the sentinel is answered, and the message too if it is one
/// that `wants` an answer.
type Exchange = fn(SocketAddr, Ipv4Addr, &[u8], bool) -> Vec<Response>;

/// Sends every message from an address of its own while a call is up; the call must not notice.
fn torture(network: u8, left_out: &[&str], exchange: Exchange) {
    let Some(messages) = shared_data("rfc4475") else { return };
    let folder = tempfile::tempdir().unwrap();
    let carrier = carrier();
    let offhook = open(folder.path(), &carrier);
    let call = carrier.call(&[offhook.address()], NUMBER).call.expect("the attendant answers");
    let (mut wrong, mut branches) = (Vec::new(), BTreeSet::new());
    for (number, (file, section, allowed, ours)) in (1..).zip(TABLE) {
        if left_out.contains(&file) {
            continue;
        }
        let bytes = with_branch_of_its_own(std::fs::read(messages.join(file)).unwrap(), &mut branches);
        let source = Ipv4Addr::new(127, 7, network, number);
        let wants = !matches!(ours, Accept(_) | Discard);
        let responses = exchange(offhook.address(), source, &bytes, wants);
        let statuses: Vec<u16> = responses.iter().map(|response| response.status.as_u16()).collect();
        if let Some(why) = objection(&statuses, allowed, ours).or_else(|| reasons(&responses)) {
            wrong.push(format!("{file} (§{section}): {why}, got {statuses:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), offhook.log());
    call.talk(Duration::from_secs(2));
    let heard = call.hang_up();
    assert!(heard.faults.is_empty(), "the call on the side: {:?}", heard.faults);
    assert!(heard.packets > 50, "{} packets of the call on the side", heard.packets);
    offhook.wait_for_log("Call ended", LIMIT);
    assert!(!offhook.log().contains("panicked"), "{}", offhook.log());
    let _ = last_call(&offhook);
}

/// Some of the messages have one branch, and so would be taken for repeats of each other.
fn with_branch_of_its_own(bytes: Vec<u8>, seen: &mut BTreeSet<String>) -> Vec<u8> {
    let Some(branch) = via_of(&bytes).and_then(|via| via.branch().map(str::to_owned)) else { return bytes };
    if seen.insert(branch.clone()) {
        return bytes;
    }
    let count = format!("x{}", seen.len());
    seen.insert(count.clone());
    let at = bytes.windows(branch.len()).position(|window| window == branch.as_bytes()).unwrap();
    [&bytes[..at], branch.as_bytes(), count.as_bytes(), &bytes[at + branch.len()..]].concat()
}

/// What is wrong with these answers; `None` if they are as they should be.
fn objection(statuses: &[u16], allowed: &[u16], ours: Ours) -> Option<String> {
    let first = statuses.first().copied();
    let is_right = match ours {
        // A call: it is tried at least. A registration of nobody we know: whatever says so.
        // The first has a tag in To, and so belongs to a call that the box does not have.
        Process("INVITE") => matches!(first, Some(100 | 481)),
        Process("OPTIONS") => first == Some(200),
        Process("REGISTER") => matches!(first, Some(401 | 403 | 404)),
        Process(_) => first.is_some(),
        Refuse(..) => first.is_some_and(|status| allowed.contains(&status)),
        Accept(_) | Discard => first.is_none(),
    };
    (!is_right).then(|| format!("expected {ours:?}"))
}

/// A refusal says why, where the RFC has a header for it.
fn reasons(responses: &[Response]) -> Option<String> {
    let response = responses.first()?;
    let header = match response.status.as_u16() {
        400 => "Warning",
        401 => "WWW-Authenticate",
        405 | 501 => "Allow",
        415 => "Accept",
        420 => "Unsupported",
        _ => return None,
    };
    let name = sip_stack::message::HeaderName::new(header);
    // What breaks the protocol in a way no header is to blame for is not warned of.
    let is_there = response.headers.contains(&name) || response.status.as_u16() == 400;
    (!is_there).then(|| format!("without {header}"))
}

/// A request that every box answers with 200.
fn sentinel(source: SocketAddr, transport: &str) -> String {
    format!(
        "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} {source};rport;branch={SENTINEL}\r\n\
         From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: sentinel-{source}\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

fn is_sentinels(response: &Response) -> bool {
    response.headers.via().is_ok_and(|via| via.branch() == Some(SENTINEL))
}

fn via_of(bytes: &[u8]) -> Option<Via> {
    match Message::parse(bytes, &Limits::default()) {
        Ok(Message::Request(request)) => request.headers.via().ok(),
        Ok(Message::Response(_)) | Err(_) => None,
    }
}

/// Responses go to the port of Via, unless it asks for `rport`: there has to be somebody to hear them.
fn port_of(bytes: &[u8]) -> u16 {
    via_of(bytes).and_then(|via| via.sent_by.port).unwrap_or(5060)
}

/// What has come back so far.
#[derive(Default)]
struct Heard {
    wants: bool,
    /// Of the message; what follows it on a stream has another one.
    branch: Option<String>,
    responses: Vec<Response>,
    is_sentinel_answered: bool,
}

impl Heard {
    fn note(&mut self, message: Message) {
        match message {
            Message::Response(response) if is_sentinels(&response) => self.is_sentinel_answered = true,
            Message::Response(response) => {
                let branch = response.headers.via().ok().and_then(|via| via.branch().map(str::to_owned));
                if self.branch.is_none() || self.branch == branch {
                    self.responses.push(response);
                }
            }
            Message::Request(request) => assert_eq!(request.method, Method::Bye, "of a call that was never confirmed"),
        }
    }

    fn is_enough(&self) -> bool {
        self.is_sentinel_answered && !(self.wants && self.responses.is_empty())
    }
}

fn over_udp(target: SocketAddr, source: Ipv4Addr, bytes: &[u8], wants: bool) -> Vec<Response> {
    let socket = UdpSocket::bind((source, port_of(bytes))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(bytes, target).unwrap();
    socket.send_to(sentinel(socket.local_addr().unwrap(), "UDP").as_bytes(), target).unwrap();
    let mut buffer = vec![0; 65_536];
    let mut heard =
        Heard { wants, branch: via_of(bytes).and_then(|via| via.branch().map(str::to_owned)), ..Heard::default() };
    while !heard.is_enough() {
        let Ok(length) = socket.recv(&mut buffer) else { break };
        heard.note(Message::parse(&buffer[..length], &Limits::default()).unwrap());
    }
    heard.responses
}

fn over_tcp(target: SocketAddr, source: Ipv4Addr, bytes: &[u8], wants: bool) -> Vec<Response> {
    let mut stream = connect(target, source);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let local = stream.local_addr().unwrap();
    // The box may have closed the connection by then.
    let _ = stream.write_all(&[bytes, sentinel(local, "TCP").as_bytes()].concat());
    let mut framer = StreamFramer::new(Limits::default());
    let mut heard =
        Heard { wants, branch: via_of(bytes).and_then(|via| via.branch().map(str::to_owned)), ..Heard::default() };
    let mut buffer = [0; 4_096];
    loop {
        while let Some(frame) = framer.poll().unwrap() {
            if let Frame::Message(message) = frame {
                heard.note(message);
            }
        }
        if heard.is_enough() {
            return heard.responses;
        }
        match stream.read(&mut buffer) {
            Ok(0) => return heard.responses,
            Ok(length) => framer.push(&buffer[..length]).unwrap(),
            // Closed with bytes of ours unread, or neither an answer nor the end in time.
            Err(_) => return heard.responses,
        }
    }
}

/// A connection from an address of our choice, which the standard library cannot make.
fn connect(target: SocketAddr, source: Ipv4Addr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).unwrap();
        socket.connect(target).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn every_torture_message_over_udp_is_answered_as_the_rfc_says_and_disturbs_nobody() {
    torture(0, &[], over_udp);
}

/// `clerr.dat` promises more than it sends: on a stream what follows belongs to it, and there is nothing to answer.
/// `inv2543.dat` has a body without Content-Length, which no stream can carry, and the second request in `dblreq.dat` is
/// shorter than it says too, so that the connection ends before the first one's registrar has answered.
#[test]
fn every_torture_message_over_tcp_is_answered_as_the_rfc_says_and_disturbs_nobody() {
    torture(1, &["clerr.dat", "inv2543.dat", "dblreq.dat"], over_tcp);
}

/// Once per source and minute, with the header at fault and without what it said.
#[test]
fn a_malformed_request_is_refused_and_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let carrier = carrier();
    let offhook = open(folder.path(), &carrier);
    let source = Ipv4Addr::new(127, 7, 2, 1);
    let request = sentinel(SocketAddr::from((source, 5060)), "UDP").replace("CSeq: 1 OPTIONS", "CSeq: x OPTIONS");
    let request = request.replace(SENTINEL, "z9hG4bKwrong");
    for _ in 0..3 {
        let responses = over_udp(offhook.address(), source, request.as_bytes(), true);
        assert_eq!(responses[0].status.as_u16(), 400);
        let warning = responses[0].headers.warnings().unwrap().remove(0);
        assert!(warning.text.contains("CSeq"), "{warning}");
    }
    let log = offhook.stop();
    assert_eq!(log.matches("Malformed request refused").count(), 1, "{log}");
    assert!(log.contains("header=\"CSeq\"") && !log.contains(&source.to_string()), "{log}");
}
