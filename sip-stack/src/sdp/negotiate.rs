//! Offer and answer (RFC 3264) for one audio stream.
//!
//! We answer with one codec and, where the peer has it, telephone-event: then nobody changes codecs in mid-call. The
//! peer's order of preference decides (RFC 3264 §6.1), its payload numbers stay, and every line we do not use is
//! answered with port 0.

use std::borrow::Cow;
use std::net::SocketAddr;

use sdp_types::{Connection, Media, Origin, Session, Time};

use super::audio::{Audio, Direction, Format, is_usable};
use super::{SdpError, SessionDescription};

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
}

impl CodecSpec {
    /// G.711 µ-law.
    pub const PCMU: Self = Self::new("PCMU", 8_000, Some(0));
    /// G.711 A-law.
    pub const PCMA: Self = Self::new("PCMA", 8_000, Some(8));

    /// A codec with one channel.
    pub const fn new(name: &'static str, clock_rate: u32, static_pt: Option<u8>) -> Self {
        Self { name: Cow::Borrowed(name), clock_rate, channels: 1, static_pt }
    }

    fn is(&self, format: &Format) -> bool {
        match &format.encoding {
            Some((_, _, channels)) => format.is_named(&self.name, self.clock_rate) && *channels == self.channels,
            None => self.static_pt == Some(format.payload_type),
        }
    }

    fn rtpmap(&self, payload_type: u8) -> String {
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
    id: u64,
    /// Our description as last sent, and which of its lines is ours.
    last: Option<(Session, usize)>,
    /// Payload types in use; they may not change their meaning within a session (RFC 3264 §8.3.2).
    assigned: Vec<(CodecSpec, u8)>,
    dtmf_payload_type: u8,
}

impl LocalSession {
    /// A new session. `id` should be unique on this machine, such as a random number below 2^62.
    pub fn new(id: u64) -> Self {
        Self { direction: Direction::SendRecv, id, last: None, assigned: Vec::new(), dtmf_payload_type: 101 }
    }

    /// Our last description; to be sent again where a peer asks for the same once more.
    pub fn last(&self) -> Option<SessionDescription> {
        self.last.as_ref().map(|(session, _)| SessionDescription(session.clone()))
    }

    /// Notes what we send, with a higher version if anything changed (RFC 3264 §8).
    fn publish(&mut self, mut session: Session, audio_line: usize) -> SessionDescription {
        if let Some((last, _)) = &self.last {
            session.origin.sess_version = last.origin.sess_version;
            if session != *last {
                session.origin.sess_version += 1;
            }
        }
        self.last = Some((session.clone(), audio_line));
        SessionDescription(session)
    }

    fn payload_type(&mut self, codec: &CodecSpec) -> u8 {
        let known = self.assigned.iter().find(|(assigned, _)| assigned == codec).map(|(_, number)| *number);
        let number = known.or(codec.static_pt).unwrap_or_else(|| self.free_payload_type());
        if known.is_none() {
            self.assigned.push((codec.clone(), number));
        }
        number
    }

    fn free_payload_type(&self) -> u8 {
        let is_free = |number: &u8| {
            *number != self.dtmf_payload_type && self.assigned.iter().all(|(_, assigned)| assigned != number)
        };
        // 32 dynamic numbers are more than we have codecs; the last one is shared if that ever changes.
        (96..=127).find(is_free).unwrap_or(127)
    }

    fn assign(&mut self, codec: &CodecSpec, payload_type: u8) {
        self.assigned.retain(|(assigned, number)| assigned != codec && *number != payload_type);
        self.assigned.push((codec.clone(), payload_type));
    }
}

/// What both sides have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where to send RTP, if [`direction`](Self::direction) lets us send.
    pub remote: SocketAddr,
    /// Where to send RTCP.
    pub remote_rtcp: SocketAddr,
    /// The codec both ways.
    pub codec: CodecSpec,
    /// Its payload type in what we send.
    pub payload_type_send: u8,
    /// Its payload type in what we receive.
    pub payload_type_receive: u8,
    /// telephone-event in what we send, if the peer takes it.
    pub dtmf_payload_type_send: Option<u8>,
    /// telephone-event in what we receive.
    pub dtmf_payload_type_receive: Option<u8>,
    /// Milliseconds of sound in each packet we send.
    pub ptime_ms: u32,
    /// Seen from us.
    pub direction: Direction,
}

