//! Lines on which nobody speaks: what the box makes of silence, noise, music, and its own voice coming back.

use std::time::Duration;

use daemon::caller::turn_taker::Cue;
use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;
use tests::echoing_line::{Echo, EchoingLine};
use tests::eval::{Figure, Goal, align};
use tests::noise::{at_level, babble, music, pink, white};

use super::Run;
use super::calls::{Call, Called, line, text};
use super::questions::Judged;

/// Longer than a box waits for somebody who does not speak.
const SOUND_SAMPLES: usize = 60 * 8_000;
/// How much of the box's voice comes back: −15 dB, a bad hybrid.
const ECHO: Echo = Echo { delay: Duration::from_millis(60), gain: 0.178 };
/// Asked on a line with an echo: their answers are long.
const QUESTIONS: [&str; 3] =
    ["Where can I find your practice?", "What can I do after hours when it hurts?", "Do you accept MetLife?"];
/// The box talks with no more at a time.
const AT_ONCE: usize = 4;
const KINDS: [&str; 5] = ["silence", "white noise", "pink noise", "babble", "music"];

/// Calls until each kind has had its share of the minutes.
pub(crate) fn nobody(run: &Run) -> Result<Judged, String> {
    let called = Called::start(&[]);
    let voices: Vec<Vec<f32>> = QUESTIONS.iter().map(|text| run.voice.sound(text)).collect();
    let (mut minutes, mut turns, mut words) = ([0.0; KINDS.len()], [0; KINDS.len()], [0; KINDS.len()]);
    let mut cases = Vec::new();
    let mut round = 0_u32;
    while minutes.iter().sum::<f64>() < run.minutes {
        let calls =
            (0..KINDS.len()).map(|kind| vec![line(KINDS[kind], &sound(kind, round.into(), &voices), Cue::AfterAnswer)]);
        for (kind, call) in called.calls(calls.collect(), AT_ONCE).iter().enumerate() {
            minutes[kind] += call.report.duration.as_secs_f64() / 60.0;
            turns[kind] += call.detail.turns.len();
            cases.extend(call.detail.turns.iter().map(|turn| format!("{}: heard {:?}", KINDS[kind], text(turn))));
            words[kind] += messages(call);
        }
        round += 1;
    }
    let mut figures = Vec::new();
    for (kind, name) in KINDS.iter().enumerate() {
        let name = format!("turns of nobody, {name}");
        figures.push(Figure::new(name, turns[kind] as f64, "", round as usize).with(Goal::AtMost(0.0)));
    }
    figures.push(Figure::new("messages of nobody with words", words.iter().sum::<usize>() as f64, "", words.len()));
    figures.push(Figure::new("minutes of calls", minutes.iter().sum(), "", round as usize * KINDS.len()));
    Ok((figures, cases))
}

fn messages(call: &Call) -> usize {
    let transcripts = call.detail.voicemails.iter().filter_map(|message| message.transcript.as_ref());
    transcripts.filter(|transcript| !transcript.reveal().trim().is_empty()).count()
}

fn sound(kind: usize, seed: u64, voices: &[Vec<f32>]) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    match kind {
        0 => vec![0.0; SOUND_SAMPLES],
        1 => at_level(white(SOUND_SAMPLES, &mut random), -38.0),
        2 => at_level(pink(&white(SOUND_SAMPLES, &mut random)), -35.0),
        // As from the next room.
        3 => at_level(babble(SOUND_SAMPLES, voices), -45.0),
        _ => at_level(music(SOUND_SAMPLES, &mut random), -28.0),
    }
}

/// The box's own voice comes back all through its answers.
pub(crate) fn echo(run: &Run) -> Result<Judged, String> {
    let first = tests::offhook::free_port() & !1;
    let ports = [format!("media.first_port={first}"), format!("media.last_port={}", first + 1)];
    let called = Called::start(&["sip.public_address=127.0.0.2", &ports[0], &ports[1]]);
    let line = EchoingLine::start(called.offhook().address(), first, ECHO);
    let (mut minutes, mut extra, mut cut) = (0.0, 0, 0);
    let mut cases = Vec::new();
    let mut number = 0;
    while minutes < run.minutes / 5.0 {
        let lines = QUESTIONS.iter().map(|text| run.voice.line(text, Cue::AfterAnswer)).collect();
        let call = called.call_by(&format!("sip:office@{}", line.address()), lines, number);
        minutes += call.report.duration.as_secs_f64() / 60.0;
        number += 1;
        let pairs = align(&QUESTIONS, &call.heard());
        for (index, turn) in call.detail.turns.iter().enumerate() {
            cut += usize::from(turn.interrupted_at_ms.is_some());
            if !pairs.contains(&Some(index)) {
                extra += 1;
                cases.push(format!("echo: heard {:?}", text(turn)));
            }
        }
    }
    let figures = vec![
        Figure::new("turns of nobody, echo", f64::from(extra), "", number * QUESTIONS.len()).with(Goal::AtMost(0.0)),
        Figure::new("answers cut off by their echo", cut as f64, "", number * QUESTIONS.len()).with(Goal::AtMost(0.0)),
        Figure::new("minutes of calls", minutes, "", number),
    ];
    Ok((figures, cases))
}
