//! A shard: one pinned thread, one ring, a slice of the RTP ports and the calls on them.
//!
//! A shard is a function of (completions, time, commands): nothing here reads a clock, draws randomness or touches a file
//! descriptor. It turns once per tick, and in between, for what is urgent alone, while a call is being opened or a command has come:
//!
//! ```text
//!   turn:  drain the ring ─▶ packets into place, answers to their calls
//!          commands       ─▶ calls opened, updated, closed
//!          calls due      ─▶ due frames sealed, due blocks written, intervals told
//!          outbox         ─▶ ops to the ring
//! ```
//!
//! Leaves out how bytes arrive and leave (`ring`), and every decision that is taken once per call (`control`).

mod call;
mod ports;
mod segment;
#[cfg(test)]
mod tests;
mod thread;
mod window;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use call::{Call, Datagram};
use ports::Ports;
use segment::SilenceBlocks;
pub use thread::{ShardThread, spawn};
use window::Coverage;

use crate::base::{Mono, ppm};
use crate::limits::*;
use crate::link::{CallId, Command, Event, Refusal, ShardEnd, ShardStats};
use crate::media::Counters;
use crate::ring::{AHEAD_DATAGRAMS_MAX, Completion, FileIx, Op, Ring, RingPlan, SocketIx, Trouble};
use crate::sys::cache;
use crate::sys::memory::BlockPool;

/// What a shard is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardPlan {
    /// Which of the shards, from 0.
    pub index: u32,
    /// First port of its slice, even.
    pub port_first: u16,
    /// Ports in its slice, even.
    pub port_count: u16,
    /// Calls it takes at once.
    pub calls_max: u32,
    /// How long a packet may be overtaken by others; at most [`HORIZON_MAX`].
    pub horizon: Duration,
    /// RTP may be silent for this long before an alarm; zero: there is none.
    pub silence_alarm: Duration,
    /// Receive buffers of its ring.
    pub receive_buffers: u32,
}

impl ShardPlan {
    /// The ring it needs.
    pub fn ring(&self) -> RingPlan {
        RingPlan {
            sockets_max: u32::from(self.port_count),
            files_max: self.calls_max * FILES_PER_CALL,
            receive_buffers: self.receive_buffers,
        }
    }

    /// The block pool it needs.
    pub fn blocks(&self) -> u32 {
        let (calls, spare) = (self.calls_max as usize, self.calls_max as usize / POOL_CALLS_PER_SPARE_BLOCK);
        (calls * POOL_BLOCKS_PER_CALL + spare + CALL_BLOCKS_MAX) as u32
            + SilenceBlocks::blocks(self.calls_max)
    }
}

/// File slots, and which call each belongs to.
struct Files {
    owner: Vec<Option<u32>>,
    free: Vec<u32>,
}

impl Files {
    fn new(files: u32) -> Files {
        Files { owner: vec![None; files as usize], free: (0..files).rev().collect() }
    }

    fn take(&mut self, slot: u32) -> Option<FileIx> {
        let file = self.free.pop()?;
        self.owner[file as usize] = Some(slot);
        Some(FileIx(file))
    }

    fn give(&mut self, file: FileIx) {
        if self.owner[file.0 as usize].take().is_some() {
            self.free.push(file.0);
        }
    }
}

/// Events on their way to the control core. What the link has no room for waits here, in order.
struct Events {
    link: ShardEnd,
    waiting: VecDeque<Event>,
    rung: bool,
}

impl Events {
    /// Says something that must be said. Bounded by what calls can say: a few events for each, and a segment's worth per codec change.
    fn push(&mut self, event: Event) {
        self.waiting.push_back(event);
    }

    /// Says something if there is room for it now.
    fn offer(&mut self, event: Event) -> bool {
        if !self.waiting.is_empty() || self.link.events.slots() < EVENTS_MAX / 4 {
            return false;
        }
        self.rung = true;
        self.link.events.push(event).is_ok()
    }

    fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            self.rung = true;
            if let Err(rtrb::PushError::Full(event)) = self.link.events.push(event) {
                self.waiting.push_front(event);
                break;
            }
        }
        if std::mem::take(&mut self.rung) {
            (self.link.bell)();
        }
    }
}

