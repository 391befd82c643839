//! One segment: its window, and its file from creation to the durable, renamed end.
//!
//! ```text
//!   create ▸ allocate ▸ block 0 (open) and stream header ▸ frames ... ▸ final frame ▸ truncate ▸ sync ▸ frame 0 and block 0 (closed) ▸ sync ▸ rename ▸ close
//! ```
//!
//! At most one op per file is in flight, so that what is on disk is always a prefix of what was sealed. A failed op is tried again with the
//! same bytes: no counter is ever sealed twice. Frame 0 is sealed only when every other frame is on disk, for its sizes are theirs.

use std::path::PathBuf;

use super::Io;
use super::window::{Layout, Window};
use crate::base::{Mono, SegmentNumber};
use crate::limits::*;
use crate::link::{SegmentPlan, SegmentReport};
use crate::media::{SAMPLE_RATE, SampleFormat, Track};
use crate::recording::wav;
use crate::ring::{Completion, Errno, FileIx, Op};
use crate::seal::{AudioParams, Block0, Closing, FrameSealer, State};
use crate::sys::memory::BlockIx;

/// What the file waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Create,
    Allocate { size: u64 },
    Block0,
    Frames,
    Final,
    Truncate,
    SyncFrames,
    Head,
    SyncHead,
    Rename,
    Close,
}

/// A write in flight.
#[derive(Clone, Copy)]
struct Flight {
    block: BlockIx,
    start: u32,
    len: u32,
}

/// How the file is written once its plan is known.
struct Output {
    path: PathBuf,
    block0: Box<Block0>,
    sealer: FrameSealer,
    header: [u8; STREAM_HEADER_BYTES],
}

/// One segment.
pub struct Segment {
    number: SegmentNumber,
    /// The file slot.
    pub file: FileIx,
    output: Option<Output>,
    /// `None` until the format is decided.
    window: Option<Window>,
    /// Position of the first sample.
    pub start: u64,
    created: bool,
    allocated: u64,
    block0_written: bool,
    /// Frames on disk.
    written: u32,
    /// Known at the end: frames of audio, and samples that belong to the recording.
    end: Option<(u32, u64)>,
    /// At the end: block 0, frame 0 and the final frame, as they go to disk.
    tail: Option<BlockIx>,
    next: Step,
    in_flight: Option<(Step, Option<Flight>)>,
    retry_at: Mono,
    failing_since: Option<Mono>,
    failure: Option<Errno>,
    done: bool,
}

/// Frames of the tail block.
const TAIL_BLOCK0: usize = 0;
const TAIL_FRAME0: usize = 1;
const TAIL_FINAL: usize = 2;

impl Segment {
    /// A segment that starts at position `start`; its plan may come later.
    pub fn new(number: SegmentNumber, file: FileIx, start: u64) -> Segment {
        Segment {
            number,
            file,
            output: None,
            window: None,
            start,
            created: false,
            allocated: 0,
            block0_written: false,
            written: 0,
            end: None,
            tail: None,
            next: Step::Create,
            in_flight: None,
            retry_at: Mono(0),
            failing_since: None,
            failure: None,
            done: false,
        }
    }

    /// Says where and under which key to write. An error if block 0 would not hold its closing fields.
    pub fn plan(&mut self, mut plan: SegmentPlan) -> Result<(), String> {
        if self.output.is_some() || plan.segment != self.number {
            return Ok(());
        }
        let audio = AudioParams {
            format: SampleFormat::Pcm16,
            rate: SAMPLE_RATE,
            channels: u16::MAX,
            start: u64::MAX,
        };
        plan.block0.audio = Some(audio);
        plan.block0.closing = Some(Closing { frames: u32::MAX, samples: u64::MAX });
        plan.block0.encode().map_err(|error| error.to_string())?;
        plan.block0.closing = None;
        let sealer = FrameSealer::new(&plan.key, &plan.seed, &plan.block0.associated_data());
        self.output =
            Some(Output { path: plan.path, block0: plan.block0, sealer, header: plan.seed.header() });
        Ok(())
    }

    /// How samples are stored, once decided.
    pub fn format(&self) -> Option<SampleFormat> {
        self.window.as_ref().map(|window| window.layout.format)
    }

    /// Decides how samples are stored.
    pub fn decide(&mut self, format: SampleFormat, tracks: usize) {
        self.window = Some(Window::new(Layout::new(format, tracks), self.start));
    }

    /// The window, once the format is decided.
    pub fn window(&mut self) -> Option<&mut Window> {
        self.window.as_mut()
    }

    /// First position that is not sealed.
    pub fn open_from(&self) -> u64 {
        self.window.as_ref().map_or(self.start, Window::open_from)
    }

    /// Whether the file is there and has room.
    pub fn ready(&self) -> bool {
        self.created && self.allocated > 0
    }

    /// Why the first op failed, for a call that is being opened.
    pub fn failure(&self) -> Option<Errno> {
        self.failure
    }

