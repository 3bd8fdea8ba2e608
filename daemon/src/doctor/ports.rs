//! Can the box be reached: SIP and RTP ports.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use super::{Finding, Verdict};
use crate::config::Config;
use crate::io::ports::PortPool;

/// Binds the SIP port on UDP and TCP; when it is taken, asks whether it is us.
pub(super) fn sip_port(config: &Config) -> Finding {
    let name = "sip port";
    let address = SocketAddr::new(config.sip.address, config.sip.port);
    let taken = UdpSocket::bind(address).map(drop).and_then(|()| match config.sip.tcp_enabled {
        true => TcpListener::bind(address).map(drop),
        false => Ok(()),
    });
    let Err(error) = taken else { return Finding::good(name, format!("{address} is free for UDP and TCP")) };
    let kind = error.kind();
    let (detail, remedy) = if kind == ErrorKind::AddrInUse {
        let user = match server_at(address) {
            Some(server) if server.starts_with("Offhook") => {
                return Finding::good(name, format!("{address} is answered by a running {server}"));
            }
            other => other.unwrap_or_else(|| "another program".into()),
        };
        let remedy = format!(
            "stop it (`ss -lupn 'sport = :{}'` names it) or choose another: --set sip.port=5070",
            address.port()
        );
        (format!("{address} is taken by {user}"), remedy)
    } else if kind == ErrorKind::AddrNotAvailable {
        let remedy = "set sip.address to one of `ip -brief address`, or to 0.0.0.0 for all";
        (format!("{} is not an address of this machine", address.ip()), remedy.to_owned())
    } else if kind == ErrorKind::PermissionDenied {
        let remedy = "choose a port from 1024 up: --set sip.port=5060";
        (format!("{address} may not be bound by this user"), remedy.to_owned())
    } else {
        (format!("{address}: {error}"), "set sip.address and sip.port".to_owned())
    };
    Finding::wrong(name, Verdict::Bad, detail, remedy)
}

/// Reads the certificates and binds the TLS port; nothing where TLS is off.
pub(super) fn tls_port(config: &Config) -> Option<Finding> {
    let name = "sip tls";
    match config.sip.tls.open(&config.machine_directory()) {
        Ok(None) => return None,
        Ok(Some(_)) => {}
        Err(mistakes) => {
            let remedy = "set sip.tls.certificate and sip.tls.private_key, and see that this user may read them";
            return Some(Finding::wrong(name, Verdict::Bad, mistakes.0[0].to_string(), remedy));
        }
    }
    let address = SocketAddr::new(config.sip.address, config.sip.tls.port);
    let Err(error) = TcpListener::bind(address) else {
        return Some(Finding::good(name, format!("{address} is free, its certificate can be used")));
    };
    let sip = SocketAddr::new(config.sip.address, config.sip.port);
    match server_at(sip).filter(|server| error.kind() == ErrorKind::AddrInUse && server.starts_with("Offhook")) {
        Some(server) => Some(Finding::good(name, format!("{address} is taken by the running {server}"))),
        None => Some(Finding::wrong(name, Verdict::Bad, format!("{address}: {error}"), "choose another: sip.tls.port")),
    }
}

/// What the SIP server at `address` calls itself, by OPTIONS.
fn server_at(address: SocketAddr) -> Option<String> {
    let target =
        if address.ip().is_unspecified() { SocketAddr::new([127, 0, 0, 1].into(), address.port()) } else { address };
    let socket = UdpSocket::bind(SocketAddr::new(target.ip(), 0)).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(700))).ok()?;
    let local = socket.local_addr().ok()?;
    let request = format!(
        "OPTIONS sip:{target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKdoctor{port}\r\n\
         Max-Forwards: 1\r\nFrom: <sip:doctor@{local}>;tag=doctor\r\nTo: <sip:{target}>\r\n\
         Call-ID: doctor-{port}@{local}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        port = local.port()
    );
    socket.send_to(request.as_bytes(), target).ok()?;
    let mut buffer = [0; 4_096];
    let length = socket.recv(&mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let named = |header: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(header).then(|| value.trim().to_owned())
        })
    };
    named("Server").or_else(|| named("User-Agent")).or_else(|| Some("a SIP server that gives no name".into()))
}

/// Binds as many RTP ports as there may be calls.
pub(super) fn rtp_ports(config: &Config) -> Finding {
    let (first, last) = (config.media.first_port, config.media.last_port);
    let pool = PortPool::new(config.sip.address, first, last);
    let wanted = usize::try_from(config.calls.concurrent_limit).unwrap_or(usize::MAX);
    let lent: Vec<_> = (0..wanted).map_while(|_| pool.lend().ok()).collect();
    if lent.len() == wanted {
        return Finding::good("rtp ports", format!("{first}-{last}: room for {wanted} calls at once"));
    }
    let detail = format!("only {} of {wanted} calls find a free port in {first}-{last}", lent.len());
    let verdict = if lent.is_empty() { Verdict::Bad } else { Verdict::Degraded };
    Finding::wrong("rtp ports", verdict, detail, "widen media.first_port to media.last_port, or stop who uses them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_a_remedy() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.sip.port = taken.local_addr().unwrap().port();
        let finding = sip_port(&config);
        assert_eq!(finding.verdict, Verdict::Bad);
        assert!(finding.detail.contains("taken"), "{finding:?}");
        assert!(finding.remedy.unwrap().contains("sip.port"));
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let mut config = Config::default();
        config.sip.address = [192, 0, 2, 1].into();
        let finding = sip_port(&config);
        assert!(finding.detail.contains("192.0.2.1"), "{finding:?}");
    }
}
