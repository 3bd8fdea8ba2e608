//! The test caller behind `offhook call`: a real SIP user agent that speaks, listens and measures.

pub mod turn_taker;
