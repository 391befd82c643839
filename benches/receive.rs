//! Receiving on real sockets: CPU time of the receiving thread per packet, beside a bare loop that receives and throws away.
//!
//! - `bare recv`: io_uring, multishot recv into provided buffers, each tick; nothing else. The baseline.
//! - `bare recvmsg`: with the source address; `+ stamps`: with arrival time and drop counter as well. What those cost.
//! - `io_uring`: our ring, datagrams thrown away. `shard`: a whole shard on it, recording to disk.
//! - `bare steered`: one socket, its ports led to it by a program, recvmmsg, each tick; nothing else. `steered`, `shard steered`: that tier. Root only.
//! - `bare epoll`: epoll and recv, each tick. `poll`, `shard on poll`: the same of the second ring.
//!
//! `cargo bench --bench receive`; with `-- --smoke` a short run whose result is checked. Options: `--rounds N`, `--only NAME`.
//! Variants are interleaved and the median of the rounds is told, because other work on the machine disturbs.
//! Leaves out the softirq, which is billed to the sender here.

mod bare;
mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bare::{BarePoll, BareSteered, BareUring, Shape};
use common::{ANY_PORT, Load, Outcome, Receiver, median, run};
use tapehead::base::{RecordingId, Wall};
use tapehead::config::{ReceiveChoice, RingChoice};
use tapehead::limits::TICK;
use tapehead::link::{CallId, Command, ControlEnd, Event, OpenCall, Payload, SegmentPlan, TrackPlan, link};
use tapehead::media::{Fate, SampleFormat};
use tapehead::ring::any::AnyTier;
use tapehead::ring::choice::{self, ShardSource};
use tapehead::ring::tier::PortSlice;
use tapehead::ring::{Completion, Op, Ring, RingPlan, SocketIx};
use tapehead::seal::{AudioParams, Block0, DataKey, StreamSeed};
use tapehead::shard::{Shard, ShardPlan};
use tapehead::sys::clock;
use tapehead::sys::memory::BlockPool;

/// Receive buffers of every variant: a third of a second at the full load.
const BUFFERS: u32 = 32_768;
/// First port of a shard, and of what is steered.
const PORT_FIRST: u16 = 25_000;
/// What a shard may cost, as a multiple of the bare loop.
const BOUND: f64 = 2.0;

/// What a shard may cost on the tier `steered`, as a multiple of one on sockets.
const STEERED_BOUND: f64 = 0.7;

const VARIANTS: [&str; 11] = [
    "bare recv",
    "bare recvmsg",
    "bare recvmsg + stamps",
    "io_uring",
    "shard",
    "bare epoll",
    "poll",
    "shard on poll",
    "bare steered",
    "steered",
    "shard steered",
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let smoke = args.iter().any(|arg| arg == "--smoke");
    let rounds: usize =
        after("--rounds").and_then(|rounds| rounds.parse().ok()).unwrap_or(if smoke { 1 } else { 5 });
    let only = after("--only");
    let load = if smoke { SMOKE } else { FULL };
    println!("{} streams, {} packets/s, {rounds} rounds", load.streams, load.packets_per_second);
    let mut figures = vec![Vec::new(); VARIANTS.len()];
    for _ in 0..rounds {
        for (variant, figures) in VARIANTS.iter().zip(&mut figures) {
            if only.as_ref().is_none_or(|only| only == variant) {
                let outcome = measure(variant, load);
                assert_eq!(outcome.received, outcome.sent, "{variant} receives everything");
                figures.push(outcome.ns_per_packet);
            }
        }
    }
    report(&figures, smoke);
}

const FULL: Load = Load {
    streams: 2000,
    packets_per_second: 100_000,
    warm_up: Duration::from_millis(1500),
    measured: Duration::from_secs(4),
};
const SMOKE: Load = Load {
    streams: 400,
    packets_per_second: 20_000,
    warm_up: Duration::from_millis(300),
    measured: Duration::from_millis(700),
};

/// Ring and tier.
type Way = (RingChoice, ReceiveChoice);
const IO_URING: Way = (RingChoice::IoUring, ReceiveChoice::Sockets);
const POLL: Way = (RingChoice::Poll, ReceiveChoice::Sockets);
const STEERED: Way = (RingChoice::IoUring, ReceiveChoice::Steered);

