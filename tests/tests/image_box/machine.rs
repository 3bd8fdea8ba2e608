//! An emulated box: QEMU with UEFI firmware, a disk, a USB stick, a serial port, and a shell.
//!
//! The shell is no part of the image. systemd takes units from the firmware of a virtual machine (SMBIOS, "credentials"),
//! so the tests run commands in exactly the bytes that are shipped.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The SIP port has to be the same inside and outside, because the box writes it into its Contact.
pub(crate) const SIP_PORT: u16 = 5060;
/// So have those of RTP; two calls need no more.
pub(crate) const RTP_PORTS: std::ops::RangeInclusive<u16> = 20_000..=20_007;
/// A start takes two minutes on an idle machine, five with the models.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(1_800);

const SHELL_UNIT: &str = r"[Unit]
Description=Shell of the test
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
ExecStartPre=/bin/sh -c 'until [ -e /dev/virtio-ports/offhook.test ]; do sleep 0.2; done'
ExecStart=/bin/sh -c 'exec /bin/sh -l <>/dev/virtio-ports/offhook.test >&0 2>&1'
Restart=always
RestartSec=1s
";
const SHELL_WANTED: &str = "[Unit]\nWants=offhook-test-shell.service\n";

/// Which clock the box lives by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Ours, which whoever calls it needs.
    Real,
    /// That of its own instructions: its time-outs mean the same however busy this machine is.
    Instructions,
}

/// A machine that is switched on. Dropping it pulls the plug.
pub(crate) struct Machine {
    qemu: Child,
    serial: Arc<Mutex<String>>,
    shell: UnixStream,
    answers: Arc<Mutex<String>>,
    commands: u32,
    switched_on: Instant,
}

impl Machine {
    /// Switches on a machine with this disk and this stick; its sockets and its log are put into `folder`.
    pub(crate) fn start(folder: &Path, disk: &Path, stick: &Path, clock: Clock) -> Machine {
        let [serial_socket, shell_socket] = ["serial.sock", "shell.sock"].map(|name| folder.join(name));
        let mut qemu = qemu(folder, disk, stick, &serial_socket, &shell_socket);
        if clock == Clock::Instructions {
            // Two nanoseconds each: about what a small ARM core does.
            qemu.args(["-icount", "shift=1", "-rtc", "clock=vm"]);
        }
        let qemu = spawn(&mut qemu);
        let (serial, answers) = <(Arc<Mutex<String>>, Arc<Mutex<String>>)>::default();
        listen(connect(&serial_socket), &serial);
        let shell = connect(&shell_socket);
        listen(shell.try_clone().unwrap(), &answers);
        Machine { qemu, serial, shell, answers, commands: 0, switched_on: Instant::now() }
    }

    /// How long ago it was switched on.
    pub(crate) fn age(&self) -> Duration {
        self.switched_on.elapsed()
    }

    /// What the serial port said so far.
    pub(crate) fn serial(&self) -> String {
        self.serial.lock().unwrap().clone()
    }

    /// Waits until the serial port has said `text` for the `nth` time, counted from 1.
    pub(crate) fn wait_for_serial(&self, text: &str, nth: usize) {
        let said = || (self.serial().matches(text).count() >= nth).then_some(());
        tests::poll(START_LIMIT, said).unwrap_or_else(|| panic!("no {text:?} on the serial port:\n{}", self.tail()));
    }

