//! The session description of one call over its life: what was agreed, with which ports, and what a later offer or answer changes.
//!
//! Tracks are only ever added, each as the next channel: one whose m-line has ended, is missing, or can't be stored any more is held,
//! and goes on when the line is back. Once there are as many as there may be, a new stream goes on in the channel of one that has ended. Leaves out when what is said to whom ([`super::change`]).

use std::net::IpAddr;

use super::Refusal;
use super::lines::{Candidate, Place, matched};
use crate::base::{Entropy, Wall};
use crate::limits::{TRACK_LABELS_MAX, TRACKS_MAX};
use crate::link::{Payload, TrackPlan};
use crate::media::SampleFormat;
use crate::sdp::{self, Agreement, Answerer, Description, Direction, Keyring, Line, TrackTerms, Why};
use crate::siprec::Former;

/// A track of the call: one m-line.
#[derive(Clone)]
pub(super) struct Track {
    /// The m-line it was first on.
    home: usize,
    /// The m-line it is on, or was on last.
    line: usize,
    /// Whether it has that line now.
    live: bool,
    /// Its label, as last offered.
    pub label: Option<String>,
    /// Where it was, and what it was called, before.
    former: Vec<Former>,
    /// What the shard knows.
    pub plan: TrackPlan,
    /// Our RTP port, once bound.
    pub port: Option<u16>,
}

/// What the client has said last.
#[derive(Clone)]
struct Said {
    /// Its offer, or its answer as if it were one.
    description: Description,
    /// What we make of it.
    agreed: Agreement,
}

impl Said {
    /// As the client's offer, of which `agreed` is what we make.
    fn offered(description: Description, agreed: Agreement, only: &[Payload], keyring: &mut Keyring) -> Said {
        Said { description, agreed: agreed.narrowed(only).secured(keyring, false) }
    }

    /// As its answer to ours, in which our keys stand.
    fn answered(description: Description, only: &[Payload], keyring: &mut Keyring) -> Said {
        let agreed = Agreement::of(&description).narrowed(only).secured(keyring, true);
        Said { description, agreed }
    }
}

/// The terms of one call.
pub(super) struct Terms {
    said: Said,
    /// What it was before a change that is not answered yet, and how the tracks were.
    before: Option<Box<(Said, Vec<Track>)>>,
    answerer: Answerer,
    /// Our keys, where the client secures its streams.
    keyring: Keyring,
    /// What we tell as ours.
    pub address: IpAddr,
    /// Codecs that are answered; all if empty.
    only: Vec<Payload>,
    /// An offer of ours waits for its answer.
    pub unanswered: bool,
    /// When what is being taken in came.
    pub at: Wall,
    /// Former labels that were too many, since that was last asked.
    pub forgotten: u64,
    /// In channel order.
    pub tracks: Vec<Track>,
    /// How often the shard has been told.
    pub revision: u32,
}

impl Terms {
    /// The first offer's. One that has ended all of its streams leaves nothing to record, where a later one only holds what there is. `address` gives
    /// what we tell as ours, of the family that is asked for if any is; the entropy is for the answer's `o=` and for our keys.
    pub fn new(
        offer: Description,
        only: Vec<Payload>,
        address: impl Fn(Option<bool>) -> Option<IpAddr>,
        entropy: &mut impl Entropy,
    ) -> Result<Terms, Refusal> {
        let agreed = Agreement::of(&offer);
        let address = address(agreed.is_ipv6()).ok_or(Refusal::Family)?;
        let mut id = [0; 8];
        entropy.fill(&mut id);
        let mut keyring = Keyring::new(entropy);
        let said = Said::offered(offer, agreed.reaching(address), &only, &mut keyring);
        let mut terms = Terms {
            said,
            before: None,
            answerer: Answerer::new(u64::from_be_bytes(id)),
            keyring,
            address,
            only,
            unanswered: false,
            at: Wall(0),
            forgotten: 0,
            tracks: Vec::new(),
            revision: 0,
        };
        terms.follow();
        match terms.tracks.is_empty() {
            true => Err(Refusal::NothingToStore(terms.said.agreed.declined())),
            false => Ok(terms),
        }
    }

    /// Those of a client that leaves the offer to us: as many streams as there are labels.
    pub fn offering(
        labels: &[Option<String>],
        only: Vec<Payload>,
        address: impl Fn(Option<bool>) -> Option<IpAddr>,
        entropy: &mut impl Entropy,
    ) -> Result<Terms, Refusal> {
        let mut terms = Terms::new(sdp::assumed(labels), only, address, entropy)?;
        terms.unanswered = true;
        Ok(terms)
    }

