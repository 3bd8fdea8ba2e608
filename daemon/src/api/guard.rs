//! Turns away what a web page in a browser of this machine could send.
//!
//! A page of anybody's may open a WebSocket to any address, and one whose name is made to mean 127.0.0.1 (DNS rebinding)
//! may read answers as well. The first is known by its `Origin`, which programs do not send (RFC 6455 §4.1); the second by
//! its `Host`, which names the page's own server.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::warn;

use super::problem::Problem;

/// Lets through what no web page has sent; what is answered is not to be kept by anybody.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter().peekable();
    let refusal = if headers.contains_key(ORIGIN) {
        Some("requests of web pages (with an Origin) are not answered")
    } else if hosts.peek().is_none() || !hosts.all(is_loopback) {
        Some("the Host has to be localhost or a loopback address")
    } else {
        None
    };
    let mut response = match refusal {
        Some(detail) => {
            warn!(detail, "Request to the HTTP interface refused");
            Problem::new(StatusCode::FORBIDDEN, detail).into_response()
        }
        None => next.run(request).await,
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_loopback(host: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for (host, expected) in [
            ("127.0.0.1:8060", true),
            ("localhost", true),
            ("LocalHost:8060", true),
            ("[::1]:8060", true),
            ("127.8.0.1", true),
            ("offhook.example", false),
            ("127.0.0.1.example:8060", false),
            ("localhost.example", false),
            ("192.168.1.2:8060", false),
            ("0.0.0.0:8060", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(&HeaderValue::from_static(host)), expected, "{host}");
        }
    }
}
