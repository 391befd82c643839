//! The production ring: io_uring with multishot receives into provided buffers, woken by time, not by packets.
//!
//! Once per tick what has gathered is submitted, the thread sleeps until the deadline, and one `io_uring_enter` runs everything that
//! has become ready (SINGLE_ISSUER and DEFER_TASKRUN), a batch at a time: the kernel runs only as much work per enter as was asked for, and what a
//! batch leaves in few buffers is still in the cache when it is read. The sleep is beside the ring, on an eventfd that nothing but the waker rings: packets
//! end no sleep, and somebody in a hurry does.
//!
//! Must be made, used and dropped by one thread.

mod buffers;
mod files;
mod receive;
mod setup;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue};

use self::files::{Files, Next};
use self::receive::Receive;
use super::probe::{self, RingError};
use super::{
    AHEAD_DATAGRAMS_MAX, Completion, Op, Ring, RingPlan, SocketIx, Trouble, Waker, reserve_descriptors,
};
use crate::base::Mono;
use crate::limits::TICK;
use crate::sys::clock;
use crate::sys::memory::BlockPool;
use crate::sys::wake::Wake;

/// io_uring. See the module.
pub struct UringRing {
    /// First, so that the kernel is done with the rest before it goes.
    ring: IoUring,
    receive: Receive,
    files: Files,
    /// Entries that the submission queue had no room for, oldest first.
    waiting: VecDeque<Entry>,
    waiting_max: usize,
    wake: Arc<Wake>,
    /// Answers known without the kernel's queue, for the next drain.
    answers: VecDeque<Completion<'static>>,
    /// When the last drain ended.
    drained: Mono,
}

/// What an entry is about, as its user data: what, generation of the slot (24 bits), index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tag {
    Receive { socket: u32, generation: u32 },
    Cancel { socket: u32, generation: u32 },
    File { index: u32 },
}

impl Tag {
    const GENERATIONS: u32 = 1 << 24;

    fn encode(self) -> u64 {
        let (kind, generation, index) = match self {
            Tag::Receive { socket, generation } => (1, generation, socket),
            Tag::Cancel { socket, generation } => (2, generation, socket),
            Tag::File { index } => (3, 0, index),
        };
        kind << 56 | u64::from(generation) << 32 | u64::from(index)
    }

    fn decode(user_data: u64) -> Option<Tag> {
        let (generation, index) = ((user_data >> 32) as u32 % Tag::GENERATIONS, user_data as u32);
        match user_data >> 56 {
            1 => Some(Tag::Receive { socket: index, generation }),
            2 => Some(Tag::Cancel { socket: index, generation }),
            3 => Some(Tag::File { index }),
            _ => None,
        }
    }
}

impl UringRing {
    /// A ring for `plan` that writes from `blocks`, smaller than planned if locked memory is short.
    ///
    /// `blocks` must outlive it: drop the ring first.
    pub fn new(plan: RingPlan, blocks: &BlockPool) -> Result<UringRing, RingError> {
        let features = probe::probe_for(setup::locked_bytes(&plan))?;
        reserve_descriptors(&plan)?;
        let (ring, buffers, sizes) = setup::open(&plan)?;
        let registered = setup::register_blocks(&ring, blocks)?;
        ring.submitter()
            .register_files_sparse(plan.files_max.max(1))
            .map_err(|error| probe::explain("io_uring_register (files)", &error, 0))?;
        let waiting_max = plan.sockets_max as usize * 2 + sizes.pending as usize;
        Ok(UringRing {
            ring,
            receive: Receive::new(plan.sockets_max, buffers),
            files: Files::new(plan.files_max, sizes.pending, blocks, registered, features),
            waiting: VecDeque::with_capacity(waiting_max),
            waiting_max,
            wake: Arc::new(Wake::new().map_err(|error| probe::explain("eventfd", &error, 0))?),
            answers: VecDeque::with_capacity((plan.sockets_max + plan.files_max) as usize),
            drained: clock::mono(),
        })
    }

    /// Receive buffers that it got: as planned, or fewer where locked memory was short.
    pub fn receive_buffers(&self) -> u32 {
        self.receive.buffers().into()
    }

