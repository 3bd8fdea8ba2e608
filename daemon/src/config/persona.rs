//! `[persona]`: as whom the box speaks.

use serde::{Deserialize, Serialize};

use super::ConfigMistake;

/// What says that a machine speaks, in small letters.
const MACHINE_WORDS: [&str; 9] =
    ["automatic", "automated", "artificial", "machine", "computer", "robot", "virtual", "digital", "ai"];

/// `[persona]`: its voice is `models.text_to_speech`, what it says first is `office.disclosure` and `office.greeting`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Persona {
    /// What it calls itself when it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Instead of the office's greeting while the office is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting_closed: Option<String>,
    /// Instead of both on one of the office's holidays; `{holiday}` is its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting_holiday: Option<String>,
    /// Words and phrases that no answer may have, wherever it comes from. A sentence with one is left out.
    pub never_says: Vec<String>,
    /// How a language model is to speak, a sentence each; what it may say is not theirs to widen.
    pub rules: Vec<String>,
}

/// Every mistake, each with its key.
pub(super) fn check(persona: &Persona, disclosure: Option<&str>, mistakes: &mut Vec<ConfigMistake>) {
    let mut mistake = |key: &str, value: &str, expected: &str| {
        mistakes.push(ConfigMistake::new(key, value, expected.to_owned()));
    };
    let texts = [
        ("persona.name", &persona.name, 40),
        ("persona.greeting_closed", &persona.greeting_closed, 300),
        ("persona.greeting_holiday", &persona.greeting_holiday, 300),
    ];
    for (key, text, most) in texts {
        if let Some(text) = text.as_ref().filter(|text| text.trim().is_empty() || text.chars().count() > most) {
            mistake(key, text, &format!("1 to {most} letters, or nothing at all"));
        }
    }
    for (index, phrase) in persona.never_says.iter().enumerate() {
        if !phrase.contains(char::is_alphanumeric) {
            mistake(&format!("persona.never_says[{index}]"), phrase, "a word or a phrase");
        }
    }
    let says_it = |text: &str| {
        let text = text.to_lowercase();
        text.split(|letter: char| !letter.is_alphanumeric()).any(|word| MACHINE_WORDS.contains(&word))
    };
    if let Some(text) = disclosure.filter(|text| !says_it(text)) {
        let expected = "a sentence that says that a machine speaks, with one of these words: ";
        mistake("office.disclosure", text, &format!("{expected}{}", MACHINE_WORDS.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;

    #[test]
    fn mistakes_name_their_key() {
        assert_eq!(mistakes_of("[persona]\nname = 'Mia'\nnever_says = ['free of charge']\n"), Vec::<String>::new());
        for (text, key) in [
            ("[persona]\nname = ' '", "persona.name"),
            ("[persona]\nnever_says = ['free', '...']", "persona.never_says[1]"),
            ("[office]\nname = 'X'\ntime_zone = 'UTC'\ndisclosure = 'Hello, this is Mia.'", "office.disclosure"),
        ] {
            let mistakes = mistakes_of(&format!("{text}\n"));
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            assert!(mistakes[0].starts_with(key), "{text}: {mistakes:?}");
        }
        let said = "[office]\nname = 'X'\ntime_zone = 'UTC'\ndisclosure = 'You speak with an AI.'\n";
        assert_eq!(mistakes_of(said), Vec::<String>::new());
    }
}
