//! The metadata model (RFC 7865) and its reader, which takes the attribute and element names of every draft and vendor.

use serde::{Deserialize, Serialize};

use super::xml::{self, Element};
use crate::base::Redacted;
use crate::limits::METADATA_ENTRIES_MAX;

/// Identifiers of the recorded call that one communication session collects.
const SIP_SESSION_IDS_MAX: usize = 64;

/// What a document, or all documents of a recording so far, say.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// Whether the document claims to be the whole state.
    pub datamode: Datamode,
    /// Groups of communication sessions.
    pub groups: Vec<Group>,
    /// Communication sessions: the calls being recorded.
    pub sessions: Vec<CommunicationSession>,
    /// Who takes part.
    pub participants: Vec<Participant>,
    /// Media streams.
    pub streams: Vec<Stream>,
    /// Who was in which communication session, and when.
    #[serde(default)]
    pub presences: Vec<Presence>,
    /// Who sends and receives which stream.
    pub links: Vec<StreamLink>,
    /// What was odd.
    pub flags: Vec<Flag>,
}

/// RFC 7865 section 6.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
}

impl Flag {
    /// The name used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Flag::Missing => "missing",
            Flag::Malformed => "malformed",
            Flag::UnknownRoot => "unknown_root",
            Flag::Cut => "cut",
        }
    }
}

/// A group of communication sessions (RFC 7865 section 6.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Its id, as text: clients use UUIDs, base64, numbers.
    pub id: String,
}

/// A communication session (RFC 7865 section 6.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommunicationSession {
    /// Its id.
    pub id: String,
    /// Call-ID or RFC 7989 identifiers of the recorded call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sip_session_ids: Vec<String>,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// As the client wrote it: some count from 1970. Never used to place media.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// As the client wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}

/// A participant (RFC 7865 section 6.5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Participant {
    /// Its id: opaque, may be empty, may be somebody else's too.
    pub id: String,
    /// Its addresses and names.
    pub names: Vec<Name>,
}

/// A `nameID`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Name {
    /// Address of record: a URI of any scheme, a bare number, or any token.
    pub aor: Option<Redacted<String>>,
    /// Display name.
    pub name: Option<Redacted<String>>,
}

/// A participant's time in a communication session (RFC 7865 section 6.6).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Presence {
    /// The participant's id.
    pub participant: String,
    /// The communication session's id.
    pub session: String,
    /// When it came, as the client wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When it left, as the client wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A media stream (RFC 7865 section 6.7).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Its id.
    pub id: String,
    /// The communication session it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The SDP label (RFC 4574) of the m-line that carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Which streams a participant sends and receives (RFC 7865 section 6.9).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamLink {
    /// The participant's id.
    pub participant: String,
    /// Ids of the streams it sends.
    pub sends: Vec<String>,
    /// Ids of the streams it receives.
    pub receives: Vec<String>,
}

impl Metadata {
    /// Reads a document; never fails, but flags.
    pub fn read(raw: &[u8]) -> Metadata {
        let document = xml::read(raw);
        let mut metadata = Metadata::default();
        metadata.flag(Flag::Malformed, document.malformed);
        metadata.flag(Flag::Cut, document.cut);
        let Some(root) = document.root else {
            let blank = raw.iter().all(u8::is_ascii_whitespace);
            metadata.flags = vec![if blank { Flag::Missing } else { Flag::Malformed }];
            return metadata;
        };
        let known = is_root(&root.name);
        metadata.flag(Flag::UnknownRoot, !known);
        metadata.children(&root, !known);
        metadata
    }

    /// Where no document came.
    pub fn missing() -> Metadata {
        Metadata { flags: vec![Flag::Missing], ..Metadata::default() }
    }

