//! A web server that answers as a test wants and keeps what it was asked: webhooks and a text message service.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `POST /hook`
    pub line: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    /// What was sent along.
    pub body: String,
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status, and JSON.
    Status(u16, String),
    /// Status 200 and a file of this type.
    File(&'static str, Vec<u8>),
    /// A redirect to there.
    Redirect(String),
    /// Nothing, for that long.
    Hang(Duration),
}

/// Runs to the end of the process.
#[derive(Debug, Clone)]
pub struct WebServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl WebServer {
    /// `answer` is asked for each request, in order.
    ///
    /// # Panics
    /// Without a free port.
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> WebServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &kept, answer.as_ref()));
            }
        });
        WebServer { address, asked }
    }

    /// `http://…`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let asked = Asked { line, headers, body: String::from_utf8(body).unwrap() };
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    const JSON: &str = "application/json";
    let (status, kind, location, body) = match answer(&asked) {
        Answer::Status(status, body) => (status, JSON, String::new(), body.into_bytes()),
        Answer::File(kind, file) => (200, kind, String::new(), file),
        Answer::Redirect(to) => (302, JSON, format!("Location: {to}\r\n"), Vec::new()),
        Answer::Hang(time) => return std::thread::sleep(time),
    };
    let length = body.len();
    // Whoever has gone away is told nothing.
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{location}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    let _ = stream.write_all(&body);
}
