//! Offers and answers during a call, whoever makes them.

use super::*;

#[test]
fn a_client_that_keeps_sending_metadata_has_its_manifest_written_every_five_seconds() {
    let mut world = World::new();
    world.live(1);
    for second in 0..20 {
        world.pass(1000);
        let body = format!("<recording><datamode>partial</datamode><x>{second}</x></recording>");
        let info = raw_message("INFO", "X: y", "application/rs-metadata+xml", body.as_bytes());
        let request = world.request();
        world.sip(SipEvent::InDialog { dialog: DialogId(1), request, message: Box::new(info) });
    }
    world.pass(5000);
    assert!((4..=6).contains(&world.jobs.len()), "{}", world.jobs.len());
    assert_eq!(world.last_manifest().metadata.len(), 21, "and nothing is lost");
}

#[test]
fn who_spoke_before_a_line_was_given_to_another_stays_in_the_map() {
    let mut world = World::new();
    world.live(1);
    world.pass(1000);
    let cleo = METADATA.replace("'a'", "'c'").replace("s1", "s5").replace("<label>1<", "<label>5<");
    let request = world.request();
    let message = Box::new(message("INVITE", &OFFER.replace("label:1", "label:5"), Some(&cleo)));
    world.sip(SipEvent::Reinvite { dialog: DialogId(1), request, message });
    world.bye(1, None);
    world.shard_closes(1, Ok(()));
    let manifest = world.last_manifest();
    let track = &manifest.tracks[0];
    assert_eq!((track.participants.join(" "), track.label.as_deref()), ("a c".to_owned(), Some("5")));
    assert_eq!(track.speakers[0].until.as_ref(), Some(&track.speakers[1].since));
}

/// An offer of these audio lines: label, port, direction.
fn lines(lines: &[(&str, u16, &str)]) -> String {
    let line = |(label, port, direction): &(&str, u16, &str)| {
        format!("m=audio {port} RTP/AVP 0\r\na=label:{label}\r\na={direction}\r\n")
    };
    format!("v=0\r\nc=IN IP4 10.0.0.1\r\n{}", lines.iter().map(line).collect::<String>())
}

fn three() -> String {
    lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly"), ("3", 4004, "sendonly")])
}

impl World {
    fn update(&mut self, dialog: u64, sdp: &str) -> u64 {
        let request = self.request();
        let message = Box::new(message("UPDATE", sdp, None));
        self.sip(SipEvent::InDialog { dialog: DialogId(dialog), request, message });
        request.0
    }

    fn ack(&mut self, dialog: u64, sdp: &str) {
        let message = Box::new(message("ACK", sdp, None));
        self.sip(SipEvent::Ack { dialog: DialogId(dialog), message });
    }

    /// The last update that the shard was told, with its number.
    fn told(&self) -> (u32, &[link::TrackPlan]) {
        let updates = self.commands.iter().rev().find_map(|(_, command)| match command {
            Command::Update { revision, tracks, .. } => Some((*revision, tracks.as_slice())),
            _ => None,
        });
        updates.expect("an Update")
    }

    fn updated(&mut self, revision: u32, result: Result<Vec<u16>, link::Refusal>) {
        self.shard(ShardEvent::Updated { call: CallId(1), revision, result });
    }

    /// Code and ports of the answer to a request.
    fn outcome(&self, request: u64) -> Option<(u16, Vec<u16>)> {
        let (_, code, body) = self.answers.iter().find(|(r, _, _)| *r == request)?;
        let ports = sdp::parse(body.as_bytes()).map(|sdp| sdp.media.iter().map(|m| m.port).collect());
        Some((*code, ports.unwrap_or_default()))
    }
}

