//! Calls as an administrator may see them.

use serde::Serialize;

use super::call::{Call, Phase};
use super::{Control, Now};
use crate::base::{RecordingId, Redacted};
use crate::link::CallId;

/// A call in a list. Holds no personal data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CallSummary {
    /// Its number.
    pub id: u64,
    /// Its recording.
    pub recording: RecordingId,
    /// `opening`, `live` or `closing`.
    pub state: &'static str,
    /// When its recording began, as RFC 3339.
    pub started: String,
    /// For how long, in seconds.
    pub age_s: u64,
    /// The peer's name in the configuration, if it has one there.
    pub peer: String,
    /// Its recording is paused.
    pub paused: bool,
    /// Its shard.
    pub shard: usize,
    /// Its tracks.
    pub tracks: usize,
}

/// All of a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CallDetail {
    /// As in a list.
    #[serde(flatten)]
    pub summary: CallSummary,
    /// Call-ID of the recording session.
    pub sip_call_id: String,
    /// Where its SIP comes from.
    pub address: String,
    /// Over what.
    pub transport: String,
    /// The client's User-Agent.
    pub user_agent: Option<String>,
    /// Segments begun.
    pub segments: u32,
    /// Its tracks.
    pub media: Vec<TrackView>,
    /// Participants of its metadata.
    pub participants: usize,
    /// Who they are, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parties: Option<Vec<PartyView>>,
}

/// A track.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TrackView {
    /// Its label.
    pub label: Option<String>,
    /// Our RTP port.
    pub port: u16,
    /// Its codecs.
    pub codecs: Vec<String>,
    /// On hold by the client.
    pub held: bool,
}

/// A participant, by name. Only for those who asked to see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PartyView {
    /// Its id in the metadata.
    pub id: String,
    /// Its addresses of record.
    pub aors: Vec<Redacted<String>>,
    /// Its names.
    pub names: Vec<Redacted<String>>,
}

impl<E> Control<E> {
    /// Calls that came after `after`, in their order.
    pub fn calls_after(&self, after: CallId, now: Now) -> impl Iterator<Item = CallSummary> {
        let later = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.calls.range(later).map(move |(_, call)| summary(call, now))
    }

    /// One call.
    pub fn call(&self, id: CallId, parties: bool, now: Now) -> Option<CallDetail> {
        self.calls.get(&id).map(|call| detail(call, parties, now))
    }

    /// The call of a recording, if it is not over.
    pub fn call_of(&self, recording: RecordingId) -> Option<CallId> {
        self.calls.iter().find(|(_, call)| call.book.recording() == recording).map(|(id, _)| *id)
    }

    /// The recording of a call.
    pub fn recording(&self, id: CallId) -> Option<RecordingId> {
        self.calls.get(&id).map(|call| call.book.recording())
    }

    /// Calls taken so far, whether they came to be answered or not.
    pub fn calls_taken(&self) -> u64 {
        self.next_call - 1
    }

    /// Recordings that are paused.
    pub fn paused(&self) -> usize {
        self.calls.values().filter(|call| call.pauses.in_force()).count()
    }

    /// Timers of calls that are set.
    pub fn timers(&self) -> usize {
        self.due.len()
    }
}

fn summary(call: &Call, now: Now) -> CallSummary {
    let state = match call.phase {
        Phase::Keys | Phase::Opening => "opening",
        Phase::Live => "live",
        Phase::Abandoned | Phase::Closing | Phase::Over => "closing",
    };
    CallSummary {
        id: call.id.0,
        recording: call.book.recording(),
        state,
        started: call.started.to_rfc3339(),
        age_s: now.mono.since(call.zero).as_secs(),
        peer: call.peer.name.clone(),
        paused: call.pauses.in_force(),
        shard: call.shard,
        tracks: call.terms.tracks.len(),
    }
}

fn detail(call: &Call, parties: bool, now: Now) -> CallDetail {
    // One call at a time is asked for, so that its manifest may be put together for it.
    let manifest = call.book.checkpoint(&call.terms, 0);
    let media = manifest.tracks.into_iter().zip(&call.terms.tracks);
    let named = manifest.participants.iter().map(|who| PartyView {
        id: who.id.clone(),
        aors: who.aors.clone(),
        names: who.names.clone(),
    });
    CallDetail {
        summary: summary(call, now),
        sip_call_id: manifest.sip.call_id,
        address: manifest.sip.peer,
        transport: manifest.sip.transport,
        user_agent: manifest.sip.user_agent,
        segments: call.segments,
        media: media
            .map(|(track, terms)| TrackView {
                label: track.label,
                port: track.port,
                codecs: track.codecs,
                held: terms.plan.held,
            })
            .collect(),
        participants: manifest.participants.len(),
        parties: parties.then(|| named.collect()),
    }
}
