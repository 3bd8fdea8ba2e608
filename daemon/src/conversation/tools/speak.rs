//! What of a tool's answer is said: plain sentences and simple "key: value" facts, quoted and checked by the guard.
//!
//! Read are: sentences, with Markdown and tags taken off; lines `key: value`; a JSON object's texts, numbers and yes or no
//! at its top level, and a JSON list of texts. Everything else is left out: addresses on the web, code, tables, objects in
//! objects. Instructions in an answer are words like any other.

use serde_json::Value;

use crate::conversation::grounding::check;
use crate::conversation::sentences::split;
use crate::conversation::tools::schema::name_words;
use crate::conversation::words;
use crate::knowledge::best_sentences;
use crate::knowledge::words::{is_stop_word, similar};

/// Characters of an answer that are looked at: nobody listens to more.
const LIMIT: usize = 1_500;
/// Most sentences that are said.
const MAX_SENTENCES: usize = 2;
/// Most facts that are said.
const MAX_FACTS: usize = 3;
/// Words of a key.
const KEY_WORDS: usize = 4;
/// Words of a value that is a fact; a longer one is a sentence.
const FACT_WORDS: usize = 6;
/// Keys whose values are for machines, or nobody's business.
const UNSAID: &[&str] = &["id", "uuid", "guid", "hash", "key", "token", "password", "secret", "etag", "cursor"];
/// A longer word is not one.
const LONGEST_WORD: usize = 30;

/// The sentences to say from a tool's `answer` to `question`; none if it holds nothing that can be read out.
pub fn sentences(answer: &str, question: &str) -> Vec<String> {
    let mut cut: String = answer.chars().take(LIMIT).collect();
    if cut.len() < answer.len() {
        // The last line may have lost its end.
        cut.truncate(cut.rfind('\n').unwrap_or(cut.len()));
    }
    let parts = match serde_json::from_str::<Value>(answer) {
        Ok(value) => of_json(&value),
        Err(_) => of_text(&cut),
    };
    let source = parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n\n");
    let facts: Vec<&Part> = parts.iter().filter(|part| part.is_fact).collect();
    let chosen = if facts.len() == parts.len() {
        about(&facts, question)
    } else {
        split(&best_sentences(&source, question)).into_iter().take(MAX_SENTENCES).collect()
    };
    chosen.into_iter().filter(|sentence| is_speakable(sentence)).take_while(|one| check(one, &source).is_ok()).collect()
}

/// A sentence, or several, of an answer.
struct Part {
    text: String,
    /// `Key: value.`
    is_fact: bool,
}

impl Part {
    fn new(text: &str, is_fact: bool) -> Option<Part> {
        let text = text.trim();
        let ended = text.ends_with(['.', '!', '?']);
        let text = if ended { text.to_owned() } else { format!("{text}.") };
        is_speakable(&text).then_some(Part { text, is_fact })
    }
}

/// The facts that have a word of the question; the first ones if none has.
fn about(facts: &[&Part], question: &str) -> Vec<String> {
    let asked: Vec<String> = words(question).into_iter().filter(|word| !is_stop_word(word)).collect();
    let fits = |fact: &&&Part| words(&fact.text).iter().any(|word| asked.iter().any(|one| similar(one, word)));
    let fitting: Vec<String> = facts.iter().filter(fits).map(|fact| fact.text.clone()).collect();
    let all = || facts.iter().map(|fact| fact.text.clone()).collect();
    let chosen: Vec<String> = if fitting.is_empty() { all() } else { fitting };
    chosen.into_iter().take(MAX_FACTS).collect()
}

fn of_json(value: &Value) -> Vec<Part> {
    match value {
        Value::Object(entries) => match entries.values().next() {
            Some(inner @ Value::Object(_)) if entries.len() == 1 => of_json(inner),
            Some(_) | None => {
                entries.iter().filter_map(|(key, value)| fact(&name_words(key).join(" "), &scalar(value)?)).collect()
            }
        },
        Value::Array(several) => several.iter().filter_map(Value::as_str).flat_map(of_text).collect(),
        Value::String(text) => of_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            scalar(value).and_then(|text| Part::new(&text, true)).into_iter().collect()
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("yes".into()),
        Value::Bool(false) => Some("no".into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn fact(key: &str, value: &str) -> Option<Part> {
    if value.split_whitespace().count() > FACT_WORDS {
        return Part::new(&plain(value), false);
    }
    if key.split_whitespace().last().is_none_or(|word| UNSAID.contains(&word.to_lowercase().as_str())) {
        return None;
    }
    let mut letters = key.trim().chars();
    let key: String = letters.next()?.to_uppercase().chain(letters).collect();
    Part::new(&format!("{key}: {}", plain(value)), true)
}

fn of_text(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut is_code = false;
    let mut block = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            is_code = !is_code;
        }
        // A heading is no sentence.
        let is_prose = !is_code && !line.is_empty() && !line.starts_with(['#', '{', '}', '[', '|', '`', '<']);
        let bare = plain(line.trim_start_matches(['>', '-', '*', '+', ' ']));
        let own = line.starts_with(['-', '*', '+']);
        let pair = if is_prose { key_and_value(&bare) } else { None };
        if !is_prose || own || pair.is_some() {
            parts.extend(split_parts(&std::mem::take(&mut block)));
        }
        match pair {
            Some((key, value)) => parts.extend(fact(key, value)),
            None if is_prose && own => parts.extend(split_parts(&bare)),
            None if is_prose => {
                block.push(' ');
                block.push_str(&bare);
            }
            None => {}
        }
    }
    parts.extend(split_parts(&block));
    parts
}

fn split_parts(block: &str) -> Vec<Part> {
    split(block).iter().filter_map(|sentence| Part::new(sentence, false)).collect()
}

/// `Delivery date: Friday`.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(": ")?;
    let is_key = (1..=KEY_WORDS).contains(&key.split_whitespace().count())
        && key.chars().all(|letter| letter.is_alphanumeric() || letter.is_whitespace());
    (is_key && !value.trim().is_empty()).then_some((key, value))
}

