//! How much of a peer's message we are willing to hold. Checked before anything is allocated for it.

/// Bounds on one message. The defaults hold every message a SIP trunk or desk phone sends, many times over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Start line, headers and body together.
    pub message_bytes: usize,
    /// The start line, or one header with its folded continuation lines.
    pub line_bytes: usize,
    /// Header lines; a comma-separated list counts once here and is bounded by `line_bytes`.
    pub header_count: usize,
    /// The body, as announced by Content-Length or as found in the datagram.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // 64 KiB is the largest UDP datagram, and RFC 3261 §18.1.1 asks that such a one be accepted.
        Self { message_bytes: 65_536, line_bytes: 8_192, header_count: 256, body_bytes: 65_536 }
    }
}
