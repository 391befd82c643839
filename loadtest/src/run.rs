//! A whole run: sockets and threads, the calls, the figures of both ends, and the folder that all of it goes to.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tapehead::config::{ClientCertificates, Listen, TlsPlan};
use tapehead::sip::event::Config;
use tapehead::sip::{Endpoint, Transport};
use tapehead::sip_net::{Options as TransportOptions, Tls, Transports};
use tapehead::sys::{OsEntropy, affinity, clock};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::{Client, Means, Seat, Standing};
use crate::figures::{Change, Source, Watch};
use crate::plan::{Plan, TlsFiles};
use crate::ramp::CATCH_UP;
use crate::record::{PLAN, RESULT, Recorder};
use crate::send::{self, Desk, Done, Outcome, Progress, Sockets};
use crate::tally::{Calls, Percentiles, Tally};

/// What a run is carried out with besides its plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The folder of the run; made if it is not there. It must hold no other run.
    pub folder: PathBuf,
    /// Where the recorder tells its figures, if it does.
    pub figures: Option<Source>,
}

/// Why a run did not come about, or could not go on.
#[derive(Debug)]
pub enum Failure {
    /// The plan makes no sense.
    Usage(String),
    /// The system or the recorder does not let us.
    System(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Failure::Usage(why) | Failure::System(why)) = self;
        f.write_str(why)
    }
}

/// How sending went.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Media {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Datagrams that the system refused.
    pub refused: u64,
    /// The last reason for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How long after their times they went out, in milliseconds.
    pub late_ms: Percentiles,
    /// Whether that is too late, and the run proves nothing.
    pub behind: bool,
    /// CPU time of the sending threads per datagram, in nanoseconds. What the kernel does on their account is in it; on loopback the receiver's
    /// softirq, too.
    pub cpu_ns_per_datagram: f64,
    /// Cores that the sending threads have used, on average.
    pub cores: f64,
    /// Datagrams per second over the whole run, ramp and end included.
    pub per_second: f64,
    /// In the second in which they were most.
    pub per_second_highest: f64,
}

/// How the generator's own signalling kept up: one thread does all of it.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct Signalling {
    /// How long after their times calls began, in milliseconds. Answers were read as late as that, too.
    pub late_ms: Percentiles,
    /// By how much calls are behind the rate that was asked for, for good, in seconds.
    pub slipped_s: f64,
    /// Whether that is too late: answer times are the generator's own, and the rate was not what was asked for.
    pub behind: bool,
    /// Cores that the thread has used, on average.
    pub cores: f64,
}

/// Where it ran.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Host {
    /// What it is called.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// Cores that we may use.
    pub cores: usize,
    /// The commit of the source that the generator was built in, if that is there and Git tells.
    pub commit: String,
}

/// What a run came to: the content of `result.json`.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct RunResult {
    /// When it began, as RFC 3339 has it.
    pub started: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether it was broken off.
    pub interrupted: bool,
    /// Where.
    pub host: Host,
    /// Calls.
    pub calls: Calls,
    /// From INVITE to 200, in milliseconds.
    pub answer_ms: Percentiles,
    /// From BYE to 200, in milliseconds.
    pub bye_ms: Percentiles,
    /// Sending.
    pub media: Media,
    /// The generator's own signalling.
    pub signalling: Signalling,
    /// The recorder's figures that have changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recorder: BTreeMap<String, Change>,
    /// Things that went wrong, in words.
    pub complaints: Vec<String>,
    /// Whether all went as planned.
    pub clean: bool,
}

/// How things stand, for whoever watches.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct Shown {
    /// Seconds since the start.
    pub at_s: f64,
    /// Calls that are not yet over.
    pub calls: usize,
    /// Whether they are being ended.
    pub closing: bool,
    /// Calls begun so far.
    pub begun: u64,
    /// Calls answered so far.
    pub answered: u64,
    /// Calls refused so far.
    pub refused: u64,
    /// Packets sent so far.
    pub datagrams: u64,
    /// CPU time of the sending threads so far, in nanoseconds.
    pub cpu_ns: u64,
    /// How late the latest packet went out since this was last told, in milliseconds.
    pub late_ms: f64,
    /// One answer in a hundred took longer, in milliseconds.
    pub answer_ms_p99: f64,
}

/// The most datagrams per second, over stretches of a second or more.
#[derive(Default)]
struct Pace {
    at_s: f64,
    datagrams: u64,
    highest: f64,
}

impl Pace {
    fn see(&mut self, now: Shown) {
        if now.at_s >= self.at_s + 1.0 {
            let sent = (now.datagrams - self.datagrams) as f64;
            self.highest = self.highest.max(sent / (now.at_s - self.at_s));
            (self.at_s, self.datagrams) = (now.at_s, now.datagrams);
        }
    }
}

