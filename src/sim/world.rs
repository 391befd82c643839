//! One run: a machine, shards on it, a control core, clients, faults, crashes, and the checkers' verdict.
//!
//! ```text
//!   safety:   faults as drawn; calls come and go; the process may die and is started again after recovery
//!   liveness: no more faults; every call must close durably, every port, block and slot must come home
//!   verdict:  every recording is opened and held against what was sent
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::call::{Progress, SimCall};
use super::peer::Habits;
use super::witness::Witness;
use crate::base::{Mono, Prng};
use crate::link::{Command, ControlEnd, PauseHow, link};
use crate::ring::sim::SimRing;
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
pub(super) struct Process {
    pub(super) shard: Shard<SimRing>,
    pub(super) control: ControlEnd,
    pub(super) plan: ShardPlan,
    pub(super) stopped: bool,
}

/// Something that the control core does later.
pub(super) enum Later {
    Segment { call: usize },
    Hold { call: usize, track: usize, held: bool },
    Grow { call: usize },
    Pause { call: usize, how: PauseHow },
    Resume { call: usize },
}

/// A run in progress.
pub(super) struct World {
    pub(super) machine: Shared,
    pub(super) prng: Prng,
    pub(super) faults: FaultPlan,
    pub(super) wild: bool,
    pub(super) plans: Vec<ShardPlan>,
    pub(super) processes: Vec<Process>,
    pub(super) calls: Vec<SimCall>,
    pub(super) later: Vec<(Mono, Later)>,
    pub(super) witness: Witness,
    pub(super) crashes: u32,
    pub(super) power_cuts: u32,
    /// The longest standstill of the machine that the faults of the run allow.
    pub(super) stall_ms_max: u64,
    pub(super) began: Mono,
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
            wild,
            plans,
            processes: Vec::new(),
            calls: Vec::new(),
            later: Vec::new(),
            witness: Witness::default(),
            crashes: 0,
            power_cuts: 0,
            stall_ms_max: if faults.stall > 0 { faults.stall_ms_max } else { 0 },
            faults,
            began,
        };
        let calls = 1 + world.prng.below(5);
        (0..calls).for_each(|_| world.plan_call(Duration::from_millis(40)));
        world
    }

    pub(super) fn plan_call(&mut self, earliest: Duration) {
        let number = self.calls.len() as u16 + 1;
        let at = self.now() + earliest + Duration::from_millis(self.prng.below(2500));
        let shard = self.prng.below(self.plans.len() as u64) as usize;
        let habits = match (self.wild, self.prng.chance(700)) {
            (true, true) => Habits::drawn,
            (true, false) => Habits::plain_of,
            // Strangers and moves where nothing else keeps a source from being heard: what becomes of them is certain there.
            (false, _) => Habits::contested,
        };
        self.calls.push(SimCall::drawn(number, shard, at, habits, &mut self.prng));
    }

    pub(super) fn now(&self) -> Mono {
        self.machine.borrow().now()
    }

    pub(super) fn is_sound(&self) -> bool {
        self.machine.borrow().log.violations().is_empty()
    }

    pub(super) fn violation(&self, text: String) {
        self.machine.borrow_mut().violation(text);
    }

    pub(super) fn boot(&mut self) {
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
        self.look_at_reports();
        for shard in 0..self.processes.len() {
            while let Ok(event) = self.processes[shard].control.events.pop() {
                self.event(event);
            }
        }
        self.act();
    }

    pub(super) fn look_at_writes(&mut self) {
        let mut machine = self.machine.borrow_mut();
        for wrong in self.witness.look(&mut machine.disk) {
            machine.violation(wrong);
        }
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
                count(|progress| matches!(progress, Progress::Crashed { .. })),
            ],
            crashes: self.crashes,
            datagrams: machine.net.book().len() as u64,
            simulated_ms: machine.now().since(self.began).as_millis() as u64,
        }
    }
}

fn is_over(call: &SimCall) -> bool {
    matches!(call.progress, Progress::Closed | Progress::Refused | Progress::Crashed { .. })
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
        silence_alarm: Duration::from_secs(2),
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
