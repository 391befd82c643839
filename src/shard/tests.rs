//! A shard on the simulated machine, without faults: what each packet and command leads to. Faults are the simulator's part.

#[path = "change_tests.rs"]
mod changes;
#[path = "silence_tests.rs"]
mod silence;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::{RecordingId, Wall};
use crate::link::{ControlEnd, OpenCall, Payload, SegmentPlan, SegmentReport, TrackPlan, TrackReport, link};
use crate::media::{Cause, Fate, Interval, SampleFormat};
use crate::ring::sim::SimRing;
use crate::ring::sim::fault::FaultPlan;
use crate::ring::sim::machine::{Machine, Shared};
use crate::rtp;
use crate::seal::{AudioParams, Block0, DataKey, FrameOpener, State, StreamSeed};

const CALL: CallId = CallId(1);
const KEY: [u8; 32] = [9; 32];
const SEED: StreamSeed = StreamSeed { salt: [3; 32], nonce_prefix: [4; 7] };

struct World {
    machine: Shared,
    shard: Shard<SimRing>,
    control: ControlEnd,
    events: Vec<Event>,
    /// Segments planned so far.
    segments: u32,
    /// The call is paused right behind the command that opens it.
    pause_at_open: Option<crate::link::PauseHow>,
}

fn recording() -> RecordingId {
    "0123456789ab70008000000000000000".parse().unwrap()
}

fn block0(segment: u32) -> Block0 {
    let audio = AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: 2, start: 0 };
    Block0::segment(recording(), segment, "default", Wall(0), audio, Vec::new())
}

fn segment_plan(segment: u32) -> SegmentPlan {
    SegmentPlan {
        call: CALL,
        segment,
        path: PathBuf::from(format!("/rec/{segment:04}.tape.part")),
        block0: Box::new(block0(segment)),
        key: DataKey::new(KEY),
        seed: SEED,
    }
}

fn track_plan() -> TrackPlan {
    let payloads = vec![(0, Payload::Pcmu), (8, Payload::Pcma), (13, Payload::ComfortNoise)];
    let rtp_from = Some(SocketAddr::from(([127, 0, 0, 1], 4000)));
    TrackPlan { payloads, rtp_from, ..TrackPlan::default() }
}

impl World {
    fn new() -> World {
        let machine = Machine::new(1, FaultPlan::none(), false).shared();
        let plan = ShardPlan {
            index: 0,
            port_first: 10_000,
            port_count: 16,
            calls_max: 2,
            horizon: Duration::from_millis(200),
            silence_alarm: Duration::from_secs(30),
            receive_buffers: 64,
        };
        let (control, end) = link(Arc::new(|| {}));
        let ring = SimRing::new(machine.clone(), plan.ring());
        let shard = Shard::new(plan, ring, BlockPool::new(plan.blocks()).unwrap(), end);
        World { machine, shard, control, events: Vec::new(), segments: 1, pause_at_open: None }
    }

    fn turn(&mut self, ms: u64) {
        let until = self.machine.borrow().now() + Duration::from_millis(ms.div_ceil(20) * 20);
        while self.machine.borrow().now() < until {
            self.shard.turn();
            while let Ok(event) = self.control.events.pop() {
                self.events.push(event);
            }
        }
    }

    fn open(&mut self, tracks: usize) -> Vec<u16> {
        let track = track_plan();
        let open = OpenCall {
            call: CALL,
            recording: recording(),
            bind: Ipv4Addr::LOCALHOST.into(),
            tracks: vec![track; tracks],
            format: SampleFormat::Mulaw,
            ssrc: 1,
            segment: segment_plan(1),
        };
        self.control.commands.push(Command::Open(Box::new(open))).unwrap();
        if let Some(how) = self.pause_at_open {
            self.control.commands.push(Command::Pause { call: CALL, how }).unwrap();
        }
        self.turn(200);
        let opened = self.events.iter().find_map(|event| match event {
            Event::Opened { ports, .. } => Some(ports.clone()),
            _ => None,
        });
        opened.unwrap_or_else(|| panic!("not opened: {:?}", self.events))
    }

