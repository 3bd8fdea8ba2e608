//! An endpoint like OpenAI's, on loopback: it streams, stalls, breaks off and refuses as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// What it does with a question.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Says these pieces and ends as it should.
    Say(Vec<&'static str>),
    /// Says them, and then nothing more; the connection stays.
    Stall(Vec<&'static str>),
    /// Says them, and the connection breaks.
    Break(Vec<&'static str>),
    /// Answers with this status.
    Refuse(u16),
    /// Sends something else than events.
    Babble,
}

/// The endpoint; what is connected is left to itself when it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    deed: Arc<Mutex<Deed>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A question as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The body.
    pub body: Value,
    /// The header of that name.
    pub authorization: Option<String>,
}

impl Endpoint {
    /// Serves from now on.
    ///
    /// # Panics
    /// When this machine has no free port.
    pub fn start(deed: Deed) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (deed, asked) = (Arc::new(Mutex::new(deed)), Arc::new(Mutex::new(Vec::new())));
        let endpoint = Endpoint { address, deed: Arc::clone(&deed), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            // Those that stall: closed when everything is over.
            let mut kept = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let deed = deed.lock().unwrap_or_else(PoisonError::into_inner).clone();
                kept.extend(serve(stream, &deed, &asked));
            }
        });
        endpoint
    }

    /// What `language_model.url` is.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Does this from now on.
    pub fn change(&self, deed: Deed) {
        *self.deed.lock().unwrap_or_else(PoisonError::into_inner) = deed;
    }

    /// The questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one question; the connection if it is to stay. Whoever has gone away is not written to any more.
fn serve(mut stream: TcpStream, deed: &Deed, asked: &Mutex<Vec<Asked>>) -> Option<TcpStream> {
    let asking = read(&stream)?;
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(asking);
    let (pieces, ends) = match deed {
        Deed::Say(pieces) => (pieces, true),
        Deed::Stall(pieces) | Deed::Break(pieces) => (pieces, false),
        Deed::Refuse(status) => {
            let body = r#"{"error":{"message":"no"}}"#;
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                .ok()?;
            return None;
        }
        Deed::Babble => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: <html>\n\n").ok()?;
            return None;
        }
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    for piece in pieces {
        send(
            &mut stream,
            &json!({ "choices": [{ "delta": { "content": piece }, "finish_reason": null }] }).to_string(),
        )?;
    }
    if ends {
        send(&mut stream, &json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }).to_string())?;
        send(&mut stream, "[DONE]")?;
        stream.write_all(b"0\r\n\r\n").ok()?;
    }
    matches!(deed, Deed::Stall(_)).then_some(stream)
}

fn send(stream: &mut TcpStream, data: &str) -> Option<()> {
    let event = format!("data: {data}\n\n");
    write!(stream, "{:x}\r\n{event}\r\n", event.len()).ok()
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => authorization = Some(value.to_owned()),
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { body: serde_json::from_slice(&body).ok()?, authorization })
}
