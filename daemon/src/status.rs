//! What the box's console shows: gathered from what is there anyway, for people who stand before the box.
//!
//! The running daemon is asked as anybody could ask it, with an OPTIONS, and read through its database; there is no
//! second control channel. So all of this works without the daemon too, and says that it is missing.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::{self, Config};
use crate::doctor::{Finding, Verdict, follow_through};
use crate::education::KnowledgeState;
use crate::engines;
use crate::identity::IdentityFolder;
use crate::io::{bans, probe};
use crate::knowledge::Trouble;
use crate::office::Office;
use crate::storage::{CallCounts, Reader, UnixMs, count_calls, phones_by_extension, trunk_states};
use crate::sync;
use crate::update::machine::Machine;

/// So many extensions without a phone are named on the screen.
const NAMED_EXTENSIONS: usize = 6;
/// So many files that cannot be read are named on the screen.
const NAMED_TROUBLES: usize = 4;
/// A daemon that is there answers at once.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// The picture.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// `offhook-3f9a`; none before the first boot has made it.
    name: Option<String>,
    /// This machine's addresses towards its networks.
    addresses: Vec<IpAddr>,
    version: String,
    /// The running slot, and whether it is confirmed; none on a machine without slots.
    slot: Option<SlotState>,
    sip: SipState,
    calls: Option<Calls>,
    trunks: Vec<Trunk>,
    phones: Phones,
    /// Addresses that are refused for wrong passwords: `offhook bans list`.
    banned: usize,
    /// The office's documents; none without a folder of its own, or before the first start.
    knowledge: Option<KnowledgeState>,
    /// How sync with the cloud is; none where it is off.
    cloud: Option<String>,
    /// What callers miss.
    degraded: Vec<String>,
    /// What waits for a person: notices, jobs of messages, promises.
    alerts: Vec<Finding>,
    awaits_setup: bool,
    #[serde(skip)]
    setup_secret: Option<String>,
}

/// The running slot.
#[derive(Debug, Clone, Serialize)]
pub struct SlotState {
    name: String,
    confirmed: bool,
    reboot_pending: bool,
}

/// Calls of today, in the office's time zone.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Calls {
    now: u32,
    today: u32,
    /// Placed by this machine to itself.
    own_today: u32,
}

/// A trunk as the running daemon knows it.
#[derive(Debug, Clone, Serialize)]
pub struct Trunk {
    name: String,
    /// Whether the configuration has it asked, or registered with.
    is_watched: bool,
    /// Whether it answers OPTIONS; none where the configuration does not ask, or nothing runs.
    answers: Option<bool>,
    /// Whether it knows us; none where it does not want that, or nothing runs.
    registered: Option<bool>,
    /// Milliseconds since 1970; when one of the two became another.
    since: Option<i64>,
}

/// The office's phones.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Phones {
    /// Extensions of the configuration.
    extensions: usize,
    /// Phones that are registered, for all of them together.
    registered: u32,
    /// Extensions without a phone, in the order of the configuration.
    without: Vec<String>,
}

/// What the SIP listener says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SipState {
    /// It answers.
    Answering {
        /// Where.
        at: SocketAddr,
    },
    /// It answers that it takes no calls now.
    Refusing {
        /// Where.
        at: SocketAddr,
        /// SIP status.
        status: u16,
    },
    /// Nobody is there.
    Silent {
        /// Where.
        at: SocketAddr,
        /// Why we think so.
        reason: String,
    },
}

/// Looks around. `with_secret` is for the console in front of the box only.
pub async fn look(config: &Config, with_secret: bool) -> Status {
    let machine = Machine::new(config);
    let slots = machine.slots().await.ok();
    let slot = slots.as_ref().and_then(|slots| {
        let running = slots.running()?;
        let (name, confirmed) = (running.bootname.clone(), running.confirmed);
        Some(SlotState { name, confirmed, reboot_pending: slots.reboot_pending() })
    });
    let sip = ask(config.own_sip_address()).await;
    let for_blocking = config.clone();
    let running = matches!(sip, SipState::Answering { .. });
    let read = tokio::task::spawn_blocking(move || {
        let sync = sync::state::look(&for_blocking, running);
        let mut alerts = follow_through(&for_blocking);
        alerts.extend(sync.findings(UnixMs::now()).into_iter().filter(|finding| finding.verdict != Verdict::Good));
        (kept(&for_blocking, running), losses(&for_blocking), alerts, sync)
    });
    let (Kept { calls, trunks, phones, banned }, degraded, alerts, sync) = read.await.unwrap_or_default();
    let knowledge = knowledge(config);
    let folder = IdentityFolder::below(&config.machine_directory());
    let secret = if with_secret { folder.setup_secret().ok().flatten() } else { None };
    Status {
        name: folder.load().ok().map(|identity| identity.name),
        addresses: addresses(),
        version: machine.version,
        slot,
        sip,
        calls,
        trunks,
        phones,
        banned,
        knowledge,
        cloud: sync.in_words(),
        degraded,
        alerts,
        awaits_setup: folder.awaits_setup(),
        setup_secret: secret.map(|secret| secret.reveal().to_owned()),
    }
}

