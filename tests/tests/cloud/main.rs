//! A box and its cloud as they are: processes, sockets, databases, and a network that breaks. Whatever happens, both have the
//! same rows in the end, and nothing that was acknowledged is lost.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod blobs;
mod callbacks;
mod cells;
mod fleet;
mod inflate;
mod kills;
mod operators;
mod restore;
mod two_instances;
mod vault;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cloud::authority::Authority;
use cloud::local_postgres::LocalPostgres;
use cloud::store::{AnyStore, BoxName, Postgres, Sqlite};
use daemon::storage::{
    CallId, Direction, NewSession, PeerAddressKind, Storage, StorageConfig, UnixMs, insert_session, mark_answered,
};
use daemon::sync::enrolment::{Enrolment, Request};
use daemon::sync::link;
use serde_json::Value;
use tests::carrier::{Account, Carrier, EDGE};
use tests::cloud::{CloudProcess, sums_of_box, sums_of_cloud};
use tests::namespace::Namespace;
use tests::offhook::Offhook;
use tests::poll;
use tests::tcp_relay::TcpRelay;

const BOX: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const CLOUD: &str = env!("CARGO_BIN_EXE_offhook-cloud-under-test");
const LIMIT: Duration = Duration::from_secs(60);
/// For a part of a backlog to pass before the network is cut.
const CUT_LIMIT: Duration = Duration::from_secs(3);
const NUMBER: &str = "+12125550142";
const DAY_MS: i64 = 86_400_000;

/// A folder for the box and one for the cloud. Where we are root the latter is another user's.
struct Folders {
    _whole: tempfile::TempDir,
    office: PathBuf,
    cloud: PathBuf,
}

