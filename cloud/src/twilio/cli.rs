//! `offhook-cloud twilio`: what tenants have at Twilio.
#![expect(clippy::print_stdout, reason = "a command line's answers go to stdout")]

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::hooks::address;
use super::settings::{GOODBYE, GREETING, NOTHING, Settings, Token, Words};
use super::{change_settings, settings_of};
use crate::clock;
use crate::config::Config;
use crate::names::is_name;
use crate::store::deliveries::Deliveries as _;
use crate::store::{AnyStore, BoxName, BoxRecord, Store as _};

/// Deliveries that are counted for a box.
const COUNTED: u32 = 1_000;

/// Flags of `offhook-cloud twilio`.
#[derive(Debug, Subcommand)]
pub(crate) enum Twilio {
    /// Accounts, numbers and words of a tenant, the addresses to enter at Twilio, and what waits for its boxes
    Show(Show),
    /// Believe what an account signs, and fetch its recordings
    ///
    /// The account's token is kept in the store, like everything that it opens, and never shown.
    Account(AccountArgs),
    /// Believe an account no longer
    ForgetAccount(ForgetAccount),
    /// Texts and calls for a number are a box's
    Number(Number),
    /// Texts and calls for a number are nobody's
    ForgetNumber(ForgetNumber),
    /// What callers hear who reach no box; what is not given stays as it is
    Words(WordsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Whose
    tenant: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    /// Whose
    tenant: String,
    /// The account's SID
    sid: String,
    /// File with the account's token (not an API key's secret); "-" is the standard input
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Go on believing the token before this one too, while they are exchanged
    #[arg(long)]
    keep_previous: bool,
    /// Where its recordings are, for an account of another region, e.g. https://api.dublin.ie1.twilio.com
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetAccount {
    /// Whose
    tenant: String,
    /// The account's SID
    sid: String,
}

#[derive(Debug, Args)]
pub(crate) struct Number {
    /// Whose
    tenant: String,
    /// In E.164, e.g. +12125550142; "*" is every number that is not named
    number: String,
    /// Which box, whole
    box_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetNumber {
    /// Whose
    tenant: String,
    /// As it was given
    number: String,
}

#[derive(Debug, Args)]
pub(crate) struct WordsArgs {
    /// Whose
    tenant: String,
    /// What they are spoken in, as Twilio names it, e.g. en-US
    #[arg(long)]
    language: Option<String>,
    /// Who speaks, as Twilio names it, e.g. Polly.Joanna
    #[arg(long)]
    voice: Option<String>,
    /// Before the tone; it should say that the message is recorded
    #[arg(long)]
    greeting: Option<String>,
    /// After the message
    #[arg(long)]
    goodbye: Option<String>,
    /// If nothing was recorded
    #[arg(long)]
    nothing: Option<String>,
    /// The longest message, in seconds. 10 to 600
    #[arg(long, value_name = "SECONDS")]
    limit_seconds: Option<u32>,
    /// How much silence ends it, in seconds. 2 to 30
    #[arg(long, value_name = "SECONDS")]
    silence_seconds: Option<u32>,
}

impl Twilio {
    pub(crate) fn run(&self, config: &Config, store: &AnyStore) -> anyhow::Result<()> {
        match self {
            Twilio::Show(show) => show.run(config, store),
            Twilio::Account(account) => account.run(store),
            Twilio::ForgetAccount(ForgetAccount { tenant, sid }) => {
                let was_there =
                    change_settings(store, tenant, clock::unix_ms(), |settings| settings.accounts.remove(sid))?;
                anyhow::ensure!(was_there.is_some(), "{tenant} has no account {sid}: see `offhook-cloud twilio show`");
                println!("Nothing that {sid} signs is believed any more.");
                Ok(())
            }
            Twilio::Number(number) => number.run(store),
            Twilio::ForgetNumber(ForgetNumber { tenant, number }) => {
                let was_there =
                    change_settings(store, tenant, clock::unix_ms(), |settings| settings.numbers.remove(number))?;
                anyhow::ensure!(
                    was_there.is_some(),
                    "{tenant} has no number {number}: see `offhook-cloud twilio show`"
                );
                println!("{number} is nobody's.");
                Ok(())
            }
            Twilio::Words(words) => words.run(store),
        }
    }
}

/// Of a tenant that there is.
fn known_tenant(store: &AnyStore, tenant: &str) -> anyhow::Result<()> {
    anyhow::ensure!(is_name(tenant), "tenant {tenant:?}: expected 1 to 63 lower-case letters, digits and hyphens");
    let is_known = store.tenants()?.iter().any(|known| known == tenant);
    anyhow::ensure!(is_known, "there is no tenant {tenant}: `offhook-cloud claim {tenant}` makes one");
    Ok(())
}

impl AccountArgs {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let AccountArgs { tenant, sid, token_file, keep_previous, api_url } = self;
        known_tenant(store, tenant)?;
        let token = read_token(token_file)?;
        change_settings(store, tenant, clock::unix_ms(), |settings| {
            settings.set_account(sid, token.clone(), *keep_previous, api_url.clone())
        })??;
        println!(
            "What {sid} signs is believed. `offhook-cloud twilio show {tenant}` has the addresses to enter there."
        );
        Ok(())
    }
}

fn read_token(file: &Path) -> anyhow::Result<Token> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(4_096).read_to_string(&mut text).context("the token cannot be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?;
    }
    Ok(Token::new(&text)?)
}

impl Number {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let Number { tenant, number, box_id } = self;
        known_tenant(store, tenant)?;
        let of = BoxName { tenant_id: tenant.clone(), box_id: box_id.clone() };
        anyhow::ensure!(store.known_box(&of)?.is_some(), "there is no box {of}: see `offhook-cloud boxes`");
        change_settings(store, tenant, clock::unix_ms(), |settings| settings.set_number(number, box_id))??;
        println!("{number} is {box_id}'s.");
        Ok(())
    }
}

