use cloud_api::v1::{Delivered, Throttle};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const IDENTITY: Identity = Identity { epoch: 3, incarnation: [7; 16], claiming: false };
const LIMITS: Limits = Limits { rows: 10, bytes: 1_000 };

struct Rig {
    engine: Engine,
    now: Instant,
}

impl Rig {
    fn new(identity: Identity) -> Rig {
        let now = Instant::now();
        Rig { engine: Engine::new(Config::new("1.2.3".to_owned(), 5), identity, now), now }
    }

    /// Welcomed at this watermark with a log up to `head`; what it does then.
    fn welcomed(identity: Identity, watermark: i64, head: i64) -> (Rig, Vec<Action>) {
        let mut rig = Rig::new(identity);
        rig.greeted(head);
        let actions = rig.welcome(watermark);
        (rig, actions)
    }

    /// Both ends are equal as of entry 5, and nothing is due for a day.
    fn settled() -> Rig {
        let (mut rig, actions) = Rig::welcomed(IDENTITY, 5, 5);
        assert_eq!(reads(&actions), [log(5, true)]);
        assert_eq!(sent(&rig.stretch(5, vec![], true)).1, [5], "as of which entry it asks");
        rig.verdict(Verdict { as_of_seq: 5, equal: true, ..Verdict::default() });
        rig
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.engine.step(event, self.now)
    }

    fn greeted(&mut self, head: i64) {
        let actions = self.step(Event::Woken);
        assert_eq!(actions, [Action::Open(self.engine.stream)]);
        self.step(Event::Opened(self.engine.stream, head));
    }

    fn receive(&mut self, body: cloud_message::Body) -> Vec<Action> {
        self.step(Event::Received(self.engine.stream, CloudMessage { body: Some(body) }))
    }

    fn welcome(&mut self, watermark: i64) -> Vec<Action> {
        self.receive(cloud_message::Body::Welcome(Welcome {
            watermark,
            batch_max_bytes: 1_000,
            batch_max_rows: 10,
            batches_in_flight: 2,
            keep_alive_ms: 20_000,
        }))
    }

    fn goodbye(&mut self, reason: Reason, detail: &str) -> Vec<Action> {
        let goodbye = Goodbye { reason: reason.into(), current_epoch: 9, detail: detail.into(), ..Goodbye::default() };
        self.receive(cloud_message::Body::Goodbye(goodbye))
    }

    fn moved(&mut self, endpoint: &str) -> Vec<Action> {
        let endpoint = endpoint.to_owned();
        self.receive(cloud_message::Body::Goodbye(Goodbye {
            reason: Reason::Moved.into(),
            endpoint,
            ..Goodbye::default()
        }))
    }

    fn verdict(&mut self, verdict: Verdict) -> Vec<Action> {
        self.receive(cloud_message::Body::Verdict(verdict))
    }

    fn stretch(&mut self, to: i64, tables: Vec<TableRows>, sums: bool) -> Vec<Action> {
        let head = self.engine.head.max(to);
        let stretch = Stretch { to, head, tables, sums: sums.then(Vec::new) };
        self.step(Event::Stretch(self.engine.stream, stretch))
    }

    fn wake(&mut self) -> (Duration, Vec<Action>) {
        let at = self.engine.poll_timeout().unwrap();
        let waited = at.saturating_duration_since(self.now);
        self.now = at.max(self.now);
        (waited, self.step(Event::Woken))
    }
}

fn log(after: i64, sums: bool) -> Read {
    Read::Log { after, limits: LIMITS, except: BTreeSet::new(), sums: sums.then(BTreeSet::new) }
}

fn reads(actions: &[Action]) -> Vec<Read> {
    let read = |action: &Action| if let Action::Read(_, read) = action { Some(read.clone()) } else { None };
    actions.iter().filter_map(read).collect()
}

