//! `loadtest verify`: every sample of every recording of a run, against what was sent.
//!
//! ```text
//!   run.jsonl ─▶ per call: schedule, signal (expected) ─┐
//!   recordings ─▶ by Call-ID, opened (recorded) ────────┴▶ align ─▶ ledger ─▶ call ─▶ report
//! ```
//! A thread holds one call at a time. Leaves out waiting for the recorder: `--wait` asks the folder again until all recordings are complete.

mod align;
mod call;
mod expected;
mod ledger;
mod recorded;
mod report;
mod stretch;

use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tapehead::keys::{KeyProvider, LocalKeys};
use tapehead::recording::manifest::RecordingState;

use crate::profile::{Profile, profile_of};
use crate::record::{self, CallRecord, End};
pub use align::{Shift, Silence};
pub use call::{CallVerdict, Rules, TrackVerdict};
pub(crate) use expected::Piece;
use recorded::{Index, is_active};
pub use report::Totals;

/// Between two looks at a folder whose recordings are not complete yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A folder in motion is looked at so often at least.
const LOOKS_MIN: u32 = 4;
/// How often the progress line is written.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `verify`.
#[derive(clap::Args)]
#[command(after_help = "\
Samples right are as sent and in their place. Wrong, extra and unaccounted ones are the recorder's; so is a recording missing or too many, a track
out of its place, and a manifest that says otherwise. Silence is accounted for if it was lost, late, silent or held on purpose.
Exit codes: 0 nothing is wrong; 1 something is; 2 the run, the key or the folder can't be read.")]
pub struct Args {
    /// The recorder's folder of recordings
    #[arg(long, value_name = "DIR")]
    recordings: PathBuf,
    /// The folder that the run has left
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// The recorder's master key file
    #[arg(long, value_name = "FILE", default_value = "tapehead.key")]
    key: PathBuf,
    /// One JSON object per call, and one of totals, on standard output
    #[arg(long)]
    json: bool,
    /// Wait so many seconds for recordings to be complete
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// The recorder's reorder horizon, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200)]
    horizon_ms: u64,
    /// How far tracks may lie from where they belong, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 40)]
    misplaced_ms: u64,
    /// Threads [default: one per core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
}

/// What is verified, and how.
pub struct Verification<'a> {
    /// The recorder's folder of recordings.
    pub recordings: &'a Path,
    /// The folder of the run.
    pub run: &'a Path,
    /// What opens the recordings.
    pub keys: &'a dyn KeyProvider,
    /// How long recordings may take to be complete.
    pub wait: Duration,
    /// The recorder's reorder horizon, in milliseconds.
    pub horizon_ms: u64,
    /// How far tracks may lie from where they belong, in milliseconds.
    pub misplaced_ms: u64,
    /// Threads.
    pub threads: usize,
}

/// The verdict on a run.
pub struct Verified {
    /// All together.
    pub totals: Totals,
    /// Each call that should have a recording.
    pub calls: Vec<CallVerdict>,
}

/// What the verifier has to know of a run's plan.
#[derive(serde::Deserialize)]
struct Plan {
    #[serde(deserialize_with = "seed")]
    seed: u64,
    #[serde(rename = "profile", default)]
    profiles: Vec<Profile>,
}

/// A number, or the text of one that TOML's 63 bits can't hold.
fn seed<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Seed {
        Number(u64),
        Text(String),
    }
    match serde::Deserialize::deserialize(from)? {
        Seed::Number(seed) => Ok(seed),
        Seed::Text(text) => {
            text.parse().map_err(|_| serde::de::Error::custom("a seed is a number below 2^64"))
        }
    }
}

impl Plan {
    fn parse(text: &str) -> Result<Plan, String> {
        let plan: Plan = toml::from_str(text).map_err(|why| why.to_string())?;
        plan.profiles.iter().try_for_each(Profile::check)?;
        Ok(plan)
    }
}

