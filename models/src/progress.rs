//! How fetching, importing and verifying report what they are doing.

/// Receives progress, on the thread that does the work. All methods have empty defaults; `()` ignores everything.
pub trait Progress {
    /// Work on `name` begins: a file of a model or a package. `total_bytes` is 0 when unknown.
    fn started(&mut self, name: &str, total_bytes: u64) {
        let _ = (name, total_bytes);
    }

    /// `bytes` more of it are done.
    fn advanced(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// What happens next and has no measure: "converting", "checking", "waiting for another offhook".
    fn step(&mut self, what: &str) {
        let _ = what;
    }

    /// The current one is done, well or not.
    fn finished(&mut self) {}
}

impl Progress for () {}
