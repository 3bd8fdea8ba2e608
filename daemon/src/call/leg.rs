//! One side of a call that is up: its dialog, what was agreed about sound, and its stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_stack::endpoint::{CallHandle, Event, TransferNews};
use sip_stack::message::SipUri;
use sip_stack::message::header::ReasonHeader;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::figures::Figures;
use super::legs::LegEvents;
use super::negotiate::{self, InDialog, MediaAgreement};
use super::referral::{self, Referred};
use super::services::Services;
use super::task::End;
use crate::io::address::Reached;
use crate::io::media::{MediaEvents, MediaSession, MediaUnavailable, Refused};
use crate::storage::{CallId, CallMetrics, Leg as LegKind, UnixMs, add_metrics};

/// What a leg's dialog means for its call.
pub(super) enum LegNews {
    /// Nothing.
    Nothing,
    /// A key was pressed, told by signalling rather than in the sound.
    Pressed(char),
    /// It is over.
    Ended(End),
}

/// See the module.
pub(super) struct Leg {
    pub(super) events: LegEvents,
    pub(super) agreement: MediaAgreement,
    pub(super) media: MediaSession,
    pub(super) frames: MediaEvents,
    /// Tells when the peer may have to be told another address: [`follow_address`](Leg::follow_address).
    pub(super) moved: watch::Receiver<Reached>,
    services: Arc<Services>,
    began: Instant,
    figures: Figures,
    /// Who waits for what becomes of a REFER of ours.
    referral: Option<mpsc::Sender<TransferNews>>,
    /// It hung up by itself, so that no BYE is due.
    hung_up: bool,
}

/// A stream and what it brings.
pub(super) struct Sound {
    pub(super) media: MediaSession,
    frames: MediaEvents,
}

impl Sound {
    /// Opens the stream that `agreement` describes, once.
    pub(super) fn open(services: &Services, agreement: &mut MediaAgreement) -> Result<Sound, End> {
        let port = agreement.take_port().ok_or(End::INTERNAL)?;
        let (media, frames) = services.media.open(port, agreement.stream()).map_err(|_| End::INTERNAL)?;
        Ok(Sound { media, frames })
    }
}

impl Leg {
    /// Opens the stream of a leg whose sound is agreed.
    pub(super) fn open(services: &Arc<Services>, events: LegEvents, mut agreement: MediaAgreement) -> Result<Leg, End> {
        let sound = Sound::open(services, &mut agreement)?;
        Ok(Leg::with_sound(services, events, agreement, sound))
    }

    /// A leg whose stream was opened before it was answered.
    pub(super) fn with_sound(
        services: &Arc<Services>,
        events: LegEvents,
        agreement: MediaAgreement,
        Sound { media, frames }: Sound,
    ) -> Leg {
        let (services, moved) = (Arc::clone(services), services.address.changes());
        let began = Instant::now();
        let figures = Figures::new(began);
        let (referral, hung_up) = (None, false);
        Leg { events, agreement, media, frames, moved, services, began, figures, referral, hung_up }
    }

    /// Deals with what happened in the dialog.
    pub(super) async fn handle(&mut self, event: Event) -> LegNews {
        if let Event::Transfer { news, .. } = event {
            if let Some(referral) = &self.referral {
                // Nobody waits any more, or there are more reports than anybody needs.
                let _ = referral.try_send(news);
            }
            return LegNews::Nothing;
        }
        let handle = self.events.handle();
        match negotiate::in_dialog(&self.services, handle, event, &mut self.agreement).await {
            InDialog::Nothing => LegNews::Nothing,
            InDialog::MediaChanged => {
                self.command(|media, agreement| media.configure(agreement.stream()));
                LegNews::Nothing
            }
            InDialog::Pressed(key) => LegNews::Pressed(key),
            InDialog::Ended(end) => {
                self.hung_up = true;
                LegNews::Ended(end)
            }
        }
    }

    pub(super) fn command(&self, command: impl FnOnce(&MediaSession, &MediaAgreement) -> Result<(), MediaUnavailable>) {
        if let Err(error) = command(&self.media, &self.agreement) {
            warn!(%error, "Media command lost");
        }
    }

