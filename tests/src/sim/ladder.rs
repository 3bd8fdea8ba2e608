//! A run as a trace that people read: who sent what to whom and when, what got lost, what was a repeat.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use sip_stack::message::{Headers, Message};

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the trunk to the gateway under test.
    ToGateway,
    /// From the gateway under test to the trunk.
    ToTrunk,
}

/// Writes one line for each message when it is sent, and for each event worth telling.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    text: String,
    seen: BTreeMap<(Way, Vec<u8>), usize>,
    /// Who sent the first session description of a request, its responses and its ACK, by Call-ID and CSeq: the offer.
    offers: BTreeMap<(String, u32), Way>,
}

impl Ladder {
    /// All lines so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Notes that a message was sent.
    pub(super) fn sent(&mut self, at: Duration, way: Way, bytes: &[u8], message: Option<&Message>, is_lost: bool) {
        let arrow = match (way, is_lost) {
            (Way::ToGateway, false) => "->",
            (Way::ToGateway, true) => "-x",
            (Way::ToTrunk, false) => "<-",
            (Way::ToTrunk, true) => "x-",
        };
        let repeats = self.seen.entry((way, bytes.to_vec())).and_modify(|count| *count += 1).or_insert(0);
        let mut notes = Vec::new();
        if *repeats > 0 {
            notes.push(format!("(repeat {repeats})"));
        } else {
            notes.extend(message.and_then(|message| self.session(way, message)));
            notes.extend(message.and_then(|message| detail(message.headers())));
        }
        if is_lost {
            notes.push("(lost)".to_owned());
        }
        let name = message.map_or_else(|| "(not SIP)".to_owned(), name);
        self.line(at, &format!("trunk {arrow} gw  {name:<24}{}", notes.join(" ")));
    }

    /// Notes something that is no message.
    pub(super) fn note(&mut self, at: Duration, text: &str) {
        self.line(at, text);
    }

    fn line(&mut self, at: Duration, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:.3}  {}", at.as_secs_f64(), text.trim_end());
    }

    fn session(&mut self, way: Way, message: &Message) -> Option<String> {
        let body = match message {
            Message::Request(request) => &request.body,
            Message::Response(response) => &response.body,
        };
        let headers = message.headers();
        let key = (headers.call_id().ok()?, headers.cseq().ok()?.number);
        let summary = summary(body)?;
        let offerer = *self.offers.entry(key).or_insert(way);
        Some(format!("{} {summary}", if offerer == way { "offer" } else { "answer" }))
    }
}

fn name(message: &Message) -> String {
    match message {
        Message::Request(request) => request.method.to_string(),
        Message::Response(response) => format!("{} {}", response.status, response.reason_text()),
    }
}

fn detail(headers: &Headers) -> Option<String> {
    let retry_after = headers.retry_after().ok()??;
    Some(format!("retry-after={}", retry_after.seconds))
}

/// Codecs, ptime and direction of a session description of one audio stream.
fn summary(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let formats = text.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').skip(2);
    let codecs: Vec<&str> = formats.map(|format| if format == "8" { "PCMA" } else { "PCMU" }).collect();
    let ptime = text.lines().find_map(|line| line.strip_prefix("a=ptime:"))?;
    let direction = ["sendonly", "recvonly", "inactive"].into_iter().find(|name| text.contains(&format!("a={name}")));
    let direction = direction.map(|name| format!(" {name}")).unwrap_or_default();
    Some(format!("{} ptime={ptime}{direction}", codecs.join(",")))
}
