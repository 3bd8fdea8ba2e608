//! What a user agent does with transactions and dialogs (RFC 3261 §8, §9, §11, §13 to §15).
//!
//! `incoming` decides whether a request is served or refused, `uas` is the called side of a call, `uac` the calling
//! side, `in_dialog` what both sides do once it is up. `request` and `peer_request` are everything that is not about a
//! session, `challenge` sends what has been challenged once more. All of them are parts of [`Endpoint`](crate::endpoint::Endpoint),
//! which holds their state.
//!
//! Left out on purpose: reliable provisional responses (RFC 3262), UPDATE (RFC 3311), session timers (RFC 4028), the
//! Expires header of INVITE, which is the user's business, and multipart bodies.

pub(crate) mod call;
mod challenge;
mod in_dialog;
mod incoming;
mod outgoing;
pub(crate) mod peer_request;
pub(crate) mod request;
mod respond;
mod timeout;
mod uac;
mod uas;

use crate::digest::Attempts;
use crate::endpoint::{CallHandle, RequestHandle, Transmit};
use crate::message::{Method, Request};

/// What we take whatever our user takes.
pub(crate) const ALLOWED: [Method; 6] =
    [Method::Invite, Method::Ack, Method::Cancel, Method::Bye, Method::Options, Method::Info];
/// Extensions a peer may require of us.
pub(crate) const SUPPORTED: [&str; 0] = [];
/// The one type of body of an INVITE and its responses.
pub(crate) const SDP: &str = "application/sdp";

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
    /// The To tag of the 2xx that won; others come from forks.
    pub(crate) answered_by: Option<String>,
    /// The ACK of that 2xx, for when it is repeated.
    pub(crate) ack: Option<Transmit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Invite,
    Reinvite,
    Bye,
    Cancel,
    /// Whatever our user asks for.
    Request(RequestHandle),
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
