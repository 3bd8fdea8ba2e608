use std::collections::BTreeMap;
use std::path::Path;

use cloud_api::v1::{Value, value::Kind};
use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use super::*;
use crate::blobs::{Blobs, Content, Limits, Objects};
use crate::store::{Claim, Heard, Sqlite, Store as _};
use crate::sync::apply::{BoxState, StoredRow};
use crate::sync::stream::Away;

const TENANT: &str = "bakery";
const ROWS: u64 = 1_050;

/// A cell in a folder, opened anew: what counts is on disk.
fn cell(folder: &Path, runtime: &Arc<Runtime>) -> Cell {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let blobs = Blobs::open(folder, Objects::folder(folder).unwrap(), Limits::default()).unwrap();
    let store = Arc::new(AnyStore::Sqlite(Sqlite::open(&folder.join("cloud.db")).unwrap()));
    let below = Objects::folder(folder).unwrap().below("backups");
    let backups = Blobs::open(&folder.join("backup-uploads"), below, Limits::default()).unwrap();
    let recordings = Recordings::new(blobs, backups, folder.display().to_string(), Arc::clone(runtime));
    Cell { store, recordings, endpoint: format!("{name}:8443") }
}

struct Rig {
    _whole: tempfile::TempDir,
    folders: [PathBuf; 3],
    runtime: Arc<Runtime>,
    now: i64,
}

fn of(box_id: &str) -> BoxName {
    BoxName { tenant_id: TENANT.to_owned(), box_id: box_id.to_owned() }
}

fn recording(box_id: &str) -> Bytes {
    Bytes::from(format!("what was said to {box_id}").repeat(14_000))
}

fn content(box_id: &str) -> Content {
    let recording = recording(box_id);
    Content { sha256: Sha256::digest(&recording).into(), size_bytes: u64::try_from(recording.len()).unwrap() }
}

fn put_rows(store: &AnyStore, numbers: std::ops::Range<u64>) -> Result<(), StoreError> {
    store.transact(&of("one"), |rows| {
        for number in numbers.clone() {
            let name = Value { kind: Some(Kind::Text(format!("N. {number}"))) };
            let columns = Some(BTreeMap::from([("name".to_owned(), name)]));
            let row = StoredRow { epoch: 1, row_version: 1, applied: 1, hash: number.into(), columns };
            rows.put_row("contacts", &format!("01900000-0000-7000-8000-{number:012}"), row)?;
        }
        Ok(())
    })
}

