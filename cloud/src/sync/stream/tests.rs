use cloud_api::v1::{Command, CommandResult, Delivered, KeyRange, LogRange, Reported, Row, TableDigest, Value};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const KEY: &str = "0191f2a0-7d00-7abc-8def-0123456789ab";

struct Rig {
    stream: Stream,
    now: Instant,
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        release: "1".into(),
        epoch: 1,
        incarnation: vec![7; 16].into(),
        claiming: false,
        log_head: 0,
    }
}

fn row(key: &str) -> Row {
    Row { key: key.into(), row_version: 1, values: vec![Value { kind: None }] }
}

fn rows(table: &str, rows: Vec<Row>) -> TableRows {
    TableRows { table: table.into(), columns: vec!["name".into()], rows, deleted_keys: vec![] }
}

fn batch(scope: Scope, tables: Vec<TableRows>) -> RowBatch {
    RowBatch { batch_id: 1, epoch: 1, scope: Some(scope), tables }
}

fn log(tables: Vec<TableRows>) -> RowBatch {
    batch(Scope::Log(LogRange { after: 0, to: 5 }), tables)
}

fn range(after: &str, to: &str) -> Scope {
    Scope::Range(KeyRange { table: "contacts".into(), after: after.into(), to: to.into(), as_of: 0 })
}

impl Rig {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing; only differences count")]
    fn new() -> Rig {
        let now = Instant::now();
        Rig { stream: Stream::new(Config::default(), now), now }
    }

    fn live() -> Rig {
        let mut rig = Rig::new();
        rig.receive(box_message::Body::Hello(hello()));
        let actions = rig.step(Event::Greeted(Greeted::Welcome { watermark: 0 }));
        assert!(matches!(&actions[..], [Action::Send(_)]), "{actions:?}");
        rig
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.stream.step(event, self.now)
    }

    fn receive(&mut self, body: box_message::Body) -> Vec<Action> {
        self.step(Event::Received(BoxMessage { body: Some(body) }, 100))
    }

    fn wake(&mut self) -> (Duration, Vec<Action>) {
        let at = self.stream.poll_timeout().unwrap();
        let waited = at - self.now;
        self.now = at;
        (waited, self.step(Event::Woken))
    }
}

/// The reason and the words of a stream that has ended.
#[track_caller]
fn ended(actions: &[Action]) -> (Reason, String) {
    let [Action::Send(CloudMessage { body: Some(cloud_message::Body::Goodbye(goodbye)) }), Action::Close] = actions
    else {
        panic!("not ended: {actions:?}")
    };
    (goodbye.reason(), goodbye.detail.clone())
}

#[test]
fn one_request_at_a_time_in_the_order_of_the_messages() {
    let mut rig = Rig::live();
    let asked = rig.receive(box_message::Body::Batch(log(vec![])));
    assert_eq!(asked, [Action::Store(Request::Apply(log(vec![])))]);
    let digest = Digest { as_of_seq: 5, tables: vec![] };
    assert_eq!(rig.receive(box_message::Body::Digest(digest.clone())), []);
    let actions = rig.step(Event::Applied(Applied::Taken { watermark: 5 }));
    let ack = message(cloud_message::Body::Ack(Ack { batch_id: 1, watermark: 5 }));
    assert_eq!(actions, [Action::Send(ack), Action::Store(Request::Compare(digest))]);
}

#[test]
fn a_box_that_sends_more_than_it_may_is_cut_off() {
    let mut rig = Rig::live();
    let mut taken = 0;
    let refused = loop {
        let actions = rig.receive(box_message::Body::Batch(log(vec![])));
        if rig.stream.is_over() {
            break actions;
        }
        taken += 1;
    };
    assert_eq!((taken, ended(&refused).0), (10, Reason::Malformed));
}

