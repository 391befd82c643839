//! One run: a machine, shards on it, a control core, clients, faults, crashes, and the checkers' verdict.
//!
//! ```text
//!   safety:   faults as drawn; calls come and go; the process may die and is started again after recovery
//!   liveness: no more faults; every call must close durably, every port, block and slot must come home
//!   verdict:  every recording is opened and held against what was sent
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::call::{HOST, Progress, SimCall};
use super::check;
use super::peer::{Route, Stream};
use super::reading::Reading;
use super::witness::Witness;
use crate::base::{Mono, Prng};
use crate::link::{Command, ControlEnd, Event, link};
use crate::ring::sim::SimRing;
use crate::ring::sim::disk::Crash;
use crate::ring::sim::fault::FaultPlan;
use crate::ring::sim::machine::{Machine, Shared};
use crate::shard::{Shard, ShardPlan};
use crate::sys::memory::BlockPool;

/// How long the safety phase lasts at most.
const SAFETY: Duration = Duration::from_secs(40);
/// What a closing shard may take when nothing goes wrong any more.
const LIVENESS: Duration = Duration::from_secs(40);
/// Crashes of one run.
const CRASHES_MAX: u32 = 2;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub digest: u64,
    /// What was wrong, first things first.
    pub violations: Vec<String>,
    /// Every event, if asked for.
    pub trace: Vec<String>,
    /// Events noted.
    pub events: u64,
    /// Calls that were closed, refused, and cut off by a crash.
    pub calls: [u32; 3],
    /// Crashes.
    pub crashes: u32,
    /// Datagrams sent by clients.
    pub datagrams: u64,
    /// Simulated time in milliseconds.
    pub simulated_ms: u64,
}

/// A shard with the control core's end of its link.
struct Process {
    shard: Shard<SimRing>,
    control: ControlEnd,
    plan: ShardPlan,
    stopped: bool,
}

/// Something that the control core does later.
enum Later {
    Segment { call: usize },
    Hold { call: usize, track: usize, held: bool },
}

struct World {
    machine: Shared,
    prng: Prng,
    faults: FaultPlan,
    wild: bool,
    plans: Vec<ShardPlan>,
    processes: Vec<Process>,
    calls: Vec<SimCall>,
    later: Vec<(Mono, Later)>,
    witness: Witness,
    crashes: u32,
    began: Mono,
}

/// Runs the world of `seed`.
pub fn run(seed: u64, tracing: bool) -> Outcome {
    let mut world = World::new(seed, tracing);
    world.boot();
    world.safety();
    if world.is_sound() {
        world.liveness();
    }
    if world.is_sound() {
        world.verdict();
    }
    world.outcome(seed)
}

impl World {
    fn new(seed: u64, tracing: bool) -> World {
        let mut prng = Prng::new(seed ^ 0x7461_7065_6865_6164);
        // One world in five has no faults and tame streams: there the checks are the strictest.
        let wild = prng.chance(800);
        let faults = if wild { FaultPlan::drawn(&mut prng) } else { tame(&mut prng) };
        let machine = Machine::new(prng.u64(), faults.clone(), tracing).shared();
        let began = machine.borrow().now();
        let plans = (0..1 + prng.below(2) as u32).map(|index| shard_plan(index, &mut prng)).collect();
        let mut world = World {
            machine,
            prng,
            faults,
            wild,
            plans,
            processes: Vec::new(),
            calls: Vec::new(),
            later: Vec::new(),
            witness: Witness::default(),
            crashes: 0,
            began,
        };
        let calls = 1 + world.prng.below(5);
        (0..calls).for_each(|_| world.plan_call(Duration::from_millis(40)));
        world
    }

    fn plan_call(&mut self, earliest: Duration) {
        let number = self.calls.len() as u16 + 1;
        let at = self.now() + earliest + Duration::from_millis(self.prng.below(2500));
        let shard = self.prng.below(self.plans.len() as u64) as usize;
        let wild = self.wild && self.prng.chance(700);
        self.calls.push(SimCall::drawn(number, shard, at, wild, &mut self.prng));
    }

    fn now(&self) -> Mono {
        self.machine.borrow().now()
    }

    fn is_sound(&self) -> bool {
        self.machine.borrow().log.violations().is_empty()
    }

    fn violation(&self, text: String) {
        self.machine.borrow_mut().violation(text);
    }

    fn boot(&mut self) {
        self.processes = self.plans.iter().map(|&plan| start(plan, &self.machine)).collect();
    }

