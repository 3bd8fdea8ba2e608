//! Offer and answer (RFC 3264) for one audio stream.
//!
//! We answer with one codec and, where the peer has it, telephone-event: then nobody changes codecs in mid-call. The
//! peer's order of preference decides (RFC 3264 §6.1), its payload numbers stay, and every line we do not use is
//! answered with port 0.

use std::net::SocketAddr;

use sdp_types::{Connection, Media, Origin, Session, Time};

use super::audio::{Audio, Direction, Format, RTCP_MUX, is_usable};
use super::crypto::{CryptoLine, SrtpKeys};
use super::local::{Capabilities, CodecSpec, LocalSession, Profile};
use super::{SdpError, SessionDescription};

/// What both sides have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where to send RTP, if [`direction`](Self::direction) lets us send.
    pub remote: SocketAddr,
    /// Where to send RTCP.
    pub remote_rtcp: SocketAddr,
    /// RTCP goes over the ports of RTP (RFC 5761), at both sides.
    pub rtcp_mux: bool,
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
    /// The keys, if it is SRTP.
    pub srtp: Option<SrtpKeys>,
}

/// What is not as it was before another description.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MediaChange {
    /// Media goes elsewhere.
    pub address: bool,
    /// Another codec, payload type or packet length.
    pub codec: bool,
    /// Somebody is put on hold, or taken back.
    pub direction: bool,
    /// Other keys: the SRTP contexts start anew.
    pub keys: bool,
}

impl Negotiated {
    /// Does the peer have us on hold? Nothing is to be heard from it then, and no alarm to be raised.
    pub fn is_held(&self) -> bool {
        !self.direction.receives()
    }

    /// What is not as it was.
    pub fn change_from(&self, before: &Self) -> MediaChange {
        let codec = |one: &Self| (one.codec.clone(), one.payload_type_send, one.payload_type_receive, one.ptime_ms);
        let ports = |one: &Self| (one.remote, one.remote_rtcp, one.rtcp_mux);
        let events = |one: &Self| (one.dtmf_payload_type_send, one.dtmf_payload_type_receive);
        MediaChange {
            address: ports(self) != ports(before),
            codec: codec(self) != codec(before) || events(self) != events(before),
            direction: self.direction != before.direction,
            keys: self.srtp != before.srtp,
        }
    }
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
    let (line, audio, codec, format) = choose(&offer.0, capabilities, session)?;
    let crypto = answer_crypto(&offer.0.medias[line], session)?;
    let dtmf = capabilities.dtmf.then(|| telephone_event(&audio, &codec)).flatten();
    let negotiated = Negotiated {
        remote: audio.rtp,
        remote_rtcp: audio.rtcp(),
        rtcp_mux: audio.rtcp_mux,
        payload_type_send: format.payload_type,
        payload_type_receive: format.payload_type,
        dtmf_payload_type_send: dtmf.map(|format| format.payload_type),
        dtmf_payload_type_receive: dtmf.map(|format| format.payload_type),
        ptime_ms: choose_ptime_ms(&audio, capabilities),
        direction: audio.direction.reversed().and(session.direction),
        codec: codec.clone(),
        srtp: crypto.as_ref().map(|(keys, _)| keys.clone()),
    };
    session.assign(&codec, format.payload_type);
    session.rtcp_mux = audio.rtcp_mux;
    let formats = [(codec, format.payload_type)];
    let clock_rate = negotiated.codec.clock_rate;
    let events: Vec<_> =
        dtmf.map(|format| (format.payload_type, clock_rate, answered_events(format))).into_iter().collect();
    if let Some((payload_type, _, _)) = events.first() {
        session.dtmf.retain(|(clock, _)| *clock != clock_rate);
        session.dtmf.push((clock_rate, *payload_type));
    }
    let crypto_lines: Vec<CryptoLine> = crypto.into_iter().map(|(_, line)| line).collect();
    let mut ours =
        audio_line(local.port(), &formats, &events, negotiated.ptime_ms, negotiated.direction, &crypto_lines);
    note_rtcp_mux(&mut ours, session);
    let mut description = empty_session(session.id, local);
    description.medias = offer.0.medias.iter().map(rejected).collect();
    description.medias[line] = ours;
    Ok((session.publish(description, line), negotiated))
}

/// Offers all we can do: in an INVITE of ours, or in the 200 to one that came without an offer.
pub fn offer(capabilities: &Capabilities, local: SocketAddr, session: &mut LocalSession) -> SessionDescription {
    let codecs = capabilities.codecs.iter();
    let formats: Vec<_> = codecs.map(|codec| (codec.clone(), session.payload_type(codec))).collect();
    // Events tick with the codec that is chosen, so there are some for each clock.
    let mut clock_rates: Vec<u32> = formats.iter().map(|(codec, _)| codec.clock_rate).collect();
    clock_rates.sort_unstable();
    clock_rates.dedup();
    clock_rates.retain(|_| capabilities.dtmf);
    let events: Vec<_> =
        clock_rates.into_iter().map(|clock| (session.dtmf_payload_type(clock), clock, "0-16")).collect();
    let crypto_lines = offered_crypto(session);
    let mut ours = audio_line(local.port(), &formats, &events, capabilities.ptime_ms, session.direction, &crypto_lines);
    note_rtcp_mux(&mut ours, session);
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
    let srtp = accept_crypto(media, &offered.medias[*line], session)?;
    let mut audio = Audio::read(&answer.0, media)?;
    // What was not offered cannot be answered (RFC 5761 §5.1.1).
    audio.rtcp_mux &= offered.medias[*line].has_attribute(RTCP_MUX);
    let offered_number =
        |codec: &CodecSpec| session.assigned.iter().find(|(other, _)| other == codec).map(|(_, pt)| *pt);
    let offered_events =
        |clock_rate: u32| session.dtmf.iter().find(|(clock, _)| *clock == clock_rate).map(|(_, number)| *number);
    let is_offered = |codec: &CodecSpec, format: &Format| match format.encoding {
        Some(_) => codec.is(format),
        None => offered_number(codec) == Some(format.payload_type),
    };
    let (codec, format) = first_match(&audio, capabilities, is_offered).ok_or(SdpError::NoCommonCodec)?;
    let dtmf = capabilities.dtmf.then(|| telephone_event(&audio, codec)).flatten();
    Ok(Negotiated {
        remote: audio.rtp,
        remote_rtcp: audio.rtcp(),
        rtcp_mux: audio.rtcp_mux,
        codec: codec.clone(),
        payload_type_send: format.payload_type,
        payload_type_receive: offered_number(codec).unwrap_or(format.payload_type),
        dtmf_payload_type_send: dtmf.map(|format| format.payload_type),
        dtmf_payload_type_receive: dtmf.and_then(|_| offered_events(codec.clock_rate)),
        ptime_ms: choose_ptime_ms(&audio, capabilities),
        direction: audio.direction.reversed().and(session.direction),
        srtp,
    })
}

