//! WAV files and tones.

use std::f64::consts::TAU;

use tapehead::media::{alaw_to_linear, mulaw_to_linear};

/// A WAV file, decoded to linear samples per channel.
pub struct Wav {
    /// Linear samples.
    pub channels: Vec<Vec<i16>>,
}

/// Reads a WAV file of formats 1 (16 bit), 6 and 7: the reader of a stranger, who goes by RIFF alone.
pub fn read_wav(bytes: &[u8]) -> Wav {
    assert_eq!((&bytes[..4], &bytes[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    let u16_at = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
    assert_eq!(u32_at(4) + 8, bytes.len(), "RIFF's size is the file's");
    let (mut at, mut format, mut data) = (12, None, None);
    while at + 8 <= bytes.len() {
        let body = &bytes[at + 8..at + 8 + u32_at(at + 4)];
        match &bytes[at..at + 4] {
            b"fmt " => format = Some((u16_at(body, 0), usize::from(u16_at(body, 2)))),
            b"data" => data = Some(body),
            _ => (),
        }
        at += 8 + u32_at(at + 4).next_multiple_of(2);
    }
    let ((format, channels), data) = (format.expect("a fmt chunk"), data.expect("a data chunk"));
    let linear: Vec<i16> = match format {
        1 => data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect(),
        6 => data.iter().map(|&code| alaw_to_linear(code)).collect(),
        7 => data.iter().map(|&code| mulaw_to_linear(code)).collect(),
        other => panic!("WAV format {other}"),
    };
    let channel = |number| linear.iter().skip(number).step_by(channels).copied().collect();
    Wav { channels: (0..channels).map(channel).collect() }
}

/// The power of `hz` in `samples`, as a share of all their power: Goertzel's algorithm.
pub fn share_of(hz: f64, samples: &[i16]) -> f64 {
    let coefficient = 2.0 * (TAU * hz / 8000.0).cos();
    let (mut one, mut two, mut all) = (0.0, 0.0, 0.0);
    for &sample in samples {
        let sample = f64::from(sample);
        let now = sample + coefficient * one - two;
        (two, one) = (one, now);
        all += sample * sample;
    }
    let power = one * one + two * two - coefficient * one * two;
    if all == 0.0 { 0.0 } else { power / (all * samples.len() as f64 / 2.0) }
}
