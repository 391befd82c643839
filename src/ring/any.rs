//! Which of the two real rings a shard runs on, and under which receive tier: by configuration, and by what the kernel allows.

use super::choice::ShardSource;
use super::packet::{self, PacketSource};
use super::poll::PollRing;
use super::steered::{Opened, Steered};
use super::tier::{Tier, inner_plan};
use super::uring::UringRing;
use super::{Completion, Op, Ring, RingError, RingPlan, Waker};
use crate::base::Mono;
use crate::config::RingChoice;
use crate::sys::memory::BlockPool;

/// One of the real rings. A drain is one call per tick, so the choice costs nothing per packet.
pub enum AnyRing {
    /// io_uring.
    Uring(Box<UringRing>),
    /// epoll and plain system calls.
    Poll(Box<PollRing>),
}

impl AnyRing {
    /// The ring of `choice` for `plan`, writing from `blocks`, which must outlive it. To be called on the thread that will use it.
    ///
    /// # Errors
    /// With [`RingChoice::IoUring`] why the kernel refuses it. With [`RingChoice::Auto`] a refusal is logged as a warning and the
    /// ring is the other one.
    pub fn start(choice: RingChoice, plan: RingPlan, blocks: &BlockPool) -> Result<AnyRing, RingError> {
        let uring = |blocks| UringRing::new(plan, blocks).map(|ring| AnyRing::Uring(Box::new(ring)));
        let poll = || PollRing::new(plan).map(|ring| AnyRing::Poll(Box::new(ring)));
        match choice {
            RingChoice::IoUring => uring(blocks),
            RingChoice::Poll => poll(),
            RingChoice::Auto => uring(blocks).or_else(|why| fall_back(&why, poll)),
        }
    }
}

fn fall_back(
    why: &RingError,
    poll: impl FnOnce() -> Result<AnyRing, RingError>,
) -> Result<AnyRing, RingError> {
    tracing::warn!(
        %why,
        "RUNNING WITHOUT io_uring: each packet costs about half as much again, and a slow disk stalls this shard"
    );
    poll()
}

impl Ring for AnyRing {
    fn submit(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op> {
        match self {
            AnyRing::Uring(ring) => ring.submit(op, blocks),
            AnyRing::Poll(ring) => ring.submit(op, blocks),
        }
    }

    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        match self {
            AnyRing::Uring(ring) => ring.drain(deadline, sink),
            AnyRing::Poll(ring) => ring.drain(deadline, sink),
        }
    }

    fn waker(&self) -> Option<Waker> {
        match self {
            AnyRing::Uring(ring) => ring.waker(),
            AnyRing::Poll(ring) => ring.waker(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            AnyRing::Uring(ring) => ring.name(),
            AnyRing::Poll(ring) => ring.name(),
        }
    }
}

/// One of the real rings under one of the tiers.
pub enum AnyTier {
    /// The ring's own sockets.
    Sockets(AnyRing),
    /// One socket for the whole slice.
    Steered(Box<Tier<AnyRing, Steered>>),
    /// One tap for the whole slice.
    Packet(Box<Tier<AnyRing, PacketSource>>),
}

impl AnyTier {
    /// The ring of `choice` for `plan`, its datagrams from `source`; else as [`AnyRing::start`].
    ///
    /// # Errors
    /// Those of [`AnyRing::start`].
    pub fn start(
        choice: RingChoice,
        source: ShardSource,
        plan: RingPlan,
        blocks: &BlockPool,
    ) -> Result<AnyTier, RingError> {
        match source {
            ShardSource::Sockets => AnyRing::start(choice, plan, blocks).map(AnyTier::Sockets),
            ShardSource::Steered(slice, opened) => {
                let Opened { source, taken } = *opened;
                let inner = AnyRing::start(choice, inner_plan(plan), blocks)?;
                Ok(AnyTier::Steered(Box::new(Tier::new(inner, source, slice, plan.sockets_max, &taken))))
            }
            ShardSource::Packet(slice, opened) => {
                let packet::Opened { source, taken } = *opened;
                let inner = AnyRing::start(choice, inner_plan(plan), blocks)?;
                Ok(AnyTier::Packet(Box::new(Tier::new(inner, source, slice, plan.sockets_max, &taken))))
            }
        }
    }
}

impl Ring for AnyTier {
    fn submit(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op> {
        match self {
            AnyTier::Sockets(ring) => ring.submit(op, blocks),
            AnyTier::Steered(tier) => tier.submit(op, blocks),
            AnyTier::Packet(tier) => tier.submit(op, blocks),
        }
    }

    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        match self {
            AnyTier::Sockets(ring) => ring.drain(deadline, sink),
            AnyTier::Steered(tier) => tier.drain(deadline, sink),
            AnyTier::Packet(tier) => tier.drain(deadline, sink),
        }
    }

    fn waker(&self) -> Option<Waker> {
        match self {
            AnyTier::Sockets(ring) => ring.waker(),
            AnyTier::Steered(tier) => tier.waker(),
            AnyTier::Packet(tier) => tier.waker(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            AnyTier::Sockets(ring) => ring.name(),
            AnyTier::Steered(tier) => tier.name(),
            AnyTier::Packet(tier) => tier.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::probe;

    const PLAN: RingPlan = RingPlan { sockets_max: 2, files_max: 2, receive_buffers: 64 };

    #[test]
    fn the_ring_chosen_is_the_ring_had() {
        let blocks = BlockPool::new(1).unwrap();
        let name = |choice| AnyRing::start(choice, PLAN, &blocks).map(|ring| ring.name());
        assert_eq!(name(RingChoice::Poll), Ok("poll"));
        match probe::probe() {
            Ok(_) => {
                assert_eq!(name(RingChoice::IoUring), Ok("io_uring"));
                assert_eq!(name(RingChoice::Auto), Ok("io_uring"));
            }
            Err(why) => {
                assert_eq!(name(RingChoice::IoUring), Err(why));
                assert_eq!(name(RingChoice::Auto), Ok("poll"));
            }
        }
    }

    #[test]
    fn a_refusal_falls_back_and_a_failure_of_both_is_told() {
        let blocks = BlockPool::new(1).unwrap();
        let poll = || AnyRing::start(RingChoice::Poll, PLAN, &blocks);
        assert_eq!(fall_back(&RingError::Seccomp, poll).map(|ring| ring.name()), Ok("poll"));
        let huge = RingPlan { sockets_max: u32::MAX, ..PLAN };
        let refused = AnyRing::start(RingChoice::Auto, huge, &blocks).map(|ring| ring.name());
        assert!(matches!(refused, Err(RingError::OpenFiles { .. })));
    }
}
