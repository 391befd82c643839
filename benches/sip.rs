//! What a call costs the control core in signalling: INVITE with a 2 KB multipart body, 100, 200, ACK, BYE, 200, without sockets, in
//! nanoseconds of one thread's CPU time per call, step by step, with the timers of all calls before it running:
//!
//! - `copy`: the same bytes copied and searched for line ends, the baseline;
//! - `parse`: the three requests read, nothing done with them;
//! - `call`: read, through the endpoint, and everything sent made; each call's transactions and dialog forgotten in the end.
//!
//! `cargo bench --bench sip`; with `-- --smoke` a short run. Either way every call must come to its end, and nothing be left.

use std::hint::black_box;
use std::time::Duration;

use tapehead::base::{Entropy, Mono, Prng};
use tapehead::sip::multipart::Writer;
use tapehead::sip::{Action, Answer, Config, Endpoint, Event, Message, Peer, Transport};
use tapehead::sys::clock::thread_cpu;

/// Calls set up and torn down together.
const BATCH: usize = 500;
/// What a call may cost, so that 2,000 of them a second leave half of a core to control and sockets.
const CALL_NS_MAX: f64 = 250_000.0;

struct Seeded(Prng);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let batches = if smoke { 4 } else { 80 };
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut bench = Bench::new(transport);
        (0..batches).for_each(|_| bench.batch());
        bench.end();
        let calls = (batches * BATCH) as f64;
        let [copy, parse, invite, ack, bye, timers] =
            bench.spent.map(|spent| spent.as_nanos() as f64 / calls);
        let call = invite + ack + bye + timers;
        let name = transport.as_str();
        println!("{name} copy   {copy:9.0} ns/call   {:.3}", copy / call);
        println!("{name} parse  {parse:9.0} ns/call   {:.3}", parse / call);
        println!("{name} call   {call:9.0} ns/call   1.000   {:.0} calls/s", 1e9 / call);
        println!("{name}   invite {invite:.0}  ack {ack:.0}  bye {bye:.0}  timers {timers:.0}");
        assert!(call < CALL_NS_MAX, "a call costs {call} ns");
    }
}

struct Bench {
    endpoint: Endpoint,
    now: Mono,
    peer: Peer,
    content_type: String,
    body: Vec<u8>,
    calls: usize,
    answer: Answer,
    /// For copy, parse, INVITE, ACK, BYE and timers.
    spent: [Duration; 6],
}

impl Bench {
    fn new(transport: Transport) -> Bench {
        let address = |text: &str| text.parse().expect("an address");
        let (local, remote) = (address("192.0.2.9:5060"), address("192.0.2.1:5060"));
        let metadata = "<participant participant_id='x'/>".repeat(40);
        let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n".to_owned()
            + &"m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=label:1\r\na=sendonly\r\n".repeat(2);
        let answer = Answer::ok().body("application/sdp", sdp.clone());
        let (content_type, body) = Writer::new("unique-boundary-1")
            .part("application/sdp", &[], sdp)
            .part("application/rs-metadata+xml", &["Content-Disposition: recording-session"], metadata)
            .finish();
        Bench {
            endpoint: Endpoint::new(Config::recorder(), Box::new(Seeded(Prng::new(1)))),
            now: Mono(0),
            peer: Peer { transport, link: 1, listener: 0, local, remote },
            content_type,
            body,
            calls: 0,
            answer,
            spent: [Duration::ZERO; 6],
        }
    }

