//! A box that is lost: another machine becomes it, from what lies on a share.

use std::path::Path;
use std::process::Command;

use cloud::store::{AnyStore, Sqlite};
use serde_json::Value;
use tests::cloud::{CloudProcess, sums_of_box};
use tests::offhook::Offhook;
use tests::poll;

use super::{BOX, CLOUD, Folders, LIMIT, call, carrier, claim, said, start_box, sync_of};

/// Waits until the share has everything that was committed by now.
pub(super) fn wait_until_backed_up(offhook: &Offhook, head: i64) {
    let whole = poll(LIMIT, || {
        let state: Value = serde_json::from_slice(&offhook.run(&["backup", "status", "--json"]).stdout).unwrap();
        let to = state["places"].as_object()?.values().next()?["to"].as_i64()?;
        (to >= head).then_some(())
    });
    assert!(whole.is_some(), "{}\n{}", said(&offhook.run(&["backup", "status"])), offhook.log());
}

pub(super) fn head(folder: &Path) -> i64 {
    daemon::storage::Reader::open(folder, 1).unwrap().read_blocking(daemon::sync::log::log_head).unwrap()
}

#[test]
fn a_blank_machine_becomes_the_box_that_was_lost() {
    let (mut folders, carrier) = (Folders::new(), carrier());
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    let endpoint = format!("localhost:{}", cloud.address().port());
    let (share, key) = (folders.cloud.with_file_name("share"), folders.cloud.with_file_name("key"));
    std::fs::create_dir(&share).unwrap();
    let made = Command::new(BOX).args(["backup", "key"]).arg(&key).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let recipient = said(&made).split('"').nth(1).unwrap().to_owned();
    let settings = |folders: &Folders| {
        let mut settings = folders.settings(&cloud, &endpoint);
        settings.push(format!("backup.places=['{}']", share.display()));
        settings.push(format!("backup.recipients=['{recipient}']"));
        settings
    };
    folders.write_calls(40);
    assert!(claim(&settings(&folders), &cloud.code("bakery")).status.success());
    let offhook = start_box(&folders, &carrier, &settings(&folders));
    let store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
    call(&offhook, &carrier);
    wait_until_backed_up(&offhook, head(&folders.office));
    call(&offhook, &carrier);
    folders.wait_until_equal(&store);
    wait_until_backed_up(&offhook, head(&folders.office));
    let lost = sums_of_box(&folders.office);
    let proved = offhook.run(&["backup", "drill"]);
    assert!(proved.status.success() && said(&proved).contains("proved"), "{}", said(&proved));
    let sealed = std::fs::read_dir(&share).unwrap().next().unwrap().unwrap().path();
    let names: Vec<String> = std::fs::read_dir(&sealed)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("segment-")), "{names:?}");
    offhook.kill();

    // Another machine, with nothing but the share and the key.
    let zombie = std::mem::replace(&mut folders.office, folders.cloud.with_file_name("blank"));
    std::fs::create_dir(&folders.office).unwrap();
    let storage = format!("storage.directory={}", folders.office.display());
    let restore = |key: &Path| {
        Command::new(BOX).arg("restore").arg(&share).arg("--key").arg(key).args(["--set", &storage]).output().unwrap()
    };
    let wrong = folders.cloud.with_file_name("wrong");
    assert!(Command::new(BOX).args(["backup", "key"]).arg(&wrong).output().unwrap().status.success());
    let refused = restore(&wrong);
    assert!(!refused.status.success() && said(&refused).contains("not sealed for this key"), "{}", said(&refused));
    let restored = restore(&key);
    assert!(restored.status.success() && said(&restored).contains("rows"), "{}", said(&restored));
    assert_eq!(sums_of_box(&folders.office), lost);

    // It is the box, to its phones, its carrier and its cloud.
    let offhook = start_box(&folders, &carrier, &settings(&folders));
    call(&offhook, &carrier);
    folders.wait_until_equal(&store);
    let boxes = cloud.ask(&["boxes"]);
    assert_eq!((boxes.as_array().unwrap().len(), &boxes[0]["epoch"]), (1, &Value::from(2)), "{boxes}");
    offhook.stop();

    // The one that was lost comes back and is told that its place is taken.
    folders.office = zombie;
    let offhook = start_box(&folders, &carrier, &settings(&folders));
    let replaced = poll(LIMIT, || (sync_of(&offhook)["link"]["replaced"] == true).then_some(()));
    assert!(replaced.is_some(), "{}", sync_of(&offhook));
    offhook.stop();
    cloud.stop();
}
