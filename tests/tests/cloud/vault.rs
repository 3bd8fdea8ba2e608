//! A box that is lost, and everything on its site with it: another machine becomes it, from what the cloud keeps and cannot
//! read. Whoever has stolen it cannot have destroyed that.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cloud::store::{AnyStore, Sqlite};
use cloud_api::v1::backups_client::BackupsClient;
use cloud_api::v1::{ListBackupsRequest, RemoveBackupsRequest};
use daemon::storage::{RecordingKind, UnixMs};
use daemon::sync::enrolment::Enrolment;
use daemon::sync::link;
use serde_json::Value;
use tests::cloud::{CloudProcess, sums_of_box};
use tests::offhook::Offhook;
use tests::poll;
use tests::tcp_relay::TcpRelay;

use super::blobs::{MIB, path_of, record, sound};
use super::restore::{head, wait_until_backed_up};
use super::{BOX, CLOUD, Folders, LIMIT, call, carrier, claim, said, start_box, sync_of};

fn place_of(offhook: &Offhook) -> Value {
    let state: Value = serde_json::from_slice(&offhook.run(&["backup", "status", "--json"]).stdout).unwrap();
    state["places"]["cloud"].clone()
}

/// Now, and not with the next turn of the box, which would only take time.
fn back_up(offhook: &Offhook) {
    let done = offhook.run(&["backup", "now"]);
    assert!(done.status.success(), "{}\n{}", said(&done), offhook.log());
}

fn make_key(path: &Path) -> String {
    let made = Command::new(BOX).args(["backup", "key"]).arg(path).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    said(&made).split('"').nth(1).unwrap().to_owned()
}

/// What whoever has the box's certificate may do: all names are gone.
fn remove_everything(office: &Path, trust: &Path) -> usize {
    let enrolment = Enrolment::load(office).unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = link::connect(&enrolment.endpoint, Some(trust), Some(&enrolment)).await.unwrap();
        let mut client = BackupsClient::new(channel);
        let mut files = client.list(ListBackupsRequest {}).await.unwrap().into_inner();
        let mut names = Vec::new();
        while let Some(some) = files.message().await.unwrap() {
            names.extend(some.files.into_iter().map(|file| file.name));
        }
        client.remove(RemoveBackupsRequest { names: names.clone() }).await.unwrap();
        assert!(client.list(ListBackupsRequest {}).await.unwrap().into_inner().message().await.unwrap().is_none());
        names.len()
    })
}

