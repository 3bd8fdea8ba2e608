//! The `offhook` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    daemon::tuned::hand_over();
    daemon::cli::main()
}
