//! What name servers said, for as long as they said; and beyond that, for when they say nothing (RFC 8767). Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sip_stack::endpoint::Transport;

use super::select::Target;

/// However short an answer is to be kept: a busy minute's calls ask once.
const SHORTEST: Duration = Duration::from_secs(5);
/// However long: a mistake in somebody's zone is not kept for ever.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// What is known from before is used for so long until the name servers are asked again (RFC 8767 §5).
const RECHECK: Duration = Duration::from_secs(30);

/// The host as configured, and the transport it is wanted by.
pub(super) type Key = (String, Option<Transport>);

/// As many entries as the configuration has hosts.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<Key, Entry>);

#[derive(Debug)]
struct Entry {
    targets: Vec<Target>,
    fresh_until: Instant,
    is_old: bool,
}

impl Cache {
    /// What need not be asked for now.
    pub(super) fn fresh(&self, key: &Key, now: Instant) -> Option<Vec<Target>> {
        self.0.get(key).filter(|entry| entry.fresh_until > now).map(|entry| entry.targets.clone())
    }

    /// What was true when it was asked for last.
    pub(super) fn last(&self, key: &Key) -> Option<Vec<Target>> {
        self.0.get(key).map(|entry| entry.targets.clone())
    }

    /// The name servers have answered; true if they had not before.
    pub(super) fn store(&mut self, key: Key, targets: Vec<Target>, ttl: Duration, now: Instant) -> bool {
        let fresh_until = now + ttl.clamp(SHORTEST, LONGEST);
        let before = self.0.insert(key, Entry { targets, fresh_until, is_old: false });
        before.is_some_and(|entry| entry.is_old)
    }

    /// They have not: what is known is used on; true if that is news.
    pub(super) fn keep(&mut self, key: &Key, now: Instant) -> bool {
        let Some(entry) = self.0.get_mut(key) else { return false };
        entry.fresh_until = now + RECHECK;
        !std::mem::replace(&mut entry.is_old, true)
    }

    /// They say that there is nothing any more.
    pub(super) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        let addresses = vec![([192, 0, 2, 1], port).into()];
        Target { transport: Transport::Udp, service: 0, priority: 0, weight: 0, addresses }
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_says_within_reason() {
        let key = ("example.com".to_owned(), None);
        for (ttl, kept) in [(0, 5), (60, 60), (600, 600), (9_000_000, 86_400)] {
            let (mut cache, now) = (Cache::default(), Instant::now());
            assert!(!cache.store(key.clone(), vec![target(1)], Duration::from_secs(ttl), now));
            let at = |seconds: u64| now + Duration::from_secs(seconds);
            assert_eq!(cache.fresh(&key, at(kept - 1)), Some(vec![target(1)]), "{ttl}");
            assert_eq!(cache.fresh(&key, at(kept)), None, "{ttl}");
            assert_eq!(cache.last(&key), Some(vec![target(1)]));
            assert_eq!(cache.fresh(&("example.com".to_owned(), Some(Transport::Tls)), now), None);
        }
    }

    #[test]
    fn what_is_known_outlives_the_name_servers_and_that_is_news_once() {
        let key = ("example.com".to_owned(), None);
        let (mut cache, mut now) = (Cache::default(), Instant::now());
        assert!(!cache.keep(&key, now), "nothing is known yet");
        cache.store(key.clone(), vec![target(1)], Duration::from_secs(60), now);
        now += Duration::from_secs(60);
        assert!(cache.keep(&key, now));
        assert_eq!(cache.fresh(&key, now + RECHECK - Duration::from_secs(1)), Some(vec![target(1)]));
        now += RECHECK;
        assert_eq!(cache.fresh(&key, now), None);
        assert!(!cache.keep(&key, now));
        assert!(cache.store(key.clone(), vec![target(2)], Duration::from_secs(60), now), "they are back");
        assert_eq!(cache.fresh(&key, now), Some(vec![target(2)]));
        cache.forget(&key);
        assert_eq!(cache.last(&key), None);
    }
}
