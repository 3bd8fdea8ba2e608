//! How each side of a finished recording talks, read from its file.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use audio::SILENT_FRAME;
use audio::dsp::talk::TalkMeter;
use audio::wav::Pieces;

use super::Talk;

/// Samples of a channel that are judged together: 20 ms.
const FRAME_SAMPLES: usize = SILENT_FRAME.len();

/// The caller's side, and the other's where there is one.
///
/// # Errors
/// What the file system says; `InvalidData` if it is no recording of ours.
pub(super) fn talk_of(wav: &Path) -> io::Result<[Option<Talk>; 2]> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut pieces = Pieces::new(BufReader::new(File::open(wav)?)).map_err(invalid)?;
    let channels = usize::from(pieces.channels()).clamp(1, 2);
    let mut meters = [TalkMeter::default(); 2];
    loop {
        let piece = pieces.next_piece(FRAME_SAMPLES * channels).map_err(invalid)?;
        if piece.is_empty() {
            break;
        }
        for (side, meter) in meters.iter_mut().enumerate().take(channels) {
            let frame: Vec<i16> = piece.iter().skip(side).step_by(channels).copied().collect();
            meter.push(&frame);
        }
    }
    let talk = |meter: TalkMeter| Talk {
        talk_ms: u64::try_from(meter.talk().as_millis()).unwrap_or(u64::MAX),
        level_dbov: meter.level_dbov().map(|level| level.round() as i64),
    };
    Ok([Some(talk(meters[0])), (channels == 2).then(|| talk(meters[1]))])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use audio::dsp::tone::sine;
    use audio::time::SampleRate;

    use super::*;

    #[test]
    fn each_side_is_judged_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("call.wav");
        let tone = |seconds, level| sine(440.0, Duration::from_secs(seconds), level, SampleRate::NARROW_BAND);
        audio::wav::write_stereo(&file, &tone(2, -20.0), &[0; 40_000], SampleRate::NARROW_BAND).unwrap();
        let caller = Talk { talk_ms: 2_000, level_dbov: Some(-20) };
        let silent = Talk { talk_ms: 0, level_dbov: None };
        assert_eq!(talk_of(&file).unwrap(), [Some(caller), Some(silent)]);
        audio::wav::write(&file, &tone(1, -30.0), SampleRate::NARROW_BAND).unwrap();
        assert_eq!(talk_of(&file).unwrap(), [Some(Talk { talk_ms: 1_000, level_dbov: Some(-30) }), None]);
    }
}
