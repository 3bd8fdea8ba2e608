//! How much of an echo goes, and who is taken for one.

use super::*;
use crate::codec::CodecKind;
use crate::dsp::level::rms_dbov;

/// Frames in a second.
const SECOND: usize = 50;
/// Quieter frames are silence to whoever looks for speech.
const AUDIBLE_DBOV: f32 = -58.0;

/// Something like speech for a filter: low noise in syllables of 200 ms about −22 dBov, another one for each `seed`.
fn speech(seed: u32, frames: usize) -> Vec<f32> {
    let (mut state, mut low) = (seed, 0.0);
    let mut sample = |index: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        low = 0.7 * low + ((state >> 8) as f32 / (1 << 23) as f32 - 1.0);
        (std::f32::consts::PI * (index % 1_600) as f32 / 1_600.0).sin() * low * 5_000.0
    };
    (0..frames * FRAME_SAMPLES).map(&mut sample).collect()
}

/// What we say, and a line in both directions.
struct Line {
    said: Vec<f32>,
    delay_samples: usize,
    loss_db: f32,
}

impl Line {
    fn new(frames: usize, delay_ms: usize, loss_db: f32) -> Line {
        Line { said: speech(1, frames), delay_samples: delay_ms * 8, loss_db }
    }

    /// The echo of the two-wire side: not only later and weaker, but of another colour.
    fn echo(&self, at: usize) -> f32 {
        let taps = [(0, 0.7), (3, 0.4), (7, -0.3), (15, 0.2)];
        let echo = |(late, gain)| at.checked_sub(self.delay_samples + late).map_or(0.0, |from| gain * self.said[from]);
        linear_from_db(-self.loss_db) * taps.into_iter().map(echo).sum::<f32>()
    }

    fn said(&self, frame: usize) -> Frame {
        std::array::from_fn(|index| self.said[frame * FRAME_SAMPLES + index] as i16)
    }

    /// What comes of it and of `caller` through G.711.
    fn heard(&self, frame: usize, caller: &[f32]) -> Frame {
        let sample = |index| {
            let at = frame * FRAME_SAMPLES + index;
            (self.echo(at) + caller.get(at).copied().unwrap_or(0.0)) as i16
        };
        let (mut payload, mut samples) = (Vec::new(), Vec::new());
        CodecKind::Pcmu.encoder().encode(&std::array::from_fn::<_, FRAME_SAMPLES, _>(sample), &mut payload);
        CodecKind::Pcmu.decoder().decode(&payload, &mut samples);
        samples.try_into().unwrap()
    }
}

/// Levels before and after, and the verdict.
#[derive(Clone, Copy)]
struct Judged {
    before_dbov: f32,
    after_dbov: f32,
    is_echo: bool,
}

fn run(canceller: &mut EchoCanceller, line: &Line, caller: &[f32], frames: std::ops::Range<usize>) -> Vec<Judged> {
    let mut judge = |frame| {
        let mut heard = line.heard(frame, caller);
        let before_dbov = rms_dbov(&heard);
        let is_echo = canceller.process(&mut heard, &line.said(frame));
        Judged { before_dbov, after_dbov: rms_dbov(&heard), is_echo }
    };
    frames.map(&mut judge).collect()
}

/// The longest run of frames that somebody seems to speak in.
fn longest_speech(judged: &[Judged]) -> usize {
    let speech = |judged: &Judged| !judged.is_echo && judged.after_dbov > AUDIBLE_DBOV;
    judged.split(|judged| !speech(judged)).map(<[Judged]>::len).max().unwrap_or(0)
}

fn mean(judged: &[Judged], level: impl Fn(&Judged) -> f32) -> f32 {
    judged.iter().map(level).sum::<f32>() / judged.len() as f32
}

/// Two frames are less than endpointing takes for a start.
#[test]
fn an_echo_alone_is_never_speech_and_soon_gone() {
    for (delay_ms, loss_db) in [(20, 15.0), (60, 15.0), (60, 25.0), (85, 12.0), (300, 15.0), (460, 20.0)] {
        let line = Line::new(8 * SECOND, delay_ms, loss_db);
        let judged = run(&mut EchoCanceller::new(), &line, &[], 0..8 * SECOND);
        let last = &judged[6 * SECOND..];
        let taken_db = mean(last, |frame| frame.before_dbov) - mean(last, |frame| frame.after_dbov);
        println!("{delay_ms} ms, -{loss_db} dB: {taken_db:.1} dB less, run of {}", longest_speech(&judged));
        assert!(longest_speech(&judged) <= 2, "{delay_ms} ms, {loss_db} dB: {}", longest_speech(&judged));
        assert!(taken_db > 15.0, "{delay_ms} ms, {loss_db} dB: only {taken_db} dB less");
    }
}

