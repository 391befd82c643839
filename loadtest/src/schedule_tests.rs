//! A schedule is the same each time, covers its timeline, and has the faults that its profile says, as often as it says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::profile::{Codec, Hold, Late, Reorder};

fn packets(seed: u64, profile: &Profile, count: usize) -> Vec<Packet> {
    profile.check().unwrap();
    Schedule::new(seed, 3, 1, profile).take(count).collect()
}

fn clean() -> Profile {
    Profile::default()
}

fn chance() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..0.5f64]
}

prop_compose! {
    fn network()(
        loss in chance(), duplicate in chance(), wrong_source in chance(), jitter_ms in 0u32..80,
        burst in proptest::option::of((0.0..0.2f64, 0.1..1.0f64)),
        reorder in proptest::option::of((0.0..0.5f64, 1u8..5)),
        late in proptest::option::of((0.0..0.1f64, 200u32..1500)),
    ) -> Profile {
        Profile {
            loss, duplicate, wrong_source, jitter_ms,
            gilbert_elliott: burst.map(|(to_bad, to_good)| GilbertElliott { to_bad, to_good, loss_in_bad: 0.9, loss_in_good: 0.0 }),
            reorder: reorder.map(|(share, packets)| Reorder { share, packets }),
            late: late.map(|(share, by_ms)| Late { share, by_ms }),
            ..Profile::default()
        }
    }
}

prop_compose! {
    fn any_profile()(
        network in network(), ptime in 1u16..7, pcma: bool, drift_ppm in -500.0..500.0f64, late_start_ms in 0u32..3000,
        ssrc_change_s in proptest::option::of(0.1..10.0f64), timestamp_jump_s in proptest::option::of(0.1..10.0f64),
        dtx in proptest::option::of((100u32..2000, 100u32..2000, any::<bool>())),
        hold in proptest::option::of((0u32..5000, 0u32..5000)),
        vanish_after_ms in proptest::option::of(0u32..20_000),
    ) -> Profile {
        Profile {
            codec: if pcma { Codec::Pcma } else { Codec::Pcmu },
            ptime_ms: ptime * 10, drift_ppm, late_start_ms, ssrc_change_s, timestamp_jump_s, vanish_after_ms,
            dtx: dtx.map(|(talk_ms, silence_ms, comfort_noise)| Dtx { talk_ms, silence_ms, comfort_noise }),
            hold: hold.map(|(after_ms, for_ms)| Hold { after_ms, for_ms }),
            ..network
        }
    }
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_schedule_in_the_order_sent(profile in any_profile(), seed: u64) {
        let all = packets(seed, &profile, 600);
        prop_assert_eq!(&all, &packets(seed, &profile, 600));
        prop_assert!(all.is_sorted_by_key(|packet| packet.at));
        if all.len() > 20 {
            prop_assert_ne!(&all, &packets(seed ^ 1, &profile, 600));
        }
    }

    #[test]
    fn positions_cover_the_timeline_but_for_hold_silence_and_start(profile in any_profile(), seed: u64) {
        let mut all = packets(seed, &profile, 600);
        let complete = all.len() < 600;
        all.retain(|packet| packet.fate != Sent::WrongSource);
        // What may still be on its way is no gap.
        let sent_ms = all.last().map_or(0.0, |last| last.at.as_secs_f64() * 1000.0);
        let on_its_way = profile.delay_ms_max() as f64 + 10.0;
        all.retain(|packet| complete || packet.position as f64 / 8.0 * 1.0005 + on_its_way < sent_ms);
        all.sort_by_key(|packet| packet.position);
        let samples = u64::from(profile.packet_samples());
        for two in all.windows(2) {
            let gap = two[0].position + samples..two[1].position;
            prop_assert!(gap.start <= gap.end, "two packets overlap");
            let held = profile.hold.is_some_and(|hold| u64::from(hold.after_ms + hold.for_ms) * 8 > gap.start);
            prop_assert!(gap.is_empty() || held || profile.dtx.is_some(), "{gap:?} is nobody's");
        }
        prop_assert!(all.iter().all(|packet| packet.position % samples == 0));
        let carries = |packet: &Packet| if packet.payload_type == COMFORT_NOISE { 0 } else { profile.packet_samples() };
        prop_assert!(all.iter().all(|packet| packet.samples == carries(packet)));
    }

    #[test]
    fn numbers_and_timestamps_run_on_within_a_source(profile in any_profile(), seed: u64) {
        let mut sources: BTreeMap<u32, Vec<Packet>> = BTreeMap::new();
        for packet in packets(seed, &profile, 600) {
            if packet.fate != Sent::WrongSource {
                sources.entry(packet.ssrc).or_default().push(packet);
            }
        }
        prop_assert!(sources.len() <= 1 || profile.ssrc_change_s.is_some());
        for source in sources.values_mut() {
            source.sort_by_key(|packet| packet.position);
            let first = source[0];
            for (number, packet) in source.iter().enumerate() {
                let missing = packet.sequence.wrapping_sub(first.sequence) as usize - number;
                prop_assert!(missing as u64 * 10 <= profile.delay_ms_max(), "only what is kept back is missing");
                let by_clock = first.timestamp.wrapping_add((packet.position - first.position) as u32);
                prop_assert!(packet.timestamp == by_clock || profile.timestamp_jump_s.is_some());
            }
        }
    }

    #[test]
    fn a_vanished_client_sends_nothing_after_and_everything_before(seed: u64, network in network(), after in 0u32..10_000) {
        let profile = Profile { vanish_after_ms: Some(after), ..network };
        let all = packets(seed, &profile, usize::MAX);
        let own = all.iter().filter(|packet| packet.fate != Sent::WrongSource);
        prop_assert_eq!(own.clone().count(), after.div_ceil(20) as usize);
        prop_assert!(own.clone().all(|packet| packet.position < u64::from(after) * 8));
    }
}

