//! One script that every ring passes: what a shard may rely on, told as small scenes in a [`World`].
//!
//! A ring joins with a [`World`] and one line, `conformance_tests!(MyWorld);`, which makes each scene a test.
//! Leaves out faults that only a simulated world can make on demand; those are the simulator's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{AHEAD_DATAGRAMS_MAX, Completion, Errno, FileIx, Op, Ring, RingPlan, SocketIx, Trouble};
use crate::base::Mono;
use crate::limits::{BLOCK_BYTES, DATAGRAM_BYTES_MAX, FRAME_BYTES};
use crate::sys::memory::{BlockIx, BlockPool};

/// What is around a ring: peers that send datagrams, a disk, a clock. No faults unless a scene asks for one.
pub(crate) trait World: Sized {
    /// The ring under test.
    type Ring: Ring;

    /// A fresh world and a ring in it.
    fn start(plan: RingPlan, blocks: &BlockPool) -> (Self, Self::Ring);
    /// Reads the clock that the ring's instants come from.
    fn now(&self) -> Mono;
    /// An address to bind a socket of the ring at; the port is 0.
    fn bind_at(&self) -> SocketAddr;
    /// The address of peer 0, 1, ...; made when first asked for.
    fn peer(&mut self, peer: usize) -> SocketAddr;
    /// `peer` sends a datagram; it is in the socket's queue when this returns.
    fn send(&mut self, peer: usize, to: SocketAddr, bytes: &[u8]);
    /// What `peer` has received, oldest first, with the source.
    fn received(&mut self, peer: usize) -> Vec<(SocketAddr, Vec<u8>)>;
    /// Datagrams of 500 bytes that are more than one socket's queue holds.
    fn flood(&self) -> usize;
    /// An empty folder on the disk.
    fn folder(&self) -> PathBuf;
    /// The content of a file, `None` if there is none.
    fn file(&mut self, path: &Path) -> Option<Vec<u8>>;
    /// Permission bits of a file or folder.
    fn mode(&mut self, path: &Path) -> u32;
    /// From now on, a write of the file `path` at the offset returned fails.
    fn failing_offset(&mut self, path: &Path) -> u64;
}

/// Makes each scene a test of the ring in `$world`.
macro_rules! conformance_tests {
    ($world:ty) => {
        $crate::ring::conformance::conformance_tests!($world:
            a_socket_hands_out_its_datagrams_in_order_with_source_and_size,
            a_datagram_longer_than_a_buffer_is_cut_and_flagged,
            sockets_do_not_mix,
            more_datagrams_than_buffers_are_all_handed_out,
            what_a_full_socket_drops_is_told,
            a_closed_socket_is_silent_and_its_slot_can_be_used_again,
            a_taken_port_is_refused_and_the_slot_stays_free,
            datagrams_are_sent_and_failures_told,
            a_file_is_made_once_with_its_folders_and_closed_to_others,
            disjoint_parts_of_a_block_are_written_at_once,
            a_file_is_allocated_written_cut_synced_renamed_closed,
            a_failed_write_is_told_and_the_file_goes_on,
            an_unknown_folder_fails_the_rename,
            many_files_are_open_at_once_and_slots_are_used_again,
            a_drain_ends_at_its_deadline,
            a_drain_ends_when_the_ring_is_woken,
            dropping_a_ring_at_work_is_safe,
        );
    };
    ($world:ty: $($scene:ident,)+) => {
        $(#[test]
        fn $scene() {
            $crate::ring::conformance::$scene::<$world>();
        })+
    };
}
pub(crate) use conformance_tests;

