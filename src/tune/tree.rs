//! Files below a root: those of the kernel, which take a value and are never made, and those of ours, which are replaced whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The machine, or a tree of files that stands for one.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// Of the changes to come, which one fails.
    #[cfg(test)]
    pub(super) failing: std::cell::Cell<Option<u32>>,
}

impl Tree {
    /// The tree below `root`; `/` is the machine itself.
    pub fn new(root: &Path) -> Tree {
        Tree {
            root: root.to_owned(),
            #[cfg(test)]
            failing: std::cell::Cell::new(None),
        }
    }

    /// Whether this is the machine itself, so that programs may be run for it.
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where `path`, which is absolute, really is.
    pub fn real(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text.
    pub fn read(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.real(path))
    }

    /// Whether there is something of this name.
    pub fn exists(&self, path: &str) -> bool {
        self.real(path).exists()
    }

    /// The names in a folder, sorted; none if it can't be read.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.real(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The paths that fit `pattern`, in which `*` stands for any part of a name. Sorted.
    pub fn find(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for part in pattern.trim_start_matches('/').split('/') {
            let below = |folder: &String| -> Vec<String> {
                let names = if part.contains('*') {
                    self.names(folder).into_iter().filter(|name| fits(part, name)).collect()
                } else {
                    vec![part.to_owned()]
                };
                names.iter().map(|name| format!("{folder}/{name}")).collect()
            };
            found = found.iter().flat_map(below).collect();
        }
        found.retain(|path| self.exists(path));
        found
    }

    /// Hands a value to a file of the kernel, which must be there.
    pub fn set(&self, path: &str, value: &str) -> io::Result<()> {
        self.may_change()?;
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.real(path))?;
        file.write_all(value.as_bytes())
    }

    /// Chooses a word in a file of the kernel: `mq-deadline` in `[none] mq-deadline`.
    pub fn choose(&self, path: &str, word: &str) -> io::Result<()> {
        if self.is_real() {
            return self.set(path, word);
        }
        // There is no kernel to move the brackets.
        let shown = chosen_text(&self.read(path)?, word);
        self.set(path, &shown)
    }

    /// Puts a file of ours in its place, whole or not at all. A symbolic link is left alone.
    pub fn replace(&self, path: &str, content: &str, mode: u32) -> io::Result<()> {
        self.may_change()?;
        let real = self.real(path);
        if real.is_symlink() {
            return Err(io::Error::other("it is a symbolic link, which is left alone"));
        }
        let new = real.with_extension("tapehead-new");
        let put = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
            // The umask may have taken something away.
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &real)?;
            sync_folder(&real)
        };
        put().inspect_err(|_| drop(fs::remove_file(&new)))
    }

    /// Takes a file of ours away; none there is no error.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        self.may_change()?;
        let real = self.real(path);
        match fs::remove_file(&real) {
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome.and_then(|()| sync_folder(&real)),
        }
    }

    /// Makes the folders above `path` and gives those that were not there, the topmost first.
    pub fn make_folders(&self, path: &str) -> io::Result<Vec<String>> {
        let above = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]);
        let mut made: Vec<String> = Vec::new();
        for folder in above.filter(|folder| !self.exists(folder)) {
            if let Err(why) = self.may_change().and_then(|()| fs::create_dir(self.real(folder))) {
                for folder in made.iter().rev() {
                    // They are empty, and the first error is the one to tell.
                    let _ = self.remove_folder(folder);
                }
                return Err(why);
            }
            made.push(folder.to_owned());
        }
        Ok(made)
    }

    /// Takes a folder away if it is empty.
    pub fn remove_folder(&self, folder: &str) -> io::Result<()> {
        match fs::remove_dir(self.real(folder)) {
            Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Ok(()),
            outcome => outcome,
        }
    }

    /// A file's permission bits.
    pub fn mode(&self, path: &str) -> io::Result<u32> {
        Ok(fs::metadata(self.real(path))?.permissions().mode() & 0o7777)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests let changes fail here")]
    fn may_change(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn may_change(&self) -> io::Result<()> {
        let left = self.failing.get();
        self.failing.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) { Err(io::Error::from_raw_os_error(libc::EROFS)) } else { Ok(()) }
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(crate::sys::file::folder_of(file))?.sync_all()
}

/// Whether `name` is `pattern`, in which `*` stands for anything.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.get(at..).is_some_and(|tail| fits(rest, tail)))
        }),
    }
}

/// The chosen word: the one in brackets, else all there is.
pub(super) fn chosen(text: &str) -> &str {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text.trim(), |(word, _)| word)
}

/// What the kernel would show once `word` is chosen.
fn chosen_text(shown: &str, word: &str) -> String {
    if !shown.contains('[') {
        return format!("{word}\n");
    }
    let bare = |one: &str| one.trim_matches(['[', ']']).to_owned();
    let marked =
        shown.split_whitespace().map(bare).map(|one| if one == word { format!("[{one}]") } else { one });
    marked.collect::<Vec<_>>().join(" ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, good) in [
            ("rx-*", "rx-12", true),
            ("rx-*", "tx-12", false),
            ("nvme*n*", "nvme0n1", true),
            ("nvme*n*", "nvme0", false),
            ("*", "", true),
            ("eth0", "eth01", false),
        ] {
            assert_eq!(fits(pattern, name), good, "{pattern} {name}");
        }
    }

    #[test]
    fn the_word_in_brackets_is_the_chosen_one() {
        assert_eq!(chosen("none [mq-deadline] kyber\n"), "mq-deadline");
        assert_eq!(chosen("performance\n"), "performance");
        assert_eq!(chosen_text("none [mq-deadline] kyber\n", "none"), "[none] mq-deadline kyber\n");
        assert_eq!(chosen_text("powersave\n", "performance"), "performance\n");
    }
}
