//! Opens a sealed segment the simple way and reads its samples, to see what a recording really holds.

use super::message::{Heard, hear};
use crate::limits::{
    AUDIO_OFFSET, BLOCK0_BYTES, FRAME_BYTES, FRAME_PLAIN_BYTES, FRAME0_PLAIN_BYTES, STREAM_HEADER_BYTES,
    TAG_BYTES,
};
use crate::recording::wav;
use crate::seal::{AudioParams, Block0, DataKey, FrameOpener, State, StreamSeed};

/// A segment, opened.
pub struct Reading {
    /// Its audio parameters.
    pub audio: AudioParams,
    /// Samples per track that belong to the recording.
    pub samples: u64,
    plain: Vec<u8>,
}

impl Reading {
    /// Opens a segment that claims to be complete: closed, or mended by recovery. Everything must be as the format says; only with `holes`,
    /// which a power cut may leave, are frames that can't be opened taken for silence.
    pub fn complete(file: &[u8], key: &DataKey, holes: bool) -> Result<Reading, String> {
        let block0 = Block0::decode(file).map_err(|why| why.to_string())?;
        if block0.state == State::Open {
            return Err("block 0 says it is open".to_owned());
        }
        let closing = block0.closing.ok_or("block 0 has no closing fields")?;
        let audio = block0.audio.ok_or("block 0 has no audio parameters")?;
        let whole = AUDIO_OFFSET as usize + closing.frames as usize * FRAME_BYTES + TAG_BYTES;
        if file.len() != whole {
            return Err(format!("{} bytes long, {whole} by its {} frames", file.len(), closing.frames));
        }
        let header = &file[BLOCK0_BYTES..BLOCK0_BYTES + STREAM_HEADER_BYTES];
        let seed = StreamSeed::parse(header).ok_or("no stream header")?;
        let opener = FrameOpener::new(key, &seed, &block0.associated_data());
        let wav_header =
            open(&opener, 0, false, &file[BLOCK0_BYTES + STREAM_HEADER_BYTES..AUDIO_OFFSET as usize])?;
        if wav_header != wav::header(&audio, closing.frames) || wav_header.len() != FRAME0_PLAIN_BYTES {
            return Err("frame 0 is not the WAV header of the rest".to_owned());
        }
        let mut plain = Vec::new();
        for counter in 1..=closing.frames {
            let at = AUDIO_OFFSET as usize + (counter as usize - 1) * FRAME_BYTES;
            match open(&opener, counter, false, &file[at..at + FRAME_BYTES]) {
                Err(_) if holes => plain.extend([audio.format.silence(); FRAME_PLAIN_BYTES]),
                frame => plain.extend(frame?),
            }
        }
        open(&opener, closing.frames + 1, true, &file[whole - TAG_BYTES..])?;
        let reading = Reading { audio, samples: closing.samples, plain };
        if reading.samples > reading.capacity() {
            return Err("more samples than its frames hold".to_owned());
        }
        Ok(reading)
    }

    /// Samples per track that its frames hold.
    pub fn capacity(&self) -> u64 {
        (self.plain.len() / (usize::from(self.audio.channels) * self.audio.format.bytes())) as u64
    }

    /// The samples of one track, those behind the recording's end included.
    pub fn track(&self, track: usize) -> impl Iterator<Item = Heard> {
        let (format, bytes) = (self.audio.format, self.audio.format.bytes());
        let stride = usize::from(self.audio.channels) * bytes;
        self.plain.chunks_exact(stride).map(move |sample| hear(format, &sample[track * bytes..]))
    }
}

fn open(opener: &FrameOpener, counter: u32, last: bool, frame: &[u8]) -> Result<Vec<u8>, String> {
    let mut frame = frame.to_vec();
    let plain = opener.open(counter, last, &mut frame);
    plain.map(|plain| plain.to_vec()).map_err(|_| format!("frame {counter} can't be opened"))
}
