//! The receive buffers that the kernel fills: a provided-buffer ring (`IORING_REGISTER_PBUF_RING`) and what a filled one holds.
//!
//! ```text
//!   | io_uring_recvmsg_out | source address | control data | payload ...
//!   | 16                   | 28             | 64           | up to 532
//! ```

use std::io;
use std::mem::offset_of;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::limits::{DATAGRAM_BYTES_MAX, RECEIVE_BUFFER_BYTES, RECEIVE_STOCK_MIN};
use crate::ring::arrival::{CONTROL_BYTES, Control, NAME_BYTES, source};
use crate::sys::memory::Mapping;

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Length of `io_uring_recvmsg_out`: name, control and payload length and flags, 4 bytes each.
const OUT_BYTES: usize = 16;
const PAYLOAD_AT: usize = OUT_BYTES + NAME_BYTES + CONTROL_BYTES;
const _: () = assert!(PAYLOAD_AT + DATAGRAM_BYTES_MAX == RECEIVE_BUFFER_BYTES);

/// One entry of the ring as the kernel reads it (`struct io_uring_buf`). The tail lies in the padding of entry 0.
#[repr(C)]
struct Entry {
    address: u64,
    len: u32,
    id: u16,
    tail: AtomicU16,
}
const _: () = assert!(size_of::<Entry>() == size_of::<BufRingEntry>() && offset_of!(Entry, tail) == 14);

/// Buffers, and the ring that lends them to the kernel.
pub(super) struct Buffers {
    ring: Mapping,
    data: Mapping,
    count: u16,
    /// Entries ever added, modulo 2^16; the kernel sees it at `publish`.
    tail: u16,
    /// Those that the kernel has not got, the last one used on top: it is the likeliest to be in a cache still.
    free: Vec<u16>,
    /// So many the kernel gets when there is no backlog: few, so that it fills the same ones over and over.
    stock: u16,
}

/// A received datagram where it lies.
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddr,
    pub(super) control: Control,
    pub(super) payload: &'a [u8],
    pub(super) truncated: bool,
}

impl Buffers {
    /// `count` buffers, a power of two and at most 32,768; a stock of them with the kernel.
    pub(super) fn new(count: u16, submitter: &Submitter<'_>) -> io::Result<Buffers> {
        let ring = Mapping::new(usize::from(count) * size_of::<Entry>())?;
        let data = Mapping::new(usize::from(count) * RECEIVE_BUFFER_BYTES)?;
        // SAFETY: the ring is page aligned, as long as said, and outlives the registration (the io_uring is dropped first).
        unsafe { submitter.register_buf_ring_with_flags(ring.as_ptr() as u64, count, GROUP, 0)? };
        let stock = count.min(RECEIVE_STOCK_MIN);
        let mut buffers = Buffers { ring, data, count, tail: 0, free: (0..count).rev().collect(), stock };
        buffers.lend(1);
        Ok(buffers)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Bytes of locked memory that `count` buffers need: the ring; the buffers themselves are ordinary memory.
    pub(super) fn locked_bytes(count: u32) -> u64 {
        u64::from(count) * size_of::<Entry>() as u64
    }

    /// What buffer `id` holds after the kernel wrote `len` bytes to it; `None` if that is not even a header.
    pub(super) fn datagram(&self, id: u16, len: usize) -> Option<Datagram<'_>> {
        let bytes = self.slice(id).get(..len.min(RECEIVE_BUFFER_BYTES))?;
        let (out, rest) = bytes.split_first_chunk::<OUT_BYTES>()?;
        let (name, rest) = rest.split_first_chunk::<NAME_BYTES>()?;
        let (control, payload) = rest.split_first_chunk::<CONTROL_BYTES>()?;
        let word = |at: usize| u32::from_ne_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
        Some(Datagram {
            from: source(&name[..(word(0) as usize).min(NAME_BYTES)]),
            control: Control::parse(&control[..(word(4) as usize).min(CONTROL_BYTES)]),
            payload,
            truncated: word(12) & libc::MSG_TRUNC as u32 != 0,
        })
    }

    /// The kernel has filled buffer `id`, and it has been read.
    pub(super) fn give_back(&mut self, id: u16) {
        assert!(
            id < self.count && self.free.len() < usize::from(self.count),
            "the kernel names one of our buffers"
        );
        self.free.push(id);
    }

    /// The kernel had too few: from now on it gets more.
    pub(super) fn ran_out(&mut self) {
        self.stock = self.stock.saturating_mul(2).min(self.count);
    }

    /// Sockets that the kernel may be asked for at once: it serves up to twice as many (once as it takes what we submit, once as it looks for what is
    /// ready), and two datagrams may wait in each.
    pub(super) fn batch(&self) -> usize {
        usize::from(self.stock / 4).max(1)
    }

    /// Lends the kernel its stock, or so many `times` that for a backlog.
    pub(super) fn lend(&mut self, times: u16) {
        let wanted = self.stock.saturating_mul(times).min(self.count);
        while usize::from(self.count) - self.free.len() < usize::from(wanted)
            && let Some(id) = self.free.pop()
        {
            self.add(id);
        }
        self.publish();
    }

    fn add(&mut self, id: u16) {
        let at = usize::from(self.tail & (self.count - 1));
        // SAFETY: `at` is below `count`; entries between the tail and the kernel's head are ours to write.
        unsafe {
            let entry = self.ring.as_ptr().cast::<Entry>().add(at);
            (&raw mut (*entry).address)
                .write(self.data.as_ptr() as u64 + (usize::from(id) * RECEIVE_BUFFER_BYTES) as u64);
            (&raw mut (*entry).len).write(RECEIVE_BUFFER_BYTES as u32);
            (&raw mut (*entry).id).write(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: entry 0 is there; the tail is only ever touched as an atomic, by us with stores and by the kernel with loads.
        let tail = unsafe { &(*self.ring.as_ptr().cast::<Entry>()).tail };
        tail.store(self.tail, Ordering::Release);
    }

    fn slice(&self, id: u16) -> &[u8] {
        assert!(id < self.count, "the kernel names one of our buffers");
        // SAFETY: in bounds by the assertion; a buffer that the kernel handed over is not written until it is given back and
        // published, for which `&mut self` is needed.
        unsafe {
            std::slice::from_raw_parts(
                self.data.as_ptr().add(usize::from(id) * RECEIVE_BUFFER_BYTES),
                RECEIVE_BUFFER_BYTES,
            )
        }
    }
}
