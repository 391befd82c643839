//! Exit codes, the same for every command, and stable: scripts may rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// 0: all is well.
    Ok = 0,
    /// 1: the work was done and found something wrong, or it failed.
    Failed = 1,
    /// 2: the command line or the configuration makes no sense; nothing was touched.
    Usage = 2,
    /// 3: what could be has been given or done, but not everything (a damaged recording exported, a machine set up in part).
    Partial = 3,
    /// 4: no recorder answers.
    Unreachable = 4,
    /// 5: the recorder refuses what is asked, or has not what is asked for.
    Refused = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The table shown at the end of `--help`.
pub const HELP: &str = "\
Exit codes:
  0  all is well
  1  something was found wrong, or failed
  2  the command line or the configuration makes no sense; nothing was touched
  3  what could be was given or done, but not everything
  4  no recorder answers
  5  the recorder refuses, or has not what is asked for";
