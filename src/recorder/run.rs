//! The control thread: one loop that joins SIP sockets, the endpoint, control, the links and the pool.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};

use tokio::sync::{Notify, watch};

use super::door::{Door, Watch};
use super::keyring::Wrapping;
use super::nat::{self, Nat};
use super::pool::Pool;
use super::shards::Shards;
use super::socket;
use super::stage::Stage;
use crate::base::{Mono, Networks};
use crate::config::{External, Listen, PeerPlan, Plan};
use crate::control::{Action, Control, Log, Now, PeerRules, Peers, Rules, Severity};
use crate::limits::{SIP_TURNS_PER_YIELD, TENANT};
use crate::link::{Command, Event as ShardEvent};
use crate::sip::{self, Endpoint, Gate, Transport};
use crate::sip_net::{Options, Tls, Transports};
use crate::store::ActiveLock;
use crate::sys::{self, OsEntropy};

type Bound = Vec<(Transport, SocketAddr)>;

/// What the thread is given.
pub(super) struct Start {
    pub plan: Plan,
    pub keys: Wrapping,
    pub tls: Option<Arc<Tls>>,
    pub nat: Option<Nat>,
    pub shards: Shards,
    pub pool: Pool,
    pub bell: Arc<Notify>,
    pub stopped: watch::Receiver<u32>,
    pub lock: ActiveLock,
    pub end: watch::Sender<bool>,
    pub told: mpsc::SyncSender<io::Result<Bound>>,
    pub core: Option<usize>,
    /// Until the endpoint has it.
    pub gate: Option<Gate>,
    pub control_socket: Option<socket::Listener>,
}

impl Start {
    /// Runs until told to stop.
    pub fn run(mut self) {
        let end = self.end.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let opened = runtime.and_then(|runtime| {
            let options = self.options();
            let transports = runtime.block_on(async { Transports::bind(&self.plan.sip_listen, options) })?;
            self.pin();
            Ok((runtime, transports))
        });
        match opened {
            Ok((runtime, transports)) => {
                let bound = transports.listeners().to_vec();
                let lock = runtime.block_on(async {
                    let control = ControlLoop::new(self, transports);
                    control.start.told.send(Ok(bound)).ok();
                    control.run().await
                });
                // With it goes the control socket, which is the next recorder's as soon as that has the lock.
                drop(runtime);
                drop(lock);
            }
            Err(why) => {
                self.shut_down();
                self.told.send(Err(why)).ok();
            }
        }
        end.send(true).ok();
    }

    /// After the sockets' own thread, if there is one, has been started: it should run on any core but ours.
    fn pin(&self) {
        if let Some(core) = self.core
            && let Err(why) = sys::affinity::pin_thread(core)
        {
            tracing::warn!(core, %why, "the control thread is not pinned to its core");
        }
        if let Err(why) = sys::affinity::take_short_turns() {
            tracing::debug!(%why, "the control thread takes turns like any other");
        }
    }

    fn options(&self) -> Options {
        Options {
            tls: self.tls.clone(),
            body_bytes_max: self.plan.body_bytes_max,
            allowed: self.gate.as_ref().map(|gate| gate.allowed().clone()).unwrap_or_default(),
            ..Options::default()
        }
    }

    pub(super) fn shut_down(&mut self) {
        for shard in 0..self.shards.len() {
            self.shards.send(shard, Command::Shutdown);
        }
    }

    fn rules(&self) -> Rules {
        let (first, last) = self.plan.shard_ports(0);
        Rules {
            calls_max: self.plan.calls_max,
            calls_per_second_max: self.plan.calls_per_second_max,
            shard_busy_max_percent: self.plan.shard_busy_max_percent,
            shard_calls_max: self.plan.shard_calls_max(),
            shard_pairs: u32::from(last - first).div_ceil(2),
            rtp_bind: self.plan.rtp_bind,
            addresses: addresses(&self.plan.sip_listen),
            recordings: self.plan.recordings.clone(),
            tenant: TENANT.to_owned(),
            any_call: self.plan.any_call,
            pause: self.plan.pause,
            peers: peers(&self.plan.peers),
        }
    }
}

pub(super) struct ControlLoop {
    pub(super) start: Start,
    pub(super) transports: Transports,
    pub(super) endpoint: Endpoint,
    pub(super) control: Control<OsEntropy>,
    pub(super) stage: Stage,
    pub(super) door: Door,
    pub(super) watch: Watch,
    /// The user whose request is being answered.
    pub(super) asked_by: u32,
    requests: socket::Requests,
    /// How often our external address has changed.
    pub(super) relocations: u64,
}

