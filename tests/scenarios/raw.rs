//! What SIPp can't do: clients that write their own bytes to a socket. Each is one call with two tones, bent in its own way.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::common::tls::Line;
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
}

/// Plays the client of this name.
pub fn play(name: &str, reach: Reach<'_>, id: &str, player: &Path) -> Result<(), String> {
    let client = Client::open(reach, id, player)?;
    match name {
        "raw-lf-only" => lf_only(client),
        "raw-no-final-crlf" => no_final_crlf(client),
        "raw-folded" => folded(client),
        "raw-framing" => framing(client),
        "raw-retransmitted-invite" => retransmitted_invite(client),
        "raw-answer-resent" => answer_resent(client),
        "raw-cancel" => cancel(client),
        "raw-ack-elsewhere" => ack_elsewhere(client),
        "raw-reconnect" => reconnect(client),
        _ => Err(format!("no client is called {name}")),
    }
}

/// Bare line feeds everywhere: in the headers, between the parts, in the SDP.
fn lf_only(mut client: Client) -> Result<(), String> {
    let body = client.body().replace("\r\n", "\n");
    let invite = client.invite(&body).replace("\r\n", "\n");
    client.wire.send(invite.as_bytes())?;
    client.talk()
}

/// The body ends with the last letter of the metadata: no line end, no delimiter.
fn no_final_crlf(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let cut = body.find("</recording>").ok_or("there is metadata")? + "</recording>".len();
    let invite = client.invite(&body[..cut]);
    client.wire.send(invite.as_bytes())?;
    client.talk()
}

/// Header fields over several lines, blanks before colons, of the message and of its parts (RFC 3261 section 7.3.1).
fn folded(mut client: Client) -> Result<(), String> {
    let body = client.body().replace("Content-Type: ", "Content-Type:\r\n\t ").replace(
        "Content-Disposition: recording-session",
        "content-disposition : recording-session;\r\n handling=optional",
    );
    let invite = client.invite(&body).replace("Subject: raw", "Subject: folded\r\n   over two lines");
    let invite = invite
        .replace("Require: siprec", "Require :\r\n siprec")
        .replace("Content-Length: ", "Content-Length  :   ");
    client.wire.send(invite.as_bytes())?;
    client.talk()
}

/// Streams: keep-alives in front (RFC 5626 section 3.5.1), pieces of 97 bytes, ACK and OPTIONS in one write. Datagrams: line ends in
/// front, bytes behind the body that are not part of it (RFC 3261 section 18.3).
fn framing(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = format!("\r\n\r\n{}", client.invite(&body));
    match client.reach.transport.is_stream() {
        true => invite.as_bytes().chunks(97).try_for_each(|piece| client.wire.send(piece))?,
        false => client.wire.send(format!("{invite}\r\nthis belongs to nobody\r\n").as_bytes())?,
    }
    let ports = client.answered()?;
    let ack = client.request("ACK", 1);
    let options = client.request("OPTIONS", 2);
    match client.reach.transport.is_stream() {
        true => client.wire.send(format!("{ack}\r\n\r\n{options}").as_bytes())?,
        false => [ack, options].iter().try_for_each(|one| client.wire.send(one.as_bytes()))?,
    }
    client.expect(200, "OPTIONS")?;
    client.tones(ports)?;
    client.bye(3)
}

/// The INVITE three times over, on every transport: one dialog.
fn retransmitted_invite(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    for _ in 0..3 {
        client.wire.send(invite.as_bytes())?;
    }
    let ports = client.answered()?;
    client.wire.send(invite.as_bytes())?;
    client.acknowledge()?;
    client.tones(ports)?;
    client.bye(2)
}

/// The first 200 is lost: it comes again until the ACK (RFC 3261 section 13.3.1.4).
fn answer_resent(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    client.wire.send(invite.as_bytes())?;
    let ports = client.answered()?;
    if client.answered()? != ports {
        return Err("the answer that was sent again is another".to_owned());
    }
    client.acknowledge()?;
    client.tones(ports)?;
    client.bye(2)
}

/// INVITE and CANCEL in one breath: 200 to the CANCEL, 487 to the INVITE.
fn cancel(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    let cancel = client.request("CANCEL", 1);
    match client.reach.transport.is_stream() {
        true => client.wire.send(format!("{invite}{cancel}").as_bytes())?,
        false => [&invite, &cancel].iter().try_for_each(|one| client.wire.send(one.as_bytes()))?,
    }
    client.expect(200, "CANCEL")?;
    client.expect(487, "INVITE")?;
    let ack = client.request("ACK", 1);
    client.wire.send(ack.as_bytes())
}

/// The ACK comes from another source port, or on another connection.
fn ack_elsewhere(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    client.wire.send(invite.as_bytes())?;
    let ports = client.answered()?;
    let ack = client.request("ACK", 1);
    let mut other = Wire::open(client.reach)?;
    other.send(ack.as_bytes())?;
    client.tones(ports)?;
    client.bye(2)
}

