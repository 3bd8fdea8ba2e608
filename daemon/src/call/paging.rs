//! A phone that speaks over the sound card of the box: a loudspeaker in the hall. One at a time.
//!
//! The card is opened before the call is answered, so that a phone hears of a card that is missing as a refusal. The beep
//! is for the phone alone: it says "speak now", and the hall does not need it.

use std::sync::Arc;

use audio::dsp::tone::beep;
use sip_stack::message::StatusCode;
use tokio::sync::watch;
use tracing::{info, warn};

use super::incoming::Incoming;
use super::task::End;
use super::up::Talk;
use super::waiting::Waiting;
use crate::io::sound_card::{self, Playback, SoundCardError};
use crate::speaker::SPEECH_SAMPLE_RATE;

/// Until the phone hangs up.
pub(super) async fn page(incoming: &mut Incoming, stop: watch::Receiver<bool>) -> Result<(), End> {
    let services = Arc::clone(&incoming.services);
    let Some(place) = services.paging.enter(1) else {
        info!("Somebody else speaks over the sound card");
        return Err(incoming.reject(StatusCode::BUSY_HERE, End::PAGING_BUSY).await);
    };
    let mut playback = match opened(services.config.local_audio.device.clone()).await {
        Ok(playback) => playback,
        Err(error) => {
            warn!(%error, "Nobody can speak over the sound card");
            return Err(incoming.reject(StatusCode::SERVICE_UNAVAILABLE, End::NO_SOUND_CARD).await);
        }
    };
    let leg = incoming.answer().await?;
    let whom = (incoming.caller.clone(), services.outside_identity(None));
    let mut waiting = Waiting::new(Arc::clone(&services), incoming.call_id, leg, whom, stop);
    services.up.note(incoming.call_id, Talk::Feature);
    waiting.play_once(beep(SPEECH_SAMPLE_RATE).into());
    info!("Speaks over the sound card");
    let end = waiting.until_gone(|frame| playback.play(frame)).await;
    if playback.taken_samples() == 0 {
        warn!("The sound card has taken nothing of what was said");
    }
    // Its end waits for the driver's thread. A driver that panics has been logged.
    let _ = tokio::task::spawn_blocking(move || playback.close()).await;
    // Whoever sees that this call is over can speak.
    drop(place);
    waiting.finish(end, "paged").await;
    Ok(())
}

/// Drivers take their time.
pub(super) async fn opened(device: Option<String>) -> Result<Playback, SoundCardError> {
    let opened = tokio::task::spawn_blocking(move || sound_card::open(device.as_deref()));
    opened.await.unwrap_or_else(|error| Err(SoundCardError::Driver(error.to_string())))
}
