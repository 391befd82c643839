//! `tapehead demo`: a recorder on loopback, two calls through real sockets over a network on a bad day, and every sample checked.
//!
//! Leaves out nothing that `serve` does: it is the same recorder, in this process, with its files in a folder of its own.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::exit::Exit;
use crate::config::{Machine, Plan, Raw};
use crate::demo::cast::{CASTS, Cast, SECONDS, feeds};
use crate::demo::compare::{Heard, Verdict, compare};
use crate::demo::picture::{Lane, draw};
use crate::demo::recorded::Recorded;
use crate::demo::report::{CallReport, Report, TrackReport};
use crate::keys::LocalKeys;
use crate::media::{Cause, Interval, SampleFormat, alaw_to_linear, mulaw_to_linear};
use crate::recorder::{Finished, Recorder};
use crate::sip::Transport;
use crate::src_client::{Call, Script, pace};
use crate::store::{self, OsDisk};
use crate::sys::clock;

/// How long after BYE a recording may take to be final.
const FINAL_WITHIN: Duration = Duration::from_secs(20);

/// Arguments of `demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object instead of words
    #[arg(long)]
    json: bool,
    /// Where to put the folder of this run
    #[arg(long, value_name = "FOLDER", default_value = "./tapehead-demo")]
    folder: PathBuf,
    /// What the network's faults are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the demonstration; fails unless every sample was right or accounted for.
pub fn run(args: Args) -> ExitCode {
    match demonstrate(&args) {
        Ok(report) => {
            let said = if args.json { serde_json::json!(report).to_string() } else { report.to_string() };
            print_line(&said);
            if report.ok { Exit::Ok.into() } else { Exit::Failed.into() }
        }
        Err(why) => {
            eprintln!("tapehead: the demonstration could not be given: {why}");
            Exit::Failed.into()
        }
    }
}

/// A call of the cast, under way.
struct Running {
    cast: Cast,
    call: Call,
    scripts: [Script; 2],
}

fn demonstrate(args: &Args) -> Result<Report, Box<dyn Error>> {
    let folder = fresh_folder(&args.folder)?;
    let (told, finished) = mpsc::channel();
    let recorder = Recorder::start(plan(&folder)?, Some(told))?;
    let (udp, tcp) = (first(&recorder.udp)?, first(&recorder.tcp)?);
    say(args, &format!("A recorder listens on {udp} over UDP and on {tcp} over TCP ({}).", recorder.ring));
    say(args, "Two calls are placed, two voices each; on their way packets get lost, overtaken and doubled.");
    let ring = recorder.ring;
    let running = place(udp, tcp, args.seed)?;
    send(&running)?;
    let called: Vec<_> = running
        .into_iter()
        .map(|Running { cast, call, scripts }| {
            let call_id = call.call_id.clone();
            call.hang_up().map(|()| (cast, call_id, scripts))
        })
        .collect::<Result<_, _>>()?;
    let done = (0..called.len()).map(|_| finished.recv_timeout(FINAL_WITHIN));
    let done: Vec<Finished> =
        done.collect::<Result<_, _>>().map_err(|_| "a recording was not final in time")?;
    recorder.stopper().stop();
    recorder.join().map_err(|_| "the recorder panicked")?;
    judge(args, folder, ring, &called, &done)
}

/// A folder that nobody has used: one per run, numbered.
fn fresh_folder(parent: &Path) -> Result<PathBuf, String> {
    let failed = |why| format!("{}: {why}", parent.display());
    fs::create_dir_all(parent).map_err(failed)?;
    for number in 1.. {
        let folder = parent.join(number.to_string());
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(why) if why.kind() == ErrorKind::AlreadyExists => continue,
            Err(why) => return Err(failed(why)),
        }
    }
    Err("no number is left".to_owned())
}

/// The embedded defaults, but on loopback, unpinned, small (an ordinary user may lock 8 MiB), and nothing outside `folder`.
fn plan(folder: &Path) -> Result<Plan, Box<dyn Error>> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let raw = Raw::default()
        .with("sip.listen", "udp:127.0.0.1:0,tcp:127.0.0.1:0")
        .with("rtp.bind", "127.0.0.1")
        .with("pin", "false")
        .with("calls_max", "16")
        .with("drain_seconds", "0")
        .with("recordings.dir", &path("recordings"))
        .with("recordings.free_mb_min", "16")
        .with("keys.master_file", &path("master.key"));
    let cores = std::thread::available_parallelism()?.get();
    Ok(Plan::check(&raw, Machine { cores })?)
}

fn first(addresses: &[SocketAddr]) -> Result<SocketAddr, &'static str> {
    addresses.first().copied().ok_or("the recorder listens nowhere")
}

fn say(args: &Args, what: &str) {
    if !args.json {
        print_line(what);
    }
}

/// A reader that has seen enough and closed the pipe is no error.
fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn place(udp: SocketAddr, tcp: SocketAddr, seed: u64) -> Result<Vec<Running>, Box<dyn Error>> {
    let place = |(cast, number): (Cast, u64)| {
        let to = if cast.transport == Transport::Udp { udp } else { tcp };
        Ok(Running { cast, call: cast.place(to)?, scripts: cast.scripts(seed + number) })
    };
    CASTS.into_iter().zip(0..).map(place).collect()
}

