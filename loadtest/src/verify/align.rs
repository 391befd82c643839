//! Lays what was sent on what was recorded, sample by sample.
//!
//! ```text
//!   recorded position = sent position + offset
//! ```
//! The offset is found from the first audible run and must stay what it is. It may change where the source changed or its timestamps jumped, where its
//! clock drifts, or where the sender itself fell far behind; only then, and only to between where it was and where the packet's arrival puts it. A
//! sample in any other place is a wrong one, even if it is otherwise right. Leaves out what the recorder says of itself: that is `ledger`.

use memchr::memmem;

use super::expected::{Expected, Piece};
use super::recorded::SILENT;
use super::stretch::{Reasons, Stretch};
use crate::profile::Profile;

/// Samples that are looked for when audio is not where it should be: found by chance once in 2^112.
const NEEDLE: usize = 16;
/// How far around its place a packet is looked for, 2 s; and as much further as the sender was late.
const SEARCH: i64 = 16_000;
/// Signalling may be so far behind media, in samples: 200 ms.
const SIGNALLING: u64 = 1600;
/// Packets that may overtake one.
const OVERTAKE_MAX: usize = 8;
/// Packets that may lie over one another where a source changes.
const NEIGHBOURS: usize = 64;
/// Largest packet: 60 ms.
const PACKET_MAX: usize = 480;
/// A sender so far behind may make a recorder anchor anew.
const LAG_NS: u64 = 150_000_000;
/// How far a clock may drift before it is put right by force, and a window of measurement on top: what lateness may add up to.
const DRIFT_NS: u64 = 140_000_000;
/// Lateness this much below the horizon may already be too late: a tick and then some.
const HORIZON_MARGIN_NS: u64 = 30_000_000;

/// What is tolerated, and what the sender says of itself.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Terms {
    /// The recorder's reorder horizon, in nanoseconds.
    pub horizon_ns: u64,
    /// Places may differ from the plan by this much, in samples.
    pub tolerance: i64,
    /// How late the sender's latest packet was, in nanoseconds.
    pub lag_ns: u64,
}

/// Silence that has a reason, in samples.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize)]
pub struct Silence {
    /// Before the stream's first packet.
    pub before: u64,
    /// Lost on purpose.
    pub lost: u64,
    /// Later than the recorder's horizon, as planned.
    pub late: u64,
    /// Later than the horizon because the sender was; the recorder says late too.
    pub late_sender: u64,
    /// Discontinuous transmission.
    pub dtx: u64,
    /// Hold.
    pub hold: u64,
    /// Around a change of the source or a drifted clock put right: dropped, or a gap left.
    pub reanchored: u64,
}

impl Silence {
    /// Adds another's.
    pub fn add(&mut self, other: &Silence) {
        self.before += other.before;
        self.lost += other.lost;
        self.late += other.late;
        self.late_sender += other.late_sender;
        self.dtx += other.dtx;
        self.hold += other.hold;
        self.reanchored += other.reanchored;
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.before + self.lost + self.late + self.late_sender + self.dtx + self.hold + self.reanchored
    }
}

/// A change of the offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Shift {
    /// From this sent position on.
    pub position: u64,
    /// By so many samples: more is later.
    pub by: i64,
    /// Whether it had a reason and was within bounds.
    pub explained: bool,
    #[serde(skip)]
    piece: usize,
}

/// What became of the packets of one track.
#[derive(Default)]
pub struct Aligned {
    /// Samples as sent, in their place.
    pub right: u64,
    /// Samples that are not what was sent there, or not where they belong.
    pub wrong: u64,
    /// Audible samples where nothing was sent.
    pub extra: u64,
    /// Samples that were sent and are silent for no reason: ours.
    pub ours: u64,
    /// Silence accounted for.
    pub silence: Silence,
    /// Changes of the offset.
    pub shifts: Vec<Shift>,
    /// The first offset; `None` if nothing of the stream was found.
    pub offset: Option<i64>,
    /// Recorded positions of the first and behind the last sample that are wrong, extra or ours.
    pub flawed: Option<(u64, u64)>,
    /// Audible stretches that were found, by position.
    pub audible: Vec<(u64, u64)>,
    /// Silent stretches between them.
    pub silent: Vec<Stretch>,
    /// Of each packet, its recorded position minus the sent one.
    pub offsets: Vec<Option<i64>>,
}

