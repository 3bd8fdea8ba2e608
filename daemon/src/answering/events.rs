//! The stream of an OpenAI-compatible endpoint: server-sent events, each with a piece of the answer. Pure.

use serde::Deserialize;

/// Most bytes of one line, and of the whole answer: a sentence or two is wanted.
const LINE_BYTES_MAX: usize = 64 << 10;
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// What the stream tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// More of the answer.
    Text(String),
    /// It is complete.
    End,
}

/// A stream that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadStream {
    /// More than anybody would say.
    #[error("it sends too much")]
    TooMuch,
    /// An event that is no JSON, or says that something went wrong.
    #[error("it sends something else than an answer")]
    NoAnswer,
}

#[derive(Deserialize)]
struct Event {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
}

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    bytes: usize,
}

impl Events {
    /// What `bytes` complete.
    ///
    /// # Errors
    /// [`BadStream`]: the rest is not worth reading.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, BadStream> {
        self.bytes += bytes.len();
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(BadStream::TooMuch);
        }
        let mut pieces = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                pieces.extend(read(&line)?);
            } else if self.line.len() < LINE_BYTES_MAX {
                self.line.push(*byte);
            } else {
                return Err(BadStream::TooMuch);
            }
        }
        Ok(pieces)
    }
}

/// Comments, names of events and empty lines say nothing.
fn read(line: &[u8]) -> Result<Vec<Piece>, BadStream> {
    let Some(data) = line.strip_prefix(b"data:") else { return Ok(Vec::new()) };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return Ok(vec![Piece::End]);
    }
    let event: Event = serde_json::from_slice(data).map_err(|_| BadStream::NoAnswer)?;
    // The last event may have figures only, and no choice.
    let Some(choice) = event.choices.into_iter().next() else { return Ok(Vec::new()) };
    let text = choice.delta.content.filter(|text| !text.is_empty()).map(Piece::Text);
    // Cut off for its length is no end of a sentence: nothing but the end of the stream follows.
    let end = (choice.finish_reason.as_deref() == Some("stop")).then_some(Piece::End);
    Ok(text.into_iter().chain(end).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    #[test]
    fn events_come_in_any_pieces() {
        let stream = ": waking up\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\r\n\r\n\
            event: x\ndata:{\"choices\":[{\"delta\":{\"content\":\"A crön\"},\"finish_reason\":null}]}\n\n\
            data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n";
        for size in [1, 7, 1_000] {
            let mut events = Events::default();
            let pieces: Vec<Piece> =
                stream.as_bytes().chunks(size).flat_map(|bytes| events.push(bytes).unwrap()).collect();
            assert_eq!(pieces, [text("A crön"), Piece::End, Piece::End], "in pieces of {size}");
        }
    }

    #[test]
    fn an_answer_cut_for_its_length_has_no_end() {
        let event = b"data: {\"choices\":[{\"delta\":{\"content\":\"A\"},\"finish_reason\":\"length\"}]}\n";
        assert_eq!(Events::default().push(event), Ok(vec![text("A")]));
    }

    #[test]
    fn anything_else_is_a_bad_stream() {
        for line in ["data: <html>\n", "data: {\"error\":{\"message\":\"no\"}}\n", "data: \n"] {
            assert_eq!(Events::default().push(line.as_bytes()), Err(BadStream::NoAnswer), "{line}");
        }
        assert_eq!(Events::default().push(&vec![b'x'; LINE_BYTES_MAX + 1]), Err(BadStream::TooMuch));
        let mut events = Events::default();
        let flood = vec![b'\n'; 1 << 10];
        assert!((0..1_000).any(|_| events.push(&flood) == Err(BadStream::TooMuch)));
    }
}
