//! Calls that begin at a desk rather than at a phone: somebody takes the caller whom the attendant talks with, or calls a
//! caller back as it was promised.
//!
//! ```text
//! call back:  phones of the extension ring ─► who it is, 1 ─► the number outside is dialled ─► both talk
//! take over:  CallsUp ─► the call's own task ─► the phones ring for the caller, who hears music
//! ```

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::{Instrument as _, info, info_span, warn};

use super::bridge::Party;
use super::consult::{Verdict, consult};
use super::incoming::{CallerKind, ended_session};
use super::mailbox::call_back;
use super::reach::{Course, Outside, course_to};
use super::record::write_end;
use super::ring::{Rung, ring};
use super::services::Services;
use super::task::End;
use super::up::{CallsUp, TakeOverError};
use super::waiting::Waiting;
use crate::config::Config;
use crate::conversation::{phrases, summary};
use crate::dial_plan::{Decision, Target, from_phone};
use crate::office::Office;
use crate::redact::Redacted;
use crate::storage::{
    CallId, Direction, FollowUp, FollowUpState, INSIDE, NewSession, PeerAddressKind, UnixMs, acknowledge_follow_up,
    insert_session, mark_answered,
};

/// Call backs that may wait for their phones to ring.
const CALL_BACKS: usize = 16;

/// Why nobody is called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// See there.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// Its phones could not ring.
    #[error("there is no extension {0:?} in [[extensions]]")]
    NoSuchExtension(String),
    /// Nobody owns the promise, or nobody with a phone.
    #[error("nobody with an extension owns this promise; name the one that is to ring")]
    NoExtension,
    /// It was kept, or is not wanted any more.
    #[error("this promise is over")]
    Over,
    /// There is nothing to dial.
    #[error("nobody knows where this caller can be called")]
    NoNumber,
    /// By the dial plan.
    #[error("[outbound] does not allow this number")]
    NotAllowed,
    /// The box stops, or has more of them than it can do.
    #[error("the box places no calls at the moment")]
    Unavailable,
}

/// What a desk may have done; cheap to clone.
#[derive(Clone)]
pub struct Switchboard {
    up: CallsUp,
    config: Arc<Config>,
    call_backs: mpsc::Sender<CallBack>,
}

/// A promise that is to be kept now.
pub struct CallBack {
    promise: FollowUp,
    extension: String,
    number: String,
}

impl Switchboard {
    /// With what [`serve`] has to be given.
    pub fn new(up: CallsUp, config: &Config) -> (Switchboard, mpsc::Receiver<CallBack>) {
        let (call_backs, wanted) = mpsc::channel(CALL_BACKS);
        (Switchboard { up, config: Arc::new(config.clone()), call_backs }, wanted)
    }

    /// As [`CallsUp::take_over`].
    ///
    /// # Errors
    /// [`SwitchError::TakeOver`], [`SwitchError::NoSuchExtension`].
    pub fn take_over(&self, call: &str, by: &str) -> Result<CallId, SwitchError> {
        self.known(by)?;
        Ok(self.up.take_over(call, by)?)
    }

    /// Has the phones of `extension` ring, or those of whoever owns the promise, and then its caller called.
    ///
    /// # Errors
    /// [`SwitchError`].
    pub fn call_back(&self, promise: FollowUp, extension: Option<String>, office: &Office) -> Result<(), SwitchError> {
        if promise.state == FollowUpState::Closed {
            return Err(SwitchError::Over);
        }
        let owners = || {
            let Some(Target::Extension(extension)) = &office.person(promise.owner.as_deref()?)?.reach else {
                return None;
            };
            Some(extension.clone())
        };
        let extension = extension.or_else(owners).ok_or(SwitchError::NoExtension)?;
        self.known(&extension)?;
        let contact = promise.contact.as_ref().ok_or(SwitchError::NoNumber)?;
        // Whoever asks at a desk is not locked out at night.
        let Decision::Outside { number } = from_phone(&self.config, contact.reveal(), true) else {
            return Err(SwitchError::NotAllowed);
        };
        self.call_backs.try_send(CallBack { promise, extension, number }).map_err(|_| SwitchError::Unavailable)
    }