impl Rig {
    /// An old cell with a tenant in it, a new one, and a directory.
    fn new() -> Rig {
        let whole = tempfile::tempdir().unwrap();
        let folders = ["old", "new", "directory"].map(|name| whole.path().join(name));
        let runtime = Arc::new(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
        folders.iter().for_each(|folder| crate::files::make_folder(folder).unwrap());
        let rig = Rig { _whole: whole, folders, runtime, now: 1_000 };
        let old = rig.old();
        old.store.add_claim(&Claim { code_sha256: [1; 32], tenant_id: TENANT.to_owned(), expires_at: 9_000 }).unwrap();
        for box_id in ["one", "two"] {
            old.store.note_heard(&of(box_id), Heard::Release("1.0.0"), 5).unwrap();
            let beside = rig.folders[0].join("said");
            std::fs::write(&beside, recording(box_id)).unwrap();
            old.recordings.load(&of(box_id), content(box_id), &beside).unwrap();
            std::fs::remove_file(&beside).unwrap();
        }
        let state = BoxState { epoch: 1, incarnation: vec![7; 16], watermark: 99, applied: 1 };
        old.store.transact(&of("one"), |rows| rows.set_box_state(state.clone())).unwrap();
        put_rows(&old.store, 0..ROWS).unwrap();
        rig
    }

    fn old(&self) -> Cell {
        cell(&self.folders[0], &self.runtime)
    }

    fn newer(&self) -> Cell {
        cell(&self.folders[1], &self.runtime)
    }

    /// Moves it, up to the step of this number.
    fn move_up_to(&mut self, last: usize) -> Result<(Moved, usize), TenantError> {
        self.now += 1;
        let (from, to, directory) = (self.old(), self.newer(), cell(&self.folders[2], &self.runtime));
        let moving = Move { from: &from, to: &to, directory: Some(&directory.store), tenant_id: TENANT, keep: false };
        let mut steps = 0;
        let moved = moving.run(Actor { by: "test", now: self.now }, &mut |_| {
            steps += 1;
            if steps > last { Err(StoreError::DiskFull.into()) } else { Ok(()) }
        })?;
        Ok((moved, steps))
    }

    /// Which of both has it and takes rows.
    fn open(&self) -> [bool; 2] {
        [self.old(), self.newer()].map(|cell| {
            let is_open = cell.store.transact(&of("one"), |_| Ok(())).is_ok();
            is_open && !cell.store.holdings(TENANT).unwrap().is_empty
        })
    }

    fn check_moved(&self, expected: &Summary) {
        let (old, new) = (self.old(), self.newer());
        assert_eq!(self.open(), [false, true]);
        assert_eq!(summary_of(&new), *expected);
        let told = Away::Elsewhere("new:8443".to_owned());
        for store in [&old.store, &cell(&self.folders[2], &self.runtime).store] {
            assert_eq!(store.standing(TENANT).unwrap().standing.away(), Some(told.clone()));
        }
        let left = old.store.holdings(TENANT).unwrap();
        assert_eq!(left, Holdings { claims: 1, is_empty: true, ..Holdings::default() }, "a code and the way");
        for box_id in ["one", "two"] {
            assert_eq!(old.recordings.contents(&of(box_id)).unwrap(), []);
            assert_eq!(new.recordings.contents(&of(box_id)).unwrap(), [content(box_id)]);
        }
    }
}

fn summary_of(cell: &Cell) -> Summary {
    crate::store::tenants::summary(&*cell.store, TENANT).unwrap()
}

/// Whatever the step at which a move is cut, and whatever is tried meanwhile: no two cells take rows, and asking again moves
/// all of it.
#[test]
fn a_move_that_is_cut_anywhere_is_carried_on() {
    let mut last = 0;
    loop {
        let mut rig = Rig::new();
        let expected = summary_of(&rig.old());
        match rig.move_up_to(last) {
            Ok((moved, steps)) => {
                assert_eq!((moved.copied.as_ref(), moved.recordings, steps), (Some(&expected), 2, last));
                rig.check_moved(&expected);
                assert_eq!(steps, 10, "each step was the last one");
                rig.move_up_to(usize::MAX).expect("again is once");
                rig.check_moved(&expected);
                assert_eq!(rig.old().store.take_claim(&[1; 32], "three", 10).unwrap().as_deref(), Some(TENANT));
                return;
            }
            Err(TenantError::Store(StoreError::DiskFull)) => {}
            Err(error) => panic!("step {last}: {error}"),
        }
        assert_ne!(rig.open(), [true, true], "step {last}");
        rig.move_up_to(usize::MAX).unwrap();
        rig.check_moved(&expected);
        last += 1;
    }
}

/// Somebody changes their mind while a tenant is moved: what came after that is moved, and never what was before.
#[test]
fn a_tenant_that_is_opened_again_is_copied_anew() {
    for cut in [1, 4, 6, 7] {
        let mut rig = Rig::new();
        let _ = rig.move_up_to(cut);
        let reopened = super::open(&rig.old().store, TENANT, Actor { by: "test", now: 5_000 }, false);
        if reopened.is_err() {
            assert!(cut >= 7, "it was let go of after {cut}");
            continue;
        }
        put_rows(&rig.old().store, ROWS..ROWS + 1).unwrap();
        let expected = summary_of(&rig.old());
        assert_eq!(rig.open(), [true, false]);
        rig.move_up_to(usize::MAX).unwrap();
        rig.check_moved(&expected);
    }
}

/// One that is opened while it is copied is not let go of.
#[test]
fn a_tenant_that_is_opened_while_it_moves_stays() {
    let rig = Rig::new();
    let (from, to) = (rig.old(), rig.newer());
    let moving = Move { from: &from, to: &to, directory: None, tenant_id: TENANT, keep: false };
    let actor = |now| Actor { by: "test", now };
    let moved = moving.run(actor(50), &mut |step| {
        if step == Step::LetGo {
            super::open(&rig.old().store, TENANT, actor(51), false)?;
            put_rows(&rig.old().store, ROWS..ROWS + 1)?;
            freeze(&rig.old().store, TENANT, actor(52))?;
        }
        Ok(())
    });
    let error = moved.unwrap_err().to_string();
    assert!(error.contains("is frozen: somebody else has changed that"), "{error}");
    assert_eq!(rig.open(), [false, false]);
    let expected = summary_of(&from);
    moving.run(actor(60), &mut |_| Ok(())).unwrap();
    assert_eq!((rig.open(), summary_of(&rig.newer())), ([false, true], expected));
}

/// To a cell and back, as when a region is given up.
#[test]
fn a_tenant_moves_back() {
    let rig = Rig::new();
    let expected = summary_of(&rig.old());
    let (old, new) = (rig.old(), rig.newer());
    for (from, to) in [(&old, &new), (&new, &old), (&old, &new)] {
        let moving = Move { from, to, directory: None, tenant_id: TENANT, keep: false };
        moving.run(Actor { by: "test", now: 50 }, &mut |_| Ok(())).unwrap();
        assert_eq!(summary_of(to), expected);
    }
    assert_eq!(rig.open(), [false, true]);
}

#[test]
fn a_cell_that_has_something_of_a_tenant_takes_no_other() {
    let mut rig = Rig::new();
    rig.newer().store.note_heard(&of("one"), Heard::Alive, 1).unwrap();
    let error = rig.move_up_to(usize::MAX).unwrap_err().to_string();
    assert_eq!(error, "bakery has 1 boxes and 0 rows in the cell it should come to: expected none");
    assert_eq!(rig.open(), [true, true], "as it was, and before anything was frozen");
    let (old, same) = (rig.old(), rig.old());
    let moving = Move { from: &old, to: &same, directory: None, tenant_id: TENANT, keep: false };
    let error = moving.run(Actor { by: "test", now: 1 }, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.starts_with("both cells keep recordings in /"), "{error}");
}

/// A folder that anybody can read makes the same tenant, and one that is not whole makes nothing.
#[test]
fn a_tenant_goes_through_files() {
    let rig = Rig::new();
    let folder = rig.folders[0].parent().unwrap().join("export");
    let done = export(&rig.old(), TENANT, &folder, 77).unwrap();
    assert_eq!((done.tenant.as_str(), done.recordings), (TENANT, 2));
    let file = folder.join("tenant.jsonl.zst");
    let packed = std::fs::read(&file).unwrap();
    let text = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["record"], &lines[0]["tenant"]), (&"header".into(), &TENANT.into()));
    let contact = lines.iter().find(|line| line["record"] == "row").unwrap();
    assert_eq!(contact["columns"]["name"], "N. 0");
    assert_eq!(lines.last().unwrap()["records"], done.records);
    let again = export(&rig.old(), TENANT, &folder, 78).unwrap_err().to_string();
    assert!(again.contains("is there already"), "{again}");

    let new = rig.newer();
    let actor = Actor { by: "test", now: 80 };
    let said = folder.join("recordings/two").join(hex::encode(content("two").sha256));
    let short = text[..text.len() / 2].rsplit_once('\n').unwrap().0.to_owned() + "\n";
    let changed = text.replacen("N. 7\"", "N. 8\"", 1);
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    let elsewhere = text.replace("\"box_id\":\"two\"", "\"box_id\":\"../two\"");
    let pack = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (what, bytes, expected) in [
        ("cut off", packed[..packed.len() / 2].to_vec(), "cut off"),
        ("cut between two lines", pack(&short), "cut off: expected a trailer"),
        ("changed", pack(&changed), "not those that its last one speaks of"),
        ("of a newer release", pack(&newer), "has format 2"),
        ("out of its folder", pack(&elsewhere), "box_id \"../two\": expected"),
        ("with more behind it", pack(&(text.clone() + "{}\n")), "not those that its last one speaks of"),
        ("something else", b"tenant".to_vec(), "damaged"),
        ("empty", Vec::new(), "cut off"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let error = import(&new, &folder, actor).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert_eq!(new.store.standings().unwrap(), [], "{what}");
    }
    std::fs::write(&file, &packed).unwrap();

    // A recording that is another one is found only when it is read: the tenant is shut until all of it is there.
    let whole = std::fs::read(&said).unwrap();
    let mut other = whole.clone();
    other[9] ^= 1;
    std::fs::write(&said, &other[1..]).unwrap();
    let error = import(&new, &folder, actor).unwrap_err().to_string();
    assert!(error.contains("bytes: expected"), "{error}");
    std::fs::write(&said, &other).unwrap();
    let error = import(&new, &folder, actor).unwrap_err().to_string();
    assert!(error.contains("recordings of bakery/two: the content has SHA-256"), "{error}");
    assert_eq!(rig.open(), [true, false]);
    std::fs::write(&said, &whole).unwrap();
    assert_eq!(import(&new, &folder, actor).unwrap(), done);
    assert_eq!(summary_of(&new), summary_of(&rig.old()));
    assert_eq!(new.recordings.contents(&of("two")).unwrap(), [content("two")]);
    let error = import(&new, &folder, actor).unwrap_err().to_string();
    assert!(error.contains("has 2 boxes and 1050 rows"), "{error}");
}

