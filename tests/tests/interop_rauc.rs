//! The real RAUC: bundles made and signed here, and its service on a message bus of its own, with two files as slots.
//!
//! Installing is left out: it takes device-mapper and mounts. The boot test of the image does it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what cannot be read or started fails the test, with its error"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tests::offhook::Offhook;
use tests::peers::is_installed;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

/// Two certificate authorities, each with a signer; a system configuration that trusts the first one.
struct Workshop(TempDir);

impl Workshop {
    fn new() -> Workshop {
        let this = Workshop(tempfile::tempdir().unwrap());
        this.authority("ours");
        this.authority("theirs");
        let at = |name: &str| this.path(name);
        fs::write(
            at("system.conf"),
            format!(
                "[system]\ncompatible=offhook-arm64\nbootloader=grub\ngrubenv={}\nbundle-formats=-plain\n\
                 statusfile={}\nmountprefix={}\n[keyring]\npath={}\n\
                 [slot.rootfs.0]\ndevice={}\ntype=raw\nbootname=A\n[slot.rootfs.1]\ndevice={}\ntype=raw\nbootname=B\n",
                at("grubenv"),
                at("status.raucs"),
                at("mnt"),
                at("ours-ca.pem"),
                at("slot-a"),
                at("slot-b"),
            ),
        )
        .unwrap();
        fs::write(at("slot-a"), "").unwrap();
        fs::write(at("slot-b"), "").unwrap();
        fs::write(at("os-release"), "IMAGE_VERSION=0.1.0\n").unwrap();
        this
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn authority(&self, name: &str) {
        let at = |end: &str| self.path(&format!("{name}-{end}"));
        let subject = format!("/O=Offhook test/CN={name}");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
        let own = ["req", "-x509", "-keyout", &at("ca.key"), "-out", &at("ca.pem"), "-subj", &subject];
        run(Command::new("openssl").args(own).args(key));
        let signed = [
            "req",
            "-x509",
            "-CA",
            &at("ca.pem"),
            "-CAkey",
            &at("ca.key"),
            "-keyout",
            &at("signer.key"),
            "-out",
            &at("signer.pem"),
            "-subj",
            "/O=Offhook test/CN=Signer",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "keyUsage=critical,digitalSignature",
            "-addext",
            "extendedKeyUsage=emailProtection",
        ];
        run(Command::new("openssl").args(signed).args(key));
    }

    /// A signed bundle; its path.
    fn bundle(&self, name: &str, authority: &str, compatible: &str, version: &str) -> String {
        let content = self.0.path().join(format!("{name}-content"));
        fs::create_dir(&content).unwrap();
        // What cannot be compressed: verity bundles have a least size.
        let noise = (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes());
        fs::write(content.join("rootfs.img"), noise.collect::<Vec<u8>>()).unwrap();
        let manifest = format!(
            "[update]\ncompatible={compatible}\nversion={version}\n[bundle]\nformat=verity\n\
             [image.rootfs]\nfilename=rootfs.img\n"
        );
        fs::write(content.join("manifest.raucm"), manifest).unwrap();
        let file = self.path(&format!("media/{name}.raucb"));
        fs::create_dir_all(self.path("media")).unwrap();
        let option = |option: &str, end: &str| format!("--{option}={}", self.path(&format!("{authority}-{end}")));
        let (cert, key) = (option("cert", "signer.pem"), option("key", "signer.key"));
        let keyring = option("keyring", "ca.pem");
        run(Command::new("rauc").args(["bundle", &cert, &key, &keyring]).arg(content).arg(&file));
        file
    }

    fn offhook(&self, arguments: &[&str]) -> Command {
        let settings = [
            format!("update.rauc_config={}", self.path("system.conf")),
            format!("update.grubenv={}", self.path("grubenv")),
            format!("update.os_release={}", self.path("os-release")),
            format!("update.folders=[\"{}\"]", self.path("media")),
            format!("storage.directory={}", self.path("state")),
        ];
        let mut command = Command::new(PROGRAM);
        command.arg("update").args(arguments).args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.stdin(Stdio::null());
        command
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}:\n{}", words(&output));
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn all_installed(programs: &[&str]) -> bool {
    programs.iter().all(|program| is_installed(program))
}

/// Signature, damage, machine and version as the real verifier and our decision see them.
#[test]
fn real_bundles_are_told_apart() {
    if !all_installed(&["rauc", "mksquashfs", "openssl"]) {
        return;
    }
    let this = Workshop::new();
    this.bundle("a-good", "ours", "offhook-arm64", "0.2.0");
    this.bundle("b-stranger", "theirs", "offhook-arm64", "0.3.0");
    let whole = fs::read(this.bundle("c-cut", "ours", "offhook-arm64", "0.2.0")).unwrap();
    fs::write(this.path("media/c-cut.raucb"), &whole[..whole.len() - 200]).unwrap();
    fs::write(this.path("media/d-noise.raucb"), vec![0xA5; 3_000]).unwrap();
    this.bundle("e-older", "ours", "offhook-arm64", "0.0.9");
    let output = this.offhook(&["check", "--json"]).output().unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
    let reason = |index: usize| shown["available"][index]["reason"].as_str().unwrap().to_owned();
    // Where RAUC's service does not run nothing is accepted, but what is known of each bundle is told.
    assert!(shown["problem"].as_str().unwrap().contains("no update slots"), "{shown:#}");
    assert_eq!(shown["available"][0]["version"], "0.2.0", "{shown:#}");
    assert!(reason(0).contains("newer"), "{shown:#}");
    assert!(reason(1).contains("not signed by the maker"), "{shown:#}");
    assert!(reason(2).contains("damaged or no update bundle"), "{shown:#}");
    assert!(reason(3).contains("damaged or no update bundle"), "{shown:#}");
    assert!(reason(4).contains("0.0.9 is older than 0.1.0"), "{shown:#}");
}

/// A message bus and RAUC's service on it; ended when dropped.
struct Service {
    children: Vec<Child>,
    bus: String,
}

impl Service {
    fn start(workshop: &Workshop, booted: &str) -> Service {
        let bus = ["--session", "--nofork", "--nopidfile", "--print-address=1"];
        let mut daemon =
            Command::new("dbus-daemon").args(bus).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let mut this = Service { children: vec![daemon], bus: address.trim().to_owned() };
        let conf = format!("--conf={}", workshop.path("system.conf"));
        let slot = format!("--override-boot-slot={booted}");
        let mut rauc = Command::new("rauc");
        rauc.args([&conf, "service", &slot]).stdout(Stdio::null()).stderr(Stdio::null());
        this.children.push(this.on_bus(&mut rauc).spawn().unwrap());
        this
    }

    /// `command` finds this bus where it would look for the system's.
    fn on_bus<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.bus).env("DBUS_STARTER_BUS_TYPE", "session")
    }

