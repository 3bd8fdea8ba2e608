//! A box as a process: started with settings of its own, observed through its log, its database and its sound.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::RngExt as _;

/// Where [`free_port`] looks: below media (20000 and up) and what the system gives out by itself (32768 and up).
const FREE_PORTS: Range<u16> = 10_000..20_000;
/// How long a start may take on a busy machine, loading every model.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a stop may take once calls are over.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running `offhook run`; killed when dropped.
#[derive(Debug)]
pub struct Offhook {
    child: Child,
    address: SocketAddr,
    settings: Vec<String>,
    program: PathBuf,
    file: Option<PathBuf>,
    log: Arc<Mutex<String>>,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
}

impl Offhook {
    /// Starts `program run` with its state in `folder` on a free loopback port, and returns when it takes calls.
    /// `settings` are `key=value`, as for `--set`.
    ///
    /// # Panics
    /// When it does not get ready: with its log.
    pub fn start(program: &Path, folder: &Path, settings: &[&str]) -> Offhook {
        Offhook::start_with_file(program, folder, None, settings)
    }

    /// As [`start`](Offhook::start), with a configuration file beneath the settings and without models: for what is not
    /// about words. It starts in a moment, and leaves the processor to the phones.
    ///
    /// # Panics
    /// As there.
    pub fn start_wordless(program: &Path, folder: &Path, file: &Path, settings: &[&str]) -> Offhook {
        let none = folder.join("no-models");
        std::fs::create_dir_all(&none).unwrap();
        let none = format!("models.directory={}", none.display());
        Offhook::start_with_file(program, folder, Some(file), &[&[none.as_str()], settings].concat())
    }

    /// As [`start`](Offhook::start), with a configuration file beneath the settings.
    ///
    /// # Panics
    /// As there.
    fn start_with_file(program: &Path, folder: &Path, file: Option<&Path>, settings: &[&str]) -> Offhook {
        let port = free_port();
        let mut all = vec![
            format!("sip.port={port}"),
            format!("storage.directory={}", folder.display()),
            "log.target=stderr".to_owned(),
        ];
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let file = file.map(Path::to_owned);
        let mut child = command(program, file.as_deref(), &all, &["run"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        let stderr = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_str(&line);
                kept.push('\n');
                drop(kept);
                let _ = sender.send(line);
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let program = program.to_owned();
        let offhook = Offhook { child, address, settings: all, program, file, log, lines, reader: Some(reader) };
        offhook.wait_for_log("Ready", START_LIMIT);
        offhook
    }

    /// Where it takes calls.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URI to call.
    pub fn uri(&self) -> String {
        format!("sip:office@{}", self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a log line contains `text`.
    ///
    /// # Panics
    /// After `limit`, with the log.
    pub fn wait_for_log(&self, text: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {text:?} within {limit:?} in its log:\n{}", self.log())
                }
            }
        }
    }

    /// Runs another command of the same program with the same settings, for example `calls list`.
    pub fn run(&self, arguments: &[&str]) -> Output {
        command(&self.program, self.file.as_deref(), &self.settings, arguments).output().unwrap()
    }

    /// As [`run`](Offhook::run), in the background.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        command(&self.program, self.file.as_deref(), &self.settings, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// SIGTERM, and waits until it has gone; its exit must be clean.
    ///
    /// # Panics
    /// When it does not stop or exits with an error.
    pub fn stop(self) -> String {
        self.begin_stop();
        self.wait_until_stopped()
    }

    /// SIGTERM: it takes no new calls.
    ///
    /// # Panics
    /// When it has gone.
    pub fn begin_stop(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Waits until it has gone after [`begin_stop`](Offhook::begin_stop); its exit must be clean.
    ///
    /// # Panics
    /// As [`stop`](Offhook::stop).
    pub fn wait_until_stopped(mut self) -> String {
        self.wait_for_log("Stopped", STOP_LIMIT);
        let status = self.child.wait().unwrap();
        self.join_reader();
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }

    /// SIGKILL: as a power cut would have it.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.join_reader();
        self.log()
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

impl Drop for Offhook {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("The box's log ends:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        // Already gone after `stop` and `kill`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(program: &Path, file: Option<&Path>, settings: &[String], arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(file.iter().flat_map(|file| [Path::new("--config"), file]));
    command.args(arguments).args(settings.iter().flat_map(|setting| ["--set", setting])).stdin(Stdio::null());
    command
}

/// A loopback port that is free for UDP and TCP at this moment. At random, and where nobody else takes one unasked: tests
/// beside each other do not take one another's before it is used.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::rng().random_range(FREE_PORTS)));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address.port();
        }
    }
    panic!("no port of 127.0.0.1 is free for both UDP and TCP");
}
