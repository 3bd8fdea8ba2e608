//! `[notices]`, `[email]`, `[webhook]`, `[sms]`: who is told of messages and promises, and by which way.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::trunks::is_host;
use super::{ConfigMistake, is_web_address};
use crate::notices::template::Templates;
use crate::update::window::Window;

/// `[notices]`: what they say, and when they are sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notices {
    /// What may leave the box: `full`, `redacted` or `link_only`.
    pub personal_data: PersonalData,
    /// Whether the recording goes with an e-mail. Only with `full`.
    pub recording_attached: bool,
    /// Larger recordings stay in the box. 1 to 25: most mail servers take no more.
    pub attachment_limit_megabytes: u32,
    /// When only urgent notices are sent, in the office's time: "20:00-07:30".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<Window>,
    /// Folder of the office's own templates: notice.subject, notice.txt, notice.html, notice.sms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templates_directory: Option<PathBuf>,
    /// Address by which people reach `/links` of the box's HTTP interface, or a page of the office: each notice brings
    /// a link to what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_base: Option<String>,
    /// How long such a link holds. 1 to 90.
    pub link_days: u32,
    /// Whether callers get the promises that are made to them as text messages; with `[sms]`.
    pub promises_confirmed_by_sms: bool,
    /// How long before a promise is due its owner is reminded. 0 to 1 440.
    pub reminder_minutes: u32,
    /// How long after that it counts as not kept. 0 to 1 440.
    pub overdue_minutes: u32,
}

/// What a notice says about a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonalData {
    /// Everything.
    Full,
    /// No name, no words, the last digits of a number.
    Redacted,
    /// Nothing but that there is something.
    LinkOnly,
}

impl Default for Notices {
    fn default() -> Notices {
        Notices {
            personal_data: PersonalData::Full,
            recording_attached: true,
            attachment_limit_megabytes: 10,
            quiet_hours: None,
            templates_directory: None,
            link_base: None,
            link_days: 7,
            promises_confirmed_by_sms: false,
            reminder_minutes: 15,
            overdue_minutes: 30,
        }
    }
}

/// `[email]`: the office's mail server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Email {
    /// Whether notices go by e-mail.
    pub enabled: bool,
    /// Host name, as in its certificate.
    pub server: String,
    /// 587 for `starttls`, 465 for `tls` (RFC 8314).
    pub port: u16,
    /// `starttls`, `tls`, or `none` for a server on this machine.
    pub encryption: MailEncryption,
    /// With `password_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File of the password; a name without a folder is looked for among systemd's credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Certificate (PEM) of an authority to believe beside the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_file: Option<PathBuf>,
    /// Address the mails come from.
    pub from: String,
    /// Whom they go to.
    pub to: Vec<String>,
    /// How long the server may take for one answer. 1 to 300.
    pub timeout_seconds: u32,
}

/// How the connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailEncryption {
    /// After a greeting in clear, and never without (RFC 3207).
    Starttls,
    /// From the first byte (RFC 8314 §3).
    Tls,
    /// Not at all.
    None,
}

impl Default for Email {
    fn default() -> Email {
        Email {
            enabled: false,
            server: "localhost".into(),
            port: 587,
            encryption: MailEncryption::Starttls,
            username: None,
            password_file: None,
            trust_file: None,
            from: String::new(),
            to: Vec::new(),
            timeout_seconds: 30,
        }
    }
}

impl Email {
    /// The password, if there is one.
    ///
    /// # Errors
    /// A file that cannot be read or is empty, with its path.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        self.password_file.as_deref().map(|file| secret_of(file, "the mail server's password")).transpose()
    }
}

/// `[webhook]`: a web address that is told of everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Whether notices go there.
    pub enabled: bool,
    /// Where to.
    pub url: String,
    /// File of the secret that requests are signed with, as `email.password_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// How long a request may take. 1 to 120.
    pub timeout_seconds: u32,
}

impl Default for Webhook {
    fn default() -> Webhook {
        Webhook { enabled: false, url: String::new(), secret_file: None, timeout_seconds: 10 }
    }
}