#[test]
fn an_invite_without_an_offer_gets_ours_and_the_ack_brings_the_answer() {
    let mut world = World::new();
    let invite = world.invite_with(1, message("INVITE", "", Some(METADATA)));
    let (_, Command::Open(open)) = &world.commands[0] else { panic!("an Open") };
    assert_eq!((open.tracks.len(), open.tracks[0].rtp_from), (1, None), "one stream in the metadata");
    world.opened(1);
    let body = world.answers.iter().find(|(r, _, _)| *r == invite).unwrap().2.clone();
    let offer = sdp::parse(body.as_bytes()).unwrap();
    assert_eq!((offer.media.len(), offer.media[0].label(), offer.media[0].port), (1, Some("1"), 10_000));
    assert_eq!(offer.media[0].direction(), Some(sdp::Direction::RecvOnly));
    world.ack(1, "v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 8\r\na=sendonly\r\n");
    let (_, tracks) = world.told();
    assert_eq!(tracks[0].rtp_from, Some("10.0.0.1:4000".parse().unwrap()));
    assert!(!tracks[0].held);
}

#[test]
fn an_empty_body_of_type_sdp_is_no_offer() {
    let mut world = World::new();
    let invite = world.invite_with(1, raw_message("INVITE", "Require: siprec", "application/sdp", b"\r\n"));
    world.opened(1);
    assert_eq!(world.outcome(invite), Some((200, vec![10_000, 10_002])));
}

#[test]
fn an_ack_without_a_good_answer_leaves_the_call_recorded_as_it_comes() {
    for answer in ["", "nonsense", "v=0\r\nm=audio 4000 udptl t38\r\n"] {
        let mut world = World::new();
        world.invite_with(1, message("INVITE", "", None));
        world.opened(1);
        world.ack(1, answer);
        assert!(!world.told().1[0].held, "{answer}");
        world.pass(60_000);
        world.bye(1, None);
        world.shard_closes(1, Ok(()));
        let notes = &world.last_manifest().notes;
        assert!(notes.iter().any(|note| note.contains("missing or odd")), "{answer}: {notes:?}");
    }
}

#[test]
fn a_reinvite_without_an_offer_gets_the_session_as_it_is_and_resumes_a_hold() {
    let mut world = World::new();
    world.live(1);
    world.reinvite(1, &OFFER.replace("sendonly", "inactive"));
    let asked = world.reinvite(1, "");
    assert_eq!(world.outcome(asked), Some((200, vec![10_000, 10_002])));
    assert!(!world.answers.last().unwrap().2.contains("a=inactive"));
    world.ack(1, &lines(&[("1", 4000, "sendonly"), ("2", 4002, "inactive")]));
    assert_eq!(world.told().1.iter().map(|t| t.held).collect::<Vec<_>>(), [false, true]);
    // An ACK that carries something when nothing was asked for is only an ACK.
    let commands = world.commands.len();
    world.ack(1, OFFER);
    assert_eq!(world.commands.len(), commands);
}

#[test]
fn a_stream_added_is_answered_when_the_shard_has_ports_for_it() {
    let mut world = World::new();
    world.live(1);
    let added = world.reinvite(1, &three());
    assert_eq!(world.outcome(added), None);
    let (revision, tracks) = world.told();
    assert_eq!(tracks.len(), 3);
    world.updated(revision, Ok(vec![10_000, 10_002, 10_004]));
    assert_eq!(world.outcome(added), Some((200, vec![10_000, 10_002, 10_004])));
    assert_eq!(world.last_manifest().tracks.len(), 3, "on disk at once");
    world.shard(ShardEvent::SegmentWanted { call: CallId(1) });
    let Some((_, Command::Segment(plan))) = world.commands.last() else { panic!("a Segment") };
    assert!(String::from_utf8_lossy(&plan.block0.encode().unwrap()).contains("\"channels\":3"));
}

