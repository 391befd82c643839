//! Where recordings will lie: whether direct I/O works there, and how long the room lasts.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Finding, Verdict};
use crate::config::Plan;
use crate::limits::{FRAME_BYTES, FRAME_PLAIN_BYTES};
use crate::media::SAMPLE_RATE;
use crate::sys::space;

/// The folder, or the nearest one above it that is there.
fn nearest(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Makes an empty file past the page cache, and takes it away again.
pub fn direct(recordings: &Path) -> Finding {
    let folder = nearest(recordings);
    let probe = folder.join(format!(".tapehead-doctor-{}", std::process::id()));
    let mut how = OpenOptions::new();
    let outcome = how.write(true).create_new(true).mode(0o600).custom_flags(libc::O_DIRECT).open(&probe);
    // Refused for direct I/O, the file may have been made all the same.
    let _ = std::fs::remove_file(&probe);
    let shown = folder.display();
    match outcome {
        Ok(_) => Finding::new("direct I/O", Verdict::Ok, format!("works in {shown}")),
        Err(why) if why.kind() == ErrorKind::InvalidInput => {
            Finding::new("direct I/O", Verdict::Lacks, format!("refused by the file system of {shown}")).costs(
                "writes go through the page cache: 0.4 to 1.8 ns per byte instead of 0.1, and stalls of milliseconds (measured)",
                "recordings.dir on ext4 or XFS",
            )
        }
        Err(why) => Finding::new("direct I/O", Verdict::Lacks, format!("no file can be made in {shown}: {why}"))
            .costs("nothing can be recorded by this user", "recordings.dir must belong to the recorder's user"),
    }
}

/// How long the room lasts with as many calls as planned.
pub fn room(plan: &Plan) -> Finding {
    let folder = nearest(&plan.recordings);
    let free = match space::free_bytes(&folder) {
        Ok(free) => free,
        Err(why) => {
            return Finding::new("room", Verdict::Lacks, format!("{}: {why}", folder.display()))
                .costs("nobody knows when the disk is full", "see what is wrong with this file system");
        }
    };
    let usable = free.saturating_sub(plan.free_bytes_min);
    // Two tracks of G.711, in sealed frames.
    let per_second = u64::from(plan.calls_max) * 2 * u64::from(SAMPLE_RATE) * FRAME_BYTES as u64
        / FRAME_PLAIN_BYTES as u64;
    let minutes = usable / per_second.max(1) / 60;
    let now = format!(
        "{} GB free: {} h {} min of {} calls at once",
        free / 1_000_000_000,
        minutes / 60,
        minutes % 60,
        plan.calls_max
    );
    if usable == 0 {
        return Finding::new("room", Verdict::Lacks, now).costs(
            "every call is refused: less is free than recordings.free_mb_min",
            "make room, or move recordings.dir",
        );
    }
    let verdict = if minutes < 60 { Verdict::Note } else { Verdict::Ok };
    Finding::new("room", verdict, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_looked_at_above() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&folder.path().join("a/b")), folder.path());
        let finding = direct(&folder.path().join("a/b"));
        assert!(finding.now.contains(&folder.path().display().to_string()), "{finding:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the probe is gone");
    }
}
