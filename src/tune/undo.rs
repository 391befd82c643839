//! Putting back what was there before, and nothing else.

use std::io;

use super::apply::Failure;
use super::inspect::How;
use super::list::Setting;
use super::state::{Entry, State, StateError, lock};
use super::system;
use super::tree::{Tree, chosen};

/// What came of it.
#[derive(Default, Debug)]
pub struct Undone {
    /// What is again as it was.
    pub restored: Vec<(String, String)>,
    /// What was as it had been, or is gone.
    pub nothing_to_do: Vec<String>,
    /// What was left as it is.
    pub failed: Vec<Failure>,
}

/// Puts everything back, the last change first. What somebody else has changed since is left alone, unless `force`d. May be repeated.
pub fn undo(settings: &[Setting], tree: &Tree, boot: &str, force: bool) -> Result<Undone, StateError> {
    let mut undone = Undone::default();
    let _lock = match lock(tree) {
        Err(StateError::Io(why)) if why.kind() == io::ErrorKind::NotFound => return Ok(undone),
        outcome => outcome?,
    };
    let mut state = State::load(tree, settings, boot)?;
    let mut kept = Vec::new();
    for entry in state.entries.drain(..).rev() {
        match restore(&entry, tree, force) {
            Ok(true) => undone.restored.push((entry.setting, entry.path)),
            Ok(false) => undone.nothing_to_do.push(entry.path),
            Err(why) => {
                undone.failed.push(Failure { setting: entry.setting.clone(), path: entry.path.clone(), why });
                kept.push(entry);
            }
        }
    }
    kept.reverse();
    state.entries = kept;
    state.save(tree)?;
    if tree.is_real() && undone.restored.iter().any(|(_, path)| path.starts_with("/etc/systemd/")) {
        // What is left to do then is systemd's: the files are as they were.
        if let Err(why) = system::reload_units() {
            let (setting, path) = ("unit".to_owned(), "/etc/systemd/system".to_owned());
            undone.failed.push(Failure {
                setting,
                path,
                why: format!("as before, but systemd has not read it: {why}"),
            });
        }
    }
    Ok(undone)
}

/// Whether there was anything to do.
fn restore(entry: &Entry, tree: &Tree, force: bool) -> Result<bool, String> {
    if entry.how == How::Table {
        return table(entry, tree);
    }
    let now = match tree.read(&entry.path) {
        Ok(text) => Some(text),
        Err(why) if why.kind() == io::ErrorKind::NotFound => None,
        Err(why) => return Err(why.to_string()),
    };
    let now = if entry.how == How::Word { now.map(|text| chosen(&text).to_owned()) } else { now };
    if now == entry.before || (now.is_none() && entry.how != How::File) {
        return Ok(false);
    }
    if !force && now.as_ref() != Some(&entry.after) {
        return Err(
            "somebody has changed it since: left alone (--force puts it back all the same)".to_owned()
        );
    }
    let done = match (&entry.before, entry.how) {
        (Some(before), How::Value) => tree.set(&entry.path, before),
        (Some(before), How::Word) => tree.choose(&entry.path, before),
        (Some(before), _) => tree.replace(&entry.path, before, entry.mode.unwrap_or(0o644)),
        (None, _) => tree.remove(&entry.path),
    };
    done.map(|()| true).map_err(|why| why.to_string())
}

/// A table of ours is deleted.
fn table(entry: &Entry, tree: &Tree) -> Result<bool, String> {
    let Some(table) = entry.path.strip_prefix("nft:").filter(|_| tree.is_real()) else { return Ok(false) };
    if !system::table_is_loaded(table)? {
        return Ok(false);
    }
    system::delete_table(table).map(|()| true)
}
