//! Identifiers by which the recordings of one call can be found together: both users recorded, one recording per leg, two recorders,
//! start and stop (interop 39). They are collected, and nothing is ever merged or refused by them.

use serde::{Deserialize, Serialize};

use super::extension::{Known, KnownKind};
use super::history::History;
use crate::base::Redacted;
use crate::limits::{CORRELATIONS_MAX, XML_VALUE_BYTES_MAX};
use crate::sip::Message;

/// An identifier.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Correlation {
    /// What it is: the name of the header field or of the metadata element, in lower case.
    pub kind: String,
    /// The identifier, as sent.
    pub value: Redacted<String>,
}

/// Header fields that identify a call.
const HEADERS: [&str; 18] = [
    "X-BroadWorks-Correlation-Info",
    "User-to-User",
    "Cisco-Guid",
    "Session-ID",
    "Call-Info",
    "P-Charging-Vector",
    "X-Avaya-UCID",
    "X-AC-Avaya-UCID",
    "X-Oracle-UCID",
    "X-OCSBC-UCID",
    "P-OCSBC-UCID",
    "X-Genesys-CallUUID",
    "X-Genesys-Call-UUID",
    "X-Twilio-CallSid",
    "X-Telnyx-Session-ID",
    "X-CallId",
    "X-Original-Call-ID",
    "Global-Session-ID",
];

/// Fields of extension data that do, by the last name of their path in lower case.
const FIELDS: [&str; 9] = [
    "ucid",
    "avayaucid",
    "exttrackingid",
    "gcid",
    "callid",
    "callsid",
    "cisco-guid",
    "recordingid",
    "globalcallid",
];

/// Adds those of a message's header fields.
pub(super) fn of_message(message: &Message, into: &mut Vec<Correlation>) {
    for name in HEADERS {
        message.headers(name).for_each(|value| add(into, name, &value));
    }
}

/// Adds those of the metadata.
pub(super) fn of_metadata(history: &History, known: &[Known], into: &mut Vec<Correlation>) {
    for session in &history.sessions {
        session.sip_session_ids.iter().for_each(|id| add(into, "sipSessionID", id));
    }
    history.groups.iter().for_each(|group| add(into, "group", &group.id));
    for field in known {
        let name = field.name.rsplit('/').next().unwrap_or("");
        let is_id = FIELDS.iter().any(|id| id.eq_ignore_ascii_case(name)) || field.kind == KnownKind::Ucid;
        if is_id {
            add(into, name, field.value.reveal());
        }
    }
}

fn add(into: &mut Vec<Correlation>, kind: &str, value: &str) {
    let value = value.trim();
    let one = Correlation { kind: kind.to_ascii_lowercase(), value: Redacted::new(value.to_owned()) };
    let fits = !value.is_empty() && value.len() <= XML_VALUE_BYTES_MAX && into.len() < CORRELATIONS_MAX;
    if fits && !into.contains(&one) {
        into.push(one);
    }
}