impl Webhook {
    /// What requests are signed with.
    ///
    /// # Errors
    /// As [`Email::password`].
    pub fn secret(&self) -> anyhow::Result<String> {
        secret_of(self.secret_file.as_deref().unwrap_or(Path::new("")), "the webhook's secret")
    }
}

/// `[sms]`: text messages through Twilio.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sms {
    /// Whether urgent notices and missed promises go as text messages.
    pub enabled: bool,
    /// Account SID.
    pub account: String,
    /// SID of an API key; without it the secret is the account's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// File of the key's secret, as `email.password_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Address by which the service reaches `/callbacks/twilio` of the box's HTTP interface, to tell what became of a
    /// message and what is answered to it; or the address of this box that `offhook-cloud twilio show` names, where the
    /// cloud takes it for the box. Without it the box asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// File of the account's token, which the service signs with; needed with `callback_url` and `api_key` where callbacks
    /// come to the box itself, by `[api]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Number they come from, in E.164; or `messaging_service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// SID of a messaging service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messaging_service: Option<String>,
    /// Numbers they go to, in E.164.
    pub to: Vec<String>,
    /// What one part of a message costs.
    pub part_price_cents: f64,
    /// More is not spent in a month of the office's calendar.
    pub monthly_limit_cents: f64,
    /// Where the service is.
    pub api_url: String,
    /// How long a request may take. 1 to 120.
    pub timeout_seconds: u32,
}

impl Default for Sms {
    fn default() -> Sms {
        Sms {
            enabled: false,
            account: String::new(),
            api_key: None,
            secret_file: None,
            callback_url: None,
            token_file: None,
            from: None,
            messaging_service: None,
            to: Vec::new(),
            part_price_cents: 1.0,
            monthly_limit_cents: 1_000.0,
            api_url: "https://api.twilio.com".into(),
            timeout_seconds: 20,
        }
    }
}

impl Sms {
    /// The key's secret, or the account's token.
    ///
    /// # Errors
    /// As [`Email::password`].
    pub fn secret(&self) -> anyhow::Result<String> {
        secret_of(self.secret_file.as_deref().unwrap_or(Path::new("")), "the secret of the SMS service")
    }

    /// The account's token.
    ///
    /// # Errors
    /// As [`Email::password`].
    pub fn token(&self) -> anyhow::Result<String> {
        match &self.token_file {
            Some(file) => secret_of(file, "the token of the SMS account"),
            None => self.secret(),
        }
    }
}

fn secret_of(file: &Path, what: &str) -> anyhow::Result<String> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).unwrap_or_default();
    let path = folder.join(file);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{what} cannot be read from {}", path.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!secret.is_empty(), "{what} is missing in {}", path.display());
    Ok(secret.to_owned())
}

/// Mistakes, each with its key.
struct Mistakes<'a>(&'a mut Vec<ConfigMistake>);

impl Mistakes<'_> {
    fn unless(&mut self, is_right: bool, key: &str, found: &str, expected: &str) {
        if !is_right {
            let found = if found.is_empty() { "nothing" } else { found };
            self.0.push(ConfigMistake::new(key, found, expected.to_owned()));
        }
    }

    fn range(&mut self, key: &str, value: u32, low: u32, high: u32) {
        let is_right = (low..=high).contains(&value);
        self.unless(is_right, key, &value.to_string(), &format!("a whole number from {low} to {high}"));
    }
}

/// Every mistake, each with its key.
pub(super) fn check(config: &super::Config, mistakes: &mut Vec<ConfigMistake>) {
    let mut mistakes = Mistakes(mistakes);
    check_notices(&config.notices, &mut mistakes);
    let has_sms = config.sms.enabled || !config.notices.promises_confirmed_by_sms;
    mistakes.unless(has_sms, "notices.promises_confirmed_by_sms", "true", "text messages, by [sms]");
    check_email(&config.email, &mut mistakes);
    check_webhook(&config.webhook, &mut mistakes);
    check_sms(&config.sms, config.api.enabled, &mut mistakes);
}

