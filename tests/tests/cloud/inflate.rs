//! What is deflated on the wire is inflated only so far.

use std::path::Path;

use cloud::authority::Authority;
use cloud::store::BoxName;
use cloud_api::PROTOCOL;
use cloud_api::v1::sync_client::SyncClient;
use cloud_api::v1::{
    BoxMessage, Certificate, Hello, LogRange, RowBatch, TableRows, box_message, cloud_message, goodbye::Reason,
    row_batch::Scope,
};
use daemon::storage::UnixMs;
use daemon::sync::enrolment::{Enrolment, Request};
use daemon::sync::link;
use tests::cloud::CloudProcess;
use tokio_stream::StreamExt as _;
use tonic::codec::CompressionEncoding;

use super::{CLOUD, Folders};

/// What the bomb becomes when it is inflated; on the wire it is a few KiB.
const INFLATED_BYTES: usize = 256 << 20;
/// What the cloud may take for it: the limit of a message a few times over. MiB.
const MEMORY_MAX_MIB: f64 = 32.0;

fn most_memory_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    most.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1_024.0
}

/// Rows with one long text, which deflates to nothing.
fn batch(text_bytes: usize) -> box_message::Body {
    let table = TableRows { table: "0".repeat(text_bytes), columns: vec![], rows: vec![], deleted_keys: vec![] };
    let scope = Some(Scope::Log(LogRange { after: 0, to: 1 }));
    box_message::Body::Batch(RowBatch { batch_id: 1, epoch: 1, scope, tables: vec![table] })
}

/// Says Hello and this, deflated; gives everything that the cloud says.
async fn answers(enrolment: &Enrolment, trust: &Path, said: Option<box_message::Body>) -> Vec<cloud_message::Body> {
    let channel = link::connect(&enrolment.endpoint, Some(trust), Some(enrolment)).await.unwrap();
    let hello = Hello {
        protocol: PROTOCOL,
        release: "1".to_owned(),
        epoch: 1,
        incarnation: vec![1; 16].into(),
        claiming: true,
        log_head: 0,
    };
    let (outgoing, messages) = tokio::sync::mpsc::channel(2);
    let mut client = SyncClient::new(channel).send_compressed(CompressionEncoding::Zstd);
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let mut incoming = client.connect(messages).await.unwrap().into_inner();
    let say = async |body| outgoing.send(BoxMessage { body: Some(body) }).await.unwrap();
    say(box_message::Body::Hello(hello)).await;
    let mut heard = vec![incoming.message().await.unwrap().unwrap().body.unwrap()];
    if let Some(said) = said {
        say(said).await;
        let rest: Result<Vec<_>, _> = incoming.collect().await;
        heard.extend(rest.unwrap().into_iter().filter_map(|message| message.body));
    }
    heard
}

/// A few KiB that become 256 MiB end their stream with a reason, and cost the cloud no more than the limit of a message. Whoever
/// deflates rows as they are is heard before and after.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_inflates_without_end_is_refused_with_bounded_memory() {
    let folders = Folders::new();
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    let now = UnixMs::now().0;
    let request = Request::new("box-1").unwrap();
    let name = BoxName { tenant_id: "bakery".to_owned(), box_id: "box-1".to_owned() };
    let authority = Authority::open(&folders.cloud, now).unwrap();
    let chain = vec![authority.certify_box(&name, &request.der, now).unwrap().to_vec().into()];
    let endpoint = format!("127.0.0.1:{}", cloud.address().port());
    let enrolment = Enrolment::new("box-1".to_owned(), &request, &Certificate { chain, roots: vec![], endpoint });
    let trust = cloud.trust();
    let welcomed = async || {
        let heard = answers(&enrolment, &trust, None).await;
        assert!(matches!(heard.as_slice(), [cloud_message::Body::Welcome(_)]), "{heard:?}");
    };
    welcomed().await;
    let refused = async |text_bytes: usize| {
        let heard = answers(&enrolment, &trust, Some(batch(text_bytes))).await;
        let [_, cloud_message::Body::Goodbye(goodbye)] = heard.as_slice() else { panic!("{heard:?}") };
        (goodbye.reason(), goodbye.detail.clone())
    };
    // It is read, and is no batch.
    assert_eq!(refused(100).await.0, Reason::UnknownTable);
    let before = most_memory_mib(cloud.pid());
    let (reason, detail) = refused(INFLATED_BYTES).await;
    assert_eq!(reason, Reason::Malformed);
    assert!(detail.contains("inflated"), "{detail}");
    let taken = most_memory_mib(cloud.pid()) - before;
    assert!(taken < MEMORY_MAX_MIB, "it took {taken:.1} MiB");
    println!("A message of {} MiB, deflated, took {taken:.1} MiB of the cloud", INFLATED_BYTES >> 20);
    let metrics = cloud.http("/metrics").1;
    assert!(metrics.contains("offhook_cloud_goodbyes_total{reason=\"malformed\"} 1\n"), "{metrics}");
    welcomed().await;
}
