//! The real binary on real sockets: configuration, signalling, what is refused and how, damage, shutdown.

mod common;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::recordings::recording_of;
use common::{
    PARTIES, Recorder, ask, ask_tcp, code, config_text, export, home, options, request, said, tapehead,
    verify,
};
use tapehead::demo::compare::{Heard, compare};
use tapehead::media::Cause;
use tapehead::recording::manifest::RecordingState;
use tapehead::sdp::Direction;
use tapehead::sip::event::Event;
use tapehead::sip::{Transport, client::Invitation};
use tapehead::src_client::call::invitation;
use tapehead::src_client::pace::{self, Feed};
use tapehead::src_client::{Call, CallError, Impairment, Law, Line, Script, Signal, StreamPlan};
use tapehead::sys::clock;

const SECOND: Duration = Duration::from_secs(1);

/// A script of `packets` packets for each track, which go on where `after` packets have been sent.
fn scripts(packets: u32) -> [Script; 2] {
    [1, 2].map(|track| {
        let signal = Signal { from_hz: 300.0, to_hz: 900.0, sweep_s: 1.0, turn_s: 0.0, seed: track };
        let plan = StreamPlan {
            signal,
            law: Law::Mulaw,
            ssrc: track as u32,
            sequence: 65_530,
            timestamp: 0,
            packets,
        };
        Script::new(plan, Impairment::default(), track)
    })
}

fn send(call: &Call, scripts: &[Script; 2]) {
    let media = call.media().expect("both tracks are taken");
    let scripted = scripts.iter().cloned().zip(media);
    let mut feeds: Vec<Feed> =
        scripted.map(|(script, (socket, to))| Feed::new(script, socket, to, Duration::ZERO)).collect();
    pace::run(&mut feeds, clock::mono(), &AtomicBool::new(false), |_| ());
}

/// A call of one second, recorded.
fn record_one(recorder: &Recorder) -> (String, [Script; 2]) {
    let call = Call::place(Transport::Udp, recorder.sip, &PARTIES).expect("the recorder takes the call");
    let (call_id, scripts) = (call.call_id.clone(), scripts(50));
    send(&call, &scripts);
    call.hang_up().expect("the recorder takes the BYE");
    (call_id, scripts)
}

fn assert_exact(home: &Path, call_id: &str, scripts: &[Script; 2]) {
    let recording = recording_of(home, call_id);
    assert_eq!(recording.manifest.state, RecordingState::Complete);
    let recorded = recording.open(home);
    for (number, script) in scripts.iter().enumerate() {
        let of_track = |interval: &&_| track_of(interval) == number;
        let intervals: Vec<_> = recorded.manifest.intervals.iter().filter(of_track).copied().collect();
        let track = &recorded.manifest.tracks[number];
        let verdict = compare(
            script,
            &Heard {
                codes: &recorded.tracks[number],
                silence: recorded.format.silence(),
                anchors: &track.anchors,
                intervals: &intervals,
                counters: &track.counters,
            },
        );
        assert!(verdict.good(), "track {number}: {verdict:?}");
        assert_eq!(verdict.right + verdict.late, u64::from(script.plan.packets) * 160);
    }
}

fn track_of(interval: &tapehead::media::Interval) -> usize {
    usize::from(interval.track)
}

#[test]
fn a_call_is_recorded_to_the_sample_on_either_ring() {
    for ring in ["ring = \"auto\"", "ring = \"poll\""] {
        let home = home();
        let recorder = Recorder::start(home.path(), ring);
        let (call_id, scripts) = record_one(&recorder);
        assert_exact(home.path(), &call_id, &scripts);
    }
}

