//! Planted defects, each of which must be found, and clean runs, in which nothing may be.
//!
//! The recordings are made by the recorder's own parts: its track lays packets on the timeline, its sealer and its store write them. What is left out
//! is the network, the shard and its files.

use proptest::prelude::*;
use tapehead::base::{Entropy, Mono, Prng, Wall};
use tapehead::keys::KeyContext;
use tapehead::media::{Fate, Intervals, Payload, SampleFormat, Track, Verdict};
use tapehead::recording::manifest::{self, Manifest, SegmentEntry};
use tapehead::recording::{layout, wav};
use tapehead::rtp;
use tapehead::seal::{AudioParams, Block0, DataKey, StreamSeed, seal_whole};
use tapehead::store::{Keyring, OsDisk, Writer, finalise};

use super::*;
use crate::profile::{Codec, Dtx, GilbertElliott, Hold, Late, Reorder};
use crate::record::{Recorder, TrackRecord};
use crate::schedule::{COMFORT_NOISE, Packet, Schedule, Sent};
use crate::signal::{STRANGER, Signal};

const SEED: u64 = 0x5eed;
const STARTED: Wall = Wall(1_795_269_802_512_000_000);
/// From the recording's zero to the start of media, in samples: 85 ms.
const LEAD: u64 = 680;
const HORIZON: u64 = 1600;
/// Samples of each track in a frame of two.
const FRAME: u64 = 2040;

/// One call as the recorder has it, before it is sealed: where a defect is planted.
struct Taped {
    channels: Vec<Vec<u8>>,
    manifest: Manifest,
    format: SampleFormat,
}

/// A run in a folder of its own.
struct Fixture {
    home: tempfile::TempDir,
    keys: LocalKeys,
    profile: Profile,
    taken: u64,
    /// The sender stands still from here on for so long, in milliseconds; then it sends all that was due at once.
    pause: Option<(u64, u64)>,
    entropy: Seeded,
    calls: Vec<CallRecord>,
}

struct Seeded(Prng);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

impl Fixture {
    /// Calls of `taken` packets per track.
    fn new(profile: Profile, taken: u64) -> Fixture {
        profile.check().unwrap();
        let home = tempfile::tempdir().unwrap();
        let keys = LocalKeys::open_or_create(&home.path().join("tapehead.key")).unwrap();
        std::fs::create_dir(home.path().join("recordings")).unwrap();
        Fixture { home, keys, profile, taken, pause: None, entropy: Seeded(Prng::new(1)), calls: Vec::new() }
    }

    /// Records a call, with `plant` in it.
    fn call(&mut self, plant: impl FnOnce(&mut Taped)) {
        let number = self.calls.len() as u64;
        let mut tracks = Vec::new();
        let mut taped = Taped {
            channels: Vec::new(),
            manifest: Manifest::new(
                tapehead::base::RecordingId::new(STARTED, &mut self.entropy),
                "default",
                STARTED,
            ),
            format: match self.profile.codec {
                Codec::Pcmu => SampleFormat::Mulaw,
                Codec::Pcma => SampleFormat::Alaw,
            },
        };
        let call_id = format!("lt-{SEED:x}-{number}-test@127.0.0.1");
        taped.manifest.sip.call_id.clone_from(&call_id);
        for track in 0..2 {
            tracks.push(self.tape(number, track, &mut taped));
        }
        let length = taped.channels.iter().map(Vec::len).max().unwrap();
        for (track, channel) in taped.channels.iter_mut().enumerate() {
            let from = channel.len() as u64;
            channel.resize(length, recorded::SILENT);
            if from < length as u64 {
                let cause = tapehead::media::Cause::NoMedia;
                let tail = tapehead::media::Interval {
                    track: track as u8,
                    start: from,
                    end: length as u64,
                    cause,
                    packets: 0,
                    merged: false,
                };
                taped.manifest.intervals.push(tail);
            }
        }
        plant(&mut taped);
        self.write(taped);
        let ms = |ms: u64| STARTED + Duration::from_millis(ms);
        self.calls.push(CallRecord {
            call: number,
            call_id,
            profile: self.profile.name.clone(),
            invited: ms(0).to_rfc3339(),
            answer_ms: Some(10.0),
            media_ns: Some(ms(90).0),
            tracks,
            ended: ms(90 + length as u64 / 8).to_rfc3339(),
            bye_ms: Some(1.0),
            end: End::HungUp,
        });
    }

