//! The commands that handle recordings, run as a user would: what they say and how they exit.

mod recording;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;

use recording::{FRAMES, Recording};
use tapehead::limits::{AUDIO_OFFSET, FRAME_BYTES};
use tapehead::recording::wav;
use tapehead::store::{ActiveLock, segment_file};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn verify_proves_a_recording_and_names_the_damaged_frame() {
    let recording = Recording::new();
    let folder = recording.finalised();
    let good = recording.tapehead(&["verify"], &[Path::new("recordings")]);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    assert!(said(&good).starts_with("good: 1 recordings, 2 files"), "{}", said(&good));

    flip(&folder.join(segment_file(1)), AUDIO_OFFSET + 6 * FRAME_BYTES as u64);
    let bad = recording.tapehead(&["verify", "--json"], &[Path::new("recordings")]);
    assert_eq!(bad.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(json["findings"][0]["frame"], 7);
    assert!(json["findings"][0]["path"].as_str().unwrap().ends_with("0001.tape"));

    let outside = recording.tapehead(&["verify", "--no-key"], &[&folder]);
    assert_eq!(outside.status.code(), Some(0));
    assert!(said(&outside).contains("WITHOUT the key"), "{}", said(&outside));
    let no_such_key = recording.tapehead(&["verify", "--key", "nowhere"], &[&folder]);
    assert_eq!(no_such_key.status.code(), Some(2));
}

#[test]
fn verify_does_not_hold_a_running_call_against_its_recorder() {
    let recording = Recording::new();
    recording.part(&recording.crashed(40));
    let recordings = [Path::new("recordings")];
    let left_behind = recording.tapehead(&["verify"], &recordings);
    assert!(left_behind.status.code() == Some(1) && said(&left_behind).contains("is not closed"));
    let _lock = ActiveLock::take(&recording.root()).unwrap();
    let running = recording.tapehead(&["verify"], &recordings);
    assert_eq!(running.status.code(), Some(0), "{}", said(&running));
    assert!(said(&running).contains("calls are being recorded here"));
}

#[test]
fn export_writes_a_wav_file_and_says_what_is_damaged() {
    let recording = Recording::new();
    let folder = recording.finalised();
    let good = recording.tapehead(&["export", "-o", "out.wav"], &[&folder]);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    let out = recording.folder.path().join("out.wav");
    let bytes = fs::read(&out).unwrap();
    let info = wav::parse(&bytes).unwrap();
    assert!(bytes[info.data_at..] == recording.plain[4040..]);
    assert_eq!(fs::metadata(&out).unwrap().mode() & 0o777, 0o600);

    let again = recording.tapehead(&["export", "-o", "out.wav"], &[&folder]);
    assert!(again.status.code() == Some(1) && said(&again).contains("--force"), "{}", said(&again));

    let segment = folder.join(segment_file(1));
    flip(&segment, AUDIO_OFFSET);
    let partial = recording.tapehead(&["export", "-o", "-"], &[&segment]);
    assert_eq!(partial.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&partial.stderr).contains("WARNING: segment 1, frame 1 is damaged"));
    assert_eq!(partial.stdout.len(), bytes.len());
    assert!(partial.stdout[info.data_at + 4080..] == bytes[info.data_at + 4080..]);
}

#[test]
fn recover_waits_for_the_recorder_to_be_gone_and_then_keeps_what_is_good() {
    let recording = Recording::new();
    recording.part(&recording.crashed(40));
    let lock = ActiveLock::take(&recording.root()).unwrap();
    let refused = recording.tapehead(&["recover"], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("another tapehead is at work"), "{}", said(&refused));
    drop(lock);

    let done = recording.tapehead(&["recover"], &[]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(
        said(&done).contains("1 segments mended, 10.200 s of audio kept, at most 1000 ms lost"),
        "{}",
        said(&done)
    );
    assert!(said(&recording.tapehead(&["recover"], &[])).contains("nothing to recover"));
    let good = recording.tapehead(&["verify"], &[Path::new("recordings")]);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
}

#[test]
fn inspect_hides_personal_data_unless_asked() {
    let recording = Recording::new();
    let folder = recording.finalised();
    let hidden = recording.tapehead(&["inspect"], &[&folder]);
    let json: serde_json::Value = serde_json::from_slice(&hidden.stdout).unwrap();
    assert_eq!(json["manifest"]["segments"][0]["frames"], FRAMES);
    assert_eq!(json["block0"]["kind"], "manifest");
    assert!(!said(&hidden).contains("15551234567"));
    assert!(said(&recording.tapehead(&["inspect", "--reveal"], &[&folder])).contains("15551234567"));
    let limits = recording.tapehead(&["inspect", "limits"], &[]);
    assert!(said(&limits).starts_with("frame  "));
}
