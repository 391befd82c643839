//! The ring of tests: sockets and files of a simulated machine ([`machine`]), every fault drawn from its seed.
//!
//! It also watches the contract from below: bytes of a write that change while it is in flight, slots used twice and blocks never handed over are
//! violations in the machine's log. Leaves out how datagrams and files behave: that is [`net`] and [`disk`].

pub mod disk;
pub mod fault;
pub mod log;
pub mod machine;
pub mod net;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::disk::{Inode, SECTOR_BYTES};
use self::machine::{
    EADDRINUSE, EEXIST, EFBIG, EIO, EMSGSIZE, ENETUNREACH, ENOENT, ENOSPC, ENOTDIR, Machine, Shared,
};
use super::{AHEAD_DATAGRAMS_MAX, Completion, Errno, FileIx, Op, Ring, RingPlan, SocketIx, Trouble};
use crate::base::Mono;
use crate::limits::{DATAGRAM_BYTES_MAX, FRAME_BYTES};
use crate::sys::memory::{BlockIx, BlockPool};

/// Longest UDP payload (RFC 768 over IPv4).
const UDP_BYTES_MAX: usize = 65_507;
/// A file grows no further than this.
const FILE_BYTES_MAX: u64 = 1 << 40;

/// A ring of a simulated machine.
pub struct SimRing {
    machine: Shared,
    plan: RingPlan,
    sockets: Vec<Option<SocketAddr>>,
    files: Vec<Option<OpenFile>>,
    /// Ops under way, by the instant they end; the number keeps the order of equals.
    pending: BTreeMap<(Mono, u64), Pending>,
    order: u64,
}

#[derive(Clone, Debug)]
struct OpenFile {
    inode: Option<Inode>,
    path: PathBuf,
    /// Bytes that the file has room for: within it a write succeeds on a full disk.
    allocated: u64,
}

enum Pending {
    Bind { socket: SocketIx, at: SocketAddr },
    CloseSocket { socket: SocketIx },
    Create { file: FileIx },
    Allocate { file: FileIx, size: u64 },
    Write(Write),
    Truncate { file: FileIx, size: u64 },
    Sync { file: FileIx, mark: usize },
    Rename { file: FileIx, from: PathBuf, to: PathBuf },
    CloseFile { file: FileIx },
    Trouble(Trouble),
}

struct Write {
    file: FileIx,
    offset: u64,
    block: BlockIx,
    start: u32,
    /// The bytes as they were handed over ...
    bytes: Vec<u8>,
    /// ... and where they lie, to see that they still are.
    lies_at: *const u8,
    ticket: u64,
}

impl Write {
    fn has_changed(&self) -> bool {
        // SAFETY: points into the pool's mapping, which outlives the ring (the rule of every ring), `bytes.len()` long as `BlockPool::bytes`
        // checked; read on the pool's own thread while no reference to a frame is alive.
        let now = unsafe { std::slice::from_raw_parts(self.lies_at, self.bytes.len()) };
        now != self.bytes
    }
}

impl SimRing {
    /// A ring of `machine`, with all its slots free.
    pub fn new(machine: Shared, plan: RingPlan) -> SimRing {
        SimRing {
            machine,
            plan,
            sockets: vec![None; plan.sockets_max as usize],
            files: vec![None; plan.files_max as usize],
            pending: BTreeMap::new(),
            order: 0,
        }
    }

