//! Who is banned, for the packet filter: what the gate refuses in the daemon, nftables refuses in the kernel.
//!
//! ```text
//! gate ─► <state>/bans ─► offhook-bans.path ─► offhook bans apply ─► nft -f - ─► inet offhook banned4, banned6
//!  daemon, no privilege       systemd             CAP_NET_ADMIN, nothing else
//! ```
//! The daemon may not touch the packet filter, and does not: it writes addresses and times. Whoever may touch it reads
//! nothing but addresses and times, so that a hole in the daemon opens no port. Entries leave the sets by themselves
//! when their time is over; the sets belong to the ruleset of the box (`image/files/etc/nftables.conf`).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::warn;

use super::gate::SharedGate;
use crate::durable;
use crate::storage::UnixMs;

/// Below the state folder.
const FILE: &str = "bans";
/// Bans are written so soon after they are made; many at once are one file.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// More than the gate has, and what a file that is no such file is cut at.
const LINE_LIMIT: usize = 8_192;
/// Longest time in the set: as the gate's longest ban.
const LONGEST_SECONDS: u64 = 24 * 3_600;

/// An address and when it is welcome again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ban {
    /// Who.
    pub address: IpAddr,
    /// Seconds since 1970.
    pub until: u64,
}

/// Where the bans lie.
pub fn file(state_directory: &Path) -> PathBuf {
    state_directory.join(FILE)
}

/// The bans of the run before this one hold on: a restart is no amnesty. A file that cannot be read is one.
pub(crate) fn restore(gate: &SharedGate, state_directory: &Path) {
    let text = std::fs::read_to_string(file(state_directory)).unwrap_or_default();
    let (now, unix_now) = (Instant::now(), now_seconds());
    for Ban { address, until } in read(&text, unix_now) {
        gate.with(|gate| gate.restore(address, Duration::from_secs(until - unix_now), now));
    }
}

/// Writes the gate's bans whenever they change. Ends with its task.
pub(crate) async fn follow(gate: SharedGate, state_directory: PathBuf) {
    let path = file(&state_directory);
    let mut interval = tokio::time::interval(WRITE_INTERVAL);
    let mut known = None;
    loop {
        interval.tick().await;
        let (count, bans) = gate.with(|gate| (gate.ban_changes(), gate.bans(Instant::now())));
        if known == Some(count) {
            continue;
        }
        known = Some(count);
        let text = written(&bans, now_seconds());
        let path = path.clone();
        // Not read by anybody but ourselves and who applies them: 0600.
        let write = move || durable::write(&path, text.as_bytes(), 0o600);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => warn!(%error, "Bans not written; the packet filter does not know them"),
        }
    }
}

/// Seconds since 1970.
pub fn now_seconds() -> u64 {
    u64::try_from(UnixMs::now().0 / 1_000).unwrap_or_default()
}

/// One a line: address and end.
fn written(bans: &[(IpAddr, Duration)], now: u64) -> String {
    let mut text = String::new();
    for (address, left) in bans {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{address} {}", now + left.as_secs().max(1));
    }
    text
}

/// The bans of a file that hold at `now`. Lines that are no bans are left out.
pub fn read(text: &str, now: u64) -> Vec<Ban> {
    let ban = |line: &str| {
        let (address, until) = line.split_once(' ')?;
        let ban = Ban { address: address.parse().ok()?, until: until.parse().ok()? };
        (ban.until > now && !ban.address.is_unspecified()).then_some(ban)
    };
    text.lines().take(LINE_LIMIT).filter_map(ban).collect()
}

