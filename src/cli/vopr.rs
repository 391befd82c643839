//! `tapehead vopr SEED`: runs the simulated world of a seed, with every fault it draws, and says how it ended.

use std::process::ExitCode;

use super::exit::Exit;
use crate::sim::{Outcome, run as simulate};

/// Arguments of `vopr`.
#[derive(clap::Args)]
pub struct Args {
    /// The seed, as a failing test names it
    pub seed: u64,
    /// Run this many seeds, from SEED on
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub count: u64,
    /// Print one JSON object per seed
    #[arg(long)]
    pub json: bool,
    /// Print every event of the run
    #[arg(long)]
    pub trace: bool,
}

/// Runs the seeds; fails if one of them shows a violation.
pub fn run(args: Args) -> ExitCode {
    let mut exit = Exit::Ok;
    for seed in args.seed..args.seed.saturating_add(args.count) {
        let outcome = simulate(seed, args.trace);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        if args.json { println!("{}", json(&outcome)) } else { print(&outcome) }
        if !outcome.violations.is_empty() {
            exit = Exit::Failed;
        }
    }
    exit.into()
}

fn print(outcome: &Outcome) {
    let [closed, refused, crashed] = outcome.calls;
    println!(
        "seed {}: digest {:016x}, {} events, {:.1} s simulated, {} datagrams, {} crashes, calls: {closed} closed, {refused} \
         refused, {crashed} cut off",
        outcome.seed,
        outcome.digest,
        outcome.events,
        outcome.simulated_ms as f64 / 1000.0,
        outcome.datagrams,
        outcome.crashes,
    );
    outcome.violations.iter().for_each(|violation| println!("  VIOLATION: {violation}"));
}

fn json(outcome: &Outcome) -> serde_json::Value {
    let [closed, refused, crashed] = outcome.calls;
    serde_json::json!({
        "seed": outcome.seed,
        "digest": format!("{:016x}", outcome.digest),
        "events": outcome.events,
        "simulated_ms": outcome.simulated_ms,
        "datagrams": outcome.datagrams,
        "crashes": outcome.crashes,
        "calls": { "closed": closed, "refused": refused, "cut_off": crashed },
        "violations": outcome.violations,
    })
}
