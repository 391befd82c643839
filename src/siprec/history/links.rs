//! Who sends and receives which stream: hold and resume by metadata, mixed streams, ids that lead nowhere, and mappings that
//! contradict themselves, which are kept and flagged, never put right (interop 20, 22).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::metadata::{Flag, StreamLink, Times};
use super::super::records::*;
use super::Revision;

/// Participant, stream, and whether it sends.
type Key = (usize, String, bool);

/// What a document says of links.
#[derive(Default)]
struct Said {
    /// Those whose streams it states: what it does not name of theirs has ended.
    people: HashSet<usize>,
    lasting: BTreeMap<Key, Times>,
    ended: HashMap<Key, Times>,
}

/// Where streams are, the last of each id and label.
struct Streams {
    by_id: HashMap<String, usize>,
    by_label: HashMap<String, usize>,
    /// Ids under which nothing lasts.
    gone: HashSet<String>,
}

impl Streams {
    fn of(records: &[StreamRecord]) -> Streams {
        let open: HashSet<&str> =
            records.iter().filter(|s| s.span.is_open()).map(|s| s.id.as_str()).collect();
        let places = || records.iter().enumerate();
        Streams {
            by_id: places().map(|(place, record)| (record.id.clone(), place)).collect(),
            by_label: places().filter_map(|(place, record)| Some((record.label.clone()?, place))).collect(),
            gone: records.iter().map(|s| s.id.clone()).filter(|id| !open.contains(id.as_str())).collect(),
        }
    }
}

impl Revision<'_> {
    pub(super) fn links(&mut self) {
        let streams = Streams::of(&self.history.streams);
        let said = self.said(&streams);
        let stopped = self.end_links(&said, &streams);
        let started = self.begin_links(&said, &streams);
        self.exchanged(&stopped, &started);
    }

    fn said(&mut self, streams: &Streams) -> Said {
        let document = self.document;
        let mut said = Said::default();
        let in_order = self.by_order();
        for (order, link) in document.links.iter().enumerate() {
            let place = match in_order {
                true => self.who[order],
                false => self.person(link.within, &link.participant),
            };
            if let Some(place) = place {
                self.read_link(place, link, streams, &mut said);
            }
        }
        let both =
            |(who, stream, sends): &Key| !sends && said.lasting.contains_key(&(*who, stream.clone(), true));
        if document.streams.len() > 1 && said.lasting.keys().any(both) {
            self.flag(Flag::Crossed);
        }
        said
    }

    /// Whether every association names nobody that there is, yet there are as many as participants: then their order tells
    /// (interop 21: some write the session's id for the participant's).
    fn by_order(&mut self) -> bool {
        let document = self.document;
        let named =
            |link: &StreamLink| link.within.is_some() || self.people_by_id.contains_key(&link.participant);
        let as_many = !document.links.is_empty() && document.links.len() == document.participants.len();
        let in_order = as_many && !document.links.iter().any(named);
        if in_order {
            self.flag(Flag::Dangling);
        }
        in_order
    }

    fn read_link(&mut self, place: usize, link: &StreamLink, streams: &Streams, said: &mut Said) {
        let ended = link.times.until.is_some();
        if !ended {
            said.people.insert(place);
        }
        for (ids, sends) in [(&link.sends, true), (&link.receives, false)] {
            for id in ids {
                let key = (place, self.stream_id(id, streams), sends);
                match ended {
                    true => said.ended.insert(key, link.times.clone()),
                    false => said.lasting.insert(key, link.times.clone()),
                };
            }
        }
    }

    /// The id of the stream that an association means: some write the label.
    fn stream_id(&mut self, said: &str, streams: &Streams) -> String {
        if !streams.by_id.contains_key(said) {
            match streams.by_label.get(said) {
                Some(place) => return self.history.streams[*place].id.clone(),
                None => self.flag(Flag::Dangling),
            }
        }
        said.to_owned()
    }

    /// Ends what the document says has ended. Gives who stopped to send what, where both go on otherwise.
    fn end_links(&mut self, said: &Said, streams: &Streams) -> Vec<(usize, String)> {
        let speaks = self.whole && !self.document.links.is_empty();
        let mut stopped = Vec::new();
        for at in 0..self.history.links.len() {
            let link = &mut self.history.links[at];
            let place = link.participant as usize;
            let key = (place, link.stream.clone(), link.sends);
            let gone = !self.history.participants[place].span.is_open() || streams.gone.contains(&key.1);
            let stated = if said.people.contains(&place) { !said.lasting.contains_key(&key) } else { speaks };
            let end = said.ended.get(&key);
            if !(gone || stated || end.is_some()) || !link.span.end(self.at) {
                continue;
            }
            let told = end.and_then(|times| times.until.clone());
            link.told.until = told.clone();
            if key.2 && !gone {
                self.tell_link(What::SendingStopped, &key, told, streams);
                stopped.push((place, key.1));
            }
        }
        stopped
    }

    /// Begins what is new. Gives who started to send what, where both were there before.
    fn begin_links(&mut self, said: &Said, streams: &Streams) -> Vec<(usize, String)> {
        let open = self.history.links.iter().filter(|link| link.span.is_open());
        let known: HashSet<Key> =
            open.map(|link| (link.participant as usize, link.stream.clone(), link.sends)).collect();
        let mut started = Vec::new();
        for (key, times) in &said.lasting {
            let (place, stream, sends) = (key.0, &key.1, key.2);
            let gone = !self.history.participants[place].span.is_open();
            if streams.gone.contains(stream) {
                self.flag(Flag::Dangling);
                continue;
            }
            if gone || known.contains(key) || !self.record(stream.len() + 64) {
                continue;
            }
            self.history.links.push(LinkRecord {
                participant: place as u32,
                stream: stream.clone(),
                sends,
                told: times.clone(),
                span: Span::open(self.at),
            });
            if sends && !self.joined.contains(&place) && !self.added.contains(stream) {
                self.tell_link(What::SendingStarted, key, times.from.clone(), streams);
                started.push((place, stream.clone()));
            }
        }
        started
    }

    fn tell_link(&mut self, what: What, key: &Key, told: Option<String>, streams: &Streams) {
        let record = streams.by_id.get(&key.1).map(|place| &self.history.streams[*place]);
        let label = record.and_then(|record| record.label.clone());
        let (participant, stream) = (Some(key.0 as u32), Some(key.1.clone()));
        self.event(Event { told, participant, stream, label, ..Event::new(what) });
    }

    /// Two who have exchanged what they send, and nothing else has changed: one of the two documents is wrong.
    fn exchanged(&mut self, stopped: &[(usize, String)], started: &[(usize, String)]) {
        let stopper: HashMap<&str, usize> = stopped.iter().map(|(who, what)| (what.as_str(), *who)).collect();
        let formerly: HashMap<usize, &str> =
            stopped.iter().map(|(who, what)| (*who, what.as_str())).collect();
        let now: HashSet<(usize, &str)> = started.iter().map(|(who, what)| (*who, what.as_str())).collect();
        for (place, stream) in started {
            let (Some(other), Some(was)) = (stopper.get(stream.as_str()), formerly.get(place)) else {
                continue;
            };
            if place < other && now.contains(&(*other, was)) {
                self.flag(Flag::Crossed);
                let (participant, other) = (Some(*place as u32), Some(*other as u32));
                self.event(Event { participant, other, ..Event::new(What::Crossed) });
            }
        }
    }
}