    /// Lays a stream on a channel as a recorder with a horizon does.
    fn tape(&self, call: u64, number: u32, taped: &mut Taped) -> TrackRecord {
        let mut track = Track::new(number as u8, HORIZON);
        let (own, stranger) = (Signal::new(SEED, call, number), Signal::new(SEED, call, number | STRANGER));
        let mut tape = Tape::default();
        let mut datagrams = 0;
        let schedule = Schedule::new(SEED, call, number, &self.profile);
        for packet in schedule.take(self.taken as usize) {
            let due = packet.at.as_nanos() as u64 / 125_000;
            let paused = self.pause.map(|(from, for_)| from * 8..(from + for_) * 8);
            let sent = paused.filter(|pause| pause.contains(&due)).map_or(due, |pause| pause.end);
            let arrival = sent + LEAD;
            tape.seal(arrival.saturating_sub(HORIZON) / FRAME * FRAME, &mut track);
            let times = match packet.fate {
                Sent::Lost => 0,
                Sent::Twice => 2,
                _ => 1,
            };
            for _ in 0..times {
                datagrams += 1;
                if packet.fate == Sent::WrongSource {
                    track.counters.count(Fate::WrongSource);
                    let mut nobodys = [0; 480];
                    stranger.fill(packet.position, &mut nobodys);
                } else {
                    tape.receive(&packet, arrival, &own, &mut track);
                }
            }
        }
        tape.seal(u64::MAX, &mut track);
        let report = manifest::Track {
            channel: number as u16,
            counters: track.counters,
            first: track.first(),
            anchors: track.anchors().to_vec(),
            ..manifest::Track::default()
        };
        taped.manifest.tracks.push(report);
        taped.manifest.intervals.extend(tape.intervals.into_vec());
        taped.channels.push(tape.codes);
        let late_us_max = self.pause.map_or(300, |(_, for_)| for_ * 1000);
        TrackRecord { taken: self.taken, datagrams, refused: 0, late_us_max }
    }

    /// Seals a call in one segment, by the recorder's own means.
    fn write(&mut self, taped: Taped) {
        let Taped { channels, mut manifest, format } = taped;
        let root = self.home.path().join("recordings");
        let folder = layout::active_folder(&root, manifest.recording);
        std::fs::create_dir_all(&folder).unwrap();
        let samples = channels[0].len() as u64;
        let audio = AudioParams { format, rate: 8000, channels: channels.len() as u16, start: 0 };
        let frames = wav::frames(&audio, samples) as u32;
        let mut plain = wav::header(&audio, frames).to_vec();
        for at in 0..samples as usize {
            for channel in &channels {
                store(channel[at], format, self.profile.codec, &mut plain);
            }
        }
        let key = DataKey::new([9; 32]);
        let context = KeyContext { recording: manifest.recording, tenant: "default" };
        let wrapped = vec![self.keys.wrap(&key, context, STARTED).unwrap()];
        let block0 = Block0::segment(manifest.recording, 1, "default", STARTED, audio, wrapped.clone());
        let seed = StreamSeed::new(&mut self.entropy);
        let sealed = seal_whole(block0, &key, &seed, &plain, format.silence(), samples).unwrap();
        let file = layout::segment_file(1);
        std::fs::write(folder.join(&file), sealed).unwrap();
        manifest.samples = samples;
        manifest.segments = vec![SegmentEntry {
            number: 1,
            file,
            format,
            start: 0,
            samples,
            frames,
            bytes: 0,
            sha256: String::new(),
            recovered: false,
        }];
        manifest.ended = Some((STARTED + Duration::from_secs(1)).to_rfc3339());
        let keyring = Keyring { key, wrapped };
        let sealed = finalise(&OsDisk, &root, manifest, &keyring, &mut self.entropy).unwrap();
        Writer::default().write_one(&OsDisk, &root, &sealed).unwrap();
    }

