//! File, environment and command line merged into one table, and that table read key by key.

use std::ffi::OsString;
use std::path::Path;

use toml::{Table, Value};

use super::{Config, ConfigMistake};

/// Prefix of environment variables; `__` separates the parts of a key.
const PREFIX: &str = "OFFHOOK__";
/// Mistakes after which reading stops, so that a wrong file cannot keep us busy.
const MOST_MISTAKES: usize = 50;

/// The merged table, with the mistakes of sources that could not be read. `sections` replace those of the file.
pub(super) fn merged(
    file: Option<&Path>,
    sections: Table,
    environment: impl Iterator<Item = (OsString, OsString)>,
    overrides: &[String],
) -> (Table, Vec<ConfigMistake>) {
    let mut mistakes = Vec::new();
    let mut table = file.map(|path| read_file(path, &mut mistakes)).unwrap_or_default();
    table.extend(sections);
    for (name, value) in environment {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        if let Some(key) = name.strip_prefix(PREFIX) {
            let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            set(&mut table, &path, parse_value(value));
        }
    }
    for entry in overrides {
        match entry.split_once('=') {
            Some((key, value)) => {
                let path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
                set(&mut table, &path, parse_value(value.trim()));
            }
            None => mistakes.push(ConfigMistake::new("--set", entry, "key=value, for example sip.port=5070".into())),
        }
    }
    (table, mistakes)
}

fn read_file(path: &Path, mistakes: &mut Vec<ConfigMistake>) -> Table {
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            mistakes.push(ConfigMistake::new(&name, error, "a readable TOML file".into()));
            return Table::new();
        }
    };
    text.parse::<Table>().unwrap_or_else(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        mistakes.push(ConfigMistake::new(&name, format!("line {line}: {}", error.message()), "valid TOML".into()));
        Table::new()
    })
}

/// A TOML value where the text is one (numbers, booleans, arrays, quoted strings), else the text itself.
fn parse_value(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [section, rest @ ..] => {
            let entry = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            if let Value::Table(inner) = entry {
                set(inner, rest, value);
            }
        }
    }
}

/// Reads the table; each key that cannot be read is noted, taken out and left at its default, until the rest reads.
pub(super) fn deserialize(mut table: Table, mistakes: &mut Vec<ConfigMistake>) -> Config {
    while mistakes.len() < MOST_MISTAKES {
        let error = match serde_path_to_error::deserialize::<_, Config>(table.clone()) {
            Ok(config) => return config,
            Err(error) => error,
        };
        let mut path: Vec<String> = error.path().to_string().split('.').map(str::to_owned).collect();
        path.retain(|part| part != ".");
        let message = error.inner().message().trim().to_owned();
        if let Some(unknown) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            && path.last().map(String::as_str) != Some(unknown)
        {
            path.push(unknown.to_owned());
        }
        path.retain(|part| !part.is_empty());
        let found = value_at(&table, &path).map(ToString::to_string);
        let removed = remove(&mut table, &path).map(|value| value.to_string());
        let found = found.or(removed).unwrap_or_else(|| "nothing".to_owned());
        mistakes.push(ConfigMistake::new(&path.join("."), found, expectation(&message)));
        if path.is_empty() {
            break;
        }
    }
    Config::default()
}

/// serde's message, said as an expectation.
fn expectation(message: &str) -> String {
    if let Some((_, expected)) = message.split_once("expected one of ") {
        return format!("one of the keys {expected}");
    }
    if let Some(missing) = message.strip_prefix("missing field ") {
        return format!("the key {missing} beside it");
    }
    match message.split_once("expected ") {
        Some((_, "u8")) => "a whole number from 0 to 255".to_owned(),
        Some((_, "u16")) => "a whole number from 0 to 65535".to_owned(),
        Some((_, "u32")) => "a whole number that is not negative".to_owned(),
        Some((_, "a boolean")) => "true or false".to_owned(),
        Some((_, expected)) => expected.to_owned(),
        None => format!("something else: {message}"),
    }
}

/// The value at `path` itself, also within an array (`[2]`).
fn value_at<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let (name, indices) = first.split_once('[').map_or((first.as_str(), None), |(name, rest)| (name, Some(rest)));
    let mut value = table.get(name)?;
    for index in indices.into_iter().flat_map(|rest| rest.split('[')) {
        value = value.as_array()?.get(index.trim_end_matches(']').parse::<usize>().ok()?)?;
    }
    match rest {
        [] => Some(value),
        rest => value_at(value.as_table()?, rest),
    }
}

/// Takes the value at `path` out; array parts (`[2]`) take the whole array out.
fn remove(table: &mut Table, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let name = first.split('[').next().unwrap_or(first);
    match table.get_mut(name) {
        Some(Value::Table(inner)) if !rest.is_empty() => {
            if let Some(value) = remove(inner, rest) {
                return Some(value);
            }
            table.remove(name)
        }
        Some(_) => table.remove(name),
        None => None,
    }
}
