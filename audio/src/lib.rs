//! What happens to sound.
