//! Histories as clients tell them: what each document changes, and what it must not.

use super::super::{Metadata, aor};
use super::*;
use crate::limits::METADATA_ENTRIES_MAX;
use proptest::prelude::*;

/// Applies documents at t1, t2, ...; one that starts with `BYE` comes with the BYE.
fn told(documents: &[&str]) -> History {
    let mut history = History::default();
    for (number, document) in documents.iter().enumerate() {
        let (last, text) = (document.starts_with("BYE"), document.trim_start_matches("BYE"));
        let text = format!("<recording>{text}</recording>");
        history.apply(&Metadata::read(text.as_bytes()), &format!("t{}", number + 1), last);
    }
    history
}

/// The events from `t2` on, in short.
fn later(history: &History) -> Vec<String> {
    let who = |place: Option<u32>| place.map(|place| history.participants[place as usize].id.clone());
    let short = |event: &Event| {
        let parts = [
            who(event.participant),
            who(event.other),
            event.session.clone().filter(|_| event.participant.is_none() && event.stream.is_none()),
            event.stream.clone(),
            event.label.clone(),
            event.was.clone(),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("{} {:?} {}", event.at, event.what, parts.join(" ")).trim_end().to_owned()
    };
    history.events.iter().filter(|event| event.at != "t1").map(short).collect()
}

const ALICE: &str = "<participant id='a'><nameID aor='sip:alice@h'/></participant>";
const BOB: &str = "<participant id='b'><nameID aor='sip:bob@h'/></participant>";
const STREAMS: &str = "<stream id='s1' session='c'><label>1</label></stream><stream id='s2' session='c'><label>2</label></stream>";
const LINKS: &str = "<participantstreamassoc id='a'><send>s1</send><recv>s2</recv></participantstreamassoc>\
                     <participantstreamassoc id='b'><send>s2</send><recv>s1</recv></participantstreamassoc>";

fn call() -> String {
    format!("<session id='c'><start-time>T0</start-time></session>{ALICE}{BOB}{STREAMS}{LINKS}")
}

#[test]
fn the_first_document_tells_of_a_session_its_people_and_its_streams() {
    let history = told(&[&call()]);
    let whats: Vec<What> = history.events.iter().map(|event| event.what).collect();
    use What::*;
    assert_eq!(whats, [SessionStarted, ParticipantJoined, ParticipantJoined, StreamAdded, StreamAdded]);
    assert_eq!(history.events[0].told.as_deref(), Some("T0"));
    assert_eq!((history.links.len(), history.flags.len()), (4, 0));
}

#[test]
fn identical_repeats_are_no_events() {
    let history = told(&[&call(), &call(), &call(), &call()]);
    assert_eq!((later(&history), &history.flags[..]), (vec![], &[][..]));
    assert_eq!(history, told(&[&call()]));
}

#[test]
fn a_complete_document_replaces_the_state_and_never_the_history() {
    let carol = "<participant id='x'><nameID aor='tel:3'/></participant>";
    let links = "<participantstreamassoc id='a'><send>s1</send></participantstreamassoc>\
                 <participantstreamassoc id='x'><send>s2</send></participantstreamassoc>";
    let history = told(&[&call(), &format!("<session id='c'/>{ALICE}{carol}{STREAMS}{links}")]);
    assert_eq!(later(&history), ["t2 ParticipantJoined x", "t2 ParticipantLeft b"]);
    assert_eq!(history.participants.len(), 3);
    assert_eq!(history.participants[1].span, Span { since: "t1".into(), until: Some("t2".into()) });
    let sends: Vec<_> = history.links.iter().filter(|link| link.sends && link.stream == "s2").collect();
    assert_eq!((sends[0].span.until.as_deref(), sends[1].span.is_open()), (Some("t2"), true));
}

#[test]
fn a_partial_document_adds_and_changes_and_ends_what_it_says_has_ended() {
    let join = "<datamode>partial</datamode><participant id='x'><nameID aor='tel:3'/></participant>\
                <participantsessionassoc participant_id='x' session_id='c'><associate-time>T1</associate-time></participantsessionassoc>";
    let leave = "<dataMode>Partial</dataMode><participantsessionassoc participant_id='b' session_id='c'>\
                 <disassociate-time>T2</disassociate-time></participantsessionassoc>";
    let back = "<datamode>partial</datamode><participantsessionassoc participant_id='b' session_id='c'>\
                <associate-time>T3</associate-time></participantsessionassoc>";
    let history = told(&[&call(), join, leave, leave, back]);
    assert_eq!(later(&history), ["t2 ParticipantJoined x", "t3 ParticipantLeft b", "t5 ParticipantJoined b"]);
    let told: Vec<_> = history.events.iter().rev().take(3).map(|event| event.told.as_deref()).collect();
    assert_eq!(told, [Some("T3"), Some("T2"), Some("T1")]);
    assert_eq!(history.participants[1].presence.len(), 2);
}

#[test]
fn the_last_document_may_lack_everything_and_takes_nobody_away() {
    for last in
        ["BYE", "BYE<session id='c'><stop-time>T9</stop-time></session>", "BYE<datamode>complete</datamode>"]
    {
        let history = told(&[&call(), last]);
        assert!(history.participants.iter().all(|who| who.span.is_open()), "{last}");
        assert!(history.streams.iter().all(|stream| stream.span.is_open()), "{last}");
    }
    let history = told(&[&call(), "BYE<session id='c'><stop-time>T9</stop-time></session>"]);
    assert_eq!(later(&history), ["t2 SessionStopped c"]);
    assert_eq!(history.sessions[0].told.until.as_deref(), Some("T9"));
}

#[test]
fn a_damaged_or_silent_document_takes_nobody_away() {
    let cut = format!("<session id='c'/>{ALICE}<participant id='b'");
    for second in [cut.as_str(), "", "<datamode>complete</datamode>", "<group id='g'/>"] {
        let history = told(&[&call(), second]);
        assert!(history.participants.iter().all(|who| who.span.is_open()), "{second}");
    }
}

#[test]
fn those_whom_a_complete_document_still_lists_as_gone_have_left_once() {
    let gone = "<participantsessionassoc participant_id='b' session_id='c'><disassociate-time>T</disassociate-time></participantsessionassoc>";
    let document = format!("{}{gone}", call());
    let history = told(&[&call(), &document, &document]);
    assert_eq!(later(&history), ["t2 ParticipantLeft b"]);
    assert!(history.links.iter().all(|link| link.span.is_open() == (link.participant == 0)));
}

#[test]
fn when_all_ids_change_another_communication_session_has_begun_in_the_same_recording() {
    let other = call().replace("id='c'", "id='d'").replace("session='c'", "session='d'");
    let other = other.replace("'a'", "'a2'").replace("'b'", "'b2'").replace("s1", "m1").replace("s2", "m2");
    let history = told(&[&call(), &other]);
    let events = later(&history);
    assert_eq!(&events[..3], ["t2 SessionStarted d", "t2 SessionStopped c", "t2 SessionReplaced d c"]);
    assert_eq!(history.sessions.len(), 2);
    assert!(
        events.contains(&"t2 StreamRenamed m1 1 s1".to_owned()),
        "the label ties the new id to the track: {events:?}"
    );
    assert_eq!(events.iter().filter(|event| event.contains("Left")).count(), 2);
}

#[test]
fn stand_ins_are_marked_and_told_when_they_are_replaced() {
    let dummy = "<session id='c'/><participant id='abcdef12345678901234'><nameID aor='sip:ASBCE@asbce.com'/></participant>\
                 <stream id='s1'><label>1</label></stream><participantstreamassoc participant_id='abcdef12345678901234'><send>s1</send></participantstreamassoc>";
    let real = format!(
        "<session id='c'/>{BOB}{ALICE}<stream id='s1'><label>1</label></stream><stream id='s2'/>\
         <participantstreamassoc id='a'><send>s1</send></participantstreamassoc><participantstreamassoc id='b'><send>s2</send></participantstreamassoc>"
    );
    let history = told(&[dummy, &real]);
    assert!(history.participants[0].provisional);
    assert_eq!(history.participants[0].replaced_by, Some(2), "Alice sends the stream that the stand-in sent");
    assert_eq!(later(&history).last().unwrap(), "t2 ProvisionalReplaced a abcdef12345678901234");
    // The same id, now of somebody: also in a partial document.
    let same_id = "<datamode>partial</datamode><participant id='abcdef12345678901234'><nameID aor='sip:eve@h'/></participant>";
    let history = told(&[dummy, same_id]);
    assert_eq!(history.participants.len(), 2);
    assert_eq!(history.participants[0].replaced_by, Some(1));
}

#[test]
fn one_id_for_two_people_makes_two_of_them_and_is_flagged() {
    let both = "<participant id='p'><nameID aor='sip:1001@h'/></participant><participant id='p'><nameID aor='sip:1002@h'/></participant>\
                <participant id=''><nameID aor='3'/></participant><participant><nameID aor='4'/></participant>";
    let history = told(&[both, both]);
    assert_eq!((history.participants.len(), &history.flags[..]), (4, &[Flag::DuplicateId][..]));
    assert_eq!(later(&history), Vec::<String>::new());
    // Another form of the address is still the same participant.
    let form = both.replace("sip:1001@h", "tel:1001");
    assert_eq!(told(&[both, &form]).participants.len(), 4);
}

#[test]
fn labels_and_ids_of_streams_may_change_each_under_the_other() {
    let other_label = call().replace("<label>1</label>", "<label>5</label>");
    assert_eq!(later(&told(&[&call(), &other_label])), ["t2 StreamRelabelled s1 5 1"]);
    let other_id = call().replace("s1", "zz");
    assert_eq!(later(&told(&[&call(), &other_id])), ["t2 StreamRenamed zz 1 s1"]);
    let no_label = call().replace("<label>1</label>", "");
    assert_eq!(later(&told(&[&call(), &no_label])), Vec::<String>::new());
    let one = call().replace("<stream id='s2' session='c'><label>2</label></stream>", "");
    assert_eq!(later(&told(&[&call(), &one, &call()])), ["t2 StreamRemoved s2 2", "t3 StreamAdded s2 2"]);
}

#[test]
fn an_empty_association_is_hold_and_a_missing_one_says_nothing() {
    let held = format!(
        "<session id='c'/>{ALICE}{BOB}{STREAMS}<participantstreamassoc id='a'><send>s1</send></participantstreamassoc><participantstreamassoc id='b'/>"
    );
    let history = told(&[&call(), &held, &call()]);
    assert_eq!(later(&history), ["t2 SendingStopped b s2 2", "t3 SendingStarted b s2 2"]);
    let silent = format!("<session id='c'/>{ALICE}{BOB}{STREAMS}");
    assert_eq!(later(&told(&[&call(), &silent])), Vec::<String>::new());
    let partly =
        "<datamode>partial</datamode><participantstreamassoc id='b'><recv>s1</recv></participantstreamassoc>";
    assert_eq!(later(&told(&[&call(), partly])), ["t2 SendingStopped b s2 2"], "Alice is not spoken of");
}

#[test]
fn a_crossed_mapping_is_kept_as_told_and_flagged() {
    let crossed = call().replace("<send>s1</send><recv>s2</recv>", "<send>X</send><recv>s1</recv>");
    let crossed = crossed
        .replace("<send>s2</send><recv>s1</recv>", "<send>s1</send><recv>s2</recv>")
        .replace('X', "s2");
    let history = told(&[&call(), &crossed]);
    assert_eq!(history.flags, [Flag::Crossed]);
    assert_eq!(later(&history).last().unwrap(), "t2 Crossed a b");
    let now: Vec<_> = history.links.iter().filter(|link| link.sends && link.span.is_open()).collect();
    assert_eq!((now[0].participant, now[0].stream.as_str()), (0, "s2"), "as told, not as it was");
    // The participant says one thing, the association the other.
    let both = format!(
        "<participant id='a'><send>s1</send></participant><participant id='b'/>{STREAMS}<participantstreamassoc id='a'><recv>s1</recv></participantstreamassoc>"
    );
    assert_eq!(told(&[&both]).flags, [Flag::Crossed]);
}

#[test]
fn ids_that_lead_nowhere_are_flagged_and_order_or_label_help() {
    // The session's id where the participant's should be.
    let dangling = "<session id='c'/><participant id='a'/><participant id='b'/><stream id='s1'/><stream id='s2'/>\
                    <participantstreamassoc participant_id='c'><send>s1</send></participantstreamassoc>\
                    <participantstreamassoc participant_id='c'><send>s2</send></participantstreamassoc>";
    let history = told(&[dangling]);
    assert_eq!(history.flags, [Flag::Dangling]);
    let sends: Vec<_> = history.links.iter().map(|link| (link.participant, link.stream.as_str())).collect();
    assert_eq!(sends, [(0, "s1"), (1, "s2")]);
    // The label where the stream's id should be.
    let label = "<participant id='a'/><stream id='s1'><label>77</label></stream><participantstreamassoc id='a'><send>77</send></participantstreamassoc>";
    let history = told(&[label]);
    assert_eq!((history.links[0].stream.as_str(), history.flags.len()), ("s1", 0));
    let lost = "<participant id='a'/><stream id='s1'/><participantstreamassoc id='a'><send>zz</send></participantstreamassoc>\
                <participantstreamassoc id='q'><send>s1</send></participantstreamassoc>";
    assert_eq!(told(&[lost]).flags, [Flag::Dangling]);
}

#[test]
fn two_may_send_one_stream_and_some_have_none() {
    let mixed = "<participant id='a'><send>m</send></participant><participant id='b'><send><id>m</id></send></participant>\
                 <participant id='silent'/><stream id='m'><label>1</label></stream><stream id='unused'><label>2</label></stream>";
    let history = told(&[mixed]);
    assert_eq!((history.links.len(), history.participants.len(), history.flags.len()), (2, 3, 0));
}

#[test]
fn more_becomes_known_of_someone_without_making_another_of_them() {
    let named =
        call().replace("aor='sip:alice@h'/>", "aor='sip:alice@h'><name xml:lang='en'>Alice</name></nameID>");
    let history = told(&[&call(), &named]);
    assert_eq!(later(&history), ["t2 ParticipantChanged a"]);
    assert_eq!(
        (history.participants[0].aors.len(), history.participants[0].names[0].reveal().as_str()),
        (1, "Alice")
    );
}

#[test]
fn the_history_stays_within_its_limits_and_each_document_takes_milliseconds() {
    let mut history = History::default();
    let crowd = |from: usize, id: &str| {
        let each = |n: usize| {
            let id = if id.is_empty() { n.to_string() } else { id.to_owned() };
            format!(
                "<participant id='{id}'><nameID aor='{n}'/></participant><stream id='{id}'><label>{n}</label></stream>"
            )
        };
        let people: String = (from..from + METADATA_ENTRIES_MAX / 2).map(each).collect();
        Metadata::read(format!("<recording>{people}</recording>").as_bytes())
    };
    for round in 0..3 {
        history.apply(&crowd(round * 3000, ""), "t", false);
        history.apply(&crowd(round * 3000, "same"), "t", false);
    }
    assert!(history.flags.contains(&Flag::Cut));
    assert!(history.records() <= METADATA_RECORDS_MAX && history.events.len() <= METADATA_EVENTS_MAX);
    let long = "x".repeat(4000);
    let mut history = History::default();
    for round in 0..200 {
        let text = format!(
            "<recording><participant id='{round}'><nameID aor='{long}{round}'/></participant></recording>"
        );
        history.apply(&Metadata::read(text.as_bytes()), "t", false);
    }
    let kept: usize =
        history.participants.iter().flat_map(|who| &who.aors).map(|aor| aor.reveal().len()).sum();
    assert!(kept <= METADATA_TEXT_BYTES_MAX, "{kept}");
}

/// Documents out of a few ids, so that they meet.
fn document() -> impl Strategy<Value = String> {
    let person = ("[abc]?", "[12]?")
        .prop_map(|(id, aor)| format!("<participant id='{id}'><nameID aor='{aor}'/></participant>"));
    let stream = ("[st]?", "[12]?")
        .prop_map(|(id, label)| format!("<stream id='{id}'><label>{label}</label></stream>"));
    let time = "(<(dis)?associate-time>T</)?";
    let close = |time: String| match time.contains("dis") {
        true => format!("{time}disassociate-time>"),
        false if time.is_empty() => time,
        false => format!("{time}associate-time>"),
    };
    let link = ("[abcx]?", "[st12]?", "[st12]?", time).prop_map(move |(who, sends, receives, time)| {
        format!("<participantstreamassoc id='{who}'><send>{sends}</send><recv>{receives}</recv>{}</participantstreamassoc>", close(time))
    });
    let presence = ("[abcx]?", time).prop_map(move |(who, time)| {
        format!(
            "<participantsessionassoc participant_id='{who}' session_id='c'>{}</participantsessionassoc>",
            close(time)
        )
    });
    let session = "[cd]".prop_map(|id| format!("<session id='{id}'/>"));
    let mode = prop_oneof![Just("<datamode>partial</datamode>".to_owned()), Just(String::new())];
    let parts = proptest::collection::vec(prop_oneof![person, stream, link, presence, session], 0..8);
    (mode, parts).prop_map(|(mode, parts)| format!("{mode}{}", parts.concat()))
}

proptest! {
    /// Whatever is told: the state follows from the events, a repeat changes nothing, and nobody is lost.
    #[test]
    fn events_tell_the_whole_state(documents in proptest::collection::vec(document(), 1..5)) {
        let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
        let history = told(&texts);
        for (place, who) in history.participants.iter().enumerate() {
            let mine = |event: &&Event| event.participant == Some(place as u32);
            let last = history.events.iter().filter(mine).rfind(|event| {
                matches!(event.what, What::ParticipantJoined | What::ParticipantLeft)
            });
            prop_assert_eq!(last.unwrap().what == What::ParticipantJoined, who.span.is_open());
            prop_assert!(who.aors.iter().all(|one| aor::key(one.reveal()).len() <= 1));
        }
        for link in history.links.iter().filter(|link| link.span.is_open()) {
            prop_assert!(history.participants[link.participant as usize].span.is_open());
        }
        prop_assert!(history.events.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}
