//! Our files, opened by the official Tink for Python: a recording must be readable in ten years without us.
//!
//! Needs `tink` in `.venv`, which `./check` installs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tapehead::base::{Entropy, RecordingId, Wall};
use tapehead::keys::{KeyContext, KeyProvider, LocalKeys};
use tapehead::limits::{AUDIO_OFFSET, BLOCK0_BYTES, FRAME_BYTES, STREAM_HEADER_BYTES};
use tapehead::media::SampleFormat;
use tapehead::recording::{Manifest, manifest::SegmentEntry, wav};
use tapehead::seal::{AudioParams, Block0, DataKey, State, StreamSeed, seal_whole};
use tapehead::store::{
    Keyring, MANIFEST, OsDisk, SegmentOutcome, finalise, part_path, recover_segment, segment_file,
};
use tapehead::sys::OsEntropy;

const STARTED: Wall = Wall(1_795_269_802_512_000_000);
const AUDIO: AudioParams = AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: 2, start: 0 };
const FRAMES: u32 = 70;

/// A recording of one segment in a folder of its own, whose frames are open to us and sealed to everyone else.
struct Recording {
    folder: tempfile::TempDir,
    id: RecordingId,
    keyring: Keyring,
    plain: Vec<u8>,
}

impl Recording {
    fn new() -> Recording {
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

    fn root(&self) -> PathBuf {
        self.folder.path().join("recordings")
    }

    fn sealed(&self) -> Vec<u8> {
        let keys = self.keyring.wrapped.clone();
        let block0 = Block0::segment(self.id, 1, "acme", STARTED, AUDIO, keys);
        let seed = StreamSeed::new(&mut OsEntropy);
        seal_whole(block0, &self.keyring.key, &seed, &self.plain, 0xff, wav::samples(&AUDIO, FRAMES)).unwrap()
    }

    /// Puts `bytes` where the shard writes the first segment.
    fn part(&self, bytes: &[u8]) -> PathBuf {
        let part = part_path(&self.root(), self.id, 1);
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, bytes).unwrap();
        part
    }

    /// The keyset, as `tapehead keys export` writes it.
    fn keyset(&self, of: &Path) -> PathBuf {
        let out = self.folder.path().join("keyset.json");
        let key = self.folder.path().join("tapehead.key");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapehead"));
        command.args(["keys", "export", "--force", "--key"]).arg(key).arg("-o").arg(&out).arg(of);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("SECRET") && said.contains(&format!("tapehead/1:{}/", self.id)), "{said}");
        out
    }

    fn tink(&self, keyset: &Path, file: &Path, segment: u32) -> Output {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = project.join(".venv/bin/python");
        assert!(
            python.exists(),
            "{} is missing: run ./check, or python3 -m venv .venv && .venv/bin/pip install tink",
            python.display()
        );
        let mut command = Command::new(python);
        command.arg(project.join("tests/tink_decrypt.py")).arg(keyset).arg(file);
        command.arg(format!("tapehead/1:{}/{segment}", self.id)).output().unwrap()
    }
}

#[test]
fn tink_opens_a_recording_byte_for_byte() {
    let recording = Recording::new();
    let part = recording.part(&recording.sealed());
    fs::rename(&part, part.with_extension("")).unwrap();
    let mut manifest = Manifest::new(recording.id, "acme", STARTED);
    manifest.segments = vec![SegmentEntry {
        number: 1,
        file: segment_file(1),
        format: AUDIO.format,
        start: 0,
        samples: wav::samples(&AUDIO, FRAMES),
        frames: FRAMES,
        bytes: 0,
        sha256: String::new(),
        recovered: false,
    }];
    let folder = finalise(&OsDisk, &recording.root(), manifest, &recording.keyring, &mut OsEntropy).unwrap();
    let keyset = recording.keyset(&folder);

    let audio = recording.tink(&keyset, &folder.join(segment_file(1)), 1);
    assert!(audio.status.success(), "{audio:?}");
    assert!(audio.stdout == recording.plain);

    let manifest = recording.tink(&keyset, &folder.join(MANIFEST), 0);
    assert!(manifest.status.success(), "{manifest:?}");
    assert_eq!(Manifest::from_json(&manifest.stdout).unwrap().recording, recording.id);

    let swapped = recording.tink(&keyset, &folder.join(segment_file(1)), 2);
    assert!(!swapped.status.success(), "the associated data ties a file to its place");
}

#[test]
fn tink_refuses_a_file_cut_at_a_frame_until_it_is_recovered() {
    let recording = Recording::new();
    let mut bytes = recording.sealed();
    let kept = 40;
    bytes.truncate(AUDIO_OFFSET as usize + kept * FRAME_BYTES);
    let cut = recording.part(&bytes);
    let keyset = recording.keyset(&cut);
    let refused = recording.tink(&keyset, &cut, 1);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");

    // As a crash leaves it: open, and frame 0 not written yet.
    let mut block0 = Block0::decode(&bytes).unwrap();
    (block0.state, block0.closing) = (State::Open, None);
    bytes[..BLOCK0_BYTES].copy_from_slice(&block0.encode().unwrap());
    bytes[BLOCK0_BYTES + STREAM_HEADER_BYTES..AUDIO_OFFSET as usize].fill(0);
    let part = recording.part(&bytes);
    let keys = LocalKeys::open(&recording.folder.path().join("tapehead.key")).unwrap();
    let outcome = recover_segment(&OsDisk, &part, &keys).unwrap();
    assert_eq!(outcome, SegmentOutcome::Kept { frames: kept as u32, closed: false });
    let opened = recording.tink(&keyset, &part.with_extension(""), 1);
    assert!(opened.status.success(), "{opened:?}");
    let header = wav::header(&AUDIO, kept as u32);
    assert!(opened.stdout == [&header[..], &recording.plain[4040..4040 + kept * 4080]].concat());
}
