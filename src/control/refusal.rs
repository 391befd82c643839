//! Why a call is not recorded, and how that is said to the client and to the log.

use std::fmt;
use std::time::Duration;

use super::Severity;
use crate::limits::{KEY_WAIT_MAX, OPEN_WAIT_MAX, PORT_REST, RETRY_AFTER};
use crate::link;
use crate::sdp::{Malformed, Why};
use crate::sip::Answer;

/// Why a call, or a change to it, is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No sign of SIPREC.
    NotRecording,
    /// The recorder is about to stop.
    Draining,
    /// As many calls as are allowed.
    CallsMax,
    /// As many calls of this peer as it is allowed.
    PeerCallsMax,
    /// Calls come faster than is allowed.
    CallRate,
    /// Every shard with room is as busy as it may be.
    Busy,
    /// Every shard with room has too few blocks left.
    NoBlocks,
    /// The key provider has failed several times in a row.
    KeysDown,
    /// No room for recordings.
    DiskLow,
    /// Too many recordings wait to be finalised.
    Backlog,
    /// No shard is left.
    NoShard,
    /// Every shard has as many calls as it may.
    ShardCalls,
    /// Every shard's port pairs are in use.
    PortsUsed,
    /// Of those that are free so many rest from their last call that there are not enough.
    PortsRest,
    /// Other processes hold the ports that the shards have tried.
    PortsHeld,
    /// One that can't be read.
    BadOffer(Malformed),
    /// One without anything that can be stored, and why if there was a stream.
    NothingToStore(Option<Why>),
    /// One whose media have addresses of a family in which we have none.
    Family,
    /// No data key can be had.
    Keys(String),
    /// The key provider does not answer.
    KeysSlow,
    /// The shard did not take it.
    Shard(link::Refusal),
    /// The shard took too long.
    Slow,
    /// The recorder is shutting down.
    Shutdown,
    /// The request met an offer of ours.
    Glare,
    /// The request came before the answer to the one before.
    Unanswered,
    /// The call is over, or about to be.
    Gone,
}

impl Refusal {
    /// The final response. 503 is for what another recorder, or this one later, can do; the client tries again (RFC 3261 section 21.5.4).
    pub fn answer(&self) -> Answer {
        match self {
            // RFC 3261 section 21.4.15.
            Refusal::NotRecording => Answer::new(421, "Extension Required").header("Require", "siprec"),
            Refusal::BadOffer(why) => Answer::new(400, &format!("Bad SDP: {why}")),
            Refusal::NothingToStore(_) => warned(
                "305 tapehead \"No audio in PCMU or PCMA by RTP, or by SRTP with keys in the session description\"",
            ),
            Refusal::Family => warned("301 tapehead \"No address of that family here\""),
            // RFC 3311 section 5.2.
            Refusal::Glare => Answer::new(491, "Request Pending"),
            // RFC 3261 section 14.2, RFC 3311 section 5.2.
            Refusal::Unanswered => Answer::new(500, "Earlier Offer Unanswered").header("Retry-After", "1"),
            // RFC 3261 section 12.2.2.
            Refusal::Gone => Answer::new(481, "Call/Transaction Does Not Exist"),
            _ => Answer::unavailable("Service Unavailable", self.retry_after()),
        }
    }

    /// What the client is asked to wait.
    pub fn retry_after(&self) -> Duration {
        match self {
            // Another process may be up in a moment.
            Refusal::Draining | Refusal::Shutdown => RETRY_AFTER * 2,
            _ => RETRY_AFTER,
        }
    }

