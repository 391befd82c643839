//! A segment's file, from creation to the durable, renamed end.
//!
//! ```text
//!   create ▸ allocate ▸ block 0 (open) and stream header ▸ frames ... ▸ final frame ▸ truncate ▸ sync ▸ frame 0 and block 0 (closed) ▸ sync ▸ rename ▸ close
//! ```
//!
//! At most one op per file is in flight, so that what is on disk is always a prefix of what was sealed. A failed op is tried again with the
//! same bytes: no counter is ever sealed twice. Frame 0 is sealed only when every other frame is on disk, for its sizes are theirs.

use super::{Flight, Segment, Step};
use crate::base::Mono;
use crate::base::planted::{Bug, planted};
use crate::limits::*;
use crate::media::SAMPLE_RATE;
use crate::recording::wav;
use crate::ring::{Completion, Errno, Op};
use crate::seal::{AudioParams, Closing, State};
use crate::shard::Io;
use crate::sys::memory::BlockIx;

/// Frames of the tail block. The final frame is on disk before block 0 takes its place.
const TAIL_BLOCK0: usize = 0;
const TAIL_FRAME0: usize = 1;
const TAIL_FINAL: usize = 0;

impl Segment {
    /// Submits the next op, if one is due. `now_position` is the present on the timeline.
    pub fn drive(&mut self, now_position: u64, io: &mut Io<'_>) {
        self.held_back = false;
        if self.done || self.in_flight.is_some() || io.now < self.retry_at {
            return;
        }
        if self.end.is_some() && self.output.is_none() {
            // The control core owes a plan; it is waited for as long as for a failing disk.
            self.failing_since.get_or_insert(io.now);
        }
        if self.given_up(io.now) && !self.created {
            return self.release(io);
        }
        let Some((step, op)) = self.next_op(now_position, io) else { return };
        let flight = match op {
            Op::Write { block, start, len, .. } => {
                if planted(Bug::BlockReleasedEarly) && step == Step::Frames {
                    let frames = self.written + len / FRAME_BYTES as u32;
                    self.window.iter_mut().for_each(|window| window.release_below(frames, io.blocks));
                } else {
                    io.blocks.lock(block, start, len);
                }
                Some(Flight { block, start, len, since: io.now })
            }
            _ => None,
        };
        self.in_flight = Some((step, flight));
        io.outbox.push(op);
    }

    fn next_op(&mut self, now_position: u64, io: &mut Io<'_>) -> Option<(Step, Op)> {
        let file = self.file;
        if self.given_up(io.now) {
            return Some((Step::Close, Op::CloseFile { file }));
        }
        let output = self.output.as_ref()?;
        if !self.created {
            return Some((Step::Create, Op::Create { file, path: output.path.clone() }));
        }
        if self.allocated == 0 {
            return Some(self.allocate(ALLOCATE_FIRST_BYTES));
        }
        let (sealed, complete) = match &self.window {
            Some(window) => (window.sealed, self.end.is_some_and(|(frames, _)| window.sealed >= frames)),
            None => (0, false),
        };
        if sealed > self.written {
            return self.write_frames(sealed, complete, now_position, io);
        }
        if !complete {
            return None;
        }
        self.closing_op(io)
    }

    /// The write of block 0, or of the next sealed frames of one block, when it is time.
    fn write_frames(
        &mut self,
        sealed: u32,
        complete: bool,
        now_position: u64,
        io: &mut Io<'_>,
    ) -> Option<(Step, Op)> {
        let window = self.window.as_ref()?;
        if self.written < window.silent {
            return self.write_silence(complete, io);
        }
        let block_end = (self.written / BLOCK_FRAMES as u32 + 1) * BLOCK_FRAMES as u32;
        let until = sealed.min(block_end);
        // Waiting for one more frame must not make the oldest unwritten sample older than a crash may cost.
        let oldest = self.start + u64::from(self.written) * window.layout.frame_samples;
        let next_sealed_in = (window.open_from() + window.layout.frame_samples).saturating_sub(self.due);
        let age_then = now_position.saturating_sub(oldest) + next_sealed_in;
        let budget = (LOSS_AT_CRASH_MAX.as_millis() - LOSS_AT_CRASH_MARGIN.as_millis()) as u64 * 8;
        let too_late = planted(Bug::WrittenTooLate) && sealed < block_end + BLOCK_FRAMES as u32;
        if (until < block_end && age_then <= budget || too_late) && !complete {
            self.held_back = true;
            return None;
        }
        if !self.block0_written {
            return self.write_block0(io);
        }
        let offset = AUDIO_OFFSET + u64::from(self.written) * FRAME_BYTES as u64;
        let len = (until - self.written) * FRAME_BYTES as u32;
        if let Some(allocate) = self.make_room(until - self.written) {
            return Some(allocate);
        }
        let (block, index) = self.window.as_ref()?.block_of(self.written)?;
        let start = (index * FRAME_BYTES) as u32;
        Some((Step::Frames, Op::Write { file: self.file, offset, block, start, len }))
    }

