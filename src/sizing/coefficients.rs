//! What one packet, one call costs: as somebody measured it, else as assumed, with the source.

use serde::{Deserialize, Serialize};

use super::figures::Grade;

/// The receive tiers, in the order of every [`ByTier`].
pub const TIERS: [&str; 3] = ["sockets", "steered", "packet"];

/// A figure for each receive tier.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByTier {
    /// io_uring, a socket per port.
    pub sockets: Option<f64>,
    /// A socket per shard, fed by a BPF program.
    pub steered: Option<f64>,
    /// AF_PACKET.
    pub packet: Option<f64>,
}

impl ByTier {
    fn of(&self, tier: usize) -> Option<f64> {
        [self.sockets, self.steered, self.packet][tier]
    }
}

/// What was measured on a machine: the member `coefficients` of a load report. What was not measured is absent.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Coefficients {
    /// Where and what: processor, kernel, ring, commit, as people read it.
    pub machine: String,
    /// When, RFC 3339.
    pub at: String,
    /// CPU time of the shard's thread per packet received, in nanoseconds, all in: received, placed, sealed, written.
    pub shard_ns_per_packet: ByTier,
    /// CPU time of interrupts per packet received, in nanoseconds, on whatever core.
    pub softirq_ns_per_packet: ByTier,
    /// CPU time of the control core per call, in microseconds, from INVITE to the end.
    pub control_us_per_call: Option<f64>,
    /// CPU time of the background pool per call, in microseconds: manifests, hashing, finalising.
    pub pool_us_per_call: Option<f64>,
    /// Resident memory in user space per two-track call, in bytes.
    pub user_bytes_per_call: Option<f64>,
    /// Kernel memory per socket, in bytes, without what waits in it.
    pub kernel_bytes_per_socket: Option<f64>,
    /// Bytes that the device wrote per byte of sealed file.
    pub write_amplification: Option<f64>,
    /// A sealed manifest, in bytes.
    pub manifest_bytes: Option<f64>,
}

/// A coefficient with what it rests on.
#[derive(Clone, PartialEq, Debug)]
pub struct Known {
    /// How much.
    pub value: f64,
    /// What it rests on: measured or assumed.
    pub grade: Grade,
    /// Where from.
    pub source: String,
}

/// Every coefficient, measured or assumed.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "as in Coefficients")]
pub struct Basis {
    pub machine: String,
    pub shard_ns: [Known; 3],
    pub softirq_ns: [Known; 3],
    pub control_us: Known,
    pub pool_us: Known,
    pub user_bytes: Known,
    pub socket_bytes: Known,
    pub amplification: Known,
    pub manifest_bytes: Known,
}

