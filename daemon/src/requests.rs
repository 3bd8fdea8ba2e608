//! What a person at the command line wants done to the database while the box is running.
//!
//! ```text
//! offhook … retry ──► requests/ID.json ──► the running box, in one transaction ──► requests/ID.answer ──► offhook
//! ```
//! Only one process may write the database. Without a running box the command line does it itself. Whoever may write to the
//! state folder may ask; each request may be carried out twice and has the same effect.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::bell::Bell;
use crate::call::Switchboard;
use crate::durable;
use crate::office::Staff;
use crate::redact::Redacted;
use crate::storage::{
    ClosedReason, FollowUpId, JobKind, NotificationId, OpenError, PersonRow, Storage, StorageConfig, StorageError,
    TurnId, UnixMs, Verdict, VoicemailId, VoicemailStatus, acknowledge_follow_up, add_absence, close_follow_up,
    delete_person, end_absences, erase_caller, find_follow_up, revive_job, revive_notice, set_person, set_verdict,
    set_voicemail_status,
};

/// How often the running box looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the command line looks for its answer, and how long.
const ANSWER_INTERVAL: Duration = Duration::from_millis(50);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Longer files are not requests: 200 people are shorter.
const REQUEST_MAX_BYTES: u64 = 256 << 10;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Send a notice now.
    RetryNotice {
        /// Its key.
        id: NotificationId,
    },
    /// Do the jobs of a message that were given up.
    RetryMessage {
        /// Its key.
        id: VoicemailId,
    },
    /// A message was heard.
    MessageHeard {
        /// Its key.
        id: VoicemailId,
    },
    /// Somebody takes a promise.
    Acknowledge {
        /// Its key.
        id: FollowUpId,
        /// Who.
        by: String,
    },
    /// A promise is over.
    Close {
        /// Its key.
        id: FollowUpId,
        /// Text of a [`ClosedReason`].
        reason: String,
    },
    /// The caller with whom the attendant talks is given to somebody.
    TakeOver {
        /// The beginning of the call's id.
        call: String,
        /// The extension that is to ring.
        by: String,
    },
    /// A promise is kept now: a phone of the office rings, and then its caller is called.
    CallBack {
        /// Its key.
        id: FollowUpId,
        /// Which one; `None`: that of whoever owns it.
        extension: Option<String>,
    },
    /// What somebody thinks of an answer of the box.
    Judge {
        /// The turn.
        turn: TurnId,
        /// Whether it was right.
        is_right: bool,
        /// What should have been said.
        better_answer: Option<String>,
        /// Who thinks so.
        by: Option<String>,
    },
    /// People of an address book, all or none.
    ImportPeople {
        /// Who.
        people: Vec<ImportedPerson>,
    },
    /// An imported person is not to be known any more.
    ForgetPerson {
        /// Their name.
        name: String,
    },
    /// Somebody is away.
    Absent {
        /// Their name.
        name: String,
        /// From this moment.
        from: UnixMs,
        /// Until this one.
        until: UnixMs,
    },
    /// Somebody is there again.
    Present {
        /// Their name.
        name: String,
        /// What was to come is forgotten too.
        later_too: bool,
    },
    /// Everything about a caller goes.
    EraseCaller {
        /// Their number, as the carrier writes it.
        number: String,
    },
}

/// A person in a request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedPerson {
    name: String,
    department: Option<String>,
    extension: Option<String>,
    mobile: Option<String>,
    email: Option<String>,
    hours: Option<String>,
}

/// Requests are logged.
impl std::fmt::Debug for ImportedPerson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl From<&PersonRow> for ImportedPerson {
    fn from(row: &PersonRow) -> ImportedPerson {
        let PersonRow { name, department, extension, mobile, email, hours } = row.clone();
        let [mobile, email] = [mobile, email].map(|one| one.map(Redacted::into_revealed));
        ImportedPerson { name, department, extension, mobile, email, hours }
    }
}

impl From<ImportedPerson> for PersonRow {
    fn from(person: ImportedPerson) -> PersonRow {
        let ImportedPerson { name, department, extension, mobile, email, hours } = person;
        let [mobile, email] = [mobile, email].map(|one| one.map(Redacted::new));
        PersonRow { name, department, extension, mobile, email, hours }
    }
}

