//! A carrier as Twilio's Elastic SIP Trunking is on the wire, written by hand: it brings calls and takes them, and holds
//! the box to what real carriers drop calls for.
//!
//! ```text
//!  127.0.1.1  signalling: the edge proxy, before a machine inside (172.25.10.5) that nobody reaches
//!  127.0.1.2  sound
//! ```
//! Two proxies record their routes, the Contact is private, neither UPDATE nor PRACK nor INFO nor session timers are
//! known. It challenges with 407, wants numbers in E.164, and drops what names another domain. A call it brings goes to
//! the next address after 4 s of silence or a refusal that is worth it. Every fault of the box's messages and of its RTP
//! is kept, and fails the test when the carrier is dropped.
//!
//! A secure trunk is the same over TLS, with certificates checked on both sides and sound as SRTP under keys of the
//! descriptions: all or nothing.
//!
//! Left out: TCP without TLS; whom a transfer reaches, which the test decides; and loss, which [`crate::relay`] makes.

mod description;
mod dialog;
mod digest;
pub mod message;
mod origination;
mod sound;
mod termination;
mod wire;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use audio::rtp::srtp::Profile;
pub use origination::{Attempt, Placed, stops_failover};
pub use sound::Heard;
pub use termination::{Call, Ringing};

use self::dialog::{Dialog, Edge, judge_request};
use self::message::Message;
use self::termination::ServerInvite;
use self::wire::{Arrival, Wire};
use crate::authority::Authority;

/// Where the carrier signals from. Its sound is one address further.
pub const EDGE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// How long the box may take for what it does at once, on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);
/// How soon the thread notices that it is over.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// What an office has with the carrier.
#[derive(Debug, Clone)]
pub struct Account {
    /// What has to stand in the Request-URI of its calls.
    pub domain: String,
    /// Its credentials.
    pub username: String,
    /// With them.
    pub password: String,
    /// The tone that stands for whoever talks outside. Hertz.
    pub tone_hz: u32,
}

/// What makes a trunk a secure one.
#[derive(Debug)]
pub struct Security<'a> {
    /// Certifies the carrier, and whoever the carrier believes.
    pub authority: &'a Authority,
    /// Whom the carrier's certificate is for.
    pub name: &'a str,
    /// How sound is protected; nothing for a carrier that does not do what it should.
    pub suite: Option<Profile>,
}

/// A running carrier; ended when dropped.
///
/// # Panics
/// When dropped, if the box did anything wrong.
#[derive(Debug)]
pub struct Carrier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wire: Wire,
    edge: Edge,
    /// How sound is protected.
    suite: Option<Profile>,
    account: Account,
    state: Mutex<State>,
    is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// What the box did wrong.
    faults: Vec<String>,
    /// Not taken yet by whoever waits for them.
    responses: Vec<Message>,
    /// Calls of the box, each attempt of them.
    invites: Vec<ServerInvite>,
    dialogs: Vec<Dialog>,
    /// Statuses that calls of the box were refused with.
    refusals: Vec<u16>,
    /// "Call Transfer" is enabled for the trunk.
    takes_transfers: bool,
    /// Transfers the box asked for and nobody has looked at.
    transfers: Vec<Message>,
}

impl Carrier {
    /// Starts it at `edge`, on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub fn start(edge: Ipv4Addr, account: Account) -> Carrier {
        Carrier::on(Wire::udp(edge), None, account)
    }

    /// As [`start`](Carrier::start), with TLS.
    ///
    /// # Panics
    /// As there.
    pub fn start_secure(edge: Ipv4Addr, account: Account, security: &Security<'_>) -> Carrier {
        Carrier::on(Wire::tls(edge, security.authority, security.name), security.suite, account)
    }

    fn on(wire: Wire, suite: Option<Profile>, account: Account) -> Carrier {
        let edge = Edge { address: wire.address(), is_tls: wire.is_tls() };
        let (state, is_over) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { wire, edge, suite, account, state, is_over });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        });
        Carrier { shared, thread: Some(thread) }
    }

    /// Where it signals.
    pub fn address(&self) -> SocketAddr {
        self.shared.edge.address
    }

    /// Whether it is reached by TLS.
    pub fn is_secure(&self) -> bool {
        self.shared.edge.is_tls
    }

    /// Enables "Call Transfer" for the trunk: else a REFER is met with 405.
    pub fn take_transfers(&self) {
        self.shared.state().takes_transfers = true;
    }

    /// Whether the box has tried to call.
    pub fn was_called(&self) -> bool {
        !self.shared.state().invites.is_empty()
    }

    /// Statuses that calls of the box were refused with, in their order.
    pub fn refusals(&self) -> Vec<u16> {
        self.shared.state().refusals.clone()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
        let faults = std::mem::take(&mut self.shared.state().faults).join("\n");
        if std::thread::panicking() {
            eprintln!("The carrier saw:\n{faults}");
        } else {
            assert!(faults.is_empty(), "the carrier would not have it:\n{faults}");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let (bytes, peer) = match self.wire.receive(STOP_INTERVAL) {
                Some(Arrival::Message(bytes, peer)) => (bytes, peer),
                Some(Arrival::Fault(fault)) => {
                    self.state().faults.push(fault);
                    continue;
                }
                None => continue,
            };
            match Message::parse(&bytes) {
                Ok(message) if message.status().is_some() => self.state().responses.push(message),
                Ok(request) => {
                    let faults = judge_request(&request, peer, self.edge);
                    self.state().faults.extend(faults);
                    self.handle_request(request, peer);
                }
                // Keep-alives are no messages.
                Err(_) if bytes.iter().all(u8::is_ascii_whitespace) => {}
                Err(fault) => self.state().faults.push(fault),
            }
        }
    }

    fn handle_request(&self, request: Message, peer: SocketAddr) {
        let is_in_dialog = message::parameter(request.header("To"), "tag").is_some();
        match (request.method().unwrap_or_default(), is_in_dialog) {
            ("INVITE", false) => self.invited(request, peer),
            ("INVITE", true) => self.reinvited(&request, peer),
            ("ACK", _) => self.acknowledged(&request, peer),
            ("BYE", _) => self.bye(request, peer),
            ("CANCEL", _) => self.cancelled(&request, peer),
            ("NOTIFY", true) => self.notified(&request, peer),
            ("REFER", true) => self.referred(request, peer),
            ("OPTIONS", _) => self.respond(&request, peer, "200 OK", &token(), "", ""),
            (_, _) => self.respond(&request, peer, "405 Method Not Allowed", &token(), "", ""),
        }
    }

    fn send(&self, text: &str, peer: SocketAddr) {
        self.wire.send(text, peer);
    }
}

/// With its length, and its type if there is one.
fn with_body(head: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Something that was never there: tags, branches, identities.
fn token() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
