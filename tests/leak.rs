//! Calls set up and torn down, a hundred thousand of them, leave memory, sockets, ports, timers and transactions where they were.
//!
//! Without optimisation a few thousand, unless LEAK_CALLS says otherwise; `check` runs it with. Recordings go to memory where there is
//! such a file system: it is not the disk that is tried here, and each is removed as soon as it is finished.

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::Recorder;
use common::flood::{Flood, Load};
use serde_json::Value;
use tapehead::sip::Transport;

/// What the allocator may keep beyond that.
const GROWTH_KIB_MAX: u64 = 8 * 1024;
/// Calls at once.
const WINDOW: usize = 400;
/// Calls per second: what a shard keeps up with beside its client on two cores.
const PER_SECOND: u64 = 700;
/// After the last call its transactions live on for 32 s (RFC 3261 section 17.2), and ports rest.
const AFTERMATH: Duration = Duration::from_secs(45);

fn calls() -> u64 {
    let said = std::env::var("LEAK_CALLS").ok().and_then(|calls| calls.parse().ok());
    said.unwrap_or(if cfg!(debug_assertions) { 4_000 } else { 100_000 })
}

fn home() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder of our own")
}

/// What must be as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Held {
    calls: u64,
    dialogs: u64,
    transactions: u64,
    call_timers: u64,
    port_pairs: u64,
    blocks_free: u64,
    jobs: u64,
    /// Open files and sockets.
    files: usize,
    threads: usize,
}

fn held(recorder: &Recorder) -> Held {
    let entries =
        |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", recorder.pid())).expect("it runs").count();
    // Before we are a client ourselves.
    let (files, threads) = (entries("fd"), entries("task"));
    let run = common::tapehead(&recorder.home, ["ctl", "status", "--json"]);
    assert!(run.status.success(), "{}", common::said(&run));
    let status: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number, not {value}"));
    let shards = status["shards"].as_array().expect("shards");
    let sum = |name: &str| shards.iter().map(|shard| number(&shard[name])).sum();
    Held {
        calls: number(&status["calls"]),
        dialogs: number(&status["sip"]["dialogs"]),
        transactions: number(&status["sip"]["transactions"]),
        call_timers: number(&status["sip"]["call_timers"]),
        port_pairs: sum("port_pairs"),
        blocks_free: sum("blocks_free"),
        jobs: number(&status["jobs"]),
        files,
        threads,
    }
}

/// Waits until everything that calls had is given back, or as long as that may take.
fn settled(recorder: &Recorder) -> Held {
    let until = Instant::now() + AFTERMATH;
    loop {
        let held = held(recorder);
        let idle =
            (held.calls, held.dialogs, held.transactions, held.call_timers, held.jobs) == (0, 0, 0, 0, 0);
        if idle || Instant::now() > until {
            // The shards tell of themselves once a second.
            std::thread::sleep(Duration::from_millis(2_500));
            return self::held(recorder);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn resident_kib(recorder: &Recorder) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", recorder.pid())).expect("it runs");
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).expect("Linux says so");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}

/// Removes finished recordings, not the folders of their days, which the recorder may be about to use.
fn sweep(folder: &Path, depth: usize) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| sweep_one(entry.path(), depth)).sum()
}

fn sweep_one(path: PathBuf, depth: usize) -> usize {
    match depth {
        _ if path.ends_with("active") => 0,
        3 => usize::from(std::fs::remove_dir_all(path).is_ok()),
        _ => sweep(&path, depth + 1),
    }
}

#[test]
fn calls_that_have_ended_leave_nothing_behind() {
    let home = home();
    let calls = calls();
    let variables = [
        // Ports rest for 2 s after each call.
        ("TAPEHEAD_RTP_PORTS", "10000-25999"),
        ("TAPEHEAD_SHARD_BUSY_MAX_PERCENT", "100"),
        ("TAPEHEAD_CALLS_MAX", "1200"),
        ("TAPEHEAD_LOG_LEVEL", "warn"),
    ];
    let recorder = Recorder::start_with(home.path(), "", &variables);
    let started = Instant::now();
    let mut swept = 0;
    let mut place = |calls: u64| {
        for (transport, share) in [(Transport::Udp, calls / 2), (Transport::Tcp, calls - calls / 2)] {
            let mut flood = Flood::new(transport, recorder.sip, 2_048);
            let (mut done, mut refused) = (0, 0);
            // A call that has hung up is over once its file is; until then others may be refused, which has to leave nothing behind either.
            while done < share {
                let load = Load { calls: share - done, window: WINDOW, per_second: Some(PER_SECOND) };
                let outcome = flood.run(load, || swept += sweep(&recorder.recordings(), 0));
                (done, refused) = (done + outcome.done, refused + outcome.refused);
                assert!(refused < share, "{refused} of {share} calls refused: {}", recorder.log());
            }
            println!(
                "{share} calls over {transport:?} at {:?}, {refused} refused on the way",
                started.elapsed()
            );
        }
    };
    // The first half brings pools, tables and the allocator to what they need at this rate of calls; the second must add nothing.
    place(calls / 2);
    let (before, resident_before) = (settled(&recorder), resident_kib(&recorder));
    place(calls - calls / 2);
    let (after, resident_after) = (settled(&recorder), resident_kib(&recorder));
    swept += sweep(&recorder.recordings(), 0);
    println!(
        "{calls} calls in {:?}: {resident_before} KiB resident before, {resident_after} after; {after:?}",
        started.elapsed()
    );
    assert_eq!(after, before, "every call has given back what it had");
    assert_eq!(
        (after.calls, after.dialogs, after.transactions, after.call_timers, after.port_pairs),
        (0, 0, 0, 0, 0)
    );
    assert!(
        resident_after <= resident_before + GROWTH_KIB_MAX,
        "{} KiB more than after the first half",
        resident_after - resident_before
    );
    assert_eq!(swept as u64, calls, "every call became a recording");
}
