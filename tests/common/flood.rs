//! Many short calls: INVITE with a multipart body, 200, ACK, BYE, 200. Made from a template and read with the bare eye, so that the
//! client costs far less than the recorder. No media.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use tapehead::base::Mono;
use tapehead::sip::Transport;
use tapehead::sip::multipart::Writer;
use tapehead::sys::clock;

/// How much is placed, and how.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Calls in all.
    pub calls: u64,
    /// Calls at once at most.
    pub window: usize,
    /// New calls per second; `None`: as soon as there is room in the window.
    pub per_second: Option<u64>,
}

/// What came of it.
#[derive(Default, Debug)]
pub struct Outcome {
    /// Calls that went through to the 200 to their BYE.
    pub done: u64,
    /// Calls refused, by any final answer that is not 200.
    pub refused: u64,
    /// Requests sent again for want of an answer.
    pub resent: u64,
    /// From the sending of each INVITE to its 200.
    pub answers: Vec<Duration>,
    /// All of it.
    pub elapsed: Duration,
}

impl Outcome {
    /// The answer time that so many percent of calls kept.
    pub fn percentile(&mut self, percent: usize) -> Duration {
        self.answers.sort_unstable();
        let at = (self.answers.len() * percent / 100).min(self.answers.len().saturating_sub(1));
        self.answers.get(at).copied().unwrap_or_default()
    }
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

struct Live {
    invited: Mono,
    /// The request that waits for its answer.
    request: Vec<u8>,
    sent: Mono,
    ending: bool,
}

/// A client on one socket.
pub struct Flood {
    wire: Wire,
    /// What of a stream is no whole message yet.
    held: Vec<u8>,
    via: String,
    here: SocketAddr,
    /// Of this client alone: no two have a Call-ID in common.
    name: String,
    to: SocketAddr,
    body: (String, Vec<u8>),
    live: HashMap<u64, Live>,
    next: u64,
    outcome: Outcome,
}

/// An answer that has not come by then is asked for again, over UDP.
const RESEND: Duration = Duration::from_millis(500);

impl Flood {
    /// A client of the recorder at `to`, whose INVITEs have a body of about `body_bytes`.
    pub fn new(transport: Transport, to: SocketAddr, body_bytes: usize) -> Flood {
        let wire = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
                socket.connect(to).expect("it is an address");
                socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout is allowed");
                Wire::Udp(socket)
            }
            _ => {
                let stream = TcpStream::connect(to).expect("the recorder listens");
                stream.set_nodelay(true).expect("it is TCP");
                stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout is allowed");
                Wire::Tcp(stream)
            }
        };
        let here = match &wire {
            Wire::Udp(socket) => socket.local_addr(),
            Wire::Tcp(stream) => stream.local_addr(),
        };
        let here = here.expect("it is bound");
        let via = format!("SIP/2.0/{} {here};rport", transport.as_str());
        Flood {
            wire,
            held: Vec::new(),
            via,
            here,
            name: format!("{}-{}", transport.as_str(), clock::mono().0),
            to,
            body: body(body_bytes),
            live: HashMap::new(),
            next: 0,
            outcome: Outcome::default(),
        }
    }

    /// Places all of `load` and waits for its end; `idle` is called now and then.
    pub fn run(&mut self, load: Load, mut idle: impl FnMut()) -> Outcome {
        let (started, first) = (clock::mono(), self.next);
        let (mut looked, mut bytes) = (started, vec![0; 65_536]);
        while self.next - first < load.calls || !self.live.is_empty() {
            let now = clock::mono();
            let due =
                |rate: u64| (now.since(started).as_micros() as u64 * rate / 1_000_000 + 1).min(load.calls);
            let due = load.per_second.map_or(load.calls, due);
            while self.next - first < due && self.live.len() < load.window {
                self.invite(now);
            }
            self.read(&mut bytes);
            if now.since(looked) > Duration::from_millis(100) {
                looked = now;
                self.resend(now);
                idle();
            }
        }
        self.outcome.elapsed = clock::mono().since(started);
        std::mem::take(&mut self.outcome)
    }

    fn invite(&mut self, now: Mono) {
        let number = self.next;
        self.next += 1;
        let (content_type, body) = &self.body;
        let mut request = self.head("INVITE", number, 1, &format!("<sip:srs@{}>", self.to));
        request.push_str(&format!(
            "Contact: <sip:src@{}>;+sip.src\r\nRequire: siprec\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.here,
            body.len()
        ));
        let request = [request.as_bytes(), body].concat();
        self.send(&request);
        self.live.insert(number, Live { invited: now, request, sent: now, ending: false });
    }

    fn head(&self, method: &str, number: u64, cseq: u32, to: &str) -> String {
        format!(
            "{method} sip:srs@{} SIP/2.0\r\nVia: {};branch=z9hG4bK{method}{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:src@{}>;tag=f{number}\r\nTo: {to}\r\nCall-ID: {number}@{}\r\nCSeq: {cseq} {method}\r\n",
            self.to, self.via, self.here, self.name
        )
    }

    fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            // A datagram that does not go out is sent again later.
            Wire::Udp(socket) => drop(socket.send(bytes)),
            Wire::Tcp(stream) => stream.write_all(bytes).expect("the recorder reads"),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        let read = match &mut self.wire {
            Wire::Udp(socket) => socket.recv(bytes),
            Wire::Tcp(stream) => stream.read(bytes),
        };
        let len = match read {
            Ok(len) => len,
            Err(why)
                if matches!(
                    why.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                return;
            }
            Err(why) => panic!("the recorder is gone: {why}"),
        };
        if let Wire::Udp(_) = self.wire {
            return self.take(&String::from_utf8_lossy(&bytes[..len]));
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(&bytes[..len]);
        let mut from = 0;
        while let Some(end) = message_end(&held[from..]) {
            self.take(&String::from_utf8_lossy(&held[from..from + end]));
            from += end;
        }
        held.drain(..from);
        self.held = held;
    }

    fn take(&mut self, message: &str) {
        let now = clock::mono();
        let Some(code) = message.get(8..12).and_then(|code| code.trim().parse::<u16>().ok()) else {
            // A request of the recorder's: it hangs up, which ends the call for it.
            return;
        };
        let field = |name: &str| {
            message
                .split("\r\n")
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .unwrap_or_default()
        };
        let number = field("Call-ID").split('@').next().and_then(|number| number.parse().ok());
        let (Some(number), true) = (number, code >= 200) else { return };
        let to = field("To").to_owned();
        let Some(live) = self.live.get(&number) else { return };
        match (field("CSeq").ends_with("INVITE"), live.ending) {
            (true, false) => {
                let answer = now.since(live.invited);
                self.answered(number, code, &to, answer, now);
            }
            // Sent again by the recorder, to which the ACK was lost.
            (true, true) if code == 200 => self.acknowledge(number, "ACK", &to),
            (false, true) => {
                self.live.remove(&number);
                self.outcome.done += 1;
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, number: u64, branch: &str, to: &str) {
        let ack = self.head("ACK", number, 1, to).replace("z9hG4bKACK", &format!("z9hG4bK{branch}"));
        self.send(format!("{ack}Content-Length: 0\r\n\r\n").as_bytes());
    }

    fn answered(&mut self, number: u64, code: u16, to: &str, answer: Duration, now: Mono) {
        if code != 200 {
            // RFC 3261 section 17.1.1.3: the branch of the INVITE.
            self.acknowledge(number, "INVITE", to);
            self.live.remove(&number);
            self.outcome.refused += 1;
            return;
        }
        self.outcome.answers.push(answer);
        self.acknowledge(number, "ACK", to);
        let bye = format!("{}Content-Length: 0\r\n\r\n", self.head("BYE", number, 2, to)).into_bytes();
        self.send(&bye);
        if let Some(live) = self.live.get_mut(&number) {
            (live.request, live.sent, live.ending) = (bye, now, true);
        }
    }

    fn resend(&mut self, now: Mono) {
        if matches!(self.wire, Wire::Tcp(_)) {
            return;
        }
        let late: Vec<u64> =
            self.live.iter().filter(|(_, l)| now.since(l.sent) > RESEND).map(|(n, _)| *n).collect();
        for number in late {
            let Some(live) = self.live.get_mut(&number) else { continue };
            live.sent = now;
            let request = live.request.clone();
            self.outcome.resent += 1;
            self.send(&request);
        }
    }
}

/// Where the first message of a stream ends, if it is there.
fn message_end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]);
    let length = text.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "))?;
    let end = head + length.trim().parse::<usize>().ok()?;
    (end <= bytes.len()).then_some(end)
}

