//! The kill harness: the real binary under live calls, kill -9 at a random moment, restart, and every sample held against what had been sent.
//!
//! A call may lose a second of audio, no more, and the manifest must say how much. The bound is the recorder's, while it gets its core and its
//! disk answers: a shard that stands still for a second writes nothing for a second, whatever it does. So a twin stands beside it that wakes and
//! writes as a shard does, and what the machine kept that waiting in the end is added to the bound, and told. The seed is printed; `KILL_SEED=n`
//! repeats the moments of a run, `KILL_ROUNDS=n` runs longer. That no nonce is used twice across crashes is the simulator's to prove, and that the
//! bound holds.

mod common;

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::recordings::finished;
use common::{Recorder, said, tapehead, verify};
use tapehead::base::{Mono, Prng};
use tapehead::demo::recorded::Recorded;
use tapehead::limits::{FRAME_BYTES, LOSS_AT_CRASH_MAX, TICK};
use tapehead::media::Cause;
use tapehead::recording::Manifest;
use tapehead::recording::manifest::RecordingState;
use tapehead::sip::Transport;
use tapehead::src_client::pace::{self, Feed};
use tapehead::src_client::script::PACKET_SAMPLES;
use tapehead::src_client::{Call, Impairment, Law, Party, Script, Signal, StreamPlan};
use tapehead::sys::clock;

const CALLS: u64 = 4;
/// Longer than any round: the sources never fall silent before the kill.
const PACKETS: u32 = 1000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_killed_recorder_loses_a_second_at_most_and_says_so() {
    let seed = setting("KILL_SEED", u64::from(std::process::id()));
    let rounds = setting("KILL_ROUNDS", 20);
    println!("KILL_SEED={seed} KILL_ROUNDS={rounds}");
    let mut chance = Prng::new(seed);
    let mut worst = 0;
    for number in 0..rounds {
        // From in the middle of the first second to well behind the first flushed blocks.
        let round = Round {
            number,
            alive: Duration::from_millis(300 + chance.below(2000)),
            by_command: number % 2 == 0,
        };
        worst = worst.max(round.run());
    }
    println!("{rounds} rounds of {CALLS} calls, at most {worst} ms of audio lost per track");
}

struct Round {
    number: u64,
    /// From the first packet to the kill.
    alive: Duration,
    /// Recovered by `tapehead recover`, else by the next start.
    by_command: bool,
}

/// Wakes every tick and writes a frame past the page cache, as a shard does, until it is stopped.
struct Twin {
    beats: Arc<Mutex<Vec<Mono>>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Twin {
    fn start(home: &Path) -> Twin {
        let open =
            |flags| File::options().create(true).write(true).custom_flags(flags).open(home.join("twin"));
        // Not every file system can write past the cache.
        let file = open(libc::O_DIRECT).or_else(|_| open(0)).expect("the folder is ours");
        let (beats, stop) = (Arc::new(Mutex::new(vec![clock::mono()])), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (beats, stop) = (beats.clone(), stop.clone());
            move || {
                let room = vec![1; 2 * FRAME_BYTES];
                let frame = &room[room.as_ptr().align_offset(FRAME_BYTES)..][..FRAME_BYTES];
                let mut offset = 0;
                while !stop.load(Ordering::Relaxed) {
                    clock::sleep_until(clock::mono() + TICK);
                    file.write_all_at(frame, offset).expect("the disk has room");
                    offset += FRAME_BYTES as u64;
                    beats.lock().expect("nobody panics with it").push(clock::mono());
                }
            }
        });
        Twin { beats, stop, thread }
    }

    /// How long it was kept waiting in the last seconds before `at`, beyond what a shard's margin allows for.
    fn stood_still(self, at: Mono) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only writes");
        let beats = self.beats.lock().expect("it has ended");
        let before: Vec<Mono> = beats.iter().copied().filter(|&beat| beat < at).chain([at]).collect();
        let late = |pair: &[Mono]| pair[1].since(pair[0]).saturating_sub(TICK * 2);
        before.windows(2).filter(|pair| at.since(pair[1]) < LOSS_AT_CRASH_MAX * 2).map(late).sum()
    }
}

/// One call of a round and what was sent on its tracks.
struct Placed {
    call: Call,
    scripts: [Script; 2],
}

impl Round {
    /// Runs the round and returns the most that was lost, in milliseconds.
    fn run(&self) -> u64 {
        let home = tempfile::tempdir().expect("a folder of our own");
        let ring = if self.number % 4 == 3 { "ring = \"poll\"" } else { "" };
        let recorder = Recorder::start(home.path(), ring);
        let twin = Twin::start(home.path());
        let placed: Vec<Placed> =
            (0..CALLS).map(|call| place(&recorder, self.number * CALLS + call)).collect();
        let mut feeds: Vec<Feed> = placed.iter().flat_map(feeds).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let started = clock::mono();
        let sender = std::thread::spawn({
            let stop = stop.clone();
            move || pace::run(&mut feeds, started, &stop, |_| ())
        });
        clock::sleep_until(started + self.alive);
        let killed = clock::mono();
        recorder.kill();
        let (sent, still) = (killed.since(started), twin.stood_still(killed));
        stop.store(true, Ordering::Relaxed);
        sender.join().expect("the sender only sends");
        let again = self.recover(home.path(), ring);
        let lost = placed.iter().map(|placed| {
            let recordings = finished(home.path());
            // Where the machine stood still not even the manifest may have been written: all is lost, and it has to be as little.
            let mine = recordings.iter().find(|found| found.manifest.sip.call_id == placed.call.call_id);
            let Some(recording) = mine else { return self.allowed(script_samples(sent) / 8, still) };
            // Killed before the first block: the manifest alone is there.
            let none = recording.manifest.segments.is_empty();
            let recorded = (!none).then(|| recording.open(home.path()));
            self.check(placed, &recording.manifest, recorded.as_ref(), (sent, still))
        });
        let worst = lost.max().unwrap_or(0);
        drop(again);
        // Where nothing at all is left, that is as little as may be lost.
        if !finished(home.path()).is_empty() {
            let verified = verify(home.path());
            assert!(verified.status.success(), "round {}: {}", self.number, said(&verified));
        }
        worst
    }

