//! A central cloud as a process, and whether a box and its cloud have the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use cloud::store::{AnyStore, BoxName, Store as _};
use cloud_api::digest::Sum;
use daemon::bell::Bell;
use daemon::call::CallsUp;
use daemon::config::Config;
use daemon::deliveries::Post;
use daemon::office::{Staff, sample};
use daemon::storage::{AudioFiles, PlainWav, Reader as Rows};
use daemon::sync::log::{Reader, log_head};
use daemon::sync::{TABLES, engine::Limits};
use serde_json::Value;

use crate::offhook::free_port;

/// How long a start may take on a busy machine, with a database that has to be made.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running `offhook-cloud serve`; killed when dropped.
#[derive(Debug)]
pub struct CloudProcess {
    program: PathBuf,
    settings: Vec<String>,
    folder: PathBuf,
    child: Child,
    lines: Receiver<String>,
    address: SocketAddr,
    http: SocketAddr,
}

impl CloudProcess {
    /// Starts `program serve` with its state in `folder` and returns when it takes boxes. `settings` are as for `--set`. Its
    /// ports are free ones, unless they are among the settings.
    ///
    /// # Panics
    /// When it does not get ready: with its log.
    pub fn start(program: &Path, folder: &Path, settings: &[&str]) -> CloudProcess {
        let mut all = vec![
            format!("listen.address=127.0.0.1:{}", free_port()),
            format!("http.address=127.0.0.1:{}", free_port()),
            format!("store.directory={}", folder.display()),
        ];
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        Self::start_again(program, folder, all)
    }

    fn start_again(program: &Path, folder: &Path, settings: Vec<String>) -> CloudProcess {
        let mut child = command(program, &settings, &["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Kept until it is looked at, or for nobody.
                let _ = sender.send(line);
            }
        });
        let setting = |key: &str| {
            let found = settings.iter().rev().find_map(|setting| setting.strip_prefix(key));
            found.unwrap().parse().unwrap()
        };
        let (address, http) = (setting("listen.address="), setting("http.address="));
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let cloud = CloudProcess { program, settings, folder, child, lines, address, http };
        cloud.wait_for_log("Ready", START_LIMIT);
        cloud
    }

    /// Where boxes are taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// The file of its authority.
    pub fn trust(&self) -> PathBuf {
        self.folder.join("authority.crt")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line of its log contains `text`.
    ///
    /// # Panics
    /// After `limit`, with the lines that came meanwhile.
    pub fn wait_for_log(&self, text: &str, limit: Duration) {
        let mut seen = String::new();
        loop {
            match self.lines.recv_timeout(limit) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => seen = format!("{seen}\n{line}"),
                Err(_) => panic!("no line with {text:?} within {limit:?}:{seen}"),
            }
        }
    }

    /// Another command with the same settings, e.g. `boxes --json`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Output {
        command(&self.program, &self.settings, arguments).output().unwrap()
    }

    /// As [`run`](CloudProcess::run), with `--json`.
    ///
    /// # Panics
    /// When it fails.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A code for a box of `tenant`.
    ///
    /// # Panics
    /// When there is none.
    pub fn code(&self, tenant: &str) -> String {
        self.ask(&["claim", tenant])["code"].as_str().unwrap().to_owned()
    }

    /// What `/livez`, `/readyz` or `/metrics` says: status and text.
    ///
    /// # Panics
    /// When nobody answers.
    pub fn http(&self, path: &str) -> (u16, String) {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: cloud\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// SIGKILL, and a new process with the same settings.
    ///
    /// # Panics
    /// As [`start`](CloudProcess::start).
    pub fn kill_and_start(mut self) -> CloudProcess {
        self.end();
        Self::start_again(&self.program.clone(), &self.folder.clone(), std::mem::take(&mut self.settings))
    }

    /// SIGTERM, and waits until it has gone; its exit must be clean.
    ///
    /// # Panics
    /// When it does not stop or exits with an error.
    pub fn stop(mut self) {
        let killed = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(killed.success());
        self.wait_for_log("Stopped", STOP_LIMIT);
        assert!(self.child.wait().unwrap().success());
    }

    fn end(&mut self) {
        // Already gone after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for CloudProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines: Vec<String> = self.lines.try_iter().collect();
            eprintln!("The cloud's log ends:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        self.end();
    }
}

fn command(program: &Path, settings: &[String], arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).args(settings.iter().flat_map(|setting| ["--set", setting]));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What a box needs for what is handed down to it, with an office of tests.
///
/// # Panics
/// When the folder of recordings cannot be made.
pub fn post(config: &Config) -> Post {
    let files = AudioFiles::open(&config.state_directory(), Arc::new(PlainWav)).unwrap();
    let staff = Staff::new(Arc::new(sample::office().unwrap()));
    let calls = CallsUp::default();
    Post { files, staff, bell: Bell::default(), line: Arc::new(move || calls.line()) }
}

/// Sums by table and day.
pub type Sums = BTreeMap<String, BTreeMap<u32, Sum>>;

/// What the box in this folder has, read afresh.
///
/// # Panics
/// When its database cannot be read.
pub fn sums_of_box(folder: &Path) -> Sums {
    let by_day: BTreeSet<String> = TABLES.iter().map(|table| table.name.to_owned()).collect();
    let limits = Limits { rows: 1, bytes: 1 };
    let rows = Rows::open(folder, 1).unwrap();
    let stretch =
        rows.read_blocking(|db| Reader::default().stretch(db, log_head(db)?, limits, &BTreeSet::new(), Some(&by_day)));
    let tables = stretch.unwrap().sums.unwrap();
    let days = |table: &cloud_api::v1::TableDigest| {
        table.days.iter().map(|day| (day.day, Sum::from(day.sum.unwrap()))).collect::<BTreeMap<_, _>>()
    };
    tables.iter().map(|table| (table.table.clone(), days(table))).filter(|(_, days)| !days.is_empty()).collect()
}

/// What the cloud has of this box, in its latest epoch.
///
/// # Panics
/// When its store cannot be read.
pub fn sums_of_cloud(store: &AnyStore, of: &BoxName) -> Sums {
    let sums = store.transact(of, |rows| {
        let epoch = rows.box_state()?.map_or(0, |state| state.epoch);
        let mut sums = Sums::new();
        for table in cloud::sync::TABLES {
            let days = rows.day_sums(table, epoch)?;
            if !days.is_empty() {
                sums.insert(table.to_owned(), days);
            }
        }
        Ok(sums)
    });
    sums.unwrap()
}
