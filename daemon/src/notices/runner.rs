//! The task that sends what waits: asks the spool, does what it says, and keeps how that went.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, error, info, warn};

use super::content::{Composer, Content};
use super::email::Email;
use super::replies::follow;
use super::sms::Sms;
use super::spool::{Next, PATIENCE, Rules, Spool, Verdict, Waiting};
use super::template::{Part, Templates};
use super::webhook::Webhook;
use super::{Delivered, Undelivered};
use crate::bell::Ear;
use crate::config::{self, Config};
use crate::office::Staff;
use crate::retry::{Backoff, later, seed_of};
use crate::storage::{
    AudioFiles, Channel, Delivery, FailedAttempt, Notice, NoticeFailure, NotificationId, Storage, StorageError, UnixMs,
    await_delivery, begin_notice, begin_thread, fail_notice, find_notice, finish_notice, last_text_sent_at,
    note_delivery, notices_cost_cents, requeue_interrupted_notices, stop_sms, undelivered_notices, waiting_notices,
};

/// How often is asked where a text message is.
const DELIVERY: Backoff = Backoff { first: Duration::from_secs(15), longest: Duration::from_secs(2 * 60 * 60) };
/// What is not known after so many questions, most of a day, never will be.
const DELIVERY_CHECKS_MAX: u32 = 16;
/// How often is asked for answers, and how long after the last text message.
const REPLIES_INTERVAL: Duration = Duration::from_secs(60);
const REPLIES_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The ways that are configured.
pub struct Ways {
    email: Option<Email>,
    webhook: Option<Webhook>,
    sms: Option<Sms>,
}

impl Ways {
    /// Ready to be used; nothing is connected to yet. Blocks.
    ///
    /// # Errors
    /// A secret that cannot be read, an address that is none.
    pub fn open(config: &Config) -> anyhow::Result<Ways> {
        Ok(Ways {
            email: config.email.enabled.then(|| Email::open(&config.email)).transpose()?,
            webhook: config.webhook.enabled.then(|| Webhook::open(&config.webhook)).transpose()?,
            sms: config.sms.enabled.then(|| Sms::open(&config.sms)).transpose()?,
        })
    }
}

/// Sends notices.
pub struct Notifier {
    /// The database.
    pub storage: Storage,
    /// Recordings beside it.
    pub files: AudioFiles,
    /// Puts notices together.
    pub composer: Composer,
    /// Their words.
    pub templates: Templates,
    /// The ways they go.
    pub ways: Ways,
    /// Whose answers by text message count.
    pub staff: Staff,
    /// The numbers whose do, too.
    pub texts: config::Sms,
}

impl Notifier {
    /// As configured. Blocks.
    ///
    /// # Errors
    /// As [`Ways::open`]; a template that cannot be used.
    pub fn open(config: &Config, staff: Staff, storage: Storage, files: AudioFiles) -> anyhow::Result<Notifier> {
        let templates = Templates::open(config.notices.templates_directory.as_deref())
            .map_err(|mistakes| anyhow::anyhow!("{}", mistakes.first().map(ToString::to_string).unwrap_or_default()))?;
        let composer = Composer::open(config, staff.office())?;
        Ok(Notifier {
            storage,
            files,
            composer,
            templates,
            ways: Ways::open(config)?,
            staff,
            texts: config.sms.clone(),
        })
    }

    /// Sends what waits, and what comes. Returns when `ear` is told that it is over.
    pub async fn run(self, mut ear: Ear) {
        let interrupted = self.storage.write(|sql_tx| requeue_interrupted_notices(sql_tx, UnixMs::now())).await;
        match interrupted {
            Ok(0) => {}
            Ok(notices) => warn!(notices, "The last run ended while notices were sent; they are taken up again"),
            Err(error) => error!(%error, "Notices cannot be taken up"),
        }
        let mut spool = Spool::new(Rules {
            quiet: self.composer.policy.quiet_hours,
            zone: self.composer.office.time_zone().clone(),
            backoff: PATIENCE.0,
            deferrals_max: PATIENCE.1,
        });
        let (mut until, mut replies_at) = (None, UnixMs::now());
        while ear.wait(until).await {
            let passed = async {
                let next = self.pass(&mut spool, &ear).await?;
                let [deliveries, replies] = [self.deliveries(&ear).await?, self.replies(&mut replies_at).await?];
                Ok::<_, StorageError>([next, deliveries, replies].into_iter().flatten().min())
            };
            until = match passed.await {
                Ok(until) => until,
                Err(error) => {
                    error!(%error, "Notices wait for the database");
                    None
                }
            };
        }
    }

