//! Updates as the box does them: the real `offhook update` against stand-ins for RAUC and GRUB (`tests/standins`), and
//! against the real RAUC where it is installed. A boot is simulated by the boot loader's rules for choosing a slot.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what cannot be read or started fails the test, with its error"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tests::offhook::{Offhook, free_port};
use tests::peers::wav_of_speech;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
/// Exit status when it is only not the time.
const POSTPONED: Option<i32> = Some(75);

/// A box with two slots, version 0.1.0 running and confirmed in A, nothing in B.
struct Box {
    folder: TempDir,
    settings: Vec<String>,
}

impl Box {
    fn new() -> Box {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let standin = |name: &str| standins().join(name).display().to_string();
        let settings = vec![
            format!("update.programs.rauc={}", standin("rauc")),
            format!("update.programs.grub_editenv={}", standin("grub-editenv")),
            format!("update.programs.systemctl={}", standin("systemctl")),
            format!("update.grubenv={}", path("grubenv")),
            format!("update.os_release={}", path("os-release")),
            format!("update.marker={}", path("run/slot-confirmed")),
            format!("update.folders=[\"{}\"]", path("media")),
            format!("storage.directory={}", path("state")),
            format!("machine.directory={}", path("machine")),
            "update.call_wait_minutes=0".to_owned(),
            "update.confirm_limit_seconds=1".to_owned(),
            "log.target=stderr".to_owned(),
            format!("sip.port={}", free_port()),
        ];
        let this = Box { folder, settings };
        this.write("grubenv", "ORDER=A B\nA_OK=1\nA_TRY=0\nA_CONFIRMED=1\nB_OK=0\nB_TRY=0\n");
        this.write("booted", "A");
        this.write("A", "0.1.0");
        this.write("os-release", "IMAGE_VERSION=0.1.0\n");
        this
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// A bundle for this kind of machine; `more` are further lines of it.
    fn bundle(&self, name: &str, version: &str, more: &str) -> String {
        self.write(name, &format!("compatible=offhook-arm64\nversion={version}\n{more}\n"));
        self.folder.path().join(name).display().to_string()
    }

    fn update(&self, arguments: &[&str]) -> Output {
        self.update_with(&[], arguments)
    }

    fn update_with(&self, settings: &[&str], arguments: &[&str]) -> Output {
        let all = self.settings.iter().map(String::as_str).chain(settings.iter().copied());
        let mut command = Command::new(PROGRAM);
        command.arg("update").args(arguments).args(all.flat_map(|setting| ["--set", setting]));
        command.env("STANDIN_FOLDER", self.folder.path()).stdin(Stdio::null()).output().unwrap()
    }

    fn status(&self) -> Value {
        let output = self.update(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)))
    }

    /// What GRUB does: the first slot in ORDER that is OK and either confirmed or not tried yet; a slot that is not
    /// confirmed is marked as tried. Returns its name.
    fn boot(&self) -> String {
        let value = |name: &str| {
            let text = self.read("grubenv");
            text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned)).unwrap_or_default()
        };
        let order = value("ORDER");
        let bootable = |slot: &&str| {
            value(&format!("{slot}_OK")) == "1"
                && (value(&format!("{slot}_CONFIRMED")) == "1" || value(&format!("{slot}_TRY")) != "1")
        };
        let slot = order.split_whitespace().find(bootable).expect("a bootable slot").to_owned();
        if value(&format!("{slot}_CONFIRMED")) != "1" {
            let rest = self.read("grubenv");
            let rest: Vec<_> = rest.lines().filter(|line| !line.starts_with(&format!("{slot}_TRY="))).collect();
            self.write("grubenv", &format!("{}\n{slot}_TRY=1\n", rest.join("\n")));
        }
        self.write("booted", &slot);
        self.write("os-release", &format!("IMAGE_VERSION={}\n", self.read(&slot).trim()));
        // /run is empty after a boot.
        let _ = fs::remove_dir_all(self.folder.path().join("run"));
        slot
    }

    fn marker(&self) -> bool {
        self.folder.path().join("run/slot-confirmed").is_file()
    }

    /// The daemon of this box, answering calls; the settings that find it.
    fn daemon(&self) -> (Offhook, String) {
        let offhook = Offhook::start(Path::new(PROGRAM), &self.folder.path().join("state"), &[]);
        let port = format!("sip.port={}", offhook.address().port());
        (offhook, port)
    }
}

