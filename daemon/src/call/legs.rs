//! Which task each dialog's events go to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sip_stack::endpoint::{CallHandle, Event};
use tokio::sync::mpsc;
use tracing::debug;

/// SIP events waiting for one leg.
const EVENT_LIMIT: usize = 64;

/// All legs that are listened to; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Legs(Arc<Mutex<HashMap<CallHandle, mpsc::Sender<Box<Event>>>>>);

/// The events of one leg; dropping it ends their delivery.
#[derive(Debug)]
pub(super) struct LegEvents {
    handle: CallHandle,
    /// In boxes: a channel has room for 32 from the beginning, and few ever wait.
    events: mpsc::Receiver<Box<Event>>,
    legs: Legs,
}

impl Legs {
    fn table(&self) -> MutexGuard<'_, HashMap<CallHandle, mpsc::Sender<Box<Event>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events of `handle` from now on. For a call of ours: within the command that places it, so that none is missed.
    pub(super) fn open(&self, handle: CallHandle) -> LegEvents {
        let (sender, events) = mpsc::channel(EVENT_LIMIT);
        self.table().insert(handle, sender);
        LegEvents { handle, events, legs: self.clone() }
    }

    /// Hands an event to whom it concerns.
    pub(super) fn deliver(&self, handle: CallHandle, event: Event) {
        let table = self.table();
        if let Some(leg) = table.get(&handle)
            && leg.try_send(Box::new(event)).is_err()
        {
            debug!("SIP event for a leg that has ended or does not listen");
        }
    }
}

impl LegEvents {
    /// The leg.
    pub(super) fn handle(&self) -> CallHandle {
        self.handle
    }

    /// The next event; `None` never comes before the leg is dropped.
    pub(super) async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await.map(|event| *event)
    }
}

impl Drop for LegEvents {
    fn drop(&mut self) {
        self.legs.table().remove(&self.handle);
    }
}
