//! The torture messages of RFC 4475: what the RFC allows to be done with each, and what we do.

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// A request we work on, with this method.
    Process(&'static str),
    /// A request we answer with this status, because of this header or property.
    Refuse(u16, &'static str),
    /// A response we take.
    Accept(u16),
    /// A response we drop.
    Discard,
}
use Ours::{Accept, Discard, Process, Refuse};

/// File, section of RFC 4475, statuses the RFC allows (0: work on it or drop it), and ours.
pub const TABLE: [(&str, &str, &[u16], Ours); 49] = [
    ("wsinv.dat", "3.1.1.1", &[0], Process("INVITE")),
    ("intmeth.dat", "3.1.1.2", &[405, 501], Refuse(501, "unknown method")),
    ("esc01.dat", "3.1.1.3", &[0], Process("INVITE")),
    ("escnull.dat", "3.1.1.4", &[0], Process("REGISTER")),
    ("esc02.dat", "3.1.1.5", &[405, 501], Refuse(501, "unknown method")),
    ("lwsdisp.dat", "3.1.1.6", &[0], Process("OPTIONS")),
    ("longreq.dat", "3.1.1.7", &[0], Process("INVITE")),
    ("dblreq.dat", "3.1.1.8", &[0], Process("REGISTER")),
    ("semiuri.dat", "3.1.1.9", &[0], Process("OPTIONS")),
    ("transports.dat", "3.1.1.10", &[0], Process("OPTIONS")),
    ("mpart01.dat", "3.1.1.11", &[0, 405, 415], Refuse(415, "body type")),
    ("unreason.dat", "3.1.1.12", &[0], Accept(200)),
    ("noreason.dat", "3.1.1.13", &[0], Accept(100)),
    ("badinv01.dat", "3.1.2.1", &[400], Refuse(400, "Via")),
    ("clerr.dat", "3.1.2.2", &[400], Refuse(400, "body shorter than Content-Length")),
    ("ncl.dat", "3.1.2.3", &[400], Refuse(400, "Content-Length")),
    ("scalar02.dat", "3.1.2.4", &[400], Refuse(400, "CSeq")),
    ("scalarlg.dat", "3.1.2.5", &[0], Discard),
    ("quotbal.dat", "3.1.2.6", &[400], Refuse(400, "To")),
    ("ltgtruri.dat", "3.1.2.7", &[400, 0], Refuse(400, "Request-URI")),
    ("lwsruri.dat", "3.1.2.8", &[400], Refuse(400, "Request-URI")),
    ("lwsstart.dat", "3.1.2.9", &[400, 0], Refuse(400, "Request-URI")),
    ("trws.dat", "3.1.2.10", &[400, 0], Refuse(400, "start line")),
    ("escruri.dat", "3.1.2.11", &[400, 0], Refuse(400, "Request-URI")),
    ("baddate.dat", "3.1.2.12", &[400, 0], Process("INVITE")),
    ("regbadct.dat", "3.1.2.13", &[400], Refuse(400, "Contact")),
    ("badaspec.dat", "3.1.2.14", &[400, 0], Refuse(400, "To")),
    ("baddn.dat", "3.1.2.15", &[400, 0], Refuse(400, "header line")),
    ("badvers.dat", "3.1.2.16", &[505], Refuse(505, "SIP version")),
    ("mismatch01.dat", "3.1.2.17", &[400], Refuse(400, "CSeq names another method")),
    ("mismatch02.dat", "3.1.2.18", &[400, 501], Refuse(400, "CSeq names another method")),
    ("bigcode.dat", "3.1.2.19", &[0], Discard),
    ("badbranch.dat", "3.2.1", &[400, 0], Process("OPTIONS")),
    ("insuf.dat", "3.3.1", &[400], Refuse(400, "From")),
    ("unkscm.dat", "3.3.2", &[416], Refuse(416, "URI scheme")),
    ("novelsc.dat", "3.3.3", &[416], Refuse(416, "URI scheme")),
    ("unksm2.dat", "3.3.4", &[0, 400, 404], Process("REGISTER")),
    ("bext01.dat", "3.3.5", &[420], Refuse(420, "extensions")),
    ("invut.dat", "3.3.6", &[415], Refuse(415, "body type")),
    ("regaut01.dat", "3.3.7", &[401, 0], Process("REGISTER")),
    ("multi01.dat", "3.3.8", &[400], Refuse(400, "From")),
    ("mcl01.dat", "3.3.9", &[400], Refuse(400, "Content-Length")),
    ("bcast.dat", "3.3.10", &[0], Discard),
    ("zeromf.dat", "3.3.11", &[0], Process("OPTIONS")),
    ("cparam01.dat", "3.3.12", &[0], Process("REGISTER")),
    ("cparam02.dat", "3.3.13", &[0], Process("REGISTER")),
    ("regescrt.dat", "3.3.14", &[0], Process("REGISTER")),
    ("sdp01.dat", "3.3.15", &[406, 0], Refuse(406, "nothing acceptable to the peer")),
    ("inv2543.dat", "3.4.1", &[0], Process("INVITE")),
];
