//! The tier on loopbacks and cables of its own: what every ring has to pass, and what only a tap has to.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::frame::tests::{mend, options, v4, v6};
use super::*;
use crate::ring::conformance::{World, conformance_tests};
use crate::ring::loopback::{Loopback, loopback_world};
use crate::ring::poll::PollRing;
use crate::ring::tier::{Tier, inner_plan};
use crate::ring::uring::UringRing;
use crate::ring::{Completion, Op, Ring, RingPlan, SocketIx, Trouble, Waker};
use crate::sys::memory::BlockPool;
use crate::sys::netns::{Network, Wire, ip};

/// A megabyte, and 160 ms of a trickle.
const SMALL: Blocks = Blocks { count: 16, bytes: 64 * 1024 };

/// A ring that stands in a network of its own.
struct Housed<R> {
    ring: R,
    _network: Network,
}

impl<R: Ring> Ring for Housed<R> {
    fn submit(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op> {
        self.ring.submit(op, blocks)
    }
    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        self.ring.drain(deadline, sink)
    }
    fn waker(&self) -> Option<Waker> {
        self.ring.waker()
    }
    fn name(&self) -> &'static str {
        self.ring.name()
    }
}

fn slice(address: &str, first: u16, count: u16) -> PortSlice {
    PortSlice { address: address.parse().unwrap(), first, count }
}

fn sources(slices: &[PortSlice]) -> Vec<PacketSource> {
    let opened =
        open(&PacketPlan { slices, interfaces: &[], blocks: SMALL }).unwrap_or_else(|why| panic!("{why}"));
    opened.into_iter().map(|opened| opened.source).collect()
}

fn housed<R: Ring>(
    plan: RingPlan,
    host: &str,
    inner: impl FnOnce(RingPlan) -> R,
) -> Housed<Tier<R, PacketSource>> {
    let network = Network::new();
    let slice = slice(host, 20_000, 64);
    let source = sources(&[slice]).pop().unwrap();
    let ring = Tier::new(inner(inner_plan(plan)), source, slice, plan.sockets_max, &[]);
    Housed { ring, _network: network }
}

mod over_uring {
    use super::*;
    struct Packet(Loopback);
    loopback_world!(Packet, Housed<Tier<UringRing, PacketSource>>, |plan, blocks| housed(
        plan,
        "127.0.0.1",
        |plan| { UringRing::new(plan, blocks).unwrap() }
    ));
    conformance_tests!(Packet);
}

mod over_uring_on_ipv6 {
    use super::*;
    struct Packet(Loopback);
    loopback_world!(
        Packet,
        Housed<Tier<UringRing, PacketSource>>,
        |plan, blocks| housed(plan, "::1", |plan| UringRing::new(plan, blocks).unwrap()),
        "::1",
        3000
    );
    conformance_tests!(Packet);
}

mod over_poll {
    use super::*;
    struct Packet(Loopback);
    loopback_world!(Packet, Housed<Tier<PollRing, PacketSource>>, |plan, _blocks| housed(
        plan,
        "127.0.0.1",
        |plan| { PollRing::new(plan).unwrap() }
    ));
    conformance_tests!(Packet);
}

/// A tier over the second ring, and what it has said.
struct Recorder {
    ring: Tier<PollRing, PacketSource>,
    blocks: BlockPool,
    got: Vec<(u32, SocketAddr, Vec<u8>)>,
    dropped: u32,
    stray: u32,
    unreadable: [u32; 3],
    arrivals: Vec<(Mono, Mono)>,
}

impl Recorder {
    fn new(slice: PortSlice) -> Recorder {
        Recorder::on(slice, sources(&[slice]).pop().unwrap())
    }

    fn on(slice: PortSlice, source: PacketSource) -> Recorder {
        let plan = RingPlan { sockets_max: u32::from(slice.count), files_max: 1, receive_buffers: 64 };
        let ring = Tier::new(PollRing::new(inner_plan(plan)).unwrap(), source, slice, plan.sockets_max, &[]);
        let mut recorder = Recorder {
            ring,
            blocks: BlockPool::new(1).unwrap(),
            got: Vec::new(),
            dropped: 0,
            stray: 0,
            unreadable: [0; 3],
            arrivals: Vec::new(),
        };
        for (socket, port) in slice.ports().enumerate().step_by(2) {
            let at = SocketAddr::new(slice.address, port);
            recorder.ring.submit(Op::Bind { socket: SocketIx(socket as u32), at }, &recorder.blocks).unwrap();
        }
        recorder
    }

