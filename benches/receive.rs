//! Receiving on real sockets: CPU time of the receiving thread per packet, beside a bare loop that receives and throws away.
//!
//! - `bare recv`: io_uring, multishot recv into provided buffers, each tick; nothing else. The baseline.
//! - `bare recvmsg`: with the source address; `+ stamps`: with arrival time and drop counter as well. What those cost.
//! - `io_uring`: our ring, datagrams thrown away. `shard`: a whole shard on it, recording to disk.
//! - `bare steered`: one socket, its ports led to it by a program, recvmmsg, each tick; nothing else. `steered`, `shard steered`: that tier. Root only.
//! - `bare packet`: a tap, its frames read and thrown away each tick; nothing else. `packet`, `shard packet`: that tier. Root only.
//! - `bare epoll`: epoll and recv, each tick. `poll`, `shard on poll`: the same of the second ring.
//!
//! `cargo bench --bench receive`; with `-- --smoke` a short run whose result is checked. Options: `--rounds N`, `--only NAME`.
//! Variants are interleaved and the median of the rounds is told, because other work on the machine disturbs.
//! The softirq is billed to the sender here; what the whole machine spent in it while a variant ran is told beside, per packet sent.

mod bare;
#[allow(dead_code, reason = "one of several benches that share it")]
mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bare::{BarePoll, BareSteered, BareUring, Shape};
use common::recorder::{self, BUFFERS, IO_URING, PACKET, POLL, Recorder, STEERED, Way};
use common::{ANY_PORT, Load, Outcome, Receiver, median, run};
use tapehead::limits::TICK;
use tapehead::ring::any::AnyTier;
use tapehead::ring::packet::{self, PacketPlan, PacketSource};
use tapehead::ring::tier::{PortSlice, Source};
use tapehead::ring::{Completion, Op, Ring, RingPlan, SocketIx, Trouble};
use tapehead::sys::clock;
use tapehead::sys::memory::BlockPool;

/// First port of a shard, and of what is steered.
const PORT_FIRST: u16 = 25_000;
/// What a shard may cost, as a multiple of the bare loop.
const BOUND: f64 = 2.0;

/// What a shard may cost on the tier `steered`, as a multiple of one on sockets.
const STEERED_BOUND: f64 = 0.7;
/// The same of the tier `packet`.
const PACKET_BOUND: f64 = 0.4;

const VARIANTS: [&str; 14] = [
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
    "bare packet",
    "packet",
    "shard packet",
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
                let before = softirq_time();
                let outcome = measure(variant, load);
                let softirq = (softirq_time() - before).as_nanos() as f64 / outcome.sent as f64;
                println!(
                    "{variant:<22} {:7.0} ns/packet, softirq of the machine {softirq:.0}",
                    outcome.ns_per_packet
                );
                assert_eq!(outcome.received, outcome.sent, "{variant} receives everything");
                figures.push(outcome.ns_per_packet);
            }
        }
    }
    report(&figures, smoke);
}

/// Time that all cores have spent in softirqs, sampled in ticks of 10 ms (proc_stat(5)).
fn softirq_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").expect("the kernel tells");
    let ticks: u64 = stat.split_whitespace().nth(7).and_then(|ticks| ticks.parse().ok()).expect("a number");
    Duration::from_millis(ticks * 10)
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

fn slice(count: u16) -> PortSlice {
    recorder::slice(PORT_FIRST, count)
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
        "shard" => run(load, move || Recorder::new(IO_URING, streams, PORT_FIRST)),
        "bare steered" => run(load, move || BareSteered::new(slice(streams as u16))),
        "steered" => run(load, move || Discard::new(STEERED, streams)),
        "shard steered" => run(load, move || Recorder::new(STEERED, streams, PORT_FIRST)),
        "bare packet" => run(load, move || BarePacket::new(slice(streams as u16))),
        "packet" => run(load, move || Discard::new(PACKET, streams)),
        "shard packet" => run(load, move || Recorder::new(PACKET, streams, PORT_FIRST)),
        "bare epoll" => run(load, move || BarePoll::new(streams)),
        "poll" => run(load, move || Discard::new(POLL, streams)),
        _ => run(load, move || Recorder::new(POLL, streams, PORT_FIRST)),
    }
}

fn report(figures: &[Vec<f64>], smoke: bool) {
    let medians: Vec<Option<f64>> =
        figures.iter().map(|figures| (!figures.is_empty()).then(|| median(figures.clone()))).collect();
    for (index, (name, figure)) in VARIANTS.iter().zip(&medians).enumerate() {
        let Some(figure) = figure else { continue };
        let baseline = medians[[0, 0, 0, 0, 0, 5, 5, 5, 8, 8, 8, 11, 11, 11][index]];
        let ratio = baseline.map_or(String::new(), |baseline| format!("{:5.2}", figure / baseline));
        println!("{name:<22} {figure:7.0} ns/packet {ratio}");
    }
    if let (Some(bare), Some(shard)) = (medians[0], medians[4]) {
        // A short run at low load says little of the ratio; that it is not absurd is what a busy test machine can tell.
        let bound = if smoke { 4.0 } else { BOUND };
        println!("shard / bare recv: {:.2}, bound {bound}", shard / bare);
        assert!(shard / bare <= bound, "the shard costs more than {bound} times the bare loop");
    }
    if let (Some(sockets), Some(packet)) = (medians[4], medians[13]) {
        let bound = if smoke { 1.5 } else { PACKET_BOUND };
        println!("shard packet / shard: {:.2}, bound {bound}", packet / sockets);
        assert!(packet / sockets <= bound, "the tier packet costs more than {bound} times that of sockets");
    }
    if let (Some(sockets), Some(steered)) = (medians[4], medians[10]) {
        let bound = if smoke { 1.5 } else { STEERED_BOUND };
        println!("shard steered / shard: {:.2}, bound {bound}", steered / sockets);
        assert!(steered / sockets <= bound, "the tier steered costs more than {bound} times that of sockets");
    }
}

/// A tap whose frames are counted.
struct BarePacket {
    source: PacketSource,
    targets: Vec<SocketAddr>,
    received: u64,
}

impl BarePacket {
    fn new(slice: PortSlice) -> BarePacket {
        let blocks = packet::blocks_for(u64::from(slice.count) * 50);
        let plan = PacketPlan { slices: &[slice], interfaces: &[], blocks };
        let mut source = packet::open(&plan).unwrap_or_else(|why| panic!("{why}")).remove(0).source;
        slice.ports().for_each(|port| source.opened(port));
        let targets = slice.ports().map(|port| SocketAddr::new(slice.address, port)).collect();
        BarePacket { source, targets, received: 0 }
    }
}

impl Receiver for BarePacket {
    fn targets(&self) -> Vec<SocketAddr> {
        self.targets.clone()
    }

    fn turn(&mut self) {
        clock::sleep_until(clock::mono() + TICK);
        let received = &mut self.received;
        while self.source.receive(clock::both(), &mut |group| *received += group.len() as u64) {}
    }

    fn received(&mut self) -> u64 {
        self.received
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
        let mut ring = recorder::start(way, PORT_FIRST, plan, &blocks);
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
            Completion::Ahead { .. } | Completion::Trouble(Trouble::NoBuffers) => {}
            other => panic!("{other:?}"),
        });
    }

    fn received(&mut self) -> u64 {
        self.received
    }
}
