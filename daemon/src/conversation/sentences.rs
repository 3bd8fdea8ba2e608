//! Splits a text into sentences that can be spoken one at a time: the first sounds while the second is synthesised.

use super::phrases;
use crate::knowledge::sentences::sentences;

/// Sentences of so many words are made in no time.
const SHORT_WORDS: usize = 8;
/// A part that opens a sentence has at least so many words, since the rest is made while it sounds…
const OPENING_WORDS_MIN: usize = 3;
/// …and at most so many, since the caller waits until it is made.
const OPENING_WORDS_MAX: usize = 9;

/// Longer sentences are cut at a comma or a space: a caller can not interrupt a sentence between two thoughts, and a
/// voice takes too long to make it.
pub const MAX_CHARS: usize = 200;

/// The sentences of a text, which may be Markdown: headings and list items are sentences of their own. None is empty or
/// longer than [`MAX_CHARS`] characters.
pub fn split(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block = String::new();
    for line in text.lines() {
        let line = line.trim();
        let own = line.starts_with('#') || line.starts_with("- ") || line.starts_with("* ");
        if line.is_empty() || own {
            finish(&mut block, &mut found);
        }
        if own {
            finish(&mut line.trim_start_matches(['#', '-', '*']).to_string(), &mut found);
            continue;
        }
        block.push(' ');
        block.push_str(line);
    }
    finish(&mut block, &mut found);
    found
}

fn finish(block: &mut String, found: &mut Vec<String>) {
    for sentence in sentences(&std::mem::take(block)) {
        push(sentence, found);
    }
}

fn push(sentence: &str, found: &mut Vec<String>) {
    let mut rest = sentence.trim();
    while rest.chars().count() > MAX_CHARS {
        let limit = rest.char_indices().nth(MAX_CHARS).map_or(rest.len(), |(at, _)| at);
        let comma = rest[..limit].rfind([',', ';', ':']).map(|at| at + 1).filter(|at| *at > limit / 3);
        let cut = comma.or(rest[..limit].rfind(char::is_whitespace)).filter(|at| *at > 0).unwrap_or(limit);
        found.push(rest[..cut].trim_end().to_string());
        rest = rest[cut..].trim_start();
    }
    if rest.chars().any(char::is_alphanumeric) {
        found.push(rest.to_string());
    }
}

/// Parts a long first sentence where a speaker would draw breath, after a comma or the like: its opening sounds while the
/// rest is made. Together the parts are the sentence.
pub(crate) fn open_early(sentences: &mut Vec<String>) {
    let Some(cut) = sentences.first().filter(|first| !phrases::ALL.contains(&first.as_str())).and_then(|s| breath(s))
    else {
        return;
    };
    let rest = sentences[0].split_off(cut);
    sentences[0] = sentences[0].trim_end().to_owned();
    sentences.insert(1, rest);
}

/// Where in bytes its rest begins.
fn breath(sentence: &str) -> Option<usize> {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    if words.len() <= SHORT_WORDS {
        return None;
    }
    // The comma of "January 5, 2027" is not for breathing.
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let found = (OPENING_WORDS_MIN..=OPENING_WORDS_MAX.min(words.len() - 2))
        .find(|&count| words[count - 1].ends_with([',', ';', ':', '–']) && !is_number(words[count]))?;
    let rest = words[found];
    Some(rest.as_ptr() as usize - sentence.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_first_sentences_open_early() {
        for (sentence, opening) in [
            ("We accept Delta Dental, Aetna, Cigna, MetLife and Guardian.", "We accept Delta Dental,"),
            ("If you cancel later than that, or do not come, we charge a fee.", "If you cancel later than that,"),
            ("Please bring your card, please.", "Please bring your card, please."),
            (
                "No, on Sunday the fourteenth we are closed all day, sorry.",
                "No, on Sunday the fourteenth we are closed all day, sorry.",
            ),
            (
                "We are closed on January 5, 2027 and on all of the days before.",
                "We are closed on January 5, 2027 and on all of the days before.",
            ),
            (
                "Children have their own hour on Thursday afternoons here.",
                "Children have their own hour on Thursday afternoons here.",
            ),
        ] {
            let mut sentences = vec![sentence.to_owned(), "And so on.".to_owned()];
            open_early(&mut sentences);
            assert_eq!(sentences[0], opening);
            assert_eq!(sentences.join(" "), format!("{sentence} And so on."));
        }
        let mut fixed = vec![phrases::NO_PERSON.to_owned()];
        open_early(&mut fixed);
        assert_eq!(fixed, [phrases::NO_PERSON], "made before anybody calls");
    }

    #[test]
    fn sentences_end_where_a_speaker_would_stop() {
        for (text, expected) in [
            ("We are open. Come in!", &["We are open.", "Come in!"][..]),
            ("Ask Dr. Chen. He knows.", &["Ask Dr. Chen.", "He knows."]),
            ("Open from 9.30 to 5. Bye.", &["Open from 9.30 to 5.", "Bye."]),
            ("It costs $49.95. Really?", &["It costs $49.95.", "Really?"]),
            ("We close at 5 p.m. on Friday.", &["We close at 5 p.m. on Friday."]),
            ("We close at 5 p.m. We open at 9.", &["We close at 5 p.m.", "We open at 9."]),
            ("No. We are closed.", &["No.", "We are closed."]),
            ("See No. 5 there.", &["See No. 5 there."]),
            ("Write to a@b.com. Thanks.", &["Write to a@b.com.", "Thanks."]),
            (
                "# Title\n\nOne line\nand the next.\n- item one\n- item two",
                &["Title", "One line and the next.", "item one", "item two"],
            ),
            ("Wait… what?", &["Wait…", "what?"]),
            ("J. Smith works here.", &["J. Smith works here."]),
            ("", &[]),
            (" ... ", &[]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_sentence_is_cut_at_a_comma() {
        let text = format!("{}, {}", "word ".repeat(30).trim(), "more ".repeat(30));
        let parts = split(&text);
        assert_eq!(parts.len(), 2);
        assert!(parts[0].ends_with("word,") && parts[1].starts_with("more"));
    }

    proptest! {
        #[test]
        fn no_sentence_is_too_long_and_no_word_is_lost(text in "[a-zA-Z0-9.,!?… ü\n-]{0,600}") {
            let parts = split(&text);
            let letters = |t: &str| t.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            prop_assert!(parts.iter().all(|p| !p.is_empty() && p.chars().count() <= MAX_CHARS));
            prop_assert_eq!(letters(&parts.concat()), letters(&text));
        }
    }
}