    fn verify(&self) -> Verified {
        let (recordings, run) = (self.home.path().join("recordings"), self.home.path().join("run"));
        let mut recorder = Recorder::create(&run).unwrap();
        self.calls.iter().for_each(|call| recorder.write(call).unwrap());
        recorder.finish().unwrap();
        let profile = toml::to_string(&self.profile).unwrap();
        // Tables of the profile become tables of the array's element.
        let profile = profile.replace("\n[", "\n[profile.");
        std::fs::write(run.join(record::PLAN), format!("seed = {SEED}\ncalls = 3\n[[profile]]\n{profile}"))
            .unwrap();
        let verification = Verification {
            recordings: &recordings,
            run: &run,
            keys: &self.keys,
            wait: Duration::ZERO,
            horizon_ms: 200,
            misplaced_ms: 40,
            threads: 2,
        };
        verification.verify().unwrap()
    }
}

/// Writes one sample in a format.
fn store(code: u8, format: SampleFormat, codec: Codec, out: &mut Vec<u8>) {
    let silent = code == recorded::SILENT;
    match format {
        SampleFormat::Pcm16 if silent => out.extend([0, 0]),
        SampleFormat::Pcm16 => {
            let linear = match codec {
                Codec::Pcmu => tapehead::media::mulaw_to_linear(code),
                Codec::Pcma => tapehead::media::alaw_to_linear(code),
            };
            out.extend(linear.to_le_bytes());
        }
        _ if silent => out.push(format.silence()),
        _ => out.push(code),
    }
}

/// A channel while it is laid.
#[derive(Default)]
struct Tape {
    codes: Vec<u8>,
    sealed: u64,
    intervals: Intervals,
}

impl Tape {
    fn receive(&mut self, packet: &Packet, arrival: u64, signal: &Signal, track: &mut Track) {
        let mut payload = [0; 480];
        signal.fill(packet.position, &mut payload);
        let noise = packet.payload_type == COMFORT_NOISE;
        let payload = if noise { &payload[..1] } else { &payload[..usize::from(packet.samples)] };
        let kind = match packet.payload_type {
            COMFORT_NOISE => Payload::ComfortNoise,
            8 => Payload::Pcma,
            _ => Payload::Pcmu,
        };
        let (payload_type, sequence, timestamp) = (packet.payload_type, packet.sequence, packet.timestamp);
        let (marker, ssrc) = (packet.marker, packet.ssrc);
        let rtp = rtp::Packet {
            payload_type,
            marker,
            sequence,
            timestamp,
            ssrc,
            csrc: &[],
            extension: None,
            payload,
        };
        let fate = match track.receive(&rtp, kind, (Mono(arrival * 125_000), arrival)) {
            Verdict::Done(fate) => fate,
            Verdict::Audio { position } => self.place(position, payload, track),
        };
        track.counters.count(fate);
    }

    fn place(&mut self, position: i64, payload: &[u8], track: &mut Track) -> Fate {
        let (mut late, mut placed) = (0, 0);
        let end = (position + payload.len() as i64).max(0) as usize;
        self.codes.resize(self.codes.len().max(end), recorded::SILENT);
        for (at, code) in (position..).zip(payload) {
            if at < self.sealed as i64 {
                late += 1;
            } else if self.codes[at as usize] == recorded::SILENT {
                self.codes[at as usize] = *code;
                placed += 1;
            }
        }
        if late > 0 {
            track.late(position.max(0) as u64, (position + late).max(0) as u64);
        }
        match (placed, late) {
            (1.., _) => Fate::Placed,
            (_, 1..) => Fate::Late,
            _ => Fate::Overlap,
        }
    }

