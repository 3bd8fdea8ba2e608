//! Offer and answer for the caller's leg: SDP's codec names become codecs, its addresses become a stream.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use audio::codec::CodecKind;
use audio::rtp::srtp::{Keys, MasterKey, Profile};
use audio::rtp::{PayloadType, ReceiverConfig, SenderConfig};
use sip_stack::body::dtmf::KeyPress;
use sip_stack::endpoint::{CallHandle, Event, Transport};
use sip_stack::message::{Request, StatusCode};
use sip_stack::sdp::{
    self, Capabilities, CodecSpec, CryptoSuite, KeyMaterial, LocalSession, Negotiated, SdpError, SessionDescription,
    SrtpKeys, SrtpPolicy,
};
use tracing::debug;

use super::services::Services;
use super::task::End;
use crate::config::SrtpUse;
use crate::io::media::StreamConfig;
use crate::io::ports::MediaPort;

/// What was agreed about sound, and what is needed to agree again.
pub(crate) struct MediaAgreement {
    port: Option<MediaPort>,
    advertised: SocketAddr,
    /// What the peer knows of it.
    told: IpAddr,
    signalled_from: IpAddr,
    session: LocalSession,
    capabilities: Capabilities,
    /// `None` until the answer is there (late offer).
    negotiated: Option<Negotiated>,
    /// Of what was negotiated; `None` is plain RTP.
    srtp: Option<Keys>,
    sender: SenderConfig,
}

impl MediaAgreement {
    /// Nothing agreed yet; `port` will carry the sound, `advertised` is how the peer reaches us, its signalling comes from
    /// `signalled_from`, and `srtp` is what its creator wants. Offers under [`SrtpUse::Required`] carry our keys: such an
    /// agreement must not make one for an unencrypted transport ([`may_offer`]).
    pub(crate) fn new(port: MediaPort, advertised: IpAddr, signalled_from: IpAddr, srtp: SrtpUse) -> MediaAgreement {
        let advertised = SocketAddr::new(advertised, port.local().port());
        let sender = StreamConfig::plain(advertised, CodecKind::Pcmu).sender;
        MediaAgreement {
            port: Some(port),
            advertised,
            told: advertised.ip(),
            signalled_from,
            session: session(srtp),
            capabilities: Capabilities::default(),
            negotiated: None,
            srtp: None,
            sender,
        }
    }

    /// Also with the codecs that sound better than a telephone, before it.
    pub(crate) fn with_wideband(mut self) -> MediaAgreement {
        self.capabilities.codecs.splice(0..0, [CodecSpec::OPUS, CodecSpec::G722]);
        self
    }

    /// Answers `offer`; the answer is to be sent.
    pub(crate) fn answer(&mut self, offer: &[u8]) -> Result<Vec<u8>, SdpError> {
        let offer = SessionDescription::parse(offer)?;
        let (answer, negotiated) = sdp::answer(&offer, &self.capabilities, self.advertised, &mut self.session)?;
        self.agree(negotiated)?;
        Ok(answer.to_bytes())
    }

    /// Our offer, for an INVITE of ours or for the 200 to an INVITE without one.
    pub(crate) fn offer(&mut self) -> Vec<u8> {
        sdp::offer(&self.capabilities, self.advertised, &mut self.session).to_bytes()
    }

    /// The peer's answer to our offer.
    pub(crate) fn accept(&mut self, answer: &[u8]) -> Result<(), SdpError> {
        let answer = SessionDescription::parse(answer)?;
        self.agree(sdp::accept_answer(&answer, &self.capabilities, &self.session)?)
    }

    /// We are reached under `address` from now on: the offer that says so, unless the peer knows.
    pub(crate) fn move_to(&mut self, address: IpAddr) -> Option<Vec<u8>> {
        self.advertised.set_ip(address);
        (self.told != address).then(|| self.offer())
    }

    /// Where the peer's signalling comes from.
    pub(crate) fn signalled_from(&self) -> IpAddr {
        self.signalled_from
    }

    fn agree(&mut self, negotiated: Negotiated) -> Result<(), SdpError> {
        self.told = self.advertised.ip();
        self.srtp = negotiated.srtp.as_ref().map(media_keys).transpose()?;
        self.negotiated = Some(negotiated);
        Ok(())
    }

