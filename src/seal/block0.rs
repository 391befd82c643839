//! Block 0: one JSON object in the first 4,096 bytes of a sealed file, padded with spaces and a final newline,
//! so that `head -c 4096 FILE` shows it. Not secret; holds no personal data.
//!
//! What changes while a file lives stands first, padded with spaces to 512 bytes, and the rest after it:
//!
//! ```text
//!   0                                                          512                                   4095
//!   | {"format":..,"version":1,..,"state":..,"closing":..,     | "tenant":..,"audio":..,"keys":[..]} | newline
//! ```
//! A disk writes at least 512 bytes in one piece, so a block 0 that is closed when the power fails reads as open or as closed,
//! never as neither: the wrapped keys are not touched.

use serde::{Deserialize, Serialize};

use crate::base::{RecordingId, SegmentNumber, Wall};
use crate::limits::{BLOCK0_BYTES, SEGMENT_FRAMES_MAX, TRACKS_MAX};
use crate::media::SampleFormat;

/// What every sealed file says it is.
pub const FORMAT: &str = "tapehead-sealed";
/// The version of the format that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// The least that a disk writes in one piece.
const LIVING_BYTES: usize = 512;
/// The stream after block 0, in Tink's words: key type, hash of the derivation, size of the derived key, size of a ciphertext segment.
pub const CIPHER: &str = "AES256_GCM_HKDF_4KB/SHA256";

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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closing {
    /// Frames after frame 0, without the empty final frame.
    pub frames: u32,
    /// Samples per track that belong to the recording; the rest of the last frame is padding. Of a manifest: its bytes of JSON.
    pub samples: u64,
}

/// Block 0.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
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
    #[serde(default)]
    pub closing: Option<Closing>,
}

/// The members in the first 512 bytes: of bounded length, among them all that change while a file lives.
#[derive(Serialize)]
struct Living<'a> {
    format: &'a str,
    version: u32,
    kind: Kind,
    recording: RecordingId,
    segment: SegmentNumber,
    state: State,
    closing: Option<Closing>,
}

impl<'a> From<&'a Block0> for Living<'a> {
    fn from(block0: &'a Block0) -> Living<'a> {
        let &Block0 { ref format, version, kind, recording, segment, state, closing, .. } = block0;
        Living { format, version, kind, recording, segment, state, closing }
    }
}

/// The members after them.
#[derive(Serialize)]
struct Fixed<'a> {
    tenant: &'a str,
    started: &'a str,
    cipher: &'a str,
    audio: Option<AudioParams>,
    keys: &'a [WrappedKey],
}

impl<'a> From<&'a Block0> for Fixed<'a> {
    fn from(block0: &'a Block0) -> Fixed<'a> {
        let &Block0 { ref tenant, ref started, ref cipher, audio, ref keys, .. } = block0;
        Fixed { tenant, started, cipher, audio, keys }
    }
}

/// Why 4,096 bytes are not a block 0, or a block 0 is not 4,096 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Block0Error {
    /// The JSON needs this many bytes: too many wrapped keys, or too long a name of a tenant.
    TooLong(usize),
    /// There are fewer than 4,096 bytes.
    Short(usize),
    /// Not one JSON object of the right members, spaces and a newline: what is wrong with it.
    Malformed(String),
    /// Written by a version of the format that this program does not know.
    UnknownVersion(u32),
    /// Members that contradict each other or a bound: which.
    Inconsistent(&'static str),
}

impl std::fmt::Display for Block0Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Block0Error::TooLong(bytes) => {
                write!(
                    f,
                    "block 0 would need {bytes} bytes of {BLOCK0_BYTES}: use fewer keys or a shorter tenant"
                )
            }
            Block0Error::Short(bytes) => write!(f, "only {bytes} bytes, block 0 has {BLOCK0_BYTES}"),
            Block0Error::Malformed(what) => write!(f, "not a sealed file of Tapehead: {what}"),
            Block0Error::UnknownVersion(version) => {
                write!(
                    f,
                    "version {version} of the sealed format, this program knows {VERSION}: use a newer one"
                )
            }
            Block0Error::Inconsistent(what) => write!(f, "block 0 contradicts itself: {what}"),
        }
    }
}

