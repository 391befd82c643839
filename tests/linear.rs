//! What one message can cost: eight times the input may take about eight times the work, whatever the input is made of.
//!
//! Work is the CPU time of this thread, the least of several runs: other load does not count, and a cost that grows with the square of the
//! input shows as a factor of 64. Where a limit refuses or cuts the larger input, that is as good.

use std::time::Duration;

use tapehead::base::{Entropy, Mono};
use tapehead::sdp::{self, Agreement, Answerer};
use tapehead::sip::multipart::Writer;
use tapehead::sip::{Action, Config, Endpoint, Frame, Framer, Message, Peer, Transport};
use tapehead::siprec::{Bodies, History, Metadata, identify};
use tapehead::sys::clock::thread_cpu;

/// By so much the larger input is larger.
const FACTOR: usize = 8;
/// The work may grow by so much: above what caches and allocators add, and far below the square.
const GROWTH_MAX: u32 = 20;
const RUNS: usize = 5;

/// Checks one kind of input: `make` is given a size to be multiplied.
fn linear(what: &str, size: usize, make: impl Fn(usize) -> Vec<u8>, take: impl Fn(&[u8])) {
    let cost = |size: usize| {
        let input = make(size);
        let once = || {
            let before = thread_cpu();
            take(&input);
            thread_cpu() - before
        };
        (0..RUNS).map(|_| once()).min().unwrap_or_default()
    };
    let (small, large) = (cost(size), cost(FACTOR * size));
    // Too little to be measured is too little to matter.
    let bound = GROWTH_MAX * small.max(Duration::from_micros(20));
    assert!(large < bound, "{what}: {small:?} for {size}, {large:?} for {FACTOR} times that");
}

fn judge(body: &[u8]) {
    let Ok(offer) = sdp::parse(body) else { return };
    let agreed = Agreement::of(&offer);
    Answerer::new(1).answer(&offer, &agreed, [127, 0, 0, 1].into(), |_| Some(10_000));
    let (merged, _) = sdp::answered(&offer, &offer);
    Agreement::of(&merged);
}

#[test]
fn a_session_description_of_any_make() {
    let maps = |count: usize| -> String {
        (0..count).map(|n| format!("a=rtpmap:{} telephone-event/8000\r\n", n % 127)).collect()
    };
    // A type that no mapping is of: each of them has to be looked at.
    let types = |count: usize| " 127".repeat(count);
    let line =
        |formats: usize, attributes: &str| format!("m=audio 9 RTP/AVP 0{}\r\n{attributes}", types(formats));
    let of = |text: String| format!("v=0\r\n{text}").into_bytes();
    linear("formats and mappings", 2000, |n| of(line(n, &maps(n / 16))), judge);
    linear("formats without mapping", 40_000, |n| of(line(n, "")), judge);
    linear("mappings", 128, |n| of(line(127, &maps(n))), judge);
    linear("both within their limits", 15, |n| of(line(n, &maps(8 * n))), judge);
    linear("lines", 8, |n| of(line(120, &maps(60)).repeat(n)), judge);
    let session = "a=sendonle:x\r\n".repeat(900);
    linear("lines below a long session", 8, |n| of(format!("{session}{}", line(0, "").repeat(n))), judge);
    linear("secured lines", 8, |n| of(session.clone() + &"m=audio 9 RTP/SAVP 0\r\n".repeat(n)), judge);
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}", ";inline:x".repeat(500));
    linear("keys", 64, |n| of(line(0, &format!("{crypto}\r\n").repeat(n))), judge);
    linear("a long line", 100_000, |n| of(format!("o={}\r\nm=audio 9 RTP/AVP 0", "a ".repeat(n))), judge);
}

fn take_apart(body: &[u8]) {
    let found = Bodies::of(Some("multipart/mixed;boundary=b"), body);
    found.sdp.into_iter().for_each(judge);
}

#[test]
fn a_multipart_body_of_any_make() {
    let part = |text: String| format!("--b\r\nContent-Type: a/b\r\n{text}\r\n--b--\r\n").into_bytes();
    linear("a folded header", 12_000, |n| part(" folded\r\n".repeat(n)), take_apart);
    linear("headers", 12_000, |n| part("A: folded\r\n".repeat(n)), take_apart);
    linear("lines", 30_000, |n| part(format!("\r\n{}", "--\r\n".repeat(n))), take_apart);
    linear("near delimiters", 30_000, |n| part(format!("\r\n{}", "--b-\r\n".repeat(n))), take_apart);
    let headed = |n: usize| format!("--b\r\n{}\r\nx\r\n", "A: folded\r\n".repeat(n));
    linear("headers of many parts", 300, |n| headed(n).repeat(30).into_bytes(), take_apart);
    linear("parts", 10_000, |n| "--b\r\n\r\nx\r\n".repeat(n).into_bytes(), take_apart);
    let nested = |n: usize| {
        let inner = Writer::new("c").part("a/b", &[], "--c-\r\n".repeat(n)).finish();
        Writer::new("b").part(&inner.0, &[], inner.1).finish().1
    };
    linear("within another", 10_000, nested, take_apart);
}

/// An INVITE with these header lines and this body.
fn invite(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "INVITE sip:r@h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:r@h>\r\nCall-ID: c\r\n\
         CSeq: 1 INVITE\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

struct Fixed;

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(7);
    }
}

