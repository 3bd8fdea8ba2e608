use expect_test::{Expect, expect};

use super::super::{CryptoSuite, KeyMaterial, SrtpPolicy};
use super::*;
use crate::message::{PeerError, StatusCode};

const TWILIO: &str = "v=0\r
o=root 1606293711 1606293711 IN IP4 172.18.169.122\r
s=Twilio Media Gateway\r
c=IN IP4 168.86.137.122\r
t=0 0\r
m=audio 11684 RTP/AVP 0 8 101\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:101 telephone-event/8000\r
a=fmtp:101 0-16\r
a=ptime:20\r
a=maxptime:150\r
a=sendrecv\r
";

fn local() -> SocketAddr {
    "192.0.2.9:40000".parse().unwrap()
}

fn check_answer(offer: &str, expected: Expect) -> Negotiated {
    let mut session = LocalSession::new(7);
    let (description, negotiated) = answer_to(offer, &mut session).unwrap();
    expected.assert_eq(&description.to_string().replace('\r', ""));
    assert_eq!(SessionDescription::parse(&description.to_bytes()).unwrap(), description);
    negotiated
}

fn answer_to(offer: &str, session: &mut LocalSession) -> Result<(SessionDescription, Negotiated), SdpError> {
    answer(&SessionDescription::parse(offer.as_bytes())?, &Capabilities::default(), local(), session)
}

fn audio(rest: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n{rest}")
}

fn negotiated(rest: &str) -> Negotiated {
    answer_to(&audio(rest), &mut LocalSession::new(7)).unwrap().1
}

#[track_caller]
fn check_refused(rest: &str, expected: SdpError, status: StatusCode) {
    let mut session = LocalSession::new(7);
    let error = answer_to(&audio(rest), &mut session).unwrap_err();
    assert_eq!(error, expected);
    assert_eq!(PeerError::from(error).status(), status);
    assert_eq!(session.last(), None, "a refused offer leaves no trace");
}

