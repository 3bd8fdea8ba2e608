//! A PostgreSQL of our own: made in a folder and started as a process, for a laptop, an office and the tests.
//!
//! ```text
//! FOLDER/data    the database; made at the first start
//!        socket  where it is reached; no network port, and only its user and root may enter
//!        log     what it says
//! ```
//! PostgreSQL refuses to run as root: there it runs as `postgres`, or as `nobody` where there is no such user.
//!
//! The service comes to it as the user `offhook`, who owns the tables and is no superuser, so that row-level security holds.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postgres::{Client, Config, NoTls};

use crate::clock;
use crate::files::make_folder;

/// Where Debian puts the versions; the PATH is looked at first, since other systems have it there.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The most that a socket's address holds, with the name that PostgreSQL gives it.
const SOCKET_PATH_MAX: usize = 107 - "/.s.PGSQL.5432".len();
/// A start after a crash reads what was written since the last checkpoint.
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// The superuser of the database.
const OWNER: &str = "offhook_owner";

/// Why it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LocalPostgresError {
    /// Not installed.
    #[error("PostgreSQL is not installed: `apt-get install postgresql` adds it, or use store.engine = \"sqlite\"")]
    Missing,
    /// The folder's name is too long.
    #[error("{path} is too long a name for a socket: choose a folder with at most {SOCKET_PATH_MAX} characters", path = path.display())]
    TooLong {
        /// Where the socket would be.
        path: PathBuf,
    },
    /// A file, or a program that cannot be started.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// What is wrong.
        source: io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// Which.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// The server answers something else.
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] postgres::Error),
}

