//! Updates and disks as `image/` makes them, with a root filesystem of a few bytes: signed, checked, tampered with, laid
//! out. Starts nothing; the real thing is for `make image-test`.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what cannot be read or started fails the test, with its error"
)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Larger than the signature, so that a place in the middle of the bundle is in the payload.
const ROOTFS_BYTES: usize = 1 << 20;

#[test]
fn a_bundle_is_accepted_by_boxes_of_its_authority_only() {
    let Some(bench) = Bench::new("authority", &["rauc", "openssl", "mksquashfs"]) else { return };
    let bundle = bench.bundle();
    let info = bench.rauc("info", &bundle, "keys", &[]);
    assert!(info.status.success(), "{}", said(&info));
    let info = said(&info);
    for wanted in ["offhook-arm64-efi", "7.8.9", "verity", "install-check", "pre-install"] {
        assert!(info.contains(wanted), "no {wanted} in:\n{info}");
    }
    bench.run("development-keys", &[("OFFHOOK_KEYS", &bench.folder.join("stranger"))]);
    let refused = bench.rauc("info", &bundle, "stranger", &[]);
    assert!(!refused.status.success() && said(&refused).contains("signature"), "{}", said(&refused));
}

/// Not what an attacker would do, but what a bad stick does.
#[test]
fn a_damaged_bundle_is_not_unpacked() {
    let Some(bench) = Bench::new("damage", &["rauc", "openssl", "mksquashfs"]) else { return };
    let bundle = bench.bundle();
    let extracted = bench.rauc("extract", &bundle, "keys", &["good"]);
    assert!(extracted.status.success(), "{}", said(&extracted));
    assert_eq!(fs::read(bench.folder.join("good/rootfs.img")).unwrap(), fs::read(bench.rootfs()).unwrap());

    let file = fs::OpenOptions::new().write(true).open(&bundle).unwrap();
    file.write_all_at(b"damage", ROOTFS_BYTES as u64 / 2).unwrap();
    let refused = bench.rauc("extract", &bundle, "keys", &["bad"]);
    assert!(!refused.status.success() && said(&refused).contains("payload"), "{}", said(&refused));
}

/// (the bundle's version, what it is refused with)
#[test]
fn an_older_release_is_not_installed() {
    let Some(bench) = Bench::new("older", &["systemd-analyze"]) else { return };
    let os_release = bench.folder.join("os-release");
    fs::write(&os_release, "ID=debian\nIMAGE_VERSION=1.10.0\n").unwrap();
    for (version, refused_with) in [
        ("1.10.0", None),
        ("1.10.1", None),
        ("2.0.0", None),
        ("1.9.9", Some("this bundle is 1.9.9, older than 1.10.0")),
        ("1.10.0~rc1", Some("older than")),
    ] {
        let run = install_check(&os_release, version, "offhook-arm64-efi");
        match refused_with {
            None => assert_eq!(run.status.code(), Some(0), "{version}: {}", said(&run)),
            // RAUC shows what was said only with this code.
            Some(reason) => {
                assert_eq!(run.status.code(), Some(10), "{version}");
                assert!(said(&run).contains(reason), "{version}: {}", said(&run));
            }
        }
    }
}

/// RAUC's own check of the machine is switched off by a bundle that has a check of its own.
#[test]
fn a_bundle_for_another_machine_is_not_installed() {
    let Some(bench) = Bench::new("machine", &["systemd-analyze"]) else { return };
    let os_release = bench.folder.join("os-release");
    fs::write(&os_release, "IMAGE_VERSION=1.0.0\n").unwrap();
    let run = install_check(&os_release, "2.0.0", "offhook-other-hardware");
    assert_eq!(run.status.code(), Some(10));
    assert!(said(&run).contains("this bundle is for offhook-other-hardware"), "{}", said(&run));
}

/// What boot loader, RAUC and initramfs look for by name, where they expect it.
#[test]
fn the_disk_has_the_partitions_that_its_files_name() {
    let Some(bench) = Bench::new("disk", &["genimage", "mcopy", "mkfs.vfat", "mke2fs", "grub-editenv"]) else { return };
    let disk = bench.disk();
    let table = partitions(&disk);
    let names: Vec<&str> = table.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names, ["offhook-esp", "offhook-a", "offhook-b", "offhook-data"]);
    let sizes: Vec<u64> = table.iter().map(|(_, start, end)| end - start + 1).collect();
    assert_eq!(sizes[1], sizes[2], "a release must fit into either slot");
    assert!(table.iter().all(|(_, start, _)| start % 2048 == 0), "on megabytes: {table:?}");

    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image");
    for user in ["grub.cfg", "files/etc/rauc/system.conf", "files/etc/fstab", "initramfs/scripts/local-bottom/offhook"]
    {
        let text = fs::read_to_string(image.join(user)).unwrap();
        let used = text
            .split(|c: char| !c.is_ascii_lowercase() && c != '-')
            .filter(|word| word.starts_with("offhook-") && !["offhook-arm", "offhook-other"].contains(word));
        let unknown: Vec<&str> = used.filter(|word| !names.contains(word)).collect();
        assert!(unknown.is_empty(), "{user} names {unknown:?}");
    }

    let first_slot = sector(&disk, table[1].1, ROOTFS_BYTES);
    assert_eq!(first_slot, fs::read(bench.rootfs()).unwrap(), "slot A is the root filesystem");
    let esp = format!("{}@@{}", disk.display(), table[0].1 * 512);
    let state = Command::new("mtype").args(["-i", &esp, "::grubenv"]).output().unwrap();
    assert!(said(&state).contains("A_CONFIRMED=1\n"), "{}", said(&state));
}

