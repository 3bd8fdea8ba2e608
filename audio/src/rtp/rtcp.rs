//! RTCP (RFC 3550 §6): reports both ways.
