//! SDP (RFC 8866) and offer/answer (RFC 3264), as much as recording needs and as leniently as clients demand.
//!
//! [`Description`] is what was said, [`Agreement`] what we make of an offer, [`Answerer`] writes the answers of one
//! dialog. Leaves out DTLS-SRTP, ICE, BUNDLE, and every codec that can't be placed sample by sample.

mod answer;
mod crypto;
mod late;
mod parse;
mod write;

use std::net::IpAddr;

pub use answer::{Agreement, Answerer, Line, TrackTerms, Why};
pub use crypto::{Crypto, Keyring};
pub use late::{answered, assumed};
pub use parse::{Malformed, parse};
pub use write::{OfferedTrack, offer};

/// A session description.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Description {
    /// `o=`.
    pub origin: Origin,
    /// `s=`.
    pub name: String,
    /// Session-level `c=`.
    pub connection: Option<Connection>,
    /// Session-level attributes, in order.
    pub attributes: Vec<Attribute>,
    /// The m-lines, in order.
    pub media: Vec<Media>,
}

/// `o=`: kept as text, for no decision hangs on it (clients change it without cause, or do not when they should).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Origin {
    /// User name.
    pub username: String,
    /// Identifier.
    pub id: String,
    /// Version.
    pub version: String,
    /// Address, without its type.
    pub address: String,
}

/// The address of `c=`, as text: it may be a name, and it may be wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection(pub String);

impl Connection {
    /// The address, if it is one; a multicast TTL behind it is dropped.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.split('/').next()?.parse().ok()
    }
}

/// `a=name` or `a=name:value`.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What is behind the colon.
    pub value: Option<String>,
}

/// An m-line with what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// `audio`, `video`, ...
    pub kind: String,
    /// Port; 0 declines or ends the stream (RFC 3264 section 6).
    pub port: u16,
    /// `RTP/AVP`, ...
    pub protocol: String,
    /// Payload types, or whatever else the protocol has for formats.
    pub formats: Vec<String>,
    /// Media-level `c=`.
    pub connection: Option<Connection>,
    /// Attributes, in order.
    pub attributes: Vec<Attribute>,
}

/// Which way media flows, as its describer sees it (RFC 8866 section 6.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// It sends.
    SendOnly,
    /// It receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    fn of(attributes: &[Attribute]) -> Option<Direction> {
        let all = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
        attributes.iter().find_map(|a| all.into_iter().find(|d| a.is(d.name())))
    }
}

impl Attribute {
    /// An attribute with a value.
    pub fn new(name: &str, value: impl Into<String>) -> Attribute {
        Attribute { name: name.to_owned(), value: Some(value.into()) }
    }

    /// An attribute without one.
    pub fn flag(name: &str) -> Attribute {
        Attribute { name: name.to_owned(), value: None }
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Without the keys in it.
impl std::fmt::Debug for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secret = self.value.as_deref().filter(|_| self.is("crypto")).map(|_| "[redacted]");
        f.debug_struct("Attribute")
            .field("name", &self.name)
            .field("value", &secret.or(self.value.as_deref()))
            .finish()
    }
}

/// Payload types of RTP (RFC 3550 section 5.1).
const PAYLOAD_TYPES: usize = 128;

/// A format as a payload type. `08` would be answered as `8`, which is not what was offered: only the plain form counts.
fn payload_type(format: &str) -> Option<usize> {
    let plain = format.bytes().all(|b| b.is_ascii_digit()) && (format.len() == 1 || !format.starts_with('0'));
    format.parse().ok().filter(|pt| plain && *pt < PAYLOAD_TYPES)
}

impl Media {
    /// The values of every attribute called `name`.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |a| a.is(name)).filter_map(|a| a.value.as_deref())
    }

    /// Whether the attribute is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|a| a.is(name))
    }

    /// The label (RFC 4574): an opaque text.
    pub fn label(&self) -> Option<&str> {
        self.values("label").next().filter(|label| !label.is_empty())
    }

    /// The direction of this line alone, if it says one.
    pub fn direction(&self) -> Option<Direction> {
        Direction::of(&self.attributes)
    }

    /// What the attributes called `name` (`rtpmap` or `fmtp`) say of each payload type; of several the first counts.
    fn by_type(&self, name: &str) -> [Option<&str>; PAYLOAD_TYPES] {
        let mut said = [None; PAYLOAD_TYPES];
        for attribute in self.attributes.iter().filter(|a| a.is(name)) {
            let value = attribute.value.as_deref().unwrap_or("");
            let Some((about, rest)) = value.split_once(|c: char| c.is_ascii_whitespace()) else { continue };
            let Some(pt) = payload_type(about) else { continue };
            said[pt] = said[pt].or(Some(rest.trim()));
        }
        said
    }
}

impl Description {
    /// The address of one of its lines: its own, else the session's.
    pub fn connection<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connection.as_ref().or(self.connection.as_ref())
    }
}
