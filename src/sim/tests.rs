//! The simulator's own runs: seeds without a violation, equal digests, planted bugs that are caught.

use super::run;

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
