//! A disk that survives crashes as badly as real ones do.
//!
//! A file has the content that reads see and, apart, what the device is sure to keep. A power cut keeps any subset of what was
//! written since the last sync, in sectors of 512 bytes; a name that was made or moved lasts once its folder is synced. Death of the process
//! alone costs only what was in flight. Leaves out time and errors, which the ring adds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::Prng;

/// What a device writes in one piece.
pub const SECTOR_BYTES: usize = 512;

/// A file on the disk, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Inode(pub u64);

/// How the machine dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The process is killed; the kernel lives.
    Kill,
    /// Power is lost.
    Power,
}

/// A change of a file that the device may not have kept yet.
#[derive(Clone, Debug)]
enum Change {
    Bytes { offset: u64, bytes: Vec<u8> },
    Size(u64),
}

#[derive(Clone, Debug, Default)]
struct File {
    seen: Vec<u8>,
    kept: Vec<u8>,
    /// Since the last sync, oldest first.
    unsynced: Vec<Change>,
}

/// A change of names, by folder.
#[derive(Clone, Debug)]
enum NameChange {
    Made(PathBuf, Inode),
    Moved(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            NameChange::Made(path, _) | NameChange::Removed(path) | NameChange::Moved(_, path) => path,
        }
    }

    fn follow(&mut self, from: &Path, to: &Path) {
        let follow = |path: &mut PathBuf| {
            if let Ok(below) = path.strip_prefix(from) {
                *path = to.join(below);
            }
        };
        match self {
            NameChange::Made(path, _) | NameChange::Removed(path) => follow(path),
            NameChange::Moved(old, new) => {
                follow(old);
                follow(new);
            }
        }
    }
}

/// Every write, for whoever checks the sealed bytes: file, offset, bytes, at the moment they were handed over.
#[derive(Clone, Debug)]
pub struct Witnessed {
    /// The file.
    pub inode: Inode,
    /// Where.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<Inode, File>,
    names: BTreeMap<PathBuf, Inode>,
    names_kept: BTreeMap<PathBuf, Inode>,
    names_unsynced: Vec<NameChange>,
    /// Changes handed over and not yet done, by ticket.
    in_flight: BTreeMap<u64, (Inode, u64, Vec<u8>)>,
    next: u64,
    born: BTreeMap<Inode, PathBuf>,
    witnessed: Vec<Witnessed>,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// Makes an empty file; `None` if the name is taken.
    pub fn create(&mut self, path: &Path) -> Option<Inode> {
        if self.names.contains_key(path) {
            return None;
        }
        self.next += 1;
        let inode = Inode(self.next);
        self.files.insert(inode, File::default());
        self.born.insert(inode, path.to_owned());
        self.names.insert(path.to_owned(), inode);
        self.names_unsynced.push(NameChange::Made(path.to_owned(), inode));
        Some(inode)
    }

    /// The file of this name.
    pub fn find(&self, path: &Path) -> Option<Inode> {
        self.names.get(path).copied()
    }

    /// The name that a file was made under.
    pub fn born_as(&self, inode: Inode) -> Option<&Path> {
        self.born.get(&inode).map(PathBuf::as_path)
    }

    /// Whether some name lies in this folder.
    pub fn is_folder(&self, path: &Path) -> bool {
        self.names.keys().any(|name| name.parent().is_some_and(|folder| folder.starts_with(path)))
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = (&Path, Inode)> {
        self.names.iter().map(|(path, &inode)| (path.as_path(), inode))
    }

    /// The content that reads see.
    pub fn content(&self, inode: Inode) -> &[u8] {
        self.files.get(&inode).map_or(&[], |file| &file.seen)
    }

    /// A write is handed over. It may reach the device from now on, in any part, until [`Disk::finish_write`].
    pub fn start_write(&mut self, inode: Inode, offset: u64, bytes: Vec<u8>) -> u64 {
        self.witnessed.push(Witnessed { inode, offset, bytes: bytes.clone() });
        self.next += 1;
        self.in_flight.insert(self.next, (inode, offset, bytes));
        self.next
    }

    /// The write ends with its first `done` bytes written.
    pub fn finish_write(&mut self, ticket: u64, done: usize) {
        if let Some((inode, offset, mut bytes)) = self.in_flight.remove(&ticket) {
            bytes.truncate(done);
            self.change(inode, Change::Bytes { offset, bytes });
        }
    }

    /// Writes at once.
    pub fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        let ticket = self.start_write(inode, offset, bytes.to_vec());
        self.finish_write(ticket, bytes.len());
    }

