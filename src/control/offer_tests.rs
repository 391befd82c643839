//! A call's session description through offers and answers of both sides.

use super::*;
use crate::sys::OsEntropy;

fn lines(lines: &[(&str, u16, &str)]) -> Vec<u8> {
    let line = |(label, port, direction): &(&str, u16, &str)| {
        format!("m=audio {port} RTP/AVP 0 8\r\na=label:{label}\r\na={direction}\r\n")
    };
    format!("v=0\r\nc=IN IP4 10.0.0.1\r\n{}", lines.iter().map(line).collect::<String>()).into_bytes()
}

fn terms(offer: &[u8]) -> Terms {
    let offer = sdp::parse(offer).unwrap();
    let mut terms = Terms::new(offer, Vec::new(), |_| "192.0.2.1".parse().ok(), &mut OsEntropy).unwrap();
    bind(&mut terms);
    terms
}

/// The shard finds ports for all.
fn bind(terms: &mut Terms) {
    let ports: Vec<u16> = (0..terms.tracks.len() as u16).map(|index| 10_000 + 2 * index).collect();
    terms.bound(&ports);
}

/// Whether an offer adds tracks.
fn adds(terms: &mut Terms, offer: &[u8]) -> bool {
    terms.reoffer(offer).unwrap();
    !terms.is_bound()
}

/// Label, port and direction of each line of the answer.
fn answered(terms: &mut Terms) -> Vec<(String, u16, &'static str)> {
    let answer = sdp::parse(terms.answer().as_bytes()).unwrap();
    let line =
        |m: &sdp::Media| (m.label().unwrap_or("").to_owned(), m.port, m.direction().map_or("", |d| d.name()));
    answer.media.iter().map(line).collect()
}

