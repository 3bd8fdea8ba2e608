//! The test caller behind `offhook call`: a real SIP user agent that speaks, listens and measures.
//!
//! It uses the same stack, media thread and RTP as the box, over real sockets, and knows nothing of the box beyond what
//! any caller hears. Timing is judged by [`turn_taker`] from the received sound, after the jitter buffer: what a person
//! at a telephone would notice.

mod ladder;
mod recording;
pub mod sounds;
pub mod turn_taker;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use audio::dsp::level::rms_dbov;
use audio::playout::ClipId;
use sip_stack::endpoint::{CallHandle, Destination, EndpointConfig, Event, LocalAddress, OutgoingInvite, Transport};
use sip_stack::message::{NameAddr, SipUri, StatusCode, Uri};
use tokio::sync::mpsc;

use crate::call::negotiate::MediaAgreement;
use crate::config::{Config, SrtpUse};
use crate::identity::IdentityFolder;
use crate::io::gate::{Origins, SharedGate};
use crate::io::media::{MediaEvent, MediaHandle, MediaSession, StreamStats};
use crate::io::ports::PortPool;
use crate::io::sip::{self, SipConfig, SipHandle};
use crate::io::tls::{self, TlsFailure, TlsFileError, Trust};
use crate::speaker::Samples;

use ladder::Ladder;
pub use ladder::Rung;
use recording::Recording;
use turn_taker::{Action, Cue, HeardTurn, Patience, TurnTaker};

/// Ports the test caller's RTP may use.
const RTP_PORTS: (u16, u16) = (30_000, 39_998);
/// How long the other side may let it ring.
const RING_LIMIT: Duration = Duration::from_secs(60);
/// How long the goodbye of SIP may take.
const HANGUP_LIMIT: Duration = Duration::from_secs(2);
/// Messages of a ladder that may wait; a call has a dozen.
const TRACE_LIMIT: usize = 256;

/// One thing the caller does when it is their turn.
#[derive(Debug, Clone)]
pub enum Line {
    /// Says this.
    Say {
        /// What the ladder calls it: the text, or the file's name.
        label: String,
        /// 8 kHz mono.
        samples: Samples,
        /// After the answer, or over it.
        cue: Cue,
    },
    /// Presses these keys.
    Press(String),
}

impl Line {
    /// What the ladder calls it.
    pub fn label(&self) -> String {
        match self {
            Line::Say { label, cue: Cue::AfterAnswer, .. } => format!("says \"{label}\""),
            Line::Say { label, cue: Cue::DuringAnswer(_), .. } => format!("cuts in with \"{label}\""),
            Line::Press(keys) => format!("presses {keys}"),
        }
    }

    fn cue(&self) -> Cue {
        match self {
            Line::Say { cue, .. } => *cue,
            Line::Press(_) => Cue::AfterAnswer,
        }
    }
}

/// A call to place.
#[derive(Debug, Clone)]
pub struct CallPlan {
    /// Whom to call: `sip:office@127.0.0.1:5060`, with `;transport=tcp` for TCP; with `;transport=tls`, or as `sips:`, for
    /// TLS.
    pub target: String,
    /// Who may listen in.
    pub protection: Protection,
    /// What to say, in order, each after the other side has finished.
    pub lines: Vec<Line>,
    /// Where the recording goes: a two-channel WAV, the caller left, the other side right.
    pub record: Option<PathBuf>,
    /// How patient the caller is.
    pub patience: Patience,
    /// The number they call from; without it the caller is nobody in particular.
    pub from: Option<String>,
}

/// How a call is protected from those on the way.
#[derive(Debug, Clone, Default)]
pub struct Protection {
    /// [`SrtpUse::Required`]: the sound is offered encrypted, and there is no call without. Over TLS only that is worth
    /// something, since the keys travel in the signalling.
    pub srtp: SrtpUse,
    /// Whom to believe over TLS.
    pub trust: Trust,
    /// The folder of this machine's own things. If it is given and readable, and the call is to this very machine, its
    /// self-signed certificate is believed beside the public ones.
    pub machine: Option<PathBuf>,
}

