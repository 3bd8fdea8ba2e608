use std::collections::BTreeSet;

use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);
const NOBODY: Line = Line { calls: 0, jitter_ms: 0.0 };
const CALL: Line = Line { calls: 1, jitter_ms: 2.0 };
const POOR: Line = Line { calls: 1, jitter_ms: 30.0 };

fn blob(name: &str, size_bytes: u64) -> Blob {
    Blob { sha256: name.to_owned(), size_bytes }
}

/// A box with recordings and a cloud that takes them, over a line of one speed, on a clock of their own.
struct Rig {
    uploader: Uploader,
    now: Instant,
    start: Instant,
    line: Line,
    bytes_per_second: u64,
    /// The answer that is on its way.
    pending: Option<(Instant, Event)>,
    /// What is to go up, in order, and what became of it.
    files: Vec<Blob>,
    outcomes: Vec<(String, Outcome)>,
    faulty: BTreeMap<String, Fault>,
    unwanted: BTreeSet<String>,
    /// The cloud's: what is on its way, and what it refuses.
    parts: BTreeMap<String, u64>,
    kept: BTreeSet<String>,
    refusals: BTreeMap<String, Refusal>,
    is_away: bool,
    /// Bytes that were sent, and when: with those that were cut.
    sent: Vec<(Duration, u64)>,
    /// The connection is cut after so many bytes each, when half of the slice is there; and when it was last.
    cut_every: Option<u64>,
    cut_at: u64,
    opened: usize,
    looks: usize,
}

impl Rig {
    fn new(files: &[Blob]) -> Rig {
        let start = Instant::now();
        let mut rig = Rig {
            uploader: Uploader::new(7, start),
            now: start,
            start,
            line: NOBODY,
            bytes_per_second: 10 * MIB,
            pending: None,
            files: files.to_vec(),
            outcomes: Vec::new(),
            faulty: BTreeMap::new(),
            unwanted: BTreeSet::new(),
            parts: BTreeMap::new(),
            kept: BTreeSet::new(),
            refusals: BTreeMap::new(),
            is_away: false,
            sent: Vec::new(),
            cut_every: None,
            cut_at: 0,
            opened: 0,
            looks: 0,
        };
        rig.tell(Event::Changed);
        rig
    }

    /// What comes of an action, and after how long.
    fn answer(&mut self, action: Action) -> Option<(Duration, Event)> {
        let soon = Duration::from_millis(20);
        let event = match action {
            Action::Look => {
                self.looks += 1;
                let done: BTreeSet<_> = self.outcomes.iter().map(|(name, _)| name.as_str()).collect();
                let is_waiting = |name: &str| !done.contains(name) && !self.unwanted.contains(name);
                Event::Found(self.files.iter().filter(|blob| is_waiting(&blob.sha256)).cloned().collect())
            }
            Action::Open(connection) => {
                self.opened += 1;
                match self.is_away {
                    true => Event::Closed(connection, "away".to_owned()),
                    false => Event::Opened(connection),
                }
            }
            Action::Close(_) => return None,
            Action::Begin(connection, blob) => self.begin(connection, &blob),
            Action::Put(connection, blob, offset, bytes) => return Some(self.put(connection, blob, offset, bytes)),
            Action::Commit(connection, blob) => match self.refusals.get(&blob.sha256) {
                Some(refusal) => Event::Refused(connection, refusal.clone()),
                None => {
                    self.kept.insert(blob.sha256);
                    Event::Committed(connection)
                }
            },
            Action::Check(blob) => {
                self.parts.remove(&blob.sha256);
                Event::Checked(self.faulty.get(&blob.sha256).copied())
            }
            Action::Note(blob, outcome) => {
                self.outcomes.push((blob.sha256, outcome));
                Event::Noted
            }
        };
        Some((soon, event))
    }

    fn begin(&self, connection: u64, blob: &Blob) -> Event {
        let name = &blob.sha256;
        match self.refusals.get(name) {
            _ if self.unwanted.contains(name) => Event::Unwanted(connection),
            _ if self.kept.contains(name) => Event::Began(connection, blob.size_bytes),
            // That one is found in the end only.
            Some(Refusal::Damaged(_)) | None => {
                Event::Began(connection, self.parts.get(name).copied().unwrap_or_default())
            }
            Some(refusal) => Event::Refused(connection, refusal.clone()),
        }
    }