/// What makes these, and no others, the banned addresses: commands for `nft -f -`, all or nothing.
pub fn script(bans: &[Ban], now: u64) -> String {
    let mut text = String::new();
    for (set, wanted) in [("banned4", true), ("banned6", false)] {
        let _ = writeln!(text, "flush set inet offhook {set}");
        let mut of_family: Vec<_> = bans.iter().filter(|ban| ban.address.is_ipv4() == wanted).collect();
        // The set does not take an address twice.
        of_family.sort_by_key(|ban| (ban.address, std::cmp::Reverse(ban.until)));
        of_family.dedup_by_key(|ban| ban.address);
        for Ban { address, until } in of_family {
            let seconds = until.saturating_sub(now).clamp(1, LONGEST_SECONDS);
            let _ = writeln!(text, "add element inet offhook {set} {{ {address} timeout {seconds}s }}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use expect_test::expect;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn ban(address: &str, seconds: u64) -> Ban {
        Ban { address: address.parse().unwrap(), until: NOW + seconds }
    }

    #[test]
    fn what_is_written_is_read_until_it_is_over() {
        let gate: Vec<(IpAddr, Duration)> = [("192.0.2.7", 60), ("2001:db8::7", 120)]
            .map(|(address, seconds)| (address.parse().unwrap(), Duration::from_secs(seconds)))
            .into();
        let text = written(&gate, NOW);
        assert_eq!(read(&text, NOW), [ban("192.0.2.7", 60), ban("2001:db8::7", 120)]);
        assert_eq!(read(&text, NOW + 60), [ban("2001:db8::7", 120)]);
    }

    /// What root hands to the packet filter is made of addresses and numbers, whatever stands in the file.
    #[test]
    fn nothing_but_bans_gets_through() {
        for line in [
            "",
            "192.0.2.7",
            "192.0.2.0/24 9999999999",
            "192.0.2.7 timeout 1s }; flush ruleset; #",
            "192.0.2.7 -1",
            "192.0.2.7 9999999999 9",
            "0.0.0.0 9999999999",
            "include \"/etc/shadow\"",
        ] {
            assert_eq!(read(line, NOW), [], "{line}");
        }
        let endless = "192.0.2.7 9999999999\n".repeat(LINE_LIMIT + 5);
        assert_eq!(read(&endless, NOW).len(), LINE_LIMIT);
    }

    #[test]
    fn the_script_makes_the_sets_what_they_are_to_be() {
        let bans = [ban("2001:db8::7", 1), ban("192.0.2.7", 60), ban("192.0.2.7", 90), ban("192.0.2.1", 9_999_999)];
        expect![[r"
            flush set inet offhook banned4
            add element inet offhook banned4 { 192.0.2.1 timeout 86400s }
            add element inet offhook banned4 { 192.0.2.7 timeout 90s }
            flush set inet offhook banned6
            add element inet offhook banned6 { 2001:db8::7 timeout 1s }
        "]]
        .assert_eq(&script(&bans, NOW));
    }

    /// In a network namespace of its own, with the box's own ruleset and the real nft.
    #[test]
    fn the_boxs_own_packet_filter_takes_it() {
        let ruleset = concat!(env!("CARGO_MANIFEST_DIR"), "/../image/files/etc/nftables.conf");
        let commands = format!(
            "set -e; PATH=$PATH:/usr/sbin; nft -f {ruleset}; nft -f /dev/stdin; nft list set inet offhook banned4; \
             nft list set inet offhook banned6"
        );
        let namespace = |commands: &str| {
            let mut unshare = Command::new("unshare");
            unshare.args(["--net", "--map-root-user", "sh", "-c", commands]);
            unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            unshare.spawn().and_then(|mut child| {
                let mut input = child.stdin.take().unwrap();
                input.write_all(script(&[ban("192.0.2.7", 60), ban("2001:db8::7", 60)], NOW).as_bytes())?;
                drop(input);
                child.wait_with_output()
            })
        };
        let probe = namespace("PATH=$PATH:/usr/sbin; cat > /dev/null; nft list ruleset");
        if !probe.is_ok_and(|run| run.status.success()) {
            eprintln!("SKIPPED: no nft, or no network namespace may be made here");
            return;
        }
        let run = namespace(&commands).unwrap();
        let told = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{told}{}", String::from_utf8_lossy(&run.stderr));
        for address in ["192.0.2.7 timeout 1m", "2001:db8::7 timeout 1m"] {
            assert!(told.contains(address), "{told}");
        }
    }
}
