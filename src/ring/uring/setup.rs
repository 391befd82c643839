//! Building the kernel's side of the ring, as large as planned or as locked memory allows.

use std::io;
use std::time::Duration;

use io_uring::IoUring;

use super::buffers::Buffers;
use crate::limits::{BLOCK_BYTES, FRAME_BYTES, RECEIVE_BUFFERS_MAX, SILENCE_FRAMES};
use crate::ring::probe::{explain, with_our_flags};
use crate::ring::{RingError, RingPlan};
use crate::sys::affinity;
use crate::sys::memory::BlockPool;

/// Below this there is no point in shrinking on.
const BUFFERS_MIN: u32 = 64;
/// Submissions that wait for the next enter; more go to the kernel at once.
const SUBMISSIONS_MIN: u32 = 64;
const SUBMISSIONS_MAX: u32 = 1024;
/// The kernel's bound (twice its 32,768 submissions).
const COMPLETIONS_MAX: u32 = 65_536;
/// How long a start waits for the locked memory of a ring that has just gone: looks, and time between two.
const TEARDOWN_LOOKS: u32 = 10;
const TEARDOWN_LOOK_EACH: Duration = Duration::from_millis(20);
/// The kernel registers no single buffer larger than this.
const REGION_BYTES_MAX: usize = 1 << 30;
const _: () =
    assert!(REGION_BYTES_MAX.is_multiple_of(BLOCK_BYTES), "no block crosses from one region into the next");
const _: () = assert!(
    REGION_BYTES_MAX.is_multiple_of(SILENCE_FRAMES as usize * FRAME_BYTES),
    "nor does a large one: they come first"
);

/// How large the parts of a ring are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    pub(super) submissions: u32,
    pub(super) completions: u32,
    pub(super) buffers: u32,
    /// File operations in flight.
    pub(super) pending: u32,
}

impl Sizes {
    fn of(plan: &RingPlan, buffers: u32) -> Sizes {
        let pending = plan.files_max.saturating_mul(4).saturating_add(64).min(COMPLETIONS_MAX);
        // Every buffer may be a completion, every receive may end, every file operation may be done at once.
        let completions =
            buffers.saturating_add(plan.sockets_max).saturating_add(pending).min(COMPLETIONS_MAX);
        Sizes {
            submissions: plan.sockets_max.clamp(SUBMISSIONS_MIN, SUBMISSIONS_MAX).next_power_of_two(),
            completions: completions.next_power_of_two(),
            buffers,
            pending,
        }
    }

    /// Bytes that the kernel counts against RLIMIT_MEMLOCK: entries of 64 and 16 bytes, an index of 4, and page ends.
    pub(super) fn locked_bytes(&self) -> u64 {
        let queues = u64::from(self.submissions) * 68 + u64::from(self.completions) * 16;
        queues + Buffers::locked_bytes(self.buffers) + 4 * 4096
    }
}

/// Bytes of locked memory that the queues and buffers of `plan` need; the block pool comes on top, if it can.
pub(super) fn locked_bytes(plan: &RingPlan) -> u64 {
    Sizes::of(plan, buffers_planned(plan)).locked_bytes()
}

fn buffers_planned(plan: &RingPlan) -> u32 {
    plan.receive_buffers.clamp(1, RECEIVE_BUFFERS_MAX as u32).next_power_of_two()
}

/// Builds the ring and its buffers. When locked memory is short there are fewer buffers than planned, and the log says so.
pub(super) fn open(plan: &RingPlan) -> Result<(IoUring, Buffers, Sizes), RingError> {
    let planned = buffers_planned(plan);
    let mut buffers = planned;
    loop {
        let sizes = Sizes::of(plan, buffers);
        let opened = if buffers == planned { patiently(|| try_open(&sizes)) } else { try_open(&sizes) };
        match opened {
            Err(RingError::LockedMemory { .. }) if buffers > BUFFERS_MIN => buffers /= 2,
            Err(RingError::LockedMemory { limit, .. }) => {
                return Err(RingError::LockedMemory { need: locked_bytes(plan), limit });
            }
            Err(error) => return Err(error),
            Ok((ring, lent)) => {
                if buffers < planned {
                    let why = explain_short(locked_bytes(plan));
                    tracing::warn!(
                        %why, buffers, planned,
                        "fewer receive buffers than planned: a stall of the machine costs packets sooner"
                    );
                }
                return Ok((ring, lent, sizes));
            }
        }
    }
}

