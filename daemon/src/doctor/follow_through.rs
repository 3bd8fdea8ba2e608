//! Does everything that follows from calls get done: notices, jobs of messages, promises, and the mail server they need.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Finding, Verdict};
use crate::config::Config;
use crate::storage::{Channel, FailingJobs, FailingNotices, NoticeFailure, Reader, Trouble, UnixMs, trouble};

/// What was given up longer ago is history: nobody has missed it.
const GIVEN_UP_DAYS: i64 = 7;
/// A mail server that takes longer to be reached is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// What waits for a person, from the database; nothing before the first start.
pub fn follow_through(config: &Config) -> Vec<Finding> {
    let now = UnixMs::now();
    let due_before = UnixMs(now.0 - i64::from(config.notices.overdue_minutes) * MINUTE_MS);
    let given_up_since = UnixMs(now.0 - GIVEN_UP_DAYS * DAY_MS);
    let Ok(reader) = Reader::open(&config.state_directory(), 1) else { return Vec::new() };
    match reader.read_blocking(|db| trouble(db, given_up_since, due_before)) {
        Ok(trouble) => findings(&trouble),
        Err(error) => {
            let detail = format!("it is not known what waits for a person: {error}");
            vec![Finding::wrong("database", Verdict::Degraded, detail, "look into the log of the box")]
        }
    }
}

fn findings(trouble: &Trouble) -> Vec<Finding> {
    let degraded = |name, detail, remedy: &str| Finding::wrong(name, Verdict::Degraded, detail, remedy);
    let mut findings = Vec::new();
    for FailingNotices { channel, failure, is_given_up, count, since } in &trouble.notices {
        let (notices, since) = (counted(*count, "notice"), when(*since));
        let why = why(*channel, *failure);
        let named = format!("{notices} by {channel}");
        findings.push(match is_given_up {
            true => {
                let remedy = "`offhook notices list --state dead`, then `offhook notices retry ID`";
                degraded("notices", format!("{named} given up, the first of {since}: {why}"), remedy)
            }
            false => degraded("notices", format!("{named} can not be sent since {since}: {why}"), remedy_of(*failure)),
        });
    }
    for FailingJobs { kind, is_given_up, count, since } in &trouble.jobs {
        let (jobs, since) = (counted(*count, "job"), when(*since));
        let remedy = "`offhook messages list`, then `offhook messages show ID` says why";
        findings.push(match is_given_up {
            true => {
                let remedy = format!("{remedy}, and `offhook messages retry ID` does it again");
                degraded("messages", format!("{jobs} ({kind}) given up, the first of {since}"), &remedy)
            }
            false => degraded("messages", format!("{jobs} ({kind}) failed since {since}, and tried again"), remedy),
        });
    }
    if let Some((count, since)) = trouble.overdue {
        let detail = format!("{} not kept, the first was due {}", counted(count, "promise"), when(since));
        let remedy = "`offhook followups list`; `ack` whoever takes one, `close` what is done";
        findings.push(degraded("promises", detail, remedy));
    }
    findings
}

fn counted(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn when(at: UnixMs) -> String {
    let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
    at.strftime("%-d %b %H:%M").to_string()
}

fn why(channel: Channel, failure: NoticeFailure) -> &'static str {
    match (failure, channel) {
        (NoticeFailure::Unreachable, Channel::Email) => {
            "the mail server can not be reached, or shows no valid certificate"
        }
        (NoticeFailure::Unreachable, Channel::Webhook | Channel::Sms) => "nobody answers there",
        (NoticeFailure::Credentials, _) => "our password or key is refused",
        (NoticeFailure::Deferred, _) => "the other side wants them later",
        (NoticeFailure::Refused, _) => "the other side refuses them",
        (NoticeFailure::Recipient, _) => "there is no such recipient",
        (NoticeFailure::Stopped, _) => "the recipient wants no text messages",
        (NoticeFailure::SpendLimit, _) => "they would cost more than sms.monthly_limit_cents",
        (NoticeFailure::Impossible, _) => "they cannot be put together, or this way is not configured any more",
        (NoticeFailure::Interrupted, _) => "the box stopped in the attempt",
    }
}

fn remedy_of(failure: NoticeFailure) -> &'static str {
    match failure {
        NoticeFailure::Unreachable => {
            "check the network, and server, port and encryption; they are sent once it is there"
        }
        NoticeFailure::Credentials => "correct the user name or the secret in the configuration, then restart the box",
        NoticeFailure::SpendLimit => "raise sms.monthly_limit_cents, or wait for the next month",
        NoticeFailure::Deferred
        | NoticeFailure::Refused
        | NoticeFailure::Recipient
        | NoticeFailure::Stopped
        | NoticeFailure::Impossible
        | NoticeFailure::Interrupted => "`offhook notices list` names them, each with the other side's words",
    }
}

