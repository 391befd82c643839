//! Mending of one segment that a crash left behind: `NNNN.tape.part` becomes `NNNN.tape`.
//!
//! The rule that everything here serves: **no nonce ever covers two contents.** Audio frames are never sealed anew. The final frame is always
//! empty. Frame 0 is a pure function of the number of frames `n`, and sealed only where `n` can't be another than the one it was
//! sealed for before, if ever it was:
//!
//! - Frame 0 is valid: the shard wrote it when everything else was durable. It says `n`, and stays.
//! - The final frame is found: it was durable before frame 0 was written. Its place says `n`.
//! - Neither: `n` is the number of frames that are good from the first on. If something other than zeros lies where frame 0
//!   belongs, a disk has lost what it had called durable; then frame 0 stays damaged, and only the header of the WAV is lost with it.
//!
//! Killed at any step it finds the same `n` again.

use std::path::Path;

use super::disk::Disk;
use super::finalise::{At, StoreError};
use super::names::*;
use super::sealed_file::{OpenError, OpenedFile, SealedFile, offset_of};
use crate::base::planted::{Bug, planted};
use crate::keys::KeyProvider;
use crate::limits::*;
use crate::recording::wav;
use crate::seal::{AudioParams, Closing, DataKey, FrameSealer, State};

/// What became of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SegmentOutcome {
    /// It is closed now.
    Kept {
        /// Frames of audio.
        frames: u32,
        /// It had been closed before: nothing of it is lost.
        closed: bool,
    },
    /// Nothing was in it; the file is gone.
    Empty,
    /// Something is in it, but nothing can open it: it is set aside under another name. Why.
    SetAside(String),
}

/// Mends the segment in the file `part`, whose name ends in `.part`.
pub fn recover_segment(
    disk: &dyn Disk,
    part: &Path,
    keys: &dyn KeyProvider,
) -> Result<SegmentOutcome, StoreError> {
    let sealed = match SealedFile::open(disk, part) {
        Ok(sealed) if sealed.seed.is_some() && sealed.block0.audio.is_some() => sealed,
        Err(OpenError::Io(why)) => return Err(StoreError::Io(part.to_owned(), why)),
        // Without a stream header no frame can have been written.
        Ok(sealed) if is_zero_from(disk, part, BLOCK0_BYTES as u64)? => return discard(disk, &sealed.path),
        Err(_) if is_zero_from(disk, part, 0)? => return discard(disk, part),
        Ok(_) => return set_aside(disk, part, OpenError::NoStream),
        Err(why) => return set_aside(disk, part, why),
    };
    let key = keys.unwrap_any(&sealed.block0.keys, sealed.key_context());
    let key = key.map_err(|why| StoreError::Key(part.to_owned(), why))?;
    let file = sealed.unlock_with(&key).map_err(|why| StoreError::Open(part.to_owned(), why))?;
    close(disk, part, &key, file)
}

fn close(
    disk: &dyn Disk,
    part: &Path,
    key: &DataKey,
    file: OpenedFile<'_>,
) -> Result<SegmentOutcome, StoreError> {
    let end = find_end(disk, part, &file)?;
    let mut block0 = file.sealed.block0.clone();
    let (Some(audio), Some(seed)) = (block0.audio, file.sealed.seed) else {
        return Err(StoreError::Open(part.to_owned(), OpenError::NoStream));
    };
    let sealer = FrameSealer::new(key, &seed, &block0.associated_data());
    if planted(Bug::RecoverySealsTornFrame) {
        let mut torn = [0; FRAME_BYTES];
        sealer.seal(end.frames + 1, false, &mut torn);
        disk.write(part, offset_of(end.frames + 1), &torn).at(part)?;
    }
    let mut tag = [0; TAG_BYTES];
    sealer.seal(end.frames + 1, true, &mut tag);
    disk.write(part, offset_of(end.frames + 1), &tag).at(part)?;
    disk.truncate(part, offset_of(end.frames + 1) + TAG_BYTES as u64).at(part)?;
    disk.sync(part).at(part)?;

    if end.seal_frame0 {
        disk.write(part, offset_of(0), &frame0(&sealer, &seed.header(), &audio, end.frames)).at(part)?;
    }
    let samples_max = wav::samples(&audio, end.frames);
    let closed = block0.state == State::Closed
        && block0
            .closing
            .is_some_and(|closing| closing.frames == end.frames && closing.samples <= samples_max);
    if !closed {
        block0.state = State::Recovered;
        block0.closing = Some(Closing { frames: end.frames, samples: samples_max });
        disk.write(part, 0, &block0.encode().map_err(StoreError::Block0)?).at(part)?;
    }
    disk.sync(part).at(part)?;
    move_to(disk, part, &part.with_extension(""))?;
    Ok(SegmentOutcome::Kept { frames: end.frames, closed })
}

