//! Words that are spelled: letter by letter, by an alphabet ("sierra mike"), or with an example ("S as in Sam").

/// The radiotelephony alphabet, as recognisers write it.
const ALPHABET: &[(&str, char)] = &[
    ("alpha", 'a'),
    ("alfa", 'a'),
    ("bravo", 'b'),
    ("charlie", 'c'),
    ("delta", 'd'),
    ("echo", 'e'),
    ("foxtrot", 'f'),
    ("golf", 'g'),
    ("hotel", 'h'),
    ("india", 'i'),
    ("juliet", 'j'),
    ("juliett", 'j'),
    ("kilo", 'k'),
    ("lima", 'l'),
    ("mike", 'm'),
    ("november", 'n'),
    ("oscar", 'o'),
    ("papa", 'p'),
    ("quebec", 'q'),
    ("romeo", 'r'),
    ("sierra", 's'),
    ("tango", 't'),
    ("uniform", 'u'),
    ("victor", 'v'),
    ("whiskey", 'w'),
    ("whisky", 'w'),
    ("x-ray", 'x'),
    ("xray", 'x'),
    ("yankee", 'y'),
    ("zulu", 'z'),
];

/// The letter the words begin with, and how many words it takes: "s", "sierra", "s as in sam", "s for sugar", "double l".
pub(super) fn letter(words: &[String]) -> Option<(String, usize)> {
    let first = words.first()?.as_str();
    if first == "double" {
        let (letter, used) = letter(words.get(1..)?).filter(|(letter, _)| letter.len() == 1)?;
        return Some((letter.repeat(2), used + 1));
    }
    if let Some((_, letter)) = ALPHABET.iter().find(|(word, _)| *word == first) {
        return Some((letter.to_string(), 1));
    }
    let mut characters = first.chars();
    let letter = characters.next().filter(|c| c.is_ascii_alphabetic() && characters.next().is_none())?;
    let example = match (words.get(1).map(String::as_str), words.get(2).map(String::as_str)) {
        (Some("as"), Some("in" | "like")) => Some(3),
        (Some("for" | "like" | "in"), Some(_)) => Some(2),
        (Some(_) | None, _) => None,
    };
    // "S as in Sam": only if the example has the letter, otherwise the words go on with something else.
    let fits = |at: &usize| words.get(*at).is_some_and(|word| word.starts_with(letter));
    Some((letter.to_string(), example.filter(fits).map_or(1, |at| at + 1)))
}

/// The word that a text spells, of at least `min` letters, in small letters; the longest if there are several.
pub fn spelled(text: &str, min: usize) -> Option<String> {
    let words: Vec<String> = crate::conversation::words(&text.replace(['-', '.'], " "));
    let mut best = String::new();
    let mut at = 0;
    while at < words.len() {
        let mut word = String::new();
        while let Some((letters, used)) = words.get(at..).and_then(letter) {
            // "I" before a verb is no letter of a word that begins with it.
            if word.is_empty() && letters == "i" && words.get(at + 1).is_some_and(|next| letter_like(next).is_none()) {
                break;
            }
            word.push_str(&letters);
            at += used;
        }
        if word.len() > best.len() {
            best = word;
        }
        at += 1;
    }
    (best.len() >= min).then_some(best)
}

fn letter_like(word: &str) -> Option<(String, usize)> {
    letter(&[word.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelled_words_are_put_together() {
        for (text, expected) in [
            ("S M I T H", Some("smith")),
            ("S-M-I-T-H.", Some("smith")),
            ("That's L, O, P, E, Z", Some("lopez")),
            ("sierra mike india tango hotel", Some("smith")),
            ("S as in Sam, M as in Mary, I, T, H", Some("smith")),
            ("M for Mike, E for echo, I, E, R", Some("meier")),
            ("M I double L E R", Some("miller")),
            ("I spell it: B R A U N", Some("braun")),
            ("I have a question", None),
            ("This is a test", None),
            ("", None),
        ] {
            assert_eq!(spelled(text, 3).as_deref(), expected, "{text}");
        }
    }
}