/// Samples of one packet against what was recorded at an offset.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    right: u64,
    silent: u64,
    other: u64,
}

/// A packet, or part of one, that was not found.
#[derive(Clone, Copy)]
struct Missing {
    piece: usize,
    /// Recorded positions where it should be.
    from: i64,
    to: i64,
    samples: u64,
}

/// Aligns one track.
pub struct Walk<'a> {
    expected: &'a Expected,
    profile: &'a Profile,
    recorded: &'a [u8],
    terms: Terms,
    offset: Option<i64>,
    /// The last offset that had a reason.
    home: i64,
    epoch: u32,
    missing: Vec<Missing>,
    /// Samples that are not what the packet found there holds: packet and recorded position.
    mismatched: Vec<(usize, i64)>,
    found: Aligned,
}

impl<'a> Walk<'a> {
    /// Of what was recorded (codes, silence as [`SILENT`]) against what was sent.
    pub fn new(expected: &'a Expected, profile: &'a Profile, recorded: &'a [u8], terms: Terms) -> Walk<'a> {
        let found = Aligned { offsets: Vec::with_capacity(expected.pieces.len()), ..Aligned::default() };
        Walk {
            expected,
            profile,
            recorded,
            terms,
            offset: None,
            home: 0,
            epoch: 0,
            missing: Vec::new(),
            mismatched: Vec::new(),
            found,
        }
    }

    /// Goes through all packets.
    pub fn run(mut self) -> Aligned {
        self.offset = self.locate();
        self.found.offset = self.offset;
        self.home = self.offset.unwrap_or(0);
        for number in 0..self.expected.pieces.len() {
            let offset = self.place(number);
            self.found.offsets.push(offset);
        }
        self.found.audible.sort_unstable();
        self.overlapped();
        self.unclaimed();
        self.missing_samples();
        self.gaps();
        self.found
    }

    /// Finds the offset by the first audible sample: it begins a packet, or, if the recorder came late to it, lies within one.
    fn locate(&self) -> Option<i64> {
        let runs = Runs { codes: self.recorded, at: 0 };
        // A stranger's packet or a planted one may come first: some runs are tried.
        for (from, _) in runs.filter(|(from, to)| to - from >= NEEDLE).take(64) {
            let needle = &self.recorded[from..from + NEEDLE];
            let mut buffer = [0; PACKET_MAX + NEEDLE];
            for piece in self.expected.pieces.iter().filter(|piece| piece.delivered && piece.samples > 0) {
                // And some samples of the next, lest a run that begins at the end of one be missed.
                let codes = &mut buffer[..usize::from(piece.samples).min(PACKET_MAX) + NEEDLE];
                self.expected.signal.fill(piece.position, codes);
                if let Some(at) = memmem::find(codes, needle) {
                    return Some(from as i64 - piece.position as i64 - at as i64);
                }
            }
        }
        None
    }

    fn codes<'b>(&self, piece: &Piece, buffer: &'b mut [u8; PACKET_MAX]) -> &'b [u8] {
        let codes = &mut buffer[..usize::from(piece.samples).min(PACKET_MAX)];
        self.expected.signal.fill(piece.position, codes);
        codes
    }

    /// Finds the place of a packet and counts its samples. Its offset, if it was found.
    fn place(&mut self, number: usize) -> Option<i64> {
        let (piece, mut offset) = (self.expected.pieces[number], self.offset?);
        if piece.samples == 0 || !piece.delivered {
            return None;
        }
        let mut buffer = [0; PACKET_MAX];
        let codes = self.codes(&piece, &mut buffer);
        let length = codes.len() as u64;
        let mut tally = self.tally(codes, piece.position as i64 + offset);
        let some = tally.right > 0 && tally.other == 0 || tally.right >= length / 4;
        if !some {
            let Some(elsewhere) = self.search(codes, piece.position as i64 + offset) else {
                self.miss(number, piece.position as i64 + offset, length);
                return None;
            };
            offset = elsewhere - piece.position as i64;
            tally = self.tally(codes, elsewhere);
            self.shift(number, offset);
        }
        self.epoch = piece.epoch;
        self.claim(number, codes, piece.position as i64 + offset, tally);
        Some(offset)
    }

    fn tally(&self, codes: &[u8], at: i64) -> Tally {
        let there = usize::try_from(at).ok().and_then(|at| self.recorded.get(at..at + codes.len()));
        if there == Some(codes) {
            return Tally { right: codes.len() as u64, ..Tally::default() };
        }
        let mut tally = Tally::default();
        for (at, code) in (at..).zip(codes) {
            match usize::try_from(at).ok().and_then(|at| self.recorded.get(at)) {
                Some(there) if there == code => tally.right += 1,
                Some(&SILENT) | None => tally.silent += 1,
                Some(_) => tally.other += 1,
            }
        }
        tally
    }

    /// Where the packet lies if not at `at`: found by its beginning, or by its end if that was overlapped.
    fn search(&self, codes: &[u8], at: i64) -> Option<i64> {
        // A sender that was late has been put as much further along, if its recorder took that for the stream's new place.
        let around = SEARCH + (self.terms.lag_ns / 125_000) as i64;
        let from = (at - around).clamp(0, self.recorded.len() as i64) as usize;
        let to = (at + around).clamp(from as i64, self.recorded.len() as i64) as usize;
        let window = &self.recorded[from..to];
        let tail = codes.len().checked_sub(NEEDLE)?;
        let starts =
            [0, tail].map(|start| memmem::find(window, &codes[start..start + NEEDLE]).zip(Some(start)));
        let (found, start) = starts.into_iter().flatten().next()?;
        Some((from + found) as i64 - start as i64)
    }

    /// Notes that the offset is another from here on, and whether it may be.
    fn shift(&mut self, number: usize, offset: i64) {
        let piece = self.expected.pieces[number];
        let Some(before) = self.offset.replace(offset) else { return };
        let reason = piece.epoch != self.epoch
            || self.profile.drift_ppm != 0.0
            || self.terms.lag_ns >= LAG_NS
            || offset == self.home;
        let (first, anchored) = (self.expected.first.map_or(0, |first| first.behind()), self.found.offset);
        let by_arrival = anchored.unwrap_or(0) + piece.behind() - first;
        let around = self.terms.tolerance
            + (self.terms.lag_ns / 125_000) as i64
            + (self.profile.delay_ms_max() * 8) as i64;
        let low = self.home.min(by_arrival) - around;
        let high = self.home.max(by_arrival) + around;
        let explained = reason && (low..=high).contains(&offset);
        if explained {
            self.home = offset;
        }
        self.found.shifts.push(Shift {
            position: piece.position,
            by: offset - before,
            explained,
            piece: number,
        });
    }

    /// The packet is here: counts its samples.
    fn claim(&mut self, number: usize, codes: &[u8], at: i64, tally: Tally) {
        let displaced = self.offset != Some(self.home);
        if displaced {
            self.found.wrong += tally.right;
        } else {
            self.found.right += tally.right;
        }
        let code = |at: i64| {
            usize::try_from(at).ok().and_then(|at| self.recorded.get(at)).copied().unwrap_or(SILENT)
        };
        let audible = |at: i64| code(at) != SILENT;
        if tally.other > 0 {
            let differs = |&(at, sent): &(i64, &u8)| audible(at) && code(at) != *sent;
            let others = (at..).zip(codes).filter(differs).map(|(at, _)| (number, at));
            self.mismatched.extend(others);
        }
        let (mut from, mut to) = (at, at + codes.len() as i64);
        while from < to && !audible(from) {
            from += 1;
        }
        while from < to && !audible(to - 1) {
            to -= 1;
        }
        if displaced {
            self.flaw(from, to);
        }
        self.found.audible.push((from.max(0) as u64, to.max(0) as u64));
        if tally.silent > 0 {
            // Where within the packet is told by its ends: the longer silent one.
            let (front, back) = ((at, from), (to, at + codes.len() as i64));
            let side = if front.1 - front.0 >= back.1 - back.0 { front } else { back };
            self.missing.push(Missing { piece: number, from: side.0, to: side.1, samples: tally.silent });
        }
    }

    /// Samples in the place of which another packet of the stream lies, as where a source changed, are missing; all others are wrong.
    fn overlapped(&mut self) {
        for (number, at) in std::mem::take(&mut self.mismatched) {
            let around =
                number.saturating_sub(NEIGHBOURS)..self.expected.pieces.len().min(number + NEIGHBOURS);
            let own = self.found.offsets[number];
            let covers = |&other: &usize| {
                let (piece, offset) = (&self.expected.pieces[other], self.found.offsets[other]);
                let from = piece.position as i64 + offset.unwrap_or(0);
                offset.is_some() && offset != own && (from..from + i64::from(piece.samples)).contains(&at)
            };
            if around.clone().any(|other| covers(&other)) {
                self.missing.push(Missing { piece: number, from: at, to: at, samples: 1 });
            } else {
                self.found.wrong += 1;
                self.flaw(at, at + 1);
            }
        }
    }

    fn miss(&mut self, piece: usize, at: i64, samples: u64) {
        self.missing.push(Missing { piece, from: at, to: at + samples as i64, samples });
    }

    fn flaw(&mut self, from: i64, to: i64) {
        let (from, to) = (from.max(0) as u64, to.max(0) as u64);
        let flawed = self.found.flawed.get_or_insert((from, to));
        *flawed = (flawed.0.min(from), flawed.1.max(to));
    }

    /// What is audible and no packet's: wrong where one is missing, else extra.
    fn unclaimed(&mut self) {
        let mut free = Vec::new();
        let mut at = 0;
        for &(from, to) in &self.found.audible {
            if from > at {
                free.push((at, from));
            }
            at = at.max(to);
        }
        free.push((at, self.recorded.len() as u64));
        for (from, to) in free {
            let codes = &self.recorded[(from as usize).min(self.recorded.len())..to as usize];
            for (start, end) in (Runs { codes, at: 0 }) {
                self.stray(from as i64 + start as i64, from as i64 + end as i64);
            }
        }
        if self.offset.is_none() {
            // Nothing of the stream is there: what is silent of it is missing.
            let samples = self.expected.samples_sent();
            let foreign = self.found.extra.min(samples);
            self.found.wrong += foreign;
            self.found.extra -= foreign;
            self.found.ours += samples - foreign;
            self.found.flawed.get_or_insert((0, self.recorded.len() as u64));
        }
    }

    fn stray(&mut self, from: i64, to: i64) {
        let mut left = (to - from) as u64;
        for missing in &mut self.missing {
            let here = (to.min(missing.to) - from.max(missing.from)).max(0) as u64;
            let here = here.min(missing.samples);
            missing.samples -= here;
            self.found.wrong += here;
            left = left.saturating_sub(here);
        }
        self.found.extra += left;
        self.flaw(from, to);
    }

    /// Why packets, or parts of them, are missing.
    fn missing_samples(&mut self) {
        let mut budget: Vec<(usize, usize, u64)> = Vec::new();
        let (samples, delay) =
            (self.profile.packet_samples().max(1) as usize, self.profile.delay_ms_max() as usize * 8);
        for shift in self.found.shifts.iter().filter(|shift| shift.explained) {
            let by = shift.by.unsigned_abs() as usize + delay;
            let around = by / samples + 3;
            budget.push((
                shift.piece.saturating_sub(around),
                shift.piece + around,
                (by + self.terms.tolerance as usize) as u64,
            ));
        }
        for missing in std::mem::take(&mut self.missing) {
            let piece = self.expected.pieces[missing.piece];
            let near = budget
                .iter_mut()
                .find(|(from, to, left)| (*from..=*to).contains(&missing.piece) && *left >= missing.samples);
            let drift = if self.profile.drift_ppm == 0.0 { 0 } else { DRIFT_NS };
            let limit = self.terms.horizon_ns.saturating_sub(HORIZON_MARGIN_NS);
            if piece.delay_ns + drift >= limit {
                self.found.silence.late += missing.samples;
            } else if let Some((_, _, left)) = near {
                *left -= missing.samples;
                self.found.silence.reanchored += missing.samples;
            } else if missing.samples > 0
                && (piece.delay_ns + drift).saturating_add(self.terms.lag_ns) >= limit
            {
                // To be believed if the recorder says so too.
                self.found.silence.late_sender += missing.samples;
            } else if missing.samples > 0 {
                self.found.ours += missing.samples;
                self.flaw(missing.from, missing.to);
            }
        }
    }

    /// Why nothing is between the packets that were found, and what it is called.
    fn gaps(&mut self) {
        let Some(first) = self.found.offset else { return };
        let mut walk = Gaps {
            reasons: Reasons::BEFORE,
            until: 0,
            sent_until: None,
            shift: first,
            at: first,
            sources: Vec::new(),
        };
        for (number, piece) in self.expected.pieces.iter().enumerate() {
            let mut behind = self.expected.pieces[number + 1..].iter().take(OVERTAKE_MAX);
            let overtaken = behind.any(|next| next.delivered && next.at_ns < piece.at_ns);
            let reasons = walk.between((piece, overtaken), self.profile, &mut self.found.silence);
            walk.reasons |= reasons;
            let found = self.found.offsets.get(number).copied().flatten();
            if piece.samples > 0 && !piece.delivered {
                self.found.silence.lost += u64::from(piece.samples);
            }
            match found {
                Some(offset) => walk.found((number, piece), offset, &mut self.found),
                None if !piece.delivered => walk.reasons |= Reasons::LOST,
                None if piece.samples > 0 => walk.reasons |= Reasons::MISSING,
                None => {}
            }
        }
        walk.reasons |= Reasons::AFTER;
        let end = self.recorded.len() as u64;
        if end > walk.until {
            self.found.silent.push(Stretch { from: walk.until, to: end, reasons: walk.reasons });
        }
        self.overtaken(&walk.sources);
    }

    /// A recorder tells the reason of a gap when the next packet comes. Others that come later may fill it in part: what is left of it keeps
    /// its reason, be it that of its neighbour. And the first packet after a hold may come before the word that it is over.
    fn overtaken(&mut self, sources: &[u64]) {
        let held = self.profile.hold.map_or(0, |_| SIGNALLING);
        let near = self.profile.delay_ms_max() * 8 + held + 2 * PACKET_MAX as u64;
        if self.profile.delay_ms_max() + held == 0 {
            return;
        }
        let before: Vec<Stretch> = self.found.silent.clone();
        for (number, stretch) in self.found.silent.iter_mut().enumerate() {
            let touches = |from: u64, to: u64| from <= stretch.to + near && stretch.from <= to + near;
            let change = sources.partition_point(|&at| at + near < stretch.from);
            if sources.get(change).is_some_and(|&at| touches(at, at)) {
                stretch.reasons |= Reasons::SOURCE;
            }
            let neighbours = before[..number].iter().rev().take_while(|other| touches(other.from, other.to));
            let after = before[number + 1..].iter().take_while(|other| touches(other.from, other.to));
            neighbours.chain(after).for_each(|other| stretch.reasons |= other.reasons);
        }
    }
}

