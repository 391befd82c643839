//! What the store's tests share: a disk in memory that fails when told, and recordings on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use crate::base::{Entropy, RecordingId, Redacted, Seeded, SegmentNumber, Wall};
use crate::keys::{KeyContext, KeyError, KeyProvider};
use crate::media::SampleFormat;
use crate::recording::manifest::{SegmentEntry, Track};
use crate::recording::{Manifest, wav};
use crate::seal::{AudioParams, Block0, DataKey, StreamSeed, WrappedKey, seal_whole};

/// Files in memory. Everything written is durable at once; what sync protects is the simulator's to test.
#[derive(Default)]
pub struct MemoryDisk {
    state: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
    folders: BTreeSet<PathBuf>,
    /// Changes left until everything fails.
    left: Option<u64>,
    /// Every write: file, offset, bytes.
    written: Vec<(PathBuf, u64, Vec<u8>)>,
}

impl MemoryDisk {
    /// From now on the `step`-th change (from 0) and all after it fail; a write that fails is done in half.
    pub fn fail_at(&self, step: u64) {
        self.state.lock().unwrap().left = Some(step);
    }

    /// The end of [`MemoryDisk::fail_at`].
    pub fn heal(&self) {
        self.state.lock().unwrap().left = None;
    }

    /// Every write since the last call.
    pub fn take_written(&self) -> Vec<(PathBuf, u64, Vec<u8>)> {
        std::mem::take(&mut self.state.lock().unwrap().written)
    }

    pub fn content(&self, path: &Path) -> Vec<u8> {
        self.state.lock().unwrap().files[path].clone()
    }

    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        self.state.lock().unwrap().files.insert(path.to_owned(), bytes);
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().unwrap().files.keys().cloned().collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Memory, bool) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().unwrap();
        let fails = state.left == Some(0);
        if let Some(left) = &mut state.left {
            *left = left.saturating_sub(1);
        }
        let done = change(&mut state, fails);
        if fails { Err(io::Error::other("injected")) } else { done }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for MemoryDisk {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state.lock().unwrap();
        if !state.folders.contains(folder) {
            return Err(missing());
        }
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let within = |path: &&PathBuf| path.parent() == Some(folder);
        let files = state.files.keys().filter(within).map(|path| Entry { name: name(path), folder: false });
        let folders =
            state.folders.iter().filter(within).map(|path| Entry { name: name(path), folder: true });
        let mut entries: Vec<Entry> = files.chain(folders).collect();
        entries.sort();
        Ok(entries)
    }

    fn size(&self, file: &Path) -> io::Result<u64> {
        self.state.lock().unwrap().files.get(file).map(|bytes| bytes.len() as u64).ok_or_else(missing)
    }

    fn read(&self, file: &Path, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let state = self.state.lock().unwrap();
        let bytes = state.files.get(file).ok_or_else(missing)?;
        let rest = bytes.get(offset as usize..).unwrap_or(&[]);
        let length = rest.len().min(out.len());
        out[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        self.change(|state, fails| {
            if !fails {
                state.files.insert(file.to_owned(), Vec::new());
            }
            Ok(())
        })
    }

    fn write(&self, file: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|state, fails| {
            let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
            state.written.push((file.to_owned(), offset, bytes.to_vec()));
            let content = state.files.get_mut(file).ok_or_else(missing)?;
            let end = offset as usize + bytes.len();
            content.resize(content.len().max(end), 0);
            content[offset as usize..end].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn truncate(&self, file: &Path, size: u64) -> io::Result<()> {
        self.change(|state, fails| {
            let content = state.files.get_mut(file).ok_or_else(missing)?;
            if !fails {
                content.resize(size as usize, 0);
            }
            Ok(())
        })
    }

    fn sync(&self, file: &Path) -> io::Result<()> {
        self.change(|state, _| state.files.get(file).map(drop).ok_or_else(missing))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state, fails| {
            if fails {
                return Ok(());
            }
            if let Some(bytes) = state.files.remove(from) {
                state.files.insert(to.to_owned(), bytes);
                return Ok(());
            }
            let moved = |path: &PathBuf| path.strip_prefix(from).ok().map(|rest| to.join(rest));
            state.folders = state.folders.iter().map(|path| moved(path).unwrap_or(path.clone())).collect();
            let files = std::mem::take(&mut state.files);
            state.files =
                files.into_iter().map(|(path, bytes)| (moved(&path).unwrap_or(path), bytes)).collect();
            // Joining an empty rest leaves a slash behind.
            state.folders = state.folders.iter().map(|path| path.components().collect()).collect();
            Ok(())
        })
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.change(
            |state, fails| {
                if fails { Ok(()) } else { state.files.remove(file).map(drop).ok_or_else(missing) }
            },
        )
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|state, fails| {
            if !fails {
                state.folders.remove(folder);
            }
            Ok(())
        })
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|state, fails| {
            if !fails {
                state.folders.extend(folder.ancestors().map(Path::to_owned));
            }
            Ok(())
        })
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.change(|_, _| Ok(()))
    }
}

