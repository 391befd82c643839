//! Sealing of a file that is whole in memory: manifests, and what tests and benches need.

use super::{Block0, Block0Error, Closing, DataKey, FrameSealer, State, StreamSeed};
use crate::limits::{
    BLOCK0_BYTES, FRAME_BYTES, FRAME_PLAIN_BYTES, FRAME0_PLAIN_BYTES, STREAM_HEADER_BYTES, TAG_BYTES,
};

/// The sealed file of `plain`, closed. The plaintext is padded with `pad` up to the end of its last frame; `samples` becomes the closing
/// field of that name. The seed must be fresh.
pub fn seal_whole(
    mut block0: Block0,
    key: &DataKey,
    seed: &StreamSeed,
    plain: &[u8],
    pad: u8,
    samples: u64,
) -> Result<Vec<u8>, Block0Error> {
    let frames = frames(plain.len());
    block0.state = State::Closed;
    block0.closing = Some(Closing { frames, samples });
    let sealer = FrameSealer::new(key, seed, &block0.associated_data());
    let mut out = Vec::with_capacity(BLOCK0_BYTES + (frames as usize + 1) * FRAME_BYTES + TAG_BYTES);
    out.extend_from_slice(&block0.encode()?);
    out.extend_from_slice(&seed.header());
    let (frame0, rest) = plain.split_at(plain.len().min(FRAME0_PLAIN_BYTES));
    put(&mut out, &sealer, 0, frame0, FRAME_BYTES - STREAM_HEADER_BYTES, pad);
    for (counter, audio) in (1..).zip(rest.chunks(FRAME_PLAIN_BYTES)) {
        put(&mut out, &sealer, counter, audio, FRAME_BYTES, pad);
    }
    let at = out.len();
    out.resize(at + TAG_BYTES, 0);
    sealer.seal(frames + 1, true, &mut out[at..]);
    Ok(out)
}

/// Frames after frame 0 for so many bytes of plaintext.
fn frames(bytes: usize) -> u32 {
    let frames = bytes.saturating_sub(FRAME0_PLAIN_BYTES).div_ceil(FRAME_PLAIN_BYTES);
    u32::try_from(frames).expect("what is whole in memory is far below 16 TiB")
}

fn put(out: &mut Vec<u8>, sealer: &FrameSealer, counter: u32, plain: &[u8], bytes: usize, pad: u8) {
    let at = out.len();
    out.extend_from_slice(plain);
    out.resize(at + bytes - TAG_BYTES, pad);
    out.resize(at + bytes, 0);
    sealer.seal(counter, false, &mut out[at..]);
}
