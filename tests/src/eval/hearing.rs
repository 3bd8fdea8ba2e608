//! What a recording of a call tells about interruptions: the caller left, the box right, as the caller's ear had it.

use std::time::Duration;

use audio::FRAME_SAMPLES;
use audio::dsp::level::rms_dbov;

/// Louder than this is voice, in dBov; the box's lowered voice is louder, line noise is not.
const VOICE_DBOV: f32 = -42.0;
/// Silence of the caller that ends a line of theirs: longer than between two sentences.
const LINE_PAUSE_FRAMES: usize = 40;
/// The box is taken to be speaking if it was heard in these frames before the caller: pauses between words are shorter.
const SPEAKING_FRAMES: usize = 15;
/// A box that is heard this close to the end of the caller's line has talked through it.
const TO_THE_END_FRAMES: usize = 5;
/// One frame.
const FRAME: Duration = Duration::from_millis(20);

/// A line of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverAnswer {
    /// When its first word sounded.
    pub at: Duration,
    /// Whether the box was speaking then.
    pub box_spoke: bool,
    /// From the first word to the box's last sound under the line; `None`: the box talked on.
    pub silent_after: Option<Duration>,
}

/// Every line of the caller, in order, by the levels of both channels. 8 kHz.
pub fn lines_over(said: &[i16], heard: &[i16]) -> Vec<OverAnswer> {
    let (said, heard) = (voiced(said), voiced(heard));
    let mut lines = Vec::new();
    let mut from = 0;
    while let Some(begin) = (from..said.len()).find(|at| said[*at]) {
        let mut end = begin;
        while let Some(next) = (end + 1..said.len().min(end + LINE_PAUSE_FRAMES)).find(|at| said[*at]) {
            end = next;
        }
        from = end + 1;
        let last = (begin..(end + 1).min(heard.len())).rev().find(|at| heard[*at]);
        let before = heard.get(begin.saturating_sub(SPEAKING_FRAMES)..begin).unwrap_or_default();
        lines.push(OverAnswer {
            at: frames(begin),
            box_spoke: before.contains(&true),
            silent_after: match last {
                None => Some(Duration::ZERO),
                Some(last) => (last + TO_THE_END_FRAMES < end).then(|| frames(last + 1 - begin)),
            },
        });
    }
    lines
}

fn voiced(samples: &[i16]) -> Vec<bool> {
    samples.chunks(FRAME_SAMPLES).map(|frame| rms_dbov(frame) > VOICE_DBOV).collect()
}

fn frames(count: usize) -> Duration {
    FRAME * u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character a frame: `#` is voice.
    fn channel(pattern: &str) -> Vec<i16> {
        pattern.chars().flat_map(|c| [if c == '#' { 3_000 } else { 20 }; FRAME_SAMPLES]).collect()
    }

    #[test]
    fn a_line_over_the_box_tells_how_long_it_went_on() {
        let quiet = ".".repeat(60);
        let said = format!("{quiet}{}{quiet}{}{quiet}{}", "#".repeat(40), "#".repeat(40), "#".repeat(30));
        let heard = format!(
            "{}{}{}{}{}",
            "#".repeat(70), // ten frames into the first line
            ".".repeat(60), // nothing before the second line …
            "#".repeat(70), // … and all through it
            ".".repeat(60),
            ".".repeat(30),
        );
        let found = lines_over(&channel(&said), &channel(&heard));
        let short: Vec<_> = found.iter().map(|line| (line.box_spoke, line.silent_after)).collect();
        let ms = Duration::from_millis;
        assert_eq!(short, [(true, Some(ms(200))), (true, None), (false, Some(ms(0)))]);
        assert_eq!(found[0].at, ms(1_200));
    }

    #[test]
    fn a_pause_between_two_sentences_is_no_new_line() {
        let said = format!("{}{}{}", "#".repeat(20), ".".repeat(30), "#".repeat(20));
        assert_eq!(lines_over(&channel(&said), &[]).len(), 1);
    }
}