/// What is assumed where nothing was measured: value and source. Figures of the README come from a shared virtual machine of two cores
/// (AMD EPYC, Linux 6.18) and err on the dear side.
mod assumed {
    type Assumed = (f64, &'static str);

    /// All in, as the README has it. For `packet`: less by what receiving alone is cheaper than by sockets, 12 ns : 813 ns.
    pub const SHARD_NS: [Assumed; 3] = [
        (2261.0, "README: 50,000 packets/s over 1,000 streams on a shared machine"),
        (1718.0, "README: 0.76 times as much as sockets"),
        (
            812.0,
            "README's figure of sockets, less 98.5 % of its receiving (1,471 ns), as a trial on veth had it",
        ),
    ];
    /// Total less thread in the same trial.
    pub const SOFTIRQ_NS: [Assumed; 3] = [
        (424.0, "trial on veth: 250,000 packets/s over 10,000 streams"),
        (303.0, "trial on veth: 250,000 packets/s over 10,000 streams"),
        (115.0, "trial on veth: 250,000 packets/s over 10,000 streams"),
    ];
    pub const CONTROL_US: Assumed = (286.0, "README: 1,000 calls/s over UDP");
    pub const POOL_US: Assumed =
        (3000.0, "two sealed manifests, four syncs and a SHA-256 of the call; not measured");
    pub const USER_BYTES: Assumed = (59.0 * 1024.0, "README: cargo test --test memory");
    pub const SOCKET_BYTES: Assumed = (2.7 * 1024.0, "bind of 4,000 UDP sockets");
    pub const AMPLIFICATION: Assumed =
        (1.05, "direct writes of whole blocks; the file system's journal is guessed");
    pub const MANIFEST_BYTES: Assumed =
        (16.0 * 1024.0, "the calls of `tapehead demo` have 12,304; conferences have more");
}

impl Coefficients {
    /// From a load report: the whole file, or its member `coefficients` alone.
    pub fn from_report(text: &str) -> Result<Coefficients, String> {
        let mut value: serde_json::Value =
            serde_json::from_str(text).map_err(|why| format!("is not JSON: {why}"))?;
        if let Some(inner) = value.get_mut("coefficients") {
            value = inner.take();
        }
        let others = value.get("steps").or(value.get("media")).is_some();
        let read: Coefficients = serde_json::from_value(value).map_err(|why| match others {
            true => "has no coefficients: `loadtest report` writes them into report.json, if the recorder has told its figures"
                .to_owned(),
            false => format!("has no coefficients that make sense: {why}"),
        })?;
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), String> {
        let by_tier = |name: &'static str, tiers: &ByTier| {
            [tiers.sockets, tiers.steered, tiers.packet].map(|value| (name, value))
        };
        let mut all: Vec<(&str, Option<f64>)> = vec![
            ("control_us_per_call", self.control_us_per_call),
            ("pool_us_per_call", self.pool_us_per_call),
            ("user_bytes_per_call", self.user_bytes_per_call),
            ("kernel_bytes_per_socket", self.kernel_bytes_per_socket),
            ("write_amplification", self.write_amplification),
            ("manifest_bytes", self.manifest_bytes),
        ];
        all.extend(by_tier("shard_ns_per_packet", &self.shard_ns_per_packet));
        all.extend(by_tier("softirq_ns_per_packet", &self.softirq_ns_per_packet));
        if all.iter().all(|(_, value)| value.is_none()) {
            return Err("has no coefficients: a report of `loadtest plan capacity` has them".to_owned());
        }
        // Beyond it no figure of a packet or a call makes sense, and sums stay far from overflow.
        let wrong = all.iter().find(|(_, value)| value.is_some_and(|value| !(0.0..=1e12).contains(&value)));
        wrong.map_or(Ok(()), |(name, value)| {
            Err(format!("has {name} = {:?}, which can't be", value.unwrap_or(0.0)))
        })
    }

    /// With what is assumed where nothing was measured.
    pub fn basis(&self) -> Basis {
        let known = |measured: Option<f64>, (value, source): (f64, &str)| match measured {
            Some(value) => Known { value, grade: Grade::Measured, source: "the report given".to_owned() },
            None => Known { value, grade: Grade::Assumed, source: source.to_owned() },
        };
        let tiers = |measured: &ByTier, assumed: [(f64, &str); 3]| {
            [0, 1, 2].map(|tier| known(measured.of(tier), assumed[tier]))
        };
        Basis {
            machine: [self.machine.as_str(), self.at.as_str()].join(" ").trim().to_owned(),
            shard_ns: tiers(&self.shard_ns_per_packet, assumed::SHARD_NS),
            softirq_ns: tiers(&self.softirq_ns_per_packet, assumed::SOFTIRQ_NS),
            control_us: known(self.control_us_per_call, assumed::CONTROL_US),
            pool_us: known(self.pool_us_per_call, assumed::POOL_US),
            user_bytes: known(self.user_bytes_per_call, assumed::USER_BYTES),
            socket_bytes: known(self.kernel_bytes_per_socket, assumed::SOCKET_BYTES),
            amplification: known(self.write_amplification, assumed::AMPLIFICATION),
            manifest_bytes: known(self.manifest_bytes, assumed::MANIFEST_BYTES),
        }
    }
}