impl Request {
    fn apply(&self, sql_tx: &Connection, folder: &Path, at: UnixMs) -> Result<(), StorageError> {
        match self {
            Request::RetryNotice { id } => revive_notice(sql_tx, *id, at),
            Request::RetryMessage { id } => {
                let mut revived = false;
                for kind in JobKind::ALL {
                    revived |= revive_job(sql_tx, *kind, &id.to_string(), at)?;
                }
                if revived { Ok(()) } else { Err(StorageError::NotFound("job of this message that was given up")) }
            }
            Request::MessageHeard { id } => set_voicemail_status(sql_tx, *id, VoicemailStatus::Heard, at),
            Request::Acknowledge { id, by } => acknowledge_follow_up(sql_tx, *id, by, at),
            Request::Close { id, reason } => {
                let known = ClosedReason::ALL.iter().find(|known| known.as_str() == reason);
                close_follow_up(sql_tx, *id, *known.ok_or(StorageError::Refused("no such reason"))?, at)
            }
            // Without a box that runs nobody is called.
            Request::TakeOver { .. } | Request::CallBack { .. } => {
                Err(StorageError::Refused("the box does not run, so nobody is called"))
            }
            Request::Judge { turn, is_right, better_answer, by } => {
                let (better_answer, judged_by) = (better_answer.clone(), by.clone());
                let verdict = Verdict { turn_id: *turn, is_right: *is_right, better_answer, judged_by, created_at: at };
                set_verdict(sql_tx, &verdict)
            }
            Request::ImportPeople { people } => {
                people.iter().try_for_each(|person| set_person(sql_tx, &person.clone().into(), at))
            }
            Request::ForgetPerson { name } => delete_person(sql_tx, name),
            Request::Absent { name, from, until } => add_absence(sql_tx, name, (*from, *until), at),
            Request::Present { name, later_too } => match end_absences(sql_tx, name, *later_too, at)? {
                0 => Err(StorageError::NotFound("absence of this person")),
                _ => Ok(()),
            },
            Request::EraseCaller { number } => erase_caller(sql_tx, folder, number).map(drop),
        }
    }
}

/// Has `request` carried out: by the box that runs with its state in `folder`, or without one by this process. Blocks.
///
/// # Errors
/// Why it was not.
pub fn submit(folder: &Path, request: &Request) -> anyhow::Result<()> {
    match Storage::open(&StorageConfig::new(folder)) {
        Ok(opened) => {
            let (request, folder) = (request.clone(), folder.to_owned());
            opened.storage.write_blocking(move |sql_tx| request.apply(sql_tx, &folder, UnixMs::now()))?;
            Ok(())
        }
        Err(OpenError::InUse { .. }) => ask(folder, request),
        Err(error) => Err(error.into()),
    }
}

fn requests(folder: &Path) -> PathBuf {
    folder.join("requests")
}

fn ask(folder: &Path, request: &Request) -> anyhow::Result<()> {
    let name = uuid::Uuid::now_v7();
    let path = requests(folder).join(format!("{name}.json"));
    durable::write(&path, &serde_json::to_vec(request)?, 0o600)?;
    let answer = path.with_extension("answer");
    let began = Instant::now();
    while began.elapsed() < ANSWER_LIMIT {
        if let Ok(text) = fs::read_to_string(&answer) {
            durable::remove(&answer)?;
            anyhow::ensure!(text.is_empty(), "{text}");
            return Ok(());
        }
        std::thread::sleep(ANSWER_INTERVAL);
    }
    durable::remove(&path).context("the request")?;
    anyhow::bail!("the box did not answer within {} s", ANSWER_LIMIT.as_secs())
}

/// The box that runs, for whoever asks it for something.
#[derive(Clone)]
pub struct Desk {
    /// The database.
    pub storage: Storage,
    /// The people.
    pub staff: Staff,
    /// The calls.
    pub switchboard: Switchboard,
    /// Rung when something was done.
    pub bell: Bell,
}

impl Desk {
    /// Does what is asked for. Blocks.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn carry_out(&self, request: Request) -> anyhow::Result<()> {
        // Not the request itself, which may hold names and numbers.
        debug!("Request");
        if let Request::TakeOver { call, by } = &request {
            self.switchboard.take_over(call, by)?;
        } else if let Request::CallBack { id, extension } = request {
            let promise = self.storage.read_blocking(|db| find_follow_up(db, id))?;
            let promise = promise.ok_or(StorageError::NotFound("promise"))?;
            self.switchboard.call_back(promise, extension, &self.staff.office())?;
        } else {
            let folder = self.storage.dir().to_owned();
            self.storage.write_blocking(move |sql_tx| request.apply(sql_tx, &folder, UnixMs::now()))?;
        }
        self.bell.ring();
        Ok(())
    }
}

/// Carries out what is asked for until the box stops.
pub async fn follow(desk: Desk) {
    let storage = &desk.storage;
    forget_answers(storage.dir());
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let desk = desk.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || carry_out_all(&desk)).await {
            warn!(%error, "Requests not carried out");
        }
    }
}

