//! All wishes about one box, and what became of them.

use std::collections::BTreeMap;

use cloud_api::v1::{Command, CommandResult, Desired, Reported, reported};
use serde::{Deserialize, Serialize};

/// Earlier versions that are remembered.
const HISTORY_MAX: usize = 20;
/// Commands that are remembered.
const COMMANDS_MAX: usize = 50;
/// Of all sections together, in bytes: a box takes a message of 1 MiB.
pub const SECTIONS_MAX_BYTES: usize = 512 << 10;
/// Of what a box says about something, in characters.
const DETAIL_MAX: usize = 64 << 10;

/// The command by which everything about a caller goes.
pub const ERASE_CALLER: &str = "erase-caller";

/// What should be and should be done, and what is known of it. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoxDocument {
    /// The latest configuration that was wished for.
    pub desired: Option<DesiredState>,
    /// Those before it, the latest first.
    pub history: Vec<DesiredState>,
    /// The latest first.
    pub commands: Vec<CommandRecord>,
}

/// One version of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// Counts from 1 for each box.
    pub version: u64,
    /// TOML by section, and files by `knowledge/NAME`.
    pub sections: BTreeMap<String, String>,
    /// When.
    pub set_at: i64,
    /// By whom.
    pub set_by: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a box says about a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing yet.
    Unsent,
    /// It has it and waits, e.g. for calls to end.
    Pending {
        /// What for.
        detail: String,
        /// Since when.
        at: i64,
    },
    /// It is so now.
    Applied {
        /// Since when.
        at: i64,
    },
    /// It will not be.
    Rejected {
        /// Why.
        detail: String,
        /// Since when.
        at: i64,
    },
    /// A later version came first.
    Superseded,
}

/// Something to be done once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// Random.
    pub command_id: String,
    /// What.
    pub name: String,
    /// How.
    pub arguments: BTreeMap<String, String>,
    /// Who wants it.
    pub sent_by: String,
    /// When.
    pub sent_at: i64,
    /// From then on it is not done any more.
    pub expires_at: i64,
    /// None until the box has said.
    pub result: Option<CommandOutcome>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// Whether it was done.
    pub done: bool,
    /// What came of it, or why not.
    pub detail: String,
    /// When we heard.
    pub at: i64,
}

/// Why a wish is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishMistake {
    /// Not even TOML.
    #[error("section {section}: {reason}")]
    Section {
        /// Which.
        section: String,
        /// What is wrong.
        reason: String,
    },
    /// Too much for a message.
    #[error("all sections together have {bytes} bytes: expected at most {SECTIONS_MAX_BYTES}")]
    TooLarge {
        /// How much.
        bytes: usize,
    },
    /// Nothing at all.
    #[error("there is no section in it: expected TOML tables such as [office], or knowledge files")]
    Empty,
}

/// A configuration that somebody wishes for a box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish(BTreeMap<String, String>);

impl Wish {
    /// Sections as they are stored.
    ///
    /// # Errors
    /// [`WishMistake`].
    pub fn new(sections: BTreeMap<String, String>) -> Result<Wish, WishMistake> {
        for (section, text) in &sections {
            if !section.starts_with("knowledge/") {
                check_section(section, text)
                    .map_err(|reason| WishMistake::Section { section: section.clone(), reason })?;
            }
        }
        let bytes = sections.iter().map(|(name, text)| name.len() + text.len()).sum();
        match bytes {
            0 => Err(WishMistake::Empty),
            SECTIONS_MAX_BYTES.. => Err(WishMistake::TooLarge { bytes }),
            _ => Ok(Wish(sections)),
        }
    }

    /// The sections of a file as the box's own is, each by itself.
    ///
    /// # Errors
    /// [`WishMistake`].
    pub fn of_toml(text: &str, files: BTreeMap<String, String>) -> Result<Wish, WishMistake> {
        let mistake = |section: &str, reason: String| WishMistake::Section { section: section.to_owned(), reason };
        let table = text.parse::<toml::Table>().map_err(|error| mistake("file", error.to_string()))?;
        let mut sections: BTreeMap<String, String> =
            files.into_iter().map(|(name, text)| (format!("knowledge/{name}"), text)).collect();
        for (section, value) in table {
            let alone = toml::Table::from_iter([(section.clone(), value)]);
            let text = toml::to_string(&alone).map_err(|error| mistake(&section, error.to_string()))?;
            sections.insert(section, text);
        }
        Wish::new(sections)
    }

