//! What the engine tests share: models that fetch themselves, clips, a telephone line, word error rates.

mod words;

use std::f64::consts::PI;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use models::{Store, catalogue};

pub(crate) use self::words::word_errors;

/// The store that everyone uses, with `id` (and ONNX Runtime) in it.
pub(crate) fn store_with(id: &str) -> Store {
    let store = Store::open(Store::default_folder().expect("a home folder")).expect("a models folder");
    for id in [Some(id), catalogue::onnx_runtime()].into_iter().flatten() {
        store.fetch(id, &mut ()).unwrap_or_else(|error| panic!("{error}"));
    }
    store
}

/// A clip of human speech.
pub(crate) struct Clip {
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) language: String,
    /// 16 kHz.
    pub(crate) samples: Vec<f32>,
}

/// The shared clips; `None`, said loudly, when this checkout has no shared data beside it.
pub(crate) fn clips() -> Option<&'static [Clip]> {
    static CLIPS: OnceLock<Option<Vec<Clip>>> = OnceLock::new();
    CLIPS.get_or_init(load_clips).as_deref()
}

fn load_clips() -> Option<Vec<Clip>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/speech");
    let Ok(table) = fs::read_to_string(folder.join("transcripts.tsv")) else {
        eprintln!("SKIPPED: there are no shared clips in {}", folder.display());
        return None;
    };
    let clip = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let (file, text, language) = (columns[0].to_owned(), columns[1].to_owned(), columns[2].to_owned());
        let samples = flac(&folder.join(&file));
        Clip { file, text, language, samples }
    };
    Some(table.lines().skip(1).map(clip).collect())
}

fn flac(path: &PathBuf) -> Vec<f32> {
    let mut reader = claxon::FlacReader::open(path).expect("a FLAC file");
    assert_eq!(reader.streaminfo().sample_rate, 16_000);
    reader.samples().map(|sample| sample.expect("an intact file") as f32 / 32_768.0).collect()
}

/// `samples` at another rate, by a windowed sinc that also cuts what the lower rate cannot hold.
pub(crate) fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    let ratio = f64::from(from) / f64::from(to);
    let cutoff = 0.95 / ratio.max(1.0);
    let half = 24.0 * ratio.max(1.0);
    let count = (samples.len() as f64 / ratio) as usize;
    let at = |n: usize| {
        let centre = n as f64 * ratio;
        let first = (centre - half).ceil().max(0.0) as usize;
        let last = ((centre + half).floor() as usize).min(samples.len().saturating_sub(1));
        let tap = |i: usize| {
            let x = i as f64 - centre;
            let sinc = if x.abs() < 1e-9 { 1.0 } else { (PI * cutoff * x).sin() / (PI * cutoff * x) };
            f64::from(samples[i]) * cutoff * sinc * (0.5 + 0.5 * (PI * x / half).cos())
        };
        (first..=last).map(tap).sum::<f64>() as f32
    };
    (0..count).map(at).collect()
}

pub(crate) fn to_f32(samples: &[i16]) -> Vec<f32> {
    samples.iter().map(|&sample| f32::from(sample) / 32_768.0).collect()
}

pub(crate) fn to_i16(samples: &[f32]) -> Vec<i16> {
    samples.iter().map(|sample| (sample * 32_767.0) as i16).collect()
}

/// White noise of this amplitude, the same every time.
pub(crate) fn noise(count: usize, amplitude: f32) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * amplitude
    };
    (0..count).map(|_| next()).collect()
}
