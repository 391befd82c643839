//! Calls secured by SDES and SRTP, from the recording client to the sealed file: bit-exact audio, receiver reports as SRTCP, new keys by
//! re-INVITE, and forged packets that leave no trace but a count.

mod common;

use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::recordings::{Recording, recording_of};
use common::{PARTIES, Recorder};
use tapehead::base::Mono;
use tapehead::demo::compare::{Heard, compare};
use tapehead::media::Fate;
use tapehead::rtp::rtcp;
use tapehead::sip::Transport;
use tapehead::src_client::pace::{self, Feed};
use tapehead::src_client::{Call, Impairment, Law, Script, Signal, StreamPlan};
use tapehead::srtp::{Keys, Sender, Suite};
use tapehead::sys::{OsEntropy, clock};

const ROUGH: Impairment =
    Impairment { lost: 20, duplicated: 50, delayed: 50, delay_max: Duration::from_millis(100) };

/// A stream whose sequence number wraps; `part` tells streams of one track apart.
fn script(track: u64, part: u64, packets: u32, impairment: Impairment) -> Script {
    let signal = Signal { from_hz: 300.0, to_hz: 900.0, sweep_s: 1.0, turn_s: 0.0, seed: track * 10 + part };
    let plan = StreamPlan {
        signal,
        law: Law::Mulaw,
        ssrc: (track * 10 + part) as u32,
        sequence: 65_500,
        timestamp: 0,
        packets,
    };
    Script::new(plan, impairment, track)
}

/// Sends one script to each track, protected as the client has offered.
fn send(call: &Call, scripts: &[Script]) {
    let media = call.media().expect("both tracks are taken");
    let mut feeds: Vec<Feed> = Vec::new();
    for ((script, (socket, to)), sender) in scripts.iter().zip(media).zip(call.senders()) {
        feeds.push(Feed::new(script.clone(), socket, to, Duration::ZERO).secured(sender));
    }
    pace::run(&mut feeds, clock::mono(), &AtomicBool::new(false), |_| ());
}

fn place(recorder: &Recorder, suite: Suite) -> Call {
    Call::place_secured(Transport::Udp, recorder.sip, &PARTIES, Some(suite)).expect("the recorder takes it")
}

/// Both tracks are what was sent, and nobody else sent anything.
fn assert_exact(home: &Path, recording: &Recording, scripts: &[Script]) {
    assert_exact_beside(home, recording, scripts, [0, 0]);
}

/// The same where each track got so many datagrams of others, of which the ledger knows and the script does not.
fn assert_exact_beside(home: &Path, recording: &Recording, scripts: &[Script], forged: [u64; 2]) {
    let recorded = recording.open(home);
    for (number, script) in scripts.iter().enumerate() {
        let intervals = recorded.manifest.intervals.iter().filter(|i| usize::from(i.track) == number);
        let intervals: Vec<_> = intervals.copied().collect();
        let track = &recorded.manifest.tracks[number];
        let heard = Heard {
            codes: &recorded.tracks[number],
            silence: recorded.format.silence(),
            anchors: &track.anchors,
            intervals: &intervals,
            counters: &track.counters,
        };
        let verdict = compare(script, &heard);
        let strange = usize::from(forged[number] > 0);
        assert!(verdict.wrong == 0 && verdict.complaints.len() == strange, "track {number}: {verdict:?}");
        let sent = script.sendings.len() as u64 + forged[number];
        assert!(track.counters.adds_up() && track.counters.received == sent, "{:?}", track.counters);
        let sent = u64::from(script.plan.packets) - script.lost.len() as u64;
        assert_eq!(verdict.right + verdict.late, sent * 160, "track {number}");
    }
}

#[test]
fn calls_in_every_suite_are_recorded_to_the_sample() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start(home.path(), "");
    let one = |suite: Suite| {
        let call = place(&recorder, suite);
        let scripts = [1, 2].map(|track| script(track, 0, 150, ROUGH));
        send(&call, &scripts);
        let call_id = call.call_id.clone();
        call.hang_up().expect("the recorder takes the BYE");
        (call_id, scripts)
    };
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            Suite::ALL.into_iter().map(|suite| (suite, scope.spawn(move || one(suite)))).collect();
        for (suite, call) in calls {
            let (call_id, scripts) = call.join().expect("the call goes well");
            let recording = recording_of(home.path(), &call_id);
            println!("{suite:?}");
            assert_exact(home.path(), &recording, &scripts);
            let replays = recording.manifest.tracks[0].counters.of(Fate::SrtpReplay);
            assert_eq!(replays, u64::from(scripts[0].duplicated), "{suite:?}");
        }
    });
}

