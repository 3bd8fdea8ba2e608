//! People and departments by sound: a recogniser writes "Braun" for Brown and "Lopes" for Lopez.

use crate::conversation::words;

/// Somebody or something a caller may ask for, as it sounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// In small letters, as it is looked up later.
    name: String,
    /// Each word and its sound, titles left out.
    sounds: Vec<(String, String)>,
}

const TITLES: &[&str] = &["doctor", "dr", "mister", "mr", "missus", "mrs", "miss", "ms", "professor", "prof"];
/// Words that lead to a name: only behind them is a word that merely sounds like one taken for it.
const LEADS: &[&str] = &[
    "to", "with", "for", "reach", "is", "through", "get", "tell", "ask", "want", "need", "doctor", "dr", "mister",
    "mr", "missus", "mrs", "miss", "ms",
];

impl Directory {
    /// Of names in any letters.
    pub fn new(names: impl IntoIterator<Item = String>) -> Directory {
        let entry = |name: String| {
            let name = name.to_lowercase();
            let told: Vec<String> = words(&name).into_iter().filter(|word| !TITLES.contains(&word.as_str())).collect();
            Entry { sounds: told.into_iter().map(|word| (word.clone(), sound(&word))).collect(), name }
        };
        Directory { entries: names.into_iter().map(entry).collect() }
    }

    /// The entry that `text` names: as written, by one of its words, or by its sound behind a word that leads to a name.
    /// `None` if two fit equally well.
    pub fn find(&self, text: &str) -> Option<&str> {
        let told = words(text);
        let joined = told.join(" ");
        let whole = self.entries.iter().filter(|entry| super::contains_words(&joined, &entry.name));
        if let Some(entry) = whole.max_by_key(|entry| entry.name.len()) {
            return Some(&entry.name);
        }
        let scored = self.entries.iter().map(|entry| (score(entry, &told), entry)).filter(|(score, _)| *score > 0);
        let mut scored: Vec<(u32, &Entry)> = scored.collect();
        scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        match scored.as_slice() {
            [(best, _), (second, _), ..] if best == second => None,
            [(_, entry), ..] => Some(&entry.name),
            [] => None,
        }
    }
}

/// Twice for each word that is said as written, once for each that sounds so; 0 unless it is behind a leading word.
fn score(entry: &Entry, told: &[String]) -> u32 {
    let mut score = 0;
    for (word, sounds) in &entry.sounds {
        let fits = |(at, said): (usize, &String)| {
            let led = at.checked_sub(1).is_some_and(|before| LEADS.contains(&told[before].as_str()));
            let after_name = at.checked_sub(1).is_some_and(|before| {
                entry.sounds.iter().any(|(_, other)| other != sounds && *other == sound(&told[before]))
            });
            match (said == word, led || after_name) {
                (true, true) => 2,
                (false, true) if !sounds.is_empty() && sound(said) == *sounds && near(said, word) => 1,
                (_, _) => 0,
            }
        };
        score += told.iter().enumerate().map(fits).max().unwrap_or(0);
    }
    score
}

/// Whether at most half of the letters differ: a short sound fits too many words ("Maria" and "Meyer" have the same).
fn near(said: &str, word: &str) -> bool {
    let (said, word): (Vec<char>, Vec<char>) = (said.chars().collect(), word.chars().collect());
    let longest = said.len().max(word.len());
    longest >= 3 && 2 * letters_apart(&said, &word) <= longest
}

/// Letters to add, remove or replace until both are the same (Levenshtein's distance).
fn letters_apart(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// How a word sounds, roughly: its consonants, those that are easily mistaken for each other written alike, and whether
/// it begins with a vowel. After Lawrence Philips' Metaphone, much reduced.
fn sound(word: &str) -> String {
    let letters: Vec<char> = word.to_lowercase().chars().filter(|c| c.is_alphabetic()).map(plain).collect();
    let mut sound = String::new();
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        let next = letters.get(at + 1).copied();
        let (heard, used) = match (letter, next) {
            ('s', Some('c')) if letters.get(at + 2) == Some(&'h') => ("X", 3),
            ('s' | 'c', Some('h')) => ("X", 2),
            ('t', Some('h')) => ("T", 2),
            ('p', Some('h')) => ("F", 2),
            ('g', Some('h')) => ("", 2),
            ('c', Some('k')) => ("K", 2),
            ('k' | 'g', Some('n')) if at == 0 => ("N", 2),
            ('w', Some('r')) if at == 0 => ("R", 2),
            ('w', _) if at > 0 => ("", 1),
            ('d', Some('t')) => ("T", 2),
            ('c', Some('e' | 'i' | 'y')) => ("S", 1),
            ('a' | 'e' | 'i' | 'o' | 'u' | 'y', _) if at == 0 => ("A", 1),
            ('a' | 'e' | 'i' | 'o' | 'u' | 'y' | 'h', _) => ("", 1),
            ('b' | 'p', _) => ("P", 1),
            ('d' | 't', _) => ("T", 1),
            ('f' | 'v', _) => ("F", 1),
            ('c' | 'k' | 'q' | 'g', _) => ("K", 1),
            ('s' | 'z', _) => ("S", 1),
            ('x', _) => ("KS", 1),
            ('j', _) => ("X", 1),
            ('m' | 'n', _) => ("N", 1),
            ('l', _) => ("L", 1),
            ('r', _) => ("R", 1),
            ('w', _) => ("W", 1),
            (_, _) => ("", 1),
        };
        if !sound.ends_with(heard) || heard.is_empty() {
            sound.push_str(heard);
        }
        at += used;
    }
    sound
}

fn plain(letter: char) -> char {
    match letter {
        'ä' | 'á' | 'à' | 'â' | 'ã' | 'å' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ö' | 'ó' | 'ò' | 'ô' | 'õ' | 'ø' => 'o',
        'ü' | 'ú' | 'ù' | 'û' => 'u',
        'ß' => 's',
        'ç' => 's',
        'ñ' => 'n',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let names =
            ["Billing", "Orthodontics", "Doctor Maria Lopez", "Doctor James Chen", "Susan Brown", "Peter Meier"];
        Directory::new(names.map(String::from))
    }

    #[test]
    fn people_are_found_by_sound() {
        for (text, expected) in [
            ("Put me through to billing, please.", Some("billing")),
            ("Can I speak to Susan Brown?", Some("susan brown")),
            ("I want to talk to Susan Braun", Some("susan brown")),
            ("Is Suzan there? I need Suzan", Some("susan brown")),
            ("a message for Doctor Lopes", Some("doctor maria lopez")),
            ("connect me with Doctor Chan", Some("doctor james chen")),
            ("Peter Mayer please, I want to speak to Peter Mayer", Some("peter meier")),
            ("get me Mister Meyer", Some("peter meier")),
            ("connect me to the ortho dontics", None),
            ("I need a brown crown", None),
            ("I need more", None),
            ("What does it cost?", None),
            ("", None),
        ] {
            assert_eq!(directory().find(text), expected, "{text}");
        }
    }

    #[test]
    fn two_that_fit_alike_are_none() {
        let both = Directory::new(["Anna Schmidt", "Peter Schmitt"].map(String::from));
        assert_eq!(both.find("I want to speak to Mister Schmit"), None);
        assert_eq!(both.find("I want to speak to Anna Schmit"), Some("anna schmidt"));
    }
}
