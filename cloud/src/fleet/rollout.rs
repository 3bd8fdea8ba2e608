//! One configuration for many boxes, a few of them first.
//!
//! ```text
//! Running, stage 0 ─all of the cohort applied it and ran for a while─► stage 1 ─► … ─► Done
//!            └─ one rejected it, or did not say in time ─► Halted: no further box is touched
//! ```
//! What was applied stays: whoever halts a rollout decides what the boxes that have it should have instead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::document::{BoxDocument, Outcome};

/// A rollout. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rollout {
    /// What the boxes get.
    pub sections: BTreeMap<String, String>,
    /// Which boxes, in their order.
    pub boxes: Vec<String>,
    /// How many per cent of them have it after each stage; ascending, the last is 100.
    pub cohorts: Vec<u8>,
    /// How long a cohort runs with it before the next, in milliseconds.
    pub soak_ms: i64,
    /// How long a cohort may take to apply it, in milliseconds.
    pub limit_ms: i64,
    /// Who began it.
    pub by: String,
    /// When.
    pub began_at: i64,
    /// How it goes.
    pub state: State,
    /// The stage there is.
    pub stage: usize,
    /// Since when.
    pub stage_at: i64,
    /// Since when all of the stage have it.
    pub applied_at: Option<i64>,
    /// The boxes that were given it, with the version it is there.
    pub versions: BTreeMap<String, u64>,
}

/// How a rollout goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It goes on by itself.
    #[default]
    Running,
    /// It does not.
    Halted {
        /// Why, a sentence.
        reason: String,
        /// When.
        at: i64,
    },
    /// Every box has it.
    Done {
        /// When.
        at: i64,
    },
}

impl Rollout {
    /// Does what is due; gives the boxes that are to get it now. [`given`](Rollout::given) says that they have.
    pub fn step(&mut self, documents: &BTreeMap<String, BoxDocument>, now: i64) -> Vec<String> {
        if self.state != State::Running {
            return Vec::new();
        }
        if let Some(reason) = self.failure(documents) {
            self.halt(reason, now);
            return Vec::new();
        }
        let cohort = self.cohort();
        let missing: Vec<String> = cohort.iter().filter(|name| !self.versions.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return missing;
        }
        let waiting: Vec<&str> = cohort.iter().filter(|name| !self.has(documents, name)).map(String::as_str).collect();
        if !waiting.is_empty() {
            self.applied_at = None;
            if now.saturating_sub(self.stage_at) >= self.limit_ms {
                let few: Vec<&str> = waiting.iter().take(5).copied().collect();
                self.halt(format!("{} have not applied it in time: {}", waiting.len(), few.join(", ")), now);
            }
            return Vec::new();
        }
        let since = *self.applied_at.get_or_insert(now);
        if now.saturating_sub(since) < self.soak_ms {
            return Vec::new();
        }
        if self.stage + 1 >= self.cohorts.len() {
            self.state = State::Done { at: now };
            return Vec::new();
        }
        (self.stage, self.stage_at, self.applied_at) = (self.stage + 1, now, None);
        let cohort = self.cohort();
        cohort.into_iter().filter(|name| !self.versions.contains_key(name)).collect()
    }

    /// Whether it goes on by itself.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// This box was given it, as this version.
    pub fn given(&mut self, box_id: &str, version: u64) {
        self.versions.insert(box_id.to_owned(), version);
    }

    /// No further box gets it.
    pub fn halt(&mut self, reason: String, now: i64) {
        if self.state == State::Running {
            self.state = State::Halted { reason, at: now };
        }
    }

    /// The boxes that have it after this stage.
    fn cohort(&self) -> Vec<String> {
        let percent = usize::from(self.cohorts.get(self.stage).copied().unwrap_or(100).min(100));
        let count = (self.boxes.len() * percent).div_ceil(100);
        self.boxes.iter().take(count).cloned().collect()
    }

    fn failure(&self, documents: &BTreeMap<String, BoxDocument>) -> Option<String> {
        self.versions.iter().find_map(|(name, version)| {
            let desired = documents.get(name)?.desired.as_ref().filter(|desired| desired.version == *version)?;
            match &desired.outcome {
                Outcome::Rejected { detail, .. } => Some(format!("{name} rejected it: {detail}")),
                Outcome::Unsent | Outcome::Pending { .. } | Outcome::Applied { .. } | Outcome::Superseded => None,
            }
        })
    }

    /// Whether it is in force there. A box that somebody has given something later is not waited for.
    fn has(&self, documents: &BTreeMap<String, BoxDocument>, name: &str) -> bool {
        let desired = documents.get(name).and_then(|document| document.desired.as_ref());
        let Some((desired, version)) = desired.zip(self.versions.get(name)) else { return false };
        desired.version > *version || matches!(desired.outcome, Outcome::Applied { .. })
    }
}