/// Sends everything in real time, with a progress bar on a terminal.
fn send(running: &[Running]) -> Result<(), Box<dyn Error>> {
    let mut all = Vec::new();
    for (number, Running { call, scripts, .. }) in (0..).zip(running) {
        all.extend(feeds(call, scripts, Duration::from_millis(13) * number)?);
    }
    let style = ProgressStyle::with_template("  recording {bar:40} {msg}")?;
    let bar = ProgressBar::new(u64::from(SECONDS) * 1000).with_style(style);
    let mut shown = u128::MAX;
    pace::run(&mut all, clock::mono(), &AtomicBool::new(false), |elapsed| {
        // Ten times a second is enough to look at.
        if elapsed.as_millis() / 100 != shown {
            shown = elapsed.as_millis() / 100;
            bar.set_position(elapsed.as_millis() as u64);
            bar.set_message(format!("{:.1} of {SECONDS} s", elapsed.as_secs_f64()));
        }
    });
    bar.finish_and_clear();
    Ok(())
}

/// A call that was placed, sent and hung up.
type Called = (Cast, String, [Script; 2]);

fn judge(
    args: &Args,
    folder: PathBuf,
    ring: &str,
    called: &[Called],
    done: &[Finished],
) -> Result<Report, Box<dyn Error>> {
    let key = folder.join("master.key");
    let keys = LocalKeys::open(&key)?;
    let mut opened = Vec::new();
    for Finished { folder, .. } in done {
        opened.push((folder, Recorded::open(folder, &keys)?));
    }
    let mut calls = Vec::new();
    let (wav, picture) = (folder.join("call-1.wav"), folder.join("call-1.svg"));
    for (cast, call_id, scripts) in called {
        let of_call = opened.iter().find(|(_, recorded)| recorded.manifest.sip.call_id == *call_id);
        let (place, recorded) = of_call.ok_or("a call has no recording")?;
        let verdicts = verdicts(recorded, scripts);
        if calls.is_empty() {
            export(place, &keys, &wav)?;
            fs::write(&picture, picture_of(cast, recorded))?;
        }
        let tracks = cast.names.into_iter().zip(scripts).zip(verdicts);
        calls.push(CallReport {
            transport: cast.transport.as_str(),
            codec: cast.codec(),
            call_id: call_id.clone(),
            recording: recorded.manifest.recording,
            folder: place.to_path_buf(),
            tracks: tracks.map(|((name, script), verdict)| TrackReport::new(name, script, verdict)).collect(),
        });
    }
    let ok = calls.iter().flat_map(|call| &call.tracks).all(|track| track.verdict.good());
    let program = std::env::args().next().unwrap_or_else(|| "tapehead".to_owned());
    let (seed, ring) = (args.seed, ring.to_owned());
    Ok(Report { ok, seed, ring, folder, program, calls, wav, picture, key })
}

/// Each track of a recording held against what was sent to it.
fn verdicts(recorded: &Recorded, scripts: &[Script; 2]) -> Vec<Verdict> {
    let tracks = recorded.manifest.tracks.iter().zip(&recorded.tracks).zip(scripts);
    tracks
        .map(|((track, codes), script)| {
            let of_track = |interval: &&Interval| u16::from(interval.track) == track.channel;
            let intervals: Vec<Interval> =
                recorded.manifest.intervals.iter().filter(of_track).copied().collect();
            let silence = recorded.format.silence();
            let (anchors, counters) = (&track.anchors, &track.counters);
            compare(script, &Heard { codes, silence, anchors, intervals: &intervals, counters })
        })
        .collect()
}

fn export(recording: &Path, keys: &LocalKeys, wav: &Path) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(File::create_new(wav)?);
    let exported = store::export(&OsDisk, recording, keys, &mut out, &mut |_| ())?;
    out.flush()?;
    match exported.warnings.first() {
        Some(warning) => Err(format!("{}: {warning}", wav.display()).into()),
        None => Ok(()),
    }
}

fn picture_of(cast: &Cast, recorded: &Recorded) -> String {
    let linear = match recorded.format {
        SampleFormat::Alaw => alaw_to_linear,
        _ => mulaw_to_linear,
    };
    let samples: Vec<Vec<i16>> =
        recorded.tracks.iter().map(|codes| codes.iter().map(|&code| linear(code)).collect()).collect();
    let lost = |track: u8| {
        let lost = recorded.manifest.intervals.iter().filter(|i| i.track == track && i.cause == Cause::Loss);
        lost.map(|interval| (interval.start, interval.end)).collect::<Vec<_>>()
    };
    let lost = [lost(0), lost(1)];
    let lanes = cast.names.into_iter().zip(&samples).zip(&lost);
    let lanes: Vec<Lane<'_>> = lanes.map(|((label, samples), lost)| Lane { label, samples, lost }).collect();
    let [a, b] = cast.names;
    draw(&format!("{a} and {b}, recorded by Tapehead from {}", recorded.manifest.started), &lanes)
}
