//! Verification: every change of a recording is found, and found where it is.

use proptest::prelude::*;

use super::*;
use crate::limits::*;
use crate::store::testing::Fixture;

fn finalised() -> (Fixture, PathBuf) {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 5000);
    fixture.segment(2, 5000, 3000);
    let folder = fixture.finalise(&[(1, 0, 5000), (2, 5000, 3000)]).unwrap();
    fixture.disk.take_written();
    (fixture, folder)
}

fn findings(fixture: &Fixture, path: &Path, with_key: bool) -> Vec<Finding> {
    let keys: Option<&dyn KeyProvider> = with_key.then_some(&fixture.keys);
    verify(&fixture.disk, &[path.to_owned()], keys, &|_| {}).findings
}

fn problems(fixture: &Fixture, path: &Path, with_key: bool) -> Vec<Problem> {
    findings(fixture, path, with_key).into_iter().map(|finding| finding.problem).collect()
}

#[test]
fn a_whole_recording_has_nothing_wrong_with_and_without_the_key() {
    let (fixture, folder) = finalised();
    assert_eq!(findings(&fixture, &folder, true), vec![]);
    assert_eq!(findings(&fixture, &folder, false), vec![]);
    let report = verify(&fixture.disk, std::slice::from_ref(&fixture.root), Some(&fixture.keys), &|_| {});
    assert_eq!((report.recordings, report.files), (1, 3));
    // Of the segments: frame 0, the audio, the final one. The manifest is one frame of JSON and its end.
    assert!(report.frames >= (1 + 3 + 1) + (1 + 2 + 1) + 2, "{report:?}");
}

#[test]
fn a_single_file_is_verified_for_itself() {
    let (fixture, folder) = finalised();
    assert_eq!(findings(&fixture, &folder.join("0001.tape"), true), vec![]);
    assert_eq!(findings(&fixture, &folder.join(MANIFEST), true), vec![]);
    assert_eq!(problems(&fixture, &folder.join("nothing"), true), vec![Problem::Nothing]);
}

#[test]
fn missing_added_and_replaced_files_are_found() {
    let (fixture, folder) = finalised();
    let second = fixture.disk.content(&folder.join("0002.tape"));
    fixture.disk.remove(&folder.join("0002.tape")).unwrap();
    assert_eq!(problems(&fixture, &folder, true), vec![Problem::SegmentMissing(2)]);
    fixture.disk.put(&folder.join("0002.tape"), fixture.sealed_segment(2, 5000, 3000));
    assert_eq!(
        problems(&fixture, &folder, true),
        vec![Problem::Sha256(2)],
        "sealed by the same key, but another file"
    );
    fixture.disk.put(&folder.join("0002.tape"), second.clone());
    fixture.disk.put(&folder.join("0003.tape"), second);
    let found = problems(&fixture, &folder, true);
    assert!(found.contains(&Problem::SegmentUnknown(3)), "{found:?}");
    assert!(found.iter().any(|problem| matches!(problem, Problem::Misplaced(_))), "{found:?}");
    fixture.disk.remove(&folder.join(MANIFEST)).unwrap();
    fixture.disk.remove(&folder.join("0001.tape")).unwrap();
    let found = problems(&fixture, &folder, false);
    assert!(found.contains(&Problem::ManifestMissing), "{found:?}");
}

#[test]
fn a_cut_file_is_found_without_the_key() {
    let (fixture, folder) = finalised();
    let path = folder.join("0001.tape");
    fixture.disk.truncate(&path, AUDIO_OFFSET + FRAME_BYTES as u64).unwrap();
    assert!(matches!(problems(&fixture, &folder, false)[..], [Problem::Size { .. }]));
    let found = problems(&fixture, &path, true);
    assert!(found.contains(&Problem::NoFinalFrame { frame: 4 }), "{found:?}");
    assert!(found.iter().any(|problem| matches!(problem, Problem::Frames { first: 2, .. })), "{found:?}");
}

