//! Whole recorders in this process: real sockets on loopback, real files.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::base::{Entropy, Wall};
use crate::config::{Machine, Raw};
use crate::keys::{KeyContext, KeyError};
use crate::recording::manifest::RecordingState;
use crate::seal::{DataKey, WrappedKey};
use crate::sip::Transport;
use crate::src_client::{Call, CallError, Law, Party};

const PATIENCE: Duration = Duration::from_secs(10);

fn plan(folder: &std::path::Path, ports: &str) -> Plan {
    let path = |name: &str| folder.join(name).display().to_string();
    let raw = Raw::default()
        .with("sip.listen", "udp:127.0.0.1:0, tcp:127.0.0.1:0")
        // The ports are fixed, and other runs of these tests may use them at the same time.
        .with("receive", "sockets")
        .with("rtp.bind", "127.0.0.1")
        .with("rtp.ports", ports)
        .with("rtp.receive_buffers", "64")
        .with("calls_max", "2")
        .with("shards", "1")
        .with("pin", "false")
        .with("drain_seconds", "1")
        .with("recordings.free_mb_min", "0")
        .with("recordings.dir", &path("recordings"))
        .with("keys.master_file", &path("tapehead.key"));
    Plan::check(&raw, Machine { cores: 1 }).unwrap()
}

fn parties() -> [Party<'static>; 2] {
    let party = |aor, name| Party { aor, name, law: Law::Mulaw };
    [party("sip:alice@example.com", "Alice"), party("sip:bob@example.com", "Bob")]
}

/// Sends 300 ms of a constant to each track.
fn speak(call: &Call) {
    for packet in 0..15u16 {
        for (track, (socket, to)) in call.media().unwrap().iter().enumerate() {
            let mut bytes = vec![0x80, 0];
            bytes.extend_from_slice(&packet.to_be_bytes());
            bytes.extend_from_slice(&(u32::from(packet) * 160).to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, track as u8 + 1]);
            bytes.extend_from_slice(&[0x10 + track as u8; 160]);
            socket.send_to(&bytes, to).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn manifest(folder: &std::path::Path, plan: &Plan) -> crate::recording::Manifest {
    let keys = LocalKeys::open(&plan.master_key).unwrap();
    store::read_manifest(&OsDisk, &folder.join(store::MANIFEST), &keys).unwrap()
}

#[test]
fn calls_over_udp_and_tcp_end_as_finished_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), "21000-21039");
    let (told, finished) = mpsc::channel();
    let recorder = Recorder::start(plan.clone(), Some(told)).unwrap();
    for (transport, at) in [(Transport::Udp, recorder.udp[0]), (Transport::Tcp, recorder.tcp[0])] {
        let call = Call::place(transport, at, &parties()).unwrap();
        speak(&call);
        call.hang_up().unwrap();
        let done = finished.recv_timeout(PATIENCE).expect("a finished recording");
        let manifest = manifest(&done.folder, &plan);
        assert_eq!((manifest.state, manifest.end_cause.as_deref()), (RecordingState::Complete, Some("bye")));
        assert_eq!(manifest.tracks.len(), 2);
        for track in &manifest.tracks {
            assert_eq!(track.counters.of(crate::media::Fate::Placed), 15);
            assert_eq!(track.participants.len(), 1);
        }
        assert!(done.folder.join(store::segment_file(1)).exists());
    }
    recorder.stopper().stop();
    recorder.join().unwrap();
    let left: Vec<_> = std::fs::read_dir(plan.recordings.join(store::ACTIVE)).unwrap().collect();
    assert_eq!(left.len(), 1, "only the lock is left: {left:?}");
}

#[test]
fn a_stop_drains_refuses_new_calls_and_closes_the_running_one_with_bye() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), "21040-21079");
    let (told, finished) = mpsc::channel();
    let recorder = Recorder::start(plan.clone(), Some(told)).unwrap();
    let mut call = Call::place(Transport::Udp, recorder.udp[0], &parties()).unwrap();
    speak(&call);
    recorder.stopper().stop();
    std::thread::sleep(Duration::from_millis(100));
    let refused = Call::place(Transport::Udp, recorder.udp[0], &parties()).err();
    assert!(matches!(refused, Some(CallError::Refused(503))), "{refused:?}");
    assert!(call.ended_by_recorder(PATIENCE).unwrap());
    recorder.join().unwrap();
    let done = finished.recv_timeout(PATIENCE).unwrap();
    assert_eq!(manifest(&done.folder, &plan).end_cause.as_deref(), Some("shutdown"));
}

#[test]
fn calls_beyond_the_limit_are_refused_and_the_place_comes_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(plan(folder.path(), "21080-21119"), None).unwrap();
    let place = || Call::place(Transport::Tcp, recorder.tcp[0], &parties());
    let (first, _second) = (place().unwrap(), place().unwrap());
    assert!(matches!(place().err(), Some(CallError::Refused(503))));
    first.hang_up().unwrap();
    let again = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        place().ok()
    });
    assert!(again.is_some());
    recorder.stopper().stop();
    recorder.stopper().stop();
    recorder.join().unwrap();
}

