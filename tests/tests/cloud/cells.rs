//! A tenant moves from one cell to another while its box is at work, and the move is killed in the middle: the box ends up
//! there, nothing is lost, nothing is sent again.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cloud::local_postgres::LocalPostgres;
use cloud::store::tenants::Tenants as _;
use cloud::store::{AnyStore, Postgres, Sqlite};
use daemon::storage::{RecordingKind, UnixMs};
use daemon::sync::enrolment::Enrolment;
use daemon::sync::link;
use serde_json::Value;
use tests::cloud::CloudProcess;
use tests::offhook::free_port;
use tests::poll;

use super::blobs::{fetch, record, sound};
use super::{CLOUD, Folders, LIMIT, call, carrier, claim, said, start_box, sync_of};

const CALLS: i64 = 300;

/// A cell of its own: with PostgreSQL where there is one, else with SQLite.
struct SecondCell {
    postgres: Option<LocalPostgres>,
    folder: PathBuf,
    port: u16,
}

impl SecondCell {
    /// With the authority of the first one.
    fn new(folder: PathBuf, authority_of: &Path) -> SecondCell {
        std::fs::create_dir(&folder).unwrap();
        for name in ["authority.crt", "authority.key"] {
            std::fs::copy(authority_of.join(name), folder.join(name)).unwrap();
        }
        let has_server = LocalPostgres::programs().is_some();
        let postgres = has_server.then(|| LocalPostgres::start(&folder.join("database"), &["fsync=off"]).unwrap());
        if let Some(postgres) = &postgres {
            std::fs::write(folder.join("url"), postgres.url()).unwrap();
        }
        SecondCell { postgres, folder, port: free_port() }
    }

    fn settings(&self) -> Vec<String> {
        let mut settings = vec![format!("listen.address=127.0.0.1:{}", self.port)];
        if self.postgres.is_some() {
            settings.push("store.engine=postgres".to_owned());
            settings.push(format!("store.url_file={}", self.folder.join("url").display()));
        }
        settings
    }