/// Through the framer and the endpoint, in pieces as they come from a socket.
fn signal(stream: &[u8], pieces: usize) {
    let local = "127.0.0.1:5060".parse().expect("an address");
    let peer = Peer { transport: Transport::Tcp, link: 1, listener: 0, local, remote: local };
    let mut endpoint = Endpoint::new(Config::recorder(), Box::new(Fixed));
    let mut framer = Framer::new();
    for piece in stream.chunks(pieces) {
        framer.push(piece);
        while let Some(frame) = framer.next_frame() {
            match frame {
                Frame::Message(message) => endpoint.receive(Mono(0), peer, Ok(*message)),
                Frame::Malformed(malformed) | Frame::Broken(malformed) => {
                    endpoint.receive(Mono(0), peer, Err(malformed));
                }
                Frame::Ping => {}
            }
            while let Some(action) = endpoint.poll(Mono(0)) {
                if let Action::Event(event) = action {
                    drop(event);
                }
            }
        }
    }
}

#[test]
fn a_message_of_any_make() {
    let whole = |stream: &[u8]| signal(stream, 16 * 1024);
    for (what, of) in [
        ("header lines", "X-A: b\r\n"),
        ("Via lines", "Via: SIP/2.0/UDP h;branch=z9hG4bK2\r\n"),
        ("Record-Route lines", "Record-Route: <sip:h;lr>\r\n"),
        ("Contact lines", "Contact: <sip:h>\r\n"),
        ("Require lines", "Require: a, b\r\n"),
        ("Content-Length lines", "l: 0\r\n"),
        ("Call-Info lines", "Call-Info: a\r\n"),
    ] {
        linear(what, 60, |n| invite(&of.repeat(n), ""), whole);
    }
    for (what, name, of) in [
        ("a Via list", "Via", "SIP/2.0/UDP h,"),
        ("Via parameters", "Via: SIP/2.0/UDP h", ";a=b"),
        ("a Record-Route list", "Record-Route", "<sip:h;lr>,"),
        ("a folded Contact", "Contact", "a\r\n "),
        ("an open quote", "Contact", "\"a,<"),
        ("Contact parameters", "Contact: <sip:a>", ";a=\"b\""),
        ("a Require list", "Require", "ab,"),
        ("a Supported list", "Supported", "ab,"),
        ("Session-ID parameters", "Session-ID: 0", ";remote=1"),
        ("commas", "Allow", ","),
    ] {
        let colon = if name.contains(':') { "" } else { ": " };
        linear(what, 7000 / of.len(), |n| invite(&format!("{name}{colon}{}\r\n", of.repeat(n)), ""), whole);
    }
    linear("a body in pieces", 100_000, |n| invite("", &"x".repeat(n)), |stream| signal(stream, 500));
    linear("a head in pieces", 7000, |n| invite(&format!("X: {}\r\n", "x".repeat(n)), ""), |s| signal(s, 5));
    linear("messages", 100, |n| invite("", "").repeat(n), whole);
    linear("line ends", 50_000, |n| b"\r\n".repeat(n), |stream| signal(stream, 1000));
    linear("odd line ends", 50_000, |n| b"\n\r".repeat(n), |stream| signal(stream, 1000));
    let parse = |bytes: &[u8]| drop(Message::parse_datagram(bytes));
    linear(
        "a folded line of a datagram",
        2000,
        |n| invite(&format!("X: a\r\n{}", " b\r\n".repeat(n)), ""),
        parse,
    );
}

fn model(document: &[u8]) {
    let mut history = History::default();
    for time in ["1", "2"] {
        history.apply(&Metadata::read(document), time, false);
    }
    identify(&history, &[(0, Some("1")), (1, None)]);
}

#[test]
fn a_metadata_document_of_any_make() {
    let of = |text: String| {
        format!("<recording xmlns='urn:ietf:params:xml:ns:recording:1'>{text}</recording>").into_bytes()
    };
    let each = |n: usize, one: fn(usize) -> String| -> String { (0..n).map(one).collect() };
    linear("elements", 1200, |n| of("<a/>".repeat(n)), model);
    linear("extension data", 60, |n| of(each(n, |i| format!("<x:a xmlns:x='u{i}'>{i}</x:a>"))), model);
    linear("participants", 150, |n| of(each(n, |i| format!("<participant participant_id='{i}'/>"))), model);
    linear("participants of one name", 150, |n| of("<participant participant_id='1'/>".repeat(n)), model);
    linear(
        "streams",
        150,
        |n| of(each(n, |i| format!("<stream stream_id='{i}'><label>{i}</label></stream>"))),
        model,
    );
    let link = |i: usize| {
        format!("<participantstreamassoc participant_id='{i}'><send>{i}</send></participantstreamassoc>")
    };
    linear("associations", 150, |n| of(each(n, link)), model);
    let sends = |n: usize| {
        format!(
            "<participantstreamassoc participant_id='1'>{}</participantstreamassoc>",
            "<send>1</send>".repeat(n)
        )
    };
    linear("associations in one", 180, |n| of(sends(n)), model);
    linear(
        "names",
        180,
        |n| {
            of(format!(
                "<participant participant_id='1'>{}</participant>",
                "<nameID aor='a'><name>b</name></nameID>".repeat(n)
            ))
        },
        model,
    );
    linear("attributes", 4000, |n| of(format!("<participant {}/>", "a='b' ".repeat(n))), model);
    linear(
        "namespaces",
        2000,
        |n| of(format!("<participant {}/>", each(n, |i| format!("xmlns:a{i}='b' ")))),
        model,
    );
    linear("depth", 2000, |n| of("<a>".repeat(n)), model);
    linear("ampersands", 30_000, |n| of("&".repeat(n)), model);
    linear("entities", 6000, |n| of("&amp;".repeat(n)), model);
    linear("comments", 4000, |n| of("<!---->".repeat(n)), model);
    linear("text", 30_000, |n| of("a".repeat(n)), model);
    linear("open brackets", 30_000, |n| "<".repeat(n).into_bytes(), model);
    linear("bytes that are no text", 30_000, |n| vec![0xff; n], model);
}
