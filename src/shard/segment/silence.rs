//! Silence that a file is owed: frames for which nothing came are counted, and sealed and written many at a time.
//!
//! ```text
//!   on disk | silent, owed ....................... | in blocks: sealed, being filled
//!           ^ written                              ^ window.silent
//! ```
//!
//! They are owed until they are many, until audio has come behind them, or until the segment ends. Each is sealed once, in its turn: the file is
//! what it would have been. A crash costs what is owed: silence, of which recovery knows only how long it can have been at most. The memory to
//! seal it in is the shard's, not the call's.

use super::{Segment, Step};
use crate::base::planted::{Bug, planted};
use crate::limits::*;
use crate::ring::Op;
use crate::shard::Io;
use crate::sys::memory::{BlockIx, BlockPool};

/// Blocks of the pool that make up a large one.
const LARGE: u32 = SILENCE_FRAMES / BLOCK_FRAMES as u32;
/// So many files whose turn comes with the same frame take theirs one after the other.
const TURNS: u64 = 16;

/// The large blocks of a shard.
pub struct SilenceBlocks {
    count: u32,
    pub(in crate::shard) free: Vec<BlockIx>,
}

impl SilenceBlocks {
    /// Blocks of the pool that a shard for so many calls needs for it.
    pub fn blocks(calls_max: u32) -> u32 {
        (calls_max as usize / CALLS_PER_SILENCE_BLOCK).clamp(1, SILENCE_BLOCKS_MAX) as u32 * LARGE
    }

    /// Takes them from a pool of which nothing has been taken yet, so that its blocks come in their order.
    pub fn new(calls_max: u32, pool: &mut BlockPool) -> SilenceBlocks {
        let count = SilenceBlocks::blocks(calls_max);
        for number in 0..count {
            assert_eq!(pool.acquire(), Some(BlockIx(number)), "the pool was made for them");
        }
        SilenceBlocks { count, free: (0..count).step_by(LARGE as usize).map(BlockIx).collect() }
    }

    /// Blocks of the pool that they are made of.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Those of them that are free.
    pub fn free(&self) -> u32 {
        self.free.len() as u32 * LARGE
    }

    /// Takes back what silence was written from: a large block, or one of the pool.
    pub fn give(&mut self, block: BlockIx, pool: &mut BlockPool) {
        if block.0 < self.count { self.free.push(block) } else { pool.release(block) }
    }
}

impl Segment {
    /// Up to which position time has to pass before the silence behind frame `from` is written. Files take turns, by frames and within a frame.
    pub(super) fn silence_due(&self, from: u32) -> Option<u64> {
        let frame_samples = self.window.as_ref()?.layout.frame_samples;
        let (file, first) = (self.file.0, from + 1);
        let last = first + (file % SILENCE_FRAMES + SILENCE_FRAMES - first % SILENCE_FRAMES) % SILENCE_FRAMES;
        let turn = u64::from(file / SILENCE_FRAMES) % TURNS;
        Some(self.start + u64::from(last) * frame_samples + turn * frame_samples / TURNS)
    }

    /// The write of silent frames, if it is time. With nothing behind them it waits for a large block; otherwise any will do.
    pub(super) fn write_silence(&mut self, complete: bool, io: &mut Io<'_>) -> Option<(Step, Op)> {
        if !self.block0_written {
            return self.write_block0(io);
        }
        let window = self.window.as_ref()?;
        if planted(Bug::SilenceForgotten) && !window.is_empty() {
            self.written = window.silent;
            return None;
        }
        let awaited = complete || !window.is_empty() && !planted(Bug::AudioBehindSilence);
        if !awaited && self.due < self.silence_due(self.written)? {
            self.held_back = true;
            return None;
        }
        let (owed, silence) = (window.silent - self.written, window.layout.format.silence());
        let frames = owed.min(SILENCE_FRAMES);
        if let Some(allocate) = self.make_room(frames) {
            return Some(allocate);
        }
        let (block, frames) = match io.silence.free.pop() {
            Some(large) => (large, frames),
            None if awaited => (io.blocks.acquire()?, frames.min(BLOCK_FRAMES as u32)),
            None => return None,
        };
        let sealer = &self.output.as_ref()?.sealer;
        for number in 0..frames {
            let (at, index) = (number / BLOCK_FRAMES as u32, number as usize % BLOCK_FRAMES);
            let frame = io.blocks.frame_mut(BlockIx(block.0 + at), index);
            frame.fill(silence);
            // A write that fails is done anew with the same bytes: under this counter there can be no others.
            sealer.seal(self.written + number + 1, false, frame);
        }
        let offset = AUDIO_OFFSET + u64::from(self.written) * FRAME_BYTES as u64;
        let len = frames * FRAME_BYTES as u32;
        Some((Step::Silence, Op::Write { file: self.file, offset, block, start: 0, len }))
    }
}
