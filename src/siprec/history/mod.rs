//! What all documents of a recording come to: records of everything ever told, those without an end being the current state, and
//! the events between (interop 19, 23, 25, 26).
//!
//! A `complete` document replaces the state, never the history; a `partial` one adds and changes. What a document leaves out has
//! ended only where its word can be trusted for that: not in a damaged one, not in one that names nobody and nothing, and not in
//! the last one, for many clients' last documents are all but empty.

mod links;
mod people;
mod streams;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::cuts::Cuts;
use super::metadata::{Datamode, Flag, Metadata};
use super::records::*;
use crate::limits::{METADATA_EVENTS_MAX, METADATA_RECORDS_MAX, METADATA_TEXT_BYTES_MAX};

/// Identifiers of the recorded call that one communication session collects.
const SIP_SESSION_IDS_MAX: usize = 64;

/// See the module. Nothing is ever taken out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct History {
    /// Groups of communication sessions.
    pub groups: Vec<GroupRecord>,
    /// Communication sessions.
    pub sessions: Vec<SessionRecord>,
    /// Who took part.
    pub participants: Vec<ParticipantRecord>,
    /// Media streams.
    pub streams: Vec<StreamRecord>,
    /// Who sent and received what.
    pub links: Vec<LinkRecord>,
    /// What changed when.
    pub events: Vec<Event>,
    /// What was odd.
    pub flags: Vec<Flag>,
    bytes: usize,
    /// Of what there was too much, since that was last asked.
    cuts: Cuts,
}

impl History {
    /// Takes in a document that came at `at`; `last` if it came with the BYE. Gives what was odd about it.
    pub fn apply(&mut self, document: &Metadata, at: &str, last: bool) -> Vec<Flag> {
        let doubtful = [Flag::Missing, Flag::Malformed, Flag::Cut, Flag::UnknownRoot];
        let damaged = document.flags.iter().any(|flag| doubtful.contains(flag));
        let silent =
            document.sessions.is_empty() && document.participants.is_empty() && document.streams.is_empty();
        let whole = document.datamode == Datamode::Complete && !last && !damaged && !silent;
        let mut revision = Revision {
            history: self,
            document,
            at,
            whole,
            who: Vec::new(),
            people_by_id: HashMap::new(),
            joined: HashSet::new(),
            left: Vec::new(),
            added: HashSet::new(),
            flags: document.flags.clone(),
        };
        revision.groups();
        revision.sessions();
        revision.people();
        revision.streams();
        revision.links();
        revision.stand_ins();
        let flags = revision.flags;
        self.cuts.add(&document.cuts);
        for flag in &flags {
            if !self.flags.contains(flag) {
                self.flags.push(*flag);
            }
        }
        self.trim();
        flags
    }

    /// Of what there was too much, since the last time.
    pub fn take_cuts(&mut self) -> Cuts {
        std::mem::take(&mut self.cuts)
    }

    /// Gives back the room that was taken in advance: most calls bring one document, and live long.
    fn trim(&mut self) {
        self.groups.shrink_to_fit();
        self.sessions.shrink_to_fit();
        self.participants.shrink_to_fit();
        self.streams.shrink_to_fit();
        self.links.shrink_to_fit();
        self.events.shrink_to_fit();
    }

    /// Participants, sessions, streams, groups and associations ever told of.
    pub fn records(&self) -> usize {
        self.groups.len()
            + self.sessions.len()
            + self.participants.len()
            + self.streams.len()
            + self.links.len()
    }
}

/// One document on its way into the history.
struct Revision<'a> {
    history: &'a mut History,
    document: &'a Metadata,
    at: &'a str,
    /// What the document leaves out has ended.
    whole: bool,
    /// For each participant of the document its record, if there was room for one.
    who: Vec<Option<usize>>,
    /// The record that an id means: of this document's participants, else of the last one who had it.
    people_by_id: HashMap<String, Option<usize>>,
    /// Who came with this document.
    joined: HashSet<usize>,
    /// Who went with it.
    left: Vec<usize>,
    /// Ids of streams that came with it.
    added: HashSet<String>,
    flags: Vec<Flag>,
}

