//! Whose client is this? From several signs at once, for relays carry the metadata of others (interop 49).
//!
//! What is found decides nothing but how doubtful facts are read ([`super::role`]); it goes into the manifest with its signs.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Bodies, Metadata};
use crate::base::lossy;
use crate::sip::{Message, lex};

/// A family of clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Vendor {
    Oracle,
    Audiocodes,
    Ribbon,
    Metaswitch,
    Broadworks,
    Webex,
    Cube,
    Cucm,
    Avaya,
    Opensips,
    Freeswitch,
    Jambonz,
    Twilio,
    Telnyx,
    Genesys,
    Sems,
    Frafos,
    Ng911,
}

/// A sign that was seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VendorSign {
    /// Whose sign it is.
    pub vendor: Vendor,
    /// Where it was seen, and what: never a value of the message, only the pattern that it fits.
    pub sign: String,
}

/// Where a sign is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Boundary,
    Origin,
    SessionName,
    UserAgent,
    Contact,
    From,
    HeaderName,
    CallInfo,
    Namespace,
    Element,
    ParticipantId,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Place::Boundary => "boundary",
            Place::Origin => "o=",
            Place::SessionName => "s=",
            Place::UserAgent => "User-Agent",
            Place::Contact => "Contact",
            Place::From => "From",
            Place::HeaderName => "header",
            Place::CallInfo => "Call-Info",
            Place::Namespace => "namespace",
            Place::Element => "element",
            Place::ParticipantId => "participant",
        }
    }

    /// What the client itself writes counts more than a boundary, which clients share, and that more than the metadata, which a relay
    /// hands on.
    const fn weight(self) -> u32 {
        match self {
            Place::Origin | Place::SessionName | Place::UserAgent | Place::From => 4,
            Place::Contact | Place::Boundary | Place::HeaderName | Place::CallInfo => 2,
            Place::Namespace | Place::Element | Place::ParticipantId => 1,
        }
    }
}

/// A word that the place holds, in whatever case.
const SIGNS: &[(Vendor, Place, &str)] = &[
    (Vendor::Oracle, Place::Boundary, "unique-boundary-1"),
    (Vendor::Oracle, Place::From, "acmesrc"),
    (Vendor::Oracle, Place::UserAgent, "oracle"),
    (Vendor::Oracle, Place::UserAgent, "acme"),
    (Vendor::Oracle, Place::Namespace, "acmepacket.com"),
    (Vendor::Cube, Place::Boundary, "uniqueboundary"),
    (Vendor::Cube, Place::Origin, "ciscosystemssip-gw-useragent"),
    (Vendor::Cube, Place::UserAgent, "cisco-sipgateway"),
    (Vendor::Cube, Place::HeaderName, "x-cisco-recording-participant"),
    (Vendor::Cucm, Place::Origin, "ciscosystemsccm-sip"),
    (Vendor::Cucm, Place::UserAgent, "cisco-cucm"),
    (Vendor::Cucm, Place::From, "x-nearend"),
    (Vendor::Cucm, Place::From, "x-farend"),
    (Vendor::Ribbon, Place::Boundary, "sonus-content-delim"),
    (Vendor::Ribbon, Place::Origin, "sonus_uac"),
    (Vendor::Ribbon, Place::UserAgent, "sonus"),
    (Vendor::Ribbon, Place::UserAgent, "ribbon"),
    (Vendor::Ribbon, Place::Namespace, "ns:calldata"),
    (Vendor::Audiocodes, Place::Boundary, "boundary_ac"),
    (Vendor::Audiocodes, Place::Origin, "audiocodesgw"),
    (Vendor::Audiocodes, Place::UserAgent, "audiocodes"),
    (Vendor::Audiocodes, Place::UserAgent, "mediant"),
    (Vendor::Audiocodes, Place::HeaderName, "x-ac-"),
    (Vendor::Audiocodes, Place::Namespace, "audiocodes"),
    (Vendor::Broadworks, Place::Boundary, "uniquebroadworksboundary"),
    (Vendor::Broadworks, Place::Origin, "broadworks"),
    (Vendor::Broadworks, Place::UserAgent, "broadworks"),
    (Vendor::Broadworks, Place::HeaderName, "x-broadworks-"),
    (Vendor::Broadworks, Place::Element, "broadworksrecordingmetadata"),
    // Webex calling is BroadWorks in another house: its own signs outweigh the inherited ones.
    (Vendor::Webex, Place::UserAgent, "webex"),
    (Vendor::Webex, Place::Contact, "webex.com"),
    (Vendor::Webex, Place::From, "webex.com"),
    (Vendor::Avaya, Place::Boundary, "foobar"),
    (Vendor::Avaya, Place::Contact, "asbce"),
    (Vendor::Avaya, Place::UserAgent, "avaya"),
    (Vendor::Avaya, Place::HeaderName, "x-avaya-"),
    (Vendor::Avaya, Place::ParticipantId, "abcdef1234567890"),
    (Vendor::Metaswitch, Place::Boundary, "metaswitch-boundary"),
    (Vendor::Metaswitch, Place::UserAgent, "metaswitch"),
    (Vendor::Metaswitch, Place::Element, "metaswitchrecordingmetadata"),
    (Vendor::Opensips, Place::Boundary, "oss-unique-boundary-42"),
    (Vendor::Opensips, Place::UserAgent, "opensips"),
    (Vendor::Freeswitch, Place::Origin, "freeswitch"),
    (Vendor::Freeswitch, Place::SessionName, "freeswitch"),
    (Vendor::Freeswitch, Place::UserAgent, "freeswitch"),
    (Vendor::Jambonz, Place::SessionName, "jambonz"),
    (Vendor::Jambonz, Place::UserAgent, "jambonz"),
    (Vendor::Jambonz, Place::Namespace, "jambonz"),
    (Vendor::Twilio, Place::Boundary, "----=_part_"),
    (Vendor::Twilio, Place::SessionName, "twilio media gateway"),
    (Vendor::Twilio, Place::UserAgent, "twilio"),
    (Vendor::Twilio, Place::HeaderName, "x-twilio-"),
    (Vendor::Telnyx, Place::SessionName, "telnyx media gateway"),
    (Vendor::Telnyx, Place::UserAgent, "telnyx"),
    (Vendor::Telnyx, Place::HeaderName, "x-telnyx-"),
    (Vendor::Genesys, Place::UserAgent, "genesys"),
    (Vendor::Genesys, Place::HeaderName, "x-genesys-"),
    (Vendor::Frafos, Place::UserAgent, "frafos"),
    (Vendor::Frafos, Place::UserAgent, "abc sbc"),
    (Vendor::Sems, Place::Origin, "sems"),
    (Vendor::Sems, Place::UserAgent, "sip express media server"),
    (Vendor::Ng911, Place::CallInfo, "nena:uid:callid"),
    (Vendor::Ng911, Place::CallInfo, "emergency:uid:callid"),
];

