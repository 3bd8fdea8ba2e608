//! Which tool a caller needs: by the phrases of the configuration, word by word, else by meaning; not sure is none.

use super::Tool;
use crate::conversation::intent::{MIN_MARGIN, Method, Understanding};
use crate::conversation::words;
use crate::knowledge::words::{is_stop_word, similar};

/// Share of a phrase's telling words that have to be said.
const MIN_SHARE: f32 = 0.6;
/// How much larger the share of the first tool has to be than that of the second, if both have as many words said.
const SHARE_MARGIN: f32 = 0.2;
/// The least cosine of a phrase: more than for an intent, since the answer comes from elsewhere.
const MIN_COSINE: f32 = 0.5;

/// A tool with the phrases that it is chosen by.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The tool.
    pub tool: Tool,
    /// What callers say who need it.
    pub phrases: Vec<Phrase>,
}

/// One way to say what a tool is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Phrase {
    /// Its words.
    pub text: String,
    /// Its embedding, if there is an embedder.
    pub vector: Option<Vec<f32>>,
}

impl Phrase {
    /// The phrases of a configuration's `says`: parted by semicolons.
    pub fn parts(says: &str) -> impl Iterator<Item = &str> {
        says.split(';').map(str::trim).filter(|part| !part.is_empty())
    }
}

/// The tool that is meant, if that is clear.
pub(super) fn choose<'a>(
    understanding: &Understanding,
    vector: Option<&[f32]>,
    candidates: &'a [Candidate],
) -> Option<&'a Tool> {
    by_words(&understanding.query, candidates).or_else(|| {
        let (tool, cosine) = by_meaning(vector?, candidates)?;
        let other = if understanding.method == Method::Example { understanding.score } else { 0.0 };
        (cosine > other).then_some(tool)
    })
}

/// How much of a phrase was said.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Said {
    share: f32,
    words: usize,
}

fn by_words<'a>(text: &str, candidates: &'a [Candidate]) -> Option<&'a Tool> {
    let spoken = words(text);
    let best = |candidate: &Candidate| {
        let said = candidate.phrases.iter().filter_map(|phrase| said(&phrase.text, &spoken));
        said.max_by(|a, b| a.share.total_cmp(&b.share).then(a.words.cmp(&b.words)))
    };
    let mut ranked: Vec<(&Tool, Said)> =
        candidates.iter().filter_map(|candidate| Some((&candidate.tool, best(candidate)?))).collect();
    ranked.sort_by(|(_, a), (_, b)| b.share.total_cmp(&a.share).then(b.words.cmp(&a.words)));
    let (tool, first) = *ranked.first()?;
    let is_clear = |second: &Said| first.share - second.share >= SHARE_MARGIN || first.words > second.words;
    ranked.get(1).is_none_or(|(_, second)| is_clear(second)).then_some(tool)
}

/// `None` below [`MIN_SHARE`], and for one word out of several.
fn said(phrase: &str, spoken: &[String]) -> Option<Said> {
    let telling: Vec<String> = words(phrase).into_iter().filter(|word| !is_stop_word(word)).collect();
    let words = telling.iter().filter(|word| spoken.iter().any(|other| similar(word, other))).count();
    let share = words as f32 / telling.len().max(1) as f32;
    (share >= MIN_SHARE && (words >= 2 || telling.len() == 1)).then_some(Said { share, words })
}

fn by_meaning<'a>(vector: &[f32], candidates: &'a [Candidate]) -> Option<(&'a Tool, f32)> {
    let nearest = |candidate: &Candidate| {
        let vectors = candidate.phrases.iter().filter_map(|phrase| phrase.vector.as_deref());
        vectors.filter_map(|phrase| cosine(phrase, vector)).max_by(f32::total_cmp)
    };
    let mut ranked: Vec<(&Tool, f32)> =
        candidates.iter().filter_map(|candidate| Some((&candidate.tool, nearest(candidate)?))).collect();
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let (tool, first) = *ranked.first()?;
    let margin = first - ranked.get(1).map_or(0.0, |(_, second)| *second);
    (first >= MIN_COSINE && margin >= MIN_MARGIN).then_some((tool, first))
}

fn cosine(a: &[f32], b: &[f32]) -> Option<f32> {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f32>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    (a.len() == b.len() && cosine.is_finite()).then_some(cosine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ToolScope;
    use crate::conversation::context::Context;
    use crate::conversation::intent::Classifier;
    use serde_json::Map;

    fn candidate(name: &str, says: &str, vector: Option<&[f32]>) -> Candidate {
        let tool = Tool {
            server: "desk".into(),
            name: name.into(),
            scope: ToolScope::Read,
            does: String::new(),
            fixed: Map::new(),
            wants: Vec::new(),
        };
        let phrase = |text: &str| Phrase { text: text.into(), vector: vector.map(<[f32]>::to_vec) };
        Candidate { tool, phrases: Phrase::parts(says).map(phrase).collect() }
    }

    fn chosen(text: &str, vector: Option<&[f32]>, candidates: &[Candidate]) -> Option<String> {
        let understood = Classifier::keywords_only(Vec::new()).understand(text, vector, &Context::default());
        choose(&understood, vector, candidates).map(|tool| tool.name.clone())
    }

    #[test]
    fn a_tool_is_chosen_by_the_words_of_its_phrases() {
        let tools = [
            candidate("track", "where is my order; delivery status; has my parcel shipped", None),
            candidate("cancel", "cancel my order", None),
            candidate("weather", "weather", None),
        ];
        for (text, expected) in [
            ("Where's my order?", Some("track")),
            ("What is the status of my delivery?", Some("track")),
            ("Have you shipped the parcel already?", Some("track")),
            ("Please cancel my order.", Some("cancel")),
            ("How is the weather today?", Some("weather")),
            ("Do you have parking?", None),
            ("What is your status?", None),
            ("", None),
        ] {
            assert_eq!(chosen(text, None, &tools).as_deref(), expected, "{text}");
        }
        let twins = [candidate("a", "delivery status", None), candidate("b", "status of a delivery", None)];
        assert_eq!(chosen("What is my delivery status?", None, &twins), None, "not sure is none");
    }

    #[test]
    fn meaning_decides_where_no_word_does() {
        let tools = [candidate("track", "order", Some(&[1.0, 0.0])), candidate("book", "table", Some(&[0.0, 1.0]))];
        let by = |vector: &[f32]| chosen("Did it leave yet?", Some(vector), &tools);
        assert_eq!(by(&[0.9, 0.1]).as_deref(), Some("track"));
        assert_eq!(by(&[0.7, 0.7]), None, "no margin");
        assert_eq!(by(&[-1.0, 0.0]), None, "nothing near");
        assert_eq!(by(&[1.0]), None, "another model's vector");
        assert_eq!(by(&[f32::NAN, 0.0]), None);
    }
}
