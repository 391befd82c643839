//! A tap on one interface whose packets the kernel writes into memory that we read: AF_PACKET with a TPACKET_V3 ring (packet(7),
//! Documentation/networking/packet_mmap.rst).
//!
//! ```text
//!   kernel fills a block ──▶ full, or 10 ms old ──▶ ours to read in place ──▶ given back
//!      block: descriptor | frame | frame | ...      frame: tpacket3_hdr | sockaddr_ll | packet from its network header on
//! ```
//!
//! Leaves out what a packet means.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use super::bpf::Program;
use super::memory::Mapping;
use crate::base::Wall;
use crate::limits::PACKET_BLOCK_AGE_MAX;

// linux/if_packet.h
const PACKET_RX_RING: libc::c_int = 5;
const PACKET_STATISTICS: libc::c_int = 6;
const PACKET_VERSION: libc::c_int = 10;
const PACKET_FANOUT: libc::c_int = 18;
const PACKET_FANOUT_DATA: libc::c_int = 22;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const FANOUT_EBPF: u32 = 7;
const FANOUT_UNIQUE_ID: u32 = 0x2000;
const TPACKET_V3: libc::c_int = 2;
const STATUS_USER: u32 = 1;
const STATUS_CSUM_NOT_READY: u32 = 1 << 3;
const STATUS_CSUM_VALID: u32 = 1 << 7;
/// Only a unit of the kernel's bookkeeping in version 3: frames are as long as they need to be.
const FRAME_BYTES: usize = 2048;
const SO_ATTACH_BPF: libc::c_int = 50;

#[repr(C)]
struct RingRequest {
    block_size: u32,
    block_nr: u32,
    frame_size: u32,
    frame_nr: u32,
    retire_blk_tov: u32,
    sizeof_priv: u32,
    feature_req_word: u32,
}

/// Where in a block's descriptor (`struct tpacket_block_desc`) its status, its number of packets and the offset of the first one are.
const BLOCK_STATUS: usize = 8;
const BLOCK_PACKETS: usize = 12;
const BLOCK_FIRST: usize = 16;

/// `struct tpacket3_hdr`, as far as it is read.
#[derive(Clone, Copy)]
#[repr(C)]
struct FrameHeader {
    next_offset: u32,
    sec: u32,
    nsec: u32,
    captured: u32,
    len: u32,
    status: u32,
    mac: u16,
    net: u16,
}

/// A call that the kernel refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// What was asked for.
    pub call: &'static str,
    /// Why, as `std::io::Error::from_raw_os_error` takes it.
    pub errno: i32,
}

/// What the kernel has counted since it was last asked (PACKET_STATISTICS).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub struct Statistics {
    /// Packets that passed the filter, dropped ones included.
    pub packets: u32,
    /// Packets for which there was no room.
    pub drops: u32,
    /// Times that the ring was full.
    pub freezes: u32,
}

/// The blocks of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    /// How many.
    pub count: u32,
    /// How long each is; a power of two, at least a page and longer than any frame that is to be taken.
    pub bytes: usize,
}

/// The tap and its ring.
pub struct PacketSocket {
    ring: Mapping,
    fd: OwnedFd,
    blocks: Blocks,
    /// The block that is ours next.
    next: u32,
}

impl PacketSocket {
    /// Taps what comes in through `interface` and passes `filter`, which says how many bytes of it are kept, into a ring of
    /// `blocks`.
    ///
    /// # Errors
    /// It is not permitted (CAP_NET_RAW), there is no such interface, or there is no memory for the ring.
    pub fn open(interface: u32, blocks: Blocks, filter: &Program) -> Result<PacketSocket, Refused> {
        // No protocol yet: nothing is tapped before the filter is there.
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(refused("socket(AF_PACKET)"));
        }
        // SAFETY: just opened, and known to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let on = |call, option, value: libc::c_int| set(&fd, call, libc::SOL_PACKET, option, &value);
        on("PACKET_VERSION", PACKET_VERSION, TPACKET_V3)?;
        on("PACKET_IGNORE_OUTGOING", PACKET_IGNORE_OUTGOING, 1)?;
        set(&fd, "SO_ATTACH_BPF", libc::SOL_SOCKET, SO_ATTACH_BPF, &filter.raw())?;
        let request = RingRequest {
            block_size: blocks.bytes as u32,
            block_nr: blocks.count,
            frame_size: FRAME_BYTES as u32,
            frame_nr: blocks.count * (blocks.bytes / FRAME_BYTES) as u32,
            retire_blk_tov: PACKET_BLOCK_AGE_MAX.as_millis() as u32,
            sizeof_priv: 0,
            feature_req_word: 0,
        };
        set(&fd, "PACKET_RX_RING", libc::SOL_PACKET, PACKET_RX_RING, &request)?;
        let ring = Mapping::shared(fd.as_fd(), blocks.count as usize * blocks.bytes)
            .map_err(|error| because("mmap of the packet ring", &error))?;
        bind(&fd, interface)?;
        Ok(PacketSocket { ring, fd, blocks, next: 0 })
    }

    /// Makes a group of these taps on one interface: of each packet `choose` says which one gets it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn group(members: &[&PacketSocket], choose: &Program) -> Result<(), Refused> {
        let Some((first, others)) = members.split_first() else { return Ok(()) };
        let join = |member: &PacketSocket, value: u32| {
            set(&member.fd, "PACKET_FANOUT", libc::SOL_PACKET, PACKET_FANOUT, &value)
        };
        join(first, (FANOUT_EBPF | FANOUT_UNIQUE_ID) << 16)?;
        set(&first.fd, "PACKET_FANOUT_DATA", libc::SOL_PACKET, PACKET_FANOUT_DATA, &choose.raw())?;
        let id: u32 = get(&first.fd, "PACKET_FANOUT", PACKET_FANOUT)?;
        others.iter().try_for_each(|member| join(member, id & 0xffff | FANOUT_EBPF << 16))
    }

    /// What was counted since the last call.
    ///
    /// # Errors
    /// The kernel's.
    pub fn statistics(&self) -> Result<Statistics, Refused> {
        get(&self.fd, "PACKET_STATISTICS", PACKET_STATISTICS)
    }

    /// The oldest block that the kernel has handed over. It is given back when it is dropped.
    pub fn block(&mut self) -> Option<Block<'_>> {
        // Whoever sees the flag sees what the kernel wrote before it.
        if self.status().load(Ordering::Acquire) & STATUS_USER == 0 {
            return None;
        }
        Some(Block { socket: self })
    }

    /// The start of the block that is ours next.
    fn start(&self) -> *mut u8 {
        // SAFETY: `next` is below the number of blocks that were mapped.
        unsafe { self.ring.as_ptr().add(self.next as usize * self.blocks.bytes) }
    }

    /// Whose that block is.
    fn status(&self) -> &AtomicU32 {
        // SAFETY: an aligned word in the mapping, which lives as long as `self`; kernel and we only access it atomically.
        unsafe { AtomicU32::from_ptr(self.start().add(BLOCK_STATUS).cast()) }
    }
}

