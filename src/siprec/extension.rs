//! Extension data: whatever a document holds that is none of RFC 7865's, as a flat list, and what vendors are known to mean by it.

use serde::{Deserialize, Serialize};

use super::xml::Element;
use crate::base::Redacted;

/// An element outside of RFC 7865, with text or attributes.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Extension {
    /// Local names from the root down, parted by slashes.
    pub path: String,
    /// Its prefix, if it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Its namespace, if it has one that is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Id of the group, session, participant or stream that it stands in or names as its `parent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Its attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, Redacted<String>)>,
    /// Its own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Redacted<String>>,
}

/// What a known field means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownKind {
    /// Universal call id, of Oracle, or of Avaya by way of AudioCodes.
    Ucid,
    /// Whether the participant is the calling one (Oracle).
    CallingParty,
    /// A header field of the recorded call (Oracle); `name` is the header's.
    SipHeader,
    /// A member of `broadWorksRecordingMetadata`.
    Broadworks,
    /// A member of `metaswitchRecordingMetadata`.
    Metaswitch,
    /// A member of `callData` (Ribbon).
    CallData,
    /// A member of `ExtensionParameters` (Twilio, Telnyx).
    Parameter,
    /// A field of jambonz.
    Jambonz,
    /// A field of AudioCodes.
    Audiocodes,
}

/// A field of extension data whose meaning is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Known {
    /// What it means.
    pub kind: KnownKind,
    /// Its name within its kind: the path below the vendor's own element, or the name that an attribute gives.
    pub name: String,
    /// Its value, as sent.
    pub value: Redacted<String>,
    /// Id of the participant, session or group that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// Elements whose members are known by standing in them.
const CONTAINERS: [(&str, KnownKind); 4] = [
    ("broadWorksRecordingMetadata", KnownKind::Broadworks),
    ("metaswitchRecordingMetadata", KnownKind::Metaswitch),
    ("callData", KnownKind::CallData),
    ("ExtensionParameters", KnownKind::Parameter),
];

/// Vendors known by a word in the namespace, or by the prefix where that is declared nowhere.
const SPACES: [(&str, &str, KnownKind); 2] =
    [("jambonz", "jb", KnownKind::Jambonz), ("audiocodes", "ac", KnownKind::Audiocodes)];

impl Extension {
    /// The last name of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or("")
    }

    /// What it is known to mean, if that is known.
    pub fn known(&self) -> Option<Known> {
        let (kind, name) = self.kind()?;
        // <header label="P-Charge-Info"><value>...</value></header>, or the value in an attribute.
        let text = self.text.clone().or_else(|| self.attribute(&["value"]).cloned())?;
        Some(Known { kind, name: name.to_owned(), value: text, of: self.of.clone() })
    }

    fn kind(&self) -> Option<(KnownKind, String)> {
        let own = self.name();
        let is = |name: &str| own.eq_ignore_ascii_case(name);
        if is("ucid") || is("AvayaUCID") {
            return Some((KnownKind::Ucid, own.to_owned()));
        }
        if is("callingParty") {
            return Some((KnownKind::CallingParty, own.to_owned()));
        }
        let named = || self.attribute(&["name", "label", "key"]).map(|name| name.reveal().clone());
        if is("header") && self.foreign("acmepacket", "apkt") {
            return Some((KnownKind::SipHeader, named()?));
        }
        for (container, kind) in CONTAINERS {
            if let Some(below) = self.below(container) {
                return Some((kind, named().unwrap_or(below)));
            }
        }
        let space = SPACES.iter().find(|(word, prefix, _)| self.foreign(word, prefix));
        space.map(|(_, _, kind)| (*kind, named().unwrap_or_else(|| own.to_owned())))
    }

    fn foreign(&self, word: &str, prefix: &str) -> bool {
        match &self.namespace {
            Some(uri) => uri.to_ascii_lowercase().contains(word),
            None => self.prefix.eq_ignore_ascii_case(prefix),
        }
    }

    fn attribute(&self, names: &[&str]) -> Option<&Redacted<String>> {
        let of = |name: &&str| self.attributes.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        names.iter().find_map(of).map(|(_, value)| value)
    }

    /// The path below the container of this name.
    fn below(&self, container: &str) -> Option<String> {
        let mut names = self.path.split('/');
        names.find(|name| name.eq_ignore_ascii_case(container))?;
        Some(names.collect::<Vec<_>>().join("/")).filter(|path| !path.is_empty())
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.reveal().len());
        let texts = [&self.namespace, &self.of].into_iter().flatten().map(String::len);
        self.path.len()
            + self.prefix.len()
            + self.text.as_ref().map_or(0, |text| text.reveal().len())
            + attributes.chain(texts).sum::<usize>()
    }
}

/// Lists `element` and all below it that say something. `path` is its parent's, `of` whom it is about.
pub(super) fn collect(element: &Element, path: &str, of: Option<&str>, into: &mut Vec<Extension>) {
    let path = format!("{path}/{}", element.name);
    let of = element.attribute(&["parent"]).or(of);
    let private = |text: &str| Redacted::new(text.to_owned());
    // Oracle writes a header's value as an element of its own below the header's.
    let text = Some(element.text.as_str()).filter(|text| !text.is_empty()).or(element.text_of("value"));
    if text.is_some() || !element.attributes.is_empty() {
        let attributes = element.attributes.iter();
        into.push(Extension {
            path: path.clone(),
            prefix: element.prefix.clone(),
            namespace: element.namespace.as_deref().map(str::to_owned),
            of: of.map(str::to_owned),
            attributes: attributes.map(|(name, value)| (name.clone(), private(value))).collect(),
            text: text.map(private),
        });
    }
    element.children.iter().for_each(|child| collect(child, &path, of, into));
}
