//! Participants: who is the same as before, who came, who went, and who took a stand-in's place.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::aor;
use super::super::metadata::{Flag, Name, Participant};
use super::super::records::*;
use super::Revision;

/// What Avaya's border controller calls parties that it does not know yet (interop 26).
const STAND_IN_ID: &str = "abcdef1234567890";
const STAND_IN_AOR: &str = "asbce@asbce.com";
/// Names that one participant collects.
const NAMES_MAX: usize = 64;

impl Revision<'_> {
    pub(super) fn people(&mut self) {
        let document = self.document;
        let mut known = Known::of(&self.history.participants);
        for said in &document.participants {
            let place = known.find(said).or_else(|| self.new_person(said));
            if let Some(place) = place {
                self.absorb_names(place, said);
            }
            self.who.push(place);
        }
        let records = self.history.participants.iter().enumerate();
        self.people_by_id = records.map(|(place, record)| (record.id.clone(), Some(place))).collect();
        // The first of two in one document.
        let said = document.participants.iter().zip(&self.who).rev();
        self.people_by_id.extend(said.map(|(said, place)| (said.id.clone(), *place)));
        let touched = self.presences();
        touched.iter().for_each(|place| self.come_or_go(*place));
        self.people_left_out(&touched);
    }

    fn new_person(&mut self, said: &Participant) -> Option<usize> {
        if !self.record(said.id.len() + 64) {
            return None;
        }
        let record = ParticipantRecord {
            id: said.id.clone(),
            provisional: is_stand_in(said),
            ..ParticipantRecord::default()
        };
        self.history.participants.push(record);
        Some(self.history.participants.len() - 1)
    }

    fn absorb_names(&mut self, place: usize, said: &Participant) {
        let mut changed = false;
        for name in &said.names {
            let is_known = self.history.participants[place].name_ids.contains(name);
            if is_known || (name.aor.is_none() && name.name.is_none()) {
                continue;
            }
            if self.history.participants[place].name_ids.len() == NAMES_MAX {
                self.history.cuts.names += 1;
                return self.flag(Flag::Cut);
            }
            if !self.room(size(name)) {
                return;
            }
            let record = &mut self.history.participants[place];
            record.name_ids.push(name.clone());
            for (list, one) in [(&mut record.aors, &name.aor), (&mut record.names, &name.name)] {
                if let Some(one) = one.as_ref().filter(|one| !list.contains(one)) {
                    list.push(one.clone());
                    changed = true;
                }
            }
        }
        if changed && !self.history.participants[place].span.since.is_empty() {
            let participant = Some(place as u32);
            self.event(Event { participant, ..Event::new(What::ParticipantChanged) });
        }
    }

    /// The record of the participant that an association names: of this document, else one who takes part by an earlier one.
    pub(super) fn person(&mut self, within: Option<usize>, id: &str) -> Option<usize> {
        if let Some(within) = within {
            return self.who.get(within).copied().flatten();
        }
        let known = self.people_by_id.get(id).copied();
        if known.is_none() {
            self.flag(Flag::Dangling);
        }
        known.flatten()
    }

    /// Takes in who was when in which session. Gives everybody that the document speaks of.
    fn presences(&mut self) -> BTreeSet<usize> {
        let document = self.document;
        let mut touched: BTreeSet<usize> = self.who.iter().copied().flatten().collect();
        for said in &document.presences {
            let Some(place) = self.person(said.within, &said.participant) else { continue };
            touched.insert(place);
            let (session, from, until) =
                (said.session.clone(), said.times.from.clone(), said.times.until.clone());
            let record = &mut self.history.participants[place];
            // Without an end after one that has ended: back in the session.
            let same =
                |mine: &PresenceRecord| mine.session == session && (mine.until.is_none() || until.is_some());
            match record.presence.iter().rposition(same) {
                Some(mine) => {
                    let mine = &mut record.presence[mine];
                    mine.from = mine.from.take().or(from);
                    mine.until = until.or(mine.until.take());
                }
                None if self.room(session.len() + 64) => {
                    let params = said.params.clone();
                    let presence = PresenceRecord { session, from, until, params };
                    self.history.participants[place].presence.push(presence);
                }
                None => {}
            }
        }
        touched
    }

    /// Someone whom the document speaks of: has it come, come back or left?
    fn come_or_go(&mut self, place: usize) {
        let record = &mut self.history.participants[place];
        let gone = !record.presence.is_empty() && record.presence.iter().all(|stay| stay.until.is_some());
        let fresh = record.span.since.is_empty();
        if fresh || (!record.span.is_open() && !gone) {
            record.span = Span::open(if fresh { self.at } else { &record.span.since });
            let last = record.presence.last();
            let (session, told) = (last.map(|p| p.session.clone()), last.and_then(|p| p.from.clone()));
            let participant = Some(place as u32);
            self.joined.insert(place);
            self.event(Event { participant, session, told, ..Event::new(What::ParticipantJoined) });
        }
        if gone {
            self.leave(place);
        }
    }

    fn people_left_out(&mut self, touched: &BTreeSet<usize>) {
        let ids: HashSet<&str> = self.document.participants.iter().map(|said| said.id.as_str()).collect();
        for place in 0..self.history.participants.len() {
            let id = self.history.participants[place].id.as_str();
            // Where only changes are told, an id that means someone else now says that the former one has gone.
            let gone = if self.whole {
                !self.document.participants.is_empty()
            } else {
                ids.contains(id) && !id.is_empty()
            };
            if gone && !touched.contains(&place) {
                self.leave(place);
            }
        }
    }

    fn leave(&mut self, place: usize) {
        let record = &mut self.history.participants[place];
        if record.span.end(self.at) {
            let last = record.presence.last();
            let (session, told) = (last.map(|p| p.session.clone()), last.and_then(|p| p.until.clone()));
            let participant = Some(place as u32);
            self.left.push(place);
            self.event(Event { participant, session, told, ..Event::new(What::ParticipantLeft) });
        }
    }

    /// Who took the places of the stand-ins that left: who sends the same stream, else who came first.
    pub(super) fn stand_ins(&mut self) {
        let people = &self.history.participants;
        let left: Vec<usize> = self.left.iter().copied().filter(|place| people[*place].provisional).collect();
        let mut came: BTreeSet<usize> =
            self.joined.iter().copied().filter(|place| !people[*place].provisional).collect();
        if left.is_empty() || came.is_empty() {
            return;
        }
        let sent = self.streams_sent();
        let senders: HashMap<&str, usize> = sent
            .iter()
            .filter(|(who, _)| came.contains(who))
            .map(|(who, what)| (what.as_str(), *who))
            .collect();
        let mut pairs = Vec::new();
        for stand_in in left {
            let same = sent
                .iter()
                .filter(|(who, _)| *who == stand_in)
                .find_map(|(_, what)| senders.get(what.as_str()));
            let same = same.copied().filter(|new| came.contains(new));
            let Some(new) = same.or(came.first().copied()) else { break };
            came.remove(&new);
            pairs.push((stand_in, new));
        }
        for (stand_in, new) in pairs {
            self.history.participants[stand_in].replaced_by = Some(new as u32);
            let (participant, other) = (Some(new as u32), Some(stand_in as u32));
            self.event(Event { participant, other, ..Event::new(What::ProvisionalReplaced) });
        }
    }

    /// Who sends or sent what: labels, or ids where there are none.
    fn streams_sent(&self) -> BTreeSet<(usize, String)> {
        let labels: HashMap<&str, &String> = self
            .history
            .streams
            .iter()
            .filter_map(|stream| Some((stream.id.as_str(), stream.label.as_ref()?)))
            .collect();
        let sent = self.history.links.iter().filter(|link| link.sends);
        sent.map(|link| {
            let what = labels.get(link.stream.as_str()).copied().unwrap_or(&link.stream);
            (link.participant as usize, what.clone())
        })
        .collect()
    }
}

