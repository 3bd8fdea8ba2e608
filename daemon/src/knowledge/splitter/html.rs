//! From a web page to passages: its headings, paragraphs, lists and tables as sentences.
//!
//! A tokenizer reads it as browsers do (entities, forgotten end tags, scripts); no tree is built, since passages need
//! none. Left out: navigation, scripts, styles, forms, frames and pictures, which nobody wants to hear.

use std::convert::Infallible;

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

use super::{SplitDocument, Splitter, collapse, row_sentence};

/// Elements whose content is not for reading.
const UNREAD: &[&str] = &[
    "script", "style", "template", "noscript", "nav", "svg", "math", "select", "button", "textarea", "iframe",
    "object", "video", "audio", "canvas",
];
/// Elements that part what stands before and after them.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "html",
    "label",
    "legend",
    "li",
    "main",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "ul",
];

/// Cuts a web page into passages. Any text gives a result; the page's title is that of the document.
pub fn split_html(html: &str) -> SplitDocument {
    let mut emitter = DefaultEmitter::<()>::default();
    emitter.naively_switch_states(true);
    let mut page = Page::default();
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let token = token.unwrap_or_else(|never: Infallible| match never {});
        match token {
            Token::StartTag(tag) if !tag.self_closing || is_void(&tag.name) => page.start(&name(&tag.name)),
            Token::EndTag(tag) => page.end(&name(&tag.name)),
            Token::String(text) => page.text(&String::from_utf8_lossy(&text)),
            Token::StartTag(_) | Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    page.finish()
}

fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_void(name: &[u8]) -> bool {
    matches!(name, b"br" | b"hr")
}

#[derive(Default)]
struct Page {
    splitter: Splitter,
    /// Open elements that are not read.
    unread: Vec<String>,
    in_title: bool,
    title: String,
    in_cell: bool,
    /// Whether the row has cells that are no headings.
    has_values: bool,
}

impl Page {
    fn start(&mut self, name: &str) {
        if UNREAD.contains(&name) {
            self.unread.push(name.to_owned());
        }
        if !self.unread.is_empty() {
            return;
        }
        match name {
            "title" => self.in_title = true,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.end_block();
                self.splitter.end_passage();
            }
            "table" => {
                self.end_block();
                self.splitter.table = Default::default();
            }
            "tr" => self.end_row(),
            "th" | "td" => {
                self.end_cell();
                self.splitter.end_block();
                self.in_cell = true;
                self.has_values |= name == "td";
            }
            block if BLOCKS.contains(&block) => self.end_block(),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        // An end tag that was forgotten must not silence the rest: the outer one closes what is open in it.
        if let Some(at) = self.unread.iter().rposition(|open| open == name) {
            self.unread.truncate(at);
            return;
        }
        if !self.unread.is_empty() {
            return;
        }
        match name {
            "title" => self.in_title = false,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.splitter.open_heading(name.as_bytes()[1] - b'0'),
            "td" | "th" => self.end_cell(),
            "tr" => self.end_row(),
            "p" | "ul" | "ol" | "dl" => {
                self.end_block();
                self.splitter.end_full_passage();
            }
            "table" => {
                self.end_row();
                self.splitter.end_full_passage();
            }
            block if BLOCKS.contains(&block) => self.end_block(),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_title {
            self.title.push_str(text);
        } else if self.unread.is_empty() {
            self.splitter.inline.push_str(text);
        }
    }

    /// Inside a table, blocks only part words.
    fn end_block(&mut self) {
        if self.in_cell { self.splitter.inline.push(' ') } else { self.splitter.end_block() }
    }

    fn end_cell(&mut self) {
        if std::mem::take(&mut self.in_cell) {
            let cell = collapse(&std::mem::take(&mut self.splitter.inline));
            self.splitter.table.row.push(cell);
        }
    }

    fn end_row(&mut self) {
        self.end_cell();
        let row = std::mem::take(&mut self.splitter.table.row);
        if std::mem::take(&mut self.has_values) {
            let sentence = row_sentence(&self.splitter.table.header, &row);
            self.splitter.push_sentence(sentence);
        } else if !row.is_empty() {
            self.splitter.table.header = row;
        }
    }

    fn finish(mut self) -> SplitDocument {
        self.end_row();
        let document = self.splitter.finish();
        let title = Some(collapse(&self.title)).filter(|title| !title.is_empty());
        SplitDocument { title: title.or(document.title), ..document }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expected: &[(&str, &str)]) {
        let split = split_html(html);
        let got: Vec<_> = split.passages.iter().map(|p| (p.heading.as_str(), p.text.as_str())).collect();
        assert_eq!(got, expected, "{html}");
    }

    #[test]
    fn a_page_becomes_passages_under_its_headings() {
        let page = "<!DOCTYPE html><html><head><title>Salon &amp; Spa</title><style>p { color: red }</style>\
            <script>var a = '<p>not said</p>';</script></head><body><nav><a href='/'>Home</a></nav>\
            <h1>Salon</h1><p>We cut <b>hair</b> &ndash; and\nbeards.<h2>Prices</h2><ul><li>Cut: 30 &euro;<li>Shave: 15&nbsp;&euro;\
            </ul><h2>Parking</h2><div>Behind the house.<br>Two hours are free.</div><footer>Mill Lane 3</footer></body></html>";
        check(
            page,
            &[
                ("Salon", "We cut hair – and beards."),
                ("Salon > Prices", "Cut: 30 €. Shave: 15 €."),
                ("Salon > Parking", "Behind the house. Two hours are free. Mill Lane 3."),
            ],
        );
        assert_eq!(split_html(page).title.as_deref(), Some("Salon & Spa"));
    }

    #[test]
    fn tables_become_sentences_with_or_without_end_tags() {
        let closed = "<table><tr><th>Service</th><th>Price</th><th>Duration</th></tr>\
            <tr><td>Cut</td><td><p>30 €</p></td><td>45 min</td></tr><tr><td>Shave</td><td>15 €</td><td></td></tr></table>";
        let open = closed.replace("</td>", "").replace("</tr>", "").replace("</th>", "");
        for html in [closed, open.as_str()] {
            check(html, &[("", "Cut: Price 30 €, Duration 45 min. Shave: Price 15 €.")]);
        }
        check("<table><tr><th>Monday<td>9 to 5</table>After.", &[("", "Monday: 9 to 5. After.")]);
    }

    #[test]
    fn what_is_not_for_reading_is_left_out_and_ends() {
        check("<nav>Home <svg>x</nav>Said.<select><option>No</select> <img alt=no> Too.", &[("", "Said. Too.")]);
        check("just text", &[("", "just text.")]);
        check("", &[]);
    }

    proptest::proptest! {
        #[test]
        fn any_page_is_cut(html in "(<(/?)(p|h1|table|tr|td|th|nav|title|br/|script|li)>|[a-z&;. ]{0,6}){0,30}") {
            for passage in split_html(&html).passages {
                proptest::prop_assert!(!passage.text.trim().is_empty());
            }
        }
    }
}
