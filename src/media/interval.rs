//! Stretches of a track that hold no audio of its source, and why.

use serde::{Deserialize, Serialize};

use crate::limits::INTERVALS_MAX;

/// Why a stretch of a track is silent in the recording.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Packets of this stretch never arrived: sequence numbers are missing.
    Loss,
    /// Packets of this stretch arrived after it was sealed.
    Late,
    /// The source sent nothing and said so: no sequence number is missing (discontinuous transmission).
    Silence,
    /// The source sent comfort noise (RFC 3389).
    ComfortNoise,
    /// The source sent DTMF digits as events (RFC 4733) instead of audio.
    TelephoneEvent,
    /// The client had put the stream on hold (SDP direction inactive, RFC 3264 section 8.4).
    Hold,
    /// The recording was paused by the recorder's operator or policy: what came was thrown away.
    Pause,
    /// No packet has come (yet): before the first, after the last, or while the source was mute without a word.
    NoMedia,
    /// The source changed (SSRC) or its timestamps jumped; the stretch between is nobody's.
    SourceChange,
    /// The source's clock had drifted, or its audio had begun to come later than the horizon for good, and was put right here.
    Drift,
    /// Ours: the packet came and there was no room for it.
    Overflow,
    /// Ours: lost with a crash.
    Crash,
}

/// A silent stretch of one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// The track, by its channel number from 0.
    pub track: u8,
    /// First silent sample, since the start of the recording session.
    pub start: u64,
    /// First sample after it.
    pub end: u64,
    /// Why.
    pub cause: Cause,
    /// Sequence numbers missing in it, 0 unless packets were lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub packets: u32,
    /// Whether neighbouring intervals were merged into this one because there were too many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
}

fn is_zero(packets: &u32) -> bool {
    *packets == 0
}

impl Interval {
    /// Its length in samples.
    pub fn samples(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// The part of it in `[start, end)`, its packets in proportion.
    fn part(&self, start: u64, end: u64) -> Option<Interval> {
        let (start, end) = (start.max(self.start), end.min(self.end));
        (start < end).then(|| Interval { start, end, packets: self.packets_in(end - start), ..*self })
    }

    /// Takes off the part before `at`, with its share of the packets.
    pub(super) fn split_off(&mut self, at: u64) -> Interval {
        let at = at.clamp(self.start, self.end);
        let packets = self.packets_in(at - self.start);
        let first = Interval { end: at, packets, ..*self };
        (self.start, self.packets) = (at, self.packets - packets);
        first
    }

    /// Packets in `samples` of it, rounded to the nearest.
    fn packets_in(&self, samples: u64) -> u32 {
        let all = self.samples().max(1);
        u32::try_from((u64::from(self.packets) * samples + all / 2) / all)
            .unwrap_or(u32::MAX)
            .min(self.packets)
    }
}

/// The silent stretches of a recording, in the order they were settled; bounded.
///
/// Stretches that touch and share a cause are one. A late packet's stretch replaces the loss it was taken for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<Interval>);

impl Intervals {
    /// How far back a late packet may find the loss it was taken for.
    const LOOK_BACK: usize = 256;

    /// The stretches so far.
    pub fn as_slice(&self) -> &[Interval] {
        &self.0
    }

    /// The stretches, taken out.
    pub fn into_vec(self) -> Vec<Interval> {
        self.0
    }

    /// Adds a settled stretch. Beyond [`INTERVALS_MAX`] it is merged into the track's last, whose `merged` flag then says so.
    pub fn push(&mut self, new: Interval) {
        if new.start >= new.end {
            return;
        }
        if new.cause == Cause::Late {
            self.withdraw(&new);
        }
        let full = self.0.len() >= INTERVALS_MAX;
        let last = self.0.iter_mut().rev().take(Self::LOOK_BACK).find(|last| last.track == new.track);
        match last {
            Some(last) if last.end == new.start && last.cause == new.cause => {
                last.end = new.end;
                last.packets = last.packets.saturating_add(new.packets);
                last.merged |= new.merged;
            }
            Some(last) if full => {
                last.start = last.start.min(new.start);
                last.end = last.end.max(new.end);
                last.packets = last.packets.saturating_add(new.packets);
                last.merged = true;
            }
            None if full => {}
            _ => self.0.push(new),
        }
    }

    /// Takes the stretch of a late packet out of what was held for lost.
    fn withdraw(&mut self, late: &Interval) {
        let first = self.0.len().saturating_sub(Self::LOOK_BACK);
        for index in (first..self.0.len()).rev() {
            let lost = self.0[index];
            let touches = lost.track == late.track && lost.start < late.end && late.start < lost.end;
            if !touches || lost.cause == Cause::Late || lost.merged {
                continue;
            }
            let before = lost.part(lost.start, late.start);
            let after = lost.part(late.end, lost.end);
            match (before, after) {
                (Some(before), Some(after)) => {
                    self.0[index] = before;
                    self.0.insert(index + 1, after);
                }
                (Some(rest), None) | (None, Some(rest)) => self.0[index] = rest,
                (None, None) => {
                    self.0.remove(index);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(start: u64, end: u64, packets: u32) -> Interval {
        Interval { track: 0, start, end, cause: Cause::Loss, packets, merged: false }
    }

    #[test]
    fn stretches_that_touch_and_share_a_cause_become_one() {
        let mut intervals = Intervals::default();
        intervals.push(lost(0, 160, 1));
        intervals.push(Interval { track: 1, ..lost(0, 160, 1) });
        intervals.push(lost(160, 320, 1));
        assert_eq!(intervals.as_slice(), [lost(0, 320, 2), Interval { track: 1, ..lost(0, 160, 1) }]);
    }

    #[test]
    fn a_late_packet_takes_its_stretch_out_of_the_loss() {
        let mut intervals = Intervals::default();
        intervals.push(lost(0, 480, 3));
        let late = Interval { cause: Cause::Late, packets: 0, ..lost(160, 320, 0) };
        intervals.push(late);
        assert_eq!(intervals.as_slice(), [lost(0, 160, 1), lost(320, 480, 1), late]);
    }

    #[test]
    fn the_list_is_bounded_and_says_when_it_merged() {
        let mut intervals = Intervals::default();
        for i in 0..INTERVALS_MAX as u64 + 10 {
            intervals.push(lost(i * 320, i * 320 + 160, 1));
        }
        assert_eq!(intervals.as_slice().len(), INTERVALS_MAX);
        let last = intervals.as_slice().last().unwrap();
        assert!(last.merged && last.packets == 11);
    }
}