/// A running server; stopped when dropped, unless it was there before.
#[derive(Debug)]
pub struct LocalPostgres {
    programs: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl LocalPostgres {
    /// Where its programs are, if it is installed.
    pub fn programs() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path);
        let mut versions: Vec<PathBuf> =
            fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
        versions.sort();
        let whole = |folder: &PathBuf| ["initdb", "postgres", "pg_ctl"].iter().all(|name| folder.join(name).exists());
        // The latest version of Debian's first: what stands in the PATH may be one program of another.
        versions.into_iter().rev().chain(in_path).find(whole)
    }

    /// The server of this folder: the one that runs there, or a new one. `settings` are as for `postgres -c`.
    ///
    /// # Errors
    /// [`LocalPostgresError`].
    pub fn start(folder: &Path, settings: &[&str]) -> Result<LocalPostgres, LocalPostgresError> {
        let programs = Self::programs().ok_or(LocalPostgresError::Missing)?;
        make_folder(folder).map_err(|source| io_error(folder, source))?;
        let folder = folder.canonicalize().map_err(|source| io_error(folder, source))?;
        let mut server = LocalPostgres { programs, folder, child: None };
        let socket = server.socket();
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(LocalPostgresError::TooLong { path: socket });
        }
        if server.connect().is_ok() {
            return Ok(server);
        }
        server.make()?;
        server.spawn(settings)?;
        server.wait_until_ready()?;
        server.make_database()?;
        Ok(server)
    }

    /// A streaming replica of this server, in another folder.
    ///
    /// # Errors
    /// [`LocalPostgresError`].
    pub fn start_replica(&self, folder: &Path, settings: &[&str]) -> Result<LocalPostgres, LocalPostgresError> {
        make_folder(folder).map_err(|source| io_error(folder, source))?;
        let folder = folder.canonicalize().map_err(|source| io_error(folder, source))?;
        let replica = LocalPostgres { programs: self.programs.clone(), folder, child: None };
        replica.make_folders()?;
        let mut copy = self.command("pg_basebackup");
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--username", OWNER, "--host"]);
        let copied = copy.arg(self.socket()).arg("--pgdata").arg(replica.data()).output();
        let copied = copied.map_err(|source| io_error(Path::new("pg_basebackup"), source))?;
        if !copied.status.success() {
            let message = String::from_utf8_lossy(&copied.stderr).trim().to_owned();
            return Err(LocalPostgresError::Failed { program: "pg_basebackup", message });
        }
        Self::start(&replica.folder, settings)
    }

    /// For [`Postgres::parse`](crate::store::Postgres::parse).
    pub fn url(&self) -> String {
        format!("host='{}' user=offhook dbname=offhook", self.socket().display())
    }

    /// The server's process, if it was started here.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folders, and the database in them.
    fn make(&self) -> Result<(), LocalPostgresError> {
        self.make_folders()?;
        self.make_data()
    }

    fn make_folders(&self) -> Result<(), LocalPostgresError> {
        for folder in [self.data(), self.socket()] {
            make_folder(&folder).map_err(|source| io_error(&folder, source))?;
            if let Some((user, group)) = unprivileged() {
                chown(&folder, Some(user), Some(group)).map_err(|source| io_error(&folder, source))?;
                chown(&self.folder, Some(user), Some(group)).map_err(|source| io_error(&self.folder, source))?;
                // Whoever may enter a folder must be able to come to it, without seeing what else is there.
                let above = self.folder.parent().unwrap_or(Path::new("/"));
                let passable = fs::metadata(above).map(|above| above.permissions().mode() | 0o011);
                let passed = passable.and_then(|mode| fs::set_permissions(above, Permissions::from_mode(mode)));
                passed.map_err(|source| io_error(above, source))?;
            }
        }
        Ok(())
    }

    fn make_data(&self) -> Result<(), LocalPostgresError> {
        if self.data().join("PG_VERSION").exists() {
            return Ok(());
        }
        let mut initdb = self.command("initdb");
        initdb.args(["--username", OWNER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]);
        let made = initdb.arg("--pgdata").arg(self.data()).output();
        let made = made.map_err(|source| io_error(Path::new("initdb"), source))?;
        if !made.status.success() {
            let message = String::from_utf8_lossy(&made.stderr).trim().to_owned();
            return Err(LocalPostgresError::Failed { program: "initdb", message });
        }
        Ok(())
    }

    fn spawn(&mut self, settings: &[&str]) -> Result<(), LocalPostgresError> {
        let log = self.folder.join("log");
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(|source| io_error(&log, source))?;
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(self.socket()).args(["-c", "listen_addresses="]);
        server.args(settings.iter().flat_map(|setting| ["-c", setting]));
        server.stdout(Stdio::null()).stderr(file);
        // A Ctrl-C is for us: the server ends once nobody needs it.
        server.process_group(0);
        self.child = Some(server.spawn().map_err(|source| io_error(Path::new("postgres"), source))?);
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<(), LocalPostgresError> {
        let began = clock::now();
        loop {
            let error = match self.connect() {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || began.elapsed() > START_LIMIT {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let last = log.lines().rev().take(3).collect::<Vec<_>>().join("; ");
                let message = if last.is_empty() { error.to_string() } else { last };
                return Err(LocalPostgresError::Failed { program: "postgres", message });
            }
            clock::sleep(POLL);
        }
    }

    fn make_database(&self) -> Result<(), LocalPostgresError> {
        let mut client = self.connect()?;
        if client.query_opt("SELECT 1 FROM pg_roles WHERE rolname = 'offhook'", &[])?.is_none() {
            client.batch_execute("CREATE ROLE offhook LOGIN")?;
        }
        if client.query_opt("SELECT 1 FROM pg_database WHERE datname = 'offhook'", &[])?.is_none() {
            client.batch_execute("CREATE DATABASE offhook OWNER offhook")?;
        }
        Ok(())
    }

    /// As its superuser.
    fn connect(&self) -> Result<Client, postgres::Error> {
        let mut config = Config::new();
        config.host_path(self.socket()).user(OWNER).dbname("postgres").connect(NoTls)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir("/").stdin(Stdio::null());
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        command
    }

    /// Ends it: connections are cut, what was committed is on disk. Also one that was there before.
    ///
    /// # Errors
    /// When `pg_ctl` cannot be run.
    pub fn stop(mut self) -> Result<(), LocalPostgresError> {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--mode", "fast", "--silent", "--pgdata"]).arg(self.data());
        let stopped = stop.output().map_err(|source| io_error(Path::new("pg_ctl"), source))?;
        if let Some(mut child) = self.child.take() {
            child.wait().map_err(|source| io_error(Path::new("postgres"), source))?;
        }
        if !stopped.status.success() {
            let message = String::from_utf8_lossy(&stopped.stderr).trim().to_owned();
            return Err(LocalPostgresError::Failed { program: "pg_ctl", message });
        }
        Ok(())
    }

    /// As a crash would have it.
    pub fn kill(mut self) {
        self.kill_child();
    }

    fn kill_child(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Gone already, or it goes now.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        self.kill_child();
    }
}

fn io_error(what: &Path, source: io::Error) -> LocalPostgresError {
    LocalPostgresError::Io { what: what.display().to_string(), source }
}

/// User and group that PostgreSQL runs as where we are root.
fn unprivileged() -> Option<(u32, u32)> {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |name: &str| {
        let user = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = user.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody"))
}
