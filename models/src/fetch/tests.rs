//! Fetching and importing, from a loopback server and from folders.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use sha2::{Digest as _, Sha256};
use tempfile::{TempDir, tempdir};

use crate::catalogue::{Archive, Digest, Download, Entry, Member, ModelFile, Package, Purpose, Source, Step};
use crate::{Progress, Status, Store, StoreError};

/// What the toy model's file holds: more than the buffers in between.
fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn sha256(bytes: &[u8]) -> &'static str {
    hex::encode(Sha256::digest(bytes)).leak()
}

fn entry(content: &[u8], sources: Vec<Source>) -> &'static Entry {
    let file =
        ModelFile { name: "toy.bin", bytes: content.len() as u64, accepted: leak([Digest::Sha256(sha256(content))]) };
    leak(Entry {
        id: "toy",
        purpose: Purpose::Embedding,
        summary: "toy",
        licence: "none",
        files: leak([file]),
        sources: sources.leak(),
    })
}

fn official(url: String) -> Source {
    Source::Official(leak([Download { file: "toy.bin", url: url.leak() }]))
}

/// Where the store keeps the toy model's file of that content.
fn object(store: &Store, content: &[u8]) -> PathBuf {
    store.objects_folder().join(sha256(content)).join("toy.bin")
}

fn store() -> (TempDir, Store) {
    let folder = tempdir().unwrap();
    let store = Store::open(folder.path().join("models")).unwrap();
    (folder, store)
}

/// How the loopback server treats one connection.
#[derive(Clone, Copy)]
enum Reply {
    /// Everything from the asked offset on.
    Whole,
    /// Closes after this many bytes of the body.
    CutAfter(usize),
    /// Everything from the start, whatever was asked.
    IgnoreRange,
    /// This status.
    Status(u16),
    /// As `CutAfter`, with this entity tag.
    TaggedCut(&'static str, usize),
    /// Everything, with this entity tag; from the asked offset on only if `If-Range` names it.
    Tagged(&'static str),
}

/// Serves `content`, one reply a connection; tells what was asked for (the `Range` value, or "").
fn serve(content: Vec<u8>, replies: &'static [Reply]) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/toy.bin", listener.local_addr().unwrap());
    let (asked, ranges) = mpsc::channel();
    thread::spawn(move || {
        for &reply in replies {
            let Ok((stream, _)) = listener.accept() else { return };
            let _ = asked.send(answer(stream, &content, reply));
        }
    });
    (url, ranges)
}

fn answer(mut stream: TcpStream, content: &[u8], reply: Reply) -> String {
    let (mut range, mut if_range) = (String::new(), String::new());
    for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => range = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("if-range") => if_range = value.to_owned(),
            Some(_) | None => {}
        }
    }
    let from = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    let (status, body, sent) = match reply {
        Reply::Whole if from > 0 => (206, &content[from..], usize::MAX),
        Reply::CutAfter(count) if from > 0 => (206, &content[from..], count),
        Reply::CutAfter(count) => (200, content, count),
        Reply::Whole | Reply::IgnoreRange => (200, content, usize::MAX),
        Reply::Status(status) => (status, &content[..0], usize::MAX),
        Reply::TaggedCut(_, count) => (200, content, count),
        Reply::Tagged(tag) if from > 0 && if_range == tag => (206, &content[from..], usize::MAX),
        Reply::Tagged(_) => (200, content, usize::MAX),
    };
    let tag = match reply {
        Reply::TaggedCut(tag, _) | Reply::Tagged(tag) => format!("ETag: {tag}\r\n"),
        Reply::Whole | Reply::CutAfter(_) | Reply::IgnoreRange | Reply::Status(_) => String::new(),
    };
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n{tag}Connection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&body[..sent.min(body.len())]);
    range
}

#[derive(Default)]
struct Recorder {
    total_bytes: u64,
    advanced: u64,
    steps: Vec<String>,
    finished: usize,
}

impl Progress for Recorder {
    fn started(&mut self, _: &str, total_bytes: u64) {
        self.total_bytes = total_bytes;
    }

    fn advanced(&mut self, bytes: u64) {
        self.advanced += bytes;
    }

    fn step(&mut self, what: &str) {
        self.steps.push(what.to_owned());
    }

    fn finished(&mut self) {
        self.finished += 1;
    }
}

