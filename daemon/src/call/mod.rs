//! Calls: who may come in, and one task for each that does.

mod listener;
mod record;
mod voice;
