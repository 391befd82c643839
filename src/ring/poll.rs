//! The ring for machines that refuse io_uring: epoll, recvmmsg and plain system calls, all features of the other.
//!
//! It too is woken by time: it sleeps until the deadline and then sweeps every socket that has something. File operations
//! are done when they are submitted, in the shard's thread, and answered at the next drain; a slow disk therefore
//! stalls the shard, which is why this ring is the second choice.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::arrival::{ArrivalClock, CONTROL_BYTES, DropCount};
use super::batch::Batch;
use super::{Completion, Errno, FileIx, Op, Ring, RingError, RingPlan, SocketIx, Trouble, Waker};
use crate::base::Mono;
use crate::sys::memory::BlockPool;
use crate::sys::wake::Wake;
use crate::sys::{clock, file, socket};

/// Datagrams taken from one socket by one system call. At 50 packets/s a socket holds one or two per tick.
const BATCH: usize = 8;
/// Sockets with news that one system call tells.
const EVENTS: usize = 1024;
/// Batches taken from one socket before the others get their turn.
const BATCHES_PER_TURN: usize = 64;

/// epoll, recvmmsg and plain system calls.
pub struct PollRing {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
    sockets: Box<[Option<PollSocket>]>,
    files: Box<[Option<File>]>,
    answers: VecDeque<Completion<'static>>,
    batch: Batch,
    arrivals: ArrivalClock,
    wake: Arc<Wake>,
}

struct PollSocket {
    fd: OwnedFd,
    drops: DropCount,
}

impl PollRing {
    /// A ring for `plan`; its receive buffers are its own few, for a datagram is handed out as it is read.
    pub fn new(plan: RingPlan) -> Result<PollRing, RingError> {
        // SAFETY: no memory is handed over.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(RingError::System {
                call: "epoll_create1",
                errno: errno(&io::Error::last_os_error()),
            });
        }
        super::reserve_descriptors(&plan)?;
        Ok(PollRing {
            // SAFETY: just made, known to nobody else.
            epoll: unsafe { OwnedFd::from_raw_fd(epoll) },
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS].into(),
            sockets: (0..plan.sockets_max).map(|_| None).collect(),
            files: (0..plan.files_max).map(|_| None).collect(),
            answers: VecDeque::with_capacity((plan.sockets_max + plan.files_max) as usize),
            batch: Batch::new(BATCH, CONTROL_BYTES),
            wake: Arc::new(Wake::new()?),
            arrivals: ArrivalClock::new(clock::both()),
        })
    }

    fn bind(&mut self, socket: SocketIx, at: SocketAddr) -> io::Result<SocketAddr> {
        let slot = &mut self.sockets[socket.0 as usize];
        assert!(slot.is_none(), "{socket:?} is in use");
        let (fd, bound) = socket::receiver(at)?;
        // Edge-triggered: a socket that was read empty is not looked at again until something comes.
        let mut event =
            libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: u64::from(socket.0) };
        // SAFETY: the event lives through the call.
        let added = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event)
        };
        if added != 0 {
            return Err(io::Error::last_os_error());
        }
        *slot = Some(PollSocket { fd, drops: DropCount::default() });
        Ok(bound)
    }

    fn send_to(&mut self, socket: SocketIx, to: SocketAddr, bytes: &[u8]) {
        let sent = match &self.sockets[socket.0 as usize] {
            Some(open) => socket::send_to(open.fd.as_raw_fd(), to, bytes),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        };
        if let Err(error) = sent {
            self.answers.push_back(Completion::Trouble(Trouble::SendFailed { socket, errno: errno(&error) }));
        }
    }

    fn create(&mut self, slot: FileIx, path: &std::path::Path) -> io::Result<()> {
        let file = &mut self.files[slot.0 as usize];
        assert!(file.is_none(), "{slot:?} is in use");
        *file = Some(file::create(path)?);
        Ok(())
    }

    fn file(&self, file: FileIx) -> io::Result<&File> {
        self.files[file.0 as usize].as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn answer(&mut self, op: Op, blocks: &BlockPool) -> Option<Completion<'static>> {
        Some(match op {
            Op::Bind { socket, at } => Completion::Bound { socket, result: or_errno(self.bind(socket, at)) },
            Op::CloseSocket { socket } => {
                // Closing takes it out of the epoll set as well: no other descriptor refers to it.
                self.sockets[socket.0 as usize] = None;
                Completion::SocketClosed { socket }
            }
            Op::SendTo { socket, to, bytes } => {
                self.send_to(socket, to, &bytes);
                return None;
            }
            Op::Create { file, path } => {
                Completion::Created { file, result: or_errno(self.create(file, &path)) }
            }
            Op::Allocate { file, size } => Completion::Allocated {
                file,
                result: or_errno(self.file(file).and_then(|f| file::allocate(f, size))),
            },
            Op::Write { file, offset, block, start, len } => {
                let written =
                    self.file(file).and_then(|f| f.write_at(blocks.bytes(block, start, len), offset));
                Completion::Written {
                    file,
                    block,
                    start,
                    result: or_errno(written.map(|bytes| bytes as u32)),
                }
            }
            Op::Truncate { file, size } => Completion::Truncated {
                file,
                result: or_errno(self.file(file).and_then(|f| f.set_len(size))),
            },
            Op::Sync { file } => {
                Completion::Synced { file, result: or_errno(self.file(file).and_then(File::sync_data)) }
            }
            Op::Rename { file, from, to } => {
                Completion::Renamed { file, result: or_errno(file::rename_durably(&from, &to)) }
            }
            Op::CloseFile { file } => {
                self.files[file.0 as usize] = None;
                Completion::FileClosed { file }
            }
        })
    }

    /// Fills `events` with sockets that have something; how many.
    fn wait(&mut self) -> usize {
        // SAFETY: the array is ours to write and as long as said.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), EVENTS as libc::c_int, 0)
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// Hands out what one socket holds.
    fn sweep(&mut self, socket: SocketIx, now: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) {
        let Some(open) = &mut self.sockets[socket.0 as usize] else { return };
        for _ in 0..BATCHES_PER_TURN {
            let count = match self.batch.receive(&open.fd) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An error that waits in the socket is told once and cleared; the next call goes on.
                Err(_) => {
                    sink(now, Completion::Trouble(Trouble::Rearmed));
                    continue;
                }
            };
            for index in 0..count {
                let datagram = self.batch.datagram(index);
                if let Some(count) = open.drops.news(datagram.control.dropped) {
                    sink(now, Completion::Trouble(Trouble::KernelDrops { socket, count }));
                }
                let arrival = self.arrivals.arrival(datagram.control.taken);
                let (from, payload, truncated) = (datagram.from, datagram.payload, datagram.truncated);
                sink(now, Completion::Received { socket, from, arrival, payload, truncated });
            }
            if count < BATCH {
                return;
            }
        }
        self.look_again(socket);
    }

    /// Its turn is over and it may hold more: modifying an edge-triggered entry makes epoll tell of it again.
    fn look_again(&mut self, socket: SocketIx) {
        let Some(open) = &self.sockets[socket.0 as usize] else { return };
        let mut event =
            libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: u64::from(socket.0) };
        // SAFETY: the event lives through the call. It can't fail: the socket is in the set.
        unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_MOD, open.fd.as_raw_fd(), &mut event)
        };
    }
}

