//! The tier `packet`: one tap per shard and interface, its packets read where the kernel put them, and the kernel told to drop them before
//! its own UDP sees them.
//!
//! ```text
//!   interface ─▶ tap ─▶ block of frames ─▶ [`frame::parse`] ─▶ datagram, in place ─▶ shard; then the block goes back
//!            └▶ ingress hook: gone                                  (once per tick)
//! ```
//!
//! [`open`] makes the sources of all shards at once, for they share the programs (`program`) and, where there are several, a group of taps in
//! which each packet goes to its port's shard. Everything hangs on descriptors: when the process ends, however it ends, the
//! machine's traffic takes its old way.
//!
//! Leaves out the table of open ports and everything that is not receiving: that is [`super::tier`].

pub mod frame;
mod interfaces;
mod program;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use frame::{Fault, Frame};
use interfaces::Way;
use program::Want;

use super::Errno;
use super::arrival::ArrivalClock;
use super::tier::{Arrived, Group, Losses, PortSlice, Source};
use crate::base::{Mono, Wall};
use crate::limits::{
    PACKET_BLOCK_BYTES, PACKET_BLOCKS, PACKET_BLOCKS_MAX, PACKET_FRAME_BYTES, PACKET_LOCAL_BLOCK_BYTES,
    PACKET_STALL,
};
use crate::sys::bpf::{Attach, BpfError, Link, Map, Target, Words};
use crate::sys::packet_socket::{Blocks, Captured, PacketSocket, Refused};
use crate::sys::{cache, clock, socket};

/// What is to be received.
#[derive(Clone, Copy, Debug)]
pub struct PacketPlan<'a> {
    /// Address and ports of each shard: one address, and slices that follow each other.
    pub slices: &'a [PortSlice],
    /// The interfaces that packets for the address come in through; none: those that follow from the address.
    pub interfaces: &'a [String],
    /// A shard's ring on each interface; see [`blocks_for`].
    pub blocks: Blocks,
}

/// The blocks for `packets_per_second`: they hold what comes while the machine stands still.
pub fn blocks_for(packets_per_second: u64) -> Blocks {
    let bytes = packets_per_second * PACKET_FRAME_BYTES as u64 * PACKET_STALL.as_millis() as u64 / 1000;
    let count = (bytes.div_ceil(PACKET_BLOCK_BYTES as u64) as u32).clamp(PACKET_BLOCKS, PACKET_BLOCKS_MAX);
    Blocks { count, bytes: PACKET_BLOCK_BYTES }
}

/// Why the tier can't be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PacketError {
    /// No address, or all of them.
    Unspecified,
    /// No interface has the address.
    NoOwner {
        /// It.
        address: IpAddr,
    },
    /// Somebody holds the port by which recorders that want the same ports meet.
    PortTaken {
        /// Which.
        at: SocketAddr,
    },
    /// The address is the loopback's but not local: packets for it come in elsewhere.
    ServiceAddress {
        /// It.
        address: IpAddr,
    },
    /// There is no interface of this name.
    NoInterface {
        /// It.
        name: String,
    },
    /// The interface is down.
    Down {
        /// Its name.
        name: String,
    },
    /// Its frames have no Ethernet header.
    NotEthernet {
        /// Its name.
        name: String,
    },
    /// The tap was refused.
    Tap(Refused),
    /// A program or a map was refused.
    Bpf(BpfError),
    /// The program could not be put at the interface's ingress.
    Ingress(BpfError),
    /// Something else.
    System {
        /// The call that failed.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
}

impl std::error::Error for PacketError {}

impl From<Refused> for PacketError {
    fn from(refused: Refused) -> PacketError {
        PacketError::Tap(refused)
    }
}

