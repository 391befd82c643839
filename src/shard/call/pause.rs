//! Pause and resume: what comes in between is thrown away before it reaches a buffer that is sealed.
//!
//! ```text
//!   Silence   | segment 1 ~~~~~~~~~ P          R ~~~~~~~~~ |     one segment, silent from P to R
//!   Cut       | segment 1 ~~~~~~~~~ |          | segment 2 ~     the first ends at P, once the horizon has passed; the next begins at R
//! ```
//!
//! Either way the stretch is an interval of every track with the cause `pause`. A cut that ends before the horizon has passed is silence: what
//! came before it is not sealed yet. What is thrown away is the tracks' to say: all that arrives from `P` to `R`, and what belongs there and comes later.

use super::{Call, Phase};
use crate::base::Mono;
use crate::link::{Event, PauseHow};
use crate::shard::Io;
use crate::shard::segment::Segment;

/// A pause that has not ended.
#[derive(Clone, Copy)]
pub(super) struct Pause {
    /// From this position on nothing is recorded.
    pub since: u64,
    /// Where the segment is to end, if it is.
    pub cut: Option<u64>,
    /// Where it has ended, and up to where the gap has been told.
    told: Option<u64>,
}

impl Call {
    /// From now on nothing that comes is recorded.
    pub fn pause(&mut self, how: PauseHow, now: Mono) {
        if matches!(self.phase, Phase::Draining { .. } | Phase::Ending) {
            return;
        }
        let now = if self.phase == Phase::Opening { 0 } else { self.position(now) };
        let pause = self.pause.get_or_insert(Pause { since: now, cut: None, told: None });
        match (how, pause.told) {
            (_, Some(_)) => {}
            (PauseHow::Silence, None) => pause.cut = None,
            (PauseHow::Cut, None) => pause.cut = pause.cut.or(Some(now)),
        }
        self.media.iter_mut().for_each(|track| track.pause(now));
    }

    /// From now on everything is recorded again.
    pub fn resume(&mut self, io: &mut Io<'_>) {
        let now = if self.phase == Phase::Opening { 0 } else { self.position(io.now) };
        let Some(pause) = self.pause else { return };
        if matches!(self.phase, Phase::Draining { .. } | Phase::Ending) {
            return;
        }
        let mut at = now;
        if let Some(told) = pause.told {
            at = at.max(told);
            // Without a file slot it stays paused: asked again, it may go on.
            let Some(file) = io.files.take(io.slot) else { return };
            self.tell_cut(at);
            let next = self.segment.follow(file, at, self.media.len());
            let ended = std::mem::replace(&mut self.segment, next);
            if !std::mem::take(&mut self.reported) {
                self.finishing.push_back(ended);
            }
            io.events.push(Event::SegmentWanted { call: self.id });
        }
        self.pause = None;
        self.media.iter_mut().for_each(|track| track.resume(at));
    }

    /// Ends the segment where it is to be cut, when all that came before is due to be sealed.
    pub(super) fn perhaps_cut(&mut self, now: u64, horizon: u64) {
        let Some(Pause { cut: Some(cut), told: None, .. }) = self.pause else { return };
        if now < cut + horizon {
            return;
        }
        // What had been placed ahead of the pause when it began is kept.
        let heard = self.media.iter().map(|track| track.heard_until()).max().unwrap_or(0);
        let end = cut.max(heard);
        if self.segment.format().is_none() {
            self.segment.decide(self.format, self.media.len());
        }
        self.segment.finish(end);
        if let Some(pause) = &mut self.pause {
            pause.told = Some(end);
        }
    }

    /// Tells of the gap in which there is no segment, as far as it has come.
    pub(super) fn tell_cut(&mut self, until: u64) {
        if let Some(Pause { told: Some(told), .. }) = &mut self.pause
            && *told < until
        {
            let from = std::mem::replace(told, until);
            self.media.iter_mut().for_each(|track| track.cut(from, until));
        }
    }

    /// Tells the control core of a segment that ended at a cut as soon as it is closed, in its turn.
    pub(super) fn report_cut(&mut self, io: &mut Io<'_>) {
        let cut = self.finishing.is_empty()
            && self.pause.is_some_and(|pause| pause.told.is_some())
            && self.phase != Phase::Ending;
        if cut && self.segment.done() && !std::mem::replace(&mut self.reported, true) {
            self.report_segment(&self.segment, io);
        }
    }
}

impl Segment {
    /// The segment that begins at `start`, after this one has ended.
    fn follow(&self, file: crate::ring::FileIx, start: u64, tracks: usize) -> Segment {
        let mut next = Segment::new(self.number + 1, file, start);
        if let Some(format) = self.format() {
            next.decide(format, tracks);
        }
        next
    }
}