    // ------------------------------------------------------------ phases

    fn safety(&mut self) {
        let end = self.now() + SAFETY;
        while self.is_sound() && self.now() < end && !self.all_over() {
            self.turn();
            let rate = self.machine.borrow().faults().crash;
            if self.crashes < CRASHES_MAX && self.prng.chance(rate) {
                self.crash();
            }
        }
    }

    fn liveness(&mut self) {
        self.machine.borrow_mut().set_faults(FaultPlan::none());
        self.faults = FaultPlan::none();
        let end = self.now() + LIVENESS;
        while self.is_sound() && !self.all_over() {
            if self.now() >= end {
                let open: Vec<_> =
                    self.calls.iter().filter(|call| !is_over(call)).map(|c| c.number).collect();
                return self.violation(format!("calls {open:?} do not end though nothing goes wrong"));
            }
            self.turn();
        }
        for process in &mut self.processes {
            let _ = process.control.commands.push(Command::Shutdown);
        }
        let end = self.now() + LIVENESS;
        while self.is_sound() && self.processes.iter().any(|process| !process.stopped) {
            if self.now() >= end {
                return self.violation("a shard does not stop".to_owned());
            }
            self.turn();
        }
        self.check_all_home();
    }

    fn check_all_home(&mut self) {
        for process in &mut self.processes {
            let (free, all) = process.shard.blocks_free();
            let idle = process.shard.ring().is_idle();
            if free != all || !idle {
                let text = format!("shard {}: {free} of {all} blocks home, idle: {idle}", process.plan.index);
                self.machine.borrow_mut().violation(text);
            }
        }
        let open = self.machine.borrow().net.open();
        if open > 0 {
            self.violation(format!("{open} sockets are left open"));
        }
    }

    fn all_over(&self) -> bool {
        self.calls.iter().all(is_over)
    }

    /// One turn of every shard, then of the control core.
    fn turn(&mut self) {
        for at in 0..self.processes.len() {
            if !self.processes[at].stopped {
                self.processes[at].stopped = !self.processes[at].shard.turn();
            }
        }
        self.look_at_writes();
        for shard in 0..self.processes.len() {
            while let Ok(event) = self.processes[shard].control.events.pop() {
                self.event(event);
            }
        }
        self.act();
    }

    fn look_at_writes(&mut self) {
        let mut machine = self.machine.borrow_mut();
        for wrong in self.witness.look(&mut machine.disk) {
            machine.violation(wrong);
        }
    }

    // ------------------------------------------------------------ the control core

    fn tell(&mut self, call: usize, command: Command) {
        let shard = self.calls[call].shard;
        if self.processes[shard].control.commands.push(command).is_err() {
            self.violation("a shard does not take its commands".to_owned());
        }
    }

    fn act(&mut self) {
        let now = self.now();
        for call in 0..self.calls.len() {
            match self.calls[call].progress {
                Progress::Planned(at) if at <= now => self.open(call),
                Progress::Live => self.perhaps_close(call, now),
                _ => {}
            }
        }
        let due: Vec<Later> = {
            let (due, rest) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
            self.later = rest;
            let due: Vec<(Mono, Later)> = due;
            due.into_iter().map(|(_, later)| later).collect()
        };
        for later in due {
            self.do_later(later);
        }
    }

    fn do_later(&mut self, later: Later) {
        match later {
            Later::Segment { call } => {
                self.calls[call].segments_wanted += 1;
                let segment = self.calls[call].segments_wanted;
                self.expect_segment(call, segment);
                let plan = Box::new(self.calls[call].segment_plan(segment));
                self.tell(call, Command::Segment(plan));
            }
            Later::Hold { call, track, held } => {
                if self.calls[call].progress == Progress::Live {
                    self.calls[call].tracks[track].held = held;
                    let (id, tracks) = (self.calls[call].id(), self.calls[call].track_plans());
                    self.tell(call, Command::Update { call: id, tracks });
                }
            }
        }
    }

    fn expect_segment(&mut self, call: usize, segment: u32) {
        let call = &self.calls[call];
        let plan = call.segment_plan(segment);
        self.witness.expect(&plan.path, &plan.key, plan.seed, &plan.block0);
    }

    fn open(&mut self, call: usize) {
        self.calls[call].progress = Progress::Opening;
        self.expect_segment(call, 1);
        let open = Box::new(self.calls[call].open());
        self.tell(call, Command::Open(open));
    }