    /// Sets the size.
    pub fn truncate(&mut self, inode: Inode, size: u64) {
        self.change(inode, Change::Size(size));
    }

    /// How many changes of the file are not synced; a sync that starts now covers these and no later ones.
    pub fn mark(&self, inode: Inode) -> usize {
        self.files.get(&inode).map_or(0, |file| file.unsynced.len())
    }

    /// The sync that started at `mark` is done.
    pub fn sync(&mut self, inode: Inode, mark: usize) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        let covered = mark.min(file.unsynced.len());
        for change in file.unsynced.drain(..covered) {
            apply(&mut file.kept, &change);
        }
    }

    /// Moves a name, replacing what is there, or a folder with all that is in it; false if there is nothing of the old name.
    pub fn rename(&mut self, from: &Path, to: &Path) -> bool {
        if !move_names(&mut self.names, from, to) {
            return false;
        }
        self.names_unsynced.push(NameChange::Moved(from.to_owned(), to.to_owned()));
        true
    }

    /// Removes a name; false if there is none.
    pub fn remove(&mut self, path: &Path) -> bool {
        let there = self.names.remove(path).is_some();
        if there {
            self.names_unsynced.push(NameChange::Removed(path.to_owned()));
        }
        there
    }

    /// Makes the names in `folder` last.
    pub fn sync_folder(&mut self, folder: &Path) {
        let pending = std::mem::take(&mut self.names_unsynced);
        for change in pending {
            if change.path().parent() != Some(folder) {
                self.names_unsynced.push(change);
                continue;
            }
            if let NameChange::Moved(from, to) = &change {
                // What is still to be synced inside a folder moves along with it.
                self.names_unsynced.iter_mut().for_each(|earlier| earlier.follow(from, to));
            }
            apply_name(&mut self.names_kept, change);
        }
    }

    /// Everything written since the last call, in order.
    pub fn take_witnessed(&mut self) -> Vec<Witnessed> {
        std::mem::take(&mut self.witnessed)
    }

    /// The machine dies; afterwards the disk holds what a restart would find.
    pub fn crash(&mut self, how: Crash, prng: &mut Prng) {
        // What was in flight may have been written, wholly, in part, or not at all, whoever dies.
        for (inode, offset, bytes) in std::mem::take(&mut self.in_flight).into_values() {
            self.change_in_part(inode, offset, &bytes, prng);
        }
        if how == Crash::Power {
            self.files.values_mut().for_each(|file| lose_power(file, prng));
            let pending = std::mem::take(&mut self.names_unsynced);
            // A journal keeps the order of names: some first part of it survives.
            let survive = prng.below(pending.len() as u64 + 1) as usize;
            pending.into_iter().take(survive).for_each(|change| apply_name(&mut self.names_kept, change));
            self.names = self.names_kept.clone();
        }
    }

    fn change_in_part(&mut self, inode: Inode, offset: u64, bytes: &[u8], prng: &mut Prng) {
        let keep = Keep::drawn(prng);
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if keep.this(prng) {
                let offset = offset + (index * SECTOR_BYTES) as u64;
                self.change(inode, Change::Bytes { offset, bytes: sector.to_vec() });
            }
        }
    }

    fn change(&mut self, inode: Inode, change: Change) {
        if let Some(file) = self.files.get_mut(&inode) {
            apply(&mut file.seen, &change);
            file.unsynced.push(change);
        }
    }
}

/// How much of a change survives: extremes are as likely as mixtures.
enum Keep {
    All,
    None,
    Some,
}

impl Keep {
    fn drawn(prng: &mut Prng) -> Keep {
        match prng.below(3) {
            0 => Keep::All,
            1 => Keep::None,
            _ => Keep::Some,
        }
    }

    fn this(&self, prng: &mut Prng) -> bool {
        match self {
            Keep::All => true,
            Keep::None => false,
            Keep::Some => prng.chance(500),
        }
    }
}

