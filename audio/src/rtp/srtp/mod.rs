//! SRTP and SRTCP: RTP that nobody on the way can read or change (RFC 3711), with the AEAD transforms of RFC 7714 and
//! keys as SDES hands them over (RFC 4568).
//!
//! Each direction of a media stream has its own master key, chosen by the side that sends. [`Outbound`] takes packets
//! of ours and protects them where they lie, [`Inbound`] checks and decrypts the peer's; both keep what RFC 3711 §3.2
//! calls cryptographic contexts, one for each SSRC. A packet changes nothing before it is known to be genuine.
//!
//! ```text
//!  0                12                                            length
//!  ├── RTP header ──┼── payload, encrypted ──┤                          RFC 3711 §3.1
//!  ├──────────────── authenticated ──────────┼── tag ──┤                the roll-over counter is authenticated too
//!
//!  ├ 8 bytes ┼── reports, encrypted ──┼ E + index ┼── tag ──┤           SRTCP, RFC 3711 §3.4
//!  ├ 8 bytes ┼── reports, encrypted ──┼── tag ──┼ E + index ┤           SRTCP, RFC 7714 §9
//! ```
//!
//! **The roll-over counter.** The wire carries 16 bits of the 48-bit index that key streams are made from. The sender
//! counts the rest, the receiver estimates it (§3.3.1): right through loss and reordering of up to half a cycle, 32 768
//! packets. It starts at zero, so a first sequence number close to the wrap would be mistaken if the packets before the
//! wrap were lost: start streams at [`first_sequence`].
//!
//! **New keys in mid-call.** When an offer and answer bring another key, call `rekey`, in any order with the packets:
//! - [`Outbound::rekey`] goes on with the same roll-over counter, which RFC 3711 §3.3.1 demands. If our address or port
//!   changes with the key, the peer expects the counter to start again (RFC 4568 §7.1.4): make a new [`Outbound`].
//! - [`Inbound::rekey`] keeps the old key until [`KEEP_OLD_KEY_PACKETS`] packets have come under the new one, since
//!   packets overtake signalling and each other; so no frame is lost. Peers disagree on whether the counter goes on or
//!   starts again; until a packet has proved one of them, both are tried.
//!
//! Sequence numbers and timestamps do not notice, so the jitter buffer does not either and nothing clicks.
//!
//! Left out on purpose: MKI and key derivation rates other than zero (nobody uses them with SDES; `sip-stack` refuses
//! such crypto lines), unencrypted or unauthenticated streams, F8, DTLS-SRTP, encrypted header extensions (RFC 6904).

mod cm_hmac;
mod derive;
mod error;
mod gcm;
mod inbound;
mod index;
mod key;
mod outbound;
mod profile;
#[cfg(test)]
mod tests;
mod transform;
mod wire;

pub use error::{InboundError, InboundErrorCounts, OutboundError};
pub use inbound::{Inbound, InboundStats, KEEP_OLD_KEY_PACKETS, MAX_INBOUND_SOURCES};
pub use key::{KeyError, Keys, MasterKey};
pub use outbound::{MAX_OUTBOUND_SOURCES, Outbound};
pub use profile::Profile;

/// Packets one master key may protect: 2⁴⁸ of RTP (RFC 3711 §9.2).
const MAX_RTP_PACKETS: u64 = 1 << 48;

/// Packets one master key may protect: 2³¹ of RTCP (RFC 3711 §9.2).
const MAX_RTCP_PACKETS: u64 = 1 << 31;

/// A first sequence number out of a random one: the lower half, far from the wrap (RFC 4568 §6.4).
pub const fn first_sequence(random: u16) -> u16 {
    random & 0x7fff
}