#[test]
fn a_connection_cut_in_the_middle_is_taken_up_where_it_broke() {
    let (_folder, store) = store();
    let (url, ranges) = serve(content(), &[Reply::CutAfter(500_000), Reply::Whole]);
    let entry = entry(&content(), vec![official(url)]);
    let mut progress = Recorder::default();
    store.fetch_entry(entry, &mut progress).unwrap();
    assert_eq!(store.status_of(entry), Status::Present);
    assert_eq!(fs::read(object(&store, &content())).unwrap(), content());
    assert_eq!(ranges.recv().unwrap(), "");
    let second = ranges.recv().unwrap();
    let from: u64 = second.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!(from > 0 && from <= 500_000, "{second}");
    assert_eq!((progress.advanced, progress.total_bytes, progress.finished), (1_200_000, 1_200_000, 1));
    assert!(!store.partial_folder(entry).exists());
}

#[test]
fn a_later_fetch_goes_on_from_what_an_earlier_one_left() {
    let (_folder, store) = store();
    let (url, ranges) = serve(content(), &[Reply::Whole]);
    let entry = entry(&content(), vec![official(url)]);
    fs::create_dir_all(store.partial_folder(entry)).unwrap();
    fs::write(store.partial_folder(entry).join("toy.bin.part"), &content()[..1_000]).unwrap();
    store.fetch_entry(entry, &mut ()).unwrap();
    assert_eq!(ranges.recv().unwrap(), "bytes=1000-");
    assert_eq!(store.status_of(entry), Status::Present);
}

#[test]
fn a_server_that_cannot_resume_starts_over() {
    let (_folder, store) = store();
    let (url, _ranges) = serve(content(), &[Reply::CutAfter(100_000), Reply::IgnoreRange]);
    let entry = entry(&content(), vec![official(url)]);
    store.fetch_entry(entry, &mut ()).unwrap();
    assert_eq!(fs::read(object(&store, &content())).unwrap(), content());
}

#[test]
fn a_wrong_content_is_thrown_away_and_the_next_source_is_tried() {
    let (_folder, store) = store();
    let (wrong, _asked) = serve(b"something else".to_vec(), &[Reply::Whole]);
    let (right, _asked_too) = serve(content(), &[Reply::Whole]);
    let entry = entry(&content(), vec![official(wrong), official(right)]);
    store.fetch_entry(entry, &mut ()).unwrap();
    assert_eq!(store.status_of(entry), Status::Present);
}

#[test]
fn when_every_source_fails_the_error_says_what_each_said_and_the_way_out() {
    let (_folder, store) = store();
    let (wrong, _asked) = serve(b"something else".to_vec(), &[Reply::Whole]);
    let (gone, _asked_too) = serve(content(), &[Reply::Status(404)]);
    let closed = format!("http://{}/toy.bin", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let entry = entry(&content(), vec![official(wrong), official(gone), official(closed)]);
    let error = store.fetch_entry(entry, &mut ()).unwrap_err();
    let StoreError::NoSource { failures, .. } = &error else { panic!("{error}") };
    assert!(matches!(*failures[0].error, StoreError::WrongHash { .. }));
    assert_eq!(failures.len(), 3);
    let text = error.to_string();
    assert!(text.contains("unknown content") && text.contains("404") && text.contains("models import"), "{text}");
    assert_eq!(store.status_of(entry), Status::Missing);
    assert!(!store.partial_folder(entry).join("toy.bin.part").exists());
}

#[test]
fn damage_is_found_and_repaired() {
    let (_folder, store) = store();
    let (url, _ranges) = serve(content(), &[Reply::Whole, Reply::Whole]);
    let entry = entry(&content(), vec![official(url)]);
    store.fetch_entry(entry, &mut ()).unwrap();
    let path = object(&store, &content());
    let mut bytes = content();
    bytes[7] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(store.status_of(entry), Status::Damaged { .. }), "another size or time");
    assert!(matches!(store.verify_entry(entry, &mut ()).unwrap(), Status::Damaged { .. }));
    store.fetch_entry(entry, &mut ()).unwrap();
    assert_eq!(store.status_of(entry), Status::Present);
    assert_eq!(fs::read(&path).unwrap(), content());
}

#[test]
fn files_copied_into_place_by_hand_count_once_they_are_verified() {
    let (_folder, store) = store();
    let entry = entry(&content(), vec![]);
    let path = object(&store, &content());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content()).unwrap();
    assert!(matches!(store.status_of(entry), Status::Damaged { .. }), "present, but nobody vouches for it");
    store.fetch_entry(entry, &mut ()).unwrap();
    assert_eq!(store.status_of(entry), Status::Present);
}

