//! The books of one call: everything its manifest will say, kept as it becomes known.

use super::offer::Terms;
use crate::base::{RecordingId, Redacted, Wall};
use crate::limits::*;
use crate::link::{Payload, SegmentReport, TrackReport};
use crate::media::{Interval, Intervals};
use crate::recording::Manifest;
use crate::recording::manifest::*;
use crate::sip::{Message, Peer};
use crate::siprec::{self, Bodies, Metadata, identify};

/// Header fields that a manifest has members for, that only say how the message travelled, or that are secrets.
const NOT_KEPT: &[&str] = &[
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "contact",
    "m",
    "call-id",
    "i",
    "cseq",
    "max-forwards",
    "route",
    "record-route",
    "content-length",
    "l",
    "content-type",
    "c",
    "user-agent",
    "authorization",
    "proxy-authorization",
];

/// See the module.
pub(super) struct Book {
    manifest: Manifest,
    metadata: Metadata,
    intervals: Intervals,
    metadata_bytes: usize,
}

impl Book {
    /// Opens the books with what the INVITE says.
    pub fn new(recording: RecordingId, tenant: &str, started: Wall, invite: &Message, from: Peer) -> Book {
        let mut manifest = Manifest::new(recording, tenant, started);
        manifest.sip = sip_part(invite, from);
        Book { manifest, metadata: Metadata::default(), intervals: Intervals::default(), metadata_bytes: 0 }
    }

    /// The recording.
    pub fn recording(&self) -> RecordingId {
        self.manifest.recording
    }

    /// Sets the zero of the timeline.
    pub fn started(&mut self, at: Wall) {
        self.manifest.started = at.to_rfc3339();
    }

    /// Takes in the metadata of a message, if it has any. True if there is something new.
    pub fn revision(&mut self, at: Wall, message: &Message) -> bool {
        let content_type = message.content_type();
        let bodies = Bodies::of(content_type.as_deref(), message.body());
        let first = self.manifest.metadata.is_empty() && self.metadata.flags.is_empty();
        let Some(raw) = bodies.metadata else {
            if first {
                self.metadata.absorb(&Metadata::missing());
            }
            return first;
        };
        let repeated = self.manifest.metadata.last().is_some_and(|last| last.bytes().as_deref() == Some(raw));
        if repeated {
            return false;
        }
        let read = Metadata::read(raw);
        let flags = read.flags.iter().map(|flag| flag.name().to_owned()).collect();
        self.metadata.absorb(&read);
        self.keep(MetadataRevision::new(at, message.method().as_str(), raw, flags), raw.len());
        true
    }

    /// Keeps a revision raw. Beyond the limits it takes the place of the last one, so that the newest is always there.
    fn keep(&mut self, revision: MetadataRevision, bytes: usize) {
        let revisions = &mut self.manifest.metadata;
        let full =
            revisions.len() >= METADATA_REVISIONS_MAX || self.metadata_bytes + bytes > METADATA_BYTES_MAX;
        if full && let Some(dropped) = revisions.pop() {
            self.metadata_bytes -= dropped.bytes().map_or(0, |raw| raw.len()).min(self.metadata_bytes);
            self.note("the metadata had more revisions than are kept: some between the first and the last are missing");
        }
        self.metadata_bytes += bytes;
        self.manifest.metadata.push(revision);
    }

    /// A silent stretch has been settled.
    pub fn interval(&mut self, interval: Interval) {
        self.intervals.push(interval);
        if interval.merged || self.intervals.as_slice().len() >= INTERVALS_MAX {
            self.note("there were more intervals than are kept: neighbours have been merged");
        }
    }

    /// A segment is closed.
    pub fn segment(&mut self, report: &SegmentReport) {
        self.manifest.segments.push(SegmentEntry::from(report));
    }

    /// The call is over.
    pub fn end(&mut self, at: Wall, cause: &str) {
        self.manifest.ended = Some(at.to_rfc3339());
        self.manifest.end_cause = Some(cause.to_owned());
    }

    /// A remark for the manifest's reader, once. True if it is new.
    pub fn note(&mut self, text: &str) -> bool {
        let notes = &mut self.manifest.notes;
        let new = notes.len() < NOTES_MAX && !notes.iter().any(|known| known == text);
        if new {
            notes.push(text.to_owned());
        }
        new
    }

