//! What `tune` and `doctor` are told of the machine and of the recorder that is to run on it.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{Machine, Plan, Raw};
use crate::sys::affinity;
use crate::tune::{Facts, Tree};

/// Where it is looked at.
#[derive(clap::Args)]
pub struct MachineArgs {
    /// The recorder's configuration, for its RTP range and its shards; TAPEHEAD_... variables override it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A network card, by its interface; may be repeated [default: every interface with a device behind it]
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// Look at /proc, /sys and /etc below this folder instead: nothing outside of it is touched, no program is run
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

impl MachineArgs {
    /// The machine's files.
    pub fn tree(&self) -> Tree {
        Tree::new(&self.root)
    }

    /// The files, and what they and the configuration say. An error is one of usage.
    pub fn gather(&self) -> Result<(Tree, Facts), String> {
        if !self.root.is_dir() {
            return Err(format!("--root {}: there is no such folder", self.root.display()));
        }
        let plan = self.plan()?;
        let tree = self.tree();
        // The cores are those of the tree; a number of shards counts only if it was asked for.
        let shards =
            (self.raw()?.value("shards").0 != crate::config::Value::Number(0)).then_some(plan.shards);
        let facts = Facts::gather(&tree, plan.rtp_ports, shards, &self.interface)?;
        Ok((tree, facts))
    }

    /// What the recorder would be started with.
    pub fn plan(&self) -> Result<Plan, String> {
        let machine = Machine { cores: affinity::allowed_cores().map_or(1, |cores| cores.len()) };
        Plan::check(&self.raw()?, machine).map_err(|problems| problems.to_string())
    }

    fn raw(&self) -> Result<Raw, String> {
        super::serve::gather(self.config.as_deref()).map_err(|(_, why)| why)
    }

    /// The same for a command line that is run from elsewhere: with a space in front of each.
    pub fn arguments(&self) -> Result<String, String> {
        let mut arguments = String::new();
        if let Some(config) = &self.config {
            let path =
                Path::new(config).canonicalize().map_err(|why| format!("{}: {why}", config.display()))?;
            arguments += &format!(" --config {}", path.display());
        }
        self.interface.iter().for_each(|name| arguments += &format!(" --interface {name}"));
        Ok(arguments)
    }
}

/// Prints the one or the other. A closed pipe is nobody's fault.
pub fn print(json: bool, text: &str, value: &Value) {
    let text = if json { format!("{value:#}\n") } else { text.to_owned() };
    let _ = std::io::stdout().write_all(text.as_bytes());
}
