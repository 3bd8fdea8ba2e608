use std::time::Instant;

use super::algorithm::Inputs;
use super::*;
use crate::message::{Limits, Message, Request, Response};
use crate::transaction::trace::{ms, start};

fn inputs<'a>(algorithm: &str, nonce: &'a str, method: &'a str, uri: &'a str, cnonce: &'a str) -> Inputs<'a> {
    let algorithm = Algorithm::from_name(algorithm).unwrap();
    Inputs { algorithm, nonce, method, uri, auth: Some((1, cnonce)), cnonce }
}

/// RFC 7616 §3.9.1.
#[test]
fn the_vectors_of_rfc_7616() {
    let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let table = [
        ("MD5", Hash::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", Hash::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ];
    for (name, hash, expected) in table {
        let ha1 = Ha1::new(hash, "Mufasa", "http-auth@example.org", "Circle of Life");
        assert_eq!(ha1.response(&inputs(name, nonce, "GET", "/dir/index.html", cnonce)), expected, "{name}");
    }
}

/// RFC 2617 §3.5, and by the rule of RFC 2069 without qop; the others computed with another implementation.
#[test]
fn the_vector_of_rfc_2617_and_its_variants() {
    let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
    let ha1 = Ha1::new(Hash::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
    let with_qop = inputs("MD5", nonce, "GET", "/dir/index.html", "0a4f113b");
    assert_eq!(ha1.response(&with_qop), "6629fae49393a05397450978507c4ef1");
    assert_eq!(ha1.response(&Inputs { auth: None, ..with_qop }), "670fd8c2df070c60b045671b8b24ff02");
    let bob = Ha1::new(Hash::Md5, "bob", "biloxi.com", "zanzibar");
    assert_eq!(bob.as_hex(), "12af60467a33e8518da5c68bbff12b11");
    let session = inputs("MD5-sess", "n1", "INVITE", "sip:bob@biloxi.com", "c1");
    let second = Inputs { auth: Some((2, "c1")), ..session };
    assert_eq!(bob.response(&second), "b7c45de19d78d4a030a6d5aee89fc4e6");
}

#[test]
fn secrets_are_not_printed() {
    let ha1 = Ha1::new(Hash::Md5, "bob", "biloxi.com", "zanzibar");
    let credentials = Credentials::new("bob", "zanzibar");
    let text = format!("{ha1:?} {credentials:?} {:?}", Authenticator::new(vec![credentials.clone()]));
    assert!(!text.contains("zanzibar") && !text.contains("12af60467a") && !text.contains("bob"), "{text}");
    assert_eq!(Ha1::from_hex(Hash::Md5, ha1.as_hex()), Some(ha1.clone()));
    assert_eq!(Ha1::from_hex(Hash::Sha256, ha1.as_hex()), None);
}

fn request(method: &str) -> Request {
    let text = format!(
        "{method} sip:100@gw;transport=udp SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:100@gw>\r\nCall-ID: c\r\nCSeq: 7 {method}\r\n\r\n"
    );
    match Message::parse(text.as_bytes(), &Limits::default()).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!("it starts with a method"),
    }
}

fn challenged(status: StatusCode, challenges: &[&str]) -> Response {
    let mut response = Response::to(&request("INVITE"), status, Some("t"));
    let name = Asker::of(status).unwrap().challenge_header();
    challenges.iter().for_each(|challenge| response.headers.push(name.clone(), challenge));
    response
}

fn authenticator() -> Authenticator {
    Authenticator::new(vec![Credentials::new("bob", "zanzibar")])
}

/// What is sent after these challenges, or why nothing is.
fn answer(challenges: &[&str]) -> Result<Vec<Authorization>, ChallengeRefusal> {
    let mut authenticator = authenticator();
    authenticator.handle_challenge(&challenged(StatusCode::UNAUTHORIZED, challenges), &mut Attempts::default())?;
    let mut request = request("INVITE");
    authenticator.authorize(&mut request, || "mine".to_owned());
    Ok(answers(&request, Asker::Server, &["r", "s"]))
}

fn answers(request: &Request, asker: Asker, realms: &[&str]) -> Vec<Authorization> {
    let find = |realm: &&str| Authorization::find(&request.headers, &asker.answer_header(), realm).unwrap();
    realms.iter().filter_map(find).collect()
}

#[test]
fn the_strongest_challenge_that_we_know_is_answered() {
    let md5 = r#"Digest realm="r", nonce="m", algorithm=MD5, qop="auth,auth-int""#;
    let sha = r#"Digest realm="r", nonce="s", algorithm=SHA-256, qop="auth", opaque="o""#;
    let odd = r#"Digest realm="r", nonce="x", algorithm=SHA-3, qop="auth""#;
    let sent = answer(&[odd, md5, sha]).unwrap();
    assert_eq!(sent.len(), 1, "one for each realm");
    assert_eq!((sent[0].nonce.as_str(), sent[0].opaque.as_deref(), sent[0].nonce_count), ("s", Some("o"), Some(1)));
    assert_eq!(answer(&["Basic realm=\"r\"", md5]).unwrap()[0].nonce, "m", "other schemes are passed over");
    let other = r#"Digest realm="s", nonce="other""#;
    assert_eq!(answer(&[md5, other]).unwrap().len(), 2, "each realm is answered");
}

#[test]
fn a_server_of_rfc_2069_is_answered_without_qop() {
    let sent = answer(&[r#"Digest realm="r", nonce="m""#]).unwrap().remove(0);
    assert_eq!((sent.qop, sent.nonce_count, sent.cnonce), (None, None, None));
    assert_eq!(sent.algorithm, Some(Algorithm::new(Hash::Md5)));
}

#[test]
fn what_cannot_be_answered_is_refused_by_name() {
    let auth_int = r#"Digest realm="r", nonce="m", qop="auth-int""#;
    assert_eq!(answer(&[auth_int]), Err(ChallengeRefusal::AuthInt));
    assert_eq!(answer(&["Basic realm=\"r\""]), Err(ChallengeRefusal::Unsupported));
    assert_eq!(answer(&[]), Err(ChallengeRefusal::Unsupported));
    assert_eq!(answer(&[r#"Digest realm="r", nonce="#]), Err(ChallengeRefusal::Unsupported));
    let strangers = challenged(StatusCode::UNAUTHORIZED, &[r#"Digest realm="r", nonce="m""#]);
    let mut choosy = Authenticator::new(vec![Credentials::new("bob", "zanzibar").for_realm("mine")]);
    let refused = choosy.handle_challenge(&strangers, &mut Attempts::default());
    assert_eq!(refused, Err(ChallengeRefusal::NoCredentials), "another realm learns nothing");
}

#[test]
fn each_asker_is_answered_once_and_once_more_when_stale() {
    let mut authenticator = authenticator();
    let mut attempts = Attempts::default();
    let mut take =
        |status, challenge: &str| authenticator.handle_challenge(&challenged(status, &[challenge]), &mut attempts);
    let (server, proxy) = (StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    assert_eq!(take(proxy, r#"Digest realm="r", nonce="1""#), Ok(()));
    assert_eq!(take(server, r#"Digest realm="r", nonce="2""#), Ok(()), "another asker");
    assert_eq!(take(proxy, r#"Digest realm="r", nonce="3", stale=TRUE"#), Ok(()));
    let wrong = Err(ChallengeRefusal::WrongCredentials);
    assert_eq!(take(proxy, r#"Digest realm="r", nonce="4", stale=true"#), wrong, "for ever stale");
    assert_eq!(take(server, r#"Digest realm="r", nonce="5""#), wrong);
}

#[test]
fn the_nonce_is_counted_from_request_to_request() {
    let mut authenticator = authenticator();
    let challenge = challenged(StatusCode::UNAUTHORIZED, &[r#"Digest realm="r", nonce="m", qop="auth""#]);
    authenticator.handle_challenge(&challenge, &mut Attempts::default()).unwrap();
    let mut request = request("INVITE");
    for count in 1..4 {
        authenticator.authorize(&mut request, || "mine".to_owned());
        let sent = answers(&request, Asker::Server, &["r"]);
        assert_eq!((sent.len(), sent[0].nonce_count), (1, Some(count)), "the older answer is replaced");
    }
}

/// Our two sides against each other: one client, one authority.
struct Pair {
    authority: Authority,
    authenticator: Authenticator,
    now: Instant,
}

impl Pair {
    fn new(hashes: &[Hash]) -> Self {
        let config = AuthorityConfig { hashes: hashes.to_vec(), nonces: 4, ..AuthorityConfig::new("office") };
        Self { authority: Authority::new(config, [9; 32], start()), authenticator: authenticator(), now: start() }
    }

    fn verify(&mut self, request: &Request) -> Result<Verified, Denied> {
        let ha1 = |user: &str, hash| (user == "bob").then(|| Ha1::new(hash, "bob", "office", "zanzibar"));
        self.authority.verify(request, Asker::Server, ha1, self.now)
    }

    /// The authority's answer to `denied`, taken by the client.
    fn challenge(&mut self, denied: &Denied) -> Response {
        let (status, headers) = self.authority.refusal(denied, Asker::Server, self.now);
        let mut response = Response::to(&request("REGISTER"), status, Some("t"));
        headers.into_iter().for_each(|(name, value)| response.headers.push(name, value));
        self.authenticator.handle_challenge(&response, &mut Attempts::default()).unwrap();
        response
    }

    fn authorized(&mut self) -> Request {
        let mut request = request("REGISTER");
        self.authenticator.authorize(&mut request, || "mine".to_owned());
        request
    }
}

#[test]
fn a_client_is_challenged_answers_and_is_let_in_with_either_algorithm() {
    for hashes in [&[Hash::Sha256, Hash::Md5][..], &[Hash::Md5]] {
        let mut pair = Pair::new(hashes);
        assert_eq!(pair.verify(&request("REGISTER")), Err(Denied::Missing));
        let response = pair.challenge(&Denied::Missing);
        assert_eq!(Challenge::all(&response.headers, &HeaderName::WWW_AUTHENTICATE).len(), hashes.len());
        for _ in 0..3 {
            let request = pair.authorized();
            assert_eq!(pair.verify(&request), Ok(Verified { username: "bob".to_owned() }));
            assert_eq!(pair.verify(&request), Err(Denied::Stale), "the same count again is a replay");
        }
    }
}

#[test]
fn an_old_nonce_is_stale_and_the_client_comes_back_with_a_new_one() {
    let mut pair = Pair::new(&[Hash::Sha256]);
    pair.challenge(&Denied::Missing);
    pair.now += ms(300_001);
    let request = pair.authorized();
    assert_eq!(pair.verify(&request), Err(Denied::Stale));
    let response = pair.challenge(&Denied::Stale);
    assert!(Challenge::all(&response.headers, &HeaderName::WWW_AUTHENTICATE)[0].is_stale);
    let request = pair.authorized();
    assert!(pair.verify(&request).is_ok());
}

#[test]
fn what_is_wrong_is_denied_and_nobody_learns_what_it_was() {
    let mut pair = Pair::new(&[Hash::Sha256, Hash::Md5]);
    pair.challenge(&Denied::Missing);
    let good = pair.authorized();
    let header = good.headers.text(&HeaderName::AUTHORIZATION).unwrap();
    let bends = [
        ("username=\"bob\"", "username=\"eve\""),
        ("uri=\"sip:100@gw", "uri=\"sip:200@gw"),
        ("SHA-256", "MD5"),
        ("SHA-256", "SHA-256-sess"),
        ("SHA-256", "SHA-999"),
        ("nc=00000001", "nc=00000002"),
    ];
    for (from, to) in bends {
        let mut bent = good.clone();
        assert!(header.contains(from), "{header}");
        bent.headers.set(HeaderName::AUTHORIZATION, header.replace(from, to));
        assert_eq!(pair.verify(&bent), Err(Denied::Wrong), "{to}");
    }
    let mut other_method = good.clone();
    other_method.method = crate::message::Method::Invite;
    assert_eq!(pair.verify(&other_method), Err(Denied::Wrong));
    let mut other_target = good.clone();
    other_target.uri = crate::message::Uri::parse(b"sip:200@gw").unwrap();
    assert_eq!(pair.verify(&other_target), Err(Denied::Wrong));
    assert!(pair.verify(&good).is_ok());
}

#[test]
fn a_header_without_what_it_needs_gets_400() {
    let mut pair = Pair::new(&[Hash::Md5]);
    pair.challenge(&Denied::Missing);
    let good = pair.authorized();
    let header = good.headers.text(&HeaderName::AUTHORIZATION).unwrap();
    for (from, to) in [("nc=00000001", "nc=none"), (", nc=00000001", ""), ("qop=auth,", "qop=auth-int,")] {
        assert!(header.contains(from), "{header}");
        let mut bent = good.clone();
        bent.headers.set(HeaderName::AUTHORIZATION, header.replace(from, to));
        let denied = pair.verify(&bent).unwrap_err();
        assert!(matches!(denied, Denied::Malformed(_)), "{to}: {denied:?}");
        assert_eq!(pair.authority.refusal(&denied, Asker::Server, start()).0, StatusCode::BAD_REQUEST);
    }
}

#[test]
fn without_qop_a_nonce_is_good_for_one_request() {
    let mut pair = Pair::new(&[Hash::Md5]);
    let mut response = Response::to(&request("REGISTER"), StatusCode::UNAUTHORIZED, Some("t"));
    let mut challenge = pair.authority.challenges(false, start()).remove(0);
    challenge.qop.clear();
    response.headers.push(HeaderName::WWW_AUTHENTICATE, challenge);
    pair.authenticator.handle_challenge(&response, &mut Attempts::default()).unwrap();
    let first = pair.authorized();
    assert!(pair.verify(&first).is_ok());
    let second = pair.authorized();
    assert_eq!(pair.verify(&second), Err(Denied::Stale));
}
