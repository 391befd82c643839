//! A client that writes its own bytes to a socket: one dialog over any transport.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use super::common::tls::Line;
use super::common::{said, tapehead};
use super::run::Transport;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// How the recorder is reached.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    pub transport: Transport,
    pub at: SocketAddr,
    /// The folder of `ca.pem`.
    pub certificates: &'a Path,
    /// The recorder's own folder.
    pub home: &'a Path,
}

/// One dialog of one client.
pub struct Client<'a> {
    pub reach: Reach<'a>,
    pub call_id: &'a str,
    pub player: &'a Path,
    pub wire: Wire,
    /// The recorder's tag, once it has told.
    to_tag: String,
    /// Requests of the recorder's that came while something else was waited for.
    requests: Vec<String>,
    /// When the first tone was played, and packets of each stream so far.
    played: Cell<Option<(Instant, u32)>>,
    /// CSeq and method of those that were looked at: they may come again.
    seen: Vec<String>,
}

impl<'a> Client<'a> {
    pub fn open(reach: Reach<'a>, call_id: &'a str, player: &'a Path) -> Result<Self, String> {
        let wire = Wire::open(reach)?;
        let (requests, seen, played) = (Vec::new(), Vec::new(), Cell::new(None));
        Ok(Client { reach, call_id, player, wire, to_tag: String::new(), requests, played, seen })
    }

    /// From the answer to the end.
    pub fn talk(&mut self) -> Result<(), String> {
        let ports = self.answered()?;
        self.acknowledge()?;
        self.tones(ports)?;
        self.bye(2)
    }

    /// A request without its content.
    pub fn head(&self, method: &str, number: u32) -> String {
        let Client { call_id, to_tag, .. } = self;
        let transport = self.reach.transport.name().to_ascii_uppercase();
        // The ACK to a 200 is a transaction of its own; CANCEL, and the ACK to anything else, are not.
        let branch =
            if method == "ACK" && !to_tag.is_empty() { "ack".to_owned() } else { number.to_string() };
        format!(
            "{method} sip:recorder@{at} SIP/2.0\r\nVia: SIP/2.0/{transport} {host}:9;rport;branch=z9hG4bK{call_id}{branch}\r\n\
             From: <sip:raw@127.0.0.1>;tag=raw\r\nTo: <sip:recorder@{at}>{to_tag}\r\nCall-ID: {call_id}\r\n\
             CSeq: {number} {method}\r\nMax-Forwards: 70\r\n",
            host = SocketAddr::new(self.reach.at.ip(), 9).to_string().trim_end_matches(":9"),
            at = self.reach.at
        )
    }

    pub fn request(&self, method: &str, number: u32) -> String {
        format!("{}Content-Length: 0\r\n\r\n", self.head(method, number))
    }

    pub fn invite(&self, body: &str) -> String {
        self.invite_with("", body)
    }

    /// The INVITE with further header fields, each with its line end.
    pub fn invite_with(&self, fields: &str, body: &str) -> String {
        format!(
            "{}{}Require: siprec\r\nSubject: raw\r\n{fields}\
             Content-Type: multipart/mixed;boundary=raw-boundary\r\nContent-Length: {}\r\n\r\n{body}",
            self.head("INVITE", 1),
            self.contact(),
            body.len()
        )
    }

    /// Where it can be reached: where it sends from, or over the connection that is there.
    fn contact(&self) -> String {
        let at = match &self.wire {
            Wire::Datagrams(socket) => socket.local_addr().expect("it is bound").to_string(),
            Wire::Stream { .. } | Wire::Tls(_) => SocketAddr::new(self.reach.at.ip(), 9).to_string(),
        };
        format!("Contact: <sip:raw@{at};transport={}>;+sip.src\r\n", self.reach.transport.name())
    }

    /// A session description of two lines, and of no more.
    pub fn sdp(&self, version: u32, direction: &str, ports: [u16; 2]) -> String {
        let ip = self.reach.at.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let line =
            |(port, label)| format!("m=audio {port} RTP/AVP 0\r\na={direction}\r\na=label:{label}\r\n");
        let lines: String = ports.into_iter().zip(1..).map(line).collect();
        format!("v=0\r\no=raw 1 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n{lines}")
    }

    /// A re-INVITE with a session description.
    pub fn reinvite(&self, number: u32, sdp: &str) -> String {
        format!(
            "{}{}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            self.head("INVITE", number),
            self.contact(),
            sdp.len()
        )
    }

