//! Running the programs that own the facts (`rauc`, `grub-editenv`, `systemctl`): bounded in time and in output.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What is read of a program's words; the rest is thrown away.
const OUTPUT_LIMIT_BYTES: u64 = 1 << 20;
/// How much of stderr an error quotes.
const QUOTE_LIMIT_CHARS: usize = 400;

/// A program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there, or may not be started.
    #[error("{program} cannot be started: {source}; updates need it (Debian packages rauc and grub-common)", program = program.display())]
    NotStarted {
        /// Its path.
        program: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It said no.
    #[error("`{command}` failed: {reason}")]
    Failed {
        /// Program and verb.
        command: String,
        /// Its last words.
        reason: String,
    },
    /// It did not end.
    #[error("`{command}` was ended after {seconds} s without a result")]
    TimedOut {
        /// Program and verb.
        command: String,
        /// How long it had.
        seconds: u64,
    },
}

/// A program, with arguments that stand before every verb.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    program: PathBuf,
    before: Vec<OsString>,
}

impl Tool {
    pub(super) fn new(program: PathBuf, before: Vec<OsString>) -> Tool {
        Tool { program, before }
    }

    /// Its standard output, when it ends well in time.
    pub(super) async fn run(&self, arguments: &[&OsStr], limit: Duration) -> Result<String, ToolError> {
        self.run_with_lines(arguments, limit, |_| {}).await
    }

    /// As [`run`](Tool::run); each line is also handed over as it comes.
    pub(super) async fn run_with_lines(
        &self,
        arguments: &[&OsStr],
        limit: Duration,
        line: impl FnMut(&str),
    ) -> Result<String, ToolError> {
        let mut child = self.start(arguments)?;
        let verb = arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let finished = tokio::time::timeout(limit, watch(&mut child, line)).await;
        let (status, output, errors) = match finished {
            Ok(Ok(finished)) => finished,
            Ok(Err(error)) => return Err(self.failed(&verb, error.to_string())),
            // Dropping the child kills it.
            Err(_) => return Err(ToolError::TimedOut { command: self.command(&verb), seconds: limit.as_secs() }),
        };
        if status.success() { Ok(output) } else { Err(self.failed(&verb, last_words(&errors, &output, status))) }
    }

    pub(super) fn failed(&self, verb: &str, reason: String) -> ToolError {
        ToolError::Failed { command: self.command(verb), reason }
    }

    fn command(&self, verb: &str) -> String {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        format!("{} {verb}", name.to_string_lossy())
    }

    fn start(&self, arguments: &[&OsStr]) -> Result<Child, ToolError> {
        let mut command = Command::new(&self.program);
        command.args(&self.before).args(arguments);
        // Their messages are recognised by their words.
        command.env("LC_ALL", "C").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|source| ToolError::NotStarted { program: self.program.clone(), source })
    }
}

async fn watch(child: &mut Child, mut line: impl FnMut(&str)) -> io::Result<(ExitStatus, String, String)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = async {
        let mut text = String::new();
        let Some(stdout) = stdout else { return Ok(text) };
        let mut lines = BufReader::new(stdout.take(OUTPUT_LIMIT_BYTES));
        let mut bytes = Vec::new();
        while lines.read_until(b'\n', &mut bytes).await? > 0 {
            let found = String::from_utf8_lossy(&bytes).into_owned();
            line(found.trim_end());
            text.push_str(&found);
            bytes.clear();
        }
        drain(lines.into_inner().into_inner()).await?;
        Ok::<_, io::Error>(text)
    };
    let errors = async {
        let mut bytes = Vec::new();
        let Some(mut stderr) = stderr else { return Ok(String::new()) };
        (&mut stderr).take(OUTPUT_LIMIT_BYTES).read_to_end(&mut bytes).await?;
        drain(stderr).await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (output, errors) = tokio::try_join!(output, errors)?;
    Ok((child.wait().await?, output, errors))
}

/// Lets a talkative program finish instead of blocking it on a full pipe.
async fn drain(mut rest: impl AsyncRead + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map(drop)
}

/// What the program gave as its reason. GLib's progress chatter ("rauc-Message: …") is not one.
fn last_words(errors: &str, output: &str, status: ExitStatus) -> String {
    let chatter = |line: &&str| !line.trim().is_empty() && !line.contains("-Message: ");
    let reported = output.lines().filter_map(|line| line.strip_prefix("LastError: "));
    let mut words: Vec<&str> = reported.chain(errors.lines().filter(chatter)).map(str::trim).collect();
    words.dedup();
    if words.is_empty() {
        return status.to_string();
    }
    words.join("; ").chars().take(QUOTE_LIMIT_CHARS).collect()
}
