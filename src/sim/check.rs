//! What must be true of a call at its end. Knows more than the code under test: what was sent, what was delivered when, and what
//! the samples themselves say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::call::SimCall;
use super::message::{Heard, WORD_SAMPLES};
use super::reading::Reading;
use super::timeline::{Owner, Piece, explain};
use crate::base::Mono;
use crate::limits::{SOURCE_HOLD, SOURCE_LOCK_PACKETS};
use crate::link::TrackReport;
use crate::media::{Cause, Counters, Fate, Interval};
use crate::ring::sim::net::{Class, Sent};

/// Audio may lie this far from where it arrived, beside what the network and the machine added: the longest horizon, a frame, and two ticks.
const FROM_ARRIVAL_MAX: i64 = 8500;
/// A stall may cost so much audio: the longest horizon, and what the network adds.
const STALL_COST_MAX: u64 = 6000;
/// More packets than a stream holds back and sends at once.
const TALK_PACKETS: usize = 10;

/// What the network knows of one track's datagrams.
pub struct Deliveries<'a> {
    sent: Vec<&'a Sent>,
}

impl<'a> Deliveries<'a> {
    /// Those of one track, in the order they were sent.
    pub fn of(book: &'a [Sent], call: u16, track: u8) -> Deliveries<'a> {
        let mine = |sent: &&Sent| sent.label.call == call && sent.label.track == track;
        Deliveries { sent: book.iter().filter(mine).collect() }
    }

    /// Copies handed to the shard.
    pub fn handed(&self) -> u64 {
        self.sent.iter().map(|sent| sent.handed.len() as u64).sum()
    }

    fn dropped(&self) -> u64 {
        self.sent.iter().map(|sent| u64::from(sent.dropped)).sum()
    }

    fn copies_of(&self, class: impl Fn(Class) -> bool) -> u64 {
        self.sent.iter().filter(|sent| class(sent.label.class)).map(|sent| sent.handed.len() as u64).sum()
    }

    /// Copies of packets with a sequence number of the stream that were not the first of their packet.
    fn doubles(&self) -> u64 {
        let numbered = self.sent.iter().filter(|sent| is_numbered(sent.label.class));
        numbered.map(|sent| (sent.handed.len() as u64).saturating_sub(1)).sum()
    }

    fn firsts_of(&self, wanted: Class) -> u64 {
        self.sent.iter().filter(|sent| sent.label.class == wanted && !sent.handed.is_empty()).count() as u64
    }

    /// First sample index and count of each audio packet that was handed over, and when it had first arrived.
    pub fn audio(&self) -> BTreeMap<u64, (u64, Mono)> {
        let arrival = |sent: &Sent| sent.handed.iter().map(|&(_, arrival)| arrival).min();
        self.sent
            .iter()
            .filter_map(|sent| match sent.label.class {
                Class::Audio { index, samples, .. } => Some((index, (u64::from(samples), arrival(sent)?))),
                _ => None,
            })
            .collect()
    }

    /// Numbers that never came, among those after the first that did and before the last.
    fn missing(&self) -> u64 {
        let numbered: Vec<&&Sent> = self.sent.iter().filter(|sent| is_numbered(sent.label.class)).collect();
        let came = |sent: &Sent| sent.handed.iter().map(|&(handed, _)| handed).min();
        let first = (0..numbered.len()).filter(|&n| came(numbered[n]).is_some());
        let order = |n: &usize| (came(numbered[*n]), arrival_order(numbered[*n]));
        let Some(first) = first.min_by_key(order) else { return 0 };
        let last = (0..numbered.len()).rfind(|&n| came(numbered[n]).is_some()).unwrap_or(first);
        (first..last).filter(|&n| came(numbered[n]).is_none()).count() as u64
    }
}

fn arrival_order(sent: &Sent) -> Option<Mono> {
    sent.handed.iter().map(|&(_, arrival)| arrival).min()
}

fn is_numbered(class: Class) -> bool {
    matches!(class, Class::Audio { .. } | Class::ComfortNoise | Class::Event | Class::Empty)
}

/// What a track of a recording holds.
pub struct Found {
    /// Everything that is heard, explained.
    pub pieces: Vec<Piece>,
    heard: Vec<Heard>,
    start: u64,
    /// Where the first segment with a channel for it begins.
    present: u64,
}

/// Lays the segments of a call behind each other and explains every sample of every track. Between them something may be missing only if the
/// call was `cut_off`.
fn listen(call: &SimCall, segments: &[Reading], cut_off: bool) -> Result<Vec<Found>, String> {
    let mut at = segments.first().map_or(0, |first| first.audio.start);
    let begin = at;
    let mut heard: Vec<Vec<Heard>> = call.tracks.iter().map(|_| Vec::new()).collect();
    let mut present = vec![None; call.tracks.len()];
    for segment in segments {
        let gap = segment.audio.start.wrapping_sub(at);
        if gap != 0 && !((cut_off || call.cut) && gap < 1 << 32) {
            return Err(format!(
                "call {}: a segment begins at {}, not {at}",
                call.number, segment.audio.start
            ));
        }
        heard.iter_mut().for_each(|heard| heard.extend((0..gap).map(|_| Heard::Silence)));
        for (track, heard) in heard.iter_mut().enumerate() {
            if track >= usize::from(segment.audio.channels) {
                heard.extend((0..segment.samples).map(|_| Heard::Silence));
                continue;
            }
            present[track].get_or_insert(at + gap);
            let mut samples = segment.track(track);
            heard.extend(samples.by_ref().take(segment.samples as usize));
            if samples.any(|sample| sample != Heard::Silence) {
                return Err(format!("call {}: there is audio behind its end", call.number));
            }
        }
        at += gap + segment.samples;
    }
    let explained = |(track, heard): (usize, Vec<Heard>)| {
        let owner = Owner { call: call.number, track: track as u8 };
        let pieces = explain(owner, begin, &heard)?;
        Ok(Found { pieces, heard, start: begin, present: present[track].unwrap_or(at) })
    };
    heard.into_iter().enumerate().map(explained).collect()
}

impl Found {
    /// First sample indices of the packets, of `samples` each, of which anything is heard.
    pub fn packets(&self, samples: u64) -> BTreeSet<u64> {
        let of = |piece: &Piece| piece.index / samples..(piece.index + piece.samples).div_ceil(samples);
        self.pieces.iter().flat_map(of).map(|packet| packet * samples).collect()
    }

