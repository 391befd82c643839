//! Who is not recorded, and what happens when the recorder stops.

use super::*;

#[test]
fn what_cant_be_recorded_is_refused_for_its_own_reason() {
    let plain = |header: &str, sdp: &str| raw_message("INVITE", header, "application/sdp", sdp.as_bytes());
    let mut world = World::new();
    for (message, code) in [
        (plain("Require: siprec", "v=0\r\nm=audio 4 RTP/AVP 9\r\n"), 488),
        (plain("Require: siprec", "v=0\r\nm=audio 0 RTP/AVP 0\r\n"), 488),
        (plain("Require: siprec", "v=0\r\nm=audio x RTP/AVP 0\r\n"), 400),
    ] {
        let request = world.invite_with(1, message);
        assert_eq!(world.answered(request), Some(code));
    }
    // `Contact: ...;+sip.src` is a sign, so take that away, too.
    let bytes = plain("Subject: x", OFFER).bytes().to_vec();
    let text = String::from_utf8(bytes).unwrap().replace(";+sip.src", "");
    let unmarked = Message::parse_datagram(text.as_bytes()).unwrap();
    let request = world.invite_with(1, unmarked.clone());
    assert_eq!(world.answered(request), Some(421));
    assert_eq!(world.control.calls(), 0);
    let mut open = World::with(Rules { any_call: true, ..rules() });
    open.invite_with(1, unmarked);
    assert_eq!(open.control.calls(), 1);
}

#[test]
fn metadata_that_is_missing_or_damaged_never_matters() {
    for metadata in [None, Some(""), Some("\u{0}<<&"), Some("<other/>")] {
        let mut world = World::new();
        let request = world.invite_with(1, message("INVITE", OFFER, metadata));
        world.opened(1);
        assert_eq!(world.answered(request), Some(200), "{metadata:?}");
    }
}

#[test]
fn full_draining_or_without_room_new_calls_get_503_and_running_ones_go_on() {
    let mut world = World::with(Rules { calls_max: 2, ..rules() });
    world.live(1);
    world.live(2);
    let third = world.invite(3);
    assert_eq!(world.answered(third), Some(503));
    world.bye(2, None);
    world.shard_closes(2, Ok(()));
    world.control.observe(crate::control::World { disk_low: true, backlog: false });
    let low = world.invite(4);
    assert_eq!(world.answered(low), Some(503));
    world.control.observe(crate::control::World::default());
    world.control.drain(true);
    let drained = world.invite(5);
    assert_eq!((world.answered(drained), world.control.calls()), (Some(503), 1));
    let held = world.reinvite(1, OFFER);
    assert_eq!(world.answered(held), Some(200));
}

#[test]
fn shutdown_ends_live_calls_with_bye_and_opening_ones_with_503() {
    let mut world = World::new();
    world.live(1);
    let opening = world.invite(2);
    let now = world.now();
    world.control.close_all(now);
    world.settle();
    assert_eq!((world.byes.as_slice(), world.answered(opening)), (&[DialogId(1)][..], Some(503)));
    world.shard_closes(1, Ok(()));
    world.shard(ShardEvent::Refused { call: CallId(2), reason: link::Refusal::Closed });
    assert_eq!(world.control.calls(), 0);
    assert_eq!(world.jobs.iter().filter(|j| matches!(j, Job::Finalise(_))).count(), 1);
}

#[test]
fn a_shard_that_dies_takes_its_calls_along_and_gets_no_more() {
    let mut world = World::new();
    world.live(1);
    world.live(2);
    world.shard(ShardEvent::Stopped);
    assert_eq!((world.byes.as_slice(), world.control.calls()), (&[DialogId(1)][..], 1));
    assert_eq!(world.last_manifest().state, RecordingState::Open);
    world.invite(3);
    assert!(matches!(world.commands.last(), Some((1, Command::Open(_)))));
    world.bye(1, None);
    let late = world.reinvite(1, OFFER);
    assert_eq!(world.answered(late), Some(481));
}

