//! What clients do that the standard does not make anybody expect, by the numbers of the interop table.

use super::*;

/// What a two-track answer is like.
const SDP: &str = "v=0\r\no=- 3 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 10000 RTP/AVP 0 8 101\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=label:1\r\na=recvonly\r\n\
    m=audio 10002 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=label:2\r\na=recvonly\r\n";

#[test]
fn required_reliable_provisionals_are_met_by_sending_none_interop_12_42() {
    let mut recorder = Recorder::new();
    let text = invite(1)
        .replace("Require: siprec", "Require: siprec,100rel")
        .replace("Call-ID", "Record-Route: <sip:10.0.0.5;lr>, <sip:10.0.0.6;lr>\nSupported: timer,resource-priority\nSession-Expires: 1800\nCall-ID");
    let (sent, events) = recorder.feed(&text);
    let [Event::Invite { request, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!(sent.iter().map(|m| name(m.bytes())).collect::<Vec<_>>(), ["100 INVITE"]);
    recorder.endpoint.respond(recorder.now, request, Answer::ok().body("application/sdp", SDP)).unwrap();
    let (sent, _) = recorder.drain();
    let [ok] = &sent[..] else { panic!("{sent:?}") };
    assert!(ok.bytes().len() < 1300, "{} bytes do not fit a datagram", ok.bytes().len());
    let prack = inside("PRACK", 2, ok.to().tag()).replace("Call-ID", "RAck: 1 1 INVITE\nCall-ID");
    assert_eq!(recorder.codes(&prack), [481]);
    assert_eq!(recorder.endpoint.dialogs(), 1);
}

#[test]
fn one_call_id_may_name_two_recording_sessions_interop_40() {
    let mut recorder = Recorder::new();
    let (first, tag) = recorder.call();
    let other = |text: String| text.replace("tag=remote", "tag=second").replace("z9hG4bK", "z9hG4bKsecond");
    let (second, request) = recorder.ring(&other(invite(1)));
    let second_tag = recorder.accept(request);
    recorder.feed(&other(inside("ACK", 1, &second_tag)));
    assert!(first != second && tag != second_tag);
    let (_, events) = recorder.feed(&inside("BYE", 2, &tag));
    assert!(matches!(events[..], [Event::Bye { dialog, .. }] if dialog == first));
    let (_, events) = recorder.feed(&other(inside("BYE", 2, &second_tag)));
    assert!(matches!(events[..], [Event::Bye { dialog, .. }] if dialog == second));
}

#[test]
fn an_invite_that_replaces_a_dialog_ends_it_once_it_is_accepted_interop_43() {
    let mut recorder = Recorder::new();
    let (first, tag) = recorder.call();
    let replacing = |replaces: &str, id: &str| {
        let text = invite(1).replace("Call-ID: ", &format!("Replaces: {replaces}\nCall-ID: {id}"));
        text.replace("z9hG4bK", &format!("z9hG4bK{id}"))
            .replace("Require: siprec", "Require: siprec,replaces")
    };
    let named = invite(1).lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap().trim().to_owned();
    let takes_over = |recorder: &mut Recorder, replaces: &str, id: &str| {
        let (_, request) = recorder.ring(&replacing(replaces, id));
        recorder.endpoint.respond(recorder.now, request, Answer::ok()).unwrap();
        recorder.drain().1
    };
    // Nothing of ours, not begun, or nonsense: a call like any other.
    for (number, other) in
        ["x;to-tag=a;from-tag=b", &format!("{named};to-tag={tag};from-tag=remote;early-only"), "?"]
            .iter()
            .enumerate()
    {
        assert!(takes_over(&mut recorder, other, &format!("n{number}")).is_empty(), "{other}");
    }
    let events = takes_over(&mut recorder, &format!("{named};to-tag={tag};from-tag=remote"), "second");
    assert!(matches!(events[..], [Event::Replaced { dialog }] if dialog == first), "{events:?}");
    recorder.endpoint.bye(recorder.now, first).unwrap();
    assert_eq!(name(recorder.drain().0[0].bytes()), "BYE");
}

#[test]
fn a_transfer_is_refused_and_a_hold_right_before_the_end_is_answered_interop_45() {
    let mut recorder = Recorder::new();
    let (dialog, tag) = recorder.call();
    for (number, method) in ["REFER", "SUBSCRIBE", "REGISTER", "WHATEVER"].into_iter().enumerate() {
        assert_eq!(recorder.codes(&inside(method, 2 + number as u32, &tag)), [501], "{method}");
    }
    let (_, events) = recorder.feed(&inside("INVITE", 10, &tag));
    let [Event::Reinvite { request, .. }] = events[..] else { panic!("{events:?}") };
    recorder.accept(request);
    // Its ACK never comes: the BYE is faster.
    let (sent, events) = recorder.feed(&inside("BYE", 11, &tag));
    assert!(
        sent[0].code() == Some(200) && matches!(events[..], [Event::Bye { dialog: of, .. }] if of == dialog)
    );
    assert_eq!(recorder.endpoint.dialogs(), 0);
}

#[test]
fn whatever_is_said_to_our_bye_ends_the_call_interop_41() {
    for code in [200, 401, 403, 405, 408, 481, 491, 500, 603] {
        let mut recorder = Recorder::new();
        let (dialog, _) = recorder.call();
        recorder.endpoint.bye(recorder.now, dialog).unwrap();
        let bye = recorder.drain().0.remove(0);
        let (_, events) = recorder.feed(&super::session_tests::response(&bye, code, ""));
        assert!(
            matches!(events[..], [Event::Closed { code: said, .. }] if said == code),
            "{code} {events:?}"
        );
        assert_eq!(recorder.endpoint.dialogs(), 0);
    }
}

#[test]
fn sloppy_addresses_empty_values_and_missing_contacts_are_taken_interop_48() {
    let mut recorder = Recorder::new();
    let text = invite(1)
        .replace("From: <sip:src@10.0.0.1>;tag=remote", "f: sip:10.0.0.1;tag=remote")
        .replace("Contact: <sip:src@10.0.0.1:5070>;+sip.src", "m: sip:src@10.0.0.1:5070;+sip.src")
        .replace("Call-ID", "Supported:\nSupported: timer\nk: siprec\nRecv-Info:\nRecord-Route: <sip:10.0.0.5;lr>\nRecord-Route: <sip:10.0.0.6;lr>\ni");
    let (dialog, request) = recorder.ring(&text);
    let tag = recorder.accept(request);
    recorder.feed(&inside("ACK", 1, &tag));
    let bare = inside("INVITE", 2, &tag).replace("Contact: <sip:src@10.0.0.1:5070>\n", "");
    let (_, events) = recorder.feed(&bare);
    let [Event::Reinvite { request, .. }] = events[..] else { panic!("{events:?}") };
    recorder.accept(request);
    recorder.feed(&inside("ACK", 2, &tag));
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let (sent, _) = recorder.drain();
    assert_eq!(sent[0].uri().unwrap().as_str(), "sip:src@10.0.0.1:5070");
    assert_eq!(sent[0].list("Route"), ["<sip:10.0.0.5;lr>", "<sip:10.0.0.6;lr>"]);
}
