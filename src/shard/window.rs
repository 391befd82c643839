//! The window: the unsealed stretch of a segment's timeline, as blocks that packets are copied into and frames are sealed in.
//!
//! ```text
//!   frames   ... | sealed, to be written | being filled ............ |
//!   blocks       [  b0: f f f f ][  b1: f f f f ][  b2: f f f f ]
//!                        ^ sealed      ^ now - horizon      ^ now + what is ahead
//! ```
//!
//! A sample is copied once, interleaved with the other tracks, to where it is sealed and written from. A bit per sample tells what
//! is covered; the first packet to cover a sample keeps it. While nothing comes the window is empty: silent frames are only counted.
//! Leaves out files: that is `segment`.

use std::collections::VecDeque;

use crate::base::planted::{Bug, planted};
use crate::limits::{BLOCK_FRAMES, CALL_BLOCKS_MAX, FRAME_PLAIN_BYTES};
use crate::media::{ALAW_TO_LINEAR, MULAW_TO_LINEAR, SampleFormat, Track};
use crate::seal::FrameSealer;
use crate::sys::cache;
use crate::sys::memory::{BlockIx, BlockPool};

/// Coverage words of one frame: 4,080 bits at most, rounded up per track (6 tracks of 680 samples need 66 words).
const FRAME_WORDS: usize = 66;

/// Which samples of each block of the pool are covered; by block index.
pub struct Coverage(Vec<[[u64; FRAME_WORDS]; BLOCK_FRAMES]>);

impl Coverage {
    /// Coverage of a pool of `blocks`; its pages are touched only when used.
    pub fn new(blocks: u32) -> Coverage {
        Coverage(vec![[[0; FRAME_WORDS]; BLOCK_FRAMES]; blocks as usize])
    }
}

/// How a segment lays samples into frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// How a sample is stored.
    pub format: SampleFormat,
    /// Channels stored. Seven tracks get an eighth, silent channel, so that a frame holds a whole number of samples.
    pub channels: u16,
    /// Samples of each track in a frame.
    pub frame_samples: u64,
    words: usize,
}

impl Layout {
    /// The layout of `tracks` tracks.
    pub fn new(format: SampleFormat, tracks: usize) -> Layout {
        let channels = if tracks == 7 { 8 } else { tracks };
        let frame_samples = FRAME_PLAIN_BYTES / (channels * format.bytes());
        debug_assert_eq!(frame_samples * channels * format.bytes(), FRAME_PLAIN_BYTES);
        Layout {
            format,
            channels: channels as u16,
            frame_samples: frame_samples as u64,
            words: frame_samples.div_ceil(64),
        }
    }

    fn track_words(&self, track: usize) -> std::ops::Range<usize> {
        track * self.words..(track + 1) * self.words
    }
}

/// What became of the samples of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    /// Copied into place.
    pub placed: u64,
    /// Their place was sealed: these first samples of the packet.
    pub late: u64,
    /// Their place was covered already.
    pub overlap: u64,
    /// No block for them: these last samples of the packet.
    pub overflow: u64,
}

/// The window of one segment.
pub struct Window {
    /// How samples are laid out.
    pub layout: Layout,
    /// Position of the segment's first sample.
    pub start: u64,
    /// Frames that are closed: sealed in their block, or silent.
    pub sealed: u32,
    /// Frames below it that are not on disk are silent throughout and have no block. All others have one.
    pub silent: u32,
    blocks: VecDeque<BlockIx>,
    /// Number, within the segment, of the first of `blocks`.
    first_block: u32,
}

impl Window {
    /// An empty window at `start`.
    pub fn new(layout: Layout, start: u64) -> Window {
        let blocks = VecDeque::with_capacity(CALL_BLOCKS_MAX);
        Window { layout, start, sealed: 0, silent: 0, blocks, first_block: 0 }
    }

    /// Position of the first sample that is not sealed.
    pub fn open_from(&self) -> u64 {
        self.start + u64::from(self.sealed) * self.layout.frame_samples
    }

    /// Whether it holds no block: nothing has come since all that had come was written.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Closes the next frame, for which nothing has come, without giving it a block. Like sealing it, but that is left for later.
    pub fn pass_next(&mut self, tracks: &mut [Track], end: u64) {
        debug_assert!(self.is_empty());
        let from = self.open_from();
        let to = end.min(from + self.layout.frame_samples);
        if from < to {
            tracks.iter_mut().for_each(|track| track.uncovered(from, to));
        }
        self.sealed += 1;
        self.silent = self.sealed;
        self.first_block = self.sealed / BLOCK_FRAMES as u32;
    }

