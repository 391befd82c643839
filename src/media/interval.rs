//! Stretches of a track that hold no audio of its source, and why.

use serde::{Deserialize, Serialize};

/// Why a stretch of a track is silent in the recording.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Packets of this stretch never arrived: sequence numbers are missing.
    Loss,
    /// Packets of this stretch arrived after it was sealed.
    Late,
    /// The source sent nothing and said so: no sequence number is missing (discontinuous transmission).
    Silence,
    /// The source sent comfort noise (RFC 3389).
    ComfortNoise,
    /// The source sent DTMF digits as events (RFC 4733) instead of audio.
    TelephoneEvent,
    /// The client had put the stream on hold (SDP direction inactive, RFC 3264 section 8.4).
    Hold,
    /// No packet has come (yet): before the first, after the last, or while the source was mute without a word.
    NoMedia,
    /// The source changed (SSRC) or its timestamps jumped; the stretch between is nobody's.
    SourceChange,
    /// The source's clock had drifted and was put right here.
    Drift,
    /// Ours: the packet came and there was no room for it.
    Overflow,
    /// Ours: lost with a crash.
    Crash,
}

/// A silent stretch of one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// The track, by its channel number from 0.
    pub track: u8,
    /// First silent sample, since the start of the recording session.
    pub start: u64,
    /// First sample after it.
    pub end: u64,
    /// Why.
    pub cause: Cause,
    /// Sequence numbers missing in it, 0 unless packets were lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub packets: u32,
    /// Whether neighbouring intervals were merged into this one because there were too many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
}

fn is_zero(packets: &u32) -> bool {
    *packets == 0
}
