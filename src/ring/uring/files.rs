//! File operations on the ring: each is in flight under an index, and goes through one or more steps until it is answered.
//!
//! What may block runs in the kernel's own threads (io-wq), not in the shard's: opening, making folders, allocating, syncing,
//! renaming. Writes into allocated space complete without them.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use io_uring::squeue::Entry;
use io_uring::types::{Fd, Fixed, FsyncFlags};
use io_uring::{Submitter, opcode};

use super::setup::region_of;
use crate::limits::BLOCK_BYTES;
use crate::ring::probe::Features;
use crate::ring::{Completion, Errno, FileIx, Op};
use crate::sys::file::{self, FILE_MODE, FOLDER_MODE, c_path, folder_of};
use crate::sys::memory::{BlockIx, BlockPool};

/// The files of a ring and what is in flight for them.
pub(super) struct Files {
    slots: Box<[Option<Open>]>,
    pending: Box<[Option<Pending>]>,
    free: Vec<u32>,
    /// Where the block pool starts.
    base: *const u8,
    /// Whether the pool is registered.
    registered: bool,
    features: Features,
}

struct Open {
    file: File,
    /// Whether the kernel knows it by its slot as well, which saves a look-up per write.
    fixed: bool,
}

/// An operation in flight. What the kernel reads by address (paths) lives in here until it is done.
enum Pending {
    Write { file: FileIx, block: BlockIx, start: u32 },
    Allocate { file: FileIx },
    Truncate { file: FileIx },
    Sync { file: FileIx },
    Close { file: FileIx },
    Create(Box<Create>),
    Rename(Box<Rename>),
}

struct Create {
    file: FileIx,
    path: PathBuf,
    c_path: CString,
    direct: bool,
    /// Folders to make, the innermost first.
    folders: Vec<CString>,
    step: CreateStep,
    /// So that somebody who removes folders while we make them can't keep us busy for ever.
    steps_left: usize,
}

#[derive(Clone, Copy)]
enum CreateStep {
    Open,
    Folder(usize),
}

struct Rename {
    file: FileIx,
    from: CString,
    to: CString,
    folder: CString,
    step: RenameStep,
}

enum RenameStep {
    Rename,
    OpenFolder,
    SyncFolder(#[expect(dead_code, reason = "open until the sync is done")] OwnedFd),
}

/// What an operation needs next.
pub(super) enum Next {
    /// This entry, without its tag, for the operation at the index.
    Submit(u32, Entry),
    /// Nothing: this is its answer.
    Answer(Completion<'static>),
}

type Outcome = Result<i32, Errno>;

impl Files {
    pub(super) fn new(
        files_max: u32,
        pending_max: u32,
        blocks: &BlockPool,
        registered: bool,
        features: Features,
    ) -> Files {
        Files {
            slots: (0..files_max).map(|_| None).collect(),
            pending: (0..pending_max).map(|_| None).collect(),
            free: (0..pending_max).rev().collect(),
            base: blocks.region().0,
            registered,
            features,
        }
    }

    /// Operations in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.pending.len() - self.free.len()
    }

    /// Starts a file operation; handed back if too many are in flight.
    ///
    /// # Panics
    /// If `op` is about a socket, or names a slot that is in use or beyond the plan.
    pub(super) fn start(&mut self, op: Op, blocks: &BlockPool) -> Result<Next, Op> {
        let Some(&index) = self.free.last() else { return Err(op) };
        let next = self.first_step(index, op, blocks);
        if let Next::Submit(..) = next {
            self.free.pop();
        }
        Ok(next)
    }

    fn first_step(&mut self, index: u32, op: Op, blocks: &BlockPool) -> Next {
        let (pending, entry) = match op {
            Op::Create { file, path } => return self.start_create(index, file, path),
            Op::Rename { file, from, to } => return self.start_rename(index, file, &from, &to),
            Op::CloseFile { file } => match self.slots[file.0 as usize].take() {
                None => return Next::Answer(Completion::FileClosed { file }),
                Some(open) => (Pending::Close { file }, close(file, open)),
            },
            Op::Truncate { file, size } => match self.truncate(file, size) {
                Ok(entry) => (Pending::Truncate { file }, entry),
                Err(result) => return Next::Answer(Completion::Truncated { file, result }),
            },
            Op::Write { file, offset, block, start, len } => {
                match self.write(file, offset, blocks.bytes(block, start, len)) {
                    Ok(entry) => (Pending::Write { file, block, start }, entry),
                    Err(errno) => {
                        return Next::Answer(Completion::Written { file, block, start, result: Err(errno) });
                    }
                }
            }
            Op::Allocate { file, size } => match self.fd(file) {
                Ok(fd) => (Pending::Allocate { file }, opcode::Fallocate::new(fd, size).build()),
                Err(errno) => return Next::Answer(Completion::Allocated { file, result: Err(errno) }),
            },
            Op::Sync { file } => match self.fd(file) {
                Ok(fd) => {
                    (Pending::Sync { file }, opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build())
                }
                Err(errno) => return Next::Answer(Completion::Synced { file, result: Err(errno) }),
            },
            Op::Bind { .. } | Op::CloseSocket { .. } | Op::SendTo { .. } => {
                unreachable!("not about a file: {op:?}")
            }
        };
        self.pending[index as usize] = Some(pending);
        Next::Submit(index, entry)
    }