/// A block that is ours.
pub struct Block<'a> {
    socket: &'a mut PacketSocket,
}

/// A frame in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Captured<'a> {
    /// From the network header on, as much as the filter wanted.
    pub bytes: &'a [u8],
    /// As long as it was, from the network header on.
    pub wire_bytes: usize,
    /// When the kernel took it.
    pub taken: Wall,
    /// The transport checksum was verified, or is not written yet because the packet comes from this machine.
    pub is_vouched: bool,
}

impl Block<'_> {
    /// What is in it.
    pub fn frames(&self) -> Frames<'_> {
        // SAFETY: the block is mapped, and unwritten for as long as it is ours, which it is while `self` is borrowed.
        let bytes = unsafe { std::slice::from_raw_parts(self.socket.start(), self.socket.blocks.bytes) };
        let word = |at| bytes[at..].first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
        Frames { bytes, packets: word(BLOCK_PACKETS), at: word(BLOCK_FIRST) as usize }
    }
}

/// The frames of a block. What one claims is checked against the block: one that reaches out of it is the last.
pub struct Frames<'a> {
    bytes: &'a [u8],
    packets: u32,
    /// Where in the block the next one is.
    at: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Captured<'a>;

    fn next(&mut self) -> Option<Captured<'a>> {
        let frame = self.bytes.get(self.at..).filter(|frame| frame.len() >= size_of::<FrameHeader>())?;
        self.packets = self.packets.checked_sub(1)?;
        // SAFETY: as long as the header by the check; any bytes are a value.
        let header = unsafe { frame.as_ptr().cast::<FrameHeader>().read_unaligned() };
        self.at += header.next_offset as usize;
        let start = usize::from(header.net);
        Some(Captured {
            bytes: frame.get(start..start + header.captured as usize)?,
            wire_bytes: header.len as usize,
            taken: Wall(u64::from(header.sec) * 1_000_000_000 + u64::from(header.nsec)),
            is_vouched: header.status & (STATUS_CSUM_NOT_READY | STATUS_CSUM_VALID) != 0,
        })
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        // Our reads are done before the kernel may write.
        self.socket.status().store(0, Ordering::Release);
        self.socket.next = (self.socket.next + 1) % self.socket.blocks.count;
    }
}

fn bind(fd: &OwnedFd, interface: u32) -> Result<(), Refused> {
    // SAFETY: plain integers, for which all zeroes is a value.
    let mut at: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    at.sll_family = libc::AF_PACKET as u16;
    // Not of one protocol: such a tap sits behind the ingress hook and sees nothing of what is dropped there.
    at.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    at.sll_ifindex = interface as libc::c_int;
    let bytes = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives through the call and is as long as said.
    match unsafe { libc::bind(fd.as_raw_fd(), (&raw const at).cast(), bytes) } {
        0 => Ok(()),
        _ => Err(refused("bind of the packet socket")),
    }
}

fn set<T>(
    fd: &OwnedFd,
    call: &'static str,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> Result<(), Refused> {
    let bytes = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value lives through the call and is as long as said.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), bytes) }
    {
        0 => Ok(()),
        _ => Err(refused(call)),
    }
}

/// Reads an option of the packet level; `T` is integers, for which any bytes are a value.
fn get<T: Default>(fd: &OwnedFd, call: &'static str, option: libc::c_int) -> Result<T, Refused> {
    let (mut value, mut bytes) = (T::default(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the value is ours to write and as long as said.
    let done = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, (&raw mut value).cast(), &mut bytes)
    };
    if done == 0 { Ok(value) } else { Err(refused(call)) }
}

fn refused(call: &'static str) -> Refused {
    because(call, &io::Error::last_os_error())
}

fn because(call: &'static str, error: &io::Error) -> Refused {
    Refused { call, errno: error.raw_os_error().unwrap_or(libc::EIO) }
}
