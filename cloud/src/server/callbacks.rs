//! Where Twilio comes: a port of its own, on the internet, for whoever can sign.
//!
//! What a request means is decided in [`twilio::hooks`](crate::twilio::hooks). Who does not sign gets 403 and no word,
//! whatever is asked; bodies, connections and requests at a time are limited, and a connection is good for one request.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use tokio::sync::{Semaphore, watch};

use super::Shared;
use super::limited::Limited;
use crate::clock;
use crate::store::deliveries::{Deliveries as _, Progress};
use crate::store::{BoxName, Store as _, StoreError};
use crate::twilio::handed::{News, take};
use crate::twilio::hooks::{Hook, HookError, answer, answered, nobody_here, signed_by};
use crate::twilio::settings_of;

/// Connections at a time.
const CONNECTIONS: usize = 256;
/// How long one may last: Twilio itself waits for 15 s.
const CONNECTION_LIFE: Duration = Duration::from_secs(20);
/// Requests that are looked at at a time; more are told to come again.
const REQUESTS: usize = 64;
/// More are no callback, in bytes.
const BODY_MAX: usize = 64 << 10;
/// For a body to come.
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// Texts that wait at a time for a box to answer them.
const WAITING_TEXTS: usize = 16;
/// How long a text waits for its box to answer it.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);
/// A box that was heard within this time may answer, in milliseconds: it is noted once a minute.
const THERE_MS: i64 = 3 * 60_000;
/// Between two looks whether it has.
const ANSWER_EVERY: Duration = Duration::from_millis(250);

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct CallbackCounts {
    taken: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
    unclear: AtomicU64,
    failed: AtomicU64,
    busy: AtomicU64,
}

impl CallbackCounts {
    pub(super) fn render(&self, page: &mut String) {
        // Writing to a string does not fail.
        page.push_str("# HELP offhook_cloud_callbacks_total Requests of Twilio, by what came of them.\n");
        page.push_str("# TYPE offhook_cloud_callbacks_total counter\n");
        for (outcome, count) in [
            ("taken", &self.taken),
            ("repeated", &self.repeated),
            ("refused", &self.refused),
            ("unclear", &self.unclear),
            ("failed", &self.failed),
            ("busy", &self.busy),
        ] {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(page, "offhook_cloud_callbacks_total{{outcome=\"{outcome}\"}} {count}");
        }
    }

    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// What requests need.
pub(super) struct Callbacks {
    shared: Arc<Shared>,
    /// How Twilio reaches us.
    url: String,
    turns: Semaphore,
    waiting_texts: Semaphore,
}

impl Callbacks {
    pub(super) fn new(shared: Arc<Shared>, url: String) -> Callbacks {
        let (turns, waiting_texts) = (Semaphore::new(REQUESTS), Semaphore::new(WAITING_TEXTS));
        Callbacks { shared, url, turns, waiting_texts }
    }

