//! Recordings as files: where they lie, reading, verifying, exporting, finalising and recovering them.
//!
//! ```text
//!   recordings/active/.lock                        held by the recorder that is running
//!   recordings/active/<recording>/0001.tape.part   a segment being written
//!   recordings/active/<recording>/0001.tape        a segment that is durable
//!   recordings/active/<recording>/manifest.tape    the manifest so far
//!   recordings/2026/11/21/<recording>/...          a recording that is complete
//! ```
//! Everything goes through [`Disk`], so that the simulator can fail any step. Leaves out writing of audio: that is the shard's.

mod disk;
mod export;
mod finalise;
mod lock;
mod names;
mod recover;
mod recover_segment;
mod sealed_file;
mod verify;
mod verify_recording;

pub use disk::{Disk, Entry, OsDisk};
pub use export::{ExportError, Exported, export};
pub use finalise::{Keyring, Sealed, StoreError, Writer, checkpoint, finalise};
pub use lock::{ActiveLock, LockError};
pub use names::*;
pub(crate) use recover::owed_max;
pub use recover::{Found, RecoveredRecording, recover, recover_recording};
pub use recover_segment::{SegmentOutcome, recover_segment};
pub use sealed_file::{OpenError, OpenedFile, ReadError, SealedFile, read_manifest};
pub use verify::{Finding, Problem, Report, find_recordings, verify};

#[cfg(test)]
#[path = "fixture_tests.rs"]
mod testing;
