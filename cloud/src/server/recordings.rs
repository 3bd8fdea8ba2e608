//! Recordings of messages that the cloud has taken: fetched at Twilio, kept among the blobs of their box, and then handed down.
//! Every instance looks after what is due; the store gives each to one of them.

use std::sync::Arc;
use std::time::Duration;

use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use crate::blobs::{BlobError, Content, FRAME_MAX};
use crate::clock;
use crate::store::deliveries::Deliveries as _;
use crate::store::{BoxName, Store as _, StoreError};
use crate::twilio::handed::{Due, Sound, due, fetched, not_fetched};
use crate::twilio::settings::Token;
use crate::twilio::settings_of;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// For a recording to come.
const FETCH_LIMIT: Duration = Duration::from_secs(120);
/// Another instance takes it up after so long, in milliseconds: longer than a fetch.
const LEASE_MS: i64 = 300_000;
/// A message of ten minutes has 10 MB.
const RECORDING_MAX: usize = 32 << 20;

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the account {0} is not known any more: `offhook-cloud twilio account`")]
    Account(String),
    #[error("Twilio: {0}")]
    Http(reqwest::Error),
    #[error("Twilio answers with status {0}")]
    Status(u16),
    #[error("it is larger than {RECORDING_MAX} bytes")]
    TooLarge,
    #[error("it is no WAV file")]
    NotWav,
    #[error("it cannot be kept: {0}")]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store failed")]
    Failed,
}

impl FetchError {
    /// Trying again does not help.
    fn is_for_good(&self) -> bool {
        match self {
            FetchError::TooLarge | FetchError::NotWav => true,
            FetchError::Account(_)
            | FetchError::Http(_)
            | FetchError::Status(_)
            | FetchError::Blob(_)
            | FetchError::Store(_)
            | FetchError::Failed => false,
        }
    }
}

pub(super) async fn run(shared: Arc<Shared>, api_url: String, mut stopping: watch::Receiver<bool>) {
    let client = reqwest::Client::builder()
        .timeout(FETCH_LIMIT)
        // To another host it goes without the token.
        .redirect(reqwest::redirect::Policy::limited(3))
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "Recordings cannot be fetched"),
    };
    let mut forget_at = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        loop {
            let now = clock::unix_ms();
            match shared.ask(move |store| store.take_due(now, now + LEASE_MS)).await {
                Some(Ok(Some((of, id)))) => tokio::select! {
                    () = look_after(&shared, &client, &api_url, &of, &id) => {}
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                },
                Some(Ok(None)) | None => break,
                Some(Err(error)) => {
                    tracing::warn!(%error, "Deliveries wait for the store");
                    break;
                }
            }
        }
        if forget_at <= Instant::now() {
            forget_at = Instant::now() + FORGET_EVERY;
            forget(&shared).await;
        }
    }
}

async fn forget(shared: &Shared) {
    let forgotten = shared.ask(|store| -> Result<usize, StoreError> {
        let now = clock::unix_ms();
        store.tenants()?.iter().map(|tenant| store.forget_deliveries(tenant, now)).sum()
    });
    match forgotten.await {
        Some(Ok(0)) | None => {}
        Some(Ok(deliveries)) => tracing::info!(deliveries, "Deliveries that boxes have had for a week are forgotten"),
        Some(Err(error)) => tracing::warn!(%error, "Old deliveries are not forgotten"),
    }
}

async fn look_after(shared: &Shared, client: &reqwest::Client, api_url: &str, of: &BoxName, id: &str) {
    if let Err(error) = try_to(shared, client, api_url, of, id).await {
        tracing::warn!(%of, id, %error, "A delivery is not ready yet");
        let (name, delivery, for_good) = (of.clone(), id.to_owned(), error.is_for_good());
        let noted = shared.ask(move |store| {
            let now = clock::unix_ms();
            store.change_delivery(&name, &delivery, now, |body| Ok((not_fetched(body, for_good, now)?, ())))
        });
        if let Some(Err(error)) = noted.await {
            // It is due again when the lease is over.
            tracing::warn!(%error, "That was not noted");
        }
    }
}

async fn try_to(
    shared: &Shared,
    client: &reqwest::Client,
    api_url: &str,
    of: &BoxName,
    id: &str,
) -> Result<(), FetchError> {
    let (name, delivery) = (of.clone(), id.to_owned());
    let todo = shared.ask(move |store| {
        store.change_delivery(&name, &delivery, clock::unix_ms(), |body| {
            Ok(match due(body)? {
                Due::Keep(kept) => (Some(kept), None),
                Due::Fetch(account, recording) => (None, Some((account, recording))),
                Due::Nothing => (None, None),
            })
        })
    });
    let Some((account, recording)) = todo.await.ok_or(FetchError::Failed)?? else { return Ok(()) };
    let tenant = of.tenant_id.clone();
    let settings = shared.ask(move |store| settings_of(store, &tenant)).await.ok_or(FetchError::Failed)??;
    let known = settings.accounts.get(&account).and_then(|known| Some((known, known.tokens.first()?)));
    let (known, token) = known.ok_or_else(|| FetchError::Account(account.clone()))?;
    let api_url = known.api_url.as_deref().unwrap_or(api_url);
    let url = format!("{api_url}/2010-04-01/Accounts/{account}/Recordings/{recording}.wav");
    let wav = fetch(client, &url, &account, token).await?;
    let content = keep(shared, of, wav).await?;
    tracing::info!(%of, id, bytes = content.size_bytes, "A message is here");
    let sound = Sound { sha256: hex::encode(content.sha256), size_bytes: content.size_bytes };
    let (name, delivery) = (of.clone(), id.to_owned());
    let kept = shared.ask(move |store| {
        store.change_delivery(&name, &delivery, clock::unix_ms(), |body| Ok((fetched(body, &sound)?, ())))
    });
    Ok(kept.await.ok_or(FetchError::Failed)??)
}

async fn fetch(client: &reqwest::Client, url: &str, account: &str, token: &Token) -> Result<Bytes, FetchError> {
    let http = |error: reqwest::Error| FetchError::Http(error.without_url());
    let mut answer = client.get(url).basic_auth(account, Some(token.reveal())).send().await.map_err(http)?;
    if !answer.status().is_success() {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let mut wav = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(http)? {
        if wav.len() + piece.len() > RECORDING_MAX {
            return Err(FetchError::TooLarge);
        }
        wav.extend_from_slice(&piece);
    }
    let is_wav = wav.len() > 44 && wav.starts_with(b"RIFF") && wav[8..12] == *b"WAVE";
    if is_wav { Ok(wav.into()) } else { Err(FetchError::NotWav) }
}

/// As a box would upload it.
async fn keep(shared: &Shared, of: &BoxName, wav: Bytes) -> Result<Content, FetchError> {
    let size_bytes = u64::try_from(wav.len()).unwrap_or(u64::MAX);
    let content = Content { sha256: Sha256::digest(&wav).into(), size_bytes };
    let begun = shared.blobs.begin(of, content).await?;
    if !begun.is_kept {
        let part = shared.blobs.part(of, content.sha256).await?;
        let mut at = usize::try_from(begun.offset_bytes).unwrap_or(usize::MAX).min(wav.len());
        while at < wav.len() {
            let end = wav.len().min(at + FRAME_MAX);
            shared.blobs.append(&part, u64::try_from(at).unwrap_or(u64::MAX), wav.slice(at..end)).await?;
            at = end;
        }
        shared.blobs.flush(&part).await?;
        shared.blobs.commit(of, content).await?;
    }
    Ok(content)
}
