//! Where a recording's files are, below the folder of recordings. Names only; nothing here touches a disk.
//!
//! ```text
//!   active/.lock                          held by the running recorder
//!   active/<recording>/0001.tape.part     a live segment; without .part once it is durable
//!   active/<recording>/manifest.tape      its manifest so far
//!   2026/11/21/<recording>/0001.tape      the same, finished: the folder is moved as a whole
//!   2026/11/21/<recording>/manifest.tape
//! ```

use std::path::{Path, PathBuf};

use crate::base::{RecordingId, SegmentNumber, Wall};

/// Folder of the live recordings.
pub const ACTIVE: &str = "active";
/// The running recorder's lock, in [`ACTIVE`].
pub const LOCK: &str = ".lock";
/// File name of the manifest.
pub const MANIFEST: &str = "manifest.tape";
/// What a segment that is not yet durable has behind its name.
pub const PART: &str = ".part";

/// File name of a durable segment.
pub fn segment_file(number: SegmentNumber) -> String {
    format!("{number:04}.tape")
}

/// Folder of a live recording.
pub fn active_dir(recordings: &Path, recording: RecordingId) -> PathBuf {
    recordings.join(ACTIVE).join(recording.to_string())
}

/// Folder of a finished recording that started at `started`.
pub fn finished_dir(recordings: &Path, recording: RecordingId, started: Wall) -> PathBuf {
    recordings.join(started.date_path()).join(recording.to_string())
}

/// A live segment below its recording's folder.
pub fn part_path(dir: &Path, number: SegmentNumber) -> PathBuf {
    dir.join(segment_file(number) + PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_where_the_drawing_says() {
        let started = Wall(1_795_269_802_512_000_000);
        let id: RecordingId = "01234567890123456789012345678901".parse().unwrap();
        let live = part_path(&active_dir(Path::new("r"), id), 1);
        assert_eq!(live, Path::new("r/active/01234567890123456789012345678901/0001.tape.part"));
        assert_eq!(finished_dir(Path::new("r"), id, started), Path::new("r/2026/11/21").join(id.to_string()));
        assert_eq!(segment_file(12_345), "12345.tape");
    }
}