    /// Slots in use and ops under way: nothing is left of a shard that has closed everything.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.sockets.iter().all(Option::is_none)
            && self.files.iter().all(Option::is_none)
    }

    fn later(&mut self, after: Duration, pending: Pending) {
        self.order += 1;
        let at = self.machine.borrow().now() + after;
        self.pending.insert((at, self.order), pending);
    }

    fn on_disk(&mut self, pending: Pending) {
        let latency = self.machine.borrow_mut().disk_latency();
        self.later(latency, pending);
    }

    fn require(&self, kept: bool, rule: &str) {
        if !kept {
            self.machine.borrow_mut().violation(format!("ring contract: {rule}"));
        }
    }

    fn open_file(&self, file: FileIx) -> Option<Inode> {
        let inode = self.files.get(file.0 as usize).and_then(|slot| slot.as_ref()?.inode);
        self.require(inode.is_some(), "an op names a file that is not open");
        inode
    }

    fn begin(&mut self, op: Op, blocks: &BlockPool) {
        match op {
            Op::Bind { socket, at } => {
                let free = self.sockets.get(socket.0 as usize).is_some_and(Option::is_none);
                self.require(free, "a socket slot is bound while in use or beyond the plan");
                self.later(Duration::ZERO, Pending::Bind { socket, at });
            }
            Op::CloseSocket { socket } => {
                let open = self.sockets.get(socket.0 as usize).is_some_and(Option::is_some);
                self.require(open, "a socket is closed that is not open");
                let linger = Duration::from_micros(self.machine.borrow_mut().below(40_000));
                self.later(linger, Pending::CloseSocket { socket });
            }
            Op::SendTo { socket, to, bytes } => self.send(socket, to, &bytes),
            Op::Create { file, path } => self.begin_create(file, path),
            Op::Allocate { file, size } => self.on_disk(Pending::Allocate { file, size }),
            Op::Write { file, offset, block, start, len } => {
                let lies = blocks.bytes(block, start, len);
                self.begin_write(file, offset, block, start, lies);
            }
            Op::Truncate { file, size } => self.on_disk(Pending::Truncate { file, size }),
            Op::Sync { file } => {
                let mark = self.open_file(file).map_or(0, |inode| self.machine.borrow().disk.mark(inode));
                self.on_disk(Pending::Sync { file, mark });
            }
            Op::Rename { file, from, to } => self.on_disk(Pending::Rename { file, from, to }),
            Op::CloseFile { file } => self.on_disk(Pending::CloseFile { file }),
        }
    }

    fn begin_create(&mut self, file: FileIx, path: PathBuf) {
        let free = self.files.get(file.0 as usize).is_some_and(Option::is_none);
        self.require(free, "a file slot is used while in use or beyond the plan");
        if free {
            self.files[file.0 as usize] = Some(OpenFile { inode: None, path, allocated: 0 });
        }
        self.on_disk(Pending::Create { file });
    }

    fn begin_write(&mut self, file: FileIx, offset: u64, block: BlockIx, start: u32, lies: &[u8]) {
        let aligned = [offset as usize, start as usize, lies.len()].iter().all(|n| n % FRAME_BYTES == 0);
        self.require(aligned && !lies.is_empty(), "a write is empty or not aligned");
        let Some(inode) = self.open_file(file) else { return };
        let ticket = self.machine.borrow_mut().disk.start_write(inode, offset, lies.to_vec());
        let write =
            Write { file, offset, block, start, bytes: lies.to_vec(), lies_at: lies.as_ptr(), ticket };
        self.on_disk(Pending::Write(write));
    }

    fn send(&mut self, socket: SocketIx, to: SocketAddr, bytes: &[u8]) {
        let Some(from) = self.sockets.get(socket.0 as usize).copied().flatten() else {
            return self.require(false, "a datagram is sent from a socket that is not open");
        };
        let mut machine = self.machine.borrow_mut();
        let rate = machine.faults().send;
        let too_long = bytes.len() > UDP_BYTES_MAX;
        if too_long || machine.chance(rate) {
            drop(machine);
            let errno = if too_long { EMSGSIZE } else { ENETUNREACH };
            let trouble = Trouble::SendFailed { socket, errno };
            self.later(Duration::ZERO, Pending::Trouble(trouble));
            return;
        }
        let now = machine.now();
        machine.net.send(from, to, bytes, now);
    }
}

// ---------------------------------------------------------------- the ends of ops