    /// Drains for a while.
    fn listen(&mut self, ms: u64) {
        let end = clock::mono() + Duration::from_millis(ms);
        while clock::mono() < end {
            let Recorder { ring, got, dropped, stray, unreadable, arrivals, .. } = self;
            ring.drain(clock::mono() + Duration::from_millis(2), &mut |now, completion| match completion {
                Completion::Received { socket, from, payload, arrival, .. } => {
                    got.push((socket.0, from, payload.to_vec()));
                    arrivals.push((arrival, now));
                }
                Completion::Trouble(Trouble::SharedDrops { count }) => *dropped += count,
                Completion::Trouble(Trouble::Stray { count }) => *stray += count,
                Completion::Trouble(Trouble::Unreadable { fragments, bad_checksums, malformed }) => {
                    *unreadable =
                        [unreadable[0] + fragments, unreadable[1] + bad_checksums, unreadable[2] + malformed];
                }
                Completion::Bound { result, .. } => assert!(result.is_ok()),
                Completion::Ahead { .. } => {}
                other => panic!("{other:?}"),
            });
        }
    }

    /// What came, payloads alone, after at most a second.
    fn payloads(&mut self, enough: usize) -> Vec<Vec<u8>> {
        for _ in 0..50 {
            if self.got.len() >= enough {
                break;
            }
            self.listen(20);
        }
        self.listen(30);
        std::mem::take(&mut self.got).into_iter().map(|(_, _, payload)| payload).collect()
    }
}

fn peer(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

#[test]
fn packets_come_over_a_cable_in_both_families_once_each_and_the_stack_sees_none() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24", "2001:db8::1/64"], &["192.0.2.2/24", "2001:db8::2/64"]);
    for (near, far) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
        let mut recorder = Recorder::new(slice(near, 20_000, 8));
        let sender = network.far(|| peer(far));
        for number in 0..100u8 {
            sender.send_to(&[number; 172], (near, 20_000 + 2 * u16::from(number % 4))).unwrap();
        }
        let expected: Vec<Vec<u8>> = (0..100).map(|number| vec![number; 172]).collect();
        assert_eq!(recorder.payloads(100), expected);
        assert_eq!((recorder.dropped, recorder.stray, recorder.unreadable), (0, 0, [0; 3]));
        assert_eq!(recorder.ring.source().dropped_at_ingress().unwrap(), 100);
        // A port that is closed answers as ever, and the open ones do not.
        sender.connect((near, 20_000)).unwrap();
        sender.send(b"x").unwrap();
        assert_eq!(sender.recv(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "no ICMP");
        sender.connect((near, 20_001)).unwrap();
        sender.send(b"x").unwrap();
        assert_eq!(sender.recv(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

/// The stack's own verdict, from a socket beside the recorder, is what each of these has to get from us.
#[test]
fn odd_frames_are_taken_as_the_kernel_would_take_them() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24", "2001:db8::1/64"], &["192.0.2.2/24", "2001:db8::2/64"]);
    let wire = network.far(|| Wire::new("veth0"));
    for (near, is_v4) in [("192.0.2.1", true), ("2001:db8::1", false)] {
        let slice = slice(near, 20_000, 8);
        let mut recorder = Recorder::new(slice);
        let stack = UdpSocket::bind((near, 30_000)).unwrap();
        stack.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (mut good, mut bad) = (0, 0);
        for (name, packet) in odd_packets(is_v4) {
            for (link, is_ours) in LINKS {
                let ethertype: [u8; 2] = if is_v4 { [8, 0] } else { [0x86, 0xdd] };
                let send = |port| wire.send(&[link, &ethertype, &packet(port)[..]].concat());
                send(30_000);
                let mut bytes = [0; 2000];
                let expected: Vec<_> =
                    stack.recv(&mut bytes).map(|len| bytes[..len].to_vec()).into_iter().collect();
                let (was, refused) =
                    (recorder.ring.source().dropped_at_ingress().unwrap(), recorder.unreadable);
                send(20_002);
                assert_eq!(recorder.payloads(expected.len()), expected, "{name}, {link:02x?}");
                let dropped = recorder.ring.source().dropped_at_ingress().unwrap() - was;
                let counted = recorder.unreadable.iter().sum::<u32>() - refused.iter().sum::<u32>();
                // What was taken was dropped and ends in one counter; what was not ours was left alone.
                assert_eq!(u64::from(counted) + expected.len() as u64, dropped, "{name}, {link:02x?}");
                assert!(is_ours || dropped == 0, "{name}, {link:02x?}");
                if is_ours && expected.is_empty() { bad += 1 } else { good += expected.len() }
            }
        }
        assert!(good >= 10 && bad >= 3, "{good} of the frames were good, {bad} were not");
    }
}

/// Ethernet headers up to the type, and whether what follows is for this host: as it is; with a priority tag; of VLAN 7; for somebody else.
const LINKS: [(&[u8], bool); 4] = [
    (&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], true),
    (&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0xa0, 0], true),
    (&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7], false),
    (&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2], false),
];

