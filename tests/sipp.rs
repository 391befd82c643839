//! SIPp, a client that is not ours, places SIPREC calls with audio over UDP and over TCP; each tone must be on its channel.
//!
//! Needs SIPp as `.ci/sipp-tls` makes it and `python3`, and root or CAP_NET_RAW for SIPp's raw socket. A missing tool fails:
//! `./check` sees to all of them.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::audio::{read_wav, share_of};
use common::recordings::{Recording, finished};
use common::{Recorder, SIPP, export, said, verify};

const TONES: [f64; 2] = [440.0, 1000.0];

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp-scenarios")
}

/// Copies the scenario and its audio to where SIPp may write its own files.
fn prepare(home: &Path) {
    std::fs::copy(scenarios().join("siprec_uac.xml"), home.join("siprec_uac.xml"))
        .expect("the scenario is there");
    let made = Command::new("python3")
        .arg(scenarios().join("tones.py"))
        .args(["4", "tones.pcap"])
        .current_dir(home)
        .output()
        .expect("python3 is missing: apt-get install python3");
    assert!(made.status.success(), "{}", said(&made));
}

fn run_sipp(recorder: &Recorder, transport: &str) {
    let run = Command::new(SIPP)
        .args(["-sf", "siprec_uac.xml", "-m", "1", "-nostdin", "-timeout", "30s", "-timeout_error"])
        .args(["-trace_err", "-error_file", "errors.log", "-i", "127.0.0.1", "-t", transport])
        .arg(recorder.sip.to_string())
        .current_dir(&recorder.home)
        .env("TERM", "dumb")
        .output()
        .expect("SIPp is missing: run .ci/sipp-tls");
    let errors = std::fs::read_to_string(recorder.home.join("errors.log")).unwrap_or_default();
    assert!(
        run.status.success(),
        "sipp (to play it must be root or have CAP_NET_RAW): {errors}\n{}",
        said(&run)
    );
}

/// The recording must hold 4 s of each tone, on its own channel, loud and all but alone.
fn check_tones(home: &Path, recording: &Recording) {
    let out = home.join("out.wav");
    let exported = export(home, &recording.folder, &out);
    assert!(exported.status.success(), "{}", said(&exported));
    let wav = read_wav(&std::fs::read(out).expect("export wrote it"));
    assert_eq!(wav.channels.len(), 2);
    for (channel, samples) in wav.channels.iter().enumerate() {
        let seconds = samples.len() as f64 / 8000.0;
        assert!((4.0..6.0).contains(&seconds), "{seconds} s");
        // From the middle: where tones start and end is up to the network.
        let middle = &samples[8000..24_000];
        let (own, other) = (share_of(TONES[channel], middle), share_of(TONES[1 - channel], middle));
        assert!(
            own > 0.98 && other < 0.001,
            "channel {channel}: {own:.4} of its tone, {other:.4} of the other's"
        );
    }
}

fn a_call_from_sipp_is_recorded(transport: &str) {
    let home = tempfile::tempdir().expect("a folder of our own");
    prepare(home.path());
    let mut recorder = Recorder::start(home.path(), "");
    run_sipp(&recorder, transport);
    recorder.terminate();
    assert!(recorder.ended().success(), "{}", recorder.log());
    let recordings = finished(home.path());
    assert_eq!(recordings.len(), 1);
    let manifest = &recordings[0].manifest;
    let labels: Vec<_> = manifest.tracks.iter().map(|track| track.label.as_deref()).collect();
    assert_eq!(labels, [Some("96"), Some("97")]);
    assert!(manifest.tracks.iter().all(|track| track.counters.received >= 200 && track.counters.lost == 0));
    let names: Vec<_> = manifest.participants.iter().map(|one| one.names[0].reveal().as_str()).collect();
    assert_eq!(names, ["Ada", "Bob"]);
    check_tones(home.path(), &recordings[0]);
    let verified = verify(home.path());
    assert!(verified.status.success(), "{}", said(&verified));
}

#[test]
fn a_call_from_sipp_over_udp_is_recorded() {
    a_call_from_sipp_is_recorded("u1");
}

#[test]
fn a_call_from_sipp_over_tcp_is_recorded() {
    a_call_from_sipp_is_recorded("t1");
}
