//! Recordings through a network that is cut again and again, to a cloud that is killed: all of them arrive as they are, and
//! little is sent twice.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloud_api::v1::GetRequest;
use cloud_api::v1::blobs_client::BlobsClient;
use daemon::storage::{
    Recording, RecordingId, RecordingKind, RecordingState, Storage, StorageConfig, UnixMs, insert_recording,
    insert_session,
};
use daemon::sync::enrolment::Enrolment;
use daemon::sync::link;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use tests::cloud::CloudProcess;
use tests::poll;
use tests::tcp_relay::TcpRelay;

use super::{CLOUD, Folders, NUMBER, carrier, claim, session, start_box, sync_of};

/// How large the recording is, in MiB, and how often its connection is cut; `OFFHOOK_BLOB=1024x50` for more.
const SIZE_AND_CUTS: &str = "OFFHOOK_BLOB";
pub(super) const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(600);
/// What is around the content: frames of gRPC, HTTP/2, TLS, handshakes, and the rows.
const OVERHEAD_PERCENT: u64 = 1;

/// A recording of the box in `folder`: its row, and its file unless it is gone. Returns its hash.
pub(super) fn record(folder: &Path, kind: RecordingKind, at: UnixMs, content: Option<&[u8]>) -> String {
    let sha256 = hex::encode(Sha256::digest(content.unwrap_or(b"gone")));
    if let Some(content) = content {
        let path = path_of(folder, &sha256);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let (storage, new) = (Storage::open(&StorageConfig::new(folder)).unwrap().storage, session(at));
    let recording = Recording {
        recording_id: RecordingId::new(at),
        call_id: new.call_id,
        kind,
        state: RecordingState::Complete,
        sha256: sha256.clone(),
        format: "plain-wav".to_owned(),
        size_bytes: content.map_or(4, |content| u64::try_from(content.len()).unwrap()),
        duration_ms: 1,
        caller: None,
        other: None,
        started_at: at,
        created_at: at,
    };
    let written = storage.write_blocking(move |sql_tx| {
        insert_session(sql_tx, &new)?;
        insert_recording(sql_tx, &recording)
    });
    written.unwrap();
    storage.close_blocking();
    sha256
}

pub(super) fn path_of(folder: &Path, sha256: &str) -> PathBuf {
    folder.join("recordings").join(&sha256[..2]).join(format!("{sha256}.wav"))
}

pub(super) fn sound(bytes: u64, seed: u64) -> Vec<u8> {
    let mut sound = vec![0; usize::try_from(bytes).unwrap()];
    StdRng::seed_from_u64(seed).fill_bytes(&mut sound);
    sound
}

/// What a box gets of its own recording, from an offset on.
pub(super) async fn fetch(
    endpoint: &str,
    trust: &Path,
    as_box: &Enrolment,
    sha256: &str,
    from: u64,
) -> Result<Vec<u8>, String> {
    let channel = link::connect(endpoint, Some(trust), Some(as_box)).await.map_err(|error| error.to_string())?;
    let question = GetRequest { sha256: hex::decode(sha256).unwrap().into(), offset_bytes: from };
    let mut frames = BlobsClient::new(channel).get(question).await.map_err(|status| status.message().to_owned())?;
    let mut content = Vec::new();
    while let Some(frame) = frames.get_mut().message().await.map_err(|status| status.message().to_owned())? {
        assert_eq!(frame.offset_bytes, from + u64::try_from(content.len()).unwrap());
        assert!(frame.content.len() <= 256 << 10);
        content.extend_from_slice(&frame.content);
    }
    Ok(content)
}

#[test]
fn recordings_arrive_whatever_is_cut_and_little_is_sent_twice() {
    let wanted = std::env::var(SIZE_AND_CUTS).unwrap_or_else(|_| "64x20".to_owned());
    let (megabytes, cuts) = wanted.split_once('x').unwrap();
    let (size, cuts) = (megabytes.parse::<u64>().unwrap() * MIB, cuts.parse::<u64>().unwrap());
    let (folders, carrier) = (Folders::new(), carrier());
    let now = UnixMs::now().0;
    let (message, large) = (sound(100_000, 1), sound(size, 2));
    let message_hash = record(&folders.office, RecordingKind::Voicemail, UnixMs(now - 3_000), Some(&message));
    record(&folders.office, RecordingKind::Voicemail, UnixMs(now - 2_000), None);
    let large_hash = record(&folders.office, RecordingKind::Call, UnixMs(now - 1_000), Some(&large));

    let port = tests::offhook::free_port();
    let relay = TcpRelay::start(([127, 0, 0, 1], port).into());
    let endpoint = format!("localhost:{}", relay.address().port());
    let listen = [format!("listen.address=127.0.0.1:{port}"), format!("listen.endpoint={endpoint}")];
    let mut cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[&listen[0], &listen[1]]);
    let mut settings = folders.settings(&cloud, &endpoint);
    settings.push("cloud.recordings=all".to_owned());
    assert!(claim(&settings, &cloud.code("bakery")).status.success());
    let before = relay.sent_bytes();
    let offhook = start_box(&folders, &carrier, &settings);
    for cut in 1..=cuts {
        let at = before + cut * size / (cuts + 1);
        while relay.sent_bytes() < at {
            std::thread::sleep(Duration::from_millis(1));
        }
        relay.cut();
        if cut == cuts / 2 {
            cloud = cloud.kill_and_start();
        }
    }
    let done = poll(LIMIT, || Some(sync_of(&offhook)["recordings"].clone()).filter(|files| files["waiting"] == 0));
    let done = done.unwrap_or_else(|| panic!("{}", sync_of(&offhook)));
    assert_eq!((done["lost"].as_i64(), done["refused"].as_i64()), (Some(1), Some(0)), "{done}");
    let sent = relay.sent_bytes() - before;
    let overhead = sent.saturating_sub(size + 100_000) * 100;
    println!(
        "{} MiB, {cuts} cuts: {sent} bytes sent, {:.2} % more than there are",
        size / MIB,
        overhead as f64 / size as f64
    );
    assert!(overhead <= (5 + OVERHEAD_PERCENT) * size, "{sent} bytes were sent for {size}");
    let (_, metrics) = cloud.http("/metrics");
    let resumed = metrics.lines().find_map(|line| line.strip_prefix("offhook_cloud_blobs_resumed_total "));
    assert!(resumed.unwrap().parse::<u64>().unwrap() >= cuts / 4, "{metrics}");
    let status = super::said(&offhook.run(&["cloud", "status"]));
    assert!(status.contains("1 recording is LOST"), "{status}");

    let enrolment = Enrolment::load(&folders.office).unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let trust = cloud.trust();
        let fetch = async |as_box: &Enrolment, hash: &str, from| fetch(&endpoint, &trust, as_box, hash, from).await;
        assert!(fetch(&enrolment, &large_hash, 0).await.unwrap() == large);
        assert!(fetch(&enrolment, &large_hash, size - 300_000).await.unwrap() == large[large.len() - 300_000..]);
        assert_eq!(fetch(&enrolment, &message_hash, 0).await.unwrap(), message);
        let other = link::claim(&endpoint, Some(&trust), &cloud.code("bakery"), "box-2").await.unwrap();
        assert!(fetch(&other, &message_hash, 0).await.unwrap_err().contains("no such content"));
        assert!(cloud.run(&["revoke", "bakery", "box-2"]).status.success());
        assert!(fetch(&other, &message_hash, 0).await.unwrap_err().contains("revoked"));
    });
    offhook.stop();
    cloud.stop();
}