    fn request(&self, method: &str, call: usize, cseq: u32, tag: &str) -> Vec<u8> {
        let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let via = self.peer.transport.as_str();
        let mut bytes = format!(
            "{method} sip:recorder@192.0.2.9:5060 SIP/2.0\r\nVia: SIP/2.0/{via} 192.0.2.1:5060;branch=z9hG4bK{method}{call}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:sbc@192.0.2.1>;tag=src{call}\r\nTo: <sip:recorder@192.0.2.9>{tag}\r\n\
             Call-ID: {call}-5d8ce2a4@192.0.2.1\r\nCSeq: {cseq} {method}\r\nContact: <sip:sbc@192.0.2.1:5060>;+sip.src\r\n\
             Require: siprec\r\nSupported: timer, replaces\r\nSession-Expires: 1800\r\nMin-SE: 90\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, UPDATE, OPTIONS\r\nUser-Agent: an SBC\r\nX-Call-Guid: {call}\r\n"
        )
        .into_bytes();
        let body: &[u8] = if method == "INVITE" { &self.body } else { &[] };
        if !body.is_empty() {
            bytes.extend_from_slice(format!("Content-Type: {}\r\n", self.content_type).as_bytes());
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// Reads and takes one message of each call; answers what has to be answered. What is sent with a To tag and an end of line behind
    /// it gives that tag.
    fn feed(&mut self, step: usize, messages: &[Vec<u8>]) -> Vec<String> {
        let start = thread_cpu();
        let mut answers = Vec::with_capacity(messages.len());
        for bytes in messages {
            self.endpoint.receive(self.now, self.peer, Message::parse_datagram(bytes));
            let mut last = None;
            while let Some(action) = self.endpoint.poll(self.now) {
                match action {
                    Action::Send { bytes, .. } => last = Some(bytes),
                    Action::Event(Event::Invite { request, .. }) => {
                        self.endpoint.respond(self.now, request, self.answer.clone()).expect("waits for it");
                    }
                    Action::Event(_) => {}
                }
            }
            answers.extend(last);
        }
        self.spent[step] += thread_cpu() - start;
        answers.iter().map(|bytes| tag(bytes)).collect()
    }

    fn batch(&mut self) {
        let calls = self.calls..self.calls + BATCH;
        self.calls += BATCH;
        let invites: Vec<_> = calls.clone().map(|call| self.request("INVITE", call, 1, "")).collect();
        let tags = self.feed(2, &invites);
        assert_eq!(tags.len(), BATCH, "every INVITE is answered");
        let of = |bench: &Bench, method: &str, cseq| -> Vec<_> {
            calls.clone().zip(&tags).map(|(call, tag)| bench.request(method, call, cseq, tag)).collect()
        };
        let (acks, byes) = (of(self, "ACK", 1), of(self, "BYE", 2));
        self.feed(3, &acks);
        assert_eq!(self.endpoint.dialogs(), BATCH);
        self.feed(4, &byes);
        assert_eq!(self.endpoint.dialogs(), 0, "every BYE ends its call");
        let all = [&invites, &acks, &byes];
        self.baselines(all);
        // As if 2,000 calls came each second.
        let start = thread_cpu();
        self.now = self.now + Duration::from_secs(1) * BATCH as u32 / 2000;
        while self.endpoint.poll(self.now).is_some() {}
        self.spent[5] += thread_cpu() - start;
    }

    fn baselines(&mut self, messages: [&Vec<Vec<u8>>; 3]) {
        let start = thread_cpu();
        for bytes in messages.into_iter().flatten() {
            let copy = black_box(bytes.to_vec());
            black_box(copy.iter().filter(|byte| **byte == b'\n').count());
        }
        self.spent[0] += thread_cpu() - start;
        let start = thread_cpu();
        for bytes in messages.into_iter().flatten() {
            drop(black_box(Message::parse_datagram(bytes).expect("a message")));
        }
        self.spent[1] += thread_cpu() - start;
    }

    fn end(&mut self) {
        self.now = self.now + Duration::from_secs(100);
        while self.endpoint.poll(self.now).is_some() {}
        assert_eq!((self.endpoint.transactions(), self.endpoint.deadline()), (0, None));
    }
}

/// The To tag of a response of ours.
fn tag(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().find(|line| line.starts_with("To:")).expect("has a To");
    line.rsplit_once("tag=").map_or_else(String::new, |(_, tag)| tag.to_owned())
}