#[test]
fn an_impossible_configuration_is_named_before_anything_is_opened() {
    for (setting, named) in [
        ("horizon = 100", "horizon_ms"),
        ("ring = \"glommio\"", "ring"),
        ("horizon_ms = 100000", "horizon_ms"),
        ("shards = -1", "shards"),
    ] {
        let home = home();
        // A port that is taken: were a socket opened first, the error would be another.
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback takes sockets");
        let port = taken.local_addr().expect("it is bound").port();
        let config = home.path().join("tapehead.toml");
        std::fs::write(&config, config_text(home.path(), setting, port)).expect("the folder is ours");
        let run = tapehead(home.path(), ["serve", "--config", "tapehead.toml"]);
        assert_eq!(run.status.code(), Some(2), "{}", said(&run));
        assert!(String::from_utf8_lossy(&run.stderr).contains(named), "{}", said(&run));
        assert!(!home.path().join("recordings").exists() && !home.path().join("tapehead.key").exists());
    }
}

#[test]
fn options_are_answered_over_udp_and_tcp() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let answer = ask(recorder.sip, request("OPTIONS", "one").as_bytes(), SECOND).expect("an answer");
    assert_eq!(code(&answer), Some(200));
    assert!(answer.contains("siprec") && answer.contains("application/sdp"), "{answer}");
    let over_tcp = request("OPTIONS", "two").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    assert_eq!(code(&ask_tcp(recorder.sip, over_tcp.as_bytes(), SECOND).expect("an answer")), Some(200));
}

#[test]
fn malformed_requests_get_400_and_harm_nothing() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let bent = [
        request("OPTIONS", "a").replace("CSeq: 1 OPTIONS", "CSeq: one OPTIONS"),
        request("INVITE", "b").replace("Content-Length: 0", "Content-Length: -5"),
        request("OPTIONS", "c").replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"),
    ];
    for request in &bent {
        let answer = ask(recorder.sip, request.as_bytes(), SECOND).expect("an answer");
        assert_eq!(code(&answer), Some(400), "{request}\n{answer}");
    }
    for garbage in [&b""[..], b"\0\xff\xfe", b"INVITE", &[b'x'; 60_000]] {
        ask(recorder.sip, garbage, Duration::from_millis(20));
    }
    assert_eq!(options(recorder.sip, SECOND), Some(200));
}

#[test]
fn an_offer_without_anything_to_store_gets_488() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                 m=audio 4000 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\na=label:1\r\n";
    assert_eq!(refused_with(&recorder, invitation(recorder.sip, offer, &PARTIES)), 488);
}

fn refused_with(recorder: &Recorder, invitation: Invitation) -> u16 {
    let mut line = Line::open(Transport::Udp, recorder.sip).expect("loopback takes sockets");
    line.invite(invitation);
    loop {
        match line.wait(10 * SECOND).expect("loopback works").expect("an answer") {
            Event::Refused { code, .. } => return code,
            Event::Accepted { .. } => panic!("the call was taken"),
            _ => (),
        }
    }
}

#[test]
fn hold_and_resume_leave_an_interval_that_says_hold() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let mut call = Call::place(Transport::Tcp, recorder.sip, &PARTIES).expect("the recorder takes the call");
    let call_id = call.call_id.clone();
    send(&call, &scripts(25));
    call.redirect(Direction::Inactive).expect("hold is taken");
    assert!(call.answer.media.iter().all(|media| media.direction() == Some(Direction::Inactive)));
    clock::sleep_until(clock::mono() + SECOND);
    call.redirect(Direction::SendOnly).expect("resume is taken");
    assert!(call.answer.media.iter().all(|media| media.direction() == Some(Direction::RecvOnly)));
    // The same sources go on, their clocks too: the packets of the time on hold were never sent.
    let mut rest = scripts(125);
    rest.iter_mut().for_each(|script| {
        script.sendings.retain(|sending| sending.packet >= 100);
        script.sendings.iter_mut().for_each(|sending| sending.at -= Duration::from_secs(2));
    });
    send(&call, &rest);
    call.hang_up().expect("the recorder takes the BYE");
    let recording = recording_of(home.path(), &call_id);
    for track in 0..2 {
        let held = recording.manifest.intervals.iter().filter(|i| i.track == track && i.cause == Cause::Hold);
        let samples: u64 = held.map(|interval| interval.end - interval.start).sum();
        assert!((4000..20_000).contains(&samples), "track {track}: {samples} samples of hold");
    }
}

