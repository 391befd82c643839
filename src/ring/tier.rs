//! A receive tier: a ring of files with another way for datagrams. Opening a port is a table write, not a socket.
//!
//! ```text
//!   shard ── Bind, CloseSocket, SendTo ──▶ Tier ── table of open ports
//!         ── everything else ───────────▶  inner ring
//!         ◀─ Received ── table ◀── Source: everything that came to the shard's slice, once per tick
//! ```
//!
//! A [`Source`] sees all datagrams of the slice; the table says whose they are. What belongs to no open port is counted
//! ([`Trouble::Stray`]) and goes no further, nor does what had come before its port was opened: a port handed to the next call brings
//! nothing of the last one's. Reports (RTCP) go out through a socket that lives for one datagram.
//!
//! The tier `sockets` is the rings as they are, without any of this.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{AHEAD_DATAGRAMS_MAX, Completion, Errno, Op, Ring, RingPlan, SocketIx, Trouble, Waker};
use crate::base::{Mono, Wall};
use crate::limits::TICK;
use crate::sys::memory::BlockPool;
use crate::sys::{clock, socket};

/// The ports of a shard: `count` from `first` on, at one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortSlice {
    /// Where.
    pub address: IpAddr,
    /// The first port.
    pub first: u16,
    /// How many.
    pub count: u16,
}

impl PortSlice {
    /// The index of a port, if it is one of them.
    pub fn index(&self, port: u16) -> Option<usize> {
        port.checked_sub(self.first).filter(|index| *index < self.count).map(usize::from)
    }

    /// Its ports.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let first = self.first;
        (0..self.count).map(move |index| first + index)
    }
}

/// A datagram as a source hands it out.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// The local port it was sent to.
    pub port: u16,
    /// From here.
    pub from: SocketAddr,
    /// When the kernel took it.
    pub arrival: Mono,
    /// What it holds, cut at [`crate::limits::DATAGRAM_BYTES_MAX`] if longer.
    pub payload: &'a [u8],
    /// Whether it was cut.
    pub truncated: bool,
}

/// Datagrams on their way from a source, as many as may be spoken of ahead.
pub(super) struct Group<'a> {
    datagrams: [Arrived<'a>; AHEAD_DATAGRAMS_MAX],
    count: usize,
}

