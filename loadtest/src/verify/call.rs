//! The verdict on one call: each track, the tracks against each other, and the recording against the run.

use serde::Serialize;
use tapehead::base::Wall;
use tapehead::media::{Cause, Fate};

use super::align::{Aligned, Shift, Silence, Terms, Walk};
use super::expected::Expected;
use super::ledger;
use super::recorded::Recorded;
use crate::profile::Profile;
use crate::record::CallRecord;

/// Silence behind the end of a call that a recorder may add, in milliseconds: what it takes to hear the BYE, and its horizon.
const TAIL_MS_MAX: f64 = 1000.0;

/// A sender so late sends as much audio at once as no kernel has to have room for: what is missing of it is the sender's, and counters say nothing.
const BURST_NS: u64 = 500_000_000;

/// Tracks of a call, at most.
const TRACKS_MAX: usize = 16;
/// Packets of a track, at most: a day at 10 ms.
const PACKETS_MAX: u64 = 24 * 3600 * 100;

/// How strict to be, and with what seed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rules {
    /// Of the run.
    pub seed: u64,
    /// The recorder's reorder horizon, in milliseconds.
    pub horizon_ms: u64,
    /// Tracks may lie so far from where they belong, in milliseconds.
    pub misplaced_ms_max: u64,
}

/// What became of one track.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct TrackVerdict {
    /// Samples sent.
    pub sent: u64,
    /// Samples right and in their place.
    pub right: u64,
    /// Samples wrong, or in a wrong place.
    pub wrong: u64,
    /// Samples that nobody sent.
    pub extra: u64,
    /// Samples sent that are silent for no reason: the recorder's loss.
    pub unaccounted: u64,
    /// Silence that has its reason.
    pub silence: Silence,
    /// Where the stream was moved on the timeline.
    pub shifts: Vec<Shift>,
    /// Whether the sender paused for so long that what is missing is its own.
    pub sender_paused: bool,
    /// How far it lies from where it belongs beside the call's other tracks, in milliseconds.
    pub misplaced_ms: Option<f64>,
    /// What else is wrong, in words.
    pub findings: Vec<String>,
}

impl TrackVerdict {
    fn is_good(&self) -> bool {
        (self.wrong, self.extra, self.unaccounted) == (0, 0, 0)
            && self.findings.is_empty()
            && self.shifts.iter().all(|shift| shift.explained)
    }
}

/// What became of one call.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CallVerdict {
    /// Its number.
    pub call: u64,
    /// Its Call-ID.
    pub call_id: String,
    /// Its profile.
    pub profile: String,
    /// Whether all is well.
    pub good: bool,
    /// Its tracks.
    pub tracks: Vec<TrackVerdict>,
    /// What is wrong with the call as a whole, in words.
    pub findings: Vec<String>,
}

impl CallVerdict {
    /// A call that is as bad as `finding` says.
    pub fn bad(call: &CallRecord, finding: String) -> CallVerdict {
        let (call_id, profile) = (call.call_id.clone(), call.profile.clone());
        CallVerdict {
            call: call.call,
            call_id,
            profile,
            good: false,
            tracks: Vec::new(),
            findings: vec![finding],
        }
    }
}

/// Judges a recording by what its call has sent.
pub fn judge(rules: &Rules, call: &CallRecord, profile: &Profile, recorded: &Recorded) -> CallVerdict {
    // A line that nobody's run has written must not keep us busy for years.
    if call.tracks.len() > TRACKS_MAX || call.tracks.iter().any(|track| track.taken > PACKETS_MAX) {
        return CallVerdict::bad(
            call,
            "no call is as long or as wide as its line of the run says".to_owned(),
        );
    }
    let mut findings = recorded.damage.clone();
    if recorded.channels.len() != call.tracks.len() {
        findings.push(format!(
            "{} tracks were recorded, {} were sent",
            recorded.channels.len(),
            call.tracks.len()
        ));
    }
    let expected: Vec<Expected> = (0..)
        .zip(&call.tracks)
        .map(|(number, track)| Expected::new(rules.seed, call.call, number, profile, track.taken))
        .collect();
    let mut tracks = Vec::new();
    // Where each track's media started, in samples of the recording's timeline.
    let mut starts = Vec::new();
    for (number, (record, sent)) in call.tracks.iter().zip(&expected).enumerate() {
        let codes = recorded.channels.get(number).map_or(&[][..], |channel| channel);
        let terms = Terms {
            horizon_ns: rules.horizon_ms * 1_000_000,
            tolerance: rules.misplaced_ms_max as i64 * 8,
            lag_ns: record.late_us_max.saturating_mul(1000),
        };
        let aligned = Walk::new(sent, profile, codes, terms).run();
        starts.push(aligned.offset.zip(sent.first).map(|(offset, first)| offset - first.behind()));
        let mut verdict = verdict(recorded, number, sent, (aligned, terms.lag_ns >= BURST_NS));
        if verdict.wrong > 0
            && let Some(other) = owner(number, codes, &expected)
        {
            verdict.findings.push(format!("channel {number} holds audio of track {other}"));
        }
        if record.refused > 0 {
            verdict.findings.push(format!("the sender's system refused {} datagrams", record.refused));
        }
        tracks.push(verdict);
    }
    place(rules, call, &starts, &mut tracks, &mut findings);
    findings.extend(tail(call, recorded));
    CallVerdict {
        good: findings.is_empty() && tracks.iter().all(TrackVerdict::is_good),
        call: call.call,
        call_id: call.call_id.clone(),
        profile: call.profile.clone(),
        tracks,
        findings,
    }
}

