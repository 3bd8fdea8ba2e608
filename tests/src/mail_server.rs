//! A real mail server (aiosmtpd) as a process, with TLS and passwords, which misbehaves where it is asked to.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use daemon::config::{Email, MailEncryption};

use crate::authority::Authority;
use crate::offhook::free_port;

/// The user it knows, and its password.
const CREDENTIALS: [&str; 2] = ["box", "correct horse"];
/// Debian's, which has aiosmtpd; the first one in the path may be another.
const PYTHON: &str = "/usr/bin/python3";

/// Killed when dropped, with the mails it took.
#[derive(Debug)]
pub struct MailServer {
    child: Child,
    folder: tempfile::TempDir,
    authority: Authority,
    port: u16,
    encryption: MailEncryption,
    log: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    /// Starts one that is called `localhost`; `None`, said aloud, where aiosmtpd is not installed.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn start(encryption: MailEncryption) -> Option<MailServer> {
        let is_there = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !is_there.is_ok_and(|status| status.success()) {
            crate::shared::say_skipped("aiosmtpd is not installed (.ci/setup test installs it)");
            return None;
        }
        let (folder, authority, port) = (tempfile::tempdir().unwrap(), Authority::new(), free_port());
        let certified = authority.certify("localhost");
        let mode = match encryption {
            MailEncryption::Starttls => "starttls",
            MailEncryption::Tls => "tls",
            MailEncryption::None => "none",
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/mail-server.py");
        let mut command = Command::new(PYTHON);
        command.arg(script).arg(folder.path()).arg(port.to_string()).arg(mode);
        if encryption != MailEncryption::None {
            command.arg(certified.certificate).arg(certified.private_key).args(CREDENTIALS);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), port.to_string());
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Some(MailServer { child, folder, authority, port, encryption, log })
    }

    /// What a box is to be told to send its notices through it.
    ///
    /// # Panics
    /// When the password cannot be written to a file.
    pub fn config(&self, to: &[&str]) -> Email {
        let password_file = self.folder.path().join("password");
        std::fs::write(&password_file, CREDENTIALS[1]).unwrap();
        let has_password = self.encryption != MailEncryption::None;
        Email {
            enabled: true,
            server: "localhost".into(),
            port: self.port,
            encryption: self.encryption,
            username: has_password.then(|| CREDENTIALS[0].into()),
            password_file: has_password.then_some(password_file),
            trust_file: Some(self.authority.certificate()),
            from: "Offhook <box@office.example>".into(),
            to: to.iter().map(|to| (*to).to_owned()).collect(),
            timeout_seconds: 10,
        }
    }

    /// The mails it took, in order.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn mails(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| entry.path());
        let mut mails: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|end| end == "eml")).collect();
        mails.sort();
        mails.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
    }

    /// What it answered to each attempt.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of a header of a mail.
pub fn header<'a>(mail: &'a str, name: &str) -> Option<&'a str> {
    let head = mail.split("\r\n\r\n").next()?;
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
