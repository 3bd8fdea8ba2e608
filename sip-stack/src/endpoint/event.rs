//! What an endpoint tells its user, and what can be wrong with what the user asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use super::notifying::SubscriptionHandle;
use super::outgoing::Destination;
use super::path::Source;
use super::registering::{RegistrationHandle, RegistrationNews};
use super::transferring::{Referral, TransferNews};
use crate::digest::ChallengeRefusal;
use crate::message::header::ReasonHeader;
use crate::message::{Request, Response, StatusCode};

/// One call of an [`Endpoint`](super::Endpoint). Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallHandle(pub(crate) u64);

impl CallHandle {
    /// No call; owns the BYE to a fork that lost.
    pub(crate) const NONE: Self = Self(0);

    /// A number for logs and tables.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// One request of ours that is not a call. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestHandle(pub(crate) u64);

impl RequestHandle {
    /// A number for logs and tables.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// One request of a peer that waits for our user's answer. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerRequestHandle(pub(crate) u64);

/// Why a request of ours has no final response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestFailure {
    /// None came within 64·T1.
    #[error("no response in time")]
    TimedOut,
    /// It could not be sent, or its connection broke.
    #[error("transport failed")]
    TransportFailed,
}

/// Something happened. SDP is handed over as bytes; [`crate::sdp`] reads it.
///
/// A call's life ends with [`CallEnded`](Self::CallEnded), and with nothing after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody calls; 100 Trying is out. [`ring`](super::Endpoint::ring), then
    /// [`answer`](super::Endpoint::answer) or [`reject`](super::Endpoint::reject).
    InviteReceived {
        /// The new call.
        call: CallHandle,
        /// From, To, Request-URI and all other headers.
        request: Arc<Request>,
        /// Where it came from.
        source: Source,
        /// Session description; `None` asks for our offer in the answer (late offer).
        offer: Option<Vec<u8>>,
        /// The call that this one wants to take the place of (RFC 3891): answer this one and hang that one up, if the
        /// caller may do that.
        replaces: Option<CallHandle>,
    },
    /// The caller gave up before we answered; 487 is out.
    Cancelled {
        /// The call.
        call: CallHandle,
        /// Why, if the CANCEL says so (RFC 3326), such as `SIP;cause=200;text="Call completed elsewhere"`.
        reason: Option<ReasonHeader>,
    },
    /// The caller confirmed our answer.
    AckReceived {
        /// The call.
        call: CallHandle,
        /// Their answer, if the offer was ours (late offer).
        answer: Option<Vec<u8>>,
    },
    /// Our 200 was never confirmed, for 64·T1; a BYE is out.
    AckTimedOut {
        /// The call.
        call: CallHandle,
    },
    /// The peer wants another session: [`answer_reinvite`](super::Endpoint::answer_reinvite) or
    /// [`reject_reinvite`](super::Endpoint::reject_reinvite).
    ReinviteReceived {
        /// The call.
        call: CallHandle,
        /// All its headers.
        request: Arc<Request>,
        /// Session description; `None` asks for our offer.
        offer: Option<Vec<u8>>,
    },
    /// The peer took its re-INVITE back before we answered; 487 is out and the session stays as it was.
    ReinviteCancelled {
        /// The call.
        call: CallHandle,
    },
    /// The peer confirmed our answer to its re-INVITE.
    ReinviteConfirmed {
        /// The call.
        call: CallHandle,
        /// Their answer, if the offer was ours.
        answer: Option<Vec<u8>>,
    },
    /// Our re-INVITE was accepted. With a late offer `sdp` is the offer:
    /// [`ack_with_answer`](super::Endpoint::ack_with_answer).
    ReinviteAnswered {
        /// The call.
        call: CallHandle,
        /// Session description of the 2xx.
        sdp: Option<Vec<u8>>,
    },
    /// Our re-INVITE was refused and the session stays as it was. 491 means glare: try again after a random wait
    /// (RFC 3261 §14.1). After 408 and 481 the endpoint ends the call by itself.
    ReinviteRejected {
        /// The call.
        call: CallHandle,
        /// Why; 408 also if no response came at all.
        status: StatusCode,
    },
    /// The peer wants another session without the steps of an INVITE (RFC 3311):
    /// [`answer_update`](super::Endpoint::answer_update) or [`reject_update`](super::Endpoint::reject_update), within
    /// 20 s. An UPDATE without an offer is answered and not told.
    UpdateReceived {
        /// The call.
        call: CallHandle,
        /// All its headers.
        request: Arc<Request>,
        /// Session description.
        offer: Vec<u8>,
    },
    /// The offer in our UPDATE was answered.
    UpdateAnswered {
        /// The call.
        call: CallHandle,
        /// Session description of the 2xx.
        sdp: Option<Vec<u8>>,
    },
    /// The offer in our UPDATE was refused and the session stays as it was. After 408 and 481 the endpoint hangs up.
    UpdateRejected {
        /// The call.
        call: CallHandle,
        /// Why; 408 also if no response came at all.
        status: StatusCode,
    },
    /// The peer hung up; its BYE is answered.
    ByeReceived {
        /// The call.
        call: CallHandle,
        /// Why, if the BYE says so (RFC 3326), such as `Q.850;cause=16`.
        reason: Option<ReasonHeader>,
    },
    /// The callee says how far it has come. Not told for 100.
    ProvisionalReceived {
        /// The call.
        call: CallHandle,
        /// Such as 180 or 183.
        status: StatusCode,
        /// Session description for early media.
        sdp: Option<Vec<u8>>,
    },
    /// The callee answered. If our INVITE had an offer the ACK is out; else `sdp` is the offer and
    /// [`ack_with_answer`](super::Endpoint::ack_with_answer) is due.
    Answered {
        /// The call.
        call: CallHandle,
        /// All its headers.
        response: Arc<Response>,
        /// Session description.
        sdp: Option<Vec<u8>>,
    },
    /// The callee refused, or confirmed with 487 that our CANCEL was heard.
    Rejected {
        /// The call.
        call: CallHandle,
        /// 300 to 699.
        status: StatusCode,
        /// For people; what is not UTF-8 is replaced.
        reason: String,
        /// When to try again. Seconds.
        retry_after: Option<u32>,
        /// All its headers.
        response: Arc<Response>,
    },
    /// No final response came to our INVITE within its time (64·T1; also 64·T1 after a CANCEL).
    TimedOut {
        /// The call.
        call: CallHandle,
    },
    /// Our INVITE could not be sent, or its connection broke before a final response.
    TransportFailed {
        /// The call.
        call: CallHandle,
    },
    /// Information within a call; it is answered with 200 (RFC 6086, and DTMF as many peers send it).
    InfoReceived {
        /// The call.
        call: CallHandle,
        /// Headers and body.
        request: Arc<Request>,
    },
    /// A peer asks for something that our user takes (see [`accepted`](super::EndpointConfig::accepted)): answer with
    /// [`respond`](super::Endpoint::respond) within 64·T1, else it gets 500.
    RequestReceived {
        /// To answer it.
        request: PeerRequestHandle,
        /// The call it came within, if it did.
        call: Option<CallHandle>,
        /// The request itself.
        message: Arc<Request>,
        /// Where it came from.
        source: Source,
    },
    /// The final response to a request of ours.
    RequestAnswered {
        /// The request; its handle is not used again.
        request: RequestHandle,
        /// The call it was sent within, if it was.
        call: Option<CallHandle>,
        /// 200 to 699.
        response: Arc<Response>,
    },
    /// A request of ours gets no response any more.
    RequestFailed {
        /// The request; its handle is not used again.
        request: RequestHandle,
        /// The call it was sent within, if it was.
        call: Option<CallHandle>,
        /// Why.
        failure: RequestFailure,
    },
    /// How a transfer of ours goes; see [`refer`](super::Endpoint::refer).
    Transfer {
        /// The call whose peer is transferred.
        call: CallHandle,
        /// How it goes.
        news: TransferNews,
    },
    /// The peer asks us to call somebody else (only if [`accepted`](super::EndpointConfig::accepted) names REFER):
    /// [`accept_refer`](super::Endpoint::accept_refer), or [`respond`](super::Endpoint::respond) with a refusal.
    ReferReceived {
        /// The call.
        call: CallHandle,
        /// To answer it.
        request: PeerRequestHandle,
        /// Whom to call.
        referral: Box<Referral>,
        /// All its headers.
        message: Arc<Request>,
    },
    /// Somebody wants to be told of a package of ours: [`accept_subscription`](super::Endpoint::accept_subscription) or
    /// [`refuse_subscription`](super::Endpoint::refuse_subscription), within 20 s.
    SubscriptionRequested {
        /// The new subscription.
        subscription: SubscriptionHandle,
        /// What it is about, such as `message-summary`.
        package: String,
        /// All its headers.
        message: Arc<Request>,
        /// Where it came from.
        source: Source,
    },
    /// A subscription is over: its time, its subscriber's wish, or ours. The handle is not used again.
    SubscriptionEnded {
        /// Which.
        subscription: SubscriptionHandle,
    },
    /// An address did not answer, or answered 503; the request is under way to the next one, if there is one.
    DestinationFailed {
        /// The address.
        destination: Destination,
    },
    /// What became of a registration of ours.
    Registration {
        /// Which.
        registration: RegistrationHandle,
        /// What.
        news: RegistrationNews,
    },
    /// Somebody asked who we are and we did not answer. The 401 or 407 follows as a rejection.
    AuthenticationFailed {
        /// The call, if it is about one.
        call: Option<CallHandle>,
        /// Why.
        refusal: ChallengeRefusal,
    },
    /// The handle will not be used again, and every command with it is misuse.
    CallEnded {
        /// The call.
        call: CallHandle,
        /// The first thing that ended it; what else happened while it ended does not count.
        cause: EndCause,
    },
    /// A peer's request was wrong and has been refused, or dropped if it was an ACK.
    PeerErrorSeen {
        /// Who sent it.
        peer: SocketAddr,
        /// What it was, or would have been, answered with.
        status: StatusCode,
        /// The header that cannot be read, or empty if the message is well-formed.
        header: &'static str,
        /// The first from this address within a minute: worth a line in a log. Others are for counting only.
        is_news: bool,
    },
}

