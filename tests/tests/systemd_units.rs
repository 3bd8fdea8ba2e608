//! The files under `systemd/`, as systemd itself reads them: no unknown key, no mistake, and no more access to the
//! machine than the unit explains. Runs offline; nothing is installed or started.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what cannot be read or started fails the test, with its error"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// In tenths of systemd's exposure level, which goes from 0 (nothing is exposed) to 100.
const MAX_EXPOSURE: &str = "--threshold=15";

/// `verify` warns about unknown keys and wrong values, but exits with 0: only silence counts.
#[test]
fn service_has_no_unknown_key_and_no_wrong_value() {
    if !have("systemd-analyze") {
        return;
    }
    assert_eq!(verify("good", &runnable_unit()), "");
}

#[test]
fn a_misspelt_key_would_be_noticed() {
    if !have("systemd-analyze") {
        return;
    }
    let complaint = verify("misspelt", &runnable_unit().replace("\nWatchdogSec=", "\nWatchdogSecs="));
    assert!(complaint.contains("WatchdogSecs"), "verify said: {complaint:?}");
}

#[test]
fn service_is_hardened() {
    if !have("systemd-analyze") {
        return;
    }
    let unit = file("offhook.service");
    let run =
        Command::new("systemd-analyze").args(["security", "--offline=yes", MAX_EXPOSURE]).arg(unit).output().unwrap();
    assert!(run.status.success(), "{}", output(&run));
}

#[test]
fn every_hardening_line_is_explained() {
    let unit = fs::read_to_string(file("offhook.service")).unwrap();
    let mut explained = false;
    let mut settings = 0;
    for line in unit.lines().skip_while(|line| !line.starts_with("# --- Hardening")) {
        match line.chars().next() {
            Some('#') => explained = true,
            Some('[') => break,
            None => explained = false,
            Some(_) => {
                settings += 1;
                assert!(explained, "no comment above {line}");
            }
        }
    }
    assert!(settings > 15, "found only {settings} hardening lines");
}

#[test]
fn account_can_be_made_and_cannot_log_in() {
    if !have("systemd-sysusers") {
        return;
    }
    let root = scratch("sysusers");
    let conf = file("sysusers.d/offhook.conf");
    let run = Command::new("systemd-sysusers")
        .arg("--dry-run")
        .arg(format!("--root={}", root.display()))
        .arg(&conf)
        .output()
        .unwrap();
    assert!(run.status.success() && output(&run).contains("Creating user 'offhook'"), "{}", output(&run));
    assert!(fs::read_to_string(conf).unwrap().contains("/usr/sbin/nologin"));
}

/// The unit with a program that every machine has: `verify` looks whether `ExecStart=` can be executed.
fn runnable_unit() -> String {
    let unit = fs::read_to_string(file("offhook.service")).unwrap();
    let runnable = unit.replace("ExecStart=/usr/bin/offhook ", "ExecStart=/bin/true ");
    assert_ne!(unit, runnable, "ExecStart= is not where this test looks for it");
    runnable
}

/// What `systemd-analyze verify` says about this text as offhook.service.
fn verify(name: &str, text: &str) -> String {
    let unit = scratch(name).join("offhook.service");
    fs::write(&unit, text).unwrap();
    output(&Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output().unwrap())
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("systemd_units").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd").join(name)
}

fn output(run: &Output) -> String {
    [String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr)].concat()
}

/// Is this tool here? Says so when it is not, because a skipped check must not look like a passed one.
fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        tests::shared::say_skipped(&format!("{tool} is not installed (Debian: systemd)"));
    }
    found
}
