//! What changes a live call: tracks added, pauses, and both with everything else.

use super::*;
use crate::link::PauseHow;

impl World {
    fn tell(&mut self, command: Command) {
        self.control.commands.push(command).unwrap();
        self.turn(20);
    }

    pub(super) fn update(&mut self, revision: u32, tracks: usize) -> Result<Vec<u16>, Refusal> {
        self.tell(Command::Update { call: CALL, revision, tracks: vec![track_plan(); tracks] });
        for _ in 0..200 {
            self.turn(20);
            for event in &self.events {
                if let Event::Updated { revision: of, result, .. } = event
                    && *of == revision
                {
                    return result.clone();
                }
            }
        }
        panic!("no answer: {:?}", self.events)
    }

    /// Everybody says `code` for so many packets, and segments that are asked for are planned.
    pub(super) fn talk(&mut self, ports: &[u16], from: u16, packets: u16, code: u8) {
        for i in from..from + packets {
            for (track, &port) in ports.iter().enumerate() {
                self.packet(port, 0, i, &[code | (track as u8) << 6; 160]);
            }
            self.turn(20);
            self.plan_segments();
        }
    }

    pub(super) fn plan_segments(&mut self) {
        let before = self.events.len();
        self.events.retain(|event| !matches!(event, Event::SegmentWanted { .. }));
        for _ in self.events.len()..before {
            self.segments += 1;
            let plan = Box::new(segment_plan(self.segments));
            self.control.commands.push(Command::Segment(plan)).unwrap();
        }
    }

    /// One track of a recording from its segments, each `(start, samples)`: silence where there is none.
    pub(super) fn track(&self, segments: &[SegmentReport], track: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        for segment in segments {
            heard.resize(segment.start as usize, 0xff);
            let (block0, wav) = self.open_segment(&segment.path);
            let channels = usize::from(block0.audio.unwrap().channels);
            let samples = wav[FRAME0_PLAIN_BYTES..].chunks_exact(channels).take(segment.samples as usize);
            heard.extend(samples.map(|sample| sample.get(track).copied().unwrap_or(0xff)));
        }
        heard
    }
}

fn count(heard: &[u8], code: u8) -> usize {
    heard.iter().filter(|&&byte| byte == code).count()
}

#[test]
fn tracks_that_are_added_get_ports_and_a_segment_with_a_channel_for_each() {
    let mut world = World::new();
    let ports = world.open(2);
    world.talk(&ports, 0, 60, 1);
    let ports = world.update(7, 3).unwrap();
    assert_eq!(ports.len(), 3);
    world.plan_segments();
    world.talk(&ports, 62, 60, 2);
    let (segments, tracks, samples, _) = world.close();
    assert_eq!(segments.iter().map(|s| s.durable.clone()).collect::<Vec<_>>(), [Ok(()), Ok(())]);
    assert_eq!((segments[1].start, tracks.len()), (segments[0].samples, 3));
    assert_eq!(tracks[2].counters.of(Fate::Placed), 60);
    for (track, code) in [(0, 0), (1, 0x40), (2, 0x80)] {
        let heard = world.track(&segments, track);
        assert_eq!(heard.len() as u64, samples);
        let before = if track < 2 { 60 * 160 } else { 0 };
        assert_eq!((count(&heard, 1 | code), count(&heard, 2 | code)), (before, 60 * 160), "track {track}");
    }
}

#[test]
fn a_track_added_before_anything_is_written_needs_no_second_segment() {
    let mut world = World::new();
    let ports = world.open(1);
    world.talk(&ports, 0, 2, 1);
    let ports = world.update(1, 2).unwrap();
    world.talk(&ports, 13, 20, 2);
    let (segments, ..) = world.close();
    assert_eq!(segments.len(), 1);
    assert_eq!(count(&world.track(&segments, 0), 1), 2 * 160);
    assert_eq!(count(&world.track(&segments, 1), 2 | 0x40), 20 * 160);
}

