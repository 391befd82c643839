//! What this process may do: capabilities and limits. A service has its own, from its unit.

use super::{Finding, Verdict};
use crate::config::Plan;
use crate::limits::{BLOCK_BYTES, FILES_PER_CALL, POOL_BLOCKS_PER_CALL};
use crate::sys::rlimit;

/// Numbers of capabilities (capabilities(7), linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_BPF: u32 = 39;

/// Which receive tiers kernel and capabilities would allow.
pub fn receive_tiers(kernel: (u32, u32)) -> Finding {
    let capabilities =
        rlimit::status_field("CapEff").and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or(0);
    tiers(capabilities, kernel)
}

fn tiers(capabilities: u64, kernel: (u32, u32)) -> Finding {
    let has = |bit: u32| capabilities & (1 << bit) != 0;
    let bpf = has(CAP_BPF) && has(CAP_NET_ADMIN);
    let mut allowed = vec!["sockets"];
    // sk_lookup came with 5.9, tcx with 6.6.
    if bpf && kernel >= (5, 9) {
        allowed.push("steered");
    }
    if bpf && has(CAP_NET_RAW) && kernel >= (6, 6) {
        allowed.push("packet");
    }
    let lacking: Vec<&str> =
        [(CAP_BPF, "CAP_BPF"), (CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_NET_RAW, "CAP_NET_RAW")]
            .iter()
            .filter(|(bit, _)| !has(*bit))
            .map(|(_, name)| *name)
            .collect();
    let now = format!("kernel and capabilities allow {}", allowed.join(", "));
    if allowed.len() == 3 {
        return Finding::new("receive tiers", Verdict::Ok, now);
    }
    let mend = match lacking.is_empty() {
        true => "a newer kernel".to_owned(),
        false => format!(
            "this process lacks {}; the unit gives them: tapehead tune --apply --only capabilities",
            lacking.join(", ")
        ),
    };
    Finding::new("receive tiers", Verdict::Note, now)
        .costs("receiving takes 813 ns of the shard's core per packet by sockets, 489 steered, 12 by packet (trial on veth)", mend)
}

/// Bytes that the recorder would like to lock: its blocks; the rings take little beside them.
fn to_lock(plan: &Plan) -> u64 {
    u64::from(plan.calls_max) * (POOL_BLOCKS_PER_CALL * BLOCK_BYTES) as u64 * 17 / 16
}

/// RLIMIT_MEMLOCK against the need. `in_unit`: the unit lifts the limit, and only this shell has it.
pub fn locked_memory(plan: &Plan, in_unit: bool) -> Finding {
    let need = to_lock(plan);
    let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    match rlimit::locked_memory_max() {
        None => Finding::new("locked memory", Verdict::Ok, "no limit"),
        Some(limit) if limit >= need => Finding::new(
            "locked memory",
            Verdict::Ok,
            format!("{} allowed, {} wanted", mib(limit), mib(need)),
        ),
        Some(limit) => {
            let verdict = if in_unit { Verdict::Note } else { Verdict::Lacks };
            let now = format!("{} allowed, {} wanted for {} calls", mib(limit), mib(need), plan.calls_max);
            Finding::new("locked memory", verdict, now).costs(
                "blocks are written without being registered; with less than the rings need, `poll` takes over",
                "tapehead tune --apply --only memlock; in a shell: ulimit -l unlimited",
            )
        }
    }
}

/// RLIMIT_NOFILE against the need of the `sockets` tier. `in_unit` as above.
pub fn open_files(plan: &Plan, in_unit: bool) -> Finding {
    let ports = u64::from(plan.rtp_ports.1 - plan.rtp_ports.0) + 1;
    let need = ports.min(u64::from(plan.calls_max) * 4) + u64::from(FILES_PER_CALL * plan.calls_max);
    let limit = rlimit::open_files_max().unwrap_or(0);
    let now = format!("{limit} allowed, {need} wanted for {} calls", plan.calls_max);
    if limit >= need {
        return Finding::new("open files", Verdict::Ok, now);
    }
    let verdict = if in_unit { Verdict::Note } else { Verdict::Lacks };
    Finding::new("open files", verdict, now).costs(
        "the recorder does not start with so many calls",
        "tapehead tune --apply --only nofile; in a shell: ulimit -n, or a smaller calls_max",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Raw};

    #[test]
    fn tiers_follow_from_capabilities_and_kernel() {
        let all = (1 << CAP_BPF) | (1 << CAP_NET_ADMIN) | (1 << CAP_NET_RAW);
        for (capabilities, kernel, allowed, mend) in [
            (all, (6, 18), "sockets, steered, packet", ""),
            (all, (6, 1), "sockets, steered", "newer kernel"),
            (all & !(1 << CAP_NET_RAW), (6, 18), "sockets, steered", "lacks CAP_NET_RAW"),
            (0, (6, 18), "sockets", "CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW"),
        ] {
            let finding = tiers(capabilities, kernel);
            assert!(finding.now.ends_with(allowed) && finding.mend.contains(mend), "{finding:?}");
        }
    }

    #[test]
    fn the_need_grows_with_the_calls_planned() {
        let plan = |calls: &str| {
            Plan::check(&Raw::default().with("calls_max", calls), Machine { cores: 2 }).unwrap()
        };
        // Two blocks of 16 KiB and a sixteenth on top: 34 KiB.
        assert_eq!(to_lock(&plan("1000")), 1000 * 34 * 1024);
        assert!(
            open_files(&plan("10"), false).now.contains(" 70 wanted"),
            "four sockets and three files each"
        );
    }
}
