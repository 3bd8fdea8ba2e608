//! What phones show without being called: the lamp for voicemail (RFC 3842), and the lamp fields that show which
//! colleague rings or talks (RFC 4235).
//!
//! A phone subscribes with its password like it registers. Everybody of the office may watch everybody's lamp; who talks
//! with whom is not told. What rings may be taken by a key beside the lamp, which names its dialog (RFC 3891).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sip_stack::body::{dialog_info, message_summary};
use sip_stack::digest::Asker;
use sip_stack::endpoint::{Body, Source, SubscriptionHandle};
use sip_stack::message::header::Replaces;
use sip_stack::message::{Request, StatusCode};
use tracing::{debug, warn};

use super::incoming::user_of;
use super::phones::Refused;
use super::services::Services;
use crate::dial_plan::{Decision, Feature, from_phone};
use crate::storage::count_voicemails;

pub(super) use dialog_info::DialogState;

/// Event packages that phones may subscribe to.
pub const PACKAGES: [&str; 2] = [message_summary::PACKAGE, dialog_info::PACKAGE];

/// All subscriptions, and who of the office is in which state; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lamps(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    subscriptions: HashMap<SubscriptionHandle, Watch>,
    /// Calls of each extension that has any.
    calls: HashMap<String, Vec<Shown>>,
    next_call: u64,
}

/// A call of an extension.
#[derive(Debug)]
struct Shown {
    id: u64,
    state: DialogState,
    /// What a phone names that takes it (RFC 3891).
    dialog: Option<Replaces>,
}

#[derive(Debug, Clone)]
enum Watch {
    /// Of a mailbox, or the office's.
    Messages {
        mailbox: Option<String>,
    },
    Calls {
        extension: String,
        entity: String,
        version: u32,
    },
}

/// A phone that rings or talks; when dropped, it does not any more.
pub(super) struct Lit {
    services: Arc<Services>,
    extension: String,
    call: u64,
}

impl Lamps {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription is over.
    pub(super) fn forget(&self, subscription: SubscriptionHandle) {
        self.state().subscriptions.remove(&subscription);
    }

    /// Whether that extension rings or talks.
    pub(super) fn is_in_call(&self, extension: &str) -> bool {
        self.state().calls.contains_key(extension)
    }

    fn body_of_calls(&self, subscription: SubscriptionHandle) -> Option<Body> {
        let mut state = self.state();
        let State { subscriptions, calls, .. } = &mut *state;
        let Watch::Calls { extension, entity, version } = subscriptions.get_mut(&subscription)? else { return None };
        let dialog = |Shown { id, state, dialog }: &Shown| dialog_info::DialogInfo {
            id: id.to_string(),
            is_initiator: false,
            state: *state,
            remote: None,
            dialog: dialog.clone(),
        };
        let dialogs: Vec<_> = calls.get(extension).into_iter().flatten().map(dialog).collect();
        let xml = dialog_info::to_body(entity, *version, &dialogs);
        *version += 1;
        Some(Body::new(dialog_info::MEDIA_TYPE, xml))
    }

    /// Whose messages any phone shows.
    fn mailboxes(&self) -> BTreeSet<Option<String>> {
        let mailbox = |watch: &Watch| match watch {
            Watch::Messages { mailbox } => Some(mailbox.clone()),
            Watch::Calls { .. } => None,
        };
        self.state().subscriptions.values().filter_map(mailbox).collect()
    }

    fn watching(&self, wanted: impl Fn(&Watch) -> bool) -> Vec<SubscriptionHandle> {
        let state = self.state();
        let watching = state.subscriptions.iter().filter(|(_, watch)| wanted(watch)).map(|(handle, _)| *handle);
        let mut handles: Vec<_> = watching.collect();
        handles.sort_unstable();
        handles
    }
}

/// A phone wants to watch something.
pub(super) async fn subscribed(
    services: Arc<Services>,
    subscription: SubscriptionHandle,
    package: String,
    message: Arc<Request>,
    source: Source,
) {
    let refuse = |status, headers| {
        let sip = services.sip.clone();
        async move {
            let _ =
                sip.with(move |endpoint, now| endpoint.refuse_subscription(subscription, status, headers, now)).await;
        }
    };
    let phone = match services.phones.identify(&message, Asker::Server, source.peer.ip(), Instant::now()) {
        Ok(extension) => extension,
        Err(Refused { status, headers }) => return refuse(status, headers).await,
    };
    let watched = user_of(&message.uri).unwrap_or_default();
    let watch = match package.as_str() {
        message_summary::PACKAGE => {
            Watch::Messages { mailbox: services.config.mailbox_of(&phone).map(|mailbox| mailbox.name.clone()) }
        }
        _ if services.phones.is_extension(&watched) || is_park_place(&services, &watched) => {
            Watch::Calls { extension: watched, entity: message.uri.to_string(), version: 0 }
        }
        _ => return refuse(StatusCode::NOT_FOUND, Vec::new()).await,
    };
    let mailbox = match &watch {
        Watch::Messages { mailbox } => Some(mailbox.clone()),
        Watch::Calls { .. } => None,
    };
    services.lamps.state().subscriptions.insert(subscription, watch);
    let body = match mailbox {
        Some(mailbox) => counts(&services, mailbox).await.map(summary),
        None => services.lamps.body_of_calls(subscription),
    };
    let accepted =
        services.sip.with(move |endpoint, now| endpoint.accept_subscription(subscription, body, now).is_ok()).await;
    debug!(package, accepted = accepted == Ok(true), "Subscription");
}