#[test]
fn a_cancelled_call_leaves_nothing_running() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let mut line = Line::open(Transport::Udp, recorder.sip).expect("loopback takes sockets");
    let offer =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let dialog = line.invite(invitation(recorder.sip, offer, &PARTIES[..1]));
    assert!(line.cancel(dialog));
    loop {
        match line.wait(10 * SECOND).expect("loopback works").expect("an end") {
            // The recorder was faster than the CANCEL: then the endpoint hangs up by itself.
            Event::Closed { code, .. } => break assert_eq!(code, 200),
            Event::Refused { code, .. } => break assert_eq!(code, 487),
            _ => (),
        }
    }
    record_one(&recorder);
}

#[test]
fn a_folder_that_cannot_be_written_gets_503_and_a_reason() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let active = recorder.recordings().join("active");
    std::fs::remove_dir_all(&active).expect("nothing is running in it");
    std::fs::write(&active, "not a folder").expect("the folder is ours");
    match Call::place(Transport::Udp, recorder.sip, &PARTIES) {
        Err(CallError::Refused(503)) => (),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the call was taken"),
    }
    assert!(recorder.log().contains("Not a directory"), "{}", recorder.log());
    std::fs::remove_file(&active).expect("it is ours");
    record_one(&recorder);
}

#[test]
fn a_disk_with_too_little_room_gets_503() {
    let home = home();
    let recorder =
        Recorder::start_with(home.path(), "", &[("TAPEHEAD_RECORDINGS_FREE_MB_MIN", "1000000000")]);
    assert!(matches!(Call::place(Transport::Udp, recorder.sip, &PARTIES), Err(CallError::Refused(503))));
}

#[test]
fn a_master_key_that_cannot_be_read_is_named_at_the_start() {
    let home = home();
    std::fs::write(home.path().join("tapehead.key"), "this is no key").expect("the folder is ours");
    std::fs::write(home.path().join("tapehead.toml"), config_text(home.path(), "", 0))
        .expect("the folder is ours");
    let run = tapehead(home.path(), ["serve", "--config", "tapehead.toml"]);
    assert_eq!(run.status.code(), Some(2), "{}", said(&run));
    assert!(said(&run).contains("tapehead.key"), "{}", said(&run));
}

#[test]
fn damage_is_named_and_the_rest_is_exported() {
    let home = home();
    let recorder = Recorder::start(home.path(), "");
    let (call_id, _) = record_one(&recorder);
    let recording = recording_of(home.path(), &call_id);
    let segment = recording.segment(1);
    let mut bytes = std::fs::read(&segment).expect("it is there");
    // Frame 2 starts behind block 0, frame 0 and frame 1.
    bytes[3 * 4096 + 100] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    let verified = verify(home.path());
    assert_eq!(verified.status.code(), Some(1));
    let text = said(&verified);
    assert!(text.contains("0001.tape") && text.contains("frame 2"), "{text}");
    let out = home.path().join("out.wav");
    let exported = export(home.path(), &recording.folder, &out);
    assert_eq!(exported.status.code(), Some(3), "{}", said(&exported));
    let wav = common::audio::read_wav(&std::fs::read(out).expect("export wrote what was good"));
    assert!(wav.channels[0].len() >= 8000);
}

#[test]
fn sigterm_hangs_up_and_closes_what_is_running() {
    let home = home();
    let mut recorder = Recorder::start(home.path(), "drain_seconds = 3");
    let mut call = Call::place(Transport::Udp, recorder.sip, &PARTIES).expect("the recorder takes the call");
    let (call_id, scripts) = (call.call_id.clone(), scripts(25));
    send(&call, &scripts);
    recorder.terminate();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(options(recorder.sip, SECOND), Some(503), "while it drains it takes no new calls");
    assert!(call.ended_by_recorder(10 * SECOND).expect("loopback works"), "no BYE came");
    assert!(recorder.ended().success());
    assert_exact(home.path(), &call_id, &scripts);
    assert_eq!(recording_of(home.path(), &call_id).manifest.end_cause.as_deref(), Some("shutdown"));
}
