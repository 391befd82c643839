//! Documents as clients send them, damaged ones, and the round trip through our own writer.

use super::super::write;
use super::*;
use proptest::prelude::*;

const RFC: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns='urn:ietf:params:xml:ns:recording:1'>
 <datamode>complete</datamode>
 <group group_id="7+OTCyoxTmqmqyA/1weDAg=="><associate-time>2010-12-16T23:41:07Z</associate-time></group>
 <session session_id="hVpd7YQgRW2nD22h7q60JQ==">
  <sipSessionID>ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2</sipSessionID>
  <group-ref>7+OTCyoxTmqmqyA/1weDAg==</group-ref><start-time>2010-12-16T23:41:07Z</start-time>
 </session>
 <participant participant_id="srfBElmCRp2QB23b7Mpk0w=="><nameID aor="sip:bob@biloxi.com"><name xml:lang="it">Bob &quot;B&quot;</name></nameID></participant>
 <participant participant_id="zSfPoSvdSDCmU3A3TRDxAw=="><nameID aor="tel:+15551234"/></participant>
 <stream stream_id="UAAMm5GRQKSCMVvLyl4rFw==" session_id="hVpd7YQgRW2nD22h7q60JQ=="><label>96</label></stream>
 <participantsessionassoc participant_id="srfBElmCRp2QB23b7Mpk0w==" session_id="hVpd7YQgRW2nD22h7q60JQ=="/>
 <participantstreamassoc participant_id="srfBElmCRp2QB23b7Mpk0w=="><send>UAAMm5GRQKSCMVvLyl4rFw==</send><recv>x</recv></participantstreamassoc>
</recording>"#;

/// Prefixes, `id`, send and recv within the participant, children in any order: drafts as Metaswitch and Oracle use them.
const DRAFT: &str = r#"<rs:recording xmlns:rs="urn:ietf:params:xml:ns:recording" xmlns:ac="http://abc">
 <rs:dataMode>Partial</rs:dataMode>
 <rs:stream id="1" session="s"><rs:label>268749245</rs:label></rs:stream>
 <ac:extension><participant id="not me"/></ac:extension>
 <rs:participant id="p1" session="s"><rs:send><rs:id>1</rs:id></rs:send><rs:nameID aor="4420"/><rs:recv> 2 3 </rs:recv></rs:participant>
 <rs:session id="s"><rs:end-time>now</rs:end-time></rs:session>
</rs:recording>"#;

#[test]
fn a_document_of_the_rfc_is_read() {
    let m = Metadata::read(RFC.as_bytes());
    assert_eq!(m.flags, []);
    assert_eq!(m.sessions[0].group.as_deref(), Some("7+OTCyoxTmqmqyA/1weDAg=="));
    assert!(m.sessions[0].sip_session_ids[0].starts_with("ab30"));
    let bob = &m.participants[0].names[0];
    assert_eq!(bob.aor.as_ref().unwrap().reveal(), "sip:bob@biloxi.com");
    assert_eq!(bob.name.as_ref().unwrap().reveal(), "Bob \"B\"");
    assert_eq!(m.participants[1].names[0].name, None);
    assert_eq!(m.streams[0].label.as_deref(), Some("96"));
    assert_eq!(m.links[0].receives, ["x"]);
    assert!(!format!("{m:?}").contains("biloxi"), "personal data never prints");
}

#[test]
fn a_document_of_the_drafts_is_read() {
    let m = Metadata::read(DRAFT.as_bytes());
    assert_eq!((m.datamode, m.flags.as_slice()), (Datamode::Partial, &[][..]));
    assert_eq!(m.participants.len(), 1, "extension data is not ours to read");
    assert_eq!(m.participants[0].names[0].aor.as_ref().unwrap().reveal(), "4420");
    assert_eq!(
        (&m.links[0].sends[..], &m.links[0].receives[..]),
        (&["1".to_owned()][..], &["2".to_owned(), "3".to_owned()][..])
    );
    assert_eq!(m.streams[0].session.as_deref(), Some("s"));
    assert_eq!(m.sessions[0].stop.as_deref(), Some("now"));
}