impl Folders {
    fn new() -> Folders {
        use std::os::unix::fs::PermissionsExt;
        let whole = tempfile::tempdir().unwrap();
        // PostgreSQL runs as another user there, who has to come to its folder.
        std::fs::set_permissions(whole.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let [office, cloud] = ["office", "cloud"].map(|name| whole.path().join(name));
        std::fs::create_dir(&office).unwrap();
        Folders { _whole: whole, office, cloud }
    }

    /// The box's settings for this cloud.
    fn settings(&self, cloud: &CloudProcess, endpoint: &str) -> Vec<String> {
        vec![
            format!("storage.directory={}", self.office.display()),
            "cloud.enabled=true".to_owned(),
            format!("cloud.endpoint={endpoint}"),
            format!("cloud.trust={}", cloud.trust().display()),
        ]
    }

    /// Calls of the last days, each with an answer.
    fn write_calls(&self, calls: i64) {
        let storage = Storage::open(&StorageConfig::new(&self.office)).unwrap().storage;
        let now = UnixMs::now().0;
        storage
            .write_blocking(move |sql_tx| {
                for number in 0..calls {
                    let at = UnixMs(now - (calls - number) * DAY_MS / 100);
                    let new = session(at);
                    insert_session(sql_tx, &new)?;
                    mark_answered(sql_tx, new.call_id, at)?;
                }
                Ok(())
            })
            .unwrap();
        storage.close_blocking();
    }

    fn box_name(&self) -> BoxName {
        let enrolment = Enrolment::load(&self.office).unwrap().unwrap();
        BoxName { tenant_id: enrolment.tenant().unwrap(), box_id: enrolment.box_id }
    }

    /// Waits until both have the same rows, and says how many.
    fn wait_until_equal(&self, store: &AnyStore) -> u64 {
        let name = self.box_name();
        let rows = poll(LIMIT, || {
            let here = sums_of_box(&self.office);
            (here == sums_of_cloud(store, &name)).then(|| here.values().flatten().map(|(_, sum)| sum.rows).sum())
        });
        rows.unwrap_or_else(|| {
            panic!("not equal:\nbox   {:?}\ncloud {:?}", sums_of_box(&self.office), sums_of_cloud(store, &name))
        })
    }
}

fn session(at: UnixMs) -> NewSession {
    NewSession {
        call_id: CallId::new(at),
        direction: Direction::Inbound,
        trunk: "office".to_owned(),
        peer_address_kind: PeerAddressKind::Private,
        caller_id: None,
        called: None,
        sip_call_id: "1@example.org".to_owned(),
        started_at: at,
    }
}

fn carrier() -> Carrier {
    let account = Account {
        domain: "office.pstn.example.com".into(),
        username: "office".into(),
        password: "correct horse".into(),
        tone_hz: 1_100,
    };
    Carrier::start(EDGE, account)
}

/// A box that takes calls of this carrier, with these settings.
fn start_box(folders: &Folders, carrier: &Carrier, settings: &[String]) -> Offhook {
    let (file, secret) = (folders.office.join("offhook.toml"), folders.office.join("trunk"));
    std::fs::write(&secret, "correct horse").unwrap();
    let config = format!(
        "[[trunks]]\nname = 'carrier'\nprofile = 'twilio'\nsources = ['127.0.1.0/24']\nnumbers = ['{NUMBER}']\n\
         hosts = ['{}']\ndomain = 'office.pstn.example.com'\nusername = 'office'\npassword_file = '{}'\n",
        carrier.address(),
        secret.display()
    );
    std::fs::write(&file, config).unwrap();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Offhook::start_wordless(Path::new(BOX), &folders.office, &file, &settings)
}

/// Somebody calls, and hangs up at once.
fn call(offhook: &Offhook, carrier: &Carrier) {
    let call = carrier.call(&[offhook.address()], NUMBER).call.expect("the box answers");
    call.hang_up();
    offhook.wait_for_log("Call ended", LIMIT);
}

fn claim(settings: &[String], code: &str) -> std::process::Output {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    Command::new(BOX).args(["cloud", "claim", code]).args(settings).output().unwrap()
}

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn sync_of(offhook: &Offhook) -> Value {
    serde_json::from_slice(&offhook.run(&["cloud", "status", "--json"]).stdout).unwrap()
}

/// A box that runs unclaimed is claimed by hand, sends what it has and what comes, says so, and is let go in order.
#[test]
fn a_box_is_claimed_and_its_calls_are_in_the_cloud() {
    let (folders, carrier) = (Folders::new(), carrier());
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    let code = cloud.code("bakery");
    let endpoint = format!("localhost:{}", cloud.address().port());
    let settings = folders.settings(&cloud, &endpoint);
    folders.write_calls(30);
    let offhook = start_box(&folders, &carrier, &settings);
    assert!(sync_of(&offhook)["link"]["last_end"].as_str().unwrap().contains("offhook cloud claim"));
    let refused = claim(&settings, "0000-0000-0000-0000");
    assert!(!refused.status.success() && said(&refused).contains("unknown, expired or another"), "{}", said(&refused));
    let claimed = claim(&settings, &code.to_lowercase());
    assert!(claimed.status.success() && said(&claimed).contains("of bakery now"), "{}", said(&claimed));
    call(&offhook, &carrier);
    let store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
    assert!(folders.wait_until_equal(&store) >= 31);

    let calls = cloud.ask(&["calls", "bakery", "--limit", "100"]);
    assert_eq!(calls.as_array().unwrap().len(), 31);
    assert_eq!((&calls[0]["trunk"], &calls[1]["trunk"]), (&Value::from("carrier"), &Value::from("office")));
    let name = folders.box_name();
    let equal = poll(LIMIT, || {
        let boxes = cloud.ask(&["boxes"]);
        (boxes[0]["equal_at"].is_i64() && boxes[0]["state"] == "connected").then_some(boxes)
    });
    let boxes = equal.expect("both were compared");
    assert_eq!((&boxes[0]["tenant"], &boxes[0]["box"]), (&Value::from("bakery"), &Value::from(name.box_id)));
    let synced =
        poll(LIMIT, || Some(sync_of(&offhook)).filter(|sync| sync["backlog"] == 0 && sync["equal_at"].is_i64()));
    let synced = synced.unwrap_or_else(|| panic!("{}", sync_of(&offhook)));
    assert_eq!((&synced["link"]["connected"], &synced["lost_entries"]), (&Value::from(true), &Value::from(0)));
    let status = offhook.run(&["status"]);
    assert!(said(&status).contains(&format!("connected to {endpoint}")), "{}", said(&status));
    assert_eq!((cloud.http("/livez").0, cloud.http("/readyz").0), (200, 200));
    let metrics = cloud.http("/metrics").1;
    assert!(metrics.contains("\noffhook_cloud_streams 1\n"), "{metrics}");

    cloud.stop();
    let away = poll(LIMIT, || (sync_of(&offhook)["link"]["connected"] == false).then_some(()));
    assert!(away.is_some(), "{}", sync_of(&offhook));
    call(&offhook, &carrier);
    offhook.stop();
}

/// Without a certificate of its authority nobody gets further than the handshake; with one that has expired only to another
/// one; and a revoked box not even that.
#[tokio::test(flavor = "multi_thread")]
async fn who_a_box_is_stands_in_its_certificate() {
    let folders = Folders::new();
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    let (endpoint, trust) = (format!("127.0.0.1:{}", cloud.address().port()), cloud.trust());
    let code = cloud.code("bakery");
    let claim = async |code: &str, box_id: &str| link::claim(&endpoint, Some(&trust), code, box_id).await;
    let claimed = claim(&code, "box-1").await.unwrap();
    assert_eq!((claimed.tenant().as_deref(), claimed.box_id.as_str()), (Some("bakery"), "box-1"));
    claim(&code, "box-1").await.expect("the answer may have been lost");
    let other = claim(&code, "box-2").await.unwrap_err().to_string();
    assert!(other.contains("another box's"), "{other}");
    let name = claim(&code, "Box 1").await.unwrap_err().to_string();
    assert!(name.contains("box_id: expected"), "{name}");
    let stranger = link::claim(&endpoint, None, &code, "box-1").await.unwrap_err().to_string();
    assert!(stranger.contains("cannot be reached") && stranger.contains("certificate"), "{stranger}");

    let connect = async |enrolment: &Enrolment| -> Result<(), String> {
        let channel =
            link::connect(&endpoint, Some(&trust), Some(enrolment)).await.map_err(|error| error.to_string())?;
        let nothing = tokio_stream::empty();
        let opened = cloud_api::v1::sync_client::SyncClient::new(channel).connect(nothing).await;
        opened.map(|_| ()).map_err(|status| status.message().to_owned())
    };
    connect(&claimed).await.unwrap();
    let certified = |authority: &Authority, now: i64| {
        let request = Request::new("box-1").unwrap();
        let name = BoxName { tenant_id: "bakery".to_owned(), box_id: "box-1".to_owned() };
        let chain = vec![authority.certify_box(&name, &request.der, now).unwrap().to_vec().into()];
        let certificate = cloud_api::v1::Certificate { chain, roots: vec![], endpoint: endpoint.clone() };
        Enrolment::new("box-1".to_owned(), &request, &certificate)
    };
    let now = UnixMs::now().0;
    let expired = certified(&Authority::open(&folders.cloud, now).unwrap(), now - 100 * DAY_MS);
    assert!(connect(&expired).await.unwrap_err().contains("expired"));
    let renewed = link::renew(&expired, Some(&trust)).await.unwrap();
    connect(&renewed).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let forged = certified(&Authority::open(elsewhere.path(), now).unwrap(), now);
    let told = connect(&forged).await.unwrap_err();
    assert!(!told.contains("bakery") && !told.contains("box"), "{told}");
    link::renew(&forged, Some(&trust)).await.unwrap_err();

    assert!(cloud.run(&["revoke", "bakery", "box-1"]).status.success());
    assert!(connect(&renewed).await.unwrap_err().contains("revoked"));
    assert!(link::renew(&renewed, Some(&trust)).await.unwrap_err().to_string().contains("revoked"));
    claim(&cloud.code("bakery"), "box-1").await.unwrap();
    connect(&renewed).await.expect("it was claimed anew");
}

/// Between a box and its cloud.
enum Network {
    /// Connections are cut.
    Relay(TcpRelay),
    /// The cable is pulled, and nobody is told.
    Cable(Namespace),
}

impl Network {
    fn passed_bytes(&self) -> u64 {
        match self {
            Network::Relay(relay) => relay.passed_bytes(),
            Network::Cable(namespace) => namespace.passed_bytes(),
        }
    }