/// Runs the command. Exit code 0 only if nothing is wrong, missing or unaccounted for.
pub fn run(args: Args) -> ExitCode {
    let keys = match LocalKeys::open(&args.key) {
        Ok(keys) => keys,
        Err(why) => {
            eprintln!("loadtest: {why}");
            return ExitCode::from(2);
        }
    };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let verification = Verification {
        recordings: &args.recordings,
        run: &args.run,
        keys: &keys,
        wait: Duration::from_secs(args.wait),
        horizon_ms: args.horizon_ms,
        misplaced_ms: args.misplaced_ms,
        threads: args.threads.unwrap_or_else(cores),
    };
    match verification.verify() {
        Ok(verified) => {
            verified.tell(args.json);
            if verified.totals.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("loadtest: {why}");
            ExitCode::from(2)
        }
    }
}

impl Verified {
    /// Prints the verdict: words, or JSON lines.
    pub fn tell(&self, json: bool) {
        if json {
            let line = |text: serde_json::Result<String>| println!("{}", text.unwrap_or_default());
            self.calls.iter().for_each(|call| line(serde_json::to_string(call)));
            return line(serde_json::to_string(&self.totals));
        }
        report::bad_calls(&self.calls).iter().for_each(|bad| println!("{bad}"));
        self.totals.run_findings.iter().for_each(|finding| println!("BAD run: {finding}"));
        println!("{}", self.totals.text());
    }
}

/// The run that a Call-ID is of, if it is one of a run with this seed: what tells two runs of the same seed apart in one folder.
fn run_of(call_id: &str, seed: u64) -> Option<&str> {
    let (number, run) = call_id.strip_prefix(&format!("lt-{seed:x}-"))?.split_once('-')?;
    let (run, _) = run.split_once('@')?;
    number.parse::<u64>().ok().map(|_| run)
}

/// Whether a call should have left a recording.
fn is_recorded(call: &CallRecord) -> bool {
    !matches!(call.end, End::Refused(_) | End::BadAnswer)
}

