//! Recordings over HTTP, read while they are sent: an hour of sound takes no more memory than a minute.

use std::io::Read as _;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use crate::storage::{AudioFiles, Recording};

/// Sound is read in such pieces, of which so many may wait for a slow reader.
const PIECE_BYTES: usize = 64 << 10;
const PIECES: usize = 4;

/// The recording as WAV. One that cannot be read breaks off.
pub(super) fn wav(files: AudioFiles, recording: Recording) -> Response {
    let (pieces, body) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut sound = match files.read_wav(&recording) {
            Ok(sound) => sound,
            Err(error) => {
                warn!(%error, "A recording can not be read");
                // Whoever waits for it may have gone.
                let _ = pieces.blocking_send(Err(std::io::Error::other("it can not be read")));
                return;
            }
        };
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = sound.read(&mut piece).map(|count| {
                piece.truncate(count);
                Bytes::from(piece)
            });
            if matches!(&read, Ok(piece) if piece.is_empty()) {
                return;
            }
            let is_last = read.is_err();
            // A reader that has heard enough goes.
            if pieces.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    });
    ([(CONTENT_TYPE, "audio/wav")], Body::from_stream(ReceiverStream::new(body))).into_response()
}