#[test]
fn what_is_not_to_be_understood_is_refused_whole_with_the_reason() {
    let after = &KEY[..30];
    let twice = TableRows { columns: vec!["a".into(), "a".into()], ..rows("contacts", vec![]) };
    let gone = TableRows { deleted_keys: vec![KEY.into()], ..rows("contacts", vec![]) };
    let short = Row { values: vec![], ..row(KEY) };
    let unborn = Row { row_version: 0, ..row(KEY) };
    let many = vec![row(KEY); 2_001];
    // batch, reason, word of it
    for (batch, reason, word) in [
        (log(vec![rows("users", vec![])]), Reason::UnknownTable, "users"),
        (log(vec![rows("contacts", vec![row("x")])]), Reason::Malformed, "UUID"),
        (log(vec![rows("contacts", vec![row(&KEY.to_uppercase())])]), Reason::Malformed, "UUID"),
        (log(vec![rows("contacts", vec![short])]), Reason::Malformed, "columns"),
        (log(vec![rows("contacts", vec![unborn])]), Reason::Malformed, "columns"),
        (log(vec![twice]), Reason::Malformed, "twice"),
        (log(vec![rows("contacts", many)]), Reason::Malformed, "too many"),
        (batch(Scope::Log(LogRange { after: 5, to: 5 }), vec![]), Reason::Malformed, "nothing"),
        (batch(Scope::Log(LogRange { after: -1, to: 5 }), vec![]), Reason::Malformed, "nothing"),
        (RowBatch { scope: None, ..log(vec![]) }, Reason::Malformed, "nothing"),
        (batch(range(after, "g"), vec![rows("jobs", vec![])]), Reason::Malformed, "outside"),
        (batch(range(after, after), vec![rows("contacts", vec![row(KEY)])]), Reason::Malformed, "outside"),
        (batch(range(KEY, "g"), vec![rows("contacts", vec![row(KEY)])]), Reason::Malformed, "outside"),
        (batch(range(after, "g"), vec![gone]), Reason::Malformed, "outside"),
    ] {
        let mut rig = Rig::live();
        let (got, detail) = ended(&rig.receive(box_message::Body::Batch(batch)));
        assert!(got == reason && detail.contains(word), "{word}: {got:?} {detail}");
        assert_eq!(rig.receive(box_message::Body::Batch(log(vec![]))), [], "it has ended");
    }
    let mut rig = Rig::live();
    let large = BoxMessage { body: Some(box_message::Body::Batch(log(vec![]))) };
    let actions = rig.step(Event::Received(large, 1024 * 1024 + 1));
    assert!(ended(&actions).1.contains("large"));
    let mut rig = Rig::live();
    let tables = vec![TableDigest { table: "x".repeat(1_000), sum: None, days: vec![] }];
    let actions = rig.receive(box_message::Body::Digest(Digest { as_of_seq: 1, tables }));
    assert_eq!(ended(&actions), (Reason::UnknownTable, "x".repeat(64)), "not the whole of it is said back");
}

#[test]
fn a_stream_begins_with_one_hello_that_says_everything() {
    for (hello, reason) in [
        (Hello { protocol: 2, ..hello() }, Reason::Unsupported),
        (Hello { epoch: 0, ..hello() }, Reason::Malformed),
        (Hello { epoch: u64::MAX, ..hello() }, Reason::Malformed),
        (Hello { incarnation: vec![1].into(), ..hello() }, Reason::Malformed),
        (Hello { log_head: -1, ..hello() }, Reason::Malformed),
    ] {
        let mut rig = Rig::new();
        assert_eq!(ended(&rig.receive(box_message::Body::Hello(hello))).0, reason);
    }
    assert_eq!(ended(&Rig::live().receive(box_message::Body::Hello(hello()))).0, Reason::Malformed);
    assert_eq!(ended(&Rig::new().receive(box_message::Body::Batch(log(vec![])))).0, Reason::Malformed);
    let (waited, actions) = Rig::new().wake();
    assert_eq!((waited, ended(&actions).0), (20 * SECOND, Reason::Silent));
}

#[test]
fn what_the_store_says_is_said_to_the_box() {
    let busy = || {
        let mut rig = Rig::live();
        rig.receive(box_message::Body::Batch(log(vec![])));
        rig
    };
    assert_eq!(ended(&busy().step(Event::Applied(Applied::OutOfStep))).0, Reason::OutOfStep);
    assert_eq!(ended(&busy().step(Event::Applied(Applied::Fenced { current: 4 }))).0, Reason::Fenced);
    let full = busy().step(Event::Unavailable("disk full".into()));
    assert_eq!(ended(&full), (Reason::Unavailable, "disk full".into()));
    let away = |away| {
        let actions = busy().step(Event::NotHere(away));
        let Action::Send(CloudMessage { body: Some(cloud_message::Body::Goodbye(goodbye)) }) = &actions[0] else {
            panic!("{actions:?}")
        };
        assert!(ended(&actions).0 == goodbye.reason());
        (goodbye.reason(), goodbye.endpoint.clone(), goodbye.retry_after_ms)
    };
    assert_eq!(away(Away::Elsewhere("b:1".into())), (Reason::Moved, "b:1".into(), 0));
    assert_eq!(away(Away::Moving), (Reason::Unavailable, String::new(), 3_000));
    assert_eq!(away(Away::Erased), (Reason::Unavailable, String::new(), 300_000));
    let mut rig = Rig::new();
    rig.receive(box_message::Body::Hello(hello()));
    assert_eq!(ended(&rig.step(Event::Greeted(Greeted::Fenced { current: 4 }))).0, Reason::Fenced);
}