impl Event {
    /// The call it is about; `None` for what concerns no call.
    pub fn call(&self) -> Option<CallHandle> {
        match self {
            Self::InviteReceived { call, .. }
            | Self::Cancelled { call, .. }
            | Self::AckReceived { call, .. }
            | Self::AckTimedOut { call }
            | Self::ReinviteReceived { call, .. }
            | Self::ReinviteCancelled { call }
            | Self::ReinviteConfirmed { call, .. }
            | Self::ReinviteAnswered { call, .. }
            | Self::ReinviteRejected { call, .. }
            | Self::UpdateReceived { call, .. }
            | Self::UpdateAnswered { call, .. }
            | Self::UpdateRejected { call, .. }
            | Self::Transfer { call, .. }
            | Self::ReferReceived { call, .. }
            | Self::ByeReceived { call, .. }
            | Self::ProvisionalReceived { call, .. }
            | Self::Answered { call, .. }
            | Self::Rejected { call, .. }
            | Self::TimedOut { call }
            | Self::TransportFailed { call }
            | Self::InfoReceived { call, .. }
            | Self::CallEnded { call, .. } => Some(*call),
            Self::RequestReceived { call, .. }
            | Self::RequestAnswered { call, .. }
            | Self::RequestFailed { call, .. }
            | Self::AuthenticationFailed { call, .. } => *call,
            Self::Registration { .. }
            | Self::DestinationFailed { .. }
            | Self::SubscriptionRequested { .. }
            | Self::SubscriptionEnded { .. }
            | Self::PeerErrorSeen { .. } => None,
        }
    }
}

