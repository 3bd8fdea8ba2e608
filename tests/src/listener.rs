//! Another program of the box's machine: asks its HTTP interface, and hears calls by WebSocket.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

use crate::web_client::request;

/// How long something may take that the box does at once.
const LIMIT: Duration = Duration::from_secs(20);

/// What a request came to.
#[derive(Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// Its media type.
    pub media_type: String,
    /// What came with it.
    pub body: Value,
}

/// `GET path`, with these headers.
///
/// # Panics
/// When nobody answers, or not in JSON.
pub fn get(box_address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let reply = request(box_address, &format!("GET {path}"), headers, "");
    let media_type = reply.header("content-type").unwrap_or_default().to_owned();
    let body = serde_json::from_str(reply.text()).unwrap_or_else(|error| panic!("{error}: {}", reply.text()));
    Answer { status: reply.status, media_type, body }
}

/// Waits until one call of that kind is up; its id.
///
/// # Panics
/// When there is none soon.
pub fn wait_for_call(box_address: SocketAddr, kind: &str) -> String {
    let found = || {
        let answer = get(box_address, "/v1/calls", &[("Host", "localhost")]);
        let calls = answer.body["calls"].as_array().unwrap();
        let call = calls.iter().find(|call| call["kind"] == kind)?;
        Some(call["id"].as_str().unwrap().to_owned())
    };
    crate::poll(LIMIT, found).unwrap_or_else(|| panic!("no call with {kind}"))
}

/// Somebody who hears a call.
#[derive(Debug)]
pub struct Listener {
    socket: WebSocket<TcpStream>,
    /// What the box said first.
    pub format: Value,
    /// Frames that the box says it has dropped.
    pub dropped: u64,
    /// What was said, in words, as the box tells it.
    pub words: Vec<Value>,
    /// Samples, by channel.
    pub heard: Vec<Vec<i16>>,
}

impl Listener {
    /// Hears the call `id`.
    ///
    /// # Panics
    /// When the box refuses.
    pub fn open(box_address: SocketAddr, id: &str, side: &str) -> Listener {
        Listener::with_room(box_address, id, side, None).unwrap_or_else(|status| panic!("refused with {status}"))
    }

    /// The same, with `room_bytes` for what was not read yet; or the status of a refusal.
    ///
    /// # Errors
    /// The box refuses.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn with_room(
        box_address: SocketAddr,
        id: &str,
        side: &str,
        room_bytes: Option<usize>,
    ) -> Result<Listener, u16> {
        let socket = Socket::new(Domain::for_address(box_address), Type::STREAM, None).unwrap();
        if let Some(bytes) = room_bytes {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        socket.connect(&box_address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let url = format!("ws://{box_address}/v1/calls/{id}/listen?side={side}");
        match tungstenite::client(url.into_client_request().unwrap(), stream) {
            Ok((mut socket, _)) => {
                let Message::Text(first) = socket.read().unwrap() else { panic!("no format at the beginning") };
                let format: Value = serde_json::from_str(&first).unwrap();
                let heard = vec![Vec::new(); usize::try_from(format["channels"].as_u64().unwrap()).unwrap()];
                Ok(Listener { socket, format, dropped: 0, words: Vec::new(), heard })
            }
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Hears for so long.
    ///
    /// # Panics
    /// When the call is over before.
    pub fn hear(&mut self, duration: Duration) {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            assert!(self.take().is_none(), "the call is over");
        }
    }

    /// Hears until the box closes; with what it says then.
    ///
    /// # Panics
    /// When it does not say why.
    pub fn hear_all(&mut self) -> CloseFrame {
        loop {
            if let Some(why) = self.take() {
                return why;
            }
        }
    }

    fn take(&mut self) -> Option<CloseFrame> {
        match self.socket.read().unwrap() {
            Message::Binary(bytes) => {
                let channels = self.heard.len();
                assert_eq!(bytes.len(), 320 * channels, "20 ms of each channel");
                for (index, pair) in bytes.chunks_exact(2).enumerate() {
                    self.heard[index % channels].push(i16::from_le_bytes([pair[0], pair[1]]));
                }
            }
            Message::Text(text) => {
                let told: Value = serde_json::from_str(&text).unwrap();
                match told["dropped"].as_u64() {
                    Some(frames) => self.dropped += frames,
                    None => self.words.push(told),
                }
            }
            Message::Close(why) => return Some(why.expect("a reason")),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        None
    }
}