impl SimRing {
    fn end(&mut self, pending: Pending) -> Completion<'static> {
        match pending {
            Pending::Bind { socket, at } => {
                let result = self.end_bind(at);
                self.sockets[socket.0 as usize] = result.ok();
                Completion::Bound { socket, result }
            }
            Pending::CloseSocket { socket } => {
                if let Some(at) = self.sockets[socket.0 as usize].take() {
                    self.machine.borrow_mut().net.close(at);
                }
                Completion::SocketClosed { socket }
            }
            Pending::Create { file } => Completion::Created { file, result: self.end_create(file) },
            Pending::Allocate { file, size } => {
                Completion::Allocated { file, result: self.end_allocate(file, size) }
            }
            Pending::Write(write) => self.end_write(write),
            Pending::Truncate { file, size } => {
                let result = self.unless_failing(|machine| machine.faults().file_eio);
                if let (Ok(()), Some(inode)) = (result, self.open_file(file)) {
                    self.machine.borrow_mut().disk.truncate(inode, size);
                }
                Completion::Truncated { file, result }
            }
            Pending::Sync { file, mark } => {
                let result = self.unless_failing(|machine| machine.faults().sync_eio);
                if let (Ok(()), Some(inode)) = (result, self.open_file(file)) {
                    self.machine.borrow_mut().disk.sync(inode, mark);
                }
                Completion::Synced { file, result }
            }
            Pending::Rename { file, from, to } => {
                Completion::Renamed { file, result: self.end_rename(&from, &to) }
            }
            Pending::CloseFile { file } => {
                self.open_file(file);
                self.files[file.0 as usize] = None;
                Completion::FileClosed { file }
            }
            Pending::Trouble(trouble) => Completion::Trouble(trouble),
        }
    }

    /// EIO at the rate given, or while every write fails.
    fn unless_failing(&self, rate: fn(&Machine) -> u64) -> Result<(), Errno> {
        let mut machine = self.machine.borrow_mut();
        let rate = rate(&machine);
        if machine.chance(rate) || machine.disk_is_broken() { Err(EIO) } else { Ok(()) }
    }

    fn end_bind(&self, at: SocketAddr) -> Result<SocketAddr, Errno> {
        let mut machine = self.machine.borrow_mut();
        let rate = machine.faults().bind;
        if machine.chance(rate) {
            return Err(EADDRINUSE);
        }
        machine.net.bind(at).ok_or(EADDRINUSE)
    }

    fn end_create(&mut self, file: FileIx) -> Result<(), Errno> {
        let result = self.try_create(file);
        match result {
            Ok(inode) => self.files[file.0 as usize].as_mut().expect("begun above").inode = Some(inode),
            Err(_) => self.files[file.0 as usize] = None,
        }
        result.map(drop)
    }

    fn try_create(&self, file: FileIx) -> Result<Inode, Errno> {
        self.unless_failing(|machine| machine.faults().file_eio)?;
        let path = &self.files[file.0 as usize].as_ref().expect("begun above").path;
        let mut machine = self.machine.borrow_mut();
        if path.ancestors().skip(1).any(|folder| machine.disk.find(folder).is_some()) {
            return Err(ENOTDIR);
        }
        if machine.disk_is_full() {
            return Err(ENOSPC);
        }
        machine.disk.create(path).ok_or(EEXIST)
    }

    fn end_allocate(&mut self, file: FileIx, size: u64) -> Result<(), Errno> {
        let Some(inode) = self.open_file(file) else { return Err(EIO) };
        self.unless_failing(|machine| machine.faults().file_eio)?;
        let mut machine = self.machine.borrow_mut();
        if machine.disk_is_full() {
            return Err(ENOSPC);
        }
        if machine.disk.content(inode).len() < size as usize {
            machine.disk.truncate(inode, size);
        }
        drop(machine);
        let slot = self.files[file.0 as usize].as_mut().expect("open, as found above");
        slot.allocated = slot.allocated.max(size);
        Ok(())
    }

    fn end_write(&mut self, write: Write) -> Completion<'static> {
        self.require(!write.has_changed(), "bytes changed while their write was in flight");
        let (result, done) = self.outcome(&write);
        self.machine.borrow_mut().disk.finish_write(write.ticket, done);
        Completion::Written { file: write.file, block: write.block, start: write.start, result }
    }

    /// The answer, and the bytes that reached the disk: an error may leave some behind.
    fn outcome(&self, write: &Write) -> (Result<u32, Errno>, usize) {
        let len = write.bytes.len();
        let room = self.files[write.file.0 as usize].as_ref().map_or(0, |file| file.allocated);
        let mut machine = self.machine.borrow_mut();
        let part = machine.below((len / SECTOR_BYTES) as u64) as usize * SECTOR_BYTES;
        let (eio, short) = (machine.faults().write_eio, machine.faults().write_short);
        if write.offset >= FILE_BYTES_MAX {
            (Err(EFBIG), 0)
        } else if machine.disk_is_full() && write.offset + len as u64 > room {
            (Err(ENOSPC), 0)
        } else if machine.chance(eio) || machine.disk_is_broken() {
            (Err(EIO), if machine.chance(500) { part } else { 0 })
        } else if machine.chance(short) {
            (Ok(part as u32), part)
        } else {
            (Ok(len as u32), len)
        }
    }

    fn end_rename(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.require(from.parent() == to.parent(), "a rename leaves its folder");
        self.unless_failing(|machine| machine.faults().file_eio)?;
        let mut machine = self.machine.borrow_mut();
        if !to.parent().is_some_and(|folder| machine.disk.is_folder(folder)) {
            return Err(ENOENT);
        }
        // A repeated rename finds the new name: the first one was done and its folder's sync failed.
        if !machine.disk.rename(from, to) && machine.disk.find(to).is_none() {
            return Err(ENOENT);
        }
        let rate = machine.faults().sync_eio;
        if machine.chance(rate) {
            return Err(EIO);
        }
        if let Some(folder) = to.parent() {
            machine.disk.sync_folder(folder);
        }
        Ok(())
    }
}

