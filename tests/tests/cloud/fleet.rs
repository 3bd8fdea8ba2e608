//! A box that is managed by its cloud: it takes what it can use, says why it does not, and is as it was when that fails.

use std::path::Path;
use std::process::Output;

use cloud::store::{AnyStore, Sqlite};
use serde_json::Value;
use tests::cloud::CloudProcess;
use tests::offhook::Offhook;
use tests::poll;

use super::{CLOUD, Folders, LIMIT, call, carrier, claim, said, start_box, sync_of};

/// What a command that was waited for has said.
pub(super) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

fn office_name(offhook: &Offhook) -> String {
    let shown = said(&offhook.run(&["config", "show"]));
    let config: toml::Table = shown.parse().unwrap();
    config["office"]["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_box_is_managed_through_its_stream() {
    let (folders, carrier) = (Folders::new(), carrier());
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    let settings = folders.settings(&cloud, &format!("localhost:{}", cloud.address().port()));
    assert!(claim(&settings, &cloud.code("bakery")).status.success());
    let offhook = start_box(&folders, &carrier, &settings);
    let connected = poll(LIMIT, || (sync_of(&offhook)["link"]["connected"] == true).then_some(()));
    assert!(connected.is_some(), "{}", sync_of(&offhook));
    let box_id = folders.box_name().box_id;
    let file = folders.cloud.join("wish.toml");
    let set = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let wish = ["fleet", "set", "bakery", &box_id, file.to_str().unwrap(), "--json"];
        cloud.run(&[&wish[..], more].concat())
    };

    // It takes what it can use, together with what the office has written down.
    let prices = folders.cloud.join("prices.md");
    std::fs::write(&prices, "# Bread\n\nA loaf of rye bread costs four dollars.\n").unwrap();
    let wait = ["--wait", "60"];
    let applied = set(
        "[office]\nname = 'Corner Bakery'\ntime_zone = 'UTC'",
        &[&wait[..], &["--knowledge", prices.to_str().unwrap()]].concat(),
    );
    assert_eq!(json(&applied)["outcome"]["state"], "applied", "{}\n{}", said(&applied), offhook.log());
    assert_eq!(office_name(&offhook), "Corner Bakery");
    let asked = said(&offhook.run(&["ask", "How much is a loaf of rye bread?"]));
    assert!(asked.contains("four dollars"), "{asked}");
    call(&offhook, &carrier);

    // It rejects what it cannot, by key, and goes on as it is.
    let rejected = set("[calls]\nconcurrent_limit = 0\n[cloud]\nenabled = false", &wait);
    let outcome = &json(&rejected)["outcome"];
    assert!(!rejected.status.success() && outcome["state"] == "rejected", "{}", said(&rejected));
    assert!(outcome["detail"].as_str().unwrap().starts_with("cloud: expected one of"), "{outcome}");
    let rejected = set("[calls]\nconcurrent_limit = 0", &wait);
    assert!(said(&rejected).contains("calls.concurrent_limit"), "{}", said(&rejected));
    assert_eq!(office_name(&offhook), "Corner Bakery");

    // What it cannot even start with is taken back at once.
    set("[office]\nname = 'Nobody'\ntime_zone = 'UTC'\n[calls]\nhold_music_file = '/nowhere/music.wav'", &[]);
    let shown = poll(LIMIT, || {
        let document = cloud.ask(&["fleet", "show", "bakery", &box_id]);
        let detail = document["desired"]["outcome"]["detail"].as_str().unwrap_or_default().to_owned();
        detail.contains("failed").then_some(detail)
    });
    let shown = shown.unwrap_or_else(|| panic!("{}", offhook.log()));
    assert!(shown.contains("try 1 of 3 failed") && shown.contains("music.wav"), "{shown}");
    assert_eq!(office_name(&offhook), "Corner Bakery");
    let wishes = said(&offhook.run(&["cloud", "wishes"]));
    assert!(wishes.contains("In force: version 1 with knowledge/prices.md, office"), "{wishes}");
    call(&offhook, &carrier);

    // It does what it is told to, once, and says what came of it; also when it is told while it is away.
    let order = |name: &str, more: &[&str]| {
        cloud.run(&[&["fleet", "command", "bakery", &box_id, name, "--json", "--as", "anna"], more].concat())
    };
    let diagnosed = json(&order("diagnostics", &wait));
    assert!(diagnosed["result"]["detail"].as_str().unwrap().contains("\"sip port\""), "{diagnosed}");
    let rotated = order("rotate-keys", &wait);
    assert!(rotated.status.success(), "{}", said(&rotated));
    let rebooted = order("reboot", &wait);
    assert!(
        !rebooted.status.success() && said(&rebooted).contains("offhook-wanted-reboot.path"),
        "{}",
        said(&rebooted)
    );
    let log = offhook.stop();
    assert!(!log.contains("four dollars"), "{log}");
    let missed = json(&order("restart", &[]));
    assert!(missed["result"].is_null());
    let offhook = start_box(&folders, &carrier, &settings);
    offhook.wait_for_log("Starting anew, as the cloud wants it", LIMIT);
    let restarted = poll(LIMIT, || {
        let document = cloud.ask(&["fleet", "show", "bakery", &box_id]);
        (document["commands"][0]["result"]["done"] == true).then_some(())
    });
    assert!(restarted.is_some(), "{}", cloud.ask(&["fleet", "show", "bakery", &box_id]));

    // A rollout is the same, cohort by cohort.
    std::fs::write(&file, "[office]\nname = 'Rolled out'\ntime_zone = 'UTC'").unwrap();
    let rollout = ["fleet", "rollout", "bakery", file.to_str().unwrap(), "--soak-minutes", "0", "--json"];
    let begun = cloud.run(&rollout);
    assert!(begun.status.success(), "{}", said(&begun));
    let done = poll(LIMIT, || {
        let rollouts = cloud.ask(&["fleet", "rollouts", "bakery"]);
        (rollouts.as_object()?.values().next()?["state"]["state"] == "done").then_some(())
    });
    assert!(done.is_some(), "{}\n{}", cloud.ask(&["fleet", "rollouts", "bakery"]), offhook.log());
    assert_eq!(office_name(&offhook), "Rolled out");
    let store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
    folders.wait_until_equal(&store);
    offhook.stop();
    cloud.stop();
}
