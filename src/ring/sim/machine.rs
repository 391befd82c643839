//! The simulated machine: one clock, one network, one disk, one log, shared by all its rings.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::disk::{Crash, Disk};
use super::fault::FaultPlan;
use super::log::Log;
use super::net::Net;
use crate::base::{Mono, Prng};
use crate::ring::Errno;

/// A machine as its rings, its world and its checkers hold it. One thread.
pub type Shared = Rc<RefCell<Machine>>;

/// What a disk does wrong for a while.
#[derive(Clone, Copy, Debug, Default)]
struct Spell {
    until: Mono,
}

impl Spell {
    /// Whether the spell is on; starts one with a chance of `rate` per mille.
    fn cast(&mut self, rate: u64, now: Mono, prng: &mut Prng) -> bool {
        if prng.chance(rate) {
            self.until = now + Duration::from_millis(100 + prng.below(2500));
        }
        self.until > now
    }
}

/// The machine.
pub struct Machine {
    /// Now. Only [`Machine::advance`] moves it.
    now: Mono,
    /// Faults of the present phase.
    faults: FaultPlan,
    /// The network.
    pub net: Net,
    /// The disk.
    pub disk: Disk,
    /// What happened.
    pub log: Log,
    prng: Prng,
    slow: Spell,
    full: Spell,
    broken: Spell,
}

/// `errno` of a full disk and of a failing one, as Linux numbers them.
pub const ENOSPC: Errno = Errno(28);
/// Input/output error.
pub const EIO: Errno = Errno(5);
/// Address in use.
pub const EADDRINUSE: Errno = Errno(98);
/// File exists.
pub const EEXIST: Errno = Errno(17);
/// No such file.
pub const ENOENT: Errno = Errno(2);
/// Not a folder.
pub const ENOTDIR: Errno = Errno(20);
/// File too large.
pub const EFBIG: Errno = Errno(27);
/// Message too long.
pub const EMSGSIZE: Errno = Errno(90);
/// Network is unreachable.
pub const ENETUNREACH: Errno = Errno(101);

impl Machine {
    /// A machine whose every fault follows from `seed`.
    pub fn new(seed: u64, faults: FaultPlan, tracing: bool) -> Machine {
        let mut prng = Prng::new(seed);
        Machine {
            now: Mono::from_ms(1_000_000),
            net: Net::new(prng.u64(), faults.clone()),
            faults,
            disk: Disk::new(),
            log: Log::new(tracing),
            prng,
            slow: Spell::default(),
            full: Spell::default(),
            broken: Spell::default(),
        }
    }

    /// Shares it.
    pub fn shared(self) -> Shared {
        Rc::new(RefCell::new(self))
    }

    /// The present instant.
    pub fn now(&self) -> Mono {
        self.now
    }

    /// The faults of the present phase.
    pub fn faults(&self) -> &FaultPlan {
        &self.faults
    }

    /// Starts a phase with other faults; spells under way end.
    pub fn set_faults(&mut self, faults: FaultPlan) {
        self.net.faults = faults.clone();
        self.faults = faults;
        (self.slow, self.full, self.broken) = Default::default();
    }

    /// Lets time pass until `to`, or longer if the machine stands still.
    pub fn advance(&mut self, to: Mono) {
        self.now = self.now.max(to);
        if self.prng.chance(self.faults.stall) {
            let stall = self.prng.below(self.faults.stall_ms_max * 1_000_000 + 1);
            self.note("stall", &[stall]);
            self.now = self.now + Duration::from_nanos(stall);
        }
        self.net.advance(self.now);
    }

    /// Draws from the machine's own stream.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.prng.chance(per_mille)
    }

    /// Draws from the machine's own stream.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.prng.below(bound)
    }

    /// How long a disk op takes.
    pub fn disk_latency(&mut self) -> Duration {
        let (now, rate) = (self.now, self.faults.slow);
        if self.slow.cast(rate, now, &mut self.prng) {
            return Duration::from_micros(200_000 + self.prng.below(1_500_000));
        }
        Duration::from_micros(80 + self.prng.below(4_000))
    }

    /// Whether the disk is full just now.
    pub fn disk_is_full(&mut self) -> bool {
        self.full.cast(self.faults.full, self.now, &mut self.prng)
    }

    /// Whether writes fail just now.
    pub fn disk_is_broken(&mut self) -> bool {
        self.broken.cast(self.faults.broken, self.now, &mut self.prng)
    }

    /// An event for the digest and the trace.
    pub fn note(&mut self, name: &'static str, numbers: &[u64]) {
        self.log.note(self.now, name, numbers);
    }

    /// The code under test did wrong.
    pub fn violation(&mut self, text: String) {
        self.log.violation(self.now, text);
    }

    /// The process dies, and with [`Crash::Power`] the machine too.
    pub fn crash(&mut self, how: Crash) {
        self.note("crash", &[u64::from(how == Crash::Power)]);
        self.net.crash();
        self.disk.crash(how, &mut self.prng);
    }
}
