//! The silent stretches of a track while they are young: explained, open, settled.
//!
//! ```text
//!   explained  the cause is known, the stretch not sealed yet: a reordered packet may still fill it
//!   open       sealed, but only the next packet will tell the cause
//!   settled    sealed and explained, for the control core to take
//! ```
//!
//! All bounded. Leaves out what the causes are: the track says so.

use std::collections::VecDeque;

use super::{Cause, Interval};
use crate::base::planted::{Bug, planted};
use crate::limits::INTERVALS_PENDING_MAX;

/// Room that a queue has from the start.
const QUEUE_USUAL: usize = 2;

/// The young gaps of one track.
pub(super) struct Gaps {
    track: u8,
    explained: VecDeque<Interval>,
    open: Option<(u64, u64)>,
    settled: VecDeque<Interval>,
}

impl Gaps {
    pub(super) fn new(track: u8) -> Gaps {
        Gaps {
            track,
            // Most tracks have one gap at a time; a queue grows a few times at most.
            explained: VecDeque::with_capacity(QUEUE_USUAL),
            open: None,
            settled: VecDeque::with_capacity(QUEUE_USUAL),
        }
    }

    /// `[start, end)` of this track, for this reason.
    pub(super) fn interval(&self, start: u64, end: u64, cause: Cause, packets: u32) -> Interval {
        Interval { track: self.track, start, end, cause, packets, merged: false }
    }

    /// The next audio begins where `gap` ends: what is sealed of it is settled, the rest waits to be filled or sealed.
    pub(super) fn explain_up_to_audio(&mut self, mut gap: Interval) {
        if let Some((from, to)) = self.open {
            gap.split_off(from);
            let sealed = gap.split_off(to);
            self.settle(sealed);
        }
        self.explain(gap);
    }

    /// What is open of `[start, end)` is so for this reason.
    pub(super) fn settle_open(&mut self, start: u64, end: u64, cause: Cause) {
        if let Some((from, to)) = self.open {
            self.settle(self.interval(start.max(from), end.min(to), cause, 0));
        }
    }

    /// Audio up to `end` is there: what was open before it has been explained.
    pub(super) fn close_open(&mut self, end: u64) {
        self.open = self.open.filter(|open| open.1 > end).map(|open| (open.0.max(end), open.1));
    }

    /// Queues a gap whose cause is known until it is sealed.
    pub(super) fn explain(&mut self, gap: Interval) {
        let after_last = self.explained.back().is_none_or(|last| gap.start >= last.end);
        if gap.samples() > 0 && after_last {
            push(&mut self.explained, gap);
        }
    }

    /// Hands a stretch to the control core.
    pub(super) fn settle(&mut self, interval: Interval) {
        let forgotten = planted(Bug::IntervalForgotten) && interval.cause == Cause::Loss;
        if interval.samples() > 0 && !forgotten {
            push(&mut self.settled, interval);
        }
    }

    /// `[from, to)` has been sealed without audio; audio has been seen up to `frontier`. Called in the order of the timeline.
    pub(super) fn uncovered(&mut self, mut from: u64, to: u64, frontier: u64) {
        while from < to {
            while self.explained.front().is_some_and(|gap| gap.end <= from) {
                self.explained.pop_front();
            }
            from = match self.explained.front_mut() {
                Some(gap) if gap.start <= from => {
                    // What was filled meanwhile takes its share of the missing packets with it.
                    gap.split_off(from);
                    let part = gap.split_off(to);
                    self.settle(part);
                    part.end
                }
                next => {
                    let end = next.map_or(to, |gap| gap.start.min(to));
                    self.unexplained(from, end, frontier);
                    end
                }
            };
        }
    }

    /// A sealed stretch whose cause nobody has told yet.
    fn unexplained(&mut self, mut from: u64, to: u64, frontier: u64) {
        if from < frontier {
            // Between packets of two sources, each of which claimed the gap for its own.
            let end = to.min(frontier);
            self.settle(self.interval(from, end, Cause::SourceChange, 0));
            from = end;
        }
        if from >= to {
            return;
        }
        match self.open {
            Some((start, end)) if end == from => self.open = Some((start, to)),
            _ => {
                self.finish(Cause::NoMedia);
                self.open = Some((from, to));
            }
        }
    }

    /// No packet will tell the cause of what is open.
    pub(super) fn finish(&mut self, cause: Cause) {
        if let Some((start, end)) = self.open.take() {
            self.settle(self.interval(start, end, cause, 0));
        }
    }

    /// Whether there are any to hand out.
    pub(super) fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Hands out settled stretches, the oldest first, as long as `take` accepts them.
    pub(super) fn take_settled(&mut self, mut take: impl FnMut(Interval) -> bool) {
        while self.settled.front().is_some_and(|interval| take(*interval)) {
            self.settled.pop_front();
        }
    }
}

/// Adds to a queue that is full at [`INTERVALS_PENDING_MAX`]: neighbours of one cause are one, and when there is no room the last one grows
/// and says so.
fn push(queue: &mut VecDeque<Interval>, new: Interval) {
    let full = queue.len() >= INTERVALS_PENDING_MAX;
    match queue.back_mut() {
        Some(last) if full || (last.end == new.start && last.cause == new.cause) => {
            last.merged |= full && (last.end != new.start || last.cause != new.cause);
            last.start = last.start.min(new.start);
            last.end = last.end.max(new.end);
            last.packets = last.packets.saturating_add(new.packets);
        }
        _ => queue.push_back(new),
    }
}
