//! What our address looks like from outside: a STUN binding (RFC 8489), without credentials.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |0 0|      message type         |   length of the attributes    |
//! |                     magic cookie 0x2112A442                   |
//! |                  transaction id, 96 bits, at random           |
//! |        attribute type         |       length of the value     |   … each padded to 32 bits
//! ```
//! The messages are pure: bytes in, an address out. [`ask`] is the small shell: a socket and four repeats.
//!
//! Left out on purpose: MESSAGE-INTEGRITY, because public servers know no passwords; what keeps strangers from answering
//! is the transaction id and that the socket hears its server only. ALTERNATE-SERVER. ICE: a trunk is told one address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// Where servers listen (RFC 8489 §5).
pub const DEFAULT_PORT: u16 = 3478;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const MAGIC_COOKIE: u32 = 0x2112_a442;
const HEADER_BYTES: usize = 20;
/// Of MESSAGE-INTEGRITY: a SHA-1.
const INTEGRITY_BYTES: usize = 20;

const MAPPED_ADDRESS: u16 = 0x0001;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
/// From here on attributes may be passed over by who does not know them (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;
/// What the checksum of FINGERPRINT is combined with (RFC 8489 §14.7).
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// Time before each repeat (RFC 8489 §6.2.1: 500 ms, doubling), and after the last. Two repeats fewer than the RFC has
/// at most: an answer that takes longer is asked for again in a minute.
const WAITS: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Why there is no address in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Not STUN, or damaged. The offset is in bytes.
    #[error("not a STUN answer: byte {offset} is wrong")]
    Malformed {
        /// Where it stops to be.
        offset: usize,
    },
    /// An answer to something else.
    #[error("an answer to another request")]
    Foreign,
    /// The server refuses; 300 to 699.
    #[error("the server answers with error {0}")]
    Refused(u16),
    /// An attribute that has to be understood is not.
    #[error("attribute {0:#06x} is not understood")]
    Unknown(u16),
    /// It does not say our address.
    #[error("an answer without an address")]
    NoAddress,
}

/// One binding transaction.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    transaction: [u8; 12],
}

impl Binding {
    /// `transaction` is random, so that nobody can answer who has not seen the request.
    pub fn new(transaction: [u8; 12]) -> Binding {
        Binding { transaction }
    }

    /// The request, the same for every repeat.
    pub fn request(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
        bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        bytes[8..].copy_from_slice(&self.transaction);
        bytes
    }

    /// The address from which the request came to the server.
    ///
    /// # Errors
    /// [`StunError`]. [`StunError::Malformed`] and [`StunError::Foreign`] may be somebody else's; the right answer may
    /// still come.
    pub fn answer(&self, bytes: &[u8]) -> Result<SocketAddr, StunError> {
        let kind = self.check_header(bytes)?;
        let (mut plain, mut xored, mut refused) = (None, None, None);
        for attribute in Attributes::of(bytes) {
            let Attribute { kind, value, offset } = attribute?;
            match kind {
                XOR_MAPPED_ADDRESS => xored = xored.or(Some(self.unmask(address(value, offset)?))),
                // From servers older than RFC 5389.
                MAPPED_ADDRESS => plain = plain.or(Some(address(value, offset)?)),
                ERROR_CODE => refused = Some(error_code(value, offset)?),
                // Of another length it would hide what follows it.
                MESSAGE_INTEGRITY if value.len() != INTEGRITY_BYTES => return Err(StunError::Malformed { offset }),
                MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256 => {}
                FINGERPRINT => check_fingerprint(bytes, value, offset)?,
                unknown if unknown < OPTIONAL => return Err(StunError::Unknown(unknown)),
                _ => {}
            }
        }
        if kind == BINDING_ERROR {
            return Err(StunError::Refused(refused.unwrap_or(500)));
        }
        xored.or(plain).ok_or(StunError::NoAddress)
    }

    fn check_header(&self, bytes: &[u8]) -> Result<u16, StunError> {
        let kind = u16_at(bytes, 0)?;
        if kind != BINDING_SUCCESS && kind != BINDING_ERROR {
            return Err(StunError::Malformed { offset: 0 });
        }
        let length = usize::from(u16_at(bytes, 2)?);
        if length % 4 != 0 || bytes.len() != HEADER_BYTES + length {
            return Err(StunError::Malformed { offset: 2 });
        }
        if bytes[4..8] != MAGIC_COOKIE.to_be_bytes() {
            return Err(StunError::Malformed { offset: 4 });
        }
        if bytes[8..HEADER_BYTES] != self.transaction { Err(StunError::Foreign) } else { Ok(kind) }
    }

