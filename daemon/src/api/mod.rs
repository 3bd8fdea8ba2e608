//! The box's HTTP interface, for the dashboard and for other programs of this machine.
//!
//! ```text
//! GET /v1/calls               the calls that are up
//! GET /v1/calls/{id}/listen   a WebSocket with the sound of one, live
//! GET /v1/messages, /v1/messages/{id}, /v1/messages/{id}/sound, /v1/followups, /v1/notices, /v1/people
//! POST /v1/requests           what the command line has done: a promise taken, a caller taken over, …
//! POST /mcp                   the box as a server of the Model Context Protocol, for programs with a token
//!
//! GET  /links/{key}           what a notice is about, for whoever has its link
//! POST /callbacks/twilio      what became of text messages, and what is answered to them
//! ```
//! It is on loopback only and knows no logins yet but those tokens, so `guard` turns away what a web page could make a
//! browser send. The last two are for the office's own way from outside: each request proves by a signature that it may.
//! What goes wrong is told as RFC 9457 has it (`problem`).

mod callbacks;
mod calls;
mod guard;
mod links;
mod listen;
mod mcp;
mod problem;
mod rows;
mod sound;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

pub use self::callbacks::Callbacks;
pub use self::links::Pages;
pub use self::mcp::Sources;
use self::problem::Problem;
use crate::call::CallsUp;
use crate::config;
use crate::requests::Desk;
use crate::storage::AudioFiles;

/// What the system may hold back of what we send. Sound that waits there is late, and cannot be dropped any more: this is
/// half a second of both sides (Linux takes it twice).
const SEND_BUFFER_BYTES: usize = 8 << 10;
/// How long connections have to end when the box stops.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// What requests need.
#[derive(Clone)]
struct State {
    calls: CallsUp,
    desk: Desk,
    files: AudioFiles,
    stop: watch::Receiver<bool>,
}

/// What programs of this machine may ask for.
pub struct Inside {
    /// The calls that are up.
    pub calls: CallsUp,
    /// What is done for somebody.
    pub desk: Desk,
    /// Recordings.
    pub files: AudioFiles,
    /// What the tools of `/mcp` read.
    pub sources: Sources,
}

/// What may be asked from outside; `None`: nothing of that kind is configured.
#[derive(Default)]
pub struct Outside {
    /// By people, with links.
    pub pages: Option<Pages>,
    /// By the service of text messages.
    pub callbacks: Option<Callbacks>,
}

/// The interface while it is served; end it with [`stop`](Api::stop).
pub struct Api {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Api {
    /// Serves it from now on.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(config: &config::Api, inside: Inside, outside: Outside) -> anyhow::Result<Api> {
        let Inside { calls, desk, files, sources } = inside;
        let listen = SocketAddr::new(config.address, config.port);
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("api.address and api.port cannot be used: {listen}; --set api.port=8070 chooses another")
        })?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let state = State { calls, desk, files, stop: stopped.clone() };
        let service = router(state, config, sources, outside).into_make_service_with_connect_info::<SocketAddr>();
        let server = axum::serve(listener.tap_io(set_up), service).with_graceful_shutdown(told(stopped));
        let server = tokio::spawn(async move {
            if let Err(error) = server.await {
                warn!(%error, "The HTTP interface ended");
            }
        });
        info!(%address, "HTTP interface");
        Ok(Api { address, stop, server })
    }

    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it: whoever is connected is told, and has a moment to go.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async {
            let _ = (&mut self.server).await;
            // Every WebSocket holds one.
            self.stop.closed().await;
        };
        if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
            debug!("Somebody is still connected to the HTTP interface");
            self.server.abort();
        }
    }
}

fn router(state: State, config: &config::Api, sources: Sources, Outside { pages, callbacks }: Outside) -> Router {
    let mut router = Router::new();
    if !config.mcp_tokens.is_empty() {
        let admission = from_fn_with_state(Arc::new(config.mcp_tokens.clone()), mcp::admit);
        router = router.route_service("/mcp", mcp::service(sources)).route_layer(admission);
    }
    router
        .route("/v1/calls", get(calls::list))
        .route("/v1/calls/{id}/listen", get(listen::listen))
        .route("/v1/messages", get(rows::messages))
        .route("/v1/messages/{id}", get(rows::message))
        .route("/v1/messages/{id}/sound", get(rows::message_sound))
        .route("/v1/followups", get(rows::follow_ups))
        .route("/v1/notices", get(rows::notices))
        .route("/v1/people", get(rows::people))
        .route("/v1/requests", post(rows::request))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not known here")
        })
        .layer(from_fn(guard::guard))
        .with_state(state)
        .merge(pages.map_or_else(Router::new, links::router))
        .merge(callbacks.map_or_else(Router::new, callbacks::router))
}

fn set_up(stream: &mut TcpStream) {
    let buffer = socket2::SockRef::from(&*stream).set_send_buffer_size(SEND_BUFFER_BYTES);
    if let Err(error) = stream.set_nodelay(true).and(buffer) {
        debug!(%error, "Socket not set up");
    }
}

async fn told(mut stop: watch::Receiver<bool>) {
    // Nobody who could tell it any more: it is over too.
    let _ = stop.wait_for(|stop| *stop).await;
}