/// mke2fs keeps to SOURCE_DATE_EPOCH from 1.47.1 on; with an older one the data partition's times differ.
#[test]
fn the_same_inputs_give_the_same_disk() {
    let Some(bench) = Bench::new("twice", &["genimage", "mcopy", "mkfs.vfat", "mke2fs", "grub-editenv"]) else {
        return;
    };
    let disk = bench.disk();
    let data = partitions(&disk)[3].1 * 512;
    let kept = bench.folder.join("first.img");
    fs::rename(&disk, &kept).unwrap();
    // FAT counts in steps of two seconds.
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    bench.disk();
    let mut compare = Command::new("cmp");
    if !mke2fs_is_reproducible() {
        compare.arg(format!("--bytes={data}"));
    }
    let run = compare.arg(&kept).arg(&disk).output().unwrap();
    assert!(run.status.success(), "{}", said(&run));
}

/// A folder in which `image/`'s scripts build, with keys and a root filesystem of its own.
struct Bench {
    folder: PathBuf,
}

impl Bench {
    /// `None`, said where it cannot be overlooked, when one of the tools is missing.
    fn new(name: &str, tools: &[&str]) -> Option<Bench> {
        for tool in tools {
            if Command::new(tool).arg("--version").output().is_err() {
                tests::shared::say_skipped(&format!("{tool} is not installed (.ci/setup image)"));
                return None;
            }
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image_bundle").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let bench = Bench { folder };
        // Does not compress, so that its bytes can be found again.
        let noise: Vec<u8> =
            (0..ROOTFS_BYTES as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        fs::write(bench.rootfs(), noise).unwrap();
        fs::write(bench.folder.join("loader"), "loader").unwrap();
        Some(bench)
    }

    fn rootfs(&self) -> PathBuf {
        self.folder.join("rootfs")
    }

    fn bundle(&self) -> PathBuf {
        self.run("bundle", &[]);
        self.folder.join("image/offhook-7.8.9.raucb")
    }

    fn disk(&self) -> PathBuf {
        self.run("disk", &[]);
        self.folder.join("image/offhook.img")
    }

    /// Runs a script of `image/`, which has to succeed.
    fn run(&self, script: &str, more: &[(&str, &Path)]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image").join(script);
        let mut command = Command::new(path);
        command
            .env("CARGO_TARGET_DIR", &self.folder)
            .env("OFFHOOK_CACHE", &self.folder)
            .env("OFFHOOK_KEYS", self.folder.join("keys"))
            .env("OFFHOOK_ROOTFS", self.rootfs())
            .env("OFFHOOK_LOADER", self.folder.join("loader"))
            .env("OFFHOOK_IMAGE_VERSION", "7.8.9")
            .env("SOURCE_DATE_EPOCH", "1770000000");
        for name in ["OFFHOOK_IMAGE_MODELS", "OFFHOOK_BUNDLE_MODELS", "OFFHOOK_SIGN_CERT", "OFFHOOK_SIGN_KEY"] {
            command.env_remove(name);
        }
        let run = command.env_remove("OFFHOOK_KEYRING").envs(more.iter().copied()).output().unwrap();
        assert!(run.status.success(), "image/{script}: {}", said(&run));
    }

    /// RAUC with the authority of these keys, as on a box.
    fn rauc(&self, verb: &str, bundle: &Path, keys: &str, more: &[&str]) -> Output {
        let authority = self.folder.join(keys).join("ca.pem");
        let mut rauc = Command::new("rauc");
        rauc.arg(verb).arg(format!("--keyring={}", authority.display())).arg(bundle);
        rauc.args(more).current_dir(&self.folder).output().unwrap()
    }
}

/// Asks the hook of a bundle, as RAUC does on a box that runs the release of `os_release`.
fn install_check(os_release: &Path, version: &str, compatible: &str) -> Output {
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/bundle-hook");
    let mut check = Command::new(hook);
    check.arg("install-check").env("OFFHOOK_OS_RELEASE", os_release).env("RAUC_MF_VERSION", version);
    check.env("RAUC_MF_COMPATIBLE", compatible).env("RAUC_SYSTEM_COMPATIBLE", "offhook-arm64-efi").output().unwrap()
}

/// Name, first and last sector of each partition, as the GPT in the disk's second sector lists them.
fn partitions(disk: &Path) -> Vec<(String, u64, u64)> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let entries = sector(disk, 2, 128 * 128);
    entries
        .chunks(128)
        .filter(|entry| entry[..16] != [0; 16])
        .map(|entry| {
            let name: Vec<u16> = entry[56..].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
            let name = String::from_utf16(&name).unwrap().trim_end_matches('\0').to_owned();
            (name, number(&entry[32..40]), number(&entry[40..48]))
        })
        .collect()
}

fn sector(disk: &Path, number: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    fs::File::open(disk).unwrap().read_exact_at(&mut buffer, number * 512).unwrap();
    buffer
}

fn mke2fs_is_reproducible() -> bool {
    let version = said(&Command::new("mke2fs").arg("-V").output().unwrap());
    let version = version.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    parts >= vec![1, 47, 1]
}

fn said(run: &Output) -> String {
    [String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr)].concat()
}