    /// What the file needs before so many more frames are written, if anything.
    pub(super) fn make_room(&self, frames: u32) -> Option<(Step, Op)> {
        let end = AUDIO_OFFSET + u64::from(self.written + frames) * FRAME_BYTES as u64;
        let more = self.allocated + self.allocated.min(ALLOCATE_STEP_BYTES);
        (end > self.allocated).then(|| self.allocate(more))
    }

    fn allocate(&self, size: u64) -> (Step, Op) {
        (Step::Allocate { size }, Op::Allocate { file: self.file, size })
    }

    pub(super) fn write_block0(&mut self, io: &mut Io<'_>) -> Option<(Step, Op)> {
        let block = self.tail_block(io)?;
        let audio = self.audio();
        let output = self.output.as_mut()?;
        output.block0.audio = audio;
        output.block0.state = State::Open;
        let header = output.header;
        // The stream header goes along, with nothing yet in frame 0 behind it: without its salt `recover` could open no frame.
        let frame0 = io.blocks.frame_mut(block, TAIL_FRAME0);
        frame0.fill(0);
        frame0[..STREAM_HEADER_BYTES].copy_from_slice(&header);
        if planted(Bug::HeadSealedEarly) {
            output.sealer.seal(0, false, &mut frame0[STREAM_HEADER_BYTES..]);
        }
        self.put_block0(block, io);
        Some((Step::Block0, self.write(block, TAIL_BLOCK0, 2, 0)))
    }

    fn audio(&self) -> Option<AudioParams> {
        let layout = self.window.as_ref()?.layout;
        Some(AudioParams {
            format: layout.format,
            rate: SAMPLE_RATE,
            channels: layout.channels,
            start: self.start,
        })
    }

    fn put_block0(&self, block: BlockIx, io: &mut Io<'_>) {
        let Some(output) = &self.output else { return };
        let bytes = output.block0.encode().expect("`plan` has tried the longest it can become");
        io.blocks.frame_mut(block, TAIL_BLOCK0).copy_from_slice(&bytes);
    }

    fn write(&self, block: BlockIx, frame: usize, frames: usize, offset: u64) -> Op {
        let (start, len) = ((frame * FRAME_BYTES) as u32, (frames * FRAME_BYTES) as u32);
        Op::Write { file: self.file, offset, block, start, len }
    }

    fn tail_block(&mut self, io: &mut Io<'_>) -> Option<BlockIx> {
        if self.tail.is_none() {
            self.tail = io.blocks.acquire();
        }
        self.tail
    }

    /// The ops that close the file, in order.
    fn closing_op(&mut self, io: &mut Io<'_>) -> Option<(Step, Op)> {
        let file = self.file;
        let (frames, samples) = self.end?;
        let end_of_frames = AUDIO_OFFSET + u64::from(frames) * FRAME_BYTES as u64;
        let step = match self.next {
            Step::Final
            | Step::Truncate
            | Step::SyncFrames
            | Step::Head
            | Step::SyncHead
            | Step::Rename
            | Step::Close => self.next,
            _ => Step::Final,
        };
        let op = match step {
            Step::Final => {
                let block = self.tail_block(io)?;
                let output = self.output.as_ref()?;
                // The final frame is always empty: its nonce can never cover anything else, not even after a crash.
                let frame = io.blocks.frame_mut(block, TAIL_FINAL);
                frame.fill(0);
                output.sealer.seal(frames + 1, true, &mut frame[..TAG_BYTES]);
                self.write(block, TAIL_FINAL, 1, end_of_frames)
            }
            Step::Truncate => Op::Truncate { file, size: end_of_frames + TAG_BYTES as u64 },
            Step::SyncFrames | Step::SyncHead => Op::Sync { file },
            Step::Head => {
                let block = self.tail_block(io)?;
                self.put_head(block, frames, samples, io);
                self.write(block, TAIL_BLOCK0, 2, 0)
            }
            Step::Rename => {
                let from = self.output.as_ref()?.path.clone();
                let to = from.with_extension("");
                Op::Rename { file, from, to }
            }
            _ => Op::CloseFile { file },
        };
        Some((step, op))
    }

    /// Block 0 with its closing fields, and frame 0: a pure function of what is on disk, so that a retry and `recover` give the same bytes.
    fn put_head(&mut self, block: BlockIx, frames: u32, samples: u64, io: &mut Io<'_>) {
        let audio = self.audio();
        let (Some(output), Some(audio)) = (self.output.as_mut(), audio) else { return };
        output.block0.audio = Some(audio);
        output.block0.state = State::Closed;
        output.block0.closing = Some(Closing { frames, samples });
        let frame = io.blocks.frame_mut(block, TAIL_FRAME0);
        frame[..STREAM_HEADER_BYTES].copy_from_slice(&output.header);
        let sealed = &mut frame[STREAM_HEADER_BYTES..];
        sealed[..FRAME0_PLAIN_BYTES].copy_from_slice(&wav::header(&audio, frames));
        output.sealer.seal(0, false, sealed);
        self.put_block0(block, io);
    }

