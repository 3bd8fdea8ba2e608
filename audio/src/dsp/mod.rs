//! Signal processing on PCM: levels, gain, tones made and heard, mixing, resampling, echo.

pub mod call_tones;
pub mod dtmf_tones;
pub mod echo;
pub mod gain;
pub mod half_band;
pub mod level;
pub mod mix;
pub mod resample;
pub mod talk;
pub mod tone;
