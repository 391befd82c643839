//! The packet path does not allocate: a shard on each of the real rings takes a few packets, then a hundred times as many,
//! and asks the allocator for no more, but for the growth of a few bounded queues. What remains is once per second (the counters' report), whatever the load. The rings
//! alone ask for nothing at all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tapehead::base::{RecordingId, Wall};
use tapehead::config::{ReceiveChoice, RingChoice};
use tapehead::limits::FRAME_BYTES;
use tapehead::link::{CallId, Command, ControlEnd, Event, OpenCall, Payload, SegmentPlan, TrackPlan, link};
use tapehead::media::{Fate, SampleFormat};
use tapehead::ring::any::{AnyRing, AnyTier};
use tapehead::ring::choice;
use tapehead::ring::poll::PollRing;
use tapehead::ring::tier::PortSlice;
use tapehead::ring::uring::UringRing;
use tapehead::ring::{Completion, FileIx, Op, Ring, RingPlan, SocketIx, Trouble};
use tapehead::rtp;
use tapehead::seal::{AudioParams, Block0, DataKey, StreamSeed};
use tapehead::shard::{Shard, ShardPlan};
use tapehead::srtp::{Keys, Plan, Sender, Suite};
use tapehead::sys::clock;
use tapehead::sys::memory::{BlockIx, BlockPool};

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
        silence_alarm: Duration::from_secs(30),
        receive_buffers: 1024,
    }
}

/// The first track is in clear; the second is secured by `suite`, with these keys on both sides.
fn keys(suite: Suite) -> Keys {
    Keys::new(suite, &[7; 46][..suite.key_bytes() + suite.salt_bytes()]).unwrap()
}

fn open(control: &mut ControlEnd, folder: &std::path::Path, suite: Suite) {
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
    let (peer, ours) = (vec![keys(suite)], keys(suite));
    let srtp = Plan { suite, peer, ours, clear_rtp: false, clear_rtcp: false };
    let open = OpenCall {
        call: CallId(1),
        recording,
        bind: Ipv4Addr::LOCALHOST.into(),
        tracks: vec![track.clone(), TrackPlan { srtp: Some(Box::new(srtp)), ..track }],
        format: SampleFormat::Mulaw,
        ssrc: 1,
        segment,
    };
    control.commands.push(Command::Open(Box::new(open))).unwrap();
}

/// Two queues of gaps for each of the two tracks, which double from 2 to their bound of 32.
const GROWTHS: u64 = 2 * 2 * 4;

/// Sends `per_tick` packets to each port before each of `ticks` turns; what the turns asked of the allocator.
fn load<R: Ring>(
    shard: &mut Shard<R>,
    (socket, ports, sender): (&UdpSocket, &[u16], &Sender),
    sequence: &mut u64,
    (ticks, per_tick): (u64, u64),
) -> u64 {
    let mut asked = 0;
    for _ in 0..ticks {
        for _ in 0..per_tick {
            let header = rtp::Header {
                sequence: *sequence as u16,
                timestamp: (*sequence * 8) as u32,
                ssrc: 7,
                ..rtp::Header::default()
            };
            let mut bytes = Vec::new();
            rtp::write(&header, &[1; 8], &mut bytes);
            socket.send_to(&bytes, (Ipv4Addr::LOCALHOST, ports[0])).unwrap();
            sender.rtp((*sequence >> 16) as u32, &mut bytes);
            socket.send_to(&bytes, (Ipv4Addr::LOCALHOST, ports[1])).unwrap();
            *sequence += 1;
        }
        let before = ASKED.get();
        shard.turn();
        asked += ASKED.get() - before;
    }
    asked
}

fn takes_packets_without_allocating<R: Ring>(
    (port_first, suite): (u16, Suite),
    make: impl FnOnce(ShardPlan, &BlockPool) -> R,
) {
    // On the disk that the project is on, so that direct I/O is exercised where there is any.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plan = plan(port_first);
    let blocks = BlockPool::new(plan.blocks()).unwrap();
    let ring = make(plan, &blocks);
    let (mut control, end) = link(Arc::new(|| {}));
    let mut shard = Shard::new(plan, ring, blocks, end);
    open(&mut control, folder.path(), suite);
    let mut ports = Vec::new();
    for _ in 0..100 {
        shard.turn();
        if let Ok(Event::Opened { ports: opened, .. }) = control.events.pop() {
            ports = opened;
            break;
        }
    }
    assert_eq!(ports.len(), 2, "the call is open");
    // One source throughout: another one would be a stranger.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sender = Sender::new(suite, &keys(suite), false);
    let mut sequence = 0;
    // Past the first blocks, writes and reports, and within the first interval of RTCP.
    load(&mut shard, (&socket, &ports, &sender), &mut sequence, (50, 20));
    let few = load(&mut shard, (&socket, &ports, &sender), &mut sequence, (50, 1));
    let many = load(&mut shard, (&socket, &ports, &sender), &mut sequence, (50, 100));
    // The counters are told once per second.
    (0..60).for_each(|_| {
        shard.turn();
    });
    let taken = shard.stats().packets.of(Fate::Placed) + shard.stats().packets.of(Fate::Overlap);
    assert!(taken > 11_000, "the load of 12,100 packets came through: {:?}", shard.stats());
    assert!(many <= few + GROWTHS, "{many} allocations for 10,000 packets, {few} for 100");
    control.commands.push(Command::Close { call: CallId(1) }).unwrap();
    control.commands.push(Command::Shutdown).unwrap();
    (0..500).find(|_| !shard.turn()).expect("the shard ends");
}

