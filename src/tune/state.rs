//! What was there before: the record that `undo` works from.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;

use serde::{Deserialize, Serialize};

use super::inspect::How;
use super::list::Setting;
use super::tree::{Tree, fits};

/// Its folder. Root's alone: what stands in it is written back as root.
pub const STATE_FOLDER: &str = "/var/lib/tapehead-tune";
const FILE: &str = "/var/lib/tapehead-tune/state.json";

/// One thing that was changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// For which setting.
    pub setting: String,
    /// A path, or `nft:` and a table.
    pub path: String,
    /// How it is changed back.
    pub how: How,
    /// What stood there; nothing if there was no such file, or table.
    pub before: Option<String>,
    /// The permission bits of that file.
    pub mode: Option<u32>,
    /// What stands there now, unless somebody else has changed it since.
    pub after: String,
    /// The boot that it is true of, where the name means something else after the next.
    #[serde(default)]
    pub boot: Option<String>,
}

/// The record.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// In the order in which it was done.
    pub entries: Vec<Entry>,
    /// Folders that were not there before, in the order in which they were made.
    pub folders: Vec<String>,
}

/// Why nothing was done.
#[derive(Debug)]
pub enum StateError {
    /// Another one is at it.
    Busy,
    /// The record can't be read or written.
    Io(io::Error),
    /// It does not look like ours.
    Strange(String),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Busy => f.write_str("another `tapehead tune` is at work; nothing was done"),
            StateError::Io(why) if why.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "{STATE_FOLDER}: this needs root; nothing was done")
            }
            StateError::Io(why) => write!(f, "{FILE}: {why}; nothing was done"),
            StateError::Strange(what) => {
                write!(
                    f,
                    "{FILE} {what}: it is not believed, and nothing was done. Look at it, then move it away"
                )
            }
        }
    }
}

impl std::error::Error for StateError {}

impl From<io::Error> for StateError {
    fn from(why: io::Error) -> StateError {
        StateError::Io(why)
    }
}

impl State {
    /// The record as it stands; empty if there is none. Entries of an earlier boot that mean nothing any more are left out.
    pub fn load(tree: &Tree, settings: &[Setting], boot: &str) -> Result<State, StateError> {
        let text = match tree.read(FILE) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(why) => return Err(why.into()),
        };
        if tree.mode(FILE)? & 0o077 != 0 {
            return Err(StateError::Strange("is open to others than its owner".to_owned()));
        }
        let mut state: State = serde_json::from_str(&text)
            .map_err(|why| StateError::Strange(format!("can't be read ({why})")))?;
        if let Some(entry) = state.entries.iter().find(|entry| !is_ours(entry, settings)) {
            return Err(StateError::Strange(format!("names {:?}, which is none of ours", entry.path)));
        }
        state.entries.retain(|entry| entry.boot.as_ref().is_none_or(|of| of == boot));
        Ok(state)
    }

    /// Writes it down, replacing what was; an empty one goes, with every folder that was made.
    pub fn save(&mut self, tree: &Tree) -> io::Result<()> {
        if !self.entries.is_empty() {
            self.make_folders(tree, FILE)?;
            let text = serde_json::to_string_pretty(self).map_err(io::Error::other)? + "\n";
            return tree.replace(FILE, &text, 0o600);
        }
        tree.remove(FILE)?;
        for folder in self.folders.iter().rev() {
            tree.remove_folder(folder)?;
        }
        self.folders.clear();
        Ok(())
    }

    /// Makes the folders above `path` and remembers which were not there.
    pub fn make_folders(&mut self, tree: &Tree, path: &str) -> io::Result<()> {
        self.folders.extend(tree.make_folders(path)?);
        Ok(())
    }

    /// Remembers a change. Of what was there before, the first word counts.
    pub fn remember(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|known| known.path == entry.path) {
            Some(known) => known.after = entry.after,
            None => self.entries.push(entry),
        }
    }
}

/// Whether the list has a setting that touches this.
fn is_ours(entry: &Entry, settings: &[Setting]) -> bool {
    let names = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let parts = names(&entry.path);
    let same = |pattern: &String| {
        let pattern = names(pattern);
        pattern.len() == parts.len() && pattern.iter().zip(&parts).all(|(pattern, part)| fits(pattern, part))
    };
    !parts.iter().any(|part| part == "..")
        && settings.iter().any(|setting| setting.may_touch().iter().any(same))
}

/// Keeps others from doing the same at once, for as long as it is held. The folder has to be there.
pub(super) fn lock(tree: &Tree) -> Result<File, StateError> {
    let folder = File::open(tree.real(STATE_FOLDER))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => Err(StateError::Busy),
        Err(TryLockError::Error(why)) => Err(why.into()),
    }
}
