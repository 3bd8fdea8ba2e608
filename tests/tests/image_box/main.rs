//! The image as a whole: an emulated ARM64 box that is called, updated, given bad updates, and unplugged.
//!
//! Takes an hour on two cores and needs what `image/test` builds, so nothing here runs unless `make image-test` says
//! where that is (`OFFHOOK_IMAGE_TEST`). The steps share the machine's ports and run one after the other.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what cannot be read or started fails the test, with its error"
)]

mod greeting;
mod machine;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use machine::{Clock, Machine, SIP_PORT, START_LIMIT, copy_disk, stick};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
// Limits are for what hangs: a box that lives by its instructions may take long on a busy machine.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1_800);
const INSTALL_LIMIT: Duration = Duration::from_secs(1_800);
const LEAVE_LIMIT: Duration = Duration::from_secs(3_600);
const POWER_CUTS: u32 = 10;
/// The first sentence takes an emulated processor minutes.
const GREETING_LIMIT: Duration = Duration::from_secs(900);

/// A fresh box grows its data partition, takes a call and says its greeting.
#[test]
fn a_fresh_box_answers_a_call() {
    let Some(bench) = Bench::new("call") else { return };
    let mut machine = Machine::start(&bench.folder, &bench.disk("talking"), &bench.stick, Clock::Real);
    assert_eq!(machine.wait_for_shell(), "A");
    let shell = machine.age();
    let service = machine.wait_for_service();
    bench.row("start to a shell in the box", &format!("{} s", shell.as_secs()));
    bench.row("kernel to offhook.service ready", &format!("{} s", service.as_secs()));
    bench.row(
        "of it",
        &machine.must("timeout 200 systemctl is-system-running --wait; systemd-analyze time | head -1; true"),
    );
    println!(
        "{}",
        machine.must("systemd-analyze blame | head -25; systemd-analyze critical-chain offhook.service; true")
    );

    println!("{}", machine.must("ip -brief address; journalctl -b -p warning -o short-monotonic | tail -40; true"));
    assert_eq!(machine.must("systemctl --failed --no-legend --plain | cat"), "", "no failed unit");
    let data: u64 = machine.must("df --output=size -m /var | tail -1").trim().parse().unwrap();
    assert!(data > 2_000, "the data partition grew to the disk of 4 GB: {data} MB");
    bench.row("data partition after the first start", &format!("{data} MB of a 4 GB disk"));
    assert_ne!(machine.run("touch /usr/x || touch /etc/x", Duration::from_secs(10)).unwrap().0, 0, "root is read-only");
    let identity = machine.must("cat /etc/machine-id; hostname; nft list set inet offhook banned4 | grep -c timeout");
    bench.row("identity", &identity.lines().take(2).collect::<Vec<_>>().join(", "));
    // Calls whoever has patience with an emulated processor: what it says is rendered after the box is ready.
    let began = Instant::now();
    let greeted = tests::poll(GREETING_LIMIT, || {
        let call = greeting::call(&bench.folder, SIP_PORT);
        bench.row(&format!("call, {} s after the box was ready", began.elapsed().as_secs()), &call.row());
        call.is_understood().then_some(())
    });
    greeted.expect("whisper never recognised the greeting");
}

