//! `[language_model]`: somebody who finds words for answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigMistake, is_web_address};

/// `[language_model]`: an endpoint like OpenAI's that words answers from the office's passages. Off unless it is wanted:
/// what callers ask goes to whoever serves it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageModel {
    /// Whether it is asked.
    pub enabled: bool,
    /// Where `/chat/completions` is appended to.
    pub url: String,
    /// As the endpoint calls it.
    pub model: String,
    /// A file with the key, if one is wanted.
    pub api_key_file: Option<PathBuf>,
    /// From the question to the end of its first sentence; then the built-in answer is said. 200 to 3 000.
    pub first_sentence_milliseconds: u32,
    /// From the question to the end of the answer; what is not there then is left out. 200 to 3 000.
    pub answer_milliseconds: u32,
}

impl Default for LanguageModel {
    fn default() -> LanguageModel {
        LanguageModel {
            enabled: false,
            // Where llama.cpp's own server is found.
            url: "http://127.0.0.1:8080/v1".into(),
            model: "local".into(),
            api_key_file: None,
            // After a second the caller hears "One moment.", after four that nothing is known.
            first_sentence_milliseconds: 1_500,
            answer_milliseconds: 2_500,
        }
    }
}

/// Every mistake, each with its key.
pub(super) fn check(config: &LanguageModel, mistakes: &mut Vec<ConfigMistake>) {
    let mut mistake = |key: &str, value: &str, expected: &str| {
        mistakes.push(ConfigMistake::new(&format!("language_model.{key}"), value, expected.to_owned()));
    };
    if !is_web_address(&config.url) {
        mistake("url", &config.url, "http:// or https:// and a host, up to /v1");
    } else if config.url.trim_end_matches('/').ends_with("/chat/completions") {
        mistake("url", &config.url, "the part before /chat/completions");
    }
    if config.model.trim().is_empty() {
        mistake("model", "nothing", "a name that the endpoint knows");
    }
    if let Some(file) = config.api_key_file.as_ref().filter(|file| config.enabled && !file.is_file()) {
        mistake("api_key_file", &file.display().to_string(), "a file with the key in it");
    }
    let (first, all) = (config.first_sentence_milliseconds, config.answer_milliseconds);
    for (key, value) in [("first_sentence_milliseconds", first), ("answer_milliseconds", all)] {
        if !(200..=3_000).contains(&value) {
            mistake(key, &value.to_string(), "a whole number from 200 to 3000");
        }
    }
    if all < first {
        mistake("answer_milliseconds", &all.to_string(), "at least language_model.first_sentence_milliseconds");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;

    #[test]
    fn mistakes_name_their_key() {
        assert_eq!(mistakes_of("[language_model]\nenabled = true\n"), Vec::<String>::new());
        for (text, key) in [
            ("url = 'localhost:8080'", "language_model.url"),
            ("url = 'http://127.0.0.1:8080/v1/chat/completions'", "language_model.url"),
            ("model = ' '", "language_model.model"),
            ("enabled = true\napi_key_file = '/no/such/file'", "language_model.api_key_file"),
            ("first_sentence_milliseconds = 100", "language_model.first_sentence_milliseconds"),
            ("answer_milliseconds = 4000", "language_model.answer_milliseconds"),
            ("answer_milliseconds = 500", "language_model.answer_milliseconds"),
        ] {
            let mistakes = mistakes_of(&format!("[language_model]\n{text}\n"));
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            assert!(mistakes[0].starts_with(key), "{text}: {mistakes:?}");
        }
    }
}
