//! The scenarios of `sipp-scenarios/`: each is played to the built binary over every transport, several at a time, and what was recorded
//! is held against the expectation beside it (`NAME.toml`). Nothing else may have been recorded.
//!
//! SIPp plays NAME.xml, with audio by `play.py`; what SIPp can't do is in `raw.rs`. `SCENARIO=part-of-a-name` plays only some.
//! Needs SIPp, which `.ci/sipp-tls` brings, python3 and openssl.

mod asked;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod expectation;
mod found;
mod raw;
mod run;
mod table;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use expectation::Scenario;
use found::Library;
use run::{Job, TRANSPORTS, Yard};

/// Scenarios played at once. They wait more than they work.
const AT_ONCE: usize = 12;
/// How many of SIPp's own are asked for.
const SIPP_MIN: usize = 40;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp-scenarios")
}

#[test]
fn every_scenario_is_recorded_as_expected_over_every_transport() {
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    let scenarios = Scenario::all(&folder());
    let chosen: Vec<&Scenario> = scenarios.iter().filter(|one| one.name.contains(&wanted)).collect();
    assert!(!chosen.is_empty(), "no scenario is called {wanted}");
    let home = tempfile::tempdir().expect("a folder of our own");
    let yard = Yard::open(home.path());
    let library = Library::new(home.path());
    let mut failures = play(&yard, &library, &chosen);
    yard.close();
    failures.extend(library.unexpected());
    // Scenarios with recorders of their own may be all that were chosen.
    let verified = common::verify(home.path());
    if !library.is_empty() && !verified.status.success() {
        failures.push(format!("verify: {}", common::said(&verified)));
    }
    assert!(failures.is_empty(), "{} failed:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Plays them all, the longest first, and says what failed and how.
fn play(yard: &Yard, library: &Library, scenarios: &[&Scenario]) -> Vec<String> {
    let each = |scenario| TRANSPORTS.map(|transport| Job { scenario, transport });
    let jobs: VecDeque<Job> = scenarios.iter().copied().flat_map(each).collect();
    let (jobs, failures) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(job) = { jobs.lock().expect("no one panics in it").pop_front() } {
                    let start = Instant::now();
                    let outcome = job.run(yard, library);
                    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
                    println!("{:<44} {verdict:<6} {:>5} ms", job.to_string(), start.elapsed().as_millis());
                    if let Err(why) = outcome {
                        failures.lock().expect("no one panics in it").push(format!("---- {job}\n{why}"));
                    }
                }
            });
        }
    });
    failures.into_inner().expect("no one panics in it")
}

#[test]
fn every_file_has_its_expectation_and_enough_are_from_sipp() {
    let scenarios = Scenario::all(&folder());
    let expected: BTreeSet<&str> = scenarios.iter().map(|one| one.name.as_str()).collect();
    let (mut played, mut strays) = (0, Vec::new());
    for entry in std::fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "xml") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            played += 1;
            strays.extend((!expected.contains(name.as_str()) && name != "siprec_uac").then_some(name));
        }
    }
    assert!(strays.is_empty(), "without an expectation: {strays:?}");
    assert!(played >= SIPP_MIN, "{played} scenarios");
}

#[test]
fn the_table_of_scenarios_tells_what_is_there() {
    let path = folder().join("README.md");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let wanted = table::renew(&text, &Scenario::all(&folder()));
    if std::env::var_os("WRITE_TABLE").is_some() {
        std::fs::write(&path, &wanted).expect("the folder is ours");
    } else {
        assert_eq!(text, wanted, "WRITE_TABLE=1 cargo test --test scenarios table writes it anew");
    }
}
