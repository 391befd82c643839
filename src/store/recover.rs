//! Mending of recordings that a crash left in `active/`: their segments, then their manifest, then their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::Disk;
use super::finalise::*;
use super::names::*;
use super::recover_segment::{SegmentOutcome, recover_segment};
use super::sealed_file::{OpenError, SealedFile, read_manifest};
use crate::base::{Entropy, RecordingId, SegmentNumber, Wall};
use crate::keys::KeyProvider;
use crate::limits::{LOSS_AT_CRASH_MAX, SILENCE_FRAMES};
use crate::media::{Cause, Interval};
use crate::recording::manifest::{RecordingState, Recovery, SegmentEntry};
use crate::recording::{Manifest, wav};
use crate::seal::{AudioParams, Block0, State};

/// What became of a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredRecording {
    /// Where it is now; `None` if nothing was in it and it is gone.
    pub folder: Option<PathBuf>,
    /// Segments that were open and are closed now.
    pub mended: u32,
    /// Samples per track that were kept, from the start of the recording.
    pub samples: u64,
    /// At most so many milliseconds of audio per track are lost at the end.
    pub lost_ms_max: u64,
    /// What else is worth telling.
    pub notes: Vec<String>,
}

/// A recording below `active/`, and what became of it.
#[derive(Debug)]
pub struct Found {
    /// The recording.
    pub recording: RecordingId,
    /// What became of it. One that fails is left for the next time.
    pub outcome: Result<RecoveredRecording, StoreError>,
}

/// Mends every recording below `root/active`. The caller holds the [`super::ActiveLock`]. One that fails does not stop the others.
pub fn recover(
    disk: &dyn Disk,
    root: &Path,
    keys: &dyn KeyProvider,
    entropy: &mut dyn Entropy,
    now: Wall,
) -> Result<Vec<Found>, StoreError> {
    let active = root.join(ACTIVE);
    let entries = match disk.list(&active) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at(&active)?,
    };
    let recordings = entries.iter().filter(|entry| entry.folder).filter_map(|entry| entry.name.parse().ok());
    let recover = |recording: RecordingId| {
        let folder = active_folder(root, recording);
        Found { recording, outcome: recover_recording(disk, Some(root), &folder, keys, entropy, now) }
    };
    Ok(recordings.map(recover).collect())
}

/// Mends the recording in `folder`, and moves it to its day below `root` if that is given. Idempotent, and safe to be killed at any step.
pub fn recover_recording(
    disk: &dyn Disk,
    root: Option<&Path>,
    folder: &Path,
    keys: &dyn KeyProvider,
    entropy: &mut dyn Entropy,
    now: Wall,
) -> Result<RecoveredRecording, StoreError> {
    let mut outcome =
        RecoveredRecording { folder: None, mended: 0, samples: 0, lost_ms_max: 0, notes: Vec::new() };
    mend_files(disk, folder, keys, &mut outcome)?;
    let blocks = closed_segments(disk, folder, &mut outcome)?;
    let found = checkpoint_of(disk, folder, keys, &mut outcome)?;
    let Some(like) = blocks.values().next().cloned().or(found.as_ref().map(|(block0, _)| block0.clone()))
    else {
        return give_up(disk, folder, outcome);
    };
    let sealed = found.as_ref().is_some_and(|(_, manifest)| is_final(manifest, &blocks));
    let mut manifest = found.map_or_else(|| rebuilt(&like, &mut outcome), |(_, manifest)| manifest);
    if !sealed {
        mend_manifest(&mut manifest, &blocks, now);
        let context = crate::keys::KeyContext { recording: like.recording, tenant: &like.tenant };
        let key =
            keys.unwrap_any(&like.keys, context).map_err(|why| StoreError::Key(folder.to_owned(), why))?;
        let keyring = Keyring { key, wrapped: like.keys.clone() };
        manifest.notes.extend(outcome.notes.iter().cloned());
        seal_folder(disk, folder, &mut manifest, &keyring, entropy)?;
    }
    outcome.samples = manifest.samples;
    outcome.lost_ms_max = manifest.recovery.as_ref().map_or(0, |recovery| recovery.lost_ms_max);
    let place = match root {
        Some(root) => complete_folder(root, manifest.recording, started(&manifest)?),
        None => folder.to_owned(),
    };
    if let Some(root) = root {
        // A run that died may have left the manifest's name in the folder unsynced.
        disk.sync_folder(folder).at(folder)?;
        let sealed = Sealed::written(manifest.recording, folder.to_owned(), place.clone());
        Writer::default().write_one(disk, root, &sealed)?;
    }
    outcome.folder = Some(place);
    Ok(outcome)
}

