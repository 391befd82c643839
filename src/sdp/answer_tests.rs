//! Offers as clients send them, and the answers they get.

use proptest::prelude::*;

use super::super::{offer as client_offer, parse};
use super::*;

fn read(text: &str) -> Description {
    parse(text.as_bytes()).unwrap()
}

fn answer(offer: &Description) -> Description {
    let agreed = Agreement::of(offer);
    let answer = Answerer::new(77).answer(offer, &agreed, "192.0.2.9".parse().unwrap(), |line| {
        Some(10_000 + 2 * u16::try_from(line).unwrap())
    });
    read(&answer)
}

fn first(offer: &str) -> TrackTerms {
    let agreed = Agreement::of(&read(offer));
    agreed.tracks().next().expect("a track").1.clone()
}

#[test]
fn lines_keep_their_order_and_labels_and_what_cant_be_recorded_gets_port_0() {
    let offer = read(
        "v=0\no=x 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n\
         m=video 4000 RTP/AVP 99 100\na=rtpmap:99 H264/90000\na=label:v\n\
         m=audio 4002 RTP/AVP 8 0 18 101\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-11,16\na=label:a_leg\na=sendonly\na=direction:both\n\
         m=audio 0 RTP/AVP 0\na=label:10\n\
         m=audio 4004 RTP/SAVP 0\na=label:3\n\
         m=audio 4006 RTP/AVP 9\na=label:4\n\
         m=audio 4008 RTP/AVP 0\na=label:268749245\na=rtcp-mux\n\
         m=message 4010 TCP/MSRP *\n",
    );
    let answer = answer(&offer);
    let ports: Vec<u16> = answer.media.iter().map(|m| m.port).collect();
    assert_eq!(ports, [0, 10_002, 0, 0, 0, 10_010, 0]);
    let labels: Vec<_> = answer.media.iter().map(|m| m.label()).collect();
    assert_eq!(labels, [Some("v"), Some("a_leg"), Some("10"), Some("3"), Some("4"), Some("268749245"), None]);
    assert_eq!(answer.media[0].formats, ["99", "100"]);
    assert_eq!(answer.media[6].formats, ["*"]);
    assert_eq!(answer.media[1].formats, ["8", "0", "101"]);
    assert_eq!(answer.media[1].by_type("fmtp")[101], Some("0-11,16"));
    assert!(!answer.media[1].has("direction") && !answer.media[1].has("rtcp-mux"));
    assert!(answer.media[5].has("rtcp-mux"));
    assert!(answer.media.iter().all(|m| m.connection.is_none()));
    assert_eq!(answer.connection.unwrap().0, "192.0.2.9");
}

#[test]
fn the_direction_follows_each_offer_anew() {
    let line = |attributes: &str| format!("v=0\nc=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 0\n{attributes}");
    for (said, ours, held) in [
        ("a=sendonly", Direction::RecvOnly, false),
        ("a=sendrecv", Direction::RecvOnly, false),
        ("", Direction::RecvOnly, false),
        ("a=inactive", Direction::Inactive, true),
        ("a=recvonly", Direction::Inactive, true),
        ("c=IN IP4 0.0.0.0", Direction::RecvOnly, true),
        ("c=IN IP4 0.0.0.0\na=sendonly", Direction::RecvOnly, false),
    ] {
        let terms = first(&line(said));
        assert_eq!((terms.direction, terms.plan.held), (ours, held), "{said}");
    }
}

#[test]
fn payload_types_mean_what_their_mapping_or_else_rfc_3551_says() {
    let terms = first(
        "v=0\nm=audio 4000 RTP/AVP 0 8 13 19 96 97 98 101 102 0 111\na=rtpmap:8 pcma/8000\na=rtpmap:97 pcmu/8000/1\n\
         a=rtpmap:98 PCMU/16000\na=rtpmap:101 Telephone-Event/8000\na=rtpmap:102 telephone-event/16000\na=rtpmap:111 OPUS/48000/2",
    );
    use Payload::*;
    let known = vec![
        (0, Pcmu),
        (8, Pcma),
        (13, ComfortNoise),
        (19, ComfortNoise),
        (97, Pcmu),
        (101, TelephoneEvent),
        (102, TelephoneEvent),
    ];
    assert_eq!(terms.plan.payloads, known);
    let answered: Vec<u8> = terms.answered.iter().map(|(pt, _)| *pt).collect();
    assert_eq!(answered, [0, 8, 13, 19, 97, 101]);
    assert_eq!(first("v=0\nm=audio 4 RTP/AVP 0\na=rtpmap:0 PCMU/16000").plan.payloads, [(0, Pcmu)]);
    assert_eq!(first("v=0\nm=AUDIO 4 rtp/avp 101 8 0").preferred(), Pcma);
}

