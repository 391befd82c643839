//! Two endpoints, a clock that is only a number, and a network that loses what a test says.

mod gate_tests;
mod interop_tests;
mod refusal_tests;
mod session_tests;
mod world_tests;

use proptest::prelude::*;

use super::*;
use crate::base::{Prng, Seeded};
use crate::sip::client::Invitation;

fn seeded(seed: u64) -> Box<dyn Entropy + Send> {
    Box::new(Seeded::new(seed))
}

/// The peer as the recorder sees it.
fn src(transport: Transport) -> Peer {
    Peer {
        transport,
        link: 7,
        listener: 0,
        local: "10.0.0.9:5060".parse().unwrap(),
        remote: "10.0.0.1:5070".parse().unwrap(),
    }
}

/// The recorder as the peer sees it.
fn srs(transport: Transport) -> Peer {
    let seen = src(transport);
    Peer { local: seen.remote, remote: seen.local, ..seen }
}

/// A short name of a message: `INVITE`, `200 INVITE`.
fn name(bytes: &[u8]) -> String {
    let message = Message::parse_datagram(bytes).expect("what we send can be read");
    message.code().map_or_else(|| message.method().to_string(), |code| format!("{code} {}", message.method()))
}

/// A recorder alone, fed with messages written by hand.
struct Recorder {
    now: Mono,
    endpoint: Endpoint,
}

impl Recorder {
    fn new() -> Recorder {
        Recorder { now: Mono(0), endpoint: Endpoint::new(Config::recorder(), seeded(1)) }
    }

    fn feed_from(&mut self, from: Peer, text: &str) -> (Vec<Message>, Vec<Event>) {
        self.endpoint.receive(self.now, from, Message::parse_datagram(text.replace('\n', "\r\n").as_bytes()));
        self.drain()
    }

    /// What is said to `text`, and the events it makes.
    fn feed(&mut self, text: &str) -> (Vec<Message>, Vec<Event>) {
        self.feed_from(src(Transport::Udp), text)
    }

    fn drain(&mut self) -> (Vec<Message>, Vec<Event>) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        while let Some(action) = self.endpoint.poll(self.now) {
            match action {
                // An answer to something malformed repeats what is malformed about it.
                Action::Send { bytes, .. } => match Message::parse_datagram(&bytes) {
                    Ok(message) => sent.push(message),
                    Err(_) => assert!(bytes.starts_with(b"SIP/2.0 4") || bytes.starts_with(b"SIP/2.0 5")),
                },
                Action::Event(event) => events.push(event),
            }
        }
        (sent, events)
    }

    /// The codes of what is said to `text`.
    fn codes(&mut self, text: &str) -> Vec<u16> {
        self.feed(text).0.iter().map(|message| message.code().unwrap()).collect()
    }

    /// Feeds an INVITE and gives back its dialog and request.
    fn ring(&mut self, text: &str) -> (DialogId, RequestId) {
        let (sent, events) = self.feed(text);
        assert_eq!(sent[0].code(), Some(100));
        let [Event::Invite { dialog, request, .. }] = events[..] else { panic!("{events:?}") };
        (dialog, request)
    }

    /// Answers 200 and gives back our tag.
    fn accept(&mut self, request: RequestId) -> String {
        self.endpoint.respond(self.now, request, Answer::ok().body("application/sdp", "v=0\r\n")).unwrap();
        let (sent, _) = self.drain();
        assert_eq!(sent[0].code(), Some(200));
        sent[0].to().tag().to_owned()
    }

    /// A confirmed dialog and our tag.
    fn call(&mut self) -> (DialogId, String) {
        let (dialog, request) = self.ring(&invite(1));
        let tag = self.accept(request);
        let (_, events) = self.feed(&inside("ACK", 1, &tag));
        assert!(matches!(events[..], [Event::Ack { .. }]), "{events:?}");
        (dialog, tag)
    }

    /// Lets time pass up to and with the next deadline; what is sent then, and when.
    fn wait(&mut self) -> (u64, Vec<String>) {
        self.now = self.endpoint.deadline().expect("something is to come");
        let (sent, events) = self.drain();
        let names = sent.iter().map(|m| name(m.bytes())).chain(events.iter().map(|e| format!("{e:?}")));
        (self.now.0 / 1_000_000, names.collect())
    }
}

fn request(method: &str, branch: &str, cseq: u32, to_tag: &str, extra: &str) -> String {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    format!(
        "{method} sip:rec@10.0.0.9 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK{branch}\nMax-Forwards: 70\n\
         From: <sip:src@10.0.0.1>;tag=remote\nTo: <sip:rec@10.0.0.9>{tag}\nCall-ID: call-1\nCSeq: {cseq} {method}\n{extra}\
         Content-Length: 0\n\n"
    )
}

fn invite(cseq: u32) -> String {
    request(
        "INVITE",
        &format!("inv{cseq}"),
        cseq,
        "",
        "Contact: <sip:src@10.0.0.1:5070>;+sip.src\nRequire: siprec\n",
    )
}

fn inside(method: &str, cseq: u32, tag: &str) -> String {
    request(method, &format!("{method}{cseq}"), cseq, tag, "Contact: <sip:src@10.0.0.1:5070>\n")
}

#[test]
fn a_call_is_answered_with_what_a_recorder_has_to_say() {
    let mut recorder = Recorder::new();
    let invite = invite(1).replace("Call-ID", "Record-Route: <sip:p@10.0.0.5;lr>\nCall-ID");
    let (_, events) = recorder.feed(&invite);
    let [Event::Invite { request, ref local_tag, .. }] = events[..] else { panic!("{events:?}") };
    recorder
        .endpoint
        .respond(Mono(0), request, Answer::ok().header("X-Own", "1").body("application/sdp", "v=0\r\n"))
        .unwrap();
    let (sent, _) = recorder.drain();
    let ok = &sent[0];
    let contact = ok.contact().unwrap();
    assert_eq!((contact.param("+sip.srs"), contact.uri().as_str()), (Some(""), "sip:tapehead@10.0.0.9:5060"));
    assert!(ok.supported().contains(&"siprec".to_owned()) && ok.allow().contains(&Method::Update));
    assert_eq!(ok.addresses("Record-Route").len(), 1);
    assert!(ok.header("Server").unwrap().starts_with("tapehead/") && ok.header("X-Own").is_some());
    assert_eq!((ok.content_type().as_deref(), ok.body()), (Some("application/sdp"), &b"v=0\r\n"[..]));
    assert!(!ok.to().tag().is_empty());
    assert_eq!(ok.to().tag(), local_tag, "the owner is told the tag that the client gets");
}

