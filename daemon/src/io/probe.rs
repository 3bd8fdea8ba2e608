//! Asking a SIP listener whether it is there: one OPTIONS over UDP (RFC 3261 §11), with a bound.
//!
//! A real exchange from a socket of its own, so it also tells about a box that runs as another process.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sip_stack::message::{
    CSeq, HeaderName, Limits, Message, Method, NameAddr, Request, SipUri, StatusCode, Transport, Via,
};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// RFC 3261 §17.1.2.1: a request over UDP is repeated after T1, doubling up to T2.
const T1: Duration = Duration::from_millis(500);
/// As above.
const T2: Duration = Duration::from_secs(4);
/// Larger responses are no answer to an OPTIONS.
const RESPONSE_LIMIT_BYTES: usize = 8_192;

/// Nobody said what we could understand.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not a word.
    #[error("nothing at {peer} answered OPTIONS within {seconds} s")]
    Silent {
        /// Who was asked.
        peer: SocketAddr,
        /// For how long.
        seconds: u64,
    },
    /// Nobody is bound there, or the network says no.
    #[error("OPTIONS to {peer} failed: {source}")]
    Io {
        /// Who was asked.
        peer: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
}

/// Sends OPTIONS to `peer` until a final response comes, for at most `limit`. Returns its status.
///
/// # Errors
/// [`ProbeError`].
pub async fn options(peer: SocketAddr, limit: Duration) -> Result<StatusCode, ProbeError> {
    let failed = |source| ProbeError::Io { peer, source };
    let unspecified: IpAddr = if peer.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((unspecified, 0)).await.map_err(failed)?;
    socket.connect(peer).await.map_err(failed)?;
    let branch = format!("z9hG4bK{:016x}", rand::random::<u64>());
    let request = request(peer, socket.local_addr().map_err(failed)?, &branch).to_bytes();
    let deadline = Instant::now() + limit;
    let mut repeat_after = T1;
    loop {
        socket.send(&request).await.map_err(failed)?;
        let until = deadline.min(Instant::now() + repeat_after);
        if let Ok(status) = timeout_at(until, final_status(&socket, &branch)).await {
            return status.map_err(failed);
        }
        if Instant::now() >= deadline {
            return Err(ProbeError::Silent { peer, seconds: limit.as_secs() });
        }
        repeat_after = (repeat_after * 2).min(T2);
    }
}

fn request(peer: SocketAddr, local: SocketAddr, branch: &str) -> Request {
    let mut request = Request::new(Method::Options, SipUri::new(peer));
    let headers = &mut request.headers;
    headers.push(HeaderName::VIA, Via::new(Transport::Udp, local, branch));
    headers.push(HeaderName::MAX_FORWARDS, 70);
    let from = NameAddr::new(SipUri::new(local).with_user("health")).with_tag(&branch[7..]);
    headers.push(HeaderName::FROM, from);
    headers.push(HeaderName::TO, NameAddr::new(SipUri::new(peer)));
    headers.push(HeaderName::CALL_ID, format!("{}@{}", &branch[7..], local.ip()));
    headers.push(HeaderName::CSEQ, CSeq { number: 1, method: Method::Options });
    request
}

/// The first final response to our request; anything else that arrives is ignored.
async fn final_status(socket: &UdpSocket, branch: &str) -> io::Result<StatusCode> {
    let mut buffer = vec![0; RESPONSE_LIMIT_BYTES];
    loop {
        let count = socket.recv(&mut buffer).await?;
        let Ok(Message::Response(response)) = Message::parse(&buffer[..count], &Limits::default()) else { continue };
        let ours = response.headers.via().is_ok_and(|via| via.branch() == Some(branch));
        if ours && response.status.as_u16() >= 200 {
            return Ok(response.status);
        }
    }
}

#[cfg(test)]
mod tests {
    use sip_stack::message::Response;

    use super::*;

    /// Answers each datagram with these: bytes as they are, or a response made from the request.
    async fn answer(server: UdpSocket, replies: Vec<fn(&Request) -> Vec<u8>>) {
        let mut buffer = vec![0; 8_192];
        for reply in replies {
            let (count, from) = server.recv_from(&mut buffer).await.unwrap();
            let Ok(Message::Request(request)) = Message::parse(&buffer[..count], &Limits::default()) else {
                panic!("not a request")
            };
            request.check().unwrap();
            server.send_to(&reply(&request), from).await.unwrap();
        }
    }

    fn respond(request: &Request, status: u16) -> Vec<u8> {
        Response::to(request, StatusCode::new(status).unwrap(), Some("tag")).to_bytes()
    }

    #[tokio::test]
    async fn the_final_response_counts_whatever_comes_before_it() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer = server.local_addr().unwrap();
        let replies: Vec<fn(&Request) -> Vec<u8>> =
            vec![|_| b"nonsense".to_vec(), |request| respond(request, 100), |request| respond(request, 503)];
        let (status, ()) = tokio::join!(options(peer, Duration::from_secs(20)), answer(server, replies));
        assert_eq!(status.unwrap().as_u16(), 503);
    }

    #[tokio::test]
    async fn a_response_to_somebody_elses_request_is_no_answer() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer = server.local_addr().unwrap();
        let replies: Vec<fn(&Request) -> Vec<u8>> = vec![|request| {
            let text = String::from_utf8(respond(request, 200)).unwrap();
            text.replace("z9hG4bK", "z9hG4bKx").into_bytes()
        }];
        let (status, ()) = tokio::join!(options(peer, Duration::from_millis(300)), answer(server, replies));
        assert!(matches!(status, Err(ProbeError::Silent { .. })), "{status:?}");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_told_at_once() {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = options(gone, Duration::from_secs(20)).await.unwrap_err();
        assert!(matches!(error, ProbeError::Io { .. }), "{error}");
    }
}
