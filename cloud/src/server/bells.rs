//! Which streams there are, by box, so that one is woken and not all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::BoxName;

/// The bells of all streams.
#[derive(Debug, Default)]
pub(super) struct Bells(Mutex<BTreeMap<BoxName, Vec<Arc<Notify>>>>);

impl Bells {
    /// A bell for a stream of this box. A box may have several for a moment: an old one whose end nobody has seen yet.
    pub(super) fn hang(self: &Arc<Self>, name: &BoxName) -> Bell {
        let notify = Arc::new(Notify::new());
        self.lock().entry(name.clone()).or_default().push(Arc::clone(&notify));
        Bell { bells: Arc::clone(self), name: name.clone(), notify }
    }

    /// There is something new for this box.
    pub(super) fn ring(&self, name: &BoxName) {
        for notify in self.lock().get(name).into_iter().flatten() {
            notify.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BoxName, Vec<Arc<Notify>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's bell; taken down when it is dropped.
#[derive(Debug)]
pub(super) struct Bell {
    bells: Arc<Bells>,
    name: BoxName,
    notify: Arc<Notify>,
}

impl Bell {
    /// The next ring; however often it has rung since the last, that is one.
    pub(super) async fn rung(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut bells = self.bells.lock();
        if let Some(of_box) = bells.get_mut(&self.name) {
            of_box.retain(|notify| !Arc::ptr_eq(notify, &self.notify));
            if of_box.is_empty() {
                bells.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn name(box_id: &str) -> BoxName {
        BoxName { tenant_id: "bakery".to_owned(), box_id: box_id.to_owned() }
    }

    fn has_rung(bell: &Bell) -> bool {
        let mut rung = std::pin::pin!(bell.rung());
        rung.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn all_streams_of_a_box_are_woken_once_and_no_others() {
        let bells = Arc::new(Bells::default());
        let (old, new, other) = (bells.hang(&name("1")), bells.hang(&name("1")), bells.hang(&name("2")));
        bells.ring(&name("1"));
        bells.ring(&name("1"));
        bells.ring(&name("3"));
        assert_eq!([&old, &new, &other].map(has_rung), [true, true, false], "also if nobody waited at that moment");
        assert!(!has_rung(&new), "twice is once");
        drop(old);
        bells.ring(&name("1"));
        assert!(has_rung(&new));
        drop((new, other));
        assert!(bells.lock().is_empty(), "nothing is kept of streams that have ended");
    }
}
