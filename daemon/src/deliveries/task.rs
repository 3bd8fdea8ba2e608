//! Deliveries as they come: what is short at once, one sound after the other beside it, and what fails again later.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cloud_api::v1::{Delivered, Delivery, ReceivedText, TakenCall, TextProgress, box_message, delivery};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::call::Taken;
use super::sound::{SoundError, Sounds};
use crate::bell::Bell;
use crate::call::Line;
use crate::config::Config;
use crate::notices::replies::Text;
use crate::notices::sms::Progress;
use crate::notices::told::{Told, take};
use crate::office::Staff;
use crate::redact::Redacted;
use crate::retry::Backoff;
use crate::storage::{AudioFiles, Storage, StorageError, UnixMs, find_voicemail};

/// Deliveries that wait; the cloud has fewer on their way.
const WAITING: usize = 64;
/// Between two attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_secs(600) };
/// A sound that came damaged so often never comes whole.
const DAMAGED_MAX: u32 = 3;

/// What deliveries need of the box.
pub struct Post {
    /// Recordings.
    pub files: AudioFiles,
    /// Who may do what by a text message.
    pub staff: Staff,
    /// Rung when there is something to do.
    pub bell: Bell,
    /// How calls are now.
    pub line: Arc<dyn Fn() -> Line + Send + Sync>,
}

/// Takes deliveries in.
pub(crate) struct Deliveries {
    hands: Arc<Hands>,
    coming: mpsc::Receiver<Delivery>,
    waiting: Vec<Waiting>,
    /// The one whose sound is being fetched.
    fetching: Option<(Waiting, JoinHandle<Result<Delivered, Failure>>)>,
}

struct Waiting {
    delivery: Delivery,
    attempts: u32,
    due: Instant,
}

/// Why a delivery is not kept yet.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Sound(#[from] SoundError),
    #[error("a newer release may know what it is")]
    Unknown,
    #[error("it failed here")]
    Failed,
}

struct Hands {
    config: Config,
    storage: Storage,
    staff: Staff,
    bell: Bell,
    sounds: Sounds,
    told: mpsc::Sender<box_message::Body>,
}

impl Deliveries {
    /// One for this run, and the way to it. `told` carries what the box says to its cloud.
    pub(crate) fn new(
        config: &Config,
        storage: Storage,
        post: Post,
        told: mpsc::Sender<box_message::Body>,
    ) -> (Deliveries, mpsc::Sender<Delivery>) {
        let (sender, coming) = mpsc::channel(WAITING);
        let Post { files, staff, bell, line } = post;
        let sounds = Sounds::new(&config.state_directory(), config.cloud.trust.as_deref(), files, line);
        let hands = Hands { config: config.clone(), storage, staff, bell, sounds, told };
        (Deliveries { hands: Arc::new(hands), coming, waiting: Vec::new(), fetching: None }, sender)
    }

    /// Until the box stops.
    pub(crate) async fn run(mut self) {
        let hands = Arc::clone(&self.hands);
        // It is looked at again with the next start.
        let _ = tokio::task::spawn_blocking(move || hands.sounds.sweep(SystemTime::now())).await;
        loop {
            self.do_what_is_due().await;
            let next = self.waiting.iter().filter(|one| !self.is_busy_for(one)).map(|one| one.due).min();
            tokio::select! {
                coming = self.coming.recv() => match coming {
                    Some(delivery) => self.queue(delivery),
                    None => return,
                },
                done = fetched(&mut self.fetching) => {
                    if let Some((one, _)) = self.fetching.take() {
                        self.finish(one, done).await;
                    }
                }
                () = until(next) => {}
            }
        }
    }

    /// One that comes again with another stream waits once.
    fn queue(&mut self, delivery: Delivery) {
        let is_same = |one: &Waiting| one.delivery.delivery_id == delivery.delivery_id;
        let is_fetched = self.fetching.as_ref().is_some_and(|(one, _)| is_same(one));
        if !is_fetched && !self.waiting.iter().any(is_same) {
            self.waiting.push(Waiting { delivery, attempts: 0, due: Instant::now() });
        }
    }

    /// One sound at a time.
    fn is_busy_for(&self, one: &Waiting) -> bool {
        self.fetching.is_some() && has_sound(&one.delivery)
    }

