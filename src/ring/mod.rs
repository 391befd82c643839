//! The one boundary between a shard and the world: [`Op`] in, [`Completion`] out, buffers by index.
//!
//! Three rings implement [`Ring`] and pass the same script (`conformance`): `uring` for production, `poll` for
//! machines that refuse io_uring, `sim` for tests. A [`tier`] over a ring receives datagrams another way. Nothing above a ring reads a clock, draws randomness or
//! touches a file descriptor: time enters with [`Ring::drain`], and the rest as completions.
//!
//! ```text
//!   shard ── submit(Op) ──▶ ring ── system calls ──▶ kernel
//!         ◀─ Completion ───      ◀─ completions ────
//! ```
//!
//! Rules that every ring keeps:
//!
//! - Each op but [`Op::SendTo`] is answered by exactly one completion of the matching kind, at a later `drain`.
//! - Between `Bound` and `Closed` of a socket, each datagram is one `Received`, in the order of its socket's queue;
//!   after `SocketClosed` none follows. A receive that the kernel ended (ENOBUFS, CQ overflow) is re-armed by the ring and
//!   reported as [`Trouble`].
//! - A [`Received`](Completion::Received) payload is valid only inside the callback; its buffer is given back when the callback returns.
//! - While a `Write` is in flight the bytes it covers stay as they are; the rest of its block may be filled on.
//! - `submit` never blocks. `drain` returns at its deadline at the latest, but for the time the callback takes.

pub mod any;
mod arrival;
mod batch;
pub mod choice;
#[cfg(test)]
#[path = "conformance_tests.rs"]
pub(crate) mod conformance;
#[cfg(test)]
#[path = "loopback_tests.rs"]
mod loopback;
pub mod packet;
pub mod poll;
pub mod probe;
pub mod sim;
pub mod steered;
pub mod tier;
pub mod uring;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use probe::RingError;
use probe::reserve_descriptors;

use crate::base::Mono;
use crate::sys::memory::{BlockIx, BlockPool};

/// A socket slot of the shard, chosen by the shard; below [`RingPlan::sockets_max`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketIx(pub u32);

/// A file slot of the shard, chosen by the shard; below [`RingPlan::files_max`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileIx(pub u32);

/// What a ring is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingPlan {
    /// Socket slots.
    pub sockets_max: u32,
    /// File slots.
    pub files_max: u32,
    /// Receive buffers of [`crate::limits::RECEIVE_BUFFER_BYTES`] each; a power of two, at most
    /// [`crate::limits::RECEIVE_BUFFERS_MAX`].
    pub receive_buffers: u32,
}

/// Something the shard wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Open a UDP socket, bind it and start receiving. Answered by [`Completion::Bound`].
    Bind {
        /// The slot; must be free.
        socket: SocketIx,
        /// Address and port; port 0 lets the system choose.
        at: SocketAddr,
    },
    /// Stop receiving and close. Answered by [`Completion::SocketClosed`]; what was received before is handed out first or dropped.
    CloseSocket {
        /// The slot.
        socket: SocketIx,
    },
    /// Send one datagram (RTCP). Best effort: a failure is [`Trouble::SendFailed`], success is silent.
    SendTo {
        /// The slot.
        socket: SocketIx,
        /// Where to.
        to: SocketAddr,
        /// The datagram.
        bytes: Box<[u8]>,
    },
    /// Create a file that must not exist, mode 0600, for writing past the page cache where the file system can, missing folders made
    /// (mode 0700). Answered by [`Completion::Created`].
    Create {
        /// The slot; must be free.
        file: FileIx,
        /// Where.
        path: PathBuf,
    },
    /// Make room so that writes below `size` do not extend the file. Answered by [`Completion::Allocated`]. A file system that can't is no error.
    Allocate {
        /// The slot.
        file: FileIx,
        /// The file's new size in bytes.
        size: u64,
    },
    /// Write part of a block, or from there on into those behind it; offset, start and length are multiples of 4,096. Answered by [`Completion::Written`].
    Write {
        /// The slot.
        file: FileIx,
        /// Where in the file.
        offset: u64,
        /// The block.
        block: BlockIx,
        /// First byte of the block to write.
        start: u32,
        /// How many.
        len: u32,
    },
    /// Set the file's size. Answered by [`Completion::Truncated`].
    Truncate {
        /// The slot.
        file: FileIx,
        /// Size in bytes.
        size: u64,
    },
    /// fdatasync. Answered by [`Completion::Synced`].
    Sync {
        /// The slot.
        file: FileIx,
    },
    /// Rename within one folder, then fsync that folder. Answered by [`Completion::Renamed`]. The file stays open.
    Rename {
        /// The slot of the file that moves, for the answer.
        file: FileIx,
        /// Old name.
        from: PathBuf,
        /// New name.
        to: PathBuf,
    },
    /// Close. Answered by [`Completion::FileClosed`].
    CloseFile {
        /// The slot.
        file: FileIx,
    },
}

