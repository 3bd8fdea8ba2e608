//! People's voices in calls: how many of their words are heard wrong, and how long they wait.

use daemon::caller::turn_taker::Cue;
use tests::eval::{Figure, Spread, word_errors};
use tests::noise::at_level;
use tests::recordings::{Clip, clips};

use super::Run;
use super::calls::{Called, line};
use super::questions::Judged;

/// Clips of one call: the box does not listen for ever to somebody whom it cannot help.
const CLIPS_A_CALL: usize = 3;

pub(crate) fn words(run: &Run) -> Result<Judged, String> {
    let folder = tests::shared::shared_data("speech").ok_or("the shared recordings of people are not here")?;
    let english: Vec<Clip> = clips(&folder).into_iter().filter(|clip| clip.is_english).collect();
    let calls: Vec<&[Clip]> = english.chunks(CLIPS_A_CALL).step_by(run.stride(2)).collect();
    let said = |clip: &Clip| line(&clip.text, &at_level(clip.samples.clone(), -23.0), Cue::AfterAnswer);
    let called = Called::start(&[]);
    let placed = called.calls(calls.iter().map(|clips| clips.iter().map(said).collect()).collect(), 1);
    let (mut wrong, mut words, mut lines, mut turns) = (0, 0, 0, 0);
    let mut cases = Vec::new();
    let mut gaps = Vec::new();
    for (clips, call) in calls.iter().zip(&placed) {
        let reference = clips.iter().map(|clip| clip.text.as_str()).collect::<Vec<_>>().join(" ");
        let heard = call.heard().join(" ");
        let (errors, count) = word_errors(&reference, &heard);
        if errors > 0 {
            cases.push(format!("{errors} of {count}: {reference:?} heard as {heard:?}"));
        }
        (wrong, words) = (wrong + errors, words + count);
        (lines, turns) = (lines + clips.len(), turns + call.detail.turns.len());
        gaps.extend(call.report.turns.iter().skip(1).filter_map(|turn| turn.gap).map(|gap| gap.as_secs_f64() * 1e3));
    }
    let mut figures =
        vec![Figure::share("words heard wrong", wrong, words), Figure::share("turns for each line", turns, lines)];
    figures.extend(gaps.into_iter().collect::<Spread>().figures("heard gap", None, None));
    Ok((figures, cases))
}
