//! Sealing of manifests, and the end of a recording: hashes, the last manifest, the move out of `active/`.
//!
//! ```text
//!   hash, seal ─▶ written beside the old one ▸ durable ▸ renamed over it ▸ folder durable ─▶ moved to its day ▸ both folders durable
//!                 '---------- Writer: of many recordings together, each step for all of them before the next ---------------'
//! ```
//! Each step leaves what the one before it made durable, so that a crash between two of them is mended by doing it all again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::disk::Disk;
use super::names::*;
use super::sealed_file::OpenError;
use crate::base::{Entropy, RecordingId, SegmentNumber, Wall};
use crate::keys::KeyError;
use crate::limits::{BLOCK0_BYTES, FRAME_BYTES};
use crate::recording::Manifest;
use crate::recording::manifest::RecordingState;
use crate::seal::{Block0, Block0Error, DataKey, StreamSeed, WrappedKey, seal_whole};

/// Bytes of a segment that are read for its hash at once.
const HASHED_AT_ONCE: usize = 64 * FRAME_BYTES;

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

/// A recording's manifest, sealed and not yet written, and where its folder belongs. A [`Writer`] does the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Which.
    pub recording: RecordingId,
    /// Its folder in `active/`.
    pub folder: PathBuf,
    /// Where it belongs, below its day, if it is complete.
    pub complete: Option<PathBuf>,
    /// The file, if it is not there already.
    manifest: Option<Vec<u8>>,
}

impl Sealed {
    /// One whose manifest is written.
    pub(super) fn written(recording: RecordingId, folder: PathBuf, complete: PathBuf) -> Sealed {
        Sealed { recording, folder, complete: Some(complete), manifest: None }
    }

    /// Where the recording is once all is done.
    pub fn place(&self) -> &Path {
        self.complete.as_ref().unwrap_or(&self.folder)
    }

    /// Bytes that are to be written.
    pub fn bytes(&self) -> usize {
        self.manifest.as_ref().map_or(0, Vec::len)
    }

    /// It was moved before, and only the answer was lost.
    fn is_moved(&self, disk: &dyn Disk) -> bool {
        disk.list(&self.folder).is_err()
            && self.complete.as_ref().is_some_and(|complete| disk.list(complete).is_ok())
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }
}

