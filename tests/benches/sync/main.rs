//! What sync costs and how much it carries: boxes and a cloud over TLS on loopback, the database on the same machine.
//!
//! - `log`: a turn's commit on the box, with the change log's triggers and without;
//! - `batches`: as boxes send them, as many on the way as a cloud allows; rows per second, the wait for an Ack, and bytes;
//! - `backlog`: a month of a box without a connection, sent by the box's own end, and the memory that takes; then one change,
//!   from its commit on the box to its commit in the cloud;
//! - `streams`: boxes that have nothing to say: the cloud's memory for each, a configuration for all of them, and all of them
//!   coming back after the cloud was killed.
//!
//! `cargo bench --package tests --bench sync -- streams --streams 5000` is one part of another size. Without PostgreSQL there
//! are the figures of SQLite alone. Needs no models.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and fails loudly")]

mod backlog;
mod rows;
mod streams;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloud::authority::Authority;
use cloud::local_postgres::LocalPostgres;
use cloud::store::{AnyStore, BoxName, Postgres, Sqlite};
use cloud_api::PROTOCOL;
use cloud_api::v1::sync_client::SyncClient;
use cloud_api::v1::{BoxMessage, Certificate, CloudMessage, Hello, box_message, cloud_message};
use daemon::storage::UnixMs;
use daemon::sync::enrolment::{Enrolment, Request};
use daemon::sync::link;
use tests::cloud::CloudProcess;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::codec::CompressionEncoding;

const CLOUD: &str = env!("CARGO_BIN_EXE_offhook-cloud-under-test");
const TENANT: &str = "bench";
const PARTS: [&str; 4] = ["log", "batches", "backlog", "streams"];

/// How much of everything.
struct Sizes {
    /// Rows in batches.
    rows: u32,
    /// Calls of the backlog, each with two turns.
    calls: u32,
    /// Boxes that have nothing to say.
    streams: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    if let [child, settings @ ..] = arguments.as_slice()
        && child == backlog::CHILD
    {
        return backlog::child(settings);
    }
    let size = |flag: &str, default| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.map_or(default, |at| arguments[at + 1].parse().unwrap())
    };
    let sizes = Sizes { rows: size("--rows", 40_000), calls: size("--calls", 3_000), streams: size("--streams", 200) };
    let asked = |part: &str| arguments.iter().any(|argument| argument == part);
    let wanted = |part: &str| asked(part) || !PARTS.into_iter().any(asked);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    if wanted("log") {
        backlog::change_log();
    }
    let engines = if LocalPostgres::programs().is_some() {
        vec![Engine::Postgres, Engine::Sqlite]
    } else {
        println!("PostgreSQL is not installed: these are the figures of SQLite");
        vec![Engine::Sqlite]
    };
    for engine in &engines {
        if wanted("batches") {
            for deflate in [false, true] {
                rows::batches(&Rig::start(*engine), sizes.rows, deflate);
            }
        }
    }
    if wanted("backlog") {
        backlog::backlog(&Rig::start(engines[0]), sizes.calls);
    }
    if wanted("streams") {
        streams::streams(Rig::start(engines[0]), sizes.streams);
    }
}

/// Where the cloud keeps its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Postgres,
    Sqlite,
}

/// A cloud as it is: a process, with a database of its own.
struct Rig {
    engine: Engine,
    folder: tempfile::TempDir,
    // Before the server that it asks.
    cloud: CloudProcess,
    postgres: Option<LocalPostgres>,
}

impl Rig {
    fn start(engine: Engine) -> Rig {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL runs as another user where we are root, who has to come to its folder.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut settings = vec!["log.filter=warn,cloud::cli=info".to_owned()];
        let postgres = (engine == Engine::Postgres).then(|| {
            let postgres = LocalPostgres::start(&folder.path().join("db"), &[]).unwrap();
            let file = folder.path().join("url");
            std::fs::write(&file, postgres.url()).unwrap();
            settings.extend(["store.engine=postgres".to_owned(), format!("store.url_file={}", file.display())]);
            postgres
        });
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let cloud = CloudProcess::start(Path::new(CLOUD), &folder.path().join("cloud"), &settings);
        Rig { engine, folder, cloud, postgres }
    }

