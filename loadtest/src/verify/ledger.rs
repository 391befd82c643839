//! What the recorder says of a track against what was sent and what is there: packet counters, intervals, anchors.

use tapehead::media::{Counters, Fate, Interval};
use tapehead::recording::Manifest;

use super::align::Aligned;
use super::expected::Expected;
use super::stretch::Stretch;

/// Disagreements of one kind told one by one; more are only counted.
const TOLD_MAX: usize = 3;

/// All disagreements of channel `channel`, in words. What was counted is not compared if the sender has paused for long: what it sent at once after
/// that may have met full sockets.
pub fn disagreements(
    manifest: &Manifest,
    channel: usize,
    expected: &Expected,
    aligned: &Aligned,
    sender_paused: bool,
) -> Vec<String> {
    let mut told = Vec::new();
    let Some(track) = manifest.tracks.get(channel) else { return told };
    if !sender_paused {
        counters(&track.counters, expected, aligned, &mut told);
    }
    if !track.counters.adds_up() {
        told.push(format!("the counters do not add up to the {} received", track.counters.received));
    }
    intervals(manifest, channel, aligned, &mut told);
    for anchor in &track.anchors {
        let named = |piece: &&super::Piece| piece.ssrc == anchor.ssrc && piece.timestamp == anchor.timestamp;
        let number = expected.pieces.iter().position(|piece| named(&piece));
        let Some(number) = number else {
            told.push(format!(
                "an anchor at timestamp {} of source {:08x}, which was not sent",
                anchor.timestamp, anchor.ssrc
            ));
            continue;
        };
        let position = expected.pieces[number].position;
        if let Some(offset) = aligned.offsets.get(number).copied().flatten()
            && position as i64 + offset != anchor.position as i64
        {
            let apart = position as i64 + offset - anchor.position as i64;
            told.push(format!("audio anchored at {} lies {apart} samples from there", anchor.position));
        }
    }
    told
}

fn counters(of: &Counters, expected: &Expected, aligned: &Aligned, told: &mut Vec<String>) {
    let sent = &expected.counts;
    let mut differ = |what: &str, recorder: u64, sender: u64| {
        if recorder != sender {
            told.push(format!("{what}: the recorder counted {recorder}, {sender} were sent"));
        }
    };
    differ("datagrams", of.received - of.of(Fate::Rtcp).min(of.received), sent.received);
    // What is secured and sent again, or by a stranger, ends in SRTP's own fates (RFC 3711 section 3.3). A stranger's whose number has been seen is a
    // replay before it is anything else.
    let (again, strange) = (of.of(Fate::Duplicate), of.of(Fate::WrongSource));
    let secured = of.of(Fate::SrtpReplay) + of.of(Fate::SrtpAuth);
    if secured > 0 {
        let sent = sent.duplicate + sent.wrong_source;
        differ("duplicates, replays and packets of strangers", again + strange + secured, sent);
    } else {
        differ("duplicates", again, sent.duplicate);
        differ("packets of strangers", strange, sent.wrong_source);
    }
    differ("comfort noise", of.of(Fate::ComfortNoise), sent.comfort_noise);
    differ("lost packets", of.lost, sent.lost);
    let moved = aligned.shifts.iter().any(|shift| shift.explained);
    let excused = if moved { of.of(Fate::Overlap) } else { 0 };
    differ("audio packets", of.of(Fate::Placed) + of.of(Fate::Late) + excused, sent.audio);
    for fate in [
        Fate::Malformed,
        Fate::Truncated,
        Fate::WrongPayloadType,
        Fate::TelephoneEvent,
        Fate::Empty,
        Fate::SourceBudget,
        Fate::Overflow,
        Fate::Paused,
    ] {
        differ(fate.name(), of.of(fate), 0);
    }
    differ("kernel drops", of.kernel_drops, 0);
    let late = aligned.silence.late + aligned.silence.late_sender + aligned.ours + aligned.silence.reanchored;
    if of.of(Fate::Late) > 0 && late == 0 {
        told.push(format!("{} packets late by the recorder's count, and all are there", of.of(Fate::Late)));
    }
}

/// Every silent stretch must be written down, with a cause that can be; and nothing else.
fn intervals(manifest: &Manifest, channel: usize, aligned: &Aligned, told: &mut Vec<String>) {
    let mut own: Vec<Interval> =
        manifest.intervals.iter().filter(|one| usize::from(one.track) == channel).copied().collect();
    // What was merged for want of room says no more than that there were silences.
    if own.iter().any(|one| one.merged) {
        return;
    }
    own.sort_by_key(|one| one.start);
    let mut problems = Vec::new();
    for silent in &aligned.silent {
        unwritten(silent, &own, &mut problems);
    }
    for interval in &own {
        let from = aligned.audible.partition_point(|&(_, to)| to <= interval.start);
        let audible = aligned.audible[from..].iter().take_while(|&&(from, _)| from < interval.end);
        let samples: u64 = audible.map(|&(from, to)| to.min(interval.end) - from.max(interval.start)).sum();
        if samples > 0 {
            let Interval { start, end, cause, .. } = interval;
            problems.push(format!("{samples} audible samples in the interval {start}-{end} ({cause:?})"));
        }
    }
    let more = problems.len().saturating_sub(TOLD_MAX);
    told.extend(problems.into_iter().take(TOLD_MAX));
    if more > 0 {
        told.push(format!("{more} more such intervals"));
    }
}

/// What of a silent stretch no interval tells, or tells wrongly.
fn unwritten(silent: &Stretch, own: &[Interval], problems: &mut Vec<String>) {
    let Stretch { from, to, reasons } = *silent;
    let first = own.partition_point(|one| one.end <= from);
    let mut at = from;
    for interval in own[first..].iter().take_while(|one| one.start < to) {
        if interval.start > at {
            problems.push(format!("silence at {at}-{} is in no interval", interval.start));
        }
        if !reasons.allow(interval.cause) {
            problems.push(format!("silence at {from}-{to} is put down to {:?}: {reasons:?}", interval.cause));
        }
        at = at.max(interval.end);
    }
    if at < to {
        problems.push(format!("silence at {at}-{to} is in no interval"));
    }
}
