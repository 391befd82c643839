//! The tier `steered`: one UDP socket per shard, to which a BPF program leads everything sent to the shard's ports.
//!
//! ```text
//!   packet ─▶ IP, firewall, reassembly ─▶ search for a socket ─▶ sk_lookup program: one of our addresses and ports?
//!                                                                  yes: the socket of port's shard     no: as ever
//! ```
//!
//! These are ordinary sockets: firewall rules and reassembly apply, and what the program does not claim finds its socket as if nothing were
//! there. Each datagram says to which port it was sent (IP_RECVORIGDSTADDR, ip(7)). The program is attached by a link that every
//! shard's source holds: when the last is gone, or the process however it ends, so is the program. Linux 5.9, CAP_BPF and CAP_NET_ADMIN.
//!
//! Each shard's socket is bound to the first port of its slice. So two recorders that want the same ports meet: one finds the other's
//! first port taken, or does not get what it sends to its own first port.

mod program;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::arrival::{ArrivalClock, DropCount};
use super::batch::Batch;
use super::choice::TierError;
use super::tier::{Arrived, Group, Losses, PortSlice, Source};
use crate::base::{Mono, Wall};
use crate::limits::STEERED_SOCKET_BYTES;
use crate::sys::bpf::{Attach, Link, Map, MapKind, Target};
use crate::sys::{clock, socket};

/// Datagrams taken by one system call: what they are written to fits into a core's first caches.
const BATCH: usize = 64;
/// Calls of one turn; then the clocks are read again.
const BATCHES_PER_TURN: usize = 64;
/// Timestamp (32), original destination (48 for IPv6), drop counter (24).
const CONTROL_BYTES: usize = 104;
/// How long a datagram to ourselves may take.
const ECHO_PATIENCE: Duration = Duration::from_millis(500);
/// Errors that wait in the socket are told one by one; more than these in a turn are left for the next.
const ERRORS_PER_TURN: u32 = 16;

/// The socket of one shard.
pub struct Steered {
    socket: OwnedFd,
    first: u16,
    batch: Batch,
    arrivals: ArrivalClock,
    drops: DropCount,
    losses: Losses,
    /// Holds the program where it is.
    _steering: Arc<Steering>,
}

/// What keeps datagrams coming.
struct Steering {
    _link: Link,
    _sockets: Map,
}

/// A shard's source, and the ports of its slice that somebody else holds.
pub struct Opened {
    /// For its tier.
    pub source: Steered,
    /// Not to be used.
    pub taken: Vec<u16>,
}

/// Opens the sockets of `slices`, which follow each other and are of one length, and leads their ports to them.
///
/// # Errors
/// What is missing: a capability, a kernel, the ports.
pub fn open(slices: &[PortSlice]) -> Result<Vec<Opened>, TierError> {
    let refused = TierError::bpf("sk_lookup programs", "5.9");
    let at = slices.first().ok_or(TierError::System { call: "no port slice", errno: libc::EINVAL })?;
    let sockets: Vec<OwnedFd> = slices.iter().map(open_socket).collect::<Result<_, _>>()?;
    let map = Map::new(MapKind::SockMap, 4, 4, slices.len() as u32, "tapehead_rtp").map_err(refused)?;
    for (index, socket) in (0u32..).zip(&sockets) {
        map.update(&index.to_ne_bytes(), &socket.as_raw_fd().to_ne_bytes()).map_err(refused)?;
    }
    let program = program::load(at, slices.len(), &map).map_err(refused)?;
    let namespace = std::fs::File::open("/proc/thread-self/ns/net")
        .map_err(TierError::system("open the network namespace"))?;
    let link =
        Link::attach(&program, Target::Descriptor(namespace.as_fd()), Attach::SkLookup).map_err(refused)?;
    let steering = Arc::new(Steering { _link: link, _sockets: map });
    let opened = slices.iter().zip(sockets).map(|(slice, socket)| Opened {
        taken: slice
            .ports()
            .skip(1)
            .filter(|&port| socket::is_taken(SocketAddr::new(slice.address, port)))
            .collect(),
        source: Steered::new(socket, slice.first, Arc::clone(&steering)),
    });
    let mut opened: Vec<Opened> = opened.collect();
    for (slice, opened) in slices.iter().zip(&mut opened) {
        opened.source.hears_itself(slice)?;
    }
    Ok(opened)
}

