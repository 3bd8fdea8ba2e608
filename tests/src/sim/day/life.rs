//! What each party is told of its calls, in which order: one life per call, from its INVITE to `CallEnded`.

use std::collections::{BTreeMap, BTreeSet};

use sip_stack::endpoint::{CallHandle, EndCause, Event, TransferNews};

/// The calls of one party.
#[derive(Debug, Default)]
pub(super) struct Lives {
    calls: BTreeMap<CallHandle, Life>,
}

/// One call, as its user knows it.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) call_id: String,
    pub(super) is_outgoing: bool,
    pub(super) is_answered: bool,
    pub(super) is_ended: bool,
    is_acked: bool,
    /// Why it ends or will end: what its user did, or was told.
    cause: Option<EndCause>,
    pub(super) own_reinvite: bool,
    pub(super) own_update: bool,
    peer_reinvite: bool,
    /// We have answered it.
    unconfirmed_reinvite: bool,
    refers: usize,
    /// Requests of ours within it that have no answer.
    pub(super) requests: BTreeSet<u64>,
}

impl Lives {
    pub(super) fn placed(&mut self, call: CallHandle, call_id: String) {
        let life = Life { is_outgoing: true, call_id, ..Life::default() };
        assert!(self.calls.insert(call, life).is_none(), "a handle is used twice");
    }

    pub(super) fn of(&mut self, call: CallHandle) -> &mut Life {
        self.calls.get_mut(&call).expect("the call is known")
    }

    pub(super) fn running(&self) -> Vec<CallHandle> {
        self.calls.iter().filter(|(_, life)| !life.is_ended).map(|(call, _)| *call).collect()
    }

    /// # Panics
    /// The event may not come now.
    pub(super) fn check(&mut self, event: &Event) {
        let Some(call) = event.call() else { return };
        if let Event::InviteReceived { request, .. } = event {
            let life = Life { call_id: request.headers.call_id().unwrap_or_default(), ..Life::default() };
            let is_new = self.calls.insert(call, life).is_none();
            return assert!(is_new, "a handle is used twice");
        }
        let Some(life) = self.calls.get_mut(&call) else { panic!("a call that nobody knows: {event:?}") };
        assert!(!life.is_ended, "after the end of its call: {event:?}");
        assert!(life.takes(event), "now, after {life:?}: {event:?}");
    }

    /// Every call that began has ended.
    pub(super) fn check_end(&self) {
        for (call, life) in &self.calls {
            assert!(life.is_ended, "{call:?} never ended: {life:?}");
            assert!(life.requests.is_empty(), "{call:?} leaves requests: {life:?}");
        }
    }
}

