//! What callers say to the sample office, and what should come of it.

use std::path::{Path, PathBuf};

/// Our own corpus, in words that neither the rules nor the examples were written from.
pub const QUESTIONS: &str = include_str!("questions.tsv");

/// One thing a caller says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The words.
    pub text: String,
    /// What it may be understood as: names of intents.
    pub intents: Vec<String>,
    /// Slots it names, with their values.
    pub slots: Vec<(String, String)>,
    /// What the answer must hold: parts with `&` between them, each with alternatives between `|`; `!`: the office does not
    /// know. `None`: not judged.
    pub key: Option<String>,
    /// Somebody who says it, as FLAC.
    pub recording: Option<PathBuf>,
}

impl Row {
    /// Whether the conversation as such is over after it: a message follows (of appointments, too), or the goodbye.
    pub fn ends_talk(&self) -> bool {
        self.intents
            .iter()
            .any(|intent| ["person", "leave_message", "goodbye", "appointment", "complaint"].contains(&intent.as_str()))
    }
}

/// The rows of a table: text, intents, slots, key; `#` begins a comment.
///
/// # Panics
/// A line without four columns.
pub fn parse(table: &str) -> Vec<Row> {
    let row = |line: &str| {
        let [text, intents, slots, key] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}")
        };
        Row {
            text: text.to_owned(),
            intents: intents.split('|').map(str::to_owned).collect(),
            slots: pairs(slots),
            key: (!key.is_empty()).then(|| key.to_owned()),
            recording: None,
        }
    };
    table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(row).collect()
}

fn pairs(slots: &str) -> Vec<(String, String)> {
    slots.split(';').filter_map(|slot| slot.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

/// The shared utterances (see their README) in our words for intents and values. Left out: the one of silence, and what is
/// not English, which is answered in one way only.
///
/// # Panics
/// Its table cannot be read, or has an intent that we do not know.
pub fn shared_rows(folder: &Path) -> Vec<Row> {
    let table = std::fs::read_to_string(folder.join("utterances.tsv")).unwrap();
    let lines = table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let spoken = lines.filter(|columns| columns[2] == "en" && !columns[1].is_empty());
    let row = |columns: Vec<&str>| Row {
        text: columns[1].to_owned(),
        intents: vec![our_intent(columns[5]).to_owned()],
        slots: pairs(columns[6]).into_iter().map(|(name, value)| our_slot(&name, &value)).collect(),
        key: None,
        recording: Some(folder.join(columns[0])),
    };
    spoken.map(row).collect()
}

fn our_intent(theirs: &str) -> &str {
    match theirs {
        "transfer_human" | "transfer_department" => "person",
        "book_appointment" | "cancel_appointment" => "appointment",
        "give_phone" | "give_email" | "give_account" => "details",
        "parking" => "question",
        "opening_hours" | "address" | "complaint" | "price" | "leave_message" | "confirm" | "deny" | "repeat"
        | "goodbye" => theirs,
        _ => panic!("no intent of ours for {theirs}"),
    }
}

fn our_slot(name: &str, value: &str) -> (String, String) {
    let value = match name {
        // How a caller is addressed keeps its case; days and departments do not.
        "for" | "phone" | "email" | "account" | "time" => value.to_owned(),
        _ => value.to_lowercase(),
    };
    (name.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_corpus_has_every_kind_and_no_sentence_of_the_rules_own_table() {
        let rows = parse(QUESTIONS);
        assert!(rows.len() >= 60 && rows.iter().filter(|row| row.key.is_some()).count() >= 30);
        let intents = [
            "opening_hours",
            "address",
            "price",
            "appointment",
            "person",
            "leave_message",
            "repeat",
            "goodbye",
            "confirm",
            "deny",
            "small_talk",
            "complaint",
            "details",
            "question",
        ];
        for intent in intents {
            assert!(rows.iter().any(|row| row.intents.iter().any(|known| known == intent)), "{intent}");
        }
        let known = include_str!("../../../daemon/src/conversation/wordings.tsv");
        let examples = include_str!("../../../daemon/src/conversation/intents.toml");
        for row in &rows {
            assert!(!known.contains(&format!("{}\t", row.text)), "{}", row.text);
            assert!(!examples.contains(&format!("\"{}\"", row.text)), "{}", row.text);
        }
    }

    #[test]
    fn shared_rows_come_in_our_words() {
        let Some(folder) = crate::shared::shared_data("utterances") else { return };
        let rows = shared_rows(&folder);
        assert_eq!(rows.len(), 17, "twenty less the two in German and the silence");
        let booked = rows.iter().find(|row| row.text.contains("next Tuesday")).unwrap();
        assert_eq!(booked.intents, ["appointment"]);
        assert_eq!(booked.slots, [("day".into(), "next tuesday".into()), ("time".into(), "15:00".into())]);
        assert!(rows.iter().all(|row| row.recording.as_ref().is_some_and(|file| file.exists())));
    }
}