#[test]
fn a_stream_for_which_there_is_no_room_is_declined_and_the_call_goes_on() {
    let mut world = World::new();
    world.live(1);
    let added = world.update(1, &three().replace("4000", "5000"));
    let (revision, _) = world.told();
    world.updated(revision, Err(link::Refusal::Ports("none".to_owned())));
    assert_eq!(world.outcome(added), Some((200, vec![10_000, 10_002, 0])));
    let (again, tracks) = world.told();
    assert_eq!((again, tracks.len()), (revision + 1, 2), "what else the offer said is in force");
    assert_eq!(tracks[0].rtp_from.unwrap().port(), 5000);
    assert_eq!(world.last_manifest().tracks.len(), 2);
    assert!(world.logs.iter().any(|log| log.severity == Severity::Error));
}

#[test]
fn a_shard_that_is_slow_to_add_a_stream_delays_nobody_for_long() {
    let mut world = World::new();
    world.live(1);
    let added = world.reinvite(1, &three());
    let (revision, _) = world.told();
    world.pass(1999);
    assert_eq!(world.outcome(added), None);
    world.pass(1);
    assert_eq!(world.outcome(added), Some((200, vec![10_000, 10_002, 0])));
    // It comes after all, and an offer of the same that waits for it is answered.
    let again = world.reinvite(1, &three());
    assert_eq!((world.outcome(again), world.told().1.len()), (None, 2), "one addition at a time");
    world.updated(revision, Ok(vec![10_000, 10_002, 10_004]));
    assert_eq!(world.outcome(again), Some((200, vec![10_000, 10_002, 10_004])));
}

#[test]
fn offers_wait_for_their_turn() {
    let mut world = World::new();
    world.live(1);
    let added = world.reinvite(1, &three());
    let early = world.update(1, OFFER);
    assert_eq!(world.answered(early), Some(500), "RFC 3311 section 5.2");
    let late = world.reinvite(1, "");
    assert_eq!(world.answered(late), Some(500), "nor is it our turn");
    let info = world.update(1, "");
    assert_eq!(world.answered(info), Some(200), "without an offer there is nothing to wait for");
    let (revision, _) = world.told();
    world.updated(revision, Ok(vec![10_000, 10_002, 10_004]));
    assert_eq!(world.answered(added), Some(200));
    world.invite(2);
    let early = world.update(2, OFFER);
    assert_eq!(world.answered(early), Some(500));
    assert!(world.control.refusals().eq([("offer_unanswered", 3)]));
}

#[test]
fn bye_and_cancel_while_a_stream_is_being_added() {
    let mut world = World::new();
    world.live(1);
    world.reinvite(1, &three());
    let before = world.told().0;
    world.sip(SipEvent::Cancel { dialog: DialogId(1), ended: false });
    let (revision, tracks) = world.told();
    assert_eq!((revision, tracks.len()), (before + 1, 2), "as it was before");
    world.updated(before, Ok(vec![10_000, 10_002, 10_004]));
    assert_eq!(world.told().1.iter().map(|track| track.held).collect::<Vec<_>>(), [false, false, true]);
    let added = world.update(1, &three().replace("label:3", "label:9"));
    assert_eq!(world.outcome(added), Some((200, vec![10_000, 10_002, 10_004])), "its channel was there");

    let more = world.update(1, &format!("{}m=audio 4006 RTP/AVP 0\r\n", three()));
    world.bye(1, None);
    assert_eq!((world.answered(more), world.closes()), (Some(487), 1));
    let revision = world.told().0;
    world.updated(revision, Ok(vec![10_000, 10_002, 10_004, 10_006]));
    world.shard_closes(1, Ok(()));
    assert_eq!(world.control.calls(), 0);
    let late = world.reinvite(1, OFFER);
    assert_eq!(world.answered(late), Some(481));
    assert!(world.control.refusals().eq([("call_gone", 1)]));
}