/// A provider whose wrapped keys are the keys. For tests alone.
pub struct OpenKeys;

impl KeyProvider for OpenKeys {
    fn name(&self) -> &str {
        "test"
    }

    fn wrap(&self, key: &DataKey, _: KeyContext<'_>, now: Wall) -> Result<WrappedKey, KeyError> {
        let wrapped = key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(WrappedKey { provider: "test".into(), key_id: "1".into(), wrapped, created: now.to_rfc3339() })
    }

    fn unwrap(&self, wrapped: &WrappedKey, _: KeyContext<'_>) -> Result<DataKey, KeyError> {
        let digits = (0..32).map(|at| wrapped.wrapped.get(2 * at..2 * at + 2));
        let bytes: Option<Vec<u8>> = digits.map(|two| u8::from_str_radix(two?, 16).ok()).collect();
        let bytes = bytes.ok_or_else(|| KeyError::Damaged("test".into()))?;
        Ok(DataKey::new(bytes.try_into().unwrap()))
    }
}

/// Two tracks of µ-law on a disk in memory.
pub struct Fixture {
    pub disk: MemoryDisk,
    pub root: PathBuf,
    pub recording: RecordingId,
    pub keys: OpenKeys,
    key: DataKey,
    draws: Mutex<u64>,
}

pub const STARTED: Wall = Wall(1_795_269_802_512_000_000);
pub const CHANNELS: u16 = 2;

impl Fixture {
    pub fn new() -> Fixture {
        let recording = "019a0a1b2c3d70008000000000000001".parse().unwrap();
        let root = PathBuf::from("/recordings");
        let disk = MemoryDisk::default();
        disk.create_folder(&active_folder(&root, recording)).unwrap();
        Fixture { disk, root, recording, keys: OpenKeys, key: DataKey::new([7; 32]), draws: Mutex::new(0) }
    }

    pub fn entropy(&self) -> impl Entropy + use<> {
        let mut draws = self.draws.lock().unwrap();
        *draws += 1;
        Seeded::new(*draws)
    }

    pub fn keyring(&self) -> Keyring {
        let context = KeyContext { recording: self.recording, tenant: "acme" };
        let wrapped = self.keys.wrap(&self.key, context, STARTED).unwrap();
        Keyring { key: self.key.clone(), wrapped: vec![wrapped] }
    }

