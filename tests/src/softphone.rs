//! A desk phone: baresip without a sound card, which says a tone, keeps what it hears, and does as it is told over its
//! control socket (`ctrl_tcp`: JSON in netstrings).

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use audio::dsp::tone::sine;
use audio::time::SampleRate;
use serde_json::{Value, json};

use crate::offhook::free_port;

/// How long something may take that a phone does at once.
const LIMIT: Duration = Duration::from_secs(20);
/// To start.
const ATTEMPTS: usize = 3;

/// Longer than any test.
const SAYS: Duration = Duration::from_secs(150);
/// As loud as speech.
const LEVEL_DBOV: f32 = -20.0;

/// A running phone; ended when dropped.
#[derive(Debug)]
pub struct Softphone {
    child: Child,
    control: TcpStream,
    events: Receiver<Value>,
    responses: Receiver<Value>,
    folder: PathBuf,
    address: SocketAddr,
    codec: Codec,
}

/// How a phone is set up.
#[derive(Debug, Clone)]
pub struct Profile<'a> {
    /// Its extension, which is its user name too.
    pub extension: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Where it registers.
    pub registrar: SocketAddr,
    /// The tone it says. Hertz.
    pub tone_hz: u32,
    /// What it talks in.
    pub codec: Codec,
    /// How long it says it; then it hangs up.
    pub says: Duration,
    /// Whether it takes calls by itself.
    pub answers: bool,
    /// A WAV file at the rate of its codec that it says instead.
    pub speech: Option<&'a Path>,
    /// TLS to this port of 127.0.0.1, believing this PEM file.
    pub secure: Option<(u16, &'a Path)>,
    /// It takes encrypted sound, and nothing else.
    pub srtp: bool,
}

/// What a phone talks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.722.
    G722,
    /// Opus.
    Opus,
}

impl Codec {
    /// As baresip's account names it.
    fn account(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU/8000/1",
            Codec::G722 => "G722/16000/1",
            Codec::Opus => "opus/48000/2",
        }
    }

    /// Of the sound it says and hears. Hertz.
    pub fn sample_rate(self) -> SampleRate {
        match self {
            Codec::Pcmu => SampleRate::NARROW_BAND,
            Codec::G722 | Codec::Opus => SampleRate::WIDE_BAND,
        }
    }
}

impl<'a> Profile<'a> {
    /// A phone that takes calls by itself.
    pub fn new(extension: &'a str, password: &'a str, registrar: SocketAddr, tone_hz: u32) -> Profile<'a> {
        Profile {
            extension,
            password,
            registrar,
            tone_hz,
            codec: Codec::Pcmu,
            says: SAYS,
            answers: true,
            speech: None,
            secure: None,
            srtp: false,
        }
    }
}

impl Softphone {
    /// Starts it with its files in `folder` and waits until it is registered.
    ///
    /// # Panics
    /// When it does not start or is not let in.
    pub fn start(folder: &Path, profile: &Profile<'_>) -> Softphone {
        let phone = Softphone::start_unregistered(folder, profile);
        // Printed rather than told: it may have happened before the control socket was open.
        phone.wait_for_output(" binding");
        phone
    }