#[test]
fn a_peer_is_known_by_its_address_and_treated_as_its_rules_say() {
    let peer = PeerRules {
        name: "sbc".to_owned(),
        any_call: true,
        calls_max: Some(1),
        external_address: Some("203.0.113.9".parse().unwrap()),
        ..PeerRules::default()
    };
    let networks = [(crate::base::network("10.0.0.0/8").unwrap(), std::sync::Arc::new(peer))];
    let mut world = World::with(Rules { peers: Peers::new(networks.into_iter().collect()), ..rules() });
    let marked = raw_message("INVITE", "X: y", "application/sdp", OFFER.as_bytes());
    let text = String::from_utf8(marked.bytes().to_vec()).unwrap().replace(";+sip.src", "");
    let unmarked = Message::parse_datagram(text.as_bytes()).unwrap();
    world.invite_with(1, unmarked.clone());
    world.opened(1);
    assert!(world.answers[0].2.contains("c=IN IP4 203.0.113.9"), "{:?}", world.answers);
    let beyond = world.invite_with(2, unmarked.clone());
    assert_eq!(world.answered(beyond), Some(503));
    world.bye(1, None);
    world.shard_closes(1, Ok(()));
    let again = world.invite_with(3, unmarked);
    assert_eq!(world.answered(again), None, "its place is free again");
}

/// Whether the reason has been counted so often.
fn counted(world: &World, reason: &str) -> u64 {
    world.control.refusals().find(|(known, _)| *known == reason).map_or(0, |(_, count)| count)
}

#[test]
fn calls_beyond_the_rate_get_503_while_options_still_say_that_there_is_room() {
    let mut world = World::with(Rules { calls_per_second_max: 2, ..rules() });
    assert_eq!((world.invite(1), world.invite(2)), (1, 2));
    let beyond = world.invite(3);
    assert_eq!((world.answered(beyond), counted(&world, "call_rate")), (Some(503), 1));
    let now = world.now().mono;
    assert_eq!((world.control.full(now), world.control.shut(now)), (None, Some(Refusal::CallRate)));
    world.pass(500);
    let later = world.invite(4);
    assert_eq!(world.answered(later), None, "half a second is worth a call");
}

