//! A recording of one segment in a folder of its own, as the recorder would leave it. Shared by the tests that run commands.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tapehead::base::{Entropy, RecordingId, Wall};
use tapehead::keys::{KeyContext, KeyProvider, LocalKeys};
use tapehead::limits::{AUDIO_OFFSET, BLOCK0_BYTES, STREAM_HEADER_BYTES};
use tapehead::media::SampleFormat;
use tapehead::recording::{Manifest, manifest::SegmentEntry, wav};
use tapehead::seal::{AudioParams, Block0, DataKey, State, StreamSeed, seal_whole};
use tapehead::store::{Keyring, OsDisk, Writer, finalise, part_path, segment_file};
use tapehead::sys::OsEntropy;

pub const STARTED: Wall = Wall(1_795_269_802_512_000_000);
pub const AUDIO: AudioParams = AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: 2, start: 0 };
pub const FRAMES: u32 = 70;

/// The recording, its key and what is in it.
pub struct Recording {
    pub folder: tempfile::TempDir,
    pub id: RecordingId,
    pub keyring: Keyring,
    /// The plaintext of the segment.
    pub plain: Vec<u8>,
}

impl Recording {
    pub fn new() -> Recording {
        let folder = tempfile::tempdir().unwrap();
        let keys = LocalKeys::open_or_create(&folder.path().join("tapehead.key")).unwrap();
        let id = RecordingId::new(STARTED, &mut OsEntropy);
        let mut key = [0; 32];
        OsEntropy.fill(&mut key);
        let key = DataKey::new(key);
        let wrapped = keys.wrap(&key, KeyContext { recording: id, tenant: "acme" }, STARTED).unwrap();
        let mut plain = wav::header(&AUDIO, FRAMES).to_vec();
        plain.extend((0..FRAMES * 4080).map(|at| (at / 7) as u8));
        Recording { folder, id, keyring: Keyring { key, wrapped: vec![wrapped] }, plain }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("recordings")
    }

    pub fn sealed(&self) -> Vec<u8> {
        let keys = self.keyring.wrapped.clone();
        let block0 = Block0::segment(self.id, 1, "acme", STARTED, AUDIO, keys);
        let seed = StreamSeed::new(&mut OsEntropy);
        seal_whole(block0, &self.keyring.key, &seed, &self.plain, 0xff, wav::samples(&AUDIO, FRAMES)).unwrap()
    }

    /// Puts `bytes` where the shard writes the first segment.
    pub fn part(&self, bytes: &[u8]) -> PathBuf {
        let part = part_path(&self.root(), self.id, 1);
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, bytes).unwrap();
        part
    }

    /// The sealed segment as a crash leaves it after `frames` frames: open, and frame 0 not written yet.
    pub fn crashed(&self, frames: usize) -> Vec<u8> {
        let mut bytes = self.sealed();
        let mut block0 = Block0::decode(&bytes).unwrap();
        (block0.state, block0.closing) = (State::Open, None);
        bytes[..BLOCK0_BYTES].copy_from_slice(&block0.encode().unwrap());
        bytes[BLOCK0_BYTES + STREAM_HEADER_BYTES..AUDIO_OFFSET as usize].fill(0);
        bytes.truncate(AUDIO_OFFSET as usize + frames * 4096);
        bytes
    }

    /// Completes the recording and gives its folder.
    pub fn finalised(&self) -> PathBuf {
        let part = self.part(&self.sealed());
        fs::rename(&part, part.with_extension("")).unwrap();
        let mut manifest = Manifest::new(self.id, "acme", STARTED);
        manifest.sip.from = tapehead::base::Redacted::new("sip:+15551234567@example.net".to_owned());
        manifest.samples = wav::samples(&AUDIO, FRAMES);
        manifest.segments = vec![SegmentEntry {
            number: 1,
            file: segment_file(1),
            format: AUDIO.format,
            start: 0,
            samples: manifest.samples,
            frames: FRAMES,
            bytes: 0,
            sha256: String::new(),
            recovered: false,
        }];
        let sealed = finalise(&OsDisk, &self.root(), manifest, &self.keyring, &mut OsEntropy).unwrap();
        Writer::default().write_one(&OsDisk, &self.root(), &sealed).unwrap();
        sealed.place().to_owned()
    }

    /// The master key file.
    pub fn master_key(&self) -> PathBuf {
        self.folder.path().join("tapehead.key")
    }

    /// Runs `tapehead` in the recording's folder: without `--key` it finds the master key there.
    pub fn tapehead(&self, arguments: &[&str], paths: &[&Path]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapehead"));
        command.current_dir(self.folder.path()).args(arguments).args(paths).output().unwrap()
    }
}
