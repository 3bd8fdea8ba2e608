//! Session descriptions as the carrier gives and reads them (RFC 4566): G.711 and digits, in the clear or, on a secure
//! trunk, with one key each way (SDES, RFC 4568).

use std::net::SocketAddr;

use audio::rtp::srtp::{MasterKey, Profile};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What the carrier takes from a description of the box.
#[derive(Debug)]
pub(super) struct Description {
    /// Where its sound is sent (RFC 4566 §5.7, §5.14).
    pub(super) address: SocketAddr,
    /// The tag of the key (RFC 4568 §4.1), and with what the box protects what it sends.
    pub(super) key: Option<(String, MasterKey)>,
}

impl Description {
    /// Reads it; what is wrong if it is not sound that the carrier can have, protected by `suite` if there is one.
    pub(super) fn read(sdp: &str, suite: Option<Profile>) -> Result<Description, String> {
        let line = |start: &str| sdp.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
        let fail = |what: &str| format!("{what} in a description:\n{sdp}");
        let host = line("c=IN IP4 ").ok_or_else(|| fail("no address"))?;
        let media: Vec<&str> = line("m=audio ").ok_or_else(|| fail("no sound"))?.split(' ').collect();
        let [port, protocol, formats @ ..] = &media[..] else { return Err(fail("half a line of sound")) };
        if *protocol != if suite.is_some() { "RTP/SAVP" } else { "RTP/AVP" } {
            return Err(fail("the wrong kind of RTP"));
        }
        if !formats.contains(&"0") {
            return Err(fail("no PCMU"));
        }
        let address = format!("{host}:{port}").parse().map_err(|_| fail("no address and port"))?;
        let key = suite.map(|suite| key_in(sdp, suite).ok_or_else(|| fail("no key that we can use"))).transpose()?;
        Ok(Description { address, key })
    }
}

/// The key for `suite`, without lifetime and MKI: the carrier has neither.
fn key_in(sdp: &str, suite: Profile) -> Option<(String, MasterKey)> {
    let keys = sdp.lines().filter_map(|line| line.trim().strip_prefix("a=crypto:"));
    let mut of_suite = keys.filter_map(|key| {
        let [tag, name, inline] = key.split(' ').collect::<Vec<_>>()[..] else { return None };
        (name == suite.name()).then_some((tag, inline.strip_prefix("inline:")?))
    });
    let (tag, inline) = of_suite.next()?;
    let key = MasterKey::from_inline(suite, &STANDARD.decode(inline).ok()?).ok()?;
    Some((tag.to_owned(), key))
}

/// The description the carrier gives; `key` is the tag and the key that protects what it sends.
pub(super) fn sdp(sound: SocketAddr, key: Option<(&str, &MasterKey)>) -> String {
    let (host, port) = (sound.ip(), sound.port());
    let protocol = if key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let crypto = key.map_or_else(String::new, |(tag, key)| {
        format!("a=crypto:{tag} {} inline:{}\r\n", key.profile().name(), STANDARD.encode(key.as_inline()))
    });
    format!(
        "v=0\r\no=root 1702 1702 IN IP4 {host}\r\ns=Twilio Media Gateway\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} {protocol} 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n{crypto}a=ptime:20\r\na=maxptime:20\r\n\
         a=sendrecv\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: Profile = Profile::AesCm128HmacSha1_80;

    #[test]
    fn a_description_with_a_key_is_read_as_it_was_written() {
        let here = SocketAddr::from(([127, 0, 1, 2], 4_000));
        let key = MasterKey::generate(SUITE, |bytes| bytes.fill(7));
        let written = sdp(here, Some(("3", &key)));
        let read = Description::read(&written, Some(SUITE)).unwrap();
        assert_eq!((read.address, read.key), (here, Some(("3".to_owned(), key))));
        assert!(Description::read(&sdp(here, None), None).unwrap().key.is_none());
    }

    #[test]
    fn secure_trunking_is_all_or_nothing() {
        let here = SocketAddr::from(([127, 0, 1, 2], 4_000));
        let key = MasterKey::generate(SUITE, |bytes| bytes.fill(7));
        let secure = sdp(here, Some(("1", &key)));
        for (sdp, suite) in [
            (sdp(here, None), Some(SUITE)),
            (secure.clone(), None),
            (secure.clone(), Some(Profile::AesCm128HmacSha1_32)),
            (secure.replace("inline:", "inline:x"), Some(SUITE)),
            (secure.replace("a=crypto", "a=other"), Some(SUITE)),
        ] {
            assert!(Description::read(&sdp, suite).is_err(), "{sdp}");
        }
    }
}
