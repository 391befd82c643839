//! The books of one call: everything its manifest will say, kept as it becomes known.

use std::mem::take;

use super::call::Arrival;
use super::offer::Terms;
use crate::base::{RecordingId, Redacted, Wall};
use crate::limits::*;
use crate::link::{Payload, SegmentReport, TrackReport};
use crate::media::{Interval, Intervals};
use crate::recording::Manifest;
use crate::recording::manifest::*;
use crate::sip::{Message, Method};
use crate::siprec::{Bodies, Cuts, Dossier, Flag, TrackIdentity, identify_over_time};

/// Header fields that only say how a message travelled, or that are secrets.
const NOT_KEPT: &[&str] = &[
    "via",
    "v",
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
    "authorization",
    "proxy-authorization",
];
/// Header fields of the INVITE that a manifest has members for.
const MEMBERS: &[&str] = &["from", "f", "to", "t", "contact", "m", "user-agent"];

/// See the module.
#[derive(Clone)]
pub(super) struct Book {
    manifest: Manifest,
    dossier: Dossier,
    intervals: Intervals,
    metadata_bytes: usize,
    /// How many more all calls together may keep.
    pub room: usize,
    message_bytes: usize,
    /// The INVITE has been taken in.
    begun: bool,
    /// What there was too much of, since that was last asked.
    cuts: Cuts,
}

impl Book {
    /// Opens the books with what the INVITE says.
    pub fn new(recording: RecordingId, tenant: &str, started: Wall, arrival: &Arrival<'_>) -> Book {
        let mut manifest = Manifest::new(recording, tenant, started);
        manifest.sip = sip_part(arrival);
        Book {
            manifest,
            dossier: Dossier::default(),
            intervals: Intervals::default(),
            metadata_bytes: 0,
            room: 0,
            message_bytes: 0,
            begun: false,
            cuts: Cuts::default(),
        }
    }

    /// The recording.
    pub fn recording(&self) -> RecordingId {
        self.manifest.recording
    }

    /// What there was too much of, since the last time.
    pub fn take_cuts(&mut self) -> Cuts {
        std::mem::take(&mut self.cuts)
    }

    /// Sets the zero of the timeline.
    pub fn started(&mut self, at: Wall) {
        self.manifest.started = at.to_rfc3339();
    }

    /// Takes in a message: the INVITE first, then those within the dialog. True if its metadata is new.
    pub fn revision(&mut self, at: Wall, message: &Message, mut bodies: Bodies<'_>) -> bool {
        let time = at.to_rfc3339();
        let raw = bodies.metadata;
        let unread = bodies.unknown.filter(|body| raw.is_none() && !self.repeated(body));
        let mut flags = if self.begun {
            // An ACK repeats its INVITE.
            if *message.method() != Method::Ack {
                self.message(&time, message);
            }
            // Some clients repeat a document with every refresh.
            bodies.metadata = raw.filter(|raw| !self.repeated(raw));
            self.dossier.message(&time, message, &bodies)
        } else {
            self.dossier.invite(&time, message, &bodies)
        };
        self.cuts.add(&self.dossier.take_cuts());
        self.cuts.multipart(bodies.unreadable);
        let first = !std::mem::replace(&mut self.begun, true);
        flags.extend(unread.map(|_| Flag::Unread));
        let Some(raw) = bodies.metadata.or(unread) else { return first };
        let kept = &raw[..raw.len().min(self.room)];
        if kept.len() < raw.len() {
            self.cuts.revisions_cut += 1;
            self.note("the metadata is cut: all calls together had more of it than is kept");
        }
        let flags = flags.iter().map(|flag| flag.name().to_owned()).collect();
        // The same method again, but not the first request: it has a name of its own in every book on SIP.
        let again = !first && *message.method() == Method::Invite;
        let method = if again { "re-INVITE" } else { message.method().as_str() };
        self.keep(MetadataRevision::new(time, method, kept, flags), kept.len());
        true
    }

    fn repeated(&self, raw: &[u8]) -> bool {
        self.manifest.metadata.last().is_some_and(|last| last.repeats(raw))
    }

    /// Keeps the header fields of a message within the dialog. Beyond the limits it takes the place of the last one.
    fn message(&mut self, at: &str, message: &Message) {
        let headers = kept_fields(message, NOT_KEPT);
        let size = |headers: &[HeaderField]| -> usize {
            headers.iter().map(|field| field.name.len() + field.value.reveal().len()).sum()
        };
        let (bytes, method) = (size(&headers), message.method().as_str());
        let messages = &mut self.manifest.sip.messages;
        if let Some(last) =
            messages.last_mut().filter(|last| last.method == method && last.headers == headers)
        {
            last.last = Some(at.to_owned());
            last.count += 1;
            return;
        }
        let full = messages.len() >= KEPT_MESSAGES_MAX || self.message_bytes + bytes > KEPT_MESSAGE_BYTES_MAX;
        self.cuts.messages += u64::from(full);
        if full && let Some(dropped) = messages.pop() {
            self.message_bytes -= size(&dropped.headers).min(self.message_bytes);
            self.note(
                "there were more requests than are kept: some between the first and the last are missing",
            );
        }
        self.message_bytes += bytes;
        let (at, method) = (at.to_owned(), method.to_owned());
        self.manifest.sip.messages.push(SipMessage { at, last: None, count: 1, method, headers });
    }

