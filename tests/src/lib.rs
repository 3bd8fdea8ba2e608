//! Test rigs shared by the whole-system tests.

pub mod relay;
