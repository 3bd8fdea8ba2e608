//! `message/sipfrag`: the start of a message as a body, which is how a REFER is reported on (RFC 3420, RFC 3515 §2.4.5).

use crate::message::scan::Scan;
use crate::message::{StatusCode, Version};

/// For Content-Type.
pub const MEDIA_TYPE: &str = "message/sipfrag;version=2.0";

/// The status in a fragment's first line; `None` if it is no status line. What follows does not matter.
pub fn parse_status(body: &[u8]) -> Option<StatusCode> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let mut scan = Scan::new("sipfrag", line, 0);
    Version::scan(&mut scan).ok()?;
    scan.skip_lws();
    // At most 699, so nothing is cut off.
    StatusCode::new(scan.number(699).ok()? as u16)
}

/// A fragment that is just a status line.
pub fn status_line(status: StatusCode) -> Vec<u8> {
    format!("SIP/2.0 {status} {}\r\n", status.default_reason()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        let table: [(&[u8], Option<u16>); 8] = [
            (b"SIP/2.0 200 OK\r\n", Some(200)),
            (b"SIP/2.0 180 Ringing", Some(180)),
            (b"sip/2.0 486\nTo: x", Some(486)),
            (b"SIP/2.0 603 Declined\r\nFrom: <sip:a@b>\r\n\r\n", Some(603)),
            (b"SIP/2.0 99 x", None),
            (b"SIP/2.0 2000 x", None),
            (b"INVITE sip:a@b SIP/2.0\r\n", None),
            (b"", None),
        ];
        for (body, expected) in table {
            assert_eq!(parse_status(body).map(StatusCode::as_u16), expected, "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(parse_status(&status_line(StatusCode::BUSY_HERE)), Some(StatusCode::BUSY_HERE));
    }
}
