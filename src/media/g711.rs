//! G.711 (ITU-T, 1988): µ-law and A-law to 16-bit linear and back.
//!
//! The recorder stores the laws as they come; this is for recordings that mix them, and for whoever listens. Linear values
//! are the standard's 14 (µ) or 13 bits (A) shifted up to 16.

/// µ-law (table 2 of G.711) to linear.
pub static MULAW_TO_LINEAR: [i16; 256] = mulaw_table();
/// A-law (table 1 of G.711) to linear.
pub static ALAW_TO_LINEAR: [i16; 256] = alaw_table();

/// Added to a µ-law magnitude so that every segment starts at a power of two (14-bit scale).
const MULAW_BIAS: i32 = 33;

/// The linear value of a µ-law code.
#[inline]
pub fn mulaw_to_linear(code: u8) -> i16 {
    MULAW_TO_LINEAR[usize::from(code)]
}

/// The linear value of an A-law code.
#[inline]
pub fn alaw_to_linear(code: u8) -> i16 {
    ALAW_TO_LINEAR[usize::from(code)]
}

/// The µ-law code whose decision interval holds a linear value; beyond the last, the last. Zero is +0 (0xff).
#[inline]
pub const fn linear_to_mulaw(linear: i16) -> u8 {
    let sign = if linear < 0 { 0x80 } else { 0 };
    // Negative values by one's complement, as in the ITU-T tool library (G.191): the two zeros mirror each other.
    let magnitude = (if linear < 0 { !linear } else { linear } as i32 >> 2) + MULAW_BIAS;
    let magnitude = if magnitude > 0x1fff { 0x1fff } else { magnitude };
    let segment = 26 - magnitude.leading_zeros() as i32;
    let step = (magnitude >> (segment + 1)) & 0x0f;
    !(sign | (segment << 4) | step) as u8
}

/// The A-law code whose decision interval holds a linear value. Zero is +0 (0xd5).
#[inline]
pub const fn linear_to_alaw(linear: i16) -> u8 {
    let sign = if linear < 0 { 0 } else { 0x80 };
    let magnitude = if linear < 0 { !linear } else { linear } as i32 >> 4;
    // The first two segments share one step size.
    let code = if magnitude < 32 {
        magnitude
    } else {
        let shift = 27 - magnitude.leading_zeros() as i32;
        ((shift + 1) << 4) | ((magnitude >> shift) & 0x0f)
    };
    (sign | code) as u8 ^ 0x55
}

const fn mulaw_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = !(code as u8) as i32;
        let (segment, step) = ((bits >> 4) & 7, bits & 0x0f);
        let magnitude = (((2 * step + MULAW_BIAS) << segment) - MULAW_BIAS) << 2;
        table[code] = if bits & 0x80 != 0 { -magnitude } else { magnitude } as i16;
        code += 1;
    }
    table
}

const fn alaw_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        // Every other bit is inverted on the wire (G.711 table 1, note 2).
        let bits = (code ^ 0x55) as i32;
        let (segment, step) = ((bits >> 4) & 7, bits & 0x0f);
        let magnitude = match segment {
            0 => (2 * step + 1) << 3,
            _ => (2 * step + 33) << (segment + 2),
        };
        table[code] = if bits & 0x80 != 0 { magnitude } else { -magnitude } as i16;
        code += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decoder output values as printed in G.711: (first of a segment, step) per segment, in 16 bits.
    fn levels(first_and_step: [(i32, i32); 8]) -> Vec<i32> {
        first_and_step.iter().flat_map(|&(first, step)| (0..16).map(move |n| first + n * step)).collect()
    }

    /// Output levels lie in the middle of their decision intervals (G.711 section 3): an interval is one step of its segment wide.
    fn assert_within_its_interval(levels: &[i16; 256], encode: fn(i16) -> u8, step: fn(usize) -> i32) {
        let top = i32::from(*levels.iter().max().unwrap());
        for linear in i16::MIN..=i16::MAX {
            let code = encode(linear);
            let level = i32::from(levels[usize::from(code)]);
            let error = (i32::from(linear).clamp(-top, top) - level).abs();
            assert!(2 * error <= step(usize::from(code)), "{linear} became {level}");
        }
    }

    #[test]
    fn mulaw_decodes_to_the_standards_levels() {
        // Table 2a, last column: 0, 2, .. 30; 33, 37, ..; 99, 107, ..; up to 8031, in 14 bits.
        let expected = levels([
            (0, 8),
            (132, 16),
            (396, 32),
            (924, 64),
            (1980, 128),
            (4092, 256),
            (8316, 512),
            (16_764, 1024),
        ]);
        for (index, &level) in expected.iter().enumerate() {
            assert_eq!(i32::from(mulaw_to_linear(0xff - index as u8)), level);
            assert_eq!(i32::from(mulaw_to_linear(0x7f - index as u8)), -level);
        }
        assert_eq!(mulaw_to_linear(0x80), 4 * 8031);
    }

    #[test]
    fn alaw_decodes_to_the_standards_levels() {
        // Table 1a, last column: 1, 3, .. 31; 33, ..; 66, 70, ..; up to 4032, in 13 bits.
        let expected = levels([
            (8, 16),
            (264, 16),
            (528, 32),
            (1056, 64),
            (2112, 128),
            (4224, 256),
            (8448, 512),
            (16_896, 1024),
        ]);
        for (index, &level) in expected.iter().enumerate() {
            assert_eq!(i32::from(alaw_to_linear((0x80 | index as u8) ^ 0x55)), level);
            assert_eq!(i32::from(alaw_to_linear(index as u8 ^ 0x55)), -level);
        }
        assert_eq!(alaw_to_linear(0xff ^ 0x55), 8 * 4032);
    }

    #[test]
    fn every_linear_value_falls_into_the_decision_interval_of_its_code() {
        assert_within_its_interval(&MULAW_TO_LINEAR, linear_to_mulaw, |code| 8 << ((!code >> 4) & 7));
        assert_within_its_interval(&ALAW_TO_LINEAR, linear_to_alaw, |code| {
            16 << (((code ^ 0x55) >> 4) & 7).saturating_sub(1)
        });
    }

    #[test]
    fn every_code_survives_linear_but_the_negative_zero_of_mulaw() {
        for code in 0..=255 {
            assert_eq!(linear_to_alaw(alaw_to_linear(code)), code);
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(linear_to_mulaw(mulaw_to_linear(code)), expected);
        }
        assert_eq!((linear_to_mulaw(0), linear_to_alaw(0)), (0xff, 0xd5));
    }
}
