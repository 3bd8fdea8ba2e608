//! Whose errors have been told of lately: whoever sends the same nonsense all day fills no log.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// One line in a log for each source in that time.
const INTERVAL: Duration = Duration::from_secs(60);
/// Sources remembered; beyond it none is news until there is room again.
const LIMIT: usize = 256;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct RecentErrors(BTreeMap<IpAddr, Instant>);

impl RecentErrors {
    /// Is it the first error of this source within the interval?
    pub(crate) fn is_news(&mut self, source: IpAddr, now: Instant) -> bool {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= INTERVAL;
        if let Some(at) = self.0.get_mut(&source) {
            let is_news = is_old(at);
            if is_news {
                *at = now;
            }
            return is_news;
        }
        if self.0.len() >= LIMIT {
            self.0.retain(|_, at| !is_old(at));
        }
        let has_room = self.0.len() < LIMIT;
        if has_room {
            self.0.insert(source, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::transaction::trace::start;

    fn source(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn each_source_is_news_once_a_minute() {
        let mut recent = RecentErrors::default();
        let at = |seconds| start() + Duration::from_secs(seconds);
        let told: Vec<_> = [0, 1, 59, 60, 61, 120].into_iter().map(|s| recent.is_news(source(1), at(s))).collect();
        assert_eq!(told, [true, false, false, true, false, true]);
        assert!(recent.is_news(source(2), at(121)), "another one");
    }

    #[test]
    fn a_thousand_sources_are_not_remembered() {
        let mut recent = RecentErrors::default();
        let told = (0..1_000).filter(|number| recent.is_news(source(*number), start())).count();
        assert_eq!((told, recent.0.len()), (LIMIT, LIMIT));
        assert!(recent.is_news(source(5_000), start() + INTERVAL), "room again");
    }
}
