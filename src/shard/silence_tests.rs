//! Silence: calls in which nobody says anything cost next to nothing, and are recorded all the same.

use super::*;

/// Bytes written, turn by turn, over so many milliseconds.
fn writes(world: &mut World, ms: u64) -> Vec<u64> {
    let mut written = world.shard.stats().written;
    let mut writes = Vec::new();
    for _ in 0..ms / 20 {
        world.turn(20);
        let now = world.shard.stats().written;
        writes.extend((now > written).then_some(now - written));
        written = now;
    }
    writes
}

/// Every frame of a segment opens under its own counter, and this is what both channels say.
fn heard(world: &World, report: &SegmentReport, samples: u64) -> Vec<u8> {
    let (block0, wav) = world.open_segment(&report.path);
    let audio = &wav[FRAME0_PLAIN_BYTES..];
    assert_eq!(block0.closing.as_ref().unwrap().samples, samples);
    assert_eq!(audio.len(), samples.div_ceil(2040) as usize * FRAME_PLAIN_BYTES);
    audio.to_vec()
}

#[test]
fn silence_is_written_many_frames_at_a_time_and_holds_no_memory() {
    let mut world = World::new();
    world.open(2);
    world.turn(1000);
    let writes = writes(&mut world, 30_000);
    let (free, all) = world.shard.blocks_free();
    assert_eq!(free, all, "nothing is held for a call that says nothing");
    let large = u64::from(SILENCE_FRAMES) * FRAME_BYTES as u64;
    assert!((3..=4).contains(&writes.len()) && writes[1..].iter().all(|&bytes| bytes == large), "{writes:?}");
    let (segments, _, samples, intervals) = world.close();
    assert!(heard(&world, &segments[0], samples).iter().all(|&byte| byte == 0xff));
    let silent: u64 = intervals.iter().map(Interval::samples).sum();
    assert_eq!((silent, intervals[0].cause), (2 * samples, Cause::NoMedia));
}

#[test]
fn audio_behind_silence_is_on_disk_within_the_bound_on_loss() {
    // With large blocks to be had, and with none.
    for none_free in [false, true] {
        let mut world = World::new();
        let ports = world.open(2);
        let large = none_free.then(|| std::mem::take(&mut world.shard.core.silence.free));
        let mut said = 0;
        let mut sequence = 0;
        for quiet in [400, 5_000, 700, 12_000] {
            for _ in 0..75 {
                ports.iter().for_each(|&port| world.packet(port, 0, sequence, &[7; 160]));
                (sequence, said) = (sequence + 1, said + 1);
                world.turn(20);
            }
            let part = Path::new("/rec/0001.tape.part");
            let on_disk = world.written(part);
            let now = world.machine.borrow().now();
            let position = now.since(world.started()).as_millis() as u64 * 8;
            let lost_ms = (position - on_disk) / 8;
            assert!(lost_ms <= LOSS_AT_CRASH_MAX.as_millis() as u64, "{lost_ms} ms are not on disk");
            world.turn(quiet);
            sequence += (quiet / 20) as u16;
        }
        let (free, all) = world.shard.blocks_free();
        if let Some(large) = large {
            assert_eq!(free, all - large.len() as u32 * SILENCE_FRAMES / BLOCK_FRAMES as u32);
            world.shard.core.silence.free = large;
        }
        let (segments, tracks, samples, _) = world.close();
        let audio = heard(&world, &segments[0], samples);
        assert_eq!(audio.iter().filter(|&&byte| byte == 7).count(), 2 * said * 160);
        assert_eq!(tracks[0].counters.of(Fate::Placed), said as u64);
        let at = tracks[0].first.unwrap() as usize * 2;
        assert!(audio[at..at + 75 * 320].iter().all(|&byte| byte == 7));
        let again = at + (75 * 160 + 400 * 8) * 2;
        assert!(audio[at + 75 * 320..again].iter().all(|&byte| byte == 0xff));
        assert!(audio[again..again + 75 * 320].iter().all(|&byte| byte == 7));
    }
}

#[test]
fn a_track_added_during_silence_begins_when_it_was_added() {
    let mut world = World::new();
    world.open(2);
    world.turn(5000);
    let ports = world.update(1, 3).unwrap();
    world.plan_segments();
    world.talk(&ports, 0, 60, 1);
    let (segments, _, samples, _) = world.close();
    assert_eq!(segments.iter().map(|s| s.durable.clone()).collect::<Vec<_>>(), [Ok(()), Ok(())]);
    assert_eq!(segments[1].start, segments[0].samples);
    let now = 5000 * 8;
    assert!((now - 8000..now + 8000).contains(&segments[1].start), "{}", segments[1].start);
    assert_eq!(world.track(&segments, 2).len() as u64, samples);
    assert_eq!(world.track(&segments, 2).iter().filter(|&&byte| byte == 0x81).count(), 60 * 160);
}

impl World {
    fn started(&self) -> Mono {
        let started = self.events.iter().find_map(|event| match event {
            Event::Opened { started, .. } => Some(*started),
            _ => None,
        });
        started.expect("it is open")
    }

    /// Samples of two tracks that a crash would leave.
    fn written(&self, part: &Path) -> u64 {
        let machine = self.machine.borrow();
        let file = machine.disk.content(machine.disk.find(part).unwrap()).to_vec();
        let opener = FrameOpener::new(&DataKey::new(KEY), &SEED, &block0(1).associated_data());
        let frames = file[AUDIO_OFFSET as usize..].chunks(FRAME_BYTES).zip(1..);
        let good =
            frames.take_while(|(frame, counter)| opener.open(*counter, false, &mut frame.to_vec()).is_ok());
        good.count() as u64 * 2040
    }
}
