//! Each reason for a no has a counter of its own.

use super::*;
use crate::limits::{SIP_HEADER_BYTES_MAX, SIP_HEADERS_MAX};

/// The counters that `text` moves in a recorder with a call, without its CSeq or dialog being spent for the next.
fn counted(recorder: &mut Recorder, text: &str) -> Vec<&'static str> {
    let before = recorder.endpoint.counters();
    recorder.feed(text);
    let after = recorder.endpoint.counters();
    before.each().zip(after.each()).filter(|(a, b)| a != b).map(|((name, _), _)| name).collect()
}

#[test]
fn every_request_that_is_refused_without_asking_moves_the_counter_of_its_reason() {
    let mut recorder = Recorder::new();
    let (_, tag) = recorder.call();
    let outside = |method: &str, extra: &str| request(method, &format!("out-{method}"), 1, "", extra);
    let of_dialog = |method: &str, cseq: u32| inside(method, cseq, &tag);
    let cases = [
        ("uri_scheme_refused", outside("OPTIONS", "").replace(" sip:rec@", " http:rec@")),
        (
            "option_refused",
            outside("OPTIONS", "Require: teleport\n").replace("call-1", "call-2").replace("out-", "require-"),
        ),
        ("method_unserved", outside("REGISTER", "")),
        ("method_unserved", outside("DANCE", "")),
        ("no_dialog", outside("BYE", "")),
        ("no_dialog", outside("CANCEL", "")),
        ("no_dialog", inside("INFO", 5, "another")),
        ("no_dialog", of_dialog("PRACK", 5)),
        ("method_unserved", of_dialog("REFER", 6)),
        ("out_of_order", of_dialog("INFO", 1)),
        ("stray", inside("ACK", 77, &tag)),
    ];
    for (counter, text) in cases {
        assert_eq!(counted(&mut recorder, &text), [counter], "{text}");
    }
    assert!(counted(&mut recorder, &of_dialog("INVITE", 7)).is_empty());
    assert_eq!(counted(&mut recorder, &of_dialog("INVITE", 8)), ["out_of_turn"]);
}

#[test]
fn every_kind_of_malformed_message_moves_a_counter_of_its_own() {
    let mut recorder = Recorder::new();
    let good = request("OPTIONS", "o", 1, "", "");
    let answered = [
        ("malformed_request_line", good.replace(" sip:rec@", "  sip:rec@")),
        ("malformed_version", good.replace("SIP/2.0\nVia", "SIP/3.0\nVia")),
        ("malformed_header_line", good.replace("Max-Forwards: 70", "Max-Forwards")),
        ("headers_too_many", good.replace("Content-", &("X: 1\n".repeat(SIP_HEADERS_MAX) + "Content-"))),
        ("headers_too_long", good.replace("70", &"7".repeat(SIP_HEADER_BYTES_MAX))),
        ("header_repeated", good.replace("Call-ID: call-1\n", "Call-ID: call-1\nCall-ID: call-2\n")),
        ("header_invalid", good.replace("CSeq: 1 ", "CSeq: one ")),
        ("cseq_mismatch", good.replace("CSeq: 1 OPTIONS", "CSeq: 1 BYE")),
        ("body_truncated", good.replace("Content-Length: 0", "Content-Length: 9")),
    ];
    let dropped = [
        ("malformed_start_line", "nonsense".to_owned()),
        ("malformed_status_code", "SIP/2.0 42 What\n\n".to_owned()),
        ("header_missing", good.replace("Call-ID: call-1\n", "")),
    ];
    for (counter, text) in answered {
        assert_eq!(counted(&mut recorder, &text), ["malformed_answered", counter]);
    }
    for (counter, text) in dropped {
        assert_eq!(counted(&mut recorder, &text), ["malformed_dropped", counter]);
    }
}
