//! Who is let in, how much of it, and passwords both ways.

use super::*;
use crate::base::network;
use crate::sip::{Credentials, Gate, Rule};

fn gate(allow: &[&str], peer: &str, rule: Rule) -> Gate {
    let allow: Vec<_> = allow.iter().map(|text| network(text).unwrap()).collect();
    let rule = Rule { networks: vec![network(peer).unwrap()], ..rule };
    Gate::new(&allow, vec![rule], "tapehead", &mut Seeded::new(5))
}

#[test]
fn who_is_not_allowed_hears_nothing_whatever_he_sends() {
    let mut recorder = Recorder::new();
    recorder.endpoint.set_gate(gate(&["192.0.2.0/24"], "192.0.2.1", Rule::default()));
    for text in [&invite(1), "nonsense", &request("OPTIONS", "o", 1, "", "").replace("CSeq: 1", "CSeq: x")] {
        let (sent, events) = recorder.feed(text);
        assert!(sent.is_empty() && events.is_empty());
    }
    assert_eq!((recorder.endpoint.counters().not_allowed, recorder.endpoint.transactions()), (3, 0));
}

#[test]
fn a_peer_that_asks_too_often_is_told_without_state_and_its_calls_go_on() {
    let mut recorder = Recorder::new();
    let (_, tag) = recorder.call();
    let rule = Rule { rate_per_second: Some(2), ..Rule::default() };
    recorder.endpoint.set_gate(gate(&[], "10.0.0.1", rule));
    let options = |number: u32| {
        request("OPTIONS", &format!("o{number}"), 1, "", "").replace("call-1", &number.to_string())
    };
    assert_eq!((recorder.codes(&options(1)), recorder.codes(&options(2))), (vec![200], vec![200]));
    let alive = recorder.endpoint.transactions();
    let (sent, _) = recorder.feed(&options(3));
    assert_eq!((sent[0].code(), sent[0].header("Retry-After").as_deref()), (Some(503), Some("1")));
    assert_eq!((recorder.codes(&options(4)), recorder.codes(&options(5))), (vec![503], vec![]));
    assert_eq!(recorder.codes(&options(1)), [200], "a retransmission is no new request");
    assert_eq!(recorder.endpoint.transactions(), alive);
    assert_eq!(recorder.codes(&inside("BYE", 2, &tag)), [200]);
    let counters = recorder.endpoint.counters();
    assert_eq!((counters.rate_refused, counters.rate_dropped), (2, 1));
}

#[test]
fn one_peer_alone_cannot_take_every_transaction_or_dialog() {
    let config = Config { peer_transactions_max: 3, peer_dialogs_max: 2, ..Config::recorder() };
    let mut recorder = Recorder { now: Mono(0), endpoint: Endpoint::new(config, seeded(1)) };
    let call = |number: u32| {
        invite(1).replace("call-1", &format!("c{number}")).replace("inv1", &format!("i{number}"))
    };
    assert_eq!((recorder.codes(&call(1)), recorder.codes(&call(2))), (vec![100], vec![100]));
    assert_eq!(recorder.codes(&call(3)), [503], "a third dialog");
    assert_eq!(recorder.codes(&call(4)), [503], "a fourth transaction");
    let other = Peer { remote: "10.0.0.2:5060".parse().unwrap(), ..src(Transport::Udp) };
    assert_eq!(recorder.feed_from(other, &call(5)).0[0].code(), Some(100));
    let counters = recorder.endpoint.counters();
    assert_eq!((counters.peer_dialogs_full, counters.peer_transactions_full), (1, 1));
    // What has ended counts no more.
    let cancel = request("CANCEL", "i1", 1, "", "").replace("call-1", "c1");
    recorder.now = Mono::from_ms(40_000);
    recorder.drain();
    recorder.feed(&cancel);
    recorder.now = Mono::from_ms(80_000);
    recorder.drain();
    assert_eq!(recorder.codes(&call(6)), [100]);
}

#[test]
fn passwords_are_asked_for_and_answered_in_every_request_of_both_sides() {
    let rule = || {
        let credentials = Some(Credentials::new("sbc", "secret"));
        Rule { challenge: credentials.clone(), answer: credentials, ..Rule::default() }
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut world = World::new(transport, 1);
        world.recorder.set_gate(gate(&[], "10.0.0.1", rule()));
        world.client.set_gate(gate(&[], "10.0.0.9", rule()));
        let dialog = world.invite();
        world.client.reinvite(world.now, dialog, Answer::ok().body("application/sdp", "v=0\r\n")).unwrap();
        world.run();
        let recorders = world.recorder.dialogs_table(world.now).next().unwrap().id;
        world
            .recorder
            .reinvite(world.now, recorders, Answer::ok().body("application/sdp", "v=0\r\n"))
            .unwrap();
        world.run();
        world.recorder.bye(world.now, recorders).unwrap();
        world.run();
        let count = |line: &str| world.log.iter().filter(|got| got.ends_with(line)).count();
        assert_eq!((count("srs 401 INVITE"), count("src 401 INVITE"), count("src 401 BYE")), (2, 1, 1));
        assert_eq!(
            (count("src Accepted"), count("srs Accepted"), count("srs Closed")),
            (2, 1, 1),
            "{:#?}",
            world.log
        );
        let counters = world.recorder.counters();
        assert_eq!((counters.challenged, counters.credentials_wrong, counters.authenticated), (2, 0, 2));
        world.run_until(Mono::from_ms(200_000));
        assert_eq!(world.leftovers(), [0; 4]);
    }
}

#[test]
fn a_wrong_password_gets_401_and_no_dialog() {
    let rule = |secret| {
        let credentials = Some(Credentials::new("sbc", secret));
        Rule { challenge: credentials.clone(), answer: credentials, ..Rule::default() }
    };
    let mut world = World::new(Transport::Udp, 1);
    world.recorder.set_gate(gate(&[], "10.0.0.1", rule("secret")));
    world.client.set_gate(gate(&[], "10.0.0.9", rule("guess")));
    world.invite();
    world.run_until(Mono::from_ms(100_000));
    assert!(world.log.contains(&"0 src Refused".to_owned()), "{:#?}", world.log);
    assert_eq!((world.recorder.counters().credentials_wrong, world.leftovers()), (1, [0; 4]));
}