impl Verification<'_> {
    /// Verifies the run.
    pub fn verify(&self) -> Result<Verified, String> {
        let path = self.run.join(record::PLAN);
        let text = std::fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        let plan = Plan::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        let calls = record::read(self.run).map_err(|why| why.to_string())?;
        if !self.recordings.is_dir() {
            return Err(format!("{}: no folder of recordings", self.recordings.display()));
        }
        let index = self.index(&calls, &plan);
        let found = index.by_call_id.values().map(Vec::len).sum::<usize>().max(1);
        let mut totals = Totals {
            recordings_foreign: index.foreign,
            manifest_bytes_mean: index.manifest_bytes as f64 / found as f64,
            ..Totals::default()
        };
        let mut expected: Vec<&CallRecord> = calls.iter().filter(|call| is_recorded(call)).collect();
        totals.refused = (calls.len() - expected.len()) as u64;
        // The dialog of a client that has vanished lives on, and so does its recording.
        let open = |call: &CallRecord| {
            let folders = index.by_call_id.get(&call.call_id);
            call.end == End::Vanished && folders.is_some_and(|at| at.iter().any(|at| is_active(at)))
        };
        expected.retain(|call| !open(call));
        totals.open = (calls.len() - expected.len()) as u64 - totals.refused;
        self.count_recordings(&calls, &index, &mut totals);
        let verdicts = self.judge_all(&plan, &expected, &index);
        verdicts.iter().for_each(|verdict| totals.add(verdict));
        totals.finish();
        Ok(Verified { totals, calls: verdicts })
    }

    /// Finds the recordings, again and again until all are there or the time is up.
    fn index(&self, calls: &[CallRecord], plan: &Plan) -> Index {
        let runs: HashSet<&str> = calls.iter().filter_map(|call| run_of(&call.call_id, plan.seed)).collect();
        let ours = |call_id: &str| run_of(call_id, plan.seed).is_some_and(|run| runs.contains(run));
        let until = Instant::now() + self.wait;
        let mut looks = 0;
        loop {
            let mut shown = Progress::new("recordings found", 0);
            let index = Index::read(self.recordings, ours, self.keys, || shown.step());
            let there = |call: &CallRecord| {
                let folders = index.by_call_id.get(&call.call_id);
                folders.is_some_and(|at| at.iter().all(|at| !is_active(at)))
            };
            let complete = calls.iter().filter(|call| is_recorded(call)).all(there);
            let again = looks < LOOKS_MIN && index.moving > 0;
            if complete || !again && Instant::now() >= until {
                return index;
            }
            looks += 1;
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn count_recordings(&self, calls: &[CallRecord], index: &Index, totals: &mut Totals) {
        for call in calls {
            let there = index.by_call_id.get(&call.call_id).map_or(0, Vec::len) as u64;
            let due = u64::from(is_recorded(call));
            totals.recordings_missing += due.saturating_sub(there);
            // Nobody knows whether a call whose answer could not be used was recorded.
            if call.end != End::BadAnswer {
                totals.recordings_extra += there.saturating_sub(due);
            }
        }
        let known: HashSet<&str> = calls.iter().map(|call| call.call_id.as_str()).collect();
        for (call_id, folders) in &index.by_call_id {
            if !known.contains(call_id.as_str()) {
                totals.recordings_extra += folders.len() as u64;
                totals
                    .run_findings
                    .push(format!("{call_id}: a recording of a call that the run does not know"));
            }
        }
        for (folder, why) in &index.unreadable {
            totals.run_findings.push(format!("{}: {why}", folder.display()));
        }
    }

    fn judge_all(&self, plan: &Plan, calls: &[&CallRecord], index: &Index) -> Vec<CallVerdict> {
        let next = AtomicUsize::new(0);
        let verdicts = Mutex::new(Vec::with_capacity(calls.len()));
        let shown = Mutex::new(Progress::new("calls verified", calls.len()));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, calls.len().max(1)) {
                scope.spawn(|| {
                    while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let verdict = self.judge(plan, call, index);
                        verdicts.lock().expect("no thread panics with it").push(verdict);
                        shown.lock().expect("no thread panics with it").step();
                    }
                });
            }
        });
        let mut verdicts = verdicts.into_inner().expect("no thread panics with it");
        verdicts.sort_by_key(|verdict| verdict.call);
        verdicts
    }

    fn judge(&self, plan: &Plan, call: &CallRecord, index: &Index) -> CallVerdict {
        let profile = profile_of(&plan.profiles, plan.seed, call.call);
        let Some(profile) = profile.filter(|profile| profile.name == call.profile) else {
            let finding = format!("the plan gives it another profile than {:?}", call.profile);
            return CallVerdict::bad(call, finding);
        };
        let Some(folder) = index.by_call_id.get(&call.call_id).and_then(|folders| folders.first()) else {
            return CallVerdict::bad(call, "its recording is MISSING".to_owned());
        };
        let rules =
            Rules { seed: plan.seed, horizon_ms: self.horizon_ms, misplaced_ms_max: self.misplaced_ms };
        match recorded::open(folder, self.keys, profile.codec) {
            Ok(mut recorded) => {
                let state = recorded.manifest.state;
                if is_active(folder) {
                    recorded.damage.push("the recording is still being written".to_owned());
                }
                if state != RecordingState::Complete && call.end != End::Vanished {
                    recorded.damage.push(format!("the recording is {state:?}"));
                }
                call::judge(&rules, call, profile, &recorded)
            }
            Err(why) => CallVerdict::bad(call, format!("{}: {why}", folder.display())),
        }
    }
}

/// A line on the terminal that is written anew.
struct Progress {
    what: &'static str,
    of: usize,
    done: usize,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    fn new(what: &'static str, of: usize) -> Progress {
        let now = Instant::now();
        Progress { what, of, done: 0, started: now, shown: now, terminal: std::io::stderr().is_terminal() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.terminal && self.shown.elapsed() >= PROGRESS_INTERVAL {
            self.shown = Instant::now();
            let of = if self.of > 0 { format!(" of {}", self.of) } else { String::new() };
            eprint!("\r{}{of} {}, {:.0} s ", self.done, self.what, self.started.elapsed().as_secs_f64());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            eprint!("\r{:60}\r", "");
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
