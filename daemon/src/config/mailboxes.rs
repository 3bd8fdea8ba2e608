//! `[[mailboxes]]`: messages of one person or one group, apart from those of the office.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Zoned;
use serde::{Deserialize, Serialize};

use super::notices::{ADDRESS, is_address};
use super::{Config, ConfigMistake};
use crate::dial_plan::Target;
use crate::office::hours::Status;
use crate::office::{Office, Route};

/// The longest name.
const NAME_MAX_CHARS: usize = 64;

/// `[[mailboxes]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mailbox {
    /// Whose it is: a name of the office's people, a group of `[[ring_groups]]`, or any other, which only `voicemail:NAME`
    /// leads to.
    pub name: String,
    /// Whose phones play it and show its lamp, instead of the office's.
    pub extensions: Vec<String>,
    /// Who is told of its messages by e-mail. Without any the person's own address, and else the office's.
    pub email: Vec<String>,
    /// What callers hear before they are asked for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting: Option<String>,
    /// Instead, while the office is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting_closed: Option<String>,
    /// Instead, on a holiday, which `{holiday}` stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting_holiday: Option<String>,
    /// Somebody's own voice in a WAV file, instead of `greeting`; the tone follows it at once. Up to a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting_file: Option<PathBuf>,
    /// Instead of `greeting_closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting_closed_file: Option<PathBuf>,
    /// Instead of `greeting_holiday`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting_holiday_file: Option<PathBuf>,
}

/// What callers hear of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxGreeting {
    /// Said by the box.
    Text(String),
    /// A WAV file.
    File(PathBuf),
}

impl Mailbox {
    /// What callers hear at `now`: that of the holiday, of a closed office, or the usual one, the first that there is.
    pub fn greeting(&self, office: &Office, now: &Zoned) -> Option<MailboxGreeting> {
        let now = now.with_time_zone(office.time_zone().clone());
        let holiday = office.calendar.day(now.date()).label;
        let is_closed = matches!(office.calendar.status(&now), Status::Closed { .. });
        let one = |text: &Option<String>, file: &Option<PathBuf>| {
            let said = text.clone().map(MailboxGreeting::Text);
            said.or_else(|| file.clone().map(MailboxGreeting::File))
        };
        let of_holiday = holiday.and_then(|holiday| {
            let text = self.greeting_holiday.as_ref().map(|text| text.replace("{holiday}", holiday));
            one(&text, &self.greeting_holiday_file)
        });
        of_holiday
            .or_else(|| one(&self.greeting_closed, &self.greeting_closed_file).filter(|_| is_closed))
            .or_else(|| one(&self.greeting, &self.greeting_file))
    }

    /// Whether it has this name, in any letters.
    pub fn is_of(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Who is told of its messages by e-mail; nobody in particular if that is empty.
    pub fn told(&self, office: &Office) -> Vec<String> {
        if !self.email.is_empty() {
            return self.email.clone();
        }
        let own = office.person(&self.name).and_then(|person| person.email.as_ref());
        own.map(|email| email.reveal().clone()).into_iter().collect()
    }
}

impl Config {
    /// The mailbox of this name, in any letters.
    pub fn mailbox(&self, name: &str) -> Option<&Mailbox> {
        self.mailboxes.iter().find(|mailbox| mailbox.is_of(name))
    }

    /// The mailbox that the phones of an extension play; `None`: the office's.
    pub fn mailbox_of(&self, extension: &str) -> Option<&Mailbox> {
        self.mailboxes.iter().find(|mailbox| mailbox.extensions.iter().any(|one| one == extension))
    }

