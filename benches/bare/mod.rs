//! The loops that do nothing but receive and throw away: the floor that our rings are measured against.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};
use tapehead::limits::{RECEIVE_BUFFER_BYTES, TICK};
use tapehead::ring::steered::{self, Opened};
use tapehead::ring::tier::{PortSlice, Source};
use tapehead::sys::clock;
use tapehead::sys::memory::Mapping;
use tapehead::sys::socket;

use crate::common::{ANY_PORT, Receiver};

/// What a receive brings besides the payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing: recv.
    Payload,
    /// The source address: recvmsg.
    Name,
    /// The source address, arrival time and drop counter.
    NameAndStamps,
}

/// io_uring: multishot receives into provided buffers, each tick.
pub struct BareUring {
    ring: IoUring,
    sockets: Vec<UdpSocket>,
    lent: Lent,
    _shape: Box<libc::msghdr>,
    received: u64,
}

/// The buffers.
struct Lent {
    entries: Mapping,
    buffers: Mapping,
    count: u16,
    tail: u16,
}

impl BareUring {
    /// `streams` sockets and `count` buffers.
    pub fn new(streams: usize, count: u16, shape: Shape) -> BareUring {
        let mut ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(65_536)
            .build(4096)
            .expect("io_uring is allowed");
        let entries = Mapping::new(usize::from(count) * 16).expect("memory");
        let buffers = Mapping::new(usize::from(count) * RECEIVE_BUFFER_BYTES).expect("memory");
        // SAFETY: the mapping is page aligned, as long as said, and dropped after the ring.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, 0, 0) }
            .expect("provided buffers");
        // SAFETY: plain integers and pointers, for which all zeroes is a value.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = 28;
        header.msg_controllen = if shape == Shape::NameAndStamps { 64 } else { 0 };
        let sockets: Vec<UdpSocket> = (0..streams)
            .map(|_| match shape {
                Shape::NameAndStamps => UdpSocket::from(socket::receiver(ANY_PORT).expect("a free port").0),
                _ => UdpSocket::bind(ANY_PORT).expect("a free port"),
            })
            .collect();
        for socket in &sockets {
            let fd = Fd(socket.as_raw_fd());
            let entry = match shape {
                Shape::Payload => opcode::RecvMulti::new(fd, 0).build(),
                _ => opcode::RecvMsgMulti::new(fd, &raw const *header, 0).build(),
            };
            if ring.submission().is_full() {
                ring.submit().expect("the kernel takes them");
            }
            // SAFETY: the header lives as long as the ring.
            unsafe { ring.submission().push(&entry) }.expect("room");
        }
        let mut lent = Lent { entries, buffers, count, tail: 0 };
        (0..count).for_each(|id| lent.give_back(id));
        lent.publish();
        BareUring { ring, sockets, lent, _shape: header, received: 0 }
    }
}

impl Lent {
    fn give_back(&mut self, id: u16) {
        let at = usize::from(self.tail & (self.count - 1)) * 16;
        let address = self.buffers.as_ptr() as u64 + (usize::from(id) * RECEIVE_BUFFER_BYTES) as u64;
        // SAFETY: entry `at` is within the mapping and between the tail and the kernel's head.
        unsafe {
            let entry = self.entries.as_ptr().add(at);
            entry.cast::<u64>().write(address);
            entry.add(8).cast::<u32>().write(RECEIVE_BUFFER_BYTES as u32);
            entry.add(12).cast::<u16>().write(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies at byte 14 of entry 0 and is only touched as an atomic.
        unsafe { &*self.entries.as_ptr().add(14).cast::<AtomicU16>() }.store(self.tail, Ordering::Release);
    }
}

impl Receiver for BareUring {
    fn targets(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect()
    }

    fn turn(&mut self) {
        let timeout = Timespec::from(TICK);
        let _ = self.ring.submitter().submit_with_args(65_536, &SubmitArgs::new().timespec(&timeout));
        for completion in self.ring.completion() {
            assert!(completion.result() >= 0 && cqueue::more(completion.flags()), "{completion:?}");
            self.received += 1;
            self.lent.give_back(cqueue::buffer_select(completion.flags()).expect("a buffer"));
        }
        self.lent.publish();
    }

    fn received(&mut self) -> u64 {
        self.received
    }
}

/// epoll and recv, each tick.
pub struct BarePoll {
    epoll: OwnedFd,
    sockets: Vec<UdpSocket>,
    events: Vec<libc::epoll_event>,
    received: u64,
}

impl BarePoll {
    /// `streams` sockets.
    pub fn new(streams: usize) -> BarePoll {
        // SAFETY: what comes back is ours alone.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        let sockets: Vec<UdpSocket> =
            (0..streams).map(|_| UdpSocket::bind(ANY_PORT).expect("a free port")).collect();
        for socket in &sockets {
            socket.set_nonblocking(true).expect("any socket can");
            let fd = socket.as_raw_fd();
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
            // SAFETY: the event lives through the call.
            let added = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
            assert_eq!(added, 0);
        }
        BarePoll { epoll, sockets, events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024], received: 0 }
    }
}

impl Receiver for BarePoll {
    fn targets(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect()
    }

