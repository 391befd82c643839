//! Calls per second on one control core: INVITE with a body of 2 KB, 200, ACK, BYE, 200, over UDP and over TCP, against the real
//! binary.
//!
//! For each transport:
//! - `paced`: 1,000 calls per second; the CPU time of the control thread per call, and the answer times.
//! - `closed loop`: as many as there are ports for; calls per second, and how busy the control thread was.
//! - `2,000/s`: the same at twice the pace, for as long as there are ports (after a call they rest).
//! - `sipp`: the same paced calls by SIPp, if it is installed, and the CPU time that SIPp itself needs per call: both share the machine.
//!
//! `cargo bench --bench calls`; with `-- --smoke` a short run whose result is checked. Options: `--seconds N`, `--only udp|tcp`.
//! Recordings go to memory where there is such a file system, for it is signalling that is measured. The control thread has the
//! last core to itself; client, shard and pool share the others.

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::flood::{Flood, Load, Outcome};
use common::{Recorder, tapehead};
use tapehead::sip::Transport;
use tapehead::sys::affinity;

/// The rate of the paced run.
const PACE: u64 = 1_000;
/// Calls at once in the closed loop.
const WINDOW: usize = 20;
/// Calls per second that one control core is to take.
const GOAL: u64 = 2_000;
/// Calls for which there are ports without waiting for those that rest after a call.
const ROOM: u64 = 3_600;
/// What the control thread may need per call for 2,000 calls per second on its core.
const CALL_CPU_MAX: Duration = Duration::from_micros(500);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let smoke = args.iter().any(|arg| arg == "--smoke");
    let seconds = after("--seconds").and_then(|s| s.parse().ok()).unwrap_or(if smoke { 3 } else { 10 });
    let only = after("--only");
    println!(
        "transport  run          calls  refused  calls/s  control µs/call  shard  workers  pool  busy %  p50 ms  p99 ms  resent"
    );
    for transport in [Transport::Udp, Transport::Tcp] {
        if only.as_ref().is_some_and(|only| !only.eq_ignore_ascii_case(transport.as_str())) {
            continue;
        }
        let paced = measure(transport, Load { calls: PACE * seconds, window: 900, per_second: Some(PACE) });
        paced.print(transport, "paced");
        let closed = measure(transport, Load { calls: ROOM, window: WINDOW, per_second: None });
        closed.print(transport, "closed loop");
        let fast = measure(transport, Load { calls: ROOM, window: 900, per_second: Some(GOAL) });
        fast.print(transport, "2,000/s");
        sipp(transport, PACE * seconds);
        if smoke {
            assert_eq!(paced.outcome.refused, 0, "no call is refused");
            assert!(closed.outcome.done > 0, "calls get through");
            assert!(
                paced.cpu[0] / paced.outcome.done as u32 <= CALL_CPU_MAX,
                "the control thread is too slow"
            );
        }
    }
}

/// Whose CPU time is told, by the beginning of their names: the control thread, the shard, the workers of its ring, the pool.
const THREADS: [&str; 4] = ["control", "shard", "iou-wrk", "pool"];

struct Figures {
    outcome: Outcome,
    /// CPU time of each of [`THREADS`].
    cpu: [Duration; 4],
    /// Calls refused, by reason, as the recorder counts them: those that warmed it up are among them.
    reasons: serde_json::Value,
}

impl Figures {
    fn print(&self, transport: Transport, run: &str) {
        let Outcome { done, refused, resent, elapsed, .. } = self.outcome;
        let ms = |percent| {
            let mut outcome = Outcome { answers: self.outcome.answers.clone(), ..Outcome::default() };
            outcome.percentile(percent).as_secs_f64() * 1e3
        };
        let [control, shard, workers, pool] =
            self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / done.max(1) as f64);
        println!(
            "{:<10} {run:<12} {done:>5}  {refused:>7}  {:>7.0}  {control:>15.1}  {shard:>5.0}  {workers:>7.0}  {pool:>4.0}  {:>6.1}  {:>6.2}  {:>6.2}  {resent:>6}",
            transport.as_str(),
            done as f64 / elapsed.as_secs_f64(),
            self.cpu[0].as_secs_f64() / elapsed.as_secs_f64() * 100.0,
            ms(50),
            ms(99),
        );
        if refused > 0 {
            println!("{:<10} {run:<12} refused: {}", transport.as_str(), self.reasons);
        }
    }
}

fn recorder(home: &Path) -> Recorder {
    // Ports rest for 2 s after each call; the shard shares its core with the client, so it may be as busy as it likes.
    let variables = [
        ("TAPEHEAD_PIN", "true"),
        ("TAPEHEAD_RTP_PORTS", "10000-25999"),
        // A call counts until its files are closed, a good deal longer than its dialog.
        ("TAPEHEAD_CALLS_MAX", "4000"),
        ("TAPEHEAD_SHARD_BUSY_MAX_PERCENT", "100"),
    ];
    Recorder::start_with(home, "", &variables)
}

