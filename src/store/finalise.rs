//! Sealing of manifests, and the end of a recording: hashes, the last manifest, the move out of `active/`.
//!
//! Each step leaves what the one before it made durable, so that a crash between two of them is mended by doing it all again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::disk::Disk;
use super::names::*;
use super::sealed_file::{OpenError, SealedFile};
use crate::base::{Entropy, RecordingId, SegmentNumber, Wall};
use crate::keys::KeyError;
use crate::recording::Manifest;
use crate::recording::manifest::{RecordingState, SegmentEntry};
use crate::seal::{Block0, Block0Error, DataKey, StreamSeed, WrappedKey, seal_whole};

/// The data key of a recording, and the ways it is wrapped.
pub struct Keyring {
    /// The key.
    pub key: DataKey,
    /// The same, wrapped, for block 0.
    pub wrapped: Vec<WrappedKey>,
}

/// Why a recording could not be stored, finalised or recovered.
#[derive(Debug)]
pub enum StoreError {
    /// The file system says no to this path.
    Io(PathBuf, io::Error),
    /// This file can't be read.
    Open(PathBuf, OpenError),
    /// The data key of this file can't be had: nothing of it was touched.
    Key(PathBuf, KeyError),
    /// The manifest's block 0 does not fit.
    Block0(Block0Error),
    /// This segment is not closed and durable.
    NotDurable(SegmentNumber),
    /// The manifest's start is no RFC 3339 time.
    Started(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::Io(path, why) => write!(f, "{}: {why}", path.display()),
            StoreError::Open(path, why) => write!(f, "{}: {why}", path.display()),
            StoreError::Key(path, why) => write!(f, "{}: {why}", path.display()),
            StoreError::Block0(why) => write!(f, "the manifest: {why}"),
            StoreError::NotDurable(number) => {
                write!(f, "segment {number} is not durable: `tapehead recover` mends it")
            }
            StoreError::Started(text) => write!(f, "the manifest's start, {text:?}, is no RFC 3339 time"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Names the path that an operation failed on.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, StoreError> {
        self.map_err(|why| StoreError::Io(path.to_owned(), why))
    }
}

/// Writes the manifest as it stands beside the segments of a recording that runs. Replaces the one before it, whole or not at all.
pub fn checkpoint(
    disk: &dyn Disk,
    root: &Path,
    manifest: &Manifest,
    keyring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<(), StoreError> {
    let folder = active_folder(root, manifest.recording);
    disk.create_folder(&folder).at(&folder)?;
    write_manifest(disk, &folder, manifest, keyring, entropy)
}

/// A recording that is whole and durable, and only has to move out of `active/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Which.
    pub recording: RecordingId,
    /// Its folder in `active/`.
    pub folder: PathBuf,
    /// Where it belongs, below its day.
    pub complete: PathBuf,
}

impl Sealed {
    /// It was moved before, and only the answer was lost.
    fn is_moved(&self, disk: &dyn Disk) -> bool {
        disk.list(&self.folder).is_err() && disk.list(&self.complete).is_ok()
    }
}

/// Completes a recording whose segments are all closed: hashes them and seals the last manifest. May be repeated after a failure; a
/// [`Mover`] does the rest.
pub fn finalise(
    disk: &dyn Disk,
    root: &Path,
    mut manifest: Manifest,
    keyring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<Sealed, StoreError> {
    let recording = manifest.recording;
    let sealed = Sealed {
        recording,
        folder: active_folder(root, recording),
        complete: complete_folder(root, recording, started(&manifest)?),
    };
    manifest.state = RecordingState::Complete;
    manifest.ledger_until = None;
    match seal_folder(disk, &sealed.folder, &mut manifest, keyring, entropy) {
        Err(why) if !sealed.is_moved(disk) => Err(why),
        _ => Ok(sealed),
    }
}

/// Moves recordings to their days. Many at once cost little more than one: each folder in which names change is synced once.
#[derive(Default, Debug)]
pub struct Mover {
    /// The day that the last one went to, whose name and those above it are durable.
    day: PathBuf,
}

impl Mover {
    /// Moves all of `sealed`, and tells of each what came of it. May be repeated after a failure.
    pub fn move_all(
        &mut self,
        disk: &dyn Disk,
        root: &Path,
        sealed: &[Sealed],
        mut tell: impl FnMut(&Sealed, Result<(), StoreError>),
    ) {
        let mut moved = Vec::with_capacity(sealed.len());
        for one in sealed {
            match self.rename(disk, root, one) {
                Ok(()) => moved.push(one),
                Err(why) => tell(one, Err(why)),
            }
        }
        let parents = |of: fn(&Sealed) -> &PathBuf| moved.iter().filter_map(move |one| of(one).parent());
        let days = parents(|one| &one.complete).collect::<BTreeSet<_>>();
        let active = parents(|one| &one.folder).collect::<BTreeSet<_>>();
        let sync = |folder: &&Path| disk.sync_folder(folder).err().map(|why| (folder.to_path_buf(), why));
        let failed = days.iter().chain(&active).find_map(sync);
        for one in moved {
            // An error can't be copied; the system's number of it can.
            let again = |(folder, why): &(PathBuf, io::Error)| {
                let why = why.raw_os_error().map_or_else(|| why.kind().into(), io::Error::from_raw_os_error);
                StoreError::Io(folder.clone(), why)
            };
            tell(one, failed.as_ref().map_or(Ok(()), |failed| Err(again(failed))));
        }
    }

    /// Moves one.
    pub fn move_one(&mut self, disk: &dyn Disk, root: &Path, sealed: &Sealed) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        self.move_all(disk, root, std::slice::from_ref(sealed), |_, moved| outcome = moved);
        outcome
    }

    fn rename(&mut self, disk: &dyn Disk, root: &Path, one: &Sealed) -> Result<(), StoreError> {
        let day = one.complete.parent().unwrap_or(root);
        if self.day != day {
            disk.create_folder(day).at(day)?;
            // The folders of year, month and day may be new: each is a name in the one above.
            let above = day.ancestors().skip(1).take_while(|above| above.starts_with(root));
            above.into_iter().try_for_each(|above| disk.sync_folder(above).at(above))?;
            day.clone_into(&mut self.day);
        }
        match disk.rename(&one.folder, &one.complete) {
            Ok(()) => Ok(()),
            Err(_) if one.is_moved(disk) => Ok(()),
            Err(why) => {
                // Somebody may have removed the day's folder: it is looked at again next time.
                self.day.clear();
                Err(why).at(&one.complete)
            }
        }
    }
}

/// Hashes the segments and writes the manifest that says so.
pub(super) fn seal_folder(
    disk: &dyn Disk,
    folder: &Path,
    manifest: &mut Manifest,
    keyring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<(), StoreError> {
    for entry in &mut manifest.segments {
        hash(disk, folder, entry)?;
    }
    write_manifest(disk, folder, manifest, keyring, entropy)
}

fn hash(disk: &dyn Disk, folder: &Path, entry: &mut SegmentEntry) -> Result<(), StoreError> {
    if entry.file != segment_file(entry.number) {
        return Err(StoreError::NotDurable(entry.number));
    }
    let path = folder.join(&entry.file);
    let sealed = SealedFile::open(disk, &path).map_err(|why| StoreError::Open(path.clone(), why))?;
    let mut hasher = Hasher::new();
    sealed.each_chunk(|bytes| hasher.add(bytes)).at(&path)?;
    entry.bytes = sealed.size;
    entry.sha256 = hasher.finish();
    Ok(())
}

/// SHA-256 of a file from byte 4,096 on, as manifests hold it.
pub(super) struct Hasher(digest::Context);

impl Hasher {
    pub(super) fn new() -> Hasher {
        Hasher(digest::Context::new(&digest::SHA256))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Seals the manifest into a file beside the old one, which it then replaces.
fn write_manifest(
    disk: &dyn Disk,
    folder: &Path,
    manifest: &Manifest,
    keyring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<(), StoreError> {
    let json = manifest.to_json();
    let block0 =
        Block0::manifest(manifest.recording, &manifest.tenant, started(manifest)?, keyring.wrapped.clone());
    // JSON may be followed by spaces, so that a manifest is a whole number of frames like everything else. Each writing has its own salt.
    let seed = StreamSeed::new(entropy);
    let sealed = seal_whole(block0, &keyring.key, &seed, &json, b' ', json.len() as u64);
    let sealed = sealed.map_err(StoreError::Block0)?;
    let path = folder.join(MANIFEST);
    let beside = with_suffix(&path, NEW);
    disk.put(&beside, &sealed).at(&beside)?;
    disk.rename(&beside, &path).at(&path)?;
    disk.sync_folder(folder).at(folder)
}

/// The start of a recording as an instant.
pub(super) fn started(manifest: &Manifest) -> Result<Wall, StoreError> {
    Wall::from_rfc3339(&manifest.started).ok_or_else(|| StoreError::Started(manifest.started.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Fixture;
    use crate::store::{read_manifest, verify};

    #[test]
    fn a_finalised_recording_lies_under_its_day_and_verifies() {
        let fixture = Fixture::new();
        fixture.segment(1, 0, 5000);
        fixture.segment(2, 5000, 3000);
        let folder = fixture.finalise(&[(1, 0, 5000), (2, 5000, 3000)]).unwrap();
        assert!(folder.ends_with(format!("2026/11/21/{}", fixture.recording)), "{folder:?}");
        let manifest = read_manifest(&fixture.disk, &folder.join(MANIFEST), &fixture.keys).unwrap();
        assert_eq!(manifest.state, RecordingState::Complete);
        assert_eq!(manifest.segments[0].sha256.len(), 64);
        let report = verify(&fixture.disk, &[folder], Some(&fixture.keys), &|_| {});
        assert_eq!(report.findings, vec![]);
    }

    #[test]
    fn finalising_can_fail_at_any_step_and_be_done_again() {
        for step in 0.. {
            let fixture = Fixture::new();
            fixture.segment(1, 0, 5000);
            fixture.disk.fail_at(step);
            if fixture.finalise(&[(1, 0, 5000)]).is_ok() {
                assert!(step > 8, "there are steps to fail");
                break;
            }
            fixture.disk.heal();
            let folder = fixture.finalise(&[(1, 0, 5000)]).unwrap();
            let report = verify(&fixture.disk, &[folder], Some(&fixture.keys), &|_| {});
            assert_eq!(report.findings, vec![], "failed at step {step}");
        }
    }

    #[test]
    fn a_segment_that_is_not_durable_is_left_to_recovery() {
        let fixture = Fixture::new();
        let path = fixture.segment(1, 0, 5000);
        fixture.disk.rename(&path, &with_suffix(&path, PART)).unwrap();
        let mut manifest = fixture.manifest(&[(1, 0, 5000)]);
        manifest.segments[0].file += PART;
        let done =
            finalise(&fixture.disk, &fixture.root, manifest, &fixture.keyring(), &mut fixture.entropy());
        assert!(matches!(done, Err(StoreError::NotDurable(1))));
    }
}