/// Whether the mail server can be reached at all; none without e-mail.
pub(super) fn mail_server(config: &Config) -> Option<Finding> {
    let email = config.email.enabled.then_some(&config.email)?;
    let at = format!("{}:{}", email.server, email.port);
    let connected = (email.server.as_str(), email.port).to_socket_addrs().and_then(|addresses| {
        let mut last = std::io::Error::other("its name leads to no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    Some(match connected {
        Ok(()) => Finding::good("mail server", format!("{at} can be reached")),
        Err(error) => {
            let remedy = "check the network, email.server and email.port; notices wait until it is there";
            Finding::wrong("mail server", Verdict::Degraded, format!("{at} can not be reached: {error}"), remedy)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rusqlite::Connection;

    use super::*;
    use crate::storage::{
        JobKind, NewNotice, NoticeKind, Storage, StorageConfig, StorageError, fail_job, queue_job, queue_notice,
        queued_jobs,
    };

    fn check(steps: impl FnOnce(&Connection) -> Result<(), StorageError> + Send + 'static) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        storage.write_blocking(move |sql_tx| steps(sql_tx)).unwrap();
        storage.close_blocking();
        let mut config = Config::default();
        config.storage.directory = Some(folder.path().to_owned());
        let findings = follow_through(&config);
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Degraded && finding.remedy.is_some()));
        findings.into_iter().map(|finding| format!("{}: {}", finding.name, finding.detail)).collect()
    }

    fn notice(
        db: &Connection,
        subject: &str,
        state: &str,
        failure: Option<&str>,
        at: UnixMs,
    ) -> Result<(), StorageError> {
        let new = NewNotice {
            kind: NoticeKind::Message,
            channel: Channel::Email,
            recipient: "desk@office.example".to_owned().into(),
            subject: subject.into(),
            order_key: subject.into(),
            is_urgent: false,
        };
        queue_notice(db, &new, at)?;
        let sql = "UPDATE notifications SET state = ?2, failure = ?3, updated_at = ?4 WHERE subject = ?1";
        db.execute(sql, rusqlite::params![subject, state, failure, at])?;
        Ok(())
    }

    #[test]
    fn whatever_waits_for_a_person_is_found_and_nothing_else() {
        let found = check(|db| {
            let now = UnixMs::now();
            notice(db, "new", "queued", None, now)?;
            notice(db, "fine", "sent", None, now)?;
            notice(db, "again", "sending", Some("interrupted"), now)?;
            notice(db, "history", "dead", Some("recipient"), UnixMs(1))?;
            queue_job(db, JobKind::Transcribe, "fine", now, now)?;
            Ok(())
        });
        assert_eq!(found, Vec::<String>::new());
        let found = check(|db| {
            let now = UnixMs::now();
            for subject in ["one", "two"] {
                notice(db, subject, "queued", Some("unreachable"), now)?;
            }
            notice(db, "three", "dead", Some("recipient"), now)?;
            queue_job(db, JobKind::Transcribe, "a", now, now)?;
            fail_job(db, queued_jobs(db)?[0].job_id, "no such file", true, now)?;
            queue_job(db, JobKind::Notify, "b", now, now)?;
            fail_job(db, queued_jobs(db)?[0].job_id, "disk full", false, now)
        });
        let starts = [
            "notices: 1 notice by email given up, the first of ",
            "notices: 2 notices by email can not be sent since ",
            "messages: 1 job (transcribe) given up, the first of ",
            "messages: 1 job (notify) failed since ",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
        }
        assert!(found[0].ends_with("there is no such recipient"), "{}", found[0]);
        assert!(found[1].contains("the mail server can not be reached"), "{}", found[1]);
    }

    #[test]
    fn promises_that_nobody_kept_are_counted() {
        let found = check(|db| {
            let now = UnixMs::now().0;
            // Overdue by default after half an hour.
            let rows = [("open", now - 31 * MINUTE_MS), ("acknowledged", now - DAY_MS), ("open", now - 29 * MINUTE_MS)];
            for (number, (state, due_at)) in (0..).zip(rows) {
                db.execute(
                    "INSERT INTO follow_ups (follow_up_id, created_at, updated_at, reference, channel, task, due_at, state)
                     VALUES (?1, 1, 1, '0417', 'phone', 'call back', ?2, ?3)",
                    rusqlite::params![format!("{number:036}"), due_at, state],
                )?;
            }
            Ok(())
        });
        assert!(found.len() == 1 && found[0].starts_with("promises: 2 promises not kept, the first"), "{found:?}");
    }

    #[test]
    fn a_mail_server_is_there_or_not() {
        let mut config = Config::default();
        assert_eq!(mail_server(&config), None, "no e-mail");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        config.email.enabled = true;
        config.email.server = "127.0.0.1".into();
        config.email.port = listener.local_addr().unwrap().port();
        assert_eq!(mail_server(&config).unwrap().verdict, Verdict::Good);
        drop(listener);
        let gone = mail_server(&config).unwrap();
        assert!(gone.verdict == Verdict::Degraded && gone.detail.contains("can not be reached"), "{gone:?}");
    }
}