    /// The manifest as of now: intervals are complete up to position `until`.
    pub fn checkpoint(&self, terms: &Terms, until: u64) -> Manifest {
        Manifest { state: RecordingState::Open, ledger_until: Some(until), ..self.assemble(terms) }
    }

    /// The last manifest, with what the shard reported.
    pub fn complete(&self, terms: &Terms, reports: Vec<TrackReport>, samples: u64) -> Manifest {
        let mut manifest = self.assemble(terms);
        manifest.state = RecordingState::Complete;
        manifest.samples = samples;
        manifest.tracks.iter_mut().zip(reports).for_each(|(track, report)| track.report(report));
        manifest
    }

    fn assemble(&self, terms: &Terms) -> Manifest {
        Manifest {
            siprec: self.siprec_part(),
            participants: self.participants(),
            tracks: self.tracks(terms),
            intervals: self.intervals.as_slice().to_vec(),
            ..self.manifest.clone()
        }
    }

    fn siprec_part(&self) -> SiprecPart {
        let sessions = &self.metadata.sessions;
        SiprecPart {
            sessions: sessions.iter().map(|session| session.id.clone()).collect(),
            sip_session_ids: sessions.iter().flat_map(|session| session.sip_session_ids.clone()).collect(),
            groups: self.metadata.groups.iter().map(|group| group.id.clone()).collect(),
        }
    }

    /// One entry per id; those without one stay apart.
    fn participants(&self) -> Vec<Participant> {
        let mut people: Vec<Participant> = Vec::new();
        for said in &self.metadata.participants {
            let known = people.iter().position(|p| !said.id.is_empty() && p.id == said.id);
            let at = known.unwrap_or_else(|| {
                people.push(Participant { id: said.id.clone(), ..Participant::default() });
                people.len() - 1
            });
            for name in &said.names {
                add(&mut people[at].aors, name.aor.as_ref());
                add(&mut people[at].names, name.name.as_ref());
            }
        }
        for said in &self.metadata.presences {
            if let Some(who) = people.iter_mut().find(|who| who.id == said.participant) {
                who.presence.push(Presence {
                    session: said.session.clone(),
                    from: said.from.clone(),
                    until: said.until.clone(),
                });
            }
        }
        people
    }

    fn tracks(&self, terms: &Terms) -> Vec<Track> {
        let identities = identify(&self.metadata, &terms.lines());
        let one =
            |((channel, track), identity): ((usize, &super::offer::Track), siprec::TrackIdentity)| Track {
                channel: channel as u16,
                label: track.label.clone(),
                stream: identity.stream,
                participants: identity
                    .senders
                    .iter()
                    .map(|at| self.metadata.participants[*at].id.clone())
                    .collect(),
                codecs: codecs(&track.plan.payloads),
                port: track.port.unwrap_or(0),
                ..Track::default()
            };
        terms.tracks.iter().enumerate().zip(identities).map(one).collect()
    }
}

fn add(to: &mut Vec<Redacted<String>>, one: Option<&Redacted<String>>) {
    if let Some(one) = one.filter(|one| !to.contains(one)) {
        to.push(one.clone());
    }
}

fn codecs(payloads: &[(u8, Payload)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, payload) in payloads {
        let name = match payload {
            Payload::Pcmu => "PCMU",
            Payload::Pcma => "PCMA",
            Payload::ComfortNoise => "CN",
            Payload::TelephoneEvent => "telephone-event",
        };
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn sip_part(invite: &Message, from: Peer) -> SipPart {
    let text = |name: &str| invite.header(name).map(|value| value.into_owned());
    let mut room = KEPT_HEADER_BYTES_MAX;
    let kept = invite.fields().filter(|(name, _)| !NOT_KEPT.contains(&name.to_ascii_lowercase().as_str()));
    let headers = kept
        .take(KEPT_HEADERS_MAX)
        .map_while(|(name, value)| {
            room = room.checked_sub(name.len() + value.len())?;
            Some(HeaderField { name: name.into_owned(), value: Redacted::new(value.into_owned()) })
        })
        .collect();
    SipPart {
        call_id: invite.call_id().to_owned(),
        from: Redacted::new(text("From").unwrap_or_default()),
        to: Redacted::new(text("To").unwrap_or_default()),
        contact: text("Contact").map(Redacted::new),
        remote_tag: invite.from().tag().to_owned(),
        local_tag: String::new(),
        transport: from.transport.as_str().to_ascii_lowercase(),
        peer: from.remote.to_string(),
        user_agent: text("User-Agent"),
        headers,
    }
}
