//! The command line: which command there is and what its exit codes mean. Each command is a module with `Args` and `run`.

use std::process::ExitCode;

use clap::Parser;

use crate::{climb, command, report, verify};

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// 0: all went as planned, and everything is there.
    Ok = 0,
    /// 1: something was lost, refused or wrong.
    Failed = 1,
    /// 2: the command line or the plan makes no sense; nothing was sent.
    Usage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

const EXIT_HELP: &str = "\
Exit codes:
  0  all went as planned, and everything is there
  1  something was lost, refused or wrong; or the run proves nothing, for it fell behind its schedule
  2  the command line or the plan makes no sense; nothing was sent";

/// Loads a SIPREC recorder with calls and proves that it kept every sample. Without a command: run.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true, after_long_help = EXIT_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: command::Args,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Call a recorder: ramp up, hold, replace calls as they end, end them all
    Run(Box<command::Args>),
    /// Check every sample of a run's recordings against what was sent
    Verify(verify::Args),
    /// Find the knee: raise the load by steps until something gives, and say what
    Plan(Box<climb::Args>),
    /// Write an HTML page with plots of what a plan or a run came to
    Report(report::Args),
}

/// Runs the command line of this process and says how it ended.
pub fn main() -> ExitCode {
    let line = CommandLine::parse();
    match line.command {
        None => command::run(line.run),
        Some(Command::Run(args)) => command::run(*args),
        Some(Command::Verify(args)) => verify::run(args),
        Some(Command::Plan(args)) => climb::run(*args),
        Some(Command::Report(args)) => report::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_table_holds_together() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_run_needs_no_word() {
        for line in [&["loadtest", "--calls", "3"][..], &["loadtest", "run", "--calls", "3"]] {
            assert!(CommandLine::try_parse_from(line).is_ok(), "{line:?}");
        }
        assert!(CommandLine::try_parse_from(["loadtest", "--calls", "3", "run"]).is_err());
    }
}
