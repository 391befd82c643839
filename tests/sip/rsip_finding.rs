//! What rsip 0.4 makes of the values that peers really send, beside what we make of them. This decided that nothing of rsip is
//! used outside of tests; should a later rsip read these, a test here fails and the question is open again.

use std::panic::catch_unwind;

use rsip::prelude::*;
use tapehead::sip::{CSeq, NameAddr, Uri, Via};

use crate::messages::{Fate, TORTURE};

/// What became of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Read, with all that is in it.
    Reads,
    /// Read without complaint, but part of it is gone or wrong.
    Garbles,
    /// Refused.
    Refuses,
}
use Verdict::{Garbles, Reads, Refuses};

/// The part of a value that has to survive, as rsip sees it.
fn rsip_reads(kind: &str, text: &str) -> Option<String> {
    let (kind, text) = (kind.to_owned(), text.to_owned());
    let reading = catch_unwind(move || match kind.as_str() {
        "uri" => rsip::Uri::try_from(text.as_str()).ok().map(|uri| uri.host().to_string()),
        "via" => rsip::headers::Via::new(text)
            .typed()
            .ok()
            .map(|via| via.branch().map_or(String::new(), |b| b.to_string())),
        "from" => rsip::headers::From::new(text)
            .typed()
            .ok()
            .map(|from| from.tag().map_or(String::new(), |t| t.to_string())),
        "contact" => {
            rsip::headers::Contact::new(text).typed().ok().map(|contact| contact.uri.host().to_string())
        }
        _ => rsip::headers::CSeq::new(text).typed().ok().map(|cseq| cseq.seq.to_string()),
    });
    reading.expect("rsip does not panic on these")
}

/// The same part as we see it.
fn we_read(kind: &str, text: &str) -> Option<String> {
    match kind {
        "uri" => Some(Uri::parse(text).host().to_owned()),
        "via" => Via::parse(text).map(|via| via.branch().to_owned()),
        "from" => NameAddr::parse(text).map(|from| from.tag().to_owned()),
        "contact" => NameAddr::parse(text).map(|contact| contact.uri().host().to_owned()),
        _ => CSeq::parse(text).map(|cseq| cseq.number.to_string()),
    }
}

