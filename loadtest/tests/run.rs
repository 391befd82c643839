//! Runs against the real recorder on loopback: over UDP, TCP and TLS, with every fault, and with a recorder that refuses.

mod common;

use std::path::Path;
use std::time::Duration;

use common::recorder::tls;
use common::{Recorder, loadtest, said, start};
use loadtest::figures::Figures;
use loadtest::figures::Source;
use loadtest::plan::{Plan, Signalling, TlsFiles};
use loadtest::profile::{Codec, Dtx, GilbertElliott, Hold, Late, Profile, Reorder};
use loadtest::ramp::Distribution;
use loadtest::record::{self, CallRecord, End};
use loadtest::run::{Options, RunResult, carry_out};
use loadtest::verify::Verification;
use tapehead::keys::LocalKeys;
use tokio::sync::mpsc::unbounded_channel;

/// A short run: thirty calls, twenty at once. What machines of tests do is not measured: they may be late.
fn plan(recorder: &Recorder) -> Plan {
    Plan {
        target: Some(recorder.sip),
        calls: 20,
        rate: 40.0,
        for_s: 30.0,
        total: Some(30),
        duration_s: Some(1.5),
        distribution: Distribution::Uniform,
        late_ms_max: 1000.0,
        ..Plan::default()
    }
}

fn carry(recorder: &Recorder, plan: &Plan) -> (RunResult, Vec<CallRecord>) {
    let folder = recorder.home.join("run");
    let options =
        Options { folder: folder.clone(), figures: Some(Source::Control(recorder.control_socket())) };
    let (_interrupt, mut interrupted) = unbounded_channel();
    let result = carry_out(plan, &options, &mut interrupted, |_| ()).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(Plan::read(&folder.join(record::PLAN)).unwrap(), *plan, "the plan lies beside the calls");
    (result, record::read(&folder).unwrap())
}

/// Every packet that went out is one that the recorder has counted, and the system refused none.
fn nothing_got_lost(recorder: &Recorder, result: &RunResult, calls: &[CallRecord]) {
    let tracks = calls.iter().flat_map(|call| &call.tracks);
    let sent: u64 = tracks.clone().map(|track| track.datagrams).sum();
    assert_eq!((sent, tracks.map(|track| track.refused).sum::<u64>()), (result.media.datagrams, 0));
    let figures: Figures = Source::Control(recorder.control_socket()).ask().unwrap();
    let counted: f64 =
        figures.iter().filter(|(name, _)| name.starts_with("tapehead_packets_total{")).map(|(_, n)| n).sum();
    let stray = figures.get("tapehead_packets_stray_total").copied().unwrap_or(0.0);
    assert_eq!(counted + stray, sent as f64, "{figures:#?}");
}

/// Every sample that was sent is in the recordings, or has a reason not to be.
fn everything_is_there(recorder: &Recorder) {
    let keys = LocalKeys::open(&recorder.home.join("tapehead.key")).unwrap();
    let verification = Verification {
        recordings: &recorder.recordings(),
        run: &recorder.home.join("run"),
        keys: &keys,
        wait: Duration::from_secs(30),
        horizon_ms: 200,
        // Machines of tests are late.
        misplaced_ms: 500,
        threads: 2,
    };
    let verified = verification.verify().unwrap();
    verified.tell(false);
    assert!(verified.totals.is_good());
}

fn everything() -> Profile {
    Profile {
        name: "everything".to_owned(),
        loss: 0.02,
        gilbert_elliott: Some(GilbertElliott {
            to_bad: 0.01,
            to_good: 0.3,
            loss_in_bad: 0.8,
            loss_in_good: 0.0,
        }),
        reorder: Some(Reorder { share: 0.02, packets: 2 }),
        duplicate: 0.02,
        jitter_ms: 30,
        late: Some(Late { share: 0.01, by_ms: 150 }),
        drift_ppm: 100.0,
        ssrc_change_s: Some(0.8),
        timestamp_jump_s: Some(0.9),
        dtx: Some(Dtx { talk_ms: 400, silence_ms: 300, comfort_noise: true }),
        hold: Some(Hold { after_ms: 300, for_ms: 200 }),
        late_start_ms: 200,
        wrong_source: 0.02,
        ..Profile::default()
    }
}

#[test]
fn calls_with_every_fault_come_and_go_over_udp_and_each_packet_is_accounted_for() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "");
    let plan = Plan { profiles: vec![everything(), Profile::default()], ..plan(&recorder) };
    let (result, calls) = carry(&recorder, &plan);
    assert!(result.clean, "{result:#?}");
    assert_eq!((result.calls.answered, result.calls.hung_up, calls.len()), (30, 30, 30));
    nothing_got_lost(&recorder, &result, &calls);
    everything_is_there(&recorder);
    let faulty: Vec<&CallRecord> = calls.iter().filter(|call| call.profile == "everything").collect();
    assert!((5..=25).contains(&faulty.len()), "about half of them");
    // Each was put on hold, and all but the shortest resumed.
    assert!(result.calls.reinvites as usize > faulty.len(), "{result:#?}");
    for call in &calls {
        assert!(call.call_id.starts_with(&format!("lt-1-{}-", call.call)));
        let wanted = plan.length(call.call).unwrap().as_secs_f64() * 50.0;
        let taken = |track: usize| call.tracks[track].taken as f64;
        match call.profile.as_str() {
            "clean" => {
                assert!((0..2).all(|track| (taken(track) - wanted).abs() <= 1.0), "{call:?}, not {wanted}")
            }
            _ => assert!((0..2).all(|track| taken(track) > 1.0 && taken(track) < wanted * 1.1), "{call:?}"),
        }
    }
}

