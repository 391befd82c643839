//! Files that commands write for people: for their owner alone, and never over something else by accident.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes the file, mode 0600. Without `force` it must not be there yet; a sealed file is never overwritten.
pub fn create(path: &Path, force: bool) -> io::Result<File> {
    let sealed = path.extension().is_some_and(|extension| extension == "tape" || extension == "part");
    if sealed {
        return Err(io::Error::other("this is the name of a recording: give another one"));
    }
    let mut how = OpenOptions::new();
    how.write(true).mode(0o600);
    if force {
        how.create(true).truncate(true)
    } else {
        how.create_new(true)
    };
    how.open(path).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => io::Error::other("it exists: give another name, or --force"),
        _ => why,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_made_for_its_owner_and_overwritten_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        assert_eq!(create(&path, false).unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        assert!(create(&path, false).unwrap_err().to_string().contains("--force"));
        assert!(create(&path, true).is_ok());
        assert!(create(&folder.path().join("0001.tape"), true).is_err());
    }
}