    fn turn(&mut self) {
        clock::sleep_until(clock::mono() + TICK);
        let mut bytes = [0u8; 640];
        loop {
            // SAFETY: the array is ours to write and as long as said.
            let ready =
                unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), 1024, 0) };
            for event in &self.events[..ready.max(0) as usize] {
                // SAFETY: the bytes are ours to write and as long as said.
                let len = unsafe { libc::recv(event.u64 as i32, bytes.as_mut_ptr().cast(), 640, 0) };
                self.received += u64::from(len >= 0);
            }
            if ready <= 0 {
                return;
            }
        }
    }

    fn received(&mut self) -> u64 {
        self.received
    }
}

/// The tier `steered` at its barest: what its socket holds, each tick, with all that the tier asks the kernel for, looked at by nobody.
pub struct BareSteered {
    opened: Opened,
    slice: PortSlice,
    headers: Vec<libc::mmsghdr>,
    received: u64,
    _pointed_to: (Vec<libc::iovec>, Vec<[u64; STEERED_WORDS]>),
}

/// Datagrams of a call, and 8-byte words for each: name, control data, payload.
const STEERED_BATCH: usize = 64;
const STEERED_WORDS: usize = 4 + 13 + 67;

impl BareSteered {
    /// All that comes to these ports.
    pub fn new(slice: PortSlice) -> BareSteered {
        let opened = steered::open(&[slice]).unwrap_or_else(|why| panic!("{why}")).remove(0);
        let mut bytes = vec![[0u64; STEERED_WORDS]; STEERED_BATCH];
        let mut slices: Vec<libc::iovec> = bytes
            .iter_mut()
            .map(|bytes| libc::iovec { iov_base: bytes[17..].as_mut_ptr().cast(), iov_len: 67 * 8 })
            .collect();
        let headers = (0..STEERED_BATCH)
            .map(|at| {
                // SAFETY: plain integers and pointers, for which all zeroes is a value.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = bytes[at].as_mut_ptr().cast();
                header.msg_hdr.msg_control = bytes[at][4..].as_mut_ptr().cast();
                header.msg_hdr.msg_iov = &raw mut slices[at];
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        BareSteered { opened, slice, headers, received: 0, _pointed_to: (slices, bytes) }
    }
}

impl Receiver for BareSteered {
    fn targets(&self) -> Vec<SocketAddr> {
        self.slice.ports().map(|port| SocketAddr::new(self.slice.address, port)).collect()
    }

    fn turn(&mut self) {
        clock::sleep_until(clock::mono() + TICK);
        let socket = self.opened.source.bound_to(self.slice.first).expect("it is bound to its first port");
        loop {
            for header in &mut self.headers {
                (header.msg_hdr.msg_namelen, header.msg_hdr.msg_controllen) = (28, 13 * 8);
            }
            // SAFETY: the headers point to memory that lives in `self` and is as long as they say.
            let count = unsafe {
                let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT as _);
                libc::recvmmsg(
                    fd,
                    self.headers.as_mut_ptr(),
                    STEERED_BATCH as u32,
                    flags,
                    std::ptr::null_mut(),
                )
            };
            self.received += count.max(0) as u64;
            if (count as isize) < STEERED_BATCH as isize {
                return;
            }
        }
    }

    fn received(&mut self) -> u64 {
        self.received
    }
}