fn home() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder of our own")
}

fn measure(transport: Transport, load: Load) -> Figures {
    let home = home();
    let recorder = recorder(home.path());
    let mut flood = Flood::new(transport, recorder.sip, 2_048);
    // On a thread of its own: what this one starts may use every core.
    let run = move || {
        affinity::pin_thread(client_core()).expect("an allowed core");
        // Tables and caches grow, the shard's pool is touched.
        flood.run(Load { calls: 200, window: 50, per_second: None }, || ());
        let before = THREADS.map(|name| thread_cpu(&recorder, name));
        let outcome = flood.run(load, || ());
        let mut cpu = THREADS.map(|name| thread_cpu(&recorder, name));
        // A worker of the ring may have ended meanwhile, and its time with it.
        cpu.iter_mut().zip(before).for_each(|(cpu, before)| *cpu = cpu.saturating_sub(before));
        Figures { outcome, cpu, reasons: refusals(&recorder.home) }
    };
    std::thread::spawn(run).join().expect("the client does not panic")
}

/// What the recorder has refused, by reason.
fn refusals(home: &Path) -> serde_json::Value {
    let status = tapehead(home, ["ctl", "status", "--json"]);
    let status: Option<serde_json::Value> = serde_json::from_slice(&status.stdout).ok();
    status.map(|status| status["refusals"].clone()).unwrap_or_default()
}

/// Where the client runs: with the shard and the pool, apart from the control thread, which has the last core.
fn client_core() -> usize {
    affinity::allowed_cores().expect("the kernel tells")[0]
}

/// CPU time of the threads of the recorder whose name begins so.
fn thread_cpu(recorder: &Recorder, name: &str) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", recorder.pid())).expect("it runs");
    let of = |task: std::path::PathBuf| {
        let comm = std::fs::read_to_string(task.join("comm")).ok()?;
        let spent = std::fs::read_to_string(task.join("schedstat")).ok()?;
        let nanos: u64 = spent.split_whitespace().next()?.parse().ok()?;
        comm.starts_with(name).then_some(nanos)
    };
    let nanos: u64 = tasks.flatten().filter_map(|task| of(task.path())).sum();
    Duration::from_nanos(nanos)
}

/// The same calls by SIPp, and what they cost it.
fn sipp(transport: Transport, calls: u64) {
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/target/sipp/sipp");
    let program = [fetched, "sipp"].into_iter().find(|name| Command::new(name).arg("-v").output().is_ok());
    let Some(program) = program else {
        return println!("{:<10} sipp         is not installed", transport.as_str());
    };
    let home = home();
    let recorder = recorder(home.path());
    let scenario = home.path().join("uac.xml");
    std::fs::write(&scenario, SCENARIO).expect("the folder is ours");
    let mut child = Command::new("taskset")
        .args(["-c", &client_core().to_string(), program, "-sf"])
        .arg(&scenario)
        .args(["-m", &calls.to_string(), "-r", &PACE.to_string(), "-l", "900", "-nostdin"])
        .args(["-t", if transport == Transport::Udp { "u1" } else { "t1" }, "-i", "127.0.0.1"])
        .args(["-timeout", "60", "-timeout_error", &recorder.sip.to_string()])
        .current_dir(home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was there a moment ago");
    let (path, spent, stop) = (
        format!("/proc/{}/schedstat", child.id()),
        Arc::new(std::sync::Mutex::new(0u64)),
        Arc::new(AtomicBool::new(false)),
    );
    // The figure is gone with the process: it is read until then.
    let watch = {
        let (spent, stop) = (Arc::clone(&spent), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let now = std::fs::read_to_string(&path)
                    .ok()
                    .and_then(|text| text.split_whitespace().next()?.parse().ok());
                now.into_iter().for_each(|now| *spent.lock().expect("nobody panics") = now);
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let (before, started) = (thread_cpu(&recorder, "control"), Instant::now());
    let status = child.wait().expect("it is our child");
    let elapsed = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    watch.join().expect("it only reads");
    let control = (thread_cpu(&recorder, "control") - before).as_nanos() as f64 / 1e3 / calls as f64;
    let own = *spent.lock().expect("nobody panics") as f64 / 1e3 / calls as f64;
    println!(
        "{:<10} sipp         {calls:>5}  {status}  {:>7.0}/s  control {control:.1} µs/call, SIPp itself {own:.1} µs/call: ratio {:.2}",
        transport.as_str(),
        calls as f64 / elapsed.as_secs_f64(),
        control / own
    );
}

/// A call without media, with a body of 2 KB.
const SCENARIO: &str = include_str!("calls_uac.xml");