    fn offhook(&self, workshop: &Workshop, arguments: &[&str]) -> Output {
        self.on_bus(&mut workshop.offhook(arguments)).output().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn grubenv(workshop: &Workshop, variables: &[&str]) {
    let path = workshop.path("grubenv");
    if !Path::new(&path).exists() {
        run(Command::new("grub-editenv").args([&path, "create"]));
    }
    run(Command::new("grub-editenv").args([&path, "set"]).args(variables));
}

/// The real RAUC's view of the slots, its marks, and GRUB's real variables.
#[test]
fn real_slots_are_read_and_marked() {
    if !all_installed(&["rauc", "grub-editenv", "dbus-daemon", "openssl", "mksquashfs"]) {
        return;
    }
    let _line = tests::every_line();
    let this = Workshop::new();
    this.bundle("a-good", "ours", "offhook-arm64", "0.2.0");
    grubenv(&this, &["ORDER=B A", "A_OK=1", "A_TRY=0", "A_CONFIRMED=1", "B_OK=1", "B_TRY=1", "B_CONFIRMED=0"]);
    fs::write(
        this.path("status.raucs"),
        "[slot.rootfs.0]\nbundle.compatible=offhook-arm64\nbundle.version=0.0.9\nstatus=ok\n",
    )
    .unwrap();
    let service = Service::start(&this, "B");
    let status = tests::poll(std::time::Duration::from_secs(20), || {
        let output = service.offhook(&this, &["status", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).ok()
    })
    .expect("RAUC's service answers");
    let slots = &status["slots"]["slots"];
    assert_eq!((&slots[0]["version"], &slots[0]["confirmed"]), (&"0.0.9".into(), &true.into()), "{status:#}");
    assert_eq!((&slots[1]["running"], &slots[1]["tries_left"]), (&true.into(), &0.into()), "{status:#}");
    assert_eq!((&slots[1]["good"], &slots[1]["version"]), (&false.into(), &"0.1.0".into()), "{status:#}");

    let check = service.offhook(&this, &["check"]);
    assert!(words(&check).contains("install  0.2.0"), "{}", words(&check));

    // Nothing answers calls yet: the slot is not confirmed.
    let marker = format!("update.marker={}", this.path("marker"));
    let confirm = |more: &[&str]| service.offhook(&this, &[&["confirm", "--set", &marker][..], more].concat());
    let early = confirm(&["--set", "update.confirm_limit_seconds=1"]);
    assert_eq!(early.status.code(), Some(1), "{}", words(&early));
    assert!(!Path::new(&this.path("marker")).exists());

    let offhook = Offhook::start(Path::new(PROGRAM), Path::new(&this.path("state")), &[]);
    let port = format!("sip.port={}", offhook.address().port());
    let confirmed = confirm(&["--set", &port]);
    offhook.stop();
    assert_eq!(confirmed.status.code(), Some(0), "{}", words(&confirmed));
    assert!(Path::new(&this.path("marker")).exists());
    let after = status_of(&service, &this);
    let running = &after["slots"]["slots"][1];
    assert_eq!((&running["confirmed"], &running["good"]), (&true.into(), &true.into()), "{after:#}");
    assert_eq!((&after["slots"]["next"], &after["reboot_pending"]), (&"B".into(), &false.into()), "{after:#}");

    let back = service.offhook(&this, &["rollback"]);
    assert!(words(&back).contains("slot A with 0.0.9"), "{}", words(&back));
    let after = status_of(&service, &this);
    assert_eq!((&after["slots"]["next"], &after["reboot_pending"]), (&"A".into(), &true.into()), "{after:#}");
}

fn status_of(service: &Service, workshop: &Workshop) -> Value {
    let output = service.offhook(workshop, &["status", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)))
}