    /// Whether the sound is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.srtp.is_some()
    }

    /// Whether there is something to send to.
    pub(crate) fn is_complete(&self) -> bool {
        self.negotiated.is_some()
    }

    /// The socket, once.
    pub(crate) fn take_port(&mut self) -> Option<MediaPort> {
        self.port.take()
    }

    /// Whether the peer has put us on hold: it does not listen (RFC 3264 §8.4).
    pub(crate) fn on_hold(&self) -> bool {
        self.negotiated.as_ref().is_some_and(|negotiated| !negotiated.direction.sends())
    }

    /// Whether the peer may be silent: by agreement, or because it holds; phones that hold say `sendonly` and send
    /// nothing.
    pub(crate) fn may_be_silent(&self) -> bool {
        self.on_hold() || self.negotiated.as_ref().is_some_and(|negotiated| !negotiated.direction.receives())
    }

    /// The codec's SDP name; `none` before an answer.
    pub(crate) fn codec_name(&self) -> &'static str {
        self.negotiated.as_ref().map_or("none", |negotiated| codec_of(negotiated).name())
    }

    /// How the stream is to run.
    pub(crate) fn stream(&self) -> StreamConfig {
        let Some(negotiated) = &self.negotiated else {
            return StreamConfig { sending: false, ..StreamConfig::plain(self.advertised, CodecKind::Pcmu) };
        };
        let codec = codec_of(negotiated);
        let payload_type = |number| PayloadType::new(number).unwrap_or(codec.payload_type());
        // A peer may change between these at any packet; Opus only has the number that was agreed.
        let has = |kind: &CodecKind| self.capabilities.codecs.iter().any(|spec| spec.name == kind.name());
        let static_codecs: Vec<CodecKind> =
            CodecKind::ALL.into_iter().filter(|kind| *kind != CodecKind::Opus && has(kind)).collect();
        let mut receiver =
            ReceiverConfig::new(&static_codecs, negotiated.dtmf_payload_type_receive.and_then(PayloadType::new));
        // Without telephone events keys can only be heard.
        receiver.listens_for_tones = receiver.dtmf_payload_type.is_none();
        // Of the codec that is agreed, whichever stands first in the list.
        receiver.dtmf_clock_rate = Some(codec.clock_rate());
        let received = payload_type(negotiated.payload_type_receive);
        if !receiver.codecs.iter().any(|(known, _)| *known == received) {
            receiver.codecs.push((received, codec));
        }
        let sender = SenderConfig {
            payload_type: payload_type(negotiated.payload_type_send),
            codec,
            dtmf_payload_type: negotiated.dtmf_payload_type_send.and_then(PayloadType::new),
            ..self.sender
        };
        StreamConfig {
            remote: negotiated.remote,
            remote_rtcp: negotiated.remote_rtcp,
            rtcp_mux: negotiated.rtcp_mux,
            signalled_from: self.signalled_from,
            receiver,
            sender,
            sending: negotiated.direction.sends(),
            srtp: self.srtp.clone(),
        }
    }
}

/// Whether an offer of ours may go over `transport`: one with keys in it must not be read on the way.
pub(crate) fn may_offer(srtp: SrtpUse, transport: Transport) -> bool {
    match (srtp, transport) {
        (SrtpUse::Never | SrtpUse::Accepted, _) | (SrtpUse::Required, Transport::Tls) => true,
        (SrtpUse::Required, Transport::Udp | Transport::Tcp) => false,
    }
}

fn session(srtp: SrtpUse) -> LocalSession {
    let session = LocalSession::new(rand::random::<u32>().into());
    let is_required = match srtp {
        SrtpUse::Never => return session,
        SrtpUse::Accepted => false,
        SrtpUse::Required => true,
    };
    session.with_srtp(SrtpPolicy {
        is_required,
        // A peer that could not would refuse the call; and ours may be the first to be read on the way.
        is_offered: false,
        // What carriers and phones have (RFC 4568 §6.2). The longer tag costs six bytes a packet.
        suites: vec![CryptoSuite::AesCm128HmacSha1_80, CryptoSuite::AesCm128HmacSha1_32],
        keys: KeyMaterial::generate(|bytes| rand::fill(bytes)),
    })
}

/// The description's keys as the media thread has them. They have the length of their suite, so this does not fail; if it
/// ever did, the stream must not become a plain one.
fn media_keys(keys: &SrtpKeys) -> Result<Keys, SdpError> {
    let profile = match keys.suite {
        CryptoSuite::AesCm128HmacSha1_80 => Profile::AesCm128HmacSha1_80,
        CryptoSuite::AesCm128HmacSha1_32 => Profile::AesCm128HmacSha1_32,
        CryptoSuite::AeadAes128Gcm => Profile::AeadAes128Gcm,
    };
    let key = |key: &sdp::MasterKey| MasterKey::from_inline(profile, key.as_bytes()).map_err(|_| SdpError::Security);
    Ok(Keys { outbound: key(&keys.local)?, inbound: key(&keys.remote)? })
}

