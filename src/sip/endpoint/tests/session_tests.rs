//! Session timers in both roles, INVITEs of both ends that meet, and names for logs.

use super::*;

/// A confirmed dialog whose INVITE had these header lines besides, its 200, and our tag.
fn call_with(recorder: &mut Recorder, headers: &str) -> (DialogId, String, Message) {
    let text = invite(1).replace("Call-ID", &format!("{headers}Call-ID"));
    let (dialog, request) = recorder.ring(&text);
    recorder
        .endpoint
        .respond(recorder.now, request, Answer::ok().body("application/sdp", "v=0\r\no=ours\r\n"))
        .unwrap();
    let ok = recorder.drain().0.remove(0);
    let tag = ok.to().tag().to_owned();
    recorder.feed(&inside("ACK", 1, &tag));
    (dialog, tag, ok)
}

/// Lets time pass until something is sent or happens: when, in seconds, and what.
fn next(recorder: &mut Recorder) -> (u64, Vec<Message>, Vec<Event>) {
    loop {
        recorder.now = recorder.endpoint.deadline().expect("something is to come");
        let (sent, events) = recorder.drain();
        if !sent.is_empty() || !events.is_empty() {
            return (recorder.now.0 / 1_000_000_000, sent, events);
        }
    }
}

/// A response to a request of ours.
pub(super) fn response(request: &Message, code: u16, headers: &str) -> String {
    let line = |name| request.header(name).unwrap().into_owned();
    format!(
        "SIP/2.0 {code} So\nVia: {}\nFrom: {}\nTo: {}\nCall-ID: {}\nCSeq: {}\n{headers}Content-Length: 0\n\n",
        line("Via"),
        line("From"),
        line("To"),
        line("Call-ID"),
        line("CSeq")
    )
}

#[test]
fn the_client_refreshes_where_it_can_and_is_told_so() {
    for (headers, expires, require) in [
        ("Supported: timer\nSession-Expires: 1800\nMin-SE: 90\n", Some("1800;refresher=uac"), true),
        ("Session-Expires: 1800\n", Some("1800;refresher=uas"), false),
        ("Supported: siprec, timer\nSession-Expires: 90;refresher=uas\n", Some("90;refresher=uas"), true),
        ("Supported: timer\nMin-SE: 35\n", None, false),
        ("", None, false),
    ] {
        let (_, _, ok) = call_with(&mut Recorder::new(), headers);
        assert_eq!(ok.header("Session-Expires").as_deref(), expires, "{headers}");
        assert_eq!(ok.lists("Require", "timer"), require, "{headers}");
        assert!(ok.lists("Supported", "timer") && ok.lists("Allow", "UPDATE"));
    }
}

#[test]
fn a_call_without_a_timer_is_never_reaped_by_silence() {
    let mut recorder = Recorder::new();
    call_with(&mut recorder, "Supported: timer\nMin-SE: 90\n");
    while let Some(at) = recorder.endpoint.deadline() {
        recorder.now = at;
        let (sent, events) = recorder.drain();
        assert!(sent.is_empty() && events.is_empty(), "{events:?}");
    }
    assert_eq!(recorder.endpoint.dialogs(), 1);
}

#[test]
fn a_client_that_forgets_to_refresh_is_reported_each_interval_and_kept() {
    let mut recorder = Recorder::new();
    let (dialog, tag, _) = call_with(&mut recorder, "Supported: timer\nSession-Expires: 90\n");
    for seconds in [90, 180, 270] {
        let (at, sent, events) = next(&mut recorder);
        assert!(sent.is_empty() && at == seconds);
        let [Event::Expired { interval, .. }] = events[..] else { panic!("{events:?}") };
        assert_eq!(interval, Duration::from_secs(90));
    }
    // It comes back: SDP alone, by re-INVITE or without SDP by UPDATE, nothing required.
    let update = inside("UPDATE", 2, &tag).replace("Call-ID", "Session-Expires: 90;refresher=uac\nCall-ID");
    let (_, events) = recorder.feed(&update);
    let [Event::InDialog { request, .. }] = events[..] else { panic!("{events:?}") };
    recorder.endpoint.respond(recorder.now, request, Answer::ok()).unwrap();
    let (sent, _) = recorder.drain();
    assert_eq!(sent[0].header("Session-Expires").as_deref(), Some("90;refresher=uac"));
    assert_eq!(next(&mut recorder).0, 360);
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    assert_eq!(name(recorder.drain().0[0].bytes()), "BYE");
    assert_eq!(recorder.endpoint.counters().sessions_expired, 4);
}

