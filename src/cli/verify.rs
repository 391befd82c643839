//! `tapehead verify PATH...`: proves recordings complete and unchanged, or says which frame of which file is not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::exit::Exit;
use super::place::KeyArg;
use crate::keys::KeyProvider;
use crate::store::{ACTIVE, ActiveLock, Finding, LockError, OsDisk, Report, verify};

/// Arguments of `verify`.
#[derive(clap::Args)]
pub struct Args {
    /// Recordings, folders of recordings, or single files
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyArg,
    /// Look from outside only, even if the key is there
    #[arg(long, conflicts_with = "key")]
    no_key: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Verifies; fails if anything is wrong.
pub fn run(args: Args) -> ExitCode {
    let keys = match args.no_key {
        true => None,
        false => match args.key.open_if_there() {
            Ok(keys) => keys,
            Err(()) => return Exit::Usage.into(),
        },
    };
    let bar = bar();
    let keys = keys.as_ref().map(|keys| keys as &dyn KeyProvider);
    let running = running(&args.paths);
    let mut report = verify(&OsDisk, &args.paths, keys, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let found = report.findings.len();
    let runs = |finding: &Finding| running.iter().any(|folder| finding.path.starts_with(folder));
    report.findings.retain(|finding| !finding.problem.is_unfinished() || !runs(finding));
    if found > report.findings.len() {
        eprintln!("calls are being recorded here: what is not complete yet was looked at only as far as it goes");
    }
    if args.json { println!("{}", as_json(&report, keys.is_some())) } else { print(&report, keys.is_some()) }
    if report.findings.is_empty() { Exit::Ok.into() } else { Exit::Failed.into() }
}

/// The folders of `paths` in which a recorder is at work.
fn running(paths: &[PathBuf]) -> Vec<PathBuf> {
    let locked = paths.iter().filter(|path| path.join(ACTIVE).join(".lock").exists());
    let held = locked.filter(|path| matches!(ActiveLock::take(path), Err(LockError::Held(_))));
    held.map(|path| path.join(ACTIVE)).collect()
}

/// Shown on a terminal alone.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {binary_bytes} verified, {binary_bytes_per_sec}");
    let bar = ProgressBar::no_length().with_style(style.expect("the template is right, which a test shows"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn print(report: &Report, with_key: bool) {
    for finding in &report.findings {
        println!("{}: {}", finding.path.display(), finding.problem);
    }
    let Report { recordings, files, bytes, frames, .. } = report;
    let looked = format!("{recordings} recordings, {files} files, {:.1} MiB", *bytes as f64 / 1048576.0);
    let how = match with_key {
        true => format!("{frames} frames opened and checked"),
        false => "WITHOUT the key: only block 0, sizes and names were checked, no frame was (--key FILE)".to_owned(),
    };
    match report.findings.len() {
        0 => println!("good: {looked}, {how}"),
        count => println!("{count} PROBLEMS: {looked}, {how}"),
    }
}

fn as_json(report: &Report, with_key: bool) -> serde_json::Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "path": finding.path.to_string_lossy(),
            "frame": finding.problem.frame(),
            "problem": finding.problem.to_string(),
        })
    });
    json!({
        "good": report.findings.is_empty(),
        "with_key": with_key,
        "recordings": report.recordings,
        "files": report.files,
        "bytes": report.bytes,
        "frames": report.frames,
        "findings": findings.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Problem;

    #[test]
    fn the_progress_bar_can_be_drawn() {
        assert_eq!(bar().position(), 0);
    }

    #[test]
    fn json_names_file_frame_and_problem() {
        let problem = Problem::Frames { first: 3, last: 4 };
        let report = Report { findings: vec![Finding { path: "/r/0001.tape".into(), problem }], ..Report::default() };
        let json = as_json(&report, true);
        assert_eq!((&json["good"], &json["findings"][0]["frame"]), (&false.into(), &3.into()));
        assert_eq!(json["findings"][0]["problem"], "frames 3 to 4 are damaged");
    }
}