    async fn do_what_is_due(&mut self) {
        let now = Instant::now();
        while let Some(at) = self.waiting.iter().position(|one| one.due <= now && !self.is_busy_for(one)) {
            let one = self.waiting.remove(at);
            let (hands, delivery, attempts) = (Arc::clone(&self.hands), one.delivery.clone(), one.attempts);
            if has_sound(&delivery) {
                let fetching = tokio::spawn(async move { hands.keep(&delivery, attempts).await });
                self.fetching = Some((one, fetching));
            } else {
                let done = hands.keep(&delivery, attempts).await;
                self.finish(one, done).await;
            }
        }
    }

    async fn finish(&mut self, mut one: Waiting, done: Result<Delivered, Failure>) {
        match done {
            Ok(delivered) => {
                self.hands.bell.ring();
                // A stream that is gone asks again when there is another.
                let _ = self.hands.told.send(box_message::Body::Delivered(delivered)).await;
            }
            Err(error) => {
                warn!(id = one.delivery.delivery_id, %error, "A delivery of the cloud is not kept; it is tried again");
                one.attempts += 1;
                one.due = Instant::now() + BACKOFF.after(one.attempts, 0);
                self.waiting.push(one);
            }
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        if let Some((_, fetching)) = &self.fetching {
            fetching.abort();
        }
    }
}

fn has_sound(delivery: &Delivery) -> bool {
    let Some(delivery::What::Call(TakenCall { message: Some(message), .. })) = &delivery.what else { return false };
    message.sound.is_some()
}

/// What came of it, if there is one; else never.
async fn fetched(
    fetching: &mut Option<(Waiting, JoinHandle<Result<Delivered, Failure>>)>,
) -> Result<Delivered, Failure> {
    match fetching {
        Some((_, task)) => task.await.unwrap_or(Err(Failure::Failed)),
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

impl Hands {
    /// Keeps it, each time with the same effect.
    async fn keep(&self, delivery: &Delivery, attempts: u32) -> Result<Delivered, Failure> {
        let delivery_id = delivery.delivery_id.clone();
        let answer = match &delivery.what {
            Some(delivery::What::Text(ReceivedText { reference, sender, body })) => {
                let (sender, body) = (Redacted::new(sender.clone()), Redacted::new(body.clone()));
                info!(id = delivery_id, "A text message came through the cloud");
                self.follow(Told::Text(Text { reference: reference.clone(), sender, body })).await?
            }
            Some(delivery::What::Progress(TextProgress { reference, state, error_code })) => {
                let error_code = Some(*error_code).filter(|code| *code != 0);
                self.follow(Told::Progress(reference.clone(), Progress { state: state.clone(), error_code })).await?
            }
            Some(delivery::What::Call(call)) => {
                self.keep_call(call, attempts).await?;
                None
            }
            None => return Err(Failure::Unknown),
        };
        Ok(Delivered { delivery_id, answer: answer.unwrap_or_default() })
    }

    async fn follow(&self, told: Told) -> Result<Option<String>, StorageError> {
        let (office, sms) = (self.staff.office(), self.config.sms.clone());
        self.storage.write(move |sql_tx| take(sql_tx, &told, (&office, &sms), UnixMs::now())).await
    }

    async fn keep_call(&self, call: &TakenCall, attempts: u32) -> Result<(), Failure> {
        let taken = Taken::new(call, &self.config, &self.staff.office());
        let voicemail_id = taken.voicemail_id();
        let is_known = self.storage.read(move |db| find_voicemail(db, voicemail_id)).await?.is_some();
        let finished = match taken.sound().filter(|_| !is_known) {
            Some(sound) => match self.sounds.fetch(sound, taken.audio()).await {
                Ok(finished) => Some(finished),
                Err(SoundError::Never(why)) => {
                    warn!(why, "A message that the cloud has taken comes without its sound");
                    None
                }
                Err(SoundError::Damaged) if attempts + 1 >= DAMAGED_MAX => {
                    warn!("The sound of a message that the cloud has taken is damaged there");
                    None
                }
                Err(error @ (SoundError::ForNow(_) | SoundError::Damaged)) => return Err(error.into()),
            },
            None => None,
        };
        let recording = finished.as_ref().map(|finished| finished.recording.clone());
        let write = self.storage.write(move |sql_tx| taken.keep(sql_tx, recording.as_ref(), UnixMs::now()));
        let is_new = write.await?;
        info!(reference = call.reference, message = is_new, "A call that the cloud has taken is kept");
        if let Some(finished) = finished {
            // What is left of it is found by the next start.
            let _ = tokio::task::spawn_blocking(move || finished.registered()).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cloud_api::v1::LeftMessage;

    use super::*;
    use crate::office::sample;
    use crate::storage::{PlainWav, StorageConfig, find_contact, list_received_texts, list_voicemails};

    struct Rig {
        deliveries: mpsc::Sender<Delivery>,
        told: mpsc::Receiver<box_message::Body>,
        storage: Storage,
        _folder: tempfile::TempDir,
    }

    fn rig() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::load(None, &[format!("storage.directory={}", folder.path().display())]).unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let post = Post {
            files: AudioFiles::open(folder.path(), Arc::new(PlainWav)).unwrap(),
            staff: Staff::new(Arc::new(sample::office().unwrap())),
            bell: Bell::default(),
            line: Arc::new(|| Line { calls: 0, jitter_ms: 0.0 }),
        };
        let (sender, told) = mpsc::channel(8);
        let (task, deliveries) = Deliveries::new(&config, storage.clone(), post, sender);
        tokio::spawn(task.run());
        Rig { deliveries, told, storage, _folder: folder }
    }

    impl Rig {
        async fn send(&self, id: &str, what: delivery::What) {
            self.deliveries.send(Delivery { delivery_id: id.to_owned(), what: Some(what) }).await.unwrap();
        }

        async fn delivered(&mut self) -> String {
            match self.told.recv().await {
                Some(box_message::Body::Delivered(delivered)) => delivered.delivery_id,
                other => panic!("{other:?}"),
            }
        }
    }

    fn text(body: &str) -> delivery::What {
        let (reference, sender) = (format!("SM {body}"), "+15551234567".to_owned());
        delivery::What::Text(ReceivedText { reference, sender, body: body.to_owned() })
    }

    fn call(reference: &str, sound: Option<cloud_api::v1::Sound>) -> delivery::What {
        let message = LeftMessage { ended_at_unix_ms: 20_000, duration_ms: 4_000, ended_by: 0, sound };
        delivery::What::Call(TakenCall {
            reference: reference.to_owned(),
            started_at_unix_ms: 10_000,
            message: Some(message),
            ..TakenCall::default()
        })
    }

    /// What comes is kept, told as often as it comes, and has its effect once; a sound that cannot be had keeps nobody waiting.
    #[tokio::test]
    async fn deliveries_are_kept_once_and_told_each_time() {
        let mut rig = rig();
        // Nobody is claimed here: it waits for a cloud.
        let sound = cloud_api::v1::Sound { sha256: vec![7; 32].into(), size_bytes: 1_000 };
        rig.send("call:1", call("CA1", Some(sound.clone()))).await;
        rig.send("text:1", text("STOP")).await;
        rig.send("text:1", text("STOP")).await;
        assert_eq!((rig.delivered().await, rig.delivered().await), ("text:1".to_owned(), "text:1".to_owned()));
        rig.send("progress:1", delivery::What::Progress(TextProgress::default())).await;
        assert_eq!(rig.delivered().await, "progress:1", "about a text that is not known");
        rig.send("call:2", call("CA2", None)).await;
        rig.send("call:3", call("CA3", Some(cloud_api::v1::Sound { size_bytes: 0, ..sound }))).await;
        assert_eq!((rig.delivered().await, rig.delivered().await), ("call:2".to_owned(), "call:3".to_owned()));
        let (texts, contact, voicemails) = rig
            .storage
            .read(|db| {
                let texts = list_received_texts(db, 10)?;
                Ok((texts, find_contact(db, "+15551234567")?, list_voicemails(db, None, 10)?))
            })
            .await
            .unwrap();
        assert_eq!((texts.len(), voicemails.len()), (1, 2));
        assert!(contact.unwrap().sms_stopped_at.is_some());
        assert!(voicemails.iter().all(|one| (one.recording_id, one.duration_ms) == (None, 4_000)), "{voicemails:?}");
    }
}
