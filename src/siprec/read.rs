//! Reading a document, by the attribute and element names of every draft and vendor, in any order and any namespace (interop 4, 18, 20).

use super::extension;
use super::metadata::*;
use super::xml::{self, Element};
use crate::base::Redacted;
use crate::limits::{EXTENSIONS_MAX, METADATA_ENTRIES_MAX};
use crate::sip::lex;

/// The roots of recording metadata, by local name: RFC 7865, and the first drafts, which BroadWorks writes still.
const ROOTS: [&str; 2] = ["recording", "recording_metadata"];
/// The namespaces of RFC 7865 and its drafts all start so.
const OUR_NAMESPACES: &str = "urn:ietf:params:xml:ns:";

const GROUP: &[&str] = &["associate-time", "disassociate-time"];
const SESSION: &[&str] = &[
    "sipSessionID",
    "group-ref",
    "start-time",
    "stop-time",
    "end-time",
    "reason",
    "associate-time",
    "disassociate-time",
];
const PARTICIPANT: &[&str] =
    &["nameID", "aor", "name", "send", "recv", "associate-time", "disassociate-time"];
const STREAM: &[&str] = &["label", "mode", "content-type", "associate-time", "disassociate-time"];
const ASSOCIATION: &[&str] = &["associate-time", "disassociate-time", "param", "send", "recv"];

impl Metadata {
    /// Reads a document; never fails, but flags.
    pub fn read(raw: &[u8]) -> Metadata {
        let document = xml::read(raw);
        let mut metadata = Metadata::default();
        metadata.flag(Flag::Malformed, document.malformed);
        metadata.flag(Flag::Cut, !document.cuts.is_none());
        metadata.cuts = document.cuts;
        let Some(root) = document.root else {
            let blank = raw.iter().all(u8::is_ascii_whitespace);
            metadata.flags = vec![if blank { Flag::Missing } else { Flag::Malformed }];
            return metadata;
        };
        let known = is_root(&root.name);
        metadata.flag(Flag::UnknownRoot, !known);
        metadata.flag(Flag::Missing, known && root.children.is_empty() && !document.malformed);
        let mut reader = Reader { space: root.namespace.as_deref(), metadata };
        reader.children(&root, &root.name, !known);
        reader.finish()
    }
}

struct Reader<'a> {
    /// The namespace of the root.
    space: Option<&'a str>,
    metadata: Metadata,
}

