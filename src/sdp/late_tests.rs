//! Offers of ours and the answers that clients give them.

use super::super::{Agreement, Answerer, Direction, Line, parse};
use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Description {
    parse(text.as_bytes()).unwrap()
}

fn two() -> Description {
    assumed(&[Some("a".to_owned()), None])
}

fn offer(last: &Description) -> Description {
    let agreed = Agreement::of(last);
    let port = |line: usize| Some(10_000 + 2 * line as u16);
    read(&Answerer::new(1).offer(last, &agreed, "192.0.2.9".parse().unwrap(), port, Direction::RecvOnly))
}

#[test]
fn an_offer_of_ours_asks_for_every_codec_that_can_be_stored() {
    let offer = offer(&two());
    assert_eq!(offer.media.len(), 2);
    for media in &offer.media {
        assert_eq!((media.kind.as_str(), media.protocol.as_str()), ("audio", "RTP/AVP"));
        assert_eq!(media.formats, ["0", "8", "13", "101"]);
        assert_eq!(media.by_type("rtpmap")[101], Some("telephone-event/8000"));
        assert_eq!(media.direction(), Some(Direction::RecvOnly));
    }
    assert_eq!((offer.media[0].label(), offer.media[1].label()), (Some("a"), None));
}

#[test]
fn an_answer_tells_where_streams_come_from_and_which_there_are() {
    let answer = read(
        "v=0\nc=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\na=sendonly\na=label:x\n\
         m=audio 0 RTP/AVP 0\n",
    );
    let (said, odd) = answered(&two(), &answer);
    let agreed = Agreement::of(&said);
    let (line, terms) = agreed.tracks().next().unwrap();
    assert_eq!((odd, line, agreed.tracks().count()), (false, 0, 1));
    assert_eq!((terms.label.as_deref(), terms.preferred()), (Some("x"), Payload::Pcma));
    assert_eq!(terms.plan.rtp_from, Some("10.0.0.1:4000".parse().unwrap()));
    let known: Vec<u8> = terms.plan.payloads.iter().map(|(pt, _)| *pt).collect();
    assert_eq!(known, [8, 101, 0, 13], "what was offered may come all the same");
    assert_eq!(agreed.lines[1], Line::Ended);
}

#[test]
fn an_answer_without_mappings_means_what_the_offer_meant() {
    let (said, odd) =
        answered(&two(), &read("v=0\nm=audio 4000 RTP/AVP 0 101\na=inactive\nm=audio 4002 RTP/AVP 0"));
    let agreed = Agreement::of(&said);
    let tracks: Vec<_> = agreed.tracks().map(|(_, terms)| terms).collect();
    assert!(!odd && tracks[0].plan.payloads.contains(&(101, Payload::TelephoneEvent)));
    assert_eq!((tracks[0].plan.held, tracks[1].plan.held), (true, false));
    assert_eq!(tracks[0].label.as_deref(), Some("a"));
}

#[test]
fn lines_of_an_answer_that_make_no_sense_leave_what_was() {
    for (text, tracks) in [
        ("v=0\nm=video 4000 RTP/AVP 99\nm=audio 4002 RTP/AVP 0", 2),
        ("v=0\nm=audio 4000 udptl t38\nm=audio 4002 RTP/AVP 0", 2),
        ("v=0\nm=audio 4000 RTP/AVP 0", 1),
        ("v=0\nm=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 0\nm=audio 4004 RTP/AVP 0", 2),
    ] {
        let (said, odd) = answered(&two(), &read(text));
        assert_eq!(
            (odd, said.media.len(), Agreement::of(&said).tracks().count()),
            (true, 2, tracks),
            "{text}"
        );
    }
}

#[test]
fn what_an_earlier_session_said_for_all_lines_still_holds_for_those_left_as_they_were() {
    let last = read("v=0\nc=IN IP4 10.0.0.1\na=inactive\nm=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 0");
    let (said, odd) =
        answered(&last, &read("v=0\nc=IN IP4 10.9.9.9\nm=audio 5000 x y\nm=audio 5002 RTP/AVP 0\n"));
    let plans: Vec<_> = Agreement::of(&said).tracks().map(|(_, terms)| terms.plan.clone()).collect();
    assert!(odd && plans[0].held && !plans[1].held);
    assert_eq!(plans[0].rtp_from, Some("10.0.0.1:4000".parse().unwrap()));
    assert_eq!(plans[1].rtp_from, Some("10.9.9.9:5002".parse().unwrap()));
}

proptest! {
    #[test]
    fn whatever_is_answered_the_lines_stay_as_many_and_an_ended_one_stays_ended(
        lines in proptest::collection::vec("(m=(audio|video) (0|4000) RTP/AVP [0-9 ]{1,8}|a=(rtpmap:[0-9]{1,3} (PCMU|CN|opus)/8000|inactive))", 0..12)
    ) {
        let answer = read(&format!("v=0\n{}", lines.join("\n")));
        let mut last = two();
        last.media[1].port = 0;
        let (said, _) = answered(&last, &answer);
        prop_assert_eq!((said.media.len(), said.media[1].port), (2, 0));
        prop_assert!(!matches!(Agreement::of(&said).lines[0], Line::Declined(_)));
    }
}
