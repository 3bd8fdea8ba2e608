//! What is tried: the pieces of the product, and those that are none because of what is measured here.

mod high_pass;
mod level;
mod noise;
mod notch;

use audio::Frame;
use audio::dsp::echo::EchoCanceller;
use audio::dsp::loudness::raise_utterance;

use self::high_pass::{HighPass, take_out_hum};
use self::level::Leveller;
use self::noise::NoiseReduction;
use self::notch::Notches;

/// Cleans a frame, given what was said before it; true if there was only echo.
type EachFrame = Box<dyn FnMut(&mut Frame, &Frame) -> bool>;

/// What is done with the sound of one call.
pub(super) struct Piece {
    pub(super) each_frame: EachFrame,
    /// With each utterance, before recognition.
    pub(super) whole: fn(&mut [i16]),
}

/// A piece by its name, and how it is made anew.
type Named = (&'static str, fn() -> Piece);

/// Every piece.
pub(super) const PIECES: &[Named] = &[
    ("nothing", || piece(|_, _| false)),
    ("high-pass 100 Hz", || high_pass(100.0)),
    ("high-pass 150 Hz", || high_pass(150.0)),
    ("high-pass where it hums", || whole(|utterance| _ = take_out_hum(utterance))),
    ("notches 50 Hz", || notches(50.0)),
    ("notches 60 Hz", || notches(60.0)),
    ("levelling, running", || {
        let mut leveller = Leveller::default();
        cleaner(move |frame| leveller.process(frame))
    }),
    ("levelling, whole", || whole(|utterance| _ = raise_utterance(utterance))),
    ("noise -6 dB", || noise(6.0)),
    ("noise -12 dB", || noise(12.0)),
    ("echo canceller", || {
        let mut canceller = EchoCanceller::new();
        piece(move |frame, said| canceller.process(frame, said))
    }),
    ("echo, hum, level", || {
        let mut canceller = EchoCanceller::new();
        let clean = |utterance: &mut [i16]| {
            take_out_hum(utterance);
            raise_utterance(utterance);
        };
        Piece { whole: clean, ..piece(move |frame, said| canceller.process(frame, said)) }
    }),
];

fn whole(whole: fn(&mut [i16])) -> Piece {
    Piece { whole, ..piece(|_, _| false) }
}

fn piece(each_frame: impl FnMut(&mut Frame, &Frame) -> bool + 'static) -> Piece {
    Piece { each_frame: Box::new(each_frame), whole: |_| {} }
}

fn cleaner(mut clean: impl FnMut(&mut Frame) + 'static) -> Piece {
    piece(move |frame, _| {
        clean(frame);
        false
    })
}

fn high_pass(cutoff_hz: f32) -> Piece {
    let mut filter = HighPass::new(cutoff_hz);
    cleaner(move |frame| filter.process(frame))
}

fn notches(hz: f32) -> Piece {
    let mut notches = Notches::new(hz);
    cleaner(move |frame| notches.process(frame))
}

fn noise(at_most_db: f32) -> Piece {
    let mut reduction = NoiseReduction::new(at_most_db);
    cleaner(move |frame| reduction.process(frame))
}