    /// Asks where text messages are of which that is not known. When that is to be done again.
    async fn deliveries(&self, ear: &Ear) -> Result<Option<UnixMs>, StorageError> {
        let Some(sms) = &self.ways.sms else { return Ok(None) };
        let under_way = self.storage.read(undelivered_notices).await?;
        for notice in under_way {
            let (now, due_at) = (UnixMs::now(), notice.delivery_due_at.unwrap_or(UnixMs(0)));
            if ear.is_over() || !DELIVERY.is_over(due_at, now) {
                return Ok(Some(due_at));
            }
            let (id, checks) = (notice.notification_id, notice.delivery_checks + 1);
            let next = DELIVERY.due_after(checks + 1, seed_of(id.as_uuid()), now);
            let reference = notice.reference.unwrap_or_default();
            let asked = {
                let (sms, reference) = (sms.clone(), reference.clone());
                blocking(move || sms.progress(&reference)).await
            };
            let asked = match asked {
                Ok(progress) => progress.delivery(Some(next).filter(|_| checks < DELIVERY_CHECKS_MAX)),
                // The service does not know it, and never will.
                Err(error) if matches!(error.failure, NoticeFailure::Refused | NoticeFailure::Recipient) => {
                    Delivery { state: "unknown".into(), failed: None, due_at: None }
                }
                Err(error) => {
                    debug!(%id, %error, "Where a text message is is not known");
                    self.storage.write(move |sql_tx| await_delivery(sql_tx, id, next)).await?;
                    continue;
                }
            };
            if let Some((failure, error)) = &asked.failed {
                error!(%id, channel = "sms", failure = failure.as_str(), error, "Notice not delivered");
            }
            self.storage.write(move |sql_tx| note_delivery(sql_tx, &reference, &asked, now)).await?;
        }
        Ok(None)
    }

    /// Asks for answers to text messages, where nobody tells of them. When that is to be done again.
    async fn replies(&self, due_at: &mut UnixMs) -> Result<Option<UnixMs>, StorageError> {
        let Some(sms) = self.ways.sms.as_ref().filter(|_| self.texts.callback_url.is_none()) else { return Ok(None) };
        let (now, last) = (UnixMs::now(), self.storage.read(last_text_sent_at).await?);
        if last.is_none_or(|last| later(last, REPLIES_LIMIT) < now) {
            return Ok(None);
        }
        if !DELIVERY.is_over(*due_at, now) {
            return Ok(Some(*due_at));
        }
        *due_at = later(now, REPLIES_INTERVAL);
        let sms = sms.clone();
        let texts = match blocking(move || sms.received()).await {
            Ok(texts) => texts,
            Err(error) => {
                debug!(%error, "Answers to text messages are not known");
                return Ok(Some(*due_at));
            }
        };
        let (office, config) = (self.staff.office(), self.texts.clone());
        let written = self.storage.write(move |sql_tx| {
            // Nothing is answered: whoever asks instead of being told pays for each text.
            texts.iter().try_for_each(|text| follow(sql_tx, text, (&office, &config), now).map(drop))
        });
        written.await?;
        Ok(Some(*due_at))
    }