/// Why a call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// Our user hung up, or gave up what was not yet answered.
    HungUp,
    /// Our user refused it.
    Refused,
    /// The peer hung up.
    PeerHungUp,
    /// The peer refused it.
    PeerRefused,
    /// The peer gave it up before we answered.
    PeerGaveUp,
    /// No final response came to our INVITE in time.
    NoResponse,
    /// Our INVITE could not be sent, or its connection broke.
    TransportFailed,
    /// Our answer was never confirmed.
    NoAck,
    /// Our provisional response was never confirmed (RFC 3262 §3).
    NoPrack,
    /// Nobody refreshed the session (RFC 4028 §10).
    SessionExpired,
    /// The peer knows the dialog no more, or does not answer within it (RFC 3261 §12.2.1.2).
    DialogLost,
}

/// A command that makes no sense now: a mistake of ours, not of a peer. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointMisuse {
    /// No such call, or it has ended.
    #[error("no such call")]
    UnknownCall,
    /// No such request, or it has its final response.
    #[error("no such request")]
    UnknownRequest,
    /// No such subscription, or it has ended.
    #[error("no such subscription")]
    UnknownSubscription,
    /// No such registration, or it has ended.
    #[error("no such registration")]
    UnknownRegistration,
    /// A method with a command or a machine of its own, such as INVITE, BYE or ACK.
    #[error("the command cannot send this method")]
    WrongMethod,
    /// The call is not in a state for this command: answering twice, a re-INVITE before the first is through.
    #[error("the call is not in a state for this")]
    WrongState,
    /// A status the command cannot carry: `reject` with 200, for example.
    #[error("the command cannot carry this status")]
    WrongStatus,
    /// A table is full; try again later.
    #[error("the endpoint is full")]
    Full,
}

/// Are new calls welcome?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepting {
    /// They are.
    Yes,
    /// They get 503 with Retry-After, and so does an OPTIONS that asks. Calls that are up stay up, and those to
    /// [`urgent`](super::EndpointConfig::urgent) numbers are taken.
    No {
        /// Seconds.
        retry_after_seconds: u32,
    },
}

/// What has been dropped or done without telling. All of them only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that are not SIP.
    pub unreadable: u64,
    /// Streams that lost their framing.
    pub broken_streams: u64,
    /// Responses that match no transaction of ours, or that fail their checks.
    pub stray_responses: u64,
    /// ACKs that match no transaction and no dialog.
    pub stray_acks: u64,
    /// Requests refused because of [`EndpointLimits`](super::EndpointLimits) or [`Accepting::No`].
    pub overload_refusals: u64,
    /// Messages not sent because the shell does not drain.
    pub dropped_transmits: u64,
}

/// How full the tables are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Calls that have not ended.
    pub calls: usize,
    /// Those of peers that wait for our user to let them ring, answer or refuse them.
    pub undecided: usize,
    /// Dialogs by which requests are found.
    pub dialogs: usize,
    /// Server and client transactions.
    pub transactions: usize,
    /// Framed connections.
    pub streams: usize,
    /// Requests outside the usage of calls that wait for an answer, either way.
    pub requests: usize,
    /// Registrations of ours.
    pub registrations: usize,
    /// Subscriptions of peers.
    pub subscriptions: usize,
}