    /// Submits everything, then runs what is ready, for `timeout` at most.
    fn enter(&mut self, timeout: Duration) {
        self.flush();
        let timeout = Timespec::from(timeout);
        // In batches that stay in the cache from the kernel's copy to ours.
        let want = self.receive.batch();
        match self.ring.submitter().submit_with_args(want, &SubmitArgs::new().timespec(&timeout)) {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // The deadline, a signal, a full completion queue (emptied next): all in order.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                _ => {
                    tracing::error!(%error, "io_uring_enter failed");
                    std::thread::sleep(Duration::from_millis(1));
                }
            },
        }
    }

    /// Submits what has gathered, without waiting for anything.
    fn submit_waiting(&mut self) {
        self.flush();
        if !self.ring.submission().is_empty() {
            // What the kernel does not take now it takes when the ring is entered.
            let _ = self.ring.submit();
        }
    }

    /// Moves waiting entries into the submission queue as far as it takes them.
    fn flush(&mut self) {
        while let Some(entry) = self.waiting.front() {
            if !push(&mut self.ring, entry) {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Queues an entry behind those that wait already: a cancel must not overtake what it cancels.
    fn queue(&mut self, entry: Entry) {
        if !self.waiting.is_empty() || !push(&mut self.ring, &entry) {
            self.waiting.push_back(entry);
        }
    }

    /// Hands out everything that is there; whether more may be had at once.
    fn reap(&mut self, now: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> bool {
        // What was answered without the kernel comes first: a socket is `Bound` before its first datagram.
        while let Some(answer) = self.answers.pop_front() {
            sink(now, answer);
        }
        let UringRing { ring, receive, files, waiting, .. } = self;
        let (submitter, submissions, mut completions) = ring.split();
        let overflow = submissions.cq_overflow();
        // The kernel was asked for so many and no more.
        let mut again = overflow || completions.len() >= receive.batch();
        let mut room = [const { MaybeUninit::uninit() }; AHEAD_DATAGRAMS_MAX];
        loop {
            let batch: &[cqueue::Entry] = completions.fill(&mut room);
            if batch.is_empty() {
                break;
            }
            receive.announce(batch, now, sink);
            for completion in batch {
                let (result, flags) = (completion.result(), completion.flags());
                match Tag::decode(completion.user_data()) {
                    Some(Tag::Receive { socket, generation }) => {
                        let rearm = receive.completed(SocketIx(socket), generation, result, flags, now, sink);
                        // One that failed waits for the next tick: trying it at once could go on for ever.
                        again |= rearm.is_some() && (result >= 0 || result == -libc::ENOBUFS);
                        waiting.extend(rearm);
                    }
                    Some(Tag::Cancel { socket, generation }) => {
                        waiting.extend(receive.cancelled(SocketIx(socket), generation, result));
                    }
                    Some(Tag::File { index }) => match files.completed(index, result, &submitter) {
                        Next::Submit(index, entry) => {
                            waiting.push_back(entry.user_data(Tag::File { index }.encode()))
                        }
                        Next::Answer(answer) => sink(now, answer),
                    },
                    None => debug_assert!(false, "unknown completion {completion:?}"),
                }
            }
        }
        // Buffers go back before receives are armed again, or those would end at once for want of them.
        receive.lend(1);
        if overflow {
            sink(now, Completion::Trouble(Trouble::CqOverflow));
        }
        again
    }

    fn read_clocks(&mut self) -> Mono {
        let clocks = clock::both();
        self.receive.tick(clocks);
        clocks.0
    }

    fn submit_file(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op> {
        match self.files.start(op, blocks)? {
            Next::Submit(index, entry) => self.queue(entry.user_data(Tag::File { index }.encode())),
            Next::Answer(answer) => self.answers.push_back(answer),
        }
        Ok(())
    }
}

/// Puts an entry into the submission queue, making room first; whether it is in.
fn push(ring: &mut IoUring, entry: &Entry) -> bool {
    if ring.submission().is_full() && ring.submit().is_err() {
        return false;
    }
    // SAFETY: what entries point to lives in `Receive` and `Files` until the completion is there, and they in `UringRing`, whose
    // drop waits for every operation.
    unsafe { ring.submission().push(entry).is_ok() }
}

impl Ring for UringRing {
    fn submit(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op> {
        if self.waiting.len() >= self.waiting_max {
            return Err(op);
        }
        match op {
            Op::Bind { socket, at } => match self.receive.bind(socket, at) {
                Ok((bound, entry)) => {
                    self.queue(entry);
                    self.answers.push_back(Completion::Bound { socket, result: Ok(bound) });
                }
                Err(errno) => self.answers.push_back(Completion::Bound { socket, result: Err(errno) }),
            },
            Op::CloseSocket { socket } => match self.receive.close(socket) {
                Some(cancel) => self.queue(cancel),
                None => self.answers.push_back(Completion::SocketClosed { socket }),
            },
            Op::SendTo { socket, to, bytes } => {
                if let Err(errno) = self.receive.send_to(socket, to, &bytes) {
                    self.answers.push_back(Completion::Trouble(Trouble::SendFailed { socket, errno }));
                }
            }
            file => return self.submit_file(file, blocks),
        }
        Ok(())
    }

    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        self.submit_waiting();
        let rung = self.wake.sleep_until(deadline);
        let woken = clock::mono();
        let deadline = if rung { woken } else { deadline };
        // If the machine has stalled, or the work took long, as many more datagrams wait in each socket.
        let ticks = woken.since(self.drained).as_micros() / TICK.as_micros();
        self.receive.lend(u16::try_from(ticks).unwrap_or(u16::MAX).max(1));
        loop {
            self.enter(Duration::ZERO);
            let now = self.read_clocks();
            let again = self.reap(now, sink);
            // A receive that ended may have more in its socket: fetched at once, but not for ever.
            if !again || now.since(deadline) > TICK {
                self.drained = now;
                return now;
            }
        }
    }

    fn waker(&self) -> Option<Waker> {
        let wake = Arc::clone(&self.wake);
        Some(Arc::new(move || wake.ring()))
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

impl Drop for UringRing {
    /// Ends every receive and waits for every file operation, so that the kernel touches no memory of ours afterwards.
    fn drop(&mut self) {
        for cancel in self.receive.close_all() {
            self.queue(cancel);
        }
        let mut next_word = clock::mono() + Duration::from_secs(5);
        while self.receive.armed() > 0 || self.files.in_flight() > 0 {
            self.enter(Duration::from_millis(1));
            self.reap(clock::mono(), &mut |_, _| {});
            if clock::mono() > next_word {
                let (receives, files) = (self.receive.armed(), self.files.in_flight());
                tracing::warn!(
                    receives,
                    files,
                    "the ring waits for the kernel to finish; is a disk hanging?"
                );
                next_word = clock::mono() + Duration::from_secs(5);
            }
        }
    }
}

fn more(flags: u32) -> bool {
    cqueue::more(flags)
}

fn errno(error: &io::Error) -> super::Errno {
    super::Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
