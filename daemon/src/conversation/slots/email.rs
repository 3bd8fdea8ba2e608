//! E-mail addresses as callers say them: "anna dot smith at example dot com", "j underscore doe, all one word".

use super::digits::digits;
use super::spelling;

/// Words between "my e-mail is" and "at" that are not part of the address.
const ASIDE: &[&str] =
    &["all", "word", "lower", "lowercase", "case", "small", "letters", "um", "uh", "that's", "spelled", "the"];
/// What an address follows.
const CUES: &[&str] = &["is", "it's", "to", "address", "under", "me", "that's"];

/// The address in a text, spoken or written; in small letters.
pub fn email(text: &str) -> Option<String> {
    let words: Vec<String> =
        text.to_lowercase().split_whitespace().map(|w| w.trim_matches([',', '.', '?', '!', ';', ':']).into()).collect();
    if let Some(written) = words.iter().find(|word| is_address(word)) {
        return Some(written.clone());
    }
    let dot_behind = |at: usize| words[at..].iter().any(|word| word == "dot" || word.contains('.'));
    let at = (1..words.len()).rev().find(|at| words[*at] == "at" && dot_behind(*at))?;
    let local = joined(&words[start_of_local(&words, at)..at], true);
    let behind = at + 1 + usize::from(words.get(at + 1).is_some_and(|word| word == "sign"));
    let domain = joined(words.get(behind..end_of_domain(&words, behind))?, false);
    let address = format!("{local}@{domain}");
    is_address(&address).then_some(address)
}

/// Whether it has the form of an address.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain = |part: &str, marks: &str| {
        !part.is_empty() && part.len() <= 64 && part.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
    };
    let ends = |part: &str| part.starts_with(['.', '-']) || part.ends_with(['.', '-']);
    plain(local, "._+-")
        && plain(domain, ".-")
        && domain.contains('.')
        && !domain.contains("..")
        && !ends(domain)
        && !ends(local)
}

fn symbol(word: &str) -> Option<&'static str> {
    Some(match word {
        "dot" | "period" | "point" => ".",
        "dash" | "hyphen" | "minus" => "-",
        "underscore" => "_",
        "plus" => "+",
        _ => return None,
    })
}

/// Backwards from "at": up to the cue, if there is one near; else one word, letters that are spelled, and whatever a
/// "dot" or its like joins.
fn start_of_local(words: &[String], at: usize) -> usize {
    let near = at.saturating_sub(12);
    let one_word = words[at..].iter().chain(&words[near..at]).any(|word| word == "word");
    let cue = (near..at).rev().find(|place| CUES.contains(&words[*place].as_str()) && !before_example(words, *place));
    if let Some(cue) = cue
        && (one_word || at - cue <= 4 || is_spelled(&words[cue + 1..at]))
    {
        return cue + 1;
    }
    let mut start = at - 1;
    while start > 0 {
        let joins = symbol(&words[start - 1]).is_some() || symbol(&words[start]).is_some();
        let both_short = is_short(&words[start]) && is_short(&words[start - 1]);
        if !joins && !both_short {
            break;
        }
        start -= 1;
    }
    // "Anna five five five at …": digits alone are hardly anybody's address.
    let only_digits = words[start..at].iter().all(|word| number(word).is_some());
    let takes = only_digits && start > 0 && !CUES.contains(&words[start - 1].as_str());
    if takes { start - 1 } else { start }
}

/// A number of one word, or digits as written.
fn number(word: &str) -> Option<String> {
    digits(&[word.to_owned()]).map(|(number, _)| number)
}

/// "S is for Sam" has a cue's word that is none.
fn before_example(words: &[String], at: usize) -> bool {
    words.get(at + 1).is_some_and(|word| word == "for" || word == "in")
}

fn is_short(word: &str) -> bool {
    word.len() == 1 || number(word).is_some()
}

/// Whether there is nothing but letters, digits and symbols, with or without examples.
fn is_spelled(mut words: &[String]) -> bool {
    while let Some(first) = words.first() {
        let part = digits(words).or_else(|| spelling::letter(words));
        let used = part.map(|(_, used)| used).or(symbol(first).map(|_| 1));
        let Some(used) = used else { return false };
        words = &words[used..];
    }
    true
}

fn end_of_domain(words: &[String], start: usize) -> usize {
    let mut end = start + 1;
    while end < words.len() {
        let joins = symbol(&words[end]).is_some() || symbol(&words[end - 1]).is_some();
        let both_short = is_short(&words[end]) && is_short(&words[end - 1]);
        // "G mail dot com": a single letter and the word behind it are one name.
        let prefix = words[end - 1].len() == 1 && words[end..].iter().take(2).any(|word| word == "dot");
        if !joins && !both_short && !prefix {
            break;
        }
        end += 1;
    }
    end.min(words.len())
}

/// "B, O, B" spells Bob; "seven o seven" has a zero.
fn is_beside_letter(words: &[String], at: usize) -> bool {
    let is_letter = |word: &String| word.len() == 1 && word.bytes().all(|b| b.is_ascii_lowercase());
    words.get(at + 1).is_some_and(is_letter) || at > 0 && is_letter(&words[at - 1])
}

/// Words as they are written in an address. `spelled`: letters may have examples ("b as in bravo").
fn joined(words: &[String], spelled: bool) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < words.len() {
        let word = words[at].as_str();
        let one_aside = word == "one" && words.get(at + 1).is_some_and(|next| next == "word");
        if let Some(mark) = symbol(word) {
            out.push_str(mark);
        } else if let Some((number, used)) =
            digits(&words[at..]).filter(|_| !(one_aside || word == "o" && is_beside_letter(words, at)))
        {
            out.push_str(&number);
            at += used;
            continue;
        } else if let Some((letters, used)) =
            spelling::letter(&words[at..]).filter(|(_, used)| spelled && (*used > 1 || word.len() == 1))
        {
            out.push_str(&letters);
            at += used;
            continue;
        } else if !ASIDE.contains(&word) && !one_aside {
            out.push_str(word);
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_found() {
        for (text, expected) in [
            ("My e-mail address is anna dot smith at example dot com.", Some("anna.smith@example.com")),
            ("Write to anna@example.com, please.", Some("anna@example.com")),
            ("it is j dash doe at mail dot example dot org", Some("j-doe@mail.example.org")),
            ("My email is anna smith, all one word, at example dot com", Some("annasmith@example.com")),
            ("it's a n n a at g mail dot com", Some("anna@gmail.com")),
            ("You can write me under anna seven three at example dot com", Some("anna73@example.com")),
            ("j underscore doe at example dot co dot uk", Some("j_doe@example.co.uk")),
            ("It's B as in bravo, O, B at example.com", Some("bob@example.com")),
            ("It is seven o seven, b o b, at example.com", Some("707bob@example.com")),
            ("It's k a t e underscore forty two at example dot net", Some("kate_42@example.net")),
            ("anna at sign example dot com", Some("anna@example.com")),
            ("We met at noon, my address is bob at example dot net.", Some("bob@example.net")),
            ("Look at the dot.", None),
            ("I am at home.", None),
            ("at", None),
        ] {
            assert_eq!(email(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "((at|dot|anna|is|one|word|a|double|sign|com|minus|as|in) ?){0,10}|\\PC{0,60}") {
            prop_assert!(email(&text).is_none_or(|address| address.contains('@')));
        }
    }
}
