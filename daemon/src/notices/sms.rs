//! Notices as text messages through Twilio's Messages API (2010-04-01).
//!
//! The service has no key against sending twice. So an attempt whose end nobody knows is looked up in its list of
//! messages first. That it has taken a message does not mean that it arrives: where it is, and what people answer, is
//! asked for ([`Sms::progress`], [`Sms::received`]), or told at an address that the service can reach (`api::callbacks`).

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::http::{Answer, agent, failure_of, get, post};
use super::replies::Text;
use super::{Delivered, Undelivered};
use crate::config;
use crate::redact::Redacted;
use crate::storage::{Delivery, NoticeFailure, UnixMs};

/// The recipient has answered STOP.
const UNSUBSCRIBED: i64 = 21610;
/// No such number, or one that takes no text messages.
const NO_SUCH_NUMBER: [i64; 3] = [21211, 21614, 21612];
/// The handset, its number or its kind of line takes no text messages.
const NOT_REACHABLE: [i64; 4] = [30003, 30004, 30005, 30006];
/// States in which nothing happens any more.
const FINAL: [&str; 6] = ["delivered", "undelivered", "failed", "canceled", "received", "read"];
/// Texts of one page of the service's list.
const PAGE: &str = "50";
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
        if let Some(url) = &self.config.callback_url {
            form.push(("StatusCallback", url));
        }
        let headers = [
            ("Authorization", self.authorization.clone()),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let answer = post(&self.agent, &self.url(""), &headers, encoded(&form).as_bytes())?;
        taken(&answer).map(|reference| Delivered { reference, cost_cents })
    }

    /// What the service calls the message that says `text` to `recipient`, if it has one of today or yesterday.
    fn find(&self, recipient: &str, text: &str) -> Result<Option<String>, Undelivered> {
        let list = self.ask(&format!("{}?{}", self.url(""), encoded(&[("To", recipient), ("PageSize", PAGE)])))?;
        let messages = list["messages"].as_array().into_iter().flatten();
        let same = messages.filter(|message| message["body"] == text && message["to"] == recipient);
        Ok(same.filter_map(|message| message["sid"].as_str()).map(str::to_owned).next())
    }

    /// Where the message is that the service calls `reference`. Blocks.
    ///
    /// # Errors
    /// Why the service does not say.
    pub fn progress(&self, reference: &str) -> Result<Progress, Undelivered> {
        let message = self.ask(&self.url(&format!("/{reference}")))?;
        let state = message["status"].as_str().unwrap_or_default().to_owned();
        Ok(Progress { state, error_code: message["error_code"].as_i64() })
    }

    /// The latest texts that came for the number that ours come from, in the order in which they came; none where that is
    /// a messaging service's. Blocks.
    ///
    /// # Errors
    /// As [`progress`](Sms::progress).
    pub fn received(&self) -> Result<Vec<Text>, Undelivered> {
        let Some(number) = &self.config.from else { return Ok(Vec::new()) };
        let list = self.ask(&format!("{}?{}", self.url(""), encoded(&[("To", number), ("PageSize", PAGE)])))?;
        let messages = list["messages"].as_array().into_iter().flatten().rev();
        let secret = |message: &Value, key: &str| message[key].as_str().map(|text| Redacted::new(text.to_owned()));
        let text = |message: &Value| {
            let reference = message["sid"].as_str()?.to_owned();
            Some(Text { reference, sender: secret(message, "from")?, body: secret(message, "body")? })
        };
        Ok(messages.filter(|message| message["direction"] == "inbound").filter_map(text).collect())
    }

    fn ask(&self, url: &str) -> Result<Value, Undelivered> {
        let answer = get(&self.agent, url, &[("Authorization", self.authorization.clone())])?;
        match failure_of(answer.status) {
            Some(failure) => Err(Undelivered::new(failure, in_words(&answer))),
            None => Ok(serde_json::from_str(&answer.body).unwrap_or_default()),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/2010-04-01/Accounts/{}/Messages{path}.json", self.config.api_url, self.config.account)
    }
}

/// Where the service has a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// In its words.
    pub state: String,
    /// Why it did not arrive.
    pub error_code: Option<i64>,
}

impl Progress {
    /// What is kept of it; the service is asked again at `due_at` unless nothing happens any more.
    pub fn delivery(self, due_at: Option<UnixMs>) -> Delivery {
        let is_final = FINAL.contains(&self.state.as_str());
        let failure = match self.error_code {
            Some(UNSUBSCRIBED) => NoticeFailure::Stopped,
            Some(code) if NOT_REACHABLE.contains(&code) => NoticeFailure::Recipient,
            Some(_) | None => NoticeFailure::Refused,
        };
        let code = self.error_code.map_or_else(String::new, |code| format!(", error {code}"));
        let failed = matches!(self.state.as_str(), "undelivered" | "failed" | "canceled")
            .then(|| (failure, format!("{}{code}", self.state)));
        Delivery { state: self.state, failed, due_at: due_at.filter(|_| !is_final) }
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
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded_as_browsers_do() {
        assert_eq!(encoded(&[("To", "+1555"), ("Body", "é & b=c")]), "To=%2B1555&Body=%C3%A9+%26+b%3Dc");
    }

    #[test]
    fn what_arrived_is_told_from_what_is_under_way_and_what_never_does() {
        let due_at = Some(UnixMs(60));
        for (state, error_code, failure, asked_again) in [
            ("queued", None, None, true),
            ("sent", None, None, true),
            ("delivered", None, None, false),
            ("undelivered", Some(30005), Some(NoticeFailure::Recipient), false),
            ("undelivered", Some(30034), Some(NoticeFailure::Refused), false),
            ("failed", Some(21610), Some(NoticeFailure::Stopped), false),
            ("failed", None, Some(NoticeFailure::Refused), false),
            ("something_new", None, None, true),
        ] {
            let found = Progress { state: state.into(), error_code }.delivery(due_at);
            assert_eq!(found.failed.map(|(failure, _)| failure), failure, "{state}");
            assert_eq!(found.due_at.is_some(), asked_again, "{state}");
        }
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
