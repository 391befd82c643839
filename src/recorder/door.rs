//! The door: new calls are turned away before anything is made of them while none can be taken. And the watch over what decides that.

use super::run::{ControlLoop, now};
use crate::base::{Mono, ppm};
use crate::control::{Refusal, World};
use crate::limits::WORLD_INTERVAL;
use crate::sip::Shut;
use crate::sys;

/// What the endpoint was last told.
#[derive(Default)]
pub(super) struct Door {
    /// Why it turns calls away, if it does.
    shut: Option<Refusal>,
    /// How many it had turned away by then.
    turned_away: u64,
    /// Refusals at the last look, by reason, to log how many there were since.
    logged: Vec<(&'static str, u64)>,
}

/// What is looked at now and then.
pub(super) struct Watch {
    looked: Mono,
    started: Mono,
    /// Room on the file system of the recordings, in bytes.
    pub disk_free: u64,
    /// Share of its core that the control thread has used, in millionths.
    pub busy_ppm: u32,
    /// Processor time that it has used.
    pub cpu: std::time::Duration,
}

impl Watch {
    pub fn new(now: Mono) -> Watch {
        // The first look is due at once.
        Watch { looked: Mono(0), started: now, disk_free: 0, busy_ppm: 0, cpu: sys::clock::thread_cpu() }
    }

    /// When to look again.
    pub fn due(&self) -> Mono {
        self.looked + WORLD_INTERVAL
    }

    /// How long the recorder has been up.
    pub fn uptime(&self, now: Mono) -> std::time::Duration {
        now.since(self.started)
    }
}

impl ControlLoop {
    /// Before each message: what the endpoint should answer by itself.
    pub(super) fn keep_door(&mut self) {
        let now = sys::mono();
        self.count_turned_away();
        let (full, shut) = (self.control.full(now), self.control.shut(now));
        let wait = |refusal: &Option<Refusal>| refusal.as_ref().map(Refusal::retry_after);
        self.endpoint.set_shut(Shut { invites: wait(&shut), options: wait(&full) });
        self.door.shut = shut;
    }

    /// Counts what the endpoint has turned away under the reason that it was shut for.
    pub(super) fn count_turned_away(&mut self) {
        let turned_away = self.endpoint.counters().turned_away;
        if let Some(refusal) = &self.door.shut {
            self.control.turned_away(refusal, turned_away - self.door.turned_away);
        }
        self.door.turned_away = turned_away;
    }

    /// Looks at disk, pool and itself, now and then.
    pub(super) fn look(&mut self) {
        let now = now().mono;
        if now < self.watch.due() {
            return;
        }
        let (cpu, past) = (sys::clock::thread_cpu(), now.since(self.watch.looked));
        self.watch.busy_ppm = ppm(cpu.saturating_sub(self.watch.cpu), past);
        (self.watch.looked, self.watch.cpu) = (now, cpu);
        let free = sys::space::free_bytes(&self.start.plan.recordings);
        // A file system that does not say is no reason to refuse calls: the shard will be told when it is full.
        let disk_low = free.as_ref().is_ok_and(|free| *free < self.start.plan.free_bytes_min);
        self.watch.disk_free = free.unwrap_or(0);
        self.control.observe(World { disk_low, backlog: self.start.pool.is_behind() });
        self.log_refusals();
    }

    /// Refusals come in masses: one line for each reason and second.
    fn log_refusals(&mut self) {
        self.count_turned_away();
        for (reason, count, why) in self.control.refusals_in_words() {
            let before = self.door.logged.iter().find(|(known, _)| *known == reason).map_or(0, |(_, n)| *n);
            if count > before {
                tracing::warn!(reason, calls = count - before, "calls refused: {why}");
            }
        }
        self.door.logged = self.control.refusals().collect();
    }
}
