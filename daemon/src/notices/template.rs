//! What notices say: four templates that the office may replace by files of its own.
//!
//! The language is Jinja's. A template sees the facts of one notice and nothing else: no files, no includes, no clock.
//! What it may cost is bounded (fuel, size of source and result). One of the office's that fails when a notice is to be
//! sent is passed over for the built-in one: a notice with the wrong words is better than none.

use std::fs;
use std::path::Path;

use minijinja::Environment;
use minijinja::value::Serde;
use tracing::warn;

use super::content::Facts;

/// Instructions of one rendering: some hundred times what the built-in templates take.
const FUEL: u64 = 50_000;
/// Longest template of the office.
const SOURCE_MAX_BYTES: u64 = 64 * 1024;
/// Longest text it may make.
const TEXT_MAX_BYTES: usize = 256 * 1024;

/// Which text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Of an e-mail: one line.
    Subject,
    /// Of an e-mail, for programs that show no HTML.
    Text,
    /// Of an e-mail.
    Html,
    /// A text message: one line.
    Sms,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 4] = [Part::Subject, Part::Text, Part::Html, Part::Sms];

    /// The file's name in the office's folder. That of HTML is what makes values in it escaped.
    pub fn file_name(self) -> &'static str {
        match self {
            Part::Subject => "notice.subject",
            Part::Text => "notice.txt",
            Part::Html => "notice.html",
            Part::Sms => "notice.sms",
        }
    }

    fn built_in(self) -> &'static str {
        match self {
            Part::Subject => include_str!("templates/notice.subject"),
            Part::Text => include_str!("templates/notice.txt"),
            Part::Html => include_str!("templates/notice.html"),
            Part::Sms => include_str!("templates/notice.sms"),
        }
    }

    fn is_one_line(self) -> bool {
        matches!(self, Part::Subject | Part::Sms)
    }
}

/// A template of the office cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct BadTemplate {
    /// Its name.
    pub file: &'static str,
    /// Why, with the line.
    pub reason: String,
}

/// The templates in force.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    own: [Option<String>; 4],
}

impl Templates {
    /// The office's templates in `folder`; of those that are not there the built-in ones. Blocks.
    ///
    /// # Errors
    /// Every template that cannot be read, is too long or does not parse.
    pub fn open(folder: Option<&Path>) -> Result<Templates, Vec<BadTemplate>> {
        let mut mistakes = Vec::new();
        let own = Part::ALL.map(|part| {
            read(folder?, part).unwrap_or_else(|reason| {
                mistakes.push(BadTemplate { file: part.file_name(), reason });
                None
            })
        });
        if mistakes.is_empty() { Ok(Templates { own }) } else { Err(mistakes) }
    }

    /// The text of `part` for these facts; none of its lines ends in blanks, and only an e-mail has several.
    pub fn render(&self, part: Part, facts: &Facts) -> String {
        let own = Part::ALL.iter().zip(&self.own).find(|(one, _)| **one == part).and_then(|(_, own)| own.as_deref());
        let text = own.and_then(|source| {
            render(part, source, facts)
                .inspect_err(|error| warn!(file = part.file_name(), %error, "The office's template was passed over"))
                .ok()
        });
        let text = text.or_else(|| render(part, part.built_in(), facts).ok()).unwrap_or_default();
        if part.is_one_line() { text.split_whitespace().collect::<Vec<_>>().join(" ") } else { text }
    }
}

fn read(folder: &Path, part: Part) -> Result<Option<String>, String> {
    let path = folder.join(part.file_name());
    let size = match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(|error| error.to_string())?.len(),
    };
    if size > SOURCE_MAX_BYTES {
        return Err(format!("{size} bytes, expected at most {SOURCE_MAX_BYTES}"));
    }
    let source = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    environment().template_from_named_str(part.file_name(), &source).map_err(|error| error.to_string())?;
    Ok(Some(source))
}

fn environment<'source>() -> Environment<'source> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment
}

fn render(part: Part, source: &str, facts: &Facts) -> Result<String, String> {
    let environment = environment();
    let template = environment.template_from_named_str(part.file_name(), source).map_err(|error| error.to_string())?;
    let mut text = Bounded(Vec::new());
    template.render_captured_to(Serde(facts), &mut text).map_err(|error| error.to_string())?;
    String::from_utf8(text.0).map_err(|error| error.to_string())
}

/// A text that does not grow without end.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > TEXT_MAX_BYTES {
            return Err(std::io::Error::other("its text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notices::content::tests::facts;

    fn templates(part: Part, source: &str) -> Result<Templates, Vec<BadTemplate>> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(part.file_name()), source).unwrap();
        Templates::open(Some(folder.path()))
    }

    #[test]
    fn the_built_in_templates_say_who_wants_what() {
        let facts = facts();
        let built_in = Templates::default();
        assert_eq!(built_in.render(Part::Subject, &facts), "Urgent: Message from Anna <Bell>");
        for part in [Part::Text, Part::Html, Part::Sms] {
            let text = built_in.render(part, &facts);
            for word in ["+15550100", "call back", "0417"] {
                assert!(text.contains(word), "{part:?} without {word}: {text}");
            }
        }
        let html = built_in.render(Part::Html, &facts);
        assert!(html.contains("Anna &lt;Bell&gt;") && !html.contains("<Bell>"), "{html}");
        let text = built_in.render(Part::Text, &facts);
        assert!(text.contains("\nNumber:     +15550100\n") && text.contains("Please call me"), "{text}");
    }

    #[test]
    fn the_office_writes_its_own_and_a_subject_is_one_line() {
        let own = templates(Part::Subject, "Anruf\r\nBcc: everybody@example.com {{ reference }}").unwrap();
        assert_eq!(own.render(Part::Subject, &facts()), "Anruf Bcc: everybody@example.com 0417");
        assert!(own.render(Part::Text, &facts()).contains("A message was left"));
    }

    #[test]
    fn a_template_that_does_not_parse_is_a_mistake_with_its_line() {
        let mistakes = templates(Part::Text, "one\n{% if %}").unwrap_err();
        assert_eq!(mistakes[0].file, "notice.txt");
        assert!(mistakes[0].reason.contains('2'), "{mistakes:?}");
        assert!(templates(Part::Text, &"x".repeat(70_000)).unwrap_err()[0].reason.contains("70000"));
    }

    #[test]
    fn a_template_that_costs_too_much_is_passed_over() {
        for source in [
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            "{% for a in range(9000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
            "{% include 'notice.html' %}",
            "{{ reference.nothing.there }}",
        ] {
            // What cannot be known to fail before it is tried.
            if let Ok(own) = templates(Part::Text, source) {
                assert!(own.render(Part::Text, &facts()).contains("A message was left"), "{source}");
            }
        }
    }
}
