//! Streams: which is the same as before, by id and label, by id, or by label (interop 21), and which came and went.

use std::collections::{HashMap, HashSet};

use super::super::metadata::Stream;
use super::super::records::*;
use super::Revision;

impl Revision<'_> {
    pub(super) fn streams(&mut self) {
        let document = self.document;
        let mut touched = HashSet::new();
        let mut rest = Vec::new();
        let mut exact = places_of(&self.history.streams);
        for (position, said) in document.streams.iter().enumerate() {
            let key = (said.id.clone(), said.label.clone());
            match exact.get_mut(&key).and_then(|list| list.pop()) {
                Some(place) => {
                    touched.insert(place);
                    self.same_stream(place, said);
                }
                None => rest.push((position, said)),
            }
        }
        let by_id = self.open_by(&touched, |record| Some(record.id.clone()).filter(|id| !id.is_empty()));
        let by_label = self.open_by(&touched, |record| record.label.clone());
        for (position, said) in rest {
            let same_id = by_id.get(&said.id).copied().filter(|place| !touched.contains(place));
            let same_label = said.label.as_ref().and_then(|label| by_label.get(label)).copied();
            let same_label = same_label.filter(|place| !touched.contains(place));
            let place = match (same_id, same_label) {
                // Silence about the label is no other label.
                (Some(place), _) if said.label.is_none() => {
                    self.same_stream(place, said);
                    Some(place)
                }
                (Some(place), _) => self.changed_stream(place, position, said, What::StreamRelabelled),
                (None, Some(place)) => self.changed_stream(place, position, said, What::StreamRenamed),
                (None, None) => self.new_stream(position, said, None),
            };
            touched.extend([same_id, same_label, place].into_iter().flatten());
        }
        self.streams_left_out(&touched);
    }

    /// Records of streams that last and that nobody has claimed, the earliest of each key.
    fn open_by(
        &self,
        touched: &HashSet<usize>,
        key: impl Fn(&StreamRecord) -> Option<String>,
    ) -> HashMap<String, usize> {
        let mut found = HashMap::new();
        for (place, record) in self.history.streams.iter().enumerate() {
            if record.span.is_open()
                && !touched.contains(&place)
                && let Some(key) = key(record)
            {
                found.entry(key).or_insert(place);
            }
        }
        found
    }

    fn same_stream(&mut self, place: usize, said: &Stream) {
        let record = &mut self.history.streams[place];
        record.told.absorb(&said.times);
        record.session = said.session.clone().or(record.session.take());
        record.content = said.content.clone().or(record.content.take());
        let back = !record.span.is_open() && said.times.until.is_none();
        if back {
            record.span.until = None;
            record.told.until = None;
            self.added.insert(said.id.clone());
            self.tell_stream(place, What::StreamAdded, said.times.from.clone(), None);
        }
        self.stop_stream(place, said);
    }

    /// The same stream under another label, or the same label under another id: the old one ends and the new one begins.
    fn changed_stream(&mut self, old: usize, position: usize, said: &Stream, what: What) -> Option<usize> {
        self.history.streams[old].span.end(self.at);
        let was = match what {
            What::StreamRenamed => Some(self.history.streams[old].id.clone()),
            _ => self.history.streams[old].label.clone(),
        };
        self.new_stream(position, said, Some((what, was)))
    }

    fn new_stream(
        &mut self,
        position: usize,
        said: &Stream,
        change: Option<(What, Option<String>)>,
    ) -> Option<usize> {
        let label = said.label.as_ref().map_or(0, String::len);
        if !self.record(said.id.len() + label + 64) {
            return None;
        }
        let place = self.history.streams.len();
        self.history.streams.push(StreamRecord {
            id: said.id.clone(),
            session: said.session.clone(),
            label: said.label.clone(),
            content: said.content.clone(),
            position: position as u32,
            told: said.times.clone(),
            span: Span::open(self.at),
        });
        self.added.insert(said.id.clone());
        let (what, was) = change.unwrap_or((What::StreamAdded, None));
        self.tell_stream(place, what, said.times.from.clone(), was);
        self.stop_stream(place, said);
        Some(place)
    }

    fn stop_stream(&mut self, place: usize, said: &Stream) {
        if said.times.until.is_some() && self.history.streams[place].span.end(self.at) {
            self.tell_stream(place, What::StreamRemoved, said.times.until.clone(), None);
        }
    }

    fn streams_left_out(&mut self, touched: &HashSet<usize>) {
        if !self.whole || self.document.streams.is_empty() {
            return;
        }
        for place in 0..self.history.streams.len() {
            if !touched.contains(&place) && self.history.streams[place].span.end(self.at) {
                self.tell_stream(place, What::StreamRemoved, None, None);
            }
        }
    }

    fn tell_stream(&mut self, place: usize, what: What, told: Option<String>, was: Option<String>) {
        let record = &self.history.streams[place];
        let (session, stream, label) =
            (record.session.clone(), Some(record.id.clone()), record.label.clone());
        self.event(Event { told, was, session, stream, label, ..Event::new(what) });
    }
}

fn places_of(records: &[StreamRecord]) -> HashMap<(String, Option<String>), Vec<usize>> {
    super::places(records.iter().map(|record| (record.id.clone(), record.label.clone())))
}