    fn flag(&mut self, flag: Flag, raised: bool) {
        if raised && !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// Takes in the elements below `parent`; below unknown ones only where the root was unknown too, for extension data may use
    /// our names in its own sense.
    fn children(&mut self, parent: &Element, search: bool) {
        for element in &parent.children {
            if self.entries() >= METADATA_ENTRIES_MAX {
                return self.flag(Flag::Cut, true);
            }
            match element.name.to_ascii_lowercase().as_str() {
                "datamode" => self.datamode = datamode(&element.text),
                "group" => self.groups.extend(id(element, &["group_id", "id"]).map(|id| Group { id })),
                "session" => self.sessions.push(session(element)),
                "participant" => self.participant(element),
                "stream" => self.streams.push(stream(element)),
                "participantsessionassoc" => self.presences.push(presence(element)),
                "participantstreamassoc" => self.link(element, &["participant_id", "participant", "id"]),
                _ if search => self.children(element, true),
                _ => {}
            }
        }
    }

    fn participant(&mut self, element: &Element) {
        let id = id(element, &["participant_id", "id"]).unwrap_or_default();
        let names = element.all("nameID").map(name).collect();
        self.participants.push(Participant { id, names });
        // Drafts of RFC 7865 had send and recv in the participant.
        self.link(element, &["participant_id", "id"]);
    }

    fn link(&mut self, element: &Element, id_names: &[&str]) {
        let (sends, receives) = (streams_of(element, "send"), streams_of(element, "recv"));
        if sends.is_empty() && receives.is_empty() {
            return;
        }
        let participant = id(element, id_names).unwrap_or_default();
        self.links.push(StreamLink { participant, sends, receives });
    }

    /// Adds what `newer` knows and this does not. A complete document replaces the *state*, never the history: participants
    /// who have left took part all the same, and many clients' last documents are all but empty.
    pub fn absorb(&mut self, newer: &Metadata) {
        fn add<T: PartialEq + Clone>(mine: &mut Vec<T>, theirs: &[T]) {
            for item in theirs {
                if !mine.contains(item) {
                    mine.push(item.clone());
                }
            }
        }
        self.datamode = newer.datamode;
        add(&mut self.flags, &newer.flags);
        if self.entries() + newer.entries() > 2 * METADATA_ENTRIES_MAX {
            return self.flag(Flag::Cut, true);
        }
        add(&mut self.groups, &newer.groups);
        for theirs in &newer.sessions {
            match self.sessions.iter_mut().find(|mine| mine.id == theirs.id) {
                Some(mine) => mine.absorb(theirs),
                None => self.sessions.push(theirs.clone()),
            }
        }
        add(&mut self.participants, &newer.participants);
        add(&mut self.streams, &newer.streams);
        add(&mut self.links, &newer.links);
        for theirs in &newer.presences {
            let same =
                |p: &&mut Presence| (&p.participant, &p.session) == (&theirs.participant, &theirs.session);
            match self.presences.iter_mut().find(same) {
                Some(mine) => mine.until = theirs.until.clone().or(mine.until.take()),
                None => self.presences.push(theirs.clone()),
            }
        }
    }

    fn entries(&self) -> usize {
        self.groups.len()
            + self.sessions.len()
            + self.participants.len()
            + self.streams.len()
            + self.links.len()
    }
}

impl CommunicationSession {
    fn absorb(&mut self, newer: &CommunicationSession) {
        let room = SIP_SESSION_IDS_MAX.saturating_sub(self.sip_session_ids.len());
        for id in newer.sip_session_ids.iter().take(room) {
            if !self.sip_session_ids.contains(id) {
                self.sip_session_ids.push(id.clone());
            }
        }
        self.group = newer.group.clone().or(self.group.take());
        self.start = self.start.take().or_else(|| newer.start.clone());
        self.stop = newer.stop.clone().or(self.stop.take());
    }
}

/// The roots of recording metadata, by local name.
const ROOTS: [&str; 2] = ["recording", "recording_metadata"];

fn is_root(name: &str) -> bool {
    ROOTS.iter().any(|root| root.eq_ignore_ascii_case(name))
}

/// Whether `raw` is XML whose root says that it is recording metadata.
pub(super) fn looks_like_metadata(raw: &[u8]) -> bool {
    let is_xml = raw.trim_ascii_start().starts_with(b"<") || raw.starts_with(b"\xef\xbb\xbf");
    is_xml && xml::root_name(raw).is_some_and(|name| is_root(&name))
}

fn datamode(text: &str) -> Datamode {
    if text.eq_ignore_ascii_case("partial") { Datamode::Partial } else { Datamode::Complete }
}

fn id(element: &Element, names: &[&str]) -> Option<String> {
    element.attribute(names).map(str::to_owned)
}

fn session(element: &Element) -> CommunicationSession {
    let texts = |name| element.all(name).map(|e| e.text.clone()).filter(|text| !text.is_empty());
    CommunicationSession {
        id: id(element, &["session_id", "id"]).unwrap_or_default(),
        sip_session_ids: texts("sipSessionID").collect(),
        group: element
            .text_of("group-ref")
            .map(str::to_owned)
            .or_else(|| id(element, &["group_id", "group"])),
        start: element.text_of("start-time").map(str::to_owned),
        stop: element.text_of("stop-time").or(element.text_of("end-time")).map(str::to_owned),
    }
}

fn name(element: &Element) -> Name {
    let aor = element.attribute(&["aor"]).or_else(|| element.text_of("aor"));
    let redacted = |text: &str| Redacted::new(text.to_owned());
    Name { aor: aor.map(redacted), name: element.text_of("name").map(redacted) }
}

fn presence(element: &Element) -> Presence {
    Presence {
        participant: id(element, &["participant_id", "participant"]).unwrap_or_default(),
        session: id(element, &["session_id", "session"]).unwrap_or_default(),
        from: element.text_of("associate-time").map(str::to_owned),
        until: element.text_of("disassociate-time").map(str::to_owned),
    }
}

fn stream(element: &Element) -> Stream {
    Stream {
        id: id(element, &["stream_id", "id"]).unwrap_or_default(),
        session: id(element, &["session_id", "session"]),
        label: element.text_of("label").map(str::to_owned).or_else(|| id(element, &["label"])),
    }
}

/// `<send>id</send>`, several ids in one, or `<send><id>id</id></send>`.
fn streams_of(element: &Element, name: &str) -> Vec<String> {
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    element
        .all(name)
        .flat_map(|e| e.all("id").flat_map(|id| words(&id.text)).chain(words(&e.text)).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
