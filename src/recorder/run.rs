//! The control thread: one loop that joins SIP sockets, the endpoint, control, the links and the pool.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use tokio::sync::{Notify, watch};

use super::pool::Pool;
use super::shards::Shards;
use crate::base::Mono;
use crate::config::{External, PeerPlan, Plan};
use crate::control::{Action, Control, Log, Now, PeerRules, Peers, Rules, Severity, World};
use crate::keys::{KeyContext, KeyProvider};
use crate::limits::{BYE_WAIT_MAX, RETRY_AFTER, TENANT, WORLD_INTERVAL};
use crate::link::{Command, Event as ShardEvent};
use crate::sip::{self, Endpoint, Transport};
use crate::sip_net::Transports;
use crate::store::ActiveLock;
use crate::sys::{self, OsEntropy};

type Bound = Vec<(Transport, SocketAddr)>;

/// What the thread is given.
pub(super) struct Start {
    pub plan: Plan,
    pub keys: Arc<dyn KeyProvider>,
    pub shards: Shards,
    pub pool: Pool,
    pub bell: Arc<Notify>,
    pub stopped: watch::Receiver<u32>,
    pub lock: ActiveLock,
    pub end: watch::Sender<bool>,
    pub told: mpsc::SyncSender<io::Result<Bound>>,
    pub core: Option<usize>,
}

impl Start {
    /// Runs until told to stop.
    pub fn run(mut self) {
        if let Some(core) = self.core
            && let Err(why) = sys::affinity::pin_thread(core)
        {
            tracing::warn!(core, %why, "the control thread is not pinned to its core");
        }
        let end = self.end.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let opened = runtime.and_then(|runtime| {
            let transports = runtime.block_on(async { Transports::bind(&self.plan.sip_listen) })?;
            Ok((runtime, transports))
        });
        match opened {
            Ok((runtime, transports)) => {
                let bound = transports.listeners().to_vec();
                let control = ControlLoop::new(self, transports);
                control.start.told.send(Ok(bound)).ok();
                runtime.block_on(control.run());
            }
            Err(why) => {
                self.shut_down();
                self.told.send(Err(why)).ok();
            }
        }
        end.send(true).ok();
    }

    fn shut_down(&mut self) {
        for shard in 0..self.shards.len() {
            self.shards.send(shard, Command::Shutdown);
        }
    }

    fn rules(&self) -> Rules {
        let (first, last) = self.plan.shard_ports(0);
        Rules {
            calls_max: self.plan.calls_max,
            shard_calls_max: self.plan.shard_calls_max(),
            shard_pairs: u32::from(last - first).div_ceil(2),
            rtp_bind: self.plan.rtp_bind,
            recordings: self.plan.recordings.clone(),
            tenant: TENANT.to_owned(),
            any_call: self.plan.any_call,
            peers: peers(&self.plan.peers),
        }
    }
}

/// How far stopping has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Not at all.
    Open,
    /// No new calls; running ones may go on until then.
    Draining(Mono),
    /// Every call is being closed.
    Closing,
    /// Every call is closed; BYEs may be answered until then.
    Parting(Mono),
    /// Shards have been told to end; so many have not yet.
    Ending(usize),
}

struct ControlLoop {
    start: Start,
    transports: Transports,
    endpoint: Endpoint,
    control: Control<OsEntropy>,
    stage: Stage,
    looked: Mono,
}

impl ControlLoop {
    fn new(start: Start, transports: Transports) -> ControlLoop {
        let endpoint = Endpoint::new(sip::Config::recorder(), Box::new(OsEntropy));
        let control = Control::new(start.rules(), start.shards.len(), OsEntropy);
        let points = start.plan.sip_listen.clone();
        let mut made =
            ControlLoop { start, transports, endpoint, control, stage: Stage::Open, looked: Mono(0) };
        points.iter().zip(0..).for_each(|(point, number)| made.advertise(number, point.external));
        made
    }

    /// Tells clients of this listener this address instead of ours.
    fn advertise(&mut self, listener: u16, external: Option<External>) {
        self.endpoint.set_advertised(listener, external.map(|external| external.to_string()));
        self.control.set_external(listener, external.map(|external| external.ip));
    }

    async fn run(mut self) {
        let bell = Arc::clone(&self.start.bell);
        let mut stopped = self.start.stopped.clone();
        while self.stage != Stage::Ending(0) {
            self.look();
            self.settle();
            self.advance();
            let wait = self.wake().since(sys::mono());
            tokio::select! {
                inbound = self.transports.receive() => {
                    self.endpoint.receive(sys::mono(), inbound.peer, inbound.message);
                }
                () = bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
                // An error means that nobody can stop us any more: the stopper is gone.
                Ok(()) = stopped.changed() => self.stop(),
            }
        }
        let Start { shards, pool, lock, .. } = self.start;
        shards.join();
        pool.join();
        drop(lock);
        tracing::info!("stopped");
    }