    fn put(&mut self, connection: u64, blob: Blob, offset: u64, bytes: u64) -> (Duration, Event) {
        let latency = Duration::from_millis(20);
        if let Some(fault) = self.faulty.get(&blob.sha256) {
            return (latency, Event::Faulty(connection, *fault));
        }
        let have = self.parts.entry(blob.sha256).or_default();
        assert_eq!(offset, *have, "it goes on where the cloud is");
        assert!(bytes > 0 && offset + bytes <= blob.size_bytes, "{offset} {bytes}");
        self.sent.push((self.now.duration_since(self.start), bytes));
        let took = latency + Duration::from_micros(bytes * 1_000_000 / self.bytes_per_second);
        let sent = self.sent.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let is_cut = self.cut_every.is_some_and(|every| sent >= self.cut_at + every);
        if is_cut {
            self.cut_at = sent;
        }
        *have += if is_cut { bytes / 2 } else { bytes };
        let event = match is_cut {
            true => Event::Closed(connection, "cut".to_owned()),
            false => Event::Put(connection, *have),
        };
        (took, event)
    }

    fn tell(&mut self, event: Event) {
        let actions = self.uploader.step(event, self.line, self.now);
        for action in actions {
            if action == Action::Close(self.uploader.connection) {
                self.pending = None;
            }
            if let Some((after, event)) = self.answer(action) {
                let before = self.pending.replace((self.now + after, event));
                assert_eq!(before, None, "one thing at a time");
            }
        }
    }

    /// Runs for so long.
    fn run(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            let timeout = self.uploader.poll_timeout();
            let answered = self.pending.as_ref().map(|(at, _)| *at);
            let at = [timeout, answered].into_iter().flatten().min().expect("it waits for something");
            if at > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(at);
            let event = match self.pending.take_if(|(at, _)| *at <= self.now) {
                Some((_, event)) => event,
                None => Event::Woken,
            };
            self.tell(event);
        }
    }

    fn sent_bytes(&self) -> u64 {
        self.sent.iter().map(|(_, bytes)| bytes).sum()
    }

    /// How much is sent within the next seconds while calls are so, in KiB, and whether a call's jitter is waited for then.
    fn sent_during(&mut self, line: Line, seconds: u64) -> (u64, bool) {
        let before = self.sent_bytes();
        self.line = line;
        self.run(Duration::from_secs(seconds));
        ((self.sent_bytes() - before) / KIB, self.uploader.status(self.now).is_paused)
    }

    fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|(of, _)| of == name).map(|(_, outcome)| outcome)
    }
}

#[test]
fn files_go_up_one_after_the_other_and_the_connection_is_closed() {
    let mut rig = Rig::new(&[blob("a", 3 * MIB), blob("b", 1), blob("c", 512 * KIB)]);
    rig.run(MINUTE);
    assert_eq!(rig.outcomes, ["a", "b", "c"].map(|name| (name.to_owned(), Outcome::Kept)));
    assert_eq!((rig.sent_bytes(), rig.opened), (3 * MIB + 1 + 512 * KIB, 1));
    assert!(!rig.uploader.is_open);
    rig.files.push(blob("d", 100));
    rig.tell(Event::Changed);
    rig.run(MINUTE);
    assert_eq!((rig.outcome("d"), rig.opened), (Some(&Outcome::Kept), 2));
    let looks = rig.looks;
    for _ in 0..100 {
        rig.tell(Event::Changed);
        rig.run(Duration::from_millis(50));
    }
    assert!(rig.looks <= looks + 1, "commits of other rows do not make it look all the time");
}

/// However large a file is and however often the line is cut, what is sent twice is a small part: half of a slice each time.
#[test]
fn a_cut_costs_little() {
    for (size_bytes, cuts) in [(1 << 30, 50), (64 * MIB, 20), (64 * MIB, 5)] {
        let mut rig = Rig::new(&[blob("a", size_bytes)]);
        rig.cut_every = Some(size_bytes / (cuts + 1));
        rig.run(30 * MINUTE);
        assert_eq!(rig.outcome("a"), Some(&Outcome::Kept));
        let again = rig.sent_bytes() - size_bytes;
        assert!(rig.opened > usize::try_from(cuts).unwrap(), "{}", rig.opened);
        assert!(again > 0 && again * 100 <= 2 * size_bytes, "{cuts} cuts of {size_bytes}: {again} bytes again");
        // And the cuts cost seconds, not minutes: what goes up resets the back-off.
        let last = rig.sent.last().unwrap().0;
        assert!(last < 10 * MINUTE, "{last:?}");
    }
}