/// The connection breaks in the middle of the call; the BYE comes on a new one, or from a new port.
fn reconnect(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    client.wire.send(invite.as_bytes())?;
    let ports = client.answered()?;
    client.acknowledge()?;
    client.wire = Wire::open(client.reach)?;
    client.tones(ports)?;
    client.bye(2)
}

/// One dialog of one client.
struct Client<'a> {
    reach: Reach<'a>,
    call_id: &'a str,
    player: &'a Path,
    wire: Wire,
    /// The recorder's tag, once it has told.
    to_tag: String,
}

impl<'a> Client<'a> {
    fn open(reach: Reach<'a>, call_id: &'a str, player: &'a Path) -> Result<Self, String> {
        let wire = Wire::open(reach)?;
        Ok(Client { reach, call_id, player, wire, to_tag: String::new() })
    }

    /// From the answer to the end.
    fn talk(&mut self) -> Result<(), String> {
        let ports = self.answered()?;
        self.acknowledge()?;
        self.tones(ports)?;
        self.bye(2)
    }

    /// A request without its content.
    fn head(&self, method: &str, number: u32) -> String {
        let Client { call_id, to_tag, .. } = self;
        let transport = self.reach.transport.name().to_ascii_uppercase();
        // The ACK to a 200 is a transaction of its own; CANCEL, and the ACK to anything else, are not.
        let branch =
            if method == "ACK" && !to_tag.is_empty() { "ack".to_owned() } else { number.to_string() };
        format!(
            "{method} sip:recorder@{at} SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:9;rport;branch=z9hG4bK{call_id}{branch}\r\n\
             From: <sip:raw@127.0.0.1>;tag=raw\r\nTo: <sip:recorder@{at}>{to_tag}\r\nCall-ID: {call_id}\r\n\
             CSeq: {number} {method}\r\nMax-Forwards: 70\r\n",
            at = self.reach.at
        )
    }

    fn request(&self, method: &str, number: u32) -> String {
        format!("{}Content-Length: 0\r\n\r\n", self.head(method, number))
    }

    fn invite(&self, body: &str) -> String {
        format!(
            "{}Contact: <sip:raw@127.0.0.1:9;transport={}>;+sip.src\r\nRequire: siprec\r\nSubject: raw\r\n\
             Content-Type: multipart/mixed;boundary=raw-boundary\r\nContent-Length: {}\r\n\r\n{body}",
            self.head("INVITE", 1),
            self.reach.transport.name(),
            body.len()
        )
    }

    /// Two streams and who sends them.
    fn body(&self) -> String {
        let line = |label| format!("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\na=label:{label}\r\n");
        let sdp = format!(
            "v=0\r\no=raw 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{}{}",
            line(1),
            line(2)
        );
        format!(
            "--raw-boundary\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--raw-boundary\r\n\
             Content-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n{METADATA}\r\n--raw-boundary--\r\n"
        )
    }

    /// Waits for a final answer to this method, whatever comes before.
    fn expect(&mut self, code: u16, method: &str) -> Result<String, String> {
        loop {
            let message = self.wire.receive()?;
            let of_method = message.lines().any(|line| line.starts_with("CSeq:") && line.ends_with(method));
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
    fn answered(&mut self) -> Result<[u16; 2], String> {
        let answer = self.expect(200, "INVITE")?;
        let to = answer.lines().find(|line| line.starts_with("To:")).unwrap_or_default();
        self.to_tag = to.find(";tag=").map(|at| to[at..].to_owned()).ok_or("no tag in the answer")?;
        let lines = answer.lines().filter_map(|line| line.strip_prefix("m=audio "));
        let ports: Vec<u16> = lines.filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect();
        ports.try_into().map_err(|ports| format!("ports: {ports:?}"))
    }

    fn acknowledge(&mut self) -> Result<(), String> {
        let ack = self.request("ACK", 1);
        self.wire.send(ack.as_bytes())
    }

    fn bye(&mut self, number: u32) -> Result<(), String> {
        let bye = self.request("BYE", number);
        self.wire.send(bye.as_bytes())?;
        self.expect(200, "BYE").map(|_| ())
    }

    /// Has a second of a tone played on each track.
    fn tones(&self, [first, second]: [u16; 2]) -> Result<(), String> {
        let line = format!("127.0.0.1 {first}:440:ms=1000 {second}:1000:ms=1000\n");
        let fifo = File::options().write(true).open(self.player);
        fifo.and_then(|mut fifo| fifo.write_all(line.as_bytes())).map_err(|why| why.to_string())?;
        std::thread::sleep(Duration::from_millis(1400));
        Ok(())
    }
}

/// A connection of any kind.
enum Wire {
    Datagrams(UdpSocket),
    Stream { stream: TcpStream, read: Vec<u8> },
    Tls(Line),
}

impl Wire {
    fn open(Reach { transport, at, certificates }: Reach<'_>) -> Result<Wire, String> {
        let open = || match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
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

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
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
    fn receive(&mut self) -> Result<String, String> {
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