#[test]
fn each_listener_is_advertised_by_its_own_address_and_transport() {
    let mut recorder = Recorder::new();
    recorder.endpoint.set_advertised(1, Some("203.0.113.5".to_owned()));
    recorder.endpoint.set_advertised(2, Some("[2001:db8::1]:15061".to_owned()));
    let told = |recorder: &mut Recorder, listener, transport| {
        let call = format!("at-{listener}");
        let from = Peer { listener, ..src(transport) };
        let invite = invite(1)
            .replace("Call-ID: ", &format!("Call-ID: {call}"))
            .replace("branch=", &format!("branch=z9hG4bK{call}"));
        let (_, events) = recorder.feed_from(from, &invite);
        let [Event::Invite { request, .. }] = events[..] else { panic!("{events:?}") };
        recorder.endpoint.respond(Mono(0), request, Answer::ok()).unwrap();
        recorder.drain().0[0].contact().unwrap().uri().as_str().to_owned()
    };
    assert_eq!(told(&mut recorder, 0, Transport::Udp), "sip:tapehead@10.0.0.9:5060");
    assert_eq!(told(&mut recorder, 1, Transport::Tcp), "sip:tapehead@203.0.113.5:5060;transport=tcp");
    assert_eq!(told(&mut recorder, 2, Transport::Tls), "sip:tapehead@[2001:db8::1]:15061;transport=tls");
    recorder.endpoint.set_advertised(1, None);
    assert_eq!(
        dialog::host(&recorder.endpoint.config, &Peer { listener: 1, ..src(Transport::Tcp) }),
        "10.0.0.9:5060"
    );
}

#[test]
fn a_peer_that_knows_us_by_an_address_of_its_own_is_told_that_one_in_contact_and_via() {
    let mut recorder = Recorder::new();
    recorder.endpoint.set_advertised(0, Some("203.0.113.5:15060".to_owned()));
    let networks = [(crate::base::network("10.0.0.0/30").unwrap(), "198.51.100.7".parse().unwrap())];
    recorder.endpoint.set_known_as(networks.into_iter().collect());
    let (dialog, request) = recorder.ring(&invite(1));
    recorder.endpoint.respond(Mono(0), request, Answer::ok()).unwrap();
    let ok = recorder.drain().0.remove(0);
    assert_eq!(ok.contact().unwrap().uri().as_str(), "sip:tapehead@198.51.100.7:5060");
    recorder.feed(&inside("ACK", 1, ok.to().tag()));
    recorder.endpoint.bye(Mono(0), dialog).unwrap();
    let bye = recorder.drain().0.remove(0);
    assert!(bye.header("Via").unwrap().starts_with("SIP/2.0/UDP 198.51.100.7:5060;"), "{bye:?}");
    let other = Peer { remote: "10.0.0.77:5060".parse().unwrap(), ..src(Transport::Udp) };
    assert_eq!(dialog::host(&recorder.endpoint.config, &other), "203.0.113.5:15060");
}

#[test]
fn a_bye_that_waits_for_the_ack_of_a_reinvite_goes_without_it_when_there_is_no_more_time() {
    let mut recorder = Recorder::new();
    let (dialog, tag) = recorder.call();
    let (_, events) = recorder.feed(&inside("INVITE", 2, &tag));
    let Some(Event::Reinvite { request, .. }) = events.last() else { panic!("{events:?}") };
    recorder
        .endpoint
        .respond(recorder.now, *request, Answer::ok().body("application/sdp", "v=0\r\n"))
        .unwrap();
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let names = |sent: Vec<Message>| sent.iter().map(|message| name(message.bytes())).collect::<Vec<_>>();
    let (sent, _) = recorder.drain();
    assert!(!names(sent).iter().any(|name| name.contains("BYE")));
    recorder.endpoint.leave(recorder.now);
    let (sent, _) = recorder.drain();
    assert_eq!(names(sent).iter().filter(|name| name.contains("BYE")).count(), 1);
}

#[test]
fn who_insists_on_tls_is_told_a_sips_contact() {
    let told = |transport, from: &str, to: &str| {
        let mut recorder = Recorder::new();
        let (_, events) = recorder.feed_from(src(transport), &invite(1).replace(from, to));
        let [Event::Invite { request, .. }] = events[..] else { panic!("{events:?}") };
        recorder.endpoint.respond(Mono(0), request, Answer::ok()).unwrap();
        recorder.drain().0[0].contact().unwrap().uri().as_str().to_owned()
    };
    let sips = "sips:tapehead@10.0.0.9:5060";
    let route = "Record-Route: <sips:p@10.0.0.5;lr>\nCall-ID";
    assert_eq!(told(Transport::Tls, "INVITE sip:", "INVITE sips:"), sips);
    assert_eq!(told(Transport::Tls, "Contact: <sip:", "Contact: <sips:"), sips);
    assert_eq!(told(Transport::Tls, "Call-ID", route), sips);
    assert_eq!(told(Transport::Tls, "x", "x"), "sip:tapehead@10.0.0.9:5060;transport=tls");
    assert_eq!(
        told(Transport::Tcp, "INVITE sip:", "INVITE sips:"),
        "sip:tapehead@10.0.0.9:5060;transport=tcp"
    );
}

#[test]
fn an_answer_over_udp_that_would_be_too_long_leaves_out_what_can_be_done_without() {
    let answered = |transport, body: usize| {
        let mut recorder = Recorder::new();
        let (_, events) = recorder.feed_from(src(transport), &invite(1));
        let [Event::Invite { request, .. }] = events[..] else { panic!("{events:?}") };
        let answer = Answer::ok().body("application/sdp", vec![b'x'; body]);
        recorder.endpoint.respond(Mono(0), request, answer).unwrap();
        let ok = recorder.drain().0.remove(0);
        let has = ["Accept", "Server", "Allow", "Supported"].map(|name| ok.header(name).is_some());
        let counted = recorder.endpoint.counters().datagrams_long;
        assert_eq!(counted, u64::from(transport == Transport::Udp && ok.bytes().len() >= 1300));
        (ok.bytes().len() < 1300, has)
    };
    assert_eq!(answered(Transport::Udp, 400), (true, [true; 4]));
    assert_eq!(answered(Transport::Udp, 800), (true, [false, true, true, true]));
    assert_eq!(answered(Transport::Udp, 2000), (false, [false, false, true, true]));
    assert_eq!(answered(Transport::Tcp, 2000), (false, [true; 4]));
}

