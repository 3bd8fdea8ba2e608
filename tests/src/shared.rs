//! Reference data kept beside the repository, in `../shared/data`.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder `sub` of the reference data. `None`, and a line on stderr that cannot be overlooked, where it is absent:
/// the test that asked then has to skip.
pub fn shared_data(sub: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(sub);
    if folder.is_dir() {
        return Some(folder);
    }
    say_skipped(&format!("no reference data at {}", folder.display()));
    None
}

/// Says that a test is skipped and why, where it cannot be overlooked.
pub fn say_skipped(why: &str) {
    // Not `eprintln!`: the test harness hides that of a test that passes.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {why} ***\n");
}
