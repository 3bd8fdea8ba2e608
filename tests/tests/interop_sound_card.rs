//! Desk phones (baresip) that speak over the sound card of the box, and whose calls are heard at its monitor jack: ALSA's own
//! plugins stand in for the card, and hand what is played to a file. Needs the feature `local-audio`.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use audio::time::SampleRate;
use serde_json::Value;
use tests::office::{Office, TONES_HZ, talk};
use tests::peers::is_installed;
use tests::softphone::{seconds_with_tone_at, tenths_with_tone};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
const PAGING: &str = "[features]\npaging_code = '*80'";

/// A machine whose ALSA is configured by `asound`.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new(asound: impl FnOnce(&Path) -> String) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("asound.conf"), asound(folder.path())).unwrap();
        let program = format!(
            "#!/bin/sh\nexport ALSA_CONFIG_PATH='{}'\nexec '{PROGRAM}' \"$@\"\n",
            folder.path().join("asound.conf").display()
        );
        std::fs::write(folder.path().join("offhook"), program).unwrap();
        std::fs::set_permissions(folder.path().join("offhook"), Permissions::from_mode(0o755)).unwrap();
        Machine { folder }
    }

    fn with_card() -> Machine {
        let card = Path::new(env!("CARGO_MANIFEST_DIR")).join("standins/sound-card");
        Machine::new(|folder| {
            format!(
                "pcm.!default {{ type plug; slave {{ pcm card; format S16_LE; rate 48000; channels 1 }} }}\n\
                 pcm.card {{ type file; slave.pcm nothing; format raw; file '|{} {}' }}\n\
                 pcm.nothing {{ type null }}\n",
                card.display(),
                folder.join("played").display()
            )
        })
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("offhook")
    }

    /// What came out of its card, at 48 kHz.
    fn played(&self) -> Vec<i16> {
        let bytes = std::fs::read(self.folder.path().join("played")).unwrap_or_default();
        bytes.as_chunks().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
    }

    fn seconds_played(&self, tone_hz: u32) -> usize {
        seconds_with_tone_at(&self.played(), tone_hz, SampleRate::FULL_BAND).len()
    }

    /// What `offhook doctor` finds about its card.
    fn examined(&self, office: &Office) -> Value {
        self.finding(office, "sound card")
    }

    fn finding(&self, office: &Office, name: &str) -> Value {
        let output = office.offhook.run(&["doctor", "--json"]);
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        findings.into_iter().find(|finding| finding["name"] == name).unwrap()
    }
}

/// When a tone of `frequency_hz` is heard, in fifths of a second.
fn fifths_with_tone(heard: &[i16], frequency_hz: u32, rate: SampleRate) -> Vec<usize> {
    // A window of a fifth of a second is one of a second at a fifth of the rate, and of the frequency.
    seconds_with_tone_at(heard, frequency_hz / 5, SampleRate::new(rate.hz() / 5).unwrap())
}

/// What a phone says comes out of the card until it hangs up; who comes in between finds it busy; then it is free again.
#[test]
fn a_phone_speaks_over_the_sound_card() {
    if !is_installed("baresip") {
        return;
    }
    let machine = Machine::with_card();
    let office = Office::open(machine.program().to_str().unwrap(), PAGING);
    let (mut first, mut second) = (office.phone(0), office.phone(1));
    first.tell("dial", &office.uri("*80"));
    first.wait_for("CALL_ESTABLISHED");
    second.tell("dial", &office.uri("*80"));
    office.offhook.wait_for_log("paging_busy", LIMIT);
    talk(Duration::from_secs(6));
    first.tell("hangup", "");
    office.offhook.wait_for_log("paged", LIMIT);
    assert!(machine.seconds_played(TONES_HZ[0]) >= 2, "{}", office.offhook.log());
    assert_eq!(machine.seconds_played(TONES_HZ[1]), 0, "somebody else was heard too");
    second.tell("dial", &office.uri("*80"));
    second.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(6));
    second.tell("hangup", "");
    office.offhook.wait_for_log("paged", LIMIT);
    assert!(machine.seconds_played(TONES_HZ[1]) >= 2, "{}", office.offhook.log());
    // The beep is of 1 kHz. The hall does not hear it.
    assert!(!fifths_with_tone(&first.heard(), 1_000, SampleRate::NARROW_BAND).is_empty(), "no beep");
    assert!(fifths_with_tone(&machine.played(), 1_000, SampleRate::FULL_BAND).is_empty(), "the hall hears the beep");
    office.offhook.stop();
}

/// A box without a card starts, refuses whoever wants to speak over it, says why, and does what else it does.
#[test]
fn without_a_card_the_phone_is_refused() {
    if !is_installed("baresip") {
        return;
    }
    let machine = Machine::new(|_| String::new());
    let office = Office::open(machine.program().to_str().unwrap(), PAGING);
    let (mut caller, callee) = (office.phone(0), office.phone(1));
    caller.tell("dial", &office.uri("*80"));
    caller.wait_for_output("503 ");
    office.offhook.wait_for_log("no_sound_card", LIMIT);
    assert!(office.offhook.log().contains("Nobody can speak over the sound card"), "{}", office.offhook.log());
    let finding = machine.examined(&office);
    assert_eq!(finding["verdict"], "degraded", "{finding:#}");
    caller.tell("dial", &office.uri("102"));
    callee.wait_for_output("Call established");
    talk(Duration::from_secs(1));
    caller.tell("hangup", "");
    office.offhook.stop();
}

/// Whoever has headphones in the jack hears both who talk, in one call after the other.
#[test]
fn calls_are_heard_at_the_monitor_jack() {
    if !is_installed("baresip") {
        return;
    }
    let machine = Machine::with_card();
    let office = Office::open(machine.program().to_str().unwrap(), "[local_audio]\nmonitor_device = 'default'");
    let (mut caller, callee) = (office.phone(0), office.phone(1));
    for call in 1..=2 {
        let heard = || {
            [TONES_HZ[0], TONES_HZ[1]].map(|hz| tenths_with_tone(&machine.played(), hz, SampleRate::FULL_BAND).len())
        };
        let before = heard();
        caller.tell("dial", &office.uri("102"));
        caller.wait_for("CALL_ESTABLISHED");
        callee.wait_for_output("Call established");
        talk(Duration::from_secs(5));
        caller.tell("hangup", "");
        caller.wait_for("CALL_CLOSED");
        let both = || heard().iter().zip(before).all(|(heard, before)| *heard >= before + 20);
        let heard = tests::poll(LIMIT, || both().then_some(()));
        assert!(heard.is_some(), "call {call}: {}", office.offhook.log());
    }
    let finding = machine.finding(&office, "monitor jack");
    assert_eq!(finding["verdict"], "good", "{finding:#}");
    office.offhook.stop();
}

/// The self-test plays a tone where paging would be heard, at the level that it says.
#[test]
fn the_doctor_plays_a_tone() {
    let machine = Machine::with_card();
    let office = Office::open(machine.program().to_str().unwrap(), PAGING);
    let finding = machine.examined(&office);
    assert_eq!(finding["verdict"], "good", "{finding:#}");
    let sounds = || fifths_with_tone(&machine.played(), 440, SampleRate::FULL_BAND).first().copied();
    let at = tests::poll(LIMIT, sounds).unwrap() * 9_600;
    let level = audio::dsp::level::rms_dbov(&machine.played()[at..at + 9_600]);
    assert!((-34.0..-29.0).contains(&level), "{level} dBov");
    office.offhook.stop();
}
