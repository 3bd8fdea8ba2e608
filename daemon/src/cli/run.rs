//! `offhook run`: answer calls until stopped.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Common;
use crate::config::Config;
use crate::engines::Engines;
use crate::fleet;
use crate::service::Service;
use crate::storage::UnixMs;

/// SIGTERM and Ctrl-C let the calls finish (calls.drain_seconds); a second one stops at once.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Place the demonstration call once ready, show it, and stay up
    #[arg(long)]
    demo: bool,
}

impl Run {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = load_anew(common)?;
        crate::logging::start(&config.log)?;
        crate::memory::limit_arenas();
        super::runtime()?.block_on(self.serve(config, common))
    }

    /// Until somebody stops it; the cloud may have it start anew, with another configuration.
    async fn serve(&self, mut config: Config, common: &Common) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        let mut demo = self.demo;
        loop {
            let began = Instant::now();
            let service = match start(&config).await {
                Ok(service) => service,
                // What the cloud wished cannot even be started with: as it was before.
                Err(error) if fleet::give_up(&config.state_directory(), &format!("{error:#}"), UnixMs::now())? => {
                    warn!(error = format!("{error:#}"), "A configuration of the cloud is taken back");
                    config = common.load()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            crate::memory::give_back();
            for loss in service.degraded() {
                warn!("Degraded. {loss}");
            }
            info!(address = %service.address(), seconds = began.elapsed().as_secs_f64(), "Ready");
            tell_systemd(&[sd_notify::NotifyState::Ready]);
            let demonstration = if std::mem::take(&mut demo) { Some(start_demonstration(&config)?) } else { None };
            let end = attend(&service, &config, &mut signals, demonstration).await;
            tell_systemd(&[match end {
                End::Stop => sd_notify::NotifyState::Stopping,
                End::Restart => sd_notify::NotifyState::Status("Starting anew, as the cloud wants it"),
            }]);
            tokio::select! {
                () = service.stop() => {}
                () = signals.next() => {
                    warn!("Stopped at once; calls that were up are closed as interrupted at the next start");
                    return Ok(ExitCode::FAILURE);
                }
            }
            match end {
                End::Stop => return Ok(ExitCode::SUCCESS),
                End::Restart => config = load_anew(common)?,
            }
        }
    }
}

/// Why a service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    Restart,
}

/// The configuration for a start: one that the cloud wishes is tried from here on.
fn load_anew(common: &Common) -> anyhow::Result<Config> {
    let config = common.load()?;
    fleet::begin(&config.state_directory(), UnixMs::now()).context("what the cloud has decided cannot be read")?;
    match common.load() {
        // It was whole when it was wished; a file that it names may be gone since.
        Err(mistakes) if fleet::give_up(&config.state_directory(), &mistakes.to_string(), UnixMs::now())? => {
            Ok(common.load()?)
        }
        loaded => Ok(loaded?),
    }
}

async fn start(config: &Config) -> anyhow::Result<Service> {
    let starting = async {
        let for_engines = config.clone();
        let engines = tokio::task::spawn_blocking(move || Engines::load(&for_engines)).await?;
        Service::start(config.clone(), engines).await
    };
    tokio::select! {
        started = starting => started,
        never = ask_for_patience() => match never {},
    }
}

/// Keeps the watchdog quiet until there is a reason to end.
async fn attend(
    service: &Service,
    config: &Config,
    signals: &mut Signals,
    demonstration: Option<tokio::process::Child>,
) -> End {
    let watchdog = tokio::time::interval(watchdog_interval());
    tokio::pin!(watchdog);
    let mut demonstrated = demonstration.is_none();
    let finished = wait_for(demonstration);
    tokio::pin!(finished);
    let mut restart = service.restart();
    loop {
        tokio::select! {
            () = signals.next() => return End::Stop,
            () = wanted(&mut restart) => return End::Restart,
            _ = watchdog.tick() => if service.is_alive().await {
                tell_systemd(&[sd_notify::NotifyState::Watchdog]);
            },
            () = &mut finished, if !demonstrated => {
                demonstrated = true;
                print_how_to_call(service, config);
            }
        }
    }
}

/// Never, if nobody can want it any more.
async fn wanted(restart: &mut watch::Receiver<bool>) {
    if restart.wait_for(|wanted| *wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// How often a start that takes long asks systemd not to give it up.
const PATIENCE_INTERVAL: Duration = Duration::from_secs(20);
/// Then it is hanging.
const LONGEST_START: Duration = Duration::from_secs(20 * 60);

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Does nothing when not started by systemd.
fn tell_systemd(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd not notified");
    }
}

/// A slow board loads models for longer than any fixed limit of the unit; a start that hangs as a whole stops asking too.
async fn ask_for_patience() -> std::convert::Infallible {
    let mut beat = tokio::time::interval(PATIENCE_INTERVAL);
    for _ in 0..LONGEST_START.as_secs() / PATIENCE_INTERVAL.as_secs() {
        beat.tick().await;
        let next = u32::try_from(PATIENCE_INTERVAL.as_micros() * 3).unwrap_or(u32::MAX);
        tell_systemd(&[sd_notify::NotifyState::ExtendTimeoutUsec(next)]);
    }
    std::future::pending().await
}

/// Half of what the unit allows, so that one missed beat is not the end.
fn watchdog_interval() -> Duration {
    sd_notify::watchdog_enabled().map_or(Duration::from_secs(10), |limit| limit / 2)
}

/// The demonstration is another process, so that the call is as real as one from outside.
fn start_demonstration(config: &Config) -> anyhow::Result<tokio::process::Child> {
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let mut command = tokio::process::Command::new(program);
    command.arg("demo").args(config.origin.as_arguments()).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().context("the demonstration call could not be started")
}

async fn wait_for(demonstration: Option<tokio::process::Child>) {
    match demonstration {
        Some(mut child) => match child.wait().await {
            Ok(status) if status.success() => {}
            Ok(_) => warn!("The demonstration call failed; its message is above"),
            Err(error) => warn!(%error, "The demonstration call was lost"),
        },
        None => std::future::pending().await,
    }
}

fn print_how_to_call(service: &Service, config: &Config) {
    let address = service.address();
    println!();
    println!("Offhook is answering at sip:office@{address} (UDP and TCP). Call it:");
    println!("  from a softphone  dial sip:office@{address}, no registration, codec G.711 (PCMU or PCMA)");
    if let Some(tls) = service.tls_address() {
        println!("  over TLS          dial sip:office@{tls};transport=tls, with SRTP if wanted");
    }
    println!("  from a terminal   offhook call sip:office@{address} --text \"When are you open on Saturday?\"");
    println!("  the demonstration again: make demo (or offhook demo)");
    println!("Look at calls with `offhook calls list`; state is in {}.", config.state_directory().display());
    println!("Stop it with Ctrl-C.");
}
