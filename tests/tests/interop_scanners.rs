//! SIPVicious, with which the internet looks for telephones to steal calls from: it finds nothing.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::offhook::Offhook;
use tests::peers::is_installed;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

/// A box with extension 101, whose phones may be in `phones`; nobody is a guest.
fn office(folder: &Path, phones: &str) -> Offhook {
    let file = folder.join("offhook.toml");
    let text = format!("[sip]\nguests = []\nphone_networks = ['{phones}']\n[[extensions]]\nnumber = '101'\n");
    std::fs::write(&file, text).unwrap();
    let offhook = Offhook::start_wordless(Path::new(PROGRAM), folder, &file, &[]);
    assert!(offhook.run(&["extensions", "password", "101"]).status.success());
    offhook
}

/// What a scanner says about the box, which is told to stop after `limit_seconds`.
fn scan(offhook: &Offhook, limit_seconds: u32, scanner: &str, arguments: &[&str]) -> String {
    let port = offhook.address().port().to_string();
    let output = Command::new("timeout")
        .args(["--signal", "INT", &limit_seconds.to_string(), scanner])
        .args(arguments)
        .args(["--port", &port, "127.0.0.1"])
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// From anywhere but the office there is not even a refusal.
#[test]
fn strangers_find_nobody() {
    if !is_installed("svmap") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let offhook = office(folder.path(), "192.0.2.0/24");
    let found = scan(&offhook, 60, "svmap", &[]);
    assert!(found.contains("found nothing"), "{found}");
    offhook.stop();
}

/// From within the office, extensions that exist answer like those that do not, and who guesses passwords is banned.
#[test]
fn colleagues_find_no_extension_and_no_password() {
    if !is_installed("svmap") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let offhook = office(folder.path(), "127.0.0.0/8");
    let found = scan(&offhook, 60, "svmap", &[]);
    assert!(found.contains("Offhook"), "it is there for the office's own: {found}");
    for method in ["REGISTER", "INVITE"] {
        let found = scan(
            &offhook,
            60,
            "svwar",
            &["--force", "--extensions", "100-103", "--method", method, "--maximumtime", "3"],
        );
        let told: Vec<&str> = found.lines().filter(|line| line.starts_with('|') && line.contains("10")).collect();
        let same = told.windows(2).all(|pair| pair[0].get(12..) == pair[1].get(12..));
        assert!(told.is_empty() || (told.len() == 4 && same), "{method}: {found}");
    }
    // Met with silence it would wait for half a minute more, having sent everything in the first second.
    let found = scan(&offhook, 10, "svcrack", &["--username", "101", "--range", "1-100", "--maximumtime", "3"]);
    offhook.wait_for_log("is banned for a while", Duration::from_secs(10));
    assert!(found.contains("found nothing"), "{found}");
    offhook.stop();
}
