//! The sound card of the box itself: what comes out of a loudspeaker in the hall, where one is plugged in.
//!
//! Opened when somebody speaks and closed afterwards, so that a box without a card starts like any other, and a card may
//! be plugged in later. Only with the cargo feature `local-audio`; without it every card is one that is
//! [not built in](SoundCardError::NotBuiltIn).
//!
//! Left out on purpose: microphones. Nobody is heard who has not called.

#[cfg(not(feature = "local-audio"))]
mod absent;
#[cfg(feature = "local-audio")]
mod alsa;
#[cfg(feature = "local-audio")]
mod ring;

#[cfg(not(feature = "local-audio"))]
pub use absent::{Playback, open, outputs};
#[cfg(feature = "local-audio")]
pub use alsa::{Playback, open, outputs};
use thiserror::Error;

/// Why nothing comes out of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SoundCardError {
    /// The program was built without the feature `local-audio`.
    #[error("this program was built without sound cards (cargo feature local-audio)")]
    NotBuiltIn,
    /// None has that name.
    #[error("no output is called {0:?}")]
    NoSuchDevice(String),
    /// It offers no format or rate that we have.
    #[error("it takes neither 16-bit nor floating samples at a usual rate")]
    NoCommonFormat,
    /// What the driver says.
    #[error("{0}")]
    Driver(String),
}