fn lose_power(file: &mut File, prng: &mut Prng) {
    for change in std::mem::take(&mut file.unsynced) {
        let keep = Keep::drawn(prng);
        match change {
            Change::Size(_) => {
                if keep.this(prng) {
                    apply(&mut file.kept, &change);
                }
            }
            Change::Bytes { offset, bytes } => {
                for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if keep.this(prng) {
                        let offset = offset + (index * SECTOR_BYTES) as u64;
                        apply(&mut file.kept, &Change::Bytes { offset, bytes: sector.to_vec() });
                    }
                }
            }
        }
    }
    file.seen = file.kept.clone();
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Size(size) => content.resize(*size as usize, 0),
        Change::Bytes { bytes, .. } if bytes.is_empty() => {}
        Change::Bytes { offset, bytes } => {
            let (start, end) = (*offset as usize, *offset as usize + bytes.len());
            content.resize(content.len().max(end), 0);
            content[start..end].copy_from_slice(bytes);
        }
    }
}

/// Moves a file, or every file below a folder; whether there was one.
fn move_names(names: &mut BTreeMap<PathBuf, Inode>, from: &Path, to: &Path) -> bool {
    let moved: Vec<PathBuf> = names.keys().filter(|name| name.starts_with(from)).cloned().collect();
    for name in &moved {
        if let (Some(inode), Ok(below)) = (names.remove(name), name.strip_prefix(from)) {
            let there = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
            names.insert(there, inode);
        }
    }
    !moved.is_empty()
}

fn apply_name(names: &mut BTreeMap<PathBuf, Inode>, change: NameChange) {
    match change {
        NameChange::Made(path, inode) => {
            names.insert(path, inode);
        }
        NameChange::Moved(from, to) => {
            move_names(names, &from, &to);
        }
        NameChange::Removed(path) => {
            names.remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with(path: &str) -> (Disk, Inode) {
        let mut disk = Disk::new();
        let inode = disk.create(Path::new(path)).unwrap();
        (disk, inode)
    }

    #[test]
    fn what_was_synced_under_a_synced_name_survives_every_power_cut() {
        for seed in 0..50 {
            let (mut disk, inode) = disk_with("/r/a.part");
            disk.write(inode, 0, &[1; 4096]);
            disk.sync(inode, disk.mark(inode));
            disk.rename(Path::new("/r/a.part"), Path::new("/r/a"));
            disk.sync_folder(Path::new("/r"));
            disk.write(inode, 4096, &[2; 4096]);
            disk.crash(Crash::Power, &mut Prng::new(seed));
            let inode = disk.find(Path::new("/r/a")).unwrap();
            assert_eq!(disk.content(inode)[..4096], [1; 4096]);
        }
    }

    #[test]
    fn what_was_not_synced_is_kept_lost_or_torn() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..60 {
            let (mut disk, inode) = disk_with("/r/a");
            disk.sync_folder(Path::new("/r"));
            disk.write(inode, 0, &[1; 4096]);
            disk.crash(Crash::Power, &mut Prng::new(seed));
            match disk.content(inode).iter().filter(|&&byte| byte == 1).count() {
                4096 => kept += 1,
                0 => lost += 1,
                count => {
                    assert!(count.is_multiple_of(SECTOR_BYTES));
                    torn += 1;
                }
            }
        }
        assert!(kept > 5 && lost > 5 && torn > 5, "{kept} {lost} {torn}");
    }

    #[test]
    fn a_name_without_its_folders_sync_may_be_the_old_one() {
        let outcomes: Vec<bool> = (0..50)
            .map(|seed| {
                let (mut disk, _) = disk_with("/r/a.part");
                disk.sync_folder(Path::new("/r"));
                disk.rename(Path::new("/r/a.part"), Path::new("/r/a"));
                disk.crash(Crash::Power, &mut Prng::new(seed));
                assert!(
                    disk.find(Path::new("/r/a")).is_some() != disk.find(Path::new("/r/a.part")).is_some()
                );
                disk.find(Path::new("/r/a")).is_some()
            })
            .collect();
        assert!(outcomes.contains(&true) && outcomes.contains(&false));
    }

    #[test]
    fn a_kill_costs_only_what_was_in_flight_and_a_sync_covers_only_what_came_before_it() {
        let (mut disk, inode) = disk_with("/r/a");
        disk.write(inode, 0, &[1; 512]);
        let mark = disk.mark(inode);
        disk.write(inode, 512, &[2; 512]);
        disk.sync(inode, mark);
        assert_eq!(disk.mark(inode), 1, "the second write came after the sync had started");
        disk.crash(Crash::Kill, &mut Prng::new(1));
        assert_eq!(disk.content(inode)[..1024], [[1; 512], [2; 512]].concat());
    }
}