    /// Whether closing has failed for so long that the file is left to `recover`.
    fn given_up(&self, now: Mono) -> bool {
        let closing = self.end.is_some() || self.window.is_none();
        closing && self.failing_since.is_some_and(|since| now.since(since) >= CLOSE_RETRY_MAX)
    }

    /// Gives up at once: the call could not be opened.
    pub fn abandon(&mut self, io: &mut Io<'_>) {
        if self.in_flight.is_none() && !self.created {
            self.release(io);
            return;
        }
        self.end.get_or_insert((0, 0));
        self.failing_since = Some(Mono(0));
        self.retry_at = Mono(0);
    }

    /// Takes the answer to the op in flight.
    pub fn complete(&mut self, completion: &Completion<'_>, io: &mut Io<'_>) {
        let Some((step, flight)) = self.in_flight.take() else { return };
        if let Some(flight) = flight {
            io.blocks.unlock(flight.block, flight.start, flight.len);
            if step == Step::Silence {
                io.silence.give(flight.block, io.blocks);
            }
            io.stats.write_times.add(io.now.since(flight.since).as_micros() as u64);
        }
        let result = match *completion {
            Completion::Written { result, .. } => {
                result.and_then(|written| self.wrote(step, flight, written, io))
            }
            Completion::Created { result, .. }
            | Completion::Allocated { result, .. }
            | Completion::Truncated { result, .. }
            | Completion::Synced { result, .. }
            | Completion::Renamed { result, .. } => result.map(|()| true),
            _ => Ok(true),
        };
        match result {
            Ok(finished) => {
                if step != Step::Close {
                    (self.failing_since, self.failure) = (None, None);
                }
                if finished {
                    self.advance(step, io);
                }
            }
            Err(errno) => {
                if let (true, Some(flight)) = (planted(Bug::SealedAgainOnRetry), flight) {
                    self.seal_again(step, flight, io);
                }
                io.stats.write_errors += 1;
                self.failure = Some(errno);
                self.failing_since.get_or_insert(io.now);
                self.retry_at = io.now + WRITE_RETRY;
            }
        }
    }

    /// What [`Bug::SealedAgainOnRetry`] does.
    fn seal_again(&mut self, step: Step, flight: Flight, io: &mut Io<'_>) {
        if let (Step::Frames, Some(output)) = (step, &self.output) {
            let frame = io.blocks.frame_mut(flight.block, flight.start as usize / FRAME_BYTES);
            output.sealer.seal(self.written + 1, false, frame);
        }
    }

    /// Counts what was written; a short write of frames goes on behind its last whole frame, any other is done again.
    fn wrote(
        &mut self,
        step: Step,
        flight: Option<Flight>,
        bytes: u32,
        io: &mut Io<'_>,
    ) -> Result<bool, Errno> {
        io.stats.written += u64::from(bytes);
        let whole = flight.is_some_and(|flight| bytes >= flight.len);
        if matches!(step, Step::Frames | Step::Silence) {
            let frames = bytes / FRAME_BYTES as u32;
            self.written += frames;
            if frames == 0 {
                return Err(Errno(libc::ENOSPC));
            }
            return Ok(true);
        }
        if whole { Ok(true) } else { Err(Errno(libc::ENOSPC)) }
    }

    fn advance(&mut self, step: Step, io: &mut Io<'_>) {
        match step {
            Step::Create => self.created = true,
            Step::Allocate { size } => self.allocated = size,
            Step::Block0 => {
                self.block0_written = true;
                self.tail.take().into_iter().for_each(|block| io.blocks.release(block));
            }
            Step::Frames | Step::Silence => {
                if let Some(window) = &mut self.window {
                    window.release_below(self.written, io.blocks);
                }
            }
            Step::Final => self.next = Step::Truncate,
            Step::Truncate if planted(Bug::RenamedBeforeSync) => self.next = Step::Head,
            Step::Head if planted(Bug::RenamedBeforeSync) => self.next = Step::Rename,
            Step::Truncate => self.next = Step::SyncFrames,
            Step::SyncFrames => self.next = Step::Head,
            Step::Head => self.next = Step::SyncHead,
            Step::SyncHead => self.next = Step::Rename,
            Step::Rename => self.next = Step::Close,
            Step::Close => self.release(io),
        }
    }

    fn release(&mut self, io: &mut Io<'_>) {
        if let Some(window) = &mut self.window {
            window.release_all(io.blocks);
        }
        if let Some(block) = self.tail.take().filter(|_| !planted(Bug::BlockLeaked)) {
            io.blocks.release(block);
        }
        self.done = true;
    }
}