    /// What the shard has to know, in channel order.
    pub fn plans(&self) -> Vec<TrackPlan> {
        self.tracks.iter().map(|track| track.plan.clone()).collect()
    }

    /// Per track the index of its m-line and the label it has, and what these were before, for the metadata.
    pub fn lines(&self) -> Vec<(usize, Option<&str>, &[Former])> {
        self.tracks.iter().map(|track| (track.home, track.label.as_deref(), &track.former[..])).collect()
    }

    /// The format that suits what the client prefers: one law for all, else linear, which holds both.
    pub fn format(&self) -> SampleFormat {
        let mut preferred = self.said.agreed.tracks().map(|(_, terms)| terms.preferred());
        match preferred.next() {
            Some(Payload::Pcmu) if preferred.all(|p| p == Payload::Pcmu) => SampleFormat::Mulaw,
            Some(Payload::Pcma) if preferred.all(|p| p == Payload::Pcma) => SampleFormat::Alaw,
            _ => SampleFormat::Pcm16,
        }
    }

    /// The answer to the offer at hand; while an offer is ours to make, that. A track without a port is declined.
    pub fn answer(&mut self) -> String {
        if self.unanswered {
            return self.offer(Direction::RecvOnly);
        }
        self.before = None;
        let (said, port_of) = (&self.said, port_of(&self.tracks));
        self.answerer.answer(&said.description, &said.agreed, self.address, port_of)
    }

    /// The session as it is, as an offer of ours; [`Terms::answered`] takes the answer.
    pub fn offer(&mut self, direction: Direction) -> String {
        self.unanswered = true;
        let (said, port_of) = (&self.said, port_of(&self.tracks));
        self.answerer.offer(&said.description, &said.agreed, self.address, port_of, direction)
    }

    /// A later offer (RFC 3264 section 8). It may add tracks, for which the shard has to find ports before it can be answered. True if
    /// it adds payload types that may come as soon as the client has the answer: then the shard has to know first. One that overtakes the
    /// answer to an offer of ours counts instead of it.
    pub fn reoffer(&mut self, sdp: &[u8]) -> Result<bool, Refusal> {
        let description = sdp::parse(sdp).map_err(Refusal::BadOffer)?;
        let agreed = Agreement::of(&description).reaching(self.address);
        if agreed.is_hopeless() {
            return Err(Refusal::NothingToStore(agreed.declined()));
        }
        let said = Said::offered(description, agreed, &self.only, &mut self.keyring);
        let before = (std::mem::replace(&mut self.said, said), self.tracks.clone());
        self.before = Some(Box::new(before));
        self.unanswered = false;
        self.follow();
        Ok(self.hears_more())
    }

    /// Whether a track takes payload types, keys or a source that it did not take before the change.
    fn hears_more(&self) -> bool {
        let before = self.before.iter().flat_map(|before| &before.1);
        let more = |(now, before): (&Track, &Track)| {
            (&now.plan.srtp, now.plan.rtp_from) != (&before.plan.srtp, before.plan.rtp_from)
                || now.plan.payloads.iter().any(|payload| !before.plan.payloads.contains(payload))
        };
        self.tracks.iter().zip(before).any(more)
    }

    /// The answer to an offer of ours. True if something in it was odd and left as it was.
    pub fn answered(&mut self, sdp: &[u8]) -> Result<bool, Refusal> {
        self.unanswered = false;
        let answer = sdp::parse(sdp).map_err(Refusal::BadOffer)?;
        let (description, odd) = sdp::answered(&self.said.description, &answer);
        self.said = Said::answered(description, &self.only, &mut self.keyring);
        self.follow();
        Ok(odd)
    }

    /// The same of those that the shard has.
    pub fn bound_plans(&self) -> Vec<TrackPlan> {
        let bound = self.tracks.iter().filter(|track| track.port.is_some());
        bound.map(|track| track.plan.clone()).collect()
    }

    /// Whether the shard has ports for all tracks.
    pub fn is_bound(&self) -> bool {
        self.tracks.iter().all(|track| track.port.is_some())
    }

    /// The shard has these ports.
    pub fn bound(&mut self, ports: &[u16]) {
        self.tracks.iter_mut().zip(ports).for_each(|(track, port)| track.port = Some(*port));
    }

