//! What a call costs the control core in all that is computed: INVITE with a 2 KB body, 200, ACK, BYE, 200 through endpoint and control, with
//! metadata, books and last manifest, against a shard that answers at once, without sockets, files and other threads. In nanoseconds of one
//! thread's CPU time per call, step by step:
//!
//! - `parse`: the three requests read;
//! - `invite`, `opened`, `ack`, `bye`, `closed`: what each brings about, up to everything said;
//! - `manifest`: the last manifest as JSON, on the pool's thread in the product.
//!
//! `cargo bench --bench control`; with `-- --smoke` a short run. Either way every call must come to its last manifest, and nothing be left.

use std::hint::black_box;
use std::time::Duration;

use tapehead::base::{Entropy, Mono, Prng, Wall};
use tapehead::control::{Action, Control, Job, Now, Peers, Rules};
use tapehead::link::{CallId, Command, Event as ShardEvent, PauseHow, SegmentReport, TrackReport};
use tapehead::media::SampleFormat;
use tapehead::seal::WrappedKey;
use tapehead::sip::multipart::Writer;
use tapehead::sip::{self, Config, Endpoint, Message, Peer, Transport};
use tapehead::sys::clock::thread_cpu;

/// Calls under way together.
const BATCH: usize = 100;
/// What a call may cost on a machine that is busy with other work, too; on an idle one it is a third.
const CALL_NS_MAX: f64 = 400_000.0;

struct Seeded(Prng);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let batches = if smoke { 4 } else { 200 };
    let mut bench = Bench::new();
    (0..batches).for_each(|_| bench.batch());
    let calls = (batches * BATCH) as f64;
    let names = ["parse", "invite", "opened", "ack", "bye", "closed", "manifest"];
    let spent = bench.spent.map(|spent| spent.as_nanos() as f64 / calls);
    let call: f64 = spent[..6].iter().sum();
    names.iter().zip(spent).for_each(|(name, spent)| println!("{name:<9} {spent:8.0} ns/call"));
    println!("call      {call:8.0} ns/call   {:.0} calls/s", 1e9 / call);
    assert!(call < CALL_NS_MAX, "a call costs {call} ns");
}

struct Bench {
    endpoint: Endpoint,
    control: Control<Seeded>,
    now: Now,
    body: (String, Vec<u8>),
    calls: usize,
    /// What the control core has said to its shard and its pool.
    opened: Vec<CallId>,
    closing: Vec<CallId>,
    jobs: Vec<Job>,
    sent: Vec<Vec<u8>>,
    spent: [Duration; 7],
}

impl Bench {
    fn new() -> Bench {
        let rules = Rules {
            calls_max: 10_000,
            calls_per_second_max: 0,
            shard_busy_max_percent: 100,
            shard_calls_max: 10_000,
            shard_pairs: 30_000,
            rtp_bind: "0.0.0.0".parse().expect("an address"),
            addresses: Vec::new(),
            recordings: "recordings".into(),
            tenant: "default".to_owned(),
            any_call: false,
            pause: PauseHow::Silence,
            peers: Peers::default(),
        };
        Bench {
            endpoint: Endpoint::new(Config::recorder(), Box::new(Seeded(Prng::new(1)))),
            control: Control::new(rules, 1, Seeded(Prng::new(2))),
            now: Now { mono: Mono(0), wall: Wall(1_795_269_802_000_000_000) },
            body: body(),
            calls: 0,
            opened: Vec::new(),
            closing: Vec::new(),
            jobs: Vec::new(),
            sent: Vec::new(),
            spent: [Duration::ZERO; 7],
        }
    }

