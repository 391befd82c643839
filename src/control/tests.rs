//! Whole calls against a shard that the test plays: what control says to whom, in which order.

use super::*;
use crate::base::{Seeded, Wall};
use crate::link::{self, Command, SegmentReport, TrackReport};
use crate::media::{Cause, Interval, SampleFormat};
use crate::recording::Manifest;
use crate::recording::manifest::RecordingState;
use crate::sdp;
use crate::sip::{Message, Peer, RequestId, Transport};
use std::time::Duration;

mod admission_tests;
mod change_tests;
mod chaos_tests;
mod live_tests;
mod model_tests;
mod opening_tests;
mod pause_tests;

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0\r\na=label:1\r\na=sendonly\r\nm=audio 4002 RTP/AVP 0\r\na=label:2\r\na=sendonly\r\n";

const METADATA: &str = "<recording xmlns='urn:ietf:params:xml:ns:recording:1'><session session_id='cs'/>\
    <participant participant_id='a'><nameID aor='sip:alice@example.com'><name>Alice</name></nameID></participant>\
    <stream stream_id='s1' session_id='cs'><label>1</label></stream>\
    <participantstreamassoc participant_id='a'><send>s1</send></participantstreamassoc></recording>";

fn rules() -> Rules {
    Rules {
        calls_max: 10,
        calls_per_second_max: 0,
        shard_busy_max_percent: 85,
        shard_calls_max: 5,
        shard_pairs: 10,
        rtp_bind: "0.0.0.0".parse().unwrap(),
        addresses: Vec::new(),
        recordings: "rec".into(),
        tenant: "default".to_owned(),
        any_call: false,
        pause: link::PauseHow::Silence,
        peers: Peers::default(),
    }
}

/// Control, the time, and what it has said so far.
struct World {
    control: Control<Seeded>,
    ms: u64,
    requests: u64,
    answers: Vec<(u64, u16, String)>,
    byes: Vec<DialogId>,
    /// Re-INVITEs of ours.
    asked: Vec<(DialogId, String)>,
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
            control: Control::new(rules, 2, Seeded::new(1)),
            ms: 1000,
            requests: 0,
            answers: Vec::new(),
            byes: Vec::new(),
            asked: Vec::new(),
            commands: Vec::new(),
            jobs: Vec::new(),
            logs: Vec::new(),
        }
    }

    /// With rules for everybody who calls in these tests.
    fn with_peer(peer: PeerRules) -> World {
        let networks = [(crate::base::network("10.0.0.0/8").unwrap(), std::sync::Arc::new(peer))];
        World::with(Rules { peers: Peers::new(networks.into_iter().collect()), ..rules() })
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
                Action::Reinvite { dialog, offer } => {
                    let (_, body) = offer.body.expect("an offer");
                    self.asked.push((dialog, String::from_utf8(body).unwrap()));
                }
                Action::Command { shard, command } => self.commands.push((shard, command)),
                Action::Wrap { call, .. } => {
                    let key = WrappedKey {
                        provider: "local".to_owned(),
                        key_id: "k".to_owned(),
                        wrapped: "w".to_owned(),
                        created: "now".to_owned(),
                    };
                    let now = self.now();
                    self.control.wrapped(call, Ok(key), now);
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
        let dialog = DialogId(dialog);
        let (message, from) = (Box::new(message), client());
        self.sip(SipEvent::Invite { dialog, request, message, from, local_tag: "srs".to_owned() });
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
        let track = || TrackReport { first: Some(80), ..TrackReport::default() };
        let tracks = vec![track(), track()];
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

/// Who calls.
fn client() -> Peer {
    Peer {
        transport: Transport::Udp,
        link: 0,
        listener: 0,
        local: "192.0.2.5:5060".parse().unwrap(),
        remote: "10.0.0.1:5060".parse().unwrap(),
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