    /// What is answered, and which count that is.
    async fn follow(&self, request: Request) -> Result<Response, Refusal> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (tenant, hook) =
            Hook::of_path(head.uri.path()).filter(|_| head.method == Method::POST).ok_or(Refusal::Stranger)?;
        let signature = head.headers.get("x-twilio-signature").and_then(|value| value.to_str().ok());
        let signature = signature.ok_or(Refusal::Stranger)?.to_owned();
        let body: Bytes = match tokio::time::timeout(BODY_LIMIT, to_bytes(body, BODY_MAX)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) | Err(_) => return Err(Refusal::Stranger),
        };
        let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
        let of = tenant.clone();
        let settings = self.shared.ask(move |store| settings_of(store, &of)).await;
        let settings = settings.ok_or(Refusal::Failed)?.map_err(|error| Refusal::of(&error))?;
        let url = format!("{}{path}", self.url);
        let (account, _) = signed_by(&settings, &url, &signature, &form).map_err(|_| Refusal::Stranger)?;
        let outcome = match answer((&tenant, &settings), &hook, (account, &form), &self.url, clock::unix_ms()) {
            Ok(outcome) => outcome,
            Err(error @ HookError::Number(_)) => {
                tracing::error!(tenant, %error, "Twilio tells of a number that is nobody's");
                CallbackCounts::add(&self.counts().unclear);
                return Ok(match hook {
                    Hook::Voice => xml(nobody_here(&settings.words)),
                    Hook::Text | Hook::Ended(_) | Hook::Recorded(_) | Hook::Status(_) => {
                        (StatusCode::NOT_FOUND, error.to_string()).into_response()
                    }
                });
            }
            Err(error @ (HookError::Form(..) | HookError::Stranger)) => {
                tracing::warn!(tenant, %error, "A request of Twilio is not to be understood");
                return Err(Refusal::Unclear(error));
            }
        };
        let Some((of, news)) = outcome.news else { return Ok(xml(outcome.answer)) };
        let id = news.id();
        let is_new = self.keep(&of, &id, news).await?;
        CallbackCounts::add(if is_new { &self.counts().taken } else { &self.counts().repeated });
        tracing::info!(%of, id, is_new, "Twilio has told");
        let said = match self.waiting_texts.try_acquire() {
            Ok(_turn) if outcome.is_text => self.words_of_box(&of, &id).await,
            Ok(_) | Err(_) => None,
        };
        Ok(xml(said.map_or(outcome.answer, |said| answered(Some(&said)))))
    }

    fn counts(&self) -> &CallbackCounts {
        &self.shared.metrics.callbacks
    }

    /// Whether it is something new.
    async fn keep(&self, of: &BoxName, id: &str, news: News) -> Result<bool, Refusal> {
        let (of, id, now) = (of.clone(), id.to_owned(), clock::unix_ms());
        let kept = self.shared.ask(move |store| {
            store.change_delivery(&of, &id, now, |before| {
                let after = take(&news, before, now)?;
                let is_new = after.is_some();
                Ok((after, is_new))
            })
        });
        kept.await.ok_or(Refusal::Failed)?.map_err(|error| Refusal::of(&error))
    }

    /// What the box says to whoever has written, if it is there and says something soon.
    async fn words_of_box(&self, of: &BoxName, id: &str) -> Option<String> {
        let name = of.clone();
        let is_there = self.shared.ask(move |store| {
            let since = clock::unix_ms() - THERE_MS;
            let heard = store.known_box(&name)?.and_then(|record| record.heard_at);
            Ok::<_, StoreError>(heard.is_some_and(|at| at >= since))
        });
        if !matches!(is_there.await, Some(Ok(true))) {
            return None;
        }
        let until = tokio::time::Instant::now() + ANSWER_LIMIT;
        let mut stopping = self.shared.stopping.clone();
        loop {
            let (name, wanted) = (of.clone(), id.to_owned());
            match self.shared.ask(move |store| store.progress(&name, &wanted)).await? {
                Ok(Some(Progress::Waiting)) if tokio::time::Instant::now() < until => {}
                Ok(Some(Progress::Delivered(answer))) => return answer,
                Ok(Some(Progress::Waiting) | None) | Err(_) => return None,
            }
            tokio::select! {
                () = tokio::time::sleep(ANSWER_EVERY) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
    }
}

/// Why a request is not followed.
enum Refusal {
    /// Whoever that is.
    Stranger,
    /// An account of ours, and nothing that we know.
    Unclear(HookError),
    /// We cannot.
    Failed,
}

impl Refusal {
    fn of(error: &StoreError) -> Refusal {
        tracing::error!(%error, "The store cannot");
        Refusal::Failed
    }
}

fn xml(answer: String) -> Response {
    ([(CONTENT_TYPE, "text/xml; charset=utf-8")], answer).into_response()
}

async fn receive(State(callbacks): State<Arc<Callbacks>>, request: Request) -> Response {
    let counts = callbacks.counts();
    let mut response = match callbacks.turns.try_acquire() {
        Ok(_turn) => match callbacks.follow(request).await {
            Ok(response) => response,
            Err(Refusal::Stranger) => {
                CallbackCounts::add(&counts.refused);
                StatusCode::FORBIDDEN.into_response()
            }
            Err(Refusal::Unclear(error)) => {
                CallbackCounts::add(&counts.unclear);
                (StatusCode::BAD_REQUEST, error.to_string()).into_response()
            }
            Err(Refusal::Failed) => {
                CallbackCounts::add(&counts.failed);
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        },
        Err(_) => {
            CallbackCounts::add(&counts.busy);
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]).into_response()
        }
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Until the service stops.
pub(super) async fn serve<L>(callbacks: Callbacks, listener: L, mut stopping: watch::Receiver<bool>)
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let router = Router::new().fallback(receive).with_state(Arc::new(callbacks));
    let stopped = async move {
        // Without whoever could say so it is over too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let listener = Limited::new(listener, CONNECTIONS, CONNECTION_LIFE);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "Twilio is not listened to any more");
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use cloud_api::signature::Signer;

    use super::super::blobs::tests::shared;
    use super::*;
    use crate::twilio::change_settings;
    use crate::twilio::settings::Token;

    const BASE: &str = "https://cloud.example.org";
    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
    const TEXT: &str = "SM0123456789abcdef0123456789abcdef";

    struct Rig {
        callbacks: Arc<Callbacks>,
        _folder: tempfile::TempDir,
    }

    /// A cloud whose tenant "bakery" has an account and the number +15550100.
    fn rig() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let shared = Arc::new(shared(folder.path()));
        change_settings(&*shared.store, "bakery", 1, |settings| {
            settings.set_account(ACCOUNT, Token::new("12345").unwrap(), false, None).unwrap();
            settings.set_number("+15550100", "box-1").unwrap();
        })
        .unwrap();
        Rig { callbacks: Arc::new(Callbacks::new(shared, BASE.to_owned())), _folder: folder }
    }

    impl Rig {
        /// Status and body of what is answered to a form that is sent to `path` and signed for `signed`.
        async fn ask(&self, method: Method, (path, signed): (&str, &str), fields: &[(&str, &str)]) -> (u16, String) {
            let all = [&[("AccountSid", ACCOUNT)], fields].concat();
            let form: Vec<_> = all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
            let signature = Signer::new("12345").sign(&format!("{BASE}{signed}"), &form);
            let request = Request::builder().method(method).uri(path).header("x-twilio-signature", signature);
            self.send(request.body(Body::from(body)).unwrap()).await
        }

        async fn send(&self, request: Request) -> (u16, String) {
            let response = receive(State(Arc::clone(&self.callbacks)), request).await;
            assert_eq!(response.headers()[CONNECTION], "close");
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }

        fn delivered(&self) -> usize {
            let of = BoxName { tenant_id: "bakery".to_owned(), box_id: "box-1".to_owned() };
            self.callbacks.shared.store.outstanding(&of, 1, clock::unix_ms(), 10).unwrap().len()
        }
    }

    const SMS: &str = "/twilio/bakery/sms";

    #[tokio::test]
    async fn a_text_is_kept_once_however_often_it_is_told() {
        let rig = rig();
        let text = [("MessageSid", TEXT), ("From", "+15551"), ("To", "+15550100"), ("Body", "hello")];
        for _ in 0..3 {
            let (status, body) = rig.ask(Method::POST, (SMS, SMS), &text).await;
            assert_eq!((status, body.ends_with("<Response></Response>")), (200, true), "{body}");
        }
        assert_eq!(rig.delivered(), 1);
        let with_query = rig.ask(Method::POST, ("/twilio/bakery/sms?a=1", "/twilio/bakery/sms?a=1"), &text).await;
        assert_eq!(with_query.0, 200, "the query is signed too");
        let page = rig.callbacks.shared.metrics.render();
        assert!(page.contains("callbacks_total{outcome=\"taken\"} 1\n"), "{page}");
        assert!(page.contains("callbacks_total{outcome=\"repeated\"} 3\n"), "{page}");
    }

    #[tokio::test]
    async fn strangers_are_told_nothing_and_change_nothing() {
        let rig = rig();
        let large = "x".repeat(BODY_MAX);
        let text = [("MessageSid", TEXT), ("From", "+15551"), ("To", "+15550100"), ("Body", "hello")];
        let too_large = [("MessageSid", TEXT), ("From", "+15551"), ("To", "+15550100"), ("Body", large.as_str())];
        for (method, path, signed, fields) in [
            (Method::POST, SMS, "/twilio/bakery/voice", &text),
            (Method::POST, "/twilio/bakery/sms?a=1", SMS, &text),
            (Method::POST, "/twilio/butcher/sms", "/twilio/butcher/sms", &text),
            (Method::POST, "/twilio/bakery", "/twilio/bakery", &text),
            (Method::GET, SMS, SMS, &text),
            (Method::POST, SMS, SMS, &too_large),
        ] {
            let answered = rig.ask(method, (path, signed), fields).await;
            assert_eq!(answered, (403, String::new()), "{path}");
        }
        let unsigned = Request::post(SMS).body(Body::from(format!("AccountSid={ACCOUNT}"))).unwrap();
        assert_eq!(rig.send(unsigned).await, (403, String::new()));
        assert_eq!(rig.delivered(), 0);
        assert!(rig.callbacks.shared.metrics.render().contains("callbacks_total{outcome=\"refused\"} 7\n"));
    }

    #[tokio::test]
    async fn what_an_account_of_ours_gets_wrong_it_is_told() {
        let rig = rig();
        let (status, why) = rig.ask(Method::POST, (SMS, SMS), &[("From", "+15551"), ("To", "+15550100")]).await;
        assert_eq!((status, why.starts_with("MessageSid: expected a SID")), (400, true), "{why}");
        let nobodys = [("MessageSid", TEXT), ("From", "+15551"), ("To", "+15550199"), ("Body", "hello")];
        let (status, why) = rig.ask(Method::POST, (SMS, SMS), &nobodys).await;
        assert_eq!((status, why.contains("twilio number")), (404, true), "{why}");
        let call = [("CallSid", "CA0123456789abcdef0123456789abcdef"), ("To", "+15550199")];
        let voice = "/twilio/bakery/voice";
        let (status, answer) = rig.ask(Method::POST, (voice, voice), &call).await;
        assert_eq!((status, answer.contains("cannot be reached. Goodbye.")), (200, true), "{answer}");
    }

    #[tokio::test]
    async fn more_than_are_looked_at_are_told_to_come_again() {
        let rig = rig();
        let turns = rig.callbacks.turns.acquire_many(u32::try_from(REQUESTS).unwrap()).await.unwrap();
        let text = [("MessageSid", TEXT), ("From", "+15551"), ("To", "+15550100"), ("Body", "hello")];
        assert_eq!(rig.ask(Method::POST, (SMS, SMS), &text).await.0, 503);
        drop(turns);
        assert_eq!(rig.ask(Method::POST, (SMS, SMS), &text).await.0, 200);
    }
}
