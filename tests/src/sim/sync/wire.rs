//! One stream between both: in order within each direction, late, stalled or cut.

use std::time::Instant;

use cloud::sync::stream::{Config, Stream};

/// One stream, from its opening until the cloud has forgotten it.
#[derive(Debug)]
pub(super) struct Wire {
    /// Which start of the box it belongs to, and the engine's own number.
    pub(super) of_box: (u64, u64),
    /// The cloud's machine; None once its process has died or it has ended.
    pub(super) cloud: Option<Stream>,
    /// Whether the box still listens.
    pub(super) box_listens: bool,
    /// Nothing arrives any more, and nobody is told.
    pub(super) dead: bool,
    /// Nothing arrives before this moment, in milliseconds.
    pub(super) stalled_until: u64,
    last_to_cloud: u64,
    last_to_box: u64,
}

impl Wire {
    pub(super) fn new(of_box: (u64, u64), config: Config, now: Instant) -> Self {
        Wire {
            of_box,
            cloud: Some(Stream::new(config, now)),
            box_listens: true,
            dead: false,
            stalled_until: 0,
            last_to_cloud: 0,
            last_to_box: 0,
        }
    }

    /// When something sent now, which takes so long, arrives: after what was sent before it.
    pub(super) fn arrives(&mut self, at_ms: u64, to_cloud: bool) -> u64 {
        let last = if to_cloud { &mut self.last_to_cloud } else { &mut self.last_to_box };
        *last = at_ms.max(self.stalled_until).max(*last + 1);
        *last
    }
}
