//! `offhook calls listen`: hears a call that is up, through the box's HTTP interface.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use audio::time::SampleRate;
use audio::wav;
use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::sync::mpsc;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::Common;
use crate::config;

/// Messages that wait to be written: a second of sound.
const MESSAGE_LIMIT: usize = 50;

/// Hear a call that is up, as it goes on, until it ends or Ctrl-C; needs api.enabled
///
/// `offhook calls listen ID --output - | aplay` plays it. What the box had to drop because we were slow is silent.
#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// The call's id, or the beginning of it
    id: String,
    /// A WAV file to write; `-` is standard output
    #[arg(short, long)]
    output: PathBuf,
    /// Whom to hear
    #[arg(short, long, value_enum, default_value_t)]
    side: Side,
}

/// Whose sound is wanted.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Side {
    /// The one who called
    Caller,
    /// Whoever talks with them
    Ours,
    /// Both: the caller is on the left
    #[default]
    Both,
}

impl Side {
    /// As the interface calls it.
    fn name(self) -> &'static str {
        match self {
            Side::Caller => "caller",
            Side::Ours => "ours",
            Side::Both => "both",
        }
    }
}

impl Listen {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config::Api { enabled, address, port, .. } = common.load()?.api;
        if !enabled {
            bail!("calls are heard through the HTTP interface, which is off; set api.enabled");
        }
        let address = std::net::SocketAddr::new(address, port);
        let url = format!("ws://{address}/v1/calls/{}/listen?side={}", self.id, self.side.name());
        super::runtime()?.block_on(self.hear(url))
    }

    async fn hear(&self, url: String) -> anyhow::Result<ExitCode> {
        let (told, mut messages) = mpsc::channel(MESSAGE_LIMIT);
        // Ends with the connection; or with the process, when that is given up.
        std::thread::Builder::new().name("listen".into()).spawn(move || {
            if let Err(error) = receive(&url, &told) {
                let _ = told.blocking_send(Err(error));
            }
        })?;
        let mut output: Option<Output> = None;
        loop {
            let message = tokio::select! {
                message = messages.recv() => message.transpose()?,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    None
                }
            };
            match message {
                None => break,
                Some(Message::Binary(samples)) => {
                    output.as_mut().context("the box sends sound before it says of which kind")?.samples(&samples)?;
                }
                Some(Message::Text(text)) => {
                    let told: Value = serde_json::from_str(&text)?;
                    match (&mut output, told["dropped"].as_u64()) {
                        (None, _) => output = Some(Output::open(&self.output, &told)?),
                        (Some(output), Some(frames)) => output.silence(frames)?,
                        (Some(_), None) => {}
                    }
                }
                Some(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {}
            }
        }
        output.map_or(Ok(()), |output| output.finish(&self.output))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Hands on what comes, until the call is over.
fn receive(url: &str, told: &mpsc::Sender<anyhow::Result<Message>>) -> anyhow::Result<()> {
    let (mut socket, _) = tungstenite::connect(url).map_err(refusal)?;
    loop {
        match socket.read() {
            Ok(Message::Close(Some(why))) if why.code != CloseCode::Normal => {
                bail!("the box has hung up: {}", why.reason)
            }
            Ok(message) => {
                if told.blocking_send(Ok(message)).is_err() {
                    return Ok(());
                }
            }
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The sentence with which the box refuses, or why it cannot be reached.
fn refusal(error: Error) -> anyhow::Error {
    if let Error::Http(response) = &error
        && let Some(problem) = response.body().as_ref().and_then(|body| serde_json::from_slice::<Value>(body).ok())
        && let Some(detail) = problem["detail"].as_str()
    {
        return anyhow::anyhow!("{detail}");
    }
    anyhow::Error::new(error).context("the box's HTTP interface cannot be reached; is it running, with api.enabled?")
}

/// Where the sound goes.
struct Output {
    channels: u16,
    samples: u64,
    sink: Sink,
}

enum Sink {
    File(wav::Writer<std::io::BufWriter<std::fs::File>>),
    Stdout,
}

impl Output {
    /// For sound of the format that the box has told.
    fn open(path: &Path, format: &Value) -> anyhow::Result<Output> {
        let channels = format["channels"].as_u64().and_then(|channels| u16::try_from(channels).ok());
        let rate = format["sample_rate"].as_u64().and_then(|hz| SampleRate::new(u32::try_from(hz).ok()?));
        let (Some(channels), Some(rate), Some("s16le")) = (channels, rate, format["encoding"].as_str()) else {
            bail!("the box sends sound of a kind that this version does not know: {format}");
        };
        let sink = match path == Path::new("-") {
            true => {
                std::io::stdout().write_all(&wav::endless_header(channels, rate))?;
                Sink::Stdout
            }
            false => {
                let writer = wav::Writer::create_with(path, channels, rate);
                Sink::File(writer.with_context(|| path.display().to_string())?)
            }
        };
        Ok(Output { channels, samples: 0, sink })
    }

    fn samples(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.samples += bytes.len() as u64 / 2;
        match &mut self.sink {
            Sink::File(writer) => {
                let samples: Vec<i16> =
                    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
                writer.push(&samples)?;
            }
            Sink::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()?;
            }
        }
        Ok(())
    }

    /// In the place of so many frames, so that times stay right.
    fn silence(&mut self, frames: u64) -> anyhow::Result<()> {
        let silent = vec![0; 2 * usize::from(self.channels) * audio::SILENT_FRAME.len()];
        (0..frames).try_for_each(|_| self.samples(&silent))
    }

    fn finish(self, path: &Path) -> anyhow::Result<()> {
        if let Sink::File(writer) = self.sink {
            writer.finalize()?;
            let seconds = self.samples as f64 / f64::from(self.channels) / f64::from(SampleRate::NARROW_BAND.hz());
            println!("{seconds:.1} s written to {}", path.display());
        }
        Ok(())
    }
}
