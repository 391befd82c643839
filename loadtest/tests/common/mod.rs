//! The real recorder on loopback as the recorder's own tests start it, with ports for more calls; and `loadtest`.
#![allow(dead_code, reason = "each test file uses its own part of this")]

#[path = "../../../tests/common/mod.rs"]
pub mod recorder;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

pub use recorder::{Recorder, said};

/// Media ports of one recorder: fifty calls of two tracks, and thirty that rest.
const PORTS: u16 = 320;

/// Starts a recorder in `home`, with `settings` (lines of TOML without tables). Its media ports are below the ephemeral range and clear of what the
/// recorder's own tests use.
pub fn start(home: &Path, settings: &str) -> Recorder {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let slot = (std::process::id() % 3) as u16 * 4 + NEXT.fetch_add(1, Ordering::Relaxed) % 4;
    let first = 28_800 + slot * PORTS;
    let ports = format!("{first}-{}", first + PORTS - 1);
    Recorder::start_with(home, settings, &[("TAPEHEAD_RTP_PORTS", &ports)])
}

/// Runs `loadtest` to its end.
pub fn loadtest<S: AsRef<std::ffi::OsStr>>(home: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(arguments).current_dir(home).output().expect("the binary was built")
}
