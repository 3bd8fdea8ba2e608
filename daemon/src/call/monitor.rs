//! The monitor jack: whoever plugs headphones into the box hears its calls, one at a time.
//!
//! Both sides come out mixed, from when two talk until that call is over, whoever talks in it by then; after it the latest
//! that is up, else the next. A card that is missing is named in the log once for each call, and is no call's trouble.

use audio::dsp::mix;
use tracing::{info, warn};

use super::paging::opened;
use super::up::{CallsUp, Heard, Listening};
use crate::io::sound_card::Playback;

/// Plays calls on the output called `device` for as long as it is let.
pub(crate) async fn run(calls: CallsUp, device: String) {
    let mut talks = calls.talks();
    loop {
        if let Some(listening) = calls.listen_to_latest() {
            match opened(Some(device.clone())).await {
                Ok(playback) => {
                    play(listening, playback).await;
                    continue;
                }
                Err(error) => warn!(%error, "Nothing is heard at the monitor jack"),
            }
        }
        if talks.changed().await.is_err() {
            return;
        }
    }
}

/// Until the call is over.
async fn play(mut listening: Listening, mut playback: Playback) {
    info!(call_id = %listening.call_id, "Heard at the monitor jack");
    loop {
        match listening.next().await {
            Heard::Moment(moment) => {
                let [mut sum, other] = *moment;
                mix::add(&mut sum, &other);
                playback.play(&sum);
            }
            Heard::Words(_) => {}
            Heard::Dropped(moments) => warn!(moments, "The monitor jack is late, and something was not heard there"),
            Heard::Over => break,
        }
    }
    // Its end waits for the driver's thread. A driver that panics has been logged.
    let _ = tokio::task::spawn_blocking(move || playback.close()).await;
}
