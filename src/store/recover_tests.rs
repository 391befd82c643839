//! Recovery: what it keeps, that it may be killed anywhere, and that no nonce ever covers two contents.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::limits::*;
use crate::store::testing::{CHANNELS, Fixture, STARTED};
use crate::store::{OsDisk, verify};

const FRAME_SAMPLES: u64 = FRAME_PLAIN_BYTES as u64 / CHANNELS as u64;

fn verified(fixture: &Fixture, folder: &Path) {
    let report = verify(&fixture.disk, &[folder.to_owned()], Some(&fixture.keys), &|_| {});
    assert_eq!(report.findings, vec![]);
    assert!(report.files >= 1);
}

fn manifest(fixture: &Fixture, folder: &Path) -> Manifest {
    read_manifest(&fixture.disk, &folder.join(MANIFEST), &fixture.keys).unwrap()
}

#[test]
fn a_segment_cut_by_a_crash_is_closed_and_its_loss_is_stated() {
    let fixture = Fixture::new();
    fixture.open_segment(1, 0, 5, &[0; 9000]);
    let outcome = fixture.recover().unwrap();
    assert_eq!((outcome.mended, outcome.samples, outcome.lost_ms_max), (1, 5 * FRAME_SAMPLES, 1000));
    let folder = outcome.folder.unwrap();
    verified(&fixture, &folder);
    let manifest = manifest(&fixture, &folder);
    assert_eq!(manifest.state, RecordingState::Recovered);
    assert!(manifest.segments[0].recovered);
    let end = 5 * FRAME_SAMPLES;
    let crash = |track| Interval {
        track,
        start: end,
        // A second of audio, and silence that was owed.
        end: end + 8000 + u64::from(SILENCE_FRAMES + 1) * FRAME_SAMPLES,
        cause: Cause::Crash,
        packets: 0,
        merged: false,
    };
    assert_eq!(manifest.intervals, vec![crash(0), crash(1)]);
    assert_eq!(manifest.started, STARTED.to_rfc3339());
}

#[test]
fn a_recovered_segment_is_what_a_close_would_have_written() {
    let fixture = Fixture::new();
    let part = fixture.open_segment(1, 0, 5, &[]);
    // The same draws give the same seed, so both files have the same keys and nonces.
    let closed = Fixture::new().sealed_segment(1, 0, 5 * FRAME_SAMPLES);
    recover_segment(&fixture.disk, &part, &fixture.keys).unwrap();
    let mended = fixture.disk.content(&part.with_extension(""));
    assert!(mended[BLOCK0_BYTES..] == closed[BLOCK0_BYTES..]);
}

#[test]
fn what_the_checkpoint_knew_is_kept_up_to_the_end_of_the_audio() {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 4000);
    fixture.open_segment(2, 4000, 2, b"torn");
    let mut checkpoint_manifest = fixture.manifest(&[(1, 0, 4000)]);
    checkpoint_manifest.ended = None;
    let end = 4000 + 2 * FRAME_SAMPLES;
    let loss = |start, end| Interval { track: 1, start, end, cause: Cause::Loss, packets: 1, merged: false };
    checkpoint_manifest.intervals =
        vec![loss(100, 260), loss(end - 10, end + 150), loss(end + 150, end + 310)];
    checkpoint_manifest.ledger_until = Some(end + 310);
    let keyring = fixture.keyring();
    let sealed = checkpoint(&fixture.root, &checkpoint_manifest, &keyring, &mut fixture.entropy()).unwrap();
    Writer::default().write_one(&fixture.disk, &fixture.root, &sealed).unwrap();
    let folder = fixture.recover().unwrap().folder.unwrap();
    verified(&fixture, &folder);
    let manifest = manifest(&fixture, &folder);
    assert_eq!(manifest.sip.from, checkpoint_manifest.sip.from);
    assert_eq!(manifest.intervals[..2], [loss(100, 260), loss(end - 10, end)]);
    assert_eq!(manifest.intervals.len(), 4, "and the crash on both tracks");
    assert_eq!(manifest.ended.unwrap(), (STARTED + Duration::from_millis(end / 8)).to_rfc3339());
}

#[test]
fn audio_lost_between_two_open_segments_is_an_interval() {
    let fixture = Fixture::new();
    fixture.open_segment(1, 0, 2, &[]);
    fixture.open_segment(2, 6000, 1, &[]);
    let folder = fixture.recover().unwrap().folder.unwrap();
    let manifest = manifest(&fixture, &folder);
    let lost = manifest.intervals.iter().find(|interval| interval.start == 2 * FRAME_SAMPLES).unwrap();
    assert_eq!((lost.end, lost.cause), (6000, Cause::Crash));
}

