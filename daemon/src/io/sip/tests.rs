//! Two shells on the loopback interface, and connections that are no good.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use sip_stack::endpoint::{Destination, OutgoingRequest};
use sip_stack::message::{Method, NameAddr, SipUri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::super::gate::Origins;
use super::super::tls::{CertificateFiles, Trust, acceptor, connector};
use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Signs certificates, and keeps them in a folder of its own.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // Another name than other authorities have, or it would be their signature that is wrong.
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", rand::random::<u64>()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    /// The file of its own certificate.
    fn certificate(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A certificate for these names, valid through `last_year`.
    fn certify(&self, names: &[&str], last_year: i32) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        let put = |file: &str, text: String| {
            let path = self.folder.path().join(file);
            std::fs::write(&path, text).unwrap();
            path
        };
        CertificateFiles {
            certificate: put("certificate.pem", params.signed_by(&key, &self.issuer).unwrap().pem()),
            private_key: put("key.pem", key.serialize_pem()),
        }
    }
}

fn everybody() -> SharedGate {
    SharedGate::new(Origins::everybody())
}

/// A shell that listens for TLS if it has a certificate, and believes `trust`.
async fn shell(shown: Option<CertificateFiles>, trust: &Path) -> (SipHandle, mpsc::Receiver<Event>) {
    let tls = Tls {
        connector: connector(&Trust::File(trust.to_owned()), None).unwrap(),
        listener: shown.map(|files| (0, acceptor(files).unwrap())),
    };
    let config = SipConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        tcp_enabled: false,
        tls: Some(tls),
        trace: None,
        gate: everybody(),
    };
    start(config, |bound| EndpointConfig {
        tls: sip_stack::endpoint::LocalAddress::new(bound.tls.unwrap_or(bound.sip)),
        ..EndpointConfig::new(bound.sip, [7; 32])
    })
    .await
    .unwrap()
}

/// Sends OPTIONS over TLS; the status, or nothing if it could not be carried.
async fn options(from: &SipHandle, events: &mut mpsc::Receiver<Event>, peer: SocketAddr) -> Option<u16> {
    let uri = SipUri::new(peer);
    let destination = Destination { transport: Transport::Tls, peer };
    let request = OutgoingRequest::new(Method::Options, uri.clone(), NameAddr::new(uri), destination);
    from.with(move |endpoint, now| endpoint.request(request, now)).await.unwrap().unwrap();
    loop {
        match timeout(PATIENCE, events.recv()).await.unwrap() {
            Some(Event::RequestAnswered { response, .. }) => return Some(response.status.as_u16()),
            Some(Event::RequestFailed { .. }) => return None,
            Some(_) => {}
            None => panic!("the shell has stopped"),
        }
    }
}

/// What a certificate has to be: by an authority that is believed, of these days, and for the name that was looked up.
#[tokio::test]
async fn a_peer_has_to_prove_that_it_is_the_host_that_was_looked_up() {
    let (ours, other) = (Authority::new(), Authority::new());
    let trunk = Some("office.pstn.example.com");
    for (names, last_year, trust, host, expected) in [
        (&["office.pstn.example.com"][..], 2099, &ours, trunk, None),
        (&["*.pstn.example.com"], 2099, &ours, trunk, None),
        (&["127.0.0.1"], 2099, &ours, None, None),
        (&["office.pstn.example.com"], 2099, &ours, None, Some(TlsFailure::WrongName)),
        (&["other.pstn.example.com", "127.0.0.1"], 2099, &ours, trunk, Some(TlsFailure::WrongName)),
        (&["office.pstn.example.com"], 2021, &ours, trunk, Some(TlsFailure::Expired)),
        (&["office.pstn.example.com"], 2099, &other, trunk, Some(TlsFailure::UnknownIssuer)),
    ] {
        let (server, _events) = shell(Some(ours.certify(names, last_year)), &ours.certificate()).await;
        let (client, mut events) = shell(None, &trust.certificate()).await;
        let peer = server.tls().unwrap();
        if let Some(host) = host {
            client.name(host, [peer]);
        }
        let status = options(&client, &mut events, peer).await;
        assert_eq!(client.tls_failure(peer), expected, "{names:?} until {last_year} for {host:?}");
        assert_eq!(status, expected.is_none().then_some(200), "{names:?} until {last_year} for {host:?}");
    }
}

#[tokio::test]
async fn a_second_request_goes_over_the_connection_of_the_first() {
    let ours = Authority::new();
    let (server, _events) = shell(Some(ours.certify(&["127.0.0.1"], 2099)), &ours.certificate()).await;
    let (client, mut events) = shell(None, &ours.certificate()).await;
    for _ in 0..2 {
        assert_eq!(options(&client, &mut events, server.tls().unwrap()).await, Some(200));
    }
    assert_eq!(server.with(|endpoint, _| endpoint.occupancy().streams).await.unwrap(), 1);
}

/// Reads until the other side closes; whether it did.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn what_is_no_handshake_closes_its_own_connection_only() {
    let ours = Authority::new();
    let (server, _events) = shell(Some(ours.certify(&["127.0.0.1"], 2099)), &ours.certificate()).await;
    let (client, mut events) = shell(None, &ours.certificate()).await;
    let peer = server.tls().unwrap();
    assert_eq!(options(&client, &mut events, peer).await, Some(200));
    let mut plain = TcpStream::connect(peer).await.unwrap();
    plain.write_all(b"OPTIONS sip:office@127.0.0.1 SIP/2.0\r\n\r\n").await.unwrap();
    assert!(is_closed(&mut plain).await);
    assert_eq!(options(&client, &mut events, peer).await, Some(200));
}

/// Whoever connects and says nothing takes a place until the time for the handshake is over, and there are only so many.
#[tokio::test]
async fn silent_connections_cannot_have_more_than_their_share() {
    let ours = Authority::new();
    let (server, _events) = shell(Some(ours.certify(&["127.0.0.1"], 2099)), &ours.certificate()).await;
    let (client, mut events) = shell(None, &ours.certificate()).await;
    let peer = server.tls().unwrap();
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKE_LIMIT {
        silent.push(TcpStream::connect(peer).await.unwrap());
    }
    let mut refused = TcpStream::connect(peer).await.unwrap();
    assert!(is_closed(&mut refused).await);
    silent.clear();
    let freed = async { while options(&client, &mut events, peer).await != Some(200) {} };
    timeout(PATIENCE, freed).await.expect("their places are free again");
}

/// What is meant for TLS is not sent by a shell that has none.
#[tokio::test]
async fn without_tls_nothing_goes_out_in_the_clear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config =
        SipConfig { listen: ([127, 0, 0, 1], 0).into(), tcp_enabled: true, tls: None, trace: None, gate: everybody() };
    let (client, mut events) = start(config, |bound| EndpointConfig::new(bound.sip, [7; 32])).await.unwrap();
    assert_eq!(options(&client, &mut events, listener.local_addr().unwrap()).await, None);
    assert!(timeout(Duration::ZERO, listener.accept()).await.is_err(), "nobody has connected");
}
