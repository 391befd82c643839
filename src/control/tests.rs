//! Whole calls against a shard that the test plays: what control says to whom, in which order.

use super::*;
use crate::base::{Prng, Wall};
use crate::link::{self, Command, SegmentReport, TrackReport};
use crate::media::{Cause, Interval, SampleFormat};
use crate::recording::Manifest;
use crate::recording::manifest::RecordingState;
use crate::sip::{Message, Peer, RequestId, Transport};
use crate::{sdp, siprec};
use proptest::prelude::*;
use std::time::Duration;

struct Seeded(Prng);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0\r\na=label:1\r\na=sendonly\r\nm=audio 4002 RTP/AVP 0\r\na=label:2\r\na=sendonly\r\n";

const METADATA: &str = "<recording xmlns='urn:ietf:params:xml:ns:recording:1'><session session_id='cs'/>\
    <participant participant_id='a'><nameID aor='sip:alice@example.com'><name>Alice</name></nameID></participant>\
    <stream stream_id='s1' session_id='cs'><label>1</label></stream>\
    <participantstreamassoc participant_id='a'><send>s1</send></participantstreamassoc></recording>";

fn rules() -> Rules {
    Rules {
        calls_max: 10,
        shard_calls_max: 5,
        shard_pairs: 10,
        rtp_bind: "0.0.0.0".parse().unwrap(),
        external_address: None,
        recordings: "rec".into(),
        tenant: "default".to_owned(),
        any_call: false,
    }
}

/// Control, the time, and what it has said so far.
struct World {
    control: Control<Seeded>,
    ms: u64,
    requests: u64,
    answers: Vec<(u64, u16, String)>,
    byes: Vec<DialogId>,
    commands: Vec<(usize, Command)>,
    jobs: Vec<Job>,
    logs: Vec<Log>,
}

impl World {
    fn new() -> World {
        World::with(rules())
    }

    fn with(rules: Rules) -> World {
        World {
            control: Control::new(rules, 2, Seeded(Prng::new(1))),
            ms: 1000,
            requests: 0,
            answers: Vec::new(),
            byes: Vec::new(),
            commands: Vec::new(),
            jobs: Vec::new(),
            logs: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: Mono::from_ms(self.ms), wall: Wall(1_795_269_802_000_000_000 + self.ms * 1_000_000) }
    }

