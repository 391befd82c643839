//! Segment files, one system call each: made, given room, folder synced. Leaves out the ring's own way of doing these.

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Permissions of a segment file: its owner's alone.
pub const FILE_MODE: u32 = 0o600;
/// Permissions of a folder made on the way.
pub const FOLDER_MODE: u32 = 0o700;

/// Makes a file that must not exist, for writing past the page cache where the file system can; missing folders are made.
pub fn create(path: &Path) -> io::Result<File> {
    match create_direct(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
            create_direct(path)
        }
        outcome => outcome,
    }
}

fn create_direct(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE).custom_flags(libc::O_DIRECT);
    match options.open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            warn_no_direct(path);
            // The kernel makes the file before it finds that it can't open it so; had it been there, this were EEXIST.
            OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path)
        }
        outcome => outcome,
    }
}

/// Says once per process that a file system refuses direct I/O.
pub fn warn_no_direct(path: &Path) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            path = %path.display(),
            "this file system refuses O_DIRECT: writing goes through the page cache, dearer and less even; \
             put recordings on ext4 or XFS"
        );
    }
}

/// Makes room up to `size`, which becomes the file's size if it was smaller. A file system that can't preallocate is no error.
pub fn allocate(file: &File, size: u64) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: no memory is handed over.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(()) } else { Err(error) }
}

/// Renames within one folder and syncs the folder, so that the new name survives a power cut.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    File::open(folder_of(to))?.sync_all()
}

/// The folder a file is in; a bare name is in `.`.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A path as system calls take it; one with a NUL inside is EINVAL.
pub fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_direct_io_still_takes_the_file() {
        // Older kernels refuse O_DIRECT on tmpfs, newer ones take it: either way the file is there, once.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("a/b");
        allocate(&create(&path).unwrap(), 4096).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 4096);
        assert_eq!(create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_bare_name_is_in_this_folder() {
        assert_eq!(folder_of(Path::new("a")), Path::new("."));
        assert_eq!(folder_of(Path::new("/x/a")), Path::new("/x"));
        assert!(c_path(Path::new("a\0b")).is_err());
    }
}