/// What a call may use of its shard while it acts.
struct Io<'a> {
    now: Mono,
    /// Frames that ended before this instant were closed with the last tick.
    closed: Mono,
    slot: u32,
    silence_alarm: Duration,
    outbox: &'a mut Vec<Op>,
    blocks: &'a mut BlockPool,
    silence: &'a mut SilenceBlocks,
    coverage: &'a mut Coverage,
    ports: &'a mut Ports,
    files: &'a mut Files,
    sockets: &'a mut [Option<(u32, u8)>],
    events: &'a mut Events,
    stats: &'a mut ShardStats,
    /// When the call is to be looked at; it may ask for earlier.
    look: &'a mut Mono,
}

/// So many calls are looked at together: what that touches fits into a core's second cache.
const LOOK_GROUP: usize = 16;
/// The time of what does not happen.
const NEVER: Mono = Mono(u64::MAX);

/// Everything but the ring.
struct Core {
    horizon: u64,
    silence_alarm: Duration,
    calls: Vec<Option<Box<Call>>>,
    free: Vec<u32>,
    by_id: HashMap<CallId, u32>,
    ports: Ports,
    files: Files,
    /// Which call and track a socket belongs to.
    sockets: Vec<Option<(u32, u8)>>,
    coverage: Coverage,
    silence: SilenceBlocks,
    outbox: Vec<Op>,
    events: Events,
    stats: ShardStats,
    /// Ledgers of calls that are gone.
    past: Counters,
    stats_at: Mono,
    stats_told: ShardStats,
    /// Processor time used, as last heard and as of the last report.
    cpu: Duration,
    cpu_told: Duration,
    stopping: bool,
    /// When to look at the call of each slot; far away where there is none.
    looks: Vec<Mono>,
    /// When the next tick is due.
    tick_at: Mono,
    /// A horizon before the last one.
    closed: Mono,
    /// Slots of calls that are being opened, or get more tracks: their clients wait for the answer.
    urgent: Vec<u32>,
}

/// A shard over a ring.
pub struct Shard<R: Ring> {
    // The ring goes first: the kernel must let go of the blocks before they are unmapped.
    ring: R,
    blocks: BlockPool,
    core: Core,
    now: Mono,
}

impl<R: Ring> Shard<R> {
    /// A shard by `plan`, over a ring made for [`ShardPlan::ring`] and a pool of [`ShardPlan::blocks`].
    pub fn new(plan: ShardPlan, ring: R, mut blocks: BlockPool, link: ShardEnd) -> Shard<R> {
        if let Some(waker) = ring.waker() {
            link.sleeper.set_waker(waker);
        }
        let core = Core::new(plan, &mut blocks, link);
        Shard { ring, blocks, core, now: Mono(0) }
    }

    /// One tick. False once the shard was told to stop and no call is left.
    pub fn turn(&mut self) -> bool {
        let Shard { ring, blocks, core, now } = self;
        let before = *now;
        let deadline = core.doze(before);
        *now = ring.drain(deadline, &mut |now, completion| core.completed(now, completion, blocks));
        core.rise(before, *now);
        core.commands(*now, blocks);
        core.tick(*now, blocks);
        let mut refused = Vec::new();
        for op in core.outbox.drain(..) {
            if let Err(op) = ring.submit(op, blocks) {
                refused.push(op);
            }
        }
        core.outbox.append(&mut refused);
        !core.stopped()
    }

    /// Takes note of the processor time that its thread has used since it began.
    pub fn spent(&mut self, cpu: Duration) {
        self.core.cpu = cpu;
    }

    /// Tells the control core something once the loop has ended.
    fn say(&mut self, event: Event) {
        self.core.events.push(event);
        self.core.events.flush();
    }

    /// Blocks of the pool that are free, for tests and the simulator.
    pub fn blocks_free(&self) -> (u32, u32) {
        (self.blocks.free() + self.core.silence.free(), self.blocks.blocks())
    }

    /// The ring, for the simulator.
    pub fn ring(&mut self) -> &mut R {
        &mut self.ring
    }

    /// The shard's counters.
    pub fn stats(&self) -> &ShardStats {
        &self.core.stats
    }
}

