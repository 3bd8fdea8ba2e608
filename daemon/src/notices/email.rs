//! Notices as e-mail (RFC 5322) through the office's mail server (RFC 6409).
//!
//! The Message-ID is made of the notice's key: an attempt whose end nobody knows is repeated under the same one, and the
//! receiving side can tell. Left out on purpose: delivery status of the recipient's own server, which answers by mail.

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::{Error, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::content::Content;
use super::template::{Part, Templates};
use super::{Delivered, Undelivered};
use crate::config::{self, MailEncryption};
use crate::storage::{AudioFiles, NoticeFailure, NotificationId};

/// The way to the mail server.
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    /// What stands after the @ of our Message-IDs.
    domain: String,
}

impl Email {
    /// Ready to connect, with the password of the file. Nothing is connected to yet. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read, or an address that is none.
    pub fn open(config: &config::Email) -> anyhow::Result<Email> {
        let from: Mailbox = config.from.parse().with_context(|| format!("{:?} is no address", config.from))?;
        let tls = match config.encryption {
            MailEncryption::Starttls => Tls::Required(tls_parameters(config)?),
            MailEncryption::Tls => Tls::Wrapper(tls_parameters(config)?),
            MailEncryption::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.server)
            .port(config.port)
            .tls(tls)
            .timeout(Some(Duration::from_secs(config.timeout_seconds.into())))
            .pool_config(PoolConfig::new().max_size(1));
        if let (Some(user), Some(password)) = (&config.username, config.password()?) {
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        let domain = from.email.domain().to_owned();
        Ok(Email { transport: builder.build(), from, domain })
    }

    /// The Message-ID of a notice.
    pub fn message_id(&self, id: NotificationId) -> String {
        format!("<{id}@{}>", self.domain)
    }

    /// Hands one notice to the mail server.
    ///
    /// # Errors
    /// Why it did not take it.
    pub async fn send(
        &self,
        (id, recipient): (NotificationId, &str),
        content: &Content,
        templates: &Templates,
        files: &AudioFiles,
    ) -> Result<Delivered, Undelivered> {
        let sound = match content.recording.clone() {
            Some(recording) => {
                let files = files.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let mut wav = Vec::new();
                    files.read_wav(&recording)?.read_to_end(&mut wav)?;
                    anyhow::Ok(wav)
                });
                // Without the sound the words are still news.
                read.await.ok().and_then(Result::ok)
            }
            None => None,
        };
        let message = self
            .compose((id, recipient), content, templates, sound)
            .map_err(|error| Undelivered::new(NoticeFailure::Impossible, format!("{error:#}")))?;
        self.transport.send(message).await.map_err(|error| undelivered(&error))?;
        Ok(Delivered { reference: self.message_id(id), cost_cents: 0.0 })
    }

    fn compose(
        &self,
        (id, recipient): (NotificationId, &str),
        content: &Content,
        templates: &Templates,
        sound: Option<Vec<u8>>,
    ) -> anyhow::Result<Message> {
        let facts = &content.facts;
        let texts =
            MultiPart::alternative_plain_html(templates.render(Part::Text, facts), templates.render(Part::Html, facts));
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(recipient.parse().context("the recipient is no address")?)
            .subject(templates.render(Part::Subject, facts))
            .message_id(Some(self.message_id(id)))
            // RFC 3834: no answers of machines to machines.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()));
        if let Some(first) = content.contact.as_ref().and_then(|contact| contact.thread_message_id.clone()) {
            message = message.in_reply_to(first.clone()).references(first);
        }
        Ok(match sound {
            None => message.multipart(texts)?,
            Some(wav) => {
                let name = format!("message-{}.wav", facts.reference);
                let sound: SinglePart = Attachment::new(name).body(wav, ContentType::parse("audio/wav")?);
                message.multipart(MultiPart::mixed().multipart(texts).singlepart(sound))?
            }
        })
    }
}

fn tls_parameters(config: &config::Email) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(config.server.clone()).certificate_store(CertificateStore::WebpkiRoots);
    if let Some(path) = &config.trust_file {
        let pem = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let certificate = Certificate::from_pem(&pem).with_context(|| format!("{} holds none", path.display()))?;
        builder = builder.add_root_certificate(certificate);
    }
    Ok(builder.build()?)
}

/// Whose fault, by the reply code (RFC 5321 §4.2, RFC 4954 §6).
fn undelivered(error: &Error) -> Undelivered {
    let mut words = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        words = format!("{words}: {cause}");
    }
    Undelivered::new(failure_of(error.status().map(u16::from), error.is_client()), words)
}

/// `code` is the server's answer, if there was one; `is_ours`: it does not offer what we need, for example encryption.
fn failure_of(code: Option<u16>, is_ours: bool) -> NoticeFailure {
    match code {
        // 454 is a passing failure of authentication; 530 asks for it, 534 and 538 for a better one, 535 refuses it.
        Some(454 | 530 | 534 | 535 | 538) => NoticeFailure::Credentials,
        Some(421) => NoticeFailure::Unreachable,
        Some(400..=499) => NoticeFailure::Deferred,
        Some(550 | 551 | 553) => NoticeFailure::Recipient,
        Some(_) => NoticeFailure::Refused,
        None if is_ours => NoticeFailure::Credentials,
        None => NoticeFailure::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notices::content::tests::facts;
    use crate::redact::Redacted;
    use crate::storage::{Contact, ContactId, UnixMs};

    fn email() -> Email {
        let config = config::Email {
            server: "127.0.0.1".into(),
            encryption: MailEncryption::None,
            from: "Offhook <box@office.example>".into(),
            ..config::Email::default()
        };
        Email::open(&config).unwrap()
    }

    fn composed(thread_message_id: Option<String>, sound: Option<Vec<u8>>) -> String {
        let contact = Contact {
            contact_id: ContactId::new(UnixMs(1)),
            number: Redacted::new("+15550100".into()),
            name: None,
            email: None,
            thread_message_id,
            sms_stopped_at: None,
        };
        let content = Content { facts: facts(), recording: None, contact: Some(contact) };
        let id = NotificationId::new(UnixMs(1));
        let message = email().compose((id, "desk@office.example"), &content, &Templates::default(), sound).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        assert!(text.contains(&format!("Message-ID: <{id}@office.example>")), "{text}");
        text
    }

    #[tokio::test]
    async fn a_first_mail_begins_a_thread_and_a_later_one_replies_to_it() {
        let first = composed(None, None);
        assert!(!first.contains("References:") && first.contains("Auto-Submitted: auto-generated"), "{first}");
        assert!(first.contains("text/plain") && first.contains("text/html") && !first.contains("audio/wav"), "{first}");
        let later = composed(Some("<1@office.example>".into()), Some(vec![1, 2, 3]));
        for line in ["In-Reply-To: <1@office.example>", "References: <1@office.example>", "message-0417.wav"] {
            assert!(later.contains(line), "{line} is missing in {later}");
        }
    }

    #[test]
    fn each_reply_code_is_somebodys_fault() {
        for (code, is_ours, failure) in [
            (None, false, NoticeFailure::Unreachable),
            (None, true, NoticeFailure::Credentials),
            (Some(421), false, NoticeFailure::Unreachable),
            (Some(450), false, NoticeFailure::Deferred),
            (Some(452), false, NoticeFailure::Deferred),
            (Some(535), false, NoticeFailure::Credentials),
            (Some(550), false, NoticeFailure::Recipient),
            (Some(552), false, NoticeFailure::Refused),
            (Some(554), false, NoticeFailure::Refused),
        ] {
            assert_eq!(failure_of(code, is_ours), failure, "{code:?}");
        }
    }
}
