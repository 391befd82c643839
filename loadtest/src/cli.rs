//! The command line: which command there is and what its exit codes mean. Each command is a module with `Args` and `run`.

use std::process::ExitCode;

use clap::Parser;

use crate::verify;

/// Loads a SIPREC recorder with calls and proves that it kept every sample.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check every sample of a run's recordings against what was sent
    Verify(verify::Args),
}

/// Runs the command line of this process and says how it ended.
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Verify(args) => verify::run(args),
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
}