/// Answers an offer.
///
/// # Errors
/// [`SdpError`], which becomes a 488 or a 400; `session` has not changed then.
pub fn answer(
    offer: &SessionDescription,
    capabilities: &Capabilities,
    local: SocketAddr,
    session: &mut LocalSession,
) -> Result<(SessionDescription, Negotiated), SdpError> {
    let (line, audio, codec, format) = choose(&offer.0, capabilities)?;
    let dtmf = capabilities.dtmf.then(|| telephone_event(&audio, &codec)).flatten();
    let negotiated = Negotiated {
        remote: audio.rtp,
        remote_rtcp: audio.rtcp,
        payload_type_send: format.payload_type,
        payload_type_receive: format.payload_type,
        dtmf_payload_type_send: dtmf.map(|format| format.payload_type),
        dtmf_payload_type_receive: dtmf.map(|format| format.payload_type),
        ptime_ms: choose_ptime_ms(&audio, capabilities),
        direction: audio.direction.reversed().and(session.direction),
        codec: codec.clone(),
    };
    session.assign(&codec, format.payload_type);
    let formats = [(codec, format.payload_type)];
    let events = dtmf.map(|format| (format.payload_type, answered_events(format)));
    if let Some((payload_type, _)) = events {
        session.dtmf_payload_type = payload_type;
    }
    let ours = audio_line(
        local.port(),
        &formats,
        negotiated.codec.clock_rate,
        events,
        negotiated.ptime_ms,
        negotiated.direction,
    );
    let mut description = empty_session(session.id, local);
    description.medias = offer.0.medias.iter().map(rejected).collect();
    description.medias[line] = ours;
    Ok((session.publish(description, line), negotiated))
}

/// Offers all we can do: in an INVITE of ours, or in the 200 to one that came without an offer.
pub fn offer(capabilities: &Capabilities, local: SocketAddr, session: &mut LocalSession) -> SessionDescription {
    let codecs = capabilities.codecs.iter();
    let formats: Vec<_> = codecs.map(|codec| (codec.clone(), session.payload_type(codec))).collect();
    let clock_rate = formats.first().map_or(8_000, |(codec, _)| codec.clock_rate);
    let events = capabilities.dtmf.then_some((session.dtmf_payload_type, "0-16"));
    let ours = audio_line(local.port(), &formats, clock_rate, events, capabilities.ptime_ms, session.direction);
    let mut description = empty_session(session.id, local);
    // A later offer keeps the lines of the earlier ones, in their order (RFC 3264 §8).
    let line = match &session.last {
        Some((last, line)) => {
            description.medias = last.medias.iter().map(rejected).collect();
            description.medias[*line] = ours;
            *line
        }
        None => {
            description.medias.push(ours);
            0
        }
    };
    session.publish(description, line)
}

/// Takes the answer to our last offer.
///
/// # Errors
/// [`SdpError`]: the call has to be ended, since there is nothing to talk over.
pub fn accept_answer(
    answer: &SessionDescription,
    capabilities: &Capabilities,
    session: &LocalSession,
) -> Result<Negotiated, SdpError> {
    let (offered, line) = session.last.as_ref().ok_or(SdpError::AnswerMismatch)?;
    if answer.0.medias.len() != offered.medias.len() {
        return Err(SdpError::AnswerMismatch);
    }
    let media = answer.0.medias.get(*line).filter(|media| is_usable(media)).ok_or(SdpError::NoAudio)?;
    let audio = Audio::read(&answer.0, media)?;
    let offered_number =
        |codec: &CodecSpec| session.assigned.iter().find(|(other, _)| other == codec).map(|(_, pt)| *pt);
    let is_offered = |codec: &CodecSpec, format: &Format| match format.encoding {
        Some(_) => codec.is(format),
        None => offered_number(codec) == Some(format.payload_type),
    };
    let (codec, format) = first_match(&audio, capabilities, is_offered).ok_or(SdpError::NoCommonCodec)?;
    let dtmf = capabilities.dtmf.then(|| telephone_event(&audio, codec)).flatten();
    Ok(Negotiated {
        remote: audio.rtp,
        remote_rtcp: audio.rtcp,
        codec: codec.clone(),
        payload_type_send: format.payload_type,
        payload_type_receive: offered_number(codec).unwrap_or(format.payload_type),
        dtmf_payload_type_send: dtmf.map(|format| format.payload_type),
        dtmf_payload_type_receive: dtmf.map(|_| session.dtmf_payload_type),
        ptime_ms: choose_ptime_ms(&audio, capabilities),
        direction: audio.direction.reversed().and(session.direction),
    })
}