#[test]
fn a_file_without_content_is_removed_and_one_that_nothing_can_open_is_set_aside() {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 4000);
    let folder = active_folder(&fixture.root, fixture.recording);
    fixture.disk.put(&folder.join("0002.tape.part"), vec![0; 1 << 20]);
    fixture.disk.put(&folder.join("0003.tape.part"), vec![7; 9000]);
    fixture.disk.put(&folder.join("manifest.tape.new"), vec![7; 90]);
    let outcome = fixture.recover().unwrap();
    assert!(outcome.notes.iter().any(|note| note.contains("0002.tape.part was empty")), "{outcome:?}");
    assert!(outcome.notes.iter().any(|note| note.contains("0003.tape.part can't be opened")), "{outcome:?}");
    let names: Vec<_> =
        fixture.disk.paths().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["0001.tape", "0003.tape.unreadable", "manifest.tape"]);
}

#[test]
fn a_closed_segment_that_cannot_be_read_does_not_hold_up_the_others() {
    let fixture = Fixture::new();
    let first = fixture.segment(1, 0, 4000);
    fixture.open_segment(2, 4000, 2, &[]);
    fixture.disk.write(&first, 0, b"?").unwrap();
    let outcome = fixture.recover().unwrap();
    assert!(outcome.notes.iter().any(|note| note.contains("0001.tape can't be read")), "{outcome:?}");
    let manifest = manifest(&fixture, &outcome.folder.unwrap());
    assert_eq!(manifest.segments.iter().map(|entry| entry.number).collect::<Vec<_>>(), [2]);
}

#[test]
fn an_empty_folder_is_removed() {
    let fixture = Fixture::new();
    let folder = active_folder(&fixture.root, fixture.recording);
    fixture.disk.put(&folder.join("0001.tape.part"), vec![]);
    assert_eq!(fixture.recover().unwrap().folder, None);
    assert!(fixture.disk.list(&folder).is_err());
}

#[test]
fn a_key_that_cannot_be_had_leaves_everything_as_it_is() {
    let fixture = Fixture::new();
    let part = fixture.open_segment(1, 0, 5, &[]);
    let before = fixture.disk.content(&part);
    let folder = tempfile::tempdir().unwrap();
    let others = crate::keys::LocalKeys::open_or_create(&folder.path().join("k")).unwrap();
    let recovered = recover(&fixture.disk, &fixture.root, &others, &mut fixture.entropy(), STARTED).unwrap();
    assert!(matches!(recovered[0].outcome, Err(StoreError::Key(..))));
    assert!(fixture.disk.content(&part) == before);
}

#[test]
fn a_closed_segment_that_was_only_not_renamed_keeps_its_exact_length() {
    let fixture = Fixture::new();
    let path = fixture.segment(1, 0, 5001);
    fixture.disk.rename(&path, &part_path(&fixture.root, fixture.recording, 1)).unwrap();
    let keyring = fixture.keyring();
    let sealed = checkpoint(&fixture.root, &fixture.manifest(&[]), &keyring, &mut fixture.entropy()).unwrap();
    Writer::default().write_one(&fixture.disk, &fixture.root, &sealed).unwrap();
    let outcome = fixture.recover().unwrap();
    assert_eq!((outcome.samples, outcome.lost_ms_max), (5001, 0));
    verified(&fixture, &outcome.folder.unwrap());
}

#[test]
fn a_frame_damaged_after_the_close_does_not_cost_those_behind_it() {
    let fixture = Fixture::new();
    let path = fixture.segment(1, 0, 5 * FRAME_SAMPLES);
    let part = part_path(&fixture.root, fixture.recording, 1);
    fixture.disk.rename(&path, &part).unwrap();
    fixture.flip(&part, AUDIO_OFFSET + 2 * FRAME_BYTES as u64);
    // Whether frame 0 is there or was torn by the crash: the final frame says where the end is.
    for torn in [false, true] {
        if torn {
            fixture.disk.rename(&part.with_extension(""), &part).unwrap();
            fixture.flip(&part, BLOCK0_BYTES as u64 + 1000);
        }
        let outcome = recover_segment(&fixture.disk, &part, &fixture.keys).unwrap();
        assert_eq!(outcome, SegmentOutcome::Kept { frames: 5, closed: true });
    }
}

#[test]
fn frame_0_is_not_sealed_anew_when_its_first_size_cannot_be_known() {
    let fixture = Fixture::new();
    let path = fixture.segment(1, 0, 5 * FRAME_SAMPLES);
    let part = part_path(&fixture.root, fixture.recording, 1);
    fixture.disk.rename(&path, &part).unwrap();
    // A disk that lied: frame 0 was written, and is damaged, and what should have been durable before it is gone.
    fixture.flip(&part, BLOCK0_BYTES as u64 + 1000);
    fixture.disk.truncate(&part, AUDIO_OFFSET + 3 * FRAME_BYTES as u64).unwrap();
    let frame0 = fixture.disk.content(&part)[BLOCK0_BYTES..2 * BLOCK0_BYTES].to_vec();
    let outcome = recover_segment(&fixture.disk, &part, &fixture.keys).unwrap();
    assert_eq!(outcome, SegmentOutcome::Kept { frames: 3, closed: false });
    assert!(fixture.disk.content(&part.with_extension(""))[BLOCK0_BYTES..2 * BLOCK0_BYTES] == frame0);
}

