//! A shard that is offered several times what it can take sheds whole packets, each counted under its cause, turns on, keeps what it records
//! whole, and takes everything again once the flood is over.
//!
//! The flood is as fast as a thread can send, to few sockets and few receive buffers: queues, buffers and windows all run over.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tapehead::base::{RecordingId, Wall};
use tapehead::limits::{BLOCK0_BYTES, FRAME_BYTES, STREAM_HEADER_BYTES, TICK};
use tapehead::link::{
    CallId, Command, ControlEnd, Event, OpenCall, Payload, SegmentPlan, ShardStats, TrackPlan, link,
};
use tapehead::media::{Fate, SampleFormat};
use tapehead::ring::poll::PollRing;
use tapehead::ring::uring::UringRing;
use tapehead::ring::{Ring, RingPlan};
use tapehead::rtp;
use tapehead::seal::{AudioParams, Block0, DataKey, FrameOpener, StreamSeed};
use tapehead::shard::{Shard, ShardPlan};
use tapehead::sys::clock;
use tapehead::sys::memory::BlockPool;

const CALLS: u32 = 4;
const KEY: [u8; 32] = [7; 32];
const SEED: StreamSeed = StreamSeed { salt: [1; 32], nonce_prefix: [2; 7] };
const FLOOD: Duration = Duration::from_millis(1500);
/// What a packet of 160 samples may leave of itself at most.
const SAMPLES: u64 = 160;
/// Silence in µ-law.
const SILENCE: u8 = 0xff;

/// Track 0 says these codes, track 1 the same with the top bit.
fn code(track: usize, sequence: u16) -> u8 {
    (sequence % 100) as u8 | (track as u8) << 7
}

struct Stage<R: Ring> {
    shard: Shard<R>,
    control: ControlEnd,
    ports: Vec<u16>,
    folder: tempfile::TempDir,
    /// The most CPU time that one turn took.
    longest: Duration,
}

impl<R: Ring> Stage<R> {
    fn new(port_first: u16, make: impl FnOnce(RingPlan, &BlockPool) -> R) -> Stage<R> {
        let plan = ShardPlan {
            index: 0,
            port_first,
            port_count: 64,
            calls_max: CALLS,
            horizon: Duration::from_millis(200),
            silence_alarm: Duration::from_secs(30),
            receive_buffers: 128,
        };
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let blocks = BlockPool::new(plan.blocks()).unwrap();
        let ring = make(plan.ring(), &blocks);
        let (control, end) = link(Arc::new(|| {}));
        let shard = Shard::new(plan, ring, blocks, end);
        let mut stage = Stage { shard, control, ports: Vec::new(), folder, longest: Duration::ZERO };
        (0..CALLS).for_each(|call| stage.open(call));
        while stage.ports.len() < CALLS as usize * 2 {
            stage.turn();
            while let Ok(event) = stage.control.events.pop() {
                let Event::Opened { ports, .. } = event else { continue };
                stage.ports.extend(ports);
            }
        }
        stage
    }

    fn open(&mut self, call: u32) {
        let recording: RecordingId = format!("0123456789ab7000800000000000000{call}").parse().unwrap();
        let audio = AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: 2, start: 0 };
        let segment = SegmentPlan {
            call: CallId(call.into()),
            segment: 1,
            path: self.folder.path().join(format!("{call}.tape.part")),
            block0: Box::new(Block0::segment(recording, 1, "test", Wall(0), audio, Vec::new())),
            key: DataKey::new(KEY),
            seed: SEED,
        };
        let track = TrackPlan { payloads: vec![(0, Payload::Pcmu)], ..TrackPlan::default() };
        let open = OpenCall {
            call: CallId(call.into()),
            recording,
            bind: Ipv4Addr::LOCALHOST.into(),
            tracks: vec![track; 2],
            format: SampleFormat::Mulaw,
            ssrc: 1,
            segment,
        };
        self.control.commands.push(Command::Open(Box::new(open))).unwrap();
    }

    fn turn(&mut self) {
        let before = clock::thread_cpu();
        self.shard.turn();
        self.longest = self.longest.max(clock::thread_cpu() - before);
    }

    fn turn_for(&mut self, time: Duration) {
        let end = clock::mono() + time;
        while clock::mono() < end {
            self.turn();
            while self.control.events.pop().is_ok() {}
        }
    }

    /// The counters, told once per second.
    fn stats(&mut self) -> ShardStats {
        self.turn_for(Duration::from_millis(1200));
        self.shard.stats().clone()
    }

    /// Ends every call; the tracks of each recording as they are on disk, every frame authentic.
    fn recordings(mut self) -> Vec<[Vec<u8>; 2]> {
        (0..CALLS).for_each(|call| {
            self.control.commands.push(Command::Close { call: CallId(call.into()) }).unwrap();
        });
        self.control.commands.push(Command::Shutdown).unwrap();
        (0..1000).find(|_| !self.shard.turn()).expect("the shard ends");
        (0..CALLS).map(|call| read(&self.folder.path().join(format!("{call}.tape")))).collect()
    }
}

