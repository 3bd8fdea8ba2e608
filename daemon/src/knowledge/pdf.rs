//! Text out of PDF files, page by page.
//!
//! A PDF is a program by somebody else, and the library that reads it may panic, run in circles or take all memory with a
//! broken or hostile one. So each is read by a process of its own, this program under another name, with limits on time
//! and memory: whatever happens there, here a file could not be read.
//!
//! Left out on purpose: recognising text in pictures. A file that holds nothing else is named as such.

use std::fs::File;
use std::io::{self, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use pdf_extract::{Document, PlainTextOutput, output_doc_page};
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};

use super::splitter::{SplitDocument, split_plain};

/// The command of `offhook` that reads one.
pub(crate) const COMMAND: &str = "pdf-text";
/// How a process ends whose program could not be started, where that shows only once it has a process: a shell's rule, and
/// that of `posix_spawn` on systems without `vfork`, emulated ones among them.
const NOT_STARTED: i32 = 127;
/// What parts the pages of one text: a form feed, as in print.
const PAGE_END: char = '\u{c}';
/// Pages beyond this are not read.
const PAGES_MAX: usize = 500;
/// What one process may take: memory, processor time, and time in all, which is more on a box that is busy with calls.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
const PROCESSOR_SECONDS_MAX: u64 = 20;
const LIMIT: Duration = Duration::from_secs(60);
/// The text of one file, as for the others.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// What the process tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    /// The text of each page.
    Pages(Vec<String>),
    /// Why there is none.
    Problem(String),
}

/// The text of the file at `path`, read by `program`, which is an `offhook`.
///
/// # Errors
/// The outer: the system lets us not read or start it. The inner: what is wrong with the file, in a few words.
pub(super) fn text(program: &Path, path: &Path) -> io::Result<Result<String, String>> {
    let mut child = Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .stdin(File::open(path)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take();
    let (done, answer) = channel();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|stdout| stdout.take(TEXT_BYTES_MAX).read_to_end(&mut bytes));
        // Whoever asked may have given up.
        let _ = done.send(read.is_some_and(|read| read.is_ok()).then_some(bytes));
    });
    let answer = answer.recv_timeout(LIMIT);
    // It has ended, or has to: killing one that has ended does nothing.
    let _ = child.kill();
    if child.wait()?.code() == Some(NOT_STARTED) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} could not be started", program.display())));
    }
    let _ = reader.join();
    let Ok(answer) = answer else { return Ok(Err("reading it takes too long".into())) };
    let told = answer.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(match told {
        Some(Told::Pages(pages)) => Ok(pages.join(&PAGE_END.to_string())),
        Some(Told::Problem(problem)) => Err(problem),
        None => Err("it is no PDF that can be read".into()),
    })
}

/// The program that runs: an `offhook`, except in tests.
pub(super) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "offhook".into())
}

/// Reads a PDF from standard input under the limits, and gives what is to be told about it as JSON.
///
/// # Errors
/// The system's.
pub(crate) fn read_here() -> io::Result<String> {
    let limited = |bound| Rlimit { current: Some(bound), maximum: Some(bound) };
    setrlimit(Resource::Data, limited(MEMORY_BYTES_MAX))?;
    setrlimit(Resource::Cpu, limited(PROCESSOR_SECONDS_MAX))?;
    setrlimit(Resource::Core, limited(0))?;
    nice(19)?;
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let told = catch_unwind(AssertUnwindSafe(|| pages(&bytes)))
        .unwrap_or_else(|_| Told::Problem("it is no PDF that can be read".into()));
    Ok(serde_json::to_string(&told)?)
}

fn pages(bytes: &[u8]) -> Told {
    let Ok(mut document) = Document::load_mem(bytes) else { return Told::Problem("it is no PDF".into()) };
    if document.is_encrypted() && document.decrypt("").is_err() {
        return Told::Problem("it wants a password".into());
    }
    let mut pages = Vec::new();
    for number in document.get_pages().into_keys().take(PAGES_MAX) {
        let mut page = String::new();
        let read = catch_unwind(AssertUnwindSafe(|| {
            output_doc_page(&document, &mut PlainTextOutput::new(&mut page), number).map_err(|error| error.to_string())
        }));
        if !matches!(read, Ok(Ok(()))) {
            return Told::Problem(format!("its page {number} cannot be read"));
        }
        pages.push(page.replace(PAGE_END, " "));
    }
    if pages.is_empty() {
        return Told::Problem("it is no PDF with pages".into());
    }
    if pages.iter().all(|page| page.trim().is_empty()) {
        return Told::Problem("it holds only pictures: there is no text to read in it".into());
    }
    Told::Pages(pages)
}

