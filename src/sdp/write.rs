//! Writing SDP: any [`Description`], in the order of RFC 8866 section 5, and the offer of a recording client (RFC 7866 section 7.1.1).

use std::fmt;
use std::net::IpAddr;

use super::{Attribute, Connection, Description, Direction, Media, Origin, crypto};
use crate::link::Payload;
use crate::srtp::{Keys, Suite};

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.origin;
        f.write_str("v=0\r\n")?;
        if *o != Origin::default() {
            let kind = address_type(&o.address);
            write!(f, "o={} {} {} IN {kind} {}\r\n", o.username, o.id, o.version, o.address)?;
        }
        write!(f, "s={}\r\n", self.name)?;
        connection(f, self.connection.as_ref())?;
        f.write_str("t=0 0\r\n")?;
        attributes(f, &self.attributes)?;
        self.media.iter().try_for_each(|media| media.fmt(f))
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={} {} {}", self.kind, self.port, self.protocol)?;
        self.formats.iter().try_for_each(|format| write!(f, " {format}"))?;
        f.write_str("\r\n")?;
        connection(f, self.connection.as_ref())?;
        attributes(f, &self.attributes)
    }
}

fn address_type(address: &str) -> &'static str {
    if address.contains(':') { "IP6" } else { "IP4" }
}

fn connection(f: &mut fmt::Formatter<'_>, connection: Option<&Connection>) -> fmt::Result {
    match connection {
        Some(Connection(address)) => write!(f, "c=IN {} {address}\r\n", address_type(address)),
        None => Ok(()),
    }
}

fn attributes(f: &mut fmt::Formatter<'_>, attributes: &[Attribute]) -> fmt::Result {
    attributes.iter().try_for_each(|attribute| match &attribute.value {
        Some(value) => write!(f, "a={}:{value}\r\n", attribute.name),
        None => write!(f, "a={}\r\n", attribute.name),
    })
}

/// A track that a client of ours offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfferedTrack {
    /// The port it sends from.
    pub port: u16,
    /// Its label.
    pub label: String,
    /// Its payload types, preferred first.
    pub payloads: Vec<(u8, Payload)>,
    /// sendonly, or inactive while on hold.
    pub direction: Direction,
    /// SRTP with these keys, if it is to be secured (RFC 4568).
    pub keys: Option<(Suite, Keys)>,
}

/// The offer of a recording client at `address`.
pub fn offer(address: IpAddr, id: u64, version: u64, tracks: &[OfferedTrack]) -> Description {
    let address = address.to_string();
    Description {
        origin: Origin {
            username: "-".to_owned(),
            id: id.to_string(),
            version: version.to_string(),
            address: address.clone(),
        },
        name: "-".to_owned(),
        connection: Some(Connection(address)),
        attributes: Vec::new(),
        media: tracks.iter().map(offered).collect(),
    }
}

fn offered(track: &OfferedTrack) -> Media {
    let mut attributes: Vec<Attribute> = track
        .payloads
        .iter()
        .map(|(pt, payload)| Attribute::new("rtpmap", format!("{pt} {}", encoding(*payload))))
        .collect();
    attributes.extend(track.keys.as_ref().map(|(suite, keys)| crypto::offered(1, *suite, keys)));
    attributes.push(Attribute::new("label", track.label.clone()));
    attributes.push(Attribute::flag(track.direction.name()));
    Media {
        kind: "audio".to_owned(),
        port: track.port,
        protocol: if track.keys.is_some() { "RTP/SAVP" } else { "RTP/AVP" }.to_owned(),
        formats: track.payloads.iter().map(|(pt, _)| pt.to_string()).collect(),
        connection: None,
        attributes,
    }
}

/// Encoding and clock of a payload as `a=rtpmap` has it (RFC 3551, 3389, 4733).
pub(super) fn encoding(payload: Payload) -> &'static str {
    match payload {
        Payload::Pcmu => "PCMU/8000",
        Payload::Pcma => "PCMA/8000",
        Payload::ComfortNoise => "CN/8000",
        Payload::TelephoneEvent => "telephone-event/8000",
    }
}