/// The peer's first crypto line that is one of ours, with our key beside it; `None` for plain RTP.
fn answer_crypto(media: &Media, session: &LocalSession) -> Result<Option<(SrtpKeys, CryptoLine)>, SdpError> {
    let (Some(srtp), Some(Profile::Savp)) = (&session.srtp, Profile::of(media)) else { return Ok(None) };
    let chosen = CryptoLine::all(media).into_iter().find(|line| srtp.suites.contains(&line.suite));
    let chosen = chosen.ok_or(SdpError::Security)?;
    let (tag, suite, local) = (chosen.tag, chosen.suite, srtp.keys.key(chosen.suite));
    let keys = SrtpKeys { suite, local: local.clone(), remote: chosen.key };
    Ok(Some((keys, CryptoLine { tag, suite, key: local })))
}

/// One line for each suite of ours. A policy may offer SRTP that it does not require: a peer that cannot says so, and is
/// asked again without.
fn offered_crypto(session: &LocalSession) -> Vec<CryptoLine> {
    let Some(srtp) = session.offered_srtp() else { return Vec::new() };
    let line = |(tag, suite): (u32, &super::CryptoSuite)| CryptoLine { tag, suite: *suite, key: srtp.keys.key(*suite) };
    (1..).zip(&srtp.suites).map(line).collect()
}

/// The answer's one line, which must be one that we offered (RFC 4568 §5.1.3).
fn accept_crypto(media: &Media, offered: &Media, session: &LocalSession) -> Result<Option<SrtpKeys>, SdpError> {
    if Profile::of(media) != Profile::of(offered) {
        return Err(SdpError::Security);
    }
    let (Some(srtp), Some(Profile::Savp)) = (&session.srtp, Profile::of(media)) else { return Ok(None) };
    let ours = CryptoLine::all(offered);
    let theirs = CryptoLine::all(media);
    let is_ours = |line: &&CryptoLine| ours.iter().any(|one| one.tag == line.tag && one.suite == line.suite);
    let chosen = theirs.iter().find(is_ours).ok_or(SdpError::Security)?;
    Ok(Some(SrtpKeys { suite: chosen.suite, local: srtp.keys.key(chosen.suite), remote: chosen.key.clone() }))
}

/// The first line with a codec of ours, or why there is none.
fn choose(
    offer: &Session,
    capabilities: &Capabilities,
    session: &LocalSession,
) -> Result<(usize, Audio, CodecSpec, Format), SdpError> {
    let mut why = SdpError::NoAudio;
    for (line, media) in offer.medias.iter().enumerate().filter(|(_, media)| is_usable(media)) {
        if !Profile::of(media).is_some_and(|profile| session.takes(profile)) {
            why = SdpError::Security;
            continue;
        }
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
    events: &[(u8, u32, &str)],
    ptime_ms: u32,
    direction: Direction,
    crypto: &[CryptoLine],
) -> Media {
    let numbers = formats.iter().map(|(_, number)| *number).chain(events.iter().map(|(number, _, _)| *number));
    let list: Vec<String> = numbers.map(|number| number.to_string()).collect();
    let profile = match crypto.is_empty() {
        true => sdp_types::TransportProto::RtpAvp,
        false => sdp_types::TransportProto::RtpSavp,
    };
    let mut media = Media::new(sdp_types::MediaType::Audio, port, profile, list.join(" "));
    for line in crypto {
        media.add_attribute_with_value("crypto", line.to_attribute());
    }
    for (codec, number) in formats {
        media.add_attribute_with_value("rtpmap", codec.rtpmap(*number));
        if let Some(parameters) = &codec.parameters {
            media.add_attribute_with_value("fmtp", format!("{number} {parameters}"));
        }
    }
    for (number, clock_rate, list) in events {
        media.add_attribute_with_value("rtpmap", format!("{number} telephone-event/{clock_rate}"));
        media.add_attribute_with_value("fmtp", format!("{number} {list}"));
    }
    media.add_attribute_with_value("ptime", ptime_ms);
    media.add_attribute_from_str(direction.as_str());
    media
}

/// We take it where it is offered, and from then on offer it too.
fn note_rtcp_mux(media: &mut Media, session: &LocalSession) {
    if session.rtcp_mux {
        media.add_attribute_from_str(RTCP_MUX);
    }
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
