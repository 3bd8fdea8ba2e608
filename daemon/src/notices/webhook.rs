//! Notices as signed requests to a web address of the office.
//!
//! ```text
//! POST <url>
//! Idempotency-Key: <key of the notice>            the same in every attempt
//! Offhook-Signature: t=<seconds>,v1=<hex>         HMAC-SHA256 over "<seconds>.<body>"
//! {"id": …, "kind": "message", "subject": …, …}
//! ```
//! Taken is what is answered with 2xx. A redirect is a refusal: the address in the configuration is the one that is meant.

use std::time::Duration;

use ring::hmac;
use serde_json::json;

use super::content::Content;
use super::http::{agent, failure_of, post};
use super::{Delivered, Undelivered};
use crate::config;
use crate::storage::{NotificationId, UnixMs};

/// The way to the web address.
#[derive(Clone)]
pub struct Webhook {
    agent: ureq::Agent,
    key: hmac::Key,
}

impl Webhook {
    /// Ready to be used, with the secret of the file. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(config: &config::Webhook) -> anyhow::Result<Webhook> {
        let agent = agent(Duration::from_secs(config.timeout_seconds.into()));
        let secret = config.secret()?;
        Ok(Webhook { agent, key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()) })
    }

    /// Hands one notice over. Blocks.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn send(
        &self,
        id: NotificationId,
        url: &str,
        subject: &str,
        content: &Content,
        now: UnixMs,
    ) -> Result<Delivered, Undelivered> {
        let mut body = json!(content.facts);
        body["id"] = json!(id);
        body["subject"] = json!(subject);
        let body = body.to_string();
        let headers = [
            ("Content-Type", "application/json".to_owned()),
            ("Idempotency-Key", id.to_string()),
            ("Offhook-Signature", signature(&self.key, now.0 / 1_000, &body)),
        ];
        let answer = post(&self.agent, url, &headers, body.as_bytes())?;
        match failure_of(answer.status) {
            None => Ok(Delivered { reference: id.to_string(), cost_cents: 0.0 }),
            Some(failure) => Err(Undelivered::new(failure, format!("status {}", answer.status))),
        }
    }
}

fn signature(key: &hmac::Key, seconds: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", hex::encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `printf '1772452800.{"a":1}' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn the_signature_is_what_openssl_makes_of_it() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert_eq!(
            signature(&key, 1_772_452_800, "{\"a\":1}"),
            "t=1772452800,v1=c747dc5ec7d578d37dfd5024d4493f8a7c2283763535adc7ef89aa54017e33a0"
        );
    }
}
