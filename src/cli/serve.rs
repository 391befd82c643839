//! `tapehead serve`: the recorder for real use.

use std::path::PathBuf;
use std::process::ExitCode;

use super::exit::Exit;

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Args {
    /// Read the configuration from this TOML file; TAPEHEAD_... variables override it
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print every setting as commented TOML, with its present value, and end
    #[arg(long)]
    pub print_config: bool,
}

/// Runs until told to stop.
pub fn run(_args: Args) -> ExitCode {
    Exit::Usage.into()
}
