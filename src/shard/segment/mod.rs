//! One segment: a stretch of the recording's timeline in one layout and one file.
//!
//! Here is the side of the timeline: format, sealing, where it ends. The side of the disk is `file`, and `silence` for what nobody said.

mod file;
mod silence;

use std::path::PathBuf;

use super::Io;
use super::window::{Layout, Window};
use crate::base::{Mono, SegmentNumber};
use crate::limits::*;
use crate::link::{SegmentPlan, SegmentReport};
use crate::media::{SAMPLE_RATE, SampleFormat, Track};
use crate::ring::{Errno, FileIx};
use crate::seal::{AudioParams, Block0, Closing, FrameSealer};
use crate::sys::cache;
use crate::sys::memory::BlockIx;
pub use silence::SilenceBlocks;

/// What the file waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Create,
    Allocate { size: u64 },
    Block0,
    Frames,
    Silence,
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
    since: Mono,
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
    /// Number within the recording, from 1.
    pub number: SegmentNumber,
    /// The file slot.
    pub file: FileIx,
    /// Boxed: packets don't touch it.
    output: Option<Box<Output>>,
    /// `None` until the format is decided.
    window: Option<Window>,
    /// Position of the first sample.
    pub start: u64,
    created: bool,
    allocated: u64,
    block0_written: bool,
    /// Frames on disk.
    written: u32,
    /// What is sealed and not written waits for the next frame.
    held_back: bool,
    /// The position before which frames were due for sealing at the last look.
    due: u64,
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
            held_back: false,
            due: 0,
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
        let header = plan.seed.header();
        self.output = Some(Box::new(Output { path: plan.path, block0: plan.block0, sealer, header }));
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

    /// Fetches into the cache what it needs to seal.
    pub fn fetch(&self) {
        self.output.as_deref().into_iter().for_each(cache::fetch);
    }

    /// The window, to look at.
    pub fn peek(&self) -> Option<&Window> {
        self.window.as_ref()
    }

    /// Position up to which time has to pass before it has anything to do, but for the answer to what is in flight; none if that is not so simple.
    pub fn idle_until(&self) -> Option<u64> {
        let window = self.window.as_ref()?;
        let waits = self.in_flight.is_some() || self.held_back || window.sealed == self.written;
        let simple = self.output.is_some() && self.end.is_none() && self.failing_since.is_none();
        if !simple || !waits {
            return None;
        }
        if window.is_empty() {
            // What is on its way counts as written.
            return self.silence_due(if self.in_flight.is_some() { window.sealed } else { self.written });
        }
        Some(window.open_from() + window.layout.frame_samples)
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

    /// Whether its end is known: nothing more is placed in it.
    pub fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether so much is sealed that the next segment must begin.
    pub fn full(&self) -> bool {
        let full = |window: &Window| window.sealed >= SEGMENT_FRAMES_MAX - 2 * SILENCE_FRAMES;
        self.end.is_none() && self.window.as_ref().is_some_and(full)
    }

    /// Whether it still may be anything: nothing of it has been given to the disk, so that its format may still be changed.
    pub fn untouched(&self) -> bool {
        self.window.as_ref().is_none_or(|window| window.sealed == 0)
            && !self.block0_written
            && !matches!(self.in_flight, Some((Step::Block0, _)))
    }

    /// Whether there are blocks to go on in `format` with `tracks` tracks instead of `before`, and lose nothing that is unsealed.
    pub fn can_move(&self, format: SampleFormat, (before, tracks): (usize, usize), io: &Io<'_>) -> bool {
        let layout = Layout::new(format, tracks);
        let blocks = self.window.as_ref().map_or(0, |old| old.blocks_to_move(&layout, io.coverage, before));
        blocks <= CALL_BLOCKS_MAX.min(io.blocks.free() as usize)
    }

    /// Changes format and number of tracks, from `before` to `tracks`, in place, with what is unsealed.
    pub fn convert(&mut self, format: SampleFormat, (before, tracks): (usize, usize), io: &mut Io<'_>) {
        let old = self.window.take();
        self.decide(format, tracks);
        if let (Some(mut old), Some(new)) = (old, self.window.as_mut()) {
            new.take_over(&old, (io.blocks, io.coverage), before);
            old.release_all(io.blocks);
        }
    }

    /// Begins the next segment, of `tracks` tracks instead of `before`, where this one is sealed up to. Unsealed audio moves along.
    pub fn roll(
        &mut self,
        file: FileIx,
        format: SampleFormat,
        (before, tracks): (usize, usize),
        io: &mut Io<'_>,
    ) -> Segment {
        let mut next = Segment::new(self.number + 1, file, self.open_from());
        next.decide(format, tracks);
        if let (Some(old), Some(new)) = (self.window.as_mut(), next.window.as_mut()) {
            new.take_over(old, (io.blocks, io.coverage), before);
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

    /// Seals every frame that ends at or before position `due`, or all of them once the end is known. Those for which nothing came are passed over.
    pub fn seal(&mut self, due: u64, tracks: &mut [Track], io: &mut Io<'_>) {
        self.due = due;
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
            if window.is_empty() {
                window.pass_next(tracks, end);
            } else if !window.seal_next((io.blocks, io.coverage), &output.sealer, tracks, end) {
                return;
            }
        }
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