/// Session description and metadata, filled up to about `bytes` with data of the kind that border controllers add.
fn body(bytes: usize) -> (String, Vec<u8>) {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0 8\r\na=label:1\r\na=sendonly\r\n\
               m=audio 9002 RTP/AVP 0 8\r\na=label:2\r\na=sendonly\r\n";
    let metadata = |filling: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><recording xmlns=\"urn:ietf:params:xml:ns:recording:1\"><datamode>complete</datamode>\
             <session session_id=\"cs\"/><participant participant_id=\"a\"><nameID aor=\"sip:+15551000@example.com\"/></participant>\
             <participant participant_id=\"b\"><nameID aor=\"sip:+15552000@example.com\"/></participant>\
             <stream stream_id=\"s1\" session_id=\"cs\"><label>1</label></stream><stream stream_id=\"s2\" session_id=\"cs\"><label>2</label></stream>\
             <participantstreamassoc participant_id=\"a\"><send>s1</send><recv>s2</recv></participantstreamassoc>\
             <participantstreamassoc participant_id=\"b\"><send>s2</send><recv>s1</recv></participantstreamassoc>\
             <extension>{filling}</extension></recording>"
        )
    };
    let parts = |filling: &str| {
        Writer::new("flood")
            .part("application/sdp", &[], sdp)
            .part(
                "application/rs-metadata+xml",
                &["Content-Disposition: recording-session"],
                metadata(filling),
            )
            .finish()
    };
    let bare = parts("").1.len();
    parts(&"x".repeat(bytes.saturating_sub(bare)))
}
