//! `/livez`, `/readyz` and `/metrics`, for whoever runs this service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Shared;
use crate::store::Store as _;

/// A store that takes longer is not ready.
const READY_LIMIT: Duration = Duration::from_secs(2);

pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, mut stopping: watch::Receiver<bool>) {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shared);
    let stopped = async move {
        // Without whoever could say so it is over too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "HTTP is not served any more");
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    if *shared.stopping.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    match tokio::time::timeout(READY_LIMIT, shared.ask(|store| store.check())).await {
        Ok(Some(Ok(()))) => (StatusCode::OK, "ok\n".to_owned()),
        Ok(Some(Err(error))) => (StatusCode::SERVICE_UNAVAILABLE, format!("store: {error}\n")),
        Ok(None) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "store: no answer\n".to_owned()),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.render())
}