type Packet = (&'static str, Box<dyn Fn(u16) -> Vec<u8>>);

fn odd_packets(is_v4: bool) -> Vec<Packet> {
    if is_v4 { odd_v4() } else { odd_v6() }
}

fn odd_v4() -> Vec<Packet> {
    let plain = |port| v4([192, 0, 2, 2], &[], 4000, port, b"sixteen bytes of");
    let changed = |name, change: fn(&mut Vec<u8>)| -> Packet {
        let packet = move |port| {
            let mut bytes = plain(port);
            change(&mut bytes);
            bytes
        };
        (name, Box::new(packet))
    };
    let mended = |name, change: fn(&mut Vec<u8>)| -> Packet {
        let (name, packet) = changed(name, change);
        (name, Box::new(move |port| mend(packet(port))))
    };
    vec![
        changed("plain", |_| ()),
        changed("padded", |bytes| bytes.extend([7; 30])),
        changed("header checksum", |bytes| bytes[11] ^= 1),
        changed("UDP checksum", |bytes| bytes[27] ^= 1),
        changed("no UDP checksum", |bytes| bytes[26..28].fill(0)),
        changed("payload changed", |bytes| bytes[40] ^= 1),
        mended("time to live 1", |bytes| bytes[8] = 1),
        mended("not to be fragmented", |bytes| bytes[6] = 0x40),
        mended("longer than the frame", |bytes| bytes[3] += 1),
        mended("UDP longer than the packet", |bytes| {
            bytes[25] += 1;
            bytes[26..28].fill(0);
        }),
        mended("UDP shorter than the packet", |bytes| {
            bytes[25] -= 1;
            bytes[26..28].fill(0);
        }),
        mended("UDP shorter than its header", |bytes| {
            bytes[25] = 7;
            bytes[26..28].fill(0);
        }),
        ("options", Box::new(|port| v4([192, 0, 2, 2], &[1, 1, 1, 0], 4000, port, b"behind options"))),
        ("empty", Box::new(|port| v4([192, 0, 2, 2], &[], 4000, port, b""))),
    ]
}

fn odd_v6() -> Vec<Packet> {
    let chained = |chain: Vec<(u8, Vec<u8>)>| {
        move |port| v6("2001:db8::2".parse().unwrap(), &chain, 4000, port, b"sixteen bytes of")
    };
    let changed = |name, change: fn(&mut Vec<u8>)| -> Packet {
        let plain = chained(Vec::new());
        let packet = move |port| {
            let mut bytes = plain(port);
            change(&mut bytes);
            bytes
        };
        (name, Box::new(packet))
    };
    vec![
        changed("plain", |_| ()),
        changed("padded", |bytes| bytes.extend([7; 30])),
        changed("UDP checksum", |bytes| bytes[47] ^= 1),
        changed("no UDP checksum", |bytes| bytes[46..48].fill(0)),
        changed("payload changed", |bytes| bytes[60] ^= 1),
        changed("longer than the frame", |bytes| bytes[5] += 1),
        changed("hop limit 1", |bytes| bytes[7] = 1),
        ("destination options", Box::new(chained(vec![options(0)]))),
        ("options twice", Box::new(chained(vec![(0, vec![0; 7]), options(0)]))),
        ("all of its fragments", Box::new(chained(vec![(44, vec![0, 0, 0, 1, 2, 3, 4])]))),
    ]
}

#[test]
fn fragments_are_counted_and_left_to_the_stack() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24", "2001:db8::1/64"], &["192.0.2.2/24", "2001:db8::2/64"]);
    network.far(|| ip(&["link", "set", "veth0", "mtu", "1280"]));
    for (near, far) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
        let mut recorder = Recorder::new(slice(near, 20_000, 8));
        let sender = network.far(|| peer(far));
        // Two packets, the second without ports.
        sender.send_to(&[7; 2000], (near, 20_000)).unwrap();
        sender.send_to(&[8; 172], (near, 20_000)).unwrap();
        assert_eq!(recorder.payloads(1), [vec![8; 172]]);
        assert_eq!((recorder.unreadable, recorder.stray), ([1, 0, 0], 0));
        assert_eq!(recorder.ring.source().dropped_at_ingress().unwrap(), 1, "the one that was whole");
        // Somebody else's are put together as ever.
        let other = UdpSocket::bind((near, 30_000)).unwrap();
        other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        sender.send_to(&[9; 2000], (near, 30_000)).unwrap();
        assert_eq!(other.recv(&mut [0; 3000]).unwrap(), 2000);
    }
}