    fn seal(&mut self, to: u64, track: &mut Track) {
        let to = to.min(if to == u64::MAX { self.codes.len() as u64 } else { u64::MAX });
        let mut at = self.sealed;
        while at < to {
            let silent = |at: u64| self.codes.get(at as usize).is_none_or(|&code| code == recorded::SILENT);
            let run = (at..to).take_while(|&next| silent(next) == silent(at)).count() as u64;
            if silent(at) {
                track.uncovered(at, at + run);
            }
            at += run;
        }
        self.sealed = self.sealed.max(to);
        if to == self.codes.len() as u64 {
            track.finish();
        }
        track.take_settled(|interval| {
            self.intervals.push(interval);
            true
        });
    }
}

fn clean() -> Profile {
    Profile::default()
}

fn all_faults() -> Profile {
    Profile {
        name: "all".to_owned(),
        loss: 0.02,
        gilbert_elliott: Some(GilbertElliott {
            to_bad: 0.01,
            to_good: 0.3,
            loss_in_bad: 0.8,
            loss_in_good: 0.0,
        }),
        reorder: Some(Reorder { share: 0.03, packets: 2 }),
        duplicate: 0.02,
        jitter_ms: 15,
        late: Some(Late { share: 0.005, by_ms: 700 }),
        ssrc_change_s: Some(3.0),
        timestamp_jump_s: Some(4.0),
        dtx: Some(Dtx { talk_ms: 1500, silence_ms: 900, comfort_noise: true }),
        hold: Some(Hold { after_ms: 4000, for_ms: 1500 }),
        late_start_ms: 700,
        wrong_source: 0.02,
        ..clean()
    }
}

/// The verdict on a clean call beside one with this in it: the first must be good, the second not.
fn planted(profile: Profile, plant: impl FnOnce(&mut Taped)) -> (Totals, CallVerdict) {
    let mut fixture = Fixture::new(profile, 400);
    fixture.call(|_| {});
    fixture.call(plant);
    let Verified { totals, calls } = fixture.verify();
    assert!(calls[0].good, "the clean call: {:#?}", calls[0]);
    assert!(!calls[1].good && !totals.is_good());
    assert_eq!(totals.calls_bad, 1);
    (totals, calls.into_iter().nth(1).unwrap())
}

fn assert_good(fixture: &Fixture) -> Totals {
    let Verified { totals, calls } = fixture.verify();
    assert!(totals.is_good(), "{:#?}\n{}", calls.iter().find(|call| !call.good), totals.text());
    totals
}

#[test]
fn a_clean_run_is_right_to_the_last_sample() {
    let mut fixture = Fixture::new(clean(), 500);
    (0..3).for_each(|_| fixture.call(|_| {}));
    let totals = assert_good(&fixture);
    assert_eq!((totals.calls, totals.tracks, totals.right), (3, 6, 6 * 500 * 160));
    assert_eq!((totals.sent, totals.silence.total()), (totals.right, 6 * LEAD));
    assert_eq!(totals.misplaced_ms_max, 0.0);
}

#[test]
fn every_fault_of_the_schedule_is_accounted_for() {
    for seed_shift in 0..2 {
        let mut fixture = Fixture::new(Profile { codec: Codec::Pcma, ..all_faults() }, 900 + seed_shift);
        (0..12).for_each(|_| fixture.call(|_| {}));
        let totals = assert_good(&fixture);
        let silence = totals.silence;
        assert!(silence.lost > 0 && silence.dtx > 0 && silence.hold > 0 && silence.before > 0);
        assert!(totals.right * 10 > totals.sent * 9);
    }
}

#[test]
fn late_packets_are_late_and_nothing_else() {
    let late = Late { share: 0.02, by_ms: 900 };
    let mut fixture = Fixture::new(Profile { late: Some(late), ..clean() }, 900);
    (0..4).for_each(|_| fixture.call(|_| {}));
    let totals = assert_good(&fixture);
    assert!(totals.silence.late > 20 * 160);
    assert_eq!(totals.right + totals.silence.late, totals.sent);
}