fn verdict(
    recorded: &Recorded,
    channel: usize,
    sent: &Expected,
    (mut aligned, sender_paused): (Aligned, bool),
) -> TrackVerdict {
    let manifest = &recorded.manifest;
    let own =
        |cause| manifest.intervals.iter().any(|one| usize::from(one.track) == channel && one.cause == cause);
    let late = manifest.tracks.get(channel).map_or(0, |track| track.counters.of(Fate::Late));
    if late == 0 && !own(Cause::Late) && !sender_paused {
        // The sender was late, but the recorder does not say that this is why.
        aligned.ours += std::mem::take(&mut aligned.silence.late_sender);
    }
    let mut findings = ledger::disagreements(manifest, channel, sent, &aligned, sender_paused);
    let seconds = |position: u64| position as f64 / 8000.0;
    if let Some((from, to)) = aligned.flawed {
        findings.push(format!("flawed between {:.4} s and {:.4} s", seconds(from), seconds(to)));
    }
    let unexplained = aligned.shifts.iter().filter(|shift| !shift.explained);
    findings.extend(unexplained.take(3).map(|shift| {
        format!("moved by {} samples at {:.4} s of its audio", shift.by, seconds(shift.position))
    }));
    TrackVerdict {
        sent: sent.samples_sent(),
        right: aligned.right,
        wrong: aligned.wrong,
        extra: aligned.extra,
        unaccounted: aligned.ours,
        silence: aligned.silence,
        shifts: aligned.shifts,
        sender_paused,
        misplaced_ms: None,
        findings,
    }
}

/// Whose audio a channel holds that does not hold its own.
fn owner(channel: usize, codes: &[u8], expected: &[Expected]) -> Option<usize> {
    let others = expected.iter().enumerate().filter(|(track, _)| *track != channel);
    others
        .filter(|(_, other)| {
            let mut buffer = [0; 16];
            let mut pieces = other.pieces.iter().filter(|piece| piece.delivered && piece.samples >= 16);
            // A channel may be swapped in part: some packets, spread over the call.
            let step = (other.pieces.len() / 16).max(1);
            pieces.by_ref().step_by(step).any(|piece| {
                other.signal.fill(piece.position, &mut buffer);
                memchr::memmem::find(codes, &buffer).is_some()
            })
        })
        .map(|(track, _)| track)
        .next()
}

/// Whether the tracks lie where they belong: beside each other, and on the recording's timeline.
fn place(
    rules: &Rules,
    call: &CallRecord,
    starts: &[Option<i64>],
    tracks: &mut [TrackVerdict],
    findings: &mut Vec<String>,
) {
    let known: Vec<i64> = starts.iter().flatten().copied().collect();
    let (Some(&first), Some(&last)) = (known.iter().min(), known.iter().max()) else { return };
    for (track, start) in tracks.iter_mut().zip(starts) {
        track.misplaced_ms = start.map(|start| (start - first) as f64 / 8.0);
    }
    // The sender may have been late with one track's first packet and not with another's.
    let lag_ms = call.tracks.iter().map(|track| track.late_us_max).max().unwrap_or(0) as f64 / 1000.0;
    let allowed_ms = rules.misplaced_ms_max as f64 + lag_ms;
    let apart_ms = (last - first) as f64 / 8.0;
    if apart_ms > allowed_ms {
        findings.push(format!("tracks lie {apart_ms:.1} ms apart, {allowed_ms:.1} ms are allowed"));
    }
    // The recording's zero lies between INVITE and its answer.
    let invited = Wall::from_rfc3339(&call.invited);
    let (Some(media), Some(invited), Some(answer_ms)) = (call.media_ns, invited, call.answer_ms) else {
        return;
    };
    let since_invite = (media as f64 - invited.0 as f64) / 1e6;
    for start in [first, last] {
        let start_ms = start as f64 / 8.0;
        if start_ms > since_invite + allowed_ms || start_ms < since_invite - answer_ms - allowed_ms {
            findings.push(format!(
                "media starts {start_ms:.1} ms into the recording; it was sent {since_invite:.1} ms after INVITE, which took {answer_ms:.1} ms"
            ));
            return;
        }
    }
}

/// Whether the recording goes on beyond the call.
fn tail(call: &CallRecord, recorded: &Recorded) -> Option<String> {
    let (invited, ended) = (Wall::from_rfc3339(&call.invited)?, Wall::from_rfc3339(&call.ended)?);
    let lasted_ms = (ended.0 as f64 - invited.0 as f64) / 1e6;
    let recorded_ms = recorded.manifest.samples as f64 / 8.0;
    // Who has vanished is recorded until somebody notices; that is no flaw.
    let vanished = call.end == crate::record::End::Vanished;
    (!vanished && recorded_ms > lasted_ms + TAIL_MS_MAX).then(|| {
        format!("the recording is {recorded_ms:.0} ms long, the call was over after {lasted_ms:.0} ms")
    })
}