/// Carries out `plan`. `interrupted` ends the calls early; the second time it leaves them as they are. `show` is told how things stand four times
/// a second.
pub fn carry_out(
    plan: &Plan,
    options: &Options,
    interrupted: &mut UnboundedReceiver<()>,
    mut show: impl FnMut(Shown),
) -> Result<RunResult, Failure> {
    plan.check().map_err(Failure::Usage)?;
    let cores = affinity::allowed_cores().map_err(system)?;
    if let Some(core) = plan.cores.iter().find(|core| !cores.contains(core)) {
        return Err(Failure::Usage(format!("cores: there is no core {core} for us; there are {cores:?}")));
    }
    let target = plan.target.ok_or_else(|| {
        Failure::Usage("no target: say where the recorder takes SIP, with --target".to_owned())
    })?;
    let watch = options.figures.clone().map(Watch::start).transpose().map_err(Failure::System)?;
    let recorder = Recorder::create(&options.folder).map_err(|why| folder_failure(&options.folder, &why))?;
    std::fs::write(options.folder.join(PLAN), plan.to_toml()).map_err(system)?;
    // A refusal is met when a socket can't be opened.
    let _ = tapehead::sys::rlimit::raise_open_files();
    let local =
        local_ip(plan, target).map_err(|why| Failure::System(format!("no way to {target}: {why}")))?;
    let (begun, started) = clock::both();
    let Senders { seats, threads, progress, done } = Senders::start(plan, local).map_err(system)?;
    let mut pace = Pace::default();
    let look = |standing: Standing<'_>| {
        let now = shown(&standing, &progress);
        pace.see(now);
        show(now);
    };
    let tools = Tools { seats, done, recorder, local, target, run: started.0 as u32 ^ std::process::id() };
    let cpu = clock::thread_cpu();
    let (tally, broken_off) = call(plan, tools, interrupted, look)?;
    let cpu = clock::thread_cpu().saturating_sub(cpu);
    let outcomes = join(threads)?;
    let seconds = clock::mono().since(begun).as_secs_f64();
    let media = Media { per_second_highest: pace.highest, ..media(plan, outcomes, seconds) };
    let signalling = signalling(plan, &tally, cpu.as_secs_f64() / seconds);
    let result = RunResult {
        started: started.to_rfc3339(),
        seconds,
        interrupted: broken_off,
        host: host(),
        clean: tally.is_clean() && !broken_off && !media.behind && media.refused == 0 && !signalling.behind,
        recorder: watch.map(Watch::finish).transpose().map_err(Failure::System)?.unwrap_or_default(),
        media,
        signalling,
        ..calls(tally)
    };
    let text = serde_json::to_string_pretty(&result).map_err(|why| Failure::System(why.to_string()))?;
    std::fs::write(options.folder.join(RESULT), text + "\n").map_err(system)?;
    Ok(result)
}

/// What calls are made with, before there is a runtime for them.
struct Tools {
    seats: Vec<Seat>,
    done: UnboundedReceiver<Done>,
    recorder: Recorder,
    local: IpAddr,
    target: SocketAddr,
    run: u32,
}

/// Makes all calls and ends them.
fn call(
    plan: &Plan,
    tools: Tools,
    interrupted: &mut UnboundedReceiver<()>,
    look: impl FnMut(Standing<'_>),
) -> Result<(Tally, bool), Failure> {
    let Tools { seats, done, recorder, local, target, run } = tools;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    runtime.block_on(async {
        let transports = transports(plan, local)?;
        let peer = transports.towards(plan.signalling.into(), target);
        let peer = peer.ok_or_else(|| Failure::System(format!("no way to {target} from {local}")))?;
        let product = concat!("tapehead-loadtest/", env!("CARGO_PKG_VERSION")).to_owned();
        let endpoint = Endpoint::new(Config { product, ..Config::client() }, Box::new(OsEntropy));
        let means = Means { transports, peer, seats, done, recorder };
        Client::new(plan, run, means, endpoint).run(interrupted, look).await.map_err(system)
    })
}

fn system(why: io::Error) -> Failure {
    Failure::System(why.to_string())
}

fn folder_failure(folder: &Path, why: &io::Error) -> Failure {
    let folder = folder.display();
    match why.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Usage(format!("{folder} holds a run already: give another folder with --out"))
        }
        _ => Failure::System(format!("{folder}: {why}")),
    }
}

