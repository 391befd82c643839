//! RFC 4475: what is valid is taken with its values intact; what is not gives a clean error or is harmless.

use aws_lc_rs::digest;
use tapehead::base::{Entropy, Mono};
use tapehead::sdp;
use tapehead::sip::{
    Action, Config, Endpoint, Event, Frame, Framer, Message, Method, Peer, Reply, Scheme, Start, Transport,
    multipart,
};

use crate::messages::{Fate, TORTURE};

fn taken(name: &str) -> Message {
    let (.., text) = TORTURE.iter().find(|(n, ..)| *n == name).expect("in the list");
    Message::parse_datagram(text).expect("well-formed")
}

#[test]
fn every_message_meets_its_fate() {
    for (name, fate, text) in TORTURE {
        let got = match Message::parse_datagram(text) {
            Ok(_) if fate == Fate::Tolerated => Fate::Tolerated,
            Ok(_) => Fate::Taken,
            Err(malformed) => {
                let why: &'static str = malformed.to_string().leak();
                if malformed.request().is_some() { Fate::Answered(why) } else { Fate::Dropped(why) }
            }
        };
        assert_eq!(got, fate, "{name}");
    }
}

#[test]
fn a_stream_gives_the_same_verdict_as_a_datagram_and_goes_on_where_it_can() {
    for (name, fate, text) in TORTURE {
        let mut framer = Framer::new();
        for piece in text.chunks(13) {
            framer.push(piece);
        }
        let frame = framer.next_frame();
        match (fate, name) {
            // More is to come: the rest of the body, and in the RFC's file an empty line.
            (_, "clerr" | "baddn") => assert!(frame.is_none(), "{name}: {frame:?}"),
            // There is no telling where the next message begins.
            (_, "ncl" | "mcl01" | "inv2543") => {
                assert!(matches!(frame, Some(Frame::Broken(_))), "{name}: {frame:?}")
            }
            (Fate::Taken | Fate::Tolerated, _) => {
                assert!(matches!(frame, Some(Frame::Message(_))), "{name}: {frame:?}")
            }
            _ => assert!(matches!(frame, Some(Frame::Malformed(_))), "{name}: {frame:?}"),
        }
        // Where a length of 0 is said and a message follows, that is one of its own.
        let next = framer.next_frame();
        match name {
            "dblreq" => assert!(matches!(next, Some(Frame::Message(m)) if m.body().len() == 150), "{name}"),
            _ => assert!(!matches!(next, Some(Frame::Message(_))), "{name}: {next:?}"),
        }
    }
}

#[test]
fn the_messages_are_those_of_the_rfc_to_the_bit() {
    let mut files = TORTURE;
    files.sort_by_key(|(name, ..)| *name);
    let all: Vec<u8> = files.iter().flat_map(|(.., text)| text.iter().copied()).collect();
    let hash = digest::digest(&digest::SHA256, &all);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "c130abdedde20f53b7f1c70181dc8fc115afd568a12977d7db3d597f39a21378", "torture/README.md");
}

#[test]
fn the_short_tortuous_invite_keeps_all_its_values() {
    let message = taken("wsinv");
    assert_eq!((message.to().tag(), message.from().tag()), ("1918181833n", "98asjd8"));
    assert_eq!(message.from().display(), "J Rosenberg \\\"");
    assert_eq!((message.cseq().number, message.max_forwards()), (9, Some(68)));
    assert_eq!((message.via().host.as_str(), message.via().branch()), ("192.0.2.2", "390skdjuw"));
    assert!(!message.via().has_cookie());
    assert_eq!(message.list("Via").len(), 3);
    assert_eq!(message.header("Subject").as_deref(), Some(""));
    assert_eq!(
        message.header("NewFangledHeader").as_deref(),
        Some("newfangled value continued newfangled value")
    );
    let contact = message.contact().unwrap();
    assert_eq!(
        (contact.param("newparam"), contact.param("secondparam"), contact.param("q")),
        (Some("newvalue"), Some(""), Some("0.33"))
    );
    assert_eq!(message.body().len(), 150);
}

