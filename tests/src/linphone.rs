//! A desk phone of another make: linphone without a sound card, which says a tone, keeps what it hears, and does as it is
//! told on its console (`linphonec`).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use audio::dsp::resample::resample;
use audio::dsp::tone::sine;
use audio::time::SampleRate;

use crate::offhook::free_port;
use crate::softphone::Profile;

/// How long something may take that a phone does at once.
const LIMIT: Duration = Duration::from_secs(20);
/// How long it says its tone.
const SAYS: Duration = Duration::from_secs(100);
/// As loud as speech.
const LEVEL_DBOV: f32 = -20.0;

/// Before the sound of a file it has written.
const WAV_HEADER_BYTES: usize = 44;

/// How it speaks to the box.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// UDP and RTP.
    Plain,
    /// TLS to this port of `localhost`, believing this PEM file, and SRTP.
    Secure(u16, &'a Path),
}

/// A running phone; ended when dropped.
#[derive(Debug)]
pub struct Linphone {
    child: Child,
    folder: PathBuf,
}

impl Linphone {
    /// Starts it with its files in `folder` and waits until it is registered. `extension` has to be its user name.
    ///
    /// # Panics
    /// When it does not start or is not let in.
    pub fn start(folder: &Path, profile: &Profile<'_>, line: Line<'_>) -> Linphone {
        Linphone::start_unregistered(folder, profile, line).registered()
    }

    /// Starts it with nothing but the settings file `provisioned`, and waits until it is registered.
    ///
    /// # Panics
    /// When it does not start or is not let in.
    pub fn start_provisioned(folder: &Path, tone_hz: u32, provisioned: &Path) -> Linphone {
        let text = format!(
            "[sip]\nsip_port=-1\nsip_tcp_port=-1\nsip_tls_port=-1\nguess_hostname=0\nuse_ipv6=0\n\
             ipv6_migration_done=1\nregister_only_when_network_is_up=0\n[rtp]\naudio_rtp_port={}\n\
             [net]\nfirewall_policy=none\n[misc]\nconfig-uri=file://{}\n",
            free_port(),
            provisioned.display()
        );
        Linphone::start_with(folder, tone_hz, false, &text).registered()
    }

    fn registered(mut self) -> Linphone {
        let registered = crate::poll(LIMIT, || {
            self.tell("status register");
            self.output().contains("registered, identity").then_some(())
        });
        assert!(registered.is_some(), "not registered:\n{}\n{}", self.output(), self.log());
        self
    }

    /// Starts it and waits for nothing.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_unregistered(folder: &Path, profile: &Profile<'_>, line: Line<'_>) -> Linphone {
        Linphone::start_with(folder, profile.tone_hz, profile.answers, &configuration(profile, line))
    }

    fn start_with(folder: &Path, tone_hz: u32, answers: bool, configuration: &str) -> Linphone {
        // It does not start without a place for its database.
        std::fs::create_dir_all(folder.join(".local/share/linphone")).unwrap();
        let tone = sine(tone_hz.into(), SAYS, LEVEL_DBOV, SampleRate::NARROW_BAND);
        audio::wav::write(&folder.join("said.wav"), &tone, SampleRate::NARROW_BAND).unwrap();
        std::fs::write(folder.join("linphonerc"), configuration).unwrap();
        let child = Command::new("linphonec")
            .args(["-c", "linphonerc", "-d", "5", "-l", "log"])
            .args(answers.then_some("-a"))
            .current_dir(folder)
            .env("HOME", folder)
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(folder.join("output")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut phone = Linphone { child, folder: folder.to_owned() };
        for command in ["soundcard use files", "play said.wav", "record heard.wav"] {
            phone.tell(command);
        }
        phone
    }

    /// Gives a command of its console.
    ///
    /// # Panics
    /// When the phone is gone.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{command}").unwrap();
    }

    /// Waits until it has printed `text`, `times` times.
    ///
    /// # Panics
    /// When it does not, with what it printed.
    pub fn wait_for_output(&self, text: &str, times: usize) {
        let printed = crate::poll(LIMIT, || (self.output().matches(text).count() >= times).then_some(()));
        assert!(printed.is_some(), "no {text:?} {times} times in what the phone printed:\n{}", self.output());
    }

    /// Everything it printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.join("output")).unwrap_or_default()
    }

    /// What it has to say about itself, with every SIP message.
    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Ends it and gives what it heard, as samples at 8 kHz.
    ///
    /// # Panics
    /// When it kept nothing.
    pub fn heard(mut self) -> Vec<i16> {
        self.tell("quit");
        // Its files are complete once it is gone.
        let _ = self.child.wait();
        let file = std::fs::read(self.folder.join("heard.wav")).unwrap();
        // Its header counts itself among the sound, which readers of WAV files do not take. It is as wide as the codec.
        let (channels, hz) = (usize::from(file[22]), u32::from_le_bytes([file[24], file[25], file[26], file[27]]));
        let samples: Vec<i16> = file[WAV_HEADER_BYTES..]
            .chunks_exact(2 * channels)
            .map(|all| i16::from_le_bytes([all[0], all[1]]))
            .collect();
        resample(&samples, SampleRate::new(hz).unwrap(), SampleRate::NARROW_BAND).unwrap()
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The phone printed:\n{}", self.output());
        }
        // Already gone after `heard`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it reads when it starts.
fn configuration(profile: &Profile<'_>, line: Line<'_>) -> String {
    let Profile { extension, password, registrar, .. } = profile;
    let (registrar, encryption, trust) = match line {
        Line::Plain => (registrar.to_string(), "none", String::new()),
        // It compares the certificate with names only, not with addresses.
        Line::Secure(port, trust) => {
            (format!("localhost:{port};transport=tls"), "srtp", format!("root_ca={}\n", trust.display()))
        }
    };
    let mut text = format!(
        "[sip]\nsip_port=-1\nsip_tcp_port=-1\nsip_tls_port=-1\nguess_hostname=0\ncontact=<sip:{extension}@127.0.0.1>\n\
         use_ipv6=0\nipv6_migration_done=1\nmedia_encryption={encryption}\nverify_server_certs=1\nverify_server_cn=1\n\
         register_only_when_network_is_up=0\ndefault_proxy=0\n{trust}\
         [rtp]\naudio_rtp_port={}\n[net]\nfirewall_policy=none\n",
        free_port()
    );
    let account = write!(
        text,
        "[proxy_0]\nreg_proxy=<sip:{registrar}>\nreg_identity=sip:{extension}@127.0.0.1\nreg_expires=120\n\
         reg_sendregister=1\npublish=0\n[auth_info_0]\nusername={extension}\npasswd={password}\n"
    );
    account.unwrap();
    text
}
