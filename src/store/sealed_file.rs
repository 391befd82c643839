//! Reading of one sealed file: block 0 without a key, frames and ranges of plaintext with it.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use crate::keys::{KeyContext, KeyError, KeyProvider};
use crate::limits::*;
use crate::recording::Manifest;
use crate::recording::manifest::ManifestError;
use crate::seal::{Block0, Block0Error, DamagedFrame, DataKey, FrameOpener, Kind, StreamSeed};

/// Frames read at once.
const BATCH_FRAMES: u32 = 64;

/// Why a file can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The file system says no.
    Io(io::Error),
    /// The first 4,096 bytes are no block 0.
    Block0(Block0Error),
    /// No stream header follows block 0.
    NoStream,
    /// The data key can't be had.
    Key(KeyError),
    /// It is a segment where a manifest was expected, or the other way round.
    Kind(Kind),
    /// A frame of the manifest is damaged.
    Damaged(u32),
    /// The manifest's plaintext is none.
    Manifest(ManifestError),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Io(why) => write!(f, "{why}"),
            OpenError::Block0(why) => write!(f, "{why}"),
            OpenError::NoStream => f.write_str("no stream header behind block 0"),
            OpenError::Key(why) => write!(f, "{why}"),
            OpenError::Kind(Kind::Segment) => f.write_str("a segment, not a manifest"),
            OpenError::Kind(Kind::Manifest) => f.write_str("a manifest, not a segment"),
            OpenError::Damaged(frame) => write!(f, "frame {frame} is damaged"),
            OpenError::Manifest(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(why: io::Error) -> OpenError {
        OpenError::Io(why)
    }
}

/// A sealed file whose block 0 has been read.
#[derive(Clone)]
pub struct SealedFile<'d> {
    pub(super) disk: &'d dyn Disk,
    /// Where it is.
    pub path: PathBuf,
    /// Its block 0. Not authenticated, but for the recording and the segment number.
    pub block0: Block0,
    /// Its size in bytes.
    pub size: u64,
    /// Its stream header, if there is one.
    pub seed: Option<StreamSeed>,
}

impl<'d> SealedFile<'d> {
    /// Reads block 0 and the stream header of the file at `path`.
    pub fn open(disk: &'d dyn Disk, path: &Path) -> Result<SealedFile<'d>, OpenError> {
        let size = disk.size(path)?;
        let mut front = vec![0; BLOCK0_BYTES + STREAM_HEADER_BYTES];
        let there = disk.read(path, 0, &mut front)?;
        let block0 = Block0::decode(&front[..there.min(BLOCK0_BYTES)]).map_err(OpenError::Block0)?;
        let seed = StreamSeed::parse(&front[BLOCK0_BYTES.min(there)..there]);
        Ok(SealedFile { disk, path: path.to_owned(), block0, size, seed })
    }

    /// Frames after frame 0: as block 0 says, else as many as the file has room for.
    pub fn frames(&self) -> u32 {
        match &self.block0.closing {
            Some(closing) => closing.frames,
            None => self.whole_frames(),
        }
    }

    /// Whole frames after frame 0 that the file's size has room for.
    pub fn whole_frames(&self) -> u32 {
        let frames = self.size.saturating_sub(AUDIO_OFFSET) / FRAME_BYTES as u64;
        frames.min(u64::from(SEGMENT_FRAMES_MAX)) as u32
    }

    /// What the data key is bound to.
    pub fn key_context(&self) -> KeyContext<'_> {
        KeyContext { recording: self.block0.recording, tenant: &self.block0.tenant }
    }

    /// Opens the file with what `keys` can unwrap.
    pub fn unlock(self, keys: &dyn KeyProvider) -> Result<OpenedFile<'d>, OpenError> {
        let key = keys.unwrap_any(&self.block0.keys, self.key_context()).map_err(OpenError::Key)?;
        self.unlock_with(&key)
    }

    /// Opens the file with its data key.
    pub fn unlock_with(self, key: &DataKey) -> Result<OpenedFile<'d>, OpenError> {
        let seed = self.seed.ok_or(OpenError::NoStream)?;
        let opener = FrameOpener::new(key, &seed, &self.block0.associated_data());
        Ok(OpenedFile { sealed: self, opener })
    }
}

