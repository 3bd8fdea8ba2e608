//! Where the box connects to: to the cell of its cloud that has its place, and when nobody has welcomed it there for long, in
//! turns with where it was before. Whoever is asked says where it belongs.
//!
//! ```text
//! welcomed within 10 minutes:  endpoint, endpoint, endpoint, …
//! else:                        endpoint, claimed at, endpoint, configured, endpoint, claimed at, …
//! ```
//! Left out on purpose: how long to wait between attempts, which is the engine's.

use std::time::{Duration, Instant};

use super::enrolment::Enrolment;

/// So long nobody has to welcome it before others are asked: a cell that starts anew is back before that.
const PATIENCE: Duration = Duration::from_secs(600);

/// The ways to the cloud.
#[derive(Debug)]
pub(super) struct Way {
    endpoint: String,
    others: Vec<String>,
    welcomed: Instant,
    /// Attempts since others are asked, too.
    attempts: usize,
}

impl Way {
    /// Of a box with this place in its cloud; `configured` is the endpoint that its owner has set.
    pub(super) fn new(enrolment: &Enrolment, configured: Option<&str>, now: Instant) -> Way {
        let mut others: Vec<String> = Vec::new();
        for other in [enrolment.home.as_deref(), configured].into_iter().flatten() {
            if other != enrolment.endpoint && !others.iter().any(|known| known == other) {
                others.push(other.to_owned());
            }
        }
        Way { endpoint: enrolment.endpoint.clone(), others, welcomed: now, attempts: 0 }
    }

    /// Somebody has welcomed it.
    pub(super) fn welcomed(&mut self, now: Instant) {
        (self.welcomed, self.attempts) = (now, 0);
    }

    /// Where the next attempt goes.
    pub(super) fn next(&mut self, now: Instant) -> &str {
        if now.saturating_duration_since(self.welcomed) < PATIENCE || self.others.is_empty() {
            return &self.endpoint;
        }
        self.attempts += 1;
        match self.attempts % 2 {
            0 => &self.others[(self.attempts / 2 - 1) % self.others.len()],
            _ => &self.endpoint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::enrolment::Request;
    use super::*;

    fn enrolment(endpoint: &str) -> Enrolment {
        let request = Request::new("box-1").unwrap();
        let certificate = cloud_api::v1::Certificate { endpoint: endpoint.to_owned(), ..Default::default() };
        Enrolment::new("box-1".to_owned(), &request, &certificate)
    }

    /// The cell is gone for good, and what is left of it is what the owner has set and where the box was claimed.
    #[test]
    fn others_are_asked_in_turns_when_nobody_answers_for_long() {
        let now = Instant::now();
        let mut way = Way::new(&enrolment("a:1").moved("b:1"), Some("directory:1"), now);
        let mut next = |seconds| way.next(now + Duration::from_secs(seconds)).to_owned();
        assert_eq!([next(0), next(1), next(599)], ["b:1", "b:1", "b:1"]);
        let turns: Vec<String> = (0..6).map(|attempt| next(600 + attempt)).collect();
        assert_eq!(turns, ["b:1", "a:1", "b:1", "directory:1", "b:1", "a:1"]);
        way.welcomed(now + Duration::from_secs(700));
        assert_eq!(way.next(now + Duration::from_secs(1_299)), "b:1");
    }

    #[test]
    fn a_box_that_knows_no_other_way_goes_the_same_one() {
        let now = Instant::now();
        for configured in [None, Some("a:1")] {
            let mut way = Way::new(&enrolment("a:1"), configured, now);
            assert!((0..5).all(|day| way.next(now + Duration::from_secs(day * 86_400)) == "a:1"));
        }
    }
}
