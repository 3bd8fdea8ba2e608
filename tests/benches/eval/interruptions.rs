//! Callers who talk over the box, and callers who only listen aloud.

use std::time::Duration;

use daemon::caller::Line;
use daemon::caller::turn_taker::Cue;
use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;
use tests::eval::{Figure, Goal, Spread, align, lines_over};
use tests::noise::{at_level, cough};

use super::Run;
use super::calls::{Called, line};
use super::questions::Judged;

/// Questions with long answers.
const QUESTIONS: [&str; 10] = [
    "Where can I find your practice?",
    "What can I do after hours when it hurts?",
    "When are you open?",
    "Do you accept MetLife?",
    "How do I get to you by subway?",
    "Where can I leave my car?",
    "What do I need to bring along?",
    "I broke a tooth, can you see me today?",
    "What would I pay for a first consultation?",
    "Is there a ramp at the entrance?",
];

/// What somebody says who listens. The voice would spell "Mhm".
const BACKCHANNELS: [&str; 6] = ["Hmm.", "Yeah.", "Okay.", "Right.", "Uh-huh.", "I see."];

/// Each question cuts in on the answer to the one before.
pub(crate) fn barge_in(run: &Run) -> Result<Judged, String> {
    let called = Called::start(&[]);
    let mut delays = Vec::new();
    let (mut over, mut missed) = (0, 0);
    for round in 0..run.count(4, 2) {
        let after = Duration::from_millis(700 + 150 * round as u64);
        let cue = |number| if number == 0 { Cue::AfterAnswer } else { Cue::DuringAnswer(after) };
        let lines = QUESTIONS.iter().cycle().skip(round * 3).take(QUESTIONS.len()).enumerate();
        let lines = lines.map(|(number, text)| run.voice.line(text, cue(number))).collect();
        for call in called.calls(vec![lines], 1) {
            let (said, heard) = call.channels();
            for line in lines_over(&said, &heard).into_iter().filter(|line| line.box_spoke) {
                over += 1;
                missed += usize::from(line.silent_after.is_none());
                delays.extend(line.silent_after.map(|after| after.as_secs_f64() * 1e3));
            }
        }
    }
    let delays: Spread = delays.into_iter().collect();
    let mut figures =
        delays.figures("first word over the box to its silence", None, Some(Goal::AtMost(150.0))).to_vec();
    figures.push(Figure::share("interruptions missed", missed, over).with(Goal::AtMost(0.0)));
    Ok((figures, Vec::new()))
}

/// Answers over which somebody says "mhm" or coughs.
pub(crate) fn backchannels(run: &Run) -> Result<Judged, String> {
    let called = Called::start(&[]);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (mut stopped, mut paused, mut total) = ([0; 2], [0; 2], [0; 2]);
    let mut cases = Vec::new();
    let mut plans = Vec::new();
    for number in 0..run.count(36, 12) {
        let is_cough = number % 3 == 2;
        let cue = Cue::DuringAnswer(Duration::from_millis(600 + 100 * (number as u64 % 5)));
        let over = match is_cough {
            true => line("a cough", &at_level(cough(&mut random), -24.0), cue),
            false => run.voice.line(BACKCHANNELS[number % BACKCHANNELS.len()], cue),
        };
        plans.push((usize::from(is_cough), QUESTIONS[number % QUESTIONS.len()], over));
    }
    // Three questions a call.
    let calls: Vec<Vec<_>> = plans.chunks(3).map(<[_]>::to_vec).collect();
    let lines = |call: &Vec<(usize, &str, Line)>| -> Vec<Line> {
        call.iter().flat_map(|(_, question, over)| [run.voice.line(question, Cue::AfterAnswer), over.clone()]).collect()
    };
    let placed = called.calls(calls.iter().map(lines).collect(), 2);
    for (plan, call) in calls.iter().zip(&placed) {
        let said: Vec<&str> = plan.iter().map(|(_, question, _)| *question).collect();
        let pairs = align(&said, &call.heard());
        let (caller, heard) = call.channels();
        let over: Vec<_> = lines_over(&caller, &heard).into_iter().skip(1).step_by(2).collect();
        for (number, (kind, question, line)) in plan.iter().enumerate() {
            total[*kind] += 1;
            let turn = pairs[number].map(|index| &call.detail.turns[index]);
            let is_stopped = turn.is_none_or(|turn| turn.interrupted_at_ms.is_some());
            stopped[*kind] += usize::from(is_stopped);
            paused[*kind] += usize::from(over.get(number).is_some_and(|over| over.silent_after.is_some()));
            if is_stopped {
                cases.push(format!("{} stopped the answer to {question:?}; turns: {:?}", line.label(), call.heard()));
            }
        }
    }
    let goal = Goal::AtMost(5.0);
    let figures = vec![
        Figure::share("answers cut off by backchannels", stopped[0], total[0]).with(goal),
        Figure::share("answers cut off by coughs", stopped[1], total[1]).with(goal),
        Figure::share("answers that pause for a backchannel", paused[0], total[0]),
        Figure::share("answers that pause for a cough", paused[1], total[1]),
    ];
    Ok((figures, cases))
}