#[test]
fn what_the_cloud_has_already_is_not_sent() {
    let mut rig = Rig::new(&[blob("a", MIB), blob("b", MIB)]);
    rig.kept.insert("a".to_owned());
    rig.parts.insert("b".to_owned(), MIB - 10);
    rig.run(MINUTE);
    assert_eq!((rig.sent_bytes(), rig.outcomes.len()), (10, 2));
}

#[test]
fn a_cloud_that_is_away_is_asked_less_and_less_often() {
    let mut rig = Rig::new(&[blob("a", 1_000)]);
    rig.is_away = true;
    rig.run(60 * MINUTE);
    assert!((12..90).contains(&rig.opened), "{} attempts in an hour", rig.opened);
    assert_eq!(rig.uploader.status(rig.now).last_end, "away");
    rig.is_away = false;
    rig.run(6 * MINUTE);
    assert_eq!((rig.outcome("a"), rig.uploader.status(rig.now)), (Some(&Outcome::Kept), Status::default()));
}

#[test]
fn uploads_give_way_to_calls() {
    let mut rig = Rig::new(&[blob("a", 500 * MIB)]);
    assert!(rig.sent_during(NOBODY, 10).0 > 10 * KIB);
    let (beside, is_paused) = rig.sent_during(CALL, 20);
    assert!((16 * 17..=16 * 22).contains(&beside) && !is_paused, "{beside} KiB");
    let (poor, is_paused) = rig.sent_during(POOR, 20);
    assert!(poor <= 16 && is_paused, "{poor} KiB: at most what was due already");
    assert_eq!(rig.sent_during(CALL, 8), (0, true), "it may become poor again");
    let (beside, is_paused) = rig.sent_during(CALL, 10);
    assert!((16 * 5..=16 * 10).contains(&beside) && !is_paused, "{beside} KiB");
    assert!(rig.sent_during(NOBODY, 5).0 > 20 * KIB);
}

#[test]
fn a_slow_line_gets_small_slices() {
    let mut rig = Rig::new(&[blob("a", 10 * MIB)]);
    rig.bytes_per_second = 12 * KIB;
    rig.run(2 * MINUTE);
    let last: Vec<_> = rig.sent.iter().rev().take(10).map(|(_, bytes)| *bytes).collect();
    assert_eq!(last, [16 * KIB; 10]);
}

#[test]
fn what_is_not_to_be_had_is_noted_and_holds_up_nobody() {
    let mut rig = Rig::new(&["gone", "damaged", "large", "erased", "fine"].map(|name| blob(name, 100_000)));
    rig.faulty.insert("gone".to_owned(), Fault::Gone);
    rig.faulty.insert("damaged".to_owned(), Fault::Damaged);
    rig.refusals.insert("large".to_owned(), Refusal::ForGood("too large".to_owned()));
    // It was found with the others, and its row is deleted then.
    rig.run(Duration::from_millis(20));
    rig.unwanted.insert("erased".to_owned());
    rig.run(MINUTE);
    let expected = [
        ("gone", Outcome::Lost(Fault::Gone)),
        ("damaged", Outcome::Lost(Fault::Damaged)),
        ("large", Outcome::Refused("too large".to_owned())),
        ("fine", Outcome::Kept),
    ];
    assert_eq!(rig.outcomes, expected.map(|(name, outcome)| (name.to_owned(), outcome)));
    assert_eq!((rig.sent_bytes(), rig.opened), (100_000, 1));
}

