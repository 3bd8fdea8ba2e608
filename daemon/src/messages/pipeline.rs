//! The tasks that do the jobs: one for words, which take long, and one for all others.

use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;
use tracing::{debug, error, info, warn};

use super::particulars::Particulars;
use super::transcribe::transcribe;
use crate::bell::{Bell, Ear};
use crate::call::Ears;
use crate::config::Mailbox;
use crate::conversation::intent::Classifier;
use crate::follow_ups;
use crate::inference::Queue;
use crate::notices::Recipients;
use crate::office::Staff;
use crate::retry::{Backoff, seed_of};
use crate::storage::{
    AudioFiles, DurableJob, JobKind, JobState, NoticeKind, Storage, StorageError, UnixMs, Voicemail, VoicemailId,
    begin_job, fail_job, find_recording, find_voicemail, finish_job, queue_job, queue_notice, queued_jobs,
    release_jobs, requeue_begun_jobs, session_detail, set_contact, set_voicemail_mailbox, set_voicemail_transcript,
};

/// Between two attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(20), longest: Duration::from_secs(60 * 60) };
/// A job that has failed this often is given up: some hours.
const ATTEMPTS_MAX: u32 = 12;

/// What jobs need.
pub struct Workshop {
    /// The database.
    pub storage: Storage,
    /// Recordings beside it.
    pub files: AudioFiles,
    /// The recogniser.
    pub ears: Queue<Ears>,
    /// Whether there is one.
    pub can_hear: bool,
    /// The office that is called.
    pub staff: Staff,
    /// Who is told.
    pub recipients: Recipients,
    /// Whose messages are told to somebody else.
    pub mailboxes: Vec<Mailbox>,
    /// When promises are reminded of.
    pub follow_ups: follow_ups::Rules,
    /// Rung when there is something to send, or another job.
    pub bell: Bell,
}

/// Does jobs.
#[derive(Clone)]
pub struct Pipeline {
    shop: Arc<Workshop>,
    classifier: Arc<Classifier>,
}

/// Which jobs a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Words,
    Others,
}

impl Lane {
    fn has(self, kind: JobKind) -> bool {
        match kind {
            JobKind::Transcribe => self == Lane::Words,
            JobKind::Understand | JobKind::Notify | JobKind::Remind | JobKind::Escalate | JobKind::Report => {
                self == Lane::Others
            }
        }
    }
}

impl Pipeline {
    /// Not running yet.
    pub fn new(shop: Workshop) -> Pipeline {
        let classifier = Arc::new(Classifier::keywords_only(shop.staff.office().asked_for()));
        Pipeline { shop: Arc::new(shop), classifier }
    }

    /// Does what is to be done, and what comes, until the bell is silenced.
    pub async fn run(self) {
        let now = UnixMs::now();
        let today = Zoned::now().with_time_zone(self.shop.staff.office().time_zone().clone());
        let taken_up = self.shop.storage.write(move |sql_tx| {
            // Whoever could still have changed their message is gone.
            let released = release_jobs(sql_tx, JobKind::Transcribe, now)?;
            follow_ups::expect_report(sql_tx, &today)?;
            Ok(released + requeue_begun_jobs(sql_tx, now)?)
        });
        match taken_up.await {
            Ok(0) => {}
            Ok(jobs) => warn!(jobs, "The last run ended within jobs; they are taken up again"),
            Err(error) => error!(%error, "Jobs cannot be taken up"),
        }
        let words = self.lane(Lane::Words, self.shop.bell.ear());
        let others = self.lane(Lane::Others, self.shop.bell.ear());
        tokio::join!(words, others);
    }

    async fn lane(&self, lane: Lane, mut ear: Ear) {
        let mut until = None;
        while ear.wait(until).await {
            until = match self.pass(lane).await {
                Ok(until) => until,
                Err(error) => {
                    error!(%error, "Jobs wait for the database");
                    None
                }
            };
        }
    }

    /// Does every job that is due. When the next one is.
    async fn pass(&self, lane: Lane) -> Result<Option<UnixMs>, StorageError> {
        loop {
            let now = UnixMs::now();
            let jobs = self.shop.storage.read(queued_jobs).await?;
            let jobs = jobs.into_iter().filter(|job| lane.has(job.kind));
            let (due, later): (Vec<_>, Vec<_>) = jobs.partition(|job| is_due(job, now));
            let Some(job) = due.into_iter().next() else {
                return Ok(later.iter().map(|job| job.due_at).min());
            };
            self.attempt(job).await?;
        }
    }