#[test]
fn linear_audio_moves_along_into_a_segment_with_more_channels() {
    let mut world = World::new();
    let ports = world.open(1);
    for i in 0..100 {
        world.packet(ports[0], if i % 2 == 0 { 0 } else { 8 }, i, &[i as u8; 160]);
        world.turn(20);
        world.plan_segments();
    }
    world.update(1, 2).unwrap();
    world.plan_segments();
    let (segments, tracks, ..) = world.close();
    assert_eq!(tracks[0].counters.of(Fate::Placed), 100);
    let mut heard = vec![0i16; segments[0].start as usize];
    for segment in &segments {
        let (block0, wav) = world.open_segment(&segment.path);
        let channels = usize::from(block0.audio.unwrap().channels);
        for sample in
            wav[FRAME0_PLAIN_BYTES..].chunks(channels * segment.format.bytes()).take(segment.samples as usize)
        {
            heard.push(match segment.format {
                SampleFormat::Mulaw => crate::media::mulaw_to_linear(sample[0]),
                _ => i16::from_le_bytes([sample[0], sample[1]]),
            });
        }
    }
    let first = tracks[0].first.unwrap() as usize;
    for i in 0..100usize {
        let code = i as u8;
        let linear = if i % 2 == 0 { crate::media::mulaw_to_linear } else { crate::media::alaw_to_linear };
        assert!(heard[first + i * 160..][..160].iter().all(|&sample| sample == linear(code)), "packet {i}");
    }
}