fn size(name: &Name) -> usize {
    let text = |one: &Option<crate::base::Redacted<String>>| one.as_ref().map_or(0, |one| one.reveal().len());
    // Each stands in two lists.
    2 * (text(&name.aor) + text(&name.name)) + name.lang.as_ref().map_or(0, String::len)
}

fn is_stand_in(said: &Participant) -> bool {
    let aors: Vec<_> = said.names.iter().filter_map(|name| name.aor.as_ref()).collect();
    (aors.is_empty() && said.id.starts_with(STAND_IN_ID))
        || aors.iter().any(|aor| aor.reveal().to_ascii_lowercase().contains(STAND_IN_AOR))
}

/// Finding the record of a participant by id and address together, for clients give one id to two people (interop 21).
struct Known {
    by_address: HashMap<(String, String), Vec<usize>>,
    by_id: HashMap<String, Vec<usize>>,
    without_address: HashMap<String, Vec<usize>>,
    taken: HashSet<usize>,
}

impl Known {
    fn of(records: &[ParticipantRecord]) -> Known {
        let mut known = Known {
            by_address: HashMap::new(),
            by_id: HashMap::new(),
            without_address: HashMap::new(),
            taken: HashSet::new(),
        };
        // The last of a list is found first: the earliest of those who take part, then those who left.
        let ended = records.iter().enumerate().filter(|(_, record)| !record.span.is_open());
        let open = records.iter().enumerate().filter(|(_, record)| record.span.is_open());
        for (place, record) in ended.rev().chain(open.rev()) {
            for aor in &record.aors {
                let key = (record.id.clone(), aor::key(aor.reveal()));
                known.by_address.entry(key).or_default().push(place);
            }
            if record.aors.is_empty() {
                known.without_address.entry(record.id.clone()).or_default().push(place);
            }
            if !record.id.is_empty() {
                known.by_id.entry(record.id.clone()).or_default().push(place);
            }
        }
        known
    }

    fn find(&mut self, said: &Participant) -> Option<usize> {
        let aors: Vec<_> = said.names.iter().filter_map(|name| name.aor.as_ref()).collect();
        let keys = aors.iter().map(|aor| (said.id.clone(), aor::key(aor.reveal())));
        let mut lists: Vec<Option<&mut Vec<usize>>> = Vec::new();
        if aors.is_empty() {
            lists.push(self.by_id.get_mut(&said.id));
        }
        for key in keys {
            if let Some(place) = self.by_address.get_mut(&key).and_then(|list| next(list, &self.taken)) {
                self.taken.insert(place);
                return Some(place);
            }
        }
        lists.push(self.without_address.get_mut(&said.id));
        let place = lists.into_iter().flatten().find_map(|list| next(list, &self.taken))?;
        self.taken.insert(place);
        Some(place)
    }
}

/// Takes the next one out of a list that nobody has taken.
fn next(list: &mut Vec<usize>, taken: &HashSet<usize>) -> Option<usize> {
    while let Some(place) = list.pop() {
        if !taken.contains(&place) {
            return Some(place);
        }
    }
    None
}