    fn perhaps_close(&mut self, index: usize, now: Mono) {
        let call = &self.calls[index];
        let started = call.started.unwrap_or(now);
        let early = call.hang_up_early_ms.is_some_and(|ms| now.since(started) >= Duration::from_millis(ms));
        let done = call.is_silent() && self.machine.borrow().net.is_quiet(HOST);
        if early || done {
            self.calls[index].clean = done;
            self.calls[index].progress = Progress::Closing;
            // Who hangs up soon stops sending; well before the ports serve another call.
            self.calls[index].stop(now + Duration::from_millis(self.prng.below(600)));
            let call = self.calls[index].id();
            self.tell(index, Command::Close { call });
        }
    }

    fn event(&mut self, event: Event) {
        let of = |call: crate::link::CallId| call.0 as usize - 1;
        match event {
            Event::Opened { call, ports, started } => self.opened(of(call), &ports, started),
            Event::Refused { call, .. } => {
                self.note("refused", &[call.0]);
                self.calls[of(call)].progress = Progress::Refused;
            }
            Event::Interval { call, interval } => {
                let cause = interval.cause as u64;
                self.note("interval", &[call.0, interval.track.into(), interval.start, interval.end, cause]);
                self.calls[of(call)].intervals.push(interval);
            }
            Event::SegmentWanted { call } => {
                let at = self.now() + Duration::from_millis(self.prng.below(300));
                self.later.push((at, Later::Segment { call: of(call) }));
            }
            Event::SegmentClosed { call, report } => {
                let durable = report.durable.is_ok();
                self.note("segment-closed", &[call.0, report.segment.into(), report.samples, durable.into()]);
                let machine = self.machine.borrow();
                let content =
                    machine.disk.find(&report.path).map(|inode| machine.disk.content(inode).to_vec());
                drop(machine);
                if durable && content.is_none() {
                    self.violation(format!("{} is durable but not there", report.path.display()));
                }
                self.calls[of(call)].segments.push((*report, content.filter(|_| durable)));
            }
            Event::Closed { call, tracks, samples } => {
                self.note("closed", &[call.0, samples]);
                let call = &mut self.calls[of(call)];
                call.end = Some((tracks, samples));
                call.progress = Progress::Closed;
            }
            Event::Stats(_) | Event::Stopped => {}
        }
    }

    fn note(&self, name: &'static str, numbers: &[u64]) {
        self.machine.borrow_mut().note(name, numbers);
    }

    /// The call is answered: its clients begin to send.
    fn opened(&mut self, index: usize, ports: &[u16], started: Mono) {
        let now = self.now();
        self.note("opened", &[index as u64 + 1, started.0]);
        let call = &mut self.calls[index];
        call.started = Some(started);
        call.progress = Progress::Live;
        let mut machine = self.machine.borrow_mut();
        for (number, (track, &port)) in call.tracks.iter_mut().zip(ports).enumerate() {
            track.port = port;
            let from = SocketAddr::from(([10, 0, 0, 2], 20_000 + 2 * (call.number * 16 + number as u16)));
            let to = SocketAddr::new(HOST, port);
            let rtcp_to = if track.rtcp_mux { to } else { SocketAddr::new(HOST, port + 1) };
            let start = now + Duration::from_millis(track.start_ms);
            let times = (start, start + Duration::from_millis(call.talk_ms));
            let id = (call.number, number as u8);
            let route = Route { from, to, rtcp_to };
            let (stream, diary) =
                Stream::new(id, route, track.habits.clone(), track.alaw, times, self.prng.u64());
            track.diary = Some(diary);
            machine.net.add(Box::new(stream));
            if self.prng.chance(150) {
                let at = |ms: u64| now + Duration::from_millis(ms);
                let hold = 200 + self.prng.below(2000);
                let resume = hold + self.prng.below(1500);
                self.later.push((at(hold), Later::Hold { call: index, track: number, held: true }));
                self.later.push((at(resume), Later::Hold { call: index, track: number, held: false }));
            }
        }
    }

    // ------------------------------------------------------------ crashes

    fn crash(&mut self) {
        self.crashes += 1;
        let now = self.now();
        let rate = self.faults.power;
        let how = if self.prng.chance(rate) { Crash::Power } else { Crash::Kill };
        self.processes.clear();
        self.machine.borrow_mut().crash(how);
        self.look_at_writes();
        self.later.clear();
        for call in &mut self.calls {
            match call.progress {
                Progress::Live | Progress::Closing => {
                    call.progress = Progress::Crashed(now);
                    call.stop(now);
                }
                // Until then nothing of the old calls is on its way any more.
                Progress::Planned(at) => {
                    call.progress = Progress::Planned(at.max(now + Duration::from_secs(2)))
                }
                Progress::Opening => call.progress = Progress::Refused,
                _ => {}
            }
        }
        self.check_acknowledged();
        let more = self.prng.below(3);
        (0..more).for_each(|_| self.plan_call(Duration::from_secs(2)));
        self.boot();
    }