    /// Fetches the list of its blocks into the cache.
    pub fn fetch(&self) {
        cache::fetch(self.blocks.as_slices().0);
    }

    /// Fetches what placing `samples` samples at `position` of `track` will touch.
    pub fn fetch_place(
        &self,
        (pool, coverage): (&BlockPool, &Coverage),
        track: usize,
        position: u64,
        samples: usize,
    ) {
        let at = position.saturating_sub(self.start);
        let frame = u32::try_from(at / self.layout.frame_samples).unwrap_or(u32::MAX);
        let Some((block, index)) = self.block_of(frame) else { return };
        let first = (at % self.layout.frame_samples) as usize;
        let covered = &coverage.0[block.0 as usize][index];
        cache::fetch(&covered[track * self.layout.words + first / 64]);
        let bytes = self.layout.channels as usize * self.layout.format.bytes();
        let end = (first + samples).min(self.layout.frame_samples as usize);
        cache::fetch(&pool.frame(block, index)[first * bytes..end * bytes]);
    }

    /// The block that holds `frame`, if it is in the window.
    pub fn block_of(&self, frame: u32) -> Option<(BlockIx, usize)> {
        let number = (frame / BLOCK_FRAMES as u32).checked_sub(self.first_block)?;
        Some((*self.blocks.get(number as usize)?, frame as usize % BLOCK_FRAMES))
    }

    /// Copies a packet's samples to `position` of `track`.
    pub fn place(
        &mut self,
        (pool, coverage): (&mut BlockPool, &mut Coverage),
        track: usize,
        position: i64,
        law: SampleFormat,
        payload: &[u8],
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let mut open_from = self.open_from() as i64;
        if planted(Bug::LateOverSealed) && self.sealed > 0 {
            open_from -= self.layout.frame_samples as i64;
        }
        let swapped = planted(Bug::ChannelSwapped) && self.layout.channels == 2 && position % 64 == 0;
        let track = if swapped { 1 - track } else { track };
        let skip = (open_from - position).clamp(0, payload.len() as i64);
        outcome.late = skip as u64;
        let mut rest = &payload[skip as usize..];
        let mut at = (position + skip).max(open_from) as u64 - self.start;
        while !rest.is_empty() {
            let frame = at / self.layout.frame_samples;
            let first = at % self.layout.frame_samples;
            let here = rest.len().min((self.layout.frame_samples - first) as usize);
            let Some((block, index)) =
                u32::try_from(frame).ok().and_then(|frame| self.reach(frame, pool, coverage))
            else {
                outcome.overflow = rest.len() as u64;
                return outcome;
            };
            let covered = &mut coverage.0[block.0 as usize][index][self.layout.track_words(track)];
            let bytes = pool.frame_mut(block, index);
            let (samples, first) = (&rest[..here], first as usize);
            if mark(covered, first, here) {
                copy(&mut bytes[..FRAME_PLAIN_BYTES], &self.layout, track, first, law, samples);
                outcome.placed += here as u64;
            } else {
                let placed = copy_uncovered(bytes, covered, &self.layout, track, first, law, samples);
                outcome.placed += placed;
                outcome.overlap += here as u64 - placed;
            }
            rest = &rest[here..];
            at += here as u64;
        }
        outcome
    }

    /// Makes sure that the window has the block of `frame`, filled with silence when it is new.
    fn reach(
        &mut self,
        frame: u32,
        pool: &mut BlockPool,
        coverage: &mut Coverage,
    ) -> Option<(BlockIx, usize)> {
        let number = (frame / BLOCK_FRAMES as u32).checked_sub(self.first_block)? as usize;
        if number >= CALL_BLOCKS_MAX {
            return None;
        }
        while self.blocks.len() <= number {
            let block = pool.acquire()?;
            for index in 0..BLOCK_FRAMES {
                pool.frame_mut(block, index).fill(self.layout.format.silence());
            }
            coverage.0[block.0 as usize] = [[0; FRAME_WORDS]; BLOCK_FRAMES];
            self.blocks.push_back(block);
        }
        Some((self.blocks[number], frame as usize % BLOCK_FRAMES))
    }

