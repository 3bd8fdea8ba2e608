//! The converter on a tiny model made here.