/// Cuts a text of pages into passages: the page is what is cited.
pub(super) fn split_pages(text: &str) -> SplitDocument {
    let mut document = SplitDocument { title: None, passages: Vec::new() };
    for (index, page) in text.split(PAGE_END).enumerate() {
        let split = split_plain(&joined(page));
        document.title = document.title.or(split.title);
        document.passages.extend(split.passages.into_iter().map(|mut passage| {
            let page = format!("page {}", index + 1);
            passage.heading = if passage.heading.is_empty() { page } else { format!("{page} > {}", passage.heading) };
            passage
        }));
    }
    document
}

/// Words that are parted at the end of a line are whole again.
fn joined(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for line in page.lines().map(str::trim) {
        let parted = text.strip_suffix("-\n").filter(|before| before.ends_with(char::is_lowercase)).map(str::len);
        match parted.filter(|_| line.starts_with(char::is_lowercase)) {
            Some(length) => text.truncate(length),
            // Marks of Markdown are none in print: `#` is a number, a line of `=` a rule.
            None if line.starts_with(['#', '=', '>']) => text.push('\\'),
            None => {}
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PDF of one page for each content stream.
    fn pdf(pages: &[&str]) -> Vec<u8> {
        let kids: Vec<_> = (0..pages.len()).map(|index| format!("{} 0 R", 4 + 2 * index)).collect();
        let mut objects = vec![
            "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
            format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()),
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        ];
        for (index, content) in pages.iter().enumerate() {
            objects.push(format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R \
                 /Resources << /Font << /F1 3 0 R >> >> >>",
                5 + 2 * index
            ));
            objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
        }
        let (mut file, mut offsets) = (String::from("%PDF-1.4\n"), Vec::new());
        for (index, object) in objects.iter().enumerate() {
            offsets.push(format!("{:010} 00000 n \n", file.len()));
            file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
        }
        let (count, start) = (objects.len() + 1, file.len());
        file.push_str(&format!("xref\n0 {count}\n0000000000 65535 f \n{}", offsets.concat()));
        file.push_str(&format!("trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"));
        file.into_bytes()
    }

    fn said(text: &str) -> String {
        format!("BT /F1 12 Tf 72 720 Td ({text}) Tj ET")
    }

    #[test]
    fn pages_become_passages_that_cite_them() {
        let Told::Pages(pages) = pages(&pdf(&[&said("A crown costs $1,150."), &said("Dogs wait outside.")])) else {
            panic!("no pages")
        };
        let split = split_pages(&pages.join("\u{c}"));
        let got: Vec<_> = split.passages.iter().map(|p| (p.heading.as_str(), p.text.as_str())).collect();
        assert_eq!(got, [("page 1", "A crown costs $1,150."), ("page 2", "Dogs wait outside.")]);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let problem = |bytes: &[u8]| match pages(bytes) {
            Told::Problem(problem) => problem,
            Told::Pages(pages) => panic!("{pages:?}"),
        };
        assert!(problem(&pdf(&["0 0 612 792 re f"])).contains("only pictures"));
        assert_eq!(problem(b"GIF89a"), "it is no PDF");
        let whole = pdf(&[&said("Half of a file.")]);
        assert!(problem(&whole[..whole.len() / 3]).contains("PDF"));
    }

    #[test]
    fn words_parted_at_the_end_of_a_line_are_whole_again() {
        let page = "Our appoint-\nments are free.\nMonday-\nFriday.\n# 7 is next.";
        assert_eq!(joined(page), "Our appointments are free.\nMonday-\nFriday.\n\\# 7 is next.\n");
    }

    /// A program that is no `offhook`, and one that never ends, are files that cannot be read.
    #[test]
    fn a_process_that_fails_is_a_file_that_cannot_be_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = text(Path::new("/bin/false"), file.path()).unwrap();
        assert_eq!(read, Err("it is no PDF that can be read".into()));
        assert!(text(Path::new("/no/such/program"), file.path()).is_err());
    }
}