impl Reader<'_> {
    fn finish(mut self) -> Metadata {
        let metadata = &mut self.metadata;
        let participants = repeated(metadata.participants.iter().map(|one| one.id.as_str()));
        let streams = repeated(metadata.streams.iter().map(|one| one.id.as_str()));
        metadata.flag(Flag::DuplicateId, participants || streams);
        self.metadata
    }

    /// Whether an element's name may be taken for one of ours: some clients mix namespaces or declare none, yet extension data
    /// may use our names in its own sense.
    fn ours(&self, element: &Element) -> bool {
        match element.namespace.as_deref() {
            None => true,
            space => space == self.space || space.is_some_and(|uri| uri.starts_with(OUR_NAMESPACES)),
        }
    }

    /// Takes in the elements below `parent`. Below unknown ones only where the root was unknown, too.
    fn children(&mut self, parent: &Element, path: &str, search: bool) {
        for element in &parent.children {
            if !self.ours(element) {
                self.extension(element, path, None);
                continue;
            }
            if !self.metadata.room() {
                return;
            }
            self.child(element, path, search);
        }
    }

    fn child(&mut self, element: &Element, path: &str, search: bool) {
        let below = format!("{path}/{}", element.name);
        match element.name.to_ascii_lowercase().as_str() {
            "datamode" => self.metadata.datamode = datamode(&element.text),
            "group" => {
                let group =
                    Group { id: id(element, &["group_id", "id"]).unwrap_or_default(), times: times(element) };
                self.extensions(element, &below, GROUP, &group.id);
                self.metadata.groups.push(group);
            }
            "session" => {
                let session = session(element);
                self.extensions(element, &below, SESSION, &session.id);
                self.metadata.sessions.push(session);
            }
            "participant" => self.participant(element, &below),
            "stream" => {
                let stream = stream(element);
                self.extensions(element, &below, STREAM, &stream.id);
                self.metadata.streams.push(stream);
            }
            "sessionrecordingassoc" => {
                let session = id(element, &["session_id", "session", "id"]).unwrap_or_default();
                self.extensions(element, &below, ASSOCIATION, &session);
                self.metadata.session_times.push(SessionTimes { session, times: times(element) });
            }
            "participantsessionassoc" => {
                let presence = presence(element);
                self.extensions(element, &below, ASSOCIATION, &presence.participant);
                self.metadata.presences.push(presence);
            }
            "participantstreamassoc" => {
                let link = link(element, &["participant_id", "participant", "id"]);
                self.extensions(element, &below, ASSOCIATION, &link.participant);
                self.metadata.links.push(link);
            }
            _ if search || is_root(&element.name) => self.children(element, &below, search),
            _ => self.extension(element, path, None),
        }
    }

    fn participant(&mut self, element: &Element, path: &str) {
        let id = id(element, &["participant_id", "id"]).unwrap_or_default();
        let within = Some(self.metadata.participants.len());
        let mut names: Vec<Name> = element.all("nameID").flat_map(names).collect();
        // The first drafts have the address in the participant itself.
        names.extend(self::names(element).filter(|name| name.aor.is_some() || name.name.is_some()));
        self.metadata.participants.push(Participant { id: id.clone(), names });
        // Drafts of RFC 7865 had these in the participant, too.
        let link = StreamLink { within, ..link(element, &["participant_id", "id"]) };
        if !link.sends.is_empty() || !link.receives.is_empty() {
            self.metadata.links.push(link);
        }
        let times = times(element);
        let session = self::id(element, &["session_id", "session"]);
        if session.is_some() || times != Times::default() {
            let session = session.unwrap_or_default();
            let presence =
                Presence { participant: id.clone(), within, session, times, ..Presence::default() };
            self.metadata.presences.push(presence);
        }
        self.extensions(element, path, PARTICIPANT, &id);
    }

    /// Lists the children of one of our elements that are none of ours.
    fn extensions(&mut self, parent: &Element, path: &str, ours: &[&str], id: &str) {
        let of = Some(id).filter(|id| !id.is_empty());
        for child in &parent.children {
            if !self.ours(child) || !ours.iter().any(|name| child.is(name)) {
                self.extension(child, path, of);
            }
        }
    }

    fn extension(&mut self, element: &Element, path: &str, of: Option<&str>) {
        let known = &mut self.metadata.extensions;
        let full = known.len() == EXTENSIONS_MAX;
        if !full {
            extension::collect(element, path, of, known);
        }
        let cut = full || known.len() > EXTENSIONS_MAX;
        known.truncate(EXTENSIONS_MAX);
        self.metadata.flag(Flag::Cut, cut);
        self.metadata.cuts.extensions += u64::from(cut);
    }
}

fn is_root(name: &str) -> bool {
    ROOTS.iter().any(|root| root.eq_ignore_ascii_case(name))
}

/// Whether `raw` is XML whose root says that it is recording metadata.
pub(super) fn looks_like_metadata(raw: &[u8]) -> bool {
    let marks: [&[u8]; 4] = [b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe", b"\0<"];
    let is_xml =
        raw.trim_ascii_start().starts_with(b"<") || marks.into_iter().any(|mark| raw.starts_with(mark));
    is_xml && xml::root_name(raw).is_some_and(|name| is_root(&name))
}

fn repeated<'a>(ids: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = std::collections::HashSet::new();
    ids.filter(|id| !id.is_empty()).any(|id| !seen.insert(id))
}