fn open_socket(slice: &PortSlice) -> Result<OwnedFd, TierError> {
    let at = SocketAddr::new(slice.address, slice.first);
    let (fd, _) = socket::receiver(at).map_err(|error| match error.raw_os_error() {
        Some(libc::EADDRINUSE) => TierError::PortTaken { at },
        _ => TierError::system("bind")(error),
    })?;
    socket::tell_destination(&fd, at.is_ipv6())
        .map_err(TierError::system("setsockopt(IP_RECVORIGDSTADDR)"))?;
    socket::force_receive_buffer(&fd, STEERED_SOCKET_BYTES)
        .map_err(TierError::system("setsockopt(SO_RCVBUFFORCE)"))?;
    Ok(fd)
}

impl Steered {
    fn new(socket: OwnedFd, first: u16, steering: Arc<Steering>) -> Steered {
        Steered {
            socket,
            first,
            batch: Batch::new(BATCH, CONTROL_BYTES),
            arrivals: ArrivalClock::new(clock::both()),
            drops: DropCount::default(),
            losses: Losses::default(),
            _steering: steering,
        }
    }

    /// Whether a datagram to the last port of the slice, and one to the first, arrive: only if no other program is in front of ours, and no
    /// firewall between.
    fn hears_itself(&mut self, slice: &PortSlice) -> Result<(), TierError> {
        let host = match slice.address {
            IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        for port in [slice.first, slice.first + (slice.count - 1)] {
            let at = SocketAddr::new(host, port);
            let word = clock::mono().0.to_ne_bytes();
            let from = SocketAddr::new(host, 0);
            socket::send_from(from, at, &word).map_err(TierError::system("a datagram to ourselves"))?;
            let deadline = clock::mono() + ECHO_PATIENCE;
            let mut heard = false;
            while !heard && clock::mono() < deadline {
                self.receive(clock::both(), &mut |group| {
                    heard |= group.iter().any(|it| it.port == port && it.payload == word)
                });
                if !heard {
                    clock::sleep_until(clock::mono() + Duration::from_millis(1));
                }
            }
            if !heard {
                return Err(TierError::NotHeard { at });
            }
        }
        Ok(())
    }
}

impl Source for Steered {
    fn receive(&mut self, clocks: (Mono, Wall), take: &mut impl FnMut(&[Arrived<'_>])) -> bool {
        self.arrivals.tick(clocks);
        for _ in 0..BATCHES_PER_TURN {
            let count = match self.batch.receive(&self.socket) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.losses.failed += 1;
                    if self.losses.failed >= ERRORS_PER_TURN {
                        return false;
                    }
                    continue;
                }
            };
            let mut group = Group::new();
            for index in 0..count {
                let datagram = self.batch.datagram(index);
                self.losses.dropped += self.drops.news(datagram.control.dropped).unwrap_or(0);
                let arrived = Arrived {
                    // One that does not say where it went is nobody's; the kernel says it of each.
                    port: datagram.control.to_port.unwrap_or(0),
                    from: datagram.from,
                    arrival: self.arrivals.arrival(datagram.control.taken),
                    payload: datagram.payload,
                    truncated: datagram.truncated,
                };
                group.push(arrived, take);
            }
            group.hand_over(take);
            if count < BATCH {
                return false;
            }
        }
        true
    }

    fn losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    fn bound_to(&self, port: u16) -> Option<BorrowedFd<'_>> {
        (port == self.first).then(|| self.socket.as_fd())
    }

    fn name(&self, ring: &'static str) -> &'static str {
        match ring {
            "io_uring" => "io_uring+steered",
            _ => "poll+steered",
        }
    }
}

#[cfg(test)]
#[path = "../steered_tests.rs"]
mod tests;
