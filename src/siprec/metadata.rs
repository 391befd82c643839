//! The metadata model (RFC 7865): what one document says. See [`super::History`] for what all documents of a recording come to.

use serde::{Deserialize, Serialize};

use super::cuts::Cuts;
use super::extension::Extension;
use crate::base::Redacted;
use crate::limits::METADATA_ENTRIES_MAX;

/// What a document says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Metadata {
    /// Whether the document claims to be the whole state.
    pub datamode: Datamode,
    /// Groups of communication sessions.
    pub groups: Vec<Group>,
    /// Communication sessions: the calls being recorded.
    pub sessions: Vec<CommunicationSession>,
    /// When which communication session was part of the recording session (RFC 7865 section 6.4).
    pub session_times: Vec<SessionTimes>,
    /// Who takes part.
    pub participants: Vec<Participant>,
    /// Media streams.
    pub streams: Vec<Stream>,
    /// Who was in which communication session, and when.
    pub presences: Vec<Presence>,
    /// Who sends and receives which stream.
    pub links: Vec<StreamLink>,
    /// Elements that are none of RFC 7865's.
    pub extensions: Vec<Extension>,
    /// What was odd.
    pub flags: Vec<Flag>,
    /// Of what there was too much.
    pub cuts: Cuts,
}

/// RFC 7865 section 6.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Datamode {
    /// The whole state; also when nothing is said.
    #[default]
    Complete,
    /// Only what changed.
    Partial,
}

/// What was odd about a document. None of these keeps a call from being recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// There was none, or an empty one.
    Missing,
    /// Not well-formed XML: read as far as possible.
    Malformed,
    /// The root is neither `recording` nor `recording_metadata`.
    UnknownRoot,
    /// Larger than the limits: the rest was left out of the model.
    Cut,
    /// One id stands for several participants, or for several streams.
    DuplicateId,
    /// An association names a participant or a stream that there is not.
    Dangling,
    /// Who sends which stream contradicts itself. Kept as it was told.
    Crossed,
    /// There was none, and the participants come from header fields.
    FromHeaders,
    /// A body that could not be taken apart, or of no type: kept as it came, and not read.
    Unread,
}

impl Flag {
    /// The name used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Flag::Missing => "missing",
            Flag::Malformed => "malformed",
            Flag::UnknownRoot => "unknown_root",
            Flag::Cut => "cut",
            Flag::DuplicateId => "duplicate_id",
            Flag::Dangling => "dangling",
            Flag::Crossed => "crossed",
            Flag::FromHeaders => "from_headers",
            Flag::Unread => "unread",
        }
    }
}

/// When something began and ended, as the client wrote it: with any offset or none, or on a clock that counts from 1970. Never used
/// to place media.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Times {
    /// `associate-time`, `start-time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `disassociate-time`, `stop-time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Times {
    /// Takes over what `newer` knows.
    pub(super) fn absorb(&mut self, newer: &Times) {
        self.from = self.from.take().or_else(|| newer.from.clone());
        self.until = newer.until.clone().or(self.until.take());
    }
}

/// A group of communication sessions (RFC 7865 section 6.2).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Group {
    /// Its id, as text: clients use UUIDs, base64, numbers.
    pub id: String,
    /// When it was part of the recording session.
    pub times: Times,
}

/// A communication session (RFC 7865 section 6.3).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CommunicationSession {
    /// Its id.
    pub id: String,
    /// Call-ID or RFC 7989 identifiers of the recorded call.
    pub sip_session_ids: Vec<String>,
    /// The group it belongs to.
    pub group: Option<String>,
    /// When it ran.
    pub times: Times,
    /// Why it ended.
    pub reasons: Vec<String>,
}

/// A communication session's time in the recording session (RFC 7865 section 6.4).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SessionTimes {
    /// The communication session's id.
    pub session: String,
    /// From when to when.
    pub times: Times,
}

/// A participant (RFC 7865 section 6.5).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Participant {
    /// Its id: opaque, may be empty, may be somebody else's too.
    pub id: String,
    /// Its addresses and names.
    pub names: Vec<Name>,
}

/// One name of a `nameID`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Name {
    /// Address of record: a URI of any scheme, a bare number, or any token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aor: Option<Redacted<String>>,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Redacted<String>>,
    /// The language of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
}

/// A participant's time in a communication session (RFC 7865 section 6.6).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Presence {
    /// The participant's id.
    pub participant: String,
    /// Where it stood within a participant, as drafts have it: the index of that one, whose id may not be its own.
    pub within: Option<usize>,
    /// The communication session's id.
    pub session: String,
    /// When it came and left.
    pub times: Times,
    /// Capabilities and preferences: `param`, name and value.
    pub params: Vec<(String, String)>,
}

/// A media stream (RFC 7865 section 6.7).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Stream {
    /// Its id.
    pub id: String,
    /// The communication session it belongs to.
    pub session: Option<String>,
    /// The SDP label (RFC 4574) of the m-line that carries it.
    pub label: Option<String>,
    /// `content-type`, or the `mode` of drafts: `separate`, `mixed`.
    pub content: Option<String>,
    /// When it was there.
    pub times: Times,
}

/// Which streams a participant sends and receives (RFC 7865 section 6.9). One without streams says that it does neither: hold.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StreamLink {
    /// The participant's id.
    pub participant: String,
    /// As for [`Presence::within`].
    pub within: Option<usize>,
    /// Ids of the streams it sends.
    pub sends: Vec<String>,
    /// Ids of the streams it receives.
    pub receives: Vec<String>,
    /// From when to when.
    pub times: Times,
}

impl Metadata {
    /// Where no document came.
    pub fn missing() -> Metadata {
        Metadata { flags: vec![Flag::Missing], ..Metadata::default() }
    }

    pub(super) fn flag(&mut self, flag: Flag, raised: bool) {
        if raised && !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// True while there is room for one more entry.
    pub(super) fn room(&mut self) -> bool {
        let full = self.entries() >= METADATA_ENTRIES_MAX;
        self.flag(Flag::Cut, full);
        self.cuts.entries = self.cuts.entries.max(u64::from(full));
        !full
    }

    /// Groups, sessions, participants, streams and associations.
    pub(super) fn entries(&self) -> usize {
        let links: usize = self.links.iter().map(|link| link.sends.len() + link.receives.len() + 1).sum();
        self.groups.len()
            + self.sessions.len()
            + self.session_times.len()
            + self.participants.len()
            + self.streams.len()
            + self.presences.len()
            + links
    }
}
