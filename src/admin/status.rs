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
    /// What SIP has refused, dropped or absorbed so far, by reason; what has not happened is left out.
    pub sip_events: BTreeMap<&'static str, u64>,
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
    /// Limits that bodies and metadata have met so far; what has not happened is left out.
    pub cuts: BTreeMap<&'static str, u64>,
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

/// The answer to `limits`: what bounds calls, as configured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Limits {
    /// Calls at once.
    pub calls_max: u32,
    /// Calls per second; 0: as many as come.
    pub calls_per_second_max: u32,
    /// How busy a shard may get, in percent of its core.
    pub shard_busy_max_percent: u8,
    /// Shards.
    pub shards: usize,
    /// Calls of each.
    pub shard_calls_max: u32,
    /// Port pairs of each; a track takes one.
    pub shard_port_pairs: u32,
    /// Room that the file system of the recordings must have for new calls, in bytes.
    pub disk_free_min: u64,
    /// How long running calls may go on when draining, in seconds.
    pub drain_seconds: u64,
}

/// A SIP dialog. Holds no names and numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DialogStatus {
    /// Its number.
    pub id: u64,
    /// Its Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's.
    pub remote_tag: String,
    /// Where the peer was heard last.
    pub address: String,
    /// Over what.
    pub transport: &'static str,
    /// `early`, `unacknowledged`, `confirmed` or `ending`.
    pub state: &'static str,
    /// Time since its INVITE, in seconds.
    pub age_s: u64,
    /// What is left of its session timer (RFC 4028), in seconds, if it has one.
    pub expires_s: Option<u64>,
    /// Who refreshes it: `recorder` or `peer`.
    pub refresher: Option<&'static str>,
}