    /// Position behind the last sample.
    pub fn end(&self) -> u64 {
        self.start + self.heard.len() as u64
    }

    /// No sample of the stream lies at two places.
    pub fn check_once(&self, name: &str) -> Result<(), String> {
        // A shorter piece names no origin: its place in the stream is a guess from its neighbours.
        let named = self.pieces.iter().filter(|piece| piece.samples >= WORD_SAMPLES);
        let mut spans: Vec<(u64, u64)> = named.map(|p| (p.index, p.index + p.samples)).collect();
        spans.sort_unstable();
        match spans.windows(2).find(|pair| pair[1].0 < pair[0].1) {
            Some(pair) => Err(format!("{name}: sample {} of the stream lies at two places", pair[1].0)),
            None => Ok(()),
        }
    }

    /// Everything heard was delivered, and lies about where it arrived.
    pub fn check_sent(
        &self,
        name: &str,
        call: &SimCall,
        delivered: &BTreeMap<u64, (u64, Mono)>,
        slack: i64,
    ) -> Result<(), String> {
        for piece in &self.pieces {
            let mut index = piece.index;
            while index < piece.index + piece.samples {
                let packet = delivered.range(..=index).next_back();
                let Some((&first, &(samples, arrival))) = packet.filter(|(first, p)| index < *first + p.0)
                else {
                    return Err(format!("{name}: sample {index} of the stream was never delivered"));
                };
                let apart = piece.offset() + first as i64 - call.position(arrival);
                if apart.abs() > FROM_ARRIVAL_MAX + slack {
                    return Err(format!("{name}: sample {first} lies {apart} samples from its arrival"));
                }
                index = first + samples;
            }
        }
        Ok(())
    }

