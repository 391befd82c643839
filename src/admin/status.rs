//! How a recorder is.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::Capacity;

/// The answer to `status`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Status {
    /// Of the program.
    pub version: &'static str,
    /// Its process.
    pub pid: u32,
    /// Since when it runs, in seconds.
    pub uptime_s: u64,
    /// `open`, `draining`, `drained` or `stopping`.
    pub stage: &'static str,
    /// Calls at once.
    pub calls: usize,
    /// How many more would be taken, and what bounds them.
    pub capacity: Capacity,
    /// What SIP holds.
    pub sip: SipStatus,
    /// What sockets have refused, closed or lost so far, by reason, and how often the external address has changed.
    pub sockets: BTreeMap<&'static str, u64>,
    /// Each shard.
    pub shards: Vec<ShardStatus>,
    /// Jobs on files that wait.
    pub jobs: usize,
    /// Room on the file system of the recordings, in bytes.
    pub disk_free: u64,
    /// Calls, and changes to calls, refused so far, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
}

/// What SIP holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct SipStatus {
    /// Dialogs.
    pub dialogs: usize,
    /// Transactions of both directions.
    pub transactions: usize,
    /// Connections of stream transports.
    pub connections: usize,
    /// Timers of calls.
    pub call_timers: usize,
}

/// What a shard holds, as of its last report.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShardStatus {
    /// Calls placed on it.
    pub calls: u32,
    /// Port pairs taken, of how many.
    pub port_pairs: u32,
    /// Port pairs it has.
    pub port_pairs_max: u32,
    /// Blocks of its pool that are free.
    pub blocks_free: u32,
    /// Blocks it has.
    pub blocks: u32,
    /// Share of its core that it uses, in percent.
    pub busy_percent: u8,
}
