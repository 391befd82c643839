//! Calls after their 200: holds, metadata, intervals, segments, the end.

use super::*;
use crate::limits::KEPT_MESSAGES_MAX;
use crate::siprec;

#[test]
fn a_short_call_has_one_manifest_unless_its_shard_takes_long_to_close_it() {
    let mut world = World::new();
    world.live(1);
    world.bye(1, None);
    world.pass(500);
    assert!(world.jobs.is_empty(), "the last one is about to come");
    world.pass(600);
    assert!(matches!(world.jobs[..], [Job::Checkpoint(_)]));
    world.shard_closes(1, Ok(()));
    assert!(matches!(world.jobs[..], [_, Job::Finalise(_)]));
}

#[test]
fn bye_closes_the_shard_then_finalises() {
    let mut world = World::new();
    world.live(1);
    world.pass(3000);
    world.bye(1, Some("<recording><participant participant_id='late'/></recording>"));
    assert_eq!(world.closes(), 1);
    assert_eq!(world.control.calls(), 1, "not over before the shard says so");
    world.shard_closes(1, Ok(()));
    let Job::Finalise(paper) = world.jobs.last().unwrap() else { panic!("a Finalise") };
    assert!(paper.manifest.started.starts_with("2026-11-21T14:03:2"));
    let manifest = &paper.manifest;
    assert_eq!((manifest.state, manifest.samples), (RecordingState::Complete, 800));
    assert_eq!(manifest.end_cause.as_deref(), Some("bye"));
    assert_eq!((manifest.tracks[1].port, manifest.tracks[1].first), (10_002, Some(80)));
    assert_eq!(manifest.participants.len(), 2, "the BYE's metadata is read before closing");
    assert_eq!((manifest.segments.len(), manifest.ledger_until), (1, None));
    assert_eq!(world.control.calls(), 0);
    assert!(world.byes.is_empty() && world.control.deadline().is_none());
}

#[test]
fn without_an_ack_the_call_ends_but_a_refresh_without_one_does_not_matter() {
    let mut world = World::new();
    world.invite(1);
    world.opened(1);
    world.sip(SipEvent::Timeout { dialog: DialogId(1) });
    assert_eq!((world.byes.len(), world.closes()), (1, 1));
    world.live(2);
    world.sip(SipEvent::Timeout { dialog: DialogId(2) });
    assert_eq!((world.byes.len(), world.closes()), (1, 1));
}

#[test]
fn a_session_that_runs_out_ends_only_a_call_without_media() {
    let mut world = World::new();
    world.live(1);
    let expired = || SipEvent::Expired { dialog: DialogId(1), interval: Duration::from_secs(90) };
    let media = |world: &mut World, flowing| {
        world.control.shard(0, ShardEvent::Media { call: CallId(1), flowing }, world.now());
    };
    media(&mut world, true);
    world.pass(90_000);
    world.sip(expired());
    media(&mut world, false);
    world.pass(89_000);
    world.sip(expired());
    assert_eq!((world.byes.len(), world.closes()), (0, 0), "silent for less than a session lasts");
    world.pass(1000);
    world.sip(expired());
    assert_eq!((world.byes.len(), world.closes()), (1, 1));
    world.shard_closes(1, Ok(()));
    let Job::Finalise(paper) = world.jobs.last().unwrap() else { panic!("a Finalise") };
    assert_eq!(paper.manifest.end_cause.as_deref(), Some("session_expired"));
}

#[test]
fn hold_and_resume_update_the_shard_and_answer_anew() {
    let mut world = World::new();
    world.live(1);
    let held = world.reinvite(1, &OFFER.replace("sendonly", "inactive"));
    assert_eq!(world.answered(held), Some(200));
    let (0, Command::Update { tracks, .. }) = world.commands.last().unwrap() else { panic!("an Update") };
    assert!(tracks.iter().all(|track| track.held));
    let answer = &world.answers.last().unwrap().2;
    assert!(answer.contains("a=inactive") && answer.contains("m=audio 10000 "));
    world.reinvite(1, OFFER);
    let (_, Command::Update { tracks, .. }) = world.commands.last().unwrap() else { panic!("an Update") };
    assert!(tracks.iter().all(|track| !track.held));
    let refresh = world.reinvite(1, "");
    assert_eq!(world.answered(refresh), Some(200));
    assert!(world.answers.last().unwrap().2.contains("a=recvonly"));
    let narrowed = world.reinvite(1, "v=0\r\nm=audio 4000 RTP/AVP 9\r\n");
    assert_eq!((world.answered(narrowed), world.closes()), (Some(488), 0));
}

