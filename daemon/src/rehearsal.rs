//! What the box will probably say next, rendered while nobody calls: the caller who asks does not wait for the voice.
//!
//! Only how an answer begins: the rest is made while that sounds. Hours and address come from the configuration, everything
//! else is any sentence of the knowledge. Left out on purpose: counting what is asked for. An office's knowledge is small,
//! and what does not fit is made when it is asked for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::call::CallsUp;
use crate::conversation::{answer, opening, sentences};
use crate::inference::Priority;
use crate::office::Office;
use crate::speaker::{AHEAD_LIMIT_BYTES, SpeakError, Speaker};
use crate::storage::{Storage, passage_texts};

/// How often what is likely is looked at again: knowledge changes, and "we are open now" ends.
const INTERVAL: Duration = Duration::from_secs(120);
/// More are not looked at. Where they end is decided by [`AHEAD_LIMIT_BYTES`].
const OPENINGS_MAX: usize = 400;

/// Rehearses until the task is aborted.
pub(crate) fn start(speaker: Speaker, storage: Storage, office: Arc<Office>, up: CallsUp) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let passages = storage.read(|db| passage_texts(db, OPENINGS_MAX as u32)).await;
            let passages = passages.inspect_err(|error| warn!(%error, "Knowledge not rehearsed")).unwrap_or_default();
            let made = rehearse(&speaker, openings(&office, &Zoned::now(), &passages), &up).await;
            if made > 0 {
                info!(openings = made, "Answers rehearsed");
                speaker.rest();
            }
        }
    })
}

/// How likely answers begin, each once.
fn openings(office: &Office, now: &Zoned, passages: &[String]) -> Vec<String> {
    let structured = answer::likely(office, now);
    let is_said = |line: &&str| !line.trim_start().starts_with('#');
    let known = passages.iter().flat_map(|passage| {
        sentences::split(&passage.lines().filter(is_said).collect::<Vec<_>>().join("\n"))
            .into_iter()
            .map(|one| vec![one])
    });
    let mut seen = HashSet::new();
    let all = structured.into_iter().chain(known).filter_map(opening);
    all.filter(|opening| seen.insert(opening.clone())).take(OPENINGS_MAX).collect()
}

/// Renders what is not there yet, one at a time so that a caller never waits for more than one; how many that were. Ends
/// with the first that does not fit any more, so that the same ones stay and none is made again and again.
async fn rehearse(speaker: &Speaker, openings: Vec<String>, up: &CallsUp) -> usize {
    let (mut made, mut bytes) = (0, 0);
    for opening in openings {
        if let Some(samples) = speaker.cached(&opening) {
            bytes += size_of_val(&*samples);
            continue;
        }
        if bytes >= AHEAD_LIMIT_BYTES {
            break;
        }
        up.until_none().await;
        let (done, rendered) = oneshot::channel();
        speaker.render(&opening, Priority::Background, move |result| {
            let _ = done.send(result);
        });
        match rendered.await {
            Ok(Ok(samples)) => {
                made += 1;
                bytes += size_of_val(&*samples);
            }
            // Nothing of it can be said, now or later.
            Ok(Err(SpeakError::NoVoice | SpeakError::Submit(_))) | Err(_) => return made,
            Ok(Err(error)) => debug!(%error, "Opening not rehearsed"),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use models::{ScriptedTts, TextToSpeech};

    use super::*;
    use crate::inference::Worker;
    use crate::office::sample;

    #[test]
    fn what_callers_ask_for_is_among_it() {
        let now: Zoned = "2026-03-04T10:15[America/New_York]".parse().unwrap();
        let passages =
            ["# Prices\n\nA crown starts at $1,150. An implant starts at $2,400, and we give you an estimate."];
        let openings = openings(&sample::office().unwrap(), &now, &passages.map(str::to_owned));
        for expected in [
            "On Saturday we are open from ten a m to one p m.",
            "A crown starts at one thousand one hundred fifty dollars.",
            "An implant starts at two thousand four hundred dollars,",
        ] {
            assert!(openings.iter().any(|opening| opening == expected), "{expected} is not in {openings:#?}");
        }
        assert!(!openings.iter().any(|opening| opening.contains("Prices")), "headings are not said");
        let different: HashSet<_> = openings.iter().collect();
        assert_eq!(different.len(), openings.len());
    }

    #[tokio::test]
    async fn each_is_made_once_and_nothing_without_a_voice() {
        let (worked, work) = mpsc::channel();
        let worker = Worker::start("mouth", move || {
            worked.send(()).unwrap();
            Some(Box::new(ScriptedTts::new(22_050)) as Box<dyn TextToSpeech>)
        });
        let worker = worker.unwrap();
        work.recv().unwrap();
        let speaker = Speaker::new(worker.queue());
        let (openings, nobody) = (vec!["We are open.".to_owned(), "We are closed.".to_owned()], CallsUp::default());
        assert_eq!(rehearse(&speaker, openings.clone(), &nobody).await, 2);
        assert_eq!(rehearse(&speaker, openings.clone(), &nobody).await, 0);
        assert!(openings.iter().all(|opening| speaker.cached(opening).is_some()));
        let mute = Worker::start("mouth", || None).unwrap();
        assert_eq!(rehearse(&Speaker::new(mute.queue()), openings, &nobody).await, 0);
    }
}
