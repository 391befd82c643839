//! What the transports carry, end to end: how large answers are, how large requests may be.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use common::recordings::recording_of;
use common::{Recorder, code, request};

const PATIENCE: Duration = Duration::from_secs(10);

/// Two streams as border controllers offer them, with more codecs and attributes than anybody needs.
const OFFER: &str = "v=0\r\no=BroadWorks 18 1 IN IP4 198.51.100.20\r\ns=-\r\nc=IN IP4 198.51.100.20\r\nt=0 0\r\n\
    m=audio 20000 RTP/AVP 8 0 18 9 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\n\
    a=fmtp:18 annexb=no\r\na=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
    a=label:268749245\r\na=sendonly\r\na=rtcp:20001\r\n\
    m=audio 20002 RTP/AVP 8 0 18 9 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\n\
    a=fmtp:18 annexb=no\r\na=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
    a=label:268749246\r\na=sendonly\r\na=rtcp:20003\r\n";

/// An INVITE with this offer that has come by a proxy, and whose metadata is filled up by so many bytes.
fn invite(call: &str, via: &str, fill: usize) -> String {
    let body = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{OFFER}--b\r\nContent-Type: application/rs-metadata+xml\r\n\r\n\
         <recording xmlns='urn:ietf:params:xml:ns:recording:1'><datamode>complete</datamode><x>{}</x></recording>\r\n--b--\r\n",
        "x".repeat(fill)
    );
    let headers = format!(
        "Via: SIP/2.0/UDP 198.51.100.20:5060;branch=z9hG4bKBroadWorks.1a2b3c4-198.51.100.20V5060-0-{call};received=198.51.100.20\r\n\
         Record-Route: <sip:198.51.100.9:5060;lr;transport=udp;did=3f.1a6b2f71>\r\n\
         Contact: <sip:198.51.100.20:5060>;+sip.src\r\nRequire: siprec\r\nSession-Expires: 1800;refresher=uac\r\n\
         Supported: timer\r\nSession-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000\r\n\
         Content-Type: multipart/mixed;boundary=b\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let to = "To: \"Recording server of the site\" <sip:recorder@127.0.0.1:5060;user=phone>";
    request("INVITE", call)
        .replace("SIP/2.0/UDP", via)
        .replace("To: <sip:recorder@127.0.0.1>", to)
        .replace("Content-Length: 0\r\n\r\n", &headers)
}

/// The first final answer over UDP.
fn over_udp(to: SocketAddr, message: &str) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout is allowed");
    socket.send_to(message.as_bytes(), to).expect("loopback takes it");
    let mut bytes = [0; 65_535];
    loop {
        let length = socket.recv(&mut bytes).expect("an answer");
        let answer = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if code(&answer) >= Some(200) {
            return answer;
        }
    }
}

/// What comes over a connection until a final answer has.
fn over_tcp(stream: &mut TcpStream, message: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is allowed");
    stream.write_all(message.as_bytes()).expect("loopback takes it");
    let (mut answers, mut bytes) = (String::new(), [0; 65_535]);
    loop {
        let length = stream.read(&mut bytes).expect("an answer");
        assert!(length > 0, "closed after {answers:?}");
        answers.push_str(&String::from_utf8_lossy(&bytes[..length]));
        if let Some(at) = answers.split("SIP/2.0 ").skip(1).find(|answer| !answer.starts_with('1')) {
            return format!("SIP/2.0 {at}");
        }
    }
}

#[test]
fn the_answer_to_an_ordinary_offer_fits_into_one_packet() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start(home.path(), "");
    let answer = over_udp(recorder.sip, &invite("ordinary", "SIP/2.0/UDP", 0));
    assert_eq!(code(&answer), Some(200), "{answer}");
    // RFC 3261 section 18.1.1 has 1,300 bytes for safe where the path's MTU is not known.
    assert!(answer.len() < 1300, "{} bytes:\n{answer}", answer.len());
}

#[test]
fn requests_of_60_kb_over_udp_and_of_a_megabyte_over_tcp_are_taken_and_their_metadata_kept() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let mut recorder = Recorder::start(home.path(), "drain_seconds = 0");
    assert_eq!(code(&over_udp(recorder.sip, &invite("udp", "SIP/2.0/UDP", 60_000))), Some(200));
    let mut stream = TcpStream::connect(recorder.sip).expect("it listens");
    assert_eq!(code(&over_tcp(&mut stream, &invite("tcp", "SIP/2.0/TCP", 1_000_000))), Some(200));
    // One more than is taken; the connection lives on.
    let refused = over_tcp(&mut stream, &invite("huge", "SIP/2.0/TCP", 1 << 20));
    assert_eq!(code(&refused), Some(413), "{refused}");
    let options = request("OPTIONS", "after").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    assert_eq!(code(&over_tcp(&mut stream, &options)), Some(200));
    recorder.terminate();
    assert!(recorder.ended().success());
    for (call, filled) in [("udp", 60_000), ("tcp", 1_000_000)] {
        let recording = recording_of(home.path(), call);
        let kept = recording.manifest.metadata[0].bytes().expect("it reads back");
        assert!(kept.len() > filled, "{call}: {} bytes of metadata", kept.len());
    }
}