/// A call comes while a recording goes up: next to nothing is sent while it lasts, and all of it after it.
#[test]
fn uploads_give_way_to_a_call() {
    let (folders, carrier) = (Folders::new(), carrier());
    let large = sound(64 * MIB, 3);
    record(&folders.office, RecordingKind::Voicemail, UnixMs(UnixMs::now().0 - 1_000), Some(&large));
    let port = tests::offhook::free_port();
    let relay = TcpRelay::start(([127, 0, 0, 1], port).into());
    let endpoint = format!("localhost:{}", relay.address().port());
    let listen = [format!("listen.address=127.0.0.1:{port}"), format!("listen.endpoint={endpoint}")];
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[&listen[0], &listen[1]]);
    let settings = folders.settings(&cloud, &endpoint);
    assert!(claim(&settings, &cloud.code("bakery")).status.success());
    // It is to have something left to send when the call is up.
    relay.stall(true);
    let offhook = start_box(&folders, &carrier, &settings);
    let call = carrier.call(&[offhook.address()], NUMBER).call.expect("the box answers");
    relay.stall(false);
    let under_way = || sync_of(&offhook)["link"]["connected"] == true;
    assert!(poll(LIMIT, || under_way().then_some(())).is_some(), "{}", sync_of(&offhook));
    let (before, since) = (relay.sent_bytes(), Instant::now());
    let some = poll(LIMIT, || (relay.sent_bytes() > before + 64_000).then(|| since.elapsed()));
    let took = some.unwrap_or_else(|| panic!("nothing goes up beside a call: {}", sync_of(&offhook)));
    // At 16 KiB a second, and with rows beside it.
    assert!(took > Duration::from_secs(2), "64 kB within {took:?} of a call");
    assert_eq!(sync_of(&offhook)["recordings"]["waiting"], 1);
    call.hang_up();
    let done = poll(LIMIT, || (sync_of(&offhook)["recordings"]["waiting"] == 0).then_some(()));
    assert!(done.is_some(), "{}", sync_of(&offhook));
    offhook.stop();
    cloud.stop();
}