// ---------------------------------------------------------------- draining

impl SimRing {
    fn end_due(&mut self, now: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) {
        let rate = self.machine.borrow().faults().cq_overflow;
        let overflow = self.machine.borrow_mut().chance(rate);
        if overflow {
            sink(now, Completion::Trouble(Trouble::CqOverflow));
        }
        while let Some(first) = self.pending.first_entry().filter(|first| first.key().0 <= now) {
            let pending = first.remove();
            // The kernel keeps what did not fit; it comes with a later drain.
            if overflow && self.machine.borrow_mut().chance(500) {
                self.later(Duration::from_millis(1), pending);
                continue;
            }
            let completion = self.end(pending);
            self.note(&completion);
            sink(now, completion);
        }
    }

    fn receive(&mut self, now: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) {
        let mut buffers = self.buffers();
        let bound: Vec<SocketIx> = (0..self.plan.sockets_max)
            .map(SocketIx)
            .filter(|socket| self.sockets[socket.0 as usize].is_some())
            .collect();
        // The kernel runs the sockets' work in no order that one could rely on.
        let first = self.machine.borrow_mut().below(bound.len() as u64) as usize;
        let likely = &bound[first..];
        sink(now, Completion::Ahead { sockets: &likely[..likely.len().min(AHEAD_DATAGRAMS_MAX)] });
        for &socket in bound[first..].iter().chain(&bound[..first]) {
            let Some(at) = self.sockets[socket.0 as usize] else { continue };
            let dropped = self.machine.borrow_mut().net.take_dropped(at);
            if dropped > 0 {
                sink(now, Completion::Trouble(Trouble::KernelDrops { socket, count: dropped }));
            }
            if !self.receive_on(socket, at, now, &mut buffers, sink) {
                sink(now, Completion::Trouble(Trouble::NoBuffers));
            }
            let rate = self.machine.borrow().faults().rearmed;
            if self.machine.borrow_mut().chance(rate) {
                sink(now, Completion::Trouble(Trouble::Rearmed));
            }
        }
    }

