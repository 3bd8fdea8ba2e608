//! The `offhook-cloud` command under a name of its own, so that the tests of this crate can start it as a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloud::cli::main()
}