/// Where the walk over the gaps stands.
struct Gaps {
    reasons: Reasons,
    until: u64,
    /// Position behind the last packet, its epoch and its number.
    sent_until: Option<(u64, u32, u16)>,
    shift: i64,
    at: i64,
    /// Recorded positions where the source changed.
    sources: Vec<u64>,
}

impl Gaps {
    /// What lies between the last packet and this one, by the schedule.
    fn between(
        &mut self,
        (piece, overtaken): (&Piece, bool),
        profile: &Profile,
        silence: &mut Silence,
    ) -> Reasons {
        let mut reasons = Reasons::NONE;
        let last = self.sent_until.replace((piece.end(), piece.epoch, piece.sequence));
        let Some((until, epoch, sequence)) = last else {
            silence.before += (piece.position as i64 + self.at).max(0) as u64;
            return reasons;
        };
        if piece.epoch != epoch {
            reasons |= Reasons::SOURCE;
            self.sources.push((piece.position as i64 + self.shift).max(0) as u64);
        }
        // A number between was still on its way when the stream was cut, or this one came after those behind it.
        if overtaken || piece.sequence != sequence.wrapping_add(1) && piece.epoch == epoch {
            reasons |= Reasons::LOST;
        }
        if piece.position <= until {
            return reasons;
        }
        let held = profile.hold.map_or(0, |hold| {
            let (from, length) = (u64::from(hold.after_ms) * 8, u64::from(hold.for_ms) * 8);
            piece
                .position
                .min(from + length)
                .saturating_sub(until.max(from.saturating_sub(PACKET_MAX as u64)))
        });
        let rest = (piece.position - until).saturating_sub(held);
        silence.hold += held.min(piece.position - until);
        if held > 0 {
            reasons |= Reasons::HOLD;
        }
        if profile.dtx.is_some() {
            silence.dtx += rest;
            reasons |= Reasons::DTX;
        } else {
            silence.lost += rest;
        }
        reasons
    }