#[test]
fn a_blank_machine_becomes_the_lost_box_from_the_cloud_alone() {
    let (mut folders, carrier) = (Folders::new(), carrier());
    let port = tests::offhook::free_port();
    let relay = TcpRelay::start(([127, 0, 0, 1], port).into());
    let endpoint = format!("localhost:{}", relay.address().port());
    let listen = [format!("listen.address=127.0.0.1:{port}"), format!("listen.endpoint={endpoint}")];
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[&listen[0], &listen[1]]);
    let key = folders.cloud.with_file_name("key");
    let recipient = make_key(&key);
    let settings = |folders: &Folders| {
        let mut settings = folders.settings(&cloud, &endpoint);
        settings.push("cloud.recordings=none".to_owned());
        settings.push("backup.places=['cloud']".to_owned());
        settings.push(format!("backup.recipients=['{recipient}']"));
        settings
    };
    folders.write_calls(40);
    let spoken = sound(8 * MIB, 1);
    let recording = record(&folders.office, RecordingKind::Call, UnixMs(UnixMs::now().0 - 1_000), Some(&spoken));
    assert!(claim(&settings(&folders), &cloud.code("bakery")).status.success());
    let before = relay.sent_bytes();
    let offhook = start_box(&folders, &carrier, &settings(&folders));

    // It goes up through a network that is cut, and a call gets through beside it.
    for cut in 1..=3 {
        let some = poll(LIMIT, || (relay.sent_bytes() > before + cut * 2 * MIB).then_some(()));
        assert!(some.is_some(), "{}\n{}", place_of(&offhook), offhook.log());
        relay.cut();
    }
    call(&offhook, &carrier);
    back_up(&offhook);
    call(&offhook, &carrier);
    let store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
    folders.wait_until_equal(&store);
    back_up(&offhook);
    let whole = poll(LIMIT, || (place_of(&offhook)["recordings_whole"] == true).then_some(()));
    assert!(whole.is_some(), "{}\n{}", place_of(&offhook), offhook.log());
    let sent = relay.sent_bytes() - before;
    assert!(sent < 8 * MIB * 3 / 2, "{sent} bytes were sent for 8 MiB: it does not go on where it was cut");
    let lost = sums_of_box(&folders.office);
    let proved = offhook.run(&["backup", "drill"]);
    assert!(proved.status.success() && said(&proved).contains("proved"), "{}", said(&proved));
    let name = folders.box_name();
    offhook.kill();

    // Who has stolen the box removes everything; who runs the cloud makes it what it was.
    let moment =
        String::from_utf8(Command::new("date").arg("+%Y-%m-%dT%H:%M:%S.%3N").output().unwrap().stdout).unwrap();
    let removed = remove_everything(&folders.office, &cloud.trust());
    assert!(removed >= 3, "a base, a segment and a recording: {removed}");
    let zombie = std::mem::replace(&mut folders.office, folders.cloud.with_file_name("blank"));
    std::fs::create_dir(&folders.office).unwrap();
    let trust = cloud.trust();
    let restore = |office: &Path, code: &str| restore_from_cloud(office, &endpoint, &trust, code, &key);
    let code = said(&cloud.run(&["claim", "bakery", "--replaces", &name.box_id]));
    let code = code.lines().next().unwrap();
    let nothing = restore(&folders.office, code);
    assert!(!nothing.status.success() && said(&nothing).contains("the cloud: expected base-"), "{}", said(&nothing));
    let rewound = cloud.run(&["backups", "rewind", "bakery", &name.box_id, "--to", moment.trim()]);
    assert!(said(&rewound).contains(&format!("{removed} files")), "{}", said(&rewound));
    let listed = cloud.ask(&["backups", "list", "bakery", &name.box_id]);
    assert_eq!(listed.as_array().unwrap().len(), removed);

    // Another machine, with nothing but a code and the key; it is cut too.
    let wrong = restore(&folders.office, &cloud.code("bakery"));
    assert!(!wrong.status.success() && said(&wrong).contains("--replaces BOX"), "{}", said(&wrong));
    let restored = std::thread::scope(|scope| {
        let passed = relay.passed_bytes();
        let office = folders.office.as_path();
        let running = scope.spawn(move || restore(office, code));
        poll(LIMIT, || (relay.passed_bytes() > passed + 2 * MIB).then_some(()));
        relay.cut();
        running.join().unwrap()
    });
    assert!(restored.status.success() && said(&restored).contains("1 recordings"), "{}", said(&restored));
    assert_eq!(sums_of_box(&folders.office), lost);
    assert!(std::fs::read(path_of(&folders.office, &recording)).unwrap() == spoken);
    assert_eq!(folders.box_name(), name, "it has the lost box's place, with a certificate of its own");
    let certificates = [&zombie, &folders.office].map(|office| Enrolment::load(office).unwrap().unwrap().chain());
    assert_ne!(certificates[0], certificates[1]);

    // It is the box, to its carrier and its cloud, and its backups go on.
    let offhook = start_box(&folders, &carrier, &settings(&folders));
    call(&offhook, &carrier);
    folders.wait_until_equal(&store);
    back_up(&offhook);
    let boxes = cloud.ask(&["boxes"]);
    assert_eq!((boxes.as_array().unwrap().len(), &boxes[0]["epoch"]), (1, &Value::from(2)), "{boxes}");
    offhook.stop();

    // The one that was lost comes back: it is nobody's, and neither reads nor removes anything.
    folders.office = zombie;
    let offhook = start_box(&folders, &carrier, &settings(&folders));
    let last_end = || sync_of(&offhook)["link"]["last_end"].as_str().unwrap_or_default().to_owned();
    let told = poll(LIMIT, || last_end().contains("has taken this box's place").then_some(()));
    assert!(told.is_some(), "{}", sync_of(&offhook));
    let refused = offhook.run(&["backup", "now"]);
    assert!(!refused.status.success() && said(&refused).contains("has taken this box's place"), "{}", said(&refused));
    offhook.stop();
    cloud.stop();
}

fn restore_from_cloud(office: &Path, endpoint: &str, trust: &Path, code: &str, key: &Path) -> Output {
    let settings = [
        format!("storage.directory={}", office.display()),
        format!("cloud.endpoint={endpoint}"),
        format!("cloud.trust={}", trust.display()),
    ];
    let mut command = Command::new(BOX);
    command.args(["restore", "cloud", "--code", code, "--key"]).arg(key);
    command.args(settings.iter().flat_map(|setting| ["--set", setting])).output().unwrap()
}

/// The network is away for a while: that is no error, and nothing is missing afterwards.
#[test]
fn a_cloud_that_is_away_is_waited_for() {
    let (folders, carrier) = (Folders::new(), carrier());
    let port = tests::offhook::free_port();
    let relay = TcpRelay::start(([127, 0, 0, 1], port).into());
    let endpoint = format!("localhost:{}", relay.address().port());
    let listen = [format!("listen.address=127.0.0.1:{port}"), format!("listen.endpoint={endpoint}")];
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[&listen[0], &listen[1]]);
    let key: PathBuf = folders.cloud.with_file_name("key");
    let mut settings = folders.settings(&cloud, &endpoint);
    settings.push("backup.places=['cloud']".to_owned());
    settings.push(format!("backup.recipients=['{}']", make_key(&key)));
    folders.write_calls(3);
    assert!(claim(&settings, &cloud.code("bakery")).status.success());
    relay.refuse(true);
    let offhook = start_box(&folders, &carrier, &settings);
    let waits = poll(LIMIT, || place_of(&offhook)["away"].as_str().filter(|why| !why.is_empty()).map(str::to_owned));
    let why = waits.unwrap_or_else(|| panic!("{}\n{}", place_of(&offhook), offhook.log()));
    assert!(why.contains("cannot be reached") && place_of(&offhook)["error"] == "", "{}", place_of(&offhook));
    assert!(said(&offhook.run(&["backup", "status"])).contains("waits for the cloud"));
    assert!(!offhook.run(&["backup", "now"]).status.success(), "who asks for one is told that there is none");
    assert!(!offhook.log().contains("Backups fail"), "{}", offhook.log());
    relay.refuse(false);
    back_up(&offhook);
    wait_until_backed_up(&offhook, head(&folders.office));
    assert_eq!(place_of(&offhook)["away"], "");
    offhook.stop();
    cloud.stop();
}
