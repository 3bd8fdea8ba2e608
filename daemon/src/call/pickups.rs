//! Calls that somebody may take who was not asked: those that ring elsewhere, and those that are parked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sip_stack::endpoint::CallHandle;
use tokio::sync::{mpsc, oneshot};

use super::leg::Leg;

/// All calls that may be taken; cheap to clone.
#[derive(Clone, Default)]
pub struct Pickups(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The one that has waited longest first.
    calls: BTreeMap<u64, Call>,
    next: u64,
}

struct Call {
    from: Where,
    /// By which it rings.
    legs: Vec<CallHandle>,
    claim: mpsc::Sender<Claim>,
}

#[derive(PartialEq, Eq)]
enum Where {
    /// It rings for these extensions.
    Rings(Vec<String>),
    /// It is parked at this place.
    Parked(u8),
}

impl Where {
    fn rings_for(&self, wanted: impl Fn(&String) -> bool) -> bool {
        matches!(self, Where::Rings(extensions) if extensions.iter().any(wanted))
    }
}

/// Somebody takes the call.
pub(super) struct Claim {
    /// Comes once it is answered; never if that fails.
    pub(super) leg: oneshot::Receiver<Leg>,
    /// Who.
    pub(super) extension: String,
}

/// A call that may be taken; dropped, it may not any more.
pub(super) struct Offered {
    id: u64,
    pickups: Pickups,
    claims: mpsc::Receiver<Claim>,
}

impl Pickups {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call rings for `extensions`.
    pub(super) fn offer(&self, extensions: &[String]) -> Offered {
        self.insert(&mut self.state(), Where::Rings(extensions.to_vec()))
    }

    /// A call is parked at `place`; `None` if there is one.
    pub(super) fn park(&self, place: u8) -> Option<Offered> {
        let mut state = self.state();
        let is_free = state.calls.values().all(|call| call.from != Where::Parked(place));
        is_free.then(|| self.insert(&mut state, Where::Parked(place)))
    }

    fn insert(&self, state: &mut State, from: Where) -> Offered {
        let (claim, claims) = mpsc::channel(1);
        let id = state.next;
        state.next += 1;
        state.calls.insert(id, Call { from, legs: Vec::new(), claim });
        Offered { id, pickups: self.clone(), claims }
    }

    /// `by` takes the call that has rung longest, of those that ring for `extension`, else first of those that ring for one
    /// of `colleagues`. The answered leg goes into what is returned; nothing rings otherwise.
    pub(super) fn claim(
        &self,
        by: &str,
        extension: Option<&str>,
        colleagues: &[String],
    ) -> Option<oneshot::Sender<Leg>> {
        let state = self.state();
        let find = |wanted: &dyn Fn(&String) -> bool| {
            state.calls.iter().find(|(_, call)| call.from.rings_for(wanted)).map(|(id, _)| *id)
        };
        let id = match extension {
            Some(extension) => find(&|rung| rung == extension)?,
            None => find(&|rung| colleagues.contains(rung)).or_else(|| find(&|_| true))?,
        };
        Self::take(state, id, by)
    }

    /// A leg by which the call `id` rings, as long as it does.
    fn note_leg(&self, id: u64, leg: CallHandle) {
        if let Some(call) = self.state().calls.get_mut(&id) {
            call.legs.push(leg);
        }
    }

    /// `by` takes the call that rings by `leg`.
    pub(super) fn claim_leg(&self, by: &str, leg: CallHandle) -> Option<oneshot::Sender<Leg>> {
        let state = self.state();
        let id = state.calls.iter().find(|(_, call)| call.legs.contains(&leg)).map(|(id, _)| *id)?;
        Self::take(state, id, by)
    }

    /// `by` takes the call that is parked at `place`.
    pub(super) fn claim_parked(&self, by: &str, place: u8) -> Option<oneshot::Sender<Leg>> {
        let state = self.state();
        let id = state.calls.iter().find(|(_, call)| call.from == Where::Parked(place)).map(|(id, _)| *id)?;
        Self::take(state, id, by)
    }

    fn take(mut state: MutexGuard<'_, State>, id: u64, by: &str) -> Option<oneshot::Sender<Leg>> {
        // Nobody else can take it from now on.
        let call = state.calls.remove(&id)?;
        let (leg, answered) = oneshot::channel();
        let claim = Claim { leg: answered, extension: by.to_owned() };
        call.claim.try_send(claim).is_ok().then_some(leg)
    }
}

/// Says by which leg a call rings that may be taken.
#[derive(Clone)]
pub(super) struct LegNote {
    id: u64,
    pickups: Pickups,
}

impl LegNote {
    /// This one.
    pub(super) fn set(&self, leg: CallHandle) {
        self.pickups.note_leg(self.id, leg);
    }
}

impl Offered {
    /// For whoever makes it ring.
    pub(super) fn leg_note(&self) -> LegNote {
        LegNote { id: self.id, pickups: self.pickups.clone() }
    }

    /// Somebody takes the call; waits for ever if nobody does.
    pub(super) async fn claimed(&mut self) -> Claim {
        match self.claims.recv().await {
            Some(claim) => claim,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.pickups.state().calls.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(extensions: &[&str]) -> Vec<String> {
        extensions.iter().map(|extension| (*extension).to_owned()).collect()
    }

    #[tokio::test]
    async fn the_call_that_has_rung_longest_is_taken_once() {
        let pickups = Pickups::default();
        let mut first = pickups.offer(&names(&["101", "102"]));
        let mut second = pickups.offer(&names(&["103"]));
        assert!(pickups.claim("104", Some("109"), &[]).is_none());
        let _leg = pickups.claim("104", None, &names(&["103"])).unwrap();
        assert_eq!(second.claimed().await.extension, "104");
        let _leg = pickups.claim("105", None, &[]).unwrap();
        assert_eq!(first.claimed().await.extension, "105");
        assert!(pickups.claim("106", None, &[]).is_none());
    }

    #[test]
    fn a_place_takes_one_call_and_only_who_names_it_gets_that() {
        let pickups = Pickups::default();
        let parked = pickups.park(1).unwrap();
        assert!(pickups.park(1).is_none() && pickups.park(2).is_some());
        assert!(pickups.claim("102", None, &[]).is_none(), "it does not ring");
        assert!(pickups.claim_parked("102", 1).is_some() && pickups.claim_parked("103", 1).is_none());
        drop(parked);
        assert!(pickups.park(1).is_some());
    }

    #[test]
    fn what_does_not_ring_any_more_cannot_be_taken() {
        let pickups = Pickups::default();
        drop(pickups.offer(&names(&["101"])));
        assert!(pickups.claim("102", Some("101"), &[]).is_none());
    }
}
