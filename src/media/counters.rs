//! The packet ledger: every packet ends in exactly one [`Fate`], and the sum is an invariant.

use serde::{Deserialize, Serialize};

/// What became of a datagram that reached an RTP or RTCP port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Fate {
    /// Audio, in its place (in whole or in part).
    Placed,
    /// Seen before (same sequence number of the same source).
    Duplicate,
    /// After its place was sealed.
    Late,
    /// Not RTP (RFC 3550 section 5.1), nor RTCP.
    Malformed,
    /// Longer than a receive buffer.
    Truncated,
    /// From somebody else than the source that is talking.
    WrongSource,
    /// A payload type that the session description did not agree.
    WrongPayloadType,
    /// Comfort noise (RFC 3389): recognised, not audio.
    ComfortNoise,
    /// A telephone event (RFC 4733): recognised, not audio.
    TelephoneEvent,
    /// RTP of the right type without a payload, as some send to keep a binding alive.
    Empty,
    /// RTCP.
    Rtcp,
    /// Not authentic under the keys agreed (RFC 3711 section 3.3), or in clear where keys were agreed.
    SrtpAuth,
    /// Protected, and seen before or too old to know (RFC 3711 section 3.3.2).
    SrtpReplay,
    /// More sources on one track than are followed.
    SourceBudget,
    /// No room: the window or the block pool was full. Ours.
    Overflow,
    /// Audio that fell where the track already holds audio (clock put back).
    Overlap,
    /// Audio that came while the recording was paused.
    Paused,
}

impl Fate {
    /// Every fate, in the order of its discriminant.
    pub const ALL: [Fate; 17] = [
        Fate::Placed,
        Fate::Duplicate,
        Fate::Late,
        Fate::Malformed,
        Fate::Truncated,
        Fate::WrongSource,
        Fate::WrongPayloadType,
        Fate::ComfortNoise,
        Fate::TelephoneEvent,
        Fate::Empty,
        Fate::Rtcp,
        Fate::SrtpAuth,
        Fate::SrtpReplay,
        Fate::SourceBudget,
        Fate::Overflow,
        Fate::Overlap,
        Fate::Paused,
    ];

    /// The name used in manifests, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Fate::Placed => "placed",
            Fate::Duplicate => "duplicate",
            Fate::Late => "late",
            Fate::Malformed => "malformed",
            Fate::Truncated => "truncated",
            Fate::WrongSource => "wrong_source",
            Fate::WrongPayloadType => "wrong_payload_type",
            Fate::ComfortNoise => "comfort_noise",
            Fate::TelephoneEvent => "telephone_event",
            Fate::Empty => "empty",
            Fate::Rtcp => "rtcp",
            Fate::SrtpAuth => "srtp_auth",
            Fate::SrtpReplay => "srtp_replay",
            Fate::SourceBudget => "source_budget",
            Fate::Overflow => "overflow",
            Fate::Overlap => "overlap",
            Fate::Paused => "paused",
        }
    }
}

/// The ledger of one track, or the sum of several.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Datagrams received. Equals the sum over all fates.
    pub received: u64,
    fates: [u64; Fate::ALL.len()],
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Datagrams the kernel dropped for want of room (SO_RXQ_OVFL). Ours; never received, so in no fate.
    pub kernel_drops: u64,
    /// Times the timeline was re-anchored: source change, timestamp jump, drift.
    pub anchors: u64,
}

impl Counters {
    /// Counts one datagram under its fate.
    pub fn count(&mut self, fate: Fate) {
        self.received += 1;
        self.fates[fate as usize] += 1;
    }

    /// How many ended in `fate`.
    pub fn of(&self, fate: Fate) -> u64 {
        self.fates[fate as usize]
    }

    /// Whether every datagram received is in exactly one fate.
    pub fn adds_up(&self) -> bool {
        self.fates.iter().sum::<u64>() == self.received
    }

    /// Adds another ledger to this one.
    pub fn add(&mut self, other: &Counters) {
        self.received += other.received;
        for (mine, theirs) in self.fates.iter_mut().zip(other.fates) {
            *mine += theirs;
        }
        self.lost += other.lost;
        self.kernel_drops += other.kernel_drops;
        self.anchors += other.anchors;
    }
}

/// The ledger as manifests hold it: one member per counter, by name.
impl Serialize for Counters {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("received", &self.received)?;
        for fate in Fate::ALL {
            map.serialize_entry(fate.name(), &self.of(fate))?;
        }
        map.serialize_entry("lost", &self.lost)?;
        map.serialize_entry("kernel_drops", &self.kernel_drops)?;
        map.serialize_entry("anchors", &self.anchors)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Counters, D::Error> {
        let map = std::collections::HashMap::<String, u64>::deserialize(from)?;
        let take = |name: &str| map.get(name).copied().unwrap_or(0);
        let mut counters = Counters {
            received: take("received"),
            lost: take("lost"),
            kernel_drops: take("kernel_drops"),
            anchors: take("anchors"),
            ..Counters::default()
        };
        for fate in Fate::ALL {
            counters.fates[fate as usize] = take(fate.name());
        }
        Ok(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_adds_up_and_survives_its_manifest() {
        let mut counters = Counters::default();
        for (index, fate) in Fate::ALL.into_iter().enumerate() {
            assert_eq!(fate as usize, index);
            (0..=index).for_each(|_| counters.count(fate));
        }
        counters.lost = 3;
        assert!(counters.adds_up());
        let text = serde_json::to_string(&counters).unwrap();
        assert_eq!(serde_json::from_str::<Counters>(&text).unwrap(), counters);
    }
}
