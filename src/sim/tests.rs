//! The simulator's own runs: seeds without a violation, equal digests, planted bugs that are caught.

use super::run;
use crate::base::planted::{Bug, plant};

/// Seeds of every test run. `tapehead vopr 0 --count N` runs more.
const SEEDS: u64 = 400;

#[test]
fn no_seed_shows_a_violation() {
    let violations = |seed| Some((seed, run(seed, false).violations)).filter(|(_, wrong)| !wrong.is_empty());
    let bad: Vec<(u64, Vec<String>)> = (0..SEEDS).filter_map(violations).collect();
    assert!(bad.is_empty(), "replay with `tapehead vopr SEED --trace`: {bad:#?}");
}

#[test]
fn the_same_seed_gives_the_same_digest_with_and_without_a_trace() {
    for seed in 0..20 {
        let (plain, traced) = (run(seed, false), run(seed, true));
        assert_eq!(plain.digest, traced.digest);
        assert!(traced.trace.len() as u64 >= traced.events);
    }
    assert_ne!(run(1, false).digest, run(2, false).digest);
}

/// Worlds in which nothing happens would find nothing.
#[test]
fn the_seeds_see_calls_crashes_and_refusals() {
    let outcomes: Vec<_> = (0..100).map(|seed| run(seed, false)).collect();
    let sum = |of: fn(&super::Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    assert!(sum(|o| o.calls[0].into()) > 150 && sum(|o| o.calls[1].into()) > 10);
    assert!(sum(|o| o.calls[2].into()) > 20 && sum(|o| o.crashes.into()) > 20);
    assert!(sum(|o| o.datagrams) > 50_000);
}

/// Seeds within which each planted bug must show.
const BUG_SEEDS: u64 = 400;

/// The first seed that shows `bug`, and how it shows.
fn caught(bug: Bug) -> Option<(u64, String)> {
    (0..BUG_SEEDS).find_map(|seed| {
        plant(Some(bug));
        // The product's own assertions catch some of them before the checkers do.
        let outcome = std::panic::catch_unwind(|| run(seed, false));
        plant(None);
        match outcome {
            Ok(outcome) => Some((seed, outcome.violations.first()?.clone())),
            Err(_) => Some((seed, "a panic".to_owned())),
        }
    })
}

#[test]
fn every_planted_bug_is_caught() {
    let found: Vec<_> = Bug::ALL.into_iter().map(|bug| (bug, caught(bug))).collect();
    let table: Vec<String> = found.iter().map(|(bug, found)| format!("{bug:?}: {found:?}")).collect();
    println!("{}", table.join("\n"));
    assert!(found.iter().all(|(_, found)| found.is_some()), "{table:#?}");
}
