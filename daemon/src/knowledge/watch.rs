//! Looks at the knowledge folder from time to time, on a thread of its own: one that hangs on a dead network folder holds
//! up nobody else, and nobody waits for it at the end.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::{Folder, Sources};

/// Goes on until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _stop: Sender<()>,
}

impl Watch {
    /// Looks at `folder` after every `interval`, and hands over what has changed. `learn` may take its time.
    ///
    /// # Errors
    /// The system's when no thread can be started.
    pub fn start(
        mut folder: Folder,
        interval: Duration,
        mut learn: impl FnMut(&Folder, Sources) + Send + 'static,
    ) -> io::Result<Watch> {
        let (stop, stopped) = channel();
        std::thread::Builder::new().name("knowledge".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if let Some(sources) = folder.look() {
                    learn(&folder, sources);
                }
            }
        })?;
        Ok(Watch { _stop: stop })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_change_is_handed_over_and_a_dropped_watch_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (learnt, news) = channel();
        let learn = move |_: &Folder, sources: Sources| {
            let _ = learnt.send(sources.documents.len());
        };
        let watch = Watch::start(Folder::new(dir.path()), Duration::from_millis(1), learn).unwrap();
        assert_eq!(news.recv(), Ok(0), "the empty folder is told");
        std::fs::write(dir.path().join("a.md"), "A").unwrap();
        // That there is something to read now is told first: the file itself counts once it looks the same twice.
        assert_eq!(news.iter().find(|documents| *documents > 0), Some(1));
        drop(watch);
        // The thread drops its end; anything else would wait for ever.
        assert!(news.iter().all(|documents| documents == 0));
    }
}