impl From<BpfError> for PacketError {
    fn from(error: BpfError) -> PacketError {
        PacketError::Bpf(error)
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PacketError::Unspecified => f.write_str(
                "it taps the packets of one address: set rtp.bind to the address that media come to, not to the unspecified one",
            ),
            PacketError::NoOwner { address } => {
                write!(f, "no interface has the address {address}: give it to the one that packets for it come in through")
            }
            PacketError::ServiceAddress { address } => write!(
                f,
                "{address} is an address of the loopback interface, so it does not say where packets for it come in: give it to that interface, or use another tier"
            ),
            PacketError::PortTaken { at } => {
                write!(f, "UDP {at} is taken: another recorder or program uses ports of rtp.ports; give this one others")
            }
            PacketError::NoInterface { name } => write!(f, "there is no interface {name}; `ip link` lists them"),
            PacketError::Down { name } => write!(f, "the interface {name} is down: `ip link set {name} up`"),
            PacketError::NotEthernet { name } => write!(
                f,
                "the frames of {name} have no Ethernet header: only cards, bonds, bridges, VLANs, veth and the loopback can be tapped"
            ),
            PacketError::Tap(Refused { call, errno: libc::EPERM }) => {
                write!(f, "{call} is not permitted: CAP_NET_RAW is needed (systemd: AmbientCapabilities=CAP_NET_RAW)")
            }
            PacketError::Tap(Refused { call: call @ "PACKET_RX_RING", errno: libc::ENOMEM }) => {
                write!(f, "{call} failed: there is no kernel memory for the ring: plan fewer calls or more shards")
            }
            PacketError::Tap(Refused { call, errno }) => write!(f, "{call} failed: {}", Errno(*errno)),
            PacketError::Bpf(error) if error.errno == libc::EPERM => write!(
                f,
                "bpf({}) is not permitted: CAP_BPF and CAP_NET_ADMIN are needed (systemd: AmbientCapabilities=), and no seccomp filter that forbids it",
                error.call
            ),
            PacketError::Ingress(error) if error.errno == libc::EINVAL => f.write_str(
                "this kernel has no tcx, by which packets are dropped once they are taken: Linux 6.6 or later is needed, built with \
                 CONFIG_NET_XGRESS; use the tier steered or sockets",
            ),
            PacketError::Ingress(error) if error.errno == libc::EPERM => {
                f.write_str("a program may not be put at the interface's ingress: CAP_NET_ADMIN is needed")
            }
            PacketError::Bpf(error) | PacketError::Ingress(error) => error.fmt(f),
            PacketError::System { call, errno } => write!(f, "{call} failed: {errno}"),
        }
    }
}

/// Tries everything that the tier needs for `address`, with taps that are gone when this returns.
///
/// # Errors
/// Why it can't be had.
pub fn probe(address: IpAddr, interfaces: &[String]) -> Result<(), PacketError> {
    // Port 0 is nobody's, so no packet is taken.
    let slice = PortSlice { address, first: 0, count: 1 };
    open(&PacketPlan {
        slices: &[slice],
        interfaces,
        blocks: Blocks { count: 1, bytes: PACKET_LOCAL_BLOCK_BYTES },
    })
    .map(drop)
}

/// The sources of all shards, in their order.
///
/// # Errors
/// Why they can't be had; then nothing is left behind.
///
/// # Panics
/// If the slices do not follow each other.
pub fn open(plan: &PacketPlan<'_>) -> Result<Vec<Opened>, PacketError> {
    let Some((first, last)) = plan.slices.first().zip(plan.slices.last()) else { return Ok(Vec::new()) };
    let count = u32::from(last.first) + u32::from(last.count) - u32::from(first.first);
    let sum: u32 = plan.slices.iter().map(|slice| u32::from(slice.count)).sum();
    assert!(count == sum && plan.slices.is_sorted_by_key(|slice| slice.first), "slices follow each other");
    let ways = interfaces::ways(first.address, plan.interfaces)?;
    let guards = plan.slices.iter().map(guard).collect::<Result<Vec<_>, _>>()?;
    let ports = PortSlice { count: count as u16, ..*first };
    let map = Want::array(ports)?;
    let want = Want { ports, open: &map };
    let mut taps =
        ways.iter().map(|way| taps(way, plan, &want).map(Vec::into_iter)).collect::<Result<Vec<_>, _>>()?;
    let hook = Arc::new(Hook::new(&ways, &want)?);
    let mut opened = Vec::new();
    for ((&slice, guard), mark) in plan.slices.iter().zip(guards).zip(1u64..) {
        let taps = taps.iter_mut().zip(&ways);
        let taps =
            taps.filter_map(|(taps, way)| Some(Tap { socket: taps.next()?, interface: way.index })).collect();
        let open = map.words().map_err(|error| system("mmap of a BPF map", &error))?;
        let at = usize::from(slice.first - ports.first);
        let (arrivals, losses) = (ArrivalClock::new(clock::both()), Losses::default());
        let source =
            PacketSource { slice, taps, open, at, mark, arrivals, losses, guard, hook: Arc::clone(&hook) };
        let is_taken = |port: &u16| socket::is_taken(SocketAddr::new(slice.address, *port));
        opened.push(Opened { source, taken: slice.ports().skip(1).filter(is_taken).collect() });
    }
    Ok(opened)
}

fn guard(slice: &PortSlice) -> Result<OwnedFd, PacketError> {
    let at = SocketAddr::new(slice.address, slice.first);
    match socket::receiver(at) {
        Ok((guard, _)) => Ok(guard),
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Err(PacketError::PortTaken { at }),
        Err(error) => Err(system("bind", &error)),
    }
}

/// A tap for each shard on one interface; a group of them, if they are several.
fn taps(way: &Way, plan: &PacketPlan<'_>, want: &Want<'_>) -> Result<Vec<PacketSocket>, PacketError> {
    let local = Blocks { count: PACKET_BLOCKS / 2, bytes: PACKET_LOCAL_BLOCK_BYTES };
    let blocks = if way.is_by_the_way && plan.blocks.bytes > local.bytes { local } else { plan.blocks };
    let filter = want.take()?;
    let open = |_| PacketSocket::open(way.index, blocks, &filter);
    let taps = plan.slices.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    // One after the other as members of a group, before any port is open: eight filters side by side cost three times one group (measured).
    if taps.len() > 1 {
        PacketSocket::group(&taps.iter().collect::<Vec<_>>(), &want.choose()?)?;
    }
    Ok(taps)
}