    async fn attempt(&self, job: DurableJob) -> Result<(), StorageError> {
        let now = UnixMs::now();
        let (job_id, attempts) = (job.job_id, job.attempts + 1);
        let retry_at = BACKOFF.due_after(attempts, seed_of(job_id.as_uuid()), now);
        self.shop.storage.write(move |sql_tx| begin_job(sql_tx, job_id, retry_at, now)).await?;
        let kind = job.kind.as_str();
        let failure = match self.perform(&job).await {
            Ok(()) => {
                debug!(%job_id, kind, "Job done");
                self.shop.bell.ring();
                return Ok(());
            }
            Err(failure) => format!("{failure:#}"),
        };
        let is_dead = attempts >= ATTEMPTS_MAX;
        if is_dead {
            error!(%job_id, kind, failure, "Job given up");
        } else {
            warn!(%job_id, kind, failure, "Job failed; it is tried again");
        }
        let written = self.shop.storage.write(move |sql_tx| {
            let now = UnixMs::now();
            if job.kind == JobKind::Transcribe {
                // Whoever waits for words hears of the message now, and of the words if they ever come.
                queue_job(sql_tx, JobKind::Notify, &job.subject, now, now)?;
            }
            fail_job(sql_tx, job_id, &failure, is_dead, now)
        });
        written.await?;
        self.shop.bell.ring();
        Ok(())
    }

    async fn perform(&self, job: &DurableJob) -> anyhow::Result<()> {
        match job.kind {
            JobKind::Transcribe => self.transcribe(job).await,
            JobKind::Understand => self.understand(job).await,
            JobKind::Notify => self.notify(job).await,
            JobKind::Remind | JobKind::Escalate => self.follow_up(job).await,
            JobKind::Report => self.report(job).await,
        }
    }

    async fn voicemail(&self, job: &DurableJob) -> anyhow::Result<Option<Voicemail>> {
        let voicemail_id: VoicemailId = job.subject.parse()?;
        Ok(self.shop.storage.read(move |db| find_voicemail(db, voicemail_id)).await?)
    }

    async fn transcribe(&self, job: &DurableJob) -> anyhow::Result<()> {
        let voicemail = self.voicemail(job).await?;
        let recording = match voicemail.as_ref().and_then(|voicemail| voicemail.recording_id) {
            Some(id) if self.shop.can_hear => self.shop.storage.read(move |db| find_recording(db, id)).await?,
            Some(_) | None => None,
        };
        let words = match recording {
            Some(recording) => transcribe(&self.shop.files, &self.shop.ears, recording).await?,
            None => None,
        };
        let (job_id, subject) = (job.job_id, job.subject.clone());
        let written = self.shop.storage.write(move |sql_tx| {
            let now = UnixMs::now();
            finish_job(sql_tx, job_id, now)?;
            let Some(voicemail) = voicemail else { return Ok(()) };
            if let Some(words) = words {
                set_voicemail_transcript(sql_tx, voicemail.voicemail_id, &words.text, words.confidence, now)?;
            }
            queue_job(sql_tx, JobKind::Understand, &subject, now, now).map(drop)
        });
        Ok(written.await?)
    }

    async fn understand(&self, job: &DurableJob) -> anyhow::Result<()> {
        let voicemail = self.voicemail(job).await?;
        let (shop, classifier) = (Arc::clone(&self.shop), Arc::clone(&self.classifier));
        let (job_id, subject) = (job.job_id, job.subject.clone());
        let written = self.shop.storage.write(move |sql_tx| {
            let now = UnixMs::now();
            finish_job(sql_tx, job_id, now)?;
            let Some(voicemail) = voicemail else { return Ok(()) };
            let session = session_detail(sql_tx, &voicemail.call_id.to_string())?.session;
            let number = session.caller_id.as_ref().map(|number| number.reveal().as_str());
            let transcript = voicemail.transcript.as_ref().map_or("", |text| text.reveal());
            let mut particulars = Particulars::find(transcript, number, &classifier);
            particulars.is_urgent |= voicemail.is_urgent;
            let named = particulars.message_for.as_ref().filter(|_| voicemail.mailbox.is_none());
            if let Some(mailbox) = named.and_then(|name| shop.mailboxes.iter().find(|one| one.is_of(name))) {
                set_voicemail_mailbox(sql_tx, voicemail.voicemail_id, Some(&mailbox.name), now)?;
            }
            // Nobody else is named: a mailbox of a person is theirs.
            let owner = voicemail.mailbox.clone().filter(|name| shop.staff.office().person(name).is_some());
            particulars.message_for = particulars.message_for.or(owner);
            particulars.keep(sql_tx, voicemail.voicemail_id, now)?;
            if let Some(number) = number {
                set_contact(sql_tx, number, particulars.name.as_deref(), particulars.email.as_deref(), now)?;
            }
            let office = shop.staff.office();
            follow_ups::promise_of(sql_tx, &voicemail, &particulars, transcript, &office, &shop.follow_ups, now)?;
            queue_job(sql_tx, JobKind::Notify, &subject, now, now).map(drop)
        });
        Ok(written.await?)
    }