    fn request(&self, method: &str, call: usize, cseq: u32, to: &str) -> Vec<u8> {
        let mut head = format!(
            "{method} sip:srs@192.0.2.9:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK{method}{call}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:src@192.0.2.1:5060>;tag=f{call}\r\nTo: <sip:srs@192.0.2.9>{to}\r\n\
             Call-ID: {call}@192.0.2.1\r\nCSeq: {cseq} {method}\r\n"
        );
        if method == "INVITE" {
            let (content_type, body) = &self.body;
            head += &format!(
                "Contact: <sip:src@192.0.2.1:5060>;+sip.src\r\nRequire: siprec\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            return [head.as_bytes(), body].concat();
        }
        (head + "Content-Length: 0\r\n\r\n").into_bytes()
    }

    /// Does `act` and what it brings about, as the driver does, and charges it to `step`.
    fn step(&mut self, step: usize, act: impl FnOnce(&mut Bench)) {
        let start = thread_cpu();
        act(self);
        self.settle();
        self.spent[step] += thread_cpu() - start;
        self.now.mono = self.now.mono + Duration::from_micros(20);
        self.now.wall.0 += 20_000;
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(action) = self.endpoint.poll(self.now.mono) {
                quiet = false;
                match action {
                    sip::Action::Send { bytes, .. } => self.sent.push(bytes.to_vec()),
                    sip::Action::Event(event) => self.control.sip(event, self.now),
                }
            }
            self.control.tick(self.now);
            while let Some(action) = self.control.poll() {
                quiet = false;
                self.act(action);
            }
            if quiet {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Answer { request, answer } => {
                self.endpoint.respond(self.now.mono, request, answer).expect("waits for it");
            }
            Action::Wrap { call, .. } => {
                let text = |text: &str| text.to_owned();
                let (provider, key_id, wrapped) = (text("local"), text("5f0c6d7e8a9b0c1d"), "A".repeat(80));
                let created = self.now.wall.to_rfc3339();
                let wrapped = WrappedKey { provider, key_id, wrapped, created };
                self.control.wrapped(call, Ok(wrapped), self.now);
            }
            Action::Command { command: Command::Open(open), .. } => self.opened.push(open.call),
            Action::Command { command: Command::Close { call }, .. } => self.closing.push(call),
            Action::Job(job) => self.jobs.push(job),
            Action::Log(log) => drop(black_box(log)),
            _ => panic!("nothing else is to be done"),
        }
    }

    fn feed(&mut self, step: usize, bytes: &[u8]) {
        let local = "192.0.2.9:5060".parse().expect("an address");
        let remote = "192.0.2.1:5060".parse().expect("an address");
        let peer = Peer { transport: Transport::Udp, link: 1, listener: 0, local, remote };
        let start = thread_cpu();
        let message = Message::parse_datagram(bytes);
        self.spent[0] += thread_cpu() - start;
        self.step(step, |bench| bench.endpoint.receive(bench.now.mono, peer, message));
    }

    fn batch(&mut self) {
        let calls = self.calls..self.calls + BATCH;
        self.calls += BATCH;
        let requests = |bench: &Bench, method: &str, cseq, tags: &[String]| -> Vec<Vec<u8>> {
            let to = |at: usize| tags.get(at).map_or("", String::as_str);
            calls.clone().enumerate().map(|(at, call)| bench.request(method, call, cseq, to(at))).collect()
        };
        for bytes in requests(self, "INVITE", 1, &[]) {
            self.feed(1, &bytes);
        }
        self.sent.clear();
        for call in std::mem::take(&mut self.opened) {
            let port = 10_000 + (call.0 % 10_000) as u16 * 4;
            self.step(2, |bench| {
                let started = bench.now.mono;
                bench.control.shard(
                    0,
                    ShardEvent::Opened { call, ports: vec![port, port + 2], started },
                    bench.now,
                );
            });
        }
        let tags: Vec<String> = std::mem::take(&mut self.sent).iter().map(|bytes| tag(bytes)).collect();
        assert_eq!(tags.len(), BATCH, "every INVITE is answered");
        for bytes in requests(self, "ACK", 1, &tags) {
            self.feed(3, &bytes);
        }
        for bytes in requests(self, "BYE", 2, &tags) {
            self.feed(4, &bytes);
        }
        for call in std::mem::take(&mut self.closing) {
            self.step(5, |bench| bench.closed(call));
        }
        assert_eq!((self.control.calls(), self.endpoint.dialogs()), (0, 0), "every call is over");
        let jobs = std::mem::take(&mut self.jobs);
        assert!(jobs.len() == BATCH && jobs.iter().all(|job| matches!(job, Job::Finalise(_))));
        let start = thread_cpu();
        for job in jobs {
            if let Job::Finalise(paper) = job {
                black_box(paper.manifest.to_json());
            }
        }
        self.spent[6] += thread_cpu() - start;
        self.sent.clear();
        // The ports rest, transactions end.
        self.now.mono = self.now.mono + Duration::from_secs(1);
    }

    fn closed(&mut self, call: CallId) {
        let report = SegmentReport {
            segment: 1,
            path: "recordings/active/0199f0a1b2c370008000000000000001/0001.tape".into(),
            format: SampleFormat::Mulaw,
            start: 0,
            samples: 800,
            frames: 1,
            durable: Ok(()),
        };
        let report = Box::new(report);
        self.control.shard(0, ShardEvent::SegmentClosed { call, report }, self.now);
        let tracks = vec![TrackReport::default(), TrackReport::default()];
        self.control.shard(0, ShardEvent::Closed { call, tracks, samples: 800 }, self.now);
    }
}

/// Two participants, two streams, and extension data as border controllers add them: 2 KB.
fn body() -> (String, Vec<u8>) {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0 8\r\na=label:1\r\na=sendonly\r\n\
               m=audio 9002 RTP/AVP 0 8\r\na=label:2\r\na=sendonly\r\n";
    let metadata = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><recording xmlns=\"urn:ietf:params:xml:ns:recording:1\"><datamode>complete</datamode>\
         <session session_id=\"cs\"/><participant participant_id=\"a\"><nameID aor=\"sip:+15551000@example.com\"/></participant>\
         <participant participant_id=\"b\"><nameID aor=\"sip:+15552000@example.com\"/></participant>\
         <stream stream_id=\"s1\" session_id=\"cs\"><label>1</label></stream><stream stream_id=\"s2\" session_id=\"cs\"><label>2</label></stream>\
         <participantstreamassoc participant_id=\"a\"><send>s1</send><recv>s2</recv></participantstreamassoc>\
         <participantstreamassoc participant_id=\"b\"><send>s2</send><recv>s1</recv></participantstreamassoc>\
         <extension>{}</extension></recording>",
        "x".repeat(800)
    );
    Writer::new("unique-boundary-1")
        .part("application/sdp", &[], sdp)
        .part("application/rs-metadata+xml", &["Content-Disposition: recording-session"], metadata)
        .finish()
}

/// The To tag of a response of ours, as a parameter.
fn tag(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().find(|line| line.starts_with("To:")).expect("has a To");
    line.rsplit_once(";tag=").map_or_else(String::new, |(_, tag)| format!(";tag={tag}"))
}