    /// When to go round again if nothing happens.
    fn wake(&self) -> Mono {
        let until = match self.stage {
            Stage::Draining(until) | Stage::Parting(until) => Some(until),
            Stage::Open | Stage::Closing | Stage::Ending(_) => None,
        };
        let congested = self.start.shards.is_congested().then(|| sys::mono() + crate::limits::TICK);
        let deadlines = [self.endpoint.deadline(), self.control.deadline(), until, congested];
        deadlines.into_iter().flatten().fold(self.looked + WORLD_INTERVAL, Mono::min)
    }

    /// Carries everything to where it belongs until nobody has anything more to say.
    fn settle(&mut self) {
        loop {
            let now = now();
            let mut quiet = true;
            while let Some(action) = self.endpoint.poll(now.mono) {
                quiet = false;
                match action {
                    sip::Action::Send { to, fallback, bytes } => self.transports.send(to, fallback, bytes),
                    sip::Action::Event(event) => self.control.sip(event, now),
                }
            }
            while let Some((shard, event)) = self.start.shards.event() {
                quiet = false;
                self.shard_event(shard, event, now);
            }
            self.control.tick(now);
            while let Some(action) = self.control.poll() {
                quiet = false;
                self.act(action, now);
            }
            if quiet {
                return;
            }
        }
    }

    fn shard_event(&mut self, shard: usize, event: ShardEvent, now: Now) {
        if let (ShardEvent::Stopped, Stage::Ending(left)) = (&event, self.stage) {
            self.stage = Stage::Ending(left - 1);
        }
        self.control.shard(shard, event, now);
    }

    fn act(&mut self, action: Action, now: Now) {
        match action {
            // Gone means that the request was cancelled or has timed out, which an event tells.
            Action::Answer { request, answer } => {
                let _ = self.endpoint.respond(now.mono, request, answer);
            }
            Action::Bye { dialog } => {
                let _ = self.endpoint.bye(now.mono, dialog);
            }
            Action::Command { shard, command } => self.start.shards.send(shard, command),
            // The local provider needs no more than a microsecond; one that waits for a network will need its own thread.
            Action::Wrap { call, recording, key } => {
                let context = KeyContext { recording, tenant: TENANT };
                let wrapped = self.start.keys.wrap(&key, context, now.wall).map_err(|why| why.to_string());
                self.control.wrapped(call, wrapped);
            }
            Action::Job(job) => self.start.pool.submit(job),
            Action::Log(log) => say(&log),
        }
    }

    /// Looks at disk and pool, now and then.
    fn look(&mut self) {
        let now = sys::mono();
        if now.since(self.looked) < WORLD_INTERVAL {
            return;
        }
        self.looked = now;
        let free = sys::space::free_bytes(&self.start.plan.recordings);
        // A file system that does not say is no reason to refuse calls: the shard will be told when it is full.
        let disk_low = free.is_ok_and(|free| free < self.start.plan.free_bytes_min);
        self.control.observe(World { disk_low, backlog: self.start.pool.is_behind() });
    }

    /// Told to stop, for the first time or again.
    fn stop(&mut self) {
        let now = sys::mono();
        match self.stage {
            Stage::Open => {
                tracing::info!(calls = self.control.calls(), drain = ?self.start.plan.drain, "draining");
                self.endpoint.set_drain(Some(RETRY_AFTER));
                self.control.drain();
                self.stage = Stage::Draining(now + self.start.plan.drain);
            }
            Stage::Draining(_) => self.stage = Stage::Draining(now),
            Stage::Closing | Stage::Parting(_) | Stage::Ending(_) => {}
        }
    }

    /// Goes on with stopping as far as it can.
    fn advance(&mut self) {
        loop {
            let stage = self.next_stage();
            if stage == self.stage {
                return;
            }
            self.stage = stage;
        }
    }

    fn next_stage(&mut self) -> Stage {
        let now = now();
        let idle = self.control.calls() == 0;
        match self.stage {
            Stage::Draining(until) if idle || now.mono >= until => {
                self.control.close_all(now);
                self.settle();
                Stage::Closing
            }
            Stage::Closing if idle => Stage::Parting(now.mono + BYE_WAIT_MAX),
            Stage::Parting(until) if self.endpoint.dialogs() == 0 || now.mono >= until => {
                self.start.shut_down();
                Stage::Ending(self.start.shards.len())
            }
            same => same,
        }
    }
}

/// The configured peers as control knows them.
fn peers(plans: &[PeerPlan]) -> Peers {
    let rules = |plan: &PeerPlan| PeerRules {
        name: plan.name.clone(),
        codecs: plan.codecs.clone(),
        external_address: plan.external_address,
        reinvite: plan.reinvite,
        any_call: plan.any_call,
        calls_max: plan.calls_max,
    };
    let each = plans.iter().flat_map(|plan| {
        let rules = Arc::new(rules(plan));
        plan.networks.iter().map(move |network| (*network, Arc::clone(&rules)))
    });
    Peers::new(each.collect())
}

fn now() -> Now {
    let (mono, wall) = sys::clock::both();
    Now { mono, wall }
}

fn say(log: &Log) {
    let text = &log.text;
    let recording = log.recording.map(|recording| recording.to_string());
    match log.severity {
        Severity::Info => tracing::info!(recording, "{text}"),
        Severity::Warn => tracing::warn!(recording, "{text}"),
        Severity::Error => tracing::error!(recording, "{text}"),
    }
}
