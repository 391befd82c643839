//! What this process may do: receive tiers and limits. A service has its own, from its unit.

use super::{Finding, Verdict};
use crate::config::Plan;
use crate::limits::{BLOCK_BYTES, FILES_PER_CALL, POOL_BLOCKS_PER_CALL};
use crate::ring::choice::{self, Probed};
use crate::sys::rlimit;

/// The receive tiers that can be had here and now, tried one by one; and why not a better one.
pub fn receive_tiers() -> Finding {
    tiers(&choice::probe())
}

fn tiers(probed: &[Probed]) -> Finding {
    let good = probed.iter().filter(|probed| probed.outcome.is_ok());
    let good: Vec<String> = good.map(|probed| probed.tier.to_string()).collect();
    let now = format!("to be had: {}", good.join(", "));
    let refused = probed.iter().filter_map(|probed| Some((probed.tier, probed.outcome.as_ref().err()?)));
    let refused: Vec<String> = refused.map(|(tier, why)| format!("{tier}: {why}")).collect();
    if refused.is_empty() {
        return Finding::new("receive tiers", Verdict::Ok, now);
    }
    Finding::new("receive tiers", Verdict::Note, now).costs(
        "receiving takes 813 ns of the shard's core per packet by sockets, 489 steered, 12 by packet (trial on veth)",
        format!("{} (a service has what its unit gives: tapehead tune --apply --only capabilities)", refused.join("; ")),
    )
}

/// Bytes that the recorder would like to lock: its blocks; the rings take little beside them.
fn to_lock(plan: &Plan) -> u64 {
    u64::from(plan.calls_max) * (POOL_BLOCKS_PER_CALL * BLOCK_BYTES) as u64 * 9 / 8
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
    use crate::ring::choice::{TierError, TierKind};

    #[test]
    fn a_tier_that_can_t_be_had_says_why() {
        let probed = |outcome| Probed { tier: TierKind::Steered, outcome };
        let sockets = Probed { tier: TierKind::Sockets, outcome: Ok(()) };
        let good = tiers(&[probed(Ok(())), sockets.clone()]);
        assert_eq!((good.verdict, good.now.as_str()), (Verdict::Ok, "to be had: steered, sockets"));
        let poor = tiers(&[probed(Err(TierError::Seccomp)), sockets]);
        assert_eq!((poor.verdict, poor.now.as_str()), (Verdict::Note, "to be had: sockets"));
        assert!(poor.mend.contains("steered: a seccomp filter") && poor.cost.contains("489"), "{poor:?}");
    }

    #[test]
    fn the_need_grows_with_the_calls_planned() {
        let plan = |calls: &str| {
            Plan::check(&Raw::default().with("calls_max", calls), Machine { cores: 2 }).unwrap()
        };
        // Three blocks of 8 KiB and an eighth on top: 27 KiB.
        assert_eq!(to_lock(&plan("1000")), 1000 * 54 * 512);
        assert!(
            open_files(&plan("10"), false).now.contains(" 70 wanted"),
            "four sockets and three files each"
        );
    }
}
