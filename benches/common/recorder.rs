//! A whole shard under a load: calls of two tracks, received, sealed and written.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tapehead::config::{ReceiveChoice, RingChoice};
use tapehead::link::{ControlEnd, Event, link};
use tapehead::media::Fate;
use tapehead::ring::RingPlan;
use tapehead::ring::any::AnyTier;
use tapehead::ring::choice::{self, ShardSource};
use tapehead::ring::tier::PortSlice;
use tapehead::shard::{Shard, ShardPlan};
use tapehead::sys::memory::BlockPool;

use crate::common::Receiver;
use crate::common::call::open;

/// Receive buffers of every variant.
pub const BUFFERS: u32 = 32_768;

/// Ring and tier.
pub type Way = (RingChoice, ReceiveChoice);
pub const IO_URING: Way = (RingChoice::IoUring, ReceiveChoice::Sockets);
pub const POLL: Way = (RingChoice::Poll, ReceiveChoice::Sockets);
pub const STEERED: Way = (RingChoice::IoUring, ReceiveChoice::Steered);
pub const PACKET: Way = (RingChoice::IoUring, ReceiveChoice::Packet);

/// Ports on loopback.
pub fn slice(first: u16, count: u16) -> PortSlice {
    PortSlice { address: Ipv4Addr::LOCALHOST.into(), first, count }
}

/// A ring of this tier, for the ports from `port_first` on.
pub fn start((ring, receive): Way, port_first: u16, plan: RingPlan, blocks: &BlockPool) -> AnyTier {
    let source = match receive {
        ReceiveChoice::Sockets => ShardSource::Sockets,
        receive => {
            let slice = slice(port_first, plan.sockets_max as u16);
            choice::open(receive, &[slice]).unwrap_or_else(|(_, why)| panic!("{why}")).sources.remove(0)
        }
    };
    AnyTier::start(ring, source, plan, blocks).unwrap_or_else(|why| panic!("{why}"))
}

/// A whole shard that records two-track calls to disk.
pub struct Recorder {
    shard: Shard<AnyTier>,
    control: ControlEnd,
    targets: Vec<SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Recorder {
    /// For `streams` streams, two to a call, on ports from `port_first` on.
    pub fn new(way: Way, streams: usize, port_first: u16) -> Recorder {
        // Below target/, which is on a disk; the system's folder for such may be memory.
        let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = tempfile::tempdir_in(target).expect("a folder below target/");
        let plan = ShardPlan {
            index: 0,
            port_first,
            // Some to spare, for what else runs on the machine.
            port_count: streams as u16 * 2 + 200,
            calls_max: streams as u32 / 2,
            horizon: Duration::from_millis(200),
            silence_alarm: Duration::from_secs(30),
            receive_buffers: BUFFERS,
        };
        let (mut control, end) = link(Arc::new(|| {}));
        let blocks = BlockPool::new(plan.blocks()).expect("memory");
        let ring = start(way, port_first, plan.ring(), &blocks);
        let mut shard = Shard::new(plan, ring, blocks, end);
        (0..streams / 2).for_each(|call| open(call as u16, folder.path(), &mut control));
        let mut targets = Vec::new();
        while targets.len() < streams {
            shard.turn();
            while let Ok(event) = control.events.pop() {
                match event {
                    Event::Opened { ports, .. } => {
                        targets
                            .extend(ports.iter().map(|&port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
                    }
                    Event::Refused { reason, .. } => panic!("{reason:?}"),
                    _ => {}
                }
            }
        }
        Recorder { shard, control, targets, _folder: folder }
    }
}

impl Receiver for Recorder {
    fn targets(&self) -> Vec<SocketAddr> {
        self.targets.clone()
    }

    fn turn(&mut self) {
        self.shard.turn();
        while self.control.events.pop().is_ok() {}
    }

    fn received(&mut self) -> u64 {
        // The counters are told once per second.
        (0..60).for_each(|_| self.turn());
        let stats = self.shard.stats();
        assert!(stats.packets.adds_up() && (stats.write_errors, stats.stray) == (0, 0), "{stats:?}");
        // On a machine that stalls some come too late to be placed; what the kernel dropped is accounted for all the same.
        let (received, placed) = (stats.packets.received, stats.packets.of(Fate::Placed));
        println!(
            "shard: {placed} of {received} placed, {} dropped by the kernel",
            stats.packets.kernel_drops
        );
        received + stats.packets.kernel_drops
    }
}
