//! `tapehead tune`: looks at a machine, sets it up for recording, and takes that back.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::exit::Exit;
use super::machine::MachineArgs;
use crate::tune::{self, Change, Facts, Failure, Setting, Status, Tree, Want};

/// Arguments of `tune`.
#[derive(clap::Args)]
#[command(after_help = "\
Exit codes: 0 all is as wanted, 1 something lacks, 2 usage, 3 not everything could be done (what was and what was not is said).
--apply and --undo need root. What was there before stands in /var/lib/tapehead-tune/state.json. See tuning/README.md.")]
pub struct Args {
    #[command(flatten)]
    what: What,
    /// Only this setting, by its id; also those that are set on request alone. May be repeated
    #[arg(long, value_name = "ID", conflicts_with = "undo")]
    only: Vec<String>,
    /// Put back even what somebody else has changed since
    #[arg(long, requires = "undo")]
    force: bool,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct What {
    /// Look, and say what lacks, what it costs and how we know (the default)
    #[arg(long)]
    check: bool,
    /// Say what --apply would change
    #[arg(long)]
    dry_run: bool,
    /// Set what lacks, at once and for after a restart
    #[arg(long)]
    apply: bool,
    /// Put back what was there before
    #[arg(long)]
    undo: bool,
}

type Outcome = Result<(Exit, String, Value), (Exit, String)>;

/// Does what is asked and says how it went.
pub fn run(args: Args) -> ExitCode {
    let outcome = match &args.what {
        What { undo: true, .. } => undo(&args),
        What { apply: true, .. } => apply(&args),
        What { dry_run: true, .. } => dry_run(&args),
        _ => check(&args),
    };
    match outcome {
        Ok((exit, text, value)) => {
            super::machine::print(args.json, &text, &value);
            exit.into()
        }
        Err((exit, why)) => {
            eprintln!("tapehead: {why}");
            exit.into()
        }
    }
}

/// The list, and what it needs to know.
fn prepare(args: &Args) -> Result<(Vec<Setting>, Tree, Facts), (Exit, String)> {
    let settings = tune::settings();
    if let Some(unknown) = args.only.iter().find(|id| !settings.iter().any(|setting| setting.id == **id)) {
        let known: Vec<&str> = settings.iter().map(|setting| setting.id.as_str()).collect();
        return Err((Exit::Usage, format!("there is no setting {unknown:?}: there are {}", known.join(", "))));
    }
    let (tree, mut facts) = args.machine.gather().map_err(|why| (Exit::Usage, why))?;
    let only: String = args.only.iter().map(|id| format!(" --only {id}")).collect();
    facts.arguments = args.machine.arguments().map_err(|why| (Exit::Usage, why))? + &only;
    Ok((settings, tree, facts))
}

fn check(args: &Args) -> Outcome {
    let (settings, tree, facts) = prepare(args)?;
    let mut text = String::new();
    let mut all = Vec::new();
    let mut lacking = 0;
    for setting in settings.iter().filter(|setting| args.only.is_empty() || args.only.contains(&setting.id)) {
        let seen = tune::inspect(setting, &tree, &facts);
        let lacks = seen.status == Status::Lacks || (seen.status == Status::OnRequest && !args.only.is_empty());
        lacking += usize::from(lacks);
        let word = match seen.status {
            Status::Good => "ok",
            Status::Lacks => "LACKS",
            Status::NotHere => "not here",
            Status::OnRequest => "optional",
            Status::Unseen => "unseen",
        };
        text += &format!("{word:<9} {:<16} {}\n", setting.id, setting.title);
        text += &format!("{:27}{}\n", "", seen.now);
        if matches!(seen.status, Status::Lacks | Status::OnRequest | Status::Unseen) {
            text += &format!("{:27}wanted: {}\n{:27}why: {}\n", "", seen.wanted, "", setting.reason);
            text += &format!("{:27}costs: {}\n{:27}{}\n", "", setting.cost, "", setting.evidence);
        }
        if let (Status::Lacks, Want::ByHand { how, .. }) = (seen.status, &setting.want) {
            text += &format!("{:27}by hand: {how}\n", "");
        }
        all.push(json!({
            "id": setting.id, "title": setting.title, "status": seen.status, "now": seen.now, "wanted": seen.wanted,
            "reason": setting.reason, "cost": setting.cost, "evidence": setting.evidence,
        }));
    }
    text += &match lacking {
        0 => "\nall is as wanted\n".to_owned(),
        lacking => format!("\n{lacking} lack; `tapehead tune --dry-run` says what --apply would change\n"),
    };
    let exit = if lacking == 0 { Exit::Ok } else { Exit::Failed };
    Ok((exit, text, json!({ "settings": all, "lacking": lacking })))
}

/// One change, for people.
fn told(change: &Change) -> String {
    let to = change.to.trim();
    if to.contains('\n') { format!("{} ({} lines)", change.path, to.lines().count()) } else { format!("{} = {to}", change.path) }
}

fn dry_run(args: &Args) -> Outcome {
    let (settings, tree, facts) = prepare(args)?;
    let planned = tune::changes(&settings, &args.only, &tree, &facts);
    let mut text = String::new();
    let mut all = Vec::new();
    for (setting, changes) in &planned {
        for change in changes {
            text += &format!("would set  {setting:<16} {}\n", told(change));
            all.push(json!({ "setting": setting, "path": change.path, "to": change.to }));
        }
    }
    let exit = if planned.is_empty() { Exit::Ok } else { Exit::Failed };
    text += if planned.is_empty() { "nothing would be changed\n" } else { "nothing was changed\n" };
    Ok((exit, text, json!({ "would_change": all })))
}

fn apply(args: &Args) -> Outcome {
    let (settings, tree, facts) = prepare(args)?;
    let applied = tune::apply(&settings, &args.only, &tree, &facts).map_err(refused)?;
    let mut text: String =
        applied.done.iter().map(|(setting, path)| format!("set      {setting:<16} {path}\n")).collect();
    let (failed, failures) = failures(&applied.failed);
    text += &failed;
    let left = settings.iter().filter(|setting| args.only.is_empty() || args.only.contains(&setting.id));
    let left: Vec<&str> = left
        .filter(|setting| tune::inspect(setting, &tree, &facts).status == Status::Lacks)
        .map(|setting| setting.id.as_str())
        .collect();
    let exit = match (applied.failed.is_empty(), left.is_empty()) {
        (false, _) => Exit::Partial,
        (true, false) => Exit::Failed,
        (true, true) => Exit::Ok,
    };
    text += &match (applied.done.len(), left.len()) {
        (0, 0) => "nothing to do: all is as wanted\n".to_owned(),
        (done, 0) => format!("{done} changes made; `tapehead tune --undo` takes them back\n"),
        (done, _) => format!("{done} changes made; still lacking: {} (`tapehead tune` says why)\n", left.join(", ")),
    };
    let done: Vec<Value> =
        applied.done.iter().map(|(setting, path)| json!({ "setting": setting, "path": path })).collect();
    Ok((exit, text, json!({ "changed": done, "failed": failures, "still_lacking": left })))
}

fn undo(args: &Args) -> Outcome {
    let tree = args.machine.tree();
    let boot = tree.read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let undone = tune::undo(&tune::settings(), &tree, boot.trim(), args.force).map_err(refused)?;
    let mut text: String =
        undone.restored.iter().map(|(setting, path)| format!("as before {setting:<15} {path}\n")).collect();
    let (failed, failures) = failures(&undone.failed);
    text += &failed;
    text += &format!("{} put back, {} were as before\n", undone.restored.len(), undone.nothing_to_do.len());
    let exit = if undone.failed.is_empty() { Exit::Ok } else { Exit::Partial };
    let restored: Vec<Value> =
        undone.restored.iter().map(|(setting, path)| json!({ "setting": setting, "path": path })).collect();
    Ok((exit, text, json!({ "restored": restored, "failed": failures, "as_before": undone.nothing_to_do })))
}

/// What could not be done: the record of what was there before can't be had.
fn refused(why: tune::StateError) -> (Exit, String) {
    (Exit::Partial, why.to_string())
}

fn failures(failed: &[Failure]) -> (String, Vec<Value>) {
    let text = failed.iter().map(|one| format!("NOT SET  {:<16} {}: {}\n", one.setting, one.path, one.why)).collect();
    let value = |one: &Failure| json!({ "setting": one.setting, "path": one.path, "why": one.why });
    (text, failed.iter().map(value).collect())
}