    /// Seals the next frame in place and tells the tracks which of its samples nobody sent, up to position `end`. False if there is no block for it.
    pub fn seal_next(
        &mut self,
        (pool, coverage): (&mut BlockPool, &mut Coverage),
        sealer: &FrameSealer,
        tracks: &mut [Track],
        end: u64,
    ) -> bool {
        let Some((block, index)) = self.reach(self.sealed, pool, coverage) else {
            return false;
        };
        let from = self.open_from();
        let length = self.layout.frame_samples.min(end.saturating_sub(from)) as usize;
        for (number, track) in tracks.iter_mut().enumerate() {
            let covered = &coverage.0[block.0 as usize][index][self.layout.track_words(number)];
            uncovered(covered, length, |start, end| track.uncovered(from + start as u64, from + end as u64));
        }
        // Counter 0 is the header's; a counter is sealed once, here, and the frame never touched again.
        sealer.seal(self.sealed + 1, false, pool.frame_mut(block, index));
        self.sealed += 1;
        true
    }

    /// Gives back the blocks whose frames are all below `frame`.
    pub fn release_below(&mut self, frame: u32, pool: &mut BlockPool) {
        while (self.first_block + 1) * BLOCK_FRAMES as u32 <= frame {
            let Some(block) = self.blocks.pop_front() else { return };
            pool.release(block);
            self.first_block += 1;
        }
    }

    /// Gives back every block. No write may be in flight.
    pub fn release_all(&mut self, pool: &mut BlockPool) {
        while let Some(block) = self.blocks.pop_front() {
            pool.release(block);
        }
    }

    /// Gives back the blocks that hold no sealed frame.
    pub fn release_unsealed(&mut self, pool: &mut BlockPool) {
        let keep = self.sealed.div_ceil(BLOCK_FRAMES as u32).saturating_sub(self.first_block) as usize;
        while self.blocks.len() > keep {
            self.blocks.pop_back().into_iter().for_each(|block| pool.release(block));
        }
    }

    /// Blocks that a window of `layout` needs to take over what this one holds unsealed of `tracks` tracks.
    pub fn blocks_to_move(&self, layout: &Layout, coverage: &Coverage, tracks: usize) -> usize {
        let samples = self.covered_until(coverage, tracks).saturating_sub(self.open_from());
        (samples.div_ceil(layout.frame_samples) as usize).div_ceil(BLOCK_FRAMES)
    }

    /// Position behind the last unsealed sample that anything has come for.
    fn covered_until(&self, coverage: &Coverage, tracks: usize) -> u64 {
        let behind = (self.first_block + self.blocks.len() as u32) * BLOCK_FRAMES as u32;
        let last = (self.sealed..behind).rev().find_map(|frame| {
            let (block, index) = self.block_of(frame)?;
            let covered = &coverage.0[block.0 as usize][index];
            let ends = (0..tracks).filter_map(|track| last_covered(&covered[self.layout.track_words(track)]));
            Some(self.start + u64::from(frame) * self.layout.frame_samples + ends.max()? as u64 + 1)
        });
        last.unwrap_or(0)
    }

    /// Copies one sample of a window that is linear already: PCM16 holds everything, and stays what it is.
    fn place_linear(
        &mut self,
        (pool, coverage): (&mut BlockPool, &mut Coverage),
        track: usize,
        position: u64,
        sample: [u8; 2],
    ) {
        debug_assert_eq!(self.layout.format, SampleFormat::Pcm16);
        let Some(at) = position.checked_sub(self.start) else { return };
        let (frame, first) = (at / self.layout.frame_samples, (at % self.layout.frame_samples) as usize);
        let frame = u32::try_from(frame).ok();
        let room = frame.and_then(|frame| self.reach(frame, pool, coverage));
        let (block, index) = room.expect("blocks were counted before");
        let covered = &mut coverage.0[block.0 as usize][index][self.layout.track_words(track)];
        if mark(covered, first, 1) {
            let at = (first * self.layout.channels as usize + track) * 2;
            pool.frame_mut(block, index)[at..at + 2].copy_from_slice(&sample);
        }
    }

