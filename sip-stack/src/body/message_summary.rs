//! `application/simple-message-summary`: the lamp that says that there is voicemail (RFC 3842).

use std::fmt::Write;

/// For Content-Type.
pub const MEDIA_TYPE: &str = "application/simple-message-summary";
/// The event package.
pub const PACKAGE: &str = "message-summary";

/// How many voice messages there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageSummary {
    /// Whom to call to hear them.
    pub account: Option<String>,
    /// Not yet heard.
    pub new: u32,
    /// Heard.
    pub old: u32,
    /// Of the new ones.
    pub new_urgent: u32,
    /// Of the old ones.
    pub old_urgent: u32,
}

impl MessageSummary {
    /// The body of a NOTIFY.
    pub fn to_body(&self) -> Vec<u8> {
        let Self { account, new, old, new_urgent, old_urgent } = self;
        let mut text = format!("Messages-Waiting: {}\r\n", if *new > 0 { "yes" } else { "no" });
        if let Some(account) = account {
            // Writing to a String cannot fail. A line end would begin another header.
            let _ = write!(text, "Message-Account: {}\r\n", account.replace(['\r', '\n'], " "));
        }
        let _ = write!(text, "Voice-Message: {new}/{old} ({new_urgent}/{old_urgent})\r\n");
        text.into_bytes()
    }

    /// Reads the body of a NOTIFY; `None` if it does not say whether messages wait.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let value = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find_map(|(name, value)| name.trim().eq_ignore_ascii_case(wanted).then_some(value.trim()))
        };
        let waits = value("Messages-Waiting")?.eq_ignore_ascii_case("yes");
        let counts = value("Voice-Message").and_then(parse_counts);
        let (new, old, new_urgent, old_urgent) = counts.unwrap_or((u32::from(waits), 0, 0, 0));
        Some(Self { account: value("Message-Account").map(str::to_owned), new, old, new_urgent, old_urgent })
    }
}

/// `new/old [(urgent new/urgent old)]`
fn parse_counts(text: &str) -> Option<(u32, u32, u32, u32)> {
    let pair = |text: &str| {
        let (new, old) = text.split_once('/')?;
        Some((new.trim().parse().ok()?, old.trim().parse().ok()?))
    };
    let (all, urgent) = text.split_once('(').unwrap_or((text, ""));
    let (new, old) = pair(all)?;
    let (new_urgent, old_urgent) = pair(urgent.trim_end_matches(')')).unwrap_or((0, 0));
    Some((new, old, new_urgent, old_urgent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3842 §5.2's example, and what other senders make of it.
    #[test]
    fn counts_are_read_in_all_their_forms() {
        let text =
            "Messages-Waiting: yes\r\nMessage-Account: sip:alice@vmail.example.com\r\nVoice-Message: 2/8 (0/2)\r\n";
        let summary = MessageSummary::parse(text.as_bytes()).unwrap();
        assert_eq!((summary.new, summary.old, summary.new_urgent, summary.old_urgent), (2, 8, 0, 2));
        assert_eq!(summary.to_body(), text.as_bytes());
        let new = |text: &str| MessageSummary::parse(text.as_bytes()).map(|summary| summary.new);
        assert_eq!(new("messages-waiting:Yes"), Some(1));
        assert_eq!(new("Messages-Waiting: no\nVoice-Message: 0/3"), Some(0));
        assert_eq!(new("Messages-Waiting: yes\nVoice-Message: many"), Some(1));
        assert_eq!(new("Voice-Message: 1/0"), None);
    }

    #[test]
    fn an_account_cannot_grow_into_another_line() {
        let summary = MessageSummary { account: Some("sip:a\r\nVoice-Message: 9/9".to_owned()), ..Default::default() };
        assert_eq!(MessageSummary::parse(&summary.to_body()).unwrap().new, 0);
    }
}
