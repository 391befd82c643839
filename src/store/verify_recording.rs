//! Verification of one recording: each file alone, then the files against the manifest.

use std::collections::BTreeMap;
use std::path::Path;

use super::disk::Disk;
use super::finalise::sha256;
use super::names::*;
use super::sealed_file::{OpenError, OpenedFile, SealedFile, read_manifest};
use super::verify::{Problem, Report};
use crate::base::SegmentNumber;
use crate::keys::KeyProvider;
use crate::limits::*;
use crate::media::Cause;
use crate::recording::manifest::{RecordingState, SegmentEntry};
use crate::recording::{Manifest, wav};
use crate::seal::{Block0, Kind, State};

/// What every step is given.
#[derive(Clone, Copy)]
struct With<'a> {
    disk: &'a dyn Disk,
    keys: Option<&'a dyn KeyProvider>,
    progress: &'a (dyn Fn(u64) + Sync),
}

/// A file that was looked at.
struct Seen {
    block0: Block0,
    size: u64,
    /// SHA-256 from byte 4,096 on; only if the key is there to hold it against the manifest.
    sha256: Option<String>,
}

/// Verifies one sealed file.
pub(super) fn verify_file(
    disk: &dyn Disk,
    path: &Path,
    keys: Option<&dyn KeyProvider>,
    progress: &(dyn Fn(u64) + Sync),
    report: &mut Report,
) {
    let with = With { disk, keys, progress };
    if look_at(with, path, report).is_some_and(|seen| seen.block0.kind == Kind::Manifest)
        && let Some(keys) = keys
    {
        let _ = manifest_at(with, path, keys, report);
    }
}

/// Verifies the folder of one recording.
pub(super) fn verify_folder(
    disk: &dyn Disk,
    folder: &Path,
    keys: Option<&dyn KeyProvider>,
    progress: &(dyn Fn(u64) + Sync),
    report: &mut Report,
) {
    let with = With { disk, keys, progress };
    let entries = match disk.list(folder) {
        Ok(entries) => entries,
        Err(why) => return report.find(folder, Problem::Unreadable(why.to_string())),
    };
    let mut segments = BTreeMap::new();
    let mut manifest = None;
    for entry in entries.iter().filter(|entry| !entry.folder) {
        let path = folder.join(&entry.name);
        if entry.name == MANIFEST {
            manifest = look_at(with, &path, report);
        } else if let Some(number) = segment_number(&entry.name) {
            segments.insert(number, look_at(with, &path, report));
        }
    }
    let path = folder.join(MANIFEST);
    match (manifest, keys) {
        (None, _) if !entries.iter().any(|entry| entry.name == MANIFEST) => {
            report.find(folder, Problem::ManifestMissing);
        }
        (Some(seen), Some(keys)) => {
            if let Some(manifest) = manifest_at(with, &path, keys, report) {
                if manifest.recording != seen.block0.recording {
                    report.find(&path, Problem::Misplaced("it tells of another recording".to_owned()));
                }
                compare(folder, &manifest, &segments, report);
            }
        }
        _ => without_manifest(folder, &segments, report),
    }
}

/// Without the manifest a missing segment shows only where a later one is there.
fn without_manifest(folder: &Path, segments: &BTreeMap<SegmentNumber, Option<Seen>>, report: &mut Report) {
    let last = segments.keys().next_back().copied().unwrap_or(0);
    let missing = (1..=last).filter(|number| !segments.contains_key(number));
    missing
        .take(SEGMENTS_MAX as usize)
        .for_each(|number| report.find(folder, Problem::SegmentMissing(number)));
}