/// The scopes of the batches, and as of which entries it asks to compare.
fn sent(actions: &[Action]) -> (Vec<Scope>, Vec<i64>) {
    let (mut scopes, mut asked) = (Vec::new(), Vec::new());
    for action in actions {
        let Action::Send(BoxMessage { body: Some(body) }) = action else { continue };
        match body {
            box_message::Body::Batch(batch) => scopes.extend(batch.scope.clone()),
            box_message::Body::Digest(digest) => asked.push(digest.as_of_seq),
            box_message::Body::Hello(_)
            | box_message::Body::Ping(_)
            | box_message::Body::Reported(_)
            | box_message::Body::CommandResult(_)
            | box_message::Body::Delivered(_) => {}
        }
    }
    (scopes, asked)
}

fn stretch_of(after: i64, to: i64) -> Scope {
    Scope::Log(LogRange { after, to })
}

fn ack(batch_id: u64, watermark: i64) -> cloud_message::Body {
    cloud_message::Body::Ack(Ack { batch_id, watermark })
}

#[test]
fn it_says_who_it_is_and_sends_from_where_the_cloud_is() {
    let mut rig = Rig::new(IDENTITY);
    rig.step(Event::Woken);
    let actions = rig.step(Event::Opened(1, 9));
    let [Action::Send(BoxMessage { body: Some(box_message::Body::Hello(hello)) })] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((hello.epoch, &hello.incarnation[..], hello.claiming, hello.log_head), (3, &[7; 16][..], false, 9));
    assert_eq!((hello.protocol, hello.release.as_str()), (PROTOCOL, "1.2.3"));
    assert_eq!(reads(&rig.welcome(4)), [log(4, true)], "the cloud's watermark counts");
}

#[test]
fn a_box_that_no_cloud_has_ever_had_begins_with_the_beginning_of_its_log() {
    for (epoch, expected) in [(1, 0), (2, 9)] {
        let mut rig = Rig::new(Identity { epoch, claiming: true, ..IDENTITY });
        rig.step(Event::Woken);
        let actions = rig.step(Event::Opened(1, 9));
        let [Action::Send(BoxMessage { body: Some(box_message::Body::Hello(hello)) })] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(hello.log_head, expected, "epoch {epoch}");
    }
}

/// The batch that brings the cloud to the entry goes first: the sums are of the same moment.
#[test]
fn sums_follow_the_rows_they_are_about() {
    let (mut rig, _) = Rig::welcomed(IDENTITY, 4, 9);
    let actions = rig.stretch(9, vec![], true);
    assert_eq!(sent(&actions), (vec![stretch_of(4, 9)], vec![9]));
    let last = actions.iter().rposition(|action| matches!(action, Action::Send(_)));
    let digest =
        matches!(&actions[last.unwrap()], Action::Send(BoxMessage { body: Some(box_message::Body::Digest(_)) }));
    assert!(digest, "{actions:?}");
}

#[test]
fn no_more_batches_are_on_the_way_than_the_cloud_wants() {
    let mut rig = Rig::settled();
    rig.engine.head = 100;
    assert_eq!(reads(&rig.step(Event::Woken)), [log(5, false)]);
    assert_eq!(reads(&rig.stretch(10, vec![], false)), [log(10, false)]);
    let actions = rig.stretch(20, vec![], false);
    assert_eq!((sent(&actions).0, reads(&actions)), (vec![stretch_of(10, 20)], vec![]), "two are allowed");
    assert_eq!(reads(&rig.receive(ack(1, 10))), [log(20, false)]);
}

#[test]
fn what_is_acknowledged_is_noted_once_nothing_is_on_the_way() {
    let mut rig = Rig::settled();
    rig.engine.head = 20;
    rig.step(Event::Woken);
    rig.stretch(10, vec![], false);
    rig.stretch(20, vec![], false);
    assert!(!rig.receive(ack(1, 10)).contains(&Action::Acked(10)));
    assert!(rig.receive(ack(2, 20)).contains(&Action::Acked(20)));
    assert_eq!(rig.engine.status().acked, Some(20));
    let actions = rig.receive(ack(9, 30));
    assert_eq!(actions, [Action::Close(1)], "of nothing that was sent");
}

