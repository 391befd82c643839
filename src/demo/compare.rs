//! Holds every sample of a recorded track against what was sent, with nothing but the manifest to say where it belongs.
//!
//! Right is: each packet that was sent stands, code by code, where its anchor puts it; each packet that was never sent is exactly its
//! stretch of silence, written down as loss; one that came too late is written down as such; all else is silent and said to be.

use crate::link::Anchor;
use crate::media::{Cause, Counters, Fate, Interval};
use crate::src_client::script::{PACKET_SAMPLES, Script};

/// Complaints kept word by word; the rest are only counted.
const COMPLAINTS_MAX: usize = 8;

/// One track as it was recorded.
pub struct Heard<'a> {
    /// Its codes, from the start of the recording.
    pub codes: &'a [u8],
    /// The code of silence.
    pub silence: u8,
    /// Where sources were laid, from the manifest.
    pub anchors: &'a [Anchor],
    /// Its silent stretches, from the manifest.
    pub intervals: &'a [Interval],
    /// Its ledger, from the manifest.
    pub counters: &'a Counters,
}

/// What came of the comparison, in samples, but for `packets_lost`.
#[derive(Clone, Default, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Verdict {
    /// All samples of the track.
    pub samples: u64,
    /// Equal to what was sent.
    pub right: u64,
    /// Silent because their packets were lost, and said to be.
    pub lost: u64,
    /// Silent because their packets came too late, and said to be.
    pub late: u64,
    /// Silent because nothing was being sent, and said to be.
    pub idle: u64,
    /// Anything else. Must be 0.
    pub wrong: u64,
    /// Packets that the network lost.
    pub packets_lost: u64,
    /// What is wrong, in words; the first few.
    pub complaints: Vec<String>,
}

impl Verdict {
    /// Whether every sample was right or accounted for.
    pub fn good(&self) -> bool {
        self.wrong == 0 && self.complaints.is_empty()
    }

    fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what);
        }
    }

    fn wrong(&mut self, position: usize, what: &str) {
        self.wrong += 1;
        self.complain(format!("sample {position}: {what}"));
    }
}

/// What the script says of one position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Code(u8),
    Lost,
}

/// Compares a recorded track with the script that was sent to it.
pub fn compare(script: &Script, heard: &Heard<'_>) -> Verdict {
    let mut verdict = Verdict {
        samples: heard.codes.len() as u64,
        packets_lost: script.lost.len() as u64,
        ..Verdict::default()
    };
    let sent = lay_out(script, heard, &mut verdict);
    let causes = causes(heard, &mut verdict);
    for (position, (sent, cause)) in sent.into_iter().zip(causes).enumerate() {
        judge(&mut verdict, position, heard, sent, cause);
    }
    check_ledger(script, heard.counters, &mut verdict);
    verdict
}

/// Where a timestamp belongs: by the last anchor of its source at or before it.
fn position(anchors: &[Anchor], ssrc: u32, timestamp: u32) -> Option<u64> {
    let ahead = |anchor: &&Anchor| timestamp.wrapping_sub(anchor.timestamp) as i32;
    let anchor = anchors.iter().filter(|a| a.ssrc == ssrc && ahead(a) >= 0).min_by_key(ahead)?;
    Some(anchor.position + u64::from(timestamp.wrapping_sub(anchor.timestamp)))
}

fn lay_out(script: &Script, heard: &Heard<'_>, verdict: &mut Verdict) -> Vec<Sent> {
    let mut sent = vec![Sent::Nothing; heard.codes.len()];
    let mut lost = script.lost.iter().peekable();
    for packet in 0..script.plan.packets {
        let is_lost = lost.next_if_eq(&&packet).is_some();
        let Some(first) = position(heard.anchors, script.plan.ssrc, script.timestamp(packet)) else {
            verdict.wrong += u64::from(PACKET_SAMPLES);
            verdict.complain(format!("packet {packet} is in front of every anchor"));
            continue;
        };
        for (offset, code) in script.payload(packet).into_iter().enumerate() {
            match sent.get_mut(first as usize + offset) {
                Some(place) => *place = if is_lost { Sent::Lost } else { Sent::Code(code) },
                None => verdict.wrong(first as usize + offset, "was sent, but the recording ends before it"),
            }
        }
    }
    sent
}

fn causes(heard: &Heard<'_>, verdict: &mut Verdict) -> Vec<Option<Cause>> {
    let mut causes = vec![None; heard.codes.len()];
    for interval in heard.intervals {
        let end = (interval.end as usize).min(causes.len());
        for cause in &mut causes[(interval.start as usize).min(end)..end] {
            if cause.replace(interval.cause).is_some() {
                verdict.complain(format!("two intervals overlap from sample {}", interval.start));
                break;
            }
        }
    }
    causes
}

