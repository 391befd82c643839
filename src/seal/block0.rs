//! Block 0: one JSON object in the first 4,096 bytes of a sealed file, padded with spaces and a final newline,
//! so that `head -c 4096 FILE` shows it. Not secret; holds no personal data.

use serde::{Deserialize, Serialize};

use crate::base::{RecordingId, SegmentNumber};
use crate::media::SampleFormat;

/// What a sealed file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A segment of audio: the plaintext is a WAV file.
    Segment,
    /// A recording's manifest: the plaintext is JSON.
    Manifest,
}

/// How far a sealed file has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being written, or left by a crash.
    Open,
    /// Complete.
    Closed,
    /// Cut by a crash, mended by `recover`.
    Recovered,
}

/// A data key, wrapped by a key provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The provider: `local`.
    pub provider: String,
    /// Which of its keys.
    pub key_id: String,
    /// The wrapped data key, base64.
    pub wrapped: String,
    /// When it was wrapped, RFC 3339.
    pub created: String,
}

/// The audio of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AudioParams {
    /// How samples are stored.
    pub format: SampleFormat,
    /// Samples per second.
    pub rate: u32,
    /// Tracks, interleaved as channels.
    pub channels: u16,
    /// Position of the first sample on the recording's timeline.
    pub start: u64,
}

/// What is known only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closing {
    /// Frames of audio, without frame 0 and the final frame.
    pub frames: u32,
    /// Samples per track that belong to the recording; the rest of the last frame is padding.
    pub samples: u64,
}

/// Block 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Block0 {
    /// Always `tapehead-sealed`.
    pub format: String,
    /// Version of the format: 1.
    pub version: u32,
    /// What the file is.
    pub kind: Kind,
    /// The recording.
    pub recording: RecordingId,
    /// Number within the recording; 0 for the manifest.
    pub segment: SegmentNumber,
    /// Whose recording it is.
    pub tenant: String,
    /// Start of the recording session, RFC 3339.
    pub started: String,
    /// The cipher of the rest of the file, as Tink names it.
    pub cipher: String,
    /// The audio, if it is a segment.
    pub audio: Option<AudioParams>,
    /// The data key, wrapped once for each provider that may open the file.
    pub keys: Vec<WrappedKey>,
    /// How far the file has come.
    pub state: State,
    /// Known at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
}