    /// Waits for a request of the recorder's, which may come again and again until it is answered.
    pub fn asked(&mut self, method: &str) -> Result<String, String> {
        loop {
            let at = self.requests.iter().position(|request| request.starts_with(&format!("{method} ")));
            if let Some(at) = at {
                return Ok(self.requests.remove(at));
            }
            let message = self.wire.receive().map_err(|why| format!("no {method} came: {why}"))?;
            self.keep_request(message);
        }
    }

    /// Keeps it for later if it is a request, and one that is new.
    fn keep_request(&mut self, message: String) {
        let cseq = field(&message, "CSeq").to_owned();
        if !message.starts_with("SIP/2.0 ") && !self.seen.contains(&cseq) {
            self.seen.push(cseq);
            self.requests.push(message);
        }
    }

    /// Answers a request of the recorder's.
    pub fn answer(&mut self, request: &str, status: &str, fields: &str, sdp: &str) -> Result<(), String> {
        let repeated = ["Via", "From", "To", "Call-ID", "CSeq"];
        let repeated = request.lines().filter(|line| {
            repeated
                .iter()
                .any(|name| line.split(':').next().is_some_and(|field| field.eq_ignore_ascii_case(name)))
        });
        let repeated: String = repeated.map(|line| format!("{line}\r\n")).collect();
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let contact = self.contact();
        let answer = format!(
            "SIP/2.0 {status}\r\n{repeated}{contact}{fields}{kind}Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.wire.send(answer.as_bytes())
    }

    /// Runs `tapehead ctl` at its recorder.
    pub fn ctl(&self, arguments: &[&str]) -> Result<(), String> {
        let run = tapehead(self.reach.home, ["ctl"].iter().chain(arguments));
        if run.status.success() { Ok(()) } else { Err(format!("ctl {arguments:?}: {}", said(&run))) }
    }

    /// Two streams and who sends them.
    pub fn body(&self) -> String {
        self.body_with(&self.sdp(1, "sendonly", [4000, 4000]))
    }

    /// This session description and who sends.
    pub fn body_with(&self, sdp: &str) -> String {
        format!(
            "--raw-boundary\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--raw-boundary\r\n\
             Content-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n{METADATA}\r\n--raw-boundary--\r\n"
        )
    }

    /// Waits for a final answer to this method, whatever comes before.
    pub fn expect(&mut self, code: u16, method: &str) -> Result<String, String> {
        loop {
            let message = self.wire.receive()?;
            let of_method = message.lines().any(|line| line.starts_with("CSeq:") && line.ends_with(method));
            if !message.starts_with("SIP/2.0 ") {
                self.keep_request(message);
                continue;
            }
            if !of_method || message.starts_with("SIP/2.0 1") {
                continue;
            }
            return match message.starts_with(&format!("SIP/2.0 {code} ")) {
                true => Ok(message),
                false => Err(format!("expected {code}, got {message}")),
            };
        }
    }

    /// Waits for the 200 to the INVITE; returns the ports of its lines.
    pub fn answered(&mut self) -> Result<[u16; 2], String> {
        let answer = self.expect(200, "INVITE")?;
        self.ports_of(&answer)
    }

    /// The ports of its lines; learns the recorder's tag.
    pub fn ports_of(&mut self, answer: &str) -> Result<[u16; 2], String> {
        let to = answer.lines().find(|line| line.starts_with("To:")).unwrap_or_default();
        self.to_tag = to.find(";tag=").map(|at| to[at..].to_owned()).ok_or("no tag in the answer")?;
        let lines = answer.lines().filter_map(|line| line.strip_prefix("m=audio "));
        let ports: Vec<u16> = lines.filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect();
        ports.try_into().map_err(|ports| format!("ports: {ports:?}"))
    }

    pub fn acknowledge(&mut self) -> Result<(), String> {
        let ack = self.request("ACK", 1);
        self.wire.send(ack.as_bytes())
    }

    /// Places the call and acknowledges the answer; returns the ports of its lines.
    pub fn call(&mut self) -> Result<[u16; 2], String> {
        let body = self.body();
        let invite = self.invite(&body);
        self.wire.send(invite.as_bytes())?;
        let ports = self.answered()?;
        self.acknowledge()?;
        Ok(ports)
    }

    pub fn bye(&mut self, number: u32) -> Result<(), String> {
        let bye = self.request("BYE", number);
        self.wire.send(bye.as_bytes())?;
        self.expect(200, "BYE").map(|_| ())
    }

    /// Has a second of a tone played on each track.
    pub fn tones(&self, ports: [u16; 2]) -> Result<(), String> {
        self.tones_of(ports, [440, 1000], 1000)
    }

    /// Has tones of these frequencies played, so many milliseconds of each, and waits until they are over.
    pub fn tones_of(&self, [first, second]: [u16; 2], [low, high]: [u32; 2], ms: u64) -> Result<(), String> {
        // One stream goes on: its numbers count what was sent, its timestamps the time.
        let now = Instant::now();
        let (begun, packets) = self.played.get().unwrap_or((now, 0));
        self.played.set(Some((begun, packets + ms as u32 / 20)));
        let stamp = 4000 + now.duration_since(begun).as_millis() * 8;
        let flow = |port, hz| format!("{port}:{hz}:ms={ms}:seq={}:ts={stamp}", 100 + packets);
        let line = format!("127.0.0.1 {} {}\n", flow(first, low), flow(second, high));
        let fifo = File::options().write(true).open(self.player);
        fifo.and_then(|mut fifo| fifo.write_all(line.as_bytes())).map_err(|why| why.to_string())?;
        std::thread::sleep(Duration::from_millis(ms + 400));
        Ok(())
    }
}

/// The value of a header field, as it was sent.
fn field<'a>(message: &'a str, name: &str) -> &'a str {
    let lines = message.lines().take_while(|line| !line.is_empty());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
}