/// We offer and accept only codecs we have, so the name is always known; µ-law is what every peer must take.
fn codec_of(negotiated: &Negotiated) -> CodecKind {
    CodecKind::from_name(&negotiated.codec.name).unwrap_or(CodecKind::Pcmu)
}

/// The response and the end of a call whose offer cannot be used.
pub(super) fn refusal(error: SdpError) -> (StatusCode, End) {
    match error {
        SdpError::Malformed | SdpError::AnswerMismatch => (StatusCode::BAD_REQUEST, End::BAD_OFFER),
        SdpError::Security => (StatusCode::NOT_ACCEPTABLE_HERE, End::NO_COMMON_SECURITY),
        SdpError::NoAudio | SdpError::NoCommonCodec | SdpError::Address => {
            (StatusCode::NOT_ACCEPTABLE_HERE, End::NO_COMMON_CODEC)
        }
    }
}

/// What an event inside the dialog means for the call.
pub(super) enum InDialog {
    /// Nothing to do.
    Nothing,
    /// Address, codec or direction may have changed.
    MediaChanged,
    /// A key was pressed, told by INFO (RFC 6086).
    Pressed(char),
    /// The call is over.
    Ended(End),
}

/// Answers re-INVITEs and tells what else happened.
pub(super) async fn in_dialog(
    services: &Arc<Services>,
    handle: CallHandle,
    event: Event,
    agreement: &mut MediaAgreement,
) -> InDialog {
    match event {
        Event::ReinviteReceived { offer, .. } => reinvite(services, handle, offer, agreement).await,
        Event::UpdateReceived { offer, .. } => update(services, handle, &offer, agreement).await,
        Event::InfoReceived { request, .. } => key_of(&request).map_or(InDialog::Nothing, InDialog::Pressed),
        Event::AckReceived { answer: Some(answer), .. } => match agreement.accept(&answer) {
            Ok(()) => InDialog::MediaChanged,
            Err(error) => {
                debug!(%error, "Answer in ACK not usable");
                InDialog::Ended(refusal(error).1)
            }
        },
        Event::ByeReceived { .. } => InDialog::Ended(End::CALLER_HANGUP),
        Event::CallEnded { cause, .. } => InDialog::Ended(End::of_dialog(cause)),
        Event::AckTimedOut { .. } => InDialog::Ended(End::NO_ACK),
        Event::Cancelled { .. } => InDialog::Ended(End::CALLER_CANCELLED),
        Event::ReinviteConfirmed { answer: Some(answer), .. } | Event::ReinviteAnswered { sdp: Some(answer), .. } => {
            match agreement.accept(&answer) {
                Ok(()) => InDialog::MediaChanged,
                // The session stays as it was (RFC 3261 §14.2).
                Err(error) => {
                    debug!(%error, "Answer to our offer not usable");
                    InDialog::Nothing
                }
            }
        }
        Event::InviteReceived { .. }
        | Event::AckReceived { .. }
        | Event::ReinviteCancelled { .. }
        | Event::ReinviteConfirmed { .. }
        | Event::ReinviteAnswered { .. }
        | Event::ReinviteRejected { .. }
        | Event::ProvisionalReceived { .. }
        | Event::Answered { .. }
        | Event::Rejected { .. }
        | Event::TimedOut { .. }
        | Event::TransportFailed { .. }
        | Event::RequestReceived { .. }
        | Event::RequestAnswered { .. }
        | Event::RequestFailed { .. }
        | Event::AuthenticationFailed { .. }
        | Event::Registration { .. }
        | Event::UpdateAnswered { .. }
        | Event::UpdateRejected { .. }
        | Event::Transfer { .. }
        | Event::ReferReceived { .. }
        | Event::DestinationFailed { .. }
        | Event::SubscriptionRequested { .. }
        | Event::SubscriptionEnded { .. }
        | Event::PeerErrorSeen { .. } => InDialog::Nothing,
    }
}

/// The key in the body of an INFO.
fn key_of(request: &Request) -> Option<char> {
    let media_type = request.headers.content_type().ok()??;
    KeyPress::parse(&media_type.kind, &media_type.subtype, &request.body).map(|press| press.key)
}

/// Another session without the steps of an INVITE (RFC 3311).
async fn update(
    services: &Arc<Services>,
    handle: CallHandle,
    offer: &[u8],
    agreement: &mut MediaAgreement,
) -> InDialog {
    let answered = match agreement.answer(offer) {
        Ok(sdp) => services.sip.with(move |endpoint, now| endpoint.answer_update(handle, sdp, now).is_ok()).await,
        Err(error) => {
            let (status, _) = refusal(error);
            services.sip.with(move |endpoint, now| endpoint.reject_update(handle, status, now).is_ok()).await
        }
    };
    answered.map_or(InDialog::Ended(End::INTERNAL), |_| InDialog::MediaChanged)
}