#[test]
fn secured_streams_of_three_tracks_come_and_go_over_tcp() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "");
    let profile = Profile { codec: Codec::Pcma, ptime_ms: 40, duplicate: 0.05, ..Profile::default() };
    let plan = Plan {
        signalling: Signalling::Tcp,
        tracks: 3,
        total: Some(10),
        calls: 10,
        srtp: Some("AEAD_AES_256_GCM".to_owned()),
        threads: 2,
        profiles: vec![profile],
        ..plan(&recorder)
    };
    let (result, calls) = carry(&recorder, &plan);
    assert!(result.clean, "{result:#?}");
    assert_eq!((result.calls.hung_up, result.calls.resent), (10, 0));
    nothing_got_lost(&recorder, &result, &calls);
    everything_is_there(&recorder);
    let authentic = result
        .recorder
        .iter()
        .find(|(name, _)| name.contains("fate=\"placed\""))
        .map(|(_, change)| change.after);
    let sent = result.media.datagrams as f64;
    assert!(authentic.is_some_and(|placed| placed > 0.9 * sent), "{sent} sent: {:#?}", result.recorder);
}

#[test]
fn calls_come_and_go_over_tls() {
    let home = tempfile::tempdir().unwrap();
    tls::authority(home.path(), "ca");
    tls::certificate(home.path(), "server", "ca", "IP:127.0.0.1");
    tls::certificate(home.path(), "client", "ca", "IP:127.0.0.1");
    let recorder = start(home.path(), "");
    let file = |name: &str| home.path().join(name);
    let files =
        TlsFiles { certificate: file("client.pem"), key: file("client.key"), ca: file("ca.pem"), name: None };
    let plan = Plan {
        target: Some(recorder.tls()),
        signalling: Signalling::Tls,
        tls: Some(files),
        total: Some(10),
        ..plan(&recorder)
    };
    let (result, calls) = carry(&recorder, &plan);
    assert!(result.clean, "{result:#?}");
    assert_eq!(result.calls.hung_up, 10);
    nothing_got_lost(&recorder, &result, &calls);
    everything_is_there(&recorder);
}

#[test]
fn clients_that_vanish_say_nothing_more() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "");
    let profile = Profile { vanish_after_ms: Some(500), ..Profile::default() };
    let plan = Plan { total: Some(5), duration_s: None, profiles: vec![profile], ..plan(&recorder) };
    let (result, calls) = carry(&recorder, &plan);
    assert!(result.clean, "{result:#?}");
    assert_eq!((result.calls.vanished, result.calls.hung_up), (5, 0));
    assert!(
        calls
            .iter()
            .all(|call| call.end == End::Vanished && call.tracks.iter().all(|track| track.taken == 25))
    );
    // The recorder has heard no BYE.
    assert_eq!(Source::Control(recorder.control_socket()).ask().unwrap()["tapehead_calls"], 5.0);
}

#[test]
fn a_recorder_that_is_full_is_left_alone_for_as_long_as_it_says() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "calls_max = 4\n");
    let plan =
        Plan { calls: 8, total: Some(16), rate: 100.0, duration_s: None, for_s: 4.0, ..plan(&recorder) };
    let (result, calls) = carry(&recorder, &plan);
    let refused = result.calls.refused.get(&503).copied().unwrap_or(0);
    assert!(!result.clean && refused > 0 && result.calls.answered == 4, "{result:#?}");
    assert_eq!(result.calls.retry_after, refused);
    assert!(result.calls.held_off_s >= 1.0, "{result:#?}");
    // Without waiting all sixteen would have been tried at once.
    assert!(result.calls.begun < 16, "{result:#?}");
    assert_eq!(calls.iter().filter(|call| call.end == End::Refused(503)).count() as u64, refused);
    assert!(calls.iter().filter(|call| call.end == End::HungUp).all(|call| call.tracks[0].taken > 50));
}

fn command(home: &Path, line: &str) -> std::process::Output {
    loadtest(home, line.split_whitespace())
}

#[test]
fn the_command_says_how_it_went_in_words_in_json_and_by_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "calls_max = 3\n");
    let flags = format!("--target {} --rate 50 --for 1500ms --late-max 1s", recorder.sip);
    let told = command(home.path(), &format!("{flags} --calls 3 --out a"));
    assert_eq!(told.status.code(), Some(0), "{}", said(&told));
    assert!(
        said(&told).contains("3 begun, 3 answered, 3 hung up") && said(&told).ends_with("all as planned\n"),
        "{}",
        said(&told)
    );
    let again = command(home.path(), &format!("{flags} --calls 3 --out a"));
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert!(said(&again).contains("holds a run already"), "{}", said(&again));
    let refused = command(home.path(), &format!("run {flags} --calls 4 --json --out b"));
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let lines: Vec<serde_json::Value> = refused
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert!(lines.len() >= 2 && lines[0]["progress"]["calls"].is_u64(), "{lines:#?}");
    let result = &lines[lines.len() - 1]["result"];
    assert!(result["calls"]["refused"]["503"].as_u64() >= Some(1) && result["clean"] == false, "{result:#?}");
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.path().join("b/result.json")).unwrap()).unwrap();
    assert_eq!(kept, *result);
    for (line, why) in [
        ("--calls 3 --out c", "--target"),
        ("--target 127.0.0.1:5060 --loss 3", "--loss"),
        ("--target nowhere", "--target"),
        ("--target 127.0.0.1:5060 --cores 9999", "no core 9999"),
        ("--target 127.0.0.1:5060 --recordings . --key nokey", "nokey"),
        ("plan capacity --target 127.0.0.1:5060 --recordings . --key nokey", "nokey"),
    ] {
        let wrong = command(home.path(), line);
        assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
        assert!(said(&wrong).contains(why), "{}", said(&wrong));
    }
}