    fn packet(&mut self, port: u16, payload_type: u8, sequence: u16, payload: &[u8]) {
        let header = rtp::Header {
            payload_type,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc: 5,
            ..Default::default()
        };
        let mut bytes = Vec::new();
        rtp::write(&header, payload, &mut bytes);
        self.raw(port, &bytes);
    }

    fn raw(&mut self, port: u16, bytes: &[u8]) {
        self.raw_from(4000, port, bytes);
    }

    fn raw_from(&mut self, from: u16, port: u16, bytes: &[u8]) {
        let mut machine = self.machine.borrow_mut();
        let (from, to) = (SocketAddr::from(([127, 0, 0, 1], from)), SocketAddr::from(([127, 0, 0, 1], port)));
        let now = machine.now();
        machine.net.inject(from, to, bytes, now);
    }

    fn close(&mut self) -> (Vec<SegmentReport>, Vec<TrackReport>, u64, Vec<Interval>) {
        self.control.commands.push(Command::Close { call: CALL }).unwrap();
        self.turn(1500);
        let (mut segments, mut end, mut intervals) = (Vec::new(), None, Vec::new());
        for event in self.events.drain(..) {
            match event {
                Event::SegmentClosed { report, .. } => segments.push(*report),
                Event::Closed { tracks, samples, .. } => end = Some((tracks, samples)),
                Event::Interval { interval, .. } => intervals.push(interval),
                _ => {}
            }
        }
        let (tracks, samples) = end.expect("the call closes within a second and a half");
        let (free, all) = self.shard.blocks_free();
        assert_eq!(free, all, "every block has come home");
        assert!(self.shard.ring().is_idle(), "every slot is free");
        (segments, tracks, samples, intervals)
    }

    /// The plaintext of a closed segment: its WAV.
    fn open_segment(&self, path: &Path) -> (Block0, Vec<u8>) {
        let machine = self.machine.borrow();
        let file = machine.disk.content(machine.disk.find(path).unwrap()).to_vec();
        let block0 = Block0::decode(&file).unwrap();
        let opener = FrameOpener::new(&DataKey::new(KEY), &SEED, &block0.associated_data());
        assert_eq!(file[BLOCK0_BYTES..BLOCK0_BYTES + STREAM_HEADER_BYTES], SEED.header());
        let frames: Vec<&[u8]> = file[BLOCK0_BYTES..].chunks(FRAME_BYTES).collect();
        let mut plain = Vec::new();
        for (counter, frame) in frames.iter().enumerate() {
            let skip = if counter == 0 { STREAM_HEADER_BYTES } else { 0 };
            let mut frame = frame[skip..].to_vec();
            let last = counter + 1 == frames.len();
            plain.extend_from_slice(opener.open(counter as u32, last, &mut frame).unwrap());
        }
        (block0, plain)
    }
}

#[test]
fn two_tracks_are_placed_sealed_and_durable_within_a_second_of_the_end() {
    let mut world = World::new();
    let ports = world.open(2);
    for i in 0..100u16 {
        world.packet(ports[0], 0, i, &[i as u8; 160]);
        if i != 50 {
            world.packet(ports[1], 0, i, &[0x80 | i as u8; 160]);
        }
        world.turn(20);
    }
    let (segments, tracks, samples, intervals) = world.close();
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].durable, Ok(()));
    let (block0, wav) = world.open_segment(&segments[0].path);
    assert_eq!(block0.state, State::Closed);
    assert_eq!(block0.closing.as_ref().unwrap().samples, samples);
    let audio = &wav[FRAME0_PLAIN_BYTES..];
    for (channel, track) in tracks.iter().enumerate() {
        let first = track.first.unwrap() as usize;
        for i in (0..100usize).filter(|&i| channel == 0 || i != 50) {
            let expected = (channel as u8) << 7 | i as u8;
            let at = first + i * 160;
            assert!(
                (at..at + 160).all(|at| audio[at * 2 + channel] == expected),
                "channel {channel} packet {i}"
            );
        }
        assert!(track.counters.adds_up());
    }
    let first = tracks[1].first.unwrap();
    let lost = Interval {
        track: 1,
        start: first + 50 * 160,
        end: first + 51 * 160,
        cause: Cause::Loss,
        packets: 1,
        merged: false,
    };
    assert!(intervals.contains(&lost), "{intervals:?}");
    assert_eq!((tracks[0].counters.of(Fate::Placed), tracks[1].counters.of(Fate::Placed)), (100, 99));
    assert_eq!(tracks[1].counters.lost, 1);
}