/// Why the system said no: the errno, as `std::io::Error::from_raw_os_error` takes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Errno(pub i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Completion<'a> {
    /// A datagram came in.
    Received {
        /// On this slot.
        socket: SocketIx,
        /// From here.
        from: SocketAddr,
        /// When the kernel took it, as well as it can be known; never later than `now`, never before the last drain's `now`
        /// by more than the machine was stalled.
        arrival: Mono,
        /// The datagram, cut at [`crate::limits::DATAGRAM_BYTES_MAX`] if longer.
        payload: &'a [u8],
        /// Whether it was cut.
        truncated: bool,
    },
    /// Datagrams of these sockets come next, in this order. Only a hint: a ring may leave it out, or be wrong. Who takes it can fetch what they will
    /// touch into the cache, all at once, instead of waiting for it one by one.
    Ahead {
        /// Their slots; at most [`AHEAD_DATAGRAMS_MAX`].
        sockets: &'a [SocketIx],
    },
    /// Answers [`Op::Bind`] with the address bound.
    Bound {
        /// The slot.
        socket: SocketIx,
        /// The local address, or why not.
        result: Result<SocketAddr, Errno>,
    },
    /// Answers [`Op::CloseSocket`]; the slot is free.
    SocketClosed {
        /// The slot.
        socket: SocketIx,
    },
    /// Answers [`Op::Create`]. After an error the slot is free.
    Created {
        /// The slot.
        file: FileIx,
        /// Whether it is there.
        result: Result<(), Errno>,
    },
    /// Answers [`Op::Allocate`].
    Allocated {
        /// The slot.
        file: FileIx,
        /// ENOSPC and EIO are told; a file system that can't preallocate is not.
        result: Result<(), Errno>,
    },
    /// Answers [`Op::Write`]: the block's bytes may change again.
    Written {
        /// The slot.
        file: FileIx,
        /// The block.
        block: BlockIx,
        /// First byte of the block, as submitted.
        start: u32,
        /// Bytes written (may be short), or why not.
        result: Result<u32, Errno>,
    },
    /// Answers [`Op::Truncate`].
    Truncated {
        /// The slot.
        file: FileIx,
        /// Whether the size is set.
        result: Result<(), Errno>,
    },
    /// Answers [`Op::Sync`]: what was written before is on the device.
    Synced {
        /// The slot.
        file: FileIx,
        /// Whether it is.
        result: Result<(), Errno>,
    },
    /// Answers [`Op::Rename`].
    Renamed {
        /// The slot.
        file: FileIx,
        /// Whether it is, durably.
        result: Result<(), Errno>,
    },
    /// Answers [`Op::CloseFile`]; the slot is free.
    FileClosed {
        /// The slot.
        file: FileIx,
    },
    /// Nothing was asked, something went wrong; counted, never fatal.
    Trouble(Trouble),
}

/// Datagrams that one [`Completion::Ahead`] may speak of: what they touch fits into a core's second cache. Each step along the pointers waits once for
/// all of them.
pub const AHEAD_DATAGRAMS_MAX: usize = 64;

/// What can go wrong with receiving and sending. Each has a counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trouble {
    /// The receive buffers ran out and a multishot receive ended; it was re-armed. Packets wait in the socket.
    NoBuffers,
    /// The completion queue overflowed (the kernel keeps the surplus; receives end and were re-armed).
    CqOverflow,
    /// A receive ended for another reason and was re-armed.
    Rearmed,
    /// The kernel dropped this many datagrams on this socket for want of room (SO_RXQ_OVFL). These are our losses.
    KernelDrops {
        /// The slot.
        socket: SocketIx,
        /// How many since the last report.
        count: u32,
    },
    /// The kernel dropped this many datagrams for want of room in a queue that all sockets share. These are our losses, too.
    SharedDrops {
        /// How many since the last report.
        count: u32,
    },
    /// This many datagrams came to ports that are not open.
    Stray {
        /// How many since the last report.
        count: u32,
    },
    /// Packets for open ports came that are no datagrams. See [`packet::frame::Fault`].
    Unreadable {
        /// Fragments of longer packets, by their first.
        fragments: u32,
        /// The UDP checksum was wrong.
        bad_checksums: u32,
        /// Lengths, versions or header checksums that no IP stack would accept.
        malformed: u32,
    },
    /// A datagram could not be sent.
    SendFailed {
        /// The slot.
        socket: SocketIx,
        /// Why.
        errno: Errno,
    },
}

/// Ends the wait of a ring, or the next one. May be called from any thread.
pub type Waker = std::sync::Arc<dyn Fn() + Send + Sync>;

/// The boundary. See the module's rules.
pub trait Ring {
    /// Queues `op`. A full queue is drained to the kernel first; only when that fails is the op handed back, to be
    /// submitted again after the next drain.
    fn submit(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op>;

    /// Waits until `deadline`, or until its waker is called, and hands every completion to `sink` with the present instant; returns that instant.
    /// Completions may be handed out in several rounds if the work took long. A ring that reads blocks does so at `submit` or by the
    /// address of the pool that it was made with: the sink has the pool to itself.
    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono;

    /// What ends a wait early when another thread calls it. None where time is simulated.
    fn waker(&self) -> Option<Waker> {
        None
    }

    /// The name for the log: `io_uring`, `poll`, `sim`.
    fn name(&self) -> &'static str;
}
