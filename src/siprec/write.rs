//! Writing metadata as RFC 7865 section 7 shows it: for the recording client of the demonstration and of tests.

use quick_xml::escape::escape;
use std::fmt::Write as _;

use super::{Datamode, Metadata, Participant, SessionTimes, Times};

/// The namespace of RFC 7865 section 10.
const NAMESPACE: &str = "urn:ietf:params:xml:ns:recording:1";

/// The document that says what `metadata` says (its flags and extension data apart).
pub fn write(metadata: &Metadata) -> String {
    let mut out =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<recording xmlns=\"{NAMESPACE}\">\r\n");
    let mode = match metadata.datamode {
        Datamode::Complete => "complete",
        Datamode::Partial => "partial",
    };
    element(&mut out, 1, "datamode", mode);
    for group in &metadata.groups {
        open(&mut out, "group", &[("group_id", Some(&group.id))]);
        associated(&mut out, &group.times);
        line(&mut out, 1, "</group>");
    }
    sessions(&mut out, metadata);
    metadata.participants.iter().for_each(|person| participant(&mut out, person));
    for stream in &metadata.streams {
        open(&mut out, "stream", &[("stream_id", Some(&stream.id)), ("session_id", stream.session.as_ref())]);
        stream.label.iter().for_each(|label| element(&mut out, 2, "label", label));
        stream.content.iter().for_each(|content| element(&mut out, 2, "content-type", content));
        associated(&mut out, &stream.times);
        line(&mut out, 1, "</stream>");
    }
    associations(&mut out, metadata);
    out.push_str("</recording>\r\n");
    out
}

fn sessions(out: &mut String, metadata: &Metadata) {
    for session in &metadata.sessions {
        open(out, "session", &[("session_id", Some(&session.id))]);
        session.sip_session_ids.iter().for_each(|id| element(out, 2, "sipSessionID", id));
        session.reasons.iter().for_each(|reason| element(out, 2, "reason", reason));
        let texts = [
            ("group-ref", &session.group),
            ("start-time", &session.times.from),
            ("stop-time", &session.times.until),
        ];
        for (name, text) in texts {
            text.iter().for_each(|text| element(out, 2, name, text));
        }
        line(out, 1, "</session>");
    }
}

fn associations(out: &mut String, metadata: &Metadata) {
    for SessionTimes { session, times } in &metadata.session_times {
        open(out, "sessionrecordingassoc", &[("session_id", Some(session))]);
        associated(out, times);
        line(out, 1, "</sessionrecordingassoc>");
    }
    for presence in &metadata.presences {
        let ids = [("participant_id", Some(&presence.participant)), ("session_id", Some(&presence.session))];
        open(out, "participantsessionassoc", &ids);
        associated(out, &presence.times);
        for (name, value) in &presence.params {
            let (name, value) = (escape(name), escape(value));
            line(out, 2, &format!("<param pname=\"{name}\" pvalue=\"{value}\"/>"));
        }
        line(out, 1, "</participantsessionassoc>");
    }
    for link in &metadata.links {
        open(out, "participantstreamassoc", &[("participant_id", Some(&link.participant))]);
        link.sends.iter().for_each(|id| element(out, 2, "send", id));
        link.receives.iter().for_each(|id| element(out, 2, "recv", id));
        associated(out, &link.times);
        line(out, 1, "</participantstreamassoc>");
    }
}

fn participant(out: &mut String, person: &Participant) {
    open(out, "participant", &[("participant_id", Some(&person.id))]);
    for name in &person.names {
        let aor = name.aor.as_ref().map(|aor| format!(" aor=\"{}\"", escape(aor.reveal())));
        line(out, 2, &format!("<nameID{}>", aor.unwrap_or_default()));
        let lang = name.lang.as_ref().map(|lang| format!(" xml:lang=\"{}\"", escape(lang)));
        if let Some(text) = &name.name {
            let lang = lang.as_deref().unwrap_or_default();
            line(out, 3, &format!("<name{lang}>{}</name>", escape(text.reveal())));
        }
        line(out, 2, "</nameID>");
    }
    line(out, 1, "</participant>");
}

fn associated(out: &mut String, times: &Times) {
    times.from.iter().for_each(|time| element(out, 2, "associate-time", time));
    times.until.iter().for_each(|time| element(out, 2, "disassociate-time", time));
}

/// A start tag with those attributes that there are.
fn open(out: &mut String, name: &str, attributes: &[(&str, Option<&String>)]) {
    let attribute = |(name, value): &(&str, Option<&String>)| {
        value.map(|value| format!(" {name}=\"{}\"", escape(value))).unwrap_or_default()
    };
    let attributes: String = attributes.iter().map(attribute).collect();
    line(out, 1, &format!("<{name}{attributes}>"));
}

fn element(out: &mut String, depth: usize, name: &str, text: &str) {
    line(out, depth, &format!("<{name}>{}</{name}>", escape(text)));
}

fn line(out: &mut String, depth: usize, text: &str) {
    // Writing to a String can't fail.
    let _ = write!(out, "{:indent$}{text}\r\n", "", indent = depth * 2);
}