#[test]
fn as_many_frames_go_out_together_as_the_bound_on_loss_allows() {
    let mut world = World::new();
    let ports = world.open(2);
    let mut writes = Vec::new();
    let mut written = world.shard.stats().written;
    for sequence in 0..500 {
        ports.iter().for_each(|&port| world.packet(port, 0, sequence, &[7; 160]));
        world.turn(20);
        let now = world.shard.stats().written;
        writes.extend((now > written).then_some(now - written));
        written = now;
    }
    // Two-track G.711 fills a frame in 255 ms and seals it 200 ms later: two are sealed before the first is 850 ms old, three are not.
    let pairs = writes.iter().filter(|&&bytes| bytes == 2 * FRAME_BYTES as u64).count();
    assert!(pairs >= 18 && pairs >= writes.len() / 2, "{writes:?}");
    // The disk of this world keeps up: the next tick sees the end of each write.
    let told: Vec<(Option<u64>, u64)> = world.shard.stats().write_times.cumulative().collect();
    let within = |us| told.iter().find(|(bound, _)| *bound == us).unwrap().1;
    assert!(within(Some(22_000)) == within(None) && within(None) >= writes.len() as u64, "{told:?}");
    world.close();
}

#[test]
fn a_change_of_law_is_followed_without_losing_a_bit() {
    let mut world = World::new();
    let ports = world.open(1);
    for i in 0..100u16 {
        world.packet(ports[0], if i < 60 { 0 } else { 8 }, i, &[i as u8; 160]);
        world.turn(20);
        if let Some(index) =
            world.events.iter().position(|event| matches!(event, Event::SegmentWanted { .. }))
        {
            world.events.remove(index);
            world.control.commands.push(Command::Segment(Box::new(segment_plan(2)))).unwrap();
        }
    }
    let (segments, tracks, _, _) = world.close();
    assert_eq!(
        segments.iter().map(|s| s.format).collect::<Vec<_>>(),
        [SampleFormat::Mulaw, SampleFormat::Pcm16]
    );
    assert_eq!(segments[1].start, segments[0].samples);
    let first = tracks[0].first.unwrap();
    let files: Vec<Vec<u8>> = segments.iter().map(|s| world.open_segment(&s.path).1).collect();
    for i in 0..100u64 {
        for at in first + i * 160..first + (i + 1) * 160 {
            let linear = if at < segments[1].start {
                crate::media::mulaw_to_linear(files[0][FRAME0_PLAIN_BYTES + at as usize])
            } else {
                let at = FRAME0_PLAIN_BYTES + (at - segments[1].start) as usize * 2;
                i16::from_le_bytes([files[1][at], files[1][at + 1]])
            };
            let code = i as u8;
            let sent =
                if i < 60 { crate::media::mulaw_to_linear(code) } else { crate::media::alaw_to_linear(code) };
            assert_eq!(linear, sent, "packet {i}, sample {at}");
        }
    }
}

#[test]
fn audio_in_another_law_than_the_offer_s_first_needs_no_second_format() {
    let mut world = World::new();
    let ports = world.open(1);
    world.packet(ports[0], 8, 1, &[1; 160]);
    world.turn(40);
    let (segments, ..) = world.close();
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].format, SampleFormat::Alaw);
}

#[test]
fn what_is_not_audio_is_counted_under_its_reason() {
    let mut world = World::new();
    let ports = world.open(1);
    world.packet(ports[0], 0, 1, &[1; 160]);
    world.packet(ports[0], 0, 1, &[1; 160]);
    world.packet(ports[0], 13, 2, &[1; 1]);
    world.packet(ports[0], 77, 3, &[1; 160]);
    world.raw(ports[0], b"garbage");
    world.raw(ports[0] + 1, b"garbage");
    world.turn(40);
    let (_, tracks, ..) = world.close();
    let counters = tracks[0].counters;
    let fates = [Fate::Placed, Fate::Duplicate, Fate::ComfortNoise, Fate::WrongPayloadType, Fate::Malformed];
    assert_eq!(fates.map(|fate| counters.of(fate)), [1, 1, 1, 1, 2]);
    assert_eq!((counters.received, counters.adds_up()), (6, true));
}

