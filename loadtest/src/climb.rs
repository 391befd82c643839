//! `loadtest plan`: carries out a [sweep](crate::sweep), a run for each step, and says what gave and which load was the highest that held.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::json;
use tapehead::sys::clock;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::args::{FigureArgs, VerifyArgs};
use crate::cli::Exit;
use crate::command::{fail, interrupts};
use crate::figures::Source;
use crate::report::{self, PAGE};
use crate::run::{Failure, Options, carry_out};
use crate::show::Line;
use crate::sweep::{SWEEP, Search, Step, Sweep, SweepResult};

/// The plans that come along.
const PLANS: &[(&str, &str)] = &[
    ("capacity", include_str!("../plans/capacity.toml")),
    ("answers", include_str!("../plans/answers.toml")),
];

/// Arguments of `plan`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Plans that come along:
  capacity   calls at once, doubled until something gives, then closed in
  answers    new calls per second, the same way
`loadtest plan capacity --print > mine.toml` is where one of your own begins.")]
pub struct Args {
    /// The name of a plan, or its file
    plan: String,
    /// Print the plan and end
    #[arg(long)]
    print: bool,
    /// Where the recorder takes SIP [default: as the plan says]
    #[arg(long, value_name = "IP:PORT")]
    target: Option<SocketAddr>,
    /// The first step [default: as the plan says]
    #[arg(long, value_name = "N")]
    from: Option<f64>,
    /// The highest step [default: as the plan says]
    #[arg(long, value_name = "N")]
    to: Option<f64>,
    #[command(flatten)]
    figures: FigureArgs,
    #[command(flatten)]
    verify: VerifyArgs,
    /// The folder of all steps, of sweep.json, report.html and report.json [default: loadtest-runs/PLAN-START]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print a JSON object for each step, and the result as the last
    #[arg(long)]
    json: bool,
}

impl Args {
    fn sweep(&self) -> Result<Sweep, String> {
        let known = PLANS.iter().find(|(name, _)| *name == self.plan);
        let mut sweep = match known {
            Some((name, text)) => Sweep::parse(text).map_err(|why| format!("{name}: {why}"))?,
            None if Path::new(&self.plan).exists() => Sweep::read(Path::new(&self.plan))?,
            None => {
                let names: Vec<&str> = PLANS.iter().map(|(name, _)| *name).collect();
                return Err(format!("{} is no plan of ours ({}) and no file", self.plan, names.join(", ")));
            }
        };
        sweep.from = self.from.unwrap_or(sweep.from);
        sweep.to = self.to.unwrap_or(sweep.to).max(sweep.from);
        sweep.run.target = self.target.or(sweep.run.target);
        sweep.check()?;
        self.verify.check()?;
        Ok(sweep)
    }
}

/// Carries it out.
pub fn run(args: Args) -> ExitCode {
    let sweep = match args.sweep() {
        Ok(sweep) => sweep,
        Err(why) => return fail(&Failure::Usage(why)),
    };
    if args.print {
        // A closed pipe is nobody's fault.
        let _ = std::io::stdout().write_all(sweep.to_toml().as_bytes());
        return Exit::Ok.into();
    }
    let start = clock::wall().to_rfc3339().replace(':', "");
    let folder =
        args.out.unwrap_or_else(|| PathBuf::from("loadtest-runs").join(format!("{}-{start}", sweep.name)));
    match climb(sweep, &folder, (args.figures.source(), &args.verify), args.json) {
        Ok(result) => {
            let text =
                if args.json { format!("{}\n", json!({ "sweep": result })) } else { told(&result, &folder) };
            let _ = std::io::stdout().write_all(text.as_bytes());
            if result.held.is_some() { Exit::Ok.into() } else { Exit::Failed.into() }
        }
        Err(why) => fail(&why),
    }
}

/// Who is asked beside the recorder's SIP.
type Witnesses<'a> = (Option<Source>, &'a VerifyArgs);

