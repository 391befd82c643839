//! The verdict on a run: totals, and how they are told.

use std::collections::BTreeMap;

use serde::Serialize;

use super::align::Silence;
use super::call::CallVerdict;

/// Bad calls told one by one on the terminal.
const TOLD_MAX: usize = 20;

/// All calls together. Samples, unless it says otherwise.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Totals {
    /// Calls that should have a recording.
    pub calls: u64,
    /// Calls with anything wrong.
    pub calls_bad: u64,
    /// Calls that were refused, and rightly have none.
    pub refused: u64,
    /// Calls of clients that vanished, whose recordings are still being written: not judged.
    pub open: u64,
    /// Calls whose sender paused for so long that nobody can tell whose loss is what.
    pub calls_paused: u64,
    /// Tracks.
    pub tracks: u64,
    /// Recordings that should be there and are not.
    pub recordings_missing: u64,
    /// Recordings that should not be there.
    pub recordings_extra: u64,
    /// Recordings of other Call-IDs in the same folder: nobody's business.
    pub recordings_foreign: u64,
    /// Sent.
    pub sent: u64,
    /// Right and in their place.
    pub right: u64,
    /// Wrong, or in a wrong place.
    pub wrong: u64,
    /// Nobody sent them.
    pub extra: u64,
    /// Sent, and silent for no reason: the recorder's loss.
    pub unaccounted: u64,
    /// Silence that has its reason.
    pub silence: Silence,
    /// Changes of place that have their reason.
    pub shifts_explained: u64,
    /// Changes of place that have none.
    pub shifts_unexplained: u64,
    /// Other disagreements and findings.
    pub findings: u64,
    /// The furthest that two tracks of a call lie apart from where they belong, in milliseconds.
    pub misplaced_ms_max: f64,
    /// Of half the calls at most this.
    pub misplaced_ms_median: f64,
    /// The mean size of a sealed manifest, in bytes.
    pub manifest_bytes_mean: f64,
    #[serde(skip)]
    pub(super) misplaced: Vec<f64>,
    /// Findings of the run as a whole, in words.
    pub run_findings: Vec<String>,
}

impl Totals {
    /// Takes a call in.
    pub fn add(&mut self, call: &CallVerdict) {
        self.calls += 1;
        self.calls_bad += u64::from(!call.good);
        self.calls_paused += u64::from(call.tracks.iter().any(|track| track.sender_paused));
        self.findings += call.findings.len() as u64;
        for track in &call.tracks {
            self.tracks += 1;
            self.sent += track.sent;
            self.right += track.right;
            self.wrong += track.wrong;
            self.extra += track.extra;
            self.unaccounted += track.unaccounted;
            self.silence.add(&track.silence);
            self.findings += track.findings.len() as u64;
            let explained = track.shifts.iter().filter(|shift| shift.explained).count() as u64;
            self.shifts_explained += explained;
            self.shifts_unexplained += track.shifts.len() as u64 - explained;
        }
        let apart = call.tracks.iter().filter_map(|track| track.misplaced_ms);
        self.misplaced.extend(apart.reduce(f64::max));
    }

    /// Once all calls are in.
    pub fn finish(&mut self) {
        self.misplaced.sort_by(f64::total_cmp);
        self.misplaced_ms_max = self.misplaced.last().copied().unwrap_or(0.0);
        self.misplaced_ms_median = self.misplaced.get(self.misplaced.len() / 2).copied().unwrap_or(0.0);
    }

    /// Whether nothing is wrong, missing, extra or unaccounted for; and there was something to look at.
    pub fn is_good(&self) -> bool {
        let all = [self.calls_bad, self.recordings_missing, self.recordings_extra];
        self.calls > 0 && self.right > 0 && all == [0; 3] && self.run_findings.is_empty()
    }

    /// The totals in words.
    pub fn text(&self) -> String {
        let seconds = |samples: u64| samples as f64 / 8000.0;
        let silence = &self.silence;
        let of = |what: &str, samples: u64| match samples {
            0 => String::new(),
            _ => format!(", {what} {:.3} s", seconds(samples)),
        };
        let reasons = [
            of("before the first packet", silence.before),
            of("lost on purpose", silence.lost),
            of("late on purpose", silence.late),
            of("late by the sender", silence.late_sender),
            of("DTX", silence.dtx),
            of("hold", silence.hold),
            of("source changed or drifted", silence.reanchored),
        ]
        .concat();
        let missing = match self.recordings_missing {
            0 => String::new(),
            missing => format!(", {missing} recordings MISSING"),
        };
        let extra = match self.recordings_extra {
            0 => String::new(),
            extra => format!(", {extra} recordings EXTRA"),
        };
        let paused = match self.calls_paused {
            0 => String::new(),
            paused => format!(
                "\nsender paused          in {paused} calls, for half a second or more: what was lost of them is not the recorder's, and they prove little"
            ),
        };
        let open = match self.open {
            0 => String::new(),
            open => format!(
                "\nnot judged             {open} clients vanished and their recordings are still open: stop the recorder, or wait"
            ),
        };
        format!(
            "calls                  {} with {} tracks, {} of them bad; {} refused{missing}{extra}\n\
             samples right          {} of {} sent\n\
             samples wrong          {}\n\
             silence accounted for  {} ({})\n\
             silence not accounted  {}\n\
             extra samples          {}\n\
             misplacement           median {:.2} ms, worst {:.2} ms; moved {} times with reason, {} without\n\
             other findings         {}{paused}{open}",
            self.calls,
            self.tracks,
            self.calls_bad,
            self.refused,
            self.right,
            self.sent,
            self.wrong,
            silence.total(),
            reasons.trim_start_matches(", "),
            self.unaccounted,
            self.extra,
            self.misplaced_ms_median,
            self.misplaced_ms_max,
            self.shifts_explained,
            self.shifts_unexplained,
            self.findings,
        )
    }
}

/// The bad calls in words, the first of them; and how often each profile went wrong.
pub fn bad_calls(calls: &[CallVerdict]) -> Vec<String> {
    let mut lines = Vec::new();
    let bad: Vec<&CallVerdict> = calls.iter().filter(|call| !call.good).collect();
    for call in bad.iter().take(TOLD_MAX) {
        lines.push(format!("BAD call {} ({}, {}):", call.call, call.call_id, call.profile));
        lines.extend(call.findings.iter().map(|finding| format!("  {finding}")));
        for (number, track) in call.tracks.iter().enumerate() {
            lines.push(format!(
                "  track {number}: {} right of {}, {} wrong, {} extra, {} unaccounted",
                track.right, track.sent, track.wrong, track.extra, track.unaccounted
            ));
            lines.extend(track.findings.iter().map(|finding| format!("    {finding}")));
        }
    }
    if bad.len() > TOLD_MAX {
        let mut profiles: BTreeMap<&str, usize> = BTreeMap::new();
        bad.iter().for_each(|call| *profiles.entry(&call.profile).or_default() += 1);
        let by: Vec<String> = profiles.iter().map(|(name, count)| format!("{name} {count}")).collect();
        lines.push(format!("... and {} more; by profile: {}", bad.len() - TOLD_MAX, by.join(", ")));
    }
    lines
}
