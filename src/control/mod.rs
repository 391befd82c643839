//! Decisions per call: admission, placement, the life of a recording session. No I/O.
//!
//! ```text
//!   INVITE ─▶ admission ─▶ placement ─▶ data key wrapped ─▶ shard opens ─▶ 200 ─▶ live ─▶ BYE ─▶ shard closes ─▶ finalised
//!                │             │              │                 │
//!                └─ 421, 488 ──┴───── 503 + Retry-After ────────┘
//! ```
//!
//! What can't be recorded is not accepted, and metadata never decides. [`Control`] takes SIP events, shard events and time, and gives
//! [`Action`]s; the driver (`recorder`) carries them out. Nothing here ends a call while its dialog lives: silence is no reason.
//! Leaves out transactions and dialogs ([`crate::sip`]) and everything done per packet (`shard`).

mod action;
mod admission;
mod book;
mod call;
mod change;
mod late;
mod lines;
mod live;
mod offer;
mod pause;
mod peers;
mod placement;
mod refusal;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

pub use action::{Action, Job, Log, Now, Paper, Severity};
pub use admission::Capacity;
pub use pause::{NoRecording, PauseScope};
pub use peers::{PeerRules, Peers};
pub use refusal::Refusal;
pub use view::{CallDetail, CallSummary, PartyView, TrackView};

use crate::base::{Entropy, Mono, Rate};
use crate::limits::METADATA_TOTAL_BYTES_MAX;
use crate::link::{CallId, Event as ShardEvent, PauseHow, Refusal as ShardRefusal, ShardStats};
use crate::seal::WrappedKey;
use crate::sip::{DialogId, Event as SipEvent};
use action::Outbox;
use admission::KeyCircuit;
use call::{Arrival, Call, Phase};
use placement::Shards;

/// What an operator has decided, as far as it matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Calls at once.
    pub calls_max: u32,
    /// Calls taken per second; 0: as many as come.
    pub calls_per_second_max: u32,
    /// How busy a shard may get before it takes no more calls, in percent of its core.
    pub shard_busy_max_percent: u8,
    /// Calls at once on one shard.
    pub shard_calls_max: u32,
    /// RTP and RTCP port pairs of each shard.
    pub shard_pairs: u32,
    /// Where media is received.
    pub rtp_bind: IpAddr,
    /// Our addresses that clients may be told, where `rtp_bind` is every one.
    pub addresses: Vec<IpAddr>,
    /// Folder of the recordings.
    pub recordings: PathBuf,
    /// Whose recordings these are.
    pub tenant: String,
    /// Record calls without any sign of SIPREC, too.
    pub any_call: bool,
    /// What a pause by command leaves in a recording.
    pub pause: PauseHow,
    /// What is particular to single clients.
    pub peers: Peers,
}

/// What the driver knows of the world and admission has to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct World {
    /// The file system of the recordings has less room than it should.
    pub disk_low: bool,
    /// More recordings wait to be finalised than should.
    pub backlog: bool,
}

/// The control core.
pub struct Control<E> {
    rules: Rules,
    /// Per listener the address for SDP, where it is not the one that was reached.
    external: BTreeMap<u16, IpAddr>,
    entropy: E,
    world: World,
    draining: bool,
    /// How many bytes of raw metadata may still be kept.
    metadata_left: usize,
    rate: Option<Rate>,
    keys: KeyCircuit,
    /// Everything is paused, those to come included.
    paused: Option<pause::Order>,
    shards: Shards,
    /// Boxed: a tree's nodes are half empty.
    calls: BTreeMap<CallId, Box<Call>>,
    dialogs: BTreeMap<DialogId, CallId>,
    /// Calls of each peer, by its name.
    peer_calls: BTreeMap<String, u32>,
    due: BTreeSet<(Mono, CallId)>,
    next_call: u64,
    out: Outbox,
    /// The time of what is being taken in.
    clock: Mono,
}

impl<E: Entropy> Control<E> {
    /// A core for this many shards.
    pub fn new(rules: Rules, shards: usize, entropy: E) -> Control<E> {
        let shards =
            Shards::new(shards, rules.shard_calls_max, rules.shard_pairs, rules.shard_busy_max_percent);
        let rate = Rate::new(rules.calls_per_second_max);
        Control {
            rules,
            external: BTreeMap::new(),
            entropy,
            world: World::default(),
            draining: false,
            metadata_left: METADATA_TOTAL_BYTES_MAX,
            rate,
            keys: KeyCircuit::default(),
            paused: None,
            shards,
            calls: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            peer_calls: BTreeMap::new(),
            due: BTreeSet::new(),
            next_call: 1,
            out: Outbox::default(),
            clock: Mono(0),
        }
    }