    /// Empties one socket's queue; false if the buffers ran out first and the rest has to wait.
    fn receive_on(
        &mut self,
        socket: SocketIx,
        at: SocketAddr,
        now: Mono,
        buffers: &mut u32,
        sink: &mut dyn FnMut(Mono, Completion<'_>),
    ) -> bool {
        loop {
            let waiting = self.machine.borrow().net.waiting(at);
            if waiting == 0 {
                return true;
            }
            if *buffers == 0 {
                return false;
            }
            *buffers -= 1;
            let Some(datagram) = self.machine.borrow_mut().net.receive(at, now) else { return true };
            let cut = datagram.bytes.len().min(DATAGRAM_BYTES_MAX);
            let completion = Completion::Received {
                socket,
                from: datagram.from,
                arrival: datagram.arrival,
                payload: &datagram.bytes[..cut],
                truncated: cut < datagram.bytes.len(),
            };
            self.note(&completion);
            sink(now, completion);
        }
    }

    /// Receive buffers of this drain: all of them, but for a bad moment.
    fn buffers(&self) -> u32 {
        let mut machine = self.machine.borrow_mut();
        let rate = machine.faults().no_buffers;
        if machine.chance(rate) {
            return machine.below(u64::from(self.plan.receive_buffers.min(8))) as u32;
        }
        self.plan.receive_buffers
    }

    fn note(&self, completion: &Completion<'_>) {
        let ok = |good: bool| u64::from(good);
        let (name, numbers) = match completion {
            Completion::Received { socket, payload, arrival, .. } => {
                let head = payload.iter().take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte));
                ("received", [u64::from(socket.0), head, arrival.0])
            }
            Completion::Bound { socket, result } => {
                ("bound", [u64::from(socket.0), result.map_or(0, |at| at.port().into()), 0])
            }
            Completion::SocketClosed { socket } => ("socket-closed", [u64::from(socket.0), 0, 0]),
            Completion::Created { file, result } => ("created", [u64::from(file.0), ok(result.is_ok()), 0]),
            Completion::Allocated { file, result } => {
                ("allocated", [u64::from(file.0), ok(result.is_ok()), 0])
            }
            Completion::Written { file, block, result, .. } => {
                ("written", [u64::from(file.0), u64::from(block.0), u64::from(result.unwrap_or(u32::MAX))])
            }
            Completion::Truncated { file, result } => {
                ("truncated", [u64::from(file.0), ok(result.is_ok()), 0])
            }
            Completion::Synced { file, result } => ("synced", [u64::from(file.0), ok(result.is_ok()), 0]),
            Completion::Renamed { file, result } => ("renamed", [u64::from(file.0), ok(result.is_ok()), 0]),
            Completion::FileClosed { file } => ("file-closed", [u64::from(file.0), 0, 0]),
            Completion::Trouble(_) => ("trouble", [0; 3]),
            Completion::Ahead { sockets } => ("ahead", [sockets.len() as u64, 0, 0]),
        };
        self.machine.borrow_mut().note(name, &numbers);
    }
}

impl Ring for SimRing {
    fn submit(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op> {
        let rate = self.machine.borrow().faults().refused;
        if self.machine.borrow_mut().chance(rate) {
            return Err(op);
        }
        self.begin(op, blocks);
        Ok(())
    }

    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        self.machine.borrow_mut().advance(deadline);
        let now = self.machine.borrow().now();
        if self.machine.borrow_mut().chance(500) {
            self.end_due(now, sink);
            self.receive(now, sink);
        } else {
            self.receive(now, sink);
            self.end_due(now, sink);
        }
        now
    }

    fn name(&self) -> &'static str {
        "sim"
    }
}

#[cfg(test)]
mod tests {
    use super::fault::FaultPlan;
    use super::*;
    use crate::ring::conformance::{World, conformance_tests};

    struct SimWorld(Shared);

    impl World for SimWorld {
        type Ring = SimRing;