/// The network damaged it, or the disk: the cloud says so when all is there, and the box looks which it was.
#[test]
fn a_hash_that_is_wrong_is_looked_into() {
    let mut rig = Rig::new(&[blob("a", MIB)]);
    rig.refusals.insert("a".to_owned(), Refusal::Damaged("hash".to_owned()));
    rig.run(Duration::from_secs(2));
    assert_eq!(rig.outcome("a"), None, "the file is as it should be: it is sent again");
    rig.refusals.clear();
    rig.run(MINUTE);
    assert_eq!(rig.outcome("a"), Some(&Outcome::Kept));
    assert!(rig.sent_bytes() >= 2 * MIB, "{}", rig.sent_bytes());

    let now = Instant::now();
    let mut uploader = Uploader::new(7, now);
    uploader.step(Event::Changed, NOBODY, now);
    uploader.step(Event::Found(vec![blob("a", MIB)]), NOBODY, now);
    uploader.step(Event::Opened(1), NOBODY, now);
    assert_eq!(uploader.step(Event::Began(1, MIB), NOBODY, now), [Action::Commit(1, blob("a", MIB))]);
    let refused = Event::Refused(1, Refusal::Damaged("hash".to_owned()));
    assert_eq!(uploader.step(refused, NOBODY, now), [Action::Check(blob("a", MIB))]);
    let lost = Action::Note(blob("a", MIB), Outcome::Lost(Fault::Damaged));
    assert_eq!(uploader.step(Event::Checked(Some(Fault::Damaged)), NOBODY, now), [lost]);
}

/// One file that the cloud does not take today must not keep the others away, and is tried again later.
#[test]
fn a_file_that_is_refused_again_and_again_makes_way() {
    let mut rig = Rig::new(&[blob("a", MIB), blob("b", MIB)]);
    rig.refusals.insert("a".to_owned(), Refusal::ForNow("disk full".to_owned()));
    rig.run(5 * MINUTE);
    assert_eq!((rig.outcome("a"), rig.outcome("b")), (None, Some(&Outcome::Kept)));
    rig.refusals.clear();
    rig.run(130 * MINUTE);
    assert_eq!(rig.outcome("a"), Some(&Outcome::Kept));
}

#[test]
fn a_cloud_that_does_not_know_recordings_is_asked_once_an_hour() {
    let mut rig = Rig::new(&[blob("a", MIB)]);
    rig.refusals.insert("a".to_owned(), Refusal::Unknown);
    rig.run(59 * MINUTE);
    assert_eq!((rig.opened, rig.outcomes.len()), (1, 0));
    assert!(rig.uploader.status(rig.now).last_end.contains("older than this box"));
    rig.run(2 * MINUTE);
    assert_eq!(rig.opened, 2);
}

/// A router that forgets a connection: no answer is the end of it.
#[test]
fn silence_ends_a_connection() {
    let now = Instant::now();
    let mut uploader = Uploader::new(7, now);
    assert_eq!(uploader.step(Event::Changed, NOBODY, now), [Action::Look]);
    assert_eq!(uploader.step(Event::Found(vec![blob("a", MIB)]), NOBODY, now), [Action::Open(1)]);
    assert_eq!(uploader.step(Event::Opened(1), NOBODY, now), [Action::Begin(1, blob("a", MIB))]);
    assert_eq!(uploader.step(Event::Woken, NOBODY, now + PATIENCE - Duration::from_millis(1)), []);
    let now = now + PATIENCE;
    assert_eq!(uploader.step(Event::Woken, NOBODY, now), [Action::Close(1)]);
    assert_eq!(uploader.step(Event::Began(1, 5), NOBODY, now), [], "what it still says is nothing any more");
    assert_eq!(uploader.step(Event::Woken, NOBODY, now + MINUTE), [Action::Open(2)]);
    assert_eq!(uploader.step(Event::Closed(1, "late".to_owned()), NOBODY, now + MINUTE), []);
    assert!(uploader.status(now).last_end.contains("did not answer in time"));
}

/// A cloud that answers without taking anything is not asked in a circle.
#[test]
fn no_progress_is_a_failure() {
    let now = Instant::now();
    let mut uploader = Uploader::new(7, now);
    uploader.step(Event::Changed, NOBODY, now);
    uploader.step(Event::Found(vec![blob("a", 100)]), NOBODY, now);
    uploader.step(Event::Opened(1), NOBODY, now);
    assert_eq!(uploader.step(Event::Began(1, 10), NOBODY, now), [Action::Put(1, blob("a", 100), 10, 90)]);
    assert_eq!(uploader.step(Event::Put(1, 10), NOBODY, now), [Action::Close(1)]);
    assert!(uploader.status(now).last_end.contains("took nothing"));
}