#[test]
fn days_that_differ_are_sent_again_and_then_both_ends_are_compared_anew() {
    let mut rig = Rig::settled();
    rig.now += DAY;
    rig.receive(cloud_message::Body::Ping(Ping {}));
    // The tables first, then their days.
    assert_eq!(sent(&rig.stretch(5, vec![], true)).1, [5]);
    let contacts = "contacts".to_owned();
    let differs = Verdict { as_of_seq: 5, tables: vec![contacts.clone()], ..Verdict::default() };
    let by_day = BTreeSet::from([contacts.clone()]);
    let asked = Read::Log { after: 5, limits: LIMITS, except: BTreeSet::new(), sums: Some(by_day) };
    assert_eq!(reads(&rig.verdict(differs)), std::slice::from_ref(&asked));
    rig.stretch(5, vec![], true);
    let day = ResyncDay { table: contacts.clone(), day: 100, as_of: 77 };
    let theirs = ResyncDay { table: "sqlite_schema".to_owned(), ..day.clone() };
    let differs = Verdict { as_of_seq: 5, days: vec![theirs, day.clone()], ..Verdict::default() };
    let (after, to) = keys_of(100);
    let range =
        |after: &str| Read::Range { table: contacts.clone(), after: after.to_owned(), to: to.clone(), limits: LIMITS };
    assert_eq!(reads(&rig.verdict(differs.clone())), [range(&after)], "of our own tables only");
    // In two pieces.
    let piece = |to: &str| RangeRows { to: to.to_owned(), rows: None };
    let scope = |after: &str, to: &str| {
        Scope::Range(KeyRange { table: contacts.clone(), after: after.into(), to: to.into(), as_of: 77 })
    };
    let actions = rig.step(Event::Range(1, piece("middle")));
    assert_eq!((sent(&actions).0, reads(&actions)), (vec![scope(&after, "middle")], vec![range("middle")]));
    let actions = rig.step(Event::Range(1, piece(&to)));
    assert_eq!(sent(&actions).0, [scope("middle", &to)]);
    assert_eq!(reads(&rig.receive(ack(1, 5))), [asked]);
    rig.receive(ack(2, 5));
    // It has not helped: that is not tried again and again.
    rig.stretch(5, vec![], true);
    assert_eq!(reads(&rig.verdict(differs)), []);
    assert_eq!(rig.engine.status().equal, Some(false));
    let began = rig.now;
    while reads(&rig.wake().1).is_empty() {
        rig.receive(cloud_message::Body::Ping(Ping {}));
    }
    assert_eq!(rig.now - began, Duration::from_secs(3_600));
}

#[test]
fn a_verdict_about_another_moment_is_nothing() {
    let (mut rig, _) = Rig::welcomed(IDENTITY, 5, 5);
    rig.stretch(5, vec![], true);
    assert_eq!(rig.verdict(Verdict { as_of_seq: 4, equal: true, ..Verdict::default() }), []);
    assert_eq!(rig.engine.status().equal, None);
    let actions = rig.verdict(Verdict { as_of_seq: 5, equal: true, ..Verdict::default() });
    assert_eq!(actions, [Action::Equal(5)]);
}

/// After a restore it takes the next epoch until one is free; later it never does.
#[test]
fn only_a_box_that_claims_takes_another_epoch() {
    let claiming = Identity { claiming: true, ..IDENTITY };
    let mut rig = Rig::new(claiming);
    rig.greeted(9);
    assert_eq!(rig.goodbye(Reason::Fenced, ""), [Action::Close(1), Action::NextEpoch(9)]);
    assert_eq!(rig.engine.poll_timeout(), None);
    let renewed = Identity { epoch: 10, ..claiming };
    assert_eq!(rig.step(Event::Renewed(renewed)), [Action::Open(2)]);
    rig.step(Event::Opened(2, 9));
    assert!(rig.welcome(9).contains(&Action::Welcomed));
    let actions = rig.goodbye(Reason::Fenced, "");
    assert_eq!(actions, [Action::Close(2)]);
    assert!(rig.engine.status().replaced);
    let (waited, actions) = rig.wake();
    assert_eq!((waited, actions), (Duration::from_secs(3_600), vec![Action::Open(3)]));
}