/// One completion, kept.
#[derive(Clone, PartialEq, Debug)]
enum Seen {
    Received { socket: SocketIx, from: SocketAddr, payload: Vec<u8>, truncated: bool },
    Done(Completion<'static>),
    Trouble(Trouble),
}

/// A ring in its world, and everything it has said.
struct Stage<W: World> {
    ring: W::Ring,
    blocks: BlockPool,
    world: W,
    seen: Vec<Seen>,
    last: Mono,
}

const PLAN: RingPlan = RingPlan { sockets_max: 16, files_max: 16, receive_buffers: 64 };
const TICK: Duration = Duration::from_millis(3);
const TICKS_MAX: usize = 1500;

impl<W: World> Stage<W> {
    fn new(plan: RingPlan) -> Stage<W> {
        let blocks = BlockPool::new(16).unwrap();
        let (world, ring) = W::start(plan, &blocks);
        let last = world.now();
        Stage { ring, blocks, world, seen: Vec::new(), last }
    }

    fn submit(&mut self, op: Op) {
        self.ring.submit(op, &self.blocks).expect("the queue has room");
    }

    /// One drain; what the rules say of every completion is checked here.
    fn tick(&mut self) {
        let (seen, last) = (&mut self.seen, &mut self.last);
        let blocks = &mut self.blocks;
        let now = self.ring.drain(self.world.now() + TICK, &mut |now, completion| {
            assert!(now >= *last, "time went back");
            *last = now;
            seen.push(match completion {
                Completion::Ahead { sockets } => {
                    assert!((0..=AHEAD_DATAGRAMS_MAX).contains(&sockets.len()));
                    return;
                }
                Completion::Received { socket, from, arrival, payload, truncated } => {
                    assert!(arrival <= now, "arrived in the future");
                    assert!(now.since(arrival) < Duration::from_secs(10), "arrived long ago");
                    Seen::Received { socket, from, payload: payload.to_vec(), truncated }
                }
                Completion::Trouble(trouble) => Seen::Trouble(trouble),
                Completion::Written { file, block, start, result } => {
                    blocks.unlock(block, start, FRAME_BYTES as u32);
                    Seen::Done(Completion::Written { file, block, start, result })
                }
                done => Seen::Done(owned(done)),
            });
        });
        assert!(now >= self.last, "the drain's instant is its last");
        self.last = now;
    }

    /// Ticks until `enough` says so of everything seen.
    fn until(&mut self, what: &str, mut enough: impl FnMut(&[Seen]) -> bool) {
        for _ in 0..TICKS_MAX {
            self.tick();
            if enough(&self.seen) {
                return;
            }
        }
        panic!("{what} did not happen; seen: {:?}", self.seen);
    }

    /// Submits and waits for the one answer.
    fn ask(&mut self, op: Op) -> Completion<'static> {
        let before = self.answers().len();
        self.submit(op);
        self.until("the answer", |seen| answers(seen).len() > before);
        self.answers().swap_remove(before)
    }

    fn answers(&self) -> Vec<Completion<'static>> {
        answers(&self.seen)
    }

    fn bind(&mut self, socket: u32) -> SocketAddr {
        let (socket, at) = (SocketIx(socket), self.world.bind_at());
        match self.ask(Op::Bind { socket, at }) {
            Completion::Bound { socket: answered, result: Ok(at) } if answered == socket => at,
            other => panic!("{other:?}"),
        }
    }

    fn create(&mut self, file: u32, name: &str) -> PathBuf {
        let (file, path) = (FileIx(file), self.world.folder().join(name));
        let created = self.ask(Op::Create { file, path: path.clone() });
        assert_eq!(created, Completion::Created { file, result: Ok(()) });
        path
    }

    /// A block whose frame `n` holds `fill + n`.
    fn block(&mut self, fill: u8) -> BlockIx {
        let block = self.blocks.acquire().unwrap();
        for frame in 0..BLOCK_BYTES / FRAME_BYTES {
            self.blocks.frame_mut(block, frame).fill(fill + frame as u8);
        }
        block
    }

    /// Starts the write of one frame.
    fn write(&mut self, file: u32, offset: u64, block: BlockIx, frame: u32) {
        let (start, len) = (frame * FRAME_BYTES as u32, FRAME_BYTES as u32);
        self.blocks.lock(block, start, len);
        self.submit(Op::Write { file: FileIx(file), offset, block, start, len });
    }

    fn payloads(&self, from_slot: u32) -> Vec<Vec<u8>> {
        payloads(&self.seen, from_slot)
    }
}