fn datamode(text: &str) -> Datamode {
    if text.eq_ignore_ascii_case("partial") { Datamode::Partial } else { Datamode::Complete }
}

fn id(element: &Element, names: &[&str]) -> Option<String> {
    element.attribute(names).map(str::to_owned)
}

fn text(element: &Element, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| element.text_of(name)).map(str::to_owned)
}

fn times(element: &Element) -> Times {
    Times {
        from: text(element, &["associate-time", "start-time"]),
        until: text(element, &["disassociate-time", "stop-time", "end-time"]),
    }
}

fn session(element: &Element) -> CommunicationSession {
    let texts =
        |name| element.all(name).map(|e| e.text.clone()).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    CommunicationSession {
        id: id(element, &["session_id", "id", "session"]).unwrap_or_default(),
        sip_session_ids: texts("sipSessionID"),
        group: text(element, &["group-ref"]).or_else(|| id(element, &["group_id", "group"])),
        times: Times {
            from: text(element, &["start-time", "associate-time"]),
            until: text(element, &["stop-time", "end-time", "disassociate-time"]),
        },
        reasons: texts("reason"),
    }
}

/// Each name of a `nameID` with its address; the address alone where there is no name.
fn names(element: &Element) -> impl Iterator<Item = Name> {
    let private = |text: &str| Redacted::new(text.to_owned());
    let aor = element.attribute(&["aor"]).or_else(|| element.text_of("aor")).map(private);
    // Some take the quotes over from the From header.
    let plain = |text: &str| Some(lex::unquote(text).trim().to_owned()).filter(|text| !text.is_empty());
    let mut names: Vec<Name> = element
        .all("name")
        .filter_map(|name| {
            let lang = name.attribute(&["lang"]).map(str::to_owned);
            Some(Name { aor: aor.clone(), name: Some(Redacted::new(plain(&name.text)?)), lang })
        })
        .collect();
    if names.is_empty() {
        let name = element.attribute(&["name"]).and_then(plain).map(Redacted::new);
        names.push(Name { aor, name, lang: None });
    }
    names.into_iter()
}

fn presence(element: &Element) -> Presence {
    let param = |param: &Element| {
        let name = param.attribute(&["pname", "name"]).or(param.text_of("pname"))?;
        let value = param.attribute(&["pvalue", "value"]).or(param.text_of("pvalue")).unwrap_or("");
        Some((name.to_owned(), value.to_owned()))
    };
    Presence {
        participant: id(element, &["participant_id", "participant", "id"]).unwrap_or_default(),
        within: None,
        session: id(element, &["session_id", "session"]).unwrap_or_default(),
        times: times(element),
        params: element.all("param").filter_map(param).collect(),
    }
}

fn stream(element: &Element) -> Stream {
    Stream {
        id: id(element, &["stream_id", "streamid", "id"]).unwrap_or_default(),
        session: id(element, &["session_id", "session"]),
        label: text(element, &["label"]).or_else(|| id(element, &["label"])),
        content: text(element, &["content-type", "mode"]),
        times: times(element),
    }
}

fn link(element: &Element, id_names: &[&str]) -> StreamLink {
    StreamLink {
        participant: id(element, id_names).unwrap_or_default(),
        within: None,
        sends: streams_of(element, "send"),
        receives: streams_of(element, "recv"),
        times: times(element),
    }
}

/// `<send>id</send>`, several ids in one, `<send><id>id</id></send>`, or the id in an attribute.
fn streams_of(element: &Element, name: &str) -> Vec<String> {
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut ids = Vec::new();
    for sent in element.all(name) {
        sent.all("id").for_each(|id| ids.extend(words(&id.text)));
        ids.extend(words(&sent.text));
        ids.extend(id(sent, &["stream_id", "id"]));
    }
    ids.truncate(METADATA_ENTRIES_MAX);
    ids
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
