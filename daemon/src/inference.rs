//! Worker threads for the models: one engine a thread, one bounded queue each, the live caller first.
//!
//! Three workers, because their engines are separate and a caller waits for each in turn: *ears* (speech recognition),
//! *mind* (embeddings and the answer) and *mouth* (speech synthesis). A job is a closure over the engine; it is run
//! to its end, so whoever wants to give up on a long one shares an abort flag with it.
//!
//! Left out on purpose: more workers per engine. On a small box the second decode would take the first one's core.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Jobs waiting at one worker; more than this and the caller is better served by a fallback than by a queue.
const QUEUE_LIMIT: usize = 64;

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Nobody waits for it: rendering phrases ahead, voicemail transcripts.
    Background,
    /// A caller may need it: a decode begun before we are sure the caller has finished.
    Speculative,
    /// A caller is waiting in silence.
    Live,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is at its limit.
    #[error("the inference queue is full")]
    Full,
    /// The worker was told to stop.
    #[error("the inference worker has stopped")]
    Stopped,
}

/// A thread that owns one engine.
#[derive(Debug)]
pub struct Worker<Engine> {
    shared: Arc<Shared<Engine>>,
    thread: Option<JoinHandle<()>>,
}

/// A handle for submitting jobs; cheap to clone.
#[derive(Debug)]
pub struct Queue<Engine> {
    shared: Arc<Shared<Engine>>,
}

impl<Engine> Clone for Queue<Engine> {
    fn clone(&self) -> Queue<Engine> {
        Queue { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<Engine> {
    state: Mutex<State<Engine>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<Engine> {
    jobs: BinaryHeap<Job<Engine>>,
    /// Rises with each job, so that equals are served in order.
    submitted: u64,
    stopped: bool,
}

struct Job<Engine> {
    priority: Priority,
    number: u64,
    run: Box<dyn FnOnce(&mut Engine) + Send>,
}

impl<Engine> std::fmt::Debug for Job<Engine> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("priority", &self.priority).field("number", &self.number).finish_non_exhaustive()
    }
}

impl<Engine> Ord for Job<Engine> {
    fn cmp(&self, other: &Job<Engine>) -> Ordering {
        self.priority.cmp(&other.priority).then(other.number.cmp(&self.number))
    }
}

impl<Engine> PartialOrd for Job<Engine> {
    fn partial_cmp(&self, other: &Job<Engine>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Engine> PartialEq for Job<Engine> {
    fn eq(&self, other: &Job<Engine>) -> bool {
        self.number == other.number
    }
}

impl<Engine> Eq for Job<Engine> {}

impl<Engine> Shared<Engine> {
    fn lock(&self) -> MutexGuard<'_, State<Engine>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job<Engine>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<Engine: Send + 'static> Worker<Engine> {
    /// Starts a thread called `name`; `engine` is made on it, since some engines must stay on one thread.
    ///
    /// # Errors
    /// The system's error when no thread can be started.
    pub fn start(name: &str, engine: impl FnOnce() -> Engine + Send + 'static) -> std::io::Result<Worker<Engine>> {
        let state = State { jobs: BinaryHeap::new(), submitted: 0, stopped: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            give_way();
            let mut engine = engine();
            while let Some(job) = worker.next() {
                // A model that panics fails this job only; whoever waits for it sees its channel closed.
                if catch_unwind(AssertUnwindSafe(|| (job.run)(&mut engine))).is_err() {
                    tracing::error!("Inference job panicked");
                }
            }
        })?;
        Ok(Worker { shared, thread: Some(thread) })
    }

    /// A handle to this worker's queue.
    pub fn queue(&self) -> Queue<Engine> {
        Queue { shared: Arc::clone(&self.shared) }
    }
}

impl<Engine> Drop for Worker<Engine> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panics were caught and logged; there is nothing to learn from a join error.
            let _ = thread.join();
        }
    }
}

impl<Engine> Queue<Engine> {
    /// Queues `job`; higher priorities run first, equal ones in order.
    ///
    /// # Errors
    /// [`SubmitError::Full`] at the queue's limit (background jobs leave a quarter of it free for callers),
    /// [`SubmitError::Stopped`] after shutdown.
    pub fn submit(
        &self,
        priority: Priority,
        job: impl FnOnce(&mut Engine) + Send + 'static,
    ) -> Result<(), SubmitError> {
        let mut state = self.shared.lock();
        if state.stopped {
            return Err(SubmitError::Stopped);
        }
        let limit = if priority == Priority::Background { QUEUE_LIMIT * 3 / 4 } else { QUEUE_LIMIT };
        if state.jobs.len() >= limit {
            return Err(SubmitError::Full);
        }
        state.submitted += 1;
        let number = state.submitted;
        state.jobs.push(Job { priority, number, run: Box::new(job) });
        self.shared.changed.notify_one();
        Ok(())
    }
}

/// Lets every ordinary thread of the process go before this one: a transcript may come late, a packet may not.
#[expect(unsafe_code, reason = "no safe wrapper for nice among our dependencies")]
fn give_way() {
    const NICER: libc::c_int = 5;
    // SAFETY: no pointers; on Linux it concerns the calling thread alone. Raising the value needs no right and cannot fail.
    unsafe { libc::nice(NICER) };
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A worker whose first job blocks until told, so that what is queued behind it is ordered by the queue alone.
    fn held_worker() -> (Worker<Vec<u32>>, mpsc::Sender<()>) {
        let worker = Worker::start("test", Vec::new).unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel();
        worker
            .queue()
            .submit(Priority::Live, move |_| {
                started.send(()).unwrap();
                let _ = held.recv();
            })
            .unwrap();
        running.recv().unwrap();
        (worker, release)
    }

    #[test]
    fn the_live_caller_goes_first_and_equals_keep_their_order() {
        let (worker, release) = held_worker();
        let queue = worker.queue();
        for (priority, value) in
            [(Priority::Background, 1), (Priority::Speculative, 2), (Priority::Live, 3), (Priority::Live, 4)]
        {
            queue.submit(priority, move |done: &mut Vec<u32>| done.push(value)).unwrap();
        }
        let (result, order) = mpsc::channel();
        queue.submit(Priority::Background, move |done: &mut Vec<u32>| result.send(done.clone()).unwrap()).unwrap();
        release.send(()).unwrap();
        assert_eq!(order.recv().unwrap(), [3, 4, 2, 1]);
    }

    #[test]
    fn the_queue_is_bounded_and_keeps_room_for_callers() {
        let (worker, release) = held_worker();
        let queue = worker.queue();
        let background =
            std::iter::repeat_with(|| queue.submit(Priority::Background, |_| {})).take_while(Result::is_ok).count();
        assert_eq!(background, QUEUE_LIMIT * 3 / 4);
        let live = std::iter::repeat_with(|| queue.submit(Priority::Live, |_| {})).take_while(Result::is_ok).count();
        assert_eq!(background + live, QUEUE_LIMIT);
        release.send(()).unwrap();
    }

    #[test]
    fn a_job_that_panics_does_not_stop_the_worker() {
        let worker = Worker::start("test", Vec::<u32>::new).unwrap();
        worker.queue().submit(Priority::Live, |_| panic!("engine bug")).unwrap();
        let (alive, answer) = mpsc::channel();
        worker.queue().submit(Priority::Live, move |_| alive.send(()).unwrap()).unwrap();
        assert_eq!(answer.recv(), Ok(()));
    }
}
