//! Sealing: the key hierarchy, frames, and the sealed file format's block 0.
//!
//! ```text
//!   0            4096                8192                    ...
//!   | block 0    | frame 0           | frame 1 | frame 2 | ... | final frame (empty, 16 bytes of tag) |
//!   | clear JSON | 40 B header + WAV | audio   | audio   |     |                                      |
//!                |<------------ Tink streaming AEAD, AES256-GCM-HKDF, 4 KiB segments ---------------->|
//! ```

mod block0;
mod frame;

pub use block0::{AudioParams, Block0, Closing, Kind, State, WrappedKey};
pub use frame::{DataKey, FrameSealer, StreamSeed};