/// Looks at one file: from outside, and with the key at every frame.
fn look_at(with: With<'_>, path: &Path, report: &mut Report) -> Option<Seen> {
    report.files += 1;
    let sealed = match SealedFile::open(with.disk, path) {
        Ok(sealed) => sealed,
        Err(why) => {
            report.find(path, problem_of(why));
            return None;
        }
    };
    report.bytes += sealed.size;
    from_outside(&sealed, path, report);
    let (block0, size) = (sealed.block0.clone(), sealed.size);
    let mut sha256 = None;
    match with.keys.map(|keys| sealed.unlock(keys)) {
        None => (with.progress)(size),
        Some(Err(why)) => report.find(path, problem_of(why)),
        Some(Ok(file)) => match every_frame(with, &file, path, report) {
            Ok(hash) => sha256 = Some(hash),
            Err(why) => report.find(path, Problem::Unreadable(why.to_string())),
        },
    }
    Some(Seen { block0, size, sha256 })
}

fn problem_of(why: OpenError) -> Problem {
    match why {
        OpenError::Io(why) if why.kind() == std::io::ErrorKind::NotFound => Problem::Nothing,
        OpenError::Io(why) => Problem::Unreadable(why.to_string()),
        OpenError::Block0(why) => Problem::Block0(why),
        OpenError::NoStream => Problem::NoStream,
        OpenError::Key(why) => Problem::Key(why),
        OpenError::Damaged(frame) => Problem::Frames { first: frame, last: frame },
        other => Problem::Manifest(other.to_string()),
    }
}

/// What can be seen without a key.
fn from_outside(sealed: &SealedFile<'_>, path: &Path, report: &mut Report) {
    let block0 = &sealed.block0;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = if name == MANIFEST { Some(0) } else { segment_number(&name) };
    if number.is_some_and(|number| number != block0.segment) {
        report.find(path, Problem::Misplaced(format!("block 0 says segment {}", block0.segment)));
    }
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    // Only a folder named like a recording says whose files belong in it.
    if folder.parse::<crate::base::RecordingId>().is_ok_and(|recording| recording != block0.recording) {
        report.find(path, Problem::Misplaced(format!("block 0 says recording {}", block0.recording)));
    }
    if sealed.seed.is_none() {
        report.find(path, Problem::NoStream);
    }
    let Some(closing) = block0.closing.filter(|_| block0.state != State::Open) else {
        return report.find(path, Problem::NotClosed);
    };
    let expected = AUDIO_OFFSET + u64::from(closing.frames) * FRAME_BYTES as u64 + TAG_BYTES as u64;
    if sealed.size != expected {
        report.find(path, Problem::Size { expected, actual: sealed.size });
    }
    if block0.audio.is_some_and(|audio| closing.samples > wav::samples(&audio, closing.frames)) {
        report.find(path, Problem::Samples);
    }
}

/// Checks every tag, the end and the WAV header, and gives the hash of what was read.
fn every_frame(
    with: With<'_>,
    file: &OpenedFile<'_>,
    path: &Path,
    report: &mut Report,
) -> std::io::Result<String> {
    let closed = file.sealed.block0.state != State::Open;
    // A block 0 that lies about the length must not make us count frames that can't be there.
    let frames = file.sealed.frames().min(file.sealed.whole_frames().saturating_add(1));
    let mut damaged = Runs::default();
    let mut header_fits = true;
    file.each_frame(0, frames + 1, |counter, plain| {
        (with.progress)(FRAME_BYTES as u64);
        report.frames += 1;
        match plain {
            Ok(plain) if counter == 0 => header_fits = header_is_right(&file.sealed.block0, plain),
            Ok(_) => {}
            Err(_) => damaged.add(counter),
        }
        Ok(())
    })?;
    // An open file has no frame 0 yet and may end in a torn frame: that it is open has been said.
    if closed {
        damaged.0.iter().for_each(|&(first, last)| report.find(path, Problem::Frames { first, last }));
        report.frames += 1;
        if !file.has_final_frame(file.sealed.frames())? {
            report.find(path, Problem::NoFinalFrame { frame: file.sealed.frames() + 1 });
        }
        if !header_fits {
            report.find(path, Problem::WavHeader);
        }
    }
    file.sha256()
}

