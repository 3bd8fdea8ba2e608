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
    // Not `eprintln!`: the test harness hides that of a test that passes.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: no reference data at {} ***\n", folder.display());
    None
}
