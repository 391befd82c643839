//! Placing: what a packet costs between the ring and the sealed frame. Nanoseconds per packet on one thread, in one run:
//!
//! - `parse`: the RTP header alone, the baseline;
//! - `track`: parse, then sequence, statistics and position;
//! - `ring`: packets of 400 streams handed over by a ring that does nothing else, and thrown away;
//! - `shard`: the same ring under a whole shard of 200 two-track calls: parse, track, copy into place, seal, and the bookkeeping of its writes.
//!
//! `cargo bench --bench place`; with `-- --smoke` a short run whose result is checked. The ring is one of the bench's own: the simulator's keeps
//! books that cost more than the shard. Leaves out the kernel: that is `receive`.

#[path = "common/call.rs"]
mod call;

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use call::open;
use tapehead::base::Mono;
use tapehead::link::{Event, Payload, link};
use tapehead::media::{Fate, Track, Verdict};
use tapehead::ring::{Completion, Op, Ring};
use tapehead::rtp::{self, Packet};
use tapehead::shard::{Shard, ShardPlan};
use tapehead::sys::clock::thread_cpu;
use tapehead::sys::memory::BlockPool;

const CALLS: u16 = 200;
const STREAMS: u16 = CALLS * 2;
const PORT_FIRST: u16 = 10_000;

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let seconds = if smoke { 2 } else { 20 };
    let packets = packets(if smoke { 50_000 } else { 2_000_000 });
    let parse = parse(&packets);
    let (track, placed) = track(&packets);
    let (ring, discarded) = ring(seconds);
    let (shard, recorded) = shard(seconds);
    println!("parse  {parse:7.1} ns/packet   1.00");
    println!("track  {track:7.1} ns/packet   {:.2}", track / parse);
    println!("ring   {ring:7.1} ns/packet   {:.2}", ring / parse);
    println!("shard  {shard:7.1} ns/packet   {:.2}", shard / parse);
    assert_eq!(placed, packets.len() as u64, "every packet has a place");
    assert_eq!(discarded, recorded, "the ring alone and the shard see the same packets");
    println!("smoke  {placed} placed, {recorded} recorded");
}

fn packet(sequence: u64, ssrc: u32) -> Vec<u8> {
    let header = rtp::Header {
        sequence: sequence as u16,
        timestamp: (sequence * 160) as u32,
        ssrc,
        ..rtp::Header::default()
    };
    let mut bytes = Vec::new();
    rtp::write(&header, &[sequence as u8; 160], &mut bytes);
    bytes
}

fn packets(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|sequence| packet(sequence, 7)).collect()
}

/// Nanoseconds of this thread's CPU time per item of `run` over `count` items.
fn timed<T>(count: usize, run: impl FnOnce() -> T) -> (f64, T) {
    let start = thread_cpu();
    let result = run();
    ((thread_cpu() - start).as_nanos() as f64 / count as f64, result)
}

fn parse(packets: &[Vec<u8>]) -> f64 {
    timed(packets.len(), || {
        packets.iter().for_each(|bytes| {
            let _ = black_box(Packet::parse(black_box(bytes)));
        });
    })
    .0
}

fn track(packets: &[Vec<u8>]) -> (f64, u64) {
    let mut track = Track::new(0, 1600);
    timed(packets.len(), || {
        let mut placed = 0;
        for (index, bytes) in packets.iter().enumerate() {
            let position = index as u64 * 160;
            let arrival = (Mono(position * 125_000), position);
            let Ok(packet) = Packet::parse(black_box(bytes)) else { continue };
            let verdict = track.receive(&packet, Payload::Pcmu, arrival);
            placed += u64::from(matches!(black_box(verdict), Verdict::Audio { .. }));
        }
        placed
    })
}

/// A ring that hands each bound RTP socket its next packet at every drain, and says yes to everything else.
struct Feed {
    now: Mono,
    packets: Vec<Vec<u8>>,
    next: usize,
    /// Packets flow only once this is set.
    flowing: bool,
    bound: Vec<(tapehead::ring::SocketIx, SocketAddr)>,
    done: VecDeque<Completion<'static>>,
}

