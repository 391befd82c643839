//! The conformance script on the tier `steered`, over both rings and both address families; and what is particular to it. Needs root.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::*;
use crate::ring::loopback::{Loopback, loopback_world};
use crate::ring::poll::PollRing;
use crate::ring::tier::{Tier, inner_plan};
use crate::ring::uring::UringRing;
use crate::ring::{Completion, Op, Ring, RingPlan, SocketIx, Trouble};
use crate::sys::memory::BlockPool;

/// As many ports as the script's ring has sockets, free ones, of which no other test of this process gets any.
fn slice(address: IpAddr, count: u16) -> PortSlice {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let first =
            33_000 + (std::process::id() % 200) as u16 * 128 + NEXT.fetch_add(count, Ordering::Relaxed);
        let slice = PortSlice { address, first, count };
        if !slice.ports().any(|port| socket::is_taken(SocketAddr::new(address, port))) {
            return slice;
        }
    }
}

fn one(slice: PortSlice) -> Opened {
    open(&[slice]).unwrap_or_else(|why| panic!("the tier `steered` is tested as root: {why}")).remove(0)
}

fn tier<R: Ring>(slice: PortSlice, plan: RingPlan, inner: impl FnOnce(RingPlan) -> R) -> Tier<R, Steered> {
    let Opened { source, taken } = one(slice);
    Tier::new(inner(inner_plan(plan)), source, slice, plan.sockets_max, &taken)
}

/// The script over one ring and one address family. A flood is of 1,280 bytes of truesize each; the socket holds 64 MiB.
macro_rules! script {
    ($name:ident, $ring:ty, $host:literal, $inner:expr) => {
        mod $name {
            use super::*;
            use crate::ring::conformance::{World, conformance_tests};

            struct Stand(Loopback);
            loopback_world!(
                Stand,
                Tier<$ring, Steered>,
                |plan, blocks| {
                    let inner: fn(RingPlan, &BlockPool) -> $ring = $inner;
                    let slice = slice($host.parse().unwrap(), plan.sockets_max as u16);
                    tier(slice, plan, |plan| inner(plan, blocks))
                },
                $host,
                60_000
            );
            conformance_tests!(Stand);
        }
    };
}
script!(over_io_uring, UringRing, "127.0.0.1", |plan, blocks| UringRing::new(plan, blocks).unwrap());
script!(over_io_uring_on_ipv6, UringRing, "::1", |plan, blocks| UringRing::new(plan, blocks).unwrap());
script!(over_poll, PollRing, "127.0.0.1", |plan, _| PollRing::new(plan).unwrap());

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PLAN: RingPlan = RingPlan { sockets_max: 8, files_max: 1, receive_buffers: 64 };

fn at(slice: PortSlice, index: u16) -> SocketAddr {
    SocketAddr::new(slice.address, slice.first + index)
}

fn send(to: SocketAddr, bytes: &[u8]) {
    let from = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).unwrap();
    assert_eq!(from.send_to(bytes, to).unwrap(), bytes.len());
}

/// What came and where to, and the strays.
fn drain(tier: &mut impl Ring) -> (Vec<(SocketIx, Vec<u8>)>, u32) {
    let (mut received, mut strays) = (Vec::new(), 0);
    for _ in 0..3 {
        tier.drain(clock::mono() + Duration::from_millis(2), &mut |_, completion| match completion {
            Completion::Received { socket, payload, .. } => received.push((socket, payload.to_vec())),
            Completion::Trouble(Trouble::Stray { count }) => strays += count,
            Completion::Bound { result, .. } => assert!(result.is_ok()),
            Completion::SocketClosed { .. } | Completion::Ahead { .. } => {}
            other => panic!("{other:?}"),
        });
    }
    (received, strays)
}

/// Opens a port; clocks are compared to within some microseconds, so there is a moment of silence before and after.
fn bind(tier: &mut impl Ring, socket: u32, at: SocketAddr, blocks: &BlockPool) {
    std::thread::sleep(Duration::from_millis(1));
    tier.submit(Op::Bind { socket: SocketIx(socket), at }, blocks).unwrap();
    std::thread::sleep(Duration::from_millis(1));
}

fn poll_tier(slice: PortSlice) -> (Tier<PollRing, Steered>, BlockPool) {
    (tier(slice, PLAN, |plan| PollRing::new(plan).unwrap()), BlockPool::new(1).unwrap())
}

#[test]
fn what_comes_to_a_port_that_is_not_open_is_counted_and_goes_no_further() {
    let slice = slice(LOCALHOST, 8);
    let (mut tier, blocks) = poll_tier(slice);
    (0..8).for_each(|port| send(at(slice, port), b"nobody"));
    assert_eq!(drain(&mut tier), (vec![], 8));
    bind(&mut tier, 3, at(slice, 7), &blocks);
    (0..8).for_each(|port| send(at(slice, port), b"somebody"));
    assert_eq!(drain(&mut tier), (vec![(SocketIx(3), b"somebody".to_vec())], 7));
}