#[test]
fn rtcp_goes_where_the_offer_says() {
    let to = |attributes: &str| {
        first(&format!("v=0\nc=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 0\n{attributes}")).plan.rtcp_to
    };
    assert_eq!(to(""), Some("10.0.0.1:4001".parse().unwrap()));
    assert_eq!(to("a=rtcp:5005"), Some("10.0.0.1:5005".parse().unwrap()));
    assert_eq!(to("a=rtcp:5005 IN IP4 10.0.0.2"), Some("10.0.0.2:5005".parse().unwrap()));
    assert_eq!(to("a=rtcp-mux\na=rtcp:4000"), Some("10.0.0.1:4000".parse().unwrap()));
    assert_eq!(to("c=IN IP4 0.0.0.0"), None);
    assert_eq!(to("c=IN IP4 media.example"), None);
}

#[test]
fn nothing_to_store_is_hopeless_but_ended_streams_are_not() {
    assert!(Agreement::of(&read("v=0\nm=audio 4000 RTP/AVP 9 18")).is_hopeless());
    assert!(Agreement::of(&read("v=0\nm=audio 4000 RTP/SAVP 0")).is_hopeless());
    assert!(!Agreement::of(&read("v=0\nm=audio 0 RTP/AVP 0")).is_hopeless());
    assert!(!Agreement::of(&read("v=0\nm=audio 0 RTP/AVP 9\nm=audio 2 RTP/AVP 0")).is_hopeless());
}

#[test]
fn the_origin_version_rises_only_when_the_answer_changes() {
    let offers = ["sendonly", "sendonly", "inactive"]
        .map(|direction| read(&format!("v=0\no=- 1 9 IN IP4 x\nm=audio 4000 RTP/AVP 0\na={direction}")));
    let mut answerer = Answerer::new(u64::MAX);
    let origins = offers.map(|offer| {
        let agreed = Agreement::of(&offer);
        read(&answerer.answer(&offer, &agreed, "::1".parse().unwrap(), |_| Some(10_000))).origin
    });
    assert_eq!(origins.clone().map(|o| o.version), ["1", "1", "2"]);
    assert!(origins.iter().all(|o| o.id == origins[0].id && o.address == "::1"));
}

#[test]
fn tracks_beyond_the_limit_are_declined() {
    let offer = read(&format!("v=0\n{}", "m=audio 4000 RTP/AVP 0\n".repeat(TRACKS_MAX + 2)));
    let agreed = Agreement::of(&offer);
    assert_eq!(agreed.tracks().count(), TRACKS_MAX);
    assert_eq!(answer(&offer).media.iter().filter(|m| m.port == 0).count(), 2);
}

#[test]
fn packets_longer_than_a_buffer_are_asked_not_to_be_sent() {
    let asked = |ptime: u32| {
        let offer = read(&format!("v=0\nm=audio 4000 RTP/AVP 0\na=ptime:{ptime}"));
        answer(&offer).media[0].values("maxptime").next().map(str::to_owned)
    };
    assert_eq!((asked(60), asked(100)), (None, Some("60".to_owned())));
    assert!(12 + PTIME_MS_MAX as usize * 8 <= crate::limits::DATAGRAM_BYTES_MAX);
}

#[test]
fn our_own_offer_is_one_we_accept() {
    let tracks = [("1", 4000), ("2", 4002)].map(|(label, port)| super::super::OfferedTrack {
        port,
        label: label.to_owned(),
        payloads: vec![(0, Payload::Pcmu), (101, Payload::TelephoneEvent)],
        direction: Direction::SendOnly,
        keys: None,
    });
    let offer = client_offer("127.0.0.1".parse().unwrap(), 5, 1, &tracks);
    assert_eq!(read(&offer.to_string()), offer);
    let labels: Vec<_> = Agreement::of(&offer).tracks().map(|(_, t)| t.label.clone().unwrap()).collect();
    assert_eq!(labels, ["1", "2"]);
}

proptest! {
    #[test]
    fn every_offer_gets_as_many_lines_as_it_has(
        lines in proptest::collection::vec("(m=(audio|video|x) (0|4000|[0-9]{1,4}) RTP/S?AVPF? [0-9 ]{1,12}|a=(rtpmap:[0-9]{1,3} (PCMU|PCMA|CN|opus)/8000|label:[a-z/+=]{0,5}|inactive|rtcp:[0-9]{1,5}))", 0..40)
    ) {
        let offer = parse(format!("v=0\n{}", lines.join("\n")).as_bytes()).unwrap();
        let answer = answer(&offer);
        prop_assert_eq!(answer.media.len(), offer.media.len());
        for (ours, theirs) in answer.media.iter().zip(&offer.media) {
            prop_assert_eq!(&ours.kind, &theirs.kind);
            prop_assert_eq!(ours.label(), theirs.label());
            prop_assert!(theirs.port != 0 || ours.port == 0);
            prop_assert!(ours.formats.iter().all(|f| theirs.formats.contains(f)));
            prop_assert!(ours.port == 0 || matches!(ours.direction(), Some(Direction::RecvOnly | Direction::Inactive)));
        }
    }
}
