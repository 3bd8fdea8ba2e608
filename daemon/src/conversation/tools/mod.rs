//! Tools of other programs in a conversation: which one is meant, what it has to be told, and what of its answer is said.
//!
//! ```text
//! utterance ─► choose ─► fill ─► decide: ask for what is missing, read back, or use ─► (the shell) ─► speak
//! ```
//! A tool is chosen by the words of the configuration, never by what its server says about it. Of its arguments only those
//! are filled that a caller can say: see [`Kind`]; the configuration may give others. What changes something or rings
//! somebody is used only after the caller has heard what will be done and has said yes; the turn machine sees to it that
//! nothing else is. The answer is text to quote from, and is held to the same guard as a passage.
//!
//! Left out on purpose: using a tool (the shell does), lists and objects as arguments, and tools that need two values of one
//! kind.

pub mod built_in;
mod choose;
mod decide;
mod fill;
mod schema;
mod speak;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::config::ToolScope;
use crate::mcp::Offered;

pub use choose::{Candidate, Phrase};
pub use decide::{Asked, reply};
pub use schema::{Argument, Kind, Unusable};
pub use speak::sentences;

/// A tool that a caller can be helped with.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Name of its server in the configuration.
    pub server: String,
    /// As the server calls it.
    pub name: String,
    /// What it may do.
    pub scope: ToolScope,
    /// What it does, to be said after "I can".
    pub does: String,
    /// Arguments that the configuration gives.
    pub fixed: Map<String, Value>,
    /// What else it has to be told.
    pub wants: Vec<Argument>,
}

impl Tool {
    /// The tool, if a caller can say all that it needs.
    ///
    /// # Errors
    /// [`Unusable`], with the argument.
    pub fn new(offered: &Offered) -> Result<Tool, Unusable> {
        Ok(Tool {
            server: offered.server.clone(),
            name: offered.name.clone(),
            scope: offered.scope,
            does: offered.does.clone(),
            wants: schema::wanted(&offered.schema, &offered.arguments, offered.scope)?,
            fixed: offered.arguments.clone(),
        })
    }
}

/// What a tool is to be used with.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Name of its server in the configuration.
    pub server: String,
    /// As the server calls it.
    pub name: String,
    /// What it may do.
    pub scope: ToolScope,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

impl ToolCall {
    /// How turn rows cite it.
    pub fn source(&self) -> String {
        match self.is_built_in() {
            true => built_in::SOURCE.to_owned(),
            false => format!("mcp:{}/{}", self.server, self.name),
        }
    }

    /// Whether the box does it itself.
    pub fn is_built_in(&self) -> bool {
        built_in::is_built_in(&self.server)
    }
}

/// A tool that is about to be used: something is asked of the caller before, or nothing is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// Which.
    pub tool: Tool,
    /// What the caller wants to know, for choosing the sentences of the answer.
    pub question: String,
    /// What comes next.
    pub stage: Stage,
    /// What is said at this stage; empty for [`Stage::Use`].
    pub sentences: Vec<String>,
    given: Vec<fill::Given>,
}

/// What comes next for a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The caller is asked for an argument.
    Ask {
        /// Its name.
        argument: String,
        /// How often they have been asked.
        times: u32,
    },
    /// The caller is told what will be done and has to say yes.
    Confirm {
        /// How often they have been told.
        times: u32,
        /// Whether they have heard it to its end. Only the turn machine knows.
        heard: bool,
    },
    /// It is used.
    Use,
}

impl Pending {
    /// One with nothing but fixed arguments.
    #[cfg(test)]
    pub(crate) fn fixed(tool: Tool, stage: Stage, sentences: Vec<String>) -> Pending {
        Pending { tool, question: String::new(), stage, sentences, given: Vec::new() }
    }

    /// What the tool will be called with.
    pub fn call(&self) -> ToolCall {
        let mut arguments = self.tool.fixed.clone();
        arguments.extend(self.given.iter().map(|given| (given.argument.clone(), given.value.clone())));
        ToolCall { server: self.tool.server.clone(), name: self.tool.name.clone(), scope: self.tool.scope, arguments }
    }

    /// The same, with whether the caller has heard its sentences to their end.
    #[must_use]
    pub fn with_heard(mut self, is_heard: bool) -> Pending {
        if let Stage::Confirm { heard, .. } = &mut self.stage {
            *heard = is_heard;
        }
        self
    }

    /// Whether the caller has heard what will be done, and was asked.
    pub fn is_heard(&self) -> bool {
        matches!(self.stage, Stage::Confirm { heard: true, .. })
    }
}
