//! Starting the shards, each on the ring and under the receive tier that can be had.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::sync::Notify;

use super::StartError;
use crate::config::{Plan, ReceiveChoice};
use crate::link::{Bell, Command, ControlEnd, link};
use crate::ring::any::AnyTier;
use crate::ring::choice::{self, Chosen, ShardSource, TierError, TierKind};
use crate::ring::tier::PortSlice;
use crate::shard::{ShardPlan, ShardThread, spawn};
use crate::sys::capability;

/// The shards as the control thread holds them.
pub(super) struct Shards {
    /// Which ring they run on, and under which tier: `io_uring+steered`.
    pub ring: &'static str,
    ends: Vec<ControlEnd>,
    threads: Vec<ShardThread>,
    /// Commands that did not fit into a link, per shard; bounded by the few commands that each call can have on its way.
    waiting: Vec<VecDeque<Command>>,
}

/// Starts all shards of the plan, then gives up the calling thread's privileges: what it starts from then on has none.
pub(super) fn start(plan: &Plan, cores: &[usize], bell: &Arc<Notify>) -> Result<Shards, StartError> {
    let mut shards = Shards { ring: "", ends: Vec::new(), threads: Vec::new(), waiting: Vec::new() };
    let sources = open_tier(plan)?;
    for (index, source) in sources.into_iter().enumerate() {
        let core = (!cores.is_empty()).then(|| cores[index % cores.len()]);
        let (end, thread) = one(plan, (index, source), core, bell)?;
        shards.ring = thread.ring;
        shards.ends.push(end);
        shards.threads.push(thread);
        shards.waiting.push(VecDeque::new());
    }
    give_up_privileges();
    Ok(shards)
}

fn one(
    plan: &Plan,
    (index, source): (usize, ShardSource),
    core: Option<usize>,
    bell: &Arc<Notify>,
) -> Result<(ControlEnd, ShardThread), StartError> {
    let slice = slice(plan, index);
    let shard = ShardPlan {
        index: index as u32,
        port_first: slice.first,
        port_count: slice.count,
        calls_max: plan.shard_calls_max(),
        horizon: plan.horizon,
        silence_alarm: plan.silence_alarm,
        receive_buffers: plan.receive_buffers,
    };
    let (bell, choice) = (Arc::clone(bell), plan.ring);
    let bell: Bell = Arc::new(move || bell.notify_one());
    let (control, end) = link(bell);
    let thread = spawn(shard, core, end, move |ring, blocks| {
        let started = AnyTier::start(choice, source, ring, blocks);
        give_up_privileges();
        started
    });
    Ok((control, thread.map_err(StartError::Ring)?))
}

fn slice(plan: &Plan, shard: usize) -> PortSlice {
    let (first, last) = plan.shard_ports(shard);
    PortSlice { address: plan.rtp_bind, first, count: last - first + 1 }
}

/// Whether media are received at the address that a client has called, and that may be one of IPv6.
fn takes_both_families(plan: &Plan) -> bool {
    plan.rtp_bind == Ipv4Addr::UNSPECIFIED && plan.sip_listen.iter().any(|point| point.address.is_ipv6())
}

/// Opens the receive tier, on the thread that has the privileges, and says which it is and why not a better one.
fn open_tier(plan: &Plan) -> Result<Vec<ShardSource>, StartError> {
    let slices: Vec<PortSlice> = (0..plan.shards).map(|shard| slice(plan, shard)).collect();
    let opened = match plan.receive {
        ReceiveChoice::Auto if takes_both_families(plan) => {
            tracing::info!(better = %TierKind::Steered, why = %TierError::TwoFamilies, "a better receive tier can't be had");
            choice::open(ReceiveChoice::Sockets, &slices)
        }
        ReceiveChoice::Steered if takes_both_families(plan) => {
            Err((TierKind::Steered, TierError::TwoFamilies))
        }
        choice => choice::open(choice, &slices),
    };
    let Chosen { tier, passed_over, sources } =
        opened.map_err(|(tier, why)| StartError::Receive(tier, why))?;
    for (better, why) in passed_over {
        tracing::info!(%better, %why, "a better receive tier can't be had");
    }
    tracing::info!(%tier, "receive tier");
    let taken = |source: &ShardSource| match source {
        ShardSource::Sockets => 0,
        ShardSource::Steered(_, opened) => opened.taken.len(),
        ShardSource::Packet(_, opened) => opened.taken.len(),
    };
    match sources.iter().map(taken).sum::<usize>() {
        0 => {}
        taken => tracing::warn!(
            taken,
            "ports of rtp.ports are held by somebody else and stay unused: reserve them"
        ),
    }
    Ok(sources)
}

/// Nothing that comes after the start needs them.
fn give_up_privileges() {
    if let Err(why) = capability::give_up() {
        tracing::warn!(%why, "capabilities that are not needed any more stay with the process");
    }
}

impl Shards {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Sends a command; what does not fit goes first next time.
    pub fn send(&mut self, shard: usize, command: Command) {
        self.waiting[shard].push_back(command);
        self.flush(shard);
        self.ends[shard].sleeper.wake();
    }

    fn flush(&mut self, shard: usize) {
        while let Some(command) = self.waiting[shard].pop_front() {
            if let Err(rtrb::PushError::Full(command)) = self.ends[shard].commands.push(command) {
                self.waiting[shard].push_front(command);
                break;
            }
        }
    }

    /// The next event of any shard, with its number.
    pub fn event(&mut self) -> Option<(usize, crate::link::Event)> {
        (0..self.ends.len()).find_map(|shard| {
            self.flush(shard);
            self.ends[shard].events.pop().ok().map(|event| (shard, event))
        })
    }

    /// Whether commands wait for room.
    pub fn is_congested(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Waits for the threads, which have been told to shut down.
    pub fn join(self) {
        for thread in self.threads {
            // A shard that panics aborts the process, so there is no error to look at.
            let _ = thread.join();
        }
    }
}
