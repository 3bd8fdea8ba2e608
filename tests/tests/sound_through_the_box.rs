//! Speech between two phones (baresip) over TLS and SRTP, in G.722 and in Opus: what each hears, and what the box keeps of
//! it, is what was said. A phone that encrypts only its signalling is called too.
//!
//! `OFFHOOK_SOUND_FOLDER` keeps what was said, heard and recorded, for judges such as PESQ and STOI.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::authority::Authority;
use tests::likeness::likeness;
use tests::offhook::free_port;
use tests::office::{EXTENSIONS, Office, TONES_HZ, talk};
use tests::peers::{is_installed, last_call};
use tests::shared::shared_data;
use tests::softphone::{Codec, Profile, Softphone, seconds_with_tone};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
/// What the two phones say, of different speakers.
const CLIPS: [&str; 2] = ["jfk.flac", "one-two-three.flac"];
/// Silence before it, until the call is up and both have heard that it is recorded.
const PAUSE_SECONDS: &str = "4";

#[test]
fn speech_is_what_it_was_in_g722() {
    speech_is_what_it_was(Codec::G722, [0.95, 0.9]);
}

#[test]
fn speech_is_what_it_was_in_opus() {
    // Opus keeps how it sounds, not the wave.
    speech_is_what_it_was(Codec::Opus, [0.6, 0.85]);
}