    /// Waits until commands can be run; the slot that runs.
    pub(crate) fn wait_for_shell(&mut self) -> String {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some((0, slot)) =
                self.run("sed -n 's/.*rauc.slot=//p' /proc/cmdline | cut -c 1", Duration::from_secs(15))
            {
                return slot;
            }
        }
        panic!("no shell in the box:\n{}", self.tail());
    }

    /// Runs a command line in the box as root; exit code and output. `None` when there was no answer in time.
    pub(crate) fn run(&mut self, command: &str, limit: Duration) -> Option<(i32, String)> {
        let mark = self.send(command);
        tests::poll(limit, || {
            let answers = self.answers.lock().unwrap();
            let (_, after) = answers.split_once(&format!("begin-{mark}\n"))?;
            let (output, rest) = after.split_once(&format!("end-{mark} "))?;
            let (code, _) = rest.split_once('\n')?;
            Some((code.parse().unwrap(), output.trim().to_owned()))
        })
    }

    /// Runs a command line that has to succeed; its output.
    pub(crate) fn must(&mut self, command: &str) -> String {
        match self.run(command, Duration::from_secs(900)) {
            Some((0, output)) => output,
            Some((code, output)) => panic!("in the box, `{command}` ended with {code}:\n{output}"),
            None => panic!("in the box, `{command}` did not end"),
        }
    }

    /// Starts a command line without waiting for it.
    pub(crate) fn send(&mut self, command: &str) -> u32 {
        self.commands += 1;
        let mark = self.commands;
        let line = format!("echo begin-{mark}; ( {command} ) 2>&1 </dev/null; echo; echo end-{mark} $?\n");
        // The code that counts is the command's, not that of the empty line before the mark.
        let line = line.replace("; echo; echo", "; code=$?; echo; echo").replace("$?\n", "$code\n");
        // A box that restarts reads later, or not at all: then the answer does not come.
        let _ = self.shell.write_all(line.as_bytes());
        mark
    }

    /// Waits until the box takes calls; how long its kernel has run by then, on its own clock.
    pub(crate) fn wait_for_service(&mut self) -> Duration {
        let active = "systemctl is-active offhook.service";
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if self.run(active, Duration::from_secs(60)).is_some_and(|(code, _)| code == 0) {
                let uptime = self.must("cut -d ' ' -f 1 /proc/uptime");
                return Duration::from_secs_f64(uptime.parse().unwrap());
            }
            thread::sleep(Duration::from_millis(500));
        }
        panic!("offhook.service did not start:\n{}", self.must("systemctl status offhook.service; true"));
    }

    /// As if the plug were pulled: nothing is written any more, nothing is closed.
    pub(crate) fn cut_power(mut self) {
        self.qemu.kill().unwrap();
        self.qemu.wait().unwrap();
    }

    /// The end of what the serial port said, for a test that fails.
    fn tail(&self) -> String {
        let serial = self.serial();
        let lines: Vec<&str> = serial.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// A file system of the name OFFHOOK with these files, as a USB stick has it.
pub(crate) fn stick(path: &Path, files: &[(&str, &Path)]) {
    let size: u64 = files.iter().map(|(_, file)| fs::metadata(file).unwrap().len()).sum();
    let mebibytes = size / 1_048_576 * 11 / 10 + 64;
    let _ = fs::remove_file(path);
    succeed(Command::new("truncate").arg(format!("--size={mebibytes}M")).arg(path));
    succeed(Command::new("mkfs.vfat").args(["-F", "32", "-n", "OFFHOOK"]).arg(path).stdout(Stdio::null()));
    for (name, file) in files {
        succeed(Command::new("mcopy").arg("-i").arg(path).arg(file).arg(format!("::{name}")));
    }
}

/// Runs a program of this machine that has to succeed.
pub(crate) fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error} (.ci/setup image-test)"));
    assert!(status.success(), "{command:?}: {status}");
}

fn qemu(folder: &Path, disk: &Path, stick: &Path, serial: &Path, shell: &Path) -> Command {
    let forwards: String =
        [SIP_PORT].into_iter().chain(RTP_PORTS).map(|port| format!(",hostfwd=udp:127.0.0.1:{port}-:{port}")).collect();
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.args(["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-display", "none", "-monitor", "none"]);
    qemu.args(["-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"]);
    qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={}", disk.display()));
    qemu.args(["-device", "virtio-blk-pci,drive=disk,bootindex=0", "-device", "qemu-xhci"]);
    qemu.arg("-drive").arg(format!("if=none,id=stick,format=raw,readonly=on,file={}", stick.display()));
    qemu.args(["-device", "usb-storage,drive=stick", "-device", "virtio-net-pci,netdev=office,romfile="]);
    // Not `restrict=on`, which also drops the answers to forwarded datagrams: image/test gives QEMU a network namespace.
    qemu.arg("-netdev").arg(format!("user,id=office{forwards}"));
    let log = folder.join("serial.log");
    qemu.arg("-chardev").arg(format!(
        "socket,id=serial,server=on,wait=off,path={},logfile={},logappend=on",
        serial.display(),
        log.display()
    ));
    qemu.args(["-serial", "chardev:serial", "-device", "virtio-serial-pci"]);
    qemu.arg("-chardev").arg(format!("socket,id=shell,server=on,wait=off,path={}", shell.display()));
    qemu.args(["-device", "virtserialport,chardev=shell,name=offhook.test"]);
    for (name, text) in [
        ("systemd.extra-unit.offhook-test-shell.service", SHELL_UNIT),
        ("systemd.unit-dropin.basic.target", SHELL_WANTED),
    ] {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        let encoded = Command::new("base64").arg("--wrap=0").arg(&file).output().unwrap().stdout;
        let encoded = String::from_utf8(encoded).unwrap();
        // A comma would end the option.
        qemu.arg("-smbios").arg(format!("type=11,value=io.systemd.credential.binary:{name}={encoded}"));
    }
    qemu
}

fn spawn(qemu: &mut Command) -> Child {
    let spawned = qemu.stdin(Stdio::null()).spawn();
    spawned.unwrap_or_else(|error| panic!("qemu-system-aarch64: {error} (.ci/setup image-test)"))
}

fn connect(socket: &Path) -> UnixStream {
    let connected = tests::poll(Duration::from_secs(10), || UnixStream::connect(socket).ok());
    connected.unwrap_or_else(|| panic!("QEMU did not open {}", socket.display()))
}

/// Keeps reading: a machine whose serial port is not read stops.
fn listen(mut from: UnixStream, into: &Arc<Mutex<String>>) {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
}

/// A copy of the disk, larger than the image as every real disk is; holes stay holes.
pub(crate) fn copy_disk(image: &Path, to: PathBuf) -> PathBuf {
    succeed(Command::new("cp").arg("--sparse=always").arg(image).arg(&to));
    succeed(Command::new("truncate").arg("--size=4G").arg(&to));
    to
}