#[test]
fn what_a_full_ring_drops_is_told_and_it_goes_on_afterwards() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24"], &["192.0.2.2/24"]);
    let mut recorder = Recorder::new(slice("192.0.2.1", 20_000, 8));
    let sender = network.far(|| peer("192.0.2.2"));
    for round in 0..2u8 {
        (0..8000).for_each(|_| assert_eq!(sender.send_to(&[round; 172], "192.0.2.1:20000").unwrap(), 172));
        let got = recorder.payloads(8000).len();
        // A megabyte holds some 3,000 of them; blocks that are handed over half full hold fewer, and a slow sender sees them come back.
        assert!((1000..8000).contains(&got), "{got}");
        assert_eq!(got + std::mem::take(&mut recorder.dropped) as usize, 8000);
    }
    sender.send_to(b"after", "192.0.2.1:20000").unwrap();
    assert_eq!(recorder.payloads(1), [b"after"]);
    assert_eq!(recorder.dropped, 0);
}

#[test]
fn each_packet_has_the_time_of_its_arrival() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24"], &["192.0.2.2/24"]);
    let mut recorder = Recorder::new(slice("192.0.2.1", 20_000, 8));
    let sender = network.far(|| peer("192.0.2.2"));
    recorder.listen(5);
    let mut sent = Vec::new();
    for _ in 0..5 {
        let before = clock::mono();
        sender.send_to(b"x", "192.0.2.1:20000").unwrap();
        sent.push((before, clock::mono()));
        std::thread::sleep(Duration::from_millis(15));
    }
    let got = recorder.payloads(5).len();
    assert_eq!(
        (got, recorder.stray, recorder.dropped, recorder.unreadable),
        (5, 0, 0, [0; 3]),
        "{:?} {sent:?}",
        recorder.arrivals
    );
    for ((before, after), (arrival, now)) in sent.into_iter().zip(std::mem::take(&mut recorder.arrivals)) {
        // The clocks are read within 10 microseconds of each other; a machine under load may stall in between.
        let slack = Duration::from_millis(2);
        assert!(arrival + slack >= before && arrival <= after + slack && arrival <= now);
    }
}

#[test]
fn shards_in_a_group_get_their_own_ports_and_go_one_by_one() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24", "192.0.2.9/24"], &["192.0.2.2/24"]);
    let slices = [0, 1, 2].map(|shard| slice("192.0.2.1", 20_000 + shard * 10, 10));
    // Beside another recorder, above them.
    let mut other = Recorder::new(slice("192.0.2.1", 20_030, 10));
    let mut shards: Vec<Recorder> =
        slices.iter().zip(sources(&slices)).map(|(&slice, source)| Recorder::on(slice, source)).collect();
    let sender = network.far(|| peer("192.0.2.2"));
    let strangers = ["192.0.2.1:19999", "192.0.2.1:20040", "192.0.2.9:20000"].map(|at| {
        let socket = UdpSocket::bind(at).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    });
    for gone in 0..3 {
        for port in (20_000..20_040).step_by(2) {
            sender.send_to(&u16::to_be_bytes(port), ("192.0.2.1", port)).unwrap();
        }
        let ports = |first: u16| -> Vec<Vec<u8>> {
            (0..5).map(|pair| (first + 2 * pair).to_be_bytes().to_vec()).collect()
        };
        for (shard, recorder) in shards.iter_mut().enumerate() {
            let first = 20_000 + 10 * (gone + shard) as u16;
            assert_eq!(recorder.payloads(5), ports(first), "shard {}", gone + shard);
            assert_eq!(recorder.stray, 0);
        }
        assert_eq!(other.payloads(5), ports(20_030));
        for stranger in &strangers {
            sender.send_to(b"not yours", stranger.local_addr().unwrap()).unwrap();
            assert_eq!(stranger.recv(&mut [0; 20]).unwrap(), 9);
        }
        shards.remove(0);
    }
}

