//! Session timers: a session ends by itself unless one side keeps refreshing it (RFC 4028).
//!
//! ```text
//!   agreed ──half of the interval──► refresh, if that is our part ──2xx──► agreed
//!      │
//!      └──the interval, less a third or 32 s──► BYE, whoever should have refreshed
//! ```
//! Whoever does not know session timers is left in peace: then there is none.

use std::time::{Duration, Instant};

use crate::message::header::{Refresher, SessionExpires};
use crate::message::{HeaderName, Headers};

/// The option tag.
pub(crate) const TIMER: &str = "timer";
/// The least any side may ask for (RFC 4028 §5). Seconds.
pub(crate) const MIN_SE_SECONDS: u32 = 90;

/// What we want of session timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimerConfig {
    /// Asked for; the peer may choose less. Seconds.
    pub interval_seconds: u32,
    /// Shorter ones are refused with 422: each refresh costs both sides. Seconds, 90 or more.
    pub min_seconds: u32,
}

impl Default for SessionTimerConfig {
    fn default() -> Self {
        Self { interval_seconds: 1_800, min_seconds: MIN_SE_SECONDS }
    }
}

/// A running timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionTimer {
    pub(crate) interval_seconds: u32,
    pub(crate) we_refresh: bool,
    /// `None` while the peer refreshes, or a refresh of ours is under way.
    pub(crate) refresh_at: Option<Instant>,
    pub(crate) expire_at: Instant,
}

/// What a UAS answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) interval_seconds: u32,
    pub(crate) refresher: Refresher,
    /// The peer knows session timers, so we can insist.
    pub(crate) is_known: bool,
}

/// 422 with this Min-SE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSmall(pub(crate) u32);

impl SessionTimer {
    pub(crate) fn start(interval_seconds: u32, we_refresh: bool, now: Instant) -> Self {
        let interval = Duration::from_secs(u64::from(interval_seconds));
        let margin = Duration::from_secs(32).min(interval / 3);
        Self {
            interval_seconds,
            we_refresh,
            refresh_at: we_refresh.then(|| now + interval / 2),
            expire_at: now + interval - margin,
        }
    }

    /// What a 2xx to a request of ours says (§7.2). `None`: no timer.
    pub(crate) fn of_response(headers: &Headers, now: Instant) -> Option<Self> {
        let expires = headers.session_expires().ok().flatten()?;
        // Without the parameter the peer has not understood; then we refresh, which cannot be wrong.
        let we_refresh = expires.refresher() != Some(Refresher::Uas);
        Some(Self::start(expires.seconds.max(MIN_SE_SECONDS), we_refresh, now))
    }

    /// A refresh did not go through: again at half of what is left.
    pub(crate) fn note_failed_refresh(&mut self, now: Instant) {
        if self.we_refresh {
            let left = self.expire_at.saturating_duration_since(now);
            self.refresh_at = Some(now + (left / 2).max(Duration::from_secs(1)));
        }
    }

    pub(crate) fn poll_timeout(&self) -> (Instant, &'static str) {
        let refresh = self.refresh_at.map(|at| (at, "refresh"));
        refresh.into_iter().chain([(self.expire_at, "session")]).min().unwrap_or((self.expire_at, "session"))
    }
}

/// What a UAS makes of a request (§9): the peer's wish bounded by both sides' least, the refresher it names, else the
/// one that keeps the work with whoever asked.
pub(crate) fn agree(headers: &Headers, config: SessionTimerConfig) -> Result<Option<Agreement>, TooSmall> {
    let is_known = headers.supported().unwrap_or_default().iter().any(|tag| tag.eq_ignore_ascii_case(TIMER));
    let wish = headers.session_expires().ok().flatten();
    let their_min = headers.min_se().ok().flatten().unwrap_or(MIN_SE_SECONDS).max(MIN_SE_SECONDS);
    let least = config.min_seconds.max(MIN_SE_SECONDS);
    let Some(wish) = wish else {
        let interval_seconds = config.interval_seconds.max(their_min).max(least);
        return Ok(is_known.then_some(Agreement { interval_seconds, refresher: Refresher::Uac, is_known }));
    };
    if wish.seconds < least && is_known {
        return Err(TooSmall(least));
    }
    let refresher = match wish.refresher() {
        Some(refresher) if is_known => refresher,
        Some(_) | None if is_known => Refresher::Uac,
        // A proxy put it there for a peer that cannot refresh.
        Some(_) | None => Refresher::Uas,
    };
    let interval_seconds = wish.seconds.min(config.interval_seconds).max(their_min).max(least);
    Ok(Some(Agreement { interval_seconds, refresher, is_known }))
}