    fn recover(&self, home: &std::path::Path, ring: &str) -> Option<Recorder> {
        if !self.by_command {
            return Some(Recorder::start(home, ring));
        }
        let recovered = tapehead(home, ["recover"]);
        assert!(recovered.status.success(), "round {}: {}", self.number, said(&recovered));
        None
    }

    fn check(
        &self,
        placed: &Placed,
        manifest: &Manifest,
        recorded: Option<&Recorded>,
        (sent, still): (Duration, Duration),
    ) -> u64 {
        let what = format!("round {}, killed after {} ms", self.number, sent.as_millis());
        assert_eq!(manifest.state, RecordingState::Recovered, "{what}");
        let stated = manifest.recovery.as_ref().expect("a recovered manifest says so").lost_ms_max;
        let crash = manifest.intervals.iter().any(|interval| interval.cause == Cause::Crash);
        assert!(crash || stated == 0, "{what}: no interval says that the crash cost {stated} ms");
        let sent_samples = script_samples(sent);
        let lost = placed.scripts.iter().enumerate().map(|(track, script)| {
            let kept = recorded.map_or(0, |recorded| {
                kept_samples(script, &recorded.tracks[track], recorded.format.silence())
            });
            sent_samples.saturating_sub(kept) / 8
        });
        let lost = lost.max().expect("two tracks");
        let lost = self.allowed(lost, still);
        assert!(lost <= stated + still.as_millis() as u64, "{what}: {lost} ms lost, {stated} ms stated");
        lost
    }

    /// So many milliseconds were lost, and may be lost of a machine that stood still for so long.
    fn allowed(&self, lost: u64, still: Duration) -> u64 {
        let what = format!("round {}, the machine stood still for {} ms", self.number, still.as_millis());
        assert!(lost <= (LOSS_AT_CRASH_MAX + still).as_millis() as u64, "{what}: {lost} ms lost");
        lost
    }
}

/// Samples of the packets sent in this time.
fn script_samples(sent: Duration) -> u64 {
    sent.as_millis() as u64 / 20 * u64::from(PACKET_SAMPLES)
}

/// Up to where the track holds the script, in samples of the script, and that nothing else is in it.
fn kept_samples(script: &Script, codes: &[u8], silence: u8) -> u64 {
    let first = script.payload(0);
    let Some(start) = codes.windows(first.len()).position(|window| window == first) else {
        assert!(codes.iter().all(|&code| code == silence), "something was recorded that was not sent");
        return 0;
    };
    assert!(
        codes[..start].iter().all(|&code| code == silence),
        "something was recorded before the first packet"
    );
    let (mut kept, mut silent) = (0, 0);
    for (packet, heard) in (0..).zip(codes[start..].chunks(PACKET_SAMPLES as usize)) {
        if heard == &script.payload(packet)[..heard.len()] {
            kept = u64::from(packet * PACKET_SAMPLES) + heard.len() as u64;
        } else {
            assert!(heard.iter().all(|&code| code == silence), "packet {packet} differs from what was sent");
            silent += 1;
        }
    }
    // A machine that stands still for longer than the horizon makes packets late; it must not be the rule.
    assert!(silent * 4 <= codes.len() / PACKET_SAMPLES as usize, "{silent} packets are missing");
    kept
}

fn place(recorder: &Recorder, number: u64) -> Placed {
    let law = if number.is_multiple_of(2) { Law::Mulaw } else { Law::Alaw };
    let transport = if number % 4 < 2 { Transport::Udp } else { Transport::Tcp };
    let parties = ["Ada", "Bob"].map(|name| Party { name, aor: "sip:someone@example.com", law });
    let call = Call::place(transport, recorder.sip, &parties).expect("the recorder takes the call");
    let scripts = [0, 1].map(|track| {
        let seed = number * 2 + track;
        let signal = Signal { from_hz: 300.0, to_hz: 900.0, sweep_s: 1.0, turn_s: seed as f64, seed };
        let plan = StreamPlan { signal, law, ssrc: seed as u32, sequence: 0, timestamp: 0, packets: PACKETS };
        Script::new(plan, Impairment::default(), seed)
    });
    Placed { call, scripts }
}

fn feeds(placed: &Placed) -> Vec<Feed> {
    let media = placed.call.media().expect("the answer takes both tracks");
    let scripted = placed.scripts.iter().cloned().zip(media);
    scripted.map(|(script, (socket, to))| Feed::new(script, socket, to, Duration::ZERO)).collect()
}
