//! SIP over TLS, spoken by OpenSSL and by SIPp: versions, certificates of both sides, certificates changed while a call is up,
//! handshakes that stall, and connections that the recorder makes itself.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::recordings::{finished, recording_of};
use common::tls::{Line, authority, certificate};
use common::{Recorder, SIPP, code, options, request, said, tapehead};

const SECOND: Duration = Duration::from_secs(1);

/// Makes an authority `ca`, and `server` and `client` signed by it; `stranger` is signed by another.
fn certificates(home: &Path) {
    authority(home, "ca");
    authority(home, "other-ca");
    certificate(home, "server", "ca", "IP:127.0.0.1,DNS:recorder.example");
    certificate(home, "client", "ca", "DNS:sbc.example");
    certificate(home, "stranger", "other-ca", "DNS:sbc.example");
}

fn started(variables: &[(&str, &str)]) -> (tempfile::TempDir, Recorder) {
    let home = tempfile::tempdir().expect("a folder of our own");
    certificates(home.path());
    let recorder = Recorder::start_with(home.path(), "drain_seconds = 0", variables);
    (home, recorder)
}

const TRUST: [&str; 3] = ["-CAfile", "ca.pem", "-verify_return_error"];

fn connect(recorder: &Recorder, further: &[&str]) -> Line {
    Line::connect(&recorder.home, recorder.tls(), &[&TRUST[..], further].concat())
}

fn tls_request(method: &str, branch: &str) -> String {
    request(method, branch).replace("SIP/2.0/UDP", "SIP/2.0/TLS")
}

/// How often the recorder has counted this of its sockets.
fn counted(recorder: &Recorder, what: &str) -> u64 {
    let status = tapehead(&recorder.home, ["ctl", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    status["sockets"][what].as_u64().unwrap_or_else(|| panic!("{what} in {status}"))
}

/// The code that OPTIONS gets over a new connection, if any.
fn options_over_tls(recorder: &Recorder, further: &[&str]) -> Option<u16> {
    let mut line = connect(recorder, further);
    line.send(&tls_request("OPTIONS", "tls"));
    code(&line.message(3 * SECOND)?)
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let (_home, recorder) = started(&[]);
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(options_over_tls(&recorder, &[version]), Some(200), "{version}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let old = [version, "-cipher", "DEFAULT@SECLEVEL=0"];
        assert_eq!(options_over_tls(&recorder, &old), None, "{version}");
    }
    // Somebody who does not speak TLS at all.
    let mut plain = TcpStream::connect(recorder.tls()).expect("it listens");
    plain.write_all(tls_request("OPTIONS", "plain").as_bytes()).expect("loopback takes it");
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"SIP"), "nothing is said in the clear");
    recorder.has_logged("TLS handshake failed");
    assert_eq!((counted(&recorder, "tls_incompatible"), counted(&recorder, "tls_malformed")), (2, 1));
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let good = ["-cert", "client.pem", "-key", "client.key"];
    let bad = ["-cert", "stranger.pem", "-key", "stranger.key"];
    let ca = ("TAPEHEAD_TLS_CLIENT_CA", "ca.pem");
    // Without one, with a good one, with one that a stranger has signed.
    for (rule, outcome, refused) in [
        ("none", [Some(200), Some(200), Some(200)], 0),
        ("optional", [Some(200), Some(200), None], 1),
        ("required", [None, Some(200), None], 2),
    ] {
        let (_home, recorder) = started(&[("TAPEHEAD_TLS_CLIENT_CERTIFICATES", rule), ca]);
        for version in ["-tls1_2", "-tls1_3"] {
            let with = |arguments: &[&str]| options_over_tls(&recorder, &[&[version], arguments].concat());
            assert_eq!([with(&[]), with(&good), with(&bad)], outcome, "{rule} {version}");
        }
        assert_eq!(counted(&recorder, "tls_certificates_refused"), 2 * refused, "{rule}");
    }
}