/// Whether Offhook runs here.
pub(crate) async fn is_running(config: &Config) -> bool {
    matches!(ask(config.own_sip_address()).await, SipState::Answering { .. } | SipState::Refusing { .. })
}

async fn ask(at: SocketAddr) -> SipState {
    match probe::options(at, PROBE_LIMIT).await {
        Ok(status) if status.as_u16() == 200 => SipState::Answering { at },
        Ok(status) => SipState::Refusing { at, status: status.as_u16() },
        Err(error) => SipState::Silent { at, reason: error.to_string() },
    }
}

/// What lies in the state folder.
#[derive(Default)]
struct Kept {
    calls: Option<Calls>,
    trunks: Vec<Trunk>,
    phones: Phones,
    banned: usize,
}

/// Of what cannot be read nothing is known: before the first start there is no database.
fn kept(config: &Config, running: bool) -> Kept {
    let reader = Reader::open(&config.state_directory(), 1).ok();
    // What a dead daemon has left says nothing about now.
    let states = reader.as_ref().filter(|_| running).and_then(|reader| reader.read_blocking(trunk_states).ok());
    let trunk = |configured: &config::Trunk| {
        let state = states.iter().flatten().find(|state| state.trunk == configured.name);
        Trunk {
            name: configured.name.clone(),
            is_watched: configured.options_interval_seconds.is_some() || configured.registration.is_some(),
            answers: state.and_then(|state| state.answers),
            registered: state.and_then(|state| state.registered),
            since: state.map(|state| state.changed_at.0),
        }
    };
    let phones =
        reader.as_ref().and_then(|reader| reader.read_blocking(|db| phones_by_extension(db, UnixMs::now())).ok());
    let bans = std::fs::read_to_string(bans::file(&config.state_directory())).unwrap_or_default();
    Kept {
        calls: reader.as_ref().and_then(|reader| calls(config, reader, running)),
        trunks: config.trunks.iter().map(trunk).collect(),
        phones: phones_of(config, &phones.unwrap_or_default()),
        banned: bans::read(&bans, bans::now_seconds()).len(),
    }
}

fn phones_of(config: &Config, registered: &[(String, u32)]) -> Phones {
    let of = |number: &str| {
        let own = registered.iter().find(|(extension, _)| extension == number);
        own.map(|(_, phones)| *phones)
    };
    let numbers = || config.extensions.iter().map(|extension| extension.number.as_str());
    Phones {
        extensions: config.extensions.len(),
        registered: numbers().filter_map(of).sum(),
        without: numbers().filter(|number| of(number).is_none()).map(str::to_owned).collect(),
    }
}

fn calls(config: &Config, reader: &Reader, running: bool) -> Option<Calls> {
    let zone = Office::try_from(&config.office).map_or(TimeZone::UTC, |office| office.time_zone().clone());
    let midnight = Timestamp::now().to_zoned(zone).start_of_day().ok()?;
    let since = UnixMs(midnight.timestamp().as_millisecond());
    let CallCounts { open, from_outside, from_here } = reader.read_blocking(|db| count_calls(db, since)).ok()?;
    // Rows that a dead daemon left open are no calls.
    Some(Calls { now: if running { open } else { 0 }, today: from_outside, own_today: from_here })
}

fn knowledge(config: &Config) -> Option<KnowledgeState> {
    config.knowledge.directory.as_ref()?;
    let told = std::fs::read(KnowledgeState::file(&config.state_directory())).ok()?;
    serde_json::from_slice(&told).ok()
}

/// Models that are missing here, with what that means.
fn losses(config: &Config) -> Vec<String> {
    let findings = engines::examine(config).into_iter().filter(|finding| finding.verdict != Verdict::Good);
    findings.map(|finding| finding.detail).collect()
}