    /// Nothing is heard that came during a pause, or came after it and belongs into it.
    fn check_pauses(
        &self,
        name: &str,
        call: &SimCall,
        delivered: &BTreeMap<u64, (u64, Mono)>,
        margin: Duration,
    ) -> Result<(), String> {
        for pause in &call.pauses {
            let from = pause.from + margin;
            let first = call.position(from);
            let last = pause.until.map_or(i64::MAX, |until| call.position(until));
            for piece in &self.pieces {
                let (begin, behind) = (piece.index, piece.index + piece.samples);
                let before = delivered.range(..=begin).next_back().map_or(begin, |(packet, _)| *packet);
                for (&packet, &(samples, arrival)) in delivered.range(before..behind) {
                    let at = |index: u64| piece.offset() + index as i64;
                    let (start, end) = (at(packet.max(begin)), at((packet + samples).min(behind)));
                    let belongs = start.max(first) < end.min(last);
                    let came = pause.until.is_none_or(|until| arrival < until);
                    if arrival > from && start < end && (came || belongs) {
                        return Err(format!("{name}: sample {packet} came during a pause and is heard"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Every piece lies where one of the anchors that the shard reported puts it.
    fn check_anchors(
        &self,
        name: &str,
        call: &SimCall,
        track: usize,
        report: &TrackReport,
    ) -> Result<(), String> {
        let Some(diary) = &call.tracks[track].diary else { return Ok(()) };
        let diary = diary.borrow();
        if report.anchors.len() >= crate::media::ANCHORS_KEPT_MAX {
            return Ok(());
        }
        for piece in &self.pieces {
            let epoch = diary.epochs[usize::from(piece.epoch)];
            let laid = |anchor: &crate::media::Anchor| {
                let index = i64::from(anchor.timestamp.wrapping_sub(epoch.base) as i32);
                anchor.ssrc == epoch.ssrc && anchor.position as i64 - index == piece.offset()
            };
            if !report.anchors.iter().any(laid) {
                return Err(format!("{name}: position {} follows from no anchor", piece.position));
            }
        }
        Ok(())
    }

    /// Each silent sample is in an interval, and no interval of a stretch that nobody filled holds audio.
    fn check_intervals(&self, name: &str, intervals: &[Interval]) -> Result<(), String> {
        let mut covered = vec![false; self.heard.len()];
        covered[..(self.present - self.start) as usize].fill(true);
        for interval in intervals {
            if interval.start > interval.end || interval.end > self.end() {
                return Err(format!("{name}: {interval:?} goes past the end {}", self.end()));
            }
            let span =
                (interval.start.max(self.start) - self.start) as usize..(interval.end - self.start) as usize;
            covered[span.clone()].fill(true);
            let may_hold_audio = interval.merged || matches!(interval.cause, Cause::Late | Cause::Overflow);
            if !may_hold_audio && self.heard[span].iter().any(|&heard| heard != Heard::Silence) {
                return Err(format!("{name}: there is audio in {interval:?}"));
            }
        }
        let silent = |(heard, covered): (&Heard, &bool)| *heard == Heard::Silence && !covered;
        match self.heard.iter().zip(&covered).position(silent) {
            Some(at) => Err(format!("{name}: position {} is silent without a word", self.start + at as u64)),
            None => Ok(()),
        }
    }
}

/// A pause may be taken so much later than it was asked for: some ticks and what the machine stood still.
fn margin(slack: i64) -> Duration {
    Duration::from_millis(100 + (slack - FROM_ARRIVAL_MAX).max(0) as u64 / 8)
}

/// Whether audio that arrived then need not be heard: during a pause or close to one, or before a source that had moved was found again, which takes a while
/// and some packets. `came` are the arrivals of all audio of the track.
fn is_excused(call: &SimCall, track: usize, arrival: Mono, came: impl Iterator<Item = Mono> + Clone) -> bool {
    let close = Duration::from_millis(700);
    let paused = call
        .pauses
        .iter()
        .any(|pause| arrival + close > pause.from && pause.until.is_none_or(|until| arrival < until + close));
    let lost =
        SOURCE_HOLD + Duration::from_millis(20) * (SOURCE_LOCK_PACKETS + 5) + Duration::from_millis(60);
    let is_early = |at: Mono| {
        let before = || came.clone().filter(|other| (at..arrival).contains(other)).count();
        arrival >= at && (arrival < at + lost || before() < SOURCE_LOCK_PACKETS as usize + 5)
    };
    let diary = call.tracks[track].diary.as_ref();
    paused || diary.is_some_and(|diary| diary.borrow().moves.iter().any(|&at| is_early(at)))
}

/// A call that a crash cut off: what is left of it was sent, and lies where it belongs.
pub fn cut_off(
    call: &SimCall,
    segments: &[Reading],
    book: &[Sent],
    slack: i64,
) -> Result<Vec<Found>, String> {
    let found = listen(call, segments, true)?;
    for (track, found) in found.iter().enumerate() {
        let name = format!("call {} track {track}", call.number);
        let deliveries = Deliveries::of(book, call.number, track as u8);
        found.check_once(&name)?;
        found.check_sent(&name, call, &deliveries.audio(), slack)?;
        found.check_pauses(&name, call, &deliveries.audio(), margin(slack))?;
    }
    Ok(found)
}

/// Of a well-behaved call, everything that arrived before an instant is heard, but for a horizon's worth at each stall.
pub fn nothing_missing(call: &SimCall, found: &[Found], book: &[Sent], before: Mono) -> Result<(), String> {
    for (track, found) in found.iter().enumerate() {
        let heard = found.packets(call.tracks[track].habits.ptime_ms * 8);
        let delivered = Deliveries::of(book, call.number, track as u8).audio();
        let came = delivered.values().map(|(_, arrival)| *arrival);
        let missing = |(first, (_, arrival)): &(&u64, &(u64, Mono))| {
            *arrival < before && !heard.contains(first) && !is_excused(call, track, *arrival, came.clone())
        };
        let stalls = call.tracks[track].diary.as_ref().map_or(0, |diary| diary.borrow().stalls.len());
        let lost: u64 = delivered.iter().filter(missing).map(|(_, (samples, _))| samples).sum();
        if lost > stalls as u64 * STALL_COST_MAX
            && let Some((first, (_, arrival))) = delivered.iter().find(missing)
        {
            let at = call.position(*arrival);
            return Err(format!(
                "call {} track {track}: sample {first} came at {at} and is not heard",
                call.number
            ));
        }
    }
    Ok(())
}

/// Whether somebody of the call talks in this range of its timeline, by when it came: where. A packet alone may have been too late to be heard.
pub fn talk_within(call: &SimCall, book: &[Sent], range: Range<i64>) -> Option<i64> {
    (0..call.tracks.len()).find_map(|track| {
        let delivered = Deliveries::of(book, call.number, track as u8).audio();
        let all = delivered.values().map(|(_, arrival)| *arrival);
        let unexcused =
            delivered.values().filter(|(_, arrival)| !is_excused(call, track, *arrival, all.clone()));
        let mut came: Vec<i64> = unexcused.map(|(_, arrival)| call.position(*arrival)).collect();
        came.retain(|at| range.contains(at));
        came.sort_unstable();
        came.get(TALK_PACKETS).copied()
    })
}

/// A closed call whose every segment is durable: content, intervals and ledger.
pub fn closed(call: &SimCall, segments: &[Reading], book: &[Sent], slack: i64) -> Result<Vec<Found>, String> {
    let (reports, samples) = call.end.as_ref().ok_or("the call has not ended")?;
    let mut found = listen(call, segments, false)?;
    if reports.len() != call.tracks.len() {
        return Err(format!("call {}: {} tracks are reported", call.number, reports.len()));
    }
    // A call that ends in a cut is longer than its last segment.
    for found in found.iter_mut().filter(|found| call.cut && found.end() < *samples) {
        found.heard.resize((samples - found.start) as usize, Heard::Silence);
    }
    for (track, (found, report)) in found.iter().zip(reports).enumerate() {
        let name = format!("call {} track {track}", call.number);
        if found.end() != *samples {
            return Err(format!("{name}: {} samples, {samples} by its report", found.end()));
        }
        let deliveries = Deliveries::of(book, call.number, track as u8);
        found.check_once(&name)?;
        found.check_sent(&name, call, &deliveries.audio(), slack)?;
        found.check_pauses(&name, call, &deliveries.audio(), margin(slack))?;
        found.check_anchors(&name, call, track, report)?;
        let intervals: Vec<Interval> =
            call.intervals.iter().filter(|i| usize::from(i.track) == track).copied().collect();
        found.check_intervals(&name, &intervals)?;
        let heard = found.packets(call.tracks[track].habits.ptime_ms * 8).len() as u64;
        ledger(&name, call, track, &report.counters, &deliveries, heard)?;
    }
    Ok(found)
}

/// The recorder's ledger against the network's book. `heard` is the number of packets of which anything is in the recording.
fn ledger(
    name: &str,
    call: &SimCall,
    track: usize,
    counters: &Counters,
    deliveries: &Deliveries<'_>,
    heard: u64,
) -> Result<(), String> {
    let require = |what: &str, counted: u64, true_count: u64| {
        if counted == true_count {
            return Ok(());
        }
        Err(format!("{name}: {counted} {what} counted, {true_count} is the truth"))
    };
    if !counters.adds_up() {
        return Err(format!("{name}: the ledger does not add up: {counters:?}"));
    }
    require("placed packets", counters.of(Fate::Placed), heard)?;
    if counters.received > deliveries.handed() || counters.kernel_drops > deliveries.dropped() {
        return Err(format!("{name}: more counted than there was: {counters:?}"));
    }
    if !call.clean {
        return Ok(());
    }
    require("received", counters.received, deliveries.handed())?;
    let copies = |class| deliveries.copies_of(|c| c == class);
    require("malformed", counters.of(Fate::Malformed), copies(Class::Malformed))?;
    require("wrong payload types", counters.of(Fate::WrongPayloadType), copies(Class::WrongType))?;
    require("truncated", counters.of(Fate::Truncated), copies(Class::Oversize))?;
    require("RTCP packets", counters.of(Fate::Rtcp), copies(Class::Rtcp))?;
    let Some(diary) = &call.tracks[track].diary else { return Ok(()) };
    let diary = diary.borrow();
    if !diary.moves.is_empty() {
        return Ok(());
    }
    require("strangers' packets", counters.of(Fate::WrongSource), copies(Class::Stranger))?;
    if diary.jumped || counters.of(Fate::SourceBudget) > 0 {
        return Ok(());
    }
    require("duplicates", counters.of(Fate::Duplicate), deliveries.doubles())?;
    require("comfort noise", counters.of(Fate::ComfortNoise), deliveries.firsts_of(Class::ComfortNoise))?;
    require("telephone events", counters.of(Fate::TelephoneEvent), deliveries.firsts_of(Class::Event))?;
    require("empty packets", counters.of(Fate::Empty), deliveries.firsts_of(Class::Empty))?;
    if diary.epochs.len() <= 1 {
        require("lost", counters.lost, deliveries.missing())?;
    }
    Ok(())
}
