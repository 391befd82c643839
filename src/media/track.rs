//! One track: which sample of the recording's timeline a packet begins at, and why the samples nobody sent are silent.
//!
//! ```text
//!   position = anchor.position + (RTP timestamp - anchor.timestamp)
//! ```
//!
//! A source is anchored where its first packet arrives; its timestamps carry it on. It is anchored anew when it restarts, jumps, or its clock has
//! drifted from ours, or stands behind it: after a hold, or where its packets take a longer way from now on. Leaves out the bytes: the shard's window copies them and tells the track what it found uncovered.

use super::gaps::Gaps;
use super::pauses::Pauses;
use super::source::{JUMP_TOLERANCE, Source, Step};
use super::{Cause, Counters, Fate, Interval, Payload, SAMPLE_RATE};
use crate::base::Mono;
use crate::base::planted::{Bug, planted};
use crate::limits::{AHEAD_MAX, DRIFT_CORRECT, DRIFT_FORCE, SOURCES_MAX};
use crate::rtp::{Packet, Reception, ReportBlock, Seen};

/// Anchors of a track that its report keeps.
pub const ANCHORS_KEPT_MAX: usize = 32;
/// A gap long enough to put a drifted clock right in it: 10 ms.
const NATURAL_GAP: i64 = 80;
/// A source silent for this long may make room for another: 1 s.
const SOURCE_IDLE: u64 = 8000;

const fn samples(duration: std::time::Duration) -> i64 {
    (duration.as_millis() * 8) as i64
}

/// Where a source was laid on the timeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Anchor {
    /// The source.
    pub ssrc: u32,
    /// Its RTP timestamp ...
    pub timestamp: u32,
    /// ... and the position of that sample.
    pub position: u64,
}

/// What the track says to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Audio that begins at this position; it may lie before the start of the timeline.
    Audio {
        /// Samples since the start of the recording session.
        position: i64,
    },
    /// Nothing to place.
    Done(Fate),
}

/// Why the stretch up to the next audio packet will be silent, as far as seen.
#[derive(Clone, Copy, Default)]
struct Reason {
    missing: u32,
    noise: bool,
    event: bool,
    held: bool,
    anchored: Option<Cause>,
}

impl Reason {
    fn cause(&self) -> Cause {
        match self.anchored {
            _ if self.held => Cause::Hold,
            Some(cause) => cause,
            None if self.missing > 0 => Cause::Loss,
            None if self.event => Cause::TelephoneEvent,
            None if self.noise => Cause::ComfortNoise,
            None => Cause::Silence,
        }
    }
}

/// One track of a call.
pub struct Track {
    sources: Vec<Source>,
    /// First position after all audio seen so far.
    frontier: u64,
    first: Option<u64>,
    /// End of the audio that is recorded, and of nothing that was thrown away.
    heard_until: u64,
    held: bool,
    /// Audio that lies further back than this comes too late; a source that stays so for as long is anchored anew.
    patience: i64,
    pauses: Pauses,
    reason: Reason,
    gaps: Gaps,
    anchors: Vec<Anchor>,
    /// The ledger.
    pub counters: Counters,
}

impl Track {
    /// Track `number` (its channel, from 0) of a call that starts now, whose audio is sealed when it is older than `horizon` samples.
    pub fn new(number: u8, horizon: u64) -> Track {
        Track {
            // Room for the usual; a few more growths are all there can be.
            sources: Vec::with_capacity(1),
            frontier: 0,
            first: None,
            heard_until: 0,
            held: false,
            // Less is jitter, whatever the horizon.
            patience: (horizon as i64).max(samples(DRIFT_CORRECT)),
            pauses: Pauses::default(),
            reason: Reason::default(),
            gaps: Gaps::new(number),
            anchors: Vec::with_capacity(2),
            counters: Counters::default(),
        }
    }

    /// First position after all audio seen so far.
    pub fn frontier(&self) -> u64 {
        self.frontier
    }

    /// What it knows of each source, for who wants it in the cache.
    pub fn sources(&self) -> &[impl Sized] {
        &self.sources
    }

    /// Whether stretches wait to be taken.
    pub fn has_settled(&self) -> bool {
        self.gaps.has_settled()
    }

    /// First position after all audio that is recorded.
    pub fn heard_until(&self) -> u64 {
        self.heard_until
    }

