//! From the INVITE to the 200 or what stands in its place.

use super::*;

#[test]
fn a_call_is_answered_only_when_the_shard_has_opened_it() {
    let mut world = World::new();
    let invite = world.invite(1);
    assert_eq!(world.answered(invite), None);
    let (0, Command::Open(open)) = &world.commands[0] else { panic!("an Open for shard 0") };
    assert_eq!((open.tracks.len(), open.format), (2, SampleFormat::Mulaw));
    assert!(open.segment.path.ends_with("0001.tape.part"));
    world.opened(1);
    let (_, code, body) = world.answers.last().unwrap();
    let answer = sdp::parse(body.as_bytes()).unwrap();
    assert_eq!(*code, 200);
    assert_eq!(answer.media.iter().map(|m| m.port).collect::<Vec<_>>(), [10_000, 10_002]);
    assert_eq!(answer.connection.unwrap().0, "192.0.2.5");
}

#[test]
fn participants_survive_a_crash_from_a_fifth_of_a_second_on_and_a_shorter_call_is_written_once() {
    let mut world = World::new();
    world.live(1);
    world.live(2);
    world.pass(100);
    world.bye(2, None);
    world.shard_closes(2, Ok(()));
    assert!(matches!(&world.jobs[..], [Job::Finalise(_)]), "{}", world.jobs.len());
    world.pass(100);
    assert!(matches!(&world.jobs[1..], [Job::Checkpoint(_)]), "{}", world.jobs.len());
}

#[test]
fn the_manifest_knows_who_spoke_where_and_keeps_headers_but_no_secrets() {
    let mut world = World::new();
    world.live(1);
    world.pass(200);
    let manifest = world.last_manifest();
    assert_eq!(manifest.tracks[0].participants, ["a"]);
    assert_eq!(manifest.tracks[0].codecs, ["PCMU"]);
    assert!(manifest.tracks[1].participants.is_empty());
    assert_eq!(manifest.participants[0].aors[0].reveal(), "sip:alice@example.com");
    assert_eq!(manifest.metadata[0].bytes().unwrap(), METADATA.as_bytes());
    let kept: Vec<&str> = manifest.sip.headers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(kept, ["X-Guid", "Require"]);
    assert_eq!(manifest.state, RecordingState::Open);
    assert_eq!((manifest.sip.remote_tag.as_str(), manifest.sip.local_tag.as_str()), ("1", "srs"));
}

#[test]
fn what_a_shard_refuses_is_answered_503_and_deleted() {
    let mut world = World::new();
    let invite = world.invite(1);
    let reason = link::Refusal::File("disk full".to_owned());
    world.shard(ShardEvent::Refused { call: CallId(1), reason });
    assert_eq!(world.answered(invite), Some(503));
    assert!(matches!(world.jobs[..], [Job::Discard { .. }]));
    assert!(world.logs.iter().any(|log| log.text.contains("disk full")));
    assert_eq!(world.control.calls(), 0);
}

#[test]
fn a_shard_that_does_not_answer_in_time_is_given_up() {
    let mut world = World::new();
    let invite = world.invite(1);
    world.pass(1999);
    assert_eq!(world.answered(invite), None);
    world.pass(1);
    assert_eq!((world.answered(invite), world.closes()), (Some(503), 1));
    // It opens after all, and is closed as it was told.
    world.opened(1);
    world.shard_closes(1, Ok(()));
    assert!(matches!(world.jobs[..], [Job::Discard { .. }]), "nobody was told that this is recorded");
    assert_eq!((world.answers.len(), world.control.calls()), (1, 0));
}

#[test]
fn the_answer_gives_the_external_address_of_the_listener_that_the_call_came_through() {
    let mut world = World::new();
    world.control.set_external(0, Some("203.0.113.5".parse().unwrap()));
    world.invite(1);
    world.opened(1);
    assert!(world.answers.last().unwrap().2.contains("c=IN IP4 203.0.113.5\r\n"));
    world.control.set_external(0, None);
    world.invite(2);
    world.opened(2);
    assert!(world.answers.last().unwrap().2.contains("c=IN IP4 192.0.2.5\r\n"));
}