/// Session-Expires and Min-SE of a request of ours. `refresher` keeps the parts as they are in a running session.
pub(crate) fn push_wish(headers: &mut Headers, interval_seconds: u32, min_seconds: u32, refresher: Option<Refresher>) {
    headers.set(HeaderName::SESSION_EXPIRES, SessionExpires::new(interval_seconds, refresher));
    if min_seconds > MIN_SE_SECONDS {
        headers.set(HeaderName::MIN_SE, min_seconds);
    }
}

/// Session-Expires of a 2xx of ours; Require if it is the peer who has to refresh (§9).
pub(crate) fn push_agreement(headers: &mut Headers, agreement: Agreement) {
    let Agreement { interval_seconds, refresher, is_known } = agreement;
    headers.push(HeaderName::SESSION_EXPIRES, SessionExpires::new(interval_seconds, Some(refresher)));
    if is_known && refresher == Refresher::Uac {
        headers.push(HeaderName::REQUIRE, TIMER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::trace::{ms, start};

    const CONFIG: SessionTimerConfig = SessionTimerConfig { interval_seconds: 1_800, min_seconds: 120 };

    /// `supported`, Session-Expires and Min-SE of a request, and what a UAS makes of it.
    #[test]
    fn what_a_uas_agrees_to() {
        use Refresher::{Uac, Uas};
        let table = [
            (true, None, None, Ok(Some((1_800, Uac)))),
            (false, None, None, Ok(None)),
            (true, Some("600"), None, Ok(Some((600, Uac)))),
            (true, Some("600;refresher=uas"), None, Ok(Some((600, Uas)))),
            (true, Some("7200;refresher=uac"), None, Ok(Some((1_800, Uac)))),
            (true, Some("7200"), Some("3600"), Ok(Some((3_600, Uac)))),
            (true, Some("119"), None, Err(TooSmall(120))),
            (false, Some("90"), None, Ok(Some((120, Uas)))),
            (false, Some("600;refresher=uac"), None, Ok(Some((600, Uas)))),
            (true, Some("nonsense"), Some("nonsense"), Ok(Some((1_800, Uac)))),
        ];
        for (supported, expires, min, expected) in table {
            let mut headers = Headers::default();
            if supported {
                headers.push(HeaderName::SUPPORTED, "replaces, timer");
            }
            let fields = [(HeaderName::SESSION_EXPIRES, expires), (HeaderName::MIN_SE, min)];
            fields.iter().for_each(|(name, value)| value.iter().for_each(|value| headers.push(name.clone(), value)));
            let agreed = agree(&headers, CONFIG).map(|agreed| agreed.map(|it| (it.interval_seconds, it.refresher)));
            assert_eq!(agreed, expected, "{supported} {expires:?} {min:?}");
        }
    }

    #[test]
    fn half_of_it_to_refresh_and_nearly_all_of_it_to_the_end() {
        let timer = SessionTimer::start(1_800, true, start());
        assert_eq!(timer.poll_timeout(), (start() + ms(900_000), "refresh"));
        assert_eq!(timer.expire_at, start() + ms(1_768_000));
        let timer = SessionTimer::start(90, false, start());
        assert_eq!(timer.poll_timeout(), (start() + ms(60_000), "session"));
    }
}