/// What must not be installed is refused with a reason; a good update is confirmed; going back works.
#[test]
fn updates_are_installed_or_refused() {
    let Some(bench) = Bench::new("update") else { return };
    let mut machine = bench.switch_on(&bench.disk("quiet"));
    assert_eq!(machine.wait_for_shell(), "A");
    machine.wait_for_service();
    for (bundle, reason) in [
        ("stranger.raucb", "signature"),
        ("older.raucb", "older than"),
        ("damaged.raucb", ""),
        ("foreign.raucb", "the bundle is made for"),
    ] {
        let (code, said) = bench.install(&mut machine, bundle);
        assert_ne!(code, 0, "{bundle} was installed:\n{said}");
        assert!(said.contains(reason), "{bundle} was refused for another reason:\n{said}");
        let is_reason = |line: &&str| line.contains("LastError") || (!reason.is_empty() && line.contains(reason));
        let why = said.lines().find(is_reason).or(said.lines().last()).unwrap_or_default();
        bench.row(&format!("install {bundle}"), &format!("refused: {}", why.trim()));
    }
    let before = machine.must("cat /etc/machine-id; echo kept >/var/lib/kept; sync");

    let began = Instant::now();
    let (code, said) = bench.install(&mut machine, "update.raucb");
    assert_eq!(code, 0, "{said}");
    bench.row("install update.raucb", &format!("{} s", began.elapsed().as_secs()));
    assert_eq!(bench.restart(&mut machine, 2), "B");
    bench.wait_until_confirmed(&mut machine, "B");
    assert_eq!(machine.must("cat /etc/machine-id"), before, "the box is the same one");
    assert_eq!(machine.must("cat /var/lib/kept"), "kept", "the data partition is the same one");
    bench.row("update A to B", "started, confirmed, same data");

    machine.must("rauc status mark-active other");
    assert_eq!(bench.restart(&mut machine, 3), "A");
    bench.wait_until_confirmed(&mut machine, "A");
    bench.row("taken back to A", "started, confirmed");
}

/// A release whose program does not start, and one whose root filesystem is empty: the box comes back by itself.
#[test]
fn a_bad_release_is_left_by_itself() {
    let Some(bench) = Bench::new("fallback") else { return };
    let mut machine = bench.switch_on(&bench.disk("quiet"));
    let mut starts = 1;
    for bundle in ["broken-root.raucb", "broken-program.raucb"] {
        assert_eq!(machine.wait_for_shell(), "A");
        bench.wait_until_confirmed(&mut machine, "A");
        let (code, said) = bench.install(&mut machine, bundle);
        assert_eq!(code, 0, "{said}");
        let began = Instant::now();
        machine.send("systemctl reboot");
        starts += 1;
        machine.wait_for_serial("Offhook: starting slot B", starts / 2);
        let back = || (machine.serial().matches("Offhook: starting slot A").count() > starts / 2).then_some(());
        tests::poll(LEAVE_LIMIT, back).expect("the box did not leave the bad slot");
        starts += 1;
        assert_eq!(machine.wait_for_shell(), "A");
        machine.wait_for_service();
        bench.row(bundle, &format!("left by itself, slot A ready again after {} s", began.elapsed().as_secs()));
    }
}

/// The plug is pulled at ten points of an update: the box always starts, always answers, and can always be updated.
#[test]
fn power_cuts_during_an_update() {
    let Some(bench) = Bench::new("power") else { return };
    let disk = bench.disk("quiet");
    let mut machine = bench.switch_on(&disk);
    machine.wait_for_shell();
    machine.wait_for_service();
    let began = Instant::now();
    assert_eq!(bench.install(&mut machine, "update.raucb").0, 0);
    let whole = began.elapsed();
    // Back to the release that runs, so that each round overwrites the same slot.
    machine.must("rauc status mark-active booted && sync");
    let mut endings = 0;
    for cut in 1..=POWER_CUTS {
        // From just after the beginning to just after the end: the last ones hit the change of the slots' state.
        let after = whole * cut / POWER_CUTS + Duration::from_millis(250);
        machine.send(&bench.install_command("update.raucb"));
        std::thread::sleep(after);
        machine.cut_power();
        machine = bench.switch_on(&disk);
        let slot = machine.wait_for_shell();
        let ready = machine.wait_for_service();
        let state =
            machine.must("systemctl start boot-efi.mount && grub-editenv /boot/efi/grubenv list | paste -sd ' '");
        bench.row(
            &format!("power cut {cut} after {:.1} s", after.as_secs_f32()),
            &format!("slot {slot}, ready {} s; {state}", ready.as_secs()),
        );
        if slot == "B" {
            endings += 1;
            bench.wait_until_confirmed(&mut machine, "B");
            machine.must("rauc status mark-active other && sync");
            machine.cut_power();
            machine = bench.switch_on(&disk);
            assert_eq!(machine.wait_for_shell(), "A");
            machine.wait_for_service();
        }
    }
    bench.row("power cuts", &format!("{POWER_CUTS} of {POWER_CUTS} started, {endings} of them into the new release"));
}