#[test]
fn media_of_the_other_family_than_signalling_are_answered_with_an_address_of_theirs_or_488() {
    let six = OFFER.replace("c=IN IP4 10.0.0.1", "c=IN IP6 2001:db8::1");
    let mut world = World::new();
    let refused = world.invite_with(1, message("INVITE", &six, None));
    assert_eq!(world.answered(refused), Some(488), "no address of ours is of that family");
    assert!(world.commands.is_empty());

    let mut world = World::with(Rules { addresses: vec!["2001:db8::5".parse().unwrap()], ..rules() });
    world.invite_with(1, message("INVITE", &six, None));
    let (_, Command::Open(open)) = &world.commands[0] else { panic!("an Open") };
    assert_eq!(open.bind, IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED));
    world.opened(1);
    assert!(world.answers[0].2.contains("c=IN IP6 2001:db8::5\r\n"), "{:?}", world.answers);
    let back = world.reinvite(1, OFFER);
    assert_eq!(world.answered(back), Some(488), "and the call goes on as it was");
    assert_eq!(world.control.calls(), 1);

    let bound = Rules { rtp_bind: "192.0.2.5".parse().unwrap(), ..rules() };
    let mut world = World::with(Rules { addresses: vec!["2001:db8::5".parse().unwrap()], ..bound });
    let refused = world.invite_with(1, message("INVITE", &six, None));
    assert_eq!(world.answered(refused), Some(488), "rtp.bind does not serve it");
}

#[test]
fn the_log_says_why_an_offer_has_nothing_that_can_be_stored() {
    let mut world = World::new();
    let video = "m=video 4004 RTP/AVP 96\r\n";
    let secured = OFFER.replace("RTP/AVP 0", "RTP/SAVP 0").replacen("m=audio", &format!("{video}m=audio"), 1);
    let refused = world.invite_with(1, message("INVITE", &secured, None));
    assert_eq!(world.answered(refused), Some(488));
    assert!(
        world.logs.iter().any(|log| log.text.contains("no a=crypto line that can be done")),
        "{:?}",
        world.logs
    );
}

#[test]
fn a_key_that_cant_be_had_is_answered_503_without_a_shard() {
    let mut world = World::new();
    let from = Peer { transport: Transport::Tcp, ..client() };
    let message = Box::new(message("INVITE", OFFER, None));
    let (dialog, request) = (DialogId(1), RequestId(9));
    world
        .control
        .sip(SipEvent::Invite { dialog, request, message, from, local_tag: String::new() }, world.now());
    world.control.wrapped(CallId(1), Err("vault sealed".to_owned()), world.now());
    assert!(matches!(world.control.poll(), Some(Action::Wrap { .. })));
    world.settle();
    assert_eq!(world.answered(9), Some(503));
    assert!(world.commands.is_empty() && world.jobs.is_empty());
    assert_eq!(world.control.calls(), 0);
}

#[test]
fn cancel_while_opening_closes_and_deletes() {
    let mut world = World::new();
    world.invite(1);
    world.sip(SipEvent::Cancel { dialog: DialogId(1), ended: true });
    assert_eq!(world.closes(), 1);
    world.shard(ShardEvent::Refused { call: CallId(1), reason: link::Refusal::Closed });
    assert!(matches!(world.jobs[..], [Job::Discard { .. }]));
    assert!(world.answers.is_empty(), "the endpoint has answered");
    assert_eq!(world.control.calls(), 0);
}

#[test]
fn bye_before_the_answer_is_a_cancel_and_before_the_ack_a_short_recording() {
    let mut world = World::new();
    let invite = world.invite(1);
    world.bye(1, None);
    assert_eq!((world.answered(invite), world.closes()), (Some(487), 1));
    world.shard(ShardEvent::Refused { call: CallId(1), reason: link::Refusal::Closed });

    world.invite(2);
    world.opened(2);
    world.bye(2, None);
    world.shard_closes(2, Ok(()));
    assert!(matches!(world.jobs.last(), Some(Job::Finalise(_))));
}
