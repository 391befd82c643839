//! From BYE to a durable recording, against the real binary with many calls up: until the folder is complete, synced and under its day.
//!
//! - `in turn`: some calls more end, 20 per second, while the others go on; percentiles of the time each takes.
//! - `all at once`: the others hang up as fast as they can, well within a second; percentiles of the time from the first BYE.
//!
//! `cargo bench --bench durable`; with `-- --smoke` fewer calls, whose percentile is asserted. Option: `--calls N`. Recordings go to the disk below
//! target/. The calls are silent: what a recording of silence takes to write and sync is what any takes.

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::Recorder;
use tapehead::sip::Transport;
use tapehead::src_client::{Call, Law, Party};

/// What the 99th percentile may be.
const GOAL: Duration = Duration::from_secs(1);
/// The same of a short run on a busy machine.
const SMOKE: Duration = Duration::from_secs(4);
/// After the last BYE all recordings are durable within this time, or something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two calls that end in turn.
const PACE: Duration = Duration::from_millis(50);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let smoke = args.iter().any(|arg| arg == "--smoke");
    let said = args.iter().position(|arg| arg == "--calls").and_then(|at| args.get(at + 1)?.parse().ok());
    let calls: u64 = said.unwrap_or(if smoke { 100 } else { 2000 });
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk");
    let in_turn = (calls / 4).min(400);
    let up = calls + in_turn;
    let ports = format!("12000-{}", 12_000 + up * 4 + 399);
    let variables = [("TAPEHEAD_RTP_PORTS", ports.as_str()), ("TAPEHEAD_SHARDS", "1")];
    let recorder = Recorder::start_with(home.path(), &format!("calls_max = {}", up + 100), &variables);

    let others: Vec<Call> = (0..calls).map(|_| place(&recorder)).collect();
    let (mut known, mut ending) = (running(&recorder), Vec::new());
    for _ in 0..in_turn {
        let call = place(&recorder);
        // Its folder is there before its answer.
        let now = running(&recorder);
        let new = now.difference(&known).next().expect("a folder for each call").clone();
        ending.push((call, new));
        known = now;
    }
    let in_turn = end_in_turn(&recorder, ending);
    let at_once = end_at_once(&recorder, others);
    for p99 in [in_turn, at_once] {
        assert!(!smoke || p99 <= SMOKE, "99 of 100 recordings are durable after {p99:?}, {SMOKE:?} allowed");
    }
}

fn place(recorder: &Recorder) -> Call {
    let party = |name, aor| Party { name, aor, law: Law::Mulaw };
    let parties = [party("Ada", "sip:ada@example.com"), party("Bob", "sip:bob@example.com")];
    Call::place(Transport::Udp, recorder.sip, &parties).expect("the recorder takes it")
}

/// The recordings that run, by their folders.
fn running(recorder: &Recorder) -> HashSet<String> {
    let active = std::fs::read_dir(recorder.recordings().join("active")).expect("calls are up");
    // Beside the folders there is the recorder's lock.
    let folders = active.map(|entry| entry.expect("readable")).filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Hangs up one after the other; the 99th percentile of the time until each recording is durable.
fn end_in_turn(recorder: &Recorder, ending: Vec<(Call, String)>) -> Duration {
    let names: HashSet<String> = ending.iter().map(|(_, name)| name.clone()).collect();
    let hang_up = || {
        let each = ending.into_iter().map(|(call, name)| {
            let said = Instant::now();
            call.hang_up().expect("the recorder hangs up");
            std::thread::sleep(PACE.saturating_sub(said.elapsed()));
            (name, said)
        });
        each.collect::<Vec<_>>()
    };
    let (hung_up, durable) = watched(recorder, names, hang_up);
    let time = |(name, said): &(String, Instant)| durable[name].saturating_duration_since(*said);
    tell("in turn", hung_up.iter().map(time).collect())
}

/// Everybody else hangs up at once, from a few threads; the 99th percentile of the time from the first BYE.
fn end_at_once(recorder: &Recorder, mut calls: Vec<Call>) -> Duration {
    let (count, first) = (calls.len(), Instant::now());
    let hang_up = || {
        std::thread::scope(|scope| {
            while !calls.is_empty() {
                let some = calls.split_off(calls.len().saturating_sub(count / 8 + 1));
                scope.spawn(|| {
                    some.into_iter().for_each(|call| call.hang_up().expect("the recorder hangs up"))
                });
            }
        });
        first.elapsed()
    };
    let (said, durable) = watched(recorder, running(recorder), hang_up);
    println!("at once: {count} BYEs answered within {said:.1?}");
    tell("at once", durable.values().map(|at| at.saturating_duration_since(first)).collect())
}

/// Runs `end`; with what it has to tell, when each recording of these names was durable.
fn watched<T>(
    recorder: &Recorder,
    names: HashSet<String>,
    end: impl FnOnce() -> T,
) -> (T, HashMap<String, Instant>) {
    let (log, stop) = (recorder.home.join("log"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&log, &names, &stop));
        let told = end();
        let last = Instant::now();
        while !watcher.is_finished() && last.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        let durable = watcher.join().expect("it runs to its end");
        assert_eq!(durable.len(), names.len(), "durable within {PATIENCE:?}");
        (told, durable)
    })
}

/// Prints percentiles; the 99th.
fn tell(how: &str, mut took: Vec<Duration>) -> Duration {
    took.sort();
    let percentile = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    let ms = |percent| percentile(percent).as_secs_f64() * 1e3;
    println!(
        "{how}: {} recordings durable after {:.0} ms (median), {:.0} ms (p99), {:.0} ms (longest)",
        took.len(),
        ms(50),
        ms(99),
        ms(100)
    );
    let verdict = if percentile(99) <= GOAL { "reached" } else { "NOT reached" };
    println!("goal: p99 under {GOAL:?}, {verdict}");
    percentile(99)
}

/// When the log has told of each recording that it is finished.
fn watch(log: &Path, names: &HashSet<String>, stop: &AtomicBool) -> HashMap<String, Instant> {
    let mut lines = BufReader::new(File::open(log).expect("the log is there"));
    let (mut seen, mut line) = (HashMap::new(), String::new());
    while seen.len() < names.len() && !stop.load(Ordering::Relaxed) {
        // A line may be half written: it is read on.
        if lines.read_line(&mut line).expect("readable") == 0 || !line.ends_with('\n') {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        if line.contains("recording finished")
            && let Some((_, rest)) = line.split_once("recording=")
        {
            let name = rest.split_whitespace().next().unwrap_or_default();
            if names.contains(name) {
                seen.insert(name.to_owned(), Instant::now());
            }
        }
        line.clear();
    }
    seen
}