impl Core {
    fn new(plan: ShardPlan, blocks: &mut BlockPool, link: ShardEnd) -> Core {
        let ring = plan.ring();
        Core {
            horizon: plan.horizon.min(HORIZON_MAX).as_millis() as u64 * 8,
            silence_alarm: plan.silence_alarm,
            calls: (0..plan.calls_max).map(|_| None).collect(),
            free: (0..plan.calls_max).rev().collect(),
            by_id: HashMap::with_capacity(plan.calls_max as usize),
            ports: Ports::new(plan.port_first, plan.port_count),
            files: Files::new(ring.files_max),
            sockets: vec![None; ring.sockets_max as usize],
            coverage: Coverage::new(blocks.blocks()),
            silence: SilenceBlocks::new(plan.calls_max, blocks),
            // At most an op per file and socket, and a report per track, in one tick.
            outbox: Vec::with_capacity((ring.files_max + ring.sockets_max * 2) as usize),
            events: Events { link, waiting: VecDeque::with_capacity(EVENTS_MAX), rung: false },
            stats: ShardStats::default(),
            past: Counters::default(),
            stats_at: Mono(0),
            stats_told: ShardStats::default(),
            cpu: Duration::ZERO,
            cpu_told: Duration::ZERO,
            stopping: false,
            looks: vec![NEVER; plan.calls_max as usize],
            tick_at: Mono(0),
            closed: Mono(0),
            urgent: Vec::with_capacity(plan.calls_max as usize),
        }
    }

