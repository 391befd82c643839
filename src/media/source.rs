//! One source (SSRC) of a track: its sequence, its clock against ours, and where its timestamps lie on the timeline.

use crate::rtp::{Reception, Sequence};

/// Timestamp steps may differ from the arrival by this much without being a jump: 200 ms.
pub(super) const JUMP_TOLERANCE: i64 = 1600;
/// Audio packets whose smallest delay makes one drift measurement: 8 s at 20 ms.
const DRIFT_WINDOW: u32 = 400;

/// The last audio packet in order, to measure the next against.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) extended: u64,
    pub(super) timestamp: i64,
    pub(super) arrival: i64,
    pub(super) samples: i64,
}

/// One SSRC.
pub(super) struct Source {
    pub(super) ssrc: u32,
    pub(super) sequence: Sequence,
    /// The first number of it that came, and what RFC 3550 counts for its reports.
    pub(super) first_extended: u64,
    pub(super) reception: Option<Reception>,
    /// Position minus extended timestamp; `None` until the first audio packet.
    pub(super) offset: Option<i64>,
    pub(super) last: Option<Step>,
    /// Offset and last timestamp before it was anchored anew: packets from then may still be on their way.
    before: Option<(i64, i64)>,
    /// The number of the packet that it was anchored by: what comes after it has no other anchor.
    anchored_at: u64,
    pub(super) last_arrival: u64,
    /// When the first came of the packets that have been late without a break.
    late_since: Option<i64>,
    /// It has been on hold, and nothing of it has come in order since.
    pub(super) resumed: bool,
    /// Largest (position - arrival) of the running drift window, and packets in it.
    pub(super) lead: i64,
    pub(super) measured: u32,
    /// The lead of the first window: what later ones are compared with.
    pub(super) lead_at_first: Option<i64>,
    /// How far the clock has drifted, not yet put right.
    pub(super) drift: i64,
}

impl Step {
    /// Where packet `extended` begins on the source's clock if it sent all along.
    pub(super) fn next_timestamp(&self, extended: u64) -> i64 {
        let packets = extended.saturating_sub(self.extended) as i64;
        self.timestamp + self.samples.saturating_mul(packets)
    }

    /// Whether `next` is where this source's clock says it should be: by its sequence numbers or by its arrival.
    pub(super) fn follows(&self, next: &Step, restarted: bool) -> bool {
        let timestamps = next.timestamp - self.timestamp;
        let arrivals = next.arrival - self.arrival;
        if (timestamps - arrivals).abs() <= JUMP_TOLERANCE {
            return true;
        }
        let expected = self.next_timestamp(next.extended) - self.timestamp;
        !restarted && (timestamps - expected).abs() <= expected / 2 + self.samples
    }
}

impl Source {
    pub(super) fn new(ssrc: u32, arrival: u64) -> Source {
        Source {
            ssrc,
            sequence: Sequence::new(),
            first_extended: 0,
            reception: None,
            offset: None,
            last: None,
            before: None,
            anchored_at: 0,
            last_arrival: arrival,
            late_since: None,
            resumed: false,
            lead: i64::MIN,
            measured: 0,
            lead_at_first: None,
            drift: 0,
        }
    }

    /// The RTP timestamp without its wrap (RFC 3550 section 5.1), near the last one seen.
    pub(super) fn extend(&self, timestamp: u32) -> i64 {
        match self.last {
            Some(last) => last.timestamp + i64::from(timestamp.wrapping_sub(last.timestamp as u32) as i32),
            None => i64::from(timestamp),
        }
    }

    /// Where a packet lies that was overtaken, perhaps across a jump of the timestamps: by the anchor, this or the last, that puts it
    /// nearest to its arrival; a packet behind the one that it was anchored by goes by this one. `None` if it would lie more than `ahead_max` ahead: its own anchor is forgotten.
    pub(super) fn overtaken(&self, step: &Step, timestamp: u32, ahead_max: i64) -> Option<i64> {
        let arrival = step.arrival;
        let near = |(offset, last): (i64, i64)| {
            offset + last + i64::from(timestamp.wrapping_sub(last as u32) as i32)
        };
        let now = self.offset.zip(self.last.map(|last| last.timestamp));
        let before = self.before.filter(|_| step.extended < self.anchored_at);
        let candidates = [now, before].into_iter().flatten().map(near);
        candidates
            .min_by_key(|position| (position - arrival).abs())
            .filter(|position| position - arrival <= ahead_max)
    }

    /// Whether its packets have come too late for so long that with this one, by `lead` before its time, more than `patience` of them were lost.
    /// Told by when they come: a burst after a stall is over at once. Nothing is late in a silence, so it does not count.
    pub(super) fn stays_late(&mut self, step: &Step, lead: i64, patience: i64) -> bool {
        if self.last.is_some_and(|last| step.arrival - last.arrival > patience) {
            self.late_since = None;
        }
        // What is nearly late between late ones is jitter at the edge.
        let edge = if self.late_since.is_some() { patience / 2 } else { patience };
        if lead >= -edge {
            self.late_since = None;
            return false;
        }
        step.arrival - *self.late_since.get_or_insert(step.arrival) + step.samples > patience
    }

    /// Minimum-delay filter: the packet that waited least in the network tells how the two clocks stand.
    pub(super) fn measure(&mut self, lead: i64) {
        self.lead = self.lead.max(lead);
        self.measured += 1;
        if self.measured < DRIFT_WINDOW {
            return;
        }
        match self.lead_at_first {
            None => self.lead_at_first = Some(self.lead),
            Some(first) => self.drift = self.lead - first,
        }
        (self.lead, self.measured) = (i64::MIN, 0);
    }

    /// It is anchored anew: what was measured against the old anchor says nothing.
    pub(super) fn anchor(&mut self, offset: i64, extended: u64) {
        self.anchored_at = extended;
        self.before = self.offset.zip(self.last.map(|last| last.timestamp));
        self.offset = Some(offset);
        self.late_since = None;
        (self.lead, self.measured, self.lead_at_first, self.drift) = (i64::MIN, 0, None, 0);
    }
}
