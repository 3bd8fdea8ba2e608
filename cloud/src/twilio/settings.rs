//! What a tenant has at Twilio: one document in the store.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::is_name;
use crate::store::{Change, DocumentKind, Place, Store, StoreError};

/// Stands for every number that is not named.
pub const ANY_NUMBER: &str = "*";
/// What callers hear where nothing else is set.
pub const GREETING: &str = "Hello. Our phone system cannot be reached at the moment. You may leave a message after the tone: \
    it is recorded, and we will hear it as soon as we can. Press the hash key when you are done.";
/// What they hear at the end.
pub const GOODBYE: &str = "Thank you. Your message was recorded. Goodbye.";
/// What they hear if nothing was recorded.
pub const NOTHING: &str = "Nothing was recorded. Please call again later. Goodbye.";
/// Of what is said, in characters; Twilio takes 4 096.
const WORDS_MAX: usize = 1_000;

/// A secret that is shown to nobody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// An account's token.
    ///
    /// # Errors
    /// [`SettingsMistake::Token`].
    pub fn new(text: &str) -> Result<Token, SettingsMistake> {
        let token = text.trim();
        let fits = !token.is_empty() && token.len() <= 128 && token.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Token(token.to_owned())) } else { Err(SettingsMistake::Token) }
    }

    /// For a signature, or for Twilio.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// What a tenant has at Twilio.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// By their SIDs.
    pub accounts: BTreeMap<String, Account>,
    /// The box of each number, which is in E.164 or [`ANY_NUMBER`].
    pub numbers: BTreeMap<String, String>,
    /// What callers hear who reach no box.
    pub words: Words,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What it signs with, the current one first; a second one while they are exchanged.
    pub tokens: Vec<Token>,
    /// Where its recordings are, if elsewhere than `twilio.api_url` says.
    pub api_url: Option<String>,
}

/// What callers hear who reach no box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Words {
    /// As Twilio's `<Say>` names it, e.g. `en-US`.
    pub language: String,
    /// As Twilio's `<Say>` names it; its own choice without.
    pub voice: Option<String>,
    /// Before the tone; [`GREETING`] without.
    pub greeting: Option<String>,
    /// After the message; [`GOODBYE`] without.
    pub goodbye: Option<String>,
    /// If nothing was recorded; [`NOTHING`] without.
    pub nothing: Option<String>,
    /// The longest message, in seconds. 10 to 600.
    pub limit_seconds: u32,
    /// How much silence ends it, in seconds. 2 to 30.
    pub silence_seconds: u32,
}