fn answers(seen: &[Seen]) -> Vec<Completion<'static>> {
    seen.iter()
        .filter_map(|seen| if let Seen::Done(done) = seen { Some(done.clone()) } else { None })
        .collect()
}

fn payloads(seen: &[Seen], from_slot: u32) -> Vec<Vec<u8>> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Received { socket, payload, .. } if socket.0 == from_slot => Some(payload.clone()),
            _ => None,
        })
        .collect()
}

fn owned(done: Completion<'_>) -> Completion<'static> {
    match done {
        Completion::Bound { socket, result } => Completion::Bound { socket, result },
        Completion::SocketClosed { socket } => Completion::SocketClosed { socket },
        Completion::Created { file, result } => Completion::Created { file, result },
        Completion::Allocated { file, result } => Completion::Allocated { file, result },
        Completion::Truncated { file, result } => Completion::Truncated { file, result },
        Completion::Synced { file, result } => Completion::Synced { file, result },
        Completion::Renamed { file, result } => Completion::Renamed { file, result },
        Completion::FileClosed { file } => Completion::FileClosed { file },
        other => panic!("not an answer to keep: {other:?}"),
    }
}

/// A datagram that says which one it is.
fn numbered(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; len];
    bytes[..4].copy_from_slice(&(number as u32).to_be_bytes());
    bytes
}

// ---------------------------------------------------------------- receiving

pub(crate) fn a_socket_hands_out_its_datagrams_in_order_with_source_and_size<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let at = stage.bind(3);
    let mut expected = Vec::new();
    for (number, len) in [(0, 4), (1, 172), (0, DATAGRAM_BYTES_MAX), (1, 0), (0, 33)] {
        let (from, payload) = (stage.world.peer(number), vec![len as u8; len]);
        stage.world.send(number, at, &payload);
        expected.push(Seen::Received { socket: SocketIx(3), from, payload, truncated: false });
    }
    stage.until("five datagrams", |seen| payloads(seen, 3).len() >= 5);
    stage.tick();
    let received: Vec<_> =
        stage.seen.iter().filter(|seen| matches!(seen, Seen::Received { .. })).cloned().collect();
    assert_eq!(received, expected);
}

pub(crate) fn a_datagram_longer_than_a_buffer_is_cut_and_flagged<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let (at, from) = (stage.bind(0), stage.world.peer(0));
    let long: Vec<u8> = (0..DATAGRAM_BYTES_MAX + 100).map(|byte| byte as u8).collect();
    stage.world.send(0, at, &long);
    stage.world.send(0, at, b"next");
    stage.until("both", |seen| payloads(seen, 0).len() == 2);
    let cut = Seen::Received {
        socket: SocketIx(0),
        from,
        payload: long[..DATAGRAM_BYTES_MAX].to_vec(),
        truncated: true,
    };
    assert!(stage.seen.contains(&cut));
    assert_eq!(stage.payloads(0)[1], b"next");
}

pub(crate) fn sockets_do_not_mix<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let ports: Vec<SocketAddr> = (0..16).map(|slot| stage.bind(slot)).collect();
    for round in 0..3 {
        for (slot, &at) in ports.iter().enumerate() {
            stage.world.send(slot % 2, at, &numbered(slot * 10 + round, 20));
        }
    }
    stage.until("all", |seen| (0..16).map(|slot| payloads(seen, slot).len()).sum::<usize>() == 48);
    for slot in 0..16 {
        let expected: Vec<_> = (0..3).map(|round| numbered(slot * 10 + round, 20)).collect();
        assert_eq!(stage.payloads(slot as u32), expected);
    }
}