    fn known(&self, extension: &str) -> Result<(), SwitchError> {
        match self.config.has_extension(extension) {
            true => Ok(()),
            false => Err(SwitchError::NoSuchExtension(extension.to_owned())),
        }
    }
}

/// Places the calls that are wanted, until the box stops.
pub async fn serve(services: Arc<Services>, mut wanted: mpsc::Receiver<CallBack>, stop: watch::Receiver<bool>) {
    let mut stopped = stop.clone();
    loop {
        let call_back = tokio::select! {
            Some(call_back) = wanted.recv() => call_back,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let call_id = CallId::new(UnixMs::now());
        let span = info_span!("call", %call_id);
        tokio::spawn(place(Arc::clone(&services), call_id, call_back, stop.clone()).instrument(span));
    }
}

async fn place(services: Arc<Services>, call_id: CallId, wanted: CallBack, stop: watch::Receiver<bool>) {
    let CallBack { promise, extension, number } = wanted;
    info!(promise = %promise.follow_up_id, "Call back");
    let _up = services.up.enter_outbound(call_id, &extension, &number);
    let session = NewSession {
        call_id,
        direction: Direction::Outbound,
        trunk: INSIDE.to_owned(),
        peer_address_kind: PeerAddressKind::Private,
        caller_id: Some(Redacted::new(extension.clone())),
        called: Some(Redacted::new(number.clone())),
        // It has none before a phone has answered.
        sip_call_id: call_id.to_string(),
        started_at: UnixMs::now(),
    };
    services.storage.post("call", move |sql_tx| insert_session(sql_tx, &session)).await;
    let from = services.number_outside(&number);
    let Course::Ring(plan) = course_to(&services, &Target::Extension(extension)) else {
        return close(&services, call_id, End::NO_ANSWER).await;
    };
    let rung = ring(&services, &plan, &from).await;
    let Rung::Answered { leg, extension } = rung else { return close(&services, call_id, End::NO_ANSWER).await };
    let mut party = Party::new(&services, *leg, CallerKind::Extension(extension.clone()));
    services.storage.post("answer", move |sql_tx| mark_answered(sql_tx, call_id, UnixMs::now())).await;
    let verdict = match services.abilities.text_to_speech {
        true => consult(&services, &mut party.leg, &whom(&promise), phrases::CALL_BACK_MENU).await,
        false => Verdict::Take,
    };
    let mut waiting = Waiting::new(
        Arc::clone(&services),
        call_id,
        party.leg,
        (CallerKind::Extension(extension.clone()), services.inside_identity(&extension)),
        stop,
    );
    if verdict != Verdict::Take {
        return waiting.finish(End::NO_ANSWER, "feature").await;
    }
    let by = services.staff.office().person_at(&extension).map(|person| person.name.clone());
    let by = by.unwrap_or_else(|| format!("extension {extension}"));
    let id = promise.follow_up_id;
    let taken = services.storage.write(move |sql_tx| acknowledge_follow_up(sql_tx, id, &by, UnixMs::now())).await;
    match taken {
        Ok(()) => services.bell.ring(),
        Err(error) => warn!(%error, "Who keeps a promise is not kept"),
    }
    waiting.say(phrases::CALLING).await;
    if let Err(end) = call_back(waiting, Outside { number, ..Outside::default() }).await {
        warn!(cause = end.cause, "Call back failed");
    }
}

async fn close(services: &Services, call_id: CallId, end: End) {
    info!(cause = end.cause, "Nobody answered at the desk");
    write_end(&services.storage, call_id, Vec::new(), ended_session(end, "abandoned")).await;
}

/// Whom they are about to call.
fn whom(promise: &FollowUp) -> String {
    let text = |secret: &Option<Redacted<String>>| secret.as_ref().map(|secret| secret.reveal().clone());
    let (name, number) = (text(&promise.contact_name), text(&promise.contact));
    summary::call_back(name.as_deref(), number.as_deref(), &promise.reference)
}
