//! The manifest: everything known of a recording but its audio, as JSON. Sealed like the audio, so it may hold personal data.
//!
//! Members may be added within a version; readers ignore what they do not know and default what is missing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::Pause;
use crate::base::{RecordingId, Redacted, SegmentNumber, Wall};
use crate::limits::SEGMENTS_MAX;
use crate::link::{Anchor, SegmentReport, TrackReport};
use crate::media::{Counters, Interval, SAMPLE_RATE, SampleFormat};
use crate::siprec::{Join, Speaker};

pub use super::manifest_siprec::{Participant, Presence, SipMessage, SiprecPart};
use super::manifest_siprec::{conceal_participant, conceal_track, hide};

/// The version of the manifest that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// How far a recording has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// Running, or left by a crash: this manifest is a checkpoint.
    #[default]
    Open,
    /// Complete.
    Complete,
    /// Cut by a crash and mended: what was lost is in `intervals`, cause `crash`.
    Recovered,
}

/// The manifest of a recording. Times are RFC 3339 in UTC, positions samples per track since the start of the recording session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout: 1.
    pub version: u32,
    /// The recording.
    pub recording: RecordingId,
    /// Whose it is.
    pub tenant: String,
    /// How far it has come.
    pub state: RecordingState,
    /// When the recording session started: the zero of the timeline.
    pub started: String,
    /// When it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How it ended: `bye`, `transport`, `shutdown`, `crash`, ... as the control core names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_cause: Option<String>,
    /// Samples per second of every position.
    pub rate: u32,
    /// Length of the recording in samples.
    #[serde(default)]
    pub samples: u64,
    /// The recording session's dialog.
    #[serde(default)]
    pub sip: SipPart,
    /// What the metadata (RFC 7865) calls things.
    #[serde(default)]
    pub siprec: SiprecPart,
    /// Who took part, as the metadata told.
    #[serde(default)]
    pub participants: Vec<Participant>,
    /// The tracks, in channel order.
    #[serde(default)]
    pub tracks: Vec<Track>,
    /// Silent stretches and why.
    #[serde(default)]
    pub intervals: Vec<Interval>,
    /// Pauses by command, in the order they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<Pause>,
    /// Intervals and counters are complete up to this position; `None` in a complete manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_until: Option<u64>,
    /// Every revision of the metadata as it came.
    #[serde(default)]
    pub metadata: Vec<MetadataRevision>,
    /// The sealed files, in order.
    #[serde(default)]
    pub segments: Vec<SegmentEntry>,
    /// What `recover` did, if it had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Oddities worth telling a reader, in words without personal data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The SIP dialog of the recording session (RFC 7866).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SipPart {
    /// Call-ID.
    pub call_id: String,
    /// The From URI with its display name, as sent.
    pub from: Redacted<String>,
    /// The To URI with its display name, as sent.
    pub to: Redacted<String>,
    /// The Contact of the recording client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<Redacted<String>>,
    /// Tag of the recording client.
    pub remote_tag: String,
    /// Our tag.
    pub local_tag: String,
    /// Transport: `udp`, `tcp`, `tls`.
    pub transport: String,
    /// Where the INVITE came from: address and port.
    pub peer: String,
    /// User-Agent of the recording client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Further header fields of the INVITE that are kept.
    pub headers: Vec<HeaderField>,
    /// What came later in the dialog.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<SipMessage>,
}

/// A SIP header field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeaderField {
    /// Name, as sent.
    pub name: String,
    /// Value, as sent.
    pub value: Redacted<String>,
}

/// A track: one audio m-line, one channel.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Track {
    /// Channel in the audio, from 0.
    pub channel: u16,
    /// SDP label (RFC 4574).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `stream_id` of the metadata (RFC 7865 section 6.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// How the stream was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// The participants who speak or spoke on it, by id.
    pub participants: Vec<String>,
    /// The same by their places in the list of participants, with the time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub speakers: Vec<Speaker>,
    /// Codecs agreed, by their names in SDP: `PCMU`.
    pub codecs: Vec<String>,
    /// Our RTP port.
    pub port: u16,
    /// The packet ledger.
    pub counters: Counters,
    /// Position of the first audio sample placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Which source's timestamp was laid on which position.
    pub anchors: Vec<Anchor>,
}

