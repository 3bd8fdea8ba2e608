//! `[[mcp_servers]]`: programs and services whose tools the box may use during a call (Model Context Protocol).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigMistake, is_web_address};

/// One server: a program of this machine or a service in the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct McpServer {
    /// For logs and commands: 1 to 32 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// A program and its arguments, which speaks over its standard input and output. Either this or `url`.
    pub command: Vec<String>,
    /// Environment of the program, beside `PATH` and `HOME`.
    pub environment: BTreeMap<String, String>,
    /// Where a service answers over streamable HTTP.
    pub url: Option<String>,
    /// A file with the bearer token for `url`.
    pub token_file: Option<PathBuf>,
    /// What may be used of it; nothing else is.
    pub tools: Vec<McpTool>,
}

/// A tool that may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct McpTool {
    /// As the server calls it.
    pub name: String,
    /// What it may do.
    pub scope: ToolScope,
    /// What callers say who need it, in a few words; several ways to say it are parted by semicolons. What the server says
    /// about it is only data.
    pub says: String,
    /// What it does, as it is told to the caller after "I can": needed for one that does more than look something up.
    pub does: String,
    /// Arguments that it is always given; callers are not asked for them.
    pub arguments: BTreeMap<String, serde_json::Value>,
    /// The fingerprint of its description, 64 digits of `offhook mcp list`. A tool that is described otherwise is not used.
    pub sha256: String,
}

/// What a tool may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolScope {
    /// Only look something up.
    #[default]
    Read,
    /// Change something: only after the caller has heard what, and said yes.
    Write,
    /// Make somebody's telephone ring.
    Dial,
}

/// Every mistake, each with its key.
pub(super) fn check(servers: &[McpServer], mistakes: &mut Vec<ConfigMistake>) {
    let mut names = BTreeSet::new();
    for (index, server) in servers.iter().enumerate() {
        let mut mistake = |key: &str, value: String, expected: &str| {
            mistakes.push(ConfigMistake::new(&format!("mcp_servers[{index}].{key}"), value, expected.to_owned()));
        };
        let is_plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        if !(1..=32).contains(&server.name.len()) || !server.name.bytes().all(is_plain) {
            mistake("name", format!("{:?}", server.name), "1 to 32 of a-z, 0-9 and -");
        } else if !names.insert(server.name.as_str()) {
            mistake("name", server.name.clone(), "a name that no other server has");
        }
        match (&server.url, server.command.is_empty()) {
            (None, true) => mistake("command", "none".into(), "a program and its arguments, or url"),
            (Some(url), false) => mistake("url", url.clone(), "either command or url"),
            (Some(url), true) if !is_web_address(url) => mistake("url", url.clone(), "http:// or https:// and a host"),
            (Some(_), true) | (None, false) => {}
        }
        if let Some(file) = server.token_file.as_ref().filter(|_| server.url.is_none()) {
            mistake(
                "token_file",
                file.display().to_string(),
                "only with url; a program gets its secrets by environment",
            );
        }
        let mut tools = BTreeSet::new();
        for (place, tool) in server.tools.iter().enumerate() {
            if tool.name.is_empty() || !tools.insert(tool.name.as_str()) {
                mistake(&format!("tools[{place}].name"), format!("{:?}", tool.name), "a name that is given once");
            }
            if tool.says.trim().is_empty() {
                mistake(&format!("tools[{place}].says"), "nothing".into(), "when the tool is of use, in a few words");
            }
            if tool.scope != ToolScope::Read && tool.does.trim().is_empty() {
                let expected = "what it does, to be said after \"I can\", for example: book an appointment";
                mistake(&format!("tools[{place}].does"), "nothing".into(), expected);
            }
            let is_digest = tool.sha256.len() == 64 && tool.sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !is_digest {
                let expected = "64 hexadecimal digits; `offhook mcp list` shows them";
                mistake(&format!("tools[{place}].sha256"), format!("{:?}", tool.sha256), expected);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;

    const RIGHT: &str = "[[mcp_servers]]\nname = 'desk'\ncommand = ['desk-mcp', '--stdio']\n\
        [[mcp_servers.tools]]\nname = 'find'\nsays = 'finds an order'\n\
        sha256 = '0000000000000000000000000000000000000000000000000000000000000000'\n";

    #[test]
    fn mistakes_name_their_key() {
        assert_eq!(mistakes_of(RIGHT), Vec::<String>::new());
        for (text, key) in [
            ("[[mcp_servers]]\nname = 'desk'\ncommand = ['x']", "mcp_servers[1].name"),
            ("[[mcp_servers]]\nname = 'Desk 2'\ncommand = ['x']", "mcp_servers[1].name"),
            ("[[mcp_servers]]\nname = 'b'", "mcp_servers[1].command"),
            ("[[mcp_servers]]\nname = 'b'\nurl = 'ftp://x'", "mcp_servers[1].url"),
            ("[[mcp_servers]]\nname = 'b'\ncommand = ['x']\nurl = 'https://x.example'", "mcp_servers[1].url"),
            ("[[mcp_servers]]\nname = 'b'\ncommand = ['x']\ntoken_file = '/t'", "mcp_servers[1].token_file"),
            ("[[mcp_servers.tools]]\nname = 'get'\nsays = 'gets'", "mcp_servers[0].tools[1].sha256"),
            ("scope = 'write'\n", "mcp_servers[0].tools[0].does"),
        ] {
            let mistakes = mistakes_of(&format!("{RIGHT}{text}\n"));
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            assert!(mistakes[0].starts_with(key), "{text}: {mistakes:?}");
        }
    }
}
