//! Who hears at once that there is news for a box.
//!
//! ```text
//! change_document ─commit─► NOTIFY ─► each instance's listening connection ─► Listener
//! ```
//! A ring is a hint: what it is about is in the store, and whoever has missed one finds it there with the next look. In SQLite
//! the store itself rings, for this process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator as _;
use tokio::sync::mpsc;

use super::postgres::Server;
use super::{BoxName, StoreError, postgres::full_jitter};
use crate::clock;

/// Rings that may wait to be heard.
pub(super) const RINGS: usize = 1_024;
/// The channel of PostgreSQL.
const CHANNEL: &str = "offhook_news";
/// How often a listener looks whether anybody is interested any more.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to listen: the first, doubled each time, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Something is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ring {
    /// For this box, since then, as [`news`](super::Store::news) says it.
    Box(BoxName, i64),
    /// Rings may have been missed: now is the time to look.
    Missed,
}

/// Hears rings until it is dropped.
#[derive(Debug)]
pub struct Listener {
    /// In the order of their commits.
    pub rings: mpsc::Receiver<Ring>,
    /// How often to look all the same.
    pub look_every: Duration,
}

/// Rings within this process.
#[derive(Debug, Default)]
pub(super) struct Bell(Mutex<Vec<mpsc::Sender<Ring>>>);

impl Bell {
    pub(super) fn hang(&self) -> mpsc::Receiver<Ring> {
        let (sender, rings) = mpsc::channel(RINGS);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        rings
    }

    /// Waits for nobody: who does not keep up finds it with the next look.
    pub(super) fn ring(&self, name: &BoxName, changed_at: i64) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| !listener.is_closed());
        for listener in listeners.iter() {
            let _ = listener.try_send(Ring::Box(name.clone(), changed_at));
        }
    }
}

/// What rings in PostgreSQL, in the transaction that changes something: `$1` is a [`payload`].
pub(super) const NOTIFY: &str = "SELECT pg_notify('offhook_news', $1)";

pub(super) fn payload(tenant_id: &str, box_id: &str, changed_at: i64) -> String {
    format!("{changed_at} {tenant_id}/{box_id}")
}

/// What a payload says; one that is not to be understood is of a later release.
fn parse(payload: &str) -> Ring {
    let parts = payload.split_once(' ').and_then(|(at, name)| Some((at.parse().ok()?, name.split_once('/')?)));
    match parts {
        Some((changed_at, (tenant_id, box_id))) => {
            Ring::Box(BoxName { tenant_id: tenant_id.to_owned(), box_id: box_id.to_owned() }, changed_at)
        }
        None => Ring::Missed,
    }
}

/// Passes on what the server rings, over a connection of its own and, when that breaks, over another, until nobody hears it.
pub(super) fn follow(server: &Server, rings: &mpsc::Sender<Ring>) {
    let mut attempts = 0;
    while !rings.is_closed() {
        let Err(error) = hear(server, rings, &mut attempts) else { return };
        // Whoever stops stops listening first.
        if attempts == 0 && !rings.is_closed() {
            tracing::warn!(%error, "The database does not ring; until it does again, wishes reach boxes a little later");
        }
        clock::sleep(full_jitter(RETRY_FIRST, RETRY_MAX, attempts, rand::random()));
        attempts += 1;
    }
}

/// Returns when nobody is interested any more.
fn hear(server: &Server, rings: &mpsc::Sender<Ring>, attempts: &mut u32) -> Result<(), StoreError> {
    let mut client = server.connect()?;
    client.batch_execute(&format!("LISTEN {CHANNEL}"))?;
    if *attempts > 0 {
        tracing::info!(attempts, "The database rings again");
    }
    *attempts = 0;
    if rings.blocking_send(Ring::Missed).is_err() {
        return Ok(());
    }
    loop {
        {
            let mut notifications = client.notifications();
            let mut waiting = notifications.timeout_iter(LOOK);
            while let Some(notification) = waiting.next()? {
                if rings.blocking_send(parse(notification.payload())).is_err() {
                    return Ok(());
                }
            }
        }
        if rings.is_closed() {
            return Ok(());
        }
        // It ends like a silent one; a question says which.
        if client.is_closed() {
            client.batch_execute("")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_a_box_whatever_its_id_is() {
        for box_id in ["1", "a b", "a/b"] {
            let name = BoxName { tenant_id: "bakery".to_owned(), box_id: box_id.to_owned() };
            assert_eq!(parse(&payload("bakery", box_id, 17)), Ring::Box(name, 17));
        }
        for later in ["", "x", "17", "17 bakery", "x bakery/1"] {
            assert_eq!(parse(later), Ring::Missed, "{later:?}");
        }
    }

    #[test]
    fn a_listener_that_is_gone_or_slow_is_not_waited_for() {
        let (bell, name) = (Bell::default(), BoxName { tenant_id: "a".to_owned(), box_id: "1".to_owned() });
        let (mut slow, gone) = (bell.hang(), bell.hang());
        drop(gone);
        for at in 0..=i64::try_from(RINGS).unwrap() {
            bell.ring(&name, at);
        }
        assert_eq!(bell.0.lock().unwrap().len(), 1);
        assert_eq!(slow.try_recv(), Ok(Ring::Box(name, 0)));
    }
}