#[test]
fn a_2xx_is_sent_again_until_its_ack_at_exact_times() {
    let mut recorder = Recorder::new();
    let (dialog, request) = recorder.ring(&invite(1));
    let tag = recorder.accept(request);
    let expected: Vec<_> = [500, 1500, 3500].iter().map(|ms| (*ms, vec!["200 INVITE".to_owned()])).collect();
    assert_eq!((0..3).map(|_| recorder.wait()).collect::<Vec<_>>(), expected);
    let (sent, events) = recorder.feed(&inside("ACK", 1, &tag));
    assert!(sent.is_empty() && matches!(events[..], [Event::Ack { dialog: d, .. }] if d == dialog));
    // Timer L alone is left; a second ACK is none of the owner's business.
    assert!(recorder.feed(&inside("ACK", 1, &tag)).1.is_empty());
    assert_eq!(recorder.wait(), (32_000, vec![]));
    assert_eq!((recorder.endpoint.deadline(), recorder.endpoint.transactions()), (None, 0));
}

#[test]
fn without_an_ack_the_owner_is_told_after_32_seconds_and_may_hang_up() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut recorder = Recorder::new();
        let text = invite(1).replace("UDP", transport.as_str());
        let (_, events) = recorder.feed_from(src(transport), &text);
        let [Event::Invite { dialog, request, .. }] = events[..] else { panic!("{events:?}") };
        recorder.accept(request);
        let last = std::iter::repeat_with(|| recorder.wait())
            .find(|(_, what)| what.iter().any(|w| w.starts_with("Timeout")));
        assert_eq!(last.unwrap().0, 32_000);
        assert_eq!(recorder.endpoint.bye(recorder.now, dialog), Ok(()));
        let (sent, _) = recorder.drain();
        assert_eq!(name(sent[0].bytes()), "BYE");
    }
}

#[test]
fn a_retransmitted_invite_gets_the_same_answer() {
    let mut recorder = Recorder::new();
    let (_, request) = recorder.ring(&invite(1));
    let (first, events) = recorder.feed(&invite(1));
    assert!(events.is_empty() && first[0].code() == Some(100));
    recorder.endpoint.respond(Mono(0), request, Answer::new(488, "Not Acceptable Here")).unwrap();
    let (final_answer, _) = recorder.drain();
    let (again, events) = recorder.feed(&invite(1));
    assert!(events.is_empty());
    assert_eq!(again[0].bytes(), final_answer[0].bytes());
    // Timer G until the ACK, then timer I.
    assert_eq!(recorder.wait(), (500, vec!["488 INVITE".to_owned()]));
    let ack = request_ack(final_answer[0].to().tag());
    assert_eq!(recorder.feed(&ack).0.len(), 0);
    assert!(recorder.codes(&invite(1)).is_empty());
    assert_eq!(recorder.wait(), (5500, vec![]));
    assert_eq!((recorder.endpoint.transactions(), recorder.endpoint.dialogs()), (0, 0));
}

/// The ACK to a failure: the INVITE's own branch.
fn request_ack(tag: &str) -> String {
    request("ACK", "inv1", 1, tag, "")
}

#[test]
fn a_retransmitted_invite_after_the_2xx_is_absorbed() {
    let mut recorder = Recorder::new();
    let (_, request) = recorder.ring(&invite(1));
    recorder.accept(request);
    let (sent, events) = recorder.feed(&invite(1));
    assert!(sent.is_empty() && events.is_empty());
    assert_eq!(recorder.endpoint.respond(Mono(0), request, Answer::ok()), Err(Gone));
}

#[test]
fn cancel_ends_an_unanswered_invite_and_nothing_else() {
    let mut recorder = Recorder::new();
    let (dialog, invited) = recorder.ring(&invite(1));
    let cancel = request("CANCEL", "inv1", 1, "", "");
    let (sent, events) = recorder.feed(&cancel);
    assert_eq!(sent.iter().map(|m| name(m.bytes())).collect::<Vec<_>>(), ["200 CANCEL", "487 INVITE"]);
    assert_eq!(sent[0].to().tag(), sent[1].to().tag());
    assert!(matches!(events[..], [Event::Cancel { dialog: d, ended: true }] if d == dialog));
    assert_eq!(recorder.endpoint.respond(Mono(0), invited, Answer::ok()), Err(Gone));
    recorder.feed(&request_ack(sent[1].to().tag()));

    let mut late = Recorder::new();
    let (_, invited) = late.ring(&invite(1));
    late.accept(invited);
    let (sent, events) = late.feed(&cancel);
    assert_eq!((name(sent[0].bytes()).as_str(), sent.len(), events.len()), ("200 CANCEL", 1, 0));
    assert_eq!(late.endpoint.dialogs(), 1);

    assert_eq!(Recorder::new().codes(&cancel), [481]);
}

#[test]
fn a_cancelled_reinvite_leaves_the_call_alone() {
    let mut recorder = Recorder::new();
    let (dialog, tag) = recorder.call();
    let (_, events) = recorder.feed(&inside("INVITE", 2, &tag));
    assert!(matches!(events[..], [Event::Reinvite { .. }]));
    let (sent, events) = recorder.feed(&request("CANCEL", "INVITE2", 2, &tag, ""));
    assert_eq!(sent.iter().map(|m| name(m.bytes())).collect::<Vec<_>>(), ["200 CANCEL", "487 INVITE"]);
    assert!(matches!(events[..], [Event::Cancel { dialog: d, ended: false }] if d == dialog));
    assert_eq!(recorder.codes(&inside("BYE", 3, &tag)), [200]);
}

#[test]
fn bye_may_come_before_the_ack_and_before_the_answer() {
    let mut recorder = Recorder::new();
    let (dialog, request) = recorder.ring(&invite(1));
    let tag = recorder.accept(request);
    let (sent, events) = recorder.feed(&inside("BYE", 2, &tag));
    assert_eq!(name(sent[0].bytes()), "200 BYE");
    assert!(matches!(events[..], [Event::Bye { dialog: d, .. }] if d == dialog));
    // The 2xx is not sent again, its ACK is stray, and a repeated BYE gets the same 200.
    assert!(recorder.feed(&inside("ACK", 1, &tag)).1.is_empty());
    assert_eq!(recorder.codes(&inside("BYE", 2, &tag)), [200]);
    assert_eq!(recorder.wait(), (32_000, vec![]));
    assert_eq!(recorder.endpoint.dialogs(), 0);

    let mut early = Recorder::new();
    let (_, request) = early.ring(&invite(1));
    early.endpoint.respond(Mono(0), request, Answer::new(183, "Session Progress")).unwrap();
    let tag = early.drain().0[0].to().tag().to_owned();
    let (sent, events) = early.feed(&inside("BYE", 2, &tag));
    assert_eq!(sent.iter().map(|m| name(m.bytes())).collect::<Vec<_>>(), ["200 BYE", "487 INVITE"]);
    assert!(matches!(events[..], [Event::Bye { .. }]));
    assert_eq!(early.endpoint.dialogs(), 0);
}

