//! Calls: who may come in, and one task for each that does.
//!
//! ```text
//! SIP event ─► Router ─► who is it? ─► row in call_sessions ─► serve: the dial plan's course, step by step
//!                 │                                             ├ Attendant ─► CallTask: listener, conversation, voice
//!                 │                                             ├ Ring ─► ring ─► the first phone that answers ─┐
//!                 └ REGISTER ─► Phones                          └ Outside ─► Carriers ─► dial ──────────────────┴► Bridge
//! ```
//! A `Leg` is one side of a call that is up; an `Incoming` one that is not answered yet.
//!
//! What only some calls come to is a future of its own on the heap (`Box::pin`): a call takes the memory of what it is
//! doing, not of all that it could.

mod bridge;
mod carriers;
mod consult;
mod dial;
mod diversions;
mod ears;
mod emergency;
mod features;
mod figures;
mod hand_over;
mod incoming;
mod lamps;
mod leg;
mod legs;
mod lines;
mod listener;
mod mailbox;
mod message;
mod minutes;
pub(crate) mod monitor;
mod music;
pub(crate) mod negotiate;
mod onward;
mod paging;
mod phones;
mod pickups;
mod promise;
mod queue;
mod reach;
mod record;
mod recorder;
mod referral;
mod replace;
mod ring;
mod router;
mod serve;
mod services;
mod supervise;
mod switchboard;
mod tap;
mod task;
mod to_disk;
mod tones;
mod trunk_watch;
mod up;
mod voice;
mod waiting;

pub use bridge::Bridges;
pub use carriers::{Carriers, Places};
pub use diversions::Diversions;
pub use ears::{Ears, Loader};
pub use lamps::{Lamps, PACKAGES};
pub use legs::Legs;
pub use lines::Lines;
pub use minutes::Minutes;
pub use music::hold_music;
pub use phones::Phones;
pub use pickups::Pickups;
pub use router::Router;
pub use services::{Abilities, Mind, Services, Thought, ToolSource, Tools, VoiceActivityFactory};
pub use switchboard::{CallBack, SwitchError, Switchboard, serve as serve_desk};
pub use tones::Tones;
pub use trunk_watch::TrunkWatch;
pub use up::{CallsUp, Heard, LISTENER_LIMIT, Line, ListenError, Listening, Moment, TakeOverError, UpCall, Words};