    /// The name of its counter.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::NotRecording => "not_recording",
            Refusal::Draining => "draining",
            Refusal::CallsMax => "calls_max",
            Refusal::PeerCallsMax => "peer_calls_max",
            Refusal::CallRate => "call_rate",
            Refusal::Busy => "shards_busy",
            Refusal::NoBlocks => "no_blocks",
            Refusal::KeysDown => "keys_down",
            Refusal::DiskLow => "disk_low",
            Refusal::Backlog => "backlog",
            Refusal::NoShard => "no_shard",
            Refusal::ShardCalls => "shard_calls",
            Refusal::PortsUsed => "ports_used",
            Refusal::PortsRest => "ports_rest",
            Refusal::PortsHeld => "ports_held",
            Refusal::BadOffer(why) => why.reason(),
            Refusal::NothingToStore(_) => "nothing_to_store",
            Refusal::Family => "address_family",
            Refusal::Keys(_) => "keys",
            Refusal::KeysSlow => "keys_slow",
            Refusal::Shard(link::Refusal::Ports(_)) => "shard_ports",
            Refusal::Shard(link::Refusal::PortsRest) => "shard_ports_rest",
            Refusal::Shard(link::Refusal::Full) => "shard_full",
            Refusal::Shard(link::Refusal::File(_)) => "shard_file",
            Refusal::Shard(link::Refusal::Closed) => "shard_closed",
            Refusal::Slow => "slow",
            Refusal::Shutdown => "shutdown",
            Refusal::Glare => "offers_met",
            Refusal::Unanswered => "offer_unanswered",
            Refusal::Gone => "call_gone",
        }
    }

    /// Whether it says that there is no room, to this call as to any other: such come in masses and are logged by their number.
    pub fn is_for_capacity(&self) -> bool {
        matches!(
            self,
            Refusal::Draining
                | Refusal::CallsMax
                | Refusal::PeerCallsMax
                | Refusal::CallRate
                | Refusal::Busy
                | Refusal::NoBlocks
                | Refusal::KeysDown
                | Refusal::DiskLow
                | Refusal::Backlog
                | Refusal::NoShard
                | Refusal::ShardCalls
                | Refusal::PortsUsed
                | Refusal::PortsRest
                | Refusal::PortsHeld
                | Refusal::KeysSlow
                | Refusal::Shard(link::Refusal::Ports(_) | link::Refusal::PortsRest | link::Refusal::Full)
        )
    }

    /// Of the reasons for which no shard takes a call: how soon it may be over. The larger, the sooner.
    pub(super) fn hope(&self) -> u8 {
        match self {
            Refusal::NoShard => 0,
            Refusal::ShardCalls => 1,
            Refusal::PortsUsed => 2,
            Refusal::PortsHeld => 3,
            Refusal::PortsRest => 4,
            Refusal::NoBlocks => 5,
            _ => 6,
        }
    }

    pub(super) fn severity(&self) -> Severity {
        match self {
            Refusal::NotRecording
            | Refusal::Draining
            | Refusal::Shutdown
            | Refusal::BadOffer(_)
            | Refusal::NothingToStore(_)
            | Refusal::Family
            | Refusal::Glare
            | Refusal::Unanswered
            | Refusal::Gone => Severity::Info,
            _ => Severity::Error,
        }
    }
}

/// RFC 3261 sections 21.4.26 and 20.43.
fn warned(warning: &str) -> Answer {
    Answer::new(488, "Not Acceptable Here").header("Warning", warning)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotRecording => f.write_str("the INVITE shows no sign of SIPREC"),
            Refusal::Draining => f.write_str("the recorder is draining"),
            Refusal::CallsMax => f.write_str("calls_max is reached"),
            Refusal::CallRate => f.write_str("calls come faster than calls_per_second_max"),
            Refusal::Busy => f.write_str("shards are busier than shard_busy_max_percent"),
            Refusal::NoBlocks => f.write_str("shards have too few free blocks: the disk is too slow"),
            Refusal::KeysDown => f.write_str("the key provider keeps failing"),
            Refusal::PeerCallsMax => f.write_str("the peer's calls_max is reached"),
            Refusal::DiskLow => f.write_str("the disk has less room than recordings.free_mb_min"),
            Refusal::Backlog => f.write_str("too many recordings wait to be finalised: the disk is too slow"),
            Refusal::NoShard => f.write_str("no shard is left: restart the recorder"),
            Refusal::ShardCalls => f.write_str("every shard has as many calls as calls_max allows it"),
            Refusal::PortsUsed => f.write_str("every port pair of rtp.ports is in use: widen it"),
            Refusal::PortsRest => {
                write!(
                    f,
                    "the free port pairs of rtp.ports rest {PORT_REST:?} after their last call: widen it"
                )
            }
            Refusal::PortsHeld => {
                f.write_str("other processes hold ports of rtp.ports: give it another range")
            }
            Refusal::BadOffer(why) => why.fmt(f),
            Refusal::NothingToStore(None) => f.write_str("the offer has no audio that can be stored"),
            Refusal::NothingToStore(Some(why)) => {
                write!(f, "the offer has no audio that can be stored: {}", why.note())
            }
            Refusal::Family => f.write_str(
                "the media's addresses are of a family in which the recorder has none: see rtp.bind and sip.listen",
            ),
            Refusal::Keys(why) => write!(f, "no data key: {why}"),
            Refusal::KeysSlow => write!(f, "the key provider did not answer within {KEY_WAIT_MAX:?}"),
            Refusal::Shard(link::Refusal::Ports(why)) => write!(f, "no RTP ports: {why}"),
            Refusal::Shard(link::Refusal::PortsRest) => {
                f.write_str("every free port pair of the shard rests from its last call")
            }
            Refusal::Shard(link::Refusal::Full) => f.write_str("the shard is full"),
            Refusal::Shard(link::Refusal::File(why)) => write!(f, "the recording can't be created: {why}"),
            Refusal::Shard(link::Refusal::Closed) => f.write_str("it was closed before it was open"),
            Refusal::Slow => write!(f, "the shard took more than {OPEN_WAIT_MAX:?}"),
            Refusal::Shutdown => f.write_str("the recorder shuts down"),
            Refusal::Glare => f.write_str("an offer of the recorder waits for its answer"),
            Refusal::Unanswered => f.write_str("an earlier offer is not answered yet"),
            Refusal::Gone => f.write_str("the call is over"),
        }
    }
}
