//! The files under `systemd/`, as systemd itself reads them: no unknown key, no mistake, and no more access to the
//! machine than the unit explains. Runs offline; nothing is installed or started.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what cannot be read or started fails the test, with its error"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The most of systemd's exposure level, in tenths, that each service may have; 100 would be a service with no bounds at
/// all. What is reachable from the network has the least. Those that run as root, because RAUC, the EFI partition or the
/// machine's name obey nobody else, pay for that alone a good part of it.
const MAX_EXPOSURE: [(&str, u32); 11] = [
    ("offhook.service", 15),
    ("offhook-bad-slot.service", 15),
    ("offhook-bans.service", 15),
    ("offhook-slots.service", 15),
    ("offhook-first-boot.service", 20),
    ("offhook-health.service", 22),
    ("offhook-update.service", 22),
    ("offhook-wanted-reboot.service", 22),
    ("offhook-wanted-update.service", 22),
    ("offhook-console@.service", 25),
    // Mounts a stick where the whole machine sees it.
    ("offhook-stick.service", 52),
];

#[test]
fn every_service_has_its_bound() {
    let bounded: BTreeSet<String> = MAX_EXPOSURE.iter().map(|(unit, _)| (*unit).to_owned()).collect();
    let services: BTreeSet<String> = units().into_iter().filter(|unit| unit.ends_with(".service")).collect();
    assert_eq!(services, bounded);
}

/// `verify` warns about unknown keys and wrong values, but exits with 0: only silence counts.
#[test]
fn no_unit_has_an_unknown_key_or_a_wrong_value() {
    if !have("systemd-analyze") {
        return;
    }
    // All side by side, because they name each other.
    let folder = scratch("good");
    for unit in units() {
        fs::write(folder.join(instance(&unit)), runnable(&unit)).unwrap();
    }
    for unit in units() {
        assert_eq!(verify(&folder.join(instance(&unit))), "", "{unit}");
    }
}

#[test]
fn a_misspelt_key_would_be_noticed() {
    if !have("systemd-analyze") {
        return;
    }
    let unit = scratch("misspelt").join("offhook.service");
    fs::write(&unit, runnable("offhook.service").replace("\nWatchdogSec=", "\nWatchdogSecs=")).unwrap();
    let complaint = verify(&unit);
    assert!(complaint.contains("WatchdogSecs"), "verify said: {complaint:?}");
}

#[test]
fn services_are_hardened() {
    if !have("systemd-analyze") {
        return;
    }
    for (unit, bound) in MAX_EXPOSURE {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=yes", &format!("--threshold={bound}")]).arg(file(unit));
        let run = analyze.output().unwrap();
        assert!(run.status.success(), "{unit}: {}", output(&run));
    }
}

#[test]
fn every_hardening_line_is_explained() {
    for (unit, _) in MAX_EXPOSURE {
        let text = fs::read_to_string(file(unit)).unwrap();
        let mut explained = false;
        let mut settings = 0;
        for line in text.lines().skip_while(|line| !line.starts_with("# --- Hardening")) {
            match line.chars().next() {
                Some('#') => explained = true,
                Some('[') => break,
                None => explained = false,
                Some(_) => {
                    settings += 1;
                    assert!(explained, "{unit}: no comment above {line}");
                }
            }
        }
        assert!(settings > 8, "{unit}: found only {settings} hardening lines");
    }
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
fn runnable(unit: &str) -> String {
    let text = fs::read_to_string(file(unit)).unwrap();
    let ours = ["offhook ", "rm ", "systemctl "].map(|program| format!("ExecStart=/usr/bin/{program}"));
    let scripts = ["slots ", "stick"].map(|program| format!("ExecStart=/usr/lib/offhook/{program}"));
    let ours = ours.iter().chain(&scripts);
    let runnable = ours.fold(text.clone(), |text, program| text.replace(program, "ExecStart=/bin/true "));
    assert_eq!(text == runnable, !unit.ends_with(".service"), "{unit}: ExecStart= is not where this test looks for it");
    runnable
}

/// The name of a unit that can be looked at: of a template, an instance.
fn instance(unit: &str) -> String {
    unit.replace("@.", "@tty1.")
}

/// What `systemd-analyze verify` says about this file.
fn verify(unit: &Path) -> String {
    output(&Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output().unwrap())
}

/// The names of the unit files: folders beside them hold other things.
fn units() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(file(""))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() > 5, "found only {names:?}");
    names
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