fn check_notices(notices: &Notices, mistakes: &mut Mistakes<'_>) {
    mistakes.range("notices.attachment_limit_megabytes", notices.attachment_limit_megabytes, 1, 25);
    mistakes.range("notices.reminder_minutes", notices.reminder_minutes, 0, 1_440);
    mistakes.range("notices.overdue_minutes", notices.overdue_minutes, 0, 1_440);
    mistakes.range("notices.link_days", notices.link_days, 1, 90);
    if let Some(link) = &notices.link_base {
        mistakes.unless(is_web_address(link), "notices.link_base", link, "an address that begins with https://");
    }
    if let Some(folder) = &notices.templates_directory {
        let found = folder.display().to_string();
        mistakes.unless(folder.is_dir(), "notices.templates_directory", &found, "a folder that exists");
        for bad in Templates::open(Some(folder)).err().into_iter().flatten() {
            mistakes.unless(false, "notices.templates_directory", &bad.to_string(), "templates that can be used");
        }
    }
}

/// What is expected of an e-mail address.
pub(super) const ADDRESS: &str = "an address such as \"desk@office.example\"";

/// Whether it is one.
pub(super) fn is_address(text: &str) -> bool {
    text.parse::<lettre::message::Mailbox>().is_ok()
}

fn check_email(email: &Email, mistakes: &mut Mistakes<'_>) {
    mistakes.range("email.timeout_seconds", email.timeout_seconds, 1, 300);
    if !email.enabled {
        return;
    }
    let has_port = email.server.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':'));
    mistakes.unless(is_host(&email.server) && !has_port, "email.server", &email.server, "a host name without a port");
    mistakes.unless(is_address(&email.from), "email.from", &email.from, ADDRESS);
    mistakes.unless(!email.to.is_empty(), "email.to", "", ADDRESS);
    for to in &email.to {
        mistakes.unless(is_address(to), "email.to", to, ADDRESS);
    }
    let both = email.username.is_some() == email.password_file.is_some();
    mistakes.unless(both, "email.password_file", "half of the credentials", "username and password_file, or neither");
    let is_here = matches!(email.server.as_str(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
    let may_be_clear = email.encryption != MailEncryption::None || (is_here && email.username.is_none());
    const ENCRYPTED: &str = "\"starttls\" or \"tls\"; in clear only to this machine and without a password";
    mistakes.unless(may_be_clear, "email.encryption", "none", ENCRYPTED);
}

fn check_webhook(webhook: &Webhook, mistakes: &mut Mistakes<'_>) {
    mistakes.range("webhook.timeout_seconds", webhook.timeout_seconds, 1, 120);
    if webhook.enabled {
        mistakes.unless(is_web_address(&webhook.url), "webhook.url", &webhook.url, "an address such as https://…");
        mistakes.unless(webhook.secret_file.is_some(), "webhook.secret_file", "", "a file with a secret");
    }
}

/// `is_asked`: callbacks may come to the box itself, which then has to know whose they are.
fn check_sms(sms: &Sms, is_asked: bool, mistakes: &mut Mistakes<'_>) {
    mistakes.range("sms.timeout_seconds", sms.timeout_seconds, 1, 120);
    const CENTS: &str = "a number of cents from 0 to 1 000 000";
    let is_price = |price: f64| (0.0..=1_000_000.0).contains(&price);
    let price = sms.part_price_cents;
    mistakes.unless(is_price(price), "sms.part_price_cents", &price.to_string(), CENTS);
    let limit = sms.monthly_limit_cents;
    mistakes.unless(is_price(limit), "sms.monthly_limit_cents", &limit.to_string(), CENTS);
    if !sms.enabled {
        return;
    }
    const NUMBER: &str = "numbers such as +12125550142";
    let is_number = |number: &str| {
        let digits = number.strip_prefix('+').unwrap_or_default();
        (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_sid = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    mistakes.unless(is_sid(&sms.account), "sms.account", &sms.account, "an account SID");
    mistakes.unless(sms.secret_file.is_some(), "sms.secret_file", "", "a file with the key's secret");
    mistakes.unless(is_web_address(&sms.api_url), "sms.api_url", &sms.api_url, "an address such as https://…");
    mistakes.unless(!sms.to.is_empty(), "sms.to", "", NUMBER);
    for to in &sms.to {
        mistakes.unless(is_number(to), "sms.to", to, NUMBER);
    }
    if let Some(url) = &sms.callback_url {
        // What the service takes as such an address (its error 21609).
        let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', ':', '?']).next()).unwrap_or_default();
        let is_public = host.contains('.') && !host.contains('_') && url.len() <= 4_000;
        const CALLBACK: &str =
            "an address such as https://phone.office.example/callbacks/twilio, without _ in its host";
        mistakes.unless(is_public, "sms.callback_url", url, CALLBACK);
        let has_token = sms.token_file.is_some() || sms.api_key.is_none() || !is_asked;
        mistakes.unless(
            has_token,
            "sms.token_file",
            "",
            "a file with the account's token, beside the API key's secret",
        );
    }
    let one = sms.from.is_some() != sms.messaging_service.is_some();
    mistakes.unless(one, "sms.from", "both or neither", "a number here, or sms.messaging_service");
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;

    #[test]
    fn what_the_manual_shows_is_right() {
        let right = "[notices]\nquiet_hours = '20:00-07:30'\n[email]\nenabled = true\nserver = 'mail.office.example'\n\
            from = 'Offhook <box@office.example>'\nto = ['desk@office.example']\nusername = 'box'\n\
            password_file = 'mail'\n[webhook]\nenabled = true\nurl = 'https://office.example/hook'\n\
            secret_file = 'hook'\n[sms]\nenabled = true\naccount = 'AC1'\nsecret_file = 'sms'\nfrom = '+12125550142'\n\
            to = ['+12125550143']\n";
        assert_eq!(mistakes_of(right), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_names_its_key() {
        const SMS: &str = "[sms]\nenabled = true\naccount = 'AC1'\nsecret_file = 'a'\nfrom = '+12125550142'\n\
            to = ['+12125550143']\n";
        const EMAIL: &str = "[email]\nenabled = true\nserver = 'mail.office.example'\nfrom = 'a@b.example'\n";
        for (text, key) in [
            ("[notices]\nquiet_hours = 'night'", "notices.quiet_hours"),
            ("[notices]\npersonal_data = 'some'", "notices.personal_data"),
            ("[notices]\nattachment_limit_megabytes = 0", "notices.attachment_limit_megabytes"),
            ("[notices]\ntemplates_directory = 'nowhere/at/all'", "notices.templates_directory"),
            (EMAIL, "email.to"),
            (&format!("{EMAIL}to = ['nobody']"), "email.to"),
            (&format!("{EMAIL}to = ['a@b.example']\nusername = 'me'"), "email.password_file"),
            (&format!("{EMAIL}to = ['a@b.example']\nencryption = 'none'"), "email.encryption"),
            ("[webhook]\nenabled = true\nsecret_file = 'a'", "webhook.url"),
            ("[webhook]\nenabled = true\nurl = 'https://a.example'", "webhook.secret_file"),
            (
                "[sms]\nenabled = true\naccount = 'AC1'\nsecret_file = 'a'\nfrom = '+12125550142'\nto = ['555']",
                "sms.to",
            ),
            ("[sms]\nenabled = true\naccount = 'AC1'\nsecret_file = 'a'\nto = ['+12125550142']", "sms.from"),
            (&format!("{SMS}callback_url = 'http://a.example/callbacks/twilio'"), "sms.callback_url"),
            (&format!("{SMS}callback_url = 'https://a_b.example/callbacks/twilio'"), "sms.callback_url"),
            (
                &format!("{SMS}api_key = 'SK1'\ncallback_url = 'https://a.example/'\n[api]\nenabled = true"),
                "sms.token_file",
            ),
        ] {
            let mistakes = mistakes_of(text);
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(key), "{text}: {mistakes:?}");
        }
    }
}
