//! Export: every sample in its place, damage as silence with a warning, never a panic.

use proptest::prelude::*;

use super::*;
use crate::media::Interval;
use crate::seal::{Block0, StreamSeed, seal_whole};
use crate::store::testing::{Fixture, STARTED};

fn exported(fixture: &Fixture, path: &Path) -> (Exported, Vec<u8>) {
    let mut wav = Vec::new();
    let exported = export(&fixture.disk, path, &fixture.keys, &mut wav, &mut |_| {}).unwrap();
    let info = wav::parse(&wav).unwrap();
    assert_eq!((info.format, info.channels), (exported.audio.format, exported.audio.channels));
    assert_eq!(u64::from(info.data_bytes), exported.samples * wav::block_align(&exported.audio));
    let data = wav.split_off(info.data_at);
    assert_eq!(data.len() as u64, u64::from(info.data_bytes) + u64::from(info.data_bytes) % 2);
    (exported, data)
}

#[test]
fn segments_are_joined_sample_by_sample() {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 5001);
    fixture.segment(2, 5001, 3000);
    let folder = fixture.finalise(&[(1, 0, 5001), (2, 5001, 3000)]).unwrap();
    for path in [folder.clone(), folder.join(MANIFEST)] {
        let (exported, data) = exported(&fixture, &path);
        assert_eq!(exported.warnings, Vec::<String>::new());
        assert!(data == fixture.samples(0, 8001));
    }
}

#[test]
fn one_segment_is_exported_from_its_own_start() {
    let fixture = Fixture::new();
    let path = fixture.segment(2, 5001, 3000);
    let (exported, data) = exported(&fixture, &path);
    assert_eq!((exported.audio.start, exported.samples), (5001, 3000));
    assert!(data == fixture.samples(5001, 3000));
}

#[test]
fn a_gap_is_silence_and_an_overlap_is_written_once() {
    let fixture = Fixture::new();
    fixture.segment(1, 100, 3000);
    fixture.segment(2, 3050, 3000);
    fixture.segment(3, 6150, 10);
    let folder = fixture.finalise(&[(1, 100, 3000), (2, 3050, 3000), (3, 6150, 10)]).unwrap();
    let (exported, data) = exported(&fixture, &folder);
    let silence = [0xff; 200];
    assert!(
        data == [&silence[..], &fixture.samples(100, 5950), &silence, &fixture.samples(6150, 10)].concat()
    );
    assert_eq!(exported.warnings, ["segment 2 overlaps the one before it"]);
}

#[test]
fn a_damaged_frame_is_silence_with_a_warning_that_says_where() {
    let fixture = Fixture::new();
    let path = fixture.segment(1, 0, 5000);
    fixture.flip(&path, AUDIO_OFFSET + FRAME_BYTES as u64 + 9);
    let (exported, data) = exported(&fixture, &path);
    assert_eq!(exported.warnings, ["segment 1, frame 2 is damaged: silence from 0.255 s to 0.510 s"]);
    let (before, after) = (fixture.samples(0, 2040), fixture.samples(4080, 920));
    assert!(data == [&before[..], &[0xff; 4080], &after].concat());
}

#[test]
fn an_open_or_cut_file_gives_what_is_good() {
    let fixture = Fixture::new();
    let part = fixture.open_segment(1, 0, 3, &[0; 100_000]);
    let (exported1, data) = exported(&fixture, &part);
    assert!(exported1.warnings[0].contains("is not closed"), "{exported1:?}");
    assert!(data == fixture.samples(0, 3 * 2040));
    let path = fixture.segment(2, 0, 5000);
    fixture.disk.truncate(&path, AUDIO_OFFSET + 5000).unwrap();
    let (exported2, data) = exported(&fixture, &path);
    assert!(exported2.warnings[0].contains("is cut: 1 of 3 frames"), "{exported2:?}");
    assert!(data == fixture.samples(0, 2040));
}

/// Puts a segment of three tracks and one frame behind 2,040 samples; sample `n` of all tracks together is `n`.
fn segment_of_three_tracks(fixture: &Fixture, format: SampleFormat) {
    let audio = AudioParams { format, rate: 8000, channels: 3, start: 2040 };
    let keyring = fixture.keyring();
    let block0 = Block0::segment(fixture.recording, 2, "acme", STARTED, audio, keyring.wrapped.clone());
    let mut plain = wav::header(&audio, 1).to_vec();
    plain.extend((0..4080u32).map(|at| at as u8));
    let seed = StreamSeed::new(&mut fixture.entropy());
    let sealed = seal_whole(block0, &keyring.key, &seed, &plain, 0, 1360).unwrap();
    fixture.disk.put(&active_folder(&fixture.root, fixture.recording).join("0002.tape"), sealed);
}