#[test]
fn tracks_for_which_there_are_no_ports_leave_everything_as_it_was() {
    let mut world = World::new();
    let ports = world.open(5);
    assert_eq!(world.update(1, 9), Err(Refusal::Full), "more than a call may have");
    // Eight pairs in all: three more are there, but somebody else has taken two of them.
    for port in [10_012, 10_014] {
        world.machine.borrow_mut().net.bind(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let open = world.machine.borrow().net.open();
    assert!(matches!(world.update(2, 7), Err(Refusal::Ports(_))));
    world.turn(200);
    assert_eq!(world.machine.borrow().net.open(), open, "what was bound is closed");
    world.talk(&ports[..2], 0, 20, 1);
    let (segments, tracks, ..) = world.close();
    assert_eq!((segments.len(), tracks.len()), (1, 5));
    assert_eq!(tracks[1].counters.of(Fate::Placed), 20);
}

#[test]
fn a_call_that_ends_while_tracks_are_added_leaves_nothing() {
    let mut world = World::new();
    world.open(1);
    let tracks = vec![track_plan(); 2];
    world.control.commands.push(Command::Update { call: CALL, revision: 1, tracks: tracks.clone() }).unwrap();
    world.control.commands.push(Command::Update { call: CALL, revision: 2, tracks }).unwrap();
    let (_, tracks, ..) = world.close();
    assert_eq!(tracks.len(), 1);
    let open = world.machine.borrow().net.open();
    assert_eq!(open, 0);
}

#[test]
fn a_silent_pause_keeps_what_was_said_before_it_and_nothing_of_what_was_said_in_it() {
    let mut world = World::new();
    let ports = world.open(2);
    world.talk(&ports, 0, 50, 1);
    world.tell(Command::Pause { call: CALL, how: PauseHow::Silence });
    world.tell(Command::Pause { call: CALL, how: PauseHow::Silence });
    world.talk(&ports, 52, 50, 2);
    world.tell(Command::Resume { call: CALL });
    world.tell(Command::Resume { call: CALL });
    world.talk(&ports, 104, 50, 3);
    let (segments, tracks, _, intervals) = world.close();
    assert_eq!(segments.len(), 1);
    let heard = world.track(&segments, 0);
    assert_eq!((count(&heard, 1), count(&heard, 3)), (50 * 160, 50 * 160));
    assert_eq!((count(&heard, 2), count(&world.track(&segments, 1), 2 | 0x40)), (0, 0));
    assert_eq!((tracks[0].counters.of(Fate::Paused), tracks[0].counters.adds_up()), (50, true));
    let paused: u64 = intervals
        .iter()
        .filter(|interval| interval.cause == Cause::Pause && interval.track == 0)
        .map(Interval::samples)
        .sum();
    assert!((52 * 160..54 * 160).contains(&paused), "{paused} samples of pause");
}

#[test]
fn a_cut_ends_its_segment_and_the_next_begins_at_the_resume() {
    let mut world = World::new();
    let ports = world.open(1);
    world.talk(&ports, 0, 50, 1);
    world.tell(Command::Pause { call: CALL, how: PauseHow::Cut });
    world.talk(&ports, 51, 100, 2);
    let closed = |event: &Event| matches!(event, Event::SegmentClosed { .. });
    assert!(world.events.iter().any(closed), "it is told at once");
    world.tell(Command::Resume { call: CALL });
    world.talk(&ports, 152, 50, 3);
    let (segments, _, samples, intervals) = world.close();
    assert_eq!(segments.len(), 2);
    let gap = segments[1].start - (segments[0].start + segments[0].samples);
    assert!((100 * 160..103 * 160).contains(&gap), "a gap of {gap}");
    assert_eq!(segments[1].start + segments[1].samples, samples);
    let heard = world.track(&segments, 0);
    assert_eq!((count(&heard, 1), count(&heard, 2), count(&heard, 3)), (50 * 160, 0, 50 * 160));
    let paused: u64 =
        intervals.iter().filter(|interval| interval.cause == Cause::Pause).map(Interval::samples).sum();
    assert_eq!(paused, gap);
}

#[test]
fn a_cut_shorter_than_the_horizon_is_silence() {
    let mut world = World::new();
    let ports = world.open(1);
    world.talk(&ports, 0, 50, 1);
    world.tell(Command::Pause { call: CALL, how: PauseHow::Cut });
    world.tell(Command::Resume { call: CALL });
    world.talk(&ports, 52, 50, 3);
    let (segments, ..) = world.close();
    assert_eq!(segments.len(), 1);
    let heard = world.track(&segments, 0);
    assert_eq!((count(&heard, 1), count(&heard, 3)), (50 * 160, 50 * 160));
}

#[test]
fn a_call_that_ends_in_a_cut_ends_with_the_pause() {
    for pause in [PauseHow::Silence, PauseHow::Cut] {
        let mut world = World::new();
        let ports = world.open(1);
        world.talk(&ports, 0, 50, 1);
        world.tell(Command::Pause { call: CALL, how: pause });
        world.talk(&ports, 51, 50, 2);
        let (segments, _, samples, intervals) = world.close();
        assert_eq!((segments.len(), segments[0].durable.clone()), (1, Ok(())));
        assert_eq!(intervals.last().map(|i| (i.cause, i.end)), Some((Cause::Pause, samples)));
        assert_eq!(count(&world.track(&segments, 0), 2), 0);
    }
}

#[test]
fn a_call_that_is_paused_before_it_is_open_records_from_the_resume_on() {
    let mut world = World::new();
    world.control.commands.push(Command::Resume { call: CALL }).unwrap();
    world.pause_at_open = Some(PauseHow::Cut);
    let ports = world.open(1);
    world.talk(&ports, 0, 50, 2);
    world.tell(Command::Resume { call: CALL });
    world.talk(&ports, 51, 50, 3);
    let (segments, tracks, ..) = world.close();
    let heard = world.track(&segments, 0);
    assert_eq!((count(&heard, 2), count(&heard, 3)), (0, 50 * 160));
    assert!(tracks[0].first.unwrap() >= 50 * 160);
}

#[test]
fn tracks_added_in_a_cut_are_in_the_segment_after_it() {
    let mut world = World::new();
    let ports = world.open(1);
    world.talk(&ports, 0, 50, 1);
    world.tell(Command::Pause { call: CALL, how: PauseHow::Cut });
    world.talk(&ports, 51, 50, 2);
    let ports = world.update(1, 2).unwrap();
    world.talk(&ports, 112, 10, 2);
    world.tell(Command::Resume { call: CALL });
    world.talk(&ports, 123, 50, 3);
    let (segments, ..) = world.close();
    assert_eq!(segments.len(), 2);
    let heard = world.track(&segments, 1);
    assert_eq!((count(&heard, 2 | 0x40), count(&heard, 3 | 0x40)), (0, 50 * 160));
}

#[test]
fn hold_and_pause_are_told_apart() {
    let mut world = World::new();
    let ports = world.open(1);
    world.talk(&ports, 0, 50, 1);
    let held = TrackPlan { held: true, ..track_plan() };
    world.tell(Command::Update { call: CALL, revision: 1, tracks: vec![held] });
    world.turn(1000);
    world.tell(Command::Pause { call: CALL, how: PauseHow::Silence });
    world.turn(1000);
    world.tell(Command::Resume { call: CALL });
    world.turn(1000);
    world.tell(Command::Update { call: CALL, revision: 2, tracks: vec![track_plan()] });
    world.talk(&ports, 205, 20, 3);
    let (_, _, _, intervals) = world.close();
    let mut causes: Vec<Cause> = intervals.iter().map(|interval| interval.cause).collect();
    causes.dedup();
    assert_eq!(causes[1..4], [Cause::Hold, Cause::Pause, Cause::Hold], "{intervals:?}");
}

#[test]
fn a_change_of_law_that_finds_no_memory_costs_what_comes_and_nothing_that_is_there() {
    let mut world = World::new();
    let ports = world.open(1);
    let mut hoard = Vec::new();
    for i in 0..60u16 {
        if i == 38 {
            hoard.extend(std::iter::from_fn(|| world.shard.blocks.acquire()));
        }
        if i == 45 {
            hoard.drain(..).for_each(|block| world.shard.blocks.release(block));
        }
        world.packet(ports[0], if i < 40 { 0 } else { 8 }, i, &[1; 160]);
        world.turn(20);
        world.plan_segments();
    }
    let (segments, tracks, _, intervals) = world.close();
    let (placed, overflow) = (tracks[0].counters.of(Fate::Placed), tracks[0].counters.of(Fate::Overflow));
    assert!(overflow > 0 && placed + overflow == 60, "{placed} placed, {overflow} not");
    let first = world.open_segment(&segments[0].path).1;
    let second = world.open_segment(&segments[1].path).1;
    let linear = second[FRAME0_PLAIN_BYTES..].as_chunks().0.iter().filter(|&&sample| sample != [0; 2]);
    let heard = count(&first[FRAME0_PLAIN_BYTES..], 1) + linear.count();
    assert_eq!(heard as u64, placed * 160, "what is counted as placed is there");
    let stated = intervals.iter().filter(|interval| interval.cause == Cause::Overflow);
    assert_eq!(stated.map(Interval::samples).sum::<u64>(), overflow * 160);
}

/// Who stops for a while and goes on where its timestamps stood loses a horizon of audio at most; after a hold, none.
#[test]
fn a_stall_costs_a_horizon_of_audio_and_a_hold_none() {
    for (tracks, stall, held) in
        [(1, 260, false), (1, 460, false), (2, 240, false), (2, 600, false), (1, 1000, true), (2, 5000, true)]
    {
        let mut world = World::new();
        let ports = world.open(tracks);
        let hold = |held| {
            let tracks = vec![TrackPlan { held, ..track_plan() }; tracks];
            Command::Update { call: CALL, revision: 1, tracks }
        };
        world.talk(&ports, 0, 50, 1);
        if held {
            world.tell(hold(true));
        }
        world.turn(stall);
        if held {
            world.tell(hold(false));
        }
        world.talk(&ports, 50, 150, 2);
        let (_, reports, _, intervals) = world.close();
        for (number, report) in reports.iter().enumerate() {
            let late = report.counters.of(Fate::Late);
            assert!(late <= if held { 0 } else { 10 }, "{late} packets are late after {stall} ms");
            let told: Vec<Cause> = intervals
                .iter()
                .filter(|i| usize::from(i.track) == number && i.start >= 8000)
                .map(|i| i.cause)
                .collect();
            let holds = told.contains(&Cause::Hold);
            let shifted = told.iter().any(|cause| matches!(cause, Cause::Late | Cause::Drift));
            assert!(holds == held && shifted != held, "{intervals:?}");
        }
    }
}

#[test]
fn nothing_that_comes_in_a_pause_is_heard_however_far_its_source_is_behind() {
    for (behind, how) in
        [0, 100, 160, 300].into_iter().flat_map(|ms| [(ms, PauseHow::Silence), (ms, PauseHow::Cut)])
    {
        let mut world = World::new();
        let ports = world.open(2);
        world.talk(&ports, 0, 50, 1);
        world.turn(behind);
        world.talk(&ports, 50, 20, 1);
        world.tell(Command::Pause { call: CALL, how });
        world.talk(&ports, 70, 50, 2);
        world.tell(Command::Resume { call: CALL });
        world.talk(&ports, 120, 50, 3);
        let (segments, reports, _, intervals) = world.close();
        for (number, report) in reports.iter().enumerate() {
            let heard = world.track(&segments, number);
            let of = |code: u8| count(&heard, code | (number as u8) << 6);
            let late = report.counters.of(Fate::Late) as usize;
            assert_eq!(of(2), 0, "{behind} ms behind");
            // The last of them may be late in part.
            assert!(((69 - late) * 160 + 1..=(70 - late) * 160).contains(&of(1)), "{behind} ms behind");
            assert!(late <= if behind > 200 { 10 } else { 0 }, "{late} late, {behind} ms behind");
            assert!(of(3) >= (50 - 12) * 160, "{} samples after the resume", of(3));
            let mine = |interval: &&Interval| usize::from(interval.track) == number;
            let paused = intervals.iter().filter(mine).filter(|interval| interval.cause == Cause::Pause);
            assert!(paused.map(Interval::samples).sum::<u64>() >= 50 * 160, "{intervals:?}");
            assert!(intervals.iter().all(|interval| interval.cause != Cause::SourceChange), "{intervals:?}");
        }
    }
}