fn slice(count: u16) -> PortSlice {
    PortSlice { address: Ipv4Addr::LOCALHOST.into(), first: PORT_FIRST, count }
}

fn start((ring, receive): Way, plan: RingPlan, blocks: &BlockPool) -> AnyTier {
    let source = match receive {
        ReceiveChoice::Sockets => ShardSource::Sockets,
        receive => {
            let slice = slice(plan.sockets_max as u16);
            choice::open(receive, &[slice]).unwrap_or_else(|(_, why)| panic!("{why}")).sources.remove(0)
        }
    };
    AnyTier::start(ring, source, plan, blocks).unwrap_or_else(|why| panic!("{why}"))
}

fn measure(variant: &str, load: Load) -> Outcome {
    let streams = load.streams;
    match variant {
        "bare recv" => run(load, move || BareUring::new(streams, BUFFERS as u16, Shape::Payload)),
        "bare recvmsg" => run(load, move || BareUring::new(streams, BUFFERS as u16, Shape::Name)),
        "bare recvmsg + stamps" => {
            run(load, move || BareUring::new(streams, BUFFERS as u16, Shape::NameAndStamps))
        }
        "io_uring" => run(load, move || Discard::new(IO_URING, streams)),
        "shard" => run(load, move || Recorder::new(IO_URING, streams)),
        "bare steered" => run(load, move || BareSteered::new(slice(streams as u16))),
        "steered" => run(load, move || Discard::new(STEERED, streams)),
        "shard steered" => run(load, move || Recorder::new(STEERED, streams)),
        "bare epoll" => run(load, move || BarePoll::new(streams)),
        "poll" => run(load, move || Discard::new(POLL, streams)),
        _ => run(load, move || Recorder::new(POLL, streams)),
    }
}

fn report(figures: &[Vec<f64>], smoke: bool) {
    let medians: Vec<Option<f64>> =
        figures.iter().map(|figures| (!figures.is_empty()).then(|| median(figures.clone()))).collect();
    for (index, (name, figure)) in VARIANTS.iter().zip(&medians).enumerate() {
        let Some(figure) = figure else { continue };
        let baseline = medians[[0, 0, 0, 0, 0, 5, 5, 5, 8, 8, 8][index]];
        let ratio = baseline.map_or(String::new(), |baseline| format!("{:5.2}", figure / baseline));
        println!("{name:<22} {figure:7.0} ns/packet {ratio}");
    }
    if let (Some(bare), Some(shard)) = (medians[0], medians[4]) {
        // A short run at low load says little of the ratio; that it is not absurd is what a busy test machine can tell.
        let bound = if smoke { 4.0 } else { BOUND };
        println!("shard / bare recv: {:.2}, bound {bound}", shard / bare);
        assert!(shard / bare <= bound, "the shard costs more than {bound} times the bare loop");
    }
    if let (Some(sockets), Some(steered)) = (medians[4], medians[10]) {
        let bound = if smoke { 1.5 } else { STEERED_BOUND };
        println!("shard steered / shard: {:.2}, bound {bound}", steered / sockets);
        assert!(steered / sockets <= bound, "the tier steered costs more than {bound} times that of sockets");
    }
}

/// One of our rings, everything thrown away.
struct Discard {
    ring: AnyTier,
    targets: Vec<SocketAddr>,
    received: u64,
    _blocks: BlockPool,
}

impl Discard {
    fn new(way: Way, streams: usize) -> Discard {
        let blocks = BlockPool::new(1).expect("memory");
        let plan = RingPlan { sockets_max: streams as u32, files_max: 1, receive_buffers: BUFFERS };
        let mut ring = start(way, plan, &blocks);
        for socket in 0..streams as u32 {
            ring.submit(Op::Bind { socket: SocketIx(socket), at: ANY_PORT }, &blocks).expect("room");
        }
        let mut targets = Vec::new();
        ring.drain(clock::mono() + TICK, &mut |_, completion| match completion {
            Completion::Bound { result: Ok(at), .. } => targets.push(at),
            other => panic!("{other:?}"),
        });
        Discard { ring, targets, received: 0, _blocks: blocks }
    }
}