#[test]
fn twilios_offer_is_answered_with_its_first_codec_and_dtmf() {
    let negotiated = check_answer(
        TWILIO,
        expect![[r#"
            v=0
            o=- 7 1 IN IP4 192.0.2.9
            s=-
            c=IN IP4 192.0.2.9
            t=0 0
            m=audio 40000 RTP/AVP 0 101
            a=rtpmap:0 PCMU/8000
            a=rtpmap:101 telephone-event/8000
            a=fmtp:101 0-16
            a=ptime:20
            a=sendrecv
        "#]],
    );
    assert_eq!(negotiated.remote, "168.86.137.122:11684".parse().unwrap());
    assert_eq!(negotiated.remote_rtcp.port(), 11685);
    assert_eq!(negotiated.codec, CodecSpec::PCMU);
    assert_eq!(negotiated.dtmf_payload_type_send, Some(101));
    assert_eq!((negotiated.ptime_ms, negotiated.direction), (20, Direction::SendRecv));
}

#[test]
fn lines_we_do_not_use_are_answered_with_port_zero_in_their_place() {
    check_answer(
        &audio(
            "m=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC\r\nm=audio 49170 RTP/SAVP 0\r\nm=audio 49172 RTP/AVP 8\r\n\
             m=application 9 UDP/BFCP *\r\n",
        ),
        expect![[r#"
            v=0
            o=- 7 1 IN IP4 192.0.2.9
            s=-
            c=IN IP4 192.0.2.9
            t=0 0
            m=video 0 RTP/AVP 31
            m=audio 0 RTP/SAVP 0
            m=audio 40000 RTP/AVP 8
            a=rtpmap:8 PCMA/8000
            a=ptime:20
            a=sendrecv
            m=application 0 UDP/BFCP *
        "#]],
    );
}

#[test]
fn static_types_need_no_rtpmap_but_an_rtpmap_counts() {
    assert_eq!(negotiated("m=audio 5004 RTP/AVP 8 0\r\n").codec, CodecSpec::PCMA);
    let dynamic = negotiated("m=audio 5004 RTP/AVP 112 0\r\na=rtpmap:112 pcma/8000/1\r\n");
    assert_eq!((dynamic.codec, dynamic.payload_type_send), (CodecSpec::PCMA, 112));
    let renamed = negotiated("m=audio 5004 RTP/AVP 0 8\r\na=rtpmap:0 GSM/8000\r\n");
    assert_eq!(renamed.payload_type_send, 8);
}

#[test]
fn connection_and_direction_of_the_media_line_win_over_those_of_the_session() {
    let found = negotiated("a=sendonly\r\nm=audio 5004 RTP/AVP 0\r\nc=IN IP4 198.51.100.7\r\na=inactive\r\n");
    assert_eq!(found.remote, "198.51.100.7:5004".parse().unwrap());
    assert_eq!(found.direction, Direction::Inactive);
    assert_eq!(negotiated("a=sendonly\r\nm=audio 5004 RTP/AVP 0\r\n").direction, Direction::RecvOnly);
}

#[test]
fn hold_by_direction_or_by_zero_address_stops_our_sending() {
    assert_eq!(negotiated("m=audio 5004 RTP/AVP 0\r\na=sendonly\r\n").direction, Direction::RecvOnly);
    assert_eq!(negotiated("m=audio 5004 RTP/AVP 0\r\na=recvonly\r\n").direction, Direction::SendOnly);
    assert_eq!(negotiated("m=audio 5004 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n").direction, Direction::RecvOnly);
}

#[test]
fn we_hold_by_sending_only() {
    let mut session = LocalSession::new(7);
    session.direction = Direction::SendOnly;
    let (description, negotiated) = answer_to(TWILIO, &mut session).unwrap();
    assert!(description.to_string().contains("a=sendonly"));
    assert_eq!(negotiated.direction, Direction::SendOnly);
}

#[test]
fn the_packet_time_follows_the_peer_within_reason() {
    let ptime_ms = |attributes: &str| negotiated(&format!("m=audio 5004 RTP/AVP 0\r\n{attributes}")).ptime_ms;
    assert_eq!(ptime_ms(""), 20);
    assert_eq!(ptime_ms("a=ptime:30\r\n"), 30);
    assert_eq!(ptime_ms("a=ptime:25\r\n"), 20, "we only send whole multiples of 10 ms");
    assert_eq!(ptime_ms("a=ptime:4000000000\r\n"), 20);
    assert_eq!(ptime_ms("a=maxptime:10\r\n"), 10);
    assert_eq!(ptime_ms("a=ptime:60\r\na=maxptime:45\r\n"), 40);
    assert_eq!(ptime_ms("a=maxptime:0\r\n"), 10);
}

#[test]
fn rtcp_goes_where_the_attribute_says() {
    let rtcp =
        |attributes: &str| negotiated(&format!("m=audio 5004 RTP/AVP 0\r\n{attributes}")).remote_rtcp.to_string();
    assert_eq!(rtcp(""), "192.0.2.5:5005");
    assert_eq!(rtcp("a=rtcp:53020\r\n"), "192.0.2.5:53020");
    assert_eq!(rtcp("a=rtcp:53020 IN IP4 126.16.64.4\r\n"), "126.16.64.4:53020");
    assert_eq!(rtcp("a=rtcp:nonsense\r\n"), "192.0.2.5:5005");
}

/// RFC 5761 §5.1.1: where it is offered it is answered, and only there it is used.
#[test]
fn rtcp_shares_the_port_of_rtp_where_that_is_offered() {
    let mut session = LocalSession::new(1);
    let offer = audio("m=audio 4000 RTP/AVP 0\r\na=rtcp:4009\r\na=rtcp-mux\r\n");
    let (answer, negotiated) = answer_to(&offer, &mut session).unwrap();
    assert!(negotiated.rtcp_mux);
    assert_eq!(negotiated.remote_rtcp, negotiated.remote);
    assert!(answer.to_string().contains("a=rtcp-mux\r\n"), "{answer}");
    // What is agreed is offered again in this session, and may be declined.
    let ours = super::offer(&Capabilities::default(), local(), &mut session);
    assert!(ours.to_string().contains("a=rtcp-mux\r\n"), "{ours}");
    for (theirs, expected) in [("a=rtcp-mux\r\n", true), ("", false)] {
        let answer = audio(&format!("m=audio 4000 RTP/AVP 0\r\n{theirs}"));
        let answer = SessionDescription::parse(answer.as_bytes()).unwrap();
        let negotiated = accept_answer(&answer, &Capabilities::default(), &session).unwrap();
        assert_eq!(negotiated.rtcp_mux, expected);
    }
    // Not in one where it was not.
    let mut session = LocalSession::new(1);
    let ours = super::offer(&Capabilities::default(), local(), &mut session);
    assert!(!ours.to_string().contains("rtcp-mux"), "{ours}");
    let answer = SessionDescription::parse(audio("m=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n").as_bytes()).unwrap();
    assert!(!accept_answer(&answer, &Capabilities::default(), &session).unwrap().rtcp_mux);
}

#[test]
fn events_are_answered_only_in_the_codecs_clock_and_only_if_offered() {
    assert_eq!(negotiated("m=audio 5004 RTP/AVP 0\r\n").dtmf_payload_type_send, None);
    let wideband = "m=audio 5004 RTP/AVP 0 97 98\r\na=rtpmap:97 telephone-event/48000\r\n\
                    a=rtpmap:98 telephone-event/8000\r\na=fmtp:98 0-11\r\n";
    assert_eq!(negotiated(wideband).dtmf_payload_type_send, Some(98));
}

#[test]
fn what_cannot_be_used_is_refused_with_488_and_what_cannot_be_read_with_400() {
    let not_acceptable = StatusCode::NOT_ACCEPTABLE_HERE;
    check_refused("m=audio 5004 RTP/AVP 18\r\n", SdpError::NoCommonCodec, not_acceptable);
    check_refused("m=audio 5004 RTP/AVP 0\r\na=rtpmap:0 PCMU/16000\r\n", SdpError::NoCommonCodec, not_acceptable);
    check_refused("m=audio 5004 RTP/AVP\r\n", SdpError::Malformed, StatusCode::BAD_REQUEST);
    check_refused(
        "m=audio 5004 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        SdpError::NoCommonCodec,
        not_acceptable,
    );
    check_refused("m=audio 0 RTP/AVP 0\r\n", SdpError::NoAudio, not_acceptable);
    check_refused("m=video 5004 RTP/AVP 31\r\n", SdpError::NoAudio, not_acceptable);
    check_refused("", SdpError::NoAudio, not_acceptable);
    check_refused("m=audio 5004 RTP/AVP 0\r\nc=IN IP4 pbx.example.com\r\n", SdpError::Address, not_acceptable);
    check_refused("m=audio 5004 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127\r\n", SdpError::Address, not_acceptable);
    assert_eq!(SessionDescription::parse(b"<audio/>"), Err(SdpError::Malformed));
    assert_eq!(PeerError::from(SdpError::Malformed).status(), StatusCode::BAD_REQUEST);
}

#[test]
fn the_version_rises_with_every_change_and_only_then() {
    let mut session = LocalSession::new(7);
    let version = |session: &mut LocalSession| answer_to(TWILIO, session).unwrap().0.0.origin.sess_version;
    assert_eq!(version(&mut session), 1);
    assert_eq!(version(&mut session), 1);
    session.direction = Direction::Inactive;
    assert_eq!(version(&mut session), 2);
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut session = LocalSession::new(7);
    let capabilities = Capabilities::default();
    let offered = offer(&capabilities, local(), &mut session);
    expect![[r#"
        v=0
        o=- 7 1 IN IP4 192.0.2.9
        s=-
        c=IN IP4 192.0.2.9
        t=0 0
        m=audio 40000 RTP/AVP 0 8 101
        a=rtpmap:0 PCMU/8000
        a=rtpmap:8 PCMA/8000
        a=rtpmap:101 telephone-event/8000
        a=fmtp:101 0-16
        a=ptime:20
        a=sendrecv
    "#]]
    .assert_eq(&offered.to_string().replace('\r', ""));

    let answer = audio("m=audio 5004 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\n");
    let answer = SessionDescription::parse(answer.as_bytes()).unwrap();
    let agreed = accept_answer(&answer, &capabilities, &session).unwrap();
    assert_eq!((agreed.codec, agreed.payload_type_send, agreed.payload_type_receive), (CodecSpec::PCMA, 8, 8));
    assert_eq!((agreed.dtmf_payload_type_send, agreed.dtmf_payload_type_receive), (Some(96), Some(101)));
}

#[test]
fn an_answer_has_to_fit_the_offer() {
    let mut session = LocalSession::new(7);
    let capabilities = Capabilities::default();
    let accept = |session: &LocalSession, rest: &str| {
        accept_answer(&SessionDescription::parse(audio(rest).as_bytes()).unwrap(), &capabilities, session)
    };
    assert_eq!(accept(&session, "m=audio 5004 RTP/AVP 0\r\n"), Err(SdpError::AnswerMismatch), "nothing was offered");
    offer(&capabilities, local(), &mut session);
    assert_eq!(accept(&session, ""), Err(SdpError::AnswerMismatch));
    assert_eq!(accept(&session, "m=audio 0 RTP/AVP 0\r\n"), Err(SdpError::NoAudio));
    assert_eq!(accept(&session, "m=audio 5004 RTP/AVP 3\r\n"), Err(SdpError::NoCommonCodec));
}

#[test]
fn our_later_offer_keeps_the_lines_and_numbers_of_the_session() {
    let mut session = LocalSession::new(7);
    let first = "m=video 3227 RTP/AVP 31\r\nm=audio 5004 RTP/AVP 112 99\r\na=rtpmap:112 PCMA/8000\r\n\
                 a=rtpmap:99 telephone-event/8000\r\n";
    answer_to(&audio(first), &mut session).unwrap();
    let offered = offer(&Capabilities::default(), local(), &mut session).to_string();
    assert!(offered.contains("m=video 0 RTP/AVP 31\r\nm=audio 40000 RTP/AVP 0 112 99\r\n"), "{offered}");
    assert!(offered.contains("o=- 7 2 "), "{offered}");
}

#[test]
fn dynamic_codecs_get_numbers_of_their_own() {
    let mut codecs: Vec<_> = ["L16", "SPEEX"].map(|name| CodecSpec::new(name, 16_000, None)).into();
    codecs.push(CodecSpec { channels: 2, ..CodecSpec::new("opus", 48_000, None) });
    let capabilities = Capabilities { codecs, ..Capabilities::default() };
    let offered = offer(&capabilities, local(), &mut LocalSession::new(7)).to_string();
    assert!(offered.contains("m=audio 40000 RTP/AVP 96 97 98 99 100\r\n"), "{offered}");
    assert!(offered.contains("a=rtpmap:98 opus/48000/2\r\n"), "{offered}");
    for events in ["99 telephone-event/16000", "100 telephone-event/48000"] {
        assert!(offered.contains(&format!("a=rtpmap:{events}\r\n")), "{offered}");
    }
}

/// Whichever codec is chosen, keys can be pressed on its clock.
#[test]
fn events_are_offered_on_each_clock_and_taken_on_that_of_the_codec() {
    let codecs = vec![CodecSpec::OPUS, CodecSpec::G722, CodecSpec::PCMU];
    let capabilities = Capabilities { codecs, ..Capabilities::default() };
    let mut session = LocalSession::new(7);
    let offered = offer(&capabilities, local(), &mut session).to_string();
    assert!(offered.contains("m=audio 40000 RTP/AVP 96 9 0 101 97\r\n"), "{offered}");
    assert!(offered.contains("a=fmtp:96 maxplaybackrate=16000;"), "{offered}");
    for (answer, codec, events) in [
        ("m=audio 5004 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n", CodecSpec::PCMU, Some(101)),
        ("m=audio 5004 RTP/AVP 9\r\na=rtpmap:9 G722/8000\r\n", CodecSpec::G722, None),
        (
            "m=audio 5004 RTP/AVP 96 97\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/48000\r\n",
            CodecSpec::OPUS,
            Some(97),
        ),
    ] {
        let answer = SessionDescription::parse(audio(answer).as_bytes()).unwrap();
        let agreed = accept_answer(&answer, &capabilities, &session).unwrap();
        assert_eq!((agreed.codec, agreed.dtmf_payload_type_receive), (codec, events));
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_negotiation_panic(body in "(v=0\r\n)?([a-z]=[ -~]{0,20}\r\n){0,8}(m=audio [0-9]{1,6} RTP/AVP( [0-9]{1,3}){0,3}\r\n(a=[ -~]{0,20}\r\n){0,4}){0,2}") {
        let mut session = LocalSession::new(7);
        if let Ok(Ok((description, _))) = SessionDescription::parse(body.as_bytes())
            .map(|offer| answer(&offer, &Capabilities::default(), local(), &mut session))
        {
            SessionDescription::parse(&description.to_bytes()).expect("our answer parses");
        }
    }
}

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn secure(is_required: bool) -> LocalSession {
    let suites = vec![CryptoSuite::AesCm128HmacSha1_80, CryptoSuite::AesCm128HmacSha1_32];
    let keys = KeyMaterial::new([[1; 30], [2; 30], [3; 30]]);
    LocalSession::new(7).with_srtp(SrtpPolicy { is_required, is_offered: true, suites, keys })
}

fn secure_audio(crypto: &str) -> String {
    audio(&format!("m=audio 4000 RTP/SAVP 0\r\n{crypto}"))
}

/// As a secure trunk offers it: the peer's first line that we have is answered with its tag and our key.
#[test]
fn a_secure_offer_is_answered_with_our_key() {
    let offer = secure_audio(&format!(
        "a=crypto:1 F8_128_HMAC_SHA1_80 inline:{KEY}\r\na=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^31\r\n\
         a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
    ));
    let (description, negotiated) = answer_to(&offer, &mut secure(true)).unwrap();
    let text = description.to_string();
    assert!(text.contains("m=audio 40000 RTP/SAVP 0\r\n"), "{text}");
    let ours = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";
    assert!(text.contains(&format!("a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{ours}\r\n")), "{text}");
    let keys = negotiated.srtp.unwrap();
    assert_eq!((keys.suite, keys.local.as_bytes()), (CryptoSuite::AesCm128HmacSha1_32, &[2; 30][..]));
    assert_eq!(&keys.remote.as_bytes()[..4], b"YS__");
}

#[test]
fn security_is_all_or_nothing_if_so_configured() {
    let plain = audio("m=audio 4000 RTP/AVP 0\r\n");
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n");
    let refused = |offer: &str, mut session: LocalSession| answer_to(offer, &mut session).unwrap_err();
    assert_eq!(refused(&plain, secure(true)), SdpError::Security);
    assert_eq!(refused(&secure_audio(&crypto), LocalSession::new(7)), SdpError::Security);
    assert_eq!(refused(&secure_audio(""), secure(false)), SdpError::Security);
    assert_eq!(PeerError::from(SdpError::Security).status(), StatusCode::NOT_ACCEPTABLE_HERE);
    assert!(answer_to(&plain, &mut secure(false)).unwrap().1.srtp.is_none());
    let both = format!("{}{}", secure_audio(&crypto), "m=audio 4002 RTP/AVP 0\r\n");
    let (description, _) = answer_to(&both, &mut LocalSession::new(7)).unwrap();
    assert!(description.to_string().contains("m=audio 0 RTP/SAVP"), "the plain line of two is taken");
}

#[test]
fn our_secure_offer_and_its_answer() {
    let mut session = secure(true);
    let capabilities = Capabilities::default();
    let offered = offer(&capabilities, local(), &mut session);
    let (answered, theirs) = answer(&offered, &capabilities, local(), &mut secure(true)).unwrap();
    let ours = accept_answer(&answered, &capabilities, &session).unwrap();
    let (ours, theirs) = (ours.srtp.unwrap(), theirs.srtp.unwrap());
    assert_eq!((ours.suite, &ours.remote, &ours.local), (theirs.suite, &theirs.local, &theirs.remote));
    let plain = answered.to_string().replace("RTP/SAVP", "RTP/AVP");
    let downgraded = SessionDescription::parse(plain.as_bytes()).unwrap();
    assert_eq!(accept_answer(&downgraded, &capabilities, &session), Err(SdpError::Security));
    let other_tag = answered.to_string().replace("crypto:1", "crypto:9");
    let other_tag = SessionDescription::parse(other_tag.as_bytes()).unwrap();
    assert_eq!(accept_answer(&other_tag, &capabilities, &session), Err(SdpError::Security));
}

/// SRTP that is taken but not offered: our offer is plain until the peer has brought SRTP in, and stays secure then.
#[test]
fn what_is_only_taken_is_offered_once_it_is_agreed() {
    let taken = || {
        let mut session = secure(false);
        session.srtp.as_mut().unwrap().is_offered = false;
        session
    };
    let capabilities = Capabilities::default();
    let mut session = taken();
    let plain = offer(&capabilities, local(), &mut session);
    assert!(plain.to_string().contains("RTP/AVP 0") && !plain.to_string().contains("crypto"), "{plain}");
    let (answered, _) = answer(&plain, &capabilities, local(), &mut taken()).unwrap();
    assert!(accept_answer(&answered, &capabilities, &session).unwrap().srtp.is_none());
    let mut session = taken();
    answer_to(&secure_audio(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n")), &mut session).unwrap();
    let again = offer(&capabilities, local(), &mut session);
    assert!(again.to_string().contains("RTP/SAVP"), "{again}");
    let mut plain_again = taken();
    answer_to(&audio("m=audio 4000 RTP/AVP 0\r\n"), &mut plain_again).unwrap();
    assert!(!offer(&capabilities, local(), &mut plain_again).to_string().contains("SAVP"));
}

#[test]
fn what_changes_from_one_description_to_the_next() {
    let mut session = LocalSession::new(7);
    let (_, before) = answer_to(TWILIO, &mut session).unwrap();
    let (_, held) = answer_to(&TWILIO.replace("sendrecv", "inactive"), &mut session).unwrap();
    assert_eq!(held.change_from(&before), MediaChange { direction: true, ..MediaChange::default() });
    assert!(held.is_held() && !before.is_held());
    let (_, moved) = answer_to(&TWILIO.replace("168.86.137.122", "168.86.137.9"), &mut session).unwrap();
    assert_eq!(moved.change_from(&before), MediaChange { address: true, ..MediaChange::default() });
    let (_, other) = answer_to(&TWILIO.replace("AVP 0 8", "AVP 8 0"), &mut session).unwrap();
    assert_eq!(other.change_from(&before), MediaChange { codec: true, ..MediaChange::default() });
}