#[test]
fn hold_and_resume_keep_the_ports() {
    let mut terms = terms(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")]));
    terms.reoffer(&lines(&[("1", 4000, "inactive"), ("2", 0, "sendonly")])).unwrap();
    assert_eq!(answered(&mut terms), [("1".to_owned(), 10_000, "inactive"), ("2".to_owned(), 0, "")]);
    assert!(terms.plans().iter().all(|plan| plan.held));
    terms.reoffer(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")])).unwrap();
    assert_eq!(answered(&mut terms)[1], ("2".to_owned(), 10_002, "recvonly"));
    assert!(terms.plans().iter().all(|plan| !plan.held));
}

#[test]
fn lines_that_change_places_are_followed_by_their_labels() {
    let mut terms = terms(&lines(&[("a", 4000, "sendonly"), ("b", 4002, "sendonly")]));
    terms.reoffer(&lines(&[("b", 4002, "sendonly"), ("a", 4000, "inactive")])).unwrap();
    assert_eq!(
        answered(&mut terms),
        [("b".to_owned(), 10_002, "recvonly"), ("a".to_owned(), 10_000, "inactive")]
    );
    assert_eq!(terms.plans().iter().map(|p| p.held).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_new_label_in_the_old_place_is_the_same_stream_and_an_added_line_is_the_next_track() {
    let mut terms = terms(&lines(&[("1", 4000, "sendonly")]));
    assert!(adds(&mut terms, &lines(&[("7", 4000, "sendonly"), ("8", 4002, "sendonly")])));
    bind(&mut terms);
    assert_eq!(
        answered(&mut terms),
        [("7".to_owned(), 10_000, "recvonly"), ("8".to_owned(), 10_002, "recvonly")]
    );
    let former = [Former { line: 0, label: Some("1".to_owned()), until: Wall(0).to_rfc3339() }];
    assert_eq!(terms.lines(), [(0, Some("7"), &former[..]), (1, Some("8"), &[])]);
}

#[test]
fn an_added_line_without_a_port_is_declined_and_forgotten() {
    let mut terms = terms(&lines(&[("1", 4000, "sendonly")]));
    assert!(adds(&mut terms, &lines(&[("1", 4000, "inactive"), ("8", 4002, "sendonly")])));
    terms.unbound();
    assert_eq!(answered(&mut terms), [("1".to_owned(), 10_000, "inactive"), ("8".to_owned(), 0, "")]);
    assert_eq!((terms.plans().len(), terms.notes().len()), (1, 1));
    assert!(adds(&mut terms, &lines(&[("1", 4000, "inactive"), ("8", 4002, "sendonly")])), "tried again");
}

#[test]
fn an_ended_stream_comes_back_to_its_track_by_its_line_or_by_its_label() {
    let mut terms = terms(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")]));
    for back in [
        lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")]),
        lines(&[("1", 4000, "sendonly"), ("", 0, "sendonly"), ("2", 4002, "sendonly")]),
    ] {
        terms.reoffer(&lines(&[("1", 4000, "sendonly"), ("2", 0, "sendonly")])).unwrap();
        assert_eq!(terms.plans().iter().map(|p| p.held).collect::<Vec<_>>(), [false, true]);
        assert!(!adds(&mut terms, &back), "no track is new");
        assert_eq!(answered(&mut terms).pop(), Some(("2".to_owned(), 10_002, "recvonly")));
    }
}

#[test]
fn an_offer_that_was_taken_back_has_never_been_but_for_the_channel_it_made() {
    let mut terms = terms(&lines(&[("1", 4000, "sendonly")]));
    let before = terms.answer();
    terms.reoffer(&lines(&[("1", 5000, "inactive"), ("8", 4002, "sendonly")])).unwrap();
    terms.revert();
    bind(&mut terms);
    assert_eq!(terms.answer(), before);
    assert_eq!(terms.plans().iter().map(|p| p.held).collect::<Vec<_>>(), [false, true]);
    terms.reoffer(&lines(&[("1", 4000, "sendonly"), ("8", 4002, "sendonly")])).unwrap();
    assert_eq!(answered(&mut terms)[1].1, 10_002, "the channel is used after all");
}

#[test]
fn a_stream_that_comes_when_all_channels_are_used_takes_that_of_one_that_has_ended() {
    let mut terms = terms(&lines(&[("0", 4000, "sendonly")]));
    let mut offered = vec![("0", 4000, "sendonly")];
    for label in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        offered.iter_mut().for_each(|line| line.1 = 0);
        offered.push((label, 4100, "sendonly"));
        terms.reoffer(&lines(&offered)).unwrap();
        bind(&mut terms);
        let last = answered(&mut terms).pop().unwrap();
        assert!(last.1 != 0 && last.2 == "recvonly", "{label}: {last:?}");
        assert_eq!(terms.plans().iter().filter(|plan| !plan.held).count(), 1);
    }
    assert_eq!(terms.tracks.len(), TRACKS_MAX);
    let (home, label, former) = terms.lines()[0];
    assert_eq!((home, label, former.len()), (9, Some("9"), 2), "{former:?}");
    assert_eq!((former[0].label.as_deref(), former[1].label.as_deref()), (Some("0"), Some("8")));
}

#[test]
fn tracks_are_bounded_over_the_whole_call() {
    let labels: Vec<String> = (0..TRACKS_MAX + 2).map(|n| n.to_string()).collect();
    let offer = |range: std::ops::Range<usize>| {
        lines(&labels[range].iter().map(|label| (label.as_str(), 4000, "sendonly")).collect::<Vec<_>>())
    };
    let mut terms = terms(&offer(0..2));
    terms.reoffer(&offer(0..TRACKS_MAX + 2)).unwrap();
    bind(&mut terms);
    let ports: Vec<u16> = answered(&mut terms).iter().map(|(_, port, _)| *port).collect();
    assert_eq!(ports.iter().filter(|port| **port == 0).count(), 2);
    assert_eq!((ports[TRACKS_MAX], terms.tracks.len()), (0, TRACKS_MAX));
}

#[test]
fn an_offer_of_ours_says_recvonly_even_to_who_holds_and_its_answer_counts() {
    let mut terms = terms(&lines(&[("1", 4000, "inactive"), ("2", 4002, "inactive")]));
    let offer = sdp::parse(terms.offer(Direction::RecvOnly).as_bytes()).unwrap();
    let directions: Vec<_> = offer.media.iter().map(|m| (m.port, m.direction())).collect();
    assert_eq!(directions, [(10_000, Some(Direction::RecvOnly)), (10_002, Some(Direction::RecvOnly))]);
    assert_eq!(terms.answered(&lines(&[("1", 5000, "sendonly"), ("2", 0, "sendonly")])), Ok(false));
    let plans = terms.plans();
    assert_eq!((plans[0].held, plans[1].held), (false, true));
    assert_eq!(plans[0].rtp_from, Some("10.0.0.1:5000".parse().unwrap()));
    assert!(matches!(terms.answered(b"no"), Err(Refusal::BadOffer(_))));
    assert_eq!(terms.plans(), plans);
}

#[test]
fn a_codec_can_be_forced_but_not_out_of_a_call() {
    let offer =
        |formats: &str| sdp::parse(format!("v=0\nm=audio 4000 RTP/AVP {formats}").as_bytes()).unwrap();
    let formats = |offered: &str, only: &[Payload]| {
        let mut terms =
            Terms::new(offer(offered), only.to_vec(), |_| "192.0.2.1".parse().ok(), &mut OsEntropy).unwrap();
        bind(&mut terms);
        sdp::parse(terms.answer().as_bytes()).unwrap().media[0].formats.join(" ")
    };
    assert_eq!(formats("0 8 13", &[]), "0 8 13");
    assert_eq!(formats("0 8 13", &[Payload::Pcma]), "8 13");
    assert_eq!(formats("0 8 13", &[Payload::Pcma, Payload::Pcmu]), "8 0 13");
    assert_eq!(formats("0 13", &[Payload::Pcma]), "0 13");
}

#[test]
fn a_line_that_is_missing_is_held_and_found_again() {
    let mut terms = terms(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")]));
    terms.reoffer(&lines(&[("1", 4000, "sendonly")])).unwrap();
    assert_eq!(terms.plans().iter().map(|p| p.held).collect::<Vec<_>>(), [false, true]);
    terms.reoffer(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")])).unwrap();
    assert_eq!(answered(&mut terms)[1].1, 10_002);
}

#[test]
fn what_can_no_longer_be_stored_leaves_the_terms_as_they_were() {
    let mut terms = terms(&lines(&[("1", 4000, "sendonly")]));
    let before = terms.answer();
    assert_eq!(
        terms.reoffer(b"v=0\nm=audio 4000 RTP/AVP 9\n"),
        Err(Refusal::NothingToStore(Some(Why::NoCodec)))
    );
    assert!(matches!(terms.reoffer(b"what"), Err(Refusal::BadOffer(_))));
    assert_eq!(terms.answer(), before);
    assert_eq!(terms.format(), SampleFormat::Mulaw);
}

#[test]
fn new_keys_are_the_shards_before_they_are_answered_and_a_refresh_is_answered_at_once() {
    let offer = |key: &str| {
        let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}");
        format!("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/SAVP 0\r\n{crypto}\r\n").into_bytes()
    };
    let (one, two) = ("d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj", "e0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj");
    let mut terms = terms(&offer(one));
    let answer = terms.answer();
    assert!(!terms.reoffer(&offer(one)).unwrap());
    assert_eq!(terms.answer(), answer, "our key is the same, too");
    assert!(terms.reoffer(&offer(two)).unwrap());
    assert_ne!(terms.answer(), answer);
    assert!(!terms.reoffer(&offer(two)).unwrap());
}

#[test]
fn an_offer_of_ours_repeats_our_key_which_stands_whatever_the_client_answers() {
    let said = |key: &str| {
        let crypto = format!("a=crypto:1 AEAD_AES_128_GCM inline:{key}");
        format!("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/SAVP 0\r\n{crypto}\r\n").into_bytes()
    };
    let (one, two) = ("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHA==", "AgIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHA==");
    let crypto = |text: &str| text.lines().find(|line| line.starts_with("a=crypto")).map(str::to_owned);
    let mut terms = terms(&said(one));
    let ours = crypto(&terms.answer()).unwrap();
    let before = terms.plans();
    assert_eq!(crypto(&terms.offer(Direction::RecvOnly)), Some(ours.clone()));
    assert!(!terms.answered(&said(two)).unwrap());
    let (before, after) = (before[0].srtp.as_ref().unwrap(), terms.plans()[0].srtp.clone().unwrap());
    assert!(before.peer != after.peer && before.ours == after.ours);
    assert_eq!(crypto(&terms.answer()), Some(ours));
}
