//! The commands: arguments, then a checked plan, then start. No product logic lives here.
//!
//! Each command is a file of this folder with `pub struct Args` (a [`clap::Args`]) and `pub fn run(args: Args) -> ExitCode`,
//! and one entry in the table below: the text in front of it is its help, the exit codes are those of [`exit`].

pub mod exit;
mod machine;
mod output;
mod place;

use std::process::ExitCode;

use clap::Parser;

/// Declares the commands: a module for each, the help, and the dispatch.
macro_rules! commands {
    ($($(#[$help:meta])* $module:ident $variant:ident;)*) => {
        $(pub mod $module;)*

        #[derive(clap::Subcommand)]
        enum Command {
            $($(#[$help])* $variant($module::Args),)*
        }

        impl Command {
            fn run(self) -> ExitCode {
                match self {
                    $(Command::$variant(args) => $module::run(args),)*
                }
            }
        }
    };
}

commands! {
    /// Show and prove it all: two calls on loopback, every sample checked
    demo Demo;
    /// Record: answer SIPREC calls and write what they carry, until told to stop
    serve Serve;
    /// Ask a running recorder how it is, or tell it to drain or stop
    ctl Ctl;
    /// Say what this machine lacks for recording, what that costs and how to mend it
    doctor Doctor;
    /// Set this machine up for recording, or take that back
    tune Tune;
    /// Say what so many calls need: cores, memory, network, disk, storage, money
    plan Plan;
    /// Simulate a whole recorder from a seed, with faults, and check everything it did
    vopr Vopr;
    /// Prove recordings complete and unchanged, or say which frame of which file is not
    verify Verify;
    /// Open a recording and write it as a plain WAV file
    export Export;
    /// Export the key of a recording
    keys Keys;
    /// Mend recordings that a crash left behind
    recover Recover;
    /// Show what a sealed file says of itself, or the program's limits
    inspect Inspect;
}

/// Tapehead, a SIPREC call recorder: thread-per-core, io_uring, sealed while it streams.
#[derive(Parser)]
#[command(version, after_help = exit::HELP, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// Runs the command line of this process and says how it ended.
pub fn main() -> ExitCode {
    CommandLine::parse().command.run()
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