/// The addresses this machine would send from. Connecting a UDP socket sends nothing; it only asks for the route to an
/// address that is nobody's (RFC 5737, RFC 3849).
fn addresses() -> Vec<IpAddr> {
    let towards: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let local = |(any, nobody): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((nobody, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    towards.into_iter().filter_map(local).filter(|address| !address.is_unspecified()).collect()
}

impl Status {
    /// Whether calls are answered now.
    pub fn answers(&self) -> bool {
        matches!(self.sip, SipState::Answering { .. })
    }

    /// One screen for people.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        for (label, value) in self.lines() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{label:<9} {value}");
        }
        text
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let name =
            self.name.as_ref().map_or("(no identity yet: offhook first-boot)".into(), |name| format!("{name}.local"));
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let network = if addresses.is_empty() { "no network".to_owned() } else { addresses.join("  ") };
        let mut lines = vec![
            ("Offhook", name),
            ("address", network),
            ("version", format!("{}{}", self.version, self.slot.as_ref().map_or(String::new(), slot_in_words))),
            ("SIP", sip_in_words(&self.sip)),
            ("calls", self.calls.map_or("none yet".into(), calls_in_words)),
        ];
        lines.extend(self.trunks.iter().map(|trunk| ("trunk", trunk_in_words(trunk))));
        if self.phones.extensions > 0 {
            lines.push(("phones", phones_in_words(&self.phones)));
        }
        if self.banned > 0 {
            lines.push(("banned", format!("{} addresses: offhook bans list", self.banned)));
        }
        lines.extend(self.knowledge.iter().flat_map(knowledge_in_words).map(|line| ("knowledge", line)));
        lines.extend(self.cloud.iter().map(|words| ("cloud", words.clone())));
        lines.extend(self.degraded.iter().map(|loss| ("degraded", loss.clone())));
        lines.extend(self.alerts.iter().map(|alert| ("ALERT", alert.detail.clone())));
        match &self.setup_secret {
            Some(secret) => lines.push(("set-up", format!("not done; secret {secret}"))),
            None if self.awaits_setup => {
                lines.push(("set-up", "not done; the secret is on the label and on the console".into()));
            }
            None => {}
        }
        lines
    }
}

fn slot_in_words(slot: &SlotState) -> String {
    let confirmed = if slot.confirmed { "" } else { ", not confirmed yet" };
    let pending = if slot.reboot_pending { "; an update waits for a reboot" } else { "" };
    format!(" in slot {}{confirmed}{pending}", slot.name)
}

fn sip_in_words(sip: &SipState) -> String {
    match sip {
        SipState::Answering { at } => format!("answering calls at {at}"),
        SipState::Refusing { at, status } => format!("takes no calls now: {at} answers {status}"),
        SipState::Silent { reason, .. } => format!("NOT ANSWERING: Offhook does not run here ({reason})"),
    }
}

fn calls_in_words(calls: Calls) -> String {
    let own =
        if calls.own_today > 0 { format!(" (and {} by this box itself)", calls.own_today) } else { String::new() };
    format!("{} now, {} today{own}", calls.now, calls.today)
}

fn trunk_in_words(Trunk { name, is_watched, answers, registered, since }: &Trunk) -> String {
    let since = since.and_then(|at| Timestamp::from_millisecond(at).ok()).map_or(String::new(), |at| {
        format!(" since {}", at.to_zoned(TimeZone::system()).strftime("%e %b %H:%M").to_string().trim_start())
    });
    let known: Vec<&str> = match (answers, registered) {
        (None, None) if *is_watched => return format!("{name}: not known yet"),
        (None, None) => return format!("{name}: not known; it is not asked how it is"),
        (answers, registered) => {
            [(answers, ["answers", "DOES NOT ANSWER"]), (registered, ["registered", "NOT REGISTERED"])]
                .into_iter()
                .filter_map(|(state, [yes, no])| state.map(|is_so| if is_so { yes } else { no }))
                .collect()
        }
    };
    format!("{name}: {}{since}", known.join(", "))
}

fn phones_in_words(Phones { extensions, registered, without }: &Phones) -> String {
    let missing = match without.as_slice() {
        [] => String::new(),
        some if some.len() <= NAMED_EXTENSIONS => format!("; none at {}", some.join(", ")),
        many => {
            format!("; none at {} and {} others", many[..NAMED_EXTENSIONS].join(", "), many.len() - NAMED_EXTENSIONS)
        }
    };
    format!("{registered} registered, for {} of {extensions} extensions{missing}", extensions - without.len())
}

