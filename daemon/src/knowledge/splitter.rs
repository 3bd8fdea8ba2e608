//! From Markdown, plain text and web pages to passages that can be spoken: plain sentences under their path of headings.
//!
//! A heading starts a new passage; a long section is cut between sentences at about a hundred words, the length of half
//! a minute of speech and of what an embedding model still represents well. A table row becomes a sentence
//! ("Haircut: Price 30 €, Duration 45 min."), a list item a sentence, a link its text. Left out: images, HTML, code
//! fences' language, footnotes; none of them can be spoken.

mod html;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

pub use html::split_html;

use super::sentences::sentences;

/// Part of every content hash: raise it when the rules below change, and every document is split anew.
pub(super) const RULES_VERSION: u32 = 1;

/// A passage is closed before it would grow over this.
const PASSAGE_WORDS_MAX: usize = 120;
/// A passage that has this many words is closed at the next paragraph.
const PASSAGE_WORDS_ENOUGH: usize = 80;
/// Bound on the work one file may cause, far above any office's: 5000 passages are half a million words.
const PASSAGES_MAX: usize = 5_000;

/// A Markdown file, cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitDocument {
    /// Its first heading; `None` if it has none.
    pub title: Option<String>,
    /// In the order of the text.
    pub passages: Vec<SplitPassage>,
}

/// One passage of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitPassage {
    /// Headings above it, outermost first, joined by ` > `; empty before the first heading.
    pub heading: String,
    /// Plain sentences.
    pub text: String,
}

/// Cuts a Markdown text into passages. Any text gives a result; at most 5000 passages are kept.
pub fn split_markdown(markdown: &str) -> SplitDocument {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut splitter = Splitter::default();
    for event in Parser::new_ext(markdown, options) {
        splitter.handle(event);
    }
    splitter.finish()
}

/// Cuts a plain text into passages. It is read as Markdown, which people who write plain text come near to by themselves:
/// empty lines between paragraphs, dashes before items, lines of `=` under headings.
pub fn split_plain(text: &str) -> SplitDocument {
    // An indented line would be code, and `<` the beginning of HTML.
    let lines: Vec<String> = text.lines().map(|line| line.trim_start().replace('<', "\\<")).collect();
    split_markdown(&lines.join("\n"))
}

#[derive(Default)]
struct Splitter {
    title: Option<String>,
    /// Open headings with their level, outermost first.
    headings: Vec<(u8, String)>,
    /// Sentences of the passage under construction.
    sentences: Vec<String>,
    /// The paragraph, item, cell or heading being read.
    inline: String,
    table: Table,
    /// Depth of what cannot be spoken: images, HTML blocks, metadata.
    skipping: u32,
    passages: Vec<SplitPassage>,
}

#[derive(Default)]
struct Table {
    header: Vec<String>,
    row: Vec<String>,
}

impl Splitter {
    fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) if self.skipping == 0 => self.inline.push_str(&text),
            Event::SoftBreak => self.inline.push(' '),
            Event::HardBreak | Event::Rule => self.end_block(),
            Event::Text(_)
            | Event::Code(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::Html(_)
            | Event::InlineHtml(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Image { .. } | Tag::HtmlBlock | Tag::MetadataBlock(_) => self.skipping += 1,
            Tag::Heading { .. } => {
                self.end_block();
                self.end_passage();
            }
            // The text of an item may go on in a list inside it.
            Tag::Paragraph | Tag::Item | Tag::List(_) | Tag::CodeBlock(_) | Tag::BlockQuote(_) => self.end_block(),
            Tag::Table(_) => self.table = Table::default(),
            Tag::TableCell => self.inline.clear(),
            Tag::TableHead
            | Tag::TableRow
            | Tag::Emphasis
            | Tag::Strong
            | Tag::Strikethrough
            | Tag::Superscript
            | Tag::Subscript
            | Tag::Link { .. } => {}
            // Not switched on in the parser.
            Tag::FootnoteDefinition(_)
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Image | TagEnd::HtmlBlock | TagEnd::MetadataBlock(_) => {
                self.skipping = self.skipping.saturating_sub(1);
            }
            TagEnd::Heading(level) => self.open_heading(level as u8),
            TagEnd::Paragraph => {
                self.end_block();
                self.end_full_passage();
            }
            TagEnd::Item | TagEnd::CodeBlock => self.end_block(),
            TagEnd::TableCell => {
                let cell = collapse(&std::mem::take(&mut self.inline));
                self.table.row.push(cell);
            }
            TagEnd::TableHead => self.table.header = std::mem::take(&mut self.table.row),
            TagEnd::TableRow => {
                let row = std::mem::take(&mut self.table.row);
                self.push_sentence(row_sentence(&self.table.header, &row));
            }
            TagEnd::Table | TagEnd::List(_) => self.end_full_passage(),
            TagEnd::BlockQuote(_)
            | TagEnd::Emphasis
            | TagEnd::Strong
            | TagEnd::Strikethrough
            | TagEnd::Superscript
            | TagEnd::Subscript
            | TagEnd::Link => {}
            // Not switched on in the parser.
            TagEnd::FootnoteDefinition
            | TagEnd::DefinitionList
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition => {}
        }
    }

    fn open_heading(&mut self, level: u8) {
        let text = collapse(&std::mem::take(&mut self.inline));
        if text.is_empty() {
            return;
        }
        self.title.get_or_insert_with(|| text.clone());
        self.headings.retain(|(open, _)| *open < level);
        self.headings.push((level, text));
    }

    /// Takes what was read since the last block as sentences.
    fn end_block(&mut self) {
        let block = collapse(&std::mem::take(&mut self.inline));
        for sentence in sentences(&block) {
            self.push_sentence(with_full_stop(sentence));
        }
    }

    fn push_sentence(&mut self, sentence: String) {
        if sentence.is_empty() {
            return;
        }
        if self.words() + words(&sentence) > PASSAGE_WORDS_MAX {
            self.end_passage();
        }
        self.sentences.push(sentence);
    }

    fn end_full_passage(&mut self) {
        if self.words() >= PASSAGE_WORDS_ENOUGH {
            self.end_passage();
        }
    }

    fn end_passage(&mut self) {
        let text = std::mem::take(&mut self.sentences).join(" ");
        if text.is_empty() || self.passages.len() >= PASSAGES_MAX {
            return;
        }
        let path: Vec<&str> = self.headings.iter().map(|(_, heading)| heading.as_str()).collect();
        self.passages.push(SplitPassage { heading: path.join(" > "), text });
    }

    fn words(&self) -> usize {
        self.sentences.iter().map(|sentence| words(sentence)).sum()
    }

    fn finish(mut self) -> SplitDocument {
        self.end_block();
        self.end_passage();
        SplitDocument { title: self.title, passages: self.passages }
    }
}

