//! `[features]`, `[local_audio]` and `[[queues]]`: what phones dial to get something of the box, and callers who wait for
//! whoever is free.

use serde::{Deserialize, Serialize};

use super::{ConfigMistake, RingStrategy, RingTimeout};
use crate::dial_plan::Target;

/// `[features]`: what phones dial for what is no call. Each code is `*` or `#` and digits; an empty one turns it off.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Features {
    /// Takes a call that rings elsewhere: any, or with an extension behind it that one's.
    pub pick_up_code: String,
    /// With a digit from 1 to 9 behind it: a place to park a call. Transferred to, it parks; dialled, it takes back.
    pub park_code: String,
    /// How long a call stays parked before the phone that parked it rings. 15 to 3 600.
    pub park_timeout_seconds: u32,
    /// The own phones ring no more.
    pub do_not_disturb_on_code: String,
    /// They ring again.
    pub do_not_disturb_off_code: String,
    /// With a number behind it: calls go there instead.
    pub forward_on_code: String,
    /// They come to the own phones again.
    pub forward_off_code: String,
    /// Listens to a call, for extensions that may supervise: with an extension behind it the one that is in.
    pub supervise_code: String,
    /// Takes the latest caller with whom the attendant talks.
    pub take_over_code: String,
    /// Whether people hear a short tone when a supervisor comes to listen to them. Most places' law wants them to know.
    pub supervision_tone_enabled: bool,
    /// Plays the office's messages, after a PIN.
    pub mailbox_code: String,
    /// What the phone says from then on comes out of the box's own sound card (`[local_audio]`); off by default.
    pub paging_code: String,
}

impl Default for Features {
    fn default() -> Features {
        Features {
            pick_up_code: "*8".into(),
            park_code: "*5".into(),
            park_timeout_seconds: 120,
            do_not_disturb_on_code: "*78".into(),
            do_not_disturb_off_code: "*79".into(),
            forward_on_code: "*72".into(),
            forward_off_code: "*73".into(),
            supervise_code: "*97".into(),
            take_over_code: "*96".into(),
            supervision_tone_enabled: true,
            mailbox_code: "*98".into(),
            // Most boxes have no loudspeaker.
            paging_code: String::new(),
        }
    }
}

/// `[local_audio]`: the sound card of the box itself. Only used by programs that were built with it (cargo feature
/// `local-audio`), and never needed to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalAudio {
    /// Its output for paging, as `offhook doctor` and `aplay -L` call it; else the system's default one.
    pub device: Option<String>,
    /// The output where calls are heard, live, one at a time: a jack for headphones. None by default, and nobody hears
    /// them. Those who talk are not told: whether they must be is for the law of the place.
    pub monitor_device: Option<String>,
}

/// `[[queues]]`: callers wait with music until one of the members is free, and are told their place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// For targets (`queue:sales`): 1 to 32 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// What phones dial to reach it, if they may: 2 to 6 digits.
    pub number: Option<String>,
    /// The extensions, in order.
    pub members: Vec<String>,
    /// In which order those who are free ring.
    pub strategy: RingStrategy,
    /// How long each of them rings. 5 to 180.
    pub ring_timeout_seconds: RingTimeout,
    /// How many may wait. 1 to 100.
    pub length_limit: u32,
    /// How long somebody waits at most. 30 to 7 200.
    pub wait_limit_seconds: u32,
    /// How often they hear their place, beside each change of it. 15 to 600.
    pub announce_seconds: u32,
    /// Where a call goes that waited too long, that found too many waiting, or whose caller presses a key.
    pub unanswered: Target,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            name: String::new(),
            number: None,
            members: Vec::new(),
            strategy: RingStrategy::All,
            ring_timeout_seconds: RingTimeout::default(),
            length_limit: 10,
            wait_limit_seconds: 600,
            announce_seconds: 45,
            unanswered: Target::Attendant,
        }
    }
}

/// Every mistake in the codes, each with its key.
pub(super) fn check(features: &Features, mistakes: &mut Vec<ConfigMistake>) {
    let mut mistake = |key: &str, value: String, expected: &str| {
        mistakes.push(ConfigMistake::new(&format!("features.{key}"), value, expected.to_owned()));
    };
    let codes = [
        ("pick_up_code", &features.pick_up_code),
        ("park_code", &features.park_code),
        ("do_not_disturb_on_code", &features.do_not_disturb_on_code),
        ("do_not_disturb_off_code", &features.do_not_disturb_off_code),
        ("forward_on_code", &features.forward_on_code),
        ("forward_off_code", &features.forward_off_code),
        ("supervise_code", &features.supervise_code),
        ("take_over_code", &features.take_over_code),
        ("mailbox_code", &features.mailbox_code),
        ("paging_code", &features.paging_code),
    ];
    for (index, (key, code)) in codes.iter().enumerate() {
        let is_code = code.strip_prefix(['*', '#']).is_some_and(|digits| {
            (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'*')
        });
        if !code.is_empty() && !is_code {
            mistake(key, format!("{code:?}"), "* or # and 1 to 4 digits, or nothing");
        } else if !code.is_empty() && codes[..index].iter().any(|(_, other)| other == code) {
            mistake(key, format!("{code:?}"), "a code that nothing else has");
        }
    }
    if !(15..=3_600).contains(&features.park_timeout_seconds) {
        mistake("park_timeout_seconds", features.park_timeout_seconds.to_string(), "a whole number from 15 to 3600");
    }
}
