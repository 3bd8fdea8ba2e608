//! Transfers: what they are asked, and what they tell.

use std::time::Instant;

use super::{CallHandle, Endpoint, EndpointMisuse, PeerRequestHandle, RequestFailure};
use crate::message::header::Replaces;
use crate::message::{HeaderName, NameAddr, SipUri, StatusCode};

/// A transfer that a peer asked for and our user carries out. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReferHandle(pub(crate) u64);

/// A peer to be sent elsewhere.
#[derive(Debug, Clone)]
pub struct OutgoingRefer {
    /// Where to. For an attended transfer with [`Replaces`] in the URI: [`with_replaces`].
    pub refer_to: NameAddr,
    /// On whose behalf (RFC 3892).
    pub referred_by: Option<NameAddr>,
    /// Are we to be told how it goes? `false` asks for no subscription (RFC 4488).
    pub wants_notify: bool,
    /// More headers.
    pub headers: Vec<(HeaderName, String)>,
}

/// What a peer's REFER asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// Whom to call; its URI may name headers for that call.
    pub refer_to: NameAddr,
    /// On whose behalf (RFC 3892).
    pub referred_by: Option<NameAddr>,
}

impl Referral {
    /// The call that the new one is to take the place of: then it is an attended transfer. `None` also if it names one
    /// that cannot be read.
    pub fn replaces(&self) -> Option<Replaces> {
        let value = self.refer_to.uri.as_sip()?.header_text("Replaces")?;
        Replaces::parse(&value).ok()
    }
}

/// How a transfer that we asked for goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferNews {
    /// The peer tries. Whether it succeeds is told only if `will_notify`.
    Accepted {
        /// [`Progress`](Self::Progress) follows.
        will_notify: bool,
    },
    /// The peer does not.
    Rejected {
        /// 300 to 699.
        status: StatusCode,
    },
    /// The peer did not answer the REFER.
    Failed {
        /// Why.
        failure: RequestFailure,
    },
    /// What the peer has met with. May come before [`Accepted`](Self::Accepted).
    Progress {
        /// Of the call the peer makes; `None` if it does not say.
        status: Option<StatusCode>,
        /// Nothing more will be told: hang up now. Some peers wait for that with dead air on the line.
        is_terminated: bool,
    },
}

impl OutgoingRefer {
    /// A transfer to somebody, with reports.
    pub fn new(refer_to: NameAddr) -> Self {
        Self { refer_to, referred_by: None, wants_notify: true, headers: Vec::new() }
    }
}

/// The address of somebody with a call that the new one is to take the place of, for Refer-To.
pub fn with_replaces(mut target: SipUri, replaces: &Replaces) -> NameAddr {
    target.push_header("Replaces", &replaces.to_string());
    NameAddr::new(target)
}

impl Endpoint {
    /// Sends the peer elsewhere; the call stays up until somebody hangs up.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: the call is not up, or too many transfers are under way.
    pub fn refer(&mut self, call: CallHandle, refer: OutgoingRefer, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_refer(call, refer, now);
        self.settle(now);
        result
    }

    /// Accepts a REFER of theirs with 202; [`respond`](Self::respond) refuses it. Report how it goes with
    /// [`report_refer`](Self::report_refer), also after the call has ended.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: it is no REFER that waits.
    pub fn accept_refer(
        &mut self,
        call: CallHandle,
        request: PeerRequestHandle,
        now: Instant,
    ) -> Result<ReferHandle, EndpointMisuse> {
        let result = self.do_accept_refer(call, request, now);
        self.settle(now);
        result
    }

    /// Tells the peer what its transfer has met with. A final status is the last word.
    ///
    /// # Errors
    /// [`EndpointMisuse::UnknownRequest`]: it has had the last word, or its time is over.
    pub fn report_refer(&mut self, refer: ReferHandle, status: StatusCode, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_report_refer(refer, status, now);
        self.settle(now);
        result
    }

    /// The call that a Replaces names, as we see it.
    pub fn call_of(&self, replaces: &Replaces) -> Option<CallHandle> {
        self.find_replaced(replaces)
    }

    /// A call as its peer would have to name it in Replaces: `to_tag` is the peer's. Of a call of ours that rings at several
    /// places, the first; `None` before it rings.
    pub fn replaces(&self, call: CallHandle) -> Option<Replaces> {
        self.replaces_of(call)
    }
}
