//! Audio that can be told apart to the sample: a sweep under a speech-like envelope, with a little seeded noise.
//!
//! Each sample is a function of its number alone, so that what was sent can be said again at any time.

use std::f64::consts::TAU;

use crate::base::Prng;
use crate::media::{SAMPLE_RATE, linear_to_alaw, linear_to_mulaw};

/// How samples are coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// PCMU, payload type 0 (RFC 3551 section 6).
    Mulaw,
    /// PCMA, payload type 8.
    Alaw,
}

impl Law {
    /// The static payload type.
    pub const fn payload_type(self) -> u8 {
        match self {
            Law::Mulaw => 0,
            Law::Alaw => 8,
        }
    }

    /// The code of a linear sample.
    pub const fn code(self, linear: i16) -> u8 {
        match self {
            Law::Mulaw => linear_to_mulaw(linear),
            Law::Alaw => linear_to_alaw(linear),
        }
    }
}

/// A track's signal.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Signal {
    /// Where each sweep starts, in Hz.
    pub from_hz: f64,
    /// Where it ends.
    pub to_hz: f64,
    /// Length of a sweep, in seconds.
    pub sweep_s: f64,
    /// Seconds by which the talking is shifted: two people take turns.
    pub turn_s: f64,
    /// What the noise follows from; different for each track.
    pub seed: u64,
}

impl Signal {
    /// A steady tone, for those who look for it by its frequency.
    pub const fn tone(hz: f64, seed: u64) -> Signal {
        Signal { from_hz: hz, to_hz: hz, sweep_s: 1.0, turn_s: f64::NAN, seed }
    }

    /// Sample `number` of the signal, linear.
    pub fn linear(&self, number: u64) -> i16 {
        let at = number as f64 / f64::from(SAMPLE_RATE);
        let within = at % self.sweep_s;
        let rising = (self.to_hz - self.from_hz) / self.sweep_s;
        let turns = self.from_hz * within + rising * within * within / 2.0;
        let noise = Prng::new(self.seed ^ (number << 8)).below(801) as f64 - 400.0;
        (self.loudness(at) * (turns * TAU).sin() + noise) as i16
    }

    /// Syllables of a fifth of a second, while it is one's turn; a murmur else.
    fn loudness(&self, at: f64) -> f64 {
        if self.turn_s.is_nan() {
            return 12_000.0;
        }
        let turn = (((at + self.turn_s) * TAU / 5.0).sin() + 0.3).clamp(0.06, 1.0);
        let syllable = 0.6 + 0.4 * (at * TAU * 2.3 + self.turn_s).sin();
        24_000.0 * turn * syllable
    }

    /// The codes of samples `from` to `to`.
    pub fn codes(&self, law: Law, from: u64, to: u64) -> Vec<u8> {
        (from..to).map(|number| law.code(self.linear(number))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: Signal = Signal { from_hz: 300.0, to_hz: 900.0, sweep_s: 1.5, turn_s: 0.0, seed: 1 };

    #[test]
    fn a_shift_by_one_sample_or_another_seed_is_seen_at_once() {
        let sent = TALK.codes(Law::Mulaw, 0, 8000);
        let differing = |other: &[u8]| sent.iter().zip(other).filter(|(a, b)| a != b).count();
        assert!(differing(&TALK.codes(Law::Mulaw, 1, 8001)) > 7000);
        assert!(differing(&Signal { seed: 2, ..TALK }.codes(Law::Mulaw, 0, 8000)) > 3000);
        assert_eq!(differing(&TALK.codes(Law::Mulaw, 0, 8000)), 0);
    }

    #[test]
    fn both_take_turns_and_nothing_clips() {
        let energy = |signal: Signal, from: u64| {
            (from..from + 4000).map(|n| i64::from(signal.linear(n)).pow(2)).sum::<i64>()
        };
        let other = Signal { turn_s: 2.5, ..TALK };
        assert!(energy(TALK, 6000) > 10 * energy(other, 6000));
        assert!(energy(other, 26_000) > 10 * energy(TALK, 26_000));
        assert!((0..80_000).all(|n| TALK.linear(n).unsigned_abs() < 26_000));
    }
}