/// An INVITE with two labelled streams and metadata.
fn invite(call: &str, contact: &str) -> String {
    let body = "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 0\r\na=label:1\r\na=sendonly\r\nm=audio 4002 RTP/AVP 0\r\na=label:2\r\na=sendonly\r\n\
        --b\r\nContent-Type: application/rs-metadata+xml\r\n\r\n\
        <recording xmlns='urn:ietf:params:xml:ns:recording:1'><datamode>complete</datamode></recording>\r\n--b--\r\n";
    tls_request("INVITE", call).replace(
        "Content-Length: 0\r\n\r\n",
        &format!(
            "Contact: <{contact}>;+sip.src\r\nRequire: siprec\r\nContent-Type: multipart/mixed;boundary=b\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

/// A request inside of the call that `ok` has answered.
fn inside(method: &str, cseq: u32, call: &str, ok: &str) -> String {
    let to = ok.lines().find(|line| line.starts_with("To:")).expect("an answer has a To");
    tls_request(method, &format!("{call}{method}"))
        .replace("To: <sip:recorder@127.0.0.1>", to)
        .replace(&format!("Call-ID: {call}{method}"), &format!("Call-ID: {call}"))
        .replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
}

/// Places a call through `line`, acknowledges it and sends a little audio.
fn call(line: &mut Line, call: &str, contact: &str) -> String {
    line.send(&invite(call, contact));
    let ok = line.answer();
    assert_eq!(code(&ok), Some(200), "{ok}");
    line.send(&inside("ACK", 1, call, &ok));
    // Answered after the ACK has been taken.
    line.send(&tls_request("OPTIONS", &format!("{call}-acknowledged")));
    assert_eq!(code(&line.answer()), Some(200));
    let ports =
        ok.lines().filter_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse::<u16>().ok());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
    for port in ports {
        for packet in 0..10u8 {
            let mut rtp = vec![
                0x80,
                0,
                0,
                packet,
                0,
                0,
                ((u16::from(packet) * 160) >> 8) as u8,
                (u16::from(packet) * 160) as u8,
                0,
                0,
                0,
                1,
            ];
            rtp.extend([0x55; 160]);
            socket.send_to(&rtp, (Ipv4Addr::LOCALHOST, port)).expect("loopback takes it");
        }
    }
    ok
}

#[test]
fn a_whole_call_over_tls_is_recorded() {
    let (home, recorder) = started(&[]);
    let mut line = connect(&recorder, &["-tls1_3"]);
    let ok = call(&mut line, "whole", "sip:src@127.0.0.1:5061;transport=tls");
    let contact = format!("Contact: <sip:tapehead@{};transport=tls>;+sip.srs", recorder.tls());
    assert!(ok.contains("\r\nVia: SIP/2.0/TLS ") && ok.contains(&contact), "{ok}");
    // Keep-alives pass beside it (RFC 5626 section 4.4.1).
    line.send("\r\n\r\n");
    line.send(&inside("BYE", 2, "whole", &ok));
    assert!(line.answer().trim_start().starts_with("SIP/2.0 200"));
    let recording = recording_of(home.path(), "whole");
    assert_eq!(recording.manifest.end_cause.as_deref(), Some("bye"));
    assert!(recording.manifest.tracks.iter().all(|track| track.counters.received == 10));
}

#[test]
fn sipp_places_calls_over_tls() {
    let (home, mut recorder) =
        started(&[("TAPEHEAD_TLS_CLIENT_CERTIFICATES", "required"), ("TAPEHEAD_TLS_CLIENT_CA", "ca.pem")]);
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp-scenarios");
    let tones = Command::new("python3")
        .arg(scenarios.join("tones.py"))
        .args(["1", "tones.pcap"])
        .current_dir(home.path())
        .output();
    assert!(tones.is_ok_and(|tones| tones.status.success()));
    for version in ["1.2", "1.3"] {
        let run = Command::new(SIPP)
            .arg("-sf")
            .arg(scenarios.join("siprec_uac.xml"))
            .args(["-m", "3", "-r", "10", "-t", "l1", "-i", "127.0.0.1", "-nostdin"])
            .args(["-p", &free_port().to_string()])
            .args(["-tls_version", version, "-tls_cert", "client.pem", "-tls_key", "client.key"])
            .args(["-timeout", "20s", "-timeout_error", "-trace_err", "-error_file", "errors.log"])
            .arg(recorder.tls().to_string())
            .current_dir(home.path())
            .env("TERM", "dumb")
            .output()
            .expect("SIPp is missing: run .ci/sipp-tls");
        let errors = std::fs::read_to_string(home.path().join("errors.log")).unwrap_or_default();
        assert!(run.status.success(), "TLS {version}: {errors}\n{}", said(&run));
    }
    recorder.terminate();
    assert!(recorder.ended().success(), "{}", recorder.log());
    let recordings = finished(home.path());
    assert_eq!(recordings.len(), 6);
    for recording in recordings {
        assert!(recording.manifest.tracks.iter().all(|track| track.counters.received >= 50));
    }
}

#[test]
fn certificates_change_while_a_call_is_up_and_a_broken_one_changes_nothing() {
    let (home, recorder) = started(&[]);
    let mut line = connect(&recorder, &[]);
    let ok = call(&mut line, "reload", "sip:src@127.0.0.1:5061;transport=tls");
    let trusts = |ca: &str| {
        let mut line = Line::connect(home.path(), recorder.tls(), &["-CAfile", ca, "-verify_return_error"]);
        line.send(&tls_request("OPTIONS", "reload-probe"));
        line.message(3 * SECOND).and_then(|answer| code(&answer))
    };
    assert_eq!((trusts("ca.pem"), trusts("other-ca.pem")), (Some(200), None));

    // A key that does not belong to the certificate: refused, at once because of the signal.
    std::fs::copy(home.path().join("stranger.pem"), home.path().join("server.pem"))
        .expect("the folder is ours");
    recorder.reload();
    recorder.has_logged("the former ones stay in force");
    assert_eq!((trusts("ca.pem"), trusts("other-ca.pem")), (Some(200), None));

    // Now its key: found without a signal.
    std::fs::copy(home.path().join("stranger.key"), home.path().join("server.key"))
        .expect("the folder is ours");
    recorder.has_logged("in force for new connections");
    assert_eq!((trusts("ca.pem"), trusts("other-ca.pem")), (None, Some(200)));
    assert_eq!(counted(&recorder, "tls_refused_by_peer"), 3, "each time by one that does not trust us");

    // The call has noticed nothing.
    line.send(&inside("BYE", 2, "reload", &ok));
    assert_eq!(code(&line.answer()), Some(200));
    assert_eq!(recording_of(home.path(), "reload").manifest.end_cause.as_deref(), Some("bye"));
}

#[test]
fn handshakes_that_stall_keep_nobody_out_and_end() {
    let (_home, recorder) = started(&[]);
    let begun = Instant::now();
    // More than may be under way at once; the last ones have even begun to speak.
    let mut stalled: Vec<TcpStream> = (0..400)
        .map(|number| {
            let mut stream = TcpStream::connect(recorder.tls()).expect("it listens");
            if number > 200 {
                stream.write_all(&[22, 3, 1, 2, 0, 1]).expect("loopback takes it");
            }
            stream
        })
        .collect();
    let asked = Instant::now();
    assert_eq!(options_over_tls(&recorder, &[]), Some(200));
    assert_eq!(options(recorder.sip, SECOND), Some(200));
    assert!(asked.elapsed() < 2 * SECOND, "{:?}", asked.elapsed());
    for stream in &mut stalled {
        stream.set_read_timeout(Some(10 * SECOND)).expect("a timeout is allowed");
        assert!(matches!(stream.read(&mut [0; 100]), Ok(0) | Err(_)));
    }
    let ended = ["tls_handshakes_slow", "tls_handshakes_displaced"].map(|what| counted(&recorder, what));
    assert!(ended.iter().sum::<u64>() == 400 && ended[1] >= 400 - 256, "{ended:?}");
    let took = begun.elapsed();
    assert!((4 * SECOND..9 * SECOND).contains(&took), "all were closed after {took:?}");
}

/// Port of a listener for one connection that takes the recorder's own requests.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
    listener.local_addr().expect("it is bound").port()
}

/// The client's connection is gone when the recorder hangs up: what arrives at its Contact, over a connection of the recorder's.
fn bye_over_a_new_connection(variables: &[(&str, &str)]) -> Option<String> {
    let (home, recorder) = started(variables);
    let port = free_port();
    let server = [
        "-cert",
        "client.pem",
        "-key",
        "client.key",
        "-CAfile",
        "ca.pem",
        "-Verify",
        "2",
        "-verify_return_error",
    ];
    let mut contact = Line::listen(home.path(), port, &server);
    let mut line = connect(&recorder, &[]);
    call(&mut line, "gone", &format!("sip:src@127.0.0.1:{port};transport=tls"));
    drop(line);
    std::thread::sleep(SECOND / 2);
    recorder.terminate();
    let bye = contact.message(3 * SECOND);
    if bye.is_none() {
        recorder.has_logged("no connection");
    }
    bye
}

#[test]
fn the_recorder_connects_to_a_client_that_is_gone_if_it_trusts_its_certificate() {
    let names = ("TAPEHEAD_TLS_SERVER_NAMES", "other.example, sbc.example");
    let bye = bye_over_a_new_connection(&[("TAPEHEAD_TLS_SERVER_CA", "ca.pem"), names]).expect("a BYE");
    assert!(bye.starts_with("BYE sip:src@127.0.0.1:") && bye.contains("\r\nVia: SIP/2.0/TLS "), "{bye}");
    let any = ("TAPEHEAD_TLS_SERVER_NAMES", "*");
    assert!(bye_over_a_new_connection(&[("TAPEHEAD_TLS_CLIENT_CA", "ca.pem"), any]).is_some());
    // Signed by a stranger, by another name than the address, or nobody to trust.
    assert_eq!(bye_over_a_new_connection(&[("TAPEHEAD_TLS_SERVER_CA", "other-ca.pem"), any]), None);
    assert_eq!(bye_over_a_new_connection(&[("TAPEHEAD_TLS_SERVER_CA", "ca.pem")]), None);
    assert_eq!(bye_over_a_new_connection(&[]), None);
}

#[test]
fn what_can_not_be_used_keeps_the_recorder_from_starting() {
    let (home, recorder) = started(&[]);
    recorder.has_logged("listening");
    assert!(!recorder.log().contains("can read the TLS key"), "OpenSSL makes keys for their owner alone");
    drop(recorder);
    let run = |name: &str, value: &str| {
        let run = Command::new(common::binary())
            .args(["serve", "--config", "tapehead.toml"])
            .env(name, value)
            .current_dir(home.path())
            .output();
        let run = run.expect("the binary was built");
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    for (name, value, why) in [
        ("TAPEHEAD_TLS_CERTIFICATE", "absent.pem", "absent.pem"),
        ("TAPEHEAD_TLS_CERTIFICATE", "server.key", "server.key: holds no PEM certificate"),
        ("TAPEHEAD_TLS_KEY", "client.key", "certificate, key and CA files"),
        ("TAPEHEAD_TLS_SERVER_CA", "absent.pem", "absent.pem"),
    ] {
        let (status, said) = run(name, value);
        assert!(status == Some(2) && said.contains(why), "{name}={value}: {status:?} {said}");
    }
}

#[test]
fn without_tls_a_request_to_read_again_ends_nothing() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start(home.path(), "");
    recorder.reload();
    recorder.has_logged("nothing to read again");
    assert_eq!(options(recorder.sip, SECOND), Some(200));
}

#[test]
fn a_key_that_everybody_can_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().expect("a folder of our own");
    certificates(home.path());
    std::fs::set_permissions(home.path().join("server.key"), std::fs::Permissions::from_mode(0o644))
        .expect("it is ours");
    let recorder = Recorder::start(home.path(), "");
    assert!(recorder.log().contains("everybody on this machine can read the TLS key"), "{}", recorder.log());
}
