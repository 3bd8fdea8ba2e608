//! The call as a ladder: SIP messages and speech, in the order they happened, as in a wire trace.

use std::fmt;
use std::time::{Duration, Instant};

use sip_stack::message::{HeaderName, Limits, Message};
use sip_stack::sdp::SessionDescription;
use tokio::sync::mpsc;

use crate::io::sip::Trace;

/// One line of the ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// Since the call was placed.
    pub at: Duration,
    /// Whether it went from the caller to the box.
    pub sent: bool,
    /// What it was.
    pub text: String,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.sent { "->" } else { "<-" };
        write!(f, "{:8.3}  caller {arrow} box  {}", self.at.as_secs_f64(), self.text)
    }
}

/// Collects rungs.
#[derive(Debug)]
pub(super) struct Ladder {
    trace: mpsc::Receiver<Trace>,
    began: Instant,
    rungs: Vec<Rung>,
}

impl Ladder {
    pub(super) fn new(trace: mpsc::Receiver<Trace>, began: Instant) -> Ladder {
        Ladder { trace, began, rungs: Vec::new() }
    }

    /// Takes over the SIP messages since the last time.
    pub(super) fn collect(&mut self) {
        while let Ok(trace) = self.trace.try_recv() {
            if let Some(text) = describe(&trace.bytes) {
                self.note(trace.at, trace.sent, text);
            }
        }
    }

    /// Something that is not a SIP message.
    pub(super) fn note(&mut self, at: Instant, sent: bool, text: String) {
        self.rungs.push(Rung { at: at.saturating_duration_since(self.began), sent, text });
    }

    pub(super) fn into_rungs(mut self) -> Vec<Rung> {
        self.collect();
        self.rungs.sort_by_key(|rung| rung.at);
        self.rungs
    }
}

/// Method or status, and what its session description says; nothing of whom it concerns.
fn describe(bytes: &[u8]) -> Option<String> {
    let message = Message::parse(bytes, &Limits::default()).ok()?;
    let (line, body) = match &message {
        Message::Request(request) => (request.method.to_string(), &request.body),
        Message::Response(response) => {
            let cseq = message.headers().cseq().map_or_else(|_| String::new(), |cseq| format!(" ({})", cseq.method));
            (format!("{} {}{cseq}", response.status.as_u16(), response.reason_text()), &response.body)
        }
    };
    let session = message.headers().contains(&HeaderName::CONTENT_TYPE).then(|| SessionDescription::parse(body).ok());
    Some(match session.flatten() {
        Some(session) => format!("{line:<22} {}", formats(&session)),
        None => line,
    })
}

fn formats(session: &SessionDescription) -> String {
    let text = session.to_string();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '))
        .map(|(_, codec)| codec.split('/').next().unwrap_or(codec))
        .collect();
    let ptime = text.lines().find_map(|line| line.strip_prefix("a=ptime:")).unwrap_or("20");
    format!("{} ptime={ptime}", names.join(","))
}
