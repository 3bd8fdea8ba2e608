//! Our binding at a registrar: when to refresh it, when to try again (RFC 3261 §10.2, RFC 5626 §4.4, §4.5).
//!
//! ```text
//!   register ─► Registering ──2xx──► Registered
//!                 ▲  │  ▲ ▲   423        │ refresh is due, flow lost
//!     back-off is │  │  │ └──(longer)    │
//!     over        │  │  └───────────────┘
//!                 │  ▼ anything else
//!               Waiting              unregister, from anywhere ─► Unregistering ──any response──► gone
//! ```

use std::time::{Duration, Instant};

use crate::digest::Authenticator;
use crate::endpoint::{FlowId, RegistrationConfig};
use crate::message::{NameAddr, Request};
use crate::transaction::table::TransactionId;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) config: RegistrationConfig,
    pub(crate) state: State,
    /// What every REGISTER of ours has in common: Call-ID, From tag, Contact.
    pub(crate) template: Request,
    pub(crate) cseq: u32,
    /// What we ask for; a 423 makes it longer. Seconds.
    pub(crate) expires_seconds: u32,
    pub(crate) authenticator: Option<Authenticator>,
    /// The connection the registrar knows us by.
    pub(crate) flow: Option<FlowId>,
    /// In a row, without a 2xx between.
    pub(crate) failures: u32,
    /// Proxies our requests have to visit (RFC 3608).
    pub(crate) service_route: Vec<NameAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Registering(TransactionId),
    Registered { refresh_at: Instant },
    Waiting { retry_at: Instant },
    Unregistering(TransactionId),
}

/// After a timeout, a lost connection or a 5xx.
const RETRY_BASE: Duration = Duration::from_secs(30);
/// After a refusal, which the next attempt will hardly change; and the longest wait of all.
const REFUSED_BASE: Duration = Duration::from_secs(300);
const RETRY_MAX: Duration = Duration::from_secs(1_800);
/// A binding that lasts long is refreshed this long before its end.
const REFRESH_MARGIN_SECONDS: u32 = 600;
/// The longest interval that we let a registrar force on us: a day.
const EXPIRES_MAX_SECONDS: u32 = 86_400;

impl Registration {
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.state {
            State::Registered { refresh_at } => Some((refresh_at, "REGISTER")),
            State::Waiting { retry_at } => Some((retry_at, "REGISTER")),
            State::Registering(_) | State::Unregistering(_) => None,
        }
    }

    /// The registrar has taken us for so long. Seconds.
    pub(crate) fn note_success(&mut self, granted_seconds: u32, now: Instant) {
        self.failures = 0;
        self.state = State::Registered { refresh_at: now + refresh_after(granted_seconds) };
    }

    /// 423: it wants a longer interval. `false`: we have asked for as long before, or it is absurd.
    pub(crate) fn note_too_brief(&mut self, least_seconds: Option<u32>) -> bool {
        let Some(least) = least_seconds else { return false };
        let is_longer = least > self.expires_seconds && least <= EXPIRES_MAX_SECONDS;
        if is_longer {
            self.expires_seconds = least;
        }
        is_longer
    }

    /// It did not work. Gives back the wait: doubling from attempt to attempt, the last half of it at random, so that a
    /// thousand boxes do not come back at once; never less than the registrar asks for.
    pub(crate) fn note_failure(
        &mut self,
        is_refusal: bool,
        retry_after_seconds: Option<u32>,
        random_permille: u32,
        now: Instant,
    ) -> Duration {
        let base = if is_refusal { REFUSED_BASE } else { RETRY_BASE };
        let doubled = base.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        let jittered = doubled / 2 + doubled / 2 * random_permille.min(1_000) / 1_000;
        let asked = retry_after_seconds.map(u64::from).map(Duration::from_secs).unwrap_or_default();
        let wait = jittered.max(asked.min(RETRY_MAX));
        self.state = State::Waiting { retry_at: now + wait };
        wait
    }
}

/// Half of a short interval; of a long one all but ten minutes. A lost REGISTER can be repeated in either.
fn refresh_after(granted_seconds: u32) -> Duration {
    let margin = REFRESH_MARGIN_SECONDS.min(granted_seconds / 2);
    Duration::from_secs(u64::from((granted_seconds - margin).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_refreshed_well_before_its_end() {
        let table = [(3_600, 3_000), (1_200, 600), (60, 30), (1, 1), (0, 1)];
        for (granted, expected) in table {
            assert_eq!(refresh_after(granted).as_secs(), expected, "{granted}");
        }
    }
}
