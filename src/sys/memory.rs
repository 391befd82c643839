//! The shard's block pool: one aligned mapping, handed out in blocks of 8 KiB by index.
//!
//! A block is filled, sealed in place and written from where it lies. While a write is in flight the kernel reads the frames it covers, and
//! the shard may go on filling the *other* frames of the block; which frames are the kernel's is tracked here and checked.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use crate::limits::{BLOCK_BYTES, BLOCK_FRAMES, FRAME_BYTES};

/// Pages of our own, zeroed, or the kernel's; kept out of core files (they may hold audio) and unmapped when dropped.
pub struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is owned and has no tie to a thread; access goes through whoever holds it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps at least one byte; the pages are touched only when used.
    pub fn new(bytes: usize) -> std::io::Result<Mapping> {
        Mapping::map(bytes.max(1), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    /// Maps what the kernel shares through `descriptor`: a packet ring, a BPF array. It lives on when the descriptor is closed.
    pub fn shared(descriptor: BorrowedFd<'_>, bytes: usize) -> std::io::Result<Mapping> {
        Mapping::map(bytes, libc::MAP_SHARED, descriptor.as_raw_fd())
    }

    fn map(bytes: usize, flags: libc::c_int, descriptor: libc::c_int) -> std::io::Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, descriptor, 0) };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // Best effort: an old kernel without the advice still records.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(base, bytes, libc::MADV_DONTDUMP) };
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| std::io::Error::other("mmap gave null"))?;
        Ok(Mapping { base, bytes })
    }

    /// Where it starts: page aligned, valid until dropped.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, unmapped once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A block of the pool. Blocks with consecutive numbers lie behind each other, so that a write may cover several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockIx(pub u32);

/// The pool. Fixed at start; acquiring and releasing never allocate.
///
/// The kernel may read frames in flight: a ring is dropped before its pool (the shard's field order).
pub struct BlockPool {
    memory: Mapping,
    blocks: u32,
    free: Vec<u32>,
    /// Per block, a bit for each frame that a write in flight covers.
    in_flight: Vec<u8>,
}

impl BlockPool {
    /// Maps `blocks` blocks of zeroed memory, in pages of 2 MiB where the system allows it. They are touched only when used.
    pub fn new(blocks: u32) -> std::io::Result<BlockPool> {
        let memory = Mapping::new(BLOCK_BYTES * blocks.max(1) as usize)?;
        // Best effort. With thousands of calls each packet is in another page, and of small ones the processor does not know all the addresses.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(memory.as_ptr().cast(), memory.bytes(), libc::MADV_HUGEPAGE) };
        Ok(BlockPool {
            memory,
            blocks: blocks.max(1),
            free: (0..blocks.max(1)).rev().collect(),
            in_flight: vec![0; blocks.max(1) as usize],
        })
    }

    /// Takes a free block; its content is whatever it held last.
    pub fn acquire(&mut self) -> Option<BlockIx> {
        self.free.pop().map(BlockIx)
    }

    /// Gives a block back.
    ///
    /// # Panics
    /// If a write of it is in flight or it was free already: the shard has lost count, and going on could seal over live data.
    pub fn release(&mut self, block: BlockIx) {
        assert_eq!(self.in_flight[block.0 as usize], 0, "released block {block:?} while being written");
        assert!(self.free.len() < self.blocks as usize, "released more blocks than there are");
        self.free.push(block.0);
    }

    /// Blocks in all.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Blocks free now.
    pub fn free(&self) -> u32 {
        self.free.len() as u32
    }

    /// Frame `frame` of `block`.
    pub fn frame(&self, block: BlockIx, frame: usize) -> &[u8; FRAME_BYTES] {
        let at = self.offset(block, frame);
        // SAFETY: in bounds by `offset`; `&self` keeps every `frame_mut` away, and the kernel only reads.
        unsafe { &*self.memory.as_ptr().add(at).cast() }
    }

