//! What is heard on a stream beside its own: sounds of other streams, and a tone over all of them. Nothing is allocated
//! once it is made; whoever wants it makes it, and gives it to the media thread.
//!
//! The sum is as wide as the codec it goes out in: what is narrower is filled up, what is wider loses its highs.

use std::sync::Arc;

use audio::dsp::half_band::{Downsampler, Upsampler};
use audio::dsp::mix;
use audio::time::SampleRate;
use audio::{FRAME_SAMPLES, Frame, SILENT_FRAME, WIDE_FRAME_SAMPLES, WideFrame};

use super::MediaPeer;
use super::stream::Heard;

/// Other sounds at most: with the stream's own, those of three parties.
pub(super) const SOURCES: usize = 2;

/// A sound of another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// What its peer says.
    Brought(MediaPeer),
    /// What we play there ourselves.
    Played(MediaPeer),
}

impl Source {
    /// Of which stream.
    pub(super) fn stream(self) -> u64 {
        let (Source::Brought(peer) | Source::Played(peer)) = self;
        peer.0
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mixer {
    sources: [Option<Source>; SOURCES],
    /// What they brought in this tick.
    brought: [Option<Heard>; SOURCES],
    tone: Option<Tone>,
    /// Of the stream's own sound, of each source, and of the tone.
    widths: [Width; SOURCES + 2],
}

/// A tone at 8 kHz, and how much of it was heard.
#[derive(Debug)]
struct Tone {
    samples: Arc<[i16]>,
    position: usize,
}

/// Brings sound to another width; remembers the frame before.
#[derive(Debug, Default)]
struct Width {
    down: Downsampler,
    up: Upsampler,
}

impl Mixer {
    /// Adds these sounds, and the tone once. 8 kHz.
    pub(super) fn new(sources: [Option<Source>; SOURCES], tone: Option<Arc<[i16]>>) -> Mixer {
        let tone = tone.map(|samples| Tone { samples, position: 0 });
        Mixer { sources, tone, ..Mixer::default() }
    }

    pub(super) fn source(&self, index: usize) -> Option<Source> {
        self.sources[index]
    }

    /// Whether anything but the tone is added.
    pub(super) fn has_sources(&self) -> bool {
        self.sources.iter().any(Option::is_some)
    }

    /// What source `index` brings in this tick.
    pub(super) fn take(&mut self, index: usize, brought: Option<Heard>) {
        self.brought[index] = brought;
    }

    /// What is heard: the stream's `own` sound and all that is added, for a codec of that rate.
    pub(super) fn sum(&mut self, own: Option<Heard>, rate: SampleRate) -> Option<Heard> {
        let tone = self.tone.as_mut().and_then(Tone::next).map(Heard::Narrow);
        if tone.is_none() {
            self.tone = None;
        }
        let [first, second] = std::mem::take(&mut self.brought);
        let parts = [own, first, second, tone];
        if parts[1..].iter().all(Option::is_none) {
            return own;
        }
        let parts = parts.iter().zip(&mut self.widths).filter_map(|(part, width)| Some((part.as_ref()?, width)));
        if rate == SampleRate::WIDE_BAND {
            let mut sum = [0; WIDE_FRAME_SAMPLES];
            parts.for_each(|(part, width)| mix::add(&mut sum, &width.wide(part)));
            return Some(Heard::Wide(sum));
        }
        let mut sum = SILENT_FRAME;
        parts.for_each(|(part, width)| mix::add(&mut sum, &width.narrow(part)));
        Some(Heard::Narrow(sum))
    }
}

impl Width {
    fn wide(&mut self, heard: &Heard) -> WideFrame {
        match heard {
            Heard::Narrow(frame) => self.up.process(frame),
            Heard::Wide(frame) => *frame,
        }
    }

    fn narrow(&mut self, heard: &Heard) -> Frame {
        match heard {
            Heard::Narrow(frame) => *frame,
            Heard::Wide(frame) => self.down.process(frame),
        }
    }
}

impl Tone {
    /// Its next 20 ms.
    fn next(&mut self) -> Option<Frame> {
        let rest = &self.samples[self.position..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.len().min(FRAME_SAMPLES);
        let mut frame = SILENT_FRAME;
        frame[..length].copy_from_slice(&rest[..length]);
        self.position += length;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: SampleRate = SampleRate::NARROW_BAND;
    const WIDE: SampleRate = SampleRate::WIDE_BAND;

    fn narrow(value: i16) -> Option<Heard> {
        Some(Heard::Narrow([value; FRAME_SAMPLES]))
    }

    fn wide(value: i16) -> Option<Heard> {
        Some(Heard::Wide([value; WIDE_FRAME_SAMPLES]))
    }

    /// The last sample of the second of two equal ticks, when filters have settled, and the width.
    fn summed(parts: [Option<Heard>; 3], rate: SampleRate) -> Option<(i16, usize)> {
        let mut mixer = Mixer::default();
        let mut sum = || {
            mixer.take(0, parts[1]);
            mixer.take(1, parts[2]);
            mixer.sum(parts[0], rate)
        };
        sum();
        sum().map(|heard| match heard {
            Heard::Narrow(frame) => (frame[FRAME_SAMPLES / 2], frame.len()),
            Heard::Wide(frame) => (frame[FRAME_SAMPLES], frame.len()),
        })
    }

    #[test]
    fn sounds_of_any_width_add_up_in_the_width_of_the_codec() {
        for (parts, rate, expected) in [
            ([narrow(1_000), narrow(200), narrow(30)], NARROW, (1_230, 160)),
            ([wide(1_000), wide(200), None], WIDE, (1_200, 320)),
            ([narrow(1_000), wide(200), narrow(30)], NARROW, (1_230, 160)),
            ([narrow(1_000), wide(200), narrow(30)], WIDE, (1_230, 320)),
            ([None, narrow(200), None], WIDE, (200, 320)),
        ] {
            let (sum, samples) = summed(parts, rate).unwrap();
            assert!((sum - expected.0).abs() <= 2 && samples == expected.1, "{sum} in {samples}, not {expected:?}");
        }
        // What has nothing to be added to stays as it came, at no cost.
        assert_eq!(summed([wide(1_000), None, None], NARROW), Some((1_000, 320)));
        assert_eq!(summed([None; 3], NARROW), None);
    }

    #[test]
    fn a_tone_is_heard_once_over_what_is_said() {
        let mut mixer = Mixer::new([None; 2], Some(vec![50; FRAME_SAMPLES + 40].into()));
        let mut first = || match mixer.sum(narrow(1_000), NARROW) {
            Some(Heard::Narrow(frame)) => [frame[0], frame[FRAME_SAMPLES - 1]],
            other => panic!("{other:?}"),
        };
        assert_eq!([first(), first(), first()], [[1_050, 1_050], [1_050, 1_000], [1_000, 1_000]]);
    }
}
