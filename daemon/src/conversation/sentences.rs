//! Splits a text into sentences that can be spoken one at a time: the first sounds while the second is synthesised.

/// Longer sentences are cut at a comma or a space: a caller can not interrupt a sentence between two thoughts, and a
/// voice takes too long to make it.
pub const MAX_CHARS: usize = 200;

/// The sentences of a text, which may be Markdown: headings and list items are sentences of their own. None is empty or
/// longer than [`MAX_CHARS`] characters.
pub fn split(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut block = String::new();
    for line in text.lines() {
        let line = line.trim();
        let own = line.starts_with('#') || line.starts_with("- ") || line.starts_with("* ");
        if line.is_empty() || own {
            finish(&mut block, &mut sentences);
        }
        if own {
            finish(&mut line.trim_start_matches(['#', '-', '*']).to_string(), &mut sentences);
            continue;
        }
        block.push(' ');
        block.push_str(line);
    }
    finish(&mut block, &mut sentences);
    sentences
}

fn finish(block: &mut String, sentences: &mut Vec<String>) {
    let text = std::mem::take(block);
    let mut start = 0;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        if matches!(c, '.' | '!' | '?' | '…') && is_end(&text[start..end], &text[end..]) {
            push(&text[start..end], sentences);
            start = end;
        }
    }
    push(&text[start..], sentences);
}

/// Whether a sentence ends between `before`, which ends with its sign, and `after`.
fn is_end(before: &str, after: &str) -> bool {
    const ABBREVIATIONS: &[&str] = &[
        "dr.", "mr.", "mrs.", "ms.", "prof.", "st.", "ave.", "rd.", "e.g.", "i.e.", "etc.", "no.", "vs.", "approx.",
        "incl.", "ext.", "a.m.", "p.m.", "jan.", "feb.", "mar.", "apr.", "jun.", "jul.", "aug.", "sep.", "sept.",
        "oct.", "nov.", "dec.", "tel.", "dept.",
    ];
    if after.is_empty() {
        return true;
    }
    if !after.starts_with(char::is_whitespace) {
        return false;
    }
    if !before.ends_with('.') {
        return true;
    }
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default().to_lowercase();
    let initial = word.len() == 2 && word.starts_with(char::is_alphabetic) && word != "i.";
    let next = after.trim_start().chars().next();
    if !ABBREVIATIONS.contains(&word.trim_start_matches('(')) && !initial {
        return next.is_none_or(|c| !c.is_lowercase());
    }
    // "No." is an answer more often than a number; "at 5 p.m. We …" ends where the next sentence begins.
    match word.as_str() {
        "no." => next.is_some_and(|c| !c.is_ascii_digit()),
        "a.m." | "p.m." | "etc." => next.is_some_and(char::is_uppercase),
        _ => false,
    }
}

fn push(sentence: &str, sentences: &mut Vec<String>) {
    let mut rest = sentence.trim();
    while rest.chars().count() > MAX_CHARS {
        let limit = rest.char_indices().nth(MAX_CHARS).map_or(rest.len(), |(at, _)| at);
        let comma = rest[..limit].rfind([',', ';', ':']).map(|at| at + 1).filter(|at| *at > limit / 3);
        let cut = comma.or(rest[..limit].rfind(char::is_whitespace)).filter(|at| *at > 0).unwrap_or(limit);
        sentences.push(rest[..cut].trim_end().to_string());
        rest = rest[cut..].trim_start();
    }
    if rest.chars().any(char::is_alphanumeric) {
        sentences.push(rest.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
