//! The rows of a call. From the conversation's view of a turn to its row instants become milliseconds, decisions become
//! names.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::warn;

use crate::conversation::machine::TurnRecord;
use crate::redact::Redacted;
use crate::storage::{
    CallId, CallMetrics, ConversationTurn, EndedSession, Speaker, Storage, TurnTimings, UnixMs, add_metrics,
    end_session, name_trunk,
};

/// Work done for a turn that the conversation cannot see.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// The final decode.
    pub decode: Option<Duration>,
    /// Embedding, search and choosing the answer.
    pub understand: Option<Duration>,
    /// Synthesis of the answer's first sentence; zero from the phrase cache.
    pub first_sentence: Option<Duration>,
}

/// The last rows of a call: each leg's figures, and how it ended.
pub(super) async fn write_end(storage: &Storage, call_id: CallId, metrics: Vec<CallMetrics>, ended: EndedSession) {
    let written = async {
        let job = storage.write_soon(move |sql_tx| {
            for leg in &metrics {
                add_metrics(sql_tx, leg)?;
            }
            end_session(sql_tx, call_id, ended)
        });
        job.await?.await
    };
    if let Err(error) = written.await {
        warn!(%error, "End of the call not written; the next start closes its row");
    }
}

/// The row of a phone's call to outside names the trunk; nobody waits for it.
pub(super) fn note_trunk(storage: &Storage, call_id: CallId, trunk: &str) {
    let (trunk, at) = (trunk.to_owned(), UnixMs::now());
    storage.try_post("trunk", move |sql_tx| name_trunk(sql_tx, call_id, &trunk, at));
}

/// The row of `turn`. `now` and `wall` are the same moment on both clocks.
pub(super) fn turn_row(call_id: CallId, turn: TurnRecord, work: Work, now: Instant, wall: UnixMs) -> ConversationTurn {
    let since_speech =
        |at: Option<Instant>| at.map(|at| milliseconds(at.saturating_duration_since(turn.speech_ended_at)));
    let wall_at = |at: Instant| UnixMs(wall.0 - i64::from(milliseconds(now.saturating_duration_since(at))));
    let heard_gap_ms = turn.heard_gap().map(milliseconds);
    let interrupted_at = turn.interrupted.then_some(turn.finished_at).flatten().zip(turn.first_sound_at);
    let tool = turn.tool_asked_at.zip(turn.tool_answered_at);
    let mut row =
        ConversationTurn::new(call_id, turn.number, Speaker::Caller, turn.text, wall_at(turn.speech_ended_at));
    row.confidence = turn.confidence.map(|confidence| f64::from(confidence).clamp(0.0, 1.0));
    row.intent = Some(turn.intent.name().to_owned());
    row.intent_score = Some(f64::from(turn.score));
    row.slots = Redacted::new(slot_map(turn.slots));
    row.sources = turn.sources;
    row.answer = Some(Redacted::new(turn.answer));
    row.heard = turn.interrupted.then(|| Redacted::new(turn.heard));
    row.interrupted_at_ms = interrupted_at.map(|(end, begin)| milliseconds(end.saturating_duration_since(begin)));
    row.timings = TurnTimings {
        speech_ended_at: Some(wall_at(turn.speech_ended_at)),
        endpoint_decided_ms: since_speech(Some(turn.endpoint_at)),
        stt_ms: work.decode.map(milliseconds),
        understand_ms: work.understand.map(milliseconds),
        tool_ms: tool.map(|(asked, answered)| milliseconds(answered.saturating_duration_since(asked))),
        first_sentence_tts_ms: work.first_sentence.map(milliseconds),
        first_audio_ms: since_speech(turn.first_sound_at),
        heard_gap_ms,
    };
    row
}

fn slot_map(slots: Vec<(&'static str, String)>) -> Map<String, Value> {
    slots.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::intent::Intent;

    #[test]
    fn times_count_from_the_last_word() {
        let ended = Instant::now();
        let after = |milliseconds| ended + Duration::from_millis(milliseconds);
        let turn = TurnRecord {
            number: 1,
            frames: 10..60,
            text: "are you open on sunday".into(),
            confidence: Some(0.9),
            intent: Intent::OpeningHours,
            score: 1.0,
            slots: vec![("day", "sunday".into())],
            sources: vec!["office.hours".into()],
            answer: "We are closed on Sunday.".into(),
            heard: "We are".into(),
            interrupted: true,
            filler: false,
            failure: None,
            speech_ended_at: ended,
            endpoint_at: after(480),
            transcribed_at: Some(after(350)),
            replied_at: Some(after(370)),
            tool_asked_at: Some(after(370)),
            tool_answered_at: Some(after(450)),
            spoken_at: Some(after(480)),
            first_sound_at: Some(after(600)),
            finished_at: Some(after(1_100)),
        };
        let row = turn_row(CallId::new(UnixMs(0)), turn, Work::default(), after(2_000), UnixMs(1_000_000));
        assert_eq!(row.timings.speech_ended_at, Some(UnixMs(998_000)));
        assert_eq!(row.timings.endpoint_decided_ms, Some(480));
        assert_eq!(row.timings.heard_gap_ms, Some(600));
        assert_eq!(row.timings.tool_ms, Some(80));
        assert_eq!(row.interrupted_at_ms, Some(500));
        assert_eq!(row.slots.reveal()["day"], "sunday");
        assert_eq!(row.heard.unwrap().into_revealed(), "We are");
    }
}