pub(crate) fn more_datagrams_than_buffers_are_all_handed_out<W: World>() {
    let mut stage = Stage::<W>::new(RingPlan { receive_buffers: 16, ..PLAN });
    let ports: Vec<SocketAddr> = (0..8).map(|slot| stage.bind(slot)).collect();
    for number in 0..30 {
        ports.iter().for_each(|&at| stage.world.send(0, at, &numbered(number, 172)));
    }
    stage.until("all", |seen| (0..8).map(|slot| payloads(seen, slot).len()).sum::<usize>() >= 240);
    // Once more, to see that every receive is armed again.
    ports.iter().for_each(|&at| stage.world.send(0, at, &numbered(30, 172)));
    stage.until("the last", |seen| (0..8).map(|slot| payloads(seen, slot).len()).sum::<usize>() >= 248);
    let expected: Vec<_> = (0..31).map(|number| numbered(number, 172)).collect();
    (0..8).for_each(|slot| assert_eq!(stage.payloads(slot), expected));
}

pub(crate) fn what_a_full_socket_drops_is_told<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let (at, flood) = (stage.bind(2), stage.world.flood());
    (0..flood).for_each(|number| stage.world.send(0, at, &numbered(number, 500)));
    stage.until("the queue's content", |seen| !payloads(seen, 2).is_empty());
    (0..10).for_each(|_| stage.tick());
    // The kernel tells a drop with the next datagram that it takes.
    stage.world.send(0, at, b"after");
    let told = |seen: &[Seen]| -> usize {
        seen.iter()
            .map(|seen| match seen {
                Seen::Trouble(Trouble::KernelDrops { socket: SocketIx(2), count }) => *count as usize,
                Seen::Trouble(Trouble::SharedDrops { count }) => *count as usize,
                _ => 0,
            })
            .sum()
    };
    stage.until("all accounted for", |seen| payloads(seen, 2).len() + told(seen) == flood + 1);
    assert!(told(&stage.seen) > 0, "the flood was too small to drop anything");
}

pub(crate) fn a_closed_socket_is_silent_and_its_slot_can_be_used_again<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    for round in 0..20 {
        let at = stage.bind(5);
        stage.world.send(0, at, &numbered(round * 2, 8));
        stage.until("the datagram", |seen| payloads(seen, 5).contains(&numbered(round * 2, 8)));
        // These are waiting when the socket closes: handed out before its end or never.
        (0..5).for_each(|_| stage.world.send(0, at, &numbered(round * 2 + 1, 8)));
        let closed = stage.ask(Op::CloseSocket { socket: SocketIx(5) });
        assert_eq!(closed, Completion::SocketClosed { socket: SocketIx(5) });
        let end = stage.seen.iter().rposition(|seen| matches!(seen, Seen::Done(_))).unwrap();
        stage.world.send(0, at, b"too late");
        stage.tick();
        let is_stray = |seen: &&Seen| matches!(seen, Seen::Trouble(Trouble::Stray { .. }));
        let after: Vec<_> = stage.seen[end + 1..].iter().filter(|seen| !is_stray(seen)).collect();
        assert!(after.is_empty(), "after the end: {after:?}");
    }
    assert_eq!(stage.answers().len(), 40, "one answer for each op");
}

pub(crate) fn a_taken_port_is_refused_and_the_slot_stays_free<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let at = stage.bind(0);
    let refused = stage.ask(Op::Bind { socket: SocketIx(1), at });
    assert_eq!(refused, Completion::Bound { socket: SocketIx(1), result: Err(Errno(libc::EADDRINUSE)) });
    let other = stage.bind(1);
    assert_ne!(other.port(), at.port());
    stage.world.send(0, other, b"works");
    stage.until("the datagram", |seen| payloads(seen, 1) == [b"works"]);
    // Once closed, the port can be had again; the kernel may take a moment.
    stage.ask(Op::CloseSocket { socket: SocketIx(0) });
    let again = (0..50).any(|_| {
        stage.ask(Op::Bind { socket: SocketIx(0), at })
            == Completion::Bound { socket: SocketIx(0), result: Ok(at) }
    });
    assert!(again);
}

