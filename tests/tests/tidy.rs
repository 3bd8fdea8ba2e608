//! Checks on the repository itself: what a reviewer would otherwise have to look for by eye. Each test names the file
//! and what to do about it; none needs git, so they hold in an unpacked archive too.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a file that cannot be read fails the test, with its error")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file past this many lines does more than its name says.
const MAX_LINES: usize = 900;
/// Made by building and running; never part of the repository.
const NOT_OURS: [&str; 3] = [".git", "target", "state"];
const CRATES: [&str; 7] = ["audio", "cloud", "cloud/api", "daemon", "models", "sip-stack", "tests"];

#[test]
fn readmes_code_map_names_every_folder_and_module_and_nothing_else() {
    let mapped = code_map();
    let mut mistakes: Vec<String> = mapped
        .iter()
        .filter(|path| !root().join(path).exists())
        .map(|path| format!("{path} is in README's code map but does not exist"))
        .collect();
    for place in places_to_map() {
        if !mapped.contains(&place) {
            mistakes.push(format!("{place} is missing in README's code map"));
        }
    }
    assert_none(&mistakes);
}

#[test]
fn readmes_dependency_table_is_the_workspaces() {
    let wanted: BTreeSet<String> = workspace_dependencies();
    let listed: BTreeSet<String> = section(&read("README.md"), "## Dependencies")
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1).map(backticked))
        .flatten()
        .collect();
    assert!(wanted.len() > 20, "read only {} dependencies from Cargo.toml", wanted.len());
    let missing = wanted.difference(&listed).map(|name| format!("{name} is in Cargo.toml but not in README's table"));
    let stale = listed.difference(&wanted).map(|name| format!("{name} is in README's table but not in Cargo.toml"));
    assert_none(&missing.chain(stale).collect::<Vec<_>>());
}

#[test]
fn no_unfinished_marks() {
    // Put together here so that this file does not find itself.
    let macros = ["dbg", "todo", "unimplemented"].map(|name| format!("{name}!("));
    let words = [["TO", "DO"].concat(), ["X", "XX"].concat(), ["HA", "CK"].concat()];
    let is_mark = |line: &str| {
        macros.iter().any(|mark| line.contains(mark.as_str()))
            || line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| words.iter().any(|mark| mark == word))
    };
    let mut mistakes = Vec::new();
    for path in rust_files() {
        for (number, line) in numbered(&path) {
            if is_mark(&line) {
                mistakes.push(format!("{}:{number}: {}", shown(&path), line.trim()));
            }
        }
    }
    assert_none(&mistakes);
}

/// A wrong behaviour that stays for now has a test that asserts it, and the mark stands on that test.
#[test]
fn every_fixme_stands_on_a_test() {
    let mark = ["FIX", "ME"].concat();
    let mut mistakes = Vec::new();
    for path in rust_files() {
        let lines: Vec<_> = numbered(&path).collect();
        for (index, (number, line)) in lines.iter().enumerate() {
            let code = lines[index..].iter().map(|(_, line)| line.trim()).find(|line| !line.starts_with("//"));
            let on_test = line.trim().starts_with("//") && code.is_some_and(|code| code.starts_with("#[test]"));
            if line.contains(&mark) && !on_test {
                mistakes.push(format!("{}:{number}: put it on the test that asserts the behaviour", shown(&path)));
            }
        }
    }
    assert_none(&mistakes);
}

#[test]
fn rust_files_are_neither_empty_nor_too_long() {
    let files = rust_files();
    assert!(files.len() >= CRATES.len(), "found only {} Rust files", files.len());
    let mistakes: Vec<_> = files
        .iter()
        .map(|path| (path, fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines == 0 || *lines > MAX_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", shown(path)))
        .collect();
    assert_none(&mistakes);
}

/// A file `tests.rs` says it by its name.
#[test]
fn every_module_opens_with_what_it_is() {
    let mistakes: Vec<_> = rust_files()
        .iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| format!("{}: the first line should be a //! sentence", shown(path)))
        .collect();
    assert_none(&mistakes);
}

#[test]
fn no_leftover_files() {
    let leftover = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        [".orig", ".rej", ".bak", ".swp", "~", ".part"].iter().any(|end| name.ends_with(end))
            || name == "Cargo.toml.new"
    };
    let mistakes: Vec<_> = all_files().iter().filter(|path| leftover(path)).map(|path| shown(path)).collect();
    assert_none(&mistakes);
}

#[test]
fn no_paths_of_one_machine() {
    let machine = ["home", "root", "work", "Users"].map(|folder| format!("/{folder}/"));
    // `…/work/` in the middle of a longer path or address is a folder of somebody else.
    let starts_path = |line: &str, at: usize| {
        line[..at].chars().next_back().is_none_or(|before| matches!(before, ' ' | '"' | '\'' | '=' | '(' | '`' | ':'))
    };
    let mut mistakes = Vec::new();
    for path in all_files() {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (index, line) in text.lines().enumerate() {
            let found =
                machine.iter().any(|folder| line.match_indices(folder.as_str()).any(|(at, _)| starts_path(line, at)));
            if found {
                mistakes.push(format!("{}:{}: {}", shown(&path), index + 1, line.trim()));
            }
        }
    }
    assert_none(&mistakes);
}