impl Default for Words {
    fn default() -> Self {
        Words {
            language: "en-US".to_owned(),
            voice: None,
            greeting: None,
            goodbye: None,
            nothing: None,
            limit_seconds: 180,
            silence_seconds: 5,
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsMistake {
    /// No account SID.
    #[error("account {0:?}: expected an account SID, AC and 32 hexadecimal digits")]
    Account(String),
    /// No token.
    #[error("the token: expected one line of 1 to 128 letters, digits and signs, as the account's page shows it")]
    Token,
    /// No number.
    #[error("number {0:?}: expected one in E.164 such as +12125550142, or \"*\" for all others")]
    Number(String),
    /// No name of a box.
    #[error("box {0:?}: expected 1 to 63 lower-case letters, digits and hyphens; see `offhook-cloud boxes`")]
    BoxId(String),
    /// No language.
    #[error("language {0:?}: expected one such as en-US or de-DE")]
    Language(String),
    /// No voice.
    #[error("voice {0:?}: expected a name such as Polly.Joanna")]
    Voice(String),
    /// Too long, or nothing.
    #[error("{key}: expected 1 to {WORDS_MAX} characters")]
    Words {
        /// Of which words.
        key: &'static str,
    },
    /// Words in another language than the one they are spoken in.
    #[error("{key}: expected words in {language}, because the built-in ones are English")]
    English {
        /// Of which words.
        key: &'static str,
        /// In which they would be spoken.
        language: String,
    },
    /// Out of range.
    #[error("{key} = {value}: expected {from} to {to}")]
    Range {
        /// Which.
        key: &'static str,
        /// What was given.
        value: u32,
        /// At least.
        from: u32,
        /// At most.
        to: u32,
    },
    /// No address.
    #[error("api_url {0:?}: expected an address such as https://api.dublin.ie1.twilio.com")]
    ApiUrl(String),
}

/// Whether it is a SID: two letters and 32 hexadecimal digits.
pub fn is_sid(text: &str, prefixes: &[&str]) -> bool {
    let rest = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
    rest.is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether it is a number in E.164.
pub fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (4..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it is an address of the web that secrets may be sent to: over TLS, or on this machine.
pub fn is_safe_url(url: &str) -> bool {
    let host = |scheme: &str| url.strip_prefix(scheme).and_then(|rest| rest.split(['/', ':', '?', '#']).next());
    let here = host("http://").is_some_and(|host| ["localhost", "127.0.0.1"].contains(&host));
    let clean =
        url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['?', '#', '@']) && !url.ends_with('/');
    clean && (here || host("https://").is_some_and(|host| !host.is_empty()))
}

impl Settings {
    /// Takes an account in; with `keeps_previous` what it signed with before is believed too.
    ///
    /// # Errors
    /// [`SettingsMistake`].
    pub fn set_account(
        &mut self,
        sid: &str,
        token: Token,
        keeps_previous: bool,
        api_url: Option<String>,
    ) -> Result<(), SettingsMistake> {
        if !is_sid(sid, &["AC"]) {
            return Err(SettingsMistake::Account(sid.to_owned()));
        }
        if let Some(url) = api_url.as_ref().filter(|url| !is_safe_url(url)) {
            return Err(SettingsMistake::ApiUrl(url.clone()));
        }
        let before = self.accounts.remove(sid);
        let previous = before.into_iter().flat_map(|account| account.tokens).find(|one| *one != token);
        let tokens = std::iter::once(token.clone()).chain(previous.filter(|_| keeps_previous)).collect();
        self.accounts.insert(sid.to_owned(), Account { tokens, api_url });
        Ok(())
    }

    /// A number is this box's.
    ///
    /// # Errors
    /// [`SettingsMistake`].
    pub fn set_number(&mut self, number: &str, box_id: &str) -> Result<(), SettingsMistake> {
        if number != ANY_NUMBER && !is_number(number) {
            return Err(SettingsMistake::Number(number.to_owned()));
        }
        if !is_name(box_id) {
            return Err(SettingsMistake::BoxId(box_id.to_owned()));
        }
        self.numbers.insert(number.to_owned(), box_id.to_owned());
        Ok(())
    }

    /// The box of a number.
    pub fn box_of(&self, number: &str) -> Option<&str> {
        self.numbers.get(number).or_else(|| self.numbers.get(ANY_NUMBER)).map(String::as_str)
    }
}

impl Words {
    /// What is wrong with them.
    ///
    /// # Errors
    /// [`SettingsMistake`].
    pub fn check(&self) -> Result<(), SettingsMistake> {
        let mut parts = self.language.split('-');
        let is_part = |part: &str, from: usize, to: usize| {
            (from..=to).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if !parts.next().is_some_and(|first| is_part(first, 2, 3)) || !parts.all(|part| is_part(part, 1, 8)) {
            return Err(SettingsMistake::Language(self.language.clone()));
        }
        let is_voice = |voice: &String| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            (1..=64).contains(&voice.len()) && voice.bytes().all(fits)
        };
        if let Some(voice) = self.voice.as_ref().filter(|voice| !is_voice(voice)) {
            return Err(SettingsMistake::Voice(voice.clone()));
        }
        let is_english = self.language == "en" || self.language.starts_with("en-");
        for (key, words) in [("greeting", &self.greeting), ("goodbye", &self.goodbye), ("nothing", &self.nothing)] {
            match words {
                Some(words) if !(1..=WORDS_MAX).contains(&words.trim().chars().count()) => {
                    return Err(SettingsMistake::Words { key });
                }
                None if !is_english => {
                    return Err(SettingsMistake::English { key, language: self.language.clone() });
                }
                Some(_) | None => {}
            }
        }
        for (key, value, from, to) in
            [("limit_seconds", self.limit_seconds, 10, 600), ("silence_seconds", self.silence_seconds, 2, 30)]
        {
            if !(from..=to).contains(&value) {
                return Err(SettingsMistake::Range { key, value, from, to });
            }
        }
        Ok(())
    }
}

fn place(tenant_id: &str) -> Place<'_> {
    Place { tenant_id, kind: DocumentKind::Twilio, name: "settings" }
}

fn read(body: Option<&str>) -> Result<Settings, StoreError> {
    let Some(body) = body else { return Ok(Settings::default()) };
    // The error of a parser may show what it was about.
    serde_json::from_str(body)
        .map_err(|error| StoreError::Document(format!("Twilio's settings, column {}", error.column())))
}

/// What a tenant has at Twilio.
///
/// # Errors
/// Of the store.
pub fn settings_of(store: &impl Store, tenant_id: &str) -> Result<Settings, StoreError> {
    read(store.document(&place(tenant_id))?.as_deref())
}

/// Changes what a tenant has at Twilio.
///
/// # Errors
/// Of the store; then nothing has changed.
pub fn change_settings<T>(
    store: &impl Store,
    tenant_id: &str,
    now: i64,
    mut work: impl FnMut(&mut Settings) -> T,
) -> Result<T, StoreError> {
    store.change_document(&place(tenant_id), now, |body| {
        let before = read(body)?;
        let mut after = before.clone();
        let answer = work(&mut after);
        let written = || serde_json::to_string(&after).map_err(|error| StoreError::Document(error.to_string()));
        let body = if after == before { None } else { Some(written()?) };
        Ok(Change { body, news: false, answer })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Sqlite;

    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";

    #[test]
    fn settings_are_kept_and_their_tokens_shown_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("cloud.db")).unwrap();
        let set = |token: &str, keeps| {
            let token = Token::new(token).unwrap();
            change_settings(&store, "bakery", 1, |settings| {
                settings.set_account(ACCOUNT, token.clone(), keeps, None).unwrap();
                settings.set_number("+12125550142", "box-1").unwrap();
            })
            .unwrap();
            let settings = settings_of(&store, "bakery").unwrap();
            settings.accounts[ACCOUNT].tokens.iter().map(|token| token.reveal().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(set("first\n", false), ["first"]);
        assert_eq!(set("second", true), ["second", "first"]);
        assert_eq!(set("second", true), ["second", "first"]);
        assert_eq!(set("third", true), ["third", "second"]);
        assert_eq!(set("fourth", false), ["fourth"]);
        let settings = settings_of(&store, "bakery").unwrap();
        assert!(!format!("{settings:?}").contains("fourth"));
        assert_eq!((settings.box_of("+12125550142"), settings.box_of("+1")), (Some("box-1"), None));
        assert_eq!(settings_of(&store, "butcher").unwrap(), Settings::default());
    }

    #[test]
    fn each_mistake_says_what_was_expected() {
        let mut settings = Settings::default();
        let token = || Token::new("t").unwrap();
        let said = |mistake: Result<(), SettingsMistake>| mistake.unwrap_err().to_string();
        assert!(said(settings.set_account("AC1", token(), false, None)).contains("32 hexadecimal"));
        let plain = Some("http://api.example".to_owned());
        assert!(said(settings.set_account(ACCOUNT, token(), false, plain)).contains("expected an address"));
        assert!(said(settings.set_number("2125550142", "box-1")).contains("E.164"));
        assert!(said(settings.set_number("*", "Box 1")).contains("lower-case"));
        assert_eq!(settings, Settings::default());
        assert!(Token::new(" \n").unwrap_err().to_string().contains("expected one line"));
        let words = |change: fn(&mut Words)| {
            let mut words = Words::default();
            change(&mut words);
            words.check().unwrap_err().to_string()
        };
        Words::default().check().unwrap();
        assert!(words(|words| words.language = "english".to_owned()).contains("such as en-US"));
        assert!(words(|words| words.language = "de-DE".to_owned()).contains("greeting: expected words in de-DE"));
        assert!(words(|words| words.voice = Some("a b".to_owned())).contains("Polly"));
        assert!(words(|words| words.goodbye = Some(" ".to_owned())).contains("goodbye: expected 1 to"));
        assert!(words(|words| words.limit_seconds = 601).contains("limit_seconds = 601: expected 10 to 600"));
    }

    #[test]
    fn secrets_go_over_tls_or_stay_here() {
        for (url, is_safe) in [
            ("https://api.twilio.com", true),
            ("https://cloud.example.org/hooks", true),
            ("http://127.0.0.1:8080", true),
            ("http://api.twilio.com", false),
            ("https://", false),
            ("https://a.example/", false),
            ("https://a.example?b", false),
            ("https://u:p@a.example", false),
            ("ftp://a.example", false),
        ] {
            assert_eq!(is_safe_url(url), is_safe, "{url}");
        }
    }
}
