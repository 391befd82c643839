//! Verification: what is asked for, what can be found wrong, and the work shared out over threads.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::disk::Disk;
use super::names::*;
use super::verify_recording::{verify_file, verify_folder};
use crate::base::SegmentNumber;
use crate::keys::{KeyError, KeyProvider};
use crate::limits::FOLDER_DEPTH_MAX;
use crate::seal::Block0Error;

/// Something wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file, or the folder of a recording.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// It can't be read.
    Unreadable(String),
    /// There is nothing of ours at this path.
    Nothing,
    /// The first 4,096 bytes are no block 0.
    Block0(Block0Error),
    /// It does not lie where its block 0 says it belongs.
    Misplaced(String),
    /// It is still being written, or a crash left it.
    NotClosed,
    /// Its size is not that of the frames its block 0 tells of: in bytes.
    Size {
        /// By block 0.
        expected: u64,
        /// The file's.
        actual: u64,
    },
    /// No stream header stands behind block 0.
    NoStream,
    /// The data key can't be had, so no frame was looked at.
    Key(KeyError),
    /// The tags of these frames do not fit: they were changed, moved, or belong to another file.
    Frames {
        /// The first.
        first: u32,
        /// The last.
        last: u32,
    },
    /// The final frame does not stand at the end: the file was cut or lengthened.
    NoFinalFrame {
        /// The frame it should be.
        frame: u32,
    },
    /// Frame 0 holds another header than the audio calls for.
    WavHeader,
    /// Block 0 tells of more samples than the frames hold.
    Samples,
    /// The recording has no manifest.
    ManifestMissing,
    /// The manifest's text is none.
    Manifest(String),
    /// The manifest is that of a recording still running, or left by a crash.
    ManifestOpen,
    /// The manifest tells of this segment, and there is none.
    SegmentMissing(SegmentNumber),
    /// The manifest does not tell of this segment.
    SegmentUnknown(SegmentNumber),
    /// The SHA-256 of this segment is not the manifest's: the file was replaced or changed.
    Sha256(SegmentNumber),
    /// The manifest and block 0 of this segment differ in this member.
    Differs(SegmentNumber, &'static str),
    /// This interval of the manifest (from 0) lies outside the recording, or on no track.
    Interval(usize),
    /// The packet counters of this channel do not add up.
    Counters(u16),
}

impl Problem {
    /// The first frame concerned, if it is about frames.
    pub fn frame(&self) -> Option<u32> {
        match self {
            Problem::Frames { first, .. } => Some(*first),
            Problem::NoFinalFrame { frame } => Some(*frame),
            Problem::WavHeader => Some(0),
            _ => None,
        }
    }
}

impl Problem {
    /// What a call that is still running looks like, and no problem while a recorder is at work in that folder.
    pub fn is_unfinished(&self) -> bool {
        // A file that was there a moment ago has been renamed or moved by now.
        matches!(
            self,
            Problem::NotClosed | Problem::ManifestOpen | Problem::ManifestMissing | Problem::Nothing
        )
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::Unreadable(why) => write!(f, "can't be read: {why}"),
            Problem::Nothing => f.write_str("holds no recording of Tapehead"),
            Problem::Block0(why) => write!(f, "{why}"),
            Problem::Misplaced(what) => write!(f, "does not belong here: {what}"),
            Problem::NotClosed => {
                f.write_str("is not closed: being written, or left by a crash (`tapehead recover`)")
            }
            Problem::Size { expected, actual } => {
                write!(f, "has {actual} bytes where block 0 says {expected}")
            }
            Problem::NoStream => f.write_str("has no stream header behind block 0"),
            Problem::Key(why) => write!(f, "{why}"),
            Problem::Frames { first, last } if first == last => write!(f, "frame {first} is damaged"),
            Problem::Frames { first, last } => write!(f, "frames {first} to {last} are damaged"),
            Problem::NoFinalFrame { frame } => {
                write!(f, "the final frame, {frame}, is missing or damaged: cut or lengthened")
            }
            Problem::WavHeader => f.write_str("frame 0 does not hold the header of this audio"),
            Problem::Samples => f.write_str("block 0 tells of more samples than its frames hold"),
            Problem::ManifestMissing => f.write_str("the manifest is missing"),
            Problem::Manifest(why) => write!(f, "{why}"),
            Problem::ManifestOpen => f.write_str("the manifest is that of a call not yet complete"),
            Problem::SegmentMissing(number) => write!(f, "segment {number} of the manifest is missing"),
            Problem::SegmentUnknown(number) => write!(f, "the manifest does not know segment {number}"),
            Problem::Sha256(number) => {
                write!(f, "segment {number} is not the one the manifest was made for (SHA-256)")
            }
            Problem::Differs(number, what) => {
                write!(f, "the manifest and block 0 of segment {number} differ in {what}")
            }
            Problem::Interval(index) => {
                write!(f, "interval {index} of the manifest lies outside the recording")
            }
            Problem::Counters(channel) => write!(f, "the packet counters of channel {channel} do not add up"),
        }
    }
}

/// What was verified.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Folders of recordings.
    pub recordings: u64,
    /// Sealed files.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Frames whose tag was checked, the final ones included.
    pub frames: u64,
    /// Everything wrong, by path.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn find(&mut self, path: &Path, problem: Problem) {
        self.findings.push(Finding { path: path.to_owned(), problem });
    }

    fn add(&mut self, other: Report) {
        self.recordings += other.recordings;
        self.files += other.files;
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.findings.extend(other.findings);
    }
}

/// The recordings at and below `path`: folders that hold sealed files, or the file itself.
pub fn find_recordings(disk: &dyn Disk, path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(disk, path, FOLDER_DEPTH_MAX, &mut found);
    found
}

fn walk(disk: &dyn Disk, path: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = disk.list(path) else {
        // Not a folder, so it is a file or nothing; the verification will say.
        found.push(path.to_owned());
        return;
    };
    if entries.iter().any(|entry| !entry.folder && is_ours(&entry.name)) {
        found.push(path.to_owned());
    }
    if depth > 0 {
        let folders = entries.iter().filter(|entry| entry.folder);
        folders.for_each(|entry| walk(disk, &path.join(&entry.name), depth - 1, found));
    }
}

fn is_ours(name: &str) -> bool {
    name == MANIFEST || segment_number(name).is_some()
}

/// Verifies every recording at and below `paths`: with `keys` everything, without them what can be seen from outside. `progress` is told
/// of bytes read, from several threads.
pub fn verify(
    disk: &dyn Disk,
    paths: &[PathBuf],
    keys: Option<&dyn KeyProvider>,
    progress: &(dyn Fn(u64) + Sync),
) -> Report {
    let mut report = Report::default();
    let mut items: Vec<PathBuf> = Vec::new();
    for path in paths {
        match find_recordings(disk, path) {
            found if found.is_empty() => report.find(path, Problem::Nothing),
            found => items.extend(found),
        }
    }
    items.sort();
    items.dedup();
    let (next, total) = (AtomicUsize::new(0), Mutex::new(report));
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let one = verify_one(disk, item, keys, progress);
            total.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(one);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let mut report = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    report.findings.sort_by(|a, b| a.path.cmp(&b.path));
    report
}

fn verify_one(
    disk: &dyn Disk,
    item: &Path,
    keys: Option<&dyn KeyProvider>,
    progress: &(dyn Fn(u64) + Sync),
) -> Report {
    let mut report = Report::default();
    if disk.list(item).is_ok() {
        report.recordings += 1;
        verify_folder(disk, item, keys, progress, &mut report);
    } else {
        verify_file(disk, item, keys, progress, &mut report);
    }
    report
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