#[test]
fn late_packets_before_silences_move_nothing() {
    let profile = Profile {
        late: Some(Late { share: 0.02, by_ms: 600 }),
        dtx: Some(Dtx { talk_ms: 700, silence_ms: 1500, comfort_noise: false }),
        jitter_ms: 30,
        loss: 0.01,
        ..clean()
    };
    let mut fixture = Fixture::new(profile, 600);
    (0..8).for_each(|_| fixture.call(|_| {}));
    let totals = assert_good(&fixture);
    assert_eq!((totals.shifts_explained, totals.shifts_unexplained), (0, 0));
}

#[test]
fn a_sender_that_stood_still_is_not_the_recorder_s_fault() {
    let network = Profile { loss: 0.02, duplicate: 0.02, jitter_ms: 15, late_start_ms: 700, ..clean() };
    for (profile, length) in [(clean(), 300), (clean(), 3000), (clean(), 7000), (network, 4000)] {
        let mut fixture = Fixture::new(profile, 900);
        fixture.pause = Some((5000, length));
        (0..6).for_each(|_| fixture.call(|_| {}));
        let totals = assert_good(&fixture);
        assert!(totals.silence.late_sender > 0, "{length}: {}", totals.text());
        assert_eq!(totals.calls_paused, if length < 500 { 0 } else { 6 });
        assert_eq!(totals.text().contains("sender paused"), length >= 500);
    }
}

#[test]
fn what_a_sender_that_stood_still_lost_is_its_own_and_wrong_samples_are_still_the_recorder_s() {
    let mut fixture = Fixture::new(clean(), 900);
    fixture.pause = Some((5000, 2000));
    fixture.call(|taped| taped.manifest.tracks[0].counters.kernel_drops = 9);
    assert_good(&fixture);
    fixture.call(|taped| taped.channels[0][20_000] ^= 2);
    std::fs::remove_dir_all(fixture.home.path().join("run")).unwrap();
    let Verified { totals, calls } = fixture.verify();
    assert_eq!((totals.wrong, calls[0].good, calls[1].good), (1, true, false));
}

#[test]
fn a_clock_put_right_is_seen_and_bounded() {
    for drift_ppm in [-3000.0, 3000.0] {
        let mut fixture = Fixture::new(Profile { drift_ppm, ..clean() }, 4000);
        fixture.call(|_| {});
        let totals = assert_good(&fixture);
        assert!(totals.shifts_explained > 0, "{drift_ppm}");
        assert!(totals.silence.reanchored > 0);
    }
}

#[test]
fn linear_samples_are_judged_as_the_codes_they_came_from() {
    let mut fixture = Fixture::new(Profile { codec: Codec::Pcma, loss: 0.05, ..clean() }, 300);
    fixture.call(|taped| taped.format = SampleFormat::Pcm16);
    assert_good(&fixture);
}

#[test]
fn one_wrong_sample_is_found() {
    let (totals, call) = planted(clean(), |taped| taped.channels[1][20_000] ^= 2);
    assert_eq!((totals.wrong, call.tracks[1].wrong, call.tracks[0].wrong), (1, 1, 0));
    assert_eq!((totals.unaccounted, totals.extra), (0, 0));
}

#[test]
fn swapped_channels_are_found_and_named() {
    let (totals, call) = planted(clean(), |taped| taped.channels.swap(0, 1));
    assert_eq!(totals.wrong, 2 * 400 * 160);
    assert!(
        call.tracks[0].findings.iter().any(|finding| finding.contains("channel 0 holds audio of track 1")),
        "{call:#?}"
    );
}

#[test]
fn channels_swapped_for_a_while_are_found() {
    let (totals, call) = planted(all_faults(), |taped| {
        let [left, right] = &mut taped.channels[..] else { panic!("two tracks") };
        left[20_000..28_000].swap_with_slice(&mut right[20_000..28_000]);
    });
    assert!(totals.wrong + totals.extra + totals.unaccounted > 4000, "{}", totals.text());
    assert!(call.tracks.iter().all(|track| track.wrong + track.extra > 0));
}