#[test]
fn a_codec_or_a_source_is_answered_once_the_shard_knows_it() {
    let mut world = World::new();
    world.live(1);
    let other =
        OFFER.replace("RTP/AVP 0", "RTP/AVP 96").replace("a=sendonly", "a=rtpmap:96 PCMA/8000\r\na=sendonly");
    let payload = (96, crate::media::Payload::Pcma);
    let changed = world.reinvite(1, &other);
    assert_eq!(world.answered(changed), None);
    let (0, Command::Update { call, revision, tracks }) = world.commands.last().unwrap() else {
        panic!("an Update")
    };
    assert!(tracks.iter().all(|track| track.payloads.contains(&payload)));
    let updated = ShardEvent::Updated { call: *call, revision: *revision, result: Ok(vec![10_000, 10_002]) };
    world.shard(updated);
    assert_eq!(world.answered(changed), Some(200));
    let moved = world.reinvite(1, &other.replace("m=audio ", "m=audio 1"));
    assert_eq!(world.answered(moved), None, "the client may send from there as soon as it has the answer");
}

#[test]
fn metadata_is_kept_raw_with_its_history_and_repeats_are_no_news() {
    let mut world = World::new();
    world.live(1);
    let before = world.jobs.len();
    let update = |world: &mut World, metadata: &str| {
        let request = world.request();
        let message = Box::new(message("UPDATE", "", Some(metadata)));
        world.sip(SipEvent::InDialog { dialog: DialogId(1), request, message });
        assert_eq!(world.answered(request.0), Some(200));
    };
    update(&mut world, METADATA);
    assert_eq!(world.jobs.len(), before);
    update(&mut world, "<recording><participant participant_id='b'");
    world.pass(5000);
    assert_eq!(world.jobs.len(), before + 1);
    let manifest = world.last_manifest();
    assert_eq!(manifest.metadata[1].flags, [siprec::Flag::Malformed.name()]);
    assert_eq!(manifest.participants[0].id, "a");
    for revision in 0..crate::limits::METADATA_REVISIONS_MAX + 5 {
        update(&mut world, &format!("<recording>{revision}</recording>"));
    }
    world.pass(5000);
    let manifest = world.last_manifest();
    assert_eq!(manifest.metadata.len(), crate::limits::METADATA_REVISIONS_MAX);
    assert!(manifest.metadata.last().unwrap().body.reveal().contains("260"), "the newest is there");
    assert_eq!(manifest.notes.len(), 1);
}

#[test]
fn all_calls_together_keep_so_much_metadata_and_no_more_and_go_on() {
    let mut world = World::new();
    world.control.metadata_left = METADATA.len() + 100;
    world.live(1);
    world.live(2);
    world.pass(200);
    let manifest = world.last_manifest();
    assert_eq!(manifest.metadata[0].bytes().unwrap(), &METADATA.as_bytes()[..100]);
    assert_eq!(
        (manifest.participants[0].id.as_str(), manifest.notes.len()),
        ("a", 1),
        "it is read all the same"
    );
    assert_eq!(world.control.cuts().revisions_cut, 1);
    world.bye(1, None);
    world.shard_closes(1, Ok(()));
    assert_eq!(world.control.metadata_left, METADATA.len(), "what it had is free again");
}

