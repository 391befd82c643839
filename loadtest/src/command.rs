//! `loadtest` without a word, or `loadtest run`: calls a recorder and says how it went.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::json;
use tapehead::sys::clock;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::args::{FigureArgs, PlanArgs, VerifyArgs};
use crate::cli::Exit;
use crate::run::{Failure, Options, Shown, carry_out};
use crate::show::{Line, summary};

/// Arguments of `run`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Two thousand calls of two tracks for a minute, a third of them with loss and jitter:
  loadtest --target 127.0.0.1:5060 --calls 2000 --rate 100 --for 60s --faulty 33% --loss 1% --jitter-ms 40 --out runs/a
What was sent follows from the seed; runs/a says how far each call came, so that its recordings can be checked sample by sample, at the end of the
run (--recordings) or later:
  loadtest verify --run runs/a --recordings recordings --key tapehead.key
Another run of the same seed makes the same calls; their Call-IDs tell which run they are of, so one folder may hold the recordings of both.")]
pub struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    figures: FigureArgs,
    #[command(flatten)]
    verify: VerifyArgs,
    /// The run's folder: plan.toml, run.jsonl and result.json [default: loadtest-runs/START]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print a JSON object each second, and the result as the last
    #[arg(long)]
    json: bool,
}

/// Runs, and says what came of it.
pub fn run(args: Args) -> ExitCode {
    match carry(args) {
        Ok(true) => Exit::Ok.into(),
        Ok(false) => Exit::Failed.into(),
        Err(failure) => fail(&failure),
    }
}

/// Says why nothing came of it.
pub(crate) fn fail(failure: &Failure) -> ExitCode {
    eprintln!("loadtest: {failure}");
    match failure {
        Failure::Usage(_) => Exit::Usage.into(),
        Failure::System(_) => Exit::Failed.into(),
    }
}

/// Whether all went as planned, and everything is there.
fn carry(args: Args) -> Result<bool, Failure> {
    let plan = args.plan.plan().map_err(Failure::Usage)?;
    args.verify.check().map_err(Failure::Usage)?;
    let start = clock::wall().to_rfc3339();
    let folder = args.out.unwrap_or_else(|| PathBuf::from("loadtest-runs").join(start.replace(':', "")));
    let options = Options { folder, figures: args.figures.source() };
    let mut line = Line::new(plan.calls, plan.for_s);
    let mut lines = JsonLines { wanted: args.json, last: 0.0 };
    let mut interrupted = interrupts().map_err(|why| Failure::System(why.to_string()))?;
    let result = carry_out(&plan, &options, &mut interrupted, |shown| {
        line.show(shown);
        lines.show(shown);
    });
    line.clear();
    let result = result?;
    let verified = args.verify.verify(&options.folder).map_err(Failure::System)?;
    let text = match args.json {
        true => format!("{}\n", json!({ "result": result })),
        false => format!("run      {}\n{}", options.folder.display(), summary(&result)),
    };
    // A closed pipe is nobody's fault.
    let _ = std::io::stdout().write_all(text.as_bytes());
    verified.iter().for_each(|verified| verified.tell(args.json));
    Ok(result.clean && verified.is_none_or(|verified| verified.totals.is_good()))
}

/// One object each second.
struct JsonLines {
    wanted: bool,
    last: f64,
}

impl JsonLines {
    fn show(&mut self, shown: Shown) {
        if self.wanted && shown.at_s >= self.last + 1.0 {
            self.last = shown.at_s;
            let _ = writeln!(std::io::stdout(), "{}", json!({ "progress": shown }));
        }
    }
}

/// Says each time that somebody wants the run to end: Ctrl-C, SIGTERM.
pub(crate) fn interrupts() -> std::io::Result<UnboundedReceiver<()>> {
    let (tell, told) = unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            loop {
                tokio::select! {
                    Ok(()) = tokio::signal::ctrl_c() => {}
                    Some(()) = terminate.recv() => {}
                }
                if tell.send(()).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(told)
}