#[test]
fn a_shift_by_one_sample_is_found_wherever_it_is() {
    // From the middle on, one sample early.
    let (totals, call) = planted(clean(), |taped| {
        taped.channels[0].remove(30_007);
        taped.channels[0].push(recorded::SILENT);
    });
    assert_eq!(
        call.tracks[0].shifts.iter().map(|shift| (shift.by, shift.explained)).collect::<Vec<_>>(),
        [(-1, false)]
    );
    assert!(totals.wrong > 30_000);
    // The whole of a track: it shows against what the recorder says of it.
    let (_, call) = planted(clean(), |taped| {
        taped.channels[1].insert(0, recorded::SILENT);
        taped.channels[1].pop();
    });
    assert!(call.tracks[1].findings.iter().any(|finding| finding.contains("1 samples from there")));
}

#[test]
fn a_dropped_frame_is_ours() {
    let frame = 5 * FRAME as usize..6 * FRAME as usize;
    let (totals, _) = planted(clean(), |taped| {
        taped.channels.iter_mut().for_each(|channel| channel[frame.clone()].fill(recorded::SILENT));
    });
    assert_eq!((totals.unaccounted, totals.wrong, totals.extra), (2 * FRAME, 0, 0));
    let (totals, _) = planted(all_faults(), |taped| {
        taped.channels.iter_mut().for_each(|channel| channel[frame.clone()].fill(recorded::SILENT));
    });
    assert!(totals.unaccounted > 0 && totals.wrong == 0, "{}", totals.text());
}

#[test]
fn an_extra_tail_is_found_audible_or_silent() {
    let (totals, _) = planted(clean(), |taped| {
        let tail: Vec<u8> = taped.channels[0][8000..12_080].to_vec();
        taped.channels[0].extend(&tail);
        let length = taped.channels[0].len();
        taped.channels[1].resize(length, recorded::SILENT);
    });
    assert_eq!(totals.extra, 4080);
    let mut fixture = Fixture::new(clean(), 100);
    fixture.call(|_| {});
    fixture.calls[0].ended = (STARTED + Duration::from_millis(300)).to_rfc3339();
    let Verified { calls, .. } = fixture.verify();
    assert!(calls[0].findings[0].contains("the call was over after 300 ms"), "{:?}", calls[0].findings);
}

#[test]
fn recordings_missing_and_recordings_extra_are_found() {
    let mut fixture = Fixture::new(clean(), 100);
    (0..3).for_each(|_| fixture.call(|_| {}));
    let unknown = fixture.calls.pop().unwrap();
    let totals = fixture.verify().totals;
    assert_eq!((totals.recordings_extra, totals.recordings_missing, totals.is_good()), (1, 0, false));
    std::fs::remove_dir_all(fixture.home.path().join("run")).unwrap();
    fixture.calls.push(unknown);
    fixture.calls.push(CallRecord {
        call: 3,
        call_id: format!("lt-{SEED:x}-3-test@127.0.0.1"),
        ..fixture.calls[0].clone()
    });
    let totals = fixture.verify().totals;
    assert_eq!((totals.recordings_extra, totals.recordings_missing, totals.is_good()), (0, 1, false));
}

#[test]
fn recordings_of_another_run_of_the_same_seed_are_nobody_s_business() {
    let mut fixture = Fixture::new(clean(), 100);
    fixture.call(|_| {});
    fixture.call(|taped| taped.manifest.sip.call_id = format!("lt-{SEED:x}-0-other@127.0.0.1"));
    fixture.calls.pop();
    let totals = assert_good(&fixture);
    assert_eq!((totals.recordings_foreign, totals.recordings_extra), (1, 0));
}

#[test]
fn a_recording_of_a_refused_call_is_extra() {
    let mut fixture = Fixture::new(clean(), 100);
    (0..2).for_each(|_| fixture.call(|_| {}));
    fixture.calls[1].end = End::Refused(503);
    let totals = fixture.verify().totals;
    assert_eq!((totals.refused, totals.recordings_extra, totals.is_good()), (1, 1, false));
}

