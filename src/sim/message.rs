//! What the samples of simulated streams say: where they come from.
//!
//! Sixteen samples in a row carry, four bits each, one word that names the call, the track, the epoch (source and timestamp base) and the place in
//! the stream. So a checker that finds samples anywhere knows whose they are without asking the code under test. Samples are taken from sixteen
//! codes of either law, far from silence. Leaves out who sends them: that is `peer`.

use crate::media::{SampleFormat, alaw_to_linear, mulaw_to_linear};

/// Samples that carry one word.
pub const WORD_SAMPLES: u64 = 16;
/// Upper half of an audio code; the lower half is the message.
pub const AUDIO: u8 = 0x20;
/// Twelve bits that every word must show.
const CHECK: u64 = 0xa5c;

/// Where a stretch of samples comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The call's number in the world.
    pub call: u16,
    /// The track.
    pub track: u8,
    /// Which source and timestamp base of its stream.
    pub epoch: u8,
    /// Index of the first of the sixteen samples, over all epochs; a multiple of [`WORD_SAMPLES`].
    pub index: u64,
}

impl Origin {
    fn word(self) -> u64 {
        let group = self.index / WORD_SAMPLES;
        debug_assert!(group < 1 << 24 && self.track < 16);
        CHECK << 52
            | u64::from(self.call & 0xfff) << 40
            | u64::from(self.track) << 36
            | u64::from(self.epoch) << 28
            | group
    }

    /// Four bits for each of the sixteen samples.
    pub fn message(self) -> [u8; WORD_SAMPLES as usize] {
        let word = scramble(self.word());
        std::array::from_fn(|sample| (word >> (4 * sample)) as u8 & 0x0f)
    }

    /// Whose samples these are, if they are sixteen in a row from the start of a word.
    pub fn of(message: &[u8; WORD_SAMPLES as usize]) -> Option<Origin> {
        let word = message.iter().rev().fold(0u64, |word, &nibble| word << 4 | u64::from(nibble));
        let word = unscramble(word);
        (word >> 52 == CHECK).then_some(Origin {
            call: (word >> 40) as u16 & 0xfff,
            track: (word >> 36) as u8 & 0x0f,
            epoch: (word >> 28) as u8,
            index: (word & 0xfff_ffff) * WORD_SAMPLES,
        })
    }
}

/// A bijection of words under which neighbours look nothing alike (the finaliser of MurmurHash3, Appleby).
fn scramble(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

fn unscramble(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(inverse(0xc4ce_b9fe_1a85_ec53));
    word ^= word >> 33;
    word = word.wrapping_mul(inverse(0xff51_afd7_ed55_8ccd));
    word ^ word >> 33
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut round = 0;
    while round < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

/// A recorded sample as a checker sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Silence.
    Silence,
    /// Four bits of somebody's message.
    Audio(u8),
    /// Nothing that anybody has sent.
    Foreign,
}

/// Reads one stored sample of `format`.
pub fn hear(format: SampleFormat, bytes: &[u8]) -> Heard {
    match format {
        SampleFormat::Mulaw | SampleFormat::Alaw => match bytes[0] {
            byte if byte == format.silence() => Heard::Silence,
            byte if byte & 0xf0 == AUDIO => Heard::Audio(byte & 0x0f),
            _ => Heard::Foreign,
        },
        SampleFormat::Pcm16 => {
            let linear = i16::from_le_bytes([bytes[0], bytes[1]]);
            let code = (AUDIO..AUDIO + 16)
                .find(|&code| linear == mulaw_to_linear(code) || linear == alaw_to_linear(code));
            match code {
                Some(code) => Heard::Audio(code & 0x0f),
                None if linear == 0 => Heard::Silence,
                None => Heard::Foreign,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Prng;

    #[test]
    fn every_word_names_its_origin_and_noise_names_none() {
        for index in (0..100_000).step_by(WORD_SAMPLES as usize) {
            let origin = Origin { call: 7, track: 3, epoch: 200, index };
            assert_eq!(Origin::of(&origin.message()), Some(origin));
        }
        let mut prng = Prng::new(1);
        let found = (0..10_000)
            .filter(|_| Origin::of(&std::array::from_fn(|_| prng.below(16) as u8)).is_some())
            .count();
        assert!(found < 20, "{found} of 10,000 random words pass a check of twelve bits");
    }

    #[test]
    fn a_sample_is_read_alike_in_every_format() {
        for nibble in 0..16u8 {
            let code = AUDIO | nibble;
            assert_eq!(hear(SampleFormat::Mulaw, &[code]), Heard::Audio(nibble));
            assert_eq!(hear(SampleFormat::Alaw, &[code]), Heard::Audio(nibble));
            for linear in [mulaw_to_linear(code), alaw_to_linear(code)] {
                assert_eq!(hear(SampleFormat::Pcm16, &linear.to_le_bytes()), Heard::Audio(nibble));
            }
        }
        assert_eq!(hear(SampleFormat::Pcm16, &[0, 0]), Heard::Silence);
        assert_eq!(hear(SampleFormat::Mulaw, &[0xd5]), Heard::Foreign);
    }
}