#[test]
fn what_was_on_its_way_when_the_codec_changed_is_placed() {
    let mut world = World::new();
    let ports = world.open(1);
    let tracks = vec![TrackPlan { payloads: vec![(96, Payload::Pcmu)], ..track_plan() }];
    world.control.commands.push(Command::Update { call: CALL, revision: 1, tracks }).unwrap();
    world.turn(40);
    world.packet(ports[0], 0, 1, &[1; 160]);
    world.packet(ports[0], 96, 2, &[1; 160]);
    world.turn(40);
    let (_, tracks, ..) = world.close();
    assert_eq!((tracks[0].counters.of(Fate::Placed), tracks[0].counters.received), (2, 2));
}

#[test]
fn a_call_without_media_is_a_recording_of_silence() {
    let mut world = World::new();
    world.open(2);
    world.turn(2000);
    let (segments, _, samples, intervals) = world.close();
    assert!(samples >= 2000 * 8);
    let (_, wav) = world.open_segment(&segments[0].path);
    assert!(wav[FRAME0_PLAIN_BYTES..].iter().all(|&byte| byte == 0xff));
    let silent: u64 = intervals.iter().map(Interval::samples).sum();
    assert_eq!((silent, intervals[0].cause), (2 * samples, Cause::NoMedia));
}

#[test]
fn a_call_beyond_the_ports_is_refused_and_leaves_nothing() {
    let mut world = World::new();
    world.open(8);
    world.events.clear();
    let mut plan = segment_plan(1);
    plan.call = CallId(2);
    plan.path = PathBuf::from("/rec/other.tape.part");
    let open = OpenCall {
        call: CallId(2),
        recording: recording(),
        bind: Ipv4Addr::LOCALHOST.into(),
        tracks: vec![TrackPlan::default()],
        format: SampleFormat::Mulaw,
        ssrc: 1,
        segment: plan,
    };
    world.control.commands.push(Command::Open(Box::new(open))).unwrap();
    world.turn(100);
    let refused = world
        .events
        .iter()
        .any(|event| matches!(event, Event::Refused { call: CallId(2), reason: Refusal::PortsRest }));
    assert!(refused, "{:?}", world.events);
    world.close();
}

#[test]
fn a_segment_whose_plan_never_comes_does_not_keep_its_call_for_ever() {
    let mut world = World::new();
    let ports = world.open(1);
    for i in 0..50u16 {
        world.packet(ports[0], if i < 40 { 0 } else { 8 }, i, &[i as u8; 160]);
        world.turn(20);
    }
    world.control.commands.push(Command::Close { call: CALL }).unwrap();
    world.turn(CLOSE_RETRY_MAX.as_millis() as u64);
    let (segments, ..) = world.close();
    assert_eq!(segments.iter().map(|s| s.durable.is_ok()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn strangers_are_refused_while_the_announced_source_talks_and_heard_when_nobody_does() {
    let mut world = World::new();
    let ports = world.open(1);
    let strange = |sequence: u16| {
        let header =
            rtp::Header { sequence, timestamp: u32::from(sequence) * 160, ssrc: 66, ..Default::default() };
        let mut bytes = Vec::new();
        rtp::write(&header, &[0x42; 160], &mut bytes);
        bytes
    };
    // The stranger is first, and goes on: the announced source is heard all the same.
    for i in 0..20u16 {
        world.raw_from(6666, ports[0], &strange(i));
        if i >= 5 {
            world.packet(ports[0], 0, i, &[1; 160]);
        }
        world.turn(20);
    }
    world.turn(SOURCE_GONE.as_millis() as u64 + 40);
    world.raw_from(7777, ports[0], &strange(122));
    world.turn(40);
    let (_, tracks, ..) = world.close();
    let counters = tracks[0].counters;
    // Five before the source spoke and one packet in the tick in which it did; and the last, when nobody else was left.
    assert_eq!((counters.of(Fate::WrongSource), counters.of(Fate::Placed)), (14, 22), "{counters:?}");
}