impl Protection {
    /// For a call to the box that runs on this machine with this configuration: what it demands.
    pub fn for_own_box(config: &Config) -> Protection {
        Protection { srtp: config.media.srtp, trust: Trust::Public, machine: Some(config.machine_directory()) }
    }

    /// This machine's own certificate and the name it is for.
    fn own_certificate(&self) -> Option<(PathBuf, String)> {
        let folder = IdentityFolder::below(self.machine.as_ref().filter(|_| self.trust == Trust::Public)?);
        let identity = folder.load().ok()?;
        Some((folder.certificate(), identity.certified_name()))
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct CallReport {
    /// SIP messages and speech in order.
    pub ladder: Vec<Rung>,
    /// The greeting, then one entry a line.
    pub turns: Vec<HeardTurn>,
    /// The dialog's Call-ID, by which the box's rows are found.
    pub sip_call_id: Option<String>,
    /// Who ended it: `callee hung up`, `caller hung up`.
    pub ended: String,
    /// From answer to end.
    pub duration: Duration,
    /// What arrived and what was sent.
    pub stats: StreamStats,
}

/// Why there was no call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The target is not a SIP URI that can be reached.
    #[error("{target} cannot be called: {reason}; expected for example sip:office@127.0.0.1:5060")]
    Target {
        /// As given.
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The other side refused.
    #[error("the call was refused: {status} {reason}")]
    Refused {
        /// SIP status.
        status: u16,
        /// Its text.
        reason: String,
    },
    /// Nobody answered in time, or at all.
    #[error("nobody answered at {0}; is the box running? `offhook doctor` looks")]
    NoAnswer(SocketAddr),
    /// There was no TLS connection.
    #[error("no TLS connection to {0}: {1}")]
    Tls(SocketAddr, TlsFailure),
    /// The file of trusted certificates.
    #[error("the certificates to be believed: {0}")]
    Trust(#[from] TlsFileError),
    /// The session description of the answer cannot be used.
    #[error("the answer's session description cannot be used: {0}")]
    Session(#[from] sip_stack::sdp::SdpError),
    /// A socket, a file or a thread.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The recording cannot be written.
    #[error(transparent)]
    Wav(#[from] audio::wav::WavError),
    /// One of our own parts stopped.
    #[error("the test caller's own {0} stopped")]
    Internal(&'static str),
}

/// Places the call and stays on the line until it is over.
///
/// # Errors
/// [`CallError`]; a call that was answered always gives a report.
pub async fn place(plan: CallPlan) -> Result<CallReport, CallError> {
    let Target { uri, transport, peer, host } = resolve(&plan.target).await?;
    let local = local_address(peer)?;
    let (trace_sender, trace) = mpsc::channel(TRACE_LIMIT);
    let is_this_machine = peer.ip().is_loopback() || peer.ip() == local;
    let own = plan.protection.own_certificate().filter(|_| is_this_machine);
    let own_certificate = own.as_ref().map(|(certificate, _)| certificate.as_path());
    let connector = tls::connector(&plan.protection.trust, own_certificate)?;
    let config = SipConfig {
        listen: SocketAddr::new(local, 0),
        tcp_enabled: transport == Transport::Tcp,
        tls: Some(sip::Tls { connector, listener: None }),
        trace: Some(trace_sender),
        gate: SharedGate::new(Origins::everybody()),
    };
    let (sip, events) = sip::start(config, |bound| EndpointConfig {
        tls: LocalAddress::new(bound.sip),
        contact_user: "caller".into(),
        product: concat!("Offhook-caller/", env!("CARGO_PKG_VERSION")).into(),
        ..EndpointConfig::new(bound.sip, rand::random())
    })
    .await?;
    // Our own box is called by address, which no certificate is for; that it is our own is what counts.
    if let Some(name) = host.or(own.map(|(_, name)| name)) {
        sip.name(&name, [peer]);
    }
    let port = PortPool::new(local, RTP_PORTS.0, RTP_PORTS.1).lend()?;
    let mut agreement = MediaAgreement::new(port, local, peer.ip(), plan.protection.srtp);
    let from = SipUri::new(sip.local()).with_user(plan.from.as_deref().unwrap_or("caller"));
    let from = NameAddr::new(from).with_display_name("Offhook test caller");
    let invite = OutgoingInvite::new(uri, from, Destination { transport, peer }).with_offer(agreement.offer());
    let ladder = Ladder::new(trace, Instant::now());
    let call = sip
        .with(move |endpoint, now| endpoint.invite(invite, now))
        .await
        .map_err(|_| CallError::Internal("SIP shell"))?
        .map_err(|_| CallError::Internal("endpoint"))?;
    let mut caller = Caller { sip, events, call, ladder, sip_call_id: None };
    caller.wait_for_answer(peer, &mut agreement).await?;
    caller.talk(plan, agreement).await
}

struct Caller {
    sip: SipHandle,
    events: mpsc::Receiver<Event>,
    call: CallHandle,
    ladder: Ladder,
    sip_call_id: Option<String>,
}

impl Caller {
    async fn wait_for_answer(&mut self, peer: SocketAddr, agreement: &mut MediaAgreement) -> Result<(), CallError> {
        let deadline = tokio::time::Instant::now() + RING_LIMIT;
        loop {
            let event = match tokio::time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => event,
                Ok(None) => return Err(CallError::Internal("SIP shell")),
                Err(_) => {
                    let call = self.call;
                    // We give up either way.
                    let _ = self.sip.with(move |endpoint, now| endpoint.cancel(call, None, now)).await;
                    return Err(CallError::NoAnswer(peer));
                }
            };
            match event {
                Event::Answered { sdp, response, .. } => {
                    self.sip_call_id = response.headers.call_id().ok();
                    agreement.accept(&sdp.unwrap_or_default())?;
                    return Ok(());
                }
                Event::Rejected { status, reason, .. } => {
                    return Err(CallError::Refused { status: status.as_u16(), reason });
                }
                Event::TimedOut { .. } | Event::TransportFailed { .. } | Event::CallEnded { .. } => {
                    let failure = self.sip.tls_failure(peer).filter(|failure| *failure != TlsFailure::Lost);
                    return Err(failure.map_or(CallError::NoAnswer(peer), |failure| CallError::Tls(peer, failure)));
                }
                Event::InviteReceived { .. }
                | Event::Cancelled { .. }
                | Event::AckReceived { .. }
                | Event::AckTimedOut { .. }
                | Event::ReinviteReceived { .. }
                | Event::ReinviteCancelled { .. }
                | Event::ReinviteConfirmed { .. }
                | Event::ReinviteAnswered { .. }
                | Event::ReinviteRejected { .. }
                | Event::ByeReceived { .. }
                | Event::ProvisionalReceived { .. }
                | Event::InfoReceived { .. }
                | Event::RequestReceived { .. }
                | Event::RequestAnswered { .. }
                | Event::RequestFailed { .. }
                | Event::AuthenticationFailed { .. }
                | Event::Registration { .. }
                | Event::UpdateReceived { .. }
                | Event::UpdateAnswered { .. }
                | Event::UpdateRejected { .. }
                | Event::Transfer { .. }
                | Event::ReferReceived { .. }
                | Event::DestinationFailed { .. }
                | Event::SubscriptionRequested { .. }
                | Event::SubscriptionEnded { .. }
                | Event::PeerErrorSeen { .. } => {}
            }
        }
    }

    async fn talk(mut self, plan: CallPlan, mut agreement: MediaAgreement) -> Result<CallReport, CallError> {
        let media = MediaHandle::start()?;
        let port = agreement.take_port().ok_or(CallError::Internal("media port"))?;
        let stopped = |_| CallError::Internal("media thread");
        let (session, mut frames) = media.open(port, agreement.stream()).map_err(stopped)?;
        session.listen(true).map_err(stopped)?;
        let answered = Instant::now();
        let mut conversation = Talk::new(&plan);
        let ended = loop {
            self.ladder.collect();
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(Event::ByeReceived { .. } | Event::CallEnded { .. }) | None => break "callee hung up",
                    Some(Event::ReinviteReceived { offer, .. }) => {
                        self.answer_reinvite(offer, &mut agreement, &session).await;
                    }
                    Some(_) => {}
                },
                event = frames.recv() => {
                    let Some(event) = event else { break "media thread stopped" };
                    if conversation.handle(event, &session, &mut self.ladder) {
                        self.hang_up().await;
                        break "caller hung up";
                    }
                }
            }
        };
        self.ladder.collect();
        let stats = session.stats();
        conversation.recording.save(plan.record.as_deref())?;
        let turns = conversation.taker.map_or_else(Vec::new, |taker| taker.turns().to_vec());
        Ok(CallReport {
            ladder: self.ladder.into_rungs(),
            turns,
            sip_call_id: self.sip_call_id,
            ended: ended.to_owned(),
            duration: answered.elapsed(),
            stats,
        })
    }

    async fn answer_reinvite(&self, offer: Option<Vec<u8>>, agreement: &mut MediaAgreement, session: &MediaSession) {
        let call = self.call;
        let answer = match offer {
            Some(offer) => agreement.answer(&offer),
            None => Ok(agreement.offer()),
        };
        // A refused re-INVITE leaves the session as it was, and a lost command shows as silence in the recording.
        let _ = match answer {
            Ok(sdp) => {
                let _ = session.configure(agreement.stream());
                self.sip.with(move |endpoint, now| endpoint.answer_reinvite(call, sdp, now).is_ok()).await
            }
            Err(_) => {
                let status = StatusCode::NOT_ACCEPTABLE_HERE;
                self.sip.with(move |endpoint, now| endpoint.reject_reinvite(call, status, now).is_ok()).await
            }
        };
    }

    async fn hang_up(&mut self) {
        let call = self.call;
        let sent = self.sip.with(move |endpoint, now| endpoint.bye(call, None, now).is_ok()).await;
        if sent != Ok(true) {
            return;
        }
        let ended = async {
            while let Some(event) = self.events.recv().await {
                if matches!(event, Event::CallEnded { .. }) {
                    return;
                }
            }
        };
        // A box that does not answer the BYE is its own finding; the call is over for us.
        let _ = tokio::time::timeout(HANGUP_LIMIT, ended).await;
    }
}

/// The spoken part of the call.
struct Talk {
    lines: Vec<Line>,
    taker: Option<TurnTaker>,
    patience: Patience,
    recording: Recording,
    /// Turns whose answer has been noted in the ladder.
    noted: usize,
}

impl Talk {
    fn new(plan: &CallPlan) -> Talk {
        Talk {
            lines: plan.lines.clone(),
            taker: None,
            patience: plan.patience.clone(),
            recording: Recording::default(),
            noted: 0,
        }
    }

    /// True when the caller should hang up.
    fn handle(&mut self, event: MediaEvent, session: &MediaSession, ladder: &mut Ladder) -> bool {
        match event {
            MediaEvent::Frame { frame, at, .. } => {
                self.recording.heard(&frame);
                let (lines, patience) = (&self.lines, &self.patience);
                let taker = self
                    .taker
                    .get_or_insert_with(|| TurnTaker::new(lines.iter().map(Line::cue).collect(), patience.clone(), at));
                let action = taker.handle_level(rms_dbov(&frame), at);
                self.note_answers(ladder, at);
                match action {
                    Some(Action::Say(line)) => self.say(line, session, ladder, at),
                    Some(Action::HangUp) => return true,
                    None => {}
                }
            }
            MediaEvent::Said(_) => {}
            MediaEvent::ClipStarted { clip, .. } => {
                if let Some(Line::Say { samples, .. }) =
                    usize::try_from(clip.0).ok().and_then(|line| self.lines.get(line))
                {
                    self.recording.said(samples);
                }
            }
            MediaEvent::ClipFinished { at, .. } => self.line_said(at),
            MediaEvent::ClipStopped { .. } | MediaEvent::Digit(_) => {}
        }
        false
    }

    fn say(&mut self, line: usize, session: &MediaSession, ladder: &mut Ladder, at: Instant) {
        ladder.note(at, true, self.lines[line].label());
        match &self.lines[line] {
            // A lost command shows as a line without an answer.
            Line::Say { samples, .. } => {
                let _ = session.play(ClipId(line as u64), samples.clone());
            }
            Line::Press(keys) => {
                for key in keys.chars() {
                    let _ = session.press(key);
                }
                self.line_said(at);
            }
        }
    }

    fn line_said(&mut self, at: Instant) {
        if let Some(taker) = &mut self.taker {
            taker.handle_line_said(at);
        }
    }

    fn note_answers(&mut self, ladder: &mut Ladder, at: Instant) {
        let turns = self.taker.as_ref().map_or(&[][..], TurnTaker::turns);
        while let Some(turn) = turns.get(self.noted)
            && let Some(gap) = turn.gap
        {
            let what = if self.noted == 0 { "greeting" } else { "answer" };
            ladder.note(at, false, format!("RTP {what} begins after {} ms", gap.as_millis()));
            self.noted += 1;
        }
        // A turn without an answer must not hold up the notes of the next one.
        if turns.len() > self.noted + 1 {
            self.noted = turns.len() - 1;
        }
    }
}

/// Whom a target names, and how to get there.
struct Target {
    uri: Uri,
    transport: Transport,
    peer: SocketAddr,
    /// The name that `peer` was found under; `None` if it is an address, or this machine's name for itself.
    host: Option<String>,
}

async fn resolve(target: &str) -> Result<Target, CallError> {
    let wrong = |reason: String| CallError::Target { target: target.to_owned(), reason };
    let uri = Uri::parse(target.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let sip = uri.as_sip().ok_or_else(|| wrong("not a sip: URI".into()))?;
    let transport = transport_of(sip).map_err(wrong)?;
    let port = sip.port.unwrap_or(transport.default_port());
    let host = sip.host.to_string();
    if let Some(ip) = sip.host.ip() {
        return Ok(Target { transport, peer: SocketAddr::new(ip, port), host: None, uri });
    }
    let mut found = tokio::net::lookup_host((host.clone(), port)).await.map_err(|error| wrong(error.to_string()))?;
    let peer = found.next().ok_or_else(|| wrong("the name has no address".into()))?;
    let host = (host != "localhost").then_some(host);
    Ok(Target { transport, peer, host, uri })
}

/// How to carry what is sent to `uri` (RFC 3261 §19.1.1, §26.2.2).
fn transport_of(uri: &SipUri) -> Result<Transport, String> {
    let named = uri.params.value("transport").map(str::to_ascii_lowercase);
    match (named.as_deref(), uri.secure) {
        (Some("tls"), _) | (Some("tcp") | None, true) => Ok(Transport::Tls),
        (Some("tcp"), false) => Ok(Transport::Tcp),
        (Some("udp") | None, false) => Ok(Transport::Udp),
        (Some(name), true) => Err(format!("sips: is not carried by {name}")),
        (Some(name), false) => Err(format!("unknown transport {name}")),
    }
}

/// The address this machine would use to reach `peer`.
fn local_address(peer: SocketAddr) -> std::io::Result<IpAddr> {
    let unspecified: IpAddr = if peer.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let probe = UdpSocket::bind((unspecified, 0))?;
    probe.connect(peer)?;
    Ok(probe.local_addr()?.ip())
}