    /// By name.
    pub fn sections(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

fn check_section(section: &str, text: &str) -> Result<(), String> {
    let table = text.parse::<toml::Table>().map_err(|error| error.to_string())?;
    let keys: Vec<&String> = table.keys().collect();
    if keys == [section] { Ok(()) } else { Err(format!("expected the one key {section:?} in it, got {keys:?}")) }
}

impl BoxDocument {
    /// Takes a wish; gives its version. The same wish again is the same version, unless the box has rejected it.
    pub fn wish(&mut self, wish: &Wish, by: &str, now: i64) -> u64 {
        let same = |desired: &&DesiredState| {
            desired.sections == wish.0 && !matches!(desired.outcome, Outcome::Rejected { .. })
        };
        if let Some(desired) = self.desired.as_ref().filter(same) {
            return desired.version;
        }
        let version = self.desired.as_ref().map_or(0, |desired| desired.version) + 1;
        if let Some(mut before) = self.desired.take() {
            if matches!(before.outcome, Outcome::Unsent | Outcome::Pending { .. }) {
                before.outcome = Outcome::Superseded;
            }
            self.history.insert(0, before);
            self.history.truncate(HISTORY_MAX);
        }
        let (sections, set_by) = (wish.0.clone(), by.to_owned());
        self.desired = Some(DesiredState { version, sections, set_at: now, set_by, outcome: Outcome::Unsent });
        version
    }

    /// Takes a command; the oldest ones are forgotten.
    pub fn send(&mut self, command: CommandRecord) {
        self.commands.insert(0, command);
        self.commands.truncate(COMMANDS_MAX);
    }

    /// What the box says of its configuration. What it says of another version than the latest is of no use.
    pub fn take_report(&mut self, report: &Reported, now: i64) {
        let Some(desired) = self.desired.as_mut().filter(|desired| desired.version == report.version) else { return };
        let detail: String = report.detail.chars().take(DETAIL_MAX).collect();
        let new = match report.state() {
            reported::State::Applied => Outcome::Applied { at: now },
            reported::State::Rejected => Outcome::Rejected { detail, at: now },
            reported::State::Pending => Outcome::Pending { detail, at: now },
            // A release that does not know states yet.
            reported::State::Unspecified if report.applied => Outcome::Applied { at: now },
            reported::State::Unspecified => Outcome::Rejected { detail, at: now },
        };
        // It says the same with each stream: what counts is since when.
        let same = match (&desired.outcome, &new) {
            (Outcome::Applied { .. }, Outcome::Applied { .. }) => true,
            (Outcome::Rejected { detail: before, .. }, Outcome::Rejected { detail, .. })
            | (Outcome::Pending { detail: before, .. }, Outcome::Pending { detail, .. }) => before == detail,
            (_, _) => false,
        };
        if !same {
            desired.outcome = new;
        }
    }

    /// How a command ended; only the first word counts.
    pub fn take_result(&mut self, result: &CommandResult, now: i64) {
        let open = self.commands.iter_mut().find(|command| command.command_id == result.command_id);
        if let Some(command) = open.filter(|command| command.result.is_none()) {
            let detail = result.detail.chars().take(DETAIL_MAX).collect();
            // Whoever was to be erased must not be remembered here.
            if result.done && command.name == ERASE_CALLER {
                command.arguments.clear();
            }
            command.result = Some(CommandOutcome { done: result.done, detail, at: now });
        }
    }

    /// The configuration for the box, if there is one.
    pub fn desired_message(&self) -> Option<Desired> {
        let DesiredState { version, sections, .. } = self.desired.as_ref()?;
        Some(Desired { version: *version, sections_toml: sections.clone().into_iter().collect() })
    }

    /// The commands that are to be done still, the oldest first.
    pub fn open_commands(&self, now: i64) -> Vec<Command> {
        let open = |command: &&CommandRecord| command.result.is_none() && command.expires_at > now;
        let message = |command: &CommandRecord| Command {
            command_id: command.command_id.clone(),
            expires_at_unix_ms: command.expires_at,
            name: command.name.clone(),
            arguments: command.arguments.clone().into_iter().collect(),
            sent_by: command.sent_by.clone(),
        };
        self.commands.iter().rev().filter(open).map(message).collect()
    }

    /// Whether there is something for the box that was not there before.
    pub(super) fn is_news_after(&self, before: &BoxDocument) -> bool {
        let version = |document: &BoxDocument| document.desired.as_ref().map(|desired| desired.version);
        let latest = |document: &BoxDocument| document.commands.first().map(|command| command.command_id.clone());
        version(self) != version(before) || latest(self) != latest(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(name: &str) -> Wish {
        Wish::of_toml(&format!("[office]\nname = '{name}'"), BTreeMap::new()).unwrap()
    }

    fn reported(version: u64, state: reported::State, detail: &str) -> Reported {
        let applied = state == reported::State::Applied;
        Reported { version, applied, detail: detail.to_owned(), state: state.into() }
    }

    fn command(id: &str, expires_at: i64) -> CommandRecord {
        CommandRecord {
            command_id: id.to_owned(),
            name: "diagnostics".to_owned(),
            arguments: BTreeMap::new(),
            sent_by: "anna".to_owned(),
            sent_at: 1,
            expires_at,
            result: None,
        }
    }

    #[test]
    fn a_file_becomes_sections_that_stand_alone() {
        let text = "[office]\nname = 'A'\n[office.hours]\nmonday = ['9:00-17:00']\n[[extensions]]\nnumber = '101'\n";
        let files = BTreeMap::from([("prices.md".to_owned(), "# Prices".to_owned())]);
        let wish = Wish::of_toml(text, files).unwrap();
        assert_eq!(wish.sections().keys().collect::<Vec<_>>(), ["extensions", "knowledge/prices.md", "office"]);
        assert!(wish.sections()["extensions"].contains("[[extensions]]"), "{wish:?}");
        assert!(Wish::of_toml("[office", BTreeMap::new()).unwrap_err().to_string().contains("file"));
        assert_eq!(Wish::of_toml("", BTreeMap::new()).unwrap_err(), WishMistake::Empty);
        let other = BTreeMap::from([("office".to_owned(), "[sip]".to_owned())]);
        assert!(Wish::new(other).unwrap_err().to_string().contains("the one key \"office\""));
        let large = BTreeMap::from([("knowledge/a.md".to_owned(), "x".repeat(SECTIONS_MAX_BYTES))]);
        assert!(matches!(Wish::new(large), Err(WishMistake::TooLarge { .. })));
    }

    #[test]
    fn versions_count_and_the_same_wish_is_no_new_one() {
        let mut document = BoxDocument::default();
        let before = document.clone();
        assert_eq!(document.wish(&wish("A"), "anna", 1), 1);
        assert!(document.is_news_after(&before));
        assert_eq!(document.wish(&wish("A"), "ben", 2), 1);
        assert_eq!(document.wish(&wish("B"), "ben", 3), 2);
        assert_eq!(document.history[0].outcome, Outcome::Superseded);
        assert_eq!(document.desired_message().unwrap().version, 2);
        let told = document.clone();
        document.take_report(&reported(1, reported::State::Applied, ""), 4);
        assert_eq!(document, told, "the word is about the version before");
        document.take_report(&reported(2, reported::State::Pending, "a call is up"), 5);
        document.take_report(&reported(2, reported::State::Rejected, "office.name: expected"), 6);
        document.take_report(&reported(2, reported::State::Rejected, "office.name: expected"), 7);
        let rejected = Outcome::Rejected { detail: "office.name: expected".to_owned(), at: 6 };
        assert_eq!(document.desired.as_ref().unwrap().outcome, rejected);
        assert!(!document.is_news_after(&told));
        assert_eq!(document.wish(&wish("B"), "ben", 8), 3, "it was rejected: somebody wants it tried again");
    }

    #[test]
    fn a_command_is_open_until_it_has_a_result_or_is_too_late() {
        let mut document = BoxDocument::default();
        document.send(command("a", 100));
        document.send(command("b", 50));
        let open = |document: &BoxDocument, now| -> Vec<String> {
            document.open_commands(now).into_iter().map(|command| command.command_id).collect()
        };
        assert_eq!(open(&document, 49), ["a", "b"]);
        assert_eq!(open(&document, 50), ["a"]);
        for (done, at) in [(true, 60), (false, 70)] {
            let result = CommandResult { command_id: "a".to_owned(), done, detail: "fine".to_owned() };
            document.take_result(&result, at);
        }
        assert_eq!(open(&document, 61), Vec::<String>::new());
        let outcome = CommandOutcome { done: true, detail: "fine".to_owned(), at: 60 };
        assert_eq!(document.commands[1].result, Some(outcome));
        let caller = BTreeMap::from([("caller".to_owned(), "+12125550142".to_owned())]);
        document.send(CommandRecord { name: ERASE_CALLER.to_owned(), arguments: caller, ..command("c", 100) });
        for (done, left) in [(false, 1), (true, 0)] {
            document.commands[0].result = None;
            let detail = String::new();
            document.take_result(&CommandResult { command_id: "c".to_owned(), done, detail }, 60);
            assert_eq!(document.commands[0].arguments.len(), left, "who was to be erased is remembered for as long");
        }
        for number in 0..60 {
            document.send(command(&number.to_string(), 100));
        }
        assert_eq!((document.commands.len(), document.commands[0].command_id.as_str()), (COMMANDS_MAX, "59"));
    }
}
