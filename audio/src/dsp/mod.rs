//! Signal processing on PCM: levels, gain, tones made and heard, resampling.

pub mod dtmf_tones;
pub mod gain;
pub mod half_band;
pub mod level;
pub mod resample;
pub mod tone;