fn knowledge_in_words(state: &KnowledgeState) -> Vec<String> {
    let troubles = state.troubles.iter().take(NAMED_TROUBLES);
    let named = troubles.map(|Trouble { name, reason }| {
        let name = if name.is_empty() { "the folder" } else { name };
        format!("NOT READ: {name}: {reason}")
    });
    let more = state.troubles.len().saturating_sub(NAMED_TROUBLES);
    let more = (more > 0).then(|| format!("and {more} others, named in the log"));
    let documents = if state.documents == 1 { "1 document".into() } else { format!("{} documents", state.documents) };
    std::iter::once(documents).chain(named).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn status() -> Status {
        Status {
            name: Some("offhook-3f9a".into()),
            addresses: vec!["192.0.2.17".parse().unwrap()],
            version: "0.2.0".into(),
            slot: Some(SlotState { name: "B".into(), confirmed: true, reboot_pending: false }),
            sip: SipState::Answering { at: "192.0.2.17:5060".parse().unwrap() },
            calls: Some(Calls { now: 1, today: 12, own_today: 1 }),
            trunks: vec![],
            phones: Phones::default(),
            banned: 0,
            knowledge: None,
            cloud: None,
            degraded: vec![],
            alerts: vec![],
            awaits_setup: false,
            setup_secret: None,
        }
    }

    #[test]
    fn a_box_at_work_fits_in_five_lines() {
        expect![[r"
            Offhook   offhook-3f9a.local
            address   192.0.2.17
            version   0.2.0 in slot B
            SIP       answering calls at 192.0.2.17:5060
            calls     1 now, 12 today (and 1 by this box itself)
        "]]
        .assert_eq(&status().in_words());
    }

    #[test]
    fn trunks_and_phones_have_a_line_each() {
        let trunk = |name: &str, is_watched, answers, registered| Trunk {
            name: name.into(),
            is_watched,
            answers,
            registered,
            since: None,
        };
        let numbers = (101..=112).map(|number| number.to_string());
        let status = Status {
            trunks: vec![
                trunk("twilio", true, Some(true), None),
                trunk("local", true, Some(false), Some(false)),
                trunk("quiet", false, None, None),
                trunk("new", true, None, None),
            ],
            phones: Phones { extensions: 20, registered: 9, without: numbers.collect() },
            banned: 2,
            ..status()
        };
        let text = status.in_words();
        let (_, rest) = text.split_at(text.find("trunk").unwrap());
        expect![[r"
            trunk     twilio: answers
            trunk     local: DOES NOT ANSWER, NOT REGISTERED
            trunk     quiet: not known; it is not asked how it is
            trunk     new: not known yet
            phones    9 registered, for 8 of 20 extensions; none at 101, 102, 103, 104, 105, 106 and 6 others
            banned    2 addresses: offhook bans list
        "]]
        .assert_eq(rest);
    }

    #[test]
    fn documents_that_cannot_be_read_are_named() {
        let trouble = |name: &str| Trouble { name: name.into(), reason: "it is empty".into() };
        let troubles = ["", "a.md", "b.md", "c.md", "d.md", "e.md"].map(trouble).to_vec();
        let state = KnowledgeState { documents: 12, since: 0, troubles };
        let text = Status { knowledge: Some(state), ..status() }.in_words();
        expect![[r"
            knowledge 12 documents
            knowledge NOT READ: the folder: it is empty
            knowledge NOT READ: a.md: it is empty
            knowledge NOT READ: b.md: it is empty
            knowledge NOT READ: c.md: it is empty
            knowledge and 2 others, named in the log
        "]]
        .assert_eq(text.split_at(text.find("knowledge").unwrap()).1);
    }

    #[test]
    fn a_new_box_without_network_says_what_is_missing() {
        let at = "127.0.0.1:5060".parse().unwrap();
        let status = Status {
            name: None,
            addresses: vec![],
            slot: Some(SlotState { name: "A".into(), confirmed: false, reboot_pending: true }),
            sip: SipState::Silent { at, reason: "nothing answered".into() },
            calls: None,
            degraded: vec!["No voice: callers hear tones.".into()],
            alerts: vec![Finding::wrong("notices", Verdict::Degraded, "1 notice by email given up", "retry")],
            awaits_setup: true,
            setup_secret: Some("7KQM-X2RD-9ABC-HJKM".into()),
            ..status()
        };
        expect![[r"
            Offhook   (no identity yet: offhook first-boot)
            address   no network
            version   0.2.0 in slot A, not confirmed yet; an update waits for a reboot
            SIP       NOT ANSWERING: Offhook does not run here (nothing answered)
            calls     none yet
            degraded  No voice: callers hear tones.
            ALERT     1 notice by email given up
            set-up    not done; secret 7KQM-X2RD-9ABC-HJKM
        "]]
        .assert_eq(&status.in_words());
    }

    #[test]
    fn the_secret_is_never_in_json() {
        let status = Status { setup_secret: Some("7KQM".into()), awaits_setup: true, ..status() };
        let json = serde_json::to_string(&status).unwrap();
        assert!(!json.contains("7KQM") && json.contains("\"awaits_setup\":true"), "{json}");
    }
}
