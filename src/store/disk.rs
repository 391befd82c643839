//! What the store asks of a file system, by path and without state, so that a simulated or failing one can stand in.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::limits::{SYNC_QUICK, SYNCS_AT_ONCE};
use crate::sys::clock;

/// A name in a folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The name, without the folder.
    pub name: String,
    /// It is a folder itself.
    pub folder: bool,
}

/// The operations. Nothing is durable before the file, and for names their folder, is synced.
pub trait Disk: Sync {
    /// The names in a folder, sorted. Names that are not UTF-8 and symbolic links are left out: none of ours are.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// A file's size in bytes.
    fn size(&self, file: &Path) -> io::Result<u64>;
    /// Reads from `offset` on until `out` is full or the file ends, and says how many bytes.
    fn read(&self, file: &Path, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Makes an empty file for its owner alone, or empties the one there is.
    fn create(&self, file: &Path) -> io::Result<()>;
    /// Writes all of `bytes` to an existing file.
    fn write(&self, file: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Sets a file's size.
    fn truncate(&self, file: &Path, size: u64) -> io::Result<()>;
    /// Makes a file's content and size durable.
    fn sync(&self, file: &Path) -> io::Result<()>;
    /// Makes a file for its owner alone, or empties the one there is, writes all of `bytes` and makes them durable.
    fn put(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.create(file)?;
        self.write(file, 0, bytes)?;
        self.sync(file)
    }
    /// The same of many files. Which of them an error leaves undone is not known.
    fn put_all(&self, files: &[(PathBuf, &[u8])]) -> io::Result<()> {
        files.iter().try_for_each(|(file, bytes)| self.put(file, bytes))
    }
    /// Moves a file or a folder, replacing a file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes a folder, for its owner alone, and those above it. No error if it is there.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// The same of many folders.
    fn sync_folders(&self, folders: &[&Path]) -> io::Result<()> {
        folders.iter().try_for_each(|folder| self.sync_folder(folder))
    }
}

/// The operating system's file systems.
#[derive(Clone, Copy, Default, Debug)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if let Ok(name) = entry.file_name().into_string()
                && !kind.is_symlink()
            {
                entries.push(Entry { name, folder: kind.is_dir() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn size(&self, file: &Path) -> io::Result<u64> {
        let about = fs::metadata(file)?;
        if about.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(about.len()) }
    }

    fn read(&self, file: &Path, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let file = File::open(file)?;
        let mut filled = 0;
        while filled < out.len() {
            match file.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(filled)
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        created(file).map(drop)
    }

    /// The same through one descriptor.
    fn put(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = created(file)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()
    }

    fn put_all(&self, files: &[(PathBuf, &[u8])]) -> io::Result<()> {
        side_by_side(files, |(file, bytes)| self.put(file, bytes))
    }

    fn write(&self, file: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(file)?.write_all_at(bytes, offset)
    }

    fn truncate(&self, file: &Path, size: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(file)?.set_len(size)
    }

    fn sync(&self, file: &Path) -> io::Result<()> {
        // Linux writes back a file's dirty pages whoever wrote them, so a descriptor of our own will do.
        OpenOptions::new().write(true).open(file)?.sync_data()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn sync_folders(&self, folders: &[&Path]) -> io::Result<()> {
        side_by_side(folders, |folder| self.sync_folder(folder))
    }
}

/// Does `each`, which ends with a sync: the first alone, and where that has shown that the disk takes its time, the others side by side, for a
/// journal takes many syncs at the price of one. One sync of the whole file system (syncfs(2)) would be cheaper still, but waits for what
/// others write there: seconds beside a compiler (measured).
fn side_by_side<T: Sync>(items: &[T], each: impl Fn(&T) -> io::Result<()> + Sync) -> io::Result<()> {
    let Some((first, rest)) = items.split_first() else { return Ok(()) };
    let started = clock::mono();
    each(first)?;
    if clock::mono().since(started) < SYNC_QUICK {
        return rest.iter().try_for_each(each);
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(item) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(why) = each(item) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..rest.len().min(SYNCS_AT_ONCE) {
            // Without it the others have more to do.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn created(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_takes_its_time_is_done_side_by_side_and_an_error_is_told() {
        for (took, failing) in
            [(Duration::ZERO, None), (Duration::from_millis(2), None), (SYNC_QUICK, Some(40))]
        {
            let done = Mutex::new(Vec::new());
            let outcome = side_by_side(&(0..60).collect::<Vec<u32>>(), |&item| {
                std::thread::sleep(took);
                done.lock().unwrap().push(item);
                if failing == Some(item) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            });
            assert_eq!(
                outcome.map_err(|why| why.kind()),
                failing.map_or(Ok(()), |_| Err(io::ErrorKind::StorageFull))
            );
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, (0..60).collect::<Vec<_>>());
        }
    }
}
