//! Sockets and their multishot receives: armed at bind, armed again whenever the kernel ends one, ended at close.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::squeue::Entry;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};

use super::buffers::{Buffers, GROUP};
use super::{Tag, errno, more};
use crate::base::{Mono, Wall};
use crate::ring::arrival::{ArrivalClock, CONTROL_BYTES, DropCount, NAME_BYTES};
use crate::ring::{AHEAD_DATAGRAMS_MAX, Completion, Errno, SocketIx, Trouble};
use crate::sys::{cache, clock, socket};

/// All sockets of a ring.
pub(super) struct Receive {
    sockets: Box<[Slot]>,
    buffers: Buffers,
    /// How much of a buffer is for the source address and the control data; the same for every receive.
    shape: Box<libc::msghdr>,
    arrivals: ArrivalClock,
    armed: usize,
}

#[derive(Default)]
struct Slot {
    open: Option<Socket>,
    /// Of the socket in the slot, so that nothing of the last one is taken for it.
    generation: u32,
}

/// A socket: armed until the kernel says that its receive has ended; closed once that is so.
struct Socket {
    fd: OwnedFd,
    drops: DropCount,
    closing: bool,
}

impl Receive {
    pub(super) fn new(sockets_max: u32, buffers: Buffers) -> Receive {
        // SAFETY: plain integers and pointers, for which all zeroes is a value.
        let mut shape: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        shape.msg_namelen = NAME_BYTES as libc::socklen_t;
        shape.msg_controllen = CONTROL_BYTES;
        Receive {
            sockets: (0..sockets_max).map(|_| Slot::default()).collect(),
            buffers,
            shape,
            arrivals: ArrivalClock::new(clock::both()),
            armed: 0,
        }
    }

    /// To be called once per round with both clocks read together.
    pub(super) fn tick(&mut self, clocks: (Mono, Wall)) {
        self.arrivals.tick(clocks);
    }

    /// Receives that the kernel has not ended.
    pub(super) fn armed(&self) -> usize {
        self.armed
    }

    /// Receive buffers.
    pub(super) fn buffers(&self) -> u16 {
        self.buffers.count()
    }

    /// Lends the kernel buffers: what it needs as a rule, or so many `times` that.
    pub(super) fn lend(&mut self, times: u16) {
        self.buffers.lend(times);
    }

    /// Datagrams to ask the kernel for at once.
    pub(super) fn batch(&self) -> usize {
        self.buffers.batch()
    }