#[test]
fn the_lockfile_is_kept() {
    assert!(root().join("Cargo.lock").is_file(), "Cargo.lock is part of the repository: we ship binaries");
    let ignored = read(".gitignore");
    assert!(!ignored.lines().any(|line| line.contains("Cargo.lock")), ".gitignore must not name Cargo.lock");
}

/// cargo-deny checks this too, but not everybody has it installed.
#[test]
fn no_banned_crate_is_in_the_lockfile() {
    let deny = read(".cargo/deny.toml");
    let banned: BTreeSet<&str> = deny.lines().filter_map(|line| quoted_after(line, "{ crate = \"")).collect();
    assert!(banned.contains("openssl-sys"), "the bans in .cargo/deny.toml could not be read: {banned:?}");
    let lock = read("Cargo.lock");
    let locked = lock.lines().filter_map(|line| quoted_after(line, "name = \""));
    let mistakes: Vec<_> =
        locked.filter(|name| banned.contains(name)).map(|name| format!("{name} is banned")).collect();
    assert_none(&mistakes);
}

#[test]
fn package_list_is_sorted_and_gives_a_reason_for_each() {
    let mut mistakes = Vec::new();
    let mut previous = String::new();
    let mut packages = 0;
    for line in read(".ci/packages.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            previous.clear();
            continue;
        }
        let (package, reason) = line.split_once('#').unwrap_or((line, ""));
        packages += 1;
        if reason.trim().is_empty() {
            mistakes.push(format!("{line}: no reason"));
        }
        if package.trim() <= previous.as_str() {
            mistakes.push(format!("{} stands after {previous}", package.trim()));
        }
        previous = package.trim().to_owned();
    }
    assert!(packages > 5, "read only {packages} packages");
    assert_none(&mistakes);
}

/// The paths that the first code block of README's "Code map" names. A line that is not indented names something of the
/// top level, one indented by two spaces something below it; deeper lines go on with the sentence above.
fn code_map() -> BTreeSet<String> {
    let readme = read("README.md");
    let block = section(&readme, "## Code map").skip_while(|line| !line.starts_with("```")).skip(1);
    let mut top = String::new();
    let mut map = BTreeSet::new();
    for line in block.take_while(|line| !line.starts_with("```")) {
        let name = line.split_whitespace().next().unwrap_or_default();
        match line.len() - line.trim_start().len() {
            _ if name.is_empty() => {}
            0 => {
                name.trim_end_matches('/').clone_into(&mut top);
                map.insert(top.clone());
            }
            2 => {
                map.insert(format!("{top}/{}", name.trim_end_matches('/')));
            }
            _ => {}
        }
    }
    assert!(map.len() > 10, "README's code map could not be read: {map:?}");
    map
}

/// Every folder of the top level, every module of each crate, every whole-system test.
fn places_to_map() -> BTreeSet<String> {
    let mut places: BTreeSet<String> =
        entries(&root()).into_iter().filter(|path| path.is_dir()).map(|path| shown(&path)).collect();
    let sources = CRATES.map(|name| format!("{name}/src"));
    for folder in sources.iter().map(String::as_str).chain(["tests/tests"]) {
        for path in entries(&root().join(folder)) {
            // lib.rs and main.rs are the crate itself; `x.rs` beside a folder `x` is the same module.
            let is_crate = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
            let is_file = path.extension().is_some_and(|end| end == "rs") && !path.with_extension("").is_dir();
            if path.is_dir() || (is_file && !is_crate) {
                places.insert(shown(&path));
            }
        }
    }
    places
}

/// Names under `[workspace.dependencies]` that are not our own crates.
fn workspace_dependencies() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    section_until(&manifest, "[workspace.dependencies]", "[")
        .filter(|line| !line.starts_with('#') && !line.contains("path = "))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name.to_owned()))
        .collect()
}

/// The lines below this heading of a Markdown text, up to the next heading of the same level.
fn section<'a>(text: &'a str, heading: &'a str) -> impl Iterator<Item = &'a str> {
    section_until(text, heading, "## ")
}

fn section_until<'a>(text: &'a str, heading: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().skip_while(move |line| *line != heading).skip(1).take_while(move |line| !line.starts_with(end))
}

fn backticked(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What stands between `start` and the next quotation mark.
fn quoted_after<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.trim().strip_prefix(start)?.split('"').next()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The path as README would write it.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn numbered(path: &Path) -> impl Iterator<Item = (usize, String)> {
    let lines: Vec<String> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    lines.into_iter().enumerate().map(|(index, line)| (index + 1, line))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !NOT_OURS.iter().any(|name| path == &root().join(name)));
    paths.sort();
    paths
}

fn all_files() -> Vec<PathBuf> {
    let mut folders = vec![root()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let (inner, found): (Vec<_>, Vec<_>) = entries(&folder).into_iter().partition(|path| path.is_dir());
        folders.extend(inner.into_iter().filter(|path| !path.is_symlink()));
        files.extend(found);
    }
    files
}

fn rust_files() -> Vec<PathBuf> {
    all_files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}

#[track_caller]
fn assert_none(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}