    /// As whoever moves tenants is given it.
    fn file(&self) -> PathBuf {
        let mut text =
            format!("listen.address = '127.0.0.1:{}'\nstore.directory = '{}'\n", self.port, self.folder.display());
        if self.postgres.is_some() {
            let url = self.folder.join("url");
            text.push_str(&format!("store.engine = 'postgres'\nstore.url_file = '{}'\n", url.display()));
        }
        let path = self.folder.join("cell.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn store(&self) -> AnyStore {
        match &self.postgres {
            Some(postgres) => AnyStore::Postgres(Box::new(Postgres::parse(&postgres.url(), None, 1).unwrap())),
            None => AnyStore::Sqlite(Sqlite::open(&self.folder.join("cloud.db")).unwrap()),
        }
    }
}

fn words(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// What cannot be done is said before anything is changed, with what was expected.
#[test]
fn what_is_asked_of_tenants_is_checked_first() {
    let folders = Folders::new();
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    cloud.code("bakery");
    let other = folders.cloud.join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("authority.crt"), "of somebody else").unwrap();
    let file = |name: &str, text: String| {
        let path = folders.cloud.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let store = |folder: &Path| format!("store.directory = '{}'\n", folder.display());
    let foreign = file("foreign.toml", store(&other));
    let same = file("same.toml", format!("listen.address = '{}'\n{}", cloud.address(), store(&other)));
    let wrong = file("wrong.toml", "listen.mood = 1\n".to_owned());
    for (arguments, code, expected) in [
        (format!("move nobody --to {foreign}"), 1, "there is no tenant nobody"),
        (format!("move Bakery! --to {foreign}"), 1, "tenant \"Bakery!\": expected 1 to 63 lower-case"),
        (format!("move bakery --to {foreign}"), 1, "differ: boxes are known by certificates of one authority"),
        (format!("move bakery --to {same}"), 1, "both cells have listen.endpoint = \"localhost:"),
        (format!("move bakery --to {wrong}"), 78, "--to: "),
        ("erase bakery --yes baker --as Anna".to_owned(), 1, "--yes baker: expected bakery"),
        ("erase bakery --yes bakery".to_owned(), 1, "--as NAME: expected who does it"),
        ("place bakery elsewhere".to_owned(), 1, "endpoint \"elsewhere\": expected a host name or address and :port"),
        ("import /nowhere".to_owned(), 1, "/nowhere/tenant.jsonl.zst: No such file"),
    ] {
        let output = cloud.run(&["tenant"].into_iter().chain(arguments.split(' ')).collect::<Vec<_>>());
        let said = said(&output);
        assert!(output.status.code() == Some(code) && said.contains(expected), "{arguments}: {said}");
    }
    let tenants = cloud.ask(&["tenant", "list"]);
    assert_eq!((&tenants[0]["tenant"], &tenants[0]["state"]), (&"bakery".into(), &"open".into()));
}

#[test]
fn a_tenant_moves_to_another_cell_while_its_box_syncs() {
    let (folders, carrier) = (Folders::new(), carrier());
    let message = sound(300_000, 5);
    let hash = record(&folders.office, RecordingKind::Voicemail, UnixMs(UnixMs::now().0 - 5_000), Some(&message));
    folders.write_calls(CALLS);
    let first = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    let cell = SecondCell::new(folders.office.parent().unwrap().join("second"), &folders.cloud);
    let cell_settings = cell.settings();
    let cell_settings: Vec<&str> = cell_settings.iter().map(String::as_str).collect();
    let second = CloudProcess::start(Path::new(CLOUD), &cell.folder, &cell_settings);
    let [here, there] = [&first, &second].map(|cloud| format!("localhost:{}", cloud.address().port()));
    let settings = folders.settings(&first, &here);
    let code = first.code("bakery");
    assert!(claim(&settings, &first.code("bakery")).status.success());
    let offhook = start_box(&folders, &carrier, &settings);
    let old_store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
    let before = folders.wait_until_equal(&old_store);
    let sent = poll(LIMIT, || (sync_of(&offhook)["recordings"]["waiting"] == 0).then_some(()));
    sent.unwrap_or_else(|| panic!("{}", sync_of(&offhook)));
    let known = first.ask(&["boxes"])[0].clone();

    // Killed in the middle: the tenant is shut in both, and the box waits.
    let file = cell.file().display().to_string();
    let moving = ["tenant", "move", "bakery", "--to", &file];
    let folder = format!("store.directory={}", folders.cloud.display());
    let address = format!("listen.address={}", first.address());
    let mut cut = Command::new(CLOUD)
        .args(moving)
        .args(["--set", &folder, "--set", &address])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(cut.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("copying records")), "the move says what it does");
    cut.kill().unwrap();
    cut.wait().unwrap();
    let state = |cloud: &CloudProcess| cloud.ask(&["tenant", "list"])[0]["state"].clone();
    assert_eq!((state(&first), state(&second)), ("frozen".into(), "arriving".into()));
    let shut = poll(LIMIT, || (sync_of(&offhook)["link"]["connected"] == false).then_some(()));
    shut.unwrap_or_else(|| panic!("{}", sync_of(&offhook)));
    let ends = sync_of(&offhook)["link"]["last_end"].clone();
    assert!(ends.as_str().unwrap().contains("this office is being moved"), "{ends}");
    call(&offhook, &carrier);

    // Asked for again, it is carried on; the box follows by itself.
    let moved = words(&first.run(&moving));
    assert!(moved.contains(&format!("bakery lives at {there} now")), "{moved}");
    let arrived = poll(LIMIT, || {
        let sync = sync_of(&offhook);
        (sync["endpoint"] == there.as_str() && sync["link"]["connected"] == true).then_some(())
    });
    arrived.unwrap_or_else(|| panic!("{}", sync_of(&offhook)));
    let new_store = cell.store();
    let after = folders.wait_until_equal(&new_store);
    assert!(after > before && before > CALLS.unsigned_abs(), "{before}, {after}");
    let sync = sync_of(&offhook);
    assert_eq!((&sync["lost_entries"], &sync["recordings"]["lost"]), (&Value::from(0), &Value::from(0)));

    // It is the same box, which had to send no more than what was new.
    let boxes = second.ask(&["boxes"]);
    assert_eq!((&boxes[0]["epoch"], &boxes[0]["enrolled_at"]), (&known["epoch"], &known["enrolled_at"]));
    let metrics = second.http("/metrics").1;
    let taken = metrics.lines().find_map(|line| line.strip_prefix("offhook_cloud_rows_total ")).unwrap();
    assert!(taken.parse::<u64>().unwrap() < before / 2, "{taken} of {before} rows were sent again");
    let here_still = old_store.holdings("bakery").unwrap();
    assert!(here_still.is_empty && here_still.claims == 1, "{here_still:?}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (trust, as_box) = (first.trust(), Enrolment::load(&folders.office).unwrap().unwrap());
    assert_eq!(as_box.home.as_deref(), Some(here.as_str()));
    let fetched = |endpoint: &str| runtime.block_on(fetch(endpoint, &trust, &as_box, &hash, 0));
    assert!(fetched(&there).unwrap() == message);
    assert!(fetched(&here).unwrap_err().contains("not here"));

    // The old cell knows where everybody belongs: who renews, and who has a code of it.
    let renewed = runtime.block_on(link::renew(&as_box.moved(&here), Some(&trust))).unwrap();
    assert_eq!(renewed.endpoint, there);
    let newcomer = runtime.block_on(link::claim(&here, Some(&trust), &code, "another")).unwrap();
    assert_eq!((newcomer.endpoint.as_str(), newcomer.home.as_deref()), (there.as_str(), Some(here.as_str())));
    offhook.stop();
    first.stop();
    second.stop();
    drop(new_store);
    if let Some(postgres) = cell.postgres {
        postgres.stop().unwrap();
    }
}