fn header_is_right(block0: &Block0, plain: &[u8]) -> bool {
    match (&block0.audio, &block0.closing) {
        (Some(audio), Some(closing)) => plain == wav::header(audio, closing.frames),
        _ => true,
    }
}

/// Neighbouring frames as one.
#[derive(Default)]
struct Runs(Vec<(u32, u32)>);

impl Runs {
    fn add(&mut self, frame: u32) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == frame => *last = frame,
            _ => self.0.push((frame, frame)),
        }
    }
}

impl OpenedFile<'_> {
    fn sha256(&self) -> std::io::Result<String> {
        Ok(sha256(self.sealed.disk, &self.sealed.path)?.1)
    }
}

/// Opens the manifest and checks it for itself.
fn manifest_at(with: With<'_>, path: &Path, keys: &dyn KeyProvider, report: &mut Report) -> Option<Manifest> {
    let manifest = match read_manifest(with.disk, path, keys) {
        Ok(manifest) => manifest,
        // Damaged frames and missing keys have been found by now.
        Err(OpenError::Damaged(_) | OpenError::Key(_)) => return None,
        Err(why) => {
            report.find(path, problem_of(why));
            return None;
        }
    };
    if manifest.state == RecordingState::Open {
        report.find(path, Problem::ManifestOpen);
    }
    let tracks = manifest.tracks.len();
    for (index, interval) in manifest.intervals.iter().enumerate() {
        // What a crash took from the end lies behind the audio that was kept.
        let end = if interval.cause == Cause::Crash { u64::MAX } else { manifest.samples };
        let open = manifest.state == RecordingState::Open;
        let outside = interval.start > interval.end || (interval.end > end && !open);
        if outside || (tracks > 0 && usize::from(interval.track) >= tracks) {
            report.find(path, Problem::Interval(index));
        }
    }
    for track in manifest.tracks.iter().filter(|track| !track.counters.adds_up()) {
        report.find(path, Problem::Counters(track.channel));
    }
    Some(manifest)
}

/// Holds the segments against the manifest.
fn compare(
    folder: &Path,
    manifest: &Manifest,
    segments: &BTreeMap<SegmentNumber, Option<Seen>>,
    report: &mut Report,
) {
    for entry in &manifest.segments {
        match segments.get(&entry.number) {
            None => report.find(folder, Problem::SegmentMissing(entry.number)),
            Some(None) => {}
            Some(Some(seen)) => compare_segment(&folder.join(&entry.file), manifest, entry, seen, report),
        }
    }
    // While a call runs, its manifest is behind its segments.
    if manifest.state != RecordingState::Open {
        let known = |number: &&SegmentNumber| manifest.segments.iter().any(|entry| entry.number == **number);
        let unknown = segments.keys().filter(|number| !known(number));
        unknown.for_each(|&number| report.find(folder, Problem::SegmentUnknown(number)));
    }
}

fn compare_segment(path: &Path, manifest: &Manifest, entry: &SegmentEntry, seen: &Seen, report: &mut Report) {
    let mut differs = |is: bool, what| {
        if is {
            report.find(path, Problem::Differs(entry.number, what));
        }
    };
    let Seen { block0, size, sha256 } = seen;
    differs(block0.recording != manifest.recording, "recording");
    differs(block0.tenant != manifest.tenant, "tenant");
    differs(block0.audio.map(|audio| audio.format) != Some(entry.format), "format");
    differs(block0.audio.map(|audio| audio.start) != Some(entry.start), "start");
    if let Some(closing) = &block0.closing {
        differs(closing.samples != entry.samples, "samples");
        differs(closing.frames != entry.frames, "frames");
        differs((block0.state == State::Recovered) != entry.recovered, "recovered");
    }
    if entry.sha256.is_empty() {
        return;
    }
    differs(*size != entry.bytes, "size");
    if sha256.as_ref().is_some_and(|hash| *hash != entry.sha256) {
        report.find(path, Problem::Sha256(entry.number));
    }
}