fn read(path: &Path) -> [Vec<u8>; 2] {
    let file = std::fs::read(path).unwrap();
    let block0 = Block0::decode(&file).unwrap();
    let opener = FrameOpener::new(&DataKey::new(KEY), &SEED, &block0.associated_data());
    let frames: Vec<&[u8]> = file[BLOCK0_BYTES..].chunks(FRAME_BYTES).collect();
    let mut tracks = [Vec::new(), Vec::new()];
    for (counter, frame) in frames.iter().enumerate() {
        let mut frame = frame[if counter == 0 { STREAM_HEADER_BYTES } else { 0 }..].to_vec();
        let plain = opener.open(counter as u32, counter + 1 == frames.len(), &mut frame).unwrap();
        // The first frame is the WAV header.
        for pair in plain.chunks_exact(2).filter(|_| counter > 0) {
            tracks.iter_mut().zip(pair).for_each(|(track, &sample)| track.push(sample));
        }
    }
    tracks
}

/// The streams' next packets, one to each.
fn round(socket: &UdpSocket, ports: &[u16], ssrc: u32, sequence: u32) -> u64 {
    let header = rtp::Header {
        sequence: sequence as u16,
        timestamp: sequence * SAMPLES as u32,
        ssrc,
        ..rtp::Header::default()
    };
    let sent = |(at, &port): (usize, &u16)| {
        let mut bytes = Vec::new();
        rtp::write(&header, &[code(at % 2, sequence as u16); SAMPLES as usize], &mut bytes);
        socket.send_to(&bytes, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    };
    ports.iter().enumerate().for_each(sent);
    ports.len() as u64
}

fn sheds_and_recovers<R: Ring>(port_first: u16, make: impl FnOnce(RingPlan, &BlockPool) -> R) {
    let mut stage = Stage::new(port_first, make);
    let (ports, stop) = (stage.ports.clone(), AtomicBool::new(false));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut sent = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let rounds = (1..).take_while(|_| !stop.load(Ordering::Relaxed));
            rounds.map(|sequence| round(&socket, &ports, 7, sequence)).sum::<u64>()
        });
        stage.turn_for(FLOOD);
        // A thread that sleeps through some of it finds all its queues full.
        std::thread::sleep(Duration::from_millis(300));
        stage.turn_for(TICK * 5);
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap()
    });
    stage.turn_for(Duration::from_secs(1));
    // What the kernel has dropped comes with the next datagram; these are new sources, at their pace.
    let before = stage.stats().packets;
    for sequence in 1..=25 {
        sent += round(&socket, &ports, 8, sequence);
        stage.turn_for(TICK);
    }
    let stats = stage.stats();
    let packets = stats.packets;
    println!("{sent} sent: {stats:?}");
    assert!(packets.adds_up() && stats.stray == 0, "{stats:?}");
    assert_eq!(packets.received + packets.kernel_drops, sent, "every packet is counted, once");
    let shed = sent - packets.of(Fate::Placed);
    assert!(packets.kernel_drops > 0 && shed > sent / 2, "it was a flood: {stats:?}");
    let placed = packets.of(Fate::Placed) - before.of(Fate::Placed);
    assert_eq!(placed, 25 * u64::from(CALLS) * 2, "after the flood everything is taken again");
    // Generous: the build may be unoptimised and the machine busy. A turn ends by itself after a tick's worth of datagrams.
    assert!(stage.longest < TICK * 10, "a turn took {:?} of CPU", stage.longest);

    let mut heard = 0;
    for recording in stage.recordings() {
        for (track, samples) in recording.iter().enumerate() {
            let right =
                |&sample: &u8| sample == SILENCE || (sample >> 7 == track as u8 && sample & 0x7f < 100);
            assert!(samples.iter().all(right), "a sample that nobody sent on track {track}");
            heard += samples.iter().filter(|&&sample| sample != SILENCE).count() as u64;
        }
    }
    assert!(heard > 0 && heard <= packets.of(Fate::Placed) * SAMPLES, "{heard} samples of {packets:?}");
}

#[test]
fn on_io_uring() {
    sheds_and_recovers(21_300, |plan, blocks| UringRing::new(plan, blocks).unwrap());
}

#[test]
fn on_poll() {
    sheds_and_recovers(21_400, |plan, _| PollRing::new(plan).unwrap());
}