impl WordsArgs {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        known_tenant(store, &self.tenant)?;
        change_settings(store, &self.tenant, clock::unix_ms(), |settings| {
            let words = self.over(&settings.words);
            words.check()?;
            settings.words = words;
            anyhow::Ok(())
        })??;
        println!("Callers who reach no box hear it from now on.");
        Ok(())
    }

    fn over(&self, before: &Words) -> Words {
        let text = |new: &Option<String>, before: &Option<String>| new.clone().or_else(|| before.clone());
        Words {
            language: self.language.clone().unwrap_or_else(|| before.language.clone()),
            voice: text(&self.voice, &before.voice),
            greeting: text(&self.greeting, &before.greeting),
            goodbye: text(&self.goodbye, &before.goodbye),
            nothing: text(&self.nothing, &before.nothing),
            limit_seconds: self.limit_seconds.unwrap_or(before.limit_seconds),
            silence_seconds: self.silence_seconds.unwrap_or(before.silence_seconds),
        }
    }
}

impl Show {
    fn run(&self, config: &Config, store: &AnyStore) -> anyhow::Result<()> {
        known_tenant(store, &self.tenant)?;
        let settings = settings_of(store, &self.tenant)?;
        let mut boxes = Vec::new();
        for record in store.boxes(&self.tenant)? {
            let waiting = waiting(store, &record)?;
            boxes.push((record.name.box_id, waiting));
        }
        if self.json {
            println!("{}", self.as_json(config, &settings, &boxes));
        } else {
            self.print(config, &settings, &boxes);
        }
        Ok(())
    }

    fn address(&self, config: &Config, what: &str) -> String {
        address(config.twilio.url.as_deref().unwrap_or("https://…"), &self.tenant, what)
    }

    fn as_json(&self, config: &Config, settings: &Settings, boxes: &[(String, usize)]) -> serde_json::Value {
        let Settings { accounts, numbers, words } = settings;
        let accounts = accounts
            .iter()
            .map(|(sid, account)| json!({ "sid": sid, "tokens": account.tokens.len(), "api_url": account.api_url }));
        let boxes = boxes.iter().map(|(box_id, waiting)| {
            json!({
                "box": box_id, "waiting": waiting,
                "status_url": self.address(config, &format!("{box_id}/status")),
            })
        });
        json!({
            "voice_url": self.address(config, "voice"), "sms_url": self.address(config, "sms"),
            "accounts": accounts.collect::<Vec<_>>(), "numbers": numbers, "words": words,
            "boxes": boxes.collect::<Vec<_>>(),
        })
    }

    fn print(&self, config: &Config, settings: &Settings, boxes: &[(String, usize)]) {
        if config.twilio.address.is_none() || config.twilio.url.is_none() {
            println!("Nobody is listened to: twilio.address and twilio.url are not set.\n");
        }
        println!("Disaster Recovery URL of the trunk   {}", self.address(config, "voice"));
        println!("\"A message comes in\" of a number     {}", self.address(config, "sms"));
        for (sid, account) in &settings.accounts {
            let more = if account.tokens.len() > 1 { ", with its previous token too" } else { "" };
            let from = account.api_url.as_ref().map_or_else(String::new, |url| format!(", recordings at {url}"));
            println!("Account {sid}{more}{from}");
        }
        if settings.accounts.is_empty() {
            println!("No account yet: `offhook-cloud twilio account {} SID --token-file FILE`.", self.tenant);
        }
        for (number, box_id) in &settings.numbers {
            println!("Number {number} is {box_id}'s");
        }
        if settings.numbers.is_empty() {
            println!("No number yet: `offhook-cloud twilio number {} NUMBER BOX`.", self.tenant);
        }
        for (box_id, waiting) in boxes {
            println!("Box {box_id}: sms.callback_url = {:?}", self.address(config, &format!("{box_id}/status")));
            if *waiting > 0 {
                println!("  {waiting} deliveries wait for it");
            }
        }
        let Words { language, voice, greeting, goodbye, nothing, limit_seconds, silence_seconds } = &settings.words;
        let voice = voice.as_ref().map_or_else(String::new, |voice| format!(", {voice}"));
        println!("Callers who reach no box hear ({language}{voice}):");
        println!("  {}", greeting.as_deref().unwrap_or(GREETING));
        println!("  a tone; up to {limit_seconds} s are recorded, {silence_seconds} s of silence end it");
        println!("  {}", goodbye.as_deref().unwrap_or(GOODBYE));
        println!("  or: {}", nothing.as_deref().unwrap_or(NOTHING));
    }
}

/// How many deliveries a box does not have, up to [`COUNTED`].
fn waiting(store: &AnyStore, record: &BoxRecord) -> anyhow::Result<usize> {
    let epoch = record.state.as_ref().map_or(0, |state| state.epoch);
    Ok(store.outstanding(&record.name, epoch, clock::unix_ms(), COUNTED)?.len())
}
