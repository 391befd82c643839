//! The commands: arguments, then a checked plan, then start. No product logic lives here.

use std::process::ExitCode;

/// Runs the command line of this process and says how it ended.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
