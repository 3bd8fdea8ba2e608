//! What `make cross` built for the box: the right machine, no library that the box does not have, no newer C library than
//! Debian 12's, and two programs that differ in what they ask of the processor. `make cross-test` says where they are
//! (`OFFHOOK_CROSS_FOLDER`); with `QUICK=1` it is the one program that it built for the tests.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything the image provides (`image/`), and nothing more may be needed.
const LIBRARIES: [&str; 8] = [
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libgcc_s.so.1",
    "libm.so.6",
    "libopus.so.0",
    "libpthread.so.0",
    "libsonic.so.0",
    "libstdc++.so.6",
];
/// Debian 12 has 2.36, Debian 13 has 2.41.
const GLIBC_LIMIT: (u32, u32) = (2, 36);
const PROGRAMS: [&str; 2] = ["offhook", "offhook-armv8.2"];

/// Where the programs are; `None`, said loudly, when nothing was built for the box.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("OFFHOOK_CROSS_FOLDER").map(PathBuf::from);
    if folder.is_none() {
        tests::shared::say_skipped("OFFHOOK_CROSS_FOLDER is not set; `make cross-test` sets it");
    }
    folder
}

/// Those that must be there: both of a release, one of a build for tests.
fn programs() -> Vec<PathBuf> {
    let Some(folder) = folder() else { return Vec::new() };
    let names: &[&str] = if folder.ends_with("debug") { &["offhook-under-test"] } else { &PROGRAMS };
    names.iter().map(|name| folder.join(name)).collect()
}

/// The two of a release; `None`, said loudly, when there is none.
fn release() -> Option<[PathBuf; 2]> {
    let both = programs().try_into().ok();
    if both.is_none() {
        tests::shared::say_skipped("no release was built for the box; `make cross` does it");
    }
    both
}

fn readelf(option: &str, program: &Path) -> String {
    let output = Command::new("readelf").args([option, "--wide"]).arg(program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What stands in brackets in lines with `word`.
fn bracketed<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(word)).filter_map(|line| line.split(['[', ']']).nth(1)).collect()
}

#[test]
fn it_is_for_the_machine_of_the_box() {
    for program in programs() {
        assert!(readelf("--file-header", &program).contains("AArch64"), "{}", program.display());
    }
}

#[test]
fn it_needs_no_library_that_the_box_lacks() {
    for program in programs() {
        let dynamic = readelf("--dynamic", &program);
        let needed = bracketed(&dynamic, "NEEDED");
        assert!(needed.contains(&"libc.so.6"), "readelf was read wrongly: {dynamic}");
        let foreign: Vec<_> = needed.iter().filter(|library| !LIBRARIES.contains(library)).collect();
        assert!(foreign.is_empty(), "{} needs {foreign:?}", program.display());
    }
}

#[test]
fn it_runs_with_the_c_library_of_debian_12() {
    for program in programs() {
        let versions = readelf("--version-info", &program);
        let version = |text: &str| {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
        };
        let names = versions.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
        let newest: (u32, u32) = names.filter_map(version).max().expect("it uses the C library");
        assert!(newest <= GLIBC_LIMIT, "{} needs GLIBC {newest:?}", program.display());
        println!("{} needs GLIBC {}.{}", program.display(), newest.0, newest.1);
    }
}

/// The generic one asks for nothing beyond ARMv8-A; the tuned one has the kernels it exists for.
#[test]
fn each_has_the_kernels_it_is_meant_to_have() {
    let Some([generic, tuned]) = release() else { return };
    let kernels = |program: &Path| {
        let mut command = Command::new("qemu-aarch64-static");
        // A processor without the tuned one's instructions: the generic program must not hand over, and must run.
        let output = command.args(["-cpu", "max"]).arg(program).args(["version", "--json"]);
        let output = output.env("OFFHOOK_GENERIC", "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        facts["kernels"].to_string()
    };
    assert!(!kernels(&generic).contains("DOTPROD"), "{}", kernels(&generic));
    assert!(kernels(&tuned).contains("DOTPROD"), "{}", kernels(&tuned));
}

/// On an old processor nothing is handed over and nothing crashes; on a new one the tuned program takes the process.
#[test]
fn the_generic_program_hands_over_only_where_the_processor_can() {
    let Some([generic, _]) = release() else { return };
    let kernels_on = |cpu: &str| {
        let mut command = Command::new("qemu-aarch64-static");
        let output = command.args(["-cpu", cpu]).arg(&generic).args(["version", "--json"]).output().unwrap();
        assert!(output.status.success(), "{cpu}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!kernels_on("cortex-a53").contains("DOTPROD"));
    // Under qemu-user a process replaces itself by another one only where the kernel knows qemu (binfmt_misc).
    if Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() {
        assert!(kernels_on("max").contains("DOTPROD"));
    } else {
        tests::shared::say_skipped("handing over: binfmt_misc does not know qemu-aarch64 here");
    }
}
