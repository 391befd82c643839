//! Watches every byte that is handed to the disk: nothing but sealed frames, and never two contents under one nonce.
//!
//! A nonce follows from file, counter and last-flag. What was handed over counts, whether or not it survived a crash: somebody may have
//! copied the disk in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::SegmentNumber;
use crate::limits::{BLOCK0_BYTES, FRAME_BYTES, STREAM_HEADER_BYTES, TAG_BYTES};
use crate::ring::sim::disk::{Disk, Witnessed};
use crate::seal::{Block0, DataKey, FrameOpener, StreamSeed};

/// A sealed stream: its key, and what was sealed under each nonce.
struct Stream {
    opener: FrameOpener,
    seed: StreamSeed,
    sealed: BTreeMap<(u32, bool), Vec<u8>>,
}

/// The witness.
#[derive(Default)]
pub struct Witness {
    streams: BTreeMap<PathBuf, Stream>,
    writes: u64,
}

impl Witness {
    /// A segment's file will be made under `path`, sealed with `key` and `seed`.
    pub fn expect(&mut self, path: &Path, key: &DataKey, seed: StreamSeed, block0: &Block0) {
        let opener = FrameOpener::new(key, &seed, &block0.associated_data());
        let stream = Stream { opener, seed, sealed: BTreeMap::new() };
        self.streams.insert(path.to_owned(), stream);
    }

    /// Writes seen so far.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Looks at everything written since the last time; says what is wrong with it.
    pub fn look(&mut self, disk: &mut Disk) -> Vec<String> {
        let mut wrong = Vec::new();
        for witnessed in disk.take_witnessed() {
            self.writes += 1;
            let Some(path) = disk.born_as(witnessed.inode) else { continue };
            if let Some(stream) = self.streams.get_mut(path)
                && let Err(what) = stream.write(&witnessed)
            {
                wrong.push(format!("{}: {what}", path.display()));
            }
        }
        wrong
    }
}

impl Stream {
    fn write(&mut self, write: &Witnessed) -> Result<(), String> {
        if !write.offset.is_multiple_of(FRAME_BYTES as u64) {
            return Err(format!("a write at {} is not a frame's", write.offset));
        }
        let first = write.offset / FRAME_BYTES as u64;
        for (number, chunk) in (first..).zip(write.bytes.chunks(FRAME_BYTES)) {
            match number {
                0 => {
                    let block = chunk.get(..BLOCK0_BYTES).ok_or("block 0 is cut")?;
                    Block0::decode(block).map_err(|why| why.to_string())?;
                }
                1 => self.frame0(chunk)?,
                _ => self.frame((number - 1) as u32, chunk)?,
            }
        }
        Ok(())
    }

    /// Stream header and frame 0, or nothing yet behind the header.
    fn frame0(&mut self, chunk: &[u8]) -> Result<(), String> {
        let (header, frame) =
            chunk.split_at_checked(STREAM_HEADER_BYTES).ok_or("the stream header is cut")?;
        if header != self.seed.header() {
            return Err("the stream header is not what was planned".to_owned());
        }
        if frame.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        self.opens(0, false, frame).then_some(()).ok_or("frame 0 can't be opened")?;
        self.seal(0, false, frame)
    }

    fn frame(&mut self, counter: SegmentNumber, chunk: &[u8]) -> Result<(), String> {
        if chunk.len() == FRAME_BYTES && self.opens(counter, false, chunk) {
            return self.seal(counter, false, chunk);
        }
        let Some((tag, rest)) = chunk.split_at_checked(TAG_BYTES) else {
            return Err(format!("frame {counter} is cut"));
        };
        if rest.iter().any(|&byte| byte != 0) || !self.opens(counter, true, tag) {
            return Err(format!("what is written as frame {counter} is not sealed"));
        }
        self.seal(counter, true, tag)
    }

    fn opens(&self, counter: u32, last: bool, frame: &[u8]) -> bool {
        self.opener.open(counter, last, &mut frame.to_vec()).is_ok()
    }

    fn seal(&mut self, counter: u32, last: bool, frame: &[u8]) -> Result<(), String> {
        let before = self.sealed.entry((counter, last)).or_insert_with(|| frame.to_vec());
        if before != frame {
            return Err(format!("counter {counter} (last: {last}) was sealed over two contents"));
        }
        Ok(())
    }
}
