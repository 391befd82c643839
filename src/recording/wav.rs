//! The WAV file inside a segment: frame 0 is its header, frames 1 to `n` its samples.
//!
//! ```text
//!   0      12              38        50                          4032       4040
//!   | RIFF | fmt (18 B)    | fact    | JUNK ....                 | data hdr | samples, to the end of the last frame
//! ```
//! The header fills frame 0 exactly, so that audio starts with frame 1; it is a pure function of the number of frames,
//! so that recovery produces the same bytes as a close would have. (PCM16 has a `fmt ` of 16 bytes and no `fact`.)

use crate::limits::{FRAME_PLAIN_BYTES, FRAME0_PLAIN_BYTES, SEGMENT_FRAMES_MAX};
use crate::media::SampleFormat;
use crate::seal::AudioParams;

/// Bytes in front of the samples.
pub const HEADER_BYTES: usize = FRAME0_PLAIN_BYTES;

/// Bytes of one sample of all tracks.
pub fn block_align(params: &AudioParams) -> u64 {
    u64::from(params.channels.max(1)) * params.format.bytes() as u64
}

/// Samples per track that `frames` frames hold in full.
pub fn samples(params: &AudioParams, frames: u32) -> u64 {
    u64::from(frames) * FRAME_PLAIN_BYTES as u64 / block_align(params)
}

/// Frames that `samples` samples per track fill, the last one perhaps in part.
pub fn frames(params: &AudioParams, samples: u64) -> u64 {
    samples.saturating_mul(block_align(params)).div_ceil(FRAME_PLAIN_BYTES as u64)
}

/// The plaintext of frame 0 of a segment with `frames` frames of audio.
pub fn header(params: &AudioParams, frames: u32) -> [u8; HEADER_BYTES] {
    // Beyond that the sizes would not fit RIFF; a shard starts the next segment before.
    let samples = samples(params, frames.min(SEGMENT_FRAMES_MAX));
    let mut out = [0; HEADER_BYTES];
    let front = front(params, samples, HEADER_BYTES - CHUNK_HEADER_BYTES);
    out[..front.len()].copy_from_slice(&front);
    out
}

/// A WAV header without padding, for an exported file of `samples` samples per track.
pub fn plain_header(params: &AudioParams, samples: u64) -> Vec<u8> {
    front(params, samples, 0)
}

const CHUNK_HEADER_BYTES: usize = 8;

/// Everything before the samples; `data_at` is where the `data` chunk shall start, 0 for as early as possible.
fn front(params: &AudioParams, samples: u64, data_at: usize) -> Vec<u8> {
    let align = block_align(params);
    let data_bytes = samples.saturating_mul(align);
    let mut out = b"RIFF\0\0\0\0WAVE".to_vec();
    chunk(&mut out, b"fmt ", &format(params));
    if params.format != SampleFormat::Pcm16 {
        // Every format but PCM has a fact chunk with its length in samples.
        chunk(&mut out, b"fact", &to_u32(samples).to_le_bytes());
    }
    if data_at > out.len() {
        let junk = data_at - out.len() - CHUNK_HEADER_BYTES;
        chunk(&mut out, b"JUNK", &vec![0; junk]);
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&to_u32(data_bytes).to_le_bytes());
    // RIFF counts a chunk's pad byte in its own size: an odd data chunk is followed by one.
    let riff_bytes = ((out.len() - CHUNK_HEADER_BYTES) as u64 + data_bytes % 2).saturating_add(data_bytes);
    out[4..8].copy_from_slice(&to_u32(riff_bytes).to_le_bytes());
    out
}

fn chunk(out: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(&to_u32(content.len() as u64).to_le_bytes());
    out.extend_from_slice(content);
}

/// WAVEFORMATEX, without its extension's size for PCM.
fn format(params: &AudioParams) -> Vec<u8> {
    let tag: u16 = match params.format {
        SampleFormat::Mulaw => 7,
        SampleFormat::Alaw => 6,
        SampleFormat::Pcm16 => 1,
    };
    let align = block_align(params);
    let mut out = tag.to_le_bytes().to_vec();
    out.extend_from_slice(&params.channels.to_le_bytes());
    out.extend_from_slice(&params.rate.to_le_bytes());
    out.extend_from_slice(&to_u32(u64::from(params.rate) * align).to_le_bytes());
    out.extend_from_slice(&(align as u16).to_le_bytes());
    out.extend_from_slice(&(params.format.bytes() as u16 * 8).to_le_bytes());
    if tag != 1 {
        out.extend_from_slice(&0u16.to_le_bytes());
    }
    out
}

