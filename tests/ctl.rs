//! `tapehead ctl` against the real binary.

mod common;

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use common::{PARTIES, Recorder, home, options, said, tapehead};
use tapehead::sip::Transport;
use tapehead::src_client::{Call, CallError};

const SECOND: Duration = Duration::from_secs(1);

fn ctl(home: &Path, arguments: &[&str]) -> Output {
    tapehead(home, ["ctl"].iter().chain(arguments))
}

/// The answer of a command that is carried out.
fn json(home: &Path, arguments: &[&str]) -> serde_json::Value {
    let run = ctl(home, &[arguments, &["--json"]].concat());
    assert!(run.status.success(), "{arguments:?}: {}", said(&run));
    serde_json::from_slice(&run.stdout).expect("JSON")
}

fn place(recorder: &Recorder) -> Call {
    Call::place(Transport::Udp, recorder.sip, &PARTIES).expect("the recorder takes the call")
}

#[test]
fn calls_are_shown_without_names_unless_these_are_asked_for() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let call = place(&recorder);
    let status = json(home.path(), &["status"]);
    assert_eq!(
        (&status["stage"], &status["calls"], &status["pid"]),
        (&"open".into(), &1.into(), &recorder.pid().into())
    );
    let calls = json(home.path(), &["calls"]);
    let recording = calls[0]["recording"].as_str().expect("a recording").to_owned();
    let by_number = json(home.path(), &["call", "1"]);
    assert_eq!(by_number["sip_call_id"], call.call_id.as_str());
    assert_eq!(json(home.path(), &["call", &recording])["id"], 1);
    for shown in
        [ctl(home.path(), &["calls"]), ctl(home.path(), &["call", "1"]), ctl(home.path(), &["status"])]
    {
        assert!(shown.status.success() && !said(&shown).contains("example.com"), "{}", said(&shown));
    }
    assert!(said(&ctl(home.path(), &["call", "1", "--show-parties"])).contains("sip:ada@example.com"));
    assert_eq!(ctl(home.path(), &["call", "2"]).status.code(), Some(5));
    assert_eq!(ctl(home.path(), &["call", "x"]).status.code(), Some(2));
    assert_eq!(ctl(home.path(), &["dance"]).status.code(), Some(2));
    call.hang_up().expect("the recorder takes the BYE");
}

#[test]
fn a_call_is_paused_and_resumed_and_metrics_and_dialogs_tell_of_it() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let call = place(&recorder);
    assert_eq!(json(home.path(), &["pause", "1", "--reason", "card number"])["calls"], 1);
    assert_eq!(json(home.path(), &["calls"])[0]["paused"], true);
    let metrics = said(&ctl(home.path(), &["metrics"]));
    for line in ["tapehead_calls 1", "tapehead_calls_paused 1", "tapehead_sip_dialogs 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line}:\n{metrics}");
    }
    assert_eq!(json(home.path(), &["resume", "1"])["calls"], 1);
    assert_eq!(json(home.path(), &["calls"])[0]["paused"], false);
    assert_eq!(json(home.path(), &["dialogs"])[0]["call_id"], call.call_id.as_str());
    assert_eq!(json(home.path(), &["limits"])["drain_seconds"], 10);
    assert_eq!(ctl(home.path(), &["pause"]).status.code(), Some(2));
    assert_eq!(ctl(home.path(), &["pause", "7"]).status.code(), Some(5));
    call.hang_up().expect("the recorder takes the BYE");
}

#[test]
fn a_drain_can_be_taken_back_and_one_that_runs_out_ends_calls_but_not_the_process() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let mut call = place(&recorder);
    json(home.path(), &["drain", "--seconds", "60"]);
    assert_eq!(options(recorder.sip, SECOND), Some(503));
    let refused = Call::place(Transport::Udp, recorder.sip, &PARTIES).err();
    assert!(matches!(refused, Some(CallError::Refused(503))), "{refused:?}");
    json(home.path(), &["undrain"]);
    assert_eq!(options(recorder.sip, SECOND), Some(200));
    place(&recorder).hang_up().expect("the recorder takes the BYE");
    json(home.path(), &["drain", "--seconds", "0"]);
    assert!(call.ended_by_recorder(10 * SECOND).expect("loopback works"), "no BYE came");
    let status = json(home.path(), &["status"]);
    assert_eq!((&status["stage"], &status["refusals"]["draining"]), (&"drained".into(), &1.into()));
    json(home.path(), &["undrain"]);
    place(&recorder).hang_up().expect("the recorder takes the BYE");
}

#[test]
fn stop_ends_the_process_and_takes_the_socket_away() {
    let home = home();
    let mut recorder = Recorder::start(home.path(), "");
    let socket = recorder.recordings().join("control.sock");
    let found = std::fs::symlink_metadata(&socket).expect("it is there");
    assert!(found.file_type().is_socket() && found.permissions().mode() & 0o777 == 0o600);
    let mut call = place(&recorder);
    json(home.path(), &["stop", "--now"]);
    assert!(call.ended_by_recorder(10 * SECOND).expect("loopback works"), "no BYE came");
    assert!(recorder.ended().success());
    assert!(!socket.exists());
    let gone = ctl(home.path(), &["status"]);
    assert_eq!(gone.status.code(), Some(4), "{}", said(&gone));
}

#[test]
fn the_socket_of_a_recorder_that_was_killed_does_not_keep_the_next_from_starting() {
    let home = home();
    Recorder::start(home.path(), "").kill();
    let _next = Recorder::start(home.path(), "");
    assert_eq!(json(home.path(), &["status"])["calls"], 0);
}

#[test]
fn clients_that_send_no_end_or_no_sense_are_bounded_and_harm_nobody() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let connect = || UnixStream::connect(recorder.recordings().join("control.sock")).expect("it listens");
    let mut long = connect();
    // Closed by the recorder at some point of this.
    let _ = long.write_all(&[b'x'; 1 << 20]);
    let mut end = Vec::new();
    let _ = long.read_to_end(&mut end);
    assert!(end.is_empty());
    let mut odd = connect();
    odd.write_all(b"\xff\xfe\n{}\n").expect("it reads");
    let mut answers = [0; 4];
    odd.read_exact(&mut answers).expect("an answer");
    let _silent: Vec<_> = (0..4).map(|_| connect()).collect();
    assert_eq!(json(home.path(), &["status"])["stage"], "open");
}