#[test]
fn strangers_without_the_key_are_counted_and_change_nothing() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start(home.path(), "");
    let call = place(&recorder, Suite::AeadAes128Gcm);
    let scripts = [1, 2].map(|track| script(track, 0, 100, Impairment::default()));
    let (_, to) = call.media().expect("both tracks are taken").remove(0);
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("loopback takes sockets");
    let wrong = Sender::new(Suite::AeadAes128Gcm, &Keys::fresh(Suite::AeadAes128Gcm, &mut OsEntropy), false);
    // Before the source has been heard at all, and in the middle of it, in clear and under another key.
    let forge = |from: u32| {
        for packet in from..from + 10 {
            let clear = scripts[0].datagram(packet);
            let mut sealed = clear.clone();
            wrong.rtp(scripts[0].rollovers(packet), &mut sealed);
            let sent = [clear, sealed].map(|bytes| stranger.send_to(&bytes, to));
            assert!(sent.iter().all(Result::is_ok));
        }
    };
    forge(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            clock::sleep_until(clock::mono() + Duration::from_secs(1));
            forge(80);
        });
        send(&call, &scripts);
    });
    let call_id = call.call_id.clone();
    call.hang_up().expect("the recorder takes the BYE");
    let recording = recording_of(home.path(), &call_id);
    assert_exact_beside(home.path(), &recording, &scripts, [40, 0]);
    let counters = &recording.manifest.tracks[0].counters;
    assert_eq!((counters.of(Fate::SrtpAuth), counters.of(Fate::WrongSource)), (40, 0), "{counters:?}");
}

#[test]
fn new_keys_by_re_invite_are_followed_and_no_key_is_written_anywhere() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start_with(home.path(), "", &[("TAPEHEAD_LOG_LEVEL", "trace")]);
    let mut call = place(&recorder, Suite::AesCm128HmacSha1_80);
    let mut secrets = keys_in(&call);
    send(&call, &[1, 2].map(|track| script(track, 0, 50, Impairment::default())));
    call.rekey().expect("the recorder takes new keys");
    secrets.extend(keys_in(&call));
    // Another key, another source, a rollover counter that begins anew.
    send(&call, &[1, 2].map(|track| script(track, 1, 50, Impairment::default())));
    let call_id = call.call_id.clone();
    call.hang_up().expect("the recorder takes the BYE");
    let recording = recording_of(home.path(), &call_id);
    for track in &recording.manifest.tracks {
        assert_eq!(
            (track.counters.of(Fate::Placed), track.counters.received),
            (100, 100),
            "{:?}",
            track.counters
        );
    }
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 4, "the recorder had a key of its own for each track and each of the client's");
    let manifest = serde_json::to_string(&recording.manifest).expect("it was read from JSON");
    for secret in secrets {
        assert!(!recorder.log().contains(&secret) && !manifest.contains(&secret), "a key was written down");
    }
}

/// The recorder's keys in its last answer.
fn keys_in(call: &Call) -> Vec<String> {
    let lines = call.answer.media.iter().flat_map(|media| media.values("crypto"));
    lines.filter_map(|line| line.split("inline:").nth(1)).map(str::to_owned).collect()
}

#[test]
fn receiver_reports_are_srtcp_under_the_recorders_key() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start(home.path(), "");
    for suite in [Suite::AeadAes256Gcm, Suite::AesCm128HmacSha1_32] {
        let call = place(&recorder, suite);
        let (_, mut to) = call.media().expect("both tracks are taken").remove(0);
        to.set_port(to.port() + 1);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback takes sockets");
        socket.set_read_timeout(Some(Duration::from_secs(8))).expect("a timeout is allowed");
        let mut session = call.sessions().remove(0).expect("the track is secured");
        let mut report = Vec::new();
        rtcp::write_sr(10, 0, 0, (0, 0), "src@test", &mut report);
        session.protect_rtcp(&mut report);
        socket.send_to(&report, to).expect("loopback takes datagrams");
        send(&call, &[1, 2].map(|track| script(track, 0, 50, Impairment::default())));
        let mut bytes = [0; 600];
        let (len, _) = socket.recv_from(&mut bytes).expect("a report comes where ours came from");
        let mut room = [0; 600];
        let opened =
            session.open(true, &bytes[..len], Mono(1), &mut room).expect("it is under the recorder's key");
        let mut packets = rtcp::compound(opened);
        assert!(matches!(packets.next(), Some(Ok(rtcp::Rtcp::ReceiverReport { .. }))), "{suite:?}");
        let call_id = call.call_id.clone();
        call.hang_up().expect("the recorder takes the BYE");
        let recording = recording_of(home.path(), &call_id);
        assert_eq!(recording.manifest.tracks[0].counters.of(Fate::Rtcp), 1, "our report was opened, too");
    }
}