    /// Starts it and waits for nothing.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_unregistered(folder: &Path, profile: &Profile<'_>) -> Softphone {
        std::fs::create_dir_all(folder).unwrap();
        let said = profile.speech.map_or_else(|| folder.join("said.wav"), Path::to_owned);
        if profile.speech.is_none() {
            let rate = profile.codec.sample_rate();
            let tone = sine(profile.tone_hz.into(), profile.says, LEVEL_DBOV, rate);
            audio::wav::write(&said, &tone, rate).unwrap();
        }
        // A port that was free may be somebody's by now, also the one after it, which it wants for TLS: then it ends.
        let launched = (0..ATTEMPTS).find_map(|_| launch(folder, profile, &said));
        let (child, control, address) =
            launched.unwrap_or_else(|| panic!("baresip does not start:\n{}", printed(folder)));
        let ((event, events), (response, responses)) = (channel(), channel());
        let mut reader = BufReader::new(control.try_clone().unwrap());
        std::thread::spawn(move || {
            while let Some(message) = read_netstring(&mut reader) {
                let sender = if message["response"] == true { &response } else { &event };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Softphone { child, control, events, responses, folder: folder.to_owned(), address, codec: profile.codec }
    }

    /// What it talks in.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a command of baresip's menu and waits until it was carried out.
    ///
    /// # Panics
    /// When the phone is gone, or says nothing to it.
    pub fn tell(&mut self, command: &str, parameters: &str) {
        self.send(command, parameters);
        if let Err(error) = self.responses.recv_timeout(LIMIT) {
            panic!("{command} {parameters:?} was not taken ({error}):\n{}", self.output());
        }
    }

    /// Sends a command, in one piece and never two at once: of what comes in fragments, or while it is busy with another,
    /// baresip loses the rest, and everything that is sent afterwards.
    fn send(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters }).to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes()).unwrap();
    }

    /// Waits for an event such as `CALL_ESTABLISHED`; the event.
    ///
    /// # Panics
    /// When it does not come, with what came instead.
    pub fn wait_for(&self, event: &str) -> Value {
        let deadline = Instant::now() + LIMIT;
        let mut seen = Vec::new();
        while let Ok(message) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if message["type"] == event {
                return message;
            }
            seen.push(message.to_string());
        }
        panic!("no {event}; instead:\n{}\n{}", seen.join("\n"), self.output());
    }

    /// Waits until it has printed `text`.
    ///
    /// # Panics
    /// When it does not, with what it printed.
    pub fn wait_for_output(&self, text: &str) {
        let printed = crate::poll(LIMIT, || self.output().contains(text).then_some(()));
        assert!(printed.is_some(), "no {text:?} in what the phone printed:\n{}", self.output());
    }

    /// Everything it printed so far.
    pub fn output(&self) -> String {
        printed(&self.folder)
    }

    /// Its latest call that was answered, as Replaces names it (RFC 3891), read from the messages it printed.
    ///
    /// # Panics
    /// When there is none.
    pub fn latest_dialog(&self) -> String {
        let output = self.output();
        let answers: Vec<&str> = output.split("SIP/2.0 200 ").skip(1).filter(|text| is_invite_answer(text)).collect();
        let answer = answers.last().unwrap_or_else(|| panic!("no answered INVITE:\n{output}"));
        let line = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let tag = |name: &str| line(name).split_once("tag=").unwrap().1.split(';').next().unwrap().trim();
        format!("{};to-tag={};from-tag={}", line("Call-ID:"), tag("To:"), tag("From:"))
    }

    /// Ends it and gives what it heard in its last call, as samples at the rate of [`Codec::sample_rate`].
    ///
    /// # Panics
    /// When it does not end, or kept nothing.
    pub fn heard(mut self) -> Vec<i16> {
        self.send("quit", "");
        // Its files are complete once it is gone.
        let is_gone = crate::poll(LIMIT, || self.child.try_wait().unwrap());
        assert!(is_gone.is_some(), "does not end:\n{}", self.output());
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.to_string_lossy().ends_with("dec.wav"));
        files.sort();
        let last = files.last().expect("a recording");
        if self.codec == Codec::Pcmu {
            return audio::wav::read(last).unwrap().samples;
        }
        // Opus is recorded at 48 kHz, in two channels.
        let (heard, rate) = (self.folder.join("heard.wav"), self.codec.sample_rate().hz().to_string());
        let converted = Command::new("sox").arg(last).args(["-r", &rate, "-c", "1"]).arg(&heard).status().unwrap();
        assert!(converted.success());
        audio::wav::read(&heard).unwrap().samples
    }
}