/// Two releases with different files for the same model, as before and after an update: each finds its own.
#[test]
fn two_releases_share_a_store() {
    let (_folder, store) = store();
    let newer = content().repeat(2);
    let (old_url, _asked) = serve(content(), &[Reply::Whole]);
    let (new_url, _asked_too) = serve(newer.clone(), &[Reply::Whole]);
    let old = entry(&content(), vec![official(old_url)]);
    let new = entry(&newer, vec![official(new_url)]);
    store.fetch_entry(old, &mut ()).unwrap();
    assert_eq!(store.status_of(new), Status::Missing);
    store.fetch_entry(new, &mut ()).unwrap();
    assert_eq!((store.status_of(old), store.status_of(new)), (Status::Present, Status::Present));
    assert_eq!(fs::read(object(&store, &newer)).unwrap(), newer);
}

/// whisper.cpp publishes SHA-1 only; the object is named by the SHA-256 that came out.
#[test]
fn a_file_known_by_its_sha1_is_found_again() {
    let (_folder, store) = store();
    let (url, _asked) = serve(content(), &[Reply::Whole]);
    let sha1: &'static str = hex::encode(sha1::Sha1::digest(content())).leak();
    let file = ModelFile { name: "toy.bin", bytes: 1_200_000, accepted: leak([Digest::Sha1(sha1)]) };
    let entry = leak(Entry { files: leak([file]), ..*entry(&content(), vec![official(url)]) });
    store.fetch_entry(entry, &mut ()).unwrap();
    assert_eq!(store.status_of(entry), Status::Present);
    assert!(object(&store, &content()).exists());
}

/// A wheel with the toy model in it.
fn wheel(folder: &Path) -> Package {
    let path = folder.join("toy-1.0-py3-none-any.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    zip.start_file("toy/data/model", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&content()).unwrap();
    zip.finish().unwrap();
    let bytes = fs::read(&path).unwrap();
    Package { name: "toy", version: "1.0", sha256: sha256(&bytes), bytes: bytes.len() as u64, archive: Archive::Wheel }
}

fn from_wheel(package: Package) -> Source {
    let step = Step::Extract { member: Member { package: 0, path: "toy/data/model" }, file: "toy.bin" };
    Source::Packages { packages: leak([package]), steps: leak([step]) }
}

#[test]
fn a_file_on_a_stick_is_recognised_by_its_content_whatever_its_name() {
    let (folder, store) = store();
    let stick = folder.path().join("stick/deep/down");
    fs::create_dir_all(&stick).unwrap();
    fs::write(stick.join("renamed"), content()).unwrap();
    fs::write(stick.join("holiday.jpg"), vec![7; 1_000]).unwrap();
    let entries = std::slice::from_ref(entry(&content(), vec![]));
    let imported = store.import_entries(entries, &folder.path().join("stick"), &mut ()).unwrap();
    assert_eq!(imported.installed, ["toy"]);
    assert_eq!(store.status_of(&entries[0]), Status::Present);
}

#[test]
fn a_wheel_on_a_stick_is_taken_apart() {
    let (folder, store) = store();
    let package = wheel(folder.path());
    let entries = std::slice::from_ref(entry(&content(), vec![from_wheel(package)]));
    let path = folder.path().join("toy-1.0-py3-none-any.whl");
    assert_eq!(store.import_entries(entries, &path, &mut ()).unwrap().installed, ["toy"]);
    assert_eq!(store.status_of(&entries[0]), Status::Present);
}

#[test]
fn a_package_already_downloaded_is_not_fetched_again() {
    let (_folder, store) = store();
    let partial = store.folder().join("toy.partial/packages");
    fs::create_dir_all(&partial).unwrap();
    let package = wheel(&partial);
    let entry = entry(&content(), vec![from_wheel(package)]);
    let mut progress = Recorder::default();
    store.fetch_entry(entry, &mut progress).unwrap();
    assert_eq!(store.status_of(entry), Status::Present);
    assert_eq!((progress.steps, progress.advanced), (vec!["unpacking".to_owned()], 0));
}

#[test]
fn a_folder_of_other_things_is_refused() {
    let (folder, store) = store();
    fs::write(folder.path().join("holiday.jpg"), vec![7; 1_000]).unwrap();
    let entries = std::slice::from_ref(entry(&content(), vec![]));
    let error = store.import_entries(entries, folder.path(), &mut ()).unwrap_err();
    assert!(matches!(error, StoreError::NothingToImport { .. }), "{error}");
    assert_eq!(store.status_of(&entries[0]), Status::Missing);
}

#[test]
fn two_fetchers_of_one_model_make_one_download() {
    let (_folder, store) = store();
    let (url, _ranges) = serve(content(), &[Reply::Whole]);
    let entry = entry(&content(), vec![official(url)]);
    thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| store.fetch_entry(entry, &mut ())));
        both.into_iter().for_each(|fetch| fetch.join().unwrap().unwrap());
    });
    assert_eq!(store.status_of(entry), Status::Present);
}

