use super::*;

mod bucket;

use bucket::Bucket;
use tokio_stream::StreamExt as _;

const MIB: u64 = 1 << 20;

fn of(box_id: &str) -> BoxName {
    BoxName { tenant_id: "bakery".to_owned(), box_id: box_id.to_owned() }
}

/// Bytes that are different everywhere.
fn sound(bytes: usize, seed: u8) -> Bytes {
    let mut state = u32::from(seed) + 1;
    let next = std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    next.take(bytes).collect::<Vec<u8>>().into()
}

fn content_of(sound: &[u8]) -> Content {
    Content { sha256: Sha256::digest(sound).into(), size_bytes: u64::try_from(sound.len()).unwrap() }
}

struct Rig {
    folder: tempfile::TempDir,
    limits: Limits,
}

impl Rig {
    fn new() -> Rig {
        let limits = Limits { blob_bytes: 20 * MIB, unfinished_bytes: 21 * MIB, ..Limits::default() };
        Rig { folder: tempfile::tempdir().unwrap(), limits }
    }

    /// As after a start.
    fn open(&self) -> Blobs {
        Blobs::open(self.folder.path(), Objects::folder(self.folder.path()).unwrap(), self.limits).unwrap()
    }

    fn open_with(&self, bucket: &Bucket) -> Blobs {
        Blobs::open(self.folder.path(), bucket.objects(), self.limits).unwrap()
    }
}

async fn put(blobs: &Blobs, of: &BoxName, content: Content, sound: &Bytes, from: u64) -> Result<u64, BlobError> {
    let part = blobs.part(of, content.sha256).await?;
    let mut at = from;
    for frame in sound[usize::try_from(from).unwrap()..].chunks(FRAME_MAX) {
        blobs.append(&part, at, Bytes::copy_from_slice(frame)).await?;
        at += u64::try_from(frame.len()).unwrap();
    }
    blobs.flush(&part).await
}

async fn upload(blobs: &Blobs, of: &BoxName, sound: &Bytes) -> Content {
    let content = content_of(sound);
    assert_eq!(blobs.begin(of, content).await.unwrap(), Begun { offset_bytes: 0, is_kept: false });
    assert_eq!(put(blobs, of, content, sound, 0).await.unwrap(), content.size_bytes);
    assert!(blobs.commit(of, content).await.unwrap());
    content
}

async fn read(blobs: &Blobs, of: &BoxName, content: Content, from: u64) -> Result<Vec<u8>, BlobError> {
    let mut pieces = blobs.read(of, &content.sha256, from).await?;
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        read.extend_from_slice(&piece?);
    }
    Ok(read)
}

fn said(result: Result<impl std::fmt::Debug, BlobError>) -> String {
    result.unwrap_err().to_string()
}

