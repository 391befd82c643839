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