#[test]
fn the_wide_range_of_valid_characters_is_read() {
    let message = taken("intmeth");
    assert!(matches!(message.method(), Method::Other(name) if name.len() == 43));
    let uri = message.uri().unwrap();
    assert_eq!(
        (uri.user(), uri.host()),
        (Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"), "example.com")
    );
    assert_eq!(message.from().tag(), "_token~1'+`*%!-.");
    assert_eq!(message.header("extensionHeader-!.%*+_`'~").as_deref(), Some("\u{feff}大停電"));
    assert_eq!(message.from().param("fromParam''~+*_!.-%"), Some("работающий"));
    // Escaped control characters, NUL among them.
    assert_eq!(message.to().display(), "BEL:\u{7} NUL:\0 DEL:\u{7f}");
    let Some(Start::Response { reason, .. }) = taken("unreason").start().cloned() else { panic!() };
    assert_eq!(reason, "= 2**3 * 5**2 но сто девяносто девять - простое");
    let Some(Start::Response { reason, .. }) = taken("noreason").start().cloned() else { panic!() };
    assert_eq!(reason, "");
}

#[test]
fn escapes_are_left_alone_and_do_not_name_headers_or_methods() {
    assert_eq!(taken("esc01").uri().unwrap().user(), Some("sips%3Auser%40example.com"));
    let message = taken("esc02");
    assert_eq!(message.method(), &Method::Other("RE%47IST%45R".to_owned()));
    assert_eq!(message.addresses("Contact").len(), 2);
    assert_eq!(taken("semiuri").uri().unwrap().host(), "example.com");
    assert_eq!(taken("unkscm").uri().unwrap().scheme(), Scheme::Other);
    assert_eq!(taken("lwsdisp").from().display(), "caller");
    assert_eq!(taken("baddn").from().display(), "Bell, Alexander");
    assert!(!taken("badbranch").via().has_cookie());
}

#[test]
fn a_multipart_body_is_taken_apart() {
    let message = taken("mpart01");
    let parts = multipart::split(&message.content_type().unwrap(), message.body()).unwrap();
    let [text, binary] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((text.media_type(), text.body), ("text/plain".to_owned(), &b"Hello"[..]));
    assert_eq!(binary.media_type(), "application/octet-stream");
    // A signature in DER, which says how long it is; it holds NUL and bare line feeds.
    assert_eq!((&binary.body[..4], binary.body.len()), (&[0x30, 0x82, 0x01, 0x52][..], 4 + 0x152));
}

#[test]
fn the_session_descriptions_are_read() {
    let of = ["wsinv", "esc01", "unreason", "escruri", "baddate", "bcast", "longreq", "sdp01", "inv2543"];
    for name in of {
        let description = sdp::parse(taken(name).body()).expect(name);
        let kinds: Vec<_> = description.media.iter().map(|media| media.kind.as_str()).collect();
        assert_eq!(kinds, &["audio", "video"][..if name == "inv2543" { 1 } else { 2 }], "{name}");
    }
}

#[test]
fn what_follows_the_body_of_a_datagram_is_dropped() {
    let message = taken("dblreq");
    assert_eq!((message.method(), message.body().len()), (&Method::Register, 0));
}

#[test]
fn long_values_pass() {
    let message = taken("longreq");
    assert_eq!((message.list("Via").len(), message.via().host.as_str()), (34, "sip33.example.com"));
    assert_eq!((message.from().tag().len(), message.to().uri().port()), (2 + 150 + 3, Some(6000)));
    assert_eq!(message.call_id().len(), "longreq.onelongcallid".len() + 20 * "really".len());
    assert!(message.list("Via")[33].ends_with(&format!("{}branchvalue", "long".repeat(50))));
}

/// A source of tags that needs no entropy.
struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

/// What a recorder does with a message, after it was read: the code that it sends, the event that it makes, or nothing.
fn outcome(text: &[u8]) -> String {
    let address = |text: &str| text.parse().expect("an address");
    let (local, remote) = (address("192.0.2.9:5060"), address("192.0.2.1:5060"));
    let mut endpoint = Endpoint::new(Config::recorder(), Box::new(Zeros));
    let peer = Peer { transport: Transport::Udp, link: 1, listener: 0, local, remote };
    endpoint.receive(Mono(0), peer, Message::parse_datagram(text));
    let done = std::iter::from_fn(|| endpoint.poll(Mono(0))).map(|action| match action {
        Action::Send { bytes, .. } => String::from_utf8_lossy(&bytes[8..11]).into_owned(),
        Action::Event(Event::Invite { .. }) => "call".to_owned(),
        Action::Event(_) => "event".to_owned(),
    });
    done.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_message_has_its_outcome_at_a_recorder() {
    let outcomes: Vec<_> = TORTURE.iter().map(|(name, _, text)| (*name, outcome(text))).collect();
    let differing: Vec<_> = outcomes
        .iter()
        .filter(|(name, got)| {
            OUTCOMES.iter().find(|(of, _)| of == name).is_none_or(|(_, wanted)| wanted != got)
        })
        .collect();
    assert!(differing.is_empty() && OUTCOMES.len() == TORTURE.len(), "{differing:#?}");
}

/// Why, where it is not plain: methods that a recorder does not serve get 501, requests of an unknown dialog 481, schemes that it does
/// not know 416, options that it does not know 420; responses to nothing, and requests that lack what an answer repeats, get nothing. What
/// `invut` and `sdp01` hold is for whoever reads bodies; a Max-Forwards of 0 (`zeromf`) only matters to proxies.
const OUTCOMES: [(&str, &str); 49] = [
    ("wsinv", "481"),
    ("intmeth", "501"),
    ("esc01", "100 call"),
    ("escnull", "501"),
    ("esc02", "501"),
    ("lwsdisp", "200"),
    ("dblreq", "501"),
    ("semiuri", "200"),
    ("transports", "200"),
    ("mpart01", "481"),
    ("unreason", ""),
    ("noreason", ""),
    ("badinv01", "400"),
    ("clerr", "400"),
    ("ncl", "400"),
    ("scalar02", "400"),
    ("scalarlg", ""),
    ("quotbal", "400"),
    ("ltgtruri", "400"),
    ("lwsruri", "400"),
    ("lwsstart", "400"),
    ("trws", "400"),
    ("escruri", "100 call"),
    ("baddate", "100 call"),
    ("regbadct", "501"),
    ("badaspec", "200"),
    ("baddn", "200"),
    ("badvers", "505"),
    ("mismatch01", "400"),
    ("mismatch02", "400"),
    ("bigcode", ""),
    ("badbranch", "200"),
    ("insuf", ""),
    ("unkscm", "416"),
    ("novelsc", "416"),
    ("unksm2", "501"),
    ("bext01", "420"),
    ("invut", "100 call"),
    ("regaut01", "501"),
    ("multi01", "400"),
    ("mcl01", "400"),
    ("bcast", ""),
    ("zeromf", "200"),
    ("cparam01", "501"),
    ("cparam02", "501"),
    ("regescrt", "501"),
    ("inv2543", "100 call"),
    ("longreq", "100 call"),
    ("sdp01", "100 call"),
];

#[test]
fn whatever_can_be_answered_gets_an_answer_that_its_sender_can_read() {
    for (name, fate, text) in TORTURE {
        let Err(malformed) = Message::parse_datagram(text) else { continue };
        let reply = malformed.request().and_then(|head| Reply::new(head, "192.0.2.1:5060".parse().unwrap()));
        assert_eq!(reply.is_some(), matches!(fate, Fate::Answered(_)), "{name}");
        let Some(reply) = reply else { continue };
        let answer = reply.builder(malformed.why.code(), &malformed.why.to_string(), "t").finish();
        let text = String::from_utf8(answer).unwrap();
        assert!(
            text.starts_with(&format!("SIP/2.0 {} {}\r\n", malformed.why.code(), malformed.why)),
            "{text}"
        );
        assert!(text.ends_with("\r\nContent-Length: 0\r\n\r\n"));
    }
}