pub(crate) fn datagrams_are_sent_and_failures_told<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let (at, to) = (stage.bind(4), stage.world.peer(1));
    for number in 0..3 {
        stage.submit(Op::SendTo { socket: SocketIx(4), to, bytes: numbered(number, 52).into() });
    }
    stage.submit(Op::SendTo { socket: SocketIx(4), to, bytes: vec![0; 70_000].into() });
    let failed = Seen::Trouble(Trouble::SendFailed { socket: SocketIx(4), errno: Errno(libc::EMSGSIZE) });
    stage.until("the failure", |seen| seen.contains(&failed));
    let expected: Vec<_> = (0..3).map(|number| (at, numbered(number, 52))).collect();
    assert_eq!(stage.world.received(1), expected);
    assert_eq!(stage.answers().len(), 1, "sending is not answered");
}

// ---------------------------------------------------------------- files

pub(crate) fn a_file_is_made_once_with_its_folders_and_closed_to_others<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let path = stage.create(0, "2026/11/21/a.part");
    assert_eq!(stage.world.mode(&path), 0o600);
    assert_eq!(stage.world.mode(path.parent().unwrap()), 0o700);
    let again = stage.ask(Op::Create { file: FileIx(1), path: path.clone() });
    assert_eq!(again, Completion::Created { file: FileIx(1), result: Err(Errno(libc::EEXIST)) });
    stage.create(1, "2026/11/21/b.part");
    let blocked = stage.ask(Op::Create { file: FileIx(2), path: path.join("below/a/file") });
    assert_eq!(blocked, Completion::Created { file: FileIx(2), result: Err(Errno(libc::ENOTDIR)) });
    assert_eq!(stage.world.file(&path), Some(Vec::new()));
}

pub(crate) fn disjoint_parts_of_a_block_are_written_at_once<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let path = stage.create(7, "a.part");
    let (a, b) = (stage.block(10), stage.block(20));
    for frame in 0..2 {
        stage.write(7, frame as u64 * FRAME_BYTES as u64, a, frame);
        stage.write(7, (2 + frame as u64) * FRAME_BYTES as u64, b, 1 - frame);
    }
    stage.until("four writes", |seen| answers(seen).len() == 5);
    for done in &stage.answers()[1..] {
        assert!(matches!(done, Completion::Written { file: FileIx(7), result: Ok(4096), .. }), "{done:?}");
    }
    let expected: Vec<u8> = [10, 11, 21, 20].iter().flat_map(|&fill| [fill; FRAME_BYTES]).collect();
    assert!(stage.world.file(&path).unwrap() == expected);
    stage.blocks.release(a);
    stage.blocks.release(b);
}

pub(crate) fn a_file_is_allocated_written_cut_synced_renamed_closed<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let (file, path) = (FileIx(2), stage.create(2, "x/a.part"));
    let allocated = stage.ask(Op::Allocate { file, size: 1 << 20 });
    assert_eq!(allocated, Completion::Allocated { file, result: Ok(()) });
    let block = stage.block(30);
    stage.write(2, 4096, block, 1);
    stage.until("the write", |seen| matches!(answers(seen).last(), Some(Completion::Written { .. })));
    stage.write(2, 0, block, 0);
    stage.until("the write", |seen| answers(seen).len() == 4);
    let cut = stage.ask(Op::Truncate { file, size: 5000 });
    assert_eq!(cut, Completion::Truncated { file, result: Ok(()) });
    assert_eq!(stage.ask(Op::Sync { file }), Completion::Synced { file, result: Ok(()) });
    let to = path.with_extension("sealed");
    let renamed = stage.ask(Op::Rename { file, from: path.clone(), to: to.clone() });
    assert_eq!(renamed, Completion::Renamed { file, result: Ok(()) });
    // The file stays open under its new name.
    stage.write(2, 4096, block, 1);
    stage.until("the write", |seen| answers(seen).len() == 8);
    assert_eq!(stage.ask(Op::Truncate { file, size: 4098 }), Completion::Truncated { file, result: Ok(()) });
    assert_eq!(stage.ask(Op::CloseFile { file }), Completion::FileClosed { file });
    assert_eq!(stage.world.file(&path), None);
    let mut expected = vec![30; 4096];
    expected.extend([31, 31]);
    assert!(stage.world.file(&to).unwrap() == expected);
}