fn is_park_place(services: &Services, watched: &str) -> bool {
    matches!(from_phone(&services.config, watched, true), Decision::Feature(Feature::Park { .. }))
}

/// New and old messages of a mailbox, or of the office's.
async fn counts(services: &Services, mailbox: Option<String>) -> Option<(u32, u32)> {
    let counts = services.storage.read(move |db| count_voicemails(db, mailbox.as_deref())).await;
    counts.inspect_err(|error| warn!(%error, "Messages not counted")).ok()
}

fn summary((new, old): (u32, u32)) -> Body {
    let summary = message_summary::MessageSummary { new, old, ..Default::default() };
    Body::new(message_summary::MEDIA_TYPE, summary.to_body())
}

/// Whenever there is another number of messages in a mailbox, every phone that shows it is told, until the bell is silenced.
pub(super) async fn follow_messages(services: Arc<Services>) {
    let mut ear = services.bell.ear();
    let mut told = BTreeMap::new();
    while ear.wait(None).await {
        let mailboxes = services.lamps.mailboxes();
        told.retain(|mailbox, _| mailboxes.contains(mailbox));
        for mailbox in mailboxes {
            let Some(counts) = counts(&services, mailbox.clone()).await else { continue };
            if told.insert(mailbox.clone(), counts) == Some(counts) {
                continue;
            }
            let is_theirs = |watch: &Watch| matches!(watch, Watch::Messages { mailbox: theirs } if *theirs == mailbox);
            let watching = services.lamps.watching(is_theirs);
            let body = summary(counts);
            let tell = services.sip.with(move |endpoint, now| {
                for subscription in watching {
                    // One that ended in the meantime is told as an event.
                    let _ = endpoint.notify(subscription, body.clone(), now);
                }
            });
            let _ = tell.await;
        }
    }
}

impl Lit {
    /// The lamp of `extension` shows `state` from now on.
    pub(super) fn new(services: &Arc<Services>, extension: &str, state: DialogState) -> Lit {
        let call = {
            let mut lamps = services.lamps.state();
            lamps.next_call += 1;
            let call = lamps.next_call;
            lamps.calls.entry(extension.to_owned()).or_default().push(Shown { id: call, state, dialog: None });
            call
        };
        let lit = Lit { services: Arc::clone(services), extension: extension.to_owned(), call };
        lit.tell();
        lit
    }

    /// The call may be taken by whoever names this dialog.
    pub(super) fn show_dialog(&self, dialog: Replaces) {
        let mut lamps = self.services.lamps.state();
        let calls = lamps.calls.get_mut(&self.extension);
        if let Some(call) = calls.and_then(|calls| calls.iter_mut().find(|call| call.id == self.call)) {
            call.dialog = Some(dialog);
        }
        drop(lamps);
        self.tell();
    }

    fn tell(&self) {
        let is_ours = |watch: &Watch| matches!(watch, Watch::Calls { extension, .. } if *extension == self.extension);
        let watching = self.services.lamps.watching(is_ours);
        if watching.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (sip, lamps) = (self.services.sip.clone(), self.services.lamps.clone());
        tokio::spawn(async move {
            sip.with(move |endpoint, now| {
                for subscription in watching {
                    // Made here, where nothing else tells: so the versions rise in the order of the NOTIFYs.
                    if let Some(body) = lamps.body_of_calls(subscription) {
                        let _ = endpoint.notify(subscription, body, now);
                    }
                }
            })
            .await
        });
    }
}

impl Drop for Lit {
    fn drop(&mut self) {
        let mut lamps = self.services.lamps.state();
        if let Some(calls) = lamps.calls.get_mut(&self.extension) {
            calls.retain(|call| call.id != self.call);
            if calls.is_empty() {
                lamps.calls.remove(&self.extension);
            }
        }
        drop(lamps);
        self.tell();
    }
}