fn system(call: &'static str, error: &io::Error) -> PacketError {
    PacketError::System { call, errno: Errno(error.raw_os_error().unwrap_or(libc::EIO)) }
}

/// What drops at the ingress of the interfaces what the taps have taken. Gone with the last source.
struct Hook {
    dropped: Map,
    _links: Vec<Link>,
    /// Taps of shards that have ended: a group whose member leaves would send the others' packets elsewhere.
    retired: Mutex<Vec<Tap>>,
}

impl Hook {
    fn new(ways: &[Way], want: &Want<'_>) -> Result<Hook, PacketError> {
        let dropped = Want::counter()?;
        let program = want.drop(&dropped)?;
        let attach = |way: &Way| Link::attach(&program, Target::Interface(way.index), Attach::TcxIngress);
        let links = ways.iter().map(attach).collect::<Result<_, _>>().map_err(PacketError::Ingress)?;
        Ok(Hook { dropped, _links: links, retired: Mutex::default() })
    }
}

/// What comes to the ports of one shard.
pub struct PacketSource {
    slice: PortSlice,
    taps: Vec<Tap>,
    /// The array that the programs look into, of all shards; this one's part starts at `at`.
    open: Words,
    at: usize,
    /// What an open port's entry says: whose it is.
    mark: u64,
    arrivals: ArrivalClock,
    losses: Losses,
    /// Bound to the first port, so that recorders that want the same ports meet. Never read: what it is sent is taken before, or for nobody.
    guard: OwnedFd,
    hook: Arc<Hook>,
}

/// A shard's source, and the ports of its slice that somebody else holds.
pub struct Opened {
    /// For its tier.
    pub source: PacketSource,
    /// Not to be used.
    pub taken: Vec<u16>,
}

struct Tap {
    socket: PacketSocket,
    interface: u32,
}

impl PacketSource {
    /// How many packets were dropped at the ingress after they were taken, over all shards.
    ///
    /// # Errors
    /// The kernel's.
    pub fn dropped_at_ingress(&self) -> Result<u64, BpfError> {
        Ok(self.hook.dropped.of_each_core(0)?.iter().sum())
    }

    fn set(&self, port: u16, mark: u64) {
        if let Some(index) = self.slice.index(port) {
            self.open.set(self.at + index, mark);
        }
    }
}

impl Source for PacketSource {
    fn receive(&mut self, clocks: (Mono, Wall), take: &mut impl FnMut(&[Arrived<'_>])) -> bool {
        self.arrivals.tick(clocks);
        let mut more = false;
        for Tap { socket, interface } in &mut self.taps {
            let Some(block) = socket.block() else { continue };
            more = true;
            let mut group = Group::new();
            for Captured { bytes, wire_bytes, taken, is_vouched } in block.frames() {
                match frame::parse(&Frame { bytes, wire_bytes, is_vouched, interface: *interface }) {
                    Ok(frame::Datagram { port, from, payload, truncated }) => {
                        // Another core wrote it.
                        cache::fetch(payload);
                        let arrival = self.arrivals.arrival(Some(taken));
                        group.push(Arrived { port, from, arrival, payload, truncated }, take);
                    }
                    Err(Fault::Fragment) => self.losses.fragments += 1,
                    Err(Fault::Checksum) => self.losses.bad_checksums += 1,
                    Err(Fault::Malformed) => self.losses.malformed += 1,
                }
            }
            group.hand_over(take);
        }
        more
    }

    fn losses(&mut self) -> Losses {
        let mut losses = std::mem::take(&mut self.losses);
        for tap in &self.taps {
            match tap.socket.statistics() {
                Ok(statistics) => losses.dropped += statistics.drops,
                Err(_) => losses.failed += 1,
            }
        }
        losses
    }

    fn opened(&mut self, port: u16) {
        self.set(port, self.mark);
    }

    fn closed(&mut self, port: u16) {
        self.set(port, 0);
    }

    fn bound_to(&self, port: u16) -> Option<BorrowedFd<'_>> {
        (port == self.slice.first).then(|| self.guard.as_fd())
    }

    fn name(&self, ring: &'static str) -> &'static str {
        match ring {
            "io_uring" => "io_uring+packet",
            "poll" => "poll+packet",
            _ => "packet",
        }
    }
}

impl Drop for PacketSource {
    fn drop(&mut self) {
        // The programs may live on with the other shards.
        self.slice.ports().for_each(|port| self.set(port, 0));
        if let Ok(mut retired) = self.hook.retired.lock() {
            retired.append(&mut self.taps);
        }
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