#[test]
fn tracks_that_came_later_are_silent_before() {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 2040);
    segment_of_three_tracks(&fixture, SampleFormat::Mulaw);
    let (exported, data) = exported(&fixture, &active_folder(&fixture.root, fixture.recording));
    assert_eq!((exported.audio.format, exported.audio.channels), (SampleFormat::Mulaw, 3));
    let first: Vec<u8> =
        fixture.samples(0, 2040).as_chunks().0.iter().flat_map(|&[a, b]: &[u8; 2]| [a, b, 0xff]).collect();
    let second: Vec<u8> = (0..4080u32).map(|at| at as u8).collect();
    assert!(data == [first, second].concat());
}

#[test]
fn a_gap_that_a_pause_has_cut_out_is_not_written() {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 2040);
    fixture.segment(2, 10_000, 2040);
    fixture.segment(3, 12_060, 10);
    let mut manifest = fixture.manifest(&[(1, 0, 2040), (2, 10_000, 2040), (3, 12_060, 10)]);
    manifest.intervals =
        vec![Interval { track: 0, start: 1900, end: 10_000, cause: Cause::Pause, packets: 0, merged: false }];
    let folder = fixture.finish(manifest).unwrap();
    let (exported, data) = exported(&fixture, &folder);
    assert_eq!((exported.cut, exported.warnings.len()), (10_000 - 2040, 0));
    let (before, after) = (fixture.samples(0, 2040), fixture.samples(10_000, 2040));
    assert!(data == [&before[..], &after, &[0xff; 40], &fixture.samples(12_060, 10)].concat());
}

#[test]
fn segments_of_different_formats_become_pcm16() {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 2040);
    segment_of_three_tracks(&fixture, SampleFormat::Alaw);
    let (exported, data) = exported(&fixture, &active_folder(&fixture.root, fixture.recording));
    assert_eq!((exported.audio.format, exported.audio.channels), (SampleFormat::Pcm16, 3));
    let at = |sample: usize, channel: usize| {
        let from = (sample * 3 + channel) * 2;
        i16::from_le_bytes([data[from], data[from + 1]])
    };
    assert_eq!(at(7, 1), mulaw_to_linear(fixture.samples(7, 1)[1]));
    assert_eq!(at(7, 2), 0, "the channel that the first segment does not have");
    assert_eq!(at(2040 + 100, 2), alaw_to_linear((302 % 256) as u8));
}

#[test]
fn a_start_that_nobody_can_mean_is_refused() {
    let fixture = Fixture::new();
    fixture.segment(1, u64::MAX - 10, 2040);
    let folder = active_folder(&fixture.root, fixture.recording);
    let refused = export(&fixture.disk, &folder, &fixture.keys, &mut Vec::new(), &mut |_| {});
    assert!(matches!(refused, Err(ExportError::Gap(_))), "{refused:?}");
}

#[test]
fn a_place_that_block_0_and_the_manifest_dispute_is_the_manifests() {
    let fixture = Fixture::new();
    fixture.segment(1, 0, 2040);
    let folder = fixture.finalise(&[(1, 0, 2040)]).unwrap();
    let path = folder.join("0001.tape");
    let mut bytes = fixture.disk.content(&path);
    let mut block0 = Block0::decode(&bytes).unwrap();
    block0.audio.as_mut().unwrap().start = 77;
    bytes[..BLOCK0_BYTES].copy_from_slice(&block0.encode().unwrap());
    fixture.disk.put(&path, bytes);
    let (exported, data) = exported(&fixture, &folder);
    assert!(exported.warnings[0].contains("differs from the manifest"));
    assert!(data == fixture.samples(0, 2040));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_file_changed_anywhere_is_exported_or_refused(at in 0usize..8192 + 3 * 4096 + 16, to in any::<u8>(), cut in 0usize..30_000) {
        let fixture = Fixture::new();
        let path = fixture.segment(1, 0, 5000);
        let mut bytes = fixture.disk.content(&path);
        bytes[at] = to;
        bytes.truncate(cut);
        fixture.disk.put(&path, bytes);
        let mut wav = Vec::new();
        if let Ok(exported) = export(&fixture.disk, &path, &fixture.keys, &mut wav, &mut |_| {}) {
            prop_assert!(exported.samples <= 3 * 2040);
        }
    }
}