    fn fd(&self, file: FileIx) -> Result<Fd, Errno> {
        let open = self.slots[file.0 as usize].as_ref().ok_or(Errno(libc::EBADF))?;
        Ok(Fd(open.file.as_raw_fd()))
    }

    fn write(&self, file: FileIx, offset: u64, bytes: &[u8]) -> Result<Entry, Errno> {
        let open = self.slots[file.0 as usize].as_ref().ok_or(Errno(libc::EBADF))?;
        let (at, len) = (bytes.as_ptr(), bytes.len() as u32);
        assert!(at >= self.base, "a block of the pool that the ring was made with");
        let region = region_of(at as usize - self.base as usize);
        let (fd, slot) = (Fd(open.file.as_raw_fd()), Fixed(file.0));
        Ok(match (self.registered, open.fixed) {
            (true, true) => opcode::WriteFixed::new(slot, at, len, region).offset(offset).build(),
            (true, false) => opcode::WriteFixed::new(fd, at, len, region).offset(offset).build(),
            (false, true) => opcode::Write::new(slot, at, len).offset(offset).build(),
            (false, false) => opcode::Write::new(fd, at, len).offset(offset).build(),
        })
    }

    /// The entry, or the answer at once where the kernel can't do it on the ring.
    fn truncate(&self, file: FileIx, size: u64) -> Result<Entry, Result<(), Errno>> {
        let open = self.slots[file.0 as usize].as_ref().ok_or(Err(Errno(libc::EBADF)))?;
        if self.features.truncate {
            return Ok(opcode::Ftruncate::new(Fd(open.file.as_raw_fd()), size).build());
        }
        Err(open.file.set_len(size).map_err(|error| errno(&error)))
    }

    fn start_create(&mut self, index: u32, file: FileIx, path: PathBuf) -> Next {
        assert!(self.slots[file.0 as usize].is_none(), "{file:?} is in use");
        // A recording begins with a folder of its own: to try without would be a round for nothing.
        let above = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        let folders: Vec<CString> = above.filter_map(|folder| c_path(folder).ok()).collect();
        let c_path = match c_path(&path) {
            Ok(c_path) => c_path,
            Err(error) => return Next::Answer(Completion::Created { file, result: Err(errno(&error)) }),
        };
        let step = if folders.is_empty() { CreateStep::Open } else { CreateStep::Folder(0) };
        let steps_left = 2 * folders.len() + 2;
        let create = Box::new(Create { file, path, c_path, direct: true, folders, step, steps_left });
        let entry = create.entry();
        self.pending[index as usize] = Some(Pending::Create(create));
        Next::Submit(index, entry)
    }

    fn start_rename(&mut self, index: u32, file: FileIx, from: &Path, to: &Path) -> Next {
        let names = || Ok::<_, io::Error>((c_path(from)?, c_path(to)?, c_path(folder_of(to))?));
        let (from, to, folder) = match names() {
            Ok(names) => names,
            Err(error) => return Next::Answer(Completion::Renamed { file, result: Err(errno(&error)) }),
        };
        let rename = Box::new(Rename { file, from, to, folder, step: RenameStep::Rename });
        let entry = opcode::RenameAt::new(AT_CWD, rename.from.as_ptr(), AT_CWD, rename.to.as_ptr()).build();
        self.pending[index as usize] = Some(Pending::Rename(rename));
        Next::Submit(index, entry)
    }

    /// The kernel has done the step of the operation at `index`.
    pub(super) fn completed(&mut self, index: u32, result: i32, submitter: &Submitter<'_>) -> Next {
        let pending =
            self.pending[index as usize].take().expect("an operation completes while it is in flight");
        let outcome = if result < 0 { Err(Errno(-result)) } else { Ok(result) };
        let next = match pending {
            Pending::Create(create) => self.step_create(index, create, outcome, submitter),
            Pending::Rename(rename) => self.step_rename(index, rename, outcome),
            simple => Next::Answer(simple.answer(outcome)),
        };
        if let Next::Answer(_) = next {
            self.free.push(index);
        }
        next
    }

    fn step_create(
        &mut self,
        index: u32,
        mut create: Box<Create>,
        outcome: Outcome,
        submitter: &Submitter<'_>,
    ) -> Next {
        let file = create.file;
        let result = match create.step {
            CreateStep::Open => match outcome {
                Ok(fd) => {
                    self.install(file, fd, submitter);
                    Some(Ok(()))
                }
                Err(errno) => create.open_failed(errno),
            },
            CreateStep::Folder(at) => create.folder_made(at, outcome),
        };
        match result {
            Some(result) => Next::Answer(Completion::Created { file, result }),
            None => {
                let entry = create.entry();
                self.pending[index as usize] = Some(Pending::Create(create));
                Next::Submit(index, entry)
            }
        }
    }

