//! One call: what the INVITE usage of a dialog keeps (RFC 3261 §13 to §15). Data only; the sides work on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dialog::{Dialog, DialogId};
use crate::digest::Authenticator;
use crate::endpoint::{RequestHandle, Transmit};
use crate::message::header::ReasonHeader;
use crate::message::{Request, StatusCode};
use crate::transaction::table::TransactionId;

/// How many forks of one INVITE of ours are followed while they ring.
pub(crate) const EARLY_DIALOG_LIMIT: usize = 8;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) phase: Phase,
    /// There from the INVITE on for the called side, from the 2xx on for the calling one.
    pub(crate) dialog: Option<Dialog>,
    /// Forks of an INVITE of ours that ring.
    pub(crate) early: Vec<Dialog>,
    /// A 2xx of ours that has no ACK yet.
    pub(crate) pending_ack: Option<PendingAck>,
    /// A re-INVITE of theirs that waits for our user.
    pub(crate) peer_reinvite: Option<PeerInvite>,
    /// A re-INVITE of ours is under way.
    pub(crate) own_reinvite: Option<OwnReinvite>,
    /// A 2xx of theirs that waits for our user's answer.
    pub(crate) unacked: Option<Unacked>,
    /// What our user asked for within this call and has no answer to.
    pub(crate) requests: Vec<RequestHandle>,
    /// Answers for our requests when somebody asks who we are.
    pub(crate) authenticator: Option<Authenticator>,
    /// Our user has hung up, but the ACK is still missing; with the Reason to send.
    pub(crate) bye_waiting: Option<Option<ReasonHeader>>,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// They called; no final response yet.
    Incoming(Incoming),
    /// We called; no final response yet.
    Outgoing(Outgoing),
    /// There is a 2xx.
    Up,
    /// Our BYE is out.
    Ending,
}

/// An INVITE of theirs without a final response.
#[derive(Debug, Clone)]
pub(crate) struct PeerInvite {
    pub(crate) transaction: TransactionId,
    pub(crate) request: Arc<Request>,
    pub(crate) cseq: u32,
    pub(crate) has_offer: bool,
}

#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) invite: PeerInvite,
    pub(crate) ringing: Option<Ringing>,
}

/// A provisional response, repeated every minute so that proxies keep waiting (RFC 3261 §13.3.1.1).
#[derive(Debug)]
pub(crate) struct Ringing {
    pub(crate) status: StatusCode,
    pub(crate) bytes: Vec<u8>,
    pub(crate) repeat_at: Instant,
}

/// Wait between two provisional responses.
pub(crate) const RINGING_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) transaction: TransactionId,
    pub(crate) has_offer: bool,
    /// A CANCEL may be sent.
    pub(crate) provisional_seen: bool,
    pub(crate) cancel: Option<Cancel>,
}

#[derive(Debug)]
pub(crate) enum Cancel {
    /// Waits for a provisional response; with the Reason to send.
    Wanted(Option<ReasonHeader>),
    /// Is out; the INVITE is given up then (RFC 3261 §9.1).
    Sent { give_up_at: Instant },
}

/// A provisional response stops every timer of an INVITE transaction, so a re-INVITE needs one of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnReinvite {
    pub(crate) transaction: TransactionId,
    pub(crate) give_up_at: Instant,
}

/// As long as a proxy waits (Timer C, RFC 3261 §16.6).
pub(crate) const REINVITE_PATIENCE: Duration = Duration::from_secs(180);

#[derive(Debug)]
pub(crate) struct PendingAck {
    pub(crate) cseq: u32,
    /// The 2xx.
    pub(crate) transmit: Transmit,
    /// T1, doubling up to T2 (RFC 3261 §13.3.1.4).
    pub(crate) repeat_after: Duration,
    pub(crate) repeat_at: Instant,
    pub(crate) give_up_at: Instant,
    /// The 2xx holds an offer.
    pub(crate) expects_answer: bool,
    pub(crate) is_reinvite: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Unacked {
    pub(crate) transaction: TransactionId,
    pub(crate) cseq: u32,
}

impl Call {
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            phase,
            dialog: None,
            early: Vec::new(),
            pending_ack: None,
            peer_reinvite: None,
            own_reinvite: None,
            unacked: None,
            requests: Vec::new(),
            authenticator: None,
            bye_waiting: None,
        }
    }

    /// All dialogs by which requests find this call.
    pub(crate) fn dialog_ids(&self) -> impl Iterator<Item = &DialogId> {
        self.dialog.iter().chain(&self.early).map(|dialog| &dialog.id)
    }

    pub(crate) fn dialog_mut(&mut self, id: &DialogId) -> Option<&mut Dialog> {
        self.dialog.iter_mut().chain(&mut self.early).find(|dialog| dialog.id == *id)
    }

    /// The next deadline. These are the transaction user's own waits, so they carry no letter of the RFC but its words.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let ack = self.pending_ack.as_ref();
        let (ringing, cancel) = match &self.phase {
            Phase::Incoming(incoming) => (incoming.ringing.as_ref().map(|ringing| ringing.repeat_at), None),
            Phase::Outgoing(Outgoing { cancel: Some(Cancel::Sent { give_up_at }), .. }) => (None, Some(*give_up_at)),
            Phase::Outgoing(_) | Phase::Up | Phase::Ending => (None, None),
        };
        let timers = [
            (ack.map(|ack| ack.repeat_at), "2xx"),
            (ack.map(|ack| ack.give_up_at), "ACK"),
            (ringing, "1xx"),
            (cancel, "CANCEL"),
            (self.own_reinvite.map(|reinvite| reinvite.give_up_at), "re-INVITE"),
        ];
        timers.into_iter().filter_map(|(at, name)| Some((at?, name))).min()
    }
}