/// The database was put back by hand: entries with these numbers are other ones in the cloud.
#[test]
fn a_cloud_that_has_read_further_than_the_log_goes_means_a_restore() {
    let (rig, actions) = Rig::welcomed(IDENTITY, 10, 9);
    assert_eq!(actions, [Action::Close(1), Action::NextEpoch(3)]);
    assert_eq!(rig.engine.state, State::Renewing);
}

#[test]
fn a_cloud_that_has_gone_back_is_compared_at_once() {
    let mut rig = Rig::settled();
    rig.step(Event::Closed(1, "reset".to_owned()));
    rig.wake();
    rig.step(Event::Opened(2, 5));
    assert_eq!(reads(&rig.welcome(5)), [], "it is where it was: no need");
    rig.step(Event::Closed(2, "reset".to_owned()));
    rig.wake();
    rig.step(Event::Opened(3, 5));
    assert_eq!(reads(&rig.welcome(2)), [log(2, true)]);
}

#[test]
fn a_table_that_the_cloud_does_not_know_is_left_out_for_a_day() {
    let (mut rig, _) = Rig::welcomed(IDENTITY, 4, 9);
    rig.goodbye(Reason::UnknownTable, "people");
    assert_eq!(rig.engine.status().unknown_tables, ["people"]);
    rig.wake();
    rig.step(Event::Opened(2, 9));
    // The read for the stream that is gone is still under way.
    assert_eq!(reads(&rig.welcome(4)), []);
    let except = BTreeSet::from(["people".to_owned()]);
    let read = Read::Log { after: 4, limits: LIMITS, except, sums: Some(BTreeSet::new()) };
    let actions = rig.step(Event::Stretch(1, Stretch { to: 9, head: 9, ..Stretch::default() }));
    assert_eq!((sent(&actions).0, reads(&actions)), (vec![], vec![read]), "what it has read is not for this one");
    rig.now += DAY;
    rig.step(Event::Closed(2, "reset".to_owned()));
    rig.step(Event::Stretch(2, Stretch::default()));
    rig.wake();
    rig.step(Event::Opened(3, 9));
    assert_eq!(reads(&rig.welcome(4)), [log(4, true)]);
}

#[test]
fn a_busy_cloud_is_left_alone_for_as_long_as_it_wants() {
    let mut rig = Rig::settled();
    rig.receive(cloud_message::Body::Throttle(Throttle { pause_ms: 5_000 }));
    assert_eq!(reads(&rig.step(Event::Changed)), []);
    let (waited, actions) = rig.wake();
    assert_eq!((waited, reads(&actions)), (5 * SECOND, vec![log(5, false)]));
}

#[test]
fn a_quiet_stream_is_pinged_and_a_silent_one_is_left() {
    let mut rig = Rig::settled();
    for _ in 0..2 {
        let (waited, actions) = rig.wake();
        let ping = Action::Send(BoxMessage { body: Some(box_message::Body::Ping(Ping {})) });
        assert_eq!((waited, actions), (20 * SECOND, vec![ping]));
    }
    assert_eq!(rig.wake().1, [Action::Close(1)]);
    assert_eq!(rig.engine.status().last_end, "silence");
    rig.wake();
    let (waited, actions) = rig.wake();
    assert_eq!((waited, actions), (20 * SECOND, vec![Action::Close(2)]), "it does not open");
}

