//! The boot loader's variables, in a file on the EFI partition: RAUC's own and our two.
//!
//! | Variable | Set by | Means |
//! |---|---|---|
//! | `ORDER` | RAUC | which slot to try first: `A B` |
//! | `A_OK` | RAUC | the slot may be booted |
//! | `A_TRY` | GRUB, at each boot of a slot that is not confirmed; RAUC clears it | it was tried and has not been found good since |
//! | `A_CONFIRMED` | `offhook update confirm`; the bundle's install hook clears it | what is in the slot passed the health gate: tries no longer count |
//!
//! and the same for B. `grub-editenv` reads and writes the file: its block has a fixed size and is written in place,
//! which a FAT partition survives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::tool::{Tool, ToolError};

/// Two reads and a write of one kilobyte.
const LIMIT: Duration = Duration::from_secs(20);

/// The variables as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads `NAME=value` lines.
    pub fn parse(text: &str) -> Variables {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Variables(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }

    /// Whether what is in the slot has passed the health gate.
    pub fn is_confirmed(&self, bootname: &str) -> bool {
        self.flag(bootname, "CONFIRMED")
    }

    /// How often the boot loader would still try this slot: once unless it was tried already, never when it is not OK;
    /// `None`, any number of times, when it is confirmed.
    pub fn tries_left(&self, bootname: &str) -> Option<u32> {
        match (self.flag(bootname, "OK"), self.is_confirmed(bootname)) {
            (false, _) => Some(0),
            (true, true) => None,
            (true, false) => Some(u32::from(!self.flag(bootname, "TRY"))),
        }
    }

    /// The first slot in `ORDER` that would be tried.
    pub(super) fn next<'a>(&self, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
        let order = self.0.get("ORDER")?;
        let mut names = order.split_whitespace().filter(|name| known.clone().any(|slot| slot == *name));
        names.find(|name| self.tries_left(name) != Some(0)).map(str::to_owned)
    }

    fn flag(&self, bootname: &str, what: &str) -> bool {
        self.0.get(&format!("{bootname}_{what}")).is_some_and(|value| value == "1")
    }
}

/// The file and the program that edits it.
#[derive(Debug, Clone)]
pub struct Grubenv {
    tool: Tool,
    path: PathBuf,
}

impl Grubenv {
    /// `path` edited by `program`.
    pub fn new(program: PathBuf, path: PathBuf) -> Grubenv {
        Grubenv { tool: Tool::new(program, Vec::new()), path }
    }

    /// All variables.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn read(&self) -> Result<Variables, ToolError> {
        let output = self.tool.run(&[self.path.as_os_str(), "list".as_ref()], LIMIT).await?;
        Ok(Variables::parse(&output))
    }

    /// Notes that what is in the slot has passed the health gate, and reads it back.
    ///
    /// # Errors
    /// [`ToolError`]; also when the note does not stay.
    pub async fn confirm(&self, bootname: &str) -> Result<(), ToolError> {
        let setting = format!("{bootname}_CONFIRMED=1");
        self.tool.run(&[self.path.as_os_str(), "set".as_ref(), setting.as_ref()], LIMIT).await?;
        if self.read().await?.is_confirmed(bootname) {
            return Ok(());
        }
        let reason = format!("{setting} was written to {} and is not there", self.path.display());
        Err(self.tool.failed("set", reason))
    }
}