fn judge(verdict: &mut Verdict, position: usize, heard: &Heard<'_>, sent: Sent, cause: Option<Cause>) {
    let code = heard.codes[position];
    match (sent, cause) {
        (_, Some(_)) if code != heard.silence => verdict.wrong(position, "said to be silent, and is not"),
        (Sent::Code(expected), None) if code == expected => verdict.right += 1,
        (Sent::Code(_), None) => verdict.wrong(position, "differs from what was sent"),
        // A packet later than the horizon is missing when its place is sealed: both words are right.
        (Sent::Code(_), Some(Cause::Late | Cause::Loss)) => verdict.late += 1,
        (Sent::Lost, Some(Cause::Loss)) => verdict.lost += 1,
        (Sent::Nothing, Some(_)) => verdict.idle += 1,
        (Sent::Lost | Sent::Nothing, None) => verdict.wrong(position, "silent, and no interval says why"),
        (_, Some(cause)) => verdict.wrong(position, &format!("has the wrong cause: {cause:?}")),
    }
}

/// The ledger must tell the same story: what was received, sent twice, lost, late.
fn check_ledger(script: &Script, counters: &Counters, verdict: &mut Verdict) {
    // A packet whose place was sealed in part is placed, not late.
    let late = counters.of(Fate::Late).min(verdict.late / u64::from(PACKET_SAMPLES));
    let mut same = |what: &str, counted: u64, expected: u64| {
        if counted != expected {
            verdict
                .complain(format!("the ledger counts {counted} packets {what}; {expected} would be right"));
        }
    };
    same("received", counters.received + counters.kernel_drops, script.sendings.len() as u64);
    // Of a secured packet the second never gets as far as to be a duplicate.
    let twice = counters.of(Fate::Duplicate) + counters.of(Fate::SrtpReplay);
    same("sent twice", twice, u64::from(script.duplicated));
    same("lost", counters.lost, script.lost.len() as u64);
    same("late", counters.of(Fate::Late), late);
    if !counters.adds_up() {
        verdict.complain("the ledger does not add up".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::src_client::script::{Impairment, StreamPlan};
    use crate::src_client::signal::{Law, Signal};

    const START: u64 = 800;
    const PACKETS: u32 = 100;

    fn script() -> Script {
        let plan = StreamPlan {
            signal: Signal::tone(440.0, 1),
            law: Law::Mulaw,
            ssrc: 9,
            sequence: 0,
            timestamp: u32::MAX - 1000,
            packets: PACKETS,
        };
        let rough =
            Impairment { lost: 50, duplicated: 50, delayed: 50, delay_max: Duration::from_millis(100) };
        Script::new(plan, rough, 5)
    }

    struct Recorded {
        codes: Vec<u8>,
        intervals: Vec<Interval>,
        counters: Counters,
    }

    /// What a perfect recorder makes of it.
    fn recorded(script: &Script) -> Recorded {
        let silent = |start, end, cause| Interval { track: 0, start, end, cause, packets: 0, merged: false };
        let intervals = vec![silent(0, START, Cause::NoMedia)];
        let mut it = Recorded { codes: vec![0xff; START as usize], intervals, counters: Counters::default() };
        for packet in 0..PACKETS {
            let at = it.codes.len() as u64;
            if script.lost.contains(&packet) {
                it.codes.extend([0xff; 160]);
                it.intervals.push(silent(at, at + 160, Cause::Loss));
                it.counters.lost += 1;
            } else {
                it.codes.extend(script.payload(packet));
                it.counters.count(Fate::Placed);
            }
        }
        (0..script.duplicated).for_each(|_| it.counters.count(Fate::Duplicate));
        it
    }

    fn verdict(script: &Script, it: &Recorded) -> Verdict {
        let anchors = [Anchor { ssrc: 9, timestamp: script.plan.timestamp, position: START }];
        let heard = Heard {
            codes: &it.codes,
            silence: 0xff,
            anchors: &anchors,
            intervals: &it.intervals,
            counters: &it.counters,
        };
        compare(script, &heard)
    }

    #[test]
    fn a_perfect_recording_is_good_to_the_sample() {
        let script = script();
        let verdict = verdict(&script, &recorded(&script));
        assert!(verdict.good(), "{verdict:?}");
        assert_eq!((verdict.idle, verdict.lost), (START, 160 * script.lost.len() as u64));
        assert_eq!(verdict.right + verdict.lost + verdict.idle, verdict.samples);
    }

    #[test]
    fn one_wrong_sample_is_found() {
        let script = script();
        let mut it = recorded(&script);
        it.codes[2000] ^= 1;
        assert_eq!(verdict(&script, &it).wrong, 1);
    }

    #[test]
    fn silence_without_a_reason_and_reasons_without_silence_are_found() {
        let script = script();
        let mut it = recorded(&script);
        it.intervals.retain(|interval| interval.cause != Cause::Loss);
        assert_eq!(verdict(&script, &it).wrong, 160 * script.lost.len() as u64);
        let mut it = recorded(&script);
        it.intervals[0].end += 1;
        assert_eq!(verdict(&script, &it).wrong, 1);
    }

    #[test]
    fn a_recording_cut_short_or_shifted_is_found() {
        let script = script();
        let mut it = recorded(&script);
        it.codes.pop();
        assert_eq!(verdict(&script, &it).wrong, 1);
        let mut it = recorded(&script);
        it.codes.insert(0, 0xff);
        assert!(verdict(&script, &it).wrong > 10_000);
    }

    #[test]
    fn a_ledger_that_lies_is_found() {
        let script = script();
        let mut it = recorded(&script);
        it.counters.lost += 1;
        assert!(!verdict(&script, &it).good());
    }
}