/// A sealed file and the key to its frames.
pub struct OpenedFile<'d> {
    /// The file.
    pub sealed: SealedFile<'d>,
    opener: FrameOpener,
}

/// Why a range of plaintext could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file system says no.
    Io(io::Error),
    /// This frame is damaged or missing.
    Damaged(u32),
}

impl OpenedFile<'_> {
    /// Opens the frames `from..to` in turn and shows each one's plaintext, or that it is damaged or missing.
    pub fn each_frame(
        &self,
        from: u32,
        to: u32,
        mut show: impl FnMut(u32, Result<&[u8], DamagedFrame>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut batch = vec![0; BATCH_FRAMES as usize * FRAME_BYTES];
        for first in (from..to).step_by(BATCH_FRAMES as usize) {
            let frames = (to - first).min(BATCH_FRAMES) as usize;
            let bytes = &mut batch[..frames * FRAME_BYTES];
            let there = self.sealed.disk.read(&self.sealed.path, offset_of(first), bytes)?;
            for (counter, frame) in (first..).zip(bytes[..there].chunks_mut(FRAME_BYTES)) {
                show(counter, self.open_frame(counter, frame))?;
            }
            // What lies beyond the end of the file is missing; a frame cut by it has been shown as damaged.
            (first + there.div_ceil(FRAME_BYTES) as u32..first + frames as u32)
                .try_for_each(|counter| show(counter, Err(DamagedFrame)))?;
        }
        Ok(())
    }

    fn open_frame<'f>(&self, counter: u32, frame: &'f mut [u8]) -> Result<&'f [u8], DamagedFrame> {
        if frame.len() != FRAME_BYTES {
            return Err(DamagedFrame);
        }
        let sealed = if counter == 0 { &mut frame[STREAM_HEADER_BYTES..] } else { frame };
        self.opener.open(counter, false, sealed).map(|plain| &*plain)
    }

    /// Whether the final frame stands behind `frames` frames. It is empty: its tag alone says that the stream ends here.
    pub fn has_final_frame(&self, frames: u32) -> io::Result<bool> {
        let mut tag = [0; TAG_BYTES];
        let there = self.sealed.disk.read(&self.sealed.path, offset_of(frames + 1), &mut tag)?;
        Ok(self.opener.open(frames + 1, true, &mut tag[..there]).is_ok())
    }

    /// The plaintext of frame 0, or that it is damaged or missing.
    pub fn frame0(&self) -> io::Result<Result<[u8; FRAME0_PLAIN_BYTES], DamagedFrame>> {
        let mut plaintext = Err(DamagedFrame);
        self.each_frame(0, 1, |_, plain| {
            plaintext = plain.map(|plain| plain.try_into().expect("a whole frame 0 has 4,040 bytes"));
            Ok(())
        })?;
        Ok(plaintext)
    }

    /// Bytes of plaintext, padding included.
    pub fn plain_bytes(&self) -> u64 {
        FRAME0_PLAIN_BYTES as u64 + u64::from(self.sealed.frames()) * FRAME_PLAIN_BYTES as u64
    }

    /// Reads plaintext from `offset` on until `out` is full or the plaintext ends; only the frames touched are opened.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<usize, ReadError> {
        let end = (offset + out.len() as u64).min(self.plain_bytes());
        if offset >= end {
            return Ok(0);
        }
        let mut damaged = None;
        let shown = self.each_frame(frame_at(offset), frame_at(end - 1) + 1, |counter, plain| {
            let Ok(plain) = plain else {
                damaged.get_or_insert(counter);
                return Ok(());
            };
            let (from, to) =
                (plain_start(counter).max(offset), (plain_start(counter) + plain.len() as u64).min(end));
            let within = |at: u64, start: u64| (at - start) as usize;
            out[within(from, offset)..within(to, offset)].copy_from_slice(
                &plain[within(from, plain_start(counter))..within(to, plain_start(counter))],
            );
            Ok(())
        });
        shown.map_err(ReadError::Io)?;
        damaged.map_or(Ok((end - offset) as usize), |frame| Err(ReadError::Damaged(frame)))
    }
}