#[test]
fn odd_documents_are_flagged_and_read_as_far_as_possible() {
    assert_eq!(Metadata::read(b" \r\n").flags, [Flag::Missing]);
    assert_eq!(Metadata::read(b"no xml at all").flags, [Flag::Malformed]);
    assert_eq!(Metadata::read(b"\xff\xfe\x00<").flags, [Flag::Malformed]);
    let cut = Metadata::read(&RFC.as_bytes()[..RFC.find("<stream").unwrap() + 20]);
    assert_eq!((cut.flags.as_slice(), cut.participants.len()), (&[Flag::Malformed][..], 2));
    let wrapped = Metadata::read(b"<envelope><body><participant id='1'/></body></envelope>");
    assert_eq!((wrapped.flags.as_slice(), wrapped.participants.len()), (&[Flag::UnknownRoot][..], 1));
}

#[test]
fn history_grows_and_repeats_are_no_events() {
    let mut history = Metadata::read(RFC.as_bytes());
    let first = history.clone();
    history.absorb(&first);
    assert_eq!(history, first);
    history.absorb(&Metadata::read(b"<recording><session session_id='hVpd7YQgRW2nD22h7q60JQ=='><stop-time>T</stop-time></session></recording>"));
    assert_eq!(history.participants, first.participants);
    assert_eq!(history.sessions[0].stop.as_deref(), Some("T"));
    let left = "<recording><participantsessionassoc participant_id='zSfPoSvdSDCmU3A3TRDxAw==' session_id='s'><disassociate-time>L</disassociate-time></participantsessionassoc></recording>";
    history.absorb(&Metadata::read(left.as_bytes()));
    history.absorb(&Metadata::read(left.as_bytes()));
    assert_eq!((history.presences.len(), history.presences[1].until.as_deref()), (2, Some("L")));
    assert_eq!(history.sessions[0].start, first.sessions[0].start);
}

#[test]
fn the_model_stays_within_its_limits_whatever_comes() {
    let crowd = |from: usize| {
        let people: String = (from..from + 5000).map(|n| format!("<participant id='{n}'/>")).collect();
        Metadata::read(format!("<recording>{people}</recording>").as_bytes())
    };
    let mut history = crowd(0);
    assert!(history.flags == [Flag::Cut] && history.participants.len() == METADATA_ENTRIES_MAX);
    (1..4).for_each(|n| history.absorb(&crowd(n * 5000)));
    assert!(history.participants.len() <= 2 * METADATA_ENTRIES_MAX);
}

fn text() -> impl Strategy<Value = String> {
    "[!-~]{1,8}"
}

proptest! {
    #[test]
    fn any_bytes_give_a_model(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        Metadata::read(&bytes);
    }

    #[test]
    fn a_damaged_document_gives_a_model(at in 0..RFC.len(), to in any::<u8>(), cut in 0..RFC.len()) {
        let mut bytes = RFC.as_bytes().to_vec();
        bytes[at] = to;
        bytes.truncate(cut.max(1));
        Metadata::read(&bytes);
    }

    #[test]
    fn what_is_written_is_read(id in text(), aor in text(), name in "[!-~]([ -~]{0,6}[!-~])?", label in text(), sip in text()) {
        let metadata = Metadata {
            datamode: Datamode::Partial,
            groups: vec![Group { id: id.clone() }],
            sessions: vec![CommunicationSession {
                id: id.clone(), sip_session_ids: vec![sip], group: Some(id.clone()), start: Some(name.clone()), stop: None,
            }],
            participants: vec![Participant {
                id: id.clone(),
                names: vec![Name { aor: Some(Redacted::new(aor.clone())), name: Some(Redacted::new(name)) }],
            }],
            streams: vec![Stream { id: label.clone(), session: Some(id.clone()), label: Some(label.clone()) }],
            presences: vec![Presence { participant: id.clone(), session: id.clone(), from: Some(aor.clone()), until: None }],
            links: vec![StreamLink { participant: id, sends: vec![label.clone()], receives: vec![label] }],
            flags: Vec::new(),
        };
        prop_assert_eq!(Metadata::read(write(&metadata).as_bytes()), metadata);
    }
}
