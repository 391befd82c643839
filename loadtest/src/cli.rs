//! The command line: which command there is and what its exit codes mean. Each command is a module with `Args` and `run`.

use std::process::ExitCode;

use clap::Parser;

/// Loads a SIPREC recorder with calls and proves that it kept every sample.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true, arg_required_else_help = true)]
struct CommandLine {}

/// Runs the command line of this process and says how it ended.
pub fn main() -> ExitCode {
    let CommandLine {} = CommandLine::parse();
    ExitCode::SUCCESS
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