#[test]
fn we_refresh_by_update_without_a_body_where_the_client_allows_that() {
    let mut recorder = Recorder::new();
    call_with(&mut recorder, "Allow: INVITE, UPDATE\nSession-Expires: 90;refresher=uas\n");
    for round in 1..4 {
        let (at, sent, events) = next(&mut recorder);
        let [update] = &sent[..] else { panic!("{sent:?} {events:?}") };
        assert_eq!((at, name(update.bytes()), update.body().len()), (45 * round, "UPDATE".to_owned(), 0));
        assert_eq!(update.header("Session-Expires").as_deref(), Some("90;refresher=uac"));
        assert!(update.contact().is_some() && update.lists("Supported", "timer"));
        let (_, events) = recorder.feed(&response(update, 200, "Session-Expires: 90;refresher=uac\n"));
        assert!(matches!(events[..], [Event::Refreshed { .. }]), "{events:?}");
    }
    assert_eq!(recorder.endpoint.counters().refreshes, 3);
}

#[test]
fn else_we_refresh_by_our_last_session_description() {
    for (allow, refuses) in [("", false), ("Allow: INVITE, ACK\n", false), ("Allow: INVITE, UPDATE\n", true)]
    {
        let mut recorder = Recorder::new();
        call_with(&mut recorder, &format!("{allow}Session-Expires: 90\n"));
        let (at, mut sent, _) = next(&mut recorder);
        if refuses {
            assert_eq!(name(sent[0].bytes()), "UPDATE");
            sent = recorder.feed(&response(&sent[0], 405, "")).0;
        }
        assert_eq!(
            (at, name(sent[0].bytes()), sent[0].body()),
            (45, "INVITE".to_owned(), &b"v=0\r\no=ours\r\n"[..])
        );
        // The client takes the refreshing over.
        let ok = response(&sent[0], 200, "Session-Expires: 90;refresher=uas\nContact: <sip:new@10.0.0.1>\n");
        let (acks, events) = recorder.feed(&ok);
        assert!(matches!(events[..], [Event::Refreshed { .. }]), "{events:?}");
        assert_eq!(
            (name(acks[0].bytes()), acks[0].uri().unwrap().as_str()),
            ("ACK".to_owned(), "sip:new@10.0.0.1")
        );
        assert_eq!(recorder.feed(&ok).0.len(), 1, "a repeated 200 is acknowledged again");
        let (at, _, events) = next(&mut recorder);
        assert!(at == 135 && matches!(events[..], [Event::Expired { .. }]), "{at} {events:?}");
    }
}

#[test]
fn a_refresh_that_fails_is_tried_again_and_ends_nothing() {
    let mut recorder = Recorder::new();
    call_with(&mut recorder, "Allow: UPDATE\nSession-Expires: 90\n");
    let (_, sent, _) = next(&mut recorder);
    let (sent, events) = recorder.feed(&response(&sent[0], 422, "Min-SE: 200\n"));
    assert!(events.is_empty());
    assert_eq!(sent[0].header("Session-Expires").as_deref(), Some("200;refresher=uac"));
    recorder.feed(&response(&sent[0], 500, "Retry-After: 1\n"));
    let (at, sent, _) = next(&mut recorder);
    assert!(at < 48, "{at}");
    let (sent, events) = recorder.feed(&response(&sent[0], 481, ""));
    assert!(sent.is_empty() && matches!(events[..], [Event::Expired { .. }]));
    // Nobody answers any more.
    let mut expired = 0;
    while recorder.now < Mono::from_ms(95_000) {
        let (_, sent, events) = next(&mut recorder);
        assert!(sent.iter().all(|m| name(m.bytes()) == "UPDATE"), "{sent:?}");
        expired += events.iter().filter(|event| matches!(event, Event::Expired { .. })).count();
    }
    assert!(expired > 0 && recorder.endpoint.dialogs() == 1);
}

