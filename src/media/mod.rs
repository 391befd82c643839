//! Media without I/O: where each packet's samples belong on the recording's timeline, and what became of each packet.
//!
//! Positions are samples at 8,000 Hz since the start of the recording session. Leaves out the wire (`rtp`) and the
//! disk (`recording`, `seal`).

mod counters;
mod g711;
mod gaps;
mod interval;
mod pauses;
mod source;
mod source_lock;
mod track;

pub use counters::{Counters, Fate};
pub use g711::{
    ALAW_TO_LINEAR, MULAW_TO_LINEAR, alaw_to_linear, linear_to_alaw, linear_to_mulaw, mulaw_to_linear,
};
pub use interval::{Cause, Interval, Intervals};
pub use source_lock::SourceLock;
pub use track::{ANCHORS_KEPT_MAX, Anchor, Track, Verdict};

/// Samples per second of every track (G.711, RFC 3551 section 4.5.14).
pub const SAMPLE_RATE: u32 = 8000;

/// How a segment stores a sample. All tracks of a segment share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleFormat {
    /// ITU-T G.711 µ-law, one byte; WAV format 7.
    Mulaw,
    /// ITU-T G.711 A-law, one byte; WAV format 6.
    Alaw,
    /// Linear, 16 bit, little endian; WAV format 1. For tracks of different laws, which it holds without loss.
    Pcm16,
}

impl SampleFormat {
    /// Bytes of one sample of one track.
    pub const fn bytes(self) -> usize {
        match self {
            SampleFormat::Mulaw | SampleFormat::Alaw => 1,
            SampleFormat::Pcm16 => 2,
        }
    }

    /// The bytes of a silent sample, repeated to fill a frame: µ-law +0 is 0xff, A-law +0 (its smallest step) is 0xd5.
    pub const fn silence(self) -> u8 {
        match self {
            SampleFormat::Mulaw => 0xff,
            SampleFormat::Alaw => 0xd5,
            SampleFormat::Pcm16 => 0,
        }
    }
}

/// What a payload type carries, as far as the recorder cares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Payload {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// RFC 3389.
    ComfortNoise,
    /// RFC 4733.
    TelephoneEvent,
}
