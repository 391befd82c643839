//! Documents as clients send them, damaged ones, and the round trip through our own writer.

use super::super::{Cuts, write};
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
    assert_eq!(m.sessions[0].times.until.as_deref(), Some("now"));
    assert_eq!((m.presences[0].within, m.presences[0].session.as_str()), (Some(0), "s"));
}

/// The first drafts, as BroadWorks writes them: another root, the address in the participant, extension data beside it.
#[test]
fn a_document_of_the_first_drafts_is_read() {
    let m = Metadata::read(
        br#"<recording_metadata xmlns="urn:ietf:params:xml:ns:siprec"><dataMode>COMPLETE</dataMode><recording id="r"><type>selective</type></recording>
        <group id="g"><initiator>sip:1@h</initiator></group><session id="s" group="g"><start-time>2016-06-22T10:44:43+01:00</start-time></session>
        <participant id="p" session="s"><aor>sip:02077705371</aor><send><id>m</id></send></participant>
        <participant id="q" aor="tel:5" name="Eve"/><stream id="m" session="s"><label>1</label><mode>mixed</mode></stream></recording_metadata>"#,
    );
    assert_eq!((m.flags.as_slice(), m.datamode), (&[][..], Datamode::Complete));
    assert_eq!(m.participants[0].names[0].aor.as_ref().unwrap().reveal(), "sip:02077705371");
    assert_eq!(m.participants[1].names[0].name.as_ref().unwrap().reveal(), "Eve");
    assert_eq!((m.links[0].within, m.links[0].sends[0].as_str()), (Some(0), "m"));
    assert_eq!((m.sessions[0].group.as_deref(), m.streams[0].content.as_deref()), (Some("g"), Some("mixed")));
    let paths: Vec<_> = m.extensions.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["recording_metadata/recording/type", "recording_metadata/group/initiator"]);
}