/// Who was erased leaves a tombstone that says how much it was, when and by whom; no byte of it, and no way back.
#[test]
fn what_is_erased_is_gone_for_good() {
    let rig = Rig::new();
    let folder = rig.folders[0].parent().unwrap().join("export");
    export(&rig.old(), TENANT, &folder, 77).unwrap();
    let cell = rig.old();
    assert!(bytes_of(&rig.folders[0]).windows(9).any(|bytes| bytes == b"N. 1034\"}"));
    let erased = erase(&cell, TENANT, Actor { by: "Anna", now: 90 }).unwrap();
    let expected = Erasure { boxes: 2, rows: ROWS, documents: 0, claims: 1, done_at: Some(90), recordings: 2 };
    assert_eq!((erased.standing, erased.changed_by.as_str()), (Standing::Erased(expected), "Anna"));
    assert_eq!(cell.store.holdings(TENANT).unwrap(), Holdings { is_empty: true, ..Holdings::default() });
    drop(cell);
    let left = bytes_of(&rig.folders[0]);
    for gone in ["N. 1034", "what was said", "one/", "contacts"] {
        assert!(!left.windows(gone.len()).any(|bytes| bytes == gone.as_bytes()), "{gone}");
    }
    let again = erase(&rig.old(), TENANT, Actor { by: "Bob", now: 95 }).unwrap();
    assert_eq!((again.changed_at, again.changed_by.as_str()), (90, "Anna"), "again is once");
    let actor = Actor { by: "Bob", now: 99 };
    let old = rig.old();
    for refused in [
        super::open(&old.store, TENANT, actor, true).map(drop),
        freeze(&old.store, TENANT, actor).map(drop),
        place(&old.store, TENANT, "new:8443", actor).map(drop),
        import(&old, &folder, actor).map(drop),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.starts_with("bakery was erased here: "), "{error}");
    }
}