/// Kind, value, the part that has to survive (host, branch, tag or number), and what rsip does.
const VALUES: [(&str, &str, &str, Verdict); 44] = [
    ("uri", "sip:rec@10.0.0.1:5070;transport=tcp", "10.0.0.1", Reads),
    ("uri", "sips:rec@sbc.example", "sbc.example", Reads),
    ("uri", "alice@example.com", "example.com", Reads),
    ("uri", "15551234567", "15551234567", Reads),
    ("uri", "sip:@10.1.1.1", "10.1.1.1", Reads),
    ("uri", "sip:+15551234567;noa=national@10.0.0.1", "10.0.0.1", Reads),
    ("uri", "sip:user;par=u%40example.net@example.com", "example.com", Garbles),
    ("uri", "tel:+15551234567", "", Refuses),
    ("uri", "tel:+1-201-555-0123;phone-context=example.com", "", Refuses),
    ("uri", "sip:[2001:db8::10]:5070", "[2001:db8::10]", Refuses),
    ("uri", "sip:user@[2001:db8::10]", "[2001:db8::10]", Refuses),
    ("uri", "sip:user@example.com?Route=%3Csip:example.com%3E", "example.com", Refuses),
    ("uri", "nobodyKnowsThisScheme:totallyopaquecontent", "totallyopaquecontent", Refuses),
    ("via", "SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1", "z9hG4bK1", Reads),
    ("via", "SIP/2.0/udp 10.0.0.1;branch=z9hG4bK1;received=1.2.3.4", "z9hG4bK1", Reads),
    ("via", "SIP/2.0/UDP 10.0.0.1:5060 ;branch=z9hG4bK1", "z9hG4bK1", Garbles),
    ("via", "SIP / 2.0 /UDP 192.0.2.2;branch=390skdjuw", "390skdjuw", Refuses),
    (
        "via",
        "SIP  /    2.0  /  TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8",
        "z9hG4bK9ikj8",
        Refuses,
    ),
    ("via", "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111", "z9hG4bKas3-111", Refuses),
    ("via", "SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en", "z9hG4bKasd0f3en", Refuses),
    ("from", "<sip:a@10.0.0.1>;tag=x", "x", Reads),
    ("from", "sip:acmeSrc@1.2.3.4;tag=x", "x", Reads),
    ("from", "\"A. B.\" <sip:a@10.0.0.1>;tag=x", "x", Reads),
    ("from", "caller<sip:caller@example.com>;tag=323", "323", Reads),
    ("from", "<sip:10.0.0.1>;tag=x", "x", Reads),
    ("from", "<sip:@10.0.0.1>;tag=x", "x", Reads),
    ("from", "<sip:a@10.0.0.1> ; TAG = x", "x", Refuses),
    ("from", "<sip:a@10.0.0.1>;x=\"a b\";tag=x", "x", Refuses),
    ("from", "<sip:a@[2001:db8::10]>;tag=x", "x", Refuses),
    ("from", "<tel:+15551234567>;tag=x", "x", Refuses),
    ("from", "\"A \\\"b\\\" <c>\" <sip:a@10.0.0.1>;tag=x", "x", Refuses),
    ("from", "\"Watson, Thomas\" < sip:t.watson@example.org >;tag=1", "1", Refuses),
    ("contact", "<sip:src@10.0.0.1:5060>;+sip.src", "10.0.0.1", Reads),
    ("contact", "sip:src@10.0.0.1:5060;+sip.src", "10.0.0.1", Reads),
    ("contact", "<sip:src@10.0.0.1;+sip-src>", "10.0.0.1", Reads),
    ("contact", "<sip:src@10.0.0.1>;+sip.instance=\"<urn:uuid:1-2>\"", "10.0.0.1", Refuses),
    ("contact", "<sip:src@10.0.0.1>;expires=\"0\"", "10.0.0.1", Refuses),
    ("contact", "<sip:src@[::1]:5060;transport=tcp>;+sip.src", "[::1]", Refuses),
    ("contact", "<tel:+15551234567>;+sip.src", "", Refuses),
    ("cseq", "1 INVITE", "1", Reads),
    ("cseq", "0009  INVITE", "9", Reads),
    ("cseq", "1\tINVITE", "1", Refuses),
    ("cseq", "8 NEWMETHOD", "8", Refuses),
    ("cseq", "4294967295 INVITE", "4294967295", Reads),
];

#[test]
fn rsip_refuses_or_garbles_values_that_peers_send_and_we_read_them_all() {
    let mut wrong = Vec::new();
    for (kind, text, part, expected) in VALUES {
        let verdict = match rsip_reads(kind, text) {
            None => Refuses,
            Some(read) if read == part => Reads,
            Some(_) => Garbles,
        };
        if verdict != expected {
            wrong.push(format!("{kind} {text}: rsip {verdict:?}"));
        }
        assert_eq!(we_read(kind, text).as_deref(), Some(part), "{kind} {text}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether rsip takes a whole message and the typed values that a transaction needs.
fn rsip_takes(message: &[u8]) -> bool {
    let message = message.to_vec();
    let taken = catch_unwind(move || {
        let message = rsip::SipMessage::try_from(message).ok()?;
        message.via_header().ok()?.typed().ok()?;
        message.from_header().ok()?.typed().ok()?;
        message.to_header().ok()?.typed().ok()?;
        message.cseq_header().ok()?.typed().ok()?;
        message.call_id_header().is_ok().then_some(())
    });
    matches!(taken, Ok(Some(_)))
}

#[test]
fn of_the_valid_torture_messages_rsip_refuses_these() {
    let valid = TORTURE.iter().filter(|(_, fate, _)| *fate == Fate::Taken);
    let refused: Vec<_> = valid.filter(|(.., text)| !rsip_takes(text)).map(|(name, ..)| *name).collect();
    assert_eq!(
        refused,
        ["wsinv", "intmeth", "esc01", "esc02", "dblreq", "semiuri", "unkscm", "unksm2", "longreq"]
    );
}