#[test]
fn a_quiet_stream_is_pinged_a_silent_one_ends_and_an_old_one_too() {
    let mut rig = Rig::live();
    for _ in 0..2 {
        let (waited, actions) = rig.wake();
        assert_eq!((waited, actions), (20 * SECOND, vec![Action::Send(message(cloud_message::Body::Ping(Ping {})))]));
    }
    assert_eq!(ended(&rig.wake().1).0, Reason::Silent);
    let mut rig = Rig::live();
    let began = rig.now;
    let actions = loop {
        rig.receive(box_message::Body::Ping(Ping {}));
        let (_, actions) = rig.wake();
        if rig.stream.is_over() {
            break actions;
        }
    };
    assert_eq!((ended(&actions).0, rig.now - began), (Reason::Aged, Config::default().age_max));
}

/// An instance that stops acknowledges what it is storing and then asks the box to come back; what waits behind that is sent
/// again to another.
#[test]
fn who_leaves_acknowledges_first() {
    let mut rig = Rig::live();
    rig.receive(box_message::Body::Batch(log(vec![])));
    rig.receive(box_message::Body::Batch(RowBatch { batch_id: 2, ..log(vec![]) }));
    assert_eq!(rig.step(Event::Leaving), []);
    let actions = rig.step(Event::Applied(Applied::Taken { watermark: 5 }));
    let [Action::Send(ack), rest @ ..] = &actions[..] else { panic!("{actions:?}") };
    assert!(matches!(&ack.body, Some(cloud_message::Body::Ack(Ack { batch_id: 1, watermark: 5 }))), "{ack:?}");
    assert_eq!(ended(rest).0, Reason::Aged);
    assert!(rig.stream.is_over());
    let mut fresh = Rig::new();
    assert_eq!(ended(&fresh.step(Event::Leaving)).0, Reason::Aged);
}

#[test]
fn wishes_go_to_a_box_that_is_welcomed_and_what_it_says_of_them_is_told() {
    let command = Command { command_id: "c".to_owned(), ..Command::default() };
    let wishes = || Event::Wished(vec![cloud_message::Body::Command(command.clone())]);
    assert_eq!(Rig::new().step(wishes()), [], "it gets them when it is welcomed");
    let mut rig = Rig::live();
    assert_eq!(rig.step(wishes()), [Action::Send(message(cloud_message::Body::Command(command.clone())))]);
    let result = box_message::Body::CommandResult(CommandResult { command_id: "c".to_owned(), ..Default::default() });
    assert_eq!(rig.receive(result.clone()), [Action::Told(result)]);
    let reported = box_message::Body::Reported(Reported { version: 1, ..Reported::default() });
    assert_eq!(rig.receive(reported.clone()), [Action::Told(reported)]);
}

/// A bounded number of deliveries is on its way, none twice, and each that the box has makes room for another.
#[test]
fn deliveries_go_to_a_box_that_is_welcomed_a_few_at_a_time() {
    let delivery = |number: usize| Delivery { delivery_id: number.to_string(), what: None };
    let all = || Event::Outstanding((0..40).map(delivery).collect());
    let sent = |actions: &[Action]| -> Vec<String> {
        let id = |action: &Action| {
            let Action::Send(CloudMessage { body: Some(cloud_message::Body::Delivery(delivery)) }) = action else {
                panic!("not a delivery: {action:?}")
            };
            delivery.delivery_id.clone()
        };
        actions.iter().map(id).collect()
    };
    assert_eq!(Rig::new().step(all()), [], "it gets them when it is welcomed");
    let mut rig = Rig::live();
    let first: Vec<String> = (0..DELIVERIES_IN_FLIGHT).map(|number| number.to_string()).collect();
    assert_eq!(sent(&rig.step(all())), first);
    assert_eq!(rig.step(all()), []);
    let delivered =
        |id: &str| box_message::Body::Delivered(Delivered { delivery_id: id.to_owned(), answer: String::new() });
    assert_eq!(rig.receive(delivered("3")), [Action::Told(delivered("3"))]);
    assert_eq!(rig.receive(delivered("never sent")), [Action::Told(delivered("never sent"))]);
    let rest = Event::Outstanding((4..40).map(delivery).collect());
    assert_eq!(sent(&rig.step(rest)), ["16"], "one has made room");
}
