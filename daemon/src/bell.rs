//! Wakes tasks that look for work in the database, so that they need not look all the time.

use std::time::Duration;

use tokio::sync::watch;

use crate::storage::UnixMs;

/// A task that waits looks again after this long in any case: the wall clock may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Rung by whoever has written something that is to be done. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Bell(watch::Sender<bool>);

/// Hears a [`Bell`].
#[derive(Debug, Clone)]
pub struct Ear(watch::Receiver<bool>);

impl Bell {
    /// Wakes everybody, also those who listen only after it.
    pub fn ring(&self) {
        self.0.send_modify(|_| {});
    }

    /// Tells everybody to stop.
    pub fn silence(&self) {
        self.0.send_replace(true);
    }

    /// Hears it from now on.
    pub fn ear(&self) -> Ear {
        let mut ear = self.0.subscribe();
        // What was written before is still to be found.
        ear.mark_changed();
        Ear(ear)
    }
}

impl Ear {
    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the bell rings, or `until` by the wall clock, or a moment. False: it is over.
    pub async fn wait(&mut self, until: Option<UnixMs>) -> bool {
        let left = until.map(|until| Duration::from_millis(until.since_ms(UnixMs::now())));
        let sleep = left.map_or(LONGEST_SLEEP, |left| left.min(LONGEST_SLEEP));
        let heard = tokio::time::timeout(sleep, self.0.changed()).await;
        !matches!(heard, Ok(Err(_))) && !self.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_is_heard_also_by_who_listens_later_and_silence_ends_it() {
        let bell = Bell::default();
        let mut ear = bell.ear();
        assert!(ear.wait(None).await, "what was there before");
        bell.ring();
        assert!(ear.wait(None).await);
        assert!(ear.wait(Some(UnixMs(0))).await, "it is time");
        bell.silence();
        assert!(!ear.wait(None).await);
        assert!(!bell.ear().wait(None).await);
    }
}
