//! `application/dialog-info+xml`: what lights the lamp field of a phone (RFC 4235). Written only; nobody tells us.

use std::fmt::Write;

use crate::message::header::Replaces;

/// For Content-Type.
pub const MEDIA_TYPE: &str = "application/dialog-info+xml";
/// The event package.
pub const PACKAGE: &str = "dialog";

/// How far a call has come (RFC 4235 §3.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialogState {
    /// Calling, and nobody has said anything.
    Trying,
    /// It rings.
    Early,
    /// In a call.
    Confirmed,
    /// Over.
    Terminated,
}

/// One call of the party that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogInfo {
    /// Stays the same for the whole call; for the reader, nobody's Call-ID.
    pub id: String,
    /// The watched party began it.
    pub is_initiator: bool,
    /// How far it has come.
    pub state: DialogState,
    /// The other party, if it may be shown.
    pub remote: Option<String>,
    /// The dialog that somebody who takes the call names in Replaces, if it may be taken; `to_tag` is the watched party's,
    /// as [`replaces`](crate::endpoint::Endpoint::replaces) has it.
    pub dialog: Option<Replaces>,
}

impl DialogState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
            Self::Terminated => "terminated",
        }
    }
}

/// All calls of `entity`, a SIP URI. `version` grows by one from body to body of a subscription.
pub fn to_body(entity: &str, version: u32, dialogs: &[DialogInfo]) -> Vec<u8> {
    let mut xml = format!(
        "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" \
         state=\"full\" entity=\"{}\">\r\n",
        escape(entity)
    );
    for DialogInfo { id, is_initiator, state, remote, dialog } in dialogs {
        let direction = if *is_initiator { "initiator" } else { "recipient" };
        // Writing to a String cannot fail.
        let _ = write!(xml, "<dialog id=\"{}\"", escape(id));
        if let Some(Replaces { call_id, to_tag, from_tag, .. }) = dialog {
            let [call_id, local, remote] = [call_id, to_tag, from_tag].map(|text| escape(text));
            let _ = write!(xml, " call-id=\"{call_id}\" local-tag=\"{local}\" remote-tag=\"{remote}\"");
        }
        let _ = write!(xml, " direction=\"{direction}\">");
        let _ = write!(xml, "<state>{}</state>", state.as_str());
        if let Some(remote) = remote {
            let remote = escape(remote);
            let _ = write!(xml, "<remote><identity>{remote}</identity><target uri=\"{remote}\"/></remote>");
        }
        xml.push_str("</dialog>\r\n");
    }
    xml.push_str("</dialog-info>\r\n");
    xml.into_bytes()
}

/// What means something in XML is spelt out; control characters, which it cannot hold, are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn one_call_ringing_and_one_going_on() {
        let ringing = DialogInfo {
            id: "7".to_owned(),
            is_initiator: false,
            state: DialogState::Early,
            remote: Some("sip:\"<a&b>\u{7}@example.com".to_owned()),
            dialog: Replaces::parse("a1@b;to-tag=theirs;from-tag=ours").ok(),
        };
        let talking = DialogInfo {
            id: "8".to_owned(),
            is_initiator: true,
            state: DialogState::Confirmed,
            remote: None,
            dialog: None,
        };
        let body = String::from_utf8(to_body("sip:200@example.com", 3, &[ringing, talking])).unwrap();
        expect![[r#"
            <?xml version="1.0"?>
            <dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="3" state="full" entity="sip:200@example.com">
            <dialog id="7" call-id="a1@b" local-tag="theirs" remote-tag="ours" direction="recipient"><state>early</state><remote><identity>sip:&quot;&lt;a&amp;b&gt;@example.com</identity><target uri="sip:&quot;&lt;a&amp;b&gt;@example.com"/></remote></dialog>
            <dialog id="8" direction="initiator"><state>confirmed</state></dialog>
            </dialog-info>
        "#]]
        .assert_eq(&body.replace('\r', ""));
    }
}
