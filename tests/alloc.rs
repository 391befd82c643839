//! The packet path does not allocate: a shard on each of the real rings takes a few packets, then a hundred times as many,
//! and asks the allocator for no more. What remains is once per second (the counters' report), whatever the load.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tapehead::base::{RecordingId, Wall};
use tapehead::link::{CallId, Command, ControlEnd, Event, OpenCall, Payload, SegmentPlan, TrackPlan, link};
use tapehead::media::{Fate, SampleFormat};
use tapehead::ring::Ring;
use tapehead::ring::poll::PollRing;
use tapehead::ring::uring::UringRing;
use tapehead::rtp;
use tapehead::seal::{AudioParams, Block0, DataKey, StreamSeed};
use tapehead::shard::{Shard, ShardPlan};
use tapehead::sys::memory::BlockPool;

/// Counts what the thread under test asks for.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // The thread's storage is gone while it ends; nothing is counted then.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: hands everything to the system's allocator, after counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn plan(port_first: u16) -> ShardPlan {
    ShardPlan {
        index: 0,
        port_first,
        port_count: 64,
        calls_max: 4,
        horizon: Duration::from_millis(200),
        receive_buffers: 1024,
    }
}

fn open(control: &mut ControlEnd, folder: &std::path::Path) {
    let recording: RecordingId = "0123456789ab70008000000000000000".parse().unwrap();
    let audio = AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: 2, start: 0 };
    let segment = SegmentPlan {
        call: CallId(1),
        segment: 1,
        path: folder.join("0001.tape.part"),
        block0: Box::new(Block0::segment(recording, 1, "test", Wall(0), audio, Vec::new())),
        key: DataKey::new([1; 32]),
        seed: StreamSeed { salt: [1; 32], nonce_prefix: [2; 7] },
    };
    let track = TrackPlan { payloads: vec![(0, Payload::Pcmu)], ..TrackPlan::default() };
    let open = OpenCall {
        call: CallId(1),
        recording,
        bind: Ipv4Addr::LOCALHOST.into(),
        tracks: vec![track; 2],
        format: SampleFormat::Mulaw,
        ssrc: 1,
        segment,
    };
    control.commands.push(Command::Open(Box::new(open))).unwrap();
}

/// Sends `per_tick` packets to each port before each of `ticks` turns; what the turns asked of the allocator.
fn load<R: Ring>(
    shard: &mut Shard<R>,
    ports: &[u16],
    sequence: &mut u64,
    (ticks, per_tick): (u64, u64),
) -> u64 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut asked = 0;
    for _ in 0..ticks {
        for _ in 0..per_tick {
            let header = rtp::Header {
                sequence: *sequence as u16,
                timestamp: (*sequence * 8) as u32,
                ssrc: 7,
                ..rtp::Header::default()
            };
            *sequence += 1;
            let mut bytes = Vec::new();
            rtp::write(&header, &[1; 8], &mut bytes);
            for &port in ports {
                socket.send_to(&bytes, (Ipv4Addr::LOCALHOST, port)).unwrap();
            }
        }
        let before = ASKED.get();
        shard.turn();
        asked += ASKED.get() - before;
    }
    asked
}

fn takes_packets_without_allocating<R: Ring>(port_first: u16, make: impl FnOnce(ShardPlan, &BlockPool) -> R) {
    // On the disk that the project is on, so that direct I/O is exercised where there is any.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plan = plan(port_first);
    let blocks = BlockPool::new(plan.blocks()).unwrap();
    let ring = make(plan, &blocks);
    let (mut control, end) = link(Arc::new(|| {}));
    let mut shard = Shard::new(plan, ring, blocks, end);
    open(&mut control, folder.path());
    let mut ports = Vec::new();
    for _ in 0..100 {
        shard.turn();
        if let Ok(Event::Opened { ports: opened, .. }) = control.events.pop() {
            ports = opened;
            break;
        }
    }
    assert_eq!(ports.len(), 2, "the call is open");
    let mut sequence = 0;
    // Past the first blocks, writes and reports, and within the first interval of RTCP.
    load(&mut shard, &ports, &mut sequence, (50, 20));
    let few = load(&mut shard, &ports, &mut sequence, (50, 1));
    let many = load(&mut shard, &ports, &mut sequence, (50, 100));
    let placed = shard.stats().packets.of(Fate::Placed) + shard.stats().packets.of(Fate::Overlap);
    assert!(placed > 4000, "the load came through: {:?}", shard.stats());
    assert!(many <= few + 2, "{many} allocations for 10,000 packets, {few} for 100");
    control.commands.push(Command::Close { call: CallId(1) }).unwrap();
    control.commands.push(Command::Shutdown).unwrap();
    (0..500).find(|_| !shard.turn()).expect("the shard ends");
}

#[test]
fn on_io_uring() {
    takes_packets_without_allocating(21_000, |plan, blocks| UringRing::new(plan.ring(), blocks).unwrap());
}

#[test]
fn on_poll() {
    takes_packets_without_allocating(21_100, |plan, _| PollRing::new(plan.ring()).unwrap());
}