#[test]
fn a_caller_over_the_echo_is_heard_and_unlearns_nothing() {
    let line = Line::new(10 * SECOND, 60, 15.0);
    let mut caller = speech(2, 8 * SECOND);
    caller[..5 * SECOND * FRAME_SAMPLES].fill(0.0);
    let mut canceller = EchoCanceller::new();
    run(&mut canceller, &line, &[], 0..5 * SECOND);
    let both = run(&mut canceller, &line, &caller, 5 * SECOND..8 * SECOND);
    let loud: Vec<_> = both.into_iter().filter(|frame| frame.before_dbov > -30.0).collect();
    let heard = loud.iter().filter(|frame| !frame.is_echo).count();
    println!("{heard} of {} loud frames heard", loud.len());
    assert!(loud.len() > SECOND && heard * 10 >= loud.len() * 9, "{heard} of {}", loud.len());
    let after = run(&mut canceller, &line, &[], 8 * SECOND..10 * SECOND);
    let taken_db = mean(&after, |frame| frame.before_dbov) - mean(&after, |frame| frame.after_dbov);
    assert!(longest_speech(&after) <= 2 && taken_db > 12.0, "{taken_db} dB, {}", longest_speech(&after));
}

#[test]
fn a_caller_who_interrupts_the_first_word_is_heard() {
    let line = Line::new(SECOND, 60, 15.0);
    let judged = run(&mut EchoCanceller::new(), &line, &speech(2, SECOND), 0..SECOND);
    assert!(longest_speech(&judged) >= 5, "{}", longest_speech(&judged));
}

/// Most lines give nothing back. Nobody on them may be taken for an echo, however quiet.
#[test]
fn on_a_line_without_echo_a_quiet_caller_is_heard_as_they_are() {
    let line = Line { loss_db: f32::INFINITY, ..Line::new(6 * SECOND, 0, 0.0) };
    let caller: Vec<f32> = speech(2, 6 * SECOND).iter().map(|sample| sample * 0.06).collect();
    let mut canceller = EchoCanceller::new();
    run(&mut canceller, &line, &[], 0..2 * SECOND);
    let judged = run(&mut canceller, &line, &caller, 2 * SECOND..6 * SECOND);
    let loud: Vec<_> = judged.iter().filter(|frame| frame.before_dbov > -48.0).collect();
    let heard = loud.iter().filter(|frame| !frame.is_echo).count();
    assert!(loud.len() > SECOND && heard * 100 >= loud.len() * 95, "{heard} of {}", loud.len());
    let changed_db = mean(&judged, |frame| (frame.before_dbov - frame.after_dbov).abs());
    assert!(changed_db < 0.5, "{changed_db} dB");
}

/// A jitter buffer that waits longer moves the echo. Half of what makes a barge-in may seem to be speech until that is
/// noticed.
#[test]
fn an_echo_that_comes_later_is_learnt_anew() {
    for later_ms in [5, 20, 100] {
        let line = Line::new(12 * SECOND, 60, 15.0);
        let mut canceller = EchoCanceller::new();
        run(&mut canceller, &line, &[], 0..6 * SECOND);
        let line = Line { delay_samples: line.delay_samples + later_ms * 8, ..line };
        let judged = run(&mut canceller, &line, &[], 6 * SECOND..12 * SECOND);
        let last = &judged[4 * SECOND..];
        let taken_db = mean(last, |frame| frame.before_dbov) - mean(last, |frame| frame.after_dbov);
        println!("{later_ms} ms later: {taken_db:.1} dB less, run of {}", longest_speech(&judged));
        assert!(longest_speech(&judged) <= 4, "{later_ms} ms later: {}", longest_speech(&judged));
        assert!(taken_db > 12.0, "{later_ms} ms later: {taken_db} dB");
    }
}

#[test]
fn without_a_word_of_ours_nothing_is_touched() {
    let line = Line::new(SECOND, 60, 15.0);
    let mut canceller = EchoCanceller::new();
    for frame in 0..SECOND {
        let heard = line.said(frame);
        let mut cleaned = heard;
        assert!(!canceller.process(&mut cleaned, &[0; FRAME_SAMPLES]));
        assert_eq!(cleaned, heard);
    }
}
