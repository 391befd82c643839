//! Setting up what lacks. What was there before is written down, and on the disk, before the first change.

use std::io;

use super::facts::Facts;
use super::inspect::{Change, How, Status, inspect};
use super::list::Setting;
use super::state::{Entry, STATE_FOLDER, State, StateError, lock};
use super::system;
use super::tree::{Tree, chosen};

/// Permissions of files that we put there: nothing in them is secret.
const FILE_MODE: u32 = 0o644;

/// What came of it.
#[derive(Default, Debug)]
pub struct Applied {
    /// What was changed, by setting and path.
    pub done: Vec<(String, String)>,
    /// What was not.
    pub failed: Vec<Failure>,
}

/// Something that could not be changed; the rest of its setting was not tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The setting.
    pub setting: String,
    /// What was to be changed.
    pub path: String,
    /// Why it was not.
    pub why: String,
}

/// What `apply` would change, by setting.
pub fn changes(
    settings: &[Setting],
    asked: &[String],
    tree: &Tree,
    facts: &Facts,
) -> Vec<(String, Vec<Change>)> {
    let chosen = settings.iter().filter(|setting| match asked {
        [] => !setting.on_request,
        asked => asked.contains(&setting.id),
    });
    let of = |setting: &Setting| {
        let seen = inspect(setting, tree, facts);
        let lacks = matches!(seen.status, Status::Lacks | Status::OnRequest | Status::Unseen);
        (lacks && !seen.changes.is_empty()).then(|| (setting.id.clone(), seen.changes))
    };
    chosen.filter_map(of).collect()
}

/// Makes the changes that the settings lack: all of them but those on request, or those `asked` for. May be repeated.
pub fn apply(
    settings: &[Setting],
    asked: &[String],
    tree: &Tree,
    facts: &Facts,
) -> Result<Applied, StateError> {
    let wanted = changes(settings, asked, tree, facts);
    let mut applied = Applied::default();
    if wanted.is_empty() {
        return Ok(applied);
    }
    let made = tree.make_folders(&format!("{STATE_FOLDER}/x"))?;
    let outcome = locked(settings, wanted, tree, facts, &made, &mut applied);
    if outcome.is_err() {
        for folder in made.iter().rev() {
            let _ = tree.remove_folder(folder);
        }
    }
    outcome?;
    reload_units(tree, &mut applied);
    Ok(applied)
}

/// An error means that nothing was begun.
fn locked(
    settings: &[Setting],
    wanted: Vec<(String, Vec<Change>)>,
    tree: &Tree,
    facts: &Facts,
    made: &[String],
    applied: &mut Applied,
) -> Result<(), StateError> {
    let _lock = lock(tree)?;
    let known = State::load(tree, settings, &facts.boot)?;
    let mut state = known.clone();
    state.folders.extend_from_slice(made);
    for (setting, change) in
        wanted.iter().flat_map(|(setting, all)| all.iter().map(move |one| (setting, one)))
    {
        if change.how == How::File {
            // Without them the change will fail, and say so.
            let _ = state.make_folders(tree, &change.path);
        }
        // One whose past can't be read is not changed either, and says so.
        if let Ok(entry) = entry(setting, change, tree, facts) {
            state.remember(entry);
        }
    }
    if let Err(why) = state.save(tree) {
        for folder in state.folders.iter().rev().filter(|folder| !known.folders.contains(folder)) {
            // The first error is the one to tell.
            let _ = tree.remove_folder(folder);
        }
        return Err(why.into());
    }
    for (setting, changes) in wanted {
        setting_up(&setting, &changes, tree, facts, &mut state, applied);
    }
    forget_undone(&known, &mut state, applied);
    if let Err(why) = state.save(tree) {
        // What was written first still undoes everything.
        let (setting, path) = ("undo".to_owned(), STATE_FOLDER.to_owned());
        applied.failed.push(Failure {
            setting,
            path,
            why: format!("the record could not be brought up to date: {why}"),
        });
    }
    Ok(())
}

/// The changes of one setting, up to the first that fails.
fn setting_up(
    setting: &str,
    changes: &[Change],
    tree: &Tree,
    facts: &Facts,
    state: &mut State,
    applied: &mut Applied,
) {
    for change in changes {
        match one(setting, change, tree, facts, state) {
            Ok(()) => applied.done.push((setting.to_owned(), change.path.clone())),
            Err(why) => {
                let failure = Failure { setting: setting.to_owned(), path: change.path.clone(), why };
                return applied.failed.push(failure);
            }
        }
    }
}

/// What was not changed needs no undoing, or no other than before.
fn forget_undone(known: &State, state: &mut State, applied: &Applied) {
    let is_done = |path: &String| applied.done.iter().any(|(_, done)| done == path);
    state.entries.retain_mut(|entry| {
        let before = known.entries.iter().find(|known| known.path == entry.path);
        match before {
            _ if is_done(&entry.path) => true,
            Some(known) => {
                entry.clone_from(known);
                true
            }
            None => false,
        }
    });
}

/// What there is, and what there will be.
fn entry(setting: &str, change: &Change, tree: &Tree, facts: &Facts) -> Result<Entry, String> {
    let (before, mode) = match change.how {
        How::Table => (None, None),
        _ => match tree.read(&change.path) {
            Ok(text) => (Some(text), tree.mode(&change.path).ok()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => (None, None),
            Err(why) => return Err(format!("what is there can't be read: {why}")),
        },
    };
    let before = match change.how {
        How::Word => before.map(|text| chosen(&text).to_owned()),
        _ => before,
    };
    // Numbers of interrupts are dealt out anew at each boot.
    let boot = change.path.starts_with("/proc/irq/").then(|| facts.boot.clone());
    let (setting, path, after) = (setting.to_owned(), change.path.clone(), change.to.clone());
    Ok(Entry { setting, path, how: change.how, before, mode, after, boot })
}

fn one(setting: &str, change: &Change, tree: &Tree, facts: &Facts, state: &mut State) -> Result<(), String> {
    let mut entry = entry(setting, change, tree, facts)?;
    match change.how {
        How::Value => tree.set(&change.path, &change.to).map_err(kernel_says)?,
        How::Word => tree.choose(&change.path, &change.to).map_err(kernel_says)?,
        How::File => tree.replace(&change.path, &change.to, FILE_MODE).map_err(|why| why.to_string())?,
        How::Table if tree.is_real() => system::load_table(&tree.real(&change.to))?,
        How::Table => {}
    }
    if change.how == How::Value {
        // The kernel may write it differently: that is what `undo` will find.
        entry.after = tree.read(&change.path).unwrap_or_else(|_| change.to.clone());
    }
    state.remember(entry);
    Ok(())
}

fn kernel_says(why: io::Error) -> String {
    match why.raw_os_error() {
        Some(libc::EROFS) => "read-only here, as in a container: set it on the host".to_owned(),
        Some(libc::EACCES | libc::EPERM) => format!("{why}: this needs root on the host itself"),
        Some(libc::EIO) => "the kernel looks after this one itself".to_owned(),
        _ => why.to_string(),
    }
}

/// Units that changed are read again. A failure is told: until then the old ones count.
fn reload_units(tree: &Tree, applied: &mut Applied) {
    let units = applied.done.iter().find(|(_, path)| path.starts_with("/etc/systemd/")).cloned();
    if let Some((setting, path)) = units.filter(|_| tree.is_real())
        && let Err(why) = system::reload_units()
    {
        applied.failed.push(Failure {
            setting,
            path,
            why: format!("it is there, but systemd has not read it: {why}"),
        });
    }
}