    /// The shard has none for those that were added: they are none.
    pub fn unbound(&mut self) {
        self.tracks.retain(|track| track.port.is_some());
    }

    /// The offer at hand was taken back before it was answered. What was added to the recording stays, but held.
    pub fn revert(&mut self) {
        let Some((said, tracks)) = self.before.take().map(|before| *before) else { return };
        self.said = said;
        for (index, track) in self.tracks.iter_mut().enumerate() {
            match tracks.get(index) {
                Some(before) => *track = Track { port: track.port, ..before.clone() },
                None => (track.live, track.plan.held) = (false, true),
            }
        }
    }

    /// What a reader of the manifest should know of the streams that are not recorded.
    pub fn notes(&self) -> Vec<&'static str> {
        let taken = |line| self.tracks.iter().any(|track| track.live && track.line == line);
        let note = |(line, agreed): (usize, &Line)| match agreed {
            Line::Declined(why) => Some(why.note()),
            Line::Track(_) if !taken(line) => Some(Why::Tracks.note()),
            Line::Track(_) | Line::Ended => None,
        };
        self.said.agreed.lines.iter().enumerate().filter_map(note).collect()
    }

    /// Lets the tracks follow what the client has said.
    fn follow(&mut self) {
        let agreed = &self.said.agreed;
        let candidates: Vec<Candidate<'_>> =
            agreed.tracks().map(|(line, terms)| (line, terms.label.as_deref())).collect();
        let lines = matched(&self.tracks.iter().map(Track::place).collect::<Vec<_>>(), &candidates);
        for (track, line) in self.tracks.iter_mut().zip(&lines) {
            let terms = line.and_then(|line| agreed.tracks().find(|(index, _)| *index == line));
            self.forgotten += track.stand(terms, self.at);
        }
        let free = |(line, _): &(usize, &TrackTerms)| !lines.contains(&Some(*line));
        let room = TRACKS_MAX - self.tracks.len().min(TRACKS_MAX);
        let mut added: Vec<(usize, &TrackTerms)> = agreed.tracks().filter(free).collect();
        let late = added.split_off(room.min(added.len()));
        self.tracks.extend(added.into_iter().map(Track::new));
        // With every channel given away those whose streams have ended take what comes; who was there before stays in the map.
        for (line, terms) in late {
            if let Some(track) = self.tracks.iter_mut().find(|track| !track.live) {
                self.forgotten += track.pass_on((line, terms), self.at);
            }
        }
    }
}

impl Track {
    fn new((line, terms): (usize, &TrackTerms)) -> Track {
        let (label, plan) = (terms.label.clone(), terms.plan.clone());
        Track { home: line, line, live: true, label, former: Vec::new(), plan, port: None }
    }

    /// Another stream takes its channel, for good.
    fn pass_on(&mut self, (line, terms): (usize, &TrackTerms), at: Wall) -> u64 {
        let forgotten = self.part(at);
        (self.home, self.label) = (line, None);
        forgotten + self.stand(Some((line, terms)), at)
    }

    fn place(&self) -> Place<'_> {
        Place { line: self.line, live: self.live, label: self.label.as_deref() }
    }

    /// Writes down where it has been until now. Gives how many of the earlier places had to be forgotten for that.
    fn part(&mut self, at: Wall) -> u64 {
        // Beyond the limit the first and the newest stay.
        let full = self.former.len() == TRACK_LABELS_MAX;
        if full {
            self.former.remove(1);
        }
        self.former.push(Former { line: self.home, label: self.label.clone(), until: at.to_rfc3339() });
        u64::from(full)
    }

    /// It is on this line now, or on none.
    fn stand(&mut self, on: Option<(usize, &TrackTerms)>, at: Wall) -> u64 {
        let mut forgotten = 0;
        self.live = on.is_some();
        match on {
            Some((line, terms)) => {
                self.line = line;
                if let Some(label) = terms.label.as_ref().filter(|label| self.label.as_ref() != Some(*label))
                {
                    if self.label.is_some() {
                        forgotten = self.part(at);
                    }
                    self.label = Some(label.clone());
                }
                self.plan = terms.plan.clone();
            }
            None => self.plan.held = true,
        }
        forgotten
    }
}

/// The port of the track on a line.
fn port_of(tracks: &[Track]) -> impl Fn(usize) -> Option<u16> {
    move |line| tracks.iter().find(|track| track.live && track.line == line).and_then(|track| track.port)
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
