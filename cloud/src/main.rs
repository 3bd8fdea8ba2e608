//! The `offhook-cloud` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloud::cli::main()
}