    /// Copies what `old` holds unsealed into this window, sample by sample: a change of format is rare. There have to be
    /// [`Window::blocks_to_move`] for it: what was counted as placed stays.
    pub fn take_over(
        &mut self,
        old: &Window,
        (pool, coverage): (&mut BlockPool, &mut Coverage),
        tracks: usize,
    ) {
        let layout = old.layout;
        let last = (old.first_block + old.blocks.len() as u32) * BLOCK_FRAMES as u32;
        for frame in old.sealed..last {
            let Some((block, index)) = old.block_of(frame) else { continue };
            let from = old.start + u64::from(frame) * layout.frame_samples;
            for track in 0..tracks {
                let shifted = planted(Bug::LayoutShifted) && layout.channels != self.layout.channels;
                let to = if shifted { track + 1 } else { track };
                for sample in 0..layout.frame_samples as usize {
                    let word = coverage.0[block.0 as usize][index][track * layout.words + sample / 64];
                    if word & (1 << (sample % 64)) == 0 {
                        continue;
                    }
                    let position = from + sample as u64;
                    let at = sample * layout.channels as usize + track;
                    let frame = pool.frame(block, index);
                    if layout.format == SampleFormat::Pcm16 {
                        let linear = [frame[2 * at], frame[2 * at + 1]];
                        self.place_linear((&mut *pool, &mut *coverage), to, position, linear);
                    } else {
                        let byte = [frame[at]];
                        let room = (&mut *pool, &mut *coverage);
                        let outcome = self.place(room, to, position as i64, layout.format, &byte);
                        assert_eq!(outcome.overflow, 0, "blocks were counted before");
                    }
                }
            }
        }
    }
}

/// Marks `[first, first + length)` as covered if none of it was; else leaves it and says false.
fn mark(covered: &mut [u64], first: usize, length: usize) -> bool {
    let masks = || {
        let (mut at, end) = (first, first + length);
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let (word, bit) = (at / 64, at % 64);
                let bits = (64 - bit).min(end - at);
                at += bits;
                (word, (u64::MAX >> (64 - bits)) << bit)
            })
        })
    };
    if masks().any(|(word, mask)| covered[word] & mask != 0) {
        return false;
    }
    masks().for_each(|(word, mask)| covered[word] |= mask);
    true
}

/// The last sample that is covered.
fn last_covered(covered: &[u64]) -> Option<usize> {
    let word = covered.iter().rposition(|&word| word != 0)?;
    Some(word * 64 + 63 - covered[word].leading_zeros() as usize)
}

/// Calls `tell` for each stretch of `[0, length)` that is not covered.
fn uncovered(covered: &[u64], length: usize, mut tell: impl FnMut(usize, usize)) {
    let mut at = 0;
    while at < length {
        let ones = run(covered, at, length, true);
        let start = at + ones;
        let zeros = run(covered, start, length, false);
        if zeros > 0 {
            tell(start, start + zeros);
        }
        at = start + zeros;
    }
}

/// How many bits from `at` on equal `set`, up to `length`.
fn run(covered: &[u64], mut at: usize, length: usize, set: bool) -> usize {
    let from = at;
    while at < length {
        let word = if set { !covered[at / 64] } else { covered[at / 64] } >> (at % 64);
        let bits = (word.trailing_zeros() as usize).min(64 - at % 64);
        at += bits;
        if bits < 64 - (at - bits) % 64 {
            break;
        }
    }
    at.min(length) - from
}

/// Copies `samples` to every `channels`-th sample of the frame. The hot loop of the product: one store per sample.
fn copy(frame: &mut [u8], layout: &Layout, track: usize, first: usize, law: SampleFormat, samples: &[u8]) {
    let channels = layout.channels as usize;
    if layout.format == SampleFormat::Pcm16 {
        let linear = if law == SampleFormat::Alaw { &ALAW_TO_LINEAR } else { &MULAW_TO_LINEAR };
        let out = frame[(first * channels + track) * 2..].chunks_mut(channels * 2);
        for (out, &sample) in out.zip(samples) {
            out[..2].copy_from_slice(&linear[usize::from(sample)].to_le_bytes());
        }
        return;
    }
    let samples_out = &mut frame[first * channels..];
    match channels {
        1 => samples_out[..samples.len()].copy_from_slice(samples),
        2 => copy_pairs(samples_out.as_chunks_mut().0, track, samples),
        _ => samples_out.chunks_mut(channels).zip(samples).for_each(|(out, &sample)| out[track] = sample),
    }
}

/// Two tracks: both bytes of a pair are read and written, one of them changed, which the compiler turns into vectors; one store
/// per byte would stay scalar.
fn copy_pairs(pairs: &mut [[u8; 2]], track: usize, samples: &[u8]) {
    let pairs = &mut pairs[..samples.len()];
    if track == 0 {
        pairs.iter_mut().zip(samples).for_each(|(pair, &sample)| *pair = [sample, pair[1]]);
    } else {
        pairs.iter_mut().zip(samples).for_each(|(pair, &sample)| *pair = [pair[0], sample]);
    }
}