impl Ring for PollRing {
    fn submit(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op> {
        let answer = self.answer(op, blocks);
        self.answers.extend(answer);
        Ok(())
    }

    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        let deadline = if self.wake.sleep_until(deadline) { clock::mono() } else { deadline };
        let mut now = self.read_clocks();
        // What is answered comes first: a socket is `Bound` before its first datagram.
        while let Some(answer) = self.answers.pop_front() {
            sink(now, answer);
        }
        loop {
            let count = self.wait();
            for index in 0..count {
                self.sweep(SocketIx(self.events[index].u64 as u32), now, sink);
            }
            // Less than could be told: the rest may wait for the next tick.
            if count < EVENTS || now.since(deadline) > crate::limits::TICK {
                return now;
            }
            now = self.read_clocks();
        }
    }

    fn waker(&self) -> Option<Waker> {
        let wake = Arc::clone(&self.wake);
        Some(Arc::new(move || wake.ring()))
    }

    fn name(&self) -> &'static str {
        "poll"
    }
}

impl PollRing {
    fn read_clocks(&mut self) -> Mono {
        let clocks = clock::both();
        self.arrivals.tick(clocks);
        clocks.0
    }
}

pub(super) fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

fn or_errno<T>(result: io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| errno(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::conformance::{World, conformance_tests};
    use crate::ring::loopback::{Loopback, loopback_world};

    struct Poll(Loopback);
    loopback_world!(Poll, PollRing, |plan, _blocks| PollRing::new(plan).unwrap());
    conformance_tests!(Poll);
}
