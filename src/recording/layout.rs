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

/// The folder of recordings that are not complete, below the folder of recordings.
pub const ACTIVE: &str = "active";
/// The manifest's file name.
pub const MANIFEST: &str = "manifest.tape";
/// What a segment's name ends in until it is durable.
pub const PART: &str = ".part";
/// What a file ends in that is written beside the one it will replace.
pub const NEW: &str = ".new";
/// What a segment ends in whose block 0 can't be read: nothing can open it, and nothing is thrown away.
pub const UNREADABLE: &str = ".unreadable";

/// The file name of a segment: `0001.tape`.
pub fn segment_file(segment: SegmentNumber) -> String {
    format!("{segment:04}.tape")
}

/// The number in `0001.tape` or `0001.tape.part`; `None` for any other name.
pub fn segment_number(name: &str) -> Option<SegmentNumber> {
    let digits = name.strip_suffix(PART).unwrap_or(name).strip_suffix(".tape")?;
    if digits.len() < 4 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits
        .parse()
        .ok()
        .filter(|&number| number > 0 && segment_file(number).strip_suffix(".tape") == Some(digits))
}

/// Where a recording lies until it is complete.
pub fn active_folder(root: &Path, recording: RecordingId) -> PathBuf {
    root.join(ACTIVE).join(recording.to_string())
}

/// Where the shard writes a segment.
pub fn part_path(root: &Path, recording: RecordingId, segment: SegmentNumber) -> PathBuf {
    active_folder(root, recording).join(segment_file(segment) + PART)
}

/// Where a complete recording lies, by the day it started (UTC).
pub fn complete_folder(root: &Path, recording: RecordingId, started: Wall) -> PathBuf {
    root.join(started.date_path()).join(recording.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_write_have_a_number() {
        for number in [1, 42, 9999, 10_000] {
            assert_eq!(segment_number(&segment_file(number)), Some(number));
            assert_eq!(segment_number(&(segment_file(number) + PART)), Some(number));
        }
        for other in
            ["0000.tape", "1.tape", "00001.tape", "manifest.tape", "0001.tape.new", "0001.wav", "+001.tape"]
        {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }
}
