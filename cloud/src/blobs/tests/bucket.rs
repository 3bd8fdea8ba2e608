//! A stand-in for S3: just enough of its REST interface to see that a client speaks it, with every request signed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use prost::bytes::Bytes;

use crate::blobs::objects::{Objects, S3};

#[derive(Debug, Default)]
struct Inside {
    access_key: String,
    objects: BTreeMap<String, Bytes>,
    parts: BTreeMap<(String, u32), Bytes>,
    multipart_uploads: usize,
    refused_part: u32,
}

type Shared = Arc<Mutex<Inside>>;

pub(super) struct Bucket {
    address: SocketAddr,
    inside: Shared,
}

impl Bucket {
    /// A bucket that takes requests of whoever has this key.
    pub(super) async fn start(access_key: &str) -> Bucket {
        let inside = Shared::new(Mutex::new(Inside { access_key: access_key.to_owned(), ..Inside::default() }));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inside));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Bucket { address, inside }
    }

    pub(super) fn objects(&self) -> Objects {
        let settings = S3 {
            bucket: "office".to_owned(),
            endpoint: Some(format!("http://{}", self.address)),
            region: "eu-west-1".to_owned(),
            access_key: "name".to_owned(),
            secret_key: "secret".to_owned(),
            trust: None,
        };
        Objects::s3(settings).unwrap()
    }

    pub(super) fn multipart_uploads(&self) -> usize {
        self.inside.lock().unwrap().multipart_uploads
    }

    /// The part of this number is refused; 0 is none.
    pub(super) fn refuse_part(&self, number: u32) {
        self.inside.lock().unwrap().refused_part = number;
    }
}

async fn answer(State(inside): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let mut inside = inside.lock().unwrap();
    if !is_signed(&head.headers, &inside.access_key) {
        return (StatusCode::FORBIDDEN, "not signed").into_response();
    }
    let key = head.uri.path().strip_prefix("/office").unwrap().trim_start_matches('/').to_owned();
    let query = head.uri.query().unwrap_or_default();
    let asked = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let xml = |body: String| ([("content-type", "application/xml")], body).into_response();
    let tagged = || [("etag", "\"1\"")];
    if head.method == Method::POST && query.starts_with("uploads") {
        inside.multipart_uploads += 1;
        let upload =
            format!("<InitiateMultipartUploadResult><UploadId>{key}</UploadId></InitiateMultipartUploadResult>");
        return xml(upload);
    }
    if head.method == Method::POST {
        let parts: Vec<u8> =
            inside.parts.iter().filter(|((of, _), _)| *of == key).flat_map(|(_, part)| part.to_vec()).collect();
        inside.parts.retain(|(of, _), _| *of != key);
        inside.objects.insert(key, parts.into());
        return xml("<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>".to_owned());
    }
    if head.method == Method::PUT {
        match asked("partNumber").map(|number| number.parse::<u32>().unwrap()) {
            Some(number) if number == inside.refused_part => return StatusCode::FORBIDDEN.into_response(),
            Some(number) => drop(inside.parts.insert((key, number), body)),
            None => drop(inside.objects.insert(key, body)),
        }
        return tagged().into_response();
    }
    if head.method == Method::DELETE {
        match asked("uploadId") {
            Some(_) => inside.parts.retain(|(of, _), _| *of != key),
            None => drop(inside.objects.remove(&key)),
        }
        return StatusCode::NO_CONTENT.into_response();
    }
    if query.contains("list-type=2") {
        let prefix = asked("prefix").unwrap_or_default().replace("%2F", "/");
        let listed = inside.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(key, object)| {
            let size = object.len();
            format!("<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>2026-11-01T00:00:00.000Z</LastModified></Contents>")
        });
        return xml(format!("<ListBucketResult>{}</ListBucketResult>", listed.collect::<String>()));
    }
    let Some(object) = inside.objects.get(&key).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    give(&head.method, &head.headers, object)
}

/// Of Signature Version 4, by the access key; whether the signature is right is S3's to say.
fn is_signed(headers: &HeaderMap, access_key: &str) -> bool {
    let Some(authorization) = headers.get("authorization").and_then(|value| value.to_str().ok()) else { return false };
    let credential = format!("AWS4-HMAC-SHA256 Credential={access_key}/");
    let signature = authorization.split_once("Signature=").map_or("", |(_, signature)| signature);
    authorization.starts_with(&credential)
        && authorization.contains("/eu-west-1/s3/aws4_request")
        && signature.len() == 64
        && headers.contains_key("x-amz-date")
        && headers.contains_key("x-amz-content-sha256")
}

fn give(method: &Method, headers: &HeaderMap, object: Bytes) -> Response {
    let size = object.len();
    let general = [("etag", "\"1\"".to_owned()), ("last-modified", "Sun, 01 Nov 2026 00:00:00 GMT".to_owned())];
    if method == Method::HEAD {
        return (general, [("content-length", size.to_string())]).into_response();
    }
    let range = headers.get("range").map(|range| range.to_str().unwrap().strip_prefix("bytes=").unwrap().to_owned());
    let Some(range) = range else { return (general, object).into_response() };
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse::<usize>().map_or(size - 1, |to| to.min(size - 1));
    let content_range = [("content-range", format!("bytes {from}-{to}/{size}"))];
    (StatusCode::PARTIAL_CONTENT, general, content_range, object.slice(from..=to)).into_response()
}