    /// Runs `act` on the call in `slot` with what it may use.
    fn with<T>(
        &mut self,
        slot: u32,
        now: Mono,
        blocks: &mut BlockPool,
        act: impl FnOnce(&mut Call, &mut Io<'_>) -> T,
    ) -> Option<T> {
        let call = self.calls.get_mut(slot as usize)?.as_mut()?;
        let mut io = Io {
            now,
            closed: self.closed,
            slot,
            silence_alarm: self.silence_alarm,
            outbox: &mut self.outbox,
            blocks,
            silence: &mut self.silence,
            coverage: &mut self.coverage,
            ports: &mut self.ports,
            files: &mut self.files,
            sockets: &mut self.sockets,
            events: &mut self.events,
            stats: &mut self.stats,
            look: &mut self.looks[slot as usize],
        };
        Some(act(call, &mut io))
    }

    fn completed(&mut self, now: Mono, completion: Completion<'_>, blocks: &mut BlockPool) {
        match completion {
            Completion::Received { socket, from, arrival, payload, truncated } => {
                let on_rtcp_port = socket.0 % 2 == 1;
                let datagram = Datagram { on_rtcp_port, from, arrival, payload, truncated };
                self.received(now, socket, &datagram, blocks);
            }
            Completion::Bound { socket, .. } | Completion::SocketClosed { socket } => {
                let gone = !matches!(completion, Completion::Bound { result: Ok(_), .. });
                let owner = &mut self.sockets[socket.0 as usize];
                let Some((slot, track)) = (if gone { owner.take() } else { *owner }) else { return };
                self.with(slot, now, blocks, |call, io| {
                    call.socket_completed(usize::from(track), socket.0 % 2 == 1, &completion, io);
                    *io.look = now;
                });
            }
            Completion::Created { file, .. }
            | Completion::Allocated { file, .. }
            | Completion::Written { file, .. }
            | Completion::Truncated { file, .. }
            | Completion::Synced { file, .. }
            | Completion::Renamed { file, .. }
            | Completion::FileClosed { file } => {
                if let Some(slot) = self.files.owner[file.0 as usize] {
                    let horizon = self.horizon;
                    self.with(slot, now, blocks, |call, io| {
                        call.file_completed(file, &completion, io);
                        // As a rule the write of frames is followed by nothing until the next one is due.
                        let next = if call.is_written() { call.look_at(horizon, io) } else { now };
                        *io.look = next.min(*io.look);
                    });
                }
            }
            Completion::Trouble(trouble) => self.trouble(trouble),
            Completion::Ahead { sockets } => self.ahead(sockets, blocks),
        }
    }

    /// Fetches into the cache what the next datagrams will touch: step by step along the pointers, in each step for all of them at once.
    fn ahead(&self, sockets: &[SocketIx], blocks: &BlockPool) {
        let mut owners = [None; AHEAD_DATAGRAMS_MAX];
        for (owner, socket) in owners.iter_mut().zip(sockets) {
            *owner = self.sockets.get(socket.0 as usize).copied().flatten();
            owner.iter().for_each(|(slot, _)| cache::fetch(&self.calls[*slot as usize]));
        }
        let call = |slot: u32| self.calls[slot as usize].as_deref();
        let calls =
            || owners.iter().flatten().filter_map(|&(slot, track)| Some((call(slot)?, usize::from(track))));
        calls().for_each(|(call, _)| cache::fetch(call));
        calls().for_each(|(call, track)| call.fetch_track(track));
        calls().for_each(|(call, track)| call.fetch_place(track, blocks, &self.coverage));
    }

    fn received(&mut self, now: Mono, socket: SocketIx, datagram: &Datagram<'_>, blocks: &mut BlockPool) {
        let owner = self.sockets[socket.0 as usize];
        let taken = owner.and_then(|(slot, track)| {
            self.with(slot, now, blocks, |call, io| {
                let live = call.is_live();
                if live {
                    call.received(usize::from(track), datagram, io);
                }
                live
            })
        });
        if taken != Some(true) {
            self.stats.stray += 1;
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::NoBuffers => self.stats.no_buffers += 1,
            Trouble::CqOverflow => self.stats.cq_overflows += 1,
            Trouble::Rearmed => self.stats.rearmed += 1,
            Trouble::SendFailed { .. } => self.stats.send_failed += 1,
            Trouble::Unreadable { fragments, bad_checksums, malformed } => {
                self.stats.fragments += u64::from(fragments);
                self.stats.bad_checksums += u64::from(bad_checksums);
                self.stats.malformed_frames += u64::from(malformed);
            }
            Trouble::Stray { count } => self.stats.stray += u64::from(count),
            // Whose they were nobody knows: they are in the shard's ledger and in no track's.
            Trouble::SharedDrops { count } => self.past.kernel_drops += u64::from(count),
            Trouble::KernelDrops { socket, count } => {
                let owner = self.sockets[socket.0 as usize];
                if let Some((slot, track)) = owner
                    && let Some(call) = &mut self.calls[slot as usize]
                {
                    call.kernel_drops(usize::from(track), count);
                }
            }
        }
    }

    fn commands(&mut self, now: Mono, blocks: &mut BlockPool) {
        // At most a queue full per tick, so that commands can't starve packets.
        for _ in 0..COMMANDS_MAX {
            let Ok(command) = self.events.link.commands.pop() else { return };
            match command {
                Command::Open(open) => self.open(*open, now),
                Command::Segment(plan) => {
                    self.change(plan.call, now, blocks, |call, _| call.plan_segment(*plan));
                }
                Command::Update { call, revision, tracks } => {
                    self.change(call, now, blocks, |call, io| call.update(revision, tracks, io));
                }
                Command::Pause { call, how } => {
                    self.change(call, now, blocks, |call, io| call.pause(how, io.now));
                }
                Command::Resume { call } => self.change(call, now, blocks, Call::resume),
                Command::Close { call } => {
                    let horizon = self.horizon;
                    self.change(call, now, blocks, |call, _| call.close(horizon, now));
                }
                Command::Shutdown => self.stopping = true,
            }
        }
    }

    /// Lets `act` change a call, if there is one of this name.
    fn change(
        &mut self,
        id: CallId,
        now: Mono,
        blocks: &mut BlockPool,
        act: impl FnOnce(&mut Call, &mut Io<'_>),
    ) {
        let Some(&slot) = self.by_id.get(&id) else { return };
        let urgent = self.with(slot, now, blocks, |call, io| {
            act(call, io);
            *io.look = now;
            call.is_opening()
        });
        if urgent == Some(true) && !self.urgent.contains(&slot) {
            self.urgent.push(slot);
        }
    }

    fn open(&mut self, open: crate::link::OpenCall, now: Mono) {
        let id = open.call;
        let refused = match self.take_slot(&open) {
            None => Refusal::Full,
            Some((slot, file)) => match Call::open(open, file, self.horizon, now) {
                Ok(call) => {
                    self.calls[slot as usize] = Some(Box::new(call));
                    self.by_id.insert(id, slot);
                    self.looks[slot as usize] = now;
                    self.urgent.push(slot);
                    return;
                }
                Err(refusal) => {
                    self.files.give(file);
                    self.free.push(slot);
                    refusal
                }
            },
        };
        self.events.push(Event::Refused { call: id, reason: refused });
    }

    fn take_slot(&mut self, open: &crate::link::OpenCall) -> Option<(u32, FileIx)> {
        if !(1..=TRACKS_MAX).contains(&open.tracks.len()) || self.stopping {
            return None;
        }
        let slot = self.free.pop()?;
        match self.files.take(slot) {
            Some(file) => Some((slot, file)),
            None => {
                self.free.push(slot);
                None
            }
        }
    }

    /// The shard is about to sleep: until when.
    fn doze(&self, now: Mono) -> Mono {
        self.events.link.sleeper.doze();
        if !self.events.link.commands.is_empty() {
            return now;
        }
        if self.urgent.is_empty() { self.tick_at } else { self.tick_at.min(now + OPENING_TICK) }
    }

    fn rise(&mut self, before: Mono, now: Mono) {
        self.events.link.sleeper.rise();
        if before != Mono(0) {
            let tick_us = now.since(before).as_micros() as u64;
            self.stats.tick_us_max = self.stats.tick_us_max.max(tick_us);
        }
    }

    /// Takes every call a step further, or, between ticks, only those whose clients wait for an answer.
    fn tick(&mut self, now: Mono, blocks: &mut BlockPool) {
        if now >= self.tick_at {
            self.tick_at = now + TICK;
            self.closed = Mono(now.0.saturating_sub(self.horizon * 125_000));
            // A plain list: to run through all of it costs less than to keep it in order.
            let (mut due, mut count) = ([0; LOOK_GROUP], 0);
            for slot in 0..self.looks.len() {
                if self.looks[slot] <= now {
                    due[count] = slot as u32;
                    count += 1;
                    if count == LOOK_GROUP {
                        self.tick_calls(&due[..std::mem::take(&mut count)], now, blocks);
                    }
                }
            }
            self.tick_calls(&due[..count], now, blocks);
        } else {
            for at in 0..self.urgent.len() {
                self.tick_call(self.urgent[at], now, blocks);
            }
        }
        let calls = &self.calls;
        self.urgent.retain(|slot| calls[*slot as usize].as_ref().is_some_and(|call| call.is_opening()));
        if now >= self.stats_at {
            // At the first report, too, an interval or more has passed.
            let past = now.since(self.stats_at) + STATS_INTERVAL;
            self.stats.busy_ppm = ppm(self.cpu.saturating_sub(self.cpu_told), past);
            self.cpu_told = self.cpu;
            self.stats.cpu_us = self.cpu.as_micros() as u64;
            self.stats_at = now + STATS_INTERVAL;
            self.tell_stats(blocks);
        }
        self.events.flush();
    }

    /// Takes these calls further, after fetching into the cache what of them that will touch.
    fn tick_calls(&mut self, slots: &[u32], now: Mono, blocks: &mut BlockPool) {
        let calls = || slots.iter().filter_map(|slot| self.calls[*slot as usize].as_deref());
        slots.iter().for_each(|slot| cache::fetch(&self.calls[*slot as usize]));
        calls().for_each(cache::fetch);
        calls().for_each(Call::fetch_look);
        slots.iter().for_each(|slot| self.tick_call(*slot, now, blocks));
    }

    fn tick_call(&mut self, slot: u32, now: Mono, blocks: &mut BlockPool) {
        let horizon = self.horizon;
        let gone = self.with(slot, now, blocks, |call, io| {
            let gone = call.tick(horizon, io);
            *io.look = if gone { NEVER } else { call.look_at(horizon, io) };
            gone.then(|| call.counters())
        });
        if let Some(Some(counters)) = gone {
            self.past.add(&counters);
            if let Some(call) = self.calls[slot as usize].take() {
                self.by_id.remove(&call.id);
            }
            self.free.push(slot);
        }
    }

    fn tell_stats(&mut self, blocks: &BlockPool) {
        self.stats.packets = self.past;
        for call in self.calls.iter().flatten() {
            self.stats.packets.add(&call.counters());
        }
        self.stats.calls = self.by_id.len() as u32;
        (self.stats.blocks_free, self.stats.blocks) = (blocks.free(), blocks.blocks() - self.silence.count());
        let changed = ShardStats { tick_us_max: 0, ..self.stats.clone() } != self.stats_told;
        if changed && self.events.offer(Event::Stats(Box::new(self.stats.clone()))) {
            self.stats_told = ShardStats { tick_us_max: 0, ..self.stats.clone() };
        }
        self.stats.tick_us_max = 0;
    }

    /// Whether the shard is to stop and has nothing left to do.
    fn stopped(&mut self) -> bool {
        self.stopping && self.by_id.is_empty() && self.outbox.is_empty() && self.events.waiting.is_empty()
    }
}
