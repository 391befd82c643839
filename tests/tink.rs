//! Our files, opened by the official Tink for Python: a recording must be readable in ten years without us.
//!
//! Needs `tink` in `.venv`, which `./check` installs.

mod recording;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use recording::{AUDIO, Recording};
use tapehead::keys::LocalKeys;
use tapehead::limits::{AUDIO_OFFSET, FRAME_BYTES};
use tapehead::recording::{Manifest, wav};
use tapehead::store::{MANIFEST, OsDisk, SegmentOutcome, recover_segment, segment_file};

/// The keyset, as `tapehead keys export` writes it.
fn keyset(recording: &Recording, of: &Path) -> PathBuf {
    let output = recording.tapehead(&["keys", "export", "--force", "-o", "keyset.json"], &[of]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("SECRET") && said.contains(&format!("tapehead/1:{}/", recording.id)), "{said}");
    recording.folder.path().join("keyset.json")
}

fn tink(recording: &Recording, keyset: &Path, file: &Path, segment: u32) -> Output {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = project.join(".venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run ./check, or python3 -m venv .venv && .venv/bin/pip install tink",
        python.display()
    );
    let mut command = Command::new(python);
    command.arg(project.join("tests/tink_decrypt.py")).arg(keyset).arg(file);
    command.arg(format!("tapehead/1:{}/{segment}", recording.id)).output().unwrap()
}

#[test]
fn tink_opens_a_recording_byte_for_byte() {
    let recording = Recording::new();
    let folder = recording.finalised();
    let keyset = keyset(&recording, &folder);

    let audio = tink(&recording, &keyset, &folder.join(segment_file(1)), 1);
    assert!(audio.status.success(), "{audio:?}");
    assert!(audio.stdout == recording.plain);

    let manifest = tink(&recording, &keyset, &folder.join(MANIFEST), 0);
    assert!(manifest.status.success(), "{manifest:?}");
    assert_eq!(Manifest::from_json(&manifest.stdout).unwrap().recording, recording.id);

    let swapped = tink(&recording, &keyset, &folder.join(segment_file(1)), 2);
    assert!(!swapped.status.success(), "the associated data ties a file to its place");
}

#[test]
fn tink_refuses_a_file_cut_at_a_frame_until_it_is_recovered() {
    let recording = Recording::new();
    let kept = 40;
    let mut bytes = recording.sealed();
    bytes.truncate(AUDIO_OFFSET as usize + kept * FRAME_BYTES);
    let cut = recording.part(&bytes);
    let keyset = keyset(&recording, &cut);
    let refused = tink(&recording, &keyset, &cut, 1);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    fs::remove_file(&cut).unwrap();

    let part = recording.part(&recording.crashed(kept));
    let keys = LocalKeys::open(&recording.master_key()).unwrap();
    let outcome = recover_segment(&OsDisk, &part, &keys).unwrap();
    assert_eq!(outcome, SegmentOutcome::Kept { frames: kept as u32, closed: false });
    let opened = tink(&recording, &keyset, &part.with_extension(""), 1);
    assert!(opened.status.success(), "{opened:?}");
    let header = wav::header(&AUDIO, kept as u32);
    assert!(opened.stdout == [&header[..], &recording.plain[4040..4040 + kept * 4080]].concat());
}