#[test]
fn headers_of_later_requests_are_kept_with_their_times() {
    let mut world = World::new();
    world.live(1);
    for _ in 0..3 {
        world.pass(60_000);
        world.reinvite(1, OFFER);
    }
    world.pass(60_000);
    world.bye(1, None);
    world.shard_closes(1, Ok(()));
    let [refresh, bye] = &world.last_manifest().sip.messages[..] else { panic!("alike ones are one entry") };
    assert_eq!((refresh.method.as_str(), refresh.count, bye.method.as_str()), ("INVITE", 3, "BYE"));
    let times = [&refresh.at, refresh.last.as_ref().unwrap(), &bye.at];
    assert!(times.is_sorted() && times[0] != times[1], "{times:?}");
    let value = |name: &str| bye.headers.iter().find(|h| h.name == name).map(|h| h.value.reveal().as_str());
    assert_eq!((value("X-Guid"), value("From")), (Some("42"), Some("\"Al\" <sip:src@10.0.0.1>;tag=1")));
    assert_eq!((value("Authorization"), value("Via")), (None, None));
}

#[test]
fn requests_beyond_those_that_are_kept_leave_the_first_and_the_last() {
    let mut world = World::new();
    world.live(1);
    for number in 0..KEPT_MESSAGES_MAX + 10 {
        let request = world.request();
        let header = format!("X-Number: {number}");
        let message = Box::new(raw_message("INFO", &header, "text/plain", b""));
        world.sip(SipEvent::InDialog { dialog: DialogId(1), request, message });
    }
    world.bye(1, None);
    world.shard_closes(1, Ok(()));
    let manifest = world.last_manifest();
    let methods: Vec<&str> = manifest.sip.messages.iter().map(|one| one.method.as_str()).collect();
    assert_eq!(
        (methods.len(), methods[0], methods[KEPT_MESSAGES_MAX - 1]),
        (KEPT_MESSAGES_MAX, "INFO", "BYE")
    );
    assert_eq!(manifest.notes.len(), 1);
}

#[test]
fn a_revision_says_which_request_brought_it() {
    let mut world = World::new();
    world.live(1);
    let request = world.request();
    let message = Box::new(message("INVITE", OFFER, Some("<recording/>")));
    world.sip(SipEvent::Reinvite { dialog: DialogId(1), request, message });
    world.pass(5000);
    let manifest = world.last_manifest();
    let methods: Vec<&str> = manifest.metadata.iter().map(|revision| revision.method.as_str()).collect();
    assert_eq!(methods, ["INVITE", "re-INVITE"]);
}

#[test]
fn intervals_reach_the_disk_within_five_seconds_and_no_more_often() {
    let mut world = World::new();
    world.live(1);
    world.pass(200);
    let before = world.jobs.len();
    let interval =
        |start| Interval { track: 0, start, end: start + 160, cause: Cause::Loss, packets: 1, merged: false };
    for n in 0..10 {
        world.shard(ShardEvent::Interval { call: CallId(1), interval: interval(n * 1000) });
        world.pass(400);
    }
    assert_eq!(world.jobs.len(), before);
    world.pass(1000);
    assert_eq!(world.jobs.len(), before + 1);
    let manifest = world.last_manifest();
    assert_eq!((manifest.intervals.len(), manifest.ledger_until), (10, Some(33_600)));
    world.pass(60_000);
    assert_eq!(world.jobs.len(), before + 1, "nothing changed, nothing written");
}

#[test]
fn each_segment_has_a_seed_of_its_own() {
    let mut world = World::new();
    world.live(1);
    world.shard(ShardEvent::SegmentWanted { call: CallId(1) });
    let seeds: Vec<_> = world
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            Command::Open(open) => Some((open.segment.segment, open.segment.seed)),
            Command::Segment(plan) => Some((plan.segment, plan.seed)),
            _ => None,
        })
        .collect();
    assert_eq!(seeds.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2]);
    assert!(seeds[0].1.salt != seeds[1].1.salt && seeds[0].1.nonce_prefix != seeds[1].1.nonce_prefix);
}

#[test]
fn a_segment_that_is_not_durable_stays_where_recovery_looks() {
    let mut world = World::new();
    world.live(1);
    world.bye(1, None);
    world.shard_closes(1, Err("EIO".to_owned()));
    assert!(matches!(world.jobs.last(), Some(Job::Checkpoint(_))));
    assert_eq!(world.last_manifest().state, RecordingState::Open);
    assert!(world.logs.iter().any(|log| log.severity == Severity::Error && log.text.contains("EIO")));
    assert_eq!(world.control.calls(), 0);
}
