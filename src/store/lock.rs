//! The lock of a folder of recordings: one recorder at a time, and no recovery of what a recorder is writing.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::names::ACTIVE;

/// `active/.lock`, locked (flock) for as long as this lives; the kernel lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub struct ActiveLock {
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug)]
pub enum LockError {
    /// A recorder, or a recovery, is at work in this folder.
    Held(PathBuf),
    /// The lock file could not be made or locked.
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockError::Held(path) => {
                write!(
                    f,
                    "another tapehead is at work in {}: stop it first, or use another folder",
                    path.display()
                )
            }
            LockError::Io(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}

impl ActiveLock {
    /// Locks the recordings below `root`, making the folder if need be.
    pub fn take(root: &Path) -> Result<ActiveLock, LockError> {
        let folder = root.join(ACTIVE);
        let path = folder.join(".lock");
        let io = |why| LockError::Io(path.clone(), why);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(ActiveLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(root.to_owned())),
            Err(TryLockError::Error(why)) => Err(io(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let held = ActiveLock::take(root.path()).unwrap();
        assert!(matches!(ActiveLock::take(root.path()), Err(LockError::Held(_))));
        drop(held);
        assert!(ActiveLock::take(root.path()).is_ok());
    }
}
