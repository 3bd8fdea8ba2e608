//! Our half of a session: what we can do, and what must stay the same from one description to the next.

use std::borrow::Cow;

use sdp_types::{Media, Session};

use super::SessionDescription;
use super::audio::{Direction, Format};
use super::crypto::{CryptoSuite, KeyMaterial};

/// A codec by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecSpec {
    /// The encoding name of its RTP payload format; compares without case.
    pub name: Cow<'static, str>,
    /// Of the RTP timestamps, in Hz: 8000 also for G.722 (RFC 3551 §4.5.2).
    pub clock_rate: u32,
    /// As its rtpmap has it; 1 unless stated.
    pub channels: u8,
    /// The payload type RFC 3551 gives it, if any. The others get one from 96 on.
    pub static_pt: Option<u8>,
    /// What our `a=fmtp` says of it, if anything.
    pub parameters: Option<Cow<'static, str>>,
}

impl CodecSpec {
    /// G.711 µ-law.
    pub const PCMU: Self = Self::new("PCMU", 8_000, Some(0));
    /// G.711 A-law.
    pub const PCMA: Self = Self::new("PCMA", 8_000, Some(8));

    /// G.722: 16 kHz of sound, on a clock of 8 kHz (RFC 3551 §4.5.2).
    pub const G722: Self = Self::new("G722", 8_000, Some(9));
    /// Opus for a conversation at 16 kHz, with forward error correction (RFC 7587 §6.1).
    pub const OPUS: Self = Self {
        name: Cow::Borrowed("opus"),
        clock_rate: 48_000,
        channels: 2,
        static_pt: None,
        parameters: Some(Cow::Borrowed("maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1")),
    };

    /// A codec with one channel and no parameters.
    pub const fn new(name: &'static str, clock_rate: u32, static_pt: Option<u8>) -> Self {
        Self { name: Cow::Borrowed(name), clock_rate, channels: 1, static_pt, parameters: None }
    }

    pub(super) fn is(&self, format: &Format) -> bool {
        match &format.encoding {
            Some((_, _, channels)) => format.is_named(&self.name, self.clock_rate) && *channels == self.channels,
            None => self.static_pt == Some(format.payload_type),
        }
    }

    pub(super) fn rtpmap(&self, payload_type: u8) -> String {
        let channels = if self.channels == 1 { String::new() } else { format!("/{}", self.channels) };
        format!("{payload_type} {}/{}{channels}", self.name, self.clock_rate)
    }
}

/// What we can do with an audio stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// In our order of preference, which counts in our offers.
    pub codecs: Vec<CodecSpec>,
    /// Do we take and give telephone-events (RFC 4733)?
    pub dtmf: bool,
    /// Milliseconds of sound in a packet we like best: 10 to 60.
    pub ptime_ms: u32,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { codecs: vec![CodecSpec::PCMU, CodecSpec::PCMA], dtmf: true, ptime_ms: 20 }
    }
}

/// Our half of one session, from the first description to the last.
#[derive(Debug, Clone)]
pub struct LocalSession {
    /// What we want: [`Direction::SendOnly`] puts the peer on hold.
    pub direction: Direction,
    /// The number in `o=`.
    pub(super) id: u64,
    /// Our description as last sent, and which of its lines is ours.
    pub(super) last: Option<(Session, usize)>,
    /// Payload types in use; they may not change their meaning within a session (RFC 3264 §8.3.2).
    pub(super) assigned: Vec<(CodecSpec, u8)>,
    /// Of telephone-events, one for each clock that a codec has.
    pub(super) dtmf: Vec<(u32, u8)>,
    pub(super) srtp: Option<SrtpPolicy>,
    /// RTCP goes over the port of RTP, as last answered.
    pub(super) rtcp_mux: bool,
}

impl LocalSession {
    /// A new session. `id` should be unique on this machine, such as a random number below 2^62.
    pub fn new(id: u64) -> Self {
        Self {
            direction: Direction::SendRecv,
            id,
            last: None,
            assigned: Vec::new(),
            // What almost everybody has there.
            dtmf: vec![(8_000, 101)],
            srtp: None,
            rtcp_mux: false,
        }
    }

