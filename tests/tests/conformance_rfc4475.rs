//! The 49 torture messages of RFC 4475, each with the verdict of a user agent server that answers calls.
//!
//! The table is checked against `verdicts.tsv` beside the messages, so that none can be forgotten. Where the RFC leaves
//! a choice, `ours` says what we do and the test checks that it is among what the RFC allows.

#![expect(clippy::unwrap_used, reason = "reference data that cannot be read fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sip_stack::message::framing::{Frame, StreamFramer};
use sip_stack::message::{Incompatibility, Limits, Message, Method, PeerError, Request};
use tests::shared::shared_data;
use tests::torture::Ours::{self, Accept, Discard, Process, Refuse};
use tests::torture::TABLE;

#[test]
fn every_torture_message_gets_the_rfcs_verdict() {
    let Some(folder) = shared_data("rfc4475") else { return };
    let mut wrong = Vec::new();
    for (file, section, _, ours) in TABLE {
        let got = verdict(&fs::read(folder.join(file)).unwrap());
        if got != describe(ours) {
            wrong.push(format!("{file} (§{section}): expected {}, got {got}", describe(ours)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No message is missed, no section is wrong, and no verdict of ours is one the list of verdicts does not have.
#[test]
fn the_table_agrees_with_the_list_of_verdicts() {
    let Some(folder) = shared_data("rfc4475") else { return };
    let list = read_verdicts(&folder);
    assert_eq!(list.len(), TABLE.len());
    for (file, section, allowed, ours) in TABLE {
        let row = &list[file];
        assert_eq!(row["section"], section, "{file}");
        let is_response = matches!(ours, Accept(_) | Discard);
        assert_eq!(row["kind"] == "response", is_response, "{file}");
        let status = if let Refuse(status, _) = ours { status } else { 0 };
        assert!(allowed.contains(&status), "{file}: {status} is not among {allowed:?}");
        let expected = &row["expected_of_a_UAS"];
        let lenient = ["process", "200 to", "accept", "discard", "lenient", "ignore", "unless", "treat as"];
        let is_allowed = match ours {
            Refuse(status, _) => expected.contains(&status.to_string()),
            Process(_) | Accept(_) | Discard => lenient.iter().any(|word| expected.contains(word)),
        };
        assert!(is_allowed, "{file}: {ours:?} is not among: {expected}");
    }
}

/// Every message on disk has a row.
#[test]
fn no_message_is_left_out() {
    let Some(folder) = shared_data("rfc4475") else { return };
    let on_disk = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut messages: Vec<_> = on_disk.filter(|name| name.ends_with(".dat")).collect();
    let mut rows: Vec<_> = TABLE.iter().map(|(file, ..)| (*file).to_owned()).collect();
    messages.sort();
    rows.sort();
    assert_eq!(messages, rows);
}

/// What we understood survives printing: the same verdict, method, headers and body.
#[test]
fn what_parses_survives_printing() {
    let Some(folder) = shared_data("rfc4475") else { return };
    let mut compared = 0;
    for (file, _, _, ours) in TABLE {
        if !matches!(ours, Process(_) | Accept(_)) {
            continue;
        }
        let message = parse(&fs::read(folder.join(file)).unwrap()).unwrap();
        let printed = message.to_bytes();
        let again = parse(&printed).unwrap();
        assert_eq!(again.to_bytes(), printed, "{file}");
        assert_eq!(verdict(&printed), describe(ours), "{file}");
        compared += 1;
    }
    assert_eq!(compared, 19);
}

/// On a stream the framing is Content-Length's: two requests come out of dblreq.dat, one byte at a time. The second
/// announces less than it has, so what follows it is not SIP.
#[test]
fn the_double_request_is_two_on_a_stream() {
    let Some(folder) = shared_data("rfc4475") else { return };
    let mut framer = StreamFramer::new(Limits::default());
    let mut methods = Vec::new();
    for byte in fs::read(folder.join("dblreq.dat")).unwrap() {
        framer.push(&[byte]).unwrap();
        while let Ok(Some(frame)) = framer.poll() {
            if let Frame::Message(Message::Request(request)) = frame {
                methods.push(request.method);
            }
        }
    }
    assert_eq!(methods, [Method::Register, Method::Invite]);
    assert!(framer.poll().is_err());
}

fn parse(bytes: &[u8]) -> Option<Message> {
    Message::parse(bytes, &Limits::default()).ok()
}

fn describe(ours: Ours) -> String {
    match ours {
        Process(method) => format!("process {method}"),
        Refuse(status, why) => format!("refuse {status} {why}"),
        Accept(status) => format!("accept {status}"),
        Discard => "discard".to_owned(),
    }
}

fn verdict(bytes: &[u8]) -> String {
    match parse(bytes) {
        None => "discard".to_owned(),
        Some(Message::Response(response)) if response.check().is_err() => "discard".to_owned(),
        Some(Message::Response(response)) => format!("accept {}", response.status),
        Some(Message::Request(request)) => match serve(&request) {
            Ok(()) => format!("process {}", request.method),
            Err(error) => format!("refuse {} {}", error.status(), cause(&error)),
        },
    }
}

/// What a user agent server of ours asks, in the order of RFC 3261 §8.2.
fn serve(request: &Request) -> Result<(), PeerError> {
    use Method::{Ack, Bye, Cancel, Invite, Message, Options, Register};
    request.check()?;
    request.check_method(&[Ack, Bye, Cancel, Invite, Message, Options, Register])?;
    request.check_extensions(&[])?;
    request.check_body(&[("application", "sdp")])?;
    if request.method == Invite {
        request.check_accept("application", "sdp")?;
    }
    Ok(())
}

fn cause(error: &PeerError) -> String {
    match error {
        PeerError::Malformed(error) => error.header.to_owned(),
        PeerError::Misbehaved(misbehaviour) => misbehaviour.to_string(),
        PeerError::Incompatible(Incompatibility::Extensions(tags)) => {
            assert_eq!(tags, &["nothingSupportsThis", "nothingSupportsThisEither"]);
            "extensions".to_owned()
        }
        PeerError::Incompatible(incompatibility) => incompatibility.to_string(),
    }
}

type Row = BTreeMap<String, String>;

fn read_verdicts(folder: &Path) -> BTreeMap<String, Row> {
    let text = fs::read_to_string(folder.join("verdicts.tsv")).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t'));
    let names: Vec<_> = lines.next().unwrap().collect();
    let row = |cells: std::str::Split<'_, char>| -> Row {
        names.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), cell.to_owned())).collect()
    };
    lines.map(row).map(|row| (row["file"].clone(), row)).collect()
}