/// `least` is how like what was said must be what the other phone hears, and what the box keeps.
fn speech_is_what_it_was(codec: Codec, least: [f64; 2]) {
    if !["baresip", "sox", "opusdec"].into_iter().all(is_installed) {
        return;
    }
    let Some(clips) = shared_data("speech") else { return };
    let (authority, tls_port) = (Authority::new(), free_port());
    let trust = authority.certificate();
    let office = with_tls(&authority, tls_port, "[recording]\npeople_enabled = true\n");
    let folder = office.folder.path();
    let said = CLIPS.map(|clip| prepared(&clips.join(clip), folder));
    let start = |index: usize| {
        let profile = Profile {
            codec,
            speech: Some(&said[index]),
            secure: Some((tls_port, &trust)),
            srtp: true,
            ..office.profile(index)
        };
        Softphone::start(&folder.join(EXTENSIONS[index]), &profile)
    };
    let (mut first, second) = (start(0), start(1));
    first.tell("dial", &format!("sip:102@127.0.0.1:{tls_port};transport=tls"));
    first.wait_for("CALL_ESTABLISHED");
    // The longer of the two, its pause, and what buffers hold.
    talk(Duration::from_secs(17));
    first.tell("hangup", "");
    office.offhook.wait_for_log("Recording kept", LIMIT);
    office.offhook.wait_for_log("Call ended", LIMIT);
    let call = last_call(&office.offhook);
    for leg in call["metrics"].as_array().unwrap() {
        assert_eq!((&leg["packets_lost"], &leg["packets_late"]), (&0.into(), &0.into()), "{call:#}");
    }
    let recording = folder.join("recording.wav");
    let id = call["session"]["call_id"].as_str().unwrap();
    let output = office.offhook.run(&["calls", "audio", id, "--output", recording.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    for (side, clip) in ["caller", "other"].into_iter().zip(&said) {
        let talks = call["recordings"][0][side]["talk_ms"].as_f64().unwrap() / 1e3;
        let seconds = samples(clip).len() as f64 / 16e3 - 64.0;
        assert!(talks > seconds / 3.0 && talks < seconds + 0.5, "{side} talks {talks} s of {seconds}: {call:#}");
    }
    let opus = folder.join("recording.opus");
    let output = office.offhook.run(&["calls", "audio", id, "--output", opus.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let opus = [1, 2].map(|side| from_opus(&opus, side));
    let kept =
        [1, 2].map(|side| sox(&recording, &folder.join(format!("side{side}.wav")), &["remix", &side.to_string()]));
    let heard = [second.heard(), first.heard()];
    let log = office.offhook.stop();
    // Of the caller; the other phone takes nothing else.
    assert!(log.contains("srtp=true"), "{log}");
    let rate = codec.sample_rate();
    for index in 0..2 {
        let name = format!("{codec:?}-{index}");
        let narrow = sox(&said[index], &folder.join(format!("{name}-narrow.wav")), &["rate", "8000"]);
        let (said, narrow_said) = (samples(&said[index]), samples(&narrow));
        keep(&name, &said, &heard[index], &narrow_said, &samples(&kept[index]), rate);
        let hears = likeness(&said, &heard[index], rate.hz() as usize);
        let keeps = likeness(&narrow_said, &samples(&kept[index]), 8_000);
        let exported = likeness(&narrow_said, &opus[index], 8_000);
        assert!(exported >= 0.8, "{}: in the Opus file {exported:.3}", CLIPS[index]);
        assert!(hears >= least[0] && keeps >= least[1], "{}: heard {hears:.3}, kept {keeps:.3}", CLIPS[index]);
    }
}

/// A phone over TLS that encrypts no sound is asked for it, says no, and is called all the same.
#[test]
fn a_phone_over_tls_without_srtp_is_called_too() {
    if !is_installed("baresip") {
        return;
    }
    let (authority, tls_port) = (Authority::new(), free_port());
    let trust = authority.certificate();
    let office = with_tls(&authority, tls_port, "");
    let folder = office.folder.path();
    let profile = Profile { secure: Some((tls_port, &trust)), ..office.profile(1) };
    let (mut caller, callee) = (office.phone(0), Softphone::start(&folder.join(EXTENSIONS[1]), &profile));
    caller.tell("dial", &office.uri("102"));
    caller.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(3));
    caller.tell("hangup", "");
    office.offhook.wait_for_log("Call ended", LIMIT);
    for (phone, tone_hz) in [(callee, TONES_HZ[0]), (caller, TONES_HZ[1])] {
        assert!(!seconds_with_tone(&phone.heard(), tone_hz).is_empty(), "{tone_hz} Hz is not heard");
    }
    let log = office.offhook.stop();
    assert!(log.contains("Called again without SRTP"), "{log}");
}

fn with_tls(authority: &Authority, port: u16, more: &str) -> Office {
    let own = authority.certify("127.0.0.1");
    let tls = format!(
        "{more}[sip.tls]\nenabled = true\nport = {port}\ncertificate = {:?}\nprivate_key = {:?}\n",
        own.certificate, own.private_key
    );
    Office::open(PROGRAM, &tls)
}

/// The clip as the phone says it: after a pause, and silence until somebody hangs up.
fn prepared(clip: &Path, folder: &Path) -> PathBuf {
    let file = folder.join(clip.with_extension("wav").file_name().unwrap());
    sox(clip, &file, &["rate", "16000", "gain", "-n", "-6", "pad", PAUSE_SECONDS, "60"])
}

fn sox(input: &Path, output: &Path, effects: &[&str]) -> PathBuf {
    let made = Command::new("sox").arg(input).args(["-b", "16", "-c", "1"]).arg(output).args(effects).status().unwrap();
    assert!(made.success(), "{input:?}");
    output.to_owned()
}

/// One side of an Opus file, as the reference player plays it.
fn from_opus(file: &Path, side: u8) -> Vec<i16> {
    let (both, one) = (file.with_extension("both.wav"), file.with_extension(format!("{side}.wav")));
    let played = Command::new("opusdec").args(["--rate", "8000"]).arg(file).arg(&both).output().unwrap();
    assert!(played.status.success(), "{played:?}");
    samples(&sox(&both, &one, &["remix", &side.to_string()]))
}

fn samples(file: &Path) -> Vec<i16> {
    audio::wav::read(file).unwrap().samples
}

fn keep(name: &str, said: &[i16], heard: &[i16], narrow: &[i16], kept: &[i16], rate: audio::time::SampleRate) {
    let Some(folder) = std::env::var_os("OFFHOOK_SOUND_FOLDER").map(PathBuf::from) else { return };
    let eight = audio::time::SampleRate::NARROW_BAND;
    for (what, samples, rate) in
        [("said", said, rate), ("heard", heard, rate), ("narrow", narrow, eight), ("kept", kept, eight)]
    {
        audio::wav::write(&folder.join(format!("{name}-{what}.wav")), samples, rate).unwrap();
    }
}