#[test]
fn an_ack_from_another_port_counts() {
    let mut recorder = Recorder::new();
    let (_, request) = recorder.ring(&invite(1));
    let tag = recorder.accept(request);
    let other = Peer { remote: "10.0.0.1:61000".parse().unwrap(), ..src(Transport::Udp) };
    let (_, events) = recorder.feed_from(other, &inside("ACK", 1, &tag));
    assert!(matches!(events[..], [Event::Ack { .. }]));
}

#[test]
fn the_ack_of_a_late_offer_brings_its_answer() {
    let mut recorder = Recorder::new();
    let (_, request) = recorder.ring(&invite(1));
    let tag = recorder.accept(request);
    let ack = inside("ACK", 1, &tag)
        .replace("Content-Length: 0\n\n", "Content-Type: application/sdp\nContent-Length: 5\n\nv=0\n");
    let (_, events) = recorder.feed(&ack);
    let [Event::Ack { message, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(message.body(), b"v=0\r\n");
}

#[test]
fn the_same_request_by_two_paths_is_refused_once() {
    let mut recorder = Recorder::new();
    recorder.ring(&invite(1));
    let other_path = invite(1).replace("z9hG4bKinv1", "z9hG4bKforked");
    assert_eq!(recorder.codes(&other_path), [482]);
    // Another From tag is another client, whatever its Call-ID.
    let other_client = other_path.replace("tag=remote", "tag=elsewhere");
    assert_eq!(recorder.codes(&other_client), [100]);
    assert_eq!(recorder.endpoint.counters().merged, 1);
}

#[test]
fn full_tables_are_answered_503_without_state() {
    let config = Config { transactions_max: 1, ..Config::recorder() };
    let mut recorder = Recorder { now: Mono(0), endpoint: Endpoint::new(config, seeded(1)) };
    recorder.ring(&invite(1));
    let (sent, events) = recorder.feed(&invite(2));
    assert!(events.is_empty());
    assert_eq!((sent[0].code(), sent[0].header("Retry-After").as_deref()), (Some(503), Some("5")));
    assert_eq!((recorder.endpoint.transactions(), recorder.endpoint.counters().transactions_full), (1, 1));

    let config = Config { dialogs_max: 1, ..Config::recorder() };
    let mut recorder = Recorder { now: Mono(0), endpoint: Endpoint::new(config, seeded(1)) };
    recorder.ring(&invite(1));
    assert_eq!(recorder.codes(&invite(2)), [503]);
    assert_eq!(recorder.endpoint.dialogs(), 1);
}

#[test]
fn our_bye_follows_the_record_route() {
    let mut recorder = Recorder::new();
    let routed = invite(1).replace(
        "Call-ID",
        "Record-Route: <sip:10.0.0.5:5080;lr>, <sip:10.0.0.6;lr>\nRecord-Route: <sip:10.0.0.7;lr>\nCall-ID",
    );
    let (dialog, request) = recorder.ring(&routed);
    let tag = recorder.accept(request);
    recorder.feed(&inside("ACK", 1, &tag));
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let Some(Action::Send { to, bytes, .. }) = recorder.endpoint.poll(recorder.now) else {
        panic!("nothing sent")
    };
    assert_eq!(to.remote, "10.0.0.5:5080".parse().unwrap());
    let bye = Message::parse_datagram(&bytes).unwrap();
    assert_eq!(bye.list("Route"), ["<sip:10.0.0.5:5080;lr>", "<sip:10.0.0.6;lr>", "<sip:10.0.0.7;lr>"]);
    assert_eq!(bye.uri().unwrap().as_str(), "sip:src@10.0.0.1:5070");
    assert_eq!((bye.from().tag(), bye.to().tag(), bye.call_id()), (tag.as_str(), "remote", "call-1"));
}

#[test]
fn a_strict_router_gets_the_request_uri_and_a_named_one_is_reached_as_it_came() {
    let mut recorder = Recorder::new();
    let routed = invite(1).replace("Call-ID", "Record-Route: <sip:strict.example>\nCall-ID");
    let (dialog, request) = recorder.ring(&routed);
    let tag = recorder.accept(request);
    recorder.feed(&inside("ACK", 1, &tag));
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let Some(Action::Send { to, bytes, .. }) = recorder.endpoint.poll(recorder.now) else {
        panic!("nothing sent")
    };
    let bye = Message::parse_datagram(&bytes).unwrap();
    assert_eq!((to, bye.uri().unwrap().as_str()), (src(Transport::Udp), "sip:strict.example"));
    assert_eq!(bye.list("Route"), ["<sip:src@10.0.0.1:5070>"]);
}

#[test]
fn a_reinvite_moves_the_target_and_an_older_number_is_out_of_order() {
    let mut recorder = Recorder::new();
    let (dialog, tag) = recorder.call();
    let moved =
        inside("INVITE", 5, &tag).replace("Contact: <sip:src@10.0.0.1:5070>", "Contact: <sip:new@10.0.0.2>");
    let (_, events) = recorder.feed(&moved);
    let [Event::Reinvite { request, .. }] = events[..] else { panic!("{events:?}") };
    // A second one in front of the answer has to wait.
    assert_eq!(recorder.codes(&inside("INVITE", 6, &tag)), [500]);
    recorder.accept(request);
    recorder.feed(&inside("ACK", 5, &tag));
    assert_eq!(recorder.codes(&inside("INFO", 4, &tag)), [500]);
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let Some(Action::Send { to, bytes, .. }) = recorder.endpoint.poll(recorder.now) else {
        panic!("nothing sent")
    };
    assert_eq!(Message::parse_datagram(&bytes).unwrap().uri().unwrap().as_str(), "sip:new@10.0.0.2");
    assert_eq!(to.remote, "10.0.0.2:5060".parse().unwrap());
}

#[test]
fn an_invite_out_of_turn_is_refused_and_leaves_the_one_under_way_alone() {
    let mut recorder = Recorder::new();
    let (_, request) = recorder.ring(&invite(1));
    recorder.endpoint.respond(Mono(0), request, Answer::new(183, "Session Progress")).unwrap();
    let tag = recorder.drain().0[0].to().tag().to_owned();
    assert_eq!(recorder.codes(&inside("INVITE", 2, &tag)), [500]);
    assert_eq!(recorder.accept(request), tag);
    recorder.feed(&inside("ACK", 1, &tag));

    let (_, events) = recorder.feed(&inside("INVITE", 3, &tag));
    let [Event::Reinvite { .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!(recorder.codes(&inside("INVITE", 4, &tag)), [500]);
    let (sent, _) = recorder.feed(&inside("BYE", 5, &tag));
    assert_eq!(sent.iter().map(|m| name(m.bytes())).collect::<Vec<_>>(), ["200 BYE", "487 INVITE"]);
}

#[test]
fn requests_inside_are_the_owners_and_foreign_methods_do_not_end_the_call() {
    let mut recorder = Recorder::new();
    let (dialog, tag) = recorder.call();
    for (cseq, method) in [(2, "UPDATE"), (3, "INFO"), (4, "MESSAGE"), (5, "NOTIFY")] {
        let (sent, events) = recorder.feed(&inside(method, cseq, &tag));
        let [Event::InDialog { dialog: d, request, .. }] = events[..] else { panic!("{events:?}") };
        assert!(sent.is_empty() && d == dialog);
        recorder.endpoint.respond(Mono(0), request, Answer::ok()).unwrap();
        assert_eq!(recorder.drain().0[0].code(), Some(200));
    }
    assert_eq!(recorder.codes(&inside("REFER", 6, &tag)), [501]);
    assert_eq!(recorder.codes(&inside("FROBNICATE", 7, &tag)), [501]);
    assert_eq!(recorder.codes(&inside("PRACK", 8, &tag)), [481]);
    assert_eq!(recorder.codes(&inside("OPTIONS", 9, &tag)), [200]);
    assert_eq!(recorder.endpoint.dialogs(), 1);
    for method in ["BYE", "INVITE", "INFO"] {
        assert_eq!(recorder.codes(&inside(method, 10, "unknown")), [481]);
    }
    assert_eq!(recorder.codes(&inside("BYE", 11, &tag)), [200]);
}

#[test]
fn a_dialog_that_we_are_ending_takes_a_bye_alone() {
    let mut recorder = Recorder::new();
    let (dialog, tag) = recorder.call();
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let bye = recorder.drain().0.remove(0);
    assert_eq!(recorder.endpoint.bye(recorder.now, dialog), Err(Gone));
    assert_eq!(recorder.codes(&inside("INVITE", 2, &tag)), [481]);
    let (sent, events) = recorder.feed(&inside("BYE", 3, &tag));
    assert!(sent[0].code() == Some(200) && events.is_empty());
    let reply = crate::sip::Reply::new(&bye, "10.0.0.9:5060".parse().unwrap()).unwrap();
    let answer = Message::parse_datagram(&reply.builder(481, "Gone", "").finish());
    recorder.endpoint.receive(recorder.now, src(Transport::Udp), answer);
    assert!(matches!(recorder.drain().1[..], [Event::Closed { code: 481, .. }]));
    assert_eq!(recorder.endpoint.dialogs(), 0);
}

#[test]
fn an_unanswered_invite_can_be_hung_up() {
    let mut recorder = Recorder::new();
    let (dialog, _) = recorder.ring(&invite(1));
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let (sent, events) = recorder.drain();
    assert_eq!(sent[0].code(), Some(480));
    assert!(matches!(events[..], [Event::Closed { code: 480, .. }]));
    assert_eq!(recorder.endpoint.dialogs(), 0);
}

#[test]
fn on_a_stream_our_bye_goes_back_over_the_connection_or_else_to_the_contact() {
    let mut recorder = Recorder::new();
    let text = invite(1).replace("UDP", "TCP").replace("10.0.0.1:5070>", "10.0.0.1:5090;transport=tcp>");
    let (_, events) = recorder.feed_from(src(Transport::Tcp), &text);
    let [Event::Invite { dialog, request, .. }] = events[..] else { panic!("{events:?}") };
    let tag = recorder.accept(request);
    recorder.feed_from(src(Transport::Tcp), &inside("ACK", 1, &tag));
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let Some(Action::Send { to, fallback, .. }) = recorder.endpoint.poll(recorder.now) else {
        panic!("nothing sent")
    };
    assert_eq!((to, fallback), (src(Transport::Tcp), Some("10.0.0.1:5090".parse().unwrap())));
}

#[test]
fn requests_outside_of_dialogs_are_refused_by_kind() {
    let mut recorder = Recorder::new();
    let mut cseq = 0;
    let mut code = |method: &str, extra: &str| {
        cseq += 1;
        recorder.codes(&request(method, &format!("{method}{cseq}"), cseq, "", extra))[0]
    };
    assert_eq!(code("BYE", ""), 481);
    assert_eq!(code("MESSAGE", ""), 481);
    assert_eq!(code("REGISTER", ""), 501);
    assert_eq!(code("SUBSCRIBE", ""), 501);
    assert_eq!(code("NEWMETHOD", ""), 501);
    assert_eq!(code("INVITE", "Require: siprec, 100rel, Timer\n"), 100);
    assert_eq!(code("INVITE", "Require: nothingSupportsThis\n"), 420);
    let (sent, _) = recorder.feed(&invite(8).replace("INVITE sip:", "INVITE unknown:"));
    assert_eq!(sent[0].code(), Some(416));
    let (sent, _) = recorder.feed(&invite(9).replace("siprec", "siprec, odd, odder"));
    assert_eq!(sent[0].list("Unsupported"), ["odd", "odder"]);
}

#[test]
fn a_body_that_is_encoded_is_refused_unless_it_may_be_ignored() {
    let mut recorder = Recorder::new();
    let mut cseq = 0;
    let mut answer = |headers: &str, body: &str| {
        cseq += 1;
        let text = request("OPTIONS", &format!("o{cseq}"), cseq, "", headers);
        let length = format!("Content-Length: {}\n\n{body}", body.len());
        recorder.feed(&text.replace("Content-Length: 0\n\n", &length)).0.remove(0)
    };
    let refused = answer("Content-Encoding: gzip\n", "x");
    assert_eq!((refused.code(), refused.header("Accept-Encoding").as_deref()), (Some(415), Some("identity")));
    assert_eq!(answer("e: identity, deflate\n", "x").code(), Some(415));
    assert_eq!(answer("e: Identity\n", "x").code(), Some(200));
    assert_eq!(answer("e: gzip\n", "").code(), Some(200));
    let optional = "e: gzip\nContent-Disposition: x; handling = optional\n";
    assert_eq!(answer(optional, "x").code(), Some(200));
    assert_eq!(recorder.endpoint.counters().encoding_refused, 2);
}

/// Our BYE in a call whose INVITE had this instead of its Contact, and where it goes.
fn bye_after(headers: &str) -> (Peer, Message) {
    let mut recorder = Recorder::new();
    let contact = "Contact: <sip:src@10.0.0.1:5070>;+sip.src\n";
    let (dialog, request) = recorder.ring(&invite(1).replace(contact, headers));
    let tag = recorder.accept(request);
    recorder.feed(&inside("ACK", 1, &tag));
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    let Some(Action::Send { to, bytes, .. }) = recorder.endpoint.poll(recorder.now) else {
        panic!("nothing sent")
    };
    (to, Message::parse_datagram(&bytes).unwrap())
}

#[test]
fn a_star_is_nowhere_to_send_to() {
    let (_, bye) = bye_after("Contact: *\n");
    assert_eq!(bye.uri().unwrap().as_str(), "sip:src@10.0.0.1");
}

#[test]
fn a_route_without_brackets_keeps_its_parameters() {
    let contact = "Contact: <sip:src@10.0.0.1:5070>\n";
    let (to, bye) = bye_after(&format!("{contact}Record-Route: sip:10.0.0.5:5080;lr\n"));
    assert_eq!(
        (to.remote, bye.list("Route")),
        ("10.0.0.5:5080".parse().unwrap(), vec!["<sip:10.0.0.5:5080;lr>".to_owned()])
    );
    assert_eq!(bye.uri().unwrap().as_str(), "sip:src@10.0.0.1:5070");
}

#[test]
fn options_say_what_we_can_until_we_drain() {
    let mut recorder = Recorder::new();
    let (sent, events) = recorder.feed(&request("OPTIONS", "o1", 1, "", "Max-Forwards: 0\n"));
    assert!(events.is_empty() && sent[0].code() == Some(200));
    assert!(
        sent[0].allow().contains(&Method::Invite) && sent[0].lists("Accept", "application/rs-metadata+xml")
    );
    let (_, tag) = recorder.call();
    let after = Some(Duration::from_millis(9_500));
    recorder.endpoint.set_shut(Shut { invites: after, options: after });
    let (sent, _) = recorder.feed(&request("OPTIONS", "o2", 2, "", ""));
    assert_eq!((sent[0].code(), sent[0].header("Retry-After").as_deref()), (Some(503), Some("10")));
    assert_eq!(recorder.codes(&request("INVITE", "i2", 2, "", "")), [503]);
    assert_eq!((recorder.endpoint.counters().turned_away, recorder.endpoint.dialogs()), (1, 1));
    assert_eq!(recorder.codes(&inside("BYE", 2, &tag)), [200]);
}

#[test]
fn malformed_requests_are_told_why_where_that_is_possible() {
    let mut recorder = Recorder::new();
    let (sent, _) = recorder.feed(&invite(1).replace("CSeq: 1 INVITE", "CSeq: 1 BYE"));
    let text = String::from_utf8(sent[0].bytes().to_vec()).unwrap();
    assert!(text.starts_with("SIP/2.0 400 CSeq names another method\r\n"), "{text}");
    assert_eq!(recorder.codes(&invite(1).replace("SIP/2.0\nVia", "SIP/7.0\nVia")), [505]);
    assert_eq!(recorder.codes(&invite(1).replace("Content-Length: 0", "Content-Length: 9")), [400]);
    let ack = inside("ACK", 1, "x").replace("CSeq: 1 ACK", "CSeq: 1 BYE");
    assert!(recorder.codes(&ack).is_empty());
    assert!(recorder.codes("nonsense").is_empty());
    let counters = recorder.endpoint.counters();
    assert_eq!((counters.malformed_answered, counters.malformed_dropped), (3, 2));
}

#[test]
fn clients_of_rfc_2543_and_sparse_invites_are_served() {
    let mut recorder = Recorder::new();
    let old = |text: String| {
        text.replace(";branch=z9hG4bKinv1", "").replace(";branch=z9hG4bKACK1", "").replace(";tag=remote", "")
    };
    let sparse = old(invite(1)).replace("Contact: <sip:src@10.0.0.1:5070>;+sip.src\n", "");
    let (dialog, request) = recorder.ring(&sparse);
    let (sent, events) = recorder.feed(&sparse);
    assert!(sent[0].code() == Some(100) && events.is_empty());
    let tag = recorder.accept(request);
    let (_, events) = recorder.feed(&old(inside("ACK", 1, &tag)));
    assert!(matches!(events[..], [Event::Ack { .. }]), "{events:?}");
    recorder.endpoint.bye(recorder.now, dialog).unwrap();
    assert_eq!(recorder.drain().0[0].uri().unwrap().as_str(), "sip:src@10.0.0.1");
}

/// A client and a recorder that accepts every call, and a network between them.
struct World {
    now: Mono,
    client: Endpoint,
    recorder: Endpoint,
    transport: Transport,
    network: Prng,
    loss_per_mille: u64,
    /// Losses by name: each entry eats one message.
    eat: Vec<&'static str>,
    log: Vec<String>,
}

impl World {
    fn new(transport: Transport, seed: u64) -> World {
        World {
            now: Mono(0),
            client: Endpoint::new(Config::client(), seeded(seed)),
            recorder: Endpoint::new(Config::recorder(), seeded(!seed)),
            transport,
            network: Prng::new(seed),
            loss_per_mille: 0,
            eat: Vec::new(),
            log: Vec::new(),
        }
    }

    fn invite(&mut self) -> DialogId {
        let invitation =
            Invitation::to("sip:rec@10.0.0.9").header("Require", "siprec").body("application/sdp", "v=0\r\n");
        let dialog = self.client.invite(self.now, srs(self.transport), invitation);
        self.run();
        dialog
    }

    fn lost(&mut self, name: &str) -> bool {
        if let Some(at) = self.eat.iter().position(|eaten| *eaten == name) {
            self.eat.remove(at);
            return true;
        }
        self.network.chance(self.loss_per_mille)
    }

    /// Moves everything that can move without time passing.
    fn run(&mut self) {
        loop {
            if let Some(action) = self.client.poll(self.now) {
                self.carry(action, true);
            } else if let Some(action) = self.recorder.poll(self.now) {
                self.carry(action, false);
            } else {
                return;
            }
        }
    }

    fn carry(&mut self, action: Action, from_client: bool) {
        let who = if from_client { "src" } else { "srs" };
        match action {
            Action::Send { bytes, .. } => {
                let name = name(&bytes);
                let lost = self.lost(&name);
                self.log.push(format!(
                    "{} {who} {name}{}",
                    self.now.0 / 1_000_000,
                    if lost { " lost" } else { "" }
                ));
                let (to, from) = if from_client {
                    (&mut self.recorder, src(self.transport))
                } else {
                    (&mut self.client, srs(self.transport))
                };
                if !lost {
                    to.receive(self.now, from, Message::parse_datagram(&bytes));
                }
            }
            Action::Event(event) => {
                let text = format!("{event:?}");
                self.log.push(format!(
                    "{} {who} {}",
                    self.now.0 / 1_000_000,
                    text.split(' ').next().unwrap()
                ));
                if let Event::Invite { request, .. }
                | Event::Reinvite { request, .. }
                | Event::InDialog { request, .. } = event
                {
                    let owner = if from_client { &mut self.client } else { &mut self.recorder };
                    let answer = Answer::ok().body("application/sdp", "v=0\r\n");
                    let _ = owner.respond(self.now, request, answer);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Mono> {
        [self.client.deadline(), self.recorder.deadline()].into_iter().flatten().min()
    }

    /// Lets time pass until `end` or until nothing is to come.
    fn run_until(&mut self, end: Mono) {
        while let Some(at) = self.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.run();
        }
        self.now = end;
    }

    fn leftovers(&self) -> [usize; 4] {
        [
            self.client.transactions(),
            self.client.dialogs(),
            self.recorder.transactions(),
            self.recorder.dialogs(),
        ]
    }
}

#[test]
fn a_whole_call_leaves_nothing_behind() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut world = World::new(transport, 1);
        let dialog = world.invite();
        world.client.reinvite(world.now, dialog, Answer::ok().body("application/sdp", "v=0\r\n")).unwrap();
        world.run();
        world.client.bye(world.now, dialog).unwrap();
        world.run();
        let expected = [
            "src INVITE",
            "srs 100 INVITE",
            "srs Invite",
            "src Progress",
            "srs 200 INVITE",
            "src ACK",
            "src Accepted",
            "srs Ack",
            "src INVITE",
            "srs 100 INVITE",
            "srs Reinvite",
            "src Progress",
            "srs 200 INVITE",
            "src ACK",
            "src Accepted",
            "srs Ack",
            "src BYE",
            "srs 200 BYE",
            "srs Bye",
            "src Closed",
        ];
        let mut got: Vec<_> = world.log.iter().map(|line| &line[2..]).collect();
        let mut want = expected.to_vec();
        // The two logs are written in turns; what each side did, and in which order, is what counts.
        got.sort_by_key(|line| line.starts_with("srs"));
        want.sort_by_key(|line| line.starts_with("srs"));
        assert_eq!(got, want);
        world.run_until(Mono::from_ms(200_000));
        assert_eq!(world.leftovers(), [0; 4]);
    }
}

#[test]
fn a_lost_ack_is_said_again_with_the_next_2xx() {
    let mut world = World::new(Transport::Udp, 1);
    world.eat = vec!["ACK", "ACK"];
    world.invite();
    world.run_until(Mono::from_ms(10_000));
    let acks: Vec<_> = world.log.iter().filter(|line| line.contains("ACK")).collect();
    assert_eq!(acks, ["0 src ACK lost", "500 src ACK lost", "1500 src ACK"]);
    assert!(world.log.contains(&"1500 srs Ack".to_owned()));
}

#[test]
fn a_lost_invite_and_a_lost_bye_are_sent_again() {
    let mut world = World::new(Transport::Udp, 1);
    world.eat = vec!["INVITE", "INVITE", "BYE", "200 BYE"];
    let dialog = world.invite();
    world.run_until(Mono::from_ms(5_000));
    world.client.bye(world.now, dialog).unwrap();
    world.run();
    world.run_until(Mono::from_ms(200_000));
    let sent: Vec<_> =
        world.log.iter().filter(|line| line.contains("src INVITE") || line.contains("src BYE")).collect();
    assert_eq!(
        sent,
        [
            "0 src INVITE lost",
            "500 src INVITE lost",
            "1500 src INVITE",
            "5000 src BYE lost",
            "5500 src BYE",
            "6500 src BYE"
        ]
    );
    assert_eq!(world.leftovers(), [0; 4]);
}

#[test]
fn a_silent_recorder_is_given_up_after_32_seconds() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut world = World::new(transport, 1);
        world.loss_per_mille = 1000;
        world.invite();
        world.run_until(Mono::from_ms(100_000));
        assert_eq!(world.log.last().unwrap(), "32000 src Refused");
        assert_eq!(world.leftovers(), [0; 4]);
    }
}

#[test]
fn an_invite_that_was_answered_provisionally_does_not_wait_for_ever() {
    let mut world = World::new(Transport::Udp, 1);
    world.eat = vec!["200 INVITE"; 20];
    world.invite();
    world.run_until(Mono::from_ms(400_000));
    assert!(world.log.contains(&"180000 src Refused".to_owned()), "{:#?}", world.log);
    assert_eq!(world.leftovers(), [0, 0, 0, 1]);
}

#[test]
fn our_own_bye_waits_for_the_ack() {
    let mut world = World::new(Transport::Udp, 1);
    world.eat = vec!["ACK"];
    world.invite();
    assert_eq!(world.recorder.bye(world.now, DialogId(0)), Ok(()));
    world.run();
    assert!(!world.log.iter().any(|line| line.contains("srs BYE")));
    world.run_until(Mono::from_ms(100_000));
    assert!(
        world.log.contains(&"500 srs BYE".to_owned()) && world.log.contains(&"500 srs Closed".to_owned()),
        "{:#?}",
        world.log
    );
    assert_eq!(world.leftovers(), [0; 4]);
}

#[test]
fn a_cancel_waits_for_a_provisional_answer_and_stops_the_invite() {
    let mut client = Endpoint::new(Config::client(), seeded(1));
    let mut recorder = Recorder::new();
    let dialog = client.invite(Mono(0), srs(Transport::Udp), Invitation::to("sip:rec@10.0.0.9"));
    let Some(Action::Send { bytes: invite, .. }) = client.poll(Mono(0)) else { panic!("no INVITE") };
    client.cancel(Mono(0), dialog).unwrap();
    assert!(client.poll(Mono(0)).is_none());
    recorder.endpoint.receive(Mono(0), src(Transport::Udp), Message::parse_datagram(&invite));
    let (sent, _) = recorder.drain();
    client.receive(Mono(0), srs(Transport::Udp), Ok(sent[0].clone()));
    assert!(matches!(client.poll(Mono(0)), Some(Action::Event(Event::Progress { .. }))));
    let Some(Action::Send { bytes: cancel, .. }) = client.poll(Mono(0)) else { panic!("no CANCEL") };
    recorder.endpoint.receive(Mono(0), src(Transport::Udp), Message::parse_datagram(&cancel));
    let (sent, events) = recorder.drain();
    assert!(matches!(events[..], [Event::Cancel { ended: true, .. }]));
    sent.into_iter().for_each(|message| client.receive(Mono(0), srs(Transport::Udp), Ok(message)));
    let Some(Action::Send { bytes: ack, .. }) = client.poll(Mono(0)) else { panic!("no ACK") };
    assert_eq!(name(&ack), "ACK");
    assert!(matches!(client.poll(Mono(0)), Some(Action::Event(Event::Refused { code: 487, .. }))));
    assert_eq!(client.dialogs(), 0);
}

#[test]
fn forty_calls_without_acks_are_forgotten_once_they_are_hung_up() {
    let mut recorder = Recorder::new();
    for call in 0..40 {
        let (_, events) = recorder
            .feed(&invite(1).replace("call-1", &format!("c{call}")).replace("inv1", &format!("b{call}")));
        let [Event::Invite { request, .. }] = events[..] else { panic!("{events:?}") };
        recorder.accept(request);
    }
    while let Some(at) = recorder.endpoint.deadline() {
        recorder.now = at;
        for event in recorder.drain().1 {
            if let Event::Timeout { dialog } = event {
                recorder.endpoint.bye(recorder.now, dialog).unwrap();
            }
        }
    }
    assert_eq!((recorder.endpoint.transactions(), recorder.endpoint.dialogs()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn calls_over_a_lossy_network_end_on_both_sides(seed: u64, loss in 0u64..700) {
        let mut world = World::new(Transport::Udp, seed);
        world.loss_per_mille = loss;
        let dialog = world.invite();
        world.run_until(Mono::from_ms(40_000));
        let _ = world.client.bye(world.now, dialog);
        world.run();
        world.run_until(Mono::from_ms(200_000));
        // A recorder that never heard the BYE learns of the end from its owner.
        let _ = world.recorder.bye(world.now, DialogId(0));
        world.run();
        world.run_until(Mono::from_ms(400_000));
        prop_assert_eq!(world.leftovers(), [0; 4], "{:#?}", world.log);
    }

    #[test]
    fn whoever_was_accepted_can_be_hung_up_on(
        at: prop::sample::Index, byte: u8, whole: bool, contact in r#"[?<>" a:@;]{0,6}|[ -~]{0,20}"#, route in r#"[?<>" a:@;]{0,6}|[ -~]{0,12}"#
    ) {
        let here = if whole { "Contact: <sip:src@10.0.0.1:5070>" } else { "Contact: <sip:src" };
        let there = if whole { format!("Contact: {contact}") } else { format!("Contact: <sip:{contact}") };
        let routed = format!("{there}\nRecord-Route: <{route}>");
        let text = invite(1).replace(here, if route.len() % 2 == 0 { &there } else { &routed });
        let mut bytes = text.replace('\n', "\r\n").into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut recorder = Recorder::new();
        let parsed = Message::parse_datagram(&bytes);
        let sound = parsed.is_ok();
        recorder.endpoint.receive(recorder.now, src(Transport::Udp), parsed);
        for event in recorder.drain().1 {
            let Event::Invite { dialog, request, .. } = event else { continue };
            recorder.endpoint.respond(recorder.now, request, Answer::ok()).unwrap();
            recorder.endpoint.bye(recorder.now, dialog).unwrap();
            let mut byes = 0;
            while let Some(at) = recorder.endpoint.deadline() {
                recorder.now = at;
                while let Some(action) = recorder.endpoint.poll(at) {
                    let Action::Send { bytes, .. } = action else { continue };
                    prop_assert!(!sound || Message::parse_datagram(&bytes).is_ok(), "{:?}", String::from_utf8_lossy(&bytes));
                    byes += usize::from(bytes.starts_with(b"BYE "));
                }
            }
            prop_assert!(byes > 0);
            prop_assert_eq!((recorder.endpoint.dialogs(), recorder.endpoint.transactions()), (0, 0));
        }
    }

    #[test]
    fn damaged_messages_in_any_order_never_panic_and_tables_stay_bounded(
        steps in prop::collection::vec((0usize..9, any::<u16>(), any::<u8>(), 0u64..3000), 1..60)
    ) {
        let config = Config { transactions_max: 8, dialogs_max: 4, ..Config::recorder() };
        let mut recorder = Recorder { now: Mono(0), endpoint: Endpoint::new(config, seeded(3)) };
        let mut waiting: Vec<RequestId> = Vec::new();
        let mut tag = "none".to_owned();
        for (kind, at, byte, ms) in steps {
            let cseq = u32::from(byte % 4);
            let mut bytes = match kind {
                0 | 1 => invite(cseq),
                2 => inside("ACK", cseq, &tag),
                3 => inside("INVITE", cseq, &tag),
                4 => inside("BYE", cseq, &tag),
                5 => request("CANCEL", &format!("inv{cseq}"), cseq, "", ""),
                6 => inside("INFO", cseq, &tag),
                7 => request("OPTIONS", "o", cseq, "", ""),
                _ => "SIP/2.0 200 OK\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\nFrom: a\nTo: b\nCall-ID: c\nCSeq: 1 BYE\n\n".to_owned(),
            }.into_bytes();
            if byte > 200 {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            recorder.endpoint.receive(recorder.now, src(Transport::Udp), Message::parse_datagram(&bytes));
            for event in recorder.drain().1 {
                if let Event::Invite { request, .. } | Event::Reinvite { request, .. } | Event::InDialog { request, .. } = event {
                    waiting.push(request);
                }
            }
            if byte % 3 == 0 && let Some(request) = waiting.pop() {
                let code = if byte % 2 == 0 { 200 } else { 486 };
                let _ = recorder.endpoint.respond(recorder.now, request, Answer::new(code, "So"));
                tag = recorder.drain().0.first().map_or(tag, |m| m.to().tag().to_owned());
            }
            recorder.now = recorder.now + Duration::from_millis(ms);
            recorder.drain();
            prop_assert!(recorder.endpoint.dialogs() <= 4);
            prop_assert!(recorder.endpoint.deadline().is_none_or(|at| at > recorder.now));
        }
    }
}
