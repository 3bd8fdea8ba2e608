//! A tenant as files that a person can open: `zstd -dc tenant.jsonl.zst | jq` shows everything but the recordings, which lie
//! beside it under the SHA-256 of their content.
//!
//! ```text
//! {"record":"header","format":1,"release":"0.1.0","tenant":"bakery","made_at":1790000000000}
//! {"record":"box","box_id":"…",…}                      one line for each: see store::tenants::Record
//! {"record":"trailer","records":3,"recordings":1,"sha256":"…"}      of the lines between the two, with their ends
//! ```
//! The file gets its name when it is whole. Who reads it reads all of it before anything is changed: one that was cut off or
//! touched is refused.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recordings::folder_of;
use super::{Actor, Cell, TenantError, change, unexpected};
use crate::blobs::Content;
use crate::files;
use crate::names::is_name;
use crate::store::tenants::{Putting, Record, Standing, Summary, Summing, Tenants as _, summary, wipe};
use crate::store::{BoxName, StoreError};

/// Of the file.
const FORMAT: u32 = 1;
const FILE: &str = "tenant.jsonl.zst";
/// A line at most, in bytes: the largest row is a few MiB.
const LINE_MAX: u64 = 64 << 20;
/// A quarter of the size at little work.
const LEVEL: i32 = 3;

/// What an export is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of the lines: 1.
    pub format: u32,
    /// That made it.
    pub release: String,
    /// Whose it is.
    pub tenant: String,
    /// When, in milliseconds since 1970.
    pub made_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trailer {
    records: u64,
    recordings: u64,
    sha256: String,
}

/// The first and the last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Frame {
    Header(Header),
    Trailer(Trailer),
}

/// What was exported or imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Whose.
    pub tenant: String,
    /// Lines between the first and the last, without recordings.
    pub records: u64,
    /// Recordings.
    pub recordings: u64,
    /// Of all lines between the first and the last, in hexadecimal.
    pub sha256: String,
}

