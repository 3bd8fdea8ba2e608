//! The session descriptions of a run: one audio stream, as short as the grammar allows.

fn session(formats: &str, direction: &str) -> Vec<u8> {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP {formats}\r\n\
         a=ptime:20\r\na={direction}\r\n"
    )
    .into_bytes()
}

/// PCMA and PCMU, both ways.
pub fn offer() -> Vec<u8> {
    session("8 0", "sendrecv")
}

/// The same on hold.
pub fn hold() -> Vec<u8> {
    session("8 0", "sendonly")
}

/// PCMA.
pub fn answer() -> Vec<u8> {
    session("8", "sendrecv")
}

/// PCMA in the direction that the offer asks for; our own offer if there is none.
pub fn answer_to(offer_received: Option<&[u8]>) -> Vec<u8> {
    match offer_received {
        Some(received) if String::from_utf8_lossy(received).contains("a=sendonly") => session("8", "recvonly"),
        Some(_) => answer(),
        None => offer(),
    }
}