impl<'a> Group<'a> {
    /// Without any.
    pub(super) fn new() -> Group<'a> {
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let none = Arrived { port: 0, from, arrival: Mono(0), payload: &[], truncated: false };
        Group { datagrams: [none; AHEAD_DATAGRAMS_MAX], count: 0 }
    }

    /// Adds one; a group that is full is handed to `take` and empty again.
    #[inline]
    pub(super) fn push(&mut self, datagram: Arrived<'a>, take: &mut impl FnMut(&[Arrived<'_>])) {
        self.datagrams[self.count] = datagram;
        self.count += 1;
        if self.count == AHEAD_DATAGRAMS_MAX {
            self.hand_over(take);
        }
    }

    /// Hands what there is to `take`.
    pub(super) fn hand_over(&mut self, take: &mut impl FnMut(&[Arrived<'_>])) {
        if self.count > 0 {
            take(&self.datagrams[..std::mem::take(&mut self.count)]);
        }
    }
}

/// Where the datagrams of a slice come from.
pub trait Source {
    /// Hands to `take` what has come, a turn's worth at most, up to [`AHEAD_DATAGRAMS_MAX`] at a time; both clocks were just read. Whether there may
    /// be more at once.
    fn receive(&mut self, clocks: (Mono, Wall), take: &mut impl FnMut(&[Arrived<'_>])) -> bool;

    /// How many datagrams were dropped since this was last asked: for want of room, by the kernel; and those that could not be read.
    fn losses(&mut self) -> Losses;

    /// A port was opened: from now on its datagrams are wanted.
    fn opened(&mut self, _port: u16) {}

    /// A port was closed.
    fn closed(&mut self, _port: u16) {}

    /// A socket of its own that is bound to this port, if there is one: others can't be while it is.
    fn bound_to(&self, port: u16) -> Option<BorrowedFd<'_>>;

    /// Its name together with that of the ring under it: `io_uring+steered`.
    fn name(&self, ring: &'static str) -> &'static str;
}

/// What a source lost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Losses {
    /// Datagrams that the kernel dropped for want of room.
    pub dropped: u32,
    /// Times that receiving failed and was tried again.
    pub failed: u32,
    /// Fragments of packets to open ports.
    pub fragments: u32,
    /// Datagrams whose checksum was wrong.
    pub bad_checksums: u32,
    /// Packets that contradict themselves.
    pub malformed: u32,
}

/// A ring of files under a source of datagrams.
pub struct Tier<R, S> {
    inner: R,
    source: S,
    table: Table,
    /// Answers for the next drain.
    answers: VecDeque<Completion<'static>>,
}

/// The plan of the ring under a tier: no sockets, and no buffers to speak of.
pub fn inner_plan(plan: RingPlan) -> RingPlan {
    RingPlan { sockets_max: 0, receive_buffers: INNER_BUFFERS, ..plan }
}

/// A ring makes no fewer.
const INNER_BUFFERS: u32 = 64;

impl<R: Ring, S: Source> Tier<R, S> {
    /// A tier for `sockets_max` sockets on the ports of `slice` but `taken`, which others hold. `inner` is made for [`inner_plan`].
    pub fn new(inner: R, source: S, slice: PortSlice, sockets_max: u32, taken: &[u16]) -> Tier<R, S> {
        let answers = VecDeque::with_capacity(sockets_max as usize * 2);
        Tier { inner, source, table: Table::new(slice, sockets_max, taken), answers }
    }

    /// The source, for what is its alone.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Every datagram that is there, to whom it belongs; the instant of the last look.
    fn receive(&mut self, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        let Tier { source, table, .. } = self;
        let (mut started, mut stray) = (None, 0);
        loop {
            let clocks = clock::both();
            let now = clocks.0;
            let more = source.receive(clocks, &mut |group| stray += table.hand_out(group, now, sink));
            // Under more than can be taken, the rest waits in the kernel until it drops some, which is counted.
            if !more || now.since(*started.get_or_insert(now)) > TICK {
                let Losses { dropped, failed, fragments, bad_checksums, malformed } = source.losses();
                if fragments + bad_checksums + malformed > 0 {
                    sink(
                        now,
                        Completion::Trouble(Trouble::Unreadable { fragments, bad_checksums, malformed }),
                    );
                }
                let told = [
                    (dropped, Trouble::SharedDrops { count: dropped }),
                    (stray, Trouble::Stray { count: stray }),
                ];
                let failed = (0..failed).map(|_| Trouble::Rearmed);
                let told = told.into_iter().filter(|(count, _)| *count > 0).map(|(_, trouble)| trouble);
                told.chain(failed).for_each(|trouble| sink(now, Completion::Trouble(trouble)));
                return now;
            }
        }
    }

    fn send(&self, socket: SocketIx, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let port = self.table.port(socket).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        match self.source.bound_to(port) {
            Some(bound) => socket::send_to(bound.as_raw_fd(), to, bytes),
            None => socket::send_from(SocketAddr::new(self.table.slice.address, port), to, bytes),
        }
    }
}

impl<R: Ring, S: Source> Ring for Tier<R, S> {
    fn submit(&mut self, op: Op, blocks: &BlockPool) -> Result<(), Op> {
        match op {
            Op::Bind { socket, at } => {
                let result = self.table.open(socket, at);
                if let Ok(at) = result {
                    self.source.opened(at.port());
                }
                self.answers.push_back(Completion::Bound { socket, result });
            }
            Op::CloseSocket { socket } => {
                if let Some(port) = self.table.port(socket) {
                    self.source.closed(port);
                }
                self.table.close(socket);
                self.answers.push_back(Completion::SocketClosed { socket });
            }
            Op::SendTo { socket, to, bytes } => {
                if let Err(error) = self.send(socket, to, &bytes) {
                    let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
                    self.answers.push_back(Completion::Trouble(Trouble::SendFailed { socket, errno }));
                }
            }
            file => return self.inner.submit(file, blocks),
        }
        Ok(())
    }

    fn drain(&mut self, deadline: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> Mono {
        let now = self.inner.drain(deadline, sink);
        // A socket is `Bound` before its first datagram.
        while let Some(answer) = self.answers.pop_front() {
            sink(now, answer);
        }
        self.receive(sink)
    }

    fn waker(&self) -> Option<Waker> {
        self.inner.waker()
    }

    fn name(&self) -> &'static str {
        self.source.name(self.inner.name())
    }
}

/// Which ports are open, and for whom.
struct Table {
    slice: PortSlice,
    /// By the port's index in the slice.
    ports: Box<[Port]>,
    /// By socket, the port's index.
    sockets: Box<[Option<u16>]>,
    /// Where the search for a free port begins, for who does not care which.
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Port {
    Closed,
    /// Somebody else's when last looked at.
    Taken,
    Open {
        socket: SocketIx,
        since: Mono,
    },
}

impl Table {
    fn new(slice: PortSlice, sockets_max: u32, taken: &[u16]) -> Table {
        let mut ports = vec![Port::Closed; usize::from(slice.count)];
        taken.iter().filter_map(|port| slice.index(*port)).for_each(|index| ports[index] = Port::Taken);
        let sockets = vec![None; sockets_max as usize].into();
        Table { slice, ports: ports.into(), sockets, next: 0 }
    }

    fn open(&mut self, socket: SocketIx, at: SocketAddr) -> Result<SocketAddr, Errno> {
        assert!(self.sockets[socket.0 as usize].is_none(), "{socket:?} is in use");
        if at.ip() != self.slice.address {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        let index = match at.port() {
            0 => self.any_closed()?,
            port => self.slice.index(port).ok_or(Errno(libc::EADDRNOTAVAIL))?,
        };
        let port = self.slice.first + index as u16;
        match self.ports[index] {
            Port::Closed => {}
            Port::Taken if !socket::is_taken(SocketAddr::new(at.ip(), port)) => {}
            Port::Taken | Port::Open { .. } => return Err(Errno(libc::EADDRINUSE)),
        }
        self.ports[index] = Port::Open { socket, since: clock::mono() };
        self.sockets[socket.0 as usize] = Some(index as u16);
        Ok(SocketAddr::new(at.ip(), port))
    }

    fn any_closed(&mut self) -> Result<usize, Errno> {
        let count = self.ports.len();
        let free =
            (0..count).map(|step| (self.next + step) % count).find(|at| self.ports[*at] == Port::Closed);
        let free = free.ok_or(Errno(libc::EADDRINUSE))?;
        self.next = free + 1;
        Ok(free)
    }

    fn close(&mut self, socket: SocketIx) {
        if let Some(index) = self.sockets[socket.0 as usize].take() {
            self.ports[usize::from(index)] = Port::Closed;
        }
    }

    fn port(&self, socket: SocketIx) -> Option<u16> {
        self.sockets[socket.0 as usize].map(|index| self.slice.first + index)
    }

    /// Says whose datagrams come, then gives them to their owners; how many have none.
    fn hand_out(&self, group: &[Arrived<'_>], now: Mono, sink: &mut dyn FnMut(Mono, Completion<'_>)) -> u32 {
        let (mut sockets, mut owned) = ([SocketIx(0); AHEAD_DATAGRAMS_MAX], [None; AHEAD_DATAGRAMS_MAX]);
        let mut count = 0;
        for (datagram, owned) in group.iter().zip(&mut owned) {
            if let Some(socket) = self.owner(datagram) {
                *owned = Some((socket, datagram));
                sockets[count] = socket;
                count += 1;
            }
        }
        // A single one gains nothing by being announced.
        if count > 1 {
            sink(now, Completion::Ahead { sockets: &sockets[..count] });
        }
        for (socket, datagram) in owned.into_iter().flatten() {
            let Arrived { from, arrival, payload, truncated, .. } = *datagram;
            sink(now, Completion::Received { socket, from, arrival, payload, truncated });
        }
        (group.len() - count) as u32
    }

    /// Whose this datagram is. One that came before its port was opened was meant for the port's last owner.
    #[inline]
    fn owner(&self, datagram: &Arrived<'_>) -> Option<SocketIx> {
        match self.ports[self.slice.index(datagram.port)?] {
            Port::Open { socket, since } if datagram.arrival >= since => Some(socket),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: PortSlice = PortSlice { address: IpAddr::V4(Ipv4Addr::LOCALHOST), first: 20_000, count: 4 };

    fn at(port: u16) -> SocketAddr {
        SocketAddr::new(SLICE.address, port)
    }

    fn datagram(port: u16, arrival: Mono) -> Arrived<'static> {
        Arrived { port, from: at(5000), arrival, payload: b"x", truncated: false }
    }

    #[test]
    fn a_port_belongs_to_one_socket_from_its_opening_to_its_close() {
        let mut table = Table::new(SLICE, 3, &[]);
        let (before, late) = (clock::mono(), Mono(u64::MAX));
        assert_eq!(table.owner(&datagram(20_002, late)), None);
        assert_eq!(table.open(SocketIx(0), at(20_002)), Ok(at(20_002)));
        assert_eq!(table.open(SocketIx(1), at(20_002)), Err(Errno(libc::EADDRINUSE)));
        assert_eq!(table.owner(&datagram(20_002, late)), Some(SocketIx(0)));
        assert_eq!(table.owner(&datagram(20_002, Mono(before.0 - 1))), None, "of the last call");
        assert_eq!(table.port(SocketIx(0)), Some(20_002));
        table.close(SocketIx(0));
        table.close(SocketIx(0));
        assert_eq!((table.owner(&datagram(20_002, late)), table.port(SocketIx(0))), (None, None));
        assert_eq!(table.open(SocketIx(1), at(20_002)), Ok(at(20_002)));
    }

    #[test]
    fn a_group_is_announced_and_then_handed_out_but_for_strays() {
        let mut table = Table::new(SLICE, 4, &[]);
        for (socket, port) in [(3, 20_000), (1, 20_002)] {
            table.open(SocketIx(socket), at(port)).unwrap();
        }
        let late = Mono(u64::MAX);
        let group = [20_002, 20_001, 20_000, 20_002].map(|port| datagram(port, late));
        let mut told = Vec::new();
        let strays = table.hand_out(&group, late, &mut |_, completion| match completion {
            Completion::Ahead { sockets } => told.push(sockets.to_vec()),
            Completion::Received { socket, .. } => told.push(vec![socket]),
            other => panic!("{other:?}"),
        });
        let [first, second] = [SocketIx(1), SocketIx(3)];
        assert_eq!(told, [vec![first, second, first], vec![first], vec![second], vec![first]]);
        assert_eq!(strays, 1);
    }

    #[test]
    fn a_full_group_is_handed_over_at_once_and_what_is_left_at_the_end() {
        let (mut group, mut taken) = (Group::new(), Vec::new());
        let mut take = |group: &[Arrived<'_>]| taken.push(group.len());
        for _ in 0..AHEAD_DATAGRAMS_MAX + 3 {
            group.push(datagram(20_000, Mono(1)), &mut take);
        }
        group.hand_over(&mut take);
        group.hand_over(&mut take);
        assert_eq!(taken, [AHEAD_DATAGRAMS_MAX, 3]);
    }

    #[test]
    fn what_is_not_of_the_slice_is_nobodys() {
        let mut table = Table::new(SLICE, 8, &[]);
        assert_eq!(table.open(SocketIx(0), at(20_004)), Err(Errno(libc::EADDRNOTAVAIL)));
        assert_eq!(
            table.open(SocketIx(0), "127.0.0.2:20000".parse().unwrap()),
            Err(Errno(libc::EADDRNOTAVAIL))
        );
        let got: Vec<u16> =
            (0..4).map(|socket| table.open(SocketIx(socket), at(0)).unwrap().port()).collect();
        assert_eq!(got, [20_000, 20_001, 20_002, 20_003]);
        assert_eq!(table.open(SocketIx(4), at(0)), Err(Errno(libc::EADDRINUSE)), "none is left");
        for port in [0, 19_999, 20_004, u16::MAX] {
            assert_eq!(table.owner(&datagram(port, Mono(u64::MAX))), None);
        }
    }

    #[test]
    fn a_port_that_somebody_else_holds_is_refused_until_it_is_free() {
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let mut table = Table::new(PortSlice { first: port, ..SLICE }, 2, &[port]);
        assert_eq!(table.open(SocketIx(0), at(port)), Err(Errno(libc::EADDRINUSE)));
        drop(other);
        assert_eq!(table.open(SocketIx(0), at(port)), Ok(at(port)));
    }
}