#[test]
fn a_disk_too_small_is_one_clear_sentence_and_no_source_is_blamed() {
    let (_folder, store) = store();
    let file = ModelFile { bytes: u64::MAX / 4, ..entry(&content(), vec![]).files[0] };
    let toy = *entry(&content(), vec![official("http://127.0.0.1:9/toy.bin".to_owned())]);
    let huge = leak(Entry { files: leak([file]), ..toy });
    let error = store.fetch_entry(huge, &mut ()).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { free_bytes: 1.., .. }), "{error}");
}

#[test]
fn unknown_and_missing_models_say_what_to_do() {
    let (_folder, store) = store();
    assert!(matches!(store.status("no such"), Err(StoreError::UnknownModel { .. })));
    let error = store.path("silero-vad", "silero_vad.onnx").unwrap_err().to_string();
    assert!(error.contains("models fetch silero-vad"), "{error}");
}

/// A file of unknown content is taken up again only by the entity tag it began with.
fn bring(url: &str, folder: &Path, limit_bytes: u64) -> Result<String, StoreError> {
    let file = crate::RemoteFile { url, name: "bundle", bytes: None, limit_bytes, sha256: None };
    crate::download_file(&file, &folder.join("bundle"), &mut ())
}

#[test]
fn an_unknown_file_goes_on_by_its_entity_tag() {
    let folder = tempdir().unwrap();
    let (url, ranges) = serve(content(), &[Reply::TaggedCut("\"one\"", 500_000), Reply::Tagged("\"one\"")]);
    assert_eq!(bring(&url, folder.path(), 1 << 30).unwrap(), sha256(&content()));
    assert_eq!(fs::read(folder.path().join("bundle")).unwrap(), content());
    assert_eq!(ranges.recv().unwrap(), "");
    assert!(ranges.recv().unwrap().starts_with("bytes="));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

/// The content changed on the server while the box was off: not a byte of the old one may remain.
#[test]
fn an_unknown_file_that_changed_meanwhile_is_fetched_anew() {
    let folder = tempdir().unwrap();
    let (url, ranges) = serve(content(), &[Reply::Tagged("\"two\"")]);
    fs::write(folder.path().join("bundle.part"), vec![7; 1_000]).unwrap();
    fs::write(folder.path().join("bundle.part.tag"), "\"one\"").unwrap();
    bring(&url, folder.path(), 1 << 30).unwrap();
    assert_eq!(ranges.recv().unwrap(), "bytes=1000-");
    assert_eq!(fs::read(folder.path().join("bundle")).unwrap(), content());
}

#[test]
fn an_unknown_file_without_a_strong_tag_starts_over() {
    let folder = tempdir().unwrap();
    let (url, ranges) = serve(content(), &[Reply::TaggedCut("W/\"weak\"", 500_000), Reply::Whole]);
    bring(&url, folder.path(), 1 << 30).unwrap();
    assert_eq!((ranges.recv().unwrap(), ranges.recv().unwrap()), (String::new(), String::new()));
    assert_eq!(fs::read(folder.path().join("bundle")).unwrap(), content());
}

#[test]
fn a_file_larger_than_allowed_or_of_another_hash_is_refused() {
    let folder = tempdir().unwrap();
    let (url, _ranges) = serve(content(), &[Reply::Whole, Reply::Whole]);
    let error = bring(&url, folder.path(), 1_000).unwrap_err().to_string();
    assert!(error.contains("1200000 bytes") && error.contains("1000"), "{error}");
    let file = crate::RemoteFile { url: &url, name: "bundle", bytes: None, limit_bytes: 1 << 30, sha256: Some("00") };
    let error = crate::download_file(&file, &folder.path().join("bundle"), &mut ()).unwrap_err();
    assert!(matches!(error, StoreError::WrongHash { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_small_document_is_read_whole_and_a_large_one_refused() {
    let (url, _ranges) = serve(b"{}".to_vec(), &[Reply::Whole, Reply::Whole]);
    assert_eq!(crate::download_text(&url, 100).unwrap(), "{}");
    assert!(crate::download_text(&url, 1).is_err());
}
