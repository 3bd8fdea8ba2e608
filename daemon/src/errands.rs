//! What the box does when nobody is on the phone: jobs of messages and promises, notices, requests of the command line.

use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::warn;

use crate::bell::Bell;
use crate::call::Ears;
use crate::config::Config;
use crate::follow_ups;
use crate::inference::Queue;
use crate::messages::{Pipeline, Workshop};
use crate::notices::{Notifier, Recipients};
use crate::requests::{self, Desk};
use crate::storage::AudioFiles;

/// How long what is under way has to end when the box stops. What does not is taken up by the next start.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The tasks; end them with [`stop`](Errands::stop).
pub struct Errands {
    bell: Bell,
    tasks: Vec<JoinHandle<()>>,
    requests: JoinHandle<()>,
}

impl Errands {
    /// Starts them.
    ///
    /// # Errors
    /// As [`Notifier::open`].
    pub async fn start(
        config: &Config,
        files: &AudioFiles,
        (ears, can_hear): (Queue<Ears>, bool),
        desk: Desk,
    ) -> anyhow::Result<Errands> {
        let (storage, staff, bell) = (&desk.storage, &desk.staff, desk.bell.clone());
        let notifier = {
            let (config, staff) = (config.clone(), staff.clone());
            let (storage, files) = (storage.clone(), files.clone());
            tokio::task::spawn_blocking(move || Notifier::open(&config, staff, storage, files)).await??
        };
        let pipeline = Pipeline::new(Workshop {
            storage: storage.clone(),
            files: files.clone(),
            ears,
            can_hear,
            staff: staff.clone(),
            recipients: Recipients::new(config),
            mailboxes: config.mailboxes.clone(),
            follow_ups: follow_ups::Rules::from(&config.notices),
            bell: bell.clone(),
        });
        let tasks = vec![tokio::spawn(notifier.run(bell.ear())), tokio::spawn(pipeline.run())];
        let requests = tokio::spawn(requests::follow(desk));
        Ok(Errands { bell, tasks, requests })
    }

    /// Lets what is under way end.
    pub async fn stop(self) {
        self.requests.abort();
        self.bell.silence();
        for mut task in self.tasks {
            if tokio::time::timeout(STOP_LIMIT, &mut task).await.is_err() {
                warn!("A job or a notice is cut short; the next start takes it up");
                task.abort();
            }
        }
    }
}
