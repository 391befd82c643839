//! What header fields tell of participants: all there is from Cisco's network-based recording and from CUCM, which send no metadata, and
//! names for those whom the metadata leaves nameless (interop 1, 28).

use super::aor;
use super::metadata::*;
use crate::base::Redacted;
use crate::sip::{Message, NameAddr};

/// Header fields of one kind that are looked at.
const FIELDS_MAX: usize = 16;
/// Where names are looked for, the most trustworthy first.
const NAMED: [&str; 3] = ["P-Asserted-Identity", "Remote-Party-ID", "From"];

/// The metadata that an INVITE without metadata amounts to, if it says anything of participants.
pub(super) fn metadata(invite: &Message) -> Option<Metadata> {
    let mut metadata = Metadata { flags: vec![Flag::Missing, Flag::FromHeaders], ..Metadata::default() };
    recording_participants(invite, &mut metadata);
    if metadata.participants.is_empty() {
        fork(invite.from(), &mut metadata);
    }
    (!metadata.participants.is_empty()).then_some(metadata)
}

/// `X-Cisco-Recording-Participant: <URI>;media-index="0"`: one per participant, with the indices of the m-lines that it sends.
fn recording_participants(invite: &Message, metadata: &mut Metadata) {
    for (order, one) in
        invite.addresses("X-Cisco-Recording-Participant").into_iter().take(FIELDS_MAX).enumerate()
    {
        let index = one.param("media-index").or_else(|| one.uri().param("media-index")).unwrap_or("");
        let sends = index.split_ascii_whitespace().map(str::to_owned).collect();
        add(metadata, format!("header-{order}"), one.uri().as_str(), sends);
    }
    let lines = metadata.links.iter().flat_map(|link| link.sends.clone());
    let highest = lines.filter_map(|line| line.parse::<usize>().ok()).max();
    let streams = highest.map_or(0, |line| line.min(FIELDS_MAX) + 1);
    metadata.streams.extend((0..streams).map(|line| Stream { id: line.to_string(), ..Stream::default() }));
}

/// CUCM forks each end of a call into a dialog of its own: `x-nearend` or `x-farend` in From says which, beside the numbers of both.
fn fork(from: &NameAddr, metadata: &mut Metadata) {
    let param = |name: &str| from.uri().param(name).or_else(|| from.param(name));
    let ends = [("near", "x-nearend", "x-nearendaddr"), ("far", "x-farend", "x-farendaddr")];
    for (id, this, number) in ends {
        let number = param(number).filter(|number| !number.is_empty());
        let mine = param(this).is_some();
        if let Some(number) = number {
            let sends = if mine { vec!["0".to_owned()] } else { Vec::new() };
            add(metadata, id.to_owned(), number, sends);
        }
    }
    if !metadata.participants.is_empty() {
        metadata.streams.push(Stream { id: "0".to_owned(), ..Stream::default() });
    }
}

fn add(metadata: &mut Metadata, id: String, aor: &str, sends: Vec<String>) {
    let aor = Some(Redacted::new(aor.to_owned()));
    let names = vec![Name { aor, ..Name::default() }];
    metadata.participants.push(Participant { id: id.clone(), names });
    metadata.links.push(StreamLink { participant: id, sends, ..StreamLink::default() });
}

/// A display name that an INVITE gives an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Named {
    /// What the address has in common with its other forms.
    key: String,
    name: Redacted<String>,
    header: &'static str,
}

/// The display names of an INVITE.
pub(super) fn names(invite: &Message) -> Vec<Named> {
    let mut named = Vec::new();
    for header in NAMED {
        for address in invite.addresses(header).into_iter().take(FIELDS_MAX) {
            let (key, name) = (aor::key(address.uri().as_str()), address.display().trim());
            if !name.is_empty() && !key.is_empty() {
                named.push(Named { key, name: Redacted::new(name.to_owned()), header });
            }
        }
    }
    named
}

/// The name of the first of these addresses that has one, and the header it stands in.
pub(super) fn name_of<'a>(
    named: &'a [Named],
    aors: &[Redacted<String>],
) -> Option<(&'a Redacted<String>, &'static str)> {
    let of = |aor: &Redacted<String>| {
        let key = aor::key(aor.reveal());
        named.iter().find(|named| named.key == key)
    };
    aors.iter().find_map(of).map(|named| (&named.name, named.header))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(headers: &str) -> Message {
        let text = format!(
            "INVITE sip:r@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nTo: <sip:r@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{headers}\r\n\r\n"
        );
        Message::parse_datagram(text.as_bytes()).expect("a message")
    }

    #[test]
    fn recording_participants_are_read_with_the_lines_they_send() {
        let cube = invite(
            "From: <sip:10.42.30.10>;tag=1\r\nX-Cisco-Recording-Participant: sip:708090@10.42.30.5;media-index=\"0 2\"\r\n\
             X-Cisco-Recording-Participant: <sip:10000@10.42.30.32>;media-index=\"1\"",
        );
        let read = metadata(&cube).unwrap();
        assert_eq!(read.participants[0].names[0].aor.as_ref().unwrap().reveal(), "sip:708090@10.42.30.5");
        assert_eq!(
            (&read.links[0].sends[..], &read.links[1].sends[..]),
            (&["0".into(), "2".into()][..], &["1".into()][..])
        );
        assert_eq!(read.streams.len(), 3);
        let far = invite(
            "From: <sip:10.42.30.10>;tag=1\r\nX-Cisco-Recording-Participant: sip:1@h;media-index=\"99999999\"",
        );
        assert!(metadata(&far).unwrap().streams.len() <= FIELDS_MAX + 1);
    }

    #[test]
    fn a_fork_of_one_end_names_both_and_sends_one() {
        let far = invite(
            "From: \"Ann\" <sip:2001@ccm;x-farend;x-refci=27298;x-nearendclusterid=c1;x-nearenddevice=SEP1;x-nearendaddr=2001;\
             x-farendrefci=2;x-farenddevice=SEP2;x-farendaddr=+15550100>;tag=9",
        );
        let read = metadata(&far).unwrap();
        let who: Vec<_> = read.participants.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(who, ["near", "far"]);
        assert!(read.links[0].sends.is_empty() && read.links[1].sends == ["0"]);
        assert_eq!(metadata(&invite("From: <sip:a@h>;tag=1")), None);
    }

    #[test]
    fn names_come_from_the_asserted_identity_before_from() {
        let named = names(&invite(
            "From: \"PBX\" <sip:2001@h>;tag=1\r\nP-Asserted-Identity: \"Ann Lee\" <sip:2001@x>, <tel:5>",
        ));
        let aor = |text: &str| vec![Redacted::new(text.to_owned())];
        let (name, header) = name_of(&named, &aor("2001@elsewhere")).unwrap();
        assert_eq!((name.reveal().as_str(), header), ("Ann Lee", "P-Asserted-Identity"));
        assert!(name_of(&named, &aor("5")).is_none());
    }
}
