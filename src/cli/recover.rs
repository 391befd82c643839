//! `tapehead recover [PATH...]`: mends recordings that a crash left behind.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::exit::Exit;
use super::place::{self, KeyArg};
use crate::base::RecordingId;
use crate::keys::LocalKeys;
use crate::store::*;
use crate::sys::{OsEntropy, wall};

/// Arguments of `recover`.
#[derive(clap::Args)]
pub struct Args {
    /// Folders of recordings, or single recordings [default: TAPEHEAD_RECORDINGS_DIR, else ./recordings]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyArg,
}

/// Recovers; fails if anything is left that could not be mended.
pub fn run(args: Args) -> ExitCode {
    let Some(keys) = args.key.open() else { return Exit::Usage.into() };
    let paths = if args.paths.is_empty() { vec![place::recordings()] } else { args.paths };
    let (mut total, mut failed) = (0, 0);
    for path in &paths {
        match recover_path(path, &keys) {
            Ok(found) => {
                total += found.len();
                failed += found.iter().filter(|one| !tell(one)).count();
            }
            Err(why) => {
                eprintln!("tapehead: {why}");
                failed += 1;
            }
        }
    }
    match (total, failed) {
        (0, 0) => println!("nothing to recover"),
        _ => println!("{} recovered, {failed} failed", total.saturating_sub(failed)),
    }
    if failed == 0 { Exit::Ok.into() } else { Exit::Failed.into() }
}

/// A folder of recordings, or one recording: in its place below `active/`, or wherever it was copied to.
fn recover_path(path: &Path, keys: &LocalKeys) -> Result<Vec<Found>, String> {
    let path = path.canonicalize().map_err(|why| format!("{}: {why}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Ok(recording) = name.parse::<RecordingId>() else {
        let _lock = ActiveLock::take(&path).map_err(|why| why.to_string())?;
        return recover(&OsDisk, &path, keys, &mut OsEntropy, wall()).map_err(|why| why.to_string());
    };
    let above = path.parent().filter(|above| above.file_name().is_some_and(|name| name == ACTIVE));
    let root = above.and_then(Path::parent);
    let _lock = root.map(ActiveLock::take).transpose().map_err(|why| why.to_string())?;
    let outcome = recover_recording(&OsDisk, root, &path, keys, &mut OsEntropy, wall());
    Ok(vec![Found { recording, outcome }])
}

/// Says what became of a recording, and whether that is good.
fn tell(found: &Found) -> bool {
    let outcome = match &found.outcome {
        Ok(outcome) => outcome,
        Err(why) => {
            println!("{}: FAILED, tried again next time: {why}", found.recording);
            return false;
        }
    };
    match &outcome.folder {
        None => println!("{}: nothing was in it; removed", found.recording),
        Some(folder) => println!(
            "{}: {} segments mended, {:.3} s of audio kept, at most {} ms lost at the end; now in {}",
            found.recording,
            outcome.mended,
            outcome.samples as f64 / f64::from(crate::media::SAMPLE_RATE),
            outcome.lost_ms_max,
            folder.display()
        ),
    }
    outcome.notes.iter().for_each(|note| println!("    {note}"));
    true
}