#[test]
fn what_keeps_a_recorder_from_starting_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), "21120-21159");
    let recorder = Recorder::start(plan.clone(), None).unwrap();
    let second = Recorder::start(plan.clone(), None).err();
    assert!(matches!(second, Some(StartError::Lock(LockError::Held(_)))), "{second:?}");
    recorder.stopper().stop();
    recorder.join().unwrap();

    let mut key = [0; 64];
    OsEntropy.fill(&mut key);
    std::fs::write(&plan.master_key, key).unwrap();
    let broken = Recorder::start(plan, None).err();
    assert!(matches!(broken, Some(StartError::Key(_))), "{broken:?}");

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let raw = Raw::default()
        .with("sip.listen", &format!("udp:{}", taken.local_addr().unwrap()))
        .with("rtp.ports", "21160-21163")
        .with("shards", "1")
        .with("recordings.dir", &folder.path().join("other").display().to_string())
        .with("keys.master_file", &folder.path().join("other.key").display().to_string());
    let plan = Plan::check(&raw, Machine { cores: 1 }).unwrap();
    let bound = Recorder::start(plan, None).err();
    assert!(matches!(bound, Some(StartError::Bind(_))), "{bound:?}");

    let plan = Plan::check(&raw.with("rtp.bind", "192.0.2.77"), Machine { cores: 1 }).unwrap();
    let elsewhere = Recorder::start(plan, None).err();
    assert!(matches!(elsewhere, Some(StartError::Media(..))), "{elsewhere:?}");
    assert!(elsewhere.unwrap().to_string().contains("rtp.bind"));
}

/// A provider that wraps no key, and counts how often it was asked: it fails, or never answers.
struct Broken {
    answers: bool,
    asked: AtomicU32,
}

impl Broken {
    fn new(answers: bool) -> Arc<Broken> {
        Arc::new(Broken { answers, asked: AtomicU32::new(0) })
    }
}

impl KeyProvider for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn wrap(&self, _: &DataKey, _: KeyContext<'_>, _: Wall) -> Result<WrappedKey, KeyError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if !self.answers {
            loop {
                std::thread::park();
            }
        }
        Err(KeyError::Unavailable("broken".to_owned()))
    }

    fn unwrap(&self, _: &WrappedKey, _: KeyContext<'_>) -> Result<DataKey, KeyError> {
        Err(KeyError::Unavailable("broken".to_owned()))
    }
}

#[test]
fn a_key_provider_that_fails_means_503_at_once_and_is_not_asked_again_for_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Broken::new(true);
    let recorder =
        Recorder::start_with(plan(folder.path(), "21200-21239"), Arc::clone(&keys) as _, None).unwrap();
    for _ in 0..crate::limits::KEY_FAILURES_MAX + 3 {
        let refused = Call::place(Transport::Udp, recorder.udp[0], &parties()).err();
        assert!(matches!(refused, Some(CallError::Refused(503))), "{refused:?}");
    }
    assert_eq!(keys.asked.load(Ordering::Relaxed), crate::limits::KEY_FAILURES_MAX);
    recorder.stopper().stop();
    recorder.join().unwrap();
}

/// How long the recorder takes to answer OPTIONS.
fn options_take(to: SocketAddr) -> Duration {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let from = socket.local_addr().unwrap();
    let asked = std::time::Instant::now();
    let request = format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{from}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
         Call-ID: {from}\r\nCSeq: 1 OPTIONS\r\n\r\n"
    );
    socket.send_to(request.as_bytes(), to).unwrap();
    let read = socket.recv(&mut [0; 2000]).unwrap();
    assert!(read > 0);
    asked.elapsed()
}

#[test]
fn a_key_provider_that_never_answers_holds_up_nobody_and_its_calls_get_503_in_time() {
    let wait = crate::limits::KEY_WAIT_MAX;
    let folder = tempfile::tempdir().unwrap();
    let recorder =
        Recorder::start_with(plan(folder.path(), "21240-21279"), Broken::new(false), None).unwrap();
    let at = recorder.udp[0];
    let calls: Vec<_> = (0..crate::limits::KEY_FAILURES_MAX)
        .map(|_| {
            std::thread::spawn(move || {
                let asked = std::time::Instant::now();
                (Call::place(Transport::Udp, at, &parties()).err(), asked.elapsed())
            })
        })
        .collect();
    std::thread::sleep(wait / 4);
    let took = options_take(at);
    assert!(took < wait / 4, "OPTIONS took {took:?} while the provider hung");
    for call in calls {
        let (refused, took) = call.join().unwrap();
        assert!(matches!(refused, Some(CallError::Refused(503))), "{refused:?}");
        // calls_max of this recorder is less than all of them: one is refused at once.
        assert!(took < 2 * wait, "{took:?}");
    }
    recorder.stopper().stop();
    recorder.join().unwrap();
}