    /// The next thing to do; to be called until `None` after each of the calls below.
    pub fn poll(&mut self) -> Option<Action> {
        self.out.pop()
    }

    /// When [`Control::tick`] wants to be called, if nothing else happens before.
    pub fn deadline(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Calls that are not yet over.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// What each shard said last about itself.
    pub fn stats(&self) -> impl Iterator<Item = &ShardStats> {
        self.shards.stats()
    }

    /// Calls and port pairs taken on each shard, and the pairs that it has.
    pub fn shards_taken(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        self.shards.taken()
    }

    /// Takes note of the world.
    pub fn observe(&mut self, world: World) {
        self.world = world;
    }

    /// What the SDP of new calls through this listener gives as our address, instead of the one that was reached.
    pub fn set_external(&mut self, listener: u16, address: Option<IpAddr>) {
        match address {
            Some(address) => _ = self.external.insert(listener, address),
            None => _ = self.external.remove(&listener),
        }
    }

    /// Whether every new call is answered 503 from now on.
    pub fn drain(&mut self, on: bool) {
        self.draining = on;
    }

    /// Ends every call: BYE, segments closed, recordings finalised.
    pub fn close_all(&mut self, now: Now) {
        self.clock = now.mono;
        let live: Vec<CallId> = self.calls.keys().copied().collect();
        for id in live {
            self.with(id, |call, _, out| call.hang_up("shutdown", now, out));
        }
    }

    /// Time has come to [`Control::deadline`].
    pub fn tick(&mut self, now: Now) {
        self.clock = now.mono;
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now.mono) {
            self.due.remove(&(at, id));
            if let Some(call) = self.calls.get_mut(&id) {
                call.due = None;
                if call.phase == Phase::Keys {
                    self.keys.note(false, now.mono);
                }
            }
            self.with(id, |call, _, out| call.tick(now, out));
        }
    }

    /// Takes a SIP event.
    pub fn sip(&mut self, event: SipEvent, now: Now) {
        self.clock = now.mono;
        match event {
            SipEvent::Invite { dialog, request, message, from, local_tag } => {
                let arrival = Arrival { dialog, request, invite: &message, from, local_tag: &local_tag };
                if let Err(refusal) = self.open(&arrival, now) {
                    self.out.refuse(request, None, &refusal);
                }
            }
            SipEvent::Reinvite { request, dialog, .. } | SipEvent::InDialog { request, dialog, .. }
                if !self.dialogs.contains_key(&dialog) =>
            {
                // Our BYE is on its way.
                self.out.refuse(request, None, &Refusal::Gone);
            }
            SipEvent::Reinvite { dialog, request, message } => {
                self.at(dialog, |call, _, out| call.reinvite(request, &message, now, out));
            }
            SipEvent::InDialog { dialog, request, message } => {
                self.at(dialog, |call, _, out| call.in_dialog(request, &message, now, out));
            }
            SipEvent::Ack { dialog, message } => {
                self.at(dialog, |call, _, out| call.acknowledged(&message, now, out));
            }
            SipEvent::Bye { dialog, message } => {
                self.at(dialog, |call, _, out| call.bye(&message, now, out));
            }
            SipEvent::Replaced { dialog } => {
                self.at(dialog, |call, _, out| call.hang_up("replaced", now, out));
            }
            SipEvent::Cancel { dialog, ended } => self.at(dialog, |call, _, out| match ended {
                true => call.cancelled(now, out),
                false => call.taken_back(out),
            }),
            SipEvent::Timeout { dialog } => self.at(dialog, |call, _, out| call.unacknowledged(now, out)),
            SipEvent::Expired { dialog, interval } => {
                self.at(dialog, |call, _, out| call.expired(interval, now, out));
            }
            SipEvent::Progress { .. } | SipEvent::Closed { .. } => {} // our BYE is done, its call long closed
            SipEvent::Refreshed { dialog, message } => {
                self.at(dialog, |call, _, out| call.refreshed(&message, out));
            }
            SipEvent::Accepted { dialog, message } => {
                self.at(dialog, |call, _, out| call.agreed_to(&message, out));
            }
            SipEvent::Refused { dialog, code, .. } => {
                self.at(dialog, |call, _, out| call.refused_by_client(code, out));
            }
        }
    }