/// What every store of blobs must do: small and large ones, from any offset, and nothing of other boxes.
async fn keeps_and_gives(blobs: &Blobs) {
    let small = sound(70_000, 1);
    let large = sound(usize::try_from(17 * MIB).unwrap(), 2);
    let even = sound(usize::try_from(8 * MIB).unwrap(), 3);
    let mut kept = Vec::new();
    for sound in [&small, &large, &even] {
        let content = upload(blobs, &of("1"), sound).await;
        assert!(read(blobs, &of("1"), content, 0).await.unwrap() == *sound, "{content:?}");
        let from = content.size_bytes - 5;
        assert_eq!(read(blobs, &of("1"), content, from).await.unwrap(), sound[sound.len() - 5..]);
        assert_eq!(read(blobs, &of("1"), content, content.size_bytes).await.unwrap(), b"");
        let beyond = said(read(blobs, &of("1"), content, content.size_bytes + 1).await);
        assert!(beyond.contains(&format!("expected 0 to {}", content.size_bytes)), "{beyond}");
        let begun = blobs.begin(&of("1"), content).await.unwrap();
        assert_eq!(begun, Begun { offset_bytes: content.size_bytes, is_kept: true });
        assert!(!blobs.commit(&of("1"), content).await.unwrap(), "it was one before");
        kept.push(content.sha256);
    }
    let content = content_of(&small);
    assert_eq!(said(read(blobs, &of("2"), content, 0).await), "no such content is here");
    assert_eq!(blobs.begin(&of("2"), content).await.unwrap().offset_bytes, 0, "another box is told nothing");
    let other = said(blobs.begin(&of("1"), Content { size_bytes: 7, ..content }).await);
    assert_eq!(other, "size_bytes = 7: the content with this hash has 70000");

    kept.sort_unstable();
    assert_eq!(blobs.settled(&of("1"), i64::MAX).await.unwrap().into_iter().collect::<Vec<_>>(), kept);
    assert!(blobs.settled(&of("1"), 0).await.unwrap().is_empty(), "what came later than both were equal stays");
    assert!(blobs.settled(&of("2"), i64::MAX).await.unwrap().is_empty());
    for _ in 0..2 {
        blobs.delete(&of("1"), &content.sha256).await.unwrap();
    }
    assert_eq!(said(read(blobs, &of("1"), content, 0).await), "no such content is here");
    assert_eq!(blobs.settled(&of("1"), i64::MAX).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_folder_keeps_blobs() {
    let rig = Rig::new();
    keeps_and_gives(&rig.open()).await;
    let content = content_of(&sound(usize::try_from(17 * MIB).unwrap(), 2));
    assert!(rig.open().begin(&of("1"), content).await.unwrap().is_kept, "also after a start");
    let left = std::fs::read_dir(rig.folder.path().join("uploads/bakery/1")).unwrap().count();
    assert_eq!(left, 0);
}

/// Every request is signed, or the stand-in for a bucket refuses it.
#[tokio::test]
async fn a_bucket_keeps_blobs() {
    let (rig, bucket) = (Rig::new(), Bucket::start("name").await);
    keeps_and_gives(&rig.open_with(&bucket)).await;
    assert_eq!(bucket.multipart_uploads(), 2, "of 17 and 8 MiB");
    let (rig, stranger) = (Rig::new(), Bucket::start("somebody else").await);
    let error = said(rig.open_with(&stranger).begin(&of("1"), content_of(b"x")).await);
    assert!(error.starts_with("the store of blobs:"), "{error}");
}

/// The sweep of recordings must not find backups: what is below another prefix is not there, in a folder and in a bucket.
#[tokio::test]
async fn what_is_below_another_prefix_is_not_seen() {
    let (rig, bucket) = (Rig::new(), Bucket::start("name").await);
    let folder = || Objects::folder(rig.folder.path()).unwrap();
    let elsewhere = rig.folder.path().join("backup-uploads");
    for (recordings, backups) in [(folder(), folder()), (bucket.objects(), bucket.objects())] {
        let recordings = Blobs::open(rig.folder.path(), recordings, rig.limits).unwrap();
        let backups = Blobs::open(&elsewhere, backups.below("backups"), rig.limits).unwrap();
        let content = upload(&backups, &of("1"), &sound(1_000, 1)).await;
        assert!(recordings.settled(&of("1"), i64::MAX).await.unwrap().is_empty());
        recordings.delete(&of("1"), &content.sha256).await.unwrap();
        assert!(!recordings.begin(&of("1"), content).await.unwrap().is_kept);
        assert_eq!(read(&backups, &of("1"), content, 0).await.unwrap().len(), 1_000);
        assert_eq!(backups.settled(&of("1"), i64::MAX).await.unwrap().len(), 1);
    }
}

/// A bucket that fails in the middle: the upload is still here, and the next attempt makes it a blob.
#[tokio::test]
async fn a_bucket_that_fails_costs_nothing() {
    let (rig, bucket) = (Rig::new(), Bucket::start("name").await);
    let blobs = rig.open_with(&bucket);
    let sound = sound(usize::try_from(17 * MIB).unwrap(), 1);
    let content = content_of(&sound);
    blobs.begin(&of("1"), content).await.unwrap();
    put(&blobs, &of("1"), content, &sound, 0).await.unwrap();
    bucket.refuse_part(2);
    assert!(matches!(blobs.commit(&of("1"), content).await, Err(BlobError::Objects(_))));
    let begun = blobs.begin(&of("1"), content).await.unwrap();
    assert_eq!(begun, Begun { offset_bytes: content.size_bytes, is_kept: false });
    bucket.refuse_part(0);
    assert!(blobs.commit(&of("1"), content).await.unwrap());
    assert!(read(&blobs, &of("1"), content, 0).await.unwrap() == sound);
}

/// However often the service is started anew, an upload goes on where it was, and is nobody's to read before its end.
#[tokio::test]
async fn an_upload_goes_on_where_it_was() {
    let rig = Rig::new();
    let sound = sound(1_000_000, 1);
    let content = content_of(&sound);
    let mut at = 0;
    for piece in sound.chunks(300_000) {
        let blobs = rig.open();
        assert_eq!(blobs.begin(&of("1"), content).await.unwrap(), Begun { offset_bytes: at, is_kept: false });
        let incomplete = said(blobs.commit(&of("1"), content).await);
        assert_eq!(incomplete, format!("{at} of 1000000 bytes are here: expected all of them"));
        assert_eq!(said(read(&blobs, &of("1"), content, 0).await), "no such content is here");
        let end = usize::try_from(at).unwrap() + piece.len();
        at = put(&blobs, &of("1"), content, &sound.slice(..end), at).await.unwrap();
    }
    let blobs = rig.open();
    assert_eq!(blobs.begin(&of("1"), content).await.unwrap(), Begun { offset_bytes: at, is_kept: false });
    assert!(blobs.commit(&of("1"), content).await.unwrap());
    assert!(read(&blobs, &of("1"), content, 0).await.unwrap() == sound);
}

#[tokio::test]
async fn what_is_not_in_order_is_refused_by_what_was_expected() {
    let blobs = Rig::new().open();
    let (of, sound) = (of("1"), sound(1_000, 1));
    let content = content_of(&sound);
    assert!(said(blobs.part(&of, content.sha256).await).contains("Begin says where"));
    assert!(said(blobs.commit(&of, content).await).contains("Begin says where"));
    blobs.begin(&of, content).await.unwrap();
    let part = blobs.part(&of, content.sha256).await.unwrap();
    blobs.append(&part, 0, sound.slice(..600)).await.unwrap();
    for (at, frame, expected) in [
        (0, sound.slice(..600), "offset_bytes = 0: expected 600"),
        (601, sound.slice(601..), "offset_bytes = 601: expected 600"),
        (600, Bytes::new(), "a frame of 0 bytes: expected 1 to 262144"),
        (600, Bytes::from(vec![0; FRAME_MAX + 1]), "a frame of 262145 bytes: expected 1 to 262144"),
        (600, Bytes::from(vec![0; 401]), "content up to 1001: the announced size is 1000"),
    ] {
        assert_eq!(said(blobs.append(&part, at, frame).await), expected);
    }
    let other = said(blobs.commit(&of, Content { size_bytes: 600, ..content }).await);
    assert_eq!(other, "size_bytes = 600: the content with this hash has 1000");
    for (size_bytes, expected) in [(0, "expected 1 to 20971520"), (20 * MIB + 1, "expected 1 to 20971520")] {
        let refused = said(blobs.begin(&of, Content { size_bytes, ..content }).await);
        assert_eq!(refused, format!("size_bytes = {size_bytes}: {expected}"));
    }
    assert_eq!(hash_of(&[1; 31]).unwrap_err().to_string(), "sha256: expected 32 bytes, got 31");
    assert_eq!(blobs.begin(&of, content).await.unwrap().offset_bytes, 600, "nothing of that was kept");
}

/// Nobody ever reads what is not what it is said to be; the box sends it again from its start.
#[tokio::test]
async fn another_content_than_announced_is_thrown_away() {
    let blobs = Rig::new().open();
    let (of, sound) = (of("1"), sound(5_000, 1));
    let content = content_of(&sound);
    let mut wrong = sound.to_vec();
    wrong[4_999] ^= 1;
    blobs.begin(&of, content).await.unwrap();
    put(&blobs, &of, content, &wrong.into(), 0).await.unwrap();
    let damaged = blobs.commit(&of, content).await;
    assert!(matches!(&damaged, Err(BlobError::Damaged { expected, .. }) if *expected == hex::encode(content.sha256)));
    assert_eq!(said(read(&blobs, &of, content, 0).await), "no such content is here");
    assert_eq!(upload(&blobs, &of, &sound).await, content);
}

#[tokio::test]
async fn a_box_may_not_begin_more_than_its_limit() {
    let blobs = Rig::new().open();
    let unfinished = |seed: u8| Content { size_bytes: 10 * MIB, ..content_of(&[seed]) };
    for seed in [1, 2, 1] {
        blobs.begin(&of("1"), unfinished(seed)).await.unwrap();
    }
    let expected = "unfinished uploads of this box would be 31457280 bytes, and 22020096 are taken: finish those first";
    assert_eq!(said(blobs.begin(&of("1"), unfinished(3)).await), expected);
    blobs.begin(&of("2"), unfinished(3)).await.unwrap();
    // One whose size was wrong makes way for the right one.
    blobs.begin(&of("1"), Content { size_bytes: 3 * MIB, ..unfinished(2) }).await.unwrap();
    blobs.begin(&of("1"), Content { size_bytes: 8 * MIB, ..unfinished(3) }).await.unwrap();
}

/// What is left behind goes after its time, and a frame that comes after all is told so.
#[tokio::test]
async fn uploads_that_nobody_goes_on_with_are_swept() {
    let rig = Rig::new();
    let (of, sound) = (of("1"), sound(1_000, 1));
    let content = content_of(&sound);
    let blobs = rig.open();
    blobs.begin(&of, content).await.unwrap();
    let part = blobs.part(&of, content.sha256).await.unwrap();
    blobs.append(&part, 0, sound.slice(..600)).await.unwrap();
    assert_eq!(blobs.sweep_uploads().await.unwrap(), 0, "it is young");
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    let folder = rig.folder.path().join("uploads/bakery/1");
    for file in std::fs::read_dir(folder).unwrap() {
        std::fs::File::open(file.unwrap().path()).unwrap().set_modified(old).unwrap();
    }
    assert_eq!(blobs.sweep_uploads().await.unwrap(), 1);
    assert!(said(blobs.append(&part, 600, sound.slice(600..)).await).contains("Begin says where"));
    assert_eq!(blobs.begin(&of, content).await.unwrap().offset_bytes, 0);
}

/// Two connections of a box, the old one half-dead: each byte is there once, and only one of them commits.
#[tokio::test]
async fn two_at_once_do_not_mix() {
    let blobs = Rig::new().open();
    let (of, sound) = (of("1"), sound(900, 1));
    let content = content_of(&sound);
    blobs.begin(&of, content).await.unwrap();
    let [old, new] = [blobs.part(&of, content.sha256).await.unwrap(), blobs.part(&of, content.sha256).await.unwrap()];
    blobs.append(&old, 0, sound.slice(..300)).await.unwrap();
    assert_eq!(said(blobs.append(&new, 0, sound.slice(..300)).await), "offset_bytes = 0: expected 300");
    blobs.append(&new, 300, sound.slice(300..)).await.unwrap();
    assert_eq!(said(blobs.append(&old, 300, sound.slice(300..600)).await), "offset_bytes = 300: expected 900");
    let busy = blobs.only_one(&of, content.sha256).unwrap();
    assert!(matches!(blobs.commit(&of, content).await, Err(BlobError::Busy)));
    drop(busy);
    assert!(blobs.commit(&of, content).await.unwrap());
}

/// The disk is full in the middle of a frame: what was there before stays, and the rest comes later.
#[test]
fn a_full_disk_is_named() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(BlobError::file(Path::new("/x"), full).to_string(), "the cloud's disk is full");
}
