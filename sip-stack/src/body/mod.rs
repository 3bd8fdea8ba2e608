//! What requests carry besides session descriptions: small texts with small grammars, one file each.

pub mod dialog_info;
pub mod dtmf;
pub mod message_summary;
pub mod sipfrag;