/// The kernel takes a ring apart in the background, so what the last process had locked may be counted for a moment longer.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, RingError>) -> Result<T, RingError> {
    for _ in 0..TEARDOWN_LOOKS {
        match attempt() {
            Err(RingError::LockedMemory { .. }) => std::thread::sleep(TEARDOWN_LOOK_EACH),
            outcome => return outcome,
        }
    }
    attempt()
}

fn try_open(sizes: &Sizes) -> Result<(IoUring, Buffers), RingError> {
    let ring = with_our_flags()
        .setup_cqsize(sizes.completions)
        .build(sizes.submissions)
        .map_err(|error| explain("io_uring_setup", &error, sizes.locked_bytes()))?;
    let_workers_roam(&ring);
    let buffers = Buffers::new(sizes.buffers as u16, &ring.submitter())
        .map_err(|error| explain("io_uring_register (buffers)", &error, sizes.locked_bytes()))?;
    Ok((ring, buffers))
}

/// What may block (making files, giving them room) is done by worker threads of the kernel. They are born on the shard's core, where they
/// would take its time; elsewhere they cost it nothing.
fn let_workers_roam(ring: &IoUring) {
    let cores = affinity::process_cores();
    if let Err(why) = cores.and_then(|cores| ring.submitter().register_iowq_aff(&cores)) {
        tracing::debug!(%why, "the ring's workers stay on the shard's core");
    }
}

/// Registers the block pool, so that writes need not pin its pages each time; false if locked memory is short.
pub(super) fn register_blocks(ring: &IoUring, blocks: &BlockPool) -> Result<bool, RingError> {
    let (base, bytes) = blocks.region();
    let regions: Vec<libc::iovec> = (0..bytes)
        .step_by(REGION_BYTES_MAX)
        .map(|at| libc::iovec {
            iov_base: base.wrapping_add(at).cast(),
            iov_len: REGION_BYTES_MAX.min(bytes - at),
        })
        .collect();
    let register = || {
        // SAFETY: the regions are the pool's mapping, which outlives the ring (the shard's field order).
        unsafe { ring.submitter().register_buffers(&regions) }
            .map_err(|error| explain("io_uring_register (blocks)", &error, bytes as u64))
    };
    match patiently(register) {
        Ok(()) => Ok(true),
        Err(why @ RingError::LockedMemory { .. }) => {
            tracing::warn!(%why, "blocks are not registered with io_uring: each write costs a little more");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The block's region, as `register_blocks` numbered them.
pub(super) fn region_of(offset: usize) -> u16 {
    (offset / REGION_BYTES_MAX) as u16
}

fn explain_short(need: u64) -> RingError {
    explain("io_uring_register", &io::Error::from_raw_os_error(libc::ENOMEM), need)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_have_room_for_every_buffer_socket_and_file() {
        let plan = RingPlan { sockets_max: 100, files_max: 50, receive_buffers: 1024 };
        let sizes = Sizes::of(&plan, 1024);
        assert_eq!(sizes, Sizes { submissions: 128, completions: 2048, buffers: 1024, pending: 264 });
        let huge = RingPlan { sockets_max: 40_000, files_max: 10_000, receive_buffers: 32_768 };
        assert_eq!(Sizes::of(&huge, 32_768).completions, 65_536);
        assert!(Sizes::of(&huge, 32_768).locked_bytes() < 2 << 20);
    }
}