async fn reinvite(
    services: &Arc<Services>,
    handle: CallHandle,
    offer: Option<Vec<u8>>,
    agreement: &mut MediaAgreement,
) -> InDialog {
    let ours = match offer {
        Some(offer) => agreement.answer(&offer),
        None => Ok(agreement.offer()),
    };
    let answered = match ours {
        Ok(sdp) => services.sip.with(move |endpoint, now| endpoint.answer_reinvite(handle, sdp, now).is_ok()).await,
        Err(error) => {
            let (status, _) = refusal(error);
            services.sip.with(move |endpoint, now| endpoint.reject_reinvite(handle, status, now).is_ok()).await
        }
    };
    match answered {
        Ok(_) => InDialog::MediaChanged,
        Err(_) => InDialog::Ended(End::INTERNAL),
    }
}

#[cfg(test)]
mod tests {
    use sip_stack::message::{Method, Uri};

    use super::*;
    use crate::io::ports::PortPool;

    fn agreement(srtp: SrtpUse) -> MediaAgreement {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        MediaAgreement::new(PortPool::new(loopback, 0, 1).lend().unwrap(), loopback, loopback, srtp)
    }

    /// What becomes of an offer made under `theirs` that is answered under `ours`: whether it is encrypted, or why there is
    /// no call.
    fn agreed(theirs: SrtpUse, ours: SrtpUse) -> Result<bool, SdpError> {
        let (mut caller, mut callee) = (agreement(theirs), agreement(ours));
        let answer = callee.answer(&caller.offer())?;
        caller.accept(&answer)?;
        let (near, far) = (caller.stream().srtp, callee.stream().srtp);
        match (&near, &far) {
            (Some(near), Some(far)) => assert!(near.outbound == far.inbound && near.inbound == far.outbound),
            (None, None) => {}
            _ => panic!("one of the two sends plain RTP"),
        }
        Ok(near.is_some())
    }

    #[test]
    fn srtp_is_taken_when_offered_and_demanded_only_where_required() {
        use SrtpUse::{Accepted, Never, Required};
        for (theirs, ours, expected) in [
            (Never, Never, Ok(false)),
            (Never, Accepted, Ok(false)),
            (Never, Required, Err(SdpError::Security)),
            (Accepted, Accepted, Ok(false)),
            (Required, Never, Err(SdpError::Security)),
            (Required, Accepted, Ok(true)),
            (Required, Required, Ok(true)),
        ] {
            assert_eq!(agreed(theirs, ours), expected, "offered by {theirs:?} to {ours:?}");
        }
        assert_eq!(refusal(SdpError::Security).1.cause, "no_common_security");
    }

    /// Two calls never share a key, and a hold does not change the keys of its call.
    #[test]
    fn each_call_has_keys_of_its_own_and_keeps_them() {
        let offer = agreement(SrtpUse::Required).offer();
        let keys_of = |agreement: &mut MediaAgreement| {
            agreement.answer(&offer).unwrap();
            agreement.stream().srtp.unwrap().outbound
        };
        let (mut one, mut other) = (agreement(SrtpUse::Accepted), agreement(SrtpUse::Accepted));
        let first = keys_of(&mut one);
        assert!(first != keys_of(&mut other));
        assert!(first == keys_of(&mut one));
    }

    #[test]
    fn keys_are_not_offered_where_they_can_be_read() {
        assert!(may_offer(SrtpUse::Required, Transport::Tls));
        assert!(!may_offer(SrtpUse::Required, Transport::Udp) && !may_offer(SrtpUse::Required, Transport::Tcp));
        assert!(may_offer(SrtpUse::Accepted, Transport::Udp));
        let plain = agreement(SrtpUse::Accepted).offer();
        assert!(!String::from_utf8(plain).unwrap().contains("crypto"));
    }

    #[test]
    fn keys_of_info_are_read_in_both_their_bodies() {
        let key = |media_type: &str, body: &str| {
            let mut request = Request::new(Method::Info, Uri::parse(b"sip:office@192.0.2.1").unwrap());
            request.set_body(media_type, body.into());
            key_of(&request)
        };
        assert_eq!(key("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), Some('5'));
        assert_eq!(key("application/dtmf", "#"), Some('#'));
        assert_eq!(key("application/dtmf", "hello"), None);
        assert_eq!(key("text/plain", "5"), None);
    }
}