    /// RFC 8489 §14.2: combined with the magic cookie and, for IPv6, the transaction id, since some routers change every
    /// address of theirs that they see.
    fn unmask(&self, masked: SocketAddr) -> SocketAddr {
        let cookie = MAGIC_COOKIE.to_be_bytes();
        let port = masked.port() ^ u16::from_be_bytes([cookie[0], cookie[1]]);
        let ip: IpAddr = match masked.ip() {
            IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) ^ MAGIC_COOKIE).into(),
            IpAddr::V6(address) => {
                let mut octets = address.octets();
                let mask = cookie.iter().chain(&self.transaction);
                octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
                Ipv6Addr::from(octets).into()
            }
        };
        (ip, port).into()
    }
}

struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    offset: usize,
}

struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
    integrity_seen: bool,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, StunError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.bytes.len() {
            let (offset, read) = (self.at, self.read());
            match read {
                // What follows the integrity does not count, but for the checksum (RFC 8489 §14.5).
                Ok((kind, _)) if self.integrity_seen && kind != FINGERPRINT && !is_integrity(kind) => {}
                Ok((kind, value)) => {
                    self.integrity_seen |= is_integrity(kind);
                    return Some(Ok(Attribute { kind, value, offset }));
                }
                Err(error) => {
                    self.at = self.bytes.len();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl<'a> Attributes<'a> {
    fn of(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes { bytes, at: HEADER_BYTES, integrity_seen: false }
    }

    fn read(&mut self) -> Result<(u16, &'a [u8]), StunError> {
        let (kind, length) = (u16_at(self.bytes, self.at)?, usize::from(u16_at(self.bytes, self.at + 2)?));
        let begin = self.at + 4;
        let value = self.bytes.get(begin..begin + length).ok_or(StunError::Malformed { offset: self.at })?;
        self.at = begin + length.next_multiple_of(4);
        Ok((kind, value))
    }
}

fn is_integrity(kind: u16) -> bool {
    matches!(kind, MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, StunError> {
    let two = bytes.get(at..at + 2).ok_or(StunError::Malformed { offset: at })?;
    Ok(u16::from_be_bytes([two[0], two[1]]))
}

/// Family, port, address (RFC 8489 §14.1).
fn address(value: &[u8], offset: usize) -> Result<SocketAddr, StunError> {
    let malformed = StunError::Malformed { offset };
    let port = u16_at(value, 2).map_err(|_| malformed)?;
    let ip: IpAddr = match (value[1], &value[4..]) {
        (1, octets) => <[u8; 4]>::try_from(octets).map_err(|_| malformed)?.into(),
        (2, octets) => <[u8; 16]>::try_from(octets).map_err(|_| malformed)?.into(),
        (_, _) => return Err(malformed),
    };
    Ok((ip, port).into())
}

/// Hundreds and the rest (RFC 8489 §14.8).
fn error_code(value: &[u8], offset: usize) -> Result<u16, StunError> {
    let digits = value.get(2..4).ok_or(StunError::Malformed { offset })?;
    Ok(u16::from(digits[0] & 0x07) * 100 + u16::from(digits[1]))
}

fn check_fingerprint(bytes: &[u8], value: &[u8], offset: usize) -> Result<(), StunError> {
    let expected = crc32(&bytes[..offset]) ^ FINGERPRINT_MASK;
    // Nothing may follow it.
    let is_right = value == expected.to_be_bytes() && offset + 8 == bytes.len();
    if is_right { Ok(()) } else { Err(StunError::Malformed { offset }) }
}

/// The checksum of ITU V.42, as zlib has it. Bit by bit: an answer has some hundred bytes, one a minute.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Asks `server` under which address it sees packets from `local` (port 0: any).
///
/// # Errors
/// No answer within 7.5 s, a refusal, or the system's error.
pub async fn ask(server: SocketAddr, local: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((local, 0)).await?;
    // Connected: others are not heard, and a closed port is an error at once.
    socket.connect(server).await?;
    let binding = Binding::new(rand::random());
    for wait in WAITS {
        socket.send(&binding.request()).await?;
        if let Ok(answer) = tokio::time::timeout(wait, receive(&socket, binding)).await {
            return answer;
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

async fn receive(socket: &UdpSocket, binding: Binding) -> io::Result<IpAddr> {
    let mut buffer = [0; 1_500];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match binding.answer(&buffer[..length]) {
            Ok(address) => return Ok(address.ip().to_canonical()),
            // Whoever that was for.
            Err(StunError::Malformed { .. } | StunError::Foreign) => {}
            Err(error @ (StunError::Refused(_) | StunError::Unknown(_) | StunError::NoAddress)) => {
                return Err(io::Error::other(error));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
    /// RFC 5769 §2.2: SOFTWARE, XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY, FINGERPRINT.
    const V4: &str = "0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220 \
        002000080001a147e112a643 000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96";
    /// RFC 5769 §2.3.
    const V6: &str = "01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220 \
        002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9 00080014a382954e4be67bf11784c97c8292c275bfe3ed41 \
        80280004c8fb0b4c";

    /// A server's answer that says `address`, to the request in `request`.
    pub(in crate::io) fn answer_to(request: &[u8], address: Ipv4Addr) -> Vec<u8> {
        let mut answer = vec![0x01, 0x01, 0, 12];
        answer.extend(&request[4..HEADER_BYTES]);
        answer.extend([0, 0x20, 0, 8, 0, 1, 0x12, 0x34]);
        answer.extend((u32::from(address) ^ MAGIC_COOKIE).to_be_bytes());
        answer
    }

    fn bytes(digits: &str) -> Vec<u8> {
        hex::decode(digits.replace(' ', "")).unwrap()
    }

    fn answer(attributes: &str) -> Vec<u8> {
        let attributes = bytes(attributes);
        let mut message = vec![0x01, 0x01, 0, u8::try_from(attributes.len()).unwrap()];
        message.extend(MAGIC_COOKIE.to_be_bytes());
        message.extend(TRANSACTION);
        message.extend(attributes);
        message
    }

    #[test]
    fn a_request_is_twenty_bytes() {
        let request = Binding::new(TRANSACTION).request();
        assert_eq!(hex::encode(request), "000100002112a442b7e7a701bc34d686fa87dfae");
    }

    #[test]
    fn the_vectors_of_rfc_5769_are_read() {
        let read = |digits| Binding::new(TRANSACTION).answer(&bytes(digits)).unwrap().to_string();
        assert_eq!(read(V4), "192.0.2.1:32853");
        assert_eq!(read(V6), "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
    }

    /// Every bit before the checksum is guarded: by the header, by a length or by the checksum.
    #[test]
    fn no_damaged_vector_is_believed() {
        let vector = bytes(V4);
        for bit in 0..(vector.len() - 8) * 8 {
            let mut damaged = vector.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Binding::new(TRANSACTION).answer(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..vector.len() {
            assert!(Binding::new(TRANSACTION).answer(&vector[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn what_servers_say_is_told_apart() {
        let binding = Binding::new(TRANSACTION);
        for (name, message, expected) in [
            ("of servers before RFC 5389", answer("00010008 0001 1234 cb007105"), Ok("203.0.113.5:4660")),
            (
                "both: masked counts",
                answer("00010008 0001 1234 0a000001 00200008 0001 3326 ea12d547"),
                Ok("203.0.113.5:4660"),
            ),
            ("no address", answer(""), Err(StunError::NoAddress)),
            ("must be understood", answer("00310004 00000000"), Err(StunError::Unknown(0x31))),
            ("may be passed over", answer("80310000 00010008 0001 1234 cb007105"), Ok("203.0.113.5:4660")),
            (
                "after the integrity",
                answer(&format!("00080014{} 00010008 0001 1234 cb007105", "00".repeat(20))),
                Err(StunError::NoAddress),
            ),
            ("unknown family", answer("00010008 0003 1234 cb007105"), Err(StunError::Malformed { offset: 20 })),
            ("too long a value", answer("00010009 0001 1234 cb007105"), Err(StunError::Malformed { offset: 20 })),
        ] {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(binding.answer(&message), expected, "{name}");
        }
        let mut refusal = answer("00090004 00000414");
        refusal[..2].copy_from_slice(&BINDING_ERROR.to_be_bytes());
        assert_eq!(binding.answer(&refusal), Err(StunError::Refused(420)));
        assert_eq!(Binding::new([7; 12]).answer(&bytes(V4)), Err(StunError::Foreign));
    }

    #[tokio::test]
    async fn a_server_is_asked_until_it_answers() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut buffer = [0; 100];
            // The first request is lost, and a stranger's answer does not count.
            let (lost, _) = server.recv_from(&mut buffer).await.unwrap();
            let (length, peer) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(lost, length);
            server.send_to(&answer_to(&[7; HEADER_BYTES], Ipv4Addr::new(10, 0, 0, 1)), peer).await.unwrap();
            let answer = answer_to(&buffer[..length], Ipv4Addr::new(203, 0, 113, 5));
            server.send_to(&answer, peer).await.unwrap();
        });
        assert_eq!(ask(address, Ipv4Addr::LOCALHOST.into()).await.unwrap(), Ipv4Addr::new(203, 0, 113, 5));
        answering.await.unwrap();
    }
}