#[test]
fn on_io_uring() {
    takes_packets_without_allocating((21_000, Suite::AeadAes128Gcm), |plan, blocks| {
        UringRing::new(plan.ring(), blocks).unwrap()
    });
}

#[test]
fn on_poll() {
    takes_packets_without_allocating((21_100, Suite::AesCm128HmacSha1_80), |plan, _| {
        PollRing::new(plan.ring()).unwrap()
    });
}

/// As root, or not at all: without privileges the tier can't be had, and this test says so by failing.
#[test]
fn on_the_tier_steered() {
    takes_packets_without_allocating((21_200, Suite::AeadAes128Gcm), |plan, blocks| {
        let slice =
            PortSlice { address: Ipv4Addr::LOCALHOST.into(), first: plan.port_first, count: plan.port_count };
        let mut chosen =
            choice::open(ReceiveChoice::Steered, &[slice]).unwrap_or_else(|(_, why)| panic!("{why}"));
        let ring =
            AnyTier::start(RingChoice::IoUring, chosen.sources.remove(0), plan.ring(), blocks).unwrap();
        assert_eq!(ring.name(), "io_uring+steered");
        ring
    });
}

const SOCKETS: u32 = 40;
const DATAGRAMS: usize = 3;
const TICK: Duration = Duration::from_millis(5);

struct RingStage {
    ring: AnyRing,
    blocks: BlockPool,
    ports: Vec<SocketAddr>,
    _folder: tempfile::TempDir,
}

/// A ring alone: sockets bound, a file open, buffers fewer than the datagrams of a round.
fn stage(choice: RingChoice) -> RingStage {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let blocks = BlockPool::new(4).unwrap();
    let plan = RingPlan { sockets_max: SOCKETS, files_max: 1, receive_buffers: 32 };
    let mut ring = AnyRing::start(choice, plan, &blocks).unwrap();
    let at = "127.0.0.1:0".parse().unwrap();
    (0..SOCKETS).for_each(|socket| ring.submit(Op::Bind { socket: SocketIx(socket), at }, &blocks).unwrap());
    ring.submit(Op::Create { file: FileIx(0), path: folder.path().join("a") }, &blocks).unwrap();
    let (mut ports, mut created) = (Vec::new(), false);
    while !created {
        ring.drain(clock::mono() + TICK, &mut |_, completion| match completion {
            Completion::Bound { result, .. } => ports.push(result.unwrap()),
            Completion::Created { result, .. } => created = result == Ok(()),
            Completion::Ahead { .. } => {}
            other => panic!("{other:?}"),
        });
    }
    RingStage { ring, blocks, ports, _folder: folder }
}

/// More datagrams to each socket than the kernel finds buffers for in one go, and a write; how often the buffers ran out.
fn round(stage: &mut RingStage, peer: &UdpSocket, block: BlockIx) -> usize {
    for _ in 0..DATAGRAMS {
        stage.ports.iter().for_each(|at| assert_eq!(peer.send_to(&[7; 172], at).unwrap(), 172));
    }
    let len = FRAME_BYTES as u32;
    stage.ring.submit(Op::Write { file: FileIx(0), offset: 0, block, start: 0, len }, &stage.blocks).unwrap();
    let (mut received, mut written, mut no_buffers) = (0, 0, 0);
    while received < SOCKETS as usize * DATAGRAMS || written == 0 {
        stage.ring.drain(clock::mono() + TICK, &mut |_, completion| match completion {
            Completion::Received { .. } => received += 1,
            Completion::Written { result, .. } => written += usize::from(result == Ok(len)),
            Completion::Trouble(Trouble::NoBuffers) => no_buffers += 1,
            Completion::Ahead { .. } => {}
            other => panic!("{other:?}"),
        });
    }
    no_buffers
}

fn a_ring_does_not_allocate(choice: RingChoice) -> usize {
    let mut stage = stage(choice);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let block = stage.blocks.acquire().unwrap();
    let mut no_buffers = 0;
    let before = ASKED.get();
    for _ in 0..50 {
        no_buffers += round(&mut stage, &peer, block);
    }
    assert_eq!(ASKED.get() - before, 0, "allocations while receiving 6,000 datagrams and writing 50 frames");
    no_buffers
}

#[test]
fn io_uring_receives_and_writes_without_allocating_even_short_of_buffers() {
    assert!(a_ring_does_not_allocate(RingChoice::IoUring) > 0, "the buffers were to run out");
}

#[test]
fn poll_receives_and_writes_without_allocating() {
    a_ring_does_not_allocate(RingChoice::Poll);
}