/// Where the audio of a segment ends.
struct End {
    frames: u32,
    seal_frame0: bool,
}

fn find_end(disk: &dyn Disk, part: &Path, file: &OpenedFile<'_>) -> Result<End, StoreError> {
    if let Ok(header) = file.frame0().at(part)?
        && let Some(frames) = frames_of(&header)
    {
        return Ok(End { frames, seal_frame0: false });
    }
    let good = good_frames(file).at(part)?;
    // Usually at once, or not at all. Further on only if a frame in between was damaged after the segment was closed.
    for frames in good..=file.sealed.whole_frames() {
        if file.has_final_frame(frames).at(part)? {
            return Ok(End { frames, seal_frame0: true });
        }
    }
    let mut block = [0; FRAME_BYTES];
    disk.read(part, offset_of(0), &mut block).at(part)?;
    let untouched = block[STREAM_HEADER_BYTES..].iter().all(|&byte| byte == 0);
    Ok(End { frames: good, seal_frame0: untouched })
}

/// The number of frames that a WAV header was made for.
fn frames_of(header: &[u8]) -> Option<u32> {
    let info = wav::parse(header).ok()?;
    let audio = AudioParams { format: info.format, rate: info.rate, channels: info.channels, start: 0 };
    let samples = u64::from(info.data_bytes) / wav::block_align(&audio);
    u32::try_from(wav::frames(&audio, samples)).ok()
}

/// How many frames are good from the first on.
fn good_frames(file: &OpenedFile<'_>) -> std::io::Result<u32> {
    let mut good = 0;
    let mut contiguous = true;
    // The tail of a file being written is at most a few blocks; going on to its end costs little and keeps this simple.
    file.each_frame(1, file.sealed.whole_frames() + 1, |_, plain| {
        contiguous &= plain.is_ok();
        good += u32::from(contiguous);
        Ok(())
    })?;
    Ok(good)
}

fn frame0(
    sealer: &FrameSealer,
    header: &[u8; STREAM_HEADER_BYTES],
    audio: &AudioParams,
    frames: u32,
) -> [u8; FRAME_BYTES] {
    let mut block = [0; FRAME_BYTES];
    block[..STREAM_HEADER_BYTES].copy_from_slice(header);
    let frame = &mut block[STREAM_HEADER_BYTES..];
    frame[..FRAME0_PLAIN_BYTES].copy_from_slice(&wav::header(audio, frames));
    sealer.seal(0, false, frame);
    block
}

fn is_zero_from(disk: &dyn Disk, path: &Path, mut offset: u64) -> Result<bool, StoreError> {
    let mut chunk = vec![0; 1 << 16];
    loop {
        match disk.read(path, offset, &mut chunk).at(path)? {
            0 => return Ok(true),
            bytes if chunk[..bytes].iter().any(|&byte| byte != 0) => return Ok(false),
            bytes => offset += bytes as u64,
        }
    }
}

fn discard(disk: &dyn Disk, part: &Path) -> Result<SegmentOutcome, StoreError> {
    disk.remove(part).at(part)?;
    let folder = part.parent().unwrap_or(Path::new("."));
    disk.sync_folder(folder).at(folder)?;
    Ok(SegmentOutcome::Empty)
}

fn set_aside(disk: &dyn Disk, part: &Path, why: OpenError) -> Result<SegmentOutcome, StoreError> {
    move_to(disk, part, &with_suffix(&part.with_extension(""), UNREADABLE))?;
    Ok(SegmentOutcome::SetAside(why.to_string()))
}

fn move_to(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StoreError> {
    disk.rename(from, to).at(to)?;
    let folder = to.parent().unwrap_or(Path::new("."));
    disk.sync_folder(folder).at(folder)
}