/// All bytes written to the frames of segments, by path without suffix and offset: each offset must see one content, or parts of it.
#[derive(Default)]
struct Nonces(BTreeMap<(PathBuf, u64), Vec<u8>>);

impl Nonces {
    fn check(&mut self, written: Vec<(PathBuf, u64, Vec<u8>)>) {
        for (path, offset, bytes) in written {
            if offset < BLOCK0_BYTES as u64 || !path.to_string_lossy().ends_with(PART) {
                continue;
            }
            let before = self.0.entry((path, offset)).or_default();
            let common = before.len().min(bytes.len());
            assert!(before[..common] == bytes[..common], "two contents at {offset}");
            if bytes.len() > before.len() {
                *before = bytes;
            }
        }
    }
}

#[test]
fn recovery_may_be_killed_at_any_step_and_run_again() {
    let mut kills = 0;
    for step in 0.. {
        let fixture = Fixture::new();
        fixture.segment(1, 0, 4000);
        fixture.open_segment(2, 4000, 3, &[9; 5000]);
        fixture.open_segment(3, 20_000, 2, &[]);
        fixture.disk.take_written();
        let mut nonces = Nonces::default();
        fixture.disk.fail_at(step);
        let killed = fixture.recover().is_err();
        fixture.disk.heal();
        nonces.check(fixture.disk.take_written());
        let outcome = match killed {
            true => fixture.recover(),
            false => break,
        };
        nonces.check(fixture.disk.take_written());
        kills += 1;
        // Killed after the folder had moved: nothing is left in `active`.
        let day = complete_folder(&fixture.root, fixture.recording, STARTED);
        if let Ok(outcome) = outcome {
            assert_eq!(outcome.samples, 20_000 + 2 * FRAME_SAMPLES, "killed at step {step}");
        }
        verified(&fixture, &day);
        assert_eq!(manifest(&fixture, &day).segments.len(), 3);
        assert!(fixture.disk.list(&active_folder(&fixture.root, fixture.recording)).is_err());
    }
    assert!(kills > 20, "{kills} steps");
}

#[test]
fn recovery_works_on_real_files() {
    let fixture = Fixture::new();
    let part = fixture.open_segment(1, 0, 3, &[1; 100]);
    let root = tempfile::tempdir().unwrap();
    let folder = active_folder(root.path(), fixture.recording);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("0001.tape.part"), fixture.disk.content(&part)).unwrap();
    let found = recover(&OsDisk, root.path(), &fixture.keys, &mut fixture.entropy(), STARTED).unwrap();
    let place = found[0].outcome.as_ref().unwrap().folder.clone().unwrap();
    let report = verify(&OsDisk, &[root.path().to_owned()], Some(&fixture.keys), &|_| {});
    assert_eq!((report.findings, report.recordings, report.files), (vec![], 1, 2));
    assert!(
        place.starts_with(root.path())
            && recover(&OsDisk, root.path(), &fixture.keys, &mut fixture.entropy(), STARTED)
                .unwrap()
                .is_empty()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_file_cut_anywhere_gives_back_everything_before_the_cut(cut in 0usize..8192 + 5 * 4096) {
        let fixture = Fixture::new();
        let part = fixture.open_segment(1, 0, 5, &[]);
        let mut bytes = fixture.disk.content(&part);
        bytes.truncate(cut);
        fixture.disk.put(&part, bytes);
        let outcome = fixture.recover().unwrap();
        let frames = (cut as u64).saturating_sub(AUDIO_OFFSET) / FRAME_BYTES as u64;
        prop_assert_eq!(outcome.samples, frames * FRAME_SAMPLES);
        if cut >= BLOCK0_BYTES + STREAM_HEADER_BYTES {
            let folder = outcome.folder.unwrap();
            verified(&fixture, &folder);
            let mut wav = Vec::new();
            let exported = crate::store::export(&fixture.disk, &folder, &fixture.keys, &mut wav, &mut |_| {}).unwrap();
            prop_assert_eq!(exported.samples, frames * FRAME_SAMPLES);
            prop_assert!(wav.ends_with(&fixture.samples(0, exported.samples)));
        }
    }

    #[test]
    fn recovering_twice_changes_nothing(frames in 0u32..6, junk in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let fixture = Fixture::new();
        let part = fixture.open_segment(1, 0, frames, &junk);
        recover_segment(&fixture.disk, &part, &fixture.keys).unwrap();
        let once = fixture.disk.content(&part.with_extension(""));
        fixture.disk.rename(&part.with_extension(""), &part).unwrap();
        recover_segment(&fixture.disk, &part, &fixture.keys).unwrap();
        prop_assert!(fixture.disk.content(&part.with_extension("")) == once);
    }
}