impl Track {
    /// Takes over what the shard reports at the end.
    pub fn report(&mut self, report: TrackReport) {
        self.counters = report.counters;
        self.first = report.first;
        self.anchors = report.anchors;
    }
}

/// One revision of the metadata, raw.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MetadataRevision {
    /// When it came.
    pub at: String,
    /// What brought it: `INVITE`, `re-INVITE`, `UPDATE`.
    pub method: String,
    /// The body as it came; base64 if `base64` is set.
    pub body: Redacted<String>,
    /// The body was not UTF-8.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base64: bool,
    /// What was odd about it, in words without personal data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

impl MetadataRevision {
    /// Keeps `body` byte for byte.
    pub fn new(at: String, method: &str, body: &[u8], flags: Vec<String>) -> MetadataRevision {
        let (text, base64) = match std::str::from_utf8(body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (BASE64.encode(body), true),
        };
        let method = method.to_owned();
        MetadataRevision { at, method, body: Redacted::new(text), base64, flags }
    }

    /// Whether `body` is this revision once more.
    pub fn repeats(&self, body: &[u8]) -> bool {
        let text = self.body.reveal();
        if self.base64 { BASE64.encode(body) == *text } else { text.as_bytes() == body }
    }

    /// The body, byte for byte; `None` if the manifest's base64 is none.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let text = self.body.reveal();
        if self.base64 { BASE64.decode(text).ok() } else { Some(text.clone().into_bytes()) }
    }
}

/// One segment file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Number within the recording, from 1.
    pub number: SegmentNumber,
    /// File name, in the recording's folder.
    pub file: String,
    /// How samples are stored.
    pub format: SampleFormat,
    /// Position of the first sample.
    pub start: u64,
    /// Samples per track that belong to the recording.
    pub samples: u64,
    /// Frames of audio.
    pub frames: u32,
    /// Size of the file; 0 until it is finalised.
    #[serde(default)]
    pub bytes: u64,
    /// SHA-256 of the file from byte 4,096 on (block 0 changes when keys are rotated), hexadecimal; empty until it is finalised.
    #[serde(default)]
    pub sha256: String,
    /// Cut by a crash and mended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
}

impl From<&SegmentReport> for SegmentEntry {
    fn from(report: &SegmentReport) -> SegmentEntry {
        SegmentEntry {
            number: report.segment,
            file: report.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            format: report.format,
            start: report.start,
            samples: report.samples,
            frames: report.frames,
            bytes: 0,
            sha256: String::new(),
            recovered: false,
        }
    }
}

/// What `recover` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recovery {
    /// When.
    pub at: String,
    /// At most so many milliseconds of audio per track were lost at the end of what was kept. The interval of the crash is longer where silence
    /// before it may not have been written yet.
    pub lost_ms_max: u64,
}

/// Why bytes are not a manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestError {
    /// Not JSON of the right members: what is wrong, without the values.
    Malformed(String),
    /// Written by a version that this program does not know.
    UnknownVersion(u32),
    /// Longer than any manifest of ours: in bytes.
    TooLong(u64),
    /// More segments than a recording can have.
    TooManySegments(usize),
}