impl std::error::Error for Block0Error {}

impl Block0 {
    /// Block 0 of a new segment. What `audio` says may still be changed until the file is opened.
    pub fn segment(
        recording: RecordingId,
        segment: SegmentNumber,
        tenant: &str,
        started: Wall,
        audio: AudioParams,
        keys: Vec<WrappedKey>,
    ) -> Block0 {
        Block0 {
            kind: Kind::Segment,
            segment,
            audio: Some(audio),
            ..Block0::manifest(recording, tenant, started, keys)
        }
    }

    /// Block 0 of a manifest.
    pub fn manifest(recording: RecordingId, tenant: &str, started: Wall, keys: Vec<WrappedKey>) -> Block0 {
        Block0 {
            format: FORMAT.to_owned(),
            version: VERSION,
            kind: Kind::Manifest,
            recording,
            segment: 0,
            tenant: tenant.to_owned(),
            started: started.to_rfc3339(),
            cipher: CIPHER.to_owned(),
            audio: None,
            keys,
            state: State::Open,
            closing: None,
        }
    }

    /// The stream's associated data, which ties it to its place so that files can't be swapped.
    pub fn associated_data(&self) -> Vec<u8> {
        format!("tapehead/1:{}/{}", self.recording, self.segment).into_bytes()
    }

    /// The block as it stands on disk.
    pub fn encode(&self) -> Result<[u8; BLOCK0_BYTES], Block0Error> {
        let text =
            |json: serde_json::Result<Vec<u8>>| json.map_err(|why| Block0Error::Malformed(why.to_string()));
        let living = text(serde_json::to_vec(&Living::from(self)))?;
        let fixed = text(serde_json::to_vec(&Fixed::from(self)))?;
        // Two objects become one: the first loses its brace at the end, the second its brace at the start.
        let end = LIVING_BYTES + fixed.len() - 1;
        if living.len() > LIVING_BYTES || end >= BLOCK0_BYTES {
            return Err(Block0Error::TooLong(end.max(BLOCK0_BYTES) + 1));
        }
        let mut block = [b' '; BLOCK0_BYTES];
        block[..living.len()].copy_from_slice(&living);
        block[living.len() - 1] = b',';
        block[LIVING_BYTES..end].copy_from_slice(&fixed[1..]);
        block[BLOCK0_BYTES - 1] = b'\n';
        Ok(block)
    }

    /// Reads the first 4,096 bytes of a file; what follows is left alone.
    pub fn decode(bytes: &[u8]) -> Result<Block0, Block0Error> {
        let block = bytes.get(..BLOCK0_BYTES).ok_or(Block0Error::Short(bytes.len()))?;
        if block[BLOCK0_BYTES - 1] != b'\n' {
            return Err(Block0Error::Malformed("block 0 does not end in a newline".to_owned()));
        }
        // Another version may have other members, so the version is looked at alone first.
        let head: Head = parse(block)?;
        if head.format != FORMAT {
            return Err(Block0Error::Malformed(format!("its format is not {FORMAT}")));
        }
        if head.version != VERSION {
            return Err(Block0Error::UnknownVersion(head.version));
        }
        let block0: Block0 = parse(block)?;
        block0.check()?;
        Ok(block0)
    }