impl Receiver for Discard {
    fn targets(&self) -> Vec<SocketAddr> {
        self.targets.clone()
    }

    fn turn(&mut self) {
        let received = &mut self.received;
        self.ring.drain(clock::mono() + TICK, &mut |_, completion| match completion {
            Completion::Received { .. } => *received += 1,
            other => panic!("{other:?}"),
        });
    }

    fn received(&mut self) -> u64 {
        self.received
    }
}

/// A whole shard that records two-track calls to disk.
struct Recorder {
    shard: Shard<AnyTier>,
    control: ControlEnd,
    targets: Vec<SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Recorder {
    fn new(way: Way, streams: usize) -> Recorder {
        // Below target/, which is on a disk; the system's folder for such may be memory.
        let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = tempfile::tempdir_in(target).expect("a folder below target/");
        let plan = ShardPlan {
            index: 0,
            // Some to spare, for what else runs on the machine.
            port_first: PORT_FIRST,
            port_count: streams as u16 * 2 + 200,
            calls_max: streams as u32 / 2,
            horizon: Duration::from_millis(200),
            silence_alarm: Duration::from_secs(30),
            receive_buffers: BUFFERS,
        };
        let (mut control, end) = link(Arc::new(|| {}));
        let blocks = BlockPool::new(plan.blocks()).expect("memory");
        let ring = start(way, plan.ring(), &blocks);
        let mut shard = Shard::new(plan, ring, blocks, end);
        (0..streams / 2).for_each(|call| open(call as u16, folder.path(), &mut control));
        let mut targets = Vec::new();
        while targets.len() < streams {
            shard.turn();
            while let Ok(event) = control.events.pop() {
                match event {
                    Event::Opened { ports, .. } => {
                        targets
                            .extend(ports.iter().map(|&port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
                    }
                    Event::Refused { reason, .. } => panic!("{reason:?}"),
                    _ => {}
                }
            }
        }
        Recorder { shard, control, targets, _folder: folder }
    }
}

impl Receiver for Recorder {
    fn targets(&self) -> Vec<SocketAddr> {
        self.targets.clone()
    }

    fn turn(&mut self) {
        self.shard.turn();
        while self.control.events.pop().is_ok() {}
    }

    fn received(&mut self) -> u64 {
        // The counters are told once per second.
        (0..60).for_each(|_| self.turn());
        let stats = self.shard.stats();
        assert!(stats.packets.adds_up() && (stats.write_errors, stats.stray) == (0, 0), "{stats:?}");
        // On a machine that stalls some come too late to be placed; what the kernel dropped is accounted for all the same.
        let (received, placed) = (stats.packets.received, stats.packets.of(Fate::Placed));
        println!(
            "shard: {placed} of {received} placed, {} dropped by the kernel",
            stats.packets.kernel_drops
        );
        received + stats.packets.kernel_drops
    }
}

fn open(call: u16, folder: &std::path::Path, control: &mut ControlEnd) {
    let recording: RecordingId =
        format!("0123456789ab7000800000000000{call:04x}").parse().expect("32 digits");
    let audio = AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: 2, start: 0 };
    let segment = SegmentPlan {
        call: CallId(u64::from(call)),
        segment: 1,
        path: folder.join(format!("{call}.tape.part")),
        block0: Box::new(Block0::segment(recording, 1, "bench", Wall(0), audio, Vec::new())),
        key: DataKey::new([call as u8; 32]),
        seed: StreamSeed { salt: [1; 32], nonce_prefix: [2; 7] },
    };
    let track = TrackPlan { payloads: vec![(0, Payload::Pcmu)], ..TrackPlan::default() };
    let open = OpenCall {
        call: CallId(u64::from(call)),
        recording,
        bind: Ipv4Addr::LOCALHOST.into(),
        tracks: vec![track; 2],
        format: SampleFormat::Mulaw,
        ssrc: 1,
        segment,
    };
    control.commands.push(Command::Open(Box::new(open))).expect("room");
}