    /// Takes an event of shard number `shard`.
    pub fn shard(&mut self, shard: usize, event: ShardEvent, now: Now) {
        self.clock = now.mono;
        match event {
            ShardEvent::Opened { call, ports, started } => {
                self.with(call, |call, _, out| call.opened(&ports, started, now, out));
            }
            ShardEvent::Refused { call, reason } => {
                if matches!(reason, ShardRefusal::Ports(_)) {
                    self.shards.portless(shard, now.mono);
                }
                self.with(call, |call, _, out| call.fail(&Refusal::Shard(reason), out));
            }
            ShardEvent::Updated { call, revision, result } => {
                self.with(call, |call, _, out| call.updated(revision, result, now, out));
            }
            ShardEvent::Media { call, flowing } => {
                self.with(call, |call, _, _| call.quiet_since = (!flowing).then_some(now.mono));
            }
            ShardEvent::Silence { call, since } => {
                self.with(call, |call, _, out| call.silent(since, now, out));
            }
            ShardEvent::Interval { call, interval } => {
                self.with(call, |call, _, _| call.interval(interval, now));
            }
            ShardEvent::SegmentWanted { call } => {
                self.with(call, |call, entropy, out| call.next_segment(entropy, out));
            }
            ShardEvent::SegmentClosed { call, report } => {
                self.with(call, |call, _, out| call.segment_closed(&report, now, out));
            }
            ShardEvent::Closed { call, tracks, samples } => {
                self.with(call, |call, _, out| call.closed(tracks, samples, now, out));
            }
            ShardEvent::Stats(stats) => self.shards.note(shard, *stats),
            ShardEvent::Stopped => self.shard_stopped(shard, now),
        }
    }

    /// The answer to [`Action::Wrap`]. One that comes too late is for nobody.
    pub fn wrapped(&mut self, id: CallId, key: Result<WrappedKey, String>, now: Now) {
        self.clock = now.mono;
        if self.calls.get(&id).is_some_and(|call| call.phase == Phase::Keys) {
            self.keys.note(key.is_ok(), now.mono);
        }
        self.with(id, |call, entropy, out| match key {
            Ok(key) => call.keys_ready(key, entropy, out),
            Err(why) if call.phase == Phase::Keys => call.fail(&Refusal::Keys(why), out),
            Err(_) => {}
        });
    }

    /// A shard that ends while it has calls takes them with it; what it has written is left for recovery.
    fn shard_stopped(&mut self, shard: usize, now: Now) {
        self.shards.stopped(shard);
        let lost: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| call.shard == shard).map(|(id, _)| *id).collect();
        for id in lost {
            self.with(id, |call, _, out| call.lost(now, out));
        }
    }

    fn at(&mut self, dialog: DialogId, act: impl FnOnce(&mut Call, &mut E, &mut Outbox)) {
        if let Some(id) = self.dialogs.get(&dialog) {
            self.with(*id, act);
        }
    }

    /// Lets `act` change a call, then puts its timer right and forgets it if it is over.
    fn with(&mut self, id: CallId, act: impl FnOnce(&mut Call, &mut E, &mut Outbox)) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.book.room = self.metadata_left;
        act(call, &mut self.entropy, &mut self.out);
        self.out.cuts.add(&call.book.take_cuts());
        let held = call.book.metadata_bytes();
        self.metadata_left =
            (self.metadata_left + std::mem::replace(&mut call.held, held)).saturating_sub(held);
        self.out.cuts.labels += std::mem::take(&mut call.terms.forgotten);
        let tracks = call.terms.tracks.len();
        self.shards.resize(call.shard, std::mem::replace(&mut call.placed, tracks), tracks, self.clock);
        let wanted = call.deadline();
        if wanted != call.due {
            call.due.take().map(|at| self.due.remove(&(at, id)));
            call.due = wanted;
            wanted.map(|at| self.due.insert((at, id)));
        }
        if call.phase == Phase::Over {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: CallId) {
        let Some(call) = self.calls.remove(&id) else { return };
        call.due.map(|at| self.due.remove(&(at, id)));
        self.dialogs.remove(&call.dialog);
        self.metadata_left += call.held;
        self.shards.release(call.shard, call.placed, self.clock);
        if let Some(calls) = self.peer_calls.get_mut(&call.peer.name) {
            *calls -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