/// Our own address: what is asked for, or what the routing table chooses. Connecting a datagram socket sends nothing.
fn local_ip(plan: &Plan, target: SocketAddr) -> io::Result<IpAddr> {
    if let Some(ip) = plan.local_ip {
        return Ok(ip);
    }
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

fn transports(plan: &Plan, local: IpAddr) -> Result<Transports, Failure> {
    let transport: Transport = plan.signalling.into();
    let tls = match (&plan.tls, transport) {
        (Some(files), Transport::Tls) => Some(tls(files)?),
        _ => None,
    };
    // Of a stream this is where the recorder can reach us should the connection be gone.
    let listen = [Listen::new(transport, SocketAddr::new(local, 0))];
    let options = TransportOptions { tls, ..TransportOptions::default() };
    Transports::bind(&listen, options)
        .map_err(|why| Failure::System(format!("no socket for SIP on {local}: {why}")))
}

fn tls(files: &TlsFiles) -> Result<Arc<Tls>, Failure> {
    let plan = TlsPlan {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        client_certificates: ClientCertificates::None,
        client_ca: PathBuf::new(),
        server_ca: Some(files.ca.clone()),
        server_names: files.name.iter().cloned().collect(),
    };
    Tls::open(&plan).map_err(|why| Failure::Usage(why.to_string()))
}

/// The sending threads, running.
struct Senders {
    seats: Vec<Seat>,
    threads: Vec<JoinHandle<Outcome>>,
    progress: Vec<Arc<Progress>>,
    done: UnboundedReceiver<Done>,
}

impl Senders {
    fn start(plan: &Plan, local: IpAddr) -> io::Result<Senders> {
        let (tell, done) = unbounded_channel();
        let mut senders = Senders { seats: Vec::new(), threads: Vec::new(), progress: Vec::new(), done };
        (0..plan.threads).try_for_each(|number| senders.add(plan, local, number, tell.clone()))?;
        Ok(senders)
    }

    fn add(
        &mut self,
        plan: &Plan,
        local: IpAddr,
        number: usize,
        done: UnboundedSender<Done>,
    ) -> io::Result<()> {
        let (orders, taken) = std::sync::mpsc::channel();
        let progress = Arc::new(Progress::default());
        let sockets = Sockets::open(local, plan.sockets)?;
        self.seats.push(Seat { orders, ports: sockets.ports.clone() });
        self.progress.push(progress.clone());
        let core = (!plan.cores.is_empty()).then(|| plan.cores[number % plan.cores.len()]);
        self.threads.push(send::spawn(plan.seed, sockets, Desk { orders: taken, done, progress }, core)?);
        Ok(())
    }
}

fn join(threads: Vec<JoinHandle<Outcome>>) -> Result<Vec<Outcome>, Failure> {
    let joined = threads.into_iter().map(JoinHandle::join);
    joined
        .map(|outcome| {
            outcome.map_err(|_| Failure::System("a sending thread has panicked: see above".to_owned()))
        })
        .collect()
}

fn shown(standing: &Standing<'_>, progress: &[Arc<Progress>]) -> Shown {
    let late = progress.iter().map(|one| one.late_us.swap(0, Ordering::Relaxed)).max();
    Shown {
        at_s: standing.elapsed.as_secs_f64(),
        calls: standing.calls,
        closing: standing.closing,
        begun: standing.tally.calls.begun,
        answered: standing.tally.calls.answered,
        refused: standing.tally.refused_all(),
        datagrams: progress.iter().map(|one| one.datagrams.load(Ordering::Relaxed)).sum(),
        cpu_ns: progress.iter().map(|one| one.cpu_ns.load(Ordering::Relaxed)).sum(),
        late_ms: late.unwrap_or(0) as f64 / 1e3,
        answer_ms_p99: standing.tally.answer.percentiles().p99,
    }
}

fn media(plan: &Plan, outcomes: Vec<Outcome>, seconds: f64) -> Media {
    let mut late: Option<Histogram<u64>> = None;
    let (mut media, mut cpu) = (Media::default(), Duration::ZERO);
    for outcome in outcomes {
        media.datagrams += outcome.datagrams;
        media.refused += outcome.refused;
        media.why = outcome.why.map(|why| why.to_string()).or(media.why);
        cpu += outcome.cpu;
        match &mut late {
            // Of the same bounds: nothing is too long for the other.
            Some(late) => _ = late.add(&outcome.late),
            None => late = Some(outcome.late),
        }
    }
    let late_ms = late.as_ref().map(Percentiles::of).unwrap_or_default();
    Media {
        late_ms,
        behind: late_ms.p99 > plan.late_ms_max,
        cpu_ns_per_datagram: cpu.as_nanos() as f64 / media.datagrams.max(1) as f64,
        cores: cpu.as_secs_f64() / seconds,
        per_second: media.datagrams as f64 / seconds,
        ..media
    }
}

fn signalling(plan: &Plan, tally: &Tally, cores: f64) -> Signalling {
    let late_ms = tally.late.percentiles();
    Signalling {
        late_ms,
        slipped_s: tally.slipped.as_secs_f64(),
        // Below that the rate is kept up all the same.
        behind: late_ms.p99 > plan.late_ms_max.max(CATCH_UP.as_secs_f64() * 1e3),
        cores,
    }
}

fn calls(tally: Tally) -> RunResult {
    RunResult {
        answer_ms: tally.answer.percentiles(),
        bye_ms: tally.bye.percentiles(),
        calls: tally.calls,
        complaints: tally.complaints,
        ..RunResult::default()
    }
}

/// The machine, as far as it tells.
fn host() -> Host {
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo: String = text("/proc/cpuinfo");
    let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Host {
        name: text("/proc/sys/kernel/hostname").trim().to_owned(),
        kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        processor: processor.map_or("", |(_, name)| name.trim()).to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        commit: commit().unwrap_or_default(),
    }
}

fn commit() -> Option<String> {
    let describe = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude=*"];
    let told =
        std::process::Command::new("git").args(describe).stderr(std::process::Stdio::null()).output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    told.status.success().then(|| text.trim().to_owned())
}
