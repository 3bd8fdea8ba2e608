//! The build for this very processor, where there is one beside this program.
//!
//! whisper.cpp chooses its kernels when it is compiled, so a release for ARM has two programs: `offhook` runs on every
//! ARMv8-A, `offhook-armv8.2` uses the dot-product and half-precision instructions of processors like the Cortex-A76.
//! `offhook` hands over when the processor has them: the process stays the same, so systemd does not notice.
//! `OFFHOOK_GENERIC=1` stays with the generic one, to compare.
//!
//! Left out on purpose: x86-64. There the box is somebody's computer, built for on the spot.

/// Suffix of the tuned program's name.
#[cfg(any(target_arch = "aarch64", test))]
const SUFFIX: &str = "-armv8.2";

/// Replaces this process by the tuned program if the processor can run it. Comes back when there is nothing to do, or
/// when the tuned program cannot be started: then the generic one goes on.
#[cfg(target_arch = "aarch64")]
pub fn hand_over() {
    use std::os::unix::process::CommandExt;

    let capable = std::arch::is_aarch64_feature_detected!("dotprod") && std::arch::is_aarch64_feature_detected!("fp16");
    if !capable || std::env::var_os("OFFHOOK_GENERIC").is_some() {
        return;
    }
    let Some(program) = std::env::current_exe().ok().and_then(|exe| tuned(&exe)).filter(|path| path.is_file()) else {
        return;
    };
    let error = std::process::Command::new(&program).args(std::env::args_os().skip(1)).exec();
    eprintln!("offhook: {} cannot be started ({error}); going on without it", program.display());
}

/// Nothing to hand over to on this processor.
#[cfg(not(target_arch = "aarch64"))]
pub fn hand_over() {}

/// Where the tuned program of `exe` would be; `None` when `exe` is the tuned one.
#[cfg(any(target_arch = "aarch64", test))]
fn tuned(exe: &std::path::Path) -> Option<std::path::PathBuf> {
    let name = exe.file_name()?.to_str()?;
    (!name.ends_with(SUFFIX)).then(|| exe.with_file_name(format!("{name}{SUFFIX}")))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn the_tuned_program_lies_beside_the_generic_one_and_hands_over_to_nobody() {
        assert_eq!(tuned(Path::new("/usr/bin/offhook")), Some(PathBuf::from("/usr/bin/offhook-armv8.2")));
        assert_eq!(tuned(Path::new("/usr/bin/offhook-armv8.2")), None);
    }
}