#[cfg(test)]
mod tests {
    use cloud_api::v1::{Reported, reported};

    use super::super::document::Wish;
    use super::*;

    const MINUTE: i64 = 60_000;

    struct Fleet {
        rollout: Rollout,
        documents: BTreeMap<String, BoxDocument>,
        now: i64,
    }

    impl Fleet {
        fn new(boxes: usize) -> Fleet {
            let wish = Wish::of_toml("[office]\nname = 'A'", BTreeMap::new()).unwrap();
            let rollout = Rollout {
                sections: wish.sections().clone(),
                boxes: (0..boxes).map(|number| format!("box-{number}")).collect(),
                cohorts: vec![10, 50, 100],
                soak_ms: 10 * MINUTE,
                limit_ms: 30 * MINUTE,
                ..Rollout::default()
            };
            Fleet { rollout, documents: BTreeMap::new(), now: 0 }
        }

        /// One look, `minutes` later; the boxes that were given it.
        fn look(&mut self, minutes: i64) -> Vec<String> {
            self.now += minutes * MINUTE;
            let given = self.rollout.step(&self.documents, self.now);
            let wish = Wish::new(self.rollout.sections.clone()).unwrap();
            for name in &given {
                let version = self.documents.entry(name.clone()).or_default().wish(&wish, "rollout", self.now);
                self.rollout.given(name, version);
            }
            given
        }

        fn report(&mut self, name: &str, state: reported::State) {
            let document = self.documents.get_mut(name).unwrap();
            let version = document.desired.as_ref().unwrap().version;
            let detail = "office.name: expected a name".to_owned();
            let applied = state == reported::State::Applied;
            document.take_report(&Reported { version, applied, detail, state: state.into() }, self.now);
        }
    }

    #[test]
    fn cohort_after_cohort_gets_it_once_the_one_before_runs_well() {
        let mut fleet = Fleet::new(10);
        assert_eq!(fleet.look(0), ["box-0"]);
        assert_eq!(fleet.look(5), Vec::<String>::new(), "it has not said");
        fleet.report("box-0", reported::State::Applied);
        assert_eq!(fleet.look(1), Vec::<String>::new());
        assert_eq!(fleet.look(9), Vec::<String>::new(), "nine minutes are not ten");
        assert_eq!(fleet.look(1), ["box-1", "box-2", "box-3", "box-4"]);
        for name in ["box-1", "box-2", "box-3", "box-4"] {
            fleet.report(name, reported::State::Applied);
        }
        fleet.look(1);
        assert_eq!(fleet.look(10).len(), 5);
        for number in 5..10 {
            fleet.report(&format!("box-{number}"), reported::State::Applied);
        }
        fleet.look(1);
        fleet.look(10);
        assert_eq!(fleet.rollout.state, State::Done { at: fleet.now });
    }

    #[test]
    fn one_that_rejects_it_halts_the_rest() {
        let mut fleet = Fleet::new(10);
        fleet.look(0);
        fleet.report("box-0", reported::State::Rejected);
        assert_eq!(fleet.look(1), Vec::<String>::new());
        let State::Halted { reason, .. } = &fleet.rollout.state else { panic!("{:?}", fleet.rollout) };
        assert!(reason.contains("box-0 rejected it: office.name"), "{reason}");
        assert_eq!(fleet.look(100), Vec::<String>::new());
        assert_eq!(fleet.documents.len(), 1, "nobody else was touched");
    }

    #[test]
    fn one_that_says_nothing_halts_the_rest_when_its_time_is_over() {
        let mut fleet = Fleet::new(3);
        fleet.look(0);
        fleet.look(29);
        assert_eq!(fleet.rollout.state, State::Running);
        fleet.look(1);
        let State::Halted { reason, .. } = &fleet.rollout.state else { panic!("{:?}", fleet.rollout) };
        assert!(reason.contains("box-0"), "{reason}");
    }

    #[test]
    fn a_box_that_was_given_something_later_is_not_waited_for() {
        let mut fleet = Fleet::new(1);
        fleet.rollout.cohorts = vec![100];
        fleet.look(0);
        let other = Wish::of_toml("[office]\nname = 'B'", BTreeMap::new()).unwrap();
        fleet.documents.get_mut("box-0").unwrap().wish(&other, "anna", fleet.now);
        fleet.look(1);
        fleet.look(10);
        assert_eq!(fleet.rollout.state, State::Done { at: fleet.now });
    }
}