    /// Frame `frame` of `block`, to fill.
    ///
    /// # Panics
    /// If a write in flight covers it.
    pub fn frame_mut(&mut self, block: BlockIx, frame: usize) -> &mut [u8; FRAME_BYTES] {
        let at = self.offset(block, frame);
        assert_eq!(
            self.in_flight[block.0 as usize] & (1 << frame),
            0,
            "{block:?} frame {frame} is being written"
        );
        // SAFETY: in bounds by `offset`; `&mut self` keeps every other reference away, and no write in flight covers the frame.
        unsafe { &mut *self.memory.as_ptr().add(at).cast() }
    }

    /// Whole frames `[start, start + len)` in bytes, as a write takes them.
    pub fn bytes(&self, block: BlockIx, start: u32, len: u32) -> &[u8] {
        let at = self.offset(block, 0) + start as usize;
        assert!(at + len as usize <= self.blocks as usize * BLOCK_BYTES, "a write goes past the pool");
        // SAFETY: in bounds by the assertion; shared like `frame`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(at), len as usize) }
    }

    /// Marks the frames of a write as the kernel's, from submission until [`BlockPool::unlock`].
    pub fn lock(&mut self, block: BlockIx, start: u32, len: u32) {
        for (block, mask) in frames_of(block, start, len) {
            assert_eq!(self.in_flight[block] & mask, 0, "block {block} is written twice at once");
            self.in_flight[block] |= mask;
        }
    }

    /// The write has completed.
    pub fn unlock(&mut self, block: BlockIx, start: u32, len: u32) {
        frames_of(block, start, len).for_each(|(block, mask)| self.in_flight[block] &= !mask);
    }

    /// The whole mapping, for a ring that registers it with the kernel: address and length in bytes.
    pub fn region(&self) -> (*mut u8, usize) {
        (self.memory.as_ptr(), self.memory.bytes())
    }

    fn offset(&self, block: BlockIx, frame: usize) -> usize {
        assert!(block.0 < self.blocks && frame < BLOCK_FRAMES, "no frame {frame} of {block:?}");
        block.0 as usize * BLOCK_BYTES + frame * FRAME_BYTES
    }
}

/// Block and bit of each frame that a write covers.
fn frames_of(block: BlockIx, start: u32, len: u32) -> impl Iterator<Item = (usize, u8)> {
    let first = start as usize / FRAME_BYTES;
    let frames = first..first + (len as usize).div_ceil(FRAME_BYTES);
    frames.map(move |frame| (block.0 as usize + frame / BLOCK_FRAMES, 1 << (frame % BLOCK_FRAMES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_disjoint_and_come_home() {
        let mut pool = BlockPool::new(2).unwrap();
        let (a, b) = (pool.acquire().unwrap(), pool.acquire().unwrap());
        assert_eq!(pool.acquire(), None);
        assert_eq!(pool.region().0 as usize % FRAME_BYTES, 0);
        pool.frame_mut(a, 1).fill(1);
        pool.frame_mut(b, 0).fill(2);
        assert!(pool.frame(a, 1).iter().all(|&byte| byte == 1));
        pool.release(a);
        pool.release(b);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn a_write_may_cover_blocks_that_lie_behind_each_other() {
        let mut pool = BlockPool::new(3).unwrap();
        let first = pool.acquire().unwrap();
        let (second, third) = (pool.acquire().unwrap(), pool.acquire().unwrap());
        pool.frame_mut(second, 0).fill(7);
        pool.lock(first, 4096, 8192);
        assert!(pool.bytes(first, 4096, 8192)[4096..].iter().all(|&byte| byte == 7));
        pool.frame_mut(first, 0).fill(1);
        pool.frame_mut(second, 1).fill(1);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.release(second))).is_err());
        pool.unlock(first, 4096, 8192);
        [first, second, third].into_iter().for_each(|block| pool.release(block));
        assert_eq!(pool.free(), 3);
    }

    #[test]
    #[should_panic(expected = "is being written")]
    fn a_frame_in_flight_cannot_be_filled() {
        let mut pool = BlockPool::new(1).unwrap();
        let block = pool.acquire().unwrap();
        pool.lock(block, 4096, 4096);
        pool.frame_mut(block, 0).fill(0);
        pool.frame_mut(block, 1).fill(0);
    }
}
