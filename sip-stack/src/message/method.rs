//! Request methods. Names are case-sensitive (RFC 3261 §7.1): `invite` is some other method than `INVITE`.

use std::fmt;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 3261 §17.1.1.3
    Ack,
    /// RFC 3261 §15
    Bye,
    /// RFC 3261 §9
    Cancel,
    /// RFC 6086
    Info,
    /// RFC 3261 §13
    Invite,
    /// RFC 3428
    Message,
    /// RFC 6665
    Notify,
    /// RFC 3261 §11
    Options,
    /// RFC 3262
    Prack,
    /// RFC 3903
    Publish,
    /// RFC 3515
    Refer,
    /// RFC 3261 §10
    Register,
    /// RFC 6665
    Subscribe,
    /// RFC 3311
    Update,
    /// Any other token, kept as it was spelt.
    Other(Box<str>),
}

const KNOWN: [Method; 14] = [
    Method::Ack,
    Method::Bye,
    Method::Cancel,
    Method::Info,
    Method::Invite,
    Method::Message,
    Method::Notify,
    Method::Options,
    Method::Prack,
    Method::Publish,
    Method::Refer,
    Method::Register,
    Method::Subscribe,
    Method::Update,
];

impl Method {
    /// The method with this exact name. The caller has made sure that it is a token.
    pub(crate) fn from_token(token: &str) -> Self {
        KNOWN.into_iter().find(|method| method.as_str() == token).unwrap_or_else(|| Self::Other(token.into()))
    }

    /// The name as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Info => "INFO",
            Self::Invite => "INVITE",
            Self::Message => "MESSAGE",
            Self::Notify => "NOTIFY",
            Self::Options => "OPTIONS",
            Self::Prack => "PRACK",
            Self::Publish => "PUBLISH",
            Self::Refer => "REFER",
            Self::Register => "REGISTER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Update => "UPDATE",
            Self::Other(name) => name,
        }
    }

    /// Is this one of the methods some RFC defines? The others are answered with 501.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_sensitive() {
        assert_eq!(Method::from_token("INVITE"), Method::Invite);
        assert_eq!(Method::from_token("invite"), Method::Other("invite".into()));
        assert!(!Method::from_token("RE%47IST%45R").is_known());
    }

    #[test]
    fn every_known_method_survives_printing() {
        for method in KNOWN {
            assert_eq!(Method::from_token(&method.to_string()), method);
        }
    }
}