#[test]
fn a_damaged_file_is_told_and_its_audio_is_ours() {
    let mut fixture = Fixture::new(clean(), 300);
    fixture.call(|_| {});
    let folder = tapehead::store::find_recordings(&OsDisk, &fixture.home.path().join("recordings"));
    let path = folder[0].join(layout::segment_file(1));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + 3 * 4096 + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let Verified { totals, calls } = fixture.verify();
    assert_eq!((totals.unaccounted, totals.wrong), (2 * FRAME, 0));
    assert!(calls[0].findings[0].contains("the first is 4"), "{:?}", calls[0].findings);
}

#[test]
fn tracks_apart_and_tracks_late_together_are_found() {
    let delayed = |taped: &mut Taped, tracks: std::ops::Range<usize>| {
        for track in tracks {
            let channel = &mut taped.channels[track];
            channel.splice(0..0, vec![recorded::SILENT; 800]);
            channel.truncate(channel.len() - 800);
            taped.manifest.tracks[track].anchors.iter_mut().for_each(|anchor| anchor.position += 800);
        }
    };
    let (totals, call) = planted(clean(), |taped| delayed(taped, 0..1));
    assert_eq!(totals.misplaced_ms_max, 100.0);
    assert!(call.findings[0].contains("100.0 ms apart"), "{:?}", call.findings);
    let (_, call) = planted(clean(), |taped| delayed(taped, 0..2));
    assert!(call.findings[0].contains("media starts 185.0 ms into the recording"), "{:?}", call.findings);
}

#[test]
fn what_the_recorder_says_wrongly_is_told() {
    let said = |plant: fn(&mut Taped), what: &str| {
        let (totals, call) = planted(Profile { loss: 0.05, duplicate: 0.05, ..clean() }, plant);
        assert_eq!((totals.wrong, totals.extra, totals.unaccounted), (0, 0, 0));
        assert!(call.tracks[0].findings.iter().any(|finding| finding.contains(what)), "{call:#?}");
    };
    said(
        |taped| taped.manifest.tracks[0].counters.count(Fate::Duplicate),
        "duplicates: the recorder counted",
    );
    said(|taped| taped.manifest.tracks[0].counters.count(Fate::SrtpAuth), "replays and packets of strangers");
    said(|taped| taped.manifest.tracks[0].counters.lost += 1, "lost packets");
    said(|taped| taped.manifest.tracks[0].counters.kernel_drops = 7, "kernel drops: the recorder counted 7");
    said(|taped| taped.manifest.tracks[0].anchors[0].timestamp += 5, "which was not sent");
    said(
        |taped| {
            let own =
                |one: &tapehead::media::Interval| one.track == 0 && one.cause == tapehead::media::Cause::Loss;
            let at = taped.manifest.intervals.iter().position(own).unwrap();
            taped.manifest.intervals.remove(at);
        },
        "is in no interval",
    );
    said(
        |taped| {
            let lost = taped
                .manifest
                .intervals
                .iter_mut()
                .find(|one| one.track == 0 && one.cause == tapehead::media::Cause::Loss);
            lost.unwrap().cause = tapehead::media::Cause::Hold;
        },
        "is put down to Hold",
    );
}

#[test]
fn a_client_that_vanished_is_judged_by_what_it_sent() {
    let mut fixture = Fixture::new(Profile { vanish_after_ms: Some(5000), ..clean() }, 400);
    fixture.call(|taped| {
        // The recorder waits for more.
        let (from, to) = (taped.channels[0].len(), taped.channels[0].len() + 30_000);
        for (track, channel) in (0..).zip(&mut taped.channels) {
            channel.resize(to, recorded::SILENT);
            taped.manifest.intervals.push(tapehead::media::Interval {
                track,
                start: from as u64,
                end: to as u64,
                cause: tapehead::media::Cause::NoMedia,
                packets: 0,
                merged: false,
            });
        }
    });
    fixture.calls[0].end = End::Vanished;
    fixture.calls[0].ended = (STARTED + Duration::from_millis(5100)).to_rfc3339();
    assert_eq!(assert_good(&fixture).right, 2 * 250 * 160);
}

