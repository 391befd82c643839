//! What changes a live call: a new session description, tracks added, another law, a segment that is full.
//!
//! ```text
//!   Update with more tracks ─▶ growing: their ports are bound, as in opening ─▶ the next segment has a channel for each ─▶ Updated
//!                                 └── no port can be had: what is bound is closed, and nothing has changed ─▶ Updated, with why
//! ```

use super::leg::Leg;
use super::{Call, Phase};
use crate::limits::TRACKS_MAX;
use crate::link::{Event, Refusal, TrackPlan};
use crate::media::{SampleFormat, Track};
use crate::shard::Io;

/// Tracks on their way into a live call: legs beyond its media.
pub(super) struct Growth {
    revision: u32,
    tracks: Vec<TrackPlan>,
}

impl Call {
    /// The session description changed.
    pub fn update(&mut self, revision: u32, tracks: Vec<TrackPlan>, io: &mut Io<'_>) {
        let result = match tracks.len() {
            more if more > self.media.len() => match self.may_grow(more) {
                Ok(()) => return self.grow(revision, tracks, io),
                Err(refusal) => Err(refusal),
            },
            _ => {
                // Growing tracks were planned with what the others were before.
                if let Some(growth) = &mut self.growth {
                    growth.tracks.iter_mut().zip(&tracks).for_each(|(planned, now)| *planned = now.clone());
                }
                self.agree(&tracks);
                Ok(self.ports())
            }
        };
        self.updated(revision, result, io);
    }

    /// One change of the layout at a time, and none on the way in or out.
    fn may_grow(&self, tracks: usize) -> Result<(), Refusal> {
        match self.phase {
            Phase::Live if tracks > TRACKS_MAX || self.legs.len() > self.media.len() => Err(Refusal::Full),
            Phase::Live => Ok(()),
            _ => Err(Refusal::Closed),
        }
    }

    fn grow(&mut self, revision: u32, tracks: Vec<TrackPlan>, io: &mut Io<'_>) {
        self.bind_tries = 0;
        self.legs.resize_with(tracks.len(), Leg::new);
        self.growth = Some(Growth { revision, tracks });
        self.grow_further(io);
    }

    /// Binds what is to be added; when all of it is bound the call has more tracks.
    pub(super) fn grow_further(&mut self, io: &mut Io<'_>) {
        let first = self.media.len();
        let Some(growth) = &self.growth else { return self.shrink(io) };
        let revision = growth.revision;
        let (bind, tries) = (self.bind, &mut self.bind_tries);
        let mut added = self.legs[first..].iter_mut().enumerate();
        let bound = added.try_for_each(|(track, leg)| leg.bind((first + track, bind), tries, io));
        if let Err(refusal) = bound {
            return self.stay(refusal, io);
        }
        if !self.legs[first..].iter().all(Leg::is_bound) {
            return;
        }
        match self.relayout(self.legs.len(), io) {
            Err(refusal) => self.stay(refusal, io),
            Ok(()) => {
                let tracks = self.growth.take().map(|growth| growth.tracks).unwrap_or_default();
                self.agree(&tracks);
                self.updated(revision, Ok(self.ports()), io);
            }
        }
    }

    /// There will be no more tracks than there were.
    pub(super) fn stay(&mut self, refusal: Refusal, io: &mut Io<'_>) {
        if let Some(growth) = self.growth.take() {
            self.updated(growth.revision, Err(refusal), io);
        }
        self.shrink(io);
    }

    /// Closes the legs of tracks that were not added after all.
    fn shrink(&mut self, io: &mut Io<'_>) {
        let first = self.media.len();
        self.legs[first..].iter_mut().for_each(|leg| leg.close(io));
        if self.legs[first..].iter().all(Leg::is_idle) {
            self.legs.truncate(first);
        }
    }

    /// Lays out the segment for so many tracks: the next one, unless nothing of this one has been given to the disk.
    fn relayout(&mut self, tracks: usize, io: &mut Io<'_>) -> Result<(), Refusal> {
        let before = self.media.len();
        let (since, horizon) = (self.pause.map(|pause| pause.since), self.horizon);
        let track = |number| {
            let mut track = Track::new(number as u8, horizon);
            since.into_iter().for_each(|since| track.pause(since));
            track
        };
        self.media.extend((before..tracks).map(track));
        // Where the segment has ended, at a cut, the next one will have them all.
        let Some(format) = self.segment.format().filter(|_| !self.segment.is_ended()) else { return Ok(()) };
        if self.reformat(format, before, io) {
            return Ok(());
        }
        self.media.truncate(before);
        Err(Refusal::Full)
    }

    fn ports(&self) -> Vec<u16> {
        self.legs[..self.media.len()].iter().filter_map(|leg| leg.pair).collect()
    }

    fn updated(&self, revision: u32, result: Result<Vec<u16>, Refusal>, io: &mut Io<'_>) {
        io.events.push(Event::Updated { call: self.id, revision, result });
    }

    /// Payload types, hold, where packets come from and reports go.
    pub(super) fn agree(&mut self, tracks: &[TrackPlan]) {
        for ((leg, media), plan) in self.legs.iter_mut().zip(&mut self.media).zip(tracks) {
            leg.agree(plan);
            media.hold(plan.held);
        }
    }

    /// Makes the segment able to hold `law` without loss; false if it can't be.
    pub(super) fn suit(&mut self, law: SampleFormat, io: &mut Io<'_>) -> bool {
        let suits = match self.segment.format() {
            None => {
                self.segment.decide(law, self.media.len());
                true
            }
            Some(format) if format == law || format == SampleFormat::Pcm16 => true,
            // Silence alone does not bind the call to a law; audio of both needs PCM16, and stays with it.
            Some(_) => {
                let format = if self.heard { SampleFormat::Pcm16 } else { law };
                self.reformat(format, self.media.len(), io)
            }
        };
        self.heard |= suits;
        suits
    }

    /// Goes on in `format` with all tracks there are now; so far there were `before`. False, and nothing has changed, if there is no file slot or no
    /// memory for it.
    pub(super) fn reformat(&mut self, format: SampleFormat, before: usize, io: &mut Io<'_>) -> bool {
        if !self.segment.can_move(format, (before, self.media.len()), io) {
            return false;
        }
        if self.segment.untouched() {
            self.segment.convert(format, (before, self.media.len()), io);
            return true;
        }
        self.roll(format, before, io)
    }

    /// Begins the next segment; the control core is asked for its plan.
    fn roll(&mut self, format: SampleFormat, before: usize, io: &mut Io<'_>) -> bool {
        let Some(file) = io.files.take(io.slot) else { return false };
        let next = self.segment.roll(file, format, (before, self.media.len()), io);
        self.finishing.push_back(std::mem::replace(&mut self.segment, next));
        io.events.push(Event::SegmentWanted { call: self.id });
        // What is left of the old one is to be written, and the new one to be made.
        *io.look = io.now;
        true
    }
}