fn climb(sweep: Sweep, folder: &Path, witnesses: Witnesses<'_>, json: bool) -> Result<SweepResult, Failure> {
    let system = |why: std::io::Error| Failure::System(why.to_string());
    let mut interrupted = interrupts().map_err(system)?;
    let mut search = Search::new(&sweep);
    let mut result = SweepResult { sweep, steps: Vec::new(), held: None, gave: None };
    while let Some(value) = search.next() {
        let step = step(&result.sweep, value, folder, &witnesses, &mut interrupted)?;
        if step.result.interrupted {
            break;
        }
        tell(&step, json);
        search.tell(step.gave.is_none());
        result.steps.push(step);
        result.held = search.held();
        let above = |step: &&Step| result.held.is_none_or(|held| step.value > held);
        let lowest = result.steps.iter().filter(above).min_by(|a, b| a.value.total_cmp(&b.value));
        result.gave = lowest.and_then(|step| step.gave.clone());
        // After each: a plan that is broken off leaves what it has found.
        let text = serde_json::to_string_pretty(&result).map_err(|why| Failure::System(why.to_string()))?;
        std::fs::write(folder.join(SWEEP), text + "\n").map_err(system)?;
        report::write(folder, &folder.join(PAGE)).map_err(Failure::System)?;
    }
    Ok(result)
}

fn step(
    sweep: &Sweep,
    value: f64,
    folder: &Path,
    (figures, verify): &Witnesses<'_>,
    interrupted: &mut UnboundedReceiver<()>,
) -> Result<Step, Failure> {
    let plan = sweep.at(value);
    let options = Options { folder: folder.join(format!("{value}")), figures: figures.clone() };
    let mut line = Line::new(plan.calls, plan.for_s);
    let result = carry_out(&plan, &options, interrupted, |shown| line.show(shown));
    line.clear();
    let mut step =
        Step { value, result: result?, samples_lost: None, findings: 0, manifest_bytes: None, gave: None };
    if let Some(totals) = verify.verify(&options.folder).map_err(Failure::System)?.map(|seen| seen.totals) {
        step.samples_lost = Some(totals.unaccounted + totals.wrong + totals.extra);
        step.findings = totals.findings + totals.recordings_missing + totals.recordings_extra;
        step.manifest_bytes = (totals.calls > 0).then_some(totals.manifest_bytes_mean);
    }
    step.gave = sweep.gave(&step);
    Ok(step)
}

/// A step as soon as it is over.
fn tell(step: &Step, json: bool) {
    let gave = step.gave.as_ref().map_or("held", |gave| &gave.what);
    let (packets, p99) = (step.result.media.per_second_highest, step.result.answer_ms.p99);
    match json {
        true => println!("{}", json!({ "step": step })),
        false => {
            println!("{:>8}  {packets:.0} packets per second, answers p99 {p99:.1} ms: {gave}", step.value)
        }
    }
}

fn told(result: &SweepResult, folder: &Path) -> String {
    let held =
        result.held.map_or("no step held".to_owned(), |held| format!("the highest load that held: {held}"));
    let gave =
        result.gave.as_ref().map_or("nothing gave up to the end".to_owned(), |gave| match gave.generator {
            true => format!("then the generator gave, not the recorder: {}", gave.what),
            false => format!("then gave: {}", gave.what),
        });
    let mut text = format!("{held}; {gave}\n");
    if !result.steps.is_empty() {
        let (page, json) = (folder.join(PAGE), folder.join(PAGE).with_extension("json"));
        text += &format!("{}\n{} (for `tapehead plan --measured`)\n", page.display(), json.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plans_that_come_along_make_sense_and_are_printed_as_they_are_read() {
        for (name, text) in PLANS {
            let sweep = Sweep::parse(text).unwrap_or_else(|why| panic!("{name}: {why}"));
            sweep.check().unwrap_or_else(|why| panic!("{name}: {why}"));
            assert_eq!(sweep.name, *name);
            assert_eq!(Sweep::parse(&sweep.to_toml()).unwrap(), sweep);
        }
    }
}
