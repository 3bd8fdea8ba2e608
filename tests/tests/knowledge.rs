//! The office's documents as a running program reads them: PDFs by a process of their own.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

/// A PDF as an office prints it, of one page for each content stream.
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
    let (mut file, mut table) = (String::from("%PDF-1.4\n"), String::new());
    for (index, object) in objects.iter().enumerate() {
        table.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let (count, start) = (objects.len() + 1, file.len());
    file.push_str(&format!("xref\n0 {count}\n0000000000 65535 f \n{table}"));
    file.push_str(&format!("trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"));
    file.into_bytes()
}

fn ask(documents: &Path, question: &str) -> Output {
    let none = tempfile::tempdir().unwrap();
    Command::new(PROGRAM)
        .args(["ask", question, "--json", "--set", &format!("knowledge.directory={}", documents.display())])
        .args(["--set", &format!("models.directory={}", none.path().display())])
        .output()
        .unwrap()
}

/// The page is cited, and whatever is wrong with other files is named and costs nothing else.
#[test]
fn a_pdf_is_answered_from_and_bad_ones_are_named() {
    let documents = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(documents.path().join(name), bytes).unwrap();
    let text = |lines: &str| format!("BT /F1 12 Tf 72 720 Td {lines} ET");
    let good = pdf(&[
        &text("(Welcome to our shop for bicycles.) Tj"),
        &text("(A new inner tube costs $12, fitted while you) Tj 0 -16 Td (wait.) Tj"),
    ]);
    write("shop.pdf", &good);
    write("scan.pdf", &pdf(&["0 0 612 792 re f"]));
    write("letter.pdf", b"Not a PDF at all.");
    write("half.pdf", &good[..good.len() / 2]);
    // A tree of pages that is its own child, and an object that refers to itself.
    let knot = String::from_utf8(good.clone()).unwrap().replace("/Kids [4 0 R", "/Kids [2 0 R");
    write("knot.pdf", knot.as_bytes());
    let output = ask(documents.path(), "How much is an inner tube?");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}\n{errors}"));
    assert_eq!(told["answer"][0], "A new inner tube costs $12, fitted while you wait.");
    assert_eq!(told["sources"][0], "shop.pdf > page 2");
    for (name, reason) in [("scan.pdf", "only pictures"), ("letter.pdf", "no PDF")] {
        let line = errors.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {errors}"));
        assert!(line.contains(reason), "{line}");
    }
}

/// Any bytes end in an answer or in a message, never in a process that goes on and on.
#[test]
fn damaged_pdfs_end() {
    let good = pdf(&["BT /F1 12 Tf 72 720 Td (We repair bicycles.) Tj ET"]);
    for place in (0..good.len()).step_by(good.len() / 12) {
        let mut damaged = good.clone();
        let end = (place + 8).min(damaged.len());
        damaged[place..end].fill(b'9');
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &damaged).unwrap();
        let output = Command::new(PROGRAM)
            .arg("pdf-text")
            .stdin(std::fs::File::open(file.path()).unwrap())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(told["pages"].is_array() || told["problem"].is_string(), "damaged at {place}: {told}");
        }
    }
}