impl std::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ManifestError::Malformed(what) => write!(f, "not a manifest: {what}"),
            ManifestError::UnknownVersion(version) => {
                write!(f, "version {version} of the manifest, this program knows {VERSION}: use a newer one")
            }
            ManifestError::TooLong(bytes) => write!(f, "{bytes} bytes are no manifest of ours"),
            ManifestError::TooManySegments(count) => {
                write!(f, "{count} segments, at most {SEGMENTS_MAX} are allowed")
            }
        }
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// The manifest of a recording that starts now.
    pub fn new(recording: RecordingId, tenant: &str, started: Wall) -> Manifest {
        Manifest {
            version: VERSION,
            recording,
            tenant: tenant.to_owned(),
            state: RecordingState::Open,
            started: started.to_rfc3339(),
            ended: None,
            end_cause: None,
            rate: SAMPLE_RATE,
            samples: 0,
            sip: SipPart::default(),
            siprec: SiprecPart::default(),
            participants: Vec::new(),
            tracks: Vec::new(),
            intervals: Vec::new(),
            pauses: Vec::new(),
            ledger_until: None,
            metadata: Vec::new(),
            segments: Vec::new(),
            recovery: None,
            notes: Vec::new(),
        }
    }

    /// The JSON, with a final newline.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("a manifest has string keys and no failing member");
        json.push(b'\n');
        json
    }

    /// Reads JSON, padded with white space or not.
    pub fn from_json(json: &[u8]) -> Result<Manifest, ManifestError> {
        let head: Head = parse(json)?;
        if head.version != VERSION {
            return Err(ManifestError::UnknownVersion(head.version));
        }
        let manifest: Manifest = parse(json)?;
        if manifest.segments.len() > SEGMENTS_MAX as usize {
            return Err(ManifestError::TooManySegments(manifest.segments.len()));
        }
        Ok(manifest)
    }
}

