//! The records of a history: groups, sessions, participants, streams and associations with the time they were first told and
//! ended, and the events between. They go into the manifest as they are.
//!
//! Every `at`, `since` and `until` is the arrival of the document that told, RFC 3339 in UTC; [`Times`] are the client's own words.

use serde::{Deserialize, Serialize};

use super::metadata::{Name, Times};
use super::role::RoleOf;
use crate::base::Redacted;

/// From when to when something was told to be.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Span {
    /// When it was first told of.
    pub since: String,
    /// When it was told to have ended; while it lasts, nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Span {
    pub(super) fn open(at: &str) -> Span {
        Span { since: at.to_owned(), until: None }
    }

    /// Whether it lasts.
    pub fn is_open(&self) -> bool {
        self.until.is_none()
    }

    /// Ends it; false if it had ended before.
    pub(super) fn end(&mut self, at: &str) -> bool {
        let ends = self.is_open();
        if ends {
            self.until = Some(at.to_owned());
        }
        ends
    }
}

/// A group of communication sessions.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupRecord {
    /// `group_id`.
    pub id: String,
    /// As told.
    pub told: Times,
    /// As it arrived.
    pub span: Span,
}

/// A communication session. A recording session may carry several in turn.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionRecord {
    /// `session_id`.
    pub id: String,
    /// `sipSessionID`: Call-ID or RFC 7989 identifiers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sip_session_ids: Vec<String>,
    /// `group-ref`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Start and stop as told.
    pub told: Times,
    /// Its time in the recording session as told.
    pub in_recording: Times,
    /// Why it ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// As it arrived.
    pub span: Span,
}

/// A participant's time in a communication session.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PresenceRecord {
    /// `session_id`.
    pub session: String,
    /// `associate-time`, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `disassociate-time`, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Capabilities and preferences (RFC 7865 section 6.6.1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<(String, String)>,
}

/// A participant (RFC 7865 section 6.5), over the whole recording. Who comes back under the same id and address is the same.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ParticipantRecord {
    /// `participant_id`.
    pub id: String,
    /// Addresses of record.
    pub aors: Vec<Redacted<String>>,
    /// Names, as displayed.
    pub names: Vec<Redacted<String>>,
    /// Which name belongs to which address, and in which language it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name_ids: Vec<Name>,
    /// The header that the name comes from, where the metadata has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_from: Option<String>,
    /// When it came and went, per communication session.
    pub presence: Vec<PresenceRecord>,
    /// As it arrived.
    pub span: Span,
    /// Caller or callee, and what says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleOf>,
    /// A stand-in that the client uses until it knows who takes part.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// Who took its place: an index into the participants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<u32>,
}

/// A stream, for as long as it kept its id and its label.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamRecord {
    /// `stream_id`.
    pub id: String,
    /// `session_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// SDP label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `content-type` or `mode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Its place among the streams of the document that told of it first, from 0.
    pub position: u32,
    /// As told.
    pub told: Times,
    /// As it arrived.
    pub span: Span,
}

/// One direction of one stream for one participant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkRecord {
    /// Index into the participants.
    pub participant: u32,
    /// Id of the stream.
    pub stream: String,
    /// It sends it; otherwise it receives it.
    pub sends: bool,
    /// As told.
    #[serde(default)]
    pub told: Times,
    /// As it arrived.
    pub span: Span,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A communication session began.
    SessionStarted,
    /// A communication session ended.
    SessionStopped,
    /// Another communication session took the place of `was` in the same recording session.
    SessionReplaced,
    /// A participant came, or came back.
    ParticipantJoined,
    /// A participant left.
    ParticipantLeft,
    /// More became known of a participant: an address or a name.
    ParticipantChanged,
    /// The participant took the place of a stand-in, `other`.
    ProvisionalReplaced,
    /// A stream came, or came back.
    StreamAdded,
    /// A stream went.
    StreamRemoved,
    /// A stream's label is another than `was`.
    StreamRelabelled,
    /// The stream of this label has another id than `was`.
    StreamRenamed,
    /// A participant who was there sends a stream that it did not send: among others, resume.
    SendingStarted,
    /// A participant who stays sends a stream no longer: among others, hold.
    SendingStopped,
    /// `participant` and `other` have exchanged the streams that they send, their labels being the same. Kept as told.
    Crossed,
}

/// One change of the state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When the document came.
    pub at: String,
    /// What happened.
    pub what: What,
    /// When, in the client's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// Index of the participant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<u32>,
    /// Index of a second participant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<u32>,
    /// Id of the communication session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Id of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Label of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The former label or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
}

impl Event {
    pub(super) fn new(what: What) -> Event {
        Event {
            at: String::new(),
            what,
            told: None,
            participant: None,
            other: None,
            session: None,
            stream: None,
            label: None,
            was: None,
        }
    }
}
