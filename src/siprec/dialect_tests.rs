//! One message per dialect (`tests/siprec/`, all of our own writing, with numbers that belong to nobody): who takes part, who speaks on
//! which track, who called, whose client it is, and what of its extension data is understood.

use super::*;
use crate::sdp;
use crate::sip::Message;
use proptest::prelude::*;

/// The message of a file: lines end in CRLF, `Content-Length: *` is put right.
fn message(file: &str) -> Message {
    let text = file.replace('\n', "\r\n");
    let body = text.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    let text = text.replace("Content-Length: *", &format!("Content-Length: {body}"));
    Message::parse_datagram(text.as_bytes()).expect("a SIP message")
}

fn bodies(message: &Message) -> Bodies<'_> {
    Bodies::within(message)
}

/// A recording session of these messages, the INVITE first.
fn dossier(files: &[&str]) -> Dossier {
    let mut dossier = Dossier::default();
    for (number, file) in files.iter().enumerate() {
        let (message, at) = (message(file), format!("t{}", number + 1));
        match number {
            0 => dossier.invite(&at, &message, &bodies(&message)),
            _ => dossier.message(&at, &message, &bodies(&message)),
        };
    }
    dossier
}

/// Everything of interest, a line each: vendor and recognition, people, tracks, known fields, correlations, flags.
fn told(files: &[&str]) -> String {
    let Told { sign, vendor, history, correlations, known, .. } = dossier(files).told();
    let mut lines = vec![format!("{:?} by {:?}", vendor.expect("a vendor"), sign.expect("a sign"))];
    for (place, who) in history.participants.iter().enumerate() {
        let texts = |list: &[crate::base::Redacted<String>]| {
            list.iter().map(|one| one.reveal().clone()).collect::<Vec<_>>().join("|")
        };
        let role = who.role.as_ref().map(|of| format!(" {:?} by {}", of.role, of.evidence));
        let from = who.name_from.as_ref().map(|header| format!(" of {header}"));
        let state = match (who.provisional, who.replaced_by) {
            (_, Some(by)) => format!(" replaced by {by}"),
            (true, None) => " provisional".to_owned(),
            _ => String::new(),
        };
        lines.push(format!(
            "{place}: {} '{}'{}{}{state}{}",
            texts(&who.aors),
            texts(&who.names),
            from.unwrap_or_default(),
            role.unwrap_or_default(),
            if who.span.is_open() { "" } else { " left" },
        ));
    }
    lines.extend(tracks(&history, &message(files[0])));
    lines.extend(known.iter().map(|one| format!("{:?} {} = {}", one.kind, one.name, one.value.reveal())));
    lines.extend(correlations.iter().map(|one| format!("{} {}", one.kind, one.value.reveal())));
    lines.extend(history.flags.iter().map(|flag| format!("flag {}", flag.name())));
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

fn tracks(history: &History, invite: &Message) -> Vec<String> {
    // Without an offer: one line without a label.
    let offer = bodies(invite).sdp.map(|sdp| sdp::parse(sdp).expect("a session description"));
    let labels: Vec<(usize, Option<&str>)> = match &offer {
        Some(offer) => offer.media.iter().map(|media| media.label()).enumerate().collect(),
        None => vec![(0, None)],
    };
    let one = |(track, identity): (&(usize, Option<&str>), TrackIdentity)| {
        let speakers: Vec<_> = identity.speakers.iter().map(|one| one.participant.to_string()).collect();
        let guess = if identity.speakers.iter().any(|one| one.by == Join::Position) { "?" } else { "" };
        let join = identity.join.map(|join| format!("{join:?}")).unwrap_or_default();
        format!("track {} {join}: {}{guess}", track.1.unwrap_or("-"), speakers.join(" "))
    };
    labels.iter().zip(identify(history, &labels)).map(one).collect()
}

/// Compares without the indentation of the expectation.
fn expect(files: &[&str], expected: &str) {
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    let told = told(files);
    assert_eq!(told.lines().collect::<Vec<_>>(), expected, "\n{told}");
}

#[test]
fn oracle_writes_drafts_marks_the_caller_and_misspells_its_namespace() {
    expect(
        &[include_str!("../../tests/siprec/oracle.sip")],
        "Oracle by OptionTag
         0: sip:18005550199@health.example '18005550199' Callee by calling_party
         1: sip:12125550100@att.example;noa=3 'WIRELESS CALLER' Caller by calling_party
         track 553654187 Label: 1
         track 553654188 Label: 0
         Ucid ucid = 00FA080018803B69810C6E;encoding=hex
         CallingParty callingParty = false
         SipHeader P-Charge-Info = <sip:12125550100@att.example>;npi=ISDN
         CallingParty callingParty = true
         ucid 00FA080018803B69810C6E;encoding=hex",
    );
}

#[test]
fn audiocodes_sends_numbers_for_ids_and_avayas_call_id() {
    expect(
        &[include_str!("../../tests/siprec/audiocodes.sip")],
        r#"Audiocodes by Contact
         0: 2001@pbx.example 'Jo "the boss" Ray' Caller by order
         1: +31205550123@carrier.example '' Callee by order
         track 1 Label: 0
         track 2 Label: 1
         Ucid AvayaUCID = 00FA0800127F2F5EA1
         Audiocodes Source = IPG-PBX
         x-ac-avaya-ucid 00FA0800127F2F5EA1
         sipsessionid 8c21ee7a9b0d45e0b1fffcf8d4d2fa10;remote=fa10ee7a9b0d45e0b1fffcf8d4d28c21
         group 00000000-0000-0000-0000-00908fa1b2c3
         avayaucid 00FA0800127F2F5EA1"#,
    );
}

#[test]
fn ribbon_repeats_from_and_to_and_counts_from_1970() {
    expect(
        &[include_str!("../../tests/siprec/ribbon.sip")],
        r#"Ribbon by OptionTag
         0: 6135550142@198.51.100.72 '' Callee by call_data
         1: 4165550104@198.51.100.55 '4165550104' Caller by call_data
         track 1 Label: 1
         track 2 Label: 0
         CallData fromhdr = "Desk 4" <sip:4165550104@198.51.100.55>;tag=BK7
         CallData tohdr = <sip:6135550142@198.51.100.72:5060;user=phone>;tag=gK09
         CallData callid = 1b6b6073-b717-2346-e7b3-6365114b5a99
         CallData gcid = 351578529
         group OTk0MmIwMDAtNzA1Mi0yMA==
         callid 1b6b6073-b717-2346-e7b3-6365114b5a99
         gcid 351578529"#,
    );
}

#[test]
fn metaswitch_mixes_both_onto_one_stream_and_its_attributes_too() {
    expect(
        &[include_str!("../../tests/siprec/metaswitch.sip")],
        "Metaswitch by Contact
         0: tel:+441632960001 '' Caller by order
         1: tel:+441632960002 'Reception' Callee by order
         track 1 Label: 0 1
         Metaswitch correlationID = 778-1
         Metaswitch recordedSubscriber = +441632960002",
    );
}

#[test]
fn broadworks_tells_who_called_whom_beside_drafts_of_its_own() {
    expect(
        &[include_str!("../../tests/siprec/broadworks.sip")],
        "Broadworks by OptionTag
         0: sip:07700900123@carrier.example;user=phone '' Callee by broadworks
         1: sip:02079460001 '' Caller by broadworks
         track 1 Label: 0
         track 2 Label: 1
         Broadworks extTrackingID = 9137659:1
         Broadworks serviceProviderID = SP1
         Broadworks groupID = London
         Broadworks userID = 02079460001@carrier.example
         Broadworks callID = callhalf-7948:0
         Broadworks callType/origCall/callingPartyNumber = sip:+442079460001@carrier.example
         Broadworks callType/origCall/calledPartyNumber = sip:+447700900123@carrier.example
         Broadworks callType/origCall/dialedDigits = sip:07700900123@carrier.example
         Broadworks recordingType = on
         x-broadworks-correlation-info d9f3f2c0-7c1e-4f47-9b1f-3e0b6a7d2f11
         group urn:uuid:83672a75-1
         exttrackingid 9137659:1
         callid callhalf-7948:0",
    );
}

#[test]
fn webex_calls_itself_broadworks_and_has_people_without_a_track() {
    expect(
        &[include_str!("../../tests/siprec/webex.sip")],
        "Webex by OptionTag
         0: sip:anne@corp.example 'Anne Onym'
         1: sip:12@corp.example ''
         2: sip:13@corp.example ''
         track 1 Label: 0
         track 2 Label: 1 2",
    );
}

#[test]
fn cube_lists_the_anchored_leg_first_and_so_order_proves_nothing() {
    expect(
        &[include_str!("../../tests/siprec/cube.sip"), include_str!("../../tests/siprec/cube_bye.sip")],
        "Cube by OptionTag
         0: sip:808808@198.51.100.30 '' left
         1: sip:909909@198.51.100.31 'Nine'
         track 1 Label: 0
         track 2 Label: 1
         cisco-guid 1334370502-1348997600-2396699092-3395863316
         session-id 2d4f6f3b00105000a00074a02fc0a1b7;remote=00000000000000000000000000000000
         sipsessionid 2d4f6f3b00105000a00074a02fc0a1b7;remote=8f7a1c00105000a00074a02fc0a1b700",
    );
}

#[test]
fn cube_without_metadata_names_participants_in_headers() {
    expect(
        &[include_str!("../../tests/siprec/cube_nbr.sip")],
        "Cube by Vendor
         0: sip:708090@198.51.100.5 ''
         1: sip:10000@198.51.100.32 ''
         track - Position: 0
         track - Position: 1
         flag missing
         flag from_headers",
    );
}

#[test]
fn cucm_names_both_ends_in_from_and_sends_one() {
    expect(
        &[include_str!("../../tests/siprec/cucm.sip")],
        "Cucm by Vendor
         0: 2001 'Ann Agent' of From
         1: +4930555123 ''
         track - Position: 0
         flag missing
         flag from_headers",
    );
}

#[test]
fn avaya_replaces_its_stand_in_by_an_update() {
    expect(
        &[include_str!("../../tests/siprec/avaya.sip"), include_str!("../../tests/siprec/avaya_update.sip")],
        "Avaya by OptionTag
         0: sip:+12025550101@sm.example 'Caller One' Caller by order
         1: sip:ASBCE@asbce.com 'ASBCE' Callee by order replaced by 2 left
         2: sip:6001@sm.example 'Agent Two' Callee by order
         track 96 Label: 0
         track 97 Label: 1 2
         user-to-user 00FA080001012345678901;encoding=hex
         sipsessionid avaya-1@198.51.100.40",
    );
}

#[test]
fn opensips_does_not_escape_names_and_labels_from_0() {
    expect(
        &[include_str!("../../tests/siprec/opensips.sip")],
        "Opensips by OptionTag
         0: sip:alice@example.org 'Alice R & D' Caller by order
         1: sip:5551000@example.org '' Callee by order
         track 0 Label: 0
         track 1 Label: 1
         sipsessionid a84b4c76e66710@pc33.example
         group 5TfWJ8W4QYq8hY4K2mTq1A==",
    );
}

#[test]
fn freeswitch_labels_legs_in_words_and_names_come_from_from() {
    expect(
        &[include_str!("../../tests/siprec/freeswitch.sip")],
        "Freeswitch by Contact
         0: 1001 '' Callee by label
         1: 1000 'Extension 1000' of From Caller by label
         track b_leg Label: 0
         track a_leg Label: 1",
    );
}

#[test]
fn jambonz_exchanges_calling_and_called() {
    expect(
        &[include_str!("../../tests/siprec/jambonz.sip")],
        "Jambonz by Contact
         0: sip:+15105550120@198.51.100.60 '+15105550120' Caller by jambonz_numbers
         1: sip:+15105550110@198.51.100.61 '+15105550110' Callee by jambonz_numbers
         track 1 Label: 0
         track 2 Label: 1
         Jambonz callsid = 9f1c2d3e-0001
         Jambonz direction = inbound
         Jambonz accountsid = ee9d7d49-0002
         Jambonz recordingid = c0ffee00-0003
         Jambonz carrier = Carrier & Co
         Jambonz callednumber = +15105550120
         Jambonz callingnumber = +15105550110
         sipsessionid jb-orig@198.51.100.60
         callsid 9f1c2d3e-0001
         recordingid c0ffee00-0003",
    );
}

#[test]
fn twilio_sends_parameters_tokens_and_labels_that_are_words() {
    expect(
        &[include_str!("../../tests/siprec/twilio.sip")],
        "Twilio by Contact
         0: client_anna '' Callee by label
         1: +16465550100 '' Caller by label
         track inbound Label: 1
         track outbound Label: 0
         Parameter CustomerId = C-42
         Parameter Queue = Support
         x-twilio-callsid CA00000000000000000000000000000001
         sipsessionid tw-orig",
    );
}

#[test]
fn telnyx_records_a_single_track() {
    expect(
        &[include_str!("../../tests/siprec/telnyx.sip")],
        "Telnyx by Contact
         0: sip:+13125550155@telnyx.example 'Bo' of From
         track 1 Label: 0
         Parameter X-Case = 77
         x-telnyx-session-id 5a7f0f1e-tx",
    );
}

#[test]
fn genesys_sends_metadata_alone_without_ids() {
    expect(
        &[include_str!("../../tests/siprec/genesys.sip")],
        "Genesys by Metadata
         0: sip:@198.51.100.70 'Trunk' Caller by order
         1: sip:5001@198.51.100.7 'Agent 5001' Callee by order
         track - Position: 
         x-genesys-calluuid 01Q8D0J2K4A7VC8P5S0E32LAES0000B1
         sipsessionid 01Q8D0J2@gsys",
    );
}

#[test]
fn sems_puts_the_metadata_first_and_calls_trunks_by_their_host() {
    expect(
        &[include_str!("../../tests/siprec/sems.sip")],
        "Frafos by Contact
         0: sips:ida@example.org 'Ida' Caller by order
         1: sip:@198.51.100.9 '' Callee by order
         track 10 Label: 0
         track 20 Label: 1",
    );
}

#[test]
fn ng911_hides_among_required_parts_and_never_closes_them() {
    expect(
        &[include_str!("../../tests/siprec/ng911.sip")],
        "Ng911 by Contact
         0: tel:+12065550111 '' Caller by order
         1: sip:pos4@psap.example 'Position 4' Callee by order
         track 268749245 Label: 0
         track 268749246 Label: 1
         call-info <urn:emergency:uid:callid:a56e556d871:bcf.state.example>;purpose=emergency-CallId
         call-info <urn:emergency:uid:incidentid:b61:bcf.state.example>;purpose=emergency-IncidentId",
    );
}

/// Every INVITE, with the vendor it is of.
const DIALECTS: [(Vendor, &str); 18] = [
    (Vendor::Oracle, include_str!("../../tests/siprec/oracle.sip")),
    (Vendor::Audiocodes, include_str!("../../tests/siprec/audiocodes.sip")),
    (Vendor::Ribbon, include_str!("../../tests/siprec/ribbon.sip")),
    (Vendor::Metaswitch, include_str!("../../tests/siprec/metaswitch.sip")),
    (Vendor::Broadworks, include_str!("../../tests/siprec/broadworks.sip")),
    (Vendor::Webex, include_str!("../../tests/siprec/webex.sip")),
    (Vendor::Cube, include_str!("../../tests/siprec/cube.sip")),
    (Vendor::Cube, include_str!("../../tests/siprec/cube_nbr.sip")),
    (Vendor::Cucm, include_str!("../../tests/siprec/cucm.sip")),
    (Vendor::Avaya, include_str!("../../tests/siprec/avaya.sip")),
    (Vendor::Opensips, include_str!("../../tests/siprec/opensips.sip")),
    (Vendor::Freeswitch, include_str!("../../tests/siprec/freeswitch.sip")),
    (Vendor::Jambonz, include_str!("../../tests/siprec/jambonz.sip")),
    (Vendor::Twilio, include_str!("../../tests/siprec/twilio.sip")),
    (Vendor::Telnyx, include_str!("../../tests/siprec/telnyx.sip")),
    (Vendor::Genesys, include_str!("../../tests/siprec/genesys.sip")),
    (Vendor::Frafos, include_str!("../../tests/siprec/sems.sip")),
    (Vendor::Ng911, include_str!("../../tests/siprec/ng911.sip")),
];

#[test]
fn every_dialect_is_known_by_its_signs() {
    for (vendor, file) in DIALECTS {
        let Told { vendor: found, signs, sign, .. } = dossier(&[file]).told();
        assert_eq!(found, Some(vendor), "{signs:?}");
        assert!(signs.iter().all(|sign| sign.sign.is_ascii()) && sign.is_some());
    }
}

#[test]
fn a_relay_is_known_by_its_own_signs_and_not_by_the_metadata_it_carries() {
    // jambonz in front of an Oracle border controller, with the boundary that Cisco uses.
    let oracle = DIALECTS[0].1;
    let document = &oracle[oracle.find("<?xml").unwrap()..oracle.find("--unique-boundary-1--").unwrap()];
    let jambonz = DIALECTS[12].1;
    let start = jambonz.find("<?xml").unwrap();
    let relayed = format!("{}{document}--uniqueBoundary--\n", &jambonz[..start]);
    let Told { vendor, signs, history, .. } = dossier(&[&relayed]).told();
    assert_eq!(vendor, Some(Vendor::Jambonz));
    let of = |vendor| {
        signs.iter().filter(|sign| sign.vendor == vendor).map(|sign| sign.sign.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Vendor::Oracle), ["namespace acmepacket.com"]);
    assert_eq!(of(Vendor::Cube), ["boundary uniqueboundary"]);
    let roles: Vec<_> = history.participants.into_iter().map(|who| who.role.unwrap().evidence).collect();
    assert_eq!(roles, ["calling_party", "calling_party"], "what the metadata says still counts");
}

/// Whatever a client forgets or writes in its own way, offer and metadata are found.
#[test]
fn every_dialect_survives_the_usual_damage_to_its_body() {
    for (vendor, file) in DIALECTS {
        let whole = message(file);
        let found = |message: &Message| {
            let found = bodies(message);
            let text = |part: Option<&[u8]>| {
                part.map(|part| String::from_utf8_lossy(part).replace("\r\n", "\n").trim().to_owned())
            };
            (text(found.sdp), text(found.metadata))
        };
        let expected = found(&whole);
        let (head, body) = file.split_once("\n\n").unwrap();
        let boundary = body.lines().next().unwrap_or("").to_owned();
        let damaged = |body: String| {
            let message = message(&format!("{head}\n\n{body}"));
            assert_eq!(found(&message), expected, "{vendor:?}\n{body}");
        };
        damaged(body.trim_end().to_owned());
        if !boundary.starts_with("--") {
            continue;
        }
        damaged(body.replace(&format!("{boundary}--"), ""));
        damaged(body.replace(&format!("{boundary}\n"), &format!("{boundary} \t\n")));
        damaged(body.replace("Content-Type: ", "content-type:\n  "));
        damaged(body.replace("Content-Type: application/", "Content-Length: 7\nContent-Type:Application/"));
        damaged(format!("\npreamble\n{body}"));
        let gtd = format!(
            "{boundary}\nContent-Type: application/gtd\nContent-Disposition: signal;handling=required\n\nIAM,\n{body}"
        );
        damaged(gtd);
        // The parts in the opposite order.
        let close = format!("{boundary}--");
        let parts: Vec<&str> =
            body.trim_end().trim_end_matches(&close).split(&format!("{boundary}\n")).skip(1).collect();
        damaged(parts.iter().rev().map(|part| format!("{boundary}\n{}\n", part.trim_end())).collect());
        let bare = format!("{head}\n\n{body}")
            .replace("Content-Length: *", &format!("Content-Length: {}", body.len()));
        let bare = Message::parse_datagram(bare.as_bytes()).expect("line feeds alone");
        assert_eq!(found(&bare), expected, "{vendor:?}");
    }
}

#[test]
fn one_call_in_two_recordings_shares_its_identifiers() {
    let ids = |file: &str| dossier(&[file]).told().correlations;
    let first = ids(DIALECTS[4].1);
    let second = ids(&DIALECTS[4].1.replace("urn:uuid:", "urn:uuid:other-").replace("bw-call", "bw-2"));
    let shared: Vec<String> =
        first.into_iter().filter(|one| second.contains(one)).map(|one| one.kind).collect();
    assert_eq!(shared, ["x-broadworks-correlation-info", "exttrackingid", "callid"]);
}

proptest! {
    /// Bytes changed, cut out and repeated in what clients send: always an answer, within the limits, and a name for what is odd.
    #[test]
    fn damaged_dialects_are_read_within_the_limits(
        which in 0..DIALECTS.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        last in any::<bool>(),
    ) {
        let whole = message(DIALECTS[which].1);
        let mut body = whole.body().to_vec();
        body.push(b' ');
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body.truncate(cut.index(body.len()) + if last { 0 } else { body.len() });
        let found = Bodies::of(whole.content_type().as_deref(), &body);
        let mut dossier = Dossier::default();
        dossier.invite("t1", &whole, &bodies(&whole));
        dossier.message("t2", &whole, &found);
        let again = dossier.history().events.len();
        dossier.message("t3", &whole, &found);
        let repeated = &dossier.history().events[again..];
        prop_assert!(repeated.is_empty(), "a repeat is no news: {repeated:?}");
        let Told { history, known, correlations, .. } = dossier.told();
        prop_assert!(history.participants.len() + known.len() + correlations.len() < 100);
    }
}
