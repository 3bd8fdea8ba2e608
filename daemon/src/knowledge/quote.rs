//! The one or two sentences of a passage that answer: a caller does not want to hear the other six.

use super::{
    sentences::sentences,
    words::{Term, likeness, terms, words},
};

/// A second sentence is added only up to this many words in all, about 15 seconds of speech.
const QUOTE_WORDS_MAX: usize = 40;

/// Words that stand for something named before, where they begin a sentence.
const LEANING: &[&str] = &["their", "they", "it", "its", "he", "his", "she", "her", "these", "those"];

/// The sentence of `passage` that has most of the question's words, and the one after it if that goes on about them.
/// The first sentence if none has any; empty only for an empty passage.
pub fn best_sentences(passage: &str, question: &str) -> String {
    let terms = terms(question);
    let sentences = sentences(passage);
    let scores: Vec<f32> = sentences.iter().map(|sentence| score(sentence, &terms)).collect();
    // `max_by` returns the last of equals; reversed, the first of the passage wins.
    let best = (0..scores.len()).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let Some(best) = best else { return String::new() };
    let mut quote = sentences[best].to_owned();
    if let Some(next) = sentences.get(best + 1)
        && (goes_on(scores[best], scores[best + 1]) || quote.ends_with(':') || leans(next))
        && words(&quote).count() + words(next).count() <= QUOTE_WORDS_MAX
    {
        quote.push(' ');
        quote.push_str(next);
    }
    quote
}

/// It speaks of whom or what the sentence before it names: "Their number is…".
fn leans(sentence: &str) -> bool {
    words(sentence).next().is_some_and(|first| LEANING.contains(&first.as_str()))
}

/// Half of the best sentence's score or more.
fn goes_on(best: f32, next: f32) -> bool {
    next > 0.0 && next * 2.0 >= best
}

/// For each term its best match in the sentence, summed.
fn score(sentence: &str, terms: &[Term]) -> f32 {
    let words: Vec<String> = words(sentence).collect();
    let best = |term: &Term| words.iter().map(|word| likeness(term, word)).fold(0.0, f32::max);
    terms.iter().map(best).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSAGE: &str = "We are in the old town. You can park behind the house. Parking is free for two hours. \
                           The bus stops at the market. At night Kings Dental helps. \
                           Their number is 555-0186.";

    #[test]
    fn quotes_what_was_asked() {
        for (question, expected) in [
            ("Where can I park?", "You can park behind the house. Parking is free for two hours."),
            ("Who helps at night?", "At night Kings Dental helps. Their number is 555-0186."),
            ("Which bus do I take?", "The bus stops at the market."),
            ("Do you sell boats?", "We are in the old town."),
            ("", "We are in the old town."),
        ] {
            assert_eq!(best_sentences(PASSAGE, question), expected, "{question}");
        }
        assert_eq!(best_sentences("", "anything"), "");
    }
}
