//! What a machine lacks for recording, what that costs, and how to mend it: kernel, ring, receive tiers, limits of the process, disk,
//! and the list of settings (`tuning/settings.toml`). Looks only; the one thing that it writes is an empty file in the folder of the
//! recordings, for as long as it takes to learn whether direct I/O works there.
//!
//! Leaves out mending ([`crate::tune`]) and printing (`cli`).

mod disk;
mod process;

use serde::Serialize;

use crate::config::Plan;
use crate::ring::probe;
use crate::tune::{self, Facts, Status, Tree, Want};

/// How it stands with one thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It costs something.
    Lacks,
    /// Could be better, or says nothing about this machine.
    Note,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What: `kernel`, `ring`, or the id of a setting.
    pub topic: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What there is.
    pub now: String,
    /// What it costs; empty if nothing.
    pub cost: String,
    /// What to do about it; empty if nothing.
    pub mend: String,
}

impl Finding {
    fn new(topic: &str, verdict: Verdict, now: impl Into<String>) -> Finding {
        Finding {
            topic: topic.to_owned(),
            verdict,
            now: now.into(),
            cost: String::new(),
            mend: String::new(),
        }
    }

    fn costs(mut self, cost: impl Into<String>, mend: impl Into<String>) -> Finding {
        (self.cost, self.mend) = (cost.into(), mend.into());
        self
    }
}

/// Looks at everything. `tree` and `facts` are of the machine, `plan` is what the recorder would be started with.
pub fn examine(plan: &Plan, tree: &Tree, facts: &Facts) -> Vec<Finding> {
    let settings: Vec<Finding> =
        tune::settings().iter().map(|setting| of_setting(setting, tree, facts)).collect();
    let is_set =
        |id: &str| settings.iter().any(|finding| finding.topic == id && finding.verdict == Verdict::Ok);
    let release = tree.read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut findings = vec![
        kernel(release.trim()),
        ring(),
        process::receive_tiers(),
        process::locked_memory(plan, is_set("memlock")),
        process::open_files(plan, is_set("nofile")),
        disk::direct(&plan.recordings),
        disk::room(plan),
    ];
    // The same two again as settings of the unit would say it twice.
    findings.extend(
        settings.into_iter().filter(|finding| !["memlock", "nofile"].contains(&finding.topic.as_str())),
    );
    findings
}

/// `6.18.44-fc` as 6 and 18.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.trim().split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(release: &str) -> Finding {
    let text = format!("Linux {release}");
    match version(release) {
        None => Finding::new("kernel", Verdict::Note, format!("not known: {release:?}")),
        Some(version) if version < (6, 1) => Finding::new("kernel", Verdict::Lacks, text).costs(
            "io_uring as it is used here needs 6.1: the `poll` ring takes over, half as much CPU again",
            "a newer kernel",
        ),
        Some(version) if version < (6, 6) => Finding::new("kernel", Verdict::Note, text).costs(
            "the `packet` tier drops what it took by tcx, which came with 6.6",
            "a newer kernel, if that tier is wanted",
        ),
        Some(_) => Finding::new("kernel", Verdict::Ok, text),
    }
}

fn ring() -> Finding {
    match probe::probe() {
        Ok(_) => Finding::new("ring", Verdict::Ok, "io_uring"),
        Err(why) => Finding::new("ring", Verdict::Lacks, "poll")
            .costs("about half as much CPU again per packet", why.to_string()),
    }
}

fn of_setting(setting: &tune::Setting, tree: &Tree, facts: &Facts) -> Finding {
    let seen = tune::inspect(setting, tree, facts);
    let verdict = match seen.status {
        Status::Good => Verdict::Ok,
        Status::Lacks => Verdict::Lacks,
        Status::NotHere | Status::OnRequest | Status::Unseen => Verdict::Note,
    };
    let finding = Finding::new(&setting.id, verdict, seen.now);
    match (seen.status, &setting.want) {
        (Status::Lacks, Want::ByHand { how, .. }) => finding.costs(&setting.cost, how),
        (Status::Lacks | Status::OnRequest, _) => {
            finding.costs(&setting.cost, format!("tapehead tune --apply --only {}", setting.id))
        }
        _ => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_what_came_with_them() {
        for (release, verdict) in [
            ("6.18.44-fc-v669", Verdict::Ok),
            ("6.6.0", Verdict::Ok),
            ("6.1.0-18-amd64", Verdict::Note),
            ("5.15.0-91-generic", Verdict::Lacks),
            ("", Verdict::Note),
        ] {
            assert_eq!(kernel(release).verdict, verdict, "{release}");
        }
    }

    #[test]
    fn what_lacks_says_what_it_costs_and_how_to_mend_it() {
        let raw = crate::config::Raw::default();
        let plan = Plan::check(&raw, crate::config::Machine { cores: 2 }).unwrap();
        let tree = Tree::new(std::path::Path::new("/"));
        let facts = Facts::gather(&tree, plan.rtp_ports, None, &[]).unwrap();
        let findings = examine(&plan, &tree, &facts);
        assert!(findings.len() > 20);
        for finding in &findings {
            let told = !finding.cost.is_empty() && !finding.mend.is_empty();
            assert!(told || finding.verdict != Verdict::Lacks, "{finding:?}");
            assert!(!finding.now.is_empty(), "{finding:?}");
        }
    }
}
