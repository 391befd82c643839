//! Where recordings and the master key lie when a command is not told: as the recorder's configuration says.

use std::path::{Path, PathBuf};

use crate::config::{CONTROL_SOCKET, Raw, Value};
use crate::keys::LocalKeys;

/// The folder of recordings: `TAPEHEAD_RECORDINGS_DIR`, else the default.
pub fn recordings() -> PathBuf {
    setting("recordings.dir")
}

/// The master key file: `TAPEHEAD_KEYS_MASTER_FILE`, else the default.
pub fn master_key() -> PathBuf {
    setting("keys.master_file")
}

/// The control socket: `TAPEHEAD_CONTROL_SOCKET`, else its place in the folder of the recordings.
pub fn control_socket() -> PathBuf {
    let said = setting("control.socket");
    if said.as_os_str().is_empty() { recordings().join(CONTROL_SOCKET) } else { said }
}

fn setting(key: &'static str) -> PathBuf {
    let variables = std::env::vars_os();
    let text =
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    match &Raw::default().environment(text).value(key).0 {
        Value::Text(path) => PathBuf::from(path),
        other => unreachable!("{key} is declared as text, not {other:?}"),
    }
}

/// The key of these commands.
#[derive(clap::Args)]
pub struct KeyArg {
    /// The master key file [default: TAPEHEAD_KEYS_MASTER_FILE, else ./tapehead.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl KeyArg {
    /// The master key, or a message on stderr.
    pub fn open(&self) -> Option<LocalKeys> {
        let path = self.key.clone().unwrap_or_else(master_key);
        LocalKeys::open(&path).map_err(|why| eprintln!("tapehead: {why}")).ok()
    }

    /// The master key if one was named or lies in its place. `Err` if it is there and can't be used.
    pub fn open_if_there(&self) -> Result<Option<LocalKeys>, ()> {
        if self.key.is_none() && !Path::exists(&master_key()) {
            return Ok(None);
        }
        self.open().map(Some).ok_or(())
    }
}