        fn start(plan: RingPlan, _: &BlockPool) -> (SimWorld, SimRing) {
            let machine = Machine::new(1, FaultPlan::none(), false).shared();
            (SimWorld(machine.clone()), SimRing::new(machine, plan))
        }
        fn now(&self) -> Mono {
            self.0.borrow().now()
        }
        fn bind_at(&self) -> SocketAddr {
            "10.0.0.1:0".parse().unwrap()
        }
        fn peer(&mut self, peer: usize) -> SocketAddr {
            let at = SocketAddr::new("10.0.0.2".parse().unwrap(), 5000 + peer as u16);
            self.0.borrow_mut().net.bind(at);
            at
        }
        fn send(&mut self, peer: usize, to: SocketAddr, bytes: &[u8]) {
            let (from, now) = (self.peer(peer), self.now());
            let mut machine = self.0.borrow_mut();
            machine.net.inject(from, to, bytes, now);
            machine.net.advance(now);
        }
        fn received(&mut self, peer: usize) -> Vec<(SocketAddr, Vec<u8>)> {
            let (at, now) = (self.peer(peer), self.now());
            let mut machine = self.0.borrow_mut();
            machine.net.advance(now);
            std::iter::from_fn(|| machine.net.receive(at, now))
                .map(|datagram| (datagram.from, datagram.bytes.to_vec()))
                .collect()
        }
        fn flood(&self) -> usize {
            FaultPlan::none().socket_queue + 100
        }
        fn folder(&self) -> PathBuf {
            "/recordings".into()
        }
        fn file(&mut self, path: &Path) -> Option<Vec<u8>> {
            let machine = self.0.borrow();
            machine.disk.find(path).map(|inode| machine.disk.content(inode).to_vec())
        }
        fn mode(&mut self, path: &Path) -> u32 {
            // The simulated disk knows no permissions: what the rule says is all it could say.
            if self.0.borrow().disk.is_folder(path) { 0o700 } else { 0o600 }
        }
        fn failing_offset(&mut self, _: &Path) -> u64 {
            FILE_BYTES_MAX
        }
    }

    conformance_tests!(SimWorld);

    /// A shard reuses a block that it must not have: the ring sees it.
    #[test]
    fn bytes_that_change_in_flight_are_a_violation() {
        let machine = Machine::new(1, FaultPlan::none(), false).shared();
        let plan = RingPlan { sockets_max: 1, files_max: 1, receive_buffers: 1 };
        let mut ring = SimRing::new(machine.clone(), plan);
        let mut blocks = BlockPool::new(1).unwrap();
        let block = blocks.acquire().unwrap();
        let pass = |ring: &mut SimRing| {
            let deadline = machine.borrow().now() + Duration::from_millis(10);
            ring.drain(deadline, &mut |_, _| {});
        };
        ring.submit(Op::Create { file: FileIx(0), path: "/a".into() }, &blocks).unwrap();
        pass(&mut ring);
        let write = Op::Write { file: FileIx(0), offset: 0, block, start: 0, len: 4096 };
        ring.submit(write, &blocks).unwrap();
        blocks.frame_mut(block, 0)[7] ^= 1;
        pass(&mut ring);
        assert_eq!(machine.borrow().log.violations().len(), 1);
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let run = |seed| {
            let faults = FaultPlan::drawn(&mut crate::base::Prng::new(seed));
            let machine = Machine::new(seed, faults, false).shared();
            let plan = RingPlan { sockets_max: 4, files_max: 4, receive_buffers: 8 };
            let mut ring = SimRing::new(machine.clone(), plan);
            let blocks = BlockPool::new(1).unwrap();
            for file in 0..4 {
                let path = format!("/{file}").into();
                let _ = ring.submit(Op::Create { file: FileIx(file), path }, &blocks);
            }
            for _ in 0..50 {
                let deadline = machine.borrow().now() + Duration::from_millis(20);
                ring.drain(deadline, &mut |_, _| {});
            }
            machine.borrow().log.digest()
        };
        assert!((0..20).all(|seed| run(seed) == run(seed)));
        assert_ne!(run(1), run(2));
    }
}