impl Drop for Softphone {
    fn drop(&mut self) {
        // Already gone after `heard`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a phone that says the file `said`: the process, its control socket, and where it listens. None if it ends, or does not
/// begin.
fn launch(folder: &Path, profile: &Profile<'_>, said: &Path) -> Option<(Child, TcpStream, SocketAddr)> {
    let rate = profile.codec.sample_rate();
    let (control, address) = (free_port(), SocketAddr::from(([127, 0, 0, 1], free_port())));
    // The codecs first: accounts name them.
    let modules =
        ["g711", "g722", "opus", "srtp", "account", "aufile", "aubridge", "sndfile", "menu", "uuid", "ctrl_tcp"];
    let modules: String = modules.iter().map(|module| format!("module {module}.so\n")).collect();
    let config = format!(
        "module_path /usr/lib/baresip/modules\n{modules}ctrl_tcp_listen 127.0.0.1:{control}\n\
         sip_listen {address}\naudio_source aufile,{}\naudio_player aubridge,sink\nausrc_srate {rate}\n\
         auplay_srate {rate}\nausrc_channels 1\nauplay_channels 1\nrtp_ports 46000-47998\nsnd_path {}\n{}",
        said.display(),
        folder.display(),
        profile.secure.map_or_else(String::new, |(_, trust)| format!("sip_cafile {}\n", trust.display())),
        rate = rate.hz()
    );
    let Profile { extension, password, registrar, answers, .. } = profile;
    let mode = if *answers { "auto" } else { "manual" };
    let host = match profile.secure {
        Some((port, _)) => format!("127.0.0.1:{port};transport=tls"),
        None => format!("{registrar};transport=udp"),
    };
    let secured = if profile.srtp { "mediaenc=srtp-mand;" } else { "" };
    let account = format!(
        "<sip:{extension}@{host}>;{secured}auth_user={extension};auth_pass={password};answermode={mode};regint=120;\
         audio_codecs={};mwi=no\n",
        profile.codec.account()
    );
    std::fs::write(folder.join("config"), config).unwrap();
    std::fs::write(folder.join("accounts"), account).unwrap();
    std::fs::write(folder.join("contacts"), "").unwrap();
    let mut child = Command::new("baresip")
        // With every SIP message in what it prints.
        .args(["-s", "-f", folder.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(folder.join("output")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let connected = crate::poll(LIMIT, || match TcpStream::connect(("127.0.0.1", control)) {
        Ok(control) => Some(Some(control)),
        Err(_) => child.try_wait().unwrap().map(|_| None),
    });
    match connected.flatten() {
        Some(control) => Some((child, control, address)),
        None => {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            None
        }
    }
}

fn printed(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("output")).unwrap_or_default()
}

fn is_invite_answer(message: &str) -> bool {
    message.lines().find_map(|line| line.strip_prefix("CSeq:")).is_some_and(|cseq| cseq.contains("INVITE"))
}

fn read_netstring(reader: &mut impl std::io::BufRead) -> Option<Value> {
    let mut length = Vec::new();
    reader.read_until(b':', &mut length).ok()?;
    let length: usize = std::str::from_utf8(length.strip_suffix(b":")?).ok()?.trim().parse().ok()?;
    let mut text = vec![0; length + 1];
    reader.read_exact(&mut text).ok()?;
    text.pop();
    serde_json::from_slice(&text).ok()
}

/// In which seconds of `samples` (8 kHz) a tone of `frequency_hz` is what is mostly heard.
pub fn seconds_with_tone(samples: &[i16], frequency_hz: u32) -> Vec<usize> {
    seconds_with_tone_at(samples, frequency_hz, SampleRate::NARROW_BAND)
}

/// The same at another rate.
pub fn seconds_with_tone_at(samples: &[i16], frequency_hz: u32, rate: SampleRate) -> Vec<usize> {
    samples
        .chunks_exact(usize::try_from(rate.hz()).unwrap())
        .enumerate()
        .filter(|(_, second)| share_of(second, frequency_hz) > 0.5)
        .map(|(index, _)| index)
        .collect()
}

/// In which tenths of seconds a tone is heard as loud as phones say theirs, whatever else is heard.
pub fn tenths_with_tone(samples: &[i16], frequency_hz: u32, rate: SampleRate) -> Vec<usize> {
    let tenth = usize::try_from(rate.hz() / 10).unwrap();
    let is_loud = |samples: &[i16]| {
        let amplitude = 2.0 * power_at(samples, f64::from(frequency_hz) / 10.0).sqrt() / samples.len() as f64;
        // Half of a sine of LEVEL_DBOV.
        amplitude > f64::from(i16::MAX) * 10_f64.powf(f64::from(LEVEL_DBOV) / 20.0) / std::f64::consts::SQRT_2
    };
    let tenths = samples.chunks_exact(tenth).enumerate();
    tenths.filter(|(_, samples)| is_loud(samples)).map(|(index, _)| index).collect()
}

/// How much of the energy of a second is at that frequency. 0 to 1.
fn share_of(samples: &[i16], frequency_hz: u32) -> f64 {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    let power = power_at(samples, f64::from(frequency_hz));
    if energy < 1e6 { 0.0 } else { power * 2.0 / (energy * samples.len() as f64) }
}

/// The power of what makes so many turns within `samples`, by Goertzel's algorithm.
fn power_at(samples: &[i16], turns: f64) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * turns / samples.len() as f64).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in samples {
        (one, two) = (f64::from(*sample) + coefficient * one - two, one);
    }
    one * one + two * two - coefficient * one * two
}