    async fn notify(&self, job: &DurableJob) -> anyhow::Result<()> {
        let voicemail = self.voicemail(job).await?;
        let (shop, job_id) = (Arc::clone(&self.shop), job.job_id);
        let written = self.shop.storage.write(move |sql_tx| {
            let now = UnixMs::now();
            finish_job(sql_tx, job_id, now)?;
            let Some(voicemail) = voicemail else { return Ok(0) };
            let particulars = Particulars::of(sql_tx, voicemail.voicemail_id)?;
            let is_urgent = voicemail.is_urgent || particulars.is_some_and(|one| one.is_urgent);
            let (subject, thread) = (voicemail.voicemail_id.to_string(), voicemail.call_id.to_string());
            let mailbox = voicemail.mailbox.as_ref().and_then(|name| shop.mailboxes.iter().find(|one| one.is_of(name)));
            let told = mailbox.map(|mailbox| mailbox.told(&shop.staff.office())).unwrap_or_default();
            let recipients = shop.recipients.for_mailbox(&told);
            let notices = recipients.notices(NoticeKind::Message, &subject, &thread, is_urgent);
            for notice in &notices {
                queue_notice(sql_tx, notice, now)?;
            }
            Ok(notices.len())
        });
        let notices = written.await?;
        if notices > 0 {
            info!(notices, "Notices of a message queued");
        }
        Ok(())
    }

    async fn follow_up(&self, job: &DurableJob) -> anyhow::Result<()> {
        let id = job.subject.parse()?;
        let (shop, job_id, kind) = (Arc::clone(&self.shop), job.job_id, job.kind);
        let written = self.shop.storage.write(move |sql_tx| {
            let now = UnixMs::now();
            finish_job(sql_tx, job_id, now)?;
            let told = (&shop.recipients, &*shop.staff.office());
            follow_ups::tell(sql_tx, id, kind == JobKind::Escalate, told, now)
        });
        Ok(written.await?)
    }
}

impl Pipeline {
    async fn report(&self, job: &DurableJob) -> anyhow::Result<()> {
        let begins = UnixMs(job.subject.parse()?);
        let (shop, job_id) = (Arc::clone(&self.shop), job.job_id);
        let written = self.shop.storage.write(move |sql_tx| {
            let now = UnixMs::now();
            finish_job(sql_tx, job_id, now)?;
            let office = shop.staff.office();
            follow_ups::report(sql_tx, begins, (&shop.recipients, &office), now)?;
            follow_ups::expect_report(sql_tx, &Zoned::now().with_time_zone(office.time_zone().clone()))
        });
        Ok(written.await?)
    }
}

/// Whether it is to be done at `now`, also by a clock that was set back.
fn is_due(job: &DurableJob, now: UnixMs) -> bool {
    debug_assert_eq!(job.state, JobState::Queued);
    match job.attempts {
        0 => job.due_at <= now || job.was_due_at_once(),
        _ => BACKOFF.is_over(job.due_at, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::JobId;

    #[test]
    fn a_job_is_due_in_its_time_whatever_the_clock_does() {
        let at = UnixMs(1_000_000_000);
        // attempts, created, due, is due
        for (attempts, created_at, due_at, expected) in [
            (0, 0, 0, true),
            (0, 0, 1, false),
            // Queued under a clock that was set back since.
            (0, 500, 500, true),
            // Meant for later.
            (0, 0, 90_000_000, false),
            (1, 0, 10, false),
            (1, 0, 90_000_000, true),
        ] {
            let job = DurableJob {
                job_id: JobId::new(at),
                kind: JobKind::Notify,
                subject: "row".into(),
                state: JobState::Queued,
                attempts,
                due_at: UnixMs(at.0 + due_at),
                error: None,
                created_at: UnixMs(at.0 + created_at),
            };
            assert_eq!(is_due(&job, at), expected, "{job:?}");
        }
    }
}
