//! The words of a question that carry its meaning.

use crate::storage::FtsWord;

/// Most words of one question that are looked up: bounds the work a rambling caller causes.
const WORDS_MAX: usize = 16;
/// Shorter words are not used as prefixes: "car" would find "carpet".
const PREFIX_LETTERS_MIN: usize = 4;

/// Words that say nothing about what is asked. Lower case, parted by spaces.
const STOP_WORDS: [&str; 2] = [ENGLISH_STOP_WORDS, GERMAN_STOP_WORDS];
const ENGLISH_STOP_WORDS: &str = "\
    a about actually again all also am an and any anything anywhere are as ask at be been bring but by can come \
    coming could did do does doing don for from get getting give go going good got guys had hadn has have haven \
    having he hello help her here hey hi him his how i if in is isn it its just kind know let like ll long look \
    looking make many may maybe me might mine morning my near need of oh ok okay on or our out over please possible \
    question quick re really right s say see she should since so some somebody someone something somewhere sure t \
    take tell than thank thanks that the their them then there these they thing things think this those to too uh um \
    up us use usually ve very want wanted was we well were what when where which while who why will with wondering \
    would yeah yes you your yours";
const GERMAN_STOP_WORDS: &str = "\
    aber als auch auf aus bei beim bin bitte da danke dann das dass dem den denn der des die diese dieser doch ein \
    eine einem einen einer er es für geht gern gerne gibt guten haben hallo hat hätte ich ihr ihre ihnen im irgendwo \
    ist ja kann können könnte könnten machen man mein meine meinen mich mir mit möchte mögliche nach noch nur ob \
    oder sagen sie sind tag über und uns vom von wann war welche welcher wenn wer werden wie wir wird wissen wo \
    würde zu zum zur";

/// What callers say and what offices write for the same thing. Any word of a row stands for the others.
const SAME_MEANING: &[&[&str]] = &[
    &["price", "cost", "fee", "charge", "much", "expensive", "rate"],
    &["open", "hours", "opening", "closed", "close", "closing"],
    &["address", "located", "location", "directions", "street"],
    &["park", "parking", "garage"],
    &["appointment", "book", "booking", "reservation", "reserve", "schedule"],
    &["pay", "payment", "card", "cash"],
    &["phone", "telephone", "call"],
    &["email", "mail"],
    &["child", "children", "kids", "kid", "daughter", "son"],
    &["wheelchair", "accessible", "accessibility", "step"],
    &["cancel", "cancellation", "reschedule"],
    &["preis", "preise", "kosten", "kostet", "gebühr", "teuer"],
    &["öffnungszeiten", "geöffnet", "offen", "geschlossen"],
    &["adresse", "anfahrt", "standort"],
    &["termin", "termine", "buchen", "reservieren"],
];

/// A word of a question with everything it may be called in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) word: FtsWord,
    pub(super) synonyms: Vec<FtsWord>,
}

impl Term {
    /// Whether longer words that start with this one count.
    pub(super) fn is_prefix(&self) -> bool {
        self.word.as_str().chars().count() >= PREFIX_LETTERS_MIN
    }
}

/// The terms of a question in order, each once. None if it is all filler.
pub(super) fn terms(question: &str) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    for word in words(question).filter(|word| !is_stop_word(word)) {
        let synonyms = synonyms(&word);
        let Some(word) = FtsWord::new(&word) else { continue };
        // "How much does it cost": both words of one meaning ask once.
        if terms.iter().any(|known| known.word == word || known.synonyms.contains(&word)) {
            continue;
        }
        terms.push(Term { word, synonyms });
        if terms.len() == WORDS_MAX {
            break;
        }
    }
    terms
}

/// The words of any text, lower case.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

pub(crate) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.iter().any(|list| list.split(' ').any(|stop| stop == word))
}

fn synonyms(word: &str) -> Vec<FtsWord> {
    let row = SAME_MEANING.iter().find(|row| row.iter().any(|known| similar(known, word)));
    let others = row.into_iter().flat_map(|row| row.iter()).filter(|known| **known != word);
    others.filter_map(|known| FtsWord::new(known)).collect()
}

/// How well a text's word stands for a term: 1 the word itself or a form of it, less for another word of its meaning.
pub(super) fn likeness(term: &Term, word: &str) -> f32 {
    if similar(term.word.as_str(), word) {
        1.0
    } else if term.synonyms.iter().any(|synonym| similar(synonym.as_str(), word)) {
        0.8
    } else {
        0.0
    }
}

/// Forms of one word: equal, or the same first four or more letters with short different endings.
pub(crate) fn similar(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let shared = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let rest = |word: &str| word.chars().count() - shared;
    shared >= PREFIX_LETTERS_MIN && rest(a) <= 3 && rest(b) <= 3 || shared == 3 && rest(a) + rest(b) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(question: &str, expected: &[&str]) {
        let terms = terms(question);
        assert_eq!(terms.iter().map(|term| term.word.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn keeps_what_carries_meaning() {
        check("Hello, could you please tell me where I can park?", &["park"]);
        check("How much does it cost?", &["much"]);
        check("Wie sind Ihre Öffnungszeiten bitte?", &["öffnungszeiten"]);
        check("What's the the price, the PRICE?", &["price"]);
        check("um, and you?", &[]);
    }

    /// Nothing a caller says becomes query syntax, and no question is looked up without a bound.
    #[test]
    fn words_are_letters_and_digits() {
        check("\"park\" OR NEAR(a b) heading:x* -y ^z", &["park", "b", "heading", "x", "y", "z"]);
        let endless: String = (0..1_000).map(|n| format!("w{n} ")).collect();
        assert_eq!(terms(&endless).len(), WORDS_MAX);
        assert_eq!(terms(&"x".repeat(10_000)), []);
    }

    #[test]
    fn forms_of_a_word_are_similar() {
        for (a, b) in [("price", "prices"), ("park", "parking"), ("dog", "dogs"), ("open", "opening")] {
            assert!(similar(a, b), "{a} {b}");
        }
        for (a, b) in [("car", "carpet"), ("rest", "restaurant"), ("cat", "cut")] {
            assert!(!similar(a, b), "{a} {b}");
        }
    }
}