/// Without Markdown's signs and without tags. The text of a link stays, its address goes.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skipped = match letter {
            '<' => rest.find('>').map(|end| end + 1),
            ']' if rest.starts_with("](") => rest.find(')').map(|end| end + 1),
            '[' | '*' | '`' => Some(1),
            _ => None,
        };
        if skipped.is_none() {
            plain.push(letter);
        }
        rest = &rest[skipped.unwrap_or(letter.len_utf8())..];
    }
    plain
}

/// Whether a voice can say it: words, and hardly anything else.
fn is_speakable(text: &str) -> bool {
    let count = |wanted: fn(char) -> bool| text.chars().filter(|letter| wanted(*letter)).count();
    let odd = count(|c| !c.is_alphanumeric() && !c.is_whitespace() && !".,;:!?'’\"-–$€£%°()/@&".contains(c));
    let small = text.to_lowercase();
    let is_address = ["http:", "https:", "www.", "://"].iter().any(|mark| small.contains(mark));
    let is_path = text.split_whitespace().any(|word| word.matches('/').count() > 1);
    let is_long = text.split_whitespace().any(|word| word.chars().count() > LONGEST_WORD);
    count(char::is_alphanumeric) > 0
        && odd == 0
        && !is_address
        && !is_path
        && !is_long
        && !text.chars().any(|c| "{}[]<>|\\=`".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_sentences_and_simple_facts_are_said() {
        for (answer, question, expected) in [
            ("Echo: hello", "say hello", &["Echo: hello."][..]),
            (
                "Your order has shipped. It arrives on Friday.",
                "Where is my order?",
                &["Your order has shipped.", "It arrives on Friday."],
            ),
            (
                "# Lift\n\nThe **lift** is out of order until Friday.",
                "Is the lift working?",
                &["The lift is out of order until Friday."],
            ),
            (
                r#"{"temperature":36,"conditions":"Light rain / drizzle","humidity":82}"#,
                "How is the weather?",
                &["Conditions: Light rain / drizzle.", "Humidity: 82.", "Temperature: 36."],
            ),
            (r#"{"temperature":36,"humidity":82}"#, "How is the humidity?", &["Humidity: 82."]),
            ("{\"result\":{\"deliveryDate\":\"Friday\",\"id\":null}}", "", &["Delivery date: Friday."]),
            (r#"["Mills is out today.", "Ask Brown."]"#, "Is Mills there?", &["Mills is out today."]),
            ("Status: shipped\nDate: Friday", "What is the status?", &["Status: shipped."]),
            ("<p>We are <b>open</b> today.</p>\nWe are open today.", "", &["We are open today."]),
            ("See [our page](https://x.example/a) for it.", "", &["See our page for it."]),
        ] {
            assert_eq!(sentences(answer, question), expected, "{answer}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for answer in [
            "",
            "   ",
            "https://x.example/a?b=c",
            "Look at https://x.example/a.",
            "```\nlet a = 1;\n```",
            "| a | b |\n|---|---|",
            r#"{"a":{"b":1},"c":{"d":2}}"#,
            r#"[{"a":1},{"a":2}]"#,
            r#"{"bookingId":"b-1","api_key":"x1"}"#,
            "null",
            "Successfully wrote to /var/lib/desk/note.txt",
            &"x".repeat(4_000),
            "a9f8e7d6c5b4a3f2e1d0c9b8a7f6e5d4c3b2a1",
        ] {
            assert_eq!(sentences(answer, "What is it?"), Vec::<String>::new(), "{answer}");
        }
    }

    proptest! {
        /// Whatever a server answers: at most a few sentences, each of the answer's own words, none of them markup.
        #[test]
        fn any_answer_is_survived(answer in "\\PC{0,200}|[a-zA-Z0-9 .:,{}\\[\\]\"<>*#`|\n-]{0,400}", question in "\\PC{0,40}") {
            let said = sentences(&answer, &question);
            prop_assert!(said.len() <= MAX_FACTS);
            for sentence in said {
                prop_assert!(is_speakable(&sentence), "{sentence}");
            }
        }
    }
}