fn standins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("standins")
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn assert_says(output: &Output, exit: Option<i32>, expected: &[&str]) {
    let text = words(output);
    assert_eq!(output.status.code(), exit, "{text}");
    for expected in expected {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
}

/// From a stick into B, tried, found healthy by a real call, confirmed, and back to A again.
#[test]
fn an_update_is_installed_tried_confirmed_and_can_be_taken_back() {
    let _line = tests::every_line();
    let this = Box::new();
    this.bundle("media/OFFHOOK/offhook-0.2.0.raucb", "0.2.0", "");
    this.bundle("media/OFFHOOK/offhook-0.0.9.raucb", "0.0.9", "");
    assert_says(&this.update(&["check"]), Some(0), &["install  0.2.0", "0.0.9 is older than 0.1.0"]);
    assert_says(&this.update(&["rollback"]), Some(1), &["slot B cannot be booted"]);

    assert_says(&this.update(&["install"]), Some(0), &["0.2.0 is installed", "next boot tries it"]);
    let status = this.status();
    assert_eq!(status["reboot_pending"], true, "{status:#}");
    assert_eq!(status["last"]["state"], "installed", "{status:#}");

    assert_eq!(this.boot(), "B");
    assert_says(&this.update(&["status"]), Some(0), &["being tried: another boot goes back"]);
    // The other slot is the way back: neither overwritten, nor booted by the timer.
    let bundle = this.bundle("newer.raucb", "0.3.0", "");
    assert_says(&this.update(&["install", &bundle]), Some(1), &["slot B has not passed the health check yet"]);
    assert_says(
        &this.update_with(&[&window(-2, 3), OFFICE_IN_UTC], &["install", "--scheduled"]),
        POSTPONED,
        &["Put off", "way back"],
    );
    assert_eq!(this.read("systemctl.log"), "");
    let (offhook, port) = this.daemon();
    let confirmed = this.update_with(&["update.confirm_limit_seconds=90", &port], &["confirm"]);
    assert_says(&confirmed, Some(0), &["ok    database", "ok    sip", "ok    call", "greeting after"]);
    offhook.stop();
    assert!(this.marker());
    assert!(this.read("grubenv").contains("B_CONFIRMED=1"));
    assert_eq!(this.status()["last"]["state"], "confirmed");
    // Quick power cuts do not count against a confirmed slot.
    assert_eq!([this.boot(), this.boot(), this.boot()], ["B", "B", "B"]);

    assert_says(&this.update(&["rollback"]), Some(0), &["slot A with 0.1.0", "now running is 0.2.0"]);
    assert_eq!(this.boot(), "A");
    assert_eq!(this.status()["last"]["state"], "rolled_back");
}

/// The new system does not answer calls: no marker (so the box reboots itself), the boot loader goes back, and the next
/// healthy start says what happened.
#[test]
fn a_new_system_that_answers_no_calls_is_left_again() {
    let _line = tests::every_line();
    let this = Box::new();
    let bundle = this.bundle("new.raucb", "0.2.0", "");
    assert_says(&this.update(&["install", &bundle, "--reboot"]), Some(0), &["Rebooting"]);
    assert_eq!(this.read("systemctl.log"), "reboot\n");
    assert_eq!(this.boot(), "B");
    assert_says(&this.update(&["confirm"]), Some(1), &["BAD   database", "the box will go back"]);
    assert!(!this.marker());
    assert!(!this.read("grubenv").contains("B_CONFIRMED=1"));

    assert_eq!(this.boot(), "A");
    let (offhook, port) = this.daemon();
    let confirmed = this.update_with(&["update.confirm_limit_seconds=90", &port], &["confirm", "--json"]);
    offhook.stop();
    let shown: Value = serde_json::from_slice(&confirmed.stdout).unwrap_or_else(|_| panic!("{}", words(&confirmed)));
    assert_eq!(shown["confirmed"], true, "{shown:#}");
    assert_eq!(this.status()["last"]["state"], "fell_back");
    assert_says(&this.update(&["status"]), Some(0), &["did not pass the health check; the box went back to 0.1.0"]);
}

/// A slot that once was good and now is not: rebooting would lead into it again and again.
#[test]
fn an_unhealthy_but_confirmed_slot_is_not_left() {
    let this = Box::new();
    assert_says(&this.update(&["confirm"]), Some(1), &["BAD   database", "once passed it; staying"]);
    assert!(this.marker());
}

#[test]
fn what_must_not_be_installed_is_refused_with_what_was_expected_and_changes_nothing() {
    let this = Box::new();
    this.write("other.raucb", "compatible=offhook-x86\nversion=0.2.0\n");
    this.write("noise.raucb", "noise");
    let path = |name: &str| this.folder.path().join(name).display().to_string();
    let before = this.read("grubenv");
    for (bundle, expected) in [
        (this.bundle("unsigned.raucb", "0.2.0", "signature=bad"), "not signed by the maker of this box"),
        (path("other.raucb"), "made for \"offhook-x86\", this box is \"offhook-arm64\""),
        (path("noise.raucb"), "damaged or no update bundle"),
        (this.bundle("same.raucb", "0.1.0", ""), "0.1.0 is what is running"),
        (this.bundle("older.raucb", "0.0.9", ""), "0.0.9 is older than 0.1.0"),
        (path("none.raucb"), "is not a file"),
    ] {
        assert_says(&this.update(&["install", &bundle]), Some(1), &[expected]);
        assert_eq!(this.read("grubenv"), before, "{bundle}");
    }
    assert_says(&this.update(&["install"]), Some(1), &["nothing to install", "offhook update check"]);
    let older = this.folder.path().join("older.raucb").display().to_string();
    assert_says(&this.update(&["install", "--allow-older", &older]), Some(0), &["because --allow-older asks for it"]);
}

#[test]
fn a_payload_that_is_damaged_leaves_the_running_slot_the_next_one() {
    let this = Box::new();
    let bundle = this.bundle("damaged.raucb", "0.2.0", "payload=bad");
    let refused = this.update(&["install", &bundle, "--reboot"]);
    assert_says(&refused, Some(1), &["nothing was installed", "damaged", "copy or download it again"]);
    assert_eq!(this.read("systemctl.log"), "", "no reboot");
    let status = this.status();
    assert_eq!((&status["slots"]["next"], &status["last"]["state"]), (&"A".into(), &"failed".into()), "{status:#}");
    assert_eq!(this.boot(), "A");
}

#[test]
fn nothing_is_installed_while_a_call_is_up() {
    let _line = tests::every_line();
    let this = Box::new();
    let bundle = this.bundle("new.raucb", "0.2.0", "");
    let (offhook, port) = this.daemon();
    let speech = this.folder.path().join("speech.wav");
    wav_of_speech(PROGRAM, &speech, "When are you open on Saturday?");
    let uri = offhook.uri();
    let mut caller = offhook.spawn(&["call", &uri, "--say", &speech.display().to_string()]);
    offhook.wait_for_log("Call answered", std::time::Duration::from_secs(30));
    let busy = this.update_with(&[&port], &["install", &bundle]);
    assert_says(&busy, POSTPONED, &["1 calls are in progress"]);
    assert_eq!(this.status()["last"], Value::Null);
    // The daemon dies in mid-call: its open row is no call any more.
    offhook.kill();
    caller.kill().unwrap();
    caller.wait().unwrap();
    assert_says(&this.update_with(&[&port], &["install", &bundle]), Some(0), &["0.2.0 is installed"]);
}

#[test]
fn the_timer_installs_and_reboots_only_inside_the_window() {
    let this = Box::new();
    this.bundle("media/new.raucb", "0.2.0", "");
    let scheduled = |window: &str| this.update_with(&[window, OFFICE_IN_UTC], &["install", "--scheduled"]);
    assert_says(&scheduled(&window(3, 6)), POSTPONED, &["Nothing was done", "opens on"]);
    assert_eq!(this.status()["last"], Value::Null);
    assert_says(&scheduled(&window(-2, 3)), Some(0), &["0.2.0 is installed", "Rebooting"]);
    // Found again before the reboot: not installed twice.
    assert_says(&scheduled(&window(-2, 3)), Some(0), &["waits for a reboot", "Rebooting"]);
    assert_eq!(this.read("systemctl.log"), "reboot\nreboot\n");
    this.boot();
    this.write("grubenv", "ORDER=B A\nA_OK=1\nA_CONFIRMED=1\nB_OK=1\nB_TRY=0\nB_CONFIRMED=1\n");
    assert_says(&scheduled(&window(-2, 3)), Some(0), &["Nothing newer than 0.2.0"]);
}

const OFFICE_IN_UTC: &str = r#"office={name="Office",time_zone="UTC"}"#;

/// The window from and to so many hours after the current hour, in UTC.
fn window(from: i64, to: i64) -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let hour = |after: i64| (i64::try_from(seconds / 3_600).unwrap() + after).rem_euclid(24);
    format!("update.window=\"{:02}:00-{:02}:00\"", hour(from), hour(to))
}