#[test]
fn a_recording_still_open_is_not_judged_if_its_client_vanished_and_bad_if_it_hung_up() {
    let mut fixture = Fixture::new(clean(), 100);
    (0..2).for_each(|_| fixture.call(|_| {}));
    let root = fixture.home.path().join("recordings");
    let active = root.join(layout::ACTIVE);
    let folders = tapehead::store::find_recordings(&OsDisk, &root);
    let of_second = folders.iter().find(|folder| {
        let manifest = tapehead::store::read_manifest(&OsDisk, &folder.join(layout::MANIFEST), &fixture.keys);
        manifest.unwrap().sip.call_id == fixture.calls[1].call_id
    });
    std::fs::rename(of_second.unwrap(), active.join(of_second.unwrap().file_name().unwrap())).unwrap();
    fixture.calls[1].end = End::Vanished;
    let totals = fixture.verify().totals;
    assert_eq!((totals.open, totals.calls, totals.is_good()), (1, 1, true));
    std::fs::remove_dir_all(fixture.home.path().join("run")).unwrap();
    fixture.calls[1].end = End::HungUp;
    let Verified { totals, calls } = fixture.verify();
    assert_eq!((totals.open, totals.calls, totals.is_good()), (0, 2, false));
    assert!(calls[1].findings[0].contains("is still being written"), "{:?}", calls[1].findings);
}

#[test]
fn a_run_without_calls_proves_nothing() {
    assert!(!Fixture::new(clean(), 1).verify().totals.is_good());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_defect_of_any_place_and_kind_stays_unseen(at in 2000usize..60_000, kind in 0u8..5, length in 1usize..5000) {
        let (totals, _) = planted(Profile { jitter_ms: 10, ..clean() }, |taped| {
            let channel = &mut taped.channels[kind as usize % 2];
            let to = (at + length).min(channel.len());
            match kind {
                0 => channel[at] ^= 0x10,
                1 => channel[at..to].fill(recorded::SILENT),
                2 => channel[at..to].fill(0x30),
                3 => { channel.drain(at..to); channel.resize(channel.len() + to - at, recorded::SILENT); }
                _ => { let old = channel.len(); channel.splice(at..at, vec![recorded::SILENT; length]); channel.truncate(old); }
            }
        });
        prop_assert!(totals.wrong + totals.unaccounted + totals.extra > 0, "{}", totals.text());
    }

    #[test]
    fn no_line_of_a_run_makes_the_verifier_panic_or_dawdle(
        call in prop_oneof![Just(0u64), any::<u64>()], taken in prop_oneof![0u64..300, any::<u64>()], late_us_max: u64, refused: u64,
        times in "[0-9TZ:.-]{0,24}", answer_ms in proptest::option::of(any::<f64>()), media_ns: Option<u64>, tracks in 0usize..40,
    ) {
        let mut fixture = Fixture::new(clean(), 100);
        fixture.call(|_| {});
        let track = TrackRecord { taken, datagrams: taken, refused, late_us_max };
        let line = CallRecord { call, answer_ms, media_ns, invited: times.clone(), ended: times, tracks: vec![track; tracks], ..fixture.calls[0].clone() };
        fixture.calls = vec![line];
        let Verified { totals, calls } = fixture.verify();
        prop_assert_eq!(totals.calls, 1);
        prop_assert!(!calls[0].good || (taken, tracks, call) == (100, 2, 0));
    }

    #[test]
    fn no_plan_and_no_line_makes_the_reader_panic(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Plan::parse(&text);
        let _ = Plan::parse(&String::from_utf8_lossy(&bytes));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(record::CALLS), &bytes).unwrap();
        let _ = record::read(folder.path());
    }
}