    /// Breaks, and is whole again once the box has noticed.
    fn cut(&self, offhook: &Offhook) {
        match self {
            Network::Relay(relay) => relay.cut(),
            Network::Cable(namespace) => {
                namespace.plug(false);
                let noticed = poll(LIMIT, || (sync_of(offhook)["link"]["connected"] == false).then_some(()));
                assert!(noticed.is_some(), "{}", sync_of(offhook));
                namespace.plug(true);
            }
        }
    }

    /// Nothing passes, and nothing is closed.
    fn stall(&self, stalled: bool) {
        match self {
            Network::Relay(relay) => {
                if !stalled {
                    relay.cut();
                }
                relay.stall(stalled);
            }
            Network::Cable(namespace) => namespace.plug(!stalled),
        }
    }
}

#[test]
fn nothing_is_lost_whatever_breaks() {
    let port = tests::offhook::free_port();
    let relay = TcpRelay::start(([127, 0, 0, 1], port).into());
    let endpoint = format!("localhost:{}", relay.address().port());
    let settings = [format!("listen.address=127.0.0.1:{port}"), format!("listen.endpoint={endpoint}")];
    a_day_in_which_everything_breaks(Network::Relay(relay), &endpoint, &settings);
}

#[test]
fn nothing_is_lost_when_a_cable_is_pulled() {
    let Some(namespace) = Namespace::start() else {
        eprintln!("SKIPPED: no network namespace can be made here: that needs root");
        return;
    };
    let address = namespace.address();
    let endpoint = format!("{address}:8443");
    let settings = [
        format!("listen.address={endpoint}"),
        format!("listen.endpoint={endpoint}"),
        format!("http.address={address}:9464"),
    ];
    a_day_in_which_everything_breaks(Network::Cable(namespace), &endpoint, &settings);
}

/// The network breaks, the cloud, its database, and at last its memory.
fn a_day_in_which_everything_breaks(network: Network, endpoint: &str, more: &[String]) {
    if LocalPostgres::programs().is_none() {
        eprintln!("SKIPPED: PostgreSQL is not installed (package postgresql)");
        return;
    }
    let (folders, carrier) = (Folders::new(), carrier());
    let database = folders.cloud.join("database");
    std::fs::create_dir(&folders.cloud).unwrap();
    let start_database = || LocalPostgres::start(&database, &["fsync=off"]).unwrap();
    let postgres = start_database();
    let url_file = folders.cloud.join("url");
    std::fs::write(&url_file, postgres.url()).unwrap();
    let url_setting = format!("store.url_file={}", url_file.display());
    let mut cloud_settings = vec!["store.engine=postgres", &url_setting, "listen.keep_alive_seconds=1"];
    cloud_settings.extend(more.iter().map(String::as_str));
    let program = match &network {
        Network::Relay(_) => PathBuf::from(CLOUD),
        Network::Cable(namespace) => namespace.program(&folders.office, Path::new(CLOUD)),
    };
    let cloud = CloudProcess::start(&program, &folders.cloud, &cloud_settings);
    let settings = folders.settings(&cloud, endpoint);
    folders.write_calls(6_000);
    assert!(claim(&settings, &cloud.code("bakery")).status.success());
    let store = || {
        let store = Postgres::parse(&std::fs::read_to_string(&url_file).unwrap(), None, 1).unwrap();
        AnyStore::Postgres(Box::new(store))
    };

    // The backlog, through a network that is cut while it goes up.
    let offhook = start_box(&folders, &carrier, &settings);
    for _ in 0..3 {
        let before = network.passed_bytes();
        // Rows are deflated: all of them may have passed before the last cut.
        poll(CUT_LIMIT, || (network.passed_bytes() > before + 10_000).then_some(()));
        network.cut(&offhook);
    }
    call(&offhook, &carrier);
    let synced = folders.wait_until_equal(&store());
    assert!(synced >= 6_001, "{synced}");

    // The cloud is killed, and a connection is forgotten by a router.
    let cloud = cloud.kill_and_start();
    network.stall(true);
    call(&offhook, &carrier);
    network.stall(false);
    assert!(folders.wait_until_equal(&store()) > synced);

    // A backup is made, the database is killed while it takes rows, and the backup is what is left.
    postgres.stop().unwrap();
    let backup = folders.cloud.join("backup");
    assert!(Command::new("cp").arg("-a").arg(&database).arg(&backup).status().unwrap().success());
    let postgres = start_database();
    call(&offhook, &carrier);
    let with_the_call = folders.wait_until_equal(&store());
    call(&offhook, &carrier);
    postgres.kill();
    let (ready, why) = cloud.http("/readyz");
    assert_eq!(ready, 503, "{why}");
    assert!(!why.contains("host="), "{why}");
    std::fs::remove_dir_all(&database).unwrap();
    std::fs::rename(&backup, &database).unwrap();
    let postgres = start_database();
    let restored = sums_of_cloud(&store(), &folders.box_name());
    assert_ne!(restored, sums_of_box(&folders.office), "the backup lacks the last calls");
    assert!(folders.wait_until_equal(&store()) > with_the_call);
    assert_eq!(sync_of(&offhook)["lost_entries"], 0);
    offhook.stop();
    cloud.stop();
    postgres.stop().unwrap();
}
