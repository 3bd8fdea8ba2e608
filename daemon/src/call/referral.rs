//! Calls that their carrier sends on (RFC 3515): two people outside who talk with each other need this box no longer, nor
//! two of its lines.
//!
//! ```text
//! REFER ─► 202 ─► NOTIFY 100 ─► NOTIFY 200, terminated ─► BYE at once: some carriers wait for that with dead air
//! ```
//! A carrier that refuses the REFER does not do transfers, and the number is dialled as before. The word of one that has
//! tried is final: whoever is busy for the carrier is busy.

use std::sync::Arc;
use std::time::Duration;

use sip_stack::endpoint::{CallHandle, OutgoingRefer, TransferNews};
use sip_stack::message::{NameAddr, SipUri, StatusCode};
use tokio::sync::mpsc;
use tracing::info;

use super::services::Services;

/// Reports of one transfer that may wait to be looked at.
pub(super) const NEWS_LIMIT: usize = 8;
/// So long the number may ring: as long as carriers let it at most.
const LIMIT: Duration = Duration::from_secs(180);

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Referred {
    /// The carrier connects them: hang up.
    Taken,
    /// The carrier does not do this.
    Unsupported,
    /// The carrier has tried.
    Failed(StatusCode),
}

/// Has the peer of `call` call `target` instead of us. `news` is what the endpoint tells of it.
pub(super) async fn refer(
    services: Arc<Services>,
    call: CallHandle,
    target: SipUri,
    news: mpsc::Receiver<TransferNews>,
) -> Referred {
    let refer = OutgoingRefer::new(NameAddr::new(target));
    let sent = services.sip.with(move |endpoint, now| endpoint.refer(call, refer, now)).await;
    if !matches!(sent, Ok(Ok(()))) {
        return Referred::Unsupported;
    }
    let referred = tokio::time::timeout(LIMIT, outcome(news)).await;
    let referred = referred.unwrap_or(Referred::Failed(StatusCode::TEMPORARILY_UNAVAILABLE));
    info!(?referred, "Carrier asked to send the call on");
    referred
}

async fn outcome(mut news: mpsc::Receiver<TransferNews>) -> Referred {
    while let Some(news) = news.recv().await {
        match news {
            TransferNews::Rejected { .. } | TransferNews::Failed { .. } => return Referred::Unsupported,
            TransferNews::Progress { status: Some(status), .. } if status.class() >= 3 => {
                return Referred::Failed(status);
            }
            TransferNews::Progress { status: Some(status), .. } if status.class() == 2 => return Referred::Taken,
            // Whatever becomes of it, nothing more is told.
            TransferNews::Accepted { will_notify: false } | TransferNews::Progress { is_terminated: true, .. } => {
                return Referred::Taken;
            }
            TransferNews::Accepted { will_notify: true } | TransferNews::Progress { .. } => {}
        }
    }
    // Whoever was to be sent on has hung up.
    Referred::Failed(StatusCode::REQUEST_TERMINATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(status: u16, is_terminated: bool) -> TransferNews {
        TransferNews::Progress { status: StatusCode::new(status), is_terminated }
    }

    #[tokio::test]
    async fn what_the_carrier_tells_decides() {
        let accepted = TransferNews::Accepted { will_notify: true };
        let rejected = |status| TransferNews::Rejected { status: StatusCode::new(status).unwrap() };
        let busy = Referred::Failed(StatusCode::BUSY_HERE);
        for (told, expected) in [
            (vec![accepted, progress(100, false), progress(200, true)], Referred::Taken),
            (vec![progress(100, false), accepted, progress(200, false)], Referred::Taken),
            (vec![accepted, progress(180, false), progress(486, true)], busy),
            (vec![accepted, progress(100, true)], Referred::Taken),
            (vec![TransferNews::Accepted { will_notify: false }], Referred::Taken),
            (vec![rejected(405)], Referred::Unsupported),
            (vec![rejected(603)], Referred::Unsupported),
            (vec![accepted], Referred::Failed(StatusCode::REQUEST_TERMINATED)),
        ] {
            let (sender, news) = mpsc::channel(NEWS_LIMIT);
            told.iter().for_each(|news| sender.try_send(*news).unwrap());
            drop(sender);
            assert_eq!(outcome(news).await, expected, "{told:?}");
        }
    }
}