    pub fn audio(&self, start: u64) -> AudioParams {
        AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: CHANNELS, start }
    }

    /// The interleaved samples of the recording from `start` on.
    pub fn samples(&self, start: u64, samples: u64) -> Vec<u8> {
        let sample = |at: u64, track: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (50 + track)) as u8;
        let positions = (0..samples).map(|at| start.wrapping_add(at));
        positions.flat_map(|at| [sample(at, 0), sample(at, 1)]).collect()
    }

    /// The plaintext of a segment, padded.
    pub fn plaintext(&self, start: u64, samples: u64) -> Vec<u8> {
        let audio = self.audio(start);
        let frames = wav::frames(&audio, samples) as u32;
        let mut plain = wav::header(&audio, frames).to_vec();
        plain.extend(self.samples(start, samples));
        plain.resize(4040 + frames as usize * 4080, 0xff);
        plain
    }

    /// The sealed file of a closed segment.
    pub fn sealed_segment(&self, number: SegmentNumber, start: u64, samples: u64) -> Vec<u8> {
        let audio = self.audio(start);
        let block0 = Block0::segment(self.recording, number, "acme", STARTED, audio, self.keyring().wrapped);
        let seed = StreamSeed::new(&mut self.entropy());
        seal_whole(block0, &self.key, &seed, &self.plaintext(start, samples), 0, samples).unwrap()
    }

    /// Puts a closed segment in its place.
    pub fn segment(&self, number: SegmentNumber, start: u64, samples: u64) -> PathBuf {
        let path = active_folder(&self.root, self.recording).join(segment_file(number));
        self.disk.put(&path, self.sealed_segment(number, start, samples));
        path
    }

    /// Puts a segment in its place as a crash leaves it: open, without frame 0 and final frame, with `frames` frames and then `tail`.
    pub fn open_segment(&self, number: SegmentNumber, start: u64, frames: u32, tail: &[u8]) -> PathBuf {
        let mut bytes = self.sealed_segment(number, start, u64::from(frames) * 2040);
        let mut block0 = Block0::decode(&bytes).unwrap();
        block0.state = crate::seal::State::Open;
        block0.closing = None;
        bytes[..4096].copy_from_slice(&block0.encode().unwrap());
        bytes[4096 + 40..8192].fill(0);
        bytes.truncate(8192 + frames as usize * 4096);
        bytes.extend_from_slice(tail);
        let path = part_path(&self.root, self.recording, number);
        self.disk.put(&path, bytes);
        path
    }

    pub fn flip(&self, path: &Path, at: u64) {
        let mut bytes = self.disk.content(path);
        bytes[at as usize] ^= 1;
        self.disk.put(path, bytes);
    }

    pub fn manifest(&self, segments: &[(SegmentNumber, u64, u64)]) -> Manifest {
        let mut manifest = Manifest::new(self.recording, "acme", STARTED);
        manifest.sip.from = Redacted::new("sip:+15551234567@example.net".into());
        manifest.tracks = (0..CHANNELS).map(|channel| Track { channel, ..Track::default() }).collect();
        let entry = |&(number, start, samples): &(SegmentNumber, u64, u64)| SegmentEntry {
            number,
            file: segment_file(number),
            format: SampleFormat::Mulaw,
            start,
            samples,
            frames: wav::frames(&self.audio(start), samples) as u32,
            bytes: 0,
            sha256: String::new(),
            recovered: false,
        };
        manifest.segments = segments.iter().map(entry).collect();
        manifest.samples = segments.iter().map(|&(_, start, samples)| start + samples).max().unwrap_or(0);
        manifest.ended = Some((STARTED + std::time::Duration::from_secs(1)).to_rfc3339());
        manifest
    }

    pub fn finalise(&self, segments: &[(SegmentNumber, u64, u64)]) -> Result<PathBuf, StoreError> {
        self.finish(self.manifest(segments))
    }

    pub fn finish(&self, manifest: Manifest) -> Result<PathBuf, StoreError> {
        let sealed = finalise(&self.disk, &self.root, manifest, &self.keyring(), &mut self.entropy())?;
        Writer::default().write_one(&self.disk, &self.root, &sealed)?;
        Ok(sealed.place().to_owned())
    }

    pub fn recover(&self) -> Result<RecoveredRecording, StoreError> {
        let folder = active_folder(&self.root, self.recording);
        recover_recording(&self.disk, Some(&self.root), &folder, &self.keys, &mut self.entropy(), STARTED)
    }
}