/// Removes answers that nobody waits for: who asked the box that ran before has given up.
fn forget_answers(folder: &Path) {
    let Ok(entries) = fs::read_dir(requests(folder)) else { return };
    for path in
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "answer"))
    {
        if let Err(error) = durable::remove(&path) {
            warn!(%error, "An old answer stays");
        }
    }
}

/// How many there were.
fn carry_out_all(desk: &Desk) -> usize {
    let Ok(folder) = fs::read_dir(requests(desk.storage.dir())) else { return 0 };
    let paths = folder.flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    paths.sort();
    for path in &paths {
        let answer = match carry_out(desk, path) {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        // The answer first: a request that is carried out twice has the same effect.
        let answered = durable::write(&path.with_extension("answer"), answer.as_bytes(), 0o600);
        if let Err(error) = answered.and_then(|()| durable::remove(path)) {
            warn!(%error, "Request not answered");
        }
    }
    paths.len()
}

fn carry_out(desk: &Desk, path: &Path) -> anyhow::Result<()> {
    let size = fs::metadata(path)?.len();
    anyhow::ensure!(size <= REQUEST_MAX_BYTES, "{size} bytes are no request");
    desk.carry_out(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(folder: &Path) -> Desk {
        let storage = Storage::open(&StorageConfig::new(folder)).unwrap().storage;
        let office = std::sync::Arc::new(crate::office::sample::office().unwrap());
        let (switchboard, _) = Switchboard::new(crate::call::CallsUp::default(), &crate::config::Config::default());
        Desk { storage, staff: Staff::new(office), switchboard, bell: Bell::default() }
    }

    #[test]
    fn without_a_box_a_request_is_carried_out_here_and_with_one_there() {
        let folder = tempfile::tempdir().unwrap();
        let request = Request::RetryNotice { id: NotificationId::new(UnixMs(1)) };
        let refusal = |asked: anyhow::Result<()>| asked.unwrap_err().to_string();
        let expected = "no notice that waits or was given up with this id";
        assert_eq!(refusal(submit(folder.path(), &request)), expected);
        let desk = desk(folder.path());
        let asked = std::thread::spawn({
            let folder = folder.path().to_owned();
            move || submit(&folder, &request)
        });
        while carry_out_all(&desk) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(refusal(asked.join().unwrap()), expected);
        assert_eq!(fs::read_dir(requests(folder.path())).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn what_is_no_request_is_answered_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(folder.path());
        let path = requests(folder.path()).join("a.json");
        durable::write(&path, b"{\"request\":\"drop_table\"}", 0o600).unwrap();
        assert_eq!(carry_out_all(&desk), 1);
        assert!(!path.exists());
        assert!(fs::read_to_string(path.with_extension("answer")).unwrap().contains("drop_table"));
        durable::write(&path, b"{}", 0o600).unwrap();
        forget_answers(folder.path());
        assert!(path.exists() && !path.with_extension("answer").exists(), "only what was answered is forgotten");
    }

    /// What is done by telephone takes a box that runs, and says in a sentence why it is not done.
    #[test]
    fn calls_are_not_placed_without_a_box_nor_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |done: anyhow::Result<()>| done.unwrap_err().to_string();
        let take_over = Request::TakeOver { call: "0".into(), by: "101".into() };
        let call_back = Request::CallBack { id: FollowUpId::new(UnixMs(1)), extension: None };
        for request in [&take_over, &call_back] {
            assert!(refusal(submit(folder.path(), request)).contains("does not run"));
        }
        let desk = desk(folder.path());
        assert_eq!(refusal(desk.carry_out(take_over)), "there is no extension \"101\" in [[extensions]]");
        assert_eq!(refusal(desk.carry_out(call_back)), "no promise with this id");
    }

    /// Carried out twice, as after a power cut between deed and answer, an import changes nothing more; names stay out of the log.
    #[test]
    fn people_are_imported_all_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let row = |name: &str| PersonRow {
            name: name.into(),
            mobile: Some(Redacted::new("+12125550199".into())),
            ..PersonRow::default()
        };
        let request = |names: &[&str]| Request::ImportPeople {
            people: names.iter().map(|name| ImportedPerson::from(&row(name))).collect(),
        };
        let logged = format!("{:?}", request(&["Anna"]));
        assert!(!logged.contains("Anna") && !logged.contains("5550199"), "{logged}");
        for _ in 0..2 {
            submit(folder.path(), &request(&["Anna", "Ben"])).unwrap();
        }
        submit(folder.path(), &request(&["Carla", ""])).unwrap_err();
        let reader = crate::storage::Reader::open(folder.path(), 1).unwrap();
        assert_eq!(reader.read_blocking(crate::storage::list_people).unwrap(), [row("Anna"), row("Ben")]);
    }
}