impl Manifest {
    /// The same without personal data, to be shown to someone who has no need of it.
    pub fn concealed(mut self) -> Manifest {
        // Every member is named, so that a new one can't be forgotten here.
        let SipPart {
            call_id,
            from,
            to,
            contact,
            remote_tag,
            local_tag,
            transport,
            peer,
            user_agent,
            headers,
            messages,
        } = &mut self.sip;
        let _open = (call_id, remote_tag, local_tag, transport, peer, user_agent);
        [from, to].into_iter().chain(contact).for_each(hide);
        let later = messages.iter_mut().flat_map(|message| &mut message.headers);
        headers.iter_mut().chain(later).for_each(|header| hide(&mut header.value));
        self.participants.iter_mut().for_each(conceal_participant);
        self.tracks.iter_mut().for_each(conceal_track);
        self.siprec.conceal();
        self.metadata.iter_mut().for_each(|revision| hide(&mut revision.body));
        for pause in &mut self.pauses {
            let Pause { by, reason, ended_by, scope: _, policy: _, at: _, start: _, ended: _, end: _ } =
                pause;
            [by, reason].into_iter().chain(ended_by).for_each(hide);
        }
        self
    }
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ManifestError> {
    // serde's own message may quote a value, and values here are personal data: only kind and place are told.
    serde_json::from_slice(json).map_err(|why| {
        ManifestError::Malformed(format!(
            "{:?} error at line {}, column {}",
            why.classify(),
            why.line(),
            why.column()
        ))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{Cause, Fate};
    use crate::sip::Message;
    use crate::siprec::{Bodies, Dossier};

    fn example() -> Manifest {
        let mut manifest = Manifest::new(
            "0199f0a1b2c370008000000000000001".parse().unwrap(),
            "acme",
            Wall(1_795_269_802_512_000_000),
        );
        manifest.sip.from = Redacted::new("\"Ann\" <sip:+15551234567@example.net>".to_owned());
        let mut counters = Counters::default();
        counters.count(Fate::Placed);
        manifest.tracks = vec![Track { label: Some("1".into()), counters, ..Track::default() }];
        manifest.intervals =
            vec![Interval { track: 0, start: 0, end: 160, cause: Cause::Loss, packets: 1, merged: false }];
        manifest.metadata = vec![
            MetadataRevision::new(Wall(0).to_rfc3339(), "INVITE", b"<recording/>", vec![]),
            MetadataRevision::new(Wall(0).to_rfc3339(), "UPDATE", b"\xff\xfe", vec!["not UTF-8".into()]),
        ];
        manifest
    }

    #[test]
    fn a_manifest_reads_back_with_its_personal_data_but_never_prints_it() {
        let manifest = example();
        let read = Manifest::from_json(&manifest.to_json()).unwrap();
        assert_eq!(read, manifest);
        assert!(read.sip.from.reveal().contains("15551234567"));
        assert!(!format!("{read:?}").contains("15551234567"));
        assert_eq!(read.metadata[1].bytes().unwrap(), b"\xff\xfe");
    }

    #[test]
    fn a_concealed_manifest_hides_whatever_debug_would() {
        let mut manifest = example();
        let private = || Redacted::new("private".to_owned());
        manifest.sip.contact = Some(private());
        manifest.sip.headers = vec![HeaderField { name: "P-Asserted-Identity".into(), value: private() }];
        let participant =
            Participant { aors: vec![private()], names: vec![private()], ..Participant::default() };
        manifest.participants = vec![participant];
        let mut dossier = Dossier::default();
        let document = "<recording><participant id='15551234567'><nameID aor='private'><name>private</name></nameID></participant>\
             <stream id='sip:private@h'/><participantstreamassoc id='15551234567'><send>sip:private@h</send></participantstreamassoc>\
             <ucid x='private'>private</ucid></recording>";
        let text = format!(
            "INVITE sip:r@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:r@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Content-Type: application/rs-metadata\r\nContent-Length: {}\r\n\r\n{document}",
            document.len()
        );
        let invite = Message::parse_datagram(text.as_bytes()).unwrap();
        dossier.invite("t", &invite, &Bodies::of(Some("application/rs-metadata"), invite.body()));
        let (siprec, participants) = SiprecPart::new(dossier);
        manifest.siprec = siprec;
        manifest.participants.extend(participants);
        let headers = vec![HeaderField { name: "X-User".into(), value: private() }];
        manifest.sip.messages = vec![SipMessage { headers, ..SipMessage::default() }];
        // Debug hides by type, so it knows every place but ids, which are hidden if they are somebody's number or address.
        let ids = manifest.to_json();
        let ids = String::from_utf8(ids).unwrap();
        let ids = ids.matches("\"15551234567\"").count() + ids.matches("\"sip:private@h\"").count();
        assert!(ids >= 4, "{ids}");
        let places = format!("{manifest:?}").matches("[redacted]").count() + ids;
        let json = String::from_utf8(manifest.concealed().to_json()).unwrap();
        assert_eq!(json.matches("[redacted]").count(), places);
        assert!(!json.contains("private") && !json.contains("15551234567"), "{json}");
    }

    #[test]
    fn unknown_members_are_ignored_and_a_newer_version_is_named() {
        let json = String::from_utf8(example().to_json()).unwrap();
        let added = json.replacen('{', r#"{"hue":"blue","#, 1);
        assert_eq!(Manifest::from_json(added.as_bytes()).unwrap(), example());
        let newer = json.replacen(r#""version":1"#, r#""version":9"#, 1);
        assert_eq!(Manifest::from_json(newer.as_bytes()), Err(ManifestError::UnknownVersion(9)));
    }

    #[test]
    fn an_error_quotes_no_value() {
        let json = r#"{"version":1,"recording":"+15551234567"}"#;
        let error = Manifest::from_json(json.as_bytes()).unwrap_err();
        assert!(!error.to_string().contains("15551234567"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            prop_assert!(Manifest::from_json(&bytes).is_err());
        }

        #[test]
        fn a_damaged_manifest_is_read_or_refused(at in 0..900usize, to in any::<u8>()) {
            let mut json = example().to_json();
            let at = at % json.len();
            json[at] = to;
            if let Ok(read) = Manifest::from_json(&json) {
                prop_assert_eq!(Manifest::from_json(&read.to_json()), Ok(read));
            }
        }
    }
}