/// Everything that lies in a folder and below it, names and contents.
fn bytes_of(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend_from_slice(path.file_name().unwrap().as_encoded_bytes());
        if path.is_dir() {
            bytes.push(b'/');
            bytes.extend(bytes_of(&path));
        } else {
            bytes.extend(std::fs::read(&path).unwrap());
        }
    }
    bytes
}

#[test]
fn a_directory_sends_boxes_and_changes_its_mind() {
    let rig = Rig::new();
    let (old, directory) = (rig.old(), cell(&rig.folders[2], &rig.runtime));
    let actor = Actor { by: "test", now: 5 };
    for endpoint in ["a:1", "b:1", "b:1"] {
        let placed = place(&directory.store, TENANT, endpoint, actor).unwrap();
        assert_eq!(placed.standing, Standing::Elsewhere { endpoint: endpoint.to_owned() });
    }
    let error = place(&old.store, TENANT, "b:1", actor).unwrap_err().to_string();
    assert!(error.contains("lives here: freeze and export it first"), "{error}");
    freeze(&old.store, TENANT, actor).unwrap();
    place(&old.store, TENANT, "b:1", actor).unwrap();
    let error = super::open(&old.store, TENANT, actor, false).unwrap_err().to_string();
    assert!(error.contains("lives at b:1: if no other cell takes its rows"), "{error}");
    super::open(&old.store, TENANT, actor, true).unwrap();
    assert!(rig.open()[0], "nothing of it was gone");
}