impl ControlLoop {
    fn new(mut start: Start, transports: Transports) -> ControlLoop {
        let mut endpoint = Endpoint::new(sip::Config::recorder(), Box::new(OsEntropy));
        endpoint.set_known_as(known_as(&start.plan.peers));
        start.gate.take().into_iter().for_each(|gate| endpoint.set_gate(gate));
        let control = Control::new(start.rules(), start.shards.len(), OsEntropy);
        let points = start.plan.sip_listen.clone();
        let requests = socket::serve(start.control_socket.take());
        let mut made = ControlLoop {
            start,
            transports,
            endpoint,
            control,
            stage: Stage::Open,
            door: Door::default(),
            watch: Watch::new(sys::mono()),
            asked_by: 0,
            requests,
            relocations: 0,
        };
        points.iter().zip(0..).for_each(|(point, number)| made.advertise(number, point.external));
        let seen = made.start.nat.as_ref().and_then(|nat| *nat.external.borrow());
        seen.into_iter().for_each(|address| made.relocate(address));
        made
    }

    /// From now on we are seen at this address, on every listener of its family that is not configured to have another.
    fn relocate(&mut self, address: IpAddr) {
        for (number, point) in (0..).zip(self.start.plan.sip_listen.clone()) {
            if point.external.is_none() && point.address.is_ipv4() == address.is_ipv4() {
                self.advertise(number, Some(External { ip: address, port: None }));
            }
        }
    }

    /// Tells clients of this listener this address instead of ours.
    fn advertise(&mut self, listener: u16, external: Option<External>) {
        self.endpoint.set_advertised(listener, external.map(|external| external.to_string()));
        self.control.set_external(listener, external.map(|external| external.ip));
    }

    async fn run(mut self) -> ActiveLock {
        let bell = Arc::clone(&self.start.bell);
        let mut stopped = self.start.stopped.clone();
        let mut external = self.start.nat.as_ref().map(|nat| nat.external.clone());
        let mut turns = 0u32;
        while self.stage != Stage::Ending(0) {
            // While messages come without a pause nothing else would: what is queued towards peers would not be written.
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(SIP_TURNS_PER_YIELD) {
                tokio::task::yield_now().await;
            }
            self.look();
            self.settle();
            self.advance();
            let wait = self.wake().since(sys::mono());
            tokio::select! {
                inbound = self.transports.receive() => {
                    self.keep_door();
                    self.endpoint.receive(sys::mono(), inbound.peer, inbound.message);
                }
                () = bell.notified() => {}
                address = nat::change(&mut external) => {
                    self.relocate(address);
                    self.relocations += 1;
                }
                request = self.requests.next() => self.answer(request),
                () = tokio::time::sleep(wait) => {}
                // An error means that nobody can stop us any more: the stopper is gone.
                Ok(()) = stopped.changed() => self.stop(),
            }
        }
        let Start { shards, pool, lock, .. } = self.start;
        shards.join();
        pool.join();
        tracing::info!("stopped");
        lock
    }

    /// When to go round again if nothing happens.
    fn wake(&self) -> Mono {
        let congested = self.start.shards.is_congested().then(|| sys::mono() + crate::limits::TICK);
        let deadlines = [self.endpoint.deadline(), self.control.deadline(), self.stage.deadline(), congested];
        deadlines.into_iter().flatten().fold(self.watch.due(), Mono::min)
    }

    /// Carries everything to where it belongs until nobody has anything more to say.
    pub(super) fn settle(&mut self) {
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
            while let Some((call, wrapped)) = self.start.keys.answer() {
                quiet = false;
                self.control.wrapped(call, wrapped, now);
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
            Action::Reinvite { dialog, offer } => {
                if self.endpoint.reinvite(now.mono, dialog, offer).is_err() {
                    self.control.sip(sip::Event::Refused { dialog, code: 491, message: None }, now);
                }
            }
            Action::Command { shard, command } => self.start.shards.send(shard, command),
            Action::Wrap { call, recording, key } => {
                let wrapped = self.start.keys.ask(call, recording, key, now);
                wrapped.into_iter().for_each(|wrapped| self.control.wrapped(call, wrapped, now));
            }
            Action::Job(job) => self.start.pool.submit(job),
            Action::Log(log) => say(&log),
        }
    }
}

/// Our addresses: those of listeners that have one, else the one that packets to far away leave from.
fn addresses(listeners: &[Listen]) -> Vec<IpAddr> {
    let specific = listeners.iter().map(|point| point.address.ip()).filter(|ip| !ip.is_unspecified());
    let far: [IpAddr; 2] =
        [Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    // The tier of reception goes by the families that are listened on.
    let listened = |far: &IpAddr| far.is_ipv4() || listeners.iter().any(|point| point.address.is_ipv6());
    specific.chain(far.into_iter().filter(listened).filter_map(leaving)).collect()
}

/// The address that the kernel would give packets to `far`. None is sent.
fn leaving(far: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if far.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((far, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// What single peers know us as.
fn known_as(plans: &[PeerPlan]) -> Networks<IpAddr> {
    let each = plans.iter().filter_map(|plan| Some((plan, plan.external_address?)));
    each.flat_map(|(plan, address)| plan.networks.iter().map(move |network| (*network, address))).collect()
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

pub(super) fn now() -> Now {
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