#[test]
fn a_key_provider_that_keeps_failing_is_left_alone_and_calls_are_refused_at_once() {
    let mut world = World::new();
    let fail = |world: &mut World, dialog: u64| {
        let message = Box::new(message("INVITE", OFFER, None));
        let (request, now) = (world.request(), world.now());
        let from = client();
        world.control.sip(
            SipEvent::Invite { dialog: DialogId(dialog), request, message, from, local_tag: String::new() },
            now,
        );
        let mut asked = 0;
        while let Some(action) = world.control.poll() {
            if let Action::Wrap { call, .. } = action {
                asked += 1;
                world.control.wrapped(call, Err("vault sealed".to_owned()), now);
            }
        }
        asked
    };
    assert_eq!((1..=5).map(|dialog| fail(&mut world, dialog)).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
    assert_eq!((counted(&world, "keys"), counted(&world, "keys_down")), (3, 2));
    assert_eq!(world.control.full(world.now().mono), Some(Refusal::KeysDown));
    world.pass(crate::limits::KEY_PAUSE.as_millis() as u64);
    world.live(9);
    assert_eq!(world.control.full(world.now().mono), None);
}

#[test]
fn capacity_is_what_the_tightest_bound_leaves_and_nothing_when_calls_are_refused() {
    let mut world = World::with(Rules { calls_max: 9, ..rules() });
    let capacity = |world: &World| {
        let Capacity { calls, bound_by } = world.control.capacity(world.now().mono);
        (calls, bound_by)
    };
    assert_eq!(capacity(&world), (9, "calls_max"));
    world.live(1);
    assert_eq!(capacity(&world), (8, "calls_max"));
    let stats = ShardStats { calls: 1, busy_ppm: 400_000, ..ShardStats::default() };
    let now = world.now();
    (0..2).for_each(|shard| world.control.shard(shard, ShardEvent::Stats(Box::new(stats.clone())), now));
    assert_eq!(
        capacity(&world),
        (2, "shard_busy_max_percent"),
        "one more at 40 percent each, on either shard"
    );
    world.control.observe(crate::control::World { disk_low: true, backlog: false });
    assert_eq!(capacity(&world), (0, "disk_low"));
    world.control.drain(true);
    assert_eq!(capacity(&world), (0, "draining"));
}

#[test]
fn every_refusal_for_want_of_capacity_is_a_503_that_says_when_to_try_again() {
    for refusal in [
        Refusal::Draining,
        Refusal::CallsMax,
        Refusal::PeerCallsMax,
        Refusal::CallRate,
        Refusal::Busy,
        Refusal::NoBlocks,
        Refusal::KeysDown,
        Refusal::DiskLow,
        Refusal::Backlog,
        Refusal::NoShard,
        Refusal::ShardCalls,
        Refusal::PortsUsed,
        Refusal::PortsRest,
        Refusal::PortsHeld,
        Refusal::KeysSlow,
        Refusal::Shard(link::Refusal::Ports("EADDRINUSE".to_owned())),
    ] {
        let answer = refusal.answer();
        assert!(refusal.is_for_capacity() && answer.code == 503, "{refusal}");
        assert!(answer.headers.iter().any(|(name, _)| name == "Retry-After"), "{refusal}");
    }
}

/// An INVITE whose key is not wrapped: its request, and whether a key was asked for.
fn invite_without_a_key(world: &mut World, dialog: u64) -> (u64, Option<CallId>) {
    let message = Box::new(message("INVITE", OFFER, None));
    let (request, now) = (world.request(), world.now());
    let from = client();
    world.control.sip(
        SipEvent::Invite { dialog: DialogId(dialog), request, message, from, local_tag: String::new() },
        now,
    );
    let mut asked = None;
    while let Some(action) = world.control.poll() {
        match action {
            Action::Wrap { call, .. } => asked = Some(call),
            Action::Answer { request, answer } => world.answers.push((request.0, answer.code, String::new())),
            _ => {}
        }
    }
    (request.0, asked)
}

#[test]
fn a_key_provider_that_never_answers_costs_a_503_after_its_time_and_then_one_call_at_a_time() {
    let wait = crate::limits::KEY_WAIT_MAX.as_millis() as u64;
    let pause = crate::limits::KEY_PAUSE.as_millis() as u64;
    let mut world = World::new();
    let waiting: Vec<_> = (1..=3).map(|dialog| invite_without_a_key(&mut world, dialog)).collect();
    world.pass(wait - 1);
    assert!(world.answers.is_empty());
    world.pass(1);
    for (request, _) in &waiting {
        assert_eq!(world.answered(*request), Some(503));
    }
    assert_eq!((counted(&world, "keys_slow"), world.control.calls()), (3, 0));
    // What comes now is for nobody, and says nothing of the provider.
    let now = world.now();
    world.control.wrapped(waiting[0].1.expect("a question"), Err("late".to_owned()), now);
    assert_eq!(counted(&world, "keys"), 0);
    let (refused, asked) = invite_without_a_key(&mut world, 4);
    assert_eq!((world.answered(refused), asked, counted(&world, "keys_down")), (Some(503), None, 1));
    world.pass(pause);
    let asked: Vec<bool> =
        (5..=7).map(|dialog| invite_without_a_key(&mut world, dialog).1.is_some()).collect();
    assert_eq!(asked, [true, false, false], "one finds out");
}

#[test]
fn ports_that_rest_or_that_others_hold_refuse_calls_under_their_own_names_and_in_no_line_each() {
    let mut world = World::with(Rules { shard_pairs: 2, ..rules() });
    world.live(1);
    world.live(2);
    let used = world.invite(3);
    world.bye(1, None);
    world.shard_closes(1, Ok(()));
    let resting = world.invite(4);
    assert_eq!((world.answered(used), counted(&world, "ports_used")), (Some(503), 1));
    assert_eq!((world.answered(resting), counted(&world, "ports_rest")), (Some(503), 1));
    world.pass(crate::limits::PORT_REST.as_millis() as u64);
    let logged = world.logs.len();
    let held = world.invite(5);
    let taken = link::Refusal::Ports("EADDRINUSE".to_owned());
    world.shard(ShardEvent::Refused { call: CallId(3), reason: taken });
    assert_eq!((world.answered(held), counted(&world, "shard_ports")), (Some(503), 1));
    world.pass(1);
    let next = world.invite(6);
    assert_eq!(world.answered(next), Some(503), "not even tried");
    assert_eq!(world.logs.len(), logged, "{:?}", world.logs);
    assert!(counted(&world, "ports_rest") + counted(&world, "ports_held") >= 2);
    let said = world.control.refusals_in_words().find(|(reason, ..)| *reason == "shard_ports");
    assert!(said.is_some_and(|(.., why)| why.contains("EADDRINUSE")));
}
