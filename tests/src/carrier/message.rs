//! SIP messages as text: what it takes to write the carrier's and to judge the box's (RFC 3261 §7). It shares nothing with
//! `sip-stack`, so that a mistake there does not excuse itself here.
//!
//! Left out on purpose: folded lines and escapes, which neither side has a reason to send.

/// A request or a response.
#[derive(Debug, Clone)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// Names in full and values, in their order.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

/// RFC 3261 §7.3.3.
const COMPACT: [(&str, &str); 9] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("k", "Supported"),
    ("s", "Subject"),
];

impl Message {
    /// Reads a datagram; what is wrong with it otherwise.
    pub(super) fn parse(datagram: &[u8]) -> Result<Message, String> {
        let text = std::str::from_utf8(datagram).map_err(|_| "a message that is not UTF-8".to_owned())?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("a message without an empty line")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("a header without a colon: {line:?}"))?;
            headers.push((full_name(name.trim()), value.trim().to_owned()));
        }
        let message = Message { start, headers, body: body.to_owned() };
        match message.header("Content-Length").parse::<usize>() {
            Ok(length) if body.len() == length => Ok(message),
            _ => Err(format!("Content-Length does not fit: {}\n{head}", message.header("Content-Length"))),
        }
    }

    /// The method, if it is a request.
    pub fn method(&self) -> Option<&str> {
        (!self.start.starts_with("SIP/2.0 ")).then(|| self.start.split(' ').next().unwrap_or_default())
    }

    /// The status, if it is a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The Request-URI; nothing of a response.
    pub fn uri(&self) -> &str {
        self.method().and_then(|_| self.start.split(' ').nth(1)).unwrap_or_default()
    }

    /// The values of all headers of that name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the first header of that name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }

    /// The elements of all headers of that name, which may stand in several or in one with commas (RFC 3261 §7.3.1).
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name).into_iter().flat_map(split_list).collect()
    }

    /// Number and method of the CSeq; 0 and nothing if there is none.
    pub fn cseq(&self) -> (u32, &str) {
        let (number, method) = self.header("CSeq").split_once(' ').unwrap_or_default();
        (number.parse().unwrap_or_default(), method.trim())
    }

    /// Whether it is the response to the request with that branch and method.
    pub(super) fn answers(&self, branch: &str, method: &str) -> bool {
        self.status().is_some() && self.branch() == Some(branch) && self.cseq().1 == method
    }

    /// The branch of the topmost Via.
    pub(super) fn branch(&self) -> Option<&str> {
        parameter(self.all("Via").first()?, "branch")
    }
}

fn full_name(name: &str) -> String {
    let found = COMPACT.iter().find(|(compact, _)| name.eq_ignore_ascii_case(compact));
    found.map_or(name, |(_, full)| full).to_owned()
}

/// At commas that stand neither in quotes nor in angle brackets.
fn split_list(value: &str) -> Vec<String> {
    let (mut parts, mut quoted, mut bracketed) = (vec![String::new()], false, false);
    for character in value.chars() {
        match character {
            '"' => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            _ => {}
        }
        match parts.last_mut() {
            Some(part) if character != ',' || quoted || bracketed => part.push(character),
            Some(_) | None => parts.push(String::new()),
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// A parameter of a header's value, such as the tag of From.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let after_uri = value.rsplit_once('>').map_or(value, |(_, parameters)| parameters);
    after_uri.split(';').find_map(|parameter| parameter.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The URI of a header with a name and address.
pub fn uri_in(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// The user of a URI; empty if it has none.
pub fn user_in(uri: &str) -> &str {
    uri.split_once('@').map_or("", |(user, _)| user.trim_start_matches("sip:"))
}

/// Host and port of a URI, without parameters.
pub fn host_in(uri: &str) -> &str {
    let host = uri.split_once('@').map_or(uri.trim_start_matches("sip:"), |(_, host)| host);
    host.split([';', '?']).next().unwrap_or_default()
}

/// Emergency numbers are taken as they are dialled.
pub(super) fn is_emergency(number: &str) -> bool {
    ["911", "933", "112"].contains(&number)
}

/// Whether a number is in E.164 with its +, as the carrier wants it.
pub(super) fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_lists_and_addresses_are_read() {
        let text =
            b"BYE sip:+1@172.25.0.1:5060;transport=udp SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n\
            Route: <sip:192.0.2.9;lr;r2=on>, \"a, b\" <sip:172.25.0.9;lr>\r\nRoute: <sip:192.0.2.8>\r\n\
            f: \"x\" <sip:office@192.0.2.1:5070;a=b>;tag=77\r\nCSeq: 3 BYE\r\nl: 0\r\n\r\n";
        let message = Message::parse(text).unwrap();
        assert_eq!(
            message.list("Route"),
            ["<sip:192.0.2.9;lr;r2=on>", "\"a, b\" <sip:172.25.0.9;lr>", "<sip:192.0.2.8>"]
        );
        assert_eq!((message.cseq(), message.branch()), ((3, "BYE"), Some("z9hG4bK1")));
        let from = message.header("From");
        assert_eq!((parameter(from, "tag"), user_in(uri_in(from))), (Some("77"), "office"));
        assert_eq!((host_in(uri_in(from)), host_in(message.uri())), ("192.0.2.1:5070", "172.25.0.1:5060"));
        assert!(Message::parse(b"BYE sip:a SIP/2.0\r\nContent-Length: 9\r\n\r\n").is_err());
    }

    #[test]
    fn only_e164_is_a_number() {
        assert!(is_e164("+12125550142"));
        for wrong in ["2125550142", "+02125550142", "+1212555014x", "office", ""] {
            assert!(!is_e164(wrong), "{wrong}");
        }
    }
}
