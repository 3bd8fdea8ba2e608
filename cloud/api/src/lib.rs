//! What box and cloud say to each other: the generated code of the `.proto` files, and what both ends must compute alike.
//!
//! ```text
//! Enroll  Claim, Renew               a certificate by which the cloud knows a box
//! Sync    Connect                    one stream: rows up, wishes down
//! Blobs   Begin, Put, Commit, Get    recordings
//! Backups List, Begin, Put, …        sealed files under names of the box's own
//! Fleet   ListBoxes, SetDesired, …   for whoever manages boxes
//! ```
//! The files in `proto` may grow, never change: a test compares them with `released.proto.txt`, a listing of every name and
//! number that a released box may speak.
//!
//! Both may be told by Twilio what became of text messages, and by nobody else: [`signature`].
//!
//! Left out on purpose: the transport (`daemon` and `cloud` each open their own end) and any decision about a message.
//!
//! **Why gRPC with one stream, 2026-11.** A box behind an office's router can only call out, and the cloud has something to
//! say to it at any time; MQTT needs a broker that keeps what the cloud's database keeps anyway, and plain HTTP a second
//! way down. Should a network between cut long streams, the messages stay the same over short ones: each batch stands
//! for itself.

pub mod codec;
pub mod digest;
pub mod signature;

/// The generated messages and services.
#[expect(missing_docs, reason = "generated: its documentation is in the .proto files")]
pub mod v1 {
    tonic::include_proto!("offhook.v1");
}

/// The protocol's number in [`v1::Hello`]. It changes only if a cloud could not even refuse an older box politely.
pub const PROTOCOL: u32 = 1;