/// RIFF's sizes are 32 bits; a longer file says so much and players read on to its end.
fn to_u32(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What a WAV file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WavInfo {
    /// How samples are stored.
    pub format: SampleFormat,
    /// Samples per second.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
    /// Where the samples start.
    pub data_at: usize,
    /// How many bytes of samples there are, says the header.
    pub data_bytes: u32,
}

/// Why a header is not that of a WAV file we write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WavError {
    /// No RIFF/WAVE at the start.
    NotWave,
    /// A chunk runs past the end, or there is no `data` chunk.
    Cut,
    /// No `fmt ` before `data`, or one that is not G.711 or PCM16 of at least one channel.
    Format,
}

/// Reads a WAV header, ours or another's of the same formats.
pub fn parse(bytes: &[u8]) -> Result<WavInfo, WavError> {
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err(WavError::NotWave);
    }
    let mut at = 12;
    let mut format = None;
    loop {
        let head = bytes.get(at..at + CHUNK_HEADER_BYTES).ok_or(WavError::Cut)?;
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        at += CHUNK_HEADER_BYTES;
        match &head[..4] {
            b"data" => {
                let (format, rate, channels) = format.ok_or(WavError::Format)?;
                return Ok(WavInfo { format, rate, channels, data_at: at, data_bytes: size });
            }
            b"fmt " => format = Some(parse_format(bytes.get(at..).ok_or(WavError::Cut)?, size)?),
            _ => {}
        }
        // Chunks start at even offsets.
        at = at.checked_add(size as usize + size as usize % 2).ok_or(WavError::Cut)?;
    }
}

fn parse_format(chunk: &[u8], size: u32) -> Result<(SampleFormat, u32, u16), WavError> {
    let chunk = chunk.get(..16).filter(|_| size >= 16).ok_or(WavError::Format)?;
    let word = |at: usize| u16::from_le_bytes([chunk[at], chunk[at + 1]]);
    let rate = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
    let (tag, channels, bits) = (word(0), word(2), word(14));
    let format = match (tag, bits) {
        (7, 8) => SampleFormat::Mulaw,
        (6, 8) => SampleFormat::Alaw,
        (1, 16) => SampleFormat::Pcm16,
        _ => return Err(WavError::Format),
    };
    if channels == 0 { Err(WavError::Format) } else { Ok((format, rate, channels)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::TRACKS_MAX;

    fn params() -> impl Strategy<Value = AudioParams> {
        let formats = [SampleFormat::Mulaw, SampleFormat::Alaw, SampleFormat::Pcm16];
        (proptest::sample::select(formats.to_vec()), 1..=TRACKS_MAX as u16, any::<u64>())
            .prop_map(|(format, channels, start)| AudioParams { format, rate: 8000, channels, start })
    }

    proptest! {
        #[test]
        fn the_header_fills_frame_0_and_its_sizes_are_those_of_the_frames(params in params(), frames in 0..=SEGMENT_FRAMES_MAX) {
            let header = header(&params, frames);
            let info = parse(&header).unwrap();
            prop_assert_eq!((info.format, info.rate, info.channels), (params.format, params.rate, params.channels));
            prop_assert_eq!(info.data_at, HEADER_BYTES);
            let (data, audio) = (u64::from(info.data_bytes), u64::from(frames) * FRAME_PLAIN_BYTES as u64);
            prop_assert!(data % block_align(&params) == 0 && data <= audio && audio - data < block_align(&params));
            prop_assert_eq!(super::frames(&params, samples(&params, frames)), u64::from(frames));
            // RIFF's own size ends at the last whole sample (and its pad byte), inside the file.
            let riff = u64::from(u32::from_le_bytes(header[4..8].try_into().unwrap())) + 8;
            prop_assert_eq!(riff, HEADER_BYTES as u64 + data + data % 2);
            prop_assert!(riff <= HEADER_BYTES as u64 + audio);
        }

        #[test]
        fn a_plain_header_reads_back(params in params(), samples in 0u64..1_000_000) {
            let header = plain_header(&params, samples);
            let info = parse(&header).unwrap();
            prop_assert_eq!(info.data_at, header.len());
            prop_assert_eq!(u64::from(info.data_bytes), samples * block_align(&params));
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            if magic && bytes.len() >= 12 {
                bytes[..4].copy_from_slice(b"RIFF");
                bytes[8..12].copy_from_slice(b"WAVE");
            }
            if let Ok(info) = parse(&bytes) {
                prop_assert!(info.data_at <= bytes.len() && info.channels > 0);
            }
        }
    }
}