#[test]
fn our_reinvite_goes_to_the_client_and_waits_its_turn() {
    let mut recorder = Recorder::new();
    let (dialog, tag, _) = call_with(&mut recorder, "Supported: timer\nSession-Expires: 1800\n");
    let offer = || Answer::ok().body("application/sdp", "v=0\r\no=new\r\n");
    recorder.endpoint.reinvite(recorder.now, dialog, offer()).unwrap();
    assert_eq!(recorder.endpoint.reinvite(recorder.now, dialog, offer()), Err(Gone), "one at a time");
    let (sent, _) = recorder.drain();
    assert_eq!((name(sent[0].bytes()), sent[0].to().tag()), ("INVITE".to_owned(), "remote"));
    assert_eq!(sent[0].header("Session-Expires").as_deref(), Some("1800;refresher=uas"));
    // The client's crosses ours: each refuses the other's, and ours comes again by itself.
    assert_eq!(recorder.codes(&inside("INVITE", 2, &tag)), [491]);
    recorder.feed(&request("ACK", "INVITE2", 2, &tag, ""));
    let (acks, events) = recorder.feed(&response(&sent[0], 491, ""));
    assert!(name(acks[0].bytes()) == "ACK" && events.is_empty(), "{events:?}");
    let (at, sent, _) = next(&mut recorder);
    assert!(at < 2 && name(sent[0].bytes()) == "INVITE" && sent[0].cseq().number == 2, "{at}");
    assert_eq!(sent[0].body(), b"v=0\r\no=new\r\n");
    let (_, events) = recorder.feed(&response(&sent[0], 200, ""));
    assert!(matches!(events[..], [Event::Accepted { .. }]));
    assert!(recorder.endpoint.counters().glare > 0);
}

#[test]
fn our_offer_is_withdrawn_if_the_client_changed_the_session_meanwhile_or_refuses_for_ever() {
    let mut recorder = Recorder::new();
    let (dialog, tag, _) = call_with(&mut recorder, "");
    let offer = || Answer::ok().body("application/sdp", "v=0\r\n");
    recorder.endpoint.reinvite(recorder.now, dialog, offer()).unwrap();
    let ours = recorder.drain().0.remove(0);
    recorder.feed(&response(&ours, 491, ""));
    let body = "Content-Type: application/sdp\nContent-Length: 5\n\nv=0\r\n";
    let (_, events) = recorder.feed(&inside("INVITE", 3, &tag).replace("Content-Length: 0\n\n", body));
    let [Event::Reinvite { request, .. }] = events[..] else { panic!("{events:?}") };
    recorder.accept(request);
    recorder.feed(&inside("ACK", 3, &tag));
    let (_, sent, events) = next(&mut recorder);
    assert!(sent.is_empty() && matches!(events[..], [Event::Refused { code: 491, .. }]), "{events:?}");

    recorder.endpoint.reinvite(recorder.now, dialog, offer()).unwrap();
    let mut ours = recorder.drain().0.remove(0);
    for tries in 1.. {
        let (_, events) = recorder.feed(&response(&ours, 491, ""));
        if let [Event::Refused { code: 491, .. }] = events[..] {
            assert_eq!(tries, 5);
            break;
        }
        ours = next(&mut recorder).1.remove(0);
    }
    assert_eq!(recorder.endpoint.dialogs(), 1);
}

#[test]
fn an_offer_in_an_update_waits_for_the_one_under_way_and_metadata_does_not() {
    let mut recorder = Recorder::new();
    let (dialog, tag, _) = call_with(&mut recorder, "");
    recorder
        .endpoint
        .reinvite(recorder.now, dialog, Answer::ok().body("application/sdp", "v=0\r\n"))
        .unwrap();
    recorder.drain();
    let update = |cseq, content_type: &str, body: &str| {
        let body = format!("Content-Type: {content_type}\nContent-Length: {}\n\n{body}", body.len());
        inside("UPDATE", cseq, &tag).replace("Content-Length: 0\n\n", &body)
    };
    assert_eq!(recorder.codes(&update(2, "application/sdp", "v=0")), [491]);
    let (sent, events) = recorder.feed(&update(3, "application/rs-metadata+xml", "<recording/>"));
    assert!(sent.is_empty() && matches!(events[..], [Event::InDialog { .. }]), "{events:?}");
}

