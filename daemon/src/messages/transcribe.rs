//! Words for a message, when nobody is waiting for the recogniser.

use std::io::BufReader;

use audio::wav::Pieces;
use tokio::sync::oneshot;

use crate::call::Ears;
use crate::conversation::machine::Heard;
use crate::inference::{Priority, Queue};
use crate::redact::Redacted;
use crate::storage::{AudioFiles, Recording};

/// Longest piece the recogniser takes at once, in samples at 8 kHz. Between two of them callers come first.
const PIECE_SAMPLES: usize = 25 * 8_000;

/// What was said, and how sure that is (0–1).
pub(super) struct Words {
    pub(super) text: Redacted<String>,
    pub(super) confidence: Option<f64>,
}

/// Piece by piece: an hour of message must neither be in memory nor keep the recogniser from callers. `None`: nothing was
/// said that could be understood.
///
/// # Errors
/// Sound that cannot be read, a recogniser that fails or is not there.
pub(super) async fn transcribe(
    files: &AudioFiles,
    ears: &Queue<Ears>,
    recording: Recording,
) -> anyhow::Result<Option<Words>> {
    let files = files.clone();
    let open = move || anyhow::Ok(Pieces::new(BufReader::new(files.read_wav(&recording)?))?);
    let mut pieces = tokio::task::spawn_blocking(open).await??;
    let mut heard: Vec<Heard> = Vec::new();
    loop {
        let (piece, rest) = tokio::task::spawn_blocking(move || {
            let piece = pieces.next_piece(PIECE_SAMPLES);
            (piece, pieces)
        })
        .await?;
        let piece = piece?;
        if piece.is_empty() {
            // What is not given back now is given back after the next message.
            let _ = ears.submit(Priority::Background, Ears::rest);
            return Ok(joined(&heard));
        }
        pieces = rest;
        let (told, words) = oneshot::channel();
        ears.submit(Priority::Background, move |ears| {
            let _ = told.send(ears.transcribe(piece, <_>::default()));
        })?;
        let words = words.await?;
        heard.push(words.map_err(|failure| anyhow::anyhow!("the recogniser: {failure:?}"))?);
    }
}

fn joined(heard: &[Heard]) -> Option<Words> {
    let text: Vec<_> = heard.iter().map(|piece| piece.text.as_str()).filter(|text| !text.is_empty()).collect();
    let confidence = heard.iter().map(|piece| f64::from(piece.confidence)).reduce(f64::min);
    (!text.is_empty()).then(|| Words { text: Redacted::new(text.join(" ")), confidence })
}
