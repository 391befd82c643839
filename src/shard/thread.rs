//! The shard's thread: pinned to its core, its ring made there (io_uring wants a single issuer), one loop.

use std::sync::mpsc;
use std::thread::JoinHandle;

use super::{Shard, ShardPlan};
use crate::link::{Event, ShardEnd};
use crate::ring::{Ring, RingPlan};
use crate::sys::memory::BlockPool;
use crate::sys::{affinity, clock};

/// A shard that runs.
pub struct ShardThread {
    thread: JoinHandle<()>,
    /// Which ring it runs on: `io_uring` or `poll`.
    pub ring: &'static str,
}

impl ShardThread {
    /// Waits for the shard to end, which it does after [`crate::link::Command::Shutdown`] once its calls are closed.
    pub fn join(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}

/// Starts a shard on its own thread, pinned to `cpu` if that can be had. `make` makes its ring, on that thread.
///
/// # Errors
/// What `make` says, or that memory or the thread can't be had.
pub fn spawn<R, E>(
    plan: ShardPlan,
    cpu: Option<usize>,
    link: ShardEnd,
    make: impl FnOnce(RingPlan, &BlockPool) -> Result<R, E> + Send + 'static,
) -> Result<ShardThread, E>
where
    R: Ring,
    E: From<std::io::Error> + Send + 'static,
{
    let (told, started) = mpsc::sync_channel(1);
    let run = move || {
        let _guard = AbortOnPanic;
        if let Some(cpu) = cpu
            && let Err(error) = affinity::pin_thread(cpu)
        {
            tracing::warn!(shard = plan.index, cpu, %error, "the shard is not pinned to its core");
        }
        if let Err(error) = affinity::take_short_turns() {
            tracing::debug!(shard = plan.index, %error, "the shard takes turns like any other thread");
        }
        let made = BlockPool::new(plan.blocks())
            .map_err(E::from)
            .and_then(|blocks| Ok((make(plan.ring(), &blocks)?, blocks)));
        let (ring, blocks) = match made {
            Ok(made) => made,
            Err(error) => {
                let _ = told.send(Err(error));
                return;
            }
        };
        let _ = told.send(Ok(ring.name()));
        let mut shard = Shard::new(plan, ring, blocks, link);
        while shard.turn() {
            shard.spent(clock::thread_cpu());
        }
        shard.say(Event::Stopped);
    };
    let thread = std::thread::Builder::new().name(format!("shard-{}", plan.index)).spawn(run)?;
    match started.recv() {
        Ok(Ok(ring)) => Ok(ShardThread { thread, ring }),
        Ok(Err(error)) => Err(error),
        Err(mpsc::RecvError) => Err(std::io::Error::other("the shard's thread died at its start").into()),
    }
}

/// A shard that breaks an invariant must not leave the rest of the recorder answering calls that nobody records: the process ends, its
/// supervisor starts it again, and recovery gives back everything up to the last second.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