    fn check(&self) -> Result<(), Block0Error> {
        let wrong = |what| Err(Block0Error::Inconsistent(what));
        if self.cipher != CIPHER {
            return wrong("an unknown cipher");
        }
        match (self.kind, &self.audio) {
            (Kind::Segment, None) => return wrong("a segment without audio"),
            (Kind::Manifest, Some(_)) => return wrong("a manifest with audio"),
            (Kind::Segment, Some(_)) if self.segment == 0 => return wrong("an audio segment numbered 0"),
            (Kind::Manifest, None) if self.segment != 0 => return wrong("a manifest not numbered 0"),
            _ => {}
        }
        if let Some(audio) = &self.audio
            && (audio.channels == 0 || usize::from(audio.channels) > TRACKS_MAX || audio.rate == 0)
        {
            return wrong("impossible audio parameters");
        }
        match &self.closing {
            None if self.state != State::Open => wrong("closed without closing fields"),
            Some(closing) if closing.frames > SEGMENT_FRAMES_MAX => {
                wrong("more frames than a segment can hold")
            }
            _ => Ok(()),
        }
    }
}

/// What every version of block 0 has.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

fn parse<'a, T: Deserialize<'a>>(block: &'a [u8]) -> Result<T, Block0Error> {
    // serde's message may quote the bytes; block 0 is not secret.
    serde_json::from_slice(block).map_err(|why| Block0Error::Malformed(why.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Block0 {
        let recording = "0199f0a1b2c370008000000000000001".parse().unwrap();
        let audio = AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: 2, start: 0 };
        Block0::segment(recording, 1, "acme", Wall(1_795_269_802_512_000_000), audio, vec![])
    }

    #[test]
    fn block_0_is_readable_text_that_reads_back() {
        let block = example().encode().unwrap();
        let text = std::str::from_utf8(&block).unwrap();
        assert!(
            text.starts_with(r#"{"format":"tapehead-sealed","version":1,"kind":"segment""#)
                && text.ends_with(" \n")
        );
        assert_eq!(Block0::decode(&block), Ok(example()));
        assert_eq!(example().associated_data(), b"tapehead/1:0199f0a1b2c370008000000000000001/1");
    }

    #[test]
    fn a_block_0_that_does_not_fit_is_an_error() {
        let mut block0 = example();
        let used = block0.encode().unwrap().trim_ascii_end().len();
        let room = BLOCK0_BYTES - 1 - used;
        block0.tenant += &"x".repeat(room);
        assert_eq!(Block0::decode(&block0.encode().unwrap()), Ok(block0.clone()));
        block0.tenant.push('x');
        assert_eq!(block0.encode(), Err(Block0Error::TooLong(BLOCK0_BYTES + 1)));
    }

    #[test]
    fn closing_changes_the_first_512_bytes_alone() {
        let mut block0 = example();
        block0.segment = u32::MAX;
        let open = block0.encode().unwrap();
        block0.state = State::Recovered;
        block0.closing = Some(Closing { frames: SEGMENT_FRAMES_MAX, samples: u64::MAX });
        let closed = block0.encode().unwrap();
        assert_eq!(open[LIVING_BYTES..], closed[LIVING_BYTES..]);
        assert_eq!(Block0::decode(&closed), Ok(block0));
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut block0 = example();
        block0.version = 2;
        assert_eq!(Block0::decode(&block0.encode().unwrap()), Err(Block0Error::UnknownVersion(2)));
    }

    #[test]
    fn contradictions_are_refused() {
        let mut block0 = example();
        block0.state = State::Closed;
        assert!(matches!(Block0::decode(&block0.encode().unwrap()), Err(Block0Error::Inconsistent(_))));
        let mut block0 = example();
        block0.segment = 0;
        assert!(matches!(Block0::decode(&block0.encode().unwrap()), Err(Block0Error::Inconsistent(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
            prop_assert!(Block0::decode(&bytes).is_err());
        }

        #[test]
        fn a_changed_byte_is_refused_or_reads_as_something_that_encodes(at in 0..BLOCK0_BYTES, to in any::<u8>()) {
            let mut block = example().encode().unwrap();
            block[at] = to;
            if let Ok(read) = Block0::decode(&block) {
                prop_assert_eq!(Block0::decode(&read.encode().unwrap()), Ok(read));
            }
        }
    }
}