#[test]
fn a_port_opened_anew_brings_nothing_of_the_last_call() {
    let slice = slice(LOCALHOST, 2);
    let (mut tier, blocks) = poll_tier(slice);
    bind(&mut tier, 0, at(slice, 1), &blocks);
    assert_eq!(drain(&mut tier), (vec![], 0));
    send(at(slice, 1), b"for the last one");
    tier.submit(Op::CloseSocket { socket: SocketIx(0) }, &blocks).unwrap();
    send(at(slice, 1), b"in between");
    bind(&mut tier, 5, at(slice, 1), &blocks);
    send(at(slice, 1), b"for the next one");
    assert_eq!(drain(&mut tier), (vec![(SocketIx(5), b"for the next one".to_vec())], 2));
}

#[test]
fn a_report_comes_from_the_port_that_it_is_about() {
    let slice = slice(LOCALHOST, 8);
    let (mut tier, blocks) = poll_tier(slice);
    let peer = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for (socket, port) in [(0, 0), (1, 1), (7, 7)] {
        let (socket, to) = (SocketIx(socket), peer.local_addr().unwrap());
        bind(&mut tier, socket.0, at(slice, port), &blocks);
        tier.submit(Op::SendTo { socket, to, bytes: b"report".as_slice().into() }, &blocks).unwrap();
        assert_eq!(peer.recv_from(&mut [0; 16]).unwrap(), (6, at(slice, port)));
        // And the answer comes to it.
        peer.send_to(b"answer", at(slice, port)).unwrap();
        assert_eq!(drain(&mut tier), (vec![(socket, b"answer".to_vec())], 0));
    }
}

#[test]
fn each_shard_gets_its_slice() {
    let whole = slice(LOCALHOST, 24);
    let slices = [0, 8, 16].map(|index| PortSlice { first: whole.first + index, count: 8, ..whole });
    let opened = open(&slices).unwrap();
    let mut tiers: Vec<_> = opened
        .into_iter()
        .zip(slices)
        .map(|(opened, slice)| {
            Tier::new(PollRing::new(inner_plan(PLAN)).unwrap(), opened.source, slice, 8, &[])
        })
        .collect();
    let blocks = BlockPool::new(1).unwrap();
    for (tier, slice) in tiers.iter_mut().zip(slices) {
        bind(tier, 0, at(slice, 0), &blocks);
        bind(tier, 1, at(slice, 7), &blocks);
        tier.drain(clock::mono(), &mut |_, _| {});
    }
    (0..24).for_each(|port| send(at(whole, port), &[port as u8]));
    for (index, tier) in (0u8..).zip(&mut tiers) {
        let expected = vec![(SocketIx(0), vec![index * 8]), (SocketIx(1), vec![index * 8 + 7])];
        assert_eq!(drain(tier), (expected, 6), "shard {index}");
    }
}

#[test]
fn others_are_left_alone_and_when_it_is_gone_so_is_the_program() {
    let slice = slice(LOCALHOST, 4);
    // The same port at another address, and a port beside the range.
    let elsewhere = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), slice.first + 1));
    let others = [elsewhere, at(slice, 4)].map(|at| UdpSocket::bind(at).unwrap());
    let heard = |socket: &UdpSocket| {
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let to = socket.local_addr().unwrap();
        send(to, b"x");
        socket.recv(&mut [0; 4]).is_ok()
    };
    let opened = one(slice);
    assert!(others.iter().all(heard));
    // Within the range it is not for others to hear.
    let inside = UdpSocket::bind(at(slice, 2)).unwrap();
    assert!(!heard(&inside));
    drop(opened);
    assert!(heard(&inside) && others.iter().all(heard));
}

#[test]
fn two_recorders_share_a_machine_but_no_port() {
    let first = slice(LOCALHOST, 24);
    let part = |from: u16, count: u16| PortSlice { first: first.first + from, count, ..first };
    let held = one(part(8, 8));
    let beside = [one(part(0, 8)), one(part(16, 8))];
    drop(beside);
    let refused = |slice| open(&[slice]).map(drop).unwrap_err();
    assert_eq!(refused(part(8, 8)), TierError::PortTaken { at: at(first, 8) });
    assert!(matches!(refused(part(10, 4)), TierError::NotHeard { .. }), "inside");
    assert!(matches!(refused(part(4, 8)), TierError::NotHeard { .. }), "its last ports");
    assert!(matches!(refused(part(12, 8)), TierError::NotHeard { .. }), "its first ports");
    drop(held);
    one(part(10, 4));
}

#[test]
fn a_port_that_somebody_holds_is_found_at_the_start() {
    let slice = slice(LOCALHOST, 4);
    let other = UdpSocket::bind(at(slice, 3)).unwrap();
    assert_eq!(one(slice).taken, [slice.first + 3]);
    drop(other);
    assert_eq!(one(slice).taken, [0; 0]);
}

#[test]
fn any_address_takes_what_is_sent_to_each_of_ours() {
    for (address, hosts) in [("0.0.0.0", &["127.0.0.1", "127.0.0.9"][..]), ("::", &["::1", "127.0.0.1"])] {
        let slice = slice(address.parse().unwrap(), 4);
        let (mut tier, blocks) = poll_tier(slice);
        bind(&mut tier, 0, at(slice, 2), &blocks);
        for host in hosts {
            send(SocketAddr::new(host.parse().unwrap(), slice.first + 2), host.as_bytes());
            assert_eq!(drain(&mut tier), (vec![(SocketIx(0), host.as_bytes().to_vec())], 0), "{address}");
        }
    }
}