#[test]
fn whatever_is_wrong_with_a_later_offer_the_call_goes_on() {
    let mut world = World::new();
    world.live(1);
    let commands = world.commands.len();
    for (sdp, code) in [
        ("garbage", 400),
        ("v=0\r\nm=audio x RTP/AVP 0\r\n", 400),
        ("v=0\r\nm=audio 4000 RTP/AVP 18\r\n", 488),
        ("v=0\r\nm=image 4000 udptl t38\r\n", 488),
    ] {
        let request = world.reinvite(1, sdp);
        assert_eq!(world.answered(request), Some(code), "{sdp}");
    }
    assert_eq!((world.commands.len(), world.closes()), (commands, 0));
    let request = world.reinvite(1, OFFER);
    assert_eq!(world.answered(request), Some(200));
}

#[test]
fn media_that_are_not_recorded_are_declined_and_noted() {
    let mut world = World::new();
    let offer = format!(
        "{OFFER}m=video 4004 RTP/AVP 99\r\nm=message 4006 TCP/MSRP *\r\nm=image 4008 udptl t38\r\n\
         m=text 4010 RTP/AVP 98\r\nm=audio 4012 RTP/AVP 18\r\nm=x-odd 1 y z\r\n"
    );
    world.invite_with(1, message("INVITE", &offer, None));
    world.opened(1);
    let answer = sdp::parse(world.answers[0].2.as_bytes()).unwrap();
    let ports: Vec<u16> = answer.media.iter().map(|m| m.port).collect();
    assert_eq!(ports, [10_000, 10_002, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        (answer.media[3].formats.join(" "), answer.media[4].formats.join(" ")),
        ("*".into(), "t38".into())
    );
    world.pass(200);
    assert_eq!(world.last_manifest().notes.len(), 2, "{:?}", world.last_manifest().notes);
}

#[test]
fn inactive_just_before_bye_is_a_hold_and_then_the_end() {
    let mut world = World::new();
    world.live(1);
    let held = world.reinvite(1, &OFFER.replace("sendonly", "inactive"));
    world.bye(1, Some(METADATA));
    assert_eq!((world.answered(held), world.closes()), (Some(200), 1));
}

#[test]
fn metadata_comes_with_any_request_and_a_refresh_needs_none() {
    let mut world = World::new();
    world.live(1);
    for method in ["INFO", "MESSAGE", "NOTIFY", "UPDATE"] {
        let request = world.request();
        let document = format!("<recording><participant participant_id='{method}'/></recording>");
        let message = Box::new(message(method, "", Some(&document)));
        world.sip(SipEvent::InDialog { dialog: DialogId(1), request, message });
        assert_eq!(world.answered(request.0), Some(200));
    }
    world.pass(5000);
    let ids: Vec<_> = world.last_manifest().participants.iter().map(|p| p.id.clone()).collect();
    assert!(["INFO", "MESSAGE", "NOTIFY", "UPDATE"].iter().all(|id| ids.iter().any(|known| known == id)));
    for refresh in [world.reinvite(1, OFFER), world.update(1, OFFER)] {
        assert_eq!(world.outcome(refresh), Some((200, vec![10_000, 10_002])));
    }
    let versions: Vec<_> = world
        .answers
        .iter()
        .filter_map(|(_, _, body)| {
            sdp::parse(body.as_bytes()).ok().map(|sdp| (sdp.origin.id, sdp.origin.version))
        })
        .collect();
    assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "nothing changed, no new version");
}

#[test]
fn a_peer_gets_the_codec_that_its_rules_say() {
    let rules = PeerRules { codecs: vec![link::Payload::Pcma], ..PeerRules::default() };
    let mut world = World::with_peer(rules);
    let offer = OFFER.replace("RTP/AVP 0", "RTP/AVP 0 8");
    world.invite_with(1, message("INVITE", &offer, None));
    world.opened(1);
    assert!(world.answers[0].2.contains("m=audio 10000 RTP/AVP 8\r\n"));
    world.reinvite(1, &offer);
    assert!(world.answers[1].2.contains("m=audio 10000 RTP/AVP 8\r\n"));
}