#[test]
fn names_lose_their_quotes_and_keep_their_language_and_blank_ones_are_none() {
    let names = |inside: &str| {
        let text = format!("<recording><participant id='1'>{inside}</participant></recording>");
        let mut read = Metadata::read(text.as_bytes());
        let names = read.participants.remove(0).names.into_iter();
        names
            .map(|one| (one.aor.map(Redacted::into_inner), one.name.map(Redacted::into_inner), one.lang))
            .collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        names(r#"<nameID aor="sip:@h"><name>"WIRELESS CALLER"</name></nameID>"#),
        [(some("sip:@h"), some("WIRELESS CALLER"), None)]
    );
    assert_eq!(
        names(r#"<nameID aor="t"><name>&quot;A &amp; B&quot;</name></nameID>"#),
        [(some("t"), some("A & B"), None)]
    );
    assert_eq!(names(r#"<nameID aor="t"><name xml:lang="en"> </name></nameID>"#), [(some("t"), None, None)]);
    assert_eq!(
        names(r#"<nameID aor="t"><name xml:lang="it">Bea</name><name xml:lang="en">Bee</name></nameID>"#),
        [(some("t"), some("Bea"), some("it")), (some("t"), some("Bee"), some("en"))]
    );
    assert_eq!(names("<nameID/>"), [(None, None, None)]);
}

#[test]
fn times_are_kept_as_text_wherever_they_stand() {
    let m = Metadata::read(
        b"<recording><session id='s'><start-time>2026-11-21T10:00:00.123456+0100</start-time></session>\
          <participant id='p'><associate-time>1970-05-15T00:41:05Z</associate-time></participant>\
          <stream id='m'><associate-time>2026-02-13T11:39:08</associate-time></stream>\
          <participantsessionassoc participant_id='p' session_id='s'><disassociate-time>2026-11-21 10:00:01 GMT</disassociate-time></participantsessionassoc>\
          <participantstreamassoc participant_id='p'><associate-time>2026-11-21T09:00:02+01:00</associate-time></participantstreamassoc>\
          <sessionrecordingassoc session_id='s'><associate-time>T</associate-time></sessionrecordingassoc></recording>",
    );
    assert_eq!(m.sessions[0].times.from.as_deref(), Some("2026-11-21T10:00:00.123456+0100"));
    assert_eq!(m.presences[0].times.from.as_deref(), Some("1970-05-15T00:41:05Z"));
    assert_eq!(m.streams[0].times.from.as_deref(), Some("2026-02-13T11:39:08"));
    assert_eq!(m.presences[1].times.until.as_deref(), Some("2026-11-21 10:00:01 GMT"));
    assert_eq!(m.links[0].times.from.as_deref(), Some("2026-11-21T09:00:02+01:00"));
    assert_eq!(m.session_times[0].times.from.as_deref(), Some("T"));
}

#[test]
fn our_names_in_foreign_namespaces_are_extension_data_and_in_ours_or_none_they_are_not() {
    let read = |space: &str| {
        let text = format!(
            "<recording xmlns='urn:ietf:params:xml:ns:recording:1' xmlns:x='{space}'><x:participant id='1'>t</x:participant></recording>"
        );
        let m = Metadata::read(text.as_bytes());
        (m.participants.len(), m.extensions.len())
    };
    assert_eq!(read("urn:ietf:params:xml:ns:siprec"), (1, 0));
    assert_eq!(read("http://vendor.example/data"), (0, 1));
    let undeclared = Metadata::read(
        b"<x:recording><x:participant id='1'><apkt:ucid>7</apkt:ucid></x:participant></x:recording>",
    );
    assert_eq!(undeclared.participants.len(), 1);
    let ucid = &undeclared.extensions[0];
    assert_eq!(
        (ucid.prefix.as_str(), ucid.of.as_deref(), ucid.namespace.as_deref()),
        ("apkt", Some("1"), None)
    );
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
fn a_document_is_modelled_within_the_limits_whatever_it_holds() {
    let crowd: String = (0..METADATA_ENTRIES_MAX + 5).map(|n| format!("<participant id='{n}'/>")).collect();
    let m = Metadata::read(format!("<recording>{crowd}</recording>").as_bytes());
    assert_eq!((m.flags.as_slice(), m.participants.len()), (&[Flag::Cut][..], METADATA_ENTRIES_MAX));
    let data: String = (0..EXTENSIONS_MAX + 5).map(|n| format!("<x>{n}</x>")).collect();
    let m = Metadata::read(format!("<recording><session>{data}</session></recording>").as_bytes());
    assert_eq!((m.flags.as_slice(), m.extensions.len()), (&[Flag::Cut][..], EXTENSIONS_MAX));
    let sends = "<send>1 2 3 4 5 6 7 8 9</send>".repeat(1000);
    let m = Metadata::read(
        format!("<recording><participantstreamassoc>{sends}</participantstreamassoc><stream/></recording>")
            .as_bytes(),
    );
    assert_eq!((m.flags.as_slice(), m.links[0].sends.len()), (&[Flag::Cut][..], METADATA_ENTRIES_MAX));
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
    fn what_is_written_is_read(id in text(), aor in text(), name in "[!#-~]([ !#-~]{0,6}[!#-~])?", label in text(), sip in text()) {
        let times = Times { from: Some(aor.clone()), until: Some(label.clone()) };
        let metadata = Metadata {
            datamode: Datamode::Partial,
            groups: vec![Group { id: id.clone(), times: times.clone() }],
            sessions: vec![CommunicationSession {
                id: id.clone(), sip_session_ids: vec![sip], group: Some(id.clone()), times: times.clone(), reasons: vec![aor.clone()],
            }],
            session_times: vec![SessionTimes { session: id.clone(), times: times.clone() }],
            participants: vec![Participant {
                id: id.clone(),
                names: vec![Name { aor: Some(Redacted::new(aor.clone())), name: Some(Redacted::new(name)), lang: Some(id.clone()) }],
            }],
            streams: vec![Stream {
                id: label.clone(), session: Some(id.clone()), label: Some(label.clone()), content: Some(aor.clone()), times: times.clone(),
            }],
            presences: vec![Presence {
                participant: id.clone(), within: None, session: id.clone(), times: times.clone(), params: vec![(id.clone(), aor)],
            }],
            links: vec![StreamLink { participant: id, within: None, sends: vec![label.clone()], receives: vec![label], times }],
            extensions: Vec::new(),
            flags: Vec::new(),
            cuts: Cuts::default(),
        };
        prop_assert_eq!(Metadata::read(write(&metadata).as_bytes()), metadata);
    }
}
