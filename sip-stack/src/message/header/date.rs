//! Date, always in GMT (RFC 3261 §20.17).