    /// With SRTP (RFC 4568). Without this an offer over RTP/SAVP is refused.
    pub fn with_srtp(mut self, srtp: SrtpPolicy) -> Self {
        self.srtp = Some(srtp);
        self
    }

    /// May a session over this profile be?
    pub(super) fn takes(&self, profile: Profile) -> bool {
        match (profile, &self.srtp) {
            (Profile::Avp, None) | (Profile::Savp, Some(_)) => true,
            (Profile::Avp, Some(srtp)) => !srtp.is_required,
            (Profile::Savp, None) => false,
        }
    }

    /// Is SRTP to be in our next offer? What was agreed stays.
    pub(super) fn offered_srtp(&self) -> Option<&SrtpPolicy> {
        let is_secure = |(session, line): &(Session, usize)| Profile::of(&session.medias[*line]) == Some(Profile::Savp);
        let is_agreed = self.last.as_ref().is_some_and(is_secure);
        self.srtp.as_ref().filter(|srtp| srtp.is_required || srtp.is_offered || is_agreed)
    }

    /// Our last description; to be sent again where a peer asks for the same once more.
    pub fn last(&self) -> Option<SessionDescription> {
        self.last.as_ref().map(|(session, _)| SessionDescription(session.clone()))
    }

    /// Notes what we send, with a higher version if anything changed (RFC 3264 §8).
    pub(super) fn publish(&mut self, mut session: Session, audio_line: usize) -> SessionDescription {
        if let Some((last, _)) = &self.last {
            session.origin.sess_version = last.origin.sess_version;
            if session != *last {
                session.origin.sess_version += 1;
            }
        }
        self.last = Some((session.clone(), audio_line));
        SessionDescription(session)
    }

    /// The payload type of telephone-events on that clock, from now on.
    pub(super) fn dtmf_payload_type(&mut self, clock_rate: u32) -> u8 {
        let known = self.dtmf.iter().find(|(clock, _)| *clock == clock_rate).map(|(_, number)| *number);
        known.unwrap_or_else(|| {
            let number = self.free_payload_type();
            self.dtmf.push((clock_rate, number));
            number
        })
    }

    pub(super) fn payload_type(&mut self, codec: &CodecSpec) -> u8 {
        let known = self.assigned.iter().find(|(assigned, _)| assigned == codec).map(|(_, number)| *number);
        let number = known.or(codec.static_pt).unwrap_or_else(|| self.free_payload_type());
        if known.is_none() {
            self.assigned.push((codec.clone(), number));
        }
        number
    }

    fn free_payload_type(&self) -> u8 {
        let is_free = |number: &u8| {
            self.dtmf.iter().all(|(_, assigned)| assigned != number)
                && self.assigned.iter().all(|(_, assigned)| assigned != number)
        };
        // 32 dynamic numbers are more than we have codecs; the last one is shared if that ever changes.
        (96..=127).find(is_free).unwrap_or(127)
    }

    pub(super) fn assign(&mut self, codec: &CodecSpec, payload_type: u8) {
        self.assigned.retain(|(assigned, number)| assigned != codec && *number != payload_type);
        self.assigned.push((codec.clone(), payload_type));
    }
}

/// How we protect media.
#[derive(Debug, Clone)]
pub struct SrtpPolicy {
    /// Plain RTP is refused in offers and never offered: all or nothing.
    pub is_required: bool,
    /// Our first offers have it. Without, only an offer of the peer's brings it in; so it is where the peer would have to
    /// refuse what it cannot, and where our keys would be read on the way. What is required is always offered.
    pub is_offered: bool,
    /// What we offer and take, in our order, which counts in our offers.
    pub suites: Vec<CryptoSuite>,
    /// For our own keys; the same for the whole session.
    pub keys: KeyMaterial,
}

/// The profile of a media line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// RTP/AVP: plain.
    Avp,
    /// RTP/SAVP: SRTP.
    Savp,
}

impl Profile {
    pub(super) fn of(media: &Media) -> Option<Self> {
        match media.proto.as_str() {
            "RTP/AVP" => Some(Self::Avp),
            "RTP/SAVP" => Some(Self::Savp),
            _ => None,
        }
    }
}
