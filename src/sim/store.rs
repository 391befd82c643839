//! The simulated disk as the store sees it, so that recovery and verification run on what a crash has left; and the key provider.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::Wall;
use crate::keys::{KeyContext, KeyError, KeyProvider};
use crate::ring::sim::disk::Disk as SimDisk;
use crate::seal::{DataKey, WrappedKey};
use crate::store::{Disk, Entry};

/// A disk lent to the store. After a number of changes the process dies: nothing works any more.
pub struct Store {
    state: Mutex<State>,
}

struct State {
    disk: SimDisk,
    changes_left: Option<u64>,
}

impl Store {
    /// Lends `disk`; dies after `changes`, if given.
    pub fn new(disk: SimDisk, changes: Option<u64>) -> Store {
        Store { state: Mutex::new(State { disk, changes_left: changes }) }
    }

    /// Gives the disk back.
    pub fn into_disk(self) -> SimDisk {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut SimDisk) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        match &mut state.changes_left {
            Some(0) => return Err(io::Error::other("the process is dead")),
            Some(left) => *left -= 1,
            None => {}
        }
        change(&mut state.disk)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Store {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let mut entries = BTreeSet::new();
        for (name, _) in state.disk.names() {
            let Ok(below) = name.strip_prefix(folder) else { continue };
            let mut parts = below.iter();
            if let Some(first) = parts.next() {
                let (name, folder) = (first.to_string_lossy().into_owned(), parts.next().is_some());
                entries.insert(Entry { name, folder });
            }
        }
        Ok(entries.into_iter().collect())
    }

    fn size(&self, file: &Path) -> io::Result<u64> {
        let state = self.state();
        state.disk.find(file).map(|inode| state.disk.content(inode).len() as u64).ok_or_else(missing)
    }

    fn read(&self, file: &Path, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let state = self.state();
        let inode = state.disk.find(file).ok_or_else(missing)?;
        let content = state.disk.content(inode).get(offset as usize..).unwrap_or_default();
        let bytes = content.len().min(out.len());
        out[..bytes].copy_from_slice(&content[..bytes]);
        Ok(bytes)
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        self.change(|disk| {
            match disk.find(file) {
                Some(inode) => disk.truncate(inode, 0),
                None => drop(disk.create(file)),
            }
            Ok(())
        })
    }

    fn write(&self, file: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| {
            let inode = disk.find(file).ok_or_else(missing)?;
            disk.write(inode, offset, bytes);
            Ok(())
        })
    }

    fn truncate(&self, file: &Path, size: u64) -> io::Result<()> {
        self.change(|disk| {
            let inode = disk.find(file).ok_or_else(missing)?;
            disk.truncate(inode, size);
            Ok(())
        })
    }

    fn sync(&self, file: &Path) -> io::Result<()> {
        self.change(|disk| {
            let inode = disk.find(file).ok_or_else(missing)?;
            disk.sync(inode, disk.mark(inode));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|disk| if disk.rename(from, to) { Ok(()) } else { Err(missing()) })
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.change(|disk| if disk.remove(file) { Ok(()) } else { Err(missing()) })
    }

    /// Folders are there as long as something is in them.
    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        self.change(|_| Ok(()))
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        self.change(|_| Ok(()))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|disk| {
            disk.sync_folder(folder);
            Ok(())
        })
    }
}

/// A provider that holds every data key in memory, by the number of its call.
#[derive(Default)]
pub struct SimKeys(pub BTreeMap<String, DataKey>);

impl KeyProvider for SimKeys {
    fn name(&self) -> &str {
        "sim"
    }

    fn wrap(&self, _: &DataKey, _: KeyContext<'_>, _: Wall) -> Result<WrappedKey, KeyError> {
        Err(KeyError::Refused("the simulated provider wraps nothing".to_owned()))
    }

    fn unwrap(&self, wrapped: &WrappedKey, _: KeyContext<'_>) -> Result<DataKey, KeyError> {
        let unknown = || KeyError::Refused(format!("no key of call {}", wrapped.key_id));
        self.0.get(&wrapped.key_id).cloned().ok_or_else(unknown)
    }
}
