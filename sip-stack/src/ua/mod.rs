//! What a user agent does with transactions and dialogs (RFC 3261 §8, §9, §11, §13 to §15).
//!
//! `incoming` decides whether a request is served or refused, `uas` is the called side of a call, `uac` the calling
//! side, `in_dialog` what both sides do once it is up; `prack`, `update` and `session_timer` are RFC 3262, 3311, 4028, `refer` is
//! transfers, `subscription` what others watch. `failover` tries the next address. `request` and `peer_request` are everything that is not about a
//! session, `register` keeps a registration up, `challenge` sends what has been challenged once more. All of them are parts of [`Endpoint`](crate::endpoint::Endpoint),
//! which holds their state.
//!
//! Left out on purpose: the Expires header of INVITE, which is the user's business, and multipart bodies.

pub(crate) mod call;
mod challenge;
pub(crate) mod failover;
mod in_dialog;
mod incoming;
mod outgoing;
pub(crate) mod peer_request;
mod prack;
pub(crate) mod recent_errors;
pub(crate) mod refer;
mod register;
pub(crate) mod registration;
pub(crate) mod request;
mod respond;
mod session_timer;
pub(crate) mod subscription;
mod timeout;
mod uac;
mod uas;
mod update;

use crate::digest::Attempts;
use std::collections::VecDeque;

use crate::endpoint::{
    CallHandle, Destination, EndpointConfig, ReferHandle, RegistrationHandle, RequestHandle, SubscriptionHandle,
    Transmit,
};
use crate::message::{HeaderName, Headers, Method, Request};

/// What we take whatever our user takes.
const ALLOWED: [Method; 9] = [
    Method::Invite,
    Method::Ack,
    Method::Cancel,
    Method::Bye,
    Method::Options,
    Method::Info,
    Method::Notify,
    Method::Prack,
    Method::Update,
];
/// The one type of body of an INVITE and its responses.
pub(crate) const SDP: &str = "application/sdp";

/// What we take and know: for Allow, Supported and Accept.
#[derive(Debug)]
pub(crate) struct Abilities {
    /// Everything else gets 405 or 501.
    pub(crate) allowed: Vec<Method>,
    /// Extensions a peer may require of us.
    pub(crate) supported: Vec<&'static str>,
}

impl Abilities {
    pub(crate) fn new(config: &EndpointConfig) -> Self {
        let subscribe = (!config.packages.is_empty()).then_some(Method::Subscribe);
        let timer = config.session_timer.is_some().then_some(crate::dialog::session_timer::TIMER);
        Self {
            allowed: ALLOWED.iter().chain(&config.accepted).cloned().chain(subscribe).collect(),
            supported: [prack::RELIABLE, "replaces", "norefersub"].into_iter().chain(timer).collect(),
        }
    }

    /// Allow, Accept and Supported.
    fn push(&self, headers: &mut Headers) {
        self.push_allow(headers);
        headers.push(HeaderName::ACCEPT, SDP);
        headers.push(HeaderName::SUPPORTED, self.supported.join(", "));
    }

    fn push_allow(&self, headers: &mut Headers) {
        let names: Vec<&str> = self.allowed.iter().map(Method::as_str).collect();
        headers.push(HeaderName::ALLOW, names.join(", "));
    }

    /// Supported without reliable provisional responses: for an INVITE that leaves the offer to the peer.
    fn set_supported_unreliable(&self, headers: &mut Headers) {
        let tags: Vec<&str> = self.supported.iter().copied().filter(|tag| *tag != prack::RELIABLE).collect();
        headers.set(HeaderName::SUPPORTED, tags.join(", "));
    }
}

/// What the user agent keeps with a transaction.
#[derive(Debug)]
pub(crate) enum Use {
    /// A request of theirs.
    Server(ServerUse),
    /// A request of ours. Boxed, because it is far larger.
    Client(Box<ClientUse>),
}

#[derive(Debug)]
pub(crate) struct ServerUse {
    /// For an INVITE that made or met a call.
    pub(crate) call: Option<CallHandle>,
    /// The tag in To of our responses, also to a CANCEL of it.
    pub(crate) to_tag: String,
    pub(crate) merge: Option<MergeKey>,
}

#[derive(Debug)]
pub(crate) struct ClientUse {
    pub(crate) call: CallHandle,
    pub(crate) purpose: Purpose,
    pub(crate) request: Request,
    /// How often credentials were sent for it.
    pub(crate) attempts: Attempts,
    /// How often it was refused with 422.
    pub(crate) too_small: u8,
    /// Where to send it if nothing comes back.
    pub(crate) alternatives: VecDeque<Destination>,
    /// A CANCEL is out for what was left behind.
    pub(crate) is_cancelled: bool,
    /// The To tag of the 2xx that won; others come from forks.
    pub(crate) answered_by: Option<String>,
    /// The ACK of that 2xx, for when it is repeated.
    pub(crate) ack: Option<Transmit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Invite,
    /// An INVITE that another address has taken over from.
    Abandoned,
    Reinvite,
    Bye,
    Cancel,
    Prack,
    Update,
    /// Whatever our user asks for.
    Request(RequestHandle),
    Register(RegistrationHandle),
    Refer,
    ReferNotify(ReferHandle),
    Notify(SubscriptionHandle),
}

/// What two copies of one request have in common when a fork brings them here twice (RFC 3261 §8.2.2.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MergeKey {
    call_id: String,
    from_tag: Option<String>,
    cseq: u32,
    method: String,
}

impl MergeKey {
    /// `None` for a request within a dialog, and for ACK and CANCEL, which follow their INVITE.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let headers = &request.headers;
        if matches!(request.method, Method::Ack | Method::Cancel) || headers.to().ok()?.tag().is_some() {
            return None;
        }
        Some(Self {
            call_id: headers.call_id().ok()?,
            from_tag: headers.from().ok()?.tag().map(str::to_owned),
            cseq: headers.cseq().ok()?.number,
            method: request.method.as_str().to_owned(),
        })
    }
}