/// The slow way, where some of the samples are covered already: only the others are copied.
fn copy_uncovered(
    frame: &mut [u8],
    covered: &mut [u64],
    layout: &Layout,
    track: usize,
    first: usize,
    law: SampleFormat,
    samples: &[u8],
) -> u64 {
    let mut placed = 0;
    for (index, sample) in samples.iter().enumerate() {
        if mark(covered, first + index, 1) {
            copy(&mut frame[..FRAME_PLAIN_BYTES], layout, track, first + index, law, &[*sample]);
            placed += 1;
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{DataKey, StreamSeed};
    use proptest::prelude::*;

    fn sealer() -> FrameSealer {
        FrameSealer::new(&DataKey::new([7; 32]), &StreamSeed { salt: [1; 32], nonce_prefix: [2; 7] }, b"test")
    }

    #[test]
    fn every_track_count_fills_frames_with_whole_samples() {
        for tracks in 1..=crate::limits::TRACKS_MAX {
            for format in [SampleFormat::Mulaw, SampleFormat::Alaw, SampleFormat::Pcm16] {
                let layout = Layout::new(format, tracks);
                let bytes = layout.frame_samples as usize * layout.channels as usize * format.bytes();
                assert_eq!(bytes, FRAME_PLAIN_BYTES);
                assert!(layout.words * layout.channels as usize <= FRAME_WORDS);
            }
        }
    }

    #[test]
    fn the_first_packet_keeps_a_sample_and_late_ones_are_told_apart() {
        let (mut pool, mut coverage) = (BlockPool::new(4).unwrap(), Coverage::new(4));
        let mut window = Window::new(Layout::new(SampleFormat::Mulaw, 2), 1000);
        let mut place = |window: &mut Window, position, payload: &[u8]| {
            window.place((&mut pool, &mut coverage), 1, position, SampleFormat::Mulaw, payload)
        };
        assert_eq!(place(&mut window, 1000, &[1; 160]), Outcome { placed: 160, ..Outcome::default() });
        let again = place(&mut window, 1080, &[2; 160]);
        assert_eq!(again, Outcome { placed: 80, overlap: 80, ..Outcome::default() });
        let early = place(&mut window, 900, &[3; 160]);
        assert_eq!(early, Outcome { late: 100, overlap: 60, ..Outcome::default() });
        let (block, index) = window.block_of(0).unwrap();
        let frame = pool.frame(block, index);
        assert_eq!((frame[1], frame[2 * 159 + 1], frame[2 * 160 + 1], frame[0]), (1, 1, 2, 0xff));
        let far = 1000 + 2040 * (CALL_BLOCKS_MAX * BLOCK_FRAMES) as i64;
        let outcome = window.place((&mut pool, &mut coverage), 0, far, SampleFormat::Mulaw, &[4; 160]);
        assert_eq!(outcome.overflow, 160);
    }

    #[test]
    fn sealing_tells_what_nobody_sent() {
        let (mut pool, mut coverage) = (BlockPool::new(2).unwrap(), Coverage::new(2));
        let mut window = Window::new(Layout::new(SampleFormat::Alaw, 1), 0);
        window.place((&mut pool, &mut coverage), 0, 160, SampleFormat::Alaw, &[1; 160]);
        let mut track = Track::new(0, 1600);
        assert!(window.seal_next(
            (&mut pool, &mut coverage),
            &sealer(),
            std::slice::from_mut(&mut track),
            u64::MAX
        ));
        track.finish();
        let mut told = Vec::new();
        track.take_settled(|interval| {
            told.push((interval.start, interval.end));
            true
        });
        assert_eq!(told, [(0, 160), (320, 4080)]);
        window.release_all(&mut pool);
        assert_eq!(pool.free(), 2);
    }

    proptest! {
        #[test]
        fn coverage_agrees_with_a_plain_list_of_booleans(
            marks in prop::collection::vec((0usize..500, 1usize..200), 0..12),
            length in 1usize..700,
        ) {
            let mut words = [0u64; 11];
            let mut model = [false; 704];
            for (first, count) in marks {
                let free = !model[first..first + count].contains(&true);
                prop_assert_eq!(mark(&mut words, first, count), free);
                if free {
                    model[first..first + count].fill(true);
                }
            }
            let mut silent = [false; 704];
            uncovered(&words, length, |start, end| {
                assert!(start < end && end <= length);
                silent[start..end].fill(true);
            });
            for at in 0..length {
                prop_assert_eq!(silent[at], !model[at], "at {}", at);
            }
        }
    }
}