    /// Tells the sink whose datagrams come next.
    pub(super) fn announce(
        &self,
        completions: &[cqueue::Entry],
        now: Mono,
        sink: &mut dyn FnMut(Mono, Completion<'_>),
    ) {
        let mut sockets = [SocketIx(0); AHEAD_DATAGRAMS_MAX];
        let mut count = 0;
        for completion in completions.iter().take(AHEAD_DATAGRAMS_MAX) {
            if let Some(Tag::Receive { socket, .. }) = Tag::decode(completion.user_data()) {
                cache::fetch(&self.sockets[socket as usize]);
                sockets[count] = SocketIx(socket);
                count += 1;
            }
        }
        // A single one gains nothing by being announced.
        if count > 1 {
            sink(now, Completion::Ahead { sockets: &sockets[..count] });
        }
    }

    /// Opens a socket; the entry arms its receive.
    pub(super) fn bind(&mut self, socket: SocketIx, at: SocketAddr) -> Result<(SocketAddr, Entry), Errno> {
        let slot = &mut self.sockets[socket.0 as usize];
        assert!(slot.open.is_none(), "{socket:?} is in use");
        let (fd, bound) = socket::receiver(at).map_err(|error| errno(&error))?;
        slot.open = Some(Socket { fd, drops: DropCount::default(), closing: false });
        slot.generation = (slot.generation + 1) % Tag::GENERATIONS;
        self.armed += 1;
        Ok((bound, self.arm(socket).expect("the socket was just opened")))
    }

    /// Ends a socket: the entry cancels its receive; `None` if the slot is free.
    pub(super) fn close(&mut self, socket: SocketIx) -> Option<Entry> {
        self.sockets[socket.0 as usize].open.as_mut()?.closing = true;
        Some(self.cancel(socket))
    }

    /// Ends every socket.
    pub(super) fn close_all(&mut self) -> Vec<Entry> {
        (0..self.sockets.len() as u32).filter_map(|socket| self.close(SocketIx(socket))).collect()
    }

    /// Sends one datagram at once.
    pub(super) fn send_to(&self, socket: SocketIx, to: SocketAddr, bytes: &[u8]) -> Result<(), Errno> {
        let open = self.sockets[socket.0 as usize].open.as_ref().ok_or(Errno(libc::EBADF))?;
        socket::send_to(open.fd.as_raw_fd(), to, bytes).map_err(|error| errno(&error))
    }

    /// One completion of a receive: hands out the datagram and takes its buffer back. The entry, if any, arms the receive again.
    pub(super) fn completed(
        &mut self,
        socket: SocketIx,
        generation: u32,
        result: i32,
        flags: u32,
        now: Mono,
        sink: &mut dyn FnMut(Mono, Completion<'_>),
    ) -> Option<Entry> {
        let slot = &mut self.sockets[socket.0 as usize];
        let mut open = slot.open.as_mut().filter(|_| slot.generation == generation);
        if let Some(id) = cqueue::buffer_select(flags) {
            let wanted = open.as_deref_mut().filter(|open| !open.closing && result >= 0);
            let datagram = self.buffers.datagram(id, result.max(0) as usize);
            if let (Some(open), Some(datagram)) = (wanted, datagram) {
                if let Some(count) = open.drops.news(datagram.control.dropped) {
                    sink(now, Completion::Trouble(Trouble::KernelDrops { socket, count }));
                }
                let arrival = self.arrivals.arrival(datagram.control.taken);
                let (from, payload, truncated) = (datagram.from, datagram.payload, datagram.truncated);
                sink(now, Completion::Received { socket, from, arrival, payload, truncated });
            }
            self.buffers.give_back(id);
        }
        if more(flags) {
            return None;
        }
        match open {
            None => None,
            Some(open) if open.closing => {
                slot.open = None;
                self.armed -= 1;
                sink(now, Completion::SocketClosed { socket });
                None
            }
            Some(_) => {
                let ran_out = result == -libc::ENOBUFS;
                if ran_out {
                    self.buffers.ran_out();
                }
                let trouble = if ran_out { Trouble::NoBuffers } else { Trouble::Rearmed };
                sink(now, Completion::Trouble(trouble));
                self.arm(socket)
            }
        }
    }

    /// The answer to a cancel. What it cancelled says so itself; the entry tries again what was not to be cancelled just then.
    pub(super) fn cancelled(&mut self, socket: SocketIx, generation: u32, result: i32) -> Option<Entry> {
        let slot = &self.sockets[socket.0 as usize];
        let closing = slot.generation == generation && slot.open.as_ref().is_some_and(|open| open.closing);
        // ENOENT: it has ended by itself, and its last completion is on the way.
        (closing && result < 0 && result != -libc::ENOENT).then(|| self.cancel(socket))
    }

    fn arm(&self, socket: SocketIx) -> Option<Entry> {
        let slot = &self.sockets[socket.0 as usize];
        let fd = Fd(slot.open.as_ref()?.fd.as_raw_fd());
        let tag = Tag::Receive { socket: socket.0, generation: slot.generation };
        Some(opcode::RecvMsgMulti::new(fd, &raw const *self.shape, GROUP).build().user_data(tag.encode()))
    }

    fn cancel(&self, socket: SocketIx) -> Entry {
        let generation = self.sockets[socket.0 as usize].generation;
        let receive = Tag::Receive { socket: socket.0, generation };
        let tag = Tag::Cancel { socket: socket.0, generation };
        opcode::AsyncCancel::new(receive.encode()).build().user_data(tag.encode())
    }
}