    /// The same store, beside the cloud.
    fn store(&self) -> AnyStore {
        match &self.postgres {
            Some(postgres) => AnyStore::Postgres(Box::new(Postgres::parse(&postgres.url(), None, 4).unwrap())),
            None => AnyStore::Sqlite(Sqlite::open(&self.folder.path().join("cloud/cloud.db")).unwrap()),
        }
    }

    fn trust(&self) -> PathBuf {
        self.cloud.trust()
    }

    /// Certificates for these boxes, as the cloud's authority gives them, who come to this port.
    fn enroll(&self, boxes: impl Iterator<Item = String>, port: u16) -> Vec<Enrolment> {
        let now = UnixMs::now().0;
        let authority = Authority::open(&self.folder.path().join("cloud"), now).unwrap();
        let endpoint = format!("localhost:{port}");
        let enroll = |box_id: String| {
            let request = Request::new(&box_id).unwrap();
            let chain = vec![authority.certify_box(&name(&box_id), &request.der, now).unwrap().to_vec().into()];
            Enrolment::new(box_id, &request, &Certificate { chain, roots: vec![], endpoint: endpoint.clone() })
        };
        boxes.map(enroll).collect()
    }
}

fn name(box_id: &str) -> BoxName {
    BoxName { tenant_id: TENANT.to_owned(), box_id: box_id.to_owned() }
}

/// A box's end of a stream, without a box behind it.
struct Wire {
    outgoing: mpsc::Sender<BoxMessage>,
    incoming: Streaming<CloudMessage>,
}

impl Wire {
    /// A stream on which the cloud has said Welcome; whoever deflates does it as boxes do.
    async fn open(enrolment: &Enrolment, trust: &Path, deflate: bool) -> Result<Wire, String> {
        let channel = link::connect(&enrolment.endpoint, Some(trust), Some(enrolment)).await;
        let channel = channel.map_err(|error| error.to_string())?;
        let (outgoing, messages) = mpsc::channel(8);
        let plain = SyncClient::new(channel);
        let mut client = if deflate { plain.send_compressed(CompressionEncoding::Zstd) } else { plain };
        let opened = client.connect(ReceiverStream::new(messages)).await;
        let incoming = opened.map_err(|status| status.to_string())?.into_inner();
        let mut wire = Wire { outgoing, incoming };
        let hello = Hello {
            protocol: PROTOCOL,
            release: "bench".to_owned(),
            epoch: 1,
            incarnation: vec![1; 16].into(),
            claiming: true,
            log_head: 0,
        };
        wire.say(box_message::Body::Hello(hello)).await?;
        let answer = wire.hear().await?;
        if matches!(answer, cloud_message::Body::Welcome(_)) { Ok(wire) } else { Err(format!("{answer:?}")) }
    }

    async fn say(&self, body: box_message::Body) -> Result<(), String> {
        self.outgoing.send(BoxMessage { body: Some(body) }).await.map_err(|error| error.to_string())
    }

    async fn hear(&mut self) -> Result<cloud_message::Body, String> {
        let message = self.incoming.message().await.map_err(|status| status.to_string())?;
        message.and_then(|message| message.body).ok_or_else(|| "the stream has ended".to_owned())
    }
}

/// The smallest wait that this share of them does not exceed.
fn percentile(waits: &mut [Duration], share: f64) -> Duration {
    waits.sort_unstable();
    let place = (waits.len() as f64 * share).ceil() as usize;
    waits[place.clamp(1, waits.len()) - 1]
}

/// Half of the waits, and all but one in a hundred.
fn halves(waits: &mut [Duration]) -> String {
    format!("{:.1?} (p50), {:.1?} (p99)", percentile(waits, 0.5), percentile(waits, 0.99))
}

fn seconds_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}