    /// Sends everything that may go now. When the next one may.
    async fn pass(&self, spool: &mut Spool, ear: &Ear) -> Result<Option<UnixMs>, StorageError> {
        let waiting = self.storage.read(waiting_notices).await?;
        spool.refill(waiting.iter().map(candidate).collect());
        while !ear.is_over() {
            match spool.next(UnixMs::now()) {
                Next::Send(id) => self.attempt(spool, id).await?,
                Next::Sleep(until) => return Ok(Some(until)),
                Next::Idle => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn attempt(&self, spool: &mut Spool, id: NotificationId) -> Result<(), StorageError> {
        let notice = self.storage.read(move |db| find_notice(db, id)).await?.ok_or(StorageError::NotFound("notice"))?;
        self.storage.write(move |sql_tx| begin_notice(sql_tx, id, UnixMs::now())).await?;
        let composer = self.composer.clone();
        let composed = {
            let notice = notice.clone();
            self.storage.read(move |db| composer.compose(db, &notice, UnixMs::now())).await?
        };
        let sent = match &composed {
            Some(content) => self.send(&notice, content).await,
            None => Err(Undelivered::new(NoticeFailure::Impossible, "what it is about is gone")),
        };
        let now = UnixMs::now();
        let outcome = sent.as_ref().map(|_| ()).map_err(|undelivered| undelivered.failure);
        let verdict = spool.handle_outcome(id, outcome, now).unwrap_or(Verdict::Dead);
        tell(&notice, verdict, sent.as_ref().err());
        let number = composed.and_then(|content| content.contact).map(|contact| contact.number);
        let write = self.storage.write(move |sql_tx| {
            let undelivered = match sent {
                Ok(delivered) => {
                    if let (Channel::Email, Some(number)) = (notice.new.channel, &number) {
                        begin_thread(sql_tx, number.reveal(), &delivered.reference, now)?;
                    }
                    finish_notice(sql_tx, id, &delivered.reference, delivered.cost_cents, now)?;
                    if notice.new.channel == Channel::Sms {
                        await_delivery(sql_tx, id, later(now, DELIVERY.first))?;
                    }
                    return Ok(());
                }
                Err(undelivered) => undelivered,
            };
            if undelivered.failure == NoticeFailure::Stopped {
                stop_sms(sql_tx, notice.new.recipient.reveal(), now)?;
            }
            let due_at = match verdict {
                Verdict::Again(due_at) => Some(due_at),
                Verdict::Sent | Verdict::Dead => None,
            };
            let failed = FailedAttempt { failure: undelivered.failure, error: undelivered.error, due_at };
            fail_notice(sql_tx, id, &failed, now)
        });
        write.await
    }

    async fn send(&self, notice: &Notice, content: &Content) -> Result<Delivered, Undelivered> {
        let (id, recipient) = (notice.notification_id, notice.new.recipient.reveal().clone());
        let absent = || Undelivered::new(NoticeFailure::Impossible, "this way is not configured any more");
        match notice.new.channel {
            Channel::Email => {
                let email = self.ways.email.as_ref().ok_or_else(absent)?;
                email.send((id, &recipient), content, &self.templates, &self.files).await
            }
            Channel::Webhook => {
                let webhook = self.ways.webhook.clone().ok_or_else(absent)?;
                let (subject, content) = (notice.new.subject.clone(), content.clone());
                blocking(move || webhook.send(id, &recipient, &subject, &content, UnixMs::now())).await
            }
            Channel::Sms => {
                let sms = self.ways.sms.clone().ok_or_else(absent)?;
                let text = self.templates.render(Part::Sms, &content.facts);
                self.may_text(&sms, &recipient, &text).await?;
                let is_repeat = notice.failure == Some(NoticeFailure::Interrupted);
                blocking(move || sms.send(&recipient, &text, is_repeat)).await
            }
        }
    }

    /// Whether the recipient wants text messages, and the office wants to pay for one more this month.
    async fn may_text(&self, sms: &Sms, recipient: &str, text: &str) -> Result<(), Undelivered> {
        let zone = self.composer.office.time_zone().clone();
        let month = Timestamp::now().to_zoned(zone).first_of_month().and_then(|first| first.start_of_day());
        let since = month.map_or(UnixMs(0), |first| UnixMs(first.timestamp().as_millisecond()));
        let number = recipient.to_owned();
        let known = self.storage.read(move |db| {
            let spent_cents = notices_cost_cents(db, Channel::Sms, since)?;
            Ok((spent_cents, crate::storage::find_contact(db, &number)?))
        });
        let (spent_cents, contact) =
            known.await.map_err(|error| Undelivered::new(NoticeFailure::Deferred, error.to_string()))?;
        if contact.is_some_and(|contact| contact.sms_stopped_at.is_some()) {
            return Err(Undelivered::new(NoticeFailure::Stopped, "the recipient has answered STOP"));
        }
        let limit_cents = sms.monthly_limit_cents();
        if spent_cents + sms.cost_cents(text) > limit_cents {
            let error = format!("{spent_cents:.1} cents of sms.monthly_limit_cents = {limit_cents:.1} are spent");
            return Err(Undelivered::new(NoticeFailure::SpendLimit, error));
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    send: impl FnOnce() -> Result<T, Undelivered> + Send + 'static,
) -> Result<T, Undelivered> {
    let failed = |error: tokio::task::JoinError| Undelivered::new(NoticeFailure::Deferred, error.to_string());
    tokio::task::spawn_blocking(send).await.map_err(failed)?
}

fn candidate(notice: &Notice) -> Waiting {
    Waiting {
        id: notice.notification_id,
        channel: notice.new.channel,
        lane: notice.new.order_key.clone(),
        is_urgent: notice.new.is_urgent,
        attempts: notice.attempts,
        deferrals: notice.deferrals,
        due_at: notice.due_at,
    }
}

/// What an operator has to know; recipients stay out of it.
fn tell(notice: &Notice, verdict: Verdict, undelivered: Option<&Undelivered>) {
    let (id, channel, kind) = (notice.notification_id, notice.new.channel.as_str(), notice.new.kind.as_str());
    let failure = undelivered.map(|undelivered| undelivered.failure.as_str());
    match verdict {
        Verdict::Sent => info!(%id, channel, kind, "Notice sent"),
        Verdict::Again(_) if notice.attempts == 0 => warn!(%id, channel, kind, failure, "Notice not sent yet"),
        Verdict::Again(_) => debug!(%id, channel, kind, failure, "Notice not sent yet"),
        Verdict::Dead => error!(%id, channel, kind, failure, "Notice given up"),
    }
}