    fn found(&mut self, (number, piece): (usize, &Piece), offset: i64, found: &mut Aligned) {
        let inserted = (offset - self.shift).max(0) as u64;
        if found.shifts.iter().any(|shift| shift.piece == number && shift.explained) {
            found.silence.reanchored += inserted;
        } else {
            found.ours += inserted;
        }
        if offset != self.shift {
            self.reasons |= Reasons::SHIFT;
        }
        self.shift = offset;
        let from = (piece.position as i64 + offset).max(0) as u64;
        let to = (piece.end() as i64 + offset).max(0) as u64;
        // Parts of it may be missing.
        let at = found.audible.partition_point(|&(start, _)| start < from);
        let (from, to) = found
            .audible
            .get(at)
            .filter(|&&(start, end)| start < to && end <= to)
            .copied()
            .unwrap_or((from, to));
        if from > (piece.position as i64 + offset).max(0) as u64 {
            self.reasons |= Reasons::MISSING;
        }
        if from > self.until {
            found.silent.push(Stretch { from: self.until, to: from, reasons: self.reasons });
        }
        if to > self.until {
            self.until = to;
            self.reasons = Reasons::NONE;
            if to < (piece.end() as i64 + offset).max(0) as u64 {
                self.reasons |= Reasons::MISSING;
            }
        }
    }
}

/// Audible runs: stretches without a silent sample.
struct Runs<'a> {
    codes: &'a [u8],
    at: usize,
}

impl Iterator for Runs<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let from = self.at + self.codes.get(self.at..)?.iter().position(|&code| code != SILENT)?;
        let to = memchr::memchr(SILENT, &self.codes[from..]).map_or(self.codes.len(), |length| from + length);
        self.at = to;
        Some((from, to))
    }
}
