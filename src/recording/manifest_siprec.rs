//! The parts of a manifest that tell of the recorded calls: RFC 7865's model with its history, what vendors add to it, and the
//! messages that brought it. Their records are [`crate::siprec`]'s own.

use serde::{Deserialize, Serialize};

use super::manifest::{HeaderField, Track};
use crate::base::Redacted;
use crate::siprec::*;

pub use crate::siprec::{ParticipantRecord as Participant, PresenceRecord as Presence};

/// What the messages of the recording session told of the recorded calls, the participants apart. Identifiers are as sent: base64
/// of a UUID by the book, anything in the field.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiprecPart {
    /// By what the INVITE was recognised as a recording session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recognised_by: Option<Sign>,
    /// Whose client it is, as far as signs tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<Vendor>,
    /// Every sign that was seen, of whomever.
    pub vendor_signs: Vec<VendorSign>,
    /// What was odd about the metadata, all revisions together.
    pub flags: Vec<Flag>,
    /// Communication sessions (RFC 7865 section 6.3), in the order they were told of.
    pub communication_sessions: Vec<SessionRecord>,
    /// Communication session groups (RFC 7865 section 6.2).
    pub session_groups: Vec<GroupRecord>,
    /// Media streams (RFC 7865 section 6.7).
    pub streams: Vec<StreamRecord>,
    /// Who sent and received which stream, and when (RFC 7865 section 6.9).
    pub links: Vec<LinkRecord>,
    /// What changed when.
    pub events: Vec<Event>,
    /// Identifiers by which other recordings of the same call can be found.
    pub correlations: Vec<Correlation>,
    /// Extension data whose meaning is known.
    pub known: Vec<Known>,
    /// All extension data, element by element; whole and verbatim it is in the raw revisions.
    pub extensions: Vec<Extension>,
}

impl SiprecPart {
    /// From a dossier; the participants stand apart.
    pub fn new(dossier: Dossier) -> (SiprecPart, Vec<Participant>) {
        let Told { sign, vendor, signs, history, correlations, known, extensions } = dossier.told();
        let History { groups, sessions, participants, streams, links, events, flags, .. } = history;
        let part = SiprecPart {
            recognised_by: sign,
            vendor,
            vendor_signs: signs,
            flags,
            communication_sessions: sessions,
            session_groups: groups,
            streams,
            links,
            events,
            correlations,
            known,
            extensions,
        };
        (part, participants)
    }
}

/// A request within the dialog: re-INVITE, UPDATE, BYE, ...
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SipMessage {
    /// When it came.
    pub at: String,
    /// When the last of several came that were alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// How many they were.
    pub count: u32,
    /// Its method.
    pub method: String,
    /// Its header fields, but for those that only say how it travelled.
    pub headers: Vec<HeaderField>,
}

/// Hides what is private, whatever stands in it.
pub(super) fn hide(value: &mut Redacted<String>) {
    *value = Redacted::new("[redacted]".to_owned());
}

/// Hides an id or a label if it is somebody's number or address, which some clients use for ids.
fn hide_id(id: &mut String) {
    if is_personal(id) {
        "[redacted]".clone_into(id);
    }
}

/// Hides personal data of a participant. Every member is named, so that a new one can't be forgotten.
pub(super) fn conceal_participant(who: &mut Participant) {
    let Participant {
        id,
        aors,
        names,
        name_ids,
        name_from: _,
        presence,
        span: _,
        role: _,
        provisional: _,
        replaced_by: _,
    } = who;
    hide_id(id);
    aors.iter_mut().chain(names).for_each(hide);
    name_ids.iter_mut().flat_map(|one| one.aor.iter_mut().chain(&mut one.name)).for_each(hide);
    presence.iter_mut().for_each(|stay| hide_id(&mut stay.session));
}

/// Hides ids in a track that are numbers or addresses.
pub(super) fn conceal_track(track: &mut Track) {
    let speakers = track.speakers.iter_mut().map(|speaker| &mut speaker.stream);
    track.stream.iter_mut().chain(&mut track.participants).chain(speakers).for_each(hide_id);
}

impl SiprecPart {
    /// The same for all else.
    pub(super) fn conceal(&mut self) {
        let SiprecPart {
            recognised_by: _,
            vendor: _,
            vendor_signs: _,
            flags: _,
            communication_sessions,
            session_groups,
            streams,
            links,
            events,
            correlations,
            known,
            extensions,
        } = self;
        correlations.iter_mut().for_each(|one| hide(&mut one.value));
        known.iter_mut().for_each(|one| hide(&mut one.value));
        for extension in &mut *extensions {
            let values = extension.attributes.iter_mut().map(|(_, value)| value);
            values.chain(&mut extension.text).for_each(hide);
        }
        let sessions =
            communication_sessions.iter_mut().flat_map(|one| [&mut one.id].into_iter().chain(&mut one.group));
        let streams = streams.iter_mut().flat_map(|one| [&mut one.id].into_iter().chain(&mut one.session));
        let texts = events.iter_mut().flat_map(|one| {
            one.session.iter_mut().chain(&mut one.stream).chain(&mut one.label).chain(&mut one.was)
        });
        let about =
            known.iter_mut().map(|one| &mut one.of).chain(extensions.iter_mut().map(|one| &mut one.of));
        sessions
            .chain(session_groups.iter_mut().map(|one| &mut one.id))
            .chain(streams)
            .chain(links.iter_mut().map(|one| &mut one.stream))
            .chain(texts)
            .chain(about.flatten())
            .for_each(hide_id);
    }
}
