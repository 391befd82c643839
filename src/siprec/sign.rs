//! Is this INVITE a recording session? Clients show it in different ways, and many not in that of RFC 7866 section 6.1.

use serde::{Deserialize, Serialize};

use super::{Bodies, read::looks_like_metadata};
use crate::sip::Message;

/// By what a recording session was recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Option tag `siprec` in Require (or, with some, only in Supported).
    OptionTag,
    /// `+sip.src` in Contact, as parameter of the header or of the URI, in one of its spellings (RFC 7866 section 6.1.1).
    Contact,
    /// A metadata body.
    Metadata,
    /// A vendor's own header or parameter.
    Vendor,
}

impl Sign {
    /// The first sign that `invite` shows, if any.
    pub fn of(invite: &Message, bodies: &Bodies<'_>) -> Option<Sign> {
        let shown = |sign: &Sign| match sign {
            Sign::OptionTag => invite.lists("Require", "siprec") || invite.lists("Supported", "siprec"),
            Sign::Contact => contact(invite),
            Sign::Metadata => bodies.metadata.is_some() || looks_like_metadata(invite.body()),
            Sign::Vendor => vendor(invite),
        };
        [Sign::OptionTag, Sign::Contact, Sign::Metadata, Sign::Vendor].into_iter().find(shown)
    }
}

fn contact(invite: &Message) -> bool {
    let names = ["+sip.src", "src", "+sip-src", "sip.src"];
    let shown = |name: &&str| {
        invite.addresses("Contact").iter().any(|c| c.param(name).is_some() || c.uri().param(name).is_some())
    };
    names.iter().any(shown)
}

/// Cisco CUBE's network-based recording, and CUCM's forks.
fn vendor(invite: &Message) -> bool {
    invite.header("X-Cisco-Recording-Participant").is_some() || is_one_leg(invite)
}

/// Whether a client forks the near and the far end of its call each in a recording session of its own, as CUCM does.
pub fn is_one_leg(invite: &Message) -> bool {
    let from = invite.from();
    let marked = |name: &str| from.param(name).is_some() || from.uri().param(name).is_some();
    ["x-nearend", "x-farend", "x-nearenddevice", "x-farenddevice"].into_iter().any(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(headers: &str, body: &str) -> Option<Sign> {
        let text = format!(
            "INVITE sip:r@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nTo: <sip:r@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             {headers}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let message = Message::parse_datagram(text.as_bytes()).expect("a message");
        Sign::of(&message, &Bodies::within(&message))
    }

    #[test]
    fn each_sign_is_enough() {
        let from = "From: <sip:a@h>;tag=1";
        for (headers, expected) in [
            (format!("{from}\r\nRequire: 100rel, SIPREC"), Some(Sign::OptionTag)),
            (format!("{from}\r\nContact: <sip:a@h>;+sip.src"), Some(Sign::Contact)),
            (format!("{from}\r\nContact: <sip:a@h;src>"), Some(Sign::Contact)),
            (format!("{from}\r\nm: sip:a@h;+sip-src=\"x\""), Some(Sign::Contact)),
            (
                format!("{from}\r\nX-Cisco-Recording-Participant: sip:1@h;media-index=\"0\""),
                Some(Sign::Vendor),
            ),
            ("From: <sip:a@h;x-nearend;x-refci=1>;tag=1".to_owned(), Some(Sign::Vendor)),
            (format!("{from}\r\nContact: <sip:src@h>"), None),
        ] {
            assert_eq!(sign(&headers, ""), expected, "{headers}");
        }
        let typed = format!("{from}\r\nContent-Type: application/rs-metadata");
        assert_eq!(sign(&typed, "damaged"), Some(Sign::Metadata));
        assert_eq!(sign(&format!("{from}\r\nContent-Type: what/ever"), "<recording/>"), Some(Sign::Metadata));
        assert_eq!(sign(from, "v=0"), None);
    }
}