/// Closes what is open and clears away manifests that were never finished.
fn mend_files(
    disk: &dyn Disk,
    folder: &Path,
    keys: &dyn KeyProvider,
    outcome: &mut RecoveredRecording,
) -> Result<(), StoreError> {
    for entry in disk.list(folder).at(folder)? {
        let path = folder.join(&entry.name);
        if entry.name.ends_with(NEW) {
            disk.remove(&path).at(&path)?;
        } else if entry.name.ends_with(PART) && segment_number(&entry.name).is_some() {
            match recover_segment(disk, &path, keys)? {
                SegmentOutcome::Kept { .. } => outcome.mended += 1,
                SegmentOutcome::Empty => outcome.notes.push(format!("{} was empty", entry.name)),
                SegmentOutcome::SetAside(why) => {
                    outcome.notes.push(format!("{} can't be opened and is set aside: {why}", entry.name));
                }
            }
        }
    }
    Ok(())
}

/// Block 0 of each segment, by number. One that can't be read is left where it is: `verify` will name it, and the rest is not held up by it.
fn closed_segments(
    disk: &dyn Disk,
    folder: &Path,
    outcome: &mut RecoveredRecording,
) -> Result<BTreeMap<SegmentNumber, Block0>, StoreError> {
    let mut blocks = BTreeMap::new();
    for entry in disk.list(folder).at(folder)? {
        if !entry.name.ends_with(PART)
            && let Some(number) = segment_number(&entry.name)
        {
            let path = folder.join(&entry.name);
            match SealedFile::open(disk, &path) {
                Ok(sealed) => drop(blocks.insert(number, sealed.block0)),
                Err(OpenError::Io(why)) => return Err(StoreError::Io(path, why)),
                Err(why) => outcome.notes.push(format!("{} can't be read: {why}", entry.name)),
            }
        }
    }
    Ok(blocks)
}

/// The manifest so far, if one can be read.
fn checkpoint_of(
    disk: &dyn Disk,
    folder: &Path,
    keys: &dyn KeyProvider,
    outcome: &mut RecoveredRecording,
) -> Result<Option<(Block0, Manifest)>, StoreError> {
    let path = folder.join(MANIFEST);
    let block0 = SealedFile::open(disk, &path).map(|sealed| sealed.block0);
    match block0.and_then(|block0| Ok((block0, read_manifest(disk, &path, keys)?))) {
        Ok(found) => Ok(Some(found)),
        Err(OpenError::Io(why)) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(OpenError::Io(why)) => Err(StoreError::Io(path, why)),
        Err(OpenError::Key(why)) => Err(StoreError::Key(path, why)),
        Err(why) => {
            outcome.notes.push(format!("the manifest so far can't be read and was rebuilt: {why}"));
            Ok(None)
        }
    }
}

/// Nothing can be opened: an empty folder goes, anything else stays as it is.
fn give_up(
    disk: &dyn Disk,
    folder: &Path,
    mut outcome: RecoveredRecording,
) -> Result<RecoveredRecording, StoreError> {
    if disk.list(folder).at(folder)?.is_empty() {
        disk.remove_folder(folder).at(folder)?;
        let above = folder.parent().unwrap_or(Path::new("."));
        disk.sync_folder(above).at(above)?;
    } else {
        outcome.folder = Some(folder.to_owned());
        outcome.notes.push("nothing in this folder can be opened; it was left as it is".to_owned());
    }
    Ok(outcome)
}