#[test]
fn what_this_machine_sends_to_its_own_media_address_is_taken_too() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24"], &["192.0.2.2/24"]);
    let mut recorder = Recorder::new(slice("192.0.2.1", 20_000, 8));
    peer("192.0.2.1").send_to(b"from here", "192.0.2.1:20000").unwrap();
    network.far(|| peer("192.0.2.2")).send_to(b"from there", "192.0.2.1:20000").unwrap();
    let mut got = recorder.payloads(2);
    got.sort();
    assert_eq!(got, [b"from here".to_vec(), b"from there".to_vec()]);
}

#[test]
fn a_probe_leaves_nothing_behind_and_says_what_is_in_the_way() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24"], &[]);
    let at = |address: &str| probe(address.parse().unwrap(), &[]);
    assert_eq!((at("192.0.2.1"), at("127.0.0.1"), at("::1")), (Ok(()), Ok(()), Ok(())));
    ip(&["link", "set", "veth0", "down"]);
    assert_eq!(at("192.0.2.1"), Err(PacketError::Down { name: "veth0".to_owned() }));
    let refused = |error: PacketError| error.to_string();
    let tap = |call, errno| PacketError::Tap(Refused { call, errno });
    assert!(refused(tap("socket(AF_PACKET)", libc::EPERM)).contains("CAP_NET_RAW"));
    assert!(refused(tap("PACKET_RX_RING", libc::ENOMEM)).contains("plan fewer calls"));
    let bpf = |errno| BpfError { call: "link create", errno, log: String::new() };
    assert!(refused(PacketError::Bpf(bpf(libc::EPERM))).contains("CAP_BPF"));
    assert!(refused(PacketError::Ingress(bpf(libc::EINVAL))).contains("Linux 6.6"));
}

#[test]
fn recorders_that_want_the_same_ports_meet_and_ports_that_others_hold_are_told() {
    let _network = Network::new();
    let other = UdpSocket::bind("127.0.0.1:20005").unwrap();
    let slices = [0, 1].map(|shard| slice("127.0.0.1", 20_000 + shard * 4, 4));
    let plan = |slices| PacketPlan { slices, interfaces: &[], blocks: SMALL };
    let opened = open(&plan(&slices)).unwrap();
    assert_eq!(opened.iter().map(|opened| &opened.taken[..]).collect::<Vec<_>>(), [&[][..], &[20_005][..]]);
    let at = "127.0.0.1:20004".parse().unwrap();
    assert_eq!(open(&plan(&slices[1..])).err(), Some(PacketError::PortTaken { at }));
    drop((opened, other));
    assert!(open(&plan(&slices)).unwrap().iter().all(|opened| opened.taken.is_empty()));
}

/// What [`the_machines_traffic_flows_again_after_sigkill`] kills.
#[test]
#[ignore = "a child of another test"]
fn a_recorder_that_waits_to_be_killed() {
    let _recorder = Recorder::new(slice("192.0.2.1", 20_000, 8));
    println!("ready");
    std::thread::sleep(Duration::from_secs(60));
    panic!("nobody came");
}

#[test]
fn the_machines_traffic_flows_again_after_sigkill() {
    let network = Network::new();
    network.cable("veth0", &["192.0.2.1/24"], &["192.0.2.2/24"]);
    let name = "ring::packet::tests::a_recorder_that_waits_to_be_killed";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")));
    let (ours, sender) = (UdpSocket::bind("192.0.2.1:20002").unwrap(), network.far(|| peer("192.0.2.2")));
    ours.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let arrives = || {
        sender.send_to(b"x", "192.0.2.1:20002").unwrap();
        ours.recv(&mut [0; 1]).is_ok()
    };
    assert!(!arrives() && !arrives(), "it is taken");
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((0..50).any(|_| arrives()), "it is still taken");
    assert!(arrives());
}
