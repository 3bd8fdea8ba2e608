//! Whom a call is for, as the configuration names them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who takes a call. In the configuration: `attendant`, `extension:101`, `group:front`,
/// `queue:sales`, `voicemail`, `voicemail:anna`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// The box itself.
    #[default]
    Attendant,
    /// The phones of an extension.
    Extension(String),
    /// The phones of a group.
    Group(String),
    /// Whoever of a queue is free first; the caller waits with music.
    Queue(String),
    /// The caller is asked for a message at once.
    Voicemail,
    /// And that goes into the mailbox of this name.
    Mailbox(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Attendant => f.write_str("attendant"),
            Target::Voicemail => f.write_str("voicemail"),
            Target::Mailbox(name) => write!(f, "voicemail:{name}"),
            Target::Extension(number) => write!(f, "extension:{number}"),
            Target::Group(name) => write!(f, "group:{name}"),
            Target::Queue(name) => write!(f, "queue:{name}"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match text.split_once(':') {
            None if text == "attendant" => Ok(Target::Attendant),
            None if text == "voicemail" => Ok(Target::Voicemail),
            Some(("extension", number)) => Ok(Target::Extension(number.to_owned())),
            Some(("group", name)) => Ok(Target::Group(name.to_owned())),
            Some(("voicemail", name)) => Ok(Target::Mailbox(name.to_owned())),
            Some(("queue", name)) => Ok(Target::Queue(name.to_owned())),
            None | Some(_) => {
                let expected = "\"attendant\", \"voicemail\", \"voicemail:NAME\", \"extension:NUMBER\", \"group:NAME\" or \"queue:NAME\"";
                Err(format!("{text:?}: expected {expected}"))
            }
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Target, String> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}
