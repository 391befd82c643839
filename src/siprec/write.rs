//! Writing metadata as RFC 7865 section 7 shows it: for the recording client of the demonstration and of tests.

use quick_xml::escape::escape;
use std::fmt::Write as _;

use super::{Datamode, Metadata, Participant};

/// The namespace of RFC 7865 section 10.
const NAMESPACE: &str = "urn:ietf:params:xml:ns:recording:1";

/// The document that says what `metadata` says (its flags apart).
pub fn write(metadata: &Metadata) -> String {
    let mut out =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<recording xmlns=\"{NAMESPACE}\">\r\n");
    let mode = match metadata.datamode {
        Datamode::Complete => "complete",
        Datamode::Partial => "partial",
    };
    element(&mut out, 1, "datamode", mode);
    for group in &metadata.groups {
        line(&mut out, 1, &format!("<group group_id=\"{}\"/>", escape(&group.id)));
    }
    for session in &metadata.sessions {
        line(&mut out, 1, &format!("<session session_id=\"{}\">", escape(&session.id)));
        session.sip_session_ids.iter().for_each(|id| element(&mut out, 2, "sipSessionID", id));
        let texts =
            [("group-ref", &session.group), ("start-time", &session.start), ("stop-time", &session.stop)];
        for (name, text) in texts {
            text.iter().for_each(|text| element(&mut out, 2, name, text));
        }
        line(&mut out, 1, "</session>");
    }
    metadata.participants.iter().for_each(|person| participant(&mut out, person));
    for stream in &metadata.streams {
        let session = stream.session.as_deref().map(|id| format!(" session_id=\"{}\"", escape(id)));
        let (id, session) = (escape(&stream.id), session.unwrap_or_default());
        line(&mut out, 1, &format!("<stream stream_id=\"{id}\"{session}>"));
        stream.label.iter().for_each(|label| element(&mut out, 2, "label", label));
        line(&mut out, 1, "</stream>");
    }
    for presence in &metadata.presences {
        let (who, session) = (escape(&presence.participant), escape(&presence.session));
        let open = format!("<participantsessionassoc participant_id=\"{who}\" session_id=\"{session}\">");
        line(&mut out, 1, &open);
        presence.from.iter().for_each(|time| element(&mut out, 2, "associate-time", time));
        presence.until.iter().for_each(|time| element(&mut out, 2, "disassociate-time", time));
        line(&mut out, 1, "</participantsessionassoc>");
    }
    for link in &metadata.links {
        let id = escape(&link.participant);
        line(&mut out, 1, &format!("<participantstreamassoc participant_id=\"{id}\">"));
        link.sends.iter().for_each(|id| element(&mut out, 2, "send", id));
        link.receives.iter().for_each(|id| element(&mut out, 2, "recv", id));
        line(&mut out, 1, "</participantstreamassoc>");
    }
    out.push_str("</recording>\r\n");
    out
}

fn participant(out: &mut String, person: &Participant) {
    line(out, 1, &format!("<participant participant_id=\"{}\">", escape(&person.id)));
    for name in &person.names {
        let aor = name.aor.as_ref().map(|aor| format!(" aor=\"{}\"", escape(aor.reveal())));
        line(out, 2, &format!("<nameID{}>", aor.unwrap_or_default()));
        name.name.iter().for_each(|name| element(out, 3, "name", name.reveal()));
        line(out, 2, "</nameID>");
    }
    line(out, 1, "</participant>");
}

fn element(out: &mut String, depth: usize, name: &str, text: &str) {
    line(out, depth, &format!("<{name}>{}</{name}>", escape(text)));
}

fn line(out: &mut String, depth: usize, text: &str) {
    // Writing to a String can't fail.
    let _ = write!(out, "{:indent$}{text}\r\n", "", indent = depth * 2);
}