impl Feed {
    fn new(seconds: u64) -> Feed {
        let packets = (0..seconds * 50).map(|sequence| packet(sequence, 7)).collect();
        let (bound, done) = (Vec::new(), VecDeque::new());
        Feed { now: Mono::from_ms(1000), packets, next: 0, flowing: false, bound, done }
    }
}

impl Ring for Feed {
    fn submit(&mut self, op: Op, _blocks: &BlockPool) -> Result<(), Op> {
        self.done.extend(match op {
            Op::Bind { socket, at } => {
                self.bound.push((socket, at));
                Some(Completion::Bound { socket, result: Ok(at) })
            }
            Op::CloseSocket { socket } => Some(Completion::SocketClosed { socket }),
            Op::SendTo { .. } => None,
            Op::Create { file, .. } => Some(Completion::Created { file, result: Ok(()) }),
            Op::Allocate { file, .. } => Some(Completion::Allocated { file, result: Ok(()) }),
            Op::Write { file, block, start, len, .. } => {
                Some(Completion::Written { file, block, start, result: Ok(len) })
            }
            Op::Truncate { file, .. } => Some(Completion::Truncated { file, result: Ok(()) }),
            Op::Sync { file } => Some(Completion::Synced { file, result: Ok(()) }),
            Op::Rename { file, .. } => Some(Completion::Renamed { file, result: Ok(()) }),
            Op::CloseFile { file } => Some(Completion::FileClosed { file }),
        });
        Ok(())
    }

    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        self.now = self.now.max(deadline);
        let now = self.now;
        self.done.drain(..).for_each(|completion| sink(now, completion));
        if let Some(payload) = self.packets.get(self.next).filter(|_| self.flowing) {
            self.next += 1;
            for &(socket, from) in self.bound.iter().filter(|(socket, _)| socket.0 % 2 == 0) {
                sink(now, Completion::Received { socket, from, arrival: now, payload, truncated: false });
            }
        }
        now
    }

    fn name(&self) -> &'static str {
        "feed"
    }
}

fn plan() -> ShardPlan {
    ShardPlan {
        index: 0,
        port_first: PORT_FIRST,
        port_count: STREAMS * 2,
        calls_max: u32::from(CALLS),
        horizon: Duration::from_millis(200),
        silence_alarm: Duration::from_secs(30),
        receive_buffers: 1024,
    }
}

fn ring(seconds: u64) -> (f64, u64) {
    let blocks = BlockPool::new(1).expect("memory");
    let mut ring = Feed::new(seconds);
    for socket in 0..u32::from(STREAMS) * 2 {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_FIRST + socket as u16));
        ring.submit(Op::Bind { socket: tapehead::ring::SocketIx(socket), at }, &blocks).expect("a free slot");
    }
    ring.flowing = true;
    let (mut received, mut now) = (0, Mono(0));
    let (ns, ()) = timed((seconds * 50) as usize * usize::from(STREAMS), || {
        for _ in 0..seconds * 50 {
            now = ring.drain(now + tapehead::limits::TICK, &mut |_, completion| {
                received += u64::from(matches!(black_box(completion), Completion::Received { .. }));
            });
        }
    });
    (ns, received)
}

fn shard(seconds: u64) -> (f64, u64) {
    let (mut control, end) = link(Arc::new(|| {}));
    let blocks = BlockPool::new(plan().blocks()).expect("memory");
    let mut shard = Shard::new(plan(), Feed::new(seconds), blocks, end);
    (0..CALLS).for_each(|call| open(call, Path::new("/"), &mut control));
    let mut opened = 0;
    while opened < CALLS {
        shard.turn();
        while let Ok(event) = control.events.pop() {
            opened += u16::from(matches!(event, Event::Opened { .. }));
        }
    }
    shard.ring().flowing = true;
    let (ns, ()) = timed((seconds * 50) as usize * usize::from(STREAMS), || {
        for _ in 0..seconds * 50 {
            shard.turn();
            while control.events.pop().is_ok() {}
        }
    });
    // The counters are told once per second.
    (0..100).for_each(|_| {
        shard.turn();
    });
    (ns, shard.stats().packets.of(Fate::Placed))
}