/// Reads the manifest in the file at `path` with what `keys` can unwrap. At most [`MANIFEST_BYTES_MAX`].
pub fn read_manifest(disk: &dyn Disk, path: &Path, keys: &dyn KeyProvider) -> Result<Manifest, OpenError> {
    let file = SealedFile::open(disk, path)?.unlock(keys)?;
    if file.sealed.block0.kind != Kind::Manifest {
        return Err(OpenError::Kind(file.sealed.block0.kind));
    }
    let frames = file.sealed.frames();
    // Block 0 is not authenticated: what it says of the length is believed only as far as the file goes.
    if frames > file.sealed.whole_frames() || !file.has_final_frame(frames)? {
        return Err(OpenError::Damaged(frames.saturating_add(1)));
    }
    if file.plain_bytes() > MANIFEST_BYTES_MAX {
        return Err(OpenError::Manifest(ManifestError::TooLong(file.plain_bytes())));
    }
    let mut json = vec![0; file.plain_bytes() as usize];
    match file.read(0, &mut json) {
        Ok(_) => Manifest::from_json(&json).map_err(OpenError::Manifest),
        Err(ReadError::Io(why)) => Err(OpenError::Io(why)),
        Err(ReadError::Damaged(frame)) => Err(OpenError::Damaged(frame)),
    }
}

/// Where a frame starts in the file.
pub(super) fn offset_of(counter: u32) -> u64 {
    BLOCK0_BYTES as u64 + u64::from(counter) * FRAME_BYTES as u64
}

/// Where a frame's plaintext starts in the plaintext.
fn plain_start(counter: u32) -> u64 {
    match u64::from(counter).checked_sub(1) {
        None => 0,
        Some(before) => FRAME0_PLAIN_BYTES as u64 + before * FRAME_PLAIN_BYTES as u64,
    }
}

/// The frame that holds this byte of the plaintext.
fn frame_at(offset: u64) -> u32 {
    match offset.checked_sub(FRAME0_PLAIN_BYTES as u64) {
        None => 0,
        Some(behind) => (behind / FRAME_PLAIN_BYTES as u64) as u32 + 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::testing::Fixture;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_range_of_the_plaintext_can_be_read_alone(offset in 0u64..20_000, len in 0usize..10_000) {
            let fixture = Fixture::new();
            let path = fixture.segment(1, 0, 3 * 2040);
            let plain = fixture.plaintext(0, 3 * 2040);
            let file = SealedFile::open(&fixture.disk, &path).unwrap().unlock(&fixture.keys).unwrap();
            prop_assert_eq!(file.plain_bytes(), plain.len() as u64);
            let mut out = vec![0; len];
            let got = file.read(offset, &mut out).unwrap();
            let from = (offset as usize).min(plain.len());
            prop_assert!(out[..got] == plain[from..(from + len).min(plain.len())]);
        }
    }

    #[test]
    fn a_range_with_a_damaged_frame_names_it() {
        let fixture = Fixture::new();
        let path = fixture.segment(1, 0, 3 * 2040);
        fixture.flip(&path, offset_of(2) + 100);
        let file = SealedFile::open(&fixture.disk, &path).unwrap().unlock(&fixture.keys).unwrap();
        assert!(matches!(file.read(0, &mut [0; 20_000]), Err(ReadError::Damaged(2))));
        assert!(file.read(0, &mut [0; FRAME0_PLAIN_BYTES + FRAME_PLAIN_BYTES]).is_ok());
    }
}
