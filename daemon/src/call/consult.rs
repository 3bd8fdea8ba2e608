//! Whoever is rung for a caller hears in one sentence who that is, and decides by a key: 1 takes the call, 2 sends it to
//! voicemail, 3 has the caller told that they will be called back.
//!
//! No key within a limit, a wrong one twice and a hang-up are decisions too: the mailbox of a mobile, which answers and
//! presses nothing, never gets the caller. Left out on purpose: what the caller hears meanwhile ([`super::waiting`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::leg::{Leg, LegNews};
use super::music::ANNOUNCEMENT;
use super::services::Services;
use super::waiting::rendered;
use crate::conversation::{phrases, speakable};
use crate::inference::Priority;
use crate::io::media::MediaEvent;
use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};

/// From the end of what is said until no key counts as a no.
const KEY_LIMIT: Duration = Duration::from_secs(10);

/// What the callee wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To talk with the caller.
    Take,
    /// That they leave a message.
    Voicemail,
    /// To call them later.
    CallBack,
    /// Nothing was pressed.
    NoKey,
    /// Twice something else.
    WrongKey,
    /// They are gone.
    HungUp,
}

/// Has the words made, while phones still ring.
pub(super) fn prepare(services: &Services, summary: &str) {
    for sentence in [speakable(summary), speakable(phrases::CALLEE_MENU)].concat() {
        services.speaker.render(&sentence, Priority::Speculative, |_| {});
    }
}

/// Asks whoever is on `leg`, with the keys that `menu` names. Without a voice nobody can be asked, and the call is theirs.
pub(super) async fn consult(services: &Services, leg: &mut Leg, summary: &str, menu: &str) -> Verdict {
    let menu = speakable(menu);
    let Some(said) = spoken(services, &[speakable(summary), menu.clone()].concat()).await else { return Verdict::Take };
    let menu = spoken(services, &menu).await;
    let mut deadline = play(leg, said);
    let mut is_warned = false;
    loop {
        let key = tokio::select! {
            event = leg.events.recv() => match event {
                Some(event) => match leg.handle(event).await {
                    LegNews::Nothing => continue,
                    LegNews::Pressed(key) => key,
                    LegNews::Ended(_) => return Verdict::HungUp,
                },
                None => return Verdict::HungUp,
            },
            Ok(()) = leg.moved.changed() => { leg.follow_address().await; continue }
            Some(event) = leg.frames.recv() => match event {
                MediaEvent::Digit(key) => key,
                MediaEvent::Frame { .. }
                | MediaEvent::Said(_)
                | MediaEvent::ClipStarted { .. }
                | MediaEvent::ClipFinished { .. }
                | MediaEvent::ClipStopped { .. } => continue,
            },
            () = sleep_until(deadline) => return Verdict::NoKey,
        };
        leg.command(|media, _| media.stop());
        match key {
            '1' => return Verdict::Take,
            '2' => return Verdict::Voicemail,
            '3' => return Verdict::CallBack,
            _ if is_warned => return Verdict::WrongKey,
            _ => is_warned = true,
        }
        if let Some(menu) = &menu {
            deadline = play(leg, Arc::clone(menu));
        }
    }
}

/// Tells whoever is on `leg` about the caller they will talk with at once; a key ends it. Whether they are still there.
pub(super) async fn announce(services: &Services, leg: &mut Leg, summary: &str) -> bool {
    match spoken(services, &speakable(summary)).await {
        Some(said) => heard(leg, said).await,
        None => true,
    }
}

/// Tells whoever has decided that it is done, and hangs up.
pub(super) async fn take_leave(services: Arc<Services>, mut leg: Leg, text: &str) {
    if let Some(said) = spoken(&services, &speakable(text)).await
        && !heard(&mut leg, said).await
    {
        return;
    }
    leg.hang_up(None).await;
}

/// Plays it until it is over, or a key is pressed. Whether whoever hears it is still there.
async fn heard(leg: &mut Leg, samples: Samples) -> bool {
    // A phone on hold hears nothing to its end.
    let deadline = play(leg, samples);
    loop {
        tokio::select! {
            event = leg.events.recv() => match event {
                Some(event) => match leg.handle(event).await {
                    LegNews::Nothing => {}
                    LegNews::Pressed(_) => break,
                    LegNews::Ended(_) => return false,
                },
                None => return false,
            },
            Ok(()) = leg.moved.changed() => leg.follow_address().await,
            Some(event) = leg.frames.recv() => {
                if matches!(event, MediaEvent::ClipFinished { clip: ANNOUNCEMENT, .. } | MediaEvent::Digit(_)) {
                    break;
                }
            }
            () = sleep_until(deadline) => break,
        }
    }
    leg.command(|media, _| media.stop());
    true
}

/// Plays it, and tells until when a key may come.
fn play(leg: &Leg, samples: Samples) -> Instant {
    let length = SPEECH_SAMPLE_RATE.duration_of(samples.len() as u64);
    leg.command(|media, _| media.play(ANNOUNCEMENT, samples));
    Instant::now() + length + KEY_LIMIT
}

/// The sound of several sentences in a row.
async fn spoken(services: &Services, sentences: &[String]) -> Option<Samples> {
    let mut all = Vec::new();
    for sentence in sentences {
        all.extend_from_slice(&rendered(services, sentence).await?);
    }
    Some(all.into())
}