/// Seals the manifest as it stands of a recording that runs.
pub fn checkpoint(
    root: &Path,
    manifest: &Manifest,
    keyring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<Sealed, StoreError> {
    let bytes = Some(seal(manifest, keyring, entropy)?);
    let folder = active_folder(root, manifest.recording);
    Ok(Sealed { recording: manifest.recording, folder, complete: None, manifest: bytes })
}

/// Completes a recording whose segments are all closed: hashes them and seals the last manifest. May be repeated after a failure.
pub fn finalise(
    disk: &dyn Disk,
    root: &Path,
    mut manifest: Manifest,
    keyring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<Sealed, StoreError> {
    let recording = manifest.recording;
    let complete = complete_folder(root, recording, started(&manifest)?);
    let mut sealed = Sealed::written(recording, active_folder(root, recording), complete);
    manifest.state = RecordingState::Complete;
    manifest.ledger_until = None;
    match seal_hashed(disk, &sealed.folder, &mut manifest, keyring, entropy) {
        Ok(bytes) => sealed.manifest = Some(bytes),
        Err(_) if sealed.is_moved(disk) => {}
        Err(why) => return Err(why),
    }
    Ok(sealed)
}

/// Writes manifests and moves recordings to their days. Many at once cost little more than one: what has to be durable before the next step
/// is made so for all of them together.
#[derive(Default, Debug)]
pub struct Writer {
    /// The day that the last one went to, whose name and those above it are durable.
    day: PathBuf,
}

impl Writer {
    /// Does what is left to do for all of `sealed`, each of another recording, and tells of each what came of it. May be repeated after a
    /// failure.
    pub fn write_all(
        &mut self,
        disk: &dyn Disk,
        root: &Path,
        sealed: &[Sealed],
        mut tell: impl FnMut(&Sealed, Result<(), StoreError>),
    ) {
        let mut written = Vec::with_capacity(sealed.len());
        if replace_manifests(disk, sealed).is_ok() {
            written.extend(sealed);
        } else {
            // Whose fault it was is found out one by one: the others should not suffer for it.
            for one in sealed {
                match replace_manifests(disk, std::slice::from_ref(one)) {
                    Ok(()) => written.push(one),
                    Err(why) => tell(one, Err(why)),
                }
            }
        }
        let mut moved = Vec::with_capacity(written.len());
        for one in written {
            let Some(complete) = &one.complete else {
                tell(one, Ok(()));
                continue;
            };
            match self.rename(disk, root, one, complete) {
                Ok(()) => moved.push((one, complete)),
                Err(why) => tell(one, Err(why)),
            }
        }
        let days = moved.iter().filter_map(|(_, complete)| complete.parent()).collect::<BTreeSet<_>>();
        let active = moved.iter().filter_map(|(one, _)| one.folder.parent()).collect::<BTreeSet<_>>();
        let sync = |folder: &&Path| disk.sync_folder(folder).err().map(|why| (folder.to_path_buf(), why));
        let failed = days.iter().chain(&active).find_map(sync);
        for (one, _) in moved {
            // An error can't be copied; the system's number of it can.
            let again = |(folder, why): &(PathBuf, io::Error)| {
                let why = why.raw_os_error().map_or_else(|| why.kind().into(), io::Error::from_raw_os_error);
                StoreError::Io(folder.clone(), why)
            };
            tell(one, failed.as_ref().map_or(Ok(()), |failed| Err(again(failed))));
        }
    }

    /// The same for one.
    pub fn write_one(&mut self, disk: &dyn Disk, root: &Path, sealed: &Sealed) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        self.write_all(disk, root, std::slice::from_ref(sealed), |_, done| outcome = done);
        outcome
    }

    fn rename(
        &mut self,
        disk: &dyn Disk,
        root: &Path,
        one: &Sealed,
        complete: &Path,
    ) -> Result<(), StoreError> {
        let day = complete.parent().unwrap_or(root);
        if self.day != day {
            disk.create_folder(day).at(day)?;
            // The folders of year, month and day may be new: each is a name in the one above.
            let above = day.ancestors().skip(1).take_while(|above| above.starts_with(root));
            above.into_iter().try_for_each(|above| disk.sync_folder(above).at(above))?;
            day.clone_into(&mut self.day);
        }
        match disk.rename(&one.folder, complete) {
            Ok(()) => Ok(()),
            Err(_) if one.is_moved(disk) => Ok(()),
            Err(why) => {
                // Somebody may have removed the day's folder: it is looked at again next time.
                self.day.clear();
                Err(why).at(complete)
            }
        }
    }
}

/// Puts each manifest in the place of the one before it, whole or not at all, and makes that durable.
fn replace_manifests(disk: &dyn Disk, sealed: &[Sealed]) -> Result<(), StoreError> {
    let new = || sealed.iter().filter_map(|one| Some((one, one.manifest.as_deref()?)));
    let Some((first, _)) = new().next() else { return Ok(()) };
    let beside = |one: &Sealed| with_suffix(&one.manifest_path(), NEW);
    let files: Vec<_> = new().map(|(one, bytes)| (beside(one), bytes)).collect();
    disk.put_all(&files).at(&files[0].0)?;
    for (one, _) in new() {
        let path = one.manifest_path();
        disk.rename(&beside(one), &path).at(&path)?;
    }
    let folders: Vec<&Path> = new().map(|(one, _)| one.folder.as_path()).collect();
    disk.sync_folders(&folders).at(&first.folder)
}

/// Hashes the segments and writes the manifest that says so.
pub(super) fn seal_folder(
    disk: &dyn Disk,
    folder: &Path,
    manifest: &mut Manifest,
    keyring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<(), StoreError> {
    let bytes = Some(seal_hashed(disk, folder, manifest, keyring, entropy)?);
    let sealed =
        Sealed { recording: manifest.recording, folder: folder.to_owned(), complete: None, manifest: bytes };
    replace_manifests(disk, &[sealed])
}

/// Hashes the segments and seals the manifest that says so.
fn seal_hashed(
    disk: &dyn Disk,
    folder: &Path,
    manifest: &mut Manifest,
    keyring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, StoreError> {
    for entry in &mut manifest.segments {
        if entry.file != segment_file(entry.number) {
            return Err(StoreError::NotDurable(entry.number));
        }
        let path = folder.join(&entry.file);
        (entry.bytes, entry.sha256) = sha256(disk, &path).at(&path)?;
    }
    seal(manifest, keyring, entropy)
}

/// Bytes of a file, and their SHA-256 from byte 4,096 on as manifests hold it.
pub(super) fn sha256(disk: &dyn Disk, path: &Path) -> io::Result<(u64, String)> {
    let mut hasher = digest::Context::new(&digest::SHA256);
    // A byte more than a short file has: what is not filled ends it.
    let mut chunk = vec![0; HASHED_AT_ONCE.min(disk.size(path)? as usize + 1)];
    let mut offset = 0;
    loop {
        let bytes = disk.read(path, offset, &mut chunk)?;
        let skipped = (BLOCK0_BYTES as u64).saturating_sub(offset).min(bytes as u64) as usize;
        hasher.update(&chunk[skipped..bytes]);
        offset += bytes as u64;
        if bytes < chunk.len() {
            let digest = hasher.finish();
            return Ok((offset, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()));
        }
    }
}

/// The manifest as a sealed file.
fn seal(manifest: &Manifest, keyring: &Keyring, entropy: &mut dyn Entropy) -> Result<Vec<u8>, StoreError> {
    let json = manifest.to_json();
    let block0 =
        Block0::manifest(manifest.recording, &manifest.tenant, started(manifest)?, keyring.wrapped.clone());
    // JSON may be followed by spaces, so that a manifest is a whole number of frames like everything else. Each writing has its own salt.
    let seed = StreamSeed::new(entropy);
    seal_whole(block0, &keyring.key, &seed, &json, b' ', json.len() as u64).map_err(StoreError::Block0)
}

/// The start of a recording as an instant.
pub(super) fn started(manifest: &Manifest) -> Result<Wall, StoreError> {
    Wall::from_rfc3339(&manifest.started).ok_or_else(|| StoreError::Started(manifest.started.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Fixture;
    use crate::store::{OsDisk, read_manifest, verify};

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
    fn one_that_cant_be_written_holds_up_no_other() {
        let (fixture, home) = (Fixture::new(), tempfile::tempdir().unwrap());
        let recordings = (1..=6).map(|number| format!("019a0a1b2c3d7000800000000000000{number}"));
        let sealed: Vec<Sealed> = recordings
            .map(|recording| {
                let manifest =
                    Manifest { recording: recording.parse().unwrap(), ..fixture.manifest(&[(1, 0, 5000)]) };
                checkpoint(home.path(), &manifest, &fixture.keyring(), &mut fixture.entropy()).unwrap()
            })
            .collect();
        sealed[1..].iter().for_each(|one| OsDisk.create_folder(&one.folder).unwrap());
        let mut told = Vec::new();
        Writer::default()
            .write_all(&OsDisk, home.path(), &sealed, |one, done| told.push((one.recording, done.is_ok())));
        told.sort();
        let wanted = sealed.iter().map(|one| (one.recording, one.recording != sealed[0].recording));
        assert_eq!(told, wanted.collect::<Vec<_>>());
        for one in &sealed[1..] {
            assert!(read_manifest(&OsDisk, &one.folder.join(MANIFEST), &fixture.keys).is_ok());
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
