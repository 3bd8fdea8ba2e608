//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for one audio stream over RTP/AVP or RTP/SAVP, with
//! keys in the description (RFC 4568).
//!
//! The grammar is that of `sdp-types`; what is ours is the negotiation. Codecs are names here: this crate never sees
//! sound. Left out on purpose: DTLS-SRTP (RFC 5764), RTCP on the RTP port (RFC 5761), ICE, more than one audio stream, video.

mod audio;
mod crypto;
mod local;
mod negotiate;

use std::fmt;

use crate::message::{Incompatibility, ParseError, PeerError, Reason};

pub use audio::Direction;
pub use crypto::{CryptoSuite, KeyMaterial, MasterKey, SrtpKeys};
pub use local::{Capabilities, CodecSpec, LocalSession, SrtpPolicy};
pub use negotiate::{MediaChange, Negotiated, accept_answer, answer, offer};

/// The media type of a session description, for Content-Type and Accept.
pub const MEDIA_TYPE: &str = "application/sdp";

/// One session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDescription(sdp_types::Session);

impl SessionDescription {
    /// Reads a message body. Text that is not UTF-8, as in a session name, is replaced and spoils nothing.
    ///
    /// # Errors
    /// [`SdpError::Malformed`].
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        let text = String::from_utf8_lossy(body);
        sdp_types::Session::parse(text.as_bytes()).map(Self).map_err(|_| SdpError::Malformed)
    }

    /// The message body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        // Writing to a Vec fails only for text with line ends in it, which no parser and no code of ours lets in.
        let _ = self.0.write(&mut bytes);
        bytes
    }
}

impl fmt::Display for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not a session description.
    #[error("malformed session description")]
    Malformed,
    /// No audio over RTP/AVP that is wanted: none offered, or port 0.
    #[error("no audio stream")]
    NoAudio,
    /// Plain RTP where SRTP is required, SRTP where we have none, or no suite in common.
    #[error("no media security in common")]
    Security,
    /// None of the peer's codecs is one of ours.
    #[error("no codec in common")]
    NoCommonCodec,
    /// Media would go to a host name, a multicast group or nowhere.
    #[error("unusable media address")]
    Address,
    /// The answer has other media lines than the offer (RFC 3264 §6).
    #[error("answer does not fit the offer")]
    AnswerMismatch,
}

/// 400 for what is no session description, 488 for one we cannot use.
impl From<SdpError> for PeerError {
    fn from(error: SdpError) -> Self {
        match error {
            SdpError::Malformed | SdpError::AnswerMismatch => Self::Malformed(ParseError {
                header: "SDP",
                offset: 0,
                reason: Reason::Expected("a session description that fits"),
            }),
            SdpError::NoAudio | SdpError::Security | SdpError::NoCommonCodec | SdpError::Address => {
                Self::Incompatible(Incompatibility::Session)
            }
        }
    }
}