/// Every sign that an INVITE shows, and whose they are by their weight; of equals the one listed first.
pub(super) fn recognise(
    invite: &Message,
    bodies: &Bodies<'_>,
    metadata: &Metadata,
) -> (Option<Vendor>, Vec<VendorSign>) {
    let seen = Seen::of(invite, bodies, metadata);
    let shown = SIGNS.iter().filter(|(_, place, word)| seen.shows(*place, word));
    let mut votes: Vec<(Vendor, u32)> = Vec::new();
    let mut signs = Vec::new();
    for (vendor, place, word) in shown {
        match votes.iter_mut().find(|(known, _)| known == vendor) {
            Some((_, votes)) => *votes += place.weight(),
            None => votes.push((*vendor, place.weight())),
        }
        signs.push(VendorSign { vendor: *vendor, sign: format!("{} {word}", place.name()) });
    }
    let own = votes.iter().any(|(vendor, _)| *vendor == Vendor::Webex);
    votes.retain(|(vendor, _)| !(own && *vendor == Vendor::Broadworks));
    let most = votes.iter().map(|(_, votes)| *votes).max();
    (votes.iter().find(|(_, votes)| Some(*votes) == most).map(|(vendor, _)| *vendor), signs)
}

/// The places of one INVITE.
struct Seen<'a>(Vec<(Place, Cow<'a, str>)>);

impl<'a> Seen<'a> {
    fn of(invite: &'a Message, bodies: &Bodies<'a>, metadata: &'a Metadata) -> Seen<'a> {
        let mut seen: Vec<(Place, Cow<'a, str>)> = Vec::new();
        let content_type = invite.content_type().unwrap_or_default();
        let parameters = content_type.find(';').map_or("", |at| &content_type[at..]);
        let boundary = lex::param(parameters, "boundary");
        seen.extend(boundary.map(|text| (Place::Boundary, text.to_owned().into())));
        for (place, start) in [(Place::Origin, &b"o="[..]), (Place::SessionName, b"s=")] {
            let mut lines = bodies.sdp.unwrap_or_default().split(|b| *b == b'\n').take(4);
            let line = lines.find_map(|line| line.strip_prefix(start));
            seen.extend(line.map(|line| (place, lossy(line))));
        }
        for (place, name) in [
            (Place::UserAgent, "User-Agent"),
            (Place::Contact, "Contact"),
            (Place::From, "From"),
            (Place::CallInfo, "Call-Info"),
        ] {
            seen.extend(invite.headers(name).map(|value| (place, value)));
        }
        seen.extend(invite.fields().map(|(name, _)| (Place::HeaderName, name)));
        for extension in &metadata.extensions {
            seen.extend(extension.namespace.iter().map(|space| (Place::Namespace, space.into())));
            seen.push((Place::Element, (&extension.path).into()));
        }
        seen.extend(metadata.participants.iter().map(|one| (Place::ParticipantId, (&one.id).into())));
        seen.dedup();
        Seen(seen)
    }

    fn shows(&self, place: Place, word: &str) -> bool {
        let is = |part: &[u8]| part.eq_ignore_ascii_case(word.as_bytes());
        let fits = |text: &str| match place {
            // Words that stand in other boundaries, too.
            Place::Boundary if word == "uniqueboundary" || word == "foobar" => is(text.as_bytes()),
            Place::Boundary | Place::HeaderName | Place::ParticipantId => {
                text.as_bytes().get(..word.len()).is_some_and(is)
            }
            _ => text.as_bytes().windows(word.len()).any(is),
        };
        self.0.iter().any(|(at, text)| *at == place && fits(text))
    }
}