/// Writes everything of a tenant into `folder`, which is made and must have no export in it. Records are as of one moment, and
/// recordings those that are there after it.
///
/// # Errors
/// [`TenantError`]; without the file nothing in the folder counts.
pub fn export(cell: &Cell, tenant_id: &str, folder: &Path, now: i64) -> Result<Exported, TenantError> {
    let path = folder.join(FILE);
    if path.exists() {
        return Err(TenantError::Damaged { path, reason: "is there already: expected another folder".to_owned() });
    }
    files::make_folder(folder).map_err(|error| TenantError::File { path: folder.to_owned(), error })?;
    let beside = folder.join("tenant.part");
    let mut lines = Lines::create(&beside)?;
    let (tenant, release) = (tenant_id.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    lines.frame(&Frame::Header(Header { format: FORMAT, release, tenant, made_at: now }))?;
    let mut boxes = std::collections::BTreeSet::new();
    cell.store.export(tenant_id, &mut |record| {
        if let Record::Box { box_id, .. } | Record::State { box_id, .. } = &record {
            boxes.insert(box_id.clone());
        }
        lines.record(&record)
    })?;
    let records = lines.summing.records();
    for box_id in boxes {
        let of = BoxName { tenant_id: tenant_id.to_owned(), box_id: box_id.clone() };
        for content in cell.recordings.contents(&of)? {
            let sha256 = hex::encode(content.sha256);
            cell.recordings.save(&of, content, &folder_of(folder, &of)?.join(&sha256))?;
            lines.record(&Record::Recording { box_id: box_id.clone(), sha256, size_bytes: content.size_bytes })?;
        }
    }
    let Summary { records: all, sha256 } = std::mem::take(&mut lines.summing).finish();
    let trailer = Trailer { records, recordings: all - records, sha256 };
    lines.frame(&Frame::Trailer(trailer.clone()))?;
    lines.finish(&path)?;
    Ok(exported(tenant_id.to_owned(), trailer))
}

fn exported(tenant: String, trailer: Trailer) -> Exported {
    let Trailer { records, recordings, sha256 } = trailer;
    Exported { tenant, records, recordings, sha256 }
}

/// Lines on their way into a file.
struct Lines {
    beside: PathBuf,
    file: zstd::Encoder<'static, BufWriter<File>>,
    summing: Summing,
}

impl Lines {
    fn create(beside: &Path) -> Result<Lines, TenantError> {
        let made = files::create_private(beside).and_then(|file| {
            let mut file = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
            file.include_checksum(true)?;
            Ok(file)
        });
        let file = made.map_err(|error| TenantError::File { path: beside.to_owned(), error })?;
        Ok(Lines { beside: beside.to_owned(), file, summing: Summing::default() })
    }

    fn write(&mut self, line: &str) -> Result<(), StoreError> {
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| StoreError::File { path: self.beside.clone(), source })
    }

    fn record(&mut self, record: &Record) -> Result<(), StoreError> {
        let line = record.to_line()?;
        self.summing.add(&line);
        self.write(&line)
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), StoreError> {
        let json = serde_json::to_string(frame).map_err(|error| StoreError::Record(error.to_string()))?;
        self.write(&(json + "\n"))
    }

    /// It is whole: on disk, under its name.
    fn finish(self, path: &Path) -> Result<(), TenantError> {
        let finished = self.file.finish().and_then(|file| file.into_inner().map_err(std::io::Error::from));
        let finished = finished.and_then(|file| {
            file.sync_all()?;
            std::fs::rename(&self.beside, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        });
        finished.map_err(|error| TenantError::File { path: path.to_owned(), error })
    }
}

/// What was found in a whole file.
struct Checked {
    header: Header,
    trailer: Trailer,
    /// Of what a store keeps, codes left out.
    kept: Summary,
}

/// A name or hash that is none: they become names of files.
fn misnamed(record: &Record) -> Option<String> {
    let box_id = match record {
        Record::Recording { sha256, .. } if sha256.len() != 64 || hex::decode(sha256).is_err() => {
            return Some(format!("sha256 {sha256:?}: expected 64 hexadecimal digits"));
        }
        Record::Box { box_id, .. }
        | Record::State { box_id, .. }
        | Record::Row { box_id, .. }
        | Record::Day { box_id, .. }
        | Record::Delivery { box_id, .. }
        | Record::Recording { box_id, .. } => box_id,
        Record::Document { .. } | Record::Claim { .. } => return None,
    };
    let wrong = || format!("box_id {box_id:?}: expected lower-case letters, digits and hyphens");
    (!is_name(box_id)).then(wrong)
}

/// Reads an export, gives each record to `take`, and says what it is once it has seen all of it.
fn read(path: &Path, mut take: impl FnMut(Record, usize) -> Result<(), TenantError>) -> Result<Checked, TenantError> {
    let damaged = |reason: String| TenantError::Damaged { path: path.to_owned(), reason };
    let cut = |error: std::io::Error| damaged(format!("is damaged or was cut off: {error}"));
    let file = File::open(path).map_err(|error| TenantError::File { path: path.to_owned(), error })?;
    let decoder = zstd::Decoder::new(file);
    let mut lines = BufReader::new(decoder.map_err(|error| damaged(format!("is no export of a tenant: {error}")))?);
    let mut line = String::new();
    let mut next = |line: &mut String| -> Result<bool, TenantError> {
        line.clear();
        let bytes = (&mut lines).take(LINE_MAX).read_line(line).map_err(cut)?;
        Ok(bytes > 0 && line.ends_with('\n'))
    };
    next(&mut line)?;
    let header = match serde_json::from_str(&line) {
        Ok(Frame::Header(header)) => header,
        Ok(Frame::Trailer(_)) | Err(_) => return Err(damaged("expected a header in its first line".to_owned())),
    };
    if header.format != FORMAT {
        let (found, release) = (header.format, &header.release);
        return Err(damaged(format!("has format {found}, of release {release}; this release reads {FORMAT}")));
    }
    if !is_name(&header.tenant) {
        return Err(damaged(format!("tenant {:?}: expected lower-case letters, digits and hyphens", header.tenant)));
    }
    let (mut all, mut kept) = (Summing::default(), Summing::default());
    while next(&mut line)? {
        if let Ok(Frame::Trailer(trailer)) = serde_json::from_str(&line) {
            let is_last = !next(&mut line)? && line.is_empty();
            let found = all.finish();
            let is_right = found.sha256 == trailer.sha256 && found.records == trailer.records + trailer.recordings;
            if !(is_last && is_right) {
                return Err(damaged("its lines are not those that its last one speaks of".to_owned()));
            }
            return Ok(Checked { header, trailer, kept: kept.finish() });
        }
        let record: Record =
            serde_json::from_str(&line).map_err(|error| damaged(format!("line {}: {error}", all.records() + 2)))?;
        if let Some(wrong) = misnamed(&record) {
            return Err(damaged(format!("line {}: {wrong}", all.records() + 2)));
        }
        all.add(&line);
        if !matches!(record, Record::Claim { .. } | Record::Recording { .. }) {
            kept.add(&line);
        }
        take(record, line.len())?;
    }
    Err(damaged("was cut off: expected a trailer in its last line".to_owned()))
}

/// Takes a tenant from a folder of [`export`] into a cell that has nothing of it, and opens it there. One that was cut is
/// carried on by asking again.
///
/// # Errors
/// [`TenantError`]. A file that is not whole, and a tenant that is here, are refused before anything is changed.
pub fn import(cell: &Cell, folder: &Path, actor: Actor<'_>) -> Result<Exported, TenantError> {
    let path = folder.join(FILE);
    let recording = |box_id: &str, sha256: &str| folder.join("recordings").join(box_id).join(sha256);
    let Checked { header, trailer, kept } = read(&path, |record, _| match record {
        Record::Recording { box_id, sha256, size_bytes } => {
            let file = recording(&box_id, &sha256);
            let found = std::fs::metadata(&file).map_err(|error| TenantError::File { path: file.clone(), error })?;
            let reason = format!("has {} bytes: expected {size_bytes}", found.len());
            if found.len() == size_bytes { Ok(()) } else { Err(TenantError::Damaged { path: file, reason }) }
        }
        Record::Box { .. }
        | Record::State { .. }
        | Record::Row { .. }
        | Record::Day { .. }
        | Record::Document { .. }
        | Record::Delivery { .. }
        | Record::Claim { .. } => Ok(()),
    })?;
    let tenant_id = header.tenant.as_str();
    let arriving = Standing::Arriving { frozen_at: None };
    change(&cell.store, tenant_id, actor, |standing, here| match standing {
        same if *same == arriving => Ok(None),
        Standing::Open | Standing::Elsewhere { .. } if here.is_empty => Ok(Some(arriving.clone())),
        Standing::Open | Standing::Elsewhere { .. } => {
            let (tenant_id, boxes, rows) = (tenant_id.to_owned(), here.boxes, here.rows);
            Err(TenantError::NotEmpty { tenant_id, boxes, rows })
        }
        Standing::Frozen { .. } | Standing::Arriving { .. } | Standing::Ready { .. } | Standing::Erased(_) => {
            Err(unexpected(tenant_id, standing, "expected one of which nothing is here"))
        }
    })?;
    wipe(&*cell.store, tenant_id)?;
    let mut putting = Putting::new(&*cell.store, tenant_id);
    read(&path, |record, bytes| {
        if let Record::Recording { box_id, sha256, size_bytes } = record {
            let of = BoxName { tenant_id: tenant_id.to_owned(), box_id };
            let hash = hex::decode(&sha256).ok().and_then(|hash| hash.try_into().ok());
            let reason = || format!("recording {sha256:?}: expected a SHA-256");
            let hash = hash.ok_or_else(|| TenantError::Damaged { path: path.clone(), reason: reason() })?;
            return cell.recordings.load(&of, Content { sha256: hash, size_bytes }, &recording(&of.box_id, &sha256));
        }
        Ok(putting.put(record, bytes)?)
    })?;
    putting.flush()?;
    let arrived = summary(&*cell.store, tenant_id)?;
    if arrived != kept {
        return Err(TenantError::Differs { tenant_id: tenant_id.to_owned(), copied: kept, arrived });
    }
    change(&cell.store, tenant_id, actor, |standing, _| {
        let changed = || unexpected(tenant_id, standing, "somebody else has changed that meanwhile");
        if *standing == arriving { Ok(Some(Standing::Open)) } else { Err(changed()) }
    })?;
    Ok(exported(header.tenant, trailer))
}