impl Revision<'_> {
    fn flag(&mut self, flag: Flag) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    fn event(&mut self, event: Event) {
        if self.history.events.len() >= METADATA_EVENTS_MAX {
            self.history.cuts.events += 1;
            return self.flag(Flag::Cut);
        }
        self.history.events.push(Event { at: self.at.to_owned(), ..event });
    }

    /// Whether `bytes` more of text may be kept.
    fn room(&mut self, bytes: usize) -> bool {
        let fits = self.history.bytes + bytes <= METADATA_TEXT_BYTES_MAX;
        match fits {
            true => self.history.bytes += bytes,
            false => {
                self.history.cuts.texts += 1;
                self.flag(Flag::Cut);
            }
        }
        fits
    }

    /// Whether one more record with so much text may be kept.
    fn record(&mut self, bytes: usize) -> bool {
        if self.history.records() >= METADATA_RECORDS_MAX {
            self.history.cuts.records += 1;
            self.flag(Flag::Cut);
            return false;
        }
        self.room(bytes)
    }

    fn groups(&mut self) {
        let document = self.document;
        let known = places(self.history.groups.iter().map(|record| record.id.clone()));
        for said in &document.groups {
            let size = said.id.len() + 64;
            match known.get(&said.id).and_then(|places| places.first()) {
                Some(at) => self.history.groups[*at].told.absorb(&said.times),
                None if self.record(size) => {
                    let (id, told) = (said.id.clone(), said.times.clone());
                    self.history.groups.push(GroupRecord { id, told, span: Span::open(self.at) });
                }
                None => return,
            }
        }
        let said = places(document.groups.iter().map(|said| said.id.clone()));
        for record in &mut self.history.groups {
            let gone = self.whole && !document.groups.is_empty() && !said.contains_key(&record.id);
            if gone || record.told.until.is_some() {
                record.span.end(self.at);
            }
        }
    }

    fn sessions(&mut self) {
        let document = self.document;
        let open = |record: &&SessionRecord| record.span.is_open();
        let before: Vec<String> =
            self.history.sessions.iter().filter(open).map(|record| record.id.clone()).collect();
        let known = places(self.history.sessions.iter().map(|record| record.id.clone()));
        let mut started = Vec::new();
        for said in &document.sessions {
            let place = match known.get(&said.id).and_then(|places| places.first()) {
                Some(place) => *place,
                None if self.record(said.id.len() + 64) => {
                    let record = SessionRecord { id: said.id.clone(), ..SessionRecord::default() };
                    self.history.sessions.push(record);
                    self.history.sessions.len() - 1
                }
                None => break,
            };
            self.session(place, said, &mut started);
        }
        let known = places(self.history.sessions.iter().map(|record| record.id.clone()));
        for said in &document.session_times {
            if let Some(place) = known.get(&said.session).map(|places| places[0]) {
                self.history.sessions[place].in_recording.absorb(&said.times);
                self.stop_session(place, said.times.until.clone());
            }
        }
        self.sessions_left_out();
        self.session_replaced(&before, &started);
    }

    fn session(&mut self, place: usize, said: &super::CommunicationSession, started: &mut Vec<String>) {
        let mut texts = 0;
        let record = &mut self.history.sessions[place];
        let fresh = record.span.since.is_empty();
        let room = SIP_SESSION_IDS_MAX.saturating_sub(record.sip_session_ids.len());
        for id in said.sip_session_ids.iter().take(room) {
            if !record.sip_session_ids.contains(id) {
                texts += id.len();
                record.sip_session_ids.push(id.clone());
            }
        }
        for reason in said.reasons.iter().take(SIP_SESSION_IDS_MAX.saturating_sub(record.reasons.len())) {
            if !record.reasons.contains(reason) {
                texts += reason.len();
                record.reasons.push(reason.clone());
            }
        }
        record.group = said.group.clone().or(record.group.take());
        let stopped_again = record.told.until == said.times.until;
        record.told.absorb(&said.times);
        // Back again, unless the document only repeats that it had stopped.
        if fresh || (!record.span.is_open() && said.times.until.is_none()) {
            record.span = Span::open(if fresh { self.at } else { &record.span.since });
            started.push(said.id.clone());
            let (session, told) = (Some(said.id.clone()), said.times.from.clone());
            self.event(Event { session, told, ..Event::new(What::SessionStarted) });
        }
        self.room(texts);
        if fresh || !stopped_again {
            self.stop_session(place, said.times.until.clone());
        }
    }

    fn stop_session(&mut self, place: usize, told: Option<String>) {
        let record = &mut self.history.sessions[place];
        if told.is_some() && record.span.end(self.at) {
            let session = Some(record.id.clone());
            self.event(Event { session, told, ..Event::new(What::SessionStopped) });
        }
    }

    fn sessions_left_out(&mut self) {
        if !self.whole || self.document.sessions.is_empty() {
            return;
        }
        let said = places(self.document.sessions.iter().map(|said| said.id.as_str()));
        for place in 0..self.history.sessions.len() {
            let record = &mut self.history.sessions[place];
            if !said.contains_key(record.id.as_str()) && record.span.end(self.at) {
                let session = Some(record.id.clone());
                self.event(Event { session, ..Event::new(What::SessionStopped) });
            }
        }
    }

    /// Every session that ran before has ended, and others run now: the client records another call in the same dialog (interop 25).
    fn session_replaced(&mut self, before: &[String], started: &[String]) {
        let lasts = |id: &String| self.history.sessions.iter().any(|r| r.id == *id && r.span.is_open());
        let (Some(was), Some(session)) = (before.first(), started.first()) else { return };
        if !before.iter().take(SIP_SESSION_IDS_MAX).any(lasts) {
            let (was, session) = (Some(was.clone()), Some(session.clone()));
            self.event(Event { was, session, ..Event::new(What::SessionReplaced) });
        }
    }
}

/// The places of each key.
fn places<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, Vec<usize>> {
    let mut places: HashMap<K, Vec<usize>> = HashMap::new();
    for (place, key) in keys.enumerate() {
        places.entry(key).or_default().push(place);
    }
    places
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