#[test]
fn an_open_recording_is_said_to_be_open_and_nothing_else() {
    let fixture = Fixture::new();
    let part = fixture.open_segment(1, 0, 3, &[5; 100]);
    assert_eq!(problems(&fixture, &part, true), vec![Problem::NotClosed]);
}

#[test]
fn a_manifest_whose_numbers_do_not_hold_together_is_found() {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 5000);
    let mut manifest = fixture.manifest(&[(1, 0, 5000)]);
    manifest.tracks[1].counters.received = 5;
    let interval = |track, end| crate::media::Interval {
        track,
        start: 0,
        end,
        cause: crate::media::Cause::Loss,
        packets: 0,
        merged: false,
    };
    manifest.intervals = vec![interval(0, 5000), interval(0, 5001), interval(2, 10)];
    manifest.segments[0].samples = 4999;
    let folder = fixture.finish(manifest).unwrap();
    let found = problems(&fixture, &folder, true);
    let expected =
        [Problem::Interval(1), Problem::Interval(2), Problem::Counters(1), Problem::Differs(1, "samples")];
    assert!(expected.iter().all(|problem| found.contains(problem)) && found.len() == 4, "{found:?}");
}

#[test]
fn what_is_found_says_which_frame_of_which_file() {
    let (fixture, folder) = finalised();
    let path = folder.join("0001.tape");
    fixture.flip(&path, AUDIO_OFFSET + FRAME_BYTES as u64 + 77);
    fixture.flip(&path, AUDIO_OFFSET + 2 * FRAME_BYTES as u64 + 77);
    let found = findings(&fixture, &path, true);
    assert_eq!(found, vec![Finding { path, problem: Problem::Frames { first: 2, last: 3 } }]);
    assert_eq!(found[0].problem.to_string(), "frames 2 to 3 are damaged");
    assert_eq!(found[0].problem.frame(), Some(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_flipped_bit_of_the_stream_is_found_in_its_frame(at in 4096u64..8192 + 3 * 4096 + 16, bit in 0u8..8) {
        let (fixture, folder) = finalised();
        let path = folder.join("0001.tape");
        let mut bytes = fixture.disk.content(&path);
        bytes[at as usize] ^= 1 << bit;
        fixture.disk.put(&path, bytes);
        let found = problems(&fixture, &folder, true);
        let header = at < (BLOCK0_BYTES + STREAM_HEADER_BYTES) as u64;
        let frame = ((at - BLOCK0_BYTES as u64) / FRAME_BYTES as u64) as u32;
        let located = match frame {
            // Salt and prefix are in every frame's key or nonce.
            _ if header => found.iter().any(|p| matches!(p, Problem::NoStream | Problem::Frames { first: 0, last: 3 })),
            4 => found.contains(&Problem::NoFinalFrame { frame: 4 }),
            frame => found.contains(&Problem::Frames { first: frame, last: frame }),
        };
        prop_assert!(located, "{:?}", found);
        prop_assert!(header || found.contains(&Problem::Sha256(1)));
    }

    /// But for the spaces, and what only helps to find the key, everything in block 0 is checked against something sealed.
    #[test]
    fn a_changed_block_0_is_found_or_means_the_same(at in 0usize..4096, to in any::<u8>()) {
        let (fixture, folder) = finalised();
        let path = folder.join("0001.tape");
        let mut bytes = fixture.disk.content(&path);
        bytes[at] = to;
        let (before, after) = (fixture.disk.content(&path), bytes.clone());
        fixture.disk.put(&path, bytes);
        let found = problems(&fixture, &folder, true);
        if found.is_empty() {
            let without = |block: &[u8]| {
                let mut block0 = crate::seal::Block0::decode(block).unwrap();
                block0.keys.iter_mut().for_each(|key| (key.key_id.clear(), key.created.clear()).0);
                block0.started.clear();
                block0.audio.as_mut().unwrap().rate = 8000;
                block0
            };
            prop_assert_eq!(without(&before), without(&after));
        }
    }
}