/// The first line with a codec of ours, or why there is none.
fn choose(offer: &Session, capabilities: &Capabilities) -> Result<(usize, Audio, CodecSpec, Format), SdpError> {
    let mut why = SdpError::NoAudio;
    for (line, media) in offer.medias.iter().enumerate().filter(|(_, media)| is_usable(media)) {
        match Audio::read(offer, media) {
            Ok(audio) => match first_match(&audio, capabilities, CodecSpec::is) {
                Some((codec, format)) => return Ok((line, audio.clone(), codec.clone(), format.clone())),
                None => why = SdpError::NoCommonCodec,
            },
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The peer's first format that is one of our codecs.
fn first_match<'a>(
    audio: &'a Audio,
    capabilities: &'a Capabilities,
    is: impl Fn(&CodecSpec, &Format) -> bool,
) -> Option<(&'a CodecSpec, &'a Format)> {
    audio.formats.iter().find_map(|format| {
        let codec = capabilities.codecs.iter().find(|codec| is(codec, format))?;
        Some((codec, format))
    })
}

/// Events tick with the codec's clock (RFC 4733 §2.1).
fn telephone_event<'a>(audio: &'a Audio, codec: &CodecSpec) -> Option<&'a Format> {
    audio.formats.iter().find(|format| format.is_named("telephone-event", codec.clock_rate))
}

/// The sixteen keys, and hook flash if the peer has it. Without a list the keys are meant (RFC 4733 §2.4.1).
fn answered_events(format: &Format) -> &'static str {
    if format.parameters.as_deref() == Some("0-16") { "0-16" } else { "0-15" }
}

/// The peer's wish if we can follow it, else ours; never beyond what the peer can take.
fn choose_ptime_ms(audio: &Audio, capabilities: &Capabilities) -> u32 {
    let can = |ptime_ms: &u32| (10..=60).contains(ptime_ms) && ptime_ms.is_multiple_of(10);
    let wish_ms = audio.ptime_ms.filter(can).unwrap_or(capabilities.ptime_ms);
    let most_ms = audio.maxptime_ms.map_or(60, |most_ms| most_ms / 10 * 10).max(10);
    wish_ms.min(most_ms)
}

fn empty_session(id: u64, local: SocketAddr) -> Session {
    let mut session = Session::new(Origin::with_ip_addr(id, 1, local.ip()), "-");
    session.set_connection(Connection::from_ip_addr(local.ip()));
    session.add_time(Time::new(0, 0));
    session
}

fn audio_line(
    port: u16,
    formats: &[(CodecSpec, u8)],
    clock_rate: u32,
    events: Option<(u8, &str)>,
    ptime_ms: u32,
    direction: Direction,
) -> Media {
    let numbers = formats.iter().map(|(_, number)| *number).chain(events.map(|(number, _)| number));
    let list: Vec<String> = numbers.map(|number| number.to_string()).collect();
    let mut media = Media::new(sdp_types::MediaType::Audio, port, sdp_types::TransportProto::RtpAvp, list.join(" "));
    for (codec, number) in formats {
        media.add_attribute_with_value("rtpmap", codec.rtpmap(*number));
    }
    if let Some((number, list)) = events {
        media.add_attribute_with_value("rtpmap", format!("{number} telephone-event/{clock_rate}"));
        media.add_attribute_with_value("fmtp", format!("{number} {list}"));
    }
    media.add_attribute_with_value("ptime", ptime_ms);
    media.add_attribute_from_str(direction.as_str());
    media
}

/// The same line with port 0: not wanted (RFC 3264 §6).
fn rejected(offered: &Media) -> Media {
    Media {
        port: 0,
        num_ports: None,
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
        ..offered.clone()
    }
}

#[cfg(test)]
mod tests;