    /// Position of the first audio sample.
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// Where sources were laid on the timeline, the first [`ANCHORS_KEPT_MAX`].
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// The client has put the stream on hold, or taken it off (RFC 3264 section 8.4). Audio that comes all the same is recorded. The timestamps of
    /// some stand still meanwhile: their audio goes on where it arrives.
    pub fn hold(&mut self, held: bool) {
        if self.held && !held {
            self.sources.iter_mut().for_each(|source| source.resumed = true);
        }
        self.held = held;
        self.reason.held |= held;
    }

    /// Whether it is on hold.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// What arrives from position `at` on is not recorded. While paused it does nothing.
    pub fn pause(&mut self, at: u64) {
        self.pauses.begin(at);
    }

    /// What arrives from position `at` on is recorded again. What came early, and was thrown away, makes the pause longer.
    pub fn resume(&mut self, at: u64) {
        self.pauses.end(at, self.frontier);
    }

    /// `[from, to)` of audio that came in no pause, in parts that are to be recorded, or, if `true`, thrown away.
    pub fn parts(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, i64, bool)> + use<> {
        self.pauses.parts_of_audio(from, to)
    }

    /// `[from, to)` lies in a pause and in no segment.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.finish();
        self.gaps.settle(self.gaps.interval(from, to, Cause::Pause, 0));
    }

    /// Where the samples of a packet belong that came at the instant `at`, which is the position `arrival` on the timeline.
    ///
    /// Counts nothing: the shard counts the packet under one [`Fate`] when it knows what became of it.
    pub fn receive(&mut self, packet: &Packet<'_>, payload: Payload, (at, arrival): (Mono, u64)) -> Verdict {
        let Some(index) = self.source(packet.ssrc, arrival) else {
            return Verdict::Done(Fate::SourceBudget);
        };
        let Some((extended, seen)) = self.observe(index, packet, at) else {
            return Verdict::Done(Fate::Duplicate);
        };
        self.sources[index].last_arrival = arrival;
        let length = packet.payload.len() as u64;
        match payload {
            Payload::ComfortNoise => {
                self.reason.noise = true;
                return Verdict::Done(Fate::ComfortNoise);
            }
            Payload::TelephoneEvent => {
                self.reason.event = true;
                return Verdict::Done(Fate::TelephoneEvent);
            }
            Payload::Pcmu | Payload::Pcma if length == 0 => return Verdict::Done(Fate::Empty),
            Payload::Pcmu | Payload::Pcma => {}
        }
        let timestamp = self.sources[index].extend(packet.timestamp);
        let step = Step { extended, timestamp, arrival: arrival as i64, samples: length as i64 };
        // A source whose first packets were not audio has no anchor yet: its first audio sets it.
        let overtaken = matches!(seen, Seen::Old { .. }) && self.sources[index].last.is_some();
        let position = match seen {
            _ if overtaken => {
                let overtaken = self.sources[index].overtaken(&step, packet.timestamp, samples(AHEAD_MAX));
                let Some(position) = overtaken else { return Verdict::Done(Fate::Late) };
                position
            }
            _ => self.in_order(index, step, packet.marker, matches!(seen, Seen::Jump { .. })),
        };
        let paused = self.pauses.takes(arrival, position.max(0) as u64, self.heard_until);
        let recorded = !paused || planted(Bug::PauseLeaks);
        self.cover(position, length, recorded);
        if recorded { Verdict::Audio { position } } else { Verdict::Done(Fate::Paused) }
    }

    /// The window had sealed `[start, end)` of a packet before it came.
    pub fn late(&mut self, start: u64, end: u64) {
        self.gaps.settle(self.gaps.interval(start, end, Cause::Late, 0));
    }

    /// There was no room for `[start, end)` of a packet.
    pub fn overflow(&mut self, start: u64, end: u64) {
        self.gaps.explain(self.gaps.interval(start, end, Cause::Overflow, 0));
    }

    /// `[from, to)` has been sealed without audio. Called in the order of the timeline.
    pub fn uncovered(&mut self, from: u64, to: u64) {
        self.pauses.forget_before(from);
        for (from, to, paused) in self.pauses.parts(from as i64, to as i64) {
            if paused {
                self.cut(from as u64, to as u64);
            } else {
                self.gaps.uncovered(from as u64, to as u64, self.frontier);
            }
        }
    }

    /// The call has ended: what was waiting for a next packet is settled.
    pub fn finish(&mut self) {
        self.gaps.finish(if self.held { Cause::Hold } else { Cause::NoMedia });
    }

    /// Hands out settled stretches, the oldest first, as long as `take` accepts them.
    pub fn take_settled(&mut self, take: impl FnMut(Interval) -> bool) {
        self.gaps.take_settled(take);
    }

    /// A sender report of `ssrc` came, with this NTP time.
    pub fn sender_report(&mut self, ssrc: u32, ntp: u64, at: Mono) {
        let source = self.sources.iter_mut().find(|source| source.ssrc == ssrc);
        if let Some(reception) = source.and_then(|source| source.reception.as_mut()) {
            reception.sender_report(ntp, at);
        }
    }

    /// The report blocks to send now, one per source heard since the last (RFC 3550 section 6.4.2).
    pub fn report(&mut self, now: Mono, heard_since: u64, mut block: impl FnMut(ReportBlock)) {
        for source in self.sources.iter_mut().filter(|source| source.last_arrival >= heard_since) {
            if let Some(reception) = &mut source.reception {
                block(reception.report(source.ssrc, now));
            }
        }
    }

    /// Follows the source's sequence and statistics; its extended number, or `None` for a duplicate.
    fn observe(&mut self, index: usize, packet: &Packet<'_>, at: Mono) -> Option<(u64, Seen)> {
        let source = &mut self.sources[index];
        let seen = source.sequence.observe(packet.sequence);
        let extended = match seen {
            Seen::Duplicate => return None,
            Seen::New { extended, ahead } => {
                let missing = u32::from(ahead.saturating_sub(1));
                self.counters.lost += u64::from(missing);
                self.reason.missing = self.reason.missing.saturating_add(missing);
                extended
            }
            Seen::Old { extended } => {
                // Overtaken by a later one and held for lost since, unless it is older than the first.
                if extended > source.first_extended {
                    self.counters.lost = self.counters.lost.saturating_sub(1);
                }
                extended
            }
            Seen::Jump { extended } => extended,
        };
        if source.reception.is_none() || matches!(seen, Seen::Jump { .. }) {
            source.first_extended = extended;
            source.reception = Some(Reception::new(extended, SAMPLE_RATE));
        }
        if let Some(reception) = &mut source.reception {
            reception.packet(extended, packet.timestamp, at);
        }
        Some((extended, seen))
    }

    /// The source of `ssrc`, a new one if need be and there is room: one that has been silent makes room.
    fn source(&mut self, ssrc: u32, arrival: u64) -> Option<usize> {
        if let Some(index) = self.sources.iter().position(|source| source.ssrc == ssrc) {
            return Some(index);
        }
        if self.sources.len() >= SOURCES_MAX {
            let oldest = (0..self.sources.len()).min_by_key(|&index| self.sources[index].last_arrival)?;
            if self.sources[oldest].last_arrival + SOURCE_IDLE > arrival {
                return None;
            }
            self.sources.swap_remove(oldest);
        }
        self.sources.push(Source::new(ssrc, arrival));
        Some(self.sources.len() - 1)
    }

    /// The position of an audio packet that advances its source.
    fn in_order(&mut self, index: usize, step: Step, marker: bool, restarted: bool) -> i64 {
        let source = &self.sources[index];
        // Where it should be by the anchor, whatever the last one did: that may have been late itself.
        let in_place = |offset: i64| (step.timestamp + offset - step.arrival).abs() <= JUMP_TOLERANCE;
        let offset = match (source.offset, source.last) {
            (Some(offset), Some(last)) if last.follows(&step, restarted) || in_place(offset) => {
                let lead = step.timestamp + offset - step.arrival;
                let source = &mut self.sources[index];
                let after_hold = (self.held || source.resumed) && lead < -self.patience;
                if lead > samples(AHEAD_MAX) || after_hold || source.stays_late(&step, lead, self.patience) {
                    self.anchor(index, step, Cause::Drift, step.arrival)
                } else {
                    self.drifted(index, step, offset, marker)
                }
            }
            (Some(offset), Some(last)) => {
                // If the source itself goes on without a break so does its audio, should that be near where it arrives.
                let next = offset + last.next_timestamp(step.extended);
                let near = !restarted && (next - step.arrival).abs() <= JUMP_TOLERANCE;
                let at = self.behind_audio(if near { next } else { step.arrival });
                self.anchor(index, step, Cause::SourceChange, at)
            }
            _ => {
                let cause = if self.first.is_none() { Cause::NoMedia } else { Cause::SourceChange };
                self.anchor(index, step, cause, self.behind_audio(step.arrival))
            }
        };
        let position = step.timestamp + offset;
        let source = &mut self.sources[index];
        source.last = Some(step);
        source.resumed = false;
        source.measure(position - step.arrival);
        position
    }

    /// Puts a drifted clock right, in a gap if there is one, at once if it has drifted far. A clock that was too fast costs audio then: what
    /// falls on audio that is already there is dropped and counted.
    fn drifted(&mut self, index: usize, step: Step, offset: i64, marker: bool) -> i64 {
        let drift = self.sources[index].drift;
        let position = step.timestamp + offset;
        let natural = marker || position - self.frontier as i64 >= NATURAL_GAP;
        if drift.abs() >= samples(DRIFT_FORCE) {
            self.anchor(index, step, Cause::Drift, position - drift)
        } else if natural && drift.abs() >= samples(DRIFT_CORRECT) {
            let at = (position - drift).max(self.frontier as i64);
            self.anchor(index, step, Cause::Drift, at)
        } else {
            offset
        }
    }

    /// `at`, or right behind the audio that is already there if that is near.
    fn behind_audio(&self, at: i64) -> i64 {
        let frontier = self.frontier as i64;
        if (1..=JUMP_TOLERANCE).contains(&(frontier - at)) { frontier } else { at }
    }

    /// Lays the source's timestamp of `step` on position `at`; returns the new offset.
    fn anchor(&mut self, index: usize, step: Step, cause: Cause, at: i64) -> i64 {
        let at = at.max(0);
        self.reason.anchored.get_or_insert(cause);
        self.counters.anchors += 1;
        let source = &mut self.sources[index];
        source.anchor(at - step.timestamp, step.extended);
        if self.anchors.len() < ANCHORS_KEPT_MAX {
            let timestamp = step.timestamp as u32;
            self.anchors.push(Anchor { ssrc: source.ssrc, timestamp, position: at as u64 });
        }
        at - step.timestamp
    }

    /// Notes that audio came for `[position, position + length)`, recorded or thrown away, and why what lies between it and the frontier does not.
    fn cover(&mut self, position: i64, length: u64, recorded: bool) {
        let end = (position + length as i64).max(0) as u64;
        let start = position.max(0) as u64;
        if end <= start {
            return;
        }
        let parts = self.parts(start as i64, end as i64).filter(|(_, _, paused)| recorded && !paused);
        for (from, to, _) in parts {
            self.first = Some(self.first.map_or(from as u64, |first| first.min(from as u64)));
            self.heard_until = self.heard_until.max(to as u64);
        }
        if end <= self.frontier {
            return;
        }
        if start > self.frontier {
            let cause = self.reason.cause();
            let packets = if cause == Cause::Loss { self.reason.missing } else { 0 };
            self.gaps.explain_up_to_audio(self.gaps.interval(self.frontier, start, cause, packets));
        }
        if !recorded {
            self.gaps.settle_open(start, end, Cause::Pause);
        }
        self.frontier = end;
        self.reason = Reason { held: self.held, ..Reason::default() };
        self.gaps.close_open(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HORIZON: u64 = 1600;

    /// A track under test: packets of 160 samples, sealed by hand.
    struct Bench {
        track: Track,
        sealed: u64,
        covered: Vec<(u64, u64)>,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { track: Track::new(0, HORIZON), sealed: 0, covered: Vec::new() }
        }

        fn packet(&mut self, sequence: u16, timestamp: u32, arrival: u64) -> Option<i64> {
            self.packet_of(7, sequence, timestamp, arrival)
        }

        fn packet_of(&mut self, ssrc: u32, sequence: u16, timestamp: u32, arrival: u64) -> Option<i64> {
            self.audio(ssrc, (sequence, timestamp), &[0; 160], arrival)
        }

        fn audio(
            &mut self,
            ssrc: u32,
            (sequence, timestamp): (u16, u32),
            payload: &[u8],
            arrival: u64,
        ) -> Option<i64> {
            let packet = Packet {
                payload_type: 0,
                marker: false,
                sequence,
                timestamp,
                ssrc,
                csrc: &[],
                extension: None,
                payload,
            };
            match self.track.receive(&packet, Payload::Pcmu, (Mono(arrival * 125_000), arrival)) {
                Verdict::Audio { position } => {
                    self.covered.push((position as u64, position as u64 + payload.len() as u64));
                    Some(position)
                }
                Verdict::Done(_) => None,
            }
        }

        /// Seals up to `to` as the window would: every uncovered stretch is told.
        fn seal(&mut self, to: u64) {
            self.covered.sort_unstable();
            let mut at = self.sealed;
            for &(start, end) in &self.covered {
                if start > at && start < to {
                    self.track.uncovered(at, start);
                }
                at = at.max(end);
            }
            if at < to {
                self.track.uncovered(at, to);
            }
            self.sealed = to;
        }

        fn settled(&mut self) -> Vec<(u64, u64, Cause, u32)> {
            let mut all = Vec::new();
            self.track.take_settled(|interval| {
                all.push((interval.start, interval.end, interval.cause, interval.packets));
                true
            });
            all
        }
    }

    #[test]
    fn what_was_thrown_away_ahead_of_a_resume_belongs_to_the_pause() {
        for resumes in [true, false] {
            let mut bench = Bench::new();
            bench.packet(1, 0, 160);
            bench.track.pause(320);
            bench.covered.clear();
            // It belongs to 1,000, and comes early: nobody is heard before the resume.
            bench.packet(2, 840, 950);
            bench.covered.clear();
            if resumes {
                bench.track.resume(960);
            }
            bench.sealed = 320;
            bench.seal(1_500);
            if resumes {
                bench.packet(3, 1_840, 2_000);
                bench.seal(2_000);
            }
            bench.track.finish();
            let told = bench.settled();
            assert_eq!(told.first().map(|told| (told.0, told.2)), Some((320, Cause::Pause)), "{told:?}");
            assert!(told.windows(2).all(|two| two[0].1 == two[1].0), "no gap is untold: {told:?}");
            let paused: u64 =
                told.iter().filter(|told| told.2 == Cause::Pause).map(|told| told.1 - told.0).sum();
            assert_eq!(paused, if resumes { 1_160 - 320 } else { 1_500 - 320 }, "{told:?}");
        }
    }

    #[test]
    fn what_comes_in_a_pause_is_thrown_away_wherever_it_belongs_and_what_came_before_stays() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        // It is 125 ms behind.
        assert_eq!(bench.packet(2, 160, 1_160), Some(160));
        bench.track.pause(1_200);
        assert_eq!(bench.packet(3, 320, 1_320), None);
        assert_eq!(bench.packet(4, 480, 1_190), Some(480), "handed over late");
        bench.seal(3_000);
        bench.track.resume(3_000);
        assert_eq!(bench.packet(5, 3_000, 3_100), Some(3_000));
        bench.seal(3_160);
        assert_eq!(bench.settled(), [(320, 480, Cause::Pause, 0), (640, 3_000, Cause::Pause, 0)]);
    }

    #[test]
    fn timestamps_carry_a_source_on_from_where_it_arrived() {
        let mut bench = Bench::new();
        assert_eq!(bench.packet(10, 4_294_967_200, 400), Some(400));
        // 25 ms late, and across the wrap of both counters: the place follows from the timestamp alone.
        assert_eq!(bench.packet(11, 64, 760), Some(560));
        assert_eq!(bench.packet(12, 224, 720), Some(720));
        assert_eq!(bench.track.first(), Some(400));
        assert_eq!(bench.track.frontier(), 880);
    }

    #[test]
    fn a_lost_packet_is_its_interval_and_a_reordered_one_is_none() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        bench.packet(4, 480, 480);
        assert_eq!(bench.track.counters.lost, 2);
        bench.packet(3, 320, 490);
        assert_eq!(bench.track.counters.lost, 1);
        bench.seal(640);
        assert_eq!(bench.settled(), [(160, 320, Cause::Loss, 1)]);
    }

    #[test]
    fn silence_without_a_missing_number_is_not_loss() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        bench.packet(2, 8000, 8000);
        bench.seal(8160);
        assert_eq!(bench.settled(), [(160, 8000, Cause::Silence, 0)]);
    }

    #[test]
    fn a_gap_sealed_before_its_end_is_known_gets_the_cause_that_the_next_packet_tells() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        bench.seal(4080);
        assert_eq!(bench.settled(), []);
        bench.packet(51, 8000, 8000);
        bench.seal(8160);
        assert_eq!(bench.settled(), [(160, 8000, Cause::Loss, 49)]);
    }

    #[test]
    fn hold_is_the_cause_of_a_gap_in_which_the_stream_was_held() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        bench.track.hold(true);
        bench.seal(4080);
        bench.track.hold(false);
        bench.packet(2, 6400, 6400);
        bench.seal(6560);
        assert_eq!(bench.settled(), [(160, 6400, Cause::Hold, 0)]);
        bench.track.hold(true);
        bench.seal(8000);
        bench.track.finish();
        assert_eq!(bench.settled(), [(6560, 8000, Cause::Hold, 0)]);
    }

    #[test]
    fn a_new_source_begins_where_it_arrives_but_not_over_the_old_one() {
        let mut bench = Bench::new();
        bench.packet_of(7, 1, 0, 0);
        bench.packet_of(7, 2, 160, 160);
        assert_eq!(bench.packet_of(8, 900, 123_456, 300), Some(320));
        assert_eq!(bench.packet_of(9, 5, 5, 9000), Some(9000));
        bench.seal(9160);
        assert_eq!(
            bench.settled(),
            [(0, 0, Cause::NoMedia, 0); 0]
                .into_iter()
                .chain([(480, 9000, Cause::SourceChange, 0)])
                .collect::<Vec<_>>()
        );
        assert_eq!(bench.track.anchors().len(), 3);
    }

    #[test]
    fn a_timestamp_jump_in_an_unbroken_stream_leaves_no_gap() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        bench.packet(2, 160, 160);
        assert_eq!(bench.packet(3, 1_000_000, 330), Some(320));
        assert_eq!(bench.packet(4, 1_000_160, 480), Some(480));
        bench.seal(640);
        assert_eq!(bench.settled(), []);
    }

    #[test]
    fn packets_overtaken_across_a_timestamp_jump_lie_where_their_own_anchor_puts_them() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        assert_eq!(bench.packet(5, 1_000_000, 640), Some(640));
        assert_eq!(bench.packet(3, 320, 650), Some(320), "by the anchor before the jump");
        assert_eq!(bench.packet(4, 999_840, 660), Some(480), "by the anchor after it");
        assert_eq!(bench.packet(2, 500_000, 670), None, "by an anchor that nobody remembers");
        assert_eq!(bench.track.frontier(), 800);
    }

    #[test]
    fn a_packet_overtaken_after_a_new_anchor_never_goes_by_the_old_one() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        // A slow clock is put right: from here on its audio lies 60 ms later.
        assert_eq!(bench.packet(2, 160, 160), Some(160));
        let source = &mut bench.track.sources[0];
        let extended = source.last.unwrap().extended;
        source.anchor(480, extended + 1);
        assert_eq!(bench.packet(3, 320, 320), Some(800));
        assert_eq!(bench.packet(5, 640, 640), Some(1120));
        assert_eq!(bench.packet(4, 480, 650), Some(960), "the old anchor would put it nearer to its arrival");
    }

    #[test]
    fn a_burst_after_a_stall_is_not_taken_for_a_jump() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        for i in 1..50u16 {
            let place = bench.packet(1 + i, u32::from(i) * 160, 8000);
            assert_eq!(place, Some(i64::from(i) * 160));
        }
    }

    #[test]
    fn a_source_that_stays_late_is_anchored_anew() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        let mut last = 0;
        for i in 1..60u16 {
            // 220 ms slower from one packet to the next: beyond the horizon.
            last = bench.packet(1 + i, u32::from(i) * 160, u64::from(i) * 160 + 1760).unwrap();
        }
        assert_eq!(last, 59 * 160 + 1760);
        assert_eq!(bench.track.counters.anchors, 2);
    }

    proptest! {
        #[test]
        fn a_stall_costs_a_horizon_of_audio_at_most(
            stall in 800u64..40_000,
            frame in prop::sample::select(vec![4080u64, 2040]),
            packet in prop::sample::select(vec![80u64, 160, 240, 480]),
            jitter in prop::collection::vec(0u64..320, 400),
        ) {
            for jitter in [vec![0; 400], jitter] {
                let mut bench = Bench::new();
                let (mut lost, mut last) = (0, 0);
                for (number, jitter) in jitter.iter().enumerate() {
                    let sent = number as u64 * packet;
                    let arrival = sent + jitter + if number >= 100 { stall } else { 0 };
                    let times = (number as u16, sent as u32);
                    let audio = vec![0; packet as usize];
                    let position = bench.audio(7, times, &audio, arrival).unwrap();
                    let sealed = (arrival.saturating_sub(HORIZON) / frame * frame) as i64;
                    lost += (sealed - position).clamp(0, packet as i64);
                    last = position - arrival as i64;
                }
                // Between packets that come unevenly the horizon is measured as unevenly.
                let uneven = 2 * *jitter.iter().max().unwrap_or(&0) as i64;
                prop_assert!(lost <= HORIZON as i64 + uneven, "{} lost", lost);
                prop_assert!((-(HORIZON as i64) - uneven..=uneven).contains(&last), "ends {} from its arrival", last);
                prop_assert!(bench.track.counters.anchors <= 2);
            }
        }
    }

    #[test]
    fn a_hold_in_which_timestamps_stand_still_is_a_hold_and_costs_nothing() {
        for (length, told_late) in [(8_000, false), (8_000, true), (40_000, false), (40_000, true)] {
            let mut bench = Bench::new();
            bench.packet(1, 0, 0);
            bench.track.hold(true);
            bench.seal(length - HORIZON);
            if !told_late {
                bench.track.hold(false);
            }
            assert_eq!(bench.packet(2, 160, length), Some(length as i64));
            bench.track.hold(false);
            assert_eq!(bench.packet(3, 320, length + 160), Some(length as i64 + 160));
            bench.seal(length + 320);
            assert_eq!(bench.settled(), [(160, length, Cause::Hold, 0)]);
        }
    }

    #[test]
    fn a_hold_through_which_timestamps_go_on_moves_nothing() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        bench.track.hold(true);
        bench.seal(14_000);
        bench.track.hold(false);
        assert_eq!(bench.packet(2, 16_000, 16_090), Some(16_000));
        assert_eq!(bench.track.counters.anchors, 1);
    }

    #[test]
    fn a_late_packet_before_a_silence_moves_nothing() {
        let mut bench = Bench::new();
        bench.packet(1, 0, 0);
        // The last of a talk spurt is late; the next spurt is not, but for the jitter of its first packet.
        assert_eq!(bench.packet(2, 160, 5000), Some(160));
        assert_eq!(bench.packet(3, 16_000, 16_100), Some(16_000));
        assert_eq!(bench.packet(4, 16_160, 16_160), Some(16_160));
        assert_eq!(bench.track.counters.anchors, 1);
    }

    #[test]
    fn overtaken_packets_that_trickle_in_late_move_nothing() {
        let mut bench = Bench::new();
        for number in [0, 1, 2, 5, 6, 8] {
            bench.packet(number, u32::from(number) * 160, u64::from(number) * 160);
        }
        for (number, arrival) in [(3, 5000), (4, 7500), (7, 9500)] {
            bench.packet(number, u32::from(number) * 160, arrival);
        }
        assert_eq!(bench.packet(9, 16_000, 16_200), Some(16_000));
        assert_eq!(bench.track.counters.anchors, 1);
    }

    #[test]
    fn a_drifting_clock_is_put_right_and_counted() {
        // 500 ppm: 100 ms of the source are 100.05 or 99.95 ms of ours.
        drift(|played| played + played / 2000);
        drift(|played| played - played / 2000);
    }

    fn drift(arrival_of: impl Fn(u64) -> u64) {
        let mut bench = Bench::new();
        let mut worst = 0;
        for i in 0..60_000u64 {
            let arrival = arrival_of(i * 160);
            let position = bench.packet(i as u16, (i * 160) as u32, arrival).unwrap();
            worst = worst.max((arrival as i64 - position).abs());
        }
        assert!(worst < samples(DRIFT_FORCE) + 200, "{worst} samples apart");
        assert!((2..10).contains(&bench.track.counters.anchors), "{} anchors", bench.track.counters.anchors);
    }

    #[test]
    fn sources_beyond_the_budget_are_refused_until_one_falls_silent() {
        let mut bench = Bench::new();
        for ssrc in 0..SOURCES_MAX as u32 {
            assert!(bench.packet_of(ssrc, 1, 0, 0).is_some());
        }
        assert_eq!(bench.packet_of(99, 1, 0, 100), None);
        assert!(bench.packet_of(99, 2, 0, 100 + SOURCE_IDLE).is_some());
    }
}