/// "Haircut: Price 30 €, Duration 45 min." A two-column table reads as a list of facts: "Monday: 9 to 5."
fn row_sentence(header: &[String], row: &[String]) -> String {
    let Some((name, values)) = row.split_first() else { return String::new() };
    let named = |(index, value): (usize, &String)| match header.get(index + 1) {
        Some(column) if !column.is_empty() && values.len() > 1 => format!("{column} {value}"),
        _ => value.clone(),
    };
    let filled = values.iter().enumerate().filter(|(_, value)| !value.is_empty());
    let facts = filled.map(named).collect::<Vec<_>>().join(", ");
    match (name.is_empty(), facts.is_empty()) {
        (false, false) => with_full_stop(&format!("{name}: {facts}")),
        (false, true) => with_full_stop(name),
        (true, _) => with_full_stop(&facts),
    }
}

/// A heading, an item or a cell often has no full stop, and a voice needs one to pause.
fn with_full_stop(sentence: &str) -> String {
    let sentence = sentence.trim();
    let closed = sentence.trim_end_matches(['"', '\'', ')', '”', '“', '»']);
    if closed.is_empty() || closed.ends_with(['.', '!', '?', ':', '…', ';', ',']) {
        return sentence.to_owned();
    }
    format!("{sentence}.")
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(markdown: &str, expected: &[(&str, &str)]) {
        let split = split_markdown(markdown);
        let got: Vec<_> = split.passages.iter().map(|p| (p.heading.as_str(), p.text.as_str())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn headings_become_a_path() {
        check(
            "Hello there\n\n# Salon\nWe cut hair.\n## Prices\nFrom 20 €.\n### Children\nHalf.\n## Parking\nBehind.",
            &[
                ("", "Hello there."),
                ("Salon", "We cut hair."),
                ("Salon > Prices", "From 20 €."),
                ("Salon > Prices > Children", "Half."),
                ("Salon > Parking", "Behind."),
            ],
        );
    }

    #[test]
    fn marks_do_not_reach_the_voice() {
        check(
            "**Bold**, _soft_ and `code`: [our site](https://example.org) ![a picture](x.png) <b>x</b> ~~no~~.",
            &[("", "Bold, soft and code: our site x no.")],
        );
    }

    #[test]
    fn tables_become_sentences() {
        check(
            "# Prices\n| Service | Price | Duration |\n|---|---|---|\n| Cut | 30 € | 45 min |\n| Shave | 15 € | |\n",
            &[("Prices", "Cut: Price 30 €, Duration 45 min. Shave: Price 15 €.")],
        );
        check("| Day | Open |\n|--|--|\n| Monday | 9 to 5 |\n", &[("", "Monday: 9 to 5.")]);
    }

    #[test]
    fn plain_text_keeps_its_paragraphs_and_signs() {
        let text = "Our salon\n=========\nWe cut hair\nand beards.\n\n    For < 10 <years> half.\n- Cash\n- Cards\n";
        let split = split_plain(text);
        assert_eq!(split.title.as_deref(), Some("Our salon"));
        assert_eq!(split.passages[0].text, "We cut hair and beards. For < 10 <years> half. Cash. Cards.");
    }

    #[test]
    fn lists_become_sentences() {
        check(
            "We offer:\n- cuts\n- colours\n  - natural\n  - bright!\n1. one\n2. two",
            &[("", "We offer: cuts. colours. natural. bright! one. two.")],
        );
    }

    /// Long sections are cut between sentences, and no sentence is lost or doubled.
    #[test]
    fn long_sections_are_cut_between_sentences() {
        let sentences: Vec<String> =
            (0..100).map(|n| format!("Sentence number {n} has exactly seven words.")).collect();
        let split = split_markdown(&format!("# Long\n{}", sentences.join(" ")));
        assert!(split.passages.len() >= 5);
        assert!(split.passages.iter().all(|passage| words(&passage.text) <= PASSAGE_WORDS_MAX));
        let joined: Vec<_> = split.passages.iter().map(|passage| passage.text.as_str()).collect();
        assert_eq!(joined.join(" "), sentences.join(" "));
    }

    proptest::proptest! {
        /// Any text is cut without a panic and without an empty passage.
        #[test]
        fn any_text_is_cut(text in "[#|\\-*`\\n <>a-zä.!\\[\\]()]{0,200}") {
            for passage in split_markdown(&text).passages {
                proptest::prop_assert!(!passage.text.trim().is_empty());
            }
        }
    }
}
