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
mod keyset;
mod whole;

pub use block0::{
    AudioParams, Block0, Block0Error, CIPHER, Closing, FORMAT, Kind, State, VERSION, WrappedKey,
};
pub use frame::{DamagedFrame, DataKey, FrameOpener, FrameSealer, StreamSeed};
pub use keyset::tink_keyset;
pub use whole::seal_whole;