    /// What was told to be durable is there, byte for byte.
    fn check_acknowledged(&self) {
        for call in &self.calls {
            for (report, content) in &call.segments {
                let Some(content) = content else { continue };
                let machine = self.machine.borrow();
                let found = machine.disk.find(&report.path).map(|inode| machine.disk.content(inode));
                let same = found == Some(content);
                drop(machine);
                if !same {
                    self.violation(format!("{} was durable and is not as it was", report.path.display()));
                }
            }
        }
    }

    // ------------------------------------------------------------ verdict

    fn verdict(&mut self) {
        self.check_acknowledged();
        for call in &self.calls {
            if let Err(what) = self.judge(call) {
                self.violation(what);
            }
        }
        let machine = self.machine.borrow();
        let lost_count = machine.net.book().iter().find(|sent| !sent.adds_up()).cloned();
        drop(machine);
        if let Some(sent) = lost_count.filter(|_| self.machine.borrow().net.is_quiet(HOST)) {
            self.violation(format!("the network lost count of {sent:?}"));
        }
    }

    fn judge(&self, call: &SimCall) -> Result<(), String> {
        if call.progress != Progress::Closed || call.segments.iter().any(|(_, content)| content.is_none()) {
            return Ok(());
        }
        let mut segments = Vec::new();
        for (report, content) in &call.segments {
            let content = content.as_deref().unwrap_or_default();
            let reading = Reading::complete(content, &call.key)
                .map_err(|what| format!("{}: {what}", report.path.display()))?;
            segments.push(reading);
        }
        let machine = self.machine.borrow();
        check::closed(call, &segments, machine.net.book(), self.slack())
    }

    /// How far audio may lie from its arrival because of what the machine did, in samples.
    fn slack(&self) -> i64 {
        8 * self.faults.stall_ms_max as i64 + 8 * 1000
    }

    fn outcome(self, seed: u64) -> Outcome {
        let machine = self.machine.borrow();
        let count = |wanted: fn(Progress) -> bool| {
            self.calls.iter().filter(|call| wanted(call.progress)).count() as u32
        };
        Outcome {
            seed,
            digest: machine.log.digest(),
            violations: machine.log.violations().to_vec(),
            trace: machine.log.trace().to_vec(),
            events: machine.log.events(),
            calls: [
                count(|progress| progress == Progress::Closed),
                count(|progress| progress == Progress::Refused),
                count(|progress| matches!(progress, Progress::Crashed(_))),
            ],
            crashes: self.crashes,
            datagrams: machine.net.book().len() as u64,
            simulated_ms: machine.now().since(self.began).as_millis() as u64,
        }
    }
}

fn is_over(call: &SimCall) -> bool {
    matches!(call.progress, Progress::Closed | Progress::Refused | Progress::Crashed(_))
}

fn start(plan: ShardPlan, machine: &Shared) -> Process {
    let (control, end) = link(Arc::new(|| {}));
    let ring = SimRing::new(machine.clone(), plan.ring());
    let blocks = BlockPool::new(plan.blocks()).expect("a few hundred kilobytes can be mapped");
    Process { shard: Shard::new(plan, ring, blocks, end), control, plan, stopped: false }
}

fn shard_plan(index: u32, prng: &mut Prng) -> ShardPlan {
    ShardPlan {
        index,
        port_first: 10_000 + 200 * index as u16,
        port_count: 16 + 2 * prng.below(40) as u16,
        calls_max: 1 + prng.below(6) as u32,
        horizon: Duration::from_millis([40, 100, 200, 200, 200, 350, 500][prng.below(7) as usize]),
        receive_buffers: 1 << (5 + prng.below(4)),
    }
}

/// Faults of the network alone, such that everything that arrives must be placed.
fn tame(prng: &mut Prng) -> FaultPlan {
    FaultPlan {
        loss: prng.below(50),
        duplicate: prng.below(50),
        jitter_us: prng.below(10_000),
        crash: if prng.chance(300) { 3 } else { 0 },
        ..FaultPlan::none()
    }
}
