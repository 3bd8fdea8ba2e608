//! Who waits for whom: the order of callers in each queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The lines of all queues; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    lines: HashMap<String, VecDeque<u64>>,
    next: u64,
    /// Rises with each change.
    changes: watch::Sender<u64>,
}

/// A place in a line; dropped, it is left, and everybody behind moves up.
#[derive(Debug)]
pub(super) struct Ticket {
    lines: Lines,
    queue: String,
    id: u64,
    changes: watch::Receiver<u64>,
}

impl Lines {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last place in the line of `queue`; `None` if as many as `limit` wait.
    pub(super) fn enter(&self, queue: &str, limit: usize) -> Option<Ticket> {
        let mut state = self.state();
        let id = state.next;
        let line = state.lines.entry(queue.to_owned()).or_default();
        if line.len() >= limit {
            return None;
        }
        line.push_back(id);
        state.next += 1;
        let changes = state.changes.subscribe();
        Some(Ticket { lines: self.clone(), queue: queue.to_owned(), id, changes })
    }
}

impl Ticket {
    /// How many are before this one.
    pub(super) fn before(&self) -> usize {
        let state = self.lines.state();
        state.lines.get(&self.queue).and_then(|line| line.iter().position(|id| *id == self.id)).unwrap_or_default()
    }

    /// Returns when a line has changed.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.lines.state();
        if let Some(line) = state.lines.get_mut(&self.queue) {
            line.retain(|id| *id != self.id);
            if line.is_empty() {
                state.lines.remove(&self.queue);
            }
        }
        state.changes.send_modify(|changes| *changes += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_leaves_moves_those_behind_up() {
        let lines = Lines::default();
        let first = lines.enter("sales", 2).unwrap();
        let mut second = lines.enter("sales", 2).unwrap();
        assert!(lines.enter("sales", 2).is_none(), "the line is full");
        let elsewhere = lines.enter("service", 2).unwrap();
        assert_eq!((first.before(), second.before(), elsewhere.before()), (0, 1, 0));
        drop(first);
        second.changed().await;
        assert_eq!(second.before(), 0);
        assert!(lines.enter("sales", 2).is_some());
    }
}
