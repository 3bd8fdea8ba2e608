//! Keys heard in the sound of a stream, told like those of telephone events: for a peer that agreed to none.
//!
//! As soon as one telephone event comes nothing is heard any more: gateways that send both would have every key count
//! twice. Keys that sound so have no level of their own here, so [`DtmfEvent::Pressed`] tells that of the frame.

use std::time::Duration;

use super::dtmf::DtmfEvent;
use crate::dsp::dtmf_tones::DtmfDetector;
use crate::dsp::level::rms_dbov;
use crate::time::{FRAME_DURATION, Frame};

/// A full-scale sine is at −3 dBov and +3.14 dBm0 (ITU-T G.711).
const DBM0_ABOVE_DBOV: f32 = 6.0;

/// Listens to one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct ToneKeys {
    detector: DtmfDetector,
    pressed: Option<(char, u32)>,
    is_deaf: bool,
}

impl ToneKeys {
    /// A telephone event came: from now on keys are told by events alone. Gives the release of a key heard before.
    pub(super) fn handle_event(&mut self) -> Option<DtmfEvent> {
        self.is_deaf = true;
        self.released()
    }

    /// Hears 20 ms and gives at most two events to `tell`: a release, and the next press.
    pub(super) fn handle_frame(&mut self, frame: &Frame, mut tell: impl FnMut(DtmfEvent)) {
        if self.is_deaf {
            return;
        }
        let pressed = self.detector.handle_frame(frame);
        if pressed.is_some() || self.detector.pressed().is_none() {
            self.released().into_iter().for_each(&mut tell);
        }
        if let Some(digit) = pressed {
            let volume_dbm0 = (rms_dbov(frame) + DBM0_ABOVE_DBOV).clamp(-63.0, 0.0).round() as i8;
            tell(DtmfEvent::Pressed { digit, volume_dbm0 });
            self.pressed = Some((digit, 0));
        }
        if let Some((_, frames)) = &mut self.pressed {
            *frames += 1;
        }
    }

    fn released(&mut self) -> Option<DtmfEvent> {
        let (digit, frames) = self.pressed.take()?;
        // The release is noticed about as much later as the press.
        Some(DtmfEvent::Released { digit, duration: FRAME_DURATION.saturating_mul(frames).max(Duration::ZERO) })
    }
}