/// What the steps share: the files that `image/test` built, a folder of this step, the table.
struct Bench {
    files: PathBuf,
    folder: PathBuf,
    stick: PathBuf,
    /// Is the program in the image the product? While the image is developed it may be a stand-in.
    product: bool,
}

impl Bench {
    /// `None`, said where it cannot be overlooked, when nobody asked for these steps.
    fn new(step: &str) -> Option<Bench> {
        let Some(files) = std::env::var_os("OFFHOOK_IMAGE_TEST").map(PathBuf::from) else {
            tests::shared::say_skipped("an emulated box takes an hour: \"make image-test\" runs it");
            return None;
        };
        let folder = files.join(step);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let configuration = folder.join("offhook.toml");
        fs::write(&configuration, greeting::CONFIGURATION).unwrap();
        let path = folder.join("stick.img");
        let names: Vec<String> = fs::read_dir(&files)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".raucb"))
            .collect();
        let bundles: Vec<PathBuf> = names.iter().map(|name| files.join(name)).collect();
        let mut contents = vec![("offhook.toml", configuration.as_path())];
        contents.extend(names.iter().map(String::as_str).zip(bundles.iter().map(PathBuf::as_path)));
        stick(&path, &contents);
        let product = fs::read(files.join("program")).unwrap().starts_with(b"\x7fELF");
        Some(Bench { files, folder, stick: path, product })
    }

    /// A disk of release 1.0.0: `talking` has the models, `quiet` has not.
    fn disk(&self, name: &str) -> PathBuf {
        copy_disk(&self.files.join(name).with_extension("img"), self.folder.join("disk.img"))
    }

    fn switch_on(&self, disk: &Path) -> Machine {
        Machine::start(&self.folder, disk, &self.stick, Clock::Instructions)
    }

    fn install_command(&self, bundle: &str) -> String {
        let installer = if self.product { "offhook update install" } else { "rauc install" };
        format!("{installer} /run/media/offhook/{bundle}")
    }

    fn install(&self, machine: &mut Machine, bundle: &str) -> (i32, String) {
        machine.run(&self.install_command(bundle), INSTALL_LIMIT).expect("the installation did not end")
    }

    /// Restarts the box in order; the slot that runs after its `nth` start.
    fn restart(&self, machine: &mut Machine, nth: usize) -> String {
        machine.send("systemctl reboot");
        machine.wait_for_serial("Offhook: starting slot", nth);
        machine.wait_for_shell()
    }

    fn wait_until_confirmed(&self, machine: &mut Machine, slot: &str) {
        let deadline = Instant::now() + CONFIRM_LIMIT;
        let state = "systemctl is-active offhook-health.service && grub-editenv /boot/efi/grubenv list";
        while Instant::now() < deadline {
            let Some((_, said)) = machine.run(state, START_LIMIT) else { continue };
            if said.starts_with("active") && said.contains(&format!("{slot}_CONFIRMED=1")) {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        panic!("slot {slot} was not confirmed:\n{}", machine.must("systemctl status offhook-health.service; true"));
    }

    /// A line of the table, printed at once and kept for the end.
    fn row(&self, what: &str, result: &str) {
        let mut line = String::new();
        writeln!(line, "| {what} | {} |", result.replace('\n', " ")).unwrap();
        let _ = std::io::stderr().write_all(line.as_bytes());
        let table = fs::OpenOptions::new().create(true).append(true).open(self.files.join("table.md"));
        table.unwrap().write_all(line.as_bytes()).unwrap();
    }
}
