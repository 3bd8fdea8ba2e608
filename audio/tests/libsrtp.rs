//! SRTP against libsrtp, the library that most peers use: what either protects the other reads, to the byte.
//!
//! libsrtp runs as a process of its own, built here from `peers/libsrtp.c`; nothing of ours links it.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a peer that does not answer fails the test, with its error")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use audio::rtp::srtp::{Inbound, InboundError, MasterKey, Outbound, Profile};

/// libsrtp's word for a packet that came before (`srtp_err_status_replay_fail`).
const REPLAYED: &str = "error 9";
/// For one whose tag is wrong (`srtp_err_status_auth_fail`).
const FORGED: &str = "error 7";

/// Two hours with the roll-over counter at work, a fifth lost, all profiles, RTP and RTCP.
#[test]
fn libsrtp_and_we_read_each_other() {
    let Some(program) = libsrtp_program() else { return };
    let mut peer = Peer::start(&program);
    for profile in Profile::ALL {
        let key = MasterKey::generate(profile, |bytes| bytes.iter_mut().zip(3..).for_each(|(to, from)| *to = from));
        assert_eq!(peer.ask(&format!("key {} {}", profile.name(), hex(key.as_inline()))), "", "{profile:?}");
        let (mut outbound, mut inbound) = (Outbound::new(&key), Inbound::new(&key));
        // A thousandth of the packets is enough, as long as no step reaches half a cycle.
        for (step, position) in (0..360_000_u32).step_by(997).enumerate() {
            if step % 5 == 4 {
                continue;
            }
            let plain = rtp(position as u16, step);
            let mut ours = plain.clone();
            outbound.protect_rtp(&mut ours).unwrap();
            let theirs = peer.ask(&format!("protect {}", hex(&plain)));
            assert_eq!(theirs, hex(&ours), "{profile:?}, packet {position}");
            check_damaged(&mut peer, &mut inbound, &theirs);
            assert_eq!(peer.ask(&format!("unprotect {theirs}")), hex(&plain), "{profile:?}, packet {position}");
            assert_eq!(inbound.unprotect_rtp(&mut unhex(&theirs)), Ok(&plain[..]), "{profile:?}, packet {position}");
            check_repeated(&mut peer, &mut inbound, &theirs);
        }
        for step in 0..50 {
            check_rtcp(&mut peer, &mut outbound, &mut inbound, step);
        }
    }
}

/// Both call a damaged packet damaged, whatever is damaged, and take the genuine one afterwards.
fn check_damaged(peer: &mut Peer, inbound: &mut Inbound, packet: &str) {
    for at in [4, packet.len() / 2 - 1] {
        let mut damaged = unhex(packet);
        damaged[at] ^= 1;
        assert_eq!(peer.ask(&format!("unprotect {}", hex(&damaged))), FORGED);
        assert_eq!(inbound.unprotect_rtp(&mut damaged), Err(InboundError::AuthenticationFailed));
    }
}

/// Both call a repeated packet repeated.
fn check_repeated(peer: &mut Peer, inbound: &mut Inbound, packet: &str) {
    assert_eq!(peer.ask(&format!("unprotect {packet}")), REPLAYED);
    assert_eq!(inbound.unprotect_rtp(&mut unhex(packet)), Err(InboundError::Replayed));
}

/// Indices differ (libsrtp begins with 1, RFC 3711 §3.4 with 0), so the packets do.
fn check_rtcp(peer: &mut Peer, outbound: &mut Outbound, inbound: &mut Inbound, step: usize) {
    let plain = rtcp(step);
    let mut ours = plain.clone();
    outbound.protect_rtcp(&mut ours).unwrap();
    assert_eq!(peer.ask(&format!("unprotect_rtcp {}", hex(&ours))), hex(&plain));
    let theirs = peer.ask(&format!("protect_rtcp {}", hex(&plain)));
    assert_eq!(inbound.unprotect_rtcp(&mut unhex(&theirs)), Ok(&plain[..]));
    assert_eq!(inbound.unprotect_rtcp(&mut unhex(&theirs)), Err(InboundError::Replayed));
}

/// A packet with CSRCs and an extension now and then, and payloads from none to a full frame.
fn rtp(sequence: u16, step: usize) -> Vec<u8> {
    let (csrcs, has_extension) = (step % 3, step % 4 == 1);
    let mut packet = vec![0x80 | csrcs as u8 | u8::from(has_extension) << 4, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 1, 2, 3, 0xca, 0xfe, 0xba, 0xbe]);
    packet.extend(vec![9; 4 * csrcs]);
    if has_extension {
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 7, 0, 0]);
    }
    packet.extend((0..step % 161).map(|byte| byte as u8));
    packet
}

fn rtcp(step: usize) -> Vec<u8> {
    let words = 6 + step % 20;
    let mut packet = vec![0x80, 200, 0, words as u8, 0xca, 0xfe, 0xba, 0xbe];
    packet.extend((0..4 * (words - 1)).map(|byte| byte as u8));
    packet
}

/// libsrtp, one question and one answer a line.
struct Peer {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(program: &Path) -> Self {
        let mut process = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let questions = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, questions, answers }
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.questions, "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Builds the program, if this machine has a C compiler and libsrtp.
fn libsrtp_program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libsrtp_peer");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/libsrtp.c");
    let compiled = Command::new("cc").arg("-o").arg(&program).arg(source).arg("-lsrtp2").output();
    match compiled {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => skipped(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no reason given")),
        Err(error) => skipped(&error.to_string()),
    }
}

fn skipped(reason: &str) -> Option<PathBuf> {
    // Past the test's capture of its output, so that it is seen.
    let _ =
        writeln!(std::io::stderr(), "\n*** SKIPPED: no libsrtp to compare with (Debian: libsrtp2-dev): {reason} ***\n");
    None
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
