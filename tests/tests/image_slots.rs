//! Which slot the boot loader starts: image/grub.cfg itself, run by bash with stand-ins for GRUB's commands. The words of
//! GRUB's language that the file uses mean the same in both; `grub-script-check` looks at the rest. What firmware, disk
//! and kernel make of it is for `make image-test`.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what cannot be read or started fails the test, with its error"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// GRUB's commands: the state comes from and goes to the file `grubenv`; a slot can be loaded if `$LOADABLE` names it.
const STAND_INS: &str = r#"
set() { declare -g "$1"; }
insmod() { :; }
regexp() { disk=hd0; }
load_env() { while IFS='=' read -r name value; do declare -g "$name=$value"; done <grubenv; }
save_env() {
    [ -z "${READ_ONLY:-}" ] || return 1
    shift 2
    for name; do sed -i "/^$name=/d" grubenv; echo "$name=${!name}" >>grubenv; done
}
linux() {
    case "$1 $2" in
        '(hd0,gpt2)/boot/vmlinuz root=PARTLABEL=offhook-a') loading=A ;;
        '(hd0,gpt3)/boot/vmlinuz root=PARTLABEL=offhook-b') loading=B ;;
        *) echo "unknown kernel: $*"; exit 1 ;;
    esac
    [[ " $* " == *" rauc.slot=$loading "* && $LOADABLE == *$loading* ]]
}
initrd() { [[ $1 == *')/boot/initrd.img' ]]; }
boot() { echo "STARTED $loading"; exit 0; }
sleep() { :; }
reboot() { echo "STARTED none"; exit 0; }
"#;

type Env = BTreeMap<String, String>;

#[test]
fn grub_accepts_the_file() {
    let Ok(run) = Command::new("grub-script-check").arg(grub_cfg()).output() else {
        tests::shared::say_skipped("grub-script-check is not installed (Debian: grub-common)");
        return;
    };
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// (what happened before, state, slots that can be loaded, slot that starts)
#[test]
fn the_slot_that_starts() {
    let table = [
        ("fresh disk", "ORDER=A B,A_OK=1,A_TRY=0,A_CONFIRMED=1,B_OK=0,B_TRY=0,B_CONFIRMED=0", "A", "A"),
        ("B just installed", "ORDER=B A,A_OK=1,A_TRY=0,A_CONFIRMED=1,B_OK=1,B_TRY=0,B_CONFIRMED=0", "AB", "B"),
        ("B tried, not confirmed", "ORDER=B A,A_OK=1,A_TRY=0,A_CONFIRMED=1,B_OK=1,B_TRY=1,B_CONFIRMED=0", "AB", "A"),
        ("B confirmed", "ORDER=B A,A_OK=1,A_TRY=0,A_CONFIRMED=1,B_OK=1,B_TRY=0,B_CONFIRMED=1", "AB", "B"),
        ("B confirmed, mark-good lost", "ORDER=B A,A_OK=1,A_CONFIRMED=1,B_OK=1,B_TRY=1,B_CONFIRMED=1", "AB", "B"),
        ("power cut while B is written", "ORDER=A B,A_OK=1,A_TRY=0,A_CONFIRMED=1,B_OK=0,B_CONFIRMED=0", "AB", "A"),
        ("B's kernel cannot be read", "ORDER=B A,A_OK=1,A_CONFIRMED=1,B_OK=1,B_TRY=0,B_CONFIRMED=1", "A", "A"),
        ("taken back to A", "ORDER=A B,A_OK=1,A_TRY=0,A_CONFIRMED=1,B_OK=1,B_TRY=0,B_CONFIRMED=1", "AB", "A"),
        ("state lost", "", "AB", "A"),
        ("state lost, A damaged", "", "B", "B"),
        ("all given up, B was good", "ORDER=A B,A_OK=0,A_CONFIRMED=0,B_OK=0,B_CONFIRMED=1", "AB", "B"),
        ("all given up, B the later good one", "ORDER=B A,A_OK=0,A_CONFIRMED=1,B_OK=0,B_CONFIRMED=1", "AB", "B"),
        ("nothing was ever good", "ORDER=B A,A_OK=0,B_OK=1,B_TRY=1", "AB", "B"),
        ("the disk is empty", "", "", "none"),
    ];
    for (number, (before, state, loadable, wanted)) in table.into_iter().enumerate() {
        let mut machine = Machine::new(&format!("table-{number}"), state);
        assert_eq!(machine.start(loadable), wanted, "{before}");
    }
}

/// The field's lesson: a socket strip that is switched on and off must not send a box back to an old release.
#[test]
fn quick_power_cycles_never_burn_a_confirmed_slot() {
    let mut machine = Machine::new("cycles", "ORDER=B A,A_OK=1,A_CONFIRMED=1,B_OK=1,B_TRY=0,B_CONFIRMED=1");
    let before = machine.env();
    for _ in 0..10 {
        assert_eq!(machine.start("AB"), "B");
    }
    assert_eq!(machine.env(), before, "nothing is written for a confirmed slot");
}

#[test]
fn a_new_slot_has_one_try_which_is_written_before_it_starts() {
    let mut machine = Machine::new("try", "ORDER=B A,A_OK=1,A_TRY=0,A_CONFIRMED=1,B_OK=1,B_TRY=0,B_CONFIRMED=0");
    assert_eq!(machine.start("AB"), "B");
    assert_eq!(machine.env()["B_TRY"], "1");
    assert_eq!(machine.start("AB"), "A", "B was not confirmed");
    assert_eq!(machine.start("AB"), "A", "and stays out");
}

/// A try that is not written down would be made at every start, for ever.
#[test]
fn a_new_slot_is_not_tried_when_that_cannot_be_written() {
    let mut machine = Machine::new("read-only", "ORDER=B A,A_OK=1,A_CONFIRMED=1,B_OK=1,B_TRY=0,B_CONFIRMED=0");
    machine.read_only = true;
    assert_eq!(machine.start("AB"), "A");
}

/// A disk as the boot loader sees it, in a folder of its own.
struct Machine {
    folder: PathBuf,
    read_only: bool,
}

impl Machine {
    /// `state` is `NAME=VALUE,…`.
    fn new(name: &str, state: &str) -> Machine {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image_slots").join(name);
        fs::create_dir_all(&folder).unwrap();
        let lines: Vec<&str> = state.split(',').filter(|line| !line.is_empty()).collect();
        fs::write(folder.join("grubenv"), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        Machine { folder, read_only: false }
    }

    /// Switches the machine on; the slot that starts.
    fn start(&mut self, loadable: &str) -> String {
        let script = format!("{STAND_INS}\n{}", fs::read_to_string(grub_cfg()).unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(&self.folder).env("LOADABLE", loadable);
        if self.read_only {
            bash.env("READ_ONLY", "1");
        }
        let run = bash.output().unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        assert!(run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
        let last = said.lines().last().unwrap_or_default();
        last.strip_prefix("STARTED ").unwrap_or_else(|| panic!("nothing was started:\n{said}")).to_owned()
    }

    fn env(&self) -> Env {
        let text = fs::read_to_string(self.folder.join("grubenv")).unwrap();
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
    }
}

fn grub_cfg() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/grub.cfg")
}