#[test]
fn waits_grow_while_nothing_works_and_begin_anew_when_something_has() {
    let mut rig = Rig::new(IDENTITY);
    let mut longest = Duration::ZERO;
    for stream in 1..200 {
        let (waited, actions) = rig.wake();
        assert_eq!(actions, [Action::Open(stream)]);
        assert!(waited <= Duration::from_secs(300) && waited <= SECOND * (1_u32 << stream.min(20)), "{waited:?}");
        longest = longest.max(waited);
        rig.step(Event::Closed(stream, "refused".to_owned()));
    }
    assert!(longest > Duration::from_secs(250), "{longest:?}");
    rig.wake();
    rig.step(Event::Opened(200, 5));
    rig.welcome(5);
    rig.stretch(5, vec![], true);
    rig.verdict(Verdict { as_of_seq: 5, equal: true, ..Verdict::default() });
    rig.step(Event::Closed(200, "reset".to_owned()));
    assert!(rig.engine.poll_timeout().unwrap() - rig.now <= SECOND);
}

#[test]
fn what_a_dead_stream_says_is_not_taken_for_the_living_one() {
    let mut rig = Rig::settled();
    rig.step(Event::Closed(1, "reset".to_owned()));
    rig.wake();
    rig.step(Event::Opened(2, 5));
    for event in [
        Event::Closed(1, "again".to_owned()),
        Event::Opened(1, 5),
        Event::Received(1, CloudMessage { body: Some(cloud_message::Body::Welcome(Welcome::default())) }),
        Event::ReadFailed(1, "disk".to_owned()),
        Event::Renewed(IDENTITY),
    ] {
        assert_eq!(rig.step(event), []);
        assert_eq!(rig.engine.state, State::Greeting);
    }
}

#[test]
fn a_database_that_cannot_be_read_ends_the_stream() {
    let (mut rig, _) = Rig::welcomed(IDENTITY, 4, 9);
    assert_eq!(rig.step(Event::ReadFailed(1, "disk".to_owned())), [Action::Close(1)]);
    assert_eq!((rig.engine.status().last_end.as_str(), rig.engine.status().connected), ("disk", false));
}

/// Where it goes then, it goes on where it was; and looks whether all of it arrived there.
#[test]
fn a_box_that_is_sent_to_another_cell_goes_there_and_compares() {
    let mut rig = Rig::settled();
    let actions = rig.moved("eu.example.org:8443");
    let stream = rig.engine.stream;
    assert_eq!(actions, [Action::Moved("eu.example.org:8443".to_owned()), Action::Close(stream)]);
    let (waited, actions) = rig.wake();
    assert!(waited <= SECOND && actions == [Action::Open(stream + 1)], "{waited:?}: {actions:?}");
    rig.step(Event::Opened(stream + 1, 5));
    assert_eq!(reads(&rig.welcome(5)), [log(5, true)], "nothing is sent again, and both are compared");
}

/// Two cells that each say it is the other's are asked less and less often.
#[test]
fn a_box_that_is_sent_to_and_fro_slows_down() {
    let mut rig = Rig::new(IDENTITY);
    let mut waits = Vec::new();
    for cell in ["a:1", "b:1"].into_iter().cycle().take(60) {
        let (waited, actions) = rig.wake();
        assert_eq!(actions, [Action::Open(rig.engine.stream)]);
        rig.step(Event::Opened(rig.engine.stream, 5));
        rig.moved(cell);
        waits.push(waited);
    }
    let later: Duration = waits[20..].iter().sum();
    assert!(later > Duration::from_secs(40 * 60), "half of five minutes each: {later:?}");
}

#[test]
fn deliveries_are_handed_on_and_said_to_have_come_while_there_is_a_cloud() {
    let delivery = Delivery { delivery_id: "text:SM1".to_owned(), what: None };
    let delivered =
        box_message::Body::Delivered(Delivered { delivery_id: "text:SM1".to_owned(), answer: String::new() });
    let mut rig = Rig::new(IDENTITY);
    rig.greeted(5);
    assert_eq!(rig.step(Event::Tell(delivered.clone())), [], "it is asked again by the next stream");
    let mut rig = Rig::settled();
    let actions = rig.receive(cloud_message::Body::Delivery(delivery.clone()));
    assert_eq!(actions, [Action::Delivery(delivery)]);
    let told = Action::Send(BoxMessage { body: Some(delivered.clone()) });
    assert_eq!(rig.step(Event::Tell(delivered)), [told]);
}
