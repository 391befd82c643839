//! A plan against the real recorder: what held and what gave, its report, and `tapehead plan` with what was measured.

mod common;

use common::recorder::tapehead;
use common::{loadtest, said, start};

/// Two steps, of four and eight calls. Machines of tests are late, and so are their answers.
const PLAN: &str = "\
name = 'small'
from = 4
times = 2.0
to = 8
refine = 0
ramp_s = 0.5
[stop]
answer_ms_p99 = 5000.0
refused = 0.0
kernel_drops = 0
samples_lost = 0
[run]
for_s = 3.0
late_ms_max = 1000.0
";

#[test]
fn what_a_plan_measures_is_what_sizing_reckons_with() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "");
    std::fs::write(home.path().join("small.toml"), PLAN).unwrap();
    let target = recorder.sip.to_string();
    let plan = ["plan", "small.toml", "--target", &target, "--out", "small"];
    let witnesses = ["--control-socket", "recordings/control.sock", "--recordings", "recordings"];
    let told = loadtest(home.path(), plan.into_iter().chain(witnesses));
    assert_eq!(told.status.code(), Some(0), "{}", said(&told));
    for part in ["the highest load that held: 8; nothing gave up to the end", "small/report.json"] {
        assert!(said(&told).contains(part), "{part} in {}", said(&told));
    }
    let page = std::fs::read_to_string(home.path().join("small/report.html")).unwrap();
    for part in [
        "CPU of a packet",
        "How long the recorder",
        "Memory of the recorder per call",
        "ring=",
        "From INVITE",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }

    let sized =
        tapehead(home.path(), ["plan", "--calls", "1000", "--measured", "small/report.json", "--json"]);
    assert_eq!(sized.status.code(), Some(0), "{}", said(&sized));
    let sized: serde_json::Value = serde_json::from_slice(&sized.stdout).unwrap();
    let grade = |wanted: &str| {
        let groups = sized["groups"].as_array().unwrap().iter();
        let mut figures = groups.flat_map(|group| group["figures"].as_array().unwrap());
        let figure = figures.find(|figure| figure["name"] == wanted).unwrap_or_else(|| panic!("no {wanted}"));
        figure["grade"].as_str().unwrap().to_owned()
    };
    let report = std::fs::read_to_string(home.path().join("small/report.json")).unwrap();
    let tier = if report.contains("receive tier steered") { "steered" } else { "sockets" };
    for measured in ["control", "background pool", "calls", &format!("shards: {tier}")] {
        assert_eq!(grade(measured), "measured", "{measured}: {report}");
    }
    assert_eq!(
        (grade("shards: packet"), grade("interrupts: sockets")),
        ("assumed".to_owned(), "assumed".to_owned())
    );
    assert!(sized["measured"].as_str().unwrap().contains("commit"), "{}", sized["measured"]);
}

#[test]
fn a_recorder_that_is_full_gives_and_is_named_as_what_gave() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "calls_max = 6\n");
    std::fs::write(home.path().join("small.toml"), PLAN).unwrap();
    let target = recorder.sip.to_string();
    let told = loadtest(home.path(), ["plan", "small.toml", "--target", &target, "--out", "small"]);
    assert_eq!(told.status.code(), Some(0), "{}", said(&told));
    let text = said(&told);
    assert!(
        text.contains("the highest load that held: 4; then gave: ") && text.contains("calls refused"),
        "{text}"
    );
    // It told nothing, so there is nothing to reckon with.
    let sized = tapehead(home.path(), ["plan", "--calls", "1000", "--measured", "small/report.json"]);
    assert_eq!(sized.status.code(), Some(2), "{}", said(&sized));
    assert!(said(&sized).contains("no coefficients"), "{}", said(&sized));
}
