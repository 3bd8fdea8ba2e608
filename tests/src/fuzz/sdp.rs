//! Session descriptions: read, printed, answered, and taken as answers to our own offers.

use std::net::SocketAddr;

use sip_stack::sdp::{
    Capabilities, CryptoSuite, KeyMaterial, LocalSession, SessionDescription, SrtpPolicy, accept_answer, answer, offer,
};

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let Ok(theirs) = SessionDescription::parse(input) else { return };
    let printed = theirs.to_bytes();
    if let Ok(again) = SessionDescription::parse(&printed) {
        assert_eq!(again.to_bytes(), printed, "printed differently the second time");
    }
    for srtp in [None, Some(false), Some(true)] {
        answers_fit(&theirs, session(srtp));
        let mut session = session(srtp);
        let ours = offer(&Capabilities::default(), local(), &mut session);
        assert!(SessionDescription::parse(&ours.to_bytes()).is_ok(), "our own offer is not read");
        let _ = accept_answer(&theirs, &Capabilities::default(), &session);
    }
}

fn local() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 40_000))
}

fn session(srtp_is_required: Option<bool>) -> LocalSession {
    let session = LocalSession::new(1);
    let Some(is_required) = srtp_is_required else { return session };
    let suites = vec![CryptoSuite::AesCm128HmacSha1_80, CryptoSuite::AesCm128HmacSha1_32, CryptoSuite::AeadAes128Gcm];
    let keys = KeyMaterial::generate(|bytes| bytes.fill(7));
    session.with_srtp(SrtpPolicy { keys, suites, is_required, is_offered: true })
}

/// What we answer is a session description with as many media lines (RFC 3264 §6), that the offerer can take.
fn answers_fit(theirs: &SessionDescription, mut session: LocalSession) {
    let Ok((ours, negotiated)) = answer(theirs, &Capabilities::default(), local(), &mut session) else { return };
    let text = ours.to_string();
    let again = SessionDescription::parse(text.as_bytes()).expect("our own answer is read");
    assert_eq!(again.to_string(), text);
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    assert_eq!(lines(&text), lines(&theirs.to_string()), "{text}");
    assert_ne!(negotiated.remote.port(), 0, "sound is sent nowhere");
    assert!((10..=60).contains(&negotiated.ptime_ms), "{} ms in a packet", negotiated.ptime_ms);
}