/// An INVITE of metadata alone leaves the offer to us (RFC 3311 section 5.2): its answer comes with the ACK.
#[test]
fn an_offer_before_the_answer_to_ours_waits_though_the_invite_had_metadata() {
    let with = |text: String, content_type: &str, body: &str| {
        let body = format!("Content-Type: {content_type}\nContent-Length: {}\n\n{body}", body.len());
        text.replace("Content-Length: 0\n\n", &body)
    };
    let metadata = |text| with(text, "application/rs-metadata+xml", "<recording/>");
    let both = "--b\nContent-Type: application/sdp\n\nv=0\n--b\nContent-Type: application/rs-metadata+xml\n\n<recording/>\n--b--\n";
    for (invited, code) in
        [(metadata(invite(1)), Some(491)), (with(invite(1), "multipart/mixed;boundary=b", both), None)]
    {
        let mut recorder = Recorder::new();
        let (_, request) = recorder.ring(&invited);
        let tag = recorder.accept(request);
        let (sent, _) = recorder.feed(&with(inside("UPDATE", 2, &tag), "application/sdp", "v=0"));
        assert_eq!(sent.first().and_then(|answer| answer.code()), code);
        let (sent, events) = recorder.feed(&metadata(inside("UPDATE", 3, &tag)));
        assert!(sent.is_empty() && matches!(events[..], [Event::InDialog { .. }]), "{events:?}");
    }
}

#[test]
fn a_session_has_our_name_beside_the_clients_in_everything_we_say() {
    const THEIRS: &str = "ab30317f1a784dc48ff824d0d3715d86";
    let mut recorder = Recorder::new();
    let header = format!("Session-ID: {THEIRS};remote={}\n", "0".repeat(32));
    let (dialog, tag, ok) = call_with(&mut recorder, &header);
    let said = ok.header("Session-ID").unwrap().into_owned();
    let ours = said.strip_suffix(&format!(";remote={THEIRS}")).expect("names them").to_owned();
    assert!(ours.len() == 32 && ours != "0".repeat(32));
    let info =
        inside("INFO", 2, &tag).replace("Call-ID", &format!("Session-ID: {THEIRS};remote={ours}\nCall-ID"));
    let (_, events) = recorder.feed(&info);
    let [Event::InDialog { request, .. }] = events[..] else { panic!("{events:?}") };
    recorder.endpoint.respond(recorder.now, request, Answer::ok()).unwrap();
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let (sent, _) = recorder.drain();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|message| message.header("Session-ID").as_deref() == Some(&*said)));
}

#[test]
fn draining_does_not_answer_503_inside_of_a_call() {
    let mut recorder = Recorder::new();
    let (_, tag, _) = call_with(&mut recorder, "");
    let after = Some(Duration::from_secs(5));
    recorder.endpoint.set_shut(Shut { invites: after, options: after });
    assert_eq!(recorder.codes(&inside("OPTIONS", 2, &tag)), [200]);
    assert_eq!(recorder.codes(&request("OPTIONS", "o", 1, "", "")), [503]);
}

#[test]
fn live_dialogs_can_be_looked_at_without_seeing_whose_they_are() {
    let mut recorder = Recorder::new();
    let (id, local_tag, _) = call_with(&mut recorder, "Supported: timer\nSession-Expires: 90\n");
    recorder.now = Mono::from_ms(30_000);
    let rows: Vec<_> = recorder.endpoint.dialogs_table(recorder.now).collect();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(
        (row.id, &*row.call_id, &row.local_tag, &*row.remote_tag),
        (id, "call-1", &local_tag, "remote")
    );
    assert_eq!((row.age, row.confirmed, row.unacknowledged), (Duration::from_secs(30), true, false));
    let session = row.session.unwrap();
    assert_eq!((session.refresher, session.left), (crate::sip::Refresher::Peer, Duration::from_secs(60)));
    assert!(!format!("{row:?}").contains("sip:"));
}