impl Life {
    /// The user has done something that ends it.
    pub(super) fn ended_by(&mut self, what: EndCause) {
        self.cause.get_or_insert(what);
    }

    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }

    pub(super) fn reinvite_answered(&mut self) {
        self.peer_reinvite = false;
        self.unconfirmed_reinvite = true;
    }

    pub(super) fn reinvite_rejected(&mut self) {
        self.peer_reinvite = false;
    }

    pub(super) fn referred(&mut self) {
        self.refers += 1;
    }

    /// An INVITE of ours within it has no final response.
    pub(super) fn has_open_invite(&self) -> bool {
        self.own_reinvite || (self.is_outgoing && !self.is_answered)
    }

    /// May it come now? Notes that it did.
    fn takes(&mut self, event: &Event) -> bool {
        let takes = |flag: &mut bool| std::mem::replace(flag, false);
        match event {
            // The answer may wait for a PRACK: then it is not out.
            Event::Cancelled { .. } => !self.is_outgoing && !self.is_acked && self.end(EndCause::PeerGaveUp),
            Event::Rejected { .. } => self.is_outgoing && !self.is_answered && self.end(EndCause::PeerRefused),
            Event::TimedOut { .. } => self.is_outgoing && !self.is_answered && self.end(EndCause::NoResponse),
            Event::TransportFailed { .. } => {
                self.is_outgoing && !self.is_answered && self.end(EndCause::TransportFailed)
            }
            Event::ByeReceived { .. } => self.end(EndCause::PeerHungUp),
            Event::AckTimedOut { .. } => {
                let is_awaited = !self.is_outgoing && self.is_answered && !self.is_acked;
                (is_awaited || takes(&mut self.unconfirmed_reinvite)) && self.end(EndCause::NoAck)
            }
            Event::ProvisionalReceived { .. } => self.is_outgoing && !self.is_answered,
            Event::Answered { .. } => {
                self.is_outgoing && self.cause.is_none() && !std::mem::replace(&mut self.is_answered, true)
            }
            Event::AckReceived { .. } => {
                !self.is_outgoing && self.is_answered && !std::mem::replace(&mut self.is_acked, true)
            }
            Event::ReinviteReceived { .. } => self.is_answered && !std::mem::replace(&mut self.peer_reinvite, true),
            Event::ReinviteCancelled { .. } => takes(&mut self.peer_reinvite),
            Event::ReinviteConfirmed { .. } => takes(&mut self.unconfirmed_reinvite),
            Event::ReinviteAnswered { .. } => takes(&mut self.own_reinvite),
            Event::ReinviteRejected { .. } => takes(&mut self.own_reinvite),
            // One that waited for 20 s has been refused without a word.
            Event::UpdateReceived { .. } => self.is_answered,
            Event::UpdateAnswered { .. } => takes(&mut self.own_update),
            Event::UpdateRejected { .. } => takes(&mut self.own_update),
            Event::Transfer { news, .. } => self.takes_news(*news),
            Event::InfoReceived { .. } | Event::ReferReceived { .. } | Event::RequestReceived { .. } => true,
            Event::AuthenticationFailed { .. } => true,
            Event::RequestAnswered { request, .. } | Event::RequestFailed { request, .. } => {
                self.requests.remove(&request.as_u64())
            }
            Event::CallEnded { cause, .. } => {
                self.is_ended = true;
                self.cause.map_or_else(|| self.may_end_untold(*cause), |known| known == *cause)
            }
            Event::InviteReceived { .. }
            | Event::Registration { .. }
            | Event::DestinationFailed { .. }
            | Event::SubscriptionRequested { .. }
            | Event::SubscriptionEnded { .. }
            | Event::PeerErrorSeen { .. } => false,
        }
    }

    fn takes_news(&mut self, news: TransferNews) -> bool {
        let is_known = self.refers > 0;
        let is_last = match news {
            TransferNews::Accepted { will_notify } => !will_notify,
            TransferNews::Rejected { .. } | TransferNews::Failed { .. } => true,
            TransferNews::Progress { is_terminated, .. } => is_terminated,
        };
        // The last NOTIFY may overtake the 202, which then is told without a transfer.
        let is_late = matches!(news, TransferNews::Accepted { .. } | TransferNews::Failed { .. });
        if is_last {
            self.refers = self.refers.saturating_sub(1);
        }
        is_known || is_late
    }

    /// Only the first thing that ends a call does.
    fn end(&mut self, cause: EndCause) -> bool {
        self.cause.get_or_insert(cause);
        true
    }

    /// What the stack does by itself has no event of its own: refreshing a session, repeating a
    /// provisional response. Nor does it say of a rejection within a dialog that it is the end of it.
    fn may_end_untold(&self, cause: EndCause) -> bool {
        match cause {
            EndCause::SessionExpired | EndCause::DialogLost => self.is_answered,
            EndCause::NoPrack => !self.is_outgoing,
            EndCause::HungUp
            | EndCause::Refused
            | EndCause::PeerHungUp
            | EndCause::PeerRefused
            | EndCause::PeerGaveUp
            | EndCause::NoResponse
            | EndCause::TransportFailed
            | EndCause::NoAck => false,
        }
    }
}