    /// Bytes of raw metadata that it holds.
    pub fn metadata_bytes(&self) -> usize {
        self.metadata_bytes
    }

    /// Keeps a revision raw. Beyond the limits it takes the place of the last one, so that the newest is always there.
    fn keep(&mut self, revision: MetadataRevision, bytes: usize) {
        let revisions = &mut self.manifest.metadata;
        let full =
            revisions.len() >= METADATA_REVISIONS_MAX || self.metadata_bytes + bytes > METADATA_BYTES_MAX;
        self.cuts.revisions += u64::from(full);
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
        Manifest { state: RecordingState::Open, ledger_until: Some(until), ..self.clone().empty(terms) }
    }

    /// The last manifest, with what the shard reported. Leaves the books empty.
    pub fn complete(&mut self, terms: &Terms, reports: Vec<TrackReport>, samples: u64) -> Manifest {
        let mut manifest = self.empty(terms);
        manifest.state = RecordingState::Complete;
        manifest.samples = samples;
        manifest.tracks.iter_mut().zip(reports).for_each(|(track, report)| track.report(report));
        manifest
    }

    /// Moves everything into a manifest: there is much of it.
    fn empty(&mut self, terms: &Terms) -> Manifest {
        let tracks = self.tracks(terms);
        let (siprec, participants) = SiprecPart::new(take(&mut self.dossier));
        Manifest {
            sip: take(&mut self.manifest.sip),
            siprec,
            participants,
            tracks,
            intervals: take(&mut self.intervals).into_vec(),
            metadata: take(&mut self.manifest.metadata),
            segments: take(&mut self.manifest.segments),
            notes: take(&mut self.manifest.notes),
            ..self.manifest.clone()
        }
    }

    fn tracks(&self, terms: &Terms) -> Vec<Track> {
        let history = self.dossier.history();
        let identities = identify_over_time(history, &terms.lines());
        let one = |((channel, track), identity): ((usize, &super::offer::Track), TrackIdentity)| {
            let mut participants: Vec<String> = Vec::new();
            for speaker in &identity.speakers {
                let id = &history.participants[speaker.participant as usize].id;
                if !participants.contains(id) {
                    participants.push(id.clone());
                }
            }
            Track {
                channel: channel as u16,
                label: track.label.clone(),
                stream: identity.stream,
                join: identity.join,
                participants,
                speakers: identity.speakers,
                codecs: codecs(&track.plan.payloads),
                port: track.port.unwrap_or(0),
                ..Track::default()
            }
        };
        // One without a port is not there yet.
        let bound = terms.tracks.iter().take_while(|track| track.port.is_some());
        bound.enumerate().zip(identities).map(one).collect()
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

fn sip_part(arrival: &Arrival<'_>) -> SipPart {
    let Arrival { invite, from, local_tag, .. } = arrival;
    let text = |name: &str| invite.header(name).map(|value| value.into_owned());
    SipPart {
        call_id: invite.call_id().to_owned(),
        from: Redacted::new(text("From").unwrap_or_default()),
        to: Redacted::new(text("To").unwrap_or_default()),
        contact: text("Contact").map(Redacted::new),
        remote_tag: invite.from().tag().to_owned(),
        local_tag: (*local_tag).to_owned(),
        transport: from.transport.as_str().to_ascii_lowercase(),
        peer: from.remote.to_string(),
        user_agent: text("User-Agent"),
        headers: kept_fields(invite, &[NOT_KEPT, MEMBERS].concat()),
        messages: Vec::new(),
    }
}

/// The header fields of a message but for those named.
fn kept_fields(message: &Message, without: &[&str]) -> Vec<HeaderField> {
    let mut room = KEPT_HEADER_BYTES_MAX;
    let kept = message.fields().filter(|(name, _)| !without.contains(&name.to_ascii_lowercase().as_str()));
    kept.take(KEPT_HEADERS_MAX)
        .map_while(|(name, value)| {
            room = room.checked_sub(name.len() + value.len())?;
            Some(HeaderField { name: name.into_owned(), value: Redacted::new(value.into_owned()) })
        })
        .collect()
}
