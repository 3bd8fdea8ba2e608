//! Signal processing on PCM: levels, gain, tones, resampling.

pub mod gain;
pub mod level;
pub mod resample;
pub mod tone;