/// A connection of any kind.
pub enum Wire {
    Datagrams(UdpSocket),
    Stream { stream: TcpStream, read: Vec<u8> },
    Tls(Line),
}

impl Wire {
    pub fn open(Reach { transport, at, certificates, .. }: Reach<'_>) -> Result<Wire, String> {
        let open = || match transport {
            Transport::Udp => {
                let any: IpAddr =
                    if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
                let socket = UdpSocket::bind((any, 0))?;
                socket.connect(at)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(Wire::Datagrams(socket))
            }
            Transport::Tcp => {
                let stream = TcpStream::connect(at)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Wire::Stream { stream, read: Vec::new() })
            }
            Transport::Tls => {
                Ok(Wire::Tls(Line::connect(certificates, at, &["-CAfile", "ca.pem", "-verify_return_error"])))
            }
        };
        open().map_err(|why: std::io::Error| why.to_string())
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = match self {
            Wire::Datagrams(socket) => socket.send(bytes).map(|_| ()),
            Wire::Stream { stream, .. } => stream.write_all(bytes),
            Wire::Tls(line) => {
                line.send(&String::from_utf8_lossy(bytes));
                Ok(())
            }
        };
        sent.map_err(|why| why.to_string())
    }

    /// The next message, whole.
    pub fn receive(&mut self) -> Result<String, String> {
        let mut buffer = [0; 65_535];
        match self {
            Wire::Datagrams(socket) => {
                let len = socket.recv(&mut buffer).map_err(|why| format!("no answer: {why}"))?;
                Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
            }
            Wire::Stream { stream, read } => loop {
                if let Some(message) = cut(read) {
                    return Ok(message);
                }
                match stream.read(&mut buffer).map_err(|why| format!("no answer: {why}"))? {
                    0 => return Err("the connection was closed".to_owned()),
                    len => read.extend_from_slice(&buffer[..len]),
                }
            },
            Wire::Tls(line) => {
                let message =
                    line.message(PATIENCE).ok_or_else(|| format!("no answer: {}", line.errors()))?;
                // Answers to keep-alives stand in front of it.
                Ok(message.trim_start().to_owned())
            }
        }
    }
}

/// Takes the first whole message off a stream, by its Content-Length.
fn cut(read: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8_lossy(read).into_owned();
    let start = text.len() - text.trim_start().len();
    let head = start + text[start..].find("\r\n\r\n")? + 4;
    let length = text[..head].lines().find_map(|line| line.strip_prefix("Content-Length:"))?;
    let end = head + length.trim().parse::<usize>().ok()?;
    (read.len() >= end).then(|| {
        read.drain(..end);
        text[start..end].to_owned()
    })
}

const METADATA: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1">
  <datamode>complete</datamode>
  <session session_id="cs-1"/>
  <participant participant_id="p-ada"><nameID aor="sip:ada@example.com"><name>Ada</name></nameID></participant>
  <participant participant_id="p-bob"><nameID aor="sip:bob@example.com"><name>Bob</name></nameID></participant>
  <stream stream_id="s-ada" session_id="cs-1"><label>1</label></stream>
  <stream stream_id="s-bob" session_id="cs-1"><label>2</label></stream>
  <participantstreamassoc participant_id="p-ada"><send>s-ada</send></participantstreamassoc>
  <participantstreamassoc participant_id="p-bob"><send>s-bob</send></participantstreamassoc>
</recording>"#;
