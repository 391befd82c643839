//! Identifiers that end up in file names.

use std::fmt;
use std::str::FromStr;

use super::{Entropy, Wall, hex};

/// A recording's name: 32 hexadecimal digits, the first 12 the start in milliseconds, so that names sort by time.
/// (The layout of a UUID version 7, RFC 9562 section 5.7, without its dashes.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingId([u8; 16]);

impl RecordingId {
    /// A new name for a recording that starts at `start`.
    pub fn new(start: Wall, entropy: &mut impl Entropy) -> RecordingId {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes[6..]);
        bytes[..6].copy_from_slice(&(start.0 / 1_000_000).to_be_bytes()[2..]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        RecordingId(bytes)
    }

    /// The 16 bytes of the name.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordingId {
    type Err = String;

    fn from_str(text: &str) -> Result<RecordingId, String> {
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("a recording id is 32 lower-case hexadecimal digits".to_owned());
        }
        let nibble = |d: u8| if d <= b'9' { d - b'0' } else { d - b'a' + 10 };
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(RecordingId(bytes))
    }
}

impl serde::Serialize for RecordingId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RecordingId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<RecordingId, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A segment's number within its recording, from 1. The manifest, sealed like a segment, is number 0.
pub type SegmentNumber = u32;

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;
    impl Entropy for Ones {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0xff);
        }
    }

    #[test]
    fn names_sort_by_time_and_read_back() {
        let early = RecordingId::new(Wall(1_000_000_000), &mut Ones);
        let later = RecordingId::new(Wall(2_000_000_000), &mut Ones);
        assert!(early.to_string() < later.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!("../../etc/passwd".parse::<RecordingId>().is_err());
    }
}
