//! SIP and SDP as pure state machines.
//!
//! Bytes, commands and `now` go in; datagrams, events and the next deadline come out. There is no socket here, no clock,
//! no thread, no sound: a shell such as the daemon's `io` owns those, and a test can run a call from a seed on a virtual
//! clock. The loop of every shell is: give one input, take everything that comes out, wait until the deadline or the
//! next input.
//!
//! # Map
//! - [`message`]: requests, responses, headers, URIs; datagrams and streams to messages and back; what a UAS answers to
//!   a message that is wrong.
//! - [`body`]: what else requests carry.
//! - [`sdp`]: session descriptions, offer and answer for one audio stream.
//! - [`digest`]: who somebody is, for both sides.
//! - [`transaction`]: the four machines of RFC 3261 §17, each in a file with its diagram's states and timers.
//! - `dialog` and `ua`: what two user agents know of each other, and what each does with it; private, `endpoint` shows it.
//! - [`endpoint`]: datagram to transaction to dialog to event; owns every `handle_` and `poll_` a shell calls.
//!
//! # Invariants
//! - No byte from the network makes it panic, and no message makes it allocate beyond [`message::Limits`].
//! - What a peer sent is kept raw beside what we understood of it: unknown headers, odd spellings and bytes that are not
//!   UTF-8 come back as they were.
//! - Whose fault an error is decides what happens: [`message::PeerError`] is data and maps to one status code.
//!
//! # Standards
//! | RFC | What | Where |
//! |---|---|---|
//! | 3261 | SIP: grammar, transactions, dialogs | everywhere |
//! | 3262 | Reliable provisional responses | `ua/prack` |
//! | 3263 §4.3 | The next address; names are looked up by the shell | `ua/failover` |
//! | 3264, 6337 | Offer and answer | `sdp`, `ua` |
//! | 3311 | UPDATE | `ua/update` |
//! | 3323, 3325, 5806 | Privacy, asserted identity, Diversion | `message::header` |
//! | 3326 | Reason | `message::header` |
//! | 3327, 3608 | Path, Service-Route | `message::header`, `ua/register` |
//! | 3420, 3515, 3892, 4488 | Transfers and how they are reported on | `ua/refer`, `body::sipfrag` |
//! | 3581 | `rport` | `message::header` |
//! | 3605 | RTCP port | `sdp` |
//! | 3842, 4235 | Message waiting, lamp fields: the bodies | `body` |
//! | 3891 | Replaces | `ua/refer` |
//! | 3966 | `tel:` URIs | `message::uri` |
//! | 4028 | Session timers | `dialog/session_timer` |
//! | 4475 | Torture messages | `tests/tests/conformance_rfc4475.rs` |
//! | 4568, 7714 §14 | SRTP keys in descriptions | `sdp` |
//! | 4733 | telephone-event: its negotiation only | `sdp` |
//! | 5626 | Keep-alive on streams, outbound registrations | `endpoint/keep_alive`, `ua/register` |
//! | 6026 | Accepted state of INVITE transactions | `transaction` |
//! | 6086 | INFO, with the keys of a phone in it | `ua`, `body::dtmf` |
//! | 6665 | Subscriptions of peers | `ua/subscription` |
//! | 7616, 8760, 2617 | Digest authentication | `digest` |
//! | 8866 | SDP grammar (crate `sdp-types`) | `sdp` |
//!
//! # Why our own parser (2026-11)
//! rsip 0.4 (last release 2022) gets 19 of the 30 valid messages of RFC 4475 right: it does not see compact header names,
//! refuses folded lines, IPv6 and `tel:`, and ignores Content-Length. It serves as the second opinion in
//! `tests/tests/differential_rsip.rs`. A maintained parser that keeps raw values, bounds its memory and passes the same
//! tests would change our mind.

pub mod body;
mod dialog;
pub mod digest;
pub mod endpoint;
pub mod message;
pub mod sdp;
pub mod transaction;
mod ua;