pub(crate) fn a_failed_write_is_told_and_the_file_goes_on<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let path = stage.create(1, "a.part");
    let block = stage.block(40);
    let offset = stage.world.failing_offset(&path);
    stage.write(1, offset, block, 1);
    stage.until("the failure", |seen| answers(seen).len() == 2);
    let failed = stage.answers().swap_remove(1);
    assert!(
        matches!(failed, Completion::Written { file: FileIx(1), start: 4096, result: Err(_), .. }),
        "{failed:?}"
    );
    stage.write(1, 0, block, 1);
    stage.until("the write", |seen| answers(seen).len() == 3);
    assert!(stage.world.file(&path).unwrap() == [41; FRAME_BYTES]);
}

pub(crate) fn an_unknown_folder_fails_the_rename<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let (file, path) = (FileIx(0), stage.create(0, "a.part"));
    let nowhere = stage.world.folder().join("nowhere/a");
    let refused = stage.ask(Op::Rename { file, from: path.clone(), to: nowhere });
    assert_eq!(refused, Completion::Renamed { file, result: Err(Errno(libc::ENOENT)) });
    assert!(stage.world.file(&path).is_some());
}

pub(crate) fn many_files_are_open_at_once_and_slots_are_used_again<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let block = stage.block(50);
    for round in 0..3u8 {
        let paths: Vec<PathBuf> =
            (0..16).map(|slot| stage.create(slot, &format!("{round}/{slot}"))).collect();
        for slot in 0..16 {
            stage.write(slot, 0, block, slot % 2);
            let done = stage.answers().len();
            stage.until("the write", |seen| answers(seen).len() > done);
        }
        for slot in 0..16u32 {
            assert!(stage.world.file(&paths[slot as usize]).unwrap() == [50 + (slot % 2) as u8; FRAME_BYTES]);
            let file = FileIx(slot);
            assert_eq!(stage.ask(Op::CloseFile { file }), Completion::FileClosed { file });
        }
    }
}

// ---------------------------------------------------------------- time and the end

pub(crate) fn a_drain_ends_at_its_deadline<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    stage.bind(0);
    for ms in [0, 1, 5, 20] {
        let deadline = stage.world.now() + Duration::from_millis(ms);
        let ended = stage.ring.drain(deadline, &mut |_, _| {});
        assert!(ended >= deadline, "an idle ring sleeps to its deadline");
        // Generous: the machine may stall.
        assert!(ended.since(deadline) < Duration::from_millis(500));
        assert!(stage.world.now() >= ended);
    }
    let past = stage.world.now() - Duration::from_secs(1);
    assert!(stage.ring.drain(past, &mut |_, _| {}) > past);
}

pub(crate) fn a_drain_ends_when_the_ring_is_woken<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    stage.bind(0);
    let Some(waker) = stage.ring.waker() else { return assert_eq!(stage.ring.name(), "sim") };
    let started = stage.world.now();
    let far = started + Duration::from_secs(60);
    waker();
    stage.ring.drain(far, &mut |_, _| {});
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        waker();
    });
    assert!(stage.ring.drain(far, &mut |_, _| {}).since(started) < Duration::from_secs(30));
    thread.join().unwrap();
}

pub(crate) fn dropping_a_ring_at_work_is_safe<W: World>() {
    let mut stage = Stage::<W>::new(PLAN);
    let at = stage.bind(0);
    stage.create(0, "a.part");
    let block = stage.block(60);
    (0..2).for_each(|frame| stage.write(0, frame as u64 * 4096, block, frame));
    stage.submit(Op::Sync { file: FileIx(0) });
    stage.submit(Op::Bind { socket: SocketIx(1), at: stage.world.bind_at() });
    (0..10).for_each(|number| stage.world.send(0, at, &numbered(number, 172)));
    let Stage { ring, mut blocks, .. } = stage;
    drop(ring);
    // The kernel is done with the blocks: they may be filled again.
    (0..2).for_each(|frame| blocks.unlock(block, frame * 4096, 4096));
    blocks.frame_mut(block, 0).fill(0);
}
