//! Notices as text messages through Twilio's Messages API (2010-04-01).
//!
//! The service has no key against sending twice. So an attempt whose end nobody knows is looked up in its list of
//! messages first. Left out on purpose: the status callback, which needs an address that the service can reach; whether a
//! message was delivered is asked for.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::http::{Answer, agent, failure_of, get, post};
use super::{Delivered, Undelivered};
use crate::config;
use crate::storage::NoticeFailure;

/// The recipient has answered STOP.
const UNSUBSCRIBED: i64 = 21610;
/// No such number, or one that takes no text messages.
const NO_SUCH_NUMBER: [i64; 3] = [21211, 21614, 21612];
/// Longest text: ten parts, which is what the service takes.
const TEXT_MAX_CHARS: usize = 1_600;
/// Characters of one part in the alphabet of GSM 03.38, and of each where there are several.
const GSM_PART: (usize, usize) = (160, 153);
/// The same in UTF-16 units, where one character is outside it.
const UNICODE_PART: (usize, usize) = (70, 67);

/// The way to the service.
#[derive(Clone)]
pub struct Sms {
    agent: ureq::Agent,
    config: config::Sms,
    authorization: String,
}

impl Sms {
    /// Ready to be used, with the secret of the file. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(config: &config::Sms) -> anyhow::Result<Sms> {
        let user = config.api_key.as_deref().unwrap_or(&config.account);
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", config.secret()?)));
        let agent = agent(Duration::from_secs(config.timeout_seconds.into()));
        Ok(Sms { agent, config: config.clone(), authorization })
    }

    /// What `text` costs, in cents.
    pub fn cost_cents(&self, text: &str) -> f64 {
        self.config.part_price_cents * f64::from(parts(text))
    }

    /// What a month may cost, in cents.
    pub fn monthly_limit_cents(&self) -> f64 {
        self.config.monthly_limit_cents
    }

    /// Hands one text over; `is_repeat`: an earlier attempt may have arrived. Blocks.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn send(&self, recipient: &str, text: &str, is_repeat: bool) -> Result<Delivered, Undelivered> {
        let text: String = text.chars().take(TEXT_MAX_CHARS).collect();
        let cost_cents = self.cost_cents(&text);
        if is_repeat && let Some(reference) = self.find(recipient, &text)? {
            return Ok(Delivered { reference, cost_cents });
        }
        let mut form = vec![("To", recipient), ("Body", text.as_str())];
        match (&self.config.messaging_service, &self.config.from) {
            (Some(service), _) => form.push(("MessagingServiceSid", service)),
            (None, Some(from)) => form.push(("From", from)),
            (None, None) => {}
        }
        let headers = [
            ("Authorization", self.authorization.clone()),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let answer = post(&self.agent, &self.url(), &headers, encoded(&form).as_bytes())?;
        taken(&answer).map(|reference| Delivered { reference, cost_cents })
    }

    /// What the service calls the message that says `text` to `recipient`, if it has one of today or yesterday.
    fn find(&self, recipient: &str, text: &str) -> Result<Option<String>, Undelivered> {
        let url = format!("{}?{}", self.url(), encoded(&[("To", recipient), ("PageSize", "50")]));
        let answer = get(&self.agent, &url, &[("Authorization", self.authorization.clone())])?;
        if let Some(failure) = failure_of(answer.status) {
            return Err(Undelivered::new(failure, in_words(&answer)));
        }
        let list: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let messages = list["messages"].as_array().into_iter().flatten();
        let same = messages.filter(|message| message["body"] == text && message["to"] == recipient);
        Ok(same.filter_map(|message| message["sid"].as_str()).map(str::to_owned).next())
    }

    fn url(&self) -> String {
        format!("{}/2010-04-01/Accounts/{}/Messages.json", self.config.api_url, self.config.account)
    }
}

fn taken(answer: &Answer) -> Result<String, Undelivered> {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let failure = match (body["code"].as_i64(), failure_of(answer.status)) {
        (Some(UNSUBSCRIBED), Some(_)) => NoticeFailure::Stopped,
        (Some(code), Some(_)) if NO_SUCH_NUMBER.contains(&code) => NoticeFailure::Recipient,
        (_, Some(failure)) => failure,
        (_, None) => {
            let sid = body["sid"].as_str().unwrap_or_default().to_owned();
            return Ok(sid);
        }
    };
    Err(Undelivered::new(failure, in_words(answer)))
}

/// The service's code and sentence, without what else stands in its answer.
fn in_words(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match (body["code"].as_i64(), body["message"].as_str()) {
        (Some(code), Some(message)) => format!("status {}, error {code}: {message}", answer.status),
        _ => format!("status {}", answer.status),
    }
}

/// How many parts the text goes in, each of which is paid.
fn parts(text: &str) -> u32 {
    let is_gsm = text.chars().all(|c| c.is_ascii() && !matches!(c, '`') || "£¥èéùìòÇØøÅåÆæßÉÄÖÑÜ§¿äöñüà¡€".contains(c));
    let (length, (one, each)) = if is_gsm {
        // These take two places.
        (text.chars().count() + text.chars().filter(|c| "^{}\\[~]|€".contains(*c)).count(), GSM_PART)
    } else {
        (text.encode_utf16().count(), UNICODE_PART)
    };
    let parts = if length <= one { 1 } else { length.div_ceil(each) };
    u32::try_from(parts).unwrap_or(u32::MAX)
}

/// `application/x-www-form-urlencoded`.
fn encoded(form: &[(&str, &str)]) -> String {
    let escaped = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => char::from(byte).to_string(),
                b' ' => "+".to_owned(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    form.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded_as_browsers_do() {
        assert_eq!(encoded(&[("To", "+1555"), ("Body", "é & b=c")]), "To=%2B1555&Body=%C3%A9+%26+b%3Dc");
    }

    #[test]
    fn parts_are_counted_as_they_are_paid() {
        for (text, expected) in [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            ("п".repeat(70), 1),
            ("п".repeat(71), 2),
        ] {
            assert_eq!(parts(&text), expected, "{} characters", text.chars().count());
        }
    }

    #[test]
    fn each_answer_of_the_service_is_somebodys_fault() {
        for (status, body, expected) in [
            (201, r#"{"sid":"SM1"}"#, Ok("SM1")),
            (
                400,
                r#"{"code":21610,"message":"Attempt to send to unsubscribed recipient"}"#,
                Err(NoticeFailure::Stopped),
            ),
            (400, r#"{"code":21211,"message":"Invalid 'To' Phone Number"}"#, Err(NoticeFailure::Recipient)),
            (400, r#"{"code":21609,"message":"Invalid StatusCallback"}"#, Err(NoticeFailure::Refused)),
            (401, r#"{"code":20003,"message":"Authenticate"}"#, Err(NoticeFailure::Credentials)),
            (429, "", Err(NoticeFailure::Deferred)),
            (503, "<html>", Err(NoticeFailure::Deferred)),
            (307, "", Err(NoticeFailure::Refused)),
        ] {
            let found = taken(&Answer { status, body: body.into() }).map_err(|error| error.failure);
            assert_eq!(found.as_deref(), expected.as_ref().map(|sid| *sid), "{status} {body}");
        }
    }
}
