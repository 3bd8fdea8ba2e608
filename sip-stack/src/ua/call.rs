//! One call: what the INVITE usage of a dialog keeps (RFC 3261 §13 to §15). Data only; the sides work on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::prack::Provisionals;
use super::refer::OwnRefer;
use super::update::{OwnUpdate, PeerUpdate};
use crate::dialog::session_timer::SessionTimer;
use crate::dialog::{Dialog, DialogId};
use crate::digest::Authenticator;
use crate::endpoint::{EndCause, RequestHandle, Transmit};
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
    /// An UPDATE of ours is under way.
    pub(crate) own_update: Option<OwnUpdate>,
    /// An UPDATE of theirs that waits for our user.
    pub(crate) peer_update: Option<PeerUpdate>,
    /// The peer's latest Allow names UPDATE.
    pub(crate) peer_takes_update: bool,
    pub(crate) provisionals: Provisionals,
    /// The first offer was answered before the final response, reliably.
    pub(crate) early_answered: bool,
    pub(crate) session_timer: Option<SessionTimer>,
    /// Our latest session description, to be offered again when a session is refreshed.
    pub(crate) local_sdp: Option<Vec<u8>>,
    /// REFERs of ours whose outcome is not yet told.
    pub(crate) own_refers: Vec<OwnRefer>,
    /// What our user asked for within this call and has no answer to.
    pub(crate) requests: Vec<RequestHandle>,
    /// Answers for our requests when somebody asks who we are.
    pub(crate) authenticator: Option<Authenticator>,
    /// What ends it, once something does.
    pub(crate) end_cause: Option<EndCause>,
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
            own_update: None,
            peer_update: None,
            peer_takes_update: false,
            provisionals: Provisionals::default(),
            early_answered: false,
            session_timer: None,
            local_sdp: None,
            own_refers: Vec::new(),
            requests: Vec::new(),
            authenticator: None,
            end_cause: None,
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

    /// Has an offer of ours no answer yet?
    pub(crate) fn is_negotiating(&self) -> bool {
        self.own_reinvite.is_some()
            || self.unacked.is_some()
            || self.own_update.is_some_and(|update| update.has_offer)
            || self.pending_ack.as_ref().is_some_and(|pending| pending.expects_answer)
            || (matches!(self.phase, Phase::Outgoing(_)) && !self.early_answered)
    }

    /// Has an offer of theirs no answer yet?
    pub(crate) fn owes_answer(&self) -> bool {
        self.peer_reinvite.is_some() || (matches!(self.phase, Phase::Incoming(_)) && !self.early_answered)
    }

    /// The next deadline. These are the transaction user's own waits, so they carry no letter of the RFC but its words.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let ack = self.pending_ack.as_ref();
        let (ringing, cancel) = match &self.phase {
            Phase::Incoming(incoming) => (incoming.ringing.as_ref().map(|ringing| ringing.repeat_at), None),
            Phase::Outgoing(Outgoing { cancel: Some(Cancel::Sent { give_up_at }), .. }) => (None, Some(*give_up_at)),
            Phase::Outgoing(_) | Phase::Up | Phase::Ending => (None, None),
        };
        let reliable = match &self.phase {
            Phase::Incoming(_) => self.provisionals.pending.as_ref().map(|one| one.repeat_at.min(one.give_up_at)),
            Phase::Outgoing(_) | Phase::Up | Phase::Ending => None,
        };
        let session = match (&self.phase, self.session_timer.as_ref().map(SessionTimer::poll_timeout)) {
            (Phase::Up, Some((at, name))) => (Some(at), name),
            (Phase::Incoming(_) | Phase::Outgoing(_) | Phase::Up | Phase::Ending, _) => (None, "session"),
        };
        let timers = [
            (ack.map(|ack| ack.repeat_at), "2xx"),
            (ack.map(|ack| ack.give_up_at), "ACK"),
            (ringing, "1xx"),
            (cancel, "CANCEL"),
            (self.own_reinvite.map(|reinvite| reinvite.give_up_at), "re-INVITE"),
            (self.peer_update.as_ref().map(|update| update.give_up_at), "UPDATE"),
            (reliable, "PRACK"),
            session,
        ];
        timers.into_iter().filter_map(|(at, name)| Some((at?, name))).min()
    }
}