/// Whether the manifest is the last one and knows every segment: then only the move was missing.
fn is_final(manifest: &Manifest, blocks: &BTreeMap<SegmentNumber, Block0>) -> bool {
    manifest.state != RecordingState::Open
        && manifest.segments.len() == blocks.len()
        && manifest
            .segments
            .iter()
            .all(|entry| !entry.sha256.is_empty() && blocks.contains_key(&entry.number))
}

/// A manifest for segments that have none.
fn rebuilt(like: &Block0, outcome: &mut RecoveredRecording) -> Manifest {
    outcome.notes.push("no manifest was found: who took part is not known".to_owned());
    let mut manifest = Manifest::new(like.recording, &like.tenant, Wall(0));
    manifest.started = like.started.clone();
    manifest.ledger_until = Some(0);
    manifest
}

/// Writes down what the segments hold, and what is lost.
fn mend_manifest(manifest: &mut Manifest, blocks: &BTreeMap<SegmentNumber, Block0>, now: Wall) {
    manifest.segments = blocks.iter().filter_map(|(&number, block0)| entry(number, block0)).collect();
    let end =
        manifest.segments.iter().map(|entry| entry.start.saturating_add(entry.samples)).max().unwrap_or(0);
    let cut = manifest.segments.iter().any(|entry| entry.recovered);
    let lost = if cut || manifest.ended.is_none() { LOSS_AT_CRASH_MAX } else { Duration::ZERO };
    // What the checkpoint knew beyond the audio that was kept is covered by the crash.
    manifest.intervals.retain(|interval| interval.start < end && interval.cause != Cause::Crash);
    manifest.intervals.iter_mut().for_each(|interval| interval.end = interval.end.min(end));
    let last = blocks.values().next_back().filter(|block0| block0.state == State::Recovered);
    let owed = last.and_then(|block0| block0.audio).map_or(0, |audio| owed_max(&audio));
    let channels = blocks.values().filter_map(|block0| block0.audio).map(|audio| audio.channels).max();
    let tracks = (manifest.tracks.len() as u8).max(channels.unwrap_or(0) as u8);
    let tail = lost.as_millis() as u64 * u64::from(manifest.rate) / 1000 + owed;
    for (start, end) in crash_gaps(&manifest.segments, end, tail) {
        let crash = |track| Interval { track, start, end, cause: Cause::Crash, packets: 0, merged: false };
        manifest.intervals.extend((0..tracks).map(crash));
    }
    manifest.state = RecordingState::Recovered;
    manifest.samples = end;
    let length = Duration::from_millis(end.saturating_mul(1000) / u64::from(manifest.rate.max(1)));
    let ended = Wall::from_rfc3339(&manifest.started).map(|started| (started + length).to_rfc3339());
    manifest.ended = manifest.ended.take().or(ended);
    manifest.end_cause.get_or_insert_with(|| "crash".to_owned());
    manifest.recovery = Some(Recovery { at: now.to_rfc3339(), lost_ms_max: lost.as_millis() as u64 });
}

fn entry(number: SegmentNumber, block0: &Block0) -> Option<SegmentEntry> {
    let (audio, closing) = (block0.audio?, block0.closing?);
    Some(SegmentEntry {
        number,
        file: segment_file(number),
        format: audio.format,
        start: audio.start,
        samples: closing.samples,
        frames: closing.frames,
        bytes: 0,
        sha256: String::new(),
        recovered: block0.state == State::Recovered,
    })
}

/// Samples of silence that the shard may have owed a segment beside the audio that was lost: as many frames, and the one that was being filled.
pub(crate) fn owed_max(audio: &AudioParams) -> u64 {
    wav::samples(audio, SILENCE_FRAMES + 1)
}

/// What the crash took: between a mended segment and the next, and at the end up to `tail` samples.
fn crash_gaps(segments: &[SegmentEntry], end: u64, tail: u64) -> Vec<(u64, u64)> {
    let between = segments.windows(2).filter(|pair| pair[0].recovered).filter_map(|pair| {
        let (kept, next) = (pair[0].start.saturating_add(pair[0].samples), pair[1].start);
        (kept < next).then_some((kept, next))
    });
    between.chain((tail > 0).then_some((end, end.saturating_add(tail)))).collect()
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