    /// This box is reached under another address: the peer is told by a re-INVITE where its sound is to go. What cannot be
    /// sent now, because another offer is under way, is sent when the change is told again.
    pub(super) async fn follow_address(&mut self) {
        let address = self.services.address.towards(self.agreement.signalled_from());
        let Some(offer) = self.agreement.move_to(address) else { return };
        let handle = self.events.handle();
        let sent =
            self.services.sip.with(move |endpoint, now| endpoint.reinvite(handle, Some(offer), now).is_ok()).await;
        match sent {
            Ok(true) => info!("The other side is told our new address"),
            Ok(false) | Err(_) => debug!("The other side cannot be told our new address yet"),
        }
    }

    /// Has the peer call `target` instead of us; comes to an end only while somebody handles the events of this leg.
    pub(super) fn refer(&mut self, target: SipUri) -> impl Future<Output = Referred> + Send + use<> {
        let (sender, news) = mpsc::channel(referral::NEWS_LIMIT);
        self.referral = Some(sender);
        referral::refer(Arc::clone(&self.services), self.events.handle(), target, news)
    }

    /// A peer that promised to send and does not is gone, or cannot reach us.
    pub(super) fn is_silent(&self) -> bool {
        let limit = Duration::from_secs(self.services.config.media.no_rtp_timeout_seconds.into());
        let last = self.media.stats().received.last_packet_at.unwrap_or(self.began);
        // After a hold the peer has as long again to come back.
        !self.agreement.may_be_silent() && last.max(self.began).elapsed() > limit
    }

    /// How it sounded since the last time it was asked, for its row.
    pub(super) fn metrics(&mut self, call_id: CallId, leg: LegKind, at: UnixMs) -> CallMetrics {
        let late = self.services.media.clock().pacing.worst_lateness;
        self.figures.row((call_id, leg, at), self.agreement.codec_name(), &self.media.stats(), late)
    }

    /// Adds to its row how it sounded, every few seconds: asked once a second.
    pub(super) fn keep_metrics(&mut self, call_id: CallId, leg: LegKind) {
        self.services.up.note_jitter(call_id, leg, self.media.stats().received.jitter_ms);
        if !self.figures.are_due(Instant::now()) {
            return;
        }
        let row = self.metrics(call_id, leg, UnixMs::now());
        self.services.storage.try_post("figures of a leg", move |sql_tx| add_metrics(sql_tx, &row));
    }

    /// What came and was not used, for whoever wonders about a bad line or an attack.
    fn tell_refused(&self) {
        let Refused { foreign, oversized, malformed, unexpected, replayed, unauthenticated, reports } =
            self.media.stats().refused();
        if foreign + oversized + malformed + unexpected + replayed + unauthenticated + reports > 0 {
            info!(foreign, oversized, malformed, unexpected, replayed, unauthenticated, reports, "Packets refused");
        }
    }

    /// The peer may be silent from now on as if the call had just begun.
    pub(super) fn restart_watch(&mut self) {
        self.began = Instant::now();
    }

    /// Hangs up, unless the other side did.
    pub(super) async fn hang_up(&mut self, reason: Option<ReasonHeader>) {
        if !std::mem::replace(&mut self.hung_up, true) {
            bye(Arc::clone(&self.services), self.events.handle(), reason).await;
        }
    }
}

/// Whoever is not needed any more is told so, whatever became of the task that talked with them.
impl Drop for Leg {
    fn drop(&mut self) {
        self.tell_refused();
        if !self.hung_up && tokio::runtime::Handle::try_current().is_ok() {
            tokio::spawn(bye(Arc::clone(&self.services), self.events.handle(), None));
        }
    }
}

async fn bye(services: Arc<Services>, handle: CallHandle, reason: Option<ReasonHeader>) {
    let bye = services.sip.with(move |endpoint, now| endpoint.bye(handle, reason, now)).await;
    debug!(sent = bye.is_ok(), "BYE");
}
