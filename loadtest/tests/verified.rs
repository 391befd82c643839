//! The short plan, run and verified: some hundred calls with every fault, not one sample of which may be wrong or unaccounted for. And what was wrong
//! with the recordings afterwards is found.

mod common;

use std::path::{Path, PathBuf};

use common::{loadtest, said, start};
use tapehead::recording::layout::segment_file;
use tapehead::store::{OsDisk, find_recordings};

const PLAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plans/short.toml");

fn verify(home: &Path) -> std::process::Output {
    // Machines of tests are late, and anchors with them.
    loadtest(
        home,
        "verify --recordings recordings --run run --key tapehead.key --misplaced-ms 500 --json".split(' '),
    )
}

/// The totals: the last line.
fn totals(output: &std::process::Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{}", said(output)))
}

fn segments(home: &Path) -> Vec<PathBuf> {
    let folders = find_recordings(&OsDisk, &home.join("recordings"));
    folders.iter().map(|folder| folder.join(segment_file(1))).collect()
}

#[test]
fn the_short_plan_leaves_no_sample_wrong_or_unaccounted_for() {
    let home = tempfile::tempdir().unwrap();
    let mut recorder = start(home.path(), "");
    let target = recorder.sip.to_string();
    let run = loadtest(home.path(), ["run", "--target", &target, "--plan", PLAN, "--out", "run"]);
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    // Ends the calls whose clients have vanished, so that these can be judged, too.
    recorder.terminate();
    recorder.ended();
    let clean = verify(home.path());
    let seen = totals(&clean);
    let number = |name: &str| seen[name].as_u64().unwrap_or_else(|| panic!("no {name} in {seen}"));
    assert_eq!(
        clean.status.code(),
        Some(0),
        "{}",
        said(&loadtest(
            home.path(),
            "verify --recordings recordings --run run --key tapehead.key --misplaced-ms 500".split(' ')
        ))
    );
    assert_eq!((number("calls"), number("open"), number("refused"), number("calls_bad")), (260, 0, 0, 0));
    assert_eq!((number("wrong"), number("extra"), number("unaccounted")), (0, 0, 0));
    assert!(number("right") > 260 * 2 * 8000, "{seen}");
    for reason in ["before", "lost", "late", "dtx", "hold", "reanchored"] {
        assert!(seen["silence"][reason].as_u64() > Some(0), "the plan has no {reason}: {seen}");
    }

    // One byte of one file, and one recording less.
    let segments = segments(home.path());
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    bytes[8192 + 100] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    std::fs::remove_dir_all(segments[1].parent().unwrap()).unwrap();
    let spoilt = verify(home.path());
    let seen = totals(&spoilt);
    assert_eq!(spoilt.status.code(), Some(1), "{}", said(&spoilt));
    assert_eq!((&seen["calls_bad"], &seen["recordings_missing"]), (&2.into(), &1.into()), "{seen}");
    assert!(seen["unaccounted"].as_u64() > Some(0), "{seen}");
}
