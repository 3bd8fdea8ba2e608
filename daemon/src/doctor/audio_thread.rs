//! Is the sound in time: the media thread's clock, measured on a stream to nowhere.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use audio::codec::CodecKind;

use super::{Finding, Verdict};
use crate::io::media::{MediaClock, MediaEvent, MediaHandle, StreamConfig};
use crate::io::ports::PortPool;

/// Frames listened to: a little over one second, so that the thread has published its clock.
const FRAMES: usize = 55;
/// A peer's jitter buffer takes this much without a sound being lost.
const LATE: Duration = Duration::from_millis(10);

/// Carries one second of silence to ourselves and looks at the clock.
pub(super) fn media_clock() -> Finding {
    let name = "audio thread";
    match measure() {
        Ok(MediaClock { pacing, realtime }) => {
            let scheduling = if realtime { "real-time scheduling" } else { "ordinary scheduling" };
            let milliseconds = |late: Duration| late.as_secs_f64() * 1e3;
            let detail = format!(
                "frames {:.2} ms late on average, {:.2} ms at worst, {scheduling}",
                milliseconds(pacing.mean_lateness()),
                milliseconds(pacing.worst_lateness),
            );
            let remedy =
                "let it have real-time priority (the systemd unit does: LimitRTPRIO), or stop what else runs here";
            if pacing.worst_lateness > LATE || pacing.rebases > 0 {
                Finding::wrong(name, Verdict::Degraded, detail, remedy)
            } else {
                Finding::good(name, detail)
            }
        }
        Err(error) => Finding::wrong(name, Verdict::Bad, error.to_string(), "see the other findings first"),
    }
}

fn measure() -> anyhow::Result<MediaClock> {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let sink = UdpSocket::bind((loopback, 0))?;
    let media = MediaHandle::start()?;
    let port = PortPool::new(loopback, 40_000, 49_998).lend()?;
    let config = StreamConfig::plain(sink.local_addr()?, CodecKind::Pcmu);
    let (session, mut events) = media.open(port, config)?;
    session.listen(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut frames = 0;
    while frames < FRAMES {
        match runtime.block_on(events.recv()) {
            Some(MediaEvent::Frame { .. }) => frames += 1,
            Some(_) => {}
            None => anyhow::bail!("the media thread stopped after {frames} frames"),
        }
    }
    drop(session);
    Ok(media.clock())
}
