//! People and voices that were recorded: the shared clips.

use std::path::Path;

use audio::dsp::resample::{f32_of, resample_f32};
use audio::time::SampleRate;

/// Somebody said this.
#[derive(Debug, Clone)]
pub struct Clip {
    /// The words.
    pub text: String,
    /// In English.
    pub is_english: bool,
    /// 8 kHz, ±1.
    pub samples: Vec<f32>,
}

/// The clips of people in `folder`, which is `speech` of the shared data.
///
/// # Panics
/// When one cannot be read.
pub fn clips(folder: &Path) -> Vec<Clip> {
    let table = std::fs::read_to_string(folder.join("transcripts.tsv")).unwrap();
    let clip = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        Clip { text: columns[1].to_owned(), is_english: columns[2] == "en", samples: flac(&folder.join(columns[0])) }
    };
    table.lines().skip(1).map(clip).collect()
}

/// A FLAC file of one channel and 16 bits, at 8 kHz.
///
/// # Panics
/// When it cannot be read.
pub fn flac(file: &Path) -> Vec<f32> {
    let mut reader = claxon::FlacReader::open(file).unwrap();
    let sample_rate = reader.streaminfo().sample_rate;
    let samples: Vec<i16> = reader.samples().map(|sample| sample.unwrap() as i16).collect();
    narrow(&samples, sample_rate)
}

/// At 8 kHz.
///
/// # Panics
/// When the rate cannot be converted.
pub fn narrow(samples: &[i16], sample_rate: u32) -> Vec<f32> {
    let samples: Vec<f32> = samples.iter().map(|sample| f32_of(*sample)).collect();
    resample_f32(&samples, SampleRate::new(sample_rate).unwrap(), SampleRate::NARROW_BAND).unwrap()
}
