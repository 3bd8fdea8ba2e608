//! Which transaction a message belongs to: RFC 3261 §17.1.3 and §17.2.3, with the older rule for peers of RFC 2543,
//! whose branch lacks the magic cookie.

use crate::message::{Method, ParseError, Request, Response};

/// What names a server transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerKey {
    sender: Sender,
    /// That of the request; an ACK belongs to its INVITE.
    method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Sender {
    Rfc3261 { branch: String, sent_by: String },
    // The To tag is left out: only an ACK differs in it, and that one is meant to match.
    Rfc2543 { uri: String, via: String, from_tag: Option<String>, call_id: String, cseq: u32 },
}

impl ServerKey {
    /// The key of a request as it came, before anything is noted in its Via.
    ///
    /// # Errors
    /// A header that names it cannot be read, so no transaction can be made for it.
    pub(crate) fn of(request: &Request) -> Result<Self, ParseError> {
        let via = request.headers.via()?;
        let sender = match via.rfc3261_branch() {
            Some(branch) => {
                Sender::Rfc3261 { branch: branch.to_owned(), sent_by: via.sent_by.to_string().to_ascii_lowercase() }
            }
            None => Sender::Rfc2543 {
                uri: request.uri.to_string(),
                via: via.to_string(),
                from_tag: request.headers.from()?.tag().map(str::to_owned),
                call_id: request.headers.call_id()?,
                cseq: request.headers.cseq()?.number,
            },
        };
        let method = if request.method == Method::Ack { &Method::Invite } else { &request.method };
        Ok(Self { sender, method: method.as_str().to_owned() })
    }

    /// The INVITE that a CANCEL with this key wants to end (RFC 3261 §9.2).
    pub(crate) fn of_cancelled(&self) -> Self {
        Self { sender: self.sender.clone(), method: Method::Invite.as_str().to_owned() }
    }
}

/// What names a client transaction. The branch is ours and random, so nothing else is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientKey {
    branch: String,
    method: String,
}

impl ClientKey {
    pub(crate) fn new(branch: &str, method: &Method) -> Self {
        Self { branch: branch.to_owned(), method: method.as_str().to_owned() }
    }

    /// The key of the request that a response answers; `None` if it cannot be one of ours.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        let via = response.headers.via().ok()?;
        let method = response.headers.cseq().ok()?.method;
        Some(Self::new(via.rfc3261_branch()?, &method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Limits, Message};

    fn key(method: &str, via: &str, to: &str) -> ServerKey {
        let text = format!(
            "{method} sip:100@gw SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:100@gw>{to}\r\n\
             Call-ID: c\r\nCSeq: 7 {method}\r\n\r\n"
        );
        match Message::parse(text.as_bytes(), &Limits::default()).unwrap() {
            Message::Request(request) => ServerKey::of(&request).unwrap(),
            Message::Response(_) => unreachable!("it starts with a method"),
        }
    }

    #[test]
    fn branch_sent_by_and_method_name_a_transaction() {
        let via = "SIP/2.0/UDP a:5060;branch=z9hG4bKx";
        let invite = key("INVITE", via, "");
        assert_eq!(invite, key("INVITE", "SIP/2.0/UDP A:5060;rport;branch=z9hG4bKx", ""), "nothing else does");
        assert_eq!(invite, key("ACK", via, ";tag=ours"), "the ACK of a rejection");
        assert_ne!(invite, key("ACK", "SIP/2.0/UDP a:5060;branch=z9hG4bKy", ";tag=ours"), "the ACK of a 2xx");
        assert_ne!(invite, key("INVITE", "SIP/2.0/UDP a:5061;branch=z9hG4bKx", ""), "loops and forgeries");
        assert_ne!(invite, key("CANCEL", via, ""));
        assert_eq!(invite, key("CANCEL", via, "").of_cancelled());
    }

    #[test]
    fn without_the_cookie_the_headers_name_it() {
        let via = "SIP/2.0/UDP a:5060;branch=1";
        let invite = key("INVITE", via, "");
        assert_eq!(invite, key("INVITE", via, ""));
        assert_eq!(invite, key("ACK", via, ";tag=ours"));
        assert_eq!(invite, key("CANCEL", via, "").of_cancelled());
        assert_ne!(invite, key("INVITE", "SIP/2.0/UDP b:5060;branch=1", ""));
        assert_ne!(invite, key("BYE", via, ""));
        assert_ne!(invite, key("INVITE", "SIP/2.0/UDP a:5060;branch=z9hG4bK1", ""));
    }
}
