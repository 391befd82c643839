//! What a track says: the G.711 code of every sample, as a keyed function of (seed, call, track, position).
//!
//! Nothing of it is stored anywhere. Codes are even: all silence codes (0xff and 0x7f of µ-law, 0xd5 and 0x55 of A-law) are odd, so that no sample
//! can be taken for a gap, and seven bits of each are random, so that a run of sixteen found elsewhere (a sample late, another channel, another call)
//! is there by chance once in 2^112. Leaves out when a sample is sent: that is [`crate::schedule`].

/// Set in the track number of a stranger's packets, so that they are nobody's audio.
pub const STRANGER: u32 = 1 << 31;

/// Samples that one step of the mixing yields.
const STEP: u64 = 8;
/// Clears the lowest bit of eight codes.
const EVEN: u64 = 0xfefe_fefe_fefe_fefe;

/// One track's signal, its key worked out once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal {
    key: u64,
}

impl Signal {
    /// The signal of a track of a call.
    pub fn new(seed: u64, call: u64, track: u32) -> Signal {
        let key = mix(mix(mix(seed ^ 0x7461_7065_6865_6164) ^ call) ^ u64::from(track));
        Signal { key }
    }

    /// The codes from `position` on, in samples since the stream's start.
    #[inline]
    pub fn fill(&self, position: u64, out: &mut [u8]) {
        let first = position % STEP;
        let mut step = position / STEP;
        let mut rest = out;
        if first != 0 {
            let word = self.word(step).to_le_bytes();
            let here = rest.len().min((STEP - first) as usize);
            rest[..here].copy_from_slice(&word[first as usize..][..here]);
            rest = &mut rest[here..];
            step += 1;
        }
        let (whole, tail) = rest.as_chunks_mut::<{ STEP as usize }>();
        for eight in whole {
            *eight = self.word(step).to_le_bytes();
            step += 1;
        }
        let last = self.word(step).to_le_bytes();
        tail.copy_from_slice(&last[..tail.len()]);
    }

    #[inline]
    fn word(&self, step: u64) -> u64 {
        mix(self.key.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15))) & EVEN
    }
}

/// Fills `out` with the codes of a track from `position` on. For one packet; who needs more keeps a [`Signal`].
pub fn fill(seed: u64, call: u64, track: u32, position: u64, out: &mut [u8]) {
    Signal::new(seed, call, track).fill(position, out);
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output.
#[inline]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(seed: u64, call: u64, track: u32, position: u64, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        fill(seed, call, track, position, &mut out);
        out
    }

    /// How many of the samples at the same places are the same.
    fn alike(a: &[u8], b: &[u8]) -> usize {
        a.iter().zip(b).filter(|(a, b)| a == b).count()
    }

    proptest! {
        #[test]
        fn any_cut_of_the_signal_is_the_signal(
            seed: u64, call in 0u64..1 << 40, track in 0u32..8, position in 0u64..1 << 40, from in 0usize..300, length in 0usize..300,
        ) {
            let whole = codes(seed, call, track, position, 600);
            prop_assert_eq!(&codes(seed, call, track, position + from as u64, length)[..], &whole[from..from + length]);
        }

        #[test]
        fn no_code_is_a_silence_of_either_law(seed: u64, call: u64, track: u32, position in 0u64..1 << 60) {
            prop_assert!(codes(seed, call, track, position, 400).iter().all(|code| ![0xff, 0x7f, 0xd5, 0x55].contains(code)));
        }

        #[test]
        fn a_shift_a_swapped_channel_another_call_and_another_seed_are_seen_within_one_packet(
            seed: u64, call in 0u64..1 << 32, track in 0u32..8, position in 0u64..1 << 40, shift in 1u64..400,
        ) {
            // 160 samples that are alike one time in 128 each: 20 and more come about once in 10^13.
            let own = codes(seed, call, track, position, 160);
            for other in [
                codes(seed, call, track, position + shift, 160),
                codes(seed, call, track + 1, position, 160),
                codes(seed, call + 1, track, position, 160),
                codes(seed ^ 1, call, track, position, 160),
                codes(seed, call, track | STRANGER, position, 160),
            ] {
                prop_assert!(alike(&own, &other) < 20);
            }
        }
    }

    #[test]
    fn all_128_even_codes_are_used_about_equally() {
        let mut seen = [0u32; 256];
        codes(7, 1, 0, 0, 128_000).iter().for_each(|code| seen[usize::from(*code)] += 1);
        assert!(seen.iter().step_by(2).all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
