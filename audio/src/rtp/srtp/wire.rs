//! As much of a packet as must be understood before it can be protected or checked.

use super::error::InboundError;
use super::transform::PacketId;
use crate::rtp::packet::{HEADER_BYTES, rtcp_packet_type};

/// Start of an RTCP packet that stays readable: the first header and its SSRC (RFC 3711 §3.4).
pub(super) const RTCP_CLEAR_BYTES: usize = 8;

/// E bit and index of SRTCP.
pub(super) const RTCP_WORD_BYTES: usize = 4;

/// The bit that says that SRTCP is encrypted.
const E_BIT: u32 = 1 << 31;

/// What the header of an RTP packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RtpHeader {
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    /// With CSRCs and extension, which stay readable.
    pub(super) length_bytes: usize,
}

impl RtpHeader {
    /// Reads the header of a packet that ends with `tag_bytes` of tag, or with none.
    pub(super) fn read(packet: &[u8], tag_bytes: usize) -> Result<Self, InboundError> {
        if let Some(packet_type) = rtcp_packet_type(packet) {
            return Err(InboundError::Rtcp { packet_type });
        }
        let too_short = InboundError::TooShort { length_bytes: packet.len() };
        let without_tag = packet.len().checked_sub(tag_bytes).ok_or(too_short)?;
        let header: &[u8; HEADER_BYTES] = packet[..without_tag].first_chunk().ok_or(too_short)?;
        check_version(header[0])?;
        let length_bytes = header_length_bytes(&packet[..without_tag]).ok_or(InboundError::TruncatedHeader)?;
        let [.., a, b, c, d] = *header;
        Ok(Self {
            ssrc: u32::from_be_bytes([a, b, c, d]),
            sequence: u16::from_be_bytes([header[2], header[3]]),
            length_bytes,
        })
    }
}

/// Fixed header, CSRCs and extension (RFC 3550 §5.1 and §5.3.1); `None` if they run past the end.
fn header_length_bytes(packet: &[u8]) -> Option<usize> {
    let first = packet[0];
    let mut length = HEADER_BYTES + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words: [u8; 2] = *packet.get(length + 2..)?.first_chunk()?;
        length += 4 + 4 * usize::from(u16::from_be_bytes(words));
    }
    (length <= packet.len()).then_some(length)
}

/// The SSRC of an RTCP packet that ends with `trailer_bytes` of word and tag, or with none.
pub(super) fn rtcp_ssrc(packet: &[u8], trailer_bytes: usize) -> Result<u32, InboundError> {
    let too_short = InboundError::TooShort { length_bytes: packet.len() };
    let without_trailer = packet.len().checked_sub(trailer_bytes).ok_or(too_short)?;
    let [first, _, _, _, ssrc @ ..]: [u8; RTCP_CLEAR_BYTES] =
        *packet[..without_trailer].first_chunk().ok_or(too_short)?;
    check_version(first)?;
    Ok(u32::from_be_bytes(ssrc))
}

/// E bit and `index` for the wire.
pub(super) fn encrypted_word(index: u32) -> [u8; RTCP_WORD_BYTES] {
    (E_BIT | index).to_be_bytes()
}

/// The packet that `word` and `ssrc` name; we never agree to unencrypted RTCP, so its E bit must be set.
pub(super) fn rtcp_id(ssrc: u32, word: [u8; RTCP_WORD_BYTES]) -> Result<PacketId, InboundError> {
    let word = u32::from_be_bytes(word);
    if word & E_BIT == 0 {
        return Err(InboundError::Unencrypted);
    }
    Ok(PacketId { ssrc, index: u64::from(word & !E_BIT) })
}

fn check_version(first: u8) -> Result<(), InboundError> {
    match first >> 6 {
        2 => Ok(()),
        version => Err(InboundError::WrongVersion { version }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    const TOO_SHORT: fn(usize) -> InboundError = |length_bytes| InboundError::TooShort { length_bytes };

    #[test]
    fn headers_are_measured_with_csrcs_and_extension() {
        let rows = [
            ("80 00 1234 00000000 cafebabe", 0, Ok(12)),
            ("81 00 1234 00000000 cafebabe 00000001 aaaa", 2, Ok(16)),
            ("90 00 1234 00000000 cafebabe bede0001 00000000 aaaa", 2, Ok(20)),
            ("91 00 1234 00000000 cafebabe 00000001 bede0000", 0, Ok(20)),
            ("81 00 1234 00000000 cafebabe 00000001", 2, Err(InboundError::TruncatedHeader)),
            ("90 00 1234 00000000 cafebabe bede00", 0, Err(InboundError::TruncatedHeader)),
            ("90 00 1234 00000000 cafebabe bedeffff 00000000", 0, Err(InboundError::TruncatedHeader)),
            ("80 00 1234 00000000 cafebabe", 1, Err(TOO_SHORT(12))),
            ("80 00 1234", 10, Err(TOO_SHORT(4))),
            ("", 0, Err(TOO_SHORT(0))),
            ("40 00 1234 00000000 cafebabe", 0, Err(InboundError::WrongVersion { version: 1 })),
            ("80 c8 0006 cafebabe", 0, Err(InboundError::Rtcp { packet_type: 200 })),
        ];
        for (packet, tag_bytes, length_bytes) in rows {
            let expected =
                length_bytes.map(|length_bytes| RtpHeader { ssrc: 0xcafe_babe, sequence: 0x1234, length_bytes });
            assert_eq!(RtpHeader::read(&hex(packet), tag_bytes), expected, "{packet}");
        }
    }

    #[test]
    fn rtcp_needs_its_first_eight_bytes_and_the_e_bit() {
        assert_eq!(rtcp_ssrc(&hex("81c90007 cafebabe 80000001"), 4), Ok(0xcafe_babe));
        assert_eq!(rtcp_ssrc(&hex("81c90007 cafebabe 800000"), 4), Err(TOO_SHORT(11)));
        assert_eq!(rtcp_ssrc(&hex("01c90007 cafebabe"), 0), Err(InboundError::WrongVersion { version: 0 }));
        assert_eq!(rtcp_id(7, encrypted_word(5)).map(|id| (id.ssrc, id.index)), Ok((7, 5)));
        assert_eq!(rtcp_id(7, [0, 0, 0, 5]).map(|id| id.index), Err(InboundError::Unencrypted));
    }
}