/// Published with an index: the box reads the version there, downloads the bundle beside it and installs it.
#[test]
fn an_update_comes_from_the_web() {
    let this = Box::new();
    let bundle = "compatible=offhook-arm64\nversion=0.2.0\n";
    let index = format!(r#"{{"version":"0.2.0","bundle":"offhook.raucb","bytes":{}}}"#, bundle.len());
    let address = serve(vec![("/latest.json", index), ("/offhook.raucb", bundle.to_owned())]);
    let url = format!("update.url={address}/latest.json");
    assert_says(&this.update_with(&[&url], &["check"]), Some(0), &["install  0.2.0", "latest.json"]);
    assert_says(&this.update_with(&[&url], &["install"]), Some(0), &["0.2.0 is installed"]);
    let left: Vec<_> =
        fs::read_dir(this.folder.path().join("machine")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("raucb")), "{left:?}");
    let gone = this.update(&["install", &format!("{address}/none.raucb")]);
    assert_says(&gone, Some(1), &["none.raucb: the server answers with status 404"]);
}

/// Serves these documents for as long as the test runs; its address.
fn serve(documents: Vec<(&'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)).unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let found = documents.iter().find(|(name, _)| *name == path);
            let (status, body) = found.map_or((404, ""), |(_, text)| (200, text.as_str()));
            let length = body.len();
            let _ =
                write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    address
}

#[test]
fn a_machine_without_slots_says_so() {
    let this = Box::new();
    let without = ["update.programs.rauc=/nonexistent/rauc"];
    assert_says(&this.update_with(&without, &["status"]), Some(1), &["no update slots", "/nonexistent/rauc"]);
    assert_says(&this.update_with(&without, &["confirm"]), Some(1), &["--no-slots only checks"]);
    assert_says(&this.update_with(&without, &["confirm", "--no-slots"]), Some(1), &["BAD   database"]);
    assert!(!this.marker());
}
