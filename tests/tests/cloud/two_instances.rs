//! Two instances of the cloud on one PostgreSQL, behind HAProxy: one is killed, and the box goes on with the other.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cloud::local_postgres::LocalPostgres;
use cloud::store::{AnyStore, Postgres};
use tests::cloud::CloudProcess;
use tests::offhook::free_port;
use tests::poll;

use super::{CLOUD, Folders, LIMIT, call, carrier, claim, start_box, sync_of};

/// From a killed instance to a stream with the other: a check of HAProxy's, and the box's first back-off.
const AWAY_LIMIT: Duration = Duration::from_secs(10);

/// A load balancer in the foreground; killed when dropped.
struct HaProxy(Child);

impl HaProxy {
    fn program() -> Option<PathBuf> {
        let places = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"];
        places.iter().map(PathBuf::from).find(|path| path.is_file())
    }

    /// One that gives each connection to the next of those that are ready.
    fn start(program: &Path, folder: &Path, port: u16, instances: &[&CloudProcess]) -> HaProxy {
        let servers = instances.iter().enumerate().map(|(number, cloud)| {
            let http = cloud.http_address().port();
            format!("  server cloud{number} {} check port {http}\n", cloud.address())
        });
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n\
             frontend boxes\n  bind 127.0.0.1:{port}\n  default_backend clouds\n\
             backend clouds\n  balance roundrobin\n  option httpchk GET /readyz\n  option redispatch\n  \
             default-server inter 200ms fall 1 rise 1 on-marked-down shutdown-sessions\n{}",
            servers.collect::<String>()
        );
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        HaProxy(command.spawn().unwrap())
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // Gone already, or now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has_the_stream(cloud: &CloudProcess) -> bool {
    cloud.http("/metrics").1.contains("\noffhook_cloud_streams 1\n")
}

#[test]
fn one_of_two_instances_is_killed_and_the_box_goes_on() {
    let (Some(_), Some(haproxy)) = (LocalPostgres::programs(), HaProxy::program()) else {
        eprintln!("SKIPPED: PostgreSQL or HAProxy is not installed (packages postgresql, haproxy)");
        return;
    };
    let (folders, carrier) = (Folders::new(), carrier());
    std::fs::create_dir(&folders.cloud).unwrap();
    let postgres = LocalPostgres::start(&folders.cloud.join("database"), &["fsync=off"]).unwrap();
    let url_file = folders.cloud.join("url");
    std::fs::write(&url_file, postgres.url()).unwrap();
    let port = free_port();
    let endpoint = format!("localhost:{port}");
    let settings = [
        "store.engine=postgres".to_owned(),
        format!("store.url_file={}", url_file.display()),
        format!("listen.endpoint={endpoint}"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    // The authority, and the recordings, are in a folder that they share.
    let start = || CloudProcess::start(Path::new(CLOUD), &folders.cloud, &settings);
    let (first, second) = (start(), start());
    let _balancer = HaProxy::start(&haproxy, &folders.office, port, &[&first, &second]);
    let box_settings = folders.settings(&first, &endpoint);
    folders.write_calls(200);
    let claimed = poll(LIMIT, || claim(&box_settings, &first.code("bakery")).status.success().then_some(()));
    claimed.expect("the load balancer takes boxes");
    let store = Postgres::parse(&postgres.url(), None, 1).unwrap();
    let store = AnyStore::Postgres(Box::new(store));
    let offhook = start_box(&folders, &carrier, &box_settings);
    let before = folders.wait_until_equal(&store);
    assert!(before >= 200, "{before}");

    let (killed, left) = if has_the_stream(&first) { (first, second) } else { (second, first) };
    assert!(has_the_stream(&killed) && !has_the_stream(&left));
    drop(killed);
    let since = Instant::now();
    call(&offhook, &carrier);
    let back = poll(LIMIT, || has_the_stream(&left).then(|| since.elapsed()));
    let back = back.unwrap_or_else(|| panic!("{}", sync_of(&offhook)));
    assert!(back < AWAY_LIMIT, "away for {back:?}");
    let after = folders.wait_until_equal(&store);
    assert!(after > before, "{after}");
    assert_eq!(sync_of(&offhook)["lost_entries"], 0);
    println!("An instance was killed: the box was away for {back:?}, {after} rows on both ends");
    offhook.stop();
    left.stop();
    drop(store);
    postgres.stop().unwrap();
}
