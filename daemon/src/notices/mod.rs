//! Notices to people outside the phone: that there is a message, that a promise is due.
//!
//! ```text
//! storage: notifications ──► spool (decides) ──► content (facts) ──► template (words) ──► email │ webhook │ sms
//!          ▲                                                                                       │
//!          └──────────────────────────── taken, again at, given up: with its reason ◄──────────────┘
//! ```
//! A notice is a row before anything is sent, so nothing is lost with the process; it is marked as under way before an
//! attempt, and as taken after it. A process that dies in between sends it again under the same key: e-mail has the same
//! Message-ID, a webhook the same idempotency key, a text message is looked up first.
//!
//! Left out on purpose: who is told of what (`messages`, `follow_ups`), and pages behind the links (`api::links`).

mod content;
pub mod email;
mod http;
pub mod link;
pub mod replies;
mod runner;
pub mod sms;
pub mod spool;
pub mod template;
pub mod told;
pub mod webhook;

pub use content::{Composer, Content, Facts, office_time};
pub use runner::{Notifier, Ways};

use crate::config::Config;
use crate::redact::Redacted;
use crate::storage::{Channel, NewNotice, NoticeFailure, NoticeKind};

/// The other side has taken a notice.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Message-ID, or what the service calls it.
    pub reference: String,
    /// What that cost.
    pub cost_cents: f64,
}

/// The other side has not taken it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}: {error}")]
pub struct Undelivered {
    /// Whose fault.
    pub failure: NoticeFailure,
    /// In the other side's words.
    pub error: String,
}

impl Undelivered {
    pub(crate) fn new(failure: NoticeFailure, error: impl Into<String>) -> Undelivered {
        Undelivered { failure, error: error.into() }
    }
}

/// Who is told, by which ways.
#[derive(Debug, Clone, Default)]
pub struct Recipients {
    to: Vec<(Channel, String)>,
    /// Whether there is a mail server.
    has_email: bool,
}

impl Recipients {
    /// As configured.
    pub fn new(config: &Config) -> Recipients {
        let of = |enabled: bool, channel, to: &[String]| -> Vec<(Channel, String)> {
            to.iter().filter(|_| enabled).map(|to| (channel, to.clone())).collect()
        };
        let email = of(config.email.enabled, Channel::Email, &config.email.to);
        let webhook = of(config.webhook.enabled, Channel::Webhook, std::slice::from_ref(&config.webhook.url));
        let sms = of(config.sms.enabled, Channel::Sms, &config.sms.to);
        Recipients { to: [email, webhook, sms].concat(), has_email: config.email.enabled }
    }

    /// Those who are told of what one person has to do: their own address instead of the office's, or beside it.
    #[must_use]
    pub fn for_owner(&self, email: &str, is_alone: bool) -> Recipients {
        let is_kept = |(channel, to): &&(Channel, String)| *channel != Channel::Email || (!is_alone && to != email);
        let mut to: Vec<_> = self.to.iter().filter(is_kept).cloned().collect();
        if self.has_email {
            to.push((Channel::Email, email.to_owned()));
        }
        Recipients { to, has_email: self.has_email }
    }

    /// Those who are told of messages in a mailbox: these addresses instead of the office's, if there are any.
    #[must_use]
    pub fn for_mailbox(&self, addresses: &[String]) -> Recipients {
        if addresses.is_empty() || !self.has_email {
            return self.clone();
        }
        let others = self.to.iter().filter(|(channel, _)| *channel != Channel::Email).cloned();
        let own = addresses.iter().map(|address| (Channel::Email, address.clone()));
        Recipients { to: own.chain(others).collect(), has_email: true }
    }

    /// The notices of one event about the row `subject`. A text message is for what cannot wait. Those with the same
    /// `thread`, usually a call, reach each of them in order.
    pub fn notices(&self, kind: NoticeKind, subject: &str, thread: &str, is_urgent: bool) -> Vec<NewNotice> {
        let is_pressing = is_urgent || kind == NoticeKind::FollowUpOverdue;
        let wanted = self.to.iter().filter(|(channel, _)| *channel != Channel::Sms || is_pressing);
        wanted
            .map(|(channel, recipient)| NewNotice {
                kind,
                channel: *channel,
                recipient: Redacted::new(recipient.clone()),
                subject: subject.to_owned(),
                order_key: format!("{channel}:{recipient}:{thread}"),
                is_urgent,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_and_text_messages_are_for_what_cannot_wait() {
        let mut config = Config::default();
        config.email.enabled = true;
        config.email.to = vec!["a@office.example".into(), "b@office.example".into()];
        config.sms.enabled = true;
        config.sms.to = vec!["+15550100".into()];
        let recipients = Recipients::new(&config);
        for (kind, is_urgent, expected) in [
            (NoticeKind::Message, false, 2),
            (NoticeKind::Message, true, 3),
            (NoticeKind::FollowUpDue, false, 2),
            (NoticeKind::FollowUpOverdue, false, 3),
        ] {
            assert_eq!(recipients.notices(kind, "row", "call", is_urgent).len(), expected, "{kind} {is_urgent}");
        }
        let of_mailbox = recipients.for_mailbox(&["c@office.example".into()]);
        let told = of_mailbox.notices(NoticeKind::Message, "row", "call", true);
        let told: Vec<_> = told.iter().map(|notice| notice.recipient.reveal().as_str()).collect();
        assert_eq!(told, ["c@office.example", "+15550100"]);
        assert_eq!(recipients.for_mailbox(&[]).to, recipients.to, "nobody's address is known");
        assert_eq!(Recipients::new(&Config::default()).notices(NoticeKind::Message, "row", "call", true), []);
    }
}