    /// Takes what control says; keys are wrapped at once.
    fn settle(&mut self) {
        while let Some(action) = self.control.poll() {
            match action {
                Action::Answer { request, answer } => {
                    let body = answer.body.map(|(_, body)| String::from_utf8(body).unwrap());
                    self.answers.push((request.0, answer.code, body.unwrap_or_default()));
                }
                Action::Bye { dialog } => self.byes.push(dialog),
                Action::Command { shard, command } => self.commands.push((shard, command)),
                Action::Wrap { call, .. } => {
                    let key = WrappedKey {
                        provider: "local".to_owned(),
                        key_id: "k".to_owned(),
                        wrapped: "w".to_owned(),
                        created: "now".to_owned(),
                    };
                    self.control.wrapped(call, Ok(key));
                }
                Action::Job(job) => self.jobs.push(job),
                Action::Log(log) => self.logs.push(log),
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        let now = self.now();
        self.control.tick(now);
        self.settle();
    }

    fn sip(&mut self, event: SipEvent) {
        let now = self.now();
        self.control.sip(event, now);
        self.settle();
    }

    fn shard(&mut self, event: ShardEvent) {
        let now = self.now();
        self.control.shard(0, event, now);
        self.settle();
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn invite_with(&mut self, dialog: u64, message: Message) -> u64 {
        let request = self.request();
        let from = Peer {
            transport: Transport::Udp,
            link: 0,
            local: "192.0.2.5:5060".parse().unwrap(),
            remote: "10.0.0.1:5060".parse().unwrap(),
        };
        let dialog = DialogId(dialog);
        self.sip(SipEvent::Invite { dialog, request, message: Box::new(message), from });
        request.0
    }

    fn invite(&mut self, dialog: u64) -> u64 {
        self.invite_with(dialog, message("INVITE", OFFER, Some(METADATA)))
    }

    fn opened(&mut self, call: u64) {
        let started = self.now().mono;
        self.shard(ShardEvent::Opened { call: CallId(call), ports: vec![10_000, 10_002], started });
    }

    /// A call that has been answered and acknowledged.
    fn live(&mut self, dialog: u64) {
        self.invite(dialog);
        self.opened(dialog);
        let ack = Box::new(message("ACK", "", None));
        self.sip(SipEvent::Ack { dialog: DialogId(dialog), message: ack });
    }

    fn reinvite(&mut self, dialog: u64, sdp: &str) -> u64 {
        let request = self.request();
        let message = Box::new(message("INVITE", sdp, None));
        self.sip(SipEvent::Reinvite { dialog: DialogId(dialog), request, message });
        request.0
    }

    fn bye(&mut self, dialog: u64, metadata: Option<&str>) {
        let message = Box::new(message("BYE", "", metadata));
        self.sip(SipEvent::Bye { dialog: DialogId(dialog), message });
    }

    fn shard_closes(&mut self, call: u64, durable: Result<(), String>) {
        let report = SegmentReport {
            segment: 1,
            path: "rec/active/x/0001.tape".into(),
            format: SampleFormat::Mulaw,
            start: 0,
            samples: 800,
            frames: 1,
            durable,
        };
        self.shard(ShardEvent::SegmentClosed { call: CallId(call), report: Box::new(report) });
        let track = |port| TrackReport { port, first: Some(80), ..TrackReport::default() };
        let tracks = vec![track(10_000), track(10_002)];
        self.shard(ShardEvent::Closed { call: CallId(call), tracks, samples: 800 });
    }

    fn answered(&self, request: u64) -> Option<u16> {
        self.answers.iter().find(|(r, _, _)| *r == request).map(|(_, code, _)| *code)
    }

    fn closes(&self) -> usize {
        self.commands.iter().filter(|(_, c)| matches!(c, Command::Close { .. })).count()
    }

    fn last_manifest(&self) -> &Manifest {
        match self.jobs.last().expect("a job") {
            Job::Checkpoint(paper) | Job::Finalise(paper) => &paper.manifest,
            Job::Discard { .. } => panic!("no manifest in a discard"),
        }
    }
}

fn message(method: &str, sdp: &str, metadata: Option<&str>) -> Message {
    let writer = crate::sip::multipart::Writer::new("b");
    let writer = if sdp.is_empty() { writer } else { writer.part("application/sdp", &[], sdp) };
    let writer = match metadata {
        Some(metadata) => writer.part("application/rs-metadata+xml", &[], metadata),
        None => writer,
    };
    let (content_type, body) = writer.finish();
    raw_message(method, "Require: siprec", &content_type, &body)
}

fn raw_message(method: &str, header: &str, content_type: &str, body: &[u8]) -> Message {
    let mut bytes = format!(
        "{method} sip:rec@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nFrom: \"Al\" <sip:src@10.0.0.1>;tag=1\r\n\
         To: <sip:rec@192.0.2.5>\r\nCall-ID: call@10.0.0.1\r\nCSeq: 1 {method}\r\nContact: <sip:src@10.0.0.1>;+sip.src\r\n\
         X-Guid: 42\r\nAuthorization: Digest secret\r\n{header}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    Message::parse_datagram(&bytes).expect("a message")
}

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
    assert!(
        matches!(&world.jobs[..], [Job::Checkpoint(_)]),
        "participants survive a crash from the first moment"
    );
}

#[test]
fn the_manifest_knows_who_spoke_where_and_keeps_headers_but_no_secrets() {
    let mut world = World::new();
    world.live(1);
    let manifest = world.last_manifest();
    assert_eq!(manifest.tracks[0].participants, ["a"]);
    assert_eq!(manifest.tracks[0].codecs, ["PCMU"]);
    assert!(manifest.tracks[1].participants.is_empty());
    assert_eq!(manifest.participants[0].aors[0].reveal(), "sip:alice@example.com");
    assert_eq!(manifest.metadata[0].bytes().unwrap(), METADATA.as_bytes());
    let kept: Vec<&str> = manifest.sip.headers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(kept, ["X-Guid", "Require"]);
    assert_eq!(manifest.state, RecordingState::Open);
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
fn a_key_that_cant_be_had_is_answered_503_without_a_shard() {
    let mut world = World::new();
    let from = Peer {
        transport: Transport::Tcp,
        link: 0,
        local: "192.0.2.5:5060".parse().unwrap(),
        remote: "10.0.0.1:5060".parse().unwrap(),
    };
    let message = Box::new(message("INVITE", OFFER, None));
    let (dialog, request) = (DialogId(1), RequestId(9));
    world.control.sip(SipEvent::Invite { dialog, request, message, from }, world.now());
    world.control.wrapped(CallId(1), Err("vault sealed".to_owned()));
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
    assert_eq!(world.jobs.len(), before + 1);
    let manifest = world.last_manifest();
    assert_eq!(manifest.metadata[1].flags, [siprec::Flag::Malformed.name()]);
    assert_eq!(manifest.participants[0].id, "a");
    for revision in 0..crate::limits::METADATA_REVISIONS_MAX + 5 {
        update(&mut world, &format!("<recording>{revision}</recording>"));
    }
    let manifest = world.last_manifest();
    assert_eq!(manifest.metadata.len(), crate::limits::METADATA_REVISIONS_MAX);
    assert!(manifest.metadata.last().unwrap().body.reveal().contains("260"), "the newest is there");
    assert_eq!(manifest.notes.len(), 1);
}

#[test]
fn intervals_reach_the_disk_within_five_seconds_and_no_more_often() {
    let mut world = World::new();
    world.live(1);
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
    assert_eq!((manifest.intervals.len(), manifest.ledger_until), (10, Some(32_000)));
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

#[test]
fn what_cant_be_recorded_is_refused_for_its_own_reason() {
    let plain = |header: &str, sdp: &str| raw_message("INVITE", header, "application/sdp", sdp.as_bytes());
    let mut world = World::new();
    for (message, code) in [
        (plain("Require: siprec", "v=0\r\nm=audio 4 RTP/AVP 9\r\n"), 488),
        (plain("Require: siprec", "v=0\r\nm=audio 0 RTP/AVP 0\r\n"), 488),
        (plain("Require: siprec", "v=0\r\nm=audio x RTP/AVP 0\r\n"), 400),
        (raw_message("INVITE", "Require: siprec", "text/plain", b""), 488),
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
    world.control.observe(super::World { disk_low: true, backlog: false });
    let low = world.invite(4);
    assert_eq!(world.answered(low), Some(503));
    world.control.observe(super::World::default());
    world.control.drain();
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

/// What may happen to a call, in any order, whether it makes sense or not.
#[derive(Clone, Debug)]
enum Op {
    Invite(u64),
    Opened(u64),
    Refused(u64),
    Ack(u64),
    Reinvite(u64),
    Bye(u64),
    Cancel(u64),
    Timeout(u64),
    Wanted(u64),
    Closed(u64, bool),
    Interval(u64),
    Pass(u64),
    Stopped(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let id = 1..6u64;
    prop_oneof![
        6 => id.clone().prop_map(Op::Invite),
        6 => id.clone().prop_map(Op::Opened),
        1 => id.clone().prop_map(Op::Refused),
        2 => id.clone().prop_map(Op::Ack),
        2 => id.clone().prop_map(Op::Reinvite),
        2 => id.clone().prop_map(Op::Bye),
        2 => id.clone().prop_map(Op::Cancel),
        1 => id.clone().prop_map(Op::Timeout),
        1 => id.clone().prop_map(Op::Wanted),
        3 => (id.clone(), any::<bool>()).prop_map(|(id, durable)| Op::Closed(id, durable)),
        2 => id.prop_map(Op::Interval),
        3 => (0..3000u64).prop_map(Op::Pass),
        1 => (1..2usize).prop_map(Op::Stopped),
    ]
}

impl World {
    fn apply(&mut self, op: Op, invites: &mut Vec<u64>) {
        let text = || Box::new(message("INFO", "", None));
        let dialog = DialogId;
        match op {
            // A dialog is never used twice.
            Op::Invite(id) if !self.control.dialogs.contains_key(&dialog(id)) => {
                invites.push(self.invite(id))
            }
            Op::Invite(_) => {}
            Op::Opened(id) => self.opened(id),
            Op::Refused(id) => {
                self.shard(ShardEvent::Refused { call: CallId(id), reason: link::Refusal::Full });
            }
            Op::Ack(id) => self.sip(SipEvent::Ack { dialog: dialog(id), message: text() }),
            Op::Reinvite(id) => {
                let request = self.reinvite(id, OFFER);
                assert!(self.answered(request).is_some(), "every re-INVITE is answered at once");
            }
            Op::Bye(id) => self.bye(id, Some(METADATA)),
            Op::Cancel(id) => self.sip(SipEvent::Cancel { dialog: dialog(id), ended: true }),
            Op::Timeout(id) => self.sip(SipEvent::Timeout { dialog: dialog(id) }),
            Op::Wanted(id) => self.shard(ShardEvent::SegmentWanted { call: CallId(id) }),
            Op::Closed(id, durable) => {
                self.shard_closes(id, if durable { Ok(()) } else { Err("EIO".to_owned()) });
            }
            Op::Interval(id) => {
                let interval =
                    Interval { track: 0, start: 0, end: 160, cause: Cause::Loss, packets: 1, merged: false };
                self.shard(ShardEvent::Interval { call: CallId(id), interval });
            }
            Op::Pass(ms) => self.pass(ms),
            Op::Stopped(shard) => {
                let now = self.now();
                self.control.shard(shard, ShardEvent::Stopped, now);
                self.settle();
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_every_call_ends_and_nothing_is_left(
        ops in proptest::collection::vec(op(), 0..60)
    ) {
        let mut world = World::new();
        let mut invites = Vec::new();
        ops.into_iter().for_each(|op| world.apply(op, &mut invites));
        let now = world.now();
        world.control.close_all(now);
        world.settle();
        for id in 1..200 {
            world.shard(ShardEvent::Refused { call: CallId(id), reason: link::Refusal::Closed });
            world.shard_closes(id, Ok(()));
        }
        prop_assert_eq!((world.control.calls(), world.control.deadline()), (0, None));
        prop_assert!(world.control.dialogs.is_empty());
        for invite in invites {
            let answers = world.answers.iter().filter(|(request, _, _)| *request == invite).count();
            prop_assert!(answers <= 1, "one final answer at most; a cancelled one has none from us");
        }
    }
}

#[test]
fn no_line_of_the_log_holds_personal_data() {
    let mut world = World::new();
    world.live(1);
    world.reinvite(1, "garbage");
    world.pass(Duration::from_secs(60).as_millis() as u64);
    world.bye(1, None);
    world.shard_closes(1, Ok(()));
    assert!(world.logs.len() >= 3);
    assert!(world.logs.iter().all(|log| !log.text.contains("alice") && !log.text.contains("sip:")));
}
