//! `tapehead doctor`: what this machine lacks for recording, in one screen.

use std::process::ExitCode;

use serde_json::json;

use super::exit::Exit;
use super::machine::{self, MachineArgs};
use crate::doctor::{self, Finding, Verdict};

/// Arguments of `doctor`.
#[derive(clap::Args)]
#[command(after_help = "Exit code 0: nothing lacks; 1: something does. `tapehead tune` shows the settings in full, and sets them.")]
pub struct Args {
    #[command(flatten)]
    machine: MachineArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Looks and tells.
pub fn run(args: Args) -> ExitCode {
    let looked = args.machine.gather().and_then(|(tree, facts)| {
        let plan = args.machine.plan()?;
        Ok(doctor::examine(&plan, &tree, &facts))
    });
    match looked {
        Ok(findings) => {
            let lacking = findings.iter().filter(|finding| finding.verdict == Verdict::Lacks).count();
            machine::print(args.json, &screen(&findings, lacking), &json!({ "findings": findings, "lacking": lacking }));
            if lacking == 0 { Exit::Ok.into() } else { Exit::Failed.into() }
        }
        Err(why) => {
            eprintln!("tapehead: {why}");
            Exit::Usage.into()
        }
    }
}

/// What lacks first comes last in a terminal: it is what should be read.
fn screen(findings: &[Finding], lacking: usize) -> String {
    let of = |verdict: Verdict| findings.iter().filter(move |finding| finding.verdict == verdict);
    let mut text = String::new();
    for finding in of(Verdict::Ok) {
        text += &format!("ok     {:<15} {}\n", finding.topic, finding.now);
    }
    for finding in of(Verdict::Note) {
        text += &format!("-      {:<15} {}\n", finding.topic, finding.now);
        if !finding.cost.is_empty() {
            text += &format!("{:23}{}: {}\n", "", finding.cost, finding.mend);
        }
    }
    for finding in of(Verdict::Lacks) {
        text += &format!("LACKS  {:<15} {}\n", finding.topic, finding.now);
        text += &format!("{:23}costs: {}\n{:23}mend:  {}\n", "", finding.cost, "", finding.mend);
    }
    text += &match lacking {
        0 => "\nnothing lacks\n".to_owned(),
        lacking => format!("\n{lacking} lack. `tapehead tune --dry-run` says what --apply would set\n"),
    };
    text
}