    /// Whether the file is closed and everything has come home.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Whether so much is sealed that the next segment must begin.
    pub fn full(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.sealed >= SEGMENT_FRAMES_MAX - 64)
    }

    /// Whether nothing of it has been given to the disk, so that its format may still be changed.
    pub fn untouched(&self) -> bool {
        self.window.as_ref().is_none_or(|window| window.sealed == 0)
            && !self.block0_written
            && !matches!(self.in_flight, Some((Step::Block0, _)))
    }

    /// Changes the format in place, with what is unsealed.
    pub fn convert(&mut self, format: SampleFormat, tracks: usize, io: &mut Io<'_>) {
        let old = self.window.take();
        self.decide(format, tracks);
        self.adopt(old, tracks, io);
    }

    /// Takes over what `old` holds unsealed and gives its blocks back.
    fn adopt(&mut self, old: Option<Window>, tracks: usize, io: &mut Io<'_>) {
        let (Some(mut old), Some(new)) = (old, self.window.as_mut()) else { return };
        new.take_over(&old, (io.blocks, io.coverage), tracks);
        old.release_all(io.blocks);
    }

    /// Begins the next segment where this one is sealed up to. Unsealed audio moves along.
    pub fn roll(&mut self, file: FileIx, format: SampleFormat, tracks: usize, io: &mut Io<'_>) -> Segment {
        let mut next = Segment::new(self.number + 1, file, self.open_from());
        next.decide(format, tracks);
        if let (Some(old), Some(new)) = (self.window.as_mut(), next.window.as_mut()) {
            new.take_over(old, (io.blocks, io.coverage), tracks);
            old.release_unsealed(io.blocks);
            self.end = Some((old.sealed, u64::from(old.sealed) * old.layout.frame_samples));
        }
        next
    }

    /// No sample at or after `end` belongs to the segment.
    pub fn finish(&mut self, end: u64) {
        let Some(window) = &self.window else { return };
        let samples = end.saturating_sub(self.start);
        let frames = samples.div_ceil(window.layout.frame_samples).max(u64::from(window.sealed));
        self.end.get_or_insert((frames as u32, samples));
    }

    /// Seals every frame that ends at or before position `due`, or all of them once the end is known.
    pub fn seal(&mut self, due: u64, tracks: &mut [Track], io: &mut Io<'_>) {
        let (Some(window), Some(output)) = (self.window.as_mut(), self.output.as_ref()) else { return };
        let end = self.end.map_or(u64::MAX, |(_, samples)| self.start + samples);
        loop {
            let is_due = match self.end {
                Some((frames, _)) => window.sealed < frames,
                None => window.open_from() + window.layout.frame_samples <= due,
            };
            if !is_due || window.sealed >= SEGMENT_FRAMES_MAX {
                return;
            }
            if !window.seal_next((io.blocks, io.coverage), &output.sealer, tracks, end) {
                return;
            }
        }
    }

    /// Submits the next op, if one is due. `now_position` is the present on the timeline.
    pub fn drive(&mut self, now_position: u64, io: &mut Io<'_>) {
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
                io.blocks.lock(block, start, len);
                Some(Flight { block, start, len })
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
            return Some(self.allocate(ALLOCATE_STEP_BYTES));
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
        let block_end = (self.written / BLOCK_FRAMES as u32 + 1) * BLOCK_FRAMES as u32;
        let until = sealed.min(block_end);
        // Waiting for one more frame must not make the oldest unwritten sample older than a crash may cost.
        let oldest = self.start + u64::from(self.written) * window.layout.frame_samples;
        let age_then = now_position.saturating_sub(oldest) + window.layout.frame_samples;
        let budget = (LOSS_AT_CRASH_MAX.as_millis() - LOSS_AT_CRASH_MARGIN.as_millis()) as u64 * 8;
        if until < block_end && age_then <= budget && !complete {
            return None;
        }
        if !self.block0_written {
            return self.write_block0(io);
        }
        let offset = AUDIO_OFFSET + u64::from(self.written) * FRAME_BYTES as u64;
        let len = (until - self.written) * FRAME_BYTES as u32;
        if offset + u64::from(len) > self.allocated {
            return Some(self.allocate(self.allocated + ALLOCATE_STEP_BYTES));
        }
        let (block, index) = self.window.as_ref()?.block_of(self.written)?;
        let start = (index * FRAME_BYTES) as u32;
        Some((Step::Frames, Op::Write { file: self.file, offset, block, start, len }))
    }

    fn allocate(&self, size: u64) -> (Step, Op) {
        (Step::Allocate { size }, Op::Allocate { file: self.file, size })
    }

    fn write_block0(&mut self, io: &mut Io<'_>) -> Option<(Step, Op)> {
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
                io.stats.write_errors += 1;
                self.failure = Some(errno);
                self.failing_since.get_or_insert(io.now);
                self.retry_at = io.now + WRITE_RETRY;
            }
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
        if step == Step::Frames {
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
            Step::Frames => {
                if let Some(window) = &mut self.window {
                    window.release_below(self.written, io.blocks);
                }
            }
            Step::Final => self.next = Step::Truncate,
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
        if let Some(block) = self.tail.take() {
            io.blocks.release(block);
        }
        self.done = true;
    }

    /// What became of it, once done.
    pub fn report(&self) -> SegmentReport {
        let (frames, samples) = self.end.unwrap_or_default();
        let path = self.output.as_ref().map(|output| output.path.clone()).unwrap_or_default();
        let durable = self.next == Step::Close && self.failure.is_none();
        let why = || match self.failure {
            Some(errno) => format!("left for recovery: {errno}"),
            None => "left for recovery: the call was never written".to_owned(),
        };
        SegmentReport {
            segment: self.number,
            path: if durable { path.with_extension("") } else { path },
            format: self.format().unwrap_or(SampleFormat::Mulaw),
            start: self.start,
            samples,
            frames,
            durable: if durable { Ok(()) } else { Err(why()) },
        }
    }
}