    /// The mailbox of whoever is at the end of a route: the person's, the extension's or the group's.
    pub fn mailbox_at(&self, route: &Route) -> Option<&Mailbox> {
        let of_person = route.person.as_ref().and_then(|person| self.mailbox(person));
        of_person.or_else(|| match route.reach.as_ref()? {
            Target::Extension(number) => self.mailbox_of(number),
            Target::Group(name) => self.mailbox(name),
            Target::Attendant | Target::Queue(_) | Target::Voicemail | Target::Mailbox(_) => None,
        })
    }
}

pub(super) fn check(config: &Config, mistakes: &mut Vec<ConfigMistake>) {
    let (mut names, mut extensions) = (BTreeSet::new(), BTreeSet::new());
    for (index, mailbox) in config.mailboxes.iter().enumerate() {
        let mut mistake = |key: &str, value: String, expected: &str| {
            let key = format!("mailboxes[{index}].{key}");
            mistakes.push(ConfigMistake::new(&key, value, expected.to_owned()));
        };
        let name = mailbox.name.as_str();
        let is_name = !name.trim().is_empty() && name.chars().count() <= NAME_MAX_CHARS && name.trim() == name;
        if !is_name || !names.insert(name.to_lowercase()) {
            mistake("name", format!("{name:?}"), "1 to 64 characters without spaces around them, each name once");
        }
        for extension in &mailbox.extensions {
            if !config.has_extension(extension) || !extensions.insert(extension) {
                mistake("extensions", extension.clone(), "numbers of [[extensions]], each in one mailbox");
            }
        }
        for address in mailbox.email.iter().filter(|address| !is_address(address)) {
            mistake("email", address.clone(), ADDRESS);
        }
        for (key, text, file) in [
            ("greeting", &mailbox.greeting, &mailbox.greeting_file),
            ("greeting_closed", &mailbox.greeting_closed, &mailbox.greeting_closed_file),
            ("greeting_holiday", &mailbox.greeting_holiday, &mailbox.greeting_holiday_file),
        ] {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                mistake(key, "nothing".into(), "a sentence, or no such key");
            }
            match file {
                Some(file) if text.is_some() => {
                    mistake(
                        &format!("{key}_file"),
                        file.display().to_string(),
                        &format!("no file, because there is a {key}"),
                    );
                }
                Some(file) if !file.is_file() => {
                    mistake(&format!("{key}_file"), file.display().to_string(), "a WAV file that exists");
                }
                Some(_) | None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;
    use super::*;
    use crate::office::sample;

    #[test]
    fn mistakes_are_named() {
        let right = "[[extensions]]\nnumber = '101'\n[[mailboxes]]\nname = 'Anna Weber'\nextensions = ['101']\n\
            email = ['anna@office.example']\ngreeting = 'This is Anna.'\n[[inbound]]\nto = 'voicemail:anna weber'\n";
        assert_eq!(mistakes_of(right), Vec::<String>::new());
        for (text, key) in [
            ("[[mailboxes]]\nname = ' '", "mailboxes[0].name"),
            ("[[mailboxes]]\nname = 'a'\n[[mailboxes]]\nname = 'A'", "mailboxes[1].name"),
            ("[[mailboxes]]\nname = 'a'\nextensions = ['7']", "mailboxes[0].extensions"),
            ("[[mailboxes]]\nname = 'a'\nemail = ['nobody']", "mailboxes[0].email"),
            ("[[mailboxes]]\nname = 'a'\ngreeting = ' '", "mailboxes[0].greeting"),
            ("[[mailboxes]]\nname = 'a'\ngreeting_file = '/none.wav'", "mailboxes[0].greeting_file"),
            ("[[mailboxes]]\nname = 'a'\ngreeting = 'Hi.'\ngreeting_file = '/none.wav'", "mailboxes[0].greeting_file"),
            ("[[inbound]]\nto = 'voicemail:nobody'", "inbound[0].to"),
        ] {
            let mistakes = mistakes_of(text);
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(key), "{text}: {mistakes:?}");
        }
    }

    #[test]
    fn the_greeting_is_of_the_day() {
        let office = sample::office().unwrap();
        let at = |time: &str| -> Zoned { format!("{time}[America/New_York]").parse().unwrap() };
        let text = |text: &str| Some(text.to_owned());
        let all = Mailbox {
            greeting: text("Open."),
            greeting_closed_file: Some("closed.wav".into()),
            greeting_holiday: text("It is {holiday}."),
            ..Mailbox::default()
        };
        let usual = Mailbox { greeting: text("Open."), ..Mailbox::default() };
        let said = |mailbox: &Mailbox, time: &str| mailbox.greeting(&office, &at(time));
        let is_text = |greeting: Option<MailboxGreeting>, expected: &str| {
            assert_eq!(greeting, Some(MailboxGreeting::Text(expected.into())));
        };
        is_text(said(&all, "2026-11-24T10:00"), "Open.");
        is_text(said(&all, "2026-12-25T10:00"), "It is Christmas.");
        assert_eq!(said(&all, "2026-11-24T22:00"), Some(MailboxGreeting::File("closed.wav".into())));
        is_text(said(&usual, "2026-11-24T22:00"), "Open.");
        is_text(said(&usual, "2026-12-25T10:00"), "Open.");
        assert_eq!(said(&Mailbox::default(), "2026-11-24T10:00"), None);
    }

    #[test]
    fn a_route_ends_at_the_mailbox_of_the_person_the_extension_or_the_group() {
        let mailbox = |name: &str, extension: &str| Mailbox {
            name: name.into(),
            extensions: vec![extension.into()],
            ..Mailbox::default()
        };
        let config =
            Config { mailboxes: vec![mailbox("Anna Weber", "101"), mailbox("front", "102")], ..Config::default() };
        let route = |person: Option<&str>, reach: &str| Route {
            person: person.map(str::to_owned),
            reach: Some(reach.parse().unwrap()),
            mobile: None,
        };
        for (person, reach, expected) in [
            (Some("anna weber"), "group:front", Some("Anna Weber")),
            (Some("Ben Cole"), "extension:102", Some("front")),
            (None, "extension:101", Some("Anna Weber")),
            (None, "group:front", Some("front")),
            (None, "group:back", None),
            (None, "queue:front", None),
        ] {
            let found = config.mailbox_at(&route(person, reach)).map(|mailbox| mailbox.name.as_str());
            assert_eq!(found, expected, "{person:?} {reach}");
        }
    }
}
