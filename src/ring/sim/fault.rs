//! What goes wrong and how often, drawn from the seed. Rates are per mille of the occasions named.

use crate::base::Prng;

/// The rates of one phase of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Datagrams lost on the way.
    pub loss: u64,
    /// Datagrams that come twice.
    pub duplicate: u64,
    /// Datagrams delayed by 20 to 150 ms, so that others overtake them.
    pub reorder: u64,
    /// Datagrams delayed by 300 to 900 ms, past every horizon.
    pub late: u64,
    /// Every datagram is delayed by up to this much, in microseconds.
    pub jitter_us: u64,
    /// Datagrams that a socket's queue holds.
    pub socket_queue: usize,
    /// Drains in which the receive buffers run out.
    pub no_buffers: u64,
    /// Drains in which the completion queue overflows.
    pub cq_overflow: u64,
    /// Drains after which a receive ends for no reason.
    pub rearmed: u64,
    /// Ops that the ring hands back.
    pub refused: u64,
    /// Binds that fail with EADDRINUSE.
    pub bind: u64,
    /// Datagrams that can't be sent.
    pub send: u64,
    /// Writes that fail with EIO, some after a part was written.
    pub write_eio: u64,
    /// Writes that end short.
    pub write_short: u64,
    /// Syncs that fail with EIO.
    pub sync_eio: u64,
    /// Creations, allocations, truncations and renames that fail with EIO.
    pub file_eio: u64,
    /// Disk ops that start a second or so in which the disk is slow.
    pub slow: u64,
    /// Disk ops that start a second or so in which nothing can grow (ENOSPC).
    pub full: u64,
    /// Disk ops that start a second or so in which every write fails (EIO).
    pub broken: u64,
    /// Drains in which the whole machine stands still.
    pub stall: u64,
    /// For up to this long, in milliseconds.
    pub stall_ms_max: u64,
    /// Turns after which the process dies.
    pub crash: u64,
    /// Deaths that take the machine's power with them.
    pub power: u64,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn none() -> FaultPlan {
        FaultPlan {
            loss: 0,
            duplicate: 0,
            reorder: 0,
            late: 0,
            jitter_us: 0,
            socket_queue: 4096,
            no_buffers: 0,
            cq_overflow: 0,
            rearmed: 0,
            refused: 0,
            bind: 0,
            send: 0,
            write_eio: 0,
            write_short: 0,
            sync_eio: 0,
            file_eio: 0,
            slow: 0,
            full: 0,
            broken: 0,
            stall: 0,
            stall_ms_max: 0,
            crash: 0,
            power: 0,
        }
    }

    /// Some things go wrong: each kind is switched on or off on its own, because what is always on hides what needs it off.
    pub fn drawn(prng: &mut Prng) -> FaultPlan {
        let mut rate = |often: u64, max: u64| if prng.chance(often) { 1 + prng.below(max) } else { 0 };
        FaultPlan {
            loss: rate(500, 60),
            duplicate: rate(400, 60),
            reorder: rate(400, 80),
            late: rate(250, 15),
            jitter_us: rate(600, 30_000),
            socket_queue: if rate(150, 1) > 0 { 2 + rate(1000, 8) as usize } else { 4096 },
            no_buffers: rate(250, 40),
            cq_overflow: rate(200, 30),
            rearmed: rate(200, 20),
            refused: rate(150, 30),
            bind: rate(150, 150),
            send: rate(200, 300),
            write_eio: rate(200, 150),
            write_short: rate(200, 200),
            sync_eio: rate(150, 300),
            file_eio: rate(150, 100),
            slow: rate(200, 20),
            full: rate(120, 15),
            broken: rate(120, 15),
            stall: rate(200, 8),
            stall_ms_max: 20 + rate(1000, 700),
            crash: rate(450, 4),
            power: 400,
        }
    }

    /// Whether a disk under this plan does all it is asked to in good time.
    pub fn disk_is_healthy(&self) -> bool {
        let rates = [
            self.write_eio,
            self.write_short,
            self.sync_eio,
            self.file_eio,
            self.slow,
            self.full,
            self.broken,
        ];
        rates.iter().all(|&rate| rate == 0)
    }

    /// Whether the machine runs without standing still or running out of its own resources.
    pub fn machine_is_healthy(&self) -> bool {
        [self.no_buffers, self.cq_overflow, self.refused, self.stall].iter().all(|&rate| rate == 0)
            && self.socket_queue >= 1024
    }
}