fn share(of: &[Packet], pick: impl Fn(&Packet) -> bool) -> f64 {
    of.iter().filter(|packet| pick(packet)).count() as f64 / of.len() as f64
}

#[test]
fn faults_come_as_often_as_the_profile_says() {
    let profile = Profile { loss: 0.02, duplicate: 0.05, wrong_source: 0.03, ..clean() };
    let all = packets(1, &profile, 100_000);
    let near = |fate, expected: f64| {
        let share = share(&all, |packet| packet.fate == fate);
        assert!((share - expected).abs() < 0.003, "{fate:?}: {share}");
    };
    near(Sent::Lost, 0.02);
    near(Sent::Twice, 0.05 * 0.98);
    near(Sent::WrongSource, 0.03 * 0.98);
}

#[test]
fn gilbert_and_elliott_lose_in_bursts_of_the_mean_length_they_say() {
    let burst = GilbertElliott { to_bad: 0.01, to_good: 0.2, loss_in_bad: 1.0, loss_in_good: 0.0 };
    let all = packets(2, &Profile { gilbert_elliott: Some(burst), ..clean() }, 200_000);
    let lost = share(&all, |packet| packet.fate == Sent::Lost);
    assert!((lost - 0.01 / 0.21).abs() < 0.005, "{lost}");
    let bursts =
        all.windows(2).filter(|two| two[0].fate != Sent::Lost && two[1].fate == Sent::Lost).count() as f64;
    let mean = lost * all.len() as f64 / bursts;
    assert!((mean - 5.0).abs() < 0.3, "bursts of {mean}");
}

#[test]
fn jitter_reorder_and_lateness_delay_by_what_they_say() {
    let delays = |profile: &Profile| -> Vec<f64> {
        let delay = |packet: &Packet| packet.at.as_secs_f64() * 1e3 - packet.position as f64 / 8.0;
        packets(3, profile, 20_000).iter().map(delay).collect()
    };
    let jitter = delays(&Profile { jitter_ms: 30, ..clean() });
    assert!(jitter.iter().all(|ms| (-0.001..30.001).contains(ms)));
    assert!((jitter.iter().sum::<f64>() / 20_000.0 - 15.0).abs() < 0.5);
    let reorder = delays(&Profile { reorder: Some(Reorder { share: 0.1, packets: 2 }), ..clean() });
    assert!(reorder.iter().all(|ms| [0.0, 30.0, 50.0].iter().any(|one| (one - ms).abs() < 0.001)));
    assert!((reorder.iter().filter(|ms| **ms > 1.0).count() as i64 - 2000).abs() < 200);
    let late = delays(&Profile { late: Some(Late { share: 0.01, by_ms: 700 }), ..clean() });
    assert!(late.iter().all(|ms| *ms < 0.001 || (ms - 700.0).abs() < 0.001));
    assert!((late.iter().filter(|ms| **ms > 1.0).count() as i64 - 200).abs() < 60);
}