    fn install(&mut self, file: FileIx, fd: RawFd, submitter: &Submitter<'_>) {
        // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
        let opened = unsafe { File::from_raw_fd(fd) };
        let fixed = submitter.register_files_update(file.0, &[fd]).is_ok();
        self.slots[file.0 as usize] = Some(Open { file: opened, fixed });
    }

    fn step_rename(&mut self, index: u32, mut rename: Box<Rename>, outcome: Outcome) -> Next {
        let file = rename.file;
        let answer = |result| Next::Answer(Completion::Renamed { file, result });
        let entry = match (&rename.step, outcome) {
            (_, Err(errno)) => return answer(Err(errno)),
            (RenameStep::Rename, Ok(_)) => {
                rename.step = RenameStep::OpenFolder;
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
                opcode::OpenAt::new(AT_CWD, rename.folder.as_ptr()).flags(flags).build()
            }
            (RenameStep::OpenFolder, Ok(fd)) => {
                // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
                rename.step = RenameStep::SyncFolder(unsafe { OwnedFd::from_raw_fd(fd) });
                opcode::Fsync::new(Fd(fd)).build()
            }
            (RenameStep::SyncFolder(_), Ok(_)) => return answer(Ok(())),
        };
        self.pending[index as usize] = Some(Pending::Rename(rename));
        Next::Submit(index, entry)
    }
}

const AT_CWD: Fd = Fd(libc::AT_FDCWD);

impl Pending {
    /// The answer of an operation of one step.
    fn answer(self, outcome: Outcome) -> Completion<'static> {
        let result = outcome.map(drop);
        match self {
            Pending::Write { file, block, start } => {
                Completion::Written { file, block, start, result: outcome.map(|bytes| bytes as u32) }
            }
            Pending::Allocate { file } => {
                // No preallocation on this file system (NFS before 4.2, some FUSE): the file grows as it is written.
                let result = if result == Err(Errno(libc::EOPNOTSUPP)) { Ok(()) } else { result };
                Completion::Allocated { file, result }
            }
            Pending::Truncate { file } => Completion::Truncated { file, result },
            Pending::Sync { file } => Completion::Synced { file, result },
            Pending::Close { file } => Completion::FileClosed { file },
            Pending::Create(create) => Completion::Created { file: create.file, result },
            Pending::Rename(rename) => Completion::Renamed { file: rename.file, result },
        }
    }
}

impl Create {
    /// The entry of the present step.
    fn entry(&self) -> Entry {
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        match self.step {
            CreateStep::Folder(at) => {
                opcode::MkDirAt::new(AT_CWD, self.folders[at].as_ptr()).mode(FOLDER_MODE).build()
            }
            CreateStep::Open if self.direct => opcode::OpenAt::new(AT_CWD, self.c_path.as_ptr())
                .flags(flags | libc::O_CREAT | libc::O_EXCL | libc::O_DIRECT)
                .mode(FILE_MODE)
                .build(),
            // The kernel has made the file before it found that it can't open it for direct I/O.
            CreateStep::Open => {
                opcode::OpenAt::new(AT_CWD, self.c_path.as_ptr()).flags(flags | libc::O_NOFOLLOW).build()
            }
        }
    }

    /// The result if there is nothing left to try.
    fn open_failed(&mut self, errno: Errno) -> Option<Result<(), Errno>> {
        match errno.0 {
            libc::EINVAL if self.direct => {
                file::warn_no_direct(&self.path);
                self.direct = false;
                None
            }
            _ => Some(Err(errno)),
        }
    }

    /// Up while the folder above is missing too, then down again, then open.
    fn folder_made(&mut self, at: usize, outcome: Outcome) -> Option<Result<(), Errno>> {
        self.steps_left = self.steps_left.saturating_sub(1);
        self.step = match outcome {
            Ok(_) | Err(Errno(libc::EEXIST)) if at == 0 => CreateStep::Open,
            Ok(_) | Err(Errno(libc::EEXIST)) => CreateStep::Folder(at - 1),
            Err(Errno(libc::ENOENT)) if at + 1 < self.folders.len() && self.steps_left > 0 => {
                CreateStep::Folder(at + 1)
            }
            Err(errno) => return Some(Err(errno)),
        };
        None
    }
}

/// Closes both ways by which the kernel knows the file.
fn close(file: FileIx, open: Open) -> Entry {
    if open.fixed {
        // The slot of the ring keeps the file alive, so this drop closes the descriptor without waiting for anything.
        drop(open.file);
        return opcode::Close::new(Fixed(file.0)).build();
    }
    opcode::Close::new(Fd(open.file.into_raw_fd())).build()
}

fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

const _: () = assert!(BLOCK_BYTES <= u32::MAX as usize);