#[test]
fn a_fast_clock_sends_its_samples_in_less_time() {
    let last = |drift_ppm| packets(4, &Profile { drift_ppm, ..clean() }, 50_001)[50_000].at.as_secs_f64();
    assert!((last(0.0) - 1000.0).abs() < 1e-6);
    assert!((last(100.0) - 999.9).abs() < 1e-3);
    assert!((last(-100.0) - 1000.1).abs() < 1e-3);
}

#[test]
fn sources_change_and_timestamps_jump_about_as_often_as_the_profile_says() {
    let profile = Profile { ssrc_change_s: Some(2.0), timestamp_jump_s: Some(5.0), ..clean() };
    let all = packets(5, &profile, 50_000);
    let changes = all.windows(2).filter(|two| two[0].ssrc != two[1].ssrc).count();
    assert!((470..530).contains(&changes), "{changes} changes in 1,000 s");
    let jumped =
        |two: &[Packet]| two[0].ssrc == two[1].ssrc && two[1].timestamp.wrapping_sub(two[0].timestamp) != 160;
    let jumps = all.windows(2).filter(|two| jumped(two)).count();
    assert!((180..220).contains(&jumps), "{jumps} jumps in 1,000 s");
    assert!(all.windows(2).filter(|two| jumped(two)).all(|two| two[1].marker));
}

#[test]
fn silences_have_their_share_of_time_and_say_so_with_comfort_noise() {
    let dtx = Dtx { talk_ms: 1000, silence_ms: 3000, comfort_noise: true };
    let all = packets(6, &Profile { dtx: Some(dtx), ..clean() }, 20_000);
    let spoken = all.iter().map(|packet| u64::from(packet.samples)).sum::<u64>() as f64;
    let share = spoken / all.last().unwrap().position as f64;
    assert!((share - 0.25).abs() < 0.03, "{share}");
    for two in all.windows(2) {
        let silent = two[1].position - two[0].position > 160;
        assert!(!silent || two[0].payload_type == COMFORT_NOISE, "a silence begins with noise");
        assert!(two[1].position - two[0].position <= COMFORT_NOISE_EVERY + 160);
        let spurt = two[0].samples == 0 && two[1].samples > 0;
        assert_eq!(two[1].marker, spurt);
    }
}

#[test]
fn a_hold_and_a_late_start_leave_their_time_out() {
    let profile = Profile { hold: Some(Hold { after_ms: 1000, for_ms: 500 }), late_start_ms: 400, ..clean() };
    let starts: Vec<u64> =
        (0..100).map(|track| Schedule::new(7, 3, track, &profile).next().unwrap().position).collect();
    assert!(starts.iter().all(|start| *start <= 3200) && starts.iter().any(|start| *start != starts[0]));
    let all = packets(7, &profile, 200);
    assert!(all.iter().all(|packet| !(8000..12_000).contains(&packet.position)));
    let resumed = all.iter().find(|packet| packet.position >= 12_000).unwrap();
    assert!(resumed.marker && resumed.position == 12_000 + all[0].position % 160);
    let before = all.iter().take_while(|packet| packet.position < 8000).last().unwrap();
    assert_eq!(resumed.sequence, before.sequence.wrapping_add(1), "a hold is no loss");
}

#[test]
fn strangers_look_like_the_next_packet() {
    let all = packets(8, &Profile { wrong_source: 0.5, ..clean() }, 1000);
    let mut strangers = 0;
    for three in all.windows(3).filter(|three| three[1].fate == Sent::WrongSource) {
        let (before, stranger, after) = (three[0], three[1], three[2]);
        assert_eq!((before.at, after.ssrc), (stranger.at, stranger.ssrc));
        assert_eq!((stranger.sequence, stranger.timestamp), (after.sequence, after.timestamp));
        strangers += 1;
    }
    assert!(strangers > 250);
    assert!(all[..8].iter().all(|packet| packet.fate == Sent::Once));
}

#[test]
fn the_queue_never_outgrows_its_room() {
    let profile = Profile {
        ptime_ms: 10,
        jitter_ms: 200,
        wrong_source: 1.0,
        late: Some(Late { share: 0.5, by_ms: 4000 }),
        reorder: Some(Reorder { share: 0.5, packets: 20 }),
        ..clean()
    };
    profile.check().unwrap();
    let mut schedule = Schedule::new(9, 0, 0, &profile);
    let room = schedule.waiting.capacity();
    assert!(schedule.by_ref().take(20_000).count() == 20_000);
    assert_eq!(schedule.waiting.capacity(), room);
}
